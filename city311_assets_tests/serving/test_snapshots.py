"""Reading the published file while newer ones take its place."""

import threading
from pathlib import Path

import duckdb
import pytest

from city311_assets.serving.snapshots import NoSnapshotError, Snapshots
from city311_assets.warehouse.tables.silver import REQUESTS


def publish(path: Path, value: int) -> None:
    """Put a published file that holds one number in place, as the publisher does: by renaming."""
    newer = path.with_suffix(".newer")
    with duckdb.connect(str(newer)) as conn:
        conn.execute("create schema meta")
        conn.execute(
            "create table meta.publications as select $v::varchar as data_version, "
            "timestamp '2026-03-01 10:00' as published_at, ['x']::varchar[] as slices_in_flight",
            {"v": f"v{value}"},
        )
        conn.execute("create table numbers as select $v as value", {"v": value})
    newer.replace(path)


def value_in(snapshots: Snapshots) -> int:
    with snapshots.current() as snapshot:
        return snapshot.frame("select value from numbers").item()


def test_a_newer_file_is_read_as_soon_as_it_is_there(tmp_path):
    path = tmp_path / "city.duckdb"
    publish(path, 1)
    snapshots = Snapshots(path)
    assert value_in(snapshots) == 1
    publish(path, 2)
    assert value_in(snapshots) == 2
    with snapshots.current() as snapshot:
        assert (snapshot.data_version, snapshot.slices_in_flight) == ("v2", ("x",))


def test_who_is_reading_keeps_its_file_to_the_end(tmp_path):
    path = tmp_path / "city.duckdb"
    publish(path, 1)
    snapshots = Snapshots(path)
    with snapshots.current() as old:
        publish(path, 2)
        assert value_in(snapshots) == 2
        assert old.frame("select value from numbers").item() == 1
    with pytest.raises(duckdb.ConnectionException):
        old.frame("select value from numbers")


def test_what_is_kept_is_kept_for_one_file_only(tmp_path):
    path = tmp_path / "city.duckdb"
    publish(path, 1)
    snapshots = Snapshots(path)
    made: list[int] = []

    def kept() -> int:
        with snapshots.current() as snapshot:
            return snapshot.once("sum", lambda: made.append(1) or len(made))

    assert [kept(), kept()] == [1, 1]
    publish(path, 2)
    assert kept() == 2


def test_without_a_file_the_error_says_what_makes_one(tmp_path):
    with pytest.raises(NoSnapshotError, match=r"no published file at .*make demo"):
        value_in(Snapshots(tmp_path / "city.duckdb"))


@pytest.mark.parametrize("what", ["garbage", "not published"])
def test_a_file_that_is_no_published_one_is_refused_by_name(tmp_path, what):
    path = tmp_path / "city.duckdb"
    if what == "garbage":
        path.write_bytes(b"not a database, by any means" * 200)
    else:
        duckdb.connect(str(path)).close()
    with pytest.raises(NoSnapshotError, match=r"city\.duckdb cannot be read as a published file"):
        value_in(Snapshots(path))


def test_a_file_that_came_good_is_read(tmp_path):
    path = tmp_path / "city.duckdb"
    path.write_bytes(b"x" * 5000)
    snapshots = Snapshots(path)
    with pytest.raises(NoSnapshotError):
        value_in(snapshots)
    publish(path, 3)
    assert value_in(snapshots) == 3


def test_readers_and_publications_at_once_see_whole_files_only(tmp_path):
    path = tmp_path / "city.duckdb"
    publish(path, 0)
    snapshots = Snapshots(path)
    failures: list[BaseException] = []
    seen: set[int] = set()
    is_over = threading.Event()

    def read() -> None:
        try:
            while not is_over.is_set():
                seen.add(value_in(snapshots))
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test tells it
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for value in range(1, 15):
        publish(path, value)
        assert value_in(snapshots) == value
    is_over.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert len(seen) > 1


def test_a_snapshot_cannot_be_written(tmp_path):
    path = tmp_path / "city.duckdb"
    publish(path, 1)
    with (
        Snapshots(path).current() as snapshot,
        pytest.raises(duckdb.InvalidInputException, match="read-only"),
    ):
        snapshot.frame("delete from numbers")


def test_a_table_that_an_older_file_lacks_is_known_to_be_absent(town, snapshots, tmp_path):
    path = tmp_path / "city.duckdb"
    publish(path, 1)
    with Snapshots(path).current() as old, snapshots.current() as new:
        assert not old.has(REQUESTS)
        assert new.has(REQUESTS)
