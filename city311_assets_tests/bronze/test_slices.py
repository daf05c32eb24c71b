"""Slices: which days bronze holds, since when, and which are to be asked for again."""

import datetime as dt

import polars as pl
import pytest

from city311_assets.bronze.records import records, write
from city311_assets.bronze.slices import HELD, Asked, slices, stale_days
from city311_assets.clients.socrata import Answer
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.warehouse.errors import SliceRefusedError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets_tests.portals import Portals, materialize, published

DAY = dt.date(2026, 1, 2)
NEXT = DAY + dt.timedelta(days=1)
LATER = NEXT + dt.timedelta(days=1)
BOTH = Slice("sf_311", DAY, LATER)
ALL = f"""
    select day, rows, asked_at is not null, marked_stale_at is not null from {SLICES} order by day
"""


def at(hour: int) -> dt.datetime:
    return dt.datetime(2026, 6, 1, hour)


def case(number: str, day: dt.date) -> dict[str, str | None]:
    return {
        "service_request_id": number,
        "requested_datetime": f"{day}T09:00:00.000",
        "service_name": "Graffiti",
    }


def held(*days: tuple[dt.date, int, dt.datetime | None, dt.datetime | None]) -> pl.DataFrame:
    types = {column.name: column.type for column in SLICES.columns}
    assert list(types) == ["feed", "day", "rows", "asked_at", "marked_stale_at"]
    schema = dict(zip(types, (pl.String, pl.Date, pl.Int64, *[pl.Datetime("us")] * 2), strict=True))
    return pl.DataFrame([("sf_311", *day) for day in days], schema=schema, orient="row")


def rows(*days: dt.date) -> pl.DataFrame:
    return pl.DataFrame({"day": list(days)}, schema={"day": pl.Date})


def kept(frame: pl.DataFrame) -> list[tuple]:
    return frame.drop("feed").rows()


def test_every_day_of_a_whole_answer_is_known_also_an_empty_one():
    made = slices(held(), rows(DAY, DAY), Asked(BOTH, at(5), is_complete=True))
    assert kept(made) == [(DAY, 2, at(5), None), (NEXT, 0, at(5), None)]


def test_a_file_counts_rows_and_makes_no_day_known():
    before = held((DAY, 1, at(5), None))
    made = slices(before, rows(DAY, DAY, NEXT), Asked(BOTH, at(7), is_complete=False))
    assert kept(made) == [(DAY, 2, at(5), None), (NEXT, 1, None, None)]


def test_an_answer_that_was_asked_for_earlier_turns_no_clock_back():
    made = slices(
        held((DAY, 1, at(9), None)), rows(DAY), Asked(BOTH.day(DAY), at(5), is_complete=True)
    )
    assert kept(made) == [(DAY, 1, at(9), None)]


def test_a_time_that_is_still_to_come_is_no_clocks_to_turn_back():
    asked = Asked(BOTH.day(DAY), at(5), is_complete=True, now=at(6))
    assert kept(slices(held((DAY, 1, at(9), None)), rows(DAY), asked)) == [(DAY, 1, at(5), None)]


@pytest.mark.parametrize(("asked", "is_stale"), [(5, True), (6, False), (7, False)])
def test_an_answer_since_then_clears_the_mark(asked: int, is_stale: bool):
    before = held((DAY, 1, at(4), at(6)))
    made = slices(before, rows(DAY), Asked(BOTH.day(DAY), at(asked), is_complete=True))
    assert made["marked_stale_at"].to_list() == ([at(6)] if is_stale else [None])


def test_a_file_clears_no_mark():
    before = held((DAY, 1, None, at(6)))
    made = slices(before, rows(DAY), Asked(BOTH.day(DAY), at(9), is_complete=False))
    assert made["marked_stale_at"].to_list() == [at(6)]


def test_only_days_that_hold_an_arrived_record_from_an_earlier_look_are_doubtful():
    elsewhere = pl.DataFrame(
        {
            "record_id": ["1", "2", "3"],
            "day": [DAY, NEXT, LATER],
            "observed_until": [at(4), at(6), at(4)],
        }
    )
    arrived = pl.DataFrame({"record_id": ["1", "2", None]})
    assert stale_days(elsewhere, arrived, at(5))["day"].to_list() == [DAY]


def run(warehouse: Warehouse, portal: Portals, first: dt.date, last: dt.date | None = None) -> None:
    assert materialize(records(SF_311), warehouse, portal.sources, first, last).success


def test_a_day_never_made_has_no_slice_and_an_empty_one_has(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1", DAY))
    run(warehouse, portal, DAY, NEXT)
    assert warehouse.read(ALL).rows() == [(DAY, 1, True, False), (NEXT, 0, True, False)]


def test_the_day_a_record_moved_from_is_to_be_asked_for_again(
    warehouse: Warehouse, portal: Portals
):
    portal.publish(SF_311, case("1", DAY), case("2", DAY))
    run(warehouse, portal, DAY, NEXT)
    portal.publish(SF_311, case("1", NEXT), case("2", DAY))
    run(warehouse, portal, NEXT)
    assert warehouse.read(ALL).rows() == [(DAY, 2, True, True), (NEXT, 1, True, False)]
    run(warehouse, portal, DAY)
    assert warehouse.read(ALL).rows() == [(DAY, 1, True, False), (NEXT, 1, True, False)]


def test_the_day_a_record_moved_to_makes_nothing_doubtful(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1", DAY))
    run(warehouse, portal, DAY, NEXT)
    portal.publish(SF_311, case("1", NEXT))
    run(warehouse, portal, DAY)
    assert warehouse.read(ALL).rows() == [(DAY, 0, True, False), (NEXT, 0, True, False)]


def test_a_record_that_stands_under_two_days_all_along_marks_neither_again(
    warehouse: Warehouse, portal: Portals
):
    portal.publish(SF_311, case("1", DAY), {**case("1", NEXT), ":id": "another row"})
    run(warehouse, portal, DAY)
    run(warehouse, portal, NEXT)
    assert warehouse.read(ALL).rows() == [(DAY, 1, True, True), (NEXT, 1, True, False)]
    for day in (DAY, NEXT, DAY):
        run(warehouse, portal, day)
        assert warehouse.read(ALL).rows() == [(DAY, 1, True, False), (NEXT, 1, True, False)]


def test_a_failed_write_keeps_the_old_books(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1", DAY))
    run(warehouse, portal, DAY)
    made = {":created_at": pl.lit(None, pl.String), "extra": pl.lit(None, pl.String)}
    answer = Answer(published(SF_311, [case("2", LATER)]).with_columns(**made), at(5), ())
    with (
        pytest.raises(SliceRefusedError, match="another slice"),
        warehouse.transaction() as session,
    ):
        write(session, SF_311, answer, "portal", BOTH)
    assert warehouse.read(ALL).rows() == [(DAY, 1, True, False)]


def test_days_of_an_older_warehouse_are_adopted(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1", DAY), case("2", DAY), case("3", LATER))
    run(warehouse, portal, DAY, LATER)
    with warehouse.transaction() as session:
        session.run(f"drop table {SLICES}")
        session.run(f"update {RECORDS['sf_311']} set fetched_from = 'a.csv' where record_id = '3'")
    run(warehouse, portal, NEXT)
    assert warehouse.read(ALL).rows() == [
        (DAY, 2, True, False),
        (NEXT, 0, True, False),
        (LATER, 1, False, False),
    ]
    assert warehouse.read(HELD, BOTH)["feed"].to_list() == ["sf_311"] * 2
