"""The map of the hotspots page: a whole figure once, then what changes of it.

What belongs here: where the map looks, and what of it is sent. What does not: how cells are drawn
(`maps`) or counted (`cells`).
"""

import math
from dataclasses import replace
from textwrap import wrap
from typing import Any

import h3
from dash import Patch

from city311_assets.serving.console.hotspots.cells import CellMeasures
from city311_assets.serving.console.hotspots.facts import FeedFacts
from city311_assets.serving.console.hotspots.hover_texts import hover_texts
from city311_assets.serving.console.hotspots.measures import MEASURES, scale_of
from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets.serving.console.maps import cell_map, geometry_url
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.gold import CELLS

# What a new selection changes of a map whose outlines stay.
CHANGES = ("locations", "z", "customdata", "colorscale", "zmin", "zmax", "colorbar")
EXTENT = f"""
    select min(latitude) as south, max(latitude) as north, min(longitude) as west,
        max(longitude) as east
    from {CELLS} where feed = $feed and resolution = 8
"""
# Pixels of a map on a screen of a computer, and of one tile; a phone's is as wide as its screen.
MAP_WIDTH, MAP_HEIGHT, TILE = 620, 460, 512
SMALL_HEIGHT, EDGES = 300, 60
MOST_ZOOM = 15.0
LEGEND_LETTERS = 40
LINE_HEIGHT = 16
# Up to so many records each number is named in the legend: there are no halves of a record.
FEW = 8
# Cells of a whole city from this resolution on are smaller than a line between them.
FINE = 9


def drawing(selection: Selection) -> str:
    """Return what a figure's outlines are of: as long as it is the same, changes are enough."""
    return geometry_url(selection.feed, selection.resolution, selection.parent_hex)


def figure(
    snapshot: Snapshot,
    selection: Selection,
    facts: FeedFacts,
    measured: CellMeasures,
    screen_width: int = 1280,
) -> dict[str, Any]:
    """Return the whole figure of a map of measured cells, for a screen of so many pixels."""
    frame, measure = measured.frame, MEASURES[measured.measure]
    values = frame[measure.column].to_list()
    scale = scale_of(measure, values, facts.outcome_words)
    if measure.unit == "records" and scale.high < FEW:
        scale = replace(scale, ticks={at: str(at) for at in range(int(scale.high) + 1)})
    lines = wrap(scale.title, LEGEND_LETTERS)
    drawn = cell_map(
        selection.feed,
        selection.resolution,
        frame["cell"].to_list(),
        values,
        hover_texts(frame, facts),
        scale=replace(scale, title="<br>".join(lines)),
        view=view(snapshot, selection, screen_width),
        parent=selection.parent_hex,
        # The person's own pan and zoom hold until another place is shown.
        revision=f"{selection.feed} {selection.parent_hex}",
    )
    if selection.parent is None and selection.resolution >= FINE:
        for trace in drawn["data"]:
            trace["marker"]["line"]["width"] = 0
    drawn["layout"]["margin"]["b"] += LINE_HEIGHT * (len(lines) - 1)
    return drawn


def changes(whole: dict[str, Any]) -> Patch:
    """Return what of a figure differs from one of the same outlines: numbers, labels, legend."""
    patch = Patch()
    for place, trace in enumerate(whole["data"]):
        for key in CHANGES:
            if key in trace:
                patch["data"][place][key] = trace[key]
    patch["layout"]["margin"] = whole["layout"]["margin"]
    return patch


def view(snapshot: Snapshot, selection: Selection, screen_width: int = 1280) -> dict[str, float]:
    """Return the middle and zoom at which the drilled cell, or the whole city, fills a map."""
    width = min(MAP_WIDTH, max(screen_width - EDGES, 1))
    size = (width, MAP_HEIGHT if width == MAP_WIDTH else SMALL_HEIGHT)
    if selection.parent_hex:
        corners = h3.cell_to_boundary(selection.parent_hex)
        latitudes, longitudes = zip(*corners, strict=True)
        return _view(min(latitudes), max(latitudes), min(longitudes), max(longitudes), size)
    extent = snapshot.once(
        ("hotspots extent", selection.feed),
        lambda: snapshot.rows(EXTENT, {"feed": selection.feed})[0],
    )
    ends = [extent[side] for side in ("south", "north", "west", "east")]
    known = [float(end) for end in ends if isinstance(end, float)]
    if len(known) < len(ends):
        return {"lat": 0.0, "lon": 0.0, "zoom": 1.0}
    south, north, west, east = known
    return _view(south, north, west, east, size)


def _view(
    south: float, north: float, west: float, east: float, size: tuple[int, int]
) -> dict[str, float]:
    middle = (south + north) / 2
    # Degrees of latitude are drawn longer by the cosine, as Mercator does.
    tall = max(north - south, 1e-4) / math.cos(math.radians(middle))
    wide = max(east - west, 1e-4)
    fits = min(math.log2(360 * size[0] / (TILE * wide)), math.log2(360 * size[1] / (TILE * tall)))
    return {"lat": middle, "lon": (west + east) / 2, "zoom": round(min(fits - 0.25, MOST_ZOOM), 2)}
