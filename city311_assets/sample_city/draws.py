"""What happens in the sample city on one day, as numbers: what, where, when, for how long.

A day's draws depend on (seed, feed, date, records a day) only. What the portal makes of them, with
its faults, is in `records`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zlib import crc32
from zoneinfo import ZoneInfo

import numpy as np

from city311_assets.feeds.feed import Feed
from city311_assets.sample_city.cities.registry import simulated_city, simulated_feed
from city311_assets.sample_city.geography import METERS_PER_DEGREE, Tiling, shortening, tiling
from city311_assets.sample_city.kinds import AFFINITY, AT_LEAKS, Variety, varieties
from city311_assets.sample_city.leaks import leak_cells
from city311_assets.sample_city.simulation import (
    Bools,
    Draws,
    Floats,
    HotSpot,
    Ints,
)
from city311_assets.sample_city.truth import CLOSING_SIGMA, NEVER_CLOSED_SHARE
from city311_assets.sample_city.weather import freeze_thaw_share, heavy_rain, observed

CHOICES = 16
REPEATED_SHARE = 0.001


@dataclass(frozen=True)
class _Plan:
    """What does not change from day to day, worked out once a feed."""

    parts: tuple[Variety, ...]
    tiles: Tiling
    shares: Floats
    area_rank: Floats
    profile: Ints
    kind: Ints
    mean_hours: Floats
    extra: Floats
    seasons: tuple[str, ...]
    fixed_places: Mapping[str, tuple[float, float]]
    spots: tuple[HotSpot, ...]
    spot_parts: tuple[tuple[Ints, Floats], ...]


@cache
def _plan(feed: str, city: str) -> _Plan:
    simulated = simulated_city(city)
    parts = varieties(feed)
    tiles = tiling(city, "neighborhood")
    profiles = list(AFFINITY)
    by_area = np.array([tiles.shares(profile) for profile in profiles])
    shares = np.array([part.share for part in parts])
    names = sorted({part.kind for part in parts})
    density = by_area / tiles.square_km
    spots, chosen = simulated.feeds[feed].hot_spots, []
    for spot in spots:
        (home,) = tiles.nearest(np.array([spot.longitude]), np.array([spot.latitude]))
        own = np.array([index for index, part in enumerate(parts) if part.kind in spot.kinds])
        rates = np.array(
            [parts[i].share * density[profiles.index(parts[i].profile), home] for i in own]
        )
        chosen.append((own, rates * np.pi * (spot.radius_m / 1000) ** 2))
    return _Plan(
        parts=parts,
        tiles=tiles,
        shares=shares,
        area_rank=(np.arange(len(profiles))[:, None] + np.cumsum(by_area, axis=1)).ravel(),
        profile=np.array(
            [profiles.index(p.profile) if p.profile in profiles else -1 for p in parts]
        ),
        kind=np.array([names.index(part.kind) for part in parts]),
        mean_hours=np.array([part.hours for part in parts]),
        extra=np.array([simulated.extra_hours.get(name, 0.0) for name in tiles.names]),
        seasons=tuple(part.season for part in parts),
        fixed_places=simulated.fixed_places,
        spots=spots,
        spot_parts=tuple(chosen),
    )


@dataclass(frozen=True)
class _Clock:
    """The hours of one local day: the instant and the wall time at which each begins, seconds."""

    instants: Ints
    walls: Ints


@cache
def _clock(timezone: str, day: date) -> _Clock:
    zone = ZoneInfo(timezone)
    first = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    after = day + timedelta(1)
    last = datetime(after.year, after.month, after.day, tzinfo=zone).astimezone(UTC)
    hours = int((last - first) / timedelta(hours=1))
    instants = [first + timedelta(hours=hour) for hour in range(hours)]
    walls = [instant.astimezone(zone).replace(tzinfo=UTC) for instant in instants]
    return _Clock(
        np.array([int(instant.timestamp()) for instant in instants]),
        np.array([int(wall.timestamp()) for wall in walls]),
    )


def _seasonal(feed: Feed, day: date, seed: int, seasons: tuple[str, ...]) -> Floats:
    """Return how many times its average each season class has on one day."""
    city = feed.city.name
    warmth = (1 - np.cos(2 * np.pi * (day.timetuple().tm_yday - 20) / 365.25)) / 2
    snow = sum(observed(seed, city, day - timedelta(back)).snowfall_sum for back in range(3))
    factors = {
        "": 1.0,
        "summer": 0.7 + 0.6 * warmth,
        "winter": 1.3 - 0.6 * warmth,
        "snow": min(0.02 + snow / 1.5, 6.0),
        "thaw": 0.5 + 1.8 * freeze_thaw_share(seed, city, day, days=7),
        "storms": 0.85 + 0.9 * heavy_rain(seed, city, day),
    }
    return np.array([factors[season] for season in seasons])


def _in_disc(
    spot: HotSpot, city: str, size: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    radius = spot.radius_m / METERS_PER_DEGREE * np.sqrt(rng.random(size))
    angle = 2 * np.pi * rng.random(size)
    across = radius * np.cos(angle) / shortening(city)
    return spot.longitude + across, spot.latitude + radius * np.sin(angle)


def _places(
    plan: _Plan, variety: Ints, day: date, seed: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return longitude and latitude of records that no hot spot adds."""
    profile = plan.profile[variety]
    areas = np.searchsorted(plan.area_rank, profile + rng.random(variety.size) * (1 - 1e-9))
    areas = np.where(profile < 0, 0, areas % len(plan.tiles.names))
    longitude, latitude = plan.tiles.points(areas, rng)
    own = np.array([part.profile for part in plan.parts])[variety]
    for name, (east, north) in plan.fixed_places.items():
        longitude[own == name], latitude[own == name] = east, north
    if (leaking := own == AT_LEAKS).any():
        cells = leak_cells(seed)
        longitude[leaking], latitude[leaking] = cells.points(day, int(leaking.sum()), rng)
    return longitude, latitude


