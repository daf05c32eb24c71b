"""Effects of one month, read from the published file and kept while they are looked at.

What belongs here: which feeds and months have effects, their tables in memory, and the pairs of one
case. What does not: what is said of them (`answers`), and how they are drawn.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from city311_assets.feeds.registry import FEEDS, feed_named
from city311_assets.serving.atlas_page import AtlasMonth
from city311_assets.serving.console.atlas.months import Atlas, atlas_of, keep
from city311_assets.serving.console.atlas.months import months_by_feed as months_with_a_map
from city311_assets.serving.effects_page import MOST_CONTROLS, SIGNIFICANT_BELOW, EffectsMonth
from city311_assets.serving.effects_page import estimators as estimators_in
from city311_assets.serving.effects_pages import NEEDED
from city311_assets.serving.effects_pages import effects_of as read_effects
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.causal import ATT, DESIGN, MATCHED_PAIRS
from city311_assets.warehouse.tables.silver import REQUESTS

IN_MONTH = "where feed = $feed and month = $month"
MONTHS = f"""
    select distinct feed, month from {DESIGN}
    semi join {ATT} using (feed, month) order by all
"""
# A hash of the id decides the order, and so nothing that could be of interest does.
CASES = f"""
    select record_id, neighborhood, bool_or(weight is not null) as is_used
    from {MATCHED_PAIRS} {IN_MONTH} group by record_id, neighborhood
    order by md5(record_id), record_id
"""
FIRST_DAY = f"select min(day) as day from {REQUESTS} where feed = $feed and day >= $first"
PAIRS = f"""
    select record_id, control_id, neighborhood, control_neighborhood, match_rank, similarity,
        is_within_caliper, weight, stratum, restricted_hours, control_restricted_hours
    from {MATCHED_PAIRS} {IN_MONTH} and record_id = $record_id and match_rank <= $most
    order by match_rank, control_id
"""


@dataclass(frozen=True)
class Effects:
    """One feed's effects of one month, ready to be looked at.

    Attributes
    ----------
    month
        The tables, without pairs.
    atlas
        The map with the cases that may be shown; None where the month has none.
    cases
        Cases with controls that the map shows, in an order that tells nothing: `record_id`,
        `neighborhood`, `is_used`.
    cases_held
        How many the month has.
    first_day
        The first day of the window of which cases are held.
    """

    month: EffectsMonth
    atlas: Atlas | None
    cases: pl.DataFrame
    cases_held: int
    first_day: date
    neighborhoods: tuple[str, ...]
    estimators: tuple[str, ...]
    headline_estimator: str
    headline_k: int
    design: dict[str, Any] = field(repr=False)

    @property
    def surest(self) -> str:
        """The neighbourhood with the least q, or the most cases where none has one."""
        order = self.headline.sort(
            ["q", "n_matched", "neighborhood"], descending=[False, True, False], nulls_last=True
        )
        return (order if order.height else self.month.att)["neighborhood"][0]

    @property
    def headline(self) -> pl.DataFrame:
        """The rows to be quoted, one a neighbourhood."""
        return self.month.headline

    def rows(self, estimator: str) -> pl.DataFrame:
        """Return an estimator's rows, one a neighbourhood: with the headline's controls if any."""
        rows = self.month.att.filter(pl.col("estimator") == estimator)
        ks = rows["k"].unique().sort().to_list()
        k = self.headline_k if self.headline_k in ks else ks[0]
        return rows.filter(pl.col("k") == k).sort("neighborhood")

    def quoted(self, neighborhood: str) -> dict[str, Any] | None:
        """Return a neighbourhood's headline; None if it has none."""
        return _first(self.headline, neighborhood)

    def trust(self, neighborhood: str) -> dict[str, Any] | None:
        """Return the sensitivity of a neighbourhood's headline; None if there is none."""
        return _first(self.month.sensitivity, neighborhood)

    def case(self, record_id: str) -> dict[str, Any] | None:
        """Return a case as it may be shown; None if it may not."""
        return self.atlas.case(record_id) if self.atlas else None


