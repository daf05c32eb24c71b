"""Where things lie: areas tile the outline, points fall in their areas, portals publish both."""

import numpy as np
import pytest
import shapely

from city311_assets.feeds.registry import CITIES
from city311_assets.sample_city.geography import boundaries, outline, tiling

TILINGS = [
    *(("san_francisco", areas) for areas in ("neighborhood", "district", "police")),
    *(("chicago", areas) for areas in ("neighborhood", "ward", "police")),
    *(("new_york", areas) for areas in ("neighborhood", "district", "police")),
]


@pytest.mark.parametrize(("city", "areas"), TILINGS)
def test_the_areas_tile_the_outline(city, areas):
    shapes, whole = tiling(city, areas).shapes, outline(city)
    assert all(shape.is_valid and shape.area > 0 for shape in shapes)
    union = shapely.union_all(shapes)
    assert union.symmetric_difference(whole).area < 1e-9 * whole.area
    assert sum(shape.area for shape in shapes) == pytest.approx(whole.area, rel=1e-9)


@pytest.mark.parametrize(("city", "areas"), TILINGS)
def test_points_lie_in_the_area_they_were_drawn_for(city, areas):
    tiles = tiling(city, areas)
    wanted = np.repeat(np.arange(len(tiles.names)), 20)
    longitude, latitude = tiles.points(wanted, np.random.default_rng(1))
    assert (tiles.areas_of(longitude, latitude) == wanted).mean() > 0.999
    shapes = np.array(tiles.shapes)[wanted]
    assert (shapely.distance(shapes, shapely.points(longitude, latitude)) < 1e-9).all()


def test_points_fill_an_area_evenly():
    tiles = tiling("chicago", "neighborhood")
    longitude, latitude = tiles.points(np.zeros(20_000, dtype=int), np.random.default_rng(1))
    middle = tiles.shapes[0].centroid
    assert longitude.mean() == pytest.approx(middle.x, abs=2e-4)
    assert latitude.mean() == pytest.approx(middle.y, abs=2e-4)


def test_a_point_outside_the_city_is_in_no_area():
    tiles = tiling("chicago", "ward")
    assert tiles.areas_of(np.array([-87.0, 0.0]), np.array([41.9, 0.0])).tolist() == [-1, -1]


@pytest.mark.parametrize("name", CITIES)
def test_the_outline_is_in_the_box_of_the_city(name):
    west, south, east, north = outline(name).bounds
    box = CITIES[name].box
    assert box.west < west < east < box.east
    assert box.south < south < north < box.north


@pytest.mark.parametrize(
    ("city", "boundary"),
    [(city, boundary) for city in CITIES.values() for boundary in city.boundaries],
)
def test_boundaries_are_geojson_with_closed_rings_and_texts(city, boundary):
    collection = boundaries(city.portal, boundary.dataset)
    assert collection is not None
    features = collection["features"]
    assert isinstance(features, list)
    assert len(features) > 10
    for feature in features:
        assert all(isinstance(value, str) for value in feature["properties"].values())
        assert feature["properties"][boundary.name_property]
        if boundary.code_property:
            assert feature["properties"][boundary.code_property]
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        for part in shapely.get_parts(shape):
            assert part.exterior.is_ccw
            assert part.exterior.is_closed


def test_chicago_has_its_77_community_areas_by_number():
    tiles = tiling("chicago", "neighborhood")
    assert tiles.codes == tuple(str(number) for number in range(1, 78))
    assert tiles.names[31] == "LOOP"


def test_new_york_is_islands_and_its_neighbourhoods_are_in_59_districts():
    assert len(shapely.get_parts(outline("new_york"))) == 5
    tiles, districts = tiling("new_york", "neighborhood"), tiling("new_york", "district")
    assert len(districts.names) == 59
    assert {code[2:4] for code in tiles.codes if code.startswith("BK")} == {
        code[1:] for code in districts.codes if code.startswith("3")
    }


def test_areas_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="no parish areas of chicago; add their centres"):
        tiling("chicago", "parish")
