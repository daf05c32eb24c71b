"""Effects: how many hours longer a neighbourhood's cases took than like cases elsewhere.

An adjusted disparity: a neighbourhood is not a treatment that anyone assigns. The headline is the
bias-corrected estimate on mature cases; the other estimators stand beside it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg
import numpy as np
import polars as pl

from city311_assets.causal.balance import PROPENSITY
from city311_assets.causal.populations import (
    SEED,
    Population,
    limit_hours,
    population,
    stored_matches,
)
from city311_assets.causal.windows import metadata
from city311_assets.feeds.feed import Feed
from city311_assets.gold.methods.arrays import Floats
from city311_assets.gold.slices import Held
from city311_assets.partitions import BY_YEAR, MONTHS, Slice
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.months import replace_months, schema_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.causal import ATT, BALANCE, MATCHED_PAIRS

if TYPE_CHECKING:
    from city311_assets.causal.methods.disparities import Units
    from city311_assets.causal.methods.estimators import Effect
    from city311_assets.causal.methods.matching import Matches

# Neighbourhood, its mean hours, the effect, k, whether it is the headline, whether contradicted.
Found: TypeAlias = "tuple[str, float | None, Effect, int, bool, bool | None]"

RANDOMIZATIONS = 10_000
HEADLINE = "bias_corrected"
NONE_MATURE = "no mature case"
# As the system that this replaces did it.
NAIVE_CONTROLS = 3
NUMBERS = ("se", "low", "high", "p")

TEXT_BALANCE = f"""
    select neighborhood, smd_after from {BALANCE}
    where {BALANCE.where} and covariate = '{PROPENSITY}'
"""
NEITHER_NUMBER_NOR_REASON = f"""
    select month, neighborhood as kind from {ATT} where {ATT.where} and (
        (se is null) <> (reason is not null) or (se is null) <> (low is null)
        or (se is null) <> (p is null) or (q is null) <> (p is null)
        or low > att_hours or high < att_hours)
"""
TOO_FEW_OR_TOO_FAR = f"""
    select month, neighborhood as kind from {ATT} where {ATT.where} and is_headline
        and se is not null and (n_matched < 30 or share_on_support < 0.5)
"""
OUT_OF_BALANCE = f"""
    select month, neighborhood as kind from {ATT} join (
        select month, neighborhood, smd_after from {BALANCE}
        where {BALANCE.where} and covariate = '{PROPENSITY}'
    ) using (month, neighborhood)
    where {ATT.where} and is_headline and se is not null
        and abs(smd_after) > greatest(0.25, 2 * sqrt(1 / n_matched + 1 / effective_controls))
"""
TWO_HEADLINES = f"""
    select month, neighborhood as kind from {ATT} where {ATT.where}
    group by month, neighborhood having count(*) filter (is_headline) <> 1
