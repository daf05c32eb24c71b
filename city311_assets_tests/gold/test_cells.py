"""Gold cells: the study area, its labels, and the macros that read it in the published file."""

import datetime as dt
import json
from pathlib import Path

import dagster as dg
import duckdb
import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pytest
import shapely

from city311_assets.feeds.sf_311 import SF_311
from city311_assets.gold.cell_day_rates import cell_day_rates
from city311_assets.gold.cell_days import cell_days
from city311_assets.gold.cell_months import cell_months
from city311_assets.gold.cells import cell_rows, cells, labels, most_named
from city311_assets.gold.methods.cell_rates import rates_of_resolutions
from city311_assets.gold.methods.grid import with_parents
from city311_assets.silver.areas import Areas
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets.warehouse.tables.gold import CELL_DAYS, CELLS
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.gold.town import MIDDLES, every_day, silver, square, store
from city311_assets_tests.portals import materialize, verdicts

DAYS = every_day(dt.date(2026, 4, 29), dt.date(2026, 5, 2))
TOWN = pl.DataFrame({"area": ["Town"], "geometry": [square()]})
NOWHERE = TOWN.clear()
MIDDLE = h3.latlng_to_cell(*MIDDLES["sf_311"], 10)
OUTSIDE = h3.latlng_to_cell(37.70, -122.40, 10)
NAMES = {
    "cell": pl.UInt64,
    "street": pl.String,
    "district": pl.String,
    "community_area": pl.String,
    "neighborhood": pl.String,
    "records": pl.Int64,
}


def named(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=NAMES, orient="row")


def at(rows: pl.DataFrame, cell: int, resolution: int) -> dict:
    return rows.filter(pl.col("cell") == h3.cell_to_parent(cell, resolution)).to_dicts()[0]


def test_the_study_area_is_every_cell_a_boundary_touches_and_those_with_records():
    rows = cell_rows(SF_311, TOWN, named((OUTSIDE, "A", None, None, None, 3)))
    finest = rows.filter(pl.col("resolution") == 10)
    outline = shapely.from_geojson(square())
    touching = [shapely.from_geojson(b).intersects(outline) for b in finest["boundary"]]
    assert finest["is_inside"].to_list() == touching
    assert set(finest.filter(~pl.col("is_inside"))["cell"]) == {OUTSIDE}
    assert finest["records_seen"].sum() == 3


def test_while_no_boundary_is_known_it_is_the_cells_with_records_and_those_around():
    rows = cell_rows(SF_311, NOWHERE, named((MIDDLE, None, None, None, None, 2)))
    finest = rows.filter(pl.col("resolution") == 10)
    assert set(finest["cell"]) == set(h3.grid_disk(MIDDLE, 1))
    assert finest["is_inside"].null_count() == finest.height


def test_every_cell_has_its_parent_its_neighbours_and_a_closed_outline():
    rows = cell_rows(SF_311, TOWN, named())
    for resolution in (7, 8, 9, 10):
        level = rows.filter(pl.col("resolution") == resolution)
        known = set(level["cell"])
        for row in level.sample(min(20, level.height), seed=1).iter_rows(named=True):
            assert row["parent"] == h3.cell_to_parent(row["cell"], resolution - 1)
            ring = set(h3.grid_ring(row["cell"], 1)) & known
            assert row["neighbors"] == sorted(ring)
            (outline,) = json.loads(row["boundary"])["coordinates"]
            assert outline[0] == outline[-1]
            assert shapely.LinearRing(outline).is_ccw
        parents = set(rows.filter(pl.col("resolution") == resolution - 1)["cell"])
        assert set(level["parent"]) == parents


