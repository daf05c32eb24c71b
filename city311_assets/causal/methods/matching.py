"""Which controls resemble each treated unit, and how often each control is used.

What belongs here: exact searches, by cosine inside strata or by distance on covariates, with ties,
calipers and weights. What does not: which units are compared, and what is made of the pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from city311_assets.gold.methods.arrays import Bools, Floats, Ints

# Cosines that differ by no more are tied, and so are squared distances on z-scored covariates.
TIED_COSINES = 1e-6
TIED_DISTANCES = 1e-5
MOST_TIED = 20
# Products in memory at a time: 32 MB, and a few arrays of the same shape.
BLOCK = 8_000_000
# A cosine of float32 may be off by so much: who is tied is settled in doubles.
ROUNDING = 1e-6
# From so many neighbours on a partition is quicker than as many passes for the largest.
PARTITION_FROM = 12
# A length that differs from 1 by more is no unit vector, but one that was not normalized.
LENGTH_WITHIN = 1e-3
NAMED_ROWS = 10
ORDER_SEED = 311

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Matches:
    """Which controls each treated unit was matched to: a row a pair, by treated, then rank.

    Attributes
    ----------
    treated, control
        (p,) rows of the two units of each pair.
    rank
        (p,) 1 is the nearest.
    similarity
        (p,) cosine, or minus the squared distance.
    weight
        (p,) the weights of one treated unit sum to 1.
    asked
        (m,) every unit a match was sought for, sorted, matched or not.
    tied_within
        Similarities that differ by no more are tied.
    """

    treated: Ints
    control: Ints
    rank: Ints
    similarity: Floats
    weight: Floats
    asked: Ints
    tied_within: float = TIED_COSINES

    @property
    def matched(self) -> Ints:
        """Units with at least one pair, sorted."""
        return np.unique(self.treated)

    def of(self, is_chosen: Bools) -> Self:
        """Return the pairs of the treated units chosen by an (n,) mask, and only these as asked."""
        chosen = self._pairs(is_chosen[self.treated])
        return replace(chosen, asked=self.asked[is_chosen[self.asked]])

    def nearest(self, k: int) -> Self:
        """Return the first k pairs of each treated unit and those tied with the k-th."""
        _refuse_no_neighbours(k)
        _, start, count = np.unique(self.treated, return_index=True, return_counts=True)
        last = np.repeat(start + np.minimum(k, count) - 1, count)
        is_near = self.similarity >= self.similarity[last] - self.tied_within
        return self._weighted((self.rank <= k) | is_near)

    def above(self, floor: Floats) -> Self:
        """Return the pairs at least as similar as the floor (n,) of their treated unit."""
        return self._weighted(self.similarity >= floor[self.treated])

    def control_weights(self, n: int) -> tuple[Floats, Floats]:
        """Return K and K' of each of n units: the sum of its weights, and of their squares."""
        return (
            np.bincount(self.control, self.weight, n).astype(np.float64),
            np.bincount(self.control, self.weight**2, n).astype(np.float64),
        )

    def _pairs(self, is_kept: Bools) -> Self:
        return replace(
            self,
            treated=self.treated[is_kept],
            control=self.control[is_kept],
            rank=self.rank[is_kept],
            similarity=self.similarity[is_kept],
            weight=self.weight[is_kept],
        )

    def _weighted(self, is_kept: Bools) -> Self:
        treated = self.treated[is_kept]
        _, count = np.unique(treated, return_counts=True)
        return replace(self._pairs(is_kept), weight=np.repeat(1.0 / count, count))


