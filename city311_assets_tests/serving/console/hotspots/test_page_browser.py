"""The hotspots page in a browser, over the town: what was planted is found by clicking."""

import csv
import io
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h3
import pytest
from playwright.sync_api import expect

from city311_assets_tests.serving.console.hotspots.browsing import GRAPH, MAP, Hotspots
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
ROWS = "#hotspots-cells tbody tr"
SATURDAY, EVENING = 6, 20


def in_march(town: Town) -> Any:
    """The town's incidents of March 2026."""
    return town.incidents.filter(town.incidents["day"] >= MARCH)


def test_a_shared_address_shows_the_same_view_and_what_makes_no_sense_in_it_is_named(
    here: Hotspots,
):
    query = (
        f"{MARCH_OF_CRIMES}&category=noise&category={RARE}&weekday=6&hour=20&hour=21"
        "&resolution=7&measure=share&compare-from=2026-01-01&compare-to=2026-01-31"
    )
    here.open(query)
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
    here.open(f"{MARCH_OF_CRIMES}&resolution=99&category=nope&measure=x&hour=30")
    refused = page.locator("#hotspots-refused")
    for name in ("resolution: 99", "category: ", "'nope'", "measure: ", "hour: 30"):
        expect(refused).to_contain_text(name)
    here.wait_for_map("/8.json")
    expect(page.locator("#hotspots-said")).to_have_text("all categories, 1 to 31 Mar 2026")


def test_clicks_lead_from_the_city_to_the_records_and_breadcrumbs_lead_back(
    town: Town, here: Hotspots
):
    here.turn_to(f"{MARCH_OF_CRIMES}&category={RARE}&resolution=6")
    parent = ""
    for resolution in range(6, 11):
        here.wait_for_map(f"/{resolution}.json{parent}")
        cell = h3.cell_to_parent(town.rare_cell, resolution)
        here.wait(f"cell => {MAP}.data[1].locations[0] === cell", cell)
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
    town: Town, here: Hotspots
):
    here.turn_to(f"{MARCH_OF_CRIMES}&resolution=10")
    here.wait_for_map("/10.json")
    first_of_all = here.cells[0]
    assert first_of_all != town.rare_cell
    asked_before = len(here.outlines)
    page = here.page
    page.locator("#hotspots-category-words").click()
    page.locator("#hotspots-category-search").fill("arso")
    options = page.locator("#hotspots-category label")
    expect(options).to_have_count(1)
    options.first.click()
    expect(page.locator("#hotspots-category-words")).to_have_text(RARE)
    here.wait(f"cell => {MAP}.data[1].locations[0] === cell", town.rare_cell)
    expect(
        page.locator("#hotspots-kpi-total .figure, #hotspots-kpi-selected .figure")
    ).to_have_text(str(RARE_COUNT + RARE_ELSEWHERE))
    # The same outlines serve every selection.
    assert len(here.outlines) == asked_before <= 1
    here.show("cells")
    here.wait(
        "count => document.querySelector('#hotspots-cells tbody tr')?.cells[2].textContent"
        " === count",
        str(RARE_COUNT),
    )
    page.locator("#hotspots-category-search").fill("")
    page.locator("#hotspots-category-choices a", has_text="None").click()
    here.wait_for_asked(none=["yes"], category=None)
    expect(page.locator("#hotspots-nothing")).to_contain_text("No category is chosen")
    here.wait(f"{MAP}.data[1].z.every(value => value === 0)")
    here.show("cells")
    expect(page.locator("#hotspots-cells")).to_contain_text("nothing is shown")
    # Choosing one ends the choice of none.
    page.locator("#hotspots-category label", has_text=RARE).click()
    here.wait_for_asked(none=None, category=[RARE])
    expect(page.locator("#hotspots-nothing")).to_have_count(0)
    here.show("map")
    here.wait(f"cell => {MAP}.data[1].locations[0] === cell", town.rare_cell)
    page.locator("#hotspots-category-choices a", has_text="All").click()
    here.wait(f"cell => {MAP}.data[1].locations[0] === cell", first_of_all)
    page.locator("#hotspots-category-words").click()


