"""Placebos: what cannot have an effect, put through the same estimator.

Near one in twenty should come out significant: more says that the intervals are too narrow for
these cases, or that what cannot be affected differs by neighbourhood.
"""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import polars as pl

from city311_assets.causal.att import units_of
from city311_assets.causal.populations import SEED, Population, population, stored_matches
from city311_assets.causal.windows import metadata
from city311_assets.feeds.feed import Feed
from city311_assets.gold.methods.rates import wilson
from city311_assets.partitions import BY_YEAR, MONTHS, Slice
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.months import replace_months, schema_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.causal import MATCHED_PAIRS, PLACEBO

if TYPE_CHECKING:
    from city311_assets.causal.methods.matching import Matches

MADE_UP, MINUTE = "made_up_neighborhoods", "minute_of_opening"
GROUPS = 100
# Larger ones would be the same cases again and again; the skewness of waits makes the intervals of
# much smaller ones too short, which is so of real ones too.
MEMBERS, FEWEST_MEMBERS = 150, 30
LEVEL = 0.05
MISCOUNTED = f"""
    select month, placebo as kind from {PLACEBO} where {PLACEBO.where} and (
        significant > effects or (effects = 0) <> (share_significant is null)
        or share_significant not between share_low and share_high)
"""


def placebo_rows(people: Population, matches: "Matches", k: int) -> pl.DataFrame:
    """Return a row for each placebo; `matches` are the pairs of the mature cases."""
    from city311_assets.causal.methods.disparities import SameSide, corrected_effects
    from city311_assets.causal.methods.placebo_effects import made_up_effects

    rows = []
    minutes, made_up = [], []
    size = min(MEMBERS, usual_size(people, matches))
    if people.size:
        units = units_of(people, people.minute_of_opening)
        of_minutes = corrected_effects(units, matches, k, same_side=SameSide(units), seed=SEED)
        minutes = [effect for effect in of_minutes.values() if effect.p is not None]
        made_up = made_up_effects(units_of(people), matches, k, size=size, count=GROUPS, seed=SEED)
    for name, found in ((MADE_UP, made_up), (MINUTE, minutes)):
        hits = sum(effect.p is not None and effect.p < LEVEL for effect in found)
        tests = len(found)
        estimates = np.array([effect.estimate for effect in found], np.float64)
        low, high = (float(end) for end in wilson(hits, tests))
        rows.append(
            {
                "placebo": name,
                "effects": tests,
                "significant": hits,
                "share_significant": hits / tests if tests else None,
                "share_low": low if tests else None,
                "share_high": high if tests else None,
                "mean_att": estimates.mean() if tests else None,
            }
        )
    return pl.DataFrame(rows, schema=schema_of(PLACEBO))


def usual_size(people: Population, matches: "Matches") -> int:
    """Return the median number of matched cases of the neighbourhoods that have enough."""
    counts = np.bincount(people.groups[matches.matched])
    enough = counts[counts >= FEWEST_MEMBERS]
    return int(np.median(enough)) if enough.size else FEWEST_MEMBERS


def placebo(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's placebos, and what must hold of them."""

    @dg.asset(
        key=PLACEBO.key(feed.name),
        deps=[MATCHED_PAIRS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=metadata(PLACEBO),
        kinds={"duckdb", "numpy"},
        description=f"How often the effects of {feed.title} come out significant where there can "
        "be none: made-up neighbourhoods, and the minute in which a case was opened.",
    )
    def placebo(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Placebos of one feed in months."""

        def rows_of(part: Slice, month: date) -> tuple[pl.DataFrame, dict[str, object]]:
            people = population(warehouse, feed, part, month).mature
            matches = stored_matches(warehouse, people, part.month(month))
            rows = placebo_rows(people, matches, settings().causal_controls)
            return rows, dict(rows.select("placebo", "share_significant").rows())

        return replace_months(context, warehouse, PLACEBO, feed.name, rows_of)

    claims = [Property("counted", "Shares are those of the counts.", MISCOUNTED)]
    return [placebo, slice_checks(claims, PLACEBO, feed.name)]
