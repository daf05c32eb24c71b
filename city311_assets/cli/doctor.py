"""What may be wrong with an installation, asked in the order it would bite."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from city311_assets.automation.channels import channels_of
from city311_assets.automation.day_ranges import shown
from city311_assets.automation.freshness import every_feed, read_books
from city311_assets.automation.newest_copy import UnreadableError
from city311_assets.automation.schedules import RECENT_DAYS
from city311_assets.bronze.sources import Sources, origin_held
from city311_assets.clients.errors import SourceError
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.partitions import sliced_days
from city311_assets.settings import Settings, unknown_variables
from city311_assets.warehouse.extensions import ExtensionMissingError
from city311_assets.warehouse.lake import CatalogueUnreachableError
from city311_assets.warehouse.moving import is_unfinished
from city311_assets.warehouse.opening import warehouse_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import published

PACKAGES = ("dagster", "dagster-duckdb", "duckdb", "polars", "h3", "httpx")
# A record from bronze to gold, and the published copy beside it: 440 to 480 bytes a file measured
# on the sample city (benchmarks, `volume`); real notes and addresses are longer.
BYTES_PER_RECORD = 2 * 600
GIGABYTE = 1e9
PATIENCE_WITH_LAKE_SECONDS = 3.0
UNFINISHED_MOVE = (
    "a move into it began and did not end, its rows are not all there; `city311 move … "
    "--begin-again` from where they came"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: whether it is as it should be, and what was seen."""

    subject: str
    is_good: bool
    seen: str


def examine(settings: Settings, first: date | None, last: date | None) -> Iterator[Finding]:
    """Look at everything, one finding at a time."""
    yield from _settings(settings)
    yield from _versions()
    yield from _sources(settings)
    yield from _disk(settings, first, last)
    yield from _warehouse(settings)
    yield from _freshness(settings)


def _settings(settings: Settings) -> Iterator[Finding]:
    yield Finding("source", True, f"{settings.source}, days from {settings.start_date}")
    unknown = unknown_variables()
    said = f"not settings: {', '.join(unknown)}; see .env.example" if unknown else "all known"
    yield Finding("CITY311_* variables", not unknown, said)
    token = "set" if settings.socrata_app_token else "not set; portals answer without, slower"
    yield Finding("Socrata app token", True, token)
    names = ", ".join(channel.name for channel in channels_of(settings)) or "no channel"
    is_sent = settings.alerts != "send" or names != "no channel"
    yield Finding("alerts", is_sent, f"{settings.alerts}, to {names}")


def _versions() -> Iterator[Finding]:
    is_good = sys.version_info >= (3, 11)
    yield Finding("Python", is_good, sys.version.split()[0])
    for package in PACKAGES:
        yield Finding(package, True, importlib.metadata.version(package))


def _sources(settings: Settings) -> Iterator[Finding]:
    sources = Sources.of(settings.model_copy(update={"http_attempts": 1}))
    for feed in FEEDS.values():
        try:
            with sources.portal_of(feed) as portal:
                names = portal.columns()
        except SourceError as error:
            yield Finding(feed.name, False, str(error))
        else:
            strange = sorted({n for n in names if not n.startswith(":")} - set(feed.column_names))
            more = f"; undeclared: {', '.join(strange)}" if strange else ""
            yield Finding(feed.name, True, f"{feed.city.portal}/{feed.dataset} answers{more}")
    for city in CITIES.values():
        try:
            with sources.weather() as weather:
                days = weather.forecast(city, 1).height
        except SourceError as error:
            yield Finding(f"weather of {city.title}", False, str(error))
        else:
            yield Finding(f"weather of {city.title}", days > 0, "answers")


def _disk(settings: Settings, first: date | None, last: date | None) -> Iterator[Finding]:
    sliced = sliced_days()
    if not sliced:
        yield Finding("start date", False, f"{settings.start_date} lies in the future")
        return
    first = first or sliced[0]
    last = last or sliced[-1]
    days = (last - first).days + 1
    is_sample = settings.source == "sample"
    records = sum(
        settings.sample_records_per_day if is_sample else feed.records_per_day
        for feed in FEEDS.values()
    )
    needed = days * records * BYTES_PER_RECORD / GIGABYTE
    folder = next(
        p for p in (settings.data_dir, *settings.data_dir.absolute().parents) if p.exists()
    )
    free = shutil.disk_usage(folder).free / GIGABYTE
    yield Finding(
        "disk",
        free > needed,
        f"{free:.1f} GB free in {folder}; {first} to {last} takes about {needed:.1f} GB",
    )


