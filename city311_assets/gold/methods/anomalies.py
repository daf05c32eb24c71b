"""Days with more or fewer records than their own past leads one to expect.

A day is held against the eight weeks that end a week before it, so that what has gone on for some
days cannot hide itself, and against the city's weekday pattern. Counts are negative binomial, their
scatter is taken from the same eight weeks; days far out, an earlier storm or an outage, are left
out of both. All that is tested on one day is corrected together (Benjamini-Hochberg).

The level is one number for eight weeks: a steady rise or fall within a season counts as more or
fewer. After Farrington et al. (https://doi.org/10.2307/2983331) and its successor
(https://doi.org/10.1002/sim.5595), without their trend.

What belongs here: what is expected of a day and how surprising it is. What does not: where counts
come from, and who is told.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from scipy import stats

from city311_assets.gold.methods import negative_binomial
from city311_assets.gold.methods.arrays import Bools, Cells, Floats, Ints
from city311_assets.gold.methods.counts import ALL

# Whole weeks, so that each weekday weighs the same.
BASELINE_DAYS = 56
# The tested day and the six before it.
LEFT_OUT_DAYS = 7
LEAST_BASELINE_DAYS = 28
WEEKDAY_WEEKS = 26
# What has to be read before the first tested day.
LOOK_BACK_DAYS = WEEKDAY_WEEKS * 7 + LEFT_OUT_DAYS - 1
# A weekday's factor is drawn towards 1 as if so many more records had come without any pattern:
# with fewer records chance alone moves it by a fifth.
WEEKDAY_PRIOR = 30.0
# A storm or an outage is no Tuesday: of each weekday's 26 values two are left out at either end.
WEEKDAY_TRIM = 0.08
# A quiet day lies beyond on either side once in a thousand: such days are left out.
FAR_OUT = 3.09
# Where more lies that far out it is no exception but how the place is, and nothing is left out.
MOST_LEFT_OUT = 0.1
# What is far out and how much days scatter depend on each other; from here on neither changes much.
ROUNDS = 6
# A place's own scatter weighs against that of all places of its category as so many days.
SCATTER_PRIOR = 56.0
# Of a place where nothing came: with no record in eight weeks a mean of 0 is not proven.
LEAST_RECORDS_KNOWN = 0.5
# Below this (about six records in the eight weeks) the level is hardly known and one day cannot be
# too quiet; testing every empty place makes the correction demand more of the others.
LEAST_EXPECTED = 0.1
# A place below it is tested when so many records come after all. As it was picked for having them,
# its p is given that it has them.
LEAST_RECORDS = 3
LARGEST_Q = 0.05
# Of the cells that were tested rows are returned up to this p.
LARGEST_P_KEPT = 0.01
INTERVAL = 0.95
SHORT_HISTORY = "short history"
MOST_STREETS = 3
MOST_RECORDS = 5
CULPRITS_SHOWN = 5

COLUMNS = {
    "day": pl.Date,
    "cell": pl.UInt64,
    "category": pl.String,
    "records": pl.Int64,
    "expected": pl.Float64,
    "low_95": pl.Int64,
    "high_95": pl.Int64,
    "p": pl.Float64,
    "q": pl.Float64,
    "direction": pl.String,
    "is_anomaly": pl.Boolean,
    "tests": pl.Int64,
    "baseline_days": pl.Int64,
    "reason": pl.String,
}


@dataclass(frozen=True)
class Scatter:
    """How much the records of a day scatter around their mean μ: own · ((1 + a)·μ + c·μ²).

    Attributes
    ----------
    a
        What several records of one cause add, in records a record.
    c
        What days that are busy or quiet as a whole add.
    own
        A place's scatter by that of the others of its category, at least 1.

    All are places by categories, or broadcast to them, and none makes it less than Poisson's.
    """

    a: Floats
    c: Floats
    own: Floats

    def variance(self, mean: Floats) -> Floats:
        """Return the variance of the records of days of these means."""
        return self.own * ((1 + self.a) * mean + self.c * mean**2)


POISSON = Scatter(np.zeros(()), np.zeros(()), np.ones(()))


@dataclass(frozen=True)
class Baseline:
    """What the past says of places by categories.

    Attributes
    ----------
    level
        Records of an average day.
    uncertainty
        The level's variance by its square.
    scatter
        Of single days.
    """

    level: Floats
    uncertainty: Floats
    scatter: Scatter


def anomalies(
    counts: pl.DataFrame,
    cells: Cells,
    day: date,
    known_from: date,
    *,
    missing_days: Collection[date] = (),
) -> pl.DataFrame:
    """Return one day's rows of `anomalies_of_days`, without `day`."""
    return anomalies_of_days(counts, cells, day, day, known_from, missing_days=missing_days).drop(
        "day"
    )


