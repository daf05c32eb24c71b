"""Getis-Ord Gi*: how far the sum over each cell's ring lies from that of a ring drawn anywhere.

What belongs here: the statistic, and the tails of its permutation distribution. What does not:
which values it is asked of, or how many rings are tested at once.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse, special

from city311_assets.gold.methods.arrays import Floats

# Below this a Pearson III variable is the standard normal one to the sixth digit of a tail of 1e-6.
LEAST_SKEWNESS = 1e-6


def gi_star(values: ArrayLike, disk: sparse.csr_array) -> Floats:
    """Return Getis-Ord Gi* with binary weights, self included, as a z score.

    Parameters
    ----------
    values
        Shape (n,) or (n, k): one or more values of every cell, zeros included.
    disk
        Shape (n, n): 1 where a cell belongs to the ring of a row, itself included.

    Returns
    -------
    Floats
        Of the shape of `values`; NaN where all cells are alike, or where a ring is the whole grid.
        https://doi.org/10.1111/j.1538-4632.1995.tb00912.x
    """
    x = np.asarray(values, np.float64)
    _refuse_other_cells(x, disk)
    size = _sizes(disk, x.ndim)
    cells = x.shape[0]
    spread = x.std(axis=0) * np.sqrt(size * (cells - size) / max(cells - 1, 1))
    spread = np.where(np.ptp(x, axis=0) > 0, spread, 0.0)
    excess = disk @ x - size * x.mean(axis=0)
    return np.divide(excess, spread, out=np.full(x.shape, np.nan), where=spread > 0)


def ring_skewness(values: ArrayLike, disk: sparse.csr_array) -> Floats:
    """Return the skewness of each ring's sum when the values are dealt out to the cells anew.

    A ring of m of n cells then is a sample drawn without replacement, whose sum has the skewness of
    the values times sqrt((n - 1) / (m (n - m))) (n - 2m) / (n - 2): nearly 1 / sqrt(m). Arguments,
    shape and NaN as of `gi_star`. https://doi.org/10.1093/biomet/32.1.62
    """
    x = np.asarray(values, np.float64)
    _refuse_other_cells(x, disk)
    size = _sizes(disk, x.ndim)
    cells = x.shape[0]
    centred = x - x.mean(axis=0)
    cubed = (centred**3).mean(axis=0)
    spread = np.where(np.ptp(x, axis=0) > 0, (centred**2).mean(axis=0), 0.0) ** 1.5
    own = np.divide(cubed, spread, out=np.full(cubed.shape, np.nan), where=spread > 0)
    room = size * (cells - size)
    shrink = np.sqrt(
        np.divide(cells - 1.0, room, out=np.full(room.shape, np.nan), where=room > 0)
    ) * ((cells - 2 * size) / max(cells - 2, 1))
    return own * shrink


def skewed_two_sided(z: ArrayLike, skewness: ArrayLike) -> Floats:
    """Return twice the tail on z's side of a standardized Pearson III variable, at most 1.

    Where records are few the sum over a ring is skewed, and the normal tail fires by chance. A
    Pearson III variable ends at -2 / skewness, which counts of a very uneven city can pass: on
    the side of its short tail the larger of its own and the normal tail is used. Elementwise.
    """
    given = np.broadcast_arrays(np.asarray(z, np.float64), np.asarray(skewness, np.float64))
    x, skew = (values.ravel() for values in given)
    away = np.where(skew < 0, -x, x)
    tail = special.ndtr(-np.abs(x))
    is_skewed = np.abs(skew) > LEAST_SKEWNESS
    shape = 4.0 / np.where(is_skewed, skew, 1.0) ** 2
    gamma = np.maximum(shape + away * np.sqrt(shape), 0.0)
    is_long, is_short = is_skewed & (away > 0), is_skewed & (away <= 0)
    tail[is_long] = special.gammaincc(shape[is_long], gamma[is_long])
    own = special.gammainc(shape[is_short], gamma[is_short])
    tail[is_short] = np.maximum(own, tail[is_short])
    return np.minimum(2 * tail, 1.0).reshape(given[0].shape)


def _sizes(disk: sparse.csr_array, dimensions: int) -> Floats:
    """Return the number of cells of each ring, as a column where there are many values a cell."""
    size = np.asarray(disk.sum(axis=1), np.float64).ravel()
    return size[:, None] if dimensions > 1 else size


def _refuse_other_cells(x: Floats, disk: sparse.csr_array) -> None:
    if (len(x), len(x)) != disk.shape:
        raise ValueError(f"{len(x)} values for a grid of rings {disk.shape}")
    if not np.isfinite(x).all():
        raise ValueError("a value is missing or infinite; cells without records count 0")
