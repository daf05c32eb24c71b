"""The published effects: when they are, what the page is told, what of cases never leaves."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from PIL import Image

from city311_assets.feeds.registry import feed_named
from city311_assets.serving import effects_page
from city311_assets.serving.atlas_pages import read_month
from city311_assets.serving.effects_page import EffectsMonth, page, pictures
from city311_assets.serving.effects_pages import content_hash, read_effects
from city311_assets.warehouse.resource import CONNECTION
from city311_assets.warehouse.tables.atlas import CAPTIONS
from city311_assets.warehouse.tables.causal import (
    ATT,
    BALANCE,
    DESIGN,
    MATCHED_PAIRS,
    PLACEBO,
    SENSITIVITY,
)
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.serving.atlases import (
    FEED,
    MONTH,
    Rows,
    atlas_rows,
    draw_thumbnails,
    write_snapshot,
)
from city311_assets_tests.serving.conftest import Published
from city311_assets_tests.serving.effects import TOO_FEW, UNMATCHED, effects_rows
from city311_assets_tests.serving.test_atlas_pages import (
    HOSTILE,
    both_months,
    marked,
    scripts,
    without_scripts,
)

CAUSAL = (MATCHED_PAIRS, ATT, BALANCE, SENSITIVITY, PLACEBO, DESIGN)
BOUNDED_BYTES = 10_000_000


def usual_rows(cases: int = 60) -> Rows:
    atlas = atlas_rows(cases)
    return atlas | effects_rows(atlas)


def told_by(text: str) -> dict[str, Any]:
    """Return what a page's script is told."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def effects_of(place: Published) -> Path:
    return place.month / "effects.html"


def read(folder: Path, rows: Rows) -> EffectsMonth:
    """Return what the page would be made of."""
    snapshot = write_snapshot(folder / "city311.duckdb", rows)
    with duckdb.connect(str(snapshot), read_only=True, config=CONNECTION) as conn:
        effects = read_effects(conn, read_month(conn, feed_named(FEED), MONTH))
    assert effects is not None
    return effects


@pytest.fixture(scope="module")
def compared(published: Callable[[Rows], Published]) -> Published:
    return published(usual_rows())


@pytest.fixture(scope="module")
def told(compared: Published) -> dict[str, Any]:
    return told_by(effects_of(compared).read_text())


# When there is a page.


def test_a_month_with_effects_has_their_page_and_links_to_it(compared: Published):
    assert {path.name for path in compared.month.iterdir()} == {
        "effects.html",
        "index.html",
        "points.parquet",
        "source.json",
    }
    assert '<a href="effects.html">Neighbourhoods compared</a>' in compared.page.read_text()
    listed = (compared.root / "index.html").read_text()
    assert f'<td><a href="{FEED}/2026-03/effects.html">7</a></td>' in listed
    text = effects_of(compared).read_text()
    assert 'href="index.html"' in text
    assert 'href="../../index.html"' in text


def test_a_month_without_effects_has_no_page_of_them(here: Published):
    assert here.publish(usual_rows() | {table: [] for table in CAUSAL}) == [here.page]
    assert not effects_of(here).exists()
    assert '<a href="effects.html" hidden>' in here.page.read_text()
    assert "effects.html" not in (here.root / "index.html").read_text()


def test_a_file_without_one_of_the_tables_has_no_effects(tmp_path: Path):
    snapshot = write_snapshot(tmp_path / "city311.duckdb", usual_rows())
    with duckdb.connect(str(snapshot), config=CONNECTION) as conn:
        atlas = read_month(conn, feed_named(FEED), MONTH)
        for table in CAUSAL:
            assert read_effects(conn, atlas) is not None
            conn.begin()
            conn.execute(f"drop table {table}")
            assert read_effects(conn, atlas) is None, table
            conn.rollback()
        for table in (ATT, DESIGN):
            conn.begin()
            conn.execute(f"delete from {table}")
            assert read_effects(conn, atlas) is None, table
            conn.rollback()


