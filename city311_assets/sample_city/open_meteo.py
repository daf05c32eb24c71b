"""Open-Meteo's daily answers over the sample city's weather: archive and forecast, and refusals."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from time import perf_counter
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from city311_assets.feeds.feed import City
from city311_assets.feeds.registry import CITIES
from city311_assets.sample_city.cities.registry import simulated_city
from city311_assets.sample_city.weather import (
    ARCHIVE_LAG_DAYS,
    LONGEST_LEAD_DAYS,
    VARIABLES,
    Day,
    forecast,
    observed,
)

FIRST_ARCHIVE_DAY = date(1940, 1, 1)
LONGEST_PAST_DAYS = 92
# Both services answer for the middle of a grid cell, not for the point asked for.
GRID_DEGREES = 0.1


class WeatherError(Exception):
    """A request that Open-Meteo refuses with status 400 and this reason."""


def nearest_city(latitude: float, longitude: float) -> City:
    """Return the city nearest to a point."""
    return min(
        CITIES.values(),
        key=lambda city: (city.latitude - latitude) ** 2 + (city.longitude - longitude) ** 2,
    )


def _number(params: Mapping[str, str], name: str, bound: float) -> float:
    text = params.get(name)
    if text is None:
        raise WeatherError(f"Value of type 'Float' required for key '{name}'.")
    try:
        number = float(text)
    except ValueError:
        raise WeatherError(f"Value of type 'Float' required for key '{name}'.") from None
    if not abs(number) <= bound:
        edges = f"-{bound:g} to {bound:g}"
        raise WeatherError(f"{name.title()} must be in range of {edges}°. Given: {text}.")
    return number


def _day(params: Mapping[str, str], name: str) -> date | None:
    text = params.get(name)
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise WeatherError(
            f"Invalid date format for '{name}'. Make sure to use 'YYYY-MM-DD'"
        ) from None


def _days_count(params: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = params.get(name, str(default))
    if not text.isdecimal() or int(text) > most:
        title = name.replace("_", " ").capitalize()
        raise WeatherError(f"{title} is invalid. Allowed range 0 to {most}. Given {text}.")
    return int(text)


def _zone(params: Mapping[str, str]) -> ZoneInfo:
    try:
        return ZoneInfo(params.get("timezone", "GMT"))
    except (ZoneInfoNotFoundError, ValueError):
        raise WeatherError("Invalid timezone") from None


def _variables(params: Mapping[str, str]) -> list[str]:
    names = [name for name in params.get("daily", "").split(",") if name]
    if unknown := [name for name in names if name not in VARIABLES]:
        raise WeatherError(
            "Data corrupted at path ''. Cannot initialize "
            f"SurfacePressureAndHeightVariable from invalid String value {unknown[0]}."
        )
    if not names:
        raise WeatherError("Parameter 'daily' must name the variables wanted")
    return names


def _span(params: Mapping[str, str], first: date, last: date) -> tuple[date, date] | None:
    """Return the days asked for by name, inside what the service has; None if not by name."""
    start, end = _day(params, "start_date"), _day(params, "end_date")
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise WeatherError("Both 'start_date' and 'end_date' must be set")
    if end < start:
        raise WeatherError("End-date must be larger or equals than start-date")
    for name, day in (("start_date", start), ("end_date", end)):
        if not first <= day <= last:
            raise WeatherError(f"Parameter '{name}' is out of allowed range from {first} to {last}")
    return start, end


def _answer(
    params: Mapping[str, str],
    zone: ZoneInfo,
    now: datetime,
    days: Iterable[tuple[date, Day | None]],
) -> dict[str, object]:
    began = perf_counter()
    names = _variables(params)
    latitude, longitude = _number(params, "latitude", 90), _number(params, "longitude", 180)
    rows = list(days)
    local = now.astimezone(zone)
    offset = local.utcoffset() or timedelta()
    daily: dict[str, list[object]] = {"time": [day.isoformat() for day, _ in rows]}
    for name in names:
        daily[name] = [getattr(weather, name) if weather else None for _, weather in rows]
    return {
        "latitude": round(round(latitude / GRID_DEGREES) * GRID_DEGREES, 4),
        "longitude": round(round(longitude / GRID_DEGREES) * GRID_DEGREES, 4),
        "generationtime_ms": (perf_counter() - began) * 1000,
        "utc_offset_seconds": int(offset.total_seconds()),
        "timezone": str(zone),
        "timezone_abbreviation": local.tzname(),
        "elevation": simulated_city(nearest_city(latitude, longitude).name).elevation_m,
        "daily_units": {"time": "iso8601"} | {name: VARIABLES[name] for name in names},
        "daily": daily,
    }


def _city(params: Mapping[str, str]) -> str:
    point = _number(params, "latitude", 90), _number(params, "longitude", 180)
    return nearest_city(*point).name


def archive(params: Mapping[str, str], seed: int, now: datetime) -> dict[str, object]:
    """Return the archive's answer; its last days are null, as they are not known yet.

    Raises
    ------
    WeatherError
        The request is one that Open-Meteo refuses.
    """
    zone, city = _zone(params), _city(params)
    today = now.astimezone(zone).date()
    span = _span(params, FIRST_ARCHIVE_DAY, today)
    if span is None:
        raise WeatherError("Parameter 'start_date' and 'end_date' must be set")
    known = today - timedelta(ARCHIVE_LAG_DAYS)
    days = (span[0] + timedelta(index) for index in range((span[1] - span[0]).days + 1))
    rows = ((day, observed(seed, city, day) if day <= known else None) for day in days)
    return _answer(params, zone, now, rows)


def forecasts(params: Mapping[str, str], seed: int, now: datetime) -> dict[str, object]:
    """Return the forecast issued on the clock's day, and what was observed before it.

    Raises
    ------
    WeatherError
        The request is one that Open-Meteo refuses.
    """
    zone, city = _zone(params), _city(params)
    today = now.astimezone(zone).date()
    first = today - timedelta(LONGEST_PAST_DAYS)
    last = today + timedelta(LONGEST_LEAD_DAYS - 1)
    past = _days_count(params, "past_days", 0, LONGEST_PAST_DAYS)
    ahead = _days_count(params, "forecast_days", 7, LONGEST_LEAD_DAYS)
    named = _span(params, first, last)
    start, end = named or (today - timedelta(past), today + timedelta(ahead - 1))
    days = (start + timedelta(index) for index in range((end - start).days + 1))
    rows = ((day, forecast(seed, city, today, day)) for day in days)
    return _answer(params, zone, now, rows)
