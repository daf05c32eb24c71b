"""Hot spots of one feed and month at one resolution: which rings of cells hold more records, or
fewer, than a null model lets expect, and what has become of them over twelve months.

Two null models. `baseline`: each ring keeps the share of the city's records that it had in the
twelve months before. `uniform`: every cell is alike; downtown is always hot then.

What belongs here: the tests of rings of counts, corrected for how many are tested. What does not:
rates and outcomes, or what is to be counted.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray
from scipy import special, stats

from city311_assets.gold.methods import negative_binomial
from city311_assets.gold.methods.arrays import Floats, Ints
from city311_assets.gold.methods.counts import ALL
from city311_assets.gold.methods.gi_star import gi_star, ring_skewness, skewed_two_sided
from city311_assets.gold.methods.grid import Grid
from city311_assets.gold.methods.local_moran import local_moran
from city311_assets.gold.methods.trends import emerging, mann_kendall

BASELINE_MONTHS = 12
EMERGING_MONTHS = 12
# The baselines of all months of the emerging class.
LOOK_BACK_MONTHS = BASELINE_MONTHS + EMERGING_MONTHS
# A baseline of fewer days knows too little of what is usual in a place.
SHORTEST_BASELINE_DAYS = 28
# A ring that is expected to hold fewer records is not tested.
FEWEST_EXPECTED = 5.0
# Half a record more than was counted: the mean of the rate of a count under Jeffreys's prior.
JEFFREYS = 0.5
# A residual counts at most as twice the usual one when the scatter of a category is estimated.
RESIDUAL_BOUND = 2.0
# Each step leaves about a quarter of the error.
SCALE_STEPS, SCALE_TOLERANCE = 20, 1e-3
# Of earlier months only the class is used, and these are `none`: an excess of fewer standard
# deviations has p above 0.1, unless the distribution is as skewed as an exponential one, or the
# standard deviation of a count more than half of its mean.
UNREMARKABLE_Z = 1.25
UNREMARKABLE_SKEWNESS = 2.0
UNREMARKABLE_SPREAD = 0.5
# What the mean of the squares of standard normal residuals so bounded is.
BOUNDED_SQUARE = float(
    special.gammainc(1.5, RESIDUAL_BOUND**2 / 2)
    + RESIDUAL_BOUND**2 * special.gammaincc(0.5, RESIDUAL_BOUND**2 / 2)
)
CLASS_LEVELS = {99: 0.01, 95: 0.05, 90: 0.10}

SPARSE = "sparse"
SHORT_HISTORY = "short history"
NO_CONTRAST = "no contrast"
SCHEMA = {
    "null_model": pl.String,
    "category": pl.String,
    "cell": pl.UInt64,
    "records": pl.Int64,
    "expected": pl.Float64,
    "ring_records": pl.Int64,
    "ring_expected": pl.Float64,
    "z": pl.Float64,
    "p": pl.Float64,
    "q": pl.Float64,
    "class": pl.String,
    "reason": pl.String,
    "moran_i": pl.Float64,
    "moran_p": pl.Float64,
    "moran_quadrant": pl.String,
    "emerging": pl.String,
    "trend_z": pl.Float64,
    "trend_p": pl.Float64,
    "baseline_days": pl.Int64,
}


@dataclass(frozen=True)
class Expected:
    """Mean and variance of Poisson counts of which the same places' earlier counts are known."""

    mean: Floats
    variance: Floats


@dataclass(frozen=True)
class Scatter:
    """How much more the counts of rings scatter than Poisson's.

    Attributes
    ----------
    factor
        Of the variance, at least 1: records come in clusters.
    unevenness
        Variance of a ring's own share from month to month, relative to its square, at least 0: the
        part that does not shrink with many records.
    """

    factor: float = 1.0
    unevenness: float = 0.0

    def variance(self, expected: Expected) -> Floats:
        """Return the variance of counts of which `expected` is known."""
        return self.factor * expected.variance + self.unevenness * expected.mean**2


