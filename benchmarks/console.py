"""The hotspots page of the console: what each of its questions takes, with five years of crimes."""

import json
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from statistics import median

import duckdb
import h3.api.basic_int as h3
import numpy as np
import pandas as pd
import polars as pl

from benchmarks.measuring import Effort, Runs, interleaved, metered
from benchmarks.report import Row, verdict
from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.gold.cells import cell_rows
from city311_assets.sample_city.geography import boundaries
from city311_assets.serving.console.hotspots.cells import cell_measures
from city311_assets.serving.console.hotspots.columns import columns_of
from city311_assets.serving.console.hotspots.comparison import comparison
from city311_assets.serving.console.hotspots.kpis import kpis
from city311_assets.serving.console.hotspots.outcomes import outcome_mix, streets
from city311_assets.serving.console.hotspots.quick_hits import quick_hits
from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets.serving.console.hotspots.series import calendar, day_series, weekday_hours
from city311_assets.serving.snapshots import Snapshots
from city311_assets.warehouse.resource import CONNECTION
from city311_assets.warehouse.snapshot import sql
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets.warehouse.tables.silver import INCIDENTS

RECORDS, YEARS = 1_200_000, 5
FIRST = date(2021, 11, 1)
CATEGORIES = ("property", "violent", "other", "drugs_and_vice", "public_order")
SHARES = (0.53, 0.3, 0.09, 0.05, 0.03)
STREETS = 2_000
RESOLUTIONS = range(6, 11)
MOST_MILLISECONDS = 150.0
ROUNDS = 3
OBSERVED = timedelta(days=30)
# What is asked of the place as a whole takes the same at every resolution.
COUNTED_AT = 8
QUESTIONS = {
    "cells": cell_measures,
    "numbers above the page": kpis,
    "quick hits": quick_hits,
    "comparison": comparison,
    "series by day": day_series,
    "calendar": calendar,
    "weekdays and hours": weekday_hours,
    "outcomes": outcome_mix,
    "streets": streets,
}
WHATEVER_THE_CELLS = frozenset(list(QUESTIONS)[4:])
PUBLISHED = """
    create or replace table meta.publications as select '1' as data_version,
        $at::timestamp as published_at, []::varchar[] as slices_in_flight
"""


def _geometries() -> list[str]:
    areas = boundaries(CHICAGO_CRIMES.city.portal, CHICAGO_CRIMES.city.boundaries[0].dataset)
    features = json.loads(json.dumps(areas))["features"]
    return [json.dumps(one["geometry"]) for one in features]


def published(path: Path, records: int) -> None:
    """Write a file as it is published: five years of one feed, whose cells differ in how busy."""
    rng = np.random.default_rng(311)
    areas = pl.DataFrame(
        [
            {"area": f"Area {place}", "geometry": geometry}
            for place, geometry in enumerate(_geometries())
        ]
    )
    nowhere = {"cell": pl.UInt64, "records": pl.Int64} | dict.fromkeys(
        ("street", "district", "community_area", "neighborhood"), pl.String
    )
    cells = cell_rows(CHICAGO_CRIMES, areas, pl.DataFrame(schema=nowhere))
    finest = cells.filter(pl.col("resolution") == 10)["cell"].to_numpy()
    busy = rng.lognormal(0, 1.2, finest.size)
    days = YEARS * 365
    day = np.sort(rng.integers(0, days, records))
    hour = rng.integers(0, 24, records)
    opened = (
        np.datetime64(FIRST, "us") + day * np.timedelta64(1, "D") + hour * np.timedelta64(1, "h")
    )
    rows = pl.DataFrame(
        {
            "record_id": pl.Series(np.arange(records)).cast(pl.String),
            "opened_at": opened,
            "opened_at_utc": opened + np.timedelta64(6, "h"),
            "category": rng.choice(CATEGORIES, records, p=SHARES),
            "street": rng.integers(0, STREETS, records),
            "cell": rng.choice(finest, records, p=busy / busy.sum()),
            "hour": hour.astype(np.uint8),
            "is_time_certain": rng.random(records) < 0.95,
            "is_arrest": rng.random(records) < 0.15,
        }
    ).with_columns(
        pl.lit(CHICAGO_CRIMES.name).alias("feed"),
        pl.format("W {} ST", "street").alias("street"),
        pl.col("opened_at").dt.date().alias("day"),
        pl.col("opened_at").dt.weekday().cast(pl.UInt8).alias("weekday"),
        (pl.col("opened_at_utc") + OBSERVED).alias("observed_until"),
        pl.lit("crimes").alias("taxonomy"),
        pl.lit("sample").alias("origin"),
        pl.lit("about:blank").alias("record_url"),
        pl.lit(value=True).alias("has_point"),
    )
    slices = rows.group_by("feed", "day").agg(
        pl.len().alias("rows"), pl.col("observed_until").max().alias("asked_at")
    )
    with duckdb.connect(str(path), config=CONNECTION) as conn:
        conn.execute("set enable_progress_bar = false")
        for table in TABLES:
            conn.execute(f"create schema if not exists {table.layer}")
            conn.execute(table.ddl)
        for table, frame in ((INCIDENTS, rows), (CELLS, cells), (SLICES, slices.sort("day"))):
            conn.register("made", frame)
            conn.execute(f"insert into {table} by name from made")
            conn.unregister("made")
        conn.execute(sql("macros"))
        conn.execute(PUBLISHED, {"at": opened.max().item()})


