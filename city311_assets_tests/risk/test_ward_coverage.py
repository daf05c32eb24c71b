"""Risk ward coverage: shares of wards by hand, which ward a cell is in, and its checks."""

import datetime as dt
import json
import shutil
from pathlib import Path

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pytest

from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.ward_coverage import (
    ROUNDING,
    claims,
    ward_coverage,
    ward_shares,
    wards,
    write,
)
from city311_assets.warehouse.errors import SliceRefusedError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.risk import (
    CELL_DAYS,
    RECOMMENDATIONS,
    SCORES,
    WARD_COVERAGE,
)
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.portals import failure, materialize, verdicts
from city311_assets_tests.risk.scored import DAYS, cell_days, cells, part, rows, store, town, uneven
from city311_assets_tests.silver.raw import filled

SHARES = [name for name in WARD_COVERAGE.names if name.startswith("share_of")]
CALLS = uneven()


def chosen(warehouse: Warehouse, day: dt.date, *of_cells: int, is_chosen: bool = True) -> None:
    """Store one recommendation of a day."""
    with warehouse.transaction() as session:
        session.prepare(RECOMMENDATIONS)
        required = {c.name: f"''::{c.type}" for c in RECOMMENDATIONS.columns if c.type == "VARCHAR"}
        required |= {
            c.name: "0" for c in RECOMMENDATIONS.columns if c.type in {"DOUBLE", "INTEGER"}
        }
        required |= {
            "target": f"'{LEAKS.name}'",
            "day": f"date '{day}'",
            "recommendation_id": f"'{of_cells[0]:x}'",
            "is_chosen": str(is_chosen),
            "parameters": "'{}'",
            "geometry": "'{}'",
            "cells": f"{[*of_cells]}::ubigint[]",
        }
        session.run(
            f"insert into {RECOMMENDATIONS} by name select "
            + ", ".join(f"{value} as {name}" for name, value in required.items())
        )


def failing(warehouse: Warehouse) -> set[str]:
    """The claims of which a slice has offenders, each on a day of the slice."""
    params = part().params | {"rounding": ROUNDING}
    found = {claim.name: warehouse.read(claim.offenders, params) for claim in claims()}
    assert all({*offenders["day"]} <= {*DAYS} for offenders in found.values())
    return {name for name, offenders in found.items() if offenders.height}


def stored(warehouse: Warehouse) -> pl.DataFrame:
    return warehouse.read(f"from {WARD_COVERAGE} where {WARD_COVERAGE.where} order by all", part())


def in_west() -> np.ndarray:
    """Whether each cell's requests are mostly of ward 1, in the year before the days or in them."""
    own = town().requests.filter(pl.col("day") >= DAYS[0] - dt.timedelta(days=365))
    of_cells = own.select(
        pl.Series("cell", [h3.cell_to_parent(cell, 9) for cell in own["cell"]], pl.UInt64), "ward"
    )
    share = of_cells.group_by("cell").agg((pl.col("ward") == "1").mean().alias("share"))
    ordered = pl.DataFrame({"cell": cells()}).join(share, on="cell", how="left")
    return ordered.sort("cell")["share"].to_numpy() >= 0.5


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wards") / "warehouse.duckdb"
    warehouse = Warehouse(database=str(path))
    store(warehouse, calls=CALLS)
    west, east = cells()[in_west()].tolist(), cells()[~in_west()].tolist()
    chosen(warehouse, DAYS[0], *west[:3])
    chosen(warehouse, DAYS[0], east[0])
    chosen(warehouse, DAYS[0], *east[1:9], is_chosen=False)
    result = materialize(ward_coverage(LEAKS), warehouse, None, DAYS[0], DAYS[-1])
    assert result.success, failure(result)
    assert all(verdicts(result).values())
    return path


@pytest.fixture
def made(made_once: Path, tmp_path: Path) -> Warehouse:
    path = tmp_path / "warehouse.duckdb"
    shutil.copy(made_once, path)
    return Warehouse(database=str(path))


def test_shares_are_those_of_a_calculator():
    known = pl.DataFrame(
        {
            "day": [DAYS[0]] * 4,
            "cell": pl.Series([1, 2, 3, 4], dtype=pl.UInt64),
            "expected": [0.5, 0.1, 0.2, 0.2],
            "calls": [6, 2, 0, 2],
            "all_calls": [1, 1, 1, 1],
            "chosen": [1, 1, 0, 0],
        }
    )
    ward_of = pl.DataFrame({"cell": pl.Series([1, 2, 3], dtype=pl.UInt64), "ward": ["7", "8", "8"]})
    found = ward_shares(known, ward_of)
    assert found.rows() == [
        (DAYS[0], "7", 1, 0.25, pytest.approx(0.6), 0.25, pytest.approx(0.5), 0.5),
        (DAYS[0], "8", 2, 0.5, pytest.approx(0.2), 0.5, pytest.approx(0.3), 0.5),
        (DAYS[0], "unknown", 1, 0.25, pytest.approx(0.2), 0.25, pytest.approx(0.2), 0.0),
    ]


