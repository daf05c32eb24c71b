"""The sample city's weather: daily, seeded, smooth, seasonal, and its forecasts.

A day's weather depends on (seed, city, day) only. It is made a year at a time from white noise of
that year and its neighbours, smoothed, so that no seam shows at New Year.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from city311_assets.sample_city.cities.registry import simulated_city

Floats = NDArray[np.float64]

# How long the archive takes to have a day, as the real one.
ARCHIVE_LAG_DAYS = 5
LONGEST_LEAD_DAYS = 16
HEAVY_RAIN_MM = 25.0


VARIABLES = {
    "temperature_2m_max": "°C",
    "temperature_2m_min": "°C",
    "precipitation_sum": "mm",
    "snowfall_sum": "cm",
}


@dataclass(frozen=True, slots=True)
class Day:
    """The weather of one local day; snow in cm, as Open-Meteo gives it."""

    temperature_2m_max: float
    temperature_2m_min: float
    precipitation_sum: float
    snowfall_sum: float


def _white(seed: int, city: str, year: int) -> Floats:
    days = (date(year + 1, 1, 1) - date(year, 1, 1)).days
    return np.random.default_rng([seed, crc32(city.encode()), year]).standard_normal((days, 4))


def _smooth(noise: Floats, memory: float, length: int = 24) -> Floats:
    """Return noise with memory (first-order autoregressive, unit variance)."""
    weights = np.power(memory, np.arange(length, dtype=np.float64))
    smooth = np.convolve(noise, weights / np.linalg.norm(weights))[: noise.size]
    return smooth.astype(np.float64)


@lru_cache(maxsize=64)
def _year(seed: int, city: str, year: int) -> Floats:
    """Return a year's days, one row each: maximum, minimum, precipitation, snow."""
    climate = simulated_city(city).climate
    before, now = _white(seed, city, year - 1), _white(seed, city, year)
    noise = np.concatenate([before, now])
    season = -np.cos(2 * np.pi * (np.arange(1, len(now) + 1) - climate.coldest_day) / 365.25)
    warmth = (season + 1) / 2
    start = len(before)
    anomaly = _smooth(noise[:, 0], 0.75)[start:] * climate.spread * (1.15 - 0.4 * warmth)
    mean = climate.winter_mean + (climate.summer_mean - climate.winter_mean) * warmth + anomaly
    dampness = _smooth(noise[:, 1], 0.45)[start:]
    chance = climate.wet_winter + (climate.wet_summer - climate.wet_winter) * warmth
    wet = dampness > _quantile(1 - chance)
    amount = climate.rain_mm * np.exp(1.05 * noise[start:, 2] - 0.55)
    rain = np.where(wet, np.maximum(amount, 0.1), 0.0)
    half = climate.daily_range / 2 * np.exp(0.25 * noise[start:, 3]) * np.where(wet, 0.75, 1.05)
    high, low = mean + half, mean - half
    snow = np.where(mean < 0.5, rain * 0.7, 0.0)
    return np.round(np.stack([high, low, rain, snow], axis=1), 1)


def _quantile(probability: Floats) -> Floats:
    """Return the standard normal's quantile (Tukey's lambda, within 0.02 of it)."""
    return (np.power(probability, 0.1349) - np.power(1 - probability, 0.1349)) / 0.1975


def _row(seed: int, city: str, day: date) -> Floats:
    return _year(seed, city, day.year)[day.timetuple().tm_yday - 1]


def observed(seed: int, city: str, day: date) -> Day:
    """Return what the weather of one local day was."""
    return Day(*(float(value) for value in _row(seed, city, day)))


def forecast(seed: int, city: str, issued: date, day: date) -> Day:
    """Return what was expected of one day on the day of issue.

    The error grows with the lead. A day before the issue has what was observed.

    Raises
    ------
    ValueError
        The day is further ahead than forecasts reach.
    """
    lead = (day - issued).days
    if lead < 0:
        return observed(seed, city, day)
    if lead > LONGEST_LEAD_DAYS:
        raise ValueError(f"a forecast reaches {LONGEST_LEAD_DAYS} days, {day} is {lead} ahead")
    key = [seed, crc32(city.encode()), issued.toordinal()]
    errors = np.random.default_rng(key).standard_normal((LONGEST_LEAD_DAYS + 1, 4))[lead]
    high, low, rain, _ = (float(value) for value in _row(seed, city, day))
    shift = (0.6 + 0.3 * lead) * float(errors[0])
    spread = 0.3 * float(errors[1])
    expected = rain * float(np.exp(0.08 * (lead + 1) * errors[2]))
    if errors[3] > 2.2 - 0.09 * lead:
        expected = 0.0 if rain else 3.0
    high, low = high + shift + abs(spread), low + shift - abs(spread)
    snow = expected * 0.7 if (high + low) / 2 < 0.5 else 0.0
    return Day(round(high, 1), round(low, 1), round(expected, 1), round(snow, 1))


def freeze_thaw_share(seed: int, city: str, day: date, days: int = 3) -> float:
    """Return the share of the days up to and including this one that froze and thawed."""
    rows = [_row(seed, city, day - timedelta(back)) for back in range(days)]
    return sum(bool(low < 0 < high) for high, low, _, _ in rows) / days


def heavy_rain(seed: int, city: str, day: date) -> float:
    """Return the rain of this day and the one before over the heavy amount, at most 1.5."""
    fallen = sum(_row(seed, city, day - timedelta(back))[2] for back in range(2))
    return min(float(fallen) / HEAVY_RAIN_MM, 1.5)
