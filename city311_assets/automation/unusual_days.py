"""Unusual days: which anomalies of gold are new enough to tell somebody of.

Days that a portal has not told all of (`is_provisional`) are never among them, nor days that are
long past: who fills up an old year is told of nothing.

What belongs here: reading the anomalies, and the rule over them. What does not: what is unusual
(`gold.anomalies`), telling somebody (`alerts`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from city311_assets.automation.newest_copy import read_newest
from city311_assets.automation.outcomes import words
from city311_assets.automation.schedules import RECENT_DAYS
from city311_assets.warehouse.resource import Warehouse, frame_of
from city311_assets.warehouse.tables.gold import ANOMALIES, CELLS

# Of a feed's days that were tested and are told in full, so many of the newest are looked at.
WATCHED_DAYS = 14
# An anomaly is over when so many of them have come since and are as expected.
QUIET_DAYS = 3
MOST_FIGURES = 3
WHOLE_CITY = 0

TESTED = f"""
    select distinct feed, day from {ANOMALIES}
    where day > $since and resolution = {WHOLE_CITY} and reason is null and not is_provisional
    order by all
"""
FOUND = f"""
    select feed, day, if(resolution = {WHOLE_CITY}, null, cell) as cell, label, category, records,
        expected, low_95, high_95, q, direction, unusual_streets, record_ids
    from {ANOMALIES} left join {CELLS} using (feed, resolution, cell)
    where day > $since and is_anomaly
    order by feed, day desc, q, category, cell
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted on one unusual day, and what was expected of it."""

    day: date
    records: int
    expected: float
    low_95: int
    high_95: int
    direction: str


@dataclass(frozen=True, slots=True)
class Unusual:
    """One category in one place, and the days on which it was not as expected.

    Attributes
    ----------
    cell
        The H3 cell; None for the whole city.
    label
        What people call the cell; None where nothing is known.
    days
        Every unusual day among those that are watched, the newest first.
    figures
        Of the newest of them.
    streets, record_ids
        Of the newest, what an analyst would open.
    is_over
        Whether enough days have been as expected since.
    """

    feed: str
    category: str
    cell: int | None
    label: str | None
    days: tuple[date, ...]
    figures: tuple[Figures, ...]
    streets: tuple[str, ...]
    record_ids: tuple[str, ...]
    is_over: bool

    @property
    def key(self) -> str:
        """What it is about."""
        return f"{self.feed} {self.category} {self.cell or 'city'}"


@dataclass(frozen=True, slots=True)
class Watched:
    """One feed's watched days, and what was unusual on them: the newest and clearest first."""

    feed: str
    days: tuple[date, ...]
    unusual: tuple[Unusual, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """Days that were tested and are told in full (`feed, day`), and the anomalies of all days."""

    days: pl.DataFrame
    anomalies: pl.DataFrame


def watched(feeds: Iterable[str], tested: Tested) -> Iterator[Watched]:
    """Return of each feed what was unusual on its newest days."""
    for feed in feeds:
        of_feed = tested.days.filter(pl.col("feed") == feed)["day"].unique().sort(descending=True)
        days = tuple(of_feed.head(WATCHED_DAYS).to_list())
        rows = tested.anomalies.filter(pl.col("feed") == feed, pl.col("day").is_in(days)).sort(
            "day", "q", "category", "cell", descending=[True, False, False, False]
        )
        groups = rows.partition_by("category", "cell", maintain_order=True)
        yield Watched(feed, days, tuple(_unusual(group, days) for group in groups))


def _unusual(rows: pl.DataFrame, days: tuple[date, ...]) -> Unusual:
    """Return one category and place of a feed from its rows, the newest first."""
    newest = rows.row(0, named=True)
    names = [field.name for field in fields(Figures)]
    return Unusual(
        feed=newest["feed"],
        category=words(newest["category"]),
        cell=newest["cell"],
        label=words(newest["label"]) if newest["label"] else None,
        days=tuple(rows["day"].to_list()),
        figures=tuple(
            Figures(**figures) for figures in rows.select(names).head(MOST_FIGURES).to_dicts()
        ),
        streets=tuple(map(words, newest["unusual_streets"])),
        record_ids=tuple(map(words, newest["record_ids"])),
        is_over=sum(day > newest["day"] for day in days) >= QUIET_DAYS,
    )


def read_tested(warehouse: Warehouse, path: Path, now: datetime) -> Tested:
    """Return what was tested of late, from the published file or the warehouse if newer.

    Raises
    ------
    UnreadableError
    """
    since = {"since": now.date() - timedelta(days=RECENT_DAYS)}

    def read(conn: duckdb.DuckDBPyConnection) -> Tested:
        return Tested(*(frame_of(conn, query, since) for query in (TESTED, FOUND)))

    return read_newest(warehouse, path, read, nothing_tested())


def nothing_tested() -> Tested:
    """Return what a warehouse without anomalies has tested."""
    days = pl.DataFrame(schema={"feed": pl.String, "day": pl.Date})
    types = {
        "feed": pl.String,
        "day": pl.Date,
        "cell": pl.UInt64,
        "label": pl.String,
        "category": pl.String,
        "records": pl.Int64,
        "expected": pl.Float64,
        "low_95": pl.Int64,
        "high_95": pl.Int64,
        "q": pl.Float64,
        "direction": pl.String,
        "unusual_streets": pl.List(pl.String),
        "record_ids": pl.List(pl.String),
    }
    return Tested(days, pl.DataFrame(schema=types))
