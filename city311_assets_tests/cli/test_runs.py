"""Plans of range runs: which assets, in which order, over which days."""

import datetime as dt

import dagster as dg
import pytest

from city311_assets.automation.runs import UNFINISHED
from city311_assets.cli.runs import (
    PROCESS_TAG,
    RangeRefusedError,
    end_abandoned_runs,
    plan,
    refuse_uncovered,
    this_process,
)
from city311_assets.partitions import AFTER_MONTHS, DAYS, LOOKS_AHEAD, MONTHS, range_tags

FIRST = dt.date(2026, 1, 30)
WEEK = [FIRST + dt.timedelta(days=offset) for offset in range(7)]


@dg.asset(partitions_def=DAYS)
def daily() -> None: ...


@dg.asset(partitions_def=MONTHS, deps=[daily])
def monthly() -> None: ...


@dg.asset
def before() -> None: ...


@dg.asset(deps=[monthly])
def after() -> None: ...


GRAPH = dg.Definitions([daily, monthly, before, after])


def steps(selection: str, days: list[dt.date]) -> list[tuple[str, list[str]]]:
    return [
        (step.label, [key.to_user_string() for key in step.keys])
        for step in plan(selection, GRAPH, days)
    ]


def test_months_follow_their_days_and_what_needs_them_comes_last():
    assert steps("*", WEEK) == [
        ("what has no slices", ["before"]),
        ("2026-01-30 to 2026-01-31", ["daily"]),
        ("2026-01", ["monthly"]),
        ("2026-02-01 to 2026-02-05", ["daily"]),
        ("2026-02", ["monthly"]),
        ("what needs the days", ["after"]),
    ]


@dg.asset(partitions_def=DAYS, deps=[daily], tags={LOOKS_AHEAD: "7"})
def ahead() -> None: ...


@dg.asset(partitions_def=DAYS, deps=[daily], tags={AFTER_MONTHS: ""})
def scored() -> None: ...


def test_what_looks_ahead_reaches_back_and_what_wants_months_waits_for_them():
    graph = dg.Definitions([daily, monthly, ahead, scored])
    planned = plan("*", graph, WEEK)
    assert [(step.label, [key.to_user_string() for key in step.keys]) for step in planned] == [
        ("2026-01-30 to 2026-01-31", ["daily"]),
        ("2026-01-30 to 2026-01-31, what followed", ["ahead"]),
        ("2026-01", ["monthly"]),
        ("2026-01-30 to 2026-01-31, after the month", ["scored"]),
        ("2026-02-01 to 2026-02-05", ["daily"]),
        ("2026-02-01 to 2026-02-05, what followed", ["ahead"]),
        ("2026-02", ["monthly"]),
        ("2026-02-01 to 2026-02-05, after the month", ["scored"]),
    ]
    assert planned[5].tags == range_tags(dt.date(2026, 1, 25), dt.date(2026, 2, 5))
    assert sum(step.days for step in planned) == len(WEEK)


def test_what_looks_ahead_begins_no_earlier_than_the_graph():
    start = dt.date.fromisoformat(DAYS.get_partition_keys()[0])
    (step,) = plan("*", dg.Definitions([ahead]), [start + dt.timedelta(days=2)])
    assert step.tags == range_tags(start, start + dt.timedelta(days=2))


def test_only_what_is_selected_is_planned():
    assert steps("key:daily", WEEK[:1]) == [("2026-01-30", ["daily"])]


def test_a_run_holds_neighbours_of_one_month_and_no_day_between():
    days = [FIRST, WEEK[1], WEEK[2], WEEK[5], dt.date(2027, 1, 30)]
    labels = [label for label, _ in steps("key:daily", days)]
    assert labels == [f"{FIRST} to {WEEK[1]}", str(WEEK[2]), str(WEEK[5]), "2027-01-30"]


def test_a_day_without_a_slice_is_refused():
    newest = dt.date.fromisoformat(DAYS.get_partition_keys()[-1])
    refuse_uncovered(newest, newest)
    with pytest.raises(RangeRefusedError, match="after the newest day"):
        refuse_uncovered(newest, newest + dt.timedelta(days=1))


@dg.job
def bringing() -> None: ...


# A queued run is no process's.
@pytest.mark.parametrize("status", [s for s in UNFINISHED if s != dg.DagsterRunStatus.QUEUED])
def test_runs_of_a_process_that_is_gone_are_ended_wherever_they_stood(status: dg.DagsterRunStatus):
    own = this_process()
    gone = f"{own.rpartition(':')[0]}:{2**22 + 1}"
    with dg.DagsterInstance.ephemeral() as instance:
        left, mine, daemons = (
            instance.create_run_for_job(bringing, status=status, tags=tags).run_id
            for tags in ({PROCESS_TAG: gone}, {PROCESS_TAG: own}, {})
        )
        assert end_abandoned_runs(instance) == 1
        statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert statuses == {left: dg.DagsterRunStatus.FAILURE, mine: status, daemons: status}
