"""Withdrawn records: what a slice held and the portal no longer returns. Nothing is forgotten.

Written by the feed's bronze asset, in the same transaction as the slice itself.
"""

from datetime import datetime

import polars as pl

from city311_assets.warehouse.resource import Session
from city311_assets.warehouse.tables.bronze import WITHDRAWN_RECORDS

# A record withdrawn from one day and now returned for another has moved there.
FOLLOW_MOVED_RECORDS = f"""
    merge into {WITHDRAWN_RECORDS} as gone
    using (select record_id, min(day) as day from arrived group by record_id) as now
    on gone.feed = $feed and gone.record_id = now.record_id and gone.day <> now.day
        and (gone.day < $start or gone.day >= $end)
    when matched then update set moved_to_day = now.day
"""


def withdrawn_records(
    held: pl.DataFrame,
    rows: pl.DataFrame,
    earlier: pl.DataFrame,
    elsewhere: pl.DataFrame,
    gone_at: datetime,
) -> pl.DataFrame:
    """Return a slice's withdrawn records, in the table's columns.

    Parameters
    ----------
    held
        The bronze rows of the slice before this write.
    rows
        The bronze rows of the slice after it.
    earlier
        The slice's withdrawn records before this write; one that came back leaves them.
    elsewhere
        `record_id, day` (and more) of records that other slices hold.
    gone_at
        When the portal was asked, UTC.
    """
    place = ["day", "record_id"]
    gone = (
        held.filter(pl.col("record_id").is_not_null())
        .sort("row_id")
        .unique(place, keep="last", maintain_order=True)
        .select(
            "feed",
            *place,
            pl.col("observed_until").alias("last_seen_at"),
            pl.lit(gone_at).cast(pl.Datetime("us")).alias("gone_at"),
            pl.lit(None, pl.Date).alias("moved_to_day"),
            pl.struct(pl.all()).struct.json_encode().alias("row"),
        )
    )
    missing = pl.concat([earlier, gone.join(earlier, on=place, how="anti")]).join(
        rows, on=place, how="anti"
    )
    now_at = (
        pl.concat([rows.select("record_id", "day"), elsewhere.select("record_id", "day")])
        .drop_nulls()
        .group_by("record_id")
        .agg(pl.col("day").min().alias("now_at"))
    )
    return (
        missing.join(now_at, on="record_id", how="left")
        .with_columns(pl.coalesce("now_at", "moved_to_day").alias("moved_to_day"))
        .select(WITHDRAWN_RECORDS.names)
        .sort(place)
    )


def follow_moved_records(
    session: Session, arrived: pl.DataFrame, params: dict[str, object]
) -> None:
    """Note in other days' withdrawn records that some of them have arrived in this slice."""
    session.run(FOLLOW_MOVED_RECORDS, params, arrived=arrived.select("record_id", "day"))
