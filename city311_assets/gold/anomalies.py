"""Gold anomalies: days on which a cell, or the city, had more or fewer records than expected.

What is expected comes from weeks before the tested one, read by SQL; the tested week is left out,
so that what lasts some days does not become its own explanation.
"""

from datetime import date, timedelta

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.gold.methods.counts import ALL
from city311_assets.gold.slices import Held, study_areas
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.silver.cells import parents_of
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import ANOMALIES, CELL_DAYS, CELLS
from city311_assets.warehouse.tables.silver import RECORDS

RESOLUTION = 7
CITY = 0

COUNTS = f"""
    select day, cell, category, records
    from {CELL_DAYS} where {CELL_DAYS.where} and resolution = 7 order by all
"""
NAMED = """
    select day, cell, category, street, record_id, opened_at
    from {records} where feed = $feed and day in $days and cell is not null
"""
USUAL = """
    select day, cell, category, street, count(*) as records
    from {records} where feed = $feed and day >= $start and day < $end
        and cell is not null and street is not null
    group by all
"""
NOT_TOLD = f"""
    select day, category as kind from {ANOMALIES} where {ANOMALIES.where} and (
        (q is null) <> (reason is not null) or q < p or is_anomaly <> coalesce(q <= 0.05, false)
        or (is_anomaly and direction = 'more' and len(record_ids) = 0))
"""


def with_evidence(found: pl.DataFrame, named: pl.DataFrame, usual: pl.DataFrame) -> pl.DataFrame:
    """Add `unusual_streets` and `record_ids` to anomalies; of others, and of fewer records, none.

    Parameters
    ----------
    found
        `day, cell` (resolution 7, null for the city), `category, is_anomaly, direction`.
    named
        Records of these days: `day, cell` (resolution 10), `category, street, record_id,
        opened_at`.
    usual
        Records of the days before: `day, cell, category, street, records`.
    """
    from city311_assets.gold.methods.anomalies import BASELINE_DAYS, LEFT_OUT_DAYS, evidence

    def of(frame: pl.DataFrame, row: dict[str, object]) -> pl.DataFrame:
        same = pl.lit(row["category"] == ALL) | (pl.col("category") == row["category"])
        within = pl.lit(row["cell"] is None) | (pl.col("coarse") == (row["cell"] or 0))
        return frame.filter(same & within)

    placed, before = (
        frame.with_columns(parents_of(pl.col("cell"), RESOLUTION).alias("coarse"))
        for frame in (named, usual)
    )
    streets: list[list[str]] = []
    records: list[list[str]] = []
    for row in found.rows(named=True):
        if not row["is_anomaly"] or row["direction"] != "more":
            streets.append([])
            records.append([])
            continue
        last = row["day"] - timedelta(days=LEFT_OUT_DAYS)
        first = last - timedelta(days=BASELINE_DAYS - 1)
        past = of(before.filter(pl.col("day").is_between(first, last)), row)
        per_day = past.group_by("street").agg(
            (pl.col("records").sum() / BASELINE_DAYS).alias("per_day")
        )
        ids, names = evidence(of(placed.filter(pl.col("day") == row["day"]), row), per_day)
        streets.append(names)
        records.append(ids)
    return found.with_columns(
        pl.Series("unusual_streets", streets, pl.List(pl.String)),
        pl.Series("record_ids", records, pl.List(pl.String)),
    )


def anomaly_rows(
    warehouse: Warehouse, feed: Feed, part: Slice, held: Held, counts: pl.DataFrame
) -> pl.DataFrame:
    """Return a slice's anomalies in the table's columns.

    `counts` and `held` reach back as far as what is expected does.
    """
    from city311_assets.gold.methods.anomalies import LOOK_BACK_DAYS, anomalies_of_days

    table = RECORDS[feed.table]
    days = held.days["day"]
    first_held = days.min() if days.len() else part.start
    if not isinstance(first_held, date):
        raise TypeError(f"{feed.name} has no first day")
    every = pl.date_range(first_held, part.end, "1d", closed="left", eager=True)
    cells = study_areas(warehouse, feed, counts.with_columns(resolution=RESOLUTION), [RESOLUTION])
    found = anomalies_of_days(
        counts,
        cells[RESOLUTION],
        part.start,
        part.end - timedelta(days=1),
        first_held,
        missing_days=every.filter(~every.is_in(days.implode())).to_list(),
    )
    unusual = found.filter(pl.col("is_anomaly"))["day"].unique().sort().to_list()
    window = part.reaching_back(days=LOOK_BACK_DAYS)
    params = {"feed": feed.name, "days": unusual, "start": window.start, "end": part.end}
    named = warehouse.read(NAMED.format(records=table), params, [table])
    usual = named.select("day", "cell", "category", "street", records=1).clear()
    if unusual:
        usual = warehouse.read(USUAL.format(records=table), params, [table])
    provisional = {day: held.is_provisional(day) for day in part.days}
    return (
        with_evidence(found, named, usual)
        .with_columns(
            pl.lit(feed.name).alias("feed"),
            pl.when(pl.col("cell").is_null())
            .then(CITY)
            .otherwise(RESOLUTION)
            .cast(pl.UInt8)
            .alias("resolution"),
            pl.col("cell").fill_null(CITY),
            pl.col("day")
            .replace_strict(provisional, return_dtype=pl.Boolean)
            .alias("is_provisional"),
        )
        .select(ANOMALIES.names)
    )


def anomalies(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's anomalies, and what must hold of them."""
    key, table = ANOMALIES.key(feed.name), RECORDS[feed.table]

    @dg.asset(
        key=key,
        deps=[CELL_DAYS.key(feed.name), CELLS.key(feed.name), table.key(feed.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=ANOMALIES.metadata | {"withheld_days": feed.reporting_lag_days},
        kinds={"duckdb", "polars", "scipy"},
        description=f"Days on which {feed.title} had more or fewer records than expected, in the "
        "city or a cell of resolution 7, with the streets and records that explain it.",
    )
    def anomalies(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Anomalies of one feed on city-local days."""
        from city311_assets.gold.methods.anomalies import LOOK_BACK_DAYS

        part = Slice.of(context, feed.name)
        window = part.reaching_back(days=LOOK_BACK_DAYS)
        counts = warehouse.read(COUNTS, window, [CELL_DAYS])
        rows = anomaly_rows(warehouse, feed, part, Held.of(warehouse, feed, window), counts)
        warehouse.replace(ANOMALIES, rows, part)
        note_days(context, key, rows.group_by("day").agg(pl.len().alias("rows")), part)
        return dg.MaterializeResult(
            metadata={
                "look_back_days": LOOK_BACK_DAYS,
                "range_anomalies": int(rows["is_anomaly"].sum()),
                "range_provisional": int(rows.filter(pl.col("is_anomaly"))["is_provisional"].sum()),
            }
        )

    claim = Property(
        "tested_or_a_reason",
        "A row has a q or the reason it has none; more records than expected can be looked at.",
        NOT_TOLD,
    )
    return [anomalies, slice_checks([claim], ANOMALIES, feed.name)]
