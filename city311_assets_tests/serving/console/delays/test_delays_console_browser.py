"""The delays page in a real browser: the forest, blind rating of pairs, the address."""

import csv
import re
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Error, Page, expect

from city311_assets_tests.serving.atlases import FEED
from city311_assets_tests.serving.conftest import Watched
from city311_assets_tests.serving.console.atlas.two_months import HOSTILE

# A software renderer on a busy machine takes its time.
expect.set_options(timeout=30_000)

FOREST = "document.querySelector('#delays-forest .js-plotly-plot')"
PLACE = """(name) => {
    const plot = document.querySelector('#delays-forest .js-plotly-plot');
    const box = plot.getBoundingClientRect();
    const {xaxis, yaxis} = plot._fullLayout;
    const i = plot.data[0].customdata.indexOf(name);
    return [box.x + xaxis._offset + xaxis.l2p(plot.data[0].x[i]),
        box.y + yaxis._offset + yaxis.l2p(plot.data[0].y[i])];
}"""
AIMED = f"(name) => {FOREST}._hoverdata?.[0]?.customdata === name"
TRIES = 15


def rate(page: Page, control: int, words: str) -> None:
    page.locator(".delays-rating").nth(control).get_by_text(words, exact=True).click()


def click_on(page: Page, name: str) -> None:
    """Click on an estimate; aim again where the page moved under the mouse, as a person does."""
    for _ in range(TRIES):
        x, y = page.evaluate(PLACE, name)
        page.mouse.move(x - 2, y)
        page.mouse.move(x, y)
        with suppress(Error):
            page.wait_for_function(AIMED, arg=name, timeout=2_000)
            if page.evaluate(PLACE, name) == [x, y]:
                break
    else:
        raise AssertionError(f"{name} never stood still under the mouse")
    page.mouse.down()
    page.mouse.up()


def test_is_it_slower_and_how_sure_is_answered_for_whom_one_clicks(
    served: str, browser_page: Watched
):
    page = browser_page.page
    page.goto(f"{served}/delays")
    expect(page.locator("#delays-verdict")).to_contain_text(
        "Yes: Quarter 0's cases took 9.5 h longer than like cases elsewhere (95 % interval 7.5 to "
        "11.5 h; q = 0.002; 35 of 40 cases matched)"
    )
    page.wait_for_function(f"() => {FOREST}?.data?.[0].customdata.length > 4")
    expect(page.locator("#delays-forest")).to_contain_text("<img src=x")
    assert page.locator("img[src=x]").count() == 0
    page.locator("#delays-forest").scroll_into_view_if_needed()
    click_on(page, "Quarter 1")
    expect(page.locator("#delays-verdict")).to_contain_text("No, the other way round: Quarter 1")
    expect(page).to_have_url(re.compile(r"neighborhood=Quarter\+1"))
    expect(page.locator("#delays-answer")).to_contain_text("as once published")
    expect(page.locator("#delays-caveats")).to_contain_text("An adjusted disparity")
    expect(page.locator("#delays-love")).to_contain_text("component 1")
    expect(page.locator("#delays-estimates tbody tr")).to_have_count(10)
    expect(page.locator("#delays-record")).to_be_hidden()
    page.get_by_text("Design record").click()
    expect(page.locator("#delays-record")).to_contain_text("randomizations")

    # The month before, by the keyboard, and a neighborhood from the list of those undrawn.
    page.get_by_text("without an interval, which").click()
    page.get_by_role("link", name="Quarter 5").first.click()
    expect(page.locator("#delays-verdict")).to_contain_text("It cannot be said: fewer than 30")
    page.get_by_role("slider").press("ArrowLeft")
    expect(page).to_have_url(re.compile("month=2026-02"))
    page.goto(f"{served}/delays?month=2026-02&neighborhood=Quarter+0&estimator=naive")
    expect(page.locator("#delays-verdict")).to_contain_text("Not shown: Quarter 0")
    expect(page.locator("#delays-month-said")).to_have_text("February 2026")
    page.wait_for_function(f"() => {FOREST}?.data?.length === 2")
    page.goto(f"{served}/delays?neighborhood=Nowhere")
    expect(page.locator("#delays-problems")).to_contain_text("neighborhood Nowhere")
    # Another month: the question and what is wrong with it stay.
    page.get_by_role("slider").press("ArrowLeft")
    expect(page).to_have_url(re.compile("month=2026-02"))
    expect(page.locator("#delays-month-said")).to_have_text("February 2026")
    expect(page.locator("#delays-problems")).to_contain_text("neighborhood Nowhere")
    expect(page.locator("#delays-neighborhood")).to_contain_text("Nowhere (unknown)")


