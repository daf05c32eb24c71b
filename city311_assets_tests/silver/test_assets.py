"""Silver in the graph: slices made from a portal's records, and each check seen to fail."""

import datetime as dt

import dagster as dg
import polars as pl
import pytest

from city311_assets.bronze.boundaries import boundaries
from city311_assets.bronze.records import records
from city311_assets.bronze.weather import weather
from city311_assets.bronze.weather_forecasts import weather_forecasts
from city311_assets.feeds.chicago_311 import CHICAGO
from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.silver.incidents import incidents
from city311_assets.silver.requests import requests
from city311_assets.silver.weather_days import weather_days
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.silver import INCIDENTS, REJECTED_RECORDS, REQUESTS
from city311_assets_tests.portals import Portals, materialize, verdict, verdicts

DAY = dt.date(2026, 1, 2)
NEXT = DAY + dt.timedelta(days=1)
PART = Slice("sf_311", DAY, NEXT)
BOTH = Slice("sf_311", DAY, NEXT + dt.timedelta(days=1))
DECLARED = {
    "sf_311": (SF_311, requests),
    "chicago_crimes": (CHICAGO_CRIMES, incidents),
}


def case(number: str, day: dt.date = DAY, **values: str | None) -> dict[str, str | None]:
    opened = {"service_request_id": number, "requested_datetime": f"{day}T09:00:00.000"}
    return opened | {"service_name": "Graffiti", "lat": "37.77", "long": "-122.42"} | values


def crime(number: str, **values: str | None) -> dict[str, str | None]:
    happened = {"id": number, "date": f"{DAY}T09:00:00.000", "primary_type": "THEFT"}
    where = {"latitude": "41.88", "longitude": "-87.63", "fbi_code": "06"}
    return happened | where | values


def run(
    warehouse: Warehouse,
    portal: Portals,
    feed: Feed = SF_311,
    first: dt.date = DAY,
    last: dt.date | None = None,
) -> dg.ExecuteInProcessResult:
    declared = [*records(feed), *DECLARED[feed.name][1](feed)]
    return materialize(declared, warehouse, portal.sources, first, last)


def test_a_day_goes_from_the_portal_to_typed_rows_and_all_checks_pass(
    warehouse: Warehouse, portal: Portals
):
    portal.publish(SF_311, case("1", closed_date="2026-01-02T10:30:00.000"), case("2", lat="0"))
    portal.publish(CHICAGO_CRIMES, crime("7", arrest="true"))
    for feed in (SF_311, CHICAGO_CRIMES):
        result = run(warehouse, portal, feed)
        assert result.success
        assert all(verdicts(result).values())
    rows = warehouse.read(f"select record_id, hours_to_close, has_point from {REQUESTS} order by 1")
    assert rows.rows() == [("1", 1.5, True), ("2", None, False)]
    assert warehouse.read(f"select is_arrest, fbi_category from {INCIDENTS}").rows() == [
        (True, "Larceny")
    ]


