"""The Data page in a browser: what fails is seen, numbers are the file's, links lead to Dagster."""

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import expect

from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.partitions import Slice
from city311_assets.serving.snapshots import Snapshots
from city311_assets.warehouse.snapshot import Checks, publish
from city311_assets.warehouse.tables.atlas import MODEL_CALLS
from city311_assets.warehouse.tables.meta import CHECK_RESULTS
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS
from city311_assets_tests.serving.conftest import Watched, serve
from city311_assets_tests.serving.towns import HOSTILE, LAST, Town, found
from city311_assets_tests.silver.raw import filled

# A cold page on a busy machine takes its time.
expect.set_options(timeout=30_000)

FEED = CHICAGO_CRIMES.name
ASSET = f"silver/incidents/{FEED}"
UI = "http://127.0.0.1:3000/assets"


@dataclass(frozen=True)
class Told:
    """A town whose checks and books say something, and where it is served."""

    address: str
    path: Path


def verdict(name: str, **said: Any) -> dict[str, Any]:
    return {
        "asset": ASSET,
        "check_name": name,
        "range_number": 0,
        "is_passed": True,
        "slices": 3,
        "checked_at": dt.datetime(2026, 4, 1, 5),
    } | said


VERDICTS = filled(
    CHECK_RESULTS,
    verdict("one_row_per_incident"),
    verdict(
        "opened_on_its_day",
        is_passed=False,
        failure_severity="ERROR",
        first_failing_day=dt.date(2026, 3, 1),
        last_failing_day=dt.date(2026, 3, 3),
        description=HOSTILE,
        found="offenders: 7",
    ),
    verdict("every_category_mapped", is_passed=False, failure_severity="WARN", slices=0),
)


def call(number: int, usd: float | None, **said: Any) -> dict[str, Any]:
    return {
        "feed": "sf_311",
        "call_id": f"c{number}",
        "called_at": dt.datetime(2026, 3, number),
        "purpose": "captions",
        "model": "a-model",
        "items": 1,
        "tokens_in": 1_000,
        "tokens_cached": 0,
        "tokens_out": 100,
        "tokens_reasoning": 0,
        "usd": usd,
        "priced_on": dt.date(2026, 1, 1),
        "seconds": 1.0,
        "attempt": 1,
    } | said


@pytest.fixture(scope="module")
def told(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("told") / "town"
    shutil.copytree(town.data_dir, folder)
    copy = found(folder)
    rejected = [
        {"feed": FEED, "day": LAST, "row_id": f"x{n}", "record_id": f"HZ{n}", "reason": "no_kind"}
        for n in range(5)
    ]
    frame = filled(REJECTED_RECORDS, *(row | {"row": "{}"} for row in rejected))
    copy.warehouse.replace(REJECTED_RECORDS, frame, Slice(FEED, LAST, LAST + dt.timedelta(days=1)))
    calls = [call(1, 0.25), call(2, 0.5), call(3, None, error="timed out <b>")]
    copy.warehouse.replace(MODEL_CALLS, filled(MODEL_CALLS, *calls), "sf_311")
    publish(copy.warehouse, copy.path, ["nightly 2026-04-01"], checks=Checks(VERDICTS, None))
    process, address = serve(folder)
    yield Told(address, copy.path)
    process.terminate()
    process.communicate(timeout=20)


def test_what_fails_is_seen_and_every_number_is_the_files(told: Told, browser_page: Watched):
    page = browser_page.page
    page.goto(f"{told.address}/data?feed={FEED}")
    checks = page.locator("#data-checks")
    expect(checks).to_contain_text("checks that fail")
    assert checks.locator(".figure").all_inner_texts()[:3] == ["1", "1", "1"]
    rows = checks.locator("tbody tr")
    expect(rows).to_have_count(2)
    first = rows.first
    expect(first).to_contain_text("fails")
    expect(first).to_contain_text("2026-03-01 to 2026-03-03 (3)")
    expect(first).to_contain_text("offenders: 7")
    # Its description is text, and no picture was asked for.
    expect(first).to_contain_text(HOSTILE)
    assert checks.locator("img").count() == 0
    expect(first.get_by_role("link", name=ASSET)).to_have_attribute("href", f"{UI}/{ASSET}")
    expect(rows.nth(1)).to_contain_text("the whole table")

    with Snapshots(told.path).current() as snapshot:
        held = snapshot.rows("from freshness where feed = $feed", {"feed": FEED})[0]
        records = snapshot.frame("select count(*) as n from silver.incidents")["n"].item()
        days = snapshot.frame(
            "select day, rows from meta.slices where feed = $feed order by day desc", {"feed": FEED}
        )
    feed = page.locator("#data-feeds tbody tr", has_text=CHICAGO_CRIMES.title)
    expect(feed.get_by_role("link", name=f"{records:,}")).to_have_attribute("href", f"{UI}/{ASSET}")
    expect(feed).to_contain_text(str(held["newest_day"]))
    expect(
        feed.get_by_role("link", name=f"{held['missing_days']:,}", exact=True)
    ).to_have_attribute("href", f"{UI}/bronze/{FEED}")
    aside = page.locator("#data-set-aside tbody tr")
    expect(aside).to_have_count(1)
    expect(aside).to_contain_text("HZ0, HZ1, HZ2")
    expect(aside.get_by_role("link", name="5")).to_have_attribute(
        "href", f"{UI}/silver/rejected_records/{FEED}"
    )

    models = page.locator("#data-models")
    expect(models).to_contain_text("3 calls for $0.75")
    expect(models).to_contain_text("0.7500 and 1 calls without a price")
    expect(models).to_contain_text("1 calls: timed out <b>")
    expect(page.locator("#data-sources")).to_contain_text(CHICAGO_CRIMES.licence)
    expect(page.locator("#data-publication")).to_contain_text("nightly 2026-04-01")

    # Its newest month, then another that the address asks for.
    table = page.get_by_role("table", name=f"Days of {CHICAGO_CRIMES.title}")
    expect(table.locator("tbody tr")).to_have_count(
        days.filter(pl.col("day").dt.truncate("1mo") == days["day"][0].replace(day=1)).height
    )
    expect(table.locator("tbody tr").first).to_contain_text(f"{days['rows'][0]:,}")
    page.goto(f"{told.address}/data?feed={FEED}&month=2026-01")
    expect(page.get_by_role("heading", name="January 2026")).to_be_visible()
    page.goto(f"{told.address}/data?feed={FEED}&month=2031-01")
    warned = page.locator("#data-warn")
    expect(warned).to_have_text("No day of 2031-01 is held; shown is 2026-03.")
    page.goto(f"{told.address}/data?feed=mars")
    expect(warned).to_contain_text("There is no feed 'mars'")


def test_a_file_without_verdicts_says_that_they_are_not_known(console: str, browser_page: Watched):
    page = browser_page.page
    page.goto(f"{console}/data?feed=nyc_311")
    expect(page.locator("#data-checks")).to_contain_text(
        "It is not known whether the checks pass: check results were not read"
    )
    expect(page.locator("#data-days")).to_contain_text("Nothing of New York 311 service requests")
    expect(page.locator("#data-days").get_by_role("link")).to_have_attribute(
        "href", f"{UI}/bronze/nyc_311"
    )
    page.set_viewport_size({"width": 390, "height": 844})
    wide = "document.documentElement.scrollWidth <= window.innerWidth"
    page.wait_for_function(wide)
