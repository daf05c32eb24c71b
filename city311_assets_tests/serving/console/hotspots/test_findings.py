"""The numbers above the page and the sentences beside it: true, compared, and linked to what is."""

import datetime as dt
from dataclasses import replace

import h3.api.basic_int as h3
import polars as pl
import pytest

from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.serving.console.hotspots.cells import cell_measures
from city311_assets.serving.console.hotspots.counts import counts_of
from city311_assets.serving.console.hotspots.kpis import kpis
from city311_assets.serving.console.hotspots.quick_hits import quick_hits
from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets.serving.console.hotspots.sentences import duration, percent, probability
from city311_assets.silver.cells import parents_of
from city311_assets_tests.gold.town import every_day, silver
from city311_assets_tests.serving.console.hotspots.files import view, written
from city311_assets_tests.serving.towns import RARE

FEED = "chicago_crimes"
MARCH = Selection(FEED, dt.date(2026, 3, 1), dt.date(2026, 3, 31))
JANUARY = Selection("sf_311", dt.date(2026, 1, 1), dt.date(2026, 1, 31))


def selected(snapshot, search):
    """Return how many records the view behind a link selects."""
    counts = counts_of(snapshot, view(snapshot, search))
    return counts.total(counts.selected)


def by_kind(snapshot, selection):
    return {one.kind: one for one in quick_hits(snapshot, selection)}


def linked(sentence, containing):
    """Return the linked part of a sentence that contains a text."""
    (part,) = (one for one in sentence.parts if one.search and containing in one.text)
    return part


def number_in(part):
    return int("".join(one for one in part.text.split(" ")[0] if one.isdigit()))


def test_a_month_has_at_least_six_kinds_of_findings_with_a_link_in_each(snapshot):
    found = quick_hits(snapshot, MARCH)
    assert len({one.kind for one in found}) == len(found) >= 6
    for one in found:
        links = [part.search for part in one.parts if part.search]
        assert links, one.kind
        for search in links:
            view(snapshot, search)
        assert one.text.endswith(".")
        assert "None" not in one.text.split("None of")[-1]
        assert "nan" not in one.text


def test_the_busiest_cell_is_named_and_its_number_is_behind_the_link(snapshot):
    for chosen in (MARCH, replace(MARCH, categories=("noise",), weekdays=(5, 6))):
        found = by_kind(snapshot, chosen)["busiest cell"]
        first = cell_measures(snapshot, chosen).frame.row(0, named=True)
        number = linked(found, "records")
        assert number_in(number) == first["selected"] == selected(snapshot, number.search)
        assert found.parts[0].text == first["label"]


def test_the_planted_rise_is_told_with_its_interval_and_by_how_many_tests(snapshot, town):
    found = by_kind(snapshot, MARCH)["biggest rise"]
    assert view(snapshot, found.parts[0].search).parent_hex == town.risen_cell
    assert "95 % interval" in found.text
    assert "by more than chance" in found.text
    assert "in the same weeks last year (2 Mar to 1 Apr 2025)" in found.text


def test_chance_is_not_spoken_of_where_nothing_was_tested(snapshot):
    earlier = replace(MARCH, first=dt.date(2025, 2, 1), last=dt.date(2025, 2, 20))
    kinds = by_kind(snapshot, earlier)
    assert not {"biggest rise", "biggest fall", "no change", "rising category"} & set(kinds)
    assert kinds["busiest day"].text.endswith("No day was judged yet.")
    assert "unusual day" not in kinds


def test_two_periods_alike_are_said_not_to_differ(tmp_path):
    days = every_day(dt.date(2026, 1, 5), dt.date(2026, 3, 1))
    rows = silver(days, 60, CHICAGO_CRIMES, seed=8)
    reader = written(tmp_path, rows, days, CHICAGO_CRIMES)
    with reader.current() as opened:
        alike = Selection(
            FEED,
            days[28],
            days[55],
            resolution=9,
            compare_first=days[0],
            compare_last=days[27],
        )
        kinds = by_kind(opened, alike)
        assert not {"biggest rise", "biggest fall", "rising category"} & set(kinds)
        assert kinds["no change"].text.startswith("None of ")
        assert "5 Jan to 1 Feb 2026 (false discovery rate 5.0 %)" in kinds["no change"].text
    reader.close()


def test_the_busiest_hour_is_the_planted_evening_and_its_view_is_that_hour(snapshot, town):
    found = by_kind(snapshot, MARCH)["busiest hour"]
    assert found.text.startswith("Saturdays, 20:00 to 20:59, is the busiest hour")
    seen = view(snapshot, found.parts[0].search)
    assert (seen.weekdays, seen.hours) == ((6,), (20,))
    of = town.incidents.filter(
        "is_time_certain",
        pl.col("day") >= MARCH.first,
        pl.col("hour") == 20,
        pl.col("weekday") == 6,
    )
    assert selected(snapshot, found.parts[0].search) == of.height
    assert f"{of.height / 4:.1f} records each of the 4 held" in found.text


def test_the_category_that_is_new_is_told_as_rising(snapshot):
    found = by_kind(snapshot, MARCH)["rising category"]
    number = linked(found, " records")
    assert view(snapshot, number.search).categories == (RARE,)
    assert number_in(number) == 22 == selected(snapshot, number.search)
    assert "newly there" in found.text


