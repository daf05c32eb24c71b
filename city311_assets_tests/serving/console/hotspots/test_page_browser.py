"""The hotspots page in a browser, over the town: what was planted is found by clicking."""

import csv
import io
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h3
import pytest
from playwright.sync_api import Page, expect

from city311_assets_tests.serving.conftest import Watched
from city311_assets_tests.serving.towns import (
    FORMULA,
    HOSTILE,
    MARCH,
    RARE,
    RARE_COUNT,
    RARE_ELSEWHERE,
    Town,
)

MARCH_OF_CRIMES = "feed=chicago_crimes&from=2026-03-01&to=2026-03-31"
GRAPH = "document.querySelector('#{} .js-plotly-plot')"
MAP = GRAPH.format("hotspots-map")
ROWS = "#hotspots-cells tbody tr"
SATURDAY, EVENING = 6, 20
expect.set_options(timeout=30_000)


class Hotspots:
    """The page, opened at a query, and what is read from it."""

    def __init__(self, watched: Watched, console: str, query: str) -> None:
        self.page: Page = watched.page
        self.outlines: list[str] = []
        self.page.on("request", lambda asked: self._note(asked.url))
        self.page.goto(f"{console}/hotspots?{query}")

    def _note(self, url: str) -> None:
        if re.search(r"/api/geo/\w+/\d+\.json", url):
            self.outlines.append(url)

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
        """Wait until nothing is being fetched, and what is shown has stopped moving."""
        self.page.wait_for_function(
            "() => { const height = document.body.scrollHeight; const before = window.before;"
            " window.before = height; return height === before"
            " && !document.querySelector('[data-dash-is-loading=true]'); }",
            polling=300,
        )

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

    def first_row(self) -> list[str]:
        """The texts of the first row of the table of cells."""
        return self.page.locator(ROWS).first.locator("td").all_inner_texts()


def in_march(town: Town) -> Any:
    """The town's incidents of March 2026."""
    return town.incidents.filter(town.incidents["day"] >= MARCH)


def test_clicks_lead_from_the_city_to_the_records_and_breadcrumbs_lead_back(
    town: Town, console: str, browser_page: Watched
):
    here = Hotspots(browser_page, console, f"{MARCH_OF_CRIMES}&category={RARE}&resolution=6")
    parent = ""
    for resolution in range(6, 11):
        here.wait_for_map(f"/{resolution}.json{parent}")
        cell = h3.cell_to_parent(town.rare_cell, resolution)
        assert here.cells[0] == cell
        here.click_on_cell(cell)
        parent = f"?parent={cell}"
    records = here.page.locator("#hotspots-records-panel")
    expect(records).to_contain_text(f"{RARE_COUNT} records match the selection")
    assert records.locator("tbody tr").count() == RARE_COUNT
    expect(records.locator("tbody tr").first).to_contain_text(RARE)
    expect(records.locator("tbody a").first).to_have_attribute("href", re.compile("^https://"))
    here.wait_for_asked(records=[town.rare_cell], category=[RARE], resolution=["10"])
    crumbs = here.page.locator(".crumbs > span")
    expect(crumbs).to_have_count(5)
    here.page.locator(".hotspots-back").click()
    here.wait_for_asked(cell=[h3.cell_to_parent(town.rare_cell, 8)], resolution=["9"], records=None)
    expect(crumbs).to_have_count(4)
    expect(records).to_be_hidden()
    crumbs.first.locator("a").click()
    here.wait_for_asked(cell=None, category=[RARE])
    expect(crumbs).to_have_count(1)
    here.page.go_back()
    here.wait_for_asked(cell=[h3.cell_to_parent(town.rare_cell, 8)])
    expect(crumbs).to_have_count(4)


