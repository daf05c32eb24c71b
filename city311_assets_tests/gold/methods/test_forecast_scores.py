"""Scores against sums, simulations and enumeration; the scoreboard against the forecasts."""

import datetime as dt
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from city311_assets.gold.methods.forecast_scores import (
    SCHEMA,
    SHARES,
    coverage,
    crps,
    hit_rate,
    mase,
    pai,
    pei,
    pit_distance,
    randomized_pit,
    scoreboard,
)
from city311_assets.gold.methods.forecasting import CELL_METHODS, CITY_METHODS, History, forecasts

FIRST = dt.date(2024, 1, 1)
CELLS = np.arange(100, 140, dtype=np.uint64)


def summed_crps(count: int, mean: float, variance: float) -> float:
    """The definition: squared gaps of the two distribution functions, in steps of one."""
    k = np.arange(max(count, int(mean + 60 * variance**0.5)) + 60)
    if variance > mean:
        size = mean**2 / (variance - mean)
        reached = stats.nbinom.cdf(k, size, mean / variance)
    else:
        reached = stats.poisson.cdf(k, mean)
    return float(((reached - (k >= count)) ** 2).sum())


@pytest.mark.parametrize(
    ("mean", "excess"),
    [(0.001, 0), (0.2, 0.5), (3, 0), (3, 4), (40, 0.1), (380, 0), (450, 0), (900, 3), (5000, 30)],
)
def test_crps_is_the_sum_it_is_defined_as(mean: float, excess: float):
    variance = mean * (1 + excess)
    counts = [0, 1, int(mean), int(mean + 2 * variance**0.5) + 1, int(3 * mean) + 5]
    found = crps(counts, mean, variance)
    expected = [summed_crps(count, mean, variance) for count in counts]
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-9)


def test_crps_is_the_expected_distance_less_half_the_spread():
    rng, size = np.random.default_rng(1), 400_000
    mean, variance, count = 6.0, 15.0, 9
    drawn = rng.negative_binomial(mean**2 / (variance - mean), mean / variance, (2, size))
    simulated = np.abs(drawn[0] - count).mean() - np.abs(drawn[0] - drawn[1]).mean() / 2
    assert crps(count, mean, variance) == pytest.approx(simulated, rel=0.01)


def test_crps_is_the_absolute_error_of_a_certain_nothing_and_least_for_the_true_law():
    np.testing.assert_array_equal(crps([0, 3], 0, 0), [0, 3])
    rng = np.random.default_rng(2)
    drawn = rng.negative_binomial(2, 0.25, 20_000)
    laws = [(6, 24), (5, 24), (7.2, 24), (6, 6), (6, 60)]
    means = [crps(drawn, *law).mean() for law in laws]
    assert np.argmin(means) == 0


def test_mase_is_the_error_in_steps_of_successive_weeks():
    assert mase([10], [7], [1.5]) == 2
    assert mase([1, 0, 4], [0, 0, 1], [2, 0, 0]) == 2
    assert np.isnan(mase([1, 2], [1, 1], [0, 0]))


def test_ends_belong_to_their_interval():
    assert coverage([1, 2, 3, 4], [2, 2, 2, 2], [3, 3, 3, 3]) == 0.5
    assert np.isnan(coverage([], [], []))


@pytest.mark.parametrize(("mean", "variance"), [(0.05, 0.05), (0.4, 1.2), (20, 90)])
def test_the_pit_of_the_true_law_is_uniform_and_of_a_wrong_one_is_not(mean, variance):
    rng = np.random.default_rng(3)
    size, p = (mean**2 / (variance - mean), mean / variance) if variance > mean else (0, 0)
    drawn = rng.negative_binomial(size, p, 4000) if size else rng.poisson(mean, 4000)
    right = randomized_pit(drawn, mean, variance, rng)
    wrong = randomized_pit(drawn, 3 * mean, 3 * variance, rng)
    assert stats.kstest(right, "uniform").pvalue > 0.01
    assert stats.kstest(wrong, "uniform").pvalue < 1e-6
    assert pit_distance(drawn, mean, variance) < 0.02
    many = np.mean([stats.kstest(wrong, "uniform").statistic for _ in range(5)])
    assert pit_distance(drawn, 3 * mean, 3 * variance) == pytest.approx(many, abs=0.02)
    assert np.isnan(pit_distance([], [], []))


