"""A feed's records as arrays, in the order of days: what every question of the page counts.

What belongs here: reading them once from a published file, and which of them a selection is of.
What does not: what is counted. A file is read once and never changes, so its arrays are kept as
long as it is the newest: 24 bytes a record (incidents) or 33. Counting arrays takes a tenth of the
time of a query over five years, and a page asks ten at a time.
"""

import threading
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.gold.methods.arrays import Bools, Cells, Floats, Ints
from city311_assets.gold.methods.counts import STILL_OPEN, with_outcome
from city311_assets.serving.console.hotspots.areas import areas_of, descendants
from city311_assets.serving.console.hotspots.facts import days_of
from city311_assets.serving.console.hotspots.kept import Kept
from city311_assets.serving.console.hotspots.selection import HOURS, Selection
from city311_assets.serving.snapshots import Snapshot
from city311_assets.silver.cells import RESOLUTION
from city311_assets.warehouse.tables.silver import RECORDS

THURSDAY = 3
# Not chosen, outcome unknown, known, a success.
KINDS = 4
DAYS_OF_WEEK = 7
# What became of a record, the successes first. Of the first three of requests, and the first two of
# incidents, the outcome is known.
STATES = {
    "arrest": ("arrest", "no arrest", "not said"),
    "closed_within_7_days": (
        "closed within 7 days",
        "closed later",
        "still open",
        "too young to tell",
        "closing cannot be read",
        "asks for no work",
    ),
}
KNOWN_STATES = {"arrest": 2, "closed_within_7_days": 3}
# Hours to closing, or as long as it was seen open, of those that gold's medians are of.
TIMED = """
    case when not is_administrative and (hours_to_close is not null
        or (hours_to_close_reason in $still_open and observed_until >= opened_at_utc))
    then coalesce(hours_to_close, date_diff('second', opened_at_utc, observed_until) / 3600.0) end
"""
OWN = {
    "arrest": "is_arrest",
    "closed_within_7_days": "opened_at_utc, observed_until, hours_to_close, "
    f"hours_to_close_reason, is_administrative, {TIMED} as hours",
}
# Texts become numbers in the query: as texts they would take most of the time and memory.
ROWS = """
    with categories as (
        select category, (row_number() over (order by category) - 1)::utinyint as category_code
        from (select distinct category from {table} where feed = $feed)
    ), streets as (
        select street, (row_number() over (order by street) - 1)::integer as street_code
        from (select distinct street from {table} where feed = $feed and street is not null)
    )
    select day, cell, hour, is_time_certain, category_code, coalesce(street_code, -1)
        as street_code, {own}
    from {table} join categories using (category) left join streets using (street)
    where feed = $feed
"""
NAMES = "select distinct {column} as name from {table} where feed = $feed and {column} is not null"

# As few bytes as the numbers need.
Codes = NDArray[np.integer]

_reading = threading.Lock()


