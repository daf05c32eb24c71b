"""Forecasts of the next seven days' records: citywide, and each cell's share of that.

A forecast is issued at the end of an origin, a day, from the days that are known then. Two things
are forecast one after the other: the city's total of each category, then the share of it that
falls into each cell. Cells therefore add up to the city. Categories need not: `all` is forecast
from its own counts, like every other category, and is not the sum of their forecasts.

For each of the two the method is chosen anew at every origin, on past origins whose outcomes were
known by then: a candidate is served only where it beat both baselines there. The law about the
mean is a negative binomial as wide as the same method's errors at past origins.

What belongs here: means, laws and the choice of a method. What does not: how they fared, which is
`forecast_scores`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import count as naturals
from itertools import pairwise
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from city311_assets.gold.methods import negative_binomial
from city311_assets.gold.methods.arrays import Bools, Cells, Floats, Ints
from city311_assets.gold.methods.counts import ALL

WEEK = 7
# The plain count, and the least that must be known to forecast at all.
TRAILING_WEEKS = 4
TRAILING_DAYS = TRAILING_WEEKS * WEEK
# Nothing older moves a level or a share: what is forecast does not depend on how much is read.
LONGEST_WEEKS = 52
YEAR_DAYS = LONGEST_WEEKS * WEEK
# Origins a week apart on which methods are compared, and the least that allow a comparison.
GATING_ORIGINS = 8
LEAST_GATING_ORIGINS = 2
# By how many standard errors a method must be better to take another's place. On a city's crimes
# of 2018 the best of 8 origins as such was a 4 % worse choice citywide than the plain count always.
STANDARD_ERRORS = 1.0
TIE = 1e-9
# Origins a week apart whose errors make the law.
LAW_ORIGINS = 26
# A category's own errors count as much as those of all when they are of this many origins.
POOLED_ORIGINS = 2
# What is believed beyond Poisson's variance where no error is known yet: a tenth of the city's
# level, squared; in cells a third of the mean (a city's crimes had 0.2 to 0.5).
USUAL_QUADRATIC, USUAL_LINEAR = 0.01, 0.33
# Of shares in draws: all records lie in one cell, and no one knows in which.
LEAST_CONCENTRATION = 1e-6
# The exponent of last year's ratio: half of its logarithm is believed.
DAMPING = 0.5
# Records per cell that are spread by the shares of all categories together (`borrowed`).
BORROWED_RECORDS = 0.5
BORROWED_HALF_LIFE_DAYS = 182
# The part of a cell's records that goes, in equal parts, to the cells around it (`pooled`).
POOLED_PART = 0.1

INTERVALS = (0.80, 0.95)
# Up to here a law is counted up from 0, in blocks of laws that fit the processor's cache.
LARGEST_COUNTED_VARIANCE, BLOCK = 400.0, 2048

BASELINES = ("trailing", "seasonal_naive")
CITY_HALF_LIVES_DAYS = (7, 14, 28)
SHARE_HALF_LIVES_DAYS = (28, 91, 364)
CITY_METHODS = (*BASELINES, *(f"decayed_{days}" for days in CITY_HALF_LIVES_DAYS), "last_year")
SHARE_METHODS = (
    *BASELINES,
    *(f"decayed_{days}" for days in SHARE_HALF_LIVES_DAYS),
    "borrowed",
    "pooled",
)

# A baseline's shares of the city's served total; beside it stands its plain count.
SCALED = tuple(f"{name}_scaled" for name in BASELINES)
CELL_METHODS = (*BASELINES, *SCALED, *SHARE_METHODS[len(BASELINES) :])

NO_HISTORY = f"fewer than {TRAILING_DAYS} known days"
SHORT_HISTORY = "short history"
NOT_BEATEN = "baseline not beaten"

SCHEMA = pl.Schema(
    {
        "cell": pl.UInt64,
        "category": pl.String,
        "method": pl.String,
        "reason": pl.String,
        "mean": pl.Float64,
        "median": pl.Int64,
        "low_80": pl.Int64,
        "high_80": pl.Int64,
        "low_95": pl.Int64,
        "high_95": pl.Int64,
        "trailing": pl.Float64,
        "seasonal_naive": pl.Float64,
    }
)


def look_back_days(lag: int) -> int:
    """Return how many days up to and including an origin can move its forecast."""
    return 2 * lag + WEEK * LAW_ORIGINS + YEAR_DAYS + TRAILING_DAYS


@dataclass(frozen=True, eq=False)
class History:
    """Counts of one feed at one resolution, on every one of consecutive days.

    Attributes
    ----------
    cells
        The study area, sorted; N of them. A cell without a record counts 0.
    categories
        K names; the first is `all`, the sum of the others.
    first
        The first day; days follow one another.
    sums
        K by (days + 1) by N; records of the days before each day, and at last of all days.
    disk
        N by N, 1 where a cell is another's neighbour or itself; without it `pooled` is
        `borrowed`.
    """

    cells: Cells
    categories: tuple[str, ...]
    first: date
    sums: NDArray[np.int32]
    disk: sparse.csr_array | None = None

    @classmethod
    def of(
        cls,
        counts: pl.DataFrame,
        cells: Cells,
        days: Sequence[date],
        *,
        categories: Sequence[str] | None = None,
        disk: sparse.csr_array | None = None,
    ) -> Self:
        """Return the history that a sparse frame of counts tells.

        Parameters
        ----------
        counts
            `day, cell, category, records`, in any order, a row for each that is not zero; without
            the category `all`.
        cells
            The study area, sorted, each once.
        days
            Consecutive days, those without a record included.
        categories
            Which to forecast besides `all`; by default those in `counts`.
        disk
            As of `gold.methods.grid`: who is whose neighbour, in the order of `cells`.

        Raises
        ------
        ValueError
            A cell outside the study area, a day or category that was not announced, a gap in the
            days, a count below 0, cells out of order.
        """
        if not days or any(b - a != timedelta(days=1) for a, b in pairwise(days)):
            raise ValueError("days must follow one another without a gap, and be at least one")
        if len(cells) == 0 or (cells[1:] <= cells[:-1]).any():
            raise ValueError("cells of the study area must be sorted, each once, and at least one")
        if disk is not None and disk.shape != (len(cells), len(cells)):
            raise ValueError(f"disk is {disk.shape}, not of the {len(cells)} cells")
        present = counts["category"].unique().sort().to_list()
        names = present if categories is None else sorted(set(categories))
        if ALL in {*names, *present}:
            raise ValueError(f"the category {ALL!r} is made here; leave it out of the counts")
        if unknown := sorted(set(present) - set(names)):
            raise ValueError(f"counts of categories {unknown[:5]} that were not announced")
        day = (counts["day"] - days[0]).dt.total_days().to_numpy()
        cell = counts["cell"].to_numpy()
        records = counts["records"].to_numpy()
        place = np.minimum(np.searchsorted(cells, cell), len(cells) - 1)
        if (outside := cells[place] != cell).any():
            raise ValueError(f"cells {np.unique(cell[outside])[:5].tolist()} not of the study area")
        if (outside := (day < 0) | (day >= len(days))).any():
            strays = counts["day"].filter(outside).unique().sort().to_list()[:5]
            raise ValueError(f"counts of {strays}, not of {days[0]} to {days[-1]}")
        if (records < 0).any():
            raise ValueError("counts below 0")
        row = counts["category"].cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
        sums = np.zeros((1 + len(names), len(days) + 1, len(cells)), np.int32)
        np.add.at(sums, (1 + row, 1 + day, place), records)
        np.add.accumulate(sums, axis=1, out=sums)
        sums[0] = sums[1:].sum(axis=0)
        return cls(cells, (ALL, *names), days[0], sums, disk)

    @property
    def last(self) -> date:
        """The last day."""
        return self.first + timedelta(days=self.sums.shape[1] - 2)

    def known_days(self, origin: date, lag: int) -> int:
        """Return how many days are known at an origin when the last `lag` days are withheld.

        Raises
        ------
        ValueError
            No day is known yet, or days up to the origin that should be known are not held.
        """
        known = (origin - self.first).days + 1 - lag
        if lag < 0 or not 1 <= known < self.sums.shape[1]:
            held = f"days {self.first} to {self.last}"
            raise ValueError(f"origin {origin} with a lag of {lag} days is outside of the {held}")
        return known

    def totals(self, known: int, weeks: int) -> NDArray[np.int32]:
        """Return the totals of the last weeks before a day, the newest first; K by weeks by N."""
        ends = self.sums[:, known - WEEK * weeks : known + 1 : WEEK]
        return np.diff(ends, axis=1)[:, ::-1]

    @cached_property
    def errors(self) -> dict[tuple[int, int], "_Errors"]:
        """What became of past origins, as far as it was asked for: most serve many a forecast."""
        return {}

    @cached_property
    def city(self) -> Ints:
        """The sums of all cells; K by (days + 1)."""
        return self.sums.sum(axis=2, dtype=np.int64)

    def outcome(self, known: int, lag: int) -> NDArray[np.int32]:
        """Return the seven days' totals that an origin forecasts; K by N."""
        return self.sums[:, known + lag + WEEK] - self.sums[:, known + lag]