def test_fine_cells_are_named_after_a_street_and_coarse_ones_after_a_district():
    rows = cell_rows(
        SF_311,
        TOWN,
        named(
            (MIDDLE, "LONG ST", "8", None, "Castro", 5),
            (MIDDLE, "SHORT ST", "8", None, "Castro", 4),
            (MIDDLE, "SHORT ST", "9", None, "Mission", 3),
        ),
    )
    assert at(rows, MIDDLE, 10)["label"] == "SHORT ST"
    assert at(rows, MIDDLE, 9)["label_from"] == "street"
    coarse = at(rows, MIDDLE, 8)
    assert (coarse["label"], coarse["label_from"]) == ("District 8, Castro", "district")


def test_without_a_district_the_community_area_and_then_the_neighbourhood_names_it():
    of_area = cell_rows(SF_311, TOWN, named((MIDDLE, None, None, "32", "Loop", 1)))
    assert at(of_area, MIDDLE, 8)["label"] == "Community area 32, Loop"
    assert at(of_area, MIDDLE, 10)["label"] == "Community area 32, Loop"
    of_hood = cell_rows(SF_311, TOWN, named((MIDDLE, None, None, None, "Loop", 1)))
    assert at(of_hood, MIDDLE, 8)["label_from"] == "neighborhood"


def test_a_cell_without_a_record_is_named_after_the_area_at_its_centre():
    rows = cell_rows(SF_311, TOWN, named())
    assert (at(rows, MIDDLE, 10)["label"], at(rows, MIDDLE, 10)["label_from"]) == (
        "Town",
        "boundary",
    )
    far = pl.DataFrame({"resolution": [8], "cell": [1], "latitude": [10.0], "longitude": [10.0]})
    with_numbers = named().with_columns(resolution=pl.lit(8, pl.UInt8)).clear()
    lonely = labels(
        far.cast({"cell": pl.UInt64, "resolution": pl.UInt8}), with_numbers, Areas.of(TOWN)
    )
    assert lonely.select("label", "label_from").rows() == [(None, None)]


def test_among_equals_the_first_by_name_names_a_cell():
    frame = pl.DataFrame(
        {"resolution": [9] * 3, "cell": [1] * 3, "street": ["B", "A", None], "records": [2, 2, 9]}
    )
    assert most_named(frame, "street")["street"].to_list() == ["A"]
    assert most_named(frame[::-1], "street")["street"].to_list() == ["A"]