def test_effects_that_are_there_for_one_month_make_no_page_of_another(here: Published):
    rows = usual_rows()
    here.publish(both_months({table: rows[table] for table in atlas_rows()}) | effects_only(rows))
    assert effects_of(here).is_file()
    assert not (here.month.with_name("2026-02") / "effects.html").exists()
    listed = (here.root / "index.html").read_text()
    assert listed.count("effects.html") == 1


def effects_only(rows: Rows) -> Rows:
    return {table: rows[table] for table in CAUSAL}


def test_effects_come_and_go_with_their_rows(here: Published):
    rows = usual_rows()
    here.publish(atlas_rows())
    assert here.publish(rows) == [here.page]
    assert effects_of(here).is_file()
    assert here.publish(atlas_rows()) == [here.page]
    assert not effects_of(here).exists()


def test_the_same_effects_are_written_once(here: Published):
    rows = usual_rows()
    here.publish(rows)
    before = marked(here.root)
    assert here.publish({table: held[::-1] for table, held in rows.items()}) == []
    assert marked(here.root) == before
    effects_of(here).unlink()
    assert here.publish(rows) == [here.page]
    assert effects_of(here).is_file()


def test_every_change_of_effects_is_another_content(tmp_path: Path):
    effects = read(tmp_path, usual_rows())
    seen = {content_hash(effects), content_hash(None)}
    for number, (name, column, value) in enumerate(
        (
            ("att", "att_hours", 4.25),
            ("balance", "smd_after", 0.5),
            ("sensitivity", "rosenbaum_gamma", 1.01),
            ("placebo", "significant", 12),
            ("design", "immature", 4),
            ("pairs", "similarity", 0.5),
            ("cases", "caption", "Other words."),
        ),
        start=3,
    ):
        rows = getattr(effects, name)
        is_first = pl.int_range(pl.len()) == 0
        changed = pl.when(is_first).then(pl.lit(value)).otherwise(column).alias(column)
        seen.add(content_hash(replace(effects, **{name: rows.with_columns(changed)})))
        assert len(seen) == number, name
    for name in ("pairs_held", "cases_held", "pairs_left_out"):
        assert content_hash(replace(effects, **{name: 9_999})) not in seen
    asked_again = pl.col("observed_until").dt.offset_by("1d")
    later = replace(effects, cases=effects.cases.with_columns(asked_again))
    assert content_hash(later) in seen


# What the page is told.


def test_every_number_of_the_tables_is_on_the_page(told: dict[str, Any]):
    rows = usual_rows()
    by_key = {(one["neighborhood"], one["estimator"], one["k"]): one for one in told["att"]}
    assert len(by_key) == len(rows[ATT])
    for row in rows[ATT]:
        shown = by_key[row["neighborhood"], row["estimator"], row["k"]]
        assert {name: shown[name] for name in shown} == {
            name: pytest.approx(row[name], rel=1e-5) if isinstance(row[name], float) else row[name]
            for name in shown
        }
    assert [len(told[name]) for name in ("balance", "sensitivity", "placebo")] == [36, 7, 2]


def test_no_interval_is_never_a_number(told: dict[str, Any]):
    for name in (TOO_FEW, UNMATCHED):
        (row,) = (one for one in told["att"] if one["neighborhood"] == name and one["is_headline"])
        assert (row["low"], row["high"], row["p"], row["q"]) == (None, None, None, None)
        assert row["reason"]


def test_a_number_that_is_none_is_null(tmp_path: Path):
    rows = usual_rows()
    rows[BALANCE][0] |= {"variance_ratio_before": float("inf"), "smd_before": float("nan")}
    rows[MATCHED_PAIRS][0]["similarity"] = float("nan")
    data = told_by(page(read(tmp_path, rows), tmp_path))
    (row,) = (
        one
        for one in data["balance"]
        if (one["neighborhood"], one["covariate"])
        == (rows[BALANCE][0]["neighborhood"], rows[BALANCE][0]["covariate"])
    )
    assert (row["variance_ratio_before"], row["smd_before"]) == (None, None)
    assert data["pairs"]["similarity"].count(None) == 1


