"""The published copy: all of it or the old one, with everything readers expect."""

import dataclasses
import datetime as dt
import random
from pathlib import Path
from typing import Any

import duckdb
import h3.api.basic_int as h3
import polars as pl
import pytest

from city311_assets.partitions import Slice
from city311_assets.warehouse import resource
from city311_assets.warehouse.errors import TableMismatchError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import Checks, publish, published
from city311_assets.warehouse.tables.bronze import WITHDRAWN_RECORDS
from city311_assets.warehouse.tables.meta import CHECK_RESULTS
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets.warehouse.tables.silver import (
    INCIDENTS,
    REJECTED_RECORDS,
    REQUESTS,
    WEATHER_DAYS,
)
from city311_assets.warehouse.tables.table import Column, Table
from city311_assets_tests.silver.raw import filled
from city311_assets_tests.warehouse.things import AT, DAY, NEXT, PART, THINGS, duckdb_shell, things

PUBLISHED = tuple(table for table in TABLES if table.is_published)
WITH_THINGS = (*TABLES, THINGS)
COUNT = f"select count(*) from {THINGS}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "published" / "city311.duckdb"


def rows(path: Path, query: str, **frames: pl.DataFrame) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as conn:
        for name, frame in frames.items():
            conn.register(name, frame)
        return conn.sql(query).fetchall()


