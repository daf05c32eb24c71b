"""Freshness: how far the newest day that bronze holds is behind, and which days never came.

What belongs here: reading the books, and the rule over them. What does not: telling somebody
(`alerts`), asking for a day again (`changed_days`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from city311_assets.automation.day_ranges import since
from city311_assets.automation.newest_copy import read_newest
from city311_assets.automation.schedules import RECENT_DAYS
from city311_assets.feeds.feed import Feed
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.meta import SLICES

# The nightly runs begin at half past three, local time, and may have to wait for their portal:
# before this, yesterday need not be there.
EXPECTED_FROM = time(6, 0)
# One night that failed is told of as a failed run, and mended by the next night; two in a row are a
# feed that stands still.
LATE_AFTER_DAYS = 1
BOOKS = f"select feed, day, asked_at from {SLICES} order by feed, day"


@dataclass(frozen=True, slots=True)
class Freshness:
    """One feed's newest day and what is missing.

    Attributes
    ----------
    newest
        The newest local day that the portal was asked for; None of a feed that was never made.
    days_behind
        Whole local days from it to the newest day that should be there; 0 of one never made.
    late_since
        When the day after it should have been there, UTC; None unless the feed is late.
    missing
        Days of the last five weeks that were never asked for though an earlier day was.
    gaps
        Days of all time that were never asked for though an earlier and a later day were.
    """

    feed: str
    newest: date | None
    days_behind: int = 0
    late_since: datetime | None = None
    missing: tuple[date, ...] = ()
    gaps: tuple[date, ...] = ()

    @property
    def is_late(self) -> bool:
        """Whether the feed stands still."""
        return self.late_since is not None


def freshness(feed: Feed, books: pl.DataFrame, now: datetime) -> Freshness:
    """Return how fresh one feed is at an instant; `books` has `feed, day, asked_at`."""
    asked = books.filter(pl.col("feed") == feed.name).drop_nulls("asked_at")
    days = set(asked["day"].to_list())
    if not days:
        return Freshness(feed.name, None)
    zone = ZoneInfo(feed.city.timezone)
    local = now.astimezone(zone)
    # The day that ended last, or before the morning the one before it.
    over = local.date() if local.time() >= EXPECTED_FROM else local.date() - timedelta(days=1)
    newest, oldest = max(days), min(days)
    behind = max((over - newest).days - 1, 0)
    missing = tuple(day for day in since(over, RECENT_DAYS) if day > oldest and day not in days)
    between = (oldest + timedelta(days=offset) for offset in range((newest - oldest).days))
    gaps = tuple(day for day in between if day not in days)
    late_since = None
    if behind > LATE_AFTER_DAYS:
        expected = datetime.combine(newest + timedelta(days=2), EXPECTED_FROM, zone)
        late_since = expected.astimezone(UTC)
    return Freshness(feed.name, newest, behind, late_since, missing, gaps)


def every_feed(
    feeds: Mapping[str, Feed], books: pl.DataFrame, now: datetime
) -> Iterator[Freshness]:
    """Return how fresh each feed is at an instant."""
    for feed in feeds.values():
        yield freshness(feed, books, now)


def read_books(warehouse: Warehouse, path: Path) -> pl.DataFrame:
    """Return the newest copy of the books, `feed, day, asked_at`; errors as of `read_newest`."""
    return read_newest(warehouse, path, lambda conn: conn.sql(BOOKS).pl(), _no_books())


def _no_books() -> pl.DataFrame:
    types = {"feed": pl.String, "day": pl.Date, "asked_at": pl.Datetime("us")}
    return pl.DataFrame(schema=types)
