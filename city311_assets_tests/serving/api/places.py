"""A small published file for tests of the API, with hostile words, a stray cell and empty months.

- `chicago_311`: a study area; `leaks` scored and priced on `DAYS` (a gap between the first and the
  second), the first of them twice; a work list on the last; hot spots of March 2026; anomalies on
  `DAYS[-1]` only, tested on `DAYS[1]` too; the records of one cell.
- `STRAY`, a cell that the study area lacks, is scored on the last day.
- `sf_311`: a cluster, an effect, and the photos of four cases: one that can be shown, one whose
  path leads outside, one whose file is no photo, one whose file is gone.
- `chicago_crimes` and `nyc_311`: nothing.
"""

import datetime as dt
import json
import shutil
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import h3.api.basic_int as h3
import polars as pl
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.serving.api.app import add_api
from city311_assets.serving.snapshots import Snapshots
from city311_assets.settings import Settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets.warehouse.tables.atlas import CLUSTER_EVENTS, CLUSTER_NAMES, PHOTOS
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.causal import ATT, DESIGN, SENSITIVITY
from city311_assets.warehouse.tables.gold import ANOMALIES, CELL_DAYS, CELLS, HOTSPOTS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.risk import COSTS, OUTCOMES, RECOMMENDATIONS, SCORES
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.risk.town import study_area
from city311_assets_tests.silver.raw import TYPES

FEED, ATLAS_FEED, EMPTY_FEED = LEAKS.feed.name, "sf_311", "nyc_311"
DAYS = (dt.date(2026, 3, 1), dt.date(2026, 3, 4), dt.date(2026, 3, 5))
MONTH = dt.date(2026, 3, 1)
SCORED_AT = dt.datetime(2026, 3, 6, 3)
HOSTILE = '</script><img src=x onerror=alert(1)>"\\\u2028\x01 {"type":"Feature"} [a](javascript:b)'
STRAY = h3.latlng_to_cell(41.95, -87.75, 9)
HALF_SIDE = 0.012
MODEL = "leaks-2026-03-logistic"
PHOTO, OUTSIDE, NO_PHOTO, GONE = "100", "101", "102", "103"
# Clockwise, and with more decimals than are shown.
CLOCKWISE = {
    "type": "Polygon",
    "coordinates": [
        [[-87.7, 41.8], [-87.7, 41.9], [-87.6, 41.91234567891], [-87.6, 41.8], [-87.7, 41.8]]
    ],
}
VERSION = "update meta.publications set data_version = $version, published_at = now()::timestamp"
Rows = dict[Table, list[dict[str, Any]]]


@dataclass(frozen=True)
class Place:
    """A data folder with a published file."""

    folder: Path

    @cached_property
    def settings(self) -> Settings:
        return Settings(data_dir=self.folder)

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(database=str(self.settings.warehouse_path))

    @cached_property
    def server(self) -> FastAPI:
        """A server of the API alone."""
        server = FastAPI(docs_url=None, redoc_url=None)
        add_api(server, Snapshots(self.settings.snapshot_path), self.settings)
        return server

    @cached_property
    def client(self) -> TestClient:
        return TestClient(self.server, raise_server_exceptions=False)

    def write(self, rows: Rows) -> None:
        """Add rows to the warehouse, null or nothing where they do not say."""
        with self.warehouse.transaction() as session:
            session.prepare(*rows)
            for table, given in rows.items():
                frame = pl.DataFrame(
                    [_complete(table, row) for row in given],
                    schema={column.name: TYPES[column.type] for column in table.columns},
                )
                session.run(f"insert into {table} by name from given", given=frame)

    def publish(self, *statements: str, **params: object) -> None:
        """Publish the same file with some changes, as the publisher does: by renaming."""
        path = self.settings.snapshot_path
        newer = shutil.copyfile(path, path.with_suffix(".newer"))
        with duckdb.connect(str(newer)) as conn:
            for statement in statements:
                conn.execute(statement, params if "$" in statement else None)
            conn.execute(VERSION, {"version": uuid.uuid4().hex})
        newer.replace(path)

    def change(self) -> None:
        """Publish other data: the labels of all cells."""
        self.publish(f"update {CELLS} set label = 'changed'")

    def drop(self, *tables: Table) -> None:
        """Publish a file as an older version would, without some tables."""
        self.publish(*(f"drop table {table} cascade" for table in tables))


