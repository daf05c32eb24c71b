"""Runs that are under way, and those that only look it."""

import datetime as dt

import dagster as dg

from city311_assets.automation.runs import ABANDONED_AFTER, UNFINISHED, unfinished


@dg.job
def bringing() -> None: ...


@dg.job
def other() -> None: ...


def test_a_run_that_never_began_is_under_way_for_a_day_and_no_longer():
    with dg.DagsterInstance.ephemeral() as instance:
        runs = [
            instance.create_run_for_job(bringing, status=status).run_id
            for status in (*UNFINISHED, dg.DagsterRunStatus.FAILURE)
            # A queued one is a run of another process's code location.
            if status != dg.DagsterRunStatus.QUEUED
        ]
        now = dt.datetime.now(dt.UTC)

        def under_way(at: dt.datetime, job: str | None = None) -> set[str]:
            return {run.run_id for run in instance.get_runs(unfinished(at, job))}

        assert under_way(now) == {*runs[:-1]}
        assert under_way(now, bringing.name) == {*runs[:-1]}
        assert under_way(now, other.name) == set()
        assert under_way(now + ABANDONED_AFTER - dt.timedelta(minutes=1)) == {*runs[:-1]}
        assert under_way(now + ABANDONED_AFTER + dt.timedelta(minutes=1)) == set()
