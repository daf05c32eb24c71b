"""Bronze weather forecasts: each forecast as it was issued, kept for ever.

A forecast can be had only while it is current: the slice of the newest complete local day is the
forecast issued after it. A missed night is missed, and says so; older slices are left as they are.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl

from city311_assets.bronze.sources import Sources, replace_of_origin
from city311_assets.clients.open_meteo import ATTRIBUTION
from city311_assets.feeds.feed import City
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import WEATHER_FORECASTS

COUNTS = (
    f"select day, count(*) as rows from {WEATHER_FORECASTS} "
    f"where {WEATHER_FORECASTS.where} group by day"
)
NOT_AHEAD = f"from {WEATHER_FORECASTS} where {WEATHER_FORECASTS.where} and forecast_day <= day"


def newest_complete_day(now: datetime, timezone: str) -> date:
    """Return the last local day that had ended at an instant."""
    return now.astimezone(ZoneInfo(timezone)).date() - timedelta(days=1)


def forecast_rows(
    days: pl.DataFrame, city: City, issued_at: datetime, fetched_from: str
) -> pl.DataFrame:
    """Return an answer's days in the table's columns, those after the day of the slice."""
    day = newest_complete_day(issued_at, city.timezone)
    issued = pl.lit(issued_at.astimezone(UTC).replace(tzinfo=None)).cast(pl.Datetime("us"))
    return (
        days.rename({"day": "forecast_day"})
        .filter(pl.col("forecast_day") > day)
        .with_columns(
            pl.lit(city.name).alias("city"),
            pl.lit(day).alias("day"),
            issued.alias("issued_at"),
            pl.lit(fetched_from).alias("fetched_from"),
            issued.alias("fetched_at"),
        )
        .select(WEATHER_FORECASTS.names)
    )


def weather_forecasts(city: City) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one city's slice of `bronze.weather_forecasts`, and what must hold of it."""
    key = WEATHER_FORECASTS.key(city.name)

    @dg.asset(
        key=key,
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=WEATHER_FORECASTS.metadata,
        kinds={"duckdb", "open-meteo"},
        description=f"Weather forecasts for {city.title} by the newest complete local day when "
        "they were issued, a row a day ahead. Past forecasts cannot be had again; their slices "
        f"stay. {ATTRIBUTION}.",
    )
    def weather_forecasts(
        context: dg.AssetExecutionContext, warehouse: Warehouse, sources: Sources
    ) -> dg.MaterializeResult:
        """Forecasts for one city, by the newest complete local day when they were issued."""
        part = Slice.of(context, city.name, "city")
        now = sources.now()
        day = newest_complete_day(now, city.timezone)
        is_current = part.start <= day < part.end
        if is_current:
            with sources.weather() as service:
                rows = forecast_rows(service.forecast(city), city, now, sources.origin)
            replace_of_origin(warehouse, WEATHER_FORECASTS, rows, part.day(day), sources.origin)
        else:
            context.log.info(f"only the forecast of {day} can be had now; kept what is stored")
        counts = warehouse.read(COUNTS, part, [WEATHER_FORECASTS])
        note_days(context, key, counts, part)
        return dg.MaterializeResult(
            metadata={"issued_now": is_current, "issued_day": str(day), "days_stored": len(counts)}
        )

    claim = Property(
        "forecasts_look_ahead",
        "Every forecast is for a day after the complete one it follows.",
        NOT_AHEAD,
    )
    return [weather_forecasts, slice_checks([claim], WEATHER_FORECASTS, city.name)]
