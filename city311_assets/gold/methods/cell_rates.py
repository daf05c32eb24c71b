"""Rates of cells: Wilson, empirical Bayes, the old fixed prior, and pooled over the ring.

Every rate is shrunk once, over the slice it is of, by a prior of the cells of the same slice,
resolution and category.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Cells, Floats
from city311_assets.gold.methods.counts import ALL, COUNTED, coded
from city311_assets.gold.methods.grid import Grid
from city311_assets.gold.methods.rates import (
    beta_priors,
    is_low_confidence,
    shrunk,
    smoothed,
    wilson,
)


def cell_rates(counts: pl.DataFrame, grid: Grid, by: str) -> pl.DataFrame:
    """Return the rates of one resolution's cells, of every category and of `all`.

    Parameters
    ----------
    counts
        `by, cell, category, records, eligible, successes`; what is absent is zero.
    grid
        The study area; every counted cell lies in it.
    by
        The column that names the slice: `day` or `month`.

    Returns
    -------
    pl.DataFrame
        A row for each slice, category and cell that holds a record or lies beside one. Elsewhere
        all counts are zero, the interval is (0, 1) and the shrunken rates are the prior's mean.

    Raises
    ------
    ValueError
        A counted cell lies outside the study area.
    """
    place = grid.index_of(counts["cell"].to_numpy().astype(np.uint64))
    if (place < 0).any():
        outside = counts.filter(pl.Series(place < 0))["cell"].unique().sort().head(5).to_list()
        raise ValueError(f"cells outside the study area: {outside}; materialize gold.cells first")
    slices, slice_of = coded(counts[by])
    categories, category_of = coded(counts["category"])
    # The last category is `all`.
    shape = grid.cells.size, len(slices), len(categories) + 1
    at = np.ravel_multi_index((place, slice_of, category_of), shape) if len(place) else place
    dense = np.stack(
        [np.bincount(at, counts[name], np.prod(shape)).reshape(shape) for name in COUNTED]
    )
    dense[..., -1] = dense.sum(axis=-1)
    groups = len(slices) * (len(categories) + 1)
    dense = dense.reshape(len(COUNTED), grid.cells.size, groups)
    pooled = np.stack([grid.sums(values) for values in dense])
    at, of = np.nonzero(pooled[0])
    _, n, k = (values[at, of] for values in dense)
    priors = beta_priors(k, n, of, groups)
    mean, strength = priors.mean[of], priors.strength[of]
    low, high = wilson(k, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = k / n
    columns = {
        "records": dense[0][at, of].astype(np.int64),
        "eligible": n.astype(np.int64),
        "successes": k.astype(np.int64),
        "rate": _known(rate),
        "rate_low": low,
        "rate_high": high,
        "rate_eb": _known(shrunk(k, n, mean, strength)),
        "prior_mean": _known(mean),
        "prior_strength": _known(strength),
        "rate_smoothed": _known(smoothed(k, n, mean)),
        "pooled_records": pooled[0][at, of].astype(np.int64),
        "pooled_n": pooled[1][at, of].astype(np.int64),
        "pooled_k": pooled[2][at, of].astype(np.int64),
        "rate_pooled": _known(shrunk(pooled[2][at, of], pooled[1][at, of], mean, strength)),
        "is_low_confidence": is_low_confidence(low, high),
    }
    names = pl.concat([categories, pl.Series([ALL])]) if len(categories) else pl.Series([ALL])
    named = {
        by: slices.gather(of // len(names)),
        "cell": grid.cells[at],
        "category": names.gather(of % len(names)),
    }
    return pl.DataFrame(named).hstack(pl.DataFrame(columns))


def _known(values: Floats) -> pl.Series:
    """Return numbers with null where there is none; an infinite one is none either."""
    return pl.Series(np.where(np.isfinite(values), values, np.nan), nan_to_null=True)


# Months of a range have the same study area, and so have the feeds of a city.
@lru_cache(maxsize=12)
def grid_of(cells: bytes) -> Grid:
    """Return the grid of sorted cells, given as the bytes of their array."""
    return Grid.of(np.frombuffer(cells, np.uint64))


def rates_of_resolutions(counts: pl.DataFrame, areas: Mapping[int, Cells], by: str) -> pl.DataFrame:
    """Return the rates of every resolution in `areas` (its study area), with `resolution`.

    `counts` has `resolution` beside the columns that `cell_rates` takes.
    """
    rates = [
        cell_rates(
            counts.filter(pl.col("resolution") == resolution).drop("resolution"),
            grid_of(cells.tobytes()),
            by,
        ).with_columns(pl.lit(resolution, pl.UInt8).alias("resolution"))
        for resolution, cells in areas.items()
    ]
    return pl.concat(rates)
