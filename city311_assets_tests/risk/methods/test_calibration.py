"""Calibration: planted distortions undone, the choice among curves, and how sure they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from city311_assets.risk.methods.calibration import (
    CURVES,
    FITS,
    MOST_BINS,
    Calibrator,
    binned,
    calibrated,
    calibrated_in_the_large,
    chosen_kind,
    expit,
    logistic_coefficients,
    logit,
    uncalibrated,
)

DAYS = np.datetime64("2026-01-01") + np.arange(28)


def block(
    size: int = 40_000, slope: float = 1.0, shift: float = 0.0, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Log odds of which the true ones are a line, what came, the days, and true probabilities."""
    rng = np.random.default_rng(seed)
    s = rng.normal(-2.5, 1.2, size)
    p = expit(slope * s + shift)
    return s, rng.random(size) < p, rng.choice(DAYS, size), p


@pytest.mark.parametrize(("slope", "shift"), [(0.5, -1.0), (1.0, 0.0), (1.8, 0.7)])
def test_a_planted_line_is_found_again(slope: float, shift: float):
    s, y, day, p = block(slope=slope, shift=shift)
    found = calibrated(s, y, day, seed=1)
    np.testing.assert_allclose(found.p(s).mean(), p.mean(), rtol=0.03)
    assert np.abs(found.p(s) - p).mean() < 0.1 * p.mean()


def test_the_sigmoid_is_that_of_a_logistic_regression():
    s, y, day, _ = block(slope=0.7, shift=-0.4)
    bins = binned(s, y, day)
    found = FITS["sigmoid"](bins.centre, *bins.whole)
    reference = LogisticRegression(C=np.inf).fit(s[:, None], y)
    np.testing.assert_allclose(found, [reference.coef_[0, 0], reference.intercept_[0]], atol=0.02)


def test_beta_undoes_what_no_sigmoid_can():
    rng = np.random.default_rng(2)
    s = rng.normal(0, 2, 60_000)
    truth = expit(CURVES["beta"](np.array([0.4, 1.6, -0.5]), s))
    y = rng.random(s.size) < truth
    bins = binned(s, y, rng.choice(DAYS, s.size))
    errors = {
        kind: np.abs(expit(CURVES[kind](FITS[kind](bins.centre, *bins.whole), s)) - truth).mean()
        for kind in ("sigmoid", "beta")
    }
    assert errors["beta"] < 0.01
    assert errors["sigmoid"] > 2 * errors["beta"]


def test_isotonic_passes_through_the_steps_of_isotonic_regression():
    s, y, day, _ = block(slope=0.6)
    bins = binned(s, y, day)
    events, rows = bins.whole
    before, after = FITS["isotonic"](bins.centre, events, rows)
    reference = IsotonicRegression().fit(bins.centre, events / rows, sample_weight=rows)
    steps = reference.predict(bins.centre)
    for value, centre in zip(expit(after)[1:-1], before[1:-1], strict=True):
        of_step = np.isclose(steps, value)
        assert of_step.any()
        assert np.average(bins.centre[of_step], weights=rows[of_step]) == pytest.approx(centre)
    assert (
        np.diff(CURVES["isotonic"](np.stack([before, after]), np.linspace(-9, 5, 500))) > 0
    ).all()


@pytest.mark.parametrize("kind", ["sigmoid", "beta", "isotonic", "none"])
def test_a_curve_never_turns_the_ranking_round(kind: str):
    s, y, day, _ = block(seed=3)
    grid = np.linspace(-20, 20, 400)
    for events in (y, ~y, np.zeros_like(y), np.ones_like(y)):
        bins = binned(s, events, day)
        curve = expit(CURVES[kind](FITS[kind](bins.centre, *bins.whole), grid))
        assert (np.diff(curve) >= -1e-12).all()
        assert ((curve >= 0) & (curve <= 1)).all()


