"""Gold cell days: how many records of each category each cell had on a day, and their outcomes.

Every other table of gold counts from here: a filtered map is a filtered sum.
"""

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.methods.counts import cell_counts, with_outcome
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELL_DAYS
from city311_assets.warehouse.tables.silver import RECORDS

# A day of which so few records have a point says little about where things happen.
FEWEST_WITH_POINT = 0.5

NEEDED = {
    "arrest": "day, cell, category, is_arrest",
    "closed_within_7_days": "day, cell, category, is_administrative, opened_at_utc, observed_until,"
    " hours_to_close, hours_to_close_reason",
}
NOT_SILVERS = f"""
    select day, category as kind, resolution::bigint as rows from (
        select day, resolution, category, sum(records) as counted, 0 as held
        from {CELL_DAYS} where {CELL_DAYS.where} group by all
        union all
        select day, unnest(range(6, 11)), category, 0, count(*)
        from {{records}} where {CELL_DAYS.where} and cell is not null group by all
    )
    group by day, resolution, category having sum(counted) <> sum(held)
    order by all
"""
NOT_NESTED = f"""
    select day, category as kind from {CELL_DAYS}
    where {CELL_DAYS.where}
        and not (records > 0 and records >= eligible and eligible >= successes and successes >= 0)
"""
MANY_WITHOUT_POINT = """
    select day, count(*) - count(cell) as rows from {records}
    where feed = $feed and day >= $start and day < $end
    group by day having count(cell) < $fewest * count(*)
    order by day
"""


def cell_day_rows(records: pl.DataFrame, feed: Feed) -> pl.DataFrame:
    """Return silver records (the columns of `NEEDED`) as counts, in the table's columns."""
    counts = cell_counts(with_outcome(records, feed.outcome))
    return counts.with_columns(pl.lit(feed.name).alias("feed")).select(CELL_DAYS.names)


def write(warehouse: Warehouse, feed: Feed, part: Slice) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Make a slice of counts from silver; return the records read and the rows written."""
    table = RECORDS[feed.table]
    needed = f"select {NEEDED[feed.outcome]} from {table} where {table.where}"
    records = warehouse.read(needed, part, [table])
    rows = cell_day_rows(records, feed)
    warehouse.replace(CELL_DAYS, rows, part)
    return records, rows


def claims(feed: Feed) -> list[Property]:
    """Return what must hold of a feed's counts."""
    table = RECORDS[feed.table]
    return [
        Property(
            "adds_up_to_silver",
            "At every resolution and category the cells' records add up to silver's with a point.",
            NOT_SILVERS.format(records=table),
        ),
        Property(
            "counts_are_nested",
            "No row is empty, no more records are eligible than there are, no more succeed.",
            NOT_NESTED,
        ),
        Property(
            "cells_covered",
            "At least half of a day's records have a cell.",
            MANY_WITHOUT_POINT.format(records=table),
            is_blocking=False,
            severity=dg.AssetCheckSeverity.WARN,
        ),
    ]


def cell_days(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's counts of cells and days, and what must hold of them."""
    key, table = CELL_DAYS.key(feed.name), RECORDS[feed.table]

    @dg.asset(
        key=key,
        deps=[table.key(feed.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=CELL_DAYS.metadata | {"outcome": feed.outcome},
        kinds={"duckdb", "polars"},
        description=f"{feed.title} counted by city-local day, H3 cell of resolutions 6 to 10 and "
        "category: records, those whose outcome is known, and successes; only what is not zero.",
    )
    def cell_days(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Counts of one feed's cells on city-local days."""
        part = Slice.of(context, feed.name)
        records, rows = write(warehouse, feed, part)
        note_days(context, key, rows.group_by("day").agg(pl.len().alias("rows")), part)
        return dg.MaterializeResult(
            metadata={
                "range_records": records.height,
                "range_with_point": records["cell"].count(),
            }
        )

    params = {"fewest": FEWEST_WITH_POINT}
    return [cell_days, slice_checks(claims(feed), CELL_DAYS, feed.name, [table], params)]