def test_weekdays_and_hours_move_together_and_a_second_click_lets_go(town: Town, here: Hotspots):
    here.turn_to(f"{MARCH_OF_CRIMES}&measure=records")
    here.show("when")
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
    here.show("when")
    here.wait(f"want => {GRAPH.format(weekdays)}.data[0].y[0] === want", all_weekdays[0])
    # By keys alone: the table below the charts has links that choose.
    here.page.locator("summary", has_text="links that choose").click()
    here.page.locator("#hotspots-choices a", has_text="Tuesday").press("Enter")
    here.wait_for_asked(weekday=["2"], measure=["records"])
    expect(here.page.locator("#hotspots-choices a", has_text="Tuesday")).to_have_text(
        "Tuesday (chosen)"
    )
    expect(here.page.locator("#hotspots-choices a:focus")).to_have_text("Tuesday (chosen)")


def pl_certain(town: Town) -> Any:
    """Which incidents have a certain time."""
    return in_march(town)["is_time_certain"]


def test_two_periods_are_compared_and_the_map_shows_where_it_changed(town: Town, here: Hotspots):
    here.turn_to(f"{MARCH_OF_CRIMES}&resolution=8")
    here.show("comparison")
    ratio = here.page.locator("#hotspots-ratio")
    before = town.incidents.filter(
        town.incidents["day"].is_between(*days("2025-03-02", "2025-03-31"))
    )
    now = in_march(town).height / 31
    expect(ratio).to_have_text(f"{now / (before.height / 30):.2f} times")
    here.page.locator("#hotspots-compare-choices a", has_text="days before").click()
    here.wait_for_asked(**{"compare-from": ["2026-01-29"], "compare-to": ["2026-02-28"]})
    here.show("comparison")
    between = town.incidents["day"].is_between(*days("2026-01-29", "2026-02-28"))
    of_before = town.incidents.filter(between).height / 31
    expect(ratio).to_have_text(f"{now / of_before:.2f} times")
    here.page.locator("#hotspots-comparison a", has_text="Colour the map").click()
    here.wait_for_asked(measure=["change"])
    here.show("map")
    here.wait(f"cell => {MAP}?.data?.[1]?.locations[0] === cell", town.risen_cell)
    assert here.page.evaluate(f"{MAP}.data[1].zmin") < 0
    expect(here.page.locator("#hotspots-explain")).to_contain_text("the same weeks last year")


def days(*texts: str) -> tuple[Any, ...]:
    """Days as they are written."""
    return tuple(type(MARCH).fromisoformat(text) for text in texts)


def test_downloads_hold_what_the_table_shows_and_links_in_it_lead_into_cells(here: Hotspots):
    here.turn_to(f"{MARCH_OF_CRIMES}&resolution=8&measure=rate")
    here.wait_for_map("/8.json")
    here.wait("document.querySelector('#hotspots-explain').textContent.startsWith('Successes')")
    here.settle()
    drawn_cells = here.cells
    here.show("cells")
    here.settle()
    shown = here.in_table("cells")
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
    assert drawn_cells == [one["cell"] for one in rows if one["rate"]]
    here.page.locator("#hotspots-cells tbody a").first.click()
    here.wait_for_asked(cell=[rows[0]["cell"]], resolution=["9"], measure=["rate"])
    expect(here.page.locator(".crumbs")).to_contain_text(rows[0]["label"])


def test_a_day_alone_is_shown_and_the_second_is_asked_for(here: Hotspots):
    here.turn_to("feed=chicago_crimes")
    page = here.page
    said = page.locator("#hotspots-said")
    expect(said).to_have_text("all categories, 1 to 31 Mar 2026")
    # The days that hold where the address names none look like any others.
    start = page.locator("#hotspots-period")
    expect(start).to_have_attribute("placeholder", "2026-03-01")
    colours = start.evaluate(
        "one => [getComputedStyle(one, '::placeholder').color, getComputedStyle(one).color]"
    )
    assert colours[0] == colours[1]
    start.click()
    day = page.locator(".dash-datepicker-calendar-date-inside")
    day.filter(has_text="10").first.click()
    here.wait_for_asked(**{"from": ["2026-03-10"], "to": None})
    problems = page.locator("#hotspots-problems")
    expect(problems).to_contain_text("Choose the second day")
    expect(said).to_have_text("all categories, 10 to 31 Mar 2026")
    day.filter(has_text="17").first.click()
    here.wait_for_asked(**{"from": ["2026-03-10"], "to": ["2026-03-17"]})
    expect(problems).to_be_empty()
    expect(said).to_have_text("all categories, 10 to 17 Mar 2026")
    page.keyboard.press("Escape")