def _decay(half_life_days: float, weeks: int) -> Floats:
    """Return the weights of the last weeks, the newest first.

    Whole weeks are weighed, not days: every weekday counts alike whatever day the origin is.
    """
    return 0.5 ** (WEEK * np.arange(weeks) / half_life_days)


def city_means(history: History, known: int, lag: int) -> Floats:
    """Return each method's mean of the city's total; NaN where it does not know enough.

    `trailing` is a quarter of the last 28 days, `seasonal_naive` the last 7 days, `decayed_h` the
    mean week with weights that halve in h days, and `last_year` the trailing count times the
    square root of what the three weeks about the same week were to the same 28 days a year ago.

    Returns
    -------
    Floats
        `CITY_METHODS` by K, records in seven days.
    """
    city = history.city
    weeks = _weeks(known)
    totals = np.diff(city[:, known - WEEK * weeks : known + 1 : WEEK])[:, ::-1].astype(np.float64)
    trailing = totals[:, :TRAILING_WEEKS].mean(axis=1)
    decays = np.stack([_decay(days, weeks) for days in CITY_HALF_LIVES_DAYS])
    decayed = decays @ totals.T / decays.sum(axis=1, keepdims=True)
    last_year = np.full(trailing.shape, np.nan)
    if (then := known - YEAR_DAYS) >= TRAILING_DAYS:
        target = then + lag
        about = (city[:, target + 2 * WEEK] - city[:, target - WEEK]) / 3
        before = (city[:, then] - city[:, then - TRAILING_DAYS]) / TRAILING_WEEKS
        last_year = trailing * ((about + 1) / (before + 1)) ** DAMPING
    return np.stack([trailing, totals[:, 0], *decayed, last_year])


