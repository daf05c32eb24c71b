"""Survival: quantiles against exact fractions one case at a time, and against statsmodels."""

import itertools
import math
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from statsmodels.duration.survfunc import SurvfuncRight

from city311_assets.gold.methods.survival import quantiles

SCHEMA = {"place": pl.String, "kind": pl.Int64, "hours": pl.Float64, "is_closed": pl.Boolean}
Case = tuple[str | None, int, float, bool]
CASES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.integers(1, 2),
        st.integers(0, 6).map(float),
        st.sampled_from([True, True, False]),
    ),
    max_size=40,
)


def frame(cases: list[Case]) -> pl.DataFrame:
    return pl.DataFrame(cases, SCHEMA, orient="row")


def alone(*cases: tuple[float, bool]) -> pl.DataFrame:
    return frame([("a", 1, hours, is_closed) for hours, is_closed in cases])


def slow_quantile(cases: list[tuple[float, bool]], share: Fraction) -> float | None:
    """The definition, in exact fractions, one time after the other."""
    still_open = Fraction(1)
    for hours in sorted({hours for hours, _ in cases}):
        at_risk = sum(other >= hours for other, _ in cases)
        closed = sum(other == hours and is_closed for other, is_closed in cases)
        still_open *= Fraction(at_risk - closed, at_risk)
        if still_open <= 1 - share:
            return hours
    return None


def test_half_of_two_is_reached_when_one_is_closed():
    found = quantiles(alone((3.0, True), (5.0, True)), ["place"])
    assert found.to_dicts() == [{"place": "a", "timed": 2, "closed": 2, "q50": 3.0, "q90": 5.0}]


@given(CASES)
@settings(max_examples=80, deadline=None)
def test_quantiles_are_those_of_exact_fractions(cases: list[Case]):
    shares = {"q25": Fraction(1, 4), "q50": Fraction(1, 2), "q90": Fraction(9, 10)}
    found = quantiles(frame(cases), ["place", "kind"], [0.25, 0.5, 0.9])
    groups: dict[tuple[str | None, int], list[tuple[float, bool]]] = {}
    for place, kind, hours, is_closed in cases:
        groups.setdefault((place, kind), []).append((hours, is_closed))
    assert len(groups) == found.height
    for row in found.iter_rows(named=True):
        own = groups[row["place"], row["kind"]]
        assert row["timed"] == len(own)
        assert row["closed"] == sum(is_closed for _, is_closed in own)
        for name, share in shares.items():
            assert row[name] == slow_quantile(own, share), name


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_quantiles_are_where_statsmodels_curve_gets_there(seed: int):
    rng = np.random.default_rng(seed)
    hours, watched = rng.exponential(50, 2_000).round(1), rng.exponential(120, 2_000).round(1)
    seen, is_closed = np.minimum(hours, watched), hours <= watched
    curve = SurvfuncRight(seen, is_closed.astype(int))
    times = pl.DataFrame({"place": "a", "hours": seen, "is_closed": is_closed})
    shares = [0.1, 0.37, 0.5, 0.77, 0.9]
    (row,) = quantiles(times, ["place"], shares).iter_rows(named=True)
    for share in shares:
        expected = curve.surv_times[curve.surv_prob <= 1 - share].min()
        assert row[f"q{100 * share:g}"] == expected


def test_a_planted_median_is_recovered_though_many_cases_are_still_open():
    rng = np.random.default_rng(4)
    hours, watched = rng.exponential(100, 50_000), rng.uniform(0, 400, 50_000)
    times = pl.DataFrame(
        {"place": "a", "hours": np.minimum(hours, watched), "is_closed": hours <= watched}
    )
    (row,) = quantiles(times, ["place"]).iter_rows(named=True)
    assert row["closed"] < 0.8 * row["timed"]
    assert row["q50"] == pytest.approx(100 * math.log(2), rel=0.03)
    assert row["q90"] == pytest.approx(100 * math.log(10), rel=0.03)


