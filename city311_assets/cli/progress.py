"""What a person sees while runs follow each other: bars in a terminal, else a line a run.

What belongs here: rates, time left, and how they are written. What does not: the runs.
"""

import time
from collections.abc import Mapping
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from city311_assets.cli.runs import Told

SECONDS_PER_MINUTE = 60


class Shown:
    """The progress of one or more lanes of runs; a lane has a name and a number of days, or runs.

    To be used as a context.
    """

    def __init__(self, console: Console, totals: Mapping[str, int], *, is_of_days: bool) -> None:
        self._console = console
        self._totals = dict(totals)
        self._done = dict.fromkeys(totals, 0)
        self._is_of_days = is_of_days
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks = {
            lane: self._bars.add_task(lane, total=total, rate="") for lane, total in totals.items()
        }

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, lane: str, told: Told) -> None:
        """Show that a step of a lane begins, or that it ended."""
        prefix = f"{lane}: " if lane else ""
        if told.succeeded is None:
            self._bars.update(self._tasks[lane], description=f"{prefix}{told.label}")
            return
        advance = told.days if self._is_of_days else 1
        self._done[lane] += advance
        done, total = self._done[lane], self._totals[lane]
        took = max(time.monotonic() - self._started, 1e-9)
        per_minute = done / took * SECONDS_PER_MINUTE
        rate = f"{per_minute:,.0f} days/min" if self._is_of_days and done else ""
        self._bars.update(self._tasks[lane], advance=advance, rate=rate)
        if self._console.is_terminal:
            return
        line = f"{prefix}{told.label}: {'done' if told.succeeded else 'FAILED'}"
        if rate:
            left = (total - done) * took / done
            line += f", {done}/{total} days, {rate}, about {left:.0f} s left"
        self._console.print(line)
