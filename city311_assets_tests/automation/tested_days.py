"""Days of `gold.anomalies`, written into a warehouse as production writes them."""

import datetime as dt
from dataclasses import dataclass

import polars as pl

from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import ANOMALIES, CELLS

LOOP, LABEL = 608661376772079615, "District 001, Loop"
TYPES = {
    "VARCHAR": pl.String,
    "DATE": pl.Date,
    "UTINYINT": pl.UInt8,
    "UBIGINT": pl.UInt64,
    "BIGINT": pl.Int64,
    "DOUBLE": pl.Float64,
    "BOOLEAN": pl.Boolean,
    "VARCHAR[]": pl.List(pl.String),
    "UBIGINT[]": pl.List(pl.UInt64),
}


@dataclass(frozen=True)
class Seen:
    """One anomaly of a day."""

    category: str = "theft"
    cell: int | None = LOOP
    records: int = 69
    expected: float = 18.37
    direction: str = "more"
    q: float = 2e-6
    streets: tuple[str, ...] = ("S COLUMBUS DR", "E MONROE ST")
    record_ids: tuple[str, ...] = ("11", "12", "13")


def write(
    warehouse: Warehouse,
    day: dt.date,
    *seen: Seen,
    feed: str = "chicago_crimes",
    is_provisional: bool = False,
    reason: str | None = None,
) -> None:
    """Make one tested day, with its anomalies and a row of the city that is none."""
    quiet = Seen("all", None, 700, 690.0, "more", 0.9, (), ())
    rows = [
        {
            "feed": feed,
            "day": day,
            "resolution": 7 if one.cell else 0,
            "cell": one.cell or 0,
            "category": one.category,
            "records": one.records,
            "expected": one.expected,
            "low_95": 9,
            "high_95": 30,
            "p": one.q / 100,
            "q": one.q,
            "direction": one.direction,
            "is_anomaly": one is not quiet,
            "is_provisional": is_provisional,
            "reason": reason,
            "tests": 1_200,
            "baseline_days": 56,
            "unusual_streets": one.streets,
            "record_ids": one.record_ids,
        }
        for one in ([quiet] if all(one.cell or one.category != "all" for one in seen) else [])
        + list(seen)
    ]
    schema = {column.name: TYPES[column.type] for column in ANOMALIES.columns}
    part = Slice(feed, day, day + dt.timedelta(days=1))
    with warehouse.transaction() as session:
        session.prepare(CELLS)
        session.replace(ANOMALIES, pl.DataFrame(rows, schema=schema), part)


def name_the_loop(warehouse: Warehouse, label: str = LABEL) -> None:
    """Give the cell its readable label, for every feed of Chicago."""
    schema = {column.name: TYPES[column.type] for column in CELLS.columns}
    for feed in ("chicago_crimes", "chicago_311"):
        row = dict.fromkeys(CELLS.names) | {
            "feed": feed,
            "resolution": 7,
            "cell": LOOP,
            "parent": 0,
            "latitude": 41.88,
            "longitude": -87.63,
            "boundary": "{}",
            "neighbors": [],
            "label": label,
            "records_seen": 1,
        }
        warehouse.replace(CELLS, pl.DataFrame([row], schema=schema), feed)
