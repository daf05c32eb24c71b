"""Layers: the right rows, as GeoJSON that a map program can open."""

import json

import h3.api.basic_int as h3
import pytest
import shapely

from city311_assets_tests.serving.api.places import (
    CLOCKWISE,
    DAYS,
    EMPTY_FEED,
    FEED,
    HOSTILE,
    MODEL,
    STRAY,
    cells,
    chance,
)

LAYERS = ("risk", "cost", "recommendations", f"hotspots?feed={FEED}", f"anomalies?feed={FEED}")
CALL = "A call is not a leak"


def layer(api, address):
    answer = api.get(f"/api/layers/{address}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/geo+json"
    return answer.json()


def of_cell(collection, cell):
    (found,) = [one for one in collection["features"] if one["id"] == format(cell, "x")]
    return found["properties"]


def decimals(number):
    return len(str(number).partition(".")[2])


@pytest.mark.parametrize("address", LAYERS)
def test_every_geometry_is_valid_closed_and_counter_clockwise_with_six_decimals(api, address):
    features = layer(api, address)["features"]
    assert features
    for one in features:
        assert one["type"] == "Feature"
        shape = shapely.from_geojson(json.dumps(one["geometry"]))
        assert shape.is_valid
        (ring,) = one["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert shapely.is_ccw(shapely.linearrings(ring))
        assert max(decimals(number) for point in ring for number in point) <= 6


@pytest.mark.parametrize("address", LAYERS)
def test_longitude_comes_first(api, address):
    for one in layer(api, address)["features"]:
        (west, south), *_ = one["geometry"]["coordinates"][0]
        assert (round(west), round(south)) == (-88, 42)


@pytest.mark.parametrize("address", LAYERS)
def test_a_layer_says_what_it_is_of_and_how_old(api, place, address):
    said = layer(api, address)
    assert said["data_version"] == place.warehouse.data_version
    assert said["as_of"].endswith("Z")
    assert (said["numberMatched"], said["numberReturned"]) == (len(said["features"]),) * 2
    assert [link["rel"] for link in said["links"]] == ["self"]
    assert said["licence"]
    assert said["feed"] == FEED
    assert "model_version" in said


def test_the_newest_day_is_shown_unless_another_is_asked_for(api):
    assert layer(api, "risk")["date"] == str(DAYS[-1])
    assert layer(api, f"risk?date={DAYS[1]}")["date"] == str(DAYS[1])


def test_risk_has_the_fields_of_the_system_before_it(api):
    said = layer(api, f"risk?date={DAYS[1]}")
    risk = of_cell(said, cells(9)[60])
    assert risk["p_event_7d"] == pytest.approx(chance(60), rel=1e-5)
    assert risk["risk_band"] == "high"
    assert risk["drivers"] == [{"driver": "calls", "effect": 0.1235, "words": HOSTILE}]
    assert said["model_version"] == MODEL
    assert said["scored_at"] == "2026-03-06T03:00:00Z"
    assert CALL in said["note"]


def test_only_the_newest_scores_of_a_day_are_shown(api):
    said = layer(api, f"risk?date={DAYS[0]}")
    assert said["numberMatched"] == len(cells(9))
    assert {one["properties"]["model_version"] for one in said["features"]} == {MODEL}


def test_a_cell_that_the_study_area_lacks_is_drawn_too(api):
    said = layer(api, "risk")
    (stray,) = [one for one in said["features"] if one["id"] == format(STRAY, "x")]
    assert stray["properties"]["label"] is None
    shape = shapely.from_geojson(json.dumps(stray["geometry"]))
    latitude, longitude = h3.cell_to_latlng(STRAY)
    assert shape.contains(shapely.Point(longitude, latitude))
    assert said["numberMatched"] == len(cells(9)) + 1


def test_cost_has_the_fields_of_the_system_before_it(api):
    cost = of_cell(layer(api, "cost"), cells(9)[50])
    assert cost["expected_cost_usd_7d"] == pytest.approx(1234.5678 * chance(50), rel=1e-5)
    assert cost["p90_cost"] == pytest.approx(5000 * chance(50), rel=1e-5)


def test_recommendations_come_by_rank_with_their_action(api):
    said = layer(api, "recommendations")
    assert [one["properties"]["rank"] for one in said["features"]] == [1, 2, 3]
    best, _, last = (one["properties"] for one in said["features"])
    assert (best["action"], best["parameters"]) == ("pressure_step", {"cells": 1, "nights": 7})
    assert last["parameters"] == {"km": 1.5}
    assert best["cells"] == [format(cells(9)[10], "x")]
    assert (best["is_chosen"], last["is_chosen"]) == (True, False)
    assert CALL in said["note"]


def test_a_day_on_which_no_action_pays_is_an_empty_list(api):
    said = layer(api, f"recommendations?date={DAYS[0]}")
    assert (said["numberMatched"], said["features"]) == (0, [])


def test_hot_spots_are_those_of_the_month_that_holds_the_day(api):
    said = layer(api, f"hotspots?feed={FEED}&date=2026-03-31&resolution=7")
    assert said["date"] == "2026-03"
    assert [one["id"] for one in said["features"]] == [format(cell, "x") for cell in cells(7)]
    assert {one["properties"]["category"] for one in said["features"]} == {"all"}


def test_a_very_small_probability_is_no_zero(api):
    said = layer(api, f"hotspots?feed={FEED}&category=noise&resolution=8")
    assert {one["properties"]["p"] for one in said["features"]} == {5e-53}
    assert said["category"] == "noise"


def test_anomalies_are_those_that_passed_the_false_discovery_rate(api):
    said = layer(api, f"anomalies?feed={FEED}")
    assert [one["id"] for one in said["features"]] == [format(cells(7)[0], "x")]
    assert said["features"][0]["properties"]["unusual_streets"] == [HOSTILE]


def test_a_tested_day_without_anomalies_is_empty_and_says_how_many_tests_there_were(api):
    said = layer(api, f"anomalies?feed={FEED}&date={DAYS[1]}")
    assert (said["features"], said["tests"]) == ([], 5)


def test_a_feed_that_is_not_named_is_the_first_with_data(api):
    assert layer(api, "hotspots")["feed"] == FEED
    assert api.get(f"/api/layers/hotspots?feed={EMPTY_FEED}").status_code == 404


def test_a_box_keeps_the_cells_that_touch_it_and_no_others(api):
    whole = layer(api, "risk")
    latitude, longitude = h3.cell_to_latlng(cells(9)[30])
    box = (longitude - 0.004, latitude - 0.003, longitude + 0.004, latitude + 0.003)
    west, south, east, north = box
    expected = {
        one["id"]
        for one in whole["features"]
        for xs, ys in [zip(*one["geometry"]["coordinates"][0], strict=True)]
        if min(xs) <= east and max(xs) >= west and min(ys) <= north and max(ys) >= south
    }
    said = layer(api, f"risk?bbox={','.join(map(str, box))}")
    assert {one["id"] for one in said["features"]} == expected
    assert 7 <= len(expected) < len(whole["features"])
    assert said["numberMatched"] == len(expected)


def test_a_box_keeps_the_stray_cell_where_it_is(api):
    latitude, longitude = h3.cell_to_latlng(STRAY)
    around = f"{longitude - 0.001},{latitude - 0.001},{longitude + 0.001},{latitude + 0.001}"
    assert [one["id"] for one in layer(api, f"risk?bbox={around}")["features"]] == [
        format(STRAY, "x")
    ]


def test_a_box_keeps_the_recommendations_that_touch_it(api):
    latitude, longitude = h3.cell_to_latlng(cells(9)[20])
    around = f"{longitude},{latitude},{longitude + 0.0001},{latitude + 0.0001}"
    said = layer(api, f"recommendations?bbox={around}")
    assert [one["id"] for one in said["features"]] == ["cluster-2"]


def test_a_box_without_a_cell_is_an_empty_collection(api):
    for name in ("risk", "recommendations"):
        assert layer(api, f"{name}?bbox=10,50,10.5,50.5")["features"] == []


def test_hostile_words_in_the_data_are_json_text_and_nothing_else(api):
    answer = api.get("/api/layers/risk?limit=1")
    assert answer.headers["x-content-type-options"] == "nosniff"
    (first,) = answer.json()["features"]
    assert first["properties"]["label"] == HOSTILE
    assert first["properties"]["drivers"][0]["words"] == HOSTILE


def test_published_areas_are_turned_round_and_rounded(api):
    answer = api.get(f"/api/geo/{FEED}/boundaries.json")
    (area,) = answer.json()["features"]
    (ring,) = area["geometry"]["coordinates"]
    assert area["properties"] == {"areas": "ward", "label": HOSTILE, "code": "1"}
    assert shapely.is_ccw(shapely.linearrings(ring))
    assert not shapely.is_ccw(shapely.linearrings(CLOCKWISE["coordinates"][0]))
    assert [-87.6, 41.912346] in ring
