"""Layers of risk: where the next call is likely, what it costs, what to do first."""

import json
from datetime import date

import polars as pl

from city311_assets.risk.targets.registry import target_named
from city311_assets.risk.targets.target import Target
from city311_assets.serving.api.days import chosen, require
from city311_assets.serving.api.geojson import boxes_touch, on_map, tidied
from city311_assets.serving.api.layers import CALLS, Found, layer, of_day, source, versions
from city311_assets.serving.api.parameters import TARGET, Asked, day
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.risk import COSTS, RECOMMENDATIONS, SCORES

RISK = f"""
    select cell, p_event_7d, low, high, expected_events_7d, risk_band, decile,
        [{{driver: one.driver, effect: round(one.effect, 4), words: one.words}} for one in drivers]
            as drivers,
        model_version, model_kind, reason, as_of
    from {SCORES} where target = $target and day = $day and is_newest order by cell
"""
COST = f"""
    select cell, expected_cost_usd_7d, p50_cost, p90_cost, water_usd, energy_usd, repair_usd,
        response_usd, model_version, priors_version
    from {COSTS} where target = $target and day = $day order by cell
"""
WORK = f"""
    select recommendation_id as id, rank, is_chosen, action, parameters,
        [lower(to_hex(cell)) for cell in cells] as cells, expected_saving_usd, saving_low,
        saving_high, action_cost_usd, net_benefit_usd, crew_hours, expected_events_7d, why,
        equity_note, latitude, longitude, model_version, priors_version, geometry
    from {RECOMMENDATIONS} where target = $target and day = $day
    order by rank, recommendation_id
"""
NUMBER, TEXT, WHOLE = {"type": "number"}, {"type": "string"}, {"type": "integer"}


def risk(snapshot: Snapshot, asked: Asked) -> Found:
    """Return the newest scores of a day."""
    require(snapshot, SCORES)
    target = target_named(asked["target"])
    on = chosen(snapshot, SCORES, target.name, asked["date"], name="date")
    scores = snapshot.frame(RISK, {"target": target.name, "day": on})
    about = _about(target, on) | {
        "model_version": versions(scores),
        "scored_at": f"{scores['as_of'].max():%Y-%m-%dT%H:%M:%SZ}" if scores.height else None,
    }
    return Found(_drawn(snapshot, scores.drop("as_of"), target, asked), about)


def cost(snapshot: Snapshot, asked: Asked) -> Found:
    """Return what a day's risk is expected to cost."""
    require(snapshot, COSTS)
    target = target_named(asked["target"])
    on = chosen(snapshot, COSTS, target.name, asked["date"], name="date")
    costs = snapshot.frame(COST, {"target": target.name, "day": on})
    about = _about(target, on) | {
        "model_version": versions(costs),
        "priors_version": versions(costs, "priors_version"),
    }
    return Found(_drawn(snapshot, costs.drop("priors_version"), target, asked), about)


def recommendations(snapshot: Snapshot, asked: Asked) -> Found:
    """Return a day's clusters of cells for which an action pays, the best first."""
    require(snapshot, RECOMMENDATIONS, COSTS)
    target = target_named(asked["target"])
    # A day that was priced and has no recommendation is one on which none pays.
    on = chosen(snapshot, COSTS, target.name, asked["date"], name="date")
    work = snapshot.frame(WORK, {"target": target.name, "day": on})
    about = _about(target, on) | {
        "model_version": versions(work),
        "priors_version": versions(work, "priors_version"),
    }
    if asked["bbox"]:
        work = work.filter(
            pl.Series(boxes_touch(work["geometry"], asked["bbox"]), dtype=pl.Boolean)
        )
    drawn = work.with_columns(
        pl.Series("geometry", tidied(work["geometry"]), pl.String),
        pl.col("id").alias("recommendation_id"),
        # Read and written again: what is no JSON must not get into the middle of an answer.
        pl.Series("parameters", [json.dumps(json.loads(text)) for text in work["parameters"]]),
    )
    return Found(drawn, about, raw=("parameters",))


def _drawn(snapshot: Snapshot, rows: pl.DataFrame, target: Target, asked: Asked) -> pl.DataFrame:
    return on_map(snapshot, rows, target.feed.name, target.resolution, asked["bbox"])


def _about(target: Target, on: date) -> dict[str, object]:
    return {
        "target": target.name,
        "title": target.title,
        "date": of_day(on),
        "horizon_days": target.horizon_days,
        "resolution": target.resolution,
        "note": CALLS,
        **source(target.feed),
    }


LAYERS = (
    layer(
        name="risk",
        summary="The chance of a call in each cell in the 7 days after a day",
        doc="Calibrated probabilities with their reasons, of every cell of the study area. "
        + CALLS,
        parameters=(TARGET, day()),
        properties={
            "cell": TEXT,
            "p_event_7d": NUMBER,
            "risk_band": {"enum": ["low", "medium", "high"]},
            "drivers": {"type": "array"},
        },
        find=risk,
    ),
    layer(
        name="cost",
        summary="What the 7 days after a day are expected to cost, by cell",
        doc="US dollars, by the stated priors. " + CALLS,
        parameters=(TARGET, day()),
        properties={"cell": TEXT, "expected_cost_usd_7d": NUMBER, "p90_cost": NUMBER},
        find=cost,
    ),
    layer(
        name="recommendations",
        summary="A day's clusters of cells for which an action pays, the best first",
        doc="The action with its parameters, what it saves, costs and nets, the crew hours it "
        "takes, and why there. `is_chosen` marks the set that fits the crew hours of a day. On a "
        "day on which no action pays the collection is empty. " + CALLS,
        parameters=(TARGET, day()),
        properties={
            "recommendation_id": TEXT,
            "rank": WHOLE,
            "action": TEXT,
            "cells": {"type": "array", "items": TEXT},
            "net_benefit_usd": NUMBER,
        },
        find=recommendations,
    ),
)