@pytest.mark.parametrize("cases", [10, 1_000, 200_000])
def test_an_exact_tie_is_reached_however_many_cases_there_are(cases: int):
    times = alone(*((float(hours), True) for hours in range(1, cases + 1)))
    shares = [0.1, 0.3, 0.5, 0.7, 0.9]
    (row,) = quantiles(times, ["place"], shares).iter_rows(named=True)
    assert [row[f"q{100 * share:g}"] for share in shares] == [
        cases / 10 * tenths for tenths in (1, 3, 5, 7, 9)
    ]


def test_an_exact_tie_is_reached_after_many_censored_times():
    # A case closes, then one of k + 1 others is lost: after each round (k + 1)/(k + 2) stay open.
    rounds = 2_000
    first = [(float(place), place % 2 == 0) for place in range(2 * rounds)]
    cases = [*first, *[(1e6, False)] * 10]
    still_open, left = Fraction(1), len(cases)
    for _, is_closed in first:
        still_open *= Fraction(left - is_closed, left)
        left -= 1
    share = float(1 - still_open)
    (row,) = quantiles(alone(*cases), ["place"], [share]).drop("place").rows()
    assert row == (len(cases), rounds, 2.0 * rounds - 2)


def test_a_case_lost_at_the_hour_another_closed_was_still_at_risk():
    found = quantiles(alone((2.0, False), (2.0, True), (9.0, True)), ["place"], [1 / 3, 0.5])
    assert found.select("q33.333333", "q50").rows() == [(2.0, 9.0)]


def test_a_share_the_curve_never_gets_to_is_unknown():
    found = quantiles(alone((1.0, True), (2.0, False), (3.0, False)), ["place"])
    assert found.select("timed", "closed", "q50", "q90").rows() == [(3, 1, None, None)]


def test_open_cases_are_no_quick_ones():
    closed = [(hours, True) for hours in (1.0, 2.0, 3.0)]
    waiting = [(50.0, False)] * 3
    assert quantiles(alone(*closed), ["place"])["q50"].to_list() == [2.0]
    assert quantiles(alone(*closed, *waiting), ["place"])["q50"].to_list() == [3.0]


def test_rows_in_another_order_give_the_same_rows():
    rng = np.random.default_rng(7)
    times = pl.DataFrame(
        {
            "place": rng.choice(["a", "b", "c"], 3_000),
            "kind": rng.integers(0, 40, 3_000),
            "hours": rng.exponential(9, 3_000).round(1),
            "is_closed": rng.random(3_000) < 0.7,
        }
    )
    found = quantiles(times, ["place", "kind"])
    assert found.select("place", "kind").rows() == [*itertools.product("abc", range(40))]
    for seed in (1, 2):
        shuffled = times.sample(fraction=1, shuffle=True, seed=seed)
        assert_frame_equal(quantiles(shuffled, ["place", "kind"]), found, check_exact=True)


def test_no_cases_have_no_rows():
    found = quantiles(frame([]), ["place", "kind"])
    assert found.schema == {
        "place": pl.String,
        "kind": pl.Int64,
        "timed": pl.Int64,
        "closed": pl.Int64,
        "q50": pl.Float64,
        "q90": pl.Float64,
    }
    assert found.is_empty()


@pytest.mark.parametrize("hours", [-0.1, math.nan, math.inf, None])
def test_a_time_that_cannot_be_is_refused(hours: float | None):
    times = pl.DataFrame([("a", 1, 1.0, True), ("b", 1, hours, True)], SCHEMA, orient="row")
    with pytest.raises(ValueError, match=r"1 cases have no time .*'b'"):
        quantiles(times, ["place"])


def test_a_case_neither_open_nor_closed_is_refused():
    times = pl.DataFrame([("a", 1, 1.0, None)], SCHEMA, orient="row")
    with pytest.raises(ValueError, match="1 cases"):
        quantiles(times, ["place"])


@pytest.mark.parametrize("share", [0.0, 1.0, 50.0, math.nan])
def test_a_share_that_is_none_is_refused(share: float):
    with pytest.raises(ValueError, match="not between 0 and 1"):
        quantiles(alone((1.0, True)), ["place"], [share])
