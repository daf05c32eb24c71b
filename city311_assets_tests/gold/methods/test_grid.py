"""The grid: cover, parents and neighbours, all against the library one cell at a time."""

import itertools
import json
from pathlib import Path

import duckdb
import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

import city311_assets.warehouse
from city311_assets.gold.methods.grid import Grid, around, covering, parents, shapes, with_parents
from city311_assets.silver.cells import parents_of

MACROS = duckdb.extract_statements(
    (Path(city311_assets.warehouse.__file__).parent / "macros.sql").read_text()
)
LOOP = (41.88, -87.63)
POINTS = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=40)


def cells_of(points: list[tuple[float, float]], resolution: int) -> np.ndarray:
    return np.array([h3.latlng_to_cell(*point, resolution) for point in points], np.uint64)


def disk(steps: int, resolution: int = 10) -> np.ndarray:
    return np.array(h3.grid_disk(h3.latlng_to_cell(*LOOP, resolution), steps), np.uint64)


def outline(sides: int, seed: int, size: float = 0.02) -> shapely.Polygon:
    """Return a ragged area around the Loop with a hole in it."""
    rng = np.random.default_rng(seed)

    def ring(radius: float) -> np.ndarray:
        turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        reach = radius * rng.uniform(0.6, 1.0, sides)
        return np.c_[LOOP[1] + reach * np.cos(turn), LOOP[0] + reach * np.sin(turn)]

    return shapely.Polygon(ring(size), [ring(size / 2)])


def librarys_cover(area: shapely.Geometry) -> list[int]:
    shape = h3.geo_to_h3shape(json.loads(shapely.to_geojson(area)))
    return sorted(set(h3.h3shape_to_cells_experimental(shape, 10, contain="overlap")))


@pytest.mark.parametrize(("sides", "seed"), [(4, 1), (12, 2), (60, 3), (400, 4)])
def test_an_area_is_covered_by_every_cell_that_overlaps_it(sides: int, seed: int):
    area = outline(sides, seed)
    far = shapely.affinity.translate(outline(sides, seed + 9, size=0.004), 0.05, 0.05)
    found = covering([shapely.to_geojson(shapely.MultiPolygon([area, far]))])
    assert found.dtype == np.uint64
    assert found.tolist() == sorted({*librarys_cover(area), *librarys_cover(far)})


def test_areas_cover_together_what_each_covers_and_their_borders_leave_no_gap():
    whole = outline(60, 1)
    west, south, east, north = whole.bounds
    halves = [
        whole.intersection(shapely.box(west, south, LOOP[1], north)),
        whole.intersection(shapely.box(LOOP[1], south, east, north)),
    ]
    texts = [shapely.to_geojson(half) for half in halves]
    expected = covering([shapely.to_geojson(whole)]).tolist()
    assert covering(texts).tolist() == expected
    assert covering([*reversed(texts), *texts]).tolist() == expected
    assert covering(texts[:1]).tolist() != expected


def test_a_cell_is_kept_though_the_area_has_none_of_its_corners_or_its_centre():
    speck = shapely.Point(LOOP[1], LOOP[0]).buffer(1e-6)
    assert covering([shapely.to_geojson(speck)]).tolist() == [h3.latlng_to_cell(*LOOP, 10)]


def test_a_large_hole_is_not_covered():
    hole = shapely.box(-87.64, 41.87, -87.62, 41.89)
    area = shapely.box(-87.66, 41.85, -87.60, 41.91).difference(hole)
    assert h3.latlng_to_cell(*LOOP, 10) not in covering([shapely.to_geojson(area)]).tolist()


def test_no_area_is_covered_by_no_cell():
    assert covering([]).tolist() == []
    assert covering(['{"type":"Polygon","coordinates":[]}']).tolist() == []


@pytest.mark.parametrize(
    ("area", "message"),
    [
        ('{"type":"Point","coordinates":[-87.6,41.8]}', r"\['Point'\] are not areas"),
        (shapely.to_geojson(shapely.box(1_170_000, 1_890_000, 1_180_000, 1_900_000)), "degrees"),
    ],
)
def test_what_is_no_area_in_degrees_is_refused(area: str, message: str):
    with pytest.raises(ValueError, match=message):
        covering([area])


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_around_cells_are_all_within_some_steps(steps: int):
    cells = disk(1)[[0, 3, 3]]
    expected = {near for cell in cells.tolist() for near in h3.grid_disk(cell, steps)}
    assert around(cells, steps).tolist() == sorted(expected)


@given(points=POINTS, own=st.integers(0, 15), data=st.data())
@settings(max_examples=30, deadline=None)
def test_parents_are_those_of_the_library_of_silver_and_of_the_warehouse(
    points: list[tuple[float, float]], own: int, data: st.DataObject
):
    cells = cells_of(points, own)
    resolution = data.draw(st.integers(0, own))
    found = parents(cells, resolution)
    assert found.dtype == np.uint64
    assert found.tolist() == [h3.cell_to_parent(cell, resolution) for cell in cells.tolist()]
    frame = pl.DataFrame({"cell": cells})
    assert found.tolist() == frame.select(parents_of(pl.col("cell"), resolution))["cell"].to_list()
    with duckdb.connect() as conn:
        for macro in MACROS:
            if "macro cell_parent(" in macro.query:
                conn.execute(macro)
        conn.register("cells", frame.with_row_index("place").to_arrow())
        stored = conn.sql(f"select cell_parent(cell, {resolution}) from cells order by place")
        assert found.tolist() == [parent for (parent,) in stored.fetchall()]


