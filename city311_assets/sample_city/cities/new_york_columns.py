"""New York requests as the portal writes them, with the faults of its extracts."""

import numpy as np
import polars as pl

from city311_assets.sample_city.geography import METERS_PER_DEGREE, shortening, streets, tiling
from city311_assets.sample_city.simulation import Bools, Draws, Ints
from city311_assets.sample_city.texts import (
    chosen,
    joined,
    kept,
    local_text,
    number_text,
    picked,
    record_ids,
    wall_text,
)

AGENCIES = {
    "NYPD": "New York City Police Department",
    "HPD": "Department of Housing Preservation and Development",
    "DSNY": "Department of Sanitation",
    "DOT": "Department of Transportation",
    "DEP": "Department of Environmental Protection",
    "DPR": "Department of Parks and Recreation",
    "DOB": "Department of Buildings",
    "DOHMH": "Department of Health and Mental Hygiene",
    "DHS": "Department of Homeless Services",
    "TLC": "Taxi and Limousine Commission",
    "DCWP": "Department of Consumer and Worker Protection",
    "EDC": "Economic Development Corporation",
    "DOE": "Department of Education",
}
# By the first letters of a neighbourhood's code: borough, number in a BBL, the city of an address,
# where its ZIP codes begin.
BOROUGHS = {
    "MN": ("MANHATTAN", 1, "NEW YORK", 10_001),
    "BX": ("BRONX", 2, "BRONX", 10_451),
    "BK": ("BROOKLYN", 3, "BROOKLYN", 11_201),
    "QN": ("QUEENS", 4, None, 11_354),
    "SI": ("STATEN ISLAND", 5, "STATEN ISLAND", 10_301),
}
CHANNELS = ("ONLINE",) * 9 + ("PHONE",) * 6 + ("MOBILE",) * 4 + ("UNKNOWN",)
# The housing agency writes its kinds in capitals, other systems do not.
DRIFTED = {"HEAT/HOT WATER": "Heat/Hot Water", "PLUMBING": "Plumbing", "ELECTRIC": "Electric"}
DRIFT_SHARE = 0.05
NO_PLACE_SHARE = 0.012
CROSSING_SHARE = 0.16
CLOSED_BEFORE_OPENED_SHARE = 0.03
CLOSED_WITHOUT_DATE_SHARE = 0.15
NO_PARCEL_SHARE = 0.2
WITH_DUE_DATE_SHARE = 0.05
DUE_AFTER_HOURS = 8
OPEN_STATES = ("Open",) * 3 + ("In Progress",) * 5 + ("Assigned", "Pending")
POLICE_ANSWERS = (
    "Officers came and found the condition gone.",
    "Officers took action to fix the condition.",
    "Officers issued a summons.",
)
ANSWERS = (
    "An inspector saw the condition and issued a violation.",
    "The agency inspected the place and no violation was found.",
    "The agency made the repair.",
    "The request was sent to another agency; see its number there.\n",
    "Nobody answered the door; caf\u00e9 staff said \u201ccome later\u201d.",
)
REPEATED = "The same condition was reported before; both are answered together."
UNANSWERED = "The agency has the complaint and will look into it."

# New York Long Island, feet, near enough for columns nobody computes with.
EAST_OF, NORTH_OF = -74.0082309, 40.708266
EASTING, NORTHING = 981_968.0, 197_317.0
FEET_PER_LONGITUDE, FEET_PER_LATITUDE = 277_200.0, 364_300.0
BLOCK_M = 150.0
WEST, SOUTH = -74.30, 40.45


def _owned_by(drawn: Draws, *owners: str) -> Bools:
    """Return which records are of kinds that these agencies own."""
    return np.array([part.owner in owners for part in drawn.parts])[drawn.variety]


def _streets(drawn: Draws) -> dict[str, pl.Series]:
    """Return the street each record lies on, the ones across its block, and the house number."""
    names = streets("new_york")
    shrink = shortening("new_york")
    column = ((drawn.longitude - WEST) * shrink * METERS_PER_DEGREE / BLOCK_M).astype(np.int64)
    row = ((drawn.latitude - SOUTH) * METERS_PER_DEGREE / BLOCK_M).astype(np.int64)
    lengthwise = drawn.choices[7] < 0.5
    along, across = np.where(lengthwise, column, row), np.where(lengthwise, row, column)
    main = along * 7 % len(names)

    def other(step: int) -> Ints:
        index = (across + step) * 11 % len(names)
        return np.where(index == main, (index + 1) % len(names), index)

    return {
        "main": picked(names, main),
        "before": picked(names, other(0)),
        "after": picked(names, other(1)),
        "number": number_text(across * 3 + (drawn.choices[8] * 30).astype(np.int64) + 1),
    }


