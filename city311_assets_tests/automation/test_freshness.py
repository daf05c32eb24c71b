"""Freshness: the rule on frames, the books from whichever file can be read, the published view."""

import datetime as dt
from pathlib import Path

import duckdb
import polars as pl
import pytest
from filelock import FileLock

from city311_assets.automation.freshness import (
    Freshness,
    every_feed,
    freshness,
    read_books,
)
from city311_assets.automation.newest_copy import UnreadableError
from city311_assets.cli.doctor import examine
from city311_assets.feeds.registry import FEEDS
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.settings import Settings, settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets.warehouse.tables.meta import SLICES

PACIFIC = -7
DAY = dt.date(2026, 6, 10)


def at(day: int, hour: int, minute: int = 0, zone: int = PACIFIC) -> dt.datetime:
    """Return an instant of June by a city's summer clock."""
    there = dt.timezone(dt.timedelta(hours=zone))
    return dt.datetime(2026, 6, day, hour, minute, tzinfo=there)


def books(*days: dt.date, feed: str = "sf_311", is_asked: bool = True) -> pl.DataFrame:
    asked_at = dt.datetime(2026, 6, 20) if is_asked else None
    return pl.DataFrame(
        [(feed, day, asked_at) for day in days],
        schema={"feed": pl.String, "day": pl.Date, "asked_at": pl.Datetime("us")},
        orient="row",
    )


def days(first: int, last: int) -> list[dt.date]:
    return [DAY.replace(day=day) for day in range(first, last + 1)]


@pytest.mark.parametrize(
    ("now", "behind", "is_late"),
    [
        (at(11, 7), 0, False),
        (at(12, 5, 59), 0, False),
        (at(12, 6), 1, False),
        (at(13, 5, 59), 1, False),
        (at(13, 6), 2, True),
        (at(20, 12), 9, True),
    ],
)
def test_a_feed_is_late_when_two_mornings_have_passed_without_their_day(
    now: dt.datetime, behind: int, is_late: bool
):
    said = freshness(SF_311, books(*days(1, 10)), now)
    assert (said.newest, said.days_behind, said.is_late) == (DAY, behind, is_late)


def test_it_is_late_since_the_morning_on_which_its_next_day_should_have_been_there():
    said = freshness(SF_311, books(*days(1, 10)), at(20, 12))
    assert said.late_since == at(12, 6)


@pytest.mark.parametrize("feed", ["sf_311", "chicago_311"])
def test_each_feed_is_measured_by_its_own_citys_clock(feed: str):
    now = at(13, 4, 30)  # half past six in Chicago
    said = freshness(FEEDS[feed], books(*days(1, 10), feed=feed), now)
    assert said.is_late == (feed == "chicago_311")


def test_the_change_of_clocks_moves_the_instant_and_not_the_hour():
    said = freshness(SF_311, books(dt.date(2026, 3, 6)), dt.datetime(2026, 3, 12, tzinfo=dt.UTC))
    assert said.late_since == dt.datetime(2026, 3, 8, 13, tzinfo=dt.UTC)
    said = freshness(SF_311, books(dt.date(2026, 3, 5)), dt.datetime(2026, 3, 12, tzinfo=dt.UTC))
    assert said.late_since == dt.datetime(2026, 3, 7, 14, tzinfo=dt.UTC)


def test_a_feed_never_made_is_not_late():
    for known in (books(), books(*days(1, 10), feed="chicago_311")):
        assert freshness(SF_311, known, at(20, 12)) == Freshness("sf_311", None)


def test_days_that_only_a_file_brought_are_days_nobody_asked_for():
    known = pl.concat([books(*days(1, 5)), books(*days(6, 12), is_asked=False)])
    said = freshness(SF_311, known, at(13, 12))
    assert (said.newest, said.is_late) == (dt.date(2026, 6, 5), True)
    assert said.missing == tuple(days(6, 12))
    only = freshness(SF_311, books(*days(1, 5), is_asked=False), at(20, 12))
    assert only.newest is None


def test_missed_nights_are_the_days_between_and_those_after_the_newest():
    known = books(*days(1, 3), *days(6, 8))
    said = freshness(SF_311, known, at(11, 12))
    assert said.missing == (*days(4, 5), *days(9, 10))
    assert said.gaps == tuple(days(4, 5))


def test_what_was_missed_long_ago_or_before_the_first_day_is_not_a_missed_night():
    known = books(dt.date(2026, 1, 1), *days(1, 9))
    said = freshness(SF_311, known, at(11, 12))
    assert said.missing[0] == DAY.replace(day=11) - dt.timedelta(days=35)
    assert said.gaps[0] == dt.date(2026, 1, 2)
    assert freshness(SF_311, books(*days(5, 9)), at(11, 12)).missing == (DAY,)


