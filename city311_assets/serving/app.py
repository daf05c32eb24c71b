"""The one server: the API and the console, over the published file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from city311_assets.serving.api.app import add_api
from city311_assets.serving.snapshots import Snapshots
from city311_assets.settings import Settings

if TYPE_CHECKING:
    from city311_assets.serving.console.page import Page


def application(settings: Settings, pages: "tuple[Page, ...] | None" = None) -> FastAPI:
    """Return the server's application; it reads the published file and nothing else.

    `pages` are those of the console, all of them unless told.
    """
    from city311_assets.serving.console.pages import PAGES
    from city311_assets.serving.console.policy import PagePolicy
    from city311_assets.serving.console.shell import console

    snapshots = Snapshots(settings.snapshot_path)
    shown = PAGES if pages is None else pages

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Dash sets itself up at the first request to its root, which no deep link is.
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            await client.get("/")
        yield
        snapshots.close()

    server = FastAPI(title="city311", docs_url=None, redoc_url=None, lifespan=lifespan)
    add_api(server, snapshots, settings)

    @server.get("/", include_in_schema=False)
    def first_page() -> RedirectResponse:
        return RedirectResponse(shown[0].path)

    dash = console(server, snapshots, shown)
    server.add_middleware(PagePolicy, console=dash, map_style=settings.console_map_style)
    return server
