"""The cells of the map: counted as a plain query would, with gold's rates, ranked by measures."""

import datetime as dt
from dataclasses import replace

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.serving.console.hotspots.areas import descendants
from city311_assets.serving.console.hotspots.cells import (
    COLUMNS,
    GI_LEVELS,
    cell_measures,
)
from city311_assets.serving.console.hotspots.counts import counts_of
from city311_assets.serving.console.hotspots.facts import feed_facts
from city311_assets.serving.console.hotspots.hover_texts import hover_texts
from city311_assets.serving.console.hotspots.kpis import kpis
from city311_assets.serving.console.hotspots.measures import MEASURES, scale_of
from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets.serving.console.hotspots.sentences import between, percent, percents
from city311_assets_tests.gold.town import every_day, silver
from city311_assets_tests.serving.console.hotspots.files import written
from city311_assets_tests.serving.towns import RARE

FEED = "chicago_crimes"
MARCH = Selection(FEED, dt.date(2026, 3, 1), dt.date(2026, 3, 31))
JANUARY = Selection("sf_311", dt.date(2026, 1, 1), dt.date(2026, 1, 31))
RATES = ("rate", "rate_low", "rate_high", "rate_eb", "rate_pooled")
WHOLE = ("records", "eligible", "successes", "pooled_records", "pooled_n", "pooled_k")
CHOICES = [
    MARCH,
    replace(MARCH, categories=("noise",), resolution=9),
    replace(MARCH, weekdays=(6, 7), resolution=10),
    replace(MARCH, hours=(0, 12, 20), resolution=7),
    replace(MARCH, categories=("noise", "cleaning"), weekdays=(6,), hours=(20,), resolution=9),
    replace(MARCH, first=dt.date(2025, 2, 27), last=dt.date(2026, 1, 2), resolution=6),
]


def counted(rows, selection):
    """Count records of each cell one by one: all of them, and those that match."""
    of = rows.filter(pl.col("day").is_between(selection.first, selection.last))
    found = {}
    for cell, category, weekday, hour, certain in of.select(
        "cell", "category", "weekday", "hour", "is_time_certain"
    ).rows():
        key = None if cell is None else h3.cell_to_parent(cell, selection.resolution)
        every, chosen = found.get(key, (0, 0))
        matches = (
            (not selection.categories or category in selection.categories)
            and (not selection.weekdays or weekday in selection.weekdays)
            and (not selection.hours or (certain and hour in selection.hours))
        )
        found[key] = every + 1, chosen + matches
    return found


@pytest.mark.parametrize("selection", CHOICES)
def test_counts_are_those_of_the_records_one_by_one(snapshot, town, selection):
    expected = counted(town.incidents, selection)
    without = expected.pop(None)[1]
    found = cell_measures(snapshot, selection)
    held = found.frame.filter(pl.col("records") > 0)
    by_cell = {
        int(cell, 16): tuple(row) for cell, *row in held["cell", "records", "selected"].rows()
    }
    assert by_cell == expected
    assert found.without_point == without
    assert (
        found.frame["selected"].sum() + without
        == sum(one for _, one in expected.values()) + without
    )


def test_a_rare_category_ranks_its_own_cell_first_though_others_hold_more(snapshot, town):
    selection = replace(MARCH, categories=(RARE,), resolution=10)
    for measure in ("selected", "share"):
        frame = cell_measures(snapshot, selection, measure).frame
        assert frame["cell"][0] == town.rare_cell
        assert frame["selected"][0] == 18
    by_total = cell_measures(snapshot, selection, "records").frame
    assert by_total["cell"][0] != town.rare_cell
    assert by_total["records"][0] > frame["records"][0]


def test_what_is_left_out_is_the_least_by_the_measure_and_is_told(snapshot, town):
    selection = replace(MARCH, categories=(RARE,), resolution=10)
    whole = cell_measures(snapshot, selection)
    capped = cell_measures(snapshot, selection, most=2)
    assert capped.frame["cell"].to_list() == whole.frame["cell"].to_list()[:2]
    assert capped.frame["cell"][0] == town.rare_cell
    assert capped.hidden_cells == whole.cells - 2
    assert capped.hidden_records == whole.selected - capped.frame["selected"].sum() > 0
    said = f"{capped.hidden_cells:,} cells with {capped.hidden_records:,} selected records are not"
    assert said in capped.notes[0]
    assert whole.hidden_cells == 0


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_ranks_by_its_column_unknown_ones_last(snapshot, measure):
    selection = replace(MARCH, resolution=9)
    values = cell_measures(snapshot, selection, measure).frame[MEASURES[measure].rank_column]
    known = values.drop_nulls().to_list()
    assert known == sorted(known, reverse=True)
    assert values.is_null().to_list() == [False] * len(known) + [True] * values.null_count()
    scale = scale_of(MEASURES[measure], values.to_list(), "with an arrest")
    assert scale.low < scale.high
    assert "{" not in scale.title


