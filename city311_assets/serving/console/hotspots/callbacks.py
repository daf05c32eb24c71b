"""How the hotspots page answers: one selection, and each panel on its own.

What belongs here: which callback feeds which component. What does not: what is shown (`…_panels`),
when a panel is asked for (`asking`) and where clicks lead (`actions`). Whatever reads the file runs
in a thread.
"""

from asyncio import to_thread
from collections.abc import Callable
from typing import Any

import dash
from dash import Input, Output, State, dcc, no_update
from dash.development.base_component import Component

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.console.hotspots.actions import add_actions, tidied
from city311_assets.serving.console.hotspots.asking import (
    SELECTION,
    add_asking,
    asked_id,
    keys_of,
)
from city311_assets.serving.console.hotspots.bar import (
    PAGE_CONTROLS,
    category_choices,
    category_options,
    category_words,
    clear_when,
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
    half_chosen,
    held_words,
    hits_panel,
    kpi_panel,
    place_panel,
)
from city311_assets.serving.console.hotspots.parts import NONE, PATH, Sent, notes, sentence
from city311_assets.serving.console.hotspots.selection import (
    Selection,
    measure_of,
    search_for,
    selection_of,
)
from city311_assets.serving.console.hotspots.single_records import records_panel
from city311_assets.serving.console.hotspots.time_panels import (
    calendar_panel,
    choices_panel,
    mix_panel,
    when_panel,
)
from city311_assets.serving.console.url_state import Value, keep_in_address, search_of
from city311_assets.serving.snapshots import Snapshot, Snapshots

Panel = Callable[[Snapshot, Selection, str], list[Component]]
# Whatever fills a panel with components alone; what else there is has a callback of its own.
PLAIN: dict[str, Panel] = {
    "kpis": kpi_panel,
    "hits": hits_panel,
    "outcome": outcome_panel,
    "when": when_panel,
    "choices": choices_panel,
    "mix": mix_panel,
    "calendar": calendar_panel,
    "forecast": forecast_panel,
    "anomalies": anomalies_panel,
    "streets": streets_panel,
    "comparison": comparison_panel,
}
# What the selection is made of: the measure only colours it, and lists only add.
OWN = ("measure", "records", "rows")
ASKED = tuple(one for one in PAGE_CONTROLS if one.name not in OWN)
TIDIED = ("hotspots-feed", "hotspots-resolution", "hotspots-category")
SELECTION_DATA = Input(SELECTION, "data")
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
    add_actions(app)
    add_asking(app)
    _add_selection(app, snapshots)
    _add_surroundings(app, snapshots)
    _add_map(app, snapshots)
    _add_cells(app, snapshots)
    _add_records(app, snapshots)
    _add_downloads(app, snapshots)
    for name, panel in PLAIN.items():
        _add_panel(app, snapshots, name, panel)


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
            said = (*problems, *half_chosen(values, selection))
            return (
                {"values": values, "nothing": False, "keys": keys_of(snapshot, selection)},
                [dash.html.P(one, className="warn") for one in said],
                False,
                facts.title,
                f"{selection.first}",
                f"{selection.last}",
                *(f"{one}" for one in selection.compared),
                held_words(snapshot, selection.feed),
            )

    def asked_now(given: dict[str, Value], before: Sent, is_tidied: bool) -> tuple[Any, ...]:
        asked, search = given, no_update
        if is_tidied:
            with snapshots.current() as snapshot:
                asked = tidied(given, snapshot)
            # The controls follow the address, and this callback is not asked again for them: Dash
            # lets none cause itself.
            search = no_update if asked == given else search_of(asked, PAGE_CONTROLS)
        selected, *rest = read({one.name: asked[one.name] for one in ASKED})
        return (search, no_update if selected == before else selected, *rest)

    @app.callback(
        Output("hotspots-url", "search", allow_duplicate=True),
        Output(SELECTION, "data"),
        Output("hotspots-problems", "children"),
        Output("hotspots-body", "hidden"),
        Output("hotspots-feed", "placeholder"),
        Output("hotspots-period", "start_date_placeholder_text"),
        Output("hotspots-period", "end_date_placeholder_text"),
        Output("hotspots-compare", "start_date_placeholder_text"),
        Output("hotspots-compare", "end_date_placeholder_text"),
        Output("hotspots-held", "children"),
        *(Input(one.component, one.prop) for one in ASKED),
        *(State(one.component, one.prop) for one in PAGE_CONTROLS if one.name in OWN),
        State(SELECTION, "data"),
        prevent_initial_call="initial_duplicate",
    )
    async def selected(*given: Sent) -> tuple[Any, ...]:
        *controls, before = given
        values = dict(zip((*(one.name for one in ASKED), *OWN), controls, strict=True))
        changed = {one["prop_id"].rsplit(".", 1)[0] for one in dash.ctx.triggered}
        is_tidied = not changed.isdisjoint(TIDIED)
        return await to_thread(asked_now, values, before, is_tidied)


