"""What keeping the books of a range takes: materializations and verdicts stored as events."""

from functools import partial
from pathlib import Path

import dagster as dg
from dagster._core.instance import DagsterInstance

from benchmarks.measuring import Effort, interleaved, metered
from benchmarks.report import Row

EVENTS = 1_000
SETTINGS = {
    "stock": "telemetry: {{enabled: false}}",
    "ours": """
telemetry: {{enabled: false}}
event_log_storage:
  module: city311_assets.automation.event_storage
  class: PooledSqliteEventLogStorage
  config: {{base_dir: {home}}}
""",
}
DAYS = dg.DailyPartitionsDefinition(start_date="2020-01-01")


def stored(folder: str, events: str, way: str) -> None:
    """Store materializations of days, as a range run reports them."""
    home = Path(folder, way)
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(SETTINGS[way].format(home=home))
    instance = DagsterInstance.from_config(str(home))
    keys = DAYS.get_partition_keys()
    for number in range(int(events) + 1):
        with metered("events" if number else "first"):
            instance.report_runless_asset_event(
                dg.AssetMaterialization("days", partition=keys[number], metadata={"rows": number})
            )


def measure(effort: Effort, folder: Path) -> list[Row]:
    count = EVENTS // effort.divisor
    ours, stock = interleaved(
        effort.repeats,
        ours=partial(stored, str(folder), str(count), "ours"),
        stock=partial(stored, str(folder), str(count), "stock"),
    )
    own, other = (1_000 * runs.cpu("events") / count for runs in (ours, stock))
    return [
        Row(
            "an event stored: a slice is one, a verdict another",
            f"{count:,} materializations",
            f"{own:.1f} CPU-ms",
            f"Dagster's own SQLite storage: {other:.1f} CPU-ms",
            other / own,
            "",
            "",
        )
    ]
