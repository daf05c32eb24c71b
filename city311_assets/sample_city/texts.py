"""How the portals write numbers, times and places as text; shared by the feeds' columns."""

import json
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from city311_assets.sample_city.simulation import Draws, SimulatedFeed

ROW_LETTERS = b"23456789abcdefghijkmnpqrstuvwxyz"
WALL = "%Y-%m-%dT%H:%M:%S.000"
# Numbers of cases are handed out from a block a day; gaps of up to three keep within it.
NUMBERS_PER_RECORD, SPARE_NUMBERS = 16, 64
# The day from which case numbers count up.
FIRST_NUMBERED_DAY = date(1990, 1, 1)
NO_ADDRESS = json.dumps('{"address": "", "city": "", "state": "", "zip": ""}') + "}"


def _seconds(values: NDArray[np.int64]) -> pl.Series:
    return (pl.Series(values) * 1_000_000).cast(pl.Datetime("us"))


def wall_text(seconds: NDArray[np.int64]) -> pl.Series:
    """Return wall times, in seconds, as floating timestamps."""
    return _seconds(seconds).dt.to_string(WALL)


def utc_text(seconds: NDArray[np.int64]) -> pl.Series:
    """Return instants, in seconds, as UTC timestamps with Z."""
    return _seconds(seconds).dt.to_string(f"{WALL}Z")


def local_text(instants: NDArray[np.int64], timezone: str) -> pl.Series:
    """Return instants, in seconds, as floating timestamps of a city's clock."""
    zoned = _seconds(instants).dt.replace_time_zone("UTC").dt.convert_time_zone(timezone)
    return zoned.dt.replace_time_zone(None).dt.to_string(WALL)


def picked(values: Sequence[str | None], index: ArrayLike) -> pl.Series:
    """Return the text at each index; no text is null."""
    return pl.Series(list(values), dtype=pl.String).gather(pl.Series(np.asarray(index)))


def chosen(values: Sequence[str | None], uniform: NDArray[np.float64]) -> pl.Series:
    """Return one of the texts for each uniform number, all equally often."""
    return picked(values, (uniform * len(values)).astype(np.int64))


def kept(texts: pl.Series, where: NDArray[np.bool_]) -> pl.Series:
    """Return the texts, null where not kept."""
    return texts.set(pl.Series(~where), None)


def number_text(values: NDArray[np.floating] | NDArray[np.integer]) -> pl.Series:
    """Return numbers as the shortest texts that hold them."""
    return pl.Series(values).cast(pl.String)


def joined(*parts: str | pl.Series) -> pl.Series:
    """Return the parts side by side, row by row; null where a part is."""
    columns = [pl.lit(part) if isinstance(part, str) else part for part in parts]
    return pl.select(pl.concat_str(columns)).to_series()


def point_text(latitude: pl.Series, longitude: pl.Series) -> pl.Series:
    """Return the portal's location objects, as JSON text; null where a coordinate is."""
    start, middle = '{"latitude": "', '", "longitude": "'
    return joined(start, latitude, middle, longitude, '", "human_address": ', NO_ADDRESS)


def _block(records_per_day: int) -> int:
    """Return how many numbers a day has to give out."""
    return NUMBERS_PER_RECORD * records_per_day + SPARE_NUMBERS


def record_ids(drawn: Draws) -> pl.Series:
    """Return the record numbers as each feed writes them; they grow with time."""
    block = _block(drawn.records_per_day)
    if prefix := drawn.simulated.year_prefix:
        ordinal = drawn.day.timetuple().tm_yday - 1
        numbers = pl.Series(ordinal * block + drawn.number).cast(pl.String)
        return f"{prefix}{drawn.day:%y}-" + numbers.str.zfill(8)
    ordinal = (drawn.day - FIRST_NUMBERED_DAY).days
    return pl.Series(ordinal * block + drawn.number).cast(pl.String)


def day_of_case(simulated: SimulatedFeed, record_id: str, records_per_day: int) -> date:
    """Return the day on which the record of a number was opened."""
    block = _block(records_per_day)
    if simulated.year_prefix:
        year, number = record_id.removeprefix(simulated.year_prefix).split("-")
        return date(2000 + int(year), 1, 1) + timedelta(int(number) // block)
    return FIRST_NUMBERED_DAY + timedelta(int(record_id) // block)
