"""Embeddings of cases: one vector of what is said of a case, by a model that is named.

A vector is computed once: the same text and model are never asked for again, and vectors of other
models stay beside the new ones.
"""

import logging
from hashlib import sha256
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.atlas.ledger import Ledger, figures
from city311_assets.atlas.slices import texts_of
from city311_assets.atlas.text_models import fit_newest, model_of, newest_version
from city311_assets.bronze.sources import Sources
from city311_assets.clients.models import BudgetExceededError, Models
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CAPTIONS, EMBEDDINGS, TEXT_MODELS

if TYPE_CHECKING:
    from city311_assets.atlas.methods.text_vectors import TextModel

logger = logging.getLogger(__name__)

HELD = f"from {EMBEDDINGS} where {EMBEDDINGS.where}"
NOT_UNIT = f"""
    select day, record_id, embedding_model as kind from {EMBEDDINGS} where {EMBEDDINGS.where} and (
        abs(list_sum(list_transform(embedding, x -> x * x)) - 1) > 1e-3
        or len(embedding) <> dimensions)
"""
WITHOUT = f"""
    select day, record_id from {CAPTIONS} where {CAPTIONS.where} and caption is not null
        and (feed, day, record_id) not in
            (select (feed, day, record_id) from {EMBEDDINGS} where {EMBEDDINGS.where})
    group by all
"""

# What a budget that ends in the middle may cost twice.
TEXTS_A_STEP = 2_000


def hashed(texts: pl.DataFrame) -> pl.DataFrame:
    """Add `text_hash`, by which a text that is known already is recognised."""
    hashes = [sha256(text.encode()).hexdigest() for text in texts["text"]]
    return texts.with_columns(pl.Series("text_hash", hashes, pl.String))


def missing_of(texts: pl.DataFrame, held: pl.DataFrame, model: str) -> pl.DataFrame:
    """Return the cases whose text this model has not embedded, each with `text` and `text_hash`."""
    own = held.filter(pl.col("embedding_model") == model)
    return texts.join(own, on=["day", "record_id", "text_hash"], how="anti", maintain_order="left")


def merged(texts: pl.DataFrame, held: pl.DataFrame, new: pl.DataFrame, model: str) -> pl.DataFrame:
    """Return a slice's rows: the new vectors, those kept of this model, those of other models.

    Of this model only vectors of a text that is still said are kept; of others all that are held.
    """
    others = held.filter(pl.col("embedding_model") != model)
    kept = held.filter(pl.col("embedding_model") == model).join(
        texts, on=["day", "record_id", "text_hash"], how="semi"
    )
    return pl.concat([others, kept, new.select(held.columns)]).sort(
        "day", "record_id", "embedding_model"
    )


def vector_column(vectors: NDArray[np.float32]) -> pl.Series:
    """Return rows of a matrix as a column of lists of 32-bit numbers."""
    flat = pl.Series(vectors.ravel(), dtype=pl.Float32)
    array = (
        flat.reshape(vectors.shape) if vectors.size else pl.Series([], dtype=pl.List(pl.Float32))
    )
    return array.cast(pl.List(pl.Float32)).alias("embedding")


def embeddings(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's vectors, and what must hold of them."""
    key = EMBEDDINGS.key(feed.name)

    @dg.asset(
        key=key,
        deps=[CAPTIONS.key(feed.name), TEXT_MODELS.key(feed.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=EMBEDDINGS.metadata,
        kinds={"duckdb", "scikitlearn", "openai"},
        description=f"Vectors of what is said of each case of {feed.title}, one a case and model "
        "version; older versions are kept.",
    )
    def embeddings(
        context: dg.AssetExecutionContext, warehouse: Warehouse, sources: Sources
    ) -> dg.MaterializeResult:
        """Vectors of one feed's cases."""
        part = Slice.of(context, feed.name)
        texts = hashed(texts_of(warehouse, part))
        held = warehouse.read(HELD, part, [EMBEDDINGS])
        method = settings().embedding_method
        if method == "local":
            model = newest_version(warehouse, feed) or fit_newest(warehouse, feed)
        else:
            model = settings().embedding_model
        wanted = missing_of(texts, held, model or "")
        unique = wanted.unique("text_hash", keep="first", maintain_order=True)
        asked, spent = unique["text"].to_list(), 0.0
        if not asked or model is None:
            vectors, is_known = np.zeros((0, 0), np.float32), np.zeros(len(asked), np.bool_)
        elif method == "local":
            vectors, is_known = local_vectors(model_of(warehouse, feed, model), asked)
        else:
            with Ledger(warehouse, feed.name, context.run.run_id) as ledger:
                budget = ledger.budget(settings().model_budget_usd)
                with sources.models(budget, ledger.record) as models:
                    vectors = asked_vectors(models, asked, model)
            spent = figures(ledger.calls)["usd"]
            is_known = np.arange(len(asked)) < len(vectors)
        by_text = unique.filter(pl.Series(is_known, dtype=pl.Boolean)).select("text_hash")
        by_text = by_text.with_columns(vector_column(vectors))
        new = wanted.join(by_text, on="text_hash", how="inner").with_columns(
            pl.lit(feed.name).alias("feed"),
            pl.lit(method).alias("embedding_method"),
            pl.lit(model, pl.String).alias("embedding_model"),
            pl.col("embedding").list.len().cast(pl.Int32).alias("dimensions"),
        )
        rows = merged(texts, held, new, model or "")
        warehouse.replace(EMBEDDINGS, rows, part)
        own = rows.filter(pl.col("embedding_model") == (model or ""))
        note_days(context, key, own.group_by("day").agg(pl.len().alias("rows")), part)
        return dg.MaterializeResult(
            metadata={
                "embedding_model": model or "none yet: no captions",
                "embedded": new.height,
                "kept": own.height - new.height,
                "without_vector": texts.height - own.height,
                "usd": spent,
            }
        )

    claims = [
        Property(
            "unit_norm",
            "Every vector has length 1 and the dimensions it is said to have.",
            NOT_UNIT,
        ),
        Property(
            "every_case_said_something_of_has_a_vector",
            "A case with a caption has a vector, unless its text has no word the model knows.",
            WITHOUT,
            is_blocking=False,
            severity=dg.AssetCheckSeverity.WARN,
        ),
    ]
    return [embeddings, slice_checks(claims, EMBEDDINGS, feed.name, [CAPTIONS])]


def local_vectors(
    model: "TextModel", texts: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the vectors of the texts that a fitted model knows a word of, and which these are."""
    from city311_assets.atlas.methods.text_vectors import vectors

    found = vectors(model, texts)
    return found.rows[found.is_known], found.is_known


def asked_vectors(models: Models, texts: list[str], model: str) -> NDArray[np.float32]:
    """Return a service's vectors of the first texts: of all, unless the budget ends before.

    What was paid for is kept; the rest is asked for by the next run.
    """
    found = []
    for start in range(0, len(texts), TEXTS_A_STEP):
        try:
            found.append(models.embedded(texts[start : start + TEXTS_A_STEP], model=model))
        except BudgetExceededError as error:
            logger.warning(
                "%s of %s texts are left for the next run: %s",
                len(texts) - start,
                len(texts),
                error,
            )
            break
    return np.vstack(found) if found else np.zeros((0, 0), np.float32)
