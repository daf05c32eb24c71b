"""The table of the cells on the map: the same numbers, for the eye and for the keyboard.

What belongs here: how a row of the measured cells is written. What does not: how they are measured
(`cells`) or written into a file (`downloads`).
"""

from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.console.hotspots.cells import CellMeasures
from city311_assets.serving.console.hotspots.facts import FeedFacts
from city311_assets.serving.console.hotspots.parts import (
    NONE,
    Linked,
    address,
    count,
    percent,
    percent_between,
    sentence,
    table,
    times,
    times_between,
    with_interval,
)
from city311_assets.serving.console.hotspots.selection import (
    FINEST,
    Selection,
    children_of,
    search_for,
)

FEW_ROWS, MORE_ROWS = 20, 100


def cells_table(
    selection: Selection, measured: CellMeasures, facts: FeedFacts, most: int = FEW_ROWS
) -> list[Component]:
    """Return the table of the cells on the map, best by the measure first; each leads into it."""
    frame = measured.frame
    if measured.empty or frame.is_empty():
        return [sentence(measured.empty or "There are no cells here.")]
    heads = [
        "Rank",
        "Cell",
        "Selected",
        "All",
        "Share (95 %)",
        f"Rate {facts.outcome_words} (95 %)",
        "Rate, shrunk",
        "With neighbours",
        "Hot or cold",
        "Change (95 %)",
    ]
    shown = frame.head(most)
    rows = [_row(selection, measured.measure, row) for row in shown.iter_rows(named=True)]
    said: list[Any] = [f"{count(frame.height)} cells are on the map"]
    if frame.height > shown.height:
        said.append(f"; the first {shown.height} are listed, and a download has them all")
        if most < MORE_ROWS:
            more = address(search_for(selection), measured.measure, rows=str(MORE_ROWS))
            said += [". ", dcc.Link(f"List {MORE_ROWS}", href=more)]
    return [
        html.P(said, className="quiet"),
        html.Div(
            table(heads, rows, "Cells on the map, best by the measure first", texts=2),
            className="hotspots-long",
        ),
    ]


def _row(selection: Selection, measure: str, row: dict[str, Any]) -> list[str | Linked]:
    return [
        NONE if row["rank"] is None else count(row["rank"]),
        _cell_link(selection, measure, row),
        count(row["selected"]),
        count(row["records"]),
        with_interval(percent(row["share"]), percent_between(row["share_low"], row["share_high"])),
        with_interval(percent(row["rate"]), percent_between(row["rate_low"], row["rate_high"])),
        percent(row["rate_eb"]),
        percent(row["rate_pooled"]),
        row["gi_class"] or NONE,
        _change(row),
    ]


def _change(row: dict[str, Any]) -> str:
    if row["change_ratio"] is None and row["now"] and row["before"] == 0:
        return f"none before, {count(row['now'])} now"
    return with_interval(
        times(row["change_ratio"]), times_between(row["change_low"], row["change_high"])
    )


def _cell_link(selection: Selection, measure: str, row: dict[str, Any]) -> Linked:
    label = row["label"] or row["cell"]
    if selection.resolution >= FINEST:
        return Linked(label, address(search_for(selection), measure, records=row["cell"]))
    return Linked(label, address(search_for(children_of(selection, row["cell"])), measure))
