"""What a selection comes to, cell by cell, in whole numbers; and the rates of these.

What belongs here: counting arrays, and the rules of gold applied to the counts. What does not: how
cells are ranked and drawn (`cells`).
"""

from dataclasses import dataclass, field, replace

import numpy as np

from city311_assets.gold.methods.arrays import Floats, Ints
from city311_assets.gold.methods.rates import beta_priors, shrunk, wilson
from city311_assets.serving.console.hotspots.areas import grid_of
from city311_assets.serving.console.hotspots.columns import (
    KINDS,
    Columns,
    columns_of,
)
from city311_assets.serving.console.hotspots.selection import FINEST, Selection
from city311_assets.serving.snapshots import Snapshot


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of the city's cells of one resolution, in the order of its area.

    The last entry of each array is of what is on no cell.

    Attributes
    ----------
    records
        Records of the period, whatever the filters.
    selected
        Those that match the filters.
    eligible, successes
        Of the selected: those of a known outcome, and those with it.
    low, high
        Where the cells shown begin and end: all, or those below the drilled cell.
    """

    columns: Columns
    selection: Selection
    records: Ints = field(repr=False)
    selected: Ints = field(repr=False)
    eligible: Ints = field(repr=False)
    successes: Ints = field(repr=False)
    low: int
    high: int

    @property
    def shown(self) -> slice:
        """The cells shown."""
        return slice(self.low, self.high)

    def total(self, of: Ints) -> int:
        """Return the sum over the place shown; the city's is with what is on no cell."""
        elsewhere = of[-1] if self.selection.parent is None else 0
        return int(of[self.shown].sum() + elsewhere)


def counts_of(snapshot: Snapshot, selection: Selection) -> Counts:
    """Return the counts of a selection's cells."""
    columns = columns_of(snapshot, selection.feed)
    found = by_kind(columns, of_city(selection))
    low, high = columns.shown(selection)
    return Counts(
        columns,
        selection,
        records=found.sum(axis=1),
        selected=found[:, 1:].sum(axis=1),
        eligible=found[:, 2:].sum(axis=1),
        successes=found[:, 3],
        low=low,
        high=high,
    )


def of_city(selection: Selection) -> Selection:
    """Return a selection of the whole city and of nothing that it is compared with."""
    return replace(selection, parent=None, compare_first=None, compare_last=None)


def by_kind(columns: Columns, selection: Selection) -> Ints:
    """Return the city's records by cell and kind: not chosen, outcome unknown, known, a success.

    The last row is of what is on no cell. Which are chosen is asked of the whole city: rates are
    drawn to its, wherever one looks.
    """
    return columns.kept.of(("kinds", selection), lambda: _by_kind(columns, selection))


def _by_kind(columns: Columns, selection: Selection) -> Ints:
    finest = replace(selection, resolution=FINEST)
    counted = columns.kept.of(("finest kinds", finest), lambda: _finest_by_kind(columns, finest))
    return coarser(columns, counted, selection.resolution)


def _finest_by_kind(columns: Columns, selection: Selection) -> Ints:
    rows = columns.rows(selection.first, selection.last)
    key, size = columns.place_kind[rows], columns.areas[FINEST].size + 1
    if selection.is_filtered:
        # Without its kind it is counted as not chosen.
        key = np.where(columns.is_chosen(selection, rows), key, key & ~np.int32(KINDS - 1))
    return np.bincount(key, minlength=KINDS * size).reshape(size, KINDS)


def coarser(columns: Columns, counted: Ints, resolution: int) -> Ints:
    """Return counts of the finest cells, and of what is on none, as those of a resolution.

    The records are counted once, whatever the size of cells.
    """
    if resolution == FINEST:
        return counted
    above, size = columns.above[resolution], columns.areas[resolution].size + 1
    if counted.ndim == 1:
        return np.bincount(above, counted, size).astype(np.int64)
    return np.stack([np.bincount(above, of, size) for of in counted.T], axis=1).astype(np.int64)


def rates_of(counts: Counts) -> dict[str, Floats]:
    """Return gold's rates of the cells shown; nan where there is none.

    `rate, rate_low, rate_high, rate_eb, pooled_records, pooled_n, pooled_k, rate_pooled`: by the
    rules of `gold.cell_months`, over the selected records of the period. The prior is of all cells
    of the city, also where a cell is drilled into.
    """
    area = counts.columns.areas[counts.selection.resolution]
    three = np.stack([counts.selected, counts.eligible, counts.successes], axis=1)[:-1]
    _, n, k = three.T
    priors = beta_priors(k, n, np.zeros(area.size, np.int64), 1)
    pooled = grid_of(area.tobytes()).sums(three)[counts.shown].T
    n, k = n[counts.shown], k[counts.shown]
    low, high = wilson(k, n)
    with np.errstate(invalid="ignore"):
        rate = k / n
    return {
        "rate": rate,
        "rate_low": low,
        "rate_high": high,
        "rate_eb": shrunk(k, n, priors.mean, priors.strength),
        "pooled_records": pooled[0],
        "pooled_n": pooled[1],
        "pooled_k": pooled[2],
        "rate_pooled": shrunk(pooled[2], pooled[1], priors.mean, priors.strength),
    }
