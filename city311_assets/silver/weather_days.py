"""Silver weather days: the best known weather of a city's local day, and what stresses pipes.

The look-back (14 days) is read by SQL from bronze; it is no partition mapping. A day whose
look-back was fetched later is mended by materializing it again.
"""

from datetime import timedelta
from functools import reduce
from operator import add

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import City
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import WEATHER, WEATHER_FORECASTS
from city311_assets.warehouse.tables.silver import WEATHER_DAYS

LOOK_BACK_DAYS = 14
HEAVY_RAIN_MM = 25.0
FREEZING_C = 0.0
VALUES = ("temperature_min_c", "temperature_max_c", "precipitation_mm", "snowfall_cm")

OBSERVED = f"select day, {', '.join(VALUES)} from {WEATHER} where {WEATHER.where}"
FORECAST = f"""
    select forecast_day as day, day as issued_on, {", ".join(VALUES)} from {WEATHER_FORECASTS}
    where city = $city and forecast_day >= $start and forecast_day < $end and day < forecast_day
    qualify row_number() over (partition by forecast_day order by day desc) = 1
"""
SOURCE_WITHOUT_VALUES = f"""
    from {WEATHER_DAYS} where {WEATHER_DAYS.where} and (
        (source is null) <> (temperature_min_c is null and temperature_max_c is null
            and precipitation_mm is null and snowfall_cm is null)
        or (source is null) <> (known_on is null))
"""


def best_known(
    days: pl.DataFrame, observed: pl.DataFrame, forecast: pl.DataFrame, archive_lag_days: int
) -> pl.DataFrame:
    """Return for each of `days` the archive's values, else the newest forecast's, else nulls.

    Columns `day, source, known_on` and the values. `known_on` is the local day from which the
    values may be used: archive values `archive_lag_days` after their day, a forecast's on the day
    after the one it was issued on, when it was first at hand.
    """

    def knows(values: tuple[str, ...]) -> pl.Expr:
        return pl.any_horizontal(pl.col(name).is_not_null() for name in values)

    lag, one = pl.duration(days=archive_lag_days), pl.duration(days=1)
    archive = observed.filter(knows(VALUES)).with_columns(
        source=pl.lit("archive"), known_on=pl.col("day") + lag
    )
    ahead = (
        forecast.filter(knows(VALUES))
        .join(archive, on="day", how="anti")
        .with_columns(source=pl.lit("forecast"), known_on=pl.col("issued_on") + one)
    )
    columns = ["day", "source", "known_on", *VALUES]
    known = pl.concat([archive.select(columns), ahead.select(columns)])
    return days.select("day").join(known, on="day", how="left").sort("day")


def stressors(days: pl.DataFrame) -> pl.DataFrame:
    """Add what stresses pipes to consecutive days; null where a day of the look-back is unknown."""
    low, high = pl.col("temperature_min_c"), pl.col("temperature_max_c")
    rain = pl.col("precipitation_mm")
    degrees_below = (FREEZING_C - (low + high) / 2).clip(lower_bound=0)

    def sum_of(values: pl.Expr, days: int) -> pl.Expr:
        # Each sum anew and in one order: a running one drifts with what went before the day, and
        # polars' own adds in an order that differs from run to run.
        return reduce(add, (values.shift(back) for back in range(days)))

    return days.with_columns(
        is_freeze=low < FREEZING_C,
        is_freeze_thaw=(low < FREEZING_C) & (high > FREEZING_C),
        temperature_drop_c=low.shift(1) - low,
        is_heavy_rain=rain >= HEAVY_RAIN_MM,
        rain_3d_mm=sum_of(rain, 3),
        rain_7d_mm=sum_of(rain, 7),
        freezing_degree_days_14d=sum_of(degrees_below, LOOK_BACK_DAYS),
    )


def weather_day_rows(
    observed: pl.DataFrame, forecast: pl.DataFrame, part: Slice, archive_lag_days: int
) -> pl.DataFrame:
    """Return a slice's days in the table's columns, from bronze rows that include the look-back."""
    first = part.start - timedelta(days=LOOK_BACK_DAYS)
    every = pl.DataFrame({"day": pl.date_range(first, part.end, "1d", closed="left", eager=True)})
    rows = stressors(best_known(every, observed, forecast, archive_lag_days))
    return (
        rows.filter(pl.col("day") >= part.start)
        .with_columns(pl.lit(part.name).alias("city"))
        .select(WEATHER_DAYS.names)
    )


def weather_days(city: City) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one city's slice of `silver.weather_days`, and what must hold of it."""
    key = WEATHER_DAYS.key(city.name)

    @dg.asset(
        key=key,
        deps=[WEATHER.key(city.name), WEATHER_FORECASTS.key(city.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=WEATHER_DAYS.metadata | {"look_back_days": LOOK_BACK_DAYS},
        kinds={"duckdb", "polars"},
        description=f"Best known weather of {city.title}, a row a city-local day, with freeze, "
        "thaw, rain and cold of the days before.",
    )
    def weather_days(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Best known weather of one city on one city-local day."""
        part = Slice.of(context, city.name, "city")
        window = Slice(city.name, part.start - timedelta(days=LOOK_BACK_DAYS), part.end, "city")
        tables = [WEATHER, WEATHER_FORECASTS]
        observed = warehouse.read(OBSERVED, window, tables)
        forecast = warehouse.read(FORECAST, window, tables)
        rows = weather_day_rows(observed, forecast, part, settings().weather_archive_lag_days)
        warehouse.replace(WEATHER_DAYS, rows, part)
        note_days(context, key, rows.group_by("day").agg(pl.len().alias("rows")), part)
        sources = dict(
            rows["source"].fill_null("unknown").value_counts().sort("source").iter_rows()
        )
        return dg.MaterializeResult(metadata={"range_sources": sources})

    claim = Property(
        "values_have_a_source",
        "A day has a source and a day it was known on exactly when it has values.",
        SOURCE_WITHOUT_VALUES,
    )
    return [weather_days, slice_checks([claim], WEATHER_DAYS, city.name)]
