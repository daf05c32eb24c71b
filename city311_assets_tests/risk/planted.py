"""A made-up city whose calls follow a known intensity, as rows of `risk.cell_days` and `outcomes`.

How busy a cell is, is drawn from a gamma distribution and then drifts: the logarithm is within
`drift` of where it began, and comes back from halfway in two months. For a week after frost, which
comes and goes all year, calls are `frost` times as many. Features are plain sums, written here a
second time. Where `is_useless`, calls come everywhere and always alike: no feature tells anything.
"""

import datetime as dt
import json
from dataclasses import dataclass
from functools import lru_cache

import h3.api.basic_int as h3
import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from city311_assets.gold.methods.arrays import Bools, Cells, Floats, Ints
from city311_assets.partitions import Slice
from city311_assets.risk.methods.candidates import Rows, SeasonCounts, months_of_year
from city311_assets.risk.methods.feature_names import FEATURES
from city311_assets.risk.targets.target import Target
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.risk import CELL_DAYS, OUTCOMES
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.silver.raw import TYPES, filled

MIDDLE = -87.65
CENTRE = h3.latlng_to_cell(41.88, MIDDLE, 9)
FIRST = dt.date(2024, 1, 1)
HORIZON = 7


@dataclass(frozen=True, eq=False)
class City:
    """What is planted: `calls` and `intensity` are days x cells, `columns` features of that shape.

    `chance` is the true probability of an event in the 7 days after each day but the last seven,
    and `after` the calls that came in them.
    """

    first: dt.date
    cells: Cells
    calls: Ints
    intensity: Floats
    columns: dict[str, Floats]
    after: Ints
    chance: Floats

    @property
    def days(self) -> np.ndarray:
        """The days of which the next seven are over."""
        return np.datetime64(self.first, "D") + np.arange(len(self.after))

    def rows(self, first: int, last: int, step: int = 1) -> Rows:
        """Return the rows of days by their places, `last` not included."""
        at = np.arange(first, last, step)
        x = np.stack([self.columns[name][at] for name in FEATURES], axis=-1)
        cells, days = np.broadcast_arrays(self.cells, self.days[at, None])
        return Rows(
            x.reshape(-1, len(FEATURES)).astype(np.float32),
            cells.ravel(),
            days.ravel(),
            self.after[at].ravel(),
        )

    def counts(self, first: int, last: int) -> SeasonCounts:
        """Return days and events of cells by month of the year, of days by their places."""
        month = months_of_year(self.days[first:last], 4)
        is_month = (month[:, None] == np.arange(12)).astype(float)
        events = (self.after[first:last] > 0).T @ is_month
        days = np.broadcast_to(is_month.sum(axis=0), events.shape)
        return SeasonCounts(self.cells, events.astype(np.float64), days.astype(np.float64))

    def truth(self, first: int, last: int) -> Floats:
        """Return the true probabilities of `rows`."""
        return self.chance[first:last].ravel()


@lru_cache
def planted(
    days: int = 500,
    *,
    steps: int = 8,
    weekly: float = 0.15,
    evenness: float = 0.7,
    frost: float = 2.0,
    drift: float = 1.0,
    is_useless: bool = False,
    seed: int = 1,
) -> City:
    """Draw a city of 1 + 3 n (n + 1) cells around a centre, n being `steps`."""
    rng = np.random.default_rng(seed)
    cells = np.sort(np.array(h3.grid_disk(CENTRE, steps), np.uint64))
    n = cells.size
    weather, lately = _weather(days, rng)
    busy = rng.gamma(evenness, 1 / evenness, n) * np.exp(_wander(days, n, drift, 60, rng))
    moved = np.where(lately, frost, 1.0)[:, None] * busy
    intensity = weekly / HORIZON * (np.ones((days, n)) if is_useless else moved / moved.mean())
    calls = rng.poisson(intensity)
    others = calls + rng.poisson(0.1, calls.shape)
    passed = _passed(calls)
    after = passed[HORIZON + 1 :] - passed[1:-HORIZON]
    expected = np.concatenate([np.zeros((1, n)), intensity.cumsum(axis=0)])
    chance = -np.expm1(-(expected[HORIZON + 1 :] - expected[1:-HORIZON]))
    columns = _history(calls, others, cells)
    columns |= {name: np.repeat(values[:, None], n, axis=1) for name, values in weather.items()}
    return City(FIRST, cells, calls, intensity, columns, after, chance)


