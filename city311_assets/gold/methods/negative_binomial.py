"""Counts that scatter at least as much as Poisson's: tails, two-sided p and interval ends.

A negative binomial is named here by its mean and its variance; where the variance is not above the
mean it is Poisson's distribution of that mean, and where the mean is 0 the count is 0.

What belongs here: probabilities of a count. What does not: where mean and variance come from.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from city311_assets.gold.methods.arrays import Floats

# An excess of variance, as a share of the mean, that moves no probability by more than itself.
LEAST_EXCESS = 1e-9


def cumulative(count: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Floats:
    """Return P(X ≤ count), elementwise; 0 for a negative count.

    Parameters
    ----------
    count
        Whole numbers, any shape.
    mean, variance
        Of the count, records and records²; shapes that broadcast.
    """
    k, mu, var = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (count, mean, variance)))
    found = _tail(k, mu, var, special.pdtr, is_upper=False)
    return np.where(k < 0, 0.0, np.where(mu <= 0, 1.0, found))


def survival(count: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Floats:
    """Return P(X > count), exact also far out in the tail; arguments as of `cumulative`."""
    k, mu, var = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (count, mean, variance)))
    found = _tail(k, mu, var, special.pdtrc, is_upper=True)
    return np.where(k < 0, 1.0, np.where(mu <= 0, 0.0, found))


def _tail(k: Floats, mu: Floats, var: Floats, poisson: np.ufunc, *, is_upper: bool) -> Floats:
    """Return a tail of the negative binomial where it scatters more than Poisson's, else of that.

    P(X > k) of size r and probability q = 1 - mean/variance is the regularized incomplete beta
    I_q(k + 1, r) (https://dlmf.nist.gov/8.17). In terms of q and not of 1 - q: close to Poisson's
    the latter is so near to 1 that it has lost most of its digits.
    """
    mu, k = np.where(mu <= 0, 1.0, mu), np.maximum(k, 0.0)
    beta = special.betainc if is_upper else special.betaincc
    with np.errstate(invalid="ignore"):  # infinite moments: the answer is nan
        excess = (var - mu) / mu
        scatters = excess > LEAST_EXCESS
        excess = np.where(scatters, excess, 1.0)
        tail = beta(k + 1.0, mu / excess, excess / (1.0 + excess))
    return np.where(scatters, tail, np.where(np.isnan(var), np.nan, poisson(k, mu)))


def mid_tails(count: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> tuple[Floats, Floats]:
    """Return the mid-p of as few and of as many records: half of P(X = count) belongs to each.

    The two add up to 1. Under the null the mid-p of a discrete count is close to uniform, where the
    plain tail is too large (https://doi.org/10.1002/sim.4780020316).
    """
    k = np.asarray(count, np.float64)
    at_most, more = cumulative(k, mean, variance), survival(k, mean, variance)
    fewer, at_least = cumulative(k - 1, mean, variance), survival(k - 1, mean, variance)
    return (at_most + fewer) / 2, (more + at_least) / 2


def two_sided(count: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Floats:
    """Return twice the smaller mid-p, at most 1."""
    low, high = mid_tails(count, mean, variance)
    return np.minimum(2 * np.minimum(low, high), 1.0)


def ends(mean: ArrayLike, variance: ArrayLike, coverage: float) -> tuple[Floats, Floats]:
    """Return the ends, both included, of the central interval that holds about `coverage`.

    Each end is the whole number for which the probability left out beyond it is nearest to half of
    what is to be left out. The plain quantiles would hold more than was asked for, the more the
    fewer records there are.
    """
    left_out = (1.0 - coverage) / 2
    mu, var = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (mean, variance)))
    low = quantile(left_out, mu, var)
    # Left out below `low`: P(X < low) ≤ left_out < P(X ≤ low); the next one leaves out more.
    nearer = np.abs(cumulative(low, mu, var) - left_out) < np.abs(
        cumulative(low - 1, mu, var) - left_out
    )
    high = quantile(1.0 - left_out, mu, var)
    further = np.abs(survival(high - 1, mu, var) - left_out) < np.abs(
        survival(high, mu, var) - left_out
    )
    low = low + nearer
    high = high - (further & (high > low))
    return low, np.maximum(high, low)


def quantile(share: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Floats:
    """Return the smallest whole number with P(X ≤ it) ≥ share (0 < share < 1), elementwise.

    It is nan where mean or variance are unknown or infinite.
    """
    q, mu, var = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (share, mean, variance)))
    low = np.full(mu.shape, -1.0)
    spread = np.sqrt(np.maximum(var, mu))
    high = np.ceil(mu + 4 * spread + 4)
    high = np.where(np.isfinite(high), high, np.nan)
    while (short := cumulative(high, mu, var) < q).any():
        high = np.where(short, 2 * high, high)
    # Bisection: the answer lies above `low` and not above `high`.
    while (open_ := high - low > 1).any():
        middle = np.where(open_, np.floor((low + high) / 2), high)
        reached = cumulative(middle, mu, var) >= q
        high = np.where(open_ & reached, middle, high)
        low = np.where(open_ & ~reached, middle, low)
    return high
