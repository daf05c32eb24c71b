"""A made-up town for tests of risk: what is planted in it, and the warehouse it comes out as.

    town = planted(dt.date(2024, 1, 1), days=500)
    store(warehouse, town)

fills `silver.requests`, `silver.weather_days`, `gold.cells`, `bronze.boundaries` and the books of
days held (`meta.slices`), which is all that `risk.cell_days` and `risk.outcomes` read. Then
`materialize([*cell_days(LEAKS)], warehouse, None, first, last)` of `portals` makes the tables.

`town.cells` are the n cells of resolution 9, sorted, as `gold.cells` has them; `town.intensity` is
what was planted, calls a day and cell (days x n), and `town.calls` what came of it. How busy a cell
is, is drawn once from a gamma distribution of shape `evenness` (smaller: a few cells have most
calls); on the six days after one with frost calls are `frost` times as many. The kinds of calls are
the target's in several spellings, one in ten is marked a repeat, and `others_per_day` requests are
of another kind. The town lies in two wards, `1` in the west and `2` in the east. Everything was
observed 30 days after the last day, unless told. With the arguments of the default a town of 500
days takes a tenth of a second to plant and one to store (copy the file for tests that change it).
"""

import datetime as dt
import json
from dataclasses import dataclass
from functools import lru_cache

import h3.api.basic_int as h3
import numpy as np
import polars as pl

from city311_assets.feeds.registry import FEEDS
from city311_assets.gold.cells import cell_rows
from city311_assets.gold.methods.arrays import Cells, Floats, Ints
from city311_assets.partitions import Slice
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.targets.target import Target
from city311_assets.silver.weather_days import weather_day_rows
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.silver import REQUESTS, WEATHER_DAYS
from city311_assets_tests.silver.raw import filled

NORTH, EAST = 41.88, -87.65
HALF_SIDE = 0.012
ARCHIVE_LAG_DAYS = 5
FROST_LASTS_DAYS = 6
OTHER_KIND = "Pothole in Street Complaint"
# The same kinds, as the portal came to spell them.
SPELLINGS = (str, str.upper, lambda kind: kind.replace(" ", "  "), lambda kind: kind + "-")


@dataclass(frozen=True, eq=False)
class Town:
    """What is planted (see the module), and the rows of silver, gold and bronze that say it."""

    target: Target
    days: list[dt.date]
    cells: Cells
    intensity: Floats
    calls: Ints
    requests: pl.DataFrame
    weather: pl.DataFrame
    areas: pl.DataFrame
    outline: pl.DataFrame
    observed: dt.datetime

    @property
    def part(self) -> Slice:
        """The feed's slice of all days."""
        return Slice(
            self.target.feed.name, self.days[0], self.days[-1] + dt.timedelta(days=1), "feed"
        )


def outline(half_side: float = HALF_SIDE) -> str:
    """The town's outline, GeoJSON; `half_side` in degrees."""
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    ring = [[EAST + x * half_side, NORTH + y * half_side] for x, y in corners]
    return json.dumps({"type": "Polygon", "coordinates": [ring]})


@lru_cache
def study_area(half_side: float, feed: str) -> pl.DataFrame:
    """Return the town's `gold.cells` of a feed, while no record has been seen."""
    boundaries = pl.DataFrame({"area": ["Town"], "geometry": [outline(half_side)]})
    unseen = dict.fromkeys(("street", "district", "community_area", "neighborhood"), pl.String)
    named = pl.DataFrame(schema={"cell": pl.UInt64, **unseen, "records": pl.Int64})
    return cell_rows(FEEDS[feed], boundaries, named)


def weather_of(
    target: Target, days: list[dt.date], seed: int, lag: int = ARCHIVE_LAG_DAYS
) -> pl.DataFrame:
    """Return `silver.weather_days` of the days: cold winters, and rain on one day in four."""
    rng = np.random.default_rng(seed)
    first, size = days[0] - dt.timedelta(days=14), len(days) + 14
    every = [first + dt.timedelta(days=n) for n in range(size)]
    year = np.array([day.timetuple().tm_yday for day in every]) / 365.25
    wander = np.convolve(rng.normal(0, 2.5, size + 4), np.ones(5) / np.sqrt(5), "valid")
    low = 6 - 12 * np.cos(2 * np.pi * (year - 0.05)) + wander
    rain = np.where(rng.random(size) < 0.25, rng.exponential(12.0, size), 0.0)
    observed = pl.DataFrame(
        {
            "day": every,
            "temperature_min_c": low,
            "temperature_max_c": low + rng.uniform(2, 9, size),
            "precipitation_mm": rain,
            "snowfall_cm": np.where(low < 0, rain / 2, 0.0),
        }
    )
    part = Slice(target.feed.city.name, days[0], days[-1] + dt.timedelta(days=1), "city")
    issued = observed.clear().with_columns(issued_on=pl.lit(None, pl.Date))
    return weather_day_rows(observed, issued, part, lag)


