"""How tables are sliced: by city-local day, or by month."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, Self

import dagster as dg
import polars as pl

from city311_assets.settings import settings

# One definition of each for the whole graph: a backfill over a date range starts at its roots, and
# roots on different definitions cannot be backfilled together. A day is a city-local date, whatever
# zone Dagster labels it with. The open month has a slice too.
DAYS = dg.DailyPartitionsDefinition(start_date=settings().start_date.isoformat())
MONTHS = dg.MonthlyPartitionsDefinition(start_date=settings().start_date.isoformat(), end_offset=1)

# A chunk of days goes through the graph in one run, and a failure loses one chunk.
DAYS_PER_RUN = 31
BY_CHUNK = dg.BackfillPolicy.multi_run(DAYS_PER_RUN)
# Of months a year: starting a run costs more than most of them.
BY_YEAR = dg.BackfillPolicy.multi_run(12)

# Tag of a run that makes what hangs from its days too, so that nothing else needs to.
CARRIES_ON = "city311/carries_on"
# Tag of an asset without slices that reads every day held: after a range of days it is made again.
LOOKS_BACK = "city311/looks_back"
# Tag of a daily asset that wants so many days after its own: its value says how many.
LOOKS_AHEAD = "city311/looks_ahead"
# Tag of a daily asset that wants the months before it first.
AFTER_MONTHS = "city311/after_months"

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
Scope = Literal["feed", "city", "target", "asset"]
Period = Literal["day", "month"]
PARTITIONS: dict[Period, dg.TimeWindowPartitionsDefinition] = {"day": DAYS, "month": MONTHS}


def sliced_days() -> list[date]:
    """Return every day that has a slice by now, oldest first.

    Dagster makes its keys one by one by its clockwork: a quarter of a second for 27 years.
    """
    first, last = DAYS.get_first_partition_key(), DAYS.get_last_partition_key()
    if first is None or last is None:
        return []
    start = date.fromisoformat(first)
    count = (date.fromisoformat(last) - start).days + 1
    return [start + timedelta(days=number) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Slice:
    """One feed's (or city's, or target's) rows of the days from `start` up to before `end`."""

    name: str
    start: date
    end: date
    scope: Scope = "feed"

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"the slice {self} is empty: its end must lie after its start")

    @classmethod
    def of(cls, context: Context, name: str, scope: Scope = "feed") -> Self:
        """Return what this run is about: one day, or a backfill's whole range."""
        window = context.partition_time_window
        return cls(name, window.start.date(), window.end.date(), scope)

    @property
    def params(self) -> dict[str, object]:
        """The slice as query parameters: $feed, $city or $target, $start, $end."""
        return {self.scope: self.name, "start": self.start, "end": self.end}

    @property
    def days(self) -> Iterator[date]:
        """Every day of the slice."""
        for offset in range((self.end - self.start).days):
            yield self.start + timedelta(days=offset)

    @property
    def months(self) -> Iterator[date]:
        """The first day of every month of the slice."""
        month = self.start.replace(day=1)
        while month < self.end:
            yield month
            month = month_after(month)

    def firsts(self, period: Period) -> Iterator[date]:
        """What names the slice's partitions: its days, or the first day of each month."""
        return self.months if period == "month" else self.days

    def day(self, day: date) -> "Slice":
        """Return the slice's part of one day."""
        return Slice(self.name, day, day + timedelta(days=1), self.scope)

    def month(self, month: date) -> "Slice":
        """Return the slice's part of one month, by its first day."""
        return Slice(self.name, month, month_after(month), self.scope)

    def reaching_back(self, days: int = 0, months: int = 0) -> "Slice":
        """Return the slice with so many days, or whole months, before it, for a look-back."""
        start = self.start - timedelta(days=days)
        for _ in range(months):
            start = (start - timedelta(days=1)).replace(day=1)
        return Slice(self.name, start, self.end, self.scope)

    def __str__(self) -> str:
        return f"{self.name} {self.start} to {self.end - timedelta(days=1)}"


def month_after(month: date) -> date:
    """Return the first day of the month after the one that begins on `month`."""
    return (month + timedelta(days=31)).replace(day=1)


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the tags that make one run of a range of days, both ends included."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def note_days(
    context: dg.AssetExecutionContext, key: dg.AssetKey, figures: pl.DataFrame, part: Slice
) -> None:
    """Attach each day's own figures to its partition, so that a range run says them day by day.

    `figures` has `day` (or `month`), `rows`, and whatever else is worth a number; a day it leaves
    out has no rows, which is an answer.
    """
    period: Period = "month" if "month" in figures.columns else "day"
    by_day = {row[period]: row for row in figures.to_dicts()}
    for day in part.firsts(period):
        row = by_day.get(day, {"rows": 0})
        known = {name: value for name, value in row.items() if name not in {period, "rows"}}
        context.add_asset_metadata(
            {"dagster/partition_row_count": row["rows"], **known},
            asset_key=key,
            partition_key=day.isoformat(),
        )
