"""The atlas page in a real browser: clicks on points, lists, the months, the address."""

import re
from typing import Any

from playwright.sync_api import Page, expect

from city311_assets_tests.serving.atlases import FIRST_CLUSTER
from city311_assets_tests.serving.conftest import Watched
from city311_assets_tests.serving.console.atlas.two_months import (
    FALLEN,
    HOSTILE,
    HOSTILE_CASE,
    HOSTILE_CLUSTER,
)

# A software renderer on a busy machine takes its time.
expect.set_options(timeout=30_000)

PLOT = "document.querySelector('#atlas-plot .js-plotly-plot')"
# Where each point is on the screen, by record: x, y, and how far the nearest other one is.
PLACES = {
    "2d": """() => {
        const plot = document.querySelector('#atlas-plot .js-plotly-plot');
        const box = plot.getBoundingClientRect();
        const {xaxis, yaxis} = plot._fullLayout;
        return plot.data.flatMap((trace) => trace.customdata.map((record, i) => [record,
            box.x + xaxis._offset + xaxis.l2p(trace.x[i]),
            box.y + yaxis._offset + yaxis.l2p(trace.y[i])]));
    }""",
    "3d": """() => {
        const plot = document.querySelector('#atlas-plot .js-plotly-plot');
        const scene = plot._fullLayout.scene._scene;
        const {model, view, projection} = scene.glplot.cameraParams;
        const times = (matrix, point) => [0, 1, 2, 3].map((row) => point.reduce(
            (sum, one, column) => sum + matrix[column * 4 + row] * one, 0));
        const box = scene.container.getBoundingClientRect();
        return plot.data.flatMap((trace) => trace.customdata.map((record, i) => {
            const at = ['x', 'y', 'z'].map((axis, k) => trace[axis][i] * scene.dataScale[k]);
            const [x, y, , w] = times(projection, times(view, times(model, [...at, 1])));
            return [record, box.x + box.width * (1 + x / w) / 2,
                box.y + box.height * (1 - y / w) / 2];
        }));
    }""",
}


def lonely(page: Page, view: str) -> tuple[str, float, float]:
    """Return the record with a photo whose point is farthest from every other, and its place."""
    places = page.evaluate(PLACES[view])

    def distance(one: list[Any]) -> float:
        others = (other for other in places if other[0] != one[0])
        return min((one[1] - x) ** 2 + (one[2] - y) ** 2 for _, x, y in others)

    with_photo = [one for one in places if int(one[0][1:]) % 3 == 0]
    record, x, y = max(with_photo, key=distance)
    return record, x, y


def click_lonely(page: Page, view: str) -> str:
    """Point at a record and click it once the plot has noticed."""
    record, x, y = lonely(page, view)
    page.evaluate(
        f"() => {PLOT}.on('plotly_hover', (it) => {{ window.hovered = it.points[0].customdata; }})"
    )
    page.evaluate(f"() => {PLOT}.on('plotly_click', () => {{ window.clicked = true; }})")
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    page.wait_for_function("(record) => window.hovered === record", arg=record)
    page.mouse.down()
    if view == "3d":
        # A solid plot looks at the buttons once a frame.
        page.wait_for_function("() => window.clicked")
    page.mouse.up()
    return record


def wait_for_points(page: Page, kind: str, traces: int | None = None) -> None:
    count = f" && {PLOT}.data.length === {traces}" if traces else ""
    page.wait_for_function(
        f"() => {PLOT}?._fullData?.some((trace) => trace.type === '{kind}'){count}"
    )


