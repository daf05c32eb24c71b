"""The selection in time: by day, on a calendar, by weekday and hour.

What belongs here: records by when they were opened, over the days that are held. What does not:
what comes next (`outlook`), and comparisons of periods (`comparison`).
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Ints
from city311_assets.serving.console.hotspots.columns import (
    Columns,
    columns_of,
    number,
    weekday_of,
)
from city311_assets.serving.console.hotspots.selection import HOURS, Selection, day_words
from city311_assets.serving.snapshots import Snapshot

# Longer periods are shown by week: a day of years is narrower than a pixel.
MOST_DAYS = 400
WEEKDAYS = 7


@dataclass(frozen=True)
class DaySeries:
    """Selected records over time, by category.

    Attributes
    ----------
    step
        `day`, or `week` of long periods (from Monday).
    frame
        `start` (of the day or week), `category, records, days` (held in it, on chosen weekdays),
        `per_day` and `is_told` (whether all of it was told in full); of days not held there is no
        row, of held days one for each category of the selection.
    notes
        What to know beside it, in sentences.
    """

    step: str
    frame: pl.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True)
class WeekdayHours:
    """Records a day by weekday and by hour, over the days held and told in full.

    Weekdays are of the chosen hours, hours of the chosen weekdays; the grid is of all of both.

    Attributes
    ----------
    weekdays
        `weekday` (Monday is 1), `records, days` (how many of them are held), `per_day` (null
        without one) and `is_chosen`.
    hours
        `hour` (local), `records, days, per_day, is_chosen`, of records with a certain time.
    grid
        `weekday, hour, records, days, per_day`, likewise.
    time_uncertain
        Records that the hours leave out: midnight or noon exact to the second.
    days
        Days held and told in full in the period.
    notes
        What is left out, in sentences.
    """

    weekdays: pl.DataFrame
    hours: pl.DataFrame
    grid: pl.DataFrame
    time_uncertain: int
    days: int
    notes: tuple[str, ...]


def day_series(snapshot: Snapshot, selection: Selection) -> DaySeries:
    """Return the selected records of the place by day (or week) and category."""
    columns = columns_of(snapshot, selection.feed)
    step = "day" if selection.days <= MOST_DAYS else "week"
    days = columns.days(selection.first, selection.last, selection.weekdays).filter("is_held")
    names = () if selection.is_empty_filter else selection.categories or columns.categories
    counted = by_day(columns, selection)
    start = pl.col("day") if step == "day" else pl.col("day").dt.truncate("1w")
    starts = (
        days.group_by(start.alias("start"))
        .agg(pl.len().cast(pl.Int64).alias("days"), pl.col("is_told").all())
        .sort("start")
    )
    first = number(selection.first)
    every = np.arange(first, first + selection.days)
    if step == "week":
        every = every - weekday_of(every) + 1
    begins = starts["start"].to_physical().to_numpy()
    # Days that are not held hold no record: they may be added to any step.
    at = np.clip(np.searchsorted(begins, every, side="right") - 1, 0, None)
    of_steps = np.zeros((max(begins.size, 1), counted.shape[1]), np.int64)
    np.add.at(of_steps, at, counted)
    frames = [
        starts.with_columns(
            pl.lit(name).alias("category"),
            pl.Series("records", of_steps[: begins.size, columns.categories.index(name)]),
        )
        for name in names
    ]
    schema = {"start": pl.Date, "category": pl.String, "records": pl.Int64, "days": pl.Int64}
    frame = (
        pl.concat(frames) if frames else pl.DataFrame(schema={**schema, "is_told": pl.Boolean})
    ).with_columns(per_day=pl.col("records") / pl.col("days"))
    frame = frame.select(*schema, "per_day", "is_told").sort("start", maintain_order=True)
    return DaySeries(step, frame, tuple(_untold(columns, selection)))


def by_day(columns: Columns, selection: Selection) -> Ints:
    """Return the records of the place by day of the period and category, weekdays and hours chosen.

    Categories are all of the feed's, in the order of `columns.categories`, whichever are chosen.
    """
    asked = replace(
        selection, categories=(), is_empty_filter=False, compare_first=None, compare_last=None
    )
    return columns.kept.of(("days", asked), lambda: _by_day(columns, asked))


def _by_day(columns: Columns, selection: Selection) -> Ints:
    if not selection.hours and selection.parent is None:
        return _city_by_day(columns, selection)
    rows, size = columns.rows(selection.first, selection.last), len(columns.categories)
    key = (columns.day[rows] - np.int32(number(selection.first))) * np.int32(size)
    key += columns.category[rows]
    key = key[columns.is_chosen(selection, rows)]
    return np.bincount(key, minlength=selection.days * size).reshape(selection.days, size)


def _city_by_day(columns: Columns, selection: Selection) -> Ints:
    """Return the same of the whole city at all hours: days of the period out of all that are."""
    counted, first = columns.by_day, number(selection.first)
    begin = int(columns.day[0]) if columns.day.size else first
    found = np.zeros((selection.days, counted.shape[1]), np.int64)
    low = max(first, begin)
    high = max(min(first + selection.days, begin + len(counted)), low)
    found[low - first : high - first] = counted[low - begin : high - begin]
    if selection.weekdays:
        weekday = weekday_of(np.arange(first, first + selection.days))
        found[~np.isin(weekday, selection.weekdays)] = 0
    return found


def calendar(snapshot: Snapshot, selection: Selection) -> pl.DataFrame:
    """Return every day of the period: `day, week` (its Monday), `weekday, selected, is_told`.

    `selected` is null where the day is not held, or not one of the chosen weekdays.
    """
    columns = columns_of(snapshot, selection.feed)
    names = () if selection.is_empty_filter else selection.categories or columns.categories
    of = [columns.categories.index(name) for name in names]
    counted = by_day(columns, selection)[:, of].sum(axis=1)
    is_on = pl.col("is_held")
    if selection.weekdays:
        is_on &= pl.col("weekday").is_in(selection.weekdays)
    return columns.days(selection.first, selection.last).select(
        "day",
        week=pl.col("day").dt.truncate("1w"),
        weekday="weekday",
        selected=pl.when(is_on).then(pl.Series(counted)),
        is_told="is_told",
    )


def weekday_hours(snapshot: Snapshot, selection: Selection) -> WeekdayHours:
    """Return the selected records of the place a day, by weekday and by hour."""
    columns = columns_of(snapshot, selection.feed)
    told = columns.days(selection.first, selection.last).filter("is_told")
    held = np.bincount(told["weekday"], minlength=WEEKDAYS + 1)[1:]
    counted = _by_hour(columns, selection)
    certain = counted[:, :, 1]
    weekdays = np.array(selection.weekdays or range(1, WEEKDAYS + 1)) - 1
    by_weekday = certain[:, list(selection.hours)] if selection.hours else counted
    by_weekday = by_weekday.reshape(WEEKDAYS, -1).sum(axis=1)
    by_hour = certain[weekdays].sum(axis=0)
    days_of_hours = int(held[weekdays].sum())
    uncertain = int(counted[weekdays, :, 0].sum())
    names = np.arange(1, WEEKDAYS + 1)
    notes = list(_untold(columns, selection, what="left out"))
    if uncertain:
        total = uncertain + int(by_hour.sum())
        notes.insert(
            0,
            f"Hours leave out {uncertain:,} of {total:,} records opened at midnight or noon exact "
            "to the second, which are mostly defaults.",
        )
    return WeekdayHours(
        weekdays=_per_day({"weekday": names}, by_weekday, held).with_columns(
            is_chosen=pl.lit(value=True)
            if not selection.weekdays
            else pl.col("weekday").is_in(selection.weekdays)
        ),
        hours=_per_day(
            {"hour": np.arange(HOURS)}, by_hour, np.full(HOURS, days_of_hours)
        ).with_columns(
            is_chosen=pl.lit(value=True)
            if not selection.hours
            else pl.col("hour").is_in(selection.hours)
        ),
        grid=_per_day(
            {"weekday": np.repeat(names, HOURS), "hour": np.tile(np.arange(HOURS), WEEKDAYS)},
            certain.ravel(),
            np.repeat(held, HOURS),
        ),
        time_uncertain=uncertain,
        days=told.height,
        notes=tuple(notes),
    )


def _by_hour(columns: Columns, selection: Selection) -> Ints:
    """Return the place's records of days told in full: weekday x hour x whether that is certain.

    Of the chosen categories, on all weekdays and hours.
    """
    asked = replace(selection, weekdays=(), hours=(), compare_first=None, compare_last=None)

    def count() -> Ints:
        rows = columns.rows(asked.first, asked.last)
        # What is not chosen is counted one place further on: picking it out costs more.
        last = WEEKDAYS * HOURS * 2
        is_on = columns.is_chosen(asked, rows, told=True)
        key = np.where(is_on, columns.slot[rows], np.uint16(last))
        return np.bincount(key, minlength=last + 1)[:last].reshape(WEEKDAYS, HOURS, 2)

    return columns.kept.of(("hours", asked), count)


def _per_day(names: dict[str, Ints], records: Ints, days: Ints) -> pl.DataFrame:
    frame = pl.DataFrame({**names, "records": records, "days": days})
    per_day = pl.col("records") / pl.col("days")
    return frame.with_columns(per_day=pl.when(pl.col("days") > 0).then(per_day))


def _untold(columns: Columns, selection: Selection, what: str = "shown all the same") -> list[str]:
    """Return what is to be said of the days of a period that are not held, or not told in full."""
    days = columns.days(selection.first, selection.last, selection.weekdays)
    notes = []
    if missing := int((~days["is_held"]).sum()):
        notes.append(f"{missing:,} of {days.height:,} days are not held.")
    untold = days.filter(pl.col("is_held") & ~pl.col("is_told"))
    if untold.height:
        first = untold["day"].to_list()[0]
        lag = columns.feed.reporting_lag_days
        why = f"the portal withholds the newest {lag} days" if lag else "they were not over"
        since = (
            day_words(first)
            if untold.height == 1
            else f"{untold.height:,} days from {day_words(first)}"
        )
        notes.append(f"{since} on: not told in full when last asked ({why}); {what}.")
    return notes
