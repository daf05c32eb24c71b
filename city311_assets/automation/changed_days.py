"""Changed days: which old days a portal has rows for that differ from ours, asked for again.

Cases close for weeks, records move and vanish, nights fail. One sensor a feed finds the days by
five signs, compares with what bronze holds, and asks for them in few runs. It keeps in its cursor
what it has not seen answered yet: nothing is dropped, and nothing is asked for twice.

What belongs here: which days, and when. What does not: how a day is fetched (`bronze`), which days
come in every night anyhow (`schedules`).
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl

from city311_assets.automation.day_ranges import Range, coalesced, covers, shown, since
from city311_assets.automation.jobs import RECORDS_JOBS, asking_for
from city311_assets.automation.runs import days_of, is_about, unfinished
from city311_assets.automation.schedules import RECENT_DAYS
from city311_assets.bronze.sources import Sources, day_counts
from city311_assets.clients.errors import SourceError
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.partitions import CARRIES_ON, DAYS_PER_RUN, sliced_days
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets.warehouse.tables.meta import SLICES

MINUTES_BETWEEN_TICKS = 30
# The next tick asks again: a portal that is out is not waited for.
ATTEMPTS = 2
# Rows become visible after the instant they are stamped with; what is read again by this overlap is
# compared with bronze, and costs nothing more.
OVERLAP = timedelta(hours=6)
# Half an hour after the nightly runs have begun, the whole history's counts are compared.
COMPARED_FROM = time(4, 0)
# A tick asks for no more runs than this; the rest waits in the cursor.
MOST_RUNS = 10
# So many of the rows stamped anew at once are a reload by the publisher, not news of the city; what
# touches fewer days than this is never called one.
RELOADED_SHARE = 0.8
RELOADED_DAYS = 62
# A day that was asked for and neither came nor failed (somebody cancelled the run) is asked for
# again after this; one whose run failed sooner, each time after twice as long, so many times.
UNANSWERED_AFTER = timedelta(hours=24)
FIRST_RETRY_AFTER = timedelta(minutes=30)
MOST_ATTEMPTS = 5
# No clock is wrong by so much.
LONG_AGO = timedelta(days=36_500)
ATTEMPT = "city311/attempt"
FINISHED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]

HELD_DAYS = f"from {SLICES} where feed = $feed order by day"
HELD_CHANGES = """
    select day, count(*) as rows, max(row_updated_at) as newest from {table}
    where feed = $feed and row_updated_at > $after and day >= $start group by day
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """A day to be asked for: noticed when, not before when, after how many failures, told what.

    `noticed_at` is of the sources' clock, as `asked_at` of the books is: a portal asked since then
    has answered. `not_before` is of this machine's. `told` is the portal's word that gave rise to
    it, to know it again.
    """

    noticed_at: datetime
    not_before: datetime | None = None
    attempts: int = 0
    told: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a sensor remembers between two ticks.

    Changes stamped after `watermark` are looked at; those up to `reloaded_at` were a reload.
    `accepted` holds what the portal says of days whose answer disagreed with it: said once more, it
    is no news.
    """

    watermark: str | None = None
    pending_days: Mapping[date, Wish] = field(default_factory=dict)
    reloaded_at: str | None = None
    accepted: Mapping[date, str] = field(default_factory=dict)
    compared_on: date | None = None
    failures_until: datetime | None = None
    ticks: int = 0

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Return the cursor of a text.

        Raises
        ------
        ValueError
            The text is no cursor, or one of another form.
        """
        try:
            return cls._of(json.loads(text))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no cursor of this sensor: {error!r}") from error

    @classmethod
    def _of(cls, held: Any) -> "Cursor":  # noqa: ANN401 - whatever the text was
        return cls(
            held["watermark"],
            {
                date.fromisoformat(day): Wish(
                    datetime.fromisoformat(wish["noticed_at"]),
                    _instant(wish["not_before"]),
                    wish["attempts"],
                    wish["told"],
                )
                for day, wish in held["pending_days"].items()
            },
            held["reloaded_at"],
            {date.fromisoformat(day): told for day, told in held["accepted"].items()},
            date.fromisoformat(held["compared_on"]) if held["compared_on"] else None,
            _instant(held["failures_until"]),
            held["ticks"],
        )

    def __str__(self) -> str:
        named = asdict(self)
        for days in ("pending_days", "accepted"):
            named[days] = {str(day): value for day, value in sorted(named[days].items())}
        return json.dumps(named, default=lambda value: value.isoformat())


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a tick sees.

    Attributes
    ----------
    now
        Instant of the sources' clock, UTC without a zone.
    at
        Instant of this machine's clock, UTC.
    today
        The city's local date: it and later days are not over and wait.
    books
        The feed's slices: `day, rows, asked_at, marked_stale_at`.
    told, held
        Rows that changed after the watermark, `day, rows, newest`: at the portal, and in bronze.
    counts
        The portal's rows of every day, `day, rows`; None but once a night.
    under_way
        Days that unfinished runs are about.
    failed
        Days of runs that failed since the last tick, and after how many attempts.
    """

    now: datetime
    at: datetime
    today: date
    books: pl.DataFrame
    told: pl.DataFrame
    held: pl.DataFrame
    counts: pl.DataFrame | None = None
    is_reload: bool = False
    under_way: Collection[date] = ()
    failed: Mapping[date, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """The ranges a tick asks for, what it remembers, and why, in words."""

    ranges: Sequence[Range]
    cursor: Cursor
    reasons: Sequence[str]


def changed(told: pl.DataFrame, held: pl.DataFrame) -> dict[date, str]:
    """Return the days whose changed rows are not those held, and what the portal says of them."""
    both = told.join(held, on="day", how="full", coalesce=True, suffix="_held")
    is_same = [pl.col(name).eq_missing(pl.col(f"{name}_held")) for name in ("rows", "newest")]
    differing = both.filter(~pl.all_horizontal(is_same)).sort("day")
    return {
        day: f"{rows or 0} {newest or ''}".strip()
        for day, rows, newest in differing.select("day", "rows", "newest").iter_rows()
    }


def miscounted(books: pl.DataFrame, counts: pl.DataFrame) -> list[date]:
    """Return the days, of those the portal was asked for, whose number of rows is another now."""
    asked = books.filter(pl.col("asked_at").is_not_null()).select("day", "rows")
    both = asked.join(counts, on="day", how="left", suffix="_told")
    return both.filter(pl.col("rows") != pl.col("rows_told").fill_null(0))["day"].to_list()


def missed(books: pl.DataFrame, today: date) -> list[date]:
    """Return recent days that were never asked for though an earlier day was."""
    asked = set(books.filter(pl.col("asked_at").is_not_null())["day"].to_list())
    if not asked:
        return []
    oldest = min(asked)
    return [day for day in since(today, RECENT_DAYS) if oldest < day and day not in asked]


def stale(books: pl.DataFrame) -> list[date]:
    """Return the days marked when another day's answer held one of their records."""
    return books.filter(pl.col("marked_stale_at").is_not_null())["day"].to_list()


