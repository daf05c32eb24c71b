"""Millions of New York's requests through bronze and silver to all of gold, in the native file.

A run brings a calendar month of days, as a backfill's chunks do: each table by its own asset, with
its checks, and then the month's tables.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path

import dagster as dg
import polars as pl

from benchmarks.growth import store_boundaries
from benchmarks.measuring import Cost, Effort, metered, run, say
from benchmarks.report import FLAT_WITHIN, Row, flatness, verdict
from city311_assets.bronze.records import records
from city311_assets.bronze.sources import RecordSource, Sources
from city311_assets.clients.socrata import Answer, parse_pages
from city311_assets.feeds.feed import ROW_CREATED_AT, ROW_ID, ROW_UPDATED_AT, Feed
from city311_assets.feeds.nyc_311 import NEW_YORK, NYC_311
from city311_assets.gold.anomalies import anomalies
from city311_assets.gold.cell_day_rates import cell_day_rates
from city311_assets.gold.cell_days import cell_days
from city311_assets.gold.cell_months import cell_months
from city311_assets.gold.cell_profiles import cell_profiles
from city311_assets.gold.cells import cells
from city311_assets.gold.forecast_scores import forecast_scores
from city311_assets.gold.forecasts import forecasts
from city311_assets.gold.hotspots import hotspots
from city311_assets.partitions import range_tags
from city311_assets.sample_city.records import day_records
from city311_assets.silver.requests import requests
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.registry import TABLES

FIRST = date(2025, 1, 1)
PER_DAY = 16_000
# Of the full size: 625 days.
ROWS, TIMES = 625_000, (1, 4, 16)
MOST_MEGABYTES = 4_000.0
MOST_ROWS = 40_000_000
# What the generator makes; the days after are these again, so many weeks later.
MADE_DAYS, SEED = 7, 311
NOW = datetime(2026, 11, 1)  # noqa: DTZ001 - UTC without a zone, as the warehouse keeps it
STAMPS = (ROW_CREATED_AT, ROW_UPDATED_AT)
SPREAD_DEGREES = 0.001
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
DAILY = {
    "bronze": (records,),
    "silver": (requests,),
    "cell_days": (cell_days,),
    "cell_day_rates": (cell_day_rates,),
    "outlook": (forecasts, forecast_scores, anomalies),
}
MONTHLY = {
    "cell_months": (cell_months,),
    "cell_profiles": (cell_profiles,),
    "hotspots": (hotspots,),
}


def days_between(start: date, end: date) -> list[date]:
    """Return the days from `start` up to, not including, `end`."""
    return [start + timedelta(days=number) for number in range((end - start).days)]


def make_days(folder: Path) -> None:
    """Write the days that the generator makes, of 16,000 requests each."""
    folder.mkdir()
    for number in range(MADE_DAYS):
        day = FIRST + timedelta(days=number)
        made = day_records(NYC_311, day, seed=SEED, records_per_day=PER_DAY)
        made.select(*STAMPS, ROW_ID, *NYC_311.column_names).write_parquet(
            folder / f"{number}.parquet"
        )


def write_page(folder: str, day: date, page: Path) -> int:
    """Write a day as a page of the portal, and return how many rows it has.

    It is a made day, weeks later, with numbers of its own. Its points lie about a hundred metres
    beside those of the made day: else a longer time would have no more cells than a month.
    """
    since = (day - FIRST).days
    lap, number = divmod(since, MADE_DAYS)
    made = pl.read_parquet(f"{folder}/{number}.parquet")
    by = timedelta(days=lap * MADE_DAYS)
    noise = pl.Series(range(made.height)).shuffle(seed=since).cast(pl.Float64) / made.height - 0.5
    local = [n for n in NYC_311.column_names if n.endswith("_date")]
    zulu = pl.col(STAMPS).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ") + by
    walls = pl.col(local).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3f") + by
    places = [NYC_311.fields[name] for name in ("latitude", "longitude")]
    shifted = made.with_columns(
        zulu.dt.to_string("%Y-%m-%dT%H:%M:%S%.3fZ"),
        walls.dt.to_string("%Y-%m-%dT%H:%M:%S%.3f"),
        pl.format("{}-{}", ROW_ID, pl.lit(lap)).alias(ROW_ID),
        pl.format("{}{}", pl.lit(lap + 1), NYC_311.record_id).alias(NYC_311.record_id),
        *(
            (pl.col(name).cast(pl.Float64) + sign * SPREAD_DEGREES * noise).cast(pl.String)
            for name, sign in zip(places, (1, -1), strict=True)
        ),
    )
    shifted.write_json(page)
    return shifted.height


@dataclass(frozen=True)
class Pages:
    """Answers from pages by day, as a portal's client does once it has fetched them."""

    folder: Path

    def records(self, start: date, end: date) -> Answer:
        """Return the rows of the pages of some days."""
        files = [str(self.folder / f"{day}.json") for day in days_between(start, end)]
        return Answer(parse_pages(files, NYC_311.column_names), NOW, ())

    def counts_by_day(self, start: date, end: date) -> Mapping[date, int]:
        """Return how many rows there are, by day; of one it knows when its page is written."""
        counts = json.loads((self.folder / "counts").read_text())
        return {day: counts[str(day)] for day in days_between(start, end)}


