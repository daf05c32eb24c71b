"""What the warehouse refuses, in words that say what to do."""

from collections.abc import Mapping
from pathlib import Path

from city311_assets.partitions import Slice
from city311_assets.warehouse.tables.table import Table


class SliceRefusedError(ValueError):
    """Rows that must never be stored as a slice of a table."""

    def __init__(self, table: Table, part: Slice | str, complaint: str) -> None:
        super().__init__(f"{table}, slice {part}, was not written; {complaint}")


class TableMismatchError(ValueError):
    """A stored table whose columns cannot safely become the declared ones."""

    def __init__(self, table: Table, stored: Mapping[str, str]) -> None:
        declared = {column.name: column.type for column in table.columns}
        super().__init__(
            f"{table} in the warehouse has other columns than declared and cannot be upgraded "
            f"safely. Stored: {dict(stored)}. Declared: {declared}. Only nullable columns are "
            f"added by themselves; export what you need, drop {table}, and materialize it again."
        )


class WarehouseBusyError(TimeoutError):
    """Another process kept the warehouse for longer than it may."""

    def __init__(self, path: Path, seconds: float, detail: str = "") -> None:
        super().__init__(
            f"{path} was held by another process for more than {seconds:g} s. Readers should open "
            f"the published copy, not this file; `city311 doctor` says who has it. {detail}".strip()
        )
