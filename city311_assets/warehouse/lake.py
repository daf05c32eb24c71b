"""The warehouse of several machines: DuckLake, files in a folder and a catalogue in a database.

The same tables and the same SQL as the native file. There is no lock: writers work beside each
other, and who finds at the commit that another wrote the same begins again; so does who lost the
catalogue's database, once it answers. What belongs here: how it is attached, tried again, copied
and kept small. What does not: what is stored.
"""

import logging
import os
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import duckdb
import polars as pl
from pydantic import Field

from city311_assets.partitions import Slice
from city311_assets.warehouse.extensions import load
from city311_assets.warehouse.resource import CONNECTION, Session, Warehouse
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets.warehouse.tables.table import Table

Made = TypeVar("Made")
LOG = logging.getLogger(__name__)

LAKE = re.compile(r"ducklake:(?P<catalogue>sqlite|postgres):(?P<where>.+)", re.DOTALL)
PASSWORD = re.compile(r"password\s*=|//[^/@\s]*:[^/@\s]*@", re.IGNORECASE)
# Of each kind of catalogue, the extension that reads it.
SCANNERS = {"sqlite": "sqlite_scanner", "postgres": "postgres_scanner"}
# Words of what DuckLake and its catalogues say when another transaction came first.
CONFLICTS = ("conflict", "serialize", "database is locked", "deadlock", "concurrent")
# Words of what libpq says of a server that stops, restarts or is not there, and of what is left of
# a transaction then.
LOST = (
    "unable to connect",
    "connection refused",
    "could not connect",
    "connection to server",
    "server closed the connection",
    "terminating connection",
    "no connection to the server",
    "shutting down",
    "starting up",
    "in recovery mode",
    'failed to execute query "rollback"',
    'failed to execute query "commit"',
)
ATTEMPTS = 40
# A database that restarts is back within seconds; recovering from a crash may take minutes.
PATIENCE_SECONDS = 120.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 3.0
STORED = """
    select schema_name || '.' || table_name as name from duckdb_tables()
    where database_name = 'city' and not internal order by name
"""
NEWEST = "select max(snapshot_id) from ducklake_snapshots('city')"
# What each process has attached; a process that was forked attaches anew.
ATTACHED: dict[tuple[int, str, str], duckdb.DuckDBPyConnection] = {}
ATTACHING = threading.Lock()


class TooManyConflictsError(RuntimeError):
    """Others wrote the same, again and again."""


class CatalogueUnreachableError(RuntimeError):
    """The catalogue's database does not answer."""


