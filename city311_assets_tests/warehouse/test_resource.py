"""The door to DuckDB: slices whole or not at all, one at a time, in a real file."""

import dataclasses
import datetime as dt
import multiprocessing
import random
import re
import threading
import time
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from city311_assets.partitions import Slice
from city311_assets.warehouse import resource
from city311_assets.warehouse.errors import (
    SliceRefusedError,
    TableMismatchError,
    WarehouseBusyError,
)
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets.warehouse.tables.table import Column, Table
from city311_assets_tests.warehouse.things import (
    AT,
    BOTH,
    DAY,
    NEXT,
    OTHERS,
    PART,
    STORED,
    THINGS,
    duckdb_shell,
    stranger,
    thing,
    things,
)

WHOLE = f"from {THINGS}"
unscoped = Table("bronze", "areas", "area", THINGS.columns, ("record_id",), period=None)


def numbers(warehouse: Warehouse, part: Slice = PART) -> list[str]:
    return warehouse.read(STORED, part)["record_id"].to_list()


# Slices.


def test_writing_twice_leaves_one_copy(warehouse: Warehouse):
    warehouse.replace(THINGS, things("a", "b"), PART)
    before = warehouse.content_hash(THINGS, PART)
    warehouse.replace(THINGS, things("a", "b"), PART)
    assert warehouse.content_hash(THINGS, PART) == before
    assert before[0] == 2
    assert warehouse.read(WHOLE).height == 2


def test_a_slice_that_became_empty_is_emptied(warehouse: Warehouse):
    warehouse.replace(THINGS, things("a"), PART)
    warehouse.replace(THINGS, things(), PART)
    assert warehouse.content_hash(THINGS, PART) == (0, 0)


def test_a_slice_that_shrank_keeps_nothing_of_before(warehouse: Warehouse):
    warehouse.replace(THINGS, things("a", "b", "c"), PART)
    warehouse.replace(THINGS, things("b", note="new"), PART)
    assert warehouse.read(STORED, PART).select("record_id", "note").rows() == [("b", "new")]


def test_other_slices_are_left_alone(warehouse: Warehouse):
    later, pans = Slice("pots", NEXT, BOTH.end), Slice("pans", DAY, NEXT)
    warehouse.replace(THINGS, things("a"), PART)
    warehouse.replace(THINGS, things("b", day=NEXT), later)
    warehouse.replace(THINGS, things("c", feed="pans"), pans)
    before = [warehouse.content_hash(THINGS, part) for part in (later, pans)]
    warehouse.replace(THINGS, things(), PART)
    assert [warehouse.content_hash(THINGS, part) for part in (later, pans)] == before
    assert numbers(warehouse, BOTH) == ["b"]


def test_a_range_replaces_all_its_days(warehouse: Warehouse):
    warehouse.replace(THINGS, pl.concat([things("a"), things("b", day=NEXT)]), BOTH)
    warehouse.replace(THINGS, things("c", day=NEXT), BOTH)
    assert numbers(warehouse, BOTH) == ["c"]


def test_a_table_without_days_is_replaced_by_name(warehouse: Warehouse):
    warehouse.replace(unscoped, things("a"), "pots")
    warehouse.replace(unscoped, things("b", feed="pans"), "pans")
    warehouse.replace(unscoped, things("c", day=NEXT), "pots")
    assert warehouse.read(f"from {unscoped} order by record_id")["record_id"].to_list() == [
        "b",
        "c",
    ]
    with pytest.raises(SliceRefusedError, match=r"bronze\.areas, slice pans.*another slice: pots"):
        warehouse.replace(unscoped, things("d"), "pans")


def test_columns_are_stored_by_name_not_by_place(warehouse: Warehouse):
    swapped = things("a").select(sorted(THINGS.names))
    warehouse.replace(THINGS, swapped, PART)
    assert warehouse.read(WHOLE).to_dicts() == [thing("a")]


