"""Features: what is known of every cell on a day, from calls up to that day.

What belongs here: how counts of days and cells become the columns that models read. What does not:
which requests are calls, and which days are held (`risk.histories`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, reduce
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.gold.methods.arrays import Bools, Cells, Floats, Ints
from city311_assets.risk.methods.feature_names import FEATURES

if TYPE_CHECKING:
    from scipy import sparse

LONGEST_DAYS = 1_095
WINDOWS = (7, 14, 30, 90, 365)
HALF_LIVES = (7, 30)
# A running sum drifts with where it began, so it begins anew on days that the calendar fixes, from
# so many days before them: what is older weighs less than 1e-9 of a call.
RESTART_DAYS = 128
DECAY_REACH_DAYS = LONGEST_DAYS - RESTART_DAYS
# Days forecast begin the day after; a year of whole weeks before them, and a week on either side.
SAME_WEEKS = (-370, -350)
MIDDLE_OF_FORECAST_DAYS = 4
DAYS_PER_YEAR = 365.25
PARENT_STEPS = 2
# So many days of all cells are made at a time: a month of a large city takes 40 MB.
CHUNK_DAYS = 31

OLDEST_WEATHER_DAYS = 14
# Of each value of a day of weather, how many days it sums over, itself included.
WEATHER = {
    "temperature_min_c": 1,
    "temperature_max_c": 1,
    "temperature_drop_c": 2,
    "is_freeze": 1,
    "is_freeze_thaw": 1,
    "freeze_thaw_days_7d": 7,
    "freezing_degree_days_14d": 14,
    "is_heavy_rain": 1,
    "rain_3d_mm": 3,
    "rain_7d_mm": 7,
}
# Days of weather before a day that its columns hang on.
WEATHER_REACH_DAYS = OLDEST_WEATHER_DAYS + max(WEATHER.values())


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of some days and cells, of which only those above zero are written down.

    Attributes
    ----------
    shape
        How many days and cells there are, d and n.
    day, cell, count
        Place of the day, place of the cell, and how many; sorted by day, each pair once.
    """

    shape: tuple[int, int]
    day: Ints
    cell: Ints
    count: Ints

    @cached_property
    def starts(self) -> Ints:
        """Where each day's counts begin, and the last one's end; d + 1 of them."""
        return np.searchsorted(self.day, np.arange(self.shape[0] + 1))

    def between(self, start: int, stop: int) -> slice:
        """Return where the counts of the days `start` to `stop` - 1 are."""
        return slice(*self.starts[[start, stop]].tolist())

    def dense(self, start: int = 0, stop: int | None = None) -> NDArray[np.int32]:
        """Return all counts of the days `start` to `stop` - 1, days x cells."""
        last = self.shape[0] if stop is None else stop
        there = self.between(start, last)
        counts = np.zeros((last - start, self.shape[1]), np.int32)
        counts[self.day[there] - start, self.cell[there]] = self.count[there]
        return counts

    def cumulated(self) -> NDArray[np.int32]:
        """Return running sums over days, with a row of zeros before the first: (d + 1) x n."""
        sums = np.zeros((self.shape[0] + 1, self.shape[1]), np.int32)
        sums[self.day + 1, self.cell] = self.count
        return np.cumsum(sums, axis=0, out=sums)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Which cells lie around each of n cells, and which of P ancestors each has.

    Attributes
    ----------
    cells
        Sorted, each once.
    ring1, ring2
        n x n: 1 where the column's cell touches the row's, or is two steps away; else 0.
    parent
        n: which ancestor, two resolutions up, each cell has.
    children
        P x n: 1 where the column's cell has the row's ancestor; else 0.
    """

    cells: Cells
    ring1: "sparse.csr_array"
    ring2: "sparse.csr_array"
    parent: Ints
    children: "sparse.csr_array"

    @classmethod
    def of(cls, cells: Cells, resolution: int) -> "Surroundings":
        """Return the surroundings of sorted cells of one resolution."""
        from scipy import sparse

        from city311_assets.gold.methods.grid import Grid, parents

        place, one = np.arange(cells.size), np.ones(cells.size, np.int32)
        itself = sparse.csr_array((one, (place, place)), shape=(cells.size, cells.size))
        near, far = (Grid.of(cells, steps).disk.astype(np.int32) for steps in (1, 2))
        ancestors, parent = np.unique(
            parents(cells, resolution - PARENT_STEPS), return_inverse=True
        )
        children = sparse.csr_array((one, (parent, place)), shape=(ancestors.size, cells.size))
        ring1, ring2 = (sparse.csr_array(ring) for ring in (near - itself, far - near))
        return cls(cells, ring1, ring2, parent.astype(np.int64), children)


@dataclass(frozen=True, eq=False)
class Past:
    """Calls of n cells on d consecutive days, the days of which features are wanted included.

    Attributes
    ----------
    surroundings
        Of the n cells.
    first
        The first of the d days.
    calls, all_calls
        d x n: requests that are calls, and requests of every kind.
    is_held
        d: whether a day's requests were obtained.
    is_inside
        n: whether a cell is in the study area whatever happens there. Another is from its first
        request on, and for 365 days after each.
    """

    surroundings: Surroundings
    first: date
    calls: Counts
    all_calls: Counts
    is_held: Bools
    is_inside: Bools


def features(
    past: Past, start: int, stop: int, chunk_days: int = CHUNK_DAYS
) -> Iterator[pl.DataFrame]:
    """Return what is known of every cell on the days `start` to `stop` - 1, some days at a time.

    A day knows what happened up to its end, and nothing later; it is the same whichever other days
    are asked for with it, if `past` has the 1,095 days before it. Days that are not held have no
    rows.

    Parameters
    ----------
    past
        The counts.
    start, stop
        Places of days among the d of `past`.
    chunk_days
        How many days a frame is of.

    Returns
    -------
    Iterator[pl.DataFrame]
        Sorted by day and cell: `day, cell`, and the columns of `risk.cell_days` that come from
        calls and the calendar. Counts are exact; they are null where a day of theirs is not held.
        A rate is the mean of a gamma posterior, after Marshall (1991),
        https://doi.org/10.2307/2347593.

    Raises
    ------
    ValueError
        The days wanted are not among those of `past`.
    """
    days = past.is_held.size
    if not 0 <= start <= stop <= days:
        raise ValueError(f"days {start} to {stop} are wanted of a past of {days} days")
    running = _Running.of(past, start)
    for begin in range(start, stop, chunk_days):
        yield running.frame(begin, min(begin + chunk_days, stop))


@dataclass(frozen=True, eq=False)
class _Running:
    """Running sums over all days, from which any window is one subtraction.

    `calls` and `all_calls` have d + 1 rows, the first zero; so does `held`. `last` is the place of
    each cell's newest day with a call before the next day asked for, and -1 before any.
    """

    past: Past
    calls: NDArray[np.int32]
    all_calls: NDArray[np.int32]
    held: Ints
    unbroken: Ints
    last: Ints

    @classmethod
    def of(cls, past: Past, start: int) -> "_Running":
        days = np.arange(past.is_held.size)
        newest_gap = np.maximum.accumulate(np.where(past.is_held, -1, days))
        last = np.full(past.is_inside.size, -1, np.int64)
        earlier = past.calls.between(0, start)
        np.maximum.at(last, past.calls.cell[earlier], past.calls.day[earlier])
        return cls(
            past,
            past.calls.cumulated(),
            past.all_calls.cumulated(),
            np.r_[0, np.cumsum(past.is_held)],
            np.minimum(days - newest_gap, LONGEST_DAYS),
            last,
        )

    def frame(self, start: int, stop: int) -> pl.DataFrame:
        """Return the rows of some days; to be asked for in order."""
        past, near = self.past, self.past.surroundings
        days = np.arange(start, stop)
        counts = {f"calls_{n}d": _window(self.calls, days, n) for n in WINDOWS}
        counts |= {f"all_calls_{n}d": _window(self.all_calls, days, n) for n in (30, 365)}
        for name, ring, over in (
            ("ring1_calls_30d", near.ring1, "calls_30d"),
            ("ring2_calls_30d", near.ring2, "calls_30d"),
            ("ring1_calls_365d", near.ring1, "calls_365d"),
        ):
            counts[name] = (ring @ counts[over].T).T
        is_whole = {
            name: self.unbroken[days] >= int(name.rsplit("_", 1)[1].removesuffix("d"))
            for name in counts
        }
        first, last = (np.maximum(days + shift, -1) for shift in SAME_WEEKS)
        counts["same_weeks_last_year"] = self.calls[last + 1] - self.calls[np.maximum(first, 0)]
        held = self.held[last + 1] - self.held[np.maximum(first, 0)]
        is_whole["same_weeks_last_year"] = held == SAME_WEEKS[1] - SAME_WEEKS[0] + 1
        is_known = past.is_inside | (counts["all_calls_365d"] > 0)
        parent_rate, long_run_rate = self._rates(days, is_known)
        decay, since = self._decay(days), self._since_last(days)
        is_row = is_known & past.is_held[days, None]
        at_day, at_cell = np.nonzero(is_row)

        def column(name: str, values: NDArray, is_whole: Bools | None = None) -> pl.Series:
            series = pl.Series(name, values[is_row])
            if is_whole is None or is_whole.all():
                return series
            kept = is_whole[is_row] if is_whole.ndim > 1 else is_whole[at_day]
            return series.zip_with(pl.Series(kept), pl.Series([None], dtype=series.dtype))

        dates = [past.first + timedelta(days=day) for day in days.tolist()]
        calendar = _calendar(dates).with_columns(
            history_days=pl.Series(self.unbroken[days], dtype=pl.Int32)
        )
        return pl.DataFrame(
            [
                *calendar.select(pl.all().gather(pl.Series(at_day))).get_columns(),
                pl.Series("cell", near.cells[at_cell]),
                *(column(name, values, is_whole[name]) for name, values in counts.items()),
                *(column(f"decay_{n}d", decay[place]) for place, n in enumerate(HALF_LIVES)),
                column("days_since_last", since, since >= 0),
                column("parent_rate", parent_rate),
                column("long_run_rate", long_run_rate),
            ]
        )

    def _rates(self, days: Ints, is_known: Bools) -> tuple[Floats, Floats]:
        """Return the shrunken rates of each cell's ancestor, and of each cell, calls a day."""
        parent, children = self.past.surroundings.parent, self.past.surroundings.children
        calls = np.where(is_known, _window(self.calls, days, LONGEST_DAYS), 0)
        held = self.held[days + 1] - self.held[np.maximum(days + 1 - LONGEST_DAYS, 0)]
        of_parent = np.ascontiguousarray((children @ calls.T).T)
        cells = np.ascontiguousarray((children @ is_known.T.astype(np.int32)).T)
        rate = shrunken_rates(of_parent, cells * held[:, None].astype(np.float64))
        expected = rate[:, parent] * held[:, None]
        per_day = np.divide(1.0, held, out=np.zeros(held.size), where=held > 0)
        theirs = shrunken_counts(calls, np.where(is_known, expected, 0.0))
        return rate[:, parent], theirs * per_day[:, None]

    def _decay(self, days: Ints) -> Floats:
        """Return calls so far that lose their weight by half-lives: half-lives x days x cells."""
        calls = self.past.calls
        half_lives = np.array(HALF_LIVES)[:, None]
        kept = 0.5 ** (1 / half_lives)
        found = np.empty((len(HALF_LIVES), days.size, calls.shape[1]))
        state, upto = np.zeros((len(HALF_LIVES), calls.shape[1])), -1
        for place, day in enumerate(days.tolist()):
            anchor = day - (self.past.first.toordinal() + day) % RESTART_DAYS
            if place == 0 or day == anchor:
                state, upto = _decayed_at(calls, anchor, half_lives), anchor
            for later in range(max(upto + 1, 0), day + 1):
                state = state * kept
                here = calls.between(later, later + 1)
                state[:, calls.cell[here]] += calls.count[here]
            found[:, place], upto = state, day
        return found

    def _since_last(self, days: Ints) -> NDArray[np.int32]:
        """Return days since each cell's newest call; -1 where none is among the newest 1,095."""
        calls = self.past.calls
        found = np.empty((days.size, calls.shape[1]), np.int32)
        for place, day in enumerate(days.tolist()):
            self.last[calls.cell[calls.between(day, day + 1)]] = day
            found[place] = np.where(
                (self.last >= 0) & (day - self.last < LONGEST_DAYS), day - self.last, -1
            )
        return found


