"""Effects of a month in the graph: a town with planted delays, from silver and vectors on."""

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from city311_assets.bronze.sources import Sources
from city311_assets.causal.att import att, effect_rows
from city311_assets.causal.balance import COVARIATES, balance
from city311_assets.causal.design import design
from city311_assets.causal.matched_pairs import matched_pairs, pair_rows
from city311_assets.causal.placebo import placebo
from city311_assets.causal.populations import population, stored_matches
from city311_assets.causal.sensitivity import sensitivity
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables import causal
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.causal.town import (
    ALONE,
    EXTRA_HOURS,
    FEW,
    MONTH,
    OF_MONTH,
    WINDOW,
    cases,
    requests,
    store,
)
from city311_assets_tests.portals import failure, materialize, verdicts

SOURCES = Sources(origin="sample")
TABLES: dict[str, tuple[Table, Callable]] = {
    "matched_pairs": (causal.MATCHED_PAIRS, matched_pairs),
    "balance": (causal.BALANCE, balance),
    "att": (causal.ATT, att),
    "sensitivity": (causal.SENSITIVITY, sensitivity),
    "placebo": (causal.PLACEBO, placebo),
    "design": (causal.DESIGN, design),
}
every_table = pytest.mark.parametrize("name", TABLES)
K, SHARE = 3, 0.5


def make(
    warehouse: Warehouse, name: str, selection: dg.AssetSelection | None = None
) -> dg.ExecuteInProcessResult:
    declared = TABLES[name][1](SF_311)
    return materialize(declared, warehouse, SOURCES, MONTH, selection=selection)


def make_all(warehouse: Warehouse) -> None:
    for name in TABLES:
        result = make(warehouse, name)
        assert result.success, (name, failure(result))
        assert all(verdicts(result).values()), (name, verdicts(result))


def rows(warehouse: Warehouse, name: str) -> pl.DataFrame:
    table = TABLES[name][0]
    return warehouse.read(f"from {table} where {table.where} order by all", OF_MONTH)


@pytest.fixture(scope="module")
def named_model() -> Iterator[None]:
    """Vectors are those of a model service, so that a test may store its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CITY311_EMBEDDING_METHOD", "openai")
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, named_model: None) -> Path:
    """The town and its effects; tests that write take a copy."""
    path = tmp_path_factory.mktemp("effects") / "warehouse.duckdb"
    warehouse = Warehouse(database=str(path))
    store(warehouse, cases())
    make_all(warehouse)
    return path


@pytest.fixture
def made(made_once: Path, tmp_path: Path) -> Warehouse:
    """A copy of the town's warehouse."""
    path = tmp_path / "warehouse.duckdb"
    shutil.copy(made_once, path)
    return Warehouse(database=str(path))


@pytest.fixture
def empty(warehouse: Warehouse, named_model: None) -> Warehouse:
    """A warehouse without cases."""
    return warehouse


def headlines(warehouse: Warehouse) -> dict[str, dict]:
    found = rows(warehouse, "att").filter("is_headline")
    return {row["neighborhood"]: row for row in found.to_dicts()}


def test_the_planted_delay_is_found_and_the_quiet_places_stay_quiet(made: Warehouse):
    found = headlines(made)
    slow = found["Slow"]
    assert slow["low"] <= EXTRA_HOURS["Slow"] * 1.0 <= slow["high"]
    assert slow["q"] < 0.01
    assert slow["p_randomization"] < 0.01
    # The slow place is a control of the others; a fifth of a delay is what that may cost them.
    assert all(abs(found[name]["att_hours"]) < 20 for name in EXTRA_HOURS if name != "Slow")
    assert slow["att_hours"] > 2 * max(
        abs(found[name]["att_hours"]) for name in EXTRA_HOURS if name != "Slow"
    )


def test_a_place_with_few_cases_has_no_interval_and_one_without_controls_no_number(
    made: Warehouse,
):
    found = headlines(made)
    few, alone = found[FEW], found[ALONE]
    assert few["reason"] == "too few"
    assert few["att_hours"] is not None
    assert few["low"] is few["p"] is few["q"] is None
    assert alone["reason"] == "no control in the stratum"
    assert alone["att_hours"] is None
    assert (alone["n_matched"], alone["n_controls_used"]) == (0, 0)
    assert alone["n_treated"] > 20


def test_every_estimator_stands_beside_the_headline(made: Warehouse):
    found = rows(made, "att")
    by_estimator = dict(found.group_by("estimator").agg(pl.col("k").unique().sort()).rows())
    assert by_estimator == {
        "bias_corrected": [1, 3, 5],
        "matched": [1, 3, 5],
        "naive": [3],
        "naive_restricted": [3],
        "all_cases": [3],
        "aipw": [0],
    }
    slow = {
        (row["estimator"], row["k"]): row
        for row in found.filter(pl.col("neighborhood") == "Slow").to_dicts()
    }
    for one in (("all_cases", 3), ("aipw", 0)):
        assert slow[one]["att_hours"] == pytest.approx(EXTRA_HOURS["Slow"], abs=15)
    assert slow["bias_corrected", 3]["is_contradicted"] in {True, False}


