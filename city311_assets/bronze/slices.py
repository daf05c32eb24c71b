"""Slices: which days of a feed bronze holds, since when, and which must be asked for again.

Written by the feed's bronze asset, in the same transaction as the slice itself: a day that was
never made has no row here, an empty one has.
"""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Session
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.table import Table

HELD = f"from {SLICES} where {SLICES.where}"
KNOWN = f"select 1 from {SLICES} where feed = $feed limit 1"
# Of a warehouse that was filled before these books were kept; its empty days are not known.
ADOPT = f"""
    insert into {SLICES} by name
    select feed, day, count(*) as rows,
        max(observed_until) filter (fetched_from in ('portal', 'sample')) as asked_at
    from {{table}} where feed = $feed group by feed, day
"""
MARK_STALE = f"""
    update {SLICES} set marked_stale_at = $at where feed = $feed and day in (select day from stale)
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a source was asked for, and when (UTC); a file that tells some rows is not complete.

    `now` is when the answer is written: an instant after it was told by a clock that was wrong.
    None believes them all.
    """

    part: Slice
    at: datetime
    is_complete: bool
    now: datetime | None = None


def told_by_then(instant: str, now: datetime | None) -> pl.Expr:
    """Return a column of instants, null where one is later than `now`.

    A host's clock that was fast for a night has stamped what it wrote with times that are still to
    come; believed, they would make every answer until then the older one.
    """
    if now is None:
        return pl.col(instant)
    return pl.when(pl.col(instant) <= now).then(instant).alias(instant)


def slices(held: pl.DataFrame, rows: pl.DataFrame, asked: Asked) -> pl.DataFrame:
    """Return the asked days in the table's columns, after a write.

    `held` are the days before it, `rows` the bronze rows after it (a column `day` is enough).
    """
    counted = rows.group_by("day").agg(pl.len().cast(pl.Int64).alias("rows"))
    if asked.is_complete:
        held = held.with_columns(told_by_then("asked_at", asked.now))
        days = pl.DataFrame({"day": list(asked.part.days)}, schema={"day": pl.Date})
    else:
        days = pl.concat([held.select("day"), counted.select("day")]).unique()
    at = pl.lit(asked.at if asked.is_complete else None, pl.Datetime("us"))
    known = days.join(counted, on="day", how="left").join(held.drop("rows"), on="day", how="left")
    return (
        known.with_columns(
            pl.lit(asked.part.name).alias("feed"),
            pl.col("rows").fill_null(0),
            pl.max_horizontal("asked_at", at).alias("asked_at"),
        )
        .with_columns(
            # Answered since: the mark has done its work.
            pl.when(pl.col("asked_at").is_null() | (pl.col("asked_at") < pl.col("marked_stale_at")))
            .then("marked_stale_at")
            .alias("marked_stale_at")
        )
        .select(SLICES.names)
        .sort("day")
    )


def stale_days(elsewhere: pl.DataFrame, rows: pl.DataFrame, asked_at: datetime) -> pl.DataFrame:
    """Return the other days (`day`) that hold a record of these rows from an earlier look.

    `elsewhere` has `record_id, day, observed_until` of records that other days hold. `rows` are
    those new to their day: a number that a portal lists under two days all along is no move, and
    its days would mark each other for ever.
    """
    return (
        elsewhere.join(rows.select("record_id").drop_nulls().unique(), on="record_id", how="semi")
        .filter(pl.col("observed_until") < asked_at)
        .select(pl.col("day").unique().sort())
    )


def note_slices(session: Session, table: Table, rows: pl.DataFrame, asked: Asked) -> None:
    """Keep the books of a write to a bronze table, whose rows are now these."""
    if session.read(KNOWN, asked.part.params).is_empty():
        session.run(ADOPT.format(table=table), asked.part.params)
    held = session.read(HELD, asked.part.params)
    session.replace(SLICES, slices(held, rows, asked), asked.part)


def mark_stale(
    session: Session, arrived: pl.DataFrame, elsewhere: pl.DataFrame, asked: Asked
) -> list[str]:
    """Mark the other days that a write makes doubtful, and return them."""
    stale = stale_days(elsewhere, arrived, asked.at)
    session.run(MARK_STALE, {"feed": asked.part.name, "at": asked.at}, stale=stale)
    return stale["day"].cast(pl.String).to_list()