def shrunken_rates(counts: NDArray, exposure: Floats) -> Floats:
    """Return rates drawn towards their mean: counts of a Poisson whose rate is a gamma variable.

    With m all counts by all exposure E, the variance of rates is what the squares leave after
    chance: A = (Σ e (r - m)² - (I - 1) m) / (E - Σ e² / E), at least 0. A rate is the posterior's
    mean (c + m²/A) / (e + m/A); m where A is 0, or there is no exposure.

    Parameters
    ----------
    counts, exposure
        Days x groups; each day by itself.
    """
    total = exposure.sum(axis=1, keepdims=True)
    mean = _ratio(counts.sum(axis=1, keepdims=True, dtype=np.float64), total)
    rate = _ratio(counts, exposure)
    squares = (exposure * (rate - mean) ** 2).sum(axis=1, keepdims=True)
    groups = (exposure > 0).sum(axis=1, keepdims=True)
    room = total - _ratio((exposure**2).sum(axis=1, keepdims=True), total)
    variance = np.maximum(_ratio(squares - (groups - 1) * mean, room), 0.0)
    # With both parts times the variance nothing is divided by it, and 0 draws rates to the mean.
    weight = exposure * variance + mean
    return np.where(weight > 0, _ratio(counts * variance + mean**2, weight), mean)