@every_table
def test_a_month_made_twice_is_the_same(made: Warehouse, name: str):
    before = rows(made, name)
    assert make(made, name).success
    assert rows(made, name).equals(before)
    assert not before.is_empty()


def test_every_request_of_the_window_is_compared_or_left_out_for_a_reason(empty: Warehouse):
    known = cases(days=80)
    silver = requests(known).with_columns(
        pl.when(pl.int_range(pl.len()) % 10 == 1)
        .then(True)
        .otherwise("is_administrative")
        .alias("is_administrative"),
        pl.Series("is_duplicate", [number % 10 == 2 for number in range(known.height)]),
        pl.when(pl.int_range(pl.len()) % 10 == 3)
        .then(None)
        .otherwise("neighborhood")
        .alias("neighborhood"),
        pl.when(pl.int_range(pl.len()) % 10 == 4)
        .then(pl.lit("closed_before_opened"))
        .otherwise("hours_to_close_reason")
        .alias("hours_to_close_reason"),
    )
    told = known.filter(pl.int_range(pl.len()) % 10 != 5)
    store(empty, told, silver)
    for name in ("matched_pairs", "design"):
        assert make(empty, name).success
    (said,) = rows(empty, "design").to_dicts()
    tenth = known.height // 10
    names = ("administrative", "duplicates", "without_neighborhood", "without_time")
    assert [said[name] for name in names] == [tenth] * 4
    assert said["without_vector"] == tenth
    assert said["cases"] == known.height
    assert said["compared"] + said["immature"] == 5 * tenth
    # Openings of the last 30 days of the window are not mature.
    assert said["maturity_at_utc"] == dt.datetime(2026, 5, 2, 7)
    assert said["immature"] > 0


def test_only_cases_elsewhere_of_the_same_kind_and_channel_are_compared(made: Warehouse):
    pairs = rows(made, "matched_pairs")
    assert (pairs["neighborhood"] != pairs["control_neighborhood"]).all()
    silver = made.read(f"select record_id, category, neighborhood from {REQUESTS}")
    kinds = dict(silver.select("record_id", "category").rows())
    assert all(kinds[one] == kinds[other] for one, other in pairs["record_id", "control_id"].rows())
    own = pairs.filter("is_within_caliper").group_by("record_id").agg(pl.col("weight").sum())
    assert np.allclose(own["weight"], 1)
    assert pairs.filter(~pl.col("is_within_caliper"))["weight"].null_count() == (
        pairs.filter(~pl.col("is_within_caliper")).height
    )


def test_matching_balances_what_the_text_says(made: Warehouse):
    found = rows(made, "balance")
    assert set(found["covariate"]) == {*COVARIATES}
    of_text = found.filter(
        pl.col("covariate").str.starts_with("text_"), pl.col("neighborhood").is_in([*EXTRA_HOURS])
    )
    before, after = (np.abs(of_text[f"smd_{when}"].to_numpy()) for when in ("before", "after"))
    assert before.max() > 0.3
    assert after.max() < 0.25
    assert after.mean() < before.mean() / 3


def test_closed_cases_alone_hide_the_slow_ones(empty: Warehouse):
    """Where a place leaves many cases open, the naive estimate does not see its delay."""
    known = cases().with_columns(
        pl.when((pl.col("neighborhood") == "Slow") & (pl.int_range(pl.len()) % 2 == 0))
        .then(1e6)
        .otherwise("took")
        .alias("took")
    )
    store(empty, known)
    for name in ("matched_pairs", "balance", "att"):
        assert make(empty, name).success
    slow = {
        (row["estimator"], row["k"]): row["att_hours"]
        for row in rows(empty, "att").filter(pl.col("neighborhood") == "Slow").to_dicts()
    }
    # Half of them take the limit of 720 hours.
    assert slow["bias_corrected", 3] > 300
    assert slow["naive", 3] < 100
    assert slow["all_cases", 3] > 300


def test_the_choices_around_the_headline_hold_it(made: Warehouse):
    found = {row["neighborhood"]: row for row in rows(made, "sensitivity").to_dicts()}
    slow, head = found["Slow"], headlines(made)["Slow"]
    assert slow["lowest_att_hours"] <= head["att_hours"] <= slow["highest_att_hours"]
    assert slow["choices"] == 9
    assert slow["is_sign_stable"]
    assert slow["rosenbaum_gamma"] > 1.5
    assert slow["e_value"] >= slow["e_value_of_interval"] > 1
    assert found[ALONE]["choices"] == 0
    assert found[ALONE]["rosenbaum_gamma"] is None


def test_placebos_are_significant_about_one_time_in_twenty(made: Warehouse):
    found = {row["placebo"]: row for row in rows(made, "placebo").to_dicts()}
    made_up = found["made_up_neighborhoods"]
    assert made_up["effects"] == 100
    assert made_up["share_low"] < 0.08
    assert found["minute_of_opening"]["effects"] == len(EXTRA_HOURS)


