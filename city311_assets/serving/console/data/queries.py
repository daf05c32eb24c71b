"""What the Data page asks of the published file.

What belongs here: rows as they stand in the file. What does not: how they are shown.
"""

from datetime import date

import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.atlas import MODEL_CALLS
from city311_assets.warehouse.tables.bronze import (
    BOUNDARIES,
    RECORDS,
    WEATHER,
    WEATHER_FORECASTS,
    WITHDRAWN_RECORDS,
)
from city311_assets.warehouse.tables.meta import CHECK_RESULTS, SLICES
from city311_assets.warehouse.tables.silver import INCIDENTS, REJECTED_RECORDS, REQUESTS

# Rows of a table that a person still reads; the rest is counted.
MOST_ROWS = 200
EXAMPLES = 3

PUBLICATION = "from meta.publications"
FEED_ROWS = """
    with days as (
        select feed, sum(records)::bigint as records, sum(set_aside)::bigint as set_aside,
            bool_or(is_sample) as is_sample
        from records_per_day group by feed
    )
    select feed, f.newest_day, f.oldest_day, f.days_held, f.missing_days, f.newest_asked_at,
        d.records, d.set_aside, d.is_sample, w.records as withdrawn, w.moved,
        w.newest as newest_withdrawn
    from freshness as f full join days as d using (feed) left join withdrawals as w using (feed)
"""
DAY_ROWS = f"""
    select s.day, s.rows, s.asked_at, s.marked_stale_at, r.records, r.with_point, r.set_aside
    from {SLICES} as s
    left join (select * from records_per_day where feed = $feed) as r using (day)
    where s.feed = $feed and s.day >= $start and s.day < $end order by s.day desc
"""
HELD = f"select day, rows from {SLICES} where feed = $feed order by day"
SET_ASIDE = f"""
    select a.feed, a.reason, a.records, a.first_day, a.last_day, e.ids
    from set_aside as a join (
        select feed, reason, list(distinct record_id order by record_id)[:$examples] as ids
        from {REJECTED_RECORDS} where record_id is not null group by all
        union all by name
        select feed, reason, [] as ids from {REJECTED_RECORDS}
        group by all having count(record_id) = 0
    ) as e using (feed, reason)
    order by a.records desc, a.feed, a.reason
"""
CALLS = f"""
    select feed, purpose, model, date_trunc('month', called_at)::date as month,
        count(*) as calls, count(error) as failed, sum(items)::bigint as items,
        sum(tokens_in)::bigint as tokens_in, sum(tokens_out)::bigint as tokens_out,
        sum(usd) as usd, count(*) - count(usd) as without_price, max(priced_on) as priced_on
    from {MODEL_CALLS} group by all order by month desc, feed, purpose, model
"""
CALL_ERRORS = f"""
    select error, count(*) as calls from {MODEL_CALLS}
    where error is not null group by error order by calls desc, error limit 10
"""
FAILING = f"""
    select * from {CHECK_RESULTS} where not is_passed
    order by failure_severity <> 'ERROR', last_failing_day desc nulls first, asset, check_name
    limit $most
"""
CHECKS = f"""
    with checks as (
        select asset, check_name, bool_and(is_passed) as passes,
            coalesce(bool_or(failure_severity = 'ERROR'), false) as is_error
        from {CHECK_RESULTS} group by all
    )
    select count(*) as checks, count(*) filter (passes) as passing,
        count(*) filter (is_error) as failing,
        count(*) filter (not passes and not is_error) as warning,
        (select count(*) from {CHECK_RESULTS} where not is_passed) as rows,
        (select max(checked_at) from {CHECK_RESULTS}) as checked_at
    from checks
"""
WEATHER_ROWS = f"""
    select city, count(*) as days, min(day) as oldest, max(day) as newest,
        max(fetched_at) as fetched_at, any_value(fetched_from) as fetched_from
    from {WEATHER} group by city order by city
"""
ISSUED = f"select city, max(issued_at) as issued_at from {WEATHER_FORECASTS} group by city"
AREAS = f"""
    select city, areas, count(distinct area) as areas_count, any_value(dataset) as dataset,
        max(fetched_at) as fetched_at from {BOUNDARIES} group by all order by city, areas
"""


