"""The single records of one small cell, each with a link to the portal's own.

What belongs here: which records are listed, and their table. What does not: places smaller than a
cell; who wants one follows the link.
"""

from dataclasses import dataclass
from datetime import datetime

from dash import html
from dash.development.base_component import Component

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.console.hotspots.facts import label_of
from city311_assets.serving.console.hotspots.parts import (
    Linked,
    count,
    link,
    name,
    sentence,
    table,
)
from city311_assets.serving.console.hotspots.selection import (
    FINEST,
    HEX,
    Selection,
    resolution_of,
    search_for,
)
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.silver import RECORDS

MOST_RECORDS = 50
RECORDS_OF_CELL = """
    select record_id, opened_at, is_time_certain, category, kind, street, record_url,
        count(*) over () as found
    from {table}
    where feed = $feed and day between $first and $last and cell = $cell
        and not $is_empty_filter
        and (len($categories::varchar[]) = 0 or list_contains($categories::varchar[], category))
        and (len($weekdays::integer[]) = 0 or list_contains($weekdays::integer[], weekday))
        and (len($hours::integer[]) = 0
            or (is_time_certain and list_contains($hours::integer[], hour)))
    order by opened_at desc, record_id limit $most
"""


@dataclass(frozen=True, slots=True)
class SingleRecord:
    """One record as it is listed."""

    record_id: str
    opened_at: datetime
    is_time_certain: bool
    category: str
    kind: str | None
    street: str | None
    record_url: str | None


def records_of(
    snapshot: Snapshot, selection: Selection, cell: str, most: int = MOST_RECORDS
) -> tuple[tuple[SingleRecord, ...], int]:
    """Return the newest selected records of a cell (H3, hex, finest), and how many there are."""
    query = RECORDS_OF_CELL.format(table=RECORDS[FEEDS[selection.feed].table])
    rows = snapshot.frame(
        query,
        {
            "feed": selection.feed,
            "first": selection.first,
            "last": selection.last,
            "cell": int(cell, 16),
            "is_empty_filter": selection.is_empty_filter,
            "categories": list(selection.categories),
            "weekdays": list(selection.weekdays),
            "hours": list(selection.hours),
            "most": most,
        },
    )
    found = int(rows["found"][0]) if rows.height else 0
    return tuple(SingleRecord(*row) for row in rows.drop("found").iter_rows()), found


def records_panel(
    snapshot: Snapshot, selection: Selection, cell: str | None, measure: str
) -> list[Component]:
    """Return the list of a cell's records, or nothing where no cell is chosen."""
    if not cell:
        return []
    close = link("Close the list", search_for(selection), measure)
    if not HEX.fullmatch(cell) or resolution_of(int(cell, 16)) != FINEST:
        text = f"records: {cell} is no cell of resolution {FINEST}, whose records could be listed."
        return [html.P([text, " ", close], className="warn")]
    found, total = records_of(snapshot, selection, cell)
    label = label_of(snapshot, selection.feed, FINEST, int(cell, 16))
    title = html.H2(f"Records in {label}")
    if not found:
        return [title, sentence("No record of this cell matches the selection."), close]
    shown = "" if total == len(found) else f"; the newest {len(found)} are listed"
    return [
        title,
        html.P([f"{count(total)} records match the selection{shown}. ", close]),
        table(
            ["Record", "Opened", "Category", "Kind", "Street"],
            [
                [
                    _portal_link(one),
                    _opened(one),
                    name(one.category),
                    one.kind or "unknown",
                    one.street or "unknown",
                ]
                for one in found
            ],
            f"Records in {label}",
            texts=5,
        ),
    ]


def _portal_link(record: SingleRecord) -> Linked | str:
    # A portal's text could as well be a script's address.
    if not (record.record_url or "").startswith("https://"):
        return record.record_id
    return Linked(record.record_id, str(record.record_url), is_outside=True)


def _opened(record: SingleRecord) -> str:
    if record.is_time_certain:
        return f"{record.opened_at:%Y-%m-%d %H:%M}"
    return f"{record.opened_at:%Y-%m-%d}, time unknown"
