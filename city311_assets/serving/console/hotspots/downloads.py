"""What is on screen as a file: CSV for a table program, GeoJSON for a map.

What belongs here: how rows are written. What does not: which rows there are.
"""

import json

import polars as pl

from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.gold import CELLS

# A table program takes a text that begins like this for a formula, and runs it.
FORMULA = r"^[=+\-@\t\r\n]"
OUTLINES = f"""
    select cell, boundary from {CELLS}
    where feed = $feed and resolution = $resolution and cell in $cells
"""


def csv(frame: pl.DataFrame) -> str:
    """Return rows as CSV (RFC 4180), a header of the columns' names first.

    A text that a table program would take for a formula has an apostrophe before it; lists are
    joined by semicolons; what is unknown is empty.
    """
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    plain = frame.with_columns(pl.col(lists).list.join("; ")) if lists else frame
    texts = [name for name, kind in plain.schema.items() if kind == pl.String]
    defused = plain.with_columns(
        pl.when(pl.col(name).str.contains(FORMULA))
        .then(pl.concat_str(pl.lit("'"), pl.col(name)))
        .otherwise(pl.col(name))
        .alias(name)
        for name in texts
    )
    return defused.write_csv(line_terminator="\r\n")


def geojson(snapshot: Snapshot, selection: Selection, frame: pl.DataFrame) -> str:
    """Return cells with their outlines as GeoJSON (RFC 7946).

    `frame` has `cell` (hex) and whatever is to be said of it, which become the properties.
    """
    numbers = [int(cell, 16) for cell in frame["cell"]]
    outlines: dict[int, str] = {}
    if numbers and snapshot.has(CELLS):
        found = snapshot.frame(
            OUTLINES,
            {"feed": selection.feed, "resolution": selection.resolution, "cells": numbers},
        )
        outlines = dict(found.iter_rows())
    if missing := [one for one in numbers if one not in outlines]:
        outlines |= _shapes(missing)
    # Not a number, and infinite, are none in JSON: dataframes of ours have null there.
    features = [
        {
            "type": "Feature",
            "id": row["cell"],
            "geometry": json.loads(outlines[number]),
            "properties": row,
        }
        for number, row in zip(numbers, frame.iter_rows(named=True), strict=True)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}, allow_nan=False)


def _shapes(cells: list[int]) -> dict[int, str]:
    """Return the outlines of cells that the study area does not know yet."""
    import numpy as np

    from city311_assets.gold.methods.grid import shapes

    found = shapes(np.array(cells, np.uint64)).select("cell", "boundary")
    return dict(found.iter_rows())
