"""Figures and actions of the hotspots page: what is drawn of numbers, and where clicks lead."""

import datetime as dt
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import h3
import polars as pl
import pytest

from city311_assets.serving.console.hotspots import figures
from city311_assets.serving.console.hotspots.actions import chosen, drilled, tidied
from city311_assets.serving.console.hotspots.bar import (
    PAGE_CONTROLS,
    category_options,
    compare_choices,
    period_choices,
)
from city311_assets.serving.console.hotspots.cell_maps import changes, figure, view
from city311_assets.serving.console.hotspots.cells import cell_measures
from city311_assets.serving.console.hotspots.facts import feed_facts
from city311_assets.serving.console.hotspots.parts import address, count, percent, times
from city311_assets.serving.console.hotspots.selection import selection_of
from city311_assets.serving.console.hotspots.single_records import records_of
from city311_assets.serving.console.url_state import search_of, values_of
from city311_assets_tests.serving.towns import HOSTILE, RARE, RARE_COUNT

MONDAY = dt.date(2026, 3, 2)
MARCH_1 = dt.date(2026, 3, 1)
MARCH = "?feed=chicago_crimes&from=2026-03-01&to=2026-03-31"


def asked(search: str) -> Any:
    return values_of(search, PAGE_CONTROLS)


def test_a_missing_number_is_a_dash_and_never_zero():
    assert [count(None), percent(None), times(None)] == ["\N{EN DASH}"] * 3
    assert [count(0), percent(0.0), times(0.0)] == ["0", "0.0 %", "0.00 times"]


def test_chosen_bars_stand_out_by_frame_and_colour_and_without_a_choice_all_are_alike():
    def bars(choice: tuple[int, ...]) -> dict:
        drawn = figures.chooser(
            [1, 2], ["Mon", "Tue"], [3.0, None], said=["a", "b"], chosen=choice, unit="a day"
        )
        return drawn["data"][0]

    one = bars((2,))["marker"]
    assert one["line"]["width"] == [0, 2]
    assert one["color"][0] != one["color"][1]
    none = bars(())["marker"]
    assert none["line"]["width"] == [0, 0]
    assert none["color"][0] == none["color"][1]
    assert bars(())["y"] == [3.0, None]
    assert bars(())["customdata"] == [1, 2]


def test_a_day_that_is_not_held_is_a_gap_in_the_calendar_and_in_the_mix():
    held = [MONDAY, MONDAY + dt.timedelta(days=2), MONDAY + dt.timedelta(days=7)]
    drawn = figures.calendar(held, [5, None, 0], [True, True, False])["data"][0]
    assert drawn["x"] == ["2026-03-02", "2026-03-09"]
    assert [row[0] for row in drawn["z"]] == [5] + [None] * 6
    assert drawn["z"][0][1] == 0
    assert "not yet told" in drawn["hovertext"][0][1]
    mixed = figures.mix([MONDAY], {"noise": [None], None: [2.0]}, [False], 1)["data"]
    assert [trace["y"] for trace in mixed] == [[None], [2.0]]
    assert mixed[1]["name"] == "all others"
    assert mixed[0]["marker"]["opacity"] == [figures.UNTOLD_OPACITY]


def test_names_of_the_data_are_escaped_where_plotly_reads_markup():
    mixed = figures.mix([MONDAY], {HOSTILE: [1.0]}, [True], 1)["data"][0]
    ring = figures.donut([HOSTILE], [1], [True], "1 %", "")["data"][0]
    for text in (mixed["name"], mixed["hovertext"][0], ring["labels"][0], ring["hovertext"][0]):
        assert "<img" not in text
        assert "&lt;img" in text


def test_unknown_outcomes_are_grey_whatever_else_there_is():
    colours = [
        dict(
            zip(
                labels,
                figures.donut(labels, [1] * len(labels), known, "", "")["data"][0]["marker"][
                    "colors"
                ],
                strict=True,
            )
        )
        for labels, known in (
            (["closed", "open", "too young"], [True, True, False]),
            (["closed", "too young"], [True, False]),
        )
    ]
    assert colours[0]["too young"] == colours[1]["too young"] == figures.GREYS[0]
    assert colours[0]["closed"] == colours[1]["closed"] == figures.CATEGORICAL[0]


