"""The work list of a day for any number of crew hours, and what it hangs on.

What belongs here: choosing among the day's recommendations, their sums, the file for the crew, and
what other priors would change. What does not: how recommendations come about.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Ints
from city311_assets.gold.methods.grid import Grid
from city311_assets.risk.costs import (
    DURATIONS,
    SEED,
    SEVERITY_DAYS,
    SEVERITY_LAG_DAYS,
)
from city311_assets.risk.methods.costs import MAJOR_FROM_HOURS, MODERATE_FROM_HOURS, severity_shares
from city311_assets.risk.methods.priors import Priors
from city311_assets.risk.methods.recommendations import actions, at_the_ends, knapsack
from city311_assets.risk.targets.target import Target
from city311_assets.serving.console.risk import queries
from city311_assets.serving.snapshots import Snapshot

Row = Mapping[str, object]
SUMMED = (
    "expected_saving_usd",
    "saving_low",
    "saving_high",
    "action_cost_usd",
    "net_benefit_usd",
    "crew_hours",
)
COLUMNS = (
    *("rank", "recommendation_id", "action", "parameters", "crew_hours", "expected_saving_usd"),
    *("saving_low", "saving_high", "action_cost_usd", "net_benefit_usd", "expected_events_7d"),
    *("latitude", "longitude", "cells", "why", "equity_note", "model_version", "priors_version"),
)
# A spreadsheet takes what begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, eq=False)
class WorkList:
    """What fits into the hours, by rank, and its sums.

    Attributes
    ----------
    rows
        Those chosen, as `queries.recommendations` returns them.
    offered
        How many there are of the day.
    totals
        Of each of `SUMMED`. The ends of the saving have every prior at one end at once.
    """

    rows: tuple[Row, ...]
    offered: int
    hours: float
    totals: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Unpaid:
    """Why no action pays: the cheapest one on a single cell, and what it may save at most."""

    action: str
    cost_usd: float
    saving_usd: float
    calls: float


def chosen(rows: Sequence[Row], hours: float) -> WorkList:
    """Return the set of the day's recommendations that fits into hours and nets most."""
    figures = {name: np.array([float(str(row[name])) for row in rows]) for name in SUMMED}
    taken: Ints = np.zeros(0, np.int64)
    if rows:
        is_taken = knapsack(figures["net_benefit_usd"], figures["crew_hours"], hours)
        taken = np.flatnonzero(is_taken)
    return WorkList(
        rows=tuple(rows[at] for at in taken.tolist()),
        offered=len(rows),
        hours=hours,
        totals={name: float(of[taken].sum()) for name, of in figures.items()},
    )


def as_csv(listed: WorkList) -> str:
    """Return the crew's list; what a spreadsheet would take for a formula gets an apostrophe."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in listed.rows:
        writer.writerow([_field(row, name) for name in COLUMNS])
    return file.getvalue()


def _field(row: Row, name: str) -> object:
    if name == "cells":
        hexes = row["hexes"]
        return " ".join(hexes) if isinstance(hexes, list) else ""
    value = row[name]
    # A number may be negative.
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def severities(snapshot: Snapshot, target: Target, day: date) -> Ints:
    """Return how many calls were minor, moderate and major before a day, as costs count them."""
    last = day - timedelta(days=SEVERITY_LAG_DAYS)
    found = snapshot.frame(
        DURATIONS,
        {
            "feed": target.feed.name,
            "start": last - timedelta(days=SEVERITY_DAYS - 1),
            "end": last + timedelta(days=1),
            "kinds": queries.kinds(snapshot, target),
            "moderate_from": MODERATE_FROM_HOURS,
            "major_from": MAJOR_FROM_HOURS,
        },
    )
    names = ("minor", "moderate", "major")
    return np.array([int(found[name].sum()) for name in names], np.int64)


def unpaid(snapshot: Snapshot, target: Target, day: date, priors: Priors) -> Unpaid:
    """Return why nothing is recommended: of all actions the one that comes nearest to paying."""
    shares = severity_shares(severities(snapshot, target, day), priors)
    most = queries.scores(snapshot, target, day)["expected_events_7d"].max()
    calls = float(str(most))
    offered = actions(priors, shares, SEED)
    best = max(offered, key=lambda action: float(action.net(calls, 1)))
    name = f"{best.name} of {best.step_psi:g} psi" if best.step_psi else best.name
    return Unpaid(
        name.replace("_", " "),
        best.cost_usd + best.cost_usd_per_cell,
        best.saving_usd * calls,
        calls,
    )


def ends(
    snapshot: Snapshot, target: Target, day: date, priors: Priors, hours: float
) -> pl.DataFrame:
    """Return what becomes of a day's list with each prior at its ends, as `at_the_ends` has it.

    Takes a second or two; kept for the file that is open.
    """

    def read() -> pl.DataFrame:
        scored = queries.scores(snapshot, target, day)
        cells = np.array([int(cell, 16) for cell in scored["cell"]], np.uint64)
        return at_the_ends(
            priors,
            severities(snapshot, target, day),
            scored["expected_events_7d"].to_numpy(),
            Grid.of(cells).disk,
            crew_hours=hours,
            seed=SEED,
        )

    return snapshot.once(("risk ends", target.name, day, priors.version, hours), read)
