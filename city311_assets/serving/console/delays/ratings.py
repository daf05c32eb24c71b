"""What a person says of pairs: kept in their browser, saved as a file.

What belongs here: how ratings are kept and written. What does not: what a pair looks like. What the
browser sends is a stranger's word: only the three answers are taken, and the rest of a row comes
from the published file.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.causal import MATCHED_PAIRS

ANSWERS = {"match": "Match", "partly": "Partly", "no": "No match"}
COLUMNS = (
    "feed",
    "month",
    "record_id",
    "control_id",
    "neighborhood",
    "control_neighborhood",
    "stratum",
    "match_rank",
    "similarity",
    "is_within_caliper",
    "rating",
    "was_blind",
    "rated_at",
)
# A spreadsheet would compute a text that begins so.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
RATED = f"""
    select record_id, control_id, neighborhood, control_neighborhood, stratum, match_rank,
        similarity, is_within_caliper
    from {MATCHED_PAIRS}
    where feed = $feed and month = $month and list_contains($records, record_id)
"""
Rating = dict[str, Any]
PAIR = ("feed", "month", "record_id", "control_id")


def kept(ratings: object) -> list[Rating]:
    """Return what a browser's store holds, as far as it is ratings."""
    if not isinstance(ratings, list):
        return []
    return [
        one
        for one in ratings
        if isinstance(one, dict)
        and one.get("rating") in ANSWERS
        and all(isinstance(one.get(name), str) for name in PAIR)
    ]


def with_rating(
    ratings: Sequence[Rating], pair: Mapping[str, str], answer: str, was_blind: bool, at: datetime
) -> list[Rating]:
    """Return the ratings with one more, in the place of an earlier one of the same pair."""
    others = [one for one in ratings if any(one[name] != pair[name] for name in PAIR)]
    new = dict(pair) | {
        "rating": answer,
        "was_blind": was_blind,
        "rated_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
    }
    return [*others, new]


def answer_of(ratings: Sequence[Rating], pair: Mapping[str, str]) -> str | None:
    """Return what was said of a pair; None if nothing was."""
    for one in ratings:
        if all(one[name] == pair[name] for name in PAIR):
            return one["rating"]
    return None


def of_month(ratings: Sequence[Rating], feed: str, month: str) -> list[Rating]:
    """Return the ratings of one month."""
    return [one for one in ratings if (one["feed"], one["month"]) == (feed, month)]


def said(ratings: Sequence[Rating]) -> str:
    """Return how many pairs of a month are rated, and how."""
    if not ratings:
        return "No pair of this month is rated yet."
    counts = ", ".join(
        f"{text.lower()} {sum(one['rating'] == answer for one in ratings)}"
        for answer, text in ANSWERS.items()
    )
    pairs = "1 pair" if len(ratings) == 1 else f"{len(ratings):,} pairs"
    return f"{pairs} of this month rated: {counts}; kept in this browser."


def as_csv(snapshot: Snapshot, ratings: Sequence[Rating], feed: str, month: str) -> str:
    """Return ratings of a month as CSV, with what the published file knows of each pair."""
    asked = {
        "feed": feed,
        "month": f"{month}-01",
        "records": sorted({one["record_id"] for one in ratings}),
    }
    known = {
        (row["record_id"], row["control_id"]): row
        for row in snapshot.frame(RATED, asked).to_dicts()
    }
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for one in ratings:
        row = known.get((one["record_id"], one["control_id"]), {}) | one
        writer.writerow([_cell(row.get(name)) for name in COLUMNS])
    return text.getvalue()


def _cell(value: object) -> object:
    is_formula = isinstance(value, str) and value.startswith(FORMULA)
    return f"'{value}" if is_formula else value
