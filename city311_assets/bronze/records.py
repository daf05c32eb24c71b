"""Bronze records: what a portal says today about the records opened on a day, as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from city311_assets.bronze.slices import HELD, Asked, mark_stale, note_slices, told_by_then
from city311_assets.bronze.sources import Sources, day_counts, refuse_mixed_origins
from city311_assets.bronze.withdrawn_records import follow_moved_records, withdrawn_records
from city311_assets.clients.socrata import Answer
from city311_assets.feeds.clocks import wall_time
from city311_assets.feeds.feed import BYTE_ORDER_MARK, ROW_CREATED_AT, ROW_ID, ROW_UPDATED_AT, Feed
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.warehouse.checks import Property, note_verdicts, on_several_days, slice_checks
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS, WITHDRAWN_RECORDS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.table import Table

CULPRITS_SHOWN = 20

SLICE = "from {table} where {where}"
ELSEWHERE = """
    select record_id, day, max(observed_until) as observed_until from {table}
    where feed = $feed and (day < $start or day >= $end)
        and record_id in (select record_id from wanted)
    group by record_id, day
"""
COUNTS = "select day, count(*) as rows from {table} where {where} group by day"


def record_number(published: pl.Expr) -> pl.Expr:
    """Return records' numbers without what surrounds them, spaces or a byte-order mark."""
    bare = published.str.replace_all(BYTE_ORDER_MARK, "", literal=True).str.strip_chars()
    return bare.replace("", None)


def bronze_rows(
    feed: Feed, answer: Answer, fetched_from: str, fetched_at: datetime
) -> pl.DataFrame:
    """Return an answer's rows in the columns of the feed's bronze table.

    Raises
    ------
    ValueError
        A row's time of opening cannot be read: it belongs to no day.
    """
    rows = answer.rows.select(
        pl.lit(feed.name).alias("feed"),
        wall_time(pl.col(feed.opened)).dt.date().alias("day"),
        pl.col(ROW_ID).alias("row_id"),
        record_number(pl.col(feed.record_id)).alias("record_id"),
        pl.col(ROW_CREATED_AT).alias("row_created_at"),
        pl.col(ROW_UPDATED_AT).alias("row_updated_at"),
        *feed.column_names,
        "extra",
        pl.lit(fetched_from).alias("fetched_from"),
        pl.lit(answer.observed_until).cast(pl.Datetime("us")).alias("observed_until"),
        pl.lit(fetched_at).cast(pl.Datetime("us")).alias("fetched_at"),
    )
    lost = rows.filter(pl.col("day").is_null())
    if not lost.is_empty():
        shown = lost.select("row_id", feed.opened).head(CULPRITS_SHOWN).rows()
        raise ValueError(
            f"{lost.height} rows of {feed.name} have no readable {feed.opened}: {shown}; "
            "if it is a new spelling, add it to feeds/clocks.py"
        )
    return rows


def not_older(
    held: pl.DataFrame,
    books: pl.DataFrame,
    rows: pl.DataFrame,
    observed_until: datetime,
    now: datetime,
) -> pl.DataFrame:
    """Return a complete answer's rows, but of a day that was observed later what is held of it.

    Of two runs over the same day the one that asked last is right, whichever writes last. `books`
    (`day, asked_at`) know it of days that were found empty too. What says that it was observed
    after `now` was stamped by a clock that was wrong, and is no later.
    """
    known = [
        held.select("day", pl.col("observed_until").alias("at")),
        books.select("day", pl.col("asked_at").alias("at")),
    ]
    sound = pl.concat(known).with_columns(told_by_then("at", now))
    by_day = sound.group_by("day").agg(pl.col("at").max())
    later = by_day.filter(pl.col("at") > observed_until)
    return pl.concat(
        [rows.join(later, on="day", how="anti"), held.join(later, on="day", how="semi")]
    )


