"""Forecasts of real crimes, from rolling origins."""

import datetime as dt
from pathlib import Path

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from scipy import sparse, stats

from city311_assets.feeds.taxonomy import taxonomy
from city311_assets.gold.methods.arrays import Cells
from city311_assets.gold.methods.forecast_scores import (
    SHARES,
    coverage,
    hit_rate,
    pai,
    pei,
    randomized_pit,
    scoreboard,
)
from city311_assets.gold.methods.forecasting import (
    BASELINES,
    History,
    Issue,
    Level,
    issue,
    whole_records,
)
from city311_assets.sample_city.geography import outline
from city311_assets.silver.cells import cells_of, parents_of

pytestmark = pytest.mark.trial

FIRST, LAST = dt.date(2018, 1, 1), dt.date(2018, 8, 8)
FIRST_ORIGIN, STEP_DAYS = dt.date(2018, 4, 1), 3
LEAST_MEAN = 5
SEED = 311
ROWS = ("served", *BASELINES)


def study_area(observed: pl.Series, resolution: int) -> Cells:
    """Return the city's cells, and those beyond its simplified outline that have a record."""
    inside = h3.geo_to_cells(outline("chicago"), resolution)
    return np.array(sorted({*inside, *observed.to_list()}), np.uint64)


def crimes_of_2018(folder: Path) -> pl.DataFrame:
    """Return `day, category, cell` of the records with a point in the city."""
    # Polars alone does not show the column that pandas had made the index.
    raw = pl.DataFrame(pq.read_table(folder / "crimes/chicago_crimes_2018-01_2018-08.parquet"))
    raw = raw.filter(pl.col("Latitude") > 41, pl.col("Longitude") < -87)
    categories = taxonomy("chicago_crimes_v1")
    kinds = {kind: categories.category(kind) for kind in raw["PrimaryType"].unique()}
    return raw.select(
        # The file labels local time as UTC.
        day=pl.col("Date").dt.date(),
        category=pl.col("PrimaryType").replace_strict(kinds),
        cell=cells_of(raw["Latitude"], raw["Longitude"]),
    )


def history_of(crimes: pl.DataFrame, resolution: int) -> History:
    crimes = crimes.with_columns(parents_of(pl.col("cell"), resolution))
    counts = crimes.group_by("day", "cell", "category").agg(records=pl.len())
    cells = study_area(counts["cell"].unique(), resolution)
    days = pl.date_range(FIRST, LAST, eager=True).to_list()
    rings = [[int(cell), *h3.grid_disk(int(cell), 1)] for cell in cells]
    pairs = np.unique([(ring[0], other) for ring in rings for other in ring[1:]], axis=0)
    pairs = pairs[np.isin(pairs[:, 1], cells)]
    places = np.searchsorted(cells, pairs.astype(np.uint64)).T
    disk = sparse.csr_array((np.ones(len(pairs)), tuple(places)), shape=(len(cells),) * 2)
    return History.of(counts, cells, days, disk=disk)


def assert_no_worse_on_the_gating_origins(level: Level) -> None:
    """A candidate was better than both baselines, a baseline not worse than the plain count."""
    baselines = [name.removesuffix("_scaled") in BASELINES for name in level.methods]
    bars = level.scores[baselines]
    for k, place in enumerate(level.served):
        if level.reasons[k] is None:
            assert level.scores[place, k] < bars[:, k].min()
        else:
            assert baselines[place]
            assert level.scores[place, k] <= bars[-2, k]


def served_cells(history: History, found: Issue, origin: dt.date) -> pl.DataFrame:
    """Return `mean, variance, came` of the cells where something was expected."""
    names = np.arange(len(history.categories))
    served = found.cells.served
    means = found.cells.means[served, names]
    city = found.city.means[found.city.served, names]
    np.testing.assert_allclose(means.sum(axis=1), city, rtol=1e-9)
    came = history.outcome(history.known_days(origin, 0), 0)
    variances = found.cells.variances()[served, names]
    rows = {"mean": means.ravel(), "variance": variances.ravel(), "came": came.ravel()}
    return pl.DataFrame(rows).filter(pl.col("mean") > 0)


def side_by_side(rows: pl.DataFrame, name: str, digits: int, scale: int = 1) -> str:
    """Return a score's mean over the origins, of what was served and of the baselines."""
    means = dict(rows.group_by("row").agg(pl.col(name).mean()).iter_rows())
    return ", ".join(f"{scale * means[row]:.{digits}f}" for row in ROWS)


def law_line(rows: pl.DataFrame) -> str:
    said = [
        f"MASE {side_by_side(rows, 'mase', 3)}",
        f"CRPS {side_by_side(rows, 'crps', 4)}",
        f"inside of 80 % {side_by_side(rows, 'coverage_80', 1, 100)}",
        f"of 95 % {side_by_side(rows, 'coverage_95', 1, 100)}",
    ]
    if rows["level"][0] == "cells":
        said.append(f"PIT distance {side_by_side(rows, 'pit_distance', 3)}")
    return "; ".join(said)


def map_line(rows: pl.DataFrame, name: str, digits: int, scale: int = 1) -> str:
    percents = [round(100 * share) for share in SHARES]
    said = [f"{p} %: {side_by_side(rows, f'{name}_{p}', digits, scale)}" for p in percents]
    return "; ".join(said)


