"""What the atlas page draws: the cases by likeness, flat or solid, and the city's map of them."""

from math import cos, log2, radians
from typing import Any

import polars as pl

from city311_assets.serving.console import maps
from city311_assets.serving.console.atlas.months import Atlas
from city311_assets.serving.console.atlas.selection import Selection
from city311_assets.serving.console.atlas.words import counted, short
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.gold import CELLS

OTHER, OUTLIER = "#8a949c", "#b9c0c6"
FAINT, STRONG = 0.12, 0.85
HOVER_LETTERS, HOVER_LINE = 150, 48
LABELS = {"2d": 16, "3d": 6}
LABEL_LETTERS = 26
# The plot at 1280 pixels of screen, for labels that shall not lie on one another.
PLOT_PIXELS = (640, 540)
LETTER_PIXELS, LABEL_PIXELS = 7, 22
AXES = {"2d": ("x", "y"), "3d": ("x3", "y3", "z3")}
# On a phone; a wider map shows more around.
MAP_PIXELS = 330
DEGREES_OF_WORLD, TILE_PIXELS = 360.0, 512
NARROWEST_DEGREES = 0.01
FEW = 6
CELL_LABELS = f"select cell, label from {CELLS} where feed = $feed and resolution = $resolution"


def projection(atlas: Atlas, chosen: Selection) -> dict[str, Any]:
    """Return the figure of the cases by likeness: a point each, its record id as `customdata`."""
    axes = AXES[chosen.view]
    cases = atlas.cases if chosen.is_all else atlas.cases.filter("is_drawn")
    found = atlas.found(chosen.search)
    strong = _strong(atlas, chosen, found)
    size = (3.5 if chosen.view == "3d" else 6.5) - (1 if cases.height > 2_000 else 0)
    traces = [
        _points(part, axes, colour, size, FAINT if strong is not None else opacity)
        for part, colour, opacity in _layers(atlas, cases)
    ]
    if strong is not None:
        colours = strong["cluster_id"].replace_strict(
            atlas.colours, default=OTHER, return_dtype=pl.String
        )
        named = strong.with_columns(
            colour=pl.when(pl.col("cluster_id").is_null()).then(pl.lit(OUTLIER)).otherwise(colours)
        )
        trace = _points(named, axes, named["colour"].to_list(), size + 1.5, 1)
        trace["marker"]["line"] = {
            "width": 0.7 if strong.height <= 2_000 else 0,
            "color": "#1c2b36",
        }
        traces.append(trace)
    traces += _rings(atlas, chosen, axes, size)
    layout = _layout(atlas, chosen, axes)
    return {"data": traces, "layout": layout}


def place_map(
    atlas: Atlas, chosen: Selection, snapshot: Snapshot
) -> tuple[dict[str, Any] | None, str]:
    """Return the map of the city with the chosen cases counted by cell, and what it shows.

    None where the published file has no cells of the feed.
    """
    labels = _labels(snapshot, chosen)
    if labels.is_empty():
        return None, "The published file has no cells of this city, so there is no map of it."
    shown, what = selected(atlas, chosen)
    column = f"cell_{chosen.resolution}"
    counts = shown.group_by(cell=column).agg(cases=pl.len()).join(labels, on="cell")
    on_map = int(counts["cases"].sum())
    counts = counts.sort(["cases", "cell"], descending=[True, False])
    drawn = counts.head(maps.MOST_CELLS)
    lie = f"{on_map:,} of {counted(shown.height, 'case')} lie in {counted(counts.height, 'cell')}"
    said = [f"{what[:1].upper()}{what[1:]}: {lie} (H3 resolution {chosen.resolution})."]
    if absent := shown.height - on_map:
        said.append(f"{counted(absent, 'case')} without a point in the city.")
    if hidden := counts.height - drawn.height:
        said.append(
            f"{hidden:,} cells with {on_map - int(drawn['cases'].sum()):,} cases are not drawn: "
            "those with the fewest."
        )
    most = max([1, *drawn["cases"].head(1)])
    figure = maps.cell_map(
        chosen.feed,
        chosen.resolution,
        [format(cell, "x") for cell in drawn["cell"]],
        drawn["cases"].to_list(),
        [f"{label}\n{counted(cases, 'case')}" for _, cases, label in drawn.rows()],
        scale=maps.Scale("cases", 0, most, ticks=_whole(most)),
        view=_view(atlas.cases),
        revision=f"{chosen.feed} {chosen.resolution}",
    )
    case = atlas.case(chosen.record)
    if case and case[column]:
        figure["data"].append(_outlined(chosen, case[column]))
        said.append(f"The orange cell is that of case {case['record_id']}.")
    elif case:
        said.append(f"Case {case['record_id']} has no point.")
    return figure, " ".join(said)


