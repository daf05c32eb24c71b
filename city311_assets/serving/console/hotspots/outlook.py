"""What comes next, and what was unusual: gold's forecasts and anomalies of the place selected."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from city311_assets.gold.methods.counts import ALL
from city311_assets.serving.console.hotspots.areas import descendants
from city311_assets.serving.console.hotspots.columns import columns_of
from city311_assets.serving.console.hotspots.facts import feed_facts, label_of
from city311_assets.serving.console.hotspots.selection import (
    Selection,
    resolution_of,
    search_for,
    words,
)
from city311_assets.serving.snapshots import Snapshot
from city311_assets.silver.cells import parents_of
from city311_assets.warehouse.tables.gold import ANOMALIES, FORECASTS

CITY = 0
FORECAST_RESOLUTIONS = (7, 8)
ANOMALY_RESOLUTION = 7
MOST_ANOMALIES = 50
NEXT_WEEK = f"""
    select * from {FORECASTS}
    where feed = $feed and resolution = $resolution and cell = $cell and category = $category
        and day = (select max(day) from {FORECASTS} where feed = $feed)
"""
UNUSUAL = f"""
    select day, nullif(cell, 0) as number, category, records, expected, low_95, high_95, q,
        direction, is_provisional, unusual_streets
    from {ANOMALIES}
    where feed = $feed and day between $first and $last and is_anomaly
        and category in $categories
        and (resolution = 7 and cell between $low and $high or resolution = 0 and $is_city)
    order by is_provisional, day desc, q, category
"""
JUDGED = f"""
    select count(distinct day) as days from {ANOMALIES}
    where feed = $feed and day between $first and $last and resolution = 0 and q is not null