def test_a_category_ranks_the_cells_by_itself_and_none_shows_nothing_and_says_so(
    town: Town, console: str, browser_page: Watched
):
    here = Hotspots(browser_page, console, f"{MARCH_OF_CRIMES}&resolution=10")
    here.wait_for_map("/10.json")
    first_of_all = here.cells[0]
    assert first_of_all != town.rare_cell
    page = here.page
    page.locator("#hotspots-category-words").click()
    page.locator("#hotspots-category-search").fill("arso")
    options = page.locator("#hotspots-category label")
    expect(options).to_have_count(1)
    options.first.click()
    expect(page.locator("#hotspots-category-words")).to_have_text(RARE)
    here.wait(f"cell => {MAP}.data[1].locations[0] === cell", town.rare_cell)
    assert here.first_row()[2] == str(RARE_COUNT)
    expect(
        page.locator("#hotspots-kpi-total .figure, #hotspots-kpi-selected .figure")
    ).to_have_text(str(RARE_COUNT + RARE_ELSEWHERE))
    # The same outlines serve every selection.
    assert len(here.outlines) == 1
    page.locator("#hotspots-category-search").fill("")
    page.locator("#hotspots-category-choices a", has_text="None").click()
    here.wait_for_asked(none=["yes"], category=None)
    expect(page.locator("#hotspots-nothing")).to_contain_text("No category is chosen")
    expect(page.locator("#hotspots-cells")).to_contain_text("nothing is shown")
    here.wait(f"{MAP}.data[1].z.every(value => value === 0)")
    # Choosing one ends the choice of none.
    page.locator("#hotspots-category label", has_text=RARE).click()
    here.wait_for_asked(none=None, category=[RARE])
    expect(page.locator("#hotspots-nothing")).to_have_count(0)
    here.wait(f"cell => {MAP}.data[1].locations[0] === cell", town.rare_cell)
    page.locator("#hotspots-category-choices a", has_text="All").click()
    here.wait(f"cell => {MAP}.data[1].locations[0] === cell", first_of_all)


def test_weekdays_and_hours_move_together_and_a_second_click_lets_go(
    town: Town, console: str, browser_page: Watched
):
    here = Hotspots(browser_page, console, f"{MARCH_OF_CRIMES}&measure=records")
    weekdays, hours = "hotspots-weekdays", "hotspots-hours"
    here.wait(f"{GRAPH.format(hours)}?.data?.[0]?.y?.length === 24")
    all_weekdays, all_hours = here.bars(weekdays), here.bars(hours)
    here.click_on_bar(weekdays, SATURDAY - 1)
    here.wait_for_asked(weekday=[str(SATURDAY)], measure=["records"])
    here.wait(
        f"before => {GRAPH.format(hours)}.data[0].y[{EVENING}] > 2 * before", all_hours[EVENING]
    )
    assert here.bars(weekdays) == all_weekdays
    colours = here.page.evaluate(f"{GRAPH.format(weekdays)}.data[0].marker.color")
    assert [colours.count(one) for one in (colours[SATURDAY - 1], colours[0])] == [1, 6]
    certain = in_march(town).filter(pl_certain(town), weekday=SATURDAY, hour=EVENING)
    saturdays = in_march(town).filter(weekday=SATURDAY)["day"].n_unique()
    assert here.bars(hours)[EVENING] == pytest.approx(certain.height / saturdays)
    here.click_on_bar(hours, EVENING)
    here.wait_for_asked(weekday=[str(SATURDAY)], hour=[str(EVENING)])
    here.wait(
        f"([day, want]) => Math.abs({GRAPH.format(weekdays)}.data[0].y[day] - want) < 1e-9",
        [SATURDAY - 1, certain.height / saturdays],
    )
    expect(here.page.locator("#hotspots-said")).to_contain_text("Saturdays, 20:00 to 20:59")
    here.click_on_bar(weekdays, SATURDAY - 1)
    here.wait_for_asked(weekday=None, hour=[str(EVENING)])
    here.wait(f"want => {GRAPH.format(hours)}.data[0].y[{EVENING}] === want", all_hours[EVENING])
    here.page.locator("#hotspots-clear-when").click()
    here.wait_for_asked(weekday=None, hour=None, measure=["records"])
    here.wait(f"want => {GRAPH.format(weekdays)}.data[0].y[0] === want", all_weekdays[0])
    # By keys alone: the tables beside the charts have links that choose.
    here.page.locator("summary", has_text="links that choose").click()
    here.page.locator("#hotspots-when a", has_text="Tuesday").press("Enter")
    here.wait_for_asked(weekday=["2"])


