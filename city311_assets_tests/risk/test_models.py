"""Models and their evaluations in the graph: a planted city, months of it, and its files."""

import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import dagster as dg
import numpy as np
import polars as pl
import pytest
from skops import io
from skops.io.exceptions import UntrustedTypesFoundException

from city311_assets.partitions import Slice
from city311_assets.risk import evaluations, models
from city311_assets.risk.evaluations import Trial, splits_of, trial_of
from city311_assets.risk.methods.candidates import (
    BASELINES,
    BOOSTING,
    KINDS,
    RateModel,
    unfitted,
)
from city311_assets.risk.methods.feature_names import FEATURES
from city311_assets.risk.model_files import (
    library_version,
    models_of_days,
    newest_model,
    read_model,
    write_model,
)
from city311_assets.risk.models import standings
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import CELL_DAYS, EVALUATIONS, MODELS, OUTCOMES
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.portals import failure, materialize, verdicts
from city311_assets_tests.risk.planted import FIRST, City, planted, store

# The city begins with 2024: in May it is too young, in August it has three origins.
TOO_SOON, MONTH = dt.date(2024, 5, 1), dt.date(2024, 8, 1)
DAYS = 245
ASSETS: dict[str, tuple[Table, Callable, ModuleType]] = {
    "evaluations": (EVALUATIONS, evaluations.evaluations, evaluations),
    "models": (MODELS, models.models, models),
}
OF_MONTH = Slice("leaks", MONTH, dt.date(2024, 9, 1), "target")


def make(
    warehouse: Warehouse, name: str, first: dt.date = MONTH, last: dt.date | None = None
) -> dg.ExecuteInProcessResult:
    return materialize(ASSETS[name][1](LEAKS), warehouse, None, first, last)


def rows(warehouse: Warehouse, name: str, part: Slice = OF_MONTH) -> pl.DataFrame:
    table = ASSETS[name][0]
    return warehouse.read(f"from {table} where {table.where} order by all", part, [table])


def a_city(**planted_with) -> City:
    return planted(DAYS, steps=5, **{"drift": 0.3, "frost": 1.2, **planted_with})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder of this module, which files of models go into."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("data")
        patch.setenv("CITY311_DATA_DIR", str(path))
        # As many trees as tell a city from another; a hundred take five times as long.
        patch.setitem(BOOSTING, "max_iter", 15)
        settings.cache_clear()
        yield path
    settings.cache_clear()


@pytest.fixture(scope="module")
def made_once(folder: Path) -> Warehouse:
    """The city and its August; tests that write take a copy."""
    warehouse = Warehouse(database=str(folder / "made.duckdb"))
    store(warehouse, a_city(), LEAKS)
    for name in ASSETS:
        result = make(warehouse, name)
        assert result.success, failure(result)
        assert all(verdicts(result).values()), verdicts(result)
    return warehouse


@pytest.fixture
def made(made_once: Warehouse, tmp_path: Path) -> Warehouse:
    """A copy of the city's warehouse."""
    path = tmp_path / "copy.duckdb"
    shutil.copy(made_once.path, path)
    return Warehouse(database=str(path))


@pytest.fixture(scope="module")
def trial(made_once: Warehouse) -> Trial:
    """The fits of the newest origin, made once more."""
    return trial_of(made_once, LEAKS, MONTH, splits_of(made_once, LEAKS, MONTH)[0])


def broken(warehouse: Warehouse, name: str, *changes: pl.Expr) -> set[str]:
    """Store a month's rows changed, and return the claims that do not hold of them."""
    table, _, module = ASSETS[name]
    warehouse.replace(table, rows(warehouse, name).with_columns(*changes), OF_MONTH)
    params = OF_MONTH.params | module.limits(LEAKS)
    return {
        claim.name
        for claim in module.claims()
        if not warehouse.read(claim.offenders, params).is_empty()
    }