def shrunken_counts(counts: NDArray, expected: Floats) -> Floats:
    """Return counts drawn towards those expected, by how far they differ from them elsewhere.

    A count is Poisson of mean θe, where θ is a gamma variable of mean 1 whose variance is
    v = (Σ (c - e)² - e) / Σ e², at least 0; θ's posterior mean is (1 + vc) / (1 + ve), and what is
    returned is θe. Shapes as of `shrunken_rates`; a cell of which nothing is expected has 0.
    """
    excess = ((counts - expected) ** 2 - expected).sum(axis=1, keepdims=True)
    variance = np.maximum(_ratio(excess, (expected**2).sum(axis=1, keepdims=True)), 0.0)
    return expected * (1 + variance * counts) / (1 + variance * expected)


def weather_known(
    weather: pl.DataFrame, days: pl.Series, oldest_days: int = OLDEST_WEATHER_DAYS
) -> pl.DataFrame:
    """Return for each of `days` the newest weather that was known on it.

    Parameters
    ----------
    weather
        Rows of `silver.weather_days`, from `WEATHER_REACH_DAYS` before the first of `days` on.
    days
        Dates, each once.
    oldest_days
        How old weather may be.

    Returns
    -------
    pl.DataFrame
        `day, weather_day` and the columns of `WEATHER`, in the order of `days`: those of the newest
        archived day that was known by then; a sum is null where one of its days was not. Forecasts
        are no weather here.
    """
    every = weather.select(pl.col("day").min()).item(), weather.select(pl.col("day").max()).item()
    nulls = [pl.lit(None, pl.Date).alias("weather_day")]
    if every[0] is None:
        types = {name: weather.schema.get(name, pl.Int32()) for name in WEATHER}
        nulls += [pl.lit(None, dtype).alias(name) for name, dtype in types.items()]
        return days.to_frame("day").select("day", *nulls)
    calendar = pl.DataFrame({"day": pl.date_range(*every, "1d", eager=True)})
    thawed = pl.col("is_freeze_thaw").cast(pl.Int32)
    # A sum that holds a forecast, or a day that nobody knows, is never known.
    known = pl.when(pl.col("source") == "archive").then("known_on").otherwise(pl.lit(date.max))
    dated = calendar.join(weather, on="day", how="left", maintain_order="left").with_columns(
        freeze_thaw_days_7d=reduce(
            lambda one, other: one + other, (thawed.shift(back) for back in range(7))
        ),
        **{
            f"known_{length}": pl.max_horizontal(
                known.shift(back).fill_null(date.max) for back in range(length)
            )
            for length in sorted({*WEATHER.values()})
        },
    )
    archived = dated.filter(pl.col("source") == "archive").rename({"day": "weather_day"})
    ages = pl.DataFrame({"age": range(oldest_days + 1)})
    newest = (
        days.to_frame("day")
        .join(ages, how="cross")
        .with_columns(weather_day=pl.col("day") - pl.duration(days=pl.col("age")))
        .join(archived, on="weather_day")
        .filter(pl.col("known_on") <= pl.col("day"))
        .sort("weather_day")
        .unique("day", keep="last", maintain_order=True)
        .select(
            "day",
            "weather_day",
            *(
                pl.when(pl.col(f"known_{length}") <= pl.col("day")).then(name).alias(name)
                for name, length in WEATHER.items()
            ),
        )
    )
    return days.to_frame("day").join(newest, on="day", how="left", maintain_order="left")


