"""Restricted times and pseudo-observations: against brute force, and at their edges."""

import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from city311_assets.causal.methods.outcomes import is_mature, pseudo_observations, restricted

TAU = 720.0


def kaplan_meier_area(time: np.ndarray, is_closed: np.ndarray, tau: float) -> float:
    """The area under the curve of statsmodels up to tau, held after its last step."""
    if not is_closed.any():
        return tau
    curve = SurvfuncRight(time, is_closed.astype(float))
    times = np.asarray(curve.surv_times)
    is_before = times < tau
    steps = np.array([0.0, *times[is_before], tau])
    heights = np.array([1.0, *np.asarray(curve.surv_prob)[is_before]])
    return float(np.sum(np.diff(steps) * heights))


def left_out_one_by_one(time: np.ndarray, is_closed: np.ndarray, tau: float) -> np.ndarray:
    size = len(time)
    whole = kaplan_meier_area(time, is_closed, tau)
    others = [np.delete(np.arange(size), row) for row in range(size)]
    left = [kaplan_meier_area(time[rest], is_closed[rest], tau) for rest in others]
    return size * whole - (size - 1) * np.array(left)


def cases(
    size: int, seed: int, *, scale: float = 400.0, unit: float = 24.0
) -> tuple[np.ndarray, np.ndarray]:
    """Observed times, in whole units so that many are tied, and whether they end in a closing."""
    rng = np.random.default_rng(seed)
    hours = np.ceil(rng.exponential(scale, size) / unit) * unit
    observed = np.ceil(rng.uniform(0, 3 * TAU, size) / unit) * unit
    return np.minimum(hours, observed), hours <= observed


def test_the_restricted_time_is_known_of_closed_cases_and_of_those_open_long_enough():
    hours = np.array([5.0, 900.0, 720.0, np.nan, np.nan, np.nan, 0.0])
    open_hours = np.array([np.nan, 1_000.0, 720.0, 719.9, 720.0, 5_000.0, 0.0])
    expected = [5.0, 720.0, 720.0, np.nan, 720.0, 720.0, 0.0]
    np.testing.assert_array_equal(restricted(hours, open_hours), expected)


def test_a_case_opened_the_horizon_before_the_end_is_mature():
    np.testing.assert_array_equal(is_mature(np.array([719.9, 720.0, 8_000.0])), [False, True, True])
    np.testing.assert_array_equal(is_mature(np.array([23.0, 24.0]), tau=24.0), [False, True])


def test_the_restricted_time_of_every_mature_case_is_known():
    rng = np.random.default_rng(1)
    age, lasts = rng.uniform(0, 2_000, 500), rng.exponential(700, 500)
    hours = np.where(lasts <= age, lasts, np.nan)
    values = restricted(hours, age)
    mature = is_mature(age)
    np.testing.assert_array_equal(values[mature], np.minimum(lasts, TAU)[mature])
    assert np.isnan(values[~mature]).any()


@pytest.mark.parametrize(("size", "seed", "unit"), [(2, 1, 24), (60, 2, 24), (90, 3, 1e-3)])
def test_pseudo_observations_are_those_of_leaving_out_one_by_one(size: int, seed: int, unit: float):
    time, is_closed = cases(size, seed, unit=unit)
    found = pseudo_observations(time, is_closed, np.zeros(size, np.int64), TAU)
    np.testing.assert_allclose(found, left_out_one_by_one(time, is_closed, TAU), rtol=1e-9)


@pytest.mark.parametrize(
    ("time", "is_closed"),
    [
        ([1, 2, 3], [True, True, True]),
        ([3, 3, 3], [True, True, True]),
        ([1, 3, 9], [True, False, True]),
        ([1, 3, 10, 10], [False, True, True, False]),
        ([1, 2, 4, 4, 9.99], [False, True, True, False, False]),
        ([0, 0, 5, 12], [True, False, True, True]),
        ([4, 10], [True, False]),
    ],
    ids=["all close", "at once", "one lasts", "at tau", "held", "at once opened", "last reaches"],
)
def test_pseudo_observations_hold_at_the_edges(time: list[float], is_closed: list[bool]):
    times, ends = np.array(time, float), np.array(is_closed)
    found = pseudo_observations(times, ends, np.zeros(len(times), np.int64), 10.0)
    np.testing.assert_allclose(found, left_out_one_by_one(times, ends, 10.0), atol=1e-12)


