"""Sensitivity: how strong what nobody measured would have to be, and what other choices give."""

from datetime import date
from itertools import product

import dagster as dg
import numpy as np
import polars as pl

from city311_assets.causal.att import HEADLINE, units_of
from city311_assets.causal.populations import SEED, Population, population
from city311_assets.causal.windows import metadata
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import BY_YEAR, MONTHS, Slice
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.months import replace_months, schema_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.causal import ATT, MATCHED_PAIRS, SENSITIVITY

HEADLINES = f"""
    select neighborhood, att_hours, low, high from {ATT} where {ATT.where} and is_headline
"""
UPSIDE_DOWN = f"""
    select month, neighborhood as kind from {SENSITIVITY} where {SENSITIVITY.where} and (
        lowest_att_hours > highest_att_hours or rosenbaum_gamma < 1 or e_value < 1
        or e_value_of_interval > e_value)
"""
WITHOUT_THE_HEADLINE = f"""
    select month, neighborhood as kind from {SENSITIVITY} join (
        select month, neighborhood, att_hours from {ATT} where {ATT.where} and is_headline
    ) using (month, neighborhood)
    where {SENSITIVITY.where}
        and att_hours not between lowest_att_hours - 1e-6 and highest_att_hours + 1e-6
"""


def sensitivity_rows(
    people: Population, headlines: pl.DataFrame, k: int, share: float
) -> pl.DataFrame:
    """Return a row for each neighbourhood.

    `headlines` has `neighborhood, att_hours, low, high`.
    """
    from city311_assets.causal.methods.disparities import (
        K_CHOICES,
        SameSide,
        controls_of,
        corrected_effects,
    )
    from city311_assets.causal.methods.matching import match_in_strata, similarity_floors
    from city311_assets.causal.methods.sensitivity import (
        e_value,
        match_without_replacement,
        rosenbaum_gamma,
    )

    if not people.size:
        return pl.DataFrame(schema=schema_of(SENSITIVITY))
    units = units_of(people)
    same_side = SameSide(units)
    choices = sorted({k, *K_CHOICES})
    pairs = match_in_strata(
        units.vectors, units.strata, units.groups, max(choices), nearness=units.nearness
    )
    estimates: dict[int, list[float]] = {}
    # Around the caliper: none, the one of the settings, and one half as wide.
    for caliper, choice in product((0.0, share, (1 + share) / 2), choices):
        floors = similarity_floors(units.vectors, units.strata, caliper, SEED)
        for group, effect in corrected_effects(
            units, pairs.above(floors), choice, same_side=same_side
        ).items():
            if effect.estimate is not None:
                estimates.setdefault(group, []).append(effect.estimate)
    floors = similarity_floors(units.vectors, units.strata, share, SEED)
    told = {row["neighborhood"]: row for row in headlines.to_dicts()}
    deviation = float(units.outcome.std(ddof=1)) if people.size > 1 else 0.0
    rows = []
    for group, name in enumerate(people.neighborhoods):
        treated, control = match_without_replacement(
            units.vectors,
            units.strata,
            units.groups == group,
            is_control=controls_of(units.groups, units.strata, group),
            nearness=units.nearness,
            floor=floors,
        )
        own, found = told.get(name, {}), estimates.get(group, [])
        strengths = (None, None)
        if own.get("low") is not None and deviation > 0:
            strengths = e_value(own["att_hours"], own["low"], own["high"], deviation)
        rows.append(
            {
                "neighborhood": name,
                "rosenbaum_gamma": rosenbaum_gamma(units.outcome[treated] - units.outcome[control])
                if len(treated)
                else None,
                "gamma_pairs": len(treated),
                "e_value": strengths[0],
                "e_value_of_interval": strengths[1],
                "lowest_att_hours": min(found, default=None),
                "highest_att_hours": max(found, default=None),
                "choices": len(found),
                "is_sign_stable": bool(np.ptp(np.sign(found)) == 0) if found else None,
            }
        )
    return pl.DataFrame(rows, schema=schema_of(SENSITIVITY))


def sensitivity(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's sensitivity analysis, and what must hold of it."""

    @dg.asset(
        key=SENSITIVITY.key(feed.name),
        deps=[MATCHED_PAIRS.key(feed.name), ATT.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=metadata(SENSITIVITY),
        kinds={"duckdb", "numpy"},
        description=f"How strong a hidden cause would have to be to explain the effects of "
        f"{feed.title} away, and how they move with the number of controls and the caliper.",
    )
    def sensitivity(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Sensitivity of one feed in months."""

        def rows_of(part: Slice, month: date) -> tuple[pl.DataFrame, dict[str, object]]:
            people = population(warehouse, feed, part, month).mature
            headlines = warehouse.read(HEADLINES, part.month(month), [ATT])
            said = settings()
            rows = sensitivity_rows(people, headlines, said.causal_controls, said.causal_caliper)
            return rows, {"estimator": HEADLINE, "signs_stable": int(rows["is_sign_stable"].sum())}

        return replace_months(context, warehouse, SENSITIVITY, feed.name, rows_of)

    claims = [
        Property("in_order", "Ranges and strengths are what they can be.", UPSIDE_DOWN),
        Property(
            "the_headline_is_one_choice",
            "The headline lies in the range of the choices, of which it is one.",
            WITHOUT_THE_HEADLINE,
        ),
    ]
    return [sensitivity, slice_checks(claims, SENSITIVITY, feed.name, [ATT])]
