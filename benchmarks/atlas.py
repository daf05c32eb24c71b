"""What the atlas's graph, clusters and map cost, how they grow, and how good they are on texts."""

import gzip
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import leidenalg
import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors
from umap import UMAP

from benchmarks.measuring import Effort, interleaved, metered, run
from benchmarks.report import FLAT_WITHIN, Row, flatness, verdict
from city311_assets.atlas.methods import communities as cut
from city311_assets.atlas.methods import text_vectors
from city311_assets.atlas.methods.graph import NEIGHBORS, NeighborGraph, Vectors, nearest_neighbors
from city311_assets.atlas.methods.layout import layout

CASES, DIMENSIONS = 100_000, (384, 1_536)
GROWTH = (6_250, 25_000, 100_000)
TOPICS = 40
SEED = 311
MOST_MEGABYTES = 4_000
# Minutes of work are done once.
REPEATS = 1
CORPORA = ("bbc_news", "m10")
TEXTS = Path(__file__).parents[2] / "shared" / "data" / "real" / "text"
# BERTopic's settings: UMAP to 5 dimensions, and its least size of a topic.
RECIPE: dict[str, Any] = {
    "n_neighbors": 15,
    "n_components": 5,
    "min_dist": 0.0,
    "metric": "cosine",
    "random_state": SEED,
    "n_jobs": 1,
}
DENSE: dict[str, Any] = {"min_cluster_size": 10, "copy": True}
MEANS: dict[str, Any] = {"n_init": 5, "random_state": SEED}


