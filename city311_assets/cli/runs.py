"""Range runs in this process: what a date range asks of the graph, in order.

What belongs here: planning runs and executing them with Dagster's own bookkeeping. What does not:
what any asset does, what a person sees meanwhile (`progress`), and other processes (`lanes`).
"""

import itertools
import os
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from city311_assets.automation.day_ranges import coalesced
from city311_assets.automation.runs import UNFINISHED
from city311_assets.partitions import (
    AFTER_MONTHS,
    CARRIES_ON,
    DAYS,
    LOOKS_AHEAD,
    LOOKS_BACK,
    MONTHS,
    range_tags,
    sliced_days,
)

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
PROCESS_TAG = "city311/process"
CHANGES = ("added", "changed", "unchanged", "gone")


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a step when it begins, and, with whether it succeeded, when it ended."""

    label: str
    days: int
    succeeded: bool | None = None


class RangeRefusedError(ValueError):
    """A date range the graph does not cover."""


@dataclass(frozen=True, slots=True)
class Step:
    """One run: a label, the assets it materializes, its tags, and how many days it brings."""

    label: str
    keys: tuple[dg.AssetKey, ...]
    tags: dict[str, str]
    partition: str | None = None
    days: int = 0


@dataclass(slots=True)
class Outcome:
    """What a sequence of runs did."""

    runs: int = 0
    seconds: float = 0.0
    materializations: int = 0
    # By asset: how many records were added, changed, unchanged and gone.
    changes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    # By asset and check: what was said, a line for each run that said it.
    failed_checks: dict[str, list[str]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether every run succeeded and every check that is not a mere warning passed."""
        return not self.failures and not self.failed_checks

    def add(self, other: "Outcome") -> None:
        """Add what was done beside it, at the same time."""
        self.runs += other.runs
        self.seconds = max(self.seconds, other.seconds)
        self.materializations += other.materializations
        self.failures += other.failures
        for name, counted in other.changes.items():
            self.changes.setdefault(name, Counter()).update(counted)
        for own, others in (
            (self.failed_checks, other.failed_checks),
            (self.warnings, other.warnings),
        ):
            for name, lines in others.items():
                own.setdefault(name, []).extend(lines)


def refuse_uncovered(first: date, last: date) -> None:
    """Raise if the graph has no slices for some of these days.

    Raises
    ------
    RangeRefusedError
    """
    days = sliced_days()
    if not days:
        raise RangeRefusedError("CITY311_START_DATE lies in the future: no day has a slice yet")
    start, newest = days[0], days[-1]
    if last < first:
        raise RangeRefusedError(f"the range ends ({last}) before it starts ({first})")
    if first < start:
        raise RangeRefusedError(
            f"{first} is before the graph's first day, {start}; set "
            f"CITY311_START_DATE={first.replace(day=1)} to cover it"
        )
    if last > newest:
        raise RangeRefusedError(f"{last} is after the newest day that has a slice, {newest}")


def plan(graph: dg.AssetSelection | str, defs: dg.Definitions, days: Sequence[date]) -> list[Step]:
    """Return the runs that bring a selection up to date over some days.

    Unpartitioned assets come first, then each month's days in chunks, what looks ahead from the
    days before them, the month itself, and the days' assets that want it; unpartitioned assets that
    need the days, or look back on them, come last.
    """
    assets = defs.resolve_asset_graph()
    keys = [key for level in assets.toposorted_asset_keys_by_level for key in level]
    try:
        selection = dg.AssetSelection.from_string(graph) if isinstance(graph, str) else graph
        # Tables written in one transaction are written together.
        chosen = selection.required_multi_asset_neighbors().resolve(assets)
    except dg.DagsterError as error:
        names = ", ".join(sorted(key.to_user_string() for key in keys))
        raise RangeRefusedError(
            f"{graph!r} is no selection of assets ({error}); there are {names}"
        ) from error
    selected = [key for key in keys if key in chosen]
    if not selected:
        names = ", ".join(sorted(key.to_user_string() for key in keys))
        raise RangeRefusedError(f"{graph!r} selects no asset; there are {names}")
    by_definition = {
        definition: tuple(k for k in selected if assets.get(k).partitions_def == definition)
        for definition in (None, DAYS, MONTHS)
    }
    whole, daily, monthly = by_definition.values()
    ahead = {key: int(assets.get(key).tags.get(LOOKS_AHEAD, 0)) for key in daily}
    looking_ahead = tuple(key for key in daily if ahead[key])
    after = tuple(key for key in daily if AFTER_MONTHS in assets.get(key).tags)
    first_of_all = tuple(key for key in daily if key not in {*looking_ahead, *after})
    sliced = {*daily, *monthly}
    carries_on = {}
    if all(child in sliced for key in daily for child in assets.get(key).child_keys):
        carries_on = {CARRIES_ON: "true"}
    late = tuple(key for key in whole if assets.get_ancestor_asset_keys(key) & sliced)
    looking_back = tuple(key for key in whole if daily and LOOKS_BACK in assets.get(key).tags)
    steps = []
    if early := tuple(key for key in whole if key not in late):
        steps.append(Step("what has no slices", early, {}))
    start = sliced_days()[0]
    for month, of_month in itertools.groupby(days, key=lambda day: day.replace(day=1)):
        # Only what was asked for: a gap in the days is meant.
        chunks = coalesced(of_month, longest_gap=0) if daily else []
        for first, last in chunks if first_of_all else ():
            count = (last - first).days + 1
            label = _label(first, last)
            tags = range_tags(first, last) | carries_on
            steps.append(Step(label, first_of_all, tags, days=count))
        for first, last in chunks if looking_ahead else ():
            # Of the days before the first their next days have come in only now.
            before = first - timedelta(days=max(ahead.values()))
            tags = range_tags(max(before, start), last)
            steps.append(Step(f"{_label(first, last)}, what followed", looking_ahead, tags))
        if monthly:
            steps.append(Step(f"{month:%Y-%m}", monthly, {}, partition=month.isoformat()))
        for first, last in chunks if after else ():
            tags = range_tags(first, last)
            steps.append(Step(f"{_label(first, last)}, after the month", after, tags))
    if last_of_all := late + looking_back:
        steps.append(Step("what needs the days", last_of_all, {}))
    return steps


