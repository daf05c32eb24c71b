"""The panels about what and how unusual: outcomes, streets, the coming week, unusual days.

What belongs here: how these are shown. What does not: how they are counted or computed (`outcomes`,
`outlook`).
"""

import polars as pl
from dash import html
from dash.development.base_component import Component

from city311_assets.serving.console.hotspots import figures
from city311_assets.serving.console.hotspots.outcomes import outcome_mix, streets
from city311_assets.serving.console.hotspots.outlook import Forecast, anomalies, forecast
from city311_assets.serving.console.hotspots.parts import (
    NONE,
    Linked,
    address,
    chart,
    count,
    day,
    folded,
    name,
    notes,
    percent,
    percent_between,
    sentence,
    table,
    with_interval,
)
from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets.serving.snapshots import Snapshot

MOST_DAYS = 15
MOST_STREETS = 10


def outcome_panel(snapshot: Snapshot, selection: Selection, _: str) -> list[Component]:
    """Return what became of the selected records, and the rate with its interval."""
    found = outcome_mix(snapshot, selection)
    frame = found.frame
    if frame.is_empty() or not frame["records"].sum():
        return [sentence("No record is selected, so there is no outcome to show.")]
    interval = percent_between(found.low, found.high)
    rate = percent(found.rate) if found.rate is not None else "unknown"
    shown = frame.filter(pl.col("records") > 0)
    lines = [
        f"{label}: {count(n)} records, {percent(share)}"
        for label, n, share in frame.select("outcome", "records", "share").iter_rows()
    ]
    return [
        chart(
            "hotspots-outcome-chart",
            figures.donut(
                shown["outcome"].to_list(),
                shown["records"].to_list(),
                shown["is_known"].to_list(),
                rate,
                interval,
            ),
            f"Outcomes of the selected records; rate {rate}, 95 % interval {interval or 'unknown'}",
        ),
        notes([found.note] if found.note else []),
        folded("In numbers", lines),
    ]


def streets_panel(snapshot: Snapshot, selection: Selection, _: str) -> list[Component]:
    """Return the streets with most selected records."""
    found = streets(snapshot, selection, MOST_STREETS)
    if found.frame.is_empty():
        return [
            sentence("No selected record names a street."),
            notes([found.note] if found.note else []),
        ]
    rows = [
        [
            row["street"],
            f"{count(row['selected'])} ({percent(row['share'])})",
            count(row["records"]),
            with_interval(percent(row["rate"]), percent_between(row["rate_low"], row["rate_high"])),
        ]
        for row in found.frame.iter_rows(named=True)
    ]
    heads = ["Street", "Selected", "All records", "Rate (95 % interval)"]
    return [
        table(heads, rows, "Streets with most selected records"),
        notes([found.note] if found.note else []),
    ]


def forecast_panel(snapshot: Snapshot, selection: Selection, _: str) -> list[Component]:
    """Return how many records the coming week may bring, with its intervals."""
    found = forecast(snapshot, selection)
    if (shown := _forecast_figure(found)) is None:
        return [sentence(found.reason or "There is no forecast of this selection.")]
    return [html.P(_forecast_words(found)), *shown, notes([found.note] if found.note else [])]


def anomalies_panel(snapshot: Snapshot, selection: Selection, measure: str) -> list[Component]:
    """Return the days that were unusual."""
    found = anomalies(snapshot, selection, MOST_DAYS)
    note = notes([found.note] if found.note else [])
    if found.frame.is_empty():
        return [sentence("No day of the selection was unusual."), note]
    rows = [
        [
            Linked(day(row["day"]), address(row["search"], measure)),
            row["label"] or "whole city",
            name(row["category"]),
            ", ".join(row["unusual_streets"] or []) or NONE,
            count(row["records"]),
            with_interval(
                count(row["expected"]),
                ""
                if row["low_95"] is None or row["high_95"] is None
                else f"{count(row['low_95'])} to {count(row['high_95'])}",
            ),
        ]
        for row in found.frame.iter_rows(named=True)
    ]
    heads = ["Day", "Where", "Category", "Streets", "Records", "Expected (95 % interval)"]
    return [table(heads, rows, "Unusual days, newest first", texts=4), note]


def _forecast_figure(found: Forecast) -> list[Component] | None:
    ends = (found.low_80, found.high_80, found.low_95, found.high_95)
    middle = found.median if found.median is not None else found.mean
    low_80, high_80, low_95, high_95 = ends
    if middle is None or low_80 is None or high_80 is None or low_95 is None or high_95 is None:
        return None
    marks = {
        label: value
        for label, value in (
            ("recent weeks' mean", found.trailing),
            ("same week last year", found.seasonal_naive),
        )
        if value is not None
    }
    figure = figures.interval(
        middle, (low_80, high_80), (low_95, high_95), marks, "records in the week"
    )
    lines = [
        f"forecast (median): {count(middle)} records",
        f"80 % interval: {count(low_80)} to {count(high_80)}",
        f"95 % interval: {count(low_95)} to {count(high_95)}",
        *(f"{label}: {count(value)}" for label, value in marks.items()),
    ]
    return [
        chart("hotspots-forecast-chart", figure, "Forecast of the coming week with its intervals"),
        folded("In numbers", lines),
    ]


def _forecast_words(found: Forecast) -> str:
    middle = found.median if found.median is not None else found.mean
    category = "all categories" if found.category in (None, "all") else name(found.category)
    return (
        f"{found.area}, {category}, {day(found.first_day)} to {day(found.last_day)}: "
        f"{count(middle)} records, {count(found.low_80)} to {count(found.high_80)} in four weeks "
        f"of five. What was known up to {day(found.known_until_day)}."
    )