def inside(cells: pl.DataFrame) -> dict[int, float]:
    """Return the share of counts in their 80 % and 95 % intervals."""
    came, mean, variance = (cells[name].to_numpy() for name in ("came", "mean", "variance"))
    _, low_80, high_80, low_95, high_95 = whole_records(mean, variance)
    return {80: coverage(came, low_80, high_80), 95: coverage(came, low_95, high_95)}


@pytest.mark.parametrize("resolution", [7, 8, 9])
def test_forecasts_of_real_crimes_from_rolling_origins(resolution: int, real_data: Path, trial):
    """Chicago's crimes of January to August 2018: the next 7 days from every third day since April,
    scored on days that no method knew, means over the origins. Always in this order: what was
    served, `trailing`, `seasonal_naive`. CRPS and MASE are better when lower, hit rate, PAI and PEI
    (of 1 to 20 % of the cells) when higher. On its gating origins what is served is never worse
    than the plain count; how it fared afterwards is told whatever it is."""
    history = history_of(crimes_of_2018(real_data), resolution)
    days = range(0, (LAST - FIRST_ORIGIN).days - 6, STEP_DAYS)
    origins = [FIRST_ORIGIN + dt.timedelta(days=day) for day in days]
    boards, counts = [], []
    for origin in origins:
        found = issue(history, origin, 0)
        assert found is not None
        assert_no_worse_on_the_gating_origins(found.city)
        assert_no_worse_on_the_gating_origins(found.cells)
        boards.append(scoreboard(history, origin, 0))
        counts.append(served_cells(history, found, origin))
    board, cells = pl.concat(boards), pl.concat(counts)
    baselines = [board.filter(method=name).with_columns(row=pl.lit(name)) for name in BASELINES]
    rows = pl.concat([board.filter("is_served").with_columns(row=pl.lit("served")), *baselines])
    trial.found(resolution=resolution, cells=len(history.cells), origins=len(origins))

    sums = rows.group_by("level", "category", "row").agg(pl.col("crps").sum())
    ratios = sums.pivot("row", values="crps").with_columns(pl.col("served") / pl.col("trailing"))
    for level in ("city", "cells"):
        ratio = ratios.filter(level=level)["served"].mean()
        trial.found(
            **{f"{level}: CRPS of served over trailing, mean of categories": f"{ratio:.3f}"}
        )
    many = cells.filter(pl.col("mean") >= LEAST_MEAN)
    few = cells.filter(pl.col("mean") < LEAST_MEAN)
    covered = inside(many)
    came, mean, variance = (few[name].to_numpy() for name in ("came", "mean", "variance"))
    drawn = randomized_pit(came, mean, variance, np.random.default_rng(SEED))
    distance = stats.kstest(drawn, "uniform").statistic
    for share in (80, 95):
        city = 100 * board.filter("is_served", level="city")[f"coverage_{share}"].to_numpy().mean()
        said = f"{city:.1f} % citywide, {100 * covered[share]:.1f} % of cells of mean {LEAST_MEAN}+"
        trial.found(**{f"inside of {share} %": said})
    trial.found(
        **{f"cells of mean below {LEAST_MEAN}": f"randomized PIT, KS distance {distance:.4f}"}
    )
    for level in ("city", "cells") if resolution == 7 else ("cells",):
        for category in history.categories:
            part = rows.filter(level=level, category=category)
            used = part.filter(row="served")["method"].value_counts().sort("count", "method")
            methods = ", ".join(f"{name} {count}" for name, count in used.reverse().iter_rows())
            trial.found(
                **{f"{level} {category}: served": methods, f"{level} {category}": law_line(part)}
            )
            if level == "cells":
                trial.found(
                    **{
                        f"{level} {category}: hit rate, %": map_line(part, "hit_rate", 1, 100),
                        f"{level} {category}: PAI": map_line(part, "pai", 2),
                        f"{level} {category}: PEI": map_line(part, "pei", 2),
                    }
                )
    if resolution == 7:
        assert covered[80] == pytest.approx(0.80, abs=0.03)
        assert covered[95] == pytest.approx(0.95, abs=0.03)


def test_the_plain_count_of_three_weeks_finds_a_quarter_of_the_fourth(real_data: Path, trial):
    """Chicago's crimes of February 2025 at resolution 9: the last 7 days by the plain count of the
    first 21, 5 % of the cells."""
    raw = pl.read_csv(real_data / "crimes/chicago_crimes_2025-02.csv.gz", infer_schema=False)
    points = raw.select(pl.col("Latitude", "Longitude").cast(pl.Float64))
    crimes = raw.select(
        day=pl.col("Date").str.slice(0, 10).str.to_date("%m/%d/%Y"),
        cell=cells_of(points["Latitude"], points["Longitude"]),
    ).drop_nulls()
    crimes = crimes.with_columns(parents_of(pl.col("cell"), 9))
    cells = study_area(crimes["cell"], 9)
    is_known = pl.col("day") <= dt.date(2025, 2, 21)
    known, came = (
        np.bincount(np.searchsorted(cells, part["cell"]), minlength=len(cells)).astype(float)
        for part in (crimes.filter(is_known), crimes.filter(~is_known))
    )
    found = [score(known, came, (0.05,)).item() for score in (hit_rate, pai, pei)]
    trial.found(
        cells=len(cells),
        hit_rate=f"{100 * found[0]:.1f} %",
        PAI=f"{found[1]:.2f}",
        PEI=f"{found[2]:.2f}",
    )
    assert found == pytest.approx([0.257, 5.15, 0.71], abs=0.005)
