"""Chicago requests and crimes as the portal writes them, with the faults of its extracts."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.sample_city.geography import streets, tiling
from city311_assets.sample_city.kinds import AT_CALL_CENTRE
from city311_assets.sample_city.simulation import Draws
from city311_assets.sample_city.texts import (
    chosen,
    joined,
    kept,
    local_text,
    number_text,
    picked,
    point_text,
    record_ids,
    wall_text,
)

Ints = NDArray[np.int64]

# Where house numbers count from, and how many there are to a degree: 800 to a mile.
ORIGIN_LONGITUDE, ORIGIN_LATITUDE = -87.6278, 41.8820
NUMBERS_PER_LATITUDE, NUMBERS_PER_LONGITUDE = 55_200.0, 41_200.0
# The first streets of the list run north and south.
NORTH_SOUTH_STREETS = 35

# Illinois East, feet, near enough for a column nobody computes with.
EASTING, NORTHING = 1_176_345.0, 1_901_114.0
FEET_PER_LONGITUDE, FEET_PER_LATITUDE = 272_800.0, 364_500.0

PHONES = 7
ORIGINS = (
    *("Phone Call",) * PHONES,
    *("Internet",) * 9,
    *("Mobile Device",) * 3,
    "spot-open311-Chicago+Works",
)
DRIFTED = {"Snow \u2013 Uncleared Sidewalk Complaint": "Snow - Uncleared Sidewalk Complaint"}
DRIFT_SHARE = 0.3
ZERO_ZIP_SHARE = 0.01
NULL_FLAG_SHARE = 0.003
CANCELED_SHARE = 0.006
NO_POINT_SHARE = 0.005
SHARED_CASE_SHARE = 0.004
# Crimes appear on the eighth day after they happened, at this local hour; few change later.
CRIMES_WITHHELD_DAYS = 8
CRIMES_LOADED_HOUR = 16
CRIMES_CHANGED_SHARE = 0.03
WRITTEN_DAYS = (None, "Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def _point(drawn: Draws, where: NDArray[np.bool_]) -> dict[str, pl.Series]:
    """Return the five columns that place a record, null where it has no point."""
    east = EASTING + (drawn.longitude - ORIGIN_LONGITUDE) * FEET_PER_LONGITUDE
    north = NORTHING + (drawn.latitude - ORIGIN_LATITUDE) * FEET_PER_LATITUDE
    latitude = kept(number_text(np.round(drawn.latitude, 12)), where)
    longitude = kept(number_text(np.round(drawn.longitude, 12)), where)
    return {
        "x_coordinate": kept(number_text(np.round(east)), where).str.strip_suffix(".0"),
        "y_coordinate": kept(number_text(np.round(north)), where).str.strip_suffix(".0"),
        "latitude": latitude,
        "longitude": longitude,
        "location": point_text(latitude, longitude),
    }


def _address(drawn: Draws) -> dict[str, pl.Series]:
    """Return house number, direction, name and type of the street a record lies on."""
    names = streets("chicago")
    east = (drawn.longitude - ORIGIN_LONGITUDE) * NUMBERS_PER_LONGITUDE
    north = (drawn.latitude - ORIGIN_LATITUDE) * NUMBERS_PER_LATITUDE
    lengthwise = drawn.choices[7] < 0.5
    column, row = (east // 200).astype(np.int64), (north // 200).astype(np.int64)
    crosswise = len(names) - NORTH_SOUTH_STREETS
    street = np.where(
        lengthwise, column * 5 % NORTH_SOUTH_STREETS, NORTH_SOUTH_STREETS + row * 5 % crosswise
    )
    counted = np.where(lengthwise, north, east)
    direction = np.where(lengthwise, np.where(north < 0, 1, 0), np.where(east < 0, 3, 2))
    fixed = np.array([part.profile == AT_CALL_CENTRE for part in drawn.parts])[drawn.variety]
    return {
        "number": number_text(np.where(fixed, 2111, np.abs(counted).astype(np.int64) + 1)),
        "direction": picked(("N", "S", "E", "W"), np.where(fixed, 3, direction)),
        "name": picked(
            [*(name.rpartition(" ")[0] for name in names), "LEXINGTON"],
            np.where(fixed, len(names), street),
        ),
        "type": picked(
            [*(name.rpartition(" ")[2] for name in names), "ST"],
            np.where(fixed, len(names), street),
        ),
    }


def request_columns(drawn: Draws) -> dict[str, pl.Series]:
    """Return the columns of `chicago_311`, by name."""
    timezone = drawn.feed.city.timezone
    parts, size = drawn.parts, drawn.size
    record_id = record_ids(drawn)
    open_still = np.isnan(drawn.hours)
    closing = drawn.opened + np.nan_to_num(drawn.hours * 3_600).astype(np.int64)
    status = np.where(open_still, 0, np.where(drawn.choices[8] < CANCELED_SHARE, 2, 1))
    kinds = [part.kind for part in parts]
    drifted = [DRIFTED.get(kind, kind) for kind in kinds]
    drift = np.where(drawn.choices[9] < DRIFT_SHARE, len(kinds), 0)
    informative = np.array([part.profile == AT_CALL_CENTRE for part in parts])[drawn.variety]
    street = _address(drawn)
    wards, police = tiling("chicago", "ward"), tiling("chicago", "police")
    beat_district = picked(police.names, police.nearest(drawn.longitude, drawn.latitude))
    district = beat_district.str.zfill(2)
    sector = number_text(1 + (drawn.choices[10] * 3).astype(np.int64))
    repeats = drawn.parent >= 0
    parent = kept(record_id.gather(pl.Series(np.maximum(drawn.parent, 0))), repeats)
    flag_known = drawn.choices[11] >= NULL_FLAG_SHARE
    zips = number_text(60_601 + drawn.area % 60)
    zips = zips.set(pl.Series(drawn.choices[12] < ZERO_ZIP_SHARE), "0")
    opened = (pl.Series(drawn.wall) * 1_000_000).cast(pl.Datetime("us"))
    grid = picked([f"{chr(65 + area % 26)}{10 + area:03d}" for area in range(77)], drawn.area)
    origin = np.where(informative, 0, (drawn.choices[13] * len(ORIGINS)).astype(np.int64))
    by_phone = pl.Series(origin < PHONES)
    return {
        "sr_number": record_id,
        "sr_type": picked(kinds + drifted, drawn.variety + drift),
        "sr_short_code": picked([part.code for part in parts], drawn.variety),
        "created_department": pl.Series(["311 City Services"])
        .new_from_index(0, size)
        .set(~by_phone, None),
        "owner_department": picked([part.owner for part in parts], drawn.variety),
        "status": picked(("Open", "Completed", "Canceled"), status),
        "origin": picked(ORIGINS, origin),
        "created_date": wall_text(drawn.wall),
        "last_modified_date": local_text(closing + 4, timezone),
        "closed_date": kept(local_text(closing, timezone), ~open_still),
        "street_address": joined(
            street["number"], " ", street["direction"], " ", street["name"], " ", street["type"]
        ),
        "city": pl.Series(["Chicago"]).new_from_index(0, size),
        "state": pl.Series(["Illinois"]).new_from_index(0, size),
        "zip_code": zips,
        "street_number": street["number"],
        "street_direction": street["direction"],
        "street_name": street["name"],
        "street_type": street["type"],
        "duplicate": kept(picked(("false", "true"), repeats.astype(np.int64)), flag_known),
        "legacy_record": pl.Series(["false"]).new_from_index(0, size),
        "parent_sr_number": parent,
        "community_area": number_text(drawn.area + 1),
        "ward": picked(wards.names, wards.nearest(drawn.longitude, drawn.latitude)),
        "electrical_district": kept(number_text(1 + drawn.area % 15), drawn.choices[14] < 0.5),
        "electricity_grid": grid,
        "police_sector": sector,
        "police_district": district,
        "police_beat": joined(district, sector, "1"),
        "precinct": number_text(1 + drawn.area % 47),
        "sanitation_division_days": kept(
            chosen(WRITTEN_DAYS, drawn.choices[15]), drawn.choices[14] < 0.05
        ),
        "created_hour": opened.dt.hour().cast(pl.String),
        "created_day_of_week": (opened.dt.weekday() % 7 + 1).cast(pl.String),
        "created_month": opened.dt.month().cast(pl.String),
        **_point(drawn, drawn.choices[6] >= NO_POINT_SHARE / 5),
    }


def crime_instants(drawn: Draws) -> tuple[Ints, Ints]:
    """Return when the portal first had each crime, and when it last changed, in UTC seconds."""
    midnight = drawn.opened - drawn.wall % 86_400
    loaded = midnight + CRIMES_WITHHELD_DAYS * 86_400 + CRIMES_LOADED_HOUR * 3_600
    changed = loaded + ((10 + 50 * drawn.choices[6]) * 86_400).astype(np.int64)
    return loaded, np.where(drawn.choices[5] < CRIMES_CHANGED_SHARE, changed, loaded)


def crime_columns(drawn: Draws) -> dict[str, pl.Series]:
    """Return the columns of `chicago_crimes`, by name."""
    parts, size = drawn.parts, drawn.size
    record_id = record_ids(drawn)
    police, wards = tiling("chicago", "police"), tiling("chicago", "ward")
    district = picked(police.codes, police.nearest(drawn.longitude, drawn.latitude))
    sector = number_text(1 + (drawn.choices[10] * 3).astype(np.int64))
    street = _address(drawn)
    block = (street["number"].cast(pl.Int64) // 100).cast(pl.String).str.zfill(3)
    shares = np.array([part.flag_share for part in parts])[drawn.variety]
    domestic = np.array(["DOMESTIC" in part.subkind for part in parts])[drawn.variety]
    flag_known = drawn.choices[11] >= NULL_FLAG_SHARE
    shared = (drawn.choices[8] < SHARED_CASE_SHARE) & (np.arange(size) > 0)
    number = np.where(shared, np.roll(drawn.number, 1), drawn.number)
    ordinal = drawn.day.timetuple().tm_yday - 1
    letters = f"J{chr(65 + (drawn.day.year - 2016) % 26)}"
    cases = number_text((ordinal * 2_700 + number) % 1_000_000).str.zfill(6)
    _, changed = crime_instants(drawn)
    return {
        "id": record_id,
        "case_number": letters + cases,
        "date": wall_text(drawn.wall),
        "block": joined(
            block, "XX ", street["direction"], " ", street["name"], " ", street["type"]
        ),
        "iucr": picked([part.code for part in parts], drawn.variety),
        "primary_type": picked([part.kind for part in parts], drawn.variety),
        "description": picked([part.subkind for part in parts], drawn.variety),
        "location_description": kept(
            picked([part.details for part in parts], drawn.variety), drawn.choices[12] > 0.004
        ),
        "arrest": kept(
            picked(("false", "true"), (drawn.choices[13] < shares).astype(np.int64)), flag_known
        ),
        "domestic": kept(
            picked(("false", "true"), (domestic | (drawn.choices[14] < 0.06)).astype(np.int64)),
            flag_known,
        ),
        "beat": joined(district.str.tail(2), sector, "1"),
        "district": district,
        "ward": picked(wards.names, wards.nearest(drawn.longitude, drawn.latitude)),
        "community_area": number_text(drawn.area + 1),
        "fbi_code": picked([part.group for part in parts], drawn.variety),
        "year": pl.Series([str(drawn.day.year)]).new_from_index(0, size),
        "updated_on": local_text(changed, drawn.feed.city.timezone),
        **_point(drawn, drawn.choices[15] >= NO_POINT_SHARE),
    }
