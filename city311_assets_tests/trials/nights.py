"""Nights in one process: what schedules and sensors ask for is run, on a clock a trial sets."""

from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from city311_assets.automation.alerts import look
from city311_assets.automation.problems import State
from city311_assets.automation.schedules import NIGHTLY, WEEKLY
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

    def pass_by(self, now: datetime, started: datetime) -> Night:
        """Let a night pass: nightly schedules, then the sensors, then the alerts.

        `now` is the instant of the sources' clock, which is after every city's half past three and
        four o'clock; `started` that of this machine's, for the alerts.
        """
        night = Night()
        defs = build(at(self.sources, now), self.warehouse)
        for schedule in defs.schedules or []:
            if isinstance(schedule, dg.ScheduleDefinition):
                self._scheduled(defs, schedule, now, night)
        for sensor in defs.sensors or []:
            if sensor.name.startswith("changed_days_"):
                self._sensed(defs, sensor, now, night)
        night.alerts = self.look(started)
        return night

    def _scheduled(
        self, defs: dg.Definitions, schedule: dg.ScheduleDefinition, now: datetime, night: Night
    ) -> None:
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
            self._run(defs, schedule.job_name, request, night)

    def _sensed(
        self, defs: dg.Definitions, sensor: dg.SensorDefinition, now: datetime, night: Night
    ) -> None:
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
            self._run(defs, sensor.job_name, request, night)

    def _run(
        self, defs: dg.Definitions, job: str | None, request: dg.RunRequest, night: Night
    ) -> None:
        assert job
        done = defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            asset_selection=list(request.asset_selection or []),
            tags=request.tags,
            run_config=QUIET,
            raise_on_error=False,
        )
        night.runs.append((job, done.success))

    def look(self, started: datetime) -> list[str]:
        """Let the alerts look once; return what they say."""
        state = self.alerted or State.anew(started)
        tick = look(self.instance, self.warehouse, self.settings, state, started)
        self.alerted = tick.state
        return [*tick.warnings, *tick.told]
