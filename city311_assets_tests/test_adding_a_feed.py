"""Adding a feed is adding one module and its name: nothing else of the product names a city."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from city311_assets.automation.jobs import JOBS
from city311_assets.definitions import defs
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets_tests.commands import Installation

ROOT = Path(__file__).parents[1]
PRODUCT = ROOT / "city311_assets"
# Where a city may be named: where it is declared, and where it is simulated.
ROOMS_OF_CITIES = {"feeds", "sample_city", "risk/targets"}
MODEL, CITY_MODEL = FEEDS["sf_311"], CITIES["san_francisco"]
OTHERS = [feed for feed in FEEDS.values() if feed.kind == "request" and feed is not MODEL]


def names_of(city: str) -> re.Pattern[str]:
    """Matches every name of a city and of its feeds."""
    of_city = CITIES[city]
    names = {of_city.name, of_city.title, of_city.portal}
    for feed in (feed for feed in FEEDS.values() if feed.city is of_city):
        names |= {feed.name, feed.dataset}
    return re.compile("|".join(map(re.escape, sorted(names))), re.IGNORECASE)


def test_nothing_of_the_product_but_its_declaration_names_a_city():
    named: dict[str, set[str]] = {}
    for path in sorted(PRODUCT.rglob("*")):
        place = path.relative_to(PRODUCT)
        is_free = ROOMS_OF_CITIES & {place.parts[0], "/".join(place.parts[:2])}
        if path.suffix in {".py", ".sql", ".yaml"} and not is_free:
            text = path.read_text("utf-8")
            if found := {city for city in CITIES if names_of(city).search(text)}:
                named[place.as_posix()] = found
    assert named == {}


def declared(names: list[str], feed: Feed) -> set[str]:
    """Names of what exists for one feed and its city, with the model's in their place."""
    others = [other.name for other in FEEDS.values() if other is not feed]
    return {
        name.replace(feed.name, MODEL.name).replace(feed.city.name, CITY_MODEL.name)
        for name in names
        if (feed.name in name or feed.city.name in name)
        and not any(other in name for other in others)
    }


GRAPH = defs.resolve_asset_graph()
REPOSITORY = defs.get_repository_def()
PARTS = {
    "assets": [key.to_user_string() for key in GRAPH.get_all_asset_keys()],
    "checks": [f"{c.asset_key.to_user_string()} {c.name}" for c in GRAPH.asset_check_keys],
    "jobs": [job.name for job in JOBS],
    "schedules": [one.name for one in REPOSITORY.schedule_defs],
    "sensors": [one.name for one in REPOSITORY.sensor_defs],
    "tables": [str(table) for table in TABLES],
    "data dictionary": re.findall(
        "^## (.*)$", (ROOT / "docs" / "data_dictionary.md").read_text(), re.MULTILINE
    ),
}


@pytest.mark.parametrize("feed", OTHERS, ids=lambda feed: feed.name)
@pytest.mark.parametrize("part", PARTS)
def test_every_request_feed_has_what_the_first_one_has(feed: Feed, part: str):
    have = declared(PARTS[part], MODEL)
    assert have
    assert declared(PARTS[part], feed) == have


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process tells whose list has a feed that nobody has written anything else for."""
    folder = tmp_path_factory.mktemp("atlantis")
    done = subprocess.run(
        [sys.executable, "-m", "city311_assets_tests.atlantis", str(folder)],
        cwd=ROOT,
        env=Installation.small(folder).environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_feed_that_is_only_declared_has_its_tables_assets_and_schedules(told):
    assert "bronze.atlantis_311" in told["tables"]
    assert {
        "bronze/atlantis_311",
        "bronze/withdrawn_records/atlantis_311",
        "silver/requests/atlantis_311",
        "silver/rejected_records/atlantis_311",
        "bronze/boundaries/atlantis",
        "silver/weather_days/atlantis",
    } <= set(told["keys"])
    assert "records_atlantis_311_nightly" in told["schedules"]


def test_a_feed_that_is_only_declared_goes_from_its_portal_to_silver(told):
    assert told["rows"] == [
        ["2", "2026-03-29 01:30:00", 2.0, None, "water_and_sewer", None],
        ["3", "2026-03-29 09:00:00", None, "open", "unmapped", "zero"],
    ]
    assert told["set_aside"] == [["4", "no_kind"]]
    assert [name for name, passed in told["checks"].items() if not passed] == [
        "every_category_mapped"
    ]
    assert len(told["checks"]) >= 8


def test_the_sample_city_says_what_it_lacks_of_that_feed_and_serves_the_others(told):
    is_good, seen = told["doctor"]["atlantis_311"]
    assert not is_good
    assert "it lacks cities/atlantis.py" in seen
    assert "kinds/atlantis_311.csv" in seen
    assert told["doctor"]["weather of Atlantis"][0] is False
    assert all(told["doctor"][name][0] for name in FEEDS)
