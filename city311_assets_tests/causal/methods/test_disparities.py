"""Which effects are to be quoted, and what is asked of all neighbourhoods at once."""

from dataclasses import replace

import numpy as np
import pytest

from city311_assets.causal.methods.disparities import (
    SameSide,
    Units,
    controls_of,
    corrected_effects,
    is_contradicted,
    untrusted,
    used_controls,
    withheld,
)
from city311_assets.causal.methods.estimators import Effect
from city311_assets.causal.methods.matching import match_in_strata

SOUND = Effect(
    estimator="bias_corrected",
    estimate=10.0,
    se=2.0,
    low=6.0,
    high=14.0,
    p=0.001,
    p_randomization=0.001,
    n_treated=400,
    n_matched=400,
    n_controls_used=900,
    effective_controls=600.0,
    share_on_support=1.0,
    mean_similarity=0.9,
    reason=None,
)


def units(n: int = 240, seed: int = 3) -> Units:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Units(
        rng.lognormal(3, 0.5, n),
        rng.integers(3, size=n),
        vectors,
        rng.integers(2, size=n),
        rng.uniform(0, 90, n),
        rng.normal(size=(n, 2)),
    )


def test_an_effect_of_less_than_half_of_the_cases_is_not_quoted():
    assert untrusted(SOUND, 0.0) is None
    assert untrusted(replace(SOUND, share_on_support=0.49), 0.0) == "little support"


@pytest.mark.parametrize(
    ("smd", "reason"), [(0.24, None), (0.26, "not balanced"), (-0.3, "not balanced")]
)
def test_an_effect_whose_text_tells_the_place_is_not_quoted(smd: float, reason: str | None):
    assert untrusted(SOUND, smd) == reason


def test_between_few_cases_chance_alone_makes_a_difference():
    few = replace(SOUND, n_matched=36, effective_controls=36.0)
    assert untrusted(few, 0.4) is None
    assert untrusted(few, 0.5) == "not balanced"


def test_what_is_withheld_keeps_its_raw_number_and_says_why():
    kept = withheld(SOUND, "not balanced")
    assert (kept.estimate, kept.reason) == (10.0, "not balanced")
    assert kept.se is kept.low is kept.high is kept.p is kept.p_randomization is None
    assert untrusted(kept, 0.0) == "not balanced"


def test_two_estimates_contradict_each_other_beyond_their_joint_error():
    assert is_contradicted(SOUND, replace(SOUND, estimate=15.0)) is False
    assert is_contradicted(SOUND, replace(SOUND, estimate=16.0)) is True
    assert is_contradicted(SOUND, withheld(SOUND, "too few")) is None


def test_controls_are_of_other_places_in_shared_strata():
    groups, strata = np.array([0, 0, 1, 1, 2]), np.array([5, 6, 5, 7, 6])
    assert controls_of(groups, strata, 0).tolist() == [False, False, True, False, True]


def test_all_places_at_once_are_what_each_is_alone():
    some = units()
    pairs = match_in_strata(some.vectors, some.strata, some.groups, 3, nearness=some.nearness)
    same_side = SameSide(some)
    together = corrected_effects(some, pairs, 3, same_side=same_side, draws=500, seed=1)
    assert sorted(together) == [0, 1, 2]
    for group, effect in together.items():
        alone = corrected_effects(some, pairs, 3, same_side=same_side, groups=[group])[group]
        assert (alone.estimate, alone.se) == (effect.estimate, effect.se)
        assert effect.p is not None
        assert effect.p_randomization is not None
        assert abs(effect.p_randomization - effect.p) < 0.15


def test_a_variance_is_that_of_controls_alone():
    some = units()
    own = some.groups == 0
    shifted = replace(some, outcome=np.where(own, 1e6, some.outcome))
    pairs = match_in_strata(some.vectors, some.strata, some.groups, 3).of(own)
    used = used_controls(pairs)
    before, after = (SameSide(one).variance(0, used) for one in (some, shifted))
    np.testing.assert_array_equal(before, after)
    assert (before[used] > 0).all()
    assert not before[np.setdiff1d(np.arange(some.size), used)].any()
