"""What was measured: a line of the table, what is kept of each stage, and the page that shows it.

Stages are measured together or one by one, on whatever day; `results.json` keeps of each its last
measurement, and the page is made from nothing else.
"""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.measuring import THREADS, Effort

PACKAGES = ("duckdb", "polars", "dagster", "h3", "numpy", "pandas")
HEADER = ("stage", "size", "ours", "alternative", "ratio", "target", "met", "on")
FLAT_WITHIN = 0.25
RESULTS = Path(__file__).with_name("results.json")
PATH = Path(__file__).parent.parent / "docs" / "benchmarks.md"
PAGE = """\
# Benchmarks

Written by `make bench`, or by `python -m benchmarks` and names of stages; do not edit.

{measured}

## When, and on what

{ran}

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

    def line(self, on: str) -> str:
        """Return it as a line of the table, with the day it was measured."""
        ratio = "" if self.ratio is None else f"{self.ratio:,.{1 if self.ratio < 10 else 0}f}"
        return "| " + " | ".join([*astuple(self)[:4], ratio, self.target, self.met, on]) + " |"


@dataclass(frozen=True)
class Stage:
    """The last measurement of a stage: when, on what, what else was to be said, and its lines."""

    on: str
    ran: str
    note: str
    rows: Sequence[Row]


def verdict(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def flatness(value: float, smallest: float) -> str:
    change = value / smallest - 1
    if abs(change) <= FLAT_WITHIN:
        return f"flat ({change:+.0%})"
    return f"**not flat, it {'grows' if change > 0 else 'falls'}** ({change:+.0%})"


def stage(rows: Sequence[Row], note: str) -> Stage:
    """Return what was measured just now on this machine."""
    info = Path("/proc/cpuinfo")
    named = info.read_text().split("model name")[1:] if info.exists() else []
    model = named[0].splitlines()[0].strip("\t :") if named else platform.processor()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, {model}, {os.cpu_count()} cores"
    ran = f"{machine}; Python {platform.python_version()}, {packages}"
    return Stage(f"{datetime.now(UTC):%Y-%m-%d}", ran, note, rows)


def kept() -> dict[str, Stage]:
    """Return the last measurement of each stage."""
    found = json.loads(RESULTS.read_text())
    return {
        name: Stage(**one | {"rows": [Row(**row) for row in one["rows"]]})
        for name, one in found.items()
    }


def keep(stages: Mapping[str, Stage]) -> None:
    """Keep measurements for the page."""
    told = {name: asdict(one) for name, one in stages.items()}
    RESULTS.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def table(stages: Iterable[Stage]) -> str:
    """Return the lines of stages as a table."""
    head = f"| {' | '.join(HEADER)} |\n" + "| --- " * len(HEADER) + "|"
    return "\n".join([head, *(row.line(one.on) for one in stages for row in one.rows)])


def page(stages: Mapping[str, Stage]) -> str:
    """Return the page of all that is kept."""
    ran: dict[str, list[str]] = {}
    for name, one in stages.items():
        said = f"{one.on}, {one.ran}" + f"; {one.note}" * bool(one.note)
        ran.setdefault(said, []).append(f"`{name}`")
    when = "\n".join(f"- {', '.join(names)}: {said}." for said, names in sorted(ran.items()))
    told = {"repeats": Effort().repeats, "threads": THREADS, "flat": FLAT_WITHIN}
    return PAGE.format(measured=table(stages.values()), ran=when, **told)
