"""What became of clusters since the month before: births, deaths, splits and merges."""

import dagster as dg
import polars as pl

from city311_assets.atlas.clusters import OF_MONTH, clusters_before
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import BY_YEAR, MONTHS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CLUSTER_EVENTS, CLUSTERS

NOT_OF_THE_MONTH = f"""
    select month, event as kind from {CLUSTER_EVENTS} where {CLUSTER_EVENTS.where}
        and (month, cluster_id) {{is_held}} (
            select (month, cluster_id) from {CLUSTERS} where {CLUSTERS.where}
                and cluster_id is not null)
        and event {{which}}
"""


def cluster_events(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare what became of one feed's clusters, and what must hold of it."""
    key = CLUSTER_EVENTS.key(feed.name)

    @dg.asset(
        key=key,
        deps=[CLUSTERS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=CLUSTER_EVENTS.metadata | {"look_back_months": 1},
        kinds={"duckdb", "polars"},
        description=f"Births, deaths, splits and merges of the clusters of {feed.title}, against "
        "the month before.",
    )
    def cluster_events(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Events of one feed's clusters in months."""
        from city311_assets.atlas.methods.identity import identified

        part = Slice.of(context, feed.name)
        found = {}
        for month in part.months:
            own = warehouse.read(OF_MONTH, {"feed": feed.name, "month": month}, [CLUSTERS])
            labels = own.select("record_id", pl.col("cluster_id").alias("label"))
            before = clusters_before(warehouse, feed, month)
            events = identified(labels, before, month).events
            rows = events.with_columns(
                pl.lit(feed.name).alias("feed"), pl.lit(month).alias("month")
            ).select(CLUSTER_EVENTS.names)
            warehouse.replace(CLUSTER_EVENTS, rows, part.month(month))
            figures = pl.DataFrame({"month": [month], "rows": [rows.height]})
            note_days(context, key, figures, part.month(month))
            found[month.isoformat()] = dict(rows.group_by("event").len().sort("event").rows())
        return dg.MaterializeResult(metadata={"months": dg.MetadataValue.json(found)})

    claims = [
        Property(
            "the_living_are_of_the_month",
            "What was born or merged is a cluster of the month.",
            NOT_OF_THE_MONTH.format(is_held="not in", which="in ('birth', 'merge')"),
        ),
        Property(
            "the_dead_are_gone",
            "What died is no cluster of the month.",
            NOT_OF_THE_MONTH.format(is_held="in", which="= 'death'"),
        ),
    ]
    return [cluster_events, slice_checks(claims, CLUSTER_EVENTS, feed.name, [CLUSTERS])]
