"""Who waits longer for the same complaint: a month's adjusted disparities."""

from city311_assets.serving.api.days import as_month, chosen, feed_with_data, require
from city311_assets.serving.api.endpoints import Endpoint
from city311_assets.serving.api.monthly import monthly, monthly_schema
from city311_assets.serving.api.parameters import FEED, Asked, month
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.causal import ATT, BALANCE, DESIGN, PLACEBO, SENSITIVITY

NOTE = (
    "An effect is an adjusted disparity: how many hours more the cases of a neighbourhood took "
    "than like cases elsewhere. A neighbourhood is not a treatment that anyone assigns; what "
    "neither text nor photo shows may explain a difference. Quote the rows with is_headline."
)
PARTS = {
    "effects": (ATT, "is_headline desc, neighborhood, estimator, k"),
    "sensitivity": (SENSITIVITY, "neighborhood"),
    "placebo": (PLACEBO, "placebo"),
    "design": (DESIGN, "month"),
}


def effects(snapshot: Snapshot, asked: Asked) -> bytes:
    """Return a month's effects, how far they may be trusted, and how they were made."""
    require(snapshot, ATT)
    feed = feed_with_data(snapshot, ATT, asked["feed"])
    on = chosen(snapshot, ATT, feed, asked["month"], name="month", shown=as_month)
    return monthly(snapshot, feed, on, PARTS, NOTE)


EFFECTS = Endpoint(
    path="/api/effects",
    name="effects",
    summary="How much longer a neighbourhood waits for the same complaint",
    doc=f"{NOTE} Covariate balance is in the published file ({BALANCE}).",
    parameters=(month(), FEED),
    schema=monthly_schema(
        "effects", neighborhood={"type": "string"}, att_hours={"type": ["number", "null"]}
    ),
    make=effects,
)
