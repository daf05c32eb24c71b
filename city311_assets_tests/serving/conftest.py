"""What tests of published pages stand on: one published atlas, read by many tests."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from city311_assets.serving.atlas_pages import publish_atlas
from city311_assets_tests.serving.atlases import (
    FEED,
    MONTH,
    Rows,
    atlas_rows,
    draw_thumbnails,
    write_snapshot,
)


@dataclass(frozen=True)
class Published:
    """A published file, the photos beside it and what was made of them."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "published" / "atlas"

    @property
    def month(self) -> Path:
        return self.root / FEED / f"{MONTH:%Y-%m}"

    @property
    def page(self) -> Path:
        return self.month / "index.html"

    def publish(self, rows: Rows) -> list[Path]:
        """Write the rows as the published file, and publish its atlas."""
        snapshot = write_snapshot(self.folder / "city311.duckdb", rows)
        return publish_atlas(snapshot, self.folder / "photos", self.folder / "published")


@pytest.fixture
def here(tmp_path: Path) -> Published:
    """A place where nothing is published yet, and there are no thumbnails."""
    return Published(tmp_path)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Rows], Published]:
    """Publish rows with thumbnails, for tests that only read."""

    def make(rows: Rows) -> Published:
        place = Published(tmp_path_factory.mktemp("atlas"))
        draw_thumbnails(place.folder / "photos", rows)
        place.publish(rows)
        return place

    return make


@pytest.fixture(scope="session")
def usual(published: Callable[[Rows], Published]) -> Published:
    """The usual rows, published: to be read, not written."""
    return published(atlas_rows())
