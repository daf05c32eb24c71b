"""Clusters of the neighbour graph: Leiden at a resolution that its own answers agree on.

What belongs here: the graph that is cut, the rule for its resolution, outliers and sub-clusters.
What does not: what a cluster is called, or which of last month's it is.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from city311_assets.atlas.methods.graph import SEED, Indices, NeighborGraph
from city311_assets.gold.methods.arrays import Bools, Floats, Ints

if TYPE_CHECKING:
    import igraph

FIRST = 15
# No smaller than the neighbourhood by which it was found.
SMALLEST = 15
SUB_LARGER_THAN = 500
# From far below the usual resolution of 1, at which large graphs are cut into dozens of parts, to
# twice it: what is finer is a matter of sub-clusters.
RESOLUTIONS = (0.1, 0.14, 0.2, 0.28, 0.4, 0.57, 0.8, 1.13, 1.6, 2.0)
# Partitions of each resolution, of which every pair is compared; and those by which is seen which
# resolutions are worth so many.
PARTITIONS = 5
AT_FIRST = 2
LATER = range(AT_FIRST, PARTITIONS)
# Where the first partitions agree less than the best by more, five would not be the most stable.
FAR_BELOW = 0.1
# Stabilities that differ by less are alike: a handful of cases at an edge. At 0.02 the fragments of
# topics that are told apart perfectly at a coarser resolution were taken for topics.
ALIKE_WITHIN = 0.001
# Parts of a cluster that two seeds draw otherwise are no sub-clusters.
LEAST_SUB_STABILITY = 0.7
# Cosines of vectors of one text, up to rounding.
SAME = 1 - 1e-5
ITERATIONS = 2
OUTLIER = -1
# Cells of a table of two partitions that are counted without sorting.
DENSE_TABLE = 4_000_000

PROFILE = {"resolution": pl.Float64, "clusters": pl.Int64, "stability": pl.Float64}


@dataclass(frozen=True, slots=True)
class Communities:
    """The cluster of each of n cases, numbered from 0 by falling size, -1 for outliers.

    `membership` is the share of a case's first neighbours that are in its cluster, 0 of an outlier;
    `sublabels` are parts of a large cluster, from 0 by falling size, -1 where there is none.
    `stability` is the mean adjusted Rand index of partitions of other seeds at the `resolution`
    chosen, `modularity` that of the clusters, outliers apart from each other, at resolution 1;
    `profile` has a row for each resolution tried.
    """

    labels: Indices
    membership: Floats
    sublabels: Indices
    resolution: float
    stability: float
    modularity: float
    profile: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Choice:
    """The partition chosen, its resolution and stability, and those not chosen."""

    labels: Indices
    resolution: float
    stability: float
    profile: pl.DataFrame


def communities(
    graph: NeighborGraph,
    *,
    seed: int = SEED,
    smallest: int = SMALLEST,
    sub_larger_than: int = SUB_LARGER_THAN,
    first: int = FIRST,
) -> Communities:
    """Return the clusters of a neighbour graph, by Leiden (https://doi.org/10.1038/s41598-019-41695-z).

    The graph that is cut joins a case with its first neighbours and with those it is one of, each
    pair once, weighted by cosine; what is not similar (0 or less) is not joined. Modularity with a
    resolution is maximized, twice with other seeds at each of a ladder of resolutions, five times
    where these agree best or nearly so, and the one is taken whose partitions agree best (mean
    adjusted Rand index of all pairs; of equals, within 0.001, the finest); of its partitions, the
    one that agrees best with the others.
    A resolution at which fewer than two clusters have the least size is not taken while another
    has: that everything is one cluster is perfectly stable, and says nothing. No label, and no
    number of clusters, enters the rule.

    Parameters
    ----------
    graph
        Nearest neighbours of n cases.
    seed
        The partitions compared start from it and the numbers after it.
    smallest
        Cases of smaller clusters are outliers.
    sub_larger_than
        Larger clusters are cut again, by the same rule and within themselves; parts whose
        partitions do not agree are not told apart.
    first
        Neighbours of each case that are joined to it.
    """
    if smallest < 1 or first < 1:
        raise ValueError(
            f"clusters of {smallest} cases by the first {first} neighbours were asked for; "
            "ask for 1 or more of both"
        )
    size = graph.size
    edges, weights = union_edges(graph, first)
    chosen = _chosen(size, edges, weights, seed, smallest=smallest)
    labels = _by_size(chosen.labels, smallest)
    sublabels = np.full(size, OUTLIER, np.int32)
    for cluster in range(labels.max(initial=OUTLIER) + 1):
        is_member = labels == cluster
        if is_member.sum() > sub_larger_than:
            sublabels[is_member] = _parts(is_member, edges, weights, seed, smallest)
    near = labels[graph.indices[:, :first]]
    is_same = (near == labels[:, None]) & (labels[:, None] != OUTLIER)
    return Communities(
        labels=labels,
        membership=is_same.sum(axis=1) / max(near.shape[1], 1),
        sublabels=sublabels,
        resolution=chosen.resolution,
        stability=chosen.stability,
        modularity=_modularity(size, edges, weights, labels),
        profile=chosen.profile,
    )


def union_edges(graph: NeighborGraph, first: int) -> tuple[Ints, Floats]:
    """Return each pair of first neighbours once, shape (e, 2), and its similarity, above 0.

    Neighbours that say just the same are joined and not counted: a text that came in more often
    than a case has first neighbours would else be joined to nothing but itself.
    """
    own = np.repeat(np.arange(graph.size), graph.indices.shape[1])
    other = graph.indices.astype(np.int64).ravel()
    weight = graph.similarities.astype(np.float64)
    is_other = weight < SAME
    is_joined = ((~is_other | (is_other.cumsum(axis=1) <= first)) & (weight > 0)).ravel()
    weight = weight.ravel()
    low, high = np.minimum(own, other)[is_joined], np.maximum(own, other)[is_joined]
    _, place = np.unique(low * graph.size + high, return_index=True)
    return np.stack([low[place], high[place]], axis=1), weight[is_joined][place]


def _chosen(
    size: int, edges: Ints, weights: Floats, seed: int, *, smallest: int, worth_it: float = 0.0
) -> Choice:
    """Return the partition of the most stable resolution.

    Where even the first partitions of none agree nearly as well as is `worth_it`, more are not
    made.
    """
    if not len(edges):
        alone = np.arange(size, dtype=np.int32)
        return Choice(alone, RESOLUTIONS[0], 1.0, pl.DataFrame(schema=PROFILE))
    net = network(size, edges, weights)
    ladder = [
        [leiden(net, resolution, seed + k) for k in range(AT_FIRST)] for resolution in RESOLUTIONS
    ]
    first = _profile(ladder, smallest)
    best = _most_stable(first)
    is_near = first["stability"].to_numpy() >= best - FAR_BELOW
    is_whole = np.zeros(len(ladder), np.bool_)
    if best >= worth_it - FAR_BELOW:
        for place in np.flatnonzero(is_near)[::-1]:
            ladder[place] += [leiden(net, RESOLUTIONS[place], seed + k) for k in LATER]
            is_whole[place] = True
            of_place = _profile(ladder[place : place + 1], smallest)
            # Nothing coarser is more stable than this, or is taken instead if as stable.
            if of_place["clusters"][0] > 1 and of_place["stability"][0] >= 1 - ALIKE_WITHIN:
                break
    profile = _profile(ladder, smallest)
    told = np.flatnonzero(is_whole) if is_whole.any() else np.arange(len(ladder))
    place = told[_finest_of_the_most_stable(profile[told])]
    labels = ladder[place][_medoid(ladder[place])]
    return Choice(labels, RESOLUTIONS[place], profile["stability"][int(place)], profile)


def _profile(ladder: list[list[Indices]], smallest: int) -> pl.DataFrame:
    """Return the profile: of each resolution the clusters of its medoid, and its stability."""
    rows = []
    for resolution, found in zip(RESOLUTIONS, ladder, strict=False):
        agreement, pairs = _agreement(found), len(found) * (len(found) - 1)
        clusters = int((np.bincount(found[_medoid(found)]) >= smallest).sum())
        rows.append((resolution, clusters, float((agreement.sum() - len(found)) / pairs)))
    return pl.DataFrame(rows, schema=PROFILE, orient="row")


def _medoid(found: list[Indices]) -> int:
    """Return which partition agrees best with the others."""
    return int(_agreement(found).sum(axis=1).argmax())


def _agreement(found: list[Indices]) -> Floats:
    agreement = np.eye(len(found))
    for one, other in combinations(range(len(found)), 2):
        agreement[one, other] = agreement[other, one] = rand_index(found[one], found[other])
    return agreement


def rand_index(one: Indices, other: Indices) -> float:
    """Return the adjusted Rand index of two partitions, each numbered from 0.

    As scikit-learn computes it, without its checks of the input, which take longer on small parts.
    https://doi.org/10.1007/BF01908075
    """
    width = int(other.max()) + 1

    def pairs(counts: Ints) -> float:
        return float((counts * (counts - 1.0)).sum()) / 2

    if int(one.max() + 1) * width <= DENSE_TABLE:
        table = np.bincount(one.astype(np.int64) * width + other)
    else:
        _, table = np.unique(one.astype(np.int64) * width + other, return_counts=True)
    both, of_one, of_other = pairs(table), pairs(np.bincount(one)), pairs(np.bincount(other))
    every = pairs(np.array([len(one)]))
    expected = of_one * of_other / every if every else 0.0
    highest = (of_one + of_other) / 2
    return 1.0 if highest == expected else (both - expected) / (highest - expected)


def _most_stable(profile: pl.DataFrame) -> float:
    """Return the highest stability of a resolution that has more than one cluster, if any has."""
    clusters, stability = profile["clusters"].to_numpy(), profile["stability"].to_numpy()
    return float(stability[clusters >= min(2, clusters.max())].max())


def _finest_of_the_most_stable(profile: pl.DataFrame) -> int:
    """Return the row of a profile that is taken: of more than one cluster, if any is."""
    clusters, stability = profile["clusters"].to_numpy(), profile["stability"].to_numpy()
    is_told = clusters >= min(2, clusters.max())
    return int(np.flatnonzero(is_told & (stability >= _most_stable(profile) - ALIKE_WITHIN))[-1])


def network(size: int, edges: Ints, weights: Floats) -> "igraph.Graph":
    """Return cases and the pairs that are joined, weighted, as igraph holds them."""
    import igraph

    net = igraph.Graph(n=size, edges=edges)
    net.es["weight"] = weights.tolist()
    return net


def leiden(net: "igraph.Graph", resolution: float, seed: int) -> Indices:
    """Return the part of each case, by modularity with a resolution.

    igraph's own Leiden: leidenalg reaches the same modularity in ten to twenty times the time.
    """
    import random

    import igraph

    # igraph draws from Python's own generator, which is left as it was found.
    igraph.set_random_number_generator(random)
    random_state = random.getstate()
    random.seed(seed)
    try:
        # The class below `Graph` returns the parts alone: that one walks over all of them again.
        parts, _ = igraph.GraphBase.community_leiden(
            net,
            edge_weights="weight",
            resolution=resolution,
            normalize_resolution=True,
            n_iterations=ITERATIONS,
        )
    finally:
        random.setstate(random_state)
    return np.array(parts, np.int32)


def _by_size(labels: Indices, smallest: int) -> Indices:
    """Return labels from 0 by falling size, then by the first case; -1 for parts too small."""
    parts, first, part, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -sizes))
    number = np.empty(len(parts), np.int32)
    number[order] = np.arange(len(parts), dtype=np.int32)
    number[sizes < smallest] = OUTLIER
    return number[part]


def _parts(is_member: Bools, edges: Ints, weights: Floats, seed: int, smallest: int) -> Indices:
    """Return the parts of one cluster's cases, -1 for all where it has none."""
    within = is_member[edges].all(axis=1)
    place = np.cumsum(is_member) - 1
    size = int(is_member.sum())
    chosen = _chosen(
        size,
        place[edges[within]],
        weights[within],
        seed,
        smallest=smallest,
        worth_it=LEAST_SUB_STABILITY,
    )
    parts = _by_size(chosen.labels, smallest)
    if parts.max(initial=OUTLIER) < 1 or chosen.stability < LEAST_SUB_STABILITY:
        return np.full(size, OUTLIER, np.int32)
    return parts


def _modularity(size: int, edges: Ints, weights: Floats, labels: Indices) -> float:
    if not len(edges):
        return 0.0
    apart = np.where(labels == OUTLIER, labels.max(initial=0) + 1 + np.arange(size), labels)
    return float(network(size, edges, weights).modularity(apart.tolist(), weights="weight"))
