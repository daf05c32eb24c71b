"""Effects: the planted delays of the sample city, and a study in which the truth is known."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from city311_assets.causal.att import units_of
from city311_assets.causal.methods.disparities import SameSide, corrected_effects
from city311_assets.causal.methods.matching import match_in_strata, similarity_floors
from city311_assets.causal.populations import limit_hours, population
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.sample_city.records import day_outcomes
from city311_assets.sample_city.truth import truth
from city311_assets.warehouse.resource import Warehouse
from city311_assets_tests.causal.study import SCENARIOS, Scenario, drawn, scored, told
from city311_assets_tests.commands import Installation

pytestmark = pytest.mark.trial

FIRST, MONTH, LAST = dt.date(2026, 2, 1), dt.date(2026, 4, 1), dt.date(2026, 4, 30)
RECORDS_PER_DAY = 400
ENOUGH = 100
SEEDS = (311, 312, 313)
Z_95 = 1.96
CHAIN = (
    'key:"bronze/sf_311" or key:"silver/requests/sf_311" or key:"bronze/boundaries/san_francisco" '
    'or key:"atlas/captions/sf_311" or key:"atlas/text_models/sf_311" '
    'or key:"atlas/embeddings/sf_311"'
)
EFFECTS = 'key:"causal/*/sf_311"'
HEADLINES = """
    select neighborhood, att_hours, low, high, q, n_matched, is_contradicted
    from causal.att where is_headline and month = '2026-04-01' order by neighborhood
"""
NAIVE = """
    select neighborhood, att_hours as naive_hours from causal.att
    where estimator = 'naive_restricted' and month = '2026-04-01'
"""
PAIRS = """
    select record_id, neighborhood, control_neighborhood, weight from causal.matched_pairs
    where weight is not null and month = '2026-04-01'
"""
PLACEBOS = "select placebo, significant, effects from causal.placebo where month = '2026-04-01'"
DRAWS, WITH_AIPW = 1_000, 150


def contrasts(pairs: pl.DataFrame, seed: int) -> dict[str, float]:
    """Return what each neighbourhood's cases truly took longer than with their controls' delays."""
    days = [FIRST + dt.timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
    outcomes = pl.concat(
        day_outcomes(SF_311, day, seed=seed, records_per_day=RECORDS_PER_DAY) for day in days
    ).select("record_id", pl.col("hours_elsewhere").fill_null(np.inf))
    planted: Any = truth(seed)
    delays = planted["extra_hours"]["san_francisco"]
    limit = limit_hours()
    gains = pairs.join(outcomes, on="record_id").with_columns(
        own=pl.col("neighborhood").replace_strict(delays),
        other=pl.col("control_neighborhood").replace_strict(delays),
    )
    gain = (pl.col("hours_elsewhere") + pl.col("own")).clip(upper_bound=limit) - (
        pl.col("hours_elsewhere") + pl.col("other")
    ).clip(upper_bound=limit)
    cases = gains.group_by("neighborhood", "record_id").agg((gain * pl.col("weight")).sum())
    by_name = cases.group_by("neighborhood").agg(pl.col("hours_elsewhere").mean())
    return dict(by_name.rows())


@dataclass(frozen=True)
class Found:
    """What one sample city's effects say, and what was planted there."""

    is_inside: list[bool]
    z: list[float]
    ours_off: list[float]
    naive_off: list[float]
    nulls: int
    nulls_below: int
    least_q: float
    contradicted: int
    placebos: dict[str, tuple[int, int]]


