"""Standardized differences and text propensities: published figures, plants, null cases, edges."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from city311_assets.causal.methods.balance import (
    balance,
    deal_to_folds,
    principal_components,
    text_propensity,
)
from city311_assets.causal.methods.matching import Matches, match_by_distance


def matches(n: int, pairs: list[tuple[int, int, float]], asked: list[int] | None = None) -> Matches:
    """Pairs given as (treated, control, weight)."""
    treated, control, weight = (np.array(column) for column in zip(*pairs, strict=True))
    return Matches(
        treated=treated.astype(np.int64),
        control=control.astype(np.int64),
        rank=np.ones(len(pairs), np.int64),
        similarity=np.ones(len(pairs)),
        weight=weight.astype(np.float64),
        asked=np.array(asked or sorted(set(treated)), np.int64),
    )


def texts(size: int, seed: int, *, topics: int = 6, dimensions: int = 24) -> tuple:
    """Embeddings scattered around topics, and the topic of each."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((topics, dimensions))
    topic = rng.integers(0, topics, size)
    rows = centres[topic] + 0.5 * rng.standard_normal((size, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), topic


@pytest.mark.real
def test_lalonde_is_as_unbalanced_before_matching_as_published(real_data: Path):
    folder = real_data / "causal"
    people = pl.read_csv(folder / "lalonde_nsw_dw_445.csv", infer_schema_length=None)
    quoted = pl.read_csv(folder / "published_results.csv").with_columns(
        covariate=pl.col("quantity").str.extract(r"before matching, ([\w^]+) ")
    )
    quoted = quoted.filter(pl.col("covariate").is_not_null())
    assert quoted.height == 14
    assert quoted["kind"].unique().to_list() == ["exact, recomputed here"]
    columns = [
        people[name.removesuffix("^2")].to_numpy().astype(float) ** (1 + name.endswith("^2"))
        for name in quoted["covariate"]
    ]
    covariates, treated = np.column_stack(columns), people["treat"].to_numpy() == 1
    found = balance(covariates, treated, match_by_distance(covariates, treated, 1))
    np.testing.assert_allclose(found.smd_before, quoted["value"].to_numpy() / 100, rtol=1e-10)
    assert np.abs(found.smd_after).max() < np.abs(found.smd_before).max()


def test_by_hand_each_control_counts_as_often_as_it_is_used():
    x = np.array([[1.0], [3.0], [9.0], [2.0], [4.0], [100.0]])
    treated = np.array([True, True, True, False, False, False])
    pairs = matches(6, [(0, 3, 1.0), (1, 3, 0.5), (1, 4, 0.5)], asked=[0, 1, 2])
    found = balance(x, treated, pairs)
    spread = np.std([1, 3, 9], ddof=1)
    assert found.smd_before[0] == pytest.approx((13 / 3 - 106 / 3) / spread)
    # The third is not matched; the controls' mean is (1.5 * 2 + 0.5 * 4) / 2.
    assert found.smd_after[0] == pytest.approx((2.0 - 2.5) / spread)
    assert found.variance_ratio_before[0] == pytest.approx(
        np.var([1, 3, 9], ddof=1) / np.var([2, 4, 100], ddof=1)
    )
    within = (1.5 * 0.25 + 0.5 * 2.25) / (2 - (1.5**2 + 0.5**2) / 2)
    assert found.variance_ratio_after[0] == pytest.approx(2.0 / within)


def test_used_once_each_weights_change_nothing():
    rng = np.random.default_rng(1)
    x, treated = rng.standard_normal((60, 3)), np.arange(60) < 30
    found = balance(x, treated, matches(60, [(row, row + 30, 1.0) for row in range(30)]))
    np.testing.assert_allclose(found.smd_after, found.smd_before)
    np.testing.assert_allclose(found.variance_ratio_after, found.variance_ratio_before)


def test_matching_balances_what_it_matched_on_and_not_what_it_did_not():
    rng = np.random.default_rng(2)
    seen, unseen = rng.standard_normal(3_000), rng.standard_normal(3_000)
    treated = rng.random(3_000) < 1 / (1 + np.exp(2.5 - seen - unseen))
    pairs = match_by_distance(seen[:, None], treated, 3)
    found = balance(np.column_stack([seen, unseen]), treated, pairs)
    assert np.all(found.smd_before > 0.6)
    assert abs(found.smd_after[0]) < 0.05
    assert found.smd_after[1] > 0.6
    assert found.variance_ratio_after[0] == pytest.approx(1, abs=0.1)


def test_at_random_there_is_nothing_to_balance():
    rng = np.random.default_rng(3)
    x, treated = rng.standard_normal((20_000, 4)), rng.random(20_000) < 0.3
    found = balance(x, treated, matches(20_000, [(int(np.argmax(treated)), 0, 1.0)]))
    assert np.abs(found.smd_before).max() < 0.05
    np.testing.assert_allclose(found.variance_ratio_before, 1, atol=0.06)


def test_balance_hangs_neither_on_units_nor_on_the_order_of_rows():
    rng = np.random.default_rng(4)
    x, treated = rng.lognormal(0, 1, (200, 2)), rng.random(200) < 0.3
    pairs = match_by_distance(x, treated, 2)
    found = balance(x, treated, pairs)
    scaled = balance(x * [24.0, 1e-3] + [5.0, 0.0], treated, pairs)
    order = rng.permutation(200)
    moved = balance(x[order], treated[order], match_by_distance(x[order], treated[order], 2))
    for other in (scaled, moved):
        for mine, its in zip(found, other, strict=True):
            np.testing.assert_allclose(its, mine, rtol=1e-9)


def test_only_the_controls_asked_are_those_before_and_only_the_treated_s_pairs_those_after():
    x = np.array([[0.0], [2.0], [1.0], [3.0], [50.0], [60.0]])
    treated = np.array([True, True, False, False, False, False])
    pairs = matches(6, [(0, 2, 1.0), (1, 3, 1.0), (4, 5, 1.0)])
    near = np.array([False, False, True, True, False, False])
    found = balance(x, treated, pairs, is_control=near)
    assert found.smd_before[0] == pytest.approx(-1 / np.sqrt(2))
    assert found.smd_after[0] == pytest.approx(-1 / np.sqrt(2))


def test_what_does_not_vary_has_no_standardized_difference():
    x = np.column_stack([[1.0, 1.0, 0.0, 1.0], [0.1, 0.3, 0.1, 0.1]])
    treated = np.array([True, True, False, False])
    found = balance(x, treated, matches(4, [(0, 2, 1.0), (1, 2, 1.0)]))
    np.testing.assert_array_equal(np.isnan(found.smd_before), [True, False])
    np.testing.assert_array_equal(np.isnan(found.smd_after), [True, False])
    np.testing.assert_array_equal(found.variance_ratio_before[:1], [0.0])
    assert np.isnan(found.variance_ratio_before[1])
    assert np.isnan(found.variance_ratio_after).all()  # a single control does not vary


def test_without_a_match_there_is_a_balance_before_and_none_after():
    x, treated = np.arange(8.0)[:, None], np.arange(8) < 3
    found = balance(x, treated, matches(8, [(5, 6, 1.0)]))
    assert np.isfinite(found.smd_before).all()
    assert np.isnan(found.smd_after).all()
    assert np.isnan(found.variance_ratio_after).all()


def test_missing_covariates_and_a_missing_side_are_refused():
    x, treated = np.ones((4, 2)), np.arange(4) < 2
    pairs = matches(4, [(0, 2, 1.0)])
    with pytest.raises(ValueError, match=r"columns \[1\] are missing"):
        balance(np.column_stack([x[:, 0], [1, np.nan, 1, 1]]), treated, pairs)
    with pytest.raises(ValueError, match="4 treated units and 0 controls"):
        balance(x, np.ones(4, bool), pairs)
    with pytest.raises(ValueError, match="pass a row of covariates for each unit"):
        balance(x[:3], treated, pairs)


def test_principal_components_are_those_of_the_singular_values_in_any_order_of_rows():
    vectors, _ = texts(400, 5)
    found = principal_components(vectors, 4)
    centred = vectors - vectors.mean(axis=0, dtype=float)
    left, sizes, loadings = np.linalg.svd(centred, full_matrices=False)
    sign = np.sign(loadings[np.arange(24), np.abs(loadings).argmax(axis=1)])
    np.testing.assert_allclose(found, (left * sizes * sign)[:, :4], atol=1e-6)
    order = np.random.default_rng(6).permutation(400)
    np.testing.assert_allclose(principal_components(vectors[order], 4), found[order], atol=1e-6)


def test_many_rows_have_the_components_of_all_of_them():
    # More rows than are squared at a time, and the second half lies elsewhere.
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((24_000, 3)) * [0.1, 1.0, 0.1]
    rows[12_000:, 0] += 8
    found = principal_components(rows, 2)
    assert np.corrcoef(found[:, 0], rows[:, 0])[0, 1] == pytest.approx(1, abs=1e-3)
    assert np.corrcoef(found[:, 1], rows[:, 1])[0, 1] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-9)


