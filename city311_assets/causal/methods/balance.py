"""How alike the treated units and their controls are in what was measured.

What belongs here: standardized differences and variance ratios, before and after matching, and
what an embedding is reduced to for them. What does not: which covariates are asked of, or how much
of a difference is too much.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from city311_assets.causal.methods.matching import Matches
from city311_assets.gold.methods.arrays import Bools, Floats, Ints

COMPONENTS = 10
# The neighbourhood is told from so many principal components of the embedding.
PROPENSITY_COMPONENTS = 50
# The slopes of each component are shrunk as by so many records: a few thousand cases tell tens of
# neighbourhoods from 50 components poorly, and unshrunk they overfit.
PROPENSITY_RIDGE = 30.0
FOLDS = 5
SEED = 311
# Rows that are squared at a time in double precision: 30 MB at 384 dimensions.
BLOCK_ROWS = 10_000
# A component with less than this share of the first one's variance is rounding.
ROUNDING = 1e-10
MOST_STEPS = 500
MOST_CULPRITS = 5

Vectors = NDArray[np.float32]


class Balance(NamedTuple):
    """Standardized mean differences and variance ratios of each of q covariates, (q,) each."""

    smd_before: Floats
    smd_after: Floats
    variance_ratio_before: Floats
    variance_ratio_after: Floats


def balance(
    covariates: Floats, treated: Bools, pairs: Matches, *, is_control: Bools | None = None
) -> Balance:
    """Return how far treated units lie from all controls, and matched ones from their matches.

    A difference of means is divided by the standard deviation of the treated units *before*
    matching, in both columns, so that it cannot shrink because the yardstick grew. A variance
    ratio is that of the treated by that of the controls. After matching each control counts as
    often as it is used (https://doi.org/10.1002/sim.3697).

    Parameters
    ----------
    covariates
        Shape (n, q), in any units.
    treated
        Shape (n,): the treated units, matched or not.
    pairs
        Their matches; pairs of other units are not read.
    is_control
        Shape (n,): the controls before matching, those of the strata in which the treated lie; by
        default all other units.

    Returns
    -------
    Balance
        NaN for a covariate that does not vary among the treated (of ratios: among the controls),
        and after matching where fewer than two units are matched, or no one is.

    Raises
    ------
    ValueError
        If a covariate is missing, shapes differ, or no unit is treated or none is a control.
    """
    x = np.asarray(covariates, np.float64)
    chosen = np.asarray(treated, np.bool_)
    others = ~chosen if is_control is None else np.asarray(is_control, np.bool_)
    if x.ndim != 2 or not len(x) == len(chosen) == len(others):
        raise ValueError(
            f"covariates of shape {x.shape} for {len(chosen)} units, {len(others)} asked as "
            "controls; pass a row of covariates for each unit"
        )
    if len(unknown := np.flatnonzero(~np.isfinite(x).all(axis=0))):
        raise ValueError(
            f"covariates in columns {unknown[:MOST_CULPRITS].tolist()} are missing or infinite "
            "for some units; say what stands for a missing one before"
        )
    if not (chosen.any() and others.any()):
        raise ValueError(
            f"{int(chosen.sum())} treated units and {int(others.sum())} controls; balance needs "
            "one of each"
        )
    kept = pairs.of(chosen)
    used, _ = kept.control_weights(len(x))
    mean, variance = _moments(x[chosen], np.ones(int(chosen.sum())))
    mean_before, variance_before = _moments(x[others], np.ones(int(others.sum())))
    mean_matched, variance_matched = _moments(x[kept.matched], np.ones(len(kept.matched)))
    mean_after, variance_after = _moments(x[used > 0], used[used > 0])
    spread = np.sqrt(variance)
    return Balance(
        _ratio(mean - mean_before, spread),
        _ratio(mean_matched - mean_after, spread),
        _ratio(variance, variance_before),
        _ratio(variance_matched, variance_after),
    )


def principal_components(vectors: ArrayLike, q: int = COMPONENTS) -> Floats:
    """Return the coordinates of each row on the q directions in which rows vary most, (n, q).

    Exact, by the eigenvectors of the covariance, so that there is no seed. Each direction is
    turned so that its largest loading is positive. Where rows vary in fewer directions the columns
    beyond are 0.

    Parameters
    ----------
    vectors
        Shape (n, d).
    q
        Number of columns.
    """
    rows = np.asarray(vectors)
    if rows.ndim != 2 or q < 1:
        raise ValueError(f"{q} components of an array of shape {rows.shape}; pass (n, d), q >= 1")
    size, dimensions = rows.shape
    scores = np.zeros((size, q))
    if not size:
        return scores
    centre = rows.mean(axis=0, dtype=np.float64)
    squares = np.zeros((dimensions, dimensions))
    starts = range(0, size, BLOCK_ROWS)
    for start in starts:
        block = rows[start : start + BLOCK_ROWS] - centre
        squares += block.T @ block
    values, directions = np.linalg.eigh(squares)
    largest_first = np.argsort(-values, kind="stable")[:q]
    varied = largest_first[values[largest_first] > ROUNDING * values[-1]]
    chosen = directions[:, varied]
    largest = np.abs(chosen).argmax(axis=0)
    chosen = chosen * np.sign(chosen[largest, np.arange(len(varied))])
    for start in starts:
        scores[start : start + BLOCK_ROWS, : len(varied)] = (
            rows[start : start + BLOCK_ROWS] - centre
        ) @ chosen
    return scores


def text_propensity(
    vectors: Vectors, groups: Ints, *, folds: int = FOLDS, seed: int = SEED
) -> Floats:
    """Return the probability of each unit to be in each group, given its embedding, (n, G).

    One multinomial logistic regression for all groups, with a ridge, on the embedding's first 50
    principal components, each scaled to unit variance. Cross-fitted: a unit's probabilities come
    from the folds it is not in. Folds hold alike shares of every group; a group of which the other
    folds hold no unit has its share among all units as its probability.

    Parameters
    ----------
    vectors
        Shape (n, d): an embedding a unit.
    groups
        Shape (n,): the group of each unit, 0 to G - 1.
    folds
        Parts that are left out in turn.
    seed
        Of the dealing to folds.

    Returns
    -------
    Floats
        Shape (n, G); each row sums to 1.

    Raises
    ------
    ValueError
        If a unit has no group, lengths differ, or there are fewer than two folds.
    """
    group = np.asarray(groups, np.int64)
    size = len(group)
    if len(vectors) != size or folds < 2:
        raise ValueError(
            f"{len(vectors)} vectors, {size} groups and {folds} folds; pass one of each a unit and "
            "2 folds or more"
        )
    if (stray := int((group < 0).sum())) or not size:
        raise ValueError(f"{stray} of {size} units have no group; leave them out")
    scores = principal_components(vectors, PROPENSITY_COMPONENTS)
    spread = scores.std(axis=0)
    scaled = (scores / np.where(spread > 0, spread, 1.0)).astype(np.float32)
    share = np.bincount(group) / size
    fold = deal_to_folds(group, folds, seed)
    probability = np.empty((size, len(share)))
    for left_out in np.unique(fold):
        is_in = fold == left_out
        probability[is_in] = _group_probability(scaled[~is_in], group[~is_in], scaled[is_in], share)
    return probability


def deal_to_folds(groups: Ints, folds: int, seed: int) -> Ints:
    """Return the fold of each unit, 0 to folds - 1: dealt at random, each group evenly.

    Dealing goes on from group to group, so that folds are of one size, give or take one.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(groups))
    order = shuffled[np.argsort(groups[shuffled], kind="stable")]
    fold = np.empty(len(groups), np.int64)
    fold[order] = np.arange(len(groups)) % folds
    return fold


