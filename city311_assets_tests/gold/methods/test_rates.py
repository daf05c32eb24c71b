"""Rates: Wilson's interval against statsmodels, the prior against planted ones."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from esda.smoothing import Empirical_Bayes
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from city311_assets.gold.methods.rates import (
    Z_95,
    beta_priors,
    is_low_confidence,
    shrunk,
    smoothed,
    wilson,
)


def drawn(
    alpha: float, beta: float, records: tuple[int, int], cells: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return successes of cells whose rates come from a beta distribution, and their records."""
    rng = np.random.default_rng(seed)
    eligible = rng.integers(*records, cells, endpoint=True)
    return rng.binomial(eligible, rng.beta(alpha, beta, cells)), eligible


def one_prior(successes: np.ndarray, eligible: np.ndarray) -> tuple[float, float]:
    found = beta_priors(successes, eligible, np.zeros(len(eligible), np.int64), 1)
    return float(found.mean[0]), float(found.strength[0])


@pytest.mark.parametrize(
    ("successes", "eligible", "low", "high"),
    [
        (0, 1, 0.0, 0.7935),
        (1, 1, 0.2065, 1.0),
        (3, 10, 0.1078, 0.6032),
        (50, 100, 0.4038, 0.5962),
        (141, 916, 0.1320, 0.1787),
    ],
)
def test_wilsons_interval_is_the_published_one(
    successes: int, eligible: int, low: float, high: float
):
    found = wilson(successes, eligible)
    assert (float(found[0]), float(found[1])) == pytest.approx((low, high), abs=5e-5)


def test_wilsons_interval_is_statsmodels_for_every_count_up_to_60():
    eligible, successes = np.tril_indices(61)
    has_records = eligible > 0
    low, high = wilson(successes, eligible)
    level = 2 * float(stats.norm.sf(Z_95))
    expected = proportion_confint(successes[has_records], eligible[has_records], level, "wilson")
    for end, of_statsmodels in zip((low, high), expected, strict=True):
        np.testing.assert_allclose(end[has_records], np.asarray(of_statsmodels), atol=1e-12)
    assert (low[~has_records], high[~has_records]) == (0, 1)
    assert (low >= 0).all()
    assert (high <= 1).all()
    assert (low[successes == 0] == 0).all()
    assert (high[successes == eligible] == 1).all()


@pytest.mark.parametrize(
    ("successes", "eligible", "culprit"),
    [
        ([1, 4], [2, 3], "1 counts .*4 of 3"),
        ([-1], [2], "-1 of 2"),
        ([0], [-2], "0 of -2"),
        ([np.nan], [2], "nan of 2"),
        ([1], [np.inf], "1 of inf"),
    ],
)
def test_counts_that_cannot_be_are_refused_by_name(
    successes: list[float], eligible: list[float], culprit: str
):
    group = np.zeros(len(eligible), np.int64)
    for method in (
        lambda: wilson(successes, eligible),
        lambda: shrunk(successes, eligible, 0.5, 5.0),
        lambda: smoothed(successes, eligible, 0.5),
        lambda: beta_priors(successes, eligible, group, 1),
    ):
        with pytest.raises(ValueError, match=culprit):
            method()


@pytest.mark.parametrize(
    ("successes", "eligible", "is_low"),
    [(0, 0, True), (0, 8, True), (0, 9, False), (19, 38, True), (20, 39, False), (141, 916, False)],
)
def test_confidence_is_low_where_the_interval_is_wide(successes: int, eligible: int, is_low: bool):
    assert bool(is_low_confidence(*wilson(successes, eligible))) is is_low


@pytest.mark.parametrize(
    ("alpha", "beta", "most", "seed"),
    [(2.0, 6.0, 3, 1), (2.0, 6.0, 3, 2), (8.0, 2.0, 40, 3), (1.0, 30.0, 40, 4), (0.5, 0.5, 40, 5)],
)
def test_a_planted_prior_is_recovered(alpha: float, beta: float, most: int, seed: int):
    mean, strength = one_prior(*drawn(alpha, beta, (1, most), 40_000, seed))
    assert mean == pytest.approx(alpha / (alpha + beta), rel=0.02)
    assert strength == pytest.approx(alpha + beta, rel=0.1)


def test_the_variance_between_few_uneven_cells_is_what_chance_leaves_of_their_squares():
    successes, eligible = [0, 9, 1, 30, 2], [4, 12, 1, 80, 20]
    records, cells = sum(eligible), len(eligible)
    mean = Fraction(sum(successes), records)
    squares = sum(
        n * (Fraction(k, n) - mean) ** 2 for k, n in zip(successes, eligible, strict=True)
    )
    information = records - Fraction(sum(n * n for n in eligible), records) - (cells - 1)
    variance = (squares - (cells - 1) * mean * (1 - mean)) / information
    expected = (mean * (1 - mean) - variance) / variance
    found = one_prior(np.array([*successes, 0]), np.array([*eligible, 0]))
    assert found == pytest.approx((float(mean), float(expected)), rel=1e-12)


