"""How the hotspots page answers: one selection, and each panel on its own.

What belongs here: which callback feeds which component. What does not: what is shown (`…_panels`)
and where clicks lead (`actions`). Whatever reads the file runs in a thread.
"""

from asyncio import to_thread
from collections.abc import Callable
from typing import Any

import dash
from dash import Input, Output, State, dcc, no_update
from dash.development.base_component import Component

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.console.hotspots.actions import add_actions
from city311_assets.serving.console.hotspots.bar import (
    PAGE_CONTROLS,
    category_choices,
    category_options,
    category_words,
    compare_choices,
    period_choices,
)
from city311_assets.serving.console.hotspots.cell_maps import MAP_WIDTH, changes, drawing, figure
from city311_assets.serving.console.hotspots.cells import cell_measures
from city311_assets.serving.console.hotspots.cells_panel import FEW_ROWS, MORE_ROWS, cells_table
from city311_assets.serving.console.hotspots.comparison_panel import comparison_panel
from city311_assets.serving.console.hotspots.controls import PAGE as NAME
from city311_assets.serving.console.hotspots.downloads import csv, geojson
from city311_assets.serving.console.hotspots.facts import feed_facts, feeds_held
from city311_assets.serving.console.hotspots.findings_panels import (
    anomalies_panel,
    forecast_panel,
    outcome_panel,
    streets_panel,
)
from city311_assets.serving.console.hotspots.measures import MEASURES
from city311_assets.serving.console.hotspots.overview_panels import (
    held_words,
    hits_panel,
    kpi_panel,
    place_panel,
)
from city311_assets.serving.console.hotspots.parts import NONE, PATH, Sent, notes, sentence
from city311_assets.serving.console.hotspots.selection import (
    Selection,
    measure_of,
    selection_of,
)
from city311_assets.serving.console.hotspots.single_records import records_panel
from city311_assets.serving.console.hotspots.time_panels import (
    calendar_panel,
    mix_panel,
    when_panel,
)
from city311_assets.serving.console.url_state import Value, keep_in_address
from city311_assets.serving.snapshots import Snapshot, Snapshots

Panel = Callable[[Snapshot, Selection, str], list[Component]]
# Those whose links keep the map's measure are made again when it changes.
LINKING: dict[str, Panel] = {
    "place": place_panel,
    "kpis": kpi_panel,
    "hits": hits_panel,
    "when": when_panel,
    "anomalies": anomalies_panel,
}
PLAIN: dict[str, Panel] = {
    "mix": mix_panel,
    "outcome": outcome_panel,
    "calendar": calendar_panel,
    "streets": streets_panel,
    "forecast": forecast_panel,
    "comparison": comparison_panel,
}
# What the selection is made of: the measure only colours it, and lists only add.
OWN = ("measure", "records", "rows")
ASKED = tuple(one for one in PAGE_CONTROLS if one.name not in OWN)
SELECTION = Input("hotspots-selection", "data")
MEASURE = Input("hotspots-measure", "value")
CSV, GEOJSON = "hotspots-csv", "hotspots-geojson"


def nothing_held(values: dict[str, Value], snapshot: Snapshot) -> str | None:
    """Return why there is nothing to show of the chosen feed, and what to do; None if there is."""
    held = dict(feeds_held(snapshot))
    feed = str(values.get("feed") or "")
    if feed in FEEDS and feed not in held:
        return (
            f"The published file holds no records of {FEEDS[feed].title}. Load some with "
            f"`city311 materialize`, publish with `city311 snapshot`, or choose another feed."
        )
    if not held:
        return (
            "The published file holds no records of any feed. `make demo` fills it with a sample "
            "city, `city311 materialize` with a real one."
        )
    return None


def register(app: dash.Dash, snapshots: Snapshots) -> None:
    """Add the page's callbacks to the application."""
    keep_in_address(app, NAME, PATH, PAGE_CONTROLS)
    add_actions(app, snapshots)
    _add_selection(app, snapshots)
    _add_choices(app, snapshots)
    _add_map(app, snapshots)
    _add_records(app, snapshots)
    _add_downloads(app, snapshots)
    for name, panel in LINKING.items():
        _add_panel(app, snapshots, name, panel, (SELECTION, MEASURE))
    for name, panel in PLAIN.items():
        _add_panel(app, snapshots, name, panel, (SELECTION, State("hotspots-measure", "value")))


