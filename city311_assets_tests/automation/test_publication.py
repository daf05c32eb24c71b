"""Publication: asked for when there is something new, once, and never half."""

import datetime as dt
import shutil
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
import sqlalchemy

from city311_assets.automation import check_results
from city311_assets.automation import publication as publishing
from city311_assets.automation.publication import PUBLISH_JOB, publication
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import published
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets_tests.automation.toys import QUIET

COLUMNS = [sqlalchemy.column(one.name) for one in check_results.Executions.c]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def city(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_settings: None) -> Warehouse:
    """A warehouse in the folder that the settings name."""
    monkeypatch.setenv("CITY311_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    return Warehouse(database=str(settings().warehouse_path))


def tick(warehouse: Warehouse, instance: dg.DagsterInstance) -> object:
    context = dg.build_sensor_context(instance=instance, resources={"warehouse": warehouse})
    return publication(context)


def write(warehouse: Warehouse) -> None:
    empty = pl.DataFrame(schema=dict.fromkeys(BOUNDARIES.names, pl.Null))
    warehouse.replace(BOUNDARIES, empty, "chicago")


def test_nothing_written_is_nothing_to_publish(city: Warehouse):
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(tick(city, instance), dg.SkipReason)


def test_a_file_of_another_program_is_published_again(city: Warehouse):
    with dg.DagsterInstance.ephemeral() as instance:
        write(city)
        PUBLISH_JOB.execute_in_process(instance=instance, resources={"warehouse": city})
        assert isinstance(tick(city, instance), dg.SkipReason)
        with duckdb.connect(str(settings().snapshot_path)) as conn:
            conn.execute("update meta.publications set form_version = 'before'")
        assert isinstance(tick(city, instance), dg.RunRequest)


def test_each_write_is_published_once(city: Warehouse):
    with dg.DagsterInstance.ephemeral() as instance:
        write(city)
        asked = tick(city, instance)
        assert isinstance(asked, dg.RunRequest)
        done = PUBLISH_JOB.execute_in_process(instance=instance, resources={"warehouse": city})
        assert done.success
        held = published(settings().snapshot_path)
        assert held is not None
        assert held.data_version == asked.tags["city311/version"] == city.data_version
        assert isinstance(tick(city, instance), dg.SkipReason)
        write(city)
        again = tick(city, instance)
        assert isinstance(again, dg.RunRequest)
        assert again.run_key != asked.run_key


def test_a_publication_under_way_is_not_asked_for_again(city: Warehouse):
    with dg.DagsterInstance.ephemeral() as instance:
        write(city)
        instance.create_run_for_job(PUBLISH_JOB, status=dg.DagsterRunStatus.STARTED)
        said = tick(city, instance)
        assert isinstance(said, dg.SkipReason)
        assert said.skip_message == "a publication is under way"


def test_a_failed_publication_is_tried_again_later(
    city: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    with dg.DagsterInstance.ephemeral() as instance:
        write(city)
        first = tick(city, instance)
        assert isinstance(first, dg.RunRequest)
        run = instance.create_run_for_job(PUBLISH_JOB, tags=dict(first.tags))
        instance.report_run_failed(run, "the disk is full")
        said = tick(city, instance)
        assert isinstance(said, dg.SkipReason)
        assert "1 publications" in (said.skip_message or "")
        monkeypatch.setattr(publishing, "LONGEST_WAIT", dt.timedelta(0))
        again = tick(city, instance)
        assert isinstance(again, dg.RunRequest)
        assert again.run_key != first.run_key


@dg.asset_check(asset=BOUNDARIES.key("chicago"))
def sound() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, metadata={"offenders": 3})


def test_a_verdict_that_changed_is_published_though_nothing_was_written(city: Warehouse):
    with dg.DagsterInstance.ephemeral() as instance:
        write(city)
        assert PUBLISH_JOB.execute_in_process(
            instance=instance, resources={"warehouse": city}
        ).success
        assert isinstance(tick(city, instance), dg.SkipReason)
        checking = dg.Definitions(asset_checks=[sound], jobs=[dg.define_asset_job("c", "*")])
        job = checking.resolve_implicit_global_asset_job_def()
        job.execute_in_process(instance=instance, asset_selection=[], run_config=QUIET)
        asked = tick(city, instance)
        assert isinstance(asked, dg.RunRequest)
        assert asked.tags["city311/version"] == city.data_version
        PUBLISH_JOB.execute_in_process(instance=instance, resources={"warehouse": city})
        assert isinstance(tick(city, instance), dg.SkipReason)
    with duckdb.connect(str(settings().snapshot_path), read_only=True) as conn:
        found = conn.execute("select is_passed, found from meta.check_results").fetchall()
    assert found == [(False, "offenders: 3")]


def test_a_log_that_cannot_be_read_holds_up_no_publication(
    city: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(check_results, "Executions", sqlalchemy.table("gone", *COLUMNS))
    with dg.DagsterInstance.ephemeral() as instance:
        write(city)
        assert isinstance(tick(city, instance), dg.RunRequest)
        assert PUBLISH_JOB.execute_in_process(
            instance=instance, resources={"warehouse": city}
        ).success
        assert isinstance(tick(city, instance), dg.SkipReason)
    with duckdb.connect(str(settings().snapshot_path), read_only=True) as conn:
        ((said,),) = conn.execute("select checks_problem from meta.publications").fetchall()
    assert "could not be read" in said
    assert "gone" in said


@pytest.mark.parametrize("file", ["data/dagster/dagster.yaml", "city311_assets/cli/dagster.yaml"])
def test_dagsters_settings_are_accepted_and_send_no_telemetry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shutil.copy(ROOT / file, tmp_path / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_settings("telemetry") == {"enabled": False}
