"""Gold hot spots: where a month has more, or fewer, records than chance gives.

A month looks back on 23 months of counts: its trailing year, and those of the eleven months before
it. They are read by SQL and are no partition mapping; what changed in them since is repaired when
the month is made again.
"""

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.methods.counts import ALL, with_all
from city311_assets.gold.slices import Held, study_areas
from city311_assets.partitions import BY_YEAR, MONTHS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELL_DAYS, CELLS, HOTSPOTS

RESOLUTIONS = (7, 8, 9)
MONTHS_BEFORE = 23

COUNTS = f"""
    select date_trunc('month', day)::date as month, resolution, cell, category,
        sum(records)::bigint as records
    from {CELL_DAYS} where {CELL_DAYS.where} and resolution between 7 and 9
    group by all order by all
"""
NOT_TESTED_NOR_SAID = f"""
    select month, category as kind from {HOTSPOTS} where {HOTSPOTS.where} and (
        (q is null) <> (reason is not null)
        or (class <> 'none' and (q > 0.10 or reason is not null))
        or (class = 'none' and q <= 0.10)
        or q < p or p not between 0 and 1)
"""
NOT_THE_COUNTS = f"""
    select month, category as kind from (
        select month, null_model, resolution, category, sum(records) as listed
        from {HOTSPOTS} where {HOTSPOTS.where} and category <> 'all' group by all
    ) left join (
        select date_trunc('month', day)::date as month, resolution, category,
            sum(records) as counted
        from {CELL_DAYS} where {CELL_DAYS.where} group by all
    ) using (month, resolution, category)
    where listed is distinct from counted
"""


def hotspots(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's hot spots, and what must hold of them."""
    key = HOTSPOTS.key(feed.name)

    @dg.asset(
        key=key,
        deps=[CELL_DAYS.key(feed.name), CELLS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=HOTSPOTS.metadata | {"look_back_months": MONTHS_BEFORE},
        kinds={"duckdb", "polars", "scipy"},
        description=f"Hot and cold spots of {feed.title} by month, cell of resolutions 7 to 9 and "
        "category: Gi* against the trailing year and against a uniform city, with the false "
        "discovery rate, local Moran's I and what is emerging.",
    )
    def hotspots(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Hot spots of one feed in months."""
        from city311_assets.gold.methods.grid import Grid
        from city311_assets.gold.methods.hot_spots import hot_spots

        part = Slice.of(context, feed.name)
        window = part.reaching_back(months=MONTHS_BEFORE)
        counts = warehouse.read(COUNTS, window, [CELL_DAYS])
        counts = with_all(counts, "month", "resolution", "cell")
        held = Held.of(warehouse, feed, window)
        areas = study_areas(warehouse, feed, counts, RESOLUTIONS)
        grids = {resolution: Grid.of(cells) for resolution, cells in areas.items()}
        found = {}
        for month in part.months:
            of_month = part.month(month)
            months = [*of_month.reaching_back(months=MONTHS_BEFORE).months]
            rows = pl.concat(
                hot_spots(
                    counts.filter(
                        pl.col("resolution") == resolution,
                        pl.col("month").is_between(months[0], month),
                    ).drop("resolution"),
                    held.covered_months(),
                    grid,
                    month,
                ).with_columns(pl.lit(resolution, pl.UInt8).alias("resolution"))
                for resolution, grid in grids.items()
            ).with_columns(
                pl.lit(feed.name).alias("feed"),
                pl.lit(month).alias("month"),
                pl.lit(held.is_provisional_until(of_month.end)).alias("is_provisional"),
            )
            warehouse.replace(HOTSPOTS, rows.select(HOTSPOTS.names), of_month)
            figures = pl.DataFrame({"month": [month], "rows": [rows.height]})
            note_days(context, key, figures, of_month)
            is_hot = pl.col("class").str.starts_with("hot") & (pl.col("category") == ALL)
            by = ["null_model", "resolution"]
            hot = rows.filter(is_hot).group_by(by).len().sort(by)
            found[month.isoformat()] = {f"{null} r{r}": count for null, r, count in hot.rows()}
        return dg.MaterializeResult(metadata={"range_hot_cells": dg.MetadataValue.json(found)})

    claims = [
        Property(
            "tested_or_a_reason",
            "A cell has a q or the reason it has none, and its class follows from q.",
            NOT_TESTED_NOR_SAID,
        ),
        Property(
            "same_records_as_cell_days",
            "Under each null model the records listed are those of the month's days.",
            NOT_THE_COUNTS,
        ),
    ]
    return [hotspots, slice_checks(claims, HOTSPOTS, feed.name, [CELL_DAYS])]