def test_without_censoring_a_pseudo_observation_is_the_restricted_time():
    time = np.random.default_rng(4).exponential(500, 300)
    is_closed = time < 1_000  # beyond the horizon it does not matter how a case ends
    found = pseudo_observations(time, is_closed, np.arange(300) % 3, TAU)
    np.testing.assert_allclose(found, np.minimum(time, TAU), rtol=1e-9)


def test_groups_are_computed_apart_in_any_order_and_unit():
    time, is_closed = cases(400, 5)
    groups = np.random.default_rng(6).integers(-3, 4, 400)
    found = pseudo_observations(time, is_closed, groups, TAU)
    for group in np.unique(groups):
        chosen = groups == group
        alone = pseudo_observations(time[chosen], is_closed[chosen], groups[chosen], TAU)
        np.testing.assert_allclose(found[chosen], alone)
    order = np.random.default_rng(7).permutation(400)
    moved = pseudo_observations(time[order], is_closed[order], groups[order], TAU)
    np.testing.assert_allclose(moved, found[order])
    np.testing.assert_allclose(
        pseudo_observations(time / 24, is_closed, groups, TAU / 24), found / 24
    )


def test_their_mean_is_the_restricted_mean_of_the_whole_time():
    rng = np.random.default_rng(8)
    lasts, observed = rng.exponential(400, 40_000), rng.uniform(0, 2_000, 40_000)
    groups = np.zeros(40_000, np.int64)
    found = pseudo_observations(np.minimum(lasts, observed), lasts <= observed, groups, TAU)
    assert found.mean() == pytest.approx(400 * (1 - np.exp(-TAU / 400)), abs=5)
    assert found.mean() == pytest.approx(np.minimum(lasts, TAU).mean(), abs=4)


def test_a_curve_that_ends_too_early_is_not_held_up_to_the_horizon():
    time, is_closed = np.array([100.0, 200.0, 300.0]), np.array([True, True, False])
    groups = np.zeros(3, np.int64)
    assert np.isnan(pseudo_observations(time, is_closed, groups, TAU)).all()
    assert np.isfinite(pseudo_observations(time, is_closed, groups, 300.0)).all()
    beside = pseudo_observations(
        np.append(time, 5.0), np.append(is_closed, True), groups=np.array([0, 0, 0, 1])
    )
    assert np.isnan(beside).tolist() == [True, True, True, False]


def test_no_case_has_no_outcome():
    nothing = np.empty(0)
    assert restricted(nothing, nothing).shape == (0,)
    assert pseudo_observations(nothing, nothing > 0, nothing.astype(np.int64)).shape == (0,)


def test_a_case_closed_before_it_opened_is_refused_by_its_row():
    with pytest.raises(ValueError, match=r"1 hours to close are negative, first in rows \[1\]"):
        restricted(np.array([1.0, -0.5]), np.array([1.0, 1.0]))
    with pytest.raises(ValueError, match=r"1 hours of an open case are negative"):
        restricted(np.array([np.nan]), np.array([-1.0]))
    with pytest.raises(ValueError, match=r"1 times are negative"):
        pseudo_observations(np.array([-1.0]), np.array([True]), np.array([0]))


@pytest.mark.parametrize("tau", [0.0, -1.0, np.inf, np.nan])
def test_a_horizon_that_is_none_is_refused(tau: float):
    one = np.ones(1)
    for asked in (
        lambda: restricted(one, one, tau),
        lambda: is_mature(one, tau),
        lambda: pseudo_observations(one, one > 0, one.astype(np.int64), tau),
    ):
        with pytest.raises(ValueError, match="it must be above 0 and finite"):
            asked()


def test_arrays_that_do_not_fit_and_missing_times_are_refused():
    with pytest.raises(ValueError, match=r"shapes differ: hours \(2,\), open_hours \(3,\)"):
        restricted(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="pass one of each a case"):
        pseudo_observations(np.ones(2), np.ones(2, bool), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="1 times are missing"):
        pseudo_observations(np.array([np.nan]), np.ones(1, bool), np.zeros(1, np.int64))
