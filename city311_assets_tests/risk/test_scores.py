"""Scores: who scores which day, what is kept, and what must hold of them, in a real DuckDB file."""

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from city311_assets.partitions import Slice, range_tags
from city311_assets.risk.cell_days import cell_days
from city311_assets.risk.evaluations import evaluations, schema_of
from city311_assets.risk.methods.calibration import uncalibrated
from city311_assets.risk.methods.candidates import (
    UNFITTED,
    Fitted,
    LogisticModel,
    RateModel,
    TreeModel,
    gradient_boosting,
)
from city311_assets.risk.methods.drivers import contributions
from city311_assets.risk.methods.feature_names import FEATURES
from city311_assets.risk.methods.features import model_matrix
from city311_assets.risk.methods.splits import splits
from city311_assets.risk.model_files import library_version, write_model
from city311_assets.risk.models import models
from city311_assets.risk.scores import (
    KNOWN,
    Bands,
    claims,
    limits,
    longest_short_history,
    score_rows,
    scores,
    with_newest,
    write,
)
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.settings import settings
from city311_assets.warehouse.errors import SliceRefusedError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import CELL_DAYS, MODELS, OUTCOMES, SCORES
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.portals import failure, materialize, verdicts
from city311_assets_tests.risk.planted import City, planted, store

# The city begins with 2024.
DAYS, MONTH = 245, dt.date(2024, 8, 1)
DAY = dt.date(2024, 8, 10)
BANDS = Bands(0.2, 0.5)
AS_OF = dt.datetime(2026, 1, 1)
BLOCKING = {
    "probabilities_possible",
    "one_newest_version",
    "model_knew_nothing",
}
MANY_EXPECTED_OF_NONE = f"""
    update {OUTCOMES} set is_event = false;
    update {SCORES} set p_event_7d = 0.3 + p_event_7d / 2, high = 1
"""
CLAIMS = BLOCKING | {
    "whole_study_area",
    "model_is_recent",
    "scores_differ",
    "near_the_base_rate",
}


def a_city() -> City:
    return planted(DAYS, steps=3)


def of(first: dt.date, last: dt.date | None = None) -> Slice:
    return Slice("leaks", first, (last or first) + dt.timedelta(days=1), "target")


@pytest.fixture(scope="module")
def stored_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a warehouse with a city's cell days and outcomes, and no model."""
    path = tmp_path_factory.mktemp("city") / "warehouse.duckdb"
    store(Warehouse(database=str(path)), a_city(), LEAKS)
    return path


