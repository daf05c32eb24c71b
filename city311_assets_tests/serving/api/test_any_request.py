"""Whatever is asked, is answered or refused in the declared form; never with a 500."""

import json
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.api.app import HEADERS
from city311_assets.serving.api.problems import MEDIA_TYPE, SCHEMA, TITLES
from city311_assets_tests.anything import TEXTS, some
from city311_assets_tests.serving.api.places import DAYS, FEED, HOSTILE, PHOTO, cells

CELL = format(cells(9)[0], "x")
LAYERS = ("risk", "cost", "recommendations", "hotspots", "anomalies")
GOOD = {
    "date": str(DAYS[-1]),
    "month": "2026-03",
    "bbox": "-87.7,41.8,-87.6,41.95",
    "limit": "3",
    "days": "30",
    "resolution": "8",
    "feed": FEED,
    "target": "leaks",
    "category": "all",
    "parent": format(cells(7)[0], "x"),
    "download": "true",
    "cursor": "MS4xNTkyMWVjZmNlZmQuNDYyYThkMzAxOTgz",
}
PATHS = (
    *(f"/api/layers/{name}" for name in LAYERS),
    f"/api/cell/{CELL}/history",
    "/api/effects",
    "/api/clusters",
    f"/api/geo/{FEED}/9.json",
    f"/api/geo/{FEED}/boundaries.json",
    f"/api/thumbnails/sf_311/{PHOTO}.jpg",
    "/health",
)
DEGREES = st.sampled_from(
    ["-180", "180", "90", "-90", "0", "-87.65", "41.9", "1e2", "nan", "", "+1"]
)
BOXES = st.lists(DEGREES, min_size=3, max_size=5).map(",".join)
DAYS_LIKE = st.builds(
    "{}-{:02}-{:02}".format, st.integers(0, 10_000), st.integers(0, 13), st.integers(0, 32)
)
CELLS_LIKE = st.integers(0, 2**64 - 1).map(lambda cell: format(cell, "x"))
CURSORS = st.text("ABCDabcd0123_-=.", min_size=14, max_size=205)
VALUES = st.one_of(
    TEXTS,
    BOXES,
    DAYS_LIKE,
    CELLS_LIKE,
    CURSORS,
    st.sampled_from([HOSTILE, *FEEDS, *GOOD.values()]),
    st.integers().map(str),
)
QUERIES = st.lists(
    st.sampled_from([*GOOD, "bbx", "", HOSTILE]).flatmap(
        lambda name: st.tuples(st.just(name), st.just(GOOD.get(name, "")) | VALUES)
    ),
    max_size=4,
)


@st.composite
def addresses(draw: st.DrawFn) -> str:
    """Draw an address: a known one with some part of it another, and a query of any kind."""
    path = draw(st.sampled_from(PATHS))
    if draw(st.booleans()):
        parts: list[str] = [*path.split("/")]
        at = draw(st.integers(1, len(parts) - 1))
        parts[at] = quote(draw(VALUES), safe=draw(st.sampled_from(["", ".", "/.%"])))
        path = "/" + "/".join(parts).lstrip("/")
    written = "&".join(f"{quote(name)}={quote(text)}" for name, text in draw(QUERIES))
    raw = draw(st.sampled_from(["", "", "", "&", "&=&&", "%", "%zz", "&bbox", "&limit=%ff", ";"]))
    return f"{path}?{written}{raw}" if written or raw else path


@some(150)
@given(addresses(), st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS"]))
@example(f"/api/layers/hotspots?category={quote(HOSTILE)}", "GET")
@example("/api/layers/risk?bbox=180,90,180,90", "GET")
@example("/api/layers/risk?limit=%D9%A3", "GET")
@example("/api/thumbnails/sf_311/..%2f..%2fsecret.jpg", "GET")
@example("/api/thumbnails/sf_311/%00.jpg", "GET")
def test_any_request_is_answered_or_refused_in_the_declared_form(
    api: TestClient, address: str, method: str
):
    answer = api.request(method, address)
    if not answer.url.path.startswith(("/api/", "/health")) and answer.url.path != "/api":
        # Its dots lead elsewhere: a page of the console, which is not here.
        return
    assert answer.status_code in {200, 404, 405, 410, 422, 503}, answer.text
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    media_type = answer.headers["content-type"]
    # Nothing that a browser takes for a page, whatever stands in it.
    assert media_type in {MEDIA_TYPE, "application/json", "application/geo+json", "image/jpeg"}
    if answer.status_code == 200:
        assert media_type != MEDIA_TYPE
        return
    assert media_type == MEDIA_TYPE
    if method == "HEAD":
        return
    said = answer.json()
    assert set(SCHEMA["required"]) <= set(said) <= set(SCHEMA["properties"])
    assert (said["status"], said["title"]) == (answer.status_code, TITLES[answer.status_code])
    assert len(answer.content) < 20_000


NAMES_OF_HEADERS = (
    "If-None-Match",
    "Accept-Encoding",
    "Accept",
    "Range",
    "Host",
    "Cookie",
    "Origin",
)
HEADER_TEXTS = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")
)


@some(40)
@given(st.dictionaries(st.sampled_from(NAMES_OF_HEADERS), HEADER_TEXTS.map(str.strip), max_size=3))
@example({"Host": "x/api/layers/cost?limit=1#"})
@example({"Host": "["})
@example({"If-None-Match": 'W/"' * 2_000})
@example({"Accept-Encoding": "gzip;q=1.;q=0.," * 500})
def test_no_header_makes_another_answer_of_a_question(api: TestClient, headers: dict[str, str]):
    """The Host header too: what is kept is not kept under a name that a stranger says."""
    usual = json.loads(api.get("/api/layers/risk?limit=1").content)
    raw = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
    answer = api.request("GET", "/api/layers/risk?limit=1", headers=raw)
    assert answer.status_code in {200, 304}
    if answer.status_code == 200:
        assert answer.json() == usual
    assert json.loads(api.get("/api/layers/risk?limit=1").content) == usual
