"""Long range runs over the whole graph, left alone and killed."""

import random
import re
import shutil
import time
from pathlib import Path

import pytest

from city311_assets.feeds.registry import FEEDS
from city311_assets.sample_city.server import SampleCity, serving
from city311_assets_tests.commands import Installation, kill

pytestmark = pytest.mark.trial

SIXTY_DAYS = ("--from", "2026-03-01", "--to", "2026-04-29")
HELD = "select feed, count(*)::int from ({}) group by feed order by feed"
BRONZE = " union all ".join(f"select feed from bronze.{feed}" for feed in FEEDS)
SILVER = "select feed from silver.requests union all select feed from silver.incidents"
ASIDE = "select feed from silver.rejected_records"
CONTENT = """
    select table_name, rows, content from (
        select 'requests' as table_name, count(*) as rows,
            sum(hash(feed, day, record_id, opened_at_utc, closed_at_utc, cell, category))::varchar
                as content
        from silver.requests
        union all
        select 'incidents', count(*), sum(hash(feed, day, record_id, opened_at_utc, cell))::varchar
        from silver.incidents
        union all
        select 'weather', count(*), sum(hash(city, day, temperature_min_c, rain_7d_mm))::varchar
        from silver.weather_days
    ) order by 1
"""


def test_a_sixty_day_backfill_holds_what_the_portals_count(tmp_path: Path, trial):
    """60 days of every feed and city through `city311 materialize`; the rows are compared with what
    the portals' own count says, and bronze with silver and the rejected rows."""
    city = Installation.small(tmp_path, CITY311_SAMPLE_RECORDS_PER_DAY="400")
    started = time.monotonic()
    done = city.run("materialize", *SIXTY_DAYS)
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    bronze, silver = dict(city.query(HELD.format(BRONZE))), dict(city.query(HELD.format(SILVER)))
    aside = dict(city.query(HELD.format(ASIDE)))
    assert bronze == {feed: silver[feed] + aside.get(feed, 0) for feed in FEEDS}
    told = portal_counts(city)
    assert bronze == told
    said = re.search(r"([\d,]+) slices in (\d+) runs", done.stdout)
    assert said
    trial.found(
        rows=", ".join(f"{rows:,} {feed}" for feed, rows in bronze.items()),
        set_aside=", ".join(f"{rows} {feed}" for feed, rows in aside.items()),
        slices=said[1],
        runs=said[2],
        seconds=round(seconds),
    )


def portal_counts(city: Installation) -> dict[str, int]:
    """Return what the sample city's portals count for the sixty days."""
    from datetime import UTC, date, datetime

    from city311_assets.clients.socrata import Socrata

    now = datetime.fromisoformat(city.settings["CITY311_SAMPLE_NOW"]).replace(tzinfo=UTC)
    records = int(city.settings["CITY311_SAMPLE_RECORDS_PER_DAY"])
    sample = SampleCity(records_per_day=records, now=now, start=date(2026, 1, 1))
    counts = {}
    with serving(sample) as served:
        for feed in FEEDS.values():
            url = f"{served.url}/portals/{feed.city.portal}"
            with Socrata(feed, url) as portal:
                counts[feed.name] = portal.count(portal.window(date(2026, 3, 1), date(2026, 4, 30)))
    return dict(sorted(counts.items()))


def test_a_killed_range_run_leaves_whole_slices_and_is_mended_by_running_it_again(
    tmp_path: Path, trial
):
    """`kill -9` at 12 random moments of a range run; after each the published file opens and holds
    whole days only, and running the command again gives the same content as an undisturbed run."""
    days = ("--from", "2026-03-01", "--to", "2026-03-20")
    calm = Installation.small(tmp_path / "calm", CITY311_SAMPLE_RECORDS_PER_DAY="100")
    calm.folder.mkdir()
    started = time.monotonic()
    assert calm.run("materialize", *days).returncode == 0
    undisturbed = time.monotonic() - started
    wanted = calm.query(CONTENT)
    per_day = dict(calm.query("select feed || day, records from records_per_day"))
    moments = random.Random(311)
    torn = Installation.small(tmp_path / "torn", CITY311_SAMPLE_RECORDS_PER_DAY="100")
    torn.folder.mkdir()
    survived = 0
    for _ in range(12):
        process = torn.start("materialize", *days)
        time.sleep(moments.uniform(0.3, undisturbed))
        survived += process.poll() is not None
        kill(process)
        if torn.run("snapshot").returncode == 0 and torn.published.exists():
            held = torn.query("select feed || day, records from records_per_day")
            assert all(per_day[slice_] == records for slice_, records in held)
    assert torn.run("materialize", *days).returncode == 0
    assert torn.query(CONTENT) == wanted
    trial.found(kills=12, ended_before_the_kill=survived, undisturbed_seconds=round(undisturbed))
    shutil.rmtree(tmp_path)