def test_the_busiest_hundredth_of_the_cells_holds_what_is_said(snapshot):
    chosen = replace(MARCH, resolution=10)
    found = by_kind(snapshot, chosen)["concentration"]
    frame = cell_measures(snapshot, chosen).frame
    top = -(-frame.height // 100)
    share = int(frame["selected"].head(top).sum()) / int(frame["selected"].sum())
    assert f"({top:,} of {frame.height:,}) hold {percent(share)} of the records" in found.text
    assert "concentration" not in by_kind(snapshot, replace(MARCH, resolution=7))


def test_a_cell_whose_rate_is_planted_low_is_found_and_none_in_a_city_that_is_even(tmp_path):
    days = every_day(dt.date(2026, 1, 5), dt.date(2026, 3, 1))
    rows = silver(days, 60, CHICAGO_CRIMES, seed=8)
    (busiest,) = rows.drop_nulls("cell")["cell"].mode().sort().head(1)
    coarse = h3.cell_to_parent(busiest, 8)
    is_there = (parents_of(pl.col("cell"), 8) == coarse).fill_null(value=False)
    planted = rows.with_columns(
        is_arrest=pl.when(is_there).then(pl.lit(value=False)).otherwise("is_arrest")
    )
    kinds = []
    for name, given in (("even", rows), ("planted", planted)):
        (tmp_path / name).mkdir()
        reader = written(tmp_path / name, given, days, CHICAGO_CRIMES)
        with reader.current() as opened:
            kinds.append(by_kind(opened, Selection(FEED, days[0], days[-1])))
        reader.close()
    even, low = kinds
    assert "lowest rate" not in even
    assert "by more than chance" in even["no low rate"].text
    assert low["lowest rate"].parts[0].text == f"cell {coarse:x}"
    assert "0 % with an arrest (95 % interval 0 % to" in low["lowest rate"].text


def test_nothing_selected_has_no_findings_and_no_number_made_up(snapshot):
    nothing = replace(MARCH, is_empty_filter=True)
    assert quick_hits(snapshot, nothing) == ()
    found = {one.name: one for one in kpis(snapshot, nothing)}
    assert found["total"].figure == "0"
    assert found["busiest"].figure == found["outcome"].figure == "\N{EN DASH}"


def test_every_number_above_the_page_has_an_interval_or_a_comparison(snapshot, requests_file, town):
    drilled = replace(MARCH, categories=("noise",), parent=int(town.risen_cell, 16), resolution=9)
    for file, chosen in (
        (snapshot, MARCH),
        (snapshot, drilled),
        (requests_file, replace(JANUARY, categories=("noise",))),
    ):
        found = {one.name: one for one in kpis(file, chosen)}
        assert ("median" in found) == (chosen.feed == "sf_311")
        for name in {"share", "outcome"} & set(found):
            assert "95 % interval" in found[name].note
        assert "a day over" in found["total"].note
        assert "its neighbours together" in found["busiest"].note
    assert "of all requests" in found["median"].note


def test_the_numbers_are_in_step_with_filter_and_drill(snapshot, town):
    drilled = replace(MARCH, categories=("noise",), parent=int(town.risen_cell, 16), resolution=9)
    frame = cell_measures(snapshot, drilled).frame
    found = {one.name: one for one in kpis(snapshot, drilled)}
    total, records, known, successes = (
        int(frame[name].sum()) for name in ("selected", "records", "eligible", "successes")
    )
    assert found["total"].figure == f"{total:,}"
    assert found["share"].figure == percent(total / records)
    assert "citywide" in found["share"].note
    assert found["busiest"].figure == frame["label"][0]
    assert found["outcome"].figure == percent(successes / known)
    assert view(snapshot, found["busiest"].search).parent_hex == frame["cell"][0]
    assert selected(snapshot, found["share"].search) == records


def test_last_year_that_is_not_held_is_said_not_to_be(snapshot):
    earlier = replace(MARCH, first=dt.date(2025, 2, 1), last=dt.date(2025, 2, 20))
    total = kpis(snapshot, earlier)[0]
    assert "60.0 a day over 20 days" in total.note
    assert "no day of the same weeks last year, 3 to 22 Feb 2024, is held" in total.note


def test_the_busiest_of_the_finest_cells_leads_to_those_around_it(snapshot, town):
    found = by_kind(snapshot, replace(MARCH, categories=(RARE,), resolution=10))["busiest cell"]
    seen = view(snapshot, found.parts[0].search)
    assert seen.resolution == 10
    inner = cell_measures(snapshot, seen).frame
    assert (inner.height, inner["cell"][0]) == (7, town.rare_cell)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (percent(0.0312), "3.1 %"),
        (percent(0.31), "31 %"),
        (percent(1.0), "100 %"),
        (percent(0.9991), "99.9 %"),
        (duration(0.5), "30 minutes"),
        (duration(30), "30.0 hours"),
        (duration(96), "4.0 days"),
        (probability(0.0001), "below 0.001"),
    ],
)
def test_numbers_are_written_as_people_read_them(said, words):
    assert said == words
