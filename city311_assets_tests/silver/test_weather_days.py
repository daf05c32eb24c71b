"""Silver weather days: the best known weather, and the stressors against a slow reference."""

import datetime as dt
import math
import random
from functools import reduce
from operator import add
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from city311_assets.feeds.chicago_311 import CHICAGO
from city311_assets.partitions import Slice
from city311_assets.silver.weather_days import (
    FORECAST,
    LOOK_BACK_DAYS,
    VALUES,
    best_known,
    stressors,
    weather_day_rows,
    weather_days,
)
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import WEATHER, WEATHER_FORECASTS
from city311_assets.warehouse.tables.silver import WEATHER_DAYS
from city311_assets_tests.portals import materialize, verdicts
from city311_assets_tests.silver.raw import filled

DAY = dt.date(2026, 1, 20)
ONE = dt.timedelta(days=1)
KNOWN = {
    "temperature_min_c": -5.0,
    "temperature_max_c": 3.0,
    "precipitation_mm": 1.0,
    "snowfall_cm": 0.5,
}
Row = dict[str, Any]

TENTHS = st.integers(-250, 400).map(lambda tenth: tenth / 10)
RAIN = st.one_of(st.just(0.0), st.integers(0, 400).map(lambda tenth: tenth / 10))
SERIES = st.lists(
    st.fixed_dictionaries(
        {
            "temperature_min_c": st.one_of(st.none(), TENTHS),
            "temperature_max_c": st.one_of(TENTHS, TENTHS, TENTHS, st.none()),
            "precipitation_mm": st.one_of(RAIN, RAIN, RAIN, RAIN, st.none()),
            "snowfall_cm": st.one_of(RAIN, st.none()),
        }
    ),
    min_size=1,
    max_size=45,
)


def observed(rows: list[Row], first: dt.date = DAY) -> pl.DataFrame:
    """Return archive days, one after the other from `first`."""
    schema = {"day": pl.Date} | dict.fromkeys(VALUES, pl.Float64)
    days = [{"day": first + place * ONE} | row for place, row in enumerate(rows)]
    return pl.DataFrame(days, schema=schema)


def forecast(*rows: tuple[dt.date, dt.date, Row]) -> pl.DataFrame:
    """Return forecasts given as (day, issued on, values)."""
    schema = {"day": pl.Date, "issued_on": pl.Date} | dict.fromkeys(VALUES, pl.Float64)
    days = [{"day": day, "issued_on": issued} | values for day, issued, values in rows]
    return pl.DataFrame(days, schema=schema)


def days_of(*days: dt.date) -> pl.DataFrame:
    return pl.DataFrame({"day": days}, schema={"day": pl.Date})


def slow_sum(values: list[float | None], place: int, length: int) -> float | None:
    window = values[place - length + 1 : place + 1] if place + 1 >= length else [None]
    return None if None in window else math.fsum(value for value in window if value is not None)


def slow_stressors(rows: list[Row]) -> list[Row]:
    """The definitions of the columns, one day after the other, in plain Python."""
    low = [row["temperature_min_c"] for row in rows]
    high = [row["temperature_max_c"] for row in rows]
    rain = [row["precipitation_mm"] for row in rows]
    below = [
        None if a is None or b is None else max(0.0, -(a + b) / 2)
        for a, b in zip(low, high, strict=True)
    ]
    found = []
    for place in range(len(rows)):
        lowest, highest, wet = low[place], high[place], rain[place]
        before = low[place - 1] if place else None
        thaws: bool | None
        if lowest is None or highest is None:
            # One half can settle it alone: no frost, or no thaw, is no freeze-thaw.
            is_ruled_out = (lowest is not None and lowest >= 0) or (
                highest is not None and highest <= 0
            )
            thaws = False if is_ruled_out else None
        else:
            thaws = lowest < 0 < highest
        found.append(
            {
                "is_freeze": None if lowest is None else lowest < 0,
                "is_freeze_thaw": thaws,
                "temperature_drop_c": (
                    None if lowest is None or before is None else before - lowest
                ),
                "is_heavy_rain": None if wet is None else wet >= 25,
                "rain_3d_mm": slow_sum(rain, place, 3),
                "rain_7d_mm": slow_sum(rain, place, 7),
                "freezing_degree_days_14d": slow_sum(below, place, 14),
            }
        )
    return found


