"""The map: a place for every case, in the plane and in space, that stays put month after month.

What belongs here: UMAP on the neighbour graph, where it begins, and how it is turned back to the
month before. What does not: which cases are shown, or how.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from city311_assets.atlas.methods.graph import (
    SEED,
    NeighborGraph,
    Vectors,
    exact_neighbors,
    nearest_neighbors,
)
from city311_assets.gold.methods.arrays import Bools, Floats, Ints

NEIGHBORS = 15
MIN_DIST = 0.1
FIT_AT_MOST = 100_000
# UMAP's own start by spectral layout spans 10; a start by principal components is scaled alike.
SPAN = 10.0
# Fewer cases have no shape beyond that of their principal components.
FEWEST = 15
# Cases that two months share, below which a turn cannot be told from chance: one more than the
# corners of a simplex in space.
LEAST_SHARED = 5


@dataclass(frozen=True, slots=True)
class Positions:
    """Where m cases were: `index` (m,) is their row now; `flat` (m, 2), `solid` (m, 3)."""

    index: Ints
    flat: Vectors
    solid: Vectors


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each of n cases is: `flat` (n, 2) and `solid` (n, 3)."""

    flat: Vectors
    solid: Vectors
    seed: int


def layout(
    graph: NeighborGraph,
    vectors: Vectors,
    *,
    seed: int = SEED,
    before: Positions | None = None,
    fit_at_most: int = FIT_AT_MOST,
) -> Layout:
    """Return places of cases, near each other where alike (https://arxiv.org/abs/1802.03426).

    UMAP begins where the cases were the month before, a new case in the middle of its neighbours
    that were there, or else at their principal components; and is turned, mirrored and moved onto
    the month before. One thread and a fixed seed: the same places every time.

    Parameters
    ----------
    graph
        Nearest neighbours of n cases.
    vectors
        Shape (n, d), what the graph was made of.
    seed
        Start of the layout, and of the sample it is fitted on.
    before
        Places of the month before, of those cases that are still there.
    fit_at_most
        Of more cases a sample is laid out, and the rest are placed by their neighbours in it.
    """
    if len(vectors) != graph.size:
        raise ValueError(f"{len(vectors)} vectors for a graph of {graph.size} cases")
    places = []
    for dimensions in (2, 3):
        known = np.full((graph.size, dimensions), np.nan)
        if before is not None:
            known[before.index] = before.flat if dimensions == 2 else before.solid
        places.append(_placed(graph, vectors, known, seed, fit_at_most))
    return Layout(*places, seed=seed)


def aligned(points: Floats, reference: Floats, shared: Bools) -> Floats:
    """Return points turned, mirrored and moved onto a reference, by orthogonal Procrustes.

    Not scaled: distances on the map mean the same every month, and a scale fitted to noisy places
    is below 1, so that a map would shrink a little each month.
    https://doi.org/10.1007/BF02289451

    Parameters
    ----------
    points
        Shape (n, d).
    reference
        Shape (n, d); only rows of shared cases are read.
    shared
        Shape (n,): the cases by which the turn is found. Of fewer than 5 there is only a move, of
        none not even that.
    """
    if not shared.any():
        return points
    own, theirs = points[shared], reference[shared]
    middle, other = own.mean(axis=0), theirs.mean(axis=0)
    turn = np.eye(points.shape[1])
    if shared.sum() >= LEAST_SHARED:
        left, _, right = np.linalg.svd((own - middle).T @ (theirs - other))
        turn = left @ right
    return (points - middle) @ turn + other


def _placed(
    graph: NeighborGraph, vectors: Vectors, known: Floats, seed: int, fit_at_most: int
) -> Vectors:
    size, dimensions = known.shape
    is_known: Bools = ~np.isnan(known[:, 0])
    start = _principal(vectors, dimensions)
    if is_known.sum() >= LEAST_SHARED:
        start = _started(graph, aligned(start, known, is_known), known, is_known)
    if size < FEWEST:
        return aligned(start, known, is_known).astype(np.float32)
    if size <= fit_at_most:
        found = _umap(graph.indices, graph.similarities, vectors, start, seed)
    else:
        found = _of_a_sample(graph, vectors, start, seed, fit_at_most)
    return aligned(found, known, is_known).astype(np.float32)


