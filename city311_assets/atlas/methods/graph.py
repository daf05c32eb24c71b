"""The nearest neighbours of every case: the one graph that clusters, map and matching read.

What belongs here: the search, exact and approximate, and how good the approximate one was. What
does not: which cases are compared, or what is made of their neighbours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from city311_assets.gold.methods.arrays import Bools, Ints

NEIGHBORS = 50
SEED = 311
# Above so many cases the search is approximate: an exact one takes n squared products.
EXACT_UP_TO = 30_000
# The recall of an approximate search is that of so many cases, drawn without replacement.
RECALL_CASES = 1_000
# Similarities in memory at a time: 32 MB, and some arrays of the same shape.
BLOCK = 8_000_000
# Two sums of the same products may differ by so much.
ROUNDING = 1e-6
# A length that differs from 1 by more is no unit vector, but one that was not normalized.
LENGTH_WITHIN = 1e-3
NAMED_ROWS = 10

Vectors = NDArray[np.float32]
Indices = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class NeighborGraph:
    """The k nearest other cases of each of n, nearest first, equals by index.

    `indices` (n, k) and `similarities` (n, k), cosine; `recall` is the share of the true nearest
    that was found, 1 where the search was exact, else measured on a sample of cases.
    """

    indices: Indices
    similarities: Vectors
    recall: float
    is_exact: bool
    seed: int

    @property
    def size(self) -> int:
        """Number of cases."""
        return self.indices.shape[0]

    @property
    def neighbors(self) -> int:
        """Neighbours of each case: k, or one less than there are cases."""
        return self.indices.shape[1]


@dataclass(frozen=True, slots=True)
class ExactNeighbors:
    """The nearest admissible cases of some: (m, k), nearest first.

    Where fewer than k are admissible, a row ends in index -1 and similarity NaN.
    """

    indices: Indices
    similarities: Vectors


def nearest_neighbors(
    vectors: Vectors, k: int = NEIGHBORS, *, seed: int = SEED, exact_up_to: int = EXACT_UP_TO
) -> NeighborGraph:
    """Return the k cases of the highest cosine similarity to each case, itself left out.

    Exact by blocks of products up to a size, above it by nearest neighbour descent
    (https://doi.org/10.1145/1963405.1963487) with one thread and a fixed seed: with another number
    of threads it finds another graph.

    Parameters
    ----------
    vectors
        Shape (n, d): a row of length 1 for each case.
    k
        Neighbours of each case; of fewer cases all others are.
    seed
        Start of the approximate search, and of the sample on which its recall is measured.
    exact_up_to
        Most cases that are searched exactly.

    Raises
    ------
    ValueError
        If a row has no direction, or not the length 1.
    """
    if k < 1:
        raise ValueError(f"{k} neighbours of each case were asked for; ask for 1 or more")
    rows = np.ascontiguousarray(vectors, np.float32)
    _refuse_other_than_unit(rows)
    size = len(rows)
    k = min(k, max(size - 1, 0))
    if k == 0:
        return NeighborGraph(
            np.zeros((size, 0), np.int32), np.zeros((size, 0), np.float32), 1.0, True, seed
        )
    if size <= exact_up_to:
        found = exact_neighbors(rows, np.arange(size), k)
        return NeighborGraph(found.indices, found.similarities, 1.0, True, seed)
    found = _by_descent(rows, k, seed)
    indices, similarities = _nearest_first(found, _cosines(rows, np.arange(size), found))
    return NeighborGraph(indices, similarities, _recall(rows, similarities, seed), False, seed)


def exact_neighbors(
    vectors: Vectors, queries: Ints, k: int, allowed: Bools | None = None
) -> ExactNeighbors:
    """Return the k nearest cases of some, among those that are admissible for each.

    Parameters
    ----------
    vectors
        Shape (n, d): a row of length 1 for each case.
    queries
        Shape (m,): the cases asked about, as rows of `vectors`.
    k
        Neighbours of each.
    allowed
        Shape (n,), the same for all, or (m, n): which cases are admissible; all if left out. A case
        is never its own neighbour.
    """
    rows = np.ascontiguousarray(vectors, np.float32)
    _refuse_other_than_unit(rows)
    asked = np.asarray(queries, np.int64)
    if asked.size and not (asked.min() >= 0 and asked.max() < len(rows)):
        raise ValueError(f"a case asked about is none of the {len(rows)} with a vector")
    if allowed is not None and allowed.shape not in {(len(rows),), (len(asked), len(rows))}:
        raise ValueError(
            f"which cases are admissible has the shape {allowed.shape}; give one of "
            f"{len(rows)} cases, or of {len(asked)} by {len(rows)}"
        )
    indices = np.full((len(asked), k), -1, np.int32)
    similarities = np.full((len(asked), k), np.nan, np.float32)
    width = min(k, len(rows))
    if not width or not len(asked):
        return ExactNeighbors(indices, similarities)
    different, of_row = _different(rows)
    for part in _blocks(len(asked), len(rows)):
        own = asked[part]
        near = (rows[own] @ different.T)[:, of_row]
        near[np.arange(len(own)), own] = -np.inf
        if allowed is not None:
            np.copyto(near, -np.inf, where=~(allowed if allowed.ndim == 1 else allowed[part]))
        first = _largest(near, width)
        is_found = np.take_along_axis(near, first, 1) > -np.inf
        values = np.where(is_found, _cosines(rows, own, first), np.float32(-np.inf))
        first, values = _nearest_first(first, values)
        is_found = values > -np.inf
        indices[part, :width] = np.where(is_found, first, -1)
        similarities[part, :width] = np.where(is_found, values, np.nan)
    return ExactNeighbors(indices, similarities)


def _blocks(queries: int, size: int) -> Iterator[slice]:
    step = max(BLOCK // max(size, 1), 1)
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


def _different(rows: Vectors) -> tuple[Vectors, Ints]:
    """Return the rows that differ, and which of them each is.

    Alike rows then have the very same products: a matrix product may round two columns otherwise.
    """
    whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return rows[first], inverse


def _largest(near: Vectors, k: int) -> Indices:
    """Return where the k largest of each row are; of those equal to the least of them the first."""
    least = np.partition(near, near.shape[1] - k, axis=1)[:, [near.shape[1] - k]]
    is_chosen, is_equal = near > least, near == least
    wanted = k - is_chosen.sum(axis=1, keepdims=True)
    is_chosen |= is_equal & (np.cumsum(is_equal, axis=1, dtype=np.int32) <= wanted)
    return np.nonzero(is_chosen)[1].reshape(len(near), k).astype(np.int32)


def _cosines(rows: Vectors, asked: Ints, indices: Indices) -> Vectors:
    """Return the products of cases with their neighbours, each summed alone and in doubles."""
    found = np.empty(indices.shape, np.float32)
    step = max(BLOCK // (8 * max(indices.shape[1] * rows.shape[1], 1)), 1)
    for start in range(0, len(asked), step):
        part = slice(start, start + step)
        own, theirs = rows[asked[part]].astype(np.float64), rows[indices[part]]
        found[part] = np.einsum("md,mkd->mk", own, theirs.astype(np.float64))
    return np.clip(found, -1, 1)


def _nearest_first(indices: Indices, similarities: Vectors) -> tuple[Indices, Vectors]:
    order = np.lexsort((indices, -similarities), axis=1)
    return np.take_along_axis(indices, order, 1), np.take_along_axis(similarities, order, 1)


def _by_descent(rows: Vectors, k: int, seed: int) -> Indices:
    """Return k neighbours of each case as nearest neighbour descent finds them, itself left out."""
    from pynndescent import NNDescent

    index = NNDescent(
        rows,
        metric="cosine",
        n_neighbors=k + 1,
        random_state=seed,
        n_jobs=1,
        low_memory=True,
        compressed=False,
    )
    if (found_graph := index.neighbor_graph) is None:
        raise RuntimeError(f"the neighbours of {len(rows)} cases were not kept by pynndescent")
    found = np.asarray(found_graph[0])
    # Where many cases are alike, a case may be missing from its own list: the last one goes then.
    is_self = found == np.arange(len(rows))[:, None]
    is_self[~is_self.any(axis=1), -1] = True
    near = found[~is_self].reshape(len(rows), k).astype(np.int32)
    # A list that the descent could not fill, or that has the case twice, is searched exactly.
    own = np.arange(len(rows))[:, None]
    (is_short,) = np.nonzero(((near < 0) | (near == own)).any(axis=1))
    near[is_short] = exact_neighbors(rows, is_short, k).indices
    return near


def _recall(rows: Vectors, similarities: Vectors, seed: int) -> float:
    """Return the share of neighbours no farther than the k-th nearest is, over some cases.

    By similarity and not by index: of cases that are alike any is as near as another.
    """
    rng = np.random.default_rng(seed)
    asked = np.sort(rng.choice(len(rows), min(RECALL_CASES, len(rows)), replace=False))
    true = exact_neighbors(rows, asked, similarities.shape[1]).similarities
    return float((similarities[asked] >= true[:, [-1]] - ROUNDING).mean())


def _refuse_other_than_unit(rows: Vectors) -> None:
    if rows.ndim != 2:
        raise ValueError(f"vectors have the shape {rows.shape}; give one row for each case")
    length = np.linalg.norm(rows, axis=1)
    for is_wrong, what in (
        (~np.isfinite(length), "a value that is missing or infinite"),
        (length == 0, "no direction: they are zero"),
        (np.abs(length - 1) > LENGTH_WITHIN, "another length than 1"),
    ):
        if is_wrong.any():
            named = np.flatnonzero(is_wrong)
            raise ValueError(
                f"{len(named)} of {len(rows)} vectors have {what}, the first are rows "
                f"{named[:NAMED_ROWS].tolist()}; leave these cases out or normalize their vectors"
            )
