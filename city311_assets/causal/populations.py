"""Who is compared: the cases of a month's window that have a text, a place and a known wait.

What belongs here: how cases, vectors and pairs get from tables into arrays and back, and the counts
of what is left out. What does not: what is computed from them (`methods`).
"""

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from city311_assets.atlas.slices import texts_of, window_of
from city311_assets.atlas.windows import window
from city311_assets.feeds.feed import Feed
from city311_assets.gold.methods.arrays import Bools, Floats, Ints
from city311_assets.partitions import Slice
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import PHOTOS
from city311_assets.warehouse.tables.causal import MATCHED_PAIRS
from city311_assets.warehouse.tables.silver import REQUESTS

if TYPE_CHECKING:
    from city311_assets.causal.methods.matching import Matches

SEED = 311
# What two compared cases have in common, beside being alike.
STRATA = ("category", "source_channel", "half_year")
UNKNOWN = "unknown"
OBSERVABLES = ("opening_day", "opening_hour", "is_weekend", "has_photo", "severity")
COMPONENTS = 10
HOURS_PER_DAY = 24.0
# Of a case that left no trace of how long it took.
UNTIMED = (
    "closed_before_opened",
    "closed_after_observed",
    "closed_same_day_untimed",
    "closed_unreadable",
)

CASES = f"""
    select requests.record_id, requests.day, neighborhood, category,
        coalesce(source_channel, '{UNKNOWN}') as source_channel,
        year(requests.day) || (case when month(requests.day) <= 6 then ' I' else ' II' end)
            as half_year,
        opened_at, opened_at_utc, closed_at_utc, hours_to_close, hours_to_close_reason,
        observed_until, is_administrative, coalesce(is_duplicate, false) as is_duplicate,
        photos.record_id is not null as has_photo
    from {REQUESTS} as requests
    left join (
        select distinct feed, day, record_id from {PHOTOS} where {PHOTOS.where} and status = 'ok'
    ) as photos using (feed, day, record_id)
    where requests.feed = $feed and requests.day >= $start and requests.day < $end
    order by requests.record_id
"""
PAIRS = f"""
    select record_id, control_id, match_rank, similarity, is_within_caliper, weight
    from {MATCHED_PAIRS} where {MATCHED_PAIRS.where}
"""


@dataclass(frozen=True)
class Population:
    """The cases of a month that are compared, by `record_id`, and what is known of them.

    `cases` has a row a case; every array a row too. `left_out` counts the rest of the window by
    reason, in the order in which reasons are looked at.
    """

    cases: pl.DataFrame
    vectors: NDArray[np.float32]
    model: str
    span: Slice
    ends_at: datetime
    in_window: int
    left_out: Counter[str]

    @property
    def size(self) -> int:
        """Number of cases."""
        return self.cases.height

    @cached_property
    def is_mature(self) -> Bools:
        """Whether a case was opened long enough before the end for its restricted hours."""
        return self.cases["is_mature"].to_numpy()

    @cached_property
    def mature(self) -> "Population":
        """The mature cases alone."""
        return self.chosen(self.is_mature)

    @cached_property
    def neighborhoods(self) -> list[str]:
        """The neighbourhoods, sorted: what `groups` numbers."""
        return self.cases["neighborhood"].unique().sort().to_list()

    @cached_property
    def groups(self) -> Ints:
        """The number of each case's neighbourhood."""
        return np.searchsorted(self.neighborhoods, self.cases["neighborhood"]).astype(np.int64)

    @cached_property
    def strata_names(self) -> pl.Series:
        """What each case shares with the cases it is compared with."""
        return self.cases.select(pl.concat_str(STRATA, separator=" · ")).to_series()

    @cached_property
    def strata(self) -> Ints:
        """The number of each case's stratum."""
        return self.strata_names.rank("dense").to_numpy().astype(np.int64) - 1

    @cached_property
    def restricted_hours(self) -> Floats:
        """Hours each case took, the limit at most; NaN where that is not known."""
        from city311_assets.causal.methods.outcomes import restricted

        hours = self.cases["hours"].to_numpy()
        return restricted(hours, self.cases["open_hours"].to_numpy(), limit_hours())

    @cached_property
    def opening_day(self) -> Floats:
        """Days from the window's first midnight UTC to the opening."""
        since = datetime.combine(self.span.start, time())
        opened = self.cases["opened_at_utc"] - since
        return opened.dt.total_seconds().to_numpy() / (HOURS_PER_DAY * 3600)

    @cached_property
    def observables(self) -> Floats:
        """What is known of cases beside the text, (n, 5), in the order of `OBSERVABLES`.

        An unknown severity is the mean of those known: it says nothing.
        """
        severity = self.cases["severity"].cast(pl.Float64)
        columns = [
            self.opening_day,
            self.cases["opened_at"].dt.hour().to_numpy(),
            self.cases["day"].dt.weekday().to_numpy() >= 6,
            self.cases["has_photo"].to_numpy(),
            severity.fill_null(severity.mean() or 0.0).to_numpy(),
        ]
        return np.column_stack([np.asarray(column, np.float64) for column in columns])

    @cached_property
    def adjustment(self) -> Floats:
        """What imperfect matches are corrected for: components of the vectors and observables."""
        from city311_assets.causal.methods.balance import principal_components

        return np.hstack([principal_components(self.vectors, COMPONENTS), self.observables])

    @property
    def minute_of_opening(self) -> Floats:
        """The minute within the hour in which a case was opened: no neighbourhood affects it."""
        return self.cases["opened_at"].dt.minute().to_numpy().astype(np.float64)

    def chosen(self, is_chosen: Bools) -> "Population":
        """The cases of a mask (n,) alone."""
        return Population(
            self.cases.filter(pl.Series(is_chosen)),
            self.vectors[is_chosen],
            self.model,
            self.span,
            self.ends_at,
            self.in_window,
            self.left_out,
        )


