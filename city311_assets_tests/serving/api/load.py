"""Many requests on connections that stay open, each connection a process of its own.

A client that does more than send and read would be the bottleneck: what is sent is text, and of a
body only every hundredth is looked into.
"""

import gzip
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

import httpx

LOOKED_INTO = 100
STARTED_WITHIN_SECONDS = 120


@dataclass
class Heard:
    """What the connections heard."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    of_known: list[float] = field(default_factory=list)
    of_bodies: list[float] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    largest_body: int = 0

    def add(self, other: "Heard") -> None:
        """Add what another connection heard at the same time."""
        self.seconds = max(self.seconds, other.seconds)
        self.statuses += other.statuses
        self.milliseconds += other.milliseconds
        self.of_known += other.of_known
        self.of_bodies += other.of_bodies
        self.versions |= other.versions
        self.errors += other.errors
        self.largest_body = max(self.largest_body, other.largest_body)

    @property
    def per_second(self) -> float:
        """Requests a second, all connections together."""
        return len(self.milliseconds) / self.seconds


def percentile(milliseconds: Sequence[float], share: float) -> float:
    """Return the time below which a share of the times lies; 0 without any."""
    ordered = sorted(milliseconds)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def told(milliseconds: Sequence[float]) -> str:
    """Return three percentiles in words."""
    shares = (0.5, 0.95, 0.99)
    return ", ".join(
        f"p{share * 100:.0f} {percentile(milliseconds, share):.1f} ms" for share in shares
    )


def load(
    address: str, paths: Sequence[str], requests: int, connections: int, known: float
) -> Heard:
    """Send requests for paths drawn at random, a share of them with the tag that was last heard."""
    each = requests // connections
    with ProcessPoolExecutor(connections, mp_context=get_context("spawn")) as pool:
        talks = [
            pool.submit(talk, address, list(paths), each, known, seed)
            for seed in range(connections)
        ]
        heard = Heard()
        for one in talks:
            heard.add(one.result())
    return heard


def talk(address: str, paths: list[str], requests: int, known: float, seed: int) -> Heard:
    """Send requests one after another on one connection."""
    rng = random.Random(seed)
    place = urlsplit(address)
    heard, tags = Heard(), dict[str, str]()
    with socket.create_connection((place.hostname or "", place.port or 80), timeout=60) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = line.makefile("rb")
        begin = time.perf_counter()
        for number in range(requests):
            path = rng.choice(paths)
            tag = tags.get(path) if rng.random() < known else None
            sent = time.perf_counter()
            line.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nAccept-Encoding: gzip\r\n"
                f"{f'If-None-Match: {tag}' if tag else 'Accept: */*'}\r\n\r\n".encode()
            )
            status = int(answers.readline().split()[1])
            headers = {}
            while (text := answers.readline().rstrip()) != b"":
                name, _, value = text.partition(b": ")
                headers[name.lower()] = value
            has_body = status not in {204, 304}
            body = answers.read(int(headers.get(b"content-length", 0))) if has_body else b""
            took = 1_000 * (time.perf_counter() - sent)
            heard.milliseconds.append(took)
            (heard.of_known if status == 304 else heard.of_bodies).append(took)
            heard.statuses[status] += 1
            if status not in {200, 304} or (status == 304 and not tag):
                heard.errors.append(f"{path}: {status} {body[:200]!r}")
            if status == 200 and b"etag" in headers:
                tags[path] = headers[b"etag"].decode()
            heard.largest_body = max(heard.largest_body, len(body))
            if status == 200 and number % LOOKED_INTO == 0:
                _look_into(heard, path, headers, body)
        heard.seconds = time.perf_counter() - begin
    return heard


def _look_into(heard: Heard, path: str, headers: dict[bytes, bytes], body: bytes) -> None:
    if headers.get(b"content-encoding") == b"gzip":
        body = gzip.decompress(body)
    said = json.loads(body)
    heard.versions.add(said["data_version"])
    if said.get("numberReturned", 0) != len(said.get("features", ())) and "layers" in path:
        heard.errors.append(f"{path}: {said['numberReturned']} said, {len(said['features'])} sent")


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    address: str
    process: subprocess.Popen[str]

    @property
    def peak_megabytes(self) -> float:
        """The largest resident size so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1_024 / 1e6

    @property
    def cpu_seconds(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(data_dir: Path) -> Iterator[Served]:
    """Run `city311 serve` over a data folder, on any port."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("CITY311_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "city311_assets.cli.main", "serve", "--port", "0"],
        env=own | {"CITY311_DATA_DIR": str(data_dir), "NO_COLOR": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Served(_address(process), process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    said = ""
    for line in process.stdout or ():
        said += line
        if found := re.search(r"http://[\w.:\[\]]+", line):
            break
    else:
        raise RuntimeError(f"the server did not start: {said}")
    # It listens before it has started: the first answer says that it has.
    httpx.get(f"{found[0]}/health", timeout=STARTED_WITHIN_SECONDS).raise_for_status()
    return found[0]
