"""Pairs that share no control, Rosenbaum's Gamma and E-values: references, plants and refusals."""

import numpy as np
import pytest
from scipy import stats

from city311_assets.causal.methods.sensitivity import (
    SHORTLIST,
    e_value,
    match_without_replacement,
    rosenbaum_gamma,
)

# Lead in the blood (ug/dl) of children whose father's work exposes them to it, and of a child of
# the same age next door: Morton et al. 1982, the example of Rosenbaum 2002, chapter 4.
EXPOSED = np.array(
    [
        [38, 23, 41, 18, 37, 36, 23, 62, 31, 34, 24],
        [14, 21, 17, 16, 20, 15, 10, 45, 39, 22, 35],
        [49, 48, 44, 35, 43, 39, 34, 13, 73, 25, 27],
    ],
    float,
).ravel()
NEXT_DOOR = np.array(
    [
        [16, 18, 18, 24, 19, 11, 10, 15, 16, 18, 18],
        [13, 19, 10, 16, 16, 24, 13, 9, 14, 21, 19],
        [7, 18, 19, 12, 11, 22, 25, 16, 13, 11, 13],
    ],
    float,
).ravel()


def unit_rows(size: int, dimensions: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((size, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def greedy_by_hand(
    vectors: np.ndarray, strata: np.ndarray, treated: np.ndarray, floor: float = -np.inf
) -> list[tuple[int, int]]:
    """All admissible pairs, most similar first, each taken if both units are free."""
    similarity = vectors.astype(float) @ vectors.T.astype(float)
    admissible = np.argwhere(
        treated[:, None] & ~treated & (strata[:, None] == strata) & (similarity >= floor)
    )
    free = np.ones(len(vectors), bool)
    pairs = []
    for one, other in sorted(admissible.tolist(), key=lambda pair: -similarity[*pair]):
        if free[one] and free[other]:
            free[[one, other]] = False
            pairs.append((one, other))
    return sorted(pairs)


def as_pairs(found: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    return list(zip(*(rows.tolist() for rows in found), strict=True))


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_pairs_are_those_of_taking_the_most_similar_first(share: float):
    rng = np.random.default_rng(1)
    vectors, strata = unit_rows(500, 6, 2), rng.integers(0, 3, 500)
    treated = rng.random(500) < share
    found = match_without_replacement(vectors, strata, treated)
    assert as_pairs(found) == greedy_by_hand(vectors, strata, treated)


def test_no_unit_is_in_two_pairs_and_pairs_share_their_stratum():
    rng = np.random.default_rng(3)
    vectors, strata = unit_rows(600, 4, 4), rng.integers(0, 5, 600)
    treated = rng.random(600) < 0.5
    one, other = match_without_replacement(vectors, strata, treated)
    used = np.concatenate([one, other])
    assert len(np.unique(used)) == len(used)
    np.testing.assert_array_equal(strata[one], strata[other])
    assert treated[one].all()
    assert not treated[other].any()
    smaller = [
        min((treated & (strata == s)).sum(), (~treated & (strata == s)).sum()) for s in range(5)
    ]
    assert len(one) == sum(smaller)


def test_treated_units_beyond_the_shortlist_still_find_the_nearest_that_is_left():
    controls = unit_rows(3 * SHORTLIST, 5, 5)
    vectors = np.concatenate([np.repeat(controls[:1], 2 * SHORTLIST, axis=0), controls])
    treated = np.arange(len(vectors)) < 2 * SHORTLIST
    one, other = match_without_replacement(vectors, np.zeros(len(vectors), int), treated)
    nearest = np.argsort(-(vectors[treated][:1] @ controls.T)[0])[: 2 * SHORTLIST]
    assert len(one) == 2 * SHORTLIST
    assert set(other - 2 * SHORTLIST) == set(nearest)


def test_pairs_below_the_floor_are_not_made():
    rng = np.random.default_rng(6)
    vectors, strata = unit_rows(300, 4, 7), np.zeros(300, np.int64)
    treated = rng.random(300) < 0.4
    found = match_without_replacement(vectors, strata, treated, floor=np.full(300, 0.9))
    assert 0 < len(found[0]) < treated.sum()
    assert as_pairs(found) == greedy_by_hand(vectors, strata, treated, 0.9)


def test_equal_texts_go_by_nearness():
    vectors = np.repeat(unit_rows(1, 8, 8), 5, axis=0)
    treated = np.array([True, True, False, False, False])
    opened = np.array([10.0, 50.0, 48.0, 0.0, 11.0])
    found = match_without_replacement(vectors, np.zeros(5, int), treated, nearness=opened)
    assert as_pairs(found) == [(0, 4), (1, 2)]
    contested = match_without_replacement(
        vectors[:3], np.zeros(3, int), treated[:3], nearness=opened[:3]
    )
    assert as_pairs(contested) == [(1, 2)]


def test_pairs_do_not_hang_on_the_order_of_rows():
    rng = np.random.default_rng(9)
    texts = unit_rows(40, 6, 10)  # templated: many units share a vector
    vectors, strata = texts[rng.integers(0, 40, 800)], rng.integers(0, 2, 800)
    treated, opened = rng.random(800) < 0.3, rng.permutation(800).astype(float)
    order = rng.permutation(800)
    pairs = as_pairs(match_without_replacement(vectors, strata, treated, nearness=opened))
    moved = match_without_replacement(
        vectors[order], strata[order], treated[order], nearness=opened[order]
    )
    assert sorted(as_pairs((order[moved[0]], order[moved[1]]))) == pairs
    assert len(pairs) == treated.sum()


def test_only_the_controls_that_are_eligible_are_taken():
    vectors, treated = unit_rows(60, 4, 11), np.arange(60) < 20
    eligible = np.arange(60) >= 45
    _, other = match_without_replacement(vectors, np.zeros(60, int), treated, is_control=eligible)
    assert sorted(other) == list(range(45, 60))


def test_without_treated_or_controls_there_is_no_pair():
    vectors, strata = unit_rows(10, 4, 12), np.zeros(10, np.int64)
    for treated in (np.zeros(10, bool), np.ones(10, bool)):
        one, other = match_without_replacement(vectors, strata, treated)
        assert one.shape == other.shape == (0,)


def test_a_unit_that_is_treated_and_control_is_refused():
    vectors, both = unit_rows(3, 4, 13), np.ones(3, bool)
    with pytest.raises(ValueError, match=r"3 units are treated and control, first \[0, 1, 2\]"):
        match_without_replacement(vectors, np.zeros(3, int), both, is_control=both)
    with pytest.raises(ValueError, match=r"arrays of \[3, 4\] units"):
        match_without_replacement(vectors, np.zeros(4, int), both)


def upper_bound(differences: np.ndarray, gamma: float) -> float:
    """Twice the large-sample upper bound of the signed rank sum's tail at one Gamma."""
    values = differences[differences != 0]
    ranks, p = stats.rankdata(np.abs(values)), gamma / (1 + gamma)
    positive = ranks[values > 0].sum()
    extreme = max(positive, ranks.sum() - positive)
    z = (extreme - p * ranks.sum()) / np.sqrt(p * (1 - p) * (ranks**2).sum())
    return 2 * float(stats.norm.sf(z))


def test_lead_in_blood_is_as_robust_as_published():
    # One-sided, the published bounds are 0.0018 at Gamma 2, below 0.05 at 4.25 and above at 5.
    differences = EXPOSED - NEXT_DOOR
    assert upper_bound(differences, 2) / 2 == pytest.approx(0.0018, abs=5e-5)
    gamma = rosenbaum_gamma(differences, alpha=0.1)
    assert gamma is not None
    assert 4.25 < gamma < 5
    assert rosenbaum_gamma(differences, alpha=2 * 0.00177170) == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_at_gamma_the_bound_is_the_level(alpha: float):
    rng = np.random.default_rng(14)
    differences = np.round(rng.normal(0.6, 1, 120), 1)  # tied ranks and zeros
    gamma = rosenbaum_gamma(differences, alpha)
    assert gamma is not None
    assert upper_bound(differences, gamma) == pytest.approx(alpha)


def test_gamma_is_near_that_of_the_exact_distribution():
    rng = np.random.default_rng(14)
    differences = rng.normal(0.35, 1, 200)
    gamma = rosenbaum_gamma(differences)
    assert gamma is not None
    ranks, p = stats.rankdata(np.abs(differences)), gamma / (1 + gamma)
    chance = np.ones(1)  # of each sum of the ranks that came out positive, added one by one
    for rank in range(1, 201):
        added = np.concatenate([np.zeros(rank), chance])
        chance = p * added + (1 - p) * np.pad(chance, (0, rank))
    exact = 2 * chance[int(ranks[differences > 0].sum()) :].sum()
    assert exact == pytest.approx(0.05, abs=0.004)


def test_without_an_effect_there_is_rarely_a_gamma():
    rng = np.random.default_rng(15)
    found = [rosenbaum_gamma(rng.standard_cauchy(60)) for _ in range(1_000)]
    assert np.mean([gamma is not None for gamma in found]) == pytest.approx(0.05, abs=0.02)
    assert all(gamma is None or gamma >= 1 for gamma in found)


def test_gamma_hangs_neither_on_unit_sign_nor_order_and_grows_with_the_effect():
    rng = np.random.default_rng(16)
    noise = rng.normal(0, 1, 200)
    gamma = rosenbaum_gamma(noise + 0.5)
    assert gamma is not None
    same = (-(noise + 0.5), 24 * (noise + 0.5), rng.permutation(noise + 0.5))
    for other in (*same, np.append(noise + 0.5, np.zeros(50))):
        assert rosenbaum_gamma(other) == pytest.approx(gamma)
    larger = rosenbaum_gamma(noise + 0.7)
    assert larger is not None
    assert larger > gamma


def test_gamma_ends_where_it_is_said_to():
    assert rosenbaum_gamma(np.arange(1.0, 500.0)) == 10.0
    assert rosenbaum_gamma(np.arange(1.0, 500.0), largest=3.0) == 3.0
    for nothing in (np.empty(0), np.zeros(40), np.array([1.0, 2.0])):
        assert rosenbaum_gamma(nothing) is None


def test_unknown_differences_and_levels_are_refused():
    with pytest.raises(ValueError, match="1 of 2 differences are missing or infinite"):
        rosenbaum_gamma(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="a level of 1"):
        rosenbaum_gamma(np.ones(3), alpha=1.0)


def test_e_values_are_those_of_the_paper():
    # VanderWeele and Ding 2017: a risk ratio of 3.9 (1.8 to 8.7) has the E-values 7.26 and 3.0.
    effect, low, high = np.log([3.9, 1.8, 8.7]) / 0.91
    point, limit = e_value(effect, low, high, 1.0)
    assert point == pytest.approx(7.26, abs=0.005)
    assert limit == pytest.approx(3.0, abs=0.005)
    # And one of 0.80 (0.71 to 0.91), taken the other way round, 1.81 and 1.43.
    effect, low, high = np.log([0.80, 0.71, 0.91]) / 0.91
    point, limit = e_value(effect, low, high, 1.0)
    assert point == pytest.approx(1.81, abs=0.005)
    assert limit == pytest.approx(1.43, abs=0.005)


def test_an_e_value_has_no_unit_and_no_sign():
    found = e_value(12.0, 4.0, 20.0, 60.0)
    assert e_value(0.5, 4 / 24, 20 / 24, 2.5) == pytest.approx(found)
    assert e_value(-12.0, -20.0, -4.0, 60.0) == pytest.approx(found)


def test_an_interval_that_holds_none_needs_nothing_to_explain_it_away():
    assert e_value(5.0, -1.0, 11.0, 50.0)[1] == 1.0
    assert e_value(0.0, -1.0, 1.0, 50.0) == (1.0, 1.0)


def test_an_outcome_that_does_not_vary_has_no_e_value():
    for spread in (0.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="constant or unknown has no E-value"):
            e_value(1.0, 0.5, 1.5, spread)
    with pytest.raises(ValueError, match="does not hold the estimate"):
        e_value(2.0, 0.5, 1.5, 1.0)
