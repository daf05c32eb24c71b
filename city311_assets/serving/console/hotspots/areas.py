"""Which cells there are at each resolution, and which of them lie in which.

What belongs here: a feed's cells as sorted arrays. What does not: the records in them (`columns`).
"""

from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.gold.methods.arrays import Cells
from city311_assets.gold.methods.counts import RESOLUTIONS
from city311_assets.gold.slices import STUDY_AREA
from city311_assets.serving.console.hotspots.selection import resolution_of
from city311_assets.serving.snapshots import Snapshot
from city311_assets.silver.cells import (
    BITS_PER_DIGIT,
    FINEST_RESOLUTION,
    RESOLUTION,
    RESOLUTION_MASK,
    RESOLUTION_SHIFT,
)
from city311_assets.warehouse.tables.gold import CELLS

HIGHEST_DIGIT = 6


def descendants(cell: int, resolution: int) -> tuple[int, int]:
    """Return the least and the greatest number that a cell of a resolution below a cell may have.

    Digits of the levels in between are 0 to 6, and no other cell's descendants lie between.
    """
    low = high = cell & ~RESOLUTION_MASK | resolution << RESOLUTION_SHIFT
    for level in range(resolution_of(cell) + 1, resolution + 1):
        shift = BITS_PER_DIGIT * (FINEST_RESOLUTION - level)
        low &= ~(0b111 << shift)
        high = high & ~(0b111 << shift) | HIGHEST_DIGIT << shift
    return low, high


# The grid of the finest cells takes a third of a second: more than all that is counted on it.
@lru_cache(maxsize=32)
def grid_of(cells: bytes):  # noqa: ANN201  # its class is of a module that loads scipy
    """Return the grid of sorted cells, given as the bytes of their array."""
    from city311_assets.gold.methods.grid import Grid

    return Grid.of(np.frombuffer(cells, np.uint64))


def areas_of(
    snapshot: Snapshot, feed: str, seen: Cells
) -> tuple[dict[int, Cells], dict[int, NDArray[np.integer]]]:
    """Return the study area at each resolution, and where its finest cells lie in each."""
    from city311_assets.gold.methods.grid import around, parents

    known = (
        snapshot.frame(STUDY_AREA, {"feed": feed})
        if snapshot.has(CELLS)
        else pl.DataFrame(schema={"resolution": pl.UInt8, "cell": pl.UInt64})
    )

    def known_at(resolution: int) -> Cells:
        return known.filter(pl.col("resolution") == resolution)["cell"].to_numpy().astype(np.uint64)

    finest = np.union1d(known_at(RESOLUTION), seen) if len(known) else around(seen)
    areas, above = {}, {}
    for resolution in RESOLUTIONS:
        coarser = parents(finest, resolution)
        areas[resolution] = np.union1d(known_at(resolution), coarser)
        place = np.searchsorted(areas[resolution], coarser)
        above[resolution] = np.append(place, areas[resolution].size).astype(np.int32)
    return areas, above
