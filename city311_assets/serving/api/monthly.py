"""Answers of a feed's month: the rows of some tables, as JSON.

What belongs here: how rows become an answer. What does not: which tables answer what.
"""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl
import polars.selectors as cs

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.api.days import as_month
from city311_assets.serving.api.geojson import SIGNIFICANT
from city311_assets.serving.api.layers import is_sample, source, versions
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.table import Table


def monthly(
    snapshot: Snapshot,
    feed: str,
    on: date,
    parts: Mapping[str, tuple[Table, str]],
    note: str,
) -> bytes:
    """Return one month of some tables as one JSON object.

    Parameters
    ----------
    parts
        Under which name a table's rows stand, and their order; the first decides the model's
        version. A table that an older file lacks is null.
    """
    frames = {
        name: _rows(snapshot, table, order, feed, on) if snapshot.has(table) else None
        for name, (table, order) in parts.items()
    }
    first = next(iter(frames.values()))
    head = {
        "month": as_month(on),
        **source(FEEDS[feed]),
        "as_of": f"{snapshot.published_at:%Y-%m-%dT%H:%M:%SZ}",
        "data_version": snapshot.data_version,
        "model_version": None if first is None else versions(first, "embedding_model"),
        "is_sample": is_sample(snapshot),
        "note": note,
    }
    texts = [f'"{name}":{_text(frame)}' for name, frame in frames.items()]
    return f"{json.dumps(head)[:-1]}, {', '.join(texts)}}}".encode()


def monthly_schema(name: str, /, **columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an answer whose rows have these columns among others."""
    row = {"type": "object", "required": list(columns), "properties": dict(columns)}
    return {
        "type": "object",
        "required": ["month", "feed", "as_of", "data_version", name],
        "properties": {
            "month": {"type": "string"},
            "feed": {"type": "string"},
            "as_of": {"type": "string", "format": "date-time"},
            "data_version": {"type": ["string", "null"]},
            "model_version": {"type": ["string", "null"]},
            name: {"type": "array", "items": row},
        },
    }


def _rows(snapshot: Snapshot, table: Table, order: str, feed: str, on: date) -> pl.DataFrame:
    query = f"select * exclude (feed, month) from {table} where feed = $feed and month = $month"
    return snapshot.frame(f"{query} order by {order}", {"feed": feed, "month": on})


def _text(frame: pl.DataFrame | None) -> str:
    if frame is None:
        return "null"
    if frame.is_empty():
        return "[]"
    shown = frame.with_columns(
        cs.float().round_sig_figs(SIGNIFICANT), cs.datetime().dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    return f"[{shown.select(pl.struct(pl.all()).struct.json_encode().str.join(',')).item()}]"