@dataclass(frozen=True)
class _Tested:
    """Every ring of one category under one null model: arrays (n, months), the asked month last.

    Twelve months, or one alone where the others cannot all be tested. `expected` is of the cells.
    NaN: `z` where the model says nothing, `p` where the ring is not tested.
    """

    expected: Floats
    ring_expected: Floats
    z: Floats
    p: Floats


def hot_spots(counts: pl.DataFrame, covered: pl.DataFrame, grid: Grid, month: date) -> pl.DataFrame:
    """Return the rings that hold a record or are expected to hold 5, in each category.

    Parameters
    ----------
    counts
        Columns `month` (its first day), `cell`, `category`, `records`: not zero, of one feed at the
        grid's resolution, of `month` and the 23 months before as far as there are any. The category
        `all` is given like any other.
    covered
        Columns `month`, `days`: on how many days of each month there is data.
    grid
        The whole study area; cells without records count 0.

    Returns
    -------
    pl.DataFrame
        Columns as in `SCHEMA`, by null model, category and cell. `expected` is of the cell, `z`,
        `p`, `q` and `class` of its ring. A row has no `p` and `q` if its `reason` is `sparse` (the
        ring is expected to hold fewer than 5) or `short history` (of the model `baseline`: fewer
        than 28 days, or no records, to compare with), or `no contrast` (of the model `uniform`: the
        ring is the whole grid, or all cells are equal).

    Raises
    ------
    ValueError
        A cell is not in the grid; a month is none of the 24, or has records but no days.

    Notes
    -----
    `baseline`: a ring is expected to keep the share it had of the city's records (see
    `expected_from`), `all` category by category: a city where more of the records are of snow has
    no hot spots where it always snowed. `z` is the standardized excess, `p` twice the smaller mid-p
    of a negative binomial count with the variance of `Scatter.variance`: the normal tail fires by
    chance in thin rings. `uniform`: `z` is Gi*, `p` that of its skewed permutation distribution.
    `q` is Benjamini and Hochberg's, over the rings tested in the category and month, for hot and
    cold rings apart: of those found hot in a category, a share of about `q` is false. Moran's I is
    of the cells' records for `uniform`, of their standardized excess for `baseline`.
    """
    months = [_back(month, back) for back in reversed(range(LOOK_BACK_MONTHS))]
    known = dict(covered.filter(pl.col("days") > 0).select("month", "days").iter_rows())
    cells = grid.index_of(counts["cell"].to_numpy())
    _refuse(counts.filter(cells < 0)["cell"], "cells that are not in the grid")
    _refuse(
        counts.filter(~pl.col("month").is_in(months))["month"],
        f"months that are not of the {LOOK_BACK_MONTHS} up to {month}",
    )
    _refuse(
        counts.filter(~pl.col("month").is_in(list(known)))["month"],
        "months with records and without a covered day",
    )
    days = np.array([known.get(each, 0) for each in months])
    categories = counts["category"].unique().sort()
    values = np.zeros((categories.len(), LOOK_BACK_MONTHS, grid.cells.size))
    place = (
        categories.search_sorted(counts["category"]).to_numpy(),
        pl.Series(months).search_sorted(counts["month"]).to_numpy(),
        cells,
    )
    np.add.at(values, place, counts["records"].to_numpy())
    values = values.transpose(0, 2, 1)
    rings = np.stack([grid.sums(x) for x in values]) if categories.len() else values
    is_all = (categories == ALL).to_numpy()
    found = []
    for index, category in enumerate(categories):
        own, near = values[[index]], rings[[index]]
        if category == ALL:
            own, near = _parted(own, values[~is_all]), _parted(near, rings[~is_all])
        short = pl.Series(months).filter(pl.Series((own.min(axis=(0, 1)) < 0).tolist()))
        _refuse(short, f"months in which {ALL!r} holds fewer records than the categories together")
        found += [
            rows.with_columns(category=pl.lit(category))
            for rows in _of_category(own, near, days, grid)
        ]
    columns = [pl.col(name).cast(kind) for name, kind in SCHEMA.items()]
    every = [frame.select(columns) for frame in found]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *every]).sort("null_model", "category", "cell")


