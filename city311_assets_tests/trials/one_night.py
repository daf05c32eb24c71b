"""Nights in a process of a feed's own: what its schedules and sensors ask for, in their order.

`python -m city311_assets_tests.trials.one_night LANE CITY_URL`; settings say where the data are. A
lane is a feed, with its city's weather and what is forecast from it, or `rest`: what belongs to
none, and the conditions. Commands are read from the input, a line of JSON each: `night`, with the
span of the host's clock, or `build`. A line of JSON is printed of each run, and one at the end of
each command.

The host's clock is what everything here reads of the time: `Sources.now`, and the ticks of
schedules. The city's clock is its own. What Dagster stamps its own events with is this machine's;
so are the sensors' waits before a retry, which are cut short. `stops_at` of a command is an instant
beyond which the host's clock does not show.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import inf
from pathlib import Path

import dagster as dg
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._utils.schedules import cron_string_iterator

from city311_assets.automation import changed_days
from city311_assets.automation.changed_days import CHANGED_DAYS
from city311_assets.automation.day_ranges import coalesced
from city311_assets.automation.maintenance import WEEKLY as MAINTENANCE
from city311_assets.automation.schedules import SCHEDULES
from city311_assets.bronze.sources import Sources
from city311_assets.cli.runs import PROCESS_TAG, end_abandoned_runs, plan, this_process
from city311_assets.clients.errors import SourceError
from city311_assets.clients.photos import PATIENCE, Photos
from city311_assets.definitions import build
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.partitions import DAYS, range_tags
from city311_assets.risk.targets.registry import TARGETS
from city311_assets.settings import settings
from city311_assets.warehouse.opening import warehouse_of
from city311_assets.warehouse.snapshot import publish

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# Times of the host's clock, UTC, at which sensors look: after the nightly schedules, and once more
# in the afternoon, for what failed; and conditions: when months may be made (13:00).
SENSED = ("12:10", "15:40")
CARRIED = ("16:10",)
REST = "rest"
# What runs on schedules of its own, months late or at a price, and has trials of its own.
LEFT_OUT = ("atlas_",)
# A condition that goes on asking for the same would never end.
MOST_ROUNDS = 6
A_MINUTE = timedelta(minutes=1)


@dataclass
class Clock:
    """The host's instant; what it shows stops at `stops_at`."""

    host: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    stops_at: datetime = datetime(9999, 1, 1, tzinfo=UTC)

    @property
    def shows(self) -> datetime:
        """What is read from it."""
        return min(self.host, self.stops_at)

    def pass_to(self, host: datetime) -> None:
        """Let it be so late; no clock goes back within a command."""
        self.host = max(self.host, host)


CLOCK = Clock()


class Outside(Sources):
    """The sample city as a live source, by the host's clock; its photos are fetched from it too."""

    gateway: str

    def now(self) -> datetime:
        """Return the host's instant."""
        return CLOCK.shows

    def photos_of(self, feed: Feed) -> Photos:
        """Return what fetches one feed's photos from the sample city."""
        return Photos(
            feed.photo_hosts,
            settings().photos_path,
            gateway=self.gateway,
            per_second=inf,
            patience=PATIENCE,
            clock=self.now,
        )


def outside(url: str) -> Outside:
    """Return the sources of a sample city that is served on `url`."""
    return Outside(
        origin="portal",
        portal_url=f"{url}/portals/{{portal}}",
        weather_archive_url=f"{url}/weather",
        weather_forecast_url=f"{url}/weather",
        attempts=2,
        longest_wait_seconds=0.01,
        gateway=url,
    )


@dataclass
class State:
    """What Dagster's daemon keeps from night to night, in a file: ticks taken, and cursors."""

    lane: str
    ticked: str = "2000-01-01T00:00:00+00:00"
    cursors: dict[str, str | None] = field(default_factory=dict)
    conditions: str | None = None

    @classmethod
    def path(cls, lane: str) -> Path:
        """Where a lane's is kept."""
        return settings().data_dir / f"{lane}.json"

    @classmethod
    def read(cls, lane: str) -> "State":
        """Return what was kept last; nothing ticked before that."""
        path = cls.path(lane)
        return cls(lane, **json.loads(path.read_text())) if path.exists() else cls(lane)

    def keep(self) -> None:
        """Keep it, before anything is run that follows from it."""
        path = self.path(self.lane)
        path.with_suffix(".new").write_text(
            json.dumps({k: v for k, v in asdict(self).items() if k != "lane"})
        )
        path.with_suffix(".new").replace(path)


def say(**what: object) -> None:
    """Tell the trial, on a line."""
    print(json.dumps(what, default=str), flush=True)  # noqa: T201 - its caller reads it


