"""What risk costs, beside the way of the system before it, and how good either forecast is.

The earlier way is rebuilt from its description: a grid of the cells that have a call by all days
(a cross join), eight features by pandas groupbys, a logistic regression, isotonic calibration.
"""

import datetime as dt
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import h3.api.basic_int as h3
import numpy as np
import pandas as pd
import polars as pl
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.measuring import Effort, interleaved, metered, run
from benchmarks.report import FLAT_WITHIN, Row, flatness, verdict
from city311_assets.partitions import Slice
from city311_assets.risk import (
    cell_days,
    costs,
    models,
    outcomes,
    recommendations,
    scores,
    ward_coverage,
)
from city311_assets.risk.evaluations import figures_of as told_of
from city311_assets.risk.evaluations import month_rows as evaluated
from city311_assets.risk.evaluations import trial_of
from city311_assets.risk.histories import History, history
from city311_assets.risk.methods.features import features
from city311_assets.risk.methods.gate import Standing, promoted
from city311_assets.risk.methods.priors import read_priors
from city311_assets.risk.methods.splits import Block, Split
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import EVALUATIONS, MODELS
from city311_assets_tests.risk.town import Town, planted, store

FIRST = dt.date(2023, 1, 1)
DAYS, CALLS_PER_DAY, OTHERS_PER_DAY = 1_095, 300.0, 700.0
# Half the side of a square of so many cells of resolution 9, in degrees.
SIDES = {440: 0.0335, 4_400: 0.1105, 44_000: 0.354}
SEED = 311
MOST_SECONDS, MOST_MEGABYTES = 60, 2_000
FEATURE_SECONDS, FEATURE_MEGABYTES, TIMES_LESS = 2, 1_000, 20
HORIZON = 7
# The earlier way is measured on a year: three take 14 GB.
EARLIER_DAYS = 365
WEEKS_DRAWN = 400


def town_of(cells: str, days: str) -> Town:
    share = int(cells) / 4_400
    return planted(
        FIRST,
        int(days),
        calls_per_day=CALLS_PER_DAY * share,
        others_per_day=OTHERS_PER_DAY * share,
        half_side=SIDES[int(cells)],
    )


def stored(town: Town, folder: str) -> Warehouse:
    warehouse = Warehouse(database=f"{folder}/warehouse.duckdb")
    store(warehouse, town)
    return warehouse


def known(town: Town, folder: str) -> History:
    first, last = town.days[0], town.days[-1] + dt.timedelta(days=1)
    return history(stored(town, folder), LEAKS, Slice(LEAKS.name, first, last, "target"))


def of_features(cells: str, days: str) -> None:
    """Count into features, a month of cells at a time; nothing is kept of them but a sum."""
    with tempfile.TemporaryDirectory() as folder:
        read = known(town_of(cells, days), folder)
    with metered("features"):
        past = read.past
        start = read.is_held.size - int(days)
        rows = sum(frame.height for frame in features(past, start, read.is_held.size))
    with metered(f"{rows} rows"):
        pass


def earlier_grid(town: Town) -> pd.DataFrame:
    """Build the eight features of the earlier way, and the label, as it did."""
    calls = pd.DataFrame(
        {
            "cell": town.cells[(at := np.nonzero(town.calls))[1]],
            "day": pd.to_datetime(np.array(town.days)[at[0]]),
            "n": town.calls[at],
        }
    )
    with metered("features"):
        cells = pd.DataFrame({"cell": calls["cell"].unique()})
        days = pd.DataFrame({"day": pd.date_range(town.days[0], town.days[-1])})
        grid: Any = cells.merge(days, how="cross").merge(calls, how="left", on=["cell", "day"])
        grid["n"] = grid["n"].fillna(0)
        grid = grid.sort_values(["cell", "day"]).reset_index(drop=True)
        by_cell = grid.groupby("cell")["n"]
        for window in (7, 28):
            grid[f"calls_{window}d"] = by_cell.transform(
                lambda n, w=window: n.rolling(w, min_periods=1).sum()
            )
        last = grid["day"].where(grid["n"] > 0)
        grid["days_since"] = (grid["day"] - last.groupby(grid["cell"]).ffill()).dt.days.fillna(999)
        near = pd.DataFrame(
            [
                (cell, other)
                for cell in cells["cell"]
                for other in h3.grid_disk(int(cell), 1)
                if other != cell
            ],
            columns=["cell", "near"],
        )
        ring = near.merge(
            grid[["cell", "day", "calls_7d"]].rename(columns={"cell": "near"}), on="near"
        )
        summed = ring.groupby(["cell", "day"], as_index=False).agg(ring_7d=("calls_7d", "sum"))
        grid = grid.merge(summed, how="left", on=["cell", "day"])
        weather = town.weather.select("day", "temperature_min_c", "precipitation_mm").to_pandas()
        grid = grid.merge(weather.assign(day=pd.to_datetime(weather["day"])), on="day", how="left")
        grid["is_freeze"] = (grid["temperature_min_c"] < 0).astype(int)
        grid["month"] = grid["day"].dt.month
        grid = grid.fillna(0)
        after = grid.groupby("cell")["n"].transform(
            lambda n: n[::-1].rolling(HORIZON, min_periods=1).sum()[::-1].shift(-1)
        )
        grid["is_event"] = (after.fillna(0) > 0).astype(int)
    return grid


