"""The cells of the map and of its table: counts, rates, hot spots and changes, ranked and capped.

What belongs here: everything that is said of a cell. What does not: how it is drawn (`figures`),
and what is said of the place as a whole (`kpis`, `quick_hits`).
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Floats, Ints
from city311_assets.gold.methods.counts import ALL
from city311_assets.gold.methods.rates import is_low_confidence, wilson
from city311_assets.serving.console.hotspots.columns import columns_of
from city311_assets.serving.console.hotspots.comparison import (
    changes,
    exposure,
    known,
)
from city311_assets.serving.console.hotspots.counts import Counts, counts_of, rates_of
from city311_assets.serving.console.hotspots.facts import with_labels
from city311_assets.serving.console.hotspots.measures import MEASURES, MOST_DOUBLINGS
from city311_assets.serving.console.hotspots.selection import (
    Selection,
    period_words,
    said,
    words,
)
from city311_assets.serving.console.maps import MOST_CELLS
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.gold import HOTSPOTS

GI_RESOLUTIONS = (7, 8, 9)
GI_LEVELS = {
    "cold_99": -3,
    "cold_95": -2,
    "cold_90": -1,
    "none": 0,
    "hot_90": 1,
    "hot_95": 2,
    "hot_99": 3,
}
GI = f"""
    select cell as number, class as gi_class, reason as gi_reason from {HOTSPOTS}
    where feed = $feed and month = $month and resolution = $resolution and category = $category
        and null_model = 'baseline'
