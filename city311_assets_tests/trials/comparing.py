"""Two warehouses of one graph compared, table by table and row by row."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from city311_assets.warehouse.tables.registry import TABLES
from city311_assets.warehouse.tables.table import Table


@dataclass(frozen=True)
class Difference:
    """How many rows of a table only one of the two has, and of which slices those are."""

    rows: int
    only_here: int
    only_there: int
    slices: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.only_here or self.only_there)

    def __str__(self) -> str:
        where = f" ({len(self.slices)} slices, {self.slices[0]} first)" if self.slices else ""
        return f"{self.only_here} and {self.only_there} of {self.rows}{where}"


def compared(
    here: Path,
    there: Path,
    without: Mapping[str, Collection[str]] | None = None,
    only: Mapping[str, str] | None = None,
) -> dict[str, Difference]:
    """Return the differences of the tables of two files, by name.

    Columns of provenance do not count, nor those named in `without` by table. Of a table in `only`
    rows count that meet its condition. A table that a file lacks has no rows there.
    """
    conditions = only or {}
    with duckdb.connect() as conn:
        conn.execute(f"attach '{here}' as here (read_only)")
        conn.execute(f"attach '{there}' as there (read_only)")
        held = {
            ".".join(names)
            for names in conn.execute(
                "select database_name, schema_name, table_name from duckdb_tables()"
            ).fetchall()
        }
        return {
            name: _difference(
                conn, table, held, (without or {}).get(name, ()), conditions.get(name, "true")
            )
            for name, table in ((str(table), table) for table in TABLES)
        }


def _difference(
    conn: duckdb.DuckDBPyConnection,
    table: Table,
    held: Collection[str],
    without: Collection[str],
    condition: str,
) -> Difference:
    slices = [name for name in (table.scope, table.period) if name]
    types = {column.name: column.type for column in table.columns}
    names = [*dict.fromkeys([*slices, *(n for n in table.content if n not in without)])]

    def rows(base: str) -> str:
        if f"{base}.{table}" in held:
            columns = ", ".join(f'"{name}"' for name in names)
            return f"select {columns} from {base}.{table} where {condition}"
        columns = ", ".join(f'null::{types[name]} as "{name}"' for name in names)
        return f"select {columns} where false"

    def only(one: str, other: str) -> list[tuple]:
        return conn.execute(
            f"select {', '.join(slices)}, count(*) from ({rows(one)} except all {rows(other)}) "
            "group by all order by all"
        ).fetchall()

    own, others = only("here", "there"), only("there", "here")
    (count,) = conn.execute(f"select count(*) from ({rows('here')})").fetchone() or (0,)
    where = sorted({" ".join(map(str, found[:-1])) for found in (*own, *others)})
    return Difference(count, sum(f[-1] for f in own), sum(f[-1] for f in others), where)
