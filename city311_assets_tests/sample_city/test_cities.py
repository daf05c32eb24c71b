"""Cities: what is declared of one stands in one place, and what is lacking is named there."""

import dataclasses
import datetime as dt

import httpx
import pytest
import shapely

from city311_assets.feeds import registry as feeds
from city311_assets.feeds.feed import BoundarySet, Feed
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.feeds.sf_311 import SAN_FRANCISCO, SF_311
from city311_assets.sample_city.cities.registry import (
    SIMULATED,
    lacking,
    simulated_city,
    simulated_feed,
)
from city311_assets.sample_city.datasets import column_types
from city311_assets.sample_city.geography import outline, tiling
from city311_assets.sample_city.kinds import varieties
from city311_assets.sample_city.records import day_records
from city311_assets.sample_city.server import SampleCity, serving
from city311_assets.sample_city.soql_clauses import SYSTEM_TYPES
from city311_assets.sample_city.tables import NotSimulatedError
from city311_assets.sample_city.weather import observed

ALL = pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
PARIS = dataclasses.replace(
    SAN_FRANCISCO,
    name="paris",
    title="Paris",
    portal="data.example.org",
    timezone="Europe/Paris",
    latitude=48.86,
    longitude=2.35,
    boundaries=(BoundarySet("neighborhood", "quar-tier", name_property="name"),),
)
PARIS_311 = dataclasses.replace(SF_311, name="paris_311", title="Paris 311", city=PARIS)
KNOWN_TYPES = {"text", "number", "calendar_date", "checkbox", "location", "point", "url"}


@ALL
def test_every_feed_of_the_product_is_simulated(feed: Feed):
    assert lacking(feed) == ()
    assert simulated_feed(feed) is SIMULATED[feed.city.name].feeds[feed.name]


@ALL
def test_what_is_declared_of_a_feed_is_of_that_feed(feed: Feed):
    declared, kinds = simulated_feed(feed), {part.kind for part in varieties(feed.name)}
    assert (len(declared.weekdays), len(declared.hours)) == (7, 24)
    assert set(declared.types) <= set(feed.column_names)
    assert {*declared.touched} <= set(feed.column_names)
    assert declared.unknown_kind in kinds
    assert {kind for spot in declared.hot_spots for kind in spot.kinds} <= kinds
    for spot in declared.hot_spots:
        assert outline(feed.city.name).contains(shapely.Point(spot.longitude, spot.latitude))
    assert set(column_types(feed).values()) <= KNOWN_TYPES | set(SYSTEM_TYPES.values())


@pytest.mark.parametrize("name", SIMULATED)
def test_what_is_declared_of_a_city_is_of_that_city(name: str):
    city = simulated_city(name)
    assert set(city.feeds) == {feed.name for feed in FEEDS.values() if feed.city.name == name}
    assert set(city.extra_hours) < set(tiling(name, "neighborhood").names)
    assert name in CITIES


def test_a_feed_of_an_undeclared_city_is_told_all_that_it_lacks():
    with pytest.raises(NotSimulatedError) as error:
        simulated_feed(PARIS_311)
    assert str(error.value) == (
        "the sample city cannot serve paris_311: it lacks cities/paris.py, listed in "
        "cities/registry.py; kinds/paris_311.csv; places/paris_outline.csv; "
        "places/paris_streets.txt; places/paris_areas.csv. See docs/adding_a_city.md; "
        "CITY311_SOURCE=live needs none of it"
    )
    # A client shows no more of what a server says.
    assert len(str(error.value)) < 300


def test_a_second_feed_of_a_simulated_city_lacks_only_its_own():
    second = dataclasses.replace(SF_311, name="sf_fire")
    assert lacking(second) == ("sf_fire in cities/san_francisco.py", "kinds/sf_fire.csv")


def test_boundaries_without_centres_are_lacking_by_name():
    wards = BoundarySet("ward", "ward-ward", name_property="ward")
    city = dataclasses.replace(SAN_FRANCISCO, boundaries=(*SAN_FRANCISCO.boundaries, wards))
    feed = dataclasses.replace(SF_311, city=city)
    assert lacking(feed) == ("ward rows in places/san_francisco_areas.csv",)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: observed(1, "paris", dt.date(2026, 1, 1)),
        lambda: day_records(PARIS_311, dt.date(2026, 1, 1), seed=1, records_per_day=10),
        lambda: tiling("paris", "neighborhood"),
        lambda: varieties("paris_311"),
    ],
    ids=["weather", "records", "areas", "kinds"],
)
def test_whatever_is_asked_of_an_undeclared_city_names_what_it_lacks(ask):
    with pytest.raises(NotSimulatedError, match=r"(lacks|has no) \w+/paris"):
        ask()


def test_an_undeclared_feed_fails_alone_and_in_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(feeds.FEEDS, PARIS_311.name, PARIS_311)
    monkeypatch.setitem(feeds.CITIES, PARIS.name, PARIS)
    weather = {"daily": "snowfall_sum", "start_date": "2026-01-01", "end_date": "2026-01-02"}
    asked = {
        f"/portals/{PARIS.portal}/resource/{PARIS_311.dataset}.json": {"$limit": "1"},
        f"/portals/{PARIS.portal}/api/views/{PARIS_311.dataset}.json": {},
        f"/portals/{PARIS.portal}/resource/quar-tier.geojson": {},
        "/weather/v1/archive": {"latitude": "48.86", "longitude": "2.35", **weather},
    }
    now = dt.datetime(2026, 1, 20, tzinfo=dt.UTC)
    with (
        serving(SampleCity(records_per_day=20, now=now, start=dt.date(2026, 1, 1))) as served,
        httpx.Client(base_url=served.url, timeout=60) as client,
    ):
        for path, params in asked.items():
            answer = client.get(path, params=params)
            assert answer.status_code == 404, path
            assert "paris" in answer.json()["message"]
            assert answer.json()["message"] == answer.json()["reason"]
        assert client.get("/truth.json").status_code == 200
        for feed in (feed for name, feed in FEEDS.items() if name != PARIS_311.name):
            path = f"/portals/{feed.city.portal}/resource/{feed.dataset}.json"
            assert len(client.get(path, params={"$limit": "1"}).json()) == 1


def test_types_of_columns_come_from_the_feed_where_nobody_simulates_it():
    types = column_types(PARIS_311)
    assert types["requested_datetime"] == types["closed_date"] == "calendar_date"
    assert types["lat"] == "number"
    assert types["media_url"] == "url"
    assert types["supervisor_district"] == "text"
