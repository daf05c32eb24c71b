"""A year of the whole graph, days and months, backfilled as the UI does it."""

import time
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from city311_assets.feeds.registry import FEEDS
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets_tests.commands import Installation
from city311_assets_tests.trials.daemon import dev

pytestmark = pytest.mark.trial

FIRST = date(2025, 6, 1)
LONGEST_SECONDS = 3_600
LAYERS = {table.layer for table in TABLES}
COUNTED = """
    select feed, count(cell)::int from (
        select feed, cell from silver.requests union all select feed, cell from silver.incidents
    ) group by feed order by feed
"""
ADDED_UP = """
    select feed, resolution, sum(records)::int from gold.cell_days group by all order by all
"""
MONTHS_HELD = "select feed, count(distinct month)::int from gold.{} group by feed order by feed"


def where_it_went(instance: dg.DagsterInstance) -> tuple[dict[str, float], float, float]:
    """Return seconds of steps by table, of checks, and of runs in all."""
    tables: dict[str, float] = defaultdict(float)
    checks, whole = 0.0, 0.0
    for record in instance.get_run_records():
        if record.start_time is None or record.end_time is None:
            continue
        whole += record.end_time - record.start_time
        for step in instance.get_run_step_stats(record.dagster_run.run_id):
            if step.start_time is None or step.end_time is None:
                continue
            name = next(
                (str(t) for t in TABLES if step.step_key.startswith(f"{t.layer}__{t.name}__")),
                step.step_key.split("_")[0],
            )
            took = step.end_time - step.start_time
            if step.step_key.count("__") > 2:
                checks += took
            else:
                tables[name] += took
    return tables, checks, whole


@pytest.mark.parametrize(
    ("days_asked", "months", "layers"),
    [(92, 3, {*LAYERS}), (365, 12, {"bronze", "silver", "gold"})],
    ids=["quarter", "year"],
)
def test_the_graph_over_a_long_range_from_the_ui(
    days_asked: int,
    months: int,
    layers: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trial,
):
    """A quarter of days and their months of every asset, and a year of them as far as gold, in one
    backfill launched over GraphQL as the UI does, from the roots; the counts of gold agree with
    silver's at every resolution."""
    city = Installation.small(
        tmp_path, CITY311_SAMPLE_RECORDS_PER_DAY="60", CITY311_START_DATE=str(FIRST)
    )
    days = [str(FIRST + timedelta(days=number)) for number in range(days_asked)]
    with dev(city) as running:
        started = time.monotonic()
        chosen = [path for path, _ in running.assets() if path[0] in layers]
        backfill = running.backfill(chosen, days)
        while not (status := running.status_of(backfill)).startswith("COMPLETED"):
            assert time.monotonic() < started + LONGEST_SECONDS, running.statuses()
            time.sleep(2)
        seconds, cpu = time.monotonic() - started, running.cpu_seconds
        while not running.is_idle():
            time.sleep(2)
        outcome = running.statuses()
    assert (status, set(outcome)) == ("COMPLETED_SUCCESS", {"SUCCESS"})
    assert city.run("snapshot").returncode == 0
    placed = dict(city.query(COUNTED))
    for feed, resolution, records in city.query(ADDED_UP):
        assert (feed, resolution, records) == (feed, resolution, placed[feed])
    for table in ("cell_months", "cell_profiles", "hotspots"):
        assert dict(city.query(MONTHS_HELD.format(table))) == dict.fromkeys(sorted(FEEDS), months)
    home = Path(city.settings["CITY311_DATA_DIR"]) / "dagster"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        tables, checks, whole = where_it_went(instance)
    ranked = sorted(tables.items(), key=lambda one: -one[1])
    by_table = ", ".join(f"{name} {took:.0f}" for name, took in ranked)
    trial.found(
        days=days_asked,
        records=f"{sum(placed.values()):,} with a point",
        wall_seconds=round(seconds),
        cpu_seconds=round(cpu),
        runs=sum(outcome.values()),
        seconds_of_runs=round(whole),
        of_these_steps_that_make_tables=round(sum(tables.values())),
        of_these_steps_that_check=round(checks),
        of_these_between_steps=round(whole - sum(tables.values()) - checks),
        seconds_by_table=by_table,
    )
