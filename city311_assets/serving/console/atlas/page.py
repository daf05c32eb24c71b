"""The atlas page: what cases are about, month by month, with their photos.

What belongs here: the layout and the callbacks. What does not: reading (`months`), what is chosen
(`selection`), figures and lists.
"""

from asyncio import to_thread
from collections.abc import Callable
from typing import Any, TypeVar

import dash
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.console.atlas import parts
from city311_assets.serving.console.atlas.controls import (
    aria,
    choice,
    feed_and_month,
    inputs_of,
    keep_in_step,
    problems_text,
)
from city311_assets.serving.console.atlas.figures import place_map, projection
from city311_assets.serving.console.atlas.months import Atlas, atlas_of, months_by_feed
from city311_assets.serving.console.atlas.selection import (
    CONTROLS,
    PATH,
    VIEWS,
    Selection,
    selection_of,
)
from city311_assets.serving.console.page import Page
from city311_assets.serving.console.url_state import Value, keep_in_address, values_of
from city311_assets.serving.snapshots import Snapshot, Snapshots

NAME = "atlas"
NO_MAP = (
    "There is no map of what cases are about yet: this file holds none. `make demo` makes one, and "
    "so do the assets of the group atlas in Dagster."
)
CONFIG: Any = {
    "displaylogo": False,
    "displayModeBar": False,
    "responsive": True,
    "scrollZoom": True,
}
Shown = TypeVar("Shown")


def layout(snapshot: Snapshot, search: str) -> Component:
    """Return the page as an address says it."""
    chosen, problems = selection_of(values_of(search, CONTROLS), snapshot)
    if chosen is None:
        return html.P(NO_MAP, className="empty")
    values = values_of(search, CONTROLS)
    return html.Div(
        [
            dcc.Location(id="atlas-url", refresh=False),
            *(
                dcc.Store(id=f"atlas-{name}", data=values[name])
                for name in ("feed", "month", "cluster", "record", "points", "photos")
            ),
            html.H1("Atlas: what cases are about"),
            html.Div(
                [
                    *feed_and_month(NAME, months_by_feed(snapshot), chosen.feed, chosen.month),
                    choice("View", "atlas-view", VIEWS, values["view"]),
                    html.Div(
                        [
                            html.Label("Search", htmlFor="atlas-search"),
                            dcc.Input(
                                id="atlas-search",
                                type="search",
                                value=chosen.search,
                                debounce=0.4,
                                placeholder="caption, kind, cluster, record id",
                                autoComplete="off",
                            ),
                        ],
                        className="field wide",
                    ),
                ],
                className="bar",
            ),
            html.P(problems_text(problems), id="atlas-problems", className="warn", role="status"),
            html.P(id="atlas-facts", className="quiet"),
            html.Div(
                [
                    html.Section(
                        [
                            _drawing(
                                dcc.Graph(id="atlas-plot", className="atlas-plot", config=CONFIG)
                            ),
                            html.P(id="atlas-sampled", className="quiet"),
                        ],
                        className="panel atlas-likeness",
                        **aria(label="Cases by likeness"),
                    ),
                    html.Div(
                        [
                            html.Section(id="atlas-found", className="panel", role="status"),
                            html.Section(id="atlas-case", className="panel"),
                            html.Section(id="atlas-chosen", className="panel"),
                            html.Section(
                                [
                                    html.H2("Clusters"),
                                    html.Div(id="atlas-clusters", className="scroll atlas-list"),
                                ],
                                className="panel",
                            ),
                        ],
                        className="stack atlas-side",
                    ),
                    html.Div(
                        [
                            html.Section(
                                [
                                    html.H2("Where"),
                                    choice(
                                        "Cells",
                                        "atlas-cells",
                                        {9: "350 m (r9)", 10: "130 m (r10)"},
                                        values["cells"],
                                    ),
                                    html.P(id="atlas-where", className="quiet", role="status"),
                                    _drawing(
                                        dcc.Graph(
                                            id="atlas-map", className="atlas-map", config=CONFIG
                                        )
                                    ),
                                ],
                                className="panel",
                            ),
                            html.Section(
                                [
                                    html.H2("Changes against the month before"),
                                    html.Ul(id="atlas-changes", className="hits"),
                                ],
                                className="panel",
                            ),
                        ],
                        className="stack atlas-place",
                    ),
                ],
                className="atlas-page",
            ),
            html.Details(
                [html.Summary("About this map"), html.Ul(id="atlas-notes", className="hits")],
                className="panel",
            ),
        ]
    )


