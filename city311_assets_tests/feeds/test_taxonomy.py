"""Taxonomies: which kinds are known, whatever their dashes and spaces."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.feeds import taxonomy as module
from city311_assets.feeds.registry import FEEDS
from city311_assets.feeds.taxonomy import UNMAPPED, Taxonomy, normalized, taxonomy

CRIMES, CHICAGO, SF, NEW_YORK = (
    taxonomy(name) for name in ("chicago_crimes_v1", "chicago_311_v1", "sf_311_v1", "nyc_311_v1")
)


@pytest.mark.real
def test_every_kind_chicago_has_published_is_mapped(real_data: Path):
    kinds = json.loads((real_data / "chicago311/chi311_sr_types_seen_2025-12.json").read_text())
    assert len(kinds) == 94
    assert [kind for kind in kinds if CHICAGO.category(kind) == UNMAPPED] == []


@pytest.mark.parametrize(
    "drifted",
    [
        "Snow \u2013 Uncleared Sidewalk Complaint",
        "Snow - Uncleared Sidewalk Complaint",
        "Snow \u2014 Uncleared Sidewalk Complaint",
        "Snow \u2212 Uncleared Sidewalk Complaint",
        "SNOW - UNCLEARED SIDEWALK COMPLAINT",
        "  snow -\tuncleared   sidewalk\ncomplaint ",
    ],
)
def test_drift_of_dashes_case_and_spaces_changes_no_category(drifted: str):
    assert CHICAGO.category(drifted) == "snow_and_ice"


@given(st.text("aAzZ \t\n-\u2013\u2014\u2212éÉ/0"))
def test_a_normalized_kind_is_normal(kind: str):
    once = normalized(kind)
    assert normalized(once.upper()) == normalized(once) == once
    assert "  " not in once
    assert once == once.strip()
    assert not set("\u2013\u2014\u2212") & set(once)


@pytest.mark.parametrize(
    ("kind", "category"),
    [
        ("General Request - DPW", "general_requests"),
        ("GENERAL REQUEST \u2013 MTA", "general_requests"),
        ("General Requests", "general_requests"),
        ("A General Request", UNMAPPED),
        ("Graffiti", "graffiti_and_postings"),
        ("Graffiti on the moon", UNMAPPED),
    ],
)
def test_only_a_kind_with_a_star_is_a_beginning(kind: str, category: str):
    assert SF.category(kind) == category


def test_a_kind_named_whole_goes_before_its_beginning():
    known = Taxonomy(exact={"general request - tree": "trees"}, beginnings={"general": "general"})
    assert known.category("General Request - Tree") == "trees"
    assert known.category("General Request - Sea") == "general"


@pytest.mark.parametrize("name", ["chicago_crimes_v1", "chicago_311_v1", "sf_311_v1", "nyc_311_v1"])
@pytest.mark.parametrize("kind", ["Dragon Sighting", "", "*"])
def test_what_no_taxonomy_knows_is_unmapped(name: str, kind: str):
    assert taxonomy(name).category(kind) == UNMAPPED


def test_crimes_fall_into_the_five_categories():
    assert {*CRIMES.exact.values()} == {
        "violent",
        "property",
        "drugs_and_vice",
        "public_order",
        "other",
    }
    assert not CRIMES.beginnings


@pytest.mark.parametrize("kind", ["CRIMINAL SEXUAL ASSAULT", "CRIM SEXUAL ASSAULT", "STALKING"])
def test_crimes_once_lost_are_violent(kind: str):
    assert CRIMES.category(kind) == "violent"


def test_the_spellings_of_non_criminal_are_one_category():
    spellings = ["NON-CRIMINAL", "NON - CRIMINAL", "NON-CRIMINAL (SUBJECT SPECIFIED)"]
    assert {CRIMES.category(kind) for kind in spellings} == {"other"}


def test_new_yorks_kinds_fall_into_categories_that_the_others_have():
    others = {
        c
        for known in (CRIMES, CHICAGO, SF)
        for c in (*known.exact.values(), *known.beginnings.values())
    }
    assert {*NEW_YORK.exact.values(), *NEW_YORK.beginnings.values()} <= others
    assert len(NEW_YORK.exact) > 300


@pytest.mark.parametrize(
    ("kind", "category"),
    [
        ("HEAT/HOT WATER", "housing_and_buildings"),
        ("Heat/Hot Water", "housing_and_buildings"),
        ("Plumbing", "housing_and_buildings"),
        ("noise - street/sidewalk", "noise"),
        ("Snow or Ice", "snow_and_ice"),
        ("Unspecified", "other"),
        ("Fire Alarm - Reinspection", "housing_and_buildings"),
        ("DOF Property - RPIE Issue", "general_requests"),
        ("DOF Parking - Payment Issue", "vehicles_and_parking"),
    ],
)
def test_new_yorks_kinds_are_known_in_either_case(kind: str, category: str):
    assert NEW_YORK.category(kind) == category


def test_fbi_codes_keep_their_leading_zeros():
    codes = taxonomy("fbi_codes_v1")
    assert codes.category("01A") == "Homicide"
    assert codes.category("1A") == UNMAPPED
    assert codes.category("06") == "Larceny"
    assert len(codes.exact) == 26


@pytest.mark.parametrize("second", ["pothole", "POTHOLE", "  Pothole"])
def test_a_kind_named_twice_is_refused_by_name(
    second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "taxonomies"
    folder.mkdir()
    (folder / "twice_v1.csv").write_text(f"kind,category\npothole,streets\n{second},holes\n")
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    with pytest.raises(ValueError, match=rf"twice_v1\.csv names the kind '{second}' twice"):
        taxonomy("twice_v1")


def test_every_category_is_a_name_and_every_feed_has_several():
    for feed in FEEDS.values():
        known = taxonomy(feed.taxonomy)
        categories = {*known.exact.values(), *known.beginnings.values()}
        assert len(categories) >= 5
        assert UNMAPPED not in categories
        assert all(category.replace("_", "").isalpha() for category in categories)
