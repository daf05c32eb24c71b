"""What the hotspots page is asked: a feed, days, filters, a place.

What belongs here: what a selection is, how it is read from the page's controls and written into an
address, and what is wrong with it in words. What does not: which records it is of (`records`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TypedDict, Unpack

from city311_assets.serving.console.hotspots.controls import CONTROLS
from city311_assets.serving.console.hotspots.facts import FeedFacts, feed_facts, feeds_held
from city311_assets.serving.console.hotspots.measures import MEASURES
from city311_assets.serving.console.url_state import Value, search_of
from city311_assets.serving.snapshots import Snapshot
from city311_assets.silver.cells import RESOLUTION, RESOLUTION_MASK, RESOLUTION_SHIFT
from city311_assets.warehouse.tables.gold import CELLS

COARSEST, FINEST = 6, RESOLUTION
DEFAULT_RESOLUTION = 8
DEFAULT_MEASURE = "selected"
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
HOURS = 24
# Weeks are compared with the same weekdays a year before.
A_YEAR = timedelta(days=364)
YEARS = range(1800, 2200)
NO_CATEGORY = "yes"
HEX = re.compile(r"[0-9a-f]{15}")
IS_CELL = f"select count(*) as found from {CELLS} where feed = $feed and cell = $cell"


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked.

    Attributes
    ----------
    feed
        Name of the feed.
    first, last
        The days of the period, both included.
    categories
        Those chosen; empty: all.
    is_empty_filter
        An explicit choice of no category: nothing matches.
    parent
        The drilled cell (H3), whose children are shown; None: the whole city.
    resolution
        Of the cells shown, 6 to 10.
    weekdays
        Those chosen, Monday is 1; empty: all.
    hours
        Local hours chosen, 0 to 23, which only records with a certain time can match; empty: all.
    compare_first, compare_last
        The days of the period it is compared with; None: the same weeks last year.
    """

    feed: str
    first: date
    last: date
    categories: tuple[str, ...] = ()
    is_empty_filter: bool = False
    parent: int | None = None
    resolution: int = DEFAULT_RESOLUTION
    weekdays: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    compare_first: date | None = None
    compare_last: date | None = None

    @property
    def days(self) -> int:
        """How many days the period has."""
        return (self.last - self.first).days + 1

    @property
    def is_filtered(self) -> bool:
        """Whether some records of the period and place are left out."""
        return bool(self.categories or self.weekdays or self.hours or self.is_empty_filter)

    @property
    def parent_hex(self) -> str | None:
        """The drilled cell as text."""
        return None if self.parent is None else format(self.parent, "x")

    @property
    def is_free_comparison(self) -> bool:
        """Whether it is compared with days of somebody's choice, not with the year before."""
        return self.compare_first is not None and self.compare_last is not None

    @property
    def compared(self) -> tuple[date, date]:
        """The days it is compared with, both included."""
        if self.compare_first is not None and self.compare_last is not None:
            return self.compare_first, self.compare_last
        return self.first - A_YEAR, self.last - A_YEAR


def selection_of(
    values: Mapping[str, Value], snapshot: Snapshot
) -> tuple[Selection | None, tuple[str, ...]]:
    """Return what the page's controls ask, and what of it makes no sense, in sentences.

    What makes none is replaced by its default. None where the file has no record of any feed.
    """
    held = dict(feeds_held(snapshot))
    if not held:
        return None, ("The published file holds no records of any feed.",)
    problems: list[str] = []
    feed = str(values.get("feed") or next(iter(held)))
    if feed not in held:
        problems.append(
            f"feed: the file holds nothing called {feed!r}; {next(iter(held))} is shown instead."
        )
        feed = next(iter(held))
    facts = feed_facts(snapshot, feed)
    if facts is None:
        return None, (f"The published file holds no records of {held[feed]}.",)
    first, last = _period(values, facts, problems)
    parent, resolution = _place(values, snapshot, feed, problems)
    compare_first, compare_last = _compared(values, problems)
    return (
        Selection(
            feed=feed,
            first=first,
            last=last,
            categories=_categories(values, facts, problems),
            is_empty_filter=bool(values.get("none")),
            parent=parent,
            resolution=resolution,
            weekdays=_numbers(values.get("weekday"), "weekday", range(1, 8), problems),
            hours=_numbers(values.get("hour"), "hour", range(HOURS), problems),
            compare_first=compare_first,
            compare_last=compare_last,
        ),
        tuple(problems),
    )


