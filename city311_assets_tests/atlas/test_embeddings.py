"""Vectors of cases: computed once, of one named model, older ones kept."""

import datetime as dt
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from city311_assets.atlas.embeddings import (
    asked_vectors,
    embeddings,
    hashed,
    merged,
    missing_of,
    vector_column,
)
from city311_assets.atlas.text_models import Refit, text_models
from city311_assets.bronze.sources import Sources
from city311_assets.clients.models import BudgetExceededError
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CAPTIONS, EMBEDDINGS, TEXT_MODELS
from city311_assets_tests.atlas.town import captions, store
from city311_assets_tests.gold.town import every_day
from city311_assets_tests.portals import failure, materialize, verdicts

FIRST, LAST = dt.date(2026, 4, 1), dt.date(2026, 4, 6)
DAYS = every_day(FIRST, LAST)
PART = Slice(SF_311.name, FIRST, LAST + dt.timedelta(days=1))
SOURCES = Sources(origin="sample")
HELD = f"from {EMBEDDINGS} where {EMBEDDINGS.where} order by day, record_id, embedding_model"


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_settings: None) -> Path:
    monkeypatch.setenv("CITY311_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def town(warehouse: Warehouse) -> Warehouse:
    """Six days of captions, embedded."""
    store(warehouse, captions(DAYS), DAYS)
    make(warehouse)
    return warehouse


def make(
    warehouse: Warehouse, first: dt.date = FIRST, last: dt.date = LAST
) -> dg.ExecuteInProcessResult:
    result = materialize(embeddings(SF_311), warehouse, SOURCES, first, last)
    assert result.success, failure(result)
    return result


def refit(warehouse: Warehouse) -> None:
    dg.materialize(
        text_models(SF_311),
        resources={"warehouse": warehouse},
        run_config=dg.RunConfig({"atlas__text_models__sf_311": Refit(refit=True)}),
    )


def figures(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event, *_) = result.asset_materializations_for_node("atlas__embeddings__sf_311")
    return {name: value.value for name, value in event.metadata.items()}


def test_every_case_has_one_vector_of_length_one(town: Warehouse):
    rows = town.read(HELD, PART)
    assert rows.height == 120
    assert rows["record_id"].n_unique() == 120
    lengths = [np.linalg.norm(vector) for vector in rows["embedding"].to_list()]
    assert np.allclose(lengths, 1, atol=1e-5)
    (version,) = town.read(f"select version from {TEXT_MODELS}")["version"]
    assert set(rows["embedding_model"]) == {version}


def test_a_second_run_embeds_nothing_and_changes_nothing(town: Warehouse):
    before = town.content_hash(EMBEDDINGS, PART)
    told = figures(make(town))
    assert (told["embedded"], told["kept"]) == (0, 120)
    assert town.content_hash(EMBEDDINGS, PART) == before


def test_a_caption_that_changed_is_embedded_anew_and_alone(town: Warehouse):
    before = town.read(HELD, PART)
    changed = captions(DAYS).with_columns(
        pl.when(pl.col("record_id") == f"{FIRST}-0000")
        .then(pl.lit("pothole asphalt crater"))
        .otherwise("caption")
        .alias("caption")
    )
    town.replace(CAPTIONS, changed, PART)
    assert figures(make(town))["embedded"] == 1
    after = town.read(HELD, PART)
    assert after.height == before.height
    moved = before.join(after, on=["day", "record_id", "text_hash"], how="anti")
    assert moved["record_id"].to_list() == [f"{FIRST}-0000"]


def test_captions_of_one_case_are_embedded_together(warehouse: Warehouse):
    rows = captions(DAYS)
    second = rows.head(1).with_columns(described=pl.lit("photo"), caption=pl.lit("a torn sofa"))
    store(warehouse, pl.concat([rows, second]), DAYS)
    make(warehouse)
    assert warehouse.read(HELD, PART)["record_id"].n_unique() == 120


def test_a_new_version_stands_beside_the_old_one(town: Warehouse):
    old = town.read(HELD, PART)
    town.replace(CAPTIONS, captions(DAYS, per_day=40), PART)
    refit(town)
    versions = town.read(f"select version from {TEXT_MODELS} order by fitted_at")["version"]
    assert len(versions) == 2
    make(town)
    rows = town.read(HELD, PART)
    assert dict(rows.group_by("embedding_model").len().rows()) == {
        versions[0]: 120,
        versions[1]: 240,
    }
    kept = rows.filter(pl.col("embedding_model") == versions[0])
    assert kept.equals(old)


def test_a_day_that_became_empty_is_emptied_but_for_older_versions(town: Warehouse):
    town.replace(CAPTIONS, captions(DAYS[1:]), PART)
    make(town)
    assert town.read(HELD, PART.day(FIRST)).is_empty()
    assert town.read(HELD, PART).height == 100


def test_without_captions_there_is_no_model_and_no_error(warehouse: Warehouse):
    told = figures(make(warehouse))
    assert told["embedding_model"] == "none yet: no captions"
    assert warehouse.read(HELD, PART, [EMBEDDINGS]).is_empty()
    refit(warehouse)
    assert warehouse.read(f"from {TEXT_MODELS}").is_empty()


def test_a_text_without_a_known_word_is_left_out_and_warned_of(town: Warehouse):
    strange = captions(DAYS).with_columns(
        pl.when(pl.col("record_id") == f"{LAST}-0003")
        .then(pl.lit("xyzzy plugh"))
        .otherwise("caption")
        .alias("caption")
    )
    town.replace(CAPTIONS, strange, PART)
    result = make(town)
    assert figures(result)["without_vector"] == 1
    assert not verdicts(result)["every_case_said_something_of_has_a_vector"]
    assert verdicts(result)["unit_norm"]


def test_a_vector_of_another_length_fails_its_day(town: Warehouse):
    with town.transaction() as session:
        session.run(
            f"update {EMBEDDINGS} set embedding = list_transform(embedding, x -> x * 2) "
            "where record_id = $id",
            {"id": f"{FIRST}-0000"},
        )
    key = dg.AssetCheckKey(EMBEDDINGS.key("sf_311"), "unit_norm")
    result = materialize(
        embeddings(SF_311), town, SOURCES, FIRST, LAST, dg.AssetSelection.checks(key)
    )
    *_, told = result.get_asset_check_evaluations()
    assert (told.passed, told.metadata["days"].value) == (False, [str(FIRST)])


def test_a_model_whose_file_was_changed_is_refused(town: Warehouse, data_folder: Path):
    (path,) = (data_folder / "text_models").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    town.replace(CAPTIONS, captions(DAYS, seed=4), PART)
    result = materialize(embeddings(SF_311), town, SOURCES, FIRST, LAST)
    assert "it was changed" in failure(result)
    assert town.read(HELD, PART).height == 120


def test_a_fitted_model_is_made_once_and_says_what_it_was_fitted_on(town: Warehouse):
    result = dg.materialize(text_models(SF_311), resources={"warehouse": town})
    assert all(verdicts(result).values())
    row = town.read(f"from {TEXT_MODELS}").row(0, named=True)
    assert (row["texts"], row["fitted_from_day"], row["fitted_until_day"]) == (120, FIRST, LAST)
    assert row["version"] == f"local-{row['artefact_hash'][:12]}"
    assert (settings().data_dir / row["artefact_path"]).exists()


class Service:
    """Embeds so many texts of one model, then the budget is spent."""

    def __init__(self, affords: int) -> None:
        self.affords = affords

    def embedded(self, texts: list[str], *, model: str) -> np.ndarray:
        if len(texts) > self.affords:
            raise BudgetExceededError(f"the budget for {model} is spent")
        self.affords -= len(texts)
        return np.ones((len(texts), 2), np.float32)


def test_what_the_budget_leaves_over_is_left_for_the_next_run():
    found = asked_vectors(Service(3_000), ["text"] * 5_000, "m")  # pyright: ignore[reportArgumentType]
    assert found.shape == (2_000, 2)
    assert asked_vectors(Service(0), ["text"], "m").shape == (0, 0)  # pyright: ignore[reportArgumentType]


def test_rules_on_frames():
    texts = hashed(
        pl.DataFrame({"day": [FIRST] * 2, "record_id": ["a", "b"], "text": ["one", "two"]})
    )
    held = pl.DataFrame(
        {
            "day": [FIRST] * 3,
            "record_id": ["a", "b", "a"],
            "text_hash": [texts["text_hash"][0], "older", "other"],
            "embedding_model": ["m", "m", "n"],
        }
    )
    assert missing_of(texts, held, "m")["record_id"].to_list() == ["b"]
    assert missing_of(texts, held, "n").height == 2
    new = missing_of(texts, held, "m").with_columns(pl.lit("m").alias("embedding_model"))
    rows = merged(texts, held, new, "m")
    assert rows.select("record_id", "embedding_model", "text_hash").rows() == [
        ("a", "m", texts["text_hash"][0]),
        ("a", "n", "other"),
        ("b", "m", texts["text_hash"][1]),
    ]


def test_a_matrix_becomes_lists_row_by_row():
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert vector_column(matrix).to_list() == [[0, 1, 2], [3, 4, 5]]
    assert vector_column(np.zeros((0, 0), np.float32)).len() == 0