def test_ids_and_the_order_of_cases_do_not_matter(made: Warehouse, tmp_path: Path):
    renamed = Warehouse(database=str(tmp_path / "other" / "warehouse.duckdb"))
    known = cases().with_columns(
        (pl.lit(999_999) - pl.col("record_id").cast(pl.Int64)).cast(pl.String).alias("record_id")
    )
    store(renamed, known.sample(fraction=1.0, shuffle=True, seed=5))
    for name in ("matched_pairs", "balance", "att"):
        assert make(renamed, name).success
    ours, theirs = headlines(made), headlines(renamed)
    for name, row in ours.items():
        for column in ("att_hours", "se", "p", "n_matched", "effective_controls"):
            one, other = (float(told[column] or 0) for told in (row, theirs[name]))
            assert other == pytest.approx(one, rel=1e-6, abs=1e-9), column


def test_what_a_town_cannot_tell_has_no_number(empty: Warehouse):
    known = cases(days=70).with_columns(pl.lit("Only").alias("neighborhood"))
    store(empty, known)
    for name in TABLES:
        result = make(empty, name)
        assert result.success, (name, failure(result))
        assert all(verdicts(result).values())
    (only,) = headlines(empty).values()
    assert (only["att_hours"], only["reason"]) == (None, "no control in the stratum")


def test_a_place_whose_cases_are_all_young_says_so(empty: Warehouse):
    known = cases().with_columns(
        pl.when(pl.col("day") >= dt.date(2026, 5, 20))
        .then(pl.lit("New"))
        .otherwise("neighborhood")
        .alias("neighborhood")
    )
    store(empty, known)
    for name in ("matched_pairs", "balance", "att", "sensitivity"):
        result = make(empty, name)
        assert result.success, (name, failure(result))
        assert all(verdicts(result).values())
    new = headlines(empty)["New"]
    assert (new["reason"], new["att_hours"], new["n_treated"]) == ("no mature case", None, 0)


def test_a_month_without_cases_has_a_design_and_no_effects(empty: Warehouse):
    for name in TABLES:
        result = make(empty, name)
        assert result.success, (name, failure(result))
        assert all(verdicts(result).values())
    assert rows(empty, "att").is_empty()
    (said,) = rows(empty, "design").to_dicts()
    assert (said["cases"], said["compared"], said["maturity_at_utc"]) == (0, 0, None)


def test_a_text_that_tells_the_neighbourhood_from_its_controls_withholds_the_interval(
    made: Warehouse,
):
    everyone = population(made, SF_311, OF_MONTH, MONTH)
    pairs = stored_matches(made, everyone.mature, OF_MONTH)
    far = pl.DataFrame({"neighborhood": ["Slow"], "smd_after": [0.9]})
    found = effect_rows(everyone, pairs, far, K, draws=100).filter("is_headline")
    slow = found.row(by_predicate=pl.col("neighborhood") == "Slow", named=True)
    assert (slow["reason"], slow["se"], slow["q"]) == ("not balanced", None, None)
    assert slow["att_hours"] is not None


def test_a_caliper_that_nobody_reaches_leaves_no_number(made: Warehouse):
    everyone = population(made, SF_311, OF_MONTH, MONTH)
    people = everyone.mature
    none = pair_rows(people, K, 0.99999)
    assert none.filter("is_within_caliper")["record_id"].n_unique() < people.size / 2


@pytest.mark.parametrize(
    ("name", "tampering"),
    [
        ("matched_pairs", "update causal.matched_pairs set control_neighborhood = neighborhood"),
        ("matched_pairs", "update causal.matched_pairs set weight = 0.9 where weight is not null"),
        ("matched_pairs", "update causal.matched_pairs set similarity = match_rank / 100.0"),
        ("balance", "delete from causal.balance where covariate = 'severity'"),
        ("att", "update causal.att set reason = 'because' where se is not null"),
        ("att", "update causal.att set is_headline = true"),
        ("att", "update causal.att set n_matched = 9"),
        ("att", "update causal.balance set smd_after = 2 where covariate = 'propensity'"),
        ("sensitivity", "update causal.sensitivity set lowest_att_hours = 1e6"),
        ("placebo", "update causal.placebo set significant = effects + 1"),
        ("design", "update causal.design set compared = compared + 1"),
    ],
)
def test_a_check_finds_what_was_tampered_with(made: Warehouse, name: str, tampering: str):
    with made.transaction() as session:
        session.run(tampering)
    key = TABLES[name][0].key(SF_311.name)
    result = make(made, name, selection=dg.AssetSelection.checks_for_assets(key))
    assert not all(verdicts(result).values())


def test_a_window_is_what_the_settings_say(made: Warehouse):
    assert WINDOW.start >= population(made, SF_311, OF_MONTH, MONTH).span.start
