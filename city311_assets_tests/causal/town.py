"""A small town for tests of effects: topics with vectors, and neighbourhoods of which some wait."""

import datetime as dt

import numpy as np
import polars as pl

from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CAPTIONS, EMBEDDINGS
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.silver.raw import filled

MONTH = dt.date(2026, 5, 1)
FIRST, LAST = dt.date(2026, 3, 1), dt.date(2026, 5, 31)
OF_MONTH = Slice(SF_311.name, MONTH, dt.date(2026, 6, 1))
WINDOW = Slice(SF_311.name, FIRST, dt.date(2026, 6, 1))
OBSERVED = dt.datetime(2026, 7, 15)
TOPICS, DIMENSIONS = 6, 16
# Hours that a place adds; "Corner" has few cases, "Island" a category that no other has.
EXTRA_HOURS = {"Slow": 60.0, "North": 0.0, "South": 0.0, "East": 0.0, "West": 0.0}
FEW, ALONE = "Corner", "Island"
PER_DAY = 16


def cases(seed: int = 1, days: int = 92) -> pl.DataFrame:
    """One row a case: what silver has of it, its vector, and how long it took whatever is known."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(TOPICS, DIMENSIONS))
    level = rng.normal(3.6, 0.5, TOPICS)
    names = [*EXTRA_HOURS]
    rows = []
    for number in range(days * PER_DAY):
        day = FIRST + dt.timedelta(days=number // PER_DAY)
        topic = int(rng.integers(TOPICS))
        # Where a case lies hangs on its topic, so a plain difference is biased.
        place = names[(topic + int(rng.integers(3))) % len(names)]
        if number % 150 == 7:
            place = FEW
        if number % 40 == 11:
            place = ALONE
        took = float(np.exp(level[topic] + rng.normal(0, 0.5))) + EXTRA_HOURS.get(place, 0.0)
        opened = dt.datetime.combine(day, dt.time(int(rng.integers(24)), int(rng.integers(60))))
        vector = centres[topic] + rng.normal(0, 0.3, DIMENSIONS)
        rows.append(
            {
                "record_id": f"{number:06}",
                "day": day,
                "neighborhood": place,
                "category": "Island works" if place == ALONE else f"Works {topic // 3}",
                "opened": opened,
                "took": took,
                "vector": (vector / np.linalg.norm(vector)).tolist(),
            }
        )
    return pl.DataFrame(rows)


def requests(known: pl.DataFrame, **own: object) -> pl.DataFrame:
    """Return silver's rows of cases."""
    rows = []
    for case in known.to_dicts():
        closed = case["opened"] + dt.timedelta(hours=case["took"])
        is_open = closed > OBSERVED
        rows.append(
            {
                "feed": SF_311.name,
                "day": case["day"],
                "record_id": case["record_id"],
                "opened_at": case["opened"],
                "opened_at_utc": case["opened"],
                "category": case["category"],
                "taxonomy": SF_311.taxonomy,
                "kind": "Kind",
                "neighborhood": case["neighborhood"],
                "has_point": False,
                "point_reason": "absent",
                "hour": case["opened"].hour,
                "weekday": case["day"].isoweekday(),
                "is_time_certain": True,
                "source_channel": "Phone",
                "record_url": "https://town.example",
                "origin": "portal",
                "observed_until": OBSERVED,
                "closed_at_utc": None if is_open else closed,
                "hours_to_close": None if is_open else case["took"],
                "hours_to_close_reason": "open" if is_open else None,
                "is_administrative": False,
                **own,
            }
        )
    return filled(REQUESTS, *rows)


def store(warehouse: Warehouse, known: pl.DataFrame, silver: pl.DataFrame | None = None) -> None:
    """Put cases, their captions and vectors into a warehouse."""
    model = settings().embedding_model
    captions = [
        {
            "feed": SF_311.name,
            "day": case["day"],
            "record_id": case["record_id"],
            "described": "case",
            "caption": "what is wrong",
            "caption_method": "case_text",
            "prompt_version": "case_text-1",
            "is_retried": False,
        }
        for case in known.to_dicts()
    ]
    vectors = [
        {
            "feed": SF_311.name,
            "day": case["day"],
            "record_id": case["record_id"],
            "embedding": case["vector"],
            "embedding_method": "openai",
            "embedding_model": model,
            "dimensions": DIMENSIONS,
            "caption_method": "case_text",
            "text_hash": "0" * 64,
        }
        for case in known.to_dicts()
    ]
    warehouse.replace(REQUESTS, requests(known) if silver is None else silver, WINDOW)
    warehouse.replace(CAPTIONS, filled(CAPTIONS, *captions), WINDOW)
    warehouse.replace(EMBEDDINGS, filled(EMBEDDINGS, *vectors), WINDOW)
