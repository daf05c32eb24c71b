"""Which cluster of a month is which of the month before, and what changed.

What belongs here: matching two clusterings of mostly the same cases, numbers for new clusters, and
births, deaths, splits and merges. What does not: how clusters are found, or named.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Ints

# Of the cases that either of two clusters has, so many must be in both for them to be one cluster.
LEAST_JACCARD = 0.3
# Of a cluster's cases, so many must go to (come from) another for that to be part of its story.
LEAST_SHARE = 0.2
OUTLIER = -1
IDS_PER_MONTH = 1_000
CULPRITS_SHOWN = 5

EVENTS = {
    "event": pl.String,
    "cluster_id": pl.Int64,
    "other_ids": pl.List(pl.Int64),
    "shared_cases": pl.Int64,
    "size": pl.Int64,
}


@dataclass(frozen=True, slots=True)
class Identified:
    """The ids of a month's clusters, by label, and what changed against the month before.

    `kept_share` is the share of the cases in a cluster in both months that kept its id; null
    without a month before or without such a case.
    """

    ids: dict[int, int]
    events: pl.DataFrame
    kept_share: float | None


def identified(labels: pl.DataFrame, before: pl.DataFrame | None, month: date) -> Identified:
    """Return the ids of a month's clusters: those of the month before where they are the same.

    Only the cases in both months are compared. Pairs of clusters whose Jaccard index over these is
    at least `LEAST_JACCARD` are matched one to one so that the sum of the indices is the largest
    (Hungarian method). The events are those of https://doi.org/10.1109/ASONAM.2010.17: a cluster
    without a match is born, or dies; it splits when at least two clusters have `LEAST_SHARE` of
    its cases each, and merges when it has `LEAST_SHARE` of its cases from at least two.

    Parameters
    ----------
    labels
        `record_id` and `label` of every case of the month; null or -1 is an outlier. Neither the
        order of rows nor the numbers of the labels matter.
    before
        `record_id` and `cluster_id` of every case of the month before, null for an outlier; None
        if there is no month before, and then nothing is an event.
    month
        First day of the month. A new cluster is numbered by it: 202611001 is the largest cluster
        that was born in November 2026, and of two as large the one with the first record id.

    Raises
    ------
    ValueError
        If a case is named twice, `before` has ids of this or a later month, or more clusters are
        born than there are numbers.
    """
    now = _clusters(labels.select("record_id", cluster="label"), "the month")
    was = now.clear()
    if before is not None:
        was = _clusters(before.select("record_id", cluster="cluster_id"), "the month before")
    first = (month.year * 100 + month.month) * IDS_PER_MONTH
    _refuse_later(was["cluster"], first, month)

    new, size = _by_size(now)
    old, old_size = _by_id(was)
    shared = _shared(now, was, new, old)
    matches = _matches(shared)
    born = [index for index in range(len(new)) if index not in matches]
    if len(born) >= IDS_PER_MONTH:
        raise ValueError(
            f"{len(born)} clusters were born in {month:%Y-%m} and there are numbers for "
            f"{IDS_PER_MONTH - 1}; raise the least size of a cluster"
        )
    own = {index: int(old[other]) for index, other in matches.items()}
    own |= {index: first + rank for rank, index in enumerate(born, 1)}
    ids = np.array([own[index] for index in range(len(new))], np.int64)

    events = pl.DataFrame(schema=EVENTS)
    if before is not None:
        events = _events(shared, ids, size, old, old_size)
    kept = sum(int(shared[other, index]) for index, other in matches.items())
    clustered = int(shared[:-1, :-1].sum())
    return Identified(
        ids=dict(zip(new.tolist(), ids.tolist(), strict=True)),
        events=events,
        kept_share=kept / clustered if clustered else None,
    )


def _clusters(cases: pl.DataFrame, where: str) -> pl.DataFrame:
    """Return cases with -1 for outliers; refuse one that is named twice."""
    if twice := sorted(cases.filter(pl.col("record_id").is_duplicated())["record_id"].unique()):
        raise ValueError(
            f"{len(twice)} cases of {where} are named twice: {twice[:CULPRITS_SHOWN]}; "
            "a case is in one cluster"
        )
    return cases.with_columns(pl.col("cluster").cast(pl.Int64).fill_null(OUTLIER))


def _refuse_later(ids: pl.Series, first: int, month: date) -> None:
    if late := sorted(ids.filter(ids >= first).unique()):
        raise ValueError(
            f"clusters {late[:CULPRITS_SHOWN]} of the month before were born in {month:%Y-%m} or "
            "later; compare a month with the one before it"
        )


def _by_size(now: pl.DataFrame) -> tuple[Ints, Ints]:
    """Return the month's labels and their sizes, largest first, equals by their first case."""
    found = (
        now.filter(pl.col("cluster") != OUTLIER)
        .group_by("cluster")
        .agg(pl.len().cast(pl.Int64).alias("size"), pl.col("record_id").min().alias("first"))
        .sort("size", "first", descending=[True, False])
    )
    return found["cluster"].to_numpy(), found["size"].to_numpy()


