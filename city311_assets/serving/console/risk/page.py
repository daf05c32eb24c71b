"""The Risk page: where the next call is likely, why, what it costs, what fits into a day."""

from asyncio import to_thread
from datetime import date
from typing import Any

import dash
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.risk.methods.priors import read_priors
from city311_assets.risk.targets.registry import TARGETS
from city311_assets.serving.console.page import Page
from city311_assets.serving.console.risk import answers, figures, panels, queries
from city311_assets.serving.console.risk.controls import (
    CELL,
    DAY,
    HOURS,
    LAYER,
    LAYERS,
    MOST_TIMES,
    SLIDER,
    TARGET,
    chosen,
    controls,
)
from city311_assets.serving.console.tables import options
from city311_assets.serving.console.url_state import Value, keep_in_address, values_of
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets.settings import settings

NAME = "risk"
MAP = "risk-map"
# Whether the map shows cells, so that one can be outlined.
DRAWN = "risk-drawn"
CAVEAT = (
    "A call is not a leak: neighbourhoods differ up to threefold in how soon they report one, and "
    "so does everything here."
)


# What was moved last is followed by the other.
SAME_HOURS = """function(hours, slid) {
    const leave = window.dash_clientside.no_update;
    const by = window.dash_clientside.callback_context.triggered.map((one) => one.prop_id);
    if (by.length === 1 && by[0] === "risk-slider.value") {
        return [slid === hours ? leave : slid, leave];
    }
    return [leave, typeof hours === "number" && hours !== slid ? hours : leave];
}"""


def layout(snapshot: Snapshot, search: str) -> Component:
    """Return the page as the address has it."""
    values = values_of(search, controls())
    wanted = chosen(values, snapshot)
    days = queries.days_scored(snapshot, wanted.target.name)
    usual = settings().risk_crew_hours
    # As the address has them, sense or not, so that it stays as it was sent.
    layer: Any = values["layer"]
    cell: Any = values["cell"]
    return html.Div(
        [
            dcc.Location(id="risk-url", refresh=False),
            dcc.Download(id="risk-csv-file"),
            dcc.Store(id=HOURS, data=values["hours"]),
            dcc.Store(id=DRAWN, data=False),
            html.H1("Risk"),
            html.P(CAVEAT, className="caveat"),
            html.Div(
                [
                    _field("target", _targets(values), TARGET, wide=True),
                    _field("day", _days(values, days), DAY),
                    _field(
                        "map",
                        dcc.RadioItems(
                            id=LAYER,
                            options=options(LAYERS, layer),
                            value=layer,
                            className="options",
                            inline=True,
                        ),
                        wide=True,
                    ),
                    _field(
                        "cell (click the map, or type one)",
                        dcc.Input(id=CELL, value=cell, debounce=True, placeholder="H3, hex"),
                        CELL,
                    ),
                ],
                className="bar",
            ),
            html.P(id="risk-warn", className="warn", role="status"),
            html.Div(
                [
                    html.Section(
                        [
                            dcc.Loading(
                                html.Div(
                                    dcc.Graph(
                                        id=MAP,
                                        figure=answers.NOTHING,
                                        config=panels.CONFIG,
                                        responsive=True,
                                        style={"height": "100%"},
                                    ),
                                    className="map",
                                    role="figure",
                                ),
                                delay_show=300,
                            ),
                            html.P(id="risk-map-said", className="quiet"),
                        ],
                        className="panel",
                        id="risk-map-panel",
                    ),
                    html.Section(
                        [
                            html.Div(id="risk-highest"),
                            dcc.Loading(html.Div(id="risk-cell-said"), delay_show=300),
                        ],
                        className="panel",
                    ),
                ],
                className="columns even",
            ),
            html.Section(
                [
                    html.H2("Work list"),
                    html.Div(
                        [
                            _field(
                                "crew hours of the day",
                                dcc.Slider(
                                    id=SLIDER,
                                    min=0,
                                    max=MOST_TIMES * usual,
                                    step=usual / 20,
                                    value=wanted.hours,
                                    marks={
                                        round(usual * n): f"{usual * n:g}"
                                        for n in range(MOST_TIMES + 1)
                                    },
                                ),
                                wide=True,
                            ),
                            html.Button("Crew's list (CSV)", id="risk-csv"),
                        ],
                        className="bar",
                    ),
                    dcc.Loading(html.Div(id="risk-work"), delay_show=300),
                ],
                className="panel",
            ),
            html.Div(
                [
                    html.Section(
                        [
                            html.H2("Did what was said come?"),
                            dcc.Loading(html.Div(id="risk-reliable"), delay_show=300),
                        ],
                        className="panel",
                    ),
                    html.Section(
                        [
                            html.H2("Which model serves, and why"),
                            dcc.Loading(html.Div(id="risk-model"), delay_show=300),
                        ],
                        className="panel",
                    ),
                ],
                className="columns even",
            ),
            html.Section(
                [
                    html.H2("Who is reached"),
                    dcc.Loading(html.Div(id="risk-wards"), delay_show=300),
                ],
                className="panel",
            ),
            html.Section(
                [
                    html.H2("What the dollars stand on"),
                    *panels.priors(read_priors(settings().risk_priors)),
                    html.Button("What if a prior is wrong?", id="risk-what-if"),
                    dcc.Loading(html.Div(id="risk-ends"), delay_show=300),
                ],
                className="panel",
            ),
        ]
    )


