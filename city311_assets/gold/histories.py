"""Histories: a feed's counts on unbroken days, as forecasts and their scores read them.

A look-back is read by SQL and is no partition mapping: what changed in it since is repaired when
the day is made again, by the weekly refresh at the latest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.slices import Held, study_areas
from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELL_DAYS

if TYPE_CHECKING:
    from city311_assets.gold.methods.forecasting import History

RESOLUTIONS = (7, 8)
COUNTS = f"""
    select day, resolution, cell, category, records
    from {CELL_DAYS} where {CELL_DAYS.where} and resolution in (7, 8) order by all
"""


@dataclass(frozen=True, slots=True)
class Histories:
    """What forecasts of some days of issue know, and the histories made of it so far.

    `made` holds one for each first day and resolution: days of issue with the same unbroken past
    share theirs, and what was worked out for one serves the next.
    """

    held: Held
    counts: pl.DataFrame
    areas: dict
    last: date
    made: dict

    @classmethod
    def of(cls, warehouse: Warehouse, feed: Feed, part: Slice, reach: int) -> "Histories":
        """Read a slice of days of issue, and `reach` days before it."""
        window = part.reaching_back(days=reach)
        counts = warehouse.read(COUNTS, window, [CELL_DAYS])
        return cls(
            Held.of(warehouse, feed, window),
            counts,
            study_areas(warehouse, feed, counts, RESOLUTIONS),
            part.end - timedelta(days=1),
            {},
        )

    def known_at(self, day: date) -> Iterator[tuple[int, "History"]]:
        """Return each resolution's history whose days are held without a gap up to `day`.

        Where `day` is not held itself, or no cell is known, there is none.
        """
        first = self.held.consecutive_from(day)
        if first is None or not self.areas[RESOLUTIONS[0]].size:
            return
        for resolution in RESOLUTIONS:
            key = first, resolution
            if key not in self.made:
                self.made[key] = self._history(first, resolution)
            yield resolution, self.made[key]

    def _history(self, first: date, resolution: int) -> "History":
        from city311_assets.gold.methods.forecasting import History
        from city311_assets.gold.methods.grid import Grid

        days = [first + timedelta(days=n) for n in range((self.last - first).days + 1)]
        own = (pl.col("resolution") == resolution) & (pl.col("day") >= first)
        grid = Grid.of(self.areas[resolution])
        return History.of(
            self.counts.filter(own).drop("resolution"), grid.cells, days, disk=grid.disk
        )
