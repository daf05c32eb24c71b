"""The console: what is around every page, and the way from one to another."""

import logging
from asyncio import to_thread
from importlib.resources import files
from typing import Any, cast

import dash
from dash import dcc, html
from dash.development.base_component import Component
from fastapi import FastAPI

from city311_assets.serving.console.page import Page
from city311_assets.serving.snapshots import NoSnapshotError, Snapshot, Snapshots
from city311_assets.warehouse.tables.silver import INCIDENTS, REQUESTS

NAME = "city311"
LOOK_AGAIN_MS = 20_000
PROBLEM = "problem"
ORIGINS = " union ".join(f"select distinct origin from {table}" for table in (REQUESTS, INCIDENTS))

log = logging.getLogger(__name__)


def console(server: FastAPI, snapshots: Snapshots, pages: tuple[Page, ...]) -> dash.Dash:
    """Put the pages on a server, with a bar that leads from one to another."""
    app = dash.Dash(
        __name__,
        server=cast("Any", server),  # its annotation knows Flask's servers only
        title=NAME,
        update_title="",
        assets_folder=str(files("city311_assets.serving.console").joinpath("assets")),
        suppress_callback_exceptions=True,
        add_log_handler=False,
        on_error=_tell,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    app.layout = html.Div(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Interval(id="look-again", interval=LOOK_AGAIN_MS),
            html.A("Skip to the page", href="#page", className="skip"),
            html.Header(
                [
                    dcc.Link(NAME, href="/", className="home"),
                    html.Nav(id="navigation"),
                    html.Div(id="as-of", role="status"),
                ]
            ),
            html.Div(id=PROBLEM, role="alert"),
            html.Main(id="page", tabIndex="-1"),
        ]
    )
    by_path = {"/": pages[0]} | {page.path: page for page in pages}

    @app.callback(
        dash.Output("page", "children"),
        dash.Output("navigation", "children"),
        dash.Output(PROBLEM, "children", allow_duplicate=True),
        dash.Input("url", "pathname"),
        dash.State("url", "search"),
        prevent_initial_call="initial_duplicate",
    )
    async def shown(
        pathname: str | None, search: str | None
    ) -> tuple[Component, list[Component], str]:
        page = by_path.get((pathname or "/").rstrip("/") or "/")
        return (
            await to_thread(_page, page, pathname, search or "", snapshots),
            _links(pages, page),
            "",
        )

    @app.callback(
        dash.Output("as-of", "children"),
        dash.Input("look-again", "n_intervals"),
        dash.Input("url", "pathname"),
    )
    async def as_of(_: int | None, __: str | None) -> list[Component]:
        return await to_thread(_as_of, snapshots)

    for page in pages:
        page.register(app, snapshots)
    return app


def _page(page: Page | None, pathname: str | None, search: str, snapshots: Snapshots) -> Component:
    if page is None:
        return html.P(f"There is no page {pathname}; choose one above.", className="empty")
    try:
        with snapshots.current() as snapshot:
            return page.layout(snapshot, search)
    except NoSnapshotError as error:
        return html.P(_sentence(error), className="empty")


def _links(pages: tuple[Page, ...], here: Page | None) -> list[Component]:
    return [
        dcc.Link(
            page.title,
            href=page.path,
            className="here" if page is here else "",
        )
        for page in pages
    ]


def _as_of(snapshots: Snapshots) -> list[Component]:
    try:
        with snapshots.current() as snapshot:
            said: list[Component] = [
                html.Span(
                    f"as of {snapshot.published_at:%Y-%m-%d %H:%M} UTC",
                    title=f"data version {snapshot.data_version}",
                )
            ]
            if is_sample(snapshot):
                said.insert(0, html.Span("sample data", className="badge sample"))
            if count := len(snapshot.slices_in_flight):
                said.append(html.Span(f"{count} slices being made", className="badge"))
    except NoSnapshotError:
        return [html.Span("nothing published", className="badge")]
    return said


def is_sample(snapshot: Snapshot) -> bool:
    """Whether any record of the file is made up."""

    def look() -> bool:
        if not (snapshot.has(REQUESTS) and snapshot.has(INCIDENTS)):
            return False
        return "sample" in snapshot.frame(ORIGINS)["origin"].to_list()

    return snapshot.once("is_sample", look)


def _tell(error: Exception) -> None:
    """Say in the page what could not be shown; the stack stays in the server's log."""
    if isinstance(error, NoSnapshotError):
        said = _sentence(error)
    else:
        log.error("a callback failed", exc_info=error)
        said = "This could not be shown; the server's log says why. Try another selection."
    dash.set_props(PROBLEM, {"children": said})


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + "."
