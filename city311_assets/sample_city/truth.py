"""The planted truth: what the sample city's records were made from, published.

What belongs here: values that a test or a page may compare an estimate with. What does not: the
faults of the records, which tell nothing about the city.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache

from city311_assets.sample_city.cities.registry import SIMULATED
from city311_assets.sample_city.geography import tiling
from city311_assets.sample_city.kinds import AT_LEAKS, varieties
from city311_assets.sample_city.leaks import leak_cells
from city311_assets.sample_city.simulation import HotSpot

# The spread of closing hours around their mean: the sigma of a lognormal factor of mean 1.
CLOSING_SIGMA = 0.7
# The part of cases that is never closed, whatever they are.
NEVER_CLOSED_SHARE = 0.015
# What a photo without a visual topic shows.
NOTHING_PHRASE = "an empty street"


@dataclass(frozen=True, slots=True)
class PhotoBirth:
    """A visual topic that begins on a day: from then on photos of others show it instead.

    `shares` gives the part of the photos of each other topic.
    """

    feed: str
    topic: str
    phrase: str
    starts: date
    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PhotoDeath:
    """A visual topic that ends: from that day on photos of its cases show nothing in particular."""

    feed: str
    topic: str
    ends: date


PHOTO_BIRTHS = (
    PhotoBirth(
        "sf_311",
        "robot_taxi",
        "a stalled driverless taxi in a bicycle lane",
        date(2026, 11, 1),
        {"blocked_driveway": 0.5, "abandoned_car": 0.5, "blocked_sidewalk": 0.5},
    ),
)
PHOTO_DEATHS = (PhotoDeath("sf_311", "postings", date(2026, 9, 1)),)


def leak_kinds() -> tuple[str, ...]:
    """Return the Chicago kinds that follow the leak intensity of their cell."""
    return tuple(part.kind for part in varieties("chicago_311") if part.profile == AT_LEAKS)


def topics(feed: str) -> dict[str, str]:
    """Return what a photo of each visual topic shows, by topic."""
    return {part.topic: part.phrase or "" for part in varieties(feed) if part.topic}


def photo_phrases(feed: str) -> dict[str, str]:
    """Return what a photo of each visual topic shows, those that begin later included."""
    later = {birth.topic: birth.phrase for birth in PHOTO_BIRTHS if birth.feed == feed}
    return topics(feed) | later


def _dated(feed: str, spot: HotSpot) -> dict[str, object]:
    bounds = {name: getattr(spot, name) for name in ("starts", "fades", "ends")}
    texts = {name: day.isoformat() if day else None for name, day in bounds.items()}
    return {"feed": feed} | asdict(spot) | texts | {"trend": spot.trend, "kinds": list(spot.kinds)}


@cache
def truth(seed: int) -> dict[str, object]:
    """Return the whole planted truth of one seed, ready for JSON."""
    feeds = {name: feed for city in SIMULATED.values() for name, feed in city.feeds.items()}
    extras = {
        name: {area: city.extra_hours.get(area, 0.0) for area in tiling(name, "neighborhood").names}
        for name, city in SIMULATED.items()
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
        "kinds": {name: [asdict(part) for part in varieties(name)] for name in feeds},
        "unknown_kinds": {name: feed.unknown_kind for name, feed in feeds.items()},
        "topics": {name: topics(name) for name in feeds},
        "photo_births": [
            asdict(birth) | {"shares": dict(birth.shares), "starts": birth.starts.isoformat()}
            for birth in PHOTO_BIRTHS
        ],
        "photo_deaths": [
            asdict(death) | {"ends": death.ends.isoformat()} for death in PHOTO_DEATHS
        ],
        "hot_spots": [
            _dated(name, spot) for name, feed in feeds.items() for spot in feed.hot_spots
        ],
        "leaks": leak_cells(seed).published() | {"kinds": list(leak_kinds())},
    }
