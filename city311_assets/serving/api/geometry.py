"""Outlines for maps: a feed's cells, and the areas that its city publishes."""

import h3.api.basic_int as h3
import polars as pl

from city311_assets.feeds.registry import FEEDS, feed_named
from city311_assets.gold.methods.counts import RESOLUTIONS
from city311_assets.serving.api.days import require
from city311_assets.serving.api.endpoints import GEOJSON, Endpoint
from city311_assets.serving.api.geojson import (
    OUTLINES,
    collection,
    collection_schema,
    features,
    tidied,
)
from city311_assets.serving.api.parameters import Asked, cell, choice
from city311_assets.serving.api.problems import ProblemError
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.gold import CELLS

BELOW = OUTLINES.replace("order by", "and cell_parent(cell, $coarse) = $parent order by")
AREAS = f"""
    select areas || ' ' || area || case when part = 0 then '' else ' ' || part end as id,
        areas, area as label, code, geometry
    from {BOUNDARIES} where city = $city order by areas, area, part
"""


def cells(snapshot: Snapshot, asked: Asked) -> bytes:
    """Return the outlines of a feed's cells, all or those below a parent."""
    require(snapshot, CELLS)
    feed, resolution, parent = asked["feed"], asked["resolution"], asked["parent"]
    params: dict[str, object] = {"feed": feed, "resolution": resolution}
    if parent is None:
        found = snapshot.frame(OUTLINES, params)
    else:
        coarse = h3.get_resolution(parent)
        if coarse >= resolution:
            raise ProblemError(
                422,
                f"parent is of resolution {coarse}; it must be coarser than {resolution}",
                parameter="parent",
                given=format(parent, "x"),
                accepted=f"a cell of resolutions {min(RESOLUTIONS)} to {resolution - 1}",
            )
        found = snapshot.frame(BELOW, params | {"coarse": coarse, "parent": parent})
    if found.is_empty():
        below = f" below {parent:x}" if parent else ""
        raise ProblemError(
            404,
            f"the study area of {feed} has no cells of resolution {resolution}{below}",
            parameter="parent" if parent else "feed",
            given=f"{parent:x}" if parent else feed,
        )
    return collection(features(found.drop("cell")), data_version=snapshot.data_version)


def boundaries(snapshot: Snapshot, asked: Asked) -> bytes:
    """Return the areas that a feed's city publishes; none where none are known."""
    city = feed_named(asked["feed"]).city.name
    text = ""
    if snapshot.has(BOUNDARIES):
        found = snapshot.frame(AREAS, {"city": city})
        drawn = pl.Series("geometry", tidied(found["geometry"]), pl.String)
        text = features(found.with_columns(drawn))
    return collection(text, data_version=snapshot.data_version)


OF_FEED = choice("feed", "Feed of records.", FEEDS, place="path")
CELL_OUTLINES = Endpoint(
    path="/api/geo/{feed}/{resolution}.json",
    name="cells",
    summary="The outlines of a feed's cells",
    doc="A feature's `id` is the H3 cell in hex, its `label` what people call the cell; null where "
    "nothing is known. All of a city at resolution 10 are megabytes: ask for those below a parent.",
    parameters=(
        OF_FEED,
        choice("resolution", "H3 resolution of the cells.", RESOLUTIONS, place="path"),
        cell("parent", "Only cells below this one, hex."),
    ),
    schema=collection_schema(label={"type": ["string", "null"]}),
    make=cells,
    media_type=GEOJSON,
)
BOUNDARY_OUTLINES = Endpoint(
    path="/api/geo/{feed}/boundaries.json",
    name="boundaries",
    summary="The areas that a feed's city publishes",
    doc="Neighbourhoods, districts, wards. An empty collection where none are known yet.",
    parameters=(OF_FEED,),
    schema=collection_schema(label={"type": "string"}, areas={"type": "string"}),
    make=boundaries,
    media_type=GEOJSON,
)
