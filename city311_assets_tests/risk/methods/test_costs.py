"""Costs of calls: against a plain simulation, by hand, and what they may hang on."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from city311_assets.risk.methods.costs import (
    MOST_EXPECTED_CLUSTERS,
    SHARES_PRIOR_CALLS,
    calls_per_cluster,
    cost_grid,
    parts_of_a_call,
    priced,
    severity_shares,
)
from city311_assets.risk.methods.priors import Priors, read_priors

PRIORS = read_priors()
SHARES = np.array([0.6, 0.3, 0.1])
PARTS = ("water", "energy", "repair", "response")


def with_ends(**ends: tuple[float, float, float]) -> Priors:
    """The package's priors with the ranges of some replaced."""
    return Priors(
        tuple(
            replace(p, **dict(zip(("low", "central", "high"), ends[p.name], strict=True)))
            if p.name in ends
            else p
            for p in PRIORS.entries
        )
    )


def certain(**values: float) -> Priors:
    """Priors without a range, some with another value."""
    sure = {prior.name: prior.central for prior in PRIORS.entries} | values
    return with_ends(**{name: (value, value, value) for name, value in sure.items()})


def simulated(expected_calls: float, together: float, size: int = 4_000) -> np.ndarray:
    """Costs of 7 days, one call after the other."""
    rng = np.random.default_rng(5)
    values = PRIORS.draws(rng, size)
    costs = np.zeros(size)
    clusters = rng.poisson(expected_calls / together, size)
    for at in range(size):
        own = {name: drawn[at] for name, drawn in values.items()}
        calls = clusters[at] + rng.poisson((together - 1) * clusters[at])
        kwh_per_m3 = 1000 * 9.80665 * own["head"] / own["pump_efficiency"] / 3.6e6
        for severity in rng.choice(["minor", "moderate", "major"], calls, p=SHARES):
            volume = own[f"volume_{severity}"]
            costs[at] += own["response_hours"] * own["crew_hour"]
            costs[at] += volume * (own["water_price"] + kwh_per_m3 * own["electricity_price"])
            costs[at] += own["repair_cost"] * (rng.random() < own["break_given_call"])
    return costs


@pytest.mark.parametrize(("expected_calls", "together"), [(0.4, 1.0), (2.5, 1.0), (1.8, 1.5)])
def test_mean_and_quantiles_are_those_of_a_plain_simulation(expected_calls: float, together: float):
    reference = simulated(expected_calls, together)
    found = priced(cost_grid(PRIORS, SHARES, 311, together), [expected_calls])
    error = 4 * reference.std() / np.sqrt(reference.size)
    assert found.expected[0] == pytest.approx(reference.mean(), abs=error)
    for level, ours in ((0.5, found.p50), (0.9, found.p90)):
        # Where no call is likely the median is one of many zeros.
        assert (
            np.mean(reference < ours[0]) - 0.022 <= level <= np.mean(reference <= ours[0]) + 0.022
        )


def test_the_parts_of_a_certain_call_are_those_of_a_calculator():
    values = certain().at("central")
    parts = parts_of_a_call(values, SHARES)
    volume = 0.6 * 5 + 0.3 * 25 + 0.1 * 100
    assert parts["water"] == pytest.approx(volume * 0.5)
    # 55 m of head at an efficiency of 0.7 take 0.214 kWh a cubic metre.
    assert parts["energy"] == pytest.approx(volume * 0.21403 * 0.112, rel=1e-4)
    assert parts["repair"] == pytest.approx(0.05 * 10_000)
    assert parts["response"] == pytest.approx(1.5 * 150)


def test_where_calls_cost_the_same_quantiles_are_those_of_their_number():
    free = {f"volume_{severity}": 0.0 for severity in ("minor", "moderate", "major")}
    grid = cost_grid(certain(break_given_call=0.0, **free), SHARES, 311)
    for expected in (0.05, 0.3, 1.0, 4.4, 9.0):
        found = priced(grid, [expected])
        for level, ours in ((0.5, found.p50), (0.9, found.p90)):
            calls = stats.poisson(expected).ppf(level)
            assert ours[0] / 225 == pytest.approx(calls, abs=0.6)
    assert grid.water == grid.energy == grid.repair == 0


def test_quantiles_hold_the_energy_of_the_water_that_is_lost():
    grid = cost_grid(
        certain(break_given_call=0.0, response_hours=0.0, water_price=0.0), SHARES[::-1], 311
    )
    water = certain(break_given_call=0.0, response_hours=0.0, electricity_price=0.0)
    of_water = cost_grid(water, SHARES[::-1], 311)
    # The same cubic metres, each at another price.
    calls, price = [0.5, 3.0], grid.energy / of_water.water
    np.testing.assert_allclose(priced(grid, calls).p90, price * priced(of_water, calls).p90)


def test_a_quantile_is_0_as_long_as_no_call_is_likelier():
    grid = cost_grid(PRIORS, SHARES, 311)
    clusters = -np.log1p(-np.array([0.0, 0.0999, 0.1001, 0.4999, 0.5001]))
    found = priced(grid, clusters)
    assert (found.p90 > 0).tolist() == [False, False, True, True, True]
    assert (found.p50 > 0).tolist() == [False, False, False, False, True]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 60), min_size=1, max_size=30), st.sampled_from([1.0, 1.4]))
