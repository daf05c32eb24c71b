"""Stored scores for tests of costs and recommendations: a made-up town, and what is expected in it.

    store(warehouse, DAYS, calls)

fills `silver.requests` and `gold.cells` with a planted town (see `town`), and `risk.scores` and
`risk.cell_days` with `calls` (days x n) expected in its cells.
"""

import datetime as dt
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Cells, Floats
from city311_assets.partitions import Slice
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.targets.target import Target
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import CELL_DAYS, SCORES
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.risk.town import Town, planted
from city311_assets_tests.risk.town import store as store_town

FIRST = dt.date(2025, 1, 1)
HISTORY_DAYS = 440
DAYS = [dt.date(2026, 3, 9) + dt.timedelta(days=n) for n in range(3)]
MODEL = "leaks-2026-03-logistic-0123abcd"
DRIVERS = pl.List(pl.Struct({"driver": pl.String, "effect": pl.Float64, "words": pl.String}))
TYPES: dict[str, pl.DataType] = {
    "VARCHAR": pl.String(),
    "DATE": pl.Date(),
    "TIMESTAMP": pl.Datetime("us"),
    "DOUBLE": pl.Float64(),
    "BOOLEAN": pl.Boolean(),
    "UBIGINT": pl.UInt64(),
    "INTEGER": pl.Int32(),
    "UTINYINT": pl.UInt8(),
    SCORES.columns[[*SCORES.names].index("drivers")].type: DRIVERS,
}


@lru_cache
def town() -> Town:
    """The town that all of these tests are about."""
    return planted(FIRST, HISTORY_DAYS)


def cells() -> Cells:
    """Its cells, sorted."""
    return town().cells


def part(days: Sequence[dt.date] = DAYS, target: Target = LEAKS) -> Slice:
    """The target's slice of some days."""
    return Slice(target.name, min(days), max(days) + dt.timedelta(days=1), "target")


def uneven(days: Sequence[dt.date] = DAYS, seed: int = 1, mean: float = 0.6) -> Floats:
    """Calls expected where few cells have most of them, a little different every day."""
    rng = np.random.default_rng(seed)
    level = rng.gamma(0.7, mean / 0.7, cells().size)
    return level * rng.uniform(0.9, 1.1, (len(days), cells().size))


def rows(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame in a table's columns; what it lacks is null, or 0 where that cannot be."""
    return frame.select(
        (
            pl.col(column.name)
            if column.name in frame.columns
            else pl.lit(None if column.nullable else 0)
        )
        .cast(TYPES[column.type])
        .alias(column.name)
        for column in table.columns
    )


def scores(
    days: Sequence[dt.date], calls: Floats, target: Target = LEAKS, version: str = MODEL
) -> pl.DataFrame:
    """Return stored scores of cells in which `calls` (days x n) are expected."""
    size = cells().size
    frame = pl.DataFrame(
        {
            "day": np.repeat(np.array(days, "datetime64[D]"), size),
            "cell": np.tile(cells(), len(days)),
            "expected_events_7d": calls.ravel(),
            "p_event_7d": -np.expm1(-calls.ravel()),
        }
    ).with_columns(
        pl.lit(target.name).alias("target"),
        pl.col("p_event_7d").alias("low"),
        pl.col("p_event_7d").alias("high"),
        pl.lit("low").alias("risk_band"),
        pl.lit(version).alias("model_version"),
        pl.lit("logistic").alias("model_kind"),
        pl.lit(True).alias("is_newest"),
        pl.lit(dt.datetime(2026, 3, 20)).alias("as_of"),
        pl.lit(
            [{"driver": "recent calls here", "effect": 0.5, "words": "4 calls here in 30 days"}],
            DRIVERS,
        ).alias("drivers"),
    )
    return rows(SCORES, frame)


def cell_days(days: Sequence[dt.date], target: Target = LEAKS) -> pl.DataFrame:
    """Return stored features: the calls of a year go with the planted intensity."""
    size = cells().size
    of_cells = pl.DataFrame(
        {
            "cell": cells(),
            "calls_365d": np.round(365 * town().intensity.mean(axis=0)),
            "all_calls_365d": np.full(size, 100),
        }
    )
    frame = pl.DataFrame({"day": days}).join(of_cells, how="cross")
    return rows(CELL_DAYS, frame.with_columns(pl.lit(target.name).alias("target")))


def store(
    warehouse: Warehouse,
    days: Sequence[dt.date] = DAYS,
    calls: Floats | None = None,
    target: Target = LEAKS,
) -> None:
    """Put the town, its scores and its features into a warehouse."""
    store_town(warehouse, town())
    expected = uneven(days) if calls is None else calls
    warehouse.replace(SCORES, scores(days, expected, target), part(days, target))
    warehouse.replace(CELL_DAYS, cell_days(days, target), part(days, target))