@pytest.mark.parametrize(
    ("resolution", "message"),
    [
        (-1, "between 0 and 15"),
        (16, "between 0 and 15"),
        (11, "resolution 10 have no parent at 11"),
    ],
)
def test_a_parent_there_cannot_be_is_refused(resolution: int, message: str):
    with pytest.raises(ValueError, match=message):
        parents(disk(1), resolution)


def test_a_study_area_is_the_cells_and_their_parents_each_once():
    found = with_parents(disk(12)[::-1])
    assert [*found] == [6, 7, 8, 9, 10]
    for resolution, cells in found.items():
        expected = {h3.cell_to_parent(cell, resolution) for cell in disk(12).tolist()}
        assert cells.tolist() == sorted(expected)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_sums_are_those_of_a_loop_over_the_cells(steps: int):
    rng = np.random.default_rng(steps)
    cells = rng.permutation(disk(9))[:150]
    grid = Grid.of(cells, steps)
    values = rng.poisson(2, (150, 3))
    of = dict(zip(grid.cells.tolist(), values.tolist(), strict=True))
    expected = [
        np.sum([of.get(near, [0, 0, 0]) for near in h3.grid_disk(cell, steps)], axis=0).tolist()
        for cell in grid.cells.tolist()
    ]
    assert grid.sums(values).tolist() == expected
    assert grid.sums(values[:, 1]).tolist() == [row[1] for row in expected]


def test_a_pooled_sum_differs_from_the_cells_own():
    grid = Grid.of(disk(3))
    own = np.arange(len(grid.cells))
    assert (grid.sums(own) != own).all()
    assert (grid.sums(np.ones(len(own))) > 1).all()


def test_one_record_is_in_the_sums_of_its_seven_cells_and_of_no_other():
    grid = Grid.of(disk(4))
    middle = grid.index_of(disk(0))
    values = np.zeros(len(grid.cells))
    values[middle] = 1
    assert grid.cells[grid.sums(values) == 1].tolist() == sorted(disk(1).tolist())
    assert grid.sums(values).sum() == 7


def test_a_grid_does_not_hang_on_order_or_repetition():
    cells = disk(5)
    shuffled = np.random.default_rng(1).permutation(np.concatenate([cells, cells[:7]]))
    one, other = Grid.of(cells), Grid.of(shuffled)
    assert one.cells.tolist() == other.cells.tolist() == sorted(cells.tolist())
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(one.disk, name), getattr(other.disk, name))


def test_a_cells_place_is_found_and_absence_is_minus_one():
    grid = Grid.of(disk(3))
    shuffled = np.random.default_rng(1).permutation(grid.cells)
    assert grid.cells[grid.index_of(shuffled)].tolist() == shuffled.tolist()
    absent = np.array([0, *np.setdiff1d(disk(4), disk(3)).tolist(), 2**64 - 1], np.uint64)
    assert set(grid.index_of(absent).tolist()) == {-1}


def test_a_grid_of_no_cells_has_no_sums():
    grid = Grid.of(np.array([], np.uint64))
    assert grid.sums(np.zeros((0, 2))).shape == (0, 2)
    assert grid.index_of(np.array([0, *disk(0).tolist()], np.uint64)).tolist() == [-1, -1]
    assert shapes(grid.cells).is_empty()


def test_a_pentagon_has_five_neighbours_and_five_corners():
    pentagon = np.array(h3.get_pentagons(10)[:1], np.uint64)
    grid = Grid.of(around(pentagon))
    assert grid.sums(np.ones(6)).tolist()[int(grid.index_of(pentagon)[0])] == 6
    found = shapes(grid.cells).filter(pl.col("cell") == int(pentagon[0])).row(0, named=True)
    assert len(found["neighbors"]) == 5
    corners = len(h3.cell_to_boundary(int(pentagon[0])))
    assert len(json.loads(found["boundary"])["coordinates"][0]) == corners + 1


def test_cells_of_two_resolutions_make_no_grid():
    with pytest.raises(ValueError, match=r"resolutions \[8, 10\] make no grid"):
        Grid.of(np.concatenate([disk(1), disk(1, 8)]))


@pytest.mark.parametrize("shape", [(), (6,), (8, 2), (7, 2, 2)])
def test_values_that_are_not_one_a_cell_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="for 7 cells"):
        Grid.of(disk(1)).sums(np.zeros(shape))


@pytest.mark.parametrize("resolution", [6, 10])
def test_shapes_are_the_librarys(resolution: int):
    cells = disk(3, resolution)
    found = shapes(np.random.default_rng(1).permutation(cells))
    assert found.schema == {
        "cell": pl.UInt64,
        "latitude": pl.Float64,
        "longitude": pl.Float64,
        "boundary": pl.String,
        "neighbors": pl.List(pl.UInt64),
    }
    assert found["cell"].to_list() == sorted(cells.tolist())
    for cell, latitude, longitude, boundary, neighbors in found.iter_rows():
        assert (latitude, longitude) == h3.cell_to_latlng(cell)
        corners = [[round(lng, 6), round(lat, 6)] for lat, lng in h3.cell_to_boundary(cell)]
        expected = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
        assert boundary == json.dumps(expected, separators=(",", ":"))
        ring = shapely.get_exterior_ring(shapely.from_geojson(boundary))
        assert shapely.is_ccw(ring)
        assert neighbors == sorted({*h3.grid_disk(cell, 1)} - {cell} & {*cells.tolist()} - {cell})


def test_a_cell_alone_has_no_neighbours_rather_than_unknown_ones():
    assert shapes(disk(0))["neighbors"].to_list() == [[]]


def test_neighbours_are_mutual():
    found = dict(shapes(disk(4)).select("cell", "neighbors").iter_rows())
    for cell, other in itertools.product(found, repeat=2):
        assert (other in found[cell]) == (cell in found[other])
