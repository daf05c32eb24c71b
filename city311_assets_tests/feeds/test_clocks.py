"""Clocks: every spelling of local wall time, and the instants behind it."""

import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from city311_assets.feeds.clocks import to_utc, utc_instant, wall_time

CHICAGO, LOS_ANGELES, NEW_YORK = "America/Chicago", "America/Los_Angeles", "America/New_York"
ZONES = [CHICAGO, LOS_ANGELES, NEW_YORK]
OFFSETS = [(CHICAGO, 6, 5), (LOS_ANGELES, 8, 7), (NEW_YORK, 5, 4)]
FALL, SPRING = dt.date(2026, 11, 1), dt.date(2026, 3, 8)


def read(*texts: str | None) -> list[dt.datetime | None]:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return frame.select(wall_time(pl.col("text"))).to_series().to_list()


def instants(timezone: str, *local: dt.datetime) -> list[dt.datetime]:
    frame = pl.DataFrame({"local": local}, schema={"local": pl.Datetime("us")})
    return frame.select(to_utc(pl.col("local"), timezone)).to_series().to_list()


def on(day: dt.date, hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(hour, minute))


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02T15:04:05.000", dt.datetime(2026, 1, 2, 15, 4, 5)),
        ("2026-01-02T15:04:05", dt.datetime(2026, 1, 2, 15, 4, 5)),
        ("2026-01-02T15:04:05.123456", dt.datetime(2026, 1, 2, 15, 4, 5, 123456)),
        ("01/02/2026 03:04:05 PM", dt.datetime(2026, 1, 2, 15, 4, 5)),
        ("01/02/2026 12:00:00 AM", dt.datetime(2026, 1, 2)),
        ("01/02/2026 12:00:00 PM", dt.datetime(2026, 1, 2, 12)),
        ("1/2/2026 3:04:05 AM", dt.datetime(2026, 1, 2, 3, 4, 5)),
        ("2026-01-02 15:04:05", dt.datetime(2026, 1, 2, 15, 4, 5)),
        ("2026-01-02 15:04:05.25", dt.datetime(2026, 1, 2, 15, 4, 5, 250000)),
        ("01/02/2026 15:04:05", dt.datetime(2026, 1, 2, 15, 4, 5)),
        ("01/02/2026 15:04", dt.datetime(2026, 1, 2, 15, 4)),
        ("2026-01-02", dt.datetime(2026, 1, 2)),
        ("01/02/2026", dt.datetime(2026, 1, 2)),
        ("  2026-01-02T15:04:05.000\n", dt.datetime(2026, 1, 2, 15, 4, 5)),
    ],
)
def test_every_spelling_the_portals_use_is_read(text: str, time: dt.datetime):
    assert read(text) == [time]


@pytest.mark.parametrize("label", [" UTC", "UTC", "utc", "Z", "+00:00", " +00:00", "+0000", "+00"])
def test_a_false_utc_label_is_dropped_and_not_applied(label: str):
    assert read(f"2017-03-11 09:12:44{label}") == [dt.datetime(2017, 3, 11, 9, 12, 44)]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " ",
        "yesterday",
        "02/30/2026",
        "13/01/2026",
        "2026-01-02T25:00:00",
        "2026-01-02T15:04:05 and more",
        "2026-01-02T15:04:05.000-05:00",
        "20260102",
        "0000-00-00",
        "01/02/26",
        "1/2/26 3:04:05 PM",
        "1767366245",
    ],
)
def test_what_is_no_time_is_null(text: str | None):
    assert read(text) == [None]


def test_one_unreadable_time_spoils_no_other():
    assert read("nonsense", "2026-01-02", None) == [None, dt.datetime(2026, 1, 2), None]


PRINTED: list[tuple[str, Callable[[dt.datetime], dt.datetime]]] = [
    ("%Y-%m-%dT%H:%M:%S.%f", lambda time: time),
    ("%Y-%m-%dT%H:%M:%S", lambda time: time.replace(microsecond=0)),
    ("%Y-%m-%d %H:%M:%S.%f", lambda time: time),
    ("%Y-%m-%d %H:%M:%S UTC", lambda time: time.replace(microsecond=0)),
    ("%m/%d/%Y %I:%M:%S %p", lambda time: time.replace(microsecond=0)),
    ("%m/%d/%Y %H:%M:%S", lambda time: time.replace(microsecond=0)),
    ("%m/%d/%Y %H:%M", lambda time: time.replace(second=0, microsecond=0)),
    ("%Y-%m-%d", lambda time: on(time.date(), 0)),
    ("%m/%d/%Y", lambda time: on(time.date(), 0)),
]
TIMES = st.lists(
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2199, 12, 31)), min_size=1, max_size=50
)


