"""What is on screen as a file: the same rows, no formula, rings that close."""

import csv as reading
import datetime as dt
import io
import json
from dataclasses import replace

import polars as pl
import pytest
import shapely

from city311_assets.serving.console.hotspots.cells import cell_measures
from city311_assets.serving.console.hotspots.downloads import csv, geojson
from city311_assets.serving.console.hotspots.outlook import anomalies
from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets_tests.serving.towns import FORMULA

MARCH = Selection("chicago_crimes", dt.date(2026, 3, 1), dt.date(2026, 3, 31))


def read(text):
    return list(reading.DictReader(io.StringIO(text, newline="")))


def test_the_csv_holds_the_table_on_screen_and_no_more(snapshot):
    frame = cell_measures(snapshot, replace(MARCH, categories=("noise",), resolution=9)).frame
    rows = read(csv(frame))
    assert list(rows[0]) == frame.columns
    assert [row["cell"] for row in rows] == frame["cell"].to_list()
    for row, own in zip(rows, frame.iter_rows(named=True), strict=True):
        assert int(row["selected"]) == own["selected"]
        assert (float(row["rate"]) if row["rate"] else None) == own["rate"]
        assert float(row["change_log2"]) == own["change_log2"] if row["change_log2"] else True


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", FORMULA])
def test_a_text_that_is_a_formula_is_kept_from_being_one(text):
    (row,) = read(csv(pl.DataFrame({"label": [text]})))
    assert row["label"] == f"'{text}"


def test_numbers_below_zero_quotes_and_line_ends_survive():
    frame = pl.DataFrame(
        {"a": [-1.5], "b": ['say "yes", please'], "c": ["two\nlines"], "d": [None]}
    )
    text = csv(frame)
    assert text.endswith("\r\n")
    (row,) = read(text)
    assert row == {"a": "-1.5", "b": 'say "yes", please', "c": "two\nlines", "d": ""}


def test_lists_are_one_cell_and_defused_too(snapshot):
    frame = pl.DataFrame({"streets": [[FORMULA, "A ST"], []]})
    assert [row["streets"] for row in read(csv(frame))] == [f"'{FORMULA}; A ST", ""]
    assert (
        len(read(csv(anomalies(snapshot, MARCH).frame))) == anomalies(snapshot, MARCH).frame.height
    )


def test_the_geojson_has_closed_counter_clockwise_rings_and_what_is_known(snapshot):
    chosen = replace(MARCH, resolution=9)
    frame = cell_measures(snapshot, chosen).frame
    found = json.loads(geojson(snapshot, chosen, frame))
    assert found["type"] == "FeatureCollection"
    assert [one["id"] for one in found["features"]] == frame["cell"].to_list()
    for one in found["features"][:50]:
        (ring,) = one["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert shapely.LinearRing(ring).is_ccw
        longitude, latitude = ring[0]
        assert (round(longitude), round(latitude)) == (-88, 42)
    first = found["features"][0]["properties"]
    assert first == json.loads(json.dumps(frame.row(0, named=True)))


def test_a_cell_that_the_study_area_lacks_has_an_outline_all_the_same(snapshot):
    frame = pl.DataFrame({"cell": ["882a100d35fffff"], "selected": [1]})
    (feature,) = json.loads(geojson(snapshot, MARCH, frame))["features"]
    assert feature["geometry"]["type"] == "Polygon"
    assert json.loads(geojson(snapshot, MARCH, frame.clear()))["features"] == []
