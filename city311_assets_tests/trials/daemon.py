"""A real `dagster dev`, spoken to as its own UI does: GraphQL over HTTP on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import httpx
import psutil

from city311_assets_tests.commands import Installation

SETTINGS = Path(__file__).parents[2] / "data" / "dagster" / "dagster.yaml"
STARTED_WITHIN_SECONDS = 120
LAUNCH_BACKFILL = """
    mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
        launchPartitionBackfill(backfillParams: $backfillParams) {
            __typename
            ... on LaunchBackfillSuccess { backfillId }
            ... on PythonError { message }
            ... on InvalidSubsetError { message }
        }
    }
"""
BACKFILL = """
    query Backfill($id: String!) {
        partitionBackfillOrError(backfillId: $id) {
            ... on PartitionBackfill { status numPartitions error { message } }
        }
    }
"""
RUNS = """
    query Runs {
        runsOrError(limit: 500) {
            ... on Runs { results { runId jobName status tags { key value } } }
        }
    }
"""
ASSETS = "query Assets { assetNodes { assetKey { path } isPartitioned } }"
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass
class Dev:
    """A running `dagster dev`: its address, its log, and what its processes cost."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]
    cpu: dict[tuple[int, float], float] = field(default_factory=dict)

    def ask(self, query: str, **variables: object) -> dict:
        """Return the data of a GraphQL answer."""
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.url}/graphql", json=body, timeout=60)
        said = answer.json()
        assert "errors" not in said, said
        return said["data"]

    def assets(self) -> list[tuple[list[str], bool]]:
        """Return the path of every asset, and whether it has partitions."""
        nodes = self.ask(ASSETS)["assetNodes"]
        return [(node["assetKey"]["path"], node["isPartitioned"]) for node in nodes]

    def backfill(self, paths: Sequence[Sequence[str]], days: Sequence[str]) -> str:
        """Launch an asset backfill; return its number."""
        params = {
            "assetSelection": [{"path": [*path]} for path in paths],
            "partitionNames": [*days],
            "fromFailure": False,
        }
        said = self.ask(LAUNCH_BACKFILL, backfillParams=params)["launchPartitionBackfill"]
        assert said["__typename"] == "LaunchBackfillSuccess", said
        return said["backfillId"]

    def status_of(self, backfill: str) -> str:
        """Return a backfill's status."""
        return self.ask(BACKFILL, id=backfill)["partitionBackfillOrError"]["status"]

    def runs(self) -> list[dict]:
        """Return every run, newest first."""
        return self.ask(RUNS)["runsOrError"]["results"]

    def statuses(self) -> Counter[str]:
        """Return how many runs have each status."""
        return Counter(run["status"] for run in self.runs())

    def is_idle(self) -> bool:
        """Whether no run is unfinished."""
        return set(self.statuses()) <= ENDED

    @property
    def cpu_seconds(self) -> float:
        """Seconds of CPU of every process seen so far, ended ones too."""
        return sum(self.cpu.values())

    def watch(self, until: Event) -> None:
        """Keep the books of what each process has used."""
        while not until.wait(0.5):
            try:
                tree = psutil.Process(self.process.pid)
                for one in [tree, *tree.children(recursive=True)]:
                    times = one.cpu_times()
                    self.cpu[one.pid, one.create_time()] = times.user + times.system
            except psutil.NoSuchProcess:
                continue


@contextmanager
def dev(city: Installation) -> Iterator[Dev]:
    """Run `dagster dev` over an installation, with its daemon, schedules and sensors."""
    home = Path(city.settings["CITY311_DATA_DIR"]) / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(SETTINGS, home)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = city.folder / "dagster-dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).parent / "dagster"), "dev"),
                *("-m", "city311_assets.definitions", "-h", "127.0.0.1", "-p", str(port)),
            ],
            cwd=city.folder,
            env=city.environment | {"DAGSTER_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Dev(f"http://127.0.0.1:{port}", log, process)
    until = Event()
    watching = Thread(target=running.watch, args=[until], daemon=True)
    watching.start()
    try:
        wait_for(running)
        yield running
    finally:
        until.set()
        watching.join()
        _stop(process)


def wait_for(running: Dev) -> None:
    """Wait until it answers with its assets."""
    deadline = time.monotonic() + STARTED_WITHIN_SECONDS
    while True:
        assert running.process.poll() is None, running.log.read_text()
        try:
            if running.assets():
                return
        except (httpx.HTTPError, AssertionError, ValueError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop it as Ctrl-C does, and whatever is left after that."""
    children = (
        psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    )
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    for one in children:
        if one.is_running():
            one.kill()
