"""Moving a warehouse: every table copied whole into an empty one, and proven row for row.

What belongs here: what is copied, how it is compared, and how a move that was killed is found.
What does not: how either warehouse is attached.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import polars as pl

from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.meta import ORIGIN, ORIGIN_DDL
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets.warehouse.tables.table import Table

Content = tuple[int, int]
# In a schema of its own: no declared table is touched by it.
MARK = "moving.unfinished"
MARKED = (
    "select 1 as n from duckdb_tables() where database_name = 'city' and schema_name = 'moving' "
    "and table_name = 'unfinished'"
)
STORED = """
    select schema_name || '.' || table_name as name from duckdb_tables()
    where database_name = 'city' and not internal and schema_name <> 'moving' order by name
"""
# So many rows are in memory at a time.
ROWS_AT_A_TIME = 100_000


class MoveRefusedError(ValueError):
    """The one warehouse is nothing to move from, or the other no place to move to."""


class MoveFailedError(RuntimeError):
    """What arrived is not what was sent, or the source was written meanwhile."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One table that arrived, and the hash of all its columns."""

    table: str
    rows: int
    content: int


def contents(warehouse: Warehouse, tables: Iterable[Table] = TABLES) -> dict[str, Content]:
    """Return of each table the number of rows and a hash of their content, whatever their order.

    Columns marked as provenance do not count: made twice, the same is the same.
    """
    return {str(table): _content(warehouse, table, table.content) for table in tables}


def is_unfinished(warehouse: Warehouse) -> bool:
    """Whether a move into this warehouse began and did not end: its rows are not all there."""
    return warehouse.is_there and warehouse.read(MARKED).height > 0


def move(
    source: Warehouse,
    target: Warehouse,
    tell: Callable[[Moved], None],
    *,
    begin_again: bool = False,
) -> list[Moved]:
    """Copy every table into an empty warehouse, a transaction each, and compare what arrived.

    The target bears a mark from before the first row until all is proven. `begin_again` empties a
    target that bears one.

    Raises
    ------
    MoveRefusedError
        There is nothing to move, the target holds rows or bears the mark of an earlier move, or the
        source holds tables that are not declared.
    MoveFailedError
        A table arrived with other rows, or the source was written meanwhile.
    """
    _refuse(source, target, begin_again=begin_again)
    version = source.data_version
    held = _counts(target) if target.is_there else {}
    target.write(partial(_mark, [table for table in TABLES if held.get(str(table))]))
    moved = []
    for table in TABLES:
        sent = _content(source, table, table.names)
        if sent[0]:
            target.write(partial(_copy, source, table))
        arrived = _content(target, table, table.names)
        if sent != arrived:
            raise MoveFailedError(
                f"{table}: {sent[0]:,} rows were sent and {arrived[0]:,} arrived, or not the same; "
                "the target is marked as unfinished and is not to be used"
            )
        moved.append(Moved(str(table), *arrived))
        tell(moved[-1])
    if ORIGIN in source.read(STORED)["name"]:
        target.write(partial(_say_origin, source.read(f"from {ORIGIN}")))
    if source.data_version != version:
        raise MoveFailedError(
            "the source was written while it was moved; stop what writes it and begin again: the "
            "target is marked as unfinished"
        )
    target.write(lambda session: session.run("drop schema moving cascade"))
    return moved


def _refuse(source: Warehouse, target: Warehouse, *, begin_again: bool) -> None:
    if not source.is_there or source.data_version is None:
        raise MoveRefusedError(f"{_name(source)} holds nothing yet")
    if is_unfinished(source):
        raise MoveRefusedError(
            f"{_name(source)} is itself the target of a move that did not end: its rows are not "
            "all there"
        )
    declared = {ORIGIN, *map(str, TABLES)}
    unknown = sorted(set(source.read(STORED)["name"]) - declared)
    if unknown:
        raise MoveRefusedError(
            f"{_name(source)} holds tables that are not declared: {', '.join(unknown)}; move or "
            "drop them yourself first"
        )
    if is_unfinished(target):
        if not begin_again:
            raise MoveRefusedError(
                f"a move into {_name(target)} began and did not end; --begin-again empties it first"
            )
        return
    held = {} if not target.is_there else _counts(target)
    if full := [f"{name} ({rows:,})" for name, rows in held.items() if rows]:
        raise MoveRefusedError(
            f"{_name(target)} holds rows already: {', '.join(full[:5])}; move into an empty one"
        )


def _counts(warehouse: Warehouse) -> dict[str, int]:
    """Return the rows of each table that is there, declared or not."""
    names = warehouse.read(STORED)["name"].to_list()
    if not names:
        return {}
    query = " union all ".join(
        f"select '{name}' as name, count(*) as n from {name}" for name in names
    )
    return dict(warehouse.read(query).rows())


def _name(warehouse: Warehouse) -> str:
    return warehouse.database


def _mark(left: Iterable[Table], session: Session) -> None:
    """Mark the target as unfinished, make its tables, and empty those that hold something."""
    session.run("create schema if not exists moving")
    session.run(f"create table if not exists {MARK} (begun_at timestamp)")
    session.prepare(*TABLES)
    for table in left:
        session.run(f"delete from {table}")


def _copy(source: Warehouse, table: Table, session: Session) -> None:
    """Put a table's rows in the place of what is there, a part of them in memory at a time."""
    session.run(f"delete from {table}")
    with source.connect() as conn:
        Session(conn).prepare(table)
        session.conn.register(
            "arriving", conn.execute(f"from {table}").to_arrow_reader(ROWS_AT_A_TIME)
        )
        session.run(f"insert into {table} by name from arriving")
        session.conn.unregister("arriving")


def _say_origin(held: pl.DataFrame, session: Session) -> None:
    """Say of the target what the source says: whether its records are the sample city's."""
    session.run(ORIGIN_DDL)
    session.run(f"delete from {ORIGIN}")
    session.run(f"insert into {ORIGIN} by name from held", held=held)


def _content(warehouse: Warehouse, table: Table, columns: Iterable[str]) -> Content:
    names = ", ".join(f'"{name}"' for name in columns)
    query = (
        f"select count(*) as n, coalesce(sum(hash({names})::hugeint), 0)::varchar as h from {table}"
    )
    ((rows, content),) = warehouse.read(query, tables=(table,)).rows()
    return rows, int(content)
