"""A table of every type, rows for it, and processes that hold a file open from outside."""

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl

from city311_assets.partitions import Slice
from city311_assets.warehouse.tables.table import Column, Table
from city311_assets_tests.silver.raw import filled

DAY = dt.date(2026, 1, 2)
NEXT = DAY + dt.timedelta(days=1)
PART = Slice("pots", DAY, NEXT)
BOTH = Slice("pots", DAY, NEXT + dt.timedelta(days=1))
AT = dt.datetime(2026, 1, 2, 9, 30)

THINGS = Table(
    layer="silver",
    name="things",
    one_row_per="thing",
    columns=(
        Column("feed", "VARCHAR", "Name of the feed.", nullable=False),
        Column("day", "DATE", "Day of the thing.", nullable=False),
        Column("record_id", "VARCHAR", "Number of the thing.", nullable=False),
        Column("opened_at", "TIMESTAMP", "When it was seen.", nullable=False),
        Column("note", "VARCHAR", "What was said of it; null if nothing."),
        Column("depth_m", "DOUBLE", "Depth, m; null if unknown."),
        Column("is_big", "BOOLEAN", "Whether it is big; null if unknown."),
        Column("cell", "UBIGINT", "Cell it lies in; null if unknown."),
        Column("hour", "UTINYINT", "Hour of the day; null if unknown."),
        Column("fetched_from", "VARCHAR", "Where it is from.", is_provenance=True),
        Column("fetched_at", "TIMESTAMP", "When it was fetched.", is_provenance=True),
    ),
    unique=("feed", "day", "record_id"),
)
OTHERS = Table("gold", "others", "other thing", THINGS.columns, THINGS.unique)
STORED = f"from {THINGS} where {THINGS.where} order by day, record_id"


def thing(number: str, **values: object) -> dict[str, object]:
    return {
        "feed": "pots",
        "day": DAY,
        "record_id": number,
        "opened_at": AT,
        "note": f"note {number}",
        "depth_m": 0.5,
        "is_big": False,
        "cell": 2**63 + 1,
        "hour": 9,
        "fetched_from": "portal",
        "fetched_at": AT,
    } | values


def things(*numbers: str, **values: object) -> pl.DataFrame:
    return filled(THINGS, *(thing(number, **values) for number in numbers))


class Stranger:
    """Another process at work on DuckDB or on the warehouse; `ask` waits for its answer."""

    def __init__(self, process: subprocess.Popen[str], ends: tuple[IO[str], IO[str]]) -> None:
        self.process, (self.question, self.answer) = process, ends

    def ask(self, question: str) -> str:
        """Send a line and return the line that answers."""
        self.question.write(question + "\n")
        self.question.flush()
        return self.answer.readline().strip()

    def kill(self) -> None:
        """Kill it at once: nothing of it runs any more."""
        self.process.kill()
        self.process.wait()


@contextmanager
def stranger(module: str, *arguments: str) -> Iterator[Stranger]:
    """Run a module of this folder that prints `ready` and then answers lines; gone afterwards."""
    # As a module: DuckDB takes `python -c` for a notebook and draws a bar over slow statements.
    command = [sys.executable, "-m", f"city311_assets_tests.warehouse.{module}", *arguments]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            line = process.stdout.readline()
            if line != "ready\n":
                raise RuntimeError(f"{module} said {line!r}, not that it is ready")
            yield Stranger(process, (process.stdin, process.stdout))
        finally:
            process.kill()


@contextmanager
def duckdb_shell(path: Path, mode: str = "read_only") -> Iterator[Stranger]:
    """Have another process hold a file open; `ask` runs SQL, `close` closes the file."""
    with stranger("duckdb_shell", str(path), mode) as shell:
        yield shell