def _weather(days: int, rng: np.random.Generator) -> tuple[dict[str, Floats], Bools]:
    """Return the columns that all cells share, and on which days it froze in the week before."""
    of_year = 2 * np.pi * (np.arange(days) + 4) / 365.25
    low = 4 - 3 * np.cos(of_year) + _wander(days, 1, 4.0, 3, rng)[:, 0]
    high = low + rng.uniform(2, 9, days)
    rain = np.where(rng.random(days) < 0.25, rng.exponential(12.0, days), 0.0)

    def of_days(values: ArrayLike, length: int) -> Floats:
        summed = np.convolve(np.asarray(values, np.float64), np.ones(length))
        return summed[:days].astype(np.float64)

    thaw = (low < 0) & (high > 0)
    frost: Bools = of_days(low < 0, HORIZON) > 0
    weekday = (np.arange(days) + FIRST.weekday()) % 7 + 1.0
    columns = {
        "season_sin": np.sin(of_year),
        "season_cos": np.cos(of_year),
        "weekday": weekday,
        "temperature_min_c": low,
        "temperature_max_c": high,
        "temperature_drop_c": np.append(0.0, low[:-1] - low[1:]),
        "is_freeze": (low < 0) * 1.0,
        "is_freeze_thaw": thaw * 1.0,
        "freeze_thaw_days_7d": of_days(thaw, 7),
        "freezing_degree_days_14d": of_days(np.maximum(-low, 0), 14),
        "is_heavy_rain": (rain >= 25) * 1.0,
        "rain_3d_mm": of_days(rain, 3),
        "rain_7d_mm": of_days(rain, 7),
    }
    return {name: np.asarray(values, np.float64) for name, values in columns.items()}, frost


def _wander(
    days: int, n: int, deviation: float, half_life: int, rng: np.random.Generator
) -> Floats:
    """Return n series that come back to 0, of a standard deviation, days x n."""
    kept = 0.5 ** (1 / half_life)
    shocks = rng.normal(0, deviation, (days, n))
    shocks[1:] *= np.sqrt(1 - kept**2)
    for day in range(1, days):
        shocks[day] += kept * shocks[day - 1]
    return shocks


def _passed(counts: Ints) -> Ints:
    """Return the sum before each day, and before the one after the last."""
    return np.concatenate([np.zeros((1, counts.shape[1]), np.int64), counts.cumsum(axis=0)])


def _history(calls: Ints, others: Ints, cells: Cells) -> dict[str, Floats]:
    """Return the columns that come of calls; unknown where a window begins before the first day."""
    days, n = calls.shape

    def window(counts: Ints, length: int) -> Floats:
        passed = _passed(counts)
        found = np.full((days, n), np.nan)
        found[length - 1 :] = passed[length:] - passed[: max(days - length + 1, 0)]
        return found

    columns = {f"calls_{k}d": window(calls, k) for k in (7, 14, 30, 90, 365)}
    columns |= {f"all_calls_{k}d": window(others, k) for k in (30, 365)}
    place = {cell: at for at, cell in enumerate(cells.tolist())}
    for ring in (1, 2):
        around = np.zeros((n, n))
        for cell, at in place.items():
            around[at, [place[o] for o in h3.grid_ring(cell, ring) if o in place]] = 1
        columns[f"ring{ring}_calls_30d"] = columns["calls_30d"] @ around
        if ring == 1:
            columns["ring1_calls_365d"] = columns["calls_365d"] @ around
    for half_life in (7, 30):
        kept, decayed = 0.5 ** (1 / half_life), np.zeros((days, n))
        for day in range(days):
            decayed[day] = calls[day] + (kept * decayed[day - 1] if day else 0)
        columns[f"decay_{half_life}d"] = decayed
    newest = np.maximum.accumulate(np.where(calls > 0, np.arange(days)[:, None], -1), axis=0)
    since = np.arange(days)[:, None] - newest
    columns["days_since_last"] = np.where(newest < 0, np.nan, since)
    held = np.arange(1, days + 1)[:, None]
    mean = calls.cumsum(axis=0).mean(axis=1, keepdims=True) / held
    columns["parent_rate"] = np.repeat(mean, n, axis=1)
    columns["long_run_rate"] = (calls.cumsum(axis=0) + 60 * mean) / (held + 60)
    columns["same_weeks_last_year"] = np.full((days, n), np.nan)
    return columns