def test_labels_do_not_depend_on_the_order_of_records():
    rng = np.random.default_rng(5)
    children = h3.cell_to_children(h3.cell_to_parent(MIDDLE, 8), 10)
    rows = [
        (int(rng.choice(children)), f"S{rng.integers(3)}", str(rng.integers(2)), None, "N", 1)
        for _ in range(60)
    ]
    frame = named(*rows)
    assert cell_rows(SF_311, TOWN, frame).equals(cell_rows(SF_311, TOWN, frame[::-1]))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published file of the town."""
    folder = tmp_path_factory.mktemp("cells")
    warehouse = Warehouse(database=str(folder / "warehouse.duckdb"))
    store(warehouse, silver(DAYS, per_day=200), DAYS)
    for declared, first, last in (
        (cells(SF_311), None, None),
        (cell_days(SF_311), DAYS[0], DAYS[-1]),
        (cell_day_rates(SF_311), DAYS[0], DAYS[-1]),
        (cell_months(SF_311), dt.date(2026, 5, 1), None),
    ):
        result = materialize(declared, warehouse, None, first, last)
        assert result.success
        assert verdicts(result)
    path = folder / "city311.duckdb"
    publish(warehouse, path)
    return path


def ask(path: Path, query: str) -> pl.DataFrame:
    with duckdb.connect(str(path), read_only=True) as conn:
        return conn.sql(query).pl()


def test_making_it_twice_changes_nothing(warehouse: Warehouse):
    store(warehouse, silver(DAYS), DAYS)
    assert materialize(cells(SF_311), warehouse).success
    before = warehouse.content_hash(CELLS, "sf_311")
    assert materialize(cells(SF_311), warehouse).success
    assert warehouse.content_hash(CELLS, "sf_311") == before


def test_a_record_outside_of_the_study_area_is_noticed(warehouse: Warehouse):
    store(warehouse, silver(DAYS), DAYS)
    assert materialize(cells(SF_311), warehouse).success
    with warehouse.transaction() as session:
        session.run(f"update {REQUESTS} set cell = {OUTSIDE} where record_id like '%-0001'")
    assert verdicts(materialize(cells(SF_311), warehouse))["every_record_has_its_cell"]
    with warehouse.transaction() as session:
        session.run(f"delete from {CELLS} where cell = {OUTSIDE}")
        session.run(f"delete from {CELLS} where resolution = 8")
    asset, *checks = cells(SF_311)
    keys = [key for check in checks for key in check.check_keys]
    result = materialize([asset, *checks], warehouse, selection=dg.AssetSelection.checks(*keys))
    assert verdicts(result) == {
        "every_record_has_its_cell": False,
        "every_cell_has_its_parent": False,
    }


def test_the_macros_for_neighbours_agree_with_the_library(published: Path):
    (row,) = ask(published, f"select cell_neighbors('sf_311', {MIDDLE}::ubigint) as near").rows()
    assert row[0] == sorted(h3.grid_ring(MIDDLE, 1))
    disk = ask(published, f"select cell from cell_disk('sf_311', {MIDDLE})")
    assert set(disk["cell"]) == set(h3.grid_disk(MIDDLE, 1))


@pytest.mark.parametrize("resolution", [6, 8, 9, 10])
def test_the_macro_for_a_days_rates_is_what_the_table_would_hold(published: Path, resolution: int):
    day = DAYS[1]
    found = ask(published, f"from cell_day_rates_of('sf_311', '{day}', {resolution})")
    counts = ask(
        published,
        f"select day, resolution, cell, category, records, eligible, successes from {CELL_DAYS} "
        f"where day = '{day}' and resolution = {resolution}",
    )
    area = ask(published, f"select cell from {CELLS} where resolution = 10")["cell"].to_numpy()
    areas = {resolution: with_parents(area)[resolution]}
    expected = rates_of_resolutions(counts, areas, "day").sort("cell", "category")
    found = found.sort("cell", "category")
    assert found.height == expected.height
    for name in found.columns:
        ours = expected[name]
        if ours.dtype == pl.Float64:
            assert found[name].is_null().equals(ours.is_null()), name
            assert np.allclose(found[name].drop_nulls(), ours.drop_nulls(), atol=1e-9), name
        else:
            assert found[name].cast(ours.dtype).equals(ours), name


def test_a_stored_days_rates_are_those_of_the_macro(published: Path):
    stored = ask(
        published,
        f"select cell, category, rate_pooled from gold.cell_day_rates where day = '{DAYS[2]}' "
        "and resolution = 8 order by all",
    )
    computed = ask(
        published,
        "select cell, category, rate_pooled from "
        f"cell_day_rates_of('sf_311', '{DAYS[2]}', 8) order by all",
    )
    assert stored.select("cell", "category").equals(computed.select("cell", "category"))
    assert np.allclose(
        stored["rate_pooled"].fill_null(-1), computed["rate_pooled"].fill_null(-1), atol=1e-9
    )


def test_a_month_can_be_read_with_its_zeros(published: Path):
    every = ask(published, "from cell_months_of('sf_311', '2026-05-01', 9, 'noise')")
    area = ask(published, f"select count(*) as n from {CELLS} where resolution = 9")["n"].item()
    assert every.height == area
    zero = every.filter(pl.col("pooled_records") == 0)
    assert zero.height > 0
    assert set(zero.select("rate_low", "rate_high", "records").unique().rows()) == {(0.0, 1.0, 0)}
    assert (zero["rate_eb"] == zero["prior_mean"]).all()
    held = ask(published, "select sum(records)::bigint as n from gold.cell_months where "
               "resolution = 9 and category = 'noise'")["n"].item()  # fmt: skip
    assert every["records"].sum() == held
