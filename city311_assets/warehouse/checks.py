"""What must hold of a slice: a property, and the query that returns its offenders.

A check answers; it does not repair, raise or log. A run over a range of days has one verdict, whose
metadata names the failing days, and one for each day: what hangs from a day waits for that one.
"""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import dagster as dg
import polars as pl
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

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
        note_verdicts(context, found["day"].unique().to_list(), part, claim.severity)
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


def note_verdicts(
    context: dg.AssetCheckExecutionContext,
    failing: Collection[date],
    part: Slice,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> None:
    """Log the verdict of each day of a range run, `failing` naming those that do not pass.

    Dagster attributes the verdict of a range to none of its days: beside the asset it would say
    "skipped", and an automation condition that waits for blocking checks would wait for ever.
    """
    days = [day.isoformat() for day in part.days]
    if len(days) == 1:
        return
    run = context.op_execution_context
    (spec,) = context.check_specs
    made = run.instance.event_log_storage.get_latest_storage_id_by_partition(
        spec.asset_key, dg.DagsterEventType.ASSET_MATERIALIZATION, {*days}
    )
    failed = {day.isoformat() for day in failing}
    for day in days:
        target = None
        if day in made:
            target = AssetCheckEvaluationTargetMaterializationData(
                storage_id=made[day], run_id=run.run_id, timestamp=time.time()
            )
        run.log_event(
            dg.AssetCheckEvaluation(  # pyright: ignore[reportArgumentType] - taken, not declared
                asset_key=spec.asset_key,
                check_name=spec.name,
                passed=day not in failed,
                severity=severity,
                blocking=spec.blocking,
                partition=day,
                target_materialization_data=target,
            )
        )


def on_several_days(table: Table) -> str:
    """Return the query for records of a slice that other days hold too."""
    return f"""
        select here.day, here.record_id, there.day as other_day
        from {table} as here join {table} as there
            on there.feed = here.feed and there.record_id = here.record_id
            and there.day <> here.day
        where here.feed = $feed and here.day >= $start and here.day < $end
    """
