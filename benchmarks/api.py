"""How fast the API answers: `city311 serve` on loopback, asked by processes of their own.

The clients share the machine's cores with the server: what they take is in its times.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import Effort, say
from benchmarks.report import Row, verdict
from city311_assets_tests.serving.api import busy_city
from city311_assets_tests.serving.api.load import Heard, load, percentile, served, told

CELLS, FEWER_CELLS = 4_400, 440
REQUESTS, CONNECTIONS = 4_000, 2
FEWEST_PER_SECOND, MOST_MS, MOST_MEGABYTES = 200, 50, 0.4
RISK = "/api/layers/risk"


def measure(effort: Effort, folder: Path) -> list[Row]:
    cells = CELLS if effort.divisor == 1 else FEWER_CELLS
    city = busy_city.build(folder, cells)
    requests = REQUESTS // effort.divisor
    size = f"{cells:,} cells, {len(city.days)} days of risk"
    with served(folder) as server:
        # What was never asked is made, and kept: all days, a box on each.
        boxes = [f"{RISK}?date={day}&bbox=-87.7,41.8,-87.6,41.9" for day in city.days]
        fresh = [f"{RISK}?date={day}" for day in city.days] + boxes
        first = load(server.address, [RISK], 1, 1, 0.0)
        made = [load(server.address, [path], 1, 1, 0.0) for path in fresh]
        known = load(server.address, [RISK], requests, CONNECTIONS, 1.0)
        whole = load(server.address, [RISK], requests // 4, CONNECTIONS, 0.0)
        mixed = load(server.address, city.paths(), requests, CONNECTIONS, 0.7)
        cpu, peak = server.cpu_seconds, server.peak_megabytes
    errors = [error for one in (first, *made, known, whole, mixed) for error in one.errors]
    if errors:
        raise RuntimeError(f"{len(errors)} answers were wrong, such as {errors[0]}")
    say(f"  the server used {cpu:.1f} CPU-s")
    megabytes = whole.largest_body / 1e6
    p99 = percentile(whole.milliseconds, 0.99)
    return [
        _row(
            "API: risk of a whole city, not modified",
            f"{size}; {requests:,} requests, {CONNECTIONS} connections",
            known,
            f"≥ {FEWEST_PER_SECOND} a second",
            known.per_second >= FEWEST_PER_SECOND,
        ),
        _row(
            f"- the same whole, warm, {megabytes:.2f} MB compressed",
            f"{requests // 4:,} requests, {CONNECTIONS} connections",
            whole,
            f"p99 < {MOST_MS} ms, ≤ {MOST_MEGABYTES} MB",
            p99 < MOST_MS and megabytes <= MOST_MEGABYTES,
        ),
        Row(
            "- the first answer after the start; then days and boxes never asked for",
            f"1; {len(fresh)} requests",
            f"{_median(first.milliseconds):.0f} ms; median "
            f"{_median([ms for one in made for ms in one.milliseconds]):.0f} ms",
        ),
        _row(
            "- layers, parts, outlines and histories, 70 % with a tag",
            f"{requests:,} requests, {CONNECTIONS} connections",
            mixed,
            "",
            None,
        ),
        Row("- memory of the server, at most", size, f"{peak:,.0f} MB"),
    ]


def _row(stage: str, size: str, heard: Heard, target: str, is_met: bool | None) -> Row:
    return Row(
        stage,
        size,
        f"{heard.per_second:,.0f} a second; {told(heard.milliseconds)}",
        target=target,
        met="" if is_met is None else verdict(is_met),
    )


def _median(milliseconds: Sequence[float]) -> float:
    return percentile(milliseconds, 0.5)
