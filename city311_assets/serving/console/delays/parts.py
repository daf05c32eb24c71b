"""What the delays page says in words and tables, beside its figures.

What belongs here: components made of a month's effects and a selection. What does not: figures,
pairs, callbacks. Texts of the data are children of components, never HTML or Markdown.
"""

from typing import Any

import polars as pl
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.console.atlas.words import UNKNOWN, counted, percent, plain, signed
from city311_assets.serving.console.delays.answers import (
    DISPARITY,
    chance,
    interval,
    once_published,
    reservations,
    verdict,
)
from city311_assets.serving.console.delays.effects import Effects, has_interval
from city311_assets.serving.console.delays.figures import estimates
from city311_assets.serving.console.delays.names import covariate_name, estimator_name
from city311_assets.serving.console.delays.selection import Selection
from city311_assets.serving.effects_page import ESTIMATORS, LEFT_OUT, PLACEBOS
from city311_assets.serving.effects_page import caveats as caveats_of
from city311_assets.warehouse.tables.causal import DESIGN

NOMINAL = 0.05
Row = dict[str, Any]


def facts(effects: Effects) -> list[Component | str]:
    """Return who is compared, and whether it may change."""
    record, month = effects.design, effects.month
    where = counted(record["neighborhoods"], "neighbourhood")
    said = [
        f"Cases opened {effects.first_day} to {record['window_last_day']}",
        f"{record['compared']:,} of {record['cases']:,} compared in {where}",
    ]
    if month.told_until:
        said.append(f"as the portal told it by {month.told_until:%Y-%m-%d %H:%M} UTC")
    badges: list[Component | str] = []
    if month.is_sample:
        badges += [" ", html.Span("sample data", className="badge sample")]
    if month.is_provisional:
        title = "The month is not over or not told in full; it will change."
        badges += [" ", html.Span("provisional", className="badge", title=title)]
    return [html.Span(" · ".join(said)), *badges]


def answer(effects: Effects, chosen: Selection) -> list[Component]:
    """Return whether the chosen neighbourhood is slower, and how sure that is, in words."""
    said = reservations(effects, chosen.neighborhood)
    naive = once_published(effects, chosen.neighborhood)
    row = effects.quoted(chosen.neighborhood)
    more = [] if row is None else [_card(effects, row)]
    return [
        html.H2(f"Is {chosen.neighborhood} slower, and how sure is that?"),
        html.P(
            verdict(effects, chosen.neighborhood), id="delays-verdict", className="delays-verdict"
        ),
        *more,
        html.Ul([html.Li(one) for one in [*said, *([naive] if naive else [])]], className="hits"),
        html.P(f"All of it: {DISPARITY}.", className="quiet"),
    ]


def caveats(effects: Effects) -> Component:
    """Return what must be read before a number is quoted."""
    return html.Dl(
        [
            part
            for what, text in caveats_of(effects.month, effects.design)
            for part in (html.Dt(what), html.Dd(text))
        ],
        className="delays-caveats",
    )


def legend(effects: Effects, chosen: Selection, drawn: int) -> str:
    """Return how the forest plot is read, or why there is none."""
    if not drawn:
        return f"No neighbourhood has an interval by {estimator_name(chosen.estimator)} this month."
    said = (
        f"By {estimator_name(chosen.estimator)}. Filled: q < 0.05, orange takes longer, blue less "
        "long; open: not shown to differ. n: matched cases. Click a row to choose it."
    )
    if chosen.estimator == effects.headline_estimator:
        return said
    return f"{said} Grey squares above: the headline, {estimator_name(effects.headline_estimator)}."