def _add_selection(app: dash.Dash, snapshots: Snapshots) -> None:
    def read(values: dict[str, Value]) -> tuple[Any, ...]:
        with snapshots.current() as snapshot:
            nothing = {"values": values, "nothing": True}
            if why := nothing_held(values, snapshot):
                return (nothing, [sentence(why)], True, *[""] * 6)
            selection, problems = selection_of(values, snapshot)
            facts = selection and feed_facts(snapshot, selection.feed)
            if selection is None or facts is None:
                return (nothing, [sentence(one) for one in problems], True, *[""] * 6)
            return (
                {"values": values, "nothing": False},
                [dash.html.P(problem, className="warn") for problem in problems],
                False,
                facts.title,
                f"{selection.first}",
                f"{selection.last}",
                *(f"{one}" for one in selection.compared),
                held_words(snapshot, selection.feed),
            )

    @app.callback(
        Output("hotspots-selection", "data"),
        Output("hotspots-problems", "children"),
        Output("hotspots-body", "hidden"),
        Output("hotspots-feed", "placeholder"),
        Output("hotspots-period", "start_date_placeholder_text"),
        Output("hotspots-period", "end_date_placeholder_text"),
        Output("hotspots-compare", "start_date_placeholder_text"),
        Output("hotspots-compare", "end_date_placeholder_text"),
        Output("hotspots-held", "children"),
        *(Input(one.component, one.prop) for one in ASKED),
        State("hotspots-selection", "data"),
    )
    async def selected(*given: Sent) -> tuple[Any, ...]:
        *controls, before = given
        values = dict(zip((one.name for one in ASKED), controls, strict=True))
        asked, *rest = await to_thread(read, values)
        return (no_update if asked == before else asked, *rest)


def _add_choices(app: dash.Dash, snapshots: Snapshots) -> None:
    def links(asked: Sent, measure: str) -> tuple[Any, ...]:
        with snapshots.current() as snapshot:
            if (found := _selection(asked, snapshot)) is None:
                return [], [], [], NONE
            facts = feed_facts(snapshot, found.feed)
            return (
                [] if facts is None else period_choices(found, facts, measure),
                compare_choices(found, measure),
                category_choices(found, measure),
                category_words(found),
            )

    def options(asked: Sent, looked_for: str) -> list[dict[str, str]]:
        with snapshots.current() as snapshot:
            found = _selection(asked, snapshot)
            facts = found and feed_facts(snapshot, found.feed)
            if found is None or facts is None:
                return []
            return category_options(facts, found.categories, looked_for)

    @app.callback(
        Output("hotspots-period-choices", "children"),
        Output("hotspots-compare-choices", "children"),
        Output("hotspots-category-choices", "children"),
        Output("hotspots-category-words", "children"),
        SELECTION,
        MEASURE,
    )
    async def choices(asked: Sent, measure: str) -> tuple[Any, ...]:
        return await to_thread(links, asked, measure)

    @app.callback(
        Output("hotspots-category", "options"),
        SELECTION,
        Input("hotspots-category-search", "value"),
    )
    async def offered(asked: Sent, looked_for: str | None) -> Sent:
        return await to_thread(options, asked, looked_for or "")


