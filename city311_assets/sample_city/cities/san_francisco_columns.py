"""San Francisco 311 cases as the portal writes them, with the faults of its extracts."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.sample_city.geography import (
    METERS_PER_DEGREE,
    shortening,
    streets,
    tiling,
)
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

Bools = NDArray[np.bool_]

NO_PLACE_SHARE = 0.02
CLOSED_BEFORE_OPENED_SHARE = 0.005
WRONG_DISTRICT_SHARE = 0.003
CROSSING_SHARE = 0.15
BLANK_NOTES_SHARE = 0.29
OLD_SPELLING_SHARE = 0.05
OLD_SPELLINGS = {"Encampments": "Encampment", "Litter Receptacles": "Litter Receptacle Maintenance"}
BLOCK_M = 140.0
WEST, SOUTH = -122.52, 37.70

SOURCES = ("Mobile/Open311",) * 9 + ("Phone",) * 6 + ("Web",) * 4 + ("Integrated Agency",)
WITH_UPLOAD = ("Mobile/Open311", "Web")
# Of the links to photos, by the 2026-08 audit: report pages (gone), JPEGs, viewer pages, the rest.
MEDIA_HOSTS = (0.695, 0.936, 0.998)
MEDIA_LINKS = (
    ("https://mobile311.sfgov.org/reports/", "/photos"),
    ("https://spot-sf-res.cloudinary.com/image/upload/v1/photos/", ".jpg"),
    ("https://sanfrancisco.form.us.empro.verintcloudservices.com/photos/", ".html"),
    ("http://twitter.com/sf311/status/", "/photo/1"),
)
# Links come with uploads only; this makes the parts of `kinds/sf_311.csv` hold over all channels.
UPLOAD_FACTOR = 20 / 13

NOTES = (
    "Case Resolved",
    "Case Resolved - Area Cleared",
    "Case Resolved - Pickup completed",
    "Case Resolved - Officer responded to request under CAD # 211900164. Unable to Locate.",
    "Case is a Duplicate -  \nDue to the number of requests, resources are\nfocused elsewhere.",
    "Work Completed",
    "resolved:",
    "Completed",
    "accepted",
    "Transferred - Your request falls under the responsibility of another agency.",
    "Per process - cases are closed 5 days after assignment.",
    "Maximo Service Request has been resolved. .",
    "Case Resolved - nothing found",
    "Sign repaired or replaced.  Please resubmit if this service request was not addressed.",
)
RARE_NOTES = (
    "Crew couldn\u2019t find it \u2013 caf\u00e9 staff removed the items.\r\n",
    "\ufeffCase Resolved - Graffiti abated",
    "Removido por el equipo; el due\u00f1o avis\u00f3.",
)
RARE_NOTES_SHARE = 0.002


def _streets(drawn: Draws) -> tuple[pl.Series, pl.Series]:
    """Return each record's street and its address, by the block it lies in."""
    names = streets("san_francisco")
    shrink = shortening("san_francisco")
    across = (drawn.longitude - WEST) * shrink * METERS_PER_DEGREE / BLOCK_M
    along = (drawn.latitude - SOUTH) * METERS_PER_DEGREE / BLOCK_M
    column, row = across.astype(np.int64), along.astype(np.int64)
    lengthwise = drawn.choices[7] < 0.5
    first = (column * 7) % len(names)
    second = (row * 11 + 3) % len(names)
    second = np.where(second == first, (second + 1) % len(names), second)
    house = np.where(lengthwise, along * 100, across * 100).astype(np.int64) + 1
    main = picked(names, np.where(lengthwise, first, second))
    other = picked(names, np.where(lengthwise, second, first))
    zips = 94102 + drawn.area % 33
    crossings = joined("Intersection of ", main, " and ", other)
    houses = joined(number_text(house), " ", main, ", SAN FRANCISCO, CA, ", number_text(zips))
    addresses = crossings.zip_with(pl.Series(drawn.choices[8] < CROSSING_SHARE), houses)
    return main, addresses


def _closed(drawn: Draws) -> pl.Series:
    closing = drawn.opened + np.nan_to_num(drawn.hours * 3_600).astype(np.int64)
    texts = local_text(closing, drawn.feed.city.timezone)
    too_early = drawn.choices[9] < CLOSED_BEFORE_OPENED_SHARE
    midnight = (drawn.wall - 1) // 86_400 * 86_400
    texts = texts.zip_with(pl.Series(~too_early), wall_text(midnight))
    return kept(texts, ~np.isnan(drawn.hours))


