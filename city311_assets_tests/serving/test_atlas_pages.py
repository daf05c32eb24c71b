"""The published atlas: what leaves the house, what never does, and how it gets to its place."""

import base64
import datetime as dt
import hashlib
import html
import io
import json
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import h3.api.basic_int as h3
import polars as pl
import pytest
from PIL import Image

from city311_assets.serving.atlas_page import COLOURS, SYMBOLS, drawn, marks, thumbnails
from city311_assets.serving.atlas_pages import publish_atlas
from city311_assets.warehouse.resource import CONNECTION
from city311_assets.warehouse.tables.atlas import (
    CAPTIONS,
    CLUSTER_EVENTS,
    CLUSTER_NAMES,
    CLUSTERS,
    PHOTOS,
    PROJECTIONS,
)
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.serving.atlases import (
    FEED,
    FIRST_CLUSTER,
    MONTH,
    NAMES,
    Rows,
    atlas_rows,
    draw_thumbnails,
    write_snapshot,
)
from city311_assets_tests.serving.conftest import Published

COLUMNS = {
    "record_id": pl.String,
    "day": pl.Date,
    **dict.fromkeys(("x", "y", "x3", "y3", "z3"), pl.Float32),
    "cluster_id": pl.Int64,
    "cluster": pl.String,
    "is_outlier": pl.Boolean,
    "membership": pl.Float64,
    "caption": pl.String,
    "caption_method": pl.String,
    "severity": pl.UInt8,
    "category": pl.String,
    "kind": pl.String,
    "neighborhood": pl.String,
    "hours_to_close": pl.Float64,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
    "thumbnail": pl.String,
    "photo_url": pl.String,
    "record_url": pl.String,
    "origin": pl.String,
}
HOSTILE = "</script><img src=x onerror=\"document.title='caught'\"><!-- &amp; \u2028\u2029 'q'"
FINE_CELL = h3.latlng_to_cell(37.76, -122.43, 13)


def points(place: Published) -> pl.DataFrame:
    return pl.read_parquet(place.month / "points.parquet")


def case(place: Published, record: str) -> dict[str, Any]:
    return points(place).row(by_predicate=pl.col("record_id") == record, named=True)


