"""Publication of the warehouse: at most once a minute while runs write, and once after the last."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster_shared.check import CheckError

from city311_assets.automation.runs import days_of, unfinished
from city311_assets.serving.publication import publish_all
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import Checks, form_version, published
from city311_assets.warehouse.tables.registry import TABLES

VERSION = "city311/version"
CHECKS = "city311/checks_version"
# A publication that fails is tried again after two minutes, then four: a full disk stays full.
LONGEST_WAIT = timedelta(hours=1)
MOST_DOUBLINGS = 6
UNSUCCESSFUL = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def slices_in_flight(instance: dg.DagsterInstance) -> list[str]:
    """Name what unfinished runs are writing: their job and first partition."""
    runs = instance.get_runs(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
    )
    return sorted(
        f"{run.job_name} {next(iter(days_of(run)), '')}".strip()
        for run in runs
        if run.job_name != "publish_snapshot"
    )


@dg.op
def publish_snapshot_file(context: dg.OpExecutionContext, warehouse: Warehouse) -> None:
    """Copy the warehouse to the file that readers open."""
    path: Path = settings().snapshot_path
    checks = _checks(context)
    if checks.problem:
        context.log.warning(checks.problem)
    done = publish_all(warehouse, settings(), slices_in_flight(context.instance), checks)
    context.log.info(f"{path} holds version {done.data_version} of {done.published_at}")


def _checks(context: dg.OpExecutionContext | dg.SensorEvaluationContext) -> Checks:
    """Return what the checks say of the graph; a job that stands alone is of none."""
    # It imports SQLAlchemy: half a second, which whoever loads the graph would wait for.
    from city311_assets.automation.check_results import (  # noqa: PLC0415 - as said
        check_results,
        described,
    )

    try:
        repository = context.repository_def
    except CheckError:
        repository = None
    declared = described(repository.asset_graph) if repository else None
    return check_results(context.instance, declared)


@dg.job(description="Publish the warehouse to the file that readers open.")
def publish_snapshot() -> None:
    """Publish the warehouse to the file that readers open."""
    publish_snapshot_file()


PUBLISH_JOB = publish_snapshot


@dg.sensor(
    job=PUBLISH_JOB,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Publishes when the warehouse holds, or a check says, something the published file "
    "does not.",
)
def publication(
    context: dg.SensorEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """Ask for a publication when there is something new and none is under way."""
    version = warehouse.data_version
    held = published(settings().snapshot_path)
    if version is None:
        return dg.SkipReason("the warehouse holds nothing yet")
    checks = _checks(context).version or "unread"
    is_there = held and (held.data_version, held.form_version) == (version, form_version(TABLES))
    if held and is_there and checks in {"unread", held.checks_version}:
        return dg.SkipReason(f"version {version} is published")
    under_way = context.instance.get_runs(unfinished(datetime.now(UTC), PUBLISH_JOB.name), limit=1)
    if under_way:
        return dg.SkipReason("a publication is under way")
    tried = context.instance.get_run_records(
        dg.RunsFilter(job_name=PUBLISH_JOB.name, tags={VERSION: version, CHECKS: checks})
    )
    failures = [one for one in tried if one.dagster_run.status in UNSUCCESSFUL]
    newest = max((record.update_timestamp for record in failures), default=None)
    wait = min(timedelta(minutes=2 ** min(len(failures), MOST_DOUBLINGS)), LONGEST_WAIT)
    if newest and datetime.now(UTC) - newest < wait:
        return dg.SkipReason(f"{len(failures)} publications of {version} failed; tried again later")
    return dg.RunRequest(
        run_key=f"{version} {checks} {len(tried)}", tags={VERSION: version, CHECKS: checks}
    )
