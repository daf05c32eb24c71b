"""What clicks lead to: each is the address of another view.

What belongs here: which view a click on the map or a bar is of, and what a changed control takes
with it. What does not: the controls' own way into the address (`url_state`).
"""

from typing import Any

import dash
import h3
from dash import Input, Output, State, no_update

from city311_assets.serving.console.hotspots.bar import PAGE_CONTROLS
from city311_assets.serving.console.hotspots.facts import feed_facts
from city311_assets.serving.console.hotspots.parts import Sent
from city311_assets.serving.console.hotspots.selection import (
    COARSEST,
    FINEST,
    HEX,
    listed,
    selection_of,
)
from city311_assets.serving.console.hotspots.time_panels import toggled
from city311_assets.serving.console.url_state import Value, search_of
from city311_assets.serving.snapshots import Snapshot

Values = dict[str, Value]
CHOOSERS = {"weekday": "hotspots-weekdays", "hour": "hotspots-hours"}


def drilled(values: Values, cell: str) -> Values:
    """Return the controls after a click on a cell: its children, or a smallest cell's records."""
    resolution = h3.get_resolution(cell)
    if resolution >= FINEST:
        return values | {"records": cell}
    return values | {"cell": cell, "resolution": resolution + 1, "records": None}


def chosen(values: Values, name: str, key: int) -> Values:
    """Return the controls after a click on a bar: one weekday or hour more, or less."""
    before = [int(one) for one in listed(values.get(name)) if str(one).isdigit()]
    return values | {name: [str(one) for one in toggled(before, key)], "records": None}


def tidied(values: Values, snapshot: Snapshot) -> Values:
    """Return the controls without what a changed feed, size of cells or category leaves behind.

    Categories and a cell of another feed go; a cell gives way to a larger one where its own size
    is asked for; choosing a category ends the choice of none.
    """
    done = dict(values)
    facts = feed_facts(snapshot, str(values["feed"])) if values.get("feed") else None
    if facts:
        known = {category for category, _ in facts.categories}
        done["category"] = [one for one in listed(values.get("category")) if one in known]
    if done.get("category"):
        done["none"] = None
    cell, size = values.get("cell"), values.get("resolution")
    if isinstance(cell, str) and HEX.fullmatch(cell):
        selection, _ = selection_of(done, snapshot)
        if selection and selection.parent_hex != cell:
            done["cell"] = None
        elif isinstance(size, int) and COARSEST <= size <= h3.get_resolution(cell):
            done["cell"] = h3.cell_to_parent(cell, size - 1) if size > COARSEST else None
    return done


def add_actions(app: dash.Dash) -> None:
    """Add the callbacks that lead from a click to another view."""
    state = (
        State("hotspots-selection", "data"),
        State("hotspots-measure", "value"),
    )
    to_address = Output("hotspots-url", "search", allow_duplicate=True)

    @app.callback(
        to_address,
        Output("hotspots-map", "clickData"),
        Input("hotspots-map", "clickData"),
        *state,
        prevent_initial_call=True,
    )
    async def to_cell(click: Sent, asked: Sent, measure: str) -> tuple[Any, Any]:
        cell = _clicked(click, "location")
        if cell is None or not asked:
            return no_update, no_update
        return search_of(drilled(asked["values"] | {"measure": measure}, cell), PAGE_CONTROLS), None

    for name, component in CHOOSERS.items():
        _add_chooser(app, to_address, name, component, state)


def _add_chooser(
    app: dash.Dash, to_address: Output, name: str, component: str, state: tuple[State, ...]
) -> None:
    @app.callback(
        to_address,
        Output(component, "clickData"),
        Input(component, "clickData"),
        *state,
        prevent_initial_call=True,
    )
    async def to_choice(click: Sent, asked: Sent, measure: str) -> tuple[Any, Any]:
        key = _clicked(click, "customdata")
        if key is None or not asked:
            return no_update, no_update
        values = chosen(asked["values"] | {"measure": measure}, name, int(key))
        return search_of(values, PAGE_CONTROLS), None


def _clicked(click: Sent, key: str) -> Sent:
    points = (click or {}).get("points") or [{}]
    return points[0].get(key)