def told(place: Published) -> dict[str, Any]:
    """Return what the page's script is told."""
    data = r'<script type="application/json" id="data">(.*?)</script>'
    found = re.search(data, place.page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def scripts(text: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", text, re.DOTALL)


def without_scripts(text: str) -> str:
    return re.sub(r"<script[ >].*?</script>", "", text, flags=re.DOTALL)


def marked(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return what changes when any file below a folder is written or replaced."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def month_of(rows: Rows, month: dt.date) -> Rows:
    """Return the same cases as another month's map."""
    tables = (PROJECTIONS, CLUSTERS, CLUSTER_NAMES, CLUSTER_EVENTS)
    return {table: [row | {"month": month} for row in rows[table]] for table in tables}


def both_months(rows: Rows, other: dt.date = dt.date(2026, 2, 1)) -> Rows:
    of_other = month_of(rows, other)
    return {table: held + of_other.get(table, []) for table, held in rows.items()}


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let the system refuse what is written beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def odd_rows() -> Rows:
    """Return the usual rows with everything in them that is unusual."""
    rows = atlas_rows()
    hostile, several, fine, linkless = (rows[REQUESTS][number] for number in (0, 3, 4, 6))
    hostile |= {"kind": HOSTILE, "neighborhood": HOSTILE, "origin": "sample"}
    rows[CAPTIONS][0]["caption"] = HOSTILE
    rows[CLUSTER_NAMES][0] |= {"name": HOSTILE, "description": HOSTILE, "keywords": [HOSTILE]}
    said = [
        {"described": "a", "caption": "A couch.", "severity": 2},
        {"described": "b", "caption": "A chair.", "severity": 4},
        {"described": "c", "caption": "A couch.", "severity": 1},
        {"described": "d", "caption": None, "severity": None, "error": "refused"},
        {"described": "case", "caption": "Words.", "caption_method": "case_text", "severity": 5},
    ]
    rows[CAPTIONS][3:4] = [rows[CAPTIONS][3] | one for one in said]
    photo = rows[PHOTOS][3]
    assert photo["record_id"] == several["record_id"]
    gone = photo | {"url": "https://photos.example.gov/0.jpg", "status": "not_found"}
    rows[PHOTOS] += [gone, photo | {"url": "https://photos.example.gov/d.jpg"}]
    fine["cell"] = FINE_CELL
    linkless["record_url"] = "javascript:alert(1)//https://"
    rows[PHOTOS][6]["url"] = "file:///etc/passwd"
    del rows[REQUESTS][57:]
    rows[CLUSTERS][5]["is_provisional"] = True
    before = {"month": dt.date(2026, 2, 1), "cluster_id": 7, "name": "Fallen trees"}
    rows[CLUSTER_NAMES].append(rows[CLUSTER_NAMES][0] | before)
    died = {"event": "death", "cluster_id": 7, "other_ids": [8]}
    rows[CLUSTER_EVENTS] = [rows[CLUSTER_EVENTS][0] | died]
    return rows


@pytest.fixture(scope="module")
def odd(published: Callable[[Rows], Published]) -> Published:
    return published(odd_rows())


# What is published.


def test_a_month_gets_a_page_its_points_and_a_list_that_leads_to_it(here: Published):
    assert here.publish(atlas_rows()) == [here.page]
    assert {path.name for path in here.month.iterdir()} == {
        "index.html",
        "points.parquet",
        "source.json",
    }
    assert f'href="{FEED}/2026-03/index.html"' in (here.root / "index.html").read_text()
    latest = (here.root / FEED / "latest" / "index.html").read_text()
    assert 'url=../2026-03/index.html"' in latest


def test_points_have_their_columns_and_types_and_one_row_a_case(usual: Published):
    assert points(usual).schema == COLUMNS
    assert sorted(points(usual)["record_id"]) == [f"c{number:04}" for number in range(60)]


def test_points_say_what_the_tables_say(usual: Published):
    rows = atlas_rows()
    first = case(usual, "c0000")
    assert first["x"] == pytest.approx(rows[PROJECTIONS][0]["x"], abs=1e-5)
    assert (first["cluster_id"], first["cluster"]) == (FIRST_CLUSTER, NAMES[0])
    assert (first["caption"], first["caption_method"], first["severity"]) == (
        f"A picture of {NAMES[0]}.",
        "openai",
        3,
    )
    assert first["hours_to_close"] is None
    assert first["thumbnail"] == "ab/c0000.jpg"
    assert first["photo_url"] == "https://photos.example.gov/c0000.jpg"
    second = case(usual, "c0002")
    assert (second["caption_method"], second["thumbnail"], second["photo_url"]) == (
        "case_text",
        None,
        None,
    )
    assert second["hours_to_close"] == 12.0


def test_an_outlier_is_in_no_cluster(usual: Published):
    outliers = points(usual).filter("is_outlier")
    assert outliers["record_id"].to_list() == [f"c00{tens}9" for tens in range(6)]
    assert outliers.select("cluster_id", "cluster").null_count().row(0) == (6, 6)
    assert told(usual)["outliers"] == {"size": 6, "share": 0.1}


def test_a_place_is_the_centre_of_its_cell(usual: Published):
    for row in atlas_rows()[REQUESTS][2:10]:
        published = case(usual, row["record_id"])
        centre = h3.cell_to_latlng(row["cell"])
        assert (published["latitude"], published["longitude"]) == pytest.approx(centre)
        assert published["latitude"] != row["latitude"]


def test_a_case_without_a_point_has_no_place(usual: Published):
    assert (case(usual, "c0001")["latitude"], case(usual, "c0001")["longitude"]) == (None, None)


def test_a_cell_finer_than_resolution_10_is_published_as_its_parent(odd: Published):
    published = case(odd, "c0004")
    centre = h3.cell_to_latlng(h3.cell_to_parent(FINE_CELL, 10))
    assert (published["latitude"], published["longitude"]) == pytest.approx(centre)


def test_what_photos_show_comes_before_what_the_case_says(odd: Published):
    published = case(odd, "c0003")
    assert (published["caption"], published["caption_method"], published["severity"]) == (
        "A couch. A chair.",
        "openai",
        4,
    )


def test_only_the_first_photo_that_was_had_is_linked(odd: Published):
    assert case(odd, "c0003")["photo_url"] == "https://photos.example.gov/c0003.jpg"


def test_a_case_with_several_photos_and_captions_is_one_point(odd: Published):
    assert points(odd)["record_id"].is_unique().all()
    assert points(odd).height == 57


def test_a_link_that_is_not_of_the_web_is_not_published(odd: Published):
    published = case(odd, "c0006")
    assert (published["record_url"], published["photo_url"]) == (None, None)


def test_cases_that_silver_has_no_more_are_left_out_and_counted(odd: Published):
    assert not {"c0057", "c0058", "c0059"} & set(points(odd)["record_id"])
    assert any(note.startswith("3 cases of the map") for note in told(odd)["notes"])


def test_nothing_secret_is_in_the_points_or_the_page(usual: Published):
    assert "SECRET" not in points(usual).write_csv()
    text = usual.page.read_text()
    assert "SECRET" not in without_scripts(text) + json.dumps(told(usual))
    pictures = [one for one in told(usual)["cases"]["thumbnail"] if one]
    assert len(pictures) == 20
    assert not any(b"SECRET" in base64.b64decode(one) for one in pictures)
    assert "original-" not in text


# The page.


def test_the_page_and_the_lists_load_nothing(usual: Published):
    for path in usual.root.rglob("index.html"):
        text = without_scripts(path.read_text())
        assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text)
        assert not re.findall(r"url\(|@import|<link|<iframe", text)
    page = usual.page.read_text()
    assert "default-src 'none'; img-src data:;" in page
    assert "connect-src" not in page


def test_only_the_scripts_of_the_page_may_run(usual: Published):
    text = usual.page.read_text()
    hashes = [hashlib.sha256(script.encode()).digest() for script in scripts(text)]
    wanted = [f"'sha256-{base64.b64encode(one).decode()}'" for one in hashes]
    assert len(wanted) == 2
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert f"script-src {' '.join(wanted)} 'unsafe-eval';" in policy[1]
    assert "unsafe-inline" not in policy[1].split("script-src")[1]


def test_the_page_is_of_its_own_script_and_never_reads_html(usual: Published):
    own = scripts(usual.page.read_text())[1]
    assert own.startswith("// The page of one atlas month")
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert forbidden not in own


def test_hostile_texts_reach_the_page_as_data(odd: Published):
    text = odd.page.read_text()
    assert "<img" not in text.replace(scripts(text)[0], "")
    assert text.count("</script>") == 3
    data = told(odd)
    place = data["cases"]["record_id"].index("c0000")
    assert data["cases"]["caption"][place] == HOSTILE
    assert data["clusters"][data["cases"]["cluster"][place]]["name"] == HOSTILE
    raw = text.split('id="data">')[1].split("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(raw)


def test_nearest_cases_lead_to_cases_of_the_page(usual: Published):
    cases = told(usual)["cases"]
    place = cases["record_id"].index("c0000")
    near = [cases["record_id"][one] for one in cases["nearest"][place]]
    assert near == ["c0004", "c0008", "c0012", "c0016", "c0020"]


def test_the_page_says_what_it_is_made_of(usual: Published):
    data = told(usual)
    said = " ".join(data["notes"])
    assert "the case's own text (case_text) 40; a model's words (openai, gpt-6-luna) 20" in said
    assert "local-abc123" in said
    assert "linked, not published" in said
    assert "20 of the 20 drawn cases with a photo" in said
    assert data["banners"] == []
    assert "by 2026-04-01 03:00 UTC" in data["facts"]
    assert data["outline"] == [
        [[-122.51, 37.71], [-122.36, 37.71], [-122.36, 37.81], [-122.51, 37.81], [-122.51, 37.71]]
    ]
    assert data["events"] == [
        {"event": "birth", "name": NAMES[3], "others": [NAMES[0]], "size": 13}
    ]


def test_a_cluster_that_died_is_called_what_it_was_last(odd: Published):
    (event,) = told(odd)["events"]
    assert (event["name"], event["others"]) == ("Fallen trees", ["cluster 8"])


def test_sample_data_and_a_provisional_month_are_marked(odd: Published):
    assert [strong for strong, _ in told(odd)["banners"]] == ["SAMPLE DATA", "PROVISIONAL"]
    assert "sample data, provisional" in (odd.root / "index.html").read_text()


def test_clusters_come_largest_first_each_with_a_mark_of_its_own(usual: Published):
    clusters = told(usual)["clusters"]
    sizes = [one["size"] for one in clusters]
    assert sizes == sorted(sizes, reverse=True)
    assert len({(one["colour"], one["symbol"]) for one in clusters}) == len(NAMES)


def test_marks_differ_and_a_newborn_changes_none():
    ids = [202_601_000 + 3 * number for number in range(len(COLOURS) * len(SYMBOLS))]
    looks = marks(ids)
    assert len(set(looks.values())) == len(ids)
    assert {look[1] for look in marks(ids[:10]).values()} == {SYMBOLS[0]}
    older = marks(ids[:13])
    assert {one: look for one, look in marks([202_602_001, *ids[:13]]).items() if one in older} == (
        older
    )


def test_a_page_of_a_large_month_draws_the_same_share_of_each_cluster():
    sizes = {1: 4_000, 2: 900, 3: 90, None: 10}
    cases = pl.DataFrame(
        {
            "record_id": [f"r{number}" for number in range(5_000)],
            "cluster_id": [one for one, size in sizes.items() for _ in range(size)],
        }
    )
    kept = drawn(cases, most=500)
    counts = dict(kept["cluster_id"].value_counts().iter_rows())
    assert counts == {1: 400, 2: 90, 3: 9, None: 1}
    shuffled = drawn(cases.sample(fraction=1, shuffle=True, seed=1), most=500)
    assert set(shuffled["record_id"]) == set(kept["record_id"])
    assert drawn(cases, most=5_000).equals(cases)


def test_thumbnails_are_small_newest_first_and_of_the_photo_folder_only(tmp_path: Path):
    rows = atlas_rows()
    photos = tmp_path / "photos"
    draw_thumbnails(photos, rows)
    (tmp_path / "outside.jpg").write_bytes((photos / "ab" / "c0000.jpg").read_bytes())
    (photos / "broken.jpg").write_bytes(b"no picture")
    names = ["ab/c0000.jpg", "ab/c0003.jpg", "../outside.jpg", "broken.jpg", "absent.jpg", None]
    cases = pl.DataFrame(
        {
            "record_id": list("abcdef"),
            "day": [MONTH + dt.timedelta(days=number) for number in range(6)],
            "thumbnail": names,
        }
    )
    kept = thumbnails(cases, photos)
    assert list(kept) == ["b", "a"]
    with Image.open(io.BytesIO(base64.b64decode(kept["a"]))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (128, 96))


# How it gets to its place.


def test_publishing_twice_writes_nothing_the_second_time(here: Published):
    rows = atlas_rows()
    here.publish(rows)
    before = marked(here.root)
    assert here.publish(rows) == []
    assert marked(here.root) == before


def test_having_asked_the_portal_again_is_no_change(here: Published):
    rows = atlas_rows()
    here.publish(rows)
    for row in rows[REQUESTS]:
        row["observed_until"] += dt.timedelta(days=1)
    assert here.publish(rows) == []


def test_the_order_of_rows_is_no_change(here: Published):
    rows = atlas_rows()
    here.publish(rows)
    assert here.publish({table: held[::-1] for table, held in rows.items()}) == []


def test_every_change_of_content_is_written_anew(here: Published):
    rows = atlas_rows()
    here.publish(rows)
    for table, column, value in (
        (CAPTIONS, "caption", "Other words."),
        (PROJECTIONS, "y3", 99.0),
        (PROJECTIONS, "nearest_ids", ["c0005"]),
        (CLUSTER_NAMES, "description", "Other words."),
        (CLUSTER_EVENTS, "size", 99),
        (REQUESTS, "hours_to_close", 5.0),
    ):
        before = marked(here.month)
        rows[table][0][column] = value
        assert here.publish(rows) == [here.page], (table, column)
        after = marked(here.month)
        assert not set(before.values()) & set(after.values())
        assert before.keys() == after.keys()


def test_only_the_month_that_changed_is_written(here: Published):
    rows = both_months(atlas_rows())
    february = here.month.with_name("2026-02")
    assert here.publish(rows) == [february / "index.html", here.page]
    before = marked(february)
    rows[PROJECTIONS][0]["x"] = 42.0
    assert rows[PROJECTIONS][0]["month"] == MONTH
    assert here.publish(rows) == [here.page]
    assert marked(february) == before


def test_a_write_that_fails_leaves_the_old_folder(here: Published):
    rows = atlas_rows()
    here.publish(rows)
    before = marked(here.root)
    rows[CAPTIONS][0]["caption"] = "Other words."
    snapshot = write_snapshot(here.folder / "city311.duckdb", rows)
    arguments = (snapshot, here.folder / "photos", here.folder / "published")
    with files_no_larger_than(1_000_000), pytest.raises(OSError, match="File too large"):
        publish_atlas(*arguments)
    assert marked(here.root) == before
    assert [path.name for path in here.month.parent.glob(".*")] == []
    assert publish_atlas(*arguments) == [here.page]
    assert case(here, "c0000")["caption"] == "Other words."


def test_a_first_write_that_fails_leaves_no_folder(here: Published):
    with files_no_larger_than(1_000_000), pytest.raises(OSError, match="File too large"):
        publish_atlas(
            write_snapshot(here.folder / "city311.duckdb", atlas_rows()),
            here.folder / "photos",
            here.folder / "published",
        )
    assert not here.month.exists()


def test_a_kill_between_the_two_renames_is_mended(here: Published):
    rows = atlas_rows()
    here.publish(rows)
    before = here.page.stat().st_ino
    here.month.rename(here.month.with_name(".replaced-2026-03"))
    unfinished = here.month.with_name(".publishing-2026-03")
    unfinished.mkdir()
    (unfinished / "index.html").write_text("<!doctype")
    assert here.publish(rows) == []
    assert here.page.stat().st_ino == before
    assert {path.name for path in here.month.parent.iterdir()} == {"2026-03", "latest"}


def test_a_folder_that_lost_a_file_is_written_again(here: Published):
    rows = atlas_rows()
    here.publish(rows)
    (here.month / "points.parquet").unlink()
    assert here.publish(rows) == [here.page]
    assert points(here).height == 60


def test_a_month_that_is_no_more_is_published_no_more(here: Published):
    rows = both_months(atlas_rows(), dt.date(2026, 4, 1))
    here.publish(rows)
    april = here.month.with_name("2026-04")
    assert april.is_dir()
    assert here.publish(atlas_rows()) == []
    assert not april.exists()
    assert "2026-04" not in (here.root / "index.html").read_text()
    assert "2026-03" in (here.root / FEED / "latest" / "index.html").read_text()


def test_a_file_without_an_atlas_writes_nothing_and_removes_nothing(here: Published):
    empty: Rows = {table: [] for table in atlas_rows()}
    assert here.publish(empty) == []
    assert not here.root.exists()
    here.publish(atlas_rows())
    before = marked(here.root)
    assert here.publish(empty) == []
    rows = atlas_rows()
    del rows[CAPTIONS]
    assert here.publish(rows) == []
    assert publish_atlas(here.folder / "absent.duckdb", here.folder, here.folder) == []
    assert marked(here.root) == before


def test_a_feed_that_nobody_declared_is_refused(here: Published):
    rows = atlas_rows()
    rows[PROJECTIONS][0]["feed"] = "../../elsewhere"
    with pytest.raises(ValueError, match=r"no feed is called '\.\./\.\./elsewhere'"):
        here.publish(rows)


def test_the_published_file_may_be_open_elsewhere(here: Published):
    snapshot = write_snapshot(here.folder / "city311.duckdb", atlas_rows())
    with duckdb.connect(str(snapshot), read_only=True, config=CONNECTION):
        assert publish_atlas(snapshot, here.folder, here.folder / "published") == [here.page]


def test_a_title_is_escaped_where_the_page_has_it_as_html(usual: Published):
    title = re.search(r"<title>(.*?)</title>", usual.page.read_text())
    assert title
    assert html.unescape(title[1]) == "San Francisco 311 cases: what cases are about, March 2026"
