"""Gold forecasts: how many records the seven days after a day will bring, and where.

A slice is what could have been said at the end of its day: it uses no later day, and of feeds that
withhold their newest days none of those.
"""

from datetime import date, timedelta

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.histories import Histories
from city311_assets.gold.methods.counts import ALL
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELL_DAYS, CELLS, FORECASTS

CITY = 0
DAYS_AHEAD = 7
# Adding up thousands of cells rounds.
ROUNDING = 1e-6
NOT_COHERENT = f"""
    select day, category as kind from (
        select day, category, resolution, sum(mean) as cells from {FORECASTS}
        where {FORECASTS.where} and resolution > 0 and method is not null group by all
    ) join (
        select day, category, mean as city from {FORECASTS}
        where {FORECASTS.where} and resolution = 0
    ) using (day, category)
    where not (abs(cells - city) <= $rounding * greatest(city, 1))
"""
NOT_NESTED = f"""
    select day, category as kind from {FORECASTS} where {FORECASTS.where} and (
        (method is null) <> (mean is null)
        or not coalesce(0 <= low_95 and low_95 <= low_80 and low_80 <= median
            and median <= high_80 and high_80 <= high_95, mean is null)
        or known_until_day > day)
"""


def forecast_rows(feed: Feed, histories: Histories, day: date) -> pl.DataFrame:
    """Return what is forecast on one day, in the table's columns."""
    from city311_assets.gold.methods.forecasting import NO_HISTORY, SCHEMA, forecasts

    lag = feed.reporting_lag_days
    found = []
    for resolution, history in histories.known_at(day - timedelta(days=lag)):
        rows = forecasts(history, day, lag)
        if found:
            # The city's rows are the same at every resolution.
            rows = rows.drop_nulls("cell")
        of_city = pl.col("cell").is_null()
        found.append(
            rows.with_columns(
                pl.when(of_city).then(CITY).otherwise(resolution).cast(pl.UInt8).alias("resolution")
            )
        )
    if not found:
        nothing = pl.DataFrame([{"category": ALL, "reason": NO_HISTORY}], schema=SCHEMA)
        found.append(nothing.with_columns(pl.lit(CITY, pl.UInt8).alias("resolution")))
    return (
        pl.concat(found)
        .with_columns(
            pl.lit(feed.name).alias("feed"),
            pl.lit(day).alias("day"),
            pl.col("cell").fill_null(CITY),
            pl.lit(day + timedelta(days=1)).alias("first_day"),
            pl.lit(day + timedelta(days=DAYS_AHEAD)).alias("last_day"),
            pl.lit(day - timedelta(days=lag)).alias("known_until_day"),
        )
        .select(FORECASTS.names)
    )


def forecasts(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's forecasts, and what must hold of them."""
    key = FORECASTS.key(feed.name)

    @dg.asset(
        key=key,
        deps=[CELL_DAYS.key(feed.name), CELLS.key(feed.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=FORECASTS.metadata | {"withheld_days": feed.reporting_lag_days},
        kinds={"duckdb", "polars", "scipy"},
        description=f"Records of {feed.title} to be expected in the seven days after each day, for "
        "the city and cells of resolutions 7 and 8, by category, with intervals and baselines.",
    )
    def forecasts(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Forecasts of one feed issued on city-local days."""
        from city311_assets.gold.methods.forecasting import look_back_days

        part = Slice.of(context, feed.name)
        reach = look_back_days(feed.reporting_lag_days)
        histories = Histories.of(warehouse, feed, part, reach)
        rows = pl.concat(forecast_rows(feed, histories, day) for day in part.days)
        warehouse.replace(FORECASTS, rows, part)
        note_days(context, key, rows.group_by("day").agg(pl.len().alias("rows")), part)
        served = rows.filter(pl.col("category") == ALL).group_by("resolution", "method").len()
        return dg.MaterializeResult(
            metadata={
                "look_back_days": reach,
                "range_served_for_all": dg.MetadataValue.json(
                    {f"r{r} {method}": count for r, method, count in served.sort(pl.all()).rows()}
                ),
            }
        )

    claims = [
        Property(
            "cells_add_up_to_the_city",
            "At either resolution the means of a category's cells add up to the city's.",
            NOT_COHERENT,
        ),
        Property(
            "intervals_are_nested",
            "The median lies in the interval at 80 %, that in that at 95 %; no later day is used.",
            NOT_NESTED,
        ),
    ]
    params = {"rounding": ROUNDING}
    return [
        forecasts,
        slice_checks(claims, FORECASTS, feed.name, params=params),
    ]
