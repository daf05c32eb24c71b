"""The panels that sum a selection up: where one is, its figures, what stands out.

What belongs here: breadcrumbs, figures, quick hits. What does not: how they are counted (`kpis`,
`quick_hits`, `crumbs`).
"""

from collections.abc import Mapping

from dash import html
from dash.development.base_component import Component

from city311_assets.serving.console.hotspots.crumbs import crumbs
from city311_assets.serving.console.hotspots.facts import feed_facts
from city311_assets.serving.console.hotspots.kpis import kpis
from city311_assets.serving.console.hotspots.parts import aria, count, link, sentence
from city311_assets.serving.console.hotspots.quick_hits import quick_hits
from city311_assets.serving.console.hotspots.selection import (
    Selection,
    day_words,
    said,
    search_for,
)
from city311_assets.serving.console.url_state import Value
from city311_assets.serving.snapshots import Snapshot


def place_panel(snapshot: Snapshot, selection: Selection, measure: str) -> list[Component]:
    """Return the way from the whole city to the drilled cell, and the selection in words."""
    way = crumbs(snapshot, selection)
    items: list[Component] = [
        html.Span(link(crumb.label, crumb.search, measure)) for crumb in way[:-1]
    ]
    items.append(html.Span(way[-1].label, **aria(current="page")))
    shown: list[Component] = [
        html.Nav(items, className="crumbs", **aria(label="From the city to the cell"))
    ]
    if selection.parent is not None:
        shown.append(
            link(
                "← Back to the larger area",
                way[-2].search,
                measure,
                className="hotspots-back",
            )
        )
    shown.append(html.P(said(selection), className="quiet", id="hotspots-said"))
    if selection.is_empty_filter:
        everything = link(
            "Show all categories", search_for(selection, is_empty_filter=False), measure
        )
        shown.append(
            html.P(
                ["No category is chosen, so no record is selected. ", everything],
                className="warn",
                id="hotspots-nothing",
            )
        )
    return shown


def kpi_panel(snapshot: Snapshot, selection: Selection, measure: str) -> list[Component]:
    """Return the figures of a selection, each with what makes it mean something."""
    return [
        html.Div(
            [
                html.Div(kpi.title, className="label"),
                html.Div(
                    link(kpi.figure, kpi.search, measure) if kpi.search else kpi.figure,
                    className="figure",
                ),
                html.Div(kpi.note, className="note"),
            ],
            className="card",
            id=f"hotspots-kpi-{kpi.name}",
        )
        for kpi in kpis(snapshot, selection)
    ]


def hits_panel(snapshot: Snapshot, selection: Selection, measure: str) -> list[Component]:
    """Return what stands out, in sentences whose numbers lead to the view they are of."""
    found = quick_hits(snapshot, selection)
    if not found:
        return [sentence("Nothing stands out in this selection.")]
    return [
        html.Ul(
            [
                html.Li(
                    [
                        part.text if part.search is None else link(part.text, part.search, measure)
                        for part in one.parts
                    ]
                )
                for one in found
            ],
            className="hits",
        )
    ]


def held_words(snapshot: Snapshot, feed: str) -> str:
    """Return what the file holds of a feed, in a sentence."""
    facts = feed_facts(snapshot, feed)
    if facts is None:
        return ""
    total = sum(records for _, records in facts.categories)
    return (
        f"{count(total)} records are held, {facts.first_day} to {facts.last_day}; the portal has "
        f"told all up to {facts.newest_told_day}."
    )


def half_chosen(values: Mapping[str, Value], selection: Selection) -> tuple[str, ...]:
    """Return what to do where only one day of a period is chosen, in sentences."""
    said = []
    given = [bool(values.get(name)) for name in ("from", "to")]
    if given == [True, False]:
        said.append(
            f"Choose the second day of the period too; until then it goes up to "
            f"{day_words(selection.last)}."
        )
    if given == [False, True]:
        said.append(
            f"Choose the first day of the period too; until then it begins on "
            f"{day_words(selection.first)}."
        )
    return tuple(said)
