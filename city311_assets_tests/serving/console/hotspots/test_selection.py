"""What is asked: read from the address, written into it, and told where it makes no sense."""

import datetime as dt

import pytest

from city311_assets.serving.console.hotspots.controls import CONTROLS
from city311_assets.serving.console.hotspots.facts import feed_facts, feeds_held
from city311_assets.serving.console.hotspots.selection import (
    Selection,
    children_of,
    measure_of,
    period_words,
    said,
    search_for,
    selection_of,
    values_for,
)
from city311_assets.serving.console.url_state import Value, values_of
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets_tests.serving.test_snapshots import publish

FEED = "chicago_crimes"
FIRST, LAST = dt.date(2026, 2, 3), dt.date(2026, 3, 9)


def asked(snapshot: Snapshot, **values: Value) -> tuple[Selection, tuple[str, ...]]:
    """Return the selection of an address and what is wrong with it."""
    given = values_of("", CONTROLS) | {"feed": FEED} | values
    selection, problems = selection_of(given, snapshot)
    assert selection is not None
    return selection, problems


def test_a_selection_comes_back_from_the_address_it_was_written_into(snapshot, town):
    parent = int(town.risen_cell, 16)
    given = Selection(
        FEED,
        FIRST,
        LAST,
        categories=("arson", "noise"),
        parent=parent,
        resolution=9,
        weekdays=(1, 6),
        hours=(0, 23),
        compare_first=dt.date(2025, 2, 1),
        compare_last=dt.date(2025, 2, 28),
    )
    for one in (given, Selection(FEED, FIRST, LAST, is_empty_filter=True, resolution=6)):
        read, problems = selection_of(values_of(search_for(one), CONTROLS), snapshot)
        assert (read, problems) == (one, ())
        assert selection_of(values_for(one), snapshot)[0] == one


def test_without_an_address_it_is_the_newest_days_told_with_a_whole_month_in_them(snapshot):
    selection, problems = asked(snapshot)
    assert selection == Selection(FEED, dt.date(2026, 3, 1), dt.date(2026, 3, 31))
    assert problems == ()
    assert period_words(selection.first, selection.last) == "1 to 31 Mar 2026"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"from": "2026-13-01"}, "from: 2026-13-01 "),
        ({"from": "2026-03-09", "to": "2026-03-01"}, "from: 2026-03-09 "),
        ({"category": ["arson", "witchcraft"]}, "category: "),
        ({"resolution": 11}, "resolution: 11 "),
        ({"resolution": "fine"}, "resolution: fine "),
        ({"cell": "8a2a1072b59ffff"}, "cell: "),
        ({"cell": "<b>"}, "cell: <b> "),
        ({"weekday": ["0"]}, "weekday: 0 "),
        ({"hour": ["24", "x"]}, "hour: 24, x "),
        ({"compare-from": "2025-01-01"}, "compare-to: choose the second day"),
        ({"compare-from": "2025-02-01", "compare-to": "2025-01-01"}, "compare-from: "),
    ],
)
def test_what_makes_no_sense_is_named_and_replaced(snapshot, values, named):
    selection, problems = asked(snapshot, **values)
    assert len(problems) == 1
    assert problems[0].startswith(named)
    usual = {"first": dt.date(2026, 3, 1), "last": dt.date(2026, 3, 31), "resolution": 8}
    assert {name: getattr(selection, name) for name in usual} == usual
    assert (selection.parent, selection.weekdays, selection.hours) == (None, (), ())
    assert not selection.is_free_comparison


def test_a_feed_that_the_file_does_not_hold_is_replaced_by_one_it_does(snapshot):
    selection, problems = selection_of({"feed": "nyc_311"}, snapshot)
    assert selection is not None
    assert selection.feed == feeds_held(snapshot)[0][0]
    assert problems[0].startswith("feed: the file holds nothing called 'nyc_311'")


def test_a_category_that_is_not_known_leaves_the_others(snapshot):
    selection, _ = asked(snapshot, category=["arson", "witchcraft"])
    assert selection.categories == ("arson",)


def test_a_measure_that_is_none_is_named(snapshot):
    assert measure_of({"measure": "rate_eb"}) == ("rate_eb", ())
    name, problems = measure_of({"measure": "luck"})
    assert name == "selected"
    assert problems[0].startswith("measure: there is none called 'luck'")


def test_below_a_drilled_cell_are_finer_ones_whatever_the_controls_say(snapshot, town):
    selection, problems = asked(snapshot, cell=town.risen_cell, resolution=7)
    assert (selection.resolution, problems) == (9, ())
    assert asked(snapshot, cell=town.risen_cell, resolution=10)[0].resolution == 10
    inner = children_of(selection, town.risen_cell)
    assert (inner.parent, inner.resolution) == (int(town.risen_cell, 16), 9)
    with pytest.raises(ValueError, match="has no children"):
        children_of(selection, town.rare_cell)


def test_an_explicit_empty_choice_says_that_it_is_nothing(snapshot):
    selection, _ = asked(snapshot, none="yes")
    assert selection.is_empty_filter
    assert said(selection) == "nothing, 1 to 31 Mar 2026"


def test_a_selection_is_said_in_words():
    selection = Selection(
        FEED, FIRST, LAST, categories=("public_order",), weekdays=(6,), hours=(8, 9)
    )
    assert said(selection) == "public order, 3 Feb to 9 Mar 2026, Saturdays, 8:00 to 9:59"


def test_facts_are_of_the_feed_and_the_feeds_are_those_with_records(snapshot):
    assert [name for name, _ in feeds_held(snapshot)][-1] == FEED
    facts = feed_facts(snapshot, FEED)
    assert facts is not None
    assert (facts.is_incidents, facts.outcome_words) == (True, "with an arrest")
    assert (facts.first_day, facts.newest_told_day) == (dt.date(2025, 1, 1), dt.date(2026, 3, 31))
    assert dict(facts.categories)["arson"] == 22
    assert feed_facts(snapshot, "nyc_311") is None


def test_a_file_without_any_record_says_so(tmp_path):
    publish(tmp_path / "city.duckdb", 1)
    with Snapshots(tmp_path / "city.duckdb").current() as empty:
        selection, problems = selection_of({}, empty)
    assert selection is None
    assert problems == ("The published file holds no records of any feed.",)
