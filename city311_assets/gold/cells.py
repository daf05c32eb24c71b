"""Gold cells: a feed's study area: every cell of the city, its place, its neighbours and its label.

A cell without a record exists: nothing happened there, which is an answer. The area is what the
published boundaries touch, and any cell that records lie in; while no boundary is known, the cells
of records and those around them. It looks back on every record for its labels and is no slice of
any day, so it is refreshed once a week.
"""

from functools import lru_cache

import dagster as dg
import numpy as np
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.methods.arrays import Cells
from city311_assets.gold.methods.counts import RESOLUTIONS
from city311_assets.partitions import LOOKS_BACK
from city311_assets.silver.areas import Areas
from city311_assets.silver.assets import NEIGHBORHOODS
from city311_assets.silver.cells import parents_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.silver import RECORDS

# Finer cells are named after a street, coarser ones hold many.
STREET_RESOLUTION = 9
# What a coarser cell is named after: the first of these that its records name.
AREAS = {"district": "District {}", "community_area": "Community area {}", "neighborhood": "{}"}
NAMED = """
    select cell, street, district, community_area, neighborhood, count(*) as records
    from {table} where feed = $feed and cell is not null group by all order by all
"""


def most_named(named: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return `resolution, cell` and the value of a column that most records of the cell name.

    Takes `resolution, cell, records` and the column; the first by name among equals.
    """
    counted = named.drop_nulls(column).group_by("resolution", "cell", column)
    return (
        counted.agg(pl.col("records").sum())
        .sort("resolution", "cell", "records", column, descending=[False, False, True, False])
        .unique(["resolution", "cell"], keep="first", maintain_order=True)
        .select("resolution", "cell", column)
    )


def labels(cells: pl.DataFrame, named: pl.DataFrame, areas: Areas) -> pl.DataFrame:
    """Add `label` and `label_from` to cells.

    Parameters
    ----------
    cells
        `resolution, cell, latitude, longitude` (of the centre, degrees).
    named
        What records call their place: `resolution, cell, records, street, district,
        community_area, neighborhood`.
    areas
        The neighbourhoods, for cells without a record.
    """
    labelled = cells
    for column in ("street", *AREAS):
        labelled = labelled.join(
            most_named(named, column), on=["resolution", "cell"], how="left", maintain_order="left"
        )
    labelled = labelled.with_columns(
        areas.located(cells["latitude"], cells["longitude"]).alias("boundary_name")
    )
    is_fine = pl.col("resolution") >= STREET_RESOLUTION
    neighborhood = pl.coalesce("neighborhood", "boundary_name")
    choices = [("street", is_fine & pl.col("street").is_not_null(), pl.col("street"))]
    for column, words in AREAS.items():
        name = pl.format(words, pl.col(column))
        if column != "neighborhood":
            # A number says little: the neighbourhood stands beside it.
            name = pl.concat_str(name, neighborhood, separator=", ", ignore_nulls=True)
        choices.append((column, pl.col(column).is_not_null(), name))
    choices.append(("boundary", pl.col("boundary_name").is_not_null(), pl.col("boundary_name")))
    label, source = pl.lit(None, pl.String), pl.lit(None, pl.String)
    for name, holds, words in reversed(choices):
        label = pl.when(holds).then(words).otherwise(label)
        source = pl.when(holds).then(pl.lit(name)).otherwise(source)
    return labelled.select(*cells.columns, label.alias("label"), source.alias("label_from"))


# Two feeds of a city share their areas, and a range run makes them twice.
@lru_cache(maxsize=4)
def _covering(areas: tuple[str, ...]) -> Cells:
    from city311_assets.gold.methods.grid import covering

    return covering([*areas]) if areas else np.array([], np.uint64)


@lru_cache(maxsize=16)
def _shapes(cells: bytes) -> pl.DataFrame:
    from city311_assets.gold.methods.grid import shapes

    return shapes(np.frombuffer(cells, np.uint64))


def study_area(boundaries: pl.DataFrame, seen: Cells) -> tuple[Cells, Cells]:
    """Return the cells of resolution 10 of a study area, and those that a boundary touches."""
    from city311_assets.gold.methods.grid import around

    inside = _covering(tuple(boundaries["geometry"].to_list()))
    return (np.union1d(inside, seen) if inside.size else around(seen)), inside


def cell_rows(feed: Feed, boundaries: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """Return a feed's study area in the table's columns.

    Parameters
    ----------
    boundaries
        The neighbourhoods, `area, geometry`; none while they are unknown.
    named
        `cell` (resolution 10), `street, district, community_area, neighborhood, records`.
    """
    from city311_assets.gold.methods.grid import with_parents

    seen = named["cell"].unique().sort().to_numpy().astype(np.uint64)
    area, inside = study_area(boundaries, seen)
    by_resolution, inside_of = with_parents(area), with_parents(inside)
    rows = [
        _shapes(cells.tobytes()).with_columns(
            pl.lit(resolution, pl.UInt8).alias("resolution"),
            parents_of(pl.col("cell"), resolution - 1).alias("parent"),
            pl.col("cell").is_in(inside_of[resolution].tolist()).alias("is_inside")
            if inside.size
            else pl.lit(None, pl.Boolean).alias("is_inside"),
        )
        for resolution, cells in by_resolution.items()
    ]
    of_every = pl.concat(
        named.with_columns(
            parents_of(pl.col("cell"), resolution), pl.lit(resolution, pl.UInt8).alias("resolution")
        )
        for resolution in RESOLUTIONS
    )
    counted = of_every.group_by("resolution", "cell").agg(
        pl.col("records").sum().cast(pl.Int64).alias("records_seen")
    )
    return (
        labels(pl.concat(rows), of_every, Areas.of(boundaries))
        .join(counted, on=["resolution", "cell"], how="left", maintain_order="left")
        .with_columns(pl.lit(feed.name).alias("feed"), pl.col("records_seen").fill_null(0))
        .select(CELLS.names)
    )


def cells(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's study area, and what must hold of it."""
    key = CELLS.key(feed.name)
    table = RECORDS[feed.table]

    @dg.asset(
        key=key,
        deps=[BOUNDARIES.key(feed.city.name)],
        metadata=CELLS.metadata | {"looks_back_on": f"every record of {table}"},
        tags={LOOKS_BACK: "true"},
        kinds={"duckdb", "polars"},
        description=f"Study area of {feed.title}: every H3 cell of resolutions 6 to 10, with its "
        "parent, outline, neighbours and a label people can read.",
    )
    def cells(warehouse: Warehouse) -> dg.MaterializeResult:
        """Study area of one feed."""
        boundaries = warehouse.read(NEIGHBORHOODS, {"city": feed.city.name}, [BOUNDARIES])
        named = warehouse.read(NAMED.format(table=table), {"feed": feed.name}, [table])
        rows = cell_rows(feed, boundaries, named)
        warehouse.replace(CELLS, rows, feed.name)
        counts = dict(rows.group_by("resolution").len().sort("resolution").iter_rows())
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": rows.height,
                **{f"cells_r{resolution}": count for resolution, count in counts.items()},
                "cells_with_records": rows.filter(pl.col("records_seen") > 0).height,
                "cells_without_label": rows["label"].null_count(),
            }
        )

    @dg.asset_check(asset=key)
    def every_record_has_its_cell(warehouse: Warehouse) -> dg.AssetCheckResult:
        """Every cell of a record held is in the study area, at every resolution."""
        missing = warehouse.read(
            f"select distinct cell from {table} where feed = $feed and cell is not null and cell "
            f"not in (select cell from {CELLS} where feed = $feed and resolution = 10)",
            {"feed": feed.name},
            [table, CELLS],
        )
        return dg.AssetCheckResult(
            passed=missing.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "cells": missing.height,
                "to_do": f"materialize {key.to_user_string()} again",
            },
        )

    @dg.asset_check(asset=key)
    def every_cell_has_its_parent(warehouse: Warehouse) -> dg.AssetCheckResult:
        """The parent of every cell finer than the coarsest is in the study area too."""
        orphans = warehouse.read(
            f"select count(*) as orphans from {CELLS} as c where feed = $feed and resolution > 6 "
            f"and parent not in (select cell from {CELLS} where feed = $feed)",
            {"feed": feed.name},
            [CELLS],
        )["orphans"].item()
        return dg.AssetCheckResult(passed=orphans == 0, metadata={"orphans": orphans})

    return [cells, every_record_has_its_cell, every_cell_has_its_parent]