def _notes(drawn: Draws) -> pl.Series:
    usual = chosen(NOTES, drawn.choices[10])
    rare = drawn.choices[11] < RARE_NOTES_SHARE
    notes = usual.zip_with(pl.Series(~rare), chosen(RARE_NOTES, drawn.choices[10]))
    blank = (drawn.choices[11] > 1 - BLANK_NOTES_SHARE) | np.isnan(drawn.hours)
    return kept(notes, ~blank)


def _media(drawn: Draws, record_id: pl.Series, source: pl.Series) -> pl.Series:
    shares = np.array([part.photo_share for part in drawn.parts])[drawn.variety]
    uploads = source.is_in(WITH_UPLOAD).to_numpy()
    linked = uploads & (drawn.choices[12] < shares * UPLOAD_FACTOR)
    host = np.searchsorted(np.array(MEDIA_HOSTS), drawn.choices[13])
    links = [joined(f'{{"url": "{start}', record_id, f'{end}"}}') for start, end in MEDIA_LINKS]
    which = pl.Series(host)
    text = pl.coalesce(*(pl.when(which == at).then(link) for at, link in enumerate(links)))
    return kept(pl.select(text).to_series(), linked)


def case_columns(drawn: Draws) -> dict[str, pl.Series]:
    """Return the columns of `sf_311`, by name; the opening time is left to the caller."""
    record_id = record_ids(drawn)
    nowhere = drawn.choices[14] < NO_PLACE_SHARE
    placed = ~nowhere
    longitude = number_text(np.where(nowhere, 0.0, np.round(drawn.longitude, 9)))
    latitude = number_text(np.where(nowhere, 0.0, np.round(drawn.latitude, 9)))
    street, address = _streets(drawn)
    anywhere = pl.Series(["Not associated with a specific address"])
    source = chosen(SOURCES, drawn.choices[15])
    names = tiling("san_francisco", "neighborhood").names
    district = tiling("san_francisco", "district")
    own = picked(district.names, district.nearest(drawn.longitude, drawn.latitude))
    wrong = drawn.choices[6] < WRONG_DISTRICT_SHARE
    police = tiling("san_francisco", "police")
    hood = kept(picked(names, drawn.area), placed)
    kinds = [part.kind for part in drawn.parts]
    old = [OLD_SPELLINGS.get(kind, kind) for kind in kinds]
    spelled = np.where(drawn.choices[6] > 1 - OLD_SPELLING_SHARE, len(kinds), 0)
    closed = _closed(drawn)
    opened = wall_text(drawn.wall)
    changed = local_text(
        drawn.opened + np.nan_to_num(drawn.hours * 3_600).astype(np.int64), drawn.feed.city.timezone
    )
    geometry = joined('{"type": "Point", "coordinates": [', longitude, ", ", latitude, "]}")
    return {
        "service_request_id": record_id,
        "requested_datetime": opened,
        "closed_date": closed,
        "updated_datetime": changed,
        "status_description": picked(("Closed", "Open"), np.isnan(drawn.hours).astype(np.int64)),
        "status_notes": _notes(drawn),
        "agency_responsible": picked([part.owner for part in drawn.parts], drawn.variety),
        "service_name": picked(kinds + old, drawn.variety + spelled),
        "service_subtype": picked([part.subkind for part in drawn.parts], drawn.variety),
        "service_details": picked([part.details for part in drawn.parts], drawn.variety),
        "address": address.zip_with(pl.Series(placed), anywhere),
        "street": kept(street, placed),
        "supervisor_district": kept(own.set(pl.Series(wrong), "-1"), placed),
        "neighborhoods_sffind_boundaries": hood,
        "analysis_neighborhood": hood,
        "police_district": kept(
            picked(police.names, police.nearest(drawn.longitude, drawn.latitude)), placed
        ),
        "lat": latitude,
        "long": longitude,
        "point": point_text(latitude, longitude),
        "point_geom": geometry,
        "source": source,
        "media_url": _media(drawn, record_id, source),
        "bos_2012": kept(own, placed),
        "data_as_of": changed,
        "data_loaded_at": changed,
        ":@computed_region_26cr_cadq": kept(own, placed),
        ":@computed_region_6qbp_sg9q": kept(number_text(drawn.area + 1), placed),
    }
