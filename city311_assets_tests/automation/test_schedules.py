"""Schedules: what a night and a week ask for, by each city's own clock."""

import datetime as dt

import dagster as dg
import pytest

from city311_assets.automation.schedules import asked_for
from city311_assets.definitions import defs
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.partitions import DAYS, sliced_days
from city311_assets.risk.targets.registry import TARGETS

JOBS = {f"records_{name}": feed.city.timezone for name, feed in FEEDS.items()} | {
    f"weather_{name}": city.timezone for name, city in CITIES.items()
}
WANTED = {
    "nightly": [("2026-03-01", "2026-03-08")],
    "weekly": [("2026-02-02", "2026-03-04"), ("2026-03-05", "2026-03-08")],
}


def test_a_night_reaches_back_to_the_day_whose_week_is_over():
    day = dt.date.fromisoformat
    assert asked_for(day("2026-03-09"), 8) == [(day("2026-03-01"), day("2026-03-08"))]


def test_the_days_that_have_a_slice_are_those_dagster_counts_up():
    assert [str(day) for day in sliced_days()] == [*DAYS.get_partition_keys()]


def test_a_night_at_the_very_start_asks_for_no_day_before_it():
    start = dt.date.fromisoformat(DAYS.get_partition_keys()[0])
    assert asked_for(start + dt.timedelta(days=1), 3) == [(start, start)]


@pytest.mark.parametrize("rhythm", sorted(WANTED))
@pytest.mark.parametrize("job", sorted(JOBS))
def test_each_feed_and_city_has_a_schedule_of_its_own_clock(job: str, rhythm: str):
    schedule = defs.resolve_schedule_def(f"{job}_{rhythm}")
    assert schedule.execution_timezone == JOBS[job]
    assert schedule.job_name == job
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    at = dt.datetime(2026, 3, 9, 3, 30, tzinfo=dt.UTC)
    with dg.build_schedule_context(scheduled_execution_time=at) as context:
        ticked = schedule.evaluate_tick(context)
    ranges = [
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in ticked.run_requests or ()
    ]
    assert ranges == WANTED[rhythm]


def test_every_feed_and_city_has_both_rhythms():
    names = {schedule.name for schedule in defs.schedules or []}
    assert {f"{job}_{rhythm}" for job in JOBS for rhythm in WANTED} < names


REQUEST_FEEDS = {name: feed for name, feed in FEEDS.items() if feed.kind == "request"}


@pytest.mark.parametrize("feed", sorted(REQUEST_FEEDS))
def test_the_atlas_has_nights_and_months_of_its_own(feed: str):
    nightly, monthly = (
        defs.resolve_schedule_def(name)
        for name in (f"atlas_{feed}_nightly", f"atlas_months_{feed}_monthly")
    )
    for schedule in (nightly, monthly):
        assert schedule.execution_timezone == REQUEST_FEEDS[feed].city.timezone
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    at = dt.datetime(2026, 3, 3, 12, 30, tzinfo=dt.UTC)
    with dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=defs.get_repository_def()
    ) as context:
        ends = [
            request.tags["dagster/asset_partition_range_end"]
            for request in nightly.evaluate_tick(context).run_requests or ()
        ]
        months = [
            request.partition_key for request in monthly.evaluate_tick(context).run_requests or ()
        ]
    assert ends[-1] == "2026-03-02"
    assert months == ["2026-02-01"]


def test_a_month_before_the_graphs_first_is_not_asked_for():
    start = dt.date.fromisoformat(DAYS.get_partition_keys()[0])
    at = dt.datetime(start.year, start.month, 3, 15, tzinfo=dt.UTC)
    schedule = defs.resolve_schedule_def("atlas_months_sf_311_monthly")
    with dg.build_schedule_context(scheduled_execution_time=at) as context:
        ticked = schedule.evaluate_tick(context)
    assert not ticked.run_requests
    assert "before the graph's first day" in (ticked.skip_message or "")


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_night_of_risk_scores_what_lacks_scores_and_keeps_what_came_of_the_week_before(
    target: str,
):
    schedule = defs.resolve_schedule_def(f"risk_{target}_nightly")
    assert schedule.execution_timezone == TARGETS[target].feed.city.timezone
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    at = dt.datetime(2026, 3, 20, 11, tzinfo=dt.UTC)
    with dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=defs.get_repository_def()
    ) as context:
        requests = schedule.evaluate_tick(context).run_requests or []
    asked = {
        request.run_key: (
            {key.path[1] for key in request.asset_selection or ()},
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
    }
    scored = {"cell_days", "scores", "costs", "recommendations", "ward_coverage"}
    assert asked == {
        "2026-03-20 scores 2026-03-12": (scored, "2026-03-12", "2026-03-19"),
        "2026-03-20 outcomes 2026-03-05": ({"outcomes"}, "2026-03-05", "2026-03-12"),
    }


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_models_are_those_of_the_month_that_has_begun(target: str):
    schedule = defs.resolve_schedule_def(f"risk_months_{target}_monthly")
    with dg.build_schedule_context(
        scheduled_execution_time=dt.datetime(2026, 3, 2, 13, tzinfo=dt.UTC),
        repository_def=defs.get_repository_def(),
    ) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == "2026-03-01"


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_week_makes_features_and_outcomes_anew_and_leaves_scores(target: str):
    schedule = defs.resolve_schedule_def(f"risk_{target}_weekly")
    with dg.build_schedule_context(
        scheduled_execution_time=dt.datetime(2026, 3, 8, 13, tzinfo=dt.UTC),
        repository_def=defs.get_repository_def(),
    ) as context:
        requests = schedule.evaluate_tick(context).run_requests or []
    assert {key.path[1] for r in requests for key in r.asset_selection or ()} == {
        "cell_days",
        "outcomes",
    }
    assert min(r.tags["dagster/asset_partition_range_start"] for r in requests) == "2026-02-01"
