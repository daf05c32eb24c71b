"""The numbers above the page, each with the interval or the comparison that gives it meaning."""

from dataclasses import dataclass, replace

import numpy as np

from city311_assets.gold.methods.rates import wilson
from city311_assets.serving.console.hotspots.areas import grid_of
from city311_assets.serving.console.hotspots.comparison import (
    exposure,
    rate_ratio,
    told_total,
)
from city311_assets.serving.console.hotspots.counts import Counts, counts_of
from city311_assets.serving.console.hotspots.facts import OUTCOME_WORDS, label_of
from city311_assets.serving.console.hotspots.outcomes import time_to_close
from city311_assets.serving.console.hotspots.selection import (
    FINEST,
    Selection,
    children_of,
    search_for,
)
from city311_assets.serving.console.hotspots.sentences import (
    between,
    duration,
    per_day,
    percent,
    times,
    times_between,
)
from city311_assets.serving.snapshots import Snapshot

NONE = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Kpi:
    """One number: what it is, how much, what to compare it with, and where it leads."""

    name: str
    title: str
    figure: str
    note: str
    search: str | None = None


def kpis(snapshot: Snapshot, selection: Selection) -> tuple[Kpi, ...]:
    """Return the numbers of the place and the filters selected."""
    counts = counts_of(snapshot, selection)
    found = [_total(counts), _share(counts), _busiest(snapshot, counts), _outcome(counts)]
    if counts.columns.hours is not None:
        found.append(_time(snapshot, selection))
    return tuple(one for one in found if one)


def _total(counts: Counts) -> Kpi:
    selection, columns = counts.selection, counts.columns
    title = "Selected records" if selection.is_filtered else "Records"
    total = counts.total(counts.selected)
    notes = []
    days = exposure(columns, selection)
    if days.now_days:
        now = told_total(columns, selection, selection.first, selection.last)
        told = "1 day" if days.now_days == 1 else f"{days.now_days:,} days"
        notes.append(f"{per_day(now / days.now_days)} over {told} told in full")
        if days.reason is None:
            before = told_total(columns, selection, *selection.compared)
            change = rate_ratio(now, before, days)
            whom = "the period compared"
            if not selection.is_free_comparison:
                whom = "the same weeks last year"
            if change.ratio is not None and change.low is not None:
                interval = times_between(change.low, change.high)
                notes.append(f"{times(change.ratio)} {whom} ({interval})")
            elif before == 0:
                notes.append(f"none in {whom}")
    else:
        notes.append("no day of this period is held in full")
    if days.reason:
        notes.append(days.reason[:1].lower() + days.reason[1:].rstrip("."))
    if selection.parent is None and (without := int(counts.selected[-1])):
        notes.append(f"{without:,} of them without a usable point")
    return Kpi("total", title, f"{total:,}", "; ".join(notes) + ".", search_for(selection))


def _share(counts: Counts) -> Kpi | None:
    selection = counts.selection
    if not selection.is_filtered:
        return None
    selected, records = counts.total(counts.selected), counts.total(counts.records)
    everything = search_for(selection, categories=(), weekdays=(), hours=(), is_empty_filter=False)
    if records == 0:
        return Kpi("share", "Share of all records", NONE, "There are no records.", everything)
    low, high = wilson(selected, records)
    note = f"of {records:,} records ({between(float(low), float(high))})"
    if selection.parent is not None and (of_city := int(counts.records.sum())):
        note += f"; citywide {percent(counts.selected.sum() / of_city)}"
    return Kpi("share", "Share of all records", percent(selected / records), f"{note}.", everything)


def _busiest(snapshot: Snapshot, counts: Counts) -> Kpi | None:
    selection, shown = counts.selection, counts.shown
    own = counts.selected[shown]
    if not own.size or not own.any():
        return Kpi("busiest", "Busiest cell", NONE, "No cell holds a selected record.")
    place = counts.low + int(own.argmax())
    area = counts.columns.areas[selection.resolution]
    cell = int(area[place])
    selected, records = int(counts.selected[place]), int(counts.records[place])
    label = label_of(snapshot, selection.feed, selection.resolution, cell)
    low, high = wilson(selected, records)
    both = np.stack([counts.selected, counts.records], axis=1)[:-1]
    ring = grid_of(area.tobytes()).sums(both)[place] - both[place]
    if selection.is_filtered:
        note = (
            f"{selected:,} selected, {percent(selected / records)} of its records "
            f"({between(float(low), float(high))})"
        )
        if ring[1]:
            note += f"; its neighbours together {percent(ring[0] / ring[1])}"
    else:
        total = int(own.sum())
        note = (
            f"{records:,} records, {percent(selected / total)} of those on the map; "
            f"an even share of {own.size:,} cells would be {percent(1 / own.size)}"
        )
        if ring[1]:
            note += f"; its neighbours together {int(ring[1]):,}"
    return Kpi("busiest", "Busiest cell", label, f"{note}.", drill(selection, cell))


def _outcome(counts: Counts) -> Kpi:
    selection = counts.selection
    words = OUTCOME_WORDS[counts.columns.feed.outcome]
    title = words[:1].upper() + words[1:]
    n, k = counts.total(counts.eligible), counts.total(counts.successes)
    search = search_for(selection, "rate_eb")
    if n == 0:
        return Kpi("outcome", title, NONE, "Of no selected record can it be told yet.", search)
    low, high = wilson(k, n)
    note = f"of {n:,} that can be judged ({between(float(low), float(high))})"
    if selection.parent is not None and (of_city := int(counts.eligible.sum())):
        note += f"; citywide {percent(counts.successes.sum() / of_city)}"
    return Kpi("outcome", title, percent(k / n), f"{note}.", search)


def _time(snapshot: Snapshot, selection: Selection) -> Kpi | None:
    own = time_to_close(snapshot, selection)
    if own is None:
        return None
    title = "Median time to close"
    if own.cases == 0:
        return Kpi("median", title, NONE, "No selected request has a time to close.")
    if own.median_hours is None:
        note = f"half of {own.cases:,} requests were not closed when last seen"
    else:
        note = f"of {own.cases:,} requests, {own.cases - own.closed:,} of them open and censored"
    wider, whose = _wider(selection)
    other = time_to_close(snapshot, wider)
    if other and other.median_hours is not None:
        note += f"; {whose} {duration(other.median_hours)}"
    figure = NONE if own.median_hours is None else duration(own.median_hours)
    return Kpi("median", title, figure, f"{note}.")


def _wider(selection: Selection) -> tuple[Selection, str]:
    """Return what a selection's times are compared with, and what to call it."""
    if selection.parent is not None:
        return replace(selection, parent=None), "citywide"
    if selection.is_filtered:
        all_of_it = replace(selection, categories=(), weekdays=(), hours=(), is_empty_filter=False)
        return all_of_it, "of all requests"
    first, last = selection.compared
    whose = "in the period compared" if selection.is_free_comparison else "in those weeks last year"
    return replace(selection, first=first, last=last), whose


def drill(selection: Selection, cell: int, measure: str | None = None) -> str:
    """Return the address of the view of a cell: its children, or of the finest those around it."""
    if selection.resolution >= FINEST:
        from city311_assets.serving.console.hotspots.outlook import ancestor

        around = ancestor(cell, FINEST - 1)
        return search_for(selection, measure, parent=around, resolution=FINEST)
    inner = children_of(selection, format(cell, "x"))
    return search_for(inner, measure)
