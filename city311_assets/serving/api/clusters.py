"""What a month's cases are about: named clusters, and how they changed."""

from city311_assets.serving.api.days import as_month, chosen, feed_with_data, require
from city311_assets.serving.api.endpoints import Endpoint
from city311_assets.serving.api.monthly import monthly, monthly_schema
from city311_assets.serving.api.parameters import FEED, Asked, month
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.atlas import CLUSTER_EVENTS, CLUSTER_NAMES

NOTE = (
    "Clusters group cases whose photos or texts are alike; names and descriptions are made from "
    "them by the method that name_method says."
)
PARTS = {
    "clusters": (CLUSTER_NAMES, "size desc, cluster_id"),
    "events": (CLUSTER_EVENTS, "event, size desc, cluster_id"),
}


def clusters(snapshot: Snapshot, asked: Asked) -> bytes:
    """Return a month's clusters, the largest first, and their births, deaths, splits and merges."""
    require(snapshot, CLUSTER_NAMES)
    feed = feed_with_data(snapshot, CLUSTER_NAMES, asked["feed"])
    on = chosen(snapshot, CLUSTER_NAMES, feed, asked["month"], name="month", shown=as_month)
    return monthly(snapshot, feed, on, PARTS, NOTE)


CLUSTERS = Endpoint(
    path="/api/clusters",
    name="clusters",
    summary="What a month's cases are about",
    doc=f"Named clusters of cases, the largest first, and what became of them. {NOTE}",
    parameters=(month(), FEED),
    schema=monthly_schema("clusters", name={"type": "string"}, size={"type": "integer"}),
    make=clusters,
)
