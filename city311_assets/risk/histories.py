"""Histories: what a slice of risk stands on, as the warehouse has it.

What belongs here: which requests are calls of a target, on which days and in which cells, and which
days are held. What does not: what follows from the counts (`risk.methods.features`). A look-back is
read by SQL and is no partition mapping: what changed in it since is repaired when the day is made
again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Bools, Cells
from city311_assets.gold.slices import Held
from city311_assets.partitions import DAYS_PER_RUN, Slice
from city311_assets.risk.methods.features import LONGEST_DAYS, Counts, Past, Surroundings
from city311_assets.risk.targets.target import Target, normalized
from city311_assets.silver.cells import (
    BITS_PER_DIGIT,
    FINEST_RESOLUTION,
    RESOLUTION_MASK,
    RESOLUTION_SHIFT,
)
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.silver import RECORDS

# Of requests of every kind a year is read: nothing looks further back on them.
ALL_CALLS_DAYS = 365

KINDS = """
    select distinct kind from {records}
    where feed = $feed and day >= $start and day < $end and kind is not null
"""
# Counted into tables of the session first: rows leave a query with parameters 250 times slower.
CALLS = """
    create or replace temp table risk_calls as
    select day, cell & $kept::ubigint | $unused::ubigint as cell, count(*)::bigint as calls,
        count(*) filter (not coalesce(is_duplicate, false))::bigint as first_calls
    from {records}
    where feed = $feed and day >= $start and day < $end and cell is not null and kind in $kinds
    group by all
"""
ALL_CALLS = """
    create or replace temp table risk_all_calls as
    select day, cell & $kept::ubigint | $unused::ubigint as cell, count(*)::bigint as all_calls
    from {records}
    where feed = $feed and day >= $start and day < $end and cell is not null
    group by all
"""
STUDY_AREA = f"""
    select cell, coalesce(is_inside, false) as is_inside
    from {CELLS} where feed = $feed and resolution = $resolution order by cell
"""


@dataclass(frozen=True, eq=False)
class History:
    """A target's calls on consecutive days, by cell of its resolution: d days, n cells.

    Attributes
    ----------
    cells
        n, sorted: the study area, and any other cell with a request.
    is_inside
        n: whether a cell is in the study area whatever happens there: a boundary touches it. Where
        no boundary is known none is, else cells would be there because of what comes later.
    first
        The first of the d days.
    calls, first_calls, all_calls
        d x n: requests that are calls; those of them that the city did not mark as repeats; and
        requests of every kind (0 more than a year before the slice).
    is_held
        d: whether the day's requests were obtained.
    is_provisional
        d: whether the portal had not told all of the day yet; true where it is not held. Days
        before the slice are not asked about: false.
    """

    target: Target
    cells: Cells
    is_inside: Bools
    first: date
    calls: Counts
    first_calls: Counts
    all_calls: Counts
    is_held: Bools
    is_provisional: Bools

    @property
    def days(self) -> list[date]:
        """All d days."""
        return [self.first + timedelta(days=n) for n in range(self.is_held.size)]

    def place(self, day: date) -> int:
        """Return the place of a day among the d."""
        return (day - self.first).days

    @property
    def past(self) -> Past:
        """The counts as features are made of them."""
        return Past(
            Surroundings.of(self.cells, self.target.resolution),
            self.first,
            self.calls,
            self.all_calls,
            self.is_held,
            self.is_inside,
        )


def history(
    warehouse: Warehouse,
    target: Target,
    part: Slice,
    look_back: int = LONGEST_DAYS,
    look_ahead: int = 0,
) -> History:
    """Read a slice's days, so many days before them and so many after.

    Counts leave the database by day and cell. While `gold.cells` was not made, the cells are those
    of requests read and their neighbours.
    """
    feed = target.feed
    window = Slice(
        feed.name,
        part.start - timedelta(days=look_back),
        part.end + timedelta(days=look_ahead),
    )
    year = Slice(
        feed.name,
        max(window.start, part.start - timedelta(days=min(look_back, ALL_CALLS_DAYS))),
        window.end,
    )
    held = Held.of(warehouse, feed, window)
    calls, all_calls, area = _read(warehouse, target, window, year)
    seen = pl.concat([calls["cell"].unique(), all_calls["cell"].unique()]).unique().sort()
    cells, is_inside = _study_area(area, seen.to_numpy())
    days = [window.start + timedelta(days=n) for n in range((window.end - window.start).days)]
    obtained = set(held.days["day"].to_list())
    of_calls, of_all = (_sorted_by_day(frame, window.start, cells) for frame in (calls, all_calls))
    shape = len(days), cells.size

    def counts(frame: pl.DataFrame, column: str) -> Counts:
        counted = frame.filter(pl.col(column) > 0)
        return Counts(shape, *(counted[name].to_numpy() for name in ("day", "cell", column)))

    return History(
        target=target,
        cells=cells,
        is_inside=is_inside,
        first=window.start,
        calls=counts(of_calls, "calls"),
        first_calls=counts(of_calls, "first_calls"),
        all_calls=counts(of_all, "all_calls"),
        is_held=np.array([day in obtained for day in days], bool),
        is_provisional=np.array(
            [day >= part.start and held.is_provisional(day) for day in days], bool
        ),
    )


def chunks(part: Slice) -> Iterator[Slice]:
    """Return a slice in parts of so many days as one run usually has, so that memory is bounded."""
    start = part.start
    while start < part.end:
        end = min(start + timedelta(days=DAYS_PER_RUN), part.end)
        yield Slice(part.name, start, end, part.scope)
        start = end


def matching_kinds(target: Target, kinds: pl.Series) -> list[str]:
    """Return which of the kinds of a feed, as published, are the target's."""
    return [kind for kind in kinds.to_list() if normalized(kind) in target.normalized_kinds]


