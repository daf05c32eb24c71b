"""Unusual days: what is read of `gold.anomalies`, and which of it is new enough to be told."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from filelock import FileLock

from city311_assets.automation.newest_copy import UnreadableError
from city311_assets.automation.unusual_days import (
    WATCHED_DAYS,
    Figures,
    Unusual,
    Watched,
    nothing_tested,
    read_tested,
    watched,
)
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets_tests.automation.tested_days import LABEL, LOOP, Seen, name_the_loop, write

NOW = dt.datetime(2026, 6, 20, 12, tzinfo=dt.UTC)
FEED = "chicago_crimes"


def june(day: int) -> dt.date:
    return dt.date(2026, 6, day)


@pytest.fixture
def city(tmp_path: Path) -> Warehouse:
    return Warehouse(database=str(tmp_path / "warehouse" / "warehouse.duckdb"))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return tmp_path / "city311.duckdb"


def seen(city: Warehouse, path: Path, now: dt.datetime = NOW) -> Watched:
    (found,) = watched([FEED], read_tested(city, path, now))
    return found


def unusual(found: Watched) -> dict[str, list[int]]:
    """Return the days of each anomaly that is not over, by category and place."""
    return {
        one.key.removeprefix(f"{FEED} "): [day.day for day in one.days]
        for one in found.unusual
        if not one.is_over
    }


def test_an_anomaly_is_what_where_when_how_many_and_what_to_open(city: Warehouse, published: Path):
    name_the_loop(city)
    write(city, june(18), Seen(records=56))
    write(city, june(19), Seen())
    found = seen(city, published)
    assert found.days == (june(19), june(18))
    assert found.unusual == (
        Unusual(
            feed=FEED,
            category="theft",
            cell=LOOP,
            label=LABEL,
            days=(june(19), june(18)),
            figures=(
                Figures(june(19), 69, 18.37, 9, 30, "more"),
                Figures(june(18), 56, 18.37, 9, 30, "more"),
            ),
            streets=("S COLUMBUS DR", "E MONROE ST"),
            record_ids=("11", "12", "13"),
            is_over=False,
        ),
    )


def test_each_category_and_place_is_one_and_the_newest_and_clearest_come_first(
    city: Warehouse, published: Path
):
    write(city, june(18), Seen("assault"), Seen("theft", q=1e-3))
    write(city, june(19), Seen("theft", None, q=1e-3), Seen("theft", q=1e-9), Seen("all", None))
    assert unusual(seen(city, published)) == {
        f"theft {LOOP}": [19, 18],
        "all city": [19],
        "theft city": [19],
        f"assault {LOOP}": [18],
    }


def test_it_is_over_when_three_tested_days_since_are_as_expected(city: Warehouse, published: Path):
    write(city, june(12), Seen())
    for day in (13, 16):
        write(city, june(day))
    assert unusual(seen(city, published)) == {f"theft {LOOP}": [12]}
    write(city, june(17))
    assert unusual(seen(city, published)) == {}
    assert [one.is_over for one in seen(city, published).unusual] == [True]


def test_a_provisional_day_is_neither_an_anomaly_nor_a_quiet_day(city: Warehouse, published: Path):
    write(city, june(12), Seen())
    for day in (13, 14, 15):
        write(city, june(day), Seen("assault"), is_provisional=True)
    assert unusual(seen(city, published)) == {f"theft {LOOP}": [12]}
    assert seen(city, published).days == (june(12),)


def test_a_day_without_a_history_was_not_tested(city: Warehouse, published: Path):
    write(city, june(12), Seen())
    for day in (13, 14, 15):
        write(city, june(day), reason="short history")
    assert seen(city, published).days == (june(12),)


def test_days_behind_the_newest_that_were_tested_are_not_watched(city: Warehouse, published: Path):
    for day in range(1, 1 + WATCHED_DAYS):
        write(city, june(1) + dt.timedelta(days=day))
    write(city, june(1), Seen())
    found = seen(city, published)
    assert len(found.days) == WATCHED_DAYS
    assert found.unusual == ()


def test_days_of_long_ago_are_not_watched_though_they_are_the_newest(
    city: Warehouse, published: Path
):
    for day in (1, 2, 3):
        write(city, dt.date(2025, 3, day), Seen())
    assert seen(city, published) == Watched(FEED, (), ())
    long_ago = dt.datetime(2025, 3, 5, tzinfo=dt.UTC)
    assert unusual(seen(city, published, long_ago)) == {f"theft {LOOP}": [3, 2, 1]}


def test_a_day_that_is_made_again_counts_as_it_is_now(city: Warehouse, published: Path):
    write(city, june(18), Seen(), Seen("assault"))
    write(city, june(18), Seen("assault"))
    assert unusual(seen(city, published)) == {f"assault {LOOP}": [18]}


def test_what_one_feed_has_is_nothing_of_another(city: Warehouse, published: Path):
    write(city, june(18), Seen(), feed="chicago_311")
    write(city, june(19))
    feeds = [FEED, "chicago_311", "sf_311"]
    found = list(watched(feeds, read_tested(city, published, NOW)))
    assert [len(one.unusual) for one in found] == [0, 1, 0]
    assert [one.days for one in found] == [(june(19),), (june(18),), ()]


def test_the_order_of_rows_changes_nothing(city: Warehouse, published: Path):
    write(city, june(18), *(Seen(f"kind {number}", q=0.01) for number in range(5)))
    tested = read_tested(city, published, NOW)
    mixed = tested.anomalies.sample(fraction=1, shuffle=True, seed=3)
    again = type(tested)(tested.days.reverse(), mixed)
    assert list(watched([FEED], again)) == list(watched([FEED], tested))


def test_texts_of_data_are_one_line_and_not_endless(city: Warehouse, published: Path):
    name_the_loop(city, "The\u202e\nLoop")
    write(city, june(18), Seen(streets=("A\n@here",), record_ids=("1" * 1_000,)))
    (one,) = seen(city, published).unusual
    assert (one.label, one.streets) == ("The Loop", ("A @here",))
    assert len(one.record_ids[0]) == 300


# From whichever file can be read.


def days(city: Warehouse, path: Path) -> list[int]:
    return [day.day for day in read_tested(city, path, NOW).days["day"]]


def test_nothing_written_and_a_missing_table_are_no_anomalies(city: Warehouse, published: Path):
    assert read_tested(city, published, NOW).days.is_empty()
    with city.transaction() as session:
        session.run("create table other (x int)")
    found = read_tested(city, published, NOW)
    assert found.days.is_empty()
    assert found.anomalies.is_empty()


def test_a_city_without_anomalies_has_the_columns_of_one_with_them(
    city: Warehouse, published: Path
):
    write(city, june(18), Seen())
    found, nothing = read_tested(city, published, NOW), nothing_tested()
    assert found.days.schema == nothing.days.schema
    assert found.anomalies.schema == nothing.anomalies.schema
    assert found.anomalies["q"].dtype == pl.Float64


def test_what_is_not_published_yet_is_known_all_the_same(city: Warehouse, published: Path):
    write(city, june(18))
    publish(city, published)
    write(city, june(19))
    assert days(city, published) == [18, 19]


def test_a_published_file_of_the_newest_write_is_read_without_the_lock(
    city: Warehouse, published: Path
):
    write(city, june(18))
    publish(city, published)
    with FileLock(f"{city.path}.lock"):
        assert days(city, published) == [18]


def test_a_busy_warehouse_is_not_waited_for(
    city: Warehouse, published: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("city311_assets.automation.newest_copy.LOCK_TIMEOUT_SECONDS", 0.05)
    write(city, june(18))
    with (
        FileLock(f"{city.path}.lock"),
        pytest.raises(UnreadableError, match="nothing is published"),
    ):
        days(city, published)
    publish(city, published)
    write(city, june(19))
    with FileLock(f"{city.path}.lock"):
        assert days(city, published) == [18]
