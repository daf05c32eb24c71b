"""What the Risk page asks of the published file: scores of a day, and all there is of one cell.

What belongs here: rows as they stand in the file. What does not: how good forecasts were
(`reliability`), and what to do about them (`work_list`).
"""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from city311_assets.risk.histories import matching_kinds
from city311_assets.risk.targets.target import Target
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.risk import (
    COSTS,
    EVALUATIONS,
    MODELS,
    OUTCOMES,
    RECOMMENDATIONS,
    SCORES,
    WARD_COVERAGE,
)
from city311_assets.warehouse.tables.silver import REQUESTS

HISTORY_DAYS = 180

DAYS = f"select distinct day from {SCORES} where target = $target order by day"
OF_DAY = f"""
    select lower(to_hex(s.cell)) as cell, s.p_event_7d as p, s.low, s.high, s.expected_events_7d,
        s.risk_band, s.decile, c.expected_cost_usd_7d as cost, c.p50_cost, c.p90_cost,
        coalesce(g.label, lower(to_hex(s.cell))) as label, g.latitude, g.longitude
    from (
        select * from {SCORES} where target = $target and day = $day and is_newest
    ) as s
    left join (select * from {COSTS} where target = $target and day = $day) as c
        using (cell, model_version)
    left join (
        select cell, label, latitude, longitude from {CELLS}
        where feed = $feed and resolution = $resolution
    ) as g using (cell)
    order by s.cell
"""
SERVED = f"""
    select any_value(model_version) as model_version, any_value(model_kind) as model_kind,
        any_value(reason) as reason, max(as_of) as as_of, avg(p_event_7d) as mean_p,
        count(*) as cells
    from {SCORES} where target = $target and day = $day and is_newest
"""
OF_CELL = f"""
    select s.*, c.* exclude (target, day, cell, model_version)
    from (
        select * from {SCORES}
        where target = $target and day = $day and cell = $cell and is_newest
    ) as s
    left join (
        select * from {COSTS} where target = $target and day = $day and cell = $cell
    ) as c using (model_version)
"""
PLACE = f"""
    select label, neighbors from {CELLS}
    where feed = $feed and resolution = $resolution and cell = $cell
"""
BESIDE = f"""
    select lower(to_hex(s.cell)) as cell, coalesce(g.label, '') as label, p_event_7d as p, decile,
        risk_band
    from {SCORES} as s left join (
        select cell, label from {CELLS} where feed = $feed and resolution = $resolution
    ) as g using (cell)
    where target = $target and day = $day and is_newest and list_contains($cells, s.cell)
    order by p desc
"""
KINDS = f"select distinct kind from {REQUESTS} where feed = $feed and kind is not null"
CALLS = f"""
    select day, count(*) as calls from {REQUESTS}
    where feed = $feed and day > $start and day <= $day and list_contains($kinds, kind)
        and cell is not null and not is_administrative and cell_parent(cell, $resolution) = $cell
    group by day order by day
"""
PAST = f"""
    select s.day, s.p_event_7d as p, o.is_event, o.calls_after_7d as calls
    from (
        select day, p_event_7d from {SCORES}
        where target = $target and cell = $cell and day > $start and day <= $day and is_newest
    ) as s
    left join (
        select day, is_event, calls_after_7d from {OUTCOMES}
        where target = $target and cell = $cell and day > $start and day <= $day
    ) as o using (day)
    order by s.day
"""
SERVING_MODEL = f"select * from {MODELS} where target = $target and model_version = $model_version"
NEWEST_MODELS = f"""
    select * from {MODELS} where target = $target and month <= $day
    qualify month = max(month) over () order by is_promoted desc, brier
"""
ORIGINS = f"""
    select model_kind, count(*) as origins, sum(cell_days)::bigint as cell_days,
        sum(brier * cell_days) / sum(cell_days) as brier,
        sum(brier_skill * cell_days) / sum(cell_days) as brier_skill,
        sum(ece * cell_days) / sum(cell_days) as ece,
        sum(precision_top_1pct * cell_days) / sum(cell_days) as precision_top_1pct
    from {EVALUATIONS} where target = $target and month = $month
    group by model_kind order by brier
"""
WORK = f"""
    select r.*, list_transform(cells, c -> lower(to_hex(c))) as hexes
    from {RECOMMENDATIONS} as r where target = $target and day = $day order by rank
"""
WARDS = f"""
    select * from {WARD_COVERAGE} where target = $target and day = $day
    order by try_cast(ward as integer) nulls last, ward
"""


