"""Trends over a year of months: Mann-Kendall, and what has become of a hot spot."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from city311_assets.gold.methods.arrays import Bools, Floats

# A place is hot "nearly always" from this share of the months on.
OFTEN = 0.9
TREND_LEVEL = 0.05

CLASSES = (
    "new",
    "consecutive",
    "intensifying",
    "persistent",
    "diminishing",
    "oscillating",
    "sporadic",
    "historical",
    "none",
)


@dataclass(frozen=True)
class MannKendall:
    """Mann-Kendall's test of a monotone trend in each row; no trend where a row is constant.

    Attributes
    ----------
    s
        Pairs that rise less pairs that fall.
    z, p
        Normal score with continuity correction, variance corrected for ties; two-sided.
    """

    s: Floats
    z: Floats
    p: Floats


def mann_kendall(series: ArrayLike) -> MannKendall:
    """Return the test of each row of an (n, months) array, the earliest month first.

    It takes the months as independent; a series with memory shows trends by chance.
    https://doi.org/10.2307/1907187

    Raises
    ------
    ValueError
        A value is missing.
    """
    x = np.asarray(series, np.float64)
    if np.isnan(x).any():
        raise ValueError("a month is missing; test only rows with a value in every month")
    rows, months = x.shape
    s, ties = np.zeros(rows), np.ones((rows, months))
    for early, late in combinations(range(months), 2):
        s += np.sign(x[:, late] - x[:, early])
        is_tied = x[:, late] == x[:, early]
        ties[:, early] += is_tied
        ties[:, late] += is_tied
    # Each of the t values of a tied group has `ties` = t, so a sum over values is one over groups.
    lost = ((ties - 1) * (2 * ties + 5)).sum(axis=1)
    variance = (months * (months - 1) * (2 * months + 5) - lost) / 18
    z = np.divide(s - np.sign(s), np.sqrt(variance), out=np.zeros(rows), where=variance > 0)
    return MannKendall(s, z, 2 * special.ndtr(-np.abs(z)))


def emerging(
    is_hot: Bools, is_cold: Bools, trend_z: ArrayLike, trend_p: ArrayLike
) -> NDArray[np.object_]:
    """Return what has become of each place by the last of its months: one of `CLASSES`.

    Parameters
    ----------
    is_hot, is_cold
        Shape (n, months), the current month last.
    trend_z, trend_p
        Shape (n,), of the places' z scores over the same months.

    Notes
    -----
    Hot now: `new`, never before; `consecutive`, in one unbroken run of two or more and never before
    it; `intensifying`, `persistent` or `diminishing`, in at least 90 % of the months, with a
    significant rise, no trend, a significant fall; `oscillating`, on and off and once cold;
    `sporadic`, on and off and never cold. Not hot now: `historical`, in at least 90 % of the
    months; else `none`. The first that holds counts, but 90 % goes before `consecutive`. After
    https://pro.arcgis.com/en/pro-app/latest/tool-reference/space-time-pattern-mining/learnmoreemerging.htm
    """
    z, p = np.asarray(trend_z, np.float64), np.asarray(trend_p, np.float64)
    if is_hot.shape != is_cold.shape or not z.shape == p.shape == is_hot.shape[:1]:
        raise ValueError(f"shapes differ: {is_hot.shape}, {is_cold.shape}, {z.shape}, {p.shape}")
    months = is_hot.shape[1]
    times = is_hot.sum(axis=1)
    run = np.cumprod(is_hot[:, ::-1], axis=1).sum(axis=1)
    now = is_hot[:, -1]
    often = times >= OFTEN * months
    moves = p <= TREND_LEVEL
    found = np.select(
        [
            now & (times == 1),
            now & (times == run) & ~often,
            now & often & moves & (z > 0),
            now & often & ~(moves & (z != 0)),
            now & often,
            now & is_cold.any(axis=1),
            now,
            often,
        ],
        list(range(len(CLASSES) - 1)),
        len(CLASSES) - 1,
    )
    return np.array(CLASSES, dtype=object)[found]
