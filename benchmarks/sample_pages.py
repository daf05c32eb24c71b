"""What is measured on: Chicago's 311 records of the sample city, as its portal sends them."""

from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from city311_assets.clients.socrata import Answer
from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.feeds.feed import ROW_ID
from city311_assets.partitions import Slice
from city311_assets.sample_city.datasets import FrameDataset
from city311_assets.sample_city.records import day_records
from city311_assets.sample_city.soda import Soda
from city311_assets.sample_city.soql import query

FIRST = date(2025, 1, 1)
# Every record that is made lies in it.
PART = Slice(CHICAGO_311.name, FIRST, FIRST + timedelta(days=3_650))
ROWS_PER_PAGE = 50_000
SEED = 311
NOW = datetime(2026, 1, 1)  # noqa: DTZ001 - UTC without a zone, as the warehouse keeps it


def records(rows: int) -> pl.DataFrame:
    """Return so many of the portal's rows, of as many days as it takes."""
    days: list[pl.DataFrame] = []
    while sum(frame.height for frame in days) < rows:
        day = FIRST + timedelta(days=len(days))
        days.append(day_records(CHICAGO_311, day, seed=SEED, records_per_day=5_000))
    return pl.concat(days).head(rows)


def write_pages(folder: Path, rows: int) -> str:
    """Write so many rows as the JSON pages that the sample portal answers; return the folder."""
    folder.mkdir()
    for number, frame in enumerate(records(rows).sort(ROW_ID).iter_slices(ROWS_PER_PAGE)):
        dataset = FrameDataset(frame, CHICAGO_311)
        params = {"$select": ":*,*", "$order": ROW_ID, "$limit": str(ROWS_PER_PAGE)}
        asked = query(params, dataset.types, dataset.opened)
        (folder / f"{number:06}.json").write_text(Soda().answer(dataset, asked))
    return str(folder)


def pages_in(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).glob("*.json"))


def answer(rows: pl.DataFrame) -> Answer:
    """Return parsed rows as the client hands them to bronze."""
    return Answer(rows, NOW, ())