def _parted(whole: Floats, parts: Floats) -> Floats:
    """Return the parts of a whole, and what is in none of them as one more."""
    return np.concatenate([parts, whole - parts.sum(axis=0, keepdims=True)])


def expected_from(before: Floats, known: Floats, now: Floats, prior: float = JEFFREYS) -> Expected:
    """Return what places hold if each keeps its share of the city's records, category by category.

    A count B of M gives N (B + 1/2) / M, Jeffreys's mean. Given B, a Poisson count is negative
    binomial: its variance is the mean times (1 + N / M). Where there are several categories, the
    half is of all, and records of one that had none before are expected where all others were.

    Parameters
    ----------
    before
        Shape (categories, n): records of each place.
    known, now
        Shape (categories,): the city's records before, of which some there must be, and now.
    prior
        Records a place is taken to have had more than were counted.
    """
    share = np.divide(now, known, out=np.zeros(now.shape), where=known > 0)
    unknown = now[known == 0].sum() / known.sum()
    ratio = now.sum() / known.sum()
    whole = before.sum(axis=0)
    mean = share @ before + unknown * whole + ratio * prior
    squared = share**2 @ before + unknown**2 * whole + ratio**2 * prior
    return Expected(mean, mean + squared)


def scatter(rings: Floats, totals: Floats) -> Scatter:
    """Return how the counts of rings scatter from month to month; as Poisson's where none is like.

    Each month is expected from the others. The squared residuals of all rings and months that are
    not sparse are regressed on the two parts of `Scatter.variance`, weighted by its square, until
    the line stays. A residual counts at most as twice the usual one (Huber's proposal 2,
    https://doi.org/10.1214/aoms/1177703732), so that a few real hot spots do not hide themselves.

    Parameters
    ----------
    rings
        Shape (categories, n, months): records of each ring.
    totals
        Shape (categories, months): records of the city.
    """
    known = np.flatnonzero(totals.sum(axis=0))
    if known.size < 2:
        return Scatter()
    all_rings, all_totals = rings.sum(axis=2), totals.sum(axis=1)
    growths, squares = [], []
    for month in known:
        now = totals[:, month]
        others = expected_from(all_rings - rings[:, :, month], all_totals - now, now)
        excess = rings[:, :, month].sum(axis=0) - others.mean
        is_dense = others.mean >= FEWEST_EXPECTED
        growths.append((others.mean**2 / others.variance)[is_dense])
        squares.append((excess**2 / others.variance)[is_dense])
    growth, square = np.concatenate(growths), np.concatenate(squares)
    if growth.size == 0:
        return Scatter()
    found = Scatter()
    for _ in range(SCALE_STEPS):
        usual = found.factor + found.unevenness * growth
        bounded = np.minimum(square, RESIDUAL_BOUND**2 * usual) / BOUNDED_SQUARE
        found = _fitted(growth, bounded, usual**-2)
        moved = (found.factor + found.unevenness * growth) / usual
        if max(moved.max(), 1 / moved.min()) < 1 + SCALE_TOLERANCE:
            break
    return found


def _fitted(growth: Floats, square: Floats, weight: Floats) -> Scatter:
    """Return the line through weighted squares, at least 1 at the start and nowhere falling."""
    weight /= weight.sum()
    centre, height = (weight * growth).sum(), (weight * square).sum()
    away = growth - centre
    spread = (weight * away**2).sum()
    slope = (weight * away * square).sum() / spread if spread > 0 else 0.0
    if slope <= 0:
        return Scatter(max(float(height), 1.0), 0.0)
    if (start := height - slope * centre) >= 1:
        return Scatter(float(start), float(slope))
    through_one = (weight * growth * (square - 1)).sum() / (weight * growth**2).sum()
    return Scatter(1.0, max(float(through_one), 0.0))


