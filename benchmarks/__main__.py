"""Measures every stage, or those that are named, and writes docs/benchmarks.md.

The other stages stay on the page as they were last measured. With --quick a tenth of everything,
with --times other sizes: neither is kept.
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
from benchmarks.measuring import Effort, say
from benchmarks.report import PATH, keep, kept, page, stage, table

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
    "night": commands.sample_night,
}

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("--quick", action="store_true", help="a tenth of the sizes, twice each")
parser.add_argument(
    "--times",
    default="",
    metavar="1,4,16",
    help="of volume: multiples of its smallest size",
)
parser.add_argument("--note", default="", help="what else is to be said, as of a busy machine")
parser.add_argument("names", nargs="*", metavar="name", help=", ".join(STAGES))
asked = parser.parse_args()
if unknown := sorted(set(asked.names) - set(STAGES)):
    parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(STAGES)}")
times = tuple(int(one) for one in asked.times.split(",") if one)
effort = Effort(divisor=10, repeats=2, times=times) if asked.quick else Effort(times=times)
found = {}
for name in [name for name in STAGES if name in asked.names or not asked.names]:
    say(name)
    with tempfile.TemporaryDirectory(prefix="city311-bench-") as folder:
        found[name] = stage(STAGES[name](effort, Path(folder)), asked.note)
    if not asked.quick and not times:
        # Kept one by one: the whole takes hours.
        before = kept()
        stages = {one: (before | found)[one] for one in STAGES if one in before or one in found}
        keep(stages)
        PATH.write_text(page(stages))
print(table(found.values()))
if asked.quick or times:
    say(f"{PATH.name} is left as it is: other sizes are not kept")
else:
    say(f"written to {PATH}")
