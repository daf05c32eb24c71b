"""The panels of the Risk page: one cell, the model, the work list, the wards.

What belongs here: words and tables around numbers. What does not: which numbers.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.risk.methods.priors import Priors
from city311_assets.risk.targets.target import Target
from city311_assets.serving.console.risk import figures
from city311_assets.serving.console.risk.reliability import Reliability
from city311_assets.serving.console.risk.work_list import Unpaid, WorkList
from city311_assets.serving.console.tables import UNKNOWN, Cell, Head, asset_link, table
from city311_assets.warehouse.tables.risk import EVALUATIONS, MODELS, RECOMMENDATIONS, SCORES

Row = Mapping[str, object]
CONFIG: Any = {"displaylogo": False, "displayModeBar": False, "responsive": True}
SHOWN = 40
HIGHEST = 8


def number(row: Row, name: str) -> float | None:
    """Return a number of a row; None where it is missing."""
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else None


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share in percent."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def dollars(usd: float | None, digits: int = 0) -> str:
    """Return an amount in dollars."""
    return UNKNOWN if usd is None else f"${usd:,.{digits}f}"


def card(label: str, figure: str, note: str) -> html.Div:
    """Return one figure, what it is, and what makes it mean something."""
    return html.Div(
        [
            html.Div(label, className="label"),
            html.Div(figure, className="figure"),
            html.Div(note, className="note"),
        ],
        className="card",
    )


def highest(scored: pl.DataFrame, layer: str) -> list[Component]:
    """Return a button for each of the cells where most is expected, which chooses it.

    By cost on the layer of costs, by chance on the others.
    """
    by, words = ("cost", "expected cost") if layer == "cost" else ("p", "chance")
    most = scored.drop_nulls(by).sort(by, "cell", descending=[True, False]).head(HIGHEST)
    if most.is_empty():
        return []
    return [
        html.Div(f"Cells of the highest {words}", className="label"),
        html.Div(
            [
                html.Button(
                    f"{row['label']} {dollars(row[by]) if by == 'cost' else percent(row[by])}",
                    id={"type": "risk-highest", "cell": row["cell"]},
                    title=f"Cell {row['cell']}",
                )
                for row in most.iter_rows(named=True)
            ],
            className="buttons",
        ),
    ]


def graph(name: str, figure: dict[str, Any], label: str) -> html.Div:
    """Return a figure, with words for who does not see it."""
    labelled: Any = {"aria-label": label}
    return html.Div(dcc.Graph(id=name, figure=figure, config=CONFIG), role="figure", **labelled)


def model_card(
    target: Target, served: Row, model: Row | None, of_month: Sequence[Row], origins: Sequence[Row]
) -> list[Component]:
    """Say which model scored the day, why it and no other, and how the candidates did."""
    kind = str(served["model_kind"]).replace("_", " ")
    at = served["as_of"]
    scored = f"scored {at:%Y-%m-%d %H:%M} UTC" if isinstance(at, datetime) else ""
    lines: list[Component] = [
        html.P(
            [
                html.B(kind),
                " serves this day: version ",
                asset_link(str(served["model_version"]), SCORES.key(target.name)),
                f", {scored}.",
            ]
        )
    ]
    if served["reason"]:
        lines.append(html.P(f"No fitted model served: {served['reason']}.", className="warn"))
    if model:
        lines.append(
            html.P(
                f"Why this one: {model['reason']}. Trained from {model['trained_from']}, nothing "
                f"after {model['trained_until']} was seen; {model['training_rows']:,} cell-days; "
                f"calibration {model['calibration']}."
            )
        )
    if not of_month:
        said = "No model has been fitted up to this day, so there are no candidates to compare."
        return [*lines, html.P(said, className="quiet")]
    by_kind = {str(row["model_kind"]): row for row in origins}
    heads = (
        Head("candidate"),
        Head("Brier", True, "Mean squared error of the chance; lower is better"),
        Head("skill", True, "1 less Brier over that of climatology"),
        Head("ECE", True, "Expected calibration error"),
        Head("best 1 %", True, "Share with a call among each day's 1 % of highest chance"),
        Head("why it serves or not"),
    )
    key = EVALUATIONS.key(target.name) if origins else MODELS.key(target.name)
    body: list[list[Cell]] = []
    for row in of_month:
        name = str(row["model_kind"])
        own = by_kind.get(name, row)
        body.append(
            [
                html.B(name.replace("_", " ")) if row["is_promoted"] else name.replace("_", " "),
                asset_link(_figure(own, "brier"), key),
                asset_link(_figure(own, "brier_skill", 3), key),
                asset_link(_figure(own, "ece", 3), key),
                asset_link(percent(number(own, "precision_top_1pct")), key),
                str(row["reason"]),
            ]
        )
    month = of_month[0]["month"]
    blocks = f"{by_kind[next(iter(by_kind))]['origins']} origins" if by_kind else "the test block"
    return [
        *lines,
        table(heads, body, "Candidates"),
        html.P(f"Candidates of {month:%B %Y}; figures over {blocks}.", className="quiet"),
    ]


def _figure(row: Row, name: str, digits: int = 4) -> str:
    value = number(row, name)
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def reliability(found: Reliability | None) -> list[Component]:
    """Show whether what was said came."""
    if found is None:
        said = (
            "No day has both scores and an outcome yet: the 7 days after it must be over and told."
        )
        return [html.P(said, className="empty")]
    by = "; ".join(f"{name} {percent(share)}" for name, share in found.precision.items())
    return [
        graph("risk-reliability", figures.reliability(found), "Chance said and share that came"),
        html.Div(
            [
                card("Brier", f"{found.brier:.4f}", f"skill {found.skill:+.3f} against the mean"),
                card("ECE", percent(found.ece), "mean distance of said and come"),
                card("said / came", percent(found.mean_p), f"{percent(found.base_rate)} came"),
            ],
            className="cards",
        ),
        html.P(
            f"{found.days} days, one a week from {found.first} to {found.last}, "
            f"{found.cell_days:,} cell-days of whatever served then. With a call among each day's "
            f"1 % of cells: {by}. Intervals are Wilson's; cells share their weather, so they are "
            "somewhat too narrow.",
            className="quiet",
        ),
    ]


def work_list(
    target: Target, listed: WorkList, unpaid: Unpaid | None, is_priced: bool
) -> list[Component]:
    """Show what fits into the hours, what it saves, and what it takes."""
    if not is_priced:
        said = "No prior is about these calls, so nothing is priced and nothing recommended."
        return [html.P(said, className="empty")]
    if unpaid:
        said = (
            "No action pays by these priors. Nearest comes one "
            f"{unpaid.action}: on one cell it costs {dollars(unpaid.cost_usd)}, and where most "
            f"calls are expected ({unpaid.calls:.2f} in 7 days) it would save "
            f"{dollars(unpaid.saving_usd, 2)} on average."
        )
        return [html.P(said, className="empty")]
    totals = listed.totals
    cards = html.Div(
        [
            card(
                "on the list",
                f"{len(listed.rows):,}",
                f"of {listed.offered:,} clusters where an action pays",
            ),
            card(
                "expected saving",
                dollars(totals["expected_saving_usd"]),
                f"{dollars(totals['saving_low'])} to {dollars(totals['saving_high'])}, all priors "
                "at one end",
            ),
            card(
                "net of its cost",
                dollars(totals["net_benefit_usd"]),
                f"the actions cost {dollars(totals['action_cost_usd'])}",
            ),
            card("crew hours", f"{totals['crew_hours']:,.1f}", f"of {listed.hours:g} there are"),
        ],
        className="cards",
    )
    if not listed.rows:
        said = f"Nothing fits into {listed.hours:g} crew hours; the smallest needs more."
        return [cards, html.P(said, className="empty")]
    heads = (
        Head("rank", True),
        Head("what"),
        Head("cells", True),
        Head("hours", True),
        Head("saves", True),
        Head("costs", True),
        Head("nets", True),
        Head("why, and who it is for"),
    )
    body = [_listed(row, target) for row in listed.rows[:SHOWN]]
    parts: list[Component] = [cards, table(heads, body, "Work list")]
    if len(listed.rows) > SHOWN:
        more = f"{len(listed.rows) - SHOWN:,} more are in the file."
        parts.append(html.P(more, className="quiet"))
    return parts


def _listed(row: Row, target: Target) -> list[Cell]:
    cells = row["cells"]
    low, high = number(row, "saving_low"), number(row, "saving_high")
    return [
        asset_link(str(row["rank"]), RECOMMENDATIONS.key(target.name)),
        str(row["action"]).replace("_", " "),
        len(cells) if isinstance(cells, list) else None,
        f"{number(row, 'crew_hours'):.1f}",
        html.Span(
            dollars(number(row, "expected_saving_usd")),
            title=f"{dollars(low)} to {dollars(high)}",
        ),
        dollars(number(row, "action_cost_usd")),
        dollars(number(row, "net_benefit_usd")),
        html.Div([html.Div(str(row["why"])), html.Div(str(row["equity_note"]), className="quiet")]),
    ]


def wards(told: pl.DataFrame, target: Target) -> list[Component]:
    """Show who is reached and who is missed."""
    if told.is_empty():
        said = f"No shares of wards were made of {target.name} on this day."
        return [html.P(said, className="empty")]
    heads = (
        Head("ward"),
        Head("cells", True),
        *(Head(title, True) for _, title, _, _ in figures.WARD_SHARES),
    )
    body: list[list[Cell]] = [
        [str(row["ward"]), row["cells"], *(percent(row[name]) for name, *_ in figures.WARD_SHARES)]
        for row in told.to_dicts()
    ]
    return [
        graph("risk-wards-graph", figures.wards(told), "Shares of wards"),
        html.Details([html.Summary("The same as a table"), table(heads, body, "Wards")]),
    ]


def priors(known: Priors) -> list[Component]:
    """Show what costs and savings stand on, and which of it is assumed."""
    assumed = sum(prior.kind == "assumption" for prior in known.entries)
    heads = (
        Head("prior"),
        Head("unit"),
        Head("low", True),
        Head("central", True),
        Head("high", True),
        Head("is"),
        Head("from"),
    )
    body: list[list[Cell]] = [
        [
            prior.name.replace("_", " "),
            prior.unit,
            *(f"{value:g}" for value in (prior.low, prior.central, prior.high)),
            html.Span(
                "assumed" if prior.kind == "assumption" else "from a source",
                className="badge assumed" if prior.kind == "assumption" else "badge",
            ),
            f"{prior.source} ({prior.year})",
        ]
        for prior in known.entries
    ]
    return [
        html.P(
            f"{assumed} of {len(known.entries)} priors are assumptions; version {known.version}. "
            "Every dollar on this page stands on them.",
        ),
        html.Details([html.Summary("All priors"), table(heads, body, "Priors")]),
    ]


def ends(found: pl.DataFrame) -> list[Component]:
    """Show what becomes of the list with each prior at its ends, the most telling first."""
    usual = found.sort("shared_cells", "prior", nulls_last=True)
    heads = (
        Head("prior"),
        Head("is"),
        Head("set to", True),
        Head("clusters that pay", True),
        Head("the list nets", True),
        Head("cells in common", True, "Of the cells on either list, those on both"),
    )
    body: list[list[Cell]] = [
        [
            f"{str(row['prior']).replace('_', ' ')}, {row['end']} end",
            "assumed" if row["kind"] == "assumption" else "from a source",
            f"{row['value']:g}",
            row["recommended"],
            dollars(row["net_benefit_usd"]),
            percent(row["shared_cells"], 0)
            if row["shared_cells"] is not None
            else "nothing chosen",
        ]
        for row in usual.to_dicts()
    ]
    return [
        html.P(
            "The day's list made again with one prior certain at an end of its range. Where few "
            "cells stay in common, the ranking hangs on that prior.",
            className="quiet",
        ),
        table(heads, body, "Work lists with priors at their ends"),
    ]
