"""How strong something unmeasured would have to be to explain an effect away.

What belongs here: Rosenbaum's bounds on pairs that share no control, the matching that makes such
pairs, and the E-value. What does not: the headline matching, which uses controls again.
"""

import heapq
import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from city311_assets.gold.methods.arrays import Bools, Floats, Ints

ALPHA = 0.05
# A pair in which one unit is ten times as likely to be treated is no longer a matched pair.
LARGEST_GAMMA = 10.0
# Similarities in memory at a time: 32 MB, and some arrays of the same shape.
BLOCK = 8_000_000
# So many of the most similar vectors are kept for each treated one; more are sought where all
# their units are taken.
SHORTLIST = 32
# The log of a risk ratio for each standard deviation: https://doi.org/10.7326/M16-2607
LOG_RATIO_PER_DEVIATION = 0.91
MOST_CULPRITS = 5

Vectors = NDArray[np.float32]


def match_without_replacement(
    vectors: Vectors,
    strata: Ints,
    treated: Bools,
    *,
    is_control: Bools | None = None,
    nearness: Floats | None = None,
    floor: Floats | None = None,
) -> tuple[Ints, Ints]:
    """Return pairs of a treated unit and a control of its stratum, each unit in at most one.

    Greedy: the most similar pair of all first, then the most similar of what is left. Of pairs of
    equal similarity the nearer in `nearness` comes first. The answer hangs on the order of rows
    only among units that are alike in stratum, vector and nearness.

    Parameters
    ----------
    vectors
        Shape (n, d): a row of length 1 for each unit.
    strata
        Shape (n,), the stratum of each unit.
    treated
        Shape (n,), the units for which a control is sought.
    is_control
        Shape (n,), the units that may be taken; by default all others.
    nearness
        Shape (n,), a number on which units of equal similarity should be near, such as the time
        of opening; by default none.
    floor
        Shape (n,), the least similarity of a pair of each treated unit; by default none.

    Returns
    -------
    tuple[Ints, Ints]
        Rows of the treated units, ascending, and of their controls. Treated units that are missing
        found no control in their stratum above their floor.

    Raises
    ------
    ValueError
        If arrays differ in length, or a unit is both treated and control.
    """
    rows = np.asarray(vectors, np.float32)
    chosen = np.asarray(treated, np.bool_)
    size = len(rows)
    others = ~chosen if is_control is None else np.asarray(is_control, np.bool_)
    near = np.zeros(size) if nearness is None else np.asarray(nearness, np.float64)
    least = np.full(size, -np.inf) if floor is None else np.asarray(floor, np.float64)
    stratum = np.asarray(strata, np.int64)
    lengths = {len(array) for array in (rows, chosen, others, near, least, stratum)}
    if len(lengths) > 1:
        raise ValueError(f"arrays of {sorted(lengths)} units; pass one entry a unit")
    (both,) = np.nonzero(chosen & others)
    if len(both):
        raise ValueError(
            f"{len(both)} units are treated and control, first {both[:MOST_CULPRITS].tolist()}; "
            "a unit is one of the two"
        )
    pairs: list[tuple[int, int]] = []
    for members in _strata_of_both(stratum, chosen, others):
        pairs += _greedy(
            rows, members[chosen[members]], members[others[members]], near=near, floor=least
        )
    found = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def rosenbaum_gamma(
    differences: Floats, alpha: float = ALPHA, largest: float = LARGEST_GAMMA
) -> float | None:
    """Return the Gamma up to which the signed-rank test of the pairs stays significant.

    Gamma is how many times as likely to be treated the one unit of a pair may be, for a reason not
    measured. At each Gamma the test has an upper bound of p, twice the larger-tail bound of
    Wilcoxon's signed rank sum in large samples; returned is where that bound passes `alpha`
    (Rosenbaum 2002, Observational Studies, 4.3; https://doi.org/10.1007/978-1-4757-3692-2).

    Parameters
    ----------
    differences
        Shape (pairs,), treated less control, of pairs that share no unit. Pairs without a
        difference say nothing and are left out.
    alpha
        The level of the two-sided test.
    largest
        What is returned where Gamma is larger still.

    Returns
    -------
    float or None
        1 or more; None where p is above alpha even without anything unmeasured.

    Raises
    ------
    ValueError
        If a difference is missing, or the level is none.
    """
    from scipy import special, stats

    values = np.asarray(differences, np.float64)
    if not 0 < alpha < 1:
        raise ValueError(f"a level of {alpha}; it must be between 0 and 1")
    if missing := int((~np.isfinite(values)).sum()):
        raise ValueError(
            f"{missing} of {len(values)} differences are missing or infinite; "
            "leave pairs of an unknown outcome out"
        )
    values = values[values != 0]
    ranks = stats.rankdata(np.abs(values))
    total, squares = float(ranks.sum()), float(ranks @ ranks)
    positive = float(ranks[values > 0].sum())
    extreme = max(positive, total - positive)
    critical = float(special.ndtri(1 - alpha / 2))
    if not len(values) or extreme - total / 2 < critical * math.sqrt(squares) / 2:
        return None
    # (extreme - p total)^2 = critical^2 p (1 - p) squares, solved for p = Gamma / (1 + Gamma).
    spread = critical**2 * squares
    linear, quadratic = 2 * extreme * total + spread, total**2 + spread
    root = math.sqrt(max(linear**2 - 4 * quadratic * extreme**2, 0.0))
    p = (linear - root) / (2 * quadratic)
    return float(min(max(p / (1 - p), 1.0), largest))


