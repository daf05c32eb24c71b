"""What every silver record has in common: its newest version, typed, placed and timed.

What belongs here: rules that hold for requests and incidents alike. What does not: how long a
request took (`requests`), or what was charged (`incidents`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from city311_assets.feeds.clocks import to_utc, utc_instant, wall_time
from city311_assets.feeds.feed import BYTE_ORDER_MARK, Feed
from city311_assets.feeds.taxonomy import taxonomy
from city311_assets.silver.addresses import streets
from city311_assets.silver.areas import Areas
from city311_assets.silver.cells import cells_of, point_reasons
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS

TRUE, FALSE = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]
PLAIN_TEXTS = (
    "kind",
    "subkind",
    "description",
    "address",
    "neighborhood",
    "district",
    "police_district",
    "ward",
    "community_area",
    "source_channel",
)


@dataclass(frozen=True, slots=True)
class Sorted:
    """A bronze slice sorted: the records, each with its raw row, and the rows set aside."""

    accepted: pl.DataFrame
    rejected: pl.DataFrame


def newest_versions(raw: pl.DataFrame, feed: Feed) -> Sorted:
    """Keep each record's newest row of a day; set aside the older, nameless, untimed and untyped.

    Newest is what the portal changed last (`:updated_at`), then what the record says of itself,
    then the higher row number. `accepted` has bronze's columns; `rejected` the table's.
    """
    changed = wall_time(pl.col(feed.changed)) if feed.changed else pl.lit(None, pl.Datetime("us"))
    reason = (
        pl.when(pl.col("record_id").is_null())
        .then(pl.lit("no_record_id"))
        .when(wall_time(pl.col(feed.opened)).is_null())
        .then(pl.lit("opened_unreadable"))
        .when(text_of(feed, "kind").is_null())
        .then(pl.lit("no_kind"))
    )
    ranked = raw.with_columns(
        reason.alias("reason"),
        utc_instant(pl.col("row_updated_at")).alias("_updated"),
        changed.alias("_changed"),
    ).sort("_updated", "_changed", "row_id", nulls_last=False)
    place = ["day", "record_id"]
    is_newest = pl.int_range(pl.len()).over(place) == pl.len().over(place) - 1
    content = [name for name in raw.columns if name in RECORDS[feed.name].content]
    usable = ranked.filter(pl.col("reason").is_null()).with_columns(is_newest.alias("_is_newest"))
    aside = pl.concat(
        [
            ranked.filter(pl.col("reason").is_not_null()),
            usable.filter(~pl.col("_is_newest"))
            .drop("_is_newest")
            .with_columns(pl.lit("older_version").alias("reason")),
        ]
    )
    return Sorted(
        accepted=usable.filter("_is_newest").select(raw.columns).sort("day", "row_id"),
        rejected=aside.select(
            "feed",
            "day",
            "row_id",
            "record_id",
            "reason",
            pl.struct(content).struct.json_encode().alias("row"),
        )
        .select(REJECTED_RECORDS.names)
        .sort("day", "row_id"),
    )


def text_of(feed: Feed, column: str) -> pl.Expr:
    """Return the text of a silver column: trimmed, null where the feed says it means missing."""
    source = feed.fields.get(column)
    if source is None:
        return pl.lit(None, pl.String)
    return cleaned(pl.col(source), feed, column)


def cleaned(text: pl.Expr, feed: Feed, column: str) -> pl.Expr:
    """Return texts trimmed, without byte-order marks, null where they mean missing in a column."""
    bare = text.str.replace_all(BYTE_ORDER_MARK, "", literal=True).str.strip_chars()
    is_missing = bare.str.to_lowercase().is_in(sorted(feed.means_missing(column)))
    return pl.when(~is_missing).then(bare)


def flag_of(feed: Feed, column: str) -> pl.Expr:
    """Return the truth of a silver column; null where the text is neither true nor false."""
    text = text_of(feed, column).str.to_lowercase()
    return pl.when(text.is_in(TRUE)).then(True).when(text.is_in(FALSE)).then(False)


def per_kind(kind: pl.Expr, answer: Callable[[str], object], dtype: type[pl.DataType]) -> pl.Expr:
    """Return a function's answer for each published kind, asked once a kind; null stays null."""

    def answered(kinds: pl.Series) -> pl.Series:
        known = kinds.unique().drop_nulls()
        answers = pl.Series([answer(one) for one in known.to_list()], dtype=dtype)
        return kinds.replace_strict(known, answers, default=None)

    return kind.map_batches(answered, return_dtype=dtype)