def decide(cursor: Cursor, seen: Seen, days: Sequence[date]) -> Decision:
    """Return what to ask for and what to remember; `days` are those that have a slice."""
    asked_at = _asked_at(seen)
    differing = {} if seen.is_reload else changed(seen.told, seen.held)
    pending, accepted = _unanswered(cursor, seen, differing, asked_at)
    reasons: list[str] = []

    def notice(
        found: Collection[date], reason: str, told: Mapping[date, str] | None = None
    ) -> None:
        new = [day for day in found if day not in pending and day >= days[0]]
        for day in new:
            pending[day] = Wish(seen.now, told=(told or {}).get(day, ""))
        if new:
            reasons.append(f"{reason}: {shown(new)}")

    if seen.failed:
        reasons += _try_again(seen, pending)
    news = {d: told for d, told in differing.items() if d in asked_at and accepted.get(d) != told}
    notice(news, "changed at the portal", news)
    notice(stale(seen.books), "a record was seen under another day")
    if seen.counts is not None:
        notice(miscounted(seen.books, seen.counts), "the portal counts another number of rows")
        notice(missed(seen.books, seen.today), "never came")
    sliced = set(days)
    ready = [
        day
        for day, wish in pending.items()
        if day in sliced
        and day < seen.today
        and day not in seen.under_way
        and (wish.not_before is None or wish.not_before <= seen.at)
    ]
    ranges = _ranges(ready, pending)[:MOST_RUNS]
    for day in ready:
        if covers(ranges, day):
            pending[day] = replace(pending[day], not_before=seen.at + UNANSWERED_AFTER)
    waiting = len(pending) - sum(covers(ranges, day) for day in ready)
    if waiting:
        reasons.append(f"{waiting} days wait")
    return Decision(ranges, _next(cursor, seen, pending, accepted), reasons)


