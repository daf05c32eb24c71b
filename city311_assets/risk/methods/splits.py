"""Blocks of days: what a month's models are trained, calibrated and tested on, a gap between each.

A label of a day is what happened in the days after it; a gap as long keeps what one block forecasts
out of the next. What belongs here: which days. What does not: their rows.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

BLOCK_DAYS = 28
LONGEST_TRAINING_DAYS = 1_095
SHORTEST_TRAINING_DAYS = 56
# A block of which fewer days are labelled says little of a month.
FEWEST_LABELLED_DAYS = 14
ORIGINS = 3
SHORT_HISTORY = "short history"


@dataclass(frozen=True, slots=True)
class Block:
    """Days from `first` to `last`, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"a block that begins on {self.first} cannot end on {self.last}")

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    def labelled(self, days: Collection[date]) -> int:
        """Return how many of some days lie in it."""
        return sum(self.first <= day <= self.last for day in days)


@dataclass(frozen=True, slots=True)
class Split:
    """The three blocks of one origin, the first day of `test`: nothing known since is used."""

    training: Block
    calibration: Block
    test: Block

    @property
    def origin(self) -> date:
        """The first day that is forecast."""
        return self.test.first


def last_known(month: date, horizon_days: int) -> date:
    """Return the last day whose label is known when a month begins."""
    return month - timedelta(days=horizon_days + 1)


def splits(month: date, labelled: Collection[date], horizon_days: int) -> tuple[Split, ...]:
    """Return the blocks of a month's last three origins, the newest first; none if it is too soon.

    The newest test block ends on the last day whose label is known when the month begins; the
    others lie a block further back each. An origin takes part when 56 days are there to train on,
    at most the 1,095 before, and half of either block is labelled. Where the newest does not,
    history is too short for the month.

    Parameters
    ----------
    month
        First day of the month that may be scored.
    labelled
        The days with a label, in any order; later ones than are known then do not count.
    horizon_days
        Length of a label, and so of each gap.
    """
    known = {day for day in labelled if day <= last_known(month, horizon_days)}
    if not known:
        return ()
    found = []
    for back in range(ORIGINS):
        last = last_known(month, horizon_days) - timedelta(days=back * BLOCK_DAYS)
        split = _split(last, min(known), horizon_days)
        if split is None or not _has_enough(split, known):
            break
        found.append(split)
    return tuple(found)


def _split(last: date, first: date, horizon_days: int) -> Split | None:
    """Return the blocks whose test ends on `last`, or None where no day is left to train on."""
    test = _block_until(last)
    calibration = _block_until(test.first - timedelta(days=horizon_days + 1))
    until = calibration.first - timedelta(days=horizon_days + 1)
    since = max(first, until - timedelta(days=LONGEST_TRAINING_DAYS - 1))
    return Split(Block(since, until), calibration, test) if since <= until else None


def _block_until(last: date) -> Block:
    return Block(last - timedelta(days=BLOCK_DAYS - 1), last)


def _has_enough(split: Split, labelled: Collection[date]) -> bool:
    blocks = (split.calibration, split.test)
    return split.training.labelled(labelled) >= SHORTEST_TRAINING_DAYS and all(
        block.labelled(labelled) >= FEWEST_LABELLED_DAYS for block in blocks
    )
