"""The panel of one cell: why it is as risky as it is, its past, its costs, its neighbours."""

import math
from collections.abc import Mapping
from datetime import date

import polars as pl
from dash import html
from dash.development.base_component import Component

from city311_assets.serving.console.risk import figures
from city311_assets.serving.console.risk.panels import card, dollars, graph, number, percent
from city311_assets.serving.console.tables import UNKNOWN, Cell, Head, table

Row = Mapping[str, object]
PARTS = ("water", "energy", "repair", "response")


def logit(p: float) -> float:
    """Return the log odds of a probability, finite."""
    inside = min(max(p, 1e-12), 1 - 1e-12)
    return math.log(inside / (1 - inside))


def of_cell(
    row: Row, served: Row, calls: pl.DataFrame, past: pl.DataFrame, day: date
) -> list[Component]:
    """Say why a cell is as risky as it is, what its past was, and what it may cost."""
    p, mean = number(row, "p_event_7d") or 0.0, number(served, "mean_p") or 0.0
    drivers = row["drivers"] if isinstance(row["drivers"], list) else []
    total = sum(float(one["effect"]) for one in drivers)
    told = past.drop_nulls("is_event")
    events = int(told["is_event"].sum())
    came = (
        f"Of {told.height:,} forecasts whose 7 days are over, {events:,} were followed by a call; "
        f"{float(str(told['p'].sum())):,.1f} were expected."
        if told.height
        else "No forecast of this cell is old enough to be compared with what came."
    )
    return [
        html.H2(str(row.get("label") or f"{row['cell']:x}")),
        html.Div(
            [
                card(
                    "chance of a call in 7 days",
                    percent(p),
                    _interval(row),
                ),
                card(
                    "the city's average cell",
                    percent(mean),
                    f"{row['risk_band']} band, decile {row['decile']} of 10",
                ),
                _cost_card(row),
            ],
            className="cards",
        ),
        html.H3("Why"),
        graph("risk-drivers", figures.drivers(drivers), "What moved the chance most"),
        html.P(
            f"Together {total:+.2f} log odds ({figures.TIMES} {math.exp(total):.2f}) from the "
            "city's average, before calibration: all groups of features add up to the whole "
            "difference, and these are its largest parts. After calibration the cell is "
            f"{logit(p) - logit(mean):+.2f} log odds from the city's average chance.",
            className="quiet",
            id="risk-drivers-sum",
        ),
        html.H3("Its past"),
        graph("risk-history", figures.history(calls, past, day), "Calls and forecasts of 180 days"),
        html.P(came, className="quiet"),
        html.H3("What a week may cost"),
        *_costs(row),
        html.H3("Beside it"),
        *_beside(row, p),
    ]


def _interval(row: Row) -> str:
    low, high = number(row, "low"), number(row, "high")
    if low == high:
        return "without an interval: nothing was calibrated"
    return f"{percent(low)} to {percent(high)} by other calibration weeks"


def _cost_card(row: Row) -> Component:
    cost = number(row, "expected_cost_usd_7d")
    if cost is None:
        return card("expected cost of 7 days", UNKNOWN, "no prior is about these calls")
    note = f"90 % of weeks below {dollars(number(row, 'p90_cost'))}"
    return card("expected cost of 7 days", dollars(cost, 2), note)


def _costs(row: Row) -> list[Component]:
    total = number(row, "expected_cost_usd_7d")
    if total is None:
        return [html.P("Nothing is priced: no prior is about these calls.", className="quiet")]
    parts = [(name, number(row, f"{name}_usd") or 0.0) for name in PARTS]
    body: list[list[Cell]] = [
        [name, dollars(usd, 2), percent(usd / total if total else None, 0)] for name, usd in parts
    ]
    body.append(["together, on average", dollars(total, 2), "100 %"])
    heads = (Head("part"), Head("dollars", True), Head("share", True))
    p50, p90 = (number(row, name) for name in ("p50_cost", "p90_cost"))
    return [
        table(heads, body, "Expected cost by part"),
        html.P(
            (
                f"Half of such weeks cost less than {dollars(p50)}, "
                if p50
                else "At least half of such weeks cost nothing, "
            )
            + f"nine in ten less than {dollars(p90)}.",
            className="quiet",
        ),
    ]


def _beside(row: Row, p: float) -> list[Component]:
    beside = row["beside"] if isinstance(row["beside"], list) else []
    if not beside:
        return [html.P("No cell beside it is scored.", className="quiet")]
    higher = sum(one["p"] > p for one in beside)
    heads = (Head("cell"), Head("chance", True), Head("band"), Head("decile", True))
    body: list[list[Cell]] = [
        [one["label"] or one["cell"], percent(one["p"]), one["risk_band"], one["decile"]]
        for one in beside
    ]
    said = f"{higher} of its {len(beside)} neighbours have a higher chance than its {percent(p)}."
    return [html.P(said, className="quiet"), table(heads, body, "Neighbours")]
