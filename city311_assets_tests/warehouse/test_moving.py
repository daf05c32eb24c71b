"""Moving a warehouse to a lake and back: row for row, into empty places only, killed and mended."""

import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from city311_assets.warehouse import lake as lake_module
from city311_assets.warehouse import moving as module
from city311_assets.warehouse.lake import LakeWarehouse
from city311_assets.warehouse.moving import (
    Moved,
    MoveFailedError,
    MoveRefusedError,
    contents,
    is_unfinished,
    move,
)
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELL_DAYS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets.warehouse.tables.table import Column, Table
from city311_assets_tests.commands import Installation
from city311_assets_tests.services import postgres
from city311_assets_tests.warehouse.test_lake import DAY, lake_in, part_of, rows

# Of every type that is declared, a value that a careless copy would change.
TOLD = {
    "VARCHAR": "'it''s ☃ ' || chr(10)",
    "DATE": "date '2026-01-02'",
    "TIMESTAMP": "timestamp '2026-03-08 02:30:00.123456'",
    "BOOLEAN": "false",
    "DOUBLE": "0.1 + 0.2",
    "UBIGINT": "18446744073709551615::ubigint",
    "UTINYINT": "255::utinyint",
    "BIGINT": "-9007199254740993",
}


def of_every_type() -> tuple[Table, ...]:
    """Return a few tables in which every declared type of column occurs."""
    missing = {column.type for table in TABLES for column in table.columns}
    few = []
    while missing:
        best = max(TABLES, key=lambda table: len(missing & {c.type for c in table.columns}))
        few.append(best)
        missing -= {column.type for column in best.columns}
    return tuple(few)


FEW = (*dict.fromkeys((*of_every_type(), CELL_DAYS, SLICES)),)


def value_of(column: Column) -> str:
    """Return an expression of a column's type."""
    return TOLD.get(column.type, f"cast(null as {column.type})")


def filled_with_everything(warehouse: Warehouse) -> Warehouse:
    """Write a few rows into each table, and nulls where they may be."""

    def fill(session) -> None:
        session.prepare(*FEW)
        for table in FEW:
            for is_null in (False, True):
                values = ", ".join(
                    f"cast({'null' if is_null and column.nullable else given(column)} "
                    f'as {column.type}) as "{column.name}"'
                    for column in table.columns
                )
                session.run(f"insert into {table} by name select {values}")

    warehouse.write(fill)
    return warehouse


def given(column: Column) -> str:
    said = value_of(column)
    if said.startswith("cast(null") and not column.nullable:
        return "0" if "[]" not in column.type else "[]"
    return said


def everything(warehouse: Warehouse) -> dict[str, list[tuple]]:
    """Return every row of every table, in an order of its own."""
    return {
        str(table): sorted(warehouse.read(f"from {table}", tables=(table,)).rows(), key=repr)
        for table in FEW
    }


