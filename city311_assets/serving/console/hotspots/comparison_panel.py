"""The panel that compares two periods: the ratio of their rates, and where it differs most.

What belongs here: how a comparison is shown. What does not: how it is computed (`comparison`).
"""

from typing import Any

import polars as pl
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.console.hotspots.comparison import (
    Comparison,
    RateRatio,
    comparison,
)
from city311_assets.serving.console.hotspots.parts import (
    NONE,
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
from city311_assets.serving.console.hotspots.sentences import probability
from city311_assets.serving.snapshots import Snapshot

CHANGE = "change"
LEVEL = 0.05
Q = (
    "q is the share of mere chance to expect among all cells with that q or less, of {tested} "
    "tested; up to {level} a cell changed by more than chance."
)


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
    if found.cells.is_empty():
        return [said, sentence("No cell has records in either period."), notes(found.notes)]
    return [
        said,
        *_cells("Where it rose", found.rose, "No cell has more records a day than before."),
        *_cells("Where it fell", found.fell, "No cell has fewer records a day than before."),
        notes([*_meaning(found), *found.notes]),
    ]


def _meaning(found: Comparison) -> list[str]:
    """Return what the last column says, and what it comes to."""
    said = [Q.format(tested=count(found.tested), level=LEVEL)]
    least = found.cells["q"].min()
    if not isinstance(least, float) or least > LEVEL:
        said.append("None did: what is listed may all be chance.")
    return said


def _cells(title: str, cells: pl.DataFrame, none: str) -> list[Component]:
    """Return the cells that changed in one direction, the least likely chance first."""
    if cells.is_empty():
        return [html.H3(title), sentence(none)]
    rows = [
        [
            row["label"] or row["cell"],
            count(row["now"]),
            count(row["before"]),
            _ratio(row),
            NONE if row["q"] is None else probability(row["q"]),
        ]
        for row in cells.iter_rows(named=True)
    ]
    heads = ["Cell", "Records", "Before", "Ratio (95 % interval)", "False discovery rate, q"]
    return [html.H3(title), table(heads, rows, f"{title}, the least likely to be chance first")]


def _interval(total: RateRatio) -> str:
    return times_between(total.low, total.high)


def _ratio(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return f"none before, {count(row['now'])} now" if row["now"] else times(None)
    return with_interval(times(row["ratio"]), times_between(row["low"], row["high"]))