def test_a_copied_link_keeps_to_the_days_that_are_shown(here: Hotspots):
    here.turn_to("feed=chicago_crimes&measure=rate")
    page = here.page
    expect(page.locator("#hotspots-said")).to_have_text("all categories, 1 to 31 Mar 2026")
    expect(page.locator("#hotspots-copy")).to_have_attribute("value", re.compile("measure=rate"))
    page.locator("#hotspots-copy").click()
    expect(page.locator("#hotspots-copied")).to_contain_text("Copied")
    link = urlsplit(page.evaluate("navigator.clipboard.readText()"))
    assert f"{link.scheme}://{link.netloc}{link.path}" == f"{here.console}/hotspots"
    asked = parse_qs(link.query)
    assert (asked["from"], asked["to"]) == (["2026-03-01"], ["2026-03-31"])
    assert asked["measure"] == ["rate"]
    # What is said of a link is gone with the view that it was of.
    page.locator("#hotspots-period-choices a", has_text="Last 7 days").click()
    expect(page.locator("#hotspots-copied")).to_be_empty()


def test_a_change_asks_only_for_the_panels_in_view_that_it_changes(here: Hotspots):
    asked: list[str] = []
    page = here.page
    page.on(
        "request",
        lambda one: (
            asked.append(json.loads(one.post_data or "{}")["output"])
            if "_dash-update" in one.url
            else None
        ),
    )
    here.open(MARCH_OF_CRIMES)
    here.wait_for_map("/8.json")
    here.settle()
    # Nobody has scrolled: what is below is not there yet.
    expect(page.locator("#hotspots-streets")).to_be_empty()
    assert not any("hotspots-cells" in one for one in asked)
    here.show("calendar")
    here.settle()
    asked.clear()
    page.locator("#hotspots-resolution label", has_text="7").locator("input").check()
    here.wait_for_asked(resolution=["7"])
    here.show("comparison")
    here.wait("document.querySelector('#hotspots-comparison [data-table]') !== null")
    here.show("map")
    here.wait_for_map("/7.json")
    here.settle()
    # A calendar is the same whatever the size of cells.
    assert not any("hotspots-calendar" in one for one in asked)
    assert sum("hotspots-map.figure" in one for one in asked) == 1


def test_a_feed_without_records_says_so_and_another_can_be_chosen(here: Hotspots):
    here.open("feed=nyc_311")
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


def test_names_from_the_data_are_shown_letter_by_letter(here: Hotspots):
    here.turn_to(f"{MARCH_OF_CRIMES}&resolution=8")
    here.show("streets")
    here.wait("document.querySelector('#hotspots-streets tbody tr') !== null")
    assert FORMULA in [row[0] for row in here.in_table("streets")]
    here.page.locator("#hotspots-category-words").click()
    shown = HOSTILE.replace("_", " ")
    expect(here.page.locator("#hotspots-category")).to_contain_text(shown)
    here.page.locator("#hotspots-category label", has_text="onerror").click()
    expect(here.page.locator("#hotspots-category-words")).to_have_text(shown)
    here.wait_for_asked(category=[HOSTILE])
    expect(here.page.locator("#hotspots-said")).to_contain_text(shown)
    here.page.locator("#hotspots-category-words").click()
    here.show("mix")
    legend = here.page.locator("#hotspots-mix-chart .legendtext")
    expect(legend.first).to_contain_text("<img src=x onerror")
    # A table is made of texts: whatever stands in it is shown as it is written.
    here.page.evaluate(
        "text => document.querySelector('main').append(window.city311Hotspots.table({"
        " caption: text, heads: [text], texts: 1, rows: [[text], [{ text, href: '/' }]] }))",
        HOSTILE,
    )
    made = here.page.locator("main > table")
    assert made.locator("td").all_inner_texts() == [HOSTILE, HOSTILE]
    expect(made.locator("a")).to_have_count(1)
    expect(here.page.locator("main img, main .legend image")).to_have_count(0)
    made.evaluate("one => one.remove()")


def test_a_phone_scrolls_down_only_and_everything_has_a_name(here: Hotspots):
    here.page.set_viewport_size({"width": 390, "height": 844})
    here.open(MARCH_OF_CRIMES)
    here.wait_for_map("/8.json")
    for panel in ("kpis", "hits", "outcome", "when", "mix", "calendar", "forecast", "streets"):
        here.show(panel)
    here.show("cells")
    expect(here.page.locator(ROWS).first).to_be_visible()
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
