"""A dataset that changes while it is read: rows deleted, added, updated, or all loaded anew."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from threading import Lock

import polars as pl

from city311_assets.feeds.feed import ROW_CREATED_AT, ROW_ID, ROW_UPDATED_AT
from city311_assets.sample_city.datasets import Dataset
from city311_assets.sample_city.faults import (
    MOST_ROWS,
    Revision,
    RowAdded,
    RowDeleted,
    RowUpdated,
    without_key,
)
from city311_assets.sample_city.soda import Soda
from city311_assets.sample_city.soql import query
from city311_assets.sample_city.soql_clauses import Days

Row = dict[str, str | None]
Step = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass
class RevisedDataset:
    """A dataset and what has happened to it since, in order. Safe to read while it changes."""

    dataset: Dataset
    _steps: tuple[Step, ...] = ()
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def name(self) -> str:
        """The dataset's title."""
        return self.dataset.name

    @property
    def types(self) -> Mapping[str, str]:
        """Data type by column."""
        return self.dataset.types

    @property
    def opened(self) -> str | None:
        """The column of the opening time."""
        return self.dataset.opened

    def rows(self, columns: frozenset[str], days: Days) -> pl.DataFrame:
        """Return the rows as they are by now."""
        frame = self.dataset.rows(columns, days)
        for step in self._steps:
            frame = step(frame)
        return frame

    def revise(
        self, revision: Revision, params: Mapping[str, str], soda: Soda, now: datetime
    ) -> None:
        """Let a revision happen to the window that a page was asked of.

        Also where the clock stands still no two happen in the same second.
        """
        with self._lock:
            moment = now + timedelta(seconds=len(self._steps))
            at = moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
            if not isinstance(revision, RowDeleted | RowAdded | RowUpdated):
                self._steps += (_reloaded(len(self._steps), at),)
                return
            row = self._row_at(revision.position, params, soda)
            if row is None:
                return
            if isinstance(revision, RowDeleted | RowUpdated):
                self._steps += (_without(row),)
            if isinstance(revision, RowAdded):
                row |= {ROW_ID: f"{row[ROW_ID]}~", ROW_CREATED_AT: at}
            if isinstance(revision, RowAdded | RowUpdated):
                self._steps += (_with({**row, ROW_UPDATED_AT: at, **revision.values}),)

    def _row_at(self, position: int, params: Mapping[str, str], soda: Soda) -> Row | None:
        """Return the row at a place of the window that a page is of; None if there is none."""
        window = {"$select": ROW_ID, "$order": ROW_ID, "$limit": str(MOST_ROWS)}
        if where := without_key(params).get("$where"):
            window["$where"] = where
        asked = query(window, self.types, self.opened)
        found = json.loads(soda.answer(self, asked))
        if not -len(found) <= position < len(found):
            return None
        frame = self.rows(frozenset(self.types), asked.days)
        return frame.row(by_predicate=pl.col(ROW_ID) == found[position][ROW_ID], named=True)


def _without(row: Row) -> Step:
    return lambda frame: frame.filter(pl.col(ROW_ID) != row[ROW_ID])


def _with(row: Row) -> Step:
    def step(frame: pl.DataFrame) -> pl.DataFrame:
        one = {name: row.get(name) for name in frame.columns}
        return pl.concat([frame, pl.DataFrame([one], schema=frame.schema)])

    return step


def _reloaded(number: int, at: str) -> Step:
    def step(frame: pl.DataFrame) -> pl.DataFrame:
        ids = [
            f"row-{blake2b(f'{number} {old}'.encode()).hexdigest()[:12]}" for old in frame[ROW_ID]
        ]
        # What was opened or changed since bears its own stamps; text of one form compares as
        # instants do.
        stamps = [
            pl.max_horizontal(n, pl.lit(at)).alias(n)
            for n in (ROW_CREATED_AT, ROW_UPDATED_AT)
            if n in frame.columns
        ]
        return frame.with_columns(pl.Series(ROW_ID, ids, pl.String), *stamps)

    return step