def _asked_at(seen: Seen) -> dict[date, datetime]:
    """Return when each day was asked for.

    A clock that was fast for a night has told times that are still to come: of such a day it is
    known that it was asked for, and not when.
    """
    told = seen.books.drop_nulls("asked_at").select("day", "asked_at").iter_rows()
    return {day: at if at <= seen.now else at - LONG_AGO for day, at in told}


def _unanswered(
    cursor: Cursor, seen: Seen, differing: Mapping[date, str], asked_at: Mapping[date, datetime]
) -> tuple[dict[date, Wish], dict[date, str]]:
    """Return the wishes that still stand, and what of the portal's word is known to stay."""
    same = {} if seen.is_reload else _same(seen.told, differing)
    accepted = {day: told for day, told in cursor.accepted.items() if differing.get(day) == told}
    pending: dict[date, Wish] = {}
    for day, wish in cursor.pending_days.items():
        is_of_the_reload = seen.is_reload and bool(wish.told) and wish.not_before is None
        if is_of_the_reload or (wish.told and same.get(day, "") >= _newest(wish.told)):
            continue
        if day not in asked_at or asked_at[day] <= wish.noticed_at:
            pending[day] = wish
        elif wish.told and differing.get(day) == wish.told:
            # Asked for since, and the portal's word is the same: asking again would go on for ever.
            accepted[day] = wish.told
    return pending, accepted


def _try_again(seen: Seen, pending: dict[date, Wish]) -> Iterator[str]:
    """Put failed days among the wishes, each time later, and say so; in the end leave them be."""
    given_up = []
    for day, attempts in seen.failed.items():
        so_far = max(attempts, pending[day].attempts if day in pending else 0)
        if so_far >= MOST_ATTEMPTS:
            pending.pop(day, None)
            given_up.append(day)
        else:
            wait = FIRST_RETRY_AFTER * 2**so_far
            pending[day] = Wish(seen.now, seen.at + wait, so_far + 1)
    yield f"their run failed: {shown(sorted(seen.failed))}"
    if given_up:
        yield f"failed {MOST_ATTEMPTS} times more, left to people: {shown(given_up)}"


def _ranges(ready: Collection[date], pending: Mapping[date, Wish]) -> list[Range]:
    """Return the ranges to ask for, what was noticed first before the rest, new days before old.

    What failed before is asked for in shorter ranges each time: in the end a day that cannot come
    in fails alone.
    """
    ranges: list[Range] = []
    for attempts in sorted({pending[day].attempts for day in ready}):
        days = [day for day in ready if pending[day].attempts == attempts]
        if attempts:
            ranges += coalesced(days, longest_gap=0, longest=max(DAYS_PER_RUN >> attempts, 1))
        else:
            ranges += coalesced(days)

    def order(one: Range) -> tuple[datetime, int]:
        wishes = [pending[day].noticed_at for day in ready if one[0] <= day <= one[1]]
        return min(wishes), -one[0].toordinal()

    return sorted(ranges, key=order)