def test_yesterday_is_not_missing_before_the_morning():
    known = books(*days(1, 9))
    assert freshness(SF_311, known, at(11, 5, 59)).missing == ()
    assert freshness(SF_311, known, at(11, 6)).missing == (DAY,)


def test_the_order_of_the_books_changes_nothing():
    known = books(*days(1, 3), *days(6, 8))
    assert freshness(SF_311, known.reverse(), at(20, 1)) == freshness(SF_311, known, at(20, 1))


def test_one_late_feed_makes_no_other_late():
    known = pl.concat([books(*days(1, 5)), books(*days(1, 12), feed="chicago_311")])
    said = {one.feed: one.is_late for one in every_feed(FEEDS, known, at(13, 12))}
    assert said == dict.fromkeys(FEEDS, False) | {"sf_311": True}


# The books, from whichever file can be read.


@pytest.fixture
def city(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_settings: None) -> Settings:
    """Settings of a data folder of its own."""
    monkeypatch.setenv("CITY311_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    return settings()


def make(city: Settings, *days: dt.date, is_asked: bool = True) -> Warehouse:
    """Note days in the books of the warehouse, as bronze does."""
    warehouse = Warehouse(database=str(city.warehouse_path))
    noted = books(*days, is_asked=is_asked).with_columns(
        pl.lit(1, pl.Int64).alias("rows"), pl.lit(None, pl.Datetime("us")).alias("marked_stale_at")
    )
    with warehouse.transaction() as session:
        session.prepare(SLICES)
        session.run(f"insert into {SLICES} by name from noted", noted=noted)
    return warehouse


def held(frame: pl.DataFrame) -> list[int]:
    return [day.day for day in frame["day"]]


def test_nothing_written_is_no_books(city: Settings):
    warehouse = Warehouse(database=str(city.warehouse_path))
    assert read_books(warehouse, city.snapshot_path).is_empty()


def test_what_is_not_published_yet_is_known_all_the_same(city: Settings):
    warehouse = make(city, DAY)
    publish(warehouse, city.snapshot_path)
    make(city, DAY.replace(day=11))
    assert held(read_books(warehouse, city.snapshot_path)) == [10, 11]


def test_a_busy_warehouse_is_not_waited_for(city: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("city311_assets.automation.newest_copy.LOCK_TIMEOUT_SECONDS", 0.05)
    warehouse = make(city, DAY)
    with (
        FileLock(f"{warehouse.path}.lock"),
        pytest.raises(UnreadableError, match="nothing is published"),
    ):
        read_books(warehouse, city.snapshot_path)
    publish(warehouse, city.snapshot_path)
    make(city, DAY.replace(day=11))
    with FileLock(f"{warehouse.path}.lock"):
        assert held(read_books(warehouse, city.snapshot_path)) == [10]


def test_a_published_file_of_the_newest_write_is_read_without_the_lock(city: Settings):
    warehouse = make(city, DAY)
    publish(warehouse, city.snapshot_path)
    with FileLock(f"{warehouse.path}.lock"):
        assert held(read_books(warehouse, city.snapshot_path)) == [10]


def test_readers_of_the_published_file_see_how_far_each_feed_reaches(city: Settings):
    warehouse = make(city, *days(10, 11))
    make(city, DAY.replace(day=15), is_asked=False)
    publish(warehouse, city.snapshot_path)
    view = "select * exclude (newest_asked_at), newest_asked_at is not null from freshness"
    with duckdb.connect(str(city.snapshot_path), read_only=True) as conn:
        found = conn.sql(view).fetchall()
    assert found == [("sf_311", DAY.replace(day=11), 3, DAY, 3, True)]


def test_the_doctor_names_the_days_that_never_came(city: Settings):
    today = dt.date.today()
    first, last = (today - dt.timedelta(days=back) for back in (8, 4))
    make(city, first, last)
    found = {finding.subject: finding for finding in examine(city, None, None)}
    said = found["days of sf_311"]
    between = [first + dt.timedelta(days=on) for on in (1, 3)]
    assert not said.is_good
    assert said.seen.startswith(f"up to {last}, ")
    assert said.seen.endswith(f"; never asked for: {between[0]} to {between[1]}")
    assert (found["days of chicago_311"].is_good, found["days of chicago_311"].seen) == (
        True,
        "none yet",
    )