def planted(
    first: dt.date,
    days: int,
    *,
    target: Target = LEAKS,
    seed: int = 1,
    calls_per_day: float = 6.0,
    others_per_day: float = 20.0,
    evenness: float = 0.5,
    frost: float = 2.0,
    half_side: float = HALF_SIDE,
    observed: dt.datetime | None = None,
) -> Town:
    """Draw a town; what the arguments mean is said in the module."""
    rng = np.random.default_rng(seed)
    every = [first + dt.timedelta(days=n) for n in range(days)]
    areas = study_area(half_side, target.feed.name)
    cells = areas.filter(pl.col("resolution") == 9)["cell"].sort().to_numpy().astype(np.uint64)
    weather = weather_of(target, every, seed)
    cold = weather["is_freeze"].to_numpy().astype(np.float64)
    lately = np.convolve(cold, np.r_[0.0, np.ones(FROST_LASTS_DAYS)])[:days]
    busy = rng.gamma(evenness, size=cells.size)
    intensity = np.outer(np.where(lately > 0, frost, 1.0), calls_per_day * busy / busy.sum())
    calls = rng.poisson(intensity)
    others = rng.poisson(others_per_day / cells.size, calls.shape)
    seen = observed or dt.datetime.combine(every[-1] + dt.timedelta(days=30), dt.time(12))
    rows = [
        _requests(target, every, cells, counted, is_call=is_call, observed=seen, rng=rng)
        for counted, is_call in ((calls, True), (others, False))
    ]
    edge = pl.DataFrame(
        {
            "city": [target.feed.city.name],
            "areas": ["neighborhood"],
            "area": ["Town"],
            "part": [0],
            "geometry": [outline(half_side)],
            "dataset": ["town"],
            "fetched_from": ["portal"],
            "fetched_at": [seen],
        }
    )
    return Town(
        target=target,
        days=every,
        cells=cells,
        intensity=intensity,
        calls=calls.astype(np.int64),
        requests=pl.concat(rows),
        weather=weather,
        areas=areas,
        outline=filled(BOUNDARIES, *edge.to_dicts()),
        observed=seen,
    )


def _requests(
    target: Target,
    days: list[dt.date],
    cells: Cells,
    counted: Ints,
    *,
    is_call: bool,
    observed: dt.datetime,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Return as many rows of silver in each day and cell as were counted."""
    day_of, cell_of = (np.repeat(at, counted[counted > 0]) for at in np.nonzero(counted))
    size = day_of.size
    inner = np.array([list(h3.cell_to_children(cell, 10)) for cell in cells.tolist()], np.uint64)
    child = inner[cell_of, rng.integers(0, inner.shape[1], size)]
    places = {cell: h3.cell_to_latlng(cell) for cell in np.unique(child).tolist()}
    point = np.array([places[cell] for cell in child.tolist()]).reshape(-1, 2)
    kinds = [spell(kind) for kind in target.kinds for spell in SPELLINGS]
    kind = [kinds[n] for n in rng.integers(0, len(kinds), size)] if is_call else OTHER_KIND
    hours = rng.lognormal(3.5, 1.2, size)
    opened = pl.Series([days[n] for n in day_of], dtype=pl.Date).cast(pl.Datetime("us"))
    opened = opened + pl.Series(rng.integers(1, 86_400, size) * 1_000_000).cast(pl.Duration("us"))
    word = "call" if is_call else "other"
    values = {
        "day": pl.Series([days[n] for n in day_of], dtype=pl.Date),
        "record_id": [f"{word}-{n:07}" for n in range(size)],
        "opened_at": opened,
        "opened_at_utc": opened,
        "kind": pl.Series([kind] * size if isinstance(kind, str) else kind, dtype=pl.String),
        "street": pl.Series([f"STREET {n % 40}" for n in cell_of], dtype=pl.String),
        "ward": pl.Series(
            ["2" if is_east else "1" for is_east in point[:, 1] > EAST], dtype=pl.String
        ),
        "latitude": point[:, 0],
        "longitude": point[:, 1],
        "cell": child,
        "hour": opened.dt.hour().cast(pl.UInt8),
        "weekday": opened.dt.weekday().cast(pl.UInt8),
        "closed": opened + pl.Series(hours * 3.6e9).cast(pl.Int64).cast(pl.Duration("us")),
        "hours": hours,
        "is_duplicate": rng.random(size) < 0.1,
    }
    is_known = pl.col("closed") <= observed
    same = {
        "feed": target.feed.name,
        "category": "water" if is_call else "streets",
        "taxonomy": target.feed.taxonomy,
        "neighborhood": "Town",
        "has_point": True,
        "is_time_certain": True,
        "record_url": "https://town.example",
        "origin": "portal",
        "is_administrative": False,
    }
    known = pl.DataFrame(values).with_columns(
        pl.lit(observed, pl.Datetime("us")).alias("observed_until"),
        pl.when(is_known).then("closed").alias("closed_at"),
        pl.when(is_known).then("closed").alias("closed_at_utc"),
        pl.when(is_known).then("hours").alias("hours_to_close"),
        pl.when(~is_known).then(pl.lit("open")).alias("hours_to_close_reason"),
        **{name: pl.lit(value) for name, value in same.items()},
    )
    empty = filled(REQUESTS)
    return known.select(
        pl.col(name) if name in known.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in empty.schema.items()
    )


def store(warehouse: Warehouse, town: Town) -> None:
    """Put a town into a warehouse."""
    feed, city = town.target.feed, town.target.feed.city.name
    warehouse.replace(REQUESTS, town.requests, town.part)
    books = pl.DataFrame({"day": town.days}).select(
        pl.lit(feed.name).alias("feed"),
        "day",
        pl.lit(0, pl.Int64).alias("rows"),
        pl.lit(town.observed, pl.Datetime("us")).alias("asked_at"),
        pl.lit(None, pl.Datetime("us")).alias("marked_stale_at"),
    )
    warehouse.replace(SLICES, books, town.part)
    of_city = Slice(city, town.part.start, town.part.end, "city")
    warehouse.replace(WEATHER_DAYS, town.weather, of_city)
    warehouse.replace(CELLS, town.areas, feed.name)
    warehouse.replace(BOUNDARIES, town.outline, city)
