"""The negative binomial: against scipy.stats, and at the edges where it is Poisson's or nothing."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from city311_assets.gold.methods.negative_binomial import (
    cumulative,
    ends,
    mid_tails,
    quantile,
    survival,
    two_sided,
)

MOMENTS = [(0.2, 0.2), (0.2, 0.5), (3.0, 3.3), (3.0, 30.0), (20.0, 20.0), (20.0, 60.0), (900, 9e3)]
COUNTS = np.arange(3_000)


def reference(mean: float, variance: float) -> Any:
    """Return scipy's distribution of that mean and variance."""
    if variance <= mean:
        return stats.poisson(mean)
    return stats.nbinom(mean**2 / (variance - mean), mean / variance)


def pmf(mean: float, excess: float, most: int) -> np.ndarray:
    """Return the probabilities of 0 to `most`, each from the last; exact also near Poisson's."""
    size, odds = mean / excess, excess / (1 + excess)
    steps = [math.log((size + k) / (k + 1) * odds) for k in range(most)]
    return np.exp(np.cumsum([-size * math.log1p(excess), *steps]))


@pytest.mark.parametrize(("mean", "variance"), MOMENTS)
def test_tails_and_quantiles_are_scipys(mean: float, variance: float):
    expected = reference(mean, variance)
    np.testing.assert_allclose(cumulative(COUNTS, mean, variance), expected.cdf(COUNTS), rtol=1e-9)
    near = COUNTS[expected.sf(COUNTS) > 1e-250]
    np.testing.assert_allclose(survival(near, mean, variance), expected.sf(near), rtol=1e-8)
    shares = np.array([0.001, 0.025, 0.1, 0.5, 0.9, 0.975, 0.999])
    assert quantile(shares, mean, variance).tolist() == expected.ppf(shares).tolist()


@pytest.mark.parametrize("excess", [3e-9, 1e-7, 1e-4, 0.3])
@pytest.mark.parametrize("mean", [0.01, 3.0, 300.0])
def test_tails_keep_their_digits_close_to_poissons(mean: float, excess: float):
    variance = mean * (1 + excess)
    spread = math.sqrt(variance)
    masses = pmf(mean, (variance - mean) / mean, int(mean + 40 * spread + 40))
    for count in {0, int(mean), int(mean + 3 * spread), int(mean + 8 * spread)}:
        at_most, more = math.fsum(masses[: count + 1]), math.fsum(masses[count + 1 :])
        assert float(cumulative(count, mean, variance)) == pytest.approx(at_most, rel=1e-11)
        assert float(survival(count, mean, variance)) == pytest.approx(more, rel=1e-10)


@pytest.mark.parametrize("variance", [0.0, 2.0, 5.0, 5.0 * (1 + 1e-12)])
def test_a_variance_not_above_the_mean_is_poissons(variance: float):
    found = cumulative(COUNTS[:40], 5.0, variance)
    np.testing.assert_allclose(found, stats.poisson(5).cdf(COUNTS[:40]), rtol=1e-12)


@pytest.mark.parametrize("variance", [0.0, 1.0, 1e10])
def test_where_nothing_is_expected_there_is_nothing(variance: float):
    assert cumulative([-1, 0, 3], 0.0, variance).tolist() == [0, 1, 1]
    assert survival([-1, 0, 3], 0.0, variance).tolist() == [1, 0, 0]
    assert [float(end) for end in ends(0.0, variance, 0.95)] == [0, 0]
    assert two_sided([0, 3], 0.0, variance).tolist() == [1, 0]


@pytest.mark.parametrize("moments", [(math.nan, 5.0), (5.0, math.nan), (math.nan, math.nan)])
def test_of_unknown_moments_nothing_is_known(moments: tuple[float, float]):
    assert np.isnan(cumulative([0, 3], *moments)).all()
    assert np.isnan(survival([0, 3], *moments)).all()
    assert np.isnan(two_sided([0, 3], *moments)).all()
    assert np.isnan(ends(*moments, 0.8)).all()


def test_infinite_moments_have_no_ends():
    assert np.isnan(ends([math.inf, 5.0], [math.inf, math.inf], 0.8)).all()


@pytest.mark.parametrize(("mean", "variance"), MOMENTS)
def test_mid_tails_add_up_to_one_and_are_one_half_on_average(mean: float, variance: float):
    few, many = mid_tails(COUNTS, mean, variance)
    np.testing.assert_allclose(few + many, 1, rtol=1e-12)
    masses = reference(mean, variance).pmf(COUNTS)
    assert float(masses @ few) == pytest.approx(0.5, abs=1e-9)
    at_least = survival(COUNTS - 1, mean, variance)
    assert float(masses @ at_least) > 0.51 or mean > 100


@pytest.mark.parametrize(("mean", "variance"), [(20.0, 20.0), (20.0, 60.0), (900.0, 9e3)])
def test_two_sided_p_of_counts_as_expected_are_uniform(mean: float, variance: float):
    drawn = reference(mean, variance).rvs(20_000, random_state=np.random.default_rng(1))
    found = two_sided(drawn, mean, variance)
    for level in (0.01, 0.05, 0.1, 0.2, 0.5, 0.8):
        assert (found <= level).mean() == pytest.approx(level, abs=0.2 * level + 0.005)


def test_a_count_far_from_what_was_expected_has_a_small_p_on_either_side():
    found = two_sided([2, 20, 60], 20.0, 30.0)
    assert found[[0, 2]].max() < 0.001
    assert found[1] > 0.9
    assert float(two_sided(60, 20.0, 400.0)) > 0.05


@pytest.mark.parametrize("coverage", [0.8, 0.95])
@pytest.mark.parametrize(("mean", "variance"), MOMENTS)
def test_no_other_end_leaves_out_nearer_to_what_it_should(
    mean: float, variance: float, coverage: float
):
    low, high = ends(mean, variance, coverage)
    of, left_out = reference(mean, variance), (1 - coverage) / 2
    below, above = of.cdf(low - 1), of.sf(high)
    assert abs(below - left_out) == pytest.approx(np.abs(of.cdf(COUNTS - 1) - left_out).min())
    assert abs(above - left_out) == pytest.approx(np.abs(of.sf(COUNTS) - left_out).min())
    if mean >= 20:
        assert 1 - below - above == pytest.approx(coverage, abs=0.03)


def test_ends_of_few_records_are_not_wider_than_they_must_be():
    assert [float(end) for end in ends(0.2, 0.2, 0.8)] == [0, 0]


@given(mean=st.floats(1e-4, 1e4), excess=st.floats(0, 50), share=st.floats(1e-4, 1 - 1e-4))
@settings(max_examples=100, deadline=None)
def test_a_quantile_is_the_smallest_count_that_reaches_its_share(
    mean: float, excess: float, share: float
):
    variance = mean * (1 + excess)
    found = quantile(share, mean, variance)
    assert float(found) == math.floor(float(found)) >= 0
    assert cumulative(found, mean, variance) >= share
    assert cumulative(found - 1, mean, variance) < share
    low, high = ends(mean, variance, 0.8)
    assert 0 <= low <= high


def test_elements_do_not_hang_on_each_other():
    mean, variance = (np.array(values) for values in zip(*MOMENTS, strict=True))
    low, high = ends(mean, variance, 0.8)
    for place, (one_mean, one_variance) in enumerate(MOMENTS):
        one_low, one_high = ends(one_mean, one_variance, 0.8)
        assert (one_low, one_high) == (low[place], high[place])
