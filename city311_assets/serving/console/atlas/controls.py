"""Controls of pages about months: which feed, which month, one of a few ways.

What belongs here: the controls and how they stay in step with what the address says. What does
not: what is shown of a month. A page holds the feed in the store `<page>-feed` and the month in
`<page>-month`; what a person moves writes there. Another feed has other months, clusters and cases:
choosing it empties the page's other stores.
"""

from asyncio import to_thread
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import dash
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.console.tables import options
from city311_assets.serving.console.url_state import Control, Value
from city311_assets.serving.snapshots import Snapshot, Snapshots

MOST_MARKS = 5
Months = Mapping[str, tuple[date, ...]]


def feed_and_month(page: str, by_feed: Months, feed: str, month: date) -> list[Component]:
    """Return the two controls as a page's layout holds them."""
    place, most, marks, said, is_alone = _slider(by_feed[feed], month)
    return [
        html.Div(
            [
                html.Label("City", htmlFor=f"{page}-feed-choice"),
                dcc.Dropdown(
                    id=f"{page}-feed-choice",
                    options=[{"label": FEEDS[one].title, "value": one} for one in by_feed],
                    value=feed,
                    clearable=False,
                    searchable=False,
                ),
            ],
            className="field",
        ),
        html.Div(
            [
                html.Span(
                    ["Month: ", html.Strong(said, id=f"{page}-month-said")], className="label"
                ),
                html.Div(
                    dcc.Slider(
                        id=f"{page}-month-choice",
                        min=0,
                        max=most,
                        step=1,
                        value=place,
                        marks=marks,
                        allow_direct_input=False,
                    ),
                    id=f"{page}-month-box",
                    hidden=is_alone,
                ),
            ],
            className="field wide atlas-months",
        ),
    ]


def keep_in_step(
    app: dash.Dash,
    page: str,
    snapshots: Snapshots,
    months_by_feed: Callable[[Snapshot], Months],
    *stores: str,
) -> None:
    """Add the callbacks that tie the controls to the page's stores, both ways.

    Another feed empties the month's store and those named.
    """
    emptied = [
        dash.Output(f"{page}-{name}", "data", allow_duplicate=True) for name in ("month", *stores)
    ]

    @app.callback(
        dash.Output(f"{page}-feed-choice", "value"),
        dash.Output(f"{page}-feed", "data"),
        *emptied,
        dash.Input(f"{page}-feed-choice", "value"),
        dash.Input(f"{page}-feed", "data"),
        prevent_initial_call=True,
    )
    async def feed_chosen(choice: str, feed: str | None) -> tuple[Any, ...]:
        if dash.ctx.triggered_id == f"{page}-feed-choice" and choice != feed:
            return (dash.no_update, choice, *(None for _ in emptied))
        there = await to_thread(_of_feed, snapshots, months_by_feed, feed)
        return (there[0], dash.no_update, *(dash.no_update for _ in emptied))

    @app.callback(
        dash.Output(f"{page}-month-choice", "max"),
        dash.Output(f"{page}-month-choice", "marks"),
        dash.Output(f"{page}-month-choice", "value"),
        dash.Output(f"{page}-month", "data"),
        dash.Output(f"{page}-month-said", "children"),
        dash.Output(f"{page}-month-box", "hidden"),
        dash.Input(f"{page}-month-choice", "value"),
        dash.Input(f"{page}-month", "data"),
        dash.Input(f"{page}-feed", "data"),
        prevent_initial_call=True,
    )
    async def month_chosen(place: int, value: Value, feed: str | None) -> tuple[Any, ...]:
        _, months = await to_thread(_of_feed, snapshots, months_by_feed, feed)
        leave = dash.no_update
        if dash.ctx.triggered_id == f"{page}-month-choice":
            month = months[min(int(place), len(months) - 1)]
            newer = None if month == months[-1] else f"{month:%Y-%m}"
            return leave, leave, leave, newer, f"{month:%B %Y}", leave
        month, _ = month_in(value, months)
        at, most, marks, said, is_alone = _slider(months, month)
        return most, marks, at, leave, said, is_alone


def month_in(value: Value, months: tuple[date, ...]) -> tuple[date, list[str]]:
    """Return the month (`2026-11`) that a value names, the newest if none; and what is wrong."""
    if not value:
        return months[-1], []
    try:
        month = datetime.strptime(str(value), "%Y-%m").date()  # noqa: DTZ007  # a month has no zone
    except ValueError:
        return months[-1], [f"month {value}: a month is written like {months[-1]:%Y-%m}."]
    if month in months:
        return month, []
    return months[-1], [f"month {value}: there are {months[0]:%Y-%m} to {months[-1]:%Y-%m}."]


def problems_text(problems: tuple[str, ...]) -> str:
    """Return what is wrong with an address as one text; empty where nothing is."""
    if not problems:
        return ""
    return f"In the address that was opened: {' '.join(problems)} The default is shown."


def choice(name: str, component: str, labels: dict[Any, str], value: Value) -> Component:
    """Return a choice of one of a few; what an address asks for though it is none of them shows."""
    given: Any = value
    return html.Div(
        [
            html.Span(name, className="label", id=f"{component}-label"),
            dcc.RadioItems(
                id=component,
                options=options(labels, value),
                value=given,
                inline=True,
                className="options",
            ),
        ],
        className="field",
        role="radiogroup",
        **aria(labelledby=f"{component}-label"),
    )


def inputs_of(controls: tuple[Control, ...], *unheard: str) -> dict[str, Any]:
    """Return controls as a callback's `values`; of those unheard a change does not call it."""
    return {
        "values": {
            one.name: (dash.State if one.name in unheard else dash.Input)(one.component, one.prop)
            for one in controls
        }
    }


def aria(**names: str) -> dict[str, Any]:
    """Return what a component says to those who do not see it, as its properties."""
    return {f"aria-{name}": text for name, text in names.items()}


def _of_feed(
    snapshots: Snapshots, months_by_feed: Callable[[Snapshot], Months], feed: str | None
) -> tuple[str, tuple[date, ...]]:
    with snapshots.current() as snapshot:
        by_feed = months_by_feed(snapshot)
    there = feed if feed and feed in by_feed else next(iter(by_feed))
    return there, by_feed[there]


def _slider(months: tuple[date, ...], month: date) -> tuple[int, int, dict[int, str], str, bool]:
    """Return a slider's place, its last place, its marks, the month in words, and whether alone."""
    last = len(months) - 1
    step = max(1, -(-last // (MOST_MARKS - 1)))
    marks = {place: f"{months[place]:%Y-%m}" for place in range(last, -1, -step)}
    return months.index(month), max(last, 1), marks, f"{month:%B %Y}", not last
