"""Silver crime incidents: one row per record, its newest version, typed, placed and timed."""

import dagster as dg
import polars as pl

from city311_assets.feeds.feed import Feed
from city311_assets.silver.areas import Areas
from city311_assets.silver.assets import record_assets
from city311_assets.silver.records import category_of, common_columns, flag_of, text_of
from city311_assets.warehouse.checks import Property
from city311_assets.warehouse.tables.silver import INCIDENTS

UNMAPPED_CODES = f"""
    select fbi_code as kind, count(*) as rows, min(day) as day from {INCIDENTS}
    where {INCIDENTS.where} and fbi_category = $unmapped group by fbi_code
"""


def incident_rows(accepted: pl.DataFrame, feed: Feed, areas: Areas) -> pl.DataFrame:
    """Return accepted bronze rows as incidents, in the table's columns."""
    code = text_of(feed, "fbi_code")
    by_code = pl.lit(None, pl.String)
    if feed.code_taxonomy:
        by_code = pl.when(code.is_not_null()).then(category_of(code, feed.code_taxonomy))
    own = accepted.select(
        is_arrest=flag_of(feed, "is_arrest"),
        is_domestic=flag_of(feed, "is_domestic"),
        iucr=text_of(feed, "iucr"),
        fbi_code=code,
        fbi_category=by_code,
        beat=text_of(feed, "beat"),
        block=text_of(feed, "block"),
    )
    return common_columns(accepted, feed, areas).hstack(own).select(INCIDENTS.names)


def incidents(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's slices of `silver.incidents` and of what was set aside."""
    return record_assets(
        feed,
        INCIDENTS,
        incident_rows,
        f"{feed.title} that happened on one city-local day: one row a record, its newest version, "
        "typed and placed in a cell, in one of five categories and one by FBI code.",
        [
            Property(
                "every_fbi_code_mapped",
                "The taxonomy of FBI codes knows every code that was published.",
                UNMAPPED_CODES,
                is_blocking=False,
                severity=dg.AssetCheckSeverity.WARN,
            )
        ],
    )