@dataclass(frozen=True, eq=False)
class Columns:
    """A feed's records, an entry each, in the order of days.

    Attributes
    ----------
    day
        Days since 1970.
    weekday
        Of that day, Monday is 1.
    place
        Which of the study area's cells of resolution 10, in order; one past the last without one.
    category
        Which of `categories`.
    hour, is_certain
        Local hour, and whether it is known.
    slot
        Both, and the weekday, as one number: weekday x hour x certain.
    state
        Which of `states`; the outcome of those below `known_states` is known, 0 is a success.
    kind, place_kind
        1 where the outcome is unknown, 2 where it is known, 3 a success; and with the place as one
        number, `KINDS` times the place and the kind.
    street
        Which of `streets`; -1 without one.
    hours, is_closed
        Of requests: hours to closing, or as long as it was seen open; nan where gold's medians
        leave it out.
    areas
        The study area at each resolution, sorted.
    above
        At each resolution, the place in its area of each of the finest cells; one past the last
        for what is on no cell.
    held, told
        For each day from `first_day` on: whether it is held, and whether it was told in full.
    kept
        Counts of the newest selections.
    """

    feed: Feed
    day: Codes = field(repr=False)
    weekday: Codes = field(repr=False)
    place: Codes = field(repr=False)
    category: Codes = field(repr=False)
    categories: tuple[str, ...]
    hour: Codes = field(repr=False)
    is_certain: Bools = field(repr=False)
    slot: Codes = field(repr=False)
    state: Codes = field(repr=False)
    kind: Codes = field(repr=False)
    place_kind: Codes = field(repr=False)
    street: Codes = field(repr=False)
    streets: tuple[str, ...] = field(repr=False)
    hours: Floats | None = field(repr=False)
    is_closed: Bools | None = field(repr=False)
    areas: dict[int, Cells] = field(repr=False)
    above: dict[int, Codes] = field(repr=False)
    first_day: int
    held: Bools = field(repr=False)
    told: Bools = field(repr=False)
    kept: Kept = field(default_factory=Kept, repr=False)

    @cached_property
    def by_day(self) -> Ints:
        """Records by day, from that of the first record on, and category."""
        size = len(self.categories)
        if not self.day.size:
            return np.zeros((0, size), np.int64)
        key = (self.day - self.day[0]) * np.int32(size) + self.category
        days = int(self.day[-1] - self.day[0]) + 1
        return np.bincount(key, minlength=days * size).reshape(days, size)

    @property
    def states(self) -> tuple[str, ...]:
        """What may become of a record."""
        return STATES[self.feed.outcome]

    @property
    def known_states(self) -> int:
        """How many of the states are of a known outcome."""
        return KNOWN_STATES[self.feed.outcome]

    def rows(self, first: date, last: date) -> slice:
        """Return where the records of some days are, both included."""
        ends = np.array([number(first), number(last) + 1], self.day.dtype)
        low, high = np.searchsorted(self.day, ends)
        return slice(int(low), int(high))

    def days(self, first: date, last: date, weekdays: tuple[int, ...] = ()) -> pl.DataFrame:
        """Return the days of a period: `day, weekday, is_held, is_told`, weekdays as chosen."""
        return self.kept.of(
            ("period", first, last, weekdays), lambda: self._days(first, last, weekdays)
        )

    def _days(self, first: date, last: date, weekdays: tuple[int, ...]) -> pl.DataFrame:
        every = np.arange(number(first), number(last) + 1)
        place = every - self.first_day
        is_known = (place >= 0) & (place < self.held.size)
        place = np.where(is_known, place, 0)
        weekday = weekday_of(every)
        frame = pl.DataFrame(
            {
                "day": pl.Series(every.astype(np.int32)).cast(pl.Date),
                "weekday": weekday.astype(np.uint8),
                "is_held": is_known & self.held[place],
                "is_told": is_known & self.told[place],
            }
        )
        return frame.filter(pl.col("weekday").is_in(weekdays)) if weekdays else frame

    def is_told(self, first: date, last: date) -> bool:
        """Return whether every day held of a period was told in full."""
        days = self.days(first, last)
        return bool((days["is_told"] | ~days["is_held"]).all())

    def is_chosen(
        self,
        selection: Selection,
        rows: slice,
        *,
        categories: bool = True,
        weekdays: bool = True,
        hours: bool = True,
        place: bool = True,
        told: bool = False,
    ) -> Bools:
        """Return which of the rows a selection is of; filters can be left aside.

        Parameters
        ----------
        selection
            Its filters and its place; its days are `rows`.
        place
            Whether only what lies in the drilled cell is.
        told
            Whether only what is of a day told in full is.
        """
        mask = np.ones(rows.stop - rows.start, np.bool_)
        if told and mask.size:
            first, last = self.day[[rows.start, rows.stop - 1]] - self.first_day
            period = slice(first, last + 1)
            if not (self.told[period] | ~self.held[period]).all():
                mask = self.told[self.day[rows] - self.first_day]
        if selection.is_empty_filter and categories:
            return ~mask
        if categories and selection.categories:
            is_in = np.array([name in selection.categories for name in self.categories])
            mask &= is_in[self.category[rows]]
        if weekdays and selection.weekdays:
            is_in = np.isin(np.arange(DAYS_OF_WEEK + 1), selection.weekdays)
            mask &= is_in[self.weekday[rows]]
        if hours and selection.hours:
            is_in = np.isin(np.arange(24), selection.hours)
            mask &= is_in[self.hour[rows]] & self.is_certain[rows]
        if place and selection.parent is not None:
            mask &= self.is_inside(selection.parent, rows)
        return mask

    def is_inside(self, cell: int, rows: slice) -> Bools:
        """Return which of the rows lie in a cell."""
        low, high = self.below(cell, RESOLUTION)
        of = self.place[rows]
        return (of >= low) & (of < high)

    def below(self, cell: int, resolution: int) -> tuple[int, int]:
        """Return where the cells below a cell begin and end in the area of a resolution."""
        low, high = descendants(cell, resolution)
        area = self.areas[resolution]
        return (
            int(np.searchsorted(area, np.uint64(low))),
            int(np.searchsorted(area, np.uint64(high), side="right")),
        )

    def shown(self, selection: Selection) -> tuple[int, int]:
        """Return where the cells shown begin and end in the area of the selection's resolution."""
        if selection.parent is None:
            return 0, self.areas[selection.resolution].size
        return self.below(selection.parent, selection.resolution)


