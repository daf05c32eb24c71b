"""What must hold of a slice: a property, and the query that returns its offenders.

A check answers; it does not repair, raise or log. A run over a range of days has one verdict, whose
metadata names the failing days.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg
import polars as pl

from city311_assets.partitions import DAYS, Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.table import Table

CULPRITS_SHOWN = 20
# Of an offender these say which it is, where the query has them.
TELLING = ("kind", "record_id", "rows", "other_day")


@dataclass(frozen=True, slots=True)
class Property:
    """What holds of every row of a slice; `offenders` is the query for those of which it does not.

    The query names its slice by the table's parameters and returns a column `day`.
    """

    name: str
    doc: str
    offenders: str
    is_blocking: bool = True
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


def slice_check(
    claim: Property,
    table: Table,
    name: str,
    also: Iterable[Table] = (),
    params: Mapping[str, object] | None = None,
) -> dg.AssetChecksDefinition:
    """Declare the check of a property of one feed's or city's slices.

    `also` are further tables that the query reads, `params` further parameters that it names.
    """

    @dg.asset_check(
        asset=table.key(name),
        name=claim.name,
        description=claim.doc,
        blocking=claim.is_blocking,
        partitions_def=DAYS,
    )
    def check(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
        part = Slice.of(context, name, table.scope)
        found = warehouse.read(claim.offenders, part.params | dict(params or {}), [table, *also])
        shown = found.select(column for column in TELLING if column in found.columns)
        return dg.AssetCheckResult(
            passed=found.is_empty(),
            severity=claim.severity,
            metadata={
                "offenders": found.height,
                "days": found["day"].unique().sort().cast(pl.String).to_list(),
                "examples": [
                    ", ".join(str(value) for value in row)
                    for row in shown.head(CULPRITS_SHOWN).iter_rows()
                ],
            },
        )

    return check


def on_several_days(table: Table) -> str:
    """Return the query for records of a slice that other days hold too."""
    return f"""
        select here.day, here.record_id, there.day as other_day
        from {table} as here join {table} as there
            on there.feed = here.feed and there.record_id = here.record_id
            and there.day <> here.day
        where here.feed = $feed and here.day >= $start and here.day < $end
    """
