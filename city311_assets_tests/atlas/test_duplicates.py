"""The table of duplicates, in a real DuckDB file: what it reads, twice is once, checks that see."""

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from city311_assets.atlas.duplicates import (
    LIMITS,
    NOT_THE_LATER,
    OUT_OF_REACH,
    duplicates,
)
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.warehouse.errors import SliceRefusedError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import DUPLICATES, PHOTOS
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.portals import failure, materialize, verdicts
from city311_assets_tests.silver.raw import filled

DAY = dt.date(2026, 3, 10)
NOON = dt.datetime(2026, 3, 10, 19)
FIRST, LAST = dt.date(2025, 12, 1), dt.date(2026, 3, 14)
HELD = Slice("sf_311", FIRST, LAST + dt.timedelta(days=1))
TEXT = "large green sofa with torn cushions blocks the ramp beside the bakery door"
CHECKS = {"within_reach", "later_case_of_the_day"}


def case(record: str, hours: float = 0.0, **given: Any) -> dict[str, Any]:
    """A request so many hours before noon of the day."""
    opened = NOON - dt.timedelta(hours=hours)
    return {
        "feed": "sf_311",
        "day": (opened - dt.timedelta(hours=7)).date(),
        "record_id": record,
        "opened_at": opened - dt.timedelta(hours=7),
        "opened_at_utc": opened,
        "category": "cleaning",
        "latitude": 37.76,
        "longitude": -122.43,
    } | given


def photo(record: str, day: dt.date, photo_id: str | None, **given: Any) -> dict[str, Any]:
    own = {"feed": "sf_311", "day": day, "record_id": record, "photo_id": photo_id}
    status = "ok" if photo_id else "not_found"
    return own | {"url": f"https://photos.example/{record}", "status": status} | given


def store(warehouse: Warehouse, cases: list[dict[str, Any]], *photos: dict[str, Any]) -> None:
    strict = {"taxonomy": "t", "has_point": True, "hour": 1, "weekday": 1, "is_time_certain": True}
    rest = {"record_url": "u", "origin": "portal", "observed_until": NOON}
    rows = [strict | rest | {"is_administrative": False} | row for row in cases]
    warehouse.replace(REQUESTS, filled(REQUESTS, *rows), HELD)
    warehouse.replace(PHOTOS, filled(PHOTOS, *photos), HELD)


def make(
    warehouse: Warehouse, first: dt.date = DAY, last: dt.date | None = None
) -> dg.ExecuteInProcessResult:
    return materialize(duplicates(SF_311), warehouse, None, first, last)


