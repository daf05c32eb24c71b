"""The columns of meta: what the warehouse knows of itself."""

from city311_assets.warehouse.tables.bronze import DAY, FEED
from city311_assets.warehouse.tables.table import Column, Table

# One row, from the first record on: whether records are the sample city's. It has no slices, and so
# is no declared table.
ORIGIN = "meta.origin"
ORIGIN_DDL = f"create table if not exists {ORIGIN} (is_sample boolean not null)"

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

CHECK_RESULTS = Table(
    layer="meta",
    name="check_results",
    one_row_per="check and unbroken range of days or months on which it does not pass; "
    "of one that passes everywhere, and of the rest of one that does not, one more",
    columns=(
        Column("asset", "VARCHAR", "Key of the asset checked, with slashes.", nullable=False),
        Column("check_name", "VARCHAR", "The check's name.", nullable=False),
        Column("range_number", "INTEGER", "Counts the rows of a check from 0.", nullable=False),
        Column(
            "is_passed",
            "BOOLEAN",
            "Whether the newest verdict on each of its days is that it passes.",
            nullable=False,
        ),
        Column(
            "failure_severity",
            "VARCHAR",
            "`ERROR`, or `WARN` of what stops nothing and tells nobody; null if it passes.",
        ),
        Column(
            "first_failing_day",
            "DATE",
            "First day (of a month its first) of the range that does not pass; null if it passes "
            "or is of no days.",
        ),
        Column(
            "last_failing_day",
            "DATE",
            "Last day (of a month its first) of that range; null likewise.",
        ),
        Column("slices", "BIGINT", "Days or months the row is of; 0 of a table without.", False),
        Column(
            "checked_at",
            "TIMESTAMP",
            "When the newest of the verdicts was given, UTC; null if that is not stored.",
            is_provenance=True,
        ),
        Column("description", "VARCHAR", "What it says must hold; null if it does not say."),
        Column(
            "found", "VARCHAR", "What it found, on one line; null if it passes or says nothing."
        ),
    ),
    unique=("asset", "check_name", "range_number"),
    scope="asset",
    period=None,
)