def test_points_lists_search_and_months_lead_to_photos_and_stay_in_the_address(
    served: str, browser_page: Watched
):
    page = browser_page.page
    page.goto(f"{served}/atlas")
    wait_for_points(page, "scattergl")

    # A click of the mouse on a point.
    record = click_lonely(page, "2d")
    expect(page.locator("#atlas-case h2")).to_have_text(f"Case {record}")
    expect(page.locator("#atlas-caption")).to_contain_text("A picture of")
    page.wait_for_function("() => document.getElementById('atlas-photo')?.naturalWidth > 0")
    expect(page).to_have_url(re.compile(f"record={record}"))

    # Which photos are in the biggest cluster: one click.
    page.locator("#atlas-clusters a").first.click()
    expect(page.locator("#atlas-chosen h2")).to_contain_text("Graffiti on walls")
    page.wait_for_function("() => document.querySelector('#atlas-chosen img')?.naturalWidth > 0")
    expect(page).to_have_url(re.compile(f"cluster={FIRST_CLUSTER}"))
    expect(page.locator("#atlas-where")).to_contain_text("“Graffiti on walls”: 30 of 30 cases")
    page.wait_for_function(
        f"() => {PLOT}.data.some((trace) => trace.customdata.length === 30 && trace.opacity === 1)"
    )

    # The nearest case of the chosen one, and the way back.
    near = page.locator("#atlas-case .atlas-cases a").first
    other = (near.text_content() or "").split()[1]
    near.click()
    expect(page.locator("#atlas-case h2")).to_have_text(f"Case {other}")
    page.go_back()
    expect(page.locator("#atlas-case h2")).to_have_text(f"Case {record}")

    # Words.
    page.get_by_role("link", name="Show all clusters").click()
    expect(page.locator("#atlas-chosen")).to_be_hidden()
    page.fill("#atlas-search", "c0012")
    expect(page.locator("#atlas-found h2")).to_have_text("1 case found by “c0012”")
    expect(page).to_have_url(re.compile("search=c0012"))
    page.locator("#atlas-found a").click()
    expect(page.locator("#atlas-case h2")).to_have_text("Case c0012")
    page.fill("#atlas-search", "")
    expect(page.locator("#atlas-found")).to_be_hidden()

    # The month before, by the keyboard.
    expect(page.locator("#atlas-changes")).to_contain_text(f"Gone: “{FALLEN}”")
    page.get_by_role("slider").press("ArrowLeft")
    expect(page.locator("#atlas-month-said")).to_have_text("February 2026")
    expect(page.locator("#atlas-clusters")).to_contain_text(FALLEN)
    expect(page).to_have_url(re.compile("month=2026-02"))
    expect(page.locator("#atlas-case h2")).to_have_text("Case c0012")
    page.get_by_role("slider").press("ArrowRight")
    expect(page.locator("#atlas-changes")).to_contain_text(f"Gone: “{FALLEN}”")
    expect(page).not_to_have_url(re.compile("month="))


def test_a_click_on_the_solid_map_shows_photo_and_caption(served: str, browser_page: Watched):
    page = browser_page.page
    page.goto(f"{served}/atlas")
    wait_for_points(page, "scattergl")
    page.get_by_text("3-D", exact=True).click()
    wait_for_points(page, "scatter3d")
    page.wait_for_function(f"() => {PLOT}._fullLayout.scene?._scene?.glplot?.cameraParams")
    record = click_lonely(page, "3d")
    expect(page.locator("#atlas-case h2")).to_have_text(f"Case {record}")
    expect(page.locator("#atlas-caption")).to_contain_text("A picture of")
    page.wait_for_function("() => document.getElementById('atlas-photo')?.naturalWidth > 0")
    expect(page).to_have_url(re.compile("view=3d"))


def test_a_view_sent_to_somebody_opens_as_it_was_and_hostile_text_is_text(
    served: str, browser_page: Watched
):
    page = browser_page.page
    page.set_viewport_size({"width": 390, "height": 844})
    search = f"record={HOSTILE_CASE}&cluster={HOSTILE_CLUSTER}&search=onerror&cells=10&view=4d"
    page.goto(f"{served}/atlas?{search}")
    expect(page.locator("#atlas-caption")).to_have_text(HOSTILE)
    expect(page.locator("#atlas-problems")).to_contain_text("view 4d")
    expect(page.locator("#atlas-search")).to_have_value("onerror")
    wait_for_points(page, "scattergl")
    page.wait_for_function("() => document.querySelector('#atlas-map .js-plotly-plot canvas')")
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # What was asked for stays in the address and in what is said, until something else is chosen.
    expect(page.locator("#atlas-problems")).to_contain_text("view 4d")
    expect(page).to_have_url(re.compile("view=4d"))
    page.locator("#atlas-view").get_by_text("3-D").click()
    expect(page).to_have_url(re.compile("view=3d"))
    expect(page.locator("#atlas-problems")).to_be_empty()