def stored(warehouse: Warehouse) -> list[tuple]:
    columns = "record_id, other_id, reasons"
    query = f"select {columns} from {DUPLICATES} where {DUPLICATES.where} order by all"
    return warehouse.read(query, HELD, [DUPLICATES]).rows()


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Five pairs, each by another reason or edge of what is read, and the day made."""
    warehouse = Warehouse(database=str(tmp_path_factory.mktemp("city") / "warehouse.duckdb"))
    cases = [
        case("text-late", description=TEXT),
        case("text-early", 168, description=TEXT),
        case("photo-late", 1, latitude=37.70),
        case("photo-early", 90, latitude=37.70),
        case("near-late", 1, latitude=37.65),
        case("near-early", 2, latitude=37.65),
        case("child", 3, latitude=37.80, parent_record_id="parent"),
        case("parent", 60 * 24, latitude=37.81),
        case("old-child", 59 * 24, latitude=37.82, parent_record_id="new-parent"),
        case("new-parent", 2, latitude=37.83),
        case("orphan", 4, latitude=37.84, parent_record_id="never held"),
    ]
    days = {row["record_id"]: row["day"] for row in cases}
    photos = [
        photo("photo-late", days["photo-late"], "p1", phash="00ff00ff00ff00ff"),
        photo("photo-early", days["photo-early"], "p1", phash="00ff00ff00ff00ff"),
        photo("near-late", DAY, "p2", phash="ff00ff00ff00ff00"),
        photo("near-early", DAY, "p3", phash="ff00ff00ff00ff07"),
        photo("near-early", DAY, None, url="https://photos.example/second"),
        photo("text-late", DAY, None),
    ]
    store(warehouse, cases, *photos)
    result = make(warehouse)
    assert result.success, failure(result)
    assert verdicts(result) == dict.fromkeys(CHECKS, True)
    return warehouse


@pytest.fixture
def city(made_once: Warehouse, tmp_path: Path) -> Warehouse:
    """A copy that the test may change."""
    path = tmp_path / "copy.duckdb"
    path.write_bytes(made_once.path.read_bytes())
    return Warehouse(database=str(path))


PAIRS = [
    ("child", "parent", ["parent"]),
    ("near-late", "near-early", ["near_photo"]),
    ("new-parent", "old-child", ["parent"]),
    ("photo-late", "photo-early", ["same_photo"]),
    ("text-late", "text-early", ["near_text"]),
]


def test_a_day_reads_back_as_far_as_its_pairs_reach(made_once: Warehouse):
    assert stored(made_once) == PAIRS


def test_a_day_by_itself_is_what_it_is_in_a_range(city: Warehouse):
    before = city.content_hash(DUPLICATES, HELD)
    assert make(city, DAY - dt.timedelta(days=2), DAY + dt.timedelta(days=3)).success
    assert city.content_hash(DUPLICATES, HELD) == before
    assert before[0] == len(PAIRS)


def test_twice_is_once(city: Warehouse):
    before = city.content_hash(DUPLICATES, HELD)
    assert make(city).success
    assert city.content_hash(DUPLICATES, HELD) == before


def test_a_day_that_became_empty_is_emptied(city: Warehouse):
    store(city, [])
    assert make(city).success
    assert stored(city) == []


def test_what_was_found_and_what_was_not_held_is_told(city: Warehouse):
    (event,) = make(city).get_asset_materialization_events()
    told = {name: value.value for name, value in event.materialization.metadata.items()}
    assert told["dagster/partition_row_count"] == told["range_pairs"] == len(PAIRS)
    assert told["range_parents_not_held"] == 1
    by_reason = {"parent": 2, "same_photo": 1, "near_photo": 1, "near_text": 1}
    assert {reason: told[reason] for reason in by_reason} == by_reason


def test_what_an_agency_writes_at_closing_makes_no_pair(city: Warehouse):
    alike = {"status_notes": TEXT, "latitude": 37.9, "description": None}
    store(city, [case("a", **alike), case("b", 1, **alike)])
    assert make(city).success
    assert stored(city) == []


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ("distance_m = 150.5 where record_id = 'photo-late'", {"within_reach"}),
        ("hours_apart = 168.5 where record_id = 'text-late'", {"within_reach"}),
        ("hours_apart = 1440.5 where record_id = 'child'", {"within_reach"}),
        ("distance_m = null where record_id = 'text-late'", {"within_reach"}),
        ("record_id = 'text-early' where record_id = 'text-late'", {"later_case_of_the_day"}),
        ("hours_apart = -1 where record_id = 'child'", {"later_case_of_the_day"}),
        (
            "hours_apart = 0, other_id = 'zebra' where record_id = 'near-late'",
            {"later_case_of_the_day"},
        ),
        ("distance_m = 9000 where record_id = 'child'", set()),
        ("distance_m = null where record_id = 'photo-late'", set()),
        ("hours_apart = 0 where record_id = 'text-late'", set()),
    ],
)
def test_a_property_holds_of_what_may_be_and_of_nothing_else(
    city: Warehouse, change: str, fails: set[str]
):
    queries = {"within_reach": OUT_OF_REACH, "later_case_of_the_day": NOT_THE_LATER}
    with city.transaction() as session:
        session.run(f"update {DUPLICATES} set {change}")
        offenders = {
            name: session.read(query, HELD.params | LIMITS).height
            for name, query in queries.items()
        }
    assert offenders == {name: int(name in fails) for name in queries}


def test_the_checks_see_an_offender(city: Warehouse):
    with city.transaction() as session:
        session.run(f"update {DUPLICATES} set distance_m = 151, record_id = 'x' || record_id")
    asset, checks = duplicates(SF_311)
    assert isinstance(checks, dg.AssetChecksDefinition)
    chosen = dg.AssetSelection.checks(*checks.check_keys)
    result = materialize([asset, checks], city, None, DAY, selection=chosen)
    assert verdicts(result) == dict.fromkeys(CHECKS, False)


def test_a_failed_write_keeps_the_old_slice(city: Warehouse):
    twice = city.read(f"from {DUPLICATES} where {DUPLICATES.where}", HELD)
    with pytest.raises(SliceRefusedError, match="a repeated key"):
        city.replace(DUPLICATES, pl.concat([twice, twice]), HELD)
    assert stored(city) == PAIRS
