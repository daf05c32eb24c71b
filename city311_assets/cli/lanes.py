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
from city311_assets.risk.targets.registry import TARGETS

WATCHED_EVERY_SECONDS = 0.2


def lanes(keys: Sequence[dg.AssetKey]) -> dict[str, list[dg.AssetKey]]:
    """Return keys by city, in the order in which cities should begin: what takes longest first.

    All of a city is in one lane: its feeds and targets share areas and weather. What belongs
    to no city is in the first.
    """
    owners = {feed.name: feed.city.name for feed in FEEDS.values()}
    owners |= {target.name: target.feed.city.name for target in TARGETS.values()}
    with_photos = {feed.city.name for feed in FEEDS.values() if feed.photo_hosts}
    of_city: dict[str, list[dg.AssetKey]] = {}
    rest = []
    for key in keys:
        name = key.path[-1]
        city = name if name in CITIES else owners.get(name)
        (rest if city is None else of_city.setdefault(city, [])).append(key)
    order = sorted(of_city, key=lambda city: (city not in with_photos, -len(of_city[city]), city))
    found = {city: of_city[city] for city in order}
    if rest:
        found.setdefault(next(iter(found), ""), []).extend(rest)
    return found


def execute_side_by_side(
    parts: Mapping[str, Sequence[dg.AssetKey]],
    days: Sequence[date],
    processes: int,
    tell: Callable[[str, Told], None],
) -> Outcome:
    """Run lanes over some days, so many at a time, telling of each step of each lane.

    DAGSTER_HOME says where their books are. A lane whose process dies is a failure of that lane,
    and of those that had not ended.
    """
    # Read by a lane's libraries when it starts: lanes would wait for each other's threads.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    context = get_context("spawn")
    started = time.monotonic()
    outcome = Outcome()
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(min(processes, len(parts)), context, _end_with, (os.getpid(),)) as pool,
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
