"""The published effects: what of the causal tables leaves the house, a month at a time.

What belongs here: reading them from the published file. What does not: what the page looks like
(`effects_page`), and the folder that holds it beside the month's map (`atlas_pages`).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path

import duckdb
import polars as pl

from city311_assets.serving.atlas_page import AtlasMonth
from city311_assets.serving.effects_page import (
    MOST_CASES,
    MOST_CONTROLS,
    EffectsMonth,
    page,
    page_version,
)
from city311_assets.warehouse.resource import frame_of
from city311_assets.warehouse.tables.causal import (
    ATT,
    BALANCE,
    DESIGN,
    MATCHED_PAIRS,
    PLACEBO,
    SENSITIVITY,
)
from city311_assets.warehouse.tables.table import Table

# Returns the rows of a query and its parameters.
Read = Callable[[str, Mapping[str, object]], pl.DataFrame]

EFFECTS = "effects.html"
NEEDED = (MATCHED_PAIRS, ATT, BALANCE, SENSITIVITY, PLACEBO, DESIGN)
THERE = "select schema_name || '.' || table_name as name from duckdb_tables()"
IN_MONTH = "where feed = $feed and month = $month"
HELD = f"select count(*), count(distinct record_id) from {MATCHED_PAIRS} {IN_MONTH}"


def read_effects(conn: duckdb.DuckDBPyConnection, atlas: AtlasMonth) -> EffectsMonth | None:
    """Read the effects of the month of a map, as far as it publishes their cases; None if none."""
    return effects_of(partial(frame_of, conn), atlas, MOST_CASES)


def effects_of(read: Read, atlas: AtlasMonth, most_cases: int) -> EffectsMonth | None:
    """Read the effects of the month of a map, with the pairs of so many cases; None if none."""
    there = set(read(THERE, {})["name"])
    if not there.issuperset(map(str, NEEDED)):
        return None
    of_month = {"feed": atlas.feed, "month": atlas.month}

    def rows(table: Table) -> pl.DataFrame:
        keys = ", ".join(table.unique)
        return read(f"from {table} {IN_MONTH} order by {keys}", of_month)

    design, att = rows(DESIGN), rows(ATT)
    if design.is_empty() or att.is_empty():
        return None
    chosen = read(
        files("city311_assets.serving").joinpath("effects_pairs.sql").read_text("utf-8"),
        of_month | {"most_cases": most_cases, "most_controls": MOST_CONTROLS},
    )
    # What the map does not publish, the city may have withdrawn.
    known = atlas.cases["record_id"].implode()
    pairs = chosen.filter(
        pl.col("record_id").is_in(known) & pl.col("control_id").is_in(known),
    )
    sides = pl.concat([pairs["record_id"], pairs["control_id"]]).unique()
    ((pairs_held, cases_held),) = read(HELD, of_month).rows()
    return EffectsMonth(
        feed=atlas.feed,
        title=atlas.title,
        month=atlas.month,
        att=att,
        balance=rows(BALANCE),
        sensitivity=rows(SENSITIVITY),
        placebo=rows(PLACEBO),
        design=design,
        pairs=pairs,
        cases=atlas.cases.filter(pl.col("record_id").is_in(sides.implode())).sort("record_id"),
        pairs_held=pairs_held,
        cases_held=cases_held,
        pairs_left_out=chosen.height - pairs.height,
        is_sample=atlas.is_sample,
        told_until=atlas.told_until,
    )


def write_effects(effects: EffectsMonth, photos: Path, folder: Path) -> None:
    """Write the page into a month's folder."""
    (folder / EFFECTS).write_text(page(effects, photos), "utf-8")


def content_hash(effects: EffectsMonth | None) -> str:
    """Return a hash of what is published of them; when the portal was asked is no part of it."""
    if effects is None:
        return "none"
    digest = hashlib.sha256(page_version().encode())
    cases = effects.cases.drop("observed_until", "cell")
    tables = (effects.att, effects.balance, effects.sensitivity, effects.placebo, effects.design)
    for rows in (*tables, effects.pairs, cases):
        digest.update(rows.write_ndjson().encode())
    counts = [effects.pairs_held, effects.cases_held, effects.pairs_left_out, effects.is_sample]
    digest.update(json.dumps([effects.title, *counts]).encode())
    return digest.hexdigest()
