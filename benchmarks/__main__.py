"""Measures every stage and writes docs/benchmarks.md.

With names only those stages, with --quick a tenth of everything, with --times other sizes; none of
these writes the page.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks import (
    api,
    atlas,
    causal,
    commands,
    console,
    event_storage,
    gold_methods,
    gold_rates,
    growth,
    pages_to_bronze,
    points_to_cells,
    risk,
    slice_replaced,
    volume,
)
from benchmarks.measuring import THREADS, Effort, say
from benchmarks.report import FLAT_WITHIN, PAGE, measured

STAGES = {
    "pages": pages_to_bronze.measure,
    "cells": points_to_cells.measure,
    "slice": slice_replaced.measure,
    "events": event_storage.measure,
    "gold": gold_rates.measure,
    "methods": gold_methods.measure,
    "atlas": atlas.measure,
    "causal": causal.measure,
    "risk": risk.measure,
    "api": api.measure,
    "console": console.measure,
    "growth": growth.measure,
    "volume": volume.measure,
    "load": commands.code_location,
    "month": commands.sample_month,
}
PATH = Path(__file__).parent.parent / "docs" / "benchmarks.md"

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("--quick", action="store_true", help="a tenth of the sizes, twice each")
parser.add_argument(
    "--times",
    default="",
    metavar="1,4,16",
    help="of volume: multiples of its smallest size",
)
parser.add_argument("names", nargs="*", metavar="name", help=", ".join(STAGES))
asked = parser.parse_args()
if unknown := sorted(set(asked.names) - set(STAGES)):
    parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(STAGES)}")
times = tuple(int(one) for one in asked.times.split(",") if one)
effort = Effort(divisor=10, repeats=2, times=times) if asked.quick else Effort(times=times)
rows = []
for name in [name for name in STAGES if name in asked.names or not asked.names]:
    say(name)
    with tempfile.TemporaryDirectory(prefix="city311-bench-") as folder:
        rows += STAGES[name](effort, Path(folder))
found = measured(rows)
print(found)
if asked.quick or asked.names or times:
    say(f"{PATH.name} is left as it is: only a full run writes it")
else:
    told = {"repeats": effort.repeats, "threads": THREADS, "flat": FLAT_WITHIN}
    PATH.write_text(PAGE.format(measured=found, **told))
    say(f"written to {PATH}")
