"""A made-up city of which both potential waits of every case are known, and what estimators say.

Topics drive where a case lies, how long it takes and, in some scenarios, when it was opened. The
vector of a case is its topic's direction with a deviation of its own, which matters for the wait
too: matches are never perfect, and controls are used again.
"""

from dataclasses import dataclass

import numpy as np

from city311_assets.causal.methods.aipw import aipw_effect
from city311_assets.causal.methods.balance import principal_components
from city311_assets.causal.methods.disparities import (
    SameSide,
    Units,
    controls_of,
    corrected_effects,
    matched_effects,
    naive_effects,
)
from city311_assets.causal.methods.estimators import Effect
from city311_assets.causal.methods.matching import match_in_strata
from city311_assets.causal.methods.outcomes import is_mature, pseudo_observations, restricted
from city311_assets.gold.methods.arrays import Bools, Floats, Ints

TAU = 720.0
DAYS = 240.0
TOPICS, DIMENSIONS = 10, 24
TREATED, CONTROL = 1, 0


@dataclass(frozen=True)
class Scenario:
    """What is planted: hours added to the treated, and what openings depend on."""

    name: str
    extra_hours: float = 24.0
    cases: int = 1_200
    share: float = 0.12
    tilt: float = 1.0
    late_treated: float = 0.0
    late_topics: float = 0.0


SCENARIOS = (
    Scenario("effect"),
    Scenario("no effect", extra_hours=0.0),
    Scenario("controls reused", share=0.3, tilt=1.6),
    Scenario("openings by group", late_treated=1.0),
    Scenario("openings by topic", late_topics=1.0),
)


@dataclass(frozen=True)
class City:
    """One draw: what is observed of its cases, and the truth of the mature ones."""

    vectors: np.ndarray
    strata: Ints
    groups: Ints
    opened: Floats
    hours: Floats
    open_hours: Floats
    gain: Floats

    @property
    def is_mature(self) -> Bools:
        """Whether a case was opened early enough."""
        return is_mature((DAYS - self.opened) * 24, TAU)