def pl_certain(town: Town) -> Any:
    """Which incidents have a certain time."""
    return in_march(town)["is_time_certain"]


def test_two_periods_are_compared_and_the_map_shows_where_it_changed(
    town: Town, console: str, browser_page: Watched
):
    here = Hotspots(browser_page, console, f"{MARCH_OF_CRIMES}&resolution=8")
    ratio = here.page.locator("#hotspots-ratio")
    before = town.incidents.filter(
        town.incidents["day"].is_between(*days("2025-03-02", "2025-03-31"))
    )
    now = in_march(town).height / 31
    expect(ratio).to_have_text(f"{now / (before.height / 30):.2f} times")
    here.page.locator("#hotspots-compare-choices a", has_text="days before").click()
    here.wait_for_asked(**{"compare-from": ["2026-01-29"], "compare-to": ["2026-02-28"]})
    between = town.incidents["day"].is_between(*days("2026-01-29", "2026-02-28"))
    of_before = town.incidents.filter(between).height / 31
    expect(ratio).to_have_text(f"{now / of_before:.2f} times")
    here.page.locator("#hotspots-comparison a", has_text="Colour the map").click()
    here.wait_for_asked(measure=["change"])
    here.wait(f"cell => {MAP}?.data?.[1]?.locations[0] === cell", town.risen_cell)
    assert here.page.evaluate(f"{MAP}.data[1].zmin") < 0
    expect(here.page.locator("#hotspots-explain")).to_contain_text("the same weeks last year")


def days(*texts: str) -> tuple[Any, ...]:
    """Days as they are written."""
    return tuple(type(MARCH).fromisoformat(text) for text in texts)


def test_downloads_hold_what_the_table_shows(console: str, browser_page: Watched):
    here = Hotspots(browser_page, console, f"{MARCH_OF_CRIMES}&resolution=8&measure=rate")
    expect(here.page.locator(ROWS).first).to_be_visible()
    shown = [row.locator("td").all_inner_texts() for row in here.page.locator(ROWS).all()]
    with here.page.expect_download() as download:
        here.page.locator("#hotspots-csv").click()
    name, text = download.value.suggested_filename, download.value.path().read_text("utf-8")
    assert name == "chicago_crimes-2026-03-01-2026-03-31-r8.csv"
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [[one["rank"], one["label"], f"{int(one['selected']):,}"] for one in rows] == [
        row[:3] for row in shown
    ]
    with here.page.expect_download() as download:
        here.page.locator("#hotspots-geojson").click()
    drawn = json.loads(download.value.path().read_text("utf-8"))
    assert [one["id"] for one in drawn["features"]] == [one["cell"] for one in rows]
    known = [one["cell"] for one in rows if one["rate"]]
    here.wait_for_map("/8.json")
    assert here.cells == known


