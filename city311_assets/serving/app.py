"""The one server: the API and the console, over the published file."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import duckdb
import httpx
from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from city311_assets.serving.api.app import SecurityHeaders, add_api
from city311_assets.serving.guard import Guard, own_names
from city311_assets.serving.snapshots import NoSnapshotError, Snapshots
from city311_assets.settings import Settings

if TYPE_CHECKING:
    from city311_assets.serving.console.page import Page

LOOK_AGAIN_SECONDS = 5.0

log = logging.getLogger(__name__)


def application(settings: Settings, pages: "tuple[Page, ...] | None" = None) -> FastAPI:
    """Return the server's application; it reads the published file and nothing else.

    `pages` are those of the console, all of them unless told. Which names it answers under follows
    from the settings: where it listens, and what it is called besides.
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
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.get("/")
        warming = asyncio.create_task(_keep_warm(snapshots, shown))
        yield
        warming.cancel()
        with suppress(asyncio.CancelledError):
            await warming
        snapshots.close()

    server = FastAPI(title="city311", docs_url=None, redoc_url=None, lifespan=lifespan)
    add_api(server, snapshots, settings)

    @server.get("/", include_in_schema=False)
    def first_page() -> RedirectResponse:
        return RedirectResponse(shown[0].path)

    dash = console(server, snapshots, shown)
    server.add_middleware(PagePolicy, console=dash, map_style=settings.console_map_style)
    server.add_middleware(Guard, names=own_names(settings))
    # Once more, around all: Dash answers some requests outside of what surrounds the API.
    server.add_middleware(SecurityHeaders)
    return server


async def _keep_warm(snapshots: Snapshots, pages: "tuple[Page, ...]") -> None:
    """Read what the pages need of each new published file, before somebody waits for it."""
    warmed = ""
    while True:
        warmed = await asyncio.to_thread(_warm, snapshots, pages, warmed)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _warm(snapshots: Snapshots, pages: "tuple[Page, ...]", warmed: str) -> str:
    """Read what the pages need of the newest file unless it was; return its version."""
    with suppress(NoSnapshotError), snapshots.current() as snapshot:
        if snapshot.data_version != warmed:
            for page in pages:
                if page.warm is None:
                    continue
                try:
                    page.warm(snapshot)
                except (duckdb.Error, ValueError):
                    # Who opens the page will be told; the others are not to wait for it.
                    log.exception("%s could not be warmed", page.path)
        return snapshot.data_version
    return warmed
