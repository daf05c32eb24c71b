"""Several runs at once under a real daemon, while readers hold and open the published file."""

import json
import subprocess
import sys
import time
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import pytest

from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets_tests.commands import Installation
from city311_assets_tests.trials.daemon import dev
from city311_assets_tests.trials.test_backfill import portal_counts

pytestmark = pytest.mark.trial

FIRST, DAYS = date(2026, 3, 1), 60
LONGEST_SECONDS = 1_500
# The sensors make up for other days meanwhile; these are the backfill's.
HELD = """
    select feed, count(*)::int from ({}) where day between '2026-03-01' and '2026-04-29'
    group by feed order by feed
"""
BY_MONTH = {table.name for table in TABLES if table.period == "month"}
BRONZE = " union all ".join(f"select feed, day from bronze.{feed}" for feed in FEEDS)
SILVER = "select feed, day from silver.requests union all select feed, day from silver.incidents"
# One holds the file open all along, one opens and closes it; each counts what it reads, and errors.
READER = """
import duckdb, json, sys, time
from pathlib import Path
path, mode, stop = sys.argv[1], sys.argv[2], Path(sys.argv[3])
said = {"reads": 0, "errors": [], "versions": 0, "torn": 0}
held, seen = None, set()
while not stop.exists():
    if not Path(path).exists():
        time.sleep(0.1)
        continue
    try:
        if held is None:
            held = duckdb.connect(path, read_only=True)
        version = held.sql("select data_version from meta.publications").fetchall()[0][0]
        slices = held.sql(
            "select count(*) from (select feed, day, rows from meta.slices where rows > 0) as s "
            "full join (" + " union all ".join(
                f"select feed, day, count(*) as rows from bronze.{feed} group by feed, day"
                for feed in FEEDS
            ) + ") as b using (feed, day) where s.rows is distinct from b.rows"
        ).fetchall()[0][0]
        said["torn"] += slices
        said["reads"] += 1
        seen.add(version)
        if mode == "opens":
            held.close()
            held = None
    except Exception as error:
        said["errors"].append(str(error))
    time.sleep(0.2)
said["versions"] = len(seen)
print(json.dumps(said))
"""


def reader(city: Installation, mode: str) -> subprocess.Popen[str]:
    """Start a process that reads the published file until the file `stop` is there."""
    return subprocess.Popen(
        [
            *(sys.executable, "-c", READER.replace("in FEEDS", f"in {sorted(FEEDS)}")),
            *(str(city.published), mode, str(city.folder / "stop")),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_backfill_of_sixty_days_under_a_real_daemon_with_readers(tmp_path: Path, trial):
    """60 days of every asset that is sliced by days, launched over GraphQL as the UI does, one
    backfill a feed and city, with every sensor and schedule on; one process holds the published
    file open, another opens and closes it all the while."""
    city = Installation.small(tmp_path, CITY311_SAMPLE_RECORDS_PER_DAY="400")
    days = [str(FIRST + timedelta(days=number)) for number in range(DAYS)]
    assert city.run("materialize", "--from", days[0], "--to", days[0]).returncode == 0
    readers = [reader(city, mode) for mode in ("holds", "opens")]
    with dev(city) as running:
        by_name = defaultdict(list)
        for path, is_partitioned in running.assets():
            if is_partitioned and path[1] not in BY_MONTH:
                by_name[path[-1]].append(path)
        assert set(by_name) == {*FEEDS, *CITIES}
        started = time.monotonic()
        backfills = [running.backfill(paths, days) for paths in by_name.values()]
        most_at_once = 0
        while not all(running.status_of(one).startswith("COMPLETED") for one in backfills):
            assert time.monotonic() < started + LONGEST_SECONDS, running.statuses()
            most_at_once = max(most_at_once, running.statuses()["STARTED"])
            time.sleep(1)
        seconds, cpu = time.monotonic() - started, running.cpu_seconds
        # What the sensors still want: the last publication at least.
        time.sleep(90)
        while not running.is_idle():
            time.sleep(1)
        runs, outcome = running.runs(), running.statuses()
    (city.folder / "stop").touch()
    told = [json.loads(one.communicate(timeout=60)[0]) for one in readers]
    of_backfills = [
        run for run in runs if any(tag["key"] == "dagster/backfill" for tag in run["tags"])
    ]
    assert set(outcome) == {"SUCCESS"}
    bronze, silver = (dict(city.query(HELD.format(table))) for table in (BRONZE, SILVER))
    assert bronze == portal_counts(city)
    assert sum(bronze.values()) >= sum(silver.values()) > 0
    assert [one["errors"] for one in told] == [[], []]
    assert [one["torn"] for one in told] == [0, 0]
    trial.found(
        rows=", ".join(f"{rows:,} {feed}" for feed, rows in bronze.items()),
        backfills=len(backfills),
        runs_of_them=len(of_backfills),
        at_most_at_once=most_at_once,
        other_runs=len(runs) - len(of_backfills),
        wall_seconds=round(seconds),
        cpu_seconds=round(cpu),
        reads_of_the_held_file=told[0]["reads"],
        reads_of_the_opened_file=told[1]["reads"],
        versions_it_saw=told[1]["versions"],
        reader_errors=0,
    )
