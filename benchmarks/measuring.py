"""How work is measured: in a process of its own, by what the operating system counts."""

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

# Cores that a measured process may use: polars is told, DuckDB counts those it is given.
THREADS = 2
ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parent.parent),
    "POLARS_MAX_THREADS": str(THREADS),
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
}
RSS_UNIT = 1 if sys.platform == "darwin" else 1024

# A function of a module, and texts for it.
Work = partial[None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: sizes are divided by `divisor`, work is done `repeats` times.

    `times` are the multiples of the smallest size, for what is measured in several; empty for its
    own.
    """

    divisor: int = 1
    repeats: int = 5
    times: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a part of the work took: seconds, and peak MB of the process before and after it."""

    part: str
    cpu: float
    wall: float
    peak_before: float
    peak: float


@dataclass(frozen=True, slots=True)
class Runs:
    """The costs of the parts of repeated runs of the same work; medians of them."""

    costs: list[list[Cost]]

    def cpu(self, *parts: str) -> float:
        """Return CPU-seconds of some parts together, or of all."""
        return median(sum(c.cpu for c in run if c.part in parts or not parts) for run in self.costs)

    @property
    def peak(self) -> float:
        """MB, imports and input included."""
        return median(run[-1].peak for run in self.costs)

    @property
    def peak_added(self) -> float:
        """What the work added to the peak of its start."""
        return median(run[-1].peak - run[0].peak_before for run in self.costs)


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _cpu_seconds() -> float:
    own, waited = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + waited.ru_utime + waited.ru_stime


def _peak_megabytes() -> float:
    """Return the largest resident size of this process, or of the largest it has waited for."""
    own, waited = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = own.ru_maxrss
    if (status := Path("/proc/self/status")).exists():
        # Linux lets `ru_maxrss` begin with the size of the process that started this one.
        peak = int(status.read_text().split("VmHWM:")[1].split()[0])
    return max(peak, waited.ru_maxrss) * RSS_UNIT / 1e6


@contextmanager
def metered(part: str) -> Iterator[None]:
    """Tell the measuring process what the block costs; start-up and preparation lie before it."""
    peak, cpu, wall = _peak_megabytes(), _cpu_seconds(), time.perf_counter()
    yield
    wall = time.perf_counter() - wall
    cost = Cost(part, _cpu_seconds() - cpu, wall, peak, _peak_megabytes())
    print(json.dumps(asdict(cost)), flush=True)


def run(work: Work) -> list[Cost]:
    """Do work in a fresh process, in an empty folder, and return what its parts cost."""
    own = {n: v for n, v in os.environ.items() if not n.startswith(("CITY311_", "DAGSTER_"))}
    command = [sys.executable, "-m", "benchmarks.measuring", work.func.__module__]
    with tempfile.TemporaryDirectory(prefix="city311-bench-") as folder:
        told = subprocess.run(
            [*command, work.func.__name__, *work.args],
            cwd=folder,
            env=own | ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
    # A library may say something of its own: the solver behind work lists does.
    return [Cost(**json.loads(line)) for line in told.splitlines() if line.startswith("{")]


def interleaved(repeats: int, **ways: Work) -> list[Runs]:
    """Do work in several ways, in turn, so that a busy machine slows all alike."""
    runs = {name: Runs([]) for name in ways}
    for number in range(1, repeats + 1):
        for name, work in ways.items():
            runs[name].costs.append(costs := run(work))
            took = sum(cost.cpu for cost in costs)
            say(f"  {number}/{repeats} {name}: {took:.2f} CPU-s, {costs[-1].peak:,.0f} MB")
    return list(runs.values())


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    getattr(importlib.import_module(sys.argv[1]), sys.argv[2])(*sys.argv[3:])
