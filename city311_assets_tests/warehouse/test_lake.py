"""A DuckLake in place of the native file: the same rows, written by several at once."""

import multiprocessing
import re
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from city311_assets.partitions import Slice
from city311_assets.settings import Settings
from city311_assets.warehouse import lake as module
from city311_assets.warehouse.errors import SliceRefusedError
from city311_assets.warehouse.extensions import ExtensionMissingError, load
from city311_assets.warehouse.lake import LakeWarehouse, TooManyConflictsError
from city311_assets.warehouse.opening import warehouse_of
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets.warehouse.tables.gold import CELL_DAYS
from city311_assets.warehouse.tables.registry import TABLES

DAY = date(2026, 1, 2)
WORKERS, SLICES = 2, 2


def lake_in(folder: Path) -> LakeWarehouse:
    return LakeWarehouse(
        database=f"ducklake:sqlite:{folder}/catalogue.sqlite", data_path=str(folder / "files")
    )


def part_of(day: date = DAY, feed: str = "sf_311") -> Slice:
    return Slice(feed, day, day + timedelta(days=1))


def rows(day: date = DAY, feed: str = "sf_311", cells: int = 20, records: int = 3) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "feed": [feed] * cells,
            "day": [day] * cells,
            "resolution": pl.Series([8] * cells, dtype=pl.UInt8),
            "cell": pl.Series(range(cells), dtype=pl.UInt64),
            "category": ["noise"] * cells,
            "records": [records] * cells,
            "eligible": [1] * cells,
            "successes": [0] * cells,
        }
    )


@pytest.fixture
def lake(tmp_path: Path) -> LakeWarehouse:
    return lake_in(tmp_path)


def test_every_declared_table_is_made_at_once_as_it_is_declared(lake: LakeWarehouse):
    with lake.connect() as conn:
        for table in TABLES:
            stored = [(name, kind) for name, kind, *_ in conn.sql(f"describe {table}").fetchall()]
            assert stored == [(column.name, column.type) for column in table.columns]


def test_a_slice_is_the_same_in_a_lake_and_in_the_native_file(lake, warehouse):
    for one in (lake, warehouse):
        one.replace(CELL_DAYS, rows(records=1), part_of())
        one.replace(CELL_DAYS, rows(), part_of())
    assert lake.content_hash(CELL_DAYS, part_of()) == warehouse.content_hash(CELL_DAYS, part_of())
    assert lake.content_hash(CELL_DAYS, part_of())[0] == 20


def test_a_body_that_fails_leaves_the_old_slice(lake: LakeWarehouse):
    lake.replace(CELL_DAYS, rows(), part_of())

    def fail(session: Session) -> None:
        session.replace(CELL_DAYS, rows(cells=2), part_of())
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        lake.write(fail)
    assert lake.content_hash(CELL_DAYS, part_of())[0] == 20


def test_rows_of_another_slice_are_refused(lake: LakeWarehouse):
    with pytest.raises(SliceRefusedError, match="rows of another slice"):
        lake.replace(CELL_DAYS, rows(day=DAY + timedelta(days=1)), part_of())


def test_its_version_changes_with_a_write_and_not_with_a_reading(lake: LakeWarehouse):
    first = lake.data_version
    lake.read(f"from {CELL_DAYS}", tables=[CELL_DAYS])
    assert lake.data_version == first
    lake.replace(CELL_DAYS, rows(), part_of())
    assert lake.data_version != first


