"""The delays page: the same complaint in another neighbourhood, and how much longer it takes.

What belongs here: the layout and the callbacks. What does not: reading (`effects`), what is chosen
(`selection`), sentences (`answers`), figures, tables, pairs and ratings.
"""

from functools import partial
from typing import Any

import dash
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.console.atlas.controls import (
    feed_and_month,
    inputs_of,
    keep_in_step,
    problems_text,
)
from city311_assets.serving.console.delays import parts
from city311_assets.serving.console.delays.answers import DISPARITY, summary
from city311_assets.serving.console.delays.effects import Effects, months_by_feed
from city311_assets.serving.console.delays.figures import forest, love, side_by_side
from city311_assets.serving.console.delays.names import estimator_name
from city311_assets.serving.console.delays.pair_panel import panel, register_pairs
from city311_assets.serving.console.delays.selection import (
    BLIND,
    CONTROLS,
    PATH,
    Selection,
    selection_of,
    shown_of,
)
from city311_assets.serving.console.page import Page
from city311_assets.serving.console.tables import options
from city311_assets.serving.console.url_state import Value, keep_in_address, values_of
from city311_assets.serving.snapshots import Snapshot, Snapshots

NAME = "delays"
NO_EFFECTS = (
    "There are no effects of neighbourhoods yet: this file holds none. `make demo` makes them, and "
    "so do the assets of the group causal in Dagster."
)
CLAIM = f"{DISPARITY[:1].upper()}{DISPARITY[1:]}"
MEANING = (
    ": hours that a neighbourhood's cases took more than like cases elsewhere, whatever the reason."
)
CONFIG: Any = {"displaylogo": False, "displayModeBar": False, "responsive": True}
ABSENT = {"display": "none"}


def layout(snapshot: Snapshot, search: str) -> Component:
    """Return the page as an address says it."""
    values = values_of(search, CONTROLS)
    found = selection_of(values, snapshot)
    if found is None:
        return html.P(NO_EFFECTS, className="empty")
    chosen, effects, problems = found
    return html.Div(
        [
            dcc.Location(id="delays-url", refresh=False),
            *(
                dcc.Store(id=f"delays-{name}", data=values[name])
                for name in ("feed", "month", "case")
            ),
            dcc.Store(id="delays-shown"),
            dcc.Store(id="delays-ratings", storage_type="local"),
            dcc.Download(id="delays-saved"),
            html.H1("Delays: the same complaint, another neighbourhood"),
            html.P(
                [html.Strong(CLAIM), MEANING],
                className="delays-claim",
            ),
            html.Div(
                [
                    *feed_and_month(NAME, months_by_feed(snapshot), chosen.feed, chosen.month),
                    _dropdown(
                        "Neighbourhood",
                        "delays-neighborhood",
                        *_neighborhoods(effects, chosen, values),
                    ),
                    _dropdown(
                        "Estimator of the plot",
                        "delays-estimator",
                        *_estimators(effects, chosen, values),
                    ),
                ],
                className="bar",
            ),
            html.P(problems_text(problems), id="delays-problems", className="warn", role="status"),
            html.P(id="delays-facts", className="quiet"),
            html.Section(id="delays-answer", className="panel", role="status"),
            html.Div(
                [
                    html.Section(
                        [
                            html.H2("All neighbourhoods"),
                            html.P(id="delays-summary"),
                            _drawing("delays-forest"),
                            html.P(id="delays-legend", className="quiet"),
                            html.Div(id="delays-undrawn"),
                        ],
                        className="panel",
                    ),
                    html.Section(
                        [html.H2("Before you quote a number"), html.Div(id="delays-caveats")],
                        className="panel",
                    ),
                ],
                className="columns delays-row",
            ),
            html.Div(
                [
                    html.Section(
                        [
                            html.H2("Are the compared cases alike?"),
                            html.P(id="delays-balance", className="quiet"),
                            _drawing("delays-love"),
                        ],
                        className="panel",
                    ),
                    html.Section(
                        [
                            html.H2("All estimators side by side"),
                            _drawing("delays-side"),
                            html.Div(id="delays-estimates"),
                        ],
                        className="panel",
                    ),
                ],
                className="columns even delays-row",
            ),
            panel(chosen),
            html.Div(
                [
                    html.Section(
                        [
                            html.H2("How far to trust it: hidden causes and choices"),
                            html.Div(id="delays-sensitivity", className="delays-list"),
                        ],
                        className="panel",
                    ),
                    html.Section(
                        [
                            html.H2("Where nothing can have an effect: placebos"),
                            html.Div(id="delays-placebos"),
                        ],
                        className="panel",
                    ),
                ],
                className="columns delays-row",
            ),
            html.Details(
                [
                    html.Summary("Design record: all that is needed to repeat this"),
                    html.Div(id="delays-record"),
                ],
                className="panel",
            ),
        ]
    )