class LakeWarehouse(Warehouse):
    """A DuckLake, attached as `city`: `database` is `ducklake:sqlite:…` or one of Postgres."""

    data_path: str = Field(description="Folder, or address in an object store, of the data files.")
    may_fetch: bool = Field(
        default=False, description="Whether DuckDB may fetch extensions that are not installed."
    )

    @property
    def catalogue(self) -> str:
        """What holds the catalogue: `sqlite` or `postgres`.

        Raises
        ------
        ValueError
            The address of the database is neither, or holds a password.
        """
        found = LAKE.fullmatch(self.database)
        if found is None:
            raise ValueError(
                f"CITY311_WAREHOUSE is {self.database.split(':')[0]}:…; it begins with "
                "ducklake:sqlite: or ducklake:postgres:, or is left out for the native file"
            )
        if PASSWORD.search(found["where"]):
            # Addresses stand in error messages and in the UI.
            raise ValueError(
                "CITY311_WAREHOUSE holds a password; leave it out, libpq reads it from PGPASSWORD "
                "or from ~/.pgpass"
            )
        return found["catalogue"]

    @property
    def is_there(self) -> bool:
        """Whether there is something to read: a catalogue is made by the first who attaches it."""
        return True

    @contextmanager
    def door(self) -> Iterator[None]:
        """Keep nobody out: writers of a lake work beside each other."""
        yield

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection with the lake attached as `city`, and leave nothing half done.

        Attaching reads the whole catalogue; nobody is kept out by it, so a process attaches once.
        """
        with self._lent(PATIENCE_SECONDS) as conn:
            yield conn

    @contextmanager
    def reading(self, patience_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection, of which nothing is written; wait so long for the catalogue.

        Raises
        ------
        CatalogueUnreachableError
            Its database does not answer for longer.
        """
        with self._lent(patience_seconds) as conn:
            yield conn

    @contextmanager
    def _lent(self, patience_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
        conn = self._attached(patience_seconds).cursor()
        try:
            # It asks the catalogue: whoever begins now finds it there, or waits for it.
            _again(lambda: conn.execute("use city"), self.database, patience_seconds)
            yield conn
        finally:
            # An open transaction of a body that raised ends here, rolled back.
            conn.close()

    def _attached(self, patience_seconds: float) -> duckdb.DuckDBPyConnection:
        """Return this process's connection, made and initialised at the first call."""
        key = (os.getpid(), self.database, self.data_path)
        with ATTACHING:
            if key not in ATTACHED:
                conn = duckdb.connect(config=CONNECTION | self.connection_config)
                try:
                    conn.execute("set enable_progress_bar = false")
                    load(conn, "ducklake", SCANNERS[self.catalogue], may_fetch=self.may_fetch)
                    self._attach(conn, patience_seconds)
                    conn.execute("use city")
                    self._initialise(conn)
                except BaseException:
                    conn.close()
                    raise
                ATTACHED[key] = conn
            return ATTACHED[key]

    def _attach(
        self, conn: duckdb.DuckDBPyConnection, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Attach; who comes first makes the catalogue, and others at the same moment wait."""
        database, folder = (
            text.replace("'", "''") for text in (self.database, self.data_path.rstrip("/") + "/")
        )
        # Rows inside the catalogue would reserve names of ours, and differ from those in files.
        statement = f"attach '{database}' as city (data_path '{folder}', data_inlining_row_limit 0)"
        _again(lambda: conn.execute(statement), self.database, patience_seconds)

    def _initialise(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Make every declared table that is missing, all at once: readers and writers find them."""

        def once() -> None:
            # A connection of its own: what fails in it is undone when it is closed.
            with conn.cursor() as own:
                own.execute("use city")
                stored = {name for (name,) in own.execute(STORED).fetchall()}
                missing = [table for table in TABLES if str(table) not in stored]
                if missing:
                    own.begin()
                    Session(own).prepare(*missing)
                    own.commit()

        _again(once, self.database)

    def write(self, body: Callable[[Session], Made]) -> Made:
        """Run a function's statements in one transaction, again where another came first.

        Raises
        ------
        TooManyConflictsError
            It never came first.
        """

        def once() -> Made:
            with self.transaction() as session:
                return body(session)

        return _again(once, self.database)

    def read(
        self,
        query: str,
        params: Slice | Mapping[str, object] | None = None,
        tables: Iterable[Table] = (),
    ) -> pl.DataFrame:
        """Return the rows of a query, asked again where the catalogue went away meanwhile."""
        once = partial(super().read, query, params, tables)
        return _again(once, self.database)

    def content_hash(self, table: Table, part: Slice | str) -> tuple[int, int]:
        """Return what the file's does, asked again as `read` does."""
        once = partial(super().content_hash, table, part)
        return _again(once, self.database)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run statements that become visible together, or not at all; `write` tries again."""
        with self.connect() as conn:
            conn.begin()
            yield Session(conn)
            conn.commit()

    @property
    def data_version(self) -> str | None:
        """The name of the newest version; the making of the tables is the first."""
        with self.connect() as conn:
            ((newest,),) = conn.execute(NEWEST).fetchall()
        return f"lake-{newest}" if newest else None

    def copy_to(self, path: Path, tables: Iterable[Table] = TABLES) -> str | None:
        """Write one version of the lake as a native file; return which.

        Declared tables that are not published stay behind.
        """
        left = {str(table) for table in tables if not table.is_published}
        declared = {str(table): table for table in tables}
        with self.connect() as conn:
            ((newest,),) = conn.execute(NEWEST).fetchall()
            if not newest:
                return None
            stored = [name for (name,) in conn.execute(STORED).fetchall() if name not in left]
            # Attached for all of the process, which may be making another copy.
            copy = f"copy_{uuid.uuid4().hex}"
            conn.execute("attach '{}' as {}".format(str(path).replace("'", "''"), copy))
            try:
                conn.execute(f"use {copy}")
                for name in stored:
                    layer, _ = name.split(".")
                    conn.execute(f"create schema if not exists {layer}")
                    # Every table as of the same version: others may be writing.
                    rows = f"city.{name} at (version => {newest})"
                    if name in declared:
                        conn.execute(declared[name].ddl)
                        conn.execute(f"insert into {copy}.{name} by name from {rows}")
                    else:
                        conn.execute(f"create table {copy}.{name} as from {rows}")
            finally:
                conn.execute("use city")
                conn.execute(f"detach {copy}")
        return f"lake-{newest}"

    def settle(self) -> None:
        """Do nothing: a lake is kept small by `maintain`, not before each copy."""

    def maintain(self, keep: timedelta) -> str:
        """Merge small files, forget versions older than told, remove files that none needs."""

        def once() -> str:
            with self.connect() as conn:
                conn.execute("call city.merge_adjacent_files()")
                seconds = int(keep.total_seconds())
                expired = conn.execute(
                    "call ducklake_expire_snapshots('city', "
                    f"older_than => now() - interval {seconds} second)"
                ).fetchall()
                removed = conn.execute(
                    "call ducklake_cleanup_old_files('city', "
                    f"older_than => now() - interval {seconds} second)"
                ).fetchall()
            return f"{len(expired)} versions forgotten, {len(removed)} files removed"

        return _again(once, self.database)


def _again(
    once: Callable[[], Made], database: str, patience_seconds: float = PATIENCE_SECONDS
) -> Made:
    """Run something, and run it again after a pause where another transaction came first.

    Where the catalogue's database is gone it is waited for. What was committed while the connection
    broke is done a second time: a body that replaces slices leaves the same.
    """
    pause, conflicts = FIRST_PAUSE_SECONDS, 0
    deadline = time.monotonic() + patience_seconds
    kind = database.split(":")[1]
    while True:
        try:
            return once()
        except duckdb.Error as error:
            said = str(error).lower()
            if any(word in said for word in LOST):
                if time.monotonic() > deadline:
                    raise CatalogueUnreachableError(
                        f"the {kind} catalogue did not answer for {patience_seconds:.0f} s; is "
                        f"the database of CITY311_WAREHOUSE running, and may we connect? {error}"
                    ) from error
                LOG.warning("the %s catalogue does not answer; it is asked again", kind)
            elif any(word in said for word in CONFLICTS):
                conflicts += 1
                if conflicts == ATTEMPTS:
                    raise TooManyConflictsError(
                        f"{ATTEMPTS} tries to write {kind} catalogue each found that another came "
                        f"first: {error}"
                    ) from error
                LOG.info(
                    "conflict %d: another wrote first; the transaction begins again", conflicts
                )
            else:
                raise
        # Whoever waits equally long meets again.
        time.sleep(random.uniform(0.5, 1.5) * pause)  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
