"""The newest copy: reading from the published file, or from the warehouse where it is newer.

What belongs here: which of the two files is opened. What does not: what is read from it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import duckdb

from city311_assets.warehouse.errors import WarehouseBusyError
from city311_assets.warehouse.resource import CONNECTION, Warehouse
from city311_assets.warehouse.snapshot import published

# Who looks every minute must not wait as long as who writes.
LOCK_TIMEOUT_SECONDS = 2.0

Answer = TypeVar("Answer")


class UnreadableError(Exception):
    """Neither the published file nor the warehouse could be read without waiting."""


def read_newest(
    warehouse: Warehouse,
    path: Path,
    read: Callable[[duckdb.DuckDBPyConnection], Answer],
    nothing: Answer,
) -> Answer:
    """Return what `read` finds in the file published at `path`, or in the warehouse if newer.

    A warehouse that is busy is not waited for: then the published file, somewhat older, will do.
    Where nothing is written yet, or a table that is read is missing, it is `nothing`.

    Raises
    ------
    UnreadableError
    """
    copy = published(path)
    if copy is None and not warehouse.is_there:
        return nothing

    def read_in(conn: duckdb.DuckDBPyConnection) -> Answer:
        try:
            return read(conn)
        except duckdb.CatalogException:
            return nothing

    if copy is None or copy.data_version != warehouse.data_version:
        try:
            with warehouse.reading(LOCK_TIMEOUT_SECONDS) as conn:
                return read_in(conn)
        except (WarehouseBusyError, duckdb.Error) as error:
            if copy is None:
                raise UnreadableError(f"nothing is published at {path}, and {error}") from error
    try:
        with duckdb.connect(str(path), read_only=True, config=CONNECTION) as conn:
            return read_in(conn)
    except duckdb.Error as error:
        raise UnreadableError(f"{path} cannot be read: {error}") from error
