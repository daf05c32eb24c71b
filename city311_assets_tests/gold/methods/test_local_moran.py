"""Local Moran's I: against esda, on planted patterns, and where it says nothing."""

import warnings

import h3.api.basic_int as h3
import numpy as np
import pytest
from esda import Moran_Local
from libpysal.weights import WSP
from scipy import sparse, stats

from city311_assets.gold.methods.grid import Grid
from city311_assets.gold.methods.local_moran import local_moran

CENTRE = h3.latlng_to_cell(41.88, -87.63, 8)
ALONE = h3.latlng_to_cell(42.02, -87.63, 8)
ESDA_QUADRANTS = {1: "HH", 2: "LH", 3: "LL", 4: "HL"}


def city(steps: int = 5, *others: int) -> Grid:
    return Grid.of(np.array([*h3.grid_disk(CENTRE, steps), *others], np.uint64))


def at(grid: Grid, *cells: int) -> np.ndarray:
    return grid.index_of(np.array(cells, np.uint64))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_i_moments_and_quadrants_are_those_of_esda(seed: int):
    grid = city()
    values = np.random.default_rng(seed).lognormal(0, 1, grid.cells.size)
    others = sparse.csr_matrix(grid.disk - sparse.eye_array(grid.cells.size))
    others.eliminate_zeros()
    with warnings.catch_warnings():
        # esda turns on a warning of scipy's for good and then causes it.
        warnings.simplefilter("ignore")
        reference = Moran_Local(values, WSP(others).to_W(), permutations=0)
    found = local_moran(values, grid.disk)
    np.testing.assert_allclose(found.i, reference.Is)
    score = (reference.Is - reference.EIc) / np.sqrt(reference.VIc)
    np.testing.assert_allclose(found.p, 2 * stats.norm.sf(np.abs(score)))
    assert found.quadrant.tolist() == [ESDA_QUADRANTS[q] for q in reference.q]


def test_many_values_a_cell_are_each_tested_on_their_own():
    grid = city()
    values = np.random.default_rng(4).poisson(3, (grid.cells.size, 3))
    together = local_moran(values, grid.disk)
    for column in range(3):
        alone = local_moran(values[:, column], grid.disk)
        np.testing.assert_allclose(together.i[:, column], alone.i)
        np.testing.assert_allclose(together.p[:, column], alone.p)
        assert together.quadrant[:, column].tolist() == alone.quadrant.tolist()


def test_a_cluster_is_high_among_high_and_a_lone_peak_high_among_low():
    peak = h3.grid_ring(CENTRE, 4)[0]
    grid = city()
    values = np.ones(grid.cells.size)
    values[at(grid, *h3.grid_disk(CENTRE, 1), peak)] = 9
    found = local_moran(values, grid.disk)
    middle, lone, beside = at(grid, CENTRE, peak, h3.grid_ring(CENTRE, 2)[0])
    assert found.quadrant[[middle, lone, beside]].tolist() == ["HH", "HL", "LH"]
    assert found.i[middle] > 0 > found.i[lone]
    assert found.p[middle] < 1e-6


def test_values_dealt_out_at_random_are_seldom_significant():
    grid = city(8)
    rng = np.random.default_rng(5)
    values = rng.permuted(np.tile(rng.normal(size=grid.cells.size), (200, 1)), axis=1).T
    assert np.mean(local_moran(values, grid.disk).p < 0.05) == pytest.approx(0.05, abs=0.01)


def test_i_does_not_hang_on_the_unit_or_the_order_of_cells():
    grid = city()
    rng = np.random.default_rng(6)
    values, order = rng.lognormal(0, 1, grid.cells.size), rng.permutation(grid.cells.size)
    found = local_moran(values, grid.disk)
    np.testing.assert_allclose(local_moran(7 * values - 2, grid.disk).i, found.i)
    moved = local_moran(values[order], sparse.csr_array(grid.disk[order][:, order]))
    np.testing.assert_allclose(moved.p, found.p[order])


def test_a_cell_without_neighbours_is_left_open():
    grid = city(5, ALONE)
    found = local_moran(np.random.default_rng(7).normal(size=grid.cells.size), grid.disk)
    is_alone = grid.cells == ALONE
    np.testing.assert_array_equal(np.isnan(found.i), is_alone)
    np.testing.assert_array_equal(np.isnan(found.p), is_alone)
    assert found.quadrant[is_alone].tolist() == [None]


def test_alike_cells_are_all_left_open():
    grid = city()
    found = local_moran(np.full(grid.cells.size, 0.1), grid.disk)
    assert np.isnan(found.i).all()
    assert np.isnan(found.p).all()
    assert set(found.quadrant) == {None}


def test_values_that_are_not_the_grids_are_refused():
    grid = city(1)
    for values in (np.ones(3), np.array([1.0, np.inf, 2, 3, 4, 5, 6])):
        with pytest.raises(ValueError, match=r"values for a grid|missing or infinite"):
            local_moran(values, grid.disk)