def _closed(drawn: Draws, closing: Ints) -> pl.Series:
    """Return the times of closing: some agencies write dates, one closes before it opens."""
    texts = local_text(closing, drawn.feed.city.timezone)
    midnight = texts.str.slice(0, 10) + "T00:00:00.000"
    # A date is written only where it lies after the opening.
    later = (midnight > wall_text(drawn.wall)).to_numpy()
    texts = midnight.zip_with(pl.Series(_owned_by(drawn, "DOHMH") & later), texts)
    early = _owned_by(drawn, "DOT") & (drawn.choices[9] < CLOSED_BEFORE_OPENED_SHARE)
    texts = wall_text(drawn.wall - 86_400).zip_with(pl.Series(early), texts)
    dateless = _owned_by(drawn, "DHS") & (drawn.choices[9] < CLOSED_WITHOUT_DATE_SHARE)
    return kept(texts, ~np.isnan(drawn.hours) & ~dateless)


def _answers(drawn: Draws) -> pl.Series:
    """Return what the agency did last."""
    police = pl.Series(_owned_by(drawn, "NYPD"))
    texts = chosen(POLICE_ANSWERS, drawn.choices[10]).zip_with(
        police, chosen(ANSWERS, drawn.choices[10])
    )
    texts = texts.set(pl.Series(drawn.parent >= 0), REPEATED)
    return texts.set(pl.Series(np.isnan(drawn.hours)), UNANSWERED)


def _areas(drawn: Draws, placed: Bools) -> dict[str, pl.Series]:
    """Return the columns that say in which areas a record lies, or that nobody knows."""
    tiles = tiling("new_york", "neighborhood")
    boroughs = [BOROUGHS[code[:2]] for code in tiles.codes]
    # Of Queens the post knows the neighbourhoods.
    cities = [
        city or name.split("-")[0].split(" (")[0].upper()
        for name, (_, _, city, _) in zip(tiles.names, boroughs, strict=True)
    ]
    borough = picked([name for name, *_ in boroughs], drawn.area)
    district = tiling("new_york", "district")
    own = district.nearest(drawn.longitude, drawn.latitude)
    names = {number: name for name, number, *_ in BOROUGHS.values()}
    boards = [f"{code[1:]} {names[int(code[0])]}" for code in district.codes]
    police = tiling("new_york", "police")
    precincts = [f"Precinct {code}" for code in police.codes]
    nowhere = pl.Series(~placed)
    zips = np.array([start for *_, start in boroughs])[drawn.area] + drawn.area % 40
    parcel = 10_000 * (1 + drawn.area * 17 % 9_000) + (drawn.choices[11] * 200).astype(np.int64)
    lots = np.array([number for _, number, *_ in boroughs])[drawn.area] * 10**9 + parcel
    precinct = picked(precincts, police.nearest(drawn.longitude, drawn.latitude))
    return {
        "incident_zip": kept(number_text(zips), placed),
        "city": kept(picked(cities, drawn.area), placed),
        "community_board": picked(boards, own).set(nowhere, "0 Unspecified"),
        "council_district": kept(number_text(1 + drawn.area % 51), placed),
        "police_precinct": precinct.set(nowhere, "Unspecified"),
        "bbl": kept(number_text(lots), placed & (drawn.choices[12] >= NO_PARCEL_SHARE)),
        "borough": borough.set(nowhere, "Unspecified"),
        "park_borough": borough.set(nowhere, "Unspecified"),
        ":@computed_region_efsh_h5xi": kept(number_text(drawn.area + 10_090), placed),
        ":@computed_region_f5dn_yrer": kept(number_text(own + 1), placed),
    }


