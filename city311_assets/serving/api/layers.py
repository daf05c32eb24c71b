"""Layers: what is known of cells on a day, as GeoJSON that a map program opens.

What belongs here: what all layers have in common: the page, the metadata, the links. What does not:
which columns a layer has and where they come from (`risk_layers`, `record_layers`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode

import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.serving.api.answers import version_of
from city311_assets.serving.api.days import kept_column
from city311_assets.serving.api.endpoints import GEOJSON, Endpoint
from city311_assets.serving.api.geojson import LINK, collection, collection_schema, features
from city311_assets.serving.api.paging import FREE, cursor_at, place_of
from city311_assets.serving.api.parameters import BBOX, CURSOR, DOWNLOAD, LIMIT, Asked, Parameter
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.meta import ORIGIN

CALLS = (
    "A call is not a leak: neighbourhoods differ up to threefold in how soon they report one, and "
    "so does every number here."
)
PAGING = (BBOX, LIMIT, CURSOR, DOWNLOAD)
# Of the whole warehouse: whether its records are the sample city's.
ABOUT_PAGING = (
    " Features come in a fixed order; where there are more than `limit`, the link `next` leads on. "
    "`bbox` keeps features that touch the box. Numbers have six significant digits."
)


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of a layer that a question is about, before they are cut into pages.

    Attributes
    ----------
    frame
        `id`, `geometry` and the properties, in a total order.
    about
        What the layer says of itself: `date`, `feed`, `note` and so on.
    raw
        Columns whose texts are JSON, and stay it.
    """

    frame: pl.DataFrame
    about: Mapping[str, object]
    raw: tuple[str, ...] = ()


def layer(
    *,
    name: str,
    summary: str,
    doc: str,
    parameters: tuple[Parameter, ...],
    properties: Mapping[str, Any],
    find: Callable[[Snapshot, Asked], Found],
) -> Endpoint:
    """Return the route of a layer.

    Parameters
    ----------
    properties
        JSON schemas of the properties that people rely on.
    find
        Returns all rows that a question is about.
    """

    def make(snapshot: Snapshot, asked: Asked) -> bytes:
        found = find(snapshot, asked)
        return page(snapshot, asked, name, found)

    return Endpoint(
        path=f"/api/layers/{name}",
        name=name,
        summary=summary,
        doc=doc + ABOUT_PAGING,
        parameters=(*parameters, *PAGING),
        schema=schema(properties),
        make=make,
        media_type=GEOJSON,
    )


def page(snapshot: Snapshot, asked: Asked, name: str, found: Found) -> bytes:
    """Return one page of a layer: those rows, what the layer is, and where it goes on."""
    version = version_of(snapshot)
    matched = found.frame.height
    start = place_of(version, asked, matched)
    rows = found.frame.slice(start, asked["limit"])
    links = [{"rel": "self", "type": GEOJSON, "href": _href(asked, asked.given)}]
    if (end := start + rows.height) < matched:
        kept = {key: text for key, text in asked.given.items() if key != CURSOR.name}
        on = kept | {CURSOR.name: cursor_at(end, version, asked)}
        links.append({"rel": "next", "type": GEOJSON, "href": _href(asked, on)})
    if start:
        first = {k: text for k, text in asked.given.items() if k not in FREE or k == LIMIT.name}
        links.append({"rel": "first", "type": GEOJSON, "href": _href(asked, first)})
    return collection(
        features(rows, found.raw),
        layer=name,
        **found.about,
        is_sample=is_sample(snapshot),
        as_of=f"{snapshot.published_at:%Y-%m-%dT%H:%M:%SZ}",
        data_version=snapshot.data_version,
        numberMatched=matched,
        numberReturned=rows.height,
        links=links,
    )


def schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a layer whose features have these properties."""
    of_all = collection_schema(**properties)
    about = {
        "layer": {"type": "string"},
        "date": {"type": "string"},
        "as_of": {"type": "string", "format": "date-time"},
        "data_version": {"type": ["string", "null"]},
        "model_version": {"type": ["string", "null"]},
        "note": {"type": "string"},
        "numberMatched": {"type": "integer"},
        "numberReturned": {"type": "integer"},
        "links": {"type": "array", "items": LINK},
    }
    return of_all | {
        "required": [*of_all["required"], *about],
        "properties": of_all["properties"] | about,
    }


def source(feed: Feed) -> dict[str, object]:
    """Return what a layer says of the records it comes from."""
    return {
        "feed": feed.name,
        "attribution": feed.title,
        "licence": feed.licence,
        "record_url": feed.record_url,
    }


def versions(frame: pl.DataFrame, column: str = "model_version") -> str | None:
    """Return the version that the rows name; several with commas between, None without rows."""
    return ", ".join(frame[column].drop_nulls().unique().sort().to_list()) or None


def is_sample(snapshot: Snapshot) -> bool | None:
    """Whether the records are made up; None where the file does not say."""
    if not snapshot.has(ORIGIN):
        return None
    return next(iter(kept_column(snapshot, ("origin",), f"from {ORIGIN}", {})), None)


def of_day(day: date) -> str:
    """Return how a layer says its day."""
    return day.isoformat()


def _href(asked: Asked, given: Mapping[str, str]) -> str:
    return f"{asked.path}?{urlencode(given)}" if given else asked.path
