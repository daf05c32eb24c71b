"""Risk outcomes: what happened in every cell in the days after one, made when they are over.

A day whose next days are not all held, or not all told, has no rows: an outcome that is not known
yet is no absence of calls. It is made again when the last of them has come.
"""

from datetime import timedelta

import dagster as dg
import numpy as np
import polars as pl

from city311_assets.gold.slices import HELD
from city311_assets.partitions import BY_CHUNK, DAYS, LOOKS_AHEAD, Slice, note_days
from city311_assets.risk.histories import ALL_CALLS_DAYS, History, chunks, history
from city311_assets.risk.targets.target import Target
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.risk import OUTCOMES
from city311_assets.warehouse.tables.silver import RECORDS

# The portal has told all of a day when it was asked after the day's end, and after those days that
# it withholds.
UNFINISHED = f"""
    select made.day, count(told.day) as rows
    from (select distinct day from {OUTCOMES} where {OUTCOMES.where}) as made
        left join (
            select day from ({{held}}) where observed_until >=
                timezone('UTC', timezone($timezone, (day + $lag + 1)::timestamp))
        ) as told on told.day > made.day and told.day <= made.day + $horizon
    group by made.day having count(told.day) < $horizon
    order by made.day
"""
NOT_NESTED = f"""
    select day, cell as kind from {OUTCOMES} where {OUTCOMES.where} and (
        is_event <> (calls_after_7d > 0) or first_calls_after_7d > calls_after_7d
        or first_calls_after_7d < 0)
"""


def outcome_rows(read: History, part: Slice) -> pl.DataFrame:
    """Return what happened after each day of a slice, in the table's columns.

    `read` reaches the target's `horizon_days` beyond the slice.
    """
    horizon = read.target.horizon_days
    start, stop = read.place(part.start), read.place(part.end)
    days = np.arange(stop - start)
    is_told = (read.is_held & ~read.is_provisional)[start : stop + horizon]
    told = np.r_[0, np.cumsum(is_told)]
    finished = days[told[days + horizon + 1] - told[days + 1] == horizon]
    after, first_after = (
        np.cumsum(counts.dense(start, stop + horizon), axis=0, dtype=np.int32)
        for counts in (read.calls, read.first_calls)
    )
    after, first_after = (
        sums[finished + horizon] - sums[finished] for sums in (after, first_after)
    )
    dates = pl.Series([read.days[start + day] for day in finished.tolist()], dtype=pl.Date)
    cells = read.cells.size
    return pl.DataFrame(
        {
            "day": dates.gather(pl.Series(np.repeat(np.arange(finished.size), cells))),
            "cell": np.tile(read.cells, finished.size),
            "calls_after_7d": after.ravel(),
            "first_calls_after_7d": first_after.ravel(),
            "is_event": after.ravel() > 0,
        }
    ).select(pl.lit(part.name).alias("target"), pl.all())


def write(warehouse: Warehouse, target: Target, part: Slice) -> pl.DataFrame:
    """Make a slice, some days at a time; return figures of each day that has rows."""
    # Cells with a request in the year before are labelled whatever comes: none is chosen by it.
    read = history(
        warehouse, target, part, look_back=ALL_CALLS_DAYS, look_ahead=target.horizon_days
    )
    figures = []
    for own in chunks(part):
        rows = outcome_rows(read, own)
        warehouse.replace(OUTCOMES, rows, own)
        figures.append(
            rows.group_by("day", maintain_order=True).agg(
                pl.len().alias("rows"), pl.col("is_event").sum().alias("events")
            )
        )
    return pl.concat(figures)


def claims(target: Target) -> list[Property]:
    """Return what must hold of a target's outcomes."""
    days = HELD.format(
        records=RECORDS[target.feed.table],
        slices=SLICES,
        where="feed = $feed and day > $start and day < $end + $horizon",
    )
    return [
        Property(
            "finished",
            "The days that an outcome is of are over, held, and told in full.",
            UNFINISHED.format(held=days),
        ),
        Property(
            "events_are_calls",
            "A cell has an event exactly when it has a call, and no more first calls than calls.",
            NOT_NESTED,
        ),
    ]


def days_after(horizon: int) -> dg.TimeWindowPartitionMapping:
    """Return which days a day's outcome is made of: those after it, of which the newest may lack.

    No look-back: a call of one day is the outcome of the seven before it, and of no others.
    """
    return dg.TimeWindowPartitionMapping(
        start_offset=1, end_offset=horizon, allow_nonexistent_upstream_partitions=True
    )


def outcomes(target: Target) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare what happened after a target's days, and what must hold of it."""
    feed, horizon = target.feed, target.horizon_days
    key, table = OUTCOMES.key(target.name), RECORDS[feed.table]

    @dg.asset(
        key=key,
        deps=[dg.AssetDep(table.key(feed.name), partition_mapping=days_after(horizon))],
        partitions_def=DAYS,
        tags={LOOKS_AHEAD: str(horizon + feed.reporting_lag_days)},
        backfill_policy=BY_CHUNK,
        metadata=OUTCOMES.metadata | {"days_until_known": horizon + 1 + feed.reporting_lag_days},
        kinds={"duckdb", "polars"},
        description=f"{target.title}: how many there were in each cell in the {horizon} days after "
        "a city-local day, with and without those the city marked as repeats; made when these days "
        "are over, never before.",
    )
    def outcomes(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """What happened after one target's city-local days."""
        part = Slice.of(context, target.name, "target")
        figures = write(warehouse, target, part)
        note_days(context, key, figures, part)
        days = (part.end - part.start).days
        return dg.MaterializeResult(
            metadata={
                "range_events": int(figures["events"].sum()),
                "range_days_unfinished": days - figures.height,
                "range_known_from": str(
                    part.end + timedelta(days=horizon + feed.reporting_lag_days)
                ),
            }
        )

    params = {
        "feed": feed.name,
        "timezone": feed.city.timezone,
        "lag": feed.reporting_lag_days,
        "horizon": horizon,
    }
    return [outcomes, slice_checks(claims(target), OUTCOMES, target.name, [table, SLICES], params)]