EIGHT = [
    *("calls_7d", "calls_28d", "days_since", "ring_7d"),
    *("temperature_min_c", "precipitation_mm", "is_freeze", "month"),
]


def of_earlier_features(cells: str, days: str) -> None:
    rows = len(earlier_grid(town_of(cells, days)))
    with metered(f"{rows} rows"):
        pass


def blocks(town: Town, back: int = 0) -> Split:
    """The last blocks of days whose outcome is over, a gap of a week between each."""
    week = dt.timedelta(days=HORIZON)
    test = town.days[-1] - week - dt.timedelta(days=back)
    calibration = test - dt.timedelta(days=28) - week
    training = calibration - dt.timedelta(days=28) - week
    month = dt.timedelta(days=27)
    return Split(
        Block(town.days[0], training),
        Block(calibration - month, calibration),
        Block(test - month, test),
    )


def of_forecasts(cells: str, days: str) -> None:
    """Both forecasts of the same cell-days, whole study area, by the same blocks of days."""
    town = town_of(cells, days)
    split = blocks(town)
    with tempfile.TemporaryDirectory() as folder:
        warehouse = stored(town, folder)
        whole = Slice(LEAKS.name, town.days[0], town.days[-1] + dt.timedelta(days=1), "target")
        cell_days.write(warehouse, LEAKS, whole)
        outcomes.write(warehouse, LEAKS, whole)
        trial = trial_of(warehouse, LEAKS, town.days[-1], split)
        earlier = trial_of(warehouse, LEAKS, town.days[-1], blocks(town, back=28))
    grid = earlier_grid(town)
    day = grid["day"].dt.date
    fitted, calibrating, tested = (
        grid[(day >= block.first) & (day <= block.last)]
        for block in (split.training, split.calibration, split.test)
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    model.fit(fitted[EIGHT], fitted["is_event"])
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(
        model.predict_proba(calibrating[EIGHT])[:, 1], calibrating["is_event"]
    )
    theirs = pl.DataFrame(
        {
            "cell": np.asarray(tested["cell"], np.uint64),
            "day": np.asarray(tested["day"], "datetime64[D]"),
            "theirs": isotonic.predict(model.predict_proba(tested[EIGHT])[:, 1]),
        }
    )
    kind, _ = promoted(
        {
            kind: Standing.pooled([(one.brier, one.precision_top_1pct, one.cell_days)])
            for kind, one in told_of(earlier).items()
        }
    )
    test, served = trial.test, (kind, trial.forecasts[kind])
    # A cell that its grid lacks never had a call: it says nothing of it.
    both = (
        pl.DataFrame(
            {"cell": test.cells, "day": test.days, "ours": served[1], "is_event": test.is_event}
        )
        .join(theirs, on=["cell", "day"], how="left")
        .with_columns(pl.col("theirs").fill_null(0.0))
    )
    told = {"served": served[0], **compared(both)}
    with metered(json.dumps(told)):
        pass


def compared(both: pl.DataFrame) -> dict[str, list[float]]:
    """Four figures of both ways, and the 95 % interval of ours less theirs, weeks drawn again."""
    days = both["day"].unique().sort()
    parts = [both.filter(pl.col("day") == day) for day in days]
    rng = np.random.default_rng(SEED)
    whole = figures_of(parts)
    drawn = []
    for _ in range(WEEKS_DRAWN):
        starts = rng.integers(0, len(parts), -(-len(parts) // HORIZON))
        rows = (starts[:, None] + np.arange(HORIZON)).ravel()[: len(parts)] % len(parts)
        drawn.append([a - b for a, b in figures_of([parts[row] for row in rows]).values()])
    low, high = np.quantile(np.array(drawn), (0.025, 0.975), axis=0)
    return {
        name: [*pair, float(low[at]), float(high[at])]
        for at, (name, pair) in enumerate(whole.items())
    }


def figures_of(parts: list[pl.DataFrame]) -> dict[str, tuple[float, float]]:
    rows = pl.concat(parts)
    event = rows["is_event"].to_numpy()
    found: dict[str, list[float]] = {n: [] for n in ("Brier", "PR-AUC", "ECE", "top 1 %")}
    for way in ("ours", "theirs"):
        p = rows[way].to_numpy()
        found["Brier"].append(float(((p - event) ** 2).mean()))
        found["PR-AUC"].append(float(average_precision_score(event, p)))
        bins = np.array_split(np.argsort(p, kind="stable"), 10)
        found["ECE"].append(
            float(sum(abs(p[b].mean() - event[b].mean()) * len(b) for b in bins) / len(p))
        )
        hits = [
            part["is_event"].to_numpy()[
                np.argsort(-part[way].to_numpy(), kind="stable")[: max(part.height // 100, 1)]
            ]
            for part in parts
        ]
        found["top 1 %"].append(float(np.concatenate(hits).mean()))
    return {name: (ours, theirs) for name, (ours, theirs) in found.items()}


def of_whole(cells: str, days: str) -> None:
    """Make every table of risk from silver, in a warehouse file: models of one month."""
    town = town_of(cells, days)
    with tempfile.TemporaryDirectory() as folder:
        warehouse = stored(town, folder)
        whole = Slice(LEAKS.name, town.days[0], town.days[-1] + dt.timedelta(days=1), "target")
        month = town.days[int(days) // 2].replace(day=1)
        own = Slice(LEAKS.name, month, (month + dt.timedelta(days=31)).replace(day=1), "target")
        with metered("features"):
            cell_days.write(warehouse, LEAKS, whole)
        with metered("outcomes"):
            outcomes.write(warehouse, LEAKS, whole)
        with metered("a month's models"):
            for table, rows_of in ((EVALUATIONS, evaluated), (MODELS, models.month_rows)):
                rows, _ = rows_of(warehouse, LEAKS, month)
                rows = rows.with_columns(
                    pl.lit(LEAKS.name).alias("target"), pl.lit(month, pl.Date).alias("month")
                )
                warehouse.replace(table, rows.select(table.names), own)
        priors = read_priors()
        with metered("scores"):
            scores.write(warehouse, LEAKS, whole)
        with metered("costs"):
            costs.write(warehouse, LEAKS, whole, priors)
        with metered("work lists"):
            recommendations.write(warehouse, LEAKS, whole, priors, 80.0)
        with metered("wards"):
            ward_coverage.write(warehouse, LEAKS, whole)


def of_a_night(cells: str, days: str) -> None:
    """Make one night's tables where the history is long."""
    town = town_of(cells, days)
    with tempfile.TemporaryDirectory() as folder:
        warehouse = stored(town, folder)
        night = town.days[-1]
        part = Slice(LEAKS.name, night, night + dt.timedelta(days=1), "target")
        over = night - dt.timedelta(days=HORIZON)
        priors = read_priors()
        with metered("features"):
            cell_days.write(warehouse, LEAKS, part)
        with metered("outcomes"):
            outcomes.write(
                warehouse, LEAKS, Slice(LEAKS.name, over, over + dt.timedelta(days=1), "target")
            )
        with metered("scores"):
            scores.write(warehouse, LEAKS, part)
        with metered("costs and work list"):
            costs.write(warehouse, LEAKS, part, priors)
            recommendations.write(warehouse, LEAKS, part, priors, 80.0)
            ward_coverage.write(warehouse, LEAKS, part)


def measure(effort: Effort, _: Path) -> list[Row]:
    cells = 4_400 if effort.divisor == 1 else 440
    repeats = min(effort.repeats, 3)
    ours, year, earlier = interleaved(
        repeats,
        ours=partial(of_features, str(cells), str(DAYS)),
        ours_year=partial(of_features, str(cells), str(EARLIER_DAYS)),
        earlier=partial(of_earlier_features, str(cells), str(EARLIER_DAYS)),
    )
    ratio = earlier.cpu("features") / year.cpu("features")
    found = [
        Row(
            "features of risk",
            f"{cells:,} cells x {DAYS:,} days",
            f"{ours.cpu('features'):.1f} CPU-s, {ours.peak:,.0f} MB",
            "",
            None,
            f"≤ {FEATURE_SECONDS} CPU-s, ≤ {FEATURE_MEGABYTES:,} MB",
            verdict(ours.cpu("features") <= FEATURE_SECONDS and ours.peak <= FEATURE_MEGABYTES),
        ),
        Row(
            "- the same of a year",
            f"{cells:,} cells x {EARLIER_DAYS} days",
            f"{year.cpu('features'):.2f} CPU-s, {year.peak:,.0f} MB, {year.costs[0][-1].part}",
            f"pandas grid, groupbys: {earlier.cpu('features'):.1f} CPU-s, {earlier.peak:,.0f} MB, "
            f"{earlier.costs[0][-1].part}",
            ratio,
            f"ratio ≥ {TIMES_LESS}",
            verdict(ratio >= TIMES_LESS),
        ),
    ]
    told: dict[str, Any] = json.loads(run(partial(of_forecasts, str(cells), str(730)))[-1].part)
    served = told.pop("served")
    better = {"Brier": -1, "PR-AUC": 1, "ECE": -1, "top 1 %": 1}
    for name, (mine, theirs, low, high) in told.items():
        is_worse = high < 0 if better[name] > 0 else low > 0
        found.append(
            Row(
                f"- forecast: {name}, {served}",
                f"{cells:,} cells, 28 days, trained on 625",
                f"{mine:.4f}",
                f"logistic, isotonic, eight features: {theirs:.4f}; ours less theirs "
                f"{low:+.4f} to {high:+.4f}",
                None,
                "not worse beyond the interval",
                verdict(not is_worse),
            )
        )
    (whole,) = interleaved(1, whole=partial(of_whole, str(cells), str(DAYS)))
    names = [cost.part for cost in whole.costs[0]]
    found.append(
        Row(
            "risk from silver to work lists, models of one month, once",
            f"{cells:,} cells x {DAYS:,} days",
            f"{whole.cpu():.0f} CPU-s ({', '.join(f'{n} {whole.cpu(n):.0f}' for n in names)}), "
            f"{whole.peak:,.0f} MB",
            "",
            None,
            f"≤ {MOST_SECONDS} CPU-s, ≤ {MOST_MEGABYTES:,} MB",
            verdict(whole.cpu() <= MOST_SECONDS and whole.peak <= MOST_MEGABYTES),
        )
    )
    nights = {
        str(length): partial(of_a_night, str(cells), str(length)) for length in (274, 548, DAYS)
    }
    smallest = 0.0
    for length, night in zip(nights, interleaved(1, **nights), strict=True):
        smallest = smallest or night.cpu()
        found.append(
            Row(
                "a night of risk, by how long its history is",
                f"{cells:,} cells, {length} days before",
                f"{night.cpu():.2f} CPU-s, {night.peak:,.0f} MB",
                target=f"flat within {FLAT_WITHIN:.0%}",
                met=flatness(night.cpu(), smallest),
            )
        )
    if effort.divisor == 1:
        (large,) = interleaved(1, large=partial(of_features, "44000", str(DAYS)))
        per = large.cpu("features") / 44_000 / (ours.cpu("features") / cells)
        found.append(
            Row(
                "features of risk, ten times the cells, once",
                f"44,000 cells x {DAYS:,} days",
                f"{large.cpu('features'):.0f} CPU-s, {large.peak:,.0f} MB",
                target=f"flat within {FLAT_WITHIN:.0%}",
                met=flatness(per, 1.0),
            )
        )
    return found
