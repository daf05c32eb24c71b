"""The cases of a month's window with their vectors, of one model, and their graph as it is stored.

What belongs here: how vectors and graphs get from tables into arrays and back. What does not: what
is computed from them (`methods`).
"""

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.atlas.slices import window_of
from city311_assets.atlas.text_models import newest_version
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import Slice
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.atlas import (
    CAPTIONS,
    CLUSTERS,
    EMBEDDINGS,
    NEIGHBORS,
    TEXT_MODELS,
)

if TYPE_CHECKING:
    from city311_assets.atlas.methods.graph import NeighborGraph

MOST_NAMED = 3
# Graphs are large, and what is drawn from them is kept.
MONTHS_KEPT = 3
RECORDED = f"""
    select embedding_model, any_value(embedding_method) as embedding_method from {CLUSTERS}
    join {EMBEDDINGS} using (feed, record_id, day, embedding_model)
    where {CLUSTERS}.feed = $feed and month = $month group by all limit 1
"""
CASES = f"""
    select captions.day, captions.record_id,
        bool_or(vectors.record_id is not null) as has_vector,
        list(distinct others.embedding_model order by others.embedding_model)
            filter (others.embedding_model is not null) as other_models
    from {CAPTIONS} as captions
    left join {EMBEDDINGS} as vectors on vectors.feed = captions.feed
        and vectors.day = captions.day and vectors.record_id = captions.record_id
        and vectors.embedding_model = $model
    left join {EMBEDDINGS} as others on others.feed = captions.feed
        and others.day = captions.day and others.record_id = captions.record_id
        and others.embedding_model <> $model
    where captions.feed = $feed and captions.day >= $start and captions.day < $end
        and caption is not null
    group by all order by all
"""
VECTORS = f"""
    select record_id, embedding from {EMBEDDINGS}
    where {EMBEDDINGS.where} and embedding_model = $model
        and record_id in (select record_id from cases)
"""
ANY_VECTOR = f"select count(*) > 0 as any from {EMBEDDINGS} where {EMBEDDINGS.where}"
STORED = f"""
    select record_id, day, neighbor_ids, similarities, sampling_weight, embedding_model
    from {NEIGHBORS} where feed = $feed and month = $month order by record_id
"""


class MixedModelsError(ValueError):
    """Some cases of a window have a vector of one model, others only of another."""


@dataclass(frozen=True, slots=True)
class Window:
    """The cases of a month's window, by `record_id`, and their vectors, a row each.

    `cases` has `record_id, day, sampling_weight`; `without_vector` counts cases left out because
    no model has embedded them.
    """

    cases: pl.DataFrame
    vectors: NDArray[np.float32]
    model: str
    without_vector: int


def model_of_month(warehouse: Warehouse, feed: Feed, month: date) -> str | None:
    """Return the model of a month's map: the one it was drawn with, else the one of the settings.

    A map is drawn again with another model only where the settings ask for another method.
    """
    method = settings().embedding_method
    recorded = warehouse.read(RECORDED, {"feed": feed.name, "month": month}, [CLUSTERS, EMBEDDINGS])
    if method != "local":
        return settings().embedding_model
    if recorded.height and recorded["embedding_method"].item() == method:
        return str(recorded["embedding_model"].item())
    return newest_version(warehouse, feed)


def window(warehouse: Warehouse, feed: Feed, part: Slice, month: date, seed: int) -> Window:
    """Read a month's cases and vectors.

    Raises
    ------
    MixedModelsError
        Cases of the window were embedded by another model only.
    """
    from city311_assets.atlas.methods.sampling import sampled

    model = model_of_month(warehouse, feed, month)
    span = window_of(part, month)
    params = span.params | {"model": model or ""}

    def read(session: Session) -> tuple[int, pl.DataFrame, pl.DataFrame]:
        session.prepare(CAPTIONS, EMBEDDINGS, TEXT_MODELS)
        known = session.read(CASES, params)
        strange = known.filter(~pl.col("has_vector") & pl.col("other_models").is_not_null())
        if strange.height:
            raise MixedModelsError(_said(feed, month, strange, model))
        own = known.filter("has_vector").select("record_id", "day")
        cases = sampled(own, settings().atlas_max_cases, seed).sort("record_id")
        vectors = session.read(VECTORS, params, cases=cases.select("record_id"))
        return known.height - own.height, cases, vectors

    # One transaction: the cases and their vectors are of the same moment.
    without_vector, cases, vectors = warehouse.write(read)
    ordered = cases.join(vectors, on="record_id", how="left", maintain_order="left")
    return Window(
        cases.select("record_id", "day", "sampling_weight"),
        matrix(ordered["embedding"]),
        model or "none",
        without_vector,
    )


