"""The Risk page in a browser: from the map to a cell, and from hours to a list and its file."""

import csv
import io
import re
from pathlib import Path

from playwright.sync_api import Page, Position, expect

from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.serving.console.risk import queries
from city311_assets.serving.snapshots import Snapshots
from city311_assets_tests.serving.conftest import Watched
from city311_assets_tests.serving.towns import RISK_DAYS

DAY = RISK_DAYS[-1]
MAP = "document.querySelector('#risk-map .js-plotly-plot')"
COLOURS = f"{MAP}?.data?.[1]?.z?.length > 0"

# A cold page on a busy machine takes its time.
expect.set_options(timeout=30_000)


def search(page: Page, text: str) -> None:
    """Wait until the address says something."""
    page.wait_for_function("text => location.search.includes(text)", arg=text)


def test_a_cell_says_why_it_is_risky_what_its_past_was_and_what_it_may_cost(
    console: str, browser_page: Watched, snapshots: Snapshots
):
    page = browser_page.page
    with snapshots.current() as snapshot:
        scored = queries.scores(snapshot, LEAKS, DAY).sort("p", descending=True)
    top = scored.row(0, named=True)
    page.goto(f"{console}/risk?cell={top['cell']}")
    expect(page.get_by_text("A call is not a leak")).to_be_visible()
    panel = page.locator("#risk-cell-said")
    expect(panel).to_contain_text(f"{100 * top['p']:.1f} %")
    expect(panel.locator("#risk-drivers")).to_contain_text("4 calls here in 30 days")
    expect(page.locator("#risk-drivers-sum")).to_contain_text("Together +0.50 log odds")
    expect(panel.locator("#risk-history .js-plotly-plot")).to_be_visible()
    expect(panel.get_by_role("table", name="Expected cost by part")).to_contain_text("repair")
    expect(page.locator("#risk-reliability .js-plotly-plot")).to_be_visible()
    expect(page.locator("#risk-model")).to_contain_text("beats both baselines on Brier")
    page.wait_for_function(COLOURS)
    assert sorted(page.evaluate(f"{MAP}.data[1].locations")) == sorted(scored["cell"])
    # Another cell, by hand; the address follows.
    other = scored.row(-1, named=True)
    page.fill("#risk-cell", other["cell"])
    page.keyboard.press("Enter")
    search(page, f"cell={other['cell']}")
    expect(panel).to_contain_text(f"{100 * other['p']:.1f} %")
    page.fill("#risk-cell", "8a2a1072b59ffff")
    page.keyboard.press("Enter")
    expect(panel).to_contain_text("is not in the study area")
    page.get_by_label("expected cost of 7 days").check()
    search(page, "layer=cost")
    page.wait_for_function(f"{MAP}.data[1].colorbar.title.text.includes('dollars')")


def test_a_click_on_the_map_chooses_the_cell_under_it(console: str, browser_page: Watched):
    page = browser_page.page
    page.goto(f"{console}/risk")
    page.wait_for_function(COLOURS)
    page.wait_for_function(f"{MAP}._fullLayout?.map?._subplot?.map?.loaded()")
    box = page.locator("#risk-map .maplibregl-canvas").bounding_box()
    assert box is not None
    middle: Position = {"x": box["width"] / 2, "y": box["height"] / 2}
    for _ in range(40):
        page.locator("#risk-map .maplibregl-canvas").hover(position=middle)
        page.locator("#risk-map .maplibregl-canvas").click(position=middle)
        if re.search(r"cell=89[0-9a-f]{13}", page.url):
            break
        page.wait_for_timeout(250)
    search(page, "cell=89")
    expect(page.locator("#risk-cell-said h3").first).to_have_text("Why")


def test_hours_change_the_list_and_the_file_is_the_list(
    console: str, browser_page: Watched, snapshots: Snapshots, tmp_path: Path
):
    page = browser_page.page
    with snapshots.current() as snapshot:
        offered = queries.recommendations(snapshot, LEAKS, DAY)
    hours = round(min(float(str(one["crew_hours"])) for one in offered) + 0.1, 1)
    page.goto(f"{console}/risk?hours={hours}&layer=recommendations")
    table = page.get_by_role("table", name="Work list")
    rows = table.locator("tbody tr")
    expect(page.locator("#risk-work")).to_contain_text(f"of {hours:g} there are")
    expect(rows).not_to_have_count(0)
    few = rows.count()
    assert 0 < few < len(offered)
    with page.expect_download() as told:
        page.click("#risk-csv")
    told.value.save_as(tmp_path / "list.csv")
    listed = [*csv.DictReader(io.StringIO((tmp_path / "list.csv").read_text()))]
    assert told.value.suggested_filename == f"leaks_{DAY}_{hours:g}h.csv"
    assert [one["rank"] for one in listed] == rows.locator("td:first-child").all_inner_texts()
    slider = page.locator("#risk-slider [role=slider]").first
    slider.focus()
    page.keyboard.press("End")
    expect(page.locator("#risk-work")).to_contain_text("of 320 there are")
    search(page, "hours=320")
    assert rows.count() > few
    page.wait_for_function(f"{MAP}.data.at(-1).name === 'on the work list'")
    page.click("#risk-what-if")
    expect(page.get_by_role("table", name="Work lists with priors at their ends")).to_contain_text(
        "share major, high end"
    )


def test_what_has_no_scores_says_so_and_what_has(console: str, browser_page: Watched):
    page = browser_page.page
    page.goto(f"{console}/risk?day=2026-03-20&hours=nine")
    warned = page.locator("#risk-warn")
    expect(warned).to_contain_text("There are no scores of 2026-03-20")
    expect(warned).to_contain_text("Crew hours are 0 to 320, not 'nine'")
    expect(page.locator("#risk-work")).to_contain_text("no work list")
    warned.get_by_role("link", name="2026-03-11").click()
    search(page, "day=2026-03-11")
    expect(page.locator("#risk-map-said")).to_contain_text("cells on 2026-03-11")
    # Without a map there is nothing to outline a cell on.
    page.goto(f"{console}/risk?day=2026-03-20&cell=zzz&layer=luck")
    expect(warned).to_contain_text("'zzz' is no cell")
    expect(warned).to_contain_text("There is no layer 'luck'")
    page.fill("#risk-cell", "89abc")
    with page.expect_response(lambda one: "risk-cell-said" in (one.request.post_data or "")):
        page.press("#risk-cell", "Enter")
    search(page, "day=2026-03-20&layer=luck&cell=89abc")
    expect(page.locator("#risk-cell-said")).to_have_text("No scores of this day.")
    page.goto(f"{console}/risk?target=gas")
    expect(page.locator("#risk-warn")).to_contain_text("There is no target 'gas'")
    page.goto(f"{console}/risk?target=sanitation")
    expect(page.locator("#risk-warn")).to_contain_text("There are no scores of sanitation yet")
