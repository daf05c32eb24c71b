"""The API: `/api`, `/health` and the pages that describe them.

What belongs here: which routes there are, and what surrounds every answer of the server. What does
not: what a route answers.
"""

import json
import logging
from collections.abc import Callable

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from city311_assets.serving.api import (
    cell_histories,
    clusters,
    documents,
    effects,
    geometry,
    health,
    record_layers,
    risk_layers,
)
from city311_assets.serving.api.answers import Answers
from city311_assets.serving.api.endpoints import JSON, Endpoint
from city311_assets.serving.api.problems import LONGEST_GIVEN, ProblemError
from city311_assets.serving.api.thumbnails import thumbnails
from city311_assets.serving.snapshots import Snapshots
from city311_assets.settings import Settings

ALLOWED = "GET, HEAD"
# Of every answer that has not said otherwise itself. Data cannot be framed or run as a page.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
POLICY = "Content-Security-Policy"
POLICY_OF_DATA = "default-src 'none'; frame-ancestors 'none'"
POLICY_OF_PAGES = "frame-ancestors 'self'"

log = logging.getLogger(__name__)


def add_api(server: FastAPI, snapshots: Snapshots, settings: Settings) -> None:
    """Add the API's routes to a server; to be called before anything that answers every path."""
    endpoints = routes_of(settings)
    document = documents.openapi(endpoints)
    shown = documents.page(document)
    answers = Answers(snapshots)
    routes = [Route(one.path, _answer(answers, one), methods=["GET"]) for one in endpoints]
    routes.append(Route(health.PATH, lambda _: health.health(snapshots), methods=["GET"]))
    described = json.dumps(document)
    routes += [
        Route("/docs", lambda _: HTMLResponse(shown, headers={POLICY: documents.POLICY})),
        Route("/openapi.json", lambda _: Response(described, media_type=JSON)),
    ]
    # Before the framework's own description of itself.
    server.router.routes[:0] = routes
    for path in ("/api", "/api/{path:path}", health.PATH):
        server.router.routes.append(Route(path, Nowhere(routes)))
    server.add_exception_handler(Exception, _failed)
    server.add_middleware(SecurityHeaders)


def routes_of(settings: Settings) -> tuple[Endpoint, ...]:
    """Return all questions of the API, in the order in which they are described."""
    return (
        *risk_layers.LAYERS,
        *record_layers.LAYERS,
        cell_histories.HISTORY,
        effects.EFFECTS,
        clusters.CLUSTERS,
        geometry.BOUNDARY_OUTLINES,
        geometry.CELL_OUTLINES,
        thumbnails(settings.photos_path),
    )


class Nowhere:
    """Answers what is below `/api` and no route's: never with a page of the console."""

    def __init__(self, routes: list[Route]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say which methods a known address has, or that there is no such address."""
        path = scope["path"][:LONGEST_GIVEN]
        if any(route.matches(scope)[0] is Match.PARTIAL for route in self._routes):
            problem = ProblemError(
                405, f"{path} answers {ALLOWED} only", {"Allow": ALLOWED}, accepted=ALLOWED
            )
        else:
            problem = ProblemError(404, f"there is no {path}; /docs says what there is")
        await problem.response()(scope, receive, send)


class SecurityHeaders:
    """Adds to every answer the headers that keep a browser from misreading it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add headers to what comes back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_data = is_of_the_api(scope["path"])

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault(POLICY, POLICY_OF_DATA if is_data else POLICY_OF_PAGES)
            await send(message)

        await self._app(scope, receive, with_headers)


def is_of_the_api(path: str) -> bool:
    """Whether a path is answered with data."""
    return path in {"/api", health.PATH} or path.startswith("/api/")


def _answer(answers: Answers, endpoint: Endpoint) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        return answers.answer(endpoint, request)

    return answer


async def _failed(request: Request, error: Exception) -> Response:
    """Say that it failed; what failed is for the log, which the server writes itself."""
    log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__)
    detail = "this could not be answered; the server's log says why"
    if is_of_the_api(request.url.path):
        return ProblemError(500, detail).response()
    return PlainTextResponse(detail, 500)