def test_components_beyond_those_that_vary_are_nothing():
    rows = np.outer(np.arange(5.0), [1.0, 2.0, 2.0])
    found = principal_components(rows, 4)
    np.testing.assert_allclose(found[:, 0], 3 * (np.arange(5) - 2))
    assert not found[:, 1:].any()
    assert not principal_components(np.ones((3, 2)), 2).any()
    assert principal_components(np.empty((0, 2)), 2).shape == (0, 2)
    with pytest.raises(ValueError, match="0 components of an array"):
        principal_components(rows, 0)


def test_the_propensity_is_that_of_the_topic_a_text_is_about():
    vectors, topic = texts(6_000, 8, topics=3)
    rng = np.random.default_rng(9)
    chances = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    group = (rng.random(6_000)[:, None] > chances[topic].cumsum(axis=1)).sum(axis=1)
    found = text_propensity(vectors, group)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    for one in range(3):
        np.testing.assert_allclose(found[topic == one].mean(axis=0), chances[one], atol=0.04)


def test_where_texts_say_nothing_the_propensity_is_the_share():
    vectors, _ = texts(4_000, 10)
    group = np.random.default_rng(11).integers(0, 4, 4_000)
    found = text_propensity(vectors, group)
    own = found[np.arange(4_000), group]
    # Fitted on the unit itself, or unshrunk, it would be surer of the own group.
    assert own.mean() == pytest.approx(0.25, abs=0.01)
    assert np.abs(found - 0.25).mean() < 0.04
    few = text_propensity(vectors[:400], group[:400])
    assert np.abs(few - 0.25).mean() < 0.085


