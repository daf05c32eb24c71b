"""Sampling of a window: shares, weights, and a sample that stays as the window moves."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.atlas.methods.sampling import allocated, sampled


def window(first: int, last: int, per_month: int = 400) -> pl.DataFrame:
    """Cases of months counted from January 2025, more of them in summer."""
    rows = []
    for month in range(first, last + 1):
        start = dt.date(2025 + month // 12, month % 12 + 1, 1)
        cases = per_month + 100 * (month % 12 in {5, 6, 7})
        rows += [(f"{month}-{n}", start + dt.timedelta(days=n % 28)) for n in range(cases)]
    return pl.DataFrame(rows, schema={"record_id": pl.String, "day": pl.Date}, orient="row")


def by_month(cases: pl.DataFrame) -> pl.DataFrame:
    month = pl.col("day").dt.truncate("1mo").alias("month")
    return cases.group_by(month).agg(pl.len(), pl.col("sampling_weight").sum()).sort("month")


def test_where_everything_has_a_place_everything_stands_for_itself():
    cases = window(0, 2)
    found = sampled(cases, cases.height, 1)
    assert found.drop("sampling_weight").equals(cases.sort("day", "record_id"))
    assert set(found["sampling_weight"]) == {1.0}


def test_every_place_is_taken_and_the_weights_of_a_month_add_up_to_its_cases():
    cases = window(0, 17)
    found = sampled(cases, 1_000, 1)
    assert found.height == 1_000
    assert found["record_id"].is_unique().all()
    expected = by_month(cases.with_columns(sampling_weight=pl.lit(1.0)))
    assert np.allclose(by_month(found)["sampling_weight"], expected["len"])
    share = (by_month(found)["len"] / expected["len"]).to_numpy()
    np.testing.assert_allclose(share, 1_000 / cases.height, atol=1 / 400)


def test_a_month_of_one_case_is_represented():
    lone = pl.DataFrame({"record_id": ["lone"], "day": [dt.date(2024, 12, 5)]})
    found = sampled(pl.concat([window(0, 11), lone]), 60, 1)
    assert found.height == 60
    assert found.filter(pl.col("record_id") == "lone")["sampling_weight"].to_list() == [1.0]


def test_the_order_of_rows_does_not_matter_and_other_columns_are_carried_along():
    cases = window(0, 5).with_columns(text=pl.col("record_id") + "!")
    found = sampled(cases, 300, 1)
    assert found.equals(sampled(cases.sample(cases.height, shuffle=True, seed=3), 300, 1))
    assert (found["text"] == found["record_id"] + "!").all()


def test_the_sample_stays_as_the_window_moves_on():
    one, next_ = (sampled(window(n, n + 17), 2_000, 1) for n in (0, 1))
    first_of_next = next_["day"].min()
    common = one.filter(pl.col("day") >= first_of_next)
    kept = common["record_id"].is_in(next_["record_id"].implode()).to_numpy()
    assert kept.mean() > 0.98


def test_a_smaller_sample_is_part_of_a_larger_one():
    small, large = (set(sampled(window(0, 5), most, 1)["record_id"]) for most in (200, 500))
    assert small < large


def test_another_seed_is_another_sample():
    one, other = (set(sampled(window(0, 5), 500, seed)["record_id"]) for seed in (1, 2))
    assert 0.1 < len(one & other) / 500 < 0.35


def test_the_sample_is_the_same_in_every_version():
    cases = pl.DataFrame(
        {"record_id": [f"case-{n}" for n in range(9)], "day": [dt.date(2026, 1, 1)] * 9}
    )
    assert sampled(cases, 3, 311)["record_id"].to_list() == ["case-0", "case-2", "case-6"]


def test_weighted_shares_are_those_of_the_window():
    rng = np.random.default_rng(4)
    cases = window(0, 11).with_columns(is_rare=pl.Series(rng.random(5_100) < 0.1))
    found = sampled(cases, 1_500, 9)
    share = np.average(found["is_rare"].to_numpy(), weights=found["sampling_weight"].to_numpy())
    assert share == pytest.approx(cases["is_rare"].to_numpy().mean(), abs=0.02)


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=30), st.data())
def test_places_are_given_in_proportion_and_no_more_than_can_be_filled(
    sizes: list[int], data: st.DataObject
):
    places = data.draw(st.integers(len(sizes), sum(sizes)))
    given_ = allocated(np.array(sizes, np.int64), places)
    assert given_.sum() == places
    assert (given_ >= 1).all()
    assert (given_ <= sizes).all()
    share = places * np.array(sizes) / sum(sizes)
    assert (given_ <= np.ceil(np.maximum(share, 1))).all()
    order = np.argsort(sizes, kind="stable")
    assert (np.diff(given_[order]) >= -1).all()


def test_fewer_places_than_months_are_refused():
    with pytest.raises(ValueError, match=r"5 places for 6 months from 2025-01.*MAX_CASES"):
        sampled(window(0, 5), 5, 1)
    assert sampled(window(0, 5), 6, 1).height == 6


def test_a_case_given_twice_is_refused():
    cases = window(0, 0)
    with pytest.raises(ValueError, match=r"1 cases are given twice: \['0-0'\]"):
        sampled(cases.vstack(cases.head(1)), 10, 1)
