"""Clusters of real labelled texts: ours beside k-means that is told the number, and HDBSCAN.

All at once and on all texts: `python -m benchmarks atlas`.
"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from city311_assets.atlas.methods import text_vectors
from city311_assets.atlas.methods.communities import communities
from city311_assets.atlas.methods.graph import Vectors, nearest_neighbors
from city311_assets.atlas.methods.layout import layout
from city311_assets.gold.methods.arrays import Ints

# BERTopic's least size of a topic.
DENSE: dict[str, Any] = {"min_cluster_size": 10, "copy": True}
MEANS: dict[str, Any] = {"n_init": 3, "random_state": 311}
TEXTS = 2_000


def labelled(path: Path) -> tuple[Vectors, Ints]:
    """Vectors of some texts by our own default, and the classes people gave them."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    drawn = np.random.default_rng(311).permutation(len(rows))[:TEXTS]
    texts, classes = zip(*((rows[row][0], rows[row][2]) for row in drawn), strict=True)
    found = text_vectors.vectors(text_vectors.fitted(texts), texts)
    _, number = np.unique(classes, return_inverse=True)
    return found.rows[found.is_known], number[found.is_known]


def figures(labels: np.ndarray, classes: Ints) -> np.ndarray:
    """NMI and ARI; outliers are a group of their own."""
    return np.array(
        [normalized_mutual_info_score(classes, labels), adjusted_rand_score(classes, labels)]
    )


@pytest.mark.real
@pytest.mark.parametrize("corpus", ["bbc_news", "m10"])
def test_ours_is_not_the_worst_of_three(corpus: str, real_data: Path):
    vectors, classes = labelled(real_data / "text" / f"{corpus}_corpus.tsv.gz")
    graph = nearest_neighbors(vectors)
    ours = figures(communities(graph).labels, classes)
    means = KMeans(len(np.unique(classes)), **MEANS).fit_predict(vectors)
    places = layout(graph, vectors).solid
    dense = HDBSCAN(**DENSE).fit_predict(places)
    others = np.array([figures(means, classes), figures(dense, classes)])
    assert (ours >= others.min(axis=0)).all(), (ours, others)