def _of_category(x: Floats, rings: Floats, days: Ints, grid: Grid) -> list[pl.DataFrame]:
    """Return one category's rows under both null models, from its counts.

    `x` is of cells and `rings` of their rings, both (parts, n, 24 months): the parts of `all`, or
    the category alone.
    """
    baseline, uniform = _baseline(x, rings, days), _uniform(x.sum(axis=0), grid)
    expected = baseline.expected[:, -1]
    now, rings_now = x[:, :, -1].sum(axis=0), rings[:, :, -1].sum(axis=0)
    excess = (now - expected) / np.sqrt(expected + 1)
    own = int(days[-1 - BASELINE_MONTHS : -1].sum())
    return [
        _rows(baseline, now, rings_now, excess, grid).with_columns(
            null_model=pl.lit("baseline"), baseline_days=pl.lit(own)
        ),
        _rows(uniform, now, rings_now, now, grid).with_columns(
            null_model=pl.lit("uniform"), baseline_days=pl.lit(None)
        ),
    ]


def _uniform(x: Floats, grid: Grid) -> _Tested:
    """Test against a city where every cell is alike."""
    x = x[:, -EMERGING_MONTHS:]
    x = x if (x.sum(axis=0) > 0).all() else x[:, -1:]
    expected = np.broadcast_to(x.mean(axis=0), x.shape)
    ring_expected = grid.sums(expected)
    z, skewness = gi_star(x, grid.disk), ring_skewness(x, grid.disk)
    p = np.where((ring_expected >= FEWEST_EXPECTED) & np.isfinite(z), 1.0, np.nan)
    is_plain = (np.abs(z) < UNREMARKABLE_Z) & (np.abs(skewness) < UNREMARKABLE_SKEWNESS)
    is_plain[:, -1] = False
    asked = np.isfinite(p) & ~is_plain
    p[asked] = skewed_two_sided(z[asked], skewness[asked])
    return _Tested(expected, ring_expected, z, p)


def _baseline(x: Floats, rings: Floats, days: Ints) -> _Tested:
    """Test against the twelve months before each month."""
    totals = x.sum(axis=1)
    city = totals.sum(axis=0)
    windows = np.lib.stride_tricks.sliding_window_view
    is_long = windows(days, BASELINE_MONTHS)[:-1].sum(axis=1) >= SHORTEST_BASELINE_DAYS
    has_baseline = is_long & (windows(city, BASELINE_MONTHS)[:-1].sum(axis=1) > 0)
    can_emerge = (has_baseline & (city[BASELINE_MONTHS:] > 0)).all()
    tested = range(0 if can_emerge else EMERGING_MONTHS - 1, EMERGING_MONTHS)
    expected, ring_expected, z, p = np.full((4, x.shape[1], len(tested)), np.nan)
    for place, start in enumerate(tested):
        if not has_baseline[start]:
            continue
        month = start + BASELINE_MONTHS
        before = slice(start, month)
        known, now = totals[:, before].sum(axis=1), totals[:, month]
        own = expected_from(rings[:, :, before].sum(axis=2), known, now)
        of_cells = expected_from(x[:, :, before].sum(axis=2), known, now, prior=0)
        expected[:, place], ring_expected[:, place] = of_cells.mean, own.mean
        if city[month] == 0:
            continue
        # A baseline of one month has none to compare it with but the tested one.
        is_lone = np.count_nonzero(city[before]) == 1
        compared = slice(start, month + 1 if is_lone else month)
        variance = scatter(rings[:, :, compared], totals[:, compared]).variance(own)
        held = rings[:, :, month].sum(axis=0)
        z[:, place] = (held - own.mean) / np.sqrt(variance)
        is_dense = own.mean >= FEWEST_EXPECTED
        p[is_dense, place] = 1.0
        is_even = variance < (UNREMARKABLE_SPREAD * own.mean) ** 2
        is_plain = (np.abs(z[:, place]) < UNREMARKABLE_Z) & is_even
        is_earlier = start < EMERGING_MONTHS - 1
        asked = is_dense & ~(is_plain & is_earlier)
        p[asked, place] = negative_binomial.two_sided(held[asked], own.mean[asked], variance[asked])
    return _Tested(expected, ring_expected, z, p)


