"""What a table and a column are: one declaration, from which everything else comes.

The DDL, the order of columns, Dagster's Columns tab, the comments in the published file and the
data dictionary in the docs are all derived from these values.
"""

from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from city311_assets.partitions import Period, Scope, Slice


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what a value means, then what null means, then the unit or clock."""

    name: str
    type: str
    doc: str
    nullable: bool = True
    # Says where and when a value was obtained; left out of content hashes.
    is_provenance: bool = False
    # What readers are not to have is left out of the published file.
    is_published: bool = True


@dataclass(frozen=True)
class Table:
    """One table of the warehouse, sliced by scope and mostly by day or month.

    The scope is a feed, a city, a target of risk, or an asset of the graph.
    """

    layer: str
    name: str
    one_row_per: str
    columns: tuple[Column, ...]
    unique: tuple[str, ...]
    scope: Scope = "feed"
    period: Period | None = "day"
    is_published: bool = True

    def __str__(self) -> str:
        return f"{self.layer}.{self.name}"

    @cached_property
    def names(self) -> list[str]:
        """The columns, in order."""
        return [column.name for column in self.columns]

    @cached_property
    def required(self) -> list[str]:
        """The columns that are never null."""
        return [column.name for column in self.columns if not column.nullable]

    @cached_property
    def content(self) -> list[str]:
        """The columns that say something about the city, not about how we came by it."""
        return [column.name for column in self.columns if not column.is_provenance]

    def key(self, name: str) -> dg.AssetKey:
        """Return the key of the asset that writes one feed's or city's slices."""
        # A table that belongs to one feed bears its name already.
        return dg.AssetKey([self.layer, *dict.fromkeys((self.name, name))])

    @cached_property
    def ddl(self) -> str:
        """The statement that makes the table where it is missing."""
        columns = ", ".join(
            f'"{column.name}" {column.type}{"" if column.nullable else " not null"}'
            for column in self.columns
        )
        return f"create table if not exists {self} ({columns})"

    @cached_property
    def where(self) -> str:
        """The condition that picks one slice."""
        if self.period is None:
            return f"{self.scope} = ${self.scope}"
        return f"{self.scope} = ${self.scope} and {self.period} >= $start and {self.period} < $end"

    def params(self, part: Slice | str) -> dict[str, object]:
        """Return the parameters of `where`."""
        if isinstance(part, str):
            return {self.scope: part}
        return part.params if self.period else {self.scope: part.name}

    @cached_property
    def metadata(self) -> dict[str, dg.MetadataValue]:
        """What the catalog shows of the table before any run."""
        return {
            "dagster/table_name": dg.MetadataValue.text(str(self)),
            "dagster/column_schema": dg.MetadataValue.table_schema(
                dg.TableSchema(
                    [
                        dg.TableColumn(
                            column.name,
                            column.type,
                            column.doc,
                            dg.TableColumnConstraints(nullable=column.nullable),
                        )
                        for column in self.columns
                    ]
                )
            ),
            "one_row_per": dg.MetadataValue.text(self.one_row_per),
        }