def test_a_shared_address_shows_the_same_view_and_what_makes_no_sense_in_it_is_named(
    console: str, browser_page: Watched
):
    query = (
        f"{MARCH_OF_CRIMES}&category=noise&category={RARE}&weekday=6&hour=20&hour=21"
        "&resolution=7&measure=share&compare-from=2026-01-01&compare-to=2026-01-31"
    )
    here = Hotspots(browser_page, console, query)
    page = here.page
    expect(page.locator("#hotspots-said")).to_have_text(
        f"noise, {RARE}, 1 to 31 Mar 2026, Saturdays, 20:00 to 21:59"
    )
    expect(page.locator("#hotspots-period")).to_have_value("2026-03-01")
    expect(page.locator("#hotspots-compare-end-date")).to_have_value("2026-01-31")
    expect(page.locator("#hotspots-resolution input:checked")).to_have_count(1)
    expect(page.locator("#hotspots-measure")).to_contain_text("Selected share")
    expect(page.locator("#hotspots-category-words")).to_have_text(f"2: noise, {RARE}")
    here.wait_for_map("/7.json")
    assert parse_qs(urlsplit(page.url).query) == parse_qs(query)
    page.goto(f"{console}/hotspots?{MARCH_OF_CRIMES}&resolution=99&category=nope&measure=x&hour=30")
    refused = page.locator("#hotspots-refused")
    for name in ("resolution: 99", "category: ", "'nope'", "measure: ", "hour: 30"):
        expect(refused).to_contain_text(name)
    here.wait_for_map("/8.json")
    expect(page.locator("#hotspots-said")).to_have_text("all categories, 1 to 31 Mar 2026")


def test_a_feed_without_records_says_so_and_another_can_be_chosen(
    console: str, browser_page: Watched
):
    here = Hotspots(browser_page, console, "feed=nyc_311")
    problems = here.page.locator("#hotspots-problems")
    expect(problems).to_contain_text("holds no records of")
    expect(problems).to_contain_text("city311 materialize")
    expect(here.page.locator("#hotspots-body")).to_be_hidden()
    here.page.locator("#hotspots-feed").click()
    here.page.get_by_role("option", name="Chicago crimes").click()
    here.wait_for_asked(feed=["chicago_crimes"])
    expect(here.page.locator("#hotspots-body")).to_be_visible()
    here.wait_for_map("/8.json")
    expect(problems).to_be_empty()


def test_names_from_the_data_are_shown_letter_by_letter(console: str, browser_page: Watched):
    here = Hotspots(browser_page, console, f"{MARCH_OF_CRIMES}&resolution=8")
    expect(here.page.locator("#hotspots-streets")).to_contain_text(FORMULA)
    here.page.locator("#hotspots-category-words").click()
    shown = HOSTILE.replace("_", " ")
    expect(here.page.locator("#hotspots-category")).to_contain_text(shown)
    here.page.locator("#hotspots-category label", has_text="onerror").click()
    expect(here.page.locator("#hotspots-category-words")).to_have_text(shown)
    here.wait_for_asked(category=[HOSTILE])
    expect(here.page.locator("#hotspots-said")).to_contain_text(shown)
    legend = here.page.locator("#hotspots-mix-chart .legendtext")
    expect(legend.first).to_contain_text("<img src=x onerror")
    expect(here.page.locator("#page img, #page .legend image")).to_have_count(0)


def test_a_phone_scrolls_down_only_and_everything_has_a_name(console: str, browser_page: Watched):
    browser_page.page.set_viewport_size({"width": 390, "height": 844})
    here = Hotspots(browser_page, console, MARCH_OF_CRIMES)
    here.wait_for_map("/8.json")
    expect(here.page.locator(ROWS).first).to_be_visible()
    for panel in ("kpis", "hits", "outcome", "when", "mix", "calendar", "forecast", "streets"):
        expect(here.page.locator(f"#hotspots-{panel} > *").first).to_be_visible()
    here.wait("document.documentElement.scrollWidth <= 390")
    assert here.page.evaluate(
        "[...document.querySelectorAll('#page .dash-graph')].every("
        "one => one.closest('[aria-label]')?.getAttribute('aria-label'))"
    )
    unnamed = here.page.evaluate(
        "[...document.querySelectorAll('#page input:not([aria-hidden]), #page button')]"
        ".filter(one => !(one.labels?.length || one.innerText || one.getAttribute('aria-label')))"
        ".map(one => one.outerHTML)"
    )
    assert unnamed == []
