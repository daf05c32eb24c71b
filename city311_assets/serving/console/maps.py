"""Maps of cells, for every page that draws one.

What belongs here: how a cell is coloured and labelled, and what lies under it. What does not: what
the colour means; a page brings its scale. Figures are plain dicts: making `go.Figure` costs more
than the query behind it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from city311_assets.settings import settings

# Cells of one drawing, about a city at resolution 9: more take a browser seconds.
MOST_CELLS = 7_000
FEW_CELLS = 1_500
WITHOUT_TILES = "white-bg"
# Colour-blind safe: ColorBrewer's PuBu without its lightest, PuOr, and Okabe and Ito's.
SEQUENTIAL = ("#ece7f2", "#a6bddb", "#74a9cf", "#3690c0", "#0570b0", "#034e7b")
DIVERGING = ("#2d004b", "#8073ac", "#d8daeb", "#f7f7f7", "#fee0b6", "#e08214", "#7f3b08")
UNKNOWN = "#d9d9d9"


@dataclass(frozen=True, slots=True)
class Scale:
    """How numbers become colours.

    Attributes
    ----------
    title
        What the legend says above, with the unit.
    low, high
        The numbers at its ends; what lies beyond has the end's colour.
    palette
        Colours from low to high, evenly spaced.
    ticks
        Numbers named in the legend and their words; chosen by the browser where None.
    """

    title: str
    low: float
    high: float
    palette: Sequence[str] = SEQUENTIAL
    ticks: Mapping[float, str] | None = None
    tick_format: str = ""


def geometry_url(feed: str, resolution: int, parent: str | None = None) -> str:
    """Return where the outlines of a feed's cells are, all or those below a parent (H3, hex)."""
    below = f"?parent={parent}" if parent else ""
    return f"/api/geo/{feed}/{resolution}.json{below}"


def boundaries_url(feed: str) -> str:
    """Return where the published boundaries of a feed's city are."""
    return f"/api/geo/{feed}/boundaries.json"


def cell_map(
    feed: str,
    resolution: int,
    cells: Sequence[str],
    values: Sequence[float | None],
    labels: Sequence[str],
    *,
    scale: Scale,
    view: Mapping[str, float],
    parent: str | None = None,
    revision: str = "",
) -> dict[str, Any]:
    r"""Return the figure of a map of cells.

    Parameters
    ----------
    cells
        H3 cells, hex, at most `MOST_CELLS`.
    values
        The number of each; None is drawn grey.
    labels
        What is said when a cell is pointed at, one line or several (`\\n`); plain text.
    view
        `lat`, `lon` of the middle and `zoom`.
    parent
        The drilled cell whose children these are.
    revision
        The person's own pan and zoom are kept as long as this is the same.

    Raises
    ------
    ValueError
        If the sequences differ in length, or there are too many cells.
    """
    if not len(cells) == len(values) == len(labels):
        raise ValueError(
            f"a map of {len(cells)} cells, {len(values)} values and {len(labels)} labels"
        )
    if len(cells) > MOST_CELLS:
        raise ValueError(f"{len(cells)} cells on one map; draw at most {MOST_CELLS} of them")
    known = [place for place, value in enumerate(values) if value is not None]
    unknown = [place for place, value in enumerate(values) if value is None]
    url = geometry_url(feed, resolution, parent)
    common = {"type": "choroplethmap", "geojson": url, "featureidkey": "id"}
    said = {"hovertemplate": "%{customdata}<extra></extra>"}
    colorbar: dict[str, Any] = {
        "title": {"text": scale.title, "side": "top"},
        "orientation": "h",
        "y": 0,
        "yanchor": "top",
        "thickness": 10,
        # So long that a word centred on its end is not cut off.
        "len": 0.78,
        "tickformat": scale.tick_format,
    }
    if scale.ticks is not None:
        colorbar |= {"tickvals": list(scale.ticks), "ticktext": list(scale.ticks.values())}
    last = max(len(scale.palette) - 1, 1)
    # Around thousands of small cells lines would be all that is seen.
    outline = {"width": 0.5 if len(cells) < FEW_CELLS else 0, "color": "#ffffff"}
    traces: list[dict[str, Any]] = [
        common
        | said
        | {
            "name": "unknown",
            "locations": [cells[place] for place in unknown],
            "z": [0] * len(unknown),
            "customdata": [hover(labels[place]) for place in unknown],
            "colorscale": [[0, UNKNOWN], [1, UNKNOWN]],
            "showscale": False,
            "marker": {"opacity": 0.6, "line": outline},
        },
        common
        | said
        | {
            "name": "cells",
            "locations": [cells[place] for place in known],
            "z": [values[place] for place in known],
            "customdata": [hover(labels[place]) for place in known],
            "colorscale": [[at / last, colour] for at, colour in enumerate(scale.palette)],
            "zmin": scale.low,
            "zmax": scale.high if scale.high > scale.low else scale.low + 1,
            "marker": {"opacity": 0.8, "line": outline},
            "colorbar": colorbar,
        },
    ]
    return {"data": traces, "layout": map_layout(feed, view, revision)}


def map_layout(feed: str, view: Mapping[str, float], revision: str = "") -> dict[str, Any]:
    """Return the layout of a map: what lies under it, where it looks, no margins."""
    style = settings().console_map_style
    lines = {
        "sourcetype": "geojson",
        "source": boundaries_url(feed),
        "type": "line",
        "color": "#5f6b76",
        "line": {"width": 1},
    }
    return {
        "map": {
            "style": style or WITHOUT_TILES,
            "center": {"lat": view["lat"], "lon": view["lon"]},
            "zoom": view["zoom"],
            "layers": [lines],
        },
        "margin": {"l": 0, "r": 0, "t": 0, "b": 56},
        "uirevision": revision or feed,
        "showlegend": False,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12},
    }


def hover(text: str) -> str:
    """Return text as plotly shows it letter by letter: its own markup undone, lines kept."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace("\n", "<br>")
