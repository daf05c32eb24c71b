"""What comes next and what was unusual: gold's rows of the place, or why there are none."""

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest

from city311_assets.serving.console.hotspots.controls import CONTROLS
from city311_assets.serving.console.hotspots.crumbs import crumbs
from city311_assets.serving.console.hotspots.outlook import ancestor, anomalies, forecast
from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets.serving.console.url_state import values_of
from city311_assets_tests.serving.console.hotspots.files import view

FEED = "chicago_crimes"
MARCH = Selection(FEED, dt.date(2026, 3, 1), dt.date(2026, 3, 31))
NEWEST = "select * from gold.forecasts where feed = $feed and day = $day and cell = $cell"
LAST = dt.date(2026, 3, 31)


def row_of(snapshot, cell, category="all"):
    rows = snapshot.frame(NEWEST, {"feed": FEED, "day": LAST, "cell": cell})
    return rows.filter(pl.col("category") == category).row(0, named=True)


def test_the_forecast_is_the_newest_of_the_city_or_of_the_cell_drilled_into(snapshot, town):
    risen = int(town.risen_cell, 16)
    for parent, cell, category in ((None, 0, "all"), (risen, risen, "noise")):
        chosen = replace(
            MARCH,
            parent=parent,
            resolution=9,
            categories=() if category == "all" else (category,),
        )
        found, gold = forecast(snapshot, chosen), row_of(snapshot, cell, category)
        assert found.reason is None
        assert (found.median, found.low_80, found.high_95) == (
            gold["median"],
            gold["low_80"],
            gold["high_95"],
        )
        assert (found.first_day, found.last_day) == (dt.date(2026, 4, 1), dt.date(2026, 4, 7))
    assert found.area != "Chicago"


def test_a_finer_cell_has_the_forecast_of_the_one_around_it_and_says_so(snapshot, town):
    around = ancestor(int(town.rare_cell, 16), 8)
    inner = ancestor(int(town.rare_cell, 16), 9)
    found = forecast(snapshot, replace(MARCH, parent=inner, resolution=10))
    assert found.median == row_of(snapshot, around)["median"]
    assert "the cell around it" in found.note


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"categories": ("noise", "cleaning")}, "one category"),
        ({"is_empty_filter": True}, "one category"),
        ({"categories": ("arson",)}, ""),
    ],
)
def test_where_nothing_is_forecast_the_reason_is_said(snapshot, changes, reason):
    found = forecast(snapshot, replace(MARCH, **changes))
    assert (found.median is None) == (found.reason is not None)
    assert reason in (found.reason or "")


def test_a_cell_of_resolution_six_has_no_forecast_of_its_own(snapshot, town):
    coarse = ancestor(int(town.rare_cell, 16), 6)
    found = forecast(snapshot, replace(MARCH, parent=coarse, resolution=7))
    assert found.median is None
    assert found.reason == "Forecasts are made for the city and for cells of resolutions 7 and 8."


def test_unusual_days_are_those_of_gold_each_with_its_own_view(snapshot):
    gold = snapshot.frame(
        "select day, nullif(cell, 0) as cell, category, records from gold.anomalies "
        "where feed = $feed and is_anomaly",
        {"feed": FEED},
    )
    found = anomalies(snapshot, MARCH, most=1_000)
    ours = found.frame.with_columns(
        pl.Series("number", [one and int(one, 16) for one in found.frame["cell"]], pl.UInt64)
    ).select("day", "number", "category", "records")
    assert sorted(ours.rows(), key=str) == sorted(gold.rows(), key=str)
    assert found.judged_days == 7
    for row in found.frame.iter_rows(named=True):
        seen = view(snapshot, row["search"])
        assert (seen.first, seen.last, seen.parent_hex) == (row["day"], row["day"], row["cell"])
        assert seen.categories == (() if row["category"] == "all" else (row["category"],))


def test_days_that_were_not_judged_are_not_called_usual(snapshot):
    january = replace(MARCH, first=dt.date(2026, 1, 1), last=dt.date(2026, 1, 31))
    found = anomalies(snapshot, january)
    assert (found.found, found.judged_days) == (0, 0)
    assert found.note.startswith("No day of the period could be judged")
    assert anomalies(snapshot, replace(MARCH, is_empty_filter=True)).found == 0


def test_the_way_down_has_a_step_for_each_cell_around_and_names_people_know(snapshot, town):
    risen = int(town.risen_cell, 16)
    inner = replace(MARCH, parent=risen, resolution=9, weekdays=(6,))
    found = crumbs(snapshot, inner, "share")
    assert [one.resolution for one in found] == [None, 6, 7, 8]
    assert found[0].label == "Chicago"
    assert all(one.label.startswith("District") for one in found[1:])
    for step in found[1:]:
        seen = view(snapshot, step.search)
        assert step.resolution is not None
        assert seen.resolution == step.resolution + 1
        assert seen.parent == ancestor(risen, step.resolution)
        assert seen.weekdays == (6,)
        assert values_of(step.search, CONTROLS)["measure"] == "share"
    assert len(crumbs(snapshot, MARCH)) == 1
