"""Gold cell months: a month's counts, rates and times to close, at every resolution.

The open month has a slice too, marked provisional. What it looks back on is its own days; nothing
of another month enters it.
"""

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.methods.arrays import Cells
from city311_assets.gold.methods.counts import ALL, RESOLUTIONS, STILL_OPEN
from city311_assets.gold.slices import Held, study_areas
from city311_assets.partitions import BY_YEAR, MONTHS, Slice, note_days
from city311_assets.silver.cells import parents_of
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELL_DAYS, CELL_MONTHS, CELLS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.silver import RECORDS

# How much of a month's mix of categories may have moved since the three months before it.
MOST_MOVED = 0.25
# A resolution can be read as rates where half of the eligible records lie in cells that can.
LEAST_CONFIDENT = 0.5

COUNTS = f"""
    select resolution, cell, category, sum(records)::bigint as records,
        sum(eligible)::bigint as eligible, sum(successes)::bigint as successes
    from {CELL_DAYS} where {CELL_DAYS.where} group by all order by all
"""
TIMED = """
    select cell, category,
        coalesce(hours_to_close, date_diff('second', opened_at_utc, observed_until) / 3600.0)
            as hours,
        hours_to_close is not null as is_closed
    from {records}
    where feed = $feed and day >= $start and day < $end and cell is not null
        and not is_administrative
        and (hours_to_close is not null
            or (hours_to_close_reason in $still_open and observed_until >= opened_at_utc))
    order by all
"""
NOT_THE_DAYS = f"""
    select month, category as kind from (
        select month, resolution, category, sum(records) as records, sum(eligible) as eligible,
            sum(successes) as successes
        from {CELL_MONTHS} where {CELL_MONTHS.where} and category <> 'all' group by all
        union all
        select date_trunc('month', day)::date, resolution, category, -sum(records),
            -sum(eligible), -sum(successes)
        from {CELL_DAYS} where {CELL_DAYS.where} group by all
    )
    group by month, resolution, category
    having sum(records) <> 0 or sum(eligible) <> 0 or sum(successes) <> 0
    order by all
"""
NOT_THE_SUM = f"""
    select month, resolution::varchar as kind from {CELL_MONTHS} where {CELL_MONTHS.where}
    group by month, resolution, cell
    having sum(records) filter (category = 'all')
        is distinct from coalesce(sum(records) filter (category <> 'all'), 0)
"""
DAYS_MISSING = f"""
    select date_trunc('month', day)::date as month, day::varchar as kind
    from (
        select unnest(generate_series(greatest($start, min(day)), least($end - 1, max(day)),
            interval 1 day))::date as day
        from {SLICES} where feed = $feed
    )
    where day not in (select day from {SLICES} where feed = $feed) order by all
"""
MIX_MOVED = f"""
    with mixes as (
        select date_trunc('month', day)::date as month, category, sum(records) as records
        from {CELL_DAYS} where feed = $feed and resolution = 6
            and day >= $start - interval 3 month and day < $end group by all
    ), before as (
        select own.month, category, sum(records) as records
        from (select distinct month from mixes where month >= $start) as own
        join mixes on mixes.month < own.month and mixes.month >= own.month - interval 3 month
        group by all
    ), shares as (
        select month, category, records / sum(records) over (partition by month) as share
        from mixes where month in (select month from before)
        union all
        select month, category, -records / sum(records) over (partition by month) from before
    ), moved as (select month, category, sum(share) as moved from shares group by all)
    select month, arg_max(category, abs(moved)) as kind from moved
    group by month having sum(abs(moved)) / 2 > $most_moved
"""
OUT_OF_BOUNDS = f"""
    select month, category as kind from {CELL_MONTHS}
    where {CELL_MONTHS.where} and not (
        rate_low >= 0 and rate_high <= 1 and rate_low < rate_high
        and coalesce(rate between rate_low and rate_high, eligible = 0)
        and coalesce(rate_eb between 0 and 1, true)
        and coalesce(rate_pooled between 0 and 1, true)
        and pooled_records >= records and pooled_n >= eligible and pooled_k >= successes)
"""
SPARSE = f"""
    select month, 'all categories at resolution ' || resolution::varchar as kind
    from {CELL_MONTHS} where {CELL_MONTHS.where} and category = 'all' and resolution = 7
    group by month, resolution
    having sum(eligible) filter (not is_low_confidence) < $least_confident * sum(eligible)
        or (sum(eligible) > 0 and not bool_or(not is_low_confidence))
"""


def times_to_close(cases: pl.DataFrame) -> pl.DataFrame:
    """Return the median and 90th percentile of the time to close, at every resolution.

    Takes `cell` (resolution 10), `category, hours` (to closing, or to when it was last seen open)
    and `is_closed`; returns `resolution, cell, category` (and `all`), `timed` and the two columns.
    """
    from city311_assets.gold.methods.survival import quantiles

    by_category = pl.concat([cases, cases.with_columns(pl.lit(ALL).alias("category"))])
    at_every = pl.concat(
        by_category.with_columns(
            parents_of(pl.col("cell"), resolution), pl.lit(resolution, pl.UInt8).alias("resolution")
        )
        for resolution in RESOLUTIONS
    )
    found = quantiles(at_every, ["resolution", "cell", "category"])
    return found.drop("closed").rename(
        {"q50": "median_hours_to_close", "q90": "p90_hours_to_close"}
    )


