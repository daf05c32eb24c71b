"""Daily weather: whole local days in stated units; what is not known yet is null."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from city311_assets.clients.errors import MalformedAnswerError, RequestRefusedError, SourceError
from city311_assets.clients.http import Patience
from city311_assets.clients.open_meteo import VARIABLES, OpenMeteo
from city311_assets.feeds.chicago_311 import CHICAGO
from city311_assets.feeds.sf_311 import SAN_FRANCISCO
from city311_assets_tests.clients.answers import Reply, Server, answering, in_turn, saying

START = date(2026, 3, 7)
END = date(2026, 3, 10)
DAYS = [START, date(2026, 3, 8), date(2026, 3, 9)]
UNITS = dict(VARIABLES.values())


def weather(days: list[date] = DAYS, **changes: object) -> dict[str, Any]:
    """Return an answer as the service gives it; `changes` replace a variable's values."""
    daily: dict[str, object] = {"time": [str(day) for day in days]}
    for number, theirs in enumerate(UNITS):
        daily[theirs] = [number + place / 4 for place in range(len(days))]
    return {
        "latitude": 41.86,
        "longitude": -87.65,
        "timezone": CHICAGO.timezone,
        "daily_units": {"time": "iso8601", **UNITS},
        "daily": daily | changes,
    }


def asked(
    reply: Reply, question: Callable[[OpenMeteo], pl.DataFrame]
) -> tuple[pl.DataFrame, Server]:
    """Return what a question is answered with, and the server."""
    patience = Patience(attempts=2, timeout_seconds=20, sleep=lambda _: None)
    with (
        answering(in_turn(reply)) as server,
        OpenMeteo(f"{server.url}/old", f"{server.url}/new", patience=patience) as service,
    ):
        return question(service), server


def archive(
    answer: object, start: date = START, end: date = END, status: int = 200
) -> tuple[pl.DataFrame, Server]:
    return asked(saying(answer, status), lambda service: service.archive(CHICAGO, start, end))


def forecast(answer: object, days: int = 3) -> tuple[pl.DataFrame, Server]:
    return asked(saying(answer), lambda service: service.forecast(SAN_FRANCISCO, days))


def test_every_variable_comes_under_our_name_by_day():
    frame, _ = archive(weather())
    assert dict(frame.schema) == {"day": pl.Date, **dict.fromkeys(VARIABLES, pl.Float64)}
    assert frame.rows() == [
        (DAYS[0], 0.0, 1.0, 2.0, 3.0),
        (DAYS[1], 0.25, 1.25, 2.25, 3.25),
        (DAYS[2], 0.5, 1.5, 2.5, 3.5),
    ]


def test_the_lowest_and_the_highest_temperature_are_not_swapped():
    frame, _ = archive(weather(temperature_2m_min=[-9, -8, -7], temperature_2m_max=[1, 2, 3]))
    assert frame["temperature_min_c"].to_list() == [-9, -8, -7]
    assert frame["temperature_max_c"].to_list() == [1, 2, 3]


def test_the_archive_is_asked_once_for_local_days_of_the_citys_place():
    _, server = archive(weather())
    (request,) = server.asked
    assert request.path == "/old/v1/archive"
    daily = request.params["daily"].split(",")
    assert sorted(daily) == sorted(UNITS)
    assert {k: v for k, v in request.params.items() if k != "daily"} == {
        "latitude": "41.85",
        "longitude": "-87.65",
        "timezone": "America/Chicago",
        "start_date": "2026-03-07",
        "end_date": "2026-03-09",
    }


def test_the_forecast_is_asked_once_for_local_days_from_today():
    frame, server = forecast(weather())
    (request,) = server.asked
    assert request.path == "/new/v1/forecast"
    assert request.params["timezone"] == "America/Los_Angeles"
    assert request.params["forecast_days"] == "3"
    assert {"start_date", "end_date"}.isdisjoint(request.params)
    assert frame["day"].to_list() == DAYS


def test_a_forecast_reaches_sixteen_days_unless_less_is_asked_for():
    days = [START + timedelta(days=number) for number in range(16)]
    _, server = asked(saying(weather(days)), lambda service: service.forecast(CHICAGO))
    assert server.params[0]["forecast_days"] == "16"


def test_one_day_is_asked_for_as_that_day():
    _, server = archive(weather([START]), START, START + timedelta(days=1))
    assert server.params[0]["start_date"] == server.params[0]["end_date"] == str(START)


def test_a_tail_that_is_not_known_yet_is_null_and_not_zero():
    frame, _ = archive(weather(precipitation_sum=[1.5, None, None], snowfall_sum=[0, None, None]))
    assert frame["precipitation_mm"].to_list() == [1.5, None, None]
    assert frame["snowfall_cm"].to_list() == [0.0, None, None]


def test_an_archive_that_knows_nothing_yet_is_all_null():
    answer = weather()
    answer["daily"] |= {theirs: [None, None, None] for theirs in UNITS}
    values = archive(answer)[0].select(*VARIABLES)
    assert values.null_count().row(0) == (3, 3, 3, 3)
    assert dict(values.schema) == dict.fromkeys(VARIABLES, pl.Float64)


def test_whole_numbers_and_fractions_may_be_mixed():
    frame, _ = archive(weather(precipitation_sum=[0, 0.1, None]))
    assert frame["precipitation_mm"].to_list() == [0.0, 0.1, None]