def test_a_column_of_nothing_but_nulls_needs_no_type(warehouse: Warehouse):
    nullable = [column.name for column in THINGS.columns if column.nullable]
    warehouse.replace(
        THINGS, things("a").with_columns(pl.lit(None).alias(n) for n in nullable), PART
    )
    stored = warehouse.read(WHOLE)
    assert stored.select(nullable).null_count().row(0) == (1,) * len(nullable)
    assert stored.schema["cell"] == pl.UInt64
    assert stored.schema["note"] == pl.String


def test_an_empty_frame_needs_no_types(warehouse: Warehouse):
    warehouse.replace(THINGS, things("a"), PART)
    warehouse.replace(THINGS, pl.DataFrame({name: [] for name in THINGS.names}), PART)
    assert numbers(warehouse) == []


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_timestamps_of_any_precision_are_stored(warehouse: Warehouse, unit):
    frame = things("a").with_columns(pl.col("opened_at").cast(pl.Datetime(unit)))
    warehouse.replace(THINGS, frame, PART)
    assert warehouse.read(WHOLE)["opened_at"].to_list() == [AT]


# Refusals.

REFUSED: dict[str, tuple[pl.DataFrame, str]] = {
    "another day": (things("a", day=NEXT), r"rows of another slice: pots 2026-01-03"),
    "another feed": (things("a", feed="pans"), r"rows of another slice: pans 2026-01-02"),
    "one stray among many": (
        pl.concat([things("a", "b"), things("c", day=DAY - dt.timedelta(days=1))]),
        r"rows of another slice: pots 2026-01-01",
    ),
    "no feed": (things("a", feed=None), r"a null where none may be: feed"),
    "no day": (things("a", day=None), r"a null where none may be: day"),
    "no time": (
        things("a", opened_at=None),
        r"a null where none may be: opened_at",
    ),
    "a key twice": (things("a", "b", "a"), r"a repeated key: pots 2026-01-02 a$"),
    "many keys twice": (things(*"abcdefg" * 2), r"repeated key: .* b, .* e and 2 more$"),
    "a column missing": (things("a").drop("note"), r"missing \['note'\], unknown \[\]"),
    "a column too many": (
        things("a").with_columns(nope=1),
        r"missing \[\], unknown \['nope'\]",
    ),
    "another name": (
        things("a").rename({"note": "remark"}),
        r"missing \['note'\], unknown \['remark'\]",
    ),
    "another type": (
        things("a").with_columns(pl.col("hour").cast(pl.String)),
        r"hour is VARCHAR, not UTINYINT",
    ),
    "a wider type": (
        things("a").with_columns(pl.col("hour").cast(pl.Int64)),
        r"hour is BIGINT, not UTINYINT",
    ),
    "a time zone": (
        things("a").with_columns(pl.col("opened_at").dt.replace_time_zone("UTC")),
        r"opened_at is TIMESTAMP WITH TIME ZONE, not TIMESTAMP",
    ),
    "a time for a day": (
        things("a").with_columns(pl.col("day").cast(pl.Datetime("us"))),
        r"day is TIMESTAMP, not DATE",
    ),
}


@pytest.mark.parametrize(("rows", "complaint"), REFUSED.values(), ids=REFUSED)
def test_what_must_never_be_stored_is_refused_by_name_and_the_old_slice_survives(
    warehouse: Warehouse, rows: pl.DataFrame, complaint: str
):
    warehouse.replace(THINGS, things("old"), PART)
    before = warehouse.content_hash(THINGS, BOTH), warehouse.data_version
    with pytest.raises(SliceRefusedError, match=complaint) as refused:
        warehouse.replace(THINGS, rows, PART)
    assert str(refused.value).startswith("silver.things, slice pots 2026-01-02 to 2026-01-02, was")
    assert (warehouse.content_hash(THINGS, BOTH), warehouse.data_version) == before
    assert numbers(warehouse, BOTH) == ["old"]


