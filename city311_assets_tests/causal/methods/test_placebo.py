"""Made-up neighbourhoods: whose they are, that they are confounded and without an effect."""

import numpy as np
import pytest

from city311_assets.causal.methods.matching import Matches, match_in_strata
from city311_assets.causal.methods.placebo import made_up_groups

EFFECT = 5.0


def city(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts of two dimensions of topic, groups that hang on the topic, and hours that do too.

    Group 0 has mostly what takes long, and everything there takes `EFFECT` longer.
    """
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, np.pi / 2, n)
    vectors = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    is_first = rng.random(n) < 0.3 * vectors[:, 1] ** 4
    group = np.where(is_first, 0, rng.integers(1, 6, n))
    hours = 20 * vectors[:, 1] + EFFECT * is_first + rng.standard_normal(n)
    return vectors, group, hours


def all_matches(vectors: np.ndarray, group: np.ndarray, k: int = 3) -> Matches:
    return match_in_strata(vectors, np.zeros(len(group), np.int64), group, k)


def test_members_are_matches_of_the_real_group_each_once():
    vectors, group, _ = city(3_000, 1)
    matches = all_matches(vectors, group)
    made = made_up_groups(matches, group, 60, 25, seed=2)
    assert len(made) == 25
    for one in made:
        assert len(np.unique(one.members)) == 60
        assert (np.diff(one.members) > 0).all()
        of = matches.treated[np.isin(matches.control, one.members)]
        assert (group[one.members] != one.like).all()
        theirs = matches.control[group[matches.treated] == one.like]
        assert np.isin(one.members, theirs).all()
        assert (group[of] == one.like).sum() >= 60


def test_real_groups_take_turns():
    vectors, group, _ = city(3_000, 3)
    made = made_up_groups(all_matches(vectors, group), group, 40, 12, seed=4)
    assert [one.like for one in made[:6]] == [one.like for one in made[6:]]
    assert sorted(one.like for one in made[:6]) == [0, 1, 2, 3, 4, 5]
    assert not np.array_equal(made[0].members, made[6].members)


def test_they_are_as_confounded_as_the_real_group_and_have_no_effect():
    vectors, group, hours = city(4_000, 5)
    matches = all_matches(vectors, group)
    crude, matched = [], []
    for one in made_up_groups(matches, group, 80, 60, seed=6):
        if one.like != 0:
            continue
        relabelled = group.copy()
        relabelled[one.members] = 6
        (rows,) = np.nonzero(group != 0)
        is_made_up = relabelled[rows] == 6
        pairs = match_in_strata(
            vectors[rows],
            np.zeros(len(rows), np.int64),
            is_made_up.astype(np.int64),
            3,
            of=is_made_up,
        )
        apart = hours[rows][pairs.treated] - hours[rows][pairs.control]
        matched.append(np.average(apart, weights=pairs.weight))
        crude.append(hours[one.members].mean() - hours[rows][~is_made_up].mean())
    real = matches.of(group == 0)
    effect = np.average(hours[real.treated] - hours[real.control], weights=real.weight)
    confounding = hours[group == 0].mean() - hours[group != 0].mean() - EFFECT
    assert effect == pytest.approx(EFFECT, abs=0.3)
    assert confounding > 2
    assert np.mean(crude) == pytest.approx(confounding, rel=0.15)
    assert np.mean(matched) == pytest.approx(0, abs=0.1)


def test_beside_the_real_group_a_made_up_one_is_not_without_effect():
    vectors, group, hours = city(4_000, 7)
    found = []
    for one in made_up_groups(all_matches(vectors, group), group, 80, 30, seed=8):
        if one.like == 0:
            is_made_up = np.zeros(len(group), bool)
            is_made_up[one.members] = True
            pairs = match_in_strata(
                vectors,
                np.zeros(len(group), np.int64),
                is_made_up.astype(np.int64),
                3,
                of=is_made_up,
            )
            apart = hours[pairs.treated] - hours[pairs.control]
            found.append(np.average(apart, weights=pairs.weight))
    assert np.mean(found) < -0.5  # that is why `like` is said


def test_the_draws_are_those_of_the_seed():
    vectors, group, _ = city(1_000, 9)
    matches = all_matches(vectors, group)
    first, again, other = (made_up_groups(matches, group, 30, 6, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.members, b.members) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a.members, b.members) for a, b in zip(first, other, strict=True))


def pairs_of(treated: list[int], control: list[int]) -> Matches:
    return Matches(
        treated=np.array(treated, np.int64),
        control=np.array(control, np.int64),
        rank=np.ones(len(treated), np.int64),
        similarity=np.ones(len(treated)),
        weight=np.ones(len(treated)),
        asked=np.unique(np.array(treated, np.int64)),
    )


def test_a_group_whose_matches_are_the_same_few_gives_none():
    # Three units of group 0 share one match; those of group 1 have one each.
    group = np.array([0, 0, 0, 1, 1, 1])
    matches = pairs_of([0, 1, 2, 3, 4, 5], [3, 3, 3, 0, 1, 2])
    made = made_up_groups(matches, group, 3, 4, seed=1)
    assert [one.like for one in made] == [1] * 4
    assert all(one.members.tolist() == [0, 1, 2] for one in made)


def test_a_unit_gives_another_match_where_one_is_taken():
    group = np.array([0, 0, 1, 1])
    matches = pairs_of([0, 0, 1, 1], [2, 3, 2, 3])
    for one in made_up_groups(matches, group, 2, 12, seed=1):
        assert one.members.tolist() == [2, 3]


def test_groups_that_are_too_small_are_refused_with_the_largest():
    matches = pairs_of([0, 1, 2, 3, 4, 5], [3, 3, 3, 0, 1, 2])
    group = np.array([0, 0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="no group gives 4 different matches, the largest has 3"):
        made_up_groups(matches, group, 4, 1, seed=1)
    with pytest.raises(ValueError, match="the largest has 0"):
        made_up_groups(pairs_of([], []), group, 4, 1, seed=1)
    assert made_up_groups(matches, group, 4, 0, seed=1) == []


def test_pairs_of_one_group_and_groups_of_nobody_are_refused():
    group = np.array([0, 0, 1])
    with pytest.raises(ValueError, match=r"1 pairs are of one group, first of rows \[0\]"):
        made_up_groups(pairs_of([0, 1], [1, 2]), group, 1, 1, seed=1)
    with pytest.raises(ValueError, match="1 groups of 0 were asked for"):
        made_up_groups(pairs_of([0], [2]), group, 0, 1, seed=1)
