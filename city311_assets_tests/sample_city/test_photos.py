"""Drawn photos: what is planted in them is there, and a link answers as its host does."""

import datetime as dt
import io
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from itertools import combinations

import httpx
import imagehash
import polars as pl
import pytest
from PIL import ExifTags, Image

from city311_assets.feeds.registry import FEEDS
from city311_assets.sample_city import photos
from city311_assets.sample_city.kinds import varieties
from city311_assets.sample_city.photos import photo, photo_faults, photo_topics, photo_twins
from city311_assets.sample_city.records import day_outcomes, day_records
from city311_assets.sample_city.scenes import LOOKS
from city311_assets.sample_city.server import SampleCity, serving
from city311_assets.sample_city.truth import (
    NOTHING_PHRASE,
    PHOTO_BIRTHS,
    PHOTO_DEATHS,
    photo_phrases,
    truth,
)
from city311_assets_tests.sample_city.conftest import SEED, days

SF, CHICAGO = FEEDS["sf_311"], FEEDS["chicago_311"]
DAY = dt.date(2026, 3, 3)
SIZE = {"seed": SEED, "records_per_day": 2_000}
NOW = dt.datetime(2026, 3, 20, 18, tzinfo=dt.UTC)
JPEG_HOST = "/photos/spot-sf-res.cloudinary.com/image/upload/v1/photos"
VIEWER = "/photos/sanfrancisco.form.us.empro.verintcloudservices.com/photos"
(BIRTH,), (DEATH,) = PHOTO_BIRTHS, PHOTO_DEATHS


def linked(day: dt.date = DAY) -> list[str]:
    """The cases of a day whose records have a link to a photo."""
    return photo_topics(SF, day, **SIZE).filter("is_linked")["record_id"].to_list()


def jpeg(record_id: str, day: dt.date = DAY, **size: int) -> bytes:
    body = photo(SF, record_id, day, **(SIZE | size))
    assert body
    return body


def opened(body: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(body))
    image.load()
    return image


def told(function, first: dt.date, count: int) -> pl.DataFrame:
    return pl.concat(function(SF, day, **SIZE) for day in days(first, count))


@pytest.fixture(scope="module")
def sound() -> list[str]:
    """The linked cases of a day whose photo has no flaw."""
    flawed = photo_faults(SF, DAY, **SIZE).filter(pl.col("flaw").is_not_null())["record_id"]
    return [case for case in linked() if case not in set(flawed)]


# The bytes


def test_a_photo_is_the_same_bytes_each_time_whatever_was_asked_before(sound):
    first = [jpeg(case) for case in sound[:4]]
    photos._planted.cache_clear()
    photos._cases.cache_clear()
    assert [jpeg(case) for case in reversed(sound[:4])] == first[::-1]
    assert len(set(first)) == 4


def test_another_seed_has_other_photos():
    others = photo_topics(SF, DAY, **SIZE | {"seed": 1})["record_id"]
    both = sorted(set(photo_topics(SF, DAY, **SIZE)["record_id"]) & set(others))[:3]
    assert len(both) == 3
    assert all(jpeg(case) != jpeg(case, seed=1) for case in both)


def test_a_photo_is_a_jpeg_of_640_by_480(sound):
    images = [opened(jpeg(case)) for case in sound[:5]]
    assert {(image.format, image.size) for image in images} == {("JPEG", (640, 480))}


def test_a_record_that_no_case_has_has_no_photo():
    assert photo(SF, "1", DAY, **SIZE) is None


def test_different_photos_differ_and_copies_hardly_do(sound):
    """By 64-bit perceptual hashes; the limits leave room between the two."""
    some = sound[:60]
    hashes = {case: imagehash.phash(opened(jpeg(case))).hash.ravel() for case in some}
    twins = photo_twins(SF, DAY, **SIZE).rows_by_key("record_id", named=True, unique=True)
    alone = [case for case in some if case not in twins]
    apart = [int((hashes[a] != hashes[b]).sum()) for a, b in combinations(alone, 2)]
    assert min(apart) >= 10
    assert set(twins) & set(some)
    for case, twin in twins.items():
        if case not in hashes:
            continue
        distance = int((hashes[case] != hashes[twin["twin_of"]]).sum())
        assert distance <= (0 if twin["likeness"] == "same_bytes" else 8)


# What is planted


def test_every_topic_has_a_look_and_every_look_a_topic():
    assert set(LOOKS) == {None, *photo_phrases("sf_311")}


def test_photos_show_the_topic_of_their_case_until_topics_begin_and_end():
    topics = photo_topics(SF, DAY, **SIZE)
    assert topics["topic"].to_list() == day_outcomes(SF, DAY, **SIZE)["topic"].to_list()
    phrases = {None: NOTHING_PHRASE, **photo_phrases("sf_311")}
    assert all(phrases[topic] == said for topic, said in topics.select("topic", "phrase").rows())