@pytest.mark.parametrize("resolution", range(6, 11))
@pytest.mark.parametrize("category", ["all", "noise"])
def test_rates_of_a_whole_month_are_those_of_gold(snapshot, requests_file, resolution, category):
    for file, selection in ((snapshot, MARCH), (requests_file, JANUARY)):
        chosen = replace(
            selection, resolution=resolution, categories=() if category == "all" else (category,)
        )
        ours = cell_measures(file, chosen).frame.with_columns(
            records="selected", number=pl.Series([int(cell, 16) for cell in _cells(file, chosen)])
        )
        gold = file.frame(
            "select * from cell_months_of($feed, $month, $resolution, $category) order by cell",
            {
                "feed": selection.feed,
                "month": selection.first,
                "resolution": resolution,
                "category": category,
            },
        )
        ours = ours.sort("number")
        assert ours["number"].to_list() == gold["cell"].to_list()
        for name in WHOLE:
            assert ours[name].to_list() == gold[name].to_list(), name
        for name in RATES:
            both = pl.DataFrame({"ours": ours[name], "gold": gold[name]})
            assert both["ours"].is_null().to_list() == both["gold"].is_null().to_list()
            assert both.select((pl.col("ours") - pl.col("gold")).abs().max()).item() < 1e-9, name
        assert ours["is_low_confidence"].to_list() == gold["is_low_confidence"].to_list()
        assert gold["eligible"].sum() > 0


def _cells(file, selection):
    return cell_measures(file, selection).frame["cell"]


@pytest.mark.parametrize("resolution", range(6, 11))
def test_cells_and_what_has_no_point_add_up_to_the_total(snapshot, town, resolution):
    selection = replace(MARCH, resolution=resolution)
    found = cell_measures(snapshot, selection)
    total = town.incidents.filter(pl.col("day") >= MARCH.first).height
    assert found.frame["records"].sum() + found.without_point == total
    assert found.without_point > 0
    assert f"{found.without_point:,} selected records have no usable point" in found.notes[-1]
    assert kpis(snapshot, selection)[0].figure == f"{total:,}"


@pytest.mark.parametrize("child", [9, 10])
def test_the_children_of_a_cell_add_up_to_it(snapshot, town, child):
    selection = replace(MARCH, categories=("noise", "cleaning"))
    parent = cell_measures(snapshot, selection).frame.filter(pl.col("cell") == town.risen_cell)
    inner = replace(selection, parent=int(town.risen_cell, 16), resolution=child)
    children = cell_measures(snapshot, inner)
    assert children.cells == 7 ** (child - 8)
    for name in ("records", "selected", "eligible", "successes", "now", "before"):
        assert children.frame[name].sum() == parent[name].item(), name
    assert children.without_point == 0


def test_a_cells_rates_are_the_same_wherever_one_looks_from(snapshot, town):
    city = replace(MARCH, resolution=9)
    inner = replace(city, parent=int(town.risen_cell, 16))
    drilled = cell_measures(snapshot, inner).frame.sort("cell")
    whole = cell_measures(snapshot, city).frame.filter(
        pl.col("cell").is_in(drilled["cell"].implode())
    )
    own = ("rank", "change_q")
    assert_frame_equal(drilled.drop(own), whole.sort("cell").drop(own))


def test_hot_spots_are_those_of_gold_for_one_category_or_all(snapshot):
    for resolution, category in ((8, "all"), (7, "all"), (8, "noise")):
        chosen = replace(
            MARCH, resolution=resolution, categories=() if category == "all" else (category,)
        )
        found = cell_measures(snapshot, chosen, "gi_class")
        gold = snapshot.frame(
            "select cell, class, reason from gold.hotspots where feed = $feed and month = $month "
            "and resolution = $resolution and category = $category and null_model = 'baseline'",
            {"feed": FEED, "month": MARCH.first, "resolution": resolution, "category": category},
        )
        named = {int(row["cell"], 16): row for row in found.frame.iter_rows(named=True)}
        assert found.gi_month == MARCH.first
        for cell, name, reason in gold.rows():
            assert (named[cell]["gi_class"], named[cell]["gi_reason"]) == (name, reason)
            assert named[cell]["gi_level"] == (None if reason else GI_LEVELS[name])
        assert gold.height > 0
        assert "March 2026" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"resolution": 10}, "resolutions 7 to 9"),
        ({"categories": ("noise", "cleaning")}, "one category, or for all"),
        ({"weekdays": (1,)}, "all weekdays and hours together"),
        ({"hours": (1,)}, "all weekdays and hours together"),
        ({"first": dt.date(2026, 3, 2)}, "whole months, and none lies in"),
        ({"first": dt.date(2025, 2, 1), "last": dt.date(2025, 2, 28)}, "February 2025 were not"),
    ],
)
def test_without_hot_spots_the_reason_is_said(snapshot, changes, reason):
    found = cell_measures(snapshot, replace(MARCH, **changes), "gi_class")
    assert reason in (found.gi_reason or "")
    assert found.gi_reason in found.notes
    assert found.frame["gi_level"].null_count() == found.frame.height