def has_interval(row: dict[str, Any]) -> bool:
    """Whether a row has an estimate with an interval."""
    return None not in {row["att_hours"], row["low"], row["high"]}


def is_sure(row: dict[str, Any]) -> bool:
    """Whether a row differs from none, with many neighbourhoods allowed for."""
    return has_interval(row) and row["q"] is not None and row["q"] < SIGNIFICANT_BELOW


def months_by_feed(snapshot: Snapshot) -> dict[str, tuple[date, ...]]:
    """Return the months that have effects by feed, in order; none in an older file."""

    def look() -> dict[str, tuple[date, ...]]:
        if not all(snapshot.has(table) for table in NEEDED):
            return {}
        rows = snapshot.frame(MONTHS)
        there = {feed: rows.filter(pl.col("feed") == feed)["month"].to_list() for feed in FEEDS}
        return {feed: tuple(months) for feed, months in there.items() if months}

    return snapshot.once("effects months", look)


def effects_of(snapshot: Snapshot, feed: str, month: date) -> Effects:
    """Return a month's effects; they are read once and kept as long as few others are asked for."""
    has_map = month in months_with_a_map(snapshot).get(feed, ())
    atlas = atlas_of(snapshot, feed, month) if has_map else None
    return keep(snapshot, ("effects", feed, month), lambda: _read(snapshot, feed, month, atlas))


def pairs_of(snapshot: Snapshot, effects: Effects, record_id: str) -> list[dict[str, Any]]:
    """Return a case's pairs, the most alike first, as far as both sides may be shown."""
    asked = {"feed": effects.month.feed, "month": effects.month.month}
    rows = snapshot.rows(PAIRS, asked | {"record_id": record_id, "most": MOST_CONTROLS})
    return [row for row in rows if effects.case(str(row["control_id"])) is not None]


def _read(snapshot: Snapshot, feed: str, month: date, atlas: Atlas | None) -> Effects:
    shown = atlas.month if atlas else _no_map(feed, month)
    read = read_effects(snapshot.frame, shown, most_cases=0)
    if read is None:
        raise ValueError(f"{feed} {month} has no effects; ask `months_by_feed` which have")
    cases = snapshot.frame(CASES, {"feed": feed, "month": month})
    known = atlas.cases["record_id"] if atlas else pl.Series([], dtype=pl.String)
    quoted = read.headline if read.headline.height else read.att
    design = read.design.row(0, named=True)
    first = design["window_first_day"]
    if snapshot.has(REQUESTS):
        held = snapshot.frame(FIRST_DAY, {"feed": feed, "first": first})["day"][0]
        first = held or first
    names = pl.concat([read.att["neighborhood"], read.balance["neighborhood"]])
    return Effects(
        month=read,
        atlas=atlas,
        cases=cases.filter(pl.col("record_id").is_in(known.implode())),
        cases_held=cases.height,
        first_day=first,
        neighborhoods=tuple(names.unique().sort()),
        estimators=tuple(estimators_in(read.att)),
        headline_estimator=quoted["estimator"][0],
        headline_k=quoted["k"][0],
        design=design,
    )


def _no_map(feed: str, month: date) -> AtlasMonth:
    """Return a map without cases, for effects whose map is not in the file."""
    schema = {"record_id": pl.String, "origin": pl.String}
    nothing = pl.DataFrame()
    return AtlasMonth(
        feed=feed,
        title=feed_named(feed).title,
        month=month,
        cases=pl.DataFrame(schema=schema),
        clusters=nothing,
        events=nothing,
    )


def _first(rows: pl.DataFrame, neighborhood: str) -> dict[str, Any] | None:
    found = rows.filter(pl.col("neighborhood") == neighborhood)
    return None if found.is_empty() else found.row(0, named=True)