def columns_of(snapshot: Snapshot, feed: str) -> Columns:
    """Return a feed's records as arrays, read from a file once.

    Raises
    ------
    ValueError
        If the file has no table of them.
    """
    # Ten callbacks of a page begin at once: one of them reads.
    with _reading:
        return snapshot.once(("hotspots columns", feed), lambda: _read(snapshot, FEEDS[feed]))


def number(day: date) -> int:
    """Return a day as days since 1970."""
    return (day - date(1970, 1, 1)).days


def weekday_of(days: Codes) -> Codes:
    """Return the weekday of days since 1970, Monday is 1."""
    return (days + THURSDAY) % 7 + 1


def _read(snapshot: Snapshot, feed: Feed) -> Columns:
    table = RECORDS[feed.table]
    if not snapshot.has(table):
        raise ValueError(f"the published file has no {table}; publish it with `city311 snapshot`")
    own = OWN[feed.outcome]
    params = {"feed": feed.name} | ({"still_open": list(STILL_OPEN)} if "$" in own else {})
    read = snapshot.frame(ROWS.format(table=table, own=own), params)
    names = {
        column: tuple(
            sorted(
                snapshot.frame(NAMES.format(column=column, table=table), {"feed": feed.name})[
                    "name"
                ]
            )
        )
        for column in ("category", "street")
    }
    day = read["day"].to_physical().to_numpy().astype(np.int32)
    order = np.argsort(day, kind="stable")

    def ordered(values: pl.Series, kind: type) -> np.ndarray:
        return values.to_numpy().astype(kind)[order]

    cell = read["cell"].fill_null(0).to_numpy().astype(np.uint64)[order]
    areas, above = areas_of(snapshot, feed.name, np.unique(cell[cell > 0]))
    finest = areas[RESOLUTION]
    place = np.where(cell > 0, np.searchsorted(finest, cell), finest.size).astype(np.int32)
    is_request = feed.kind == "request"
    weekday = weekday_of(day[order]).astype(np.uint8)
    hour = ordered(read["hour"], np.uint8)
    is_certain = ordered(read["is_time_certain"], np.bool_)
    state = _states(read, feed)[order]
    kind = np.select([state == 0, state < KNOWN_STATES[feed.outcome]], [3, 2], 1).astype(np.uint8)
    days = days_of(snapshot, feed.name)
    held_day = days["day"].to_physical().to_numpy()
    first_day = int(held_day.min()) if held_day.size else 0
    held, told = np.zeros((2, int(held_day.max(initial=0)) - first_day + 1), np.bool_)
    held[held_day - first_day] = True
    told[held_day - first_day] = days["is_told"].to_numpy()
    return Columns(
        feed=feed,
        day=day[order],
        weekday=weekday,
        place=place,
        category=ordered(read["category_code"], np.uint8),
        categories=names["category"],
        hour=hour,
        is_certain=is_certain,
        slot=((weekday - np.uint16(1)) * np.uint16(HOURS) + hour) * np.uint16(2) + is_certain,
        state=state,
        kind=kind,
        place_kind=place * np.int32(KINDS) + kind,
        street=ordered(read["street_code"], np.int32),
        streets=names["street"],
        hours=ordered(read["hours"].fill_null(np.nan), np.float64) if is_request else None,
        is_closed=ordered(read["hours_to_close"].is_not_null(), np.bool_) if is_request else None,
        areas=areas,
        above=above,
        first_day=first_day,
        held=held,
        told=told,
    )


def _states(read: pl.DataFrame, feed: Feed) -> Codes:
    """Return what became of each record; the outcome is as gold counts it."""
    told = with_outcome(read, feed.outcome)
    is_success, is_eligible = pl.col("is_success"), pl.col("is_eligible")
    if feed.outcome == "arrest":
        state = pl.when(is_success & is_eligible).then(0).when(is_eligible).then(1).otherwise(2)
    else:
        is_open = pl.col("hours_to_close_reason").is_in(STILL_OPEN).fill_null(value=False)
        is_readable = pl.col("hours_to_close").is_not_null() | is_open
        state = (
            pl.when(is_success)
            .then(0)
            .when(is_eligible & ~is_open)
            .then(1)
            .when(is_eligible)
            .then(2)
            .when(pl.col("is_administrative"))
            .then(5)
            .when(is_readable | (pl.col("hours_to_close_reason") == "closed_same_day_untimed"))
            .then(3)
            .otherwise(4)
        )
    return told.select(state.cast(pl.UInt8).alias("state"))["state"].to_numpy()