def days_scored(snapshot: Snapshot, target: str) -> list[date]:
    """Return the days that have scores of a target, in order."""

    def read() -> list[date]:
        if not snapshot.has(SCORES):
            return []
        return snapshot.frame(DAYS, {"target": target})["day"].to_list()

    return snapshot.once(("risk days", target), read)


def params(target: Target, day: date) -> dict[str, object]:
    """Return what most of these queries are asked with."""
    return {"target": target.name, "day": day}


def _place(target: Target) -> dict[str, object]:
    return {"feed": target.feed.name, "resolution": target.resolution}


def scores(snapshot: Snapshot, target: Target, day: date) -> pl.DataFrame:
    """Return a row of each cell of a day.

    `cell` (hex), `p`, `low`, `high`, `expected_events_7d`, `risk_band`, `decile`, `cost`,
    `p50_cost`, `p90_cost` (null where nothing is priced), `label`, `latitude`, `longitude`.
    """
    return snapshot.frame(OF_DAY, params(target, day) | _place(target))


def served(snapshot: Snapshot, target: Target, day: date) -> dict[str, object]:
    """Return what scored a day: `model_version, model_kind, reason, as_of, mean_p, cells`."""
    return snapshot.rows(SERVED, params(target, day))[0]


def model(snapshot: Snapshot, version: object, target: Target) -> dict[str, object] | None:
    """Return the row of a fitted model; None where there is none of that version."""
    if not snapshot.has(MODELS):
        return None
    rows = snapshot.rows(SERVING_MODEL, {"target": target.name, "model_version": version})
    return rows[0] if rows else None


def candidates(snapshot: Snapshot, target: Target, day: date) -> list[dict[str, object]]:
    """Return the candidates of the newest month of models up to a day, the promoted one first."""
    if not snapshot.has(MODELS):
        return []
    return snapshot.rows(NEWEST_MODELS, params(target, day))


def origins(snapshot: Snapshot, target: Target, month: object) -> list[dict[str, object]]:
    """Return how each candidate did over the origins of a month, the best first."""
    if not snapshot.has(EVALUATIONS):
        return []
    return snapshot.rows(ORIGINS, {"target": target.name, "month": month})


def cell(snapshot: Snapshot, target: Target, day: date, number: int) -> dict[str, object] | None:
    """Return a cell's score, drivers and costs of a day, and its place; None if not scored.

    Beside the columns of scores and costs: `label` and `beside` (the scores of its neighbours).
    """
    given = params(target, day) | {"cell": number}
    rows = snapshot.rows(OF_CELL, given)
    if not rows:
        return None
    found = snapshot.rows(PLACE, _place(target) | {"cell": number})
    place: Mapping[str, object] = found[0] if found else {}
    beside = snapshot.rows(
        BESIDE, params(target, day) | _place(target) | {"cells": place.get("neighbors") or []}
    )
    return rows[0] | {"label": place.get("label"), "beside": beside}


def kinds(snapshot: Snapshot, target: Target) -> list[str]:
    """Return the kinds of request of a feed that are calls of a target, as they are written."""

    def read() -> list[str]:
        found = snapshot.frame(KINDS, {"feed": target.feed.name})["kind"]
        return sorted(matching_kinds(target, found))

    return snapshot.once(("risk kinds", target.name), read)


def history(snapshot: Snapshot, target: Target, day: date, number: int) -> pl.DataFrame:
    """Return the calls of a cell on the days up to one that had some: `day, calls`."""
    given = _place(target) | {
        "kinds": kinds(snapshot, target),
        "cell": number,
        "day": day,
        "start": day - timedelta(days=HISTORY_DAYS),
    }
    return snapshot.frame(CALLS, given)


def past_scores(snapshot: Snapshot, target: Target, day: date, number: int) -> pl.DataFrame:
    """Return what was forecast of a cell and what came: `day, p, is_event, calls`; null if open."""
    given = params(target, day) | {"cell": number, "start": day - timedelta(days=HISTORY_DAYS)}
    return snapshot.frame(PAST, given)


def recommendations(snapshot: Snapshot, target: Target, day: date) -> list[dict[str, object]]:
    """Return the clusters of a day in which an action pays, by rank; `hexes` are their cells."""
    if not snapshot.has(RECOMMENDATIONS):
        return []
    return snapshot.rows(WORK, params(target, day))


def wards(snapshot: Snapshot, target: Target, day: date) -> pl.DataFrame:
    """Return who is reached, by ward."""
    if not snapshot.has(WARD_COVERAGE):
        return pl.DataFrame()
    return snapshot.frame(WARDS, params(target, day))
