"""The hotspots page: where, when and what, in step with one selection that its address carries.

What belongs here: what stands where. What does not: what fills it (`callbacks`).
"""

from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.console.hotspots.areas import grid_of
from city311_assets.serving.console.hotspots.asking import stores
from city311_assets.serving.console.hotspots.bar import PAGE_CONTROLS, bar, measure_field
from city311_assets.serving.console.hotspots.callbacks import (
    CSV,
    GEOJSON,
    nothing_held,
    register,
)
from city311_assets.serving.console.hotspots.columns import columns_of
from city311_assets.serving.console.hotspots.controls import PAGE as NAME
from city311_assets.serving.console.hotspots.facts import feed_facts, feeds_held, labels
from city311_assets.serving.console.hotspots.parts import Sent, aria
from city311_assets.serving.console.hotspots.selection import (
    measure_of,
    selection_of,
    values_for,
)
from city311_assets.serving.console.page import Page
from city311_assets.serving.console.url_state import Value, values_of
from city311_assets.serving.snapshots import Snapshot

# Shorter waits show no spinner.
DELAY_MS = 300
NO_AXIS = {"visible": False}
NOTHING_DRAWN = {"data": [], "layout": {"xaxis": NO_AXIS, "yaxis": NO_AXIS}}
MAP: Sent = {"displaylogo": False, "displayModeBar": False, "responsive": True, "scrollZoom": True}


def layout(snapshot: Snapshot, search: str) -> Component:
    """Return the page with every control as the address says; what makes no sense is named."""
    values = values_of(search, PAGE_CONTROLS)
    selection, problems = selection_of(values, snapshot)
    measure, measure_problems = measure_of(values)
    refused = (*problems, *measure_problems)
    if nothing_held(values, snapshot):
        refused = ()
    elif refused and selection:
        values |= values_for(selection, measure)
    facts = None if selection is None else feed_facts(snapshot, selection.feed)
    return html.Div(
        [
            dcc.Location(id="hotspots-url", refresh=False),
            *stores(),
            dcc.Store(id="hotspots-drawn"),
            dcc.Download(id="hotspots-download"),
            html.H1("Hotspots"),
            html.Div([html.P(one, className="warn") for one in refused], id="hotspots-refused"),
            bar(snapshot, values, facts),
            html.P(id="hotspots-held", className="quiet"),
            html.Div(id="hotspots-problems", role="status"),
            html.Div(_body(values), id="hotspots-body"),
        ],
        className="hotspots",
    )


def _body(values: dict[str, Value]) -> list[Component]:
    return [
        html.Div(
            [
                html.Div(id="hotspots-place"),
                html.Div(
                    [
                        html.Button("Copy link to this view", id="hotspots-copy"),
                        html.Span(id="hotspots-copied", className="quiet", role="status"),
                    ],
                    className="buttons",
                ),
            ],
            className="hotspots-where",
        ),
        _waiting(html.Div(id="hotspots-kpis", className="cards")),
        html.Div(
            [
                html.Section(
                    [
                        html.H2("Map"),
                        measure_field(values),
                        _waiting(
                            html.Div(
                                dcc.Graph(
                                    id="hotspots-map",
                                    figure=NOTHING_DRAWN,
                                    config=MAP,
                                    responsive=True,
                                    style={"height": "100%"},
                                ),
                                id="hotspots-map-frame",
                                className="map",
                                role="figure",
                                **aria(
                                    label="Map of cells; the table of cells below has the "
                                    "same numbers and links into each"
                                ),
                            )
                        ),
                        html.Div(id="hotspots-notes"),
                    ],
                    className="panel",
                ),
                html.Div(
                    [
                        _panel("Quick hits", "hits"),
                        _panel("Outcome", "outcome"),
                    ],
                    className="stack",
                ),
            ],
            className="columns",
        ),
        html.Section(
            html.Div(id="hotspots-listed"),
            id="hotspots-records-panel",
            className="panel",
            hidden=True,
            **aria(live="polite"),
        ),
        html.Section(
            [
                html.H2("Weekdays and hours"),
                html.P(id="hotspots-clear", className="quiet"),
                _waiting(html.Div(id="hotspots-when", className="hotspots-content")),
                html.Details(
                    [
                        html.Summary("In numbers, with links that choose"),
                        html.Div(id="hotspots-choices"),
                    ]
                ),
            ],
            className="panel",
        ),
        html.Div(
            [_panel("Mix by day", "mix"), _panel("Calendar", "calendar")],
            className="columns even",
        ),
        html.Div(
            [
                html.Div(
                    [
                        _panel("Coming week", "forecast"),
                        _panel("Unusual days", "anomalies"),
                        _panel("Top streets", "streets"),
                    ],
                    className="stack",
                ),
                _panel("Compared with another period", "comparison"),
            ],
            className="columns even",
        ),
        html.Section(
            [
                html.H2("Cells on the map"),
                html.Div(
                    [
                        html.Button("Download CSV", id=CSV),
                        html.Button("Download GeoJSON", id=GEOJSON),
                    ],
                    className="buttons",
                ),
                _waiting(html.Div(id="hotspots-cells", className="hotspots-content")),
            ],
            className="panel",
        ),
    ]


def _panel(title: str, name: str) -> Component:
    return html.Section(
        [html.H2(title), _waiting(html.Div(id=f"hotspots-{name}", className="hotspots-content"))],
        className="panel",
    )


def _waiting(content: Component) -> Component:
    return dcc.Loading(content, delay_show=DELAY_MS, type="dot")


def warm(snapshot: Snapshot) -> None:
    """Read every feed's records, names and grids, seconds for a million, before a view asks."""
    for feed, _ in feeds_held(snapshot):
        columns = columns_of(snapshot, feed)
        for resolution, area in columns.areas.items():
            labels(snapshot, feed, resolution)
            grid_of(area.tobytes())


PAGE = Page(NAME, "Hotspots", layout, register, warm)