def clustered(cases: int, dimensions: int) -> Vectors:
    """Return unit vectors around centres of which some are much larger than others."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(TOPICS, dimensions)).astype(np.float32)
    share = rng.lognormal(0, 1, TOPICS)
    rows = rng.standard_normal((cases, dimensions), np.float32)
    rows += centres[rng.choice(TOPICS, cases, p=share / share.sum())]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def compiled(rows: Vectors) -> NeighborGraph:
    """Compile what numba compiles, on a few rows, and return their graph."""
    few = rows[:1_000]
    graph = nearest_neighbors(few, exact_up_to=len(few) - 1)
    layout(graph, few)
    return graph


def of_ours(cases: str, dimensions: str) -> None:
    rows = clustered(int(cases), int(dimensions))
    with metered("compiling"):
        compiled(rows)
    # As many as the growth's smallest size are searched by descent too: one method, one line.
    with metered("graph"):
        graph = nearest_neighbors(rows, exact_up_to=0)
    with metered("clusters"):
        cut.communities(graph)
    with metered("map"):
        layout(graph, rows)
    # The recall goes where the name of a part goes: the measuring process passes on nothing else.
    with metered(f"recall {graph.recall:.4f}"):
        pass


def of_brute_force(cases: str, dimensions: str) -> None:
    rows = clustered(int(cases), int(dimensions))
    with metered("graph"):
        brute = NearestNeighbors(n_neighbors=NEIGHBORS + 1, algorithm="brute", metric="cosine")
        brute.fit(rows).kneighbors(rows)


def of_leidens(cases: str, dimensions: str) -> None:
    """One partition by igraph's Leiden, and one by leidenalg's, at resolution 1."""
    graph = nearest_neighbors(clustered(int(cases), int(dimensions)), exact_up_to=0)
    edges, weights = cut.union_edges(graph, cut.FIRST)
    net = cut.network(graph.size, edges, weights)
    with metered("igraph"):
        ours = cut.leiden(net, 1.0, SEED)
    with metered("leidenalg"):
        theirs = leidenalg.find_partition(
            net, leidenalg.RBConfigurationVertexPartition, weights=weights, seed=SEED
        )
    found = [net.modularity(labels, weights) for labels in (ours.tolist(), theirs.membership)]
    with metered(f"modularity {found[0]:.4f} and {found[1]:.4f}"):
        pass


def of_texts(path: str, divisor: str) -> None:
    """Ours, k-means and BERTopic's recipe on one corpus: NMI and ARI, as names of parts."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file]
    order = np.random.default_rng(SEED).permutation(len(lines))
    kept = [lines[row] for row in order[: max(len(lines) // int(divisor), 500)]]
    texts = [line[0] for line in kept]
    found = text_vectors.vectors(text_vectors.fitted(texts), texts)
    rows = found.rows[found.is_known]
    _, classes = np.unique([line[2] for line in kept], return_inverse=True)
    classes = classes[found.is_known]
    number = classes.max() + 1
    ways = {
        "ours": lambda: cut.communities(nearest_neighbors(rows)).labels,
        "k-means": lambda: KMeans(number, **MEANS).fit_predict(rows),
        "UMAP → HDBSCAN": lambda: HDBSCAN(**DENSE).fit_predict(UMAP(**RECIPE).fit_transform(rows)),
    }
    for name, way in ways.items():
        labels = way()
        nmi = normalized_mutual_info_score(classes, labels)
        ari = adjusted_rand_score(classes, labels)
        groups = len(np.unique(labels[labels >= 0]))
        with metered(json.dumps([name, float(nmi), float(ari), groups])):
            pass


def quality(effort: Effort) -> list[Row]:
    folder = Path(os.environ.get("CITY311_TEST_REAL_DATA", TEXTS.parent)) / "text"
    found = []
    for corpus in CORPORA:
        path = folder / f"{corpus}_corpus.tsv.gz"
        if not path.exists():
            continue
        parts = [json.loads(c.part) for c in run(partial(of_texts, str(path), str(effort.divisor)))]
        said = {n: f"NMI {nmi:.3f}, ARI {ari:.3f}, {k} groups" for n, nmi, ari, k in parts}
        ours, *others = parts
        is_met = all(ours[at] >= min(other[at] for other in others) for at in (1, 2))
        found.append(
            Row(
                "clusters of labelled texts, local vectors",
                corpus,
                said.pop("ours"),
                "; ".join(f"{name}: {what}" for name, what in said.items()),
                target="never the worst of three",
                met=verdict(is_met),
            )
        )
    return found


def measure(effort: Effort, _: Path) -> list[Row]:
    repeats = min(effort.repeats, REPEATS)
    found = []
    for dimensions in DIMENSIONS:
        size = (str(CASES // effort.divisor), str(dimensions))
        ours, brute = interleaved(
            repeats, ours=partial(of_ours, *size), brute=partial(of_brute_force, *size)
        )
        parts = {n: ours.cpu(n) for n in ("compiling", "graph", "clusters", "map")}
        total, recall = ours.cpu(), ours.costs[0][-1].part
        found.append(
            Row(
                "graph, clusters, flat and solid map, once",
                f"{int(size[0]):,} x {dimensions:,}",
                f"{total:.0f} CPU-s ({', '.join(f'{n} {s:.0f}' for n, s in parts.items())}), "
                f"{ours.peak:,.0f} MB, {recall}",
                f"scikit-learn's brute-force neighbours alone: {brute.cpu():.0f} CPU-s, "
                f"{brute.peak:,.0f} MB",
                brute.cpu() / total,
                f"ratio ≥ 1, < {MOST_MEGABYTES:,} MB",
                verdict(brute.cpu() >= total and ours.peak < MOST_MEGABYTES),
            )
        )
    (leidens,) = interleaved(
        repeats, leiden=partial(of_leidens, str(CASES // effort.divisor), str(DIMENSIONS[0]))
    )
    igraph, leidenalg = leidens.cpu("igraph"), leidens.cpu("leidenalg")
    found.append(
        Row(
            "Leiden, one partition at resolution 1, once",
            f"{CASES // effort.divisor:,} cases",
            f"igraph: {igraph:.2f} CPU-s, {leidens.costs[0][-1].part}",
            f"leidenalg: {leidenalg:.2f} CPU-s",
            leidenalg / igraph,
        )
    )
    sizes = [cases // effort.divisor for cases in GROWTH]
    ways = {f"{cases}_cases": partial(of_ours, str(cases), str(DIMENSIONS[0])) for cases in sizes}
    smallest = 0.0
    for cases, own in zip(sizes, interleaved(1, **ways), strict=True):
        micros = 1e6 * own.cpu("graph", "clusters", "map") / cases
        smallest = smallest or micros
        found.append(
            Row(
                "graph, clusters and maps, growth, once",
                f"{cases:,} x {DIMENSIONS[0]}",
                f"{micros:,.0f} CPU-µs a case; {own.peak:,.0f} MB",
                target=f"flat within {FLAT_WITHIN:.0%}",
                met=flatness(micros, smallest),
            )
        )
    return found + quality(effort)
