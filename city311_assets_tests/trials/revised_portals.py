"""What a month does to the portals' datasets: late changes, entries, withdrawals, moves, a reload.

Which records is drawn from a seed and the night; what was done is counted.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from city311_assets.feeds.feed import ROW_ID, Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.sample_city.datasets import Clock, GeneratedDataset
from city311_assets.sample_city.faults import DatasetReloaded, RowAdded, RowDeleted, RowUpdated
from city311_assets.sample_city.revisions import RevisedDataset
from city311_assets.sample_city.soda import Soda

# Days that no nightly run reads again; the oldest no weekly one either.
FROM_DAYS_AGO, TO_DAYS_AGO = 9, 39


@dataclass
class RevisedPortals:
    """Every feed's generated dataset, and what has been done to it since."""

    datasets: Mapping[str, RevisedDataset]
    oldest: date
    done: Counter[str] = field(default_factory=Counter)
    soda: Soda = field(default_factory=Soda)

    @classmethod
    def of(
        cls, clock: Clock, records_per_day: int, start: date, oldest: date, seed: int
    ) -> "RevisedPortals":
        """Return the datasets as generated; none of their days before `oldest` will change."""
        made = {
            name: RevisedDataset(GeneratedDataset(feed, seed, records_per_day, start, clock))
            for name, feed in FEEDS.items()
        }
        return cls(made, oldest)

    @property
    def by_place(self) -> dict[tuple[str, str], RevisedDataset]:
        """The datasets by portal and id, as the sample city takes them."""
        return {
            (FEEDS[name].city.portal, FEEDS[name].dataset): dataset
            for name, dataset in self.datasets.items()
        }

    def revise(self, at: datetime) -> None:
        """Let a night's late news come to every feed: a change, an entry, a withdrawal, a move."""
        draw = random.Random(f"311 {at}")
        for feed in FEEDS.values():
            days = [at.date() - timedelta(days=ago) for ago in range(FROM_DAYS_AGO, TO_DAYS_AGO)]
            held = [day for day in days if day >= self.oldest]
            changed, added, deleted, moved = draw.sample(held, 4)
            kind = feed.fields["kind"]
            other = draw.choice(self._values(feed, added, kind))
            self._do(
                feed, changed, RowUpdated(position=draw.randrange(8), values={kind: other}), at
            )
            self._do(feed, added, self._entry(feed, at, draw.randrange(8)), at)
            self._do(feed, deleted, RowDeleted(position=draw.randrange(8)), at)
            to = f"{moved - timedelta(days=1)}T12:34:56.000"
            self._do(
                feed, moved, RowUpdated(position=draw.randrange(8), values={feed.opened: to}), at
            )

    def change(self, feed: Feed, day: date, position: int, at: datetime) -> None:
        """Change one record of a day."""
        kind = feed.fields["kind"]
        other = self._values(feed, day, kind)[-1]
        self._do(feed, day, RowUpdated(position=position, values={kind: other}), at)

    def reload(self, feed: Feed, at: datetime) -> None:
        """Load a dataset anew: other row ids and stamps, the same records."""
        self._do(feed, at.date(), DatasetReloaded(), at)

    def _entry(self, feed: Feed, at: datetime, position: int) -> RowAdded:
        number = f"late-{at:%Y%m%d%H%M}-{feed.name}"
        return RowAdded(position=position, values={feed.record_id: number, ROW_ID: f"row-{number}"})

    def _values(self, feed: Feed, day: date, column: str) -> list[str]:
        from city311_assets.sample_city.soql_clauses import Days

        dataset = self.datasets[feed.name]
        rows = dataset.rows(frozenset(dataset.types), Days(day, day))
        return sorted(set(rows[column].drop_nulls()))

    def _do(
        self,
        feed: Feed,
        day: date,
        revision: RowUpdated | RowAdded | RowDeleted | DatasetReloaded,
        at: datetime,
    ) -> None:
        after = f"{day + timedelta(days=1)}T00:00:00"
        window = {"$where": f"{feed.opened} >= '{day}T00:00:00' and {feed.opened} < '{after}'"}
        self.datasets[feed.name].revise(revision, window, self.soda, at)
        self.done[type(revision).__name__] += 1