def joined(
    held: pl.DataFrame,
    rows: pl.DataFrame,
    withdrawn: pl.DataFrame,
    elsewhere: pl.DataFrame,
    absent: Sequence[str] = (),
) -> pl.DataFrame:
    """Add a partial answer's rows to the rows held: of each record what was observed later stays.

    A record withdrawn, or seen under another day (`elsewhere`), since the answer was observed stays
    so. Columns that the answer does not have at all (`absent`) keep the held values.
    """
    keys = ["day", "record_id"]
    seen = held.group_by(keys).agg(pl.col("observed_until").max().alias("until"))
    gone = withdrawn.select(*keys, pl.col("gone_at").alias("until"))
    moved = (
        rows.select(keys)
        .unique()
        .join(elsewhere.select("record_id", pl.col("observed_until").alias("until")), "record_id")
    )
    known = pl.concat([seen, gone, moved]).group_by(keys).agg(pl.col("until").max())
    newer = (
        rows.join(known, on=keys, how="left")
        .filter(pl.col("until").is_null() | (pl.col("observed_until") >= pl.col("until")))
        .drop("until")
    )
    if absent:
        before = held.sort("observed_until", "row_id").unique(keys, keep="last")
        carried = newer.select(keys).join(
            before.select(*keys, *absent), on=keys, how="left", maintain_order="left"
        )
        newer = newer.with_columns(carried[name] for name in absent)
    kept = held.join(newer, on=keys, how="anti").join(newer, on="row_id", how="anti")
    return pl.concat([kept, newer])