def cause(result: dg.ExecuteInProcessResult) -> str:
    """Return the message of the first failed step, below what Dagster wraps it in."""
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            error = error.cause if error and error.cause else error
            return f"{event.step_key}: {' '.join(error.message.split())[:300] if error else ''}"
    return ""


@dataclass
class House:
    """The code location, its books, and what runs it."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    sources: Outside

    def run(
        self,
        by: str,
        job: str | None,
        keys: Sequence[dg.AssetKey],
        tags: dict[str, str],
        partition: str | None = None,
    ) -> None:
        """Run a job, or assets that a condition asked for; a run begins after it was asked for."""
        CLOCK.pass_to(CLOCK.host + A_MINUTE)
        graph = self.defs.resolve_implicit_global_asset_job_def()
        started, cpu = time.monotonic(), time.process_time()
        done = (self.defs.resolve_job_def(job) if job else graph).execute_in_process(
            instance=self.instance,
            asset_selection=[*keys],
            partition_key=partition,
            tags=tags | {PROCESS_TAG: this_process()},
            run_config=QUIET,
            raise_on_error=False,
        )
        failed = [c for c in done.get_asset_check_evaluations() if not c.passed]
        errors = {f"{c.asset_key.to_user_string()}: {c.check_name}" for c in failed}
        say(
            by=by,
            job=job or f"{len(keys)} assets",
            of=partition or "/".join(tags.get(tag, "") for tag in range_tags(date.min, date.min)),
            succeeded=done.success,
            error=cause(done),
            checks=sorted(errors),
            seconds=round(time.monotonic() - started, 1),
            cpu=round(time.process_time() - cpu, 1),
            at=CLOCK.host,
        )


def moments(after: datetime, until: datetime, times: Sequence[str]) -> Iterator[datetime]:
    """Return the instants of these times of day within a span, its end included."""
    day = after.date()
    while day <= until.date():
        for told in times:
            moment = datetime.fromisoformat(f"{day}T{told}:00+00:00")
            if after < moment <= until:
                yield moment
        day += timedelta(days=1)


def ticks(after: datetime, until: datetime) -> Iterator[tuple[datetime, dg.ScheduleDefinition]]:
    """Return the ticks of every schedule within a span, its end included."""
    for schedule in (*SCHEDULES, MAINTENANCE):
        if schedule.name.startswith(LEFT_OUT):
            continue
        zone = schedule.execution_timezone or "UTC"
        for moment in cron_string_iterator(
            after.timestamp() + 1, str(schedule.cron_schedule), zone
        ):
            if moment > until:
                break
            yield moment, schedule


def scheduled(house: House, schedule: dg.ScheduleDefinition, moment: datetime) -> None:
    """Let a schedule tick, and run what it asks for."""
    if schedule.name == MAINTENANCE.name:
        house.run(schedule.name, schedule.job_name, [], {})
        return
    with dg.build_schedule_context(
        instance=house.instance, scheduled_execution_time=moment
    ) as context:
        ticked = schedule.evaluate_tick(context)
    for request in ticked.run_requests or []:
        house.run(
            schedule.name,
            schedule.job_name,
            request.asset_selection or [],
            dict(request.tags),
            request.partition_key,
        )


def sensed(house: House, sensor: dg.SensorDefinition, state: State) -> None:
    """Let a feed's sensor look, and run what it asks for."""
    with dg.build_sensor_context(
        instance=house.instance,
        cursor=state.cursors.get(sensor.name),
        resources=dict(house.defs.resources or {}),
    ) as context:
        try:
            ticked = sensor.evaluate_tick(context)
        except SourceError as error:
            say(by=sensor.name, tick_failed=str(error)[:300])
            return
    state.cursors[sensor.name] = ticked.cursor
    state.keep()
    for request in ticked.run_requests or []:
        house.run(sensor.name, sensor.job_name, request.asset_selection or [], dict(request.tags))


def carried(house: House, state: State) -> None:
    """Let conditions look until they ask for nothing, and run what they ask for."""
    asked: dict[str, set[dg.AssetKey]] = {}
    for _ in range(MOST_ROUNDS):
        known = state.conditions
        tick = dg.evaluate_automation_conditions(
            house.defs,
            house.instance,
            evaluation_time=CLOCK.host,
            cursor=dg.deserialize_value(known, AssetDaemonCursor) if known else None,
        )
        state.conditions = dg.serialize_value(tick.cursor)
        state.keep()
        asked = {}
        for key in (one.key for one in tick.results if isinstance(one.key, dg.AssetKey)):
            for partition in tick.get_requested_partitions(key):
                asked.setdefault(str(partition), set()).add(key)
        if not asked:
            return
        _run_asked(house, asked)
    say(by="any_day", never_ends=sorted(asked))