def anomalies_of_days(
    counts: pl.DataFrame,
    cells: Cells,
    first: date,
    last: date,
    known_from: date,
    *,
    missing_days: Collection[date] = (),
) -> pl.DataFrame:
    """Return whether days had more or fewer records than expected, in the city and in each cell.

    Tested are the city in every category, and each cell and category of which `LEAST_EXPECTED` is
    expected or that has `LEAST_RECORDS`. p is two-sided mid-p. q (Benjamini-Hochberg) is over all
    that was tested on that day; it holds for tests that are independent or rise together, which
    `all` and its parts do. The correction is for one day: of many quiet days one in twenty has a
    false alarm.

    Parameters
    ----------
    counts
        `day, cell, category, records` of the days from `LOOK_BACK_DAYS` before `first` to `last`;
        what is not there is 0, rows of one key add up, other days are not used. Records of no cell
        (null) or of one that is not in `cells` count for the city.
    cells
        The study area, sorted; those without a record too.
    first, last
        The tested days, both included.
    known_from
        The first day the feed has data of: a day before it is not a day of 0 records.
    missing_days
        Later days that there are no data of; they are in no baseline, and no result is given for
        them.

    Returns
    -------
    polars.DataFrame
        `day`; `cell`, null for the city; `category`, `all` for the sum; `records`; `expected` with
        `low_95, high_95`, both ends included, between which the records of such a day lie; `p, q`;
        `direction`, `more` or `fewer` than expected; `is_anomaly` where q ≤ `LARGEST_Q`; `tests`,
        how many q is over; `baseline_days`, of which the level is. With fewer than
        `LEAST_BASELINE_DAYS` of them nothing is expected (nulls) and `reason` is `short history`.

        Rows of the city in every category that has records in the days read for it; of the cells
        only those with p < `LARGEST_P_KEPT` and the anomalies.

    Raises
    ------
    ValueError
        If cells are not sorted or repeat, counts are unknown or negative, lie before `known_from`,
        or name the category `all`, or the days are no range.
    """
    _refuse(counts, cells, first, last, known_from)
    start = first - timedelta(days=LOOK_BACK_DAYS)
    categories, records = _cube(counts, cells, start, last)
    days = [start + timedelta(days=offset) for offset in range(len(records))]
    missing = {*missing_days}
    is_known = np.array([day >= known_from and day not in missing for day in days])
    found = [pl.DataFrame(schema=COLUMNS)]
    for offset in range(LOOK_BACK_DAYS, len(days)):
        if is_known[offset]:
            window = slice(offset - LOOK_BACK_DAYS, offset + 1)
            found.append(
                _of_day(days[offset], records[window], is_known[window], cells, categories)
            )
    return pl.concat(found)


def _refuse(counts: pl.DataFrame, cells: Cells, first: date, last: date, known_from: date) -> None:
    if last < first:
        raise ValueError(f"the days {first} to {last} are no range")
    if (cells[1:] <= cells[:-1]).any():
        raise ValueError("the cells are not sorted, or one is there twice")
    wrong = {
        "unknown or negative counts": pl.any_horizontal(
            pl.col("day", "category", "records").is_null(), pl.col("records") < 0
        ),
        f"counts before {known_from}, the first day there are data of": (
            pl.col("day") < known_from
        ),
        f"counts of the category {ALL}, which is the sum of the others": pl.col("category") == ALL,
    }
    for complaint, offends in wrong.items():
        offenders = counts.filter(offends).sort("day", "category", "cell").head(CULPRITS_SHOWN)
        if offenders.height:
            raise ValueError(f"{complaint}: {offenders.rows()}")


