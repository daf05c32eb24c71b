"""Risk: from the portal to the work list, against what was planted; real calls, real weather."""

import datetime as dt
from pathlib import Path

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pytest

from city311_assets.partitions import Slice
from city311_assets.risk.methods.calibration import logit
from city311_assets.risk.methods.figures import figures, reliability
from city311_assets.sample_city.kinds import AT_LEAKS, varieties
from city311_assets.sample_city.leaks import leak_cells
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import WEATHER
from city311_assets_tests.commands import Installation

pytestmark = pytest.mark.trial

SEED = 311
RECORDS_PER_DAY = 1_000
FIRST, LAST = "2025-01-01", "2026-04-30"
MONTHS = ("2026-02-01", "2026-04-30")
ROOTS = (
    'key:"bronze/chicago_311" or key:"silver/requests/chicago_311" or key:"bronze/weather/chicago" '
    'or key:"bronze/weather_forecasts/chicago" or key:"silver/weather_days/chicago" '
    'or key:"bronze/boundaries/chicago" or key:"gold/cells/chicago_311" '
    'or key:"risk/cell_days/leaks" or key:"risk/outcomes/leaks"'
)
JUDGED = (
    'key:"risk/evaluations/leaks" or key:"risk/models/leaks" or key:"risk/scores/leaks" '
    'or key:"risk/costs/leaks" or key:"risk/recommendations/leaks" '
    'or key:"risk/ward_coverage/leaks"'
)
SCORED = """
    select day, cell, p_event_7d, calls_after_7d, calls_30d, calls_365d, long_run_rate
    from risk.scores join risk.outcomes using (target, day, cell)
        join risk.cell_days using (target, day, cell)
    where is_newest order by day, cell
"""
STANDING = """
    select month, model_kind, brier_skill, calibration_slope, pr_auc, ece, precision_top_1pct,
        is_promoted from risk.models where target = 'leaks' order by month, model_kind
"""
WORK = """
    select count(*), count(*) filter (is_chosen), count(distinct day), median(net_benefit_usd)
    from risk.recommendations where target = 'leaks'
"""


def planted_chance(days: list[dt.date], cells: np.ndarray) -> np.ndarray:
    """The true chance of a call in each cell in the 7 days after each day, days x cells."""
    planted = leak_cells(SEED)
    place = {h3.str_to_int(cell): n for n, cell in enumerate(planted.cells)}
    at = np.array([place.get(int(cell), -1) for cell in cells])
    share = sum(part.share for part in varieties("chicago_311") if part.profile == AT_LEAKS)
    a_day = RECORDS_PER_DAY * share / len(planted.cells)
    span = [min(days) + dt.timedelta(days=n) for n in range((max(days) - min(days)).days + 9)]
    rates = {day: planted.rates(day) * a_day for day in span}
    found = np.zeros((len(days), len(cells)))
    for row, day in enumerate(days):
        week = sum(rates[day + dt.timedelta(days=n)] for n in range(1, 8))
        found[row] = np.where(at >= 0, -np.expm1(-np.asarray(week)[at]), 0.0)
    return found


def top_share(score: np.ndarray, is_event: np.ndarray, share: float = 0.01) -> float:
    """The share with an event among each day's highest scores; rows are days."""
    size = max(round(share * score.shape[1]), 1)
    top = np.argsort(-score, axis=1, kind="stable")[:, :size]
    return float(np.take_along_axis(is_event, top, axis=1).mean())