def test_a_click_drills_and_one_on_the_finest_cell_lists_its_records(town):
    values = asked(MARCH) | {"records": "x"}
    cell = h3.cell_to_parent(town.rare_cell, 8)
    done = drilled(values, cell)
    assert (done["cell"], done["resolution"], done["records"]) == (cell, 9, None)
    finest = drilled(done, town.rare_cell)
    assert (finest["cell"], finest["resolution"], finest["records"]) == (cell, 9, town.rare_cell)


def test_choosing_twice_is_not_choosing():
    once = chosen(asked(MARCH), "weekday", 6)
    assert once["weekday"] == ["6"]
    assert chosen(once, "weekday", 2)["weekday"] == ["2", "6"]
    assert chosen(once, "weekday", 6)["weekday"] == []
    # An address may hold anything.
    assert chosen(asked("?hour=x&hour=20"), "hour", 21)["hour"] == ["20", "21"]


def test_a_changed_control_takes_along_what_no_longer_fits(town, snapshot):
    cell = h3.cell_to_parent(town.rare_cell, 8)
    valid = asked(f"{MARCH}&category={RARE}&cell={cell}&resolution=9")
    assert tidied(valid, snapshot) == valid
    coarser = tidied(valid | {"resolution": 8}, snapshot)
    assert coarser["cell"] == h3.cell_to_parent(cell, 7)
    assert tidied(valid | {"resolution": 6}, snapshot)["cell"] is None
    assert tidied(valid | {"none": "yes"}, snapshot)["none"] is None
    other = tidied(valid | {"feed": "sf_311"}, snapshot)
    assert (other["category"], other["cell"]) == ([], None)


def test_a_map_of_the_same_outlines_is_sent_without_them_and_lists_every_change(snapshot):
    selection, _ = selection_of(asked(MARCH), snapshot)
    assert selection
    facts = feed_facts(snapshot, selection.feed)
    assert facts
    whole = figure(snapshot, selection, facts, cell_measures(snapshot, selection, "change"))
    sent = changes(whole).to_plotly_json()
    changed = {tuple(one["location"]) for one in sent["operations"]}
    assert ("data", 1, "z") in changed
    assert ("data", 0, "locations") in changed
    assert not {"geojson", "map"} & {name for place in changed for name in place}
    assert all(
        ("data", 1, key) in changed
        for key in ("locations", "z", "customdata", "colorscale", "zmin", "zmax", "colorbar")
    )


def test_a_drilled_cell_fills_the_map_and_a_small_screen_looks_from_further_away(town, snapshot):
    selection, _ = selection_of(asked(MARCH), snapshot)
    parent = h3.cell_to_parent(town.rare_cell, 8)
    inside, _ = selection_of(asked(f"{MARCH}&cell={parent}"), snapshot)
    assert selection
    assert inside
    city, drill = view(snapshot, selection), view(snapshot, inside)
    assert drill["zoom"] > city["zoom"]
    assert (drill["lat"], drill["lon"]) == pytest.approx(h3.cell_to_latlng(parent), abs=1e-3)
    assert view(snapshot, selection, 390)["zoom"] < city["zoom"]


