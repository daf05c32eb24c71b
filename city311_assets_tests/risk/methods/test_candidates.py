"""Candidates: a planted city recovered, nothing found where nothing is, and what each must keep."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from city311_assets.risk.methods.calibration import expit
from city311_assets.risk.methods.candidates import (
    BASELINES,
    BOOSTING,
    KINDS,
    LEARNERS,
    UNFITTED,
    Fitted,
    LogisticModel,
    Rows,
    SeasonCounts,
    climatology,
    fit_candidates,
    gradient_boosting,
    logistic,
    long_run_rate,
    months_of_year,
    parameters,
    recent_rate,
    state_hash,
    unfitted,
)
from city311_assets.risk.methods.feature_names import FEATURES, INCREASING
from city311_assets.risk.methods.figures import Figures, figures
from city311_assets.risk.methods.gate import Standing, promoted
from city311_assets_tests.risk.planted import City, planted

# Of the places of days: training, calibration a week later, and the rest after another week.
TRAINED, CALIBRATED = 650, (657, 685)
FROM = 692


def fits(city: City, training: Rows | None = None) -> dict[str, Fitted]:
    return fit_candidates(
        training or city.rows(0, TRAINED, 5),
        city.counts(0, TRAINED),
        city.rows(*CALIBRATED),
        name="leaks-2026-01",
        horizon_days=7,
        seed=1,
    )


@lru_cache
def fitted_city() -> tuple[City, dict[str, Fitted]]:
    """A city of 631 cells whose calls follow a known intensity, and its candidates."""
    city = planted(900, steps=14)
    return city, fits(city)


def judged(city: City, candidates: dict[str, Fitted]) -> dict[str, Figures]:
    test = city.rows(FROM, len(city.after))
    p = {kind: one.p(test.x, test.cells, test.days) for kind, one in candidates.items()}
    p["truth"] = city.truth(FROM, len(city.after))
    return {
        kind: figures(
            of, test.is_event, test.days.astype(int), test.cells, p["climatology"], seed=1
        )
        for kind, of in p.items()
    }


def standings(found: dict[str, Figures]) -> dict[str, Standing]:
    return {
        kind: Standing(one.brier, one.precision_top_1pct, one.cell_days, 1)
        for kind, one in found.items()
        if kind in KINDS
    }


def test_the_planted_intensity_is_recovered_and_its_model_serves():
    found = judged(*fitted_city())
    for kind in LEARNERS:
        slope = found[kind].calibration_slope
        assert slope is not None
        assert 0.9 < slope < 1.1
        assert found[kind].brier_skill > 0.05
        assert found["truth"].brier < found[kind].brier
        assert found[kind].mean_p == pytest.approx(found[kind].base_rate, rel=0.15)
    assert promoted(standings(found))[0] in LEARNERS


def test_the_model_is_nearer_to_the_truth_than_any_baseline():
    city, candidates = fitted_city()
    test, truth = city.rows(FROM, len(city.after)), city.truth(FROM, len(city.after))
    error = {
        kind: float(np.mean((one.p(test.x, test.cells, test.days) - truth) ** 2))
        for kind, one in candidates.items()
    }
    assert max(error[kind] for kind in LEARNERS) < min(error[kind] for kind in BASELINES)


def test_a_useless_signal_is_served_by_a_baseline_that_says_its_name():
    city = planted(760, steps=6, is_useless=True)
    found = judged(city, fits(city))
    kind, why = promoted(standings(found))
    assert kind in BASELINES
    assert why.startswith(f"{kind} serves: ")
    assert abs(found["logistic"].brier_skill) < 0.02


def test_labels_dealt_out_anew_teach_nothing():
    city = planted(760, steps=6)
    training = city.rows(0, TRAINED, 5)
    dealt = replace(training, calls=np.random.default_rng(1).permutation(training.calls))
    test = city.rows(FROM, len(city.after))
    for model in (logistic(dealt), gradient_boosting(dealt, 1)):
        p = expit(model.logit(test.x))
        assert np.corrcoef(p, city.truth(FROM, len(city.after)))[0, 1] < 0.2
        assert p.std() < 0.5 * city.truth(FROM, len(city.after)).std()


def test_the_same_rows_make_the_same_version_and_others_another(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(BOOSTING, "max_iter", 10)
    city = planted(760, steps=4)
    training = city.rows(0, TRAINED, 5)
    one, again = fits(city), fits(city)
    assert {k: f.version for k, f in one.items()} == {k: f.version for k, f in again.items()}
    other = fits(city, replace(training, calls=1 - np.minimum(training.calls, 1)))
    for kind in LEARNERS:
        assert other[kind].version != one[kind].version
        assert one[kind].version.startswith(f"leaks-2026-01-{kind}-")
        assert len(one[kind].version.rsplit("-", 1)[1]) == 8


def test_a_version_hangs_on_all_that_decides_an_answer():
    fitted = fitted_city()[1]["logistic"]
    assert isinstance(fitted.model, LogisticModel)
    calibrator = fitted.calibrator
    others = [
        replace(fitted, events_per_unit=2.0),
        replace(fitted, kind="other"),
        replace(fitted, model=replace(fitted.model, intercept=0.0)),
        replace(fitted, model=replace(fitted.model, fill=fitted.model.fill + 1)),
        replace(fitted, calibrator=replace(calibrator, parameters=calibrator.parameters + 1)),
        replace(fitted, calibrator=replace(calibrator, above=calibrator.above + 1)),
    ]
    assert len({state_hash(one) for one in [fitted, *others]}) == len(others) + 1


def test_more_calls_lately_never_lower_the_trees_risk():
    city, candidates = fitted_city()
    x = city.rows(700, 704).x
    trees = candidates["gradient_boosting"]
    before, moved = trees.logit(x), 0.0
    for name in INCREASING:
        more = x.copy()
        more[:, FEATURES.index(name)] *= 3
        more[:, FEATURES.index(name)] += 2
        after = trees.logit(more)
        assert (after >= before - 1e-12).all(), name
        moved += float((after - before).sum())
    assert moved > 0


def test_as_many_calls_are_expected_as_came():
    city, candidates = fitted_city()
    block = city.rows(*CALIBRATED)
    for one in candidates.values():
        expected = one.expected_events(one.p(block.x, block.cells, block.days))
        assert expected.sum() == pytest.approx(block.calls.sum())
        assert 0.8 < one.events_per_unit < 1.5


def test_every_probability_lies_in_its_interval():
    city, candidates = fitted_city()
    rows = city.rows(700, 710)
    for one in candidates.values():
        p = one.p(rows.x, rows.cells, rows.days)
        low, high = one.interval(p)
        assert ((low >= 0) & (low <= p) & (p <= high) & (high <= 1)).all()
        assert (high > low).mean() > 0.99


def test_the_logistic_is_that_of_scikit_learn_on_the_same_columns():
    training = planted(760, steps=4).rows(370, TRAINED, 5)
    model = logistic(training)
    z = model.standardised(training.x)
    reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=2_000).fit(z, training.is_event)
    np.testing.assert_allclose(model.coefficients, reference.coef_[0], atol=1e-4)
    assert model.intercept == pytest.approx(reference.intercept_[0], abs=1e-4)
    is_known = ~np.isnan(training.x).any(axis=0)
    np.testing.assert_allclose(z.mean(axis=0)[is_known], 0, atol=1e-6)
    varies = is_known & (np.ptp(training.x, axis=0) > 0)
    np.testing.assert_allclose(z.std(axis=0)[varies], 1, rtol=1e-6)


def test_an_unknown_value_counts_as_the_mean_of_the_known_ones():
    training = planted(760, steps=4).rows(370, TRAINED, 5)
    model = logistic(training)
    column = FEATURES.index("temperature_min_c")
    unknown, mean = training.x[:50].copy(), training.x[:50].copy()
    unknown[:, column] = np.nan
    mean[:, column] = np.nanmean(training.x[:, column].astype(np.float64))
    np.testing.assert_allclose(model.logit(unknown), model.logit(mean), atol=1e-5)


def test_a_unit_of_weather_decides_nothing():
    training = planted(760, steps=4).rows(370, TRAINED, 5)
    fahrenheit = training.x.copy()
    columns = [FEATURES.index(name) for name in ("temperature_min_c", "temperature_max_c")]
    fahrenheit[:, columns] = fahrenheit[:, columns] * 1.8 + 32
    other = replace(training, x=fahrenheit)
    ours, theirs = logistic(training).logit(training.x), logistic(other).logit(fahrenheit)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_columns_that_are_wholly_unknown_or_alike_do_no_harm():
    training = planted(760, steps=4).rows(370, TRAINED, 5)
    x = training.x.copy()
    x[:, FEATURES.index("rain_3d_mm")] = np.nan
    x[:, FEATURES.index("weekday")] = 3
    for model in (logistic(replace(training, x=x)), gradient_boosting(replace(training, x=x), 1)):
        known = x.copy()
        known[:, FEATURES.index("rain_3d_mm")] = 12
        np.testing.assert_array_equal(model.logit(x), model.logit(known))


def test_the_long_run_rate_is_the_chance_of_a_call_at_that_rate():
    x = np.zeros((3, len(FEATURES)), np.float32)
    x[:, FEATURES.index("long_run_rate")] = [0.0, 0.01, 2.0]
    p = expit(long_run_rate(7).logit(x))
    np.testing.assert_allclose(p, [1e-6, 1 - np.exp(-0.07), 1 - np.exp(-14)], rtol=1e-5)
    plain = unfitted(7)
    np.testing.assert_allclose(plain.p(x), p, rtol=1e-9)
    assert (plain.version, plain.kind) == (UNFITTED, "long_run_rate")
    np.testing.assert_allclose(plain.expected_events(p), [1e-6, 0.07, 14], rtol=1e-5)


def test_the_recent_rate_shrinks_by_what_chance_explains():
    rng = np.random.default_rng(1)
    column = FEATURES.index("decay_30d")
    weights = 0.5 ** (np.arange(400) / 30)

    def decayed(rate: np.ndarray) -> Rows:
        x = np.zeros((rate.size, len(FEATURES)), np.float32)
        x[:, column] = rng.poisson(rate[:, None], (rate.size, 400)) @ weights
        none = np.zeros(rate.size, np.int64)
        return Rows(x, none.astype(np.uint64), none.astype("datetime64[D]"), none)

    alike = recent_rate(decayed(np.full(4_000, 0.03)), 7)
    assert alike.slope * weights.sum() < 0.05 * 7
    assert expit(alike.logit(np.zeros((1, len(FEATURES)), np.float32)))[0] == pytest.approx(
        1 - np.exp(-0.21), rel=0.05
    )
    rate = rng.gamma(0.5, 0.2, 4_000)
    apart = recent_rate(rows := decayed(rate), 7)
    assert apart.slope * weights.sum() > 0.9 * 7
    expected = -np.log1p(-expit(apart.logit(rows.x)))
    assert expected.mean() == pytest.approx(7 * rate.mean(), rel=0.03)


def season(rate: np.ndarray, weeks: int, seed: int = 1) -> SeasonCounts:
    """Counts of days of so many weeks a month, with the true chance of a week of each."""
    rng = np.random.default_rng(seed)
    events = rng.binomial(weeks, rate).astype(np.float64) * 7
    return SeasonCounts(
        np.arange(len(rate), dtype=np.uint64), events, np.full(rate.shape, weeks * 7.0)
    )


def test_a_planted_season_of_cells_is_found():
    rng = np.random.default_rng(2)
    cell = rng.beta(0.6, 5.0, 800)
    month = 1 + 0.5 * np.cos(np.arange(12) / 12 * 2 * np.pi)
    rate = np.clip(np.outer(cell, month), 0, 0.95)
    model = climatology(season(rate, 13), 7)
    p = expit(model.log_odds[:-1])
    raw = season(rate, 13).events / season(rate, 13).days
    assert np.mean((p - rate) ** 2) < 0.25 * np.mean((raw - rate) ** 2)
    np.testing.assert_allclose(p.mean(axis=0) / p.mean(), month / month.mean(), rtol=0.08)


def test_cells_that_are_alike_are_all_the_citys_rate():
    p = expit(climatology(season(np.full((500, 12), 0.1), 13), 7).log_odds)
    np.testing.assert_allclose(p, 0.1, atol=0.03)


def test_a_cell_of_which_nothing_is_known_has_the_citys_season():
    model = climatology(season(np.full((50, 12), 0.2), 13), 7)
    days = np.array(["2025-01-15", "2025-07-15"], "datetime64[D]")
    strange = model.logit(np.array([10**6, 10**6], np.uint64), days)
    np.testing.assert_array_equal(strange, model.log_odds[-1, [0, 6]])
    known = model.logit(np.array([3, 3], np.uint64), days)
    np.testing.assert_array_equal(known, model.log_odds[3, [0, 6]])


def test_the_month_that_counts_is_that_of_the_days_forecast():
    days = np.array(["2025-01-27", "2025-01-28", "2025-12-31"], "datetime64[D]")
    assert months_of_year(days, 4).tolist() == [0, 1, 0]


def test_a_month_never_seen_is_a_mean_month():
    counts = season(np.full((50, 12), 0.2), 13)
    is_seen = np.arange(12) < 2
    half = SeasonCounts(counts.cells, counts.events * is_seen, counts.days * is_seen)
    p = expit(climatology(half, 7).log_odds)
    np.testing.assert_allclose(p[:, 5:], 0.2, atol=0.05)


def test_from_few_events_nothing_is_learned():
    city = planted(760, steps=4, weekly=1e-4)
    found = fits(city)
    assert set(found) == {*BASELINES}
    rows = city.rows(FROM, len(city.after))
    for one in found.values():
        p = one.p(rows.x, rows.cells, rows.days)
        assert ((p > 0) & (p < 0.01)).all()


def test_without_rows_nothing_is_fitted():
    city = planted(760, steps=4)
    with pytest.raises(ValueError, match="0 rows to train on"):
        fits(city, city.rows(0, 0))


def test_other_columns_and_a_climatology_without_its_cells_are_refused():
    city, candidates = fitted_city()
    x = city.rows(700, 701).x
    with pytest.raises(ValueError, match=f"reads {len(FEATURES)} columns"):
        candidates["logistic"].p(x[:, 1:])
    with pytest.raises(ValueError, match="give the rows' cells and days"):
        candidates["climatology"].p(x)


def test_one_day_may_be_given_for_all_rows():
    city, candidates = fitted_city()
    rows = city.rows(700, 701)
    one = candidates["climatology"]
    np.testing.assert_array_equal(
        one.p(rows.x, rows.cells, rows.days), one.p(rows.x, rows.cells, rows.days[0].item())
    )


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_told_of_every_kind(kind: str):
    told = parameters(fitted_city()[1][kind])
    assert {"calibration", "events_per_unit"} < set(told)