def test_the_planted_intensity_is_recovered(tmp_path: Path, trial):
    """Sixteen months of Chicago at 1,000 records a day, through the whole graph of risk: what three
    months' scores say, against what was planted and against what came."""
    city = Installation.small(
        tmp_path,
        CITY311_START_DATE=FIRST,
        CITY311_SAMPLE_RECORDS_PER_DAY=str(RECORDS_PER_DAY),
    )
    for first, last, graph in ((FIRST, LAST, ROOTS), (*MONTHS, JUDGED)):
        done = city.run("materialize", "--from", first, "--to", last, "--select", graph)
        assert done.returncode == 0, done.stdout + done.stderr
    columns = ("day", "cell", "p", "calls", "calls_30d", "calls_365d", "long_run_rate")
    rows = pl.DataFrame(city.query(SCORED), schema=[*columns], orient="row")
    days = rows["day"].unique().sort().to_list()
    # A cell outside the city has a row only while something was reported from it.
    rows = rows.filter(pl.len().over("cell") == len(days))
    shape = (len(days), rows.height // len(days))
    p, calls, month, year, rate = (
        rows[name].cast(pl.Float64).to_numpy().reshape(shape) for name in columns[2:]
    )
    cells = rows["cell"].to_numpy().reshape(shape)[0]
    true = planted_chance(days, cells)
    told = figures(
        p.ravel(),
        calls.ravel() > 0,
        np.repeat(np.arange(shape[0]), shape[1]),
        rows["cell"].to_numpy(),
        -np.expm1(-7 * rate.ravel()),
        seed=SEED,
    )
    is_known = true > 0
    slope, _ = np.polyfit(logit(p[is_known]), logit(true[is_known]), 1)
    event = calls > 0
    ours, best = top_share(p, event), top_share(true, event)
    standing = pl.DataFrame(
        city.query(STANDING),
        schema=["month", "kind", "skill", "slope", "pr_auc", "ece", "top", "is_promoted"],
        orient="row",
    )
    trial.found(
        cell_days=f"{p.size:,}, {event.mean():.1%} with a call",
        promoted="; ".join(
            f"{row['month']:%Y-%m} {row['kind']}: skill {row['skill']:.3f}, slope "
            f"{row['slope']:.2f}, AP {row['pr_auc']:.3f}, ECE {row['ece']:.4f}, top 1 % "
            f"{row['top']:.3f}"
            for row in standing.filter("is_promoted").to_dicts()
        ),
        calibration_slope=round(told.calibration_slope or 0, 3),
        ece=round(told.ece, 4),
        mean_p_and_base_rate=f"{told.mean_p:.4f}, {told.base_rate:.4f}",
        reliability="; ".join(
            f"{one['mean_p']:.3f} said, {one['event_rate']:.3f} came"
            for one in reliability(p.ravel(), event.ravel())
        ),
        slope_on_the_planted_log_odds=round(float(slope), 3),
        correlation_with_the_planted_chance=round(
            float(np.corrcoef(p[is_known], true[is_known])[0, 1]), 4
        ),
        precision_of_the_top_1_percent=f"{ours:.3f}; planted chance {best:.3f}, calls of 30 days "
        f"{top_share(month, event):.3f}, of 365 days {top_share(year, event):.3f}, long-run rate "
        f"{top_share(rate, event):.3f}",
        recommendations=str(city.query(WORK)[0]),
    )
    assert 0.9 <= (told.calibration_slope or 0) <= 1.1
    assert (standing.filter("is_promoted")["skill"] > 0).all()
    # No forecast can find more than the planted chance does.
    assert ours >= max(0.95 * best, top_share(month, event))


REAL_START, REAL_LAST = "2011-01-01", "2013-12-31"
REAL_MONTHS = ("2013-03-01", "2013-06-01", "2013-09-01", "2013-12-01")
REAL_ROOTS = 'key:"gold/cells/chicago_311" or key:"silver/weather_days/chicago"'
REAL_FEATURES = 'key:"risk/cell_days/sanitation" or key:"risk/outcomes/sanitation"'
REAL_MODELS = 'key:"risk/evaluations/sanitation" or key:"risk/models/sanitation"'
ROLLING = """
    select model_kind, count(*), sum(cell_days), sum(events),
        avg(brier), avg(brier_skill), avg(log_loss), avg(pr_auc), avg(ece),
        avg(calibration_slope), avg(precision_top_1pct), avg(precision_top_5pct)
    from risk.evaluations where target = 'sanitation'
    group by model_kind order by avg(brier)
"""
SERVED = """
    select model_kind, count(*) from risk.models
    where target = 'sanitation' and is_promoted group by model_kind order by 2 desc
"""
INCHES_AN_HOUR_TO_MM_A_DAY = 24 * 25.4


def real_weather(file: Path) -> pl.DataFrame:
    """What the archive would say: highest temperature, °C, and precipitation, mm; no lowest one."""
    read = pl.read_csv(file, try_parse_dates=True)
    unknown = pl.lit(None, pl.Float64)
    return read.select(
        city=pl.lit("chicago"),
        day=pl.col("date"),
        temperature_min_c=unknown,
        temperature_max_c=(pl.col("temperatureMax") - 32) / 1.8,
        precipitation_mm=pl.col("precipIntensity") * INCHES_AN_HOUR_TO_MM_A_DAY,
        snowfall_cm=unknown,
        fetched_from=pl.lit(file.name),
        fetched_at=pl.lit(dt.datetime(2014, 1, 1)),
    ).sort("day")


@pytest.mark.real
def test_real_calls_about_sanitation_are_forecast_from_rolling_origins(
    real_data: Path, tmp_path: Path, trial
):
    """Real requests of Chicago about sanitation, 2011 to 2013, with real weather: from twelve
    origins, 28 days apart, the 28 days after each, by models that saw nothing of them."""
    city = Installation.small(tmp_path, CITY311_SOURCE="live", CITY311_START_DATE=REAL_START)
    whole_file = pl.read_csv(
        real_data / "chicago311" / "chi311_sanitation_code_2000_2013.csv.gz", infer_schema=False
    )
    file = tmp_path / "sanitation.csv"
    whole_file.filter(pl.col("Creation_Date") >= REAL_START).write_csv(file)
    done = city.run("import", str(file), "--feed", "chicago_311")
    assert done.returncode == 0, done.stderr
    warehouse = Warehouse(
        database=str(Path(city.settings["CITY311_DATA_DIR"]) / "warehouse/warehouse.duckdb")
    )
    whole = Slice("chicago", dt.date(2011, 1, 1), dt.date(2014, 1, 1), "city")
    weather = real_weather(real_data / "weather" / "chicago_daily_darksky_2011_2013.csv.gz")
    warehouse.replace(WEATHER, weather, whole)
    for first, last, graph in (
        (REAL_START, REAL_LAST, REAL_ROOTS),
        (REAL_START, REAL_LAST, REAL_FEATURES),
        *((month, month, REAL_MODELS) for month in REAL_MONTHS),
    ):
        done = city.run("materialize", "--from", first, "--to", last, "--select", graph)
        assert done.returncode == 0, done.stdout + done.stderr
    rows = city.query(ROLLING)
    assert {row[0] for row in rows} >= {"climatology", "long_run_rate", "gradient_boosting"}
    assert all(0 < row[4] < 0.25 for row in rows)
    trial.found(
        origins=rows[0][1],
        cell_days=f"{rows[0][2]:,}, {rows[0][3] / rows[0][2]:.1%} with a call",
        **{
            row[0]: f"Brier {row[4]:.5f}, skill {row[5]:+.3f}, log loss {row[6]:.4f}, average "
            f"precision {row[7]:.3f}, ECE {row[8]:.4f}, slope {row[9]:.2f}, precision of the top "
            f"1 % {row[10]:.3f}, of the top 5 % {row[11]:.3f}"
            for row in rows
        },
        served="; ".join(f"{kind} {months} months" for kind, months in city.query(SERVED)),
    )