def measure_of(values: Mapping[str, Value]) -> tuple[str, tuple[str, ...]]:
    """Return the name of the measure that is asked for, and what is wrong with it."""
    name = str(values.get("measure") or DEFAULT_MEASURE)
    if name in MEASURES:
        return name, ()
    problem = (
        f"measure: there is none called {name!r}, but {', '.join(MEASURES)}; "
        f"{DEFAULT_MEASURE} is shown instead."
    )
    return DEFAULT_MEASURE, (problem,)


def values_for(selection: Selection, measure: str | None = None) -> dict[str, Value]:
    """Return the value of every control that a selection comes from."""
    free = selection.is_free_comparison
    return {
        "feed": selection.feed,
        "from": selection.first.isoformat(),
        "to": selection.last.isoformat(),
        "category": list(selection.categories),
        "none": NO_CATEGORY if selection.is_empty_filter else None,
        "resolution": selection.resolution,
        "cell": selection.parent_hex,
        "measure": measure or DEFAULT_MEASURE,
        "weekday": [str(one) for one in selection.weekdays],
        "hour": [str(one) for one in selection.hours],
        "compare-from": str(selection.compare_first) if free else None,
        "compare-to": str(selection.compare_last) if free else None,
    }


class Changes(TypedDict, total=False):
    """Fields of a selection that a link changes."""

    feed: str
    first: date
    last: date
    categories: tuple[str, ...]
    is_empty_filter: bool
    parent: int | None
    resolution: int
    weekdays: tuple[int, ...]
    hours: tuple[int, ...]
    compare_first: date | None
    compare_last: date | None


def search_for(selection: Selection, measure: str | None = None, **changes: Unpack[Changes]) -> str:
    """Return the address's query of a selection, with some of its fields changed: a link to it."""
    return search_of(values_for(replace(selection, **changes), measure), CONTROLS)


def said(selection: Selection) -> str:
    """Return what is selected in words: the categories, the days, the weekdays and hours."""
    parts = ["nothing"] if selection.is_empty_filter else [words(selection.categories)]
    parts.append(period_words(selection.first, selection.last))
    if selection.weekdays:
        parts.append(", ".join(f"{WEEKDAYS[day - 1]}s" for day in sorted(selection.weekdays)))
    if selection.hours:
        parts.append(hours_words(selection.hours))
    return ", ".join(parts)


def words(categories: Sequence[str]) -> str:
    """Return the names of categories as people read them."""
    return ", ".join(one.replace("_", " ") for one in categories) or "all categories"


def day_words(day: date) -> str:
    """Return a day as people write it: `3 Nov 2026`."""
    return f"{day.day} {day:%b %Y}"


def period_words(first: date, last: date) -> str:
    """Return days as people write them: `1 to 9 Nov 2026`."""
    if first == last:
        return day_words(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {day_words(last)}"
    if first.year == last.year:
        return f"{first.day} {first:%b} to {day_words(last)}"
    return f"{day_words(first)} to {day_words(last)}"


def hours_words(hours: Sequence[int]) -> str:
    """Return hours as people write them: `8:00 to 10:59`, or those that do not follow."""
    ordered = sorted(hours)
    if ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}:00 to {ordered[-1]}:59"
    return "hours " + ", ".join(f"{hour}:00" for hour in ordered)


def resolution_of(cell: int) -> int:
    """Return the resolution of an H3 cell."""
    return (cell & RESOLUTION_MASK) >> RESOLUTION_SHIFT


def children_of(selection: Selection, cell: str) -> Selection:
    """Return the selection drilled into a cell (H3, hex): its children, one resolution finer.

    Raises
    ------
    ValueError
        If the cell is of the finest resolution, or none.
    """
    parent = int(cell, 16)
    if not COARSEST <= (resolution := resolution_of(parent)) < FINEST:
        raise ValueError(f"cell {cell} of resolution {resolution} has no children to be shown")
    return replace(selection, parent=parent, resolution=resolution + 1)