def test_of_nothing_every_ward_has_no_share():
    known = pl.DataFrame(
        {
            "day": [DAYS[0]] * 2,
            "cell": pl.Series([1, 2], dtype=pl.UInt64),
            **{name: [0, 0] for name in ("expected", "calls", "all_calls", "chosen")},
        }
    )
    ward_of = pl.DataFrame({"cell": pl.Series([1, 2], dtype=pl.UInt64), "ward": ["7", "8"]})
    found = ward_shares(known, ward_of)
    assert found.select(SHARES[1:]).sum().rows() == [(0, 0, 0, 0)]
    assert ward_shares(known.clear(), ward_of).is_empty()


def test_a_days_shares_are_those_of_the_planted_town(made: Warehouse):
    found = {(row["day"], row["ward"]): row for row in stored(made).to_dicts()}
    west = in_west()
    for at, day in enumerate(DAYS):
        row = found[day, "1"]
        assert row["cells"] == west.sum()
        assert row["share_of_expected"] == pytest.approx(CALLS[at, west].sum() / CALLS[at].sum())
        calls = cell_days([day])["calls_365d"].to_numpy()
        assert row["share_of_calls"] == pytest.approx(calls[west].sum() / calls.sum())
        assert row["share_of_all_calls"] == pytest.approx(west.mean())
    assert found[DAYS[0], "1"]["share_of_chosen"] == 0.75
    assert found[DAYS[1], "1"]["share_of_chosen"] == 0
    assert {ward for _, ward in found} == {"1", "2"}


def test_while_a_year_is_not_held_the_long_run_rate_and_30_days_stand_in(made: Warehouse):
    before = stored(made)
    features = cell_days(DAYS).with_columns(
        (pl.col("calls_365d") / 365).alias("long_run_rate"),
        pl.col("all_calls_365d").alias("all_calls_30d"),
        pl.lit(None).alias("calls_365d"),
        pl.lit(None).alias("all_calls_365d"),
    )
    made.replace(CELL_DAYS, rows(CELL_DAYS, features), part())
    write(made, LEAKS, part())
    after = stored(made)
    for name in SHARES:
        np.testing.assert_allclose(after[name], before[name])


def test_making_shares_twice_leaves_one_copy_that_is_the_same(made: Warehouse):
    before = stored(made)
    write(made, LEAKS, part())
    assert stored(made).equals(before)


def test_days_without_scores_are_emptied(made: Warehouse):
    with made.transaction() as session:
        session.run(f"delete from {SCORES}")
    write(made, LEAKS, part())
    assert stored(made).is_empty()
    assert failing(made) == set()


def test_rows_of_another_slice_are_refused_and_the_old_ones_survive(made: Warehouse):
    before = stored(made)
    with pytest.raises(SliceRefusedError, match="a repeated key"):
        made.replace(WARD_COVERAGE, pl.concat([before, before]), part())
    assert stored(made).equals(before)


def test_a_cell_without_requests_is_in_the_published_ward_at_its_centre(made: Warehouse):
    silent = int(cells()[7])
    inner = [*h3.cell_to_children(silent, 10)]
    with made.transaction() as session:
        session.run(f"delete from {REQUESTS} where list_contains($inner, cell)", {"inner": inner})
    assert silent not in set(wards(made, LEAKS, part())["cell"])
    latitude, longitude = h3.cell_to_latlng(silent)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    around = [[longitude + x / 1000, latitude + y / 1000] for x, y in corners]
    area = {
        "city": LEAKS.feed.city.name,
        "areas": "ward",
        "area": "27",
        "part": 0,
        "geometry": json.dumps({"type": "Polygon", "coordinates": [around]}),
        "dataset": "wards",
        "fetched_from": "portal",
        "fetched_at": dt.datetime(2026, 1, 1),
    }
    made.replace(BOUNDARIES, filled(BOUNDARIES, area), LEAKS.feed.city.name)
    found = dict(wards(made, LEAKS, part()).iter_rows())
    assert found[silent] == "27"
    assert set(found.values()) == {"1", "2", "27"}


def test_requests_older_than_a_year_or_after_the_slice_name_no_ward(made: Warehouse):
    before = wards(made, LEAKS, part())
    with made.transaction() as session:
        session.run(
            f"update {REQUESTS} set ward = '50' where day < $first or day >= $end",
            {"first": DAYS[0] - dt.timedelta(days=365), "end": part().end},
        )
    assert wards(made, LEAKS, part()).equals(before)


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ("share_of_calls = share_of_calls + 0.1", "shares_add_up"),
        ("share_of_cells = 0", "shares_add_up"),
        ("cells = cells + 1", "every_cell_is_in_a_ward"),
    ],
)
def test_shares_that_cannot_be_fail_their_check_alone(made: Warehouse, wrong: str, check: str):
    with made.transaction() as session:
        session.run(f"update {WARD_COVERAGE} set {wrong} where day = $day", {"day": DAYS[1]})
    assert failing(made) == {check}