def _said(feed: Feed, month: date, strange: pl.DataFrame, model: str | None) -> str:
    others = strange["other_models"].explode().unique().sort().to_list()[:MOST_NAMED]
    first, last = strange["day"].min(), strange["day"].max()
    return (
        f"{strange.height} cases of the window of {feed.name} {month:%Y-%m} have vectors of "
        f"{', '.join(others)} and none of {model or 'a local model'}: two models are not mixed. "
        f"Materialize atlas/embeddings/{feed.name} from {first} to {last}"
    )


def matrix(column: pl.Series) -> NDArray[np.float32]:
    """Return a column of equally long lists as a matrix, a row each."""
    if not column.len():
        return np.zeros((0, 0), np.float32)
    flat = column.explode().to_numpy().astype(np.float32, copy=False)
    return flat.reshape(column.len(), -1)


def graph_rows(window: Window, graph: "NeighborGraph") -> pl.DataFrame:
    """Return a graph as rows of `record_id, neighbor_ids, similarities`."""
    ids = window.cases["record_id"]
    count, k = graph.indices.shape
    # Padding of rows with fewer neighbours than others is left out.
    is_edge = graph.indices.ravel() >= 0
    edges = pl.DataFrame(
        {
            "row": np.repeat(np.arange(count), k)[is_edge],
            "neighbor_ids": ids.gather(graph.indices.ravel()[is_edge].astype(np.int64)),
            "similarities": graph.similarities.ravel()[is_edge],
        }
    )
    lists = edges.group_by("row", maintain_order=True).agg("neighbor_ids", "similarities")
    rows = window.cases.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    return (
        rows.join(lists.cast({"row": pl.Int64}), on="row", how="left", maintain_order="left")
        .with_columns(
            pl.col("neighbor_ids").fill_null(pl.lit([], pl.List(pl.String))),
            pl.col("similarities").fill_null(pl.lit([], pl.List(pl.Float32))),
        )
        .drop("row")
    )


def stored_graph(
    warehouse: Warehouse, feed: Feed, part: Slice, month: date
) -> "tuple[pl.DataFrame, NeighborGraph]":
    """Return a month's cases, by `record_id`, and their graph.

    Raises
    ------
    ValueError
        The month's graph is no longer kept, or was never made.
    """
    from city311_assets.atlas.methods.graph import NeighborGraph

    params = {"feed": feed.name, "month": month}
    rows = warehouse.read(STORED, params, [NEIGHBORS])
    cases = rows.drop("neighbor_ids", "similarities")
    if (
        rows.is_empty()
        and warehouse.read(ANY_VECTOR, window_of(part, month), [EMBEDDINGS])["any"].item()
    ):
        raise ValueError(
            f"the graph of {feed.name} {month:%Y-%m} is not held: only the newest {MONTHS_KEPT} "
            f"are kept. Materialize atlas/neighbors/{feed.name} of that month first"
        )
    longest = rows["neighbor_ids"].list.len().max()
    k = longest if isinstance(longest, int) else 0
    edges = (
        rows.with_row_index("row")
        .select("row", "neighbor_ids", "similarities")
        .explode("neighbor_ids", "similarities")
        .drop_nulls("neighbor_ids")
        .with_columns(pl.int_range(pl.len()).over("row").alias("rank"))
        .join(
            rows.select(neighbor_ids="record_id").with_row_index("to"),
            on="neighbor_ids",
            how="left",
            maintain_order="left",
        )
    )
    indices = np.full((rows.height, k), -1, np.int32)
    similarities = np.zeros((rows.height, k), np.float32)
    at = edges["row"].to_numpy(), edges["rank"].to_numpy()
    indices[at] = edges["to"].to_numpy()
    similarities[at] = edges["similarities"].to_numpy()
    return cases, NeighborGraph(indices, similarities, recall=1.0, is_exact=True, seed=0)