def _add_map(app: dash.Dash, snapshots: Snapshots) -> None:
    def draw(
        asked: Sent, asked_measure: str, width: float | None, rows: Sent, drawn: str | None
    ) -> tuple[Any, ...]:
        with snapshots.current() as snapshot:
            selection = _selection(asked, snapshot)
            facts = selection and feed_facts(snapshot, selection.feed)
            if selection is None or facts is None:
                return (no_update,) * 5
            measure, problems = measure_of({"measure": asked_measure})
            measured = cell_measures(snapshot, selection, measure)
            whole = figure(snapshot, selection, facts, measured, int(width or MAP_WIDTH))
            outlines = drawing(selection)
            told = [*problems, *([measured.empty] if measured.empty else []), *measured.notes]
            return (
                changes(whole) if outlines == drawn else whole,
                no_update if outlines == drawn else outlines,
                MEASURES[measure].explain,
                notes(told),
                cells_table(
                    selection, measured, facts, MORE_ROWS if rows == MORE_ROWS else FEW_ROWS
                ),
            )

    @app.callback(
        Output("hotspots-map", "figure"),
        Output("hotspots-drawn", "data"),
        Output("hotspots-explain", "children"),
        Output("hotspots-notes", "children"),
        Output("hotspots-cells", "children"),
        SELECTION,
        MEASURE,
        Input("hotspots-width", "data"),
        Input("hotspots-rows", "data"),
        State("hotspots-drawn", "data"),
    )
    async def drawn(*given: Sent) -> tuple[Any, ...]:
        return await to_thread(draw, *given)

    # What fits a map is known only where it is drawn.
    app.clientside_callback(
        "() => window.innerWidth",
        Output("hotspots-width", "data"),
        Input("hotspots-url", "id"),
    )


def _add_records(app: dash.Dash, snapshots: Snapshots) -> None:
    def records(asked: Sent, cell: str | None, measure: str) -> list[Component]:
        with snapshots.current() as snapshot:
            selection = _selection(asked, snapshot)
            return [] if selection is None else records_panel(snapshot, selection, cell, measure)

    @app.callback(
        Output("hotspots-records-panel", "children"),
        Output("hotspots-records-panel", "hidden"),
        SELECTION,
        Input("hotspots-records", "data"),
        MEASURE,
    )
    async def listed_records(asked: Sent, cell: str | None, measure: str) -> tuple[Any, bool]:
        found = await to_thread(records, asked, cell, measure)
        return found, not found


def _add_downloads(app: dash.Dash, snapshots: Snapshots) -> None:
    def file(asked: Sent, asked_measure: str, kind: str) -> Sent:
        with snapshots.current() as snapshot:
            if (selection := _selection(asked, snapshot)) is None:
                return no_update
            measure, _ = measure_of({"measure": asked_measure})
            frame = cell_measures(snapshot, selection, measure).frame
            place = f"{selection.feed}-{selection.first}-{selection.last}-r{selection.resolution}"
            if kind == CSV:
                return dcc.send_string(csv(frame), f"{place}.csv", type="text/csv")
            content = geojson(snapshot, selection, frame)
            return dcc.send_string(content, f"{place}.geojson", type="application/geo+json")

    @app.callback(
        Output("hotspots-download", "data"),
        Input(CSV, "n_clicks"),
        Input(GEOJSON, "n_clicks"),
        State("hotspots-selection", "data"),
        State("hotspots-measure", "value"),
        prevent_initial_call=True,
    )
    async def downloaded(_: int | None, __: int | None, asked: Sent, measure: str) -> Sent:
        kind = dash.ctx.triggered_id
        if not dash.ctx.triggered[0]["value"]:
            return no_update
        return await to_thread(file, asked, measure, str(kind))


def _add_panel(
    app: dash.Dash,
    snapshots: Snapshots,
    name: str,
    panel: Panel,
    asked_by: tuple[Input, Input | State],
) -> None:
    def content(asked: Sent, asked_measure: str) -> Sent:
        with snapshots.current() as snapshot:
            selection = _selection(asked, snapshot)
            measure, _ = measure_of({"measure": asked_measure})
            return no_update if selection is None else panel(snapshot, selection, measure)

    @app.callback(Output(f"hotspots-{name}", "children"), *asked_by)
    async def filled(asked: Sent, measure: str) -> Sent:
        return await to_thread(content, asked, measure)


def _selection(asked: Sent, snapshot: Snapshot) -> Selection | None:
    if not asked or asked["nothing"]:
        return None
    return selection_of(asked["values"], snapshot)[0]