def cell_month_rows(
    counts: pl.DataFrame, cases: pl.DataFrame | None, areas: dict[int, Cells], month: dict
) -> pl.DataFrame:
    """Return a month's rates and times in the table's columns.

    `counts` are a month's, of every resolution; `cases` as `times_to_close` takes them, None where
    records have no time to close; `month` the values of `feed, month` and `is_provisional`.
    """
    from city311_assets.gold.methods.cell_rates import rates_of_resolutions

    own = {name: pl.lit(value).alias(name) for name, value in month.items()}
    rates = rates_of_resolutions(counts.with_columns(own["month"]), areas, "month")
    if cases is None:
        unknown = {"timed": pl.Int64, "median_hours_to_close": pl.Float64}
        unknown["p90_hours_to_close"] = pl.Float64
        rates = rates.with_columns(pl.lit(None, t).alias(name) for name, t in unknown.items())
    else:
        times = times_to_close(cases)
        rates = rates.join(
            times, on=["resolution", "cell", "category"], how="left", maintain_order="left"
        ).with_columns(pl.col("timed").fill_null(0).cast(pl.Int64))
    return rates.with_columns(own["feed"], own["is_provisional"]).select(CELL_MONTHS.names)


def cell_months(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's monthly rates of cells, and what must hold of them."""
    key, table = CELL_MONTHS.key(feed.name), RECORDS[feed.table]
    timed = TIMED.format(records=table)

    @dg.asset(
        key=key,
        deps=[CELL_DAYS.key(feed.name), CELLS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=CELL_MONTHS.metadata,
        kinds={"duckdb", "polars"},
        description=f"Monthly counts and rates of {feed.title} by cell of resolutions 6 to 10 and "
        "category: Wilson's interval, empirical Bayes, pooled over the ring, hours to close.",
    )
    def cell_months(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Rates of one feed's cells in months."""
        part = Slice.of(context, feed.name)
        shares = {}
        for month in part.months:
            of_month = part.month(month)
            counts = warehouse.read(COUNTS, of_month, [CELL_DAYS])
            cases = None
            if feed.kind == "request":
                params = of_month.params | {"still_open": list(STILL_OPEN)}
                cases = warehouse.read(timed, params, [table])
            rows = cell_month_rows(
                counts,
                cases,
                study_areas(warehouse, feed, counts, RESOLUTIONS),
                {
                    "feed": feed.name,
                    "month": month,
                    "is_provisional": Held.of(warehouse, feed, of_month).is_provisional_until(
                        of_month.end
                    ),
                },
            )
            warehouse.replace(CELL_MONTHS, rows, of_month)
            figures = pl.DataFrame({"month": [month], "rows": [rows.height]})
            note_days(context, key, figures, of_month)
            shares[month.isoformat()] = confident_shares(rows)
        return dg.MaterializeResult(
            metadata={"range_confident_shares": dg.MetadataValue.json(shares)}
        )

    claims = [
        Property(
            "adds_up_to_the_days",
            "At every resolution and category the month's counts are the sum of its days'.",
            NOT_THE_DAYS,
        ),
        Property(
            "all_is_the_sum",
            "Of every cell the records of `all` are those of its categories together.",
            NOT_THE_SUM,
        ),
        Property(
            "rates_inside_bounds",
            "Every rate lies in its interval, every interval in 0 to 1; a ring holds its cell.",
            OUT_OF_BOUNDS,
        ),
        Property(
            "no_day_missing",
            "Every day of the month was made, of those between the feed's first and newest.",
            DAYS_MISSING,
            is_blocking=False,
            severity=dg.AssetCheckSeverity.WARN,
        ),
        Property(
            "category_shares_steady",
            "At most a quarter of the records changed category against the three months before.",
            MIX_MOVED,
            is_blocking=False,
            severity=dg.AssetCheckSeverity.WARN,
        ),
        Property(
            "records_dense_enough",
            "At resolution 7 half of the eligible records lie in cells whose rate can be read.",
            SPARSE,
            is_blocking=False,
            severity=dg.AssetCheckSeverity.WARN,
        ),
    ]
    params = {"most_moved": MOST_MOVED, "least_confident": LEAST_CONFIDENT}
    also = [CELL_DAYS, SLICES]
    return [
        cell_months,
        slice_checks(claims, CELL_MONTHS, feed.name, also, params),
    ]


def confident_shares(rows: pl.DataFrame) -> dict[str, float]:
    """Return by resolution which share of the eligible records lies in cells that can be read."""
    total = rows.filter(pl.col("category") == ALL)
    weights = total.group_by("resolution").agg(
        (pl.col("eligible").filter(~pl.col("is_low_confidence")).sum() / pl.col("eligible").sum())
        .fill_nan(None)
        .round(3)
        .alias("share")
    )
    return {f"r{r}": share for r, share in weights.sort("resolution").iter_rows()}
