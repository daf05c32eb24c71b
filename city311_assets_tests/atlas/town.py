"""A small town for tests of the atlas: captions of planted topics."""

import datetime as dt
from collections.abc import Sequence

import numpy as np
import polars as pl

from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CAPTIONS
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.gold import town
from city311_assets_tests.silver.raw import filled

WORDS = {
    "sofas": "sofa mattress couch armchair cushion dumped upholstery furniture",
    "graffiti": "graffiti tag spray paint letters scribble mural lettering",
    "potholes": "pothole asphalt crater pavement crack roadway bump tyre",
    "trees": "branch trunk leaves overgrown roots pruning fallen canopy",
    "leaks": "water leak hydrant puddle pipe flooding gutter stream",
}
COMMON = ["street", "corner", "sidewalk", "near", "shop", "house", "wall", "block"]


def topic_of(index: int, topics: Sequence[str]) -> str:
    """The topic of the record of a number."""
    return topics[index % len(topics)]


def sentence(topic: str, rng: np.random.Generator) -> str:
    """Five words of a topic and two that all topics share."""
    own = rng.choice(WORDS[topic].split(), 5, replace=False)
    return " ".join([*own, *rng.choice(COMMON, 2, replace=False)])


def captions(
    days: Sequence[dt.date],
    per_day: int = 20,
    topics: Sequence[str] = tuple(WORDS),
    seed: int = 3,
) -> pl.DataFrame:
    """Captions of the records of `gold.town.silver`, in the table's columns."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "feed": SF_311.name,
            "day": day,
            "record_id": f"{day}-{index:04}",
            "described": "case",
            "caption": sentence(topic_of(index, topics), rng),
            "caption_method": "case_text",
            "prompt_version": "case_text-1",
            "severity": 1 + index % len(topics),
            "is_retried": False,
        }
        for day in days
        for index in range(per_day)
    ]
    return filled(CAPTIONS, *rows)


def store(warehouse: Warehouse, rows: pl.DataFrame, days: Sequence[dt.date]) -> None:
    """Put captions, and the silver records they are of, into a warehouse."""
    part = Slice(SF_311.name, min(days), max(days) + dt.timedelta(days=1))
    warehouse.replace(CAPTIONS, rows, part)
    known = town.silver(days, per_day=max(rows.group_by("day").len()["len"].to_list(), default=0))
    warehouse.replace(REQUESTS, known, part)


def truth(rows: pl.DataFrame, topics: Sequence[str] = tuple(WORDS)) -> pl.DataFrame:
    """`record_id, topic` of captions."""
    return rows.select(
        "record_id",
        pl.col("record_id")
        .map_elements(lambda one: topic_of(int(one[-4:]), topics), return_dtype=pl.String)
        .alias("topic"),
    )
