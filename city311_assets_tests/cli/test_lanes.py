"""Cities side by side: what goes into which lane."""

import dagster as dg

from city311_assets.cli.lanes import lanes
from city311_assets.definitions import defs
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.risk.targets.registry import TARGETS

KEYS = [*defs.resolve_asset_graph().get_all_asset_keys()]


def city_of(key: dg.AssetKey) -> str:
    name = key.path[-1]
    feed = TARGETS[name].feed if name in TARGETS else FEEDS.get(name)
    return feed.city.name if feed else name


def test_every_asset_is_in_the_lane_of_its_city():
    parts = lanes(KEYS)
    assert set(parts) == set(CITIES)
    assert sorted(key for held in parts.values() for key in held) == sorted(KEYS)
    for city, held in parts.items():
        assert {city_of(key) for key in held} == {city}


def test_what_takes_longest_begins_first():
    first, second, third = lanes(KEYS)
    assert first == "san_francisco"
    assert len(lanes(KEYS)[second]) > len(lanes(KEYS)[third])


def test_what_is_of_no_city_has_a_place():
    strange = dg.AssetKey(["meta", "strange"])
    assert strange in next(iter(lanes([*KEYS, strange]).values()))
    assert lanes([strange]) == {"": [strange]}


def test_the_order_of_keys_does_not_matter():
    assert {name: set(held) for name, held in lanes(KEYS).items()} == {
        name: set(held) for name, held in lanes(KEYS[::-1]).items()
    }
