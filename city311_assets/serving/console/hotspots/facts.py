"""What a feed is and holds, the same for every selection: its days, categories and outcome.

What belongs here: what is read once from a published file. What does not: anything a filter
changes.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from city311_assets.feeds.registry import FEEDS
from city311_assets.gold.slices import HELD, Held
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.silver import RECORDS

OUTCOME_WORDS = {
    "arrest": "with an arrest",
    "closed_within_7_days": "closed within 7 days",
}
# Longer after a day than the clocks of any city: then the portal was asked after it had told all.
SURELY_TOLD = timedelta(days=3)

HELD_FEEDS = "select distinct feed from {table}"
CATEGORIES = """
    select category, count(*) as records, bool_or(origin = 'sample') as is_sample
    from {table} where feed = $feed group by category order by records desc, category
"""
WITHOUT_BOOKS = """
    select day, max(observed_until) as observed_until, count(*) as records
    from {records} where feed = $feed group by day order by day
"""
PLACES = f"""
    select cell as number, label as place, latitude, longitude
    from {CELLS} where feed = $feed and resolution = $resolution
"""
# Clockwise from the north, an eighth of the circle each.
COMPASS = (
    "north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west",
)  # fmt: skip
# Cells of one city differ in the last digits of their index.
DIGITS = 4


@dataclass(frozen=True, slots=True)
class FeedFacts:
    """What a published file holds of a feed.

    Attributes
    ----------
    title
        Its name for people.
    is_incidents
        Whether its records are reported crimes; else requests.
    first_day, last_day
        The first and last day held.
    newest_told_day
        The last day of which the portal had told all when it was asked.
    categories
        Names with their records, most first.
    outcome_words
        What its rates are of, after "records": `with an arrest`, `closed within 7 days`.
    lag_days
        How many of the newest days the portal withholds.
    is_sample
        Whether records are made up.
    default_first, default_last
        The period of a page that names none: the newest days told, with a whole month in them.
    """

    feed: str
    title: str
    is_incidents: bool
    first_day: date
    last_day: date
    newest_told_day: date
    categories: tuple[tuple[str, int], ...]
    outcome: str
    outcome_words: str
    lag_days: int
    is_sample: bool
    default_first: date
    default_last: date


def feeds_held(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """Return name and title of the feeds that a file has records of, in the registry's order."""

    def look() -> tuple[tuple[str, str], ...]:
        held: set[str] = set()
        for table in RECORDS.values():
            if snapshot.has(table):
                held |= set(snapshot.frame(HELD_FEEDS.format(table=table))["feed"].to_list())
        return tuple((name, feed.title) for name, feed in FEEDS.items() if name in held)

    return snapshot.once("hotspots feeds", look)


def feed_facts(snapshot: Snapshot, feed: str) -> FeedFacts | None:
    """Return what a file holds of a feed; None where it has no record of it or knows none such."""
    if feed not in FEEDS:
        return None
    return snapshot.once(("hotspots facts", feed), lambda: _facts(snapshot, feed))


def days_of(snapshot: Snapshot, feed: str) -> pl.DataFrame:
    """Return the days held of a feed: `day` and `is_told`, whether the portal had told all of it.

    A day that was asked for and had no record is held. The newest days that a portal withholds, and
    a day that was not over, are not told.
    """
    return snapshot.once(("hotspots days", feed), lambda: _days(snapshot, feed))


def labels(snapshot: Snapshot, feed: str, resolution: int) -> pl.DataFrame:
    """Return what people call the cells of a resolution, no two of them the same.

    `number` (H3), `cell` (the same, hex), `place` (as gold calls it, which several cells may share)
    and `label`: the place, and where it is shared, where in it the cell lies; null for both where
    there is no name.
    """

    def look() -> pl.DataFrame:
        if not snapshot.has(CELLS):
            texts = dict.fromkeys(("cell", "place", "label"), pl.String)
            return pl.DataFrame(schema={"number": pl.UInt64} | texts)
        return told_apart(snapshot.frame(PLACES, {"feed": feed, "resolution": resolution}))

    return snapshot.once(("hotspots labels", feed, resolution), look)


