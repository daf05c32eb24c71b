"""Silver records: what requests and incidents have in common, as rules on raw frames."""

import datetime as dt
import json
import random
from typing import Any

import h3.api.basic_int as h3
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.silver.areas import Areas
from city311_assets.silver.incidents import incident_rows
from city311_assets.silver.records import common_columns, flag_of, newest_versions, text_of
from city311_assets.silver.requests import request_rows
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets.warehouse.tables.silver import COMMON, REJECTED_RECORDS
from city311_assets_tests.silver.raw import DAY, NO_AREAS, filled, raw

NEXT = DAY + dt.timedelta(days=1)
every_feed = pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)


def common(feed: Feed, *rows: dict[str, Any], areas: Areas = NO_AREAS) -> list[dict[str, Any]]:
    """Return the common columns of raw rows, all of which must be accepted, in their order."""
    sorted_rows = newest_versions(raw(feed, *rows), feed)
    assert sorted_rows.rejected.is_empty()
    return common_columns(sorted_rows.accepted, feed, areas).to_dicts()


def one(feed: Feed, **row: Any) -> dict[str, Any]:
    (found,) = common(feed, row)
    return found


def aside(frame: pl.DataFrame, feed: Feed = SF_311) -> dict[str, str]:
    return dict(newest_versions(frame, feed).rejected.select("row_id", "reason").iter_rows())


def version(note: str, **row: Any) -> dict[str, Any]:
    return {"id": "a", "status_notes": note} | row


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (
            {"row_updated_at": "2026-01-05T00:00:00.000Z", "updated_datetime": "2026-03-01"},
            {"row_updated_at": "2026-01-06T00:00:00.000Z", "updated_datetime": "2026-02-01"},
        ),
        (
            {"row_updated_at": "2026-01-09T00:00:00Z", "row_id": "9"},
            {"row_updated_at": "2026-01-10T00:00:00Z", "row_id": "1"},
        ),
        (
            {"row_updated_at": None, "row_id": "9"},
            {"row_updated_at": "2001-01-01T00:00:00Z", "row_id": "1"},
        ),
        (
            {"updated_datetime": "01/02/2026 09:00:00 PM", "row_id": "9"},
            {"updated_datetime": "01/03/2026 08:00:00 AM", "row_id": "1"},
        ),
        ({"updated_datetime": None, "row_id": "9"}, {"updated_datetime": "2026-01-03"}),
        ({"row_id": "row-1"}, {"row_id": "row-2"}),
    ],
    ids=["portal's clock first", "as time", "unsaid is oldest", "own clock", "own unsaid", "tie"],
)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_newest_version_of_a_record_wins(
    older: dict[str, Any], newer: dict[str, Any], is_reversed: bool
):
    rows = [version("older", **older), version("newer", **newer)]
    frame = raw(SF_311, *(rows[::-1] if is_reversed else rows))
    found = newest_versions(frame, SF_311)
    assert found.accepted["status_notes"].to_list() == ["newer"]
    assert found.rejected["reason"].to_list() == ["older_version"]
    assert json.loads(found.rejected["row"].item())["status_notes"] == "older"


def test_a_newer_row_that_cannot_be_used_does_not_push_out_an_older_one():
    frame = raw(
        SF_311,
        version("usable", row_updated_at="2026-01-05T00:00:00Z"),
        version("kindless", row_updated_at="2026-01-06T00:00:00Z", service_name=None),
    )
    found = newest_versions(frame, SF_311)
    assert found.accepted["status_notes"].to_list() == ["usable"]
    assert found.rejected["reason"].to_list() == ["no_kind"]