"""
NO_GI = {"number": pl.UInt64, "gi_class": pl.String, "gi_reason": pl.String}
CHANGES = (
    "now", "before", "change_ratio", "change_low", "change_high", "change_p", "change_q",
    "change_log2",
)  # fmt: skip
WHOLE = frozenset(
    {
        "records", "selected", "eligible", "successes", "now", "before", "gi_level",
        "pooled_records", "pooled_n", "pooled_k",
    }
)  # fmt: skip
COLUMNS = (
    "rank", "cell", "label", "records", "selected", "share", "share_low", "share_high",
    "eligible", "successes", "rate", "rate_low", "rate_high", "rate_eb", "pooled_records",
    "pooled_n", "pooled_k", "rate_pooled", "is_low_confidence", "gi_class", "gi_level",
    "gi_reason", "now", "before", "change_ratio", "change_low", "change_high", "change_p",
    "change_q", "change_log2",
)  # fmt: skip


@dataclass(frozen=True)
class CellMeasures:
    """The cells shown, the best by the measure first.

    Attributes
    ----------
    frame
        One row a cell, also those without a record: `rank, cell` (hex), `label, records` (whatever
        the filters), `selected, share` (selected over records) with its Wilson interval, `eligible,
        successes` and the rates as of `gold.cell_months`, `gi_class, gi_level` (-3 to 3),
        `gi_reason, now, before` (selected records of the days told in full, in the period and the
        one compared), `change_ratio` (null where there was none before), `change_low, change_high,
        change_p, change_q` and `change_log2` (what the map is coloured by).
    measure
        The name of the measure that ranks.
    cells, selected, records
        How many cells there are in the place, and records on them.
    without_point
        Selected records that are on no cell; 0 where a cell is drilled into.
    hidden_cells, hidden_records
        Cells left out because there are too many to draw, and the selected records on them.
    gi_month
        The month of the hot spots; None with `gi_reason`.
    change_reason
        Why there is no change; None if there is.
    notes
        What to know beside the map, in sentences.
    empty
        A sentence where nothing is selected; None where something is.
    """

    frame: pl.DataFrame
    measure: str
    cells: int
    selected: int
    records: int
    without_point: int
    hidden_cells: int
    hidden_records: int
    gi_month: date | None
    gi_reason: str | None
    change_reason: str | None
    notes: tuple[str, ...]
    empty: str | None


def cell_measures(
    snapshot: Snapshot, selection: Selection, measure: str = "selected", most: int = MOST_CELLS
) -> CellMeasures:
    """Return what is known of the cells of a selection.

    Rates are drawn to those of the whole city, also where a cell is drilled into.

    Parameters
    ----------
    measure
        One of `MEASURES`: it ranks, and decides which cells are left out.
    most
        How many cells are shown.

    Raises
    ------
    ValueError
        If there is no such measure.
    """
    if measure not in MEASURES:
        raise ValueError(f"no measure is called {measure!r}; there are {', '.join(MEASURES)}")
    counts = counts_of(snapshot, selection)
    # The map, its table and a download show the same.
    return counts.columns.kept.of(
        ("cells", selection, measure, most), lambda: _measured(snapshot, counts, measure, most)
    )


def _measured(snapshot: Snapshot, counts: Counts, measure: str, most: int) -> CellMeasures:
    selection = counts.selection
    shown = counts.shown
    cells = counts.columns.areas[selection.resolution][shown]
    records, selected = counts.records[shown], counts.selected[shown]
    share_low, share_high = wilson(selected, records)
    with np.errstate(invalid="ignore"):
        numbers = {
            "records": records,
            "selected": selected,
            "share": selected / records,
            "share_low": np.where(records > 0, share_low, np.nan),
            "share_high": np.where(records > 0, share_high, np.nan),
            "eligible": counts.eligible[shown],
            "successes": counts.successes[shown],
        }
    change, change_reason, change_notes = _changes(counts)
    numbers |= rates_of(counts) | change
    gi, gi_month, gi_reason = _gi(snapshot, selection)
    known_levels = gi.drop_nulls("gi_level")
    _, at, of = np.intersect1d(
        cells, known_levels["number"].to_numpy(), assume_unique=True, return_indices=True
    )
    levels = np.full(cells.size, np.nan)
    levels[at] = known_levels["gi_level"].to_numpy()[of]
    numbers["gi_level"] = levels
    order = _ranked(numbers[MEASURES[measure].rank_column], selected)
    best = order[:most]
    frame = pl.DataFrame(
        {
            "rank": np.arange(1, best.size + 1),
            "number": cells[best],
            **{name: _column(name, values[best]) for name, values in numbers.items()},
        }
    ).with_columns(
        is_low_confidence=is_low_confidence(numbers["rate_low"][best], numbers["rate_high"][best])
    )
    kept = with_labels(snapshot, selection.feed, selection.resolution, frame).join(
        gi.drop("gi_level"), on="number", how="left", maintain_order="left"
    )
    total = int(selected.sum())
    hidden_records = int(selected[order[most:]].sum())
    without_point = int(counts.selected[-1]) if selection.parent is None else 0
    found = CellMeasures(
        frame=kept.select(COLUMNS),
        measure=measure,
        cells=cells.size,
        selected=total,
        records=int(records.sum()),
        without_point=without_point,
        hidden_cells=cells.size - best.size,
        hidden_records=hidden_records,
        gi_month=gi_month,
        gi_reason=gi_reason,
        change_reason=change_reason,
        notes=(),
        empty=_empty(selection, total, without_point),
    )
    notes = _notes(found, selection, change_notes)
    return CellMeasures(**{**vars(found), "notes": notes})


@dataclass(frozen=True, slots=True)
class HotSpots:
    """How many of the cells shown were tested for a month, and are hot at 95 % or 99 %."""

    month: date
    tested: int
    hot: int


def hot_spots(snapshot: Snapshot, selection: Selection, counts: Counts) -> HotSpots | None:
    """Return how many of the cells shown are hot; None where a selection has no hot spots."""
    found, month, _ = _gi(snapshot, selection)
    if month is None:
        return None
    cells = counts.columns.areas[selection.resolution][counts.shown]
    tested = found.filter(pl.col("number").is_in(cells)).drop_nulls("gi_level")
    return HotSpots(month, tested.height, int((tested["gi_level"] >= GI_LEVELS["hot_95"]).sum()))


def whole_month(selection: Selection) -> date | None:
    """Return the first day of the last whole month of a period; None where it holds none."""
    after = selection.last + timedelta(days=1)
    month = (after.replace(day=1) - timedelta(days=1)).replace(day=1)
    return month if month >= selection.first else None


def _ranked(values: Floats, selected: Ints) -> Ints:
    """Return the places of cells, the highest value first, unknown ones last."""
    is_unknown = np.isnan(values)
    # Of equals the one with more selected records is first, then the first in the area.
    return np.lexsort((-selected, np.where(is_unknown, 0.0, -values), is_unknown))


def _column(name: str, values: Floats) -> pl.Series:
    if name in WHOLE:
        return pl.Series(name, values, nan_to_null=True).cast(pl.Int64)
    return known(values).alias(name)


def _changes(counts: Counts) -> tuple[dict[str, Floats], str | None, tuple[str, ...]]:
    columns, selection = counts.columns, counts.selection
    days = exposure(columns, selection)
    if days.reason:
        size = counts.high - counts.low
        return dict.fromkeys(CHANGES, np.full(size, np.nan)), days.reason, days.notes
    found = changes(columns, selection, days)
    now, before = found.now, found.before
    doublings = np.log2((now + 0.5) / days.now_days) - np.log2((before + 0.5) / days.before_days)
    doublings[now + before == 0] = np.nan
    ratios = found.ratios
    values = (
        now.astype(np.float64),
        before.astype(np.float64),
        *(ratios.ratio, ratios.low, ratios.high, ratios.p),
        found.q,
        np.clip(doublings, -MOST_DOUBLINGS, MOST_DOUBLINGS),
    )
    return dict(zip(CHANGES, values, strict=True)), None, days.notes


def _gi(snapshot: Snapshot, selection: Selection) -> tuple[pl.DataFrame, date | None, str | None]:
    """Return `number, gi_class, gi_reason, gi_level`, the month of it, and why there is none."""
    month = whole_month(selection)
    reason = _no_gi(snapshot, selection, month)
    found = pl.DataFrame(schema=NO_GI)
    if month is not None and reason is None:
        asked = {
            "feed": selection.feed,
            "month": month,
            "resolution": selection.resolution,
            "category": selection.categories[0] if selection.categories else ALL,
        }
        found = columns_of(snapshot, selection.feed).kept.of(
            ("hot spots", *asked.values()), lambda: snapshot.frame(GI, asked)
        )
        if found.is_empty():
            reason = f"Hot spots of {month:%B %Y} were not made for {words(selection.categories)}."
    level = pl.col("gi_class").replace_strict(GI_LEVELS, default=None, return_dtype=pl.Int64)
    is_tested = pl.col("gi_reason").is_null()
    return (
        found.with_columns(gi_level=pl.when(is_tested).then(level)),
        None if reason else month,
        reason,
    )


def _no_gi(snapshot: Snapshot, selection: Selection, month: date | None) -> str | None:
    """Return why there are no hot spots of a selection; None if there may be."""
    if selection.resolution not in GI_RESOLUTIONS:
        return "Hot spots are made for resolutions 7 to 9."
    if selection.is_empty_filter or len(selection.categories) > 1:
        return "Hot spots are made for one category, or for all of them together."
    if selection.weekdays or selection.hours:
        return "Hot spots are made of all weekdays and hours together."
    if month is None:
        return (
            "Hot spots are made of whole months, and none lies in "
            f"{period_words(selection.first, selection.last)}."
        )
    if not snapshot.has(HOTSPOTS):
        return "The published file holds no hot spots."
    return None


def _empty(selection: Selection, selected: int, without_point: int) -> str | None:
    if selection.is_empty_filter:
        return "No category is chosen, so nothing is shown. Choose one, or all."
    if selected:
        return None
    if without_point:
        return f"None of the {without_point:,} records selected has a point that can be used."
    return f"There are no records of {said(selection)}."


def _notes(
    found: CellMeasures, selection: Selection, change_notes: tuple[str, ...]
) -> tuple[str, ...]:
    notes = []
    if found.hidden_cells:
        label = MEASURES[found.measure].label.lower()
        notes.append(
            f"The first {found.frame.height:,} of {found.cells:,} cells by {label} are shown; "
            f"{found.hidden_cells:,} cells with {found.hidden_records:,} selected records are not."
        )
    if found.without_point:
        notes.append(
            f"{found.without_point:,} selected records have no usable point and are on no cell."
        )
    if found.measure == "gi_class":
        if found.gi_month:
            notes.append(f"Hot and cold spots are of {found.gi_month:%B %Y}.")
        notes += [found.gi_reason] if found.gi_reason else []
    if found.measure == "change":
        notes.append(
            f"Compared with {period_words(*selection.compared)}"
            + ("." if selection.is_free_comparison else ", the same weeks last year.")
        )
        notes += [found.change_reason] if found.change_reason else list(change_notes)
    return tuple(notes)
