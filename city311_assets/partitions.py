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

# Tag of a run that makes what hangs from its days too, so that nothing else needs to.
CARRIES_ON = "city311/carries_on"

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
Scope = Literal["feed", "city"]


@dataclass(frozen=True, slots=True)
class Slice:
    """One feed's (or city's) rows of the days from `start` up to, not including, `end`."""

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
        """The slice as query parameters: $feed or $city, $start, $end."""
        return {self.scope: self.name, "start": self.start, "end": self.end}

    @property
    def days(self) -> Iterator[date]:
        """Every day of the slice."""
        for offset in range((self.end - self.start).days):
            yield self.start + timedelta(days=offset)

    def day(self, day: date) -> "Slice":
        """Return the slice's part of one day."""
        return Slice(self.name, day, day + timedelta(days=1), self.scope)

    def __str__(self) -> str:
        return f"{self.name} {self.start} to {self.end - timedelta(days=1)}"


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

    `figures` has `day`, `rows`, and whatever else is worth a number; a day it leaves out has no
    rows, which is an answer.
    """
    by_day = {row["day"]: row for row in figures.to_dicts()}
    for day in part.days:
        row = by_day.get(day, {"rows": 0})
        known = {name: value for name, value in row.items() if name not in {"day", "rows"}}
        context.add_asset_metadata(
            {"dagster/partition_row_count": row["rows"], **known},
            asset_key=key,
            partition_key=day.isoformat(),
        )