def test_a_row_of_another_city_is_refused(warehouse: Warehouse):
    columns = (Column("city", "VARCHAR", "City.", nullable=False), *THINGS.columns[1:])
    by_city = dataclasses.replace(
        THINGS, name="sights", columns=columns, unique=("city", "day", "record_id"), scope="city"
    )
    rows = things("a").rename({"feed": "city"})
    with pytest.raises(SliceRefusedError, match="rows of another slice: pots 2026-01-02"):
        warehouse.replace(by_city, rows, Slice("pans", DAY, NEXT, "city"))


def test_an_empty_slice_of_time_is_no_slice():
    with pytest.raises(ValueError, match="pots 2026-01-02 to 2026-01-01 is empty"):
        Slice("pots", DAY, DAY)


# Transactions.


def test_several_tables_change_together_or_not_at_all(warehouse: Warehouse):
    with warehouse.transaction() as session:
        session.replace(THINGS, things("a"), PART)
        session.replace(OTHERS, things("a"), PART)
    version = warehouse.data_version

    def write() -> None:
        with warehouse.transaction() as session:
            session.replace(THINGS, things("b", "c"), PART)
            session.replace(OTHERS, things("b", "c"), PART)
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write()
    assert numbers(warehouse) == ["a"]
    assert warehouse.read(f"from {OTHERS}")["record_id"].to_list() == ["a"]
    assert warehouse.data_version == version


def test_a_refusal_of_the_second_table_undoes_the_first(warehouse: Warehouse):
    warehouse.replace(THINGS, things("a"), PART)

    def write() -> None:
        with warehouse.transaction() as session:
            session.replace(THINGS, things("b"), PART)
            session.replace(OTHERS, things("b", "b"), PART)

    with pytest.raises(SliceRefusedError, match=r"gold\.others.*a repeated key"):
        write()
    assert numbers(warehouse) == ["a"]


def test_a_transaction_sees_what_it_wrote(warehouse: Warehouse):
    with warehouse.transaction() as session:
        session.replace(THINGS, things("a", "b"), PART)
        assert session.read(STORED, PART.params).height == 2
        session.run(
            f"delete from {THINGS} where record_id in (select n from gone)",
            gone=pl.DataFrame({"n": ["a"]}),
        )
    assert numbers(warehouse) == ["b"]


def test_a_query_is_given_the_parameters_it_names_and_no_others(warehouse: Warehouse):
    warehouse.replace(THINGS, things("a"), PART)
    named = {"feed": "pots", "day": DAY, "unused": "x"}
    assert warehouse.read(f"from {THINGS} where feed = $feed and day = $day", named).height == 1
    hostile = {"feed": "' or true --"}
    assert warehouse.read(f"from {THINGS} where feed = $feed", hostile).is_empty()


def test_a_table_nothing_was_written_to_has_no_rows(warehouse: Warehouse):
    with pytest.raises(duckdb.CatalogException):
        warehouse.read(STORED, PART)
    assert warehouse.read(STORED, PART, [THINGS]).columns == THINGS.names
    assert warehouse.read(STORED, PART, [THINGS]).is_empty()
    assert warehouse.content_hash(OTHERS, PART) == (0, 0)


def test_the_version_of_the_data_changes_with_every_write_and_with_no_read(warehouse: Warehouse):
    assert warehouse.data_version is None
    warehouse.read(WHOLE, tables=[THINGS])
    assert warehouse.data_version is None
    versions = set()
    for _ in range(3):
        warehouse.replace(THINGS, things("a"), PART)
        versions.add(warehouse.data_version)
        warehouse.read(WHOLE)
        warehouse.content_hash(THINGS, PART)
        versions.add(warehouse.data_version)
    assert len(versions) == 3


# Content hashes.

OTHER_VALUES = {
    "day": NEXT,
    "record_id": "z",
    "opened_at": AT + dt.timedelta(microseconds=1),
    "note": "note a ",
    "depth_m": 0.5000000001,
    "is_big": True,
    "cell": 2**63 + 2,
    "hour": 10,
}
NULLABLE = [column.name for column in THINGS.columns if column.nullable]


