"""Schedules: every night, after local midnight, the newest days of each feed and city.

The last few days are asked for again because late entries arrive, and the day a week before them
because what happened within 7 days is then known. One feed's outage holds up no other: each has a
schedule and runs of its own.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import dagster as dg

from city311_assets.automation.jobs import BOUNDARIES_JOB, RECORDS_JOBS, WEATHER_JOBS, Job
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.partitions import DAYS, range_tags

NIGHTLY = "30 3 * * *"
MONTHLY = "0 5 1 * *"
NEWEST_DAYS = 3
# Eight days on, a day's seven-day outcome is known.
KNOWN_AFTER_DAYS = 8


def night(today: date, reach: int) -> Iterator[tuple[date, date]]:
    """Return the ranges of days a night materializes: the newest `reach`, and day minus 8.

    Days before the graph's start, and days that have no partition yet, are left out.
    """
    keys = set(DAYS.get_partition_keys())
    newest = [today - timedelta(days=back) for back in range(reach, 0, -1)]
    for days in (newest, [today - timedelta(days=KNOWN_AFTER_DAYS)]):
        known = [day for day in days if day.isoformat() in keys]
        if known:
            yield known[0], known[-1]


def nightly(job: Job, timezone: str, reach: int) -> dg.ScheduleDefinition:
    """Return the schedule that runs a job over the newest days at half past three, local time."""

    @dg.schedule(
        name=f"{job.name}_nightly",
        job=job,
        cron_schedule=NIGHTLY,
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"The newest {reach} local days, and the one {KNOWN_AFTER_DAYS} days ago.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        at: datetime = context.scheduled_execution_time
        for first, last in night(at.date(), reach):
            yield dg.RunRequest(run_key=f"{at.date()} {first}", tags=range_tags(first, last))

    return schedule


SCHEDULES = [
    *(nightly(RECORDS_JOBS[feed.name], feed.city.timezone, NEWEST_DAYS) for feed in FEEDS.values()),
    # The archive is a few days late and its days are few: the whole week at once.
    *(
        nightly(WEATHER_JOBS[city.name], city.timezone, KNOWN_AFTER_DAYS - 1)
        for city in CITIES.values()
    ),
    dg.ScheduleDefinition(
        name="boundaries_monthly",
        job=BOUNDARIES_JOB,
        cron_schedule=MONTHLY,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The published areas of every city, once a month.",
    ),
]
