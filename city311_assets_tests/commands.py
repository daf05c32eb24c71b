"""Runs the command line as a person would: another process, its own settings, real files."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from city311_assets.warehouse.resource import Warehouse

START = "2026-01-01"
RUN_EACH = """
import json, sys
from typer.testing import CliRunner
from city311_assets.cli.main import app
answers = []
for command in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, command)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    answers.append((done.exit_code, done.stdout, done.stderr))
print(json.dumps(answers))
"""
NOW = "2026-06-15T12:00:00"


@dataclass(frozen=True)
class Installation:
    """A data folder with settings around it."""

    folder: Path
    settings: Mapping[str, str]

    @classmethod
    def small(cls, folder: Path, **settings: str) -> "Installation":
        """Return an installation over a sample city of few records whose clock stands still."""
        small = {
            "CITY311_DATA_DIR": str(folder / "data"),
            "CITY311_START_DATE": START,
            "CITY311_SAMPLE_NOW": NOW,
            "CITY311_SAMPLE_RECORDS_PER_DAY": "20",
        }
        return cls(folder, small | settings)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes: nothing of ours but what is said here."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CITY311_", "DAGSTER_"))}
        return kept | dict(self.settings) | {"COLUMNS": "200"}

    @property
    def published(self) -> Path:
        """The published file."""
        return Path(self.settings["CITY311_DATA_DIR"]) / "city311.duckdb"

    @property
    def warehouse(self) -> Warehouse:
        """The native file, whatever the settings name."""
        data = Path(self.settings["CITY311_DATA_DIR"])
        return Warehouse(database=str(data / "warehouse" / "warehouse.duckdb"))

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run `city311` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "city311_assets.cli.main", *arguments],
            cwd=self.folder,
            env=self.environment | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=1_200,
        )

    def run_each(self, *commands: tuple[str, ...]) -> list[subprocess.CompletedProcess[str]]:
        """Run several commands in one process, one after the other, for what is refused at once.

        Starting and importing takes seconds, refusing milliseconds.
        """
        done = subprocess.run(
            [sys.executable, "-c", RUN_EACH, json.dumps(commands)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout.splitlines()[-1])
        return [
            subprocess.CompletedProcess(command, code, out, err)
            for command, (code, out, err) in zip(commands, answers, strict=True)
        ]

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start `city311`, to be killed."""
        return subprocess.Popen(
            [sys.executable, "-m", "city311_assets.cli.main", *arguments],
            cwd=self.folder,
            env=self.environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def query(self, query: str) -> list[tuple]:
        """Return rows of the published file."""
        with duckdb.connect(str(self.published), read_only=True) as conn:
            return conn.sql(query).fetchall()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and all it started, without a chance to tidy up."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
