"""The panels about when: by day, by weekday and hour, on a calendar.

What belongs here: how these counts are shown, and the links that choose a weekday or an hour. What
does not: the counts (`series`).
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import polars as pl
from dash import html
from dash.development.base_component import Component

from city311_assets.serving.console.hotspots import figures
from city311_assets.serving.console.hotspots.parts import (
    Linked,
    address,
    chart,
    count,
    day,
    folded,
    name,
    notes,
    sentence,
    table,
)
from city311_assets.serving.console.hotspots.selection import WEEKDAYS, Selection, search_for
from city311_assets.serving.console.hotspots.series import calendar, day_series, weekday_hours
from city311_assets.serving.snapshots import Snapshot

DAYS_OF_STEP = {"day": 1, "week": 7}
# As many categories as there are colours that everybody tells apart.
MOST_CATEGORIES = 5
# Weeks told in words, the newest first.
MOST_WEEKS = 60


def mix_panel(snapshot: Snapshot, selection: Selection, _: str) -> list[Component]:
    """Return the selected records by day and category."""
    series = day_series(snapshot, selection)
    frame = series.frame
    if frame.is_empty():
        return [sentence("No record matches on any day held."), notes(series.notes)]
    starts = frame["start"].unique().sort().to_list()
    totals = (
        frame.group_by("category")
        .agg(pl.col("records").sum())
        .filter(pl.col("records") > 0)
        .sort("records", "category", descending=[True, False])
    )
    if totals.is_empty():
        return [sentence("No record matches on any day held."), notes(series.notes)]
    first = totals["category"].to_list()[:MOST_CATEGORIES]
    shown = (
        frame.with_columns(group=pl.when(pl.col("category").is_in(first)).then("category"))
        .group_by("start", "group")
        .agg(pl.col("per_day").sum())
    )
    by_category: dict[str | None, Sequence[float | None]] = {}
    for group in [*first, *([None] if totals.height > len(first) else [])]:
        of_group = shown.filter(pl.col("group").eq_missing(pl.lit(group)))
        rates = dict(of_group.select("start", "per_day").iter_rows())
        by_category[group] = [rates.get(start) for start in starts]
    told = dict(frame.group_by("start").agg(pl.col("is_told").all()).iter_rows())
    step = DAYS_OF_STEP[series.step]
    lines = [
        f"{name(category)}: {count(total)} records"
        for category, total in totals.select("category", "records").iter_rows()
    ]
    figure = figures.mix(starts, by_category, [told[start] for start in starts], step)
    label = f"Selected records by {series.step}, stacked by category"
    return [
        chart("hotspots-mix-chart", figure, label),
        notes(series.notes),
        folded("In numbers", lines),
    ]


def when_panel(snapshot: Snapshot, selection: Selection, _: str) -> list[Component]:
    """Return weekdays and hours, of which a click chooses one; each is of the other's choice."""
    found = weekday_hours(snapshot, selection)
    weekdays, hours = found.weekdays.to_dicts(), found.hours.to_dicts()
    by_weekday = figures.chooser(
        [row["weekday"] for row in weekdays],
        [figures.SHORT_WEEKDAYS[row["weekday"] - 1] for row in weekdays],
        [row["per_day"] for row in weekdays],
        said=[
            f"{_weekday(row)}: {_rate(row['per_day'])}\n"
            f"{count(row['records'])} records on {row['days']} such days"
            for row in weekdays
        ],
        chosen=selection.weekdays,
        unit="records a day",
    )
    by_hour = figures.chooser(
        [row["hour"] for row in hours],
        [str(row["hour"]) for row in hours],
        [row["per_day"] for row in hours],
        said=[
            f"{_hour(row)}: {_rate(row['per_day'])}\n"
            f"{count(row['records'])} records on {row['days']} days"
            for row in hours
        ],
        chosen=selection.hours,
        unit="records in the hour, a day",
    )
    grid = {
        (row["weekday"], row["hour"]): row["per_day"] for row in found.grid.iter_rows(named=True)
    }
    return [
        html.Div(
            [
                chart("hotspots-weekdays", by_weekday, "Selected records a day, by weekday"),
                chart("hotspots-hours", by_hour, "Selected records a day, by local hour"),
            ],
            className="columns even",
        ),
        html.H3("Weekday and hour together"),
        chart(
            "hotspots-hours-of-week",
            figures.hours_of_week(grid),
            "Records of certain time, a day, by weekday and hour",
        ),
        notes(found.notes),
    ]


def choices_panel(snapshot: Snapshot, selection: Selection, measure: str) -> list[Component]:
    """Return the same weekdays and hours in numbers, each a link that chooses it or lets it go."""
    found = weekday_hours(snapshot, selection)
    rows = [
        *(
            _chosen_or_not(
                _weekday(row),
                row,
                search_for(selection, weekdays=toggled(selection.weekdays, row["weekday"])),
                measure,
                is_on=row["weekday"] in selection.weekdays,
            )
            for row in found.weekdays.iter_rows(named=True)
        ),
        *(
            _chosen_or_not(
                _hour(row),
                row,
                search_for(selection, hours=toggled(selection.hours, row["hour"])),
                measure,
                is_on=row["hour"] in selection.hours,
            )
            for row in found.hours.iter_rows(named=True)
        ),
    ]
    heads = ["Weekday or hour", "Records a day", "Records", "Days"]
    return [table(heads, rows, "Weekdays and hours, each a link that chooses it")]


def _chosen_or_not(
    said: str, row: dict[str, Any], search: str, measure: str, *, is_on: bool
) -> list[str | Linked]:
    text = f"{said} (chosen)" if is_on else said
    return [
        Linked(text, address(search, measure)),
        _decimals(row["per_day"]),
        count(row["records"]),
        count(row["days"]),
    ]


def _weekday(row: dict[str, Any]) -> str:
    return WEEKDAYS[row["weekday"] - 1]


def _hour(row: dict[str, Any]) -> str:
    return f"{row['hour']}:00 to {row['hour']}:59"


def calendar_panel(snapshot: Snapshot, selection: Selection, _: str) -> list[Component]:
    """Return the selected records of each day on a calendar."""
    frame = calendar(snapshot, selection)
    if frame.is_empty():
        return [sentence("No day of the period is held.")]
    figure = figures.calendar(
        frame["day"].to_list(), frame["selected"].to_list(), frame["is_told"].to_list()
    )
    weeks = (
        frame.group_by("week")
        .agg(pl.col("selected").sum(), held=pl.col("selected").count())
        .sort("week", descending=True)
        .head(MOST_WEEKS)
    )
    week_words = "{} to {}: {} records, {} days held"
    lines = [
        week_words.format(day(week), day(week + timedelta(days=6)), count(selected), held)
        for week, selected, held in weeks.iter_rows()
    ]
    return [
        chart("hotspots-calendar-chart", figure, "Selected records of each day, a column a week"),
        html.P(
            "A day that is not held, or not of a chosen weekday, is left blank.", className="quiet"
        ),
        folded("In numbers, by week", lines),
    ]


def toggled(chosen: Sequence[int], key: int) -> tuple[int, ...]:
    """Return a choice with one key more, or without it where it was chosen."""
    return tuple(sorted(set(chosen) ^ {key}))


def _rate(per_day: float | None) -> str:
    return "no such day held" if per_day is None else f"{_decimals(per_day)} records a day"


def _decimals(per_day: float | None) -> str:
    return count(None) if per_day is None else f"{per_day:,.2f}"
