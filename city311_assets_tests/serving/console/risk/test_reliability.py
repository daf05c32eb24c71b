"""Reliability: planted forecasts beside planted events."""

import datetime as dt
from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.targets.sanitation import SANITATION
from city311_assets.serving.console.risk.reliability import judged, reliability
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets_tests.serving.towns import RISK_DAYS

DAY = dt.date(2026, 3, 1)


@pytest.fixture(scope="module")
def snapshot(snapshots: Snapshots) -> Iterator[Snapshot]:
    with snapshots.current() as opened:
        yield opened


def told(p: np.ndarray, event: np.ndarray, days: int = 4) -> pl.DataFrame:
    """Forecasts of cells on some days, and events; the baselines rank by the cell's number."""
    n = len(p) // days
    cells = np.tile(np.arange(n), days)
    return pl.DataFrame(
        {
            "day": [DAY + dt.timedelta(days=7 * int(at // n)) for at in range(n * days)],
            "cell": cells,
            "p": p,
            "is_event": event,
            "long_run_rate": cells.astype(float),
            "calls_30d": (n - cells).astype(float),
        }
    )


def test_forecasts_that_are_right_lie_on_the_line_within_their_intervals():
    rng = np.random.default_rng(1)
    p = rng.uniform(0, 0.6, 40_000)
    found = judged(told(p, rng.random(40_000) < p))
    assert found is not None
    inside = found.bins.filter(pl.col("mean_p").is_between("low", "high"))
    assert inside.height >= 8
    assert found.bins["cell_days"].to_list() == [4000] * 10
    assert found.ece < 0.015
    assert found.skill == pytest.approx(np.var(p) / (p.mean() * (1 - p.mean())), abs=0.02)


def test_forecasts_twice_too_high_are_seen_to_be():
    rng = np.random.default_rng(2)
    p = rng.uniform(0.1, 0.9, 20_000)
    found = judged(told(p, rng.random(20_000) < p / 2))
    assert found is not None
    assert found.ece == pytest.approx(0.25, abs=0.02)
    assert found.mean_p == pytest.approx(2 * found.base_rate, rel=0.05)
    assert found.bins.filter(pl.col("mean_p") > pl.col("high")).height == 10


def test_the_mean_said_everywhere_has_no_skill():
    rng = np.random.default_rng(3)
    event = rng.random(8_000) < 0.2
    found = judged(told(np.full(8_000, event.mean()), event))
    assert found is not None
    assert found.skill == pytest.approx(0, abs=1e-12)


def test_precision_counts_each_days_hundredth_by_each_ranking():
    n, days = 400, 4
    event = np.tile(np.arange(n) >= n - 4, days)
    p = np.tile(np.where(np.arange(n) >= n - 2, 0.9, 0.1), days)
    found = judged(told(p, event, days))
    assert found is not None
    # Ties go to the lower cells, which have no events.
    assert found.precision == {
        "these forecasts": 0.5,
        "calls of the long run": 1.0,
        "calls of 30 days": 0.0,
    }


def test_nothing_told_is_nothing_judged(snapshot: Snapshot):
    assert judged(told(np.zeros(0), np.zeros(0, bool), 1)) is None
    assert reliability(snapshot, SANITATION, RISK_DAYS[-1]) is None


def test_days_are_a_week_apart_and_told(snapshot: Snapshot):
    found = reliability(snapshot, LEAKS, RISK_DAYS[-1])
    assert found is not None
    last = snapshot.frame("select max(day) as day from risk.outcomes")["day"].item()
    assert found.last == min(last, RISK_DAYS[-1])
    assert found.last - found.first == dt.timedelta(days=7 * (found.days - 1))
    assert found.first >= RISK_DAYS[0]
    cells = snapshot.frame("select count(distinct cell) as n from risk.scores")["n"].item()
    assert found.cell_days == found.days * cells