"""
NO_ANOMALIES = {
    "day": pl.Date,
    "number": pl.UInt64,
    "category": pl.String,
    "records": pl.Int64,
    "expected": pl.Float64,
    "low_95": pl.Int64,
    "high_95": pl.Int64,
    "q": pl.Float64,
    "direction": pl.String,
    "is_provisional": pl.Boolean,
    "unusual_streets": pl.List(pl.String),
}


@dataclass(frozen=True, slots=True)
class Forecast:
    """The records of seven days to come, with their intervals.

    Numbers are None where there is no forecast; `reason` then says why, in a sentence.
    """

    area: str
    category: str
    first_day: date | None = None
    last_day: date | None = None
    known_until_day: date | None = None
    median: int | None = None
    low_80: int | None = None
    high_80: int | None = None
    low_95: int | None = None
    high_95: int | None = None
    mean: float | None = None
    trailing: float | None = None
    seasonal_naive: float | None = None
    method: str | None = None
    reason: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Anomalies:
    """Days of the period that were more unusual than chance, the newest first.

    Attributes
    ----------
    frame
        `day, label, cell` (hex; null is the city), `category, records, expected, low_95, high_95,
        q, direction` (`more` or `fewer`), `is_provisional, unusual_streets, search` (the address
        of the day in that place).
    found
        How many there are, of which `frame` has the first.
    judged_days
        How many days of the period could be judged at all.
    note
        What to know beside them, in a sentence.
    """

    frame: pl.DataFrame
    found: int
    judged_days: int
    note: str


def forecast(snapshot: Snapshot, selection: Selection) -> Forecast:
    """Return the newest forecast of the place selected: the city, or the cell drilled into.

    Of a cell finer than resolution 8 it is that of the cell around it.
    """
    category = selection.categories[0] if len(selection.categories) == 1 else ALL
    city = columns_of(snapshot, selection.feed).feed.city.title
    cell, resolution, area, note = CITY, 0, city, ""
    if selection.parent is not None:
        resolution = min(resolution_of(selection.parent), max(FORECAST_RESOLUTIONS))
        cell = ancestor(selection.parent, resolution)
        area = label_of(snapshot, selection.feed, resolution, cell)
        if cell != selection.parent:
            note = "Forecasts are made down to resolution 8: this one is of the cell around it."
    if selection.weekdays or selection.hours:
        note = f"{note} It is of all weekdays and hours.".strip()
    reason = None
    if selection.is_empty_filter or len(selection.categories) > 1:
        reason = "Forecasts are made for one category, or for all of them together."
    elif not snapshot.has(FORECASTS):
        reason = "The published file holds no forecasts."
    elif resolution not in {0, *FORECAST_RESOLUTIONS}:
        reason = "Forecasts are made for the city and for cells of resolutions 7 and 8."
    if reason:
        return Forecast(area, category, reason=reason)
    found = snapshot.rows(
        NEXT_WEEK,
        {
            "feed": selection.feed,
            "resolution": resolution,
            "cell": cell,
            "category": category,
        },
    )
    if not found:
        return Forecast(
            area, category, reason=f"No forecast was made for {words(selection.categories)} there."
        )
    row: dict[str, Any] = found[0]
    own = ("first_day", "last_day", "known_until_day", "median", "low_80", "high_80", "low_95")
    own += ("high_95", "mean", "trailing", "seasonal_naive", "method")
    reason = None
    if row["median"] is None:
        reason = "Nothing could be forecast: the history is too short."
    return Forecast(area, category, **{name: row[name] for name in own}, reason=reason, note=note)


def anomalies(snapshot: Snapshot, selection: Selection, most: int = MOST_ANOMALIES) -> Anomalies:
    """Return the unusual days of the period in the place selected."""
    none = _named(snapshot, selection, pl.DataFrame(schema=NO_ANOMALIES))
    if not snapshot.has(ANOMALIES):
        return Anomalies(none, 0, 0, "The published file holds no anomalies.")
    days = {"feed": selection.feed, "first": selection.first, "last": selection.last}
    judged = snapshot.frame(JUDGED, days)["days"].item()
    if selection.is_empty_filter:
        return Anomalies(none, 0, judged, "No category is chosen.")
    parent, note = selection.parent, ""
    if parent is not None and resolution_of(parent) > ANOMALY_RESOLUTION:
        parent = ancestor(parent, ANOMALY_RESOLUTION)
        note = "Days are judged by cells of resolution 7: these are of the cell around it. "
    low, high = (0, 0) if parent is None else descendants(parent, ANOMALY_RESOLUTION)
    if parent is None:
        high = (1 << 64) - 1
    found = snapshot.frame(
        UNUSUAL,
        {
            **days,
            "categories": [*selection.categories] or _every(snapshot, selection.feed),
            "low": low,
            "high": high,
            "is_city": parent is None,
        },
    )
    if selection.weekdays or selection.hours:
        note += "They are of all weekdays and hours. "
    if not judged:
        note += "No day of the period could be judged: too few days lie before."
    elif found.is_empty():
        note += (
            f"None of the {judged:,} days that could be judged was more unusual than chance gives "
            "(false discovery rate 5 %)."
        )
    elif found.height > most:
        note += f"The first {most:,} of {found.height:,} are shown."
    return Anomalies(
        _named(snapshot, selection, found.head(most)), found.height, judged, note.strip()
    )


def ancestor(cell: int, resolution: int) -> int:
    """Return the cell of a coarser resolution, or of the same, that a cell lies in."""
    return pl.select(parents_of(pl.lit(cell, pl.UInt64), resolution)).item()


def _every(snapshot: Snapshot, feed: str) -> list[str]:
    facts = feed_facts(snapshot, feed)
    return [ALL, *(name for name, _ in facts.categories)] if facts else [ALL]


def _named(snapshot: Snapshot, selection: Selection, found: pl.DataFrame) -> pl.DataFrame:
    """Add `label, cell` and `search` to anomalies, and put the columns in order."""
    city = columns_of(snapshot, selection.feed).feed.city.title
    labels, hexes, searches = [], [], []
    for row in found.rows(named=True):
        cell, category = row["number"], row["category"]
        labels.append(
            city if cell is None else label_of(snapshot, selection.feed, ANOMALY_RESOLUTION, cell)
        )
        hexes.append(None if cell is None else format(cell, "x"))
        searches.append(
            search_for(
                selection,
                first=row["day"],
                last=row["day"],
                parent=cell,
                resolution=max(selection.resolution, ANOMALY_RESOLUTION + 1),
                categories=() if category == ALL else (category,),
                weekdays=(),
                hours=(),
                compare_first=None,
                compare_last=None,
            )
        )
    return found.with_columns(
        pl.Series("label", labels, pl.String),
        pl.Series("cell", hexes, pl.String),
        pl.Series("search", searches, pl.String),
    ).select("day", "label", "cell", pl.exclude("day", "label", "cell", "number"))