def test_twice_is_once_and_an_emptied_day_is_empty(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1"), case("2") | {":id": "row-a"}, case("2") | {":id": "row-b"})
    run(warehouse, portal)
    before = warehouse.content_hash(REQUESTS, PART), warehouse.content_hash(REJECTED_RECORDS, PART)
    assert (before[0][0], before[1][0]) == (2, 1)
    run(warehouse, portal)
    again = warehouse.content_hash(REQUESTS, PART), warehouse.content_hash(REJECTED_RECORDS, PART)
    assert again == before
    portal.publish(SF_311)
    assert run(warehouse, portal).success
    assert warehouse.content_hash(REQUESTS, PART)[0] == 0
    assert warehouse.content_hash(REJECTED_RECORDS, PART)[0] == 0


def test_one_days_late_change_leaves_the_others_as_they_were(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1"), case("3", NEXT))
    run(warehouse, portal, SF_311, DAY, NEXT)
    other = Slice("sf_311", NEXT, NEXT + dt.timedelta(days=1))
    before = warehouse.content_hash(REQUESTS, other)
    portal.publish(SF_311, case("1", closed_date="2026-02-11T10:00:00.000"), case("3", NEXT))
    run(warehouse, portal)
    assert warehouse.content_hash(REQUESTS, other) == before
    hours = f"select hours_to_close from {REQUESTS} where record_id = '1'"
    assert warehouse.read(hours)["hours_to_close"].to_list() == [40 * 24 + 1.0]


def test_the_neighbourhood_is_the_reported_one_else_the_one_it_lies_in(
    warehouse: Warehouse, portal: Portals
):
    portal.publish(SF_311, case("1"), case("2", neighborhoods_sffind_boundaries="Elsewhere"))
    materialize(boundaries(SF_311.city), warehouse, portal.sources)
    run(warehouse, portal)
    columns = "neighborhood, neighborhood_reported, neighborhood_located"
    lies_in, named = warehouse.read(f"select {columns} from {REQUESTS} order by record_id").rows()
    assert lies_in[2] is not None
    assert lies_in == (lies_in[2], None, lies_in[2])
    assert named == ("Elsewhere", "Elsewhere", lies_in[2])


MOVED = """
    insert into {table} by name
    select * replace ('2026-01-03'::date as day) from {table} where record_id in ('1', '7')
"""
ISSUED_LATE = """
    insert into bronze.weather_forecasts by name
    select 'chicago' as city, '2026-06-01'::date as day, '2026-06-01'::date as forecast_day,
        now()::timestamp as issued_at, 'portal' as fetched_from, now()::timestamp as fetched_at
"""


TAMPERED = [
    ("sf_311", "opened_on_its_day", f"update {REQUESTS} set opened_at = '2026-01-05 09:00:00'"),
    ("sf_311", "cell_inside_the_box", f"update {REQUESTS} set cell = null"),
    ("sf_311", "cell_inside_the_box", f"update {REQUESTS} set latitude = 41.9"),
    ("sf_311", "cell_inside_the_box", f"update {REQUESTS} set point_reason = 'zero'"),
    ("sf_311", "every_category_mapped", f"update {REQUESTS} set category = 'unmapped'"),
    ("sf_311", "every_bronze_row_accounted_for", f"delete from {REQUESTS} where record_id = '1'"),
    (
        "sf_311",
        "every_bronze_row_accounted_for",
        "delete from bronze.sf_311 where row_id = 'row-1'",
    ),
    ("sf_311", "a_duration_or_a_reason", f"update {REQUESTS} set hours_to_close_reason = null"),
    ("sf_311", "a_duration_or_a_reason", f"update {REQUESTS} set hours_to_close = 3"),
    (
        "sf_311",
        "one_row_per_request",
        MOVED.format(table=REQUESTS),
    ),
    (
        "chicago_crimes",
        "one_row_per_incident",
        MOVED.format(table=INCIDENTS),
    ),
    (
        "chicago_crimes",
        "every_fbi_code_mapped",
        f"update {INCIDENTS} set fbi_category = 'unmapped'",
    ),
    ("chicago_crimes", "every_category_mapped", f"update {INCIDENTS} set category = 'unmapped'"),
]


@pytest.mark.parametrize(("name", "check", "tampering"), TAMPERED)
def test_a_check_sees_what_it_is_for(
    warehouse: Warehouse, portal: Portals, name: str, check: str, tampering: str
):
    portal.publish(SF_311, case("1"), case("2"))
    portal.publish(CHICAGO_CRIMES, crime("7"))
    feed, declare = DECLARED[name]
    run(warehouse, portal, feed)
    with warehouse.transaction() as session:
        session.run(tampering)
    declared = declare(feed)
    (key,) = [k for one in declared if isinstance(one, dg.AssetChecksDefinition)
              for k in one.check_keys if k.name == check]  # fmt: skip
    result = materialize(
        declared, warehouse, portal.sources, DAY, selection=dg.AssetSelection.checks(key)
    )
    said = verdict(result)
    assert not said.passed
    assert said.metadata["days"].value == [str(DAY)]


def test_weather_days_are_made_of_what_bronze_knows(warehouse: Warehouse, portal: Portals):
    first, last = dt.date(2026, 5, 20), dt.date(2026, 6, 14)
    for declared in (weather(CHICAGO), weather_forecasts(CHICAGO), weather_days(CHICAGO)):
        result = materialize(declared, warehouse, portal.sources, first, last)
        assert result.success
        assert all(verdicts(result).values())
    rows = warehouse.read("from silver.weather_days order by day")
    known = rows.filter(pl.col("source") == "archive")
    assert rows.height == 26
    assert (known["known_on"] - known["day"]).unique().to_list() == [dt.timedelta(days=5)]
    assert rows.filter(pl.col("source").is_null())["precipitation_mm"].null_count() >= 4
    # The first day has no look-back; the fourteenth has all of it.
    assert rows["freezing_degree_days_14d"].is_not_null().to_list()[:14] == [False] * 13 + [True]


@pytest.mark.parametrize(
    ("declare", "check", "tampering"),
    [
        (weather, "every_day_has_a_row", "delete from bronze.weather where day = '2026-06-01'"),
        (
            weather_days,
            "values_have_a_source",
            "update silver.weather_days set source = null where day = '2026-06-01'",
        ),
        (
            weather_forecasts,
            "forecasts_look_ahead",
            ISSUED_LATE,
        ),
    ],
)
def test_a_weather_check_sees_what_it_is_for(
    warehouse: Warehouse, portal: Portals, declare, check: str, tampering: str
):
    first, last = dt.date(2026, 5, 31), dt.date(2026, 6, 2)
    for declared in (weather(CHICAGO), weather_forecasts(CHICAGO), weather_days(CHICAGO)):
        materialize(declared, warehouse, portal.sources, first, last)
    with warehouse.transaction() as session:
        session.run(tampering)
    declared = declare(CHICAGO)
    (key,) = [k for one in declared if isinstance(one, dg.AssetChecksDefinition)
              for k in one.check_keys if k.name == check]  # fmt: skip
    result = materialize(
        declared, warehouse, portal.sources, first, last, dg.AssetSelection.checks(key)
    )
    said = verdict(result)
    assert not said.passed
    assert said.metadata["days"].value == ["2026-06-01"]