def of_a_city(folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> Found:
    city = Installation.small(
        folder,
        CITY311_SAMPLE_RECORDS_PER_DAY=str(RECORDS_PER_DAY),
        CITY311_SAMPLE_SEED=str(seed),
    )
    for first, graph in ((FIRST, CHAIN), (MONTH, EFFECTS)):
        days = ("--from", str(first), "--to", str(LAST))
        done = city.run("materialize", *days, "--select", graph)
        assert done.returncode == 0, done.stdout + done.stderr
    pairs = pl.DataFrame(
        city.query(PAIRS),
        schema=["record_id", "neighborhood", "control_neighborhood", "weight"],
        orient="row",
    )
    true = contrasts(pairs, seed)
    found = [row for row in city.query(HEADLINES) if row[2] is not None and row[5] >= ENOUGH]
    naive = dict(city.query(NAIVE))
    slow = [(name, effect) for name, effect, *_ in found if true[name] > 10]

    warehouse = Warehouse(
        database=str(Path(city.settings["CITY311_DATA_DIR"]) / "warehouse/warehouse.duckdb")
    )
    monkeypatch.setenv("CITY311_DATA_DIR", city.settings["CITY311_DATA_DIR"])
    part = Slice(SF_311.name, MONTH, dt.date(2026, 5, 1))
    people = population(warehouse, SF_311, part, MONTH).mature
    planted: Any = truth(seed)
    nulls = set(planted["null_neighborhoods"]["san_francisco"])
    quiet = people.chosen(people.cases["neighborhood"].is_in([*nulls]).to_numpy())
    units = units_of(quiet)
    floors = similarity_floors(units.vectors, units.strata, 0.5, 311)
    matches = match_in_strata(
        units.vectors, units.strata, units.groups, 3, nearness=units.nearness
    ).above(floors)
    effects = corrected_effects(units, matches, 3, same_side=SameSide(units))
    p = np.array([e.p for e in effects.values() if e.p is not None and e.n_matched >= ENOUGH])
    return Found(
        is_inside=[low <= true[name] <= high for name, _, low, high, *_ in found],
        z=[
            (effect - true[name]) / ((high - low) / 2 / Z_95)
            for name, effect, low, high, *_ in found
        ],
        ours_off=[effect - true[name] for name, effect in slow],
        naive_off=[naive[name] - true[name] for name, _ in slow],
        nulls=len(p),
        nulls_below=int((p < 0.05).sum()),
        least_q=float((np.sort(p) * len(p) / np.arange(1, len(p) + 1)).min()),
        contradicted=sum(bool(row[6]) for row in found),
        placebos={name: (hits, tests) for name, hits, tests in city.query(PLACEBOS)},
    )


def test_the_sample_citys_delays_lie_in_their_intervals(
    tmp_path: Path, trial, monkeypatch: pytest.MonkeyPatch
):
    """Three months of San Francisco at 400 records a day, of three seeds, without any model, from
    the portal to the effects: the truth is what each matched case took longer than with the delays
    of its controls, both restricted. Null neighbourhoods are compared among themselves."""
    cities = []
    for seed in SEEDS:
        (tmp_path / str(seed)).mkdir()
        cities.append(of_a_city(tmp_path / str(seed), seed, monkeypatch))
    inside = [sum(one.is_inside) for one in cities]
    asked = [len(one.is_inside) for one in cities]
    z = np.concatenate([one.z for one in cities])
    ours, naive = (
        float(np.mean(np.concatenate([getattr(one, name) for one in cities])))
        for name in ("ours_off", "naive_off")
    )
    placebos = {
        name: tuple(np.sum([one.placebos[name] for one in cities], axis=0).tolist())
        for name in cities[0].placebos
    }
    below, nulls = sum(one.nulls_below for one in cities), sum(one.nulls for one in cities)
    trial.found(
        truth_inside=", ".join(f"{n} of {m}" for n, m in zip(inside, asked, strict=True)),
        together=f"{sum(inside)} of {sum(asked)}, {sum(inside) / sum(asked):.1%}",
        z_mean_and_deviation=f"{z.mean():.2f}, {z.std(ddof=1):.2f}",
        null_ones_compared_among_themselves=f"p < 0.05 in {below} of {nulls}, least q "
        + ", ".join(f"{one.least_q:.2f}" for one in cities),
        bias_hours_of_ours=round(ours, 2),
        bias_hours_of_closed_cases_alone=round(naive, 2),
        contradicted_by_aipw=sum(one.contradicted for one in cities),
        placebos="; ".join(f"{name} {hits} of {tests}" for name, (hits, tests) in placebos.items()),
    )
    assert sum(inside) / sum(asked) >= 0.9
    assert below <= 0.1 * nulls
    # Dropping what is open hides a part of every delay: a small one here, where few stay open.
    assert naive < ours


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name.replace(" ", "_"))
def test_intervals_cover_a_truth_that_is_known(scenario: Scenario, trial):
    """1,000 draws of a made-up city whose topics drive place, wait and, in some, opening: bias,
    coverage, width and share of p < 0.05 of every estimator; `aipw` on 150 of the draws. The truth
    is the mean gain of the treated cases matched, from their own potential outcomes."""
    runs: dict[str, list] = {}
    for seed in range(DRAWS):
        city = drawn(scenario, seed)
        for name, one in told(city, seed, draws=400, with_aipw=seed < WITH_AIPW).items():
            runs.setdefault(name, []).append(one)
    scores = {name: scored(found) for name, found in runs.items()}
    trial.found(**{name: str(score) for name, score in scores.items()})
    ours = scores["bias_corrected"]
    assert 0.93 <= ours.coverage <= 0.97
    error = ours.error / np.sqrt(ours.draws)
    assert abs(ours.bias) <= max(0.05 * abs(ours.truth), 0.2 * ours.error) + 2 * error
    if scenario.extra_hours == 0:
        assert ours.rejected_by_flips is not None
        assert 0.03 <= ours.rejected_by_flips <= 0.08


