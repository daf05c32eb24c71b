"""What tests of the API stand on: a small published file, and clients of it."""

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from city311_assets_tests.serving.api import places
from city311_assets_tests.serving.api.places import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The place of `places`: to be read, not written."""
    return places.build(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="session")
def api(place: Place) -> TestClient:
    """A client of the API over the place."""
    return place.client


@pytest.fixture
def own_place(place: Place, tmp_path: Path) -> Place:
    """A copy of what is published, with its photos, that a test may publish anew."""
    unpublished = shutil.ignore_patterns("warehouse")
    return Place(shutil.copytree(place.folder, tmp_path / "place", ignore=unpublished))