def _opened(
    feed: Feed, by_hour: tuple[float, ...], day: date, size: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Return the instants and wall times of opening: no skipped hour, a repeated one twice."""
    clock = _clock(feed.city.timezone, day)
    wall_hours = clock.walls % 86_400 // 3_600
    running = np.cumsum(np.array(by_hour)[wall_hours])
    hour = np.searchsorted(running, rng.random(size) * running[-1])
    second = (rng.random(size) * 3_600).astype(np.int64)
    guess = rng.random(size)
    midnight, noon, rounded = (0.04, 0.06, 0.3) if feed.kind == "incident" else (0.002, 0.003, 0.0)
    second = np.where(guess < rounded, second // 1_800 * 1_800, second)
    second = np.where(guess < noon, 0, second)
    hour = np.where(guess < noon, int(np.argmax(wall_hours == 12)), hour)
    hour = np.where(guess < midnight, 0, hour)
    return clock.instants[hour] + second, clock.walls[hour] + second


def _parents(kind: Ints, wants: Bools) -> Ints:
    """Return for each record that wants one the record of its kind before it, -1 for none."""
    order = np.argsort(kind, kind="stable")
    before = np.full(kind.size, -1)
    same = kind[order][1:] == kind[order][:-1]
    before[order[1:][same]] = order[:-1][same]
    return np.where(wants, before, -1)


def draws(feed: Feed, day: date, *, seed: int, records_per_day: int) -> Draws:
    """Return one city-local day of one feed.

    `records_per_day` is about the mean over a year; weekday, season and weather move it.

    Raises
    ------
    NotSimulatedError
        The sample city lacks something of the feed.
    """
    simulated = simulated_feed(feed)
    plan = _plan(feed.name, feed.city.name)
    rng = np.random.default_rng([seed, crc32(feed.name.encode()), day.toordinal()])
    week = simulated.weekdays
    rhythm = records_per_day * week[day.weekday()] / (sum(week) / 7)
    seasonal = _seasonal(feed, day, seed, plan.seasons)
    expected = plan.shares * seasonal
    if (leaking := np.array([part.profile == AT_LEAKS for part in plan.parts])).any():
        expected[leaking] *= leak_cells(seed).rates(day).mean()
    variety = np.repeat(np.arange(plan.shares.size), rng.poisson(expected * rhythm))
    longitude, latitude = _places(plan, variety, day, seed, rng)
    for spot, (own, usual) in zip(plan.spots, plan.spot_parts, strict=True):
        added = usual * seasonal[own] * (spot.multiplier_on(day) - 1) * rhythm
        more = np.repeat(own, rng.poisson(added))
        east, north = _in_disc(spot, feed.city.name, more.size, rng)
        longitude, latitude = np.append(longitude, east), np.append(latitude, north)
        variety = np.append(variety, more)
    opened, wall = _opened(feed, simulated.hours, day, variety.size, rng)
    order = np.argsort(opened, kind="stable")
    variety, longitude, latitude = variety[order], longitude[order], latitude[order]
    opened, wall = opened[order], wall[order]
    size = variety.size
    choices = rng.random((CHOICES, size))
    placed = plan.profile[variety] >= 0
    placed |= np.array([part.profile == AT_LEAKS for part in plan.parts])[variety]
    parent = _parents(plan.kind[variety], placed & (choices[0] < simulated.duplicate_share))
    repeats = parent >= 0
    longitude = np.where(repeats, longitude[parent] + 2e-4 * (choices[1] - 0.5), longitude)
    latitude = np.where(repeats, latitude[parent] + 2e-4 * (choices[2] - 0.5), latitude)
    area = plan.tiles.nearest(longitude, latitude)
    factor = np.exp(CLOSING_SIGMA * rng.standard_normal(size) - CLOSING_SIGMA**2 / 2)
    at_once = repeats | (plan.mean_hours[variety] == 0)
    extra = np.where(at_once, 0.0, plan.extra[area])
    hours = np.where(at_once, 0.0, plan.mean_hours[variety] * factor + extra)
    hours = np.where((choices[3] < NEVER_CLOSED_SHARE) & ~at_once, np.nan, hours)
    return Draws(
        feed=feed,
        simulated=simulated,
        day=day,
        records_per_day=records_per_day,
        parts=plan.parts,
        variety=variety,
        area=area,
        longitude=longitude,
        latitude=latitude,
        opened=opened,
        wall=wall,
        hours=hours,
        extra=extra,
        number=np.cumsum(rng.integers(1, 4, size)),
        parent=parent,
        is_repeated=choices[4] < REPEATED_SHARE,
        choices=choices,
        row_ids=rng.integers(0, 32, (2 * size, 12), dtype=np.uint8),
    )