def build(folder: Path) -> Place:
    """Make the place in a folder, published, with its photos."""
    place = Place(folder)
    place.write(area() | risk() | records() | atlas())
    publish(place.warehouse, place.settings.snapshot_path)
    photos = place.settings.photos_path
    (photos / "ab").mkdir(parents=True)
    Image.new("RGB", (64, 48), (30, 120, 160)).save(photos / "ab" / "photo.jpg", "JPEG")
    Image.new("RGB", (64, 48), (200, 0, 0)).save(folder / "secret.jpg", "JPEG")
    (photos / "ab" / "page.jpg").write_text("<!doctype html><script>alert(1)</script>")
    return place


def cells(resolution: int) -> list[int]:
    """Return the cells of the study area, in order."""
    of_feed = study_area(HALF_SIDE, FEED)
    return of_feed.filter(pl.col("resolution") == resolution)["cell"].sort().to_list()


def area() -> Rows:
    """Return the study area; the first cell of resolution 9 has a hostile name."""
    rows = study_area(HALF_SIDE, FEED).to_dicts()
    first = cells(9)[0]
    for row in rows:
        row["label"] = HOSTILE if row["cell"] == first else row["label"]
    outline = {"city": "chicago", "areas": "ward", "area": HOSTILE, "code": "1", "part": 0}
    outline |= {"geometry": json.dumps(CLOCKWISE), "fetched_at": SCORED_AT}
    return {CELLS: rows, BOUNDARIES: [outline]}


def chance(place: int) -> float:
    """Return the chance of the cell at a place, on every day."""
    return 0.01 + 0.9 * place / 100


def risk() -> Rows:
    """Return scores, costs, outcomes and a work list."""
    rows: Rows = {SCORES: [], COSTS: [], OUTCOMES: [], RECOMMENDATIONS: []}
    for day in DAYS:
        scored = [*cells(9), STRAY] if day == DAYS[-1] else cells(9)
        for place, cell in enumerate(scored):
            key = {"target": LEAKS.name, "day": day, "cell": cell, "model_version": MODEL}
            p = chance(place)
            rows[SCORES].append(
                key
                | {"p_event_7d": p, "low": p / 2, "high": (1 + p) / 2, "expected_events_7d": p}
                | {"risk_band": "high" if p > 0.5 else "medium" if p > 0.2 else "low"}
                | {"decile": 1 + place * 10 // len(scored), "model_kind": "logistic"}
                | {"drivers": [{"driver": "calls", "effect": 0.123456, "words": HOSTILE}]}
                | {"is_newest": True, "as_of": SCORED_AT}
            )
            rows[COSTS].append(
                key | {"expected_cost_usd_7d": 1234.5678 * p, "p90_cost": 5000.0 * p}
            )
            rows[OUTCOMES].append(key | {"calls_after_7d": place % 3, "is_event": place % 3 > 0})
            del rows[OUTCOMES][-1]["model_version"]
    older = [row | {"model_version": "older", "is_newest": False} for row in rows[SCORES]]
    rows[SCORES] += [row for row in older if row["day"] == DAYS[0]]
    rows[RECOMMENDATIONS] = [_recommended(rank) for rank in (1, 2, 3)]
    return rows


def _recommended(rank: int) -> dict[str, Any]:
    cell = cells(9)[10 * rank]
    ring = [[lon, lat] for lat, lon in h3.cell_to_boundary(cell)]
    # Clockwise, at full precision: as nobody should get it.
    shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]][::-1]]}
    latitude, longitude = h3.cell_to_latlng(cell)
    return {
        "target": LEAKS.name,
        "day": DAYS[-1],
        "recommendation_id": f"cluster-{rank}",
        "rank": rank,
        "is_chosen": rank < 3,
        "action": "pressure_step" if rank == 1 else "leak_survey",
        "parameters": json.dumps({"cells": 1, "nights": 7} if rank == 1 else {"km": rank / 2}),
        "cells": [cell],
        "net_benefit_usd": 1000.0 / rank,
        "why": HOSTILE,
        "geometry": json.dumps(shape),
        "latitude": latitude,
        "longitude": longitude,
        "model_version": MODEL,
        "priors_version": "abc",
    }


