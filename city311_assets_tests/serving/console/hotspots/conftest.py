"""What tests of the hotspots page read: the town's file, and one of requests."""

from collections.abc import Iterator

import pytest

from city311_assets.serving.snapshots import Snapshot, Snapshots
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