def publication(snapshot: Snapshot) -> dict[str, object]:
    """Return what the file says of its publication; an older file says less."""
    return snapshot.rows(PUBLICATION)[0]


def feed_rows(snapshot: Snapshot) -> dict[str, dict[str, object]]:
    """Return a row of each declared feed: how far it reaches and what it holds; None if unknown."""

    def read() -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = {name: {"feed": name} for name in FEEDS}
        if all(snapshot.has(one) for one in (SLICES, REQUESTS, INCIDENTS, WITHDRAWN_RECORDS)):
            for row in snapshot.rows(FEED_ROWS):
                found[str(row["feed"])] = row
        return found

    return snapshot.once("data feed rows", read)


def held_days(snapshot: Snapshot, feed: str) -> pl.DataFrame:
    """Return the days that bronze holds of a feed and its rows on them: `day, rows`."""
    if not snapshot.has(SLICES):
        return pl.DataFrame(schema={"day": pl.Date, "rows": pl.Int64})
    return snapshot.frame(HELD, {"feed": feed})


def day_rows(snapshot: Snapshot, feed: Feed, start: date, end: date) -> list[dict[str, object]]:
    """Return the days of a feed from `start` up to `end`, newest first, with what came of them.

    `changed` is the newest change that the portal says of a record of the day, as it writes it.
    """
    part: dict[str, object] = {"feed": feed.name, "start": start, "end": end}
    rows = snapshot.rows(DAY_ROWS, part)
    bronze = RECORDS[feed.name]
    changed: dict[object, object] = {}
    if feed.changed and snapshot.has(bronze):
        query = f"""
            select day, max("{feed.changed}") as changed from {bronze}
            where feed = $feed and day >= $start and day < $end group by day
        """
        changed = {row["day"]: row["changed"] for row in snapshot.rows(query, part)}
    return [row | {"changed": changed.get(row["day"])} for row in rows]


def set_aside(snapshot: Snapshot) -> list[dict[str, object]]:
    """Return what was set aside by feed and reason, with a few of the records' numbers."""
    if not snapshot.has(REJECTED_RECORDS):
        return []
    return snapshot.rows(SET_ASIDE, {"examples": EXAMPLES})


def model_calls(snapshot: Snapshot) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return calls of models by purpose, model and month, and the errors they ended with."""
    if not snapshot.has(MODEL_CALLS):
        return [], []
    return snapshot.rows(CALLS), snapshot.rows(CALL_ERRORS)


def checks(snapshot: Snapshot) -> dict[str, object] | None:
    """Return how many checks pass, fail and warn; None of a file that does not know."""
    if not snapshot.has(CHECK_RESULTS):
        return None
    return snapshot.rows(CHECKS)[0]


def failing_checks(snapshot: Snapshot) -> list[dict[str, object]]:
    """Return the rows of checks that do not pass, errors first, at most `MOST_ROWS`."""
    if not snapshot.has(CHECK_RESULTS):
        return []
    return snapshot.rows(FAILING, {"most": MOST_ROWS})


def weather(snapshot: Snapshot) -> list[dict[str, object]]:
    """Return by city how much weather is held, and the newest forecast."""
    if not snapshot.has(WEATHER):
        return []
    rows = snapshot.rows(WEATHER_ROWS)
    issued = {}
    if snapshot.has(WEATHER_FORECASTS):
        issued = {row["city"]: row for row in snapshot.rows(ISSUED)}
    return [row | {"issued_at": issued.get(row["city"], {}).get("issued_at")} for row in rows]


def areas(snapshot: Snapshot) -> list[dict[str, object]]:
    """Return the sets of boundaries held."""
    return snapshot.rows(AREAS) if snapshot.has(BOUNDARIES) else []
