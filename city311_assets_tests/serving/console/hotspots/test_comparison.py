"""Two periods side by side: exact intervals, false discoveries, and what can be compared at all."""

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.serving.console.hotspots.cells import cell_measures
from city311_assets.serving.console.hotspots.cells_panel import cells_table
from city311_assets.serving.console.hotspots.comparison import (
    MOST_EITHER_WAY,
    Comparison,
    RateRatio,
    comparison,
    false_discovery,
    rate_ratios,
)
from city311_assets.serving.console.hotspots.comparison_panel import comparison_panel
from city311_assets.serving.console.hotspots.facts import feed_facts
from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets_tests.gold.town import every_day, silver
from city311_assets_tests.serving.console.hotspots.files import written
from city311_assets_tests.serving.towns import RARE, RARE_COUNT

FEED = "chicago_crimes"
MARCH = Selection(FEED, dt.date(2026, 3, 1), dt.date(2026, 3, 31), resolution=9)
LAST_YEAR = (dt.date(2025, 3, 2), dt.date(2025, 3, 31))


def total(found: Comparison) -> RateRatio:
    """Return the ratio of all, which is there."""
    assert found.total is not None
    return found.total


@pytest.mark.parametrize(("now", "before"), [(3, 10), (0, 7), (7, 0), (1, 1), (120, 80), (5, 400)])
@pytest.mark.parametrize(("days", "before_days"), [(31, 31), (28, 365)])
def test_ratios_are_those_of_the_exact_binomial_test(now, before, days, before_days):
    found = rate_ratios([now], [before], days, before_days)
    share = days / (days + before_days)
    both = now + before
    interval = binomtest(now, both, share).proportion_ci(0.95, "exact")
    by_days = before_days / days

    def ratio(of):
        return of / (1 - of) * by_days if of < 1 else np.inf

    assert found.low[0] == pytest.approx(ratio(interval.low))
    assert found.high[0] == pytest.approx(ratio(interval.high))
    tails = [binomtest(now, both, share, side).pvalue for side in ("greater", "less")]
    assert found.p[0] == pytest.approx(min(1, 2 * min(tails)))
    expected = now / before * by_days if before else np.inf
    assert found.ratio[0] == pytest.approx(expected)


def test_the_interval_and_the_probability_agree_on_what_is_more_than_chance():
    now, before = (one.ravel() for one in np.mgrid[0:40, 0:40])
    found = rate_ratios(now, before, 20, 30)
    is_known = now + before > 0
    is_outside = (found.low > 1) | (found.high < 1)
    assert (is_outside[is_known] == (found.p < 0.05)[is_known]).all()
    assert np.isnan(found.p[~is_known]).all()


def test_intervals_hold_the_true_ratio_as_often_as_they_say():
    rng = np.random.default_rng(7)
    for ratio, mean in ((1.0, 4.0), (1.6, 30.0), (0.5, 200.0)):
        now = rng.poisson(ratio * mean * 31 / 28, 4_000)
        before = rng.poisson(mean, 4_000)
        found = rate_ratios(now, before, 31, 28)
        is_known = now + before > 0
        covered = ((found.low <= ratio) & (ratio <= found.high))[is_known].mean()
        assert 0.945 <= covered <= 0.99


def test_two_equal_periods_are_called_unequal_one_time_in_twenty():
    rng = np.random.default_rng(11)
    now, before = rng.poisson(60, (2, 6_000))
    found = rate_ratios(now, before, 31, 31)
    assert 0.035 <= (found.p < 0.05).mean() <= 0.05
    assert (false_discovery(found.p) < 0.05).mean() < 0.001
    # Cells of few records cannot be told apart: they are called so less often, never more.
    now, before = rng.poisson(2, (2, 6_000))
    few = rate_ratios(now, before, 31, 31)
    assert (few.p < 0.05).mean() < 0.05


def test_a_period_differs_in_no_cell_from_itself(snapshot):
    same = replace(MARCH, compare_first=MARCH.first, compare_last=MARCH.last)
    found = comparison(snapshot, same)
    assert (total(found).ratio, total(found).p) == (1.0, 1.0)
    assert found.cells["ratio"].unique().to_list() == [1.0]
    assert found.cells["q"].min() == 1.0
    assert not found.is_last_year


def test_what_rose_since_the_same_weeks_last_year_comes_first(snapshot, town):
    found = comparison(snapshot, replace(MARCH, resolution=8))
    assert (found.before_first, found.before_last) == (dt.date(2025, 3, 2), dt.date(2025, 4, 1))
    first = found.cells.row(0, named=True)
    assert first["cell"] == town.risen_cell
    assert first["low"] > 1
    assert first["q"] < 0.001
    day = pl.col("day")
    now = town.incidents.filter(day.is_between(MARCH.first, MARCH.last)).height
    before = town.incidents.filter(day.is_between(*LAST_YEAR)).height
    assert (total(found).now, total(found).before) == (now, before)
    # Of the 31 days compared the file holds 30: the last is in April.
    assert (total(found).now_days, total(found).before_days) == (31, 30)
    assert total(found).ratio == pytest.approx(now / 31 / (before / 30))
    assert "Of 2 Mar to 1 Apr 2025 30 of 31 days are held." in found.notes


