"""Getis-Ord Gi*: against esda, against simulated permutations, and at its edges."""

import h3.api.basic_int as h3
import numpy as np
import pytest
from esda.getisord import G_Local
from hypothesis import given
from hypothesis import strategies as st
from libpysal.weights import WSP
from scipy import sparse, stats

from city311_assets.gold.methods.gi_star import gi_star, ring_skewness, skewed_two_sided
from city311_assets.gold.methods.grid import Grid

CENTRE = h3.latlng_to_cell(41.88, -87.63, 8)
FAR_AWAY = h3.latlng_to_cell(41.70, -87.63, 8)


def grid(steps: int = 5) -> Grid:
    """A round city, a pair of cells apart from it and a cell on its own."""
    pair = [FAR_AWAY, h3.grid_ring(FAR_AWAY, 1)[0]]
    alone = h3.latlng_to_cell(42.02, -87.63, 8)
    return Grid.of(np.array([*h3.grid_disk(CENTRE, steps), *pair, alone], np.uint64))


def counts(size: int, mean: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean, size).astype(float)


@pytest.mark.parametrize(("mean", "seed"), [(0.4, 1), (3.0, 2), (200.0, 3)])
def test_z_is_that_of_esda_at_edges_and_islands_too(mean: float, seed: int):
    city = grid()
    values = counts(city.cells.size, mean, seed)
    weights = WSP(sparse.csr_matrix(city.disk)).to_W(silence_warnings=True)
    reference = G_Local(values, weights, transform="B", permutations=0, star=True)
    np.testing.assert_allclose(gi_star(values, city.disk), reference.Zs, rtol=1e-10)


def test_many_values_a_cell_are_each_tested_on_their_own():
    city = grid()
    values = np.stack([counts(city.cells.size, mean, 4) for mean in (0.5, 5.0, 50.0)], axis=1)
    for asked in (gi_star, ring_skewness):
        together = asked(values, city.disk)
        for column in range(3):
            np.testing.assert_allclose(together[:, column], asked(values[:, column], city.disk))


def test_z_does_not_hang_on_the_unit_or_the_order_of_cells():
    city = grid()
    values = counts(city.cells.size, 2.0, 5)
    z = gi_star(values, city.disk)
    np.testing.assert_allclose(gi_star(40 * values + 3, city.disk), z)
    order = np.random.default_rng(6).permutation(city.cells.size)
    moved = sparse.csr_array(city.disk[order][:, order])
    np.testing.assert_allclose(gi_star(values[order], moved), z[order])


def test_a_planted_ring_stands_out_and_its_centre_most():
    city = grid()
    values = np.ones(city.cells.size)
    (ring,) = np.nonzero(city.disk[[city.index_of(np.array([CENTRE], np.uint64))[0]]].toarray()[0])
    values[ring] = 10
    z = gi_star(values, city.disk)
    assert city.cells[np.argmax(z)] == CENTRE
    assert z.max() > 5


def test_alike_cells_have_no_z_and_neither_has_a_ring_that_is_the_whole_grid():
    city = grid()
    whole = Grid.of(np.array(h3.grid_disk(CENTRE, 1), np.uint64))
    middle = whole.cells == CENTRE
    for asked in (gi_star, ring_skewness):
        assert np.isnan(asked(np.full(city.cells.size, 0.1), city.disk)).all()
        np.testing.assert_array_equal(np.isnan(asked(np.arange(7), whole.disk)), middle)


@pytest.mark.parametrize("values", [np.ones(3), np.full(94, np.nan)], ids=["too few", "missing"])
def test_values_that_are_not_the_grids_are_refused(values: np.ndarray):
    for asked in (gi_star, ring_skewness):
        with pytest.raises(ValueError, match=r"values for a grid|missing or infinite"):
            asked(values, grid().disk)


def test_the_skewness_of_a_ring_is_that_of_simulated_permutations():
    city = grid(2)
    rng = np.random.default_rng(7)
    values = rng.exponential(1.0, city.cells.size) ** 1.5
    dealt = rng.permuted(np.tile(values, (60_000, 1)), axis=1).T
    simulated = stats.skew(city.disk @ dealt, axis=1)
    np.testing.assert_allclose(ring_skewness(values, city.disk), simulated, atol=0.06)
    assert simulated.max() > 1


@pytest.mark.parametrize("skewness", [0.05, 0.4, 2.0])
def test_the_long_tail_is_pearson_iii_s(skewness: float):
    z = np.array([0.5, 1.0, 2.5, 4.0, 8.0])
    expected = np.minimum(2 * stats.pearson3(skewness).sf(z), 1)
    np.testing.assert_allclose(skewed_two_sided(z, skewness), expected, rtol=1e-9)
    np.testing.assert_allclose(skewed_two_sided(-z, -skewness), expected, rtol=1e-9)


def test_without_skewness_p_is_the_normal_one():
    z = np.linspace(-6, 6, 25)
    normal = 2 * stats.norm.sf(np.abs(z))
    np.testing.assert_allclose(skewed_two_sided(z, 0.0), normal)
    np.testing.assert_allclose(skewed_two_sided(z, 2e-6), normal, rtol=1e-4)


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(-6, 6))
def test_p_is_a_probability_that_falls_away_from_the_middle(a: float, b: float, skewness: float):
    near, far = sorted((a, b), key=abs)
    p_near, p_far = skewed_two_sided([near, far], skewness)
    assert 0 <= p_far <= 1
    if near * far > 0:
        assert p_far <= p_near + 1e-12


def test_a_short_tail_is_never_shorter_than_the_normal_one():
    assert skewed_two_sided(-2.0, 1.5) == pytest.approx(2 * stats.norm.sf(2))
    assert skewed_two_sided(-0.8, 3.0) > 0.4


def test_rings_of_few_records_fire_by_chance_as_often_as_they_say():
    city = grid(8)
    rng = np.random.default_rng(8)
    values = rng.poisson(3 * rng.lognormal(0, 1, city.cells.size))
    dealt = rng.permuted(np.tile(values, (2_000, 1)), axis=1).T
    whole = np.asarray(city.disk.sum(axis=1)).ravel() == 7
    z = gi_star(dealt, city.disk)[whole]
    p = skewed_two_sided(z, ring_skewness(dealt, city.disk)[whole])
    assert np.mean((z > 0) & (p < 0.02)) == pytest.approx(0.01, rel=0.25)
    assert np.mean(p < 0.001) < 0.001
    assert np.mean(2 * stats.norm.sf(z) < 0.02) > 0.02
