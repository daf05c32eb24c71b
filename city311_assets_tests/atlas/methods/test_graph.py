"""The neighbour graph: against scikit-learn, with ties, in blocks, approximate, and refused."""

import re

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from city311_assets.atlas.methods import graph as module
from city311_assets.atlas.methods.graph import exact_neighbors, nearest_neighbors
from city311_assets_tests.atlas.methods.planted import topics, unit


def test_neighbours_are_those_of_scikit_learn_s_brute_force():
    rows, _ = topics([200, 150, 50])
    found = nearest_neighbors(rows, 20)
    brute = NearestNeighbors(n_neighbors=21, metric="cosine", algorithm="brute").fit(rows)
    distances, indices = brute.kneighbors(rows)
    np.testing.assert_array_equal(found.indices, indices[:, 1:])
    np.testing.assert_allclose(found.similarities, 1 - distances[:, 1:], atol=1e-6)
    assert (found.is_exact, found.recall, found.size, found.neighbors) == (True, 1.0, 400, 20)


def test_no_case_is_its_own_neighbour_even_among_copies_of_itself():
    rows, _ = topics([30, 30])
    copied = np.vstack([rows, np.tile(rows[:1], (40, 1))])
    found = nearest_neighbors(copied, 10)
    assert not (found.indices == np.arange(100)[:, None]).any()
    np.testing.assert_allclose(found.similarities[0], 1, atol=1e-6)


def test_of_cases_that_are_alike_the_first_are_neighbours():
    rows = unit(np.repeat(np.random.default_rng(2).normal(size=(7, 9)), 30, axis=0))
    found = nearest_neighbors(rows, 5)
    np.testing.assert_array_equal(found.indices[4], [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(found.indices[209], [180, 181, 182, 183, 184])


@pytest.mark.parametrize("block", [1, 700, 5_000])
def test_blocks_of_another_size_give_the_same_graph(block: int, monkeypatch: pytest.MonkeyPatch):
    rows, _ = topics([120, 80], spread=0.9)
    rows = np.vstack([rows, rows[:60]])
    whole = nearest_neighbors(rows, 12)
    monkeypatch.setattr(module, "BLOCK", block)
    parts = nearest_neighbors(rows, 12)
    np.testing.assert_array_equal(parts.indices, whole.indices)
    np.testing.assert_array_equal(parts.similarities, whole.similarities)


def test_the_order_of_cases_does_not_change_who_is_near():
    rows, _ = topics([100, 100])
    order = np.random.default_rng(3).permutation(200)
    found, moved = nearest_neighbors(rows, 8), nearest_neighbors(rows[order], 8)
    np.testing.assert_array_equal(order[moved.indices], found.indices[order])


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (1, 0), (2, 1), (6, 5)])
def test_few_cases_have_all_others_as_neighbours(size: int, expected: int):
    found = nearest_neighbors(topics([6])[0][:size])
    assert found.indices.shape == found.similarities.shape == (size, expected)
    assert found.is_exact


def test_only_admissible_cases_are_found_and_what_is_missing_is_said():
    rows, topic = topics([40, 40])
    asked = np.flatnonzero(topic == 0)[:5]
    of_other = exact_neighbors(rows, asked, 3, topic == 1)
    assert (topic[of_other.indices] == 1).all()
    for_each = np.zeros((5, 80), np.bool_)
    for_each[:, [7, 9]] = True
    found = exact_neighbors(rows, asked, 3, for_each)
    alone = exact_neighbors(rows, np.array([7]), 3, np.arange(80) == 7)
    assert {*found.indices[:, :2].ravel().tolist()} <= {7, 9, -1}
    np.testing.assert_array_equal(found.indices[:, 2], -1)
    assert np.isnan(found.similarities[:, 2]).all()
    np.testing.assert_array_equal(alone.indices, [[-1, -1, -1]])
    assert exact_neighbors(rows, asked[:0], 3).indices.shape == (0, 3)


def test_the_graph_is_what_an_exact_search_of_each_case_finds():
    rows, _ = topics([60, 40])
    whole, each = nearest_neighbors(rows, 7), exact_neighbors(rows, np.array([3, 50]), 7)
    np.testing.assert_array_equal(each.indices, whole.indices[[3, 50]])


@pytest.mark.parametrize(
    ("factor", "said"),
    [(0, "no direction"), (np.nan, "missing or infinite"), (2, "another length")],
)
def test_vectors_that_are_none_are_refused_by_row(factor: float, said: str):
    rows = topics([30])[0]
    rows[[4, 11]] *= factor
    with pytest.raises(ValueError, match=said + r".*rows \[4, 11\]"):
        nearest_neighbors(rows)


def test_what_cannot_be_asked_is_refused():
    rows = topics([30])[0]
    with pytest.raises(ValueError, match="ask for 1 or more"):
        nearest_neighbors(rows, 0)
    with pytest.raises(ValueError, match="one row for each case"):
        nearest_neighbors(rows[0])
    with pytest.raises(ValueError, match="none of the 30"):
        exact_neighbors(rows, np.array([30]), 3)
    with pytest.raises(ValueError, match=re.escape("has the shape (4,)")):
        exact_neighbors(rows, np.array([3]), 3, np.ones(4, np.bool_))