def test_the_same_number_on_two_days_is_a_record_on_each():
    frame = raw(SF_311, {"id": "a"}, {"id": "a", "day": NEXT})
    assert newest_versions(frame, SF_311).accepted["day"].to_list() == [DAY, NEXT]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": None}, "no_record_id"),
        ({"requested_datetime": "soon"}, "opened_unreadable"),
        ({"requested_datetime": None}, "opened_unreadable"),
        ({"service_name": None}, "no_kind"),
        ({"service_name": " \ufeff"}, "no_kind"),
        ({"service_name": "N/A"}, "no_kind"),
        ({"id": None, "requested_datetime": None, "service_name": None}, "no_record_id"),
    ],
)
def test_a_row_that_is_no_record_is_set_aside_whole_with_its_reason(
    row: dict[str, Any], reason: str
):
    frame = raw(SF_311, row | {"status_notes": 'naïve "quoted"\nnote', "row_id": "x"})
    found = newest_versions(frame, SF_311)
    assert found.accepted.is_empty()
    (rejected,) = found.rejected.to_dicts()
    assert (rejected["row_id"], rejected["reason"]) == ("x", reason)
    assert (rejected["feed"], rejected["day"]) == ("sf_311", DAY)
    kept = json.loads(rejected["row"])
    content = [name for name in frame.columns if name in RECORDS["sf_311"].content]
    assert list(kept) == content
    texts = [name for name in content if frame.schema[name] == pl.String]
    assert {name: kept[name] for name in texts} == frame.select(texts).to_dicts()[0]
    assert kept["day"] == "2026-01-02"


CELLS = st.sampled_from([None, "", "a", "b", "2026-01-02T09:00:00.000", "2026-01-03", "0", "true"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from([None, "a", "b", "c"]), "day": st.sampled_from([DAY, NEXT])},
        optional={
            "requested_datetime": CELLS,
            "service_name": CELLS,
            "row_updated_at": st.sampled_from(
                [None, "x", "2026-01-02T09:00:00Z", "2026-01-03T00:00:00.5Z"]
            ),
            "updated_datetime": CELLS,
            "lat": CELLS,
            "closed_date": CELLS,
        },
    ),
    max_size=25,
)


@given(ROWS)
@settings(max_examples=25, deadline=None)
def test_every_raw_row_is_accepted_or_rejected_and_no_record_is_repeated(rows):
    frame = raw(SF_311, *rows)
    found = newest_versions(frame, SF_311)
    ids = [*found.accepted["row_id"], *found.rejected["row_id"]]
    assert sorted(ids) == sorted(frame["row_id"])
    assert not found.accepted.select("day", "record_id").is_duplicated().any()
    assert found.accepted.columns == frame.columns
    assert found.rejected.columns == REJECTED_RECORDS.names
    assert request_rows(found.accepted, SF_311, NO_AREAS).height == found.accepted.height


