"""What the sentences of a selection are made from, each number worked out once."""

from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from city311_assets.serving.console.hotspots.columns import Columns
from city311_assets.serving.console.hotspots.comparison import Exposure, exposure, tested_cells
from city311_assets.serving.console.hotspots.counts import Counts
from city311_assets.serving.console.hotspots.facts import label_of
from city311_assets.serving.console.hotspots.kpis import drill
from city311_assets.serving.console.hotspots.selection import Selection, period_words
from city311_assets.serving.console.hotspots.sentences import Part
from city311_assets.serving.snapshots import Snapshot


@dataclass(frozen=True)
class Question:
    """What all sentences are made from, each worked out once."""

    snapshot: Snapshot
    selection: Selection
    counts: Counts = field(repr=False)

    @property
    def columns(self) -> Columns:
        """The feed's records."""
        return self.counts.columns

    @cached_property
    def days(self) -> Exposure:
        """By which days the periods can be compared."""
        return exposure(self.columns, self.selection)

    @cached_property
    def changed(self) -> pl.DataFrame:
        """The cells with a record in either period, the least probable change first."""
        return tested_cells(self.columns, self.selection, self.days)

    def label(self, cell: int) -> str:
        """Return what people call a cell."""
        return label_of(self.snapshot, self.selection.feed, self.selection.resolution, cell)

    def cell(self, cell: int, measure: str | None = None) -> Part:
        """Return a cell's name as a link into it."""
        return Part(self.label(cell), drill(self.selection, cell, measure))

    @property
    def then(self) -> str:
        """The period compared, in words."""
        before = period_words(*self.selection.compared)
        if self.selection.is_free_comparison:
            return before
        return f"the same weeks last year ({before})"

    def at(self, place: int) -> int:
        """Return the cell at a place among those shown."""
        return int(self.columns.areas[self.selection.resolution][self.counts.low + place])
