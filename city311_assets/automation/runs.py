"""Runs of the graph as the automation sees them: which days one is about, and of which assets."""

from datetime import date, timedelta

import dagster as dg

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
DAY = "dagster/partition"
FIRST = "dagster/asset_partition_range_start"
LAST = "dagster/asset_partition_range_end"


def days_of(run: dg.DagsterRun) -> list[date]:
    """Return the days a run is about, in order; none for a run without partitions."""
    first = run.tags.get(FIRST) or run.tags.get(DAY)
    last = run.tags.get(LAST) or run.tags.get(DAY)
    if not first or not last:
        return []
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [start + timedelta(days=index) for index in range((end - start).days + 1)]


def is_about(run: dg.DagsterRun, key: dg.AssetKey, job: str) -> bool:
    """Return whether a run writes an asset: as the job that does, or as one of its own assets."""
    if run.asset_selection is None:
        return run.job_name == job
    return key in run.asset_selection
