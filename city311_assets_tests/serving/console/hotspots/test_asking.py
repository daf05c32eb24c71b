"""Which panels are asked for: those whose answer a change would change, and no others."""

import datetime as dt
from dataclasses import fields, replace

import pytest

from city311_assets.serving.console.hotspots.asking import PANELS, keys_of
from city311_assets.serving.console.hotspots.callbacks import PLAIN
from city311_assets.serving.console.hotspots.outlook import ancestor
from city311_assets.serving.console.hotspots.selection import Selection

MARCH = Selection("chicago_crimes", dt.date(2026, 3, 1), dt.date(2026, 3, 31), resolution=9)


def changed(town):
    """Return another value for each field of a selection."""
    return {
        "feed": "sf_311",
        "first": dt.date(2026, 3, 5),
        "last": dt.date(2026, 3, 20),
        "categories": ("noise",),
        "is_empty_filter": True,
        "parent": ancestor(int(town.rare_cell, 16), 8),
        "resolution": 10,
        "weekdays": (6,),
        "hours": (20,),
        "compare_first": dt.date(2026, 2, 1),
        "compare_last": dt.date(2026, 2, 28),
    }


def test_every_field_of_a_selection_asks_for_some_panels(snapshot, town):
    before = keys_of(snapshot, MARCH)
    others = changed(town)
    assert set(others) == {one.name for one in fields(Selection)}
    for name, value in others.items():
        after = keys_of(snapshot, replace(MARCH, **{name: value}))
        assert {panel for panel in PANELS if after[panel] != before[panel]} == {
            panel for panel, one in PANELS.items() if name in one.of
        }


@pytest.mark.parametrize("panel", sorted(PLAIN))
def test_a_panel_that_is_not_asked_for_again_would_say_the_same(panel, snapshot, town):
    before = str(PLAIN[panel](snapshot, MARCH, "selected"))
    others = changed(town)
    apart = [name for name in others if name not in PANELS[panel].of]
    for name in apart:
        after = replace(MARCH, **{name: others[name]})
        if name.startswith("compare"):
            after = replace(MARCH, compare_first=others["compare_first"])
            after = replace(after, compare_last=others["compare_last"])
        assert str(PLAIN[panel](snapshot, after, "selected")) == before, name
    if "measure" not in PANELS[panel].also:
        assert str(PLAIN[panel](snapshot, MARCH, "change")) == before