def changes_by_day(held: pl.DataFrame, rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return by day how many rows there are now, and how many records differ from before.

    Columns `day, rows, added, changed, unchanged, gone`; a record without a number goes by its row.
    """

    def contents(frame: pl.DataFrame) -> pl.DataFrame:
        record = pl.coalesce("record_id", "row_id").alias("record")
        content = pl.struct(name for name in table.content if name != "row_id").hash(seed=311)
        return frame.group_by("day", record).agg(
            content.sort().implode().hash(seed=311).first().alias("content")
        )

    both = contents(held).join(
        contents(rows), on=["day", "record"], how="full", coalesce=True, suffix="_now"
    )
    was, now = pl.col("content").is_not_null(), pl.col("content_now").is_not_null()
    is_same = pl.col("content") == pl.col("content_now")
    counted = both.group_by("day").agg(
        (now & ~was).sum().cast(pl.Int64).alias("added"),
        (now & was & ~is_same).sum().cast(pl.Int64).alias("changed"),
        (now & was & is_same).sum().cast(pl.Int64).alias("unchanged"),
        (was & ~now).sum().cast(pl.Int64).alias("gone"),
    )
    heights = rows.group_by("day").agg(pl.len().cast(pl.Int64).alias("rows"))
    return (
        counted.join(heights, on="day", how="left")
        .with_columns(pl.col("rows").fill_null(0))
        .sort("day")
    )


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: the changes by day, and other days that it makes doubtful."""

    changes: pl.DataFrame
    stale_days: list[str]


def write(
    session: Session,
    feed: Feed,
    answer: Answer,
    origin: str,
    part: Slice,
    *,
    now: datetime | None = None,
) -> Written:
    """Replace a slice by an answer, and keep what it withdraws.

    `now` is the instant of the sources' clock, UTC; default: this machine's.
    """
    fetched_at = datetime.now(UTC).replace(tzinfo=None)
    now = now.astimezone(UTC).replace(tzinfo=None) if now else fetched_at
    table = RECORDS[feed.name]
    session.prepare(table, WITHDRAWN_RECORDS, SLICES)
    refuse_mixed_origins(session, origin)
    held = session.read(SLICE.format(table=table, where=table.where), part.params)
    rows = bronze_rows(feed, answer, origin, fetched_at)
    earlier = session.read(
        SLICE.format(table=WITHDRAWN_RECORDS, where=WITHDRAWN_RECORDS.where), part.params
    )
    wanted = pl.concat([frame.select("record_id") for frame in (held, earlier, rows)]).unique()
    elsewhere = session.read(ELSEWHERE.format(table=table), part.params, wanted=wanted)
    if answer.is_complete:
        books = session.read(HELD, part.params)
        rows = not_older(held, books, rows, answer.observed_until, now)
    else:
        rows = joined(held, rows, earlier, elsewhere, answer.absent)
    gone = withdrawn_records(held, rows, earlier, elsewhere, answer.observed_until)
    session.replace(table, rows, part)
    session.replace(WITHDRAWN_RECORDS, gone, part)
    follow_moved_records(session, rows, part.params)
    asked = Asked(part, answer.observed_until, answer.is_complete, now)
    arrived = rows.join(held, on=["day", "record_id"], how="anti")
    note_slices(session, table, rows, asked)
    stale = mark_stale(session, arrived, elsewhere, asked)
    return Written(changes_by_day(held, rows, table), stale)


def records(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's bronze records and withdrawn records, and what must hold of them."""
    table = RECORDS[feed.name]
    key, withdrawn_key = table.key(feed.name), WITHDRAWN_RECORDS.key(feed.name)

    @dg.multi_asset(
        name=f"bronze_{feed.name}",
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        specs=[
            dg.AssetSpec(
                key,
                description=f"{feed.title} opened on one city-local day, as "
                f"{feed.city.portal} publishes them, every value as text. {feed.licence}.",
                metadata=table.metadata,
                kinds={"duckdb", "socrata"},
            ),
            dg.AssetSpec(
                withdrawn_key,
                description=f"{feed.title} that a day held and the portal no longer returns for "
                "that day: withdrawn, or moved to another day. Kept whole.",
                metadata=WITHDRAWN_RECORDS.metadata,
                kinds={"duckdb", "socrata"},
            ),
        ],
    )
    def records(
        context: dg.AssetExecutionContext, warehouse: Warehouse, sources: Sources
    ) -> tuple[dg.MaterializeResult, dg.MaterializeResult]:
        """Records of one feed opened on city-local days, as the portal publishes them."""
        part = Slice.of(context, feed.name)
        with sources.records_of(feed) as source:
            answer = source.records(part.start, part.end)
        if answer.undeclared:
            context.log.warning(f"kept in `extra`, not declared: {', '.join(answer.undeclared)}")
        written = warehouse.write(
            lambda session: write(session, feed, answer, sources.origin, part, now=sources.now())
        )
        changes = written.changes
        note_days(context, key, changes, part)
        gone = changes.select("day", pl.col("gone").alias("rows"))
        note_days(context, withdrawn_key, gone, part)
        totals = changes.drop("day").sum().to_dicts()[0]
        metadata = {
            **{f"range_{name}": value for name, value in totals.items()},
            "observed_until": str(answer.observed_until),
            "origin": sources.origin,
            "undeclared_columns": list(answer.undeclared),
            "days_to_ask_again": written.stale_days,
        }
        return (
            dg.MaterializeResult(asset_key=key, metadata=metadata),
            dg.MaterializeResult(asset_key=withdrawn_key),
        )

    @dg.asset_check(asset=key, partitions_def=DAYS)
    def counts_equal_the_portal(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse, sources: Sources
    ) -> dg.AssetCheckResult:
        """Every day holds as many rows as the portal counts; a file counts only its selection."""
        part = Slice.of(context, feed.name)
        (spec,) = context.check_specs
        if sources.is_partial:
            note_verdicts(context, spec, [], part)
            return dg.AssetCheckResult(passed=True, metadata={"not compared": sources.origin})
        held = warehouse.read(COUNTS.format(table=table, where=table.where), part, [table])
        with sources.records_of(feed) as source:
            told = day_counts(source.counts_by_day(part.start, part.end))
        days = held.join(told, on="day", how="full", coalesce=True, suffix="_told").fill_null(0)
        offenders = days.filter(pl.col("rows") != pl.col("rows_told")).sort("day")
        note_verdicts(context, spec, offenders["day"].to_list(), part)
        return dg.AssetCheckResult(
            passed=offenders.is_empty(),
            metadata={
                "held": int(days["rows"].sum()),
                "told": int(days["rows_told"].sum()),
                "days": [
                    f"{day}: held {rows}, told {rows_told}"
                    for day, rows, rows_told in offenders.head(CULPRITS_SHOWN).iter_rows()
                ],
            },
        )

    claim = Property(
        "ids_on_one_day_only",
        "A record stands under one day of opening only.",
        on_several_days(table),
        is_blocking=False,
    )
    return [records, counts_equal_the_portal, slice_checks([claim], table, feed.name)]