def _same(told: pl.DataFrame, differing: Collection[date]) -> dict[date, str]:
    """Return the newest change of the days of which bronze holds what the portal says."""
    days = told.select("day", "newest").drop_nulls().iter_rows()
    return {day: newest for day, newest in days if day not in differing}


def _newest(told: str) -> str:
    return told.rpartition(" ")[2]


def _next(
    cursor: Cursor, seen: Seen, pending: Mapping[date, Wish], accepted: Mapping[date, str]
) -> Cursor:
    """Return the cursor after a tick."""
    newest = seen.told["newest"].max() if seen.told.height else None
    watermark, reloaded_at = cursor.watermark, cursor.reloaded_at
    if isinstance(newest, str):
        reloaded_at = newest if seen.is_reload else reloaded_at
        # What a reload stamped is not looked at again; text of one form compares as instants do.
        watermark = max(filter(None, (_earlier(newest, OVERLAP), reloaded_at)))
    return Cursor(
        watermark,
        pending,
        reloaded_at,
        accepted,
        seen.today if seen.counts is not None else cursor.compared_on,
        seen.at,
        cursor.ticks + 1,
    )


def stamp(instant: datetime) -> str:
    """Return an instant (UTC) as Socrata writes `:updated_at`."""
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03}Z"


def _earlier(text: str, by: timedelta) -> str:
    """Return an earlier instant in the same form; a text that is no instant as it is."""
    try:
        return stamp(datetime.fromisoformat(text).astimezone(UTC) - by)
    except ValueError:
        return text


def is_reload(told: pl.DataFrame, total: int) -> bool:
    """Return whether so many of a dataset's rows changed at once that it was loaded anew."""
    return told.height >= RELOADED_DAYS and told["rows"].sum() >= RELOADED_SHARE * total


def changed_days(feed: Feed) -> dg.SensorDefinition:
    """Declare the sensor of one feed."""
    job, table = RECORDS_JOBS[feed.name], RECORDS[feed.name]

    @dg.sensor(
        name=f"changed_days_{feed.name}",
        job=job,
        minimum_interval_seconds=60 * MINUTES_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Days of {feed.title} that changed, moved, went missing or failed: asked for "
        "again.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, warehouse: Warehouse, sources: Sources
    ) -> dg.SensorResult:
        cursor, warning = remembered(context.cursor, datetime.now(UTC))
        if warning:
            context.log.warning(warning)
        days = sliced_days()
        books = warehouse.read(HELD_DAYS, {"feed": feed.name}, [SLICES])
        asked = books.drop_nulls("asked_at")
        if not days or asked.is_empty():
            return dg.SensorResult(skip_reason=f"no day of {feed.name} was made yet")
        oldest: datetime = min(asked["asked_at"].to_list())
        after = cursor.watermark or stamp(oldest - OVERLAP)
        local = sources.now().astimezone(ZoneInfo(feed.city.timezone))
        compares = cursor.compared_on != local.date() and local.time() >= COMPARED_FROM
        counts, undated = None, 0
        with sources.portal_of(feed, ATTEMPTS) as portal:
            told = portal.changes_by_day(after, days[0])
            reload = told.height >= RELOADED_DAYS and is_reload(
                told, portal.count(portal.window(days[0], date.max))
            )
            if compares:
                try:
                    counts = day_counts(portal.counts_by_day(days[0], date.max))
                    undated = portal.count(f"{feed.opened} is null")
                except SourceError as error:
                    # The changes are known all the same; the next tick compares.
                    context.log.warning(f"the whole history is not compared: {error}")
        # Now that the portal has answered: what it answers from here on is newer.
        now = sources.now().replace(tzinfo=None)
        params = {"feed": feed.name, "after": after, "start": days[0]}
        held = warehouse.read(HELD_CHANGES.format(table=table), params, [table])
        seen = Seen(
            now,
            datetime.now(UTC),
            local.date(),
            books,
            told,
            held,
            counts,
            reload,
            _under_way(context.instance, table.key(feed.name), job.name),
            _failed(context.instance, table.key(feed.name), job.name, cursor.failures_until),
        )
        decision = decide(cursor, seen, days)
        words = list(decision.reasons)
        if reload:
            words.insert(0, _reloaded(feed, told))
            context.log.warning(words[0])
        if undated:
            words.append(f"{undated} rows at the portal have no {feed.opened} and belong to no day")
        for word in words:
            context.log.info(word)
        return dg.SensorResult(
            run_requests=list(_requests(decision, cursor, job.name)),
            skip_reason=None if decision.ranges else "; ".join(words) or "nothing changed",
            cursor=str(decision.cursor),
        )

    return sensor


