"""The published atlas: a folder a feed and month, with a page, its points and, if any, effects.

What belongs here: what of the published file leaves the house, and how it gets to its place: a
month's folder is finished elsewhere and renamed, so a reader finds the old one or the new one. What
does not: what the pages look like (`atlas_page`, `effects_page`).
"""

import hashlib
import html
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import duckdb
import h3.api.basic_int as h3
import polars as pl
import shapely
from filelock import FileLock

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import feed_named
from city311_assets.serving.atlas_page import AtlasMonth, page, page_version
from city311_assets.serving.effects_page import EffectsMonth
from city311_assets.serving.effects_pages import (
    EFFECTS,
    Read,
    content_hash,
    read_effects,
    write_effects,
)
from city311_assets.warehouse.resource import CONNECTION, frame_of
from city311_assets.warehouse.tables.atlas import (
    CAPTIONS,
    CLUSTER_EVENTS,
    CLUSTER_NAMES,
    CLUSTERS,
    PHOTOS,
    PROJECTIONS,
)
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.silver import REQUESTS

NEEDED = (PHOTOS, CAPTIONS, CLUSTERS, CLUSTER_NAMES, CLUSTER_EVENTS, PROJECTIONS, REQUESTS)
POINTS, PAGE, SOURCE = "points.parquet", "index.html", "source.json"
# The page's link to effects, hidden unless these lie beside it.
NO_LINK, LINK = f'<a href="{EFFECTS}" hidden>', f'<a href="{EFFECTS}">'
COLUMNS = (
    "record_id",
    "day",
    "x",
    "y",
    "x3",
    "y3",
    "z3",
    "cluster_id",
    "cluster",
    "is_outlier",
    "membership",
    "caption",
    "caption_method",
    "severity",
    "category",
    "kind",
    "neighborhood",
    "hours_to_close",
    "latitude",
    "longitude",
    "thumbnail",
    "photo_url",
    "record_url",
    "origin",
)
# Finer cells are addresses.
FINEST_RESOLUTION = 10
# About 30 m: finer than a pixel of the page's map of a city.
OUTLINE_TOLERANCE_DEGREES = 0.0003
UNFINISHED = ".publishing-"
REPLACED = ".replaced-"
MONTH_FOLDER = re.compile(r"\d{4}-\d{2}")

MONTHS = f"select feed, month from {PROJECTIONS} group by all order by all"
IN_MONTH = "where feed = $feed and month = $month"
# Of a cluster that died the last name it had.
NAMES = f"""
    select cluster_id, arg_max(name, month) as name from {CLUSTER_NAMES}
    where feed = $feed and month <= $month group by cluster_id
"""
EVENTS = f"""
    select event, cluster_id, other_ids, shared_cases, size
    from {CLUSTER_EVENTS} {IN_MONTH} order by event, size desc, cluster_id
"""
AREAS = f"select geometry from {BOUNDARIES} where city = $city and areas = $areas order by all"
LATEST = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Newest month</title>
<meta http-equiv="refresh" content="0; url=../{month}/index.html"></head>
<body><a href="../{month}/index.html">{month}</a></body></html>
"""


def publish_atlas(snapshot: Path, photos: Path, published: Path) -> list[Path]:
    """Publish every month of the atlas whose content changed; return the pages written.

    Nothing is written, and nothing removed, where the file has no atlas. Else a month that is in it
    no more loses its folder: what the city withdrew is not kept on a page.
    """
    root = published / "atlas"
    if not snapshot.exists():
        return []
    with duckdb.connect(str(snapshot), read_only=True, config=CONNECTION) as conn:
        held = _months(conn)
        if not held:
            return []
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):
            _tidy(root)
            written = [
                written
                for feed, month in held
                if (written := _publish_month(conn, feed_named(feed), month, photos, root))
            ]
            _keep_only(root, {(feed, f"{month:%Y-%m}") for feed, month in held})
            _list_months(root)
    return written


def read_month(conn: duckdb.DuckDBPyConnection, feed: Feed, month: date) -> AtlasMonth:
    """Read one feed's map of one month, as far as it may be published, with the city's outline."""
    read = partial(frame_of, conn)
    return replace(month_of(read, feed, month), outline=_outline(read, feed))


def month_of(read: Read, feed: Feed, month: date) -> AtlasMonth:
    """Read one feed's map of one month, as far as it may be published, without an outline."""
    of_month = {"feed": feed.name, "month": month}
    points = files("city311_assets.serving").joinpath("atlas_points.sql").read_text("utf-8")
    cases = read(points, of_month)
    mapped = read(f"select count(*) from {PROJECTIONS} {IN_MONTH}", of_month).item()
    return AtlasMonth(
        feed=feed.name,
        title=feed.title,
        month=month,
        cases=_in_cells(cases).with_columns(pl.selectors.float().fill_nan(None)),
        clusters=read(f"from {CLUSTER_NAMES} {IN_MONTH}", of_month),
        events=_events(read, of_month),
        left_out=mapped - cases.height,
        is_provisional=cases["is_provisional"].any(),
        told_until=_newest(cases["observed_until"]),
    )


