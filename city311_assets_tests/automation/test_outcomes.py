"""Outcomes: what real runs say they made, did not make, and found."""

import dagster as dg
import pytest

from city311_assets.automation import outcomes
from city311_assets.automation.outcomes import (
    WILL_RETRY,
    Outcome,
    finished_runs,
    read_outcome,
    words,
)
from city311_assets.automation.problems import State
from city311_assets_tests.automation.toys import Toys, day, toys

SF, CHICAGO = "bronze/sf_311", "bronze/chicago_311"
SF_SILVER = "silver/requests/sf_311"
CHECK = f"{SF_SILVER}: sound"


def outcome_of(some: Toys, run_id: str) -> Outcome:
    (record,) = some.instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    return read_outcome(some.instance, record)


def test_a_run_that_succeeds_made_every_day_and_passed_its_checks():
    with toys() as some:
        found = outcome_of(some, some.run(SF, SF_SILVER, first=1, last=2))
    made = {(unit, day(on)) for unit in (SF, SF_SILVER) for on in (1, 2)}
    assert found.made == made | {("job __ASSET_JOB", None)}
    assert found.passed == {(CHECK, day(1)), (CHECK, day(2))}
    assert (found.not_made, found.failed) == ({}, {})


def test_a_run_that_fails_says_what_it_did_not_make_in_the_errors_own_words():
    with toys() as some:
        some.broken[SF] = "the portal\nis away"
        found = outcome_of(some, some.run(SF, SF_SILVER, first=1, last=2))
    left = {(unit, day(on)) for unit in (SF, SF_SILVER) for on in (1, 2)}
    assert found.not_made == {"sf_311": left}
    assert found.errors == {"sf_311": "ConnectionError: the portal is away"}
    assert found.made == frozenset()


def test_what_was_made_before_the_failure_is_made():
    with toys() as some:
        some.broken[SF_SILVER] = "no"
        found = outcome_of(some, some.run(SF, SF_SILVER, first=1))
    assert found.made == {(SF, day(1))}
    assert found.not_made == {"sf_311": {(SF_SILVER, day(1))}}


def test_in_a_run_of_two_feeds_only_the_one_that_is_out_fails():
    with toys() as some:
        some.broken[SF] = "away"
        found = outcome_of(some, some.run(SF, CHICAGO, first=1))
    assert found.not_made == {"sf_311": {(SF, day(1))}}
    assert found.made == {(CHICAGO, day(1))}


def test_each_feed_that_is_out_has_its_own_error():
    with toys() as some:
        some.broken |= {SF: "the one", CHICAGO: "the other"}
        found = outcome_of(some, some.run(SF, CHICAGO, first=1))
    assert found.errors == {
        "sf_311": "ConnectionError: the one",
        "chicago_311": "ConnectionError: the other",
    }


def test_a_failed_blocking_check_speaks_for_itself():
    with toys() as some:
        some.bad["sf_311"] = {day(2)}
        found = outcome_of(some, some.run(SF, SF_SILVER, first=1, last=3))
    assert found.not_made == {}
    assert found.failed == {(CHECK, day(2)): "examples: example; offenders: 1"}
    assert found.passed == {(CHECK, day(1)), (CHECK, day(3))}


def test_a_single_days_verdict_is_of_that_day():
    with toys() as some:
        some.bad["sf_311"] = {day(2)}
        found = outcome_of(some, some.run(SF_SILVER, first=2))
    assert list(found.failed) == [(CHECK, day(2))]


def test_a_range_without_verdicts_by_day_stands_for_all_its_days(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("city311_assets_tests.automation.toys.note_verdicts", lambda *_, **__: None)
    with toys() as some:
        some.bad["sf_311"] = {day(2)}
        found = outcome_of(some, some.run(SF_SILVER, first=1, last=3))
    assert {cell for cell, _ in found.failed.items()} == {(CHECK, day(on)) for on in (1, 2, 3)}


def test_a_check_that_only_warns_has_not_failed():
    with toys() as some:
        some.severity = dg.AssetCheckSeverity.WARN
        some.bad["sf_311"] = {day(1)}
        found = outcome_of(some, some.run(SF_SILVER, first=1))
    assert (found.failed, found.not_made) == ({}, {})
    assert found.passed == {(CHECK, day(1))}


def test_a_check_that_could_not_be_asked_is_a_failed_run():
    with toys() as some:
        some.dead.add("sf_311")
        found = outcome_of(some, some.run(SF_SILVER, first=1))
    assert found.not_made == {"sf_311": {(CHECK, day(1))}}
    assert found.errors == {"sf_311": "ConnectionError: the check has no portal"}


def test_what_has_no_days_fails_without_days():
    with toys() as some:
        some.broken["bronze/boundaries/chicago"] = "no"
        found = outcome_of(some, some.run("bronze/boundaries/chicago"))
    assert found.not_made == {"chicago": {("bronze/boundaries/chicago", None)}}


def test_a_job_without_assets_is_its_own_subject():
    with toys() as some:
        some.broken["job"] = "disk full"
        bad = outcome_of(some, some.run_job())
        some.broken.clear()
        good = outcome_of(some, some.run_job())
    assert bad.not_made == {"publish_snapshot": {("job publish_snapshot", None)}}
    assert bad.errors == {"publish_snapshot": "OSError: disk full"}
    assert good.made == {("job publish_snapshot", None)}


def test_a_run_that_dagster_starts_again_has_not_failed_yet():
    with toys() as some:
        some.broken[SF] = "away"
        run_id = some.run(SF, first=1)
        some.instance.add_run_tags(run_id, {WILL_RETRY: "true"})
        assert outcome_of(some, run_id).not_made == {}
        some.instance.add_run_tags(run_id, {WILL_RETRY: "false"})
        assert outcome_of(some, run_id).not_made != {}


def test_a_run_that_never_began_says_what_dagster_knows():
    with toys() as some:
        job = some.defs.resolve_implicit_global_asset_job_def()
        tags = {"dagster/partition": "2026-03-02"}
        run = some.instance.create_run_for_job(job, tags=tags)
        some.instance.report_run_failed(run, "its process 7 is gone")
        found = outcome_of(some, run.run_id)
    assert {"sf_311", "chicago_311"} <= set(found.not_made)
    assert (SF, day(2)) in found.not_made["sf_311"]
    assert "its process 7 is gone" in found.errors["sf_311"]


def test_a_cancelled_run_has_made_what_it_made_and_failed_nothing():
    with toys() as some:
        job = some.defs.resolve_implicit_global_asset_job_def()
        run = some.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        some.instance.report_run_canceled(run)
        assert outcome_of(some, run.run_id).not_made == {}


def test_runs_are_read_page_by_page_in_the_order_they_changed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outcomes, "RUNS_PER_PAGE", 2)
    with toys() as some:
        ran = [some.run_job() for _ in range(5)]
        after = State.anew(some.instance.get_run_records()[0].create_timestamp).reads_after
        found = [record.dagster_run.run_id for record in finished_runs(some.instance, after)]
    assert found == ran


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a.b.errors.PortalError: no\n  answer\t", "PortalError: no answer"),
        ("https://data.sfgov.org: status 503", "https://data.sfgov.org: status 503"),
        ("left \u202eright\x00\x1b[31m", "left right[31m"),
        ("x" * 5_000, "x" * 299 + "…"),
    ],
)
def test_somebody_elses_words_are_one_short_visible_line(text: str, shown: str):
    assert words(text) == shown
