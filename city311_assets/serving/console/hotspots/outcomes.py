"""What became of the selected records, and the streets they are on.

What belongs here: the mix of outcomes, the time to close, and the table of streets. What does not:
rates of cells (`counts`).
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from city311_assets.gold.methods.rates import wilson
from city311_assets.serving.console.hotspots.columns import KINDS, Columns, columns_of
from city311_assets.serving.console.hotspots.selection import FINEST, Selection
from city311_assets.serving.snapshots import Snapshot

MOST_STREETS = 15


@dataclass(frozen=True)
class OutcomeMix:
    """What became of the selected records.

    Attributes
    ----------
    frame
        `outcome, records, share` (of all selected) and `is_known` (whether the rate counts it).
    eligible, successes, rate, low, high
        The rate of the successes among those of a known outcome, with its Wilson interval; None
        without one.
    note
        What the rate leaves out, in a sentence; empty if nothing.
    """

    frame: pl.DataFrame
    eligible: int
    successes: int
    rate: float | None
    low: float | None
    high: float | None
    note: str


@dataclass(frozen=True)
class TimeToClose:
    """Hours after which half of the selected requests are closed; None where half never were."""

    cases: int
    closed: int
    median_hours: float | None


@dataclass(frozen=True)
class Streets:
    """The streets with the most selected records.

    Attributes
    ----------
    frame
        `street, selected, share` (of the selected records that name a street), `records` (whatever
        the filters), `eligible, successes, rate, rate_low, rate_high`.
    unnamed
        Selected records that name no street.
    note
        How many streets and records are not shown, in a sentence.
    """

    frame: pl.DataFrame
    unnamed: int
    note: str


def outcome_mix(snapshot: Snapshot, selection: Selection) -> OutcomeMix:
    """Return what became of the selected records of the place."""
    columns = columns_of(snapshot, selection.feed)
    rows = columns.rows(selection.first, selection.last)
    state = columns.state[rows]
    if selection.is_filtered or selection.parent is not None:
        state = state[columns.is_chosen(selection, rows)]
    records = np.bincount(state, minlength=len(columns.states))
    eligible, successes = int(records[: columns.known_states].sum()), int(records[0])
    total = int(records.sum())
    frame = pl.DataFrame(
        {
            "outcome": columns.states,
            "records": records,
            "share": records / total if total else np.full(records.size, np.nan),
            "is_known": np.arange(records.size) < columns.known_states,
        }
    ).with_columns(pl.col("share").fill_nan(None))
    low, high = wilson(successes, eligible)
    left_out = total - eligible
    return OutcomeMix(
        frame=frame,
        eligible=eligible,
        successes=successes,
        rate=successes / eligible if eligible else None,
        low=float(low) if eligible else None,
        high=float(high) if eligible else None,
        note=f"The rate leaves out {left_out:,} of {total:,} records whose outcome cannot be told."
        if left_out
        else "",
    )


def time_to_close(snapshot: Snapshot, selection: Selection) -> TimeToClose | None:
    """Return the median time to close of the selected requests, by Kaplan and Meier.

    As in `gold.cell_months`: open ones are censored at their age when last observed. None where
    records have no time to close.
    """
    columns = columns_of(snapshot, selection.feed)
    # Neither the size of cells nor what is compared changes it.
    asked = replace(selection, resolution=FINEST, compare_first=None, compare_last=None)
    return columns.kept.of(("time to close", asked), lambda: _time_to_close(columns, asked))


def _time_to_close(columns: Columns, selection: Selection) -> TimeToClose | None:
    if columns.hours is None or columns.is_closed is None:
        return None
    rows = columns.rows(selection.first, selection.last)
    hours = columns.hours[rows]
    kept = columns.is_chosen(selection, rows) & ~np.isnan(hours)
    from city311_assets.gold.methods.survival import quantiles

    cases = pl.DataFrame({"hours": hours[kept], "is_closed": columns.is_closed[rows][kept]})
    found = quantiles(cases.with_columns(group=pl.lit(0)), ["group"], [0.5])
    if found.is_empty():
        return TimeToClose(0, 0, None)
    row = found.row(0, named=True)
    return TimeToClose(row["timed"], row["closed"], row["q50"])


def streets(snapshot: Snapshot, selection: Selection, most: int = MOST_STREETS) -> Streets:
    """Return the streets of the place with the most selected records."""
    columns = columns_of(snapshot, selection.feed)
    rows = columns.rows(selection.first, selection.last)
    size = len(columns.streets)
    # -1, of those that name none, is the first; what is elsewhere comes after the last.
    key = (columns.street[rows] + np.int32(1)) * np.int32(KINDS)
    key += columns.kind[rows] * columns.is_chosen(selection, rows)
    if selection.parent is not None:
        elsewhere = np.int32((size + 1) * KINDS)
        key = np.where(columns.is_inside(selection.parent, rows), key, elsewhere)
    counted = np.bincount(key, minlength=(size + 1) * KINDS)[: (size + 1) * KINDS]
    by_kind = counted.reshape(size + 1, KINDS)
    unnamed, by_kind = int(by_kind[0, 1:].sum()), by_kind[1:]
    records, selected = by_kind.sum(axis=1), by_kind[:, 1:].sum(axis=1)
    eligible, successes = by_kind[:, 2:].sum(axis=1), by_kind[:, 3]
    named = int(selected.sum())
    best = np.lexsort((np.arange(size), -selected))[:most]
    best = best[selected[best] > 0]
    low, high = wilson(successes[best], eligible[best])
    frame = pl.DataFrame(
        {
            "street": pl.Series([columns.streets[one] for one in best], dtype=pl.String),
            "selected": selected[best],
            "share": selected[best] / max(named, 1),
            "records": records[best],
            "eligible": eligible[best],
            "successes": successes[best],
            "rate_low": low,
            "rate_high": high,
        }
    ).with_columns(
        rate=pl.when(pl.col("eligible") > 0).then(pl.col("successes") / pl.col("eligible"))
    )
    others = int((selected > 0).sum()) - frame.height
    notes = []
    if others:
        rest = named - int(frame["selected"].sum())
        notes.append(f"{others:,} more streets with {rest:,} records are not shown.")
    if unnamed:
        notes.append(f"{unnamed:,} records name no street.")
    order = ("street", "selected", "share", "records", "eligible", "successes")
    return Streets(frame.select(*order, "rate", "rate_low", "rate_high"), unnamed, " ".join(notes))
