"""Figures of the Risk page. Plain dicts.

What belongs here: how numbers are drawn. What does not: which numbers. What comes from the data and
is drawn as text goes through `maps.hover`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import h3.api.basic_str as h3
import polars as pl

from city311_assets.risk.targets.target import Target
from city311_assets.serving.console import maps
from city311_assets.serving.console.risk.queries import HISTORY_DAYS
from city311_assets.serving.console.risk.reliability import Reliability

BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#5f6b76"
NO_MARGIN = {"l": 48, "r": 12, "t": 10, "b": 42}
FONT = {"family": "system-ui, sans-serif", "size": 12}
# The trace of the cell that is chosen; the callback that follows a click patches it.
CHOSEN_TRACE = 2
MOST_WORDS = 46
# The share of cells that is within the map's scale.
TOP_OF_SCALE = 0.995
# Rare calls have chances below a percent: no digit that is needed is rounded away.
SHARES = ".2~%"
TIMES = "odds \N{MULTIPLICATION SIGN}"


def layout(**more: object) -> dict[str, Any]:
    """Return what every figure here has in common."""
    return {
        "margin": NO_MARGIN,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": FONT,
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    } | more


def risk_map(
    target: Target,
    scored: pl.DataFrame,
    layer: str,
    *,
    thresholds: Mapping[str, float],
    clusters: Sequence[Mapping[str, object]],
    taken: frozenset[str],
    cell: str,
) -> dict[str, Any]:
    """Return the map of a day: cells by chance or cost, and on their layer the work list's shapes.

    Parameters
    ----------
    scored
        As `queries.scores` returns it.
    thresholds
        Where the bands begin, named in the legend where they are in its range.
    clusters, taken
        The day's recommendations, and the ids of those that are chosen.
    cell
        The one that is chosen (hex), outlined; empty for none.
    """
    if scored.height > maps.MOST_CELLS:
        scored = scored.sort(_measure(layer), descending=True).head(maps.MOST_CELLS)
    figure = maps.cell_map(
        target.feed.name,
        target.resolution,
        scored["cell"].to_list(),
        scored[_measure(layer)].to_list(),
        scored.select(_labels()).to_series().to_list(),
        scale=_scale(layer, scored, thresholds),
        view=view(scored),
        revision=target.name,
    )
    if layer == "recommendations":
        for trace in figure["data"]:
            trace["marker"] = trace["marker"] | {"opacity": 0.35}
    figure["data"].append(chosen_cell(cell))
    if layer == "recommendations":
        figure["data"] += _outlines(clusters, taken)
    return figure


def chosen_cell(cell: str) -> dict[str, Any]:
    """Return the outline of the cell that is chosen; nothing of none."""
    ring = [*h3.cell_to_boundary(cell)] if cell and h3.is_valid_cell(cell) else []
    closed = [*ring, *ring[:1]]
    return {
        "type": "scattermap",
        # Seen from far a line around one cell is simplified away; marks are not.
        "mode": "lines+markers",
        "name": "chosen cell",
        # Without any point the trace would not be drawn, nor later when it is patched.
        "lat": [north for north, _ in closed] or [None],
        "lon": [east for _, east in closed] or [None],
        "line": {"width": 4, "color": "#000000"},
        "marker": {"size": 7, "color": "#000000"},
        "hoverinfo": "skip",
    }


def _measure(layer: str) -> str:
    return "cost" if layer == "cost" else "p"


def _labels() -> pl.Expr:
    """Return what is said of a cell that is pointed at."""
    cost = pl.format(
        "\n${} expected in 7 days, 90 % below ${}",
        pl.col("cost").round(2),
        pl.col("p90_cost").round(0).cast(pl.Int64),
    ).fill_null("")
    p, low, high = ((100 * pl.col(name)).round(1) for name in ("p", "low", "high"))
    # As on the cell's panel: ends that are one are no interval.
    ends = pl.when(pl.col("low") != pl.col("high")).then(pl.format(" ({} to {} %)", low, high))
    return pl.format(
        "{}\n{} % chance of a call in 7 days{}\n{}, decile {} of 10{}",
        "label",
        p,
        ends.fill_null(""),
        "risk_band",
        "decile",
        cost,
    )


def _scale(layer: str, scored: pl.DataFrame, thresholds: Mapping[str, float]) -> maps.Scale:
    values = scored[_measure(layer)].drop_nulls()
    # A few extreme cells would leave one colour to all others: they have the end's, and it says so.
    most = float(str(values.max())) if len(values) else 0.0
    top = float(values.quantile(TOP_OF_SCALE) or 0.0) if len(values) else 0.0
    words = _dollars if layer == "cost" else _percent
    top = top or (1.0 if layer == "cost" else 0.01)
    step = _step(top)
    ticks = {step * n: words(step * n) for n in range(6) if step * n <= top}
    if most > top:
        ticks = {at: text for at, text in ticks.items() if top - at > step / 2}
        ticks[top] = f"{words(top)} to {words(most)}"
    if layer == "cost":
        return maps.Scale("expected cost of 7 days, US dollars", 0.0, top, ticks=ticks)
    ticks |= {at: f"{name} from {words(at)}" for name, at in thresholds.items() if at <= top}
    return maps.Scale("chance of a call in 7 days", 0.0, top, ticks=dict(sorted(ticks.items())))


def _step(top: float) -> float:
    """Return a round step of which a few make up a range."""
    rough = top / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= rough)


def _dollars(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= 10 else f"${amount:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def view(scored: pl.DataFrame) -> dict[str, float]:
    """Return where a map looks so that all cells are on it."""
    known = scored.drop_nulls(["latitude", "longitude"])
    if known.is_empty():
        return {"lat": 0.0, "lon": 0.0, "zoom": 1.0}
    (south, north), (west, east) = (
        (float(str(known[name].min())), float(str(known[name].max())))
        for name in ("latitude", "longitude")
    )
    span = max(north - south, (east - west) * 0.8, 0.01)
    return {"lat": (south + north) / 2, "lon": (west + east) / 2, "zoom": math.log2(205 / span)}


def _outlines(
    clusters: Sequence[Mapping[str, object]], taken: frozenset[str]
) -> list[dict[str, Any]]:
    """Return the shapes of recommendations: those chosen thick and orange, others thin and grey."""
    traces = []
    for is_chosen, colour, width in ((False, GREY, 1.5), (True, RED, 3.5)):
        lat: list[float | None] = []
        lon: list[float | None] = []
        for one in clusters:
            if (one["recommendation_id"] in taken) is not is_chosen:
                continue
            shape = json.loads(str(one["geometry"]))
            parts = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
            for ring in (ring for part in parts for ring in part):
                lon += [point[0] for point in ring] + [None]
                lat += [point[1] for point in ring] + [None]
        traces.append(
            {
                "type": "scattermap",
                "mode": "lines",
                "name": "on the work list" if is_chosen else "pays, but does not fit",
                "lat": lat,
                "lon": lon,
                "line": {"width": width, "color": colour},
                "hoverinfo": "skip",
            }
        )
    return traces


def drivers(told: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """Return the drivers as signed bars, the largest above, in log odds and what odds become."""
    rows = [(str(one["words"]), float(str(one["effect"]))) for one in reversed(told)]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": [effect for _, effect in rows],
                "y": [*range(len(rows))],
                "text": [f"{effect:+.2f} ({TIMES} {math.exp(effect):.2f})" for _, effect in rows],
                "textposition": "auto",
                "marker": {"color": [RED if effect > 0 else BLUE for _, effect in rows]},
                "customdata": [maps.hover(words) for words, _ in rows],
                "hovertemplate": "%{customdata}: %{x:+.3f} log odds<extra></extra>",
            }
        ],
        "layout": layout(
            height=60 + 46 * max(len(rows), 1),
            margin={"l": 10, "r": 20, "t": 6, "b": 40},
            xaxis={"title": {"text": "log odds added"}, "zeroline": True, "automargin": True},
            yaxis={
                "tickvals": [*range(len(rows))],
                "ticktext": [_lines(words) for words, _ in rows],
                "automargin": True,
            },
        ),
    }


def _lines(words: str) -> str:
    """Return words on lines of a chart's margin."""
    lines, line = [], ""
    for word in words.split(" "):
        if line and len(line) + len(word) + 1 > MOST_WORDS // 2:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return maps.hover("\n".join([*lines, line])) + "  "


