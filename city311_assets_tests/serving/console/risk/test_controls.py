"""What the Risk page's address may say, and what is made of it."""

import datetime as dt
from collections.abc import Iterator

import pytest

from city311_assets.serving.console.risk.controls import chosen, controls
from city311_assets.serving.console.url_state import Value, values_of
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets_tests.serving.towns import RISK_DAYS


@pytest.fixture(scope="module")
def snapshot(snapshots: Snapshots) -> Iterator[Snapshot]:
    with snapshots.current() as opened:
        yield opened


def test_an_address_that_says_nothing_asks_for_the_newest_day(snapshot: Snapshot):
    wanted = chosen(values_of("", controls()), snapshot)
    assert (wanted.target.name, wanted.day, wanted.layer) == ("leaks", RISK_DAYS[-1], "probability")
    assert (wanted.hours, wanted.cell, wanted.problems) == (80.0, "", ())


def test_a_day_without_scores_names_the_nearest_with_some(snapshot: Snapshot):
    wanted = chosen(values_of("?day=2026-03-14", controls()), snapshot)
    assert wanted.day is None
    assert wanted.nearest == tuple(dt.date(2026, 3, day) for day in (9, 10, 11))
    before = chosen(values_of("?day=2020-01-01", controls()), snapshot)
    assert before.nearest == (*RISK_DAYS[:3],)


def test_a_target_without_scores_has_no_day_at_all(snapshot: Snapshot):
    wanted = chosen(values_of("?target=sanitation", controls()), snapshot)
    assert (wanted.day, wanted.nearest) == (None, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target", "gas"),
        ("layer", "<b>"),
        ("hours", "many"),
        ("hours", -1),
        ("hours", 1e9),
        ("day", "soon"),
        ("cell", "xyz"),
        ("cell", "89"),
    ],
)
def test_what_makes_no_sense_is_named_and_replaced(snapshot: Snapshot, name: str, value: Value):
    given = values_of("", controls()) | {name: value}
    wanted = chosen(given, snapshot)
    (problem,) = wanted.problems
    assert repr(value) in problem
    assert (wanted.target.name, wanted.day, wanted.hours) == ("leaks", RISK_DAYS[-1], 80.0)