def selected(atlas: Atlas, chosen: Selection) -> tuple[pl.DataFrame, str]:
    """Return the cases that are chosen, by search, by cluster or both, and how to call them."""
    found = atlas.found(chosen.search)
    cluster = atlas.cluster(chosen.cluster)
    cases = atlas.cases if found is None else found
    if cluster:
        cases = cases.filter(pl.col("cluster_id") == chosen.cluster)
    names = [f"“{cluster['name']}”"] if cluster else []
    names += [f"found by “{chosen.search}”"] if found is not None else []
    return cases, ", ".join(names) or "All cases of the map"


def _strong(atlas: Atlas, chosen: Selection, found: pl.DataFrame | None) -> pl.DataFrame | None:
    """Return the cases that stand out; None where all are alike."""
    if found is None and atlas.cluster(chosen.cluster) is None:
        return None
    return selected(atlas, chosen)[0]


def _layers(atlas: Atlas, cases: pl.DataFrame) -> list[tuple[pl.DataFrame, str, float]]:
    """Return cases by colour, those of the large clusters last, so that they lie on top."""
    cluster = pl.col("cluster_id")
    large = cluster.is_in([*atlas.colours])
    return [
        (cases.filter(cluster.is_null()), OUTLIER, 0.5),
        (cases.filter(cluster.is_not_null() & ~large), OTHER, 0.6),
        *((cases.filter(cluster == one), colour, STRONG) for one, colour in atlas.colours.items()),
    ]


def _points(
    cases: pl.DataFrame, axes: tuple[str, ...], colour: str | list[str], size: float, opacity: float
) -> dict[str, Any]:
    names = ("x", "y", "z")[: len(axes)]
    return {
        "type": "scatter3d" if len(axes) == 3 else "scattergl",
        "mode": "markers",
        "customdata": cases["record_id"].to_list(),
        "hovertext": [_hover(*row) for row in cases.select("cluster", "caption", "kind").rows()],
        "hoverinfo": "text",
        "opacity": opacity,
        "marker": {"color": colour, "size": size, "line": {"width": 0}},
        "showlegend": False,
    } | {name: cases[axis].round(3).to_list() for name, axis in zip(names, axes, strict=True)}


def _hover(cluster: str | None, caption: str | None, kind: str | None) -> str:
    text = short(caption or kind or "no description", HOVER_LETTERS)
    lines = [cluster or "in no cluster"]
    for word in text.split():
        fits = len(lines) > 1 and len(lines[-1]) + len(word) < HOVER_LINE
        lines[-1:] = [f"{lines[-1]} {word}"] if fits else [lines[-1], word]
    return maps.hover("\n".join(lines))


def _rings(
    atlas: Atlas, chosen: Selection, axes: tuple[str, ...], size: float
) -> list[dict[str, Any]]:
    """Return marks around the chosen case and its nearest; none where none is chosen."""
    case = atlas.case(chosen.record)
    if case is None:
        return []
    near = _points(atlas.some(case["nearest_ids"]), axes, "#1c2b36", size + 6, 1)
    near["marker"] |= {"symbol": "circle-open", "line": {"width": 2, "color": "#1c2b36"}}
    own = _points(atlas.some([case["record_id"]]), axes, "#000000", size + 8, 1)
    own["marker"] |= {
        "symbol": "diamond" if len(axes) == 3 else "star",
        "line": {"width": 1.5, "color": "#ffffff"},
    }
    return [near, own]


def _layout(atlas: Atlas, chosen: Selection, axes: tuple[str, ...]) -> dict[str, Any]:
    bare = {
        "showticklabels": False,
        "showgrid": False,
        "zeroline": False,
        "title": {"text": ""},
    }
    layout: dict[str, Any] = {
        "margin": {"l": 4, "r": 4, "t": 4, "b": 4},
        "uirevision": f"{chosen.feed} {chosen.month} {chosen.view}",
        "hovermode": "closest",
        "showlegend": False,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "font": {"color": "#1c2b36"}},
        "font": {"family": "system-ui, sans-serif", "size": 12},
    }
    ranges = [_range(atlas.cases[axis]) for axis in axes]
    labels = _names(atlas, chosen, axes, ranges)
    if chosen.view == "3d":
        solid = bare | {"showspikes": False, "showbackground": False, "showgrid": True}
        solid["gridcolor"] = "#e3e6ea"
        layout["scene"] = {
            f"{name}axis": solid | {"range": bounds}
            for name, bounds in zip("xyz", ranges, strict=True)
        } | {
            "aspectmode": "cube",
            "annotations": labels,
            "camera": {"eye": {"x": 1.1, "y": 1.1, "z": 0.6}},
        }
        return layout
    return layout | {
        "xaxis": bare | {"range": ranges[0]},
        "yaxis": bare | {"range": ranges[1], "scaleanchor": "x"},
        "dragmode": "pan",
        "annotations": labels,
    }