"""


def effect_rows(
    everyone: Population,
    pairs: "Matches",
    text_balance: pl.DataFrame,
    k: int,
    draws: int = RANDOMIZATIONS,
) -> pl.DataFrame:
    """Return a row for each neighbourhood, estimator and number of controls.

    `pairs` are the pairs of the mature cases; `text_balance` has `neighborhood, smd_after`
    of the text's propensity.
    """
    from city311_assets.causal.methods.disparities import (
        K_CHOICES,
        SameSide,
        corrected_effects,
        doubly_robust_effects,
        is_contradicted,
        matched_effects,
        untrusted,
        withheld,
    )

    people = everyone.mature
    young = sorted({*everyone.neighborhoods} - {*people.neighborhoods})
    without = [(name, None, none_mature(), k, True, None) for name in young]
    if not people.size:
        return _rows(without)
    units = units_of(people)
    same_side = SameSide(units)
    smd = dict(text_balance.select("neighborhood", "smd_after").rows())
    cross_checks = dict(doubly_robust_effects(units, SEED))
    found = []
    for choice in sorted({k, *K_CHOICES}):
        corrected = corrected_effects(
            units,
            pairs,
            choice,
            same_side=same_side,
            draws=draws if choice == k else 0,
            seed=SEED,
        )
        for group, effect in corrected.items():
            is_headline = choice == k
            why = untrusted(effect, smd.get(people.neighborhoods[group]) or 0.0)
            kept = withheld(effect, why) if is_headline and why and effect.se else effect
            disagrees = is_contradicted(kept, cross_checks[group]) if is_headline else None
            found.append((group, kept, choice, is_headline, disagrees))
        plain = matched_effects(units, pairs, choice, same_side=same_side)
        found += [(group, effect, choice, False, None) for group, effect in plain.items()]
    found += [(group, effect, 0, False, None) for group, effect in cross_checks.items()]
    count = np.bincount(people.groups)
    mean_hours = np.bincount(people.groups, people.restricted_hours) / count
    named = [
        (people.neighborhoods[group], float(mean_hours[group]), *rest) for group, *rest in found
    ]
    named += [
        (everyone.neighborhoods[group], None, effect, k, False, None)
        for group, effect in _of_all_cases(everyone, k)
    ]
    named += [
        (everyone.neighborhoods[group], None, effect, NAIVE_CONTROLS, False, None)
        for group, effect in _naive(everyone)
    ]
    return _rows(named + without)


def none_mature() -> "Effect":
    """Return the effect of a neighbourhood all of whose cases were opened too lately."""
    from city311_assets.causal.methods.estimators import Effect

    return Effect(
        estimator=HEADLINE,
        estimate=None,
        se=None,
        low=None,
        high=None,
        p=None,
        p_randomization=None,
        n_treated=0,
        n_matched=0,
        n_controls_used=0,
        effective_controls=0.0,
        share_on_support=0.0,
        mean_similarity=None,
        reason=NONE_MATURE,
    )


def units_of(people: Population, outcome: Floats | None = None) -> "Units":
    """Return the arrays of a population: its restricted hours, or another outcome."""
    from city311_assets.causal.methods.disparities import Units

    return Units(
        people.restricted_hours if outcome is None else outcome,
        people.groups,
        people.vectors,
        people.strata,
        people.opening_day,
        people.adjustment,
    )


def _naive(everyone: Population) -> Iterator[tuple[int, "Effect"]]:
    """Yield the estimates as once published: closed cases, no caliper, the paired bootstrap."""
    from city311_assets.causal.methods.disparities import naive_effects
    from city311_assets.causal.methods.matching import match_in_strata

    closed = everyone.chosen(everyone.cases["is_closed"].to_numpy())
    if not closed.size:
        return
    pairs = match_in_strata(
        closed.vectors, closed.strata, closed.groups, NAIVE_CONTROLS, nearness=closed.opening_day
    )
    hours = closed.cases["hours"].to_numpy()
    for name, outcome in (
        ("naive", hours),
        ("naive_restricted", np.minimum(hours, limit_hours())),
    ):
        for group, effect in naive_effects(
            outcome, closed.groups, pairs, NAIVE_CONTROLS, SEED
        ).items():
            # Numbered among those that closed any.
            own = everyone.neighborhoods.index(closed.neighborhoods[group])
            yield own, replace(effect, estimator=name)


def _of_all_cases(everyone: Population, k: int) -> Iterator[tuple[int, "Effect"]]:
    """Yield the estimates of all cases, open ones through pseudo-observations by neighbourhood."""
    from city311_assets.causal.methods.disparities import SameSide, corrected_effects
    from city311_assets.causal.methods.matching import match_in_strata, similarity_floors
    from city311_assets.causal.methods.outcomes import pseudo_observations

    cases = everyone.cases
    time = pl.select(
        pl.when(cases["hours"].is_nan()).then(cases["open_hours"]).otherwise(cases["hours"])
    ).to_series()
    outcome = pseudo_observations(
        time.to_numpy(), cases["is_closed"].to_numpy(), everyone.groups, limit_hours()
    )
    is_told = np.isfinite(outcome)
    told, outcome = everyone.chosen(is_told), outcome[is_told]
    if not told.size:
        return
    units = units_of(told, outcome)
    pairs = match_in_strata(
        told.vectors, told.strata, told.groups, k, nearness=told.opening_day
    ).above(similarity_floors(told.vectors, told.strata, settings().causal_caliper, SEED))
    for group, effect in corrected_effects(
        units, pairs, k, same_side=SameSide(units), seed=SEED
    ).items():
        # Numbered among those whose curve is known.
        own = everyone.neighborhoods.index(told.neighborhoods[group])
        yield own, replace(effect, estimator="all_cases")


def _rows(found: Iterable[Found]) -> pl.DataFrame:
    from scipy.stats import false_discovery_control

    schema = schema_of(ATT, "embedding_model", "is_provisional")
    rows = []
    for name, mean_hours, effect, k, is_headline, disagrees in found:
        told = asdict(effect)
        told["att_hours"] = told.pop("estimate")
        if not told["n_matched"]:
            told["effective_controls"] = None
        rows.append(
            told
            | {
                "neighborhood": name,
                "k": k,
                "is_headline": is_headline,
                "mean_restricted_hours": mean_hours,
                "is_contradicted": disagrees,
                "q": None,
            }
        )
    frame = pl.DataFrame(rows, schema=schema)

    def adjusted(group: pl.DataFrame) -> pl.DataFrame:
        is_tested = group["p"].is_not_null()
        q = np.full(group.height, np.nan)
        if is_tested.any():
            q[is_tested.to_numpy()] = false_discovery_control(group["p"].drop_nulls().to_numpy())
        return group.with_columns(pl.Series("q", q).fill_nan(None))

    parts = [adjusted(part) for _, part in frame.group_by("estimator", "k", maintain_order=True)]
    return pl.concat(parts) if parts else frame


def att(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's effects, and what must hold of them."""

    @dg.asset(
        key=ATT.key(feed.name),
        deps=[MATCHED_PAIRS.key(feed.name), BALANCE.key(feed.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=metadata(ATT),
        kinds={"duckdb", "scikitlearn"},
        description=f"How many hours longer the cases of each neighbourhood of {feed.title} took "
        "than like cases elsewhere: an adjusted disparity with its interval, or the reason that "
        "there is none.",
    )
    def att(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Effects of one feed in months."""

        def rows_of(part: Slice, month: date) -> tuple[pl.DataFrame, dict[str, object]]:
            of_month = part.month(month)
            everyone = population(warehouse, feed, part, month)
            matches = stored_matches(warehouse, everyone.mature, of_month)
            text_balance = warehouse.read(TEXT_BALANCE, of_month, [BALANCE])
            held = Held.of(warehouse, feed, of_month)
            rows = effect_rows(
                everyone, matches, text_balance, settings().causal_controls
            ).with_columns(
                pl.lit(everyone.model).alias("embedding_model"),
                pl.lit(held.is_provisional_until(of_month.end)).alias("is_provisional"),
            )
            headline = rows.filter("is_headline")
            return rows, {
                "neighborhoods": headline.height,
                "with_interval": headline["se"].drop_nulls().len(),
                "q_below_0.05": headline.filter(pl.col("q") < 0.05).height,
                "reasons": dict(
                    headline["reason"].drop_nulls().value_counts().sort("reason").rows()
                ),
            }

        return replace_months(context, warehouse, ATT, feed.name, rows_of)

    claims = [
        Property(
            "a_number_or_a_reason",
            "An effect has an interval, p and q that agree, or the reason that it has none.",
            NEITHER_NUMBER_NOR_REASON,
        ),
        Property("one_headline", "A neighbourhood has one row to quote.", TWO_HEADLINES),
        Property(
            "enough_cases",
            "An interval stands on 30 matched cases and half of those asked about.",
            TOO_FEW_OR_TOO_FAR,
        ),
        Property(
            "in_balance",
            "An interval stands on cases whose texts do not tell the neighbourhood from its "
            "controls.",
            OUT_OF_BALANCE,
        ),
    ]
    return [att, slice_checks(claims, ATT, feed.name, [BALANCE])]