def _months(conn: duckdb.DuckDBPyConnection) -> list[tuple[str, date]]:
    """Return the feeds and months that have a map; none where a table of the atlas is missing."""
    if not all(_holds(partial(frame_of, conn), str(table)) for table in NEEDED):
        return []
    return conn.execute(MONTHS).fetchall()


def _holds(read: Read, table: str) -> bool:
    found = "from duckdb_tables() where schema_name || '.' || table_name = $table"
    return not read(found, {"table": table}).is_empty()


def _events(read: Read, of_month: dict[str, Any]) -> pl.DataFrame:
    """Return a month's changes of clusters, with what their clusters are called."""
    names = dict(read(NAMES, of_month).rows())

    def called(cluster: int) -> str:
        return names.get(cluster, f"cluster {cluster}")

    events = read(EVENTS, of_month)
    return events.with_columns(
        cluster=pl.Series([*map(called, events["cluster_id"])], dtype=pl.String),
        others=pl.Series(
            [[*map(called, others)] for others in events["other_ids"]], dtype=pl.List(pl.String)
        ),
    )


def _newest(times: pl.Series) -> datetime | None:
    newest = times.max()
    return newest if isinstance(newest, datetime) else None


def _in_cells(cases: pl.DataFrame) -> pl.DataFrame:
    """Place cases in cells none finer than resolution 10, and at the centres of these."""
    coarse = {}
    for cell in cases["cell"].drop_nulls().unique():
        is_finer = h3.get_resolution(cell) > FINEST_RESOLUTION
        coarse[cell] = h3.cell_to_parent(cell, FINEST_RESOLUTION) if is_finer else cell
    centres = [h3.cell_to_latlng(cell) for cell in coarse.values()]
    places = pl.DataFrame(
        {
            "cell": list(coarse),
            "coarse": list(coarse.values()),
            "latitude": [latitude for latitude, _ in centres],
            "longitude": [longitude for _, longitude in centres],
        },
        schema={"cell": pl.UInt64, "coarse": pl.UInt64}
        | dict.fromkeys(("latitude", "longitude"), pl.Float64),
    )
    placed = cases.join(places, on="cell", how="left", maintain_order="left")
    return placed.drop("cell").rename({"coarse": "cell"})


def _outline(read: Read, feed: Feed) -> list[list[tuple[float, float]]]:
    """Return the city's areas as rings of longitude and latitude; none where none are known."""
    if not feed.city.boundaries or not _holds(read, str(BOUNDARIES)):
        return []
    asked = {"city": feed.city.name, "areas": feed.city.boundaries[0].areas}
    areas = read(AREAS, asked)["geometry"].to_list()
    shapes = shapely.simplify(shapely.from_geojson(areas), OUTLINE_TOLERANCE_DEGREES)
    rings = shapely.get_rings(shapely.get_parts(shapes))
    return [
        [(round(longitude, 4), round(latitude, 4)) for longitude, latitude in ring.coords]
        for ring in rings
    ]


