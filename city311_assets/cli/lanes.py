"""Cities side by side: runs that have nothing to do with each other, each lane in its own process.

What belongs here: which assets go together, and the processes. What does not: what a lane does, in
order (`runs`).
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context

import dagster as dg

from city311_assets.cli.runs import Outcome, Told, execute, plan
from city311_assets.feeds.registry import CITIES, FEEDS

WATCHED_EVERY_SECONDS = 0.2


def lanes(keys: Sequence[dg.AssetKey], most: int) -> dict[str, list[dg.AssetKey]]:
    """Return keys by lane, `most` lanes at most, of about as many assets each.

    All of a city is in one lane: its feeds share its areas and its weather. A lane is called by its
    cities; what belongs to no city is in the first.
    """
    city_of = {name: name for name in CITIES} | {f.name: f.city.name for f in FEEDS.values()}
    of_city: dict[str, list[dg.AssetKey]] = {}
    rest = []
    for key in keys:
        city = city_of.get(key.path[-1])
        (rest if city is None else of_city.setdefault(city, [])).append(key)
    shared: list[tuple[list[str], list[dg.AssetKey]]] = [([], rest)]
    shared += [([], []) for _ in range(min(most, len(of_city)) - 1)]
    for city in sorted(of_city, key=lambda city: (-len(of_city[city]), city)):
        names, held = min(shared, key=lambda lane: len(lane[1]))
        names.append(city)
        held += of_city[city]
    return {", ".join(sorted(names)): held for names, held in shared if held}


def execute_side_by_side(
    parts: Mapping[str, Sequence[dg.AssetKey]],
    days: Sequence[date],
    tell: Callable[[str, Told], None],
) -> Outcome:
    """Run lanes over some days, a process each, telling of each step of each lane.

    DAGSTER_HOME says where their books are. A lane whose process dies is a failure of that lane.
    """
    # Read by a lane's libraries when it starts: lanes would wait for each other's threads.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    context = get_context("spawn")
    started = time.monotonic()
    outcome = Outcome()
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(len(parts), context, _end_with, (os.getpid(),)) as pool,
    ):
        said = manager.Queue()
        running = {
            lane: pool.submit(_lane, lane, [key.to_user_string() for key in keys], days, said)
            for lane, keys in parts.items()
        }
        while not all(future.done() for future in running.values()) or not said.empty():
            try:
                tell(*said.get(timeout=WATCHED_EVERY_SECONDS))
            except queue.Empty:
                continue
        for lane, future in running.items():
            outcome.add(_of(lane, future))
    outcome.seconds = time.monotonic() - started
    return outcome


def _of(lane: str, future: "Future[Outcome]") -> Outcome:
    if (error := future.exception()) is None:
        return future.result()
    if isinstance(error, KeyboardInterrupt):
        raise error
    return Outcome(failures=[f"{lane}: its process ended ({error})"])


def _lane(lane: str, keys: Sequence[str], days: Sequence[date], said: "queue.Queue") -> Outcome:
    from city311_assets.definitions import defs

    chosen = dg.AssetSelection.assets(*(dg.AssetKey.from_user_string(key) for key in keys))
    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        return execute(
            plan(chosen, defs, days), defs, instance, lambda told: said.put((lane, told))
        )


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone: nobody waits for it any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
