"""Alerts: one sensor that looks every minute at what failed or is unusual, and says what is news.

It reads finished runs since its last tick, the books of what bronze holds and the anomalies of the
newest days, keeps in its cursor what is wrong and who knows, and sends each channel at most one
message a tick. The cursor is written when a tick ends: after a kill between the two a message comes
twice, never not at all.

What belongs here: the order of these steps. What does not: the rule (`problems`, `freshness`,
`unusual_days`), the words (`messages`), the way (`channels`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg
from pydantic import ValidationError

from city311_assets.automation.channels import Channel, Digest, channels_of, deliver
from city311_assets.automation.freshness import every_feed, read_books
from city311_assets.automation.messages import headline, notice
from city311_assets.automation.newest_copy import UnreadableError
from city311_assets.automation.outcomes import finished_runs, read_outcome
from city311_assets.automation.problems import State
from city311_assets.automation.unusual_days import read_tested, watched
from city311_assets.bronze.sources import PORTAL, SAMPLE
from city311_assets.feeds.registry import FEEDS
from city311_assets.settings import Settings, settings
from city311_assets.warehouse.resource import Warehouse

# Of the minute that Dagster gives a tick; what is left of the runs is read by the next one.
READ_FOR_SECONDS = 20.0
DRY_RUN = "dry-run"


@dataclass(slots=True)
class Tick:
    """What one look did: the state to remember, and what there is to say of it."""

    state: State
    told: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def remembered(cursor: str | None, now: datetime) -> tuple[State, str | None]:
    """Return the state a cursor holds, and a warning where it cannot be read."""
    if not cursor:
        return State.anew(now), None
    try:
        return State.model_validate_json(cursor), None
    except ValidationError:
        return State.anew(now), (
            "the cursor cannot be read and is begun anew: problems older than a day that nothing "
            "tries again are not told of"
        )


def look(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    said: Settings,
    state: State,
    now: datetime,
) -> Tick:
    """Look at what has finished, at the books and at anomalies, and tell what is news."""
    tick = Tick(state)
    if not read_runs(instance, state):
        # A failure may have been mended by a run that is not read yet.
        tick.warnings.append("many runs have finished; the rest is read before anything is said")
        return tick
    try:
        books = read_books(warehouse, said.snapshot_path)
        state.learn_freshness(list(every_feed(FEEDS, books, now)), now)
    except UnreadableError as error:
        tick.warnings.append(f"freshness is not known: {error}")
    try:
        tested = read_tested(warehouse, said.snapshot_path, now)
        state.learn_unusual(list(watched(FEEDS, tested)), now)
    except UnreadableError as error:
        tick.warnings.append(f"unusual days are not known: {error}")
    state.give_up(now)
    channels = channels_of(said)
    if said.alerts == "send" and not channels:
        tick.warnings.append("CITY311_ALERTS is send and no channel is set: nothing is sent")
    is_sending = said.alerts == "send" and bool(channels)
    if is_sending:
        _send(tick, channels, said, now)
    elif digest := digest_for(DRY_RUN, state, said, now):
        reached = ", ".join(channel.name for channel in channels) or "no channel"
        tick.told.append(f"not sent (to {reached}): {digest.text}")
        _note_told(DRY_RUN, state, now)
    # Who was told before sending was switched off hears the end when it is on again.
    state.forget({channel.name for channel in channels} | (set() if is_sending else {DRY_RUN}))
    return tick


def read_runs(instance: dg.DagsterInstance, state: State) -> bool:
    """Take in the runs that finished since; return whether those are all."""
    deadline = time.monotonic() + READ_FOR_SECONDS
    oldest = state.reads_after
    for record in finished_runs(instance, oldest):
        run_id = record.dagster_run.run_id
        # A tag added to an old run changes its record; the run was looked at when it finished.
        is_old = record.end_time is not None and record.end_time < oldest.timestamp()
        if run_id not in state.seen and not is_old:
            if time.monotonic() > deadline:
                return False
            state.learn(read_outcome(instance, record))
        state.note_seen(run_id, record.update_timestamp)
    return True


def digest_for(channel: str, state: State, said: Settings, now: datetime) -> Digest | None:
    """Return what a channel is to be told; None for nothing."""
    found = [
        (problem.since, notice(key, problem, news, now))
        for key, problem in state.problems.items()
        if (news := problem.news_for(channel, now))
    ]
    if not found:
        return None
    # What lasts stands before what is over, what somebody can mend before what only is unusual, the
    # oldest first.
    found.sort(key=lambda one: (one[1].state == "over", one[1].kind == "anomaly", one[0]))
    notices = tuple(one for _, one in found)
    is_sample = said.source == "sample"
    origin = SAMPLE if is_sample else PORTAL
    return Digest(headline(notices, is_sample=is_sample), notices, origin)


def _note_told(channel: str, state: State, now: datetime) -> None:
    for problem in state.problems.values():
        if problem.news_for(channel, now):
            problem.note_told(channel, now)


def _send(tick: Tick, channels: Sequence[Channel], said: Settings, now: datetime) -> None:
    """Send every channel its news; what did not arrive is owed, and sent by the next tick."""
    state = tick.state
    digests = {
        channel.name: digest
        for channel in channels
        if (digest := digest_for(channel.name, state, said, now))
    }
    for name, failure in deliver(digests, channels).items():
        if failure is None:
            _note_told(name, state, now)
            tick.told.append(f"sent to {name}: {digests[name].headline}")
            continue
        tick.warnings.append(f"{name} was not reached and is tried again: {failure}")
        for problem in state.problems.values():
            if problem.news_for(name, now):
                problem.owed.add(name)


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Failed runs, failed checks, feeds that stand still and unusual days, told once; "
    "dry-run unless CITY311_ALERTS is send.",
)
def alerts(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.SkipReason:
    """Say what is news; what is wrong and who knows stays in the cursor."""
    said, now = settings(), datetime.now(UTC)
    if said.alerts == "off":
        return dg.SkipReason("CITY311_ALERTS is off")
    state, warning = remembered(context.cursor, now)
    tick = look(context.instance, warehouse, said, state, now)
    for word in [*([warning] if warning else []), *tick.warnings]:
        context.log.warning(word)
    for word in tick.told:
        context.log.info(word)
    context.update_cursor(tick.state.model_dump_json())
    lasting = sum(not problem.over_at for problem in tick.state.problems.values())
    reasons = [*([warning] if warning else []), *tick.warnings, *tick.told]
    return dg.SkipReason("\n".join(reasons) or f"no news; problems that last: {lasting}")