def _cube(counts: pl.DataFrame, cells: Cells, start: date, last: date) -> tuple[list[str], Floats]:
    """Return the categories, `all` last, and records by day, place (the city first), category."""
    used = counts.filter(pl.col("day").is_between(start, last))
    categories = used["category"].unique().sort().to_list()
    records = np.zeros(((last - start).days + 1, len(cells) + 1, len(categories) + 1))
    day = (used["day"] - start).dt.total_days().to_numpy()
    category = np.searchsorted(np.array(categories, str), used["category"].to_numpy().astype(str))
    number = used["records"].to_numpy().astype(np.float64)
    np.add.at(records[:, 0], (day, category), number)
    # 0 is no cell, and lies before the first.
    cell = used["cell"].fill_null(0).to_numpy()
    place = np.searchsorted(cells, cell)
    is_inside = place < len(cells)
    is_inside[is_inside] = cells[place[is_inside]] == cell[is_inside]
    inside = (day[is_inside], place[is_inside] + 1, category[is_inside])
    np.add.at(records, inside, number[is_inside])
    records[:, :, -1] = records.sum(axis=2)
    return [*categories, ALL], records


def _of_day(
    day: date, records: Floats, is_known: Bools, cells: Cells, categories: list[str]
) -> pl.DataFrame:
    """Return the rows of the last day of a window, whose other days are its past."""
    # What comes up only in the windows of other days is no category of this one's.
    has_any = records[:, 0].any(axis=0) | (np.arange(len(categories)) == len(categories) - 1)
    records, names = records[:, :, has_any], np.array(categories, object)[has_any]
    count, past = records[-1], slice(0, -LEFT_OUT_DAYS)
    baseline_days = int(is_known[past][-BASELINE_DAYS:].sum())
    if baseline_days < LEAST_BASELINE_DAYS:
        return _unexpected(day, count[0], names, baseline_days)
    mean, variance = _expectation(records[past], is_known[past])
    p = _p(count, mean, variance)
    is_tested = ~np.isnan(p)
    q = np.full(p.shape, np.nan)
    q[is_tested] = stats.false_discovery_control(p[is_tested])
    is_kept = (q <= LARGEST_Q) | (p < LARGEST_P_KEPT)
    is_kept[0] = True
    place, category = np.nonzero(is_kept)
    low, high = negative_binomial.ends(mean[is_kept], variance[is_kept], INTERVAL)
    rows = pl.DataFrame(
        {
            "cell": np.insert(cells, 0, 0)[place],
            "category": names[category].tolist(),
            "records": count[is_kept],
            "expected": mean[is_kept],
            "low_95": low,
            "high_95": high,
            "p": p[is_kept],
            "q": q[is_kept],
            "direction": np.where(count[is_kept] > mean[is_kept], "more", "fewer").tolist(),
            "is_anomaly": q[is_kept] <= LARGEST_Q,
        }
    )
    return _in_columns(
        rows.with_columns(
            pl.col("cell").replace(0, None),
            pl.lit(day).alias("day"),
            pl.lit(int(is_tested.sum())).alias("tests"),
            pl.lit(baseline_days).alias("baseline_days"),
        )
    )


def _unexpected(day: date, city: Floats, names: np.ndarray, baseline_days: int) -> pl.DataFrame:
    """Return the city's rows of a day whose past is too short to expect anything."""
    rows = pl.DataFrame({"category": names.tolist(), "records": city})
    return _in_columns(
        rows.with_columns(
            pl.lit(day).alias("day"),
            pl.lit(value=False).alias("is_anomaly"),
            pl.lit(0).alias("tests"),
            pl.lit(baseline_days).alias("baseline_days"),
            pl.lit(SHORT_HISTORY).alias("reason"),
        )
    )