def test_what_rose_and_what_fell_are_told_apart_each_the_least_likely_first(snapshot):
    found = comparison(snapshot, MARCH)
    rates = pl.col("now") / total(found).now_days - pl.col("before") / total(found).before_days
    for some, sign in ((found.rose, 1), (found.fell, -1)):
        assert 0 < some.height <= MOST_EITHER_WAY
        expected = found.cells.filter(rates * sign > 0)["cell"].to_list()
        assert some["cell"].to_list() == expected[: some.height]
    same = comparison(snapshot, replace(MARCH, compare_first=MARCH.first, compare_last=MARCH.last))
    assert same.rose.is_empty()
    assert same.fell.is_empty()


def test_the_panel_says_what_q_is_and_when_all_may_be_chance(snapshot):
    def said(selection):
        return str(comparison_panel(snapshot, selection, "selected"))

    told = said(replace(MARCH, resolution=8))
    assert "q is the share of mere chance to expect" in told
    assert "may all be chance" not in told
    assert "Where it rose" in told
    even = said(replace(MARCH, compare_first=MARCH.first, compare_last=MARCH.last))
    assert "None did: what is listed may all be chance." in even
    assert "No cell has more records a day than before." in even


def test_a_cell_that_had_none_before_says_how_many_it_has_now(snapshot, town):
    rare = replace(MARCH, categories=(RARE,), resolution=10)
    now = f"none before, {RARE_COUNT} now"
    assert now in str(comparison_panel(snapshot, rare, "selected"))
    facts = feed_facts(snapshot, FEED)
    assert facts
    table = str(cells_table(rare, cell_measures(snapshot, rare), facts))
    assert now in table


def test_the_map_and_the_comparison_say_the_same_of_a_cell(snapshot):
    cells = cell_measures(snapshot, MARCH).frame.drop_nulls("change_p")
    told = comparison(snapshot, MARCH)
    both = told.cells.join(cells, on="cell")
    assert both.height == told.cells.height > 20
    assert told.tested == cells.height
    for ours, theirs in (("ratio", "change_ratio"), ("low", "change_low"), ("q", "change_q")):
        pairs = both.select(ours, theirs).drop_nulls()
        assert pairs[ours].to_list() == pytest.approx(pairs[theirs].to_list(), rel=1e-12)


def test_a_drilled_comparison_is_of_that_cell_alone(snapshot, town):
    whole = comparison(snapshot, replace(MARCH, resolution=8)).cells
    inner = comparison(snapshot, replace(MARCH, parent=int(town.risen_cell, 16)))
    own = whole.filter(pl.col("cell") == town.risen_cell).row(0, named=True)
    assert (total(inner).now, total(inner).before) == (own["now"], own["before"])
    assert inner.cells["now"].sum() == own["now"]


def test_weekdays_are_compared_by_the_days_that_are_such(snapshot):
    found = comparison(snapshot, replace(MARCH, weekdays=(7,)))
    assert (total(found).now_days, total(found).before_days) == (5, 5)


def test_a_year_that_is_not_held_gives_no_number_but_a_reason(snapshot):
    earlier = replace(MARCH, first=dt.date(2025, 1, 1), last=dt.date(2025, 1, 31))
    found = comparison(snapshot, earlier)
    assert found.total is None
    assert found.cells.is_empty()
    assert "the same weeks last year, 3 Jan to 2 Feb 2024, is held in full" in (found.reason or "")
    measured = cell_measures(snapshot, earlier, "change")
    assert measured.frame["change_ratio"].null_count() == measured.frame.height
    assert measured.change_reason in measured.notes


def test_an_empty_choice_compares_nothing(snapshot):
    found = comparison(snapshot, replace(MARCH, is_empty_filter=True))
    assert (total(found).now, total(found).before, total(found).ratio) == (0, 0, None)
    assert found.cells.is_empty()


def test_days_that_the_portal_withholds_count_in_no_comparison(tmp_path):
    days = every_day(dt.date(2026, 4, 20), dt.date(2026, 5, 31))
    # Asked on 1 June: of the eight newest days not all is told, and the newest is not there.
    rows = silver(days[:-3], 10, CHICAGO_CRIMES, seed=2, observed_until=dt.datetime(2026, 6, 1, 12))
    reader = written(tmp_path, rows, days, CHICAGO_CRIMES)
    with reader.current() as opened:
        asked = Selection(
            FEED,
            dt.date(2026, 5, 11),
            days[-1],
            resolution=7,
            compare_first=dt.date(2026, 4, 20),
            compare_last=dt.date(2026, 5, 10),
        )
        found = comparison(opened, asked)
        assert (total(found).now_days, total(found).now) == (13, 130)
        assert (total(found).before_days, total(found).before) == (21, 210)
        assert total(found).ratio == pytest.approx(1)
        assert found.notes[-1].startswith("8 days were not told in full, from 24 May 2026 on")
    reader.close()


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="nothing to compare by"):
        rate_ratios([1], [1], 0, 10)
    with pytest.raises(ValueError, match="below 0"):
        rate_ratios([-1], [1], 10, 10)