def model_matrix(frame: pl.DataFrame) -> NDArray[np.float32]:
    """Return what a model reads of rows of `risk.cell_days`: rows x features, NaN for null.

    Columns are in the order of `FEATURES`; yes is 1, no is 0.
    """
    return frame.select(pl.col(FEATURES).cast(pl.Float32).fill_null(np.nan)).to_numpy(order="c")


def _calendar(dates: list[date]) -> pl.DataFrame:
    """Return `day, weekday, season_sin, season_cos` of some days."""
    day = pl.Series("day", dates, pl.Date)
    middle = (day + timedelta(days=MIDDLE_OF_FORECAST_DAYS)).dt.ordinal_day().to_numpy()
    angle = 2 * np.pi * middle / DAYS_PER_YEAR
    return pl.DataFrame(
        {
            "day": day,
            "weekday": day.dt.weekday().cast(pl.UInt8),
            "season_sin": np.sin(angle),
            "season_cos": np.cos(angle),
        }
    )


def _window(sums: NDArray[np.int32], days: Ints, length: int) -> NDArray[np.int32]:
    """Return the counts of so many days up to each of `days`, of running sums."""
    return sums[days + 1] - sums[np.maximum(days + 1 - length, 0)]


def _decayed_at(calls: Counts, anchor: int, half_lives: Ints) -> Floats:
    """Return decayed calls at the end of a day, from those of a fixed number of days before it."""
    there = calls.between(max(anchor + 1 - DECAY_REACH_DAYS, 0), max(anchor + 1, 0))
    age, cell, cells = anchor - calls.day[there], calls.cell[there], calls.shape[1]
    weights = 0.5 ** (np.arange(DECAY_REACH_DAYS) / half_lives)
    weighted = calls.count[there] * weights[:, age]
    return np.stack([np.bincount(cell, one, cells).astype(np.float64) for one in weighted])


def _ratio(over: NDArray, under: NDArray) -> Floats:
    """Return the quotient; 0 where nothing is below the line."""
    shape = np.broadcast_shapes(np.shape(over), np.shape(under))
    return np.divide(over, under, out=np.zeros(shape), where=under > 0)
