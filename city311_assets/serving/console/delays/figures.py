"""What the delays page draws: effects of all neighbourhoods, balance, estimators side by side."""

from typing import Any

import polars as pl

from city311_assets.serving.console import maps
from city311_assets.serving.console.atlas.words import short, signed
from city311_assets.serving.console.delays.answers import chance, interval
from city311_assets.serving.console.delays.effects import Effects, has_interval, is_sure
from city311_assets.serving.console.delays.names import covariate_name, estimator_name
from city311_assets.serving.console.delays.selection import Selection
from city311_assets.serving.effects_page import IMBALANCED_FROM

LONGER, SHORTER, UNSURE, FAINT = "#d55e00", "#0072b2", "#5f6b76", "#b4bcc2"
LIMIT, GRID, INK = "#882255", "#e8ebee", "#1c2b36"
ROW_PIXELS, EDGE_PIXELS = 24, 110
NAME_LETTERS, COVARIATE_LETTERS = 24, 26
Row = dict[str, Any]


def forest(effects: Effects, chosen: Selection) -> tuple[dict[str, Any] | None, int]:
    """Return the forest plot of an estimator and how many neighbourhoods are on it.

    The headline's are grey behind another's. None where nobody has an interval.
    """
    quoted = _drawable(effects.headline)
    drawn = _drawable(effects.rows(chosen.estimator))
    is_headline = chosen.estimator == effects.headline_estimator
    order = {name: row["att_hours"] for name, row in (drawn | quoted).items()}
    names = sorted(order, key=lambda name: (order[name], name))
    if not names:
        return None, 0
    place = {name: at for at, name in enumerate(names)}
    traces = []
    if not is_headline:
        traces.append(
            _errors([quoted[name] for name in names if name in quoted], place, 0.28, "headline")
            | {"marker": {"color": FAINT, "size": 7, "symbol": "square"}}
        )
    rows = [drawn[name] for name in names if name in drawn]
    traces.append(
        _errors(rows, place, 0.0, chosen.estimator)
        | {
            "marker": {
                "color": [_colour(row) for row in rows],
                "symbol": ["circle" if is_sure(row) else "circle-open" for row in rows],
                "size": 10,
                "line": {"width": 2},
            }
        }
    )
    right = {"xref": "paper", "yref": "y", "xanchor": "right", "showarrow": False}
    notes = [
        right | {"x": at, "y": place[row["neighborhood"]], "text": text}
        for row in rows
        for at, text in ((0.8, f"{row['n_matched']:,}"), (1.0, chance(row["q"])))
    ]
    heads = [
        right | {"x": at, "yref": "paper", "y": 1, "yanchor": "bottom", "text": f"<b>{text}</b>"}
        for at, text in ((0.8, "n"), (1.0, "q"))
    ]
    layout = _layout(names, NAME_LETTERS, "hours longer (95 % interval)")
    layout["xaxis"] |= {"domain": [0, 0.66], "zeroline": True, "zerolinecolor": INK}
    layout["annotations"] = notes + heads
    if chosen.neighborhood in place:
        at = place[chosen.neighborhood]
        layout["shapes"] = [_band(at)]
    return {"data": traces, "layout": layout}, len(rows)


def love(effects: Effects, neighborhood: str) -> dict[str, Any] | None:
    """Return the love plot: standardized differences before and after; None if none is known."""
    rows = (
        effects.month.balance.filter(
            pl.col("neighborhood") == neighborhood,
            pl.any_horizontal(pl.col("smd_before", "smd_after").is_not_null()),
        )
        .sort(pl.col("smd_before").abs().fill_null(0), "covariate")
        .to_dicts()
    )
    if not rows:
        return None
    lines: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        "line": {"color": FAINT, "width": 2},
        "x": [part for row in rows for part in (row["smd_before"], row["smd_after"], None)],
        "y": [part for at in range(len(rows)) for part in (at, at, None)],
    }
    marks = {
        "before": {"color": UNSURE, "symbol": "circle-open", "size": 9},
        "after": {
            "color": [LONGER if _is_off(row) else SHORTER for row in rows],
            "symbol": ["square" if _is_off(row) else "circle" for row in rows],
            "size": 9,
        },
    }
    dots = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{when} matching",
            "x": [row[f"smd_{when}"] for row in rows],
            "y": [*range(len(rows))],
            "marker": mark,
            "hoverinfo": "text",
            "hovertext": [
                maps.hover(
                    f"{covariate_name(row['covariate'])}: {signed(row[f'smd_{when}'], 2)} {when} "
                    "matching"
                )
                for row in rows
            ],
        }
        for when, mark in marks.items()
    ]
    layout = _layout(
        [covariate_name(row["covariate"]) for row in rows],
        COVARIATE_LETTERS,
        "difference in standard deviations",
    )
    layout["xaxis"] |= {"zeroline": True, "zerolinecolor": INK}
    layout["legend"] = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"}
    layout["showlegend"] = True
    layout["shapes"] = [
        {
            "type": "line",
            "x0": end,
            "x1": end,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"color": LIMIT, "width": 1.5, "dash": "dash"},
        }
        for end in (-IMBALANCED_FROM, IMBALANCED_FROM)
    ]
    return {"data": [lines, *dots], "layout": layout}


