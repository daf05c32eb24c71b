"""How much longer the treated units' outcome is than that of their matches, and how sure that is.

What belongs here: estimates, standard errors, intervals and p values of matched units, arrays in
and an `Effect` out. What does not: the matching, the outcome's making, or which results are shown.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from city311_assets.causal.methods.matching import Matches
from city311_assets.gold.methods.arrays import Bools, Floats, Ints

# Fewer matched treated units have an estimate, but no standard error that can be trusted.
LEAST_TREATED = 30
# From so many matched treated units on quantiles are normal ones, below they are Student's.
NORMAL_FROM = 50
# The adjustment is fitted on the matched controls only from so many treated units on, and if the
# controls are worth so many for each column: a fit on fewer adds noise that no variance counts.
FIT_ON_MATCHED_FROM = 100
CONTROLS_PER_COLUMN = 20
# The ridge shrinks the slopes of an adjustment as much as so many records of no slope would.
RIDGE = 1.0
# A direction in which columns vary by a smaller share of their largest is none.
SINGULAR = 1e-10
LEVEL = 0.95
DRAWS = 10_000
BOOTSTRAP_DRAWS = 2_000
SEED = 311
# Signs, or resampled pairs, in memory at a time: 32 MB.
BLOCK = 8_000_000
# Sums of float32 that are equal but for rounding differ by no more than this share.
ROUNDING = 1e-5
NAMED_ROWS = 10

TOO_FEW = "too few"
CONSTANT = "constant outcome"
NO_CONTROL = "no control in the stratum"
NO_CLOSED_PAIR = "no closed pair"
NO_VARIANCE = "no spread to tell the error by"

FitOn = Literal["all", "matched"]


@dataclass(frozen=True, slots=True)
class Effect:
    """An average difference of treated units from their matches, or the reason there is none.

    Attributes
    ----------
    estimator
        What computed it.
    estimate
        In the outcome's unit: how much more the matched treated units have than similar controls.
    se, low, high, p
        Standard error, the 95 % interval it gives, and the two-sided p that agrees with the
        interval. None where there is a reason.
    p_randomization
        Two-sided p of flipping the sign of each unit's contribution, where it was asked for.
    n_treated, n_matched
        Units a match was sought for, and those with one.
    n_controls_used, effective_controls
        Different controls, and how many used equally often would say as much: (ΣK)² / ΣK².
    share_on_support
        Matched by treated.
    mean_similarity
        Of a treated unit to its matches, averaged over units.
    reason
        Why a number is missing.
    """

    estimator: str
    estimate: float | None
    se: float | None
    low: float | None
    high: float | None
    p: float | None
    p_randomization: float | None
    n_treated: int
    n_matched: int
    n_controls_used: int
    effective_controls: float
    share_on_support: float
    mean_similarity: float | None
    reason: str | None


def matched_effect(
    outcome: Floats,
    matches: Matches,
    variance: Floats,
    *,
    draws: int = 0,
    seed: int = SEED,
    reason_if_unmatched: str = NO_CONTROL,
) -> Effect:
    """Return the mean difference of treated units from their matches.

    Its variance is that of Abadie and Imbens for the treated population, which counts how often
    each control is used: n₁⁻² [Σ (dᵢ - d)² + Σ (Kⱼ² - K'ⱼ) sⱼ²], where d is the mean of the dᵢ and
    sⱼ² is `variance`. The interval is wrong by what imperfect matches leave of a bias.
    https://doi.org/10.1111/j.1468-0262.2006.00655.x

    Parameters
    ----------
    outcome
        Shape (n,).
    matches
        Pairs of the treated units in question, and of no others.
    variance
        Shape (n,): of the outcome given what was matched on, read where a control is used.
    draws
        Sign flips of `p_randomization`; none, and no such p, if 0.
    seed
        Of the sign flips.
    reason_if_unmatched
        What to say where no treated unit has a match.
    """
    _refuse_unknown(outcome, matches)
    effect = _unknown("matched", matches, len(outcome), reason_if_unmatched)
    return _effect(effect, outcome, outcome, matches, variance=variance, draws=draws, seed=seed)


def bias_corrected_effect(
    outcome: Floats,
    matches: Matches,
    variance: Floats,
    adjustment: Floats,
    is_control: Bools,
    *,
    ridge: float = RIDGE,
    fit_on: FitOn | None = None,
    draws: int = 0,
    seed: int = SEED,
    reason_if_unmatched: str = NO_CONTROL,
) -> Effect:
    """Return the mean difference from matches, less what imperfect matches explain of it.

    Both sides are residuals of a regression on the controls: (Yᵢ - m(xᵢ)) less the mean of
    (Yⱼ - m(xⱼ)). The variance is that of `matched_effect` on these differences.
    https://doi.org/10.1198/jbes.2009.07333

    Parameters
    ----------
    outcome, matches, variance, draws, seed, reason_if_unmatched
        As of `matched_effect`.
    adjustment, is_control, ridge, fit_on
        As of `regression_residuals`.
    """
    _refuse_unknown(outcome, matches)
    effect = _unknown("bias_corrected", matches, len(outcome), reason_if_unmatched)
    if effect.n_matched == 0:
        return effect
    residual = regression_residuals(
        outcome, matches, adjustment, is_control, ridge=ridge, fit_on=fit_on
    )
    return _effect(effect, outcome, residual, matches, variance=variance, draws=draws, seed=seed)


def naive_effect(
    outcome: Floats,
    matches: Matches,
    seed: int = SEED,
    *,
    draws: int = BOOTSTRAP_DRAWS,
    reason_if_unmatched: str = NO_CONTROL,
) -> Effect:
    """Return the mean difference of pairs of which both are known, with a paired bootstrap.

    For comparison only. Resampling pairs takes the differences of a control that is used again for
    independent ones: the interval is too short (https://doi.org/10.3982/ECTA6474). Leaving out
    what is still open leaves out what takes long.

    Parameters
    ----------
    outcome
        Shape (n,): NaN where it is not known.
    matches
        Pairs of the treated units in question, and of no others.
    seed, draws
        Of the bootstrap: the interval is one of its percentiles, p its smaller tail twice.
    reason_if_unmatched
        What to say where no treated unit has a match.
    """
    known = np.isfinite(outcome)
    is_pair = known[matches.treated] & known[matches.control]
    pairs = replace(
        matches,
        treated=matches.treated[is_pair],
        control=matches.control[is_pair],
        rank=matches.rank[is_pair],
        similarity=matches.similarity[is_pair],
        weight=np.ones(int(is_pair.sum())),
    )
    reason = NO_CLOSED_PAIR if len(matches.treated) else reason_if_unmatched
    effect = _unknown("naive", pairs, len(outcome), reason)
    if effect.n_matched == 0:
        return effect
    if _is_constant(outcome, pairs):
        return replace(effect, reason=CONSTANT)
    difference = outcome[pairs.treated] - outcome[pairs.control]
    effect = replace(effect, estimate=float(difference.mean()), reason=None)
    if effect.n_matched < LEAST_TREATED:
        return replace(effect, reason=TOO_FEW)
    if np.ptp(difference) == 0:
        return replace(effect, reason=NO_VARIANCE)
    means = _bootstrap_means(difference, draws, seed)
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    tail = min((means <= 0).sum(), (means >= 0).sum())
    return replace(
        effect,
        se=float(means.std(ddof=1)),
        low=float(low),
        high=float(high),
        p=float(min(2 * (1 + tail) / (1 + draws), 1.0)),
    )


def conditional_variance(outcome: Floats, near: Ints, of: Ints) -> Floats:
    """Return the variance of units' outcomes given what they were matched on, (m,).

    That of each unit and its nearest of the same group, with one less than their number below. It
    expects the same as the J / (J + 1) (Y - mean of the J)² of Abadie and Imbens, varies less, and
    is what R's package Matching computes.

    Parameters
    ----------
    outcome
        Shape (n,).
    near
        Shape (m, J), padded with -1: the nearest of each unit, J = 4 if not more are tied.
    of
        Shape (m,): the units. One without a near unit gets the mean of the others, or NaN if none
        has any.
    """
    if len(near) != len(of):
        raise ValueError(f"{len(near)} rows of nearest units for {len(of)} units")
    is_there = near >= 0
    count = 1 + is_there.sum(axis=1)
    values = np.where(is_there, outcome[near], 0.0)
    mean = (outcome[of] + values.sum(axis=1)) / count
    squares = (outcome[of] - mean) ** 2
    squares += np.where(is_there, (values - mean[:, None]) ** 2, 0.0).sum(axis=1)
    variance = np.full(len(of), np.nan)
    is_known = count > 1
    variance[is_known] = squares[is_known] / (count[is_known] - 1)
    if is_known.any():
        variance[~is_known] = variance[is_known].mean()
    return variance


def homoskedastic_variance(outcome: Floats, matches: Matches) -> float:
    """Return the variance that all units would share: half that of the pairs' differences.

    NaN without a pair. For the bias-corrected effect give the residuals.
    """
    if not len(matches.treated):
        return float("nan")
    difference = outcome[matches.treated] - outcome[matches.control]
    apart = difference - np.average(difference, weights=matches.weight)
    return float(np.average(apart**2, weights=matches.weight)) / 2


def regression_residuals(
    outcome: Floats,
    matches: Matches,
    adjustment: Floats,
    is_control: Bools,
    *,
    ridge: float = RIDGE,
    fit_on: FitOn | None = None,
) -> Floats:
    """Return every unit's outcome less what a regression fitted on controls expects, (n,).

    Parameters
    ----------
    outcome, matches
        As of `matched_effect`.
    adjustment
        Shape (n, q): what to regress on, in any units.
    is_control
        Shape (n,): the units that may be controls; all that are used must be.
    ridge
        Added to the squares of each standardized column; 0 is least squares.
    fit_on
        All controls alike, or those matched, as often as they are used: nearer to the treated
        units, but fewer. If left out, the matched ones where there are enough of them.
    """
    x = np.asarray(adjustment, np.float64)
    n = len(outcome)
    if x.ndim != 2 or len(x) != n:
        raise ValueError(f"the adjustment has the shape {x.shape}; give a row for each of {n}")
    if len(stray := np.unique(matches.control[~is_control[matches.control]])):
        raise ValueError(
            f"{len(stray)} units were matched as controls and are none, the first are rows "
            f"{stray[:NAMED_ROWS].tolist()}; match again among the controls"
        )
    used, _ = matches.control_weights(n)
    if fit_on is None:
        is_enough = _effective(used) >= CONTROLS_PER_COLUMN * x.shape[1]
        is_enough &= len(matches.matched) >= FIT_ON_MATCHED_FROM
        fit_on = "matched" if is_enough else "all"
    weight = is_control.astype(np.float64) if fit_on == "all" else used
    (rows,) = np.nonzero(weight)
    if not len(rows):
        raise ValueError("the adjustment has no control to be fitted on")
    is_unknown = ~(np.isfinite(x).all(axis=1) & np.isfinite(outcome))
    read = np.union1d(rows, matches.treated)
    if len(unknown := read[is_unknown[read]]):
        raise ValueError(
            f"the outcome or the adjustment of {len(unknown)} units is missing or infinite, the "
            f"first are rows {unknown[:NAMED_ROWS].tolist()}; leave them out before matching"
        )
    weight, fitted = weight[rows], x[rows]
    # A column that is the same in all controls says nothing of any other value.
    is_varied = np.ptp(fitted, axis=0) > 0
    if not is_varied.all():
        x, fitted = x[:, is_varied], fitted[:, is_varied]
    centre = weight @ fitted / weight.sum()
    level = weight @ outcome[rows] / weight.sum()
    apart = fitted - centre
    weighted = apart * weight[:, None]
    # By normal equations: a decomposition of all controls would take ten times as long.
    squares = weighted.T @ apart
    spread = np.sqrt(np.diag(squares) / weight.sum())
    squares = squares / np.outer(spread, spread) + ridge * np.eye(len(spread))
    target = weighted.T @ (outcome[rows] - level) / spread
    slopes = np.linalg.lstsq(squares, target, rcond=SINGULAR)[0] / spread
    return outcome - level - (x @ slopes - centre @ slopes)


def contributions(residual: Floats, matches: Matches) -> Floats:
    """Return what each unit adds to the mean difference, (n,): 0 where it has no part in it.

    Residuals are taken from the mean of the controls as often as they are used: the sum does not
    change, and no unit counts for being far from 0.
    """
    matched = matches.matched
    used, _ = matches.control_weights(len(residual))
    if not len(matched):
        return np.zeros(len(residual))
    share = -used / used.sum()
    share[matched] += 1 / len(matched)
    (rows,) = np.nonzero(used)
    level = np.average(residual[rows], weights=used[rows])
    return np.where(share != 0, share * (residual - level), 0.0)


def sign_flip_p(
    contributions: Floats, observed: float | Floats, draws: int = DRAWS, seed: int = SEED
) -> Floats:
    """Return how often sums with signs at random are as far from 0 as the observed, two-sided.

    A unit's sign is flipped once however often it is used: flipping within matched sets takes
    reused controls for several, and finds effects where there are none.

    Parameters
    ----------
    contributions
        Shape (n,) or (n, G): of every unit to each of G estimates, as of `contributions`.
    observed
        Shape () or (G,): the estimates.
    draws
        Random signs of all units, the same for all estimates; p is no less than 1 / (1 + draws).
    seed
        Of the signs.

    Returns
    -------
    Floats
        Shape () or (G,); NaN where the estimate is.
    """
    if draws < 1:
        raise ValueError(f"{draws} draws of signs were asked for; ask for 1 or more")
    given = np.asarray(contributions, np.float64)
    target = np.abs(np.asarray(observed, np.float64))
    columns = given if given.ndim == 2 else given[:, None]
    columns = columns[np.any(columns != 0, axis=1)]
    scale = np.sqrt((columns**2).sum(axis=0))
    scale = np.where(scale > 0, scale, 1.0)
    # Sums in units of their own spread fit float32 whatever the outcome's unit.
    parts = (columns / scale).astype(np.float32)
    least = (np.atleast_1d(target) / scale * (1 - ROUNDING)).astype(np.float32)
    rng = np.random.default_rng(seed)
    step = max(BLOCK // max(len(parts), 1), 1)
    beyond = np.zeros(parts.shape[1], np.int64)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        bits = np.frombuffer(rng.bytes(-(-size * len(parts) // 8)), np.uint8)
        signs = np.unpackbits(bits, count=size * len(parts)).astype(np.float32)
        signs = (2 * signs - 1).reshape(size, len(parts))
        beyond += (np.abs(signs @ parts) >= least).sum(axis=0)
    p = np.where(np.isfinite(np.atleast_1d(target)), (1 + beyond) / (1 + draws), np.nan)
    return p.reshape(target.shape)


def _effect(
    effect: Effect,
    outcome: Floats,
    residual: Floats,
    matches: Matches,
    *,
    variance: Floats,
    draws: int,
    seed: int,
) -> Effect:
    """Return the effect with its numbers, as far as the matches carry any."""
    if effect.n_matched == 0:
        return effect
    if _is_constant(outcome, matches):
        return replace(effect, reason=CONSTANT)
    _, at = np.unique(matches.treated, return_inverse=True)
    apart = residual[matches.treated] - residual[matches.control]
    difference = np.bincount(at, matches.weight * apart)
    estimate = float(difference.mean())
    effect = replace(effect, estimate=estimate, reason=None)
    if effect.n_matched < LEAST_TREATED:
        return replace(effect, reason=TOO_FEW)
    used, squared = matches.control_weights(len(outcome))
    reuse = used**2 - squared
    # A control that is used once adds to the differences' own spread, and to nothing else.
    (again,) = np.nonzero(reuse > 1e-12)
    spread = ((difference - estimate) ** 2).sum() + (reuse[again] * variance[again]).sum()
    if not (np.isfinite(spread) and spread > 0):
        return replace(effect, reason=NO_VARIANCE)
    se = float(np.sqrt(spread)) / effect.n_matched
    low, high, p = interval(estimate, se, effect.n_matched)
    flipped = None
    if draws:
        flipped = float(sign_flip_p(contributions(residual, matches), estimate, draws, seed))
    return replace(effect, se=se, low=low, high=high, p=p, p_randomization=flipped)


def interval(estimate: float, se: float, n: int) -> tuple[float, float, float]:
    """Return the ends of the 95 % interval of an estimate on n units, and the p that agrees.

    By Student's t below 50 units, else the normal law.
    """
    from scipy import special

    share, away = (1 + LEVEL) / 2, abs(estimate) / se
    if n >= NORMAL_FROM:
        half, tail = special.ndtri(share) * se, special.ndtr(-away)
    else:
        half, tail = special.stdtrit(n - 1, share) * se, special.stdtr(n - 1, -away)
    return estimate - float(half), estimate + float(half), 2 * float(tail)


def _unknown(estimator: str, matches: Matches, n: int, reason: str) -> Effect:
    """Return an effect with everything but its numbers."""
    used, _ = matches.control_weights(n)
    matched, asked = len(matches.matched), len(matches.asked)
    similarity = float(np.average(matches.similarity, weights=matches.weight)) if matched else None
    return Effect(
        estimator=estimator,
        estimate=None,
        se=None,
        low=None,
        high=None,
        p=None,
        p_randomization=None,
        n_treated=asked,
        n_matched=matched,
        n_controls_used=int((used > 0).sum()),
        effective_controls=_effective(used),
        share_on_support=matched / asked if asked else 0.0,
        mean_similarity=similarity,
        reason=reason,
    )


def _effective(used: Floats) -> float:
    """Return how many controls used equally often would say as much."""
    squares = float((used**2).sum())
    return float(used.sum()) ** 2 / squares if squares else 0.0


def _bootstrap_means(values: Floats, draws: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    step = max(BLOCK // len(values), 1)
    means = [
        values[rng.integers(len(values), size=(min(step, draws - start), len(values)))].mean(axis=1)
        for start in range(0, draws, step)
    ]
    return np.concatenate(means)


def _is_constant(outcome: Floats, matches: Matches) -> bool:
    return bool(np.ptp(outcome[np.concatenate([matches.treated, matches.control])]) == 0)


def _refuse_unknown(outcome: Floats, matches: Matches) -> None:
    used = np.union1d(matches.treated, matches.control)
    if len(unknown := used[~np.isfinite(outcome[used])]):
        raise ValueError(
            f"the outcome of {len(unknown)} matched units is missing or infinite, the first are "
            f"rows {unknown[:NAMED_ROWS].tolist()}; leave them out before matching"
        )
