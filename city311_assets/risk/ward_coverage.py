"""Risk ward coverage: which wards get their share of what is recommended, and who calls at all."""

from datetime import timedelta

import dagster as dg
import polars as pl

from city311_assets.gold.cells import most_named
from city311_assets.partitions import AFTER_MONTHS, BY_CHUNK, DAYS, Slice, note_days
from city311_assets.risk.targets.target import Target
from city311_assets.silver.areas import Areas
from city311_assets.silver.cells import parents_of
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.risk import CELL_DAYS, RECOMMENDATIONS, SCORES, WARD_COVERAGE
from city311_assets.warehouse.tables.silver import REQUESTS

UNKNOWN = "unknown"
WARD_DAYS = 365
ROUNDING = 1e-6

NAMED = f"""
    select cell, ward, count(*) as records from {REQUESTS}
    where feed = $feed and day >= $start and day < $end and cell is not null and ward is not null
    group by all order by all
"""
PUBLISHED = f"select area, geometry from {BOUNDARIES} where city = $city and areas = 'ward'"
AREA = f"""
    select cell, latitude, longitude from {CELLS}
    where feed = $feed and resolution = $resolution order by cell
"""
# While not all of a year is held: the long-run rate for its calls, and the 30 days known of all.
KNOWN = f"""
    select s.day, s.cell, s.expected_events_7d as expected,
        coalesce(d.calls_365d, d.long_run_rate * 365, 0) as calls,
        coalesce(d.all_calls_365d, d.all_calls_30d, 0) as all_calls
    from (select * from {SCORES} where {SCORES.where} and is_newest) as s
    left join (select * from {CELL_DAYS} where {CELL_DAYS.where}) as d using (day, cell)
    order by s.day, s.cell
"""
CHOSEN = f"""
    select day, unnest(cells) as cell from {RECOMMENDATIONS}
    where {RECOMMENDATIONS.where} and is_chosen
"""
SHARES = {
    "share_of_cells": "cells",
    "share_of_calls": "calls",
    "share_of_all_calls": "all_calls",
    "share_of_expected": "expected",
    "share_of_chosen": "chosen",
}
NOT_A_WHOLE = f"""
    select day, share as kind from (
        unpivot (
            select day, {", ".join(f"sum({name}) as {name}" for name in SHARES)}
            from {WARD_COVERAGE} where {WARD_COVERAGE.where} group by day
        ) on {", ".join(SHARES)} into name share value total
    )
    where not (abs(total - 1) <= $rounding or (total = 0 and share <> 'share_of_cells'))
"""
CELLS_MISSING = f"""
    select day from (
        select day, sum(cells) as cells from {WARD_COVERAGE} where {WARD_COVERAGE.where}
        group by day
    ) as w
    full join (
        select day, count(*) as cells from {SCORES} where {SCORES.where} and is_newest group by day
    ) as s using (day)
    where w.cells is distinct from s.cells
"""


def wards(warehouse: Warehouse, target: Target, part: Slice) -> pl.DataFrame:
    """Return `cell, ward` of the cells whose ward is known on the days of a slice.

    The ward that most of a cell's requests of every kind named, in the year before the slice and in
    it; of cells without any, the published ward at their centre.
    """
    feed = target.feed
    window = {
        "feed": feed.name,
        "start": part.start - timedelta(days=WARD_DAYS),
        "end": part.end,
    }
    named = warehouse.read(NAMED, window, [REQUESTS]).with_columns(
        parents_of(pl.col("cell"), target.resolution),
        pl.lit(target.resolution, pl.UInt8).alias("resolution"),
    )
    told = most_named(named, "ward").select("cell", "ward")
    area = warehouse.read(AREA, {"feed": feed.name, "resolution": target.resolution}, [CELLS])
    silent = area.join(told, on="cell", how="anti", maintain_order="left")
    published = Areas.of(warehouse.read(PUBLISHED, {"city": feed.city.name}, [BOUNDARIES]))
    located = silent.select(
        "cell", published.located(silent["latitude"], silent["longitude"]).alias("ward")
    )
    return pl.concat([told, located.drop_nulls("ward")]).sort("cell")