def _warehouse(settings: Settings) -> Iterator[Finding]:
    if settings.warehouse is not None:
        yield from _lake(settings)
        return
    path = settings.warehouse_path
    if not path.exists():
        yield Finding("warehouse", True, f"{path} is not there yet; the first run makes it")
        return
    held = holders(path)
    try:
        with FileLock(f"{path}.lock", timeout=0):
            pass
    except Timeout:
        yield Finding("lock", True, f"a run has statements on {path} now: {'; '.join(held)}")
        return
    if held:
        yield Finding(
            "lock",
            False,
            f"{path} is open in {'; '.join(held)}; close it there and open "
            f"{settings.snapshot_path} instead",
        )
        return
    yield Finding("lock", True, f"{path} is free")
    if is_unfinished(Warehouse(database=str(path))):
        yield Finding("warehouse", False, UNFINISHED_MOVE)
    snapshot = published(settings.snapshot_path)
    if snapshot is None or snapshot.published_at is None:
        yield Finding("published file", False, "none yet; `city311 snapshot` publishes one")
        return
    is_newest = snapshot.data_version == settings.warehouse_path.with_suffix(".version").read_text()
    age = datetime.now(UTC).replace(tzinfo=None) - snapshot.published_at
    yield Finding(
        "published file",
        is_newest,
        f"{settings.snapshot_path}, {age.total_seconds() / 3600:.1f} h old, "
        + ("the newest write" if is_newest else "older than the warehouse: `city311 snapshot`"),
    )
    yield _origin(Warehouse(database=str(path)), settings)


def _origin(warehouse: Warehouse, settings: Settings) -> Finding:
    held = {"sample": "sample", "portal": "live"}.get(origin_held(warehouse) or "")
    return Finding(
        "origin",
        held in {None, settings.source},
        f"holds {held or 'no'} records, CITY311_SOURCE is {settings.source}",
    )


def _lake(settings: Settings) -> Iterator[Finding]:
    """Say whether the lake that the settings name can be attached, and which version it holds."""
    try:
        lake = warehouse_of(settings)
        with lake.reading(PATIENCE_WITH_LAKE_SECONDS):
            version = lake.data_version
    except (duckdb.Error, ValueError, ExtensionMissingError, CatalogueUnreachableError) as error:
        said = str(error).splitlines()[0]
        yield Finding("warehouse", False, f"the lake cannot be attached: {said}")
        return
    if is_unfinished(lake):
        yield Finding("warehouse", False, UNFINISHED_MOVE)
        return
    yield Finding("warehouse", True, f"a lake, {version or 'nothing written yet'}")
    yield _origin(lake, settings)


def _freshness(settings: Settings) -> Iterator[Finding]:
    """Say how far each feed reaches; days behind are a fault only where the nights should run."""
    warehouse = warehouse_of(settings)
    try:
        books = read_books(warehouse, settings.snapshot_path)
    except UnreadableError as error:
        yield Finding("freshness", False, str(error))
        return
    recent = date.today() - timedelta(days=RECENT_DAYS)  # noqa: DTZ011 - any clock's day will do
    for one in every_feed(FEEDS, books, datetime.now(UTC)):
        if one.newest is None:
            yield Finding(f"days of {one.feed}", True, "none yet")
            continue
        seen = f"up to {one.newest}"
        if one.days_behind:
            seen += f", {one.days_behind} days behind; the nightly runs bring the newest"
        if one.gaps:
            seen += f"; never asked for: {shown(one.gaps)}"
        yield Finding(f"days of {one.feed}", not any(day >= recent for day in one.gaps), seen)


def holders(path: Path) -> list[str]:
    """Return the processes, ours left out, that have a file open; Linux only, elsewhere nothing."""
    found = []
    wanted = {str(path.absolute()), f"{path.absolute()}.lock"}
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            opened = {str(handle.readlink()) for handle in (process / "fd").iterdir()}
            if opened & wanted:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(f"process {process.name} ({command.strip()[:80]})")
        except OSError:
            # It ended meanwhile, or belongs to somebody else.
            continue
    return sorted(found)
