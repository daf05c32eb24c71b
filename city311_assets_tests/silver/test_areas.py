"""Areas: which published boundary holds a point."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city311_assets.silver.areas import Areas
from city311_assets_tests.silver.raw import NO_AREAS

Ring = list[tuple[float, float]]


def square(west: float, south: float, side: float = 1.0) -> Ring:
    east, north = west + side, south + side
    return [(west, south), (east, south), (east, north), (west, north), (west, south)]


def polygon(*rings: Ring) -> dict:
    return {"type": "Polygon", "coordinates": rings}


def areas(*named: tuple[str, dict]) -> Areas:
    rows = [(name, json.dumps(geometry)) for name, geometry in named]
    schema = {"area": pl.String, "geometry": pl.String}
    return Areas.of(pl.DataFrame(rows, schema=schema, orient="row"))


def located(where: Areas, *points: tuple[float | None, float | None]) -> list[str | None]:
    """Return the areas of points given as (longitude, latitude)."""
    frame = pl.DataFrame(points, schema={"x": pl.Float64, "y": pl.Float64}, orient="row")
    found = where.located(frame["y"], frame["x"])
    assert (found.dtype, len(found)) == (pl.String, len(points))
    return found.to_list()


EAST, WEST = ("East", polygon(square(1, 0))), ("West", polygon(square(0, 0)))


def test_a_point_lies_in_the_area_around_it_and_in_none_elsewhere():
    points = [(1.5, 0.5), (0.5, 0.5), (5.0, 5.0), (0.5, 1.5)]
    assert located(areas(EAST, WEST), *points) == ["East", "West", None, None]


def test_longitude_comes_before_latitude():
    tall = areas(("Tall", polygon([(0, 0), (1, 0), (1, 9), (0, 9), (0, 0)])))
    assert located(tall, (0.5, 8.0), (8.0, 0.5)) == ["Tall", None]


@pytest.mark.parametrize("order", [(EAST, WEST), (WEST, EAST)], ids=["east first", "west first"])
def test_a_point_on_a_border_is_in_the_first_area_by_name(order):
    assert located(areas(*order), (1.0, 0.5), (0.0, 0.5)) == ["East", "West"]


def test_a_hole_is_not_in_the_area():
    ring = areas(("Ring", polygon(square(0, 0, 3), square(1, 1))))
    assert located(ring, (1.5, 1.5), (0.5, 0.5)) == [None, "Ring"]


def test_every_part_of_an_area_is_in_it():
    both = {"type": "MultiPolygon", "coordinates": [[square(0, 0)], [square(5, 5)]]}
    split = areas(("Isles", both), ("Rock", polygon(square(9, 9))), ("Rock", polygon(square(7, 7))))
    points = [(0.5, 0.5), (5.5, 5.5), (3.0, 3.0), (7.5, 7.5), (9.5, 9.5)]
    assert located(split, *points) == ["Isles", "Isles", None, "Rock", "Rock"]


@pytest.mark.parametrize("point", [(None, None), (0.5, None), (None, 0.5)])
def test_no_point_lies_in_no_area_and_shifts_no_other(point: tuple[float | None, float | None]):
    assert located(areas(WEST), point, (0.5, 0.5), point) == [None, "West", None]


def test_without_areas_nothing_lies_anywhere():
    assert located(NO_AREAS, (0.5, 0.5), (None, None)) == [None, None]
    assert located(NO_AREAS) == []
    assert located(areas(WEST)) == []


GRID = [(f"{x}{y}", polygon(square(x, y))) for x in range(4) for y in range(4)]


@given(
    order=st.permutations(GRID),
    points=st.lists(
        st.tuples(st.integers(-2, 18), st.integers(-2, 18)).map(lambda p: (p[0] / 4, p[1] / 4)),
        min_size=1,
        max_size=40,
    ),
)
@settings(max_examples=30, deadline=None)
def test_neither_the_order_of_areas_nor_of_points_matters(order, points):
    def touching(x: float, y: float) -> str | None:
        return min(
            (f"{i}{j}" for i in range(4) for j in range(4) if i <= x <= i + 1 and j <= y <= j + 1),
            default=None,
        )

    assert located(areas(*order), *points) == [touching(x, y) for x, y in points]
    assert located(areas(*order), *points[::-1]) == located(areas(*GRID), *points)[::-1]