def test_a_signal_that_points_the_wrong_way_becomes_the_base_rate():
    s, y, day, _ = block(slope=-1.0, shift=-4)
    bins = binned(s, y, day)
    slope, level = FITS["sigmoid"](bins.centre, *bins.whole)
    assert slope == 0
    assert expit(level) == pytest.approx(y.mean(), rel=0.01)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_in_the_large_as_many_events_are_forecast_as_came(factor: float):
    s, _, day, _ = block(seed=4)
    truth = -np.expm1(-factor * np.logaddexp(0, s))
    y = np.random.default_rng(5).random(s.size) < truth
    found = calibrated_in_the_large(s, y, day, seed=1)
    assert found.kind == "none"
    assert found.p(s).mean() == pytest.approx(y.mean(), rel=0.002)
    assert found.parameters[0] == pytest.approx(factor, rel=0.06)


def test_blocks_without_events_and_of_nothing_else_stay_between_0_and_1():
    s, y, day, _ = block(size=2_000)
    for events in (np.zeros_like(y), np.ones_like(y)):
        for curve in (calibrated, calibrated_in_the_large):
            p = curve(s, events, day, seed=1).p(s)
            assert ((p > 0) & (p < 1)).all()
            assert abs(p.mean() - events.mean()) < 0.01


@pytest.mark.parametrize("kind", ["sigmoid", "beta"])
def test_of_n_rows_without_an_event_the_chance_is_one_of_n_and_two(kind: str):
    s, y, day, _ = block(size=2_000)
    bins = binned(s, y & False, day)
    p = expit(CURVES[kind](FITS[kind](bins.centre, *bins.whole), s))
    assert p.mean() == pytest.approx(1 / 2_002, rel=0.02)
    assert np.ptp(p) > 0


def test_isotonic_takes_part_from_a_thousand_events_on():
    rng = np.random.default_rng(6)
    s = rng.normal(0, 2, 30_000)
    # Two steps, which neither line nor beta can follow.
    y = rng.random(s.size) < np.where(s < -1, 0.02, np.where(s < 1, 0.3, 0.35))
    day = rng.choice(DAYS, s.size)
    assert chosen_kind(s, y, day) == "isotonic"
    few = rng.random(s.size) < 0.2
    assert y[few & (day < DAYS[10])].sum() < 1_000
    assert chosen_kind(s[few], y[few], day[few]) != "isotonic"


@pytest.mark.parametrize("seed", range(6))
def test_the_days_between_the_halves_choose_nothing(seed: int):
    s, y, day, _ = block(size=4_000, seed=seed)
    is_between = (day >= DAYS[10]) & (day < DAYS[17])
    kind = chosen_kind(s, y, day)
    for bent in (s > -2, s < -4, s > 0, s < -2.5):
        assert chosen_kind(s, np.where(is_between, bent, y), day) == kind


def test_the_interval_holds_the_true_curve_and_shrinks_with_rows():
    widths = []
    for size in (4_000, 64_000):
        s, y, day, _ = block(size=size, slope=0.8, shift=-0.2, seed=9)
        found = calibrated(s, y, day, seed=1)
        low, high = found.interval(p := found.p(s))
        assert (low <= p).all()
        assert (p <= high).all()
        widths.append(float(np.mean(high - low)))
    assert widths[1] < 0.5 * widths[0]
    held = 0
    for seed in range(20):
        s, y, day, p = block(size=6_000, slope=0.8, shift=-0.2, seed=seed)
        found = calibrated_in_the_large(s, y, day, seed=1)
        of = found.p(s)
        low, high = found.interval(of)
        held += low.mean() <= p.mean() <= high.mean()
    assert held >= 16