def hash_of(warehouse: Warehouse, rows: pl.DataFrame) -> tuple[int, int]:
    warehouse.replace(THINGS, rows, BOTH)
    return warehouse.content_hash(THINGS, BOTH)


def test_the_content_is_every_column_but_provenance_and_the_scope():
    assert {*OTHER_VALUES, "feed"} == set(THINGS.content)


@pytest.mark.parametrize("column", OTHER_VALUES)
def test_any_change_of_content_changes_the_hash(warehouse: Warehouse, column: str):
    rows = [thing("a"), thing("b", note="other", depth_m=2.0, is_big=True, cell=7, hour=1)]
    frame = pl.DataFrame(rows, schema=things().schema)
    before = hash_of(warehouse, frame)
    changed = [rows[0] | {column: OTHER_VALUES[column]}, rows[1]]
    assert hash_of(warehouse, pl.DataFrame(changed, schema=frame.schema)) != before
    if column in NULLABLE:
        unknown = [rows[0] | {column: None}, rows[1]]
        assert hash_of(warehouse, pl.DataFrame(unknown, schema=frame.schema)) != before
        # The same values in other rows are other rows.
        swapped = [rows[0] | {column: rows[1][column]}, rows[1] | {column: rows[0][column]}]
        assert hash_of(warehouse, pl.DataFrame(swapped, schema=frame.schema)) != before


@pytest.mark.parametrize(
    ("column", "value"), [("fetched_from", "x"), ("fetched_at", None), ("fetched_from", None)]
)
def test_provenance_does_not_change_the_hash(warehouse: Warehouse, column: str, value: object):
    assert hash_of(warehouse, things("a", **{column: value})) == hash_of(warehouse, things("a"))


@given(
    notes=st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1, max_size=12),
    seed=st.integers(0, 999),
)
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_order_of_rows_does_not_change_the_hash(
    warehouse: Warehouse, notes: list[str | None], seed: int
):
    rows = [thing(str(place), note=note) for place, note in enumerate(notes)]
    shuffled = random.Random(seed).sample(rows, len(rows))
    before = hash_of(warehouse, pl.DataFrame(rows, schema=things().schema))
    assert hash_of(warehouse, pl.DataFrame(shuffled, schema=things().schema)) == before
    fewer = pl.DataFrame(rows[:-1], schema=things().schema)
    assert hash_of(warehouse, fewer) != before


# Files of older versions.


def without(*names: str) -> Table:
    kept = tuple(column for column in THINGS.columns if column.name not in names)
    return dataclasses.replace(THINGS, columns=kept)


def typed(name: str, dtype: str) -> Table:
    columns = [
        dataclasses.replace(column, type=dtype) if column.name == name else column
        for column in THINGS.columns
    ]
    return dataclasses.replace(THINGS, columns=tuple(columns))


def test_an_older_file_gains_a_nullable_column_and_keeps_its_rows(warehouse: Warehouse):
    older = without("note", "cell")
    warehouse.replace(older, things("a").drop("note", "cell"), PART)
    warehouse.replace(THINGS, things("b", day=NEXT), Slice("pots", NEXT, BOTH.end))
    stored = warehouse.read(STORED, BOTH)
    assert stored.select("record_id", "note", "cell", "hour").rows() == [
        ("a", None, None, 9),
        ("b", "note b", 2**63 + 1, 9),
    ]
    assert sorted(stored.columns) == sorted(THINGS.names)


def test_an_older_file_is_upgraded_by_a_read_too(warehouse: Warehouse):
    warehouse.replace(without("note"), things("a").drop("note"), PART)
    assert warehouse.read(f"select note from {THINGS}", tables=[THINGS]).rows() == [(None,)]