def _read(
    warehouse: Warehouse, target: Target, window: Slice, year: Slice
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return calls of the window and requests of the year by day and cell, and the study area."""
    table = RECORDS[target.feed.table]
    fill = (1 << BITS_PER_DIGIT * (FINEST_RESOLUTION - target.resolution)) - 1
    bits = {
        "kept": ~RESOLUTION_MASK & (1 << 64) - 1,
        "unused": target.resolution << RESOLUTION_SHIFT | fill,
        "resolution": target.resolution,
    }
    given = window.params | bits
    with warehouse.connect() as conn:
        session = Session(conn)
        session.prepare(table, CELLS)
        kinds = session.read(KINDS.format(records=table), given)["kind"]
        wanted = {"kinds": matching_kinds(target, kinds)}
        session.run(CALLS.format(records=table), given | wanted)
        session.run(ALL_CALLS.format(records=table), given | year.params)
        return (
            session.read("from risk_calls"),
            session.read("from risk_all_calls"),
            session.read(STUDY_AREA, given),
        )


def _study_area(area: pl.DataFrame, seen: Cells) -> tuple[Cells, Bools]:
    """Return the cells of a study area and those seen, and which are inside whatever happens."""
    from city311_assets.gold.methods.grid import around

    if area.is_empty():
        cells = around(seen)
        return cells, np.zeros(cells.size, bool)
    inside = _cells(area.filter("is_inside"))
    cells = np.union1d(_cells(area), seen)
    return cells, np.isin(cells, inside)


def _sorted_by_day(frame: pl.DataFrame, first: date, cells: Cells) -> pl.DataFrame:
    """Return counts with day and cell as places, by rising day."""
    day = (frame["day"] - first).dt.total_days().to_numpy()
    # Of so short integers numpy sorts a million in a hundredth of a second.
    order = np.argsort(day.astype(np.int16), kind="stable")
    return frame.with_columns(
        pl.Series("day", day, pl.Int64), pl.Series("cell", np.searchsorted(cells, _cells(frame)))
    ).select(pl.all().gather(pl.Series(order)))


def _cells(frame: pl.DataFrame) -> Cells:
    return frame["cell"].to_numpy().astype(np.uint64)
