"""Atlas duplicates: pairs of cases that are probably one event.

A day looks back on 8 days of cases and photos, and on 61 of parents. They are read by SQL and are
no partition mapping; what changed in them since is repaired when the day is made again.
"""

import dagster as dg
import polars as pl

from city311_assets.atlas.methods.duplicates import (
    MOST_HOURS,
    MOST_METRES,
    MOST_PARENT_DAYS,
    WINDOW_DAYS,
    duplicate_pairs,
)
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.atlas import DUPLICATES, PHOTOS
from city311_assets.warehouse.tables.silver import REQUESTS

# City-local days in which so many times 24 hours fit, also over a clock change.
PARENT_WINDOW_DAYS = MOST_PARENT_DAYS + 1
LIMITS = {
    "metres": MOST_METRES,
    "hours": MOST_HOURS,
    "parent_hours": MOST_PARENT_DAYS * 24.0,
}
REASONS = ("parent", "same_photo", "near_photo", "near_text")

# What an agency writes at closing is no text of the case: it would make pairs of its phrases.
CASES = f"""
    with held as (
        select record_id, day, opened_at_utc, latitude, longitude, description as text,
            parent_record_id
        from {REQUESTS} where {REQUESTS.where}
    ), own as (from held where day >= $first)
    from held
    where day >= $recent
        or record_id in (select parent_record_id from own where parent_record_id is not null)
        or parent_record_id in (select record_id from own)
"""
PHOTOS_OF_CASES = f"""
    select record_id, list(distinct photo_id) as photo_ids,
        list(distinct phash) filter (phash is not null) as phashes
    from {PHOTOS} where {PHOTOS.where} and photo_id is not null
    group by record_id
"""
OUT_OF_REACH = f"""
    select day, record_id from {DUPLICATES} where {DUPLICATES.where} and not (
        (list_contains(reasons, 'parent') and hours_apart <= $parent_hours)
        or (hours_apart <= $hours and coalesce(
            distance_m <= $metres, list_contains(reasons, 'same_photo')
        ))
    )
"""
NOT_THE_LATER = f"""
    select pair.day, pair.record_id, pair.other_day
    from (from {DUPLICATES} where {DUPLICATES.where}) as pair
    anti join {REQUESTS} as own on own.feed = pair.feed and own.day = pair.day
        and own.record_id = pair.record_id and pair.hours_apart >= 0
        and (pair.hours_apart > 0 or pair.other_id < pair.record_id)
"""


def duplicate_rows(
    cases: pl.DataFrame, photos: pl.DataFrame, feed: str, part: Slice
) -> pl.DataFrame:
    """Return the pairs of a slice's cases, in the table's columns."""
    known = cases.join(photos, on="record_id", how="left")
    pairs = duplicate_pairs(known, part.start, max(part.days))
    return pairs.with_columns(pl.lit(feed).alias("feed")).select(DUPLICATES.names)


def duplicates(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's pairs of cases, and what must hold of them."""
    key = DUPLICATES.key(feed.name)

    @dg.asset(
        key=key,
        deps=[PHOTOS.key(feed.name), REQUESTS.key(feed.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=DUPLICATES.metadata | {"look_back_days": PARENT_WINDOW_DAYS},
        kinds={"duckdb", "polars"},
        description=f"Pairs of {feed.title} that are probably one event, by the day of the later: "
        "the portal says so, or they have the same photo, nearly the same photo or nearly the same "
        "free text within 150 m and 7 days.",
    )
    def duplicates(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Pairs of one feed's cases on city-local days."""
        part = Slice.of(context, feed.name)
        recent = part.reaching_back(days=WINDOW_DAYS)
        reach = part.reaching_back(days=PARENT_WINDOW_DAYS)
        with warehouse.connect() as conn:
            session = Session(conn)
            session.prepare(REQUESTS, PHOTOS)
            cases = session.read(
                CASES, reach.params | {"first": part.start, "recent": recent.start}
            )
            photos = session.read(PHOTOS_OF_CASES, recent.params)
        rows = duplicate_rows(cases, photos, feed.name, part)
        warehouse.replace(DUPLICATES, rows, part)
        counted = [
            pl.col("reasons").list.contains(reason).sum().alias(reason) for reason in REASONS
        ]
        figures = rows.group_by("day").agg(pl.len().alias("rows"), *counted)
        note_days(context, key, figures, part)
        named = cases.filter(pl.col("day") >= part.start)["parent_record_id"].drop_nulls()
        return dg.MaterializeResult(
            metadata={
                "range_pairs": rows.height,
                "range_cases_in_a_pair": rows["record_id"].n_unique(),
                "range_parents_not_held": int((~named.is_in(cases["record_id"].implode())).sum()),
            }
        )

    claims = [
        Property(
            "within_reach",
            "Both cases are within 150 m and 7 days, unless the portal names one as the other's "
            "parent or they have the same photo and no two points.",
            OUT_OF_REACH,
        ),
        Property(
            "later_case_of_the_day",
            "The case of a pair is one of its day, and was opened after the other.",
            NOT_THE_LATER,
        ),
    ]
    return [duplicates, slice_checks(claims, DUPLICATES, feed.name, [REQUESTS], LIMITS)]
