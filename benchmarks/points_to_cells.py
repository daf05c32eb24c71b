"""Points to their H3 cell of resolution 10 and its parents of resolutions 6 to 9."""

from functools import partial
from pathlib import Path

import h3
import numpy as np
import pandas as pd
import polars as pl

from benchmarks.measuring import Effort, interleaved, metered
from benchmarks.report import Row, verdict
from city311_assets.feeds.chicago_311 import CHICAGO
from city311_assets.silver.cells import RESOLUTION, cells_of, parents_of

POINTS, POINTS_EARLIER = 10_000_000, 200_000
PARENTS = range(6, RESOLUTION)
MOST_CPU_SECONDS = 8.0


def points(count: str) -> tuple[np.ndarray, np.ndarray]:
    """Return uniform latitudes and longitudes in Chicago's box."""
    rng, box = np.random.default_rng(311), CHICAGO.box
    return rng.uniform(box.south, box.north, int(count)), rng.uniform(
        box.west, box.east, int(count)
    )


def ours(count: str) -> None:
    latitude, longitude = map(pl.Series, points(count))
    with metered("cells"):
        cells = cells_of(latitude, longitude)
    with metered("parents"):
        cells.to_frame().with_columns(parents_of(pl.col("cell"), r).alias(f"r{r}") for r in PARENTS)


def earlier(count: str) -> None:
    latitude, longitude = points(count)
    frame = pd.DataFrame({"latitude": latitude, "longitude": longitude})
    with metered("cells"):
        frame["cell"] = frame.apply(
            lambda row: h3.latlng_to_cell(row["latitude"], row["longitude"], RESOLUTION), axis=1
        )
    with metered("parents"):
        for r in PARENTS:
            frame[f"r{r}"] = frame["cell"].apply(h3.cell_to_parent, args=(r,))


def measure(effort: Effort, _: Path) -> list[Row]:
    count, few = POINTS // effort.divisor, POINTS_EARLIER // effort.divisor
    own, other = interleaved(
        effort.repeats, ours=partial(ours, str(count)), pandas_apply=partial(earlier, str(few))
    )
    size, most = f"{count:,} points", MOST_CPU_SECONDS / effort.divisor

    def row(stage: str, *parts: str) -> Row:
        took, scaled = own.cpu(*parts), other.cpu(*parts) * count / few
        said = f"row-wise apply: {scaled:.1f} CPU-s"
        if parts:
            return Row(stage, size, f"{took:.2f} CPU-s", said, scaled / took)
        return Row(
            stage,
            size,
            f"{took:.2f} CPU-s, {own.peak:,.0f} MB",
            f"{said} (scaled from {few:,} points)",
            scaled / took,
            f"≤ {most:g} CPU-s",
            verdict(took <= most),
        )

    return [
        row("points → r10 cell and parents r6 to r9"),
        row("- of which h3", "cells"),
        row("- of which parents", "parents"),
    ]