def test_an_empty_choice_shows_nothing_and_says_so(snapshot):
    found = cell_measures(snapshot, replace(MARCH, is_empty_filter=True))
    assert found.selected == found.without_point == 0
    assert found.frame["selected"].sum() == 0
    assert found.empty == "No category is chosen, so nothing is shown. Choose one, or all."


def test_a_filter_that_matches_nothing_says_what_was_asked(snapshot):
    chosen = replace(
        MARCH, categories=(RARE,), last=dt.date(2026, 2, 28), first=dt.date(2026, 2, 1)
    )
    found = cell_measures(snapshot, chosen)
    assert found.empty == "There are no records of arson, 1 to 28 Feb 2026."
    assert found.frame["rate_eb"].null_count() == found.frame.height
    assert cell_measures(snapshot, MARCH).empty is None


def test_the_order_of_the_records_changes_nothing(tmp_path):
    days = every_day(dt.date(2026, 1, 1), dt.date(2026, 1, 20))
    rows = silver(days, 30, CHICAGO_CRIMES, seed=5)
    chosen = Selection(
        FEED, days[3], days[-1], categories=("noise",), weekdays=(1, 2), resolution=9
    )
    frames = []
    for name, given in (("a", rows), ("b", rows.sample(fraction=1, shuffle=True, seed=1))):
        (tmp_path / name).mkdir()
        reader = written(tmp_path / name, given, days, CHICAGO_CRIMES)
        with reader.current() as opened:
            frames.append(cell_measures(opened, chosen).frame)
        reader.close()
    assert_frame_equal(*frames)


def test_without_a_study_area_the_cells_of_records_and_those_around_them_are_shown(tmp_path):
    days = every_day(dt.date(2026, 1, 1), dt.date(2026, 1, 3))
    reader = written(tmp_path, silver(days, 20, CHICAGO_CRIMES, seed=5), days, CHICAGO_CRIMES)
    with reader.current() as opened:
        found = cell_measures(opened, Selection(FEED, days[0], days[-1], resolution=10))
        assert found.frame["records"].sum() + found.without_point == 60
        assert found.cells > (found.frame["records"] > 0).sum()
        assert found.frame["label"][0] == f"cell {found.frame['cell'][0]}"
    reader.close()


def test_descendants_are_the_numbers_between_two_and_no_others(snapshot):
    counts = counts_of(snapshot, replace(MARCH, resolution=10))
    finest = counts.columns.areas[10]
    for cell in counts.columns.areas[8].tolist():
        low, high = descendants(cell, 10)
        between = finest[(finest >= np.uint64(low)) & (finest <= np.uint64(high))]
        mine = [one for one in finest.tolist() if h3.cell_to_parent(one, 8) == cell]
        assert between.tolist() == mine


def test_a_cell_is_told_in_plain_text(snapshot, town):
    facts = feed_facts(snapshot, FEED)
    assert facts is not None
    selection = replace(MARCH, categories=(RARE,), resolution=10)
    frame = cell_measures(snapshot, selection).frame
    first = frame.row(0, named=True)
    said = hover_texts(frame, facts)[0].split("\n")
    assert said[0] == first["label"]
    assert said[1] == f"18 of {first['records']} records selected ({first['share']:.0%})".replace(
        "%", " %"
    )
    assert said[2].endswith(f"of {first['eligible']})")
    assert said[3] == "none in the period before"


def test_shares_of_thousands_are_written_as_those_of_one():
    shares = np.append(np.linspace(0, 1, 4_001), [0.125, 0.375, 0.0995, 0.9949, 1 / 3, np.nan])
    assert percents(shares) == [percent(one) for one in shares.tolist()]


def test_every_cell_is_told_by_its_own_row(snapshot):
    facts = feed_facts(snapshot, FEED)
    assert facts is not None
    frame = cell_measures(snapshot, replace(MARCH, weekdays=(6,), resolution=9)).frame
    told = hover_texts(frame, facts)
    assert len(told) == frame.height
    assert hover_texts(frame.reverse(), facts) == told[::-1]
    for text, row in zip(told, frame.iter_rows(named=True), strict=True):
        assert text.startswith(f"{row['label']}\n")
        assert (" times the period before" in text) == (row["change_ratio"] is not None)
        if row["eligible"]:
            interval = between(row["rate_low"], row["rate_high"])
            of = f"({interval}, of {row['eligible']:,})"
            assert f"{percent(row['rate'])} with an arrest {of}" in text
        assert ("none can be judged yet" in text) == (row["selected"] > 0 and not row["eligible"])


def test_the_frame_has_the_columns_it_promises(snapshot):
    assert tuple(cell_measures(snapshot, MARCH).frame.columns) == COLUMNS
    with pytest.raises(ValueError, match="no measure is called 'luck'"):
        cell_measures(snapshot, MARCH, "luck")
