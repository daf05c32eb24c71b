"""GeoJSON (RFC 7946) put together as text: a dict a feature would cost more than the query.

What belongs here: features, collections, outlines of cells and of areas. What does not: what is
said of a feature.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import polars.selectors as cs

from city311_assets.serving.api.days import require
from city311_assets.serving.api.parameters import Box
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.gold import CELLS

DECIMALS = 6
SIGNIFICANT = 6
OUTLINES = f"""
    select cell, lower(to_hex(cell)) as id, label, boundary as geometry
    from {CELLS} where feed = $feed and resolution = $resolution order by cell
"""
LINK = {
    "type": "object",
    "required": ["rel", "href"],
    "properties": {"rel": {"type": "string"}, "href": {"type": "string"}},
}
FEATURE = {
    "type": "object",
    "required": ["type", "geometry", "properties"],
    "properties": {
        "type": {"const": "Feature"},
        "id": {"type": "string"},
        "geometry": {"type": "object", "required": ["type", "coordinates"]},
        "properties": {"type": "object"},
    },
}


def collection_schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a collection whose features have these properties among others."""
    of_feature = dict(FEATURE["properties"]) | {
        "properties": {
            "type": "object",
            "required": list(properties),
            "properties": dict(properties),
        }
    }
    return {
        "type": "object",
        "required": ["type", "features"],
        "properties": {
            "type": {"const": "FeatureCollection"},
            "features": {"type": "array", "items": FEATURE | {"properties": of_feature}},
        },
    }


def features(frame: pl.DataFrame, raw: Sequence[str] = ()) -> str:
    """Return features as they stand in a collection, with commas between them.

    Parameters
    ----------
    frame
        `id` (text), `geometry` (GeoJSON text), and the properties; numbers are shown with
        six significant digits, degrees with six decimals, and what is no number as null.
    raw
        Properties whose texts are JSON already.
    """
    if frame.is_empty():
        return ""
    places = cs.by_name("latitude", "longitude", require_all=False)
    own = frame.drop("id", "geometry", *raw).with_columns(
        (cs.float() - places).round_sig_figs(SIGNIFICANT), places.round(DECIMALS)
    )
    encoded = frame.select(
        "geometry",
        *raw,
        quoted=pl.struct(pl.col("id")).struct.json_encode().str.slice(len('{"id":')).str.head(-1),
        properties=own.select(pl.struct(pl.all()).struct.json_encode()).to_series(),
    )
    more = [text for name in raw for text in (pl.lit(f',"{name}":'), pl.col(name))]
    return encoded.select(
        pl.concat_str(
            pl.lit('{"type":"Feature","id":'),
            "quoted",
            pl.lit(',"geometry":'),
            "geometry",
            pl.lit(',"properties":'),
            pl.col("properties").str.head(-1),
            *more,
            pl.lit("}}"),
        ).str.join(",")
    ).item()


def collection(text: str, **members: object) -> bytes:
    """Return a collection of features, with members that say what it is."""
    head = json.dumps({"type": "FeatureCollection", **members}, separators=(",", ":"))
    return f'{head[:-1]},"features":[{text}]}}'.encode()


def outlines(snapshot: Snapshot, feed: str, resolution: int) -> pl.DataFrame:
    """Return `cell, id, label, geometry` of a feed's study area, in order; `id` is hex."""
    require(snapshot, CELLS)
    of_feed = {"feed": feed, "resolution": resolution}
    return snapshot.once(("outlines", feed, resolution), lambda: snapshot.frame(OUTLINES, of_feed))


def on_map(
    snapshot: Snapshot, rows: pl.DataFrame, feed: str, resolution: int, box: Box | None
) -> pl.DataFrame:
    """Add `id`, `label` and `geometry` to rows, keep those that touch a box, in their order.

    Cells that the study area does not have yet, because it is refreshed once a week, are drawn too.

    Parameters
    ----------
    rows
        With a `cell`, a number; in what is returned it is hex, as `id`.
    """
    area = outlines(snapshot, feed, resolution)
    strays = rows.join(area, on="cell", how="anti")["cell"].unique().sort().to_list()
    own = pl.DataFrame(
        {
            "cell": strays,
            "id": [format(cell, "x") for cell in strays],
            "label": [None] * len(strays),
            "geometry": [outline(cell) for cell in strays],
        },
        schema=area.schema,
    )
    if box is not None:
        boxes = snapshot.once(("boxes", feed, resolution), lambda: _boxes(area))
        cells = pl.concat([boxes, _boxes(own)]).filter(
            pl.col("west") <= box.east,
            pl.col("east") >= box.west,
            pl.col("south") <= box.north,
            pl.col("north") >= box.south,
        )
        rows = rows.join(cells, on="cell", how="semi", maintain_order="left")
    drawn = rows.join(pl.concat([area, own]), on="cell", how="left", maintain_order="left")
    return drawn.with_columns(pl.col("id").alias("cell"))


def _boxes(cells: pl.DataFrame) -> pl.DataFrame:
    """Return `cell, west, south, east, north` of cells with outlines."""
    names = ("west", "south", "east", "north")
    if cells.is_empty():
        return cells.select("cell", *(pl.lit(0.0).alias(name) for name in names))
    rings = (
        cells["geometry"].str.extract(r"\[\[\[(.*)\]\]\]").str.replace_all("],[", ",", literal=True)
    )
    numbers = rings.str.split(",").explode().cast(pl.Float64).to_numpy()
    pairs = (rings.str.count_matches(",").to_numpy().astype(np.int64) + 1) // 2
    starts = np.cumsum(pairs) - pairs
    lon, lat = numbers[::2], numbers[1::2]
    ends = (
        np.minimum.reduceat(lon, starts),
        np.minimum.reduceat(lat, starts),
        np.maximum.reduceat(lon, starts),
        np.maximum.reduceat(lat, starts),
    )
    return cells.select("cell").with_columns(
        pl.Series(name, values) for name, values in zip(names, ends, strict=True)
    )


def outline(cell: int) -> str:
    """Return a cell's outline, as `gold.cells` has it: counter-clockwise, closed, six decimals."""
    ring = [[round(lon, DECIMALS), round(lat, DECIMALS)] for lat, lon in h3.cell_to_boundary(cell)]
    return json.dumps({"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, separators=(",", ":"))


def tidied(geometries: Iterable[str]) -> list[str]:
    """Return areas with counter-clockwise outer rings and six decimals.

    Raises
    ------
    shapely.GEOSException
        One cannot be read.
    """
    import shapely

    texts = np.array(list(geometries), dtype=object)
    if not texts.size:
        return []
    found = shapely.from_geojson(texts)
    rounded = shapely.transform(found, lambda at: np.round(at, DECIMALS))
    valid = np.where(shapely.is_valid(rounded), rounded, shapely.make_valid(rounded))
    return shapely.to_geojson(shapely.orient_polygons(valid, exterior_cw=False)).tolist()


def boxes_touch(geometries: Iterable[str], box: Box) -> list[bool]:
    """Return which geometries touch a box."""
    import shapely

    texts = np.array(list(geometries), dtype=object)
    area = shapely.box(box.west, box.south, box.east, box.north)
    return shapely.intersects(shapely.from_geojson(texts), area).tolist() if texts.size else []
