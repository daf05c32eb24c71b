"""What an operator waits for: the code location, a month through the whole graph, a night."""

import importlib
import os
import subprocess
import sys
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from benchmarks.measuring import Effort, interleaved, metered, run
from benchmarks.report import Row, verdict

MOST_CPU_SECONDS = 3.0
MOST_NIGHT_SECONDS, MOST_NIGHT_MEGABYTES = 60.0, 2_000.0
FIRST, DAYS = date(2026, 4, 1), 30
# The nightly runs bring the newest day, and those before it again. Risk has a row of its own, and
# what is made once a month is no part of a night.
NIGHTLY_DAYS, HELD_DAYS = 8, 24
EVERY_NIGHT = ("--select", "group:bronze or group:silver or group:gold")
SETTINGS = {
    "CITY311_DATA_DIR": "data",
    "CITY311_START_DATE": str(FIRST),
    "CITY311_SAMPLE_NOW": "2026-06-15T12:00:00+00:00",
}


def loads(module: str) -> None:
    with metered("import"):
        importlib.import_module(module)


def code_location(effort: Effort, _: Path) -> list[Row]:
    own, dagster = interleaved(
        effort.repeats,
        definitions=partial(loads, "city311_assets.definitions"),
        dagster_alone=partial(loads, "dagster"),
    )
    return [
        Row(
            "code location loads",
            "`import city311_assets.definitions`",
            f"{own.cpu():.2f} CPU-s, {own.peak:,.0f} MB",
            f"`import dagster` alone: {dagster.cpu():.2f} CPU-s",
            dagster.cpu() / own.cpu(),
            f"≤ {MOST_CPU_SECONDS:g} CPU-s",
            verdict(own.cpu() <= MOST_CPU_SECONDS),
        )
    ]


def _materialize(first: date, last: date, *more: str) -> None:
    city311 = Path(sys.executable).with_name("city311")
    subprocess.run(
        [city311, "materialize", "--from", str(first), "--to", str(last), *more],
        env=os.environ | SETTINGS,
        stdout=sys.stderr,
        check=True,
    )


def materializes(last: str) -> None:
    with metered("materialize"):
        _materialize(FIRST, date.fromisoformat(last))


def materializes_a_night(last: str) -> None:
    newest = date.fromisoformat(last)
    _materialize(FIRST, newest - timedelta(days=1), *EVERY_NIGHT)
    with metered("night"):
        _materialize(newest - timedelta(days=NIGHTLY_DAYS - 1), newest, *EVERY_NIGHT)


def sample_month(effort: Effort, _: Path) -> list[Row]:
    days = DAYS // effort.divisor
    (cost,) = run(partial(materializes, str(FIRST + timedelta(days=days - 1))))
    return [
        Row(
            "the sample city through the whole graph: `city311 materialize`",
            f"{days} days, 400 records a feed and day, once",
            f"{cost.wall:.1f} s, {60 * days / cost.wall:,.0f} days a minute; "
            f"{cost.cpu:.1f} CPU-s, {cost.peak:,.0f} MB",
        )
    ]


def sample_night(_: Effort, __: Path) -> list[Row]:
    (cost,) = run(partial(materializes_a_night, str(FIRST + timedelta(days=HELD_DAYS))))
    is_met = cost.wall <= MOST_NIGHT_SECONDS and cost.peak <= MOST_NIGHT_MEGABYTES
    return [
        Row(
            "a night without risk: every feed of the sample city, bronze to gold, with all checks",
            f"the newest day and {NIGHTLY_DAYS - 1} before it, {HELD_DAYS} days held, 400 records "
            "a feed and day, once",
            f"{cost.wall:.1f} s; {cost.cpu:.1f} CPU-s, {cost.peak:,.0f} MB with the days before",
            target=f"≤ {MOST_NIGHT_SECONDS:.0f} s, ≤ {MOST_NIGHT_MEGABYTES:,.0f} MB",
            met=verdict(is_met),
        )
    ]