def records() -> Rows:
    """Return hot spots, anomalies and the records of the first cell of resolution 9."""
    hot = [
        {"feed": FEED, "month": MONTH, "resolution": resolution, "cell": cell, "category": category}
        | {"null_model": null_model, "records": place, "z": place - 3.5, "q": 0.04, "p": 5e-53}
        | {"class": "hot_95" if place > 3 else "none", "is_provisional": False}
        for resolution in (7, 8, 9)
        for place, cell in enumerate(cells(resolution))
        for category in ("all", "noise")
        for null_model in ("baseline", "uniform")
    ]
    unusual = [
        {"feed": FEED, "day": day, "resolution": resolution, "cell": cell, "category": "all"}
        | {"records": 30, "expected": 10.0, "q": q, "direction": "more", "is_anomaly": q <= 0.05}
        | {"is_provisional": False, "tests": 5, "unusual_streets": [HOSTILE], "record_ids": ["1"]}
        for day, resolution, cell, q in (
            (DAYS[1], 0, 0, 0.9),
            (DAYS[2], 0, 0, 0.01),
            (DAYS[2], 7, cells(7)[0], 0.02),
            (DAYS[2], 7, cells(7)[1], 0.2),
        )
    ]
    of_cell = [
        {"feed": FEED, "day": day, "resolution": 9, "cell": cells(9)[0], "category": category}
        | {"records": count, "eligible": count, "successes": 1}
        for day, category, count in ((DAYS[1], "noise", 2), (DAYS[1], "water", 3))
    ]
    held = [{"feed": FEED, "day": day, "rows": 1, "asked_at": SCORED_AT} for day in DAYS]
    return {HOTSPOTS: hot, ANOMALIES: unusual, CELL_DAYS: of_cell, SLICES: held}


def atlas() -> Rows:
    """Return a cluster, an effect, and photos."""
    of_month = {"feed": ATLAS_FEED, "month": MONTH, "embedding_model": "local-1"}
    paths = {
        PHOTO: "ab/photo.jpg",
        OUTSIDE: "../secret.jpg",
        NO_PHOTO: "ab/page.jpg",
        GONE: "ab/gone.jpg",
    }
    return {
        CLUSTER_NAMES: [
            of_month | {"cluster_id": place, "name": HOSTILE, "size": 10 * place, "share": 0.5}
            for place in (1, 2)
        ],
        CLUSTER_EVENTS: [
            {"feed": ATLAS_FEED, "month": MONTH, "event": "birth", "cluster_id": 1, "size": 10}
        ],
        ATT: [
            of_month
            | {"neighborhood": "Mission", "estimator": estimator, "k": 3, "att_hours": 7.25}
            | {"is_headline": estimator == "bias_corrected", "is_provisional": False}
            for estimator in ("all_cases", "bias_corrected")
        ],
        SENSITIVITY: [{"feed": ATLAS_FEED, "month": MONTH, "neighborhood": "Mission"}],
        DESIGN: [of_month | {"is_provisional": False, "maturity_at_utc": SCORED_AT}],
        PHOTOS: [
            {"feed": ATLAS_FEED, "day": DAYS[0], "record_id": record, "url": f"https://x/{record}"}
            | {"status": "ok", "thumbnail_path": path}
            for record, path in paths.items()
        ],
    }


def _complete(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with nothing in what its table never leaves null, where it does not say."""
    empty: dict[str, Any] = {}
    for column in table.columns:
        if column.nullable:
            empty[column.name] = None
        elif column.type.endswith("[]"):
            empty[column.name] = []
        elif column.type == "VARCHAR":
            empty[column.name] = ""
        elif column.type == "BOOLEAN":
            empty[column.name] = False
        elif column.type == "DATE":
            empty[column.name] = DAYS[0]
        elif column.type == "TIMESTAMP":
            empty[column.name] = SCORED_AT
        else:
            empty[column.name] = 0
    return empty | row
