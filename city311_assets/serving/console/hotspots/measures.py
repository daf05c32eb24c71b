"""What a map of cells can be coloured by.

What belongs here: each measure's name, unit, direction, colours and what it means in a sentence.
What does not: how its numbers are had (`cells`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from city311_assets.serving.console.maps import DIVERGING, SEQUENTIAL, Scale

# Changes beyond four times, either way, have the colour of four times.
MOST_DOUBLINGS = 2.0
# The scale ends where all but one in fifty cells lie below: one cell does not pale all others.
BUSY_SHARE = 0.98


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure.

    Attributes
    ----------
    name
        As in the address.
    label
        For people.
    column
        The numeric column of the cells' frame that colours them.
    ranks_by
        The column that ranks them, where that is another one.
    unit
        `records`, `share`, `class` or `times`.
    direction
        Whether what is high comes first, and is told as more or as better.
    palette
        Colours from low to high.
    legend
        The legend's text above, with `{outcome}` for what the feed's rates are of.
    tick_format
        How its numbers are written (d3).
    explain
        What it is, and what it is not, in a sentence.
    ticks
        Numbers named in the legend, where words say more.
    ends
        The ends of the scale, where they are fixed.
    """

    name: str
    label: str
    column: str
    unit: str
    legend: str
    explain: str
    direction: Literal["more", "better", "neither"] = "more"
    palette: Sequence[str] = SEQUENTIAL
    tick_format: str = ",d"
    ranks_by: str | None = None
    ticks: Mapping[float, str] | None = field(default=None, hash=False)
    ends: tuple[float, float] | None = None

    @property
    def rank_column(self) -> str:
        """The column that ranks the cells, the highest first."""
        return self.ranks_by or self.column


MEASURES: dict[str, Measure] = {
    one.name: one
    for one in (
        Measure(
            "selected",
            "Selected records",
            "selected",
            "records",
            "selected records",
            "Records of the period that match the filters.",
        ),
        Measure(
            "records",
            "All records",
            "records",
            "records",
            "records, whatever the filters",
            "Records of the period, whatever their category, weekday and hour.",
        ),
        Measure(
            "share",
            "Selected share",
            "share",
            "share",
            "selected share of the cell's records",
            "Selected records over all records of the cell: what the place is known for. Ranked by "
            "the lower end of its interval, so that one record in one is not the highest.",
            tick_format=".0%",
            ranks_by="share_low",
        ),
        Measure(
            "rate",
            "Rate",
            "rate",
            "share",
            "records {outcome}, as counted",
            "Successes over eligible records; of few records it is mostly chance.",
            direction="better",
            tick_format=".0%",
        ),
        Measure(
            "rate_wilson",
            "Rate, lower end",
            "rate_low",
            "share",
            "records {outcome}, lower end of the 95 % interval",
            "The lower end of Wilson's interval: what the rate is at least.",
            direction="better",
            tick_format=".0%",
        ),
        Measure(
            "rate_eb",
            "Rate, shrunk",
            "rate_eb",
            "share",
            "records {outcome}, shrunk to the city's rate",
            "Empirical Bayes: a cell of few records is drawn to the rate of all cells, once.",
            direction="better",
            tick_format=".0%",
        ),
        Measure(
            "rate_pooled",
            "Rate, with neighbours",
            "rate_pooled",
            "share",
            "records {outcome}, of the cell and its neighbours, shrunk",
            "The cell and those that touch it taken together, then shrunk likewise.",
            direction="better",
            tick_format=".0%",
        ),
        Measure(
            "gi_class",
            "Hot and cold spots",
            "gi_level",
            "class",
            "hot and cold against the trailing year (Gi*)",
            "Whether the cell and its neighbours hold more of the city's records than in the year "
            "before, beyond chance; of the last whole month of the period.",
            direction="neither",
            palette=DIVERGING,
            ticks={
                -3: "cold 99 %",
                -2: "95 %",
                -1: "90 %",
                0: "no",
                1: "90 %",
                2: "95 %",
                3: "hot 99 %",
            },
            ends=(-3, 3),
        ),
        Measure(
            "change",
            "Change",
            "change_log2",
            "times",
            "records a day against the period before",
            "Selected records a day over those of the same weeks last year, or of the chosen "
            "period. Half a record is added to either, so that none is infinite. Ranked by the "
            "lower end of the interval of the ratio.",
            direction="neither",
            palette=DIVERGING,
            ranks_by="change_low",
            ticks={-2: "a quarter", -1: "half", 0: "same", 1: "twice", 2: "4 times"},
            ends=(-MOST_DOUBLINGS, MOST_DOUBLINGS),
        ),
    )
}


def scale_of(measure: Measure, values: Sequence[float | None], outcome_words: str = "") -> Scale:
    """Return how a measure's numbers become colours.

    Parameters
    ----------
    values
        The numbers on the map, which the scale's upper end is taken from where it is not fixed.
    outcome_words
        What the feed's rates are of: `with an arrest`.
    """
    if measure.ends:
        low, high = measure.ends
    else:
        low, high = 0.0, _upper(values)
        if measure.unit == "records":
            high = max(high, 1.0)
        elif high <= 0:
            high = 1.0
    return Scale(
        title=measure.legend.format(outcome=outcome_words),
        low=low,
        high=high,
        palette=measure.palette,
        ticks=measure.ticks,
        tick_format=measure.tick_format,
    )


def _upper(values: Sequence[float | None]) -> float:
    # Most cells of a fine grid hold nothing: the scale is of those that do.
    positive = sorted(value for value in values if value is not None and 0 < value < math.inf) or [
        0.0
    ]
    return positive[min(int(len(positive) * BUSY_SHARE), len(positive) - 1)]