def _run_asked(house: House, asked: dict[str, set[dg.AssetKey]]) -> None:
    """Run what conditions asked for: unbroken days that want the same together, months alone."""
    days = {key for key in DAYS.get_partition_keys() if key in asked}
    graph = house.defs.resolve_asset_graph()
    of_days: dict[frozenset[dg.AssetKey], list[date]] = {}
    for partition, keys in sorted(asked.items()):
        daily = frozenset(key for key in keys if graph.get(key).partitions_def == DAYS)
        if daily and partition in days:
            of_days.setdefault(daily, []).append(date.fromisoformat(partition))
    for keys, wanted in of_days.items():
        for first, last in coalesced(wanted, longest_gap=0):
            house.run("any_day", None, sorted(keys), range_tags(first, last))
    for partition, keys in sorted(asked.items()):
        if monthly := sorted(key for key in keys if graph.get(key).partitions_def != DAYS):
            house.run("any_day", None, monthly, {}, partition)


def lane_of(name: str) -> str:
    """Return the lane of a schedule or sensor, by its name."""
    of_city = {feed.city.name: feed.name for feed in reversed(FEEDS.values())}
    of_target = {target.name: target.feed.name for target in TARGETS.values()}
    for owned, lane in ({name: name for name in FEEDS} | of_city | of_target).items():
        if f"_{owned}_" in f"_{name}_":
            return lane
    return REST


def night(house: House, lane: str, after: datetime, until: datetime) -> None:
    """Let a part of a night pass, between two instants of the host's clock."""
    state = State.read(lane)
    end_abandoned_runs(house.instance)
    ticked = max(datetime.fromisoformat(state.ticked), after)
    CLOCK.host = after
    events: list[tuple[datetime, int, dg.ScheduleDefinition | dg.SensorDefinition | None]] = [
        *((at, 0, one) for at, one in ticks(ticked, until) if lane_of(one.name) == lane),
        *((m, 1, s) for m in moments(after, until, SENSED) for s in CHANGED_DAYS),
    ]
    events = [one for one in events if one[2] is None or lane_of(one[2].name) == lane]
    if lane == REST:
        events += [(moment, 2, None) for moment in moments(after, until, CARRIED)]
    for moment, _, what in sorted(events, key=lambda event: event[:2]):
        CLOCK.pass_to(moment)
        if isinstance(what, dg.ScheduleDefinition):
            # A tick is taken before its runs are: Dagster takes none twice.
            state.ticked = moment.astimezone(UTC).isoformat()
            state.keep()
            scheduled(house, what, moment)
        elif what is None:
            carried(house, state)
        else:
            sensed(house, what, state)
    state.ticked = max(datetime.fromisoformat(state.ticked), until).isoformat()
    state.keep()
    if lane == REST:
        publish(warehouse_of(settings()), settings().snapshot_path)


def fill(house: House, at: datetime, first: date, last: date, selection: str) -> None:
    """Make a range of days and their months, as `city311 materialize` does."""
    CLOCK.host = at
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    for step in plan(selection, house.defs, days):
        house.run("build", None, step.keys, step.tags, step.partition)
    # From here on conditions look at what is new.
    tick = dg.evaluate_automation_conditions(house.defs, house.instance, evaluation_time=CLOCK.host)
    state = State.read(REST)
    state.conditions = dg.serialize_value(tick.cursor)
    state.keep()


def peak_megabytes() -> float:
    """Return the largest resident size of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1_000


def main(lane: str, url: str) -> None:
    """Do what is said on the input, until it ends."""
    changed_days.FIRST_RETRY_AFTER = timedelta(0)
    changed_days.UNANSWERED_AFTER = timedelta(seconds=5)
    sources = outside(url)
    defs = build(sources, warehouse_of(settings()))
    with dg.DagsterInstance.from_config(str(settings().dagster_home_path)) as instance:
        house = House(defs, instance, sources)
        for line in sys.stdin:
            asked = json.loads(line)
            started, cpu = time.monotonic(), time.process_time()
            CLOCK.stops_at = datetime.fromisoformat(asked["stops_at"])
            if asked["do"] == "build":
                first, last = (date.fromisoformat(asked[name]) for name in ("first", "last"))
                fill(house, datetime.fromisoformat(asked["at"]), first, last, asked["selection"])
            else:
                span = (datetime.fromisoformat(asked[name]) for name in ("after", "until"))
                night(house, lane, *span)
            say(
                ended=asked["do"],
                lane=lane,
                seconds=round(time.monotonic() - started, 1),
                cpu=round(time.process_time() - cpu, 1),
                peak_mb=round(peak_megabytes()),
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
