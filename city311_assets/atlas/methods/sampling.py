"""Which cases of a window are kept when there are more than graph and map can hold.

What belongs here: how many of each month, which, and what each then stands for. What does not:
where cases come from.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Ints

CULPRITS_SHOWN = 5


def sampled(cases: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """Return at most so many cases, stratified by month, with what each stands for.

    Each month is given its share of the places, and at least one. Within a month the cases with the
    smallest hash of seed and record id are kept, so that the sample of a window and that of the
    next have nearly all of their common months' cases in common.

    Parameters
    ----------
    cases
        `record_id` and `day`, and whatever else is to be carried along.
    most
        Places.
    seed
        Another seed is another sample.

    Returns
    -------
    pl.DataFrame
        By day and record id, with `sampling_weight`: the cases of a month over those kept of it.
        The weights of a month add up to its cases; all are 1 where everything has a place.

    Raises
    ------
    ValueError
        If a case is given twice, or there are fewer places than months.
    """
    if twice := sorted(cases.filter(pl.col("record_id").is_duplicated())["record_id"].unique()):
        raise ValueError(
            f"{len(twice)} cases are given twice: {twice[:CULPRITS_SHOWN]}; sample each once"
        )
    if cases.height <= most:
        return cases.with_columns(sampling_weight=pl.lit(1.0)).sort("day", "record_id")
    by_month = (
        cases.group_by(pl.col("day").dt.truncate("1mo").alias("month"))
        .agg(pl.len().cast(pl.Int64).alias("cases"))
        .sort("month")
    )
    if by_month.height > most:
        raise ValueError(
            f"{most} places for {by_month.height} months from {by_month['month'][0]:%Y-%m}: each "
            "needs one; raise CITY311_ATLAS_MAX_CASES"
        )
    by_month = by_month.with_columns(
        places=pl.Series(allocated(by_month["cases"].to_numpy(), most), dtype=pl.Int64)
    )
    return (
        cases.with_columns(
            pl.col("day").dt.truncate("1mo").alias("month"),
            pl.Series("order", _hashes(cases["record_id"], seed), dtype=pl.UInt64),
        )
        .join(by_month, on="month")
        .sort("order", "record_id")
        .filter(pl.int_range(pl.len()).over("month") < pl.col("places"))
        .with_columns(sampling_weight=pl.col("cases") / pl.col("places"))
        .select(*cases.columns, "sampling_weight")
        .sort("day", "record_id")
    )


def allocated(sizes: Ints, places: int) -> Ints:
    """Return how many places each stratum is given: its share, at least one, `places` in all.

    Strata whose share is less than one place get one, the rest is shared by the others in
    proportion and rounded by largest remainder (equals: the first). Needs `len(sizes) <= places`
    and no more places than there is to fill them.
    """
    share = places * sizes / sizes.sum()
    is_small = np.zeros(sizes.size, np.bool_)
    while (found := (share < 1) & ~is_small).any():
        is_small |= found
        rest = sizes * ~is_small
        share = np.where(is_small, 1.0, (places - is_small.sum()) * rest / max(rest.sum(), 1))
    given = np.floor(share).astype(np.int64)
    order = np.argsort(given - share, kind="stable")
    given[order[: places - given.sum()]] += 1
    return given


def _hashes(record_ids: Iterable[str], seed: int) -> list[int]:
    """Return 64 bits for each id: the same on every machine and in every version."""
    key = seed.to_bytes(8, "little", signed=True)
    return [
        int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest(), "little")
        for name in record_ids
    ]
