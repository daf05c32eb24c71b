"""Schedules: what comes in by the clock. Every night the newest days of each feed and city, every
week the last five weeks of them and the study areas, every month the boundaries.

A night asks for the newest days again because late entries arrive, and because what happened to a
record within seven days is then known. The weekly refresh repairs what looks back over a
window and what no portal announces: a weather archive's late days, a value corrected in silence.
One feed's outage holds up no other: each has schedules and runs of its own.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import dagster as dg

from city311_assets.automation.day_ranges import Range, coalesced, since
from city311_assets.automation.jobs import (
    ATLAS_JOBS,
    ATLAS_MONTHS_JOBS,
    BOUNDARIES_JOB,
    CELLS_JOB,
    DAILY_RISK,
    RECORDS_JOBS,
    RISK_JOBS,
    RISK_MONTHS_JOBS,
    WEATHER_JOBS,
    Job,
    asking_for,
)
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.partitions import MONTHS, range_tags, sliced_days
from city311_assets.risk.targets.registry import TARGETS
from city311_assets.risk.targets.target import Target
from city311_assets.warehouse.tables.risk import CELL_DAYS as RISK_CELL_DAYS
from city311_assets.warehouse.tables.risk import OUTCOMES

NIGHTLY = "30 3 * * *"
WEEKLY = "30 5 * * 0"
MONTHLY = "0 5 1 * *"
# After the night's records, and the month after its last days have come in.
ATLAS_NIGHTLY = "30 4 * * *"
ATLAS_MONTHLY = "0 7 3 * *"
# After the night's records and weather; a month's models when the outcomes of the days they are
# tested on are over.
RISK_NIGHTLY = "0 5 * * *"
RISK_WEEKLY = "30 6 * * 0"
RISK_MONTHLY = "30 6 2 * *"
# UTC: after the weekly refresh of every city, of whose records it reads all.
AFTER_WEEKLY = "0 15 * * 0"
# Of the eighth day back the seven-day outcome has just become known. The days between are read too:
# that is cheaper than a run of its own for each end.
NIGHTS_DAYS = 8
RECENT_DAYS = 35


def asked_for(today: date, reach: int) -> list[Range]:
    """Return the last `reach` days as ranges for runs.

    Days before the graph's start, and days that have no partition yet, are left out.
    """
    held = set(sliced_days())
    return coalesced(day for day in since(today, reach) if day in held)


def regular(job: Job, timezone: str, rhythm: str, cron: str | None = None) -> dg.ScheduleDefinition:
    """Return the schedule of a city's local clock, `nightly` or `weekly`, of a job by days.

    `cron` is another time of day than the rhythm's own.
    """
    usual, reach = {"nightly": (NIGHTLY, NIGHTS_DAYS), "weekly": (WEEKLY, RECENT_DAYS)}[rhythm]

    @dg.schedule(
        name=f"{job.name}_{rhythm}",
        job=job,
        cron_schedule=cron or usual,
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"The last {reach} local days.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        at: datetime = context.scheduled_execution_time
        for first, last in asked_for(at.date(), reach):
            yield asking_for(job.name, first, last, f"{at.date()} {first}")

    return schedule


def atlas_monthly(job: Job, timezone: str) -> dg.ScheduleDefinition:
    """Return the schedule of a feed's map: once a month, of the month that is over."""

    @dg.schedule(
        name=f"{job.name}_monthly",
        job=job,
        cron_schedule=ATLAS_MONTHLY,
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The map of the month before, with its clusters and their names.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        at: datetime = context.scheduled_execution_time
        month = (at.date().replace(day=1) - timedelta(days=1)).replace(day=1).isoformat()
        if not MONTHS.has_partition_key(month):
            return dg.SkipReason(f"{month} is before the graph's first day")
        return dg.RunRequest(run_key=month, partition_key=month)

    return schedule


def risk_nightly(job: Job, target: Target) -> dg.ScheduleDefinition:
    """Return the nightly schedule of a target: scores of the day before, outcomes that are over."""
    scored = [table.key(target.name) for table in DAILY_RISK]

    @dg.schedule(
        name=f"{job.name}_nightly",
        job=job,
        cron_schedule=RISK_NIGHTLY,
        execution_timezone=target.feed.city.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Scores of the last eight days where they lack, and what came of days that are "
        "a week and more old.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        at: datetime = context.scheduled_execution_time
        held = set(sliced_days())
        newest = at.date() - timedelta(days=1)
        over = newest - timedelta(days=target.horizon_days)
        for what, keys, days in (
            # Those of a night that was missed too: what is scored stays as it is.
            ("scores", scored, [newest - timedelta(days=back) for back in range(NIGHTS_DAYS)]),
            (
                "outcomes",
                [OUTCOMES.key(target.name)],
                [over - timedelta(days=back) for back in range(NIGHTS_DAYS)],
            ),
        ):
            for first, last in coalesced(day for day in days if day in held):
                yield dg.RunRequest(
                    run_key=f"{at.date()} {what} {first}",
                    asset_selection=keys,
                    tags=range_tags(first, last),
                )

    return schedule


def risk_weekly(job: Job, target: Target) -> dg.ScheduleDefinition:
    """Return the weekly schedule that makes a target's features and outcomes of late days anew."""
    keys = [table.key(target.name) for table in (RISK_CELL_DAYS, OUTCOMES)]

    @dg.schedule(
        name=f"{job.name}_weekly",
        job=job,
        cron_schedule=RISK_WEEKLY,
        execution_timezone=target.feed.city.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Features and outcomes of the last {RECENT_DAYS} days; scores stay.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        at: datetime = context.scheduled_execution_time
        for first, last in asked_for(at.date(), RECENT_DAYS):
            yield dg.RunRequest(
                run_key=f"{at.date()} {first}",
                asset_selection=keys,
                tags=range_tags(first, last),
            )

    return schedule


def risk_monthly(job: Job, target: Target) -> dg.ScheduleDefinition:
    """Return the monthly schedule of a target's models: of the month that has begun."""

    @dg.schedule(
        name=f"{job.name}_monthly",
        job=job,
        cron_schedule=RISK_MONTHLY,
        execution_timezone=target.feed.city.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Models fitted on everything that was known when the month began.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        at: datetime = context.scheduled_execution_time
        month = at.date().replace(day=1).isoformat()
        if not MONTHS.has_partition_key(month):
            return dg.SkipReason(f"{month} is before the graph's first day")
        return dg.RunRequest(run_key=month, partition_key=month)

    return schedule


SCHEDULES = [
    *(
        regular(job, city.timezone, rhythm)
        for rhythm in ("nightly", "weekly")
        for job, city in (
            *((RECORDS_JOBS[feed.name], feed.city) for feed in FEEDS.values()),
            *((WEATHER_JOBS[city.name], city) for city in CITIES.values()),
        )
    ),
    *(
        regular(job, FEEDS[name].city.timezone, "nightly", ATLAS_NIGHTLY)
        for name, job in ATLAS_JOBS.items()
    ),
    *(atlas_monthly(job, FEEDS[name].city.timezone) for name, job in ATLAS_MONTHS_JOBS.items()),
    *(
        of(jobs[target.name], target)
        for target in TARGETS.values()
        for of, jobs in (
            (risk_nightly, RISK_JOBS),
            (risk_weekly, RISK_JOBS),
            (risk_monthly, RISK_MONTHS_JOBS),
        )
    ),
    dg.ScheduleDefinition(
        name="boundaries_monthly",
        job=BOUNDARIES_JOB,
        cron_schedule=MONTHLY,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The published areas of every city, once a month.",
    ),
    dg.ScheduleDefinition(
        name="cells_weekly",
        job=CELLS_JOB,
        cron_schedule=AFTER_WEEKLY,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The study area of every feed, once a week.",
    ),
]
