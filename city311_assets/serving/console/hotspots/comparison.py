"""Two periods side by side: rates a day, their ratio, and whether it is more than chance.

What belongs here: the ratio of two counts with its exact interval, over all records and cell by
cell. What does not: which cells are drawn (`cells`).
"""

from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from city311_assets.gold.methods.arrays import Floats, Ints
from city311_assets.serving.console.hotspots.columns import Columns, columns_of
from city311_assets.serving.console.hotspots.counts import by_kind, coarser, of_city
from city311_assets.serving.console.hotspots.facts import with_labels
from city311_assets.serving.console.hotspots.selection import (
    FINEST,
    Selection,
    day_words,
    period_words,
)
from city311_assets.serving.snapshots import Snapshot

CONFIDENCE = 0.95
# As many as a person reads; the rest is in the download.
MOST_CELLS = 200
MOST_EITHER_WAY = 6


@dataclass(frozen=True, eq=False)
class RateRatios:
    """Ratios of two rates, an entry each; nan where neither period has a record.

    Attributes
    ----------
    ratio
        The first rate over the second; infinite where the second has no record.
    low, high
        The ends of its exact interval at 95 %; the upper is infinite likewise.
    p
        Two-sided probability of counts as uneven, were the rates equal.
    """

    ratio: Floats = field(repr=False)
    low: Floats = field(repr=False)
    high: Floats = field(repr=False)
    p: Floats = field(repr=False)


@dataclass(frozen=True, eq=False)
class Changes:
    """How cells changed, an entry each: records told in full of both periods, ratios, and q."""

    now: Ints = field(repr=False)
    before: Ints = field(repr=False)
    ratios: RateRatios = field(repr=False)
    q: Floats = field(repr=False)


@dataclass(frozen=True, slots=True)
class RateRatio:
    """One ratio of two rates a day: records and days of both; None where it cannot be had."""

    now: int
    before: int
    now_days: int
    before_days: int
    ratio: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True, slots=True)
class Exposure:
    """The days that two periods are compared by: held, told in full, on the chosen weekdays."""

    now_days: int
    before_days: int
    reason: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A period against another.

    Attributes
    ----------
    first, last, before_first, before_last
        The days of both, included.
    is_last_year
        Whether the other is the same weeks a year before; else somebody chose it.
    total
        Of all selected records in the place shown; None where it cannot be compared.
    cells
        `cell` (hex), `label, now, before, ratio` (null where there was none before), `low, high, p,
        q`, the least probable first; of the cells with a record in either period.
    rose, fell
        The first of those whose rate a day rose, and of those where it fell; with the same columns.
    tested
        How many cells that is.
    reason
        Why nothing can be compared; None if it can.
    notes
        What to know beside the numbers, in sentences.
    """

    first: date
    last: date
    before_first: date
    before_last: date
    is_last_year: bool
    total: RateRatio | None
    cells: pl.DataFrame
    rose: pl.DataFrame
    fell: pl.DataFrame
    tested: int
    reason: str | None
    notes: tuple[str, ...]


def rate_ratios(now: ArrayLike, before: ArrayLike, days: float, before_days: float) -> RateRatios:
    """Compare counts of two periods, given the days that they are of.

    Of x + y records, x are binomial with the share of the days if the rates are equal; the interval
    is Clopper and Pearson's of that share (1934, https://doi.org/10.1093/biomet/26.4.404), turned
    into the ratio, and p twice the smaller tail. It takes records as independent of each other:
    where one brings the next, intervals are too narrow.

    Parameters
    ----------
    now, before
        Records of the two periods, whole numbers not below 0.
    days, before_days
        Days of each, above 0.

    Raises
    ------
    ValueError
        If there are no days, or counts are below 0.
    """
    from scipy.special import betainc, betaincinv

    x, y = (np.asarray(counts, np.float64) for counts in (now, before))
    if not (days > 0 and before_days > 0):
        raise ValueError(f"{days} and {before_days} days: there is nothing to compare by")
    if (x < 0).any() or (y < 0).any():
        raise ValueError("counts below 0 cannot be compared")
    # Cells of few records repeat: each pair of counts is worked out once.
    wide = y.max(initial=0) + 1
    pairs, which = np.unique(x.ravel() * wide + y.ravel(), return_inverse=True)
    k, other = np.divmod(pairs, wide)
    share, tail = days / (days + before_days), (1 - CONFIDENCE) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(k > 0, betaincinv(np.maximum(k, 1), other + 1, tail), 0.0)
        high = np.where(other > 0, betaincinv(k + 1, np.maximum(other, 1), 1 - tail), 1.0)
        at_least = np.where(k > 0, betainc(np.maximum(k, 1), other + 1, share), 1.0)
        at_most = np.where(other > 0, betainc(np.maximum(other, 1), k + 1, 1 - share), 1.0)
        by_days = before_days / days
        found = np.stack(
            [
                k / other * by_days,
                low / (1 - low) * by_days,
                high / (1 - high) * by_days,
                np.minimum(2 * np.minimum(at_least, at_most), 1.0),
            ]
        )
    found[:, k + other == 0] = np.nan
    ratio, low, high, p = (values[which.ravel()].reshape(x.shape) for values in found)
    return RateRatios(ratio, low, high, p)


def false_discovery(p: Floats) -> Floats:
    """Return Benjamini and Hochberg's q of the p that are there, nan elsewhere."""
    from scipy.stats import false_discovery_control

    q = np.full(p.shape, np.nan)
    is_tested = np.isfinite(p)
    if is_tested.any():
        q[is_tested] = false_discovery_control(p[is_tested])
    return q


