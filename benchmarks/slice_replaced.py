"""One slice replaced, as every run of an asset ends: what it takes, and what the safety costs."""

from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import polars as pl

from benchmarks.measuring import Effort, Runs, interleaved, metered, run
from benchmarks.report import Row, flatness, verdict
from benchmarks.sample_pages import FIRST, NOW, PART, answer, records
from city311_assets.bronze.records import bronze_rows
from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS

TABLE = RECORDS[CHICAGO_311.name]
ROWS_PER_DAY, DAYS, TIMES = 1_000, 100, (1, 4, 16)
REPLACEMENTS = 50
MOST_MILLISECONDS = 50.0


def template() -> pl.DataFrame:
    """Return the rows of a day, to be dated."""
    rows = records(ROWS_PER_DAY).with_columns(pl.lit(None, pl.String).alias("extra"))
    return bronze_rows(CHICAGO_311, answer(rows), "sample", NOW)


def dated(rows: pl.DataFrame, number: int) -> tuple[pl.DataFrame, Slice]:
    """Return the rows as those of one day, and its slice."""
    day = FIRST + timedelta(days=number)
    row_id = pl.format("{}-{}", "row_id", pl.lit(number))
    return rows.with_columns(pl.lit(day).alias("day"), row_id.alias("row_id")), PART.day(day)


def fill(database: str, days: str) -> None:
    rows = template()
    every = pl.concat(dated(rows, number)[0] for number in range(int(days)))
    Warehouse(database=database).replace(TABLE, every, PART)


def replaced(database: str, days: str, way: str) -> None:
    """Replace scattered days, each with lock, attach and commit, or all on one connection."""
    warehouse, rows = Warehouse(database=database), template()
    with warehouse.connect() if way == "held open" else nullcontext() as conn:
        for number in range(REPLACEMENTS + 1):
            own, part = dated(rows, number * 37 % int(days))
            with metered("slice" if number else "first"):
                if conn is None:
                    warehouse.replace(TABLE, own, part)
                else:
                    conn.begin()
                    Session(conn).replace(TABLE, own, part)
                    conn.commit()


def milliseconds(runs: Runs) -> list[float]:
    """Return the wall time of every slice but the first of a process."""
    return [1_000 * cost.wall for costs in runs.costs for cost in costs if cost.part == "slice"]


def measure(effort: Effort, folder: Path) -> list[Row]:
    found, smallest = [], 0.0
    for times in TIMES:
        days = times * DAYS // effort.divisor
        given = str(folder / f"{times}.duckdb"), str(days)
        run(partial(fill, *given))
        safe, held_open = interleaved(
            effort.repeats,
            ours=partial(replaced, *given, "ours"),
            held_open=partial(replaced, *given, "held open"),
        )
        took, other = milliseconds(safe), median(milliseconds(held_open))
        typical, spent = median(took), 1_000 * safe.cpu("slice") / REPLACEMENTS
        smallest = smallest or typical
        found.append(
            Row(
                "a slice replaced: lock, attach, check, commit, detach",
                f"{ROWS_PER_DAY:,} rows of {days * ROWS_PER_DAY:,}",
                f"{typical:.0f} ms, p95 {quantiles(took, n=20)[-1]:.0f}; {spent:.0f} CPU-ms",
                f"connection held open: {other:.0f} ms",
                other / typical,
                f"≤ {MOST_MILLISECONDS:g} ms, flat",
                f"{verdict(typical <= MOST_MILLISECONDS)}; {flatness(typical, smallest)}",
            )
        )
    return found
