"""The one door to DuckDB: attach, read, replace a slice, and nothing half done.

The file is written by many short-lived processes and one DuckDB file has one writer, so every
access waits its turn at a file lock, attaches the database as `city`, commits and detaches. Work
that is not SQL happens outside. What belongs here: how statements reach the warehouse and what
must never be stored. What does not: any statement about a particular table.
"""

import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import duckdb
import polars as pl
from dagster_duckdb import DuckDBResource
from filelock import FileLock, Timeout
from pydantic import Field

from city311_assets.partitions import Slice
from city311_assets.warehouse.errors import (
    SliceRefusedError,
    TableMismatchError,
    WarehouseBusyError,
)
from city311_assets.warehouse.tables.table import Table

# Nothing is fetched behind the user's back; a missing extension is an error, not a download. One
# thread: slices are small, Dagster owns the parallelism, and a second thread doubles what an insert
# costs (benchmarks/). The resource's own `connection_config` wins.
CONNECTION: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
Made = TypeVar("Made")

PARAMETER = re.compile(r"\$([a-z_]+)")
CULPRITS_SHOWN = 5
# A file of which more than this is free is rewritten, unless it is small anyhow.
MOST_FREE_SHARE = 0.3
FEWEST_BLOCKS = 64
# A stranger who opened the file by mistake is given this long to close it again.
PATIENCE_WITH_READERS_SECONDS = 30.0


def frame_of(
    conn: duckdb.DuckDBPyConnection, query: str, params: Mapping[str, object] | None = None
) -> pl.DataFrame:
    """Return a query's rows.

    A relation with parameters hands its rows over one value at a time: 60 times the time of an
    executed statement, whose answers DuckDB 2.0 gives no `pl`.
    """
    if hasattr(conn, "pl"):
        return conn.execute(query, params).pl()
    return conn.sql(query, params=params).pl()


class Session:
    """Statements on the attached warehouse, inside one transaction."""

    def __init__(self, conn: duckdb.DuckDBPyConnection) -> None:
        self.conn = conn

    def read(
        self, query: str, params: Mapping[str, object] | None = None, **frames: pl.DataFrame
    ) -> pl.DataFrame:
        """Return a query's rows; of `params` those it names are used, `frames` are its inputs."""
        with self._inputs(frames):
            return frame_of(self.conn, query, _named_in(query, params))

    def run(
        self, statement: str, params: Mapping[str, object] | None = None, **frames: pl.DataFrame
    ) -> None:
        """Run a statement that returns nothing; arguments as of `read`."""
        with self._inputs(frames):
            self.conn.execute(statement, _named_in(statement, params))

    @contextmanager
    def _inputs(self, frames: Mapping[str, pl.DataFrame]) -> Iterator[None]:
        for name, frame in frames.items():
            self.conn.register(name, frame)
        try:
            yield
        finally:
            for name in frames:
                self.conn.unregister(name)

    def prepare(self, *tables: Table) -> None:
        """Make tables that are missing, and bring older ones up to their declared columns.

        Raises
        ------
        TableMismatchError
            The stored columns cannot safely become the declared ones.
        """
        for table in tables:
            self.conn.execute(f"create schema if not exists {table.layer}")
            self.conn.execute(table.ddl)
            described = self.conn.execute(f"describe {table}").fetchall()
            stored = {name: dtype for name, dtype, *_ in described}
            strict = {name for name, _, is_nullable, *_ in described if is_nullable == "NO"}
            if list(stored.items()) != [(column.name, column.type) for column in table.columns]:
                self._migrate(table, stored)
            for column in table.columns:
                if column.nullable and column.name in strict:
                    self.conn.execute(f'alter table {table} alter "{column.name}" drop not null')

    def _migrate(self, table: Table, stored: Mapping[str, str]) -> None:
        """Add declared nullable columns; refuse every other difference."""
        declared = {column.name: column for column in table.columns}
        added = [column for name, column in declared.items() if name not in stored]
        changed = [n for n, t in stored.items() if n in declared and declared[n].type != t]
        dropped = [name for name in stored if name not in declared]
        if changed or dropped or not all(column.nullable for column in added):
            raise TableMismatchError(table, stored)
        for column in added:
            self.conn.execute(f'alter table {table} add column "{column.name}" {column.type}')

    def replace(self, table: Table, rows: pl.DataFrame, part: Slice | str) -> None:
        """Swap one slice of a table for `rows`.

        Raises
        ------
        SliceRefusedError
            Columns other than the declared ones, other types, nulls where none may be, rows of
            another slice, or a repeated key.
        """
        self.prepare(table)
        self.conn.register("rows", rows)
        _refuse(self.conn, table, part)
        self.conn.execute(f"delete from {table} where {table.where}", table.params(part))
        self.conn.execute(f"insert into {table} by name from rows")
        self.conn.unregister("rows")