def undrawn(effects: Effects, chosen: Selection) -> list[Component]:
    """Return the neighbourhoods without an interval, with the reason; nothing if all have one."""
    rows = {row["neighborhood"]: row for row in effects.rows(chosen.estimator).to_dicts()}
    without = [
        (name, rows.get(name)) for name in effects.neighborhoods if not _is_drawn(rows.get(name))
    ]
    if not without:
        return []
    reasons = (
        pl.Series([row["reason"] if row else None for _, row in without], dtype=pl.String)
        .fill_null("not estimated this way")
        .value_counts(sort=True)
        .rows()
    )
    listed = ", ".join(f"{reason} ({count:,})" for reason, count in reasons)
    body = [
        [
            dcc.Link(name, href=chosen.link(neighborhood=name)),
            (row["reason"] or UNKNOWN) if row else "not estimated this way",
            signed(row["att_hours"]) if row else UNKNOWN,
            f"{row['n_matched']:,} of {row['n_treated']:,}" if row else UNKNOWN,
        ]
        for name, row in without
    ]
    title = f"{len(without):,} without an interval, which is not a difference of zero: {listed}"
    heads = ["Neighbourhood", "Reason", "Hours, no evidence", "Matched"]
    return [
        html.Details(
            [
                html.Summary(title),
                html.Div(table(heads, body, 2), className="delays-list"),
            ],
            open=len(without) == len(effects.neighborhoods),
        )
    ]


def estimators(effects: Effects, chosen: Selection) -> Component:
    """Return all estimates of the chosen neighbourhood, the headline first."""
    body = [
        [
            [
                html.Strong(estimator_name(row["estimator"]))
                if row["is_headline"]
                else estimator_name(row["estimator"]),
                " (headline)" if row["is_headline"] else "",
                html.Div(ESTIMATORS.get(row["estimator"], ""), className="quiet"),
            ],
            str(row["k"]) if row["k"] else UNKNOWN,
            signed(row["att_hours"]),
            interval(row) if has_interval(row) else row["reason"] or UNKNOWN,
            chance(row["p"]),
            chance(row["q"]),
            f"{row['n_matched']:,}",
        ]
        for row in estimates(effects, chosen.neighborhood)
    ]
    heads = ["Estimator", "k", "Hours", "95 % interval", "p", "q", "n"]
    return table(heads, body, 1)


def balance_words(effects: Effects, chosen: Selection) -> str:
    """Return what the love plot does not show."""
    rows = effects.month.balance.filter(pl.col("neighborhood") == chosen.neighborhood)
    if rows.is_empty():
        return f"Balance of {chosen.neighborhood} is not known: nothing of it was matched."
    unknown = rows.filter(pl.col("smd_after").is_null())["covariate"].to_list()
    said = (
        f"Differences between the cases of {chosen.neighborhood} and those they are compared with, "
        "before and after matching. Between the dashed lines (0.1) they are small."
    )
    listed = ", ".join(map(covariate_name, unknown))
    return f"{said} Not defined after matching: {listed}." if unknown else said


def sensitivity(effects: Effects, chosen: Selection) -> Component:
    """Return how far each neighbourhood's headline can be trusted."""
    rows = effects.month.sensitivity.sort("neighborhood").to_dicts()
    body = [
        [
            dcc.Link(row["neighborhood"], href=chosen.link(neighborhood=row["neighborhood"])),
            plain(row["rosenbaum_gamma"], 2),
            plain(row["e_value"], 2),
            plain(row["e_value_of_interval"], 2),
            _range(row),
            {None: UNKNOWN, True: "yes", False: "no"}[row["is_sign_stable"]],
        ]
        for row in rows
    ]
    heads = ["Neighbourhood", "Γ", "E-value", "of interval", "Least to most hours", "One sign"]
    marked = [row["neighborhood"] == chosen.neighborhood for row in rows]
    return table(heads, body, 1, marked)


def placebos(effects: Effects) -> Component:
    """Return what came of tests of what cannot have an effect, a sentence each."""
    rows = effects.month.placebo.sort("placebo").to_dicts()
    if not rows:
        return html.P("No placebo test was made.", className="quiet")
    return html.Ul([html.Li(_placebo(row)) for row in rows], className="hits")


