"""How good the forecasts of past days were, by what came.

What belongs here: forecasts beside outcomes. What does not: figures of candidates that did not
serve, which the monthly evaluation has.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from city311_assets.gold.methods.rates import wilson
from city311_assets.risk.targets.target import Target
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.risk import CELL_DAYS, OUTCOMES, SCORES

# One day a week is judged, back from the newest that is told: of days in a row the 7 days that each
# forecast is of overlap, and the same call would count seven times.
JUDGED_WEEKS = 13
SHARE = 0.01
JUDGED = f"""
    with told as (
        select distinct day from {OUTCOMES} where target = $target and day <= $day
    ), scored as (
        select distinct day from {SCORES} where target = $target and day <= $day
    ), shared as (select day from told join scored using (day)), days as (
        select day from shared
        where date_diff('day', day, (select max(day) from shared)) % 7 = 0
        order by day desc limit $most
    )
    select s.day, s.cell, s.p, o.is_event, f.long_run_rate, f.calls_30d
    from (
        select day, cell, p_event_7d as p from {SCORES}
        where target = $target and is_newest and day in (from days)
    ) as s
    join (
        select day, cell, is_event from {OUTCOMES} where target = $target and day in (from days)
    ) as o using (day, cell)
    left join (
        select day, cell, long_run_rate, calls_30d from {CELL_DAYS}
        where target = $target and day in (from days)
    ) as f using (day, cell)
"""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Forecasts of past days beside what came.

    Attributes
    ----------
    bins
        Ten of as many cell-days each, by rising probability: `mean_p, share, low, high, cell_days,
        events`; the interval is Wilson's, as if cell-days were independent. Cells share their
        weather, so it is somewhat too narrow.
    brier, skill
        Brier score, and 1 less it over that of saying the mean of these days everywhere.
    ece
        Mean distance of said and come over the bins.
    precision
        Share with an event among each day's 1 % of cells: by these forecasts, by the calls of the
        long run, and by those of 30 days.
    """

    first: date
    last: date
    days: int
    cell_days: int
    base_rate: float
    mean_p: float
    bins: pl.DataFrame
    brier: float
    skill: float
    ece: float
    precision: dict[str, float]


def reliability(snapshot: Snapshot, target: Target, day: date) -> Reliability | None:
    """Return how good the forecasts up to a day were; None where none is told yet."""
    if not (snapshot.has(OUTCOMES) and snapshot.has(CELL_DAYS)):
        return None

    def read() -> Reliability | None:
        given = {"target": target.name, "day": day, "most": JUDGED_WEEKS}
        return judged(snapshot.frame(JUDGED, given))

    return snapshot.once(("risk reliability", target.name, day), read)


def judged(told: pl.DataFrame) -> Reliability | None:
    """Return the figures of `day, cell, p, is_event, long_run_rate, calls_30d`; None of no rows."""
    if told.is_empty():
        return None
    # Ties are broken by the cell, so that equal forecasts do not follow what came.
    ranked = told.sort("p", "day", "cell").with_columns(
        bin=pl.int_range(pl.len()) * 10 // pl.len(), event=pl.col("is_event").cast(pl.Float64)
    )
    bins = (
        ranked.group_by("bin")
        .agg(
            pl.col("p").mean().alias("mean_p"),
            pl.col("event").mean().alias("share"),
            pl.len().alias("cell_days"),
            pl.col("event").sum().cast(pl.Int64).alias("events"),
        )
        .sort("bin")
    )
    low, high = wilson(bins["events"].to_numpy(), bins["cell_days"].to_numpy())
    bins = bins.with_columns(low=pl.Series(low), high=pl.Series(high))
    base = float(ranked["event"].to_numpy().mean())
    brier = float(((ranked["p"] - ranked["event"]) ** 2).to_numpy().mean())
    weight = bins["cell_days"].to_numpy() / told.height
    distance = np.abs(bins["mean_p"].to_numpy() - bins["share"].to_numpy())
    days = told["day"].unique().sort()
    return Reliability(
        first=days[0],
        last=days[-1],
        days=len(days),
        cell_days=told.height,
        base_rate=base,
        mean_p=float(ranked["p"].to_numpy().mean()),
        bins=bins,
        brier=brier,
        skill=1 - brier / (base * (1 - base)) if 0 < base < 1 else 0.0,
        ece=float((weight * distance).sum()),
        precision={
            name: _precision(ranked, column)
            for name, column in (
                ("these forecasts", "p"),
                ("calls of the long run", "long_run_rate"),
                ("calls of 30 days", "calls_30d"),
            )
            if ranked[column].null_count() < ranked.height
        },
    )


def _precision(told: pl.DataFrame, column: str) -> float:
    """Return the share with an event among each day's 1 % of cells that a column ranks highest."""
    top = told.with_columns(pl.col(column).fill_null(-1)).sort(
        "day", column, "cell", descending=[False, True, False]
    )
    place = pl.int_range(pl.len()).over("day")
    most = (pl.len().over("day") * SHARE).ceil()
    return float(top.filter(place < most)["event"].to_numpy().mean())
