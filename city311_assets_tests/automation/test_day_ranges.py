"""Day ranges: scattered days as few runs."""

import datetime as dt
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.automation.day_ranges import coalesced, covers, shown, since

FIRST = dt.date(2026, 1, 1)


def day(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


@pytest.mark.parametrize(
    ("days", "ranges"),
    [
        ([], []),
        ([3], [(3, 3)]),
        ([3, 4, 5], [(3, 5)]),
        ([5, 3, 3], [(3, 5)]),
        ([0, 8], [(0, 8)]),
        ([0, 9], [(0, 0), (9, 9)]),
        ([*range(40)], [(0, 30), (31, 39)]),
        ([0, 8, 16, 24, 32], [(0, 24), (32, 32)]),
    ],
)
def test_short_gaps_are_filled_and_runs_stay_short(days: list[int], ranges: list[tuple]):
    assert coalesced(map(day, days)) == [(day(a), day(b)) for a, b in ranges]


@given(st.sets(st.integers(0, 800), max_size=200), st.integers(0, 20), st.integers(1, 40))
def test_every_day_is_covered_once_by_ranges_in_order(days: set[int], gap: int, longest: int):
    ranges = coalesced(map(day, days), gap, longest)
    assert all(covers(ranges, day(number)) for number in days)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(ranges))
    for first, last in ranges:
        assert (last - first).days < longest
        inside = sorted(number for number in days if first <= day(number) <= last)
        assert (day(inside[0]), day(inside[-1])) == (first, last)
        assert all(b - a <= gap + 1 for a, b in itertools.pairwise(inside))


def test_two_hundred_scattered_days_of_a_year_are_a_dozen_runs():
    days = random.Random(311).sample(range(365), 200)
    assert len(coalesced(map(day, days))) == 12


def test_days_are_shown_as_ranges_and_a_count():
    assert shown([day(0), day(1), day(2), day(5)]) == "2026-01-01 to 2026-01-03, 2026-01-06"
    assert shown([day(2 * n) for n in range(12)]).endswith("2026-01-19 and 2 more")
    assert shown([]) == ""


def test_the_days_before_today_are_in_order_and_without_it():
    assert since(day(3), 2) == [day(1), day(2)]
