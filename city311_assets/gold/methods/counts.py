"""Records to counts: what counts as an outcome, and counts of cells from resolution 10 up to 6.

Coarser cells are the parents of the finest, so that every resolution adds up to the same records.
What belongs here: counting. What does not: rates of the counts (`rates`, `cell_rates`).
"""

from datetime import timedelta

import numpy as np
import polars as pl

from city311_assets.feeds.feed import Outcome
from city311_assets.gold.methods.arrays import Ints
from city311_assets.silver.cells import RESOLUTION, parents_of

RESOLUTIONS = range(6, RESOLUTION + 1)
ALL = "all"
CLOSED_WITHIN = timedelta(days=7)
# Why a request has no hours, and may count all the same: it was still open, or closed on its day.
STILL_OPEN = ("open", "closed_after_observed")
SAME_DAY = "closed_same_day_untimed"
COUNTED = ("records", "eligible", "successes")


def with_outcome(records: pl.DataFrame, outcome: Outcome) -> pl.DataFrame:
    """Add `is_eligible` (the outcome is known) and `is_success` to silver records.

    An arrest is known where the record says so or denies it. Whether a request was closed within
    7 days is known if it asks for work, was last observed 7 days or more after it was opened (the
    younger have closed only the quick ones), and its closing can be read.
    """
    if outcome == "arrest":
        arrested = pl.col("is_arrest")
        return records.with_columns(
            is_eligible=arrested.is_not_null(), is_success=arrested.fill_null(value=False)
        )
    reason = pl.col("hours_to_close_reason")
    is_told = reason.is_null() | reason.is_in([*STILL_OPEN, SAME_DAY])
    is_old_enough = pl.col("observed_until") - pl.col("opened_at_utc") >= CLOSED_WITHIN
    is_eligible = ~pl.col("is_administrative") & is_old_enough & is_told
    hours = CLOSED_WITHIN / timedelta(hours=1)
    is_in_time = (pl.col("hours_to_close") <= hours).fill_null(value=False) | (
        reason.is_not_null() & (reason == SAME_DAY)
    ).fill_null(value=False)
    return records.with_columns(is_eligible=is_eligible, is_success=is_eligible & is_in_time)


def cell_counts(records: pl.DataFrame, by: str = "day") -> pl.DataFrame:
    """Count records with a cell, by `by`, resolution (6 to 10), cell and category.

    Takes rows with `by, cell, category, is_eligible, is_success`; returns `by, resolution, cell,
    category, records, eligible, successes`, only what is not zero, in the order of resolution (the
    finest first), `by`, cell and category.
    """
    placed = records.drop_nulls("cell")
    return rolled_up(
        placed.select(
            by,
            "cell",
            "category",
            pl.lit(1, pl.Int64).alias("records"),
            pl.col("is_eligible").cast(pl.Int64).alias("eligible"),
            pl.col("is_success").cast(pl.Int64).alias("successes"),
        ),
        by,
    )


def rolled_up(finest: pl.DataFrame, by: str) -> pl.DataFrame:
    """Add up counts of resolution 10, in any order and repeated, at every resolution.

    Each resolution is made of the one below it. Keys are whole numbers, sorted: grouping by dates
    and texts takes four times as long.
    """
    slices, slice_of = coded(finest[by])
    categories, category_of = coded(finest["category"])
    cells, place = np.unique(finest["cell"].to_numpy().astype(np.uint64), return_inverse=True)
    counted = finest.select(COUNTED).to_numpy().astype(np.int64)
    levels = []
    for resolution in reversed(RESOLUTIONS):
        if resolution < RESOLUTION:
            above = pl.DataFrame({"cell": cells}).select(parents_of(pl.col("cell"), resolution))
            cells, coarser = np.unique(above["cell"].to_numpy(), return_inverse=True)
            place = coarser[place]
        key = (slice_of * max(cells.size, 1) + place) * max(len(categories), 1) + category_of
        order = np.argsort(key, kind="stable")
        key = key[order]
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        counted = np.add.reduceat(counted[order], starts) if starts.size else counted[:0]
        first = order[starts]
        slice_of, place, category_of = slice_of[first], place[first], category_of[first]
        levels.append(
            pl.DataFrame(
                {
                    by: slices.gather(slice_of),
                    "resolution": pl.Series([resolution], dtype=pl.UInt8).new_from_index(
                        0, starts.size
                    ),
                    "cell": cells[place],
                    "category": categories.gather(category_of),
                }
            ).hstack(pl.DataFrame(counted, schema=[(name, pl.Int64) for name in COUNTED]))
        )
    return pl.concat(levels)


def coded(values: pl.Series) -> tuple[pl.Series, Ints]:
    """Return the distinct values in order, and which of them each value is."""
    distinct = values.unique().sort()
    codes = distinct.search_sorted(values) if len(values) else pl.Series([], dtype=pl.Int64)
    return distinct, codes.to_numpy().astype(np.int64)


def with_all(counts: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Add rows of the category `all`: the sum over the categories, by `by`."""
    summed = [column for column in COUNTED if column in counts.columns]
    total = counts.group_by(by).agg(pl.col(summed).sum())
    named = total.with_columns(pl.lit(ALL).alias("category"))
    return pl.concat([counts, named.select(counts.columns)])