def side_by_side(effects: Effects, neighborhood: str) -> dict[str, Any] | None:
    """Return all estimators of one neighbourhood with an interval; None if none has one."""
    rows = [row for row in estimates(effects, neighborhood) if has_interval(row)]
    if not rows:
        return None
    rows.reverse()
    names = [estimator_words(row) for row in rows]
    trace = _errors(rows, {}, 0.0, "") | {
        "y": [*range(len(rows))],
        "marker": {
            "color": [INK if row["is_headline"] else UNSURE for row in rows],
            "symbol": ["diamond" if row["is_headline"] else "circle-open" for row in rows],
            "size": [12 if row["is_headline"] else 9 for row in rows],
            "line": {"width": 2},
        },
    }
    layout = _layout(names, COVARIATE_LETTERS, "hours longer (95 % interval)")
    layout["xaxis"] |= {"zeroline": True, "zerolinecolor": INK}
    heads = [at for at, row in enumerate(rows) if row["is_headline"]]
    layout["shapes"] = [_band(at) for at in heads]
    return {"data": [trace], "layout": layout}


def estimates(effects: Effects, neighborhood: str) -> list[Row]:
    """Return all estimates of one neighbourhood, the headline first, the naive ones last."""
    rank = {name: at for at, name in enumerate(effects.estimators)}
    rows = effects.month.att.filter(pl.col("neighborhood") == neighborhood).to_dicts()
    return sorted(rows, key=lambda row: (not row["is_headline"], rank[row["estimator"]], row["k"]))


def estimator_words(row: Row) -> str:
    """Return what an estimate is called: `plain matching, k = 3`."""
    return estimator_name(row["estimator"]) + (f", k = {row['k']}" if row["k"] else "")


def _drawable(rows: pl.DataFrame) -> dict[str, Row]:
    return {row["neighborhood"]: row for row in rows.to_dicts() if has_interval(row)}


def _errors(rows: list[Row], place: dict[str, int], lift: float, name: str) -> dict[str, Any]:
    """Return estimates with their intervals; the neighbourhood is the `customdata`."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row["att_hours"] for row in rows],
        "y": [place.get(row["neighborhood"], 0) + lift for row in rows],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [row["high"] - row["att_hours"] for row in rows],
            "arrayminus": [row["att_hours"] - row["low"] for row in rows],
            "color": FAINT if lift else UNSURE,
            "thickness": 1.6,
            "width": 4,
        },
        "customdata": [row["neighborhood"] for row in rows],
        "hoverinfo": "text",
        "hovertext": [
            maps.hover(
                f"{row['neighborhood']}, {estimator_words(row)}\n{signed(row['att_hours'])} h "
                f"({interval(row)})\nq = {chance(row['q'])}, {row['n_matched']:,} of "
                f"{row['n_treated']:,} cases matched"
            )
            for row in rows
        ],
        "showlegend": False,
        "cliponaxis": False,
    }


def _layout(names: list[str], letters: int, title: str) -> dict[str, Any]:
    return {
        "height": EDGE_PIXELS + ROW_PIXELS * len(names),
        "margin": {"l": 8, "r": 12, "t": 30, "b": 56},
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": False,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "xaxis": {"gridcolor": GRID, "fixedrange": True, "title": {"text": title}},
        "yaxis": {
            "range": [-0.7, len(names) - 0.3],
            "tickvals": [*range(len(names))],
            "ticktext": [maps.hover(short(name, letters)) for name in names],
            "automargin": True,
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
        },
    }


def _band(at: int) -> dict[str, Any]:
    return {
        "type": "rect",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": at - 0.5,
        "y1": at + 0.5,
        "layer": "below",
        "line": {"width": 0},
        "fillcolor": "#e4eff6",
    }


def _colour(row: Row) -> str:
    if not is_sure(row):
        return UNSURE
    return LONGER if row["att_hours"] > 0 else SHORTER


def _is_off(row: Row) -> bool:
    return row["smd_after"] is not None and abs(row["smd_after"]) > IMBALANCED_FROM