def _rows(
    tested: _Tested, now: Floats, rings_now: Floats, moran_of: Floats, grid: Grid
) -> pl.DataFrame:
    """Return the last month's rows of one category and null model."""
    months = zip(tested.p.T, tested.z.T, strict=True)
    q = np.stack([_adjusted(p, z) for p, z in months], axis=1)
    last = q[:, -1]
    ring_expected = tested.ring_expected[:, -1]
    shown = np.flatnonzero((rings_now > 0) | (ring_expected >= FEWEST_EXPECTED))
    shown_z = tested.z[shown]
    trend_z, trend_p = np.full((2, shown.size), np.nan)
    became = np.full(shown.size, None, object)
    whole = np.isfinite(shown_z).all(axis=1) & (shown_z.shape[1] == EMERGING_MONTHS)
    is_found = q[shown] <= max(CLASS_LEVELS.values())
    trend = mann_kendall(shown_z[whole])
    trend_z[whole], trend_p[whole] = trend.z, trend.p
    became[whole] = emerging(
        (is_found & (shown_z > 0))[whole], (is_found & (shown_z < 0))[whole], trend.z, trend.p
    )
    reason = np.full(ring_expected.shape, None, object)
    reason[np.isnan(tested.p[:, -1])] = NO_CONTRAST
    reason[ring_expected < FEWEST_EXPECTED] = SPARSE
    reason[np.isnan(ring_expected)] = SHORT_HISTORY
    columns: dict[str, np.ndarray] = {
        "cell": grid.cells[shown],
        "records": now[shown],
        "expected": tested.expected[shown, -1],
        "ring_records": rings_now[shown],
        "ring_expected": ring_expected[shown],
        "z": shown_z[:, -1],
        "p": tested.p[shown, -1],
        "q": last[shown],
        "class": _classes(last[shown], shown_z[:, -1]),
        "reason": reason[shown],
        "emerging": became,
        "trend_z": trend_z,
        "trend_p": trend_p,
    }
    if np.isfinite(moran_of).all():
        moran = local_moran(moran_of, grid.disk)
        columns |= {
            "moran_i": moran.i[shown],
            "moran_p": moran.p[shown],
            "moran_quadrant": moran.quadrant[shown],
        }
    else:
        columns |= dict.fromkeys(("moran_i", "moran_p"), np.full(shown.size, np.nan))
        columns["moran_quadrant"] = np.full(shown.size, None, object)
    kinds = {name: SCHEMA[name] for name in columns}
    return pl.DataFrame(
        {
            name: pl.Series(name, values.tolist(), kinds[name])
            if values.dtype == object
            else values
            for name, values in columns.items()
        }
    ).with_columns(cs.float().fill_nan(None))


def _adjusted(p: Floats, z: Floats) -> Floats:
    """Return Benjamini and Hochberg's q of the p that are there, by the side of z.

    Both sides are of all tests. With the sides in one, many true cold rings would pay for false hot
    ones: of what is found a share of q may be false, and all of it on the side where nothing is.
    """
    q = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    for is_on_side in (z[tested] > 0, z[tested] <= 0):
        if is_on_side.any():
            found = stats.false_discovery_control(np.where(is_on_side, p[tested], 1.0))
            q[tested[is_on_side]] = found[is_on_side]
    return q


def _classes(q: Floats, z: Floats) -> NDArray[np.object_]:
    """Return `hot_99` to `cold_90` by q and the side of z, else `none`."""
    found = np.full(q.shape, "none", object)
    for percent, level in sorted(CLASS_LEVELS.items()):
        for side, is_on in (("hot", z > 0), ("cold", z < 0)):
            found[is_on & (q <= level)] = f"{side}_{percent}"
    return found


def _back(month: date, months: int) -> date:
    """Return the first day of the month so many months before."""
    year, index = divmod(month.year * 12 + month.month - 1 - months, 12)
    return month.replace(year=year, month=index + 1)


def _refuse(culprits: pl.Series, what: str) -> None:
    if culprits.len():
        named = culprits.unique().sort().head(5).cast(pl.String).to_list()
        raise ValueError(f"{what}: {named}")
