"""A month of nights with all that goes wrong in one, against a graph made in one go afterwards."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from statistics import median

import duckdb
import pytest

from city311_assets.feeds.chicago_311 import CHICAGO
from city311_assets.feeds.nyc_311 import NYC_311
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.sample_city.server import SampleCity, serving
from city311_assets.warehouse.tables.bronze import RECORDS, WITHDRAWN_RECORDS
from city311_assets.warehouse.tables.gold import CELL_MONTHS
from city311_assets.warehouse.tables.silver import WEATHER_DAYS
from city311_assets_tests.trials.comparing import compared
from city311_assets_tests.trials.daemon import SETTINGS
from city311_assets_tests.trials.disk import Disk, disk
from city311_assets_tests.trials.revised_portals import RevisedPortals

pytestmark = pytest.mark.trial

RECORDS_PER_DAY = 12
SEED = 311
LAYERS = "group:bronze or group:silver or group:gold or group:risk"
# All days since then are made first. When a portal reloads they are more than the 62 below which
# nothing is called a reload; weekly runs ask for none before.
START = date(2025, 9, 1)
# The clocks go back on Sunday 2 November. The last morning is a Saturday's: what weekly runs repair
# has not been repaired again.
LAST_MORNING = date(2025, 11, 15)
# A later one makes fewer nights, of the same end.
FIRST_MORNING = date.fromisoformat(os.environ.get("CITY311_TEST_FIRST_MORNING", "2025-10-17"))
MORNINGS = [
    FIRST_MORNING + timedelta(days=n) for n in range((LAST_MORNING - FIRST_MORNING).days + 1)
]
KILLED = {date(2025, 10, 20), date(2025, 11, 7)}
DISK_FULL = date(2025, 10, 30)
RELOADED = date(2025, 11, 5)
CLOCK_SLOW, CLOCK_FAST = date(2025, 10, 24), date(2025, 11, 11)
# The last night is calm: before its first schedule the city's clock stops and the host's with it,
# so that nights and a build observe the same of the newest days.
BEFORE_SCHEDULES, BEFORE_SENSORS = time_of_day(7, 25), time_of_day(12, 5)
STANDS_AT = datetime(2025, 11, 15, 8, 25, tzinfo=UTC)
# A reload is told and not asked for: days that nothing else asked for keep the ids and stamps that
# rows had before it.
OF_THE_PORTALS_BOOKS = frozenset({"row_id", "row_created_at", "row_updated_at"})
# How long a case that is still open has waited is known up to when its day was last asked for.
OF_WHEN_IT_WAS_ASKED = frozenset({"median_hours_to_close", "p90_hours_to_close"})
WITHOUT = {
    str(RECORDS["nyc_311"]): OF_THE_PORTALS_BOOKS,
    str(CELL_MONTHS): OF_WHEN_IT_WAS_ASKED,
}
# Of days that the archive does not know yet there are forecasts, which cannot be had again.
ONLY = {str(WEATHER_DAYS): "source = 'archive'"}
# What looks back over days or months is made with its own day, and again by the weekly refresh: a
# change of an older day has not reached it yet. Made again from what the nights left, it is equal.
LOOK_BACK = (
    *("gold.cells", "gold.forecasts", "gold.forecast_scores", "gold.anomalies"),
    *("risk.cell_days", "risk.outcomes"),
)
REMADE = " or ".join(f'key:"{name.replace(".", "/")}/*"' for name in LOOK_BACK)
# What was said at its time stays, whatever became known later; or it cannot be had again.
SAID_AT_ITS_TIME = (
    *("bronze.withdrawn_records", "bronze.weather_forecasts"),
    *("risk.models", "risk.evaluations", "risk.scores", "risk.costs"),
    *("risk.recommendations", "risk.ward_coverage", "meta.check_results"),
)
EXPLAINED = {*LOOK_BACK, *SAID_AT_ITS_TIME}
# Read while the clock was fast, and changed again after it was set right; nothing reads it later.
CHANGED_TWICE = date(2025, 10, 2)


def out(**about: str) -> dict[str, str | int]:
    """Return the fault of a service that is out."""
    return {"kind": "status", "status": 503, "message": "out of service", **about}


EVERY_PORTAL = [out(portal=city.portal) for city in CITIES.values()]
OUTAGES = {
    date(2025, 10, 21): [out(portal=SF_311.city.portal)],
    # A Sunday: the weekly run is lost too.
    date(2025, 10, 26): [out(portal=CHICAGO.portal)],
    date(2025, 11, 3): [out(service="weather")],
    date(2025, 11, 6): [*EVERY_PORTAL, out(service="weather")],
}


@dataclass
class Lane:
    """A process of the month: what it was told to do and what it said."""

    name: str
    process: subprocess.Popen[str]
    log: Path

    def do(self, what: Mapping[str, str], killed_in: float | None) -> tuple[list[dict], bool]:
        """Let it do something, or kill it so many seconds later.

        Returns what it said, and whether it came to its end.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        if killed_in is not None:
            time.sleep(killed_in)
            self.process.kill()
        said: list[dict] = []
        for line in self.process.stdout:
            with self.log.open("a") as log:
                log.write(line)
            said.append(json.loads(line))
            if "ended" in said[-1]:
                return said, True
        with self.log.open("a") as log:
            log.write(json.dumps({"by": self.name, "code": self.process.wait()}) + "\n")
        self.process.communicate()
        return said, False


