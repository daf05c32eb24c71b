"""What docs/administration.md tells to type does what it says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from city311_assets.warehouse.errors import WarehouseBusyError
from city311_assets.warehouse.resource import Warehouse
from city311_assets_tests.warehouse.things import PART, THINGS, things

PAGE = Path(__file__).parents[1] / "docs" / "administration.md"


def told(heading: str) -> str:
    """Return the shell lines of a section."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    (lines,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return lines


def typed(lines: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-ec", lines], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def held(tmp_path: Path) -> Warehouse:
    if shutil.which("flock") is None:
        pytest.skip("no flock on this machine")
    warehouse = Warehouse(database=str(tmp_path / "data" / "warehouse" / "warehouse.duckdb"))
    warehouse.replace(THINGS, things("a", "b"), PART)
    return warehouse


def test_a_backup_brings_back_what_was_held_then(held: Warehouse, tmp_path: Path):
    before = held.content_hash(THINGS, PART)
    done = typed(told("Backup"), tmp_path)
    assert done.returncode == 0, done.stderr
    held.replace(THINGS, things("c"), PART)
    assert held.content_hash(THINGS, PART) != before
    restore = "".join(
        line for line in told("Restore").splitlines(keepends=True) if "city311" not in line
    )
    assert typed(restore, tmp_path).returncode == 0
    assert held.content_hash(THINGS, PART) == before


def test_a_backup_waits_for_who_writes_and_they_for_it(held: Warehouse, tmp_path: Path):
    copying = told("Backup").replace("flock ", "flock --nonblock --conflict-exit-code 75 ")
    with held.connect():
        assert typed(copying, tmp_path).returncode == 75
    slow = "flock data/warehouse/warehouse.duckdb.lock sh -c 'echo held; sleep 60'"
    hurried = Warehouse(database=held.database, lock_timeout_seconds=0.2)
    with subprocess.Popen(
        ["/bin/sh", "-c", f"exec {slow}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(WarehouseBusyError), hurried.connect():
            pass
        subprocess.run(["pkill", "-s", str(other.pid)], check=True)