def _asked(resolution: int, number: int = 0) -> Selection:
    """Return five years but some days, of two categories; against the same weeks a year before."""
    last = FIRST + timedelta(days=YEARS * 365 - 1)
    # Other days for each size of cells: records of the same days are counted once for all of them.
    days = number + (ROUNDS + 1) * RESOLUTIONS.index(resolution)
    first = FIRST + timedelta(days=days)
    return Selection(
        CHICAGO_CRIMES.name, first, last, categories=CATEGORIES[:2], resolution=resolution
    )


def ours(path: str) -> None:
    """Ask all that a page shows, each time of a selection that nobody has asked for."""
    snapshots = Snapshots(Path(path))
    with snapshots.current() as snapshot:
        with metered("read"):
            columns_of(snapshot, CHICAGO_CRIMES.name)
        for resolution in RESOLUTIONS:
            # The first of a resolution reads its labels and makes its grid, which are kept.
            for number in range(ROUNDS + 1):
                selection = _asked(resolution, number)
                with metered(f"page r{resolution}" if number else "first"):
                    for name, question in QUESTIONS.items():
                        with metered(f"{name} r{resolution}" if number else "first"):
                            question(snapshot, selection)


def row_by_row(path: str) -> None:
    """Read the records into pandas, find the cell of each in turn, and count them in groups."""
    selection = _asked(COUNTED_AT)
    conn = duckdb.connect(path, read_only=True)
    for resolution in RESOLUTIONS:
        with metered(f"cells r{resolution}"):
            records = conn.execute(
                f"select cell, category, is_arrest from {INCIDENTS} where cell is not null"
            ).df()
            records["parent"] = [
                h3.cell_to_parent(cell, resolution) for cell in records["cell"].tolist()
            ]
            chosen = records[records["category"].isin(selection.categories)]
            groups = chosen.groupby("parent")["is_arrest"]
            pd.DataFrame({"n": groups.size(), "k": groups.sum()})


def _milliseconds(runs: Runs, part: str) -> float:
    return 1e3 * median(cost.wall for run in runs.costs for cost in run if cost.part == part)


def _cpu_milliseconds(runs: Runs, part: str) -> float:
    return 1e3 * median(cost.cpu for run in runs.costs for cost in run if cost.part == part)


def measure(effort: Effort, folder: Path) -> list[Row]:
    path, records = folder / "city311.duckdb", RECORDS // effort.divisor
    published(path, records)
    own, naive = interleaved(
        min(effort.repeats, 3),
        ours=partial(ours, str(path)),
        row_by_row=partial(row_by_row, str(path)),
    )
    size = f"{records:,} incidents, {YEARS} years"
    found = [
        Row(
            "console: hotspots, reading a published file once",
            size,
            f"{_milliseconds(own, 'read'):,.0f} ms, {own.peak:,.0f} MB",
        )
    ]
    for name in [*QUESTIONS, "page"]:
        for resolution in RESOLUTIONS:
            part = f"{name} r{resolution}"
            if resolution != COUNTED_AT and name in WHATEVER_THE_CELLS:
                continue
            took = _milliseconds(own, part)
            whole = "all of these, one after the other" if name == "page" else name
            row = Row(
                f"- {whole}" + ("" if name in WHATEVER_THE_CELLS else f", resolution {resolution}"),
                size,
                f"{took:.0f} ms ({_cpu_milliseconds(own, part):.0f} CPU-ms)",
            )
            if name == "cells":
                rows = _milliseconds(naive, part)
                told = f"counts alone, row by row in pandas: {rows:,.0f} ms"
                row = replace(row, alternative=told, ratio=rows / took)
            if name != "page":
                target = f"≤ {MOST_MILLISECONDS:g} ms"
                row = replace(row, target=target, met=verdict(took <= MOST_MILLISECONDS))
            found.append(row)
    return found