def register(app: dash.Dash, snapshots: Snapshots) -> None:
    """Add the page's callbacks."""
    keep_in_address(app, NAME, PATH, CONTROLS)
    keep_in_step(app, NAME, snapshots, months_by_feed, "cluster", "record", "photos")

    @app.callback(
        dash.Output("atlas-plot", "figure"), inputs=inputs_of(CONTROLS, "cells", "photos")
    )
    async def drawn(values: dict[str, Value]) -> dict[str, Any]:
        return await _shown(snapshots, values, lambda atlas, chosen, _: projection(atlas, chosen))

    @app.callback(
        dash.Output("atlas-map", "figure"),
        dash.Output("atlas-map", "style"),
        dash.Output("atlas-where", "children"),
        inputs=inputs_of(CONTROLS, "view", "points", "photos"),
    )
    async def located(values: dict[str, Value]) -> tuple[Any, Any, str]:
        figure, said = await _shown(snapshots, values, place_map)
        return figure or dash.no_update, {} if figure else {"display": "none"}, said

    # What was wrong with the address the page was opened with is in its layout already.
    @app.callback(
        dash.Output("atlas-problems", "children"),
        inputs=inputs_of(CONTROLS),
        prevent_initial_call=True,
    )
    async def problematic(values: dict[str, Value]) -> str:
        return await _shown(snapshots, values, lambda _, __, problems: problems_text(problems))

    @app.callback(
        dash.Output("atlas-facts", "children"),
        dash.Output("atlas-sampled", "children"),
        dash.Output("atlas-found", "children"),
        dash.Output("atlas-found", "hidden"),
        dash.Output("atlas-case", "children"),
        dash.Output("atlas-chosen", "children"),
        dash.Output("atlas-chosen", "hidden"),
        dash.Output("atlas-clusters", "children"),
        dash.Output("atlas-changes", "children"),
        dash.Output("atlas-notes", "children"),
        inputs=inputs_of(CONTROLS),
    )
    async def told(values: dict[str, Value]) -> tuple[Any, ...]:
        return await _shown(snapshots, values, _told)

    @app.callback(
        dash.Output("atlas-record", "data", allow_duplicate=True),
        dash.Output("atlas-plot", "clickData"),
        dash.Input("atlas-plot", "clickData"),
        prevent_initial_call=True,
    )
    async def clicked(click: dict[str, Any] | None) -> tuple[Any, Any]:
        record = click and click["points"][0].get("customdata")
        # Emptied, so that the same point can be clicked again.
        return (record, None) if record else (dash.no_update, dash.no_update)


def _told(atlas: Atlas, chosen: Selection, _: object) -> tuple[Any, ...]:
    found = parts.results(atlas, chosen)
    cluster = parts.cluster_card(atlas, chosen)
    return (
        parts.facts(atlas),
        parts.sampled(atlas, chosen),
        found,
        not found,
        parts.case_card(atlas, chosen),
        cluster,
        not cluster,
        parts.cluster_table(atlas, chosen),
        parts.changes(atlas, chosen),
        parts.notes(atlas),
    )


async def _shown(
    snapshots: Snapshots, values: dict[str, Value], show: Callable[[Atlas, Selection, Any], Shown]
) -> Shown:
    """Return what is shown of the map that is chosen; `show` runs in a thread."""
    return await to_thread(_of_map, snapshots, values, show)


def _of_map(
    snapshots: Snapshots, values: dict[str, Value], show: Callable[[Atlas, Selection, Any], Shown]
) -> Shown:
    with snapshots.current() as snapshot:
        chosen, problems = selection_of(values, snapshot)
        if chosen is None:
            raise dash.exceptions.PreventUpdate
        atlas = atlas_of(snapshot, chosen.feed, chosen.month)
        return show(atlas, chosen, snapshot if show is place_map else problems)


def _drawing(graph: Component) -> Component:
    return dcc.Loading(graph, delay_show=300, type="dot")


PAGE = Page(name=NAME, title="Atlas", layout=layout, register=register)
