"""Effects of made-up neighbourhoods, which have none.

What belongs here: putting a made-up neighbourhood through the headline's estimator. What does not:
how it is drawn (`placebo`).
"""

import numpy as np

from city311_assets.causal.methods.disparities import SameSide, Units, used_controls
from city311_assets.causal.methods.estimators import Effect, bias_corrected_effect
from city311_assets.causal.methods.matching import Matches, match_in_strata
from city311_assets.causal.methods.placebo import MadeUpGroup, made_up_groups


def made_up_effects(
    units: Units, matches: Matches, k: int, *, size: int, count: int, seed: int
) -> list[Effect]:
    """Return the effects, those that have a p, of `count` made-up neighbourhoods.

    A made-up neighbourhood is compared with what is neither in it nor in the real one that it is
    like. Where no real one has enough cases to be like, there are none.
    """
    try:
        groups = made_up_groups(matches, units.groups, size, count, seed)
    except ValueError:
        return []
    same_side = SameSide(units)
    found = (_effect(units, group, k, same_side) for group in groups)
    return [effect for effect in found if effect.p is not None]


def _effect(units: Units, group: MadeUpGroup, k: int, same_side: SameSide) -> Effect:
    is_member = np.zeros(units.size, np.bool_)
    is_member[group.members] = True
    is_like = units.groups == group.like
    is_there = ~is_like & np.isin(units.strata, np.unique(units.strata[group.members]))
    (rows,) = np.nonzero(is_there)
    own = is_member[rows]
    found = match_in_strata(
        units.vectors[rows],
        units.strata[rows],
        own.astype(np.int64),
        k,
        of=own,
        nearness=units.nearness[rows],
    )
    pairs = Matches(
        treated=rows[found.treated],
        control=rows[found.control],
        rank=found.rank,
        similarity=found.similarity,
        weight=found.weight,
        asked=rows[found.asked],
    )
    variance = same_side.variance(None, used_controls(pairs), is_member | is_like)
    is_control = is_there & ~is_member
    return bias_corrected_effect(units.outcome, pairs, variance, units.adjustment, is_control)
