"""Balance: how far a neighbourhood's cases are from those they are compared with, covariate by
covariate, before matching and after.
"""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import polars as pl

from city311_assets.causal.populations import (
    COMPONENTS,
    OBSERVABLES,
    SEED,
    Population,
    population,
    stored_matches,
)
from city311_assets.causal.windows import metadata
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import BY_YEAR, MONTHS, Slice
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.months import replace_months, schema_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.causal import BALANCE, MATCHED_PAIRS

if TYPE_CHECKING:
    from city311_assets.causal.methods.matching import Matches

PROPENSITY = "propensity"
COVARIATES = (*(f"text_{number + 1}" for number in range(COMPONENTS)), *OBSERVABLES, PROPENSITY)
# A propensity takes folds; and of one neighbourhood there is none.
FEWEST_GROUPS = 2
WITHOUT_MATCH = f"""
    select month, neighborhood as kind from {BALANCE} where {BALANCE.where}
        and (smd_after is not null and mean_matched is null)
"""
MISSING = f"""
    select month, neighborhood as kind from {BALANCE} where {BALANCE.where}
    group by month, neighborhood having count(*) <> {len(COVARIATES)}
"""


def balance_rows(people: Population, matches: "Matches", k: int) -> pl.DataFrame:
    """Return a row for each neighbourhood and covariate."""
    from city311_assets.causal.methods.balance import balance, text_propensity
    from city311_assets.causal.methods.disparities import controls_of

    if len(people.neighborhoods) < FEWEST_GROUPS:
        return pl.DataFrame(schema=schema_of(BALANCE))
    propensity = text_propensity(people.vectors, people.groups, seed=SEED)
    used = matches.nearest(k)
    rows = []
    for group, name in enumerate(people.neighborhoods):
        is_own = people.groups == group
        is_control = controls_of(people.groups, people.strata, group)
        covariates = np.column_stack([people.adjustment, propensity[:, group]])
        own = used.of(is_own)
        weights, _ = own.control_weights(people.size)
        matched = own.matched
        found = (
            balance(covariates, is_own, own, is_control=is_control) if is_control.any() else None
        )
        for column, covariate in enumerate(COVARIATES):
            values = covariates[:, column]
            rows.append(
                {
                    "neighborhood": name,
                    "covariate": covariate,
                    "mean_treated": values[matched].mean() if len(matched) else None,
                    "mean_controls": values[is_control].mean() if is_control.any() else None,
                    "mean_matched": np.average(values, weights=weights) if len(matched) else None,
                    "smd_before": found.smd_before[column] if found else None,
                    "smd_after": found.smd_after[column] if found else None,
                    "variance_ratio_before": found.variance_ratio_before[column] if found else None,
                    "variance_ratio_after": found.variance_ratio_after[column] if found else None,
                }
            )
    found = pl.DataFrame(rows, schema=schema_of(BALANCE))
    return found.with_columns(pl.selectors.float().fill_nan(None))


def balance(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's balance, and what must hold of it."""

    @dg.asset(
        key=BALANCE.key(feed.name),
        deps=[MATCHED_PAIRS.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=metadata(BALANCE),
        kinds={"duckdb", "scikitlearn"},
        description=f"How alike the compared cases of {feed.title} are, by neighbourhood: "
        "standardized mean differences and variance ratios of what the text says, when and how a "
        "case was filed, before matching and after.",
    )
    def balance(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Balance of one feed in months."""

        def rows_of(part: Slice, month: date) -> tuple[pl.DataFrame, dict[str, object]]:
            people = population(warehouse, feed, part, month).mature
            matches = stored_matches(warehouse, people, part.month(month))
            rows = balance_rows(people, matches, settings().causal_controls)
            largest = rows["smd_after"].abs().max()
            return rows, {"largest_difference_after": largest}

        return replace_months(context, warehouse, BALANCE, feed.name, rows_of)

    claims = [
        Property("every_covariate", "A neighbourhood has a row for every covariate.", MISSING),
        Property(
            "of_matched_cases",
            "A difference after matching is one of matched cases.",
            WITHOUT_MATCH,
        ),
    ]
    return [balance, slice_checks(claims, BALANCE, feed.name)]