def test_a_case_is_linked_if_its_record_names_the_photo():
    records = day_records(SF, DAY, **SIZE)
    named = records.filter(pl.col("media_url").str.contains("cloudinary"))
    assert set(linked()) == set(named["service_request_id"])
    assert not photo_topics(CHICAGO, DAY, **SIZE)["is_linked"].any()


def test_a_topic_is_born_out_of_others_on_its_day_and_not_before():
    week = dt.timedelta(7)
    before = told(photo_topics, BIRTH.starts - week, 7)["topic"].to_list()
    after = told(photo_topics, BIRTH.starts, 7)
    usual = told(day_outcomes, BIRTH.starts, 7)
    assert before.count(BIRTH.topic) == 0
    assert BIRTH.topic in photo_topics(SF, BIRTH.starts, **SIZE)["topic"].to_list()
    for topic, share in BIRTH.shares.items():
        now = after.filter(usual["topic"] == topic)["topic"].to_list()
        assert now.count(BIRTH.topic) / len(now) == pytest.approx(share, abs=0.12)
        assert now.count(BIRTH.topic) + now.count(topic) == len(now)
    assert BIRTH.topic not in {part.topic for part in varieties("sf_311")}


def test_a_topic_is_photographed_until_its_end():
    before = told(photo_topics, DEATH.ends - dt.timedelta(2), 2)["topic"].to_list()
    after = told(photo_topics, DEATH.ends, 2)["topic"].to_list()
    assert before.count(DEATH.topic) > 20
    assert after.count(DEATH.topic) == 0


def test_births_and_deaths_are_published():
    published = json.loads(json.dumps(truth(SEED)))
    assert published["photo_births"][0]["topic"] == "robot_taxi"
    assert published["photo_births"][0]["starts"] == "2026-11-01"
    assert published["photo_deaths"] == [
        {"feed": "sf_311", "topic": "postings", "ends": "2026-09-01"}
    ]


def test_a_twin_has_the_photo_of_an_earlier_linked_case_of_its_topic():
    for day in days(DAY, 3):
        topics = photo_topics(SF, day, **SIZE)
        cases = {row["record_id"]: (at, row) for at, row in enumerate(topics.iter_rows(named=True))}
        for twin in photo_twins(SF, day, **SIZE).iter_rows(named=True):
            (mine, own), (first, other) = cases[twin["record_id"]], cases[twin["twin_of"]]
            assert first < mine
            assert own["topic"] == other["topic"] == twin["topic"] is not None
            assert own["is_linked"]
            assert other["is_linked"]
            is_same = jpeg(own["record_id"], day) == jpeg(other["record_id"], day)
            assert is_same == (twin["likeness"] == "same_bytes")


def test_twins_are_few_of_both_sorts_and_likelier_close_by():
    twins = told(photo_twins, DAY, 10)
    count = sum(len(linked(day)) for day in days(DAY, 10))
    assert 0.02 < twins.height / count < 0.15
    assert set(twins["likeness"]) == {"same_bytes", "near_copy"}
    flawed = told(photo_faults, DAY, 10).filter(pl.col("flaw").is_not_null())["record_id"]
    assert not {*twins["record_id"], *twins["twin_of"]} & set(flawed)
    assert (twins["distance_m"] <= photos.TWIN_WITHIN_M).sum() >= 5


def test_flawed_photos_are_few_and_are_what_the_truth_says():
    faults = photo_faults(SF, DAY, **SIZE)
    flaws = dict(faults.select("flaw", "record_id").drop_nulls().rows())
    assert 0.005 < faults["flaw"].count() / faults.height < 0.04
    assert opened(jpeg(flaws["tiny"])).size == (1, 1)
    with pytest.raises(OSError, match="truncated"):
        opened(jpeg(flaws["truncated"]))


def test_a_photo_says_where_it_was_taken_where_the_truth_says_so(sound):
    faults = photo_faults(SF, DAY, **SIZE)
    located = dict(faults.select("record_id", "has_gps").rows())
    places = dict(day_records(SF, DAY, **SIZE).select("service_request_id", "lat").rows())
    some = sound[:60]
    bodies = {case: jpeg(case) for case in some}
    held = {
        case: Image.open(io.BytesIO(body)).getexif().get_ifd(ExifTags.IFD.GPSInfo)
        for case, body in bodies.items()
    }
    assert {case for case, gps in held.items() if gps} == {c for c in some if located[c]}
    assert 0.03 < sum(map(bool, held.values())) / len(held) < 0.25
    twins = set(photo_twins(SF, DAY, **SIZE)["record_id"])
    own = [case for case in some if located[case] and case not in twins]
    for case in own:
        degrees, minutes, seconds = map(float, held[case][ExifTags.GPS.GPSLatitude])
        if float(places[case]):
            angle = degrees + minutes / 60 + seconds / 3600
            assert angle == pytest.approx(float(places[case]), abs=1e-4)


