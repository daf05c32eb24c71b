"""The atlas's page in a real browser: it draws, says nothing wrong, and shows text as text.

Skipped where there is no Chromium. What is chosen comes from the fragment of the page's address, as
in a link that was sent to somebody, and in the last test from clicks.
"""

import html
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from city311_assets.warehouse.tables.atlas import CAPTIONS, CLUSTER_NAMES
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.serving.atlases import (
    FIRST_CLUSTER,
    NAMES,
    Rows,
    atlas_rows,
)
from city311_assets_tests.serving.browser import browser
from city311_assets_tests.serving.conftest import Published

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
    "--window-size=1280,800",
)
ONCE = ("--virtual-time-budget=10000", "--dump-dom")
# What a software renderer says of its own speed.
HARMLESS = ("GL Driver Message", "Canvas2D: Multiple readback operations")
HOSTILE = "<img src=x onerror=\"document.documentElement.dataset.caught='yes'\"><b>loud</b>"
SECONDS = 100

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the path: the pages are not looked at in a browser"
)


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page: its elements without scripts, and what it complained of."""

    dom: str
    complaints: list[str]

    def attribute(self, name: str) -> str | None:
        """Return an attribute of the page's root element."""
        root = re.search(r"<html[^>]*>", self.dom)
        found = re.search(rf'{name}="([^"]*)"', root[0]) if root else None
        return found[1] if found else None

    def text(self, part: str) -> str:
        """Return what is to be read in the element with an id, up to the next one with an id."""
        found = re.search(
            rf'id="{part}"[^>]*>(.*?)(?:<[a-z]+[^>]* id="|</section>)', self.dom, re.DOTALL
        )
        assert found, part
        return html.unescape(re.sub(r"<[^>]*>", " ", found[1]))


@pytest.fixture(scope="module")
def hostile(published: Callable[[Rows], Published]) -> Published:
    rows = atlas_rows()
    rows[CAPTIONS][0]["caption"] = HOSTILE
    rows[REQUESTS][0] |= {"neighborhood": HOSTILE, "origin": "sample"}
    rows[CLUSTER_NAMES][0] |= {"name": HOSTILE, "keywords": [HOSTILE]}
    return published(rows)