def category_of(kind: pl.Expr, name: str) -> pl.Expr:
    """Return the category of published kinds in a taxonomy; `unmapped` where it has none."""
    return per_kind(kind, taxonomy(name).category, pl.String)


def common_columns(accepted: pl.DataFrame, feed: Feed, areas: Areas) -> pl.DataFrame:
    """Return the columns that all silver records have, a row for each accepted bronze row."""
    texts = accepted.with_columns(
        **{f"_{name}": text_of(feed, name) for name in PLAIN_TEXTS},
        _latitude_text=text_of(feed, "latitude"),
        _longitude_text=text_of(feed, "longitude"),
        opened_at=wall_time(pl.col(feed.opened)),
    ).with_columns(
        _latitude=pl.col("_latitude_text").cast(pl.Float64, strict=False),
        _longitude=pl.col("_longitude_text").cast(pl.Float64, strict=False),
        opened_at_utc=to_utc(pl.col("opened_at"), feed.city.timezone),
    )
    is_given = pl.col("_latitude_text").is_not_null() | pl.col("_longitude_text").is_not_null()
    placed = texts.with_columns(
        _point_reason=point_reasons(
            pl.col("_latitude"), pl.col("_longitude"), is_given, feed.city.box
        )
    ).with_columns(
        pl.when(pl.col("_point_reason").is_null()).then("_latitude").alias("_latitude"),
        pl.when(pl.col("_point_reason").is_null()).then("_longitude").alias("_longitude"),
    )
    located = areas.located(placed["_latitude"], placed["_longitude"])
    cells = cells_of(placed["_latitude"], placed["_longitude"])
    seconds = pl.col("opened_at").dt.epoch("us") % (12 * 3600 * 1_000_000)
    before, after = feed.record_url.split("{record_id}")
    origin = pl.col("fetched_from")
    columns = {
        "category": category_of(pl.col("_kind"), feed.taxonomy),
        "taxonomy": pl.lit(feed.taxonomy),
        "kind": pl.col("_kind").str.replace_all(r"\s+", " "),
        "subkind": pl.col("_subkind"),
        "description": pl.col("_description"),
        "address": pl.col("_address"),
        "street": streets(pl.col("_address")),
        "neighborhood": pl.coalesce("_neighborhood", "_located"),
        "neighborhood_reported": pl.col("_neighborhood"),
        "neighborhood_located": pl.col("_located"),
        "district": pl.col("_district"),
        "police_district": pl.col("_police_district"),
        "ward": pl.col("_ward"),
        "community_area": pl.col("_community_area"),
        "latitude": pl.col("_latitude"),
        "longitude": pl.col("_longitude"),
        "cell": pl.col("_cell"),
        "has_point": pl.col("_point_reason").is_null(),
        "point_reason": pl.col("_point_reason"),
        "hour": pl.col("opened_at").dt.hour().cast(pl.UInt8),
        "weekday": pl.col("opened_at").dt.weekday().cast(pl.UInt8),
        "is_time_certain": seconds != 0,
        "source_channel": pl.col("_source_channel"),
        "record_url": pl.lit(before) + pl.col("record_id") + pl.lit(after),
        "origin": pl.when(origin.is_in(["portal", "sample"]))
        .then(origin)
        .otherwise(pl.lit("file")),
    }
    return placed.with_columns(located.alias("_located"), cells.alias("_cell")).select(
        "feed",
        "day",
        "record_id",
        "opened_at",
        "opened_at_utc",
        "observed_until",
        *(expression.alias(name) for name, expression in columns.items()),
    )
