"""The state of a page in its address, so that a view can be sent to somebody.

What belongs here: which controls a page keeps in its address, and how their values are written
there. What does not: what a value means; the page refuses what makes no sense and says so.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal
from urllib.parse import parse_qs, urlencode

import dash

Value = str | float | list[str] | None


@dataclass(frozen=True, slots=True)
class Control:
    """One control of a page that its address carries.

    Attributes
    ----------
    component
        The component's id.
    name
        The parameter in the address.
    kind
        `text`, `number`, or `list` (the parameter is repeated).
    default
        The value that the address leaves out.
    prop
        The component's property that holds the value.
    """

    component: str
    name: str
    kind: Literal["text", "number", "list"] = "text"
    default: Value = None
    prop: str = "value"


def values_of(search: str | None, controls: Sequence[Control]) -> dict[str, Value]:
    """Return each control's value in an address's query, the default where it has none.

    A number that is none is returned as it is written: the page names it and refuses.
    """
    given = parse_qs((search or "").removeprefix("?"), keep_blank_values=True)
    values: dict[str, Value] = {}
    for control in controls:
        texts = given.get(control.name)
        if texts is None:
            values[control.name] = control.default
        elif control.kind == "list":
            values[control.name] = [text for text in texts if text]
        elif control.kind == "number":
            values[control.name] = _number(texts[-1])
        else:
            values[control.name] = texts[-1]
    return values


def search_of(values: dict[str, Value], controls: Sequence[Control]) -> str:
    """Return the query that carries values, for a link to a view: `?feed=…`; defaults left out."""
    pairs = [
        (control.name, item)
        for control in controls
        if values.get(control.name) is not None and values[control.name] != control.default
        for item in _texts(values[control.name])
    ]
    return "?" + urlencode(pairs) if pairs else ""


def keep_in_address(app: dash.Dash, page: str, path: str, controls: Sequence[Control]) -> None:
    """Tie a page's controls to its address, both ways, in the browser.

    The page's layout must hold `dcc.Location(id=f"{page}-url", refresh=False)`.
    """
    spec = json.dumps(
        {
            "path": path,
            "controls": [
                {"name": one.name, "kind": one.kind, "default": one.default} for one in controls
            ],
        }
    )
    location = f"{page}-url"
    app.clientside_callback(
        f"function(...given) {{ return window.city311.keepInAddress({spec}, given); }}",
        dash.Output(location, "search"),
        *(dash.Output(one.component, one.prop) for one in controls),
        dash.Input(location, "search"),
        *(dash.Input(one.component, one.prop) for one in controls),
        dash.State(location, "pathname"),
        prevent_initial_call=True,
    )


def _number(text: str) -> Value:
    try:
        number = float(text)
    except ValueError:
        return text
    if not isfinite(number):
        return text
    return int(number) if number.is_integer() else number


def _texts(value: Value) -> list[str]:
    if isinstance(value, list):
        return value or [""]
    return ["" if value is None else str(value)]
