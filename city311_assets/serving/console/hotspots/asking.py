"""Which panels are asked for, and when: those in view whose answer a change would change.

What belongs here: what each panel's answer hangs on, and the way from a selection to the panels.
What does not: how they are answered (`callbacks`). A click on the size of cells changes nothing of
a calendar, and what is far below the screen can wait until somebody scrolls there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import blake2s

import dash
from dash import Input, Output, State, dcc
from dash.development.base_component import Component

from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets.serving.snapshots import Snapshot

EVERYTHING = frozenset(one.name for one in fields(Selection))
RECORDS_ASKED = EVERYTHING - {"resolution", "compare_first", "compare_last"}
# Forecasts are of the place, whatever the period.
OF_THE_PLACE = frozenset({"feed", "parent", "categories", "is_empty_filter", "weekdays", "hours"})
SELECTION, SEEN = "hotspots-selection", "hotspots-seen"
KEY_BYTES = 8


@dataclass(frozen=True, slots=True)
class Asking:
    """What a panel's answer hangs on.

    Attributes
    ----------
    of
        Fields of the selection that change it.
    also
        Other inputs that do: `measure` (of the map, which links keep), `records` (the cell whose
        records are listed), `rows` (of the table of cells), `width` (of the window).
    needs
        The one of them without which the panel is empty; it is then asked for wherever it is.
    """

    of: frozenset[str] = EVERYTHING
    also: tuple[str, ...] = ("measure",)
    needs: str | None = None


PANELS: dict[str, Asking] = {
    "map": Asking(also=("measure", "width")),
    "kpis": Asking(),
    "hits": Asking(),
    "outcome": Asking(RECORDS_ASKED, ()),
    "listed": Asking(also=("measure", "records"), needs="records"),
    "when": Asking(RECORDS_ASKED, ()),
    "choices": Asking(),
    "mix": Asking(RECORDS_ASKED, ()),
    "calendar": Asking(RECORDS_ASKED, ()),
    "forecast": Asking(OF_THE_PLACE, ()),
    "anomalies": Asking(),
    "streets": Asking(RECORDS_ASKED, ()),
    "comparison": Asking(also=()),
    "cells": Asking(also=("measure", "rows")),
}


def keys_of(snapshot: Snapshot, selection: Selection) -> dict[str, str]:
    """Return a key for each panel: the same as long as nothing changes in what it shows."""
    return {name: _key(snapshot, selection, one.of) for name, one in PANELS.items()}


def asked_id(panel: str) -> str:
    """Return the id of the store that holds what a panel is asked."""
    return f"hotspots-asked-{panel}"


def stores() -> list[Component]:
    """Return what holds the selection, which panels are in view, and what each is asked."""
    ids = (SELECTION, SEEN, *map(asked_id, PANELS))
    return [dcc.Store(id=one) for one in ids]


def add_asking(app: dash.Dash) -> None:
    """Add what asks for panels, in the browser."""
    spec = json.dumps(
        [{"name": name, "with": one.also, "needs": one.needs} for name, one in PANELS.items()]
    )
    app.clientside_callback(
        f"function(...given) {{ return window.city311Hotspots.ask({spec}, given); }}",
        *(Output(asked_id(name), "data") for name in PANELS),
        Input(SELECTION, "data"),
        Input(SEEN, "data"),
        Input("hotspots-measure", "value"),
        Input("hotspots-records", "data"),
        Input("hotspots-rows", "data"),
        *(State(asked_id(name), "data") for name in PANELS),
    )
    app.clientside_callback(
        f"function(id) {{ return window.city311Hotspots.watch({spec}); }}",
        Output(SEEN, "data"),
        Input("hotspots-url", "id"),
    )


def _key(snapshot: Snapshot, selection: Selection, of: frozenset[str]) -> str:
    parts: Mapping[str, object] = {name: getattr(selection, name) for name in sorted(of)}
    text = repr((snapshot.data_version, snapshot.published_at, parts))
    return blake2s(text.encode(), digest_size=KEY_BYTES).hexdigest()
