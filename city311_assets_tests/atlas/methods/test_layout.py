"""The map: the turn back to last month, its start, few cases, samples, and two runs alike."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from city311_assets.atlas.methods import layout as module
from city311_assets.atlas.methods.graph import nearest_neighbors
from city311_assets.atlas.methods.layout import Layout, Positions, aligned, layout
from city311_assets_tests.atlas.methods.planted import topics

ALL = np.ones(40, np.bool_)
SHARED = np.arange(160)


def points(dimensions: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(40, dimensions)) * [3, 2, 1][:dimensions]


def turn(dimensions: int) -> np.ndarray:
    """A turn by an angle, and a mirror."""
    whole = Rotation.from_euler("xyz", [0.0, 0.0, 0.7]).as_matrix()[:dimensions, :dimensions]
    return whole @ np.diag([1, -1, 1][:dimensions])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_known_turn_mirror_and_move_is_undone(dimensions: int):
    reference = points(dimensions)
    moved = reference @ turn(dimensions) + np.array([10, -4, 2])[:dimensions]
    np.testing.assert_allclose(aligned(moved, reference, ALL), reference, atol=1e-6)


def test_the_turn_is_that_of_scipy():
    own, reference = points(3), points(3, seed=2)
    rotation, _ = orthogonal_procrustes(own - own.mean(axis=0), reference - reference.mean(axis=0))
    expected = (own - own.mean(axis=0)) @ rotation + reference.mean(axis=0)
    np.testing.assert_allclose(aligned(own, reference, ALL), expected, atol=1e-9)


def test_only_shared_cases_are_looked_at_and_all_are_moved():
    reference = points(2)
    moved = reference @ turn(2) + 5
    shared = np.arange(40) < 20
    held = np.where(shared[:, None], reference, np.nan)
    np.testing.assert_allclose(aligned(moved, held, shared), reference, atol=1e-6)


def test_distances_are_kept_when_the_reference_is_smaller():
    own = points(2)
    found = aligned(own, 0.5 * own, ALL)
    np.testing.assert_allclose(np.ptp(found, axis=0), np.ptp(own, axis=0))


def test_few_shared_cases_give_a_move_and_none_give_nothing():
    own = points(2)
    few = np.arange(40) < 3
    np.testing.assert_allclose(aligned(own, own + 7, few), own + 7)
    np.testing.assert_array_equal(aligned(own, np.full((40, 2), np.nan), ~ALL), own)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 14])
def test_few_cases_are_placed_without_umap(size: int):
    rows = topics([20])[0][:size]
    found = layout(nearest_neighbors(rows), rows)
    assert (found.flat.shape, found.solid.shape) == ((size, 2), (size, 3))
    assert np.isfinite(found.flat).all()
    assert np.isfinite(found.solid).all()
    assert len(np.unique(found.flat, axis=0)) == size


def test_few_cases_stay_where_they_were():
    rows = topics([12])[0]
    graph = nearest_neighbors(rows)
    before = layout(graph, rows)
    mirrored = Positions(np.arange(12), -before.flat, before.solid[:, [1, 0, 2]])
    found = layout(graph, rows, before=mirrored)
    np.testing.assert_allclose(found.flat, -before.flat, atol=1e-4)
    np.testing.assert_allclose(found.solid, before.solid[:, [1, 0, 2]], atol=1e-4)


def test_a_new_case_starts_amid_its_neighbours_that_were_there():
    rows, _ = topics([40])
    graph = nearest_neighbors(rows, 10)
    known, is_known = points(2), np.arange(40) % 4 > 0
    start = module._started(graph, np.zeros((40, 2)), known, is_known)
    near = graph.indices[0][is_known[graph.indices[0]]]
    np.testing.assert_allclose(start[0], known[near].mean(axis=0))
    np.testing.assert_array_equal(start[is_known], known[is_known])


def test_vectors_of_other_cases_are_refused():
    rows = topics([20])[0]
    with pytest.raises(ValueError, match="19 vectors for a graph of 20"):
        layout(nearest_neighbors(rows), rows[1:])


@pytest.fixture(scope="module")
def first_month() -> Layout:
    rows, _ = topics([80, 60, 60])
    return layout(nearest_neighbors(rows), rows)


def test_topics_are_apart_on_both_maps(first_month: Layout):
    _, topic = topics([80, 60, 60])
    for places in (first_month.flat, first_month.solid):
        near = nearest(places)
        assert (topic[near] == topic[:, None]).mean() > 0.98


def nearest(places: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    return np.argsort(distance, axis=1)[:, 1:6]


def test_two_runs_give_the_same_places(first_month: Layout):
    rows, _ = topics([80, 60, 60])
    again = layout(nearest_neighbors(rows), rows)
    np.testing.assert_array_equal(again.flat, first_month.flat)
    np.testing.assert_array_equal(again.solid, first_month.solid)


def test_the_map_does_not_spin_when_some_cases_are_new(first_month: Layout):
    rows, topic = topics([80, 60, 60])
    before = Positions(SHARED, first_month.flat[SHARED] @ turn(2), first_month.solid[SHARED])
    found = layout(nearest_neighbors(rows), rows, before=before)
    shared = np.arange(200) < 160
    for then, now in ((before.flat, found.flat), (before.solid, found.solid)):
        held = np.full(now.shape, np.nan)
        held[SHARED] = then
        np.testing.assert_allclose(aligned(now.astype(np.float64), held, shared), now, atol=1e-3)
        centres = [
            np.stack([x[topic[: len(x)] == k].mean(axis=0) for k in range(3)]) for x in (then, now)
        ]
        moved = np.linalg.norm(centres[1][:, None] - centres[0][None], axis=2)
        np.testing.assert_array_equal(moved.argmin(axis=1), [0, 1, 2])


def test_above_the_cap_the_rest_is_placed_by_its_neighbours():
    rows, topic = topics([80, 60, 60])
    found = layout(nearest_neighbors(rows), rows, fit_at_most=120)
    assert (topic[nearest(found.flat)] == topic[:, None]).mean() > 0.95
    assert np.isfinite(found.solid).all()
