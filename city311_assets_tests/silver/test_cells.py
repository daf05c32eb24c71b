"""Cells: which points can be used, their H3 cell, and its parents, all against the library."""

import math

import h3.api.basic_int as h3
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city311_assets.feeds.chicago_311 import CHICAGO
from city311_assets.feeds.sf_311 import SAN_FRANCISCO
from city311_assets.silver.cells import cells_of, parents_of, point_reasons

LATITUDES, LONGITUDES = st.floats(-90, 90), st.floats(-180, 180)
POINTS = st.lists(st.tuples(LATITUDES, LONGITUDES), min_size=1, max_size=60)


def reasons(*points: tuple[float | None, float | None, bool], box=CHICAGO.box) -> list[str | None]:
    schema = {"latitude": pl.Float64, "longitude": pl.Float64, "is_given": pl.Boolean}
    frame = pl.DataFrame(points, schema=schema, orient="row")
    columns = (pl.col("latitude"), pl.col("longitude"), pl.col("is_given"))
    return frame.select(point_reasons(*columns, box)).to_series().to_list()


def series(values: list[float | None]) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64)


def parents(cells: list[int | None], resolution: int) -> list[int | None]:
    frame = pl.DataFrame({"cell": cells}, schema={"cell": pl.UInt64})
    found = frame.select(parents_of(pl.col("cell"), resolution)).to_series()
    assert found.dtype == pl.UInt64
    return found.to_list()


@pytest.mark.parametrize(
    ("latitude", "longitude", "is_given", "reason"),
    [
        (41.88, -87.63, True, None),
        (None, None, False, "absent"),
        (None, None, True, "unreadable"),
        (41.88, None, True, "unreadable"),
        (None, -87.63, True, "unreadable"),
        (0.0, 0.0, True, "zero"),
        (-0.0, 0.0, True, "zero"),
        (91.0, -87.63, True, "out_of_range"),
        (-90.001, -87.63, True, "out_of_range"),
        (41.88, 360.0, True, "out_of_range"),
        (41.88, -180.001, True, "out_of_range"),
        (math.nan, -87.63, True, "out_of_range"),
        (41.88, math.nan, True, "out_of_range"),
        (math.inf, -87.63, True, "out_of_range"),
        (41.88, -math.inf, True, "out_of_range"),
        (37.77, -122.42, True, "outside_city"),
        (0.0, -87.63, True, "outside_city"),
        (-87.63, 41.88, True, "outside_city"),
        (90.0, 180.0, True, "outside_city"),
    ],
)
def test_a_point_that_cannot_be_used_has_its_reason(
    latitude: float | None, longitude: float | None, is_given: bool, reason: str | None
):
    assert reasons((latitude, longitude, is_given)) == [reason]


@pytest.mark.parametrize("city", [CHICAGO, SAN_FRANCISCO], ids=lambda city: city.name)
def test_the_edge_of_the_box_is_in_the_city_and_a_step_beyond_is_not(city):
    box, step = city.box, 1e-9
    inside = [(box.south, box.west, True), (box.north, box.east, True)]
    beyond = [
        (box.south - step, box.west, True),
        (box.north + step, box.east, True),
        (box.south, box.west - step, True),
        (box.north, box.east + step, True),
    ]
    assert reasons(*inside, box=box) == [None, None]
    assert reasons(*beyond, box=box) == ["outside_city"] * 4


@given(POINTS)
@settings(max_examples=25, deadline=None)
def test_cells_are_the_librarys_one_by_one(points: list[tuple[float, float]]):
    # Every third point is unknown in one of its halves, and must not shift the others.
    latitudes = [None if place % 6 == 2 else lat for place, (lat, _) in enumerate(points)]
    longitudes = [None if place % 6 == 5 else lng for place, (_, lng) in enumerate(points)]
    found = cells_of(series(latitudes), series(longitudes))
    assert found.dtype == pl.UInt64
    assert found.name == "cell"
    assert found.to_list() == [
        None if lat is None or lng is None else h3.latlng_to_cell(lat, lng, 10)
        for lat, lng in zip(latitudes, longitudes, strict=True)
    ]


@pytest.mark.parametrize("values", [[], [None], [None, None]])
def test_no_points_have_no_cells(values: list[float | None]):
    found = cells_of(series(values), series(values))
    assert (found.to_list(), found.dtype) == (values, pl.UInt64)


@given(points=POINTS, own=st.integers(0, 15))
@settings(max_examples=25, deadline=None)
def test_parents_are_the_librarys_at_every_resolution(points: list[tuple[float, float]], own: int):
    cells = [h3.latlng_to_cell(lat, lng, own) for lat, lng in points]
    for resolution in range(own + 1):
        expected = [h3.cell_to_parent(cell, resolution) for cell in cells]
        assert parents([*cells], resolution) == expected


def test_the_parent_of_no_cell_is_none():
    assert parents([None, h3.latlng_to_cell(41.88, -87.63, 10)], 6)[0] is None


@pytest.mark.parametrize("resolution", [-1, 16])
def test_a_resolution_h3_does_not_have_is_refused(resolution: int):
    with pytest.raises(ValueError, match=f"resolution {resolution} is not between 0 and 15"):
        parents_of(pl.col("cell"), resolution)


@given(
    st.lists(st.tuples(st.floats(41.6, 42.07), st.floats(-87.97, -87.5)), min_size=1, max_size=100)
)
@settings(max_examples=15, deadline=None)
def test_counts_add_up_exactly_from_resolution_10_to_6(points: list[tuple[float, float]]):
    latitudes, longitudes = (series([*values]) for values in zip(*points, strict=True))
    finest = cells_of(latitudes, longitudes).to_frame()
    for resolution in (9, 8, 7, 6):
        by_own_parent = finest.select(parents_of(pl.col("cell"), resolution)).to_series()
        by_steps = finest.to_series()
        for step in range(9, resolution - 1, -1):
            by_steps = by_steps.to_frame().select(parents_of(pl.col("cell"), step)).to_series()
        assert by_own_parent.to_list() == by_steps.to_list()
        for parent, count in by_own_parent.value_counts().iter_rows():
            children = set(h3.cell_to_children(parent, 10)) if resolution >= 8 else None
            if children is not None:
                assert count == sum(cell in children for cell in finest.to_series())
