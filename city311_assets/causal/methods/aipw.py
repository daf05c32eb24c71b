"""The effect on the treated without matching: regression and weighting that correct each other.

What belongs here: the doubly robust estimate that the matched one is checked against. What does
not: which of the two is shown, or what is made of their difference.
"""

from dataclasses import replace

import numpy as np

from city311_assets.causal.methods.balance import deal_to_folds
from city311_assets.causal.methods.estimators import (
    CONSTANT,
    LEAST_TREATED,
    NO_CONTROL,
    NO_VARIANCE,
    TOO_FEW,
    Effect,
    interval,
)
from city311_assets.gold.methods.arrays import Bools, Floats, Ints

FOLDS = 5
SEED = 311
# A control that is almost surely treated would outweigh all others: from here on probabilities
# count as this one, a weight of 19.
HIGHEST_PROPENSITY = 0.95
# Both models are linear in features, their squares and products, and bends at these quantiles.
# Boosted trees in their place held the truth less often with a few hundred controls, and took ten
# times as long.
BENDS = (0.1, 0.5, 0.9)
# The propensity's slopes are shrunk as by so many records; those of the outcome as much as
# generalized cross-validation finds best among these.
PROPENSITY_RIDGE = 3.0
OUTCOME_RIDGES = tuple(float(ridge) for ridge in np.logspace(-1, 4, 16))
MOST_STEPS = 200
MOST_CULPRITS = 5


def aipw_effect(
    outcome: Floats,
    treated: Bools,
    is_control: Bools,
    features: Floats,
    *,
    folds: int = FOLDS,
    seed: int = SEED,
    most_controls: int | None = None,
) -> Effect:
    """Return the mean effect on the treated by augmented inverse probability weighting.

    The mean of Y - m(x) of the treated less that of controls weighted by e(x) / (1 - e(x)): m, the
    outcome of controls, and e, the probability to be treated, are a ridge and a logistic
    regression on features, their bends and products, fitted on the other folds. It is right where
    either is, and its influence function's standard error where both nearly are
    (https://doi.org/10.1111/ectj.12097, https://doi.org/10.1093/biomet/asp033). All treated units
    are used, also those unlike any control: for them it rests on m alone.

    Parameters
    ----------
    outcome
        Shape (n,), known of all units used.
    treated, is_control
        Shape (n,): the units in question, and those they are compared with.
    features
        Shape (n, q): what both models may read, in any units.
    folds
        Parts that are left out of the fit in turn.
    seed
        Of the dealing to folds, and of the drawing of controls.
    most_controls
        Draw so many controls if there are more. Odds then are higher by the inverse of the share
        that was drawn, and the weights with them: they stand for all controls.

    Returns
    -------
    Effect
        `n_matched` are the treated, `effective_controls` counts controls by weight, and
        `share_on_support` is the share of treated units whose propensity was not trimmed at
        `HIGHEST_PROPENSITY`. There are no pairs, thus no similarity and no randomization.

    Raises
    ------
    ValueError
        If shapes differ, a unit is both, or something is missing of a unit that is used.
    """
    y, x = np.asarray(outcome, np.float64), np.asarray(features, np.float64)
    chosen, others = np.asarray(treated, np.bool_), np.asarray(is_control, np.bool_)
    _refuse(y, x, chosen, others, folds)
    (controls,) = np.nonzero(others)
    if most_controls is not None and len(controls) > most_controls:
        rng = np.random.default_rng(seed)
        controls = np.sort(rng.choice(controls, most_controls, replace=False))
    (asked,) = np.nonzero(chosen)
    effect = Effect(
        estimator="aipw",
        estimate=None,
        se=None,
        low=None,
        high=None,
        p=None,
        p_randomization=None,
        n_treated=len(asked),
        n_matched=0,
        n_controls_used=0,
        effective_controls=0.0,
        share_on_support=0.0,
        mean_similarity=None,
        reason=NO_CONTROL,
    )
    if not len(controls):
        return effect
    rows = np.concatenate([asked, controls])
    is_treated = np.arange(len(rows)) < len(asked)
    if min(len(asked), len(controls)) < folds:
        return replace(effect, reason=TOO_FEW)
    if np.ptp(y[rows]) == 0:
        return replace(effect, reason=CONSTANT)
    fold = deal_to_folds(is_treated.astype(np.int64), folds, seed)
    expected, propensity = _cross_fitted(y[rows], _terms(x[rows]), is_treated, fold)
    trimmed = np.minimum(propensity, HIGHEST_PROPENSITY)
    weight = np.where(is_treated, 0.0, trimmed / (1 - trimmed))
    residual = y[rows] - expected
    level = float(weight @ residual / weight.sum())
    estimate = float(residual[is_treated].mean()) - level
    effect = replace(
        effect,
        estimate=estimate,
        n_matched=len(asked),
        n_controls_used=len(controls),
        effective_controls=float(weight.sum() ** 2 / (weight**2).sum()),
        share_on_support=float((propensity[is_treated] <= HIGHEST_PROPENSITY).mean()),
        reason=None,
    )
    if len(asked) < LEAST_TREATED:
        return replace(effect, reason=TOO_FEW)
    influence = np.where(
        is_treated,
        (residual - level - estimate) / len(asked),
        -weight * (residual - level) / weight.sum(),
    )
    se = float(np.sqrt((influence**2).sum()))
    if not se > 0:
        return replace(effect, reason=NO_VARIANCE)
    low, high, p = interval(estimate, se, effect.n_treated)
    return replace(effect, se=se, low=low, high=high, p=p)