def cell_shares(history: History, known: int) -> Floats:
    """Return each method's share of the city's total that falls into each cell; adds up to 1.

    `trailing`, `seasonal_naive` and `decayed_h` are a cell's part of the same counts as in
    `city_means`. `borrowed` adds to the counts that halve in 182 days half a record a cell, spread
    over the cells as all categories together are: where a category is rare, crowded cells are
    likelier. `pooled` gives a tenth of a cell's part of that to the six cells around it. Where a
    method knows no record, its shares are those of the last 52 weeks.

    Returns
    -------
    Floats
        `SHARE_METHODS` by K by N; zeros where nothing at all is known in the last 52 weeks.
    """
    weeks = _weeks(known)
    halves = (*SHARE_HALF_LIVES_DAYS, BORROWED_HALF_LIFE_DAYS)
    trailing = np.arange(weeks) < TRAILING_WEEKS
    newest = np.arange(weeks) < 1
    weights = np.stack([trailing, newest, *(_decay(days, weeks) for days in halves), newest | True])
    counts = (weights @ history.totals(known, weeks).astype(np.float64)).transpose(1, 0, 2)
    *plain, lasting, flat = counts
    borrowed = lasting + BORROWED_RECORDS * len(history.cells) * _normalized(lasting[:1])
    pooled = borrowed
    if history.disk is not None:
        around = (history.disk @ borrowed.T).T - borrowed
        pooled = (1 - POOLED_PART) * borrowed + POOLED_PART / 6 * around
    found = np.stack([*plain, borrowed, pooled])
    is_unknown = found.sum(axis=2, keepdims=True) <= 0
    return _normalized(np.where(is_unknown, flat, found))


def _normalized(parts: Floats) -> Floats:
    whole = parts.sum(axis=-1, keepdims=True)
    return parts / np.where(whole > 0, whole, 1.0)


