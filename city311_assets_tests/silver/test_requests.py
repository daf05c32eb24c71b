"""Silver requests: how long they took, which are administrative, and which repeat another."""

import datetime as dt
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.nyc_311 import NYC_311
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.silver.records import newest_versions
from city311_assets.silver.requests import request_rows, requests
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS, REQUESTS
from city311_assets_tests.portals import materialize, verdicts
from city311_assets_tests.silver.raw import DAY, NO_AREAS, OBSERVED, filled, raw

FALL, SPRING = "2026-11-01", "2026-03-08"
every_clock = pytest.mark.parametrize(
    "feed", [SF_311, CHICAGO_311, NYC_311], ids=lambda feed: feed.name
)


def requested(feed: Feed, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    accepted = newest_versions(raw(feed, *rows), feed).accepted
    return request_rows(accepted, feed, NO_AREAS).to_dicts()


def one(feed: Feed, **row: Any) -> dict[str, Any]:
    (found,) = requested(feed, row)
    return found


def timed(
    opened: str, closed: str | None, feed: Feed = SF_311, observed_until: dt.datetime = OBSERVED
) -> tuple[float | None, str | None]:
    assert feed.closed
    times = {feed.opened: opened, feed.closed: closed, "observed_until": observed_until}
    row = one(feed, **times)
    assert (row["closed_at"] is None) == (row["closed_at_utc"] is None)
    return row["hours_to_close"], row["hours_to_close_reason"]


@pytest.mark.parametrize(
    ("opened", "closed", "hours", "reason"),
    [
        ("2026-01-02T09:00:00", "2026-01-02T10:30:00", 1.5, None),
        ("2026-01-02T09:00:00", "2026-01-12T09:00:00", 240.0, None),
        ("2026-01-02T09:00:00", "2026-01-02T09:00:00", 0.0, None),
        ("2026-01-02T09:00:00", "01/02/2026 09:00:36 AM", 0.01, None),
        ("2026-01-02T23:30:00", "2026-01-03T00:30:00", 1.0, None),
        ("2026-01-02", "2026-01-03", 24.0, None),
        ("2026-01-02T09:00:00", None, None, "open"),
        ("2026-01-02T09:00:00", "", None, "open"),
        ("2026-01-02T09:00:00", "  ", None, "open"),
        ("2026-01-02T09:00:00", "NULL", None, "open"),
        ("2026-01-02T09:00:00", "n/a", None, "open"),
        ("2026-01-02T09:00:00", "soon", None, "closed_unreadable"),
        ("2026-01-02T09:00:00", "2026-01-02T08:59:59", None, "closed_before_opened"),
        ("2026-01-02T09:00:00", "2025-02-02T09:00:00", None, "closed_before_opened"),
        ("2026-01-02T09:00:00", "2026-01-02", None, "closed_before_opened"),
        ("2026-01-02", "01/02/2026", None, "closed_same_day_untimed"),
        ("2026-01-02T09:00:00", "2027-01-01T09:00:00", None, "closed_after_observed"),
    ],
)
def test_a_request_has_the_hours_it_took_or_the_reason_it_has_none(
    opened: str, closed: str | None, hours: float | None, reason: str | None
):
    assert timed(opened, closed) == (hours, reason)


def test_a_closing_after_the_portal_was_asked_is_not_known():
    closed = "2026-01-02T10:00:00"
    at = dt.datetime(2026, 1, 2, 18)
    just = dt.timedelta(seconds=1)
    assert timed("2026-01-02T09:00:00", closed, observed_until=at) == (1.0, None)
    assert timed("2026-01-02T09:00:00", closed, observed_until=at - just) == (
        None,
        "closed_after_observed",
    )
    row = one(SF_311, requested_datetime="2026-01-02", closed_date=closed, observed_until=at - just)
    assert (row["closed_at"], row["closed_at_utc"]) == (None, None)


def test_what_was_published_of_a_closing_is_kept_also_when_it_gives_no_hours():
    row = one(SF_311, closed_date="2025-12-31T10:00:00")
    assert row["hours_to_close_reason"] == "closed_before_opened"
    assert row["closed_at"] == dt.datetime(2025, 12, 31, 10)
    assert row["closed_at_utc"] == dt.datetime(2025, 12, 31, 18)


@every_clock
@pytest.mark.parametrize(
    ("day", "opened", "closed", "hours"),
    [
        (FALL, "00:30", "02:30", 3.0),
        (FALL, "00:30", "01:30", 1.0),
        (FALL, "01:30", "23:30", 23.0),
        (SPRING, "01:30", "03:30", 1.0),
        (SPRING, "00:00:01", "23:30:01", 22.5),
        (SPRING, "02:30", "03:30", 0.0),
        ("2026-06-01", "00:30", "02:30", 2.0),
    ],
)
def test_the_autumn_night_is_an_hour_longer_and_the_spring_night_an_hour_shorter(
    feed: Feed, day: str, opened: str, closed: str, hours: float
):
    opened, closed = (time if time.count(":") == 2 else f"{time}:00" for time in (opened, closed))
    assert timed(f"{day}T{opened}", f"{day}T{closed}", feed) == (hours, None)


@every_clock
@pytest.mark.parametrize(
    ("day", "hours"), [(SPRING, 24.0), (FALL, 24.0), ("2026-03-07", 23.0), ("2026-10-31", 25.0)]
)
def test_from_half_past_eleven_to_half_past_eleven_of_the_next_day(
    feed: Feed, day: str, hours: float
):
    after = dt.date.fromisoformat(day) + dt.timedelta(days=1)
    assert timed(f"{day}T23:30:00", f"{after}T23:30:00", feed) == (hours, None)


MINUTES = st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2027, 6, 1)).map(
    lambda time: time.isoformat()
)


