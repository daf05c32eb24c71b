"""The planted truth: what the sample city's records were made from, published.

What belongs here: values that a test or a page may compare an estimate with. What does not: the
faults of the records, which tell nothing about the city.
"""

from dataclasses import asdict, dataclass
from datetime import date
from functools import cache

from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.sample_city.geography import tiling
from city311_assets.sample_city.kinds import AT_LEAKS, varieties
from city311_assets.sample_city.leaks import leak_cells

# Kinds that no taxonomy of the project knows, so that "unmapped" is exercised.
UNKNOWN_KINDS = {
    "sf_311": "Curb Management Pilot",
    "chicago_311": "Smart Meter Opt-In Pilot",
    "chicago_crimes": "DRONE ORDINANCE VIOLATION",
}

# Hours that a case takes longer to close than the same case elsewhere. Neighbourhoods not named
# are null: their extra is exactly zero.
EXTRA_HOURS: dict[str, dict[str, float]] = {
    "san_francisco": {
        "Bayview": 48.0,
        "Mission": 30.0,
        "Tenderloin": 36.0,
        "Hunters Point": 60.0,
        "Excelsior": 42.0,
        "Outer Sunset": 24.0,
        "Visitacion Valley": 54.0,
        "Oceanview": 30.0,
        "Western Addition": 18.0,
    },
    "chicago": {
        "ENGLEWOOD": 72.0,
        "WEST ENGLEWOOD": 60.0,
        "AUSTIN": 54.0,
        "NORTH LAWNDALE": 60.0,
        "ROSELAND": 48.0,
        "SOUTH SHORE": 36.0,
        "NEW CITY": 42.0,
        "BELMONT CRAGIN": 24.0,
        "HUMBOLDT PARK": 30.0,
        "AUBURN GRESHAM": 48.0,
    },
}

# The spread of closing hours around their mean: the sigma of a lognormal factor of mean 1.
CLOSING_SIGMA = 0.7
# The part of cases that is never closed, whatever they are.
NEVER_CLOSED_SHARE = 0.015


@dataclass(frozen=True, slots=True)
class HotSpot:
    """A disc where kinds come in `multiplier` times as often as in the area around it.

    The multiplier is in force from `starts` to `ends`; from `fades` on it falls in a straight line
    to 1 on `ends`. A null date has no bound.
    """

    feed: str
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


HOT_SPOTS: tuple[HotSpot, ...] = (
    HotSpot(
        "sf_311", "Mission & 16th", 37.7650, -122.4197, 220, 8, ("Street and Sidewalk Cleaning",)
    ),
    HotSpot("sf_311", "Turk & Leavenworth", 37.7828, -122.4140, 200, 6, ("Encampments",)),
    HotSpot(
        "sf_311", "Haight", 37.7695, -122.4480, 250, 18, ("Graffiti",), starts=date(2026, 9, 1)
    ),
    HotSpot(
        "sf_311",
        "Bayshore",
        37.7390,
        -122.4040,
        300,
        16,
        ("Abandoned Vehicle", "Street and Sidewalk Cleaning"),
        fades=date(2025, 10, 1),
        ends=date(2026, 8, 1),
    ),
    HotSpot(
        "chicago_311",
        "Fullerton & Kedzie",
        41.9250,
        -87.7070,
        350,
        22,
        ("Graffiti Removal Request",),
    ),
    HotSpot(
        "chicago_311",
        "63rd & Halsted",
        41.7797,
        -87.6440,
        350,
        25,
        ("Fly Dumping Complaint", "Vacant/Abandoned Building Complaint"),
    ),
    HotSpot(
        "chicago_311",
        "Albany Park alleys",
        41.9660,
        -87.7180,
        350,
        24,
        ("Rodent Baiting/Rat Complaint",),
        starts=date(2026, 8, 15),
    ),
    HotSpot(
        "chicago_311",
        "Garfield Ridge",
        41.7960,
        -87.7650,
        350,
        24,
        ("Abandoned Vehicle Complaint",),
        fades=date(2025, 10, 1),
        ends=date(2026, 8, 1),
    ),
    HotSpot("chicago_crimes", "State & Lake", 41.8858, -87.6279, 250, 7, ("THEFT", "ROBBERY")),
    HotSpot(
        "chicago_crimes", "Garfield & Pulaski", 41.8800, -87.7255, 350, 22, ("NARCOTICS", "BATTERY")
    ),
    HotSpot(
        "chicago_crimes",
        "Wicker Park",
        41.9088,
        -87.6775,
        350,
        16,
        ("MOTOR VEHICLE THEFT", "THEFT"),
        starts=date(2026, 8, 1),
    ),
    HotSpot(
        "chicago_crimes",
        "Chatham",
        41.7430,
        -87.6150,
        350,
        18,
        ("BATTERY", "ASSAULT"),
        fades=date(2025, 9, 1),
        ends=date(2026, 7, 1),
    ),
)


def hot_spots(feed: str) -> tuple[HotSpot, ...]:
    """Return the hot spots of one feed, in a fixed order."""
    return tuple(spot for spot in HOT_SPOTS if spot.feed == feed)


def leak_kinds() -> tuple[str, ...]:
    """Return the Chicago kinds that follow the leak intensity of their cell."""
    return tuple(part.kind for part in varieties("chicago_311") if part.profile == AT_LEAKS)


def topics(feed: str) -> dict[str, str]:
    """Return what a photo of each visual topic shows, by topic."""
    return {part.topic: part.phrase or "" for part in varieties(feed) if part.topic}


def _dated(spot: HotSpot) -> dict[str, object]:
    bounds = {name: getattr(spot, name) for name in ("starts", "fades", "ends")}
    texts = {name: day.isoformat() if day else None for name, day in bounds.items()}
    return asdict(spot) | texts | {"trend": spot.trend, "kinds": list(spot.kinds)}


@cache
def truth(seed: int) -> dict[str, object]:
    """Return the whole planted truth of one seed, ready for JSON."""
    names = {city.name: tiling(city.name, "neighborhood").names for city in CITIES.values()}
    extras = {
        city: {name: EXTRA_HOURS[city].get(name, 0.0) for name in areas}
        for city, areas in names.items()
    }
    return {
        "seed": seed,
        "extra_hours": extras,
        "null_neighborhoods": {
            city: sorted(name for name, hours in areas.items() if hours == 0.0)
            for city, areas in extras.items()
        },
        "closing_sigma": CLOSING_SIGMA,
        "never_closed_share": NEVER_CLOSED_SHARE,
        "kinds": {feed: [asdict(part) for part in varieties(feed)] for feed in FEEDS},
        "unknown_kinds": UNKNOWN_KINDS,
        "topics": {feed: topics(feed) for feed in FEEDS},
        "hot_spots": [_dated(spot) for spot in HOT_SPOTS],
        "leaks": leak_cells(seed).published() | {"kinds": list(leak_kinds())},
    }
