"""Keeping the warehouse small, once a week: what no version needs any more is removed."""

from datetime import timedelta

import dagster as dg

from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse


@dg.op(description="Merges, forgets and removes what the warehouse needs no longer.")
def keep_small(context: dg.OpExecutionContext, warehouse: Warehouse) -> None:
    """Compact the native file; of a lake merge small files and forget old versions."""
    said = warehouse.maintain(timedelta(days=settings().lake_keep_days))
    context.log.info(said)


@dg.job(description="Keep the warehouse small.")
def maintenance() -> None:
    """Keep the warehouse small."""
    keep_small()


MAINTENANCE_JOB = maintenance
# On Sundays, when the night of the westernmost city is over.
WEEKLY = dg.ScheduleDefinition(
    name="maintenance_weekly",
    job=MAINTENANCE_JOB,
    cron_schedule="0 14 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Keeps the warehouse small.",
)