def match_in_strata(
    vectors: Vectors,
    strata: Ints,
    groups: Ints,
    k: int,
    *,
    of: Bools | None = None,
    nearness: Floats | None = None,
    most_tied: int = MOST_TIED,
) -> Matches:
    """Return the k most similar units of the same stratum and another group, of every unit.

    Exact: one blocked product a stratum serves all groups. All units tied with the k-th are taken.
    Alike rows have the same similarities, and the pairs do not hang on the order of rows, unless
    more are tied than are taken and nothing tells them apart.

    Parameters
    ----------
    vectors
        Shape (n, d): a row of length 1 for each unit.
    strata, groups
        Shape (n,): what a pair must share, and what it must not.
    k
        Pairs of each unit, before ties.
    of
        Shape (n,): the units to match; all if left out.
    nearness
        Shape (n,): where more than `most_tied` are tied, those nearest in this are taken, such as
        opening time; if left out, some from anywhere in the rows, other ones for other units.
    most_tied
        Most pairs of one unit, if k is not more.
    """
    _refuse_no_neighbours(k)
    rows = np.ascontiguousarray(vectors, np.float32)
    _refuse_other_than_unit(rows)
    n = len(rows)
    _refuse_other_lengths(n, strata=strata, groups=groups, of=of, nearness=nearness)
    is_asked = np.ones(n, np.bool_) if of is None else np.asarray(of, np.bool_)
    codes = np.unique(groups, return_inverse=True)[1].astype(np.int32)
    ties = _Ties(n, nearness, max(k, most_tied))
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for units in _members(strata):
        if is_asked[units].any() and np.ptp(codes[units]) > 0:
            found.extend(_nearest_of_others(rows, units, codes, is_asked, k=k, ties=ties))
    treated, control = (np.concatenate(ends) for ends in zip(*found, strict=True))
    pairs = _cosines(rows, treated, control)
    order = np.lexsort((*ties.keys(treated, control), -pairs, treated))
    return _matches(treated[order], control[order], pairs[order], is_asked, TIED_COSINES).nearest(k)


def similar_in_strata(
    vectors: Vectors,
    strata: Ints,
    k: int,
    *,
    of: Bools | None = None,
    nearness: Floats | None = None,
) -> tuple[Ints, Floats]:
    """Return the k most similar other units of each unit's stratum, whatever their group.

    Arguments as of `match_in_strata`. Both arrays are (n, k), nearest first; a row ends in -1 and
    NaN where a stratum has fewer others, and is full of them where the unit is not one of `of`.
    """
    n = len(vectors)
    found = match_in_strata(vectors, strata, np.arange(n), k, of=of, nearness=nearness, most_tied=k)
    indices, similarities = np.full((n, k), -1, np.int64), np.full((n, k), np.nan)
    indices[found.treated, found.rank - 1] = found.control
    similarities[found.treated, found.rank - 1] = found.similarity
    return indices, similarities