@given(
    st.lists(
        st.tuples(MINUTES, st.one_of(st.none(), MINUTES, st.just("x"))), min_size=1, max_size=30
    )
)
@settings(max_examples=30, deadline=None)
def test_hours_are_never_negative_and_stand_exactly_where_no_reason_does(times):
    rows = requested(
        SF_311, *({"requested_datetime": opened, "closed_date": closed} for opened, closed in times)
    )
    assert len(rows) == len(times)
    for row in rows:
        assert (row["hours_to_close"] is None) != (row["hours_to_close_reason"] is None)
        assert row["hours_to_close"] is None or row["hours_to_close"] >= 0


@pytest.mark.parametrize(
    ("row", "is_administrative"),
    [
        ({"sr_type": "311 INFORMATION ONLY CALL"}, True),
        ({"sr_type": " 311 Information  Only Call"}, True),
        ({"sr_type": "Check for Leak"}, False),
        ({"closed_date": "2026-01-02T09:00:00.000"}, True),
        ({"closed_date": "2026-01-02T09:00:01.000"}, False),
        ({"closed_date": None}, False),
        ({"closed_date": "2026-01-02T08:00:00.000"}, False),
        ({"created_date": "2026-01-02", "closed_date": "2026-01-02"}, False),
    ],
)
def test_administrative_is_what_asks_for_no_work(row: dict[str, Any], is_administrative: bool):
    row = {"sr_type": "Check for Leak"} | row
    assert one(CHICAGO_311, **row)["is_administrative"] is is_administrative


@pytest.mark.parametrize(
    ("published", "link"),
    [
        ("https://example.org/1.jpg", "https://example.org/1.jpg"),
        (' {"url": "https://example.org/1.jpg"} ', "https://example.org/1.jpg"),
        ('{"url": "https://example.org/1.jpg", "description": "x"}', "https://example.org/1.jpg"),
        ('{"url": ""}', None),
        ('{"url": null}', None),
        ('{"other": "x"}', None),
        ("{broken", None),
        ("", None),
        (None, None),
        ("null", None),
    ],
)
def test_a_link_to_media_is_text_or_in_an_object(published: str | None, link: str | None):
    rows = requested(SF_311, {"media_url": published}, {"media_url": "https://example.org/2.jpg"})
    assert [row["media_url"] for row in rows] == [link, "https://example.org/2.jpg"]


