"""The Data page: what there is, what fails, what was set aside, what it cost, and whose it is."""

import re
from asyncio import to_thread
from datetime import date
from typing import Any

import dash
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.console.data import panels, queries
from city311_assets.serving.console.data.figures import days_held
from city311_assets.serving.console.page import Page
from city311_assets.serving.console.tables import asset_link, options
from city311_assets.serving.console.url_state import Control, Value, keep_in_address, values_of
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets.warehouse.tables.bronze import RECORDS

NAME = "data"
FEED, MONTH = "data-feed", "data-month"
CONTROLS = (
    Control(FEED, "feed", default=next(iter(FEEDS))),
    Control(MONTH, "month"),
)
CONFIG: Any = {"displaylogo": False, "displayModeBar": False, "responsive": True}


def layout(snapshot: Snapshot, search: str) -> Component:
    """Return the page as the address has it."""
    values = values_of(search, CONTROLS)
    return html.Div(
        [
            dcc.Location(id="data-url", refresh=False),
            html.H1("Data"),
            panels.publication(snapshot),
            panels.checks(snapshot),
            panels.feeds(snapshot),
            html.Section(
                [
                    html.H2("Days held"),
                    html.Div(
                        [
                            _field(
                                "feed",
                                dcc.Dropdown(
                                    id=FEED,
                                    options=options(
                                        {name: feed.title for name, feed in FEEDS.items()},
                                        values["feed"],
                                    ),
                                    value=values["feed"],
                                    clearable=False,
                                ),
                                wide=True,
                            ),
                            _field(
                                "month",
                                dcc.Dropdown(
                                    id=MONTH,
                                    options=_months([], values["month"]),
                                    value=values["month"],
                                    placeholder="the newest",
                                ),
                            ),
                        ],
                        className="bar",
                    ),
                    html.P(id="data-warn", className="warn", role="status"),
                    dcc.Loading(html.Div(id="data-days"), delay_show=300),
                ],
                className="panel",
            ),
            panels.set_aside(snapshot),
            panels.model_calls(snapshot),
            panels.sources(snapshot),
        ]
    )


def register(app: dash.Dash, snapshots: Snapshots) -> None:
    """Add the page's callbacks."""
    keep_in_address(app, NAME, f"/{NAME}", CONTROLS)

    @app.callback(
        dash.Output("data-days", "children"),
        dash.Output(MONTH, "options"),
        dash.Output("data-warn", "children"),
        dash.Input(FEED, "value"),
        dash.Input(MONTH, "value"),
    )
    async def days(feed: Value, month: Value) -> tuple[Any, Any, str]:
        return await to_thread(_days, snapshots, feed, month)


def _days(snapshots: Snapshots, feed: Value, month: Value) -> tuple[Any, Any, str]:
    """Return a feed's calendar and a month's table, the months there are, and what is wrong."""
    declared, problem = _feed(feed)
    with snapshots.current() as snapshot:
        held = queries.held_days(snapshot, declared.name)
        if held.is_empty():
            said = f"Nothing of {declared.title} was made yet; the asset is "
            key = RECORDS[declared.name].key(declared.name)
            empty = html.P([said, asset_link("/".join(key.path), key)], className="empty")
            return empty, _months([], month), problem
        months = sorted({day.replace(day=1) for day in held["day"]}, reverse=True)
        start, other = _month(month, months)
        end = date(start.year + start.month // 12, start.month % 12 + 1, 1)
        rows = queries.day_rows(snapshot, declared, start, end)
    figure = dcc.Graph(
        id="data-held",
        figure=days_held(held),
        config=CONFIG,
    )
    parts = [
        figure,
        html.H3(f"{declared.title}, {start:%B %Y}"),
        *panels.days(declared, rows, start),
    ]
    return parts, _months(months, month), " ".join(filter(None, (problem, other)))


def _months(months: list[date], given: Value) -> list[dict[str, str]]:
    return options({f"{one:%Y-%m}": f"{one:%B %Y}" for one in months}, given)


def _feed(given: Value) -> tuple[Feed, str]:
    if isinstance(given, str) and given in FEEDS:
        return FEEDS[given], ""
    first = next(iter(FEEDS.values()))
    names = ", ".join(FEEDS)
    return first, f"There is no feed {given!r}; there are {names}. Shown is {first.name}."


def _month(given: Value, months: list[date]) -> tuple[date, str]:
    if given is None:
        return months[0], ""
    if isinstance(given, str) and re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", given):
        wanted = date.fromisoformat(f"{given}-01")
        if wanted in months:
            return wanted, ""
        nearest = min(months, key=lambda one: abs((one - wanted).days))
        return nearest, f"No day of {given} is held; shown is {nearest:%Y-%m}."
    return months[0], f"{given!r} is no month like 2026-01; shown is {months[0]:%Y-%m}."


def _field(label: str, control: Component, *, wide: bool = False) -> html.Div:
    name = control.to_plotly_json()["props"]["id"]
    return html.Div(
        [html.Label(label, htmlFor=name), control], className="field wide" if wide else "field"
    )


PAGE = Page(name=NAME, title="Data", layout=layout, register=register)
