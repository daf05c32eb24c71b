"""What the Risk page's callbacks answer, each in a thread of its own.

What belongs here: from the controls' values to figures and panels. What does not: which controls
there are (`page`), what is read (`queries`) and how it looks (`figures`, `panels`).
"""

from typing import Any

import dash
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.risk.methods.priors import read_priors
from city311_assets.serving.console import maps
from city311_assets.serving.console.risk import cell_panel, figures, panels, queries, work_list
from city311_assets.serving.console.risk.controls import Chosen, chosen, controls
from city311_assets.serving.console.risk.reliability import reliability
from city311_assets.serving.console.url_state import Value, search_of
from city311_assets.serving.snapshots import Snapshots
from city311_assets.settings import settings

NOTHING: dict[str, Any] = {
    "data": [],
    "layout": {"xaxis": {"visible": False}, "yaxis": {"visible": False}},
}
Given = dict[str, Value]


def given(
    target: Value,
    day: Value = None,
    layer: Value = "probability",
    cell: Value = "",
    hours: Value = None,
) -> Given:
    """Return the values of the controls; those a callback does not need have their defaults."""
    usual = settings().risk_crew_hours
    return {
        "target": target,
        "day": day,
        "layer": layer,
        "cell": cell,
        "hours": usual if hours is None else hours,
    }


def drawn(
    snapshots: Snapshots, given: Given
) -> tuple[Any, str, list[Component | str], list[Component]]:
    """Return a day's map, what it shows in words, what was asked wrongly, and the highest cells."""
    with snapshots.current() as snapshot:
        wanted = chosen(given, snapshot)
        warned: list[Component | str] = [" ".join(wanted.problems)] if wanted.problems else []
        if wanted.day is None:
            return NOTHING, "", [*warned, *_without_scores(wanted, given)], []
        scored = queries.scores(snapshot, wanted.target, wanted.day)
        clusters: list[dict[str, object]] = []
        taken: frozenset[str] = frozenset()
        if wanted.layer == "recommendations":
            clusters = queries.recommendations(snapshot, wanted.target, wanted.day)
            listed = work_list.chosen(clusters, wanted.hours)
            taken = frozenset(str(row["recommendation_id"]) for row in listed.rows)
    bands = {"medium": settings().risk_medium_from, "high": settings().risk_high_from}
    if wanted.layer == "cost" and scored["cost"].null_count() == scored.height:
        warned.append("No prior is about these calls: nothing is priced, so every cell is grey.")
    figure = figures.risk_map(
        wanted.target,
        scored,
        wanted.layer,
        thresholds=bands,
        clusters=clusters,
        taken=taken,
        cell=wanted.cell,
    )
    counts = scored.group_by("risk_band").len()
    in_band = dict(counts.rows())
    said = f"{scored.height:,} cells on {wanted.day}: " + ", ".join(
        f"{in_band.get(name, 0):,} {name}" for name in ("high", "medium", "low")
    )
    said += f" (medium from {bands['medium']:.0%}, high from {bands['high']:.0%})."
    if wanted.layer == "recommendations":
        said += (
            f" {len(clusters):,} clusters where an action pays, {len(taken):,} on the list (thick)."
        )
    hidden = scored.height - maps.MOST_CELLS
    if hidden > 0:
        said += f" The {hidden:,} cells of the lowest values are not drawn."
    return figure, said, warned, panels.highest(scored, wanted.layer)


def _without_scores(wanted: Chosen, given: Given) -> list[Component | str]:
    """Say that a day has no scores, and which days have some."""
    if not wanted.nearest:
        return [f"There are no scores of {wanted.target.name} yet; materialize risk/scores."]
    links: list[Component | str] = []
    for day in wanted.nearest:
        search = search_of(given | {"day": str(day)}, controls())
        links += [dcc.Link(str(day), href=f"/risk{search}", refresh=False), " "]
    return [f"There are no scores of {given['day']}; the nearest days with some are ", *links]


