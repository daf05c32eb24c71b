"""JSON pages of a portal into the bronze table of the native file."""

import json
from functools import partial
from pathlib import Path

import duckdb
import pandas as pd

from benchmarks.measuring import Effort, interleaved, metered
from benchmarks.report import Row, verdict
from benchmarks.sample_pages import NOW, PART, answer, pages_in, write_pages
from city311_assets.bronze.records import bronze_rows
from city311_assets.clients.socrata import parse_pages
from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS

ROWS = 300_000
LEAST = 0.2  # million rows per CPU-second


def ours(folder: str) -> None:
    files = pages_in(folder)
    with metered("parse"):
        rows = parse_pages(files, CHICAGO_311.column_names)
    with metered("store"):
        raw = bronze_rows(CHICAGO_311, answer(rows), "sample", NOW)
        Warehouse(database="warehouse.duckdb").replace(RECORDS[CHICAGO_311.name], raw, PART)


def earlier(folder: str) -> None:
    files = pages_in(folder)
    with metered("parse"):
        pages = [pd.DataFrame(json.loads(Path(file).read_bytes()), dtype=str) for file in files]
        frame = pd.concat(pages, ignore_index=True)
    with metered("store"), duckdb.connect("warehouse.duckdb") as conn:
        conn.register("frame", frame)
        conn.execute("create table records as from frame")


def measure(effort: Effort, folder: Path) -> list[Row]:
    rows = ROWS // effort.divisor
    pages = write_pages(folder / "pages", rows)
    own, other = interleaved(
        effort.repeats, ours=partial(ours, pages), json_and_pandas=partial(earlier, pages)
    )
    size = f"{rows:,} rows, {sum(Path(f).stat().st_size for f in pages_in(pages)) / 1e6:,.0f} MB"

    def row(stage: str, *parts: str) -> Row:
        speed, slower = (rows / runs.cpu(*parts) / 1e6 for runs in (own, other))
        mine, theirs = f"{speed:.3f} M rows/CPU-s", f"json + pandas: {slower:.3f} M"
        if parts:
            return Row(stage, size, mine, theirs, speed / slower)
        return Row(
            stage,
            size,
            f"{mine}, {own.peak:,.0f} MB",
            f"{theirs}, {other.peak:,.0f} MB",
            speed / slower,
            f"≥ {LEAST} M rows/CPU-s",
            verdict(speed >= LEAST),
        )

    return [
        row("JSON pages → bronze table"),
        row("- of which parsing", "parse"),
        row("- of which checking and storing", "store"),
    ]