MAPS = st.integers(1, 9).flatmap(
    lambda cells: st.tuples(
        st.lists(st.integers(0, 4), min_size=cells, max_size=cells),
        st.lists(st.integers(0, 4), min_size=cells, max_size=cells),
    )
)


@given(MAPS, st.sampled_from([0.01, 0.2, 0.34, 0.5, 1.0]))
@settings(max_examples=150, deadline=None)
def test_maps_are_scored_as_by_enumeration(maps: tuple[list[int], list[int]], share: float):
    predicted, observed = maps
    cells = len(observed)
    taken = max(1, round(share * cells))
    first = sorted(range(cells), key=lambda cell: (-predicted[cell], cell))[:taken]
    hits = sum(observed[cell] for cell in first)
    best = max(sum(chosen) for chosen in combinations(observed, taken))
    given_ = np.array(predicted, float), np.array(observed, float), (share,)
    found = [score(*given_).item() for score in (hit_rate, pai, pei)]
    if not sum(observed):
        assert np.isnan(found).all()
        return
    part = hits / sum(observed)
    assert found == pytest.approx([part, part / (taken / cells), hits / best])
    assert 0 <= found[2] <= 1


def test_a_perfect_map_has_pei_1_and_a_flat_one_takes_the_first_cells():
    observed = np.random.default_rng(4).poisson(1.0, 300).astype(float)
    np.testing.assert_array_equal(pei(observed, observed), 1)
    part = [observed[: round(share * 300)].sum() / observed.sum() for share in SHARES]
    np.testing.assert_allclose(hit_rate(np.ones(300), observed), part)


def past(days: int = 330) -> History:
    """Two categories in forty cells, uneven; the second has no record in its last week."""
    rng = np.random.default_rng(5)
    density = rng.gamma(0.7, 1, len(CELLS))
    daily = np.outer([20.0, 2.0], density / density.sum())
    counts = rng.poisson(np.repeat(daily[:, None], days, axis=1))
    counts[1, -7:] = 0
    k, t, n = np.nonzero(counts)
    frame = pl.DataFrame(
        {
            "day": pl.Series([FIRST + dt.timedelta(int(day)) for day in t], dtype=pl.Date),
            "cell": CELLS[n],
            "category": np.array(["a", "b"])[k],
            "records": counts[k, t, n],
        }
    )
    return History.of(frame, CELLS, [FIRST + dt.timedelta(day) for day in range(days)])


@pytest.mark.parametrize("lag", [0, 7])
def test_the_scoreboard_scores_what_was_served(lag: int):
    history = past()
    origin = history.last - dt.timedelta(days=7)
    board = scoreboard(history, origin, lag)
    rows = forecasts(history, origin, lag)
    came = history.outcome(history.known_days(origin, lag), lag)
    served = board.filter("is_served")
    assert served.select("category", "level").is_unique().all()
    assert served.height == 6
    for k, category in enumerate(history.categories):
        mine = rows.filter(pl.col("category") == category)
        for level, part, x in (
            ("city", mine.filter(pl.col("cell").is_null()), came[k].sum(keepdims=True)),
            ("cells", mine.drop_nulls("cell"), came[k]),
        ):
            row = served.row(
                by_predicate=(pl.col("category") == category) & (pl.col("level") == level),
                named=True,
            )
            places = [0] if level == "city" else np.searchsorted(CELLS, part["cell"].to_numpy())
            median, mean = np.zeros((2, len(x)))
            median[places], mean[places] = part["median"], part["mean"]
            inside = (part["low_80"] <= x[places]) & (part["high_80"] >= x[places])
            shown = (mean > 0) | (x > 0)
            assert row["method"] == part["method"][0]
            assert row["observed"] == x.sum()
            assert row["predicted"] == pytest.approx(mean.sum())
            assert row["mae"] == pytest.approx(np.abs(x - median).mean())
            assert row["coverage_80"] == pytest.approx(inside.to_numpy().sum() / shown.sum())
            if level == "cells":
                expected = pai(mean, x)
                named = [row[f"pai_{round(100 * share)}"] for share in SHARES]
                assert named == (pytest.approx(expected) if x.sum() else [None] * 5)


