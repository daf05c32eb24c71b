"""What is declared of a city to simulate it: its climate, its truth, and how its feeds are written.

What belongs here: the vocabulary of the declarations. What does not: the declarations, one module a
city in `cities/`, and the tables in `kinds/` and `places/`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.feeds.feed import Feed
from city311_assets.sample_city.kinds import Variety

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Climate:
    """A city's normals, by half-sine between the coldest day and the warmest; degrees Celsius, mm.

    `wet_*` is the chance of a wet day, `rain_mm` the mean of a wet day.
    """

    winter_mean: float
    summer_mean: float
    spread: float
    daily_range: float
    wet_winter: float
    wet_summer: float
    rain_mm: float
    coldest_day: int


@dataclass(frozen=True, slots=True)
class HotSpot:
    """A disc where kinds come in `multiplier` times as often as in the area around it.

    The multiplier is in force from `starts` to `ends`; from `fades` on it falls in a straight line
    to 1 on `ends`. A null date has no bound.
    """

    name: str
    latitude: float
    longitude: float
    radius_m: float
    multiplier: float
    kinds: tuple[str, ...]
    starts: date | None = None
    fades: date | None = None
    ends: date | None = None

    @property
    def trend(self) -> str:
        """`persistent`, `new` (has a start) or `fading` (has an end)."""
        return "new" if self.starts else "fading" if self.ends else "persistent"

    def multiplier_on(self, day: date) -> float:
        """Return how many times the rate of the surroundings the disc has on one day."""
        if (self.starts and day < self.starts) or (self.ends and day >= self.ends):
            return 1.0
        if self.fades and self.ends and day > self.fades:
            left = (self.ends - day).days / (self.ends - self.fades).days
            return 1.0 + (self.multiplier - 1.0) * left
        return self.multiplier


@dataclass(frozen=True, kw_only=True)
class SimulatedFeed:
    """How one feed's records come in and how its portal writes them.

    `columns` turns a day's draws into the portal's columns, texts by name; it may leave out those
    that are always null, and Socrata's own. `types` names the data types that the feed's own
    declaration does not tell (`datasets.column_types`); the rest are text. `weekdays` run from
    Monday, `hours` from midnight; both are scaled to a mean of 1. `instants` says when the portal
    first had each record and when it last changed, where that is not soon after opening and
    closing. `touched` names columns that hold the time of opening until a record changes,
    `computed_columns` those of the portal's own making. Numbers run on for ever, or with a
    `year_prefix` start anew each year, behind it and the year.
    """

    columns: "Callable[[Draws], dict[str, pl.Series]]"
    unknown_kind: str
    hot_spots: tuple[HotSpot, ...]
    weekdays: tuple[float, ...]
    hours: tuple[float, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    duplicate_share: float = 0.0
    year_prefix: str | None = None
    instants: "Callable[[Draws], tuple[Ints, Ints]] | None" = None
    touched: tuple[str, ...] = ()
    computed_columns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SimulatedCity:
    """What all simulated feeds of a city share.

    `extra_hours` is what a case takes longer to close in a neighbourhood than the same case
    elsewhere; a neighbourhood not named is null, its extra exactly zero. `feeds` are by name.
    `fixed_places` gives longitude and latitude to profiles of kinds that are not drawn over the
    city's areas; with `has_leaks` the profile `leaks` is drawn from the model of `leaks`.
    """

    name: str
    climate: Climate
    elevation_m: float
    extra_hours: Mapping[str, float]
    feeds: Mapping[str, SimulatedFeed]
    fixed_places: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    has_leaks: bool = False


@dataclass(frozen=True)
class Draws:
    """One day's records, by time of opening; arrays of one length.

    `opened` is the instant and `wall` the local wall time of opening, in seconds. `hours` is what
    closing takes (NaN: never), `extra` how much of it the neighbourhood adds. `parent` is the index
    of the record that one repeats, -1 for none. `choices` are uniform, for the portal's part.
    """

    feed: Feed
    simulated: SimulatedFeed
    day: date
    records_per_day: int
    parts: tuple[Variety, ...]
    variety: Ints
    area: Ints
    longitude: Floats
    latitude: Floats
    opened: Ints
    wall: Ints
    hours: Floats
    extra: Floats
    number: Ints
    parent: Ints
    is_repeated: Bools
    choices: Floats
    row_ids: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """How many records there are."""
        return self.variety.size