def similarity_floors(
    vectors: Vectors, strata: Ints, share: float, seed: int, pairs: int = 5_000
) -> Floats:
    """Return the similarity that a share of random pairs of each unit's stratum stay below, (n,).

    A caliper: the quantile `share` of the cosines of pairs of different units, of all pairs where
    there are no more than `pairs`. NaN in a stratum of one.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the caliper is the quantile {share} of similarities; give one in [0, 1]")
    rows = np.ascontiguousarray(vectors, np.float32)
    _refuse_other_than_unit(rows)
    _refuse_other_lengths(len(rows), strata=strata)
    floors = np.full(len(rows), np.nan)
    for units in _members(strata):
        if (size := len(units)) < 2:
            continue
        # In the order of the vectors, so that the order of units does not decide which are drawn.
        ordered = units[np.argsort(_different(rows[units])[1], kind="stable")]
        if size * (size - 1) // 2 <= pairs:
            one, other = np.triu_indices(size, 1)
        else:
            rng = np.random.default_rng(seed)
            one = rng.integers(size, size=pairs)
            other = (one + rng.integers(1, size, size=pairs)) % size
        floors[units] = np.quantile(_cosines(rows, ordered[one], ordered[other]), share)
    return floors


def match_by_distance(
    covariates: ArrayLike,
    treated: Bools,
    k: int,
    *,
    strata: Ints | None = None,
    caliper: ArrayLike | None = None,
    tie_within: float = TIED_DISTANCES,
) -> Matches:
    """Return the k nearest controls of each treated unit, and all controls tied with the k-th.

    By squared Euclidean distance on covariates divided by their standard deviations, as R's
    package Matching does (https://doi.org/10.18637/jss.v042.i07). A covariate that is the same
    everywhere says nothing.

    Parameters
    ----------
    covariates
        Shape (n, q), in any units.
    treated
        Shape (n,): the units to match; the others are the controls.
    k
        Pairs of each treated unit, before ties.
    strata
        Shape (n,): what a pair must share, if anything.
    caliper
        In standard deviations, one or one a covariate: a pair that differs by more in any covariate
        is none, and a treated unit may be left without.
    tie_within
        Squared distances that differ by no more are tied.
    """
    _refuse_no_neighbours(k)
    z = _z_scores(covariates)
    _refuse_other_lengths(len(z), treated=treated, strata=strata)
    widest = None if caliper is None else np.broadcast_to(np.asarray(caliper, float), z.shape[1:])
    is_treated = np.asarray(treated, np.bool_)
    units, controls = np.flatnonzero(is_treated), np.flatnonzero(~is_treated)
    one, other, squared = _by_distance(
        z, units, controls, k, strata=strata, tie_within=tie_within, caliper=widest
    )
    order = np.lexsort((other, squared, one))
    return _matches(one[order], other[order], -squared[order], is_treated, tie_within)


def nearest_by_distance(
    covariates: ArrayLike,
    is_chosen: Bools,
    k: int,
    *,
    strata: Ints | None = None,
    of: Bools | None = None,
    tie_within: float = TIED_DISTANCES,
) -> tuple[Ints, Ints]:
    """Return chosen units (m,), and the k nearest other chosen ones of each, ties included.

    Arguments as of `match_by_distance`; `of` (n,) narrows down whose neighbours are sought. The
    neighbours are as wide as the most that one unit has, and end in -1 where it has fewer.
    """
    _refuse_no_neighbours(k)
    z = _z_scores(covariates)
    _refuse_other_lengths(len(z), is_chosen=is_chosen, strata=strata, of=of)
    units = np.flatnonzero(is_chosen if of is None else is_chosen & of)
    pool = np.flatnonzero(is_chosen)
    one, other, _ = _by_distance(z, units, pool, k, strata=strata, tie_within=tie_within)
    at = np.searchsorted(units, one)
    count = np.bincount(at, minlength=len(units))
    near = np.full((len(units), int(count.max(initial=0))), -1, np.int64)
    near[at, _places(count)] = other
    return units, near


class _Ties:
    """Who is taken where more units are tied than may be."""

    def __init__(self, n: int, nearness: Floats | None, limit: int) -> None:
        self.limit = limit
        self._n = n
        self._nearness = None if nearness is None else np.asarray(nearness, np.float64)
        self._turn = np.random.default_rng(ORDER_SEED).permutation(n)

    def keys(self, treated: Ints, control: Ints) -> tuple[NDArray[np.float64 | np.int64], ...]:
        """Return the keys of `lexsort` that order tied controls, the last one first.

        The turn goes round from the treated unit's own, so that not all take the same controls.
        """
        turn = (self._turn[control] - self._turn[treated]) % self._n
        if self._nearness is None:
            return (turn,)
        return turn, np.abs(self._nearness[control] - self._nearness[treated])

    def first(self, treated: int, controls: Ints, wanted: int) -> Ints:
        """Return the positions of the first `wanted` of tied controls."""
        keys = self.keys(np.full(len(controls), treated), controls)
        (few,) = np.nonzero(keys[-1] <= np.partition(keys[-1], wanted - 1)[wanted - 1])
        return few[np.lexsort(tuple(key[few] for key in keys))[:wanted]]


def _nearest_of_others(
    rows: Vectors, units: Ints, codes: NDArray[np.int32], is_asked: Bools, *, k: int, ties: _Ties
) -> Iterator[tuple[Ints, Ints]]:
    """Yield the pairs of one stratum, a block of them at a time, in no order."""
    different, of_row = _different(rows[units])
    order = np.argsort(of_row, kind="stable")
    units, of_row = units[order], of_row[order]
    group, size = codes[units], len(units)
    step = max(BLOCK // size, 1)
    for start in range(0, len(different), step):
        product = different[start : start + step] @ different.T
        low, high = np.searchsorted(of_row, (start, start + step))
        asked = np.arange(low, high)[is_asked[units[low:high]]]
        for first in range(0, len(asked), step):
            own = asked[first : first + step]
            near = product[of_row[own] - start]
            if len(different) < size:
                near = np.take(near, of_row, axis=1)
            np.copyto(near, np.float32(-np.inf), where=group[own][:, None] == group)
            least = _kth_largest(near, k)
            # No cosine is below -2: where fewer than k are left all of them are found.
            floor = np.maximum(least - np.float32(TIED_COSINES + ROUNDING), np.float32(-2))
            flat = np.flatnonzero(near >= floor[:, None])
            at, found = np.divmod(flat, size)
            if (np.bincount(at, minlength=1) > ties.limit).any():
                nearer = near.ravel()[flat] > least[at] + np.float32(TIED_COSINES)
                kept = _within_limit(at, units[own], units[found], nearer, ties)
                at, found = at[kept], found[kept]
            yield units[own[at]], units[found]


def _within_limit(at: Ints, own: Ints, found: Ints, is_nearer: Bools, ties: _Ties) -> Ints:
    """Return the positions of pairs that stay: those nearer than the k-th, and the first tied."""
    count = np.bincount(at, minlength=len(own))
    ends = np.cumsum(count)
    kept = [np.flatnonzero(count[at] <= ties.limit)]
    for row in np.flatnonzero(count > ties.limit):
        part = np.arange(ends[row] - count[row], ends[row])
        nearer, tied = part[is_nearer[part]], part[~is_nearer[part]]
        first = ties.first(int(own[row]), found[tied], ties.limit - len(nearer))
        kept += [nearer, tied[first]]
    return np.concatenate(kept)


def _kth_largest(near: Vectors, k: int) -> Vectors:
    """Return the k-th largest of each row, or minus infinity where there are fewer."""
    if k > near.shape[1]:
        return np.full(len(near), -np.inf, np.float32)
    if k >= PARTITION_FROM:
        return np.partition(near, near.shape[1] - k, axis=1)[:, near.shape[1] - k]
    row = np.arange(len(near))
    taken = []
    for _ in range(k - 1):
        at = near.argmax(axis=1)
        taken.append((at, near[row, at]))
        near[row, at] = -np.inf
    least = near.max(axis=1)
    for at, value in reversed(taken):
        near[row, at] = value
    return least


def _by_distance(
    z: Floats,
    asked: Ints,
    pool: Ints,
    k: int,
    *,
    strata: Ints | None,
    tie_within: float,
    caliper: Floats | None = None,
) -> tuple[Ints, Ints, Floats]:
    """Return pairs of units asked about and their nearest of the pool, with squared distances."""
    none = np.zeros(0, np.int64)
    found = [(none, none, np.zeros(0))]
    theirs = z[pool]
    step = max(BLOCK // max(2 * len(pool), 1), 1)
    for start in range(0, len(asked) if len(pool) else 0, step):
        own = asked[start : start + step]
        squared = np.zeros((len(own), len(pool)))
        # A column at a time: differences are exact where units are alike, and memory is bounded.
        for column in range(z.shape[1]):
            apart = z[own, column][:, None] - theirs[:, column]
            if caliper is not None:
                squared[np.abs(apart) > caliper[column]] = np.inf
            squared += np.square(apart, out=apart)
        squared[own[:, None] == pool] = np.inf
        if strata is not None:
            squared[strata[own][:, None] != strata[pool]] = np.inf
        width = min(k, len(pool))
        least = np.partition(squared, width - 1, axis=1)[:, [width - 1]]
        one, other = np.nonzero((squared <= least + tie_within) & np.isfinite(squared))
        found.append((own[one], pool[other], squared[one, other]))
    one, other, squared = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return one, other, squared


def _matches(
    treated: Ints, control: Ints, similarity: Floats, is_asked: Bools, tied_within: float
) -> Matches:
    """Return pairs that are sorted, with their ranks and weights."""
    _, count = np.unique(treated, return_counts=True)
    rank, weight = _places(count) + 1, np.repeat(1.0 / count, count)
    asked = np.flatnonzero(is_asked)
    return Matches(treated, control, rank, similarity, weight, asked, tied_within)


def _places(count: Ints) -> Ints:
    """Return 0, 1, … within each run of so many."""
    return np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)


def _members(strata: Ints) -> list[Ints]:
    """Return the rows of each stratum."""
    order = np.argsort(strata, kind="stable")
    starts = np.flatnonzero(np.diff(np.asarray(strata)[order])) + 1
    return np.split(order, starts)


def _different(rows: Vectors) -> tuple[Vectors, Ints]:
    """Return the rows that differ, in an order of their own, and which of them each row is.

    Alike rows then have the very same products: a matrix product may round two columns otherwise.
    """
    # Adding 0 makes -0 the 0 it equals.
    plain = rows + np.float32(0)
    whole = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return plain[first], inverse


def _cosines(rows: Vectors, one: Ints, other: Ints) -> Floats:
    """Return the product of each pair of rows, summed alone and in doubles."""
    found = np.empty(len(one))
    step = max(BLOCK // (4 * rows.shape[1]), 1)
    for start in range(0, len(one), step):
        part = slice(start, start + step)
        left, right = rows[one[part]].astype(np.float64), rows[other[part]].astype(np.float64)
        found[part] = np.einsum("pd,pd->p", left, right)
    return found


def _z_scores(covariates: ArrayLike) -> Floats:
    x = np.asarray(covariates, np.float64)
    if x.ndim != 2 or x.shape[1] == 0 or len(x) < 2:
        raise ValueError(f"covariates have the shape {x.shape}; give a row for each of two or more")
    if (is_wrong := ~np.isfinite(x).all(axis=1)).any():
        raise ValueError(
            f"a covariate is missing or infinite in {is_wrong.sum()} of {len(x)} rows, the first "
            f"are {np.flatnonzero(is_wrong)[:NAMED_ROWS].tolist()}; leave these units out"
        )
    spread = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0, ddof=1), np.inf)
    return (x - x.mean(axis=0)) / spread


def _refuse_no_neighbours(k: int) -> None:
    if k < 1:
        raise ValueError(f"{k} matches of each unit were asked for; ask for 1 or more")


def _refuse_other_lengths(n: int, **columns: ArrayLike | None) -> None:
    for name, values in columns.items():
        if values is not None and np.shape(values) != (n,):
            raise ValueError(f"{name} has the shape {np.shape(values)}; give one of {n} units each")


def _refuse_other_than_unit(rows: Vectors) -> None:
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"vectors have the shape {rows.shape}; give one row for each unit")
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    # Turned round, so that a length that is missing is refused too.
    is_wrong = ~(np.abs(length - 1) <= LENGTH_WITHIN)
    if is_wrong.any():
        raise ValueError(
            f"{is_wrong.sum()} of {len(rows)} vectors have another length than 1 or a value that "
            f"is missing, the first are rows {np.flatnonzero(is_wrong)[:NAMED_ROWS].tolist()}; "
            "leave these units out or normalize their vectors"
        )
