"""How much longer every neighbourhood's cases took: all estimators, for all neighbourhoods at once.

What belongs here: which estimate is made of which pairs, what is shared between neighbourhoods, and
which estimates are not to be trusted. What does not: the estimators themselves.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from city311_assets.causal.methods.aipw import aipw_effect
from city311_assets.causal.methods.estimators import (
    Effect,
    bias_corrected_effect,
    conditional_variance,
    contributions,
    matched_effect,
    naive_effect,
    regression_residuals,
    sign_flip_p,
)
from city311_assets.causal.methods.matching import Matches, Vectors, similar_in_strata
from city311_assets.gold.methods.arrays import Bools, Floats, Ints

K_CHOICES = (1, 3, 5)
OUTSIDE_CALIPER = "outside the caliper"
NOT_BALANCED = "not balanced"
LITTLE_SUPPORT = "little support"
# A standardized difference of the text's propensity beyond this, and beyond chance, is no balance.
BALANCED_WITHIN = 0.25
# Of chance: so many standard errors of a difference between that many cases.
CHANCE_ERRORS = 2.0
LEAST_SUPPORT = 0.5
# Nearest units of the same side by which a variance is estimated, and how many are looked at.
OF_THE_SAME = 4
LOOKED_AT = 16
Z_95 = 1.959963984540054
# Of more controls the cross-check draws so many: its models are fitted anew for each one.
MOST_CONTROLS = 3_000


@dataclass(frozen=True)
class Units:
    """The units of a study, a row each: outcome, neighbourhood and what they are alike in.

    `outcome` (n,), `groups` (n,) numbered from 0, `vectors` (n, d), `strata` (n,), `nearness` (n,)
    by which ties are told apart, `adjustment` (n, q).
    """

    outcome: Floats
    groups: Ints
    vectors: Vectors
    strata: Ints
    nearness: Floats
    adjustment: Floats

    @property
    def size(self) -> int:
        """Number of units."""
        return len(self.outcome)


class SameSide:
    """The variance of controls' outcomes given their text, one search for all neighbourhoods."""

    def __init__(self, units: Units, of: Bools | None = None) -> None:
        self._units = units
        self._near, _ = similar_in_strata(
            units.vectors, units.strata, LOOKED_AT, of=of, nearness=units.nearness
        )

    def variance(self, group: int | None, used: Ints, is_treated: Bools | None = None) -> Floats:
        """Return the variance of each unit, read where one is used as a control: (n,), else 0.

        Of the nearest those of the treated group (or of `is_treated`) are left out.
        """
        units = self._units
        if not len(used):
            return np.zeros(units.size)
        near = self._near[used]
        apart = units.groups == group if is_treated is None else is_treated
        is_out = (near < 0) | apart[near]
        first = np.argsort(is_out, axis=1, kind="stable")[:, :OF_THE_SAME]
        chosen = np.where(
            np.take_along_axis(is_out, first, 1), -1, np.take_along_axis(near, first, 1)
        )
        variance = np.zeros(units.size)
        found = conditional_variance(units.outcome, chosen, used)
        # Where nobody has a like one, the outcomes' own variance is no smaller than it.
        variance[used] = np.where(np.isnan(found), units.outcome[used].var(), found)
        return variance


def used_controls(matches: Matches) -> Ints:
    """Return the units that are used as controls at least once, sorted."""
    return np.unique(matches.control)


def controls_of(groups: Ints, strata: Ints, group: int) -> Bools:
    """Return the units that may be controls of a group: of others, in strata where it has units."""
    is_own = groups == group
    return ~is_own & np.isin(strata, np.unique(strata[is_own]))


