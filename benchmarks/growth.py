"""How cost grows: JSON pages through bronze to silver, for 1, 4 and 16 times the rows."""

import json
from functools import partial
from pathlib import Path

import polars as pl

from benchmarks.measuring import Effort, interleaved, metered
from benchmarks.report import FLAT_WITHIN, Row, flatness
from benchmarks.sample_pages import NOW, PART, answer, pages_in, write_pages
from city311_assets.bronze import records as bronze
from city311_assets.bronze.boundaries import area_rows
from city311_assets.clients.socrata import parse_pages
from city311_assets.feeds.chicago_311 import CHICAGO, CHICAGO_311
from city311_assets.feeds.feed import City
from city311_assets.sample_city.geography import boundaries
from city311_assets.silver import assets as silver
from city311_assets.silver.requests import request_rows
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.silver import REQUESTS

ROWS, TIMES = 20_000, (1, 4, 16)


def store_boundaries(warehouse: Warehouse, city: City) -> None:
    """Put the sample city's areas of a city into a warehouse."""
    found = []
    for areas in city.boundaries:
        published = json.loads(json.dumps(boundaries(city.portal, areas.dataset)))
        found.append(area_rows(published["features"], areas))
    known = {"city": city.name, "fetched_from": "sample", "fetched_at": NOW}
    rows = pl.concat(found).with_columns(pl.lit(value).alias(name) for name, value in known.items())
    warehouse.replace(BOUNDARIES, rows, city.name)


def ours(folder: str) -> None:
    warehouse, files = Warehouse(database="warehouse.duckdb"), pages_in(folder)
    store_boundaries(warehouse, CHICAGO)
    with metered("bronze"):
        rows = parse_pages(files, CHICAGO_311.column_names)
        with warehouse.transaction() as session:
            bronze.write(session, CHICAGO_311, answer(rows), "sample", PART)
    with metered("silver"):
        silver.write(warehouse, CHICAGO_311, REQUESTS, request_rows, PART)


def measure(effort: Effort, folder: Path) -> list[Row]:
    sizes = [times * ROWS // effort.divisor for times in TIMES]
    ways = {f"{rows}_rows": partial(ours, write_pages(folder / str(rows), rows)) for rows in sizes}
    found, smallest = [], (0.0, 0.0)
    for rows, own in zip(sizes, interleaved(effort.repeats, **ways), strict=True):
        micros, raw, typed = (1e6 * own.cpu(*p) / rows for p in ((), ("bronze",), ("silver",)))
        kilobytes = 1_000 * own.peak_added / rows
        smallest = smallest if any(smallest) else (micros, kilobytes)
        found.append(
            Row(
                "JSON pages → bronze → silver",
                f"{rows:,} rows",
                f"{micros:.0f} CPU-µs a row ({raw:.0f} + {typed:.0f}); {own.peak:,.0f} MB, "
                f"{kilobytes:.1f} kB a row above the start",
                target=f"flat within {FLAT_WITHIN:.0%}",
                met=f"CPU {flatness(micros, smallest[0])}, "
                f"memory {flatness(kilobytes, smallest[1])}",
            )
        )
    return found