@dataclass
class House:
    """An installation, and the processes that work in it; Dagster's books lie elsewhere."""

    folder: Path
    home: Path
    url: str
    log: Path
    lanes: dict[str, Lane] = field(default_factory=dict)
    said: list[dict] = field(default_factory=list)
    crashes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)
        self.folder.mkdir(parents=True)
        shutil.copy(SETTINGS, self.home)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CITY311_", "DAGSTER_"))}
        return kept | {
            "CITY311_SOURCE": "live",
            "CITY311_START_DATE": str(START),
            "CITY311_DATA_DIR": str(self.folder),
            "DAGSTER_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    @property
    def file(self) -> Path:
        """The warehouse's file."""
        return self.folder / "warehouse" / "warehouse.duckdb"

    def megabytes(self, path: Path) -> float:
        """Return the size of a file, or of all in a folder."""
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        return sum(one.stat().st_size for one in files) / 1e6

    def lane(self, name: str) -> Lane:
        """Return a lane's process, started where there is none."""
        if name not in self.lanes:
            with self.log.with_suffix(f".{name}.err").open("a") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-m", "city311_assets_tests.trials.one_night", name, self.url],
                    cwd=Path(__file__).parents[2],
                    env=self.environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
            self.lanes[name] = Lane(name, process, self.log)
        return self.lanes[name]

    def do(self, name: str, what: Mapping[str, str], killed_in: float | None = None) -> bool:
        """Let a lane do something; return whether it came to its end."""
        said, is_done = self.lane(name).do(what, killed_in)
        self.said += said
        if not is_done:
            del self.lanes[name]
        return is_done

    def stop(self) -> None:
        """End its processes."""
        for lane in self.lanes.values():
            lane.process.communicate(timeout=60)
        self.lanes.clear()

    @property
    def runs(self) -> list[dict]:
        """Every run that came to an end, good or bad."""
        return [one for one in self.said if "succeeded" in one]


@dataclass
class Month:
    """The city, its portals, and the house that lives through the month."""

    city: SampleCity
    portals: RevisedPortals
    house: House
    disk: Disk
    reached: datetime
    growth: list[tuple[float, float]] = field(default_factory=list)
    nights: list[tuple[float, float]] = field(default_factory=list)

    def night(self, morning: date) -> None:
        """Let a night pass, with what is to go wrong in it."""
        started, before = time.monotonic(), len(self.house.said)
        until = datetime(morning.year, morning.month, morning.day, 16, 30, tzinfo=UTC)
        news = until.replace(hour=2, minute=0)
        if until < STANDS_AT:
            self.portals.revise(news)
        self.city.plan_faults(OUTAGES.get(morning, []))
        if morning == RELOADED:
            self.portals.reload(NYC_311, news)
        if morning == CLOCK_FAST:
            self._with_fast_clock(news, until)
        elif morning == CLOCK_SLOW:
            self._pass(until + timedelta(hours=5), -5)
        elif morning == DISK_FULL:
            self._with_full_disk(until)
        elif morning in KILLED:
            draw = random.Random(f"311 {morning}")
            self._pass(until, killed={draw.choice([*FEEDS]): draw.uniform(0.5, 3)})
        else:
            self._pass(until)
        self.city.plan_faults([])
        house = self.house
        self.growth.append((house.megabytes(house.home), house.megabytes(house.file)))
        cpu = sum(one["cpu"] for one in house.said[before:] if "ended" in one)
        self.nights.append((round(time.monotonic() - started, 1), round(cpu, 1)))

    def _with_fast_clock(self, news: datetime, until: datetime) -> None:
        """Let the host's clock be seven hours fast, and set it right in the morning."""
        for feed in FEEDS.values():
            self.portals.change(feed, CHANGED_TWICE, 0, news - timedelta(hours=2))
        right = until - timedelta(hours=7)
        self._pass(right, 7)
        for feed in FEEDS.values():
            self.portals.change(feed, CHANGED_TWICE, 1, right + timedelta(minutes=30))
        self._pass(until)

    def _with_full_disk(self, until: datetime) -> None:
        """Let the disk be full while the night's records come in, and have room again later."""
        begun = len(self.house.said)
        processes = [self.house.lane(name).process.pid for name in FEEDS]
        with self.disk.nearly_full(self.house.file, processes):
            ended = self._lanes(until.replace(hour=12, minute=0), timedelta(), BEFORE_SCHEDULES)
        failed = [one for one in self.house.said[begun:] if not one.get("succeeded", True)]
        assert failed or not all(ended.values())
        self._pass(until)

    def _pass(
        self, until: datetime, skew: float = 0, killed: Mapping[str, float] | None = None
    ) -> None:
        """Let the rest of a night pass by a clock that is so many hours fast."""
        by = timedelta(hours=skew)
        noon = until - timedelta(hours=4, minutes=30)
        if killed:
            ended = self._lanes(noon, by, BEFORE_SCHEDULES, killed)
            assert not any(ended[name] for name in killed)
        self._lanes(noon, by, BEFORE_SCHEDULES)
        self.reached = noon
        self._lanes(until, by, BEFORE_SENSORS)
        self.house.do("rest", _span(until - timedelta(days=1), until, by))
        self.reached = until

    def _lanes(
        self,
        until: datetime,
        skew: timedelta,
        city: time_of_day,
        killed: Mapping[str, float] | None = None,
    ) -> dict[str, bool]:
        """Let every feed's lane go on to an instant, side by side; return which came to its end.

        Meanwhile the city's clock stands, where the host's is at a time before anything happens.
        """
        stands = datetime.combine((until + skew).date(), city, UTC) - skew
        self.city.now = STANDS_AT if until.date() == STANDS_AT.date() else stands
        what, moments = _span(self.reached, until, skew), killed or {}
        with ThreadPoolExecutor(len(FEEDS)) as pool:
            doing = {
                name: pool.submit(self.house.do, name, what, moments.get(name)) for name in FEEDS
            }
            return {name: one.result() for name, one in doing.items()}


def _span(after: datetime, until: datetime, skew: timedelta) -> dict[str, str]:
    """Return the command to let a span of the host's clock pass."""
    span = {"after": str(after + skew), "until": str(until + skew)}
    return {"do": "night", "stops_at": str(STANDS_AT + skew), **span}


def test_a_month_of_nights_ends_as_a_build_from_the_final_truth(tmp_path: Path, trial):
    """Thirty nights of every feed, city and target as schedules, sensors and conditions ask for
    them, a process a feed: the last eight days, old days that changed, months, weekly refreshes,
    risk. Every night old records change, come late, are withdrawn, move to another day. Portals
    are out for a night, once on a Sunday, the weather for one, everything for one; New York loads
    its dataset anew; the clocks go back; a disk is full; two runs are killed; the host's clock is
    five hours slow one night and seven fast another. In the end every table is compared with a
    graph built in one go from what the portals say then."""
    kept = os.environ.get("CITY311_TEST_NIGHTS", str(tmp_path / "kept"))
    Path(kept).mkdir(parents=True, exist_ok=True)
    log = Path(kept) / "nights.jsonl"
    begin = datetime.combine(FIRST_MORNING - timedelta(days=1), time_of_day(16, 30), UTC)
    city = SampleCity(SEED, RECORDS_PER_DAY, begin, START)
    portals = RevisedPortals.of(city.clock, RECORDS_PER_DAY, START, START, SEED)
    city.datasets = portals.by_place
    days = {"do": "build", "first": str(START), "stops_at": str(STANDS_AT)}
    with serving(city) as served, disk(tmp_path / "disk") as own:
        house = House(own.folder / "data", tmp_path / "nights", served.url, log)
        first = {"last": str(FIRST_MORNING - timedelta(days=2)), "at": str(begin)}
        assert house.do("rest", {**days, **first, "selection": LAYERS})
        month = Month(city, portals, house, own, begin)
        for morning in MORNINGS:
            month.night(morning)
        peak = max(one["peak_mb"] for one in house.said if "ended" in one)
        fresh = House(tmp_path / "fresh" / "data", tmp_path / "once", served.url, log)
        last = {"last": str(LAST_MORNING - timedelta(days=1)), "at": str(month.reached)}
        assert fresh.do("rest", {**days, **last, "selection": LAYERS})
        fresh.stop()
        shutil.copy(house.file, f"{kept}/nights.duckdb")
        shutil.copy(fresh.file, f"{kept}/fresh.duckdb")
        runs = house.runs
        assert house.do("rest", {**days, **last, "selection": REMADE})
        house.stop()
        shutil.copy(house.file, f"{kept}/remade.duckdb")
    nights, anew = Path(kept) / "nights.duckdb", Path(kept) / "fresh.duckdb"
    found = compared(nights, anew, WITHOUT, ONLY)
    remade = compared(Path(kept) / "remade.duckdb", anew, WITHOUT, ONLY)
    unexplained = {name: str(one) for name, one in found.items() if one and name not in EXPLAINED}
    still = {name: str(remade[name]) for name in LOOK_BACK if remade[name]}
    causes = Counter(_in_short(run["error"]) for run in runs if not run["succeeded"])
    ticks = Counter(one["by"] for one in house.said if "tick_failed" in one)
    wall, cpu = ([night[i] for night in month.nights] for i in (0, 1))
    events, file = ([size[i] for size in month.growth] for i in (0, 1))
    trial.found(
        nights=len(month.nights),
        runs=len(runs),
        failed_runs_by_cause=", ".join(f"{n} {cause}" for cause, n in causes.most_common()),
        failed_ticks=", ".join(f"{n} {name}" for name, n in ticks.items()),
        the_full_disk_said=own.error,
        at_the_portals=", ".join(f"{n} {name}" for name, n in portals.done.items()),
        seconds_a_night=f"{median(wall):.0f} (at most {max(wall):.0f})",
        cpu_seconds_a_night=f"{median(cpu):.0f} (at most {max(cpu):.0f})",
        peak_megabytes_of_a_process=peak,
        event_storage_megabytes=f"{events[0]:.0f} after a night, {events[-1]:.0f} after the last",
        file_megabytes=f"{file[0]:.0f} after a night, {file[-1]:.0f} after the last",
        tables_equal=sum(not one for one in found.values()),
        tables_that_are_not=", ".join(f"{n}: {one}" for n, one in found.items() if one),
        equal_once_made_again=", ".join(name for name in LOOK_BACK if not remade[name]),
    )
    assert (unexplained, still) == ({}, {})
    assert withdrawn_that_are_there(nights, anew) == []


def _in_short(error: str) -> str:
    step, _, said = error.partition(": ")
    return f"{step.rpartition('_')[0] or step}: {said[:80]}"


def withdrawn_that_are_there(nights: Path, fresh: Path) -> list[tuple]:
    """Return withdrawn records that the portal returns for their day, or that moved nowhere."""
    with duckdb.connect() as conn:
        conn.execute(f"attach '{nights}' as nights (read_only)")
        conn.execute(f"attach '{fresh}' as fresh (read_only)")
        return [
            found
            for name, table in RECORDS.items()
            for found in conn.execute(
                f"select * exclude (row) from nights.{WITHDRAWN_RECORDS} as gone "
                f"join fresh.{table} as held using (feed, record_id) where feed = '{name}' "
                "and (gone.day = held.day or gone.moved_to_day is distinct from held.day)"
            ).fetchall()
        ]