class Written(Sources):
    """Sources of one feed, from pages in a folder."""

    folder: str

    def records_of(self, feed: Feed) -> AbstractContextManager[RecordSource]:  # noqa: ARG002 - one feed
        """Return the pages."""
        return nullcontext(Pages(Path(self.folder)))


@dataclass(frozen=True)
class Graph:
    """What runs the assets of New York's feed, a part of them at a time."""

    warehouse: Warehouse
    sources: Written
    instance: dg.DagsterInstance

    def make(self, part: str, declared: Sequence, tags: Mapping[str, str], month: str = "") -> None:
        """Run assets with their checks, and say what that costs."""
        assets = [one for declare in declared for one in declare(NYC_311)]
        with metered(part):
            dg.materialize(
                assets,
                instance=self.instance,
                resources={"warehouse": self.warehouse, "sources": self.sources},
                tags=tags,
                partition_key=month or None,
                run_config=QUIET,
            )


def ours(folder: str, days: str, told: str) -> None:
    """Bring so many days in, month by month; write to `told` what they came to."""
    warehouse, pages = Warehouse(database="warehouse.duckdb"), Path("pages")
    pages.mkdir()
    store_boundaries(warehouse, NEW_YORK)
    rows = 0
    with dg.DagsterInstance.ephemeral() as instance:
        graph = Graph(warehouse, Written(origin="sample", folder=str(pages)), instance)
        graph.make("cells", [cells], {})
        wanted = days_between(FIRST, FIRST + timedelta(days=int(days)))
        for month, of_month in groupby(wanted, key=lambda day: day.replace(day=1)):
            chunk = [*of_month]
            counts = {str(day): write_page(folder, day, pages / f"{day}.json") for day in chunk}
            (pages / "counts").write_text(json.dumps(counts))
            rows += sum(counts.values())
            for part, declared in DAILY.items():
                graph.make(part, declared, range_tags(chunk[0], chunk[-1]))
            for part, declared in MONTHLY.items():
                graph.make(part, declared, {}, str(month))
            for page in pages.iterdir():
                page.unlink()
            say(f"    {month:%Y-%m}: {rows:,} rows")
    warehouse.settle()
    held = {
        str(table): warehouse.read(f"select count(*) from {table}", tables=[table]).item()
        for table in TABLES
        if table.layer in {"bronze", "silver", "gold"}
    }
    size = warehouse.path.stat().st_size
    Path(told).write_text(json.dumps({"rows": rows, "bytes": size, "held": held}))


