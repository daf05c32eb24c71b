"""What computed tables of months do alike: month by month, one whole slice each, with its figures.

What belongs here: how a run's months are made and stored, and the types of their rows. What does
not: what a row says.
"""

from collections.abc import Callable, Mapping
from datetime import date

import dagster as dg
import polars as pl

from city311_assets.partitions import Slice, note_days
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.table import Table

# Of a run's slice and one of its months: rows without the slice's own columns, and what a log
# should say.
RowsOf = Callable[[Slice, date], tuple[pl.DataFrame, dict[str, object]]]

TYPES: Mapping[str, type[pl.DataType]] = {
    "VARCHAR": pl.String,
    "DOUBLE": pl.Float64,
    "BIGINT": pl.Int64,
    "INTEGER": pl.Int32,
    "BOOLEAN": pl.Boolean,
    "DATE": pl.Date,
}


def schema_of(table: Table, *without: str) -> dict[str, pl.DataType | type[pl.DataType]]:
    """Return the types of a table's columns without those of the slice and some others."""
    others = {table.scope, table.period, *without}
    return {c.name: _type_of(c.type) for c in table.columns if c.name not in others}


def empty(table: Table) -> pl.DataFrame:
    """Return a table's rows of a month without any."""
    return pl.DataFrame(schema=schema_of(table))


def replace_months(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    table: Table,
    name: str,
    rows_of: RowsOf,
) -> dg.MaterializeResult:
    """Make and replace every month of a run, with one thread of linear algebra and of trees.

    Runs beside each other would wait for each other's threads: many small products, few large ones.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - the code location loads fast

    part = Slice.of(context, name, table.scope)
    said: dict[str, object] = {}
    for month in part.months:
        of_month = part.month(month)
        with threadpool_limits(1):
            rows, told = rows_of(part, month)
        rows = rows.with_columns(
            pl.lit(name).alias(table.scope), pl.lit(month, pl.Date).alias("month")
        )
        warehouse.replace(table, rows.select(table.names), of_month)
        figures = pl.DataFrame({"month": [month], "rows": [rows.height]})
        note_days(context, table.key(name), figures, of_month)
        said[month.isoformat()] = {"rows": rows.height, **told}
    return dg.MaterializeResult(metadata={"months": dg.MetadataValue.json(said)})


def _type_of(name: str) -> pl.DataType | type[pl.DataType]:
    """Return the type of a frame's column that is stored as a type of DuckDB."""
    if name.startswith("STRUCT(") and name.endswith(")[]"):
        parts = [part.rsplit(" ", 1) for part in name[len("STRUCT(") : -len(")[]")].split(", ")]
        return pl.List(pl.Struct({field: TYPES[of] for field, of in parts}))
    return TYPES[name]