@pytest.fixture
def town(stored_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """A copy of it, and a data folder that files of models go into."""
    monkeypatch.setenv("CITY311_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    yield Warehouse(database=str(shutil.copy(stored_once, tmp_path)))
    settings.cache_clear()


def logistic(version: str, intercept: float = -2.0, **coefficients: float) -> Fitted:
    """A model by hand: nothing but some coefficients of columns as they are."""
    given = {"calls_90d": 0.2, "ring1_calls_30d": 0.05} | coefficients
    q = len(FEATURES)
    model = LogisticModel(
        fill=np.zeros(q),
        centre=np.zeros(q),
        scale=np.ones(q),
        coefficients=np.array([given.get(name, 0.0) for name in FEATURES]),
        intercept=intercept,
        is_logged=np.zeros(q, bool),
        unit=np.ones(q),
    )
    return Fitted("logistic", version, FEATURES, model, uncalibrated(), 1.25)


def promote(warehouse: Warehouse, fitted: Fitted, month: dt.date = MONTH, late: int = 0) -> Fitted:
    """Store a model as the one promoted for a month; `late` days it saw of what it may not."""
    path, sha256 = write_model(fitted, LEAKS)
    row = {
        "target": "leaks",
        "month": month,
        "model_kind": fitted.kind,
        "model_version": fitted.version,
        "trained_until": month - dt.timedelta(days=8),
        "parameters": "{}",
        "is_promoted": True,
        "artefact_path": path,
        "artefact_hash": sha256,
        "library_version": library_version(),
    }
    blank = {pl.String: "", pl.Date: month, pl.Boolean: False}
    types = {"target": pl.String, "month": pl.Date, **schema_of(MODELS)}
    given = {name: row.get(name, blank.get(types[name], 0)) for name in MODELS.names}
    with warehouse.transaction() as session:
        session.prepare(MODELS)
        session.run(f"delete from {MODELS} where month = $month", {"month": month})
        rows = pl.DataFrame([given], schema=types)
        session.run(f"insert into {MODELS} by name from rows", rows=rows)
    return fitted


def stored(warehouse: Warehouse, first: dt.date = DAY, last: dt.date | None = None) -> pl.DataFrame:
    return warehouse.read(
        f"from {SCORES} where {SCORES.where} order by day, cell, model_version",
        of(first, last),
        [SCORES],
    )


def known(warehouse: Warehouse, first: dt.date = DAY, last: dt.date | None = None) -> pl.DataFrame:
    return warehouse.read(KNOWN, of(first, last), [CELL_DAYS])


def run(
    warehouse: Warehouse, first: dt.date = DAY, last: dt.date | None = None
) -> dg.ExecuteInProcessResult:
    return materialize(scores(LEAKS), warehouse, None, first, last)


def change(warehouse: Warehouse, table: Table, statement: str) -> None:
    with warehouse.transaction() as session:
        session.prepare(table)
        session.run(statement)


def test_a_cells_score_is_its_models_and_says_so(town: Warehouse):
    model = promote(town, logistic("leaks-a"))
    assert run(town).success
    rows, frame = stored(town), known(town)
    p = model.p(model_matrix(frame))
    assert rows["cell"].to_list() == frame["cell"].to_list()
    np.testing.assert_allclose(rows["p_event_7d"], p, rtol=1e-12)
    np.testing.assert_allclose(rows["expected_events_7d"], -1.25 * np.log1p(-p), rtol=1e-12)
    assert set(rows.select("model_version", "model_kind", "reason", "is_newest").rows()) == {
        ("leaks-a", "logistic", None, True)
    }
    assert (rows["low"] <= rows["p_event_7d"]).all()
    assert (rows["p_event_7d"] <= rows["high"]).all()


def test_the_drivers_of_a_cell_are_the_groups_that_moved_it_most(town: Warehouse):
    model = promote(town, logistic("leaks-a"))
    write(town, LEAKS, of(DAY))
    frame = known(town)
    found = contributions(model, model_matrix(frame))
    for row, effects, calls in zip(
        stored(town)["drivers"].to_list(), found.effects, frame["calls_30d"], strict=True
    ):
        by_group = dict(zip(found.groups, effects.tolist(), strict=True))
        expected = sorted(
            (abs(by_group[g]), g) for g in ("recent calls here", "calls next door") if by_group[g]
        )
        assert [driver["driver"] for driver in row] == [g for _, g in reversed(expected)]
        for driver in row:
            assert driver["effect"] == pytest.approx(by_group[driver["driver"]])
            if driver["driver"] == "recent calls here" and calls > 1:
                assert f" {calls} calls here in 30 days" in driver["words"]


def test_every_kind_of_model_scores(town: Warehouse):
    city = a_city()
    trees = TreeModel(gradient_boosting(city.rows(60, 200, 5), seed=1).classifier)
    rate = RateModel(FEATURES.index("decay_30d"), 0.001, 0.01)
    for model in (trees, rate):
        fitted = Fitted("any", "v", FEATURES, model, uncalibrated(), 1.0)
        frame = known(town)
        rows = score_rows(frame, fitted, LEAKS, BANDS, AS_OF)
        np.testing.assert_allclose(rows["p_event_7d"], fitted.p(model_matrix(frame)), rtol=1e-9)


def test_days_scored_together_are_scored_as_each_alone(town: Warehouse):
    model = logistic("leaks-a")
    together = score_rows(known(town, DAY, dt.date(2024, 8, 14)), model, LEAKS, BANDS, AS_OF)
    apart = [
        score_rows(known(town, DAY + dt.timedelta(days=n)), model, LEAKS, BANDS, AS_OF)
        for n in range(5)
    ]
    assert together["drivers"].to_list() == pl.concat(apart)["drivers"].to_list()
    assert together.drop("drivers").equals(pl.concat(apart).drop("drivers"))


def test_a_tenth_of_the_cells_is_in_each_decile_and_the_highest_in_the_tenth(town: Warehouse):
    frame = known(town)
    everyone_differs = frame.with_columns(long_run_rate=pl.Series(range(frame.height)) / 1_000)
    rows = score_rows(everyone_differs, None, LEAKS, BANDS, AS_OF)
    sizes = np.bincount(rows["decile"], minlength=11)[1:]
    assert len(sizes) == 10
    assert np.ptp(sizes) <= 1
    by_p = rows.sort("p_event_7d")
    assert by_p["decile"].is_sorted()
    assert by_p["decile"][-1] == 10


def test_cells_of_equal_probability_have_the_same_decile(town: Warehouse):
    rows = score_rows(known(town), logistic("a"), LEAKS, BANDS, AS_OF)
    assert rows["p_event_7d"].n_unique() < rows.height
    assert rows.group_by("p_event_7d").agg(pl.col("decile").n_unique())["decile"].max() == 1


def test_bands_begin_at_their_limits():
    p = pl.DataFrame({"p": [0.0, 0.19999, 0.2, 0.49999, 0.5, 1.0]})
    said = p.select(BANDS.of(pl.col("p")).alias("band"))["band"].to_list()
    assert said == ["low", "low", "medium", "medium", "high", "high"]
    with pytest.raises(ValueError, match="set CITY311_RISK_MEDIUM_FROM below"):
        Bands(0.5, 0.5)


def test_without_a_model_the_long_run_rate_stands_in_and_the_reason_is_told(town: Warehouse):
    enough = a_city().first + dt.timedelta(days=longest_short_history(7))
    for day, reason in (
        (enough - dt.timedelta(days=1), "short history"),
        (enough, "no model yet"),
    ):
        write(town, LEAKS, of(day))
        rows = stored(town, day)
        rate = known(town, day)["long_run_rate"].to_numpy().astype(np.float32)
        np.testing.assert_allclose(rows["p_event_7d"], -np.expm1(-7 * rate), rtol=1e-5)
        assert set(rows.select("model_version", "model_kind", "reason").rows()) == {
            (UNFITTED, "long_run_rate", reason)
        }
        assert (rows["low"] == rows["p_event_7d"]).all()


def test_the_day_a_month_can_first_have_a_model_is_no_short_history():
    first = MONTH - dt.timedelta(days=longest_short_history(7))
    for begins, is_enough in ((first, True), (first + dt.timedelta(days=1), False)):
        labelled = [begins + dt.timedelta(days=n) for n in range((MONTH - begins).days - 7)]
        assert bool(splits(MONTH, labelled, 7)) == is_enough


def test_a_range_is_scored_by_the_model_of_each_day(town: Warehouse):
    promote(town, logistic("leaks-july"), dt.date(2024, 7, 1))
    promote(town, logistic("leaks-august", -1.5))
    write(town, LEAKS, of(dt.date(2024, 6, 30), dt.date(2024, 7, 2)))
    write(town, LEAKS, of(dt.date(2024, 7, 31), dt.date(2024, 8, 1)))
    rows = stored(town, dt.date(2024, 6, 30), dt.date(2024, 8, 1))
    assert rows.select("day", "model_version").unique().sort("day").rows() == [
        (dt.date(2024, 6, 30), UNFITTED),
        (dt.date(2024, 7, 1), "leaks-july"),
        (dt.date(2024, 7, 2), "leaks-july"),
        (dt.date(2024, 7, 31), "leaks-july"),
        (dt.date(2024, 8, 1), "leaks-august"),
    ]


def test_scoring_twice_changes_nothing_not_even_when_it_was_scored(town: Warehouse):
    promote(town, logistic("leaks-a"))
    write(town, LEAKS, of(DAY))
    before = stored(town)
    assert write(town, LEAKS, of(DAY)) == {}
    assert write(town, LEAKS, of(DAY), rescore=True) == {}
    assert stored(town).equals(before)


def test_a_past_day_keeps_its_scores_although_features_and_models_changed(town: Warehouse):
    promote(town, logistic("leaks-a"))
    write(town, LEAKS, of(DAY))
    before = stored(town)
    promote(town, logistic("leaks-b", -1.0))
    change(town, CELL_DAYS, f"update {CELL_DAYS} set calls_90d = calls_90d + 5")
    next_day = DAY + dt.timedelta(days=1)
    assert write(town, LEAKS, of(DAY, next_day)) == {next_day: before.height}
    assert stored(town).equals(before)
    assert set(stored(town, next_day)["model_version"]) == {"leaks-b"}


def test_rescoring_puts_another_model_beside_the_first_and_makes_it_the_newest(town: Warehouse):
    promote(town, logistic("leaks-a"))
    write(town, LEAKS, of(DAY))
    before = stored(town)
    promote(town, logistic("leaks-b", -1.0))
    assert write(town, LEAKS, of(DAY), rescore=True) == {DAY: before.height}
    after = stored(town)
    first = after.filter(pl.col("model_version") == "leaks-a")
    assert first.drop("is_newest").equals(before.drop("is_newest"))
    newest = after.filter("is_newest")
    assert set(newest["model_version"]) == {"leaks-b"}
    assert newest["cell"].to_list() == before["cell"].to_list()
    # The first model again: its scores are there.
    promote(town, logistic("leaks-a"))
    assert write(town, LEAKS, of(DAY), rescore=True) == {}
    assert stored(town).equals(after)


def test_a_run_is_asked_to_rescore_by_its_configuration(town: Warehouse):
    promote(town, logistic("leaks-a"))
    write(town, LEAKS, of(DAY))
    for version, asked in (("leaks-b", False), ("leaks-c", True)):
        promote(town, logistic(version))
        result = dg.materialize(
            [*scores(LEAKS)],
            resources={"warehouse": town},
            tags=range_tags(DAY, DAY),
            run_config={"ops": {"risk__scores__leaks": {"config": {"rescore": asked}}}},
        )
        assert result.success
    assert set(stored(town)["model_version"]) == {"leaks-a", "leaks-c"}


def test_what_stood_in_gives_way_to_a_model_without_being_asked(town: Warehouse):
    write(town, LEAKS, of(DAY))
    promote(town, logistic("leaks-a"))
    write(town, LEAKS, of(DAY))
    rows = stored(town)
    said = set(rows.select("model_version", "is_newest").rows())
    assert said == {(UNFITTED, False), ("leaks-a", True)}
    assert rows.height == 2 * known(town).height


def test_what_stands_in_never_follows_a_model(town: Warehouse):
    promote(town, logistic("leaks-a"))
    write(town, LEAKS, of(DAY))
    change(town, MODELS, f"delete from {MODELS}")
    assert write(town, LEAKS, of(DAY), rescore=True) == {}
    assert set(stored(town)["model_version"]) == {"leaks-a"}


def test_a_cell_that_is_new_is_scored_beside_those_that_stay(town: Warehouse):
    promote(town, logistic("leaks-a"))
    (new,) = known(town)["cell"].sample(1, seed=1)
    change(town, CELL_DAYS, f"create table aside as from {CELL_DAYS} where cell = {new}")
    change(town, CELL_DAYS, f"delete from {CELL_DAYS} where cell = {new}")
    write(town, LEAKS, of(DAY))
    before = stored(town)
    change(town, CELL_DAYS, f"insert into {CELL_DAYS} from aside")
    assert write(town, LEAKS, of(DAY)) == {DAY: 1}
    after = stored(town)
    assert after.filter(pl.col("cell") != new).equals(before)
    assert after.filter("is_newest")["cell"].to_list() == known(town)["cell"].to_list()


def test_cells_added_later_do_not_make_an_older_version_the_newest(town: Warehouse):
    frame = known(town)

    def scored(version: str, hour: int, first: int, last: int) -> pl.DataFrame:
        as_of = dt.datetime(2026, 1, 1, hour)
        return score_rows(frame[first:last], logistic(version), LEAKS, BANDS, as_of)

    rows = pl.concat(
        [
            scored("a", 1, 0, 2),
            scored("b", 2, 0, 3),
            scored("a", 3, 2, 3),
            scored(UNFITTED, 4, 0, 3),
        ]
    )
    marked = with_newest(rows)
    assert marked.filter("is_newest").equals(scored("b", 2, 0, 3))
    assert marked.drop("is_newest").equals(rows.drop("is_newest"))


def test_a_day_without_features_has_no_scores(town: Warehouse):
    promote(town, logistic("leaks-a"))
    result = run(town, dt.date(2025, 1, 1), dt.date(2025, 1, 2))
    assert result.success
    assert stored(town, dt.date(2025, 1, 1), dt.date(2025, 1, 2)).is_empty()


def test_a_failed_write_keeps_what_was_there(town: Warehouse):
    write(town, LEAKS, of(DAY))
    before = stored(town)
    model = logistic("leaks-a")
    wrong_day = score_rows(known(town, DAY + dt.timedelta(days=1)), model, LEAKS, BANDS, AS_OF)
    with pytest.raises(SliceRefusedError, match="rows of another slice"):
        town.replace(SCORES, wrong_day, of(DAY))
    assert stored(town).equals(before)


def test_every_run_is_checked_and_a_planted_city_passes(town: Warehouse):
    rate = RateModel(FEATURES.index("long_run_rate"), 0.0, 7.0)
    promote(town, Fitted("long_run_rate", "leaks-r", FEATURES, rate, uncalibrated(), 1.0))
    result = run(town, DAY, DAY + dt.timedelta(days=2))
    assert result.success, failure(result)
    assert verdicts(result) == dict.fromkeys(CLAIMS, True)


@pytest.mark.parametrize(
    ("statement", "claim"),
    [
        (f"update {SCORES} set p_event_7d = 'nan'", "probabilities_possible"),
        (f"update {SCORES} set low = p_event_7d + 1e-9", "probabilities_possible"),
        (f"update {SCORES} set high = 1.01", "probabilities_possible"),
        (f"update {SCORES} set expected_events_7d = -1", "probabilities_possible"),
        (f"update {SCORES} set is_newest = false", "one_newest_version"),
        (
            f"insert into {SCORES} select * replace ('other' as model_version) from {SCORES}",
            "one_newest_version",
        ),
        (f"delete from {SCORES} where cell % 7 = 0", "whole_study_area"),
        (f"update {MODELS} set trained_until = '2024-08-03'", "model_knew_nothing"),
        (f"update {MODELS} set trained_until = '2024-05-31'", "model_is_recent"),
        (
            f"update {SCORES} set p_event_7d = 0.1, low = 0.05, high = 0.2",
            "scores_differ",
        ),
        (
            f"update {SCORES} set p_event_7d = p_event_7d * 0.01, low = 0",
            "near_the_base_rate",
        ),
        (
            f"update {SCORES} set p_event_7d = 1 - (1 - p_event_7d) * 0.3, high = 1",
            "near_the_base_rate",
        ),
        (MANY_EXPECTED_OF_NONE, "near_the_base_rate"),
    ],
)
def test_each_claim_fails_where_it_does_not_hold(town: Warehouse, statement: str, claim: str):
    rate = RateModel(FEATURES.index("long_run_rate"), 0.0, 7.0)
    promote(town, Fitted("long_run_rate", "leaks-r", FEATURES, rate, uncalibrated(), 1.0))
    write(town, LEAKS, of(DAY))
    assert failing(town) == set()
    change(town, MODELS, statement)
    assert claim in failing(town)


def failing(warehouse: Warehouse) -> set[str]:
    """Return the claims whose queries find offenders; only with the right day."""
    found = {}
    params = of(DAY).params | limits(LEAKS)
    with warehouse.transaction() as session:
        for claim in claims():
            found[claim.name] = session.read(claim.offenders, params)["day"].unique().to_list()
    assert all(days in ([], [DAY]) for days in found.values())
    return {name for name, days in found.items() if days}


def test_the_base_rate_of_a_day_is_of_outcomes_that_were_known_on_it(town: Warehouse):
    rate = RateModel(FEATURES.index("long_run_rate"), 0.0, 7.0)
    promote(town, Fitted("long_run_rate", "leaks-r", FEATURES, rate, uncalibrated(), 1.0))
    write(town, LEAKS, of(DAY))
    not_known = DAY - dt.timedelta(days=7)
    change(town, OUTCOMES, f"update {OUTCOMES} set is_event = true where day >= '{not_known}'")
    assert failing(town) == set()
    change(town, OUTCOMES, f"delete from {OUTCOMES} where day < '{not_known}'")
    assert failing(town) == set()


def test_blocking_claims_are_those_that_would_mislead():
    _, checks = scores(LEAKS)
    assert isinstance(checks, dg.AssetChecksDefinition)
    assert {spec.name for spec in checks.check_specs if spec.blocking} == BLOCKING
    assert {spec.name for spec in checks.check_specs} == CLAIMS


def test_the_graph_knows_which_models_stand_behind_scores():
    parts = (cell_days, evaluations, models, scores)
    declared = [definition for part in parts for definition in part(LEAKS)]
    assets = [d for d in declared if isinstance(d, dg.AssetsDefinition)]
    nowhere = Warehouse(database="nowhere.duckdb")
    graph = dg.Definitions(assets=assets, resources={"warehouse": nowhere}).resolve_asset_graph()
    parents = graph.get(SCORES.key("leaks")).parent_keys
    assert parents == {CELL_DAYS.key("leaks"), MODELS.key("leaks")}


def test_without_a_model_cells_that_cannot_be_told_apart_are_no_failure(town: Warehouse):
    write(town, LEAKS, of(DAY))
    change(town, SCORES, f"update {SCORES} set p_event_7d = 0.1, low = 0.1, high = 0.1")
    assert "scores_differ" not in failing(town)


def test_a_day_that_is_not_over_has_no_scores(town: Warehouse):
    change(town, CELL_DAYS, f"update {CELL_DAYS} set is_provisional = true where day = '{DAY}'")
    assert write(town, LEAKS, of(DAY)) == {}
    change(town, CELL_DAYS, f"update {CELL_DAYS} set is_provisional = false where day = '{DAY}'")
    assert write(town, LEAKS, of(DAY))[DAY] > 0