def drawn(scenario: Scenario, seed: int) -> City:
    """Draw a city."""
    rng = np.random.default_rng(seed)
    # Topics and what they do are the same in every draw; cases are not.
    fixed = np.random.default_rng(311)
    centres = fixed.normal(size=(TOPICS, DIMENSIONS))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    level = fixed.normal(4.3, 0.5, TOPICS)
    pull = fixed.normal(0, 0.7, TOPICS)
    slope = fixed.normal(0, 0.6, DIMENSIONS)
    n = scenario.cases
    topic = rng.integers(TOPICS, size=n)
    deviation = rng.normal(size=(n, DIMENSIONS)) * 0.13
    vectors = centres[topic] + deviation
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    channel = rng.integers(2, size=n)
    lean = scenario.tilt * pull[topic]
    chance = 1 / (1 + np.exp(-(np.log(scenario.share / (1 - scenario.share)) + lean)))
    groups = (rng.random(n) < chance).astype(np.int64)
    # Later openings are drawn as the larger of two uniform ones, more often for some.
    place = rng.random(n)
    lateness = scenario.late_treated * groups + scenario.late_topics * (topic % 2)
    place = np.where(rng.random(n) < lateness * 0.7, np.maximum(place, rng.random(n)), place)
    opened = place * DAYS
    usual = np.exp(level[topic] + 0.3 * channel + deviation @ slope + rng.normal(0, 0.8, n))
    longer = usual + scenario.extra_hours * rng.gamma(4, 1 / 4, n)
    took = np.where(groups == TREATED, longer, usual)
    left = (DAYS - opened) * 24
    gain = np.minimum(longer, TAU) - np.minimum(usual, TAU)
    strata = channel * 2 + (topic >= TOPICS // 2)
    hours = np.where(took <= left, took, np.nan)
    return City(
        vectors.astype(np.float32), strata.astype(np.int64), groups, opened, hours, left, gain
    )


@dataclass(frozen=True)
class Told:
    """What one estimator says of one draw, and the truth of the cases that it speaks of."""

    effect: Effect
    truth: float


def told(city: City, seed: int, draws: int = 0, *, with_aipw: bool = False) -> dict[str, Told]:
    """Return what every estimator says of a draw."""
    chosen = city.is_mature
    outcome = restricted(city.hours, city.open_hours, TAU)
    units, gain = _units(city, outcome, chosen), city.gain[chosen]
    pairs = match_in_strata(units.vectors, units.strata, units.groups, 3, nearness=units.nearness)
    same_side = SameSide(units)

    def own(effect: Effect) -> Told:
        matched = pairs.of(units.groups == TREATED).matched
        return Told(effect, float(gain[matched].mean()))

    everyone = np.ones(len(outcome), np.bool_)
    time = np.where(np.isnan(city.hours), city.open_hours, city.hours)
    guessed = pseudo_observations(time, ~np.isnan(city.hours), city.groups, TAU)
    all_units = _units(city, guessed, everyone)
    # As once published: whatever is closed, however lately it was opened.
    closed = ~np.isnan(city.hours)
    hours, closed_groups = city.hours[closed], city.groups[closed]
    closed_pairs = match_in_strata(
        city.vectors[closed], city.strata[closed], closed_groups, 3, nearness=city.opened[closed]
    )

    def naive(outcome: Floats) -> Told:
        effect = naive_effects(outcome, closed_groups, closed_pairs, 3, seed)[TREATED]
        matched = closed_pairs.of(closed_groups == TREATED).matched
        return Told(effect, float(city.gain[closed][matched].mean()))

    all_pairs = match_in_strata(
        all_units.vectors, all_units.strata, all_units.groups, 3, nearness=all_units.nearness
    )
    all_matched = all_pairs.of(city.groups == TREATED).matched
    of_all = corrected_effects(
        all_units, all_pairs, 3, same_side=SameSide(all_units), groups=[TREATED]
    )
    found = {
        "bias_corrected": own(
            corrected_effects(
                units, pairs, 3, same_side=same_side, draws=draws, seed=seed, groups=[TREATED]
            )[TREATED]
        ),
        "matched": own(matched_effects(units, pairs, 3, same_side=same_side)[TREATED]),
        "naive": naive(hours),
        "naive_restricted": naive(np.minimum(hours, TAU)),
        "all_cases": Told(of_all[TREATED], float(city.gain[all_matched].mean())),
    }
    if with_aipw:
        is_control = controls_of(units.groups, units.strata, TREATED)
        is_own = units.groups == TREATED
        effect = aipw_effect(units.outcome, is_own, is_control, units.adjustment, seed=seed)
        found["aipw"] = Told(effect, float(gain[is_own].mean()))
    return found


def _units(city: City, outcome: Floats, chosen: Bools) -> Units:
    vectors = city.vectors[chosen]
    opened = city.opened[chosen]
    return Units(
        outcome[chosen],
        city.groups[chosen],
        vectors,
        city.strata[chosen],
        opened,
        np.column_stack([principal_components(vectors, 10), opened]),
    )


@dataclass(frozen=True)
class Score:
    """How an estimator did over draws: hours, and shares of draws."""

    draws: int
    truth: float
    bias: float
    error: float
    coverage: float
    width: float
    rejected: float
    rejected_by_flips: float | None

    def __str__(self) -> str:
        flips = "" if self.rejected_by_flips is None else f", by flips {self.rejected_by_flips:.1%}"
        return (
            f"bias {self.bias:+.2f} h of {self.truth:.1f}, error {self.error:.2f}, covers "
            f"{self.coverage:.1%}, width {self.width:.1f}, p < 0.05 in {self.rejected:.1%}{flips}"
        )


def scored(runs: list[Told]) -> Score:
    """Return how an estimator did."""
    effects = [run.effect for run in runs]
    truth = np.array([run.truth for run in runs])
    estimate, low, high, p = (
        np.array([getattr(effect, name) for effect in effects], np.float64)
        for name in ("estimate", "low", "high", "p")
    )
    flips = [effect.p_randomization for effect in effects]
    return Score(
        draws=len(runs),
        truth=float(truth.mean()),
        bias=float((estimate - truth).mean()),
        error=float((estimate - truth).std(ddof=1)),
        coverage=float(((low <= truth) & (truth <= high)).mean()),
        width=float((high - low).mean()),
        rejected=float((p < 0.05).mean()),
        rejected_by_flips=None
        if any(flip is None for flip in flips)
        else float((np.array(flips, np.float64) < 0.05).mean()),
    )
