"""Bronze weather, forecasts and boundaries: slices in a real file, fed by services on loopback."""

import datetime as dt

import dagster as dg
import polars as pl
import pytest

from city311_assets.bronze.boundaries import area_rows, boundaries, misplaced
from city311_assets.bronze.weather import weather
from city311_assets.bronze.weather_forecasts import (
    forecast_rows,
    newest_complete_day,
    weather_forecasts,
)
from city311_assets.clients.errors import MissingColumnsError
from city311_assets.feeds.chicago_311 import CHICAGO
from city311_assets.feeds.feed import BoundarySet
from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import BOUNDARIES, WEATHER, WEATHER_FORECASTS
from city311_assets_tests.portals import Portals, at, failure, materialize, verdicts

FIRST, LAST = dt.date(2026, 6, 5), dt.date(2026, 6, 14)
PART = Slice("chicago", FIRST, LAST + dt.timedelta(days=1), "city")
STORED = f"from {WEATHER} where {WEATHER.where} order by day"


def test_weather_not_known_yet_is_null_never_zero(warehouse: Warehouse, portal: Portals):
    result = materialize(weather(CHICAGO), warehouse, portal.sources, FIRST, LAST)
    assert result.success
    assert all(verdicts(result).values())
    days = warehouse.read(STORED, PART)
    assert days["day"].to_list() == list(PART.days)
    # The service's clock stands at 2026-06-15 and its archive is five days late.
    known = days.filter(pl.col("day") < dt.date(2026, 6, 10))
    late = days.filter(pl.col("day") >= dt.date(2026, 6, 11))
    assert known["temperature_min_c"].null_count() == 0
    assert late.select("temperature_min_c", "precipitation_mm", "snowfall_cm").to_dicts() == [
        {"temperature_min_c": None, "precipitation_mm": None, "snowfall_cm": None}
    ] * len(late)


def test_weather_twice_is_once_and_a_day_alone_is_the_day_in_a_range(
    warehouse: Warehouse, portal: Portals
):
    materialize(weather(CHICAGO), warehouse, portal.sources, FIRST, LAST)
    before = warehouse.content_hash(WEATHER, PART)
    materialize(weather(CHICAGO), warehouse, portal.sources, FIRST)
    assert warehouse.content_hash(WEATHER, PART) == before


def test_implausible_weather_fails_its_check(warehouse: Warehouse, portal: Portals):
    declared = weather(CHICAGO)
    materialize(declared, warehouse, portal.sources, FIRST)
    with warehouse.transaction() as session:
        session.run(f"update {WEATHER} set temperature_min_c = 30, temperature_max_c = 10")
    check = dg.AssetSelection.checks(dg.AssetCheckKey(WEATHER.key("chicago"), "values_plausible"))
    result = materialize(declared, warehouse, portal.sources, FIRST, selection=check)
    assert verdicts(result) == {"values_plausible": False}


def test_only_the_current_forecast_can_be_had_and_older_ones_stay(
    warehouse: Warehouse, portal: Portals
):
    today = newest_complete_day(dt.datetime.now(dt.UTC), CHICAGO.timezone)
    earlier = today - dt.timedelta(days=3)
    old = pl.DataFrame(
        {
            "city": ["chicago"],
            "day": [earlier],
            "forecast_day": [earlier + dt.timedelta(days=1)],
            "temperature_min_c": [1.0],
            "temperature_max_c": [2.0],
            "precipitation_mm": [0.0],
            "snowfall_cm": [0.0],
            "issued_at": [dt.datetime(2026, 1, 1)],
            "fetched_from": ["portal"],
            "fetched_at": [dt.datetime(2026, 1, 1)],
        }
    )
    one = Slice("chicago", earlier, earlier + dt.timedelta(days=1), "city")
    warehouse.replace(WEATHER_FORECASTS, old, one)
    result = materialize(weather_forecasts(CHICAGO), warehouse, portal.sources, earlier)
    assert result.success
    assert warehouse.content_hash(WEATHER_FORECASTS, one)[0] == 1


def test_which_forecast_is_current_is_told_by_the_sources_clock(
    warehouse: Warehouse, portal: Portals
):
    sources = at(portal.sources, dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC))
    declared = weather_forecasts(CHICAGO)
    assert materialize(
        declared, warehouse, sources, dt.date(2026, 6, 10), dt.date(2026, 6, 14)
    ).success
    stored = f"select distinct day, issued_at from {WEATHER_FORECASTS}"
    assert warehouse.read(stored).rows() == [(dt.date(2026, 6, 14), dt.datetime(2026, 6, 15, 12))]


def test_a_forecast_belongs_to_the_newest_complete_local_day():
    # Half past two in the morning in London is still the evening before in Chicago.
    issued = dt.datetime(2026, 6, 15, 2, 30, tzinfo=dt.UTC)
    assert newest_complete_day(issued, CHICAGO.timezone) == dt.date(2026, 6, 13)
    days = pl.DataFrame(
        {
            "day": [dt.date(2026, 6, d) for d in (13, 14, 15)],
            **dict.fromkeys(
                ("temperature_min_c", "temperature_max_c", "precipitation_mm", "snowfall_cm"), 1.0
            ),
        }
    )
    rows = forecast_rows(days, CHICAGO, issued, "portal")
    assert rows["day"].unique().to_list() == [dt.date(2026, 6, 13)]
    assert rows["forecast_day"].to_list() == [dt.date(2026, 6, 14), dt.date(2026, 6, 15)]


def test_boundaries_of_every_set_are_stored_once(warehouse: Warehouse, portal: Portals):
    materialize(boundaries(CHICAGO), warehouse, portal.sources)
    result = materialize(boundaries(CHICAGO), warehouse, portal.sources)
    assert verdicts(result) == {"areas_valid_and_inside": True}
    counts = warehouse.read(f"select areas, count(*) from {BOUNDARIES} group by areas order by 1")
    assert counts.rows() == [("neighborhood", 77), ("ward", 50)]


def test_sample_weather_does_not_join_real_records(warehouse: Warehouse, portal: Portals):
    assert materialize(weather(CHICAGO), warehouse, portal.sources, FIRST).success
    sample = portal.sources_with(origin="sample")
    for declared in (boundaries(CHICAGO), weather(CHICAGO)):
        first = None if declared[0].partitions_def is None else FIRST
        result = materialize(declared, warehouse, sample, first)
        assert not result.success
        assert "holds real records" in failure(result)


def square(name: str | None, west: float = -87.7) -> dict:
    """Return a feature of a small square."""
    east, south, north = west + 0.1, 41.8, 41.9
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    properties = {} if name is None else {"community": name, "area_numbe": "7"}
    return {"properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}


AREAS = BoundarySet("neighborhood", "igwz-8jzy", "community", "area_numbe")


def test_features_of_one_name_are_parts_of_an_area():
    rows = area_rows([square("LOOP"), square(" LOOP "), square("AUSTIN")], AREAS)
    assert rows.select("area", "code", "part").rows() == [
        ("LOOP", "7", 0),
        ("LOOP", "7", 1),
        ("AUSTIN", "7", 0),
    ]


def test_a_feature_without_its_name_is_refused_with_what_it_has():
    with pytest.raises(MissingColumnsError, match="no property community"):
        area_rows([square(None)], AREAS)


def test_areas_outside_the_city_are_named():
    rows = area_rows([square("LOOP"), square("ELSEWHERE", west=-100)], AREAS)
    assert misplaced(rows, CHICAGO) == ["neighborhood ELSEWHERE"]
