"""Nights in one process: what schedules and sensors ask for is run, on a clock a trial sets."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from city311_assets.automation.alerts import look
from city311_assets.automation.changed_days import CHANGED_DAYS
from city311_assets.automation.problems import State
from city311_assets.automation.schedules import NIGHTLY, SCHEDULES, WEEKLY
from city311_assets.bronze.sources import Sources
from city311_assets.clients.errors import SourceError
from city311_assets.definitions import build
from city311_assets.settings import Settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets_tests.portals import at

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Night:
    """What one night did: its runs by job, with whether they succeeded, and what sensors said."""

    runs: list[tuple[str, bool]] = field(default_factory=list)
    ticks_failed: dict[str, str] = field(default_factory=dict)
    alerts: list[str] = field(default_factory=list)

    @property
    def failed(self) -> set[str]:
        """The jobs of which a run failed."""
        return {job for job, is_good in self.runs if not is_good}


@dataclass
class Nights:
    """An installation, night after night."""

    warehouse: Warehouse
    sources: Sources
    instance: dg.DagsterInstance
    settings: Settings
    cursors: dict[str, str | None] = field(default_factory=dict)
    alerted: State | None = None

    def pass_by(self, now: datetime) -> Night:
        """Let a night pass: nightly schedules, then the sensors, then the alerts.

        `now` is the instant of the sources' clock: after every city's half past three and four
        o'clock. What runs say of their own time is this machine's.
        """
        night = Night()
        for schedule in SCHEDULES:
            self._scheduled(schedule, now, night)
        self.sense(now, night)
        night.alerts = self.look(now)
        return night

    def sense(self, now: datetime, night: Night) -> None:
        """Let every feed's sensor look once, and run what it asks for."""
        for sensor in CHANGED_DAYS:
            self._sensed(sensor, now, night)

    def _scheduled(self, schedule: dg.ScheduleDefinition, now: datetime, night: Night) -> None:
        local = now.astimezone(ZoneInfo(schedule.execution_timezone or "UTC"))
        is_due = schedule.cron_schedule == NIGHTLY or (
            schedule.cron_schedule == WEEKLY and local.isoweekday() == 7
        )
        if not is_due:
            return
        with dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=local
        ) as context:
            ticked = schedule.evaluate_tick(context)
        for request in ticked.run_requests or []:
            self._run(schedule.job_name, request, now, night)

    def _sensed(self, sensor: dg.SensorDefinition, now: datetime, night: Night) -> None:
        resources = {"warehouse": self.warehouse, "sources": at(self.sources, now)}
        cursor = self.cursors.get(sensor.name)
        with dg.build_sensor_context(
            instance=self.instance, cursor=cursor, resources=resources
        ) as context:
            try:
                ticked = sensor.evaluate_tick(context)
            except SourceError as error:
                night.ticks_failed[sensor.name] = str(error)
                return
        self.cursors[sensor.name] = ticked.cursor
        for request in ticked.run_requests or []:
            self._run(sensor.job_name, request, now, night)

    def _run(self, job: str | None, request: dg.RunRequest, now: datetime, night: Night) -> None:
        assert job
        # A run begins after it was asked for.
        defs = build(at(self.sources, now + timedelta(minutes=1)), self.warehouse)
        done = defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            asset_selection=list(request.asset_selection or []),
            tags=request.tags,
            run_config=QUIET,
            raise_on_error=False,
        )
        night.runs.append((job, done.success))

    def look(self, now: datetime) -> list[str]:
        """Let the alerts look once; return what they say."""
        state = self.alerted or State.anew(now)
        tick = look(self.instance, self.warehouse, self.settings, state, now)
        self.alerted = tick.state
        return [*tick.warnings, *tick.told]
