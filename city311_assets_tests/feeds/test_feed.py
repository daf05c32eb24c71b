"""Feeds: what every declaration must be, and what it may not say."""

import dataclasses
import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from city311_assets.clients.portal_export import comparable
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import CITIES, FEEDS, feed_named
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.feeds.taxonomy import UNMAPPED, taxonomy
from city311_assets.warehouse.tables.bronze import FETCHED_AT, OBSERVED_UNTIL
from city311_assets.warehouse.tables.bronze import RECORDS as BRONZE
from city311_assets.warehouse.tables.silver import RECORDS as SILVER

every_feed = pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)


@every_feed
def test_a_feed_maps_columns_it_declares(feed: Feed):
    mapped = {*feed.fields.values(), *feed.required, feed.record_id, feed.opened}
    assert mapped <= set(feed.column_names)
    assert {feed.closed, feed.changed} - {None} <= set(feed.column_names)


@pytest.mark.parametrize(
    "wrong",
    [
        {"record_id": "nope"},
        {"opened": "nope"},
        {"closed": "nope"},
        {"changed": "nope"},
        {"required": ("nope",)},
        {"fields": {"kind": "nope"}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_feed_that_maps_an_undeclared_column_is_refused_by_name(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=r"sf_311 maps columns it does not declare: \['nope'\]"):
        dataclasses.replace(SF_311, **wrong)


@every_feed
def test_a_feed_fills_columns_its_silver_table_has(feed: Feed):
    columns = set(SILVER[feed.table].names)
    assert set(feed.fields) <= columns
    assert set(feed.missing) - {"*"} <= columns
    assert "kind" in feed.fields


@every_feed
def test_a_feed_requires_what_places_a_record_in_time_and_types_it(feed: Feed):
    needed = {feed.record_id, feed.opened, feed.fields["kind"]}
    assert needed | ({feed.closed} - {None}) <= set(feed.required)


@every_feed
def test_texts_that_mean_missing_are_written_as_they_are_compared(feed: Feed):
    texts = {text for some in feed.missing.values() for text in some}
    assert texts == {text.strip().lower() for text in texts}
    assert feed.duplicate_statuses == {text.strip().lower() for text in feed.duplicate_statuses}
    assert "" in feed.means_missing("anything")


def test_a_missing_text_of_one_column_holds_in_that_column_only():
    assert "-1" in SF_311.means_missing("district")
    assert "-1" not in SF_311.means_missing("kind")
    assert "null" in SF_311.means_missing("district")


@every_feed
def test_the_columns_of_a_feed_have_names_and_spellings_of_their_own(feed: Feed):
    assert len(set(feed.column_names)) == len(feed.column_names)
    spellings = [
        spelling
        for column in feed.columns
        for spelling in {comparable(name) for name in (column.name, *column.aliases)}
    ]
    assert sorted(spellings) == sorted(set(spellings))


@every_feed
def test_no_source_column_bears_the_name_of_a_column_of_ours(feed: Feed):
    names = BRONZE[feed.name].names
    assert len(set(names)) == len(names)
    ours = {FETCHED_AT.name, OBSERVED_UNTIL.name, "feed", "day", "row_id", "extra", "reason", "row"}
    assert not ours & set(feed.column_names)
    assert not [name for name in feed.column_names if name.startswith(("_", ":"))]


@every_feed
def test_every_source_column_says_what_it_is(feed: Feed):
    assert not [column.name for column in feed.columns if not column.doc.endswith(".")]


@every_feed
def test_a_record_has_an_address_at_its_portal_with_its_number(feed: Feed):
    place = f"https://{feed.city.portal}/resource/{feed.dataset}.json"
    assert feed.record_url.format(record_id="17") == f"{place}?{feed.record_id}=17"
    assert feed.record_url.count("{record_id}") == 1


@every_feed
def test_the_taxonomies_of_a_feed_exist_and_carry_a_version(feed: Feed):
    for name in filter(None, (feed.taxonomy, feed.code_taxonomy)):
        assert re.fullmatch(r"[a-z0-9_]+_v\d+", name)
        assert taxonomy(name).exact


@every_feed
def test_administrative_kinds_are_kinds_the_taxonomy_knows(feed: Feed):
    known = taxonomy(feed.taxonomy)
    assert UNMAPPED not in {known.category(kind) for kind in feed.administrative_kinds}


def test_feeds_have_names_that_can_be_tables_and_are_found_by_them():
    for name, feed in FEEDS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert feed_named(name) is feed
        assert feed.name == name
    assert len({(feed.city.portal, feed.dataset) for feed in FEEDS.values()}) == len(FEEDS)


def test_an_unknown_feed_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="'ny'; there are chicago_311, chicago_crimes, nyc_311, "):
        feed_named("ny")


@pytest.mark.parametrize("city", CITIES.values(), ids=CITIES)
def test_a_citys_box_holds_its_weather_point_and_not_the_origin(city):
    box = city.box
    assert box.south < city.latitude < box.north
    assert box.west < city.longitude < box.east
    assert not (box.south <= 0 <= box.north)
    assert ZoneInfo(city.timezone)
    assert len({one.areas for one in city.boundaries}) == len(city.boundaries) > 0


def test_feeds_of_one_city_share_its_one_declaration():
    for feed in FEEDS.values():
        assert CITIES[feed.city.name] is feed.city
