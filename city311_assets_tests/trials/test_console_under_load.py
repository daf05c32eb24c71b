"""The console with five years of crimes: what a click takes, at the server and to the eye."""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import duckdb
import psutil
import pytest
from playwright.sync_api import Page, Request, expect, sync_playwright

from benchmarks.console import RECORDS, YEARS, published
from city311_assets_tests.serving.api.load import told
from city311_assets_tests.serving.conftest import FLAGS, serve

pytestmark = pytest.mark.trial

MOST_SERVER_MS = 300
ROUNDS = 3
QUIET_SECONDS = 0.5
WARM_SECONDS = 30
UPDATE = "/_dash-update-component"


@dataclass
class Interactions:
    """What the browser asked of the server, and how long each click took to settle."""

    page: Page
    server: psutil.Process
    answers_ms: list[float] = field(default_factory=list)
    settled_ms: dict[str, list[float]] = field(default_factory=dict)
    server_cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    browser_cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    in_flight: int = 0
    last_at: float = 0.0

    def __post_init__(self) -> None:
        self._devtools = self.page.context.new_cdp_session(self.page)
        # Processor time, which a busy machine changes less than a clock's.
        self._devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.page.on("request", self._asked)
        self.page.on("requestfinished", self._answered)
        self.page.on("requestfailed", self._failed)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda said: self.errors.append(said.text) if said.type == "error" else None,
        )

    def _asked(self, request: Request) -> None:
        if UPDATE in request.url:
            self.in_flight += 1

    def _answered(self, request: Request) -> None:
        if UPDATE not in request.url:
            return
        self.in_flight -= 1
        self.last_at = time.perf_counter()
        timing = request.timing
        self.answers_ms.append(timing["responseStart"] - timing["requestStart"])

    def _failed(self, request: Request) -> None:
        if UPDATE in request.url:
            self.in_flight -= 1
            self.errors.append(f"{request.url}: {request.failure}")

    def settle(self) -> None:
        """Wait until nothing was asked for a while."""
        quiet_since = time.perf_counter()
        while time.perf_counter() - quiet_since < QUIET_SECONDS:
            self.page.wait_for_timeout(20)
            if self.in_flight or self.last_at > quiet_since:
                quiet_since = time.perf_counter()

    def click(self, name: str, selector: str) -> None:
        """Click, and note how long until the last answer, and what it took of both processors."""
        at_server, in_browser = self._cpu_ms()
        self.last_at = begun = time.perf_counter()
        self.page.locator(selector).first.click()
        self.settle()
        # The last answer, and two frames in which it is drawn.
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        took = max(self.last_at, begun) - begun
        self.settled_ms.setdefault(name, []).append(1e3 * took)
        server_after, browser_after = self._cpu_ms()
        self.server_cpu_ms.setdefault(name, []).append(server_after - at_server)
        self.browser_cpu_ms.setdefault(name, []).append(browser_after - in_browser)

    def _cpu_ms(self) -> tuple[float, float]:
        """Return processor time so far: of the server, and of the page's main thread."""
        told = self._devtools.send("Performance.getMetrics")["metrics"]
        (thread,) = (one["value"] for one in told if one["name"] == "TaskDuration")
        spent = self.server.cpu_times()
        return 1e3 * (spent.user + spent.system), 1e3 * thread


def publish_again(path: Path) -> None:
    """Put another version of the same data in place, as the publisher does: by renaming."""
    newer = Path(shutil.copy(path, path.with_suffix(".newer")))
    with duckdb.connect(str(newer)) as conn:
        conn.execute("update meta.publications set data_version = '2'")
    newer.replace(path)


def test_five_years_of_crimes_are_looked_at_while_a_new_file_is_published(tmp_path: Path, trial):
    """1.2 million incidents of five years, `city311 serve`, Chromium with a software renderer:
    cells of resolution 6 to 10 and back, twelve months and everything; in the middle a new file is
    published."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on this machine")
    path = tmp_path / "city311.duckdb"
    published(path, RECORDS)
    process, address = serve(tmp_path)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(60_000)
            time.sleep(WARM_SECONDS)
            seen = Interactions(page, psutil.Process(process.pid))
            page.goto(f"{address}/hotspots?feed=chicago_crimes&from=2021-11-01&to=2026-10-30")
            page.wait_for_selector("#hotspots-map .js-plotly-plot")
            seen.settle()
            first, seen.answers_ms = seen.answers_ms, []
            for turn in range(ROUNDS):
                for size in (6, 7, 8, 9, 10):
                    name = f"cells of resolution {size}"
                    seen.click(name, f"#hotspots-resolution label:has-text('{size}') input")
                seen.click("back to resolution 8", "#hotspots-resolution label:has-text('8') input")
                seen.click("last 12 months", "text=Last 12 months")
                seen.click("everything", "#hotspots-period-choices >> text=Everything")
                if turn == 0:
                    publish_again(path)
                    # The bar looks again by itself; what is asked next is of the new file.
                    time.sleep(WARM_SECONDS)
            expect(page.locator("#as-of")).to_contain_text("as of")
            version = page.locator("#as-of [title]").first.get_attribute("title")
            browser.close()
        peak = psutil.Process(process.pid).memory_info().rss / 1e6
    finally:
        process.terminate()
        process.communicate(timeout=20)
    trial.found(
        incidents=f"{RECORDS:,} of {YEARS} years",
        first_view_at_the_server=told(first),
        interactions_at_the_server=f"{len(seen.answers_ms)} answers, {told(seen.answers_ms)}",
        **{
            f"{name}_settled_after": f"{median(times):,.0f} ms; processor: server "
            f"{median(seen.server_cpu_ms[name]):,.0f} ms, main thread of the browser "
            f"{median(seen.browser_cpu_ms[name]):,.0f} ms"
            for name, times in seen.settled_ms.items()
        },
        server_memory=f"{peak:,.0f} MB",
        errors=len(seen.errors),
    )
    assert seen.errors == []
    assert version == "data version 2"