def test_every_candidate_of_a_month_has_a_row_and_one_of_them_serves(made_once: Warehouse):
    found = rows(made_once, "models")
    assert set(found["model_kind"]) == {*KINDS}
    (served,) = found.filter("is_promoted").to_dicts()
    assert served["trained_until"] == dt.date(2024, 7, 24)
    assert (served["tested_from"], served["tested_until"]) == (
        dt.date(2024, 6, 27),
        dt.date(2024, 7, 24),
    )
    assert (served["calibrated_from"], served["calibrated_until"]) == (
        dt.date(2024, 5, 23),
        dt.date(2024, 6, 19),
    )
    assert (served["trained_from"], served["training_until"]) == (FIRST, dt.date(2024, 5, 15))
    # Every fifth of 136 days, of 91 cells.
    assert set(found["training_rows"]) == {28 * 91}
    calibration = dict(found.select("model_kind", "calibration").rows())
    assert {calibration[kind] for kind in BASELINES} == {"none"}
    assert {calibration[kind] for kind in set(KINDS) - set(BASELINES)} <= {"sigmoid", "beta"}
    assert served["reason"].startswith(served["model_kind"])


def test_every_candidate_is_evaluated_at_three_origins_a_block_apart(made_once: Warehouse):
    found = rows(made_once, "evaluations")
    origins = [dt.date(2024, 6, 27) - dt.timedelta(days=28 * back) for back in range(3)]
    assert {*found.select("tested_from", "model_kind").rows()} == {
        (origin, kind) for origin in origins for kind in KINDS
    }
    assert (found["tested_until"] - found["tested_from"] == dt.timedelta(days=27)).all()
    assert set(found["cell_days"]) == {28 * 91}
    assert found["by_ward"].list.eval(pl.element().struct["ward"]).to_list() == [["1", "2"]] * 15
    assert (found["reliability"].list.len() == 10).all()
    everywhere = found["decision_curve"].list.first().struct["everywhere"]
    base, threshold = found["base_rate"], found["decision_curve"].list.first().struct["threshold"]
    expected = base - (1 - base) * threshold / (1 - threshold)
    np.testing.assert_allclose(everywhere.to_numpy(), expected.to_numpy())


def test_the_figures_of_a_model_are_those_of_the_newest_origin(made_once: Warehouse):
    names = ["model_kind", "brier", "brier_skill", "pr_auc", "ece_low", "precision_top_1pct"]
    newest = rows(made_once, "evaluations").filter(
        pl.col("tested_from") == pl.col("tested_from").max()
    )
    of_models = rows(made_once, "models").select(names).sort("model_kind")
    assert of_models.equals(newest.select(names).sort("model_kind"))


def test_a_climatology_has_no_skill_against_itself(made_once: Warehouse):
    found = rows(made_once, "evaluations").filter(pl.col("model_kind") == "climatology")
    assert set(found["brier_skill"]) == {0.0}


def test_a_month_made_twice_is_the_same_whatever_happened_since(made: Warehouse):
    before = {name: rows(made, name) for name in ASSETS}
    since = [MONTH - dt.timedelta(days=LEAKS.horizon_days)]
    with made.connect() as conn:
        conn.execute(
            f"update {OUTCOMES} set is_event = true, calls_after_7d = 9 where day >= ?", since
        )
        conn.execute(f"update {CELL_DAYS} set decay_30d = 99 where day >= ?", since)
    for name in ASSETS:
        assert make(made, name).success
        assert rows(made, name).equals(before[name])
        assert not before[name].is_empty()


def test_another_past_makes_another_version(made: Warehouse, trial: Trial):
    with made.connect() as conn:
        conn.execute(
            f"update {OUTCOMES} set is_event = true, calls_after_7d = 1 where day = '2024-05-15'"
        )
    other = trial_of(made, LEAKS, MONTH, trial.split).candidates
    changed = {kind for kind in KINDS if other[kind].version != trial.candidates[kind].version}
    # The other two are fitted on features and the calibration block alone.
    assert changed == {"climatology", "logistic", "gradient_boosting"}


def test_rows_in_another_order_make_the_same_models(made: Warehouse, trial: Trial):
    with made.connect() as conn:
        for table in (OUTCOMES, CELL_DAYS):
            conn.execute(f"create or replace temp table turned as from {table} order by hash(cell)")
            conn.execute(f"delete from {table}")
            conn.execute(f"insert into {table} from turned")
    other = trial_of(made, LEAKS, MONTH, trial.split).candidates
    assert {kind: one.version for kind, one in other.items()} == {
        kind: one.version for kind, one in trial.candidates.items()
    }


