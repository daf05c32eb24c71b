"""A disk that fills up under the warehouse, with more and less room left."""

import datetime as dt
import os
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets.warehouse.tables.gold import CELL_DAYS
from city311_assets_tests.trials.disk import disk

pytestmark = pytest.mark.trial

DAY = dt.date(2025, 1, 1)
ROOM = (0, 4_096, 20_000, 100_000, 300_000, 1_000_000, 3_000_000, 6_000_000)
SLICES_A_ROUND, ROWS = 5, 60_000


def of(day: dt.date, rows: int) -> tuple[pl.DataFrame, Slice]:
    """Return so many counts of a day that no compression makes small, and their slice."""
    rng = np.random.default_rng([311, day.toordinal()])
    made = pl.DataFrame(
        {
            "cell": rng.integers(1, 2**60, rows).astype(np.uint64),
            "category": rng.integers(1, 2**60, rows).astype(str),
            "records": rng.integers(1, 2**40, rows),
        }
    ).with_columns(
        pl.lit("sf_311").alias("feed"),
        pl.lit(day).alias("day"),
        pl.lit(10, pl.UInt8).alias("resolution"),
        pl.lit(0, pl.Int64).alias("eligible"),
        pl.lit(0, pl.Int64).alias("successes"),
    )
    return made.select(CELL_DAYS.names), Slice("sf_311", day, day + dt.timedelta(days=1))


def held(warehouse: Warehouse) -> dict[dt.date, int]:
    """Return how many rows each day has."""
    query = f"select day, count(*)::int from {CELL_DAYS} group by day order by day"
    return dict(warehouse.read(query, tables=[CELL_DAYS]).iter_rows())


def test_a_disk_that_fills_up_leaves_every_slice_whole(tmp_path: Path, trial):
    """Slices are written, and the file published, until the disk is full, with 0 to 6 MB left:
    every day is there whole or not at all, nothing that was there is lost, the published file opens
    all the while, and with room again everything is written and published."""
    said, survived = [], 0
    with disk(tmp_path / "disk") as own:
        warehouse = Warehouse(database=str(own.folder / "warehouse.duckdb"))
        path = own.folder / "city311.duckdb"
        warehouse.replace(CELL_DAYS, *of(DAY, ROWS))
        publish(warehouse, path)
        for number, room in enumerate(ROOM):
            before = held(warehouse)
            days = [DAY + dt.timedelta(days=100 * number + n + 1) for n in range(SLICES_A_ROUND)]
            with own.nearly_full(warehouse.path, [os.getpid()], room):
                for day in days:
                    try:
                        warehouse.replace(CELL_DAYS, *of(day, ROWS))
                    except duckdb.Error as error:
                        said.append(str(error).split(":")[0])
                        break
                with pytest.raises((duckdb.Error, OSError)):
                    publish(warehouse, path)
                with duckdb.connect(str(path), read_only=True) as reader:
                    assert reader.sql(f"select count(*) from {CELL_DAYS}").fetchall()[0][0] > 0
            after = held(warehouse)
            assert before.items() <= after.items()
            assert set(after.values()) == {ROWS}
            survived += len(after) - len(before)
            for day in days:
                warehouse.replace(CELL_DAYS, *of(day, ROWS))
            publish(warehouse, path)
            with duckdb.connect(str(path), read_only=True) as reader:
                published = reader.sql(f"select count(distinct day) from {CELL_DAYS}").fetchall()
            assert published == [(len(held(warehouse)),)]
        assert list(own.folder.glob(".publishing-*")) == []
    trial.found(
        the_full_disk_said=own.error,
        writes_that_failed=len(said),
        what_they_said=", ".join(sorted(set(said))),
        slices_that_fitted=survived,
    )