def register(app: dash.Dash, snapshots: Snapshots) -> None:
    """Add the page's callbacks."""
    keep_in_address(app, NAME, f"/{NAME}", controls())
    app.clientside_callback(
        SAME_HOURS,
        dash.Output(HOURS, "data", allow_duplicate=True),
        dash.Output(SLIDER, "value"),
        dash.Input(HOURS, "data"),
        dash.Input(SLIDER, "value"),
        prevent_initial_call=True,
    )
    day_inputs = (dash.Input(TARGET, "value"), dash.Input(DAY, "date"))

    @app.callback(
        dash.Output(MAP, "figure"),
        dash.Output(DRAWN, "data"),
        dash.Output("risk-map-said", "children"),
        dash.Output("risk-warn", "children"),
        dash.Output("risk-highest", "children"),
        *day_inputs,
        dash.Input(LAYER, "value"),
        dash.Input(HOURS, "data"),
        dash.State(CELL, "value"),
    )
    async def drawn(target: Value, day: Value, layer: Value, hours: Value, cell: Value) -> object:
        given = answers.given(target, day, layer, cell, hours)
        is_only_hours = dash.ctx.triggered_id == HOURS
        if is_only_hours and layer != "recommendations":
            return (dash.no_update,) * 5
        figure, *said = await to_thread(answers.drawn, snapshots, given)
        return figure, figure is not answers.NOTHING, *said

    @app.callback(
        dash.Output(CELL, "value", allow_duplicate=True),
        dash.Input(MAP, "clickData"),
        prevent_initial_call=True,
    )
    async def clicked(data: dict[str, Any] | None) -> object:
        points = (data or {}).get("points") or [{}]
        return points[0].get("location") or dash.no_update

    @app.callback(
        dash.Output(CELL, "value", allow_duplicate=True),
        dash.Input({"type": "risk-highest", "cell": dash.ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    async def picked(clicks: list[int | None]) -> object:
        # New buttons report themselves too, without a click.
        name = dash.ctx.triggered_id
        return name["cell"] if any(clicks) and name else dash.no_update

    @app.callback(
        dash.Output("risk-cell-said", "children"),
        dash.Output(MAP, "figure", allow_duplicate=True),
        *day_inputs,
        dash.Input(CELL, "value"),
        dash.State(DRAWN, "data"),
        prevent_initial_call="initial_duplicate",
    )
    async def of_cell(target: Value, day: Value, cell: Value, is_drawn: bool) -> object:
        said = await to_thread(answers.of_cell, snapshots, answers.given(target, day, cell=cell))
        patch = dash.no_update
        if dash.ctx.triggered_id == CELL and is_drawn:
            outline = figures.chosen_cell(str(cell or "").strip().lower())
            patch = dash.Patch()
            for name in ("lat", "lon"):
                patch["data"][figures.CHOSEN_TRACE][name] = outline[name]
        return said, patch

    @app.callback(
        dash.Output("risk-work", "children"),
        *day_inputs,
        dash.Input(HOURS, "data"),
    )
    async def work(target: Value, day: Value, hours: Value) -> object:
        return await to_thread(answers.work, snapshots, answers.given(target, day, hours=hours))

    @app.callback(
        dash.Output("risk-csv-file", "data"),
        dash.Input("risk-csv", "n_clicks"),
        dash.State(TARGET, "value"),
        dash.State(DAY, "date"),
        dash.State(HOURS, "data"),
        prevent_initial_call=True,
    )
    async def crew_list(_: int, target: Value, day: Value, hours: Value) -> object:
        return await to_thread(
            answers.crew_list, snapshots, answers.given(target, day, hours=hours)
        )

    @app.callback(
        dash.Output("risk-reliable", "children"),
        dash.Output("risk-model", "children"),
        dash.Output("risk-wards", "children"),
        *day_inputs,
    )
    async def of_day(target: Value, day: Value) -> object:
        return await to_thread(answers.of_day, snapshots, answers.given(target, day))

    @app.callback(
        dash.Output(DAY, "min_date_allowed"),
        dash.Output(DAY, "max_date_allowed"),
        dash.Output(DAY, "initial_visible_month"),
        dash.Input(TARGET, "value"),
        prevent_initial_call=True,
    )
    async def reach(target: Value) -> object:
        return await to_thread(answers.reach, snapshots, answers.given(target))

    @app.callback(
        dash.Output("risk-ends", "children"),
        dash.Input("risk-what-if", "n_clicks"),
        *day_inputs,
        dash.State(HOURS, "data"),
        prevent_initial_call=True,
    )
    async def what_if(_: int | None, target: Value, day: Value, hours: Value) -> object:
        # The answer is of one day: another one is asked for anew.
        if dash.ctx.triggered_id != "risk-what-if":
            return []
        return await to_thread(answers.ends, snapshots, answers.given(target, day, hours=hours))


def _targets(values: dict[str, Value]) -> Component:
    return dcc.Dropdown(
        id=TARGET,
        options=options({name: one.title for name, one in TARGETS.items()}, values["target"]),
        value=values["target"],
        clearable=False,
    )


def _days(values: dict[str, Value], days: list[date]) -> Component:
    reach: dict[str, Any] = {}
    if days:
        reach = {
            "min_date_allowed": days[0],
            "max_date_allowed": days[-1],
            "initial_visible_month": days[-1],
        }
    given: Any = values["day"]
    return dcc.DatePickerSingle(
        id=DAY,
        date=given,
        display_format="YYYY-MM-DD",
        placeholder="the newest",
        clearable=True,
        **reach,
    )


def _field(label: str, control: Component, name: str = "", *, wide: bool = False) -> html.Div:
    head = html.Label(label, htmlFor=name) if name else html.Span(label, className="label")
    return html.Div([head, control], className="field wide" if wide else "field")


PAGE = Page(name=NAME, title="Risk", layout=layout, register=register)
