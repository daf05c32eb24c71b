"""New York 311: what its words mean, as its portal and its files write them."""

from pathlib import Path
from typing import Any

import pytest

from city311_assets.clients.portal_export import PortalExport
from city311_assets.feeds.nyc_311 import NYC_311
from city311_assets.silver.records import newest_versions
from city311_assets.silver.requests import request_rows
from city311_assets_tests.silver.raw import NO_AREAS, raw

HEADER = (
    "Unique Key,Created Date,Closed Date,Agency,Problem (formerly Complaint Type),"
    "Problem Detail (formerly Descriptor),Additional Details,Community Board,"
    "X Coordinate (State Plane),Latitude,Longitude,Location"
)
OF_2019 = "Unique Key,Created Date,Closed Date,Agency,Complaint Type,Descriptor"
KEY = "66000001,03/08/2026 11:30:00 PM,,NYPD,"


def request(**row: Any) -> dict[str, Any]:
    accepted = newest_versions(raw(NYC_311, row), NYC_311).accepted
    (found,) = request_rows(accepted, NYC_311, NO_AREAS).to_dicts()
    return found


@pytest.mark.parametrize(
    ("column", "text", "silver", "value"),
    [
        ("community_board", "0 Unspecified", "district", None),
        ("community_board", "Unspecified BROOKLYN", "district", None),
        ("community_board", "Unspecified STATEN ISLAND", "district", None),
        ("community_board", "12 QUEENS", "district", "12 QUEENS"),
        ("police_precinct", "Unspecified", "police_district", None),
        ("police_precinct", "Precinct 113", "police_district", "Precinct 113"),
        ("descriptor", "N/A", "subkind", None),
        ("descriptor_2", "N/A", "description", None),
        ("status", "Unspecified", "status", None),
        ("status", "In Progress", "status", "In Progress"),
        ("open_data_channel_type", "UNKNOWN", "source_channel", None),
        ("open_data_channel_type", "ONLINE", "source_channel", "ONLINE"),
        ("incident_address", "59 MAIDEN LANE", "street", "MAIDEN LANE"),
        ("borough", "QUEENS", "neighborhood", None),
    ],
)
def test_a_word_that_says_nothing_is_null(column: str, text: str, silver: str, value: str | None):
    assert request(**{column: text})[silver] == value


def test_a_request_whose_kind_is_unspecified_is_still_one():
    row = request(complaint_type="Unspecified")
    assert (row["kind"], row["category"]) == ("Unspecified", "other")


@pytest.mark.parametrize(
    ("kind", "is_administrative"),
    [("Taxi Compliment", True), ("HPD LITERATURE REQUEST", True), ("Taxi Complaint", False)],
)
def test_praise_and_printed_matter_ask_for_no_work(kind: str, is_administrative: bool):
    assert request(complaint_type=kind)["is_administrative"] is is_administrative


@pytest.mark.parametrize(
    ("text", "undeclared"),
    [
        (f"{HEADER}\n{KEY}Noise,Loud Talking,N/A,12 QUEENS,1,40.7,-73.8,POINT (1 2)\n", ()),
        (f"{OF_2019}\n{KEY}Noise,Loud Talking\n", ()),
        (f"{OF_2019},School Name\n{KEY}Noise,Loud Talking,Unspecified\n", ("School Name",)),
    ],
    ids=["today", "before the columns were renamed", "with a column of long ago"],
)
def test_a_file_is_read_by_the_headers_it_had(
    tmp_path: Path, text: str, undeclared: tuple[str, ...]
):
    path = tmp_path / "requests.csv"
    path.write_text(text)
    export = PortalExport(path, NYC_311)
    assert export.undeclared == undeclared
    assert export.rows.select("complaint_type", "descriptor").rows() == [("Noise", "Loud Talking")]
