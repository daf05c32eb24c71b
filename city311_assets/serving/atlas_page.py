"""The page of one atlas month: its cases, clusters and changes as one file that needs no network.

What belongs here: what the page says and how it is put together, from frames. What does not: where
the frames come from and where the page goes (`atlas_pages`), and what the browser does with it
(`atlas_page.js`).

Scripts run only where their hash stands in the page's policy. Plotly compiles its flat plots in the
browser, so the policy lets scripts that are already running evaluate code (`unsafe-eval`).
"""

import base64
import hashlib
import html
import io
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import polars as pl

from city311_assets.serving.page_parts import part, plotly_script, script_hash

logger = logging.getLogger(__name__)

# More turn slowly in a browser without a graphics card; points.parquet has all of them.
MOST_CASES = 20_000
MOST_THUMBNAILS = 2_000
MOST_THUMBNAIL_BYTES = 9_000_000
THUMBNAIL_PIXELS = 128
THUMBNAIL_QUALITY = 60
CULPRITS_SHOWN = 5

# Okabe and Ito's colours, without black and with the yellow darkened for a white ground, and Tol's.
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#332288",
    "#999933",
    "#882255",
    "#7A5230",
)
SYMBOLS = ("circle", "square", "diamond", "cross", "x")

# In JSON inside HTML: nothing that could end the element, begin another, or end a line of script.
ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src {hashes} 'unsafe-eval'; base-uri 'none'; form-action 'none'"
)
METHODS = {"case_text": "the case's own text", "openai": "a model's words"}
NAME_METHODS = {"c_tf_idf": "their own words (c-TF-IDF)", "openai": "a model"}


@dataclass(frozen=True, slots=True)
class AtlasMonth:
    """What one feed's map of one month holds, as the published file has it.

    `cases` has the columns of points.parquet and beside them `nearest_ids`, `embedding_model`,
    `caption_model`; `clusters` those of `atlas.cluster_names`, `events` those of
    `atlas.cluster_events` with `cluster` and `others` named. `outline` are rings of longitude and
    latitude. `left_out` counts cases of the map that silver has no more.
    """

    feed: str
    title: str
    month: date
    cases: pl.DataFrame
    clusters: pl.DataFrame
    events: pl.DataFrame
    outline: Sequence[Sequence[tuple[float, float]]] = field(default_factory=tuple)
    left_out: int = 0
    is_provisional: bool = False
    told_until: datetime | None = None

    @property
    def is_sample(self) -> bool:
        """Whether any case is made up."""
        return (self.cases["origin"] == "sample").any()


