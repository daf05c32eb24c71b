"""A DuckLake whose catalogue is in PostgreSQL: several processes write, the server restarts."""

import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from city311_assets.warehouse import lake as module
from city311_assets.warehouse.lake import CatalogueUnreachableError, LakeWarehouse
from city311_assets.warehouse.resource import Session
from city311_assets.warehouse.snapshot import publish
from city311_assets.warehouse.tables.gold import CELL_DAYS
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets_tests.services import Postgres, free_port, postgres
from city311_assets_tests.warehouse.test_lake import DAY, part_of, rows

WORKERS, SLICES, CELLS = 2, 2, 20


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One server for the tests of this module."""
    with postgres() as started:
        yield started


@pytest.fixture
def whole_lake(server: Postgres, tmp_path: Path) -> Iterator[LakeWarehouse]:
    """An empty lake in a database of its own."""
    made = LakeWarehouse(
        database=f"ducklake:postgres:{server.database(f'lake{time.monotonic_ns()}')}",
        data_path=str(tmp_path / "files"),
    )
    yield made
    for key in [key for key in module.ATTACHED if key[1] == made.database]:
        module.ATTACHED.pop(key).close()


@pytest.fixture
def lake(whole_lake: LakeWarehouse, monkeypatch: pytest.MonkeyPatch) -> LakeWarehouse:
    """An empty lake of one table: making them all takes longer than what is tested."""
    monkeypatch.setattr(module, "TABLES", (CELL_DAYS,))
    return whole_lake


def test_every_table_is_made_published_and_kept_small(whole_lake: LakeWarehouse, tmp_path: Path):
    lake = whole_lake
    with lake.connect() as conn:
        for table in TABLES:
            stored = [(name, kind) for name, kind, *_ in conn.sql(f"describe {table}").fetchall()]
            assert stored == [(column.name, column.type) for column in table.columns]
    for records in range(3):
        lake.replace(CELL_DAYS, rows(records=records), part_of())
    before = lake.content_hash(CELL_DAYS, part_of())
    lake.maintain(timedelta(0))
    assert lake.content_hash(CELL_DAYS, part_of()) == before
    path = tmp_path / "city311.duckdb"
    assert publish(lake, path).data_version == lake.data_version
    with duckdb.connect(str(path), read_only=True) as conn:
        held = conn.sql(f"select count(*), min(records) from {CELL_DAYS}").fetchall()
    assert held == [(20, 2)]


def write_slices(database: str, data_path: str, worker: int, together: "threading.Barrier") -> None:
    """One process of several: each has days of its own, in one table."""
    module.TABLES = (CELL_DAYS,)
    lake = LakeWarehouse(database=database, data_path=data_path)
    _ = lake.data_version
    together.wait(60)
    for number in range(SLICES):
        day = DAY + timedelta(days=WORKERS * number + worker)
        lake.replace(CELL_DAYS, rows(day, records=1), part_of(day))
        lake.replace(CELL_DAYS, rows(day, records=2), part_of(day))


def test_processes_that_write_at_once_lose_nothing_and_readers_see_whole_slices(
    lake: LakeWarehouse,
):
    _ = lake.data_version
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(WORKERS)
    workers = [
        context.Process(target=write_slices, args=(lake.database, lake.data_path, number, together))
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    seen = set()
    query = f"""
        select day, count(*) as cells, count(distinct records) as versions from {CELL_DAYS}
        group by day
    """
    while any(worker.is_alive() for worker in workers):
        seen |= {(cells, versions) for _, cells, versions in lake.read(query).rows()}
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    assert seen <= {(CELLS, 1)}
    held = lake.read(f"select day, count(*), min(records) from {CELL_DAYS} group by day").rows()
    assert sorted(held) == [
        (DAY + timedelta(days=number), CELLS, 2) for number in range(WORKERS * SLICES)
    ]


def test_a_real_conflict_is_counted_and_the_transaction_begins_again(lake: LakeWarehouse, caplog):
    lake.replace(CELL_DAYS, rows(records=1), part_of())
    caplog.set_level(logging.INFO, logger="city311_assets")
    tries: list[int] = []

    def beaten_once(session: Session) -> None:
        tries.append(1)
        session.replace(CELL_DAYS, rows(records=7), part_of())
        if len(tries) == 1:
            lake.replace(CELL_DAYS, rows(records=3), part_of())

    lake.write(beaten_once)
    assert len(tries) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "conflict 1: another wrote first; the transaction begins again"
    ]
    assert lake.read(f"select records, count(*) from {CELL_DAYS} group by all").rows() == [(7, 20)]


def test_a_server_that_restarts_amid_a_transaction_costs_a_repetition(lake, server, caplog):
    lake.replace(CELL_DAYS, rows(records=1), part_of())
    tries: list[int] = []

    def cut_off_once(session: Session) -> None:
        tries.append(1)
        session.replace(CELL_DAYS, rows(records=5), part_of())
        if len(tries) == 1:
            server.restart()

    lake.write(cut_off_once)
    assert len(tries) == 2
    assert lake.read(f"select records, count(*) from {CELL_DAYS} group by all").rows() == [(5, 20)]


def test_who_begins_while_the_server_is_away_waits_for_it(lake: LakeWarehouse, server: Postgres):
    lake.replace(CELL_DAYS, rows(records=1), part_of())
    server.stop()
    back = threading.Timer(1.0, server.start)
    back.start()
    lake.replace(CELL_DAYS, rows(records=4), part_of())
    back.join()
    assert lake.read(f"select records, count(*) from {CELL_DAYS} group by all").rows() == [(4, 20)]


def test_a_query_that_was_cut_off_is_asked_again(lake: LakeWarehouse, server, monkeypatch):
    lake.replace(CELL_DAYS, rows(records=1), part_of())
    asked, tries = Session.read, []

    def cut_off_once(self: Session, *arguments: object, **frames: object):
        tries.append(1)
        if len(tries) == 1:
            server.restart()
            # As libpq says it of a query that was under way.
            raise duckdb.BinderException("Failed to prepare query: no connection to the server")
        return asked(self, *arguments, **frames)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Session, "read", cut_off_once)
    assert lake.read(f"select count(*) as n from {CELL_DAYS}").rows() == [(20,)]
    assert len(tries) == 2


def test_a_server_that_is_not_there_is_named_with_what_to_look_at():
    nowhere = LakeWarehouse(
        database=f"ducklake:postgres:host=127.0.0.1 port={free_port()} dbname=none",
        data_path="nowhere",
    )
    with (
        pytest.raises(CatalogueUnreachableError, match=r"CITY311_WAREHOUSE running.*refused"),
        nowhere.reading(0.1),
    ):
        pass
