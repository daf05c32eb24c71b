"""Rates of cells with few records: Wilson's interval and empirical Bayes shrinkage.

A rate is successes/eligible of one cell. What belongs here: how far such a rate can be trusted, and
what it is drawn towards. What does not: what counts as a success, and which cells are pooled.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from city311_assets.gold.methods.arrays import Bools, Floats, Ints

Z_95 = 1.959964
# 30 percentage points: a wider interval holds low and high rates of most outcomes at once. A
# rate of a half is confident from 39 eligible records on, one of 0 or 1 from 9.
WIDEST_CONFIDENT = 0.3
# How many records the fixed prior of the console before this one was worth.
OLD_PRIOR_STRENGTH = 5.0
MOST_CULPRITS = 5


@dataclass(frozen=True)
class Priors:
    """The beta distributions that rates of cells come from, one entry a group.

    Attributes
    ----------
    mean
        All successes of the group by all its eligible records; nan without an eligible record.
    strength
        The sum of the distribution's two parameters, in records: what the prior weighs against a
        cell's own. Infinite where cells differ no more than by chance, 0 where they differ as much
        as they can.
    """

    mean: Floats
    strength: Floats


def wilson(successes: ArrayLike, eligible: ArrayLike, z: float = Z_95) -> tuple[Floats, Floats]:
    """Return the ends of Wilson's score interval of a binomial rate; (0, 1) without a record.

    https://doi.org/10.1080/01621459.1927.10502953

    Raises
    ------
    ValueError
        If counts are negative or unknown, or there are more successes than eligible records.
    """
    k, n = _counts(successes, eligible)
    middle = (k + z**2 / 2) / (n + z**2)
    unexplained = k * (n - k) / np.maximum(n, 1.0)
    half = z * np.sqrt(unexplained + z**2 / 4) / (n + z**2)
    # Where all or none succeeded the end is 0 or 1 by definition, and only nearly so by arithmetic.
    low = np.where(k == 0, 0.0, np.clip(middle - half, 0.0, 1.0))
    high = np.where(k == n, 1.0, np.clip(middle + half, 0.0, 1.0))
    return low, high


def is_low_confidence(low: ArrayLike, high: ArrayLike) -> Bools:
    """Return where an interval is wider than a rate can be read from."""
    return np.asarray(high, np.float64) - np.asarray(low, np.float64) > WIDEST_CONFIDENT


def beta_priors(successes: ArrayLike, eligible: ArrayLike, group: Ints, groups: int) -> Priors:
    """Return each group's beta prior by the method of moments.

    The variance between cells is what is left of the squared deviations, weighted by records
    (Marshall 1991, https://doi.org/10.2307/2347593), after what chance gives. Chance is that of a
    beta-binomial (Kleinman 1973, https://doi.org/10.1080/01621459.1973.10481332), so that cells of
    one to three records do not pass for different ones. With v = m(1 - m) and A the variance
    between cells, Var(k/n) = (v - A)/n + A, and the weighted sum of squares around the pooled mean
    is expected to be (I - 1)v + A Σ(n - 1)(1 - n/N).

    Parameters
    ----------
    successes, eligible
        Records, one entry a cell. Cells without an eligible record say nothing.
    group
        Which group each cell belongs to, 0 to `groups` - 1.
    groups
        How many groups there are, also those without a cell.

    Raises
    ------
    ValueError
        If counts cannot be, or a cell's group is not one of `groups`.
    """
    k, n = _counts(successes, eligible)
    if len(strange := np.unique(group[(group < 0) | (group >= groups)])):
        raise ValueError(
            f"groups {strange[:MOST_CULPRITS].tolist()} are not between 0 and {groups - 1}"
        )

    def total(values: Floats) -> Floats:
        return np.bincount(group, values, groups).astype(np.float64)

    records = total(n)
    with np.errstate(invalid="ignore"):
        mean = total(k) / records
    deviation = k / np.maximum(n, 1.0) - mean[group]
    squares = total(np.where(n > 0, n * deviation**2, 0.0))
    cells = total((n > 0).astype(np.float64))
    by_chance = mean * (1 - mean)
    share = n / np.maximum(records, 1.0)[group]
    # A cell of one record holds nothing about how cells differ, nor does one that is all there is.
    information = total(np.where(n > 0, (n - 1) * (1 - share), 0.0))
    is_known = information > 0
    excess = np.where(is_known, squares - (cells - 1) * by_chance, 0.0)
    variance = excess / np.where(is_known, information, 1.0)
    differ = variance > 0
    strength = np.where(differ, (by_chance - variance) / np.where(differ, variance, 1.0), np.inf)
    return Priors(mean, np.maximum(strength, 0.0))


def shrunk(
    successes: ArrayLike, eligible: ArrayLike, mean: ArrayLike, strength: ArrayLike
) -> Floats:
    """Return the mean of each rate's posterior: its own records beside `strength` at the prior.

    Without a record it is the prior's mean; with a prior of no strength the rate itself; with one
    of infinite strength the prior's mean; nan where the prior's mean is.

    Parameters
    ----------
    successes, eligible
        Records of each cell.
    mean, strength
        Of each cell's prior, as of `Priors`; shapes that broadcast.
    """
    k, n = _counts(successes, eligible)
    m, weight = (np.asarray(a, np.float64) for a in (mean, strength))
    is_fixed = np.isinf(weight) | (n + weight == 0)
    finite = np.where(is_fixed, 1.0, weight)
    return np.where(is_fixed, m, (k + finite * m) / (n + finite))


def smoothed(
    successes: ArrayLike,
    eligible: ArrayLike,
    citywide: ArrayLike,
    strength: float = OLD_PRIOR_STRENGTH,
) -> Floats:
    """Return rates drawn to the citywide one by a fixed number of records, for comparison only."""
    k, n = _counts(successes, eligible)
    return (strength * np.asarray(citywide, np.float64) + k) / (strength + n)


def _counts(successes: ArrayLike, eligible: ArrayLike) -> tuple[Floats, Floats]:
    """Return both counts as numbers of one shape; refuse what cannot be counted."""
    k, n = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (successes, eligible)))
    # Turned round, so that an unknown number is refused too.
    is_possible = (k >= 0) & (k <= n) & np.isfinite(n)
    if not is_possible.all():
        wrong = zip(k[~is_possible].tolist(), n[~is_possible].tolist(), strict=True)
        culprits = [f"{of:g} of {among:g}" for of, among in wrong]
        raise ValueError(
            f"{len(culprits)} counts cannot be successes of eligible records: "
            f"{culprits[:MOST_CULPRITS]}"
        )
    return k, n