def exposure(columns: Columns, selection: Selection) -> Exposure:
    """Return by which days a selection and what it is compared with can be compared."""
    now = columns.days(selection.first, selection.last, selection.weekdays)
    before = columns.days(*selection.compared, selection.weekdays)
    told, told_before = int(now["is_told"].sum()), int(before["is_told"].sum())
    words = period_words(*selection.compared)
    name = words if selection.is_free_comparison else f"the same weeks last year, {words},"
    reason = None
    if told_before == 0:
        reason = f"No day of {name} is held in full: there is nothing to compare with."
    elif told == 0:
        reason = "No day of the period is held in full yet: there is nothing to compare."
    notes = []
    for days, whose in ((now, "the period"), (before, words)):
        held = int(days["is_held"].sum())
        if 0 < held < days.height:
            notes.append(f"Of {whose} {held:,} of {days.height:,} days are held.")
    withheld = now.filter(pl.col("is_held") & ~pl.col("is_told"))["day"]
    if len(withheld):
        notes.append(
            f"{_days(len(withheld))} not told in full, from {day_words(withheld.to_list()[0])} on, "
            "left out of the comparison."
        )
    return Exposure(told, told_before, reason, tuple(notes))


def told_counts(columns: Columns, selection: Selection, first: date, last: date) -> Ints:
    """Return the city's chosen records of days told in full, by cell; the last is of no cell."""
    asked = replace(of_city(selection), first=first, last=last)
    return columns.kept.of(("told", asked), lambda: _told_counts(columns, asked))


def told_total(columns: Columns, selection: Selection, first: date, last: date) -> int:
    """Return the chosen records of the place on days told in full, all of the city's."""
    found = told_counts(columns, selection, first, last)
    low, high = columns.shown(selection)
    elsewhere = found[-1] if selection.parent is None else 0
    return int(found[low:high].sum() + elsewhere)


def _told_counts(columns: Columns, selection: Selection) -> Ints:
    if columns.is_told(selection.first, selection.last):
        return by_kind(columns, selection)[:, 1:].sum(axis=1)
    finest = replace(selection, resolution=FINEST)
    counted = columns.kept.of(("finest told", finest), lambda: _finest_told(columns, finest))
    return coarser(columns, counted, selection.resolution)


def _finest_told(columns: Columns, selection: Selection) -> Ints:
    rows = columns.rows(selection.first, selection.last)
    mask = columns.is_chosen(selection, rows, told=True)
    size = columns.areas[FINEST].size + 1
    # What is not chosen is counted one place further on: picking it out costs more.
    at = np.where(mask, columns.place[rows], np.int32(size))
    return np.bincount(at, minlength=size + 1)[:size]


