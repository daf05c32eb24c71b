"""PostgreSQL and Redis of a test's own: in a folder that goes again, on loopback, gone afterwards.

Where the programs are not installed, or may not be run, the test is skipped and says so.
"""

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

# Debian keeps the server's programs out of the way of those of another version.
PROGRAMS = Path("/usr/lib/postgresql")
ROLE = "city311"
STARTED_WITHIN_SECONDS = 60
# Ends a server when it is told to, and when the test that holds the other end of the pipe is gone;
# then nobody else removes the folder.
KEEPER = """
import json, pathlib, shutil, signal, subprocess, sys
options = json.loads(sys.argv[1])
server = subprocess.Popen(
    sys.argv[2:], stdin=subprocess.DEVNULL, stdout=2, start_new_session=True, **options
)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(server.pid, flush=True)
told = sys.stdin.read()
server.send_signal(signal.SIGINT)
try:
    server.wait(20)
except subprocess.TimeoutExpired:
    server.kill()
if not told:
    shutil.rmtree(pathlib.Path.cwd(), ignore_errors=True)
"""


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@dataclass
class Kept:
    """A server and the process that ends it when the test is gone, however that goes."""

    keeper: subprocess.Popen[str]
    pid: int

    @classmethod
    def start(cls, command: list[str], log: Path, account: Mapping[str, object]) -> "Kept":
        """Start a server, as another account maybe; what it says goes into `log`."""
        options = json.dumps(dict(account))
        with log.open("ab") as output:
            keeper = subprocess.Popen(
                [sys.executable, "-c", KEEPER, options, *command],
                cwd=log.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                # Ctrl-C in the terminal is the test's to answer.
                start_new_session=True,
            )
        assert keeper.stdout
        return cls(keeper, int(keeper.stdout.readline()))

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        assert self.keeper.stdin
        assert self.keeper.stdout
        self.keeper.stdin.write("stop")
        self.keeper.stdin.close()
        self.keeper.wait(60)
        self.keeper.stdout.close()


@dataclass
class Postgres:
    """A PostgreSQL server on loopback that trusts everybody there; databases are made on demand."""

    folder: Path
    port: int
    programs: Path
    kept: Kept | None = None

    @property
    def account(self) -> Mapping[str, object]:
        """As whom the server runs: it refuses to be root."""
        if os.getuid() != 0:
            return {}
        known = pwd.getpwnam("postgres")
        return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}

    def initialise(self) -> None:
        """Make the folder of its files."""
        if account := self.account:
            os.chown(self.folder, int(str(account["user"])), int(str(account["group"])))
        command = [
            *(str(self.programs / "initdb"), "--pgdata", str(self.folder / "data")),
            *("--auth", "trust", "--username", ROLE, "--no-sync", "--encoding", "UTF8"),
            *("--locale", "C"),
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self.account,  # pyright: ignore[reportArgumentType, reportCallIssue]
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            *(str(self.programs / "postgres"), "-D", str(self.folder / "data")),
            *("-c", "listen_addresses=127.0.0.1", "-p", str(self.port)),
            *("-k", str(self.folder), "-c", "max_connections=200"),
        ]
        self.kept = Kept.start(command, self.folder / "server.log", self.account)
        deadline = time.monotonic() + STARTED_WITHIN_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError((self.folder / "server.log").read_text())
            time.sleep(0.1)

    def _answers(self) -> bool:
        command = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def stop(self) -> None:
        """Stop it: whoever is connected is cut off, open transactions are undone."""
        if self.kept:
            self.kept.stop()
            self.kept = None

    def restart(self, away_seconds: float = 0.0) -> None:
        """Stop it and start it again, after so long."""
        self.stop()
        time.sleep(away_seconds)
        self.start()

    def database(self, name: str) -> str:
        """Make an empty database; return how libpq is told of it."""
        server = ("-h", "127.0.0.1", "-p", str(self.port), "-U", ROLE)
        subprocess.run([str(self.programs / "createdb"), *server, name], check=True)
        return f"host=127.0.0.1 port={self.port} user={ROLE} dbname={name}"

    def ask(self, database: str, query: str) -> str:
        """Return what `psql` says to a query."""
        server = ("-h", "127.0.0.1", "-p", str(self.port), "-U", ROLE, "-d", database)
        command = [str(self.programs / "psql"), "-qtAX", *server, "-c", query]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _programs() -> Path | None:
    """Return the folder of the newest PostgreSQL server that is installed."""
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    versions = sorted(PROGRAMS.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """Make a folder with a short path, as sockets want it, that another account may enter."""
    folder = Path(tempfile.mkdtemp(prefix=f"city311-{name}-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL server; skips where there is none to run."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql; .ci/run tries it")
    if os.getuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no account `postgres`")
    with _folder("postgres") as folder:
        server = Postgres(folder, free_port(), programs)
        server.initialise()
        try:
            server.start()
            yield server
        finally:
            server.stop()


@dataclass
class Redis:
    """A Redis server on loopback that keeps nothing on the disk."""

    port: int

    @property
    def url(self) -> str:
        """Its address, with the database's number left out."""
        return f"redis://127.0.0.1:{self.port}"


@contextmanager
def redis() -> Iterator[Redis]:
    """Run a Redis server; skips where there is none to run."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis is not installed: apt-get install redis-server; .ci/run tries it")
    with _folder("redis") as folder:
        port = free_port()
        command = [
            *(program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--logfile", str(folder / "server.log")),
        ]
        kept = Kept.start(command, folder / "keeper.log", {})
        try:
            _wait_for(port)
            yield Redis(port)
        finally:
            kept.stop()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + STARTED_WITHIN_SECONDS
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"nobody listens on port {port} after {STARTED_WITHIN_SECONDS} s")
        time.sleep(0.05)
