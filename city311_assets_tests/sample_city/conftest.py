"""One sample city for the whole folder; its clock stands still."""

import datetime as dt
from collections.abc import Iterator

import httpx
import polars as pl
import pytest

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.sample_city.records import day_records
from city311_assets.sample_city.server import SampleCity, serving

NOW = dt.datetime(2026, 3, 20, 18, tzinfo=dt.UTC)
START = dt.date(2026, 2, 1)
SEED = 311


def days(first: dt.date, count: int) -> list[dt.date]:
    return [first + dt.timedelta(index) for index in range(count)]


def many(feed: Feed, first: dt.date, count: int, records_per_day: int = 2_000) -> pl.DataFrame:
    """All records of some days, as they are in the end."""
    return pl.concat(
        day_records(feed, day, seed=SEED, records_per_day=records_per_day)
        for day in days(first, count)
    )


@pytest.fixture(scope="session")
def fortnights() -> dict[str, pl.DataFrame]:
    return {name: many(feed, dt.date(2026, 3, 1), 14) for name, feed in FEEDS.items()}


@pytest.fixture(scope="session")
def city() -> Iterator[httpx.Client]:
    sample = SampleCity(seed=SEED, records_per_day=60, now=NOW, start=START)
    with serving(sample) as served, httpx.Client(base_url=served.url, timeout=30) as client:
        yield client