@pytest.mark.parametrize(
    ("row", "is_duplicate"),
    [
        ({"duplicate": "true"}, True),
        ({"duplicate": "False"}, False),
        ({"duplicate": None}, None),
        ({"status": "Completed - Dup"}, True),
        ({"status": "OPEN - DUP", "duplicate": "false"}, True),
        ({"status": "Completed", "duplicate": "true"}, True),
        ({"status": "Completed"}, None),
    ],
)
def test_a_repeat_is_marked_by_flag_or_by_status(row: dict[str, Any], is_duplicate: bool | None):
    assert one(CHICAGO_311, **row)["is_duplicate"] is is_duplicate


def test_a_request_keeps_what_the_city_says_of_it():
    row = one(
        CHICAGO_311,
        parent_sr_number=" SR1 ",
        owner_department="Streets",
        status="Open",
        street_address="034XX W RANDOLPH ST",
    )
    assert (row["parent_record_id"], row["agency"], row["status"]) == ("SR1", "Streets", "Open")
    assert row["street"] == "W RANDOLPH ST"
    notes = "line one\nzweite Zeile"
    assert one(SF_311, status_notes=f" {notes} ")["status_notes"] == notes


PART = Slice("sf_311", DAY, DAY + dt.timedelta(days=1))
STORED = f"from {REQUESTS} where {REQUESTS.where}"


def run(warehouse: Warehouse, *rows: dict[str, Any]):
    warehouse.replace(RECORDS["sf_311"], raw(SF_311, *rows), PART)
    return materialize(requests(SF_311), warehouse, first=DAY)


def test_a_slice_of_silver_is_made_from_its_slice_of_bronze(warehouse: Warehouse):
    result = run(warehouse, {"id": "a"}, {"id": "a"}, {"id": None}, {"id": "b"})
    assert result.success
    assert all(verdicts(result).values())
    assert warehouse.read(STORED, PART)["record_id"].sort().to_list() == ["a", "b"]
    rejected = warehouse.read(f"from {REJECTED_RECORDS}")
    assert rejected["reason"].sort().to_list() == ["no_record_id", "older_version"]


def test_materializing_twice_leaves_one_copy(warehouse: Warehouse):
    run(warehouse, {"id": "a"}, {"id": None})
    tables = (REQUESTS, REJECTED_RECORDS)
    before = [warehouse.content_hash(table, PART) for table in tables]
    run(warehouse, {"id": "a"}, {"id": None})
    assert [warehouse.content_hash(table, PART) for table in tables] == before
    assert [rows for rows, _ in before] == [1, 1]


def test_a_day_that_became_empty_is_emptied(warehouse: Warehouse):
    run(warehouse, {"id": "a"}, {"id": None})
    assert run(warehouse).success
    for table in (REQUESTS, REJECTED_RECORDS):
        assert warehouse.content_hash(table, PART) == (0, 0)


def test_a_request_opened_on_another_day_fails_its_slice_and_names_the_day(warehouse: Warehouse):
    result = run(warehouse, {"requested_datetime": "2026-01-03T00:00:00.000"})
    assert not result.success
    assert not verdicts(result)["opened_on_its_day"]
    (check,) = [
        check
        for check in result.get_asset_check_evaluations()
        if check.check_name == "opened_on_its_day"
    ]
    assert check.metadata["days"].value == ["2026-01-02"]


def test_an_unmapped_kind_fails_no_slice_but_its_check(warehouse: Warehouse):
    result = run(warehouse, {"service_name": "Meteorites"})
    assert result.success
    assert not verdicts(result)["every_category_mapped"]


def test_a_refused_slice_leaves_the_old_records_and_the_old_rejected_ones(warehouse: Warehouse):
    run(warehouse, {"id": "a"}, {"id": None})
    broken = pl.concat([warehouse.read(STORED, PART)] * 2)

    def write() -> None:
        with warehouse.transaction() as session:
            session.replace(REJECTED_RECORDS, filled(REJECTED_RECORDS), PART)
            session.replace(REQUESTS, broken, PART)

    with pytest.raises(ValueError, match="a repeated key"):
        write()
    assert [warehouse.content_hash(t, PART)[0] for t in (REQUESTS, REJECTED_RECORDS)] == [1, 1]