@given(SERIES)
@settings(max_examples=60, deadline=None)
def test_stressors_agree_with_their_definitions(rows: list[Row]):
    for found, expected in zip(
        stressors(observed(rows)).to_dicts(), slow_stressors(rows), strict=True
    ):
        for name, value in expected.items():
            if isinstance(value, float):
                assert found[name] == pytest.approx(value, abs=1e-9), name
            else:
                assert found[name] is value, name


def of_rain(*rain: float | None) -> pl.DataFrame:
    return stressors(observed([{"precipitation_mm": value} for value in rain]))


def test_an_unknown_day_makes_its_sums_unknown_and_never_zero():
    found = of_rain(*[1.0] * 7, None, *[1.0] * 7)
    assert found["rain_3d_mm"].to_list() == [None] * 2 + [3.0] * 5 + [None] * 3 + [3.0] * 5
    assert found["rain_7d_mm"].to_list() == [None] * 6 + [7.0] + [None] * 7 + [7.0]
    assert found["is_heavy_rain"].to_list() == [False] * 7 + [None] + [False] * 7
    for name in ("is_freeze", "is_freeze_thaw", "temperature_drop_c", "freezing_degree_days_14d"):
        assert found[name].null_count() == found.height


def test_dry_days_after_rain_sum_to_exactly_nothing():
    found = of_rain(6.8, 29.1, 39.1, 3.2, 13.0, *[0.0] * 8)
    assert found["rain_3d_mm"].to_list()[-6:] == [0.0] * 6
    assert found["rain_7d_mm"].to_list()[-2:] == [0.0] * 2


@pytest.mark.parametrize(
    ("lowest", "highest", "freezes", "thaws"),
    [
        (-0.1, 0.1, True, True),
        (0.0, 5.0, False, False),
        (-5.0, 0.0, True, False),
        (-5.0, -1.0, True, False),
        (1.0, 9.0, False, False),
    ],
)
def test_it_freezes_below_zero_and_thaws_above(
    lowest: float, highest: float, freezes: bool, thaws: bool
):
    row = {"temperature_min_c": lowest, "temperature_max_c": highest}
    found = stressors(observed([row])).row(0, named=True)
    assert (found["is_freeze"], found["is_freeze_thaw"]) == (freezes, thaws)


def test_rain_is_heavy_from_25_mm():
    assert of_rain(24.9, 25.0)["is_heavy_rain"].to_list() == [False, True]


def test_a_drop_is_positive_when_it_gets_colder():
    rows = [{"temperature_min_c": value} for value in (5.0, -3.0, 1.0)]
    assert stressors(observed(rows))["temperature_drop_c"].to_list() == [None, 8.0, -4.0]


def test_the_archive_goes_before_any_forecast_and_is_known_after_its_lag():
    other = KNOWN | {"temperature_min_c": 9.0}
    found = best_known(
        days_of(DAY), observed([KNOWN]), forecast((DAY, DAY - ONE, other)), archive_lag_days=5
    )
    assert found.to_dicts() == [
        {"day": DAY, "source": "archive", "known_on": DAY + 5 * ONE, **KNOWN}
    ]


@pytest.mark.parametrize("rows", [[], [dict.fromkeys(VALUES)]], ids=["no row", "a row of nulls"])
def test_a_forecast_stands_in_where_the_archive_knows_nothing(rows: list[Row]):
    found = best_known(days_of(DAY), observed(rows), forecast((DAY, DAY - 3 * ONE, KNOWN)), 5)
    assert found.to_dicts() == [
        {"day": DAY, "source": "forecast", "known_on": DAY - 2 * ONE, **KNOWN}
    ]