@pytest.mark.parametrize("most", [3, 50])
@pytest.mark.parametrize("seed", range(5))
def test_cells_of_one_rate_are_all_but_given_that_rate(most: int, seed: int):
    rng = np.random.default_rng(seed)
    eligible = rng.integers(1, most + 1, 5_000)
    successes = rng.binomial(eligible, 0.3)
    mean, strength = one_prior(successes, eligible)
    rates = shrunk(successes, eligible, mean, strength)
    assert rates.std() < 0.1 * (successes / eligible).std()
    np.testing.assert_allclose(rates, mean, atol=0.05)


def test_cells_that_differ_less_than_by_chance_have_a_prior_of_infinite_strength():
    successes, eligible = np.full(30, 3), np.full(30, 10)
    assert one_prior(successes, eligible) == (0.3, np.inf)
    assert (shrunk(successes, eligible, 0.3, np.inf) == 0.3).all()


def test_cells_that_differ_as_much_as_they_can_keep_their_rates():
    successes, eligible = np.array([0, 10, 0, 10]), np.full(4, 10)
    mean, strength = one_prior(successes, eligible)
    assert (mean, strength) == (0.5, 0.0)
    assert shrunk(successes, eligible, mean, strength).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("successes", "eligible"),
    [([3], [10]), ([3, 0], [10, 0]), ([0, 0], [5, 9]), ([5, 9], [5, 9]), ([1, 0, 1], [1, 1, 1])],
    ids=["one cell", "one cell with records", "none", "all", "single records"],
)
def test_cells_that_cannot_tell_how_they_differ_have_a_prior_of_infinite_strength(
    successes: list[int], eligible: list[int]
):
    mean, strength = one_prior(np.array(successes), np.array(eligible))
    assert (mean, strength) == (sum(successes) / sum(eligible), np.inf)


def test_a_group_without_an_eligible_record_has_no_prior_and_no_rate():
    found = beta_priors(np.zeros(3), np.zeros(3), np.array([0, 0, 2]), 3)
    assert np.isnan(found.mean).all()
    assert np.isnan(shrunk(0, 0, found.mean, found.strength)).all()


def test_a_group_is_as_it_is_alone_in_any_order_and_among_empty_cells():
    rng = np.random.default_rng(3)
    eligible = rng.integers(0, 12, 900)
    successes, group = rng.binomial(eligible, rng.beta(2, 5, 900)), rng.integers(0, 4, 900)
    found = beta_priors(successes, eligible, group, 4)
    order = rng.permutation(900)
    turned = beta_priors(successes[order], eligible[order], group[order], 4)
    np.testing.assert_allclose(turned.strength, found.strength, rtol=1e-10)
    for name in range(4):
        of = (group == name) & (eligible > 0)
        expected = one_prior(successes[of], eligible[of])
        assert (found.mean[name], found.strength[name]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("group", [-1, 2])
def test_a_cell_of_no_known_group_is_refused(group: int):
    with pytest.raises(ValueError, match=rf"groups \[{group}\] are not between 0 and 1"):
        beta_priors(np.ones(2), np.ones(2), np.array([0, group]), 2)


def test_a_shrunken_rate_is_the_mean_of_the_posterior():
    eligible, successes = np.tril_indices(30)
    alpha, beta = 1.7, 4.1
    expected = stats.beta(alpha + successes, beta + eligible - successes).mean()
    found = shrunk(successes, eligible, alpha / (alpha + beta), alpha + beta)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("successes", "eligible", "strength", "rate"),
    [
        (1, 4, np.inf, 0.6),
        (1, 4, 0.0, 0.25),
        (0, 0, 0.0, 0.6),
        (0, 0, 3.0, 0.6),
        (1, 4, 4.0, 0.425),
    ],
)
def test_a_prior_weighs_as_many_records_as_its_strength(
    successes: int, eligible: int, strength: float, rate: float
):
    assert float(shrunk(successes, eligible, 0.6, strength)) == pytest.approx(rate, abs=1e-15)


def test_with_many_records_of_a_rare_outcome_shrinkage_is_esdas():
    successes, eligible = drawn(4.0, 396.0, (2_000, 20_000), 400, 5)
    mean, strength = one_prior(successes, eligible)
    reference = Empirical_Bayes(pd.Series(successes), pd.Series(eligible)).r
    found = shrunk(successes, eligible, mean, strength)
    np.testing.assert_allclose(found, np.ravel(reference), rtol=0.01)
    assert np.abs(found - successes / eligible).max() > 0.0003


def test_the_old_rate_is_drawn_to_the_city_by_five_records():
    assert smoothed([0, 3, 0], [0, 10, 5], 0.2).tolist() == pytest.approx([0.2, 4 / 15, 0.1])
    assert smoothed([3], [10], 0.2, strength=10.0).tolist() == pytest.approx([0.25])