def register(app: dash.Dash, snapshots: Snapshots) -> None:
    """Add the page's callbacks."""
    keep_in_address(app, NAME, PATH, CONTROLS)
    keep_in_step(app, NAME, snapshots, months_by_feed, "case")

    @app.callback(
        dash.Output("delays-neighborhood", "options"),
        dash.Output("delays-neighborhood", "value"),
        dash.Output("delays-estimator", "options"),
        dash.Output("delays-estimator", "value"),
        dash.Output("delays-problems", "children"),
        inputs=inputs_of(CONTROLS, "case"),
        prevent_initial_call=True,
    )
    async def offered(values: dict[str, Value]) -> tuple[Any, ...]:
        return await shown_of(snapshots, values, partial(_offered, values))

    @app.callback(
        *(
            dash.Output(f"delays-{name}", prop)
            for name, prop in (
                ("facts", "children"),
                ("answer", "children"),
                ("summary", "children"),
                ("forest", "figure"),
                ("forest", "style"),
                ("legend", "children"),
                ("undrawn", "children"),
                ("caveats", "children"),
                ("balance", "children"),
                ("love", "figure"),
                ("love", "style"),
                ("side", "figure"),
                ("side", "style"),
                ("estimates", "children"),
                ("sensitivity", "children"),
                ("placebos", "children"),
                ("record", "children"),
            )
        ),
        inputs=inputs_of(CONTROLS, "case", BLIND),
    )
    async def told(values: dict[str, Value]) -> tuple[Any, ...]:
        return await shown_of(snapshots, values, _told)

    @app.callback(
        dash.Output("delays-neighborhood", "value", allow_duplicate=True),
        dash.Output("delays-forest", "clickData"),
        dash.Input("delays-forest", "clickData"),
        prevent_initial_call=True,
    )
    async def clicked(click: dict[str, Any] | None) -> tuple[Any, Any]:
        name = click and click["points"][0].get("customdata")
        return (name, None) if name else (dash.no_update, dash.no_update)

    register_pairs(app, snapshots)


def _offered(
    values: dict[str, Value],
    _: Snapshot,
    effects: Effects,
    chosen: Selection,
    problems: tuple[str, ...],
) -> tuple[Any, ...]:
    return (
        *_neighborhoods(effects, chosen, values),
        *_estimators(effects, chosen, values),
        problems_text(problems),
    )


def _told(_: Snapshot, effects: Effects, chosen: Selection, __: object) -> tuple[Any, ...]:
    plot, drawn = forest(effects, chosen)
    return (
        parts.facts(effects),
        parts.answer(effects, chosen),
        summary(effects),
        *_sized(plot),
        parts.legend(effects, chosen, drawn),
        parts.undrawn(effects, chosen),
        parts.caveats(effects),
        parts.balance_words(effects, chosen),
        *_sized(love(effects, chosen.neighborhood)),
        *_sized(side_by_side(effects, chosen.neighborhood)),
        parts.estimators(effects, chosen),
        parts.sensitivity(effects, chosen),
        parts.placebos(effects),
        parts.record(effects),
    )


def _neighborhoods(
    effects: Effects, chosen: Selection, values: dict[str, Value]
) -> tuple[list[Any], Value]:
    asked = values["neighborhood"] or chosen.neighborhood
    return options({one: one for one in effects.neighborhoods}, asked), asked


def _estimators(
    effects: Effects, chosen: Selection, values: dict[str, Value]
) -> tuple[list[Any], Value]:
    asked = values["estimator"] or chosen.estimator
    return options({one: estimator_name(one) for one in effects.estimators}, asked), asked


def _dropdown(name: str, component: str, offered: list[Any], value: Value) -> Component:
    chosen: Any = value
    return html.Div(
        [
            html.Label(name, htmlFor=component),
            dcc.Dropdown(id=component, options=offered, value=chosen, clearable=False),
        ],
        className="field wide",
    )


def _drawing(component: str) -> Component:
    return dcc.Loading(
        dcc.Graph(id=component, config=CONFIG, style=ABSENT), delay_show=300, type="dot"
    )


def _sized(figure: dict[str, Any] | None) -> tuple[Any, dict[str, str]]:
    """Return a figure and the style of its graph: as high as it has rows, or absent."""
    if figure is None:
        return dash.no_update, ABSENT
    return figure, {"height": f"{figure['layout'].pop('height')}px"}


PAGE = Page(name=NAME, title="Delays", layout=layout, register=register)