def test_the_records_of_a_cell_are_those_selected_the_newest_first(town, snapshot):
    search = f"{MARCH}&category={RARE}"
    selection, _ = selection_of(asked(search), snapshot)
    assert selection
    found, total = records_of(snapshot, selection, town.rare_cell)
    assert total == len(found) == RARE_COUNT
    assert {one.category for one in found} == {RARE}
    opened = [one.opened_at for one in found]
    assert opened == sorted(opened, reverse=True)
    some, of_all = records_of(snapshot, selection, town.rare_cell, most=5)
    assert (len(some), of_all) == (5, RARE_COUNT)
    planted = town.incidents.filter(
        pl.col("day") >= MARCH_1, pl.col("is_time_certain"), category=RARE
    ).filter(cell=int(town.rare_cell, 16))
    hour, weekday = planted["hour"].mode().sort()[0], planted["weekday"].mode().sort()[0]
    for name, key in (("hour", hour), ("weekday", weekday)):
        chosen_ones, _ = selection_of(asked(f"{search}&{name}={key}"), snapshot)
        assert chosen_ones
        own = town.incidents.filter(
            pl.col("day") >= MARCH_1,
            pl.col("is_time_certain") | (name == "weekday"),
            pl.col("category") == RARE,
            pl.col("cell") == int(town.rare_cell, 16),
            pl.col(name) == key,
        )
        assert records_of(snapshot, chosen_ones, town.rare_cell)[1] == own.height < RARE_COUNT
    nothing, _ = selection_of(asked(f"{search}&none=yes"), snapshot)
    assert nothing
    assert records_of(snapshot, nothing, town.rare_cell) == ((), 0)


def test_a_search_finds_categories_by_part_of_their_name_and_keeps_those_chosen(snapshot):
    facts = feed_facts(snapshot, "chicago_crimes")
    assert facts
    found = [one["value"] for one in category_options(facts, ["noise"], "ARSO")]
    assert sorted(found) == [RARE, "noise"]
    assert len(category_options(facts, [], "")) == len(facts.categories)


def test_a_link_keeps_the_measure_of_the_map(snapshot):
    assert address("?a=b", "rate") == "/hotspots?a=b&measure=rate"
    assert address("", "rate") == "/hotspots?measure=rate"
    assert address("?measure=change", "rate") == "/hotspots?measure=change"
    selection, _ = selection_of(asked(MARCH), snapshot)
    facts = feed_facts(snapshot, "chicago_crimes")
    assert selection
    assert facts
    links = [one["children"].href for one in map(vars, period_choices(selection, facts, "rate"))]
    assert all("measure=rate" in link for link in links)


def offered(snapshot, last):
    """Return the periods that are offered where a feed is held up to a day, by name."""
    selection, _ = selection_of(asked(MARCH), snapshot)
    facts = feed_facts(snapshot, "chicago_crimes")
    assert selection
    assert facts
    held = replace(facts, first_day=dt.date(2026, 2, 5), newest_told_day=last, last_day=last)
    links = [one["children"] for one in map(vars, period_choices(selection, held, "selected"))]
    return {one.children: values_of(urlsplit(one.href).query, PAGE_CONTROLS) for one in links}


def test_this_month_is_from_its_first_day_to_the_newest_that_was_told(snapshot):
    month = offered(snapshot, dt.date(2026, 3, 17))["This month"]
    assert (month["from"], month["to"]) == ("2026-03-01", "2026-03-17")
    month = offered(snapshot, dt.date(2026, 3, 31))["This month"]
    assert (month["from"], month["to"]) == ("2026-03-01", "2026-03-31")


def test_no_period_is_offered_that_begins_before_what_is_held(snapshot):
    names = [*offered(snapshot, dt.date(2026, 3, 31))]
    assert names == ["Last 7 days", "Last 28 days", "This month", "Everything"]
    assert "Last month" in offered(snapshot, dt.date(2026, 4, 30))
    selection, _ = selection_of(asked(MARCH), snapshot)
    facts = feed_facts(snapshot, "chicago_crimes")
    assert selection
    assert facts
    for first, wanted in ((facts.first_day, 2), (dt.date(2026, 3, 1), 1)):
        held = replace(facts, first_day=first)
        assert len(compare_choices(selection, held, "selected")) == wanted


def test_the_page_keeps_every_control_in_its_address():
    values = asked(f"{MARCH}&category={RARE}&resolution=10&cell=abc&records=def&rows=100")
    assert values_of(search_of(values, PAGE_CONTROLS), PAGE_CONTROLS) == values
    assert asked("")["resolution"] == 8
