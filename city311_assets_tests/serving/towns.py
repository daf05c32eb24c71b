"""A published file with something of everything in it, for tests of the console and the API.

What is in it, by feed:

- `chicago_crimes`: the first quarters of 2025 and of 2026, 60 incidents a day, with gold made from
  them by its own assets. Planted: `RARE` happens only in March 2026 and mostly in one cell of
  resolution 10 (`rare_cell`), which others outdo in incidents; on Saturdays there is more in the
  evening; in March 2026 a tenth of the square, around `risen_cell`, has more than in 2025; one
  category and one street are `HOSTILE`.
- `chicago_311`: requests since 2025 and the target `leaks`, scored on `RISK_DAYS`, with outcomes of
  those that are over, costs, a work list and shares of wards.
- `sf_311`: the atlas and the effects of `atlases.MONTH`, with thumbnails; and two months of cases
  before it with captions about two topics, of which those of weekends wait `WEEKEND_HOURS` longer,
  and are more often of the slower topic.
- `nyc_311`: nothing.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import h3.api.basic_int as h3
import numpy as np
import polars as pl

from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.feeds.feed import Feed
from city311_assets.gold.anomalies import anomalies
from city311_assets.gold.cell_days import cell_days
from city311_assets.gold.cell_months import cell_months
from city311_assets.gold.cell_profiles import cell_profiles
from city311_assets.gold.cells import cells
from city311_assets.gold.forecasts import forecasts
from city311_assets.gold.hotspots import hotspots
from city311_assets.partitions import Slice
from city311_assets.risk.costs import costs
from city311_assets.risk.outcomes import outcomes
from city311_assets.risk.recommendations import recommendations
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.ward_coverage import ward_coverage
from city311_assets.silver.cells import cells_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets.warehouse.tables.atlas import CAPTIONS
from city311_assets.warehouse.tables.risk import EVALUATIONS, MODELS
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.gold.town import HALF_SIDE, MIDDLES, every_day, silver, store
from city311_assets_tests.portals import Declared, failure, materialize
from city311_assets_tests.risk import scored
from city311_assets_tests.serving.atlases import FEED as ATLAS_FEED
from city311_assets_tests.serving.atlases import MONTH, Rows, atlas_rows, draw_thumbnails
from city311_assets_tests.serving.effects import effects_rows
from city311_assets_tests.silver.raw import filled

FIRST, LAST = dt.date(2026, 1, 1), dt.date(2026, 3, 31)
YEAR_BEFORE = (dt.date(2025, 1, 1), dt.date(2025, 3, 31))
MARCH = dt.date(2026, 3, 1)
PER_DAY = 60
RARE, RARE_COUNT, RARE_ELSEWHERE = "arson", 18, 4
HOSTILE = "<img src=x onerror=alert(1)> & *stars* [a](javascript:alert(1))"
FORMULA = "=HYPERLINK(1)"
NO_DATA = "nyc_311"
RISK_DAYS = every_day(dt.date(2026, 2, 20), dt.date(2026, 3, 11))
EVENING = 20
WEEKEND_HOURS = 24.0
TOPICS = (
    ("spray paint letters on the wall of a shop", 40.0),
    ("deep hole in the road surface at a crossing", 130.0),
)


@dataclass(frozen=True)
class Town:
    """The published file, the folder it is in, and what was planted."""

    data_dir: Path
    rare_cell: str
    risen_cell: str
    incidents: pl.DataFrame

    @property
    def path(self) -> Path:
        """The published file."""
        return self.data_dir / "city311.duckdb"

    @property
    def warehouse(self) -> Warehouse:
        """What it is published from; a test that writes works on a copy of the folder."""
        return Warehouse(database=str(self.data_dir / "warehouse" / "warehouse.duckdb"))


def found(folder: Path) -> Town:
    """Return the town that was built in a folder."""
    return Town(folder, *_planted_places(), incidents())


def build(folder: Path) -> None:
    """Make the town in a folder: warehouse, published file, thumbnails."""
    town = found(folder)
    warehouse = town.warehouse
    days = [*every_day(*YEAR_BEFORE), *every_day(FIRST, LAST)]
    store(warehouse, town.incidents, days, CHICAGO_CRIMES)
    _gold(warehouse, CHICAGO_CRIMES)
    _risk(warehouse)
    rows = atlas_rows(120)
    rows |= effects_rows(rows)
    _atlas(warehouse, rows)
    _earlier_cases(warehouse)
    draw_thumbnails(folder / "photos", rows)
    publish(warehouse, town.path)


def _planted_places() -> tuple[str, str]:
    """Return the cell (r10) of the rare category, off the middle, and the one that rose (r8)."""
    north, east = MIDDLES[CHICAGO_CRIMES.name]
    rare = h3.latlng_to_cell(north + HALF_SIDE * 0.55, east - HALF_SIDE * 0.5, 10)
    risen = h3.latlng_to_cell(north - HALF_SIDE * 0.5, east + HALF_SIDE * 0.5, 8)
    return format(rare, "x"), format(risen, "x")


def incidents() -> pl.DataFrame:
    """Return the incidents of both quarters in silver's columns, with what is planted."""
    rare, risen = (int(cell, 16) for cell in _planted_places())
    before = silver(every_day(*YEAR_BEFORE), PER_DAY, CHICAGO_CRIMES, seed=11)
    now = silver(every_day(FIRST, LAST), PER_DAY, CHICAGO_CRIMES, seed=12)
    every = pl.concat([before, now])
    evenings = (pl.col("weekday") == 6) & (pl.col("record_id").str.slice(-1).is_in(["1", "2", "3"]))
    every = every.with_columns(
        hour=pl.when(evenings).then(pl.lit(EVENING)).otherwise("hour").cast(every["hour"].dtype),
        category=pl.when(pl.col("record_id").str.ends_with("07"))
        .then(pl.lit(HOSTILE))
        .otherwise("category"),
        street=pl.when(pl.col("street") == "STREET 5").then(pl.lit(FORMULA)).otherwise("street"),
    )
    march = every.filter(pl.col("day") >= MARCH, pl.col("has_point"))
    rng = np.random.default_rng(13)
    added = [
        _moved(march.sample(RARE_COUNT, seed=1), [rare] * RARE_COUNT, "rare", RARE),
        _moved(march.sample(RARE_ELSEWHERE, seed=2), None, "stray", RARE),
        _moved(
            march.sample(300, seed=3),
            rng.choice([*h3.cell_to_children(risen, 10)], 300).tolist(),
            "risen",
            None,
        ),
    ]
    return pl.concat([every, *added]).sort("day", "record_id")