def _range(values: pl.Series) -> list[float]:
    least, most = float(values.min() or 0), float(values.max() or 0)  # type: ignore[arg-type]
    edge = 0.05 * (most - least) or 1.0
    return [least - edge, most + edge]


def _names(
    atlas: Atlas, chosen: Selection, axes: tuple[str, ...], ranges: list[list[float]]
) -> list[dict[str, Any]]:
    """Return labels of the largest clusters and the chosen one, none on another."""
    chosen_first = (pl.col("cluster_id") == (chosen.cluster or -1)).cast(pl.Int8)
    clusters = atlas.clusters.sort(chosen_first, descending=True, maintain_order=True)
    middles = {
        row[0]: row[1:]
        for row in atlas.cases.drop_nulls("cluster_id")
        .group_by("cluster_id")
        .agg(pl.col(axis).median() for axis in axes)
        .rows()
    }
    scale = min(
        pixels / (bounds[1] - bounds[0])
        for pixels, bounds in zip(PLOT_PIXELS, ranges[:2], strict=True)
    )
    kept: list[tuple[float, float, int]] = []
    labels = []
    for cluster, name in clusters.select("cluster_id", "name").head(LABELS[chosen.view]).rows():
        if cluster not in middles:
            continue
        text = short(name, LABEL_LETTERS)
        at = middles[cluster]
        x, y = at[0] * scale, at[1] * scale
        is_clear = all(
            abs(x - other_x) > (len(text) + length) * LETTER_PIXELS / 2
            or abs(y - other_y) > LABEL_PIXELS
            for other_x, other_y, length in kept
        )
        if not is_clear:
            continue
        kept.append((x, y, len(text)))
        is_chosen = cluster == chosen.cluster
        labels.append(
            dict(zip(("x", "y", "z"), at, strict=False))
            | {
                "text": maps.hover(text),
                "showarrow": False,
                "yshift": LABEL_PIXELS,
                "bgcolor": "rgba(255,255,255,0.85)",
                "bordercolor": atlas.colours.get(cluster, OTHER),
                "borderwidth": 2 if is_chosen else 1,
                "borderpad": 2,
                "font": {"size": 12, "color": "#1c2b36"},
                "captureevents": False,
            }
        )
    return labels


def _labels(snapshot: Snapshot, chosen: Selection) -> pl.DataFrame:
    """Return the cells of the study area by name; none where there are none."""
    if not snapshot.has(CELLS):
        return pl.DataFrame(schema={"cell": pl.UInt64, "label": pl.String})
    asked = {"feed": chosen.feed, "resolution": chosen.resolution}
    key = ("cell labels", *asked.values())
    return snapshot.once(key, lambda: snapshot.frame(CELL_LABELS, asked))


def _whole(most: int) -> dict[float, str] | None:
    """Return the legend's numbers where a browser would choose halves."""
    return {one: str(one) for one in range(most + 1)} if most < FEW else None


def _outlined(chosen: Selection, cell: int) -> dict[str, Any]:
    return {
        "type": "choroplethmap",
        "geojson": maps.geometry_url(chosen.feed, chosen.resolution),
        "featureidkey": "id",
        "name": "record",
        "locations": [format(cell, "x")],
        "z": [1],
        "showscale": False,
        "colorscale": [[0, "#e69f00"], [1, "#e69f00"]],
        "marker": {"opacity": 0.9, "line": {"width": 2.5, "color": "#5b3a00"}},
        "hovertemplate": "the chosen case's cell<extra></extra>",
    }


def _view(cases: pl.DataFrame) -> dict[str, float]:
    """Return where a map looks so that it holds nearly all cases."""
    placed = cases.drop_nulls(["latitude", "longitude"])
    if placed.is_empty():
        return {"lat": 0.0, "lon": 0.0, "zoom": 1.0}
    south, north, west, east = placed.select(
        pl.col("latitude").quantile(0.01).alias("south"),
        pl.col("latitude").quantile(0.99).alias("north"),
        pl.col("longitude").quantile(0.01).alias("west"),
        pl.col("longitude").quantile(0.99).alias("east"),
    ).row(0)
    middle = (south + north) / 2
    wide = max(east - west, (north - south) / cos(radians(middle)), NARROWEST_DEGREES)
    zoom = log2(DEGREES_OF_WORLD * MAP_PIXELS / TILE_PIXELS / wide) - 0.25
    return {"lat": middle, "lon": (west + east) / 2, "zoom": zoom}