def _principal(vectors: Vectors, dimensions: int) -> Floats:
    """Return the first principal components, each turned so that its largest entry is positive."""
    centred = np.asarray(vectors, np.float64)
    size, width = centred.shape
    found = np.zeros((size, dimensions))
    if size < 2:
        return found
    centred = centred - centred.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    kept = directions[:, ::-1][:, :dimensions]
    kept = kept * np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])
    found[:, : min(width, dimensions)] = centred @ kept
    return found * (SPAN / max(np.abs(found).max(), np.finfo(float).tiny))


def _started(graph: NeighborGraph, start: Floats, known: Floats, is_known: Bools) -> Floats:
    """Return where cases were; new ones amid their neighbours that were there, if any were."""
    found = np.where(is_known[:, None], known, start)
    mean, is_placed = _amid(graph.indices, known, is_known)
    is_new = ~is_known & is_placed
    found[is_new] = mean[is_new]
    return found


def _amid(indices: NDArray[np.int32], known: Floats, is_known: Bools) -> tuple[Floats, Bools]:
    """Return the mean place of the first neighbours that have one, and who has such neighbours."""
    has_place = is_known[indices]
    has_place &= np.cumsum(has_place, axis=1) <= NEIGHBORS
    count = has_place.sum(axis=1)
    total = np.zeros(known.shape)
    for column in range(indices.shape[1]):
        near = has_place[:, column]
        total[near] += known[indices[near, column]]
    return total / np.maximum(count, 1)[:, None], count > 0


def _of_a_sample(
    graph: NeighborGraph, vectors: Vectors, start: Floats, seed: int, fit_at_most: int
) -> Floats:
    """Lay a sample out, and place the rest amid their neighbours in it."""
    size = graph.size
    drawn = np.sort(np.random.default_rng(seed).choice(size, fit_at_most, replace=False))
    is_drawn = np.zeros(size, np.bool_)
    is_drawn[drawn] = True
    own = nearest_neighbors(vectors[drawn], NEIGHBORS, seed=seed)
    found = np.zeros(start.shape)
    found[drawn] = _umap(own.indices, own.similarities, vectors[drawn], start[drawn], seed)
    mean, is_placed = _amid(graph.indices, found, is_drawn)
    # Few have no neighbour in the sample; theirs are searched there.
    (alone,) = np.nonzero(~is_drawn & ~is_placed)
    near = exact_neighbors(vectors, alone, 1, is_drawn).indices[:, 0]
    mean[alone] = found[near]
    found[~is_drawn] = mean[~is_drawn]
    return found


def _umap(
    indices: NDArray[np.int32], similarities: Vectors, vectors: Vectors, start: Floats, seed: int
) -> Floats:
    with warnings.catch_warnings():
        # Of what it would need for a kind of map that is not drawn here.
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        from umap import UMAP

    first = min(NEIGHBORS - 1, indices.shape[1])
    own = np.arange(len(indices), dtype=np.int32)[:, None]
    near = np.hstack([own, indices[:, :first]]).astype(np.int32)
    distances = np.hstack([np.zeros_like(own), 1 - similarities[:, :first]]).astype(np.float32)
    settings: dict[str, Any] = {
        "n_neighbors": first + 1,
        "n_components": start.shape[1],
        "min_dist": MIN_DIST,
        "metric": "cosine",
        "init": start.astype(np.float32),
        "random_state": seed,
        "n_jobs": 1,
        "precomputed_knn": (near, np.maximum(distances, 0), None),
    }
    with warnings.catch_warnings():
        # It says that a map made of given neighbours cannot place new cases: none are.
        warnings.filterwarnings("ignore", r"precomputed_knn\[2\]", UserWarning)
        found = UMAP(**settings).fit_transform(vectors)
    return np.asarray(found, np.float64)