@pytest.mark.parametrize(("fmt", "kept"), PRINTED, ids=[fmt for fmt, _ in PRINTED])
@given(times=TIMES)
@settings(max_examples=20, deadline=None)
def test_any_wall_time_printed_in_a_known_format_reads_back(
    fmt: str, kept: Callable[[dt.datetime], dt.datetime], times: list[dt.datetime]
):
    assert read(*(time.strftime(fmt) for time in times)) == [kept(time) for time in times]


@pytest.mark.parametrize("timezone", ZONES)
@given(
    times=st.lists(
        st.one_of(
            st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2030, 1, 1)),
            st.datetimes(on(SPRING, 0), on(SPRING, 5)),
            st.datetimes(on(FALL, 0), on(FALL, 5)),
        ),
        min_size=1,
        max_size=50,
    )
)
@example(times=[on(SPRING, 2), on(SPRING, 2, 59), on(SPRING, 3), on(FALL, 1), on(FALL, 2)])
@settings(max_examples=40, deadline=None)
def test_instants_agree_with_zoneinfo(timezone: str, times: list[dt.datetime]):
    zone = ZoneInfo(timezone)
    # The first pass is fold 0, which also reads a skipped time by the offset before the gap.
    expected = [
        time.replace(tzinfo=zone, fold=0).astimezone(dt.UTC).replace(tzinfo=None) for time in times
    ]
    assert instants(timezone, *times) == expected


@pytest.mark.parametrize(("timezone", "standard", "summer"), OFFSETS)
def test_a_time_skipped_in_spring_moves_forward_by_an_hour(
    timezone: str, standard: int, summer: int
):
    skipped, later = instants(timezone, on(SPRING, 2, 30), on(SPRING, 3, 30))
    assert skipped == later == on(SPRING, 3 + summer, 30)
    assert instants(timezone, on(SPRING, 1, 59)) == [on(SPRING, 1 + standard, 59)]


@pytest.mark.parametrize(("timezone", "standard", "summer"), OFFSETS)
def test_the_hour_repeated_in_autumn_is_its_first_pass(timezone: str, standard: int, summer: int):
    repeated, after = instants(timezone, on(FALL, 1, 30), on(FALL, 2, 30))
    assert repeated == on(FALL, 1 + summer, 30)
    assert after == on(FALL, 2 + standard, 30)
    assert after - repeated == dt.timedelta(hours=2)


@pytest.mark.parametrize(
    ("timezone", "day", "instant"),
    [
        (CHICAGO, SPRING, dt.datetime(2026, 3, 9, 4, 30)),
        (LOS_ANGELES, SPRING, dt.datetime(2026, 3, 9, 6, 30)),
        (NEW_YORK, SPRING, dt.datetime(2026, 3, 9, 3, 30)),
        (CHICAGO, FALL, dt.datetime(2026, 11, 2, 5, 30)),
        (LOS_ANGELES, FALL, dt.datetime(2026, 11, 2, 7, 30)),
        (NEW_YORK, FALL, dt.datetime(2026, 11, 2, 4, 30)),
    ],
)
def test_half_past_eleven_at_night_is_already_the_next_day_in_utc(
    timezone: str, day: dt.date, instant: dt.datetime
):
    assert instants(timezone, on(day, 23, 30)) == [instant]


@pytest.mark.parametrize("timezone", ZONES)
@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (FALL, 25), (dt.date(2026, 6, 1), 24)])
def test_a_day_has_23_24_or_25_hours(timezone: str, day: dt.date, hours: int):
    start, end = instants(timezone, on(day, 0), on(day + dt.timedelta(days=1), 0))
    assert end - start == dt.timedelta(hours=hours)


def test_no_wall_time_is_no_instant():
    frame = pl.DataFrame({"local": [None]}, schema={"local": pl.Datetime("us")})
    assert frame.select(to_utc(pl.col("local"), CHICAGO)).item() is None


def test_the_portals_own_instants_are_read_as_utc_and_nothing_else_is():
    texts = ["2026-01-02T15:04:05.678Z", "2026-01-02T15:04:05", "01/02/2026", "x", None]
    found = pl.DataFrame({"text": texts}).select(utc_instant(pl.col("text"))).to_series()
    assert found.to_list() == [
        dt.datetime(2026, 1, 2, 15, 4, 5, 678000),
        dt.datetime(2026, 1, 2, 15, 4, 5),
        None,
        None,
        None,
    ]
    assert found.dtype == pl.Datetime("us")
