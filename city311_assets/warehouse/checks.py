"""What must hold of a slice: a property, and the query that returns its offenders.

A check answers; it does not repair, raise or log. A run over a range of days has one verdict, whose
metadata names the failing days, and one for each day: what hangs from a day waits for that one.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg
import polars as pl
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from city311_assets.partitions import PARTITIONS, Period, Slice
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.table import Table

CULPRITS_SHOWN = 20
# Of an offender these say which it is, where the query has them.
TELLING = ("kind", "record_id", "rows", "other_day")


@dataclass(frozen=True, slots=True)
class Property:
    """What holds of every row of a slice; `offenders` is the query for those of which it does not.

    The query names its slice by the table's parameters and returns a column `day`, or `month`.
    """

    name: str
    doc: str
    offenders: str
    is_blocking: bool = True
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


def slice_checks(
    claims: Sequence[Property],
    table: Table,
    name: str,
    also: Iterable[Table] = (),
    params: Mapping[str, object] | None = None,
) -> dg.AssetChecksDefinition:
    """Declare the checks of properties of one feed's or city's slices.

    They are one step: starting one costs more than most queries. `also` are further tables that the
    queries read, `params` further parameters that they name.
    """
    if table.period is None:
        raise ValueError(f"{table} has no slices by day or month to check")
    period: Period = table.period
    by_name = {claim.name: claim for claim in claims}
    specs = [
        dg.AssetCheckSpec(
            claim.name,
            asset=table.key(name),
            description=claim.doc,
            blocking=claim.is_blocking,
            partitions_def=PARTITIONS[period],
        )
        for claim in claims
    ]

    own = claims[0].name if len(claims) == 1 else "checks"

    @dg.multi_asset_check(
        name=f"{table.layer}__{table.name}__{name}__{own}", specs=specs, can_subset=True
    )
    def checks(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> Iterator[dg.AssetCheckResult]:
        part = Slice.of(context, name, table.scope)
        wanted = {key.name for key in context.selected_asset_check_keys}
        chosen = [spec for spec in specs if spec.name in wanted]
        given = part.params | dict(params or {})
        with warehouse.connect() as conn:
            session = Session(conn)
            session.prepare(table, *also)
            found = {
                spec.name: session.read(by_name[spec.name].offenders, given) for spec in chosen
            }
        for spec in chosen:
            yield _verdict(context, spec, by_name[spec.name], found[spec.name], part)

    return checks


def _verdict(
    context: dg.AssetCheckExecutionContext,
    spec: dg.AssetCheckSpec,
    claim: Property,
    found: pl.DataFrame,
    part: Slice,
) -> dg.AssetCheckResult:
    """Return what is to be said of a property, and log the verdict of each day of a range."""
    period: Period = "month" if "month" in found.columns else "day"
    shown = found.select(column for column in TELLING if column in found.columns)
    failing = found[period].unique().to_list()
    note_verdicts(context, spec, failing, part, severity=claim.severity, period=period)
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=found.is_empty(),
        severity=claim.severity,
        metadata={
            "offenders": found.height,
            f"{period}s": found[period].unique().sort().cast(pl.String).to_list(),
            "examples": [
                ", ".join(str(value) for value in row)
                for row in shown.head(CULPRITS_SHOWN).iter_rows()
            ],
        },
    )


def note_verdicts(
    context: dg.AssetCheckExecutionContext,
    spec: dg.AssetCheckSpec,
    failing: Collection[date],
    part: Slice,
    *,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    period: Period = "day",
) -> None:
    """Log the verdict of each day (month) of a range run, `failing` naming those that do not pass.

    Dagster attributes the verdict of a range to none of its days: beside the asset it would say
    "skipped", and an automation condition that waits for blocking checks would wait for ever.
    """
    days = [day.isoformat() for day in part.firsts(period)]
    if len(days) == 1:
        return
    run = context.op_execution_context
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