def _period(
    values: Mapping[str, Value], facts: FeedFacts, problems: list[str]
) -> tuple[date, date]:
    first = _day(values.get("from"), "from", facts.default_first, problems)
    last = _day(values.get("to"), "to", facts.default_last, problems)
    if values.get("from") and not values.get("to"):
        last = max(first, last)
    elif values.get("to") and not values.get("from"):
        first = min(first, last)
    if first > last:
        problems.append(
            f"from: {first} lies after {last}; "
            f"{period_words(facts.default_first, facts.default_last)} is shown instead."
        )
        return facts.default_first, facts.default_last
    return first, last


def _compared(values: Mapping[str, Value], problems: list[str]) -> tuple[date | None, date | None]:
    given = [values.get("compare-from"), values.get("compare-to")]
    if not any(given):
        return None, None
    days = []
    for value, name in zip(given, ("compare-from", "compare-to"), strict=True):
        if not value:
            which = "first" if name == "compare-from" else "second"
            problems.append(
                f"{name}: choose the {which} day to compare with too; until then the same weeks "
                "last year are compared."
            )
            return None, None
        day = parsed_day(value)
        if day is None:
            problems.append(
                f"{name}: {value} is not a day; the same weeks last year are compared instead."
            )
            return None, None
        days.append(day)
    if days[0] > days[1]:
        problems.append(
            f"compare-from: {days[0]} lies after {days[1]}; the same weeks last year are compared "
            "instead."
        )
        return None, None
    return days[0], days[1]


def _place(
    values: Mapping[str, Value], snapshot: Snapshot, feed: str, problems: list[str]
) -> tuple[int | None, int]:
    parent = _cell(values.get("cell"), snapshot, feed, problems)
    coarsest = COARSEST if parent is None else resolution_of(parent) + 1
    default = max(DEFAULT_RESOLUTION if parent is None else 0, coarsest)
    asked = values.get("resolution")
    if asked is None or asked == "":
        return parent, default
    number = _whole(asked)
    if number is None or not COARSEST <= number <= FINEST:
        problems.append(
            f"resolution: {asked} is not between {COARSEST} and {FINEST}; {default} is shown "
            "instead."
        )
        return parent, default
    # A drilled cell has no children of its own resolution: the controls may still say so.
    return parent, max(number, coarsest)


def _cell(value: Value, snapshot: Snapshot, feed: str, problems: list[str]) -> int | None:
    if not value:
        return None
    text = str(value).lower()
    if HEX.fullmatch(text):
        cell = int(text, 16)
        is_right = COARSEST <= resolution_of(cell) < FINEST
        if is_right and snapshot.has(CELLS):
            found = snapshot.frame(IS_CELL, {"feed": feed, "cell": cell})["found"].item()
            if found:
                return cell
    problems.append(
        f"cell: {value} is no cell of the feed with smaller ones in it; the whole city is shown "
        "instead."
    )
    return None


def _categories(
    values: Mapping[str, Value], facts: FeedFacts, problems: list[str]
) -> tuple[str, ...]:
    known = {name for name, _ in facts.categories}
    asked = dict.fromkeys(str(one) for one in listed(values.get("category")))
    if unknown := [name for name in asked if name not in known]:
        problems.append(
            f"category: {facts.title} has no {', '.join(map(repr, unknown[:5]))}; left out."
        )
    return tuple(name for name in asked if name in known)


def _numbers(
    value: Value, name: str, allowed: Sequence[int], problems: list[str]
) -> tuple[int, ...]:
    numbers = {text: _whole(text) for text in listed(value)}
    if wrong := [str(text) for text, number in numbers.items() if number not in allowed]:
        problems.append(
            f"{name}: {', '.join(wrong[:5])} is not between {allowed[0]} and {allowed[-1]}; "
            "left out."
        )
    return tuple(sorted({one for one in numbers.values() if one is not None and one in allowed}))


def listed(value: Value) -> list[str | float]:
    """Return a control's value as a list; what is empty has none."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def parsed_day(value: Value) -> date | None:
    """Return the day that a text says (`2026-11-03`, a time after it is let go); None if none.

    A day of a year that no record can have is none: what a year before or after it lies may not be.
    """
    try:
        day = date.fromisoformat(str(value)[:10])
    except ValueError:
        return None
    return day if day.year in YEARS else None


def _day(value: Value, name: str, default: date, problems: list[str]) -> date:
    if not value:
        return default
    day = parsed_day(value)
    if day is None:
        problems.append(f"{name}: {value} is not a day; {day_words(default)} is taken instead.")
        return default
    return day


def _whole(value: Value) -> int | None:
    if value is None or isinstance(value, list):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