def test_the_headline_comes_first_and_what_nobody_described_last(tmp_path: Path):
    rows = usual_rows()
    for row in rows[ATT]:
        if row["estimator"] == "matched":
            row["estimator"] = "a_new_one"
    data = told_by(page(read(tmp_path, rows), tmp_path))
    names = [one["name"] for one in data["estimators"]]
    assert (names[0], names[-1]) == ("bias_corrected", "a_new_one")
    assert sorted(names) == sorted({row["estimator"] for row in rows[ATT]})


def test_pairs_say_what_their_table_says(told: dict[str, Any]):
    pairs, cases = told["pairs"], told["cases"]
    shown = {
        (cases["record_id"][case], cases["record_id"][control]): place
        for place, (case, control) in enumerate(zip(pairs["case"], pairs["control"], strict=True))
    }
    rows = usual_rows()
    assert len(shown) == len(rows[MATCHED_PAIRS]) == 180
    for row in rows[MATCHED_PAIRS]:
        place = shown[row["record_id"], row["control_id"]]
        assert pairs["match_rank"][place] == row["match_rank"]
        assert pairs["similarity"][place] == pytest.approx(row["similarity"], abs=1e-3)
        assert pairs["restricted_hours"][place] == row["restricted_hours"]
        assert pairs["control_restricted_hours"][place] == row["control_restricted_hours"]
        assert cases["neighborhood"][pairs["control"][place]] == row["control_neighborhood"]
        assert (pairs["weight"][place] is None) == (row["weight"] is None)


def test_caveats_and_banners_say_what_is_true_of_the_month(told: dict[str, Any], tmp_path: Path):
    said = dict(told["caveats"])
    assert "not the effect of a treatment anyone assigned" in said["An adjusted disparity"]
    assert "min(T, 30 days)" in said["Hours count up to 720"]
    assert "before 2026-03-02 08:00 UTC" in said["Mature cases"]
    assert "2 younger cases are left out" in said["Mature cases"]
    assert said["Off the support"].startswith("70 of 280 cases have no case elsewhere")
    assert "no case is alike enough (1), too few (1)" in said["No interval, no verdict"]
    assert said["Many neighbourhoods are many tests"].startswith("5 were tested")
    assert told["banners"] == []
    rows = usual_rows()
    rows[REQUESTS][0]["origin"] = "sample"
    rows[DESIGN][0]["is_provisional"] = True
    data = told_by(page(read(tmp_path, rows), tmp_path))
    assert [strong for strong, _ in data["banners"]] == ["SAMPLE DATA", "PROVISIONAL"]


def test_the_design_record_is_whole(told: dict[str, Any]):
    assert [name for name, _, _ in told["design"]] == DESIGN.names
    values = {name: value for name, value, _ in told["design"]}
    assert values["strata_of"] == "category, source channel, half-year"
    assert (told["window"], told["compared"]) == (72, 60)
    assert told["window"] - sum(count for _, count in told["left_out"]) == told["compared"]


# What leaves the house.


def test_pairs_with_a_case_that_the_city_has_no_more_are_left_out_and_counted(tmp_path: Path):
    rows = usual_rows()
    (gone,) = (row for row in rows[REQUESTS] if row["record_id"] == "c0010")
    rows[REQUESTS].remove(gone)
    held = [row for row in rows[MATCHED_PAIRS] if "c0010" in (row["record_id"], row["control_id"])]
    effects = read(tmp_path, rows)
    assert effects.pairs_left_out == len(held) > 3
    assert effects.pairs.height == effects.pairs_held - len(held)
    text = page(effects, tmp_path)
    assert "c0010" not in text
    assert f"{len(held)} chosen pairs hold a case" in told_by(text)["notes"][-1]


def test_nothing_secret_is_on_the_page(compared: Published, told: dict[str, Any]):
    assert "SECRET" not in without_scripts(effects_of(compared).read_text()) + json.dumps(told)
    small = [base64.b64decode(one) for one in told["cases"]["thumbnail"] if one]
    assert len(small) == 20
    assert not any(b"SECRET" in one for one in small)
    assert "latitude" not in told["cases"]


