"""Messages: what a person is told of a problem: where, what, since when, and what happens next.

What belongs here: words. What does not: when there is news (`problems`), how it travels
(`channels`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from city311_assets.automation.day_ranges import coalesced, shown, since
from city311_assets.automation.problems import Kind, News, Problem
from city311_assets.automation.schedules import NIGHTLY, NIGHTS_DAYS, RECENT_DAYS
from city311_assets.automation.unusual_days import QUIET_DAYS, Figures, Unusual
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.gold.methods.counts import ALL
from city311_assets.silver.cells import RESOLUTION_SHIFT
from city311_assets.warehouse.tables.silver import RECORDS

NIGHTLY_AT = time(int(NIGHTLY.split()[1]), int(NIGHTLY.split()[0]))
HEADLINES = {
    "runs": ("runs fail", "runs fail no more"),
    "check": ("{check} does not hold", "{check} holds again"),
    "late": ("days do not come in", "days come in again"),
    "anomaly": (
        "{direction} {what} than expected in {place}",
        "{what} in {place}, unusual no more",
    ),
}
MARKS = {"opened": "NEW", "continues": "STILL", "over": "OVER"}


@dataclass(frozen=True, slots=True)
class Notice:
    """The news of one problem; `lines` are what a person reads."""

    subject: str
    kind: Kind
    state: News
    since: datetime
    days: tuple[date, ...]
    lines: tuple[str, ...]


def notice(key: str, problem: Problem, state: News, now: datetime) -> Notice:
    """Return the news of one problem in words."""
    subject = problem.subject
    begins, ends = HEADLINES[problem.kind]
    title = ends if state == "over" and not problem.is_given_up else begins
    title = title.format(check=key.removeprefix("check "), **_about(problem.unusual))
    if problem.is_given_up:
        title = f"no longer watched: {title}"
    lines = [f"{MARKS[state]} {_named(subject)}: {title}", _facts(problem, state, now)]
    if problem.unusual and state != "over":
        lines += _seen(problem.unusual)
    if problem.said and not (state == "over" and problem.kind == "late"):
        lines.append(f"{_introduced(problem)}: {problem.said}")
    if problem.is_given_up:
        lines.append("Nothing about it has run for a month. Materialize the days, or leave them.")
    elif state != "over":
        lines += [f"By itself: {_by_itself(problem, now)}", f"To do: {_to_do(problem, key)}"]
    days = tuple(sorted(problem.days))
    return Notice(subject, problem.kind, state, problem.since, days, tuple(lines))


def headline(notices: Sequence[Notice], *, is_sample: bool) -> str:
    """Return the first line of a message."""
    lasting = [notice for notice in notices if notice.state != "over"]
    unusual = sum(notice.kind == "anomaly" for notice in lasting)
    wrong, over = len(lasting) - unusual, len(notices) - len(lasting)
    parts = [f"{wrong} problem{'s' if wrong > 1 else ''}"] if wrong else []
    parts += [f"{unusual} anomal{'ies' if unusual > 1 else 'y'}"] if unusual else []
    parts += [f"{over} over"] if over else []
    about = "SAMPLE DATA, nothing of this is about a real city. " if is_sample else ""
    return f"{about}city311: {', '.join(parts)}"


def local(instant: datetime, subject: str) -> str:
    """Return an instant on the clock of the city it is about; of no city, UTC."""
    return f"{instant.astimezone(_zone(subject)):%Y-%m-%d %H:%M %Z}"


def _zone(subject: str) -> ZoneInfo:
    city = FEEDS[subject].city if subject in FEEDS else CITIES.get(subject)
    return ZoneInfo(city.timezone if city else "UTC")


def _named(subject: str) -> str:
    if subject in FEEDS:
        return f"{FEEDS[subject].title} ({subject})"
    if subject in CITIES:
        return f"{CITIES[subject].title}, weather and boundaries"
    return f"job {subject}"


def _facts(problem: Problem, state: News, now: datetime) -> str:
    """Return since when, how often and which days."""
    began = local(problem.since, problem.subject)
    facts = [f"{'Found' if problem.kind == 'anomaly' else 'Since'} {began}"]
    if state == "over":
        ended = problem.over_at or now
        facts = [f"From {began} to {local(ended, problem.subject)}"]
    if problem.kind in {"runs", "check"}:
        runs = "failed run" if problem.kind == "runs" else "failed evaluation"
        facts.append(f"{problem.times} {runs}{'s' if problem.times != 1 else ''}")
    days = sorted(problem.days)
    if days:
        count = f" ({len(days)} days)" if len(days) > 1 else ""
        facts.append(f"{'missing' if problem.kind == 'late' else 'days'} {shown(days)}{count}")
    return "; ".join(facts) + "."


def _introduced(problem: Problem) -> str:
    if problem.kind == "anomaly" and not problem.over_at:
        return "Beside it"
    return {"runs": "Last error", "check": "It found"}.get(problem.kind, "Seen")


def _about(unusual: Unusual | None) -> dict[str, str]:
    """Return what the title of an anomaly names."""
    if unusual is None:
        return {}
    what = "records" if unusual.category == ALL else f"records of {unusual.category}"
    place = "the whole city"
    if unusual.cell:
        place = f"cell {unusual.cell}"
        place = f"{unusual.label} ({place})" if unusual.label else place
    return {"direction": unusual.figures[0].direction, "what": what, "place": place}


def _seen(unusual: Unusual) -> list[str]:
    """Return what was counted, and what an analyst would open."""

    def counted(one: Figures) -> str:
        expected = f"{one.expected:.1f} (95 %: {one.low_95} to {one.high_95})"
        return f"{one.records} on {one.day}, {one.direction} than the {expected} expected"

    lines = [f"Counted: {'; '.join(map(counted, unusual.figures))}."]
    evidence = [f"streets {', '.join(unusual.streets)}"] if unusual.streets else []
    evidence += [f"records {', '.join(unusual.record_ids)}"] if unusual.record_ids else []
    return lines + ([f"Evidence of {unusual.days[0]}: {'; '.join(evidence)}."] if evidence else [])


def _by_itself(problem: Problem, now: datetime) -> str:
    """Return what asks for the days again without anyone."""
    subject, days = problem.subject, sorted(problem.days)
    if problem.kind == "anomaly":
        return (
            f"nothing makes it go away; it is over when {QUIET_DAYS} tested days since are as "
            "expected, or its days are made again and are."
        )
    if subject not in FEEDS and subject not in CITIES:
        return "nothing tries this run again; the job runs anew when it is next asked for."
    if not days:
        return "the monthly run asks again."
    night = _next_night(now, _zone(subject))
    newest = set(since(night.date(), NIGHTS_DAYS))
    # Until Sunday comes, the window moves on by as much as six days.
    recent = set(since(night.date(), RECENT_DAYS - 6)) - newest
    parts = []
    if soon := [day for day in days if day in newest]:
        parts.append(f"the night of {night:%Y-%m-%d %H:%M %Z} asks again for {shown(soon)}")
    if later := [day for day in days if day in recent]:
        parts.append(f"the weekly run, Sunday morning, asks again for {shown(later)}")
    if old := [day for day in days if day not in newest | recent]:
        parts.append(f"nothing asks for {shown(old)} by the clock")
    if problem.kind == "runs" and subject in FEEDS:
        parts.append(f"changed_days_{subject} tries failed days a few times, later each time")
    if problem.kind == "late":
        parts.append(f"changed_days_{subject} asks once a night for recent days that never came")
    return "; ".join(parts) + "."


def _next_night(now: datetime, zone: ZoneInfo) -> datetime:
    """Return when the nightly runs begin next, local time."""
    here = now.astimezone(zone)
    day = here.date() if here.time() < NIGHTLY_AT else here.date() + timedelta(days=1)
    # Through UTC: a local time that a night skips has no other true name.
    return datetime.combine(day, NIGHTLY_AT, zone).astimezone(UTC).astimezone(zone)


def _to_do(problem: Problem, key: str) -> str:
    """Return what a person should do."""
    subject = problem.subject
    if problem.unusual:
        return f"look at the records, in the published file: `{_records_of(problem.unusual)}`."
    run = f"run {problem.run_id[:8]} in the UI has all of it" if problem.run_id else ""
    if problem.kind == "check":
        asset = key.removeprefix("check ").split(": ", 1)[0]
        again = _again(problem)
        return (
            f"see the check beside {asset} in the UI ({run}); a blocking check holds its days "
            f"back from what is made of them{f'; once mended, {again}' if again else ''}."
        )
    if subject in FEEDS:
        asks = f"`city311 doctor` says whether {FEEDS[subject].city.portal} answers"
    elif subject in CITIES:
        asks = "`city311 doctor` says whether the weather service answers"
    else:
        return f"{run}; start the job again there."
    if problem.kind == "late":
        name = f"records_{subject}_nightly"
        return f"is the daemon running and the schedule {name} on? {asks}; then {_again(problem)}."
    again = _again(problem)
    return f"{asks}; {run}{f'. If it lasts, {again}' if again else ''}."


def _records_of(unusual: Unusual) -> str:
    """Return the query that shows the records of the newest day of an anomaly."""
    table = RECORDS[FEEDS[unusual.feed].table]
    conditions = [f"feed = '{unusual.feed}'", f"day = '{unusual.days[0]}'"]
    if unusual.category != ALL:
        category = unusual.category.replace("'", "''")
        conditions.append(f"category = '{category}'")
    if unusual.cell:
        resolution = unusual.cell >> RESOLUTION_SHIFT & 0xF
        conditions.append(f"cell_parent(cell, {resolution}) = {unusual.cell}")
    return f"from {table} where {' and '.join(conditions)}"


def _again(problem: Problem) -> str:
    """Return the command that makes the newest failing days again; nothing for no days."""
    ranges = coalesced(problem.days, longest_gap=0)
    if not ranges or (problem.subject not in FEEDS and problem.subject not in CITIES):
        return ""
    first, last = ranges[-1]
    rest = ", then the earlier days" if len(ranges) > 1 else ""
    return (
        f"`city311 materialize --from {first} --to {last} "
        f"--select 'key:\"*/{problem.subject}\"'`{rest}"
    )
