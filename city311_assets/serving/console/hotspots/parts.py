"""What the panels of the hotspots page are made of: links, tables, numbers in words.

What belongs here: how a value is written, and components without a question of their own. What does
not: what is asked (`selection`) or shown (`panels`). Every text of the data is a text child, never
HTML.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias
from urllib.parse import urlencode

from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.console.hotspots.controls import PAGE as NAME
from city311_assets.serving.console.hotspots.selection import DEFAULT_MEASURE

PATH = f"/{NAME}"
# What a browser sends and is sent: JSON, of whatever its components hold.
Sent: TypeAlias = Any
NONE = "\N{EN DASH}"
GRAPH: Sent = {"displaylogo": False, "displayModeBar": False, "responsive": True}


def count(value: float | None) -> str:
    """Return a number of records: `1,204`; one decimal where it is a mean."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:,.1f}"


def percent(value: float | None) -> str:
    """Return a share: `12.4 %`."""
    return NONE if value is None else f"{100 * value:.1f} %"


def percent_between(low: float | None, high: float | None) -> str:
    """Return the interval of a share: `10.1 to 15.0 %`; empty without one."""
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f} %"


def times(value: float | None) -> str:
    """Return a ratio: `1.25 times`."""
    return NONE if value is None else f"{value:.2f} times"


def times_between(low: float | None, high: float | None) -> str:
    """Return the interval of a ratio: `0.91 to 1.70`; empty without one."""
    return "" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def day(value: date | None) -> str:
    """Return a day with its weekday: `Fri 3 Nov 2026`."""
    return NONE if value is None else f"{value:%a} {value.day} {value:%b %Y}"


def name(category: str) -> str:
    """Return a category's name as people read it."""
    return category.replace("_", " ")


def address(search: str, measure: str = DEFAULT_MEASURE, **also: str) -> str:
    """Return the address of a view; its map stays coloured by the measure."""
    more = {} if measure == DEFAULT_MEASURE or "measure=" in search else {"measure": measure}
    if more := urlencode(more | also):
        search = f"{search}&{more}" if search else f"?{more}"
    return PATH + search


def link(text: str, search: str, measure: str = DEFAULT_MEASURE, **props: Sent) -> Component:
    """Return a link to another view of this page."""
    return dcc.Link(text, href=address(search, measure), **props)


def aria(**attributes: str) -> dict[str, Any]:
    """Return attributes for who does not see the page: `label="…"` becomes `aria-label`."""
    return {f"aria-{name}": value for name, value in attributes.items()}


def sentence(text: str) -> Component:
    """Return what stands where there is nothing to show."""
    return html.P(text, className="empty")


def notes(texts: Sequence[str]) -> Component:
    """Return small sentences below a panel."""
    return html.Div([html.P(text, className="quiet") for text in texts])


def with_interval(value: str, interval: str) -> str:
    """Return a number with its interval beside it, or alone where it has none."""
    return f"{value} ({interval})" if interval else value


@dataclass(frozen=True, slots=True)
class Linked:
    """A text in a table that leads to another view, or, if it says so, out of the console."""

    text: str
    href: str
    is_outside: bool = False


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str | Linked]], caption: str, texts: int = 1
) -> Component:
    """Return a table; its first `texts` columns are text, all others numbers.

    Parameters
    ----------
    caption
        What the table is of, for who cannot see where it stands.

    Notes
    -----
    The browser makes it from plain texts (`assets/hotspots.js`): Dash looks at every component
    again whenever one changes, and a component a cell took most of the time of a click.
    """
    told = {
        "caption": caption,
        "heads": list(heads),
        "rows": [[_plain(cell) for cell in row] for row in rows],
        "texts": texts,
    }
    holder: dict[str, Any] = {
        "data-table": json.dumps(told, ensure_ascii=False, separators=(",", ":")),
        # Reachable by keys, so that a wide table can be scrolled without a mouse.
        "tabIndex": "0",
        "role": "region",
    }
    return html.Div(className="scroll", **holder, **aria(label=caption))


def _plain(cell: str | Linked) -> str | dict[str, Any]:
    if isinstance(cell, str):
        return cell
    return {"text": cell.text, "href": cell.href, "outside": cell.is_outside}


def folded(title: str, lines: Sequence[str]) -> Component:
    """Return what a chart shows as lines of text, on request."""
    return html.Details(
        [html.Summary(title), html.Div("\n".join(lines), className="hotspots-lines")]
    )


def chart(component_id: str, figure: dict[str, Any], label: str) -> Component:
    """Return a chart with what it shows in words, for who cannot see it."""
    return html.Div(
        dcc.Graph(id=component_id, figure=figure, config=GRAPH),
        role="figure",
        **aria(label=label),
    )