# The host


@pytest.fixture(scope="module")
def host() -> Iterator[httpx.Client]:
    sample = SampleCity(SEED, SIZE["records_per_day"], NOW, dt.date(2026, 3, 1))
    with serving(sample) as served, httpx.Client(base_url=served.url, timeout=20) as client:
        yield client
        client.put("/faults", json=[]).raise_for_status()


def put(host: httpx.Client, *faults: dict[str, object]) -> None:
    host.put("/faults", json=faults).raise_for_status()


def test_each_host_answers_as_the_audit_found_it(host, sound):
    put(host)
    case = sound[0]
    answers = [
        host.get(path)
        for path in (
            f"/photos/mobile311.sfgov.org/reports/{case}/photos",
            f"{JPEG_HOST}/{case}.jpg",
            f"{VIEWER}/{case}.html",
            f"/photos/twitter.com/sf311/status/{case}/photo/1",
        )
    ]
    assert [answer.status_code for answer in answers] == [404, 200, 200, 404]
    types = [answer.headers["Content-Type"].partition(";")[0] for answer in answers]
    assert types == ["text/html", "image/jpeg", "text/html", "text/html"]
    assert answers[1].content == jpeg(case)


@pytest.mark.parametrize("what", ["1", "x", "9" * 40, "423565472.png", "", "../health"])
def test_an_address_without_a_photo_is_not_found(host, what):
    put(host)
    assert host.get(f"{JPEG_HOST}/{what}.jpg").status_code == 404


def test_a_photo_is_at_its_own_host_only(host, sound):
    put(host)
    path = f"{JPEG_HOST}/{sound[0]}.jpg"
    assert host.get(path).status_code == 200
    assert host.get(path.replace("spot-sf-res", "elsewhere")).status_code == 404


def test_a_case_of_another_time_has_no_photo_yet_or_any_more(host):
    put(host)
    for day in (dt.date(2026, 3, 21), dt.date(2026, 2, 28)):
        assert host.get(f"{JPEG_HOST}/{linked(day)[0]}.jpg").status_code == 404


def test_a_page_may_claim_to_be_a_photo(host, sound):
    put(host, {"kind": "web_page", "content_type": "image/jpeg", "service": "photos"})
    answer = host.get(f"{JPEG_HOST}/{sound[0]}.jpg")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert answer.content.startswith(b"<!DOCTYPE html>")


def test_a_link_leads_where_it_was_told_at_one_host_only(host, sound):
    to = "http://169.254.169.254/latest/meta-data/"
    put(host, {"kind": "redirect", "location": to, "portal": "spot-sf-res.cloudinary.com"})
    answer = host.get(f"{JPEG_HOST}/{sound[0]}.jpg", follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, to)
    assert host.get(f"{VIEWER}/1.html").status_code == 200


def test_a_photo_is_cut_and_another_drips(host, sound):
    put(host, {"kind": "cut_body", "service": "photos"})
    with pytest.raises(httpx.RemoteProtocolError):
        host.get(f"{JPEG_HOST}/{sound[0]}.jpg")
    put(host, {"kind": "drip", "pause_seconds": 0.001, "query": "photo"})
    with host.stream("GET", f"{JPEG_HOST}/{sound[0]}.jpg") as answer:
        came = b"".join(byte for byte, _ in zip(answer.iter_raw(), range(20), strict=False))
    assert came == jpeg(sound[0])[:20]


def test_a_huge_photo_is_as_long_as_it_says(host, sound):
    put(host, {"kind": "huge_photo"})
    answer = host.get(f"{JPEG_HOST}/{sound[0]}.jpg")
    assert (len(answer.content), answer.content[:3]) == (30_000_000, b"\xff\xd8\xff")


def test_a_bomb_is_small_and_says_it_is_huge(host, sound):
    put(host, {"kind": "pixel_bomb"})
    body = host.get(f"{JPEG_HOST}/{sound[0]}.jpg").content
    assert len(body) < 100
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(body))
    put(host, {"kind": "pixel_bomb", "width": 12_000, "height": 9_000})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        body = host.get(f"{JPEG_HOST}/{sound[0]}.jpg").content
        assert Image.open(io.BytesIO(body)).size == (12_000, 9_000)


def test_a_fault_of_photos_happens_to_nothing_else(host):
    put(host, {"kind": "huge_photo"}, {"kind": "status", "status": 503, "service": "photos"})
    assert host.get("/models/v1/models").status_code == 200
    refused = host.put("/faults", json=[{"kind": "pixel_bomb", "service": "weather"}])
    assert "only to photos" in refused.json()["message"]


def test_a_city_is_made_without_drawing():
    script = (
        "import sys\n"
        "from city311_assets.sample_city.server import SampleCity\n"
        "SampleCity().app\n"
        "print([name for name in ('PIL', 'numpy', 'polars') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
