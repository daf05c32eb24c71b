"""Cities side by side: what goes into which lane."""

import dagster as dg

from city311_assets.cli.lanes import lanes
from city311_assets.definitions import defs
from city311_assets.feeds.registry import CITIES, FEEDS

KEYS = [*defs.resolve_asset_graph().get_all_asset_keys()]


def city_of(key: dg.AssetKey) -> str:
    feed = FEEDS.get(key.path[-1])
    return feed.city.name if feed else key.path[-1]


def test_every_asset_is_in_one_lane_and_all_of_a_city_in_the_same():
    for most in (1, 2, 3, 9):
        parts = lanes(KEYS, most)
        assert len(parts) == min(most, len(CITIES))
        assert sorted(key for held in parts.values() for key in held) == sorted(KEYS)
        cities = [{city_of(key) for key in held} for held in parts.values()]
        assert sum(map(len, cities)) == len(set.union(*cities)) == len(CITIES)
        assert [name.split(", ") for name in parts] == [sorted(held) for held in cities]


def test_lanes_are_about_as_long():
    lengths = sorted(len(held) for held in lanes(KEYS, 2).values())
    assert lengths[0] > 0.6 * lengths[1]


def test_what_is_of_no_city_has_a_place():
    strange = dg.AssetKey(["meta", "strange"])
    assert strange in next(iter(lanes([*KEYS, strange], 2).values()))
    assert lanes([strange], 2) == {"": [strange]}


def test_the_order_of_keys_does_not_matter():
    assert {name: set(held) for name, held in lanes(KEYS, 2).items()} == {
        name: set(held) for name, held in lanes(KEYS[::-1], 2).items()
    }