def of_cell(snapshots: Snapshots, given: Given) -> list[Component]:
    """Return the panel of the chosen cell."""
    with snapshots.current() as snapshot:
        wanted = chosen(given, snapshot)
        if wanted.day is None:
            return [html.P("No scores of this day.", className="empty")]
        if not wanted.cell:
            said = (
                "Choose a cell here or on the map: why it is as it is, its past, and what a week "
                "may cost."
            )
            return [html.P(said, className="empty")]
        number = int(wanted.cell, 16)
        row = queries.cell(snapshot, wanted.target, wanted.day, number)
        if row is None:
            said = f"Cell {wanted.cell} is not in the study area of {wanted.target.name}."
            return [html.P(said, className="empty")]
        served = queries.served(snapshot, wanted.target, wanted.day)
        calls = queries.history(snapshot, wanted.target, wanted.day, number)
        past = queries.past_scores(snapshot, wanted.target, wanted.day, number)
    return cell_panel.of_cell(row, served, calls, past, wanted.day)


def work(snapshots: Snapshots, given: Given) -> list[Component]:
    """Return the work list that fits into the hours."""
    with snapshots.current() as snapshot:
        wanted = chosen(given, snapshot)
        if wanted.day is None:
            return [html.P("No scores of this day, so no work list.", className="empty")]
        rows = queries.recommendations(snapshot, wanted.target, wanted.day)
        is_priced = wanted.target.is_priced
        unpaid = None
        if is_priced and not rows:
            known = read_priors(settings().risk_priors)
            unpaid = work_list.unpaid(snapshot, wanted.target, wanted.day, known)
    listed = work_list.chosen(rows, wanted.hours)
    return panels.work_list(wanted.target, listed, unpaid, is_priced)


def crew_list(snapshots: Snapshots, given: Given) -> object:
    """Return the work list as a file to be downloaded; nothing of a day without scores."""
    with snapshots.current() as snapshot:
        wanted = chosen(given, snapshot)
        if wanted.day is None:
            return dash.no_update
        rows = queries.recommendations(snapshot, wanted.target, wanted.day)
    listed = work_list.chosen(rows, wanted.hours)
    name = f"{wanted.target.name}_{wanted.day}_{wanted.hours:g}h.csv"
    return {"content": work_list.as_csv(listed), "filename": name, "type": "text/csv"}


def of_day(snapshots: Snapshots, given: Given) -> tuple[Any, Any, Any]:
    """Return how good forecasts were, which model serves, and who is reached."""
    with snapshots.current() as snapshot:
        wanted = chosen(given, snapshot)
        if wanted.day is None:
            none = [html.P("No scores of this day.", className="empty")]
            return none, none, none
        found = reliability(snapshot, wanted.target, wanted.day)
        served = queries.served(snapshot, wanted.target, wanted.day)
        model = queries.model(snapshot, served["model_version"], wanted.target)
        of_month = queries.candidates(snapshot, wanted.target, wanted.day)
        origins = queries.origins(snapshot, wanted.target, of_month[0]["month"]) if of_month else []
        wards = queries.wards(snapshot, wanted.target, wanted.day)
    return (
        panels.reliability(found),
        panels.model_card(wanted.target, served, model, of_month, origins),
        panels.wards(wards, wanted.target),
    )


def reach(snapshots: Snapshots, given: Given) -> tuple[Any, Any, Any]:
    """Return the first and the last day with scores of a target, and the month to open."""
    with snapshots.current() as snapshot:
        days = queries.days_scored(snapshot, chosen(given, snapshot).target.name)
    if not days:
        return dash.no_update, dash.no_update, dash.no_update
    return days[0], days[-1], days[-1]


def ends(snapshots: Snapshots, given: Given) -> list[Component]:
    """Return what becomes of the work list with each prior at its ends."""
    with snapshots.current() as snapshot:
        wanted = chosen(given, snapshot)
        if wanted.day is None or not wanted.target.is_priced:
            said = "Nothing is priced here, so no prior changes anything."
            return [html.P(said, className="empty")]
        known = read_priors(settings().risk_priors)
        found = work_list.ends(snapshot, wanted.target, wanted.day, known, wanted.hours)
    return panels.ends(found)
