"""One city's portal is out for a night."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from city311_assets.automation import changed_days
from city311_assets.automation.changed_days import Cursor
from city311_assets.bronze.sources import Sources
from city311_assets.clients.socrata import Socrata
from city311_assets.definitions import build
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import range_tags
from city311_assets.sample_city.server import SampleCity, serving
from city311_assets.settings import Settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets_tests.portals import at
from city311_assets_tests.trials.nights import QUIET, Nights

pytestmark = pytest.mark.trial

OUT = {"kind": "status", "portal": SF_311.city.portal, "status": 503, "message": "out of service"}
NEWEST = f"select feed, max(day) from {SLICES} where asked_at is not null group by feed"
HELD_DAYS = 20


def test_a_portal_that_is_out_for_a_night_holds_up_no_other_and_is_made_up_for(
    tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, trial
):
    """San Francisco's portal answers 503 all night: every other night is complete, whosever it is,
    the alert says which feed and since when, once; the next night brings in what was missed, row
    for row, and the alert says it is over."""
    # Two nights pass within minutes here.
    monkeypatch.setattr(changed_days, "FIRST_RETRY_AFTER", timedelta(0))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    calm, first_night, second_night = (today + timedelta(hours=13, days=d) for d in (-2, -1, 0))
    clock = [calm - timedelta(hours=12)]
    start = (today - timedelta(days=HELD_DAYS + 2)).date()
    city = SampleCity(records_per_day=50, now=lambda: clock[0], start=start)
    settings = Settings(data_dir=tmp_path, source="live")
    with serving(city) as served, dg.DagsterInstance.local_temp() as instance:
        sources = Sources(
            origin="portal",
            portal_url=f"{served.url}/portals/{{portal}}",
            weather_archive_url=f"{served.url}/weather",
            weather_forecast_url=f"{served.url}/weather",
            attempts=2,
            longest_wait_seconds=0.01,
        )
        nights = Nights(warehouse, sources, instance, settings)
        last = calm.date() - timedelta(days=1)
        for job in (*(f"records_{feed}" for feed in FEEDS), *(f"weather_{c}" for c in CITIES)):
            done = (
                build(at(sources, clock[0]), warehouse)
                .resolve_job_def(job)
                .execute_in_process(
                    instance=instance, tags=range_tags(start, last), run_config=QUIET
                )
            )
            assert done.success
        clock[0] = calm
        quiet = nights.pass_by(calm)
        assert (quiet.failed, quiet.ticks_failed, quiet.alerts) == (set(), {}, [])
        clock[0] = first_night
        city.plan_faults([OUT])
        out = nights.pass_by(first_night)
        newest = dict(warehouse.read(NEWEST).iter_rows())
        yesterday = first_night.date() - timedelta(days=1)
        assert out.failed == {"records_sf_311"}
        assert set(out.ticks_failed) == {"changed_days_sf_311"}
        assert newest == {feed: last if feed == "sf_311" else yesterday for feed in FEEDS}
        (message,) = out.alerts
        assert nights.look(first_night + timedelta(minutes=1)) == []
        city.plan_faults([])
        clock[0] = second_night
        mended = nights.pass_by(second_night)
        assert (mended.failed, mended.ticks_failed) == (set(), {})
        (over,) = mended.alerts
        nights.sense(second_night + timedelta(minutes=30), mended)
        assert mended.failed == set()
        waiting = {
            name: dict(Cursor.read(cursor).pending_days)
            for name, cursor in nights.cursors.items()
            if cursor
        }
        assert waiting == {name: {} for name in waiting}
        held = {}
        for feed in FEEDS.values():
            with Socrata(feed, f"{served.url}/portals/{feed.city.portal}") as portal:
                told = portal.counts_by_day(start, second_night.date())
            books = warehouse.read(
                f"select day, rows from {SLICES} where feed = $feed and rows > 0",
                {"feed": feed.name},
            )
            assert dict(books.iter_rows()) == told
            held[feed.name] = sum(told.values())
    for word in ("sf_311", "503", "out of service", "Since"):
        assert word in message
    assert all(feed not in message for feed in FEEDS if feed != "sf_311")
    assert "OVER" in over
    trial.found(
        runs_of_the_night=len(out.runs),
        of_them_failed=sum(not is_good for _, is_good in out.runs),
        alert=f"\n\n```\n{message}\n```\n",
        next_night=f"\n\n```\n{over}\n```\n",
        rows_held=", ".join(f"{rows:,} {feed}" for feed, rows in held.items()),
    )
