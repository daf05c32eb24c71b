"""What is refused, and how it is said: JSON that names the culprit and what is accepted."""

import shutil
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.api import health
from city311_assets.serving.api.parameters import BBOX, MOST_DAYS, MOST_FEATURES, Box, read_day
from city311_assets.warehouse.tables.causal import ATT
from city311_assets.warehouse.tables.gold import CELLS, HOTSPOTS
from city311_assets.warehouse.tables.risk import SCORES
from city311_assets_tests.serving.api.places import FEED, Place, cells

CELL = format(cells(9)[0], "x")
INJECTIONS = ("'; drop table risk.scores; --", "leaks' or '1'='1", "$day", "leaks\0", "%", "' --")
# 2026-03-05 in other digits, which Python reads as numbers too.
ARABIC = "2026-03-05".translate({ord("0") + n: chr(0x660 + n) for n in range(10)})
RISK, HISTORY, GEO = "/api/layers/risk", f"/api/cell/{CELL}/history", f"/api/geo/{FEED}/9.json"


def refused(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert (said["status"], said["type"]) == (status, "about:blank")
    assert "Traceback" not in answer.text
    return said


@pytest.mark.parametrize(
    ("address", "parameter", "given_"),
    [
        *((f"{RISK}?date={day}", "date", day) for day in ("yesterday", "2026-3-5", "20260305")),
        *((f"{RISK}?date={day}", "date", day) for day in ("2026-02-30", "0000-01-01", "")),
        (f"{RISK}?date={ARABIC}", "date", ARABIC),
        *((f"{RISK}?limit={n}", "limit", n) for n in ("0", "-1", "1e3", "1.0", "")),
        (f"{RISK}?limit={MOST_FEATURES + 1}", "limit", str(MOST_FEATURES + 1)),
        (f"{RISK}?limit=99999999999999999999", "limit", "99999999999999999999"),
        (f"{RISK}?target=floods", "target", "floods"),
        (f"{RISK}?cursor=x", "cursor", "x"),
        (f"{RISK}?download=1", "download", "1"),
        *(
            (f"{RISK}?bbox={box}", "bbox", box)
            for box in (
                "-87.6,41.8,-87.7,41.9",  # west and east swapped
                "-87.7,41.9,-87.6,41.8",  # south and north swapped
                "170,-10,-170,10",  # across the antimeridian
                "-87.7,41.8,-87.6",
                "-87.7,41.8,-87.6,41.9,5",
                "-90,40,-80,50",  # too large
                "-87.7,41.8,-87.7,41.9",  # nothing in it
                "-87.7,41.8,-87.6,nan",
                "-181,41.8,-180.5,41.9",
                "-87.7,89.5,-87.6,90.5",
                "-87.7,41.8,-87.6,1e1",
                "-87.7, 41.8,-87.6,41.9",
                "",
            )
        ),
        ("/api/layers/hotspots?resolution=6", "resolution", "6"),
        ("/api/layers/hotspots?feed=oz", "feed", "oz"),
        *(("/api/effects?month=" + m, "month", m) for m in ("2026-3", "2026-13", "2026-03-01")),
        ("/api/clusters?month=march", "month", "march"),
        (f"{HISTORY}?days=0", "days", "0"),
        (f"{HISTORY}?days={MOST_DAYS + 1}", "days", str(MOST_DAYS + 1)),
        ("/api/cell/892664c1a0b/history", "h3_id", "892664c1a0b"),
        ("/api/cell/zzz/history", "h3_id", "zzz"),
        ("/api/cell/8928308280fffff1/history", "h3_id", "8928308280fffff1"),
        ("/api/cell/85283473fffffff/history", "h3_id", "85283473fffffff"),
        ("/api/cell/892664C1A0BFFFF/history", "h3_id", "892664C1A0BFFFF"),
        (f"{GEO}?parent=xyz", "parent", "xyz"),
        (f"{GEO}?parent={CELL}", "parent", CELL),
    ],
)
def test_a_malformed_parameter_is_named_with_what_was_given_and_what_is_accepted(
    api, address, parameter, given_
):
    said = refused(api.get(address), 422)
    assert (said["parameter"], said["given"]) == (parameter, given_)
    assert said["accepted"]
    assert parameter in said["detail"]


def test_a_misspelled_parameter_is_refused_and_not_ignored(api):
    said = refused(api.get(f"{RISK}?bbx=1,2,3,4"), 422)
    assert (said["parameter"], "bbox" in said["accepted"]) == ("bbx", True)


def test_a_parameter_given_twice_is_refused(api):
    said = refused(api.get(f"{RISK}?limit=1&limit=2"), 422)
    assert said["parameter"] == "limit"


def test_what_was_given_is_not_said_back_at_length(api):
    said = refused(api.get(f"{RISK}?date={'9' * 5_000}"), 422)
    assert len(said["given"]) < 250


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("2026-03-02", ["2026-03-01", "2026-03-04", "2026-03-05"]),
        ("2020-01-01", ["2026-03-01", "2026-03-04"]),
        ("2030-01-01", ["2026-03-04", "2026-03-05"]),
    ],
)
def test_a_day_without_data_names_the_nearest_that_have_some(api, asked, nearest):
    for name in ("risk", "cost", "recommendations"):
        said = refused(api.get(f"/api/layers/{name}?date={asked}"), 404)
        assert (said["parameter"], said["given"], said["nearest"]) == ("date", asked, nearest)