CHANGED = {
    "another type": (typed("hour", "BIGINT"), {"hour": "BIGINT"}),
    "a column no longer declared": (
        dataclasses.replace(THINGS, columns=(*THINGS.columns, Column("old", "VARCHAR", "Old."))),
        {"old": "VARCHAR"},
    ),
    "a column that must not be null": (without("opened_at"), {}),
    "a nullable column and another type": (
        dataclasses.replace(
            typed("hour", "BIGINT"),
            columns=tuple(c for c in typed("hour", "BIGINT").columns if c.name != "note"),
        ),
        {"hour": "BIGINT"},
    ),
}


@pytest.mark.parametrize(("older", "shown"), CHANGED.values(), ids=CHANGED)
def test_an_older_file_that_cannot_be_upgraded_is_refused_with_both_lists_and_left_alone(
    warehouse: Warehouse, older: Table, shown: dict[str, str]
):
    with warehouse.transaction() as session:
        session.prepare(older)
        values = {"feed": "pots", "day": DAY, "record_id": "a", "opened_at": AT}
        held = [name for name in values if name in older.names]
        session.run(
            f"insert into {older} ({', '.join(held)}) values ({', '.join(f'${n}' for n in held)})",
            values,
        )
    describe = f"select column_name, column_type from (describe {THINGS})"
    before = warehouse.read(describe).rows()
    for attempt in (
        lambda: warehouse.replace(THINGS, things("b"), PART),
        lambda: warehouse.read(STORED, PART, [THINGS]),
    ):
        with pytest.raises(TableMismatchError, match=r"silver\.things.*Stored: .*Declared: ") as no:
            attempt()
        stored, declared = str(no.value).split("Declared:")
        assert "drop silver.things" in declared
        assert all(f"'{name}': '{dtype}'" in stored for name, dtype in shown.items())
        assert all(f"'{c.name}': '{c.type}'" in declared for c in THINGS.columns)
    assert warehouse.read(describe).rows() == before
    assert warehouse.read(f"select record_id from {THINGS}").rows() == [("a",)]


def test_an_older_file_lets_go_of_a_not_null_that_is_no_longer_declared(warehouse: Warehouse):
    strict = [dataclasses.replace(column, nullable=False) for column in THINGS.columns]
    warehouse.replace(dataclasses.replace(THINGS, columns=tuple(strict)), things("a"), PART)
    warehouse.replace(THINGS, things("a", note=None), PART)
    assert warehouse.read(f"select note from {THINGS}").rows() == [(None,)]


# Several processes.


def replace_ten_times(database: str, day: dt.date) -> None:
    """Replace one day ten times, each time with more rows: what the other process runs."""
    warehouse = Warehouse(database=database, lock_timeout_seconds=60)
    part = Slice("pots", day, day + dt.timedelta(days=1))
    for turn in range(1, 11):
        rows = things(*(str(place) for place in range(turn)), day=day, note=f"turn {turn}")
        warehouse.replace(THINGS, rows, part)


def test_two_processes_that_write_at_once_both_finish_exactly(warehouse: Warehouse):
    still = dt.date(2026, 1, 9)
    warehouse.replace(THINGS, things("a", day=still), Slice("pots", still, still + (NEXT - DAY)))
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=replace_ten_times, args=(warehouse.database, day))
        for day in (DAY, NEXT)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    counted = f"select day, note, count(*) as n from {THINGS} group by all order by day"
    assert warehouse.read(counted).rows() == [
        (DAY, "turn 10", 10),
        (NEXT, "turn 10", 10),
        (still, "note a", 1),
    ]


def test_a_warehouse_that_stays_busy_is_named_with_the_seconds_waited(warehouse: Warehouse):
    impatient = Warehouse(database=warehouse.database, lock_timeout_seconds=0.2)
    named = rf"{re.escape(warehouse.database)} was held .* more than 0\.2 s.*city311 doctor"
    with warehouse.door(), pytest.raises(WarehouseBusyError, match=named):
        impatient.read("select 1")
    assert impatient.read("select 1 as one").item() == 1