def marks(cluster_ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Return each cluster's colour and symbol, no two alike while there are enough.

    Older clusters choose first, each near the place its number gives: a cluster looks the same next
    month, whatever is born meanwhile.
    """
    taken: dict[int, tuple[str, str]] = {}
    free: list[str] = []
    for place, cluster in enumerate(sorted(set(cluster_ids))):
        free = free or [*COLOURS]
        wanted = cluster % len(COLOURS)
        colour = min(free, key=lambda one: (COLOURS.index(one) - wanted) % len(COLOURS))
        free.remove(colour)
        taken[cluster] = (colour, SYMBOLS[place // len(COLOURS) % len(SYMBOLS)])
    return taken


def drawn(cases: pl.DataFrame, most: int = MOST_CASES) -> pl.DataFrame:
    """Return the cases a page draws: all, or the same share of each cluster, by their ids."""
    if cases.height <= most:
        return cases
    chance = [hashlib.sha256(record.encode()).hexdigest() for record in cases["record_id"]]
    rank = pl.col("chance").rank("ordinal").over("cluster_id")
    share = most / cases.height
    kept = cases.with_columns(chance=pl.Series(chance)).filter(
        rank <= (share * pl.len().over("cluster_id")).ceil()
    )
    return kept.drop("chance")


def thumbnails(cases: pl.DataFrame, photos: Path) -> dict[str, str]:
    """Return the newest cases' thumbnails, small, as base64 of a JPEG, by record."""
    newest = cases.filter(pl.col("thumbnail").is_not_null()).sort(
        ["day", "record_id"], descending=True
    )
    kept: dict[str, str] = {}
    unreadable: list[str] = []
    left = MOST_THUMBNAIL_BYTES
    for record, name in newest.select("record_id", "thumbnail").head(MOST_THUMBNAILS).rows():
        picture = _small(photos, name)
        if picture is None:
            unreadable.append(name)
            continue
        left -= len(picture)
        if left < 0:
            break
        kept[record] = base64.b64encode(picture).decode()
    if unreadable:
        logger.warning(
            "%s thumbnails in %s are absent or unreadable, and left out of the page: %s",
            len(unreadable),
            photos,
            sorted(unreadable)[:CULPRITS_SHOWN],
        )
    return kept


def _small(photos: Path, name: str) -> bytes | None:
    """Return a thumbnail's pixels and nothing else of its file; None if it cannot be read."""
    from PIL import Image

    path = (photos / name).resolve()
    if not path.is_relative_to(photos.resolve()):
        return None
    try:
        with Image.open(path) as image:
            image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
            pixels = image.convert("RGB")
    except (OSError, Image.DecompressionBombError):
        return None
    # A new image: comments and other metadata follow a converted one into its file.
    clean = Image.new("RGB", pixels.size)
    clean.paste(pixels)
    buffer = io.BytesIO()
    clean.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return buffer.getvalue()


def page(month: AtlasMonth, photos: Path) -> str:
    """Return the page of one feed's month, with thumbnails from the folder of photos."""
    data = json.dumps(
        _data(month, photos), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    script = part("atlas_page.js")
    plotly = plotly_script()
    hashes = " ".join(script_hash(text) for text in (plotly, script))
    return Template(part("atlas_page.html")).substitute(
        title=html.escape(f"{month.title}: what cases are about, {month.month:%B %Y}"),
        policy=POLICY.format(hashes=hashes),
        style=part("atlas_page.css"),
        data=data.translate(ESCAPES),
        plotly=plotly,
        script=script,
    )


@cache
def page_version() -> str:
    """Return a hash of everything in a page that is not its month's: another needs a new page."""
    names = ("atlas_page.html", "atlas_page.css", "atlas_page.js", "atlas_page.py", "page_parts.py")
    parts = [*map(part, names), plotly_script()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _data(month: AtlasMonth, photos: Path) -> dict[str, Any]:
    """Return all that the page's script is told."""
    cases = drawn(month.cases).sort(["day", "record_id"], descending=True)
    pictures = thumbnails(cases, photos)
    clusters = month.clusters.sort(["size", "cluster_id"], descending=[True, False])
    looks = marks(clusters["cluster_id"])
    listed = [
        {
            "id": row["cluster_id"],
            "colour": looks[row["cluster_id"]][0],
            "symbol": looks[row["cluster_id"]][1],
            "exemplars": row["exemplar_ids"],
        }
        | {
            name: row[name]
            for name in (
                "name",
                "description",
                "keywords",
                "size",
                "share",
                "growth",
                "median_severity",
                "median_hours_to_close",
            )
        }
        for row in clusters.iter_rows(named=True)
    ]
    outliers = int(month.cases["cluster_id"].is_null().sum())
    return {
        "is_sample": month.is_sample,
        "facts": _facts(month),
        "banners": _banners(month),
        "notes": _notes(month, cases, len(pictures)),
        "clusters": listed,
        "outliers": {"size": outliers, "share": outliers / max(month.cases.height, 1)},
        "events": [
            {"event": row["event"], "name": row["cluster"], "others": row["others"]}
            | {"size": row["size"]}
            for row in month.events.iter_rows(named=True)
        ],
        "outline": month.outline,
        "cases": _columns(cases, clusters["cluster_id"].to_list(), pictures),
    }


def _columns(
    cases: pl.DataFrame, cluster_ids: list[int], pictures: dict[str, str]
) -> dict[str, Any]:
    """Return the cases column by column; what repeats by a number into its values."""
    records = cases["record_id"].to_list()
    place = {record: number for number, record in enumerate(records)}
    cluster_place = {cluster: number for number, cluster in enumerate(cluster_ids)}
    as_they_are = ("caption", "severity", "photo_url", "record_url")
    rounded = {"x": 3, "y": 3, "x3": 3, "y3": 3, "z3": 3, "latitude": 5, "longitude": 5}
    coded = ("kind", "category", "neighborhood", "caption_method", "caption_model")
    return (
        {
            "record_id": records,
            "day": cases["day"].cast(pl.String).to_list(),
            "cluster": [cluster_place.get(one) for one in cases["cluster_id"]],
            "hours_to_close": cases["hours_to_close"].round(1).to_list(),
            "nearest": [[place.get(one, one) for one in near] for near in cases["nearest_ids"]],
            "thumbnail": [pictures.get(record) for record in records],
        }
        | {name: cases[name].to_list() for name in as_they_are}
        | {
            name: cases[name].cast(pl.Float64).round(digits).to_list()
            for name, digits in rounded.items()
        }
        | {name: _coded(cases[name]) for name in coded}
    )


def _coded(column: pl.Series) -> dict[str, list[Any]]:
    values = column.drop_nulls().unique().sort().to_list()
    code = {value: number for number, value in enumerate(values)}
    return {"values": values, "codes": [code.get(value) for value in column]}


def _facts(month: AtlasMonth) -> str:
    first, last = month.cases["day"].min(), month.cases["day"].max()
    told = f" · as the portal told it by {month.told_until:%Y-%m-%d %H:%M} UTC"
    return (
        f"{month.cases.height:,} cases opened {first} to {last} · "
        f"{month.clusters.height:,} clusters{told if month.told_until else ''}"
    )


def _banners(month: AtlasMonth) -> list[tuple[str, str]]:
    said = {
        ("SAMPLE DATA", "These cases are made up; no city reported them."): month.is_sample,
        ("PROVISIONAL", "The month is not over or not told in full; it will change."): (
            month.is_provisional
        ),
    }
    return [banner for banner, is_shown in said.items() if is_shown]


def _notes(month: AtlasMonth, cases: pl.DataFrame, pictures: int) -> list[str]:
    """Return what a reader must know of the page, a sentence each."""
    with_photo = cases["thumbnail"].count()
    captions = by_method(month.cases, METHODS, "caption_method", "caption_model")
    names = by_method(month.clusters, NAME_METHODS, "name_method", "name_model")
    sampled = (
        f"{cases.height:,} of {month.cases.height:,} cases are drawn here, the same share of each "
        "cluster; points.parquet beside this page has all of them."
    )
    pictured = (
        f"{pictures:,} of the {with_photo:,} drawn cases with a photo show a small picture, the "
        "newest first; the others show none."
    )
    placed = (
        "A place is the centre of an H3 cell of resolution 10, about 130 m across, never the "
        "address."
    )
    left_out = f"{month.left_out:,} cases of the map are no longer among the city's and left out."
    return [
        f"Captions: {captions}.",
        f"Embedding model: {', '.join(month.cases['embedding_model'].unique().sort())}.",
        f"Clusters named by: {names}.",
        "All cases of the map are drawn." if cases.height == month.cases.height else sampled,
        pictured,
        "Photos are linked, not published: they may not be free to copy.",
        placed,
        *([left_out] if month.left_out else []),
    ]


def by_method(rows: pl.DataFrame, words: dict[str, str], method: str, model: str) -> str:
    """Say by which methods and models rows came about, and how many by each."""
    counts = rows.group_by(method, model).len().sort("len", method, model, descending=True)
    said = []
    for used, asked, count in counts.rows():
        source = ", ".join(name for name in (used, asked) if name)
        said.append(f"{words.get(used, used)} ({source}) {count:,}" if used else f"none {count:,}")
    return "; ".join(said) or "none"