def limit_hours() -> float:
    """Return the most hours that count: the limit of the settings."""
    return settings().causal_limit_days * HOURS_PER_DAY


def population(warehouse: Warehouse, feed: Feed, part: Slice, month: date) -> Population:
    """Read who is compared in a month: mature or not, with what is known of each."""
    span = window_of(part, month)
    drawn = window(warehouse, feed, part, month, SEED)
    cases = warehouse.read(CASES, span, [REQUESTS, PHOTOS])
    severity = texts_of(warehouse, span).select("record_id", "severity")
    ends_at = _end_of(feed, span, cases)
    limit = timedelta(hours=limit_hours())
    has_vector = pl.col("record_id").is_in(drawn.cases["record_id"].implode())
    known = pl.min_horizontal(pl.col("observed_until"), pl.lit(ends_at))
    is_closed = pl.col("closed_at_utc").is_not_null() & (pl.col("closed_at_utc") <= known)
    hours_open = (known - pl.col("opened_at_utc")).dt.total_seconds() / 3600
    reasons = {
        "administrative": pl.col("is_administrative"),
        "duplicates": pl.col("is_duplicate"),
        "without_neighborhood": pl.col("neighborhood").is_null(),
        "without_time": pl.col("hours_to_close_reason").is_in(UNTIMED),
        "without_vector": ~has_vector,
    }
    told = cases.with_columns(
        pl.coalesce(
            *(pl.when(is_so).then(pl.lit(reason)) for reason, is_so in reasons.items())
        ).alias("left_out")
    )
    left_out = Counter(told["left_out"].drop_nulls().to_list())
    eligible = (
        told.filter(pl.col("left_out").is_null())
        .join(severity, on="record_id", how="left", maintain_order="left")
        .with_columns(
            # What happened after the end is not known at it.
            pl.when(is_closed)
            .then("hours_to_close")
            .otherwise(None)
            .fill_null(np.nan)
            .alias("hours"),
            hours_open.clip(0).alias("open_hours"),
            is_closed.alias("is_closed"),
            (pl.col("opened_at_utc") + limit <= known).alias("is_mature"),
        )
    )
    at = np.searchsorted(drawn.cases["record_id"], eligible["record_id"])
    not_sampled = round(drawn.cases["sampling_weight"].sum()) - drawn.cases.height
    left_out["not_sampled"] = min(not_sampled, left_out["without_vector"])
    left_out["without_vector"] -= left_out["not_sampled"]
    return Population(
        eligible, drawn.vectors[at], drawn.model, span, ends_at, cases.height, left_out
    )


def _end_of(feed: Feed, span: Slice, cases: pl.DataFrame) -> datetime:
    """Return the instant up to which a window is known, UTC: its end, or when it was last asked."""
    zone = ZoneInfo(feed.city.timezone)
    end = datetime.combine(span.end, time(), zone).astimezone(ZoneInfo("UTC")).replace(tzinfo=None)
    asked = cases["observed_until"].max()
    return min(end, asked) if isinstance(asked, datetime) else end


def stored_matches(warehouse: Warehouse, people: Population, part: Slice) -> "Matches":
    """Return a month's pairs within the caliper as matches of its mature cases."""
    from city311_assets.causal.methods.matching import Matches

    rows = warehouse.read(PAIRS, part, [MATCHED_PAIRS]).filter("is_within_caliper")
    ids = people.cases["record_id"]
    known = ids.implode()
    rows = rows.filter(pl.col("record_id").is_in(known) & pl.col("control_id").is_in(known))
    rows = rows.with_columns(
        pl.Series("treated", np.searchsorted(ids, rows["record_id"])),
        pl.Series("control", np.searchsorted(ids, rows["control_id"])),
    ).sort("treated", "match_rank", "control")
    count = rows.select(pl.len().over("treated")).to_series().to_numpy()
    return Matches(
        treated=rows["treated"].to_numpy().astype(np.int64),
        control=rows["control"].to_numpy().astype(np.int64),
        rank=rows["match_rank"].to_numpy().astype(np.int64),
        similarity=rows["similarity"].to_numpy(),
        weight=1.0 / np.maximum(count, 1),
        asked=np.arange(people.size),
    )