def _moved(
    rows: pl.DataFrame, to_cells: list[int] | None, name: str, category: str | None
) -> pl.DataFrame:
    """Return rows as others of their days: in the middle of a cell, of a category."""
    rows = rows.with_columns(
        record_id=pl.format("{}-{}", pl.lit(name), pl.int_range(pl.len()).cast(pl.String))
    )
    if category:
        rows = rows.with_columns(category=pl.lit(category))
    if to_cells:
        points = [h3.cell_to_latlng(cell) for cell in to_cells]
        latitude, longitude = (pl.Series([point[at] for point in points]) for at in (0, 1))
        rows = rows.with_columns(latitude=latitude, longitude=longitude)
        rows = rows.with_columns(cells_of(rows["latitude"], rows["longitude"]))
    return rows


def _gold(warehouse: Warehouse, feed: Feed) -> None:
    make(cells(feed), warehouse)
    for first, last in (YEAR_BEFORE, (FIRST, LAST)):
        make(cell_days(feed), warehouse, first, last)
    for declare in (cell_months, cell_profiles):
        make(declare(feed), warehouse, FIRST, MARCH)
    make(hotspots(feed), warehouse, MARCH, MARCH)
    make(forecasts(feed), warehouse, LAST - dt.timedelta(days=1), LAST)
    make(anomalies(feed), warehouse, LAST - dt.timedelta(days=6), LAST)


def _risk(warehouse: Warehouse) -> None:
    town = scored.town()
    at = [town.days.index(day) for day in RISK_DAYS]
    ahead = np.array([town.intensity[place + 1 : place + 8].sum(axis=0) for place in at])
    scored.store(warehouse, RISK_DAYS, 4 * ahead)
    first, last = RISK_DAYS[0], RISK_DAYS[-1]
    make(outcomes(LEAKS), warehouse, first, town.days[-1] - dt.timedelta(days=7))
    for declare in (costs, recommendations, ward_coverage):
        make(declare(LEAKS), warehouse, first, last)
    of_month = Slice(LEAKS.name, MARCH, dt.date(2026, 4, 1), "target")
    warehouse.replace(MODELS, filled(MODELS, *_models()), of_month)
    warehouse.replace(EVALUATIONS, filled(EVALUATIONS, *_evaluations()), of_month)


def _models() -> list[dict[str, object]]:
    """Return the candidates of March: the logistic one serves, and why."""
    reasons = {
        "logistic": "beats both baselines on Brier and on precision at 1 % over the last origins",
        "climatology": "a baseline; a model did better",
        "long_run_rate": "a baseline; a model did better",
    }
    return [
        _figures(kind)
        | {
            "target": LEAKS.name,
            "month": MARCH,
            "model_kind": kind,
            "model_version": scored.MODEL if kind == "logistic" else f"leaks-2026-03-{kind}",
            "trained_from": dt.date(2025, 1, 1),
            "trained_until": dt.date(2026, 2, 10),
            "tested_from": dt.date(2026, 2, 1),
            "tested_until": dt.date(2026, 2, 10),
            "training_rows": 20_000,
            "calibration": "sigmoid" if kind == "logistic" else "none",
            "parameters": "{}",
            "is_promoted": kind == "logistic",
            "reason": why,
            "artefact_path": f"risk_models/{kind}.skops",
            "artefact_hash": "0" * 64,
            "library_version": "1.9",
            "seed": 311,
        }
        for kind, why in reasons.items()
    ]


