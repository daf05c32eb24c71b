"""Bronze weather: what the Open-Meteo archive says today about a city's local days."""

from datetime import UTC, datetime

import dagster as dg
import polars as pl

from city311_assets.bronze.sources import Sources, replace_of_origin
from city311_assets.clients.open_meteo import ATTRIBUTION
from city311_assets.feeds.feed import City
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import WEATHER

WITHOUT_ROW = f"""
    select day::date as day
    from generate_series($start::date, $end::date - 1, interval 1 day) as days(day)
    where day::date not in (select day from {WEATHER} where {WEATHER.where})
"""
IMPLAUSIBLE = f"""
    from {WEATHER} where {WEATHER.where} and (
        temperature_min_c > temperature_max_c or temperature_min_c < -60
        or temperature_max_c > 60 or precipitation_mm < 0 or snowfall_cm < 0)
"""


def weather_rows(days: pl.DataFrame, city: City, fetched_from: str) -> pl.DataFrame:
    """Return an answer's days in the table's columns."""
    return days.with_columns(
        pl.lit(city.name).alias("city"),
        pl.lit(fetched_from).alias("fetched_from"),
        pl.lit(datetime.now(UTC).replace(tzinfo=None)).cast(pl.Datetime("us")).alias("fetched_at"),
    ).select(WEATHER.names)


def weather(city: City) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one city's slice of `bronze.weather`, and what must hold of it."""
    key = WEATHER.key(city.name)

    @dg.asset(
        key=key,
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=WEATHER.metadata,
        kinds={"duckdb", "open-meteo"},
        description=f"Observed weather of {city.title}, a row a city-local day. {ATTRIBUTION}.",
    )
    def weather(
        context: dg.AssetExecutionContext, warehouse: Warehouse, sources: Sources
    ) -> dg.MaterializeResult:
        """Observed weather of one city on one city-local day."""
        part = Slice.of(context, city.name, "city")
        with sources.weather() as service:
            days = service.archive(city, part.start, part.end)
        rows = weather_rows(days, city, sources.origin)
        replace_of_origin(warehouse, WEATHER, rows, part, sources.origin)
        note_days(context, key, rows.group_by("day").agg(pl.len().alias("rows")), part)
        unknown = rows["temperature_min_c"].null_count()
        return dg.MaterializeResult(metadata={"days": rows.height, "days_not_known_yet": unknown})

    claims = [
        Property(
            "every_day_has_a_row",
            "Every day of the slice has a row, be its values known or not yet.",
            WITHOUT_ROW,
        ),
        Property(
            "values_plausible",
            "The lowest temperature is not above the highest, and nothing fell upwards.",
            IMPLAUSIBLE,
            is_blocking=False,
        ),
    ]
    return [weather, slice_checks(claims, WEATHER, city.name)]