REAL_FIRST, REAL_MONTH = "2017-01-01", ("2019-10-01", "2019-10-31")
REAL_TEXTS = (
    'key:"atlas/captions/sf_311" or key:"atlas/text_models/sf_311" or key:"atlas/embeddings/sf_311"'
)
REAL_EFFECTS = """
    select neighborhood, round(att_hours, 1), round(low, 1), round(high, 1), round(q, 3), n_matched,
        reason
    from causal.att where is_headline order by n_matched desc, neighborhood limit 8
"""


@pytest.mark.real
def test_real_cases_go_through_the_whole_chain(real_data: Path, tmp_path: Path, trial):
    """Real cases of San Francisco, of a sample of 10,000 those opened since 2017, imported from a
    file and compared by their own texts in one window of 34 months: the chain runs, and its
    diagnostics are shown."""
    city = Installation.small(
        tmp_path,
        CITY311_SOURCE="live",
        CITY311_START_DATE=REAL_FIRST,
        CITY311_ATLAS_WINDOW_MONTHS="34",
    )
    whole = pl.read_csv(
        real_data / "sf311" / "sf311_bigquery_10k_2008_2019.csv.gz", infer_schema=False
    )
    file = tmp_path / "cases.csv"
    whole.filter(pl.col("created_date") >= REAL_FIRST).write_csv(file)
    done = city.run("import", str(file), "--feed", "sf_311")
    assert done.returncode == 0, done.stderr
    days = ("--from", REAL_FIRST, "--to", "2019-10-31")
    done = city.run("materialize", *days, "--select", REAL_TEXTS)
    assert done.returncode == 0, done.stdout + done.stderr
    month = ("--from", REAL_MONTH[0], "--to", REAL_MONTH[1])
    done = city.run("materialize", *month, "--select", 'key:"causal/*/sf_311"')
    assert done.returncode == 0, done.stdout + done.stderr
    ((cases, compared, strata, neighborhoods),) = city.query(
        "select cases, compared, strata, neighborhoods from causal.design"
    )
    ((intervals, reasons),) = city.query(
        "select count(se), histogram(reason) from causal.att where is_headline"
    )
    ((before, after, worst),) = city.query(
        "select avg(abs(smd_before)), avg(abs(smd_after)), max(abs(smd_after)) from causal.balance "
        "where covariate like 'text_%' and neighborhood in "
        "(select neighborhood from causal.att where is_headline and se is not null)"
    )
    ((support, similarity),) = city.query(
        "select sum(n_matched) / sum(n_treated), avg(mean_similarity) from causal.att "
        "where is_headline"
    )
    placebos = city.query("select placebo, significant, effects from causal.placebo order by 1")
    assert 0 < compared <= cases
    trial.found(
        cases=cases,
        compared=compared,
        strata=strata,
        neighbourhoods=neighborhoods,
        with_an_interval=intervals,
        reasons=reasons,
        share_on_support=round(support, 3),
        mean_similarity=round(similarity, 3),
        text_difference=f"{before or 0:.3f} before, {after or 0:.3f} after, worst {worst or 0:.3f}",
        placebos="; ".join(f"{name} {hits} of {tests}" for name, hits, tests in placebos),
        effects="; ".join(map(str, city.query(REAL_EFFECTS))),
    )
