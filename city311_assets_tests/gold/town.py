"""A small town for tests of gold: silver records of a square of a city, drawn from a seed."""

import datetime as dt
import json
from collections.abc import Sequence

import numpy as np
import polars as pl

from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.silver.cells import cells_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.silver import INCIDENTS, REQUESTS
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.silver.raw import filled

MIDDLES = {SF_311.name: (37.76, -122.43), CHICAGO_CRIMES.name: (41.88, -87.65)}
TABLES: dict[str, Table] = {SF_311.name: REQUESTS, CHICAGO_CRIMES.name: INCIDENTS}
HALF_SIDE = 0.012
CATEGORIES = ("cleaning", "graffiti_and_postings", "noise")
OBSERVED = dt.datetime(2026, 6, 1)


def square(feed: Feed = SF_311) -> str:
    """The town's outline, GeoJSON."""
    north, east = MIDDLES[feed.name]
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    ring = [[east + x * HALF_SIDE, north + y * HALF_SIDE] for x, y in corners]
    return json.dumps({"type": "Polygon", "coordinates": [ring]})


def silver(
    days: Sequence[dt.date],
    per_day: int = 60,
    feed: Feed = SF_311,
    seed: int = 7,
    observed_until: dt.datetime = OBSERVED,
) -> pl.DataFrame:
    """Silver records of some days, in the table's columns; one in twenty has no point."""
    rng = np.random.default_rng(seed)
    north, east = MIDDLES[feed.name]
    rows = []
    for day in days:
        for index in range(per_day):
            hour = int(rng.integers(0, 24))
            opened = dt.datetime(day.year, day.month, day.day, hour, 7, index % 60)
            latitude = north + rng.normal(0, HALF_SIDE / 3)
            longitude = east + rng.normal(0, HALF_SIDE / 3)
            has_point = bool(rng.random() > 0.05)
            hours = float(rng.exponential(120.0))
            is_open = opened + dt.timedelta(hours=hours) > observed_until or rng.random() < 0.05
            own: dict[str, object] = {
                "feed": feed.name,
                "day": day,
                "record_id": f"{day}-{index:04}",
                "opened_at": opened,
                "opened_at_utc": opened,
                "category": CATEGORIES[int(rng.integers(0, len(CATEGORIES)))],
                "taxonomy": feed.taxonomy,
                "kind": "Kind",
                "street": f"STREET {int(rng.integers(0, 6))}",
                "neighborhood": "Town",
                "district": str(1 + int(longitude > east)),
                "latitude": latitude if has_point else None,
                "longitude": longitude if has_point else None,
                "has_point": has_point,
                "point_reason": None if has_point else "absent",
                "hour": hour,
                "weekday": day.isoweekday(),
                "is_time_certain": bool(rng.random() > 0.1),
                "record_url": "https://town.example",
                "origin": "portal",
                "observed_until": observed_until,
            }
            if feed.kind == "request":
                own |= {
                    "is_administrative": bool(rng.random() < 0.1),
                    "hours_to_close": None if is_open else hours,
                    "hours_to_close_reason": "open" if is_open else None,
                }
            else:
                own["is_arrest"] = None if rng.random() < 0.05 else bool(rng.random() < 0.2)
            rows.append(own)
    frame = filled(TABLES[feed.name], *rows)
    return frame.with_columns(cells_of(frame["latitude"], frame["longitude"]))


def store(warehouse: Warehouse, rows: pl.DataFrame, days: Sequence[dt.date], feed: Feed = SF_311):
    """Put silver records into a warehouse, with the books of their days and the town's outline."""
    part = Slice(feed.name, min(days), max(days) + dt.timedelta(days=1))
    warehouse.replace(TABLES[feed.name], rows, part)
    books = [
        {"feed": feed.name, "day": day, "rows": 0, "asked_at": OBSERVED} for day in sorted({*days})
    ]
    warehouse.replace(SLICES, filled(SLICES, *books), part)
    outline = {
        "city": feed.city.name,
        "areas": "neighborhood",
        "area": "Town",
        "part": 0,
        "geometry": square(feed),
        "dataset": "town",
        "fetched_from": "portal",
        "fetched_at": OBSERVED,
    }
    warehouse.replace(BOUNDARIES, filled(BOUNDARIES, outline), feed.city.name)


def every_day(first: dt.date, last: dt.date) -> list[dt.date]:
    """All days from one to another."""
    return [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
