"""What an analyst would say first, in plain sentences whose numbers are links to their views.

What belongs here: which findings are told, and their words. What does not: the numbers, which are
of the modules beside this. A sentence speaks of chance only where a test says so.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from math import ceil

import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Ints
from city311_assets.gold.methods.counts import ALL
from city311_assets.gold.methods.rates import wilson
from city311_assets.serving.console.hotspots.cells import hot_spots
from city311_assets.serving.console.hotspots.comparison import (
    false_discovery,
    known,
    rate_ratios,
)
from city311_assets.serving.console.hotspots.counts import counts_of
from city311_assets.serving.console.hotspots.facts import OUTCOME_WORDS
from city311_assets.serving.console.hotspots.kpis import drill
from city311_assets.serving.console.hotspots.outlook import anomalies, forecast
from city311_assets.serving.console.hotspots.question import Question
from city311_assets.serving.console.hotspots.selection import (
    WEEKDAYS,
    Selection,
    day_words,
    hours_words,
    period_words,
    search_for,
    words,
)
from city311_assets.serving.console.hotspots.sentences import (
    Part,
    Sentence,
    between,
    per_day,
    percent,
    probability,
    times,
    times_between,
)
from city311_assets.serving.console.hotspots.series import by_day, calendar, weekday_hours
from city311_assets.serving.snapshots import Snapshot

# A change is told if at most one in twenty of those told is expected to be chance.
LEVEL = 0.05
TOP_SHARE = 0.01
# With fewer cells the busiest hundredth is no cell, or one.
FEWEST_CELLS = 100
# Rates of fewer records are hardly ever below by more than chance, and take from the power of all.
FEWEST_JUDGED = 10


def quick_hits(snapshot: Snapshot, selection: Selection) -> tuple[Sentence, ...]:
    """Return the findings of a selection, those about places first; none where it has no record."""
    counts = counts_of(snapshot, selection)
    if counts.total(counts.selected) == 0:
        return ()
    asked = Question(snapshot, selection, counts)
    makers: tuple[Callable[[Question], Sentence | None], ...] = (
        _busiest,
        _concentrated,
        _rise,
        _fall,
        _category,
        _unusual_day,
        _busiest_hour,
        _lowest_rate,
        _hot_spots,
        _next_week,
    )
    return tuple(one for make in makers if (one := make(asked)) is not None)


def _busiest(asked: Question) -> Sentence | None:
    own = asked.counts.selected[asked.counts.shown]
    if not own.any():
        return None
    cell = asked.at(int(own.argmax()))
    total = int(own.sum())
    return Sentence(
        "busiest cell",
        (
            asked.cell(cell),
            Part(" is the busiest cell, with "),
            Part(f"{int(own.max()):,} records", drill(asked.selection, cell)),
            Part(f", {percent(own.max() / total)} of the {total:,} on the map."),
        ),
    )


def _concentrated(asked: Question) -> Sentence | None:
    own = np.sort(asked.counts.selected[asked.counts.shown])[::-1]
    if own.size < FEWEST_CELLS or not own.any():
        return None
    top = ceil(own.size * TOP_SHARE)
    share = own[:top].sum() / own.sum()
    return Sentence(
        "concentration",
        (
            Part(f"The busiest 1 % of the cells ({top:,} of {own.size:,}) hold "),
            Part(f"{percent(share)} of the records", search_for(asked.selection, "selected")),
            Part(f" on the map; spread evenly they would hold {percent(top / own.size)}."),
        ),
    )


def _rise(asked: Question) -> Sentence | None:
    return _change(asked, "biggest rise", "rose", is_more=True)


def _fall(asked: Question) -> Sentence | None:
    return _change(asked, "biggest fall", "fell", is_more=False)


def _change(asked: Question, kind: str, verb: str, *, is_more: bool) -> Sentence | None:
    """Return the cell whose rate changed by most records a day, of those beyond chance."""
    if asked.days.reason:
        return None
    rates = pl.col("now") / asked.days.now_days - pl.col("before") / asked.days.before_days
    sign = 1 if is_more else -1
    found = asked.changed.filter((pl.col("q") <= LEVEL) & (rates * sign > 0))
    tested = asked.changed.height
    if found.is_empty():
        if not is_more or not tested:
            return None
        either = asked.changed.filter(pl.col("q") <= LEVEL)
        if either.height:
            return None
        return Sentence(
            "no change",
            (
                Part(f"None of {tested:,} cells changed by more than chance against "),
                Part(asked.then, search_for(asked.selection, "change")),
                Part(f" (false discovery rate {percent(LEVEL)})."),
            ),
        )
    row = found.sort(rates * sign, "number", descending=[True, False]).row(0, named=True)
    now, before = row["now"] / asked.days.now_days, row["before"] / asked.days.before_days
    pieces = [
        asked.cell(row["number"]),
        Part(f" {verb} most: "),
        Part(per_day(now), drill(asked.selection, row["number"])),
        Part(f" ({row['now']:,}), after {per_day(before)} ({row['before']:,}) "),
        Part(f"in {asked.then}", search_for(asked.selection, "change")),
    ]
    if row["ratio"] is not None:
        pieces.append(Part(f": {times(row['ratio'])} ({times_between(row['low'], row['high'])})"))
    pieces.append(
        Part(
            f"; {found.height:,} of {tested:,} cells {verb} by more than chance, this one with "
            f"q {probability(row['q'])}."
        )
    )
    return Sentence(kind, tuple(pieces))


def _category(asked: Question) -> Sentence | None:
    """Return the category that rose most, or fell, of those beyond chance."""
    if asked.days.reason:
        return None
    columns, own = asked.columns, replace(asked.selection, categories=(), is_empty_filter=False)
    size = len(columns.categories)
    if size < 2:
        return None

    def of(first: date, last: date) -> Ints:
        is_told = columns.days(first, last)["is_told"].to_numpy()
        return by_day(columns, replace(own, first=first, last=last))[is_told].sum(axis=0)

    now, before = of(own.first, own.last), of(*own.compared)
    found = rate_ratios(now, before, asked.days.now_days, asked.days.before_days)
    frame = pl.DataFrame(
        {
            "category": columns.categories,
            "now": now,
            "before": before,
            "ratio": known(found.ratio),
            "low": known(found.low),
            "high": known(found.high),
            "q": false_discovery(found.p),
        }
    ).filter((pl.col("q") <= LEVEL) & (pl.col("low") > 1))
    if frame.is_empty():
        return None
    # By the least the rise is: a category of a handful of records does not come first.
    row = frame.sort("low", "category", descending=[True, False]).row(0, named=True)
    name = row["category"]
    how = "newly there" if row["ratio"] is None else times(row["ratio"])
    return Sentence(
        "rising category",
        (
            Part(
                words([name]).capitalize(), search_for(own, categories=(name,), parent=own.parent)
            ),
            Part(" rose most of the categories: "),
            Part(f"{row['now']:,} records", search_for(own, categories=(name,))),
            Part(f", {how} the rate "),
            Part(f"in {asked.then}", search_for(own, "change", categories=(name,))),
            Part(
                f" ({times_between(row['low'], row['high'])}, q {probability(row['q'])} among "
                f"{size} categories)."
            ),
        ),
    )


def _unusual_day(asked: Question) -> Sentence | None:
    judged = anomalies(asked.snapshot, asked.selection)
    wanted = asked.selection.categories or (ALL,)
    found = judged.frame.filter(~pl.col("is_provisional") & pl.col("category").is_in(wanted))
    if found.is_empty():
        return _busiest_day(asked, judged.judged_days)
    row = found.sort("q", "day").row(0, named=True)
    what = "records" if row["category"] == ALL else f"{words([row['category']])} records"
    return Sentence(
        "unusual day",
        (
            Part(day_words(row["day"]), row["search"]),
            Part(f" was the most unusual day in {row['label']}: "),
            Part(f"{row['records']:,} {what}", row["search"]),
            Part(
                f" where {row['expected']:,.1f} were expected (95 % interval {row['low_95']:,} to "
                f"{row['high_95']:,}, q {probability(row['q'])})."
            ),
        ),
    )


def _busiest_day(asked: Question, judged: int) -> Sentence | None:
    days = calendar(asked.snapshot, asked.selection).drop_nulls("selected")
    if days.height < 2:
        return None
    row = days.sort("selected", "day", descending=[True, False]).row(0, named=True)
    mean = days["selected"].mean()
    told = f"None of {judged:,} days judged was unusual." if judged else "No day was judged yet."
    search = search_for(asked.selection, first=row["day"], last=row["day"], weekdays=())
    return Sentence(
        "busiest day",
        (
            Part(day_words(row["day"]), search),
            Part(" was the busiest day, with "),
            Part(f"{row['selected']:,} records", search),
            Part(f"; the mean is {mean:,.1f} a day. {told}"),
        ),
    )


def _busiest_hour(asked: Question) -> Sentence | None:
    found = weekday_hours(asked.snapshot, asked.selection)
    of = found.grid.filter(pl.col("per_day").is_not_null() & (pl.col("records") > 0))
    if asked.selection.weekdays:
        of = of.filter(pl.col("weekday").is_in(asked.selection.weekdays))
    if asked.selection.hours:
        of = of.filter(pl.col("hour").is_in(asked.selection.hours))
    if of.is_empty():
        return None
    row = of.sort("per_day", "weekday", "hour", descending=[True, False, False]).row(0, named=True)
    # Every hour of the week alike: as a comparison, not as a test.
    mean = int(found.grid["records"].sum()) / max(int(found.grid["days"].sum()), 1)
    when = f"{WEEKDAYS[row['weekday'] - 1]}s, {hours_words([row['hour']])}"
    search = search_for(asked.selection, weekdays=(row["weekday"],), hours=(row["hour"],))
    return Sentence(
        "busiest hour",
        (
            Part(when, search),
            Part(", is the busiest hour of the week: "),
            Part(f"{row['per_day']:.1f} records", search),
            Part(
                f" each of the {row['days']:,} held, where the mean hour has {mean:.1f} "
                f"({found.time_uncertain:,} of uncertain time left out)."
            ),
        ),
    )


def _lowest_rate(asked: Question) -> Sentence | None:
    """Return the cell whose rate is surely low: the least upper end, of those below by test."""
    from scipy.special import bdtr, bdtrc

    shown, counts = asked.counts.shown, asked.counts
    n, k = counts.eligible[shown], counts.successes[shown]
    total = counts.total(counts.eligible)
    tested = np.flatnonzero(n >= FEWEST_JUDGED)
    if tested.size < 2:
        return None
    overall = counts.total(counts.successes) / total
    n, k = n[tested], k[tested]
    # Cells of few records repeat: each pair of counts is worked out once.
    wide = int(n.max()) + 1
    pairs, which = np.unique(n * wide + k, return_inverse=True)
    of, among = pairs % wide, pairs // wide
    # Two-sided: cells above pay for being looked at as well.
    at_least = np.where(of > 0, bdtrc(np.maximum(of, 1) - 1.0, among, overall), 1.0)
    p = np.minimum(2 * np.minimum(bdtr(of, among, overall), at_least), 1.0)
    q = false_discovery(p[which.ravel()])
    low, high = wilson(k, n)
    outcome = OUTCOME_WORDS[asked.columns.feed.outcome]
    search = search_for(asked.selection, "rate_wilson")
    below = np.flatnonzero((q <= LEVEL) & (k < n * overall))
    if not below.size:
        return Sentence(
            "no low rate",
            (
                Part(
                    f"None of {tested.size:,} cells that can be judged is below the share of all, "
                ),
                Part(f"{percent(overall)} {outcome}", search),
                Part(f", by more than chance (false discovery rate {percent(LEVEL)})."),
            ),
        )
    at = below[np.argmin(high[below])]
    cell = asked.at(int(tested[at]))
    is_request = counts.columns.hours is not None
    return Sentence(
        "lowest rate",
        (
            asked.cell(cell, "rate_wilson"),
            Part(" is slowest: only " if is_request else " has the lowest share: "),
            Part(f"{percent(int(k[at]) / int(n[at]))} {outcome}", search),
            Part(
                f" ({between(float(low[at]), float(high[at]))}, of {int(n[at]):,}), against "
                f"{percent(overall)} of all on the map; {below.size:,} of {tested.size:,} cells "
                "are below by more than chance."
            ),
        ),
    )


def _hot_spots(asked: Question) -> Sentence | None:
    found = hot_spots(asked.snapshot, asked.selection, asked.counts)
    if found is None:
        return None
    search = search_for(asked.selection, "gi_class")
    tested, hot = found.tested, found.hot
    if tested == 0:
        return None
    month = f"{found.month:%B %Y}"
    if hot == 0:
        return Sentence(
            "hot spots",
            (
                Part(f"In {month} "),
                Part(f"none of {tested:,} cells tested", search),
                Part(" was hotter than its trailing year by more than chance (q 0.05)."),
            ),
        )
    return Sentence(
        "hot spots",
        (
            Part(f"In {month} "),
            Part(f"{hot:,} of {tested:,} cells tested", search),
            Part(f" {'was' if hot == 1 else 'were'} hotter than the trailing year by more than "),
            Part("chance (Gi*, q 0.05)."),
        ),
    )


def _next_week(asked: Question) -> Sentence | None:
    found = forecast(asked.snapshot, asked.selection)
    if found.median is None or found.first_day is None or found.last_day is None:
        return None
    what = "" if found.category == ALL else f"{words([found.category])} "
    return Sentence(
        "next week",
        (
            Part(f"For {period_words(found.first_day, found.last_day)}, "),
            Part(
                f"{found.median:,} {what}records",
                search_for(asked.selection, first=found.first_day, last=found.last_day),
            ),
            Part(
                f" are forecast in {found.area} (80 % interval {found.low_80:,} to "
                f"{found.high_80:,}); the four weeks before had {found.trailing:,.0f} a week."
                if found.trailing is not None
                else f" are forecast in {found.area} (80 % interval {found.low_80:,} to "
                f"{found.high_80:,})."
            ),
        ),
    )
