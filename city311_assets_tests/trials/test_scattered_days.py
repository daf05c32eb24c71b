"""Two hundred days that changed in one night, scattered over a year."""

import datetime as dt
import os
import random
import subprocess
import sys
import time

import dagster as dg
import pytest

from city311_assets.automation.changed_days import Cursor, changed_days
from city311_assets.automation.day_ranges import coalesced
from city311_assets.bronze.sources import Sources
from city311_assets.definitions import build
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import range_tags
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets_tests.portals import Portals, at, ranges_of

pytestmark = pytest.mark.trial

FIRST, DAYS, CHANGED = dt.date(2025, 6, 14), 365, 200
RECORDS_PER_DAY = 100
JOB = "records_sf_311"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
MOST_TICKS = 10


def cases(closed: set[int], stamp: str) -> list[dict[str, str | None]]:
    """Return a year of cases; one of each closed day bears the later stamp."""
    made = []
    for number in range(DAYS * RECORDS_PER_DAY):
        day, index = divmod(number, RECORDS_PER_DAY)
        is_late = day in closed and index == 0
        made.append(
            {
                "service_request_id": str(number),
                "requested_datetime": f"{FIRST + dt.timedelta(days=day)}T09:00:00.000",
                "service_name": "Graffiti",
                "closed_date": "2026-06-14T01:00:00.000" if is_late else None,
                ":updated_at": stamp if is_late else "2026-06-01T00:00:00.000Z",
            }
        )
    return made


def test_two_hundred_scattered_days_that_changed_in_one_night(
    warehouse: Warehouse, portal: Portals, trial
):
    """A year of 100 cases a day is held; one case of each of 200 random days closes overnight. The
    sensor asks, the runs bring bronze and silver, until nothing is pending; the same days again as
    runs with longer and shorter gaps filled."""
    closed = set(random.Random(311).sample(range(DAYS), CHANGED))
    now = dt.datetime(2026, 6, 14, 8, tzinfo=dt.UTC)
    sensor, cursor, asked = changed_days(SF_311), None, []

    def sources() -> Sources:
        nonlocal now
        now += dt.timedelta(minutes=30)
        return at(portal.sources, now)

    def run(instance: dg.DagsterInstance, first: dt.date, last: dt.date) -> None:
        defs = build(sources(), warehouse)
        done = defs.resolve_job_def(JOB).execute_in_process(
            instance=instance, tags=range_tags(first, last), run_config=QUIET
        )
        assert done.success

    def wanted(instance: dg.DagsterInstance) -> list[tuple[dt.date, dt.date]]:
        nonlocal cursor
        resources = {"warehouse": warehouse, "sources": sources()}
        with dg.build_sensor_context(
            instance=instance, cursor=cursor, resources=resources
        ) as context:
            done = sensor.evaluate_tick(context)
        cursor = done.cursor
        return ranges_of(done.run_requests)

    with dg.DagsterInstance.local_temp() as instance:
        portal.publish(SF_311, *cases(set(), ""))
        for first, last in coalesced(FIRST + dt.timedelta(days=n) for n in range(DAYS)):
            run(instance, first, last)
        assert wanted(instance) == []
        portal.publish(SF_311, *cases(closed, "2026-06-14T09:30:00.000Z"))
        started, ticks = time.monotonic(), 0
        while ticks < MOST_TICKS:
            ticks += 1
            ranges = wanted(instance)
            for first, last in ranges:
                run(instance, first, last)
            asked += ranges
            if not ranges:
                break
        seconds = time.monotonic() - started
        assert not Cursor.read(cursor or "").pending_days
        late = f"select count(*) from {RECORDS['sf_311']} where closed_date is not null"
        assert warehouse.read(late).item() == CHANGED
        days = [FIRST + dt.timedelta(days=number) for number in closed]
        by_gap = {}
        for gap in (0, 3, 7, 14):
            ranges, begun = coalesced(days, gap), time.monotonic()
            for first, last in ranges:
                run(instance, first, last)
            by_gap[gap] = f"{len(ranges)} runs, {time.monotonic() - begun:.0f} s"
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "import city311_assets.definitions"], check=True, env={**os.environ}
    )
    trial.found(
        changed_days=CHANGED,
        runs=len(asked),
        ticks_of_the_sensor=ticks,
        seconds_in_one_process=round(seconds),
        **{f"gaps_of_{gap}_days_filled": said for gap, said in by_gap.items()},
        seconds_a_runs_process_takes_to_load=round(time.monotonic() - begun, 1),
    )
