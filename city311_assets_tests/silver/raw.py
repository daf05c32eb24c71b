"""Raw bronze rows for tests: all columns of a feed's bronze table, null unless given."""

import datetime as dt
from typing import Any

import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.silver.areas import Areas
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets.warehouse.tables.gold import STREET_SHARES
from city311_assets.warehouse.tables.risk import EVALUATIONS, SCORES
from city311_assets.warehouse.tables.table import Table

DAY = dt.date(2026, 1, 2)


def _listed(type_name: str) -> pl.DataType:
    """Return the type of lists of structs of plain values."""
    fields = (part.rsplit(" ", 1) for part in type_name[len("STRUCT(") : -len(")[]")].split(", "))
    return pl.List(pl.Struct({name: TYPES[of] for name, of in fields}))


OBSERVED = dt.datetime(2027, 1, 1)
TYPES: dict[str, pl.DataType] = {
    "VARCHAR": pl.String(),
    "DATE": pl.Date(),
    "TIMESTAMP": pl.Datetime("us"),
    "DOUBLE": pl.Float64(),
    "BOOLEAN": pl.Boolean(),
    "UBIGINT": pl.UInt64(),
    "BIGINT": pl.Int64(),
    "INTEGER": pl.Int32(),
    "UTINYINT": pl.UInt8(),
    "UBIGINT[]": pl.List(pl.UInt64()),
    "VARCHAR[]": pl.List(pl.String()),
    "BIGINT[]": pl.List(pl.Int64()),
    "DOUBLE[]": pl.List(pl.Float64()),
    "FLOAT": pl.Float32(),
    "FLOAT[]": pl.List(pl.Float32()),
    STREET_SHARES: pl.List(pl.Struct({"street": pl.String(), "fraction": pl.Float64()})),
}
for _table in (EVALUATIONS, SCORES):
    TYPES |= {c.type: _listed(c.type) for c in _table.columns if c.type.startswith("STRUCT")}
NO_AREAS = Areas.of(pl.DataFrame(schema={"area": pl.String, "geometry": pl.String}))


def filled(table: Table, *rows: dict[str, Any]) -> pl.DataFrame:
    """Return rows in a table's columns and types, null unless given."""
    unknown = sorted({name for row in rows for name in row} - set(table.names))
    if unknown:
        raise ValueError(f"{table} has no columns {unknown}")
    schema = {column.name: TYPES[column.type] for column in table.columns}
    return pl.DataFrame([dict.fromkeys(table.names) | row for row in rows], schema=schema)


def raw(feed: Feed, *rows: dict[str, Any]) -> pl.DataFrame:
    """Return bronze rows of a feed; a row has a number, a kind and a time of opening unless told.

    `id` gives a record's number (the row's is its place); every other name is a bronze column.
    """
    complete = []
    for place, given in enumerate(rows):
        row = dict(given)
        number = row.pop("id", f"r{place}")
        day = row.get("day", DAY)
        complete.append(
            {
                "feed": feed.name,
                "day": day,
                "row_id": f"row-{place:04}",
                "record_id": number,
                feed.record_id: number,
                feed.opened: f"{day}T09:00:00.000",
                feed.fields["kind"]: "Graffiti" if feed.kind == "request" else "THEFT",
                "fetched_from": "portal",
                "observed_until": OBSERVED,
                "fetched_at": OBSERVED,
            }
            | row
        )
    return filled(RECORDS[feed.name], *complete)
