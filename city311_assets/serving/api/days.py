"""Which days and months have data, and which one is meant where none is asked for.

What belongs here: the newest, and the nearest to one that has none. What does not: what is asked of
that day.
"""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.api.problems import ProblemError
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.table import Table

# On either side of what was asked for.
NEAREST = 2


def require(snapshot: Snapshot, *tables: Table) -> None:
    """Refuse with 404 if the published file lacks a table: an older version published it."""
    if missing := [str(table) for table in tables if not snapshot.has(table)]:
        raise ProblemError(
            404,
            f"the published file has no {', '.join(missing)}; an older version published it: "
            "publish again with `city311 snapshot`",
        )


def kept_column(
    snapshot: Snapshot, key: tuple[str, ...], query: str, params: Mapping[str, object]
) -> list[Any]:
    """Return the first column of a query, read once from a file; few things may be asked so."""

    def read() -> list[Any]:
        return snapshot.frame(query, params).to_series().to_list()

    return snapshot.once(key, read)


def periods(snapshot: Snapshot, table: Table, scope: str) -> list[date]:
    """Return the days (or months) for which a table has rows of a feed or target, in order."""
    query = f"select distinct {table.period} from {table} where {table.scope} = $scope order by all"
    return kept_column(snapshot, ("periods", str(table), scope), query, {"scope": scope})


def chosen(
    snapshot: Snapshot,
    table: Table,
    scope: str,
    asked: date | None,
    *,
    name: str,
    shown: Callable[[date], str] = str,
) -> date:
    """Return what is asked for if there is data for it, the newest if nothing is asked for.

    Raises
    ------
    ProblemError
        404 with the nearest that have data.
    """
    held = periods(snapshot, table, scope)
    if not held:
        raise ProblemError(
            404, f"there is no {table.name} of {scope} yet", parameter=table.scope, given=scope
        )
    if asked is None:
        return held[-1]
    if asked not in held:
        before = [one for one in held if one < asked][-NEAREST:]
        after = [one for one in held if one > asked][:NEAREST]
        nearest = [shown(one) for one in [*before, *after]]
        raise ProblemError(
            404,
            f"there is no {table.name} of {scope} for {shown(asked)}; the nearest with data: "
            f"{', '.join(nearest)}",
            parameter=name,
            given=shown(asked),
            nearest=nearest,
        )
    return asked


def feed_with_data(snapshot: Snapshot, table: Table, asked: str | None) -> str:
    """Return the feed asked for, or the first of the registry of which a table has rows."""
    if asked:
        return asked
    held = kept_column(snapshot, ("feeds", str(table)), f"select distinct feed from {table}", {})
    return next((feed for feed in FEEDS if feed in held), next(iter(FEEDS)))


def as_month(day: date) -> str:
    """Return how a month is written."""
    return f"{day:%Y-%m}"


def month_of(day: date) -> date:
    """Return the first day of the month that holds a day."""
    return day.replace(day=1)


def last_days(newest: date, count: int) -> list[date]:
    """Return so many days up to the newest, in order."""
    return [newest - timedelta(days=back) for back in range(count - 1, -1, -1)]
