"""The published file, read while newer ones take its place.

What belongs here: which file is open, for how long, and reading rows from it. What does not: what
is asked of it. A publication renames a new file over the old one; whoever is reading keeps the old
one to the end of what it is doing, and the next to ask gets the new one.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import polars as pl

from city311_assets.warehouse.resource import CONNECTION, frame_of

Made = TypeVar("Made")

MEMORY = "2GB"
PUBLISHED = "select data_version, published_at, slices_in_flight from meta.publications"
TABLES = "select schema_name || '.' || table_name from duckdb_tables() where database_name = 'city'"


class NoSnapshotError(RuntimeError):
    """There is no published file that could be read."""


@dataclass(frozen=True)
class Snapshot:
    """One published file, open for reading.

    Attributes
    ----------
    data_version
        Changes with every publication that had something new.
    published_at
        When, UTC without a zone.
    slices_in_flight
        What was being written meanwhile.
    tables
        The tables it holds, `schema.name`.
    """

    data_version: str
    published_at: datetime
    slices_in_flight: tuple[str, ...]
    tables: frozenset[str]
    _conn: duckdb.DuckDBPyConnection = field(repr=False)
    _kept: dict[object, Any] = field(default_factory=dict, repr=False)

    def once(self, key: object, make: Callable[[], Made]) -> Made:
        """Return what `make` returns, made once for this file and key, and then kept.

        For what every view needs and no filter changes: names of feeds, categories, boundaries.
        """
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def frame(self, query: str, params: Mapping[str, object] | None = None) -> pl.DataFrame:
        """Return the rows of a query; its parameters are `$named`. May be called by any thread."""
        with self._conn.cursor() as cursor:
            cursor.execute("use city")
            return frame_of(cursor, query, dict(params or {}))

    def rows(
        self, query: str, params: Mapping[str, object] | None = None
    ) -> list[dict[str, object]]:
        """Return the rows of a query, each as its columns by name."""
        return self.frame(query, params).to_dicts()

    def has(self, table: object) -> bool:
        """Whether it holds a table; a file published by an older version may not."""
        return str(table) in self.tables


@dataclass
class _Open:
    """A file that is open, which one it is, and how many are reading it."""

    snapshot: Snapshot
    identity: tuple[int, int, int]
    readers: int = 0


class Snapshots:
    """The newest published file at a path, whenever it is asked for."""

    def __init__(self, path: Path, memory: str = MEMORY) -> None:
        self.path = path
        self._memory = memory
        self._lock = threading.Lock()
        self._newest: _Open | None = None
        self._old: list[_Open] = []

    @contextmanager
    def current(self) -> Iterator[Snapshot]:
        """Lend the newest published file; it stays open until it is given back.

        Raises
        ------
        NoSnapshotError
            If there is none, or it cannot be read.
        """
        with self._lock:
            opened = self._opened()
            opened.readers += 1
        try:
            yield opened.snapshot
        finally:
            with self._lock:
                opened.readers -= 1
                self._close_old()

    def close(self) -> None:
        """Close what is open; who still reads keeps it until then."""
        with self._lock:
            if self._newest:
                self._old.append(self._newest)
                self._newest = None
            self._close_old()

    def _opened(self) -> _Open:
        try:
            found = self.path.stat()
        except FileNotFoundError as error:
            raise NoSnapshotError(
                f"there is no published file at {self.path}; `make demo` makes one, and so does "
                "`city311 snapshot`"
            ) from error
        identity = (found.st_dev, found.st_ino, found.st_mtime_ns)
        if self._newest is None or self._newest.identity != identity:
            newer = _Open(_open(self.path, self._memory), identity)
            if self._newest:
                self._old.append(self._newest)
            self._newest = newer
            self._close_old()
        return self._newest

    def _close_old(self) -> None:
        for one in [one for one in self._old if one.readers == 0]:
            one.snapshot._conn.close()  # noqa: SLF001  # this module's own
            self._old.remove(one)


def _open(path: Path, memory: str) -> Snapshot:
    """Open a published file for reading, in a DuckDB of its own: an old one may still be open."""
    conn = duckdb.connect(
        config=CONNECTION | {"memory_limit": memory, "threads": os.cpu_count() or 1}
    )
    try:
        conn.execute("set enable_progress_bar = false")
        conn.execute("attach '{}' as city (read_only)".format(str(path).replace("'", "''")))
        conn.execute("use city")
        ((version, published_at, in_flight),) = conn.execute(PUBLISHED).fetchall()
        tables = frozenset(name for (name,) in conn.execute(TABLES).fetchall())
    except (duckdb.Error, ValueError) as error:
        conn.close()
        raise NoSnapshotError(
            f"{path} cannot be read as a published file ({error}); publish it again with "
            "`city311 snapshot`"
        ) from error
    return Snapshot(version, published_at, tuple(in_flight), tables, conn)
