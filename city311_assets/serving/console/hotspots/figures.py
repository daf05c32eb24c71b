"""The charts of the hotspots page, as plain dicts.

What belongs here: how numbers are drawn. What does not: how they are had, and maps (`cell_maps`).
Plotly reads markup in names and hover texts: what comes from the data goes through `maps.hover`.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from math import ceil
from typing import Any

from city311_assets.serving.console.hotspots.parts import count, day, name, percent
from city311_assets.serving.console.maps import SEQUENTIAL, hover

# Okabe and Ito's colours, told apart by everybody; the rest of the categories is grey.
CATEGORICAL = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
OTHERS = "#999999"
GREYS = ("#c9c9c9", "#9a9a9a", "#6b6b6b", "#444444")
CHOSEN, NOT_CHOSEN, EDGE = "#0072b2", "#a6bddb", "#1c2b36"
GRID = "#e3e8ec"
UNTOLD_OPACITY = 0.45
SHORT_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
CHART_HEIGHT = 240
DONUT_HEIGHT = 300
CALENDAR_HEIGHT = 210
INTERVAL_HEIGHT = 230
LEGEND_LETTERS = 32
# Labels of an axis that a phone has room for.
MOST_TICKS = 6


def shortened(text: str) -> str:
    """Return a name no longer than a legend has room for."""
    return text if len(text) <= LEGEND_LETTERS else f"{text[: LEGEND_LETTERS - 1]}…"


def layout(height: int, **more: object) -> dict[str, Any]:
    """Return what all charts share: their font, no frame, margins that grow with the labels."""
    return {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8, "autoexpand": True},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": EDGE},
        "showlegend": False,
        "dragmode": False,
        **more,
    }


def axis(title: str = "", **more: object) -> dict[str, Any]:
    """Return an axis that cannot be dragged away from its data."""
    return {
        "title": {"text": title, "font": {"size": 11}, "standoff": 10},
        "gridcolor": GRID,
        "zeroline": False,
        "automargin": True,
        "fixedrange": True,
        **more,
    }


def chooser(
    keys: Sequence[int],
    labels: Sequence[str],
    rates: Sequence[float | None],
    *,
    said: Sequence[str],
    chosen: Sequence[int],
    unit: str,
) -> dict[str, Any]:
    """Return bars of which a click chooses one; those chosen stand out by colour and frame.

    Parameters
    ----------
    keys
        What a click tells, in `customdata`.
    rates
        The bars' heights; None where there is no day to count on.
    said
        What is said of each when it is pointed at.
    """
    is_on = [not chosen or key in chosen for key in keys]
    return {
        "data": [
            {
                "type": "bar",
                "x": list(labels),
                "y": list(rates),
                "customdata": list(keys),
                "hovertext": [hover(text) for text in said],
                "hovertemplate": "%{hovertext}<extra></extra>",
                "marker": {
                    "color": [CHOSEN if on else NOT_CHOSEN for on in is_on],
                    "line": {
                        "color": EDGE,
                        "width": [2 if chosen and on else 0 for on in is_on],
                    },
                },
            }
        ],
        "layout": layout(
            CHART_HEIGHT,
            xaxis=axis(type="category", showgrid=False),
            yaxis=axis(unit, rangemode="tozero"),
            bargap=0.15,
            hovermode="closest",
        ),
    }


def mix(
    starts: Sequence[date],
    by_category: Mapping[str | None, Sequence[float | None]],
    is_told: Sequence[bool],
    days: int,
) -> dict[str, Any]:
    """Return stacked bars over time, one colour a category.

    Parameters
    ----------
    starts
        First day of each bar.
    by_category
        Records a day of each category at each start; None where nothing is held. The category None
        is all others together, drawn grey.
    is_told
        Whether the portal had told a bar's days in full; the others are pale.
    days
        How many days a bar stands for.
    """
    width = timedelta(days=days) / timedelta(milliseconds=1) * 0.92
    middles = [f"{start + timedelta(days=(days - 1) // 2)}" for start in starts]
    begins = [f"{'week of ' if days > 1 else ''}{day(start)}" for start in starts]
    untold = ["" if told else "\nnot yet told in full" for told in is_told]
    named = [("all others" if one is None else name(one), one is None) for one in by_category]
    traces = [
        {
            "type": "bar",
            "name": hover(shortened(label)),
            "x": middles,
            "y": list(values),
            "width": width,
            "hovertext": [
                hover(f"{when}\n{label}: {count(value)} a day{note}")
                for when, value, note in zip(begins, values, untold, strict=True)
            ],
            "hovertemplate": "%{hovertext}<extra></extra>",
            "marker": {
                "color": OTHERS if is_rest else CATEGORICAL[place % len(CATEGORICAL)],
                "opacity": [1.0 if told else UNTOLD_OPACITY for told in is_told],
            },
        }
        for place, ((label, is_rest), values) in enumerate(
            zip(named, by_category.values(), strict=True)
        )
    ]
    return {
        "data": traces,
        "layout": layout(
            300,
            barmode="stack",
            showlegend=True,
            legend={
                "orientation": "h",
                "y": -0.15,
                "yanchor": "top",
                "x": 0,
                "traceorder": "normal",
            },
            xaxis=axis(type="date", showgrid=False),
            yaxis=axis("records a day", rangemode="tozero"),
            hovermode="closest",
        ),
    }


def donut(
    labels: Sequence[str],
    records: Sequence[int],
    is_known: Sequence[bool],
    rate: str,
    interval_words: str,
) -> dict[str, Any]:
    """Return a ring of outcomes with the rate in its middle; those not known are grey."""
    total = sum(records) or 1
    said = [
        hover(f"{label}\n{count(value)} records, {percent(value / total)}")
        for label, value in zip(labels, records, strict=True)
    ]
    known, unknown = iter(CATEGORICAL), iter(GREYS)
    colours = [next(known if one else unknown) for one in is_known]
    return {
        "data": [
            {
                "type": "pie",
                "labels": [hover(label) for label in labels],
                "values": list(records),
                "hole": 0.62,
                "sort": False,
                "direction": "clockwise",
                "textinfo": "none",
                "hovertext": said,
                "hovertemplate": "%{hovertext}<extra></extra>",
                "marker": {
                    "colors": colours,
                    "line": {"color": "#ffffff", "width": 2},
                },
            }
        ],
        "layout": layout(
            DONUT_HEIGHT,
            showlegend=True,
            legend={
                "orientation": "h",
                "y": -0.05,
                "yanchor": "top",
                "x": 0.5,
                "xanchor": "center",
            },
            annotations=[
                _middle(rate, size=18, shift=8),
                _middle(interval_words, size=11, shift=-12),
            ],
        ),
    }


def _middle(text: str, size: int, shift: int) -> dict[str, Any]:
    return {
        "text": hover(text),
        "showarrow": False,
        "font": {"size": size},
        "x": 0.5,
        "y": 0.5,
        "yshift": shift,
    }


def calendar(
    days: Sequence[date],
    values: Sequence[float | None],
    is_told: Sequence[bool],
) -> dict[str, Any]:
    """Return a calendar: a column a week, a row a weekday; days that are not held are left out."""
    mondays = sorted({one - timedelta(days=one.weekday()) for one in days})
    columns = {monday: place for place, monday in enumerate(mondays)}
    z: list[list[float | None]] = [[None] * len(mondays) for _ in SHORT_WEEKDAYS]
    texts = [[""] * len(mondays) for _ in SHORT_WEEKDAYS]
    for one, value, told in zip(days, values, is_told, strict=True):
        row, column = one.weekday(), columns[one - timedelta(days=one.weekday())]
        z[row][column] = value
        said = "not held" if value is None else f"{count(value)} records"
        texts[row][column] = hover(f"{day(one)}\n{said}{'' if told else ', not yet told in full'}")
    last = len(SEQUENTIAL) - 1
    return {
        "data": [
            {
                "type": "heatmap",
                "x": [str(monday) for monday in mondays],
                "y": list(SHORT_WEEKDAYS),
                "z": z,
                "hovertext": texts,
                "hovertemplate": "%{hovertext}<extra></extra>",
                "hoverongaps": False,
                "xgap": 2 if len(mondays) < 80 else 0,
                "ygap": 2,
                "colorscale": [[at / last, colour] for at, colour in enumerate(SEQUENTIAL)],
                "colorbar": {"title": {"text": "records"}, "thickness": 10, "outlinewidth": 0},
            }
        ],
        "layout": layout(
            CALENDAR_HEIGHT,
            xaxis=axis(
                type="date",
                showgrid=False,
                tick0=str(mondays[0]),
                dtick=timedelta(weeks=ceil(len(mondays) / MOST_TICKS)) / timedelta(milliseconds=1),
                tickformat="%-d %b<br>%Y",
            ),
            yaxis=axis(autorange="reversed", showgrid=False, type="category"),
        ),
    }


def hours_of_week(rates: Mapping[tuple[int, int], float | None]) -> dict[str, Any]:
    """Return a grid of weekdays (1 to 7) and hours, by records an hour of such a day."""
    z = [[rates.get((weekday, hour)) for hour in range(24)] for weekday in range(1, 8)]
    texts = [
        [
            f"{SHORT_WEEKDAYS[row]} {hour}:00 to {hour}:59<br>"
            + ("not held" if value is None else f"{value:.2f} records a day")
            for hour, value in enumerate(values)
        ]
        for row, values in enumerate(z)
    ]
    last = len(SEQUENTIAL) - 1
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(range(24)),
                "y": list(SHORT_WEEKDAYS),
                "z": z,
                "hovertext": texts,
                "hovertemplate": "%{hovertext}<extra></extra>",
                "hoverongaps": False,
                "xgap": 1,
                "ygap": 1,
                "colorscale": [[at / last, colour] for at, colour in enumerate(SEQUENTIAL)],
                "colorbar": {"title": {"text": "a day"}, "thickness": 10, "outlinewidth": 0},
            }
        ],
        "layout": layout(
            CALENDAR_HEIGHT,
            xaxis=axis("local hour", dtick=3, showgrid=False),
            yaxis=axis(autorange="reversed", showgrid=False, type="category"),
        ),
    }


def interval(
    middle: float,
    inner: tuple[float, float],
    outer: tuple[float, float],
    marks: Mapping[str, float],
    unit: str,
) -> dict[str, Any]:
    """Return a number with its 80 and 95 % intervals on a line, and others to compare it with."""
    lines: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": label,
            "x": list(ends),
            "y": [0, 0],
            "line": {"color": colour, "width": width},
            "hovertemplate": f"{label}: {count(ends[0])} to {count(ends[1])}<extra></extra>",
        }
        for label, ends, colour, width in (
            ("95 % interval", outer, NOT_CHOSEN, 8),
            ("80 % interval", inner, CHOSEN, 14),
        )
    ]
    shapes = {"forecast": "circle"} | dict.fromkeys(marks, "line-ns-open")
    colours = ("#ffffff", CATEGORICAL[5], CATEGORICAL[2], CATEGORICAL[3])
    points: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": label,
            "x": [value],
            "y": [0],
            "marker": {
                "symbol": shapes[label],
                "size": 10 if place == 0 else 26,
                "color": colour,
                "line": {"color": EDGE if place == 0 else colour, "width": 2},
            },
            "hovertemplate": f"{label}: {count(value)}<extra></extra>",
        }
        for place, ((label, value), colour) in enumerate(
            zip(({"forecast": middle} | dict(marks)).items(), colours, strict=False)
        )
    ]
    return {
        "data": lines + points,
        "layout": layout(
            INTERVAL_HEIGHT,
            showlegend=True,
            legend={"orientation": "h", "y": -0.45, "yanchor": "top", "x": 0},
            xaxis=axis(unit),
            yaxis=axis(visible=False, range=[-1, 1]),
            hovermode="closest",
        ),
    }