def write_slices(folder: Path, worker: int) -> None:
    """One process of several: each has days of its own, in one table."""
    own = lake_in(folder)
    for number in range(SLICES):
        day = DAY + timedelta(days=WORKERS * number + worker)
        own.replace(CELL_DAYS, rows(day, records=worker), part_of(day))
        # A second time: now there is something to delete.
        own.replace(CELL_DAYS, rows(day, records=number), part_of(day))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=write_slices, args=(tmp_path, worker)) for worker in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    held = lake_in(tmp_path).read(
        f"select day, count(*) as n, min(records) as low, max(records) as high from {CELL_DAYS} "
        "group by day order by day"
    )
    assert held["day"].to_list() == [DAY + timedelta(days=n) for n in range(WORKERS * SLICES)]
    assert set(held["n"]) == {20}
    assert held["low"].to_list() == held["high"].to_list()
    assert held["low"].to_list() == [n // WORKERS for n in range(WORKERS * SLICES)]


def test_who_finds_another_first_begins_again(lake: LakeWarehouse, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    tries: list[int] = []

    def swap(session: Session) -> None:
        tries.append(1)
        session.replace(CELL_DAYS, rows(records=len(tries)), part_of())
        if len(tries) < 3:
            raise duckdb.TransactionException("Transaction conflict - another came first")

    lake.write(swap)
    assert len(tries) == 3
    assert lake.read(f"select distinct records from {CELL_DAYS}").rows() == [(3,)]


def test_who_never_comes_first_says_so_and_changes_nothing(lake: LakeWarehouse, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    lake.replace(CELL_DAYS, rows(), part_of())

    def beaten(session: Session) -> None:
        session.replace(CELL_DAYS, rows(records=7), part_of())
        raise duckdb.TransactionException("Transaction conflict - another came first")

    with pytest.raises(TooManyConflictsError, match="2 tries"):
        lake.write(beaten)
    assert lake.read(f"select distinct records from {CELL_DAYS}").rows() == [(3,)]


def test_an_error_that_is_no_conflict_is_raised_at_once(lake: LakeWarehouse):
    tries: list[int] = []

    def wrong(session: Session) -> None:
        tries.append(1)
        session.run("select nonsense")

    with pytest.raises(duckdb.BinderException):
        lake.write(wrong)
    assert len(tries) == 1


def test_it_is_published_as_one_native_file_and_again_only_when_it_changed(lake, tmp_path):
    lake.replace(CELL_DAYS, rows(), part_of())
    path = tmp_path / "city311.duckdb"
    done = publish(lake, path)
    assert done.is_new
    assert not publish(lake, path).is_new
    with duckdb.connect(str(path), read_only=True) as conn:
        assert conn.sql(f"select count(*) from {CELL_DAYS}").fetchall() == [(20,)]
        held = {name for (name,) in conn.sql("select table_name from duckdb_tables()").fetchall()}
    assert held >= {table.name for table in TABLES if table.is_published}
    assert not {table.name for table in TABLES if not table.is_published} & held
    lake.replace(CELL_DAYS, rows(cells=3), part_of())
    assert publish(lake, path).is_new


def test_a_copy_that_failed_is_no_obstacle_to_the_next(lake: LakeWarehouse, tmp_path: Path):
    lake.replace(CELL_DAYS, rows(), part_of())
    path = tmp_path / "copy.duckdb"
    with duckdb.connect(str(path)) as conn:
        conn.execute(f"create schema gold; create table {CELL_DAYS} (a integer)")
    with pytest.raises(duckdb.Error):
        lake.copy_to(path)
    assert lake.copy_to(tmp_path / "other.duckdb") == lake.data_version


def test_maintenance_forgets_old_versions_and_changes_no_row(lake, tmp_path):
    for records in range(5):
        lake.replace(CELL_DAYS, rows(records=records), part_of())
    before = lake.content_hash(CELL_DAYS, part_of())
    said = re.fullmatch(
        r"(\d+) versions forgotten, (\d+) files removed", lake.maintain(timedelta(0))
    )
    assert said
    assert int(said[1]) > 3
    assert int(said[2]) >= 3
    assert lake.content_hash(CELL_DAYS, part_of()) == before


def test_versions_that_are_young_are_kept(lake: LakeWarehouse):
    lake.replace(CELL_DAYS, rows(), part_of())
    assert lake.maintain(timedelta(days=1)).startswith("0 versions forgotten")


def test_the_settings_name_a_lake_or_the_native_file(tmp_path):
    native = warehouse_of(Settings(data_dir=tmp_path))
    assert type(native) is Warehouse
    named = warehouse_of(
        Settings(data_dir=tmp_path, warehouse="ducklake:postgres:dbname=city", data_path="s3://b")
    )
    assert isinstance(named, LakeWarehouse)
    assert (named.catalogue, named.data_path) == ("postgres", "s3://b")


def test_an_address_that_is_no_lake_is_refused_without_its_secrets(tmp_path):
    with pytest.raises(ValueError, match="begins with ducklake:sqlite:") as refused:
        warehouse_of(Settings(data_dir=tmp_path, warehouse="postgres://user:hunter2@host/db"))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "where", ["dbname=city password=hunter2", "postgresql://me:hunter2@host/city"]
)
def test_an_address_with_a_password_is_refused_and_says_where_one_belongs(tmp_path, where):
    with pytest.raises(ValueError, match="PGPASSWORD") as refused:
        warehouse_of(Settings(data_dir=tmp_path, warehouse=f"ducklake:postgres:{where}"))
    assert "hunter2" not in str(refused.value)


def test_an_extension_that_is_missing_is_named_with_its_package():
    with (
        duckdb.connect() as conn,
        pytest.raises(ExtensionMissingError, match=r"duckdb-extension-no-such==.*fetch"),
    ):
        load(conn, "no_such")
