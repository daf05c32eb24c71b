"""How a feed's silver records are declared: two tables in one transaction, and their checks.

What belongs here: the wiring that requests and incidents share. What does not: any rule.
"""

from collections.abc import Callable, Sequence

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.taxonomy import UNMAPPED
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.silver.areas import Areas
from city311_assets.silver.records import newest_versions
from city311_assets.silver.rejected_records import unaccounted_for
from city311_assets.warehouse.checks import Property, on_several_days, slice_checks
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.bronze import BOUNDARIES, RECORDS
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS
from city311_assets.warehouse.tables.table import Table

Rows = Callable[[pl.DataFrame, Feed, Areas], pl.DataFrame]

NEIGHBORHOODS = f"from {BOUNDARIES} where city = $city and areas = 'neighborhood'"
OPENED_ANOTHER_DAY = "from {table} where {where} and opened_at::date <> day"
MISPLACED = """
    from {table} where {where} and (
        has_point <> (cell is not null) or has_point <> (point_reason is null)
        or (has_point and not (
            latitude between $south and $north and longitude between $west and $east)))
"""
UNMAPPED_KINDS = """
    select kind, count(*) as rows, min(day) as day from {table}
    where {where} and category = $unmapped group by kind order by rows desc, kind
"""


def common_checks(feed: Feed, table: Table) -> list[Property]:
    """Return what must hold of every silver record, whatever its kind."""
    noun = table.name.removesuffix("s")
    where = table.where
    return [
        Property(
            f"one_row_per_{noun}",
            f"A {noun} has one row, within its day (a repeat is never stored) and across days.",
            on_several_days(table),
            is_blocking=False,
        ),
        Property(
            "opened_on_its_day",
            f"Every {noun} was opened on the day whose slice it is in.",
            OPENED_ANOTHER_DAY.format(table=table, where=where),
        ),
        Property(
            "cell_inside_the_box",
            "A usable point lies inside the city's box and has a cell; any other has a reason.",
            MISPLACED.format(table=table, where=where),
        ),
        Property(
            "every_category_mapped",
            "The taxonomy knows every kind that was published.",
            UNMAPPED_KINDS.format(table=table, where=where),
            is_blocking=False,
            severity=dg.AssetCheckSeverity.WARN,
        ),
        Property(
            "every_bronze_row_accounted_for",
            "Bronze rows = silver rows + rejected rows, for every day.",
            unaccounted_for(feed, table),
        ),
    ]


def write(
    warehouse: Warehouse, feed: Feed, table: Table, rows_of: Rows, part: Slice
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Make a slice of silver from bronze; return its rows and those set aside."""
    raw = RECORDS[feed.name]
    bronze = warehouse.read(f"from {raw} where {raw.where}", part, [raw])
    boundaries = warehouse.read(NEIGHBORHOODS, {"city": feed.city.name}, [BOUNDARIES])
    found = newest_versions(bronze, feed)
    rows = rows_of(found.accepted, feed, Areas.of(boundaries))

    def keep(session: Session) -> None:
        session.replace(table, rows, part)
        session.replace(REJECTED_RECORDS, found.rejected, part)

    warehouse.write(keep)
    return rows, found.rejected


def record_assets(
    feed: Feed, table: Table, rows_of: Rows, description: str, more_checks: Sequence[Property] = ()
) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare a feed's silver records and rejected records, with their checks."""
    key, rejected_key = table.key(feed.name), REJECTED_RECORDS.key(feed.name)
    sources = [RECORDS[feed.name].key(feed.name), BOUNDARIES.key(feed.city.name)]

    @dg.multi_asset(
        name=f"silver_{feed.name}",
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        specs=[
            dg.AssetSpec(
                key,
                deps=sources,
                description=description,
                metadata=table.metadata,
                kinds={"duckdb", "polars"},
            ),
            dg.AssetSpec(
                rejected_key,
                deps=sources,
                description=f"Bronze rows of {feed.title} that became no record, whole, each with "
                "its reason.",
                metadata=REJECTED_RECORDS.metadata,
                kinds={"duckdb", "polars"},
            ),
        ],
    )
    def silver(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> tuple[dg.MaterializeResult, dg.MaterializeResult]:
        """Records of one feed opened on city-local days, and the rows set aside."""
        part = Slice.of(context, feed.name)
        rows, rejected = write(warehouse, feed, table, rows_of, part)
        note_days(context, key, rows.group_by("day").agg(pl.len().alias("rows")), part)
        by_day = rejected.group_by("day").agg(pl.len().alias("rows"))
        note_days(context, rejected_key, by_day, part)
        reasons = dict(rejected["reason"].value_counts().sort("reason").iter_rows())
        return (
            dg.MaterializeResult(asset_key=key, metadata=figures(rows)),
            dg.MaterializeResult(asset_key=rejected_key, metadata={"range_reasons": reasons}),
        )

    box = feed.city.box
    params = {
        "south": box.south,
        "west": box.west,
        "north": box.north,
        "east": box.east,
        "unmapped": UNMAPPED,
    }
    also = [RECORDS[feed.name], REJECTED_RECORDS]
    claims = [*common_checks(feed, table), *more_checks]
    return [silver, slice_checks(claims, table, feed.name, also, params)]


def figures(rows: pl.DataFrame) -> dict[str, int]:
    """Return what a run's log should say of its rows."""
    counted = {
        "range_rows": rows.height,
        "range_without_point": rows.height - rows["has_point"].sum(),
    }
    counted["range_located"] = rows["neighborhood_located"].count()
    if "is_administrative" in rows.columns:
        reasons = rows["hours_to_close_reason"]
        counted["range_administrative"] = rows["is_administrative"].sum()
        counted["range_closed_before_opened"] = (reasons == "closed_before_opened").sum()
        counted["range_open"] = (reasons == "open").sum()
    return counted
