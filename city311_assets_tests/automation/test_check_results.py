"""Check results: what real runs leave in the event log, as rows of the published table."""

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from city311_assets.automation import check_results as reading
from city311_assets.automation.check_results import check_results, described, results_of_instance
from city311_assets_tests.automation.toys import Toys, day, toys

SF, CHICAGO = "silver/requests/sf_311", "silver/requests/chicago_311"


def rows_of(some: Toys, **also: Any) -> list[dict[str, Any]]:
    found = check_results(some.instance, **also)
    assert found.problem is None
    assert found.rows is not None
    return found.rows.to_dicts()


def told(some: Toys) -> list[tuple[object, ...]]:
    """Return of each row whether it passes, its days, how many, and what was found."""
    names = ("is_passed", "first_failing_day", "last_failing_day", "slices", "found")
    return [tuple(row[name] for name in names) for row in rows_of(some)]


def test_a_check_that_passes_on_every_day_is_one_row():
    with toys() as some:
        some.run(SF, first=1, last=4)
        (row,) = rows_of(some)
    assert (row["asset"], row["check_name"]) == (SF, "sound")
    assert (row["is_passed"], row["slices"], row["failure_severity"]) == (True, 4, None)
    assert abs(row["checked_at"] - dt.datetime.now(dt.UTC).replace(tzinfo=None)).seconds < 600


def test_failing_days_are_ranges_with_the_words_of_their_run():
    with toys() as some:
        some.bad["sf_311"] = {day(2), day(3), day(5)}
        some.run(SF, first=1, last=6)
        found = told(some)
    words = "examples: example; offenders: 3"
    assert found == [
        (False, day(2), day(3), 2, words),
        (False, day(5), day(5), 1, words),
        (True, None, None, 3, None),
    ]


def test_of_each_day_the_newest_verdict_counts():
    with toys() as some:
        some.bad["sf_311"] = {day(2), day(3)}
        some.run(SF, first=1, last=4)
        some.bad["sf_311"] = {day(4)}
        some.run(SF, first=3, last=4)
        found = told(some)
        some.bad.clear()
        some.run(SF, first=2)
        some.run(SF, first=4)
        mended = told(some)
    assert found == [
        (False, day(2), day(2), 1, "examples: example; offenders: 2"),
        (False, day(4), day(4), 1, "examples: example; offenders: 1"),
        (True, None, None, 2, None),
    ]
    assert mended == [(True, None, None, 4, None)]


def test_a_day_checked_alone_says_what_was_found_itself():
    with toys() as some:
        some.bad["sf_311"] = {day(2)}
        some.example = "<b>bold</b>\nline"
        some.run(SF, first=2)
        (row,) = rows_of(some)
    assert row["found"] == "examples: <b>bold</b> line; offenders: 1"
    assert row["failure_severity"] == "ERROR"


def test_a_warning_says_that_it_is_one():
    with toys() as some:
        some.severity = dg.AssetCheckSeverity.WARN
        some.bad["sf_311"] = {day(2)}
        some.run(SF, first=1, last=2)
        assert [row["failure_severity"] for row in rows_of(some)] == ["WARN", None]


def test_a_check_that_could_not_be_asked_keeps_its_last_verdict():
    with toys() as some:
        some.run(SF, first=1)
        some.dead.add("sf_311")
        some.run(SF, first=1)
        assert told(some) == [(True, None, None, 1, None)]


def test_checks_that_are_declared_no_more_are_left_out_and_others_say_what_must_hold():
    with toys() as some:
        some.run(SF, CHICAGO, first=1)
        declared = described(some.defs.resolve_asset_graph())
        kept = {key: "It holds." for key in declared if "sf_311" in key.asset_key.path}
        (row,) = rows_of(some, declared=kept)
    assert len(declared) == 2
    assert (row["asset"], row["description"]) == (SF, "It holds.")


def test_only_the_newest_verdicts_are_looked_at(monkeypatch: pytest.MonkeyPatch):
    with toys() as some:
        some.run(CHICAGO, first=1, last=3)
        some.run(SF, first=1, last=3)
        monkeypatch.setattr(reading, "NEWEST", 4)
        assert {row["asset"] for row in rows_of(some)} == {SF}


def test_what_is_said_has_a_version_that_knows_no_clock():
    with toys() as some:
        some.run(SF, first=1)
        first = check_results(some.instance)
        some.run(SF, first=1)
        again = check_results(some.instance)
        some.bad["sf_311"] = {day(1)}
        some.run(SF, first=1)
        worse = check_results(some.instance)
    assert first.version == again.version
    assert first.version != worse.version
    assert dataclasses.replace(first, rows=None).version is None


def test_a_folder_without_an_instance_is_said_to_have_none(tmp_path: Path):
    found = results_of_instance(tmp_path, {})
    assert found.rows is None
    assert str(tmp_path) in (found.problem or "")
    (tmp_path / "dagster.yaml").write_text("event_log_storage: {module: nowhere, class: None}")
    assert "could not be read" in (results_of_instance(tmp_path, {}).problem or "")