def ward_shares(known: pl.DataFrame, ward_of: pl.DataFrame) -> pl.DataFrame:
    """Return each ward's cells and shares on each day; of nothing the share is 0.

    Parameters
    ----------
    known
        The city's cells on each day: `day, cell, expected, calls, all_calls, chosen`, the last
        1 where the cell is in a chosen recommendation.
    ward_of
        `cell, ward`; cells that are not in it are in the ward `unknown`.
    """
    counted = ("calls", "all_calls", "expected", "chosen")
    by_ward = (
        known.join(ward_of, on="cell", how="left")
        .group_by("day", pl.col("ward").fill_null(UNKNOWN))
        .agg(
            pl.len().cast(pl.Int64).alias("cells"),
            *(pl.col(name).sum().cast(pl.Float64) for name in counted),
        )
        .sort("day", "ward")
    )
    return by_ward.select(
        "day",
        "ward",
        "cells",
        *(
            (pl.col(name) / pl.col(name).sum().over("day")).fill_nan(0.0).alias(share)
            for share, name in SHARES.items()
        ),
    )


def write(warehouse: Warehouse, target: Target, part: Slice) -> pl.DataFrame:
    """Make a slice of the wards' shares; return the rows written."""
    known = warehouse.read(KNOWN, part, [SCORES, CELL_DAYS])
    chosen = warehouse.read(CHOSEN, part, [RECOMMENDATIONS]).with_columns(
        pl.lit(1, pl.Int64).alias("chosen")
    )
    marked = known.join(chosen, on=["day", "cell"], how="left").with_columns(
        pl.col("chosen").fill_null(0)
    )
    rows = (
        ward_shares(marked, wards(warehouse, target, part))
        .with_columns(pl.lit(target.name).alias("target"))
        .select(WARD_COVERAGE.names)
    )
    warehouse.replace(WARD_COVERAGE, rows, part)
    return rows


def claims() -> list[Property]:
    """Return what must hold of the wards' shares."""
    return [
        Property(
            "shares_add_up",
            "On each day the wards' shares add up to 1, or to 0 where the city has none.",
            NOT_A_WHOLE,
        ),
        Property(
            "every_cell_is_in_a_ward",
            "On each day the wards' cells are as many as were scored.",
            CELLS_MISSING,
        ),
    ]


def ward_coverage(target: Target) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one target's coverage of wards, and what must hold of it."""
    key = WARD_COVERAGE.key(target.name)

    @dg.asset(
        key=key,
        deps=[SCORES.key(target.name), RECOMMENDATIONS.key(target.name)],
        partitions_def=DAYS,
        tags={AFTER_MONTHS: ""},
        backfill_policy=BY_CHUNK,
        metadata=WARD_COVERAGE.metadata,
        kinds={"duckdb", "polars"},
        description=f"{target.title}: each ward's share of cells, of calls, of requests of every "
        "kind, of what is expected and of what is recommended: who is missed.",
    )
    def ward_coverage(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Shares of the city's wards on city-local days."""
        part = Slice.of(context, target.name, "target")
        rows = write(warehouse, target, part)
        note_days(context, key, rows.group_by("day").agg(pl.len().alias("rows")), part)
        unknown = rows.filter(pl.col("ward") == UNKNOWN)["cells"].max()
        return dg.MaterializeResult(
            metadata={
                "range_wards": rows["ward"].n_unique(),
                "range_cells_without_ward": int(str(unknown or 0)),
            }
        )

    params = {"rounding": ROUNDING}
    return [
        ward_coverage,
        slice_checks(claims(), WARD_COVERAGE, target.name, [SCORES], params),
    ]