def e_value(
    effect: float, low: float, high: float, standard_deviation: float
) -> tuple[float, float]:
    """Return the E-value of an effect and of the end of its interval nearest to none.

    How strongly, as a risk ratio, something unmeasured would have to go with both the
    neighbourhood and a long time to close, to explain the effect away; 1 is not at all. The effect
    in standard deviations is read as the log of a risk ratio times 0.91, which supposes a roughly
    normal outcome. https://doi.org/10.7326/M16-2607

    Parameters
    ----------
    effect, low, high
        The estimate and its interval, in the unit of the outcome.
    standard_deviation
        Of the outcome, in the same unit.

    Returns
    -------
    tuple[float, float]
        Both 1 or more; the second is 1 where the interval holds 0.

    Raises
    ------
    ValueError
        If the outcome does not vary, or the interval does not hold the estimate.
    """
    if not 0 < standard_deviation < math.inf:
        raise ValueError(
            f"a standard deviation of {standard_deviation}; an outcome that is constant or unknown "
            "has no E-value"
        )
    if not low <= effect <= high:
        raise ValueError(f"the interval from {low} to {high} does not hold the estimate {effect}")
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return _explained_away(effect / standard_deviation), _explained_away(
        nearest / standard_deviation
    )


def _explained_away(deviations: float) -> float:
    ratio = math.exp(LOG_RATIO_PER_DEVIATION * abs(deviations))
    return ratio + math.sqrt(ratio * (ratio - 1))


@dataclass(slots=True)
class _Pool:
    """Controls of one and the same vector that are not taken yet, in order of nearness."""

    nearness: list[float]
    units: list[int]

    def nearest(self, to: float) -> tuple[float, int]:
        """Return the distance of the nearest unit, and the unit; of two the earlier one."""
        at = bisect_left(self.nearness, to)
        around = range(max(at - 1, 0), min(at + 1, len(self.units)))
        best = min(around, key=lambda place: abs(self.nearness[place] - to))
        return abs(self.nearness[best] - to), self.units[best]

    def take(self, unit: int) -> None:
        place = self.units.index(unit)
        del self.nearness[place], self.units[place]


