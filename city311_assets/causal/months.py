"""What every table of effects does alike: month by month, one whole slice each, and its figures."""

from collections.abc import Callable
from datetime import date

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.partitions import Slice, note_days
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.table import Table

# Of a month of a slice: its rows without the slice's own columns, and what a log should say.
RowsOf = Callable[[Slice, date], tuple[pl.DataFrame, dict[str, object]]]


TYPES = {
    "VARCHAR": pl.String,
    "DOUBLE": pl.Float64,
    "BIGINT": pl.Int64,
    "INTEGER": pl.Int32,
    "BOOLEAN": pl.Boolean,
    "DATE": pl.Date,
}


def schema_of(table: Table, *without: str) -> dict[str, type[pl.DataType]]:
    """Return the types of a table's columns without those of the slice and some others."""
    others = {"feed", "month", *without}
    return {c.name: TYPES[c.type] for c in table.columns if c.name not in others}


def metadata(table: Table) -> dict[str, object]:
    """Return what the catalog says of a table of effects before any run."""
    return {**table.metadata, "look_back_months": settings().atlas_window_months - 1}


def replace_months(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    table: Table,
    feed: Feed,
    rows_of: RowsOf,
) -> dg.MaterializeResult:
    """Make and replace every month of a run, with one thread of linear algebra.

    Runs beside each other would wait for each other's threads: many small products, few large ones.
    """
    from threadpoolctl import threadpool_limits

    part = Slice.of(context, feed.name)
    said: dict[str, object] = {}
    for month in part.months:
        of_month = part.month(month)
        with threadpool_limits(1):
            rows, told = rows_of(part, month)
        rows = rows.with_columns(
            pl.lit(feed.name).alias("feed"), pl.lit(month, pl.Date).alias("month")
        )
        warehouse.replace(table, rows.select(table.names), of_month)
        figures = pl.DataFrame({"month": [month], "rows": [rows.height]})
        note_days(context, table.key(feed.name), figures, of_month)
        said[month.isoformat()] = {"rows": rows.height, **told}
    return dg.MaterializeResult(metadata={"months": dg.MetadataValue.json(said)})