def test_weeks_that_differ_make_a_wider_interval():
    rng = np.random.default_rng(10)
    s, day = rng.normal(-2.5, 1, 40_000), rng.choice(DAYS, 40_000)
    week = (day - DAYS[0]).astype(int) // 7
    width = {}
    for name, shift in (("alike", np.zeros(4)), ("apart", np.array([-0.8, 0.8, -0.8, 0.8]))):
        y = rng.random(s.size) < expit(s + shift[week])
        found = calibrated(s, y, day, seed=1)
        low, high = found.interval(found.p(s))
        width[name] = (high - low).mean()
    assert width["apart"] > 3 * width["alike"]


def test_order_of_rows_decides_nothing_and_neither_do_two_calls():
    s, y, day, _ = block(size=8_000)
    order = np.random.default_rng(11).permutation(s.size)
    one, other = calibrated(s, y, day, 1), calibrated(s[order], y[order], day[order], 1)
    np.testing.assert_allclose(one.p(s), other.p(s), rtol=1e-9)
    np.testing.assert_allclose(one.interval(one.p(s)), other.interval(one.p(s)), rtol=1e-6)
    again = calibrated(s, y, day, 1)
    np.testing.assert_array_equal(one.parameters, again.parameters)
    np.testing.assert_array_equal(one.above, again.above)


def test_bins_hold_every_row_and_are_fine_where_events_are():
    s, y, day, _ = block()
    bins = binned(s, y, day)
    assert bins.centre.size <= MOST_BINS
    assert (np.diff(bins.centre) > 0).all()
    assert bins.rows.sum() == s.size
    assert bins.events.sum() == y.sum()
    assert bins.rows.sum(axis=0).max() <= 1.01 * s.size / 100
    assert bins.rows.sum(axis=0)[-1] < s.size / 500


def test_equal_log_odds_are_one_bin():
    _, y, day, _ = block(size=500)
    bins = binned(np.full(500, -2.2), y, day)
    assert bins.centre.tolist() == [-2.2]
    assert calibrated(np.full(500, -2.2), y, day, 1).p([-2.2])[0] == pytest.approx(
        y.mean(), abs=0.01
    )


@pytest.mark.parametrize("values", [np.empty(0), np.array([0.0, np.nan])])
def test_nothing_and_unknown_log_odds_are_refused(values: np.ndarray):
    with pytest.raises(ValueError, match="log odds are unknown"):
        binned(values, values > 0, np.repeat(DAYS[:1], values.size))


def test_the_prior_of_coefficients_is_that_of_ridge_regression():
    rng = np.random.default_rng(12)
    x = rng.normal(size=(400, 3))
    y = (rng.random(400) < expit(x @ [1.0, -0.5, 0.0] - 1)).astype(np.float64)
    design = np.column_stack([x, np.ones(400)])
    found = logistic_coefficients(
        design, y, np.ones(400), np.zeros(4), np.array([5.0, 5.0, 5.0, 0.0])
    )
    reference = LogisticRegression(C=1 / 5, tol=1e-10, max_iter=1_000).fit(x, y)
    np.testing.assert_allclose(found[:3], reference.coef_[0], atol=1e-5)
    assert found[3] == pytest.approx(reference.intercept_[0], abs=1e-5)


@given(st.floats(1e-12, 1 - 1e-12))
def test_log_odds_and_probabilities_are_each_others_way_back(p: float):
    assert expit(logit(p)) == pytest.approx(p, rel=1e-6)
    same = uncalibrated()
    assert same.p(logit(p)) == pytest.approx(p, rel=1e-6)
    low, high = same.interval(np.array([p]))
    assert low[0] <= p <= high[0]
    assert high[0] - low[0] < 1e-9


def test_beyond_the_grid_an_interval_is_as_wide_as_at_its_end():
    curve = Calibrator(
        "sigmoid", np.array([1.0, 0.0]), np.array([-2.0, 0.0]), np.full(2, -0.5), np.full(2, 0.3)
    )
    low, high = curve.interval(expit([-6.0, 4.0]))
    np.testing.assert_allclose(logit(low), [-6.5, 3.5])
    np.testing.assert_allclose(logit(high), [-5.7, 4.3])
