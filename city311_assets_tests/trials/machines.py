"""Several machines on one: PostgreSQL, Redis, Celery workers, Dagster's daemon and web server.

Everything listens on loopback, is started from `deploy/`, and is started again when it ends, as a
supervisor does.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from city311_assets.warehouse.lake import LakeWarehouse
from city311_assets_tests.commands import Installation
from city311_assets_tests.services import ROLE, Postgres, free_port, postgres, redis
from city311_assets_tests.trials.daemon import Dev, wait_for

DEPLOY = Path(__file__).parents[2] / "deploy"
AUTOMATION = """
    query Automation {
        repositoriesOrError {
            ... on RepositoryConnection { nodes { sensors { id name } schedules { id name } } }
        }
    }
"""
STOP = {
    "sensors": "mutation Stop($id: String) { stopSensor(id: $id) { __typename } }",
    "schedules": """
        mutation Stop($id: String) { stopRunningSchedule(id: $id) { __typename } }
    """,
}
PROGRAMS = Path(sys.executable).parent


@dataclass
class Supervised:
    """A program that is started again whenever it ends, until it is stopped."""

    command: list[str]
    folder: Path
    environment: Mapping[str, str]
    log: Path
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None
    is_wanted: bool = True
    thread: threading.Thread | None = None

    def start(self) -> None:
        """Start it, and a thread that starts it again."""
        self._once()
        self.thread = threading.Thread(target=self._keep, daemon=True)
        self.thread.start()

    def _once(self) -> None:
        self.starts += 1
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=dict(self.environment),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _keep(self) -> None:
        while self.is_wanted:
            assert self.process
            self.process.wait()
            if self.is_wanted:
                time.sleep(1)
                self._once()

    def kill(self) -> None:
        """Kill it and all it started at once, as a power cut does."""
        assert self.process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and kill what is left."""
        self.is_wanted = False
        assert self.process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        self.kill()
        self.process.wait()
        if self.thread:
            self.thread.join()


@dataclass
class Machines:
    """A running cluster: what it is asked through, and what may be broken."""

    city: Installation
    dagster: Dev
    server: Postgres
    workers: list[Supervised]
    daemon: Supervised
    lake: LakeWarehouse

    def logged(self, words: str) -> int:
        """Return how many events of all runs have some words."""
        return int(
            self.server.ask(
                "dagster", f"select count(*) from event_logs where event like '%{words}%'"
            )
        )


def silence(dagster: Dev) -> None:
    """Turn every sensor and schedule off, as their switches in the UI do."""
    (repository,) = dagster.ask(AUTOMATION)["repositoriesOrError"]["nodes"]
    for kind in ("sensors", "schedules"):
        for one in repository[kind]:
            said = dagster.ask(STOP[kind], id=one["id"])
            assert "PythonError" not in str(said), said


@contextmanager
def machines(city: Installation, workers: int) -> Iterator[Machines]:
    """Run an installation on a lake in PostgreSQL, with so many workers of one process each."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres())
        broker = stack.enter_context(redis())
        catalogue = server.database("lake")
        server.database("dagster")
        home = city.folder / "home"
        home.mkdir(parents=True)
        settings = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
        settings["concurrency"]["runs"]["max_concurrent_runs"] = workers
        (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
        lake = LakeWarehouse(
            database=f"ducklake:postgres:{catalogue}", data_path=str(city.folder / "lake")
        )
        several = {
            "CITY311_WAREHOUSE": lake.database,
            "CITY311_DATA_PATH": lake.data_path,
            "DAGSTER_HOME": str(home),
            "DAGSTER_PG_HOST": "127.0.0.1",
            "DAGSTER_PG_PORT": str(server.port),
            "DAGSTER_PG_USER": ROLE,
            "DAGSTER_PG_PASSWORD": "trusted-anyway",
            "DAGSTER_PG_DB": "dagster",
            "CELERY_BROKER_URL": f"{broker.url}/0",
            "CELERY_RESULT_BACKEND": f"{broker.url}/1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        }
        environment = {**city.environment, **several}
        city = Installation(city.folder, {**city.settings, **several})
        # Made by one before many come.
        _ = lake.data_version

        def program(name: str, *command: str) -> Supervised:
            made = Supervised(
                [str(PROGRAMS / command[0]), *command[1:]],
                city.folder,
                environment,
                city.folder / f"{name}.log",
            )
            made.start()
            stack.callback(made.stop)
            return made

        port = free_port()
        web = program(
            *("web", "dagster-webserver", "-m", "city311_assets.definitions"),
            *("-h", "127.0.0.1", "-p", str(port)),
        )
        assert web.process
        dagster = Dev(f"http://127.0.0.1:{port}", web.log, web.process)
        wait_for(dagster)
        silence(dagster)
        daemon = program("daemon", "dagster-daemon", "run", "-m", "city311_assets.definitions")
        working = [
            program(
                f"worker{number}",
                *("dagster-celery", "worker", "start", "-A", "dagster_celery.app"),
                *("-y", str(DEPLOY / "worker.yaml"), "-n", f"worker{number}", "--"),
                *("--concurrency", "1", "--disable-prefetch"),
            )
            for number in range(workers)
        ]
        yield Machines(city, dagster, server, working, daemon, lake)
