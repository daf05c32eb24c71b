"""Silver rejected records: the bronze rows that became no record, whole, each with its reason.

Written by the feed's silver asset, in the same transaction as the records themselves, so that
bronze = silver + rejected for every slice at every moment. The reasons are decided in `records`.
"""

from city311_assets.feeds.feed import Feed
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS
from city311_assets.warehouse.tables.table import Table


def unaccounted_for(feed: Feed, table: Table) -> str:
    """Return the query for days whose bronze rows are not just silver's and the rejected ones."""
    raw = RECORDS[feed.name]
    return f"""
        select day, sum(bronze)::bigint as bronze, sum(silver)::bigint as silver,
            sum(rejected)::bigint as rejected
        from (
            select day, 1 as bronze, 0 as silver, 0 as rejected from {raw} where {raw.where}
            union all
            select day, 0, 1, 0 from {table} where {table.where}
            union all
            select day, 0, 0, 1 from {REJECTED_RECORDS} where {REJECTED_RECORDS.where}
        )
        group by day having sum(bronze) <> sum(silver) + sum(rejected)
    """