def remembered(text: str | None, at: datetime) -> tuple[Cursor, str | None]:
    """Return what a sensor remembers, and a warning where that cannot be read.

    One begun anew looks for changes since the oldest slice was asked for, and for runs that failed
    within a day. It numbers its ticks from the clock: Dagster starts no run twice of one key.
    """
    anew = Cursor(failures_until=at - timedelta(days=1), ticks=int(at.timestamp()))
    if not text:
        return anew, None
    try:
        return Cursor.read(text), None
    except ValueError as error:
        return anew, f"the cursor is begun anew: {error}"


def _reloaded(feed: Feed, told: pl.DataFrame) -> str:
    days = told.drop_nulls("day")["day"]
    return (
        f"{feed.city.portal} has loaded {feed.name} anew: {told['rows'].sum()} rows of "
        f"{told.height} days bear new stamps. They are not asked for again by this; if what they "
        f"say may have changed, run: city311 materialize --from {days.min()} --to {days.max()} "
        f"--select 'key:bronze/{feed.name}+'"
    )


def _requests(decision: Decision, before: Cursor, job: str) -> Iterator[dg.RunRequest]:
    """Return a run for each range; evaluated twice from one cursor, a tick asks once."""
    pending = decision.cursor.pending_days
    for first, last in decision.ranges:
        attempts = max((w.attempts for d, w in pending.items() if first <= d <= last), default=0)
        key = f"{before.ticks} {first} {last}"
        yield asking_for(job, first, last, key, {ATTEMPT: str(attempts)})


def _under_way(instance: dg.DagsterInstance, key: dg.AssetKey, job: str) -> set[date]:
    runs = instance.get_runs(unfinished(datetime.now(UTC)))
    return {day for run in runs if is_about(run, key, job) for day in days_of(run)}


def _failed(
    instance: dg.DagsterInstance, key: dg.AssetKey, job: str, after: datetime | None
) -> dict[date, int]:
    """Return the days of runs that failed since, with how often they had failed before.

    Of a day the newest run counts. One that was to carry its days on and was cancelled half-way may
    have left silver behind bronze: it counts as failed.
    """
    if after is None:
        return {}
    finished = instance.get_run_records(
        dg.RunsFilter(statuses=FINISHED, updated_after=after),
        order_by="update_timestamp",
        ascending=True,
    )
    found: dict[date, int] = {}
    for run in (record.dagster_run for record in finished):
        if not is_about(run, key, job):
            continue
        for day in days_of(run):
            if run.is_success:
                found.pop(day, None)
            elif run.status == dg.DagsterRunStatus.FAILURE or CARRIES_ON in run.tags:
                found[day] = max(int(run.tags.get(ATTEMPT, "0")), found.get(day, 0))
    return found


CHANGED_DAYS = [changed_days(feed) for feed in FEEDS.values()]
