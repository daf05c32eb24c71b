"""A published file with maps and effects of February and March 2026, for the pages about months.

Planted in March: the rows of `atlases` and `effects`, of 120 cases. Case `c0007` has a caption, a
kind and a neighbourhood that a careless page would run, and its cluster such a name. February has
the first three clusters and one of its own, `FALLEN`, which died; its cases are those of March with
an even number. In February Quarter 0 is not shown to take longer.
"""

import copy
import datetime as dt
from pathlib import Path

import duckdb
import h3.api.basic_int as h3
import polars as pl

from city311_assets.warehouse.resource import CONNECTION
from city311_assets.warehouse.tables.atlas import (
    CAPTIONS,
    CLUSTER_EVENTS,
    CLUSTER_NAMES,
    CLUSTERS,
    PROJECTIONS,
)
from city311_assets.warehouse.tables.causal import ATT, DESIGN, MATCHED_PAIRS
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.serving.atlases import (
    FEED,
    FIRST_CLUSTER,
    MONTH,
    NAMES,
    Rows,
    atlas_rows,
    draw_thumbnails,
    write_snapshot,
)
from city311_assets_tests.serving.effects import effects_rows

FEBRUARY = dt.date(2026, 2, 1)
HOSTILE = "<img src=x onerror=alert(1)> & *stars* [a](javascript:alert(1))"
HOSTILE_CASE = "c0007"
HOSTILE_CLUSTER = FIRST_CLUSTER + 3
FALLEN, FALLEN_CLUSTER = "Fallen trees", FIRST_CLUSTER + 50
CASES = 120
EVEN = "02468"
PUBLISHED = """
    create schema if not exists meta;
    create table meta.publications as select 'v1' as data_version,
        timestamp '2026-04-02 03:04:05' as published_at, []::varchar[] as slices_in_flight
"""


def rows() -> Rows:
    """Return the rows of both months, and the cells of the cases."""
    names = (*NAMES[:3], HOSTILE)
    atlas = atlas_rows(CASES, names)
    number = int(HOSTILE_CASE.removeprefix("c"))
    atlas[REQUESTS][number] |= {"kind": HOSTILE, "neighborhood": HOSTILE}
    atlas[CAPTIONS][number]["caption"] = HOSTILE
    march = atlas | effects_rows(atlas)
    february: Rows = {
        table: [{**row, "month": FEBRUARY} for row in copy.deepcopy(given)]
        for table, given in march.items()
        if any("month" in row for row in given)
    }
    for table in (PROJECTIONS, CLUSTERS):
        february[table] = [row for row in february[table] if row["record_id"][-1] in EVEN]
    for row in february[PROJECTIONS]:
        row["nearest_ids"] = ["c0002", "c0004", "c0011"]
    fallen = february[CLUSTER_NAMES].pop()
    fallen |= {"cluster_id": FALLEN_CLUSTER, "name": FALLEN, "size": 3, "exemplar_ids": []}
    february[CLUSTER_NAMES].append(fallen)
    february[CLUSTER_EVENTS] = []
    march[CLUSTER_EVENTS].append(
        {
            "feed": FEED,
            "month": MONTH,
            "event": "death",
            "cluster_id": FALLEN_CLUSTER,
            "other_ids": [FIRST_CLUSTER],
            "shared_cases": 2,
            "size": 3,
        }
    )
    for row in february[ATT]:
        if row["neighborhood"] == "Quarter 0" and row["is_headline"]:
            row |= {"att_hours": 3.0, "low": -1.0, "high": 7.0, "p": 0.3, "q": 0.6}
    return {table: given + february.get(table, []) for table, given in march.items()} | {
        CELLS: _cells(atlas)
    }


def build(folder: Path, given: Rows | None = None) -> Path:
    """Write the published file and the thumbnails; return the file."""
    given = rows() if given is None else given
    path = write_snapshot(folder / "city311.duckdb", given)
    with duckdb.connect(str(path), config=CONNECTION) as conn:
        conn.execute(PUBLISHED)
    draw_thumbnails(folder / "photos", given)
    return path


def without_effects(given: Rows) -> Rows:
    """Return the rows without any of an effect."""
    return {
        table: [] if table in {ATT, DESIGN, MATCHED_PAIRS} else held
        for table, held in given.items()
    }


def _cells(atlas: Rows) -> list[dict[str, object]]:
    """Return the cells of all cases at resolutions 9 and 10."""
    fine = {row["cell"] for row in atlas[REQUESTS] if row["cell"]}
    both = fine | {h3.cell_to_parent(cell, 9) for cell in fine}
    return [_cell(cell) for cell in sorted(both)]


def _cell(cell: int) -> dict[str, object]:
    ring = [(longitude, latitude) for latitude, longitude in h3.cell_to_boundary(cell)]
    corners = ",".join(f"[{x},{y}]" for x, y in [*ring, ring[0]])
    latitude, longitude = h3.cell_to_latlng(cell)
    return {
        "feed": FEED,
        "resolution": h3.get_resolution(cell),
        "cell": cell,
        "parent": h3.cell_to_parent(cell, h3.get_resolution(cell) - 1),
        "latitude": latitude,
        "longitude": longitude,
        "boundary": f'{{"type":"Polygon","coordinates":[[{corners}]]}}',
        "neighbors": pl.Series([], dtype=pl.UInt64).to_list(),
        "label": f"near {cell % 1000}",
        "records_seen": 1,
    }