def test_days_outside_the_window_are_left_out():
    around = [START + timedelta(days=shift) for shift in range(-2, 6)]
    frame, _ = archive(weather(around))
    assert frame["day"].to_list() == DAYS
    assert frame["temperature_min_c"].to_list() == [0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("days", "missing"),
    [
        pytest.param(DAYS[:2], DAYS[2], id="the last is missing"),
        pytest.param(DAYS[1:], DAYS[0], id="the first is missing"),
        pytest.param([DAYS[0], DAYS[2]], DAYS[1], id="one within is missing"),
        pytest.param([DAYS[0], DAYS[1], DAYS[1]], DAYS[2], id="one came twice"),
        pytest.param([*DAYS, DAYS[2]], "none", id="one came once too often"),
        pytest.param([START - timedelta(days=1)], DAYS[0], id="another day altogether"),
    ],
)
def test_other_days_than_those_asked_for_are_refused_and_the_missing_named(days, missing):
    with pytest.raises(MalformedAnswerError, match=rf"days came for the 3 .*missing: {missing}"):
        archive(weather(days))


def test_a_forecast_of_fewer_days_than_asked_for_is_refused():
    with pytest.raises(MalformedAnswerError, match=r"2 days came for the 3 from .*missing: 20"):
        forecast(weather(DAYS[:2]))


@pytest.mark.parametrize("theirs", UNITS)
def test_another_unit_is_refused_with_both_units(theirs):
    answer = weather()
    answer["daily_units"][theirs] = "°F"
    with pytest.raises(
        MalformedAnswerError, match=rf"{theirs} came in '°F', not in '{UNITS[theirs]}'"
    ):
        archive(answer)


@pytest.mark.parametrize("theirs", UNITS)
def test_an_unstated_unit_is_refused(theirs):
    answer = weather()
    del answer["daily_units"][theirs]
    with pytest.raises(MalformedAnswerError, match=f"{theirs} came in None"):
        archive(answer)


@pytest.mark.parametrize("theirs", UNITS)
def test_a_missing_variable_is_refused_by_name(theirs):
    answer = weather()
    del answer["daily"][theirs]
    with pytest.raises(MalformedAnswerError, match=f"no {theirs} for every day"):
        archive(answer)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_variable_of_another_length_than_the_days_is_refused(count):
    with pytest.raises(MalformedAnswerError, match="no snowfall_sum for every day"):
        archive(weather(snowfall_sum=[0.0] * count))


@pytest.mark.parametrize("answer", [{}, {"daily": {}}, {"daily_units": UNITS}])
def test_an_answer_without_days_is_refused(answer):
    with pytest.raises(MalformedAnswerError, match=r"for every day|no daily values"):
        archive(answer)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([weather()], id="a list, as for several places"),
        pytest.param({"daily": None}, id="daily is null"),
        pytest.param(weather(snowfall_sum=None), id="a variable is null"),
        pytest.param(weather(time=["soon", "later", "never"]), id="days that are none"),
    ],
)
def test_an_answer_of_another_shape_is_a_source_error(answer):
    with pytest.raises(SourceError):
        archive(answer)


def test_a_value_that_is_no_number_is_not_taken_for_unknown():
    with pytest.raises(SourceError):
        archive(weather(precipitation_sum=[0.0, "trace", 1.0]))


@pytest.mark.parametrize(
    "reason",
    [
        "Parameter 'start_date' is out of allowed range from 1940-01-01 to 2026-03-09",
        "Daily API request limit exceeded. Please try again tomorrow.",
    ],
)
def test_a_refusal_is_quoted_and_not_asked_twice(reason):
    patience = Patience(attempts=3, sleep=lambda _: None)
    with (
        answering(in_turn(saying({"error": True, "reason": reason}, 400))) as server,
        OpenMeteo(server.url, server.url, patience=patience) as service,
    ):
        with pytest.raises(RequestRefusedError) as refusal:
            service.archive(CHICAGO, START, END)
        assert len(server.asked) == 1
    assert refusal.value.said == reason
    assert "status 400" in str(refusal.value)


REAL = Path("weather") / "open_meteo_archive_chicago_2022-01-01_2022-07-13.json"
REAL_WINDOW = (date(2022, 1, 1), date(2022, 7, 14))


@pytest.mark.real
def test_a_real_answer_without_precipitation_is_refused_by_name(real_data: Path):
    answer = json.loads((real_data / REAL).read_text())
    with pytest.raises(MalformedAnswerError, match="no precipitation_sum for every day"):
        archive(answer, *REAL_WINDOW)


@pytest.mark.real
def test_a_real_answer_is_understood_apart_from_what_it_lacks(real_data: Path):
    answer = json.loads((real_data / REAL).read_text())
    lacking = {theirs: unit for theirs, unit in UNITS.items() if theirs not in answer["daily"]}
    assert lacking == {"precipitation_sum": "mm", "snowfall_sum": "cm"}
    answer["daily_units"] |= lacking
    answer["daily"] |= {theirs: [None] * 194 for theirs in lacking}
    frame, _ = archive(answer, *REAL_WINDOW)
    assert (frame.height, frame["day"][0], frame["day"][-1]) == (
        194,
        date(2022, 1, 1),
        date(2022, 7, 13),
    )
    assert frame["temperature_min_c"].to_list() == answer["daily"]["temperature_2m_min"]
    assert frame["temperature_max_c"].to_list() == answer["daily"]["temperature_2m_max"]
    assert (frame["temperature_min_c"] <= frame["temperature_max_c"]).all()
    assert frame["precipitation_mm"].null_count() == 194
