"""Clusters of cases: what they are about, found in the graph, and the same from month to month."""

from datetime import date

import dagster as dg
import polars as pl

from city311_assets.atlas.neighbors import SEED
from city311_assets.atlas.windows import stored_graph
from city311_assets.feeds.feed import Feed
from city311_assets.gold.slices import Held
from city311_assets.partitions import BY_YEAR, MONTHS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CLUSTERS, NEIGHBORS

OF_MONTH = f"select record_id, cluster_id from {CLUSTERS} where feed = $feed and month = $month"
NOT_ONE_OR_THE_OTHER = f"""
    select month, record_id from {CLUSTERS} where {CLUSTERS.where} and (
        (cluster_id is null) <> is_outlier or membership not between 0 and 1
        or (is_outlier and subcluster_id is not null))
"""
NOT_THE_GRAPHS = f"""
    select month, record_id from {CLUSTERS} where {CLUSTERS.where}
        and month in (select month from {NEIGHBORS} where {NEIGHBORS.where})
        and (month, record_id) not in
            (select (month, record_id) from {NEIGHBORS} where {NEIGHBORS.where})
"""


def clusters_before(warehouse: Warehouse, feed: Feed, month: date) -> pl.DataFrame | None:
    """Return `record_id, cluster_id` of the month before; None where it has no map."""
    before = Slice(feed.name, month, month.replace(day=28)).reaching_back(months=1).start
    rows = warehouse.read(OF_MONTH, {"feed": feed.name, "month": before}, [CLUSTERS])
    return rows if rows.height else None


def clusters(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's clusters, and what must hold of them."""
    key = CLUSTERS.key(feed.name)

    @dg.asset(
        key=key,
        deps=[NEIGHBORS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=CLUSTERS.metadata,
        kinds={"duckdb", "igraph"},
        description=f"What cases of {feed.title} are about: Leiden communities of the month's "
        "graph, which keep their ids from month to month.",
    )
    def clusters(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Clusters of one feed in months."""
        from city311_assets.atlas.methods.communities import communities
        from city311_assets.atlas.methods.identity import identified

        part = Slice.of(context, feed.name)
        found = {}
        for month in part.months:
            of_month = part.month(month)
            cases, graph = stored_graph(warehouse, feed, part, month)
            own = communities(graph, seed=SEED)
            labelled = cases.with_columns(
                pl.Series("label", own.labels),
                pl.Series("sublabel", own.sublabels),
                pl.Series("membership", own.membership, pl.Float64),
            )
            before = clusters_before(warehouse, feed, month)
            ids = identified(labelled.select("record_id", "label"), before, month).ids
            provisional = Held.of(warehouse, feed, of_month).is_provisional_until(of_month.end)
            is_outlier = pl.col("label") < 0
            rows = labelled.with_columns(
                pl.lit(feed.name).alias("feed"),
                pl.lit(month).alias("month"),
                pl.col("label")
                .replace_strict(ids, default=None, return_dtype=pl.Int64)
                .alias("cluster_id"),
                pl.when(~is_outlier & (pl.col("sublabel") >= 0))
                .then(pl.col("sublabel") + 1)
                .cast(pl.Int32)
                .alias("subcluster_id"),
                is_outlier.alias("is_outlier"),
                pl.lit(provisional).alias("is_provisional"),
            ).select(CLUSTERS.names)
            warehouse.replace(CLUSTERS, rows, of_month)
            figures = pl.DataFrame({"month": [month], "rows": [rows.height]})
            note_days(context, key, figures, of_month)
            found[month.isoformat()] = {
                "cases": rows.height,
                "clusters": len(ids),
                "outliers": int(rows["is_outlier"].sum()),
                "resolution": round(float(own.resolution), 4),
                "stability": round(float(own.stability), 4),
            }
        return dg.MaterializeResult(metadata={"months": dg.MetadataValue.json(found)})

    claims = [
        Property(
            "in_a_cluster_or_an_outlier",
            "A case has a cluster or is an outlier; its membership is a share.",
            NOT_ONE_OR_THE_OTHER,
        ),
        Property("cases_of_the_graph", "Every case is one of the month's graph.", NOT_THE_GRAPHS),
    ]
    return [clusters, slice_checks(claims, CLUSTERS, feed.name, [NEIGHBORS])]