def record(effects: Effects) -> list[Component]:
    """Return all that is needed to repeat the month: who was left out, and the design record."""
    docs = {column.name: column.doc for column in DESIGN.columns}
    held = effects.design
    people = [
        ["Requests of the window", f"{held['cases']:,}"],
        *([f"less: {_left_out(docs[name])}", f"{held[name]:,}"] for name in LEFT_OUT),
        ["Mature cases that are compared", f"{held['compared']:,}"],
    ]
    body = [[name, _shown(held[name]), doc] for name, doc in docs.items() if name in held]
    return [
        html.H3("Who is compared, and who is left out of the headline"),
        table(["Cases", "Number"], people, 1),
        html.H3("The record, as causal.design has it"),
        table(["Name", "Value", "What it is"], body, 3),
    ]


def table(
    heads: list[str], body: list[list[Any]], numbers_from: int, marked: list[bool] | None = None
) -> Component:
    """Return a table; columns from `numbers_from` on are numbers, marked rows are chosen."""
    names = ["number" if place >= numbers_from else "" for place in range(len(heads))]
    rows = [
        html.Tr(
            [html.Td(cell, className=name) for cell, name in zip(cells, names, strict=True)],
            className="delays-chosen" if marked and marked[place] else "",
        )
        for place, cells in enumerate(body)
    ]
    head = html.Thead(
        html.Tr(
            [
                html.Th(text, scope="col", className=name)
                for text, name in zip(heads, names, strict=True)
            ]
        )
    )
    return html.Div(html.Table([head, html.Tbody(rows)], className="plain"), className="scroll")


def _left_out(doc: str) -> str:
    return doc.removeprefix("Left out: ")


def _card(effects: Effects, row: Row) -> Component:
    has_one = has_interval(row)
    took, limit = row["mean_restricted_hours"], effects.design["limit_hours"]
    ends = f"{interval(row)} h" if has_one else "none"
    estimate = f"{signed(row['att_hours'])} h" if has_one else UNKNOWN
    support = f"matched of {row['n_treated']:,} ({percent(row['share_on_support'])})"
    tiles = [
        ("Estimate", estimate, "longer than like cases elsewhere"),
        ("95 % interval", ends, row["reason"] or "of the estimate"),
        ("q", chance(row["q"]), "by chance, with all neighbourhoods allowed for"),
        ("n", f"{row['n_matched']:,}", f"{support} with {row['n_controls_used']:,} controls"),
        ("Its cases took", f"{plain(took)} h", f"on average, at most {limit:g} h each"),
    ]
    return html.Div(
        [
            html.Div(
                [
                    html.Div(label, className="label"),
                    html.Div(figure, className="figure"),
                    html.Div(note, className="note"),
                ],
                className="card",
            )
            for label, figure, note in tiles
        ],
        className="cards delays-cards",
    )


def _placebo(row: Row) -> str:
    words = PLACEBOS.get(row["placebo"], row["placebo"])
    if row["share_significant"] is None:
        return f"{words}: no tests."
    share = (
        f"{words}: {row['significant']:,} of {row['effects']:,} effects have p below 0.05, "
        f"{percent(row['share_significant'])} ({percent(row['share_low'])} to "
        f"{percent(row['share_high'])})"
    )
    if row["share_low"] > NOMINAL:
        return f"{share}: more than 5 %, intervals are too short."
    if row["share_high"] < NOMINAL:
        return f"{share}: less than 5 %, intervals are too wide."
    return f"{share}: 5 % is within it."


def _range(row: Row) -> str:
    if row["lowest_att_hours"] is None:
        return UNKNOWN
    return f"{signed(row['lowest_att_hours'])} to {signed(row['highest_att_hours'])}"


def _is_drawn(row: Row | None) -> bool:
    return row is not None and has_interval(row)


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
