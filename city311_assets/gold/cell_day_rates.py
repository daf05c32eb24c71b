"""Gold cell day rates: the rates of a day, at the resolutions where a day has something to say.

At resolutions 9 and 10 a day's row is mostly one record: the macro `cell_day_rates_of` computes
them from the counts on request.
"""

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.slices import study_areas
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELL_DAY_RATES, CELL_DAYS, CELLS

RESOLUTIONS = (6, 7, 8)
COUNTS = f"""
    select day, resolution, cell, category, records, eligible, successes
    from {CELL_DAYS} where {CELL_DAYS.where} and resolution <= 8 order by all
"""
NOT_THE_COUNTS = f"""
    select day, category as kind from (
        select day, resolution, cell, category, records, eligible, successes
        from {CELL_DAY_RATES} where {CELL_DAY_RATES.where} and category <> 'all' and records > 0
        union all
        select day, resolution, cell, category, -records, -eligible, -successes
        from {CELL_DAYS} where {CELL_DAYS.where} and resolution <= 8
    )
    group by day, resolution, cell, category
    having sum(records) <> 0 or sum(eligible) <> 0 or sum(successes) <> 0
"""


def cell_day_rates(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's daily rates of cells, and what must hold of them."""
    key = CELL_DAY_RATES.key(feed.name)

    @dg.asset(
        key=key,
        deps=[CELL_DAYS.key(feed.name), CELLS.key(feed.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=CELL_DAY_RATES.metadata,
        kinds={"duckdb", "polars"},
        description=f"Daily rates of {feed.title} by cell of resolutions 6 to 8 and category: "
        "Wilson's interval, empirical Bayes, and pooled over the cell's ring.",
    )
    def cell_day_rates(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Rates of one feed's cells on city-local days."""
        from city311_assets.gold.methods.cell_rates import rates_of_resolutions

        part = Slice.of(context, feed.name)
        counts = warehouse.read(COUNTS, part, [CELL_DAYS])
        areas = study_areas(warehouse, feed, counts, RESOLUTIONS)
        rows = rates_of_resolutions(counts, areas, "day").with_columns(
            pl.lit(feed.name).alias("feed")
        )
        warehouse.replace(CELL_DAY_RATES, rows.select(CELL_DAY_RATES.names), part)
        note_days(context, key, rows.group_by("day").agg(pl.len().alias("rows")), part)
        return dg.MaterializeResult(metadata={"range_low_confidence": _share(rows)})

    claim = Property(
        "same_counts_as_cell_days",
        "Every count of a day and cell has its rate, and no other has.",
        NOT_THE_COUNTS,
    )
    return [cell_day_rates, slice_checks([claim], CELL_DAY_RATES, feed.name, [CELL_DAYS])]


def _share(rows: pl.DataFrame) -> float:
    """Return the share of rows with a record whose interval is too wide to be compared."""
    own = rows.filter(pl.col("records") > 0)["is_low_confidence"]
    return float(own.mean() or 0.0)  # pyright: ignore[reportArgumentType]
