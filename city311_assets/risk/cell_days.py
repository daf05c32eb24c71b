"""Risk cell days: what was known of every cell on a day, from which its next days are forecast.

A day knows what happened up to its end. Marks that a request gets later (closed, a repeat) are no
part of it, and weather only as far as the archive had told it by then. A day that is not held has
no rows: a gap is not an absence of calls.
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import polars as pl

from city311_assets.gold.slices import HELD
from city311_assets.partitions import BY_CHUNK, DAYS, DAYS_PER_RUN, Slice, note_days
from city311_assets.risk.histories import History, chunks, history
from city311_assets.risk.methods.features import (
    LONGEST_DAYS,
    WEATHER_REACH_DAYS,
    features,
    weather_known,
)
from city311_assets.risk.targets.target import Target
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.risk import CELL_DAYS
from city311_assets.warehouse.tables.silver import RECORDS, WEATHER_DAYS

# A kind that was called in every year but is missing from so many days has another name now.
KIND_DAYS = 365

WEATHER = f"from {WEATHER_DAYS} where {WEATHER_DAYS.where} order by day"
DAYS_HELD = HELD.format(
    records="{records}",
    slices=SLICES,
    where="feed = $feed and day >= $start and day < $end",
)
NOT_WHOLE = f"""
    select held.day, count(rows.cell) as rows
    from ({DAYS_HELD}) as held left join (
        select day, cell from {CELL_DAYS} where {CELL_DAYS.where} and cell in (
            select cell from {CELLS} where feed = $feed and resolution = $resolution
                and coalesce(is_inside, false))
    ) as rows on rows.day = held.day
    group by held.day
    having count(rows.cell) < (
        select count(*) from {CELLS} where feed = $feed and resolution = $resolution
            and coalesce(is_inside, false))
    order by held.day
"""
NOT_NESTED = f"""
    select day, cell as kind from {CELL_DAYS} where {CELL_DAYS.where} and not (
        coalesce(calls_7d >= 0 and calls_7d <= calls_14d, true)
        and coalesce(calls_14d <= calls_30d, true) and coalesce(calls_30d <= calls_90d, true)
        and coalesce(calls_90d <= calls_365d, true)
        and coalesce(calls_30d <= all_calls_30d, true)
        and coalesce(calls_365d <= all_calls_365d, true)
        and coalesce(all_calls_30d <= all_calls_365d, true)
        and coalesce(ring1_calls_30d <= ring1_calls_365d, true)
        and decay_7d <= decay_30d and coalesce((days_since_last < 7) = (calls_7d > 0), true))
"""
WEATHER_OF_LATER = f"""
    select distinct rows.day, rows.weather_day as other_day
    from {CELL_DAYS} as rows left join {WEATHER_DAYS} as weather
        on weather.city = $city and weather.day = rows.weather_day
    where target = $target and rows.day >= $start and rows.day < $end
        and rows.weather_day is not null
        and not coalesce(weather.known_on <= rows.day and weather.source = 'archive', false)
    order by all
"""
WITHOUT_WEATHER = f"""
    select day, count(*) as rows from {CELL_DAYS}
    where {CELL_DAYS.where} and weather_day is null group by day order by day
"""
NOT_HELD = f"""
    select day::date as day from range($start, $end, interval 1 day) as days(day)
    where day::date not in (select day from ({DAYS_HELD})) order by day
"""
# Kinds are compared as `normalized` compares them. A year must be held before one can be missing.
KINDS_GONE = f"""
    with held as (
        select day from {{records}} where feed = $feed and day < $end
        union select day from {SLICES} where feed = $feed and day < $end
    ), year as (select day from held order by day desc limit {KIND_DAYS}),
    published as (
        select distinct kind from {{records}}
        where feed = $feed and day >= (select min(day) from year) and day < $end
    ), seen as (
        select trim(regexp_replace(lower(kind), '[^\\p{{{{L}}}}\\p{{{{N}}}}]+', ' ', 'g')) as kind
        from published
    )
    select ($end - interval 1 day)::date as day, kind from (select unnest($kinds) as kind)
    where kind not in (select kind from seen where kind is not null)
        and (select count(*) from year) = {KIND_DAYS} and exists (from seen)
    order by kind
