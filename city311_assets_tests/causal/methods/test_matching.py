"""Matching: against a plain search in doubles, ties, calipers, weights, order, and refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.causal.methods import matching
from city311_assets.causal.methods.matching import (
    Matches,
    match_by_distance,
    match_in_strata,
    nearest_by_distance,
    similar_in_strata,
    similarity_floors,
)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def city(seed: int, n: int = 240, d: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, strata and groups of units, of which some have the very same text."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(n, d)))
    vectors[: n // 3] = vectors[rng.integers(n // 3, n, size=n // 3)]
    order = rng.permutation(n)
    return vectors[order], rng.integers(3, size=n), rng.integers(4, size=n)


def plainly(vectors: np.ndarray, strata: np.ndarray, groups: np.ndarray, k: int) -> set:
    """All pairs, by comparing every unit with every other."""
    near = vectors.astype(float) @ vectors.astype(float).T
    pairs = set()
    for own in range(len(vectors)):
        (others,) = np.nonzero((strata == strata[own]) & (groups != groups[own]))
        if len(others):
            least = np.sort(near[own, others])[::-1][: min(k, len(others))][-1]
            pairs |= {(own, other) for other in others if near[own, other] >= least - 1e-6}
    return pairs


def pairs_of(found: Matches) -> set:
    return set(zip(found.treated.tolist(), found.control.tolist(), strict=True))


def by_hand() -> Matches:
    """Unit 0 has three pairs of which two are tied, unit 1 has one; unit 2 was left without."""
    return Matches(
        treated=np.array([0, 0, 0, 1]),
        control=np.array([5, 6, 7, 6]),
        rank=np.array([1, 2, 3, 1]),
        similarity=np.array([0.9, 0.8, 0.8 - 5e-7, 0.5]),
        weight=np.array([1 / 3, 1 / 3, 1 / 3, 1.0]),
        asked=np.array([0, 1, 2]),
    )


@pytest.mark.parametrize("k", [1, 3, 15])
def test_pairs_are_those_of_a_plain_search_ties_and_all(k: int):
    vectors, strata, groups = city(1)
    found = match_in_strata(vectors, strata, groups, k, most_tied=10_000)
    assert pairs_of(found) == plainly(vectors, strata, groups, k)
    exact = np.einsum(
        "pd,pd->p", *(vectors[end].astype(float) for end in (found.treated, found.control))
    )
    np.testing.assert_allclose(found.similarity, exact, rtol=1e-12)


def test_small_blocks_find_what_large_ones_find(monkeypatch: pytest.MonkeyPatch):
    vectors, strata, groups = city(2)
    whole = match_in_strata(vectors, strata, groups, 3)
    monkeypatch.setattr(matching, "BLOCK", 200)
    split = match_in_strata(vectors, strata, groups, 3)
    assert pairs_of(split) == pairs_of(whole)
    z = np.random.default_rng(2).normal(size=(60, 3))
    treated = np.arange(60) < 20
    pairs = pairs_of(match_by_distance(z, treated, 2))
    monkeypatch.undo()
    assert pairs == pairs_of(match_by_distance(z, treated, 2))


def test_pairs_share_their_stratum_and_not_their_group():
    vectors, strata, groups = city(3)
    found = match_in_strata(vectors, strata, groups, 3)
    np.testing.assert_array_equal(strata[found.treated], strata[found.control])
    assert (groups[found.treated] != groups[found.control]).all()


def test_pairs_stand_by_unit_then_rank_nearest_first_and_weigh_one_together():
    vectors, strata, groups = city(4)
    found = match_in_strata(vectors, strata, groups, 3)
    key = found.treated * 1000 + found.rank
    assert (np.diff(key) > 0).all()
    same = found.treated[1:] == found.treated[:-1]
    assert (np.diff(found.similarity)[same] <= 0).all()
    np.testing.assert_array_equal(found.rank[1:][~same], 1)
    np.testing.assert_allclose(np.bincount(found.treated, found.weight), 1)
    np.testing.assert_array_equal(found.asked, np.arange(240))


def test_the_order_of_rows_changes_nothing():
    vectors, strata, groups = city(5)
    opened = np.random.default_rng(5).uniform(0, 1000, 240)
    order = np.random.default_rng(6).permutation(240)
    plain = match_in_strata(vectors, strata, groups, 2, nearness=opened, most_tied=3)
    moved = match_in_strata(
        vectors[order], strata[order], groups[order], 2, nearness=opened[order], most_tied=3
    )
    back = {(int(order[own]), int(order[other])) for own, other in pairs_of(moved)}
    assert back == pairs_of(plain)


def test_alike_units_have_the_same_similarity_to_everyone():
    vectors, strata, groups = city(7)
    found = match_in_strata(vectors, np.zeros_like(strata), groups, 5, most_tied=10_000)
    _, text = np.unique(vectors, axis=0, return_inverse=True)
    seen: dict[tuple[int, int], set[float]] = {}
    for own, other, value in zip(found.treated, found.control, found.similarity, strict=True):
        seen.setdefault((int(text[own]), int(text[other])), set()).add(float(value))
    assert max(len(values) for values in seen.values()) == 1
    assert len(found.treated) > len(seen)


def test_of_more_tied_units_than_may_be_the_nearest_in_time_are_taken():
    vectors = unit(np.array([[1.0, 0], *[[0.6, 0.8]] * 50, [0.8, 0.6]]))
    opened = np.array([25.2, *range(50), 1000.0])
    groups = np.array([0, *[1] * 51])
    found = match_in_strata(
        vectors, np.zeros(52, int), groups, 2, of=groups == 0, nearness=opened, most_tied=4
    )
    # The one that is nearer than the tied ones stays whenever it was opened.
    assert found.control[0] == 51
    assert set(opened[found.control[1:]]) == {24, 25, 26}
    np.testing.assert_allclose(found.weight, 0.25)


def test_without_a_time_tied_units_are_not_the_same_few_for_everyone():
    vectors = unit(np.ones((300, 2)))
    groups = (np.arange(300) < 100).astype(int)
    found = match_in_strata(vectors, np.zeros(300, int), groups, 3, of=groups == 1)
    assert len(found.treated) == 100 * 20
    assert np.unique(found.control).size > 150


def test_more_matches_than_the_most_tied_can_be_asked_for():
    vectors, _, groups = city(8)
    found = match_in_strata(vectors, np.zeros(240, int), groups, 30, most_tied=5)
    assert (np.bincount(found.treated) == 30).all()


def test_units_asked_of_have_the_pairs_they_have_among_all():
    vectors, strata, groups = city(9)
    everyone = match_in_strata(vectors, strata, groups, 3)
    one = match_in_strata(vectors, strata, groups, 3, of=groups == 2)
    chosen = everyone.of(groups == 2)
    assert pairs_of(one) == pairs_of(chosen)
    np.testing.assert_array_equal(one.asked, np.flatnonzero(groups == 2))
    np.testing.assert_array_equal(one.asked, chosen.asked)
    np.testing.assert_array_equal(one.weight, chosen.weight)


def test_a_unit_alone_with_its_group_in_its_stratum_has_no_pair():
    vectors, strata, groups = city(10)
    strata[:4], groups[:4] = 9, 1
    strata[4] = 10
    found = match_in_strata(vectors, strata, groups, 3)
    np.testing.assert_array_equal(np.setdiff1d(found.asked, found.matched), np.arange(5))


def test_fewer_matches_are_the_first_of_more():
    vectors, strata, groups = city(11)
    many = match_in_strata(vectors, strata, groups, 5, most_tied=10_000)
    for k in (1, 3):
        few = match_in_strata(vectors, strata, groups, k, most_tied=10_000)
        nearest = many.nearest(k)
        assert pairs_of(nearest) == pairs_of(few)
        np.testing.assert_array_equal(nearest.weight, few.weight)


def test_the_nearest_include_those_tied_with_the_last_and_weigh_anew():
    found = by_hand()
    np.testing.assert_array_equal(found.nearest(1).control, [5, 6])
    np.testing.assert_array_equal(found.nearest(2).control, [5, 6, 7, 6])
    np.testing.assert_array_equal(found.nearest(1).weight, [1, 1])


def test_a_floor_drops_pairs_and_the_units_left_without_stay_asked():
    floor = np.array([0.85, 0.6, 0, 0, 0, 0, 0, 0])
    found = by_hand().above(floor)
    assert pairs_of(found) == {(0, 5)}
    np.testing.assert_array_equal(found.weight, [1])
    np.testing.assert_array_equal(found.asked, [0, 1, 2])
    assert pairs_of(by_hand().above(np.full(8, 0.5))) == pairs_of(by_hand())


def test_a_control_used_twice_counts_twice():
    used, squared = by_hand().control_weights(8)
    np.testing.assert_allclose(used, [0, 0, 0, 0, 0, 1 / 3, 4 / 3, 1 / 3])
    np.testing.assert_allclose(squared, [0, 0, 0, 0, 0, 1 / 9, 10 / 9, 1 / 9])
    np.testing.assert_array_equal(by_hand().matched, [0, 1])


def test_similar_units_are_the_nearest_others_of_the_stratum():
    vectors, strata, _ = city(12)
    indices, similarities = similar_in_strata(vectors, strata, 4)
    near = vectors.astype(float) @ vectors.astype(float).T
    np.fill_diagonal(near, -9)
    near[strata[:, None] != strata] = -9
    np.testing.assert_allclose(similarities, -np.sort(-near, axis=1)[:, :4], atol=1e-6)
    np.testing.assert_array_equal(strata[indices], np.tile(strata[:, None], 4))
    assert (indices != np.arange(240)[:, None]).all()


def test_a_stratum_of_four_has_three_similar_units_each_and_then_none():
    vectors = unit(np.random.default_rng(13).normal(size=(5, 3)))
    indices, similarities = similar_in_strata(vectors, np.array([0, 0, 0, 1, 0]), 4)
    np.testing.assert_array_equal((indices >= 0).sum(axis=1), [3, 3, 3, 0, 3])
    np.testing.assert_array_equal(np.isnan(similarities), indices < 0)


def test_a_floor_is_the_quantile_of_random_pairs_of_its_stratum():
    rng = np.random.default_rng(14)
    vectors = unit(rng.normal(size=(400, 4)))
    vectors[200:] = unit(vectors[200:] + np.array([3, 0, 0, 0]))
    strata = np.repeat([0, 1], 200)
    floors = similarity_floors(vectors, strata, 0.3, 1, pairs=20_000)
    for stratum in (0, 1):
        mine = vectors[strata == stratum].astype(float)
        values = (mine @ mine.T)[np.triu_indices(200, 1)]
        np.testing.assert_allclose(floors[strata == stratum], np.quantile(values, 0.3))
    drawn = similarity_floors(vectors, strata, 0.3, 1, pairs=4_000)
    np.testing.assert_allclose(drawn, floors, atol=0.05)
    assert drawn[0] != floors[0]
    order = rng.permutation(400)
    moved = similarity_floors(vectors[order], strata[order], 0.3, 1, pairs=4_000)
    np.testing.assert_array_equal(moved, drawn[order])


def test_no_pair_of_a_floor_is_a_unit_with_itself():
    floors = similarity_floors(np.eye(30, dtype=np.float32), np.zeros(30, int), 1.0, 1, pairs=400)
    np.testing.assert_array_equal(floors, 0)


def test_a_stratum_of_one_has_no_floor():
    floors = similarity_floors(unit(np.eye(3) + 1), np.array([0, 0, 1]), 0.5, 1)
    np.testing.assert_array_equal(np.isnan(floors), [False, False, True])


def test_distances_do_not_hang_on_units_or_the_order_of_rows():
    rng = np.random.default_rng(15)
    x, treated = rng.normal(size=(90, 3)), rng.random(90) < 0.3
    plain = match_by_distance(x, treated, 2)
    other_units = match_by_distance(x * [1000, 0.01, 7] + 5, treated, 2)
    assert pairs_of(plain) == pairs_of(other_units)
    order = rng.permutation(90)
    moved = match_by_distance(x[order], treated[order], 2)
    assert {(order[own], order[other]) for own, other in pairs_of(moved)} == pairs_of(plain)


def test_distance_is_squared_and_in_standard_deviations_of_all_units():
    x = np.array([[0.0], [3.0], [10.0]])
    found = match_by_distance(x, np.array([True, False, False]), 1)
    np.testing.assert_allclose(found.similarity, [-9 / x.var(ddof=1)])
    assert pairs_of(found) == {(0, 1)}


def test_all_controls_tied_at_the_last_distance_share_the_weight():
    x = np.array([[0.0], [1], [-1], [1], [5]])
    found = match_by_distance(x, np.array([True, False, False, False, False]), 1)
    assert pairs_of(found) == {(0, 1), (0, 2), (0, 3)}
    np.testing.assert_allclose(found.weight, 1 / 3)


def test_a_caliper_holds_for_every_covariate_and_drops_treated_units():
    x = np.array([[0.0, 0], [0.1, 3], [0.3, 0.1], [9, 9]])
    treated = np.array([True, False, False, True])
    assert pairs_of(match_by_distance(x, treated, 1)) == {(0, 2), (3, 1)}
    found = match_by_distance(x, treated, 2, caliper=0.5)
    assert pairs_of(found) == {(0, 2)}
    np.testing.assert_array_equal(found.asked, [0, 3])
    assert pairs_of(match_by_distance(x, treated, 1, caliper=[0.05, 5])) == {(0, 1)}


def test_pairs_by_distance_share_their_stratum():
    x = np.array([[0.0], [0.1], [3.0]])
    treated = np.array([True, False, False])
    assert pairs_of(match_by_distance(x, treated, 1, strata=np.array([1, 2, 1]))) == {(0, 2)}


def test_a_covariate_that_is_the_same_everywhere_says_nothing():
    rng = np.random.default_rng(16)
    x, treated = rng.normal(size=(40, 2)), rng.random(40) < 0.4
    with_it = np.hstack([x, np.full((40, 1), 0.1)])
    assert pairs_of(match_by_distance(with_it, treated, 2)) == pairs_of(
        match_by_distance(x, treated, 2)
    )


def test_the_nearest_chosen_units_leave_out_the_unit_itself():
    x = np.array([[0.0], [1], [2.5], [2.5], [99]])
    units, near = nearest_by_distance(x, np.array([True, True, True, True, False]), 1)
    np.testing.assert_array_equal(units, [0, 1, 2, 3])
    np.testing.assert_array_equal(near, [[1], [0], [3], [2]])
    units, near = nearest_by_distance(x, np.ones(5, bool), 1, of=np.arange(5) == 4)
    np.testing.assert_array_equal(units, [4])
    np.testing.assert_array_equal(near, [[2, 3]])


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 8))
def test_every_unit_with_another_group_in_its_stratum_has_k_pairs_or_all(
    seed: int, k: int, texts: int
):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    vectors = unit(rng.normal(size=(texts, 3)))[rng.integers(texts, size=n)]
    strata, groups = rng.integers(2, size=n), rng.integers(3, size=n)
    found = match_in_strata(vectors, strata, groups, k, most_tied=k)
    others = (strata[:, None] == strata) & (groups[:, None] != groups)
    np.testing.assert_array_equal(
        np.bincount(found.treated, minlength=n), np.minimum(others.sum(axis=1), k)
    )


@pytest.mark.parametrize(
    ("vectors", "strata", "k", "complaint"),
    [
        (np.ones((3, 2)), np.zeros(3, int), 1, r"3 of 3 vectors.*another length than 1.*\[0, 1"),
        (np.array([[1, 0], [np.nan, 0]]), np.zeros(2, int), 1, r"1 of 2 vectors.*rows \[1\]"),
        (np.eye(3), np.zeros(2, int), 1, r"strata has the shape \(2,\)"),
        (np.eye(3), np.zeros(3, int), 0, "0 matches of each"),
        (np.ones(3), np.zeros(3, int), 1, r"shape \(3,\)"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(vectors, strata, k: int, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        match_in_strata(vectors.astype(np.float32), strata, np.arange(len(vectors)), k)


def test_covariates_and_calipers_that_cannot_be_are_refused():
    treated = np.array([True, False])
    with pytest.raises(ValueError, match=r"missing or infinite in 1 of 2 rows.*\[1\]"):
        match_by_distance(np.array([[1.0], [np.nan]]), treated, 1)
    with pytest.raises(ValueError, match=r"treated has the shape \(2,\)"):
        match_by_distance(np.ones((3, 1)), treated, 1)
    with pytest.raises(ValueError, match=r"covariates have the shape \(2,\)"):
        match_by_distance(np.ones(2), treated, 1)
    with pytest.raises(ValueError, match=r"quantile 1\.5"):
        similarity_floors(unit(np.eye(2)), np.zeros(2, int), 1.5, 1)
