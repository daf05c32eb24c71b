"""Outcomes: what a finished run made and did not make, in the words of its own events.

What belongs here: reading Dagster's records. What does not: what is a problem (`problems`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster_shared.error import SerializableErrorInfo

from city311_assets.automation.runs import days_of
from city311_assets.feeds.registry import CITIES, FEEDS

FINISHED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
TELLING = {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}
# Dagster starts such a run once more by itself: what it did not make is not decided yet.
WILL_RETRY = "dagster/will_retry"
RUNS_PER_PAGE = 50
WORDS_SHOWN = 300
FAILED_CHECK = DagsterAssetCheckFailedError.__name__
MODULE = re.compile(r"^(?:[a-z_]\w*\.)+(?=[A-Z]\w*: )")

# An asset, a check or a job, and a day of it; no day of what has no days.
Cell = tuple[str, date | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one finished run left behind.

    Attributes
    ----------
    at
        When it finished, UTC.
    made
        What it wrote, and the job itself where it succeeded.
    not_made
        By subject, what it was to write and did not; nothing where only checks stopped it.
    errors
        By subject of `not_made`, the error's own words.
    passed, failed
        Checks that passed, and those of ERROR severity that did not, with what they found.
    """

    run_id: str
    job: str
    at: datetime
    made: frozenset[Cell] = frozenset()
    not_made: Mapping[str, frozenset[Cell]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    passed: frozenset[Cell] = frozenset()
    failed: Mapping[Cell, str] = field(default_factory=dict)


def subject_of(unit: str, job: str = "") -> str:
    """Return the feed or city that an asset or check is about; else the job it ran in."""
    name = unit.split(": ", 1)[0].rsplit("/", 1)[-1]
    return name if name in FEEDS or name in CITIES else job


def outcome(
    run: dg.DagsterRun, finished_at: datetime, events: Sequence[dg.DagsterEvent]
) -> Outcome:
    """Return what a run's events say."""
    made = {_cell(e.asset_key, e.partition) for e in _of(events, "ASSET_MATERIALIZATION")}
    checked = _of(events, "ASSET_CHECK_EVALUATION")
    passed, failed = _verdicts(run, [event.asset_check_evaluation_data for event in checked])
    job = (f"job {run.job_name}", None)
    if run.status == dg.DagsterRunStatus.SUCCESS:
        made.add(job)
    not_made: dict[str, frozenset[Cell]] = {}
    errors: dict[str, str] = {}
    if run.status == dg.DagsterRunStatus.FAILURE and run.tags.get(WILL_RETRY) != "true":
        planned, steps = _planned(events)
        failures = {e.step_key: e.step_failure_data.error for e in _of(events, "STEP_FAILURE")}
        subjects = {subject_of(unit, run.job_name) for unit, _ in planned} or {run.job_name}
        speaks_for_itself = False
        for subject in sorted(subjects):
            own = {cell for cell in planned if subject_of(cell[0], run.job_name) == subject}
            units = {unit for unit, _ in own}
            broken = {key: e for key, e in failures.items() if steps.get(key, set()) & units}
            if broken and all(_is_of_a_check(error) for error in broken.values()):
                speaks_for_itself = True
                continue
            # Of the checks only those that could not be asked: the rest follows its table.
            raised = {unit for key in broken for unit in steps[key]}
            left = {c for c in own if c not in made and (": " not in c[0] or c[0] in raised)}
            if left:
                not_made[subject] = frozenset(left)
                errors[subject] = _error([*broken.values(), *failures.values()], events)
        if not not_made and not speaks_for_itself:
            # All was made and the run failed: somebody has to look at it all the same.
            subject = subjects.pop() if len(subjects) == 1 else run.job_name
            not_made[subject] = frozenset({job})
            errors[subject] = _error([*failures.values()], events)
    return Outcome(
        run.run_id, run.job_name, finished_at, frozenset(made), not_made, errors, passed, failed
    )


def _of(events: Iterable[dg.DagsterEvent], kind: str) -> list[dg.DagsterEvent]:
    return [event for event in events if event.event_type == dg.DagsterEventType[kind]]


def _cell(key: dg.AssetKey | None, partition: str | None) -> Cell:
    return key.to_user_string() if key else "", _day(partition)


def _day(partition: str | None) -> date | None:
    """Return the day a partition is; None for none, or one that is no day."""
    try:
        return date.fromisoformat(partition or "")
    except ValueError:
        return None


def _check_name(key: dg.AssetCheckKey) -> str:
    return f"{key.asset_key.to_user_string()}: {key.name}"


def _planned(events: Sequence[dg.DagsterEvent]) -> tuple[set[Cell], dict[str | None, set[str]]]:
    """Return what a run was to make and check, and which step was to do it."""
    cells: set[Cell] = set()
    steps: dict[str | None, set[str]] = {}
    for event in _of(events, "ASSET_MATERIALIZATION_PLANNED"):
        plan = event.asset_materialization_planned_data
        unit, keys = plan.asset_key.to_user_string(), [plan.partition]
        if plan.partitions_subset:
            keys = [*plan.partitions_subset.get_partition_keys()]
        cells |= {(unit, _day(key)) for key in keys}
        steps.setdefault(event.step_key, set()).add(unit)
    for event in _of(events, "ASSET_CHECK_EVALUATION_PLANNED"):
        check = event.asset_check_planned_data
        unit, keys = _check_name(check.asset_check_key), [None]
        if check.partitions_subset:
            keys = [*check.partitions_subset.get_partition_keys()]
        cells |= {(unit, _day(key)) for key in keys}
        steps.setdefault(event.step_key, set()).add(unit)
    return cells, steps


def _verdicts(
    run: dg.DagsterRun, evaluations: Sequence[AssetCheckEvaluation]
) -> tuple[frozenset[Cell], dict[Cell, str]]:
    """Return what passed and what failed: of a range each day's own verdict, where there is one."""
    by_check: dict[str, list[AssetCheckEvaluation]] = {}
    for one in evaluations:
        by_check.setdefault(_check_name(one.asset_check_key), []).append(one)
    passed: set[Cell] = set()
    failed: dict[Cell, str] = {}
    for unit, said in by_check.items():
        whole = [one for one in said if _day(one.partition) is None]
        found = next((said_by(one) for one in reversed(whole or said) if not one.passed), "")
        verdicts = {_day(one.partition): one for one in said if one not in whole}
        if not verdicts:
            verdicts = dict.fromkeys(_days(run) or [None], whole[-1])
        for day, one in verdicts.items():
            if one.passed or one.severity != dg.AssetCheckSeverity.ERROR:
                passed.add((unit, day))
            else:
                failed[unit, day] = found
    return frozenset(passed), failed


def _days(run: dg.DagsterRun) -> list[date]:
    """Return the days a run is about; none where its partitions are no days."""
    try:
        return days_of(run)
    except ValueError:
        return []


def said_by(one: AssetCheckEvaluation) -> str:
    """Return what a check says it found, on one line."""
    said = [one.description] if one.description else []
    for name, value in one.metadata.items():
        given = value.value
        text = ", ".join(map(str, given)) if isinstance(given, list) else str(given)
        said += [f"{name}: {text}"] if text else []
    return words("; ".join(said))


def _is_of_a_check(error: SerializableErrorInfo | None) -> bool:
    """Whether a step failed because a blocking check did not pass: the check speaks for itself."""
    return bool(error and error.cls_name == FAILED_CHECK)


def _error(
    errors: Sequence[SerializableErrorInfo | None], events: Sequence[dg.DagsterEvent]
) -> str:
    """Return the first error's own message, below what Dagster wraps it in.

    Of a run that failed outside its steps, what Dagster says of it.
    """
    for error in errors:
        if error:
            return words((error.cause or error).message)
    said = [event.message for event in _of(events, "RUN_FAILURE") if event.message]
    return words(said[-1]) if said else "no reason is recorded"


def words(text: str) -> str:
    """Return somebody else's text as data: one line, nothing invisible, not endless."""
    line = MODULE.sub("", " ".join(text.split()))
    line = "".join(letter for letter in line if letter.isprintable())
    return line if len(line) <= WORDS_SHOWN else f"{line[: WORDS_SHOWN - 1]}…"


def finished_runs(instance: dg.DagsterInstance, after: datetime) -> Iterator[dg.RunRecord]:
    """Return finished runs whose records changed after an instant, in that order."""
    while True:
        page = instance.get_run_records(
            dg.RunsFilter(statuses=FINISHED, updated_after=after),
            limit=RUNS_PER_PAGE,
            order_by="update_timestamp",
            ascending=True,
        )
        yield from page
        if len(page) < RUNS_PER_PAGE:
            return
        after = page[-1].update_timestamp


def read_outcome(instance: dg.DagsterInstance, record: dg.RunRecord) -> Outcome:
    """Return what one finished run left behind."""
    run = record.dagster_run
    kept = instance.get_records_for_run(run.run_id, of_type=TELLING).records
    events = [one.event_log_entry.dagster_event for one in kept]
    ended = record.end_time or record.update_timestamp.timestamp()
    at = datetime.fromtimestamp(ended, UTC)
    return outcome(run, at, [event for event in events if event is not None])