"""


def cell_day_rows(
    read: History, weather: pl.DataFrame, part: Slice, chunk_days: int = DAYS_PER_RUN
) -> Iterator[pl.DataFrame]:
    """Return what was known of every cell on the days of a slice, in the table's columns.

    Each frame is of so many days, in order. `weather` are rows of `silver.weather_days`, from
    `WEATHER_REACH_DAYS` before the slice on.
    """
    start, stop = read.place(part.start), read.place(part.end)
    days = pl.Series("day", read.days[start:stop], pl.Date)
    of_day = weather_known(weather, days).with_columns(
        is_provisional=pl.Series(read.is_provisional[start:stop]), target=pl.lit(part.name)
    )
    for rows in features(read.past, start, stop, chunk_days):
        joined = rows.join(of_day, on="day", how="left", maintain_order="left")
        yield joined.select(CELL_DAYS.names)


def write(warehouse: Warehouse, target: Target, part: Slice) -> pl.DataFrame:
    """Make a slice; return figures of each day that has rows.

    A long slice is written some days at a time, each time all or nothing, so that memory does not
    grow with it.
    """
    city = target.feed.city.name
    read = history(warehouse, target, part)
    reach = Slice(city, part.start - timedelta(days=WEATHER_REACH_DAYS), part.end, "city")
    weather = warehouse.read(WEATHER, reach, [WEATHER_DAYS])
    figures = []
    for own, rows in zip(chunks(part), cell_day_rows(read, weather, part), strict=True):
        warehouse.replace(CELL_DAYS, rows, own)
        figures.append(
            rows.group_by("day", maintain_order=True).agg(
                pl.len().alias("rows"),
                pl.col("calls_7d").sum(),
                pl.col("history_days").first(),
                pl.col("weather_day").first(),
            )
        )
    return pl.concat(figures)


def claims(target: Target) -> list[Property]:
    """Return what must hold of what is known of a target's cells."""
    table = RECORDS[target.feed.table]
    error, warn = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
    return [
        Property(
            "whole_study_area",
            "On a day that is held every cell of the study area has a row, calls or none.",
            NOT_WHOLE.format(records=table),
        ),
        Property(
            "counts_are_nested",
            "No count is above that of a longer time, or of all requests.",
            NOT_NESTED,
        ),
        Property(
            "weather_was_known",
            "The weather of a row is the archive's, and was known on its day.",
            WEATHER_OF_LATER,
        ),
        Property(
            "weather_covered",
            "Every day knows the weather of one of the 14 days before it.",
            WITHOUT_WEATHER,
            is_blocking=False,
            severity=warn,
        ),
        Property(
            "days_held",
            "Every day is held; one that is not has no rows, and no forecast.",
            NOT_HELD.format(records=table),
            is_blocking=False,
            severity=warn,
        ),
        Property(
            "kinds_appear",
            "Every kind of the target came in on one of the newest 365 days held; another may have "
            "a new name: `city311 discover-types` lists those there are.",
            KINDS_GONE.format(records=table),
            is_blocking=False,
            severity=error,
        ),
    ]


def cell_days(target: Target) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare what is known of a target's cells day by day, and what must hold of it."""
    feed = target.feed
    key, table = CELL_DAYS.key(target.name), RECORDS[feed.table]

    @dg.asset(
        key=key,
        deps=[table.key(feed.name), WEATHER_DAYS.key(feed.city.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=CELL_DAYS.metadata
        | {"look_back_days": LONGEST_DAYS, "kinds": sorted(target.kinds), "study_area": str(CELLS)},
        kinds={"duckdb", "polars", "scipy"},
        description=f"{target.title}: what was known of every cell of the study area on a "
        "city-local day, zero history included: calls of 7 to 365 days, next door and last year, "
        "rates, how much people call at all, season, and weather as far as it was known.",
    )
    def cell_days(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """What was known of one target's cells on city-local days."""
        part = Slice.of(context, target.name, "target")
        figures = write(warehouse, target, part)
        note_days(context, key, figures.with_columns(pl.col("weather_day").cast(pl.String)), part)
        without = (part.end - part.start).days - figures.height
        return dg.MaterializeResult(
            metadata={
                "range_rows": int(figures["rows"].sum()),
                "range_days_not_held": without,
                "range_days_without_weather": figures["weather_day"].null_count(),
            }
        )

    params = {
        "feed": feed.name,
        "city": feed.city.name,
        "resolution": target.resolution,
        "kinds": sorted(target.normalized_kinds),
    }
    also = [table, SLICES, CELLS, WEATHER_DAYS]
    return [cell_days, slice_checks(claims(target), CELL_DAYS, target.name, also, params)]
