"""What is around every page, in a browser: the way between pages, addresses, problems, policy."""

import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dash
import pytest
import uvicorn
from dash import dcc, html
from dash.development.base_component import Component
from playwright.sync_api import expect

from city311_assets.serving.app import application
from city311_assets.serving.console.page import Page
from city311_assets.serving.console.url_state import Control, keep_in_address, values_of
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets.settings import Settings
from city311_assets_tests.serving.towns import Town

CONTROLS = (
    Control("first-many", "many", "list", []),
    Control("first-text", "text"),
    Control("first-number", "number", "number", 8),
)


def _first(_: Snapshot, search: str) -> Component:
    values: dict[str, Any] = values_of(search, CONTROLS)
    return html.Div(
        [
            dcc.Location(id="first-url", refresh=False),
            dcc.Checklist(["a", "b, c", "d"], values["many"], id="first-many"),
            dcc.Input(id="first-text", value=values["text"]),
            dcc.Input(id="first-number", type="number", value=values["number"]),
            html.Div(id="first-said"),
        ]
    )


def _callbacks(app: dash.Dash, _: Snapshots) -> None:
    keep_in_address(app, "first", "/first", CONTROLS)

    @app.callback(
        dash.Output("first-said", "children"),
        *(dash.Input(control.component, control.prop) for control in CONTROLS),
    )
    async def said(many: list[str], text: str | None, number: float | None) -> str:
        if text == "fail":
            raise ValueError("secret detail")
        return f"{many} {text} {number}"


PAGES = (
    Page("first", "First", _first, _callbacks),
    Page("second", "Second", lambda *_: html.P("the second page"), lambda *_: None),
)


@contextmanager
def served(path: Path) -> Iterator[str]:
    """Serve the two pages over a published file."""
    server = application(Settings(data_dir=path.parent), PAGES)
    running = uvicorn.Server(uvicorn.Config(server, port=0, log_level="critical"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    (listening,) = running.servers[0].sockets
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def shell(town: Town) -> Iterator[str]:
    with served(town.path) as address:
        yield address


def test_an_address_restores_every_control_and_the_way_back_does_too(shell, browser_page):
    page = browser_page.page
    page.goto(f"{shell}/first?many=a&many=b%2C+c&text=hello&number=9")
    said = page.locator("#first-said")
    expect(said).to_have_text("['a', 'b, c'] hello 9")
    page.fill("#first-text", "other")
    page.keyboard.press("Tab")
    expect(said).to_have_text("['a', 'b, c'] other 9")
    expect(page).to_have_url(re.compile(r"text=other"))
    page.get_by_label("d", exact=True).check()
    expect(page).to_have_url(re.compile(r"many=a&many=b%2C\+c&many=d&text=other&number=9$"))
    page.go_back()
    expect(said).to_have_text("['a', 'b, c'] other 9")
    page.go_back()
    expect(said).to_have_text("['a', 'b, c'] hello 9")
    address = page.url
    page.get_by_role("link", name="Second").click()
    expect(page.locator("#page")).to_have_text("the second page")
    page.go_back()
    expect(said).to_have_text("['a', 'b, c'] hello 9")
    assert page.url == address


def test_defaults_leave_the_address_bare(shell, browser_page):
    page = browser_page.page
    page.goto(f"{shell}/first?number=9")
    page.fill("#first-number", "8")
    page.keyboard.press("Tab")
    expect(page).to_have_url(f"{shell}/first")


def test_a_failure_is_said_without_its_detail_and_the_page_goes_on(shell, browser_page):
    page = browser_page.page
    page.goto(f"{shell}/first?text=fail")
    expect(page.locator("#problem")).to_contain_text("could not be shown")
    assert "secret detail" not in page.content()
    page.fill("#first-text", "well")
    page.keyboard.press("Tab")
    expect(page.locator("#first-said")).to_have_text("[] well 8")
    browser_page.errors.clear()


def test_the_bare_address_leads_to_the_first_page(shell, browser_page):
    page = browser_page.page
    page.goto(shell)
    expect(page).to_have_url(f"{shell}/first")
    expect(page.locator("#first-said")).to_have_text("[] None 8")


def test_an_address_that_is_no_page_says_so(shell, browser_page):
    page = browser_page.page
    page.goto(f"{shell}/nowhere")
    expect(page.locator("#page")).to_contain_text("There is no page /nowhere")


def test_a_page_says_how_old_its_data_are_and_marks_made_up_ones(town, tmp_path, browser_page):
    page = browser_page.page
    path = shutil.copy(town.path, tmp_path / "city311.duckdb")
    with served(Path(path)) as address:
        page.goto(f"{address}/first")
        expect(page.locator("#as-of")).to_contain_text(re.compile(r"as of 20\d\d-\d\d-\d\d"))
        expect(page.locator(".badge.sample")).to_have_count(0)
        _made_up(path)
        page.reload()
        expect(page.locator(".badge.sample")).to_have_text("sample data")


def _made_up(path: str | Path) -> None:
    """Publish the same records, one of them made up."""
    import duckdb

    newer = shutil.copy(path, Path(path).with_suffix(".newer"))
    with duckdb.connect(str(newer)) as conn:
        conn.execute(
            "update silver.requests set origin = 'sample' "
            "where rowid = (select min(rowid) from silver.requests)"
        )
    Path(newer).replace(path)


def test_without_a_published_file_the_page_says_what_makes_one(tmp_path, browser_page):
    page = browser_page.page
    with served(tmp_path / "city311.duckdb") as address:
        page.goto(f"{address}/first")
        expect(page.locator("#page")).to_contain_text("make demo")
        expect(page.locator("#as-of")).to_contain_text("nothing published")


def test_a_page_runs_no_script_but_the_servers_own(shell, browser_page):
    page = browser_page.page
    answer = page.goto(f"{shell}/second")
    policy = answer.headers["content-security-policy"]
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    expect(page.locator("#page")).to_have_text("the second page")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'window.injected = 1'}))"
    )
    assert page.evaluate("window.injected") is None
    assert any("Content Security Policy" in said for said in browser_page.errors)
    browser_page.errors.clear()
