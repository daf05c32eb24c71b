"""What a slice of gold stands on: which days are held, how far observed, and which cells exist.

What belongs here: questions that several tables of gold ask of the warehouse before they count.
What does not: the counting.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.methods.arrays import Cells
from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.silver import RECORDS

# A day is held when the portal was asked for it, or a file brought records of it.
HELD = """
    select day, max(observed_until) as observed_until, sum(records)::bigint as records from (
        select day, observed_until, 1 as records from {records} where {where}
        union all
        select day, asked_at, 0 from {slices} where {where}
    )
    group by day order by day
"""
STUDY_AREA = f"select resolution, cell from {CELLS} where feed = $feed order by all"


@dataclass(frozen=True, slots=True)
class Held:
    """The days of a slice that are held; `days` has `day, observed_until` (UTC) and `records`."""

    feed: Feed
    days: pl.DataFrame

    @classmethod
    def of(cls, warehouse: Warehouse, feed: Feed, part: Slice) -> "Held":
        """Read which days of a slice are held."""
        table = RECORDS[feed.table]
        query = HELD.format(records=table, slices=SLICES, where=table.where)
        return cls(feed, warehouse.read(query, part, [table, SLICES]))

    def is_provisional(self, day: date) -> bool:
        """Whether the portal did not yet tell all of a day when it was last asked.

        It withholds the newest days of some feeds; of a day that is not over nothing is all.
        """
        after = datetime.combine(
            day + timedelta(days=1 + self.feed.reporting_lag_days),
            time(),
            ZoneInfo(self.feed.city.timezone),
        )
        seen = self.days.filter(pl.col("day") == day)["observed_until"].max()
        told_at = after.astimezone(UTC).replace(tzinfo=None)
        return not isinstance(seen, datetime) or seen < told_at

    def is_provisional_until(self, end: date) -> bool:
        """Whether a slice that ends before `end` lacks its last day, or has it provisionally."""
        return self.is_provisional(end - timedelta(days=1))

    def consecutive_from(self, last: date) -> date | None:
        """Return the first of the unbroken days held up to `last`; None where that is not held."""
        held = set(self.days["day"].to_list())
        if last not in held:
            return None
        first = last
        while first - timedelta(days=1) in held:
            first -= timedelta(days=1)
        return first

    def covered_months(self) -> pl.DataFrame:
        """Return `month, days`: how many days of each month are held."""
        months = self.days.select(pl.col("day").dt.truncate("1mo").alias("month"))
        return months.group_by("month").agg(pl.len().cast(pl.Int64).alias("days")).sort("month")


def study_areas(
    warehouse: Warehouse, feed: Feed, counts: pl.DataFrame, resolutions: Iterable[int]
) -> dict[int, Cells]:
    """Return a feed's cells at each resolution, sorted: those of `gold.cells` and those counted.

    While `gold.cells` was not made, they are the cells counted and their neighbours. `counts` has
    `resolution, cell`.
    """
    from city311_assets.gold.methods.grid import around

    known = warehouse.read(STUDY_AREA, {"feed": feed.name}, [CELLS])
    areas = {}
    for resolution in resolutions:
        own, seen = (
            frame.filter(pl.col("resolution") == resolution)["cell"].to_numpy().astype(np.uint64)
            for frame in (known, counts)
        )
        areas[resolution] = np.union1d(own, seen) if own.size else around(np.unique(seen))
    return areas
