"""The event log with kept connections: the same as Dagster's own, whatever happens around it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance import DagsterInstance

from city311_assets.automation import event_storage
from city311_assets.automation.event_storage import PooledSqliteEventLogStorage

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", end_date="2026-02-01")
KEY = dg.AssetKey("days")
CHECK = dg.AssetCheckKey(KEY, "checked")
SETTINGS = """
telemetry: {enabled: false}
event_log_storage:
  module: city311_assets.automation.event_storage
  class: PooledSqliteEventLogStorage
  config:
    base_dir: {env: DAGSTER_HOME}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with our storage."""
    (tmp_path / "dagster.yaml").write_text(SETTINGS)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.event_log_storage, PooledSqliteEventLogStorage)
        yield instance


def run_of(instance: DagsterInstance, day: str, passed: bool = True) -> str:
    """Materialize and check one day."""

    @dg.asset(name="days", partitions_def=DAYS)
    def days() -> None: ...

    @dg.asset_check(asset=days, partitions_def=DAYS)
    def checked() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed, metadata={"day": day})

    return dg.materialize([days, checked], partition_key=day, instance=instance).run_id


def held(instance: DagsterInstance) -> set[str]:
    return instance.get_materialized_partitions(KEY)


def told(instance: DagsterInstance, run_id: str) -> list[str]:
    return [str(entry.dagster_event_type) for entry in instance.all_logs(run_id)]


def test_dagsters_own_storage_reads_the_same_from_the_same_files(
    home: Path, instance: DagsterInstance
):
    good, bad = run_of(instance, "2026-01-05"), run_of(instance, "2026-01-06", passed=False)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with DagsterInstance.from_config(str(home)) as stock:
        assert type(stock.event_log_storage) is not type(instance.event_log_storage)
        assert held(stock) == held(instance) == {"2026-01-05", "2026-01-06"}
        for run in (good, bad):
            assert told(stock, run) == told(instance, run)
            assert "DagsterEventType.ASSET_CHECK_EVALUATION" in told(stock, run)
        (last,) = stock.event_log_storage.get_asset_check_execution_history(CHECK, limit=1)
        assert last.status.value == "FAILED"


def test_what_was_stored_before_is_read_and_added_to(home: Path):
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with DagsterInstance.from_config(str(home)) as stock:
        before = run_of(stock, "2026-01-01")
        written = told(stock, before)
    (home / "dagster.yaml").write_text(SETTINGS)
    with DagsterInstance.from_config(str(home)) as instance:
        assert told(instance, before) == written
        run_of(instance, "2026-01-02")
        assert held(instance) == {"2026-01-01", "2026-01-02"}


def test_another_process_sees_an_event_at_once(home: Path, instance: DagsterInstance):
    with DagsterInstance.from_config(str(home)) as other:
        run_of(instance, "2026-01-07")
        assert held(other) == {"2026-01-07"}
        run_of(other, "2026-01-08")
        assert held(instance) == {"2026-01-07", "2026-01-08"}


def test_more_runs_than_open_files_lose_nothing(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(event_storage, "MAX_OPEN_FILES", 2)
    runs = [run_of(instance, f"2026-01-{day:02d}") for day in range(1, 6)]
    counts = {len(told(instance, run)) for run in runs + runs[::-1]}
    assert len(counts) == 1
    assert counts != {0}
    storage = instance.event_log_storage
    assert isinstance(storage, PooledSqliteEventLogStorage)
    assert len(storage._engines) <= 2


def test_threads_take_turns(instance: DagsterInstance):
    days = [f"2026-01-{day:02d}" for day in range(1, 32)]

    def report(day: str) -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=day))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(report, days))
    assert held(instance) == set(days)


def test_what_is_wiped_is_gone_and_can_be_filled_again(instance: DagsterInstance):
    run_of(instance, "2026-01-09")
    instance.event_log_storage.wipe()
    assert held(instance) == set()
    again = run_of(instance, "2026-01-10")
    assert held(instance) == {"2026-01-10"}
    assert told(instance, again)


def test_a_failed_transaction_leaves_nothing_behind(instance: DagsterInstance):
    run_of(instance, "2026-01-11")
    storage = instance.event_log_storage
    assert isinstance(storage, PooledSqliteEventLogStorage)

    def fail_half_way() -> None:
        with storage.index_connection() as connection:
            connection.exec_driver_sql("delete from event_logs")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert held(instance) == {"2026-01-11"}


def test_the_first_event_may_be_a_materialization_with_tags(instance: DagsterInstance):
    """Whether there is a table for tags is asked amid the transaction that stores the event."""
    event = dg.AssetMaterialization(KEY, partition="2026-01-13", tags={"colour": "blue"})
    with ThreadPoolExecutor(1) as pool:
        pool.submit(instance.report_runless_asset_event, event).result(timeout=60)
    assert held(instance) == {"2026-01-13"}


KILLED = """
import os, signal, sys
from dagster._core.instance import DagsterInstance
from city311_assets_tests.automation.test_event_storage import run_of
with DagsterInstance.from_config(sys.argv[1]) as instance:
    run_of(instance, "2026-01-12")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_no_event(home: Path, instance: DagsterInstance):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(home)],
        env=os.environ | {"DAGSTER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert held(instance) == {"2026-01-12"}