def test_a_group_of_one_has_its_share():
    vectors, _ = texts(101, 12)
    group = np.append(np.arange(100) % 2, 2)
    found = text_propensity(vectors, group, folds=4)
    assert found.shape == (101, 3)
    assert found[100, 2] == pytest.approx(1 / 101)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_two_units_and_one_group_have_propensities_too():
    vectors, _ = texts(6, 13)
    np.testing.assert_array_equal(text_propensity(vectors, np.zeros(6, int)), 1.0)
    np.testing.assert_allclose(text_propensity(vectors[:2], np.array([0, 1])), 0.5)
    np.testing.assert_array_equal(text_propensity(vectors[:1], np.array([0])), 1.0)


def test_a_label_without_a_unit_has_no_chance():
    vectors, _ = texts(200, 14)
    found = text_propensity(vectors, np.arange(200) % 2 * 2)
    assert found.shape == (200, 3)
    assert not found[:, 1].any()


def test_the_propensity_is_that_of_its_seed():
    vectors, topic = texts(300, 15)
    found = text_propensity(vectors, topic, seed=1)
    np.testing.assert_array_equal(text_propensity(vectors, topic, seed=1), found)
    assert np.abs(text_propensity(vectors, topic, seed=2) - found).max() > 1e-6


def test_folds_hold_alike_shares_of_every_group():
    groups = np.repeat([0, 1, 2, 3], [500, 7, 3, 1])
    fold = deal_to_folds(groups, 5, 1)
    counts = np.array([np.bincount(fold[groups == group], minlength=5) for group in range(4)])
    assert np.ptp(counts, axis=1).max() <= 1
    assert np.ptp(counts.sum(axis=0)) <= 1


def test_units_without_a_group_are_refused():
    vectors, _ = texts(4, 16)
    with pytest.raises(ValueError, match="1 of 4 units have no group"):
        text_propensity(vectors, np.array([0, 1, -1, 0]))
    with pytest.raises(ValueError, match="4 vectors, 3 groups and 5 folds"):
        text_propensity(vectors, np.array([0, 1, 0]))


def test_of_groups_of_hardly_a_unit_each_the_propensity_is_their_share():
    """Nothing is learned there, and nothing warns of it."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(12, 4)).astype(np.float32)
    group = np.repeat(np.arange(9), [2, 2, 2, 1, 1, 1, 1, 1, 1])
    found = text_propensity(vectors, group)
    shares = np.tile(np.bincount(group) / 12, (12, 1))
    np.testing.assert_allclose(found, shares, atol=0.1)
