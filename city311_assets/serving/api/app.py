"""The API: `/api`, `/health` and the pages that describe them."""

from fastapi import FastAPI

from city311_assets.serving.snapshots import Snapshots
from city311_assets.settings import Settings


def add_api(server: FastAPI, snapshots: Snapshots, settings: Settings) -> None:
    """Add the API's routes to a server."""