def test_the_scoreboard_has_a_row_a_category_level_and_method():
    board = scoreboard(past(), dt.date(2024, 9, 1), 0)
    keys = board.select("category", "level", "method").rows()
    assert keys == [
        (category, level, method)
        for level, methods in (("city", CITY_METHODS), ("cells", CELL_METHODS))
        for category in ("all", "a", "b")
        for method in methods
    ]
    assert board.schema == SCHEMA
    city, cells = (board.filter(level=level) for level in ("city", "cells"))
    assert city["hit_rate_5"].null_count() == city.height
    assert cells["pit"].null_count() == cells.height
    assert set(city["cells"]) == {1}
    unknown = city.filter(method="last_year")
    assert unknown["crps"].null_count() == 3
    assert unknown["observed"].null_count() == 0


def test_a_scale_is_the_mean_step_of_the_last_known_weeks():
    history = past()
    origin = dt.date(2024, 9, 1)
    known = history.known_days(origin, 0)
    row = scoreboard(history, origin, 0).filter(category="all", level="city", method="trailing")
    ends = history.city[0, known - 26 * 7 : known + 1 : 7]
    scale = np.abs(np.diff(np.diff(ends))).mean()
    assert row["mase"].item() == pytest.approx(row["mae"].item() / scale)


def test_where_nothing_came_maps_have_no_score():
    history = past()
    board = scoreboard(history, history.last - dt.timedelta(days=7), 0)
    nothing = board.filter(category="b", level="cells")
    assert set(nothing["observed"]) == {0}
    for name in ("hit_rate_1", "pai_5", "pei_20"):
        assert nothing[name].null_count() == nothing.height
    assert nothing["crps"].null_count() == 0


def test_a_scoreboard_before_its_week_is_over_is_refused():
    history = past()
    with pytest.raises(ValueError, match="days up to 2024-11-26 must be held"):
        scoreboard(history, history.last - dt.timedelta(days=6), 0)


def test_a_scoreboard_without_a_forecast_is_empty():
    found = scoreboard(past(), FIRST + dt.timedelta(days=20), 0)
    assert found.is_empty()
    assert found.schema == SCHEMA


def test_scores_of_cells_are_the_same_in_any_order():
    rng = np.random.default_rng(6)
    count, mean = rng.poisson(2.0, 500), rng.gamma(2.0, 1.0, 500)
    order = rng.permutation(500)
    found = crps(count, mean, 1.5 * mean)
    np.testing.assert_allclose(
        crps(count[order], mean[order], 1.5 * mean[order]), found[order], rtol=1e-12
    )
    shuffled = pit_distance(count[order], mean[order], 1.5 * mean[order])
    assert pit_distance(count, mean, 1.5 * mean) == pytest.approx(shuffled)


def test_the_short_board_is_the_served_and_the_baselines_of_the_long_one():
    history = past()
    origin = history.last - dt.timedelta(days=7)
    every = scoreboard(history, origin, 0)
    few = scoreboard(history, origin, 0, has_every_method=False)
    kept = every.filter(
        pl.col("is_served") | pl.col("method").is_in(["trailing", "seasonal_naive"])
    )
    order = ["level", "category", "method"]
    assert few.sort(order).equals(kept.sort(order))
    assert few.height < every.height
