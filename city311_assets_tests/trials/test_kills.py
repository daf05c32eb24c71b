"""`kill -9` at random moments of writing and publishing, while the days change between kills."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from city311_assets.bronze.sources import Sources
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish, published
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS, REQUESTS
from city311_assets_tests.portals import Portals
from city311_assets_tests.trials.writing import FIRST, LAST, make

pytestmark = pytest.mark.trial

KILLS = 60
PART = Slice("sf_311", FIRST, LAST.replace(day=LAST.day + 1))
TABLES = (RECORDS["sf_311"], REQUESTS, REJECTED_RECORDS)
Hashes = dict[tuple[str, str], tuple[int, int]]


def version(number: int) -> list[dict[str, str | None]]:
    """Return what the portal holds: of two versions each day has other rows, some on other days."""
    draws = random.Random(number)
    cases = []
    for index in range(3_000):
        day = list(PART.days)[index % 10 if index % 50 else (index + number) % 10]
        if draws.random() < 0.05:
            continue
        cases.append(
            {
                "service_request_id": str(index) if index % 100 else None,
                "requested_datetime": f"{day}T09:00:00.000",
                "service_name": "Graffiti",
                "status_notes": f"version {number}",
                "lat": "37.77",
                "long": "-122.42",
            }
        )
    return [{":id": f"row-{n}", **case} for n, case in enumerate(cases)]


def hashes(warehouse: Warehouse) -> Hashes:
    """Return the content of every day of every table."""
    return {
        (str(table), str(day)): warehouse.content_hash(table, PART.day(day))
        for table in TABLES
        for day in PART.days
    }


def torn(found: Hashes, versions: list[Hashes]) -> list[tuple[str, str]]:
    """Return the slices that are neither empty nor one of the versions."""
    return [key for key, held in found.items() if held not in [(0, 0), *(v[key] for v in versions)]]


def process(warehouse: Warehouse, portal: Portals, path: Path) -> subprocess.Popen[str]:
    """Start the writing process, and wait until it has begun."""
    command = [sys.executable, "-m", "city311_assets_tests.trials.writing", warehouse.database]
    started = subprocess.Popen(
        [*command, portal.url, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "CITY311_START_DATE": "2026-01-01"},
    )
    assert started.stdout
    assert started.stdout.readline() == "ready\n"
    return started


def kill(writing: subprocess.Popen[str]) -> None:
    assert writing.poll() is None
    writing.kill()
    writing.wait()
    assert writing.stdout
    writing.stdout.close()


def sources(portal: Portals) -> Sources:
    return Sources(origin="portal", portal_url=f"{portal.url}/portals/{{portal}}", attempts=1)


def test_a_process_killed_at_sixty_moments_leaves_whole_slices_only(
    tmp_path: Path, portal: Portals, trial
):
    """Bronze, silver and publication in a loop, killed at 60 random moments while the portal
    changes between two versions: every day of every table is one version or the other, the books
    agree with bronze, the published file opens with whole days, and a re-run gives the exact
    content."""
    versions = []
    for number in (1, 2):
        calm = Warehouse(database=str(tmp_path / f"calm{number}" / "warehouse.duckdb"))
        portal.publish(SF_311, *version(number))
        make(calm, sources(portal))
        versions.append(hashes(calm))
    assert all(a != b for a, b in zip(*(v.values() for v in versions), strict=True) if a[0])
    warehouse = Warehouse(database=str(tmp_path / "torn" / "warehouse.duckdb"))
    path = tmp_path / "published" / "city311.duckdb"
    moments, mixed, unpublished = random.Random(311), 0, 0
    started = time.monotonic()
    for number in range(KILLS):
        portal.publish(SF_311, *version(number % 2 + 1))
        writing = process(warehouse, portal, path)
        time.sleep(moments.uniform(0, 2.5))
        kill(writing)
        found = hashes(warehouse)
        assert not torn(found, versions)
        mixed += len({found[key] == versions[0][key] for key in found}) == 2
        assert disagreeing(warehouse) == []
        if published(path) is None:
            unpublished += 1
        else:
            copy = Warehouse(database=str(path))
            assert not torn(hashes(copy), versions)
    # Else the kills hit nothing.
    assert mixed > KILLS / 10
    for number in (1, 2):
        portal.publish(SF_311, *version(number))
        make(warehouse, sources(portal))
        assert hashes(warehouse) == versions[number - 1]
    rows = {str(table): warehouse.content_hash(table, PART)[0] for table in TABLES}
    trial.found(
        kills=KILLS,
        warehouses_found_between_two_versions=mixed,
        before_the_first_publication=unpublished,
        rows=", ".join(f"{count:,} {name}" for name, count in rows.items()),
        seconds_a_kill=round((time.monotonic() - started) / KILLS, 1),
    )
    shutil.rmtree(tmp_path)


def disagreeing(warehouse: Warehouse) -> list[tuple]:
    """Return the days of which the books say another number of rows than bronze holds."""
    held = warehouse.read(
        f"select b.day, b.rows, s.rows from (select day, count(*) as rows from {RECORDS['sf_311']} "
        f"group by day) as b full join {SLICES} as s using (day) where b.rows is distinct from "
        "nullif(s.rows, 0)",
        tables=(RECORDS["sf_311"], SLICES),
    )
    return held.rows()


PUBLISHING = """
import sys
from pathlib import Path
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
warehouse = Warehouse(database=sys.argv[1])
sys.stdout.write("ready\\n")
sys.stdout.flush()
while True:
    with warehouse.transaction() as session:
        session.run("update bronze.sf_311 set fetched_at = now()::timestamp")
    publish(warehouse, Path(sys.argv[2]))
"""


def test_a_publication_killed_at_sixty_moments_never_loses_the_published_file(
    tmp_path: Path, portal: Portals, trial
):
    """A loop of one update and one publication, killed at 60 random moments: the published file is
    there, opens, and is whole after each; what a kill leaves beside it is swept away."""
    warehouse = Warehouse(database=str(tmp_path / "warehouse" / "warehouse.duckdb"))
    path = tmp_path / "city311.duckdb"
    portal.publish(SF_311, *version(1))
    make(warehouse, sources(portal))
    publish(warehouse, path)
    wanted, moments, left = hashes(warehouse), random.Random(311), 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", PUBLISHING, warehouse.database, str(path)]
        writing = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writing.stdout
        assert writing.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0, 0.6))
        kill(writing)
        left += bool(list(path.parent.glob(".publishing-*")))
        with duckdb.connect(str(path), read_only=True) as reader:
            assert reader.sql("select count(*) from meta.publications").fetchall() == [(1,)]
            assert reader.sql("select count(*) from requests").fetchall()[0][0] > 2_000
        assert hashes(warehouse) == wanted
    for folder in path.parent.glob(".publishing-*"):
        os.utime(folder, (0, 0))
    with warehouse.transaction() as session:
        session.run("update bronze.sf_311 set fetched_at = now()::timestamp")
    publish(warehouse, path)
    assert list(path.parent.glob(".publishing-*")) == []
    trial.found(kills=KILLS, of_them_in_the_middle_of_a_publication=left)