@pytest.fixture
def few_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare few tables: making all of them in a lake takes longer than what is tested."""
    monkeypatch.setattr(module, "TABLES", FEW)
    monkeypatch.setattr(lake_module, "TABLES", FEW)


def quietly(_: Moved) -> None:
    """Tell nobody."""


@pytest.mark.usefixtures("few_tables")
@pytest.mark.parametrize("catalogue", ["sqlite", "postgres"])
def test_there_and_back_every_row_of_every_type_is_the_same(warehouse, tmp_path, catalogue):
    filled_with_everything(warehouse)
    with contextlib.ExitStack() as stack:
        lake = lake_in(tmp_path)
        if catalogue == "postgres":
            server = stack.enter_context(postgres())
            address = f"ducklake:postgres:{server.database('lake')}"
            lake = LakeWarehouse(database=address, data_path=str(tmp_path / "files"))
        told: list[Moved] = []
        there = move(warehouse, lake, told.append)
        assert told == there
        assert [moved.table for moved in there] == [str(table) for table in FEW]
        assert {moved.rows for moved in there} == {2}
        back = Warehouse(database=str(tmp_path / "back" / "warehouse.duckdb"))
        assert move(lake, back, quietly) == there
        assert everything(back) == everything(lake) == everything(warehouse)
        assert contents(back, FEW) == contents(lake, FEW) == contents(warehouse, FEW)
        assert not is_unfinished(lake)
        assert not is_unfinished(back)


@pytest.mark.usefixtures("few_tables")
def test_a_target_that_holds_rows_is_refused_and_named_and_left_alone(warehouse, tmp_path):
    warehouse.replace(CELL_DAYS, rows(), part_of())
    lake = lake_in(tmp_path)
    lake.replace(CELL_DAYS, rows(cells=3), part_of())
    for again in (False, True):
        with pytest.raises(MoveRefusedError, match=r"holds rows already: gold.cell_days \(3\)"):
            move(warehouse, lake, quietly, begin_again=again)
    assert lake.content_hash(CELL_DAYS, part_of())[0] == 3


@pytest.mark.usefixtures("few_tables")
def test_nothing_to_move_is_refused(warehouse: Warehouse, tmp_path: Path):
    with pytest.raises(MoveRefusedError, match="holds nothing yet"):
        move(warehouse, lake_in(tmp_path), quietly)


@pytest.mark.usefixtures("few_tables")
def test_a_table_that_is_not_declared_is_not_left_behind_in_silence(warehouse, tmp_path):
    warehouse.replace(CELL_DAYS, rows(), part_of())
    with warehouse.transaction() as session:
        session.run("create table gold.mine as select 1 as n")
    with pytest.raises(MoveRefusedError, match=r"not declared: gold\.mine"):
        move(warehouse, lake_in(tmp_path), quietly)


@pytest.mark.usefixtures("few_tables")
def test_a_source_that_was_written_meanwhile_is_noticed(warehouse, tmp_path):
    warehouse.replace(CELL_DAYS, rows(), part_of())
    lake = lake_in(tmp_path)

    def write(moved: Moved) -> None:
        if moved.table == str(CELL_DAYS):
            warehouse.replace(CELL_DAYS, rows(cells=2), part_of())

    with pytest.raises(MoveFailedError, match="written while it was moved"):
        move(warehouse, lake, write)
    assert is_unfinished(lake)


@pytest.mark.usefixtures("few_tables")
def test_what_arrived_otherwise_is_noticed(warehouse: Warehouse, tmp_path: Path, monkeypatch):
    warehouse.replace(CELL_DAYS, rows(), part_of())
    copied = module._copy

    def lose_a_row(source: Warehouse, table: Table, session) -> None:
        copied(source, table, session)
        if table is CELL_DAYS:
            session.run(f"update {table} set records = 4 where cell = 7")

    monkeypatch.setattr(module, "_copy", lose_a_row)
    with pytest.raises(MoveFailedError, match=r"gold\.cell_days: 20 rows were sent"):
        move(warehouse, lake_in(tmp_path), quietly)


@pytest.mark.usefixtures("few_tables")
def test_more_rows_than_are_held_at_a_time_arrive(warehouse: Warehouse, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_A_TIME", 7)
    warehouse.replace(CELL_DAYS, rows(cells=50), part_of())
    lake = lake_in(tmp_path)
    moved = move(warehouse, lake, quietly)
    assert {one.table: one.rows for one in moved if one.rows} == {"gold.cell_days": 50}
    held = lake.read(f"from {CELL_DAYS} order by cell")
    assert held.equals(warehouse.read(f"from {CELL_DAYS} order by cell"))


MOVING = """
import sys
from city311_assets.warehouse import lake as lakes
from city311_assets.warehouse import moving
from city311_assets.warehouse.tables.gold import CELL_DAYS
from city311_assets.warehouse.tables.meta import SLICES
lakes.TABLES = moving.TABLES = (CELL_DAYS, SLICES)
from city311_assets.warehouse.lake import LakeWarehouse
from city311_assets.warehouse.resource import Warehouse
def tell(moved):
    if moved.table == "gold.cell_days":
        print("there", flush=True)
        sys.stdin.read()
lake = LakeWarehouse(database=sys.argv[2], data_path=sys.argv[3])
moving.move(Warehouse(database=sys.argv[1]), lake, tell)
"""


def test_a_killed_move_is_found_said_and_begun_again(
    warehouse: Warehouse, tmp_path: Path, few_tables: None
):
    day = DAY + dt.timedelta(days=1)
    warehouse.replace(CELL_DAYS, rows(), part_of())
    lake = lake_in(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", MOVING, warehouse.database, lake.database, lake.data_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "there\n"
        os.kill(process.pid, signal.SIGKILL)
    assert is_unfinished(lake)
    with pytest.raises(MoveRefusedError, match="began and did not end; --begin-again"):
        move(warehouse, lake, quietly)
    with pytest.raises(MoveRefusedError, match="its rows are not all there"):
        move(lake, Warehouse(database=str(tmp_path / "x.duckdb")), quietly)
    # What was there of the first try does not stay, nor come twice.
    warehouse.replace(CELL_DAYS, rows(cells=4), part_of())
    warehouse.replace(CELL_DAYS, rows(day, cells=2), part_of(day))
    move(warehouse, lake, quietly, begin_again=True)
    assert contents(lake, (CELL_DAYS,)) == contents(warehouse, (CELL_DAYS,))
    assert not is_unfinished(lake)


def test_the_command_moves_every_table_and_says_what_to_do(tmp_path: Path):
    city = Installation.small(tmp_path)
    native = city.warehouse
    native.replace(CELL_DAYS, rows(), part_of())
    address = f"ducklake:sqlite:{tmp_path}/catalogue.sqlite"
    done = city.run("move", "--to", address)
    assert done.returncode == 0, done.stderr
    assert "gold.cell_days: 20 rows, the same" in done.stdout
    assert f"20 rows of {len(TABLES)} tables" in done.stdout
    assert f"CITY311_WAREHOUSE='{address}'" in done.stdout
    lake = LakeWarehouse(
        database=address, data_path=str(Path(city.settings["CITY311_DATA_DIR"]) / "lake")
    )
    assert contents(lake, FEW) == contents(native, FEW)


def test_a_move_to_where_it_is_is_refused(tmp_path: Path):
    refused = Installation.small(tmp_path).run("move", "--to", "native")
    assert (refused.returncode, "already" in refused.stderr) == (2, True)
