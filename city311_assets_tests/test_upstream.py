"""Facts about the libraries that the project leans on; where one changes, it shows here."""

import datetime as dt
import json
from pathlib import Path

import dagster as dg
import duckdb
import h3.api.basic_int as h3
import polars as pl
import pytest
import shapely
from filelock import FileLock, Timeout

from city311_assets.partitions import range_tags

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01")
FIRST, LAST = dt.date(2026, 3, 7), dt.date(2026, 3, 9)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


# Dagster.


def test_a_runs_window_is_the_whole_range_in_an_asset_and_in_its_check():
    windows = {}

    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.multi_run(31))
    def days(context: dg.AssetExecutionContext) -> None:
        windows["asset"] = context.partition_time_window

    @dg.asset_check(asset=days, partitions_def=DAYS)
    def checked(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        windows["check"] = context.partition_time_window
        return dg.AssetCheckResult(passed=True)

    result = dg.materialize([days, checked], tags=range_tags(FIRST, LAST), run_config=QUIET)
    assert result.success
    assert windows["asset"] == windows["check"]
    window = windows["asset"]
    assert (window.start.date(), window.end.date()) == (FIRST, LAST + dt.timedelta(days=1))
    assert len(result.asset_materializations_for_node("days")) == 3
    assert len(result.get_asset_check_evaluations()) == 1


def test_a_ranges_verdict_is_no_days_own():
    """Why `note_verdicts` exists: else what waits for blocking checks would wait for ever."""
    passed = dg.AutomationCondition.all_deps_blocking_checks_passed()

    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.multi_run(31))
    def days() -> None: ...

    @dg.asset_check(asset=days, partitions_def=DAYS, blocking=True)
    def checked() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    eager = dg.AutomationCondition.eager().without(dg.AutomationCondition.in_latest_time_window())

    @dg.asset(partitions_def=DAYS, deps=[days], automation_condition=eager & passed)
    def after() -> None: ...

    defs = dg.Definitions([days, after], asset_checks=[checked])
    job = defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        tick = dg.evaluate_automation_conditions(defs, instance)
        for tags, requested in [
            (range_tags(FIRST, LAST), 0),
            ({"dagster/partition": FIRST.isoformat()}, 1),
        ]:
            job.execute_in_process(
                instance=instance, asset_selection=[days.key], tags=tags, run_config=QUIET
            )
            tick = dg.evaluate_automation_conditions(defs, instance, cursor=tick.cursor)
            assert tick.total_requested == requested


