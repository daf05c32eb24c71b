"""The examples of `deploy/`: Dagster takes them as its own settings; they agree with each other."""

import subprocess
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dotenv import dotenv_values

from city311_assets.settings import Settings

FOLDER = Path(__file__).parents[1] / "deploy"
SINGLE = Path(__file__).parents[1] / "data" / "dagster" / "dagster.yaml"


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def test_a_folder_that_a_command_makes_has_the_settings_of_the_ui():
    assert files("city311_assets.cli").joinpath("dagster.yaml").read_text() == SINGLE.read_text()


def test_a_shell_reads_the_environment_as_it_is_meant(environment: Mapping[str, str | None]):
    told = 'set -a; . ./environment.example; printf %s "$CITY311_WAREHOUSE"'
    done = subprocess.run(
        ["/bin/sh", "-ec", told], cwd=FOLDER, env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout == environment["CITY311_WAREHOUSE"]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str | None]:
    """The environment of environment.example, with passwords."""
    named = dotenv_values(FOLDER / "environment.example")
    for name, value in named.items():
        monkeypatch.setenv(name, value or "opensesame")
    return named


def loaded(folder: Path, settings: Mapping[str, Any]) -> InstanceRef:
    """Have Dagster read settings from a DAGSTER_HOME, and every class in them its own part."""
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    config, _ = dagster_instance_config(str(folder))
    reference = InstanceRef.from_dir(str(folder), overrides={})
    assert config == settings
    return reference


def configured(part: Any) -> Mapping[str, Any]:
    """Return what a class makes of its part of the settings; fails where it refuses them."""
    import importlib

    cls = getattr(importlib.import_module(part.module_name), part.class_name)
    done = process_config(
        resolve_to_config_type(cls.config_type()),
        part.config_dict,
    )
    assert done.success, done.errors
    assert done.value is not None
    return done.value


def test_dagster_takes_the_settings_of_several_machines(environment, tmp_path: Path):
    reference = loaded(tmp_path, read(FOLDER / "dagster.yaml"))
    launcher = reference.run_launcher_data
    assert launcher
    assert launcher.class_name == "WatchedCeleryRunLauncher"
    assert configured(launcher)["broker"] == environment["CELERY_BROKER_URL"]
    storage = reference.storage_data
    assert storage
    assert storage.class_name == "DagsterPostgresStorage"
    assert configured(storage)["postgres_db"]["hostname"] == environment["DAGSTER_PG_HOST"]


def test_the_launcher_can_be_had_as_dagster_has_it(environment, tmp_path: Path):
    from city311_assets.automation.celery_launcher import WatchedCeleryRunLauncher

    reference = loaded(tmp_path, read(FOLDER / "dagster.yaml"))
    assert isinstance(reference.run_launcher, WatchedCeleryRunLauncher)


def test_dagster_takes_kubernetes_in_place_of_celery(environment, tmp_path: Path):
    settings = read(FOLDER / "dagster.yaml") | read(FOLDER / "kubernetes.yaml")
    launcher = loaded(tmp_path, settings).run_launcher_data
    assert launcher
    assert launcher.class_name == "K8sRunLauncher"
    assert configured(launcher)["job_namespace"] == "city311"


def test_workers_and_launcher_speak_to_the_same_broker():
    launcher = read(FOLDER / "dagster.yaml")["run_launcher"]["config"]
    assert read(FOLDER / "worker.yaml")["execution"]["config"] == launcher


def test_what_is_not_about_machines_is_as_on_one_machine():
    several, single = read(FOLDER / "dagster.yaml"), read(SINGLE)
    for name in ("telemetry", "nux", "compute_logs", "python_logs", "sensors", "retention"):
        assert several[name] == single[name], name


def test_every_name_of_ours_in_the_environment_is_a_setting():
    named = dotenv_values(FOLDER / "environment.example")
    ours = {name for name in named if name.startswith("CITY311_")}
    assert ours
    assert ours <= {f"CITY311_{name.upper()}" for name in Settings.model_fields}


def test_the_examples_hold_no_password():
    named = dotenv_values(FOLDER / "environment.example")
    assert all(not value for name, value in named.items() if "PASSWORD" in name)
    assert not any("@" in (value or "") for value in named.values())