def test_pairs_are_rated_blindly_kept_in_the_browser_and_saved_as_rated(
    served: str, browser_page: Watched, tmp_path: Path
):
    page = browser_page.page
    page.goto(f"{served}/delays?neighborhood=Quarter+0")
    pair = page.locator("#delays-pair")
    expect(pair).to_contain_text("Quarter 0")
    expect(pair.locator(".delays-pair")).to_have_count(4)
    expect(page.locator("#delays-save")).to_be_disabled()

    page.get_by_text("Blind: hide").click()
    expect(pair).to_contain_text("Control A")
    expect(page).to_have_url(re.compile("blind=blind"))
    for hidden in ("Quarter", "closed after", "used, weight", "0.9", HOSTILE):
        expect(pair).not_to_contain_text(hidden)
    shown = page.evaluate("() => document.getElementById('delays-pair').innerHTML")
    assert "Quarter" not in shown
    assert "data.example.gov" not in shown

    rate(page, 0, "Match")
    expect(page.locator("#delays-rated")).to_contain_text("1 pair of this month rated: match 1")
    rate(page, 1, "Partly")
    rate(page, 1, "No match")
    expect(page.locator("#delays-rated")).to_contain_text("2 pairs of this month rated")
    expect(page.locator("#delays-rated")).to_contain_text("no match 1")
    expect(page.locator("#delays-place")).to_contain_text("Case 1 of")
    page.get_by_role("button", name="Next case").click()
    expect(page.locator("#delays-place")).to_contain_text("Case 2 of")
    expect(pair.locator("input:checked")).to_have_count(0)
    rate(page, 2, "Partly")
    expect(page.locator("#delays-rated")).to_contain_text("3 pairs of this month rated")
    page.get_by_role("button", name="Back").click()
    expect(page.locator("#delays-place")).to_contain_text("Case 1 of")
    expect(pair.locator("input:checked")).to_have_count(2)

    page.reload()
    expect(page.locator("#delays-rated")).to_contain_text("3 pairs of this month rated")
    expect(pair.locator("input:checked")).to_have_count(2)
    chosen = pair.locator("input:checked")
    assert [chosen.nth(place).get_attribute("value") for place in range(2)] == ["match", "no"]

    with page.expect_download() as waiting:
        page.locator("#delays-save").click()
    file = tmp_path / "ratings.csv"
    waiting.value.save_as(file)
    assert waiting.value.suggested_filename == f"ratings_{FEED}_2026-03.csv"
    saved = [*csv.DictReader(file.read_text("utf-8").splitlines())]
    assert [row["rating"] for row in saved] == ["match", "no", "partly"]
    assert {row["was_blind"] for row in saved} == {"True"}
    assert saved[0]["record_id"] == saved[1]["record_id"] != saved[2]["record_id"]

    # Who has rated may see what it was.
    page.get_by_text("Blind: hide").click()
    expect(pair).to_contain_text(f"Case: {saved[0]['record_id']}")
    expect(pair).to_contain_text(saved[0]["neighborhood"])
    expect(pair).to_contain_text(saved[1]["control_id"])

    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Forget them").click()
    expect(page.locator("#delays-rated")).to_have_text("No pair of this month is rated yet.")
    expect(pair.locator("input:checked")).to_have_count(0)
