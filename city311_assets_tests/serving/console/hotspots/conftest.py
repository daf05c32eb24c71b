"""What tests of the hotspots page read: the town's file, and one of requests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets_tests.serving.conftest import Watched
from city311_assets_tests.serving.console.hotspots.browsing import Hotspots
from city311_assets_tests.serving.console.hotspots.files import requests_with_gold


@pytest.fixture(scope="module")
def snapshot(snapshots: Snapshots) -> Iterator[Snapshot]:
    """The town's published file, open."""
    with snapshots.current() as opened:
        yield opened


@pytest.fixture(scope="session")
def requests_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    """A January of requests in one city, with gold's rates, open."""
    reader = requests_with_gold(tmp_path_factory.mktemp("requests"))
    with reader.current() as opened:
        yield opened
    reader.close()


@pytest.fixture(scope="module")
def opened(chromium: Browser, console: str) -> Iterator[Hotspots]:
    """One page for all tests that do not need a fresh one."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(60_000)
    yield Hotspots(Watched(context.new_page()), console)
    context.close()


@pytest.fixture
def here(opened: Hotspots) -> Iterator[Hotspots]:
    """The page as the test before left it; the test fails if it complained of an error."""
    opened.errors.clear()
    opened.outlines.clear()
    yield opened
    assert opened.errors == []