@pytest.fixture
def look(hostile: Published, tmp_path: Path) -> Callable[..., Seen]:
    def at(**chosen: str) -> Seen:
        address = f"{hostile.page.as_uri()}#{urlencode(chosen)}"
        done = subprocess.run(
            [str(CHROMIUM), *FLAGS, *ONCE, f"--user-data-dir={tmp_path / 'profile'}", address],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        complaints = [line for line in said if not any(words in line for words in HARMLESS)]
        dom = re.sub(r"<script[ >].*?</script>", "", done.stdout, flags=re.DOTALL)
        return Seen(dom, complaints)

    return at


def test_the_flat_map_draws_every_case_and_lists_the_clusters(look: Callable[..., Seen]):
    seen = look()
    assert (seen.attribute("data-ready"), seen.attribute("data-drawn")) == ("2d", "60")
    assert seen.complaints == []
    assert all(name in seen.text("clusters") for name in NAMES[1:])
    assert "SAMPLE DATA" in seen.text("banners")
    assert f"New: {NAMES[3]}" in seen.text("events")
    assert "local-abc123" in seen.text("notes")
    assert "No case chosen" in seen.text("case")
    assert seen.dom.count("<canvas") >= 2
    assert "WebGL is not supported" not in seen.dom


def test_a_case_in_the_address_is_shown_and_what_it_says_is_only_text(look: Callable[..., Seen]):
    seen = look(case="c0000", view="3d")
    assert (seen.attribute("data-ready"), seen.attribute("data-drawn")) == ("3d", "60")
    assert seen.complaints == []
    panel = seen.text("case")
    assert HOSTILE in panel
    assert "Model's words (openai, gpt-6-luna)" in panel
    assert "open, or not known" in panel
    assert all(f"c00{near:02}" in panel for near in (4, 8, 12, 16, 20))
    assert seen.attribute("data-caught") is None
    assert "<img src=x" not in seen.dom
    assert "<b>loud" not in seen.dom
    assert seen.dom.count("data:image/jpeg;base64,") == 1
    links = re.findall(r'<a href="(https:[^"]*)"[^>]*>', seen.dom)
    assert links == [
        "https://data.example.gov/resource/x.json?id=c0000",
        "https://photos.example.gov/c0000.jpg",
    ]
    assert seen.dom.count('target="_blank" rel="noopener noreferrer"') == 2


def test_a_search_in_the_address_marks_what_it_finds(look: Callable[..., Seen]):
    seen = look(search="DUMPED", only=str(FIRST_CLUSTER + 1), case="<i>c9")
    assert seen.complaints == []
    found = [number for number in range(60) if number % 4 == 1 and number % 3 == 0]
    found = [number for number in found if number % 10 != 9]
    assert seen.attribute("data-matching") == str(len(found))
    assert seen.attribute("data-drawn") == "12"
    assert f"{len(found)} of 12 match" in seen.text("found")
    results = seen.text("results")
    assert all(f"c00{number:02}" in results for number in found)
    assert f"Cases about {NAMES[1].lower()}." in seen.text("cluster")
    assert "No case <i>c9 on this page." in seen.text("case")


def test_clicks_choose_cases_and_clusters_in_both_views(usual: Published, tmp_path: Path):
    flat = """(() => {
        const plot = document.getElementById("plot"), {xaxis, yaxis} = plot._fullLayout;
        const box = plot.getBoundingClientRect(), trace = plot.data[0];
        return [box.left + xaxis._offset + xaxis.d2p(trace.x[0]),
            box.top + yaxis._offset + yaxis.d2p(trace.y[0])];
    })()"""
    solid = """(() => {
        const plot = document.getElementById("plot"), box = plot.getBoundingClientRect();
        const {glplot, dataScale} = plot._fullLayout.scene._scene, camera = glplot.cameraParams;
        const trace = plot.data.find((one) => one.customdata.length), last = trace.x.length - 1;
        const at = ["x", "y", "z"].map((axis, place) => trace[axis][last] * dataScale[place]);
        const moved = (v, m) => [0, 1, 2, 3].map((row) =>
            m[row] * v[0] + m[4 + row] * v[1] + m[8 + row] * v[2] + m[12 + row] * v[3]);
        const seen = [camera.model, camera.view, camera.projection].reduce(moved, [...at, 1]);
        const canvas = plot.querySelector(".gl-container canvas, canvas").getBoundingClientRect();
        return [canvas.left + (1 + seen[0] / seen[3]) / 2 * canvas.width,
            canvas.top + (1 - seen[1] / seen[3]) / 2 * canvas.height];
    })()"""
    with browser(str(CHROMIUM), FLAGS, tmp_path / "profile") as page:
        page.open(usual.page.as_uri())
        page.click(*page.value(flat))
        page.wait_for("location.hash.startsWith('#case=c00')")
        page.wait_for("document.getElementById('hover').textContent.includes('c00')")
        chosen = page.value("location.hash")
        page.click_on("#case ol.cases button")
        page.wait_for(f"location.hash !== '{chosen}' && location.hash.startsWith('#case=c00')")
        assert page.value("document.activeElement.id") == "case"
        page.click_on("#view-3d")
        page.wait_for("document.documentElement.dataset.ready === '3d'")
        assert page.value("location.hash").endswith("&view=3d")
        page.click_on("tbody tr:nth-child(2) .name button")
        page.wait_for("document.documentElement.dataset.drawn < 20")
        assert page.value("document.activeElement.closest('tr') !== null")
        chosen = page.value("location.hash.split('&')[0]")
        page.click(*page.value(solid))
        page.wait_for(f"location.hash.split('&')[0] !== '{chosen}'")
        assert page.value("document.documentElement.dataset.drawn") == "15"
        assert page.errors == []
