"""Silver 311 requests: one row per request, its newest version, typed, placed and timed.

How long a request took is decided here, and nowhere else.
"""

import dagster as dg
import polars as pl

from city311_assets.feeds.clocks import to_utc, wall_time
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.taxonomy import normalized
from city311_assets.silver.areas import Areas
from city311_assets.silver.assets import record_assets
from city311_assets.silver.records import cleaned, common_columns, flag_of, per_kind, text_of
from city311_assets.warehouse.checks import Property
from city311_assets.warehouse.tables.silver import REQUESTS

MICROSECONDS_PER_HOUR = 3_600_000_000

NEITHER_HOURS_NOR_REASON = f"""
    from {REQUESTS} where {REQUESTS.where} and (
        (hours_to_close is null) = (hours_to_close_reason is null) or hours_to_close < 0)
"""


def closings(
    opened_at: pl.Expr, closed: pl.Expr, observed_until: pl.Expr, timezone: str
) -> dict[str, pl.Expr]:
    """Return `closed_at, closed_at_utc, hours_to_close, hours_to_close_reason`.

    Parameters
    ----------
    opened_at
        Local wall time of opening.
    closed
        The published text of the closing time; null while open.
    observed_until
        UTC instant after which nothing can be known: a later closing counts as open.
    timezone
        Name of the city's zone; hours are counted between instants, so the night the clock goes
        back has one more.
    """
    opened_utc = to_utc(opened_at, timezone)
    closed_at = wall_time(closed)
    closed_utc = to_utc(closed_at, timezone)
    is_later_known = closed_utc > observed_until
    # Dates alone, both midnight: the request took some part of a day that nobody wrote down.
    is_day_only = (closed_at == opened_at) & (opened_at.dt.time() == pl.time(0, 0))
    reason = (
        pl.when(closed.is_null())
        .then(pl.lit("open"))
        .when(closed_at.is_null())
        .then(pl.lit("closed_unreadable"))
        .when(is_later_known)
        .then(pl.lit("closed_after_observed"))
        .when(closed_utc < opened_utc)
        .then(pl.lit("closed_before_opened"))
        .when(is_day_only)
        .then(pl.lit("closed_same_day_untimed"))
    )
    hours = (closed_utc - opened_utc).dt.total_microseconds() / MICROSECONDS_PER_HOUR
    return {
        "closed_at": pl.when(~is_later_known).then(closed_at),
        "closed_at_utc": pl.when(~is_later_known).then(closed_utc),
        "hours_to_close": pl.when(reason.is_null()).then(hours),
        "hours_to_close_reason": reason,
    }


def is_administrative(kind: pl.Expr, hours: pl.Expr, feed: Feed) -> pl.Expr:
    """Return whether requests ask for no work: by kind, or closed in their second of opening."""
    kinds = {normalized(one) for one in feed.administrative_kinds}
    by_kind = per_kind(kind, lambda one: normalized(one) in kinds, pl.Boolean)
    return by_kind | (hours == 0).fill_null(value=False)


def request_rows(accepted: pl.DataFrame, feed: Feed, areas: Areas) -> pl.DataFrame:
    """Return accepted bronze rows as requests, in the table's columns."""
    common = common_columns(accepted, feed, areas)
    closed = pl.lit(None, pl.String)
    if feed.closed:
        closed = cleaned(pl.col(feed.closed), feed, "closed_at")
    link = text_of(feed, "media_url")
    is_object = link.str.starts_with("{")
    marked = flag_of(feed, "is_duplicate")
    is_marked_by_status = (
        text_of(feed, "status").str.to_lowercase().is_in(sorted(feed.duplicate_statuses))
    )
    timed = closings(
        wall_time(pl.col(feed.opened)), closed, pl.col("observed_until"), feed.city.timezone
    )
    own = accepted.select(
        **timed,
        status=text_of(feed, "status"),
        status_notes=text_of(feed, "status_notes"),
        is_duplicate=pl.when(is_marked_by_status).then(True).otherwise(marked),
        parent_record_id=text_of(feed, "parent_record_id"),
        agency=text_of(feed, "agency"),
        media_url=pl.when(is_object)
        .then(link.str.json_path_match("$.url"))
        .otherwise(link)
        .replace("", None),
    )
    return (
        common.hstack(own)
        .with_columns(
            is_administrative(pl.col("kind"), pl.col("hours_to_close"), feed).alias(
                "is_administrative"
            )
        )
        .select(REQUESTS.names)
    )


def requests(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's slices of `silver.requests` and of what was set aside."""
    return record_assets(
        feed,
        REQUESTS,
        request_rows,
        f"{feed.title} opened on one city-local day: one row a request, its newest version, typed, "
        "placed in a cell, with the hours it took or why there are none.",
        [
            Property(
                "a_duration_or_a_reason",
                "Every request has the hours it took, not negative, or the reason it has none.",
                NEITHER_HOURS_NOR_REASON,
            )
        ],
    )