@given(rows=ROWS, seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_row_order_does_not_matter(rows, seed: int):
    frame = raw(SF_311, *rows)
    places = list(range(frame.height))
    random.Random(seed).shuffle(places)
    found, shuffled = (newest_versions(one, SF_311) for one in (frame, frame[places]))
    assert_frame_equal(found.accepted, shuffled.accepted)
    assert_frame_equal(found.rejected, shuffled.rejected)


@given(ROWS)
@settings(max_examples=15, deadline=None)
def test_a_range_of_days_gives_what_its_days_give_one_by_one(rows):
    frame = raw(SF_311, *rows)
    whole = newest_versions(frame, SF_311)
    days = [newest_versions(frame.filter(pl.col("day") == day), SF_311) for day in (DAY, NEXT)]
    assert_frame_equal(whole.accepted, pl.concat(day.accepted for day in days))
    assert_frame_equal(whole.rejected, pl.concat(day.rejected for day in days))
    assert_frame_equal(
        request_rows(whole.accepted, SF_311, NO_AREAS),
        pl.concat(request_rows(day.accepted, SF_311, NO_AREAS) for day in days),
    )


@every_feed
def test_no_rows_give_no_records_in_the_tables_columns(feed: Feed):
    found = newest_versions(raw(feed), feed)
    rows = {"request": request_rows, "incident": incident_rows}[feed.kind]
    assert rows(found.accepted, feed, NO_AREAS).is_empty()
    assert found.rejected.is_empty()


@every_feed
def test_a_bare_row_has_nothing_but_what_must_be(feed: Feed):
    rows = {"request": request_rows, "incident": incident_rows}[feed.kind]
    (row,) = rows(newest_versions(raw(feed, {}), feed).accepted, feed, NO_AREAS).to_dicts()
    required = {column.name for column in COMMON if not column.nullable}
    assert not [name for name in required if row[name] is None]
    empty = {"latitude", "longitude", "cell", "address", "street", "neighborhood", "subkind"}
    assert {name for name in empty if row[name] is None} == empty


@pytest.mark.parametrize("text", ["null", "NULL", " None ", "n/a", "", "  ", "\ufeff"])
def test_texts_that_mean_missing_are_null_in_every_column(text: str):
    row = one(SF_311, service_subtype=text, address=text, lat=text, source=text)
    columns = ("subkind", "address", "street", "latitude", "source_channel")
    assert [row[name] for name in columns] == [None] * 5
    assert row["point_reason"] == "absent"


def test_a_text_that_means_missing_in_one_column_is_a_value_in_another():
    row = one(SF_311, supervisor_district="-1", service_subtype="-1")
    assert (row["district"], row["subkind"]) == (None, "-1")
    assert one(SF_311, address="Not associated with a specific address")["address"] is None
    row = one(CHICAGO_311, ward="0", community_area="0", police_district="0")
    assert (row["ward"], row["community_area"], row["district"]) == (None, None, None)
    assert one(CHICAGO_311, ward="10")["ward"] == "10"


def test_texts_lose_marks_and_spaces_around_them_and_keep_those_within():
    row = one(SF_311, service_subtype="\ufeff  Not  offensive\t", address=" 1 OAK  ST ")
    assert (row["subkind"], row["address"], row["street"]) == (
        "Not  offensive",
        "1 OAK  ST",
        "OAK ST",
    )


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("true", True),
        ("True", True),
        (" TRUE ", True),
        ("t", True),
        ("Y", True),
        ("yes", True),
        ("1", True),
        ("false", False),
        ("False", False),
        ("f", False),
        ("N", False),
        ("no", False),
        ("0", False),
        ("maybe", None),
        ("2", None),
        ("", None),
        (None, None),
        ("null", None),
    ],
)
def test_a_flag_is_true_false_or_unsaid(text: str | None, flag: bool | None):
    frame = raw(CHICAGO_CRIMES, {"arrest": text})
    assert frame.select(flag_of(CHICAGO_CRIMES, "is_arrest")).item() is flag


def test_a_column_the_feed_does_not_publish_is_null():
    assert raw(SF_311, {}).select(text_of(SF_311, "ward")).item() is None
    assert raw(SF_311, {}).select(flag_of(SF_311, "is_duplicate")).item() is None


@pytest.mark.parametrize(
    ("feed", "kind", "category"),
    [
        (SF_311, "Graffiti", "graffiti_and_postings"),
        (SF_311, " general  request - DPT ", "general_requests"),
        (SF_311, "Meteorites", "unmapped"),
        (CHICAGO_311, "Snow \u2013 Uncleared Sidewalk Complaint", "snow_and_ice"),
        (CHICAGO_CRIMES, "CRIMINAL SEXUAL ASSAULT", "violent"),
        (CHICAGO_CRIMES, "STALKING", "violent"),
    ],
)
def test_a_kind_has_its_category_and_the_taxonomy_it_is_from(feed: Feed, kind: str, category: str):
    row = one(feed, **{feed.fields["kind"]: kind})
    assert (row["category"], row["taxonomy"]) == (category, feed.taxonomy)
    assert row["kind"] == " ".join(kind.split())


def test_categories_stay_with_their_rows():
    kinds = ["Graffiti", "Sewer", "Meteorites", "Graffiti", "Noise"]
    rows = common(SF_311, *({"service_name": kind} for kind in kinds))
    assert [row["category"] for row in rows] == [
        "graffiti_and_postings",
        "water_and_sewer",
        "unmapped",
        "graffiti_and_postings",
        "noise",
    ]


@pytest.mark.parametrize(
    ("time", "is_certain"),
    [
        ("T00:00:00.000", False),
        ("T12:00:00.000", False),
        ("", False),
        ("T00:00:01.000", True),
        ("T12:00:00.001", True),
        ("T11:59:59.000", True),
        ("T06:00:00.000", True),
        ("T23:59:59.999", True),
    ],
)
def test_midnight_and_noon_exact_are_no_certain_times(time: str, is_certain: bool):
    assert one(SF_311, requested_datetime=f"{DAY}{time}")["is_time_certain"] is is_certain