def _add_surroundings(app: dash.Dash, snapshots: Snapshots) -> None:
    """Add what is around the panels: where one is, and links to other views."""

    def links(asked: Sent, measure: str) -> tuple[Any, ...]:
        with snapshots.current() as snapshot:
            if (found := _selection(asked, snapshot)) is None:
                return (no_update,) * 4 + (NONE,) + (no_update,) * 2
            facts = feed_facts(snapshot, found.feed)
            return (
                place_panel(snapshot, found, measure),
                [] if facts is None else period_choices(found, facts, measure),
                compare_choices(found, facts, measure),
                category_choices(found, measure),
                category_words(found),
                clear_when(found, measure),
                search_for(found, measure),
            )

    def options(feed: str | None, chosen: Value, looked_for: str) -> list[dict[str, str]]:
        with snapshots.current() as snapshot:
            found, _ = selection_of({"feed": feed, "category": chosen}, snapshot)
            facts = found and feed_facts(snapshot, found.feed)
            if found is None or facts is None:
                return []
            return category_options(facts, found.categories, looked_for)

    @app.callback(
        Output("hotspots-place", "children"),
        Output("hotspots-period-choices", "children"),
        Output("hotspots-compare-choices", "children"),
        Output("hotspots-category-choices", "children"),
        Output("hotspots-category-words", "children"),
        Output("hotspots-clear", "children"),
        Output("hotspots-copy", "value"),
        SELECTION_DATA,
        MEASURE,
    )
    async def around(asked: Sent, measure: str) -> tuple[Any, ...]:
        return await to_thread(links, asked, measure)

    @app.callback(
        Output("hotspots-category", "options"),
        Input("hotspots-feed", "value"),
        Input("hotspots-category", "value"),
        Input("hotspots-category-search", "value"),
    )
    async def offered(feed: str | None, chosen: Value, looked_for: str | None) -> Sent:
        return await to_thread(options, feed, chosen, looked_for or "")

    app.clientside_callback(
        "(clicks, search) => window.city311Hotspots.copy(clicks, search)",
        Output("hotspots-copied", "children"),
        Input("hotspots-copy", "n_clicks"),
        Input("hotspots-copy", "value"),
    )


def _add_map(app: dash.Dash, snapshots: Snapshots) -> None:
    def draw(asked: Sent, drawn: str | None) -> tuple[Any, ...]:
        with snapshots.current() as snapshot:
            selection = _selection(asked, snapshot)
            facts = selection and feed_facts(snapshot, selection.feed)
            if selection is None or facts is None:
                return (no_update,) * 5
            measure, problems = measure_of(asked)
            measured = cell_measures(snapshot, selection, measure)
            whole = figure(snapshot, selection, facts, measured, int(asked["width"] or MAP_WIDTH))
            outlines = drawing(selection)
            told = [*problems, *([measured.empty] if measured.empty else []), *measured.notes]
            return (
                changes(whole) if outlines == drawn else whole,
                no_update if outlines == drawn else outlines,
                MEASURES[measure].explain,
                notes(told),
                asked["key"],
            )

    @app.callback(
        Output("hotspots-map", "figure"),
        Output("hotspots-drawn", "data"),
        Output("hotspots-explain", "children"),
        Output("hotspots-notes", "children"),
        Output("hotspots-map-frame", "data-of"),
        Input(asked_id("map"), "data"),
        State("hotspots-drawn", "data"),
        prevent_initial_call=True,
    )
    async def drawn(*given: Sent) -> tuple[Any, ...]:
        return await to_thread(draw, *given)


def _add_cells(app: dash.Dash, snapshots: Snapshots) -> None:
    def content(asked: Sent) -> tuple[Any, Any]:
        with snapshots.current() as snapshot:
            selection = _selection(asked, snapshot)
            facts = selection and feed_facts(snapshot, selection.feed)
            if selection is None or facts is None:
                return no_update, no_update
            measured = cell_measures(snapshot, selection, measure_of(asked)[0])
            rows = MORE_ROWS if asked["rows"] == MORE_ROWS else FEW_ROWS
            return cells_table(selection, measured, facts, rows), asked["key"]

    @app.callback(
        Output("hotspots-cells", "children"),
        Output("hotspots-cells", "data-of"),
        Input(asked_id("cells"), "data"),
        prevent_initial_call=True,
    )
    async def listed(asked: Sent) -> tuple[Any, Any]:
        return await to_thread(content, asked)


def _add_records(app: dash.Dash, snapshots: Snapshots) -> None:
    def records(asked: Sent) -> Sent:
        with snapshots.current() as snapshot:
            selection = _selection(asked, snapshot)
            if selection is None:
                return []
            return records_panel(snapshot, selection, asked["records"], measure_of(asked)[0])

    @app.callback(
        Output("hotspots-listed", "children"),
        Output("hotspots-records-panel", "hidden"),
        Output("hotspots-listed", "data-of"),
        Input(asked_id("listed"), "data"),
        prevent_initial_call=True,
    )
    async def listed_records(asked: Sent) -> tuple[Any, bool, str]:
        found = await to_thread(records, asked)
        return found, not found, asked["key"]


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
        State(SELECTION, "data"),
        State("hotspots-measure", "value"),
        prevent_initial_call=True,
    )
    async def downloaded(_: int | None, __: int | None, asked: Sent, measure: str) -> Sent:
        kind = dash.ctx.triggered_id
        if not dash.ctx.triggered[0]["value"]:
            return no_update
        return await to_thread(file, asked, measure, str(kind))


def _add_panel(app: dash.Dash, snapshots: Snapshots, name: str, panel: Panel) -> None:
    def content(asked: Sent) -> tuple[Any, Any]:
        with snapshots.current() as snapshot:
            selection = _selection(asked, snapshot)
            if selection is None:
                return no_update, no_update
            return panel(snapshot, selection, measure_of(asked)[0]), asked["key"]

    @app.callback(
        Output(f"hotspots-{name}", "children"),
        Output(f"hotspots-{name}", "data-of"),
        Input(asked_id(name), "data"),
        prevent_initial_call=True,
    )
    async def filled(asked: Sent) -> tuple[Any, Any]:
        return await to_thread(content, asked)


def _selection(asked: Sent, snapshot: Snapshot) -> Selection | None:
    if not asked or asked.get("nothing"):
        return None
    return selection_of(asked["values"], snapshot)[0]
