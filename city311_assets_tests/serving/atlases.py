"""Published files with an atlas in them, written by hand: cases around planted centres."""

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import h3.api.basic_int as h3
import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from city311_assets.warehouse.resource import CONNECTION
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
from city311_assets.warehouse.tables.table import Table

FEED = "sf_311"
MONTH = dt.date(2026, 3, 1)
FIRST_CLUSTER = 202_601_001
NAMES = ("Graffiti on walls", "Dumped mattresses", "Broken street lights", "Blocked driveways")
SECRETS = {
    "visible_text": "SECRETWRITING",
    "address": "12 SECRETSTREET",
    "status_notes": "SECRETNOTE",
}
SQUARE = (
    '{"type":"Polygon","coordinates":[[[-122.51,37.71],[-122.36,37.71],[-122.36,37.81],'
    "[-122.51,37.81],[-122.51,37.71]]]}"
)

Rows = dict[Table, list[dict[str, Any]]]


def atlas_rows(cases: int = 60, names: tuple[str, ...] = NAMES, seed: int = 311) -> Rows:
    """Return the rows of one month: cases in turn of each cluster, every tenth an outlier.

    Case `c0007` is in cluster `7 % 4`; every third has a photo `ab/<record>.jpg`.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 6, (len(names), 5))
    ids = [f"c{number:04}" for number in range(cases)]
    rows: Rows = {
        table: []
        for table in (
            REQUESTS,
            PROJECTIONS,
            CLUSTERS,
            CLUSTER_NAMES,
            CLUSTER_EVENTS,
            CAPTIONS,
            PHOTOS,
            BOUNDARIES,
        )
    }
    for number, record in enumerate(ids):
        cluster = number % len(names)
        is_outlier = number % 10 == 9
        key = {
            "feed": FEED,
            "day": MONTH + dt.timedelta(days=number % 31),
            "record_id": record,
        }
        latitude, longitude = 37.76 + rng.normal(0, 0.015), -122.43 + rng.normal(0, 0.02)
        opened = dt.datetime.combine(key["day"], dt.time(9))
        rows[REQUESTS].append(
            key
            | {
                "opened_at": opened,
                "opened_at_utc": opened,
                "category": f"category {cluster}",
                "taxonomy": "t",
                "kind": f"kind {cluster}",
                "address": SECRETS["address"],
                "street": SECRETS["address"],
                "status_notes": SECRETS["status_notes"],
                "neighborhood": f"Quarter {number % 7}",
                "latitude": latitude,
                "longitude": longitude,
                "cell": None if number == 1 else h3.latlng_to_cell(latitude, longitude, 10),
                "has_point": True,
                "hour": 9,
                "weekday": 1,
                "is_time_certain": True,
                "record_url": f"https://data.example.gov/resource/x.json?id={record}",
                "origin": "portal",
                "observed_until": dt.datetime(2026, 4, 1, 3),
                "hours_to_close": None if number % 5 == 0 else 10.0 + number,
                "is_administrative": False,
            }
        )
        spot = centres[cluster] + rng.normal(0, 8 if is_outlier else 1, 5)
        near = [ids[(number + step * len(names)) % cases] for step in range(1, 6)]
        month = key | {"month": MONTH, "embedding_model": "local-abc123"}
        rows[PROJECTIONS].append(
            month
            | dict(zip(("x", "y", "x3", "y3", "z3"), spot.tolist(), strict=True))
            | {"nearest_ids": near}
        )
        rows[CLUSTERS].append(
            month
            | {
                "cluster_id": None if is_outlier else FIRST_CLUSTER + cluster,
                "membership": 0.2 if is_outlier else 0.9,
                "is_outlier": is_outlier,
                "sampling_weight": 1.0,
                "is_provisional": False,
            }
        )
        has_photo = number % 3 == 0
        rows[CAPTIONS].append(
            key
            | {
                "described": f"photo-{record}" if has_photo else "case",
                "issues": [],
                "objects": [],
                "severity": 3 if has_photo else None,
                "visible_text": SECRETS["visible_text"],
                "caption": f"A picture of {names[cluster]}." if has_photo else "Words of the case.",
                "caption_method": "openai" if has_photo else "case_text",
                "caption_model": "gpt-6-luna" if has_photo else None,
                "prompt_version": "v1",
                "is_retried": False,
            }
        )
        rows[PHOTOS].append(
            key
            | {
                "url": f"https://photos.example.gov/{record}.jpg",
                "photo_id": f"photo-{record}" if has_photo else None,
                "status": "ok" if has_photo else "not_found",
                "path": f"ab/original-{record}.jpg" if has_photo else None,
                "thumbnail_path": f"ab/{record}.jpg" if has_photo else None,
            }
        )
    for place, name in enumerate(names):
        rows[CLUSTER_NAMES].append(
            {
                "feed": FEED,
                "month": MONTH,
                "cluster_id": FIRST_CLUSTER + place,
                "name": name,
                "description": f"Cases about {name.lower()}.",
                "keywords": name.lower().split(),
                "size": sum(one["cluster_id"] == FIRST_CLUSTER + place for one in rows[CLUSTERS]),
                "share": 1 / len(names),
                "growth": None if place == 0 else 0.25 * (place - 2),
                "median_severity": 3.0,
                "median_hours_to_close": 30.0 * place,
                "exemplar_ids": [ids[place], ids[place + len(names)]],
                "name_method": "c_tf_idf",
                "embedding_model": "local-abc123",
            }
        )
    rows[CLUSTER_EVENTS].append(
        {
            "feed": FEED,
            "month": MONTH,
            "event": "birth",
            "cluster_id": FIRST_CLUSTER + len(names) - 1,
            "other_ids": [FIRST_CLUSTER],
            "shared_cases": 5,
            "size": 13,
        }
    )
    rows[BOUNDARIES].append(
        {
            "city": "san_francisco",
            "areas": "neighborhood",
            "area": "All",
            "part": 0,
            "geometry": SQUARE,
            "dataset": "d",
            "fetched_from": "https://data.example.gov",
            "fetched_at": dt.datetime(2026, 4, 1),
        }
    )
    return rows


def write_snapshot(path: Path, rows: Rows) -> Path:
    """Write the rows as a published file, replacing what was there."""
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path), config=CONNECTION) as conn:
        for table, given in rows.items():
            conn.execute(f"create schema if not exists {table.layer}")
            conn.execute(table.ddl)
            if given:
                conn.register("given", pl.DataFrame(given, infer_schema_length=None))
                conn.execute(f"insert into {table} by name from given")
    return path


def draw_thumbnails(photos: Path, rows: Rows, pixels: int = 256) -> None:
    """Draw each photo's thumbnail, with a comment in its file that nobody should publish."""
    for number, photo in enumerate(rows[PHOTOS]):
        if not photo["thumbnail_path"]:
            continue
        path = photos / photo["thumbnail_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (pixels, pixels * 3 // 4), (number * 37 % 256, 120, 160))
        ImageDraw.Draw(picture).ellipse((40, 40, 160, 160), fill=(230, number * 11 % 256, 60))
        picture.save(path, "JPEG", comment=b"SECRETCOMMENT")
