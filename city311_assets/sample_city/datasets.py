"""Where the SODA service takes its rows from: the generated feeds, or a frame that a test holds."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from threading import RLock
from typing import Protocol
from zoneinfo import ZoneInfo

import polars as pl

from city311_assets.feeds.feed import ROW_CREATED_AT, ROW_ID, ROW_UPDATED_AT, Feed
from city311_assets.sample_city.cities.registry import declared_feed, simulated_feed
from city311_assets.sample_city.records import as_of, day_events, day_records
from city311_assets.sample_city.soql_clauses import SYSTEM_TYPES, Days

# Data types by silver column: what a feed maps to it has that type at the portal.
TYPED_FIELDS = {
    "number": ("latitude", "longitude"),
    "checkbox": ("is_duplicate", "is_arrest", "is_domestic"),
    "url": ("media_url",),
}
# About so many whole records are kept, those of the days last asked for.
KEPT_RECORDS = 100_000


class Dataset(Protocol):
    """Rows of text, with what a client may ask of them.

    `types` holds the data type of every column, Socrata's own included; `opened` is the column
    whose day bounds what `rows` has to return.
    """

    @property
    def name(self) -> str:
        """The dataset's title."""
        ...

    @property
    def types(self) -> Mapping[str, str]:
        """Data type by column."""
        ...

    @property
    def opened(self) -> str | None:
        """The column of the opening time."""
        ...

    def rows(self, columns: frozenset[str], days: Days) -> pl.DataFrame:
        """Return at least these columns of at least the rows opened on these days."""
        ...


def column_types(feed: Feed) -> dict[str, str]:
    """Return the data types of a feed's columns at its portal, Socrata's own first.

    What the feed's own declaration tells (times, flags, coordinates) holds for any feed; the rest
    is declared with the simulated one.
    """
    told = dict.fromkeys(filter(None, (feed.opened, feed.closed, feed.changed)), "calendar_date")
    for kind, fields in TYPED_FIELDS.items():
        told |= dict.fromkeys((feed.fields[name] for name in fields if name in feed.fields), kind)
    computed: tuple[str, ...] = ()
    if declared := declared_feed(feed):
        told |= declared.types
        computed = declared.computed_columns
    return SYSTEM_TYPES | {name: told.get(name, "text") for name in (*feed.column_names, *computed)}


class Clock(Protocol):
    """Tells the instant that the sample city takes for now, in UTC."""

    def __call__(self) -> datetime:
        """Return the instant."""
        ...


@dataclass
class GeneratedDataset:
    """One feed's records from `start` to the clock's today, made when they are asked for."""

    feed: Feed
    seed: int
    records_per_day: int
    start: date
    clock: Clock
    _whole: OrderedDict[date, pl.DataFrame] = field(default_factory=OrderedDict, repr=False)
    _events: dict[date, pl.DataFrame] = field(default_factory=dict, repr=False)
    _joined: tuple[tuple[date, date], pl.DataFrame] | None = field(default=None, repr=False)
    _lock: RLock = field(default_factory=RLock, repr=False)

    @property
    def name(self) -> str:
        """The dataset's title."""
        return self.feed.title

    @property
    def types(self) -> Mapping[str, str]:
        """Data type by column."""
        simulated_feed(self.feed)
        return column_types(self.feed)

    @property
    def opened(self) -> str | None:
        """The column of the opening time."""
        return self.feed.opened

    def rows(self, columns: frozenset[str], days: Days) -> pl.DataFrame:
        """Return the records opened on these days, as the clock's instant knows them."""
        now = self.clock()
        today = now.astimezone(ZoneInfo(self.feed.city.timezone)).date()
        span = days.both(Days(self.start, today))
        first, last = span.first or self.start, span.last or today
        asked = [first + timedelta(index) for index in range((last - first).days + 1)]
        few = {ROW_ID, ROW_CREATED_AT, ROW_UPDATED_AT, self.feed.opened}
        with self._lock:
            frame = self._all_events(asked) if columns <= few else self._records(asked)
        return as_of(frame, self.feed, now)

    def _records(self, days: list[date]) -> pl.DataFrame:
        frames = [self._day(day) for day in days]
        return pl.concat(frames) if frames else self._day(self.start).clear()

    def _day(self, day: date) -> pl.DataFrame:
        frame = self._whole.pop(day, None)
        if frame is None:
            frame = day_records(
                self.feed, day, seed=self.seed, records_per_day=self.records_per_day
            )
        self._whole[day] = frame
        while len(self._whole) > max(KEPT_RECORDS // self.records_per_day, 4):
            self._whole.popitem(last=False)
        return frame

    def _all_events(self, days: list[date]) -> pl.DataFrame:
        if not days:
            return self._day(self.start).clear()
        key = days[0], days[-1]
        if self._joined is None or self._joined[0] != key:
            for day in days:
                if day not in self._events:
                    self._events[day] = day_events(
                        self.feed, day, seed=self.seed, records_per_day=self.records_per_day
                    )
            self._joined = key, pl.concat(self._events[day] for day in days)
        return self._joined[1]


@dataclass
class FrameDataset:
    """A frame of texts, served as it is; assign `frame` to change what the next request finds.

    Columns of Socrata's own that the frame lacks are made up from the row's position. Give a feed
    for the names, types and opening column of its portal (what else the frame has is served too),
    or `columns` with their data types for exactly these.
    """

    frame: pl.DataFrame
    feed: Feed | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    opened: str | None = None
    name: str = "a frame"

    def __post_init__(self) -> None:
        if self.feed:
            self.opened, self.name = self.opened or self.feed.opened, self.feed.title

    @property
    def types(self) -> Mapping[str, str]:
        """Data type by column."""
        if self.feed and not self.columns:
            declared = column_types(self.feed)
            more = [name for name in self.frame.columns if name not in declared]
            return declared | dict.fromkeys(more, "text")
        names = [name for name in self.frame.columns if name not in SYSTEM_TYPES]
        return SYSTEM_TYPES | dict(self.columns or dict.fromkeys(names, "text"))

    def rows(self, columns: frozenset[str], days: Days) -> pl.DataFrame:  # noqa: ARG002
        """Return the whole frame, with every column that the dataset has."""
        frame = self.frame
        order = pl.int_range(frame.height).cast(pl.String).str.zfill(8)
        stamp = datetime(2026, 1, 1, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        made = {
            ROW_ID: pl.format("row-{}-{}-made", order.str.head(4), order.str.tail(4)),
            ROW_CREATED_AT: pl.lit(stamp),
            ROW_UPDATED_AT: pl.lit(stamp),
        }
        empty = pl.lit(None, pl.String)
        lacking = {name: made.get(name, empty) for name in self.types if name not in frame.columns}
        return frame.with_columns(**lacking)
