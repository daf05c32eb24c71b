"""What is said of each cell of the map when it is pointed at.

Thousands of cells are told at once: each line is made for all of them, column by column, which
takes an eighth of the time of a cell after the other.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from city311_assets.serving.console.hotspots.facts import FeedFacts
from city311_assets.serving.console.hotspots.sentences import percents, times, times_between


def hover_texts(frame: pl.DataFrame, facts: FeedFacts) -> list[str]:
    """Return what is said of each of the measured cells: plain text, several lines."""
    lines = (frame["label"].to_list(), _counted(frame), _rated(frame, facts.outcome_words))
    lines += (_changed(frame), _hot(frame))
    return ["\n".join(filter(None, of)) for of in zip(*lines, strict=True)]


def _counted(frame: pl.DataFrame) -> Sequence[str]:
    records, selected = frame["records"].to_list(), frame["selected"].to_list()
    if records == selected:
        return [f"{count:,} records" for count in records]
    return [
        f"{count:,} records" if count == own else f"{own:,} of {count:,} records selected ({share})"
        for count, own, share in zip(records, selected, _percents(frame, "share"), strict=True)
    ]


def _rated(frame: pl.DataFrame, outcome: str) -> Iterable[str]:
    unknown = f"{outcome}: unknown, none can be judged yet"
    columns = (_percents(frame, name) for name in ("rate", "rate_low", "rate_high"))
    return [
        f"{rate} {outcome} (95 % interval {low} to {high}, of {eligible:,})"
        if eligible
        else (unknown if selected else "")
        for rate, low, high, eligible, selected in zip(
            *columns, frame["eligible"].to_list(), frame["selected"].to_list(), strict=True
        )
    ]


def _changed(frame: pl.DataFrame) -> Iterable[str]:
    names = ("now", "before", "change_ratio", "change_low", "change_high")
    told: dict[tuple[int | None, int | None], str] = {}
    lines = []
    # Counts repeat, and what is said of the change hangs on them alone.
    for now, before, *numbers in zip(*(frame[name].to_list() for name in names), strict=True):
        if (pair := (now, before)) not in told:
            told[pair] = _change(now, before, *numbers)
        lines.append(told[pair])
    return lines


def _change(
    now: int | None,
    before: int | None,
    ratio: float | None,
    low: float | None,
    high: float | None,
) -> str:
    if before is not None and ratio is not None and low is not None:
        return f"{times(ratio)} the period before ({times_between(low, high)})"
    return "none in the period before" if before == 0 and now else ""


def _hot(frame: pl.DataFrame) -> Iterable[str]:
    words = {None: "", "none": ""}
    for name in frame["gi_class"].unique().to_list():
        if name not in words:
            side, level = name.split("_")
            words[name] = f"{side} spot, {level} %"
    return [words[name] for name in frame["gi_class"].to_list()]


def _percents(frame: pl.DataFrame, name: str) -> list[str]:
    return percents(frame[name].to_numpy().astype(np.float64))
