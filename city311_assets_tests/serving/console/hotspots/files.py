"""Published files for tests of the hotspots page, and the views behind its links."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.gold.cell_days import cell_days
from city311_assets.gold.cell_months import cell_months
from city311_assets.gold.cells import cells
from city311_assets.serving.console.hotspots.controls import CONTROLS
from city311_assets.serving.console.hotspots.selection import Selection, selection_of
from city311_assets.serving.console.url_state import values_of
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets_tests.gold.town import every_day, silver, store
from city311_assets_tests.serving.towns import make

JANUARY = (dt.date(2026, 1, 1), dt.date(2026, 1, 31))


def view(snapshot: Snapshot, search: str | None) -> Selection:
    """Return the selection behind a link, of which nothing is wrong."""
    selection, problems = selection_of(values_of(search, CONTROLS), snapshot)
    assert problems == ()
    assert selection is not None
    return selection


def written(
    folder: Path,
    rows: pl.DataFrame,
    days: Sequence[dt.date],
    feed: Feed = SF_311,
    *,
    with_cells: bool = False,
) -> Snapshots:
    """Publish records of some days, and read them; with the study area where it is asked for."""
    warehouse = Warehouse(database=str(folder / "warehouse.duckdb"))
    store(warehouse, rows, days, feed)
    if with_cells:
        make(cells(feed), warehouse)
    publish(warehouse, folder / "city311.duckdb")
    return Snapshots(folder / "city311.duckdb")


def requests_with_gold(folder: Path) -> Snapshots:
    """Publish a January of requests, with gold's rates of it."""
    warehouse = Warehouse(database=str(folder / "warehouse.duckdb"))
    days = every_day(*JANUARY)
    store(warehouse, silver(days, 40, SF_311, seed=3), days, SF_311)
    make(cells(SF_311), warehouse)
    make(cell_days(SF_311), warehouse, *JANUARY)
    make(cell_months(SF_311), warehouse, JANUARY[0], JANUARY[0])
    publish(warehouse, folder / "city311.duckdb")
    return Snapshots(folder / "city311.duckdb")
