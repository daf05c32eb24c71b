"""Maps of what cases are about, read from the published file and kept while they are looked at.

What belongs here: which feeds and months have a map, and a map in memory with what every view of it
needs. What does not: which of its cases may leave the house, which is `atlas_pages`; what is chosen
of a map (`selection`), and how it is drawn.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from threading import Lock
from typing import Any, TypeVar

import polars as pl

from city311_assets.feeds.registry import FEEDS, feed_named
from city311_assets.serving.atlas_page import AtlasMonth, drawn, marks
from city311_assets.serving.atlas_pages import NEEDED, month_of
from city311_assets.serving.snapshots import Snapshot
from city311_assets.silver.cells import parents_of
from city311_assets.warehouse.tables.atlas import PROJECTIONS

Kept = TypeVar("Kept")

# More points turn slowly in a browser without a graphics card.
MOST_POINTS = 10_000
# As many as there are colours that differ for everybody.
COLOURED = 10
# A month of 100,000 cases takes about 100 MB.
MONTHS_KEPT = 4
RESOLUTIONS = (9, 10)
SEARCHED = ("caption", "kind", "cluster", "neighborhood", "category", "record_id")
MONTHS = f"select distinct feed, month from {PROJECTIONS} order by all"
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Atlas:
    """One feed's map of one month, ready to be looked at.

    Attributes
    ----------
    month
        What the published file has of it; its cases in order of `record_id`.
    cases
        The same with `haystack` (the words a search looks through, each after a space), `cell_9`
        and `cell_10` (UInt64, null without a point), and `is_drawn` (in the sample that is drawn).
    colours
        The colour of each of the largest clusters.
    """

    month: AtlasMonth
    cases: pl.DataFrame
    colours: dict[int, str]
    places: dict[str, int] = field(repr=False)

    @property
    def clusters(self) -> pl.DataFrame:
        """The clusters, the largest first."""
        return self.month.clusters

    def case(self, record_id: str | None) -> dict[str, Any] | None:
        """Return a case; None if the map does not have it."""
        place = self.places.get(record_id or "")
        return None if place is None else self.cases.row(place, named=True)

    def some(self, record_ids: list[str]) -> pl.DataFrame:
        """Return cases in the order asked for; those the map does not have are left out."""
        places = [self.places[record] for record in record_ids if record in self.places]
        return self.cases[places]

    def cluster(self, cluster_id: int | None) -> dict[str, Any] | None:
        """Return a cluster; None if the month does not have it."""
        found = self.clusters.filter(pl.col("cluster_id").eq_missing(cluster_id))
        return None if found.is_empty() else found.row(0, named=True)

    def found(self, text: str) -> pl.DataFrame | None:
        """Return the cases that have every word of a text; None if it has none.

        A word is found at the beginning of one: "tree" finds trees and no street.
        """
        words = words_of(text)
        if not words:
            return None
        has_all = pl.all_horizontal(
            pl.col("haystack").str.contains(f" {word}", literal=True) for word in words
        )
        return self.cases.filter(has_all)


def words_of(text: str) -> list[str]:
    """Return the words and numbers of a text, in small letters."""
    return WORD.findall(text.lower())


def months_by_feed(snapshot: Snapshot) -> dict[str, tuple[date, ...]]:
    """Return the months that have a map by feed, in order; none in an older file."""

    def look() -> dict[str, tuple[date, ...]]:
        if not all(snapshot.has(table) for table in NEEDED):
            return {}
        rows = snapshot.frame(MONTHS).filter(pl.col("feed").is_in([*FEEDS]))
        return {
            feed: tuple(rows.filter(pl.col("feed") == feed)["month"])
            for feed in FEEDS
            if feed in rows["feed"]
        }

    return snapshot.once("atlas months", look)


def atlas_of(snapshot: Snapshot, feed: str, month: date) -> Atlas:
    """Return a map; it is read once and kept as long as few others are asked for.

    Raises
    ------
    ValueError
        No feed has that name.
    """
    return keep(snapshot, ("atlas", feed, month), lambda: _read(snapshot, feed, month))


def keep(snapshot: Snapshot, key: object, make: Callable[[], Kept]) -> Kept:
    """Return what `make` returns, kept while it is among the `MONTHS_KEPT` asked for last."""
    lock, kept = snapshot.once("months kept", lambda: (Lock(), OrderedDict[object, Any]()))
    with lock:
        if key not in kept:
            kept[key] = make()
            while len(kept) > MONTHS_KEPT:
                kept.popitem(last=False)
        kept.move_to_end(key)
        return kept[key]


def _read(snapshot: Snapshot, feed: str, month: date) -> Atlas:
    read = month_of(snapshot.frame, feed_named(feed), month)
    clusters = read.clusters.sort(["size", "cluster_id"], descending=[True, False])
    cases = read.cases.unique("record_id", keep="last").sort("record_id")
    in_sample = drawn(cases, MOST_POINTS)["record_id"].implode()
    cases = cases.with_columns(
        is_drawn=pl.col("record_id").is_in(in_sample),
        haystack=_haystack(),
        **{f"cell_{one}": parents_of(pl.col("cell"), one) for one in RESOLUTIONS},
    )
    looks = marks(clusters["cluster_id"].head(COLOURED))
    return Atlas(
        month=AtlasMonth(
            feed=read.feed,
            title=read.title,
            month=read.month,
            cases=read.cases,
            clusters=clusters,
            events=read.events,
            left_out=read.left_out,
            is_provisional=read.is_provisional,
            told_until=read.told_until,
        ),
        cases=cases,
        colours={cluster: colour for cluster, (colour, _) in looks.items()},
        places={record: place for place, record in enumerate(cases["record_id"])},
    )


def _haystack() -> pl.Expr:
    """Return the words of all that is searched, in small letters, a space before each."""
    texts = pl.concat_str([pl.lit(""), *SEARCHED], separator=" ", ignore_nulls=True)
    return texts.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ")