def test_a_month_without_data_names_the_nearest_that_have_some(api):
    for name in ("effects", "clusters"):
        said = refused(api.get(f"/api/{name}?month=2026-01"), 404)
        assert said["nearest"] == ["2026-03"]
    said = refused(api.get("/api/layers/hotspots?date=2025-12-31"), 404)
    assert said["nearest"] == ["2026-03"]


@pytest.mark.parametrize(
    ("address", "parameter"),
    [
        ("/api/layers/risk?target=sanitation", "target"),
        ("/api/layers/hotspots?feed=nyc_311", "feed"),
        ("/api/effects?feed=nyc_311", "feed"),
        ("/api/layers/hotspots?category=dragons", "category"),
        ("/api/cell/89283082803ffff/history", "h3_id"),
        (f"{HISTORY}?feed=nyc_311", "feed"),
        ("/api/geo/nyc_311/9.json", "feed"),
        (f"{GEO}?parent=87283082affffff", "parent"),
        ("/api/geo/oz/9.json", "feed"),
        ("/api/geo/chicago_311/5.json", "resolution"),
        ("/api/geo/oz/boundaries.json", "feed"),
        ("/api/thumbnails/sf_311/nobody.jpg", "record_id"),
    ],
)
def test_what_there_is_nothing_of_is_a_404_that_names_it(api, address, parameter):
    assert refused(api.get(address), 404)["parameter"] == parameter


@pytest.mark.parametrize("word", INJECTIONS)
@pytest.mark.parametrize(
    ("path", "name"),
    [
        (RISK, "target"),
        (RISK, "date"),
        (RISK, "bbox"),
        (RISK, "cursor"),
        ("/api/layers/hotspots", "category"),
        ("/api/layers/hotspots", "feed"),
        ("/api/effects", "month"),
        (HISTORY, "feed"),
        (GEO, "parent"),
    ],
)
def test_sql_in_a_parameter_is_refused_and_does_nothing(api, path, name, word):
    answer = api.get(path, params={name: word})
    assert answer.status_code in {404, 422}
    refused(answer, answer.status_code)
    assert api.get(RISK).json()["numberMatched"] == len(cells(9)) + 1