def _label(first: date, last: date) -> str:
    return f"{first} to {last}" if last > first else str(first)


def execute(
    steps: Sequence[Step],
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    tell: Callable[[Told], None],
) -> Outcome:
    """Run steps in order, telling of each; a failed one is reported and does not stop the rest."""
    outcome = Outcome()
    job = defs.resolve_implicit_global_asset_job_def()
    started = time.monotonic()
    for step in steps:
        tell(Told(step.label, step.days))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.PreviewWarning)
            warnings.simplefilter("ignore", dg.BetaWarning)
            result = job.execute_in_process(
                instance=instance,
                asset_selection=list(step.keys),
                partition_key=step.partition,
                tags=step.tags | {PROCESS_TAG: this_process()},
                run_config=QUIET,
                raise_on_error=False,
            )
        _add(outcome, step, result)
        if _was_interrupted(result):
            raise KeyboardInterrupt
        outcome.seconds = time.monotonic() - started
        tell(Told(step.label, step.days, result.success))
    return outcome


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether somebody stopped a run; Dagster reports it as the failure of a step."""
    name = dg.DagsterExecutionInterruptedError.__name__
    errors = [e.step_failure_data.error for e in result.all_events if e.is_step_failure]
    return any(error is not None and error.cls_name == name for error in errors)


def this_process() -> str:
    """Return what names this process on every machine."""
    return f"{socket.gethostname()}:{os.getpid()}"


def end_abandoned_runs(instance: dg.DagsterInstance) -> int:
    """Mark as failed the runs whose process, one of this machine's, is gone; return how many."""
    host = socket.gethostname()
    abandoned = 0
    # Also what had not begun when the process died: its days would be under way for ever.
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        where, _, process = run.tags.get(PROCESS_TAG, "").rpartition(":")
        if where == host and not Path(f"/proc/{process}").exists() and Path("/proc").exists():
            instance.report_run_failed(run, f"its process {process} is gone")
            abandoned += 1
    return abandoned


def _add(outcome: Outcome, step: Step, result: dg.ExecuteInProcessResult) -> None:
    """Add one run to the outcome."""
    outcome.runs += 1
    said: set[dg.AssetKey] = set()
    for event in result.all_events:
        if event.is_step_materialization:
            outcome.materializations += 1
            if event.asset_key and event.asset_key not in said:
                # Every day of a range carries the range's own figures; one of them will do.
                said.add(event.asset_key)
                _add_changes(outcome, event)
        elif event.is_step_failure:
            outcome.failures.append(f"{step.label}, {event.step_key}: {_cause(event)}")
        elif event.is_failure and not any(e.is_step_failure for e in result.all_events):
            outcome.failures.append(f"{step.label}: {event.message}")
    for check in result.get_asset_check_evaluations():
        # A range says its verdict once for all its days, and once for each.
        if check.passed or (step.days > 1 and check.partition is not None):
            continue
        values = [f"{name} {value.value}" for name, value in check.metadata.items()]
        is_error = check.severity == dg.AssetCheckSeverity.ERROR
        kept = outcome.failed_checks if is_error else outcome.warnings
        name = f"{check.asset_key.to_user_string()}: {check.check_name}"
        kept.setdefault(name, []).append(f"{step.label}: {', '.join(values)}")


def _add_changes(outcome: Outcome, event: dg.DagsterEvent) -> None:
    metadata = event.step_materialization_data.materialization.metadata
    figures = {name: metadata.get(f"range_{name}") for name in CHANGES}
    if event.asset_key and all(value is not None for value in figures.values()):
        counted = outcome.changes.setdefault(event.asset_key.to_user_string(), Counter())
        counted.update({name: int(str(v.value)) for name, v in figures.items() if v is not None})


def _cause(event: dg.DagsterEvent) -> str:
    """Return the error of a failed step, below what Dagster wraps it in, on one line."""
    error = event.step_failure_data.error
    error = error.cause if error and error.cause else error
    return " ".join(error.message.split()) if error else "failed"
