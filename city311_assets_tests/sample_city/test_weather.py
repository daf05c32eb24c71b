"""The sample city's weather, and Open-Meteo's answers about it."""

import datetime as dt

import numpy as np
import pytest

from city311_assets.sample_city.weather import VARIABLES, forecast, observed
from city311_assets_tests.sample_city.conftest import NOW, SEED, days

CHICAGO = {"latitude": "41.85", "longitude": "-87.65", "timezone": "America/Chicago"}
DAILY = {"daily": ",".join(VARIABLES)}
YEAR = days(dt.date(2025, 1, 1), 365)


def test_a_day_is_the_same_whatever_was_asked_before():
    day = dt.date(2026, 2, 3)
    assert observed(SEED, "chicago", day) == observed(SEED, "chicago", day)
    assert observed(SEED, "chicago", day) != observed(SEED + 1, "chicago", day)
    assert observed(SEED, "chicago", day) != observed(SEED, "san_francisco", day)


def test_chicago_freezes_and_thaws_in_winter_and_is_warm_in_summer():
    weather = {day: observed(SEED, "chicago", day) for day in YEAR}
    july = [weather[day].temperature_2m_max for day in YEAR if day.month == 7]
    frosts = [
        day for day in YEAR if weather[day].temperature_2m_min < 0 < weather[day].temperature_2m_max
    ]
    assert 24 < np.mean(july) < 33
    assert 35 < len(frosts) < 110
    assert 600 < sum(day.precipitation_sum for day in weather.values()) < 1400
    assert sum(day.precipitation_sum >= 25 for day in weather.values()) >= 3


def test_san_francisco_is_mild_and_dry_in_summer():
    weather = {day: observed(SEED, "san_francisco", day) for day in YEAR}
    assert min(day.temperature_2m_min for day in weather.values()) > -1
    dry = sum(weather[day].precipitation_sum for day in YEAR if day.month in {6, 7, 8})
    wet = sum(weather[day].precipitation_sum for day in YEAR if day.month in {12, 1, 2})
    assert dry < 0.3 * wet


def test_no_seam_shows_at_new_year():
    def steps(month: int, day: int) -> float:
        on = [dt.date(year, month, day) for year in range(1990, 2030)]
        before = [date - dt.timedelta(1) for date in on]
        high, low = (
            np.array([observed(SEED, "chicago", date).temperature_2m_max for date in dates])
            for dates in (on, before)
        )
        return float(np.abs(high - low).mean())

    assert steps(1, 1) == pytest.approx((steps(1, 15) + steps(12, 15)) / 2, rel=0.4)


def test_forecasts_get_worse_with_the_lead():
    def error(lead: int) -> float:
        gaps = [
            forecast(SEED, "chicago", day, day + dt.timedelta(lead)).temperature_2m_max
            - observed(SEED, "chicago", day + dt.timedelta(lead)).temperature_2m_max
            for day in YEAR
        ]
        return float(np.sqrt(np.mean(np.square(gaps))))

    assert error(0) < error(3) < error(8) < error(15)


def test_a_day_too_far_ahead_has_no_forecast():
    with pytest.raises(ValueError, match="reaches 16 days"):
        forecast(SEED, "chicago", dt.date(2026, 1, 1), dt.date(2026, 2, 1))


def test_the_archive_answers_in_the_shape_of_the_real_one(city):
    asked = CHICAGO | DAILY | {"start_date": "2026-03-01", "end_date": "2026-03-20"}
    answer = city.get("/weather/v1/archive", params=asked).json()
    assert set(answer) == {
        *("latitude", "longitude", "generationtime_ms", "utc_offset_seconds", "timezone"),
        *("timezone_abbreviation", "elevation", "daily_units", "daily"),
    }
    assert answer["timezone"] == "America/Chicago"
    assert answer["utc_offset_seconds"] == -18_000
    assert answer["daily_units"] == {"time": "iso8601"} | VARIABLES
    assert answer["daily"]["time"] == [f"2026-03-{day:02}" for day in range(1, 21)]
    highs = answer["daily"]["temperature_2m_max"]
    assert highs[:15] == [
        observed(SEED, "chicago", day).temperature_2m_max for day in days(dt.date(2026, 3, 1), 15)
    ]


def test_the_last_days_of_the_archive_are_null(city):
    asked = CHICAGO | DAILY | {"start_date": "2026-03-01", "end_date": "2026-03-20"}
    daily = city.get("/weather/v1/archive", params=asked).json()["daily"]
    for name in VARIABLES:
        assert [value is None for value in daily[name]] == [False] * 15 + [True] * 5


def test_the_forecast_runs_from_the_day_of_the_clock(city):
    asked = CHICAGO | DAILY | {"forecast_days": "16", "past_days": "2"}
    daily = city.get("/weather/v1/forecast", params=asked).json()["daily"]
    assert daily["time"][0] == "2026-03-18"
    assert daily["time"][-1] == "2026-04-04"
    expected = [
        forecast(SEED, "chicago", NOW.date(), day) for day in days(dt.date(2026, 3, 18), 18)
    ]
    assert daily["precipitation_sum"] == [day.precipitation_sum for day in expected]


def test_the_city_is_the_one_nearest_to_the_point(city):
    asked = DAILY | {"start_date": "2026-03-01", "end_date": "2026-03-01"}
    coast = {"latitude": "37.6", "longitude": "-122.1", "timezone": "America/Los_Angeles"}
    daily = city.get("/weather/v1/archive", params=asked | coast).json()["daily"]
    day = observed(SEED, "san_francisco", dt.date(2026, 3, 1))
    assert daily["temperature_2m_min"] == [day.temperature_2m_min]


REFUSED = {
    "an unknown variable": ("archive", {"daily": "temperature_9m"}, "invalid String value"),
    "no variable": ("archive", {"daily": ""}, "'daily'"),
    "a bad date": ("archive", {"start_date": "03/01/2026"}, "Invalid date format"),
    "an end before its start": ("archive", {"end_date": "2026-02-01"}, "End-date"),
    "the future": ("archive", {"end_date": "2026-03-22"}, "out of allowed range"),
    "a far future": ("forecast", {"forecast_days": "30"}, "Forecast days is invalid"),
    "a place off the globe": ("archive", {"latitude": "91"}, "Latitude must be in range"),
    "no place": ("archive", {"latitude": ""}, "required for key 'latitude'"),
    "an unknown clock": ("archive", {"timezone": "Mars/Base"}, "Invalid timezone"),
}


@pytest.mark.parametrize(("service", "change", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_open_meteo_refuses_is_refused_with_its_reason(city, service, change, reason):
    asked = CHICAGO | DAILY
    if service == "archive":
        asked |= {"start_date": "2026-03-01", "end_date": "2026-03-10"}
    answer = city.get(f"/weather/v1/{service}", params=asked | change)
    assert answer.status_code == 400
    assert answer.json()["error"] is True
    assert reason in answer.json()["reason"]
