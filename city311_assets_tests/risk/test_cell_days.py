"""Risk cell days: no day knows what came later; twice is once; what each check is for."""

import datetime as dt
from pathlib import Path

import h3.api.basic_int as h3
import polars as pl
import pytest

from city311_assets.partitions import Slice
from city311_assets.risk.cell_days import KIND_DAYS, cell_days, claims, write
from city311_assets.risk.methods.feature_names import FEATURES
from city311_assets.risk.methods.features import WEATHER
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.targets.sanitation import SANITATION
from city311_assets.risk.targets.target import normalized
from city311_assets.silver.cells import cells_of
from city311_assets.warehouse.errors import SliceRefusedError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.risk import CELL_DAYS
from city311_assets.warehouse.tables.silver import REQUESTS, WEATHER_DAYS
from city311_assets_tests.portals import failure, materialize, verdicts
from city311_assets_tests.risk.town import Town, planted, store

FIRST, SIZE = dt.date(2024, 1, 1), 430
LAST = FIRST + dt.timedelta(days=SIZE - 1)
# The day that is looked at has the rest of the town's days after it.
DAY = LAST - dt.timedelta(days=12)
WHOLE = Slice(LEAKS.name, FIRST, LAST + dt.timedelta(days=1), "target")
ROWS = f"from {CELL_DAYS} where {CELL_DAYS.where} order by day, cell"


def of(first: dt.date, last: dt.date | None = None) -> Slice:
    return Slice(LEAKS.name, first, (last or first) + dt.timedelta(days=1), "target")


@pytest.fixture(scope="module")
def town() -> Town:
    return planted(FIRST, SIZE, others_per_day=5)


