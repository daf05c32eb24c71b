"""A published file of a whole city's risk, for load: about 4,400 cells, several days."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl

from city311_assets.partitions import Slice
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets.warehouse.tables.gold import CELL_DAYS, CELLS, HOTSPOTS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.risk import COSTS, SCORES
from city311_assets_tests.risk.town import study_area
from city311_assets_tests.silver.raw import filled

FEED = LEAKS.feed.name
FIRST, DAYS = dt.date(2026, 3, 1), 7
MONTH = dt.date(2026, 3, 1)
# Half the side of a square of so many cells of resolution 9, in degrees.
HALF_SIDES = {440: 0.0335, 4_400: 0.1105}
DRIVERS = ("recent calls here", "calls around here", "frost and thaw", "calls over the years")


def build(folder: Path, cells: int = 4_400) -> "BusyCity":
    """Make the city in a folder, and publish it."""
    city = BusyCity(folder)
    area = study_area(HALF_SIDES[cells], FEED)
    warehouse = city.warehouse
    warehouse.replace(CELLS, area.select(CELLS.names), FEED)
    own = area.filter(pl.col("resolution") == LEAKS.resolution)["cell"].sort()
    for number, day in enumerate(city.days):
        part = Slice(LEAKS.name, day, day + dt.timedelta(days=1), "target")
        warehouse.replace(SCORES, _scores(own, day, number), part)
        warehouse.replace(COSTS, _costs(own, day, number), part)
    month = Slice(FEED, MONTH, dt.date(2026, 4, 1))
    warehouse.replace(HOTSPOTS, _hotspots(area), month)
    held = [{"feed": FEED, "day": day, "rows": 1} for day in city.days]
    warehouse.replace(SLICES, filled(SLICES, *held), month)
    warehouse.replace(CELL_DAYS, _records(own, city.days), month)
    city.publish()
    return city


class BusyCity:
    """The folder, what is in it, and the questions about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.days = [FIRST + dt.timedelta(days=number) for number in range(DAYS)]

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(database=str(self.folder / "warehouse" / "warehouse.duckdb"))

    def publish(self) -> None:
        publish(self.warehouse, self.folder / "city311.duckdb")

    def change(self) -> None:
        """Write something, and publish: the same rows under another version."""
        with self.warehouse.transaction() as session:
            session.run(f"update {CELLS} set records_seen = records_seen + 1")
        self.publish()

    def paths(self) -> list[str]:
        """Return what a map asks: layers of all days, parts of them, outlines, histories."""
        area = study_area(HALF_SIDES[440], FEED).filter(pl.col("resolution") == LEAKS.resolution)
        cells = area["cell"].sort().gather_every(100)
        return [
            "/api/layers/risk",
            *(f"/api/layers/risk?date={day}" for day in self.days),
            *(f"/api/layers/cost?date={day}" for day in self.days),
            "/api/layers/risk?limit=500",
            "/api/layers/risk?bbox=-87.67,41.86,-87.63,41.9",
            *(f"/api/layers/hotspots?resolution={resolution}" for resolution in (7, 8, 9)),
            f"/api/geo/{FEED}/9.json",
            *(f"/api/cell/{cell:x}/history?days=90" for cell in cells),
        ]


def _scores(cells: pl.Series, day: dt.date, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 6, cells.len())
    drivers = [
        [
            {
                "driver": DRIVERS[at],
                "effect": float(effect),
                "words": f"{effect:+.2f} to the log odds",
            }
            for at, effect in zip(rng.permutation(4)[:3], rng.normal(size=3), strict=True)
        ]
        for _ in range(cells.len())
    ]
    return pl.DataFrame({"cell": cells, "p_event_7d": p, "drivers": drivers}).select(
        target=pl.lit(LEAKS.name),
        day=pl.lit(day),
        cell="cell",
        p_event_7d="p_event_7d",
        low=pl.col("p_event_7d") * 0.8,
        high=pl.col("p_event_7d") * 0.8 + 0.2,
        expected_events_7d=-(1 - pl.col("p_event_7d")).log(),
        risk_band=pl.when(pl.col("p_event_7d") > 0.5)
        .then(pl.lit("high"))
        .when(pl.col("p_event_7d") > 0.2)
        .then(pl.lit("medium"))
        .otherwise(pl.lit("low")),
        decile=(pl.col("p_event_7d").rank("ordinal") * 10 / (pl.len() + 1) + 1)
        .floor()
        .cast(pl.Int32),
        drivers="drivers",
        model_version=pl.lit("leaks-2026-03-gradient_boosting-0123abcd"),
        model_kind=pl.lit("gradient_boosting"),
        reason=pl.lit(None, pl.String),
        is_newest=True,
        as_of=pl.lit(dt.datetime(2026, 3, 8, 3)),
    )


def _costs(cells: pl.Series, day: dt.date, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(100 + seed)
    mean = rng.gamma(2.0, 400.0, cells.len())
    usd = {
        "expected_cost_usd_7d": 1.0,
        "p50_cost": 0.7,
        "p90_cost": 2.1,
        "water_usd": 0.1,
        "energy_usd": 0.05,
        "repair_usd": 0.75,
        "response_usd": 0.1,
    }
    return pl.DataFrame({"cell": cells, "mean": mean}).select(
        target=pl.lit(LEAKS.name),
        day=pl.lit(day),
        cell="cell",
        **{name: pl.col("mean") * share for name, share in usd.items()},
        model_version=pl.lit("leaks-2026-03-gradient_boosting-0123abcd"),
        priors_version=pl.lit("0123456789ab"),
        seed=pl.lit(311, pl.Int64),
    )


def _hotspots(area: pl.DataFrame) -> pl.DataFrame:
    known = area.filter(pl.col("resolution").is_between(7, 9)).select("feed", "resolution", "cell")
    rows = known.with_columns(
        month=pl.lit(MONTH),
        category=pl.lit("all"),
        null_model=pl.lit("baseline"),
        records=pl.int_range(pl.len(), dtype=pl.Int64) % 50,
        ring_records=pl.lit(100, pl.Int64),
        z=(pl.int_range(pl.len()) % 97).cast(pl.Float64) / 20,
        q=pl.lit(0.2),
        is_provisional=False,
    ).with_columns(pl.lit("none").alias("class"))
    return filled(HOTSPOTS, *rows.to_dicts())


def _records(cells: pl.Series, days: list[dt.date]) -> pl.DataFrame:
    return pl.concat(
        pl.DataFrame({"cell": cells.sample(fraction=0.1, seed=number)}).select(
            feed=pl.lit(FEED),
            day=pl.lit(day),
            resolution=pl.lit(LEAKS.resolution, pl.UInt8),
            cell="cell",
            category=pl.lit("water_and_sewer"),
            records=pl.int_range(pl.len(), dtype=pl.Int64) % 4 + 1,
            eligible=pl.lit(1, pl.Int64),
            successes=pl.lit(0, pl.Int64),
        )
        for number, day in enumerate(days)
    )
