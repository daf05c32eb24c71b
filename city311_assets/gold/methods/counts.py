"""Records to counts: what counts as an outcome, and counts of cells from resolution 10 up to 6.

Coarser cells are the parents of the finest, so that every resolution adds up to the same records.
What belongs here: counting. What does not: rates of the counts (`rates`, `cell_rates`).
"""

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from city311_assets.feeds.feed import Outcome
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
    category, records, eligible, successes`, only what is not zero.
    """
    finest = (
        records.drop_nulls("cell")
        .group_by(by, "cell", "category")
        .agg(
            pl.len().cast(pl.Int64).alias("records"),
            pl.col("is_eligible").sum().cast(pl.Int64).alias("eligible"),
            pl.col("is_success").sum().cast(pl.Int64).alias("successes"),
        )
    )
    return rolled_up(finest, by)


def rolled_up(
    finest: pl.DataFrame, by: str, resolutions: Sequence[int] = RESOLUTIONS
) -> pl.DataFrame:
    """Add the coarser resolutions to counts of resolution 10, each from the one below it."""
    levels, finer = [], finest
    for resolution in reversed(RESOLUTIONS):
        if resolution < RESOLUTION:
            finer = (
                finer.with_columns(parents_of(pl.col("cell"), resolution))
                .group_by(by, "cell", "category")
                .agg(pl.col(COUNTED).sum())
            )
        if resolution in resolutions:
            levels.append(finer.with_columns(pl.lit(resolution, pl.UInt8).alias("resolution")))
    order = [by, "resolution", "cell", "category"]
    return pl.concat(levels).select(*order, *COUNTED).sort(order)


def with_all(counts: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Add rows of the category `all`: the sum over the categories, by `by`."""
    summed = [column for column in COUNTED if column in counts.columns]
    total = counts.group_by(by).agg(pl.col(summed).sum())
    named = total.with_columns(pl.lit(ALL).alias("category"))
    return pl.concat([counts, named.select(counts.columns)])
