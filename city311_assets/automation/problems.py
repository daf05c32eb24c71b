"""Problems: what is wrong, since when, and who was told: the state that alerts are made from.

A problem is kept by what it is about, so however often something fails there is one of it; it is
over when what failed has been made, has passed or has come in. What was unusual in the city itself
is kept in the same way, and is over when days are as expected again. Everything here fits into a
sensor's cursor, bounded by the number of feeds and checks.

What belongs here: when a problem begins, grows and ends, and when that is worth a message. What
does not: words (`messages`), and how they travel (`channels`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, PlainSerializer

from city311_assets.automation.day_ranges import coalesced
from city311_assets.automation.freshness import Freshness
from city311_assets.automation.outcomes import Cell, Outcome, subject_of
from city311_assets.automation.unusual_days import QUIET_DAYS, Unusual, Watched

# New days are news, but a backfill that fails chunk by chunk is told of once an hour.
GROWTH_TOLD_AFTER = timedelta(hours=1)
REMINDED_AFTER = timedelta(hours=24)
# Nobody has tried again for so long: saying it every day helps no one.
GIVEN_UP_AFTER = timedelta(days=30)
# A cursor that is lost, or new, looks back over a night.
LOOKED_BACK = timedelta(hours=24)
# A run's record may become visible after one that is stamped later.
OVERLAP = timedelta(minutes=2)
# Of more scattered days than this the newest are watched.
MOST_RANGES = 20
# Of one feed so many anomalies are told of one by one: a city where more is unusual at once has one
# cause, and the largest of them show it.
MOST_ANOMALIES = 20

Kind = Literal["runs", "check", "late", "anomaly"]
News = Literal["opened", "continues", "over"]


def _expanded(given: object) -> object:
    """Return ranges of days as the days; what is no list of ranges is refused by its type."""
    if not isinstance(given, list):
        return given
    try:
        ranges = [(date.fromisoformat(first), date.fromisoformat(last)) for first, last in given]
    except TypeError as error:
        raise ValueError(f"not ranges of days: {given}") from error
    return frozenset(
        first + timedelta(days=back)
        for first, last in ranges
        for back in range((last - first).days + 1)
    )


def _as_ranges(days: Collection[date]) -> list[tuple[str, str]]:
    ranges = coalesced(days, longest_gap=0, longest=len(days) + 1)
    return [(str(first), str(last)) for first, last in ranges[-MOST_RANGES:]]


Days = Annotated[frozenset[date], BeforeValidator(_expanded), PlainSerializer(_as_ranges)]
NO_DAYS: Days = frozenset()


class Told(BaseModel, extra="forbid"):
    """What a channel was told last of a problem, and when."""

    at: AwareDatetime
    days: Days


class Problem(BaseModel, extra="forbid"):
    """One thing that is wrong.

    `failing` names what is to be made or to pass, each with its days; what has no days has none.
    `times` counts failed runs, `last` is the newest of them. `owed` are channels that could not be
    reached. `unusual` is what an anomaly is about.
    """

    kind: Kind
    subject: str
    since: AwareDatetime
    last: AwareDatetime
    failing: dict[str, Days]
    said: str = ""
    times: int = 1
    run_id: str | None = None
    unusual: Unusual | None = None
    over_at: AwareDatetime | None = None
    is_given_up: bool = False
    told: dict[str, Told] = Field(default_factory=dict)
    owed: set[str] = Field(default_factory=set)

    @property
    def days(self) -> Days:
        """All days of it."""
        return NO_DAYS.union(*self.failing.values())

    def take_away(self, cells: Iterable[Cell], at: datetime) -> None:
        """Forget what is well again; the problem is over when nothing is left."""
        if self.over_at:
            return
        for unit, day in cells:
            if unit not in self.failing:
                continue
            self.failing[unit] -= {day}
            if day is None or not self.failing[unit]:
                del self.failing[unit]
        if not self.failing:
            self.over_at = at

    def add(self, cells: Iterable[Cell], said: str, found: Outcome) -> None:
        """Add what failed in a run, and its words."""
        self.times += 1
        self.last, self.said, self.run_id = found.at, said, found.run_id
        for unit, day in cells:
            held = self.failing.get(unit, NO_DAYS)
            self.failing[unit] = held | {day} if day else held

    def news_for(self, channel: str, now: datetime) -> News | None:
        """Return what a channel is to be told now; None for nothing."""
        told = self.told.get(channel)
        if self.over_at:
            return "over" if told or channel in self.owed else None
        if told is None:
            return "opened"
        has_grown = not self.days <= told.days and now - told.at >= GROWTH_TOLD_AFTER
        # Nobody can mend an unusual day: it is no news tomorrow.
        is_reminded = self.kind != "anomaly" and now - told.at >= REMINDED_AFTER
        return "continues" if has_grown or is_reminded else None

    def note_told(self, channel: str, now: datetime) -> None:
        """Remember that a channel knows."""
        self.owed.discard(channel)
        if self.over_at:
            self.told.pop(channel, None)
        else:
            self.told[channel] = Told(at=now, days=self.days)


class State(BaseModel, extra="forbid"):
    """What the alerts remember between two ticks.

    Runs whose records changed up to `seen_until` have been looked at; `seen` names the newest of
    them, because the instants overlap.
    """

    version: Literal[1] = 1
    seen_until: AwareDatetime
    seen: dict[str, AwareDatetime] = Field(default_factory=dict)
    problems: dict[str, Problem] = Field(default_factory=dict)

    @classmethod
    def anew(cls, now: datetime) -> "State":
        """Return the state of one who begins to look."""
        return cls(seen_until=now - LOOKED_BACK)

    @property
    def reads_after(self) -> datetime:
        """From when on records of runs are read."""
        return self.seen_until - OVERLAP

    def note_seen(self, run_id: str, changed_at: datetime) -> None:
        """Remember that a run was looked at."""
        self.seen_until = max(self.seen_until, changed_at)
        self.seen[run_id] = changed_at
        self.seen = {run: at for run, at in self.seen.items() if at > self.reads_after}

    def learn(self, found: Outcome) -> None:
        """Take in what a finished run left behind; of each day the newest run counts."""
        for problem in self.problems.values():
            if problem.kind == "runs":
                problem.take_away(found.made, found.at)
            elif problem.kind == "check":
                problem.take_away(found.passed, found.at)
        for subject, cells in found.not_made.items():
            problem = self._open(f"runs {subject}", "runs", subject, found.at)
            problem.add(cells, found.errors[subject], found)
        for unit in {unit for unit, _ in found.failed}:
            said = {cell: words for cell, words in found.failed.items() if cell[0] == unit}
            problem = self._open(f"check {unit}", "check", subject_of(unit, found.job), found.at)
            problem.add(said, [*said.values()][-1], found)

    def _open(self, key: str, kind: Kind, subject: str, since: datetime) -> Problem:
        """Return the problem of that key, begun anew if there is none or it was over."""
        known = self.problems.get(key)
        if known and known.over_at == since:
            # One run mended some and broke other: it never was over.
            known.over_at = None
        if known is None or known.over_at:
            # Who has not been told yet that the last one is over, is told that it goes on.
            told = known.told if known else {}
            self.problems[key] = Problem(
                kind=kind, subject=subject, since=since, last=since, failing={}, times=0, told=told
            )
        return self.problems[key]

    def learn_freshness(self, found: Sequence[Freshness], now: datetime) -> None:
        """Take in how fresh the feeds are; a feed that is gone is late no more."""
        late = {f"late {one.feed}": one for one in found if one.is_late}
        for key, one in late.items():
            problem = self._open(key, "late", one.feed, one.late_since or now)
            problem.last, problem.failing = now, {one.feed: frozenset(one.missing)}
            problem.said = f"the newest day is {one.newest}, {one.days_behind} days behind"
        for key, problem in self.problems.items():
            if problem.kind == "late" and key not in late and not problem.over_at:
                problem.over_at = now

    def learn_unusual(self, found: Sequence[Watched], now: datetime) -> None:
        """Take in what was unusual; an anomaly that is none any more, or quiet again, is over."""
        by_key = {f"anomaly {one.key}": one for feed in found for one in feed.unusual}
        lasting = {key: one for key, one in by_key.items() if not one.is_over}
        for feed in found:
            mine = [key for key, one in lasting.items() if one.feed == feed.feed]
            known = [key for key in mine if self._lasts(key)]
            new = [key for key in mine if key not in known]
            room = max(MOST_ANOMALIES - len(known), 0)
            for key in [*known, *new[:room]]:
                problem = self._open(key, "anomaly", feed.feed, now)
                problem.last, problem.unusual = now, lasting[key]
                problem.failing = {feed.feed: frozenset(lasting[key].days)}
            if room and new[room:]:
                last = self.problems[new[:room][-1]]
                last.said = f"{len(new) - room} more are unusual and not told of one by one"
        watched = {feed.feed: feed.days for feed in found}
        for key, problem in self.problems.items():
            if problem.kind == "anomaly" and key not in lasting and not problem.over_at:
                problem.over_at = now
                problem.said = _why_over(problem, by_key.get(key), watched)

    def _lasts(self, key: str) -> bool:
        return key in self.problems and not self.problems[key].over_at

    def give_up(self, now: datetime) -> None:
        """End what nobody has tried again for a month."""
        for problem in self.problems.values():
            if not problem.over_at and now - problem.last > GIVEN_UP_AFTER:
                problem.over_at, problem.is_given_up = now, True

    def forget(self, channels: Collection[str]) -> None:
        """Drop what is over and known to every channel; other channels are no more."""
        for problem in self.problems.values():
            problem.told = {name: told for name, told in problem.told.items() if name in channels}
            problem.owed &= {*channels}
        self.problems = {
            key: problem
            for key, problem in self.problems.items()
            if not problem.over_at or problem.told or problem.owed
        }


def _why_over(
    problem: Problem, found: Unusual | None, watched: Mapping[str, Sequence[date]]
) -> str:
    """Return why an anomaly that was told of is none any more."""
    if found:
        return f"{QUIET_DAYS} days since are as expected"
    if problem.days & {*watched.get(problem.subject, ())}:
        return "counted again, its days are as expected"
    return "its days are no longer among those that are watched"