def mark(path: Path) -> tuple[int, int]:
    """Return what changes when a file is written or replaced."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def verdict(check: str, **said: Any) -> pl.DataFrame:
    """What one check says, in the columns of the published table."""
    row = {"asset": "silver/requests/sf_311", "check_name": check, "range_number": 0}
    row |= {"is_passed": True, "slices": 1, "checked_at": dt.datetime(2026, 1, 3)} | said
    return filled(CHECK_RESULTS, row)


# What is in it.


def test_an_empty_warehouse_publishes_every_table_empty(warehouse: Warehouse, path: Path):
    done = publish(warehouse, path)
    assert (done.is_new, done.data_version) == (True, None)
    found = rows(path, "select schema_name || '.' || table_name from duckdb_tables()")
    names = {name for (name,) in found}
    assert names == {*(str(table) for table in PUBLISHED), "meta.publications"}
    assert all(rows(path, f"select count(*) from {table}") == [(0,)] for table in PUBLISHED)
    views = rows(path, "select view_name from duckdb_views() where not internal")
    assert [rows(path, f"from {view}") for (view,) in views] == [[]] * len(views)
    assert not warehouse.path.exists()


def test_every_table_column_and_view_says_what_it_is(warehouse: Warehouse, path: Path):
    publish(warehouse, path)
    tables = rows(path, "select schema_name || '.' || table_name, comment from duckdb_tables()")
    told = dict(tables)
    assert {str(table): told[str(table)] for table in PUBLISHED} == {
        str(table): f"One row per {table.one_row_per}." for table in PUBLISHED
    }
    columns = rows(
        path,
        "select schema_name || '.' || table_name, column_name, data_type, is_nullable, comment "
        "from duckdb_columns() where schema_name in "
        "('bronze', 'silver', 'gold', 'atlas', 'causal', 'risk', 'meta') "
        "and table_name <> 'publications' and not internal order by table_oid, column_index",
    )
    declared = [
        (str(table), column.name, column.type, column.nullable, column.doc)
        for table in PUBLISHED
        for column in table.columns
        if column.is_published
    ]
    assert sorted(columns) == sorted(declared)
    views = dict(rows(path, "select view_name, comment from duckdb_views() where not internal"))
    assert {"requests", "incidents", "weather", "records_per_day"} <= set(views)
    assert all(comment and comment.endswith(".") for comment in views.values())


def test_the_parent_of_a_cell_in_sql_is_the_librarys(warehouse: Warehouse, path: Path):
    publish(warehouse, path)
    draw = random.Random(311)
    points = [(draw.uniform(-90, 90), draw.uniform(-180, 180)) for _ in range(200)]
    for own in (10, 5):
        cells = [h3.latlng_to_cell(*point, own) for point in points]
        frame = pl.DataFrame({"cell": cells}, schema={"cell": pl.UInt64})
        for resolution in range(own + 1):
            query = f"select cell, cell_parent(cell, {resolution}) from cells"
            found = dict(rows(path, query, cells=frame))
            assert found == {cell: h3.cell_to_parent(cell, resolution) for cell in cells}
    assert rows(path, "select cell_parent(null::ubigint, 3)") == [(None,)]


def test_the_parent_of_a_cell_is_of_the_type_of_a_cell(warehouse: Warehouse, path: Path):
    publish(warehouse, path)
    assert rows(path, "select typeof(cell_parent(1::ubigint, 3))") == [("UBIGINT",)]


def test_a_publication_says_its_version_its_time_and_what_was_in_flight(
    warehouse: Warehouse, path: Path
):
    warehouse.replace(THINGS, things("a"), PART)
    before = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    done = publish(warehouse, path, ["nightly 2026-01-02"], WITH_THINGS)
    after = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    ((version, at, in_flight),) = rows(
        path, "select data_version, published_at, slices_in_flight from meta.publications"
    )
    assert version == warehouse.data_version == done.data_version
    assert in_flight == ["nightly 2026-01-02"]
    assert done.published_at == at
    assert before <= at <= after
    assert published(path) == dataclasses.replace(done, is_new=False)


def test_what_is_not_to_be_published_stays_in_the_warehouse_only(warehouse: Warehouse, path: Path):
    bulky = dataclasses.replace(THINGS, name="bulky", is_published=False)
    warehouse.replace(THINGS, things("a"), PART)
    warehouse.replace(bulky, things("a", "b"), PART)
    publish(warehouse, path, tables=(*WITH_THINGS, bulky))
    assert rows(path, "select count(*) from duckdb_tables() where table_name = 'bulky'") == [(0,)]
    assert rows(path, COUNT) == [(1,)]
    assert warehouse.read(f"from {bulky}").height == 2


def test_a_column_that_is_not_published_leaves_no_byte_in_the_file(
    warehouse: Warehouse, path: Path
):
    hidden = dataclasses.replace(
        THINGS,
        name="hidden",
        columns=(*THINGS.columns, Column("secret", "VARCHAR", "Kept.", is_published=False)),
    )
    told = "".join(f"{number:09d}-of-nobodys-business" for number in range(2_000))
    rows_of = things("a", "b").with_columns(pl.lit(told).alias("secret"))
    warehouse.replace(hidden, rows_of, PART)
    publish(warehouse, path, tables=(*WITH_THINGS, hidden))
    found = rows(path, "select column_name from duckdb_columns() where table_name = 'hidden'")
    assert found == [(column.name,) for column in THINGS.columns]
    assert rows(path, f"select count(*) from {hidden}") == [(2,)]
    assert b"of-nobodys-business" not in path.read_bytes()
    assert b"of-nobodys-business" in warehouse.path.read_bytes()


# Views.


def request(number: str, **values: Any) -> dict[str, Any]:
    return {
        "feed": "sf_311",
        "day": DAY,
        "record_id": number,
        "opened_at": AT,
        "opened_at_utc": AT + dt.timedelta(hours=8),
        "category": "graffiti",
        "taxonomy": "t_v1",
        "has_point": False,
        "hour": 9,
        "weekday": 5,
        "is_time_certain": True,
        "record_url": "https://example.org",
        "origin": "portal",
        "observed_until": AT + dt.timedelta(hours=9, minutes=30),
        "is_administrative": False,
        "hours_to_close": 1.0,
    } | values


def test_the_views_count_what_they_say(warehouse: Warehouse, path: Path):
    part = Slice("sf_311", DAY, DAY + 2 * (NEXT - DAY))
    is_open = {"hours_to_close": None, "hours_to_close_reason": "open"}
    late = is_open | {"hours_to_close_reason": "closed_after_observed"}
    before = is_open | {"hours_to_close_reason": "closed_before_opened"}
    requests = [
        request("a", cell=7, has_point=True),
        request("b", is_administrative=True, hours_to_close=0.0),
        request("c", **is_open),
        request("d", **late),
        request("e", **before),
        request("f", day=NEXT, origin="sample"),
    ]
    crime = {n: v for n, v in request("x", feed="crimes", cell=9).items() if n in INCIDENTS.names}
    aside = {"feed": "sf_311", "reason": "no_kind", "row": "{}"}
    gone = {"feed": "sf_311", "day": DAY, "last_seen_at": AT, "row": "{}"}
    cold = {"city": "san_francisco", "day": DAY, "temperature_min_c": -1.0}
    with warehouse.transaction() as session:
        session.replace(REQUESTS, filled(REQUESTS, *requests), part)
        session.replace(INCIDENTS, filled(INCIDENTS, crime), Slice("crimes", DAY, NEXT))
        session.replace(
            REJECTED_RECORDS,
            filled(
                REJECTED_RECORDS,
                aside | {"day": DAY, "row_id": "1"},
                aside | {"day": NEXT, "row_id": "2"},
            ),
            part,
        )
        session.replace(
            WITHDRAWN_RECORDS,
            filled(
                WITHDRAWN_RECORDS,
                gone | {"record_id": "g", "gone_at": AT},
                gone
                | {"record_id": "h", "gone_at": AT + dt.timedelta(days=1), "moved_to_day": NEXT},
            ),
            part,
        )
        session.replace(
            WEATHER_DAYS,
            filled(WEATHER_DAYS, cold),
            Slice("san_francisco", DAY, NEXT, "city"),
        )
    publish(warehouse, path)
    assert rows(path, "select record_id from requests order by 1") == [(n,) for n in "acdef"]
    assert rows(path, "select record_id, hours_open from open_requests order by 1") == [
        ("c", 1.5),
        ("d", 1.5),
    ]
    assert rows(path, "select record_id from incidents") == [("x",)]
    assert rows(path, "select day, temperature_min_c from weather") == [(DAY, -1.0)]
    assert rows(
        path,
        "select feed, day, records, with_point, set_aside, is_sample from records_per_day "
        "order by feed, day",
    ) == [
        ("crimes", DAY, 1, 1, 0, False),
        ("sf_311", DAY, 5, 1, 1, False),
        ("sf_311", NEXT, 1, 0, 1, True),
    ]
    assert rows(path, "from set_aside") == [("sf_311", "no_kind", 2, DAY, NEXT)]
    assert rows(path, "from withdrawals") == [("sf_311", 2, 1, AT + dt.timedelta(days=1))]


# When it is made.


def test_nothing_new_is_not_published_again(warehouse: Warehouse, path: Path):
    warehouse.replace(THINGS, things("a"), PART)
    first = publish(warehouse, path, tables=WITH_THINGS)
    before = mark(path)
    warehouse.read(COUNT)
    again = publish(warehouse, path, tables=WITH_THINGS)
    assert mark(path) == before
    assert again == dataclasses.replace(first, is_new=False)


def test_a_write_is_published_with_the_next_publication(warehouse: Warehouse, path: Path):
    warehouse.replace(THINGS, things("a"), PART)
    first = publish(warehouse, path, tables=WITH_THINGS)
    warehouse.replace(THINGS, things("a", "b"), PART)
    second = publish(warehouse, path, tables=WITH_THINGS)
    assert second.is_new
    assert second.data_version != first.data_version
    assert rows(path, COUNT) == [(2,)]
    assert rows(path, "select count(*) from meta.publications") == [(1,)]


def test_a_file_of_another_programs_tables_is_published_again_though_nothing_was_written(
    warehouse: Warehouse, path: Path
):
    warehouse.replace(THINGS, things("a"), PART)
    publish(warehouse, path, tables=(*PUBLISHED, THINGS))
    first, *others = THINGS.columns
    reworded = dataclasses.replace(
        THINGS, columns=(dataclasses.replace(first, doc="Said otherwise."), *others)
    )
    assert publish(warehouse, path, tables=(*PUBLISHED, reworded)).is_new
    assert not publish(warehouse, path, tables=(*PUBLISHED, reworded)).is_new
    with duckdb.connect(str(path)) as conn:
        conn.execute("alter table meta.publications drop column form_version")
    assert publish(warehouse, path, tables=(*PUBLISHED, reworded)).is_new


def test_what_checks_say_is_published_with_the_data(warehouse: Warehouse, path: Path):
    bad = verdict(
        "sound",
        is_passed=False,
        failure_severity="ERROR",
        first_failing_day=DAY,
        found="offenders: 1",
    )
    done = publish(warehouse, path, checks=Checks(bad, None))
    found = rows(
        path, f"select check_name, is_passed, first_failing_day, found from {CHECK_RESULTS}"
    )
    assert found == [("sound", False, DAY, "offenders: 1")]
    assert rows(path, "select checks_version, checks_problem from meta.publications") == [
        (done.checks_version, None)
    ]


def test_a_verdict_that_changed_is_something_new_and_one_given_again_is_not(
    warehouse: Warehouse, path: Path
):
    warehouse.replace(THINGS, things("a"), PART)
    good = verdict("sound")
    first = publish(warehouse, path, tables=WITH_THINGS, checks=Checks(good, None))
    later = verdict("sound", checked_at=dt.datetime(2026, 1, 4))
    again = publish(warehouse, path, tables=WITH_THINGS, checks=Checks(later, None))
    assert again == dataclasses.replace(first, is_new=False)
    bad = Checks(verdict("sound", is_passed=False, failure_severity="WARN"), None)
    changed = publish(warehouse, path, tables=WITH_THINGS, checks=bad)
    assert (changed.is_new, changed.data_version) == (True, first.data_version)
    assert rows(path, f"select is_passed from {CHECK_RESULTS}") == [(False,)]
    assert rows(path, COUNT) == [(1,)]


def test_checks_that_cannot_be_read_stop_no_publication_and_the_file_says_so(
    warehouse: Warehouse, path: Path
):
    warehouse.replace(THINGS, things("a"), PART)
    unread = Checks(None, "the log is locked")
    assert publish(warehouse, path, tables=WITH_THINGS, checks=unread).is_new
    assert rows(path, "select checks_problem from meta.publications") == [("the log is locked",)]
    assert rows(path, f"select count(*) from {CHECK_RESULTS}") == [(0,)]
    assert not publish(warehouse, path, tables=WITH_THINGS, checks=unread).is_new
    told = publish(warehouse, path, tables=WITH_THINGS, checks=Checks(verdict("sound"), None))
    assert told.is_new


def test_a_file_of_an_older_version_says_nothing_of_checks_and_is_read(
    warehouse: Warehouse, path: Path
):
    publish(warehouse, path)
    with duckdb.connect(str(path)) as conn:
        conn.execute("alter table meta.publications drop column checks_version")
    held = published(path)
    assert held is not None
    assert held.checks_version is None


@pytest.mark.parametrize("content", [b"", b"not a database " * 1000])
def test_a_file_that_cannot_be_read_is_replaced(warehouse: Warehouse, path: Path, content: bytes):
    path.parent.mkdir()
    path.write_bytes(content)
    assert published(path) is None
    assert publish(warehouse, path).is_new
    assert rows(path, "select count(*) from meta.publications") == [(1,)]


def test_no_file_is_no_publication(path: Path):
    assert published(path) is None


def test_an_open_reader_keeps_the_old_rows_and_a_new_one_sees_the_new(
    warehouse: Warehouse, path: Path
):
    warehouse.replace(THINGS, things("a"), PART)
    publish(warehouse, path, tables=WITH_THINGS)
    with duckdb_shell(path) as reader:
        assert reader.ask(COUNT) == "[(1,)]"
        warehouse.replace(THINGS, things("a", "b"), PART)
        assert publish(warehouse, path, tables=WITH_THINGS).is_new
        assert reader.ask(COUNT) == "[(1,)]"
        assert reader.ask(f"select note from {THINGS}") == "[('note a',)]"
        assert rows(path, COUNT) == [(2,)]


def test_a_publication_that_fails_leaves_the_old_file_and_nothing_else(
    warehouse: Warehouse, path: Path
):
    warehouse.replace(THINGS, things("a"), PART)
    publish(warehouse, path, tables=WITH_THINGS)
    before = mark(path)
    warehouse.replace(THINGS, things("b"), PART)
    other = dataclasses.replace(
        THINGS, columns=(*THINGS.columns, Column("new", "VARCHAR", "New.", nullable=False))
    )
    with pytest.raises(TableMismatchError):
        publish(warehouse, path, tables=(*TABLES, other))
    assert mark(path) == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    # The failure has not made the data look published.
    assert publish(warehouse, path, tables=WITH_THINGS).is_new
    assert rows(path, f"select record_id from {THINGS}") == [("b",)]


def test_a_publication_leaves_nothing_beside_the_file(warehouse: Warehouse, path: Path):
    warehouse.replace(THINGS, things("a"), PART)
    publish(warehouse, path, tables=WITH_THINGS)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_a_reader_wrote_into_the_old_file_is_not_in_the_new_one(
    warehouse: Warehouse, path: Path
):
    warehouse.replace(THINGS, things("a"), PART)
    publish(warehouse, path, tables=WITH_THINGS)
    with duckdb_shell(path, "read_write") as scribbler:
        scribbler.ask(f"insert into {THINGS} select * replace ('mine' as record_id) from {THINGS}")
        scribbler.ask("create table mine as select 1 as one")
        warehouse.replace(THINGS, things("b"), PART)
        publish(warehouse, path, tables=WITH_THINGS)
        assert rows(path, f"select record_id from {THINGS}") == [("b",)]
        assert rows(path, "select count(*) from duckdb_tables() where table_name = 'mine'") == [
            (0,)
        ]


# Size.


def wasteful(warehouse: Warehouse) -> int:
    """Fill a file, empty most of it, and return its size."""
    draw = random.Random(1)
    many = things(*(str(place) for place in range(40_000)))
    notes = pl.Series("note", [draw.randbytes(48).hex() for _ in range(many.height)])
    warehouse.replace(THINGS, many.with_columns(notes), PART)
    with warehouse.door():
        warehouse.settle()
    size = warehouse.path.stat().st_size
    warehouse.replace(THINGS, things("a", "b"), PART)
    return size


# A test need not write 16 MB to see it done.
SMALL = 8


@pytest.mark.parametrize("folder", ["plain", "O'Hare"])
def test_a_file_of_which_most_is_free_is_rewritten_with_all_its_rows(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resource, "FEWEST_BLOCKS", SMALL)
    warehouse = Warehouse(database=str(tmp_path / folder / "warehouse.duckdb"))
    size = wasteful(warehouse)
    before = warehouse.content_hash(THINGS, PART)
    # What a rewriting that was killed has left.
    warehouse.path.with_suffix(".compact").write_bytes(b"half")
    with warehouse.door():
        warehouse.settle()
    assert warehouse.path.stat().st_size < size / 2
    assert warehouse.content_hash(THINGS, PART) == before
    assert {file.suffix for file in warehouse.path.parent.iterdir()} <= {
        ".duckdb",
        ".lock",
        ".version",
    }
    with pytest.raises(duckdb.ConstraintException), warehouse.transaction() as session:
        session.run(f"insert into {THINGS} (feed) values ('pots')")
    warehouse.replace(THINGS, things("c"), PART)
    assert warehouse.content_hash(THINGS, PART)[0] == 1


def test_a_small_file_is_left_as_it_is(warehouse: Warehouse):
    warehouse.replace(THINGS, things("a"), PART)
    warehouse.replace(THINGS, things(), PART)
    with warehouse.door():
        warehouse.settle()
        inode = warehouse.path.stat().st_ino
        warehouse.settle()
    assert warehouse.path.stat().st_ino == inode


def test_settling_nothing_makes_nothing(warehouse: Warehouse):
    warehouse.settle()
    assert not warehouse.path.exists()


def test_a_table_of_a_newer_version_is_published_with_its_new_column(
    warehouse: Warehouse, path: Path
):
    older: Table = dataclasses.replace(
        THINGS, columns=tuple(column for column in THINGS.columns if column.name != "note")
    )
    warehouse.replace(older, things("a").drop("note"), PART)
    publish(warehouse, path, tables=WITH_THINGS)
    assert rows(path, f"select record_id, note from {THINGS}") == [("a", None)]