def _publish_month(
    conn: duckdb.DuckDBPyConnection, feed: Feed, month: date, photos: Path, root: Path
) -> Path | None:
    """Write one month's folder unless it holds the same already; return its page if written."""
    atlas = read_month(conn, feed, month)
    effects = read_effects(conn, atlas)
    place = root / feed.name / f"{month:%Y-%m}"
    content = _content_hash(atlas, effects)
    if _source(place).get("content") == content:
        return None
    with _replaced(place) as folder:
        atlas.cases.select(COLUMNS).write_parquet(folder / POINTS)
        drawn = page(atlas, photos)
        if effects:
            write_effects(effects, photos, folder)
            drawn = drawn.replace(NO_LINK, LINK, 1)
        (folder / PAGE).write_text(drawn, "utf-8")
        source = {
            "content": content,
            "title": atlas.title,
            "cases": atlas.cases.height,
            "clusters": atlas.clusters.height,
            "compared": effects.headline.height if effects else None,
            "is_sample": atlas.is_sample,
            "is_provisional": atlas.is_provisional,
            "written_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        (folder / SOURCE).write_text(json.dumps(source, indent=1), "utf-8")
    return place / PAGE


def _content_hash(atlas: AtlasMonth, effects: EffectsMonth | None) -> str:
    """Return a hash of what is published of a month; when the portal was asked is no part of it."""
    digest = hashlib.sha256(f"{page_version()} {content_hash(effects)}".encode())
    cases = atlas.cases.drop("observed_until", "cell").sort("record_id", "day")
    for rows in (cases, atlas.clusters.sort("cluster_id"), atlas.events):
        digest.update(rows.write_ndjson().encode())
    rest = [atlas.title, atlas.outline, atlas.left_out, atlas.is_provisional]
    digest.update(json.dumps(rest).encode())
    return digest.hexdigest()


def _source(place: Path) -> dict[str, Any]:
    """Return what a published folder says of itself; nothing if it is not whole."""
    if not all((place / name).is_file() for name in (POINTS, PAGE, SOURCE)):
        return {}
    source = json.loads((place / SOURCE).read_text("utf-8"))
    is_whole = source.get("compared") is None or (place / EFFECTS).is_file()
    return source if is_whole else {}


@contextmanager
def _replaced(place: Path) -> Iterator[Path]:
    """Give an empty folder to fill, and put it in the place of the old one if nothing failed."""
    new = place.with_name(f"{UNFINISHED}{place.name}")
    old = place.with_name(f"{REPLACED}{place.name}")
    new.mkdir(parents=True)
    try:
        yield new
        for file in [*new.iterdir(), new]:
            _sync(file)
        # Between the two renames there is no folder: `_tidy` puts the old one back after a kill.
        if place.exists():
            place.rename(old)
        new.rename(place)
        _sync(place.parent)
    finally:
        _tidy_folder(place.parent)


def _tidy(root: Path) -> None:
    """Remove what killed publications left behind."""
    for folder in root.iterdir():
        if folder.is_dir():
            _tidy_folder(folder)


def _tidy_folder(folder: Path) -> None:
    """Put back old folders whose place is empty; remove those replaced and those unfinished."""
    for old in folder.glob(f"{REPLACED}*"):
        place = old.with_name(old.name.removeprefix(REPLACED))
        if place.exists():
            shutil.rmtree(old)
        else:
            old.rename(place)
    for new in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(new)


def _sync(path: Path) -> None:
    """Make what was written or renamed outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _keep_only(root: Path, held: set[tuple[str, str]]) -> None:
    """Remove months that the published file has no more."""
    for feed, place in _published(root):
        if (feed, place.name) not in held:
            shutil.rmtree(place)


def _published(root: Path) -> list[tuple[str, Path]]:
    """Return the feeds and folders of all published months, in order."""
    return sorted(
        (source.parent.parent.name, source.parent)
        for source in root.glob(f"*/*/{SOURCE}")
        if MONTH_FOLDER.fullmatch(source.parent.name)
    )


def _list_months(root: Path) -> None:
    """Write the list of feeds and months, and each feed's way to its newest month."""
    by_feed: dict[str, list[Path]] = {}
    for feed, place in _published(root):
        by_feed.setdefault(feed, []).append(place)
    sections = []
    for feed, places in by_feed.items():
        _write(root / feed / "latest" / PAGE, LATEST.format(month=places[-1].name))
        rows = "\n".join(_row(feed, place) for place in reversed(places))
        title = html.escape(_source(places[-1])["title"])
        sections.append(
            f'<h2 id="{feed}">{title}</h2>\n<table><thead><tr><th>Month</th><th>Cases</th>'
            "<th>Clusters</th><th>Points</th><th>Neighbourhoods compared</th><th></th></tr>"
            f"</thead>\n<tbody>\n{rows}\n</tbody></table>"
        )
    parts = files("city311_assets.serving")
    listed = Template(parts.joinpath("atlas_index.html").read_text("utf-8")).substitute(
        style=parts.joinpath("atlas_page.css").read_text("utf-8"), feeds="\n".join(sections)
    )
    _write(root / PAGE, listed)


def _row(feed: str, place: Path) -> str:
    source = _source(place)
    said = {"sample data": source["is_sample"], "provisional": source["is_provisional"]}
    compared = source.get("compared")
    link = f'<a href="{feed}/{place.name}/{EFFECTS}">'
    effects = "none" if compared is None else f"{link}{compared:,}</a>"
    return (
        f'<tr><td><a href="{feed}/{place.name}/{PAGE}">{place.name}</a></td>'
        f"<td>{source['cases']:,}</td><td>{source['clusters']:,}</td>"
        f'<td><a href="{feed}/{place.name}/{POINTS}">Parquet</a></td>'
        f"<td>{effects}</td>"
        f"<td>{', '.join(words for words, is_so in said.items() if is_so)}</td></tr>"
    )


def _write(path: Path, text: str) -> None:
    """Write a file unless it says the same already: the old text or the new one, never half."""
    if path.is_file() and path.read_text("utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{UNFINISHED}{path.name}")
    new.write_text(text, "utf-8")
    new.replace(path)
