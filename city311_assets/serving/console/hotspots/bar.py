"""The controls of the hotspots page: what is asked, set from the address.

What belongs here: the components, and links that set several of them at once. What does not: what
their values mean (`selection`), and what happens when they change (`callbacks`).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.console.hotspots.cells_panel import FEW_ROWS
from city311_assets.serving.console.hotspots.controls import CONTROLS
from city311_assets.serving.console.hotspots.facts import FeedFacts, feeds_held
from city311_assets.serving.console.hotspots.measures import MEASURES
from city311_assets.serving.console.hotspots.parts import Sent, aria, count, link, name
from city311_assets.serving.console.hotspots.selection import (
    COARSEST,
    DEFAULT_RESOLUTION,
    FINEST,
    Selection,
    search_for,
)
from city311_assets.serving.console.url_state import Control
from city311_assets.serving.snapshots import Snapshot

# A radio button must show what holds where the address names none. The list of a cell's records and
# the length of the table are of the page alone, and end when a link changes the selection.
PAGE_CONTROLS: tuple[Control, ...] = (
    *(
        replace(one, default=DEFAULT_RESOLUTION) if one.name == "resolution" else one
        for one in CONTROLS
    ),
    Control("hotspots-records", "records", prop="data"),
    Control("hotspots-rows", "rows", "number", FEW_ROWS, prop="data"),
)
STORES = tuple(one for one in PAGE_CONTROLS if one.prop == "data")
ONE_DAY = timedelta(days=1)
NOT_HELD = " (no records yet)"
DATES: Sent = {
    # A day alone counts too, and the page asks for the second.
    "updatemode": "singledate",
    "display_format": "YYYY-MM-DD",
    "first_day_of_week": 1,
    "minimum_nights": 0,
}


def bar(snapshot: Snapshot, values: dict[str, Sent], facts: FeedFacts | None) -> Component:
    """Return all controls as the address says; `facts` are of the feed that is shown."""
    held = {feed for feed, _ in feeds_held(snapshot)}
    month = None if facts is None else facts.last_day.isoformat()
    fields = [
        _field(
            "Feed",
            "hotspots-feed",
            dcc.Dropdown(
                id="hotspots-feed",
                options=[
                    {"label": feed.title + ("" if key in held else NOT_HELD), "value": key}
                    for key, feed in FEEDS.items()
                ],
                value=values["feed"],
                clearable=False,
                searchable=False,
                placeholder=facts.title if facts else "no feed",
            ),
            "wide",
        ),
        _field(
            "Period, both days included",
            "hotspots-period",
            html.Div(
                [
                    dcc.DatePickerRange(
                        id="hotspots-period",
                        start_date=values["from"],
                        end_date=values["to"],
                        initial_visible_month=month,
                        **DATES,
                    ),
                    html.Div(id="hotspots-period-choices", className="buttons hotspots-choices"),
                ]
            ),
            "wide",
        ),
        html.Div(
            [
                html.Span("Categories", className="label", id="hotspots-category-label"),
                _categories(values),
            ],
            className="field wide",
        ),
        html.Div(
            [
                html.Span("Size of cells (H3)", className="label", id="hotspots-resolution-label"),
                html.Div(
                    dcc.RadioItems(
                        id="hotspots-resolution",
                        options=[
                            {"label": str(number), "value": number}
                            for number in range(COARSEST, FINEST + 1)
                        ],
                        value=values["resolution"],
                        inline=True,
                        className="options",
                    ),
                    role="group",
                    **aria(labelledby="hotspots-resolution-label"),
                ),
            ],
            className="field",
            title=f"{COARSEST} is the largest, {FINEST} the smallest",
        ),
        _field(
            "Compare with",
            "hotspots-compare",
            html.Div(
                [
                    dcc.DatePickerRange(
                        id="hotspots-compare",
                        start_date=values["compare-from"],
                        end_date=values["compare-to"],
                        initial_visible_month=month,
                        **DATES,
                    ),
                    html.Div(id="hotspots-compare-choices", className="buttons hotspots-choices"),
                ]
            ),
            "wide",
        ),
    ]
    stores = [dcc.Store(id=one.component, data=values[one.name]) for one in STORES]
    return html.Div([*fields, *stores], className="bar", role="group", **aria(label="Filters"))


def measure_field(values: dict[str, Sent]) -> Component:
    """Return what chooses the colours of the map, with what they mean beside it."""
    return html.Div(
        [
            _field(
                "Coloured and ranked by",
                "hotspots-measure",
                dcc.Dropdown(
                    id="hotspots-measure",
                    options=[{"label": one.label, "value": key} for key, one in MEASURES.items()],
                    value=values["measure"],
                    clearable=False,
                    searchable=False,
                ),
            ),
            html.P(id="hotspots-explain", className="quiet hotspots-explain"),
        ],
        className="bar",
    )


def period_choices(selection: Selection, facts: FeedFacts, measure: str) -> list[Component]:
    """Return links to the usual periods, up to the newest day that was told in full.

    Of those that begin before the first day held there is none: everything is less.
    """
    newest = facts.newest_told_day
    last_of_month = newest.replace(day=1) - ONE_DAY
    choices = [
        *((f"Last {days} days", newest - (days - 1) * ONE_DAY, newest) for days in (7, 28, 90)),
        ("This month", newest.replace(day=1), newest),
        ("Last month", last_of_month.replace(day=1), last_of_month),
        ("Last 12 months", newest - 364 * ONE_DAY, newest),
        ("Everything", facts.first_day, facts.last_day),
    ]
    return [
        _choice(
            label,
            search_for(selection, first=first, last=last),
            measure,
            is_on=(first, last) == (selection.first, selection.last),
        )
        for label, first, last in choices
        if first >= facts.first_day
    ]


def compare_choices(selection: Selection, facts: FeedFacts | None, measure: str) -> list[Component]:
    """Return links to what a period is usually compared with, of days that are held."""
    just_before = (selection.first - selection.days * ONE_DAY, selection.first - ONE_DAY)
    choices: list[tuple[str, tuple[date | None, date | None]]] = [
        ("Same weeks last year", (None, None)),
        (
            "The day before" if selection.days == 1 else f"The {selection.days} days before",
            just_before,
        ),
    ]
    return [
        _choice(
            label,
            search_for(selection, compare_first=days[0], compare_last=days[1]),
            measure,
            is_on=days == (selection.compare_first, selection.compare_last),
        )
        for label, days in choices
        if facts is None or days[1] is None or days[1] >= facts.first_day
    ]


def clear_when(selection: Selection, measure: str) -> Component | str:
    """Return the link that lets weekdays and hours go, or how they are chosen."""
    if not (selection.weekdays or selection.hours):
        return "Click a bar to choose it, and again to let it go."
    return link(
        "Clear weekdays and hours",
        search_for(selection, weekdays=(), hours=()),
        measure,
        id="hotspots-clear-when",
    )


def category_choices(selection: Selection, measure: str) -> list[Component]:
    """Return links to all categories and to none."""
    return [
        _choice(
            "All",
            search_for(selection, categories=(), is_empty_filter=False),
            measure,
            is_on=not selection.categories and not selection.is_empty_filter,
        ),
        _choice(
            "None",
            search_for(selection, categories=(), is_empty_filter=True),
            measure,
            is_on=selection.is_empty_filter,
        ),
    ]


def category_options(
    facts: FeedFacts, chosen: Sequence[str], looked_for: str
) -> list[dict[str, str]]:
    """Return the categories whose names hold a text, and those chosen, most records first."""
    wanted = looked_for.strip().lower()
    return [
        {"label": f"{name(category)} ({count(records)})", "value": category}
        for category, records in facts.categories
        if category in chosen or wanted in name(category).lower()
    ]


def category_words(selection: Selection) -> str:
    """Return what is chosen of the categories, short."""
    if selection.is_empty_filter:
        return "None: nothing is shown"
    if not selection.categories:
        return "All categories"
    names = ", ".join(name(category) for category in selection.categories)
    return names if len(selection.categories) == 1 else f"{len(selection.categories)}: {names}"


def _categories(values: dict[str, Sent]) -> Component:
    return html.Details(
        [
            html.Summary("All categories", id="hotspots-category-words"),
            html.Div(
                [
                    html.Div(id="hotspots-category-choices", className="buttons hotspots-choices"),
                    html.Label("Search", htmlFor="hotspots-category-search", className="quiet"),
                    dcc.Input(
                        id="hotspots-category-search", type="search", value="", autoComplete="off"
                    ),
                    html.Div(
                        dcc.Checklist(id="hotspots-category", options=[], value=values["category"]),
                        className="hotspots-options",
                        role="group",
                        **aria(labelledby="hotspots-category-label"),
                    ),
                ],
                className="hotspots-open",
            ),
        ],
        id="hotspots-categories",
        className="hotspots-categories",
    )


def _choice(label: str, search: str, measure: str, *, is_on: bool) -> Component:
    # `dcc.Link` knows no aria attributes; what is around it does.
    if is_on:
        chosen = link(label, search, measure, className="chosen")
        return html.Span(chosen, **aria(current="true"))
    return html.Span(link(label, search, measure))


def _field(label: str, component_id: str, control: Component, kind: str = "") -> Component:
    return html.Div(
        [html.Label(label, htmlFor=component_id), control], className=f"field {kind}".strip()
    )