def _terms(features: Floats) -> Floats:
    """Return what the models are linear in, standardized: features, their bends and products.

    A feature that does not vary has no term, and one of two values neither square nor bend.
    """
    z = _standardized(features)
    columns = [z]
    for column in z.T:
        if len(np.unique(column)) > 2:
            bends = np.unique(np.quantile(column, BENDS))
            columns += [column[:, None] ** 2, np.maximum(column[:, None] - bends, 0.0)]
    one, other = np.triu_indices(z.shape[1], 1)
    columns.append(z[:, one] * z[:, other])
    return _standardized(np.hstack(columns))


def _standardized(columns: Floats) -> Floats:
    varied = columns[:, np.ptp(columns, axis=0) > 0]
    return (varied - varied.mean(axis=0)) / varied.std(axis=0)


def _cross_fitted(
    outcome: Floats, terms: Floats, treated: Bools, fold: Ints
) -> tuple[Floats, Floats]:
    """Return each unit's outcome as a control, and its probability to be treated.

    Both are of models that have not seen the outcome or the group of the unit's fold.
    """
    from sklearn.linear_model import LogisticRegression

    expected, propensity = np.empty(len(outcome)), np.empty(len(outcome))
    for left_out in np.unique(fold):
        is_in = fold == left_out
        seen = ~is_in & ~treated
        level, slopes = _ridge(terms[seen], outcome[seen])
        expected[is_in] = level + terms[is_in] @ slopes
        if not terms.shape[1]:
            propensity[is_in] = treated[~is_in].mean()
            continue
        model = LogisticRegression(
            C=1 / PROPENSITY_RIDGE, solver="newton-cholesky", max_iter=MOST_STEPS
        ).fit(terms[~is_in], treated[~is_in])
        propensity[is_in] = model.predict_proba(terms[is_in])[:, 1]
    return expected, propensity


def _ridge(terms: Floats, outcome: Floats) -> tuple[float, Floats]:
    """Return intercept and slopes of the ridge regression of the least generalized CV error.

    https://doi.org/10.1080/00401706.1979.10489751
    """
    centre, level = terms.mean(axis=0), float(outcome.mean())
    x, y = terms - centre, outcome - level
    values, directions = np.linalg.eigh(x.T @ x)
    values = np.maximum(values, 0.0)
    along = directions.T @ (x.T @ y)
    squares, size = float(y @ y), len(y)
    best, chosen = np.inf, np.zeros(len(centre))
    for ridge in OUTCOME_RIDGES:
        shrunk = along / (values + ridge)
        left = squares - 2 * float(shrunk @ along) + float((values * shrunk) @ shrunk)
        free = size - 1 - float((values / (values + ridge)).sum())
        if free > 0 and (error := left / free**2) < best:
            best, chosen = error, shrunk
    slopes = directions @ chosen
    return level - float(centre @ slopes), slopes


def _refuse(y: Floats, x: Floats, treated: Bools, controls: Bools, folds: int) -> None:
    if x.ndim != 2 or not len(y) == len(x) == len(treated) == len(controls):
        raise ValueError(
            f"outcome {y.shape}, features {x.shape}, treated {treated.shape} and controls "
            f"{controls.shape} differ; pass one row a unit"
        )
    if folds < 2:
        raise ValueError(f"{folds} folds; a unit's model must be fitted on others: 2 or more")
    if not treated.any():
        raise ValueError("no unit is treated; ask for a group that has units")
    if len(both := np.flatnonzero(treated & controls)):
        raise ValueError(
            f"{len(both)} units are treated and control, first {both[:MOST_CULPRITS].tolist()}; "
            "a unit is one of the two"
        )
    is_unknown = ~(np.isfinite(y) & np.isfinite(x).all(axis=1)) & (treated | controls)
    if len(unknown := np.flatnonzero(is_unknown)):
        raise ValueError(
            f"outcome or features of {len(unknown)} units are missing or infinite, first in rows "
            f"{unknown[:MOST_CULPRITS].tolist()}; leave those units out of both sides"
        )