def _group_probability(known: Vectors, group: Ints, asked: Vectors, share: Floats) -> Floats:
    """Return the probabilities of the units asked, from a model of those known."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(group)
    probability = np.tile(share, (len(asked), 1))
    # Of groups of hardly two units each nothing is learned: their shares are all there is.
    if 1 < len(present) <= len(group) / 2:
        model = LogisticRegression(C=1 / PROPENSITY_RIDGE, max_iter=MOST_STEPS).fit(known, group)
        told = model.predict_proba(asked).astype(np.float64)
        told /= told.sum(axis=1, keepdims=True)
        probability[:, present] = told * share[present].sum()
    return probability / probability.sum(axis=1, keepdims=True)


def _moments(x: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return weighted mean and variance of each column, NaN of none and of one.

    With unit weights the variance has n - 1 below; with others what makes it unbiased if weights
    say how often a unit was used, not how sure it is.
    """
    unknown = np.full(x.shape[1], np.nan)
    total = weight.sum()
    if not total > 0:
        return unknown, unknown
    mean = weight @ x / total
    degrees = total - (weight**2).sum() / total
    # One unit, however often it is used, does not vary.
    if len(weight) < 2:
        return mean, unknown
    variance = weight @ (x - mean) ** 2 / degrees
    return mean, np.where(np.ptp(x, axis=0) > 0, variance, 0.0)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