def _weeks(known: int) -> int:
    return min(LONGEST_WEEKS, known // WEEK)


@dataclass(frozen=True)
class _Squares:
    """Σ over cells of (records - scale · share)², for any scale; weighed or not."""

    records: Floats
    cross: Floats
    shares: Floats

    @classmethod
    def of(cls, records: Floats, shares: Floats, weights: Floats) -> Self:
        weighed = shares * weights
        return cls(
            np.einsum("kn,kn,kn->k", records, records, weights),
            np.einsum("mkn,kn->mk", weighed, records),
            np.einsum("mkn,mkn->mk", weighed, shares),
        )

    def of_rows(self, rows: list[int]) -> Self:
        """Return these methods' only, in this order."""
        return type(self)(self.records, self.cross[rows], self.shares[rows])

    def errors(self, scale: Floats) -> Floats:
        """Return methods by K."""
        return self.records - 2 * scale * self.cross + scale**2 * self.shares


@dataclass(frozen=True)
class _Errors:
    """What became of one past origin: every method's mean citywide, and its squared errors."""

    means: Floats
    came: Floats
    city_weight: Floats
    cells: _Squares
    weighed_cells: _Squares

    @classmethod
    def of(cls, history: History, known: int, lag: int) -> Self:
        weeks = _weeks(known)
        records = history.outcome(known, lag).astype(np.float64)
        lasting = (history.sums[:, known] - history.sums[:, known - WEEK * weeks]) / weeks
        # An error of the mean by d costs a distribution's CRPS about d² over its deviation, which
        # goes with the root of the level; a cell without records counts as one record a year.
        weights = (lasting + 1 / LONGEST_WEEKS) ** -0.5
        shares = cell_shares(history, known)
        return cls(
            means=city_means(history, known, lag),
            came=records.sum(axis=1),
            city_weight=(lasting.sum(axis=1) + 1 / LONGEST_WEEKS) ** -0.5,
            cells=_Squares.of(records, shares, np.ones_like(records)),
            weighed_cells=_Squares.of(records, shares, weights),
        )


@dataclass(frozen=True)
class Level:
    """What every method says at one origin, citywide or in cells, and which one is served.

    Attributes
    ----------
    methods
        M names.
    scores
        M by K; each method's sum over the gating origins, NaN where it said nothing at one.
    means
        M by K citywide, M by K by N in cells.
    linear, quadratic
        M by K; the variance of a count of mean m is m + m · linear + m² · quadratic.
    served
        K places among the methods.
    reasons
        K; why a baseline is served, null where a candidate is.
    """

    methods: tuple[str, ...]
    scores: Floats
    means: Floats
    linear: Floats
    quadratic: Floats
    served: Ints
    reasons: tuple[str | None, ...]

    def variances(self) -> Floats:
        """Return the variances of the means, in their shape."""
        shape = self.linear.shape + (1,) * (self.means.ndim - 2)
        beyond = self.linear.reshape(shape) + self.means * self.quadratic.reshape(shape)
        return self.means * (1 + np.maximum(beyond, 0.0))


@dataclass(frozen=True)
class Issue:
    """One origin's forecasts by every method, citywide and in cells."""

    city: Level
    cells: Level


def issue(history: History, origin: date, lag: int) -> Issue | None:
    """Return what every method forecasts of the seven days after an origin; None without 28 days.

    Only days up to `origin - lag` are used: by the methods, the choice among them and the laws.

    The choice: of each of the last 8 origins, a week apart, whose seven days were over and known,
    the sum of (records - mean)² over the root of the level before (a strictly consistent score of a
    mean, https://doi.org/10.1198/jasa.2011.r10138). The best candidate is served where it beats
    both baselines by more than one standard error of the mean difference; in cells both as plain
    counts and as shares of the city's served total. Where it does not, `seasonal_naive` is served
    if it beats `trailing` so, else `trailing`.

    The law: a negative binomial of the mean and of a variance by moments of the last 26 such
    origins' errors, drawn towards those of all categories together while origins are few. The
    city's is m + m² · q, as its level is wrong by a part of itself. A cell's has the same q and m ·
    l beside it: its share is known as its counts are, and what shares are wrong by, squared, goes
    with them. One joint law has these means and variances, see `joint_draws`.

    Parameters
    ----------
    history
        Its last `look_back_days(lag)` days up to the origin decide; fewer are used as they are.
    origin
        The day at whose end the forecast is issued.
    lag
        How many of the last days the portal withholds.

    Raises
    ------
    ValueError
        As of `History.known_days`.
    """
    known = history.known_days(origin, lag)
    if known < TRAILING_DAYS:
        return None
    past = [
        _errors(history, then, lag)
        for back in range(LAW_ORIGINS)
        if (then := known - lag - WEEK * (back + 1)) >= TRAILING_DAYS
    ]
    city = _city(history, known, lag, past)
    return Issue(city, _cells(history, known, past, city))


def _errors(history: History, known: int, lag: int) -> _Errors:
    found = history.errors.get((known, lag))
    if found is None:
        found = history.errors[known, lag] = _Errors.of(history, known, lag)
    return found


def _city(history: History, known: int, lag: int, past: list[_Errors]) -> Level:
    means = city_means(history, known, lag)
    errors, scores, then = (np.zeros((len(past), *means.shape)) for _ in range(3))
    for place, origin in enumerate(past):
        errors[place] = (origin.came - origin.means) ** 2
        scores[place] = errors[place] * origin.city_weight
        then[place] = origin.means
    quadratic = _excess(errors - then, then**2, USUAL_QUADRATIC)
    scores = scores[:GATING_ORIGINS]
    served, reasons = _served(scores, scores[:, :0])
    linear = np.zeros(quadratic.shape)
    return Level(CITY_METHODS, scores.sum(axis=0), means, linear, quadratic, served, reasons)


def _cells(history: History, known: int, past: list[_Errors], city: Level) -> Level:
    names = np.arange(len(history.categories))
    plain = list(range(len(BASELINES)))

    def of_rows(values: Floats) -> Floats:
        """Return what holds citywide for each row of `CELL_METHODS`."""
        rest = np.broadcast_to(values[city.served, names], (len(SHARE_METHODS), len(names)))
        return np.concatenate([values[plain], rest])

    rows = [*plain, *range(len(SHARE_METHODS))]
    shape = (len(past), len(CELL_METHODS), len(names))
    errors, scores, totals, squares = (np.zeros(shape) for _ in range(4))
    for place, origin in enumerate(past):
        totals[place] = of_rows(origin.means)
        cells = origin.cells.of_rows(rows)
        errors[place] = cells.errors(totals[place])
        scores[place] = origin.weighed_cells.of_rows(rows).errors(totals[place])
        squares[place] = cells.shares * totals[place] ** 2
    total, quadratic = of_rows(city.means), of_rows(city.quadratic)
    means = total[:, :, None] * cell_shares(history, known)[rows]
    some = np.where(totals == 0, 1.0, totals)
    linear = _excess(errors - totals - squares * quadratic, totals - squares / some, USUAL_LINEAR)
    # The most that any shares could add: all records in one cell, no one knows which.
    linear = np.minimum(linear, total * (1 + quadratic))
    quadratic = quadratic - linear / np.where(total == 0, 1.0, total)
    scores = scores[:GATING_ORIGINS]
    served, reasons = _served(scores[:, len(plain) :], scores[:, plain])
    is_plain = (served < len(BASELINES)) & (served == city.served)
    served = np.where(is_plain, served, served + len(BASELINES))
    return Level(CELL_METHODS, scores.sum(axis=0), means, linear, quadratic, served, reasons)


def _served(scores: Floats, bars: Floats) -> tuple[Ints, tuple[str | None, ...]]:
    """Return the method served for each category, and why if it is a baseline.

    Parameters
    ----------
    scores
        Origins by methods by K; the first two methods are the baselines.
    bars
        Origins by bars by K: what a candidate must beat besides the baselines.
    """
    count = len(BASELINES)
    if len(scores) < LEAST_GATING_ORIGINS:
        return np.zeros(scores.shape[2], np.int64), (SHORT_HISTORY,) * scores.shape[2]

    def beats(one: Floats, other: Floats) -> Bools:
        gain = other - one
        error = gain.std(axis=0, ddof=1) / np.sqrt(len(gain))
        # A gain at one origin alone is a standard error exactly: a tie, which rounding would decide
        # one way for one resolution and the other way for another.
        tie = TIE * np.abs(gain).max(axis=0)
        return gain.mean(axis=0) > STANDARD_ERRORS * error + tie

    sums = np.where(np.isnan(scores), np.inf, scores).sum(axis=0)
    best = count + sums[count:].argmin(axis=0)
    of_best = np.take_along_axis(scores, best[None, None, :], axis=1)
    is_beaten = beats(of_best, np.concatenate([scores[:, :count], bars], axis=1)).all(axis=0)
    baseline = beats(scores[:, 1], scores[:, 0]).astype(np.int64)
    served = np.where(is_beaten, best, baseline)
    return served, tuple(None if beaten else NOT_BEATEN for beaten in np.atleast_1d(is_beaten))


def _excess(errors: Floats, sizes: Floats, usual: float) -> Floats:
    """Return by how many sizes each method's squared errors of a category exceed what is expected.

    Parameters
    ----------
    errors, sizes
        Origins by methods by K: squared errors less those expected, and what they are measured
        in; NaN where a method said nothing.
    usual
        What is believed before any origin.
    """
    origins = (~np.isnan(sizes)).any(axis=2).sum(axis=0)[:, None]
    # Where one cell holds all of a category its size is 0, and may round to less.
    above, below = np.nansum(errors, axis=0), np.maximum(np.nansum(sizes, axis=0), 0.0)
    own = above / np.where(below > 0, below, 1.0)
    trust = np.sqrt(below)
    together = (own * trust).sum(axis=1, keepdims=True)
    together /= np.maximum(trust.sum(axis=1, keepdims=True), 1e-300)
    pooled = (origins * together + POOLED_ORIGINS * usual) / (origins + POOLED_ORIGINS)
    own = np.where(below > 0, own, pooled)
    return np.maximum((origins * own + POOLED_ORIGINS * pooled) / (origins + POOLED_ORIGINS), 0.0)


def forecasts(history: History, origin: date, lag: int) -> pl.DataFrame:
    """Return the forecasts served at an origin of the records of the seven days after it.

    The city's rows, one a category, have a null cell; they are there also when fewer than 28 days
    are known, with a reason and without a forecast. A cell has a row where a forecast or one of
    the baselines is above 0; a cell without one has mean 0. The means of a category's cells add up
    to the city's. Parameters and errors as of `issue`.

    Returns
    -------
    pl.DataFrame
        `SCHEMA`, the city first, by category and cell. `median` and the ends of the intervals are
        whole records; ends are included. `trailing` and `seasonal_naive` are the plain counts.
    """
    found = issue(history, origin, lag)
    if found is None:
        rows = [{"category": name, "reason": NO_HISTORY} for name in history.categories]
        return pl.DataFrame(rows, schema=SCHEMA)
    city = _rows(found.city, np.ones((len(history.categories), 1), np.bool_), history, None)
    first = found.cells.means[: len(BASELINES)]
    means = _pick(found.cells.means, found.cells.served)
    shown = (means > 0) | (first > 0).any(axis=0)
    return pl.concat([city, _rows(found.cells, shown, history, history.cells)])


def _pick(values: Floats, served: Ints) -> Floats:
    return values[served, np.arange(len(served))]


def _rows(level: Level, shown: Bools, history: History, cells: Cells | None) -> pl.DataFrame:
    """Return the rows of one level of which `shown`, K by cells, is true."""
    shape = (len(level.methods), *shown.shape)
    means = level.means.reshape(shape)
    variances = level.variances().reshape(shape)
    category, place = np.nonzero(shown)
    mean = _pick(means, level.served)[category, place]
    variance = _pick(variances, level.served)[category, place]
    median, low_80, high_80, low_95, high_95 = whole_records(mean, variance)
    return pl.DataFrame(
        {
            "cell": None if cells is None else cells[place],
            "category": pl.Series(history.categories, dtype=pl.String).gather(category),
            "method": pl.Series(level.methods).gather(level.served[category]),
            "reason": pl.Series(level.reasons, dtype=pl.String).gather(category),
            "mean": mean,
            "median": median,
            "low_80": low_80,
            "high_80": high_80,
            "low_95": low_95,
            "high_95": high_95,
            "trailing": means[0][category, place],
            "seasonal_naive": means[1][category, place],
        },
        schema=SCHEMA,
    )


def counted_up(mean: Floats, variance: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Yield P(X = k) and P(X ≤ k) for k = 0, 1, 2 and so on, elementwise, without end.

    One multiplication a number, where `negative_binomial` needs an incomplete beta function: for
    many small laws at once. The arrays yielded are reused.
    """
    beyond = (variance - mean) / np.where(mean > 0, mean, 1.0)
    is_wider = beyond > negative_binomial.LEAST_EXCESS
    beyond = np.where(is_wider, beyond, 0.0)
    root = np.log1p(beyond) / np.where(is_wider, beyond, 1.0)
    probability = np.exp(-mean * np.where(is_wider, root, 1.0))
    at_most = probability.copy()
    for k in naturals():
        yield probability, at_most
        probability *= (mean + beyond * k) / ((1 + beyond) * (k + 1))
        at_most += probability


def small_laws(variance: Floats) -> Iterator[Ints]:
    """Yield the places of the laws that are better counted up, those of like variance together."""
    small = np.flatnonzero(variance <= LARGEST_COUNTED_VARIANCE)
    small = small[np.argsort(variance[small], kind="stable")]
    for start in range(0, len(small), BLOCK):
        yield small[start : start + BLOCK]


def whole_records(mean: Floats, variance: Floats) -> Ints:
    """Return the median and the ends of the 80 % and 95 % intervals of each law; 5 by laws.

    The same numbers as of `negative_binomial.quantile` and `negative_binomial.ends`. Small laws are
    counted up: a whole number lies below the interval if its mid-p from below is less than what is
    left out on that side, and above it likewise.
    """
    if not (variance >= 0).all():
        raise ValueError("the variance of a law is unknown or negative")
    found = np.empty((5, len(mean)), np.int64)
    large = np.flatnonzero(variance > LARGEST_COUNTED_VARIANCE)
    law = mean[large], variance[large]
    ends = [end for share in INTERVALS for end in negative_binomial.ends(*law, share)]
    found[:, large] = [negative_binomial.quantile(0.5, *law), *ends]
    out_80, out_95 = (1 - share for share in INTERVALS)
    for places in small_laws(variance):
        counts = np.zeros((5, len(places)), np.int64)
        for probability, at_most in counted_up(mean[places], variance[places]):
            twice_mid = 2 * at_most - probability
            is_inside = twice_mid <= 2 - out_95
            if not is_inside.any():
                break
            counts += [
                at_most < 0.5,
                twice_mid < out_80,
                twice_mid <= 2 - out_80,
                twice_mid < out_95,
                is_inside,
            ]
        counts[[2, 4]] -= 1
        found[:, places] = counts
    return found


def joint_draws(means: Floats, linear: float, quadratic: float, draws: int, seed: int) -> Ints:
    """Draw the counts of one category's cells from the law that city and cells have together.

    The city's total is negative binomial. The cells share it: given the total they are multinomial,
    with shares that are Dirichlet distributed about those forecast. Their concentration is what
    makes a cell's variance the stored one, and it is that exactly: of a city's mean M and variance
    M + M² · q and of cells' l, it is M · (1 + q) / l - 1.

    Parameters
    ----------
    means
        N; of the cells.
    linear, quadratic
        Of `Issue.cells` and of `Issue.city`.
    draws
        How many.
    seed
        Of the random numbers.

    Returns
    -------
    Ints
        draws by N.
    """
    rng = np.random.default_rng(seed)
    total = float(means.sum())
    rate = np.full(draws, total)
    if quadratic > 0:
        rate *= rng.gamma(1 / quadratic, quadratic, draws)
    shares = np.tile(_normalized(means), (draws, 1))
    if linear > 0:
        concentration = max(total * (1 + quadratic) / linear - 1, LEAST_CONCENTRATION)
        parts = concentration * shares
        # By logarithms: where almost all lies in one cell the others' parts are below any float.
        uniform = np.log(1 - rng.random(parts.shape))
        logs = np.divide(uniform, parts, out=np.full(parts.shape, -np.inf), where=parts > 0)
        logs += np.log(rng.standard_gamma(parts + 1))
        shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return rng.multinomial(rng.poisson(rate), _normalized(shares))