@pytest.mark.parametrize("name", ASSETS)
def test_a_short_history_has_no_rows_and_says_why(made: Warehouse, name: str):
    result = make(made, name, TOO_SOON)
    assert result.success
    assert all(verdicts(result).values())
    (event,) = result.asset_materializations_for_node(
        next(one.op.name for one in ASSETS[name][1](LEAKS) if isinstance(one, dg.AssetsDefinition))
    )
    said = event.metadata["months"].value
    assert said == {"2024-05-01": {"rows": 0, "reason": "short history"}}


def test_a_month_whose_evaluation_is_missing_is_refused_with_the_next_step(made: Warehouse):
    with made.connect() as conn:
        conn.execute(f"delete from {EVALUATIONS}")
    result = make(made, "models")
    assert not result.success
    assert "materialize risk/evaluations/leaks of that month first" in failure(result)
    assert rows(made, "models").height == len(KINDS)


def test_a_city_without_events_is_served_by_a_baseline(folder: Path, tmp_path: Path):
    warehouse = Warehouse(database=str(tmp_path / "quiet.duckdb"))
    store(warehouse, planted(160, steps=3, weekly=1e-9), LEAKS)
    june = Slice("leaks", dt.date(2024, 6, 1), dt.date(2024, 7, 1), "target")
    for name in ASSETS:
        result = make(warehouse, name, june.start)
        assert result.success, failure(result)
        assert all(verdicts(result).values()), verdicts(result)
    found = rows(warehouse, "models", june)
    assert set(found["model_kind"]) == {*BASELINES}
    (served,) = found.filter("is_promoted").to_dicts()
    assert served["reason"].endswith("too few events to learn from")
    assert served["pr_auc"] is None
    assert (found["mean_p"] < 0.002).all()


def test_days_before_a_model_is_ignorant_of_them_have_none(made_once: Warehouse):
    (served,) = rows(made_once, "models").filter("is_promoted").to_dicts()
    early, late = models_of_days(made_once, LEAKS, dt.date(2024, 7, 20), dt.date(2024, 8, 20))
    assert (early.first, early.last, early.model) == (
        dt.date(2024, 7, 20),
        dt.date(2024, 7, 31),
        None,
    )
    assert (late.first, late.last) == (MONTH, dt.date(2024, 8, 20))
    assert late.model is not None
    assert late.model.version == served["model_version"]
    assert newest_model(made_once, LEAKS, MONTH - dt.timedelta(days=1)) is None
    assert newest_model(made_once, LEAKS, MONTH) is not None


def test_of_two_months_the_newer_serves_from_its_first_day_on(made: Warehouse):
    following = rows(made, "models").with_columns(
        pl.lit(dt.date(2024, 9, 1)).alias("month"),
        pl.col("trained_until") + pl.duration(days=31),
        (pl.col("model_kind") == "recent_rate").alias("is_promoted"),
    )
    part = Slice("leaks", dt.date(2024, 9, 1), dt.date(2024, 10, 1), "target")
    made.replace(MODELS, following, part)
    found = models_of_days(made, LEAKS, dt.date(2024, 8, 30), dt.date(2024, 9, 2))
    assert [(one.first.day, one.last.day) for one in found] == [(30, 31), (1, 2)]
    assert found[1].model is not None
    assert found[1].model.kind == "recent_rate"


