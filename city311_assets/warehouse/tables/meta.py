"""The columns of meta: what the warehouse knows of itself."""

from city311_assets.warehouse.tables.bronze import DAY, FEED
from city311_assets.warehouse.tables.table import Column, Table

SLICES = Table(
    layer="meta",
    name="slices",
    one_row_per="feed and day that bronze holds; a day without a row was never made",
    columns=(
        FEED,
        DAY,
        Column(
            "rows",
            "BIGINT",
            "Rows that bronze holds of the day; 0 says that there are none.",
            nullable=False,
        ),
        Column(
            "asked_at",
            "TIMESTAMP",
            "When the portal was last asked for the whole day, UTC; null if only files were read.",
            is_provenance=True,
        ),
        Column(
            "marked_stale_at",
            "TIMESTAMP",
            "When one of the day's records was seen under another day, UTC: the portal is to be "
            "asked again; null if it is not.",
            is_provenance=True,
        ),
    ),
    unique=("feed", "day"),
)