def told_apart(cells: pl.DataFrame) -> pl.DataFrame:
    """Return `number, cell, place, label` of cells given as `number, place, latitude, longitude`.

    Of cells that share a place the label says in which direction from their middle each lies, and
    has the last digits of its index where even that is shared.
    """
    north = pl.col("latitude") - pl.col("latitude").mean().over("place")
    east = (pl.col("longitude") - pl.col("longitude").mean().over("place")) * (
        pl.col("latitude").radians().cos()
    )
    eighth = (pl.arctan2(east, north).degrees() / 45).round().cast(pl.Int64) % len(COMPASS)
    side = eighth.replace_strict(dict(enumerate(COMPASS)), return_dtype=pl.String)
    hexes = pl.Series("cell", [format(one, "x") for one in cells["number"]], pl.String)
    sided = pl.format("{}, {}", "place", "side")
    return (
        cells.with_columns(hexes, side=side)
        .with_columns(digits=pl.col("cell").str.strip_chars_end("f").str.tail(DIGITS))
        .with_columns(sided=sided, alike=pl.len().over("place", "side"))
        .with_columns(
            label=pl.when(pl.len().over("place") == 1)
            .then("place")
            .when(pl.col("alike") == 1)
            .then("sided")
            .when(pl.len().over("place", "side", "digits") == 1)
            .then(pl.format("{} ({})", "sided", "digits"))
            .otherwise(pl.format("{} ({})", "sided", "cell"))
        )
        .with_columns(label=pl.when(pl.col("place").is_not_null()).then("label"))
        .select("number", "cell", "place", "label")
    )


def with_labels(
    snapshot: Snapshot, feed: str, resolution: int, cells: pl.DataFrame
) -> pl.DataFrame:
    """Add `cell` (hex) and `label` to cells given as `number`; one without a name has its index."""
    known = labels(snapshot, feed, resolution).drop("place")
    named = cells.join(known, on="number", how="left", maintain_order="left")
    if named["cell"].null_count():
        hexes = pl.Series("cell", [format(one, "x") for one in named["number"]], pl.String)
        named = named.with_columns(hexes)
    return named.with_columns(pl.col("label").fill_null(pl.format("cell {}", "cell")))


def label_of(snapshot: Snapshot, feed: str, resolution: int, cell: int) -> str:
    """Return what people call a cell; its index where it has no name."""
    found = labels(snapshot, feed, resolution).filter(pl.col("number") == cell)["label"]
    return (found.item() if len(found) else None) or f"cell {cell:x}"


def place_of(snapshot: Snapshot, feed: str, resolution: int, cell: int) -> str | None:
    """Return the place that a cell is named after, which others may share; None without one."""
    found = labels(snapshot, feed, resolution).filter(pl.col("number") == cell)["place"]
    return found.item() if len(found) else None


def _facts(snapshot: Snapshot, feed: str) -> FeedFacts | None:
    declared = FEEDS[feed]
    table = RECORDS[declared.table]
    if not snapshot.has(table):
        return None
    found = snapshot.frame(CATEGORIES.format(table=table), {"feed": feed})
    days = days_of(snapshot, feed)
    if found.is_empty() or days.is_empty():
        return None
    told = days.filter("is_told")["day"].to_list() or days["day"].to_list()
    first_day, newest_told = days["day"].to_list()[0], told[-1]
    after = newest_told + timedelta(days=1)
    whole_month = (after.replace(day=1) - timedelta(days=1)).replace(day=1)
    return FeedFacts(
        feed=feed,
        title=declared.title,
        is_incidents=declared.kind == "incident",
        first_day=first_day,
        last_day=days["day"].to_list()[-1],
        newest_told_day=newest_told,
        categories=tuple(found.select("category", "records").iter_rows()),
        outcome=declared.outcome,
        outcome_words=OUTCOME_WORDS[declared.outcome],
        lag_days=declared.reporting_lag_days,
        is_sample=bool(found["is_sample"].any()),
        default_first=max(whole_month, first_day),
        default_last=newest_told,
    )


def _days(snapshot: Snapshot, feed: str) -> pl.DataFrame:
    declared = FEEDS[feed]
    table = RECORDS[declared.table]
    has_books = snapshot.has(SLICES)
    query = (HELD if has_books else WITHOUT_BOOKS).format(
        records=table, slices=SLICES, where="feed = $feed"
    )
    held = Held(declared, snapshot.frame(query, {"feed": feed}))
    # The rule of gold asks day by day: of most days it is plain that they were told.
    until = pl.col("day").cast(pl.Datetime("us")) + SURELY_TOLD
    surely = pl.col("observed_until") >= until + timedelta(days=declared.reporting_lag_days)
    days = held.days.select("day", is_told=surely.fill_null(value=False))
    doubtful = days.filter(~pl.col("is_told"))["day"].to_list()
    told = [day for day in doubtful if not held.is_provisional(day)]
    return days.with_columns(is_told=pl.col("is_told") | pl.col("day").is_in(told))