def test_metadata_given_for_a_partition_belongs_to_it_alone():
    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.multi_run(31))
    def days(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        for day in context.partition_keys:
            figures = {"dagster/partition_row_count": int(day[-1])}
            context.add_asset_metadata(figures, asset_key=context.asset_key, partition_key=day)
        return dg.MaterializeResult(metadata={"range_rows": 24})

    result = dg.materialize([days], tags=range_tags(FIRST, LAST), run_config=QUIET)
    found = {
        event.partition: {name: value.value for name, value in event.metadata.items()}
        for event in result.asset_materializations_for_node("days")
    }
    assert {day: figures["dagster/partition_row_count"] for day, figures in found.items()} == {
        "2026-03-07": 7,
        "2026-03-08": 8,
        "2026-03-09": 9,
    }
    assert [figures["range_rows"] for figures in found.values()] == [24] * 3


def test_a_blocking_check_stops_what_hangs_from_its_asset():
    ran = []

    @dg.asset
    def first() -> None:
        ran.append("first")

    @dg.asset(deps=[first])
    def second() -> None:
        ran.append("second")

    @dg.asset_check(asset=first, blocking=True)
    def never() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    result = dg.materialize([first, second, never], raise_on_error=False, run_config=QUIET)
    assert not result.success
    assert ran == ["first"]


# DuckDB.


@pytest.fixture
def conn():
    with duckdb.connect() as conn:
        yield conn


def test_insert_by_name_goes_by_name_and_by_position_does_not(conn: duckdb.DuckDBPyConnection):
    conn.execute("create table t (a varchar, b varchar)")
    conn.register("rows", pl.DataFrame({"b": ["b"], "a": ["a"]}))
    conn.execute("insert into t by name from rows")
    conn.execute("insert into t from rows")
    assert conn.sql("from t").fetchall() == [("a", "b"), ("b", "a")]


def test_a_page_is_read_with_given_columns_and_no_guessing(
    conn: duckdb.DuckDBPyConnection, tmp_path: Path
):
    page = [
        {":id": "row-1", "zip": "00123", "n": 7, "point": {"lat": "1.50"}, "flag": True},
        {":id": "row-2", "when": "2026-01-02T00:00:00.000", "zip": None, "late": "not declared"},
    ]
    file = tmp_path / "page.json"
    file.write_text(json.dumps(page))
    columns = dict.fromkeys([":id", "zip", "n", "point", "flag", "when"], "VARCHAR")
    query = "from read_json($file, columns = $columns, format = 'array')"
    found = conn.sql(query, params={"file": str(file), "columns": columns})
    assert found.columns == list(columns)
    assert found.fetchall() == [
        ("row-1", "00123", "7", '{"lat":"1.50"}', "true", None),
        ("row-2", None, None, None, None, "2026-01-02T00:00:00.000"),
    ]
    file.write_text("[]")
    assert conn.sql(query, params={"file": str(file), "columns": columns}).fetchall() == []
    file.write_text('[{"zip": "1"}, {"zi')
    with pytest.raises(duckdb.InvalidInputException):
        conn.sql(query, params={"file": str(file), "columns": columns}).fetchall()


def test_merge_updates_what_matches_and_leaves_the_rest(conn: duckdb.DuckDBPyConnection):
    conn.execute("create table t as select * from (values (1, 'a'), (2, 'b')) v (id, x)")
    conn.execute(
        "merge into t using (select 2 as id, 'new' as x) as n on t.id = n.id "
        "when matched then update set x = n.x"
    )
    assert conn.sql("from t order by id").fetchall() == [(1, "a"), (2, "new")]


def test_a_parameter_a_statement_does_not_name_is_refused(conn: duckdb.DuckDBPyConnection):
    with pytest.raises(duckdb.InvalidInputException):
        conn.sql("select $a", params={"a": 1, "b": 2})


def test_tables_made_in_a_transaction_go_with_it(tmp_path: Path):
    file = str(tmp_path / "t.duckdb")
    with duckdb.connect(file) as conn:
        conn.begin()
        conn.execute("create schema s")
        conn.execute("create table s.t (a integer)")
        conn.execute("insert into s.t values (1)")
    with duckdb.connect(file) as conn:
        assert conn.sql("select count(*) from duckdb_tables()").fetchall() == [(0,)]


def test_a_column_of_nulls_has_a_type_it_did_not_ask_for(conn: duckdb.DuckDBPyConnection):
    conn.register("rows", pl.DataFrame({"a": [None]}))
    ((_, kind, *_),) = conn.execute("describe rows").fetchall()
    assert kind == "INTEGER"


def test_a_file_another_process_reads_cannot_be_attached_and_says_lock(tmp_path: Path):
    from city311_assets_tests.warehouse.things import duckdb_shell

    file = tmp_path / "t.duckdb"
    duckdb.connect(str(file)).close()
    with (
        duckdb_shell(file),
        duckdb.connect() as conn,
        pytest.raises(duckdb.IOException, match="lock"),
    ):
        conn.execute(f"attach '{file}' as t")


def test_a_released_block_is_counted_as_free(tmp_path: Path):
    with duckdb.connect(str(tmp_path / "t.duckdb")) as conn:
        conn.execute("create table t as select hash(range) as h from range(1000000)")
        conn.execute("checkpoint")
        conn.execute("drop table t")
        conn.execute("checkpoint")
        ((total, free),) = conn.sql(
            "select total_blocks, free_blocks from pragma_database_size()"
        ).fetchall()
    assert free > total / 2


# Polars.


def test_the_zone_of_a_wall_time_is_resolved_as_told():
    wall = pl.Series([dt.datetime(2026, 11, 1, 1, 30), dt.datetime(2026, 3, 8, 2, 30)])
    first = wall.dt.replace_time_zone("America/Chicago", ambiguous="earliest", non_existent="null")
    utc = first.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    assert utc.to_list() == [dt.datetime(2026, 11, 1, 6, 30), None]
    second = wall.head(1).dt.replace_time_zone("America/Chicago", ambiguous="latest")
    assert second.dt.convert_time_zone("UTC").dt.hour().to_list() == [7]
    for one in (wall.head(1), wall.tail(1)):
        with pytest.raises(pl.exceptions.ComputeError):
            one.dt.replace_time_zone("America/Chicago")


def test_a_window_with_an_unknown_has_an_unknown_sum():
    found = pl.Series([1.0, None, 1.0, 1.0, 1.0]).rolling_sum(3).to_list()
    assert found == [None, None, None, None, 3.0]


def test_a_row_as_json_keeps_nulls_dates_and_text():
    frame = pl.DataFrame({"a": [None], "day": [dt.date(2026, 1, 2)], "text": ['é"\n']})
    frame = frame.with_columns(pl.col("a").cast(pl.String))
    text = frame.select(pl.struct(pl.all()).struct.json_encode()).item()
    assert json.loads(text) == {"a": None, "day": "2026-01-02", "text": 'é"\n'}


def test_a_path_into_broken_json_is_null_and_no_error():
    found = pl.Series(["{broken", '{"url": "x"}', '{"url": null}']).str.json_path_match("$.url")
    assert found.to_list() == [None, "x", None]


# H3, shapely, filelock.


@pytest.mark.parametrize("point", [(91.0, 0.0), (41.0, 360.0), (0.0, 0.0), (-200.0, 500.0)])
def test_h3_refuses_no_point_however_wrong(point: tuple[float, float]):
    assert h3.is_valid_cell(h3.latlng_to_cell(*point, 10))


def test_h3_cells_are_integers_with_their_resolution_in_bits_52_to_55():
    for resolution in range(16):
        cell = h3.latlng_to_cell(41.88, -87.63, resolution)
        assert isinstance(cell, int)
        assert cell >> 52 & 0xF == resolution == h3.get_resolution(cell)


def test_shapely_counts_the_border_as_intersecting_and_reads_longitude_first():
    shape = shapely.from_geojson('{"type": "Point", "coordinates": [-87.6, 41.9]}')
    assert (shapely.get_x(shape), shapely.get_y(shape)) == (-87.6, 41.9)
    tree = shapely.STRtree([shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1)])
    point, area = tree.query(shapely.points([1.0], [0.5]), predicate="intersects")
    assert sorted(zip(point.tolist(), area.tolist(), strict=True)) == [(0, 0), (0, 1)]


def test_a_file_lock_keeps_out_a_second_one_of_the_same_process(tmp_path: Path):
    path = str(tmp_path / "door.lock")
    with FileLock(path), pytest.raises(Timeout):
        FileLock(path, timeout=0.05).acquire()
    with FileLock(path, timeout=0.05):
        pass