def _in_columns(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows in `COLUMNS`, with null for what they lack."""
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None).alias(name)).cast(dtype)
        for name, dtype in COLUMNS.items()
    )


def _p(count: Floats, mean: Floats, variance: Floats) -> Floats:
    """Return p of the records of places by categories; nan where nothing is tested."""
    p = negative_binomial.two_sided(count, mean, variance)
    _, more = negative_binomial.mid_tails(count, mean, variance)
    # Of one that so many records picked, only more of them are a surprise.
    given = more / negative_binomial.survival(LEAST_RECORDS - 1, mean, variance)
    is_expected = mean >= LEAST_EXPECTED
    is_expected[0] = True
    return np.where(is_expected, p, np.where(count >= LEAST_RECORDS, given, np.nan))


def _expectation(past: Floats, is_known: Bools) -> tuple[Floats, Floats]:
    """Return mean and variance of the records on the day a week after the last of the past.

    The variance has the uncertainty of level and weekday factor in it.

    Parameters
    ----------
    past
        Records, days by places by categories, of whole weeks; the first place is the city.
    is_known
        Whether there are data of a day.
    """
    factors, uncertainty = _weekday_factors(past[:, 0], is_known)
    number = np.arange(len(past))
    used = is_known & (number >= len(past) - BASELINE_DAYS)
    daily, weeks = factors[number[used] % 7, None], number[used] // 7
    records = past[used]
    city = _baseline(records[:, :1], daily, weeks, _scatter_of_one)
    places = _baseline(records[:, 1:], daily, weeks, _scatter_of_many)
    # The day falls on the weekday of the last one.
    uncertainty = uncertainty[-1] * (1 + city.scatter.a)
    means, variances = [], []
    for base in (city, places):
        mean = base.level * factors[-1]
        means.append(mean)
        variances.append(base.scatter.variance(mean) + mean**2 * (base.uncertainty + uncertainty))
    return np.concatenate(means), np.concatenate(variances)


def _weekday_factors(city: Floats, is_known: Bools) -> tuple[Floats, Floats]:
    """Return what weekdays have by an average day, and the variance of that for Poisson's counts.

    Parameters
    ----------
    city
        Records, days by categories, of whole weeks.

    Returns
    -------
    tuple
        Both are weekdays by categories; the last weekday is that of the last day.
    """
    weeks = city.reshape(-1, 7, city.shape[1])
    known = np.broadcast_to(is_known.reshape(-1, 7, 1), weeks.shape)
    days = np.maximum(known.sum(axis=1, keepdims=True), 1)
    average = known * (weeks * known).sum(axis=1, keepdims=True) / days
    deviation = np.where(known, (weeks - average) / np.sqrt(average + 0.5), np.inf)
    rank = deviation.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    number = known.sum(axis=0)
    trimmed = np.floor(WEEKDAY_TRIM * number)
    kept = (rank >= trimmed) & (rank < number - trimmed)
    came, average_days = (weeks * kept).sum(axis=0), (average * kept).sum(axis=0)
    factors = (came + WEEKDAY_PRIOR) / (average_days + WEEKDAY_PRIOR)
    return factors / factors.mean(axis=0), 1 / (average_days + WEEKDAY_PRIOR)


ScatterOf = Callable[[Floats, Floats, Ints, Scatter], Scatter]


def _baseline(records: Floats, daily: Floats, weeks: Ints, scatter_of: ScatterOf) -> Baseline:
    """Return level and scatter of places, without the days that lie far out.

    Parameters
    ----------
    records
        Days by places by categories.
    daily
        Weekday factors of the days, days by 1 by categories.
    weeks
        The number of each day's week, ascending.
    scatter_of
        Returns the scatter, from records an average day, their scatter by Poisson's, the number of
        days, and the scatter found before.
    """
    level, ratio = _first_look(records, daily, weeks)
    days = np.full(level.shape, len(weeks))
    scatter = scatter_of(level, ratio, days, POISSON)
    kept = np.ones(records.shape, bool)
    for _ in range(ROUNDS):
        kept = _not_far_out(records, level * daily, scatter)
        came, days = (records * kept).sum(axis=0), kept.sum(axis=0)
        of_kept = (daily * kept).sum(axis=0)
        level = np.maximum(came, LEAST_RECORDS_KNOWN) / of_kept
        mean = level * daily
        squares = (kept * (records - mean) ** 2).sum(axis=0)
        # The level takes one degree of freedom.
        ratio = squares / (kept * mean).sum(axis=0) / (1 - 1 / days)
        scatter = scatter_of(came / of_kept, ratio, days, scatter)
    variance = (kept * scatter.variance(level * daily)).sum(axis=0)
    return Baseline(level, variance / (kept * level * daily).sum(axis=0) ** 2, scatter)


def _first_look(records: Floats, daily: Floats, weeks: Ints) -> tuple[Floats, Floats]:
    """Return records an average day and their scatter by Poisson's, of the week in the middle.

    A few wild days spoil few weeks. Where most weeks have no record it is the mean of all days.
    """
    starts = np.flatnonzero(np.diff(weeks, prepend=-1))

    def by_week(values: Floats) -> Floats:
        return np.add.reduceat(values, starts, axis=0)

    middle = np.median(by_week(records) / by_week(daily), axis=0)
    average = np.maximum(records.sum(axis=0), LEAST_RECORDS_KNOWN) / daily.sum(axis=0)
    level = np.where(middle > 0, middle, average)
    mean = level * daily
    return level, np.median(by_week((records - mean) ** 2) / by_week(mean), axis=0)


def _not_far_out(records: Floats, mean: Floats, scatter: Scatter) -> Bools:
    """Return which days are such as `FAR_OUT` lets expect, days by places by categories.

    The quantiles of the negative binomial by their skewness (Cornish and Fisher), which for a mean
    of a tenth as for one of a hundred are within a record of the exact ones.
    """
    variance = scatter.variance(mean)
    skew = (FAR_OUT**2 - 1) / 6 * (2 * variance / mean - 1)
    is_near = np.abs(records - mean - skew) <= FAR_OUT * np.sqrt(variance)
    is_often = (~is_near).mean(axis=0) > MOST_LEFT_OUT
    return is_near | is_often


def _scatter_of_one(average: Floats, ratio: Floats, days: Ints, before: Scatter) -> Scatter:
    """Return the scatter of a place from its own days alone."""
    del average, days, before
    return Scatter(np.maximum(ratio - 1, 0), np.zeros(ratio.shape), np.ones(ratio.shape))


def _scatter_of_many(average: Floats, ratio: Floats, days: Ints, before: Scatter) -> Scatter:
    """Return the scatter that places of a category share, and what each has beyond.

    The ratio of scatter to Poisson's is a line over the mean, 1 + a + c·μ, fitted with neither
    below 0; what a place is told by its own days is drawn towards it.
    """
    line = 1 + before.a + before.c * average
    # The variance of a ratio is (1/μ + 2·ratio²)/days: places with few records say little.
    weight = average / (1 + 2 * line**2 * average)

    def total(values: Floats) -> Floats:
        return (weight * values).sum(axis=0)

    over = ratio - 1
    ones, by_mean, by_square = total(np.ones(over.shape)), total(average), total(average**2)
    sum_over, over_by_mean = total(over), total(over * average)
    a = _divided(by_square * sum_over - by_mean * over_by_mean, ones * by_square - by_mean**2)
    c = _divided(ones * over_by_mean - by_mean * sum_over, ones * by_square - by_mean**2)
    alone_a, alone_c = _divided(sum_over, ones), _divided(over_by_mean, by_square)
    a, c = (
        np.where(c < 0, alone_a, np.where(a < 0, 0, a)),
        np.where(c < 0, 0, np.where(a < 0, alone_c, c)),
    )
    a, c = np.maximum(a, 0), np.maximum(c, 0)
    line = 1 + a + c * average
    known = (days - 1) * 2 * line**2 * average / (1 + 2 * line**2 * average)
    own = (SCATTER_PRIOR + known * ratio / line) / (SCATTER_PRIOR + known)
    return Scatter(a, c, np.maximum(own, 1))


def _divided(over: Floats, under: Floats) -> Floats:
    """Return a quotient, 0 where nothing is divided."""
    return np.divide(over, under, out=np.zeros(over.shape), where=under > 0)


def evidence(records: pl.DataFrame, usual: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Return the records and streets that explain a day: what an analyst would open first.

    Parameters
    ----------
    records
        `record_id, street, opened_at` of the day's records of one place and category; further
        columns are not used.
    usual
        `street, per_day`: how many records a day a street usually has there; 0 where it is not
        named.

    Returns
    -------
    tuple
        Up to five `record_id`, the newest first, and up to three streets, the largest excess over
        their usual number first. The records are those on these streets; where no street has more
        than usual, or none is known, those of the whole place. Equals are in the order of their
        names.
    """
    busiest = (
        records.drop_nulls("street")
        .group_by("street")
        .len()
        .join(usual.select("street", "per_day"), on="street", how="left")
        .with_columns(excess=pl.col("len") - pl.col("per_day").fill_null(0.0))
        .filter(pl.col("excess") > 0)
        .sort("excess", "street", descending=[True, False])
        .head(MOST_STREETS)
    )
    streets = busiest["street"].to_list()
    on_them = records.filter(pl.col("street").is_in(streets)) if streets else records
    newest = on_them.sort("opened_at", "record_id", descending=[True, False], nulls_last=True)
    return newest["record_id"].head(MOST_RECORDS).to_list(), streets