def _evaluations() -> list[dict[str, object]]:
    """Return three origins of the same candidates, with ten bins each."""
    bins = [
        {"mean_p": 0.05 + 0.09 * at, "event_rate": 0.04 + 0.092 * at, "cell_days": 200}
        for at in range(10)
    ]
    return [
        _figures(kind)
        | {
            "target": LEAKS.name,
            "month": MARCH,
            "tested_from": origin,
            "tested_until": origin + dt.timedelta(days=9),
            "model_kind": kind,
            "reliability": bins,
            "by_ward": [
                {"ward": ward, "mean_p": 0.3, "event_rate": rate, "cell_days": 1000}
                for ward, rate in (("1", 0.31), ("2", 0.28))
            ],
            "decision_curve": [
                {"threshold": at / 10, "net_benefit": 0.2 - at / 60}
                | {"last_year": 0.15 - at / 60, "everywhere": 0.2 - at / 20}
                for at in range(1, 8)
            ],
            "seed": 311,
        }
        for kind in ("logistic", "climatology", "long_run_rate")
        for origin in (dt.date(2026, 1, 1), dt.date(2026, 1, 17), dt.date(2026, 2, 1))
    ]


def _figures(kind: str) -> dict[str, object]:
    """Return the figures of a candidate: the logistic one is the better."""
    better = 0.02 if kind == "logistic" else 0.0
    return {
        "cell_days": 2000,
        "events": 600,
        "base_rate": 0.3,
        "mean_p": 0.302,
        "brier": 0.16 - better,
        "brier_skill": better / 0.16,
        "log_loss": 0.5 - better,
        "pr_auc": 0.6 + better,
        "ece": 0.02,
        "ece_low": 0.01,
        "ece_high": 0.04,
        "calibration_slope": 0.97,
        "precision_top_1pct": 0.8 + better,
        "recall_top_1pct": 0.03,
        "precision_top_5pct": 0.7 + better,
        "recall_top_5pct": 0.12,
    }


def _atlas(warehouse: Warehouse, rows: Rows) -> None:
    """Put the rows of an atlas and its effects into a warehouse, each in its slice."""
    of_month = Slice(ATLAS_FEED, MONTH, (MONTH + dt.timedelta(days=31)).replace(day=1))
    for table, given in rows.items():
        frame = filled(table, *(_complete(table, row) for row in given))
        warehouse.replace(table, frame, "san_francisco" if table.scope == "city" else of_month)


def _earlier_cases(warehouse: Warehouse, per_day: int = 12) -> None:
    """Put two months of cases before the atlas's into a warehouse, with what they are about."""
    rng = np.random.default_rng(17)
    first, end = dt.date(2026, 1, 1), MONTH
    requests, captions = [], []
    for day in every_day(first, end - dt.timedelta(days=1)):
        is_weekend = day.isoweekday() >= 6
        for number in range(per_day):
            words, hours = TOPICS[int(rng.random() < (0.7 if is_weekend else 0.3))]
            opened = dt.datetime.combine(day, dt.time(int(rng.integers(6, 22)), number))
            key = {"feed": ATLAS_FEED, "day": day, "record_id": f"early-{day}-{number:02}"}
            requests.append(
                key
                | {
                    "opened_at": opened,
                    "opened_at_utc": opened,
                    "category": "other",
                    "taxonomy": "t",
                    "source_channel": "Phone",
                    "neighborhood": f"Quarter {number % 7}",
                    "weekday": day.isoweekday(),
                    "hour": opened.hour,
                    "has_point": False,
                    "is_time_certain": True,
                    "is_administrative": False,
                    "record_url": "https://town.example",
                    "origin": "portal",
                    "observed_until": dt.datetime(2026, 4, 1, 3),
                    "hours_to_close": hours + WEEKEND_HOURS * is_weekend + rng.normal(0, 8),
                }
            )
            extra = " ".join(rng.choice(["north", "south", "old", "new", "corner"], 2))
            captions.append(
                key
                | {
                    "described": "case",
                    "caption": f"{words} {extra}",
                    "caption_method": "case_text",
                    "prompt_version": "v1",
                    "is_retried": False,
                }
            )
    part = Slice(ATLAS_FEED, first, end)
    warehouse.replace(REQUESTS, filled(REQUESTS, *requests), part)
    warehouse.replace(CAPTIONS, filled(CAPTIONS, *captions), part)


def _complete(table: Table, row: dict[str, object]) -> dict[str, object]:
    """Return a row with what its table never leaves null, where the row does not say it."""
    return {
        column.name: 0 if column.type.endswith("INT") or column.type == "DOUBLE" else ""
        for column in table.columns
        if not column.nullable and column.type in {"BIGINT", "INTEGER", "DOUBLE", "VARCHAR"}
    } | row


def make(
    declared: Declared,
    warehouse: Warehouse,
    first: dt.date | None = None,
    last: dt.date | None = None,
) -> None:
    """Materialize assets without their checks."""
    assets = [one for one in declared if isinstance(one, dg.AssetsDefinition)]
    result = materialize(assets, warehouse, None, first, last)
    if not result.success:
        raise RuntimeError(failure(result))
