"""Records to counts and rates of cells: every resolution, by day and month, pooled over rings."""

import json
from collections import defaultdict
from datetime import date
from functools import partial
from pathlib import Path

import duckdb
import h3.api.basic_int as h3
import numpy as np
import polars as pl

from benchmarks.measuring import THREADS, Effort, interleaved, metered
from benchmarks.report import FLAT_WITHIN, Row, flatness, verdict
from city311_assets.feeds.chicago_311 import CHICAGO
from city311_assets.gold.methods.cell_rates import rates_of_resolutions
from city311_assets.gold.methods.counts import RESOLUTIONS, cell_counts, rolled_up
from city311_assets.gold.methods.grid import Grid, covering, with_parents
from city311_assets.sample_city.geography import boundaries

MONTHS, PER_MONTH = (4, 16, 64), 156_250
FEW_MONTHS, FEW_RECORDS = 16, 200_000
CATEGORIES, DAYS_OF_MONTH = 6, 30
DAILY = (6, 7, 8)
MOST_CPU_SECONDS, MOST_MEGABYTES = 30.0, 2_000.0


def areas() -> dict[int, np.ndarray]:
    """Return Chicago's study area."""
    published = json.loads(json.dumps(boundaries(CHICAGO.portal, CHICAGO.boundaries[0].dataset)))
    return with_parents(covering([json.dumps(one["geometry"]) for one in published["features"]]))


