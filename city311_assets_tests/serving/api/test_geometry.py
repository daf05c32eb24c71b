"""Outlines for maps."""

import json

import h3.api.basic_int as h3
import pytest
import shapely

from city311_assets.serving.api.geojson import outline
from city311_assets.serving.console.maps import boundaries_url, geometry_url
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets_tests.serving.api.places import FEED, HOSTILE, cells


@pytest.mark.parametrize("resolution", range(6, 11))
def test_the_cells_of_a_feed_are_there_at_every_resolution(api, resolution):
    answer = api.get(geometry_url(FEED, resolution))
    assert answer.headers["content-type"] == "application/geo+json"
    features = answer.json()["features"]
    assert [one["id"] for one in features] == [format(cell, "x") for cell in cells(resolution)]
    assert set(features[0]["properties"]) == {"label"}
    ring = features[0]["geometry"]["coordinates"][0]
    assert shapely.is_ccw(shapely.linearrings(ring))
    assert ring[0] == ring[-1]


def test_a_parent_has_its_children_and_no_others(api):
    parent = cells(7)[0]
    features = api.get(geometry_url(FEED, 9, format(parent, "x"))).json()["features"]
    expected = {cell for cell in cells(9) if h3.cell_to_parent(cell, 7) == parent}
    assert {int(one["id"], 16) for one in features} == expected
    assert expected


def test_a_hostile_label_is_text(api):
    first = api.get(geometry_url(FEED, 9)).json()["features"][0]
    assert first["properties"]["label"] == HOSTILE


def test_a_city_without_known_areas_has_an_empty_map(api):
    answer = api.get(boundaries_url("sf_311"))
    assert (answer.status_code, answer.json()["features"]) == (200, [])


def test_a_file_without_areas_has_an_empty_map(own_place):
    own_place.drop(BOUNDARIES)
    answer = own_place.client.get(boundaries_url(FEED))
    assert (answer.status_code, answer.json()["features"]) == (200, [])


def test_an_outline_is_drawn_as_the_study_area_draws_it(api):
    cell = cells(9)[3]
    stored = api.get(geometry_url(FEED, 9)).json()["features"][3]["geometry"]
    drawn = json.loads(outline(cell))
    shapes = [shapely.from_geojson(json.dumps(one)) for one in (stored, drawn)]
    assert shapely.equals_exact(*shapes, tolerance=1e-6, normalize=True)
    assert shapely.is_ccw(shapely.linearrings(drawn["coordinates"][0]))


def test_outlines_can_be_asked_for_again_for_nothing(api):
    address = geometry_url(FEED, 9)
    tag = api.get(address).headers["etag"]
    assert api.get(address, headers={"If-None-Match": tag}).status_code == 304