@pytest.fixture(scope="module")
def stored_once(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    warehouse = Warehouse(database=str(tmp_path_factory.mktemp("risk") / "warehouse.duckdb"))
    store(warehouse, town)
    write(warehouse, LEAKS, of(DAY))
    return warehouse


@pytest.fixture
def stored(stored_once: Warehouse, tmp_path: Path) -> Warehouse:
    """A copy of the town that a test may change; `DAY` is made."""
    path = tmp_path / "copy.duckdb"
    path.write_bytes(stored_once.path.read_bytes())
    return Warehouse(database=str(path))


def rows_of(warehouse: Warehouse, part: Slice | None = None) -> pl.DataFrame:
    return warehouse.read(ROWS, part or of(DAY))


def run(warehouse: Warehouse, statement: str, **params: object) -> None:
    with warehouse.transaction() as session:
        session.run(statement, params)


def test_a_run_makes_every_cell_of_its_days_and_passes_its_checks(stored: Warehouse, town: Town):
    first = LAST - dt.timedelta(days=1)
    result = materialize([*cell_days(LEAKS)], stored, None, first, LAST)
    assert result.success, failure(result)
    assert all(verdicts(result).values())
    rows = rows_of(stored, of(first, LAST))
    assert rows["cell"].to_list() == [*town.cells.tolist(), *town.cells.tolist()]
    calls = town.calls[-7:].sum(axis=0)
    assert rows.filter(pl.col("day") == LAST)["calls_7d"].to_list() == calls.tolist()
    assert rows["weather_day"].unique().sort().to_list() == [
        first - dt.timedelta(days=5),
        LAST - dt.timedelta(days=5),
    ]
    (*_, event) = result.get_asset_materialization_events()
    assert event.materialization.metadata["calls_7d"].value == calls.sum()


def test_twice_is_once_and_a_day_by_itself_is_what_it_is_in_a_range(stored: Warehouse):
    # More days than are written at a time.
    whole = of(LAST - dt.timedelta(days=33), LAST)
    before = stored.content_hash(CELL_DAYS, of(DAY))
    write(stored, LEAKS, whole)
    of_range = stored.content_hash(CELL_DAYS, whole)
    assert stored.content_hash(CELL_DAYS, of(DAY)) == before
    write(stored, LEAKS, whole)
    assert stored.content_hash(CELL_DAYS, whole) == of_range
    assert of_range[0] == 34 * before[0]


def test_what_became_empty_is_emptied(stored: Warehouse):
    run(stored, f"delete from {SLICES} where day = $day", day=DAY)
    run(stored, f"delete from {REQUESTS} where day = $day", day=DAY)
    assert write(stored, LEAKS, of(DAY)).is_empty()
    assert rows_of(stored).is_empty()
    result = materialize([*cell_days(LEAKS)], stored, None, DAY)
    assert result.success
    assert [name for name, passed in verdicts(result).items() if not passed] == ["days_held"]


def test_a_failed_write_keeps_the_old_slice(stored: Warehouse):
    before = stored.content_hash(CELL_DAYS, of(DAY))
    twice = pl.concat([rows_of(stored)] * 2)
    with pytest.raises(SliceRefusedError, match="a repeated key"):
        stored.replace(CELL_DAYS, twice, of(DAY))
    assert stored.content_hash(CELL_DAYS, of(DAY)) == before


# A cell that no part of the town touches.
FAR = int(cells_of(pl.Series([41.93]), pl.Series([-87.65]))[0])
FAR_PARENT = h3.cell_to_parent(FAR, 9)
# What may become of the warehouse after a day is over, and must not show in the day.
LATER: dict[str, tuple[str, ...]] = {
    "calls": (f"update {REQUESTS} set kind = 'Check for Leak' where day > $day",),
    "no calls": (f"delete from {REQUESTS} where day > $day",),
    "days not held": (
        f"delete from {SLICES} where day > $day",
        f"delete from {REQUESTS} where day > $day",
    ),
    "marks": (
        f"update {REQUESTS} set closed_at = '2030-01-01', closed_at_utc = '2030-01-01'",
        f"update {REQUESTS} set hours_to_close = 1, hours_to_close_reason = null",
        f"update {REQUESTS} set is_duplicate = true, parent_record_id = 'call-0000001'",
        f"update {REQUESTS} set status = 'Completed', observed_until = '2030-01-01'",
    ),
    "archive weather of days not known then": (
        f"update {WEATHER_DAYS} set temperature_min_c = -30, rain_7d_mm = 90 where day > $day - 5",
        f"update {WEATHER_DAYS} set is_heavy_rain = true where day > $day - 5",
        f"update {WEATHER_DAYS} set is_freeze_thaw = true where day > $day - 5",
    ),
    "weather that forecasts told": (
        f"update {WEATHER_DAYS} set source = 'forecast', known_on = day where day > $day - 5",
    ),
    "a cell beyond the area": (f"update {REQUESTS} set cell = $far where day = $day + 1",),
}


@pytest.fixture(scope="module")
def as_known(stored_once: Warehouse) -> pl.DataFrame:
    """The day's rows."""
    return rows_of(stored_once)


@pytest.fixture(scope="module")
def with_other_futures(
    stored_once: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, pl.DataFrame]:
    """The day's rows as made in a range, in warehouses that became others after it."""
    found = {}
    path = tmp_path_factory.mktemp("later") / "warehouse.duckdb"
    for name, become in LATER.items():
        path.write_bytes(stored_once.path.read_bytes())
        warehouse = Warehouse(database=str(path))
        for statement in become:
            run(warehouse, statement, day=DAY, far=FAR)
        write(warehouse, LEAKS, of(DAY, DAY + dt.timedelta(days=2)))
        found[name] = rows_of(warehouse, of(DAY, DAY + dt.timedelta(days=2)))
    return found


@pytest.mark.parametrize("name", FEATURES)
def test_no_feature_of_a_day_knows_what_came_later(
    name: str, as_known: pl.DataFrame, with_other_futures: dict[str, pl.DataFrame]
):
    before = as_known.select("cell", name)
    assert before[name].null_count() < before.height
    moved = {
        later
        for later, rows in with_other_futures.items()
        if not rows.filter(pl.col("day") == DAY).select("cell", name).equals(before)
    }
    assert moved == set()


def test_the_days_after_do_know(with_other_futures: dict[str, pl.DataFrame]):
    newest = {name: rows.filter(pl.col("day") > DAY) for name, rows in with_other_futures.items()}
    assert newest["calls"]["calls_7d"].sum() > newest["marks"]["calls_7d"].sum()
    assert newest["no calls"]["calls_7d"].sum() < newest["marks"]["calls_7d"].sum()
    assert newest["days not held"].is_empty()
    assert (newest["archive weather of days not known then"]["temperature_min_c"] == -30).all()
    assert FAR_PARENT in newest["a cell beyond the area"]["cell"].to_list()
    assert FAR_PARENT not in newest["marks"]["cell"].to_list()


@pytest.fixture(scope="module")
def with_other_weather(
    stored_once: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> pl.DataFrame:
    """The day's rows, had the weather of the newest day known been another."""
    path = tmp_path_factory.mktemp("weather") / "warehouse.duckdb"
    path.write_bytes(stored_once.path.read_bytes())
    warehouse = Warehouse(database=str(path))
    run(
        warehouse,
        f"update {WEATHER_DAYS} set temperature_min_c = -40, temperature_max_c = -39, "
        "temperature_drop_c = 77, is_freeze = not is_freeze, is_freeze_thaw = not is_freeze_thaw, "
        "is_heavy_rain = not is_heavy_rain, rain_3d_mm = 123, rain_7d_mm = 456, "
        "freezing_degree_days_14d = 789 where day = $day - 5",
        day=DAY,
    )
    write(warehouse, LEAKS, of(DAY))
    return rows_of(warehouse)


@pytest.mark.parametrize("name", WEATHER)
def test_every_feature_of_weather_moves_with_the_weather_that_was_known(
    name: str, as_known: pl.DataFrame, with_other_weather: pl.DataFrame
):
    assert not with_other_weather[name].equals(as_known[name])


def test_a_gap_in_the_days_held_makes_windows_over_it_null(stored: Warehouse):
    gap = DAY - dt.timedelta(days=20)
    run(stored, f"delete from {SLICES} where day = $day", day=gap)
    run(stored, f"delete from {REQUESTS} where day = $day", day=gap)
    write(stored, LEAKS, of(DAY))
    rows = rows_of(stored)
    assert rows["history_days"].unique().to_list() == [20]
    assert rows["calls_30d"].null_count() == rows.height
    assert rows["calls_14d"].null_count() == 0


def test_a_day_that_was_not_over_when_the_portal_was_asked_is_provisional(stored: Warehouse):
    asked = dt.datetime.combine(DAY, dt.time(20))
    run(stored, f"update {SLICES} set asked_at = $at where day = $day", at=asked, day=DAY)
    run(stored, f"update {REQUESTS} set observed_until = $at where day = $day", at=asked, day=DAY)
    write(stored, LEAKS, of(DAY))
    assert rows_of(stored)["is_provisional"].all()


def test_another_target_has_slices_of_its_own(stored: Warehouse, town: Town):
    before = stored.content_hash(CELL_DAYS, of(DAY))
    part = Slice(SANITATION.name, DAY, DAY + dt.timedelta(days=1), "target")
    result = materialize([*cell_days(SANITATION)], stored, None, DAY)
    assert result.success, failure(result)
    rows = rows_of(stored, part)
    assert (rows.height, rows["calls_365d"].sum()) == (town.cells.size, 0)
    assert stored.content_hash(CELL_DAYS, of(DAY)) == before
    # None of its kinds came in while others did.
    assert not verdicts(result)["kinds_appear"]


def offenders(warehouse: Warehouse, name: str, part: Slice | None = None) -> pl.DataFrame:
    (claim,) = (claim for claim in claims(LEAKS) if claim.name == name)
    params = {
        **(part or of(DAY)).params,
        "feed": LEAKS.feed.name,
        "city": LEAKS.feed.city.name,
        "resolution": LEAKS.resolution,
        "kinds": sorted(LEAKS.normalized_kinds),
    }
    return warehouse.read(
        claim.offenders, params, [CELL_DAYS, REQUESTS, SLICES, CELLS, WEATHER_DAYS]
    )


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("whole_study_area", f"delete from {CELL_DAYS} where calls_365d = 0"),
        ("whole_study_area", f"delete from {CELL_DAYS}"),
        ("counts_are_nested", f"update {CELL_DAYS} set calls_7d = calls_14d + 1"),
        ("counts_are_nested", f"update {CELL_DAYS} set calls_30d = all_calls_30d + 1"),
        ("counts_are_nested", f"update {CELL_DAYS} set ring1_calls_365d = -1"),
        ("counts_are_nested", f"update {CELL_DAYS} set decay_7d = decay_30d + 1"),
        ("weather_was_known", f"update {CELL_DAYS} set weather_day = day - 4"),
        ("weather_was_known", f"update {WEATHER_DAYS} set source = 'forecast'"),
        ("weather_was_known", f"delete from {WEATHER_DAYS}"),
        ("weather_covered", f"update {CELL_DAYS} set weather_day = null"),
        ("days_held", f"delete from {SLICES}; delete from {REQUESTS}"),
    ],
)
def test_a_check_names_the_day_that_does_not_hold(name: str, spoil: str, stored: Warehouse):
    assert offenders(stored, name).is_empty()
    for statement in spoil.split(";"):
        run(stored, statement)
    assert offenders(stored, name)["day"].unique().to_list() == [DAY]