def _by_id(was: pl.DataFrame) -> tuple[Ints, Ints]:
    """Return the ids of the month before and their sizes, oldest first."""
    found = was.filter(pl.col("cluster") != OUTLIER)["cluster"].value_counts().sort("cluster")
    return found["cluster"].to_numpy(), found["count"].cast(pl.Int64).to_numpy()


def _shared(now: pl.DataFrame, was: pl.DataFrame, new: Ints, old: Ints) -> Ints:
    """Return how many cases each cluster before shares with each one now.

    The last row and the last column are the outliers.
    """
    both = was.join(now, on="record_id", suffix="_now").group_by("cluster", "cluster_now").len()
    rows = {int(cluster): row for row, cluster in enumerate(old)} | {OUTLIER: len(old)}
    columns = {int(cluster): column for column, cluster in enumerate(new)} | {OUTLIER: len(new)}
    shared = np.zeros((len(old) + 1, len(new) + 1), np.int64)
    for cluster, cluster_now, cases in both.iter_rows():
        shared[rows[cluster], columns[cluster_now]] = cases
    return shared


def _matches(shared: Ints) -> dict[int, int]:
    """Return the row of each matched column."""
    from scipy.optimize import linear_sum_assignment

    common = shared[:-1, :-1]
    either = shared[:-1].sum(axis=1)[:, None] + shared[:, :-1].sum(axis=0)[None, :] - common
    jaccard = common / np.maximum(either, 1)
    # What is not admissible is worth nothing, or it would be paid for with what is.
    worth = np.where(jaccard >= LEAST_JACCARD, jaccard, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return {
        int(column): int(row)
        for row, column in zip(rows, columns, strict=True)
        if worth[row, column] > 0
    }


def _events(shared: Ints, ids: Ints, size: Ints, old: Ints, old_size: Ints) -> pl.DataFrame:
    """Return births, deaths, splits and merges, sorted."""
    common = shared[:-1, :-1]
    alive = dict(zip(ids.tolist(), size.tolist(), strict=True))
    known = set(old.tolist())
    rows = []
    for row, cluster in enumerate(old.tolist()):
        went = _large_parts(common[row], int(shared[row].sum()))
        is_dead = cluster not in alive
        told = (
            cluster,
            sorted(ids[went].tolist()),
            int(common[row, went].sum()),
            int(old_size[row]) if is_dead else alive[cluster],
        )
        rows += [("death", *told)] * is_dead + [("split", *told)] * (len(went) > 1)
    for column, cluster in enumerate(ids.tolist()):
        came = _large_parts(common[:, column], int(shared[:, column].sum()))
        told = (
            cluster,
            sorted(old[came].tolist()),
            int(common[came, column].sum()),
            int(size[column]),
        )
        rows += [("birth", *told)] * (cluster not in known) + [("merge", *told)] * (len(came) > 1)
    return pl.DataFrame(rows, schema=EVENTS, orient="row").sort("event", "cluster_id")


def _large_parts(cases: Ints, total: int) -> Ints:
    """Return which counts are at least `LEAST_SHARE` of a total."""
    return np.flatnonzero((cases >= LEAST_SHARE * total) & (cases > 0))
