"""What was measured: a line of the table, and the page that shows the last full run."""

import os
import platform
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("duckdb", "polars", "dagster", "h3", "numpy", "pandas")
HEADER = ("stage", "size", "ours", "alternative", "ratio", "target", "met")
FLAT_WITHIN = 0.25
PAGE = """\
# Benchmarks

Written by `make bench`; do not edit.

{measured}

## How it is measured

Every measurement is a process of its own; shown is the median of {repeats} unless it says
otherwise. The alternative is measured in turn with ours, in the same run. CPU-seconds are user and
system time as the operating system counts them, from after start-up, imports and the making of the
input to the end of the work. MB are the largest resident size of the process, imports and input
included. A process has {threads} cores, for polars and DuckDB; OpenMP and BLAS have 1 thread. The
records are Chicago 311 requests of the sample city, as the JSON of its portal. A replaced slice is
timed after a first one that warms up, {repeats} times 50.

*Ratio* is what the alternative costs over what ours costs: above 1 ours is cheaper. Ratios are what
counts; times drift with the machine and with what else it does. *Target* is what the design asks of
a machine with two cores. No test fails when one is missed; it is said here. *Flat* is the change
against the smallest size, which should be within {flat:.0%}.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `ratio` is the alternative's cost over ours."""

    stage: str
    size: str
    ours: str
    alternative: str = ""
    ratio: float | None = None
    target: str = ""
    met: str = ""

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:,.{1 if self.ratio < 10 else 0}f}"
        return "| " + " | ".join([*astuple(self)[:4], ratio, self.target, self.met]) + " |"


def verdict(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def flatness(value: float, smallest: float) -> str:
    change = value / smallest - 1
    if abs(change) <= FLAT_WITHIN:
        return f"flat ({change:+.0%})"
    return f"**not flat, it {'grows' if change > 0 else 'falls'}** ({change:+.0%})"


def measured(rows: list[Row]) -> str:
    """Return on what it ran, with which versions, when, and the table."""
    info = Path("/proc/cpuinfo")
    named = info.read_text().split("model name")[1:] if info.exists() else []
    model = named[0].splitlines()[0].strip("\t :") if named else platform.processor()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, {model}, {os.cpu_count()} cores"
    ran = (
        f"{datetime.now(UTC):%Y-%m-%d}, {machine}. Python {platform.python_version()}, {packages}."
    )
    head = f"| {' | '.join(HEADER)} |\n" + "| --- " * len(HEADER) + "|"
    return "\n".join([f"{ran}\n", head, *map(str, rows)])
