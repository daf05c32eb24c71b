"""Trends over twelve months: Mann-Kendall as pymannkendall has it, a class for every history."""

from itertools import product

import numpy as np
import pymannkendall
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from city311_assets.gold.methods.trends import CLASSES, emerging, mann_kendall

RISES, FALLS, NO_TREND = (3.0, 0.01), (-3.0, 0.01), (1.0, 0.4)


@given(arrays(np.float64, (4, 12), elements=st.integers(0, 6).map(float)))
def test_mann_kendall_is_that_of_pymannkendall_with_any_ties(series: np.ndarray):
    found = mann_kendall(series)
    for row, s, z, p in zip(series, found.s, found.z, found.p, strict=True):
        reference = pymannkendall.original_test(row)
        assert s == reference.s
        assert z == pytest.approx(reference.z)
        assert p == pytest.approx(reference.p, abs=1e-12)


def test_a_steady_rise_and_fall_are_trends_and_a_constant_is_none():
    found = mann_kendall([np.arange(12), -np.arange(12), np.ones(12)])
    assert found.s.tolist() == [66, -66, 0]
    assert (found.p[:2] < 1e-4).all()
    assert (found.z[2], found.p[2]) == (0, 1)


def test_noise_has_a_trend_as_seldom_as_it_should():
    found = mann_kendall(np.random.default_rng(1).normal(size=(40_000, 12)))
    assert np.mean(found.p <= 0.05) == pytest.approx(0.05, abs=0.015)


def test_only_the_order_of_the_values_counts():
    series = np.random.default_rng(2).normal(size=(50, 12))
    np.testing.assert_array_equal(mann_kendall(np.exp(series)).s, mann_kendall(series).s)
    np.testing.assert_array_equal(mann_kendall(series[:, ::-1]).s, -mann_kendall(series).s)


def test_a_row_with_a_month_missing_is_refused():
    with pytest.raises(ValueError, match="a month is missing"):
        mann_kendall([[1.0, np.nan, 2.0]])


def became(history: str, trend: tuple[float, float] = NO_TREND) -> str:
    months = np.array([list(history)])
    z, p = trend
    (found,) = emerging(months == "H", months == "C", [z], [p])
    return found


@pytest.mark.parametrize(
    ("history", "trend", "expected"),
    [
        ("...........H", RISES, "new"),
        ("C..........H", NO_TREND, "new"),
        ("..........HH", RISES, "consecutive"),
        ("..HHHHHHHHHH", RISES, "consecutive"),
        ("C........HHH", RISES, "consecutive"),
        (".HHHHHHHHHHH", NO_TREND, "persistent"),
        ("HHHHHHHHHHHH", RISES, "intensifying"),
        ("HHHHH.HHHHHH", FALLS, "diminishing"),
        ("HHHHHHHHHHHH", (3.0, 0.06), "persistent"),
        ("HH...HHH..HH", NO_TREND, "sporadic"),
        ("H..........H", NO_TREND, "sporadic"),
        ("HH..CHHH..HH", NO_TREND, "oscillating"),
        ("HHHHHHHHHHH.", FALLS, "historical"),
        ("HHHHHHHHHHHC", FALLS, "historical"),
        ("HHHHHHHHHH..", FALLS, "none"),
        ("............", RISES, "none"),
        ("CCCCCCCCCCCC", FALLS, "none"),
    ],
)
def test_a_history_has_its_class(history: str, trend: tuple[float, float], expected: str):
    assert became(history, trend) == expected


def test_every_history_has_exactly_one_class():
    state = np.array(list(product((0, 1, 2), repeat=12)), np.int8)
    is_hot, is_cold = state == 1, state == 2
    rows, now, times = np.arange(len(state)), is_hot[:, -1], is_hot.sum(axis=1)
    often, ever_cold = times >= 11, is_cold.any(axis=1)
    # In one run: as many months are hot as lie between the first hot one and now.
    is_one_run = now & (12 - np.argmax(is_hot, axis=1) == times)
    seldom = now & ~often & ~is_one_run
    for z, p in (RISES, FALLS, NO_TREND, (np.nan, np.nan)):
        rises, falls = z > 0 and p <= 0.05, z < 0 and p <= 0.05
        said = {
            "new": is_one_run & (times == 1),
            "consecutive": is_one_run & (times >= 2) & ~often,
            "intensifying": now & often & rises,
            "persistent": now & often & (not rises and not falls),
            "diminishing": now & often & falls,
            "sporadic": seldom & ~ever_cold,
            "oscillating": seldom & ever_cold,
            "historical": ~now & often,
            "none": ~now & ~often,
        }
        assert set(said) == set(CLASSES)
        assert (np.sum(list(said.values()), axis=0) == 1).all()
        found = emerging(is_hot, is_cold, np.full(len(rows), z), np.full(len(rows), p))
        for name, members in said.items():
            np.testing.assert_array_equal(found == name, members)


def test_histories_of_other_shapes_are_refused():
    hot = np.zeros((3, 12), bool)
    with pytest.raises(ValueError, match="shapes differ"):
        emerging(hot, hot[:2], np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="shapes differ"):
        emerging(hot, hot, np.zeros(2), np.zeros(3))
