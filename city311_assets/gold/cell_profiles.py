"""Gold cell profiles: what a cell is like in a month: what happens, on which streets, and when."""

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.cells import most_named
from city311_assets.gold.methods.counts import RESOLUTIONS
from city311_assets.gold.slices import Held
from city311_assets.partitions import BY_YEAR, MONTHS, Slice, note_days
from city311_assets.silver.cells import parents_of
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELL_DAYS, CELL_PROFILES, CELLS
from city311_assets.warehouse.tables.silver import AREAS, RECORDS

STREETS_SHOWN = 3
WEEKDAYS, HOURS = range(1, 8), range(24)
NAMED = [column.name for column in AREAS]

NEEDED = f"""
    select cell, category, street, {", ".join(NAMED)}, weekday, hour, is_time_certain,
        count(*) as records
    from {{records}}
    where feed = $feed and day >= $start and day < $end and cell is not null
    group by all order by all
"""
NOT_THE_RECORDS = f"""
    select month, resolution::varchar as kind from (
        select month, resolution, cell, records from {CELL_PROFILES} where {CELL_PROFILES.where}
        union all
        select date_trunc('month', day)::date, resolution, cell, -records
        from {CELL_DAYS} where {CELL_DAYS.where}
    )
    group by month, resolution, cell having sum(records) <> 0
"""
NOT_PER_DAY = f"""
    select month, resolution::varchar as kind from {CELL_PROFILES} where {CELL_PROFILES.where} and (
        abs(list_sum(hour_per_day) * days_held + time_uncertain - records) > 1e-6
        or len(hour_per_day) <> 24 or len(weekday_per_day) <> 7)
"""


def cell_profile_rows(records: pl.DataFrame, days: pl.Series) -> pl.DataFrame:
    """Return the profiles of a month's cells, without `feed, month` and `is_provisional`.

    Parameters
    ----------
    records
        Counts of records that are alike: `cell` (resolution 10), `category, street`, the areas,
        `weekday, hour, is_time_certain, records`.
    days
        The days of the month that are held: a profile is of records a day.
    """
    at_every = pl.concat(
        records.with_columns(
            parents_of(pl.col("cell"), resolution), pl.lit(resolution, pl.UInt8).alias("resolution")
        )
        for resolution in RESOLUTIONS
    )
    cell = ["resolution", "cell"]
    uncertain = ~pl.col("is_time_certain")
    profiles = at_every.group_by(cell).agg(
        pl.col("records").sum().cast(pl.Int64),
        pl.col("records").filter(uncertain).sum().cast(pl.Int64).alias("time_uncertain"),
        pl.concat_list(
            *(
                _per_day(pl.col("weekday") == one, int((days.dt.weekday() == one).sum()))
                for one in WEEKDAYS
            )
        ).alias("weekday_per_day"),
        pl.concat_list(
            *(_per_day((pl.col("hour") == one) & ~uncertain, len(days)) for one in HOURS)
        ).alias("hour_per_day"),
    )
    category = at_every.group_by(*cell, "category").agg(pl.col("records").sum().alias("most"))
    category = category.sort(*cell, "most", "category", descending=[False, False, True, False])
    category = category.unique(cell, keep="first", maintain_order=True)
    profiles = profiles.join(category, on=cell).join(_streets(at_every), on=cell, how="left")
    for column in NAMED:
        profiles = profiles.join(most_named(at_every, column), on=cell, how="left")
    return (
        profiles.with_columns(
            pl.col("category").alias("dominant_category"),
            (pl.col("most") / pl.col("records")).alias("dominant_share"),
            pl.col("streets").fill_null(pl.lit([], pl.List(_STREET))),
            pl.lit(len(days), pl.Int64).alias("days_held"),
        )
        .drop("category", "most")
        .sort(cell)
    )


_STREET = pl.Struct({"street": pl.String, "fraction": pl.Float64})


def _per_day(chosen: pl.Expr, days: int) -> pl.Expr:
    """Return the chosen records over so many days; null over none."""
    if not days:
        return pl.lit(None, pl.Float64)
    return pl.col("records").filter(chosen).sum() / days


def _streets(records: pl.DataFrame) -> pl.DataFrame:
    """Return for each cell the streets that most records name, with their fractions."""
    cell = ["resolution", "cell"]
    named = records.drop_nulls("street").group_by(*cell, "street").agg(pl.col("records").sum())
    shares = named.with_columns(
        (pl.col("records") / pl.col("records").sum().over(cell)).alias("fraction")
    ).sort(*cell, "fraction", "street", descending=[False, False, True, False])
    return (
        shares.group_by(cell, maintain_order=True)
        .head(STREETS_SHOWN)
        .group_by(cell, maintain_order=True)
        .agg(pl.struct("street", "fraction").alias("streets"))
    )


def cell_profiles(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's monthly profiles of cells, and what must hold of them."""
    key, table = CELL_PROFILES.key(feed.name), RECORDS[feed.table]
    needed = NEEDED.format(records=table)

    @dg.asset(
        key=key,
        deps=[CELL_DAYS.key(feed.name), CELLS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=CELL_PROFILES.metadata,
        kinds={"duckdb", "polars"},
        description=f"What the cells of {feed.title} are like in a month: leading category, "
        "streets, districts, and records a day by weekday and by hour.",
    )
    def cell_profiles(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Profiles of one feed's cells in months."""
        part = Slice.of(context, feed.name)
        for month in part.months:
            of_month = part.month(month)
            held = Held.of(warehouse, feed, of_month)
            rows = cell_profile_rows(warehouse.read(needed, of_month, [table]), held.days["day"])
            rows = rows.with_columns(
                pl.lit(feed.name).alias("feed"),
                pl.lit(month).alias("month"),
                pl.lit(held.is_provisional_until(of_month.end)).alias("is_provisional"),
            )
            warehouse.replace(CELL_PROFILES, rows.select(CELL_PROFILES.names), of_month)
            figures = pl.DataFrame({"month": [month], "rows": [rows.height]})
            note_days(context, key, figures, of_month)
        return dg.MaterializeResult()

    claims = [
        Property(
            "same_records_as_cell_days",
            "A cell's records of a month are those of its days.",
            NOT_THE_RECORDS,
        ),
        Property(
            "profiles_add_up",
            "A cell's hours times the days held, and the records they leave out, are its records.",
            NOT_PER_DAY,
        ),
    ]
    return [
        cell_profiles,
        slice_checks(claims, CELL_PROFILES, feed.name, [CELL_DAYS]),
    ]