def test_the_door_opens_again_after_a_body_that_raised(warehouse: Warehouse):
    impatient = Warehouse(database=warehouse.database, lock_timeout_seconds=0.2)
    for _ in range(2):
        with pytest.raises(duckdb.ParserException):
            impatient.read("selec 1")
    with pytest.raises(ZeroDivisionError), impatient.connect():
        _ = 1 / 0
    impatient.replace(THINGS, things("a"), PART)
    assert numbers(impatient) == ["a"]


def test_a_write_waits_for_a_stranger_who_reads_the_file_and_then_goes_on(warehouse: Warehouse):
    warehouse.replace(THINGS, things("a"), PART)
    with duckdb_shell(warehouse.path) as reader:
        write = threading.Thread(target=warehouse.replace, args=(THINGS, things("b"), PART))
        write.start()
        write.join(timeout=0.5)
        assert write.is_alive()
        assert reader.ask(f"select record_id from {THINGS}") == "[('a',)]"
        assert reader.ask("close") == "closed"
        write.join(timeout=10)
        assert not write.is_alive()
    assert numbers(warehouse) == ["b"]


def test_a_stranger_who_never_goes_is_an_error_that_names_the_file(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    warehouse.replace(THINGS, things("a"), PART)
    monkeypatch.setattr(resource, "PATIENCE_WITH_READERS_SECONDS", 0.3)
    started = time.monotonic()
    with (
        duckdb_shell(warehouse.path),
        pytest.raises(WarehouseBusyError, match=re.escape(warehouse.database)),
    ):
        warehouse.replace(THINGS, things("b"), PART)
    assert time.monotonic() - started < 10
    assert numbers(warehouse) == ["a"]


def test_a_file_that_is_no_database_is_an_error_at_once(warehouse: Warehouse):
    warehouse.path.parent.mkdir(parents=True)
    warehouse.path.write_bytes(b"not a database " * 1000)
    with pytest.raises(duckdb.IOException, match="not a valid DuckDB database"):
        warehouse.read("select 1")


@pytest.mark.parametrize(("state", "held"), [("open", ["old"]), ("committed", ["new", "newer"])])
def test_a_writer_killed_at_any_point_leaves_the_old_slice_or_the_new_one(
    warehouse: Warehouse, tmp_path: Path, state: str, held: list[str]
):
    warehouse.replace(THINGS, things("old"), PART)
    with stranger("unfinished_writer", warehouse.database, state) as writer:
        impatient = Warehouse(database=warehouse.database, lock_timeout_seconds=0.1)
        with pytest.raises(WarehouseBusyError):
            impatient.read("select 1")
        writer.kill()
    # A copy made next holds what was committed, though the log was never written into the file.
    publish(warehouse, tmp_path / "copy.duckdb", tables=(*TABLES, THINGS))
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as copy:
        rows = copy.sql(f"select record_id from {THINGS} order by 1").fetchall()
    assert [number for (number,) in rows] == numbers(warehouse) == held
    warehouse.replace(THINGS, things("after"), PART)
    assert numbers(warehouse) == ["after"]


# The connection.


def test_nothing_is_fetched_behind_the_users_back(warehouse: Warehouse):
    names = ("autoinstall_known_extensions", "autoload_known_extensions")
    settings = ", ".join(f"current_setting('{name}') as {name}" for name in names)
    assert warehouse.read(f"select {settings}").row(0) == (False, False)


def test_the_warehouse_is_called_city_wherever_it_lies(tmp_path: Path):
    warehouse = Warehouse(database=str(tmp_path / "O'Hare & co" / "my file.duckdb"))
    warehouse.replace(THINGS, things("a"), PART)
    assert warehouse.read(f"select record_id from city.{THINGS}").item() == "a"
    assert warehouse.path.exists()


def test_no_query_draws_a_bar_into_the_logs(warehouse: Warehouse):
    told = warehouse.read("select current_setting('enable_progress_bar') as is_drawn")
    assert told["is_drawn"].to_list() == [False]