def test_cells_that_only_records_put_into_the_area_need_no_row_and_stand_for_no_other(
    stored: Warehouse, town: Town
):
    one, other = {"cell": int(town.cells[0])}, {"cell": int(town.cells[1])}
    run(stored, f"update {CELLS} set is_inside = cell <> $cell", **one)
    run(stored, f"delete from {CELL_DAYS} where cell = $cell", **other)
    assert offenders(stored, "whole_study_area").height == 1
    run(stored, f"update {CELLS} set is_inside = true where cell = $cell", **one)
    run(stored, f"update {CELLS} set is_inside = false where cell = $cell", **other)
    assert offenders(stored, "whole_study_area").is_empty()


def test_a_kind_that_stopped_coming_is_named_once_a_year_is_held(stored: Warehouse):
    spelled = "regexp_replace(lower(kind), '[^a-z]+', ' ', 'g') like 'no water complaint%'"
    run(stored, f"update {REQUESTS} set kind = 'Dry Tap' where {spelled}")
    found = offenders(stored, "kinds_appear")
    assert found.rows() == [(DAY, "no water complaint")]
    year = FIRST + dt.timedelta(days=KIND_DAYS - 2)
    assert offenders(stored, "kinds_appear", of(year)).is_empty()
    assert offenders(stored, "kinds_appear", of(year + dt.timedelta(days=1))).height == 1


def test_a_kind_that_came_within_the_year_appears(stored: Warehouse):
    spelled = "regexp_replace(lower(kind), '[^a-z]+', ' ', 'g') like 'no water complaint%'"
    run(
        stored,
        f"update {REQUESTS} set kind = 'Dry Tap' where day > $day and {spelled}",
        day=DAY - dt.timedelta(days=300),
    )
    assert offenders(stored, "kinds_appear").is_empty()


@pytest.mark.parametrize(
    "kind", ["Sewer Cave-In  Request", "  Água — é?", "STRASSE 9/10 (West)", "", "NO-WATER..."]
)
def test_the_check_compares_kinds_as_the_rule_does(kind: str, warehouse: Warehouse):
    (claim,) = (claim for claim in claims(LEAKS) if claim.name == "kinds_appear")
    start = claim.offenders.index("select trim(")
    compared = claim.offenders[start : claim.offenders.index("\n    )", start)]
    with warehouse.connect() as conn:
        conn.execute("create temp table published as select $kind as kind", {"kind": kind})
        assert conn.sql(compared).fetchall() == [(normalized(kind),)]
