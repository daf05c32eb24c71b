"""The sample city's records as the portals publish them: texts, with the faults of the real ones.

A frame has the feed's columns and Socrata's own, all as text exactly as the SODA API sends it;
null means that the JSON leaves the key out, and nested values are JSON text. `day_records` is what
becomes of the records in the end; `as_of` is what the portal knew at an instant.
"""

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.feeds.clocks import utc_instant
from city311_assets.feeds.feed import ROW_CREATED_AT, ROW_ID, ROW_UPDATED_AT, Feed
from city311_assets.sample_city.cities.registry import simulated_feed
from city311_assets.sample_city.draws import draws
from city311_assets.sample_city.geography import tiling
from city311_assets.sample_city.simulation import Draws
from city311_assets.sample_city.texts import ROW_LETTERS, WALL, record_ids, utc_text, wall_text

# The portal loads what the city's system has within this long, in seconds.
LOADED_WITHIN = (60, 900)


def _row_ids(letters: NDArray[np.uint8]) -> pl.Series:
    """Return ids like `row-abcd-efgh-ijkm` from random numbers of 0 to 31, twelve a row."""
    text = np.full((len(letters), 18), ord("-"), dtype=np.uint8)
    text[:, :4] = np.frombuffer(b"row-", dtype=np.uint8)
    picked = np.frombuffer(ROW_LETTERS, dtype=np.uint8)[letters]
    text[:, 4:8], text[:, 9:13], text[:, 14:18] = picked[:, :4], picked[:, 4:8], picked[:, 8:]
    return pl.Series(
        ROW_ID, np.ascontiguousarray(text).view("S18").ravel().tolist(), pl.Binary
    ).cast(pl.String)


def _instants(drawn: Draws) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return when the portal first had each record, and when it last changed, in UTC seconds."""
    if drawn.simulated.instants:
        return drawn.simulated.instants(drawn)
    least, most = LOADED_WITHIN
    delay = (least + (most - least) * drawn.choices[5]).astype(np.int64)
    created = drawn.opened + delay
    closing = np.nan_to_num(drawn.hours * 3_600).astype(np.int64)
    later = drawn.opened + closing + delay + 60
    return created, np.where(np.isnan(drawn.hours), created, later)


def _system_columns(drawn: Draws) -> dict[str, pl.Series]:
    created, updated = _instants(drawn)
    return {
        ROW_ID: _row_ids(drawn.row_ids[: drawn.size]),
        ROW_CREATED_AT: utc_text(created),
        ROW_UPDATED_AT: utc_text(updated),
        drawn.feed.opened: wall_text(drawn.wall),
    }


def _with_older_versions(frame: pl.DataFrame, drawn: Draws) -> pl.DataFrame:
    """Add the version at creation of the few records that the portal holds twice."""
    twice = np.flatnonzero(drawn.is_repeated & (np.nan_to_num(drawn.hours) > 0))
    if twice.size == 0:
        return frame
    older = frame[twice].with_columns(**_at_creation(drawn.feed, frame.columns))
    older = older.with_columns(_row_ids(drawn.row_ids[drawn.size + twice]))
    return pl.concat([frame, older])


def day_events(feed: Feed, day: date, *, seed: int, records_per_day: int) -> pl.DataFrame:
    """Return only Socrata's own columns and the opening time of one day's records."""
    drawn = draws(feed, day, seed=seed, records_per_day=records_per_day)
    return _with_older_versions(pl.DataFrame(_system_columns(drawn)), drawn)


def day_records(feed: Feed, day: date, *, seed: int, records_per_day: int) -> pl.DataFrame:
    """Return every record opened on one city-local day, as it will be in the end.

    The same arguments give the same values, whatever else was asked before.
    """
    drawn = draws(feed, day, seed=seed, records_per_day=records_per_day)
    filled = _system_columns(drawn) | drawn.simulated.columns(drawn)
    empty = pl.Series([None], dtype=pl.String).new_from_index(0, drawn.size)
    names = [ROW_ID, ROW_CREATED_AT, ROW_UPDATED_AT, *feed.column_names]
    computed = [name for name in filled if name not in names]
    frame = pl.DataFrame({name: filled.get(name, empty) for name in [*names, *computed]})
    return _with_older_versions(frame, drawn)


def _at_creation(feed: Feed, columns: list[str]) -> dict[str, pl.Expr]:
    """Return what a record's changing columns held when it was new, of those there are."""
    opened = pl.col(feed.opened)
    none = pl.lit(None, pl.String)
    status, notes = feed.fields.get("status"), feed.fields.get("status_notes")
    arrest = feed.fields.get("is_arrest")
    states = {
        ROW_UPDATED_AT: pl.col(ROW_CREATED_AT),
        feed.closed: none,
        status: pl.lit("Open"),
        notes: none,
        arrest: pl.lit("false"),
    } | dict.fromkeys(simulated_feed(feed).touched, opened)
    if feed.changed and feed.closed:
        states[feed.changed] = opened
    elif feed.changed:
        loaded = utc_instant(pl.col(ROW_CREATED_AT)).dt.replace_time_zone("UTC")
        local = loaded.dt.convert_time_zone(feed.city.timezone).dt.replace_time_zone(None)
        states[feed.changed] = local.dt.to_string(WALL)
    return {name: value for name, value in states.items() if name in columns}


def as_of(frame: pl.DataFrame, feed: Feed, now: datetime) -> pl.DataFrame:
    """Return what the portal knew at an instant: no record opened, closed or changed after it.

    Works on any of the columns of `day_records`, given Socrata's own and the opening time.
    """
    clock = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    known = frame.filter(pl.col(ROW_CREATED_AT) <= clock)
    later = pl.col(ROW_UPDATED_AT) > clock
    states = _at_creation(feed, frame.columns)
    return known.with_columns(
        **{name: pl.when(later).then(state).otherwise(name) for name, state in states.items()}
    )


def day_outcomes(feed: Feed, day: date, *, seed: int, records_per_day: int) -> pl.DataFrame:
    """Return the potential outcomes of one day's records: the truth that no portal publishes.

    `hours_elsewhere` is what closing takes in a null neighbourhood; both hours are null for cases
    never closed. `neighborhood` is where the case truly lies, also when its record does not say.
    """
    drawn = draws(feed, day, seed=seed, records_per_day=records_per_day)
    names = np.array(tiling(feed.city.name, "neighborhood").names, dtype=object)
    hours = pl.Series(drawn.hours).fill_nan(None)
    return pl.DataFrame(
        {
            "record_id": record_ids(drawn),
            "neighborhood": names[drawn.area].tolist(),
            "kind": [drawn.parts[index].kind for index in drawn.variety],
            "topic": pl.Series([drawn.parts[i].topic for i in drawn.variety], dtype=pl.String),
            "hours_to_close": hours,
            "hours_elsewhere": hours - pl.Series(drawn.extra),
        }
    )
