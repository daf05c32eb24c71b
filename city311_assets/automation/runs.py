"""Runs of the graph as the automation sees them: which days one is about, and of which assets."""

from datetime import date, datetime, timedelta

import dagster as dg

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# A run that has not ended so long after it was asked for never will: its process died before it
# began, and nothing ends such a run.
ABANDONED_AFTER = timedelta(hours=24)
DAY = "dagster/partition"
FIRST = "dagster/asset_partition_range_start"
LAST = "dagster/asset_partition_range_end"


def unfinished(at: datetime, job: str | None = None) -> dg.RunsFilter:
    """Return the filter of runs, of all jobs or of one, that are under way at an instant."""
    return dg.RunsFilter(job_name=job, statuses=UNFINISHED, created_after=at - ABANDONED_AFTER)


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
