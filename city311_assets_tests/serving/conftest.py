"""What tests of published pages, console and API stand on: files made once, read by many tests."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page, sync_playwright

from city311_assets.serving.atlas_pages import publish_atlas
from city311_assets.serving.snapshots import Snapshots
from city311_assets_tests.serving import towns
from city311_assets_tests.serving.atlases import (
    FEED,
    MONTH,
    Rows,
    atlas_rows,
    draw_thumbnails,
    write_snapshot,
)
from city311_assets_tests.serving.towns import Town

# A software renderer for the maps and the solid map, on machines without a screen.
FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
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


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Town:
    """The town of `towns`, published: to be read, not written. Workers share one."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "town"
    with FileLock(f"{folder}.lock"):
        made = folder / "made"
        if not made.exists():
            towns.build(folder)
            made.touch()
    return towns.found(folder)


@pytest.fixture(scope="session")
def snapshots(town: Town) -> Iterator[Snapshots]:
    """The town's published file, for reading."""
    reader = Snapshots(town.path)
    yield reader
    reader.close()


def serve(
    data_dir: Path, environment: Mapping[str, str] = os.environ
) -> tuple[subprocess.Popen[str], str]:
    """Start `city311 serve` on a data folder and any port; return it and its address.

    Of this process's own environment our settings are left out.
    """
    variables = {
        name: value
        for name, value in environment.items()
        if environment is not os.environ or not name.startswith("CITY311_")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "city311_assets.cli.main", "serve", "--port", "0"],
        env=variables | {"CITY311_DATA_DIR": str(data_dir), "NO_COLOR": "1"},
        cwd=data_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    for line in process.stdout or ():
        said += line
        if address := re.search(r"http://\S+", line):
            return process, address[0]
    raise RuntimeError(f"the console did not start: {said}")


@pytest.fixture(scope="session")
def console(town: Town) -> Iterator[str]:
    """The address of a console over the town."""
    process, address = serve(town.data_dir)
    yield address
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser; skips where there is none.

    While it is open Playwright's event loop counts as running, and Dagster cannot run one of its
    own: it is closed before the next module makes what it needs.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine; Debian's package is called chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page of the browser, and what it complained of."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda said: self.errors.append(said.text) if said.type == "error" else None,
        )


@pytest.fixture
def browser_page(chromium: Browser) -> Iterator[Watched]:
    """A fresh page of 1280 by 800 pixels; the test fails if it complained of an error."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(30_000)
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.errors == []