def store(warehouse: Warehouse, city: City, target: Target) -> None:
    """Put a city into a warehouse: its cells in two wards, what was known of them, and outcomes."""
    days, n = len(city.calls), city.cells.size
    every = np.datetime64(city.first, "D") + np.arange(days)
    known = {
        **{name: values.ravel() for name, values in city.columns.items()},
        "history_days": np.repeat(np.minimum(np.arange(1, days + 1), 1_095), n),
        "is_provisional": np.zeros(days * n, np.bool_),
    }
    _replace(warehouse, CELL_DAYS, target, _keys(every, city.cells) | known)
    came = city.after.ravel()
    outcomes = {"calls_after_7d": came, "first_calls_after_7d": came, "is_event": came > 0}
    _replace(warehouse, OUTCOMES, target, _keys(city.days, city.cells) | outcomes)
    places = [h3.cell_to_latlng(cell) for cell in city.cells.tolist()]
    areas = pl.DataFrame(
        {
            "feed": [target.feed.name] * n,
            "resolution": pl.Series([9] * n, dtype=pl.UInt8),
            "cell": city.cells,
            "parent": [h3.cell_to_parent(cell, 8) for cell in city.cells.tolist()],
            "latitude": [place[0] for place in places],
            "longitude": [place[1] for place in places],
            "boundary": ["{}"] * n,
            "neighbors": [[]] * n,
            "records_seen": [0] * n,
        }
    )
    warehouse.replace(CELLS, _typed(CELLS, areas), target.feed.name)
    wards = [
        {
            "city": target.feed.city.name,
            "areas": "ward",
            "area": ward,
            "part": 0,
            "geometry": json.dumps({"type": "Polygon", "coordinates": [_ring(west, west + 1)]}),
            "dataset": "planted",
            "fetched_from": "portal",
            "fetched_at": dt.datetime(2024, 1, 1),
        }
        for ward, west in (("1", MIDDLE - 1), ("2", MIDDLE))
    ]
    warehouse.replace(BOUNDARIES, filled(BOUNDARIES, *wards), target.feed.city.name)


def _ring(west: float, east: float) -> list[list[float]]:
    return [[west, 41], [east, 41], [east, 43], [west, 43], [west, 41]]


def _keys(days: np.ndarray, cells: Cells) -> dict[str, np.ndarray]:
    return {"day": np.repeat(days, cells.size), "cell": np.tile(cells, days.size)}


def _replace(
    warehouse: Warehouse, table: Table, target: Target, columns: dict[str, np.ndarray]
) -> None:
    frame = pl.DataFrame({"target": [target.name] * len(columns["cell"]), **columns})
    first, last = columns["day"].min().item(), columns["day"].max().item()
    part = Slice(target.name, first, last + dt.timedelta(days=1), "target")
    warehouse.replace(table, _typed(table, frame), part)


def _typed(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame in a table's columns and types, null where it has none of a column."""
    nan_is_null = frame.with_columns(pl.selectors.float().fill_nan(None))
    return nan_is_null.select(
        (pl.col(column.name) if column.name in frame.columns else pl.lit(None))
        .cast(TYPES[column.type])
        .alias(column.name)
        for column in table.columns
    )
