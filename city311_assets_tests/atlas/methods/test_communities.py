"""Clusters: planted topics, no topics, seeds, order, outliers, parts; leidenalg as reference."""

from typing import Any

import igraph
import leidenalg
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from city311_assets.atlas.methods import communities as module
from city311_assets.atlas.methods.communities import communities
from city311_assets.atlas.methods.graph import NeighborGraph, nearest_neighbors
from city311_assets_tests.atlas.methods.planted import topics, unit


@pytest.mark.parametrize("number", [3, 8, 20])
def test_planted_topics_are_recovered_whatever_their_number(number: int):
    rows, topic = topics([1_200 // number] * number, spread=0.8, seed=number)
    found = communities(nearest_neighbors(rows))
    assert adjusted_rand_score(topic, found.labels) > 0.97
    assert found.labels.max() + 1 == number
    assert found.stability > 0.95


def test_topics_of_very_different_size_are_recovered():
    rows, topic = topics([700, 250, 90, 40, 25], spread=0.7)
    found = communities(nearest_neighbors(rows), sub_larger_than=10_000)
    assert adjusted_rand_score(topic, found.labels) > 0.97
    assert np.bincount(found.labels[found.labels >= 0]).tolist()[-1] >= 20
    assert (found.sublabels == -1).all()


def test_clusters_are_numbered_by_falling_size_then_by_their_first_case():
    rows, _ = topics([60, 200, 100, 100], spread=0.3)
    labels = communities(nearest_neighbors(rows)).labels
    sizes = np.bincount(labels)
    assert sizes.tolist() == [200, 100, 100, 60]
    assert np.argmax(labels == 1) < np.argmax(labels == 2)


def test_one_seed_gives_one_answer_and_another_nearly_the_same():
    rows, _ = topics([150] * 6, spread=0.9)
    graph = nearest_neighbors(rows)
    found, again, other = (communities(graph, seed=seed) for seed in (311, 311, 5))
    np.testing.assert_array_equal(found.labels, again.labels)
    np.testing.assert_array_equal(found.sublabels, again.sublabels)
    assert found.profile.equals(again.profile)
    assert adjusted_rand_score(found.labels, other.labels) > 0.95


def test_the_order_of_cases_does_not_change_the_clusters():
    rows, _ = topics([300, 200, 100], spread=0.6)
    order = np.random.default_rng(4).permutation(600)
    found = communities(nearest_neighbors(rows)).labels
    moved = communities(nearest_neighbors(rows[order])).labels
    np.testing.assert_array_equal(moved, found[order])


def test_the_state_of_python_s_own_generator_is_left_alone():
    import random

    random.seed(9)
    expected = random.random()
    random.seed(9)
    communities(nearest_neighbors(topics([40, 40])[0]))
    assert random.random() == expected


def test_a_group_below_the_least_size_is_outliers_without_membership():
    rows, topic = topics([200, 200, 12], spread=0.2)
    found = communities(nearest_neighbors(rows), first=8)
    assert (found.labels[topic == 2] == -1).all()
    assert (found.membership[topic == 2] == 0).all()
    assert (found.labels[topic < 2] >= 0).all()
    kept = communities(nearest_neighbors(rows), first=8, smallest=10)
    assert (kept.labels[topic == 2] == 2).all()


def test_membership_is_the_share_of_first_neighbours_in_the_cluster():
    rows, _ = topics([120, 120], spread=1.6)
    graph = nearest_neighbors(rows)
    found = communities(graph)
    case = int(np.argmin(np.where(found.labels >= 0, found.membership, 2)))
    near = found.labels[graph.indices[case, :15]]
    assert found.membership[case] == pytest.approx((near == found.labels[case]).mean())
    assert found.membership[case] < 1


def test_a_large_cluster_is_cut_into_its_planted_parts():
    rng = np.random.default_rng(6)
    main, part = np.repeat([0, 1], [600, 200]), np.repeat([0, 1, 2, 3], [300, 180, 120, 200])
    far = unit(rng.normal(size=(2, 32)))[main]
    near = unit(rng.normal(size=(4, 32)))[part]
    rows = unit(far + 0.45 * near + 0.25 * rng.normal(size=(800, 32)) / np.sqrt(32))
    graph = nearest_neighbors(rows)
    labels = main.astype(np.int32)
    edges, weights = module.union_edges(graph, 15)
    found = module._parts(labels == 0, edges, weights, 311, 15)
    assert adjusted_rand_score(part[:600], found) > 0.95
    assert (np.diff(np.bincount(found)) <= 0).all()


def test_a_large_cluster_without_parts_is_not_cut():
    rows, _ = topics([800, 60], spread=0.9)
    found = communities(nearest_neighbors(rows), sub_larger_than=100)
    assert found.labels.max() == 1
    assert (found.sublabels == -1).all()


def test_everything_in_one_cluster_is_not_taken_for_stable():
    profile = pl.DataFrame(
        [(0.1, 1, 1.0), (0.2, 4, 0.90), (0.4, 6, 0.8995), (0.8, 9, 0.89)],
        schema=module.PROFILE,
        orient="row",
    )
    assert module._finest_of_the_most_stable(profile) == 2
    assert module._finest_of_the_most_stable(profile.head(1)) == 0


def test_a_text_that_came_in_often_is_no_island_of_its_own():
    """Twenty times the same, its first neighbours are all itself."""
    rows, _ = topics([60, 60])
    rows[40:60] = rows[40]
    edges, _ = module.union_edges(nearest_neighbors(rows), 15)
    is_same = (edges >= 40) & (edges < 60)
    assert is_same.all(axis=1).any()
    assert (is_same.any(axis=1) & ~is_same.all(axis=1)).sum() >= 20 * 15
    found = module.communities(nearest_neighbors(rows)).labels
    assert set(np.flatnonzero(found == found[40])) > set(range(40, 60))


@pytest.mark.parametrize("resolution", [0.4, 1.0, 2.0])
def test_modularity_is_that_of_leidenalg(resolution: float):
    rows, _ = topics([150] * 8, spread=1.4)
    edges, weights = module.union_edges(nearest_neighbors(rows), 15)
    net = module.network(len(rows), edges, weights)
    ours = module.leiden(net, resolution, 311)
    reference = leidenalg.find_partition(
        net,
        leidenalg.RBConfigurationVertexPartition,
        weights=weights,
        resolution_parameter=resolution,
        seed=311,
    )
    asked: dict[str, Any] = {"weights": weights, "resolution": resolution}
    quality = [net.modularity(found, **asked) for found in (ours.tolist(), reference.membership)]
    assert quality[0] == pytest.approx(quality[1], abs=0.01)


def test_a_pair_is_joined_once_by_its_similarity_and_not_at_all_if_it_has_none():
    graph = NeighborGraph(
        indices=np.array([[1, 2], [0, 2], [1, 0]], np.int32),
        similarities=np.array([[0.5, -0.1], [0.5, 0.3], [0.3, -0.1]], np.float32),
        recall=1.0,
        is_exact=True,
        seed=311,
    )
    edges, weights = module.union_edges(graph, 2)
    assert edges.tolist() == [[0, 1], [1, 2]]
    np.testing.assert_allclose(weights, [0.5, 0.3])


@pytest.mark.parametrize("size", [0, 1, 2, 10])
def test_few_cases_are_outliers(size: int):
    found = communities(nearest_neighbors(topics([10])[0][:size]))
    assert found.labels.tolist() == found.sublabels.tolist() == [-1] * size
    assert found.membership.tolist() == [0] * size


def test_a_least_size_of_none_is_refused():
    with pytest.raises(ValueError, match="ask for 1 or more"):
        communities(nearest_neighbors(topics([40])[0]), smallest=0)


def test_the_modularity_told_is_that_of_the_clusters():
    rows, _ = topics([100, 100], spread=0.2)
    found = communities(nearest_neighbors(rows))
    edges, weights = module.union_edges(nearest_neighbors(rows), 15)
    net = igraph.Graph(n=200, edges=edges.tolist())
    expected = net.modularity(found.labels.tolist(), weights=weights)
    assert found.modularity == pytest.approx(expected)


def test_agreement_is_scikit_learns_adjusted_rand_index():
    rng = np.random.default_rng(311)
    for size in rng.integers(2, 80, 100):
        one, other = (
            np.unique(rng.integers(0, rng.integers(1, 9), size), return_inverse=True)[1].astype(
                np.int32
            )
            for _ in range(2)
        )
        expected = adjusted_rand_score(one, other)
        assert module.rand_index(one, other) == pytest.approx(expected, abs=1e-12)


def test_agreement_of_many_small_parts_is_counted_without_a_table(monkeypatch):
    rng = np.random.default_rng(311)
    one, other = (rng.permutation(np.repeat(np.arange(50, dtype=np.int32), 4)) for _ in range(2))
    dense = module.rand_index(one, other)
    monkeypatch.setattr(module, "DENSE_TABLE", 1)
    assert module.rand_index(one, other) == dense


def test_no_more_partitions_than_are_worth_it(monkeypatch):
    """The same choice as with five partitions of every resolution, of fewer than half as many."""
    rows, _ = topics([200, 150, 100, 80, 60], spread=1.2)
    edges, weights = module.union_edges(nearest_neighbors(rows), 15)
    made = []

    def counted(*given):
        made.append(given)
        return leiden(*given)

    leiden = module.leiden
    monkeypatch.setattr(module, "leiden", counted)
    chosen = module._chosen(len(rows), edges, weights, 311, smallest=15)
    few = len(made)
    monkeypatch.setattr(module, "FAR_BELOW", np.inf)
    monkeypatch.setattr(module, "ALIKE_WITHIN", -1.0)
    whole = module._profile(
        [
            [leiden(module.network(len(rows), edges, weights), r, 311 + k) for k in range(5)]
            for r in module.RESOLUTIONS
        ],
        15,
    )
    monkeypatch.undo()
    place = module._finest_of_the_most_stable(whole)
    assert chosen.resolution == whole["resolution"][place]
    assert chosen.stability == whole["stability"][place]
    assert few < 50 / 2
