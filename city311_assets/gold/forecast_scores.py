"""Gold forecast scores: how the forecasts of seven days fared, on the day that is known.

A slice scores the forecasts issued so long before its day that everything they were about had been
told by then. Both baselines are scored beside the method served; the rows say which that was.
"""

from datetime import date, timedelta

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.forecasts import CITY, DAYS_AHEAD
from city311_assets.gold.histories import RESOLUTIONS, Histories
from city311_assets.gold.methods.counts import ALL
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELL_DAYS, CELLS, FORECAST_SCORES

NOT_ONE_SERVED = f"""
    select day, category as kind from {FORECAST_SCORES} where {FORECAST_SCORES.where}
    group by day, resolution, category having count(*) filter (is_served) <> 1
"""


def score_rows(feed: Feed, histories: Histories, day: date) -> pl.DataFrame:
    """Return the scores that are known on one day, in the table's columns; none too early."""
    from city311_assets.gold.methods.forecast_scores import scoreboard

    lag = feed.reporting_lag_days
    known_until = day - timedelta(days=lag)
    origin = known_until - timedelta(days=DAYS_AHEAD)
    found = [pl.DataFrame(schema=_schema())]
    for resolution, history in histories.known_at(known_until):
        if origin - timedelta(days=lag) < history.first:
            continue
        scores = scoreboard(history, origin, lag, has_every_method=False)
        is_city = pl.col("level") == "city"
        if resolution != RESOLUTIONS[0]:
            # The city's scores are the same at every resolution.
            scores = scores.filter(~is_city)
        found.append(
            scores.with_columns(
                pl.when(is_city)
                .then(CITY)
                .otherwise(resolution)
                .cast(pl.UInt8)
                .alias("resolution"),
                pl.lit(feed.name).alias("feed"),
                pl.lit(day).alias("day"),
                pl.col("origin").alias("origin_day"),
            ).select(FORECAST_SCORES.names)
        )
    return pl.concat(found)


def _schema() -> dict[str, pl.DataType]:
    """Return the types of the table's columns in a frame."""
    types = {
        "VARCHAR": pl.String(),
        "DATE": pl.Date(),
        "UTINYINT": pl.UInt8(),
        "BIGINT": pl.Int64(),
    }
    types |= {"DOUBLE": pl.Float64(), "BOOLEAN": pl.Boolean()}
    return {column.name: types[column.type] for column in FORECAST_SCORES.columns}


def forecast_scores(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's scores of forecasts, and what must hold of them."""
    key = FORECAST_SCORES.key(feed.name)

    @dg.asset(
        key=key,
        deps=[CELL_DAYS.key(feed.name), CELLS.key(feed.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=FORECAST_SCORES.metadata,
        kinds={"duckdb", "polars", "scipy"},
        description=f"How forecasts of {feed.title} fared once their seven days were known, beside "
        "the baselines: errors, coverage, and what share fell into the cells forecast highest.",
    )
    def forecast_scores(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Scores of one feed's forecasts, by the day on which they were known."""
        from city311_assets.gold.methods.forecasting import look_back_days

        part = Slice.of(context, feed.name)
        lag = feed.reporting_lag_days
        histories = Histories.of(warehouse, feed, part, look_back_days(lag) + lag + DAYS_AHEAD)
        rows = pl.concat(score_rows(feed, histories, day) for day in part.days)
        warehouse.replace(FORECAST_SCORES, rows, part)
        note_days(context, key, rows.group_by("day").agg(pl.len().alias("rows")), part)
        served = rows.filter(pl.col("is_served"), pl.col("category") == ALL)
        means = served.group_by("resolution").agg(pl.col("mase", "coverage_80").mean())
        return dg.MaterializeResult(
            metadata={
                "range_served_for_all": dg.MetadataValue.json(
                    {
                        f"r{r}": {"mase": m, "coverage_80": c}
                        for r, m, c in means.sort(pl.all()).rows()
                    }
                )
            }
        )

    claim = Property(
        "one_method_served",
        "Of each category and resolution exactly one method was served.",
        NOT_ONE_SERVED,
    )
    return [forecast_scores, slice_checks([claim], FORECAST_SCORES, feed.name)]