def _named_in(statement: str, params: Mapping[str, object] | None) -> dict[str, object]:
    """Return the parameters a statement names: DuckDB refuses those it does not."""
    wanted = set(PARAMETER.findall(statement))
    return {name: value for name, value in (params or {}).items() if name in wanted}


def _refuse(conn: duckdb.DuckDBPyConnection, table: Table, part: Slice | str) -> None:
    """Raise if the registered `rows` must never be stored as this slice of the table."""
    # A column of nothing but nulls has no type of its own and may become any.
    given = {name: dtype for name, dtype, *_ in conn.execute("describe rows").fetchall()}
    if sorted(given) != sorted(table.names):
        raise SliceRefusedError(
            table,
            part,
            f"its columns are not the declared ones: missing "
            f"{sorted(set(table.names) - set(given))}, unknown "
            f"{sorted(set(given) - set(table.names))}",
        )
    types = {column.name: column.type for column in table.columns}
    wrong = [name for name in given if not _same_type(given[name], types[name])]
    if wrong:
        nulls = conn.sql(
            "select " + ", ".join(f'count("{name}") = 0' for name in wrong) + " from rows"
        ).fetchall()[0]
        wrong = [name for name, is_empty in zip(wrong, nulls, strict=True) if not is_empty]
    if wrong:
        said = ", ".join(f"{name} is {given[name]}, not {types[name]}" for name in wrong)
        raise SliceRefusedError(table, part, said)
    key = ", ".join(f'"{name}"' for name in table.unique)
    refusals = {
        "a null where none may be": " union all ".join(
            f"select '{name}' where exists (from rows where \"{name}\" is null)"
            for name in table.required
        ),
        "rows of another slice": (
            f"select distinct {table.scope} || coalesce(' ' || {table.period or 'null'}, '') "
            f"from rows where not coalesce({table.where}, false)"
        ),
        "a repeated key": (
            f"select concat_ws(' ', {key}) from rows group by {key} having count(*) > 1"
        ),
    }
    for complaint, query in refusals.items():
        params = table.params(part) if "$" in query else {}
        found = sorted(str(row[0]) for row in conn.execute(query, params).fetchall())
        if found:
            more = f" and {len(found) - CULPRITS_SHOWN} more" if len(found) > CULPRITS_SHOWN else ""
            culprits = ", ".join(found[:CULPRITS_SHOWN])
            raise SliceRefusedError(table, part, f"{complaint}: {culprits}{more}")


def _same_type(given: str, declared: str) -> bool:
    """Whether a frame's type is the declared one; timestamps of any precision are timestamps."""
    return given == declared or (
        declared == "TIMESTAMP" and given in {"TIMESTAMP_NS", "TIMESTAMP_MS"}
    )