@dataclass(frozen=True)
class Size:
    """What so many rows came to: costs by part, and what the warehouse is then."""

    rows: int
    bytes: int
    held: Mapping[str, int]
    costs: Sequence[Cost]

    def seconds(self, *parts: str, wall: bool = False) -> float:
        """Return the CPU-seconds, or those of the clock, of some parts together, or of all."""
        chosen = [cost for cost in self.costs if cost.part in parts or not parts]
        return sum(cost.wall if wall else cost.cpu for cost in chosen)

    def raised(self, part: str) -> float:
        """Return the MB by which a part raised the peak, all its runs together."""
        return sum(cost.peak - cost.peak_before for cost in self.costs if cost.part == part)

    @property
    def peak(self) -> float:
        """MB, imports and pages included."""
        return self.costs[-1].peak


def sizes(folder: Path, rows: int, times: Sequence[int]) -> list[Size]:
    """Measure multiples of so many rows, each once."""
    say("  making the days that are repeated")
    make_days(folder / "made")
    found = []
    for multiple in times:
        days = max(round(multiple * rows / PER_DAY), 1)
        told = folder / f"{multiple}.json"
        costs = run(partial(ours, str(folder / "made"), str(days), str(told)))
        found.append(size := Size(**json.loads(told.read_text()), costs=costs))
        say(f"  {size.rows:,} rows: {size.seconds():.0f} CPU-s, {size.peak:,.0f} MB")
    return found


def table(found: Sequence[Size]) -> list[Row]:
    """Return what was measured, a line a size, the parts of the largest, what more takes."""
    rows, smallest, largest = [], found[0], found[-1]
    for size in found:
        micros, first = (1e6 * one.seconds() / one.rows for one in (size, smallest))
        disk, disk_first = (one.bytes / one.rows for one in (size, smallest))
        is_low = size.peak <= MOST_MEGABYTES
        rows.append(
            Row(
                "New York's requests: pages → bronze → silver → gold, with their checks",
                f"{size.rows:,} rows, once",
                f"{size.seconds():,.0f} CPU-s, {size.seconds(wall=True):,.0f} s; "
                f"{micros:.0f} CPU-µs a row; {size.peak:,.0f} MB; "
                f"{disk:,.0f} MB of disk a million rows",
                target=f"≤ {MOST_MEGABYTES:,.0f} MB; CPU and disk a row flat within "
                f"{FLAT_WITHIN:.0%}",
                met=f"{verdict(is_low)}; CPU {flatness(micros, first)}, "
                f"disk {flatness(disk, disk_first)}",
            )
        )
    for part in dict.fromkeys(cost.part for cost in largest.costs):
        micros = [f"{1e6 * size.seconds(part) / size.rows:.1f}" for size in found]
        rows.append(
            Row(
                f"- of which {part}",
                f"{largest.rows:,} rows",
                f"{largest.seconds(part):,.0f} CPU-s; {' → '.join(micros)} CPU-µs a row; "
                f"raised the peak by {largest.raised(part):,.0f} MB",
            )
        )
    return [*rows, *_more(found)]


def _more(found: Sequence[Size]) -> list[Row]:
    """Return what 40 million rows would take: the last two sizes, drawn out in a straight line."""
    if len(found) < 2:
        return []
    before, last = found[-2:]

    def drawn_out(value_before: float, value: float) -> float:
        slope = (value - value_before) / (last.rows - before.rows)
        return value + slope * (MOST_ROWS - last.rows)

    cpu = drawn_out(before.seconds(), last.seconds())
    disk = drawn_out(before.bytes, last.bytes) / 1e9
    peak = drawn_out(before.peak, last.peak)
    return [
        Row(
            "- by the slope of the last two sizes",
            f"{MOST_ROWS:,} rows",
            f"{cpu / 60:,.0f} CPU-minutes, {disk:,.1f} GB of disk, {peak:,.0f} MB of memory",
        )
    ]


def measure(effort: Effort, folder: Path) -> list[Row]:
    return table(sizes(folder, ROWS // effort.divisor, effort.times or TIMES))