def test_an_archive_that_knows_something_is_not_filled_from_a_forecast():
    partly = dict.fromkeys(VALUES) | {"precipitation_mm": 0.0}
    found = best_known(days_of(DAY), observed([partly]), forecast((DAY, DAY - ONE, KNOWN)), 5)
    assert found.to_dicts() == [
        {"day": DAY, "source": "archive", "known_on": DAY + 5 * ONE, **partly}
    ]


def test_a_day_nobody_knows_has_a_row_of_nulls():
    empty = forecast((DAY, DAY - ONE, dict.fromkeys(VALUES)))
    found = best_known(days_of(DAY), observed([]), empty, 5)
    assert found.to_dicts() == [
        {"day": DAY, "source": None, "known_on": None} | dict.fromkeys(VALUES)
    ]


def slice_of(first: dt.date, last: dt.date) -> Slice:
    return Slice("chicago", first, last + ONE, "city")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_range_of_days_gives_exactly_what_its_days_give_one_by_one(seed: int):
    rng = random.Random(seed)
    rows = [
        {
            "temperature_min_c": rng.randint(-150, 20) / 10,
            "temperature_max_c": rng.randint(-50, 90) / 10,
            "precipitation_mm": rng.choice([0.0, 0.0, rng.randint(0, 400) / 10]),
            "snowfall_cm": None,
        }
        | rng.choice([{}] * 30 + [dict.fromkeys(VALUES)])
        for _ in range(LOOK_BACK_DAYS + 40)
    ]
    whole = observed(rows, DAY - LOOK_BACK_DAYS * ONE)
    last = whole["day"].max()
    assert isinstance(last, dt.date)
    part = slice_of(DAY, last)
    by_range = weather_day_rows(whole, forecast(), part, 5)
    by_day = []
    for day in part.days:
        seen = whole.filter(pl.col("day").is_between(day - LOOK_BACK_DAYS * ONE, day))
        by_day.append(weather_day_rows(seen, forecast(), part.day(day), 5))
    assert_frame_equal(by_range, pl.concat(by_day), check_exact=True)


def test_sums_are_added_up_in_one_order_whatever_the_machine_is_doing():
    rng = random.Random(2)
    cold = [rng.randint(0, 400) / 10 for _ in range(300)]
    days = observed([{"temperature_min_c": -value, "temperature_max_c": -value} for value in cold])
    # Not `sum`: from Python 3.12 on it rounds once, at the end.
    expected = [
        reduce(add, (cold[place - back] for back in range(14))) for place in range(13, len(cold))
    ]
    for _ in range(20):
        assert stressors(days)["freezing_degree_days_14d"].to_list()[13:] == expected


def test_the_first_day_of_a_slice_looks_back_as_far_as_any():
    whole = observed([KNOWN] * (LOOK_BACK_DAYS + 1), DAY - LOOK_BACK_DAYS * ONE)
    (row,) = weather_day_rows(whole, forecast(), slice_of(DAY, DAY), 5).to_dicts()
    assert (row["rain_3d_mm"], row["rain_7d_mm"]) == (3.0, 7.0)
    assert row["freezing_degree_days_14d"] == 14.0
    assert row["temperature_drop_c"] == 0.0
    assert row["city"] == "chicago"


def test_every_day_of_a_slice_has_a_row_whatever_is_known():
    rows = weather_day_rows(observed([]), forecast(), slice_of(DAY, DAY + 2 * ONE), 5)
    assert rows["day"].to_list() == [DAY, DAY + ONE, DAY + 2 * ONE]
    assert rows.drop("city", "day").null_count().row(0) == (3,) * (rows.width - 2)


def issued(day: dt.date, forecast_day: dt.date, lowest: float) -> Row:
    asked = dt.datetime.combine(day + ONE, dt.time(12))
    return {
        "city": "chicago",
        "day": day,
        "forecast_day": forecast_day,
        "temperature_min_c": lowest,
        "issued_at": asked,
        "fetched_from": "portal",
        "fetched_at": asked,
    }