class Warehouse(DuckDBResource):
    """The city's DuckDB database, opened for one group of statements at a time."""

    lock_timeout_seconds: float = Field(
        default=600.0, description="Longest wait for another run's statements."
    )

    @property
    def path(self) -> Path:
        """The native file."""
        return Path(self.database)

    @property
    def is_there(self) -> bool:
        """Whether something was ever written."""
        return self.path.exists()

    @property
    def attachment(self) -> str:
        """The statement that attaches the database as `city`."""
        return "attach '{}' as city".format(self.database.replace("'", "''"))

    @contextmanager
    def door(self) -> Iterator[None]:
        """Wait until no other process has statements on the warehouse, and keep them out.

        Raises
        ------
        WarehouseBusyError
            Another process holds the lock for longer than the time-out.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{self.database}.lock", timeout=self.lock_timeout_seconds)
        try:
            lock.acquire()
        except Timeout:
            raise WarehouseBusyError(self.path, self.lock_timeout_seconds) from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Take the lock, attach the database as `city`, and leave nothing half done."""
        with self.door():
            conn = duckdb.connect(config=CONNECTION | self.connection_config)
            try:
                # A long query would draw a bar into the logs of whoever runs it.
                conn.execute("set enable_progress_bar = false")
                self._attach(conn)
                conn.execute("use city")
                yield conn
                conn.execute("use memory")
                conn.execute("detach city")
            finally:
                # An open transaction of a body that raised ends here, rolled back.
                conn.close()

    @contextmanager
    def reading(self, patience_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection that only reads, waiting for the door no longer than told.

        Raises
        ------
        WarehouseBusyError
            Another process holds the lock for longer.
        """
        hurried = Warehouse(database=self.database, lock_timeout_seconds=patience_seconds)
        # Behind its lock and read-only: writers find it free.
        with (
            hurried.door(),
            duckdb.connect(str(self.path), read_only=True, config=CONNECTION) as conn,
        ):
            yield conn

    def _attach(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Attach, waiting for somebody who opened the file by mistake."""
        deadline = time.monotonic() + PATIENCE_WITH_READERS_SECONDS
        while True:
            try:
                conn.execute(self.attachment)
            except duckdb.IOException as error:
                if "lock" not in str(error).lower():
                    raise
                if time.monotonic() > deadline:
                    raise WarehouseBusyError(
                        self.path, PATIENCE_WITH_READERS_SECONDS, str(error)
                    ) from error
                time.sleep(0.1)
            else:
                return

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run statements that become visible together, or not at all."""
        with self.connect() as conn:
            conn.begin()
            yield Session(conn)
            # Named before the commit: a kill between the two publishes once too often, never once
            # too seldom.
            self.version_path.write_text(uuid.uuid4().hex)
            conn.commit()

    def read(
        self,
        query: str,
        params: Slice | Mapping[str, object] | None = None,
        tables: Iterable[Table] = (),
    ) -> pl.DataFrame:
        """Return the rows of a query over one slice ($feed or $city, $start, $end).

        `tables` are made first where they are missing, so that nothing written yet is no rows.
        """
        with self.connect() as conn:
            session = Session(conn)
            session.prepare(*tables)
            return session.read(query, params.params if isinstance(params, Slice) else params)

    def write(self, body: Callable[[Session], Made]) -> Made:
        """Run a function's statements in one transaction; return what it returns.

        Where others wrote the same meanwhile it may be run again: it does nothing but statements.
        """
        with self.transaction() as session:
            return body(session)

    def replace(self, table: Table, rows: pl.DataFrame, part: Slice | str) -> None:
        """Swap one slice of a table for `rows`, all or nothing."""
        self.write(lambda session: session.replace(table, rows, part))

    def content_hash(self, table: Table, part: Slice | str) -> tuple[int, int]:
        """Return the number of rows of a slice and a hash of their content, whatever their order.

        Columns marked as provenance do not count: fetching the same thing again changes nothing.
        """
        columns = ", ".join(f'"{name}"' for name in table.content)
        with self.connect() as conn:
            Session(conn).prepare(table)
            ((rows, content),) = conn.execute(
                f"select count(*), coalesce(sum(hash({columns})::hugeint), 0) from {table} "
                f"where {table.where}",
                table.params(part),
            ).fetchall()
        return rows, int(content)

    def copy_to(self, path: Path, tables: Iterable[Table] = ()) -> str | None:  # noqa: ARG002 - for a lake
        """Copy the whole warehouse into a file of its own; return its version, None if empty.

        `tables` are those that readers know; a copy of the file holds all others too.
        """
        with self.door():
            version = self.data_version
            self.settle()
            if self.path.exists():
                shutil.copyfile(self.path, path)
        return version

    def settle(self) -> None:
        """Write the log into the file, and rewrite the file where much of it is free.

        To be called by who holds the door. A killed writer's log is replayed here, never lost.
        """
        if not self.path.exists():
            return
        with duckdb.connect(config=CONNECTION) as conn:
            self._attach(conn)
            conn.execute("checkpoint city")
            ((total, free),) = conn.execute(
                "select total_blocks, free_blocks from pragma_database_size() "
                "where database_name = 'city'"
            ).fetchall()
            compact = self.path.with_suffix(".compact")
            is_wasteful = free > MOST_FREE_SHARE * total and total > FEWEST_BLOCKS
            if is_wasteful:
                compact.unlink(missing_ok=True)
                conn.execute("attach '{}' as compact".format(str(compact).replace("'", "''")))
                conn.execute("copy from database city to compact")
                conn.execute("detach compact")
            conn.execute("detach city")
        if is_wasteful:
            compact.replace(self.path)

    def maintain(self, keep: timedelta) -> str:  # noqa: ARG002 - for a lake
        """Rewrite the file where much of it is free; return what was done, in words.

        `keep` is how long a lake keeps old versions; a file has none.
        """
        if not self.path.exists():
            return "nothing is written yet"
        with self.door():
            before = self.path.stat().st_size
            self.settle()
            after = self.path.stat().st_size
        return f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB after"

    @property
    def version_path(self) -> Path:
        """The file that names the data's version: another text after every write."""
        return self.path.with_suffix(".version")

    @property
    def data_version(self) -> str | None:
        """The name of the newest write; null before the first."""
        return self.version_path.read_text() if self.version_path.exists() else None