def test_a_model_comes_back_from_its_file_as_it_was(made_once: Warehouse, trial: Trial):
    test = trial.test
    for row in rows(made_once, "models").to_dicts():
        fitted = trial.candidates[row["model_kind"]]
        read = read_model(
            "leaks", MONTH, row["artefact_path"], row["artefact_hash"], row["library_version"]
        )
        assert read.version == fitted.version == row["model_version"]
        p = fitted.p(test.x, test.cells, test.days)
        np.testing.assert_array_equal(read.p(test.x, test.cells, test.days), p)
        for ours, theirs in zip(read.interval(p), fitted.interval(p), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(read.expected_events(p), fitted.expected_events(p))


def test_a_file_of_another_library_another_content_or_none_is_refused(folder: Path):
    path, sha256 = write_model(unfitted(7), LEAKS)
    here = library_version()
    assert isinstance(read_model("leaks", MONTH, path, sha256, here).model, RateModel)
    with pytest.raises(ValueError, match=r"scikit-learn 0\.1, .* of 2024-08 again"):
        read_model("leaks", MONTH, path, sha256, "0.1")
    (folder / path).write_bytes((folder / path).read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"SHA-256 .* materialize risk/models/leaks of 2024-08"):
        read_model("leaks", MONTH, path, sha256, here)
    (folder / path).unlink()
    with pytest.raises(ValueError, match=r"is missing; materialize risk/models/leaks"):
        read_model("leaks", MONTH, path, sha256, here)


def test_a_file_that_holds_a_type_of_its_own_is_not_read(folder: Path):
    path, _ = write_model(unfitted(7), LEAKS)
    content = io.dumps({"model": unfitted(7)})
    (folder / path).write_bytes(content)
    with pytest.raises(UntrustedTypesFoundException):
        read_model("leaks", MONTH, path, hashlib.sha256(content).hexdigest(), library_version())


def test_a_file_that_was_damaged_is_written_anew(folder: Path):
    path, sha256 = write_model(unfitted(7), LEAKS)
    assert write_model(unfitted(7), LEAKS, sha256) == (path, sha256)
    (folder / path).write_bytes(b"damaged")
    _, anew = write_model(unfitted(7), LEAKS, sha256)
    assert read_model("leaks", MONTH, path, anew, library_version()).version == "unfitted"


def test_parameters_say_what_was_fitted(made_once: Warehouse):
    told = dict(rows(made_once, "models").select("model_kind", "parameters").rows())
    logistic, trees = (json.loads(told[kind]) for kind in ("logistic", "gradient_boosting"))
    assert [*sorted(FEATURES)] == [*logistic["coefficients"]]
    assert logistic["every_nth_day"] == 5
    assert trees["max_leaf_nodes"] == 15


@pytest.mark.parametrize(
    ("check", "name", "change"),
    [
        ("one_promoted", "models", pl.lit(True).alias("is_promoted")),
        ("one_promoted", "models", pl.lit(False).alias("is_promoted")),
        (
            "gaps_between_blocks",
            "models",
            pl.col("training_until") + pl.duration(days=1),
        ),
        (
            "gaps_between_blocks",
            "models",
            pl.col("tested_from") - pl.duration(days=1),
        ),
        ("blocks_end_before_the_month", "models", pl.col("trained_until") + pl.duration(days=1)),
        ("right_on_average", "models", pl.col("mean_p") * 2.3),
        ("right_on_average", "models", pl.col("mean_p") / 2.3),
        (
            "blocks_end_before_the_month",
            "evaluations",
            pl.col("tested_until") + pl.duration(days=1),
        ),
        (
            "candidates_have_the_same_rows",
            "evaluations",
            pl.when(pl.col("model_kind") == "logistic").then(1).otherwise("events").alias("events"),
        ),
        (
            "baselines_at_every_origin",
            "evaluations",
            pl.col("model_kind").replace("climatology", "something"),
        ),
    ],
)
def test_a_check_sees_what_it_is_for(made: Warehouse, check: str, name: str, change: pl.Expr):
    # That all hold of the month as it was made is seen where it is.
    assert check in broken(made, name, change)


def test_standings_are_of_the_origins_that_have_every_kind():
    told = pl.DataFrame(
        {
            "tested_from": [dt.date(2024, 6, 27)] * 2
            + [dt.date(2024, 5, 30)] * 2
            + [dt.date(2024, 5, 2)],
            "model_kind": ["climatology", "logistic"] * 2 + ["climatology"],
            "brier": [0.10, 0.08, 0.20, 0.11, 9.0],
            "precision_top_1pct": [0.2, 0.4, 0.3, 0.6, 9.0],
            "cell_days": [300, 300, 100, 100, 100],
        }
    )
    found = standings(told)
    assert (found["climatology"].cell_days, found["climatology"].origins) == (400, 2)
    assert found["climatology"].brier == pytest.approx(0.125)
    assert found["climatology"].precision_top_1pct == pytest.approx(0.225)
    assert found["logistic"].brier == pytest.approx(0.0875)
