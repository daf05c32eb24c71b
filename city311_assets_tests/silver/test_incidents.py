"""Silver incidents: what is particular to reported crimes."""

import datetime as dt
from typing import Any

import pytest

from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.partitions import Slice
from city311_assets.silver.incidents import incident_rows, incidents
from city311_assets.silver.records import newest_versions
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets.warehouse.tables.silver import INCIDENTS
from city311_assets_tests.portals import materialize, verdicts
from city311_assets_tests.silver.raw import DAY, NO_AREAS, raw

PART = Slice("chicago_crimes", DAY, DAY + dt.timedelta(days=1))


def one(**row: Any) -> dict[str, Any]:
    accepted = newest_versions(raw(CHICAGO_CRIMES, row), CHICAGO_CRIMES).accepted
    (found,) = incident_rows(accepted, CHICAGO_CRIMES, NO_AREAS).to_dicts()
    return found


def run(warehouse: Warehouse, *rows: dict[str, Any]):
    warehouse.replace(RECORDS["chicago_crimes"], raw(CHICAGO_CRIMES, *rows), PART)
    return materialize(incidents(CHICAGO_CRIMES), warehouse, first=DAY)


@pytest.mark.parametrize(
    ("text", "flag"), [("true", True), ("False", False), (None, None), ("", None), ("?", None)]
)
def test_what_is_unsaid_of_an_incident_stays_unsaid(text: str | None, flag: bool | None):
    assert one(arrest=text)["is_arrest"] is flag
    assert one(domestic=text)["is_domestic"] is flag
    assert one(arrest=text, domestic="true")["is_domestic"] is True


def test_leading_zeros_are_kept():
    row = one(beat="0211", district="002", iucr="0486", fbi_code="08B", ward="02")
    assert (row["beat"], row["district"], row["police_district"]) == ("0211", "002", "002")
    assert (row["iucr"], row["fbi_code"], row["ward"]) == ("0486", "08B", "02")


@pytest.mark.parametrize(
    ("code", "category"),
    [
        ("01A", "Homicide"),
        ("08b", "Simple battery"),
        (" 06 ", "Larceny"),
        ("99", "unmapped"),
        (None, None),
        ("", None),
    ],
)
def test_an_fbi_code_has_its_category_and_no_code_has_none(code: str | None, category: str | None):
    assert one(fbi_code=code)["fbi_category"] == category


def test_the_fbi_category_does_not_touch_the_console_category():
    row = one(primary_type="NARCOTICS", fbi_code="01A")
    assert (row["category"], row["fbi_category"]) == ("drugs_and_vice", "Homicide")


def test_an_incident_keeps_its_block_and_the_street_of_it():
    row = one(block="034XX W RANDOLPH ST", description="AGGRAVATED", location_description="ALLEY")
    assert (row["block"], row["street"]) == ("034XX W RANDOLPH ST", "W RANDOLPH ST")
    assert (row["subkind"], row["description"]) == ("AGGRAVATED", "ALLEY")


def test_a_slice_of_incidents_is_written_once_and_emptied(warehouse: Warehouse):
    rows = [{"id": "1"}, {"id": "2", "fbi_code": "06"}]
    assert run(warehouse, *rows).success
    before = warehouse.content_hash(INCIDENTS, PART)
    result = run(warehouse, *rows)
    assert all(verdicts(result).values())
    assert warehouse.content_hash(INCIDENTS, PART) == before
    assert before[0] == 2
    assert run(warehouse).success
    assert warehouse.content_hash(INCIDENTS, PART) == (0, 0)


def test_an_unknown_fbi_code_is_reported_and_stops_nothing(warehouse: Warehouse):
    result = run(warehouse, {"fbi_code": "99"}, {"fbi_code": None}, {"fbi_code": "06"})
    assert result.success
    (check,) = [
        check
        for check in result.get_asset_check_evaluations()
        if check.check_name == "every_fbi_code_mapped"
    ]
    assert not check.passed
    assert check.metadata["examples"].value == ["99, 1"]