def history(calls: pl.DataFrame, past: pl.DataFrame, day: date) -> dict[str, Any]:
    """Return the calls of a cell a week, and what was forecast of its days and came."""
    first = day - timedelta(days=HISTORY_DAYS - 1)
    # Weeks end on the day that is shown.
    weeks = [day - timedelta(days=7 * n + 6) for n in reversed(range(HISTORY_DAYS // 7))]
    counted = dict(
        calls.group_by(((pl.lit(day) - pl.col("day")).dt.total_days() // 7).alias("back"))
        .agg(pl.col("calls").sum())
        .rows()
    )
    came = past.filter(pl.col("is_event"))
    return {
        "data": [
            {
                "type": "bar",
                "name": "calls a week",
                "x": [str(week + timedelta(days=3)) for week in weeks],
                "y": [counted.get(len(weeks) - 1 - at, 0) for at in range(len(weeks))],
                "customdata": [f"{week} to {week + timedelta(days=6)}" for week in weeks],
                "hovertemplate": "%{customdata}: %{y} calls<extra></extra>",
                "width": 6 * 86_400_000,
                "marker": {"color": "#a6bddb"},
            },
            {
                "type": "scatter",
                "mode": "lines",
                "name": "chance forecast",
                "yaxis": "y2",
                "x": past["day"].cast(pl.String).to_list(),
                "y": past["p"].to_list(),
                "line": {"color": BLUE, "width": 2},
                "hovertemplate": "%{x}: %{y:.1%} forecast<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "a call came within 7 days",
                "yaxis": "y2",
                "x": came["day"].cast(pl.String).to_list(),
                "y": came["p"].to_list(),
                "marker": {"color": RED, "size": 7, "symbol": "diamond"},
                "customdata": came["calls"].to_list(),
                "hovertemplate": "%{x}: %{y:.1%} forecast, %{customdata} calls came<extra></extra>",
            },
        ],
        "layout": layout(
            height=260,
            margin={"l": 45, "r": 50, "t": 34, "b": 30},
            xaxis={"type": "date", "range": [str(first), str(day + timedelta(days=1))]},
            yaxis={
                "title": {"text": "calls a week"},
                "rangemode": "tozero",
                "tickformat": "d",
                "dtick": max(1, math.ceil(max(counted.values(), default=0) / 5)),
            },
            yaxis2={
                "title": {"text": "chance"},
                "overlaying": "y",
                "side": "right",
                "rangemode": "tozero",
                "tickformat": SHARES,
                "showgrid": False,
            },
        ),
    }


def reliability(found: Reliability) -> dict[str, Any]:
    """Return what was forecast beside what came, by tenths, with Wilson intervals."""
    bins = found.bins
    top = max([*bins["mean_p"].to_list(), *bins["high"].to_list(), 0.01]) * 1.05
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "said is come",
                "x": [0, top],
                "y": [0, top],
                "line": {"color": GREY, "dash": "dot", "width": 1},
                "hoverinfo": "skip",
            },
            {
                "type": "scatter",
                "mode": "markers+lines",
                "name": "a tenth of cell-days",
                "x": bins["mean_p"].to_list(),
                "y": bins["share"].to_list(),
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": (bins["high"] - bins["share"]).to_list(),
                    "arrayminus": (bins["share"] - bins["low"]).to_list(),
                    "width": 3,
                },
                "marker": {"color": BLUE, "size": 7},
                "line": {"color": BLUE, "width": 1},
                "customdata": bins["cell_days"].to_list(),
                "hovertemplate": "said %{x:.1%}, came %{y:.1%} of %{customdata:,} cell-days"
                "<extra></extra>",
            },
        ],
        "layout": layout(
            height=300,
            margin={"l": 55, "r": 12, "t": 30, "b": 45},
            xaxis={"title": {"text": "chance said"}, "tickformat": SHARES, "range": [0, top]},
            yaxis={"title": {"text": "share that came"}, "tickformat": SHARES, "range": [0, top]},
        ),
    }


WARD_SHARES = (
    ("share_of_cells", "of cells", GREY, "line-ew-open"),
    ("share_of_all_calls", "of requests of every kind", GREEN, "circle-open"),
    ("share_of_calls", "of these calls", BLUE, "circle"),
    ("share_of_expected", "of calls expected", ORANGE, "triangle-up"),
    ("share_of_chosen", "of cells on the list", RED, "diamond"),
)


def wards(told: pl.DataFrame) -> dict[str, Any]:
    """Return each ward's shares of cells, of who calls, and of what is on the list."""
    names = [maps.hover(str(ward)) for ward in told["ward"]]
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "name": title,
                "x": names,
                "y": told[column].to_list(),
                "marker": {"color": colour, "symbol": symbol, "size": 8},
                "hovertemplate": f"ward %{{x}}: %{{y:.1%}} {title}<extra></extra>",
            }
            for column, title, colour, symbol in WARD_SHARES
        ],
        "layout": layout(
            height=300,
            margin={"l": 50, "r": 12, "t": 50, "b": 45},
            xaxis={"type": "category", "title": {"text": "ward"}, "automargin": True},
            yaxis={"title": {"text": "share of the city's"}, "tickformat": ".0%"},
        ),
    }
