"""The hotspots page in a browser, as tests use it: opened, waited for, clicked and read.

What belongs here: how one gets to what is shown. What does not: what ought to be there.
"""

import re

import h3
from playwright.sync_api import Locator, Page, expect

from city311_assets_tests.serving.conftest import Watched

GRAPH = "document.querySelector('#{} .js-plotly-plot')"
MAP = GRAPH.format("hotspots-map")
UPDATE = "_dash-update-component"
expect.set_options(timeout=30_000)


class Hotspots:
    """The page, and what is read from it."""

    def __init__(self, watched: Watched, console: str) -> None:
        self.page: Page = watched.page
        self.errors = watched.errors
        self.outlines: list[str] = []
        self.console = console
        self.in_flight = 0
        self.page.on("request", lambda asked: self._note(asked.url))
        self.page.on("requestfinished", lambda asked: self._note_end(asked.url))
        self.page.on("requestfailed", lambda asked: self._note_end(asked.url))

    def open(self, query: str) -> None:
        """Open the page at a query, as who follows a link from elsewhere."""
        self.in_flight = 0
        self.page.goto(f"{self.console}/hotspots?{query}")

    def turn_to(self, query: str) -> None:
        """Show another view in the page that is open: starting it takes most of a test."""
        if not self.page.url.startswith(self.console):
            self.open(query)
            return
        self.page.evaluate(
            "search => { window.dash_clientside.set_props('hotspots-url', { search });"
            " window.scrollTo(0, 0); }",
            f"?{query}",
        )
        self.wait("search => location.search === search", f"?{query}")
        self.settle()

    def show(self, panel: str) -> Locator:
        """Scroll a panel into view, and wait until it shows what is selected."""
        content = self.page.locator(f"#hotspots-{panel}")
        content.evaluate("one => (one.closest('section') || one).scrollIntoView()")
        self.settle()
        expect(content).not_to_be_empty()
        return content

    def in_table(self, panel: str) -> list[list[str]]:
        """The texts of a panel's table, row by row."""
        return self.page.evaluate(
            "panel => [...document.querySelectorAll(`#hotspots-${panel} tbody tr`)].map("
            "row => [...row.cells].map(cell => cell.textContent))",
            panel,
        )

    def _note(self, url: str) -> None:
        self.in_flight += UPDATE in url
        if re.search(r"/api/geo/\w+/\d+\.json", url):
            self.outlines.append(url)

    def _note_end(self, url: str) -> None:
        self.in_flight -= UPDATE in url

    def wait(self, expression: str, arg: object = None) -> None:
        """Wait until an expression of the page is true."""
        self.page.wait_for_function(expression, arg=arg)

    def wait_for_map(self, geometry: str) -> None:
        """Wait until the cells of some outlines are drawn."""
        self.wait(
            f"geometry => {{ const g = {MAP}; const map = g?._fullLayout?.map?._subplot?.map;"
            " return g?.data?.length === 2 && g.data[1].geojson.endsWith(geometry) && map?.loaded()"
            " && map.queryRenderedFeatures().some(one => one.source.startsWith('source')); }",
            geometry,
        )

    def settle(self) -> None:
        """Wait until what is in view is of the selection and has stopped moving."""
        while True:
            self.page.wait_for_function(
                "() => { const height = document.body.scrollHeight; const before = window.before;"
                " window.before = height; const inView = (one) => { const box ="
                " one.getBoundingClientRect(); return box.height && box.bottom > 0"
                " && box.top < window.innerHeight; };"
                " return height === before && ![...document.querySelectorAll('[data-stale],"
                " [data-dash-is-loading=true]')].some(inView); }",
                polling=200,
            )
            if self.in_flight <= 0:
                return

    @property
    def cells(self) -> list[str]:
        """The cells with a number on the map, in their order."""
        return self.page.evaluate(f"{MAP}.data[1].locations")

    def click_on_cell(self, cell: str) -> None:
        """Click in the middle of a cell of the map."""
        self.settle()
        lat, lon = h3.cell_to_latlng(cell)
        self.page.locator("#hotspots-map").scroll_into_view_if_needed()
        x, y = self.page.evaluate(
            f"([lon, lat]) => {{ const map = {MAP}._fullLayout.map._subplot.map;"
            " const box = map.getCanvas().getBoundingClientRect();"
            " const at = map.project([lon, lat]); return [box.x + at.x, box.y + at.y]; }",
            [lon, lat],
        )
        self.page.mouse.move(x - 3, y)
        self.page.mouse.move(x, y)
        # A click is of the cell that the map has noticed the mouse over.
        self.wait(f"cell => {MAP}._hoverdata?.[0]?.location === cell", cell)
        self.page.mouse.click(x, y)

    def click_on_bar(self, chart: str, place: int) -> None:
        """Click on one bar of a chart, once all charts are of the selection before."""
        self.settle()
        bar = self.page.locator(f"#{chart} .bars path").nth(place)
        bar.scroll_into_view_if_needed()
        box = bar.bounding_box()
        assert box
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def bars(self, chart: str) -> list[float]:
        """The heights of a chart's bars."""
        return self.page.evaluate(f"{GRAPH.format(chart)}.data[0].y")

    def wait_for_asked(self, **wanted: list[str] | None) -> None:
        """Wait until the address asks for something; None: leaves it out."""
        for name, values in wanted.items():
            self.wait(
                "([name, values]) => JSON.stringify(new URLSearchParams(location.search)"
                ".getAll(name)) === JSON.stringify(values)",
                [name, values or []],
            )