def month_of(number: int, records: int, cells: np.ndarray) -> pl.DataFrame:
    """Return a month's records: some cells are much busier than others."""
    rng = np.random.default_rng((311, number))
    busy = np.random.default_rng(311).lognormal(0, 1.2, cells.size)
    first = date(2020 + number // 12, 1 + number % 12, 1)
    eligible = rng.random(records) < 0.9
    return pl.DataFrame(
        {
            "day": np.datetime64(first) + rng.integers(0, DAYS_OF_MONTH, records),
            "cell": rng.choice(cells, records, p=busy / busy.sum()),
            "category": pl.Series(rng.integers(0, CATEGORIES, records)).cast(pl.String),
            "is_eligible": eligible,
            "is_success": eligible & (rng.random(records) < 0.2),
        }
    ).with_columns(pl.col("day").cast(pl.Date), pl.lit(first).alias("month"))


def summed(counts: pl.DataFrame) -> pl.DataFrame:
    """Return daily counts as the month's, at every resolution."""
    finest = counts.filter(pl.col("resolution") == max(RESOLUTIONS))
    return rolled_up(finest.with_columns(pl.col("day").dt.truncate("1mo").alias("month")), "month")


def ours(months: str) -> None:
    study = areas()
    Grid.of(study[6])
    for number in range(int(months)):
        records = month_of(number, PER_MONTH, study[10])
        with metered("counts"):
            counts = cell_counts(records)
            of_month = summed(counts)
        with metered("rates"):
            daily = counts.filter(pl.col("resolution") <= max(DAILY))
            rates_of_resolutions(daily, {r: study[r] for r in DAILY}, "day")
            rates_of_resolutions(of_month, study, "month")


POOLED = """
    create or replace table pooled as
    with own as (
        from counts
        union all
        select {by}, resolution, cell, 'all', sum(records), sum(eligible), sum(successes)
        from counts group by all
    )
    select {by}, own.resolution, near.cell, category, sum(records) as n, sum(eligible) as e,
        sum(successes) as k,
        (sum(successes) + 1.92) / (sum(eligible) + 3.84) as middle,
        1.96 * sqrt(sum(successes) * (sum(eligible) - sum(successes))
            / greatest(sum(eligible), 1) + 0.96) / (sum(eligible) + 3.84) as half
    from own join near on near.beside = own.cell group by all
"""
COUNTS = """
    create or replace table counts as
    select {by}, r.resolution, cell_parent(records.cell, r.resolution) as cell, category,
        count(*) as records, sum(is_eligible::int) as eligible, sum(is_success::int) as successes
    from records, (select unnest(range(6, {end})) as resolution) as r group by all
"""
PARENT = """
    create macro cell_parent(cell, resolution) as
    ((cell & 18379190079298994175::ubigint) | (resolution::ubigint << 52)
        | ((1::ubigint << (3 * (15 - resolution))) - 1))::ubigint
"""


def sql_joins(months: str) -> None:
    """Join every counted row with the cells around it."""
    study = areas()
    conn = duckdb.connect(config={"threads": THREADS})
    conn.execute(PARENT)
    pairs = []
    for cells in study.values():
        row, column = Grid.of(cells).disk.nonzero()
        pairs.append(pl.DataFrame({"cell": cells[row], "beside": cells[column]}))
    conn.register("pairs", pl.concat(pairs))
    conn.execute("create table near as from pairs")
    for number in range(int(months)):
        records = month_of(number, PER_MONTH, study[10])
        conn.register("records", records)
        with metered("sql"):
            for by, end in (("day", 9), ("month", 11)):
                conn.execute(COUNTS.format(by=by, end=end))
                conn.execute(POOLED.format(by=by))


def row_by_row(count: str) -> None:
    """Count each record, and then each cell's neighbours, in a dictionary."""
    study = areas()
    records = month_of(0, int(count), study[10]).rows()
    with metered("rows"):
        for periods, resolutions in ((0, DAILY), (5, RESOLUTIONS)):
            counts: dict[tuple, list[int]] = defaultdict(lambda: [0, 0, 0])
            for record in records:
                cell, category, is_eligible, is_success = record[1:5]
                for resolution in resolutions:
                    parent = h3.cell_to_parent(cell, resolution)
                    for name in (category, "all"):
                        own = counts[record[periods], parent, name]
                        own[0] += 1
                        own[1] += is_eligible
                        own[2] += is_success
            pooled = {}
            for period, cell, name in list(counts):
                ring = [counts.get((period, c, name), (0, 0, 0)) for c in h3.grid_disk(cell, 1)]
                n, e, k = (sum(values) for values in zip(*ring, strict=True))
                half = 1.96 * (k * (e - k) / max(e, 1) + 0.96) ** 0.5 / (e + 3.84)
                pooled[period, cell, name] = n, e, k, half


def measure(effort: Effort, _: Path) -> list[Row]:
    few = max(FEW_MONTHS // effort.divisor, 1)
    records = FEW_RECORDS // effort.divisor
    sizes = [max(months // effort.divisor, 1) for months in MONTHS]
    repeats = min(effort.repeats, 3)
    small, middle, large, joins, rows = interleaved(
        repeats,
        small=partial(ours, str(sizes[0])),
        middle=partial(ours, str(sizes[1])),
        large=partial(ours, str(sizes[2])),
        sql_joins=partial(sql_joins, str(few)),
        row_by_row=partial(row_by_row, str(records)),
    )
    total = sizes[-1] * PER_MONTH
    took, most = large.cpu(), MOST_CPU_SECONDS / effort.divisor
    by_join = joins.cpu() * sizes[-1] / few
    by_row = rows.cpu() * total / records
    met = took <= most and large.peak <= MOST_MEGABYTES
    found = [
        Row(
            "gold: 5 resolutions by day (pooled r6 to r8) and month, Wilson, empirical Bayes",
            f"{total:,} records, 3 times",
            f"{took:.1f} CPU-s ({large.cpu('counts'):.1f} + {large.cpu('rates'):.1f}), "
            f"{large.peak:,.0f} MB",
            f"SQL joins: {by_join:.0f} CPU-s (scaled from {few * PER_MONTH:,}), "
            f"{joins.peak:,.0f} MB",
            by_join / took,
            f"≤ {most:g} CPU-s, ≤ {MOST_MEGABYTES:,.0f} MB",
            verdict(met),
        ),
        Row(
            "- the same, row by row in dictionaries",
            f"{total:,} records",
            f"{took:.1f} CPU-s",
            f"{by_row:.0f} CPU-s (scaled from {records:,})",
            by_row / took,
        ),
    ]
    base = 0.0
    for months, run in zip(sizes, (small, middle, large), strict=True):
        micros = 1e6 * run.cpu() / (months * PER_MONTH)
        base = base or micros
        found.append(
            Row(
                "- how it grows",
                f"{months * PER_MONTH:,} records",
                f"{micros:.2f} CPU-µs a record, {run.peak:,.0f} MB",
                target=f"flat within {FLAT_WITHIN:.0%}",
                met=flatness(micros, base),
            )
        )
    return found
