"""Nearest cases of each case of a month's window: the one graph that everything else reads.

A month looks back over its window (a setting); it is read by SQL and is no partition mapping.
"""

from functools import partial

import dagster as dg
import polars as pl

from city311_assets.atlas.windows import MONTHS_KEPT, graph_rows, window
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import BY_YEAR, MONTHS, Slice, note_days
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.atlas import EMBEDDINGS, NEIGHBORS

NEIGHBORS_OF_A_CASE = 50
SEED = 311
FORGET = f"""
    delete from {NEIGHBORS} where feed = $feed and month not in (
        select distinct month from {NEIGHBORS} where feed = $feed order by month desc limit $kept)
"""
NOT_NEAREST = f"""
    select month, record_id from {NEIGHBORS} where {NEIGHBORS.where} and (
        len(neighbor_ids) <> len(similarities)
        or list_contains(neighbor_ids, record_id)
        or len(list_distinct(neighbor_ids)) <> len(neighbor_ids)
        or coalesce(list_max(similarities), 0) > 1.001
        or list_reverse_sort(similarities) <> similarities)
"""
MIXED = f"""
    select month, string_agg(distinct embedding_model, ', ') as kind
    from {NEIGHBORS} where {NEIGHBORS.where} group by month
    having count(distinct embedding_model) > 1
"""


def _keep(session: Session, rows: pl.DataFrame, part: Slice) -> None:
    """Store a month's graph, and forget those of long ago."""
    session.replace(NEIGHBORS, rows.select(NEIGHBORS.names), part)
    session.run(FORGET, {"feed": part.name, "kept": MONTHS_KEPT})


def neighbors(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's graph of cases, and what must hold of it."""
    key = NEIGHBORS.key(feed.name)

    @dg.asset(
        key=key,
        deps=[EMBEDDINGS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=NEIGHBORS.metadata | {"look_back_months": settings().atlas_window_months - 1},
        kinds={"duckdb", "numpy"},
        description=f"The {NEIGHBORS_OF_A_CASE} nearest cases, by cosine, of each case of a "
        f"month's window of {feed.title}; the newest {MONTHS_KEPT} months are kept.",
    )
    def neighbors(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Graphs of one feed in months."""
        from city311_assets.atlas.methods.graph import nearest_neighbors

        part = Slice.of(context, feed.name)
        found = {}
        for month in part.months:
            cases = window(warehouse, feed, part, month, SEED)
            graph = nearest_neighbors(cases.vectors, NEIGHBORS_OF_A_CASE, seed=SEED)
            rows = graph_rows(cases, graph).with_columns(
                pl.lit(feed.name).alias("feed"),
                pl.lit(month).alias("month"),
                pl.lit(cases.model).alias("embedding_model"),
            )
            warehouse.write(partial(_keep, rows=rows, part=part.month(month)))
            note_days(
                context,
                key,
                pl.DataFrame({"month": [month], "rows": [rows.height]}),
                part.month(month),
            )
            found[month.isoformat()] = {
                "cases": rows.height,
                "model": cases.model,
                "without_vector": cases.without_vector,
                "is_exact": graph.is_exact,
                "recall": round(float(graph.recall), 4),
            }
        return dg.MaterializeResult(metadata={"months": dg.MetadataValue.json(found)})

    claims = [
        Property(
            "nearest_first",
            "A case has no neighbour twice, never itself, and the nearest come first.",
            NOT_NEAREST,
        ),
        Property("one_model_a_month", "All vectors of a month are of one model.", MIXED),
    ]
    return [neighbors, slice_checks(claims, NEIGHBORS, feed.name)]