def comparison(snapshot: Snapshot, selection: Selection) -> Comparison:
    """Compare the selection with the same weeks last year, or with the days chosen."""
    columns = columns_of(snapshot, selection.feed)
    days = exposure(columns, selection)
    told = {
        "first": selection.first,
        "last": selection.last,
        "before_first": selection.compared[0],
        "before_last": selection.compared[1],
        "is_last_year": not selection.is_free_comparison,
        "reason": days.reason,
        "notes": days.notes,
    }
    if days.reason:
        none = _no_cells()
        return Comparison(**told, total=None, cells=none, rose=none, fell=none, tested=0)
    now = told_total(columns, selection, selection.first, selection.last)
    before = told_total(columns, selection, *selection.compared)
    total = rate_ratio(now, before, days)
    tested = tested_cells(columns, selection, days)
    # Of rates a day, by whole numbers alone.
    more = pl.col("now") * days.before_days - pl.col("before") * days.now_days
    cells, rose, fell = (
        with_labels(snapshot, selection.feed, selection.resolution, some).select(
            _no_cells().columns
        )
        for some in (
            tested.head(MOST_CELLS),
            tested.filter(more > 0).head(MOST_EITHER_WAY),
            tested.filter(more < 0).head(MOST_EITHER_WAY),
        )
    )
    return Comparison(**told, total=total, cells=cells, rose=rose, fell=fell, tested=tested.height)


def rate_ratio(now: int, before: int, days: Exposure) -> RateRatio:
    """Compare two counts of the days that can be compared."""
    found = rate_ratios([now], [before], days.now_days, days.before_days)
    ratio, low, high, p = (
        _finite(values[0]) for values in (found.ratio, found.low, found.high, found.p)
    )
    return RateRatio(now, before, days.now_days, days.before_days, ratio, low, high, p)


def changes(columns: Columns, selection: Selection, days: Exposure) -> Changes:
    """Return how the cells shown changed, in the order of the area."""

    def compare() -> Changes:
        shown = slice(*columns.shown(selection))
        now = told_counts(columns, selection, selection.first, selection.last)[shown]
        before = told_counts(columns, selection, *selection.compared)[shown]
        found = rate_ratios(now, before, days.now_days, days.before_days)
        return Changes(now, before, found, false_discovery(found.p))

    return columns.kept.of(("changes", selection), compare)


def tested_cells(columns: Columns, selection: Selection, days: Exposure) -> pl.DataFrame:
    """Return the cells shown with a record in either period, the least probable change first.

    `number` (H3), `now, before, ratio, low, high, p` and `q`, over these cells.
    """
    return columns.kept.of(
        ("tested cells", selection), lambda: _tested_cells(columns, selection, days)
    )


def _tested_cells(columns: Columns, selection: Selection, days: Exposure) -> pl.DataFrame:
    low, high = columns.shown(selection)
    found = changes(columns, selection, days)
    frame = pl.DataFrame(
        {
            "number": columns.areas[selection.resolution][low:high],
            "now": found.now,
            "before": found.before,
            "ratio": known(found.ratios.ratio),
            "low": known(found.ratios.low),
            "high": known(found.ratios.high),
            "p": known(found.ratios.p),
            "q": known(found.q),
        }
    ).drop_nulls("p")
    change = (pl.col("now") - pl.col("before")).abs()
    return frame.sort("p", change, "number", descending=[False, True, False])


def known(values: Floats) -> pl.Series:
    """Return numbers with null where there is none; an infinite one is none either."""
    return pl.Series(np.where(np.isfinite(values), values, np.nan), nan_to_null=True)


def _no_cells() -> pl.DataFrame:
    numbers = dict.fromkeys(("ratio", "low", "high", "p", "q"), pl.Float64)
    counts = dict.fromkeys(("now", "before"), pl.Int64)
    return pl.DataFrame(schema={"cell": pl.String, "label": pl.String} | counts | numbers)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _days(count: int) -> str:
    return "1 day was" if count == 1 else f"{count:,} days were"
