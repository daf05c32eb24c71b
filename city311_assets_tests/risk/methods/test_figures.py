"""Figures of forecasts: against scikit-learn, brute force, planted truths, and at their edges."""

from dataclasses import fields

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss
from sklearn.metrics import log_loss as reference_log_loss

from city311_assets.risk.methods.figures import (
    THRESHOLDS,
    Figures,
    average_precision,
    by_group,
    calibration_slope,
    decision_curve,
    figures,
    log_loss,
    reliability,
)
from city311_assets.warehouse.tables.risk import EVALUATIONS, FIGURES

CELLS, DAYS = 150, 28
DAY = np.repeat(np.arange(DAYS), CELLS)
CELL = np.tile(np.arange(CELLS), DAYS)


def logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)


def city(seed: int = 1, boldness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts and events of a city that is `boldness` times as sure of itself as it may be."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(1, 8, CELLS * DAYS) * 0.98 + 0.01
    said = 1 / (1 + np.exp(-boldness * logit(truth)))
    return said, rng.random(CELLS * DAYS) < truth


def judged(p: np.ndarray, y: np.ndarray, seed: int = 5) -> Figures:
    return figures(p, y, DAY, CELL, np.full(len(p), 0.1), seed=seed)


def values(found: Figures) -> list[float]:
    return [float(getattr(found, f.name)) for f in fields(Figures)]


def test_the_figures_are_the_columns_of_the_table():
    assert [f.name for f in fields(Figures)] == [column.name for column in FIGURES]


def test_scores_are_those_of_scikit_learn_also_where_many_forecasts_are_equal():
    for digits in (16, 2, 1):
        p, y = city()
        p = np.round(p, digits)
        found = judged(p, y)
        assert found.pr_auc == pytest.approx(average_precision_score(y, p), abs=1e-12)
        assert found.brier == pytest.approx(brier_score_loss(y, p), abs=1e-12)
        assert found.log_loss == pytest.approx(reference_log_loss(y, p), rel=1e-9)
    assert (found.cell_days, found.events) == (len(y), y.sum())
    assert (found.base_rate, found.mean_p) == pytest.approx((y.mean(), p.mean()))


def test_skill_is_the_share_of_climatologys_error_that_is_saved():
    p, y = city()
    half_as_wrong = y + (0.3 - y) / np.sqrt(2)
    found = figures(half_as_wrong, y, DAY, CELL, np.full(len(y), 0.3), seed=1)
    assert found.brier_skill == pytest.approx(0.5)
    same = figures(p, y, DAY, CELL, p, seed=1)
    assert same.brier_skill == 0


def test_the_slope_is_that_of_an_unpenalized_logistic_regression():
    p, y = city(boldness=1.6)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    reference.fit(logit(p)[:, None], y)
    assert calibration_slope(p, y) == pytest.approx(reference.coef_[0, 0], rel=1e-5)


@pytest.mark.parametrize("boldness", [0.5, 1.0, 2.0])
def test_a_forecast_too_bold_by_a_factor_has_the_slope_of_one_over_it(boldness: float):
    found = [calibration_slope(*city(seed, boldness)) for seed in range(20)]
    assert np.mean(np.array(found, float)) == pytest.approx(1 / boldness, rel=0.04)


def test_there_is_no_slope_where_none_fits_best():
    p, y = city()
    assert calibration_slope(p, np.zeros(len(y), bool)) is None
    assert calibration_slope(p, np.ones(len(y), bool)) is None
    assert calibration_slope(np.full(len(y), 0.1), y) is None
    assert calibration_slope([0.1, 0.2, 0.3, 0.4], [False, False, True, True]) is None
    assert calibration_slope([0.0, 0.0, 1.0, 1.0], [False, True, False, True]) is not None


def brute_top(p: np.ndarray, y: np.ndarray, cell: np.ndarray, share: float) -> tuple[float, float]:
    hits = looks = 0
    for day in range(DAYS):
        rows = np.flatnonzero(np.equal(DAY, day))
        ordered = sorted(rows, key=lambda row: (-p[row], cell[row]))
        chosen = ordered[: int(np.ceil(share * len(rows)))]
        hits += sum(bool(y[row]) for row in chosen)
        looks += len(chosen)
    return hits / looks, hits / int(y.sum())


@pytest.mark.parametrize("digits", [16, 1])
def test_the_top_of_each_day_is_that_of_brute_force_and_ties_go_to_the_lower_cell(digits: int):
    p, y = city()
    p = np.round(p, digits)
    found = judged(p, y)
    narrow = (found.precision_top_1pct, found.recall_top_1pct)
    assert narrow == pytest.approx(brute_top(p, y, CELL, 0.01))
    wide = (found.precision_top_5pct, found.recall_top_5pct)
    assert wide == pytest.approx(brute_top(p, y, CELL, 0.05))


def test_cells_are_compared_as_whole_numbers_of_64_bits():
    first = 0x8926_6470_0003_FFFF
    cells = np.array([first + 1, first], np.uint64)
    found = figures([0.1, 0.1], [False, True], [0, 0], cells, [0.1, 0.1], seed=1)
    assert found.precision_top_1pct == 1


def test_the_calibration_error_is_that_of_brute_force_bins():
    p, y = city(boldness=1.5)
    order = np.argsort(p)
    bins = np.array_split(order, 10)
    expected = sum(len(rows) / len(p) * abs(p[rows].mean() - y[rows].mean()) for rows in bins)
    assert judged(p, y).ece == pytest.approx(expected, abs=1e-12)
    rows = reliability(p, y)
    assert [row["cell_days"] for row in rows] == [len(rows) for rows in bins]
    for name, of in (("mean_p", p), ("event_rate", y)):
        np.testing.assert_allclose([row[name] for row in rows], [of[r].mean() for r in bins])


def test_one_forecast_for_all_has_the_error_of_its_mean():
    _, y = city()
    found = judged(np.full(len(y), 0.3), y)
    assert found.ece == pytest.approx(0.3 - y.mean())
    rates = [row["event_rate"] for row in reliability(np.full(len(y), 0.3), y)]
    np.testing.assert_allclose(rates, y.mean())


@pytest.mark.parametrize("digits", [16, 1])
def test_the_order_of_rows_decides_nothing(digits: int):
    p, y = city()
    p = np.round(p, digits)
    had = np.random.default_rng(2).random(len(p)) < 0.3
    ward = pl.Series([None if c % 7 == 0 else f"{c % 7}" for c in CELL.tolist()])
    order = np.random.default_rng(3).permutation(len(p))
    moved = figures(
        p[order], y[order], DAY[order] + 20_000, CELL[order], np.full(len(p), 0.1), seed=5
    )
    np.testing.assert_allclose(values(moved), values(judged(p, y)), rtol=1e-9, atol=1e-12)
    for one, other in (
        (reliability(p, y), reliability(p[order], y[order])),
        (by_group(p, y, ward), by_group(p[order], y[order], ward[order.tolist()])),
        (decision_curve(p, y, had), decision_curve(p[order], y[order], had[order])),
    ):
        for row, twin in zip(one, other, strict=True):
            assert row == pytest.approx(twin)


def overlapping(seed: int, boldness: float) -> tuple[Figures, float]:
    """Judge a city whose days share what they forecast; also return its true calibration error."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(1, 8, CELLS) * 0.85 + 0.01
    calls = rng.poisson(-np.log1p(-truth) / 7, (DAYS + 7, CELLS)).cumsum(axis=0)
    y = (calls[7:] > calls[:-7]).ravel()
    p = np.tile(1 / (1 + np.exp(-boldness * logit(truth))), DAYS)
    bins = np.array_split(np.argsort(p, kind="stable"), 10)
    wrong = sum(abs((p - np.tile(truth, DAYS))[rows].sum()) for rows in bins) / len(p)
    return judged(p, y, seed), float(wrong)


@pytest.mark.parametrize("boldness", [1.0, 1.1, 1.5])
def test_the_interval_holds_the_true_error_although_days_share_their_labels(boldness: float):
    found = [overlapping(seed, boldness) for seed in range(60)]
    held = [one.ece_low <= wrong + 1e-12 <= one.ece_high for one, wrong in found]
    assert np.mean(held) >= 0.85
    assert all(one.ece_low <= one.ece <= one.ece_high for one, _ in found)


def test_a_forecast_that_is_right_may_be_without_error_and_a_wrong_one_may_not():
    assert sum(judged(*city(seed)).ece_low > 0 for seed in range(40)) <= 4
    assert all(judged(*city(seed, boldness=2.0)).ece_low > 0 for seed in range(40))


def test_the_same_seed_gives_the_same_interval_and_another_nearly_so():
    p, y = city()
    one, same, other = (judged(p, y, seed) for seed in (5, 5, 6))
    assert one == same
    assert one.ece_high != other.ece_high
    assert one.ece_high == pytest.approx(other.ece_high, rel=0.1)


def test_of_one_day_the_interval_is_everything():
    found = figures([0.1, 0.4], [True, False], [3, 3], [1, 2], [0.2, 0.2], seed=1)
    assert (found.ece_low, found.ece_high) == (0, 1)


def test_a_city_without_events_has_figures_and_no_recall():
    p, y = city()
    found = judged(p, y & False)
    assert (found.events, found.base_rate) == (0, 0)
    assert found.pr_auc is found.calibration_slope is None
    assert found.recall_top_1pct is found.recall_top_5pct is None
    assert (found.precision_top_1pct, found.brier) == (0, pytest.approx(np.mean(p**2)))
    sure = figures(p, y & False, DAY, CELL, np.zeros(len(p)), seed=1)
    assert sure.brier_skill == 0


def test_a_certain_forecast_that_is_wrong_has_a_finite_loss():
    assert log_loss([0.0, 1.0], [True, False]) == pytest.approx(36.04, abs=0.01)
    assert log_loss([0.0, 1.0], [False, True]) == pytest.approx(0, abs=1e-12)


def test_wards_have_their_own_means_and_cells_without_one_come_last():
    rows = by_group([0.1, 0.3, 0.5, 0.7], [False, True, True, True], ["2", None, "1", "2"])
    assert [row["ward"] for row in rows] == ["1", "2", None]
    assert rows[1] == pytest.approx(
        {"ward": "2", "mean_p": 0.4, "event_rate": 0.5, "cell_days": 2}, nan_ok=True
    )


def test_rows_fit_the_columns_of_the_table():
    p, y = city()
    wards = ["1"] * len(p)
    frame = pl.DataFrame(
        {
            "reliability": [reliability(p, y)],
            "by_ward": [by_group(p, y, wards)],
            "decision_curve": [decision_curve(p, y, y)],
        }
    )
    for column in EVALUATIONS.columns:
        if column.name in frame.columns:
            names = [part.split()[0] for part in column.type[7:-3].split(", ")]
            (row,) = frame[column.name].to_list()
            assert list(row[0]) == names


def test_the_decision_curve_is_that_of_brute_force():
    p, y = city()
    p[:5] = THRESHOLDS[3]
    had = np.random.default_rng(2).random(len(p)) < 0.3
    for row in decision_curve(p, y, had):
        t = row["threshold"]
        for name, acts in (
            ("net_benefit", p >= t),
            ("last_year", had),
            ("everywhere", np.ones(len(p), bool)),
        ):
            expected = (np.sum(acts & y) - np.sum(acts & ~y) * t / (1 - t)) / len(p)
            assert row[name] == pytest.approx(expected, abs=1e-12)


def test_a_true_forecast_nets_no_less_than_acting_everywhere_or_nowhere():
    rng = np.random.default_rng(4)
    p = rng.beta(1, 8, 200_000)
    rows = decision_curve(p, rng.random(len(p)) < p, np.zeros(len(p)))
    assert all(row["net_benefit"] >= max(0, row["everywhere"]) - 2e-4 for row in rows)
    assert all(row["last_year"] == 0 for row in rows)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="no forecast to judge"):
        average_precision([], [])
    with pytest.raises(ValueError, match=r"2 of 3 forecasts are no probabilities: \[1.5, nan\]"):
        log_loss([0.5, 1.5, np.nan], [True, True, False])
    with pytest.raises(ValueError, match=r"is_event has shape \(1,\), the probabilities \(2,\)"):
        reliability([0.5, 0.5], [True])
    with pytest.raises(ValueError, match=r"day_index has shape"):
        figures([0.5, 0.5], [True, False], [1], [1, 2], [0.5, 0.5], seed=1)
    with pytest.raises(ValueError, match=r"1 wards for 2 probabilities"):
        by_group([0.5, 0.5], [True, False], ["1"])
    with pytest.raises(ValueError, match=r"thresholds \[1.0\] have no odds"):
        decision_curve([0.5], [True], [True], [0.5, 1.0])


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.02, 0.5, 0.97, 1.0]), st.booleans(), st.integers(0, 9)),
        min_size=1,
        max_size=40,
    )
)
def test_figures_of_anything_lie_where_they_can(rows: list[tuple[float, bool, int]]):
    p, y, day = (np.array(column) for column in zip(*rows, strict=True))
    found = figures(p, y, day, np.arange(len(p)), np.full(len(p), 0.5), seed=1)
    assert 0 <= found.ece_low <= found.ece <= found.ece_high <= 1
    assert 0 <= found.precision_top_1pct <= 1
    assert found.brier <= 1
    assert sum(row["cell_days"] for row in reliability(p, y)) == len(p)