def corrected_effects(
    units: Units,
    matches: Matches,
    k: int,
    *,
    same_side: SameSide,
    draws: int = 0,
    seed: int = 0,
    groups: Iterable[int] | None = None,
) -> dict[int, Effect]:
    """Return the bias-corrected effect of each group; sign flips are drawn once for all of them."""
    nearest = matches.nearest(k)
    found: dict[int, Effect] = {}
    columns = []
    for group in range(int(units.groups.max(initial=-1)) + 1) if groups is None else groups:
        own = nearest.of(units.groups == group)
        is_control = controls_of(units.groups, units.strata, group)
        found[group] = bias_corrected_effect(
            units.outcome,
            own,
            same_side.variance(group, used_controls(own)),
            units.adjustment,
            is_control,
            reason_if_unmatched=OUTSIDE_CALIPER
            if is_control.any()
            else "no control in the stratum",
        )
        if draws and found[group].se is not None:
            residual = regression_residuals(units.outcome, own, units.adjustment, is_control)
            columns.append((group, contributions(residual, own)))
    if columns:
        estimates = np.array([found[group].estimate for group, _ in columns], np.float64)
        p = sign_flip_p(np.column_stack([part for _, part in columns]), estimates, draws, seed)
        for (group, _), value in zip(columns, p, strict=True):
            found[group] = replace(found[group], p_randomization=float(value))
    return found


def matched_effects(
    units: Units, matches: Matches, k: int, *, same_side: SameSide
) -> dict[int, Effect]:
    """Return the plain matched effect of each group."""
    nearest = matches.nearest(k)
    found = {}
    for group in range(int(units.groups.max(initial=-1)) + 1):
        own = nearest.of(units.groups == group)
        variance = same_side.variance(group, used_controls(own))
        found[group] = matched_effect(
            units.outcome, own, variance, reason_if_unmatched=OUTSIDE_CALIPER
        )
    return found


def naive_effects(
    outcome: Floats, groups: Ints, matches: Matches, k: int, seed: int
) -> dict[int, Effect]:
    """Return the naive effect of each group, of pairs of which both are closed."""
    nearest = matches.nearest(k)
    return {
        group: naive_effect(outcome, nearest.of(groups == group), seed)
        for group in range(int(groups.max(initial=-1)) + 1)
    }


def doubly_robust_effects(units: Units, seed: int) -> Iterator[tuple[int, Effect]]:
    """Yield the cross-fitted doubly robust effect of each group."""
    for group in range(int(units.groups.max(initial=-1)) + 1):
        is_control = controls_of(units.groups, units.strata, group)
        is_own = units.groups == group
        if is_control.any():
            # A case that nobody elsewhere shares a stratum with is no question of weights.
            is_own &= np.isin(units.strata, units.strata[is_control])
        yield (
            group,
            aipw_effect(
                units.outcome,
                is_own,
                is_control,
                units.adjustment,
                seed=seed,
                most_controls=MOST_CONTROLS,
            ),
        )


def untrusted(effect: Effect, propensity_smd: float) -> str | None:
    """Return why an effect is not to be quoted: `not balanced`, `little support`; None if it is.

    The limit of the text's propensity allows for the difference that chance makes between so few.
    """
    if effect.se is None:
        return effect.reason
    if effect.share_on_support < LEAST_SUPPORT:
        return LITTLE_SUPPORT
    chance = np.sqrt(1 / effect.n_matched + 1 / max(effect.effective_controls, 1.0))
    limit = max(BALANCED_WITHIN, CHANCE_ERRORS * float(chance))
    return NOT_BALANCED if abs(propensity_smd) > limit else None


def withheld(effect: Effect, reason: str) -> Effect:
    """Return an effect without interval and p, with the reason."""
    return replace(
        effect, se=None, low=None, high=None, p=None, p_randomization=None, reason=reason
    )


def is_contradicted(headline: Effect, check: Effect) -> bool | None:
    """Whether two estimates are further apart than their joint error; None where one has none."""
    if headline.estimate is None or check.estimate is None:
        return None
    if headline.se is None or check.se is None:
        return None
    joint = float(np.hypot(headline.se, check.se))
    return abs(headline.estimate - check.estimate) > Z_95 * joint