class _Shortlists:
    """Which vectors of controls are the most similar to each vector of a treated unit."""

    def __init__(self, treated: Vectors, controls: Vectors, pools: list[_Pool]) -> None:
        self._treated, self._controls, self._pools = treated, controls, pools
        self._at = [0] * len(treated)
        self._vectors: list[list[int]] = []
        self._similarities: list[list[float]] = []
        step = max(BLOCK // len(controls), 1)
        for start in range(0, len(treated), step):
            products = treated[start : start + step] @ controls.T
            best = _most_similar(products)
            self._vectors += best.tolist()
            self._similarities += np.take_along_axis(products, best, 1).tolist()

    def best(self, vector: int) -> tuple[float, _Pool] | None:
        """Return the most similar controls of which one is left, None where none is."""
        while True:
            listed = self._vectors[vector]
            for place in range(self._at[vector], len(listed)):
                if (pool := self._pools[listed[place]]).units:
                    self._at[vector] = place
                    return self._similarities[vector][place], pool
            left = np.array([at for at, pool in enumerate(self._pools) if pool.units], np.int64)
            if not len(left):
                return None
            products = (self._controls[left] @ self._treated[vector])[None]
            (best,) = _most_similar(products)
            self._at[vector] = 0
            self._vectors[vector] = left[best].tolist()
            self._similarities[vector] = products[0, best].tolist()


def _greedy(
    vectors: Vectors, treated: Ints, controls: Ints, *, near: Floats, floor: Floats
) -> list[tuple[int, int]]:
    """Return the pairs of one stratum.

    Equal vectors are one vector here, in the order of their bytes: templated texts make many, and
    their similarities must be equal to the last bit whatever the order of rows.
    """
    kinds, kind = _distinct(vectors[treated])
    control_kinds, control_kind = _distinct(vectors[controls])
    pools = [_Pool([], []) for _ in control_kinds]
    for at in np.lexsort((controls, near[controls])):
        pool = pools[control_kind[at]]
        pool.nearness.append(float(near[controls[at]]))
        pool.units.append(int(controls[at]))
    shortlists = _Shortlists(kinds, control_kinds, pools)

    def bid(at: int) -> tuple[float, float, int, float, int, int] | None:
        """The best pair that is left to one treated unit, in the order in which pairs are made."""
        unit = int(treated[at])
        found = shortlists.best(int(kind[at]))
        if found is None or found[0] < floor[unit]:
            return None
        gap, control = found[1].nearest(float(near[unit]))
        return -found[0], gap, int(kind[at]), float(near[unit]), at, control

    bids = [made for at in range(len(treated)) if (made := bid(at))]
    heapq.heapify(bids)
    pool_of = {int(unit): pools[which] for unit, which in zip(controls, control_kind, strict=True)}
    taken: set[int] = set()
    pairs: list[tuple[int, int]] = []
    while bids:
        *_, at, control = heapq.heappop(bids)
        if control not in taken:
            taken.add(control)
            pool_of[control].take(control)
            pairs.append((int(treated[at]), control))
        # Taking controls only makes what is left less similar: a bid is renewed when it is lost.
        elif renewed := bid(at):
            heapq.heappush(bids, renewed)
    return pairs


def _most_similar(products: Vectors) -> Ints:
    """Return the columns of the highest products of each row, highest first, equals by column."""
    width = products.shape[1]
    if width > SHORTLIST:
        best = np.argpartition(products, width - SHORTLIST, axis=1)[:, width - SHORTLIST :]
        best = np.sort(best, axis=1)
    else:
        best = np.broadcast_to(np.arange(width), products.shape)
    order = np.argsort(-np.take_along_axis(products, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1).astype(np.int64)


def _distinct(vectors: Vectors) -> tuple[Vectors, Ints]:
    """Return the distinct rows in the order of their bytes, and which of them each row is."""
    rows = np.ascontiguousarray(vectors) + np.float32(0)  # -0 has the bytes of 0 now
    as_bytes = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    _, first, which = np.unique(as_bytes, return_index=True, return_inverse=True)
    return rows[first], which.astype(np.int64)


def _strata_of_both(strata: Ints, treated: Bools, controls: Bools) -> list[Ints]:
    """Return the rows of each stratum in which there are treated units and controls."""
    shared = np.intersect1d(strata[treated], strata[controls])
    rows = np.flatnonzero((treated | controls) & np.isin(strata, shared))
    order = rows[np.argsort(strata[rows], kind="stable")]
    _, starts = np.unique(strata[order], return_index=True)
    return np.split(order, starts[1:]) if len(order) else []
