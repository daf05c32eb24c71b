"""What the monthly hot spots, the forecasts and the anomalies of a feed of Chicago's size cost."""

from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.gold_rates import areas
from benchmarks.measuring import Effort, interleaved, metered
from benchmarks.report import Row
from city311_assets.gold.methods import anomalies as unusual
from city311_assets.gold.methods.counts import ALL, with_all
from city311_assets.gold.methods.forecasting import History, forecasts, look_back_days
from city311_assets.gold.methods.grid import Grid, parents
from city311_assets.gold.methods.hot_spots import hot_spots

LAST = date(2026, 5, 31)
PER_DAY, CATEGORIES = 2_000, 12
ISSUED_DAYS = 31


def counts(days: int, resolution: int, cells: np.ndarray) -> pl.DataFrame:
    """Return daily counts of categories and cells, some much busier than others."""
    rng = np.random.default_rng(311)
    busy = rng.lognormal(0, 1.2, cells.size)
    size = days * PER_DAY
    day = np.datetime64(LAST) - rng.integers(0, days, size)
    return (
        pl.DataFrame(
            {
                "day": day,
                "cell": parents(rng.choice(cells, size, p=busy / busy.sum()), resolution),
                "category": pl.Series(rng.integers(0, CATEGORIES, size)).cast(pl.String),
            }
        )
        .with_columns(pl.col("day").cast(pl.Date))
        .group_by("day", "cell", "category")
        .agg(pl.len().cast(pl.Int64).alias("records"))
    )


def of_hot_spots(months: str) -> None:
    study = areas()
    own = counts(30 * int(months), 9, study[10])
    own = own.group_by(pl.col("day").dt.truncate("1mo").alias("month"), "cell", "category").agg(
        pl.col("records").sum()
    )
    covered = own.select("month").unique().with_columns(days=pl.lit(30, pl.Int64))
    month = LAST.replace(day=1)
    own = with_all(own, "month", "cell").filter(pl.col("month") <= month)
    grid = Grid.of(study[9])
    with metered("hot spots"):
        hot_spots(own, covered, grid, month)


def of_forecasts(issued: str) -> None:
    study = areas()
    reach = look_back_days(0) + int(issued)
    own = counts(reach, 8, study[10])
    days = [LAST - timedelta(days=back) for back in reversed(range(reach))]
    with metered("forecasts"):
        grid = Grid.of(study[8])
        history = History.of(own, grid.cells, days, disk=grid.disk)
        for back in range(int(issued)):
            forecasts(history, LAST - timedelta(days=back), 0)


def of_anomalies(tested: str) -> None:
    study = areas()
    reach = unusual.LOOK_BACK_DAYS + int(tested)
    own = counts(reach, 7, study[10])
    first = LAST - timedelta(days=int(tested) - 1)
    with metered("anomalies"):
        unusual.anomalies_of_days(own, study[7], first, LAST, LAST - timedelta(days=reach))


def measure(effort: Effort, _: Path) -> list[Row]:
    days = str(max(ISSUED_DAYS // effort.divisor, 1))
    hot, ahead, odd = interleaved(
        min(effort.repeats, 3),
        hot_spots=partial(of_hot_spots, "24"),
        forecasts=partial(of_forecasts, days),
        anomalies=partial(of_anomalies, days),
    )
    size = f"{PER_DAY:,} records a day, {CATEGORIES} categories and `{ALL}`, 3 times"
    return [
        Row(
            "hot spots of a month, r9, both null models, 24 months of counts",
            size,
            f"{hot.cpu():.1f} CPU-s, {hot.peak:,.0f} MB",
        ),
        Row(
            f"forecasts, r8 and city, {days} days of issue, methods compared at each",
            size,
            f"{ahead.cpu():.1f} CPU-s, {ahead.peak:,.0f} MB",
        ),
        Row(
            f"anomalies, r7 and city, {days} days",
            size,
            f"{odd.cpu():.1f} CPU-s, {odd.peak:,.0f} MB",
        ),
    ]