def test_hour_and_weekday_are_the_citys_own():
    row = one(SF_311, requested_datetime="2026-01-02T23:30:00.000")
    assert (row["hour"], row["weekday"]) == (23, 5)
    assert row["opened_at"] == dt.datetime(2026, 1, 2, 23, 30)
    assert row["opened_at_utc"] == dt.datetime(2026, 1, 3, 7, 30)
    assert one(SF_311, requested_datetime="2026-01-04T00:10:00")["weekday"] == 7
    row = one(CHICAGO_311, created_date="2026-07-02T23:30:00.000")
    assert row["opened_at_utc"] == dt.datetime(2026, 7, 3, 4, 30)


@pytest.mark.parametrize(
    ("latitude", "longitude", "reason"),
    [
        ("37.77", "-122.42", None),
        (" 37.77 ", "-122.42", None),
        (None, None, "absent"),
        ("0", "0.0", "zero"),
        ("north", "-122.42", "unreadable"),
        ("37.77", None, "unreadable"),
        ("NaN", "NaN", "out_of_range"),
        ("91", "-122.42", "out_of_range"),
        ("41.88", "-87.63", "outside_city"),
    ],
)
def test_a_record_is_placed_or_says_why_not(
    latitude: str | None, longitude: str | None, reason: str | None
):
    row = one(SF_311, lat=latitude, long=longitude)
    assert (row["point_reason"], row["has_point"]) == (reason, reason is None)
    if reason is None:
        assert (row["latitude"], row["longitude"]) == (37.77, -122.42)
        assert row["cell"] == h3.latlng_to_cell(37.77, -122.42, 10)
    else:
        assert (row["latitude"], row["longitude"], row["cell"]) == (None, None, None)


def test_the_reported_neighborhood_goes_before_the_one_the_point_lies_in():
    ring = [(-123, 37), (-122, 37), (-122, 38), (-123, 38), (-123, 37)]
    shape = json.dumps({"type": "Polygon", "coordinates": [ring]})
    areas = Areas.of(pl.DataFrame({"area": ["Located"], "geometry": [shape]}))
    point = {"lat": "37.77", "long": "-122.42"}
    rows = common(
        SF_311,
        point | {"neighborhoods_sffind_boundaries": "Reported"},
        point,
        {"neighborhoods_sffind_boundaries": "Reported"},
        {"lat": "0", "long": "0"},
        areas=areas,
    )
    names = ("neighborhood", "neighborhood_reported", "neighborhood_located")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("Reported", "Reported", "Located"),
        ("Located", None, "Located"),
        ("Reported", "Reported", None),
        (None, None, None),
    ]


@pytest.mark.parametrize(
    ("fetched_from", "origin"),
    [("portal", "portal"), ("sample", "sample"), ("cases 2019.csv", "file")],
)
def test_a_record_says_where_it_is_from(fetched_from: str, origin: str):
    assert one(SF_311, fetched_from=fetched_from)["origin"] == origin


@pytest.mark.parametrize(
    ("feed", "number", "address"),
    [
        (SF_311, "17", "data.sfgov.org/resource/vw6y-z8j6.json?service_request_id=17"),
        (CHICAGO_311, "SR17", "data.cityofchicago.org/resource/v6vf-nfxy.json?sr_number=SR17"),
        (CHICAGO_CRIMES, "17", "data.cityofchicago.org/resource/ijzp-q8t2.json?id=17"),
    ],
)
def test_a_record_has_its_address_at_the_portal(feed: Feed, number: str, address: str):
    assert one(feed, id=number)["record_url"] == f"https://{address}"


def test_a_raw_frame_has_no_columns_but_the_tables():
    with pytest.raises(ValueError, match=r"bronze\.sf_311 has no columns \['nope'\]"):
        raw(SF_311, {"nope": "x"})
    assert filled(REJECTED_RECORDS).columns == REJECTED_RECORDS.names
