"""What happened in one cell, day by day, and what was forecast of it."""

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import h3.api.basic_int as h3

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.risk.targets.registry import TARGETS
from city311_assets.risk.targets.target import Target
from city311_assets.serving.api.days import last_days, require
from city311_assets.serving.api.endpoints import Endpoint
from city311_assets.serving.api.layers import CALLS, is_sample, source
from city311_assets.serving.api.parameters import FEED, MOST_DAYS, Asked, cell, choice, whole
from city311_assets.serving.api.problems import ProblemError
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.gold import CELL_DAYS, CELLS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.risk import COSTS, OUTCOMES, SCORES

USUAL_DAYS = 180
KNOWN = f"select feed, label from {CELLS} where resolution = $resolution and cell = $cell"
HELD = f"select day, asked_at from {SLICES} where feed = $feed order by day"
RECORDED = f"""
    select day, sum(records)::bigint as records, sum(eligible)::bigint as eligible,
        sum(successes)::bigint as successes,
        to_json(map_from_entries(list((category, records) order by category))) as categories
    from {CELL_DAYS}
    where feed = $feed and resolution = $resolution and cell = $cell
        and day between $first and $last
    group by day
"""
IN_CELL = "where target = $target and cell = $cell and day between $first and $last"
FORECAST = {
    SCORES: f"""
        select day, p_event_7d, low, high, expected_events_7d, risk_band, decile, model_version
        from {SCORES} {IN_CELL} and is_newest
    """,
    COSTS: f"select day, expected_cost_usd_7d, p90_cost from {COSTS} {IN_CELL}",
    OUTCOMES: f"select day, calls_after_7d, is_event from {OUTCOMES} {IN_CELL}",
}
NULLABLE = {"type": ["integer", "null"]}


def history(snapshot: Snapshot, asked: Asked) -> bytes:
    """Return the days of a cell, oldest first."""
    require(snapshot, CELLS, CELL_DAYS, SLICES)
    own: int = asked["h3_id"]
    resolution = h3.get_resolution(own)
    known = snapshot.frame(KNOWN, {"cell": own, "resolution": resolution})
    labels: dict[str, str | None] = dict(known.rows())
    feed, target = _meant(own, labels, asked)
    asked_at = snapshot.frame(HELD, {"feed": feed.name})
    held: dict[date, datetime | None] = dict(asked_at.rows())
    if not held:
        raise ProblemError(
            404, f"no day of {feed.name} is held yet", parameter="feed", given=feed.name
        )
    days = last_days(max(held), asked["days"])
    of_cell = {"cell": own, "first": days[0], "last": days[-1]}
    recorded = {
        row.pop("day"): row
        for row in snapshot.rows(RECORDED, of_cell | {"feed": feed.name, "resolution": resolution})
    }
    forecast: dict[Any, dict[str, Any]] = {}
    if target is not None and target.resolution == resolution:
        for table, query in FORECAST.items():
            if snapshot.has(table):
                for row in snapshot.rows(query, of_cell | {"target": target.name}):
                    forecast.setdefault(row.pop("day"), {}).update(row)
    said = {
        "cell": format(own, "x"),
        "resolution": resolution,
        "label": labels[feed.name],
        **source(feed),
        "target": target.name if target else None,
        "first_day": days[0].isoformat(),
        "last_day": days[-1].isoformat(),
        "as_of": f"{snapshot.published_at:%Y-%m-%dT%H:%M:%SZ}",
        "data_version": snapshot.data_version,
        "is_sample": is_sample(snapshot),
        "note": CALLS if target else "Records are what people reported.",
        "days": [
            {
                "day": day.isoformat(),
                "is_held": day in held,
                "is_provisional": _is_provisional(feed, day, held[day]) if day in held else None,
                **_of_day(recorded.get(day), day in held),
                **forecast.get(day, {}),
            }
            for day in days
        ],
    }
    return json.dumps(said).encode()


def _meant(own: int, labels: dict[str, str | None], asked: Asked) -> tuple[Feed, Target | None]:
    """Return whose records and which forecast are meant; the first that knows the cell."""
    where = format(own, "x")
    if not labels:
        raise ProblemError(
            404, f"no feed's study area has the cell {where}", parameter="h3_id", given=where
        )
    target = TARGETS[asked["target"]] if asked["target"] else None
    name = asked["feed"] or (target.feed.name if target else None)
    if target and name != target.feed.name:
        raise ProblemError(
            422,
            f"the target {target.name} is of {target.feed.name}, not of {name}; leave one of the "
            "two out",
            parameter="target",
            given=target.name,
        )
    if name is None:
        of_targets = [one.feed.name for one in TARGETS.values()]
        name = next(feed for feed in [*of_targets, *FEEDS] if feed in labels)
    if name not in labels:
        raise ProblemError(
            404,
            f"{name} has no cell {where}; it is one of {', '.join(sorted(labels))}",
            parameter="feed",
            given=name,
            accepted=sorted(labels),
        )
    return FEEDS[name], target or next(
        (one for one in TARGETS.values() if one.feed.name == name), None
    )


def _of_day(row: dict[str, Any] | None, is_held: bool) -> dict[str, Any]:
    """Return a day's counts: 0 on a day that is held, unknown on one that is not."""
    if row:
        return row | {"categories": json.loads(row["categories"])}
    nothing = 0 if is_held else None
    counts = dict.fromkeys(("records", "eligible", "successes"), nothing)
    return counts | {"categories": {} if is_held else None}


def _is_provisional(feed: Feed, day: date, asked_at: datetime | None) -> bool | None:
    """Whether the portal had not told all of a day when it was asked; None where it never was."""
    if asked_at is None:
        return None
    over = datetime.combine(
        day + timedelta(days=1 + feed.reporting_lag_days), time(), ZoneInfo(feed.city.timezone)
    )
    return asked_at < over.astimezone(UTC).replace(tzinfo=None)


HISTORY = Endpoint(
    path="/api/cell/{h3_id}/history",
    name="cell-history",
    summary="What happened in a cell, day by day, and what was forecast of it",
    doc="Records of each day with their categories; on the cells of a target's resolution also the "
    "chance, the expected cost and what came of it. Counts are null on a day that is not held; a "
    "forecast is absent where there was none. " + CALLS,
    parameters=(
        cell("h3_id", "An H3 cell of resolutions 6 to 10, hex.", "path"),
        whole("days", "How many days, up to the newest that is held.", USUAL_DAYS, 1, MOST_DAYS),
        FEED,
        choice(
            "target", "Calls that are forecast; default: the first target of the feed.", TARGETS
        ),
    ),
    schema={
        "type": "object",
        "required": ["cell", "feed", "first_day", "last_day", "as_of", "data_version", "days"],
        "properties": {
            "cell": {"type": "string"},
            "label": {"type": ["string", "null"]},
            "days": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["day", "is_held", "records"],
                    "properties": {
                        "day": {"type": "string", "format": "date"},
                        "is_held": {"type": "boolean"},
                        "records": NULLABLE,
                        "p_event_7d": {"type": "number"},
                    },
                },
            },
        },
    },
    make=history,
)