def test_costs_rise_with_calls_and_the_90_percent_quantile_is_not_below_the_median(
    calls: list[float], together: float
):
    found = priced(cost_grid(PRIORS, SHARES, 311, together), sorted(calls))
    for cost in (found.expected, found.p50, found.p90):
        assert (np.diff(cost) >= -1e-9).all()
        assert (cost >= 0).all()
    assert (found.p50 <= found.p90).all()
    total = sum(getattr(found, part) for part in PARTS)
    np.testing.assert_allclose(total, found.expected)


def test_the_mean_goes_with_the_calls_and_quantiles_beyond_the_grid_likewise():
    grid = cost_grid(PRIORS, SHARES, 311)
    found = priced(grid, [0.1, 1.0, MOST_EXPECTED_CLUSTERS, 2 * MOST_EXPECTED_CLUSTERS])
    assert found.expected[1] == pytest.approx(10 * found.expected[0])
    assert found.p90[3] == pytest.approx(2 * found.p90[2])
    # The median of what is mostly nothing is no factor of the mean.
    assert found.p50[0] == 0 < found.p50[1] < found.expected[1] < found.p90[1]


def test_costs_do_not_hang_on_the_order_of_cells():
    grid = cost_grid(PRIORS, SHARES, 311)
    calls = np.random.default_rng(1).gamma(0.5, size=50)
    order = np.random.default_rng(2).permutation(50)
    np.testing.assert_array_equal(priced(grid, calls[order]).p90, priced(grid, calls).p90[order])


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("water_price", {"water"}),
        ("electricity_price", {"energy"}),
        ("head", {"energy"}),
        ("pump_efficiency", {"energy"}),
        ("volume_major", {"water", "energy"}),
        ("repair_cost", {"repair"}),
        ("break_given_call", {"repair"}),
        ("response_hours", {"response"}),
        ("crew_hour", {"response"}),
        ("survey_found", set()),
    ],
)
def test_a_prior_changes_only_the_parts_that_depend_on_it(name: str, moved: set[str]):
    before, after = (
        cost_grid(known, SHARES, 311) for known in (PRIORS, PRIORS.fixed(name, "high"))
    )
    assert {part for part in PARTS if getattr(before, part) != getattr(after, part)} == moved


def test_the_seed_decides_every_draw():
    first, again, other = (cost_grid(PRIORS, SHARES, seed) for seed in (1, 1, 2))
    # At 2 calls the 90 % quantile lies where a break begins to be part of it, and may be either.
    calls = [0.5, 1.0, 4.0]
    np.testing.assert_array_equal(priced(first, calls).p90, priced(again, calls).p90)
    assert (priced(first, calls).p90 != priced(other, calls).p90).all()
    np.testing.assert_allclose(priced(first, calls).p90, priced(other, calls).p90, rtol=0.1)


def test_clusters_of_calls_make_the_bad_weeks_worse_and_leave_the_mean():
    alone, together = (cost_grid(PRIORS, SHARES, 311, size) for size in (1.0, 2.0))
    assert priced(alone, [1.0]).expected == pytest.approx(priced(together, [1.0]).expected)
    assert priced(together, [1.0]).p90[0] > priced(alone, [1.0]).p90[0]


def test_calls_come_together_as_often_as_expected_calls_exceed_their_chance():
    p = np.array([0.1, 0.5, 0.9])
    clusters = -np.log1p(-p)
    assert calls_per_cluster(p, clusters) == 1.0
    assert calls_per_cluster(p, 1.52 * clusters) == 1.5
    assert calls_per_cluster(p, 0.7 * clusters) == 1.0
    assert calls_per_cluster(np.zeros(2), np.zeros(2)) == 1.0
    assert calls_per_cluster(np.ones(1), np.full(1, 40.0)) < 2


def test_without_calls_of_its_own_a_target_has_the_priors_severities():
    np.testing.assert_allclose(severity_shares([0, 0, 0], PRIORS), [0.6, 0.3, 0.1])


def test_many_calls_of_its_own_outweigh_the_priors():
    shares = severity_shares([[10_000, 30_000, 60_000], [0, 0, SHARES_PRIOR_CALLS]], PRIORS)
    np.testing.assert_allclose(shares[0], [0.1, 0.3, 0.6], atol=0.011)
    np.testing.assert_allclose(shares[1], [0.3, 0.15, 0.55], atol=0.011)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 5_000), min_size=3, max_size=3))
def test_shares_are_whole_percents_that_add_up(calls: list[int]):
    shares = severity_shares(calls, PRIORS)
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares * 100, np.round(shares * 100), atol=1e-9)


def test_what_cannot_be_priced_is_refused():
    grid = cost_grid(PRIORS, SHARES, 311)
    for calls in ([-0.1], [np.nan], [np.inf]):
        with pytest.raises(ValueError, match="negative or unknown"):
            priced(grid, calls)
    with pytest.raises(ValueError, match="do not add up"):
        cost_grid(PRIORS, np.array([0.5, 0.4, 0.0]), 311)
    with pytest.raises(ValueError, match="less than 1"):
        cost_grid(PRIORS, SHARES, 311, 0.5)
    with pytest.raises(ValueError, match="no counts of"):
        severity_shares([1, 2], PRIORS)
    none = {f"share_{severity}": (0.0, 0.0, 0.0) for severity in ("minor", "moderate", "major")}
    with pytest.raises(ValueError, match="are all 0"):
        severity_shares([0, 0, 0], with_ends(**none))
