"""Scattered days as few runs: gaps filled, none longer than a run takes.

Starting a run costs as much as bringing in dozens of quiet days (docs/trials.md), so a short gap
between two days is read again rather than left out.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from city311_assets.partitions import DAYS_PER_RUN

GAP_FILLED = 7

Range = tuple[date, date]


def coalesced(
    days: Iterable[date], longest_gap: int = GAP_FILLED, longest: int = DAYS_PER_RUN
) -> list[Range]:
    """Return ranges (both ends included) that cover days, in order, and few others.

    Parameters
    ----------
    days
        The days wanted, in any order.
    longest_gap
        So many days between two wanted ones are covered too.
    longest
        So many days a range has at most.
    """
    ranges: list[Range] = []
    for day in sorted(set(days)):
        if ranges:
            first, last = ranges[-1]
            if (day - last).days <= longest_gap + 1 and (day - first).days < longest:
                ranges[-1] = first, day
                continue
        ranges.append((day, day))
    return ranges


def covers(ranges: Iterable[Range], day: date) -> bool:
    """Return whether a day lies in one of the ranges."""
    return any(first <= day <= last for first, last in ranges)


def shown(days: Sequence[date], most: int = 10) -> str:
    """Return days as a short text: neighbours as one range, and how many more there are."""
    ranges = coalesced(days, longest_gap=0, longest=len(days) + 1)
    texts = [str(a) if a == b else f"{a} to {b}" for a, b in ranges]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def since(today: date, days: int) -> list[date]:
    """Return the `days` days before today, oldest first."""
    return [today - timedelta(days=back) for back in range(days, 0, -1)]