def test_only_the_scripts_of_the_page_may_run_and_nothing_is_loaded(compared: Published):
    text = effects_of(compared).read_text()
    hashes = [hashlib.sha256(script.encode()).digest() for script in scripts(text)]
    wanted = [f"'sha256-{base64.b64encode(one).decode()}'" for one in hashes]
    assert len(wanted) == 2
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; ")
    assert f"script-src {' '.join(wanted)} 'unsafe-eval';" in policy[1]
    assert not re.findall(
        r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|url\(|@import|<link|<iframe""",
        without_scripts(text),
    )
    own = scripts(text)[1]
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert forbidden not in own


def test_hostile_texts_reach_the_page_as_data(tmp_path: Path):
    rows = usual_rows()
    rows[CAPTIONS][0]["caption"] = HOSTILE
    rows[ATT][0]["reason"] = HOSTILE
    rows[BALANCE][0]["covariate"] = HOSTILE
    rows[DESIGN][0]["distance"] = HOSTILE
    text = page(replace(read(tmp_path, rows), title=HOSTILE), tmp_path)
    assert "<img" not in text.replace(scripts(text)[0], "")
    assert text.count("</script>") == 3
    data = told_by(text)
    assert data["cases"]["caption"][data["cases"]["record_id"].index("c0000")] == HOSTILE
    assert HOSTILE in {row["covariate"] for row in data["balance"]}


# How much is shown.


def test_neighborhoods_show_the_same_number_of_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("city311_assets.serving.effects_pages.MOST_CASES", 24)
    rows = usual_rows()
    effects = read(tmp_path, rows)
    counts = effects.pairs.group_by("neighborhood").agg(pl.col("record_id").n_unique())
    assert sorted(counts["record_id"]) == [3, 3, 3, 3, 4, 4, 4]
    assert effects.pairs.group_by("record_id").len()["len"].unique().to_list() == [3]
    assert (effects.pairs_held, effects.cases_held) == (180, 60)
    assert told_by(page(effects, tmp_path))["notes"][0].startswith(
        "24 of 60 cases with controls are shown here, with 72 of 180 pairs"
    )
    turned = {table: held[::-1] for table, held in rows.items()}
    assert read(tmp_path, turned).pairs.equals(effects.pairs)


def test_pictures_are_of_every_neighborhood_while_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = usual_rows()
    draw_thumbnails(tmp_path, rows)
    effects = read(tmp_path, rows)
    everything = pictures(effects, tmp_path)
    assert len(everything) == 20
    room = sum(map(len, everything.values())) // 2
    monkeypatch.setattr(effects_page, "MOST_THUMBNAIL_BYTES", room * 3 // 4)
    some = pictures(effects, tmp_path)
    assert 8 <= len(some) <= 11
    assert sum(map(len, some.values())) <= room
    first = effects.pairs.filter(pl.col("turn") == 1)
    sides = {*first["record_id"], *first["control_id"]} & everything.keys()
    assert set(some) <= sides or sides <= set(some)
    with Image.open(io.BytesIO(base64.b64decode(next(iter(some.values()))))) as picture:
        assert picture.size == (128, 96)


def test_a_page_of_a_large_month_stays_small(tmp_path: Path):
    effects = read(tmp_path, usual_rows(900))
    noise = np.random.default_rng(311).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.jpg", quality=90)
    cases = effects.cases.with_columns(
        thumbnail=pl.lit("noise.jpg"), caption=pl.lit("A mattress. " * 90)
    )
    text = page(replace(effects, cases=cases), tmp_path)
    assert 5_000_000 < len(text.encode()) - len(scripts(text)[0].encode()) < BOUNDED_BYTES
    data = told_by(text)
    assert len(set(data["pairs"]["case"])) == 800
    assert max(map(len, data["cases"]["caption"])) == 401
    small = [one for one in data["cases"]["thumbnail"] if one]
    assert 300 < len(small) < cases.height
    assert sum(map(len, small)) < 7_000_000
    assert data["notes"][1].startswith(f"{len(small):,} of their {cases.height:,} cases")


def test_a_month_without_pairs_has_a_page(tmp_path: Path):
    data = told_by(page(read(tmp_path, usual_rows() | {MATCHED_PAIRS: []}), tmp_path))
    assert data["pairs"]["case"] == data["cases"]["record_id"] == []
    assert len(data["att"]) == 70