def _point(drawn: Draws, placed: Bools) -> dict[str, pl.Series]:
    """Return the five columns that place a record, null where it has no point."""
    east = EASTING + (drawn.longitude - EAST_OF) * FEET_PER_LONGITUDE
    north = NORTHING + (drawn.latitude - NORTH_OF) * FEET_PER_LATITUDE
    latitude = kept(number_text(np.round(drawn.latitude, 12)), placed)
    longitude = kept(number_text(np.round(drawn.longitude, 12)), placed)
    return {
        "x_coordinate_state_plane": kept(number_text(np.round(east).astype(np.int64)), placed),
        "y_coordinate_state_plane": kept(number_text(np.round(north).astype(np.int64)), placed),
        "latitude": latitude,
        "longitude": longitude,
        "location": joined('{"type": "Point", "coordinates": [', longitude, ", ", latitude, "]}"),
    }


def request_columns(drawn: Draws) -> dict[str, pl.Series]:
    """Return the columns of `nyc_311`, by name; the opening time is left to the caller."""
    timezone = drawn.feed.city.timezone
    parts, size = drawn.parts, drawn.size
    owners = [part.owner for part in parts]
    placed = drawn.choices[6] >= NO_PLACE_SHARE
    closing = drawn.opened + np.nan_to_num(drawn.hours * 3_600).astype(np.int64)
    never = np.isnan(drawn.hours)
    status = chosen(OPEN_STATES, drawn.choices[13]).set(pl.Series(~never), "Closed")
    kinds = [part.kind for part in parts]
    drifted = [DRIFTED.get(kind, kind) for kind in kinds]
    drift = np.where(drawn.choices[14] < DRIFT_SHARE, len(kinds), 0)
    street = _streets(drawn)
    at_crossing = placed & (drawn.choices[8] < CROSSING_SHARE)
    at_house = placed & ~at_crossing
    due = wall_text(drawn.wall + DUE_AFTER_HOURS * 3_600)
    taxis = _owned_by(drawn, "TLC")
    highways = np.array([part.kind in {"Highway Condition", "Bridge Condition"} for part in parts])
    highway = highways[drawn.variety]
    unspecified = pl.Series(["Unspecified"]).new_from_index(0, size)
    return {
        "unique_key": record_ids(drawn),
        "closed_date": _closed(drawn, closing),
        "agency": picked(owners, drawn.variety),
        "agency_name": picked([AGENCIES.get(owner) for owner in owners], drawn.variety),
        "complaint_type": picked(kinds + drifted, drawn.variety + drift),
        "descriptor": picked([part.subkind or "N/A" for part in parts], drawn.variety),
        "descriptor_2": picked([part.group or None for part in parts], drawn.variety),
        "location_type": picked([part.details or None for part in parts], drawn.variety),
        "incident_address": kept(joined(street["number"], " ", street["main"]), at_house),
        "street_name": kept(street["main"], at_house),
        "cross_street_1": kept(street["before"], placed),
        "cross_street_2": kept(street["after"], placed),
        "intersection_street_1": kept(street["main"], at_crossing),
        "intersection_street_2": kept(street["before"], at_crossing),
        "address_type": picked(
            ("ADDRESS", "INTERSECTION", "UNRECOGNIZED"),
            np.where(at_house, 0, np.where(at_crossing, 1, 2)),
        ),
        "facility_type": kept(
            picked(("N/A", "Precinct"), _owned_by(drawn, "NYPD").astype(np.int64)), at_house
        ),
        "status": status,
        "due_date": kept(due, drawn.choices[15] < WITH_DUE_DATE_SHARE),
        "resolution_description": _answers(drawn),
        "resolution_action_updated_date": local_text(closing + 5, timezone),
        "open_data_channel_type": chosen(CHANNELS, drawn.choices[15]),
        "park_facility_name": unspecified,
        "vehicle_type": kept(
            picked(("Car", "Limousine"), (drawn.choices[11] < 0.2).astype(np.int64)), taxis
        ),
        "taxi_pick_up_location": kept(street["before"], taxis & placed),
        "bridge_highway_name": kept(street["after"], highway),
        "bridge_highway_direction": kept(chosen(("East", "West"), drawn.choices[11]), highway),
        "road_ramp": kept(chosen(("Roadway", "Ramp"), drawn.choices[12]), highway),
        **_areas(drawn, placed),
        **_point(drawn, placed),
    }
