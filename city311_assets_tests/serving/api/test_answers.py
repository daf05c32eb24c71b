"""Between a request and a body: tags, 304, compression, bodies kept, data that changes."""

import gzip
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.serving.api import answers
from city311_assets.serving.api.answers import Bodies, accepted_encoding
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.snapshot import publish
from city311_assets_tests.serving.api.places import FEED

RISK = "/api/layers/risk"


def tag_of(client, address=RISK, **headers):
    return client.get(address, headers=headers).headers["etag"]


@pytest.mark.parametrize("known", ["{}", "W/{}", '"a", {} , W/"b"', "*", '"a",W/{}'])
def test_what_the_client_has_is_not_sent_again(api, known):
    tag = tag_of(api)
    answer = api.get(RISK, headers={"If-None-Match": known.format(tag)})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == tag
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("known", ['"other"', 'W/"other"', "nonsense", "", '"', "W/"])
def test_another_tag_gets_the_whole_answer(api, known):
    assert api.get(RISK, headers={"If-None-Match": known}).status_code == 200


def test_a_star_does_not_make_data_of_a_day_that_has_none(api):
    answer = api.get(f"{RISK}?date=2020-01-01", headers={"If-None-Match": "*"})
    assert answer.status_code == 404


def test_each_question_has_a_tag_of_its_own(api):
    addresses = [RISK, f"{RISK}?limit=1", f"{RISK}?limit=2", "/api/layers/cost"]
    addresses += [f"/api/geo/{FEED}/{resolution}.json" for resolution in (8, 9)]
    assert len({tag_of(api, address) for address in addresses}) == len(addresses)


def test_the_same_question_asked_otherwise_has_the_same_tag(api):
    assert tag_of(api, f"{RISK}?limit=5&target=leaks") == tag_of(
        api, f"{RISK}?target=leaks&limit=05"
    )


def test_a_304_runs_no_query(own_place, monkeypatch):
    tag = tag_of(own_place.client)

    def refuse(*_, **__):
        raise AssertionError("a query ran")

    monkeypatch.setattr(Snapshot, "frame", refuse)
    answer = own_place.client.get(RISK, headers={"If-None-Match": tag})
    assert answer.status_code == 304


def test_after_a_publication_the_old_tag_gets_the_new_data(own_place):
    client = own_place.client
    tag = tag_of(client)
    own_place.change()
    answer = client.get(RISK, headers={"If-None-Match": tag})
    assert answer.status_code == 200
    assert answer.headers["etag"] != tag
    labels = {one["properties"]["label"] for one in answer.json()["features"][:-1]}
    assert "changed" in labels


def test_publishing_the_same_again_keeps_the_tags(place, api):
    tag = tag_of(api)
    publish(place.warehouse, place.settings.snapshot_path)
    assert tag_of(api) == tag


def test_an_answer_is_compressed_for_who_accepts_it_and_has_another_tag(api):
    plain = api.get(RISK, headers={"Accept-Encoding": "identity"})
    packed = api.get(RISK, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.json() == packed.json()
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert plain.headers["etag"] != packed.headers["etag"]


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", "identity"),
        ("gzip", "gzip"),
        ("deflate, GZIP;q=0.5", "gzip"),
        ("gzip;q=0", "identity"),
        ("gzip; q=0.000, *", "identity"),
        ("*", "gzip"),
        ("*;q=0", "identity"),
        ("identity", "identity"),
        ("gzip;q=nonsense", "identity"),
    ],
)
def test_the_encoding_is_one_that_the_client_accepts(header, encoding, monkeypatch):
    monkeypatch.setattr(answers, "encodings", lambda: ("gzip",))
    assert accepted_encoding(header) == encoding


def test_brotli_is_used_where_it_is_installed_and_liked_as_much(monkeypatch):
    monkeypatch.setattr(answers, "encodings", lambda: ("br", "gzip"))
    assert accepted_encoding("gzip, deflate, br") == "br"
    assert accepted_encoding("gzip;q=1.0, br;q=0.5") == "gzip"


@given(st.text())
def test_any_accept_encoding_is_answered(header):
    assert accepted_encoding(header) in {"identity", *answers.encodings()}


def test_compressing_the_same_gives_the_same_bytes():
    body = b"cells " * 1_000
    assert answers.compressed(body, "gzip") == answers.compressed(body, "gzip")
    assert gzip.decompress(answers.compressed(body, "gzip")) == body


def test_head_says_what_get_would(api):
    got, head = api.get(RISK), api.head(RISK)
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-length", "content-type", "etag"):
        assert head.headers[name] == got.headers[name]


def test_a_download_is_a_file_with_a_name(api):
    answer = api.get(f"{RISK}?download=true")
    assert answer.headers["content-disposition"] == 'attachment; filename="risk.geojson"'
    assert "content-disposition" not in api.get(f"{RISK}?download=false").headers


def test_a_body_is_made_once_for_all_who_ask_at_the_same_time():
    bodies, made, start = Bodies(), [], threading.Barrier(8)
    release = threading.Event()

    def make() -> bytes:
        made.append(1)
        release.wait(10)
        return b"body"

    found: list[bytes] = []

    def ask() -> None:
        start.wait(10)
        found.append(bodies.get("v1", "a", make))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    release.set()
    for one in threads:
        one.join(10)
    assert (found, len(made)) == ([b"body"] * 8, 1)


def test_what_failed_is_made_again_for_who_asks_next():
    bodies = Bodies()

    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        bodies.get("v1", "a", fail)
    assert bodies.get("v1", "a", lambda: b"now") == b"now"


def test_bodies_are_kept_up_to_a_size_the_longest_unasked_go_first():
    bodies = Bodies(most_bytes=25)
    for name in "abc":
        bodies.get("v1", name, lambda: b"0123456789")
        bodies.get("v1", "a", lambda: b"0123456789")
    assert bodies.kept_bytes == 20
    assert bodies.get("v1", "a", lambda: b"made again") == b"0123456789"
    assert bodies.get("v1", "b", lambda: b"made again") == b"made again"


def test_bodies_of_older_data_are_let_go():
    bodies = Bodies()
    bodies.get("v1", "a", lambda: b"0123456789")
    bodies.get("v2", "a", lambda: b"new")
    assert bodies.kept_bytes == 3


def test_a_file_replaced_while_it_is_read_answers_from_one_or_the_other(own_place):
    client, problems, versions = own_place.client, [], set()
    done = threading.Event()

    def ask() -> None:
        number = 0
        while not done.is_set():
            number += 1
            answer = client.get(f"{RISK}?limit={1 + number % 60}")
            if answer.status_code != 200:
                problems.append(answer.text)
                return
            said = answer.json()
            labels = {one["properties"]["label"] for one in said["features"]} - {None}
            versions.add((said["data_version"], *{label == "changed" for label in labels}))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for one in threads:
        one.start()
    own_place.change()
    own_place.change()
    done.set()
    for one in threads:
        one.join(30)
    assert problems == []
    assert {len(one) for one in versions} == {2}
    assert len({version for version, _ in versions}) == len(versions)
