"""The panel that compares two periods: the ratio of their rates, and where it differs most.

What belongs here: how a comparison is shown. What does not: how it is computed (`comparison`).
"""

from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.console.hotspots.comparison import RateRatio, comparison
from city311_assets.serving.console.hotspots.parts import (
    address,
    count,
    notes,
    sentence,
    table,
    times,
    times_between,
    with_interval,
)
from city311_assets.serving.console.hotspots.selection import (
    Selection,
    period_words,
    search_for,
)
from city311_assets.serving.snapshots import Snapshot

MOST_CELLS = 10
CHANGE = "change"


def comparison_panel(snapshot: Snapshot, selection: Selection, _: str) -> list[Component]:
    """Return the ratio of the two periods' rates, and the cells that changed most."""
    found = comparison(snapshot, selection)
    if found.total is None:
        return [sentence(found.reason or "There is nothing to compare."), notes(found.notes)]
    total = found.total
    now = period_words(found.first, found.last)
    before = period_words(found.before_first, found.before_last)
    counted = (
        f"{count(total.now)} records on {total.now_days} days against {count(total.before)} on "
        f"{total.before_days}. "
    )
    if total.ratio is None:
        words: list[Any] = [f"{now} against {before}: {counted}"]
    else:
        words = [
            html.Strong(times(total.ratio), id="hotspots-ratio"),
            f" as many records a day in {now} as in {before}",
            f" (95 % interval {interval}): " if (interval := _interval(total)) else ": ",
            counted,
        ]
    words.append(dcc.Link("Colour the map by it", href=address(search_for(selection, CHANGE))))
    said = html.P(words)
    cells = found.cells.head(MOST_CELLS)
    rows = [
        [
            row["label"] or row["cell"],
            count(row["now"]),
            count(row["before"]),
            _ratio(row),
            "" if row["q"] is None else f"{row['q']:.3f}",
        ]
        for row in cells.iter_rows(named=True)
    ]
    heads = ["Cell", "Records", "Before", "Ratio (95 % interval)", "q"]
    shown = (
        [table(heads, rows, "Cells that changed most")]
        if rows
        else [sentence("No cell has records in both periods.")]
    )
    return [said, *shown, notes(found.notes)]


def _interval(total: RateRatio) -> str:
    return times_between(total.low, total.high)


def _ratio(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return "none before" if row["now"] else times(None)
    return with_interval(times(row["ratio"]), times_between(row["low"], row["high"]))
