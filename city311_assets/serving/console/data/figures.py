"""Figures of the Data page: which days are held. Plain dicts."""

from datetime import timedelta
from typing import Any

import polars as pl

from city311_assets.serving.console.maps import SEQUENTIAL, UNKNOWN, hover

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def days_held(days: pl.DataFrame) -> dict[str, Any]:
    """Return a calendar of the days between the first and the last held, a column a week.

    Parameters
    ----------
    days
        `day, rows` of the days held. What lies between and is not held is grey.
    """
    every = days.sort("day").upsample("day", every="1d")
    placed = every.with_columns(
        week=pl.col("day").dt.truncate("1w"),
        weekday=pl.col("day").dt.weekday() - 1,
        said=pl.format(
            "{}: {}",
            pl.col("day").dt.strftime("%a %Y-%m-%d"),
            pl.when(pl.col("rows").is_null())
            .then(pl.lit("not held, never asked for"))
            .otherwise(pl.format("{} rows", "rows")),
        ),
    )
    weeks = placed["week"].unique().sort().to_list()
    held, missing = (
        placed.filter(is_missing)
        for is_missing in (pl.col("rows").is_not_null(), pl.col("rows").is_null())
    )
    traces = [
        _days(missing.with_columns(rows=pl.lit(0)), "not held", [[0, UNKNOWN], [1, UNKNOWN]]),
        _days(
            held,
            "rows",
            [[at / (len(SEQUENTIAL) - 1), colour] for at, colour in enumerate(SEQUENTIAL)],
        ),
    ]
    return {
        "data": traces,
        "layout": {
            "margin": {"l": 40, "r": 10, "t": 10, "b": 45},
            "height": 230,
            "yaxis": {
                "tickvals": [*range(7)],
                "ticktext": [*WEEKDAYS],
                "autorange": "reversed",
                "showgrid": False,
                "zeroline": False,
                "fixedrange": True,
            },
            "xaxis": {
                "type": "date",
                "showgrid": False,
                "fixedrange": True,
                "range": [str(weeks[0] - timedelta(days=4)), str(weeks[-1] + timedelta(days=4))],
            },
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 12},
        },
    }


def _days(days: pl.DataFrame, name: str, colours: list[list[Any]]) -> dict[str, Any]:
    return {
        "type": "heatmap",
        "name": name,
        "x": days["week"].cast(pl.String).to_list(),
        "y": days["weekday"].to_list(),
        "z": days["rows"].to_list(),
        "customdata": [hover(text) for text in days["said"].to_list()],
        "hovertemplate": "%{customdata}<extra></extra>",
        "colorscale": colours,
        "showscale": name == "rows",
        "colorbar": {"title": {"text": "rows a day", "side": "right"}, "thickness": 10},
        "zmin": 0,
        "zmax": max(days["rows"].to_list() or [0], default=0) or 1,
        "xgap": 1,
        "ygap": 1,
    }
