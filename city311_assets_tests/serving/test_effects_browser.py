"""The page of effects in a real browser: what is drawn, what is hidden, what is saved.

Skipped where there is no Chromium. One browser and one page serve all tests, in their order.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from city311_assets.warehouse.tables.atlas import CAPTIONS
from city311_assets.warehouse.tables.causal import ATT, BALANCE, DESIGN
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.serving.atlases import Rows, atlas_rows
from city311_assets_tests.serving.browser import Browser, browser
from city311_assets_tests.serving.conftest import Published
from city311_assets_tests.serving.effects import TOO_FEW, UNMATCHED, effects_rows
from city311_assets_tests.serving.test_atlas_browser import CHROMIUM, FLAGS, HOSTILE

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the path: the pages are not looked at in a browser"
)

SHOWN = "document.documentElement.dataset"
# What is drawn with error bars, by name: neighbourhood, estimate and the two arms.
DRAWN = """document.getElementById("forest").data.filter((one) => one.error_x).map((one) =>
    [one.name, one.customdata.map((name, i) => [name, one.x[i],
        one.x[i] - one.error_x.arrayminus[i], one.x[i] + one.error_x.array[i]])])"""


def hostile_rows() -> Rows:
    """Return the usual rows, with a neighbourhood and a caption that would be markup."""
    atlas = atlas_rows()
    rows = atlas | effects_rows(atlas)
    for held in rows.values():
        for row in held:
            for column, value in row.items():
                if value == "Quarter 3":
                    row[column] = HOSTILE
    for row in rows[CAPTIONS]:
        row["caption"] = f"A couch in Quarter 4. {HOSTILE}"
    for row in rows[REQUESTS]:
        row["kind"] = "couch"
    rows[REQUESTS][0]["origin"] = "sample"
    rows[DESIGN][0] |= {"is_provisional": True, "distance": HOSTILE}
    return rows


@pytest.fixture(scope="module")
def compared(published: Callable[[Rows], Published]) -> Published:
    return published(hostile_rows())


@pytest.fixture(scope="module")
def page(compared: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(str(CHROMIUM), FLAGS, tmp_path_factory.mktemp("profile")) as opened:
        opened.open((compared.month / "effects.html").as_uri())
        yield opened


def text(page: Browser, selector: str) -> str:
    return page.value(f"document.querySelector({json.dumps(selector)}).innerText")


def press(page: Browser, selector: str) -> None:
    page.value(f"document.querySelector({json.dumps(selector)}).click()")


def choose(page: Browser, name: str) -> None:
    page.value(f"""(() => {{
        const list = document.getElementById("chosen");
        list.value = [...list.options].find((one) => one.text === {json.dumps(name)}).value;
        list.dispatchEvent(new Event("change"));
    }})()""")
    page.wait_for(f"document.querySelector('#card h3').textContent === {json.dumps(name)}")


def drawn(page: Browser) -> dict[str, dict[str, list[float]]]:
    return {
        trace: {name: numbers for name, *numbers in marks} for trace, marks in page.value(DRAWN)
    }


def intervals(rows: Rows, estimator: str = "bias_corrected", k: int = 3) -> dict[str, object]:
    """Return what is to be drawn of an estimator: estimate and interval, where there is one."""
    return {
        row["neighborhood"]: pytest.approx([row["att_hours"], row["low"], row["high"]], abs=1e-3)
        for row in rows[ATT]
        if (row["estimator"], row["k"]) == (estimator, k) and row["low"] is not None
    }


def test_every_interval_is_drawn_and_what_has_none_is_listed_with_its_reason(page: Browser):
    groups = drawn(page)
    assert set(groups) == {"longer, q < 0.05", "shorter, q < 0.05", "could be chance"}
    assert set(groups["longer, q < 0.05"]) == {"Quarter 0"}
    assert set(groups["shorter, q < 0.05"]) == {"Quarter 1"}
    assert {name: one for group in groups.values() for name, one in group.items()} == intervals(
        hostile_rows()
    )
    marks = "document.querySelectorAll('#forest .errorbar path, #forest .errorbars path').length"
    assert page.value(f"{SHOWN}.drawn") == "5"
    assert page.value(marks) >= 5
    listed = text(page, "#undrawn")
    assert f"{TOO_FEW}\ttoo few\t0.0\t35\t40" in listed
    assert f"{UNMATCHED}\tno case is alike enough\t\N{EN DASH}\t0\t40" in listed
    assert "SAMPLE DATA" in text(page, "#banners")
    assert "PROVISIONAL" in text(page, "#banners")
    assert "not the effect of a treatment anyone assigned" in text(page, "#card")
    assert page.errors == []


def test_another_estimator_is_drawn_beside_the_headline(page: Browser):
    press(page, "#estimators input[value=naive]")
    page.wait_for(f"{SHOWN}.estimator === 'naive 3'")
    groups = drawn(page)
    beside = groups.pop("headline: bias_corrected, k = 3")
    assert beside == intervals(hostile_rows())
    assert groups == {"not tested": intervals(hostile_rows(), "naive")}
    assert "as once published" in text(page, "#estimator-words")
    assert page.value("document.querySelectorAll('#ks input:disabled').length") == 3
    press(page, "#estimators input[value=matched]")
    press(page, "#ks input[value='5']")
    page.wait_for(f"{SHOWN}.estimator === 'matched 5'")
    assert page.value("location.hash").endswith("&estimator=matched&k=5" + pair_of(page))
    others = [one for name, one in drawn(page).items() if not name.startswith("headline")]
    assert {name: one for group in others for name, one in group.items()} == intervals(
        hostile_rows(), "matched", 5
    )
    press(page, "#estimators input[value=bias_corrected]")
    press(page, "#ks input[value='3']")
    assert page.errors == []


def pair_of(page: Browser) -> str:
    found = page.value("new URLSearchParams(location.hash.slice(1)).get('pair')")
    return f"&pair={found}"


def test_imbalance_after_matching_is_said_in_words(page: Browser):
    choose(page, "Quarter 0")
    assert "|SMD| above 0.1: opened_at (0.23)" in text(page, "#balance-words")
    assert "half that of the controls: hour." in text(page, "#balance-words")
    assert "defined after matching for: has_photo" in text(page, "#balance-words")
    traces = "document.getElementById('love').data.map((one) => [one.name, one.x])"
    _, (_, before), (_, after) = page.value(traces)
    rows = [row for row in hostile_rows()[BALANCE] if row["neighborhood"] == "Quarter 0"]
    known = [row for row in rows if row["smd_before"] is not None]
    exact = sorted(abs(row["smd_before"]) for row in known)
    assert sorted(before) == pytest.approx(exact, rel=1e-5)
    assert sorted(after) == pytest.approx([0.04] * 4 + [0.23])
    assert text(page, "#balance-table td.off") == "\N{MINUS SIGN}0.23"
    choose(page, "Quarter 2")
    assert "All 5 covariates with a difference are within 0.1" in text(page, "#balance-words")
    choose(page, UNMATCHED)
    assert "nothing of it was matched" in text(page, "#balance-words")
    assert page.errors == []


def test_placebos_sensitivity_and_the_record_are_told(page: Browser):
    said = text(page, "#placebo-words")
    assert "11 of 200 effects have p below 0.05, 5.5 % (3.1 % to 9.6 %). 5 % is within it." in said
    assert "15.0 % (10.7 % to 20.6 %). That is more than 5 %: intervals are too narrow." in said
    assert "Quarter 0\t1.62\t35\t1.40\t1.00\t+7.5\t+11.5" in text(page, "#sensitivity-table")
    assert not page.value("document.querySelector('#design details').open")
    press(page, "#design summary")
    assert "\N{MINUS SIGN} ask for no work.\t5" in text(page, "#record")
    assert page.value("document.querySelectorAll('#numbers-table tbody tr').length") == 7
    press(page, "#every")
    assert page.value("document.querySelectorAll('#numbers-table tbody tr').length") == 70
    assert page.errors == []


def test_texts_of_cases_and_neighborhoods_are_only_texts(page: Browser):
    choose(page, HOSTILE)
    assert text(page, "#card h3") == HOSTILE
    press(page, "#next")
    assert HOSTILE in text(page, "#pair .case .caption")
    ticks = "[...document.querySelectorAll('#forest .ytick text')].map((one) => one.textContent)"
    assert any(tick.startswith("<img src=x onerror") for tick in page.value(ticks))
    assert HOSTILE in page.value("document.querySelector('#record').textContent")
    assert page.value(f"{SHOWN}.caught === undefined")
    assert (
        page.value("document.querySelectorAll('img:not([src^=\"data:image/jpeg\"]), b').length")
        == 0
    )
    assert page.errors == []


def test_a_blind_rater_sees_neither_neighborhood_nor_hours_and_the_rating_is_saved(
    page: Browser, tmp_path: Path
):
    page._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    seen = text(page, "#pair")
    assert "closed after" in seen or "counts as" in seen
    assert "Quarter" in seen
    press(page, "#blind")
    for _ in range(5):
        seen = text(page, "#pair")
        assert seen.count("hidden") == 8
        for revealing in ("Quarter", "closed after", "counts as", "c00", "Similarity", "weight"):
            assert revealing not in seen
        assert "A couch in ▒▒▒." in seen
        assert "pair=" not in page.value("location.hash")
        press(page, "#next")
    press(page, "#pair [data-pair]:nth-child(2) [data-rating=partly]")
    press(page, "#pair [data-pair]:nth-child(2) [data-rating=match]")
    press(page, "#pair [data-pair]:nth-child(4) [data-rating=no]")
    pressed = "document.activeElement.getAttribute('aria-pressed')"
    assert page.value(pressed) == "true"
    assert "2 pairs rated: match 1, partly 0, no match 1" in text(page, "#rated")
    press(page, "#blind")
    shown = text(page, "#pair")
    press(page, "#save")
    page.wait_for(f"{SHOWN}.rated === '2'")
    (file,) = wait_for_files(page, tmp_path)
    with file.open(newline="") as opened:
        saved = list(csv.DictReader(opened))
    assert [row["rating"] for row in saved] == ["match", "no"]
    assert {row["was_blind"] for row in saved} == {"true"}
    for row in saved:
        assert row["record_id"] in shown
        assert row["control_id"] in shown
        assert (row["feed"], row["month"]) == ("sf_311", "2026-03")
        assert row["neighborhood"] != row["control_neighborhood"]
    assert page.errors == []


def wait_for_files(page: Browser, folder: Path) -> list[Path]:
    """Return what was saved, once all of it is there."""
    for _ in range(100):
        files = list(folder.glob("*.csv"))
        if files and files[0].stat().st_size:
            return files
        page.value("new Promise((done) => setTimeout(done, 50))")
    raise TimeoutError(f"nothing was saved in {folder}")
