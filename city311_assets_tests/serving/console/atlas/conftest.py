"""Two months of maps and effects, read by tests and served to a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets.warehouse.tables.atlas import PHOTOS
from city311_assets_tests.serving.conftest import serve
from city311_assets_tests.serving.console.atlas import two_months


@pytest.fixture(scope="module")
def two_months_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of two months."""
    folder = tmp_path_factory.mktemp("two_months")
    two_months.build(folder)
    return folder


@pytest.fixture(scope="module")
def snapshot(two_months_folder: Path) -> Iterator[Snapshot]:
    """The published file of two months."""
    reader = Snapshots(two_months_folder / "city311.duckdb")
    with reader.current() as current:
        yield current
    reader.close()


@pytest.fixture(scope="module")
def served(two_months_folder: Path) -> Iterator[str]:
    """The address of a console over two months."""
    process, address = serve(two_months_folder)
    yield address.rstrip("/")
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Snapshot]:
    """A file published before there were maps and effects."""
    given = {
        table: held
        for table, held in two_months.rows().items()
        if table.layer not in {"atlas", "causal"}
    }
    path = two_months.build(tmp_path, given | {PHOTOS: []})
    reader = Snapshots(path)
    with reader.current() as current:
        yield current
    reader.close()
