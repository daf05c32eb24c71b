"""Dagster's event log in SQLite, without a new engine for every event.

What belongs here: how a connection to the event log is had. What does not: what stands in it; that,
the files and their layout are Dagster's own, so the setting can be taken back at any time.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import SqliteStorageConfig
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

# The index, the run under way, and a few that were looked at.
MAX_OPEN_FILES = 8


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """SQLite event log storage that keeps its connections.

    The stock class makes an engine, a connection and the statement's SQL anew for each event, and
    waits for the disk after each; storing a range's slices and verdicts took longer than making
    them (`benchmarks/event_storage.py`). After a power cut the last events may be missing
    (`synchronous = normal`), never damaged; a killed process loses none.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: SqliteStorageConfig
    ) -> Self:
        """Return the storage of the DAGSTER_HOME `base_dir`, its files where they always were."""
        return cls(str(Path(config_value["base_dir"], "history", "runs")), inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        if shard not in self._initialized_dbs:
            with super()._connect(shard):
                pass
        # One at a time, as the stock class has it: a connection is never used by two threads.
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Return whether the index has a table; asked for each verdict, and tables stay.

        The stock class asks over a connection of its own, as it must: it asks amid a transaction.
        """
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _engine(self, shard: str) -> Engine:
        """Return a shard's engine, made the first time it is asked for."""
        if shard in self._engines:
            self._engines.move_to_end(shard)
            return self._engines[shard]
        engine = create_engine(
            self.conn_string_for_shard(shard),
            poolclass=StaticPool,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        event.listen(engine, "connect", _commit_without_waiting)
        self._engines[shard] = engine
        if len(self._engines) > MAX_OPEN_FILES:
            self._engines.popitem(last=False)[1].dispose()
        return engine

    def wipe(self) -> None:
        """Forget everything; open files first, or what is written next would go to a lost one."""
        self.dispose()
        super().wipe()

    def dispose(self) -> None:
        """Close what is open."""
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
        super().dispose()


def _commit_without_waiting(connection: sqlite3.Connection, _record: object) -> None:
    """In the write-ahead log a commit is safe from a killed process without waiting for disk."""
    connection.execute("pragma synchronous = normal")