def store(warehouse: Warehouse, table, *rows: Row) -> None:
    first = min(row["day"] for row in rows)
    last = max(row["day"] for row in rows)
    warehouse.replace(table, filled(table, *rows), slice_of(first, last))


def test_the_newest_forecast_issued_before_a_day_is_the_one_read(warehouse: Warehouse):
    store(
        warehouse,
        WEATHER_FORECASTS,
        issued(DAY - 5 * ONE, DAY, 5.0),
        issued(DAY - 2 * ONE, DAY, 2.0),
        issued(DAY - 2 * ONE, DAY + ONE, 21.0),
        # Of the day itself and of after it: hindsight.
        issued(DAY, DAY, 0.0),
        issued(DAY + ONE, DAY, -1.0),
    )
    found = warehouse.read(FORECAST, slice_of(DAY, DAY))
    assert found.select("day", "issued_on", "temperature_min_c").rows() == [
        (DAY, DAY - 2 * ONE, 2.0)
    ]


def archived(day: dt.date, **values: float) -> Row:
    at = dt.datetime.combine(day + 6 * ONE, dt.time(12))
    named = {"city": "chicago", "day": day, "fetched_from": "portal", "fetched_at": at}
    return named | KNOWN | values


def test_a_slice_is_made_from_bronze_with_its_look_back_and_twice_is_once(warehouse: Warehouse):
    days = [DAY - place * ONE for place in range(LOOK_BACK_DAYS + 1)]
    store(warehouse, WEATHER, *(archived(day) for day in days))
    store(warehouse, WEATHER_FORECASTS, issued(DAY - ONE, DAY + ONE, -7.0))
    part = slice_of(DAY, DAY + 2 * ONE)
    result = materialize(weather_days(CHICAGO), warehouse, first=DAY, last=DAY + 2 * ONE)
    assert verdicts(result) == {"values_have_a_source": True}
    rows = warehouse.read(f"from {WEATHER_DAYS} where {WEATHER_DAYS.where} order by day", part)
    assert rows["source"].to_list() == ["archive", "forecast", None]
    assert rows["known_on"].to_list() == [DAY + 5 * ONE, DAY, None]
    assert rows["temperature_drop_c"].to_list() == [0.0, 2.0, None]
    assert rows["freezing_degree_days_14d"].to_list() == [14.0, None, None]
    before = warehouse.content_hash(WEATHER_DAYS, part)
    materialize(weather_days(CHICAGO), warehouse, first=DAY, last=DAY + 2 * ONE)
    assert warehouse.content_hash(WEATHER_DAYS, part) == before


def test_a_day_forgotten_by_bronze_becomes_unknown(warehouse: Warehouse):
    store(warehouse, WEATHER, archived(DAY))
    materialize(weather_days(CHICAGO), warehouse, first=DAY)
    warehouse.replace(WEATHER, filled(WEATHER), slice_of(DAY, DAY))
    materialize(weather_days(CHICAGO), warehouse, first=DAY)
    (row,) = warehouse.read(f"from {WEATHER_DAYS}").to_dicts()
    assert (row["source"], row["temperature_min_c"]) == (None, None)


def test_values_without_a_source_fail_their_check_by_day(warehouse: Warehouse):
    bad = filled(WEATHER_DAYS, {"city": "chicago", "day": DAY, "temperature_min_c": 1.0})
    warehouse.replace(WEATHER_DAYS, bad, slice_of(DAY, DAY))
    checks = dg.AssetSelection.checks_for_assets(WEATHER_DAYS.key("chicago"))
    result = materialize(weather_days(CHICAGO), warehouse, first=DAY, selection=checks)
    (verdict,) = result.get_asset_check_evaluations()
    assert (verdict.passed, verdict.metadata["days"].value) == (False, [DAY.isoformat()])