@pytest.mark.parametrize("word", INJECTIONS)
def test_sql_in_a_path_is_refused_and_does_nothing(api, word):
    word = quote(word)
    for path in (f"/api/cell/{word}/history", f"/api/geo/{word}/9.json", f"/api/layers/{word}"):
        answer = api.get(path)
        assert answer.status_code in {404, 422}
        refused(answer, answer.status_code)


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nothing", "/api/layers", "/api/layers/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_every_other_address_below_api_is_a_404_in_json_by_any_method(api, path, method):
    said = refused(api.request(method, path), 404)
    assert "/docs" in said["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_an_address_that_is_known_says_which_methods_it_has(api, method):
    for path in (RISK, HISTORY, GEO, "/api/thumbnails/sf_311/100.jpg", "/health"):
        answer = api.request(method, path)
        refused(answer, 405)
        assert answer.headers["allow"] == "GET, HEAD"


def test_a_catch_all_added_later_does_not_answer_for_the_api(own_place):
    @own_place.server.get("/{path:path}")
    def page(path: str) -> str:
        return f"a page called {path}"

    refused(own_place.client.get("/api/nothing"), 404)
    assert own_place.client.get("/risk").json() == "a page called risk"


def test_without_a_published_file_everything_says_how_to_get_one(tmp_path):
    client = Place(tmp_path).client
    for path in (RISK, "/api/layers/hotspots", HISTORY, "/api/effects", GEO, "/health"):
        answer = client.get(path)
        said = refused(answer, 503)
        assert "make demo" in said["detail"]
        assert str(tmp_path) not in answer.text
        assert answer.headers["retry-after"] == "60"


def test_a_malformed_question_is_malformed_even_without_a_file(tmp_path):
    refused(Place(tmp_path).client.get(f"{RISK}?date=x"), 422)


def test_a_file_that_is_no_database_is_a_503(own_place):
    own_place.settings.snapshot_path.write_text("not a database")
    refused(own_place.client.get(RISK), 503)
    refused(own_place.client.get("/health"), 503)


@pytest.mark.parametrize(
    ("table", "address"),
    [
        (SCORES, RISK),
        (CELLS, RISK),
        (CELLS, GEO),
        (CELLS, HISTORY),
        (HOTSPOTS, "/api/layers/hotspots"),
        (ATT, "/api/effects"),
    ],
)
def test_a_file_of_an_older_version_says_which_table_it_lacks(own_place, table, address):
    own_place.drop(table)
    said = refused(own_place.client.get(address), 404)
    assert str(table) in said["detail"]
    assert "publish again" in said["detail"]


def test_a_file_of_another_version_says_so_and_not_which_column(own_place, caplog):
    own_place.publish(f"alter table {SCORES} rename p_event_7d to p")
    said = refused(own_place.client.get(RISK), 503)
    assert "publish again" in said["detail"]
    assert "p_event_7d" not in str(said)
    assert "p_event_7d" in caplog.text


def test_what_goes_wrong_inside_stays_inside(own_place, monkeypatch):
    def fail(*_):
        raise RuntimeError("secret words")

    own_place.client.get(RISK)
    monkeypatch.setattr(health, "health", fail)
    answer = own_place.client.get("/health")
    refused(answer, 500)
    assert "secret" not in answer.text


def test_a_failure_of_a_page_is_no_problem_of_the_api(own_place):
    @own_place.server.get("/broken")
    def broken():
        raise RuntimeError("secret words")

    answer = own_place.client.get("/broken")
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert answer.headers["content-type"].startswith("text/plain")


@given(st.text(max_size=30))
def test_a_day_is_read_only_as_it_is_written(text):
    try:
        day = read_day(text)
    except ValueError:
        return
    assert str(day) == text


@given(st.tuples(*[st.floats(-200, 200)] * 4))
def test_a_box_is_read_as_it_was_written_or_refused(numbers):
    written = ",".join(f"{number:.6f}" for number in numbers)
    west, south, east, north = (float(one) for one in written.split(","))
    try:
        box = BBOX.read(written)
    except ValueError:
        is_good = -180 <= west < east <= 180 and -90 <= south < north <= 90
        area = (east - west) * (north - south)
        assert not is_good or area > 4 or area < 1e-11
        return
    assert box == Box(west, south, east, north)


def test_every_feed_is_answered_or_refused_in_json(api):
    for feed in FEEDS:
        for path in ("layers/hotspots", "layers/anomalies", "effects", "clusters"):
            answer = api.get(f"/api/{path}?feed={feed}")
            assert answer.status_code in {200, 404}
            answer.json()


def test_copies_do_not_share_what_is_kept(own_place, tmp_path):
    other = Place(shutil.copytree(own_place.folder, tmp_path / "other"))
    other.change()
    assert own_place.client.get(RISK).headers["etag"] != other.client.get(RISK).headers["etag"]
