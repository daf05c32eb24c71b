"""What cells are called: no two alike in a list, and a way down that is true of each step."""

import datetime as dt
from dataclasses import replace

import h3.api.basic_int as h3
import polars as pl

from city311_assets.serving.console.hotspots.cells import cell_measures
from city311_assets.serving.console.hotspots.crumbs import crumbs
from city311_assets.serving.console.hotspots.facts import labels, told_apart
from city311_assets.serving.console.hotspots.selection import Selection

CHICAGO = (41.88, -87.63)
MARCH = Selection("chicago_crimes", dt.date(2026, 3, 1), dt.date(2026, 3, 31))


def named(cells, places):
    """Return the labels of cells, given what gold calls them."""
    points = [h3.cell_to_latlng(cell) for cell in cells]
    frame = pl.DataFrame(
        {
            "number": pl.Series(cells, dtype=pl.UInt64),
            "place": pl.Series(places, dtype=pl.String),
            "latitude": [point[0] for point in points],
            "longitude": [point[1] for point in points],
        }
    )
    return told_apart(frame)["label"].to_list()


def test_a_name_of_its_own_stays_as_it_is_and_a_shared_one_says_where():
    north, south, east, west, alone = (
        h3.latlng_to_cell(CHICAGO[0] + up, CHICAGO[1] + right, 8)
        for up, right in ((0.05, 0), (-0.05, 0), (0, 0.08), (0, -0.08), (0.2, 0))
    )
    assert named([north, south, east, west, alone], ["Loop"] * 4 + ["Lake"]) == [
        "Loop, north",
        "Loop, south",
        "Loop, east",
        "Loop, west",
        "Lake",
    ]
    # Which others there are changes nothing of a place that only one has.
    assert named([alone], ["Lake"]) == ["Lake"]
    assert named([north, south], [None, None]) == [None, None]


def test_however_many_share_a_name_no_two_labels_are_alike():
    cells = sorted(h3.grid_disk(h3.latlng_to_cell(*CHICAGO, 10), 20))
    found = named(cells, ["Loop"] * len(cells))
    assert len(set(found)) == len(cells) > 1000
    assert all(one.startswith("Loop, ") for one in found)
    # The order in which they come changes no name.
    assert named(cells[::-1], ["Loop"] * len(cells))[::-1] == found


def test_no_two_cells_of_a_resolution_are_called_alike(snapshot):
    for resolution in range(6, 11):
        known = labels(snapshot, "chicago_crimes", resolution).drop_nulls("label")
        assert known["label"].n_unique() == known.height
        assert known["place"].n_unique() < known.height or resolution < 8
    frame = cell_measures(snapshot, replace(MARCH, resolution=10)).frame
    assert frame["label"].n_unique() == frame.height


def test_a_step_of_the_way_says_around_where_the_cell_has_another_place(snapshot, town):
    seen = {False: 0, True: 0}
    places = {
        resolution: dict(
            labels(snapshot, "chicago_crimes", resolution).select("number", "place").iter_rows()
        )
        for resolution in range(6, 9)
    }
    for cell, place in places[8].items():
        way = crumbs(snapshot, replace(MARCH, parent=cell, resolution=9))
        for step in way[1:]:
            assert step.resolution
            above = h3.cell_to_parent(cell, step.resolution)
            is_elsewhere = places[step.resolution].get(above) != place
            assert step.label.endswith(" and around") == is_elsewhere
            seen[is_elsewhere] += 1
        assert not way[-1].label.endswith(" and around")
    assert min(seen.values()) > 0
