"""Risk costs: what the calls expected in the 7 days after a day would cost, cell by cell.

A price is a prior times what is expected; which prices are assumptions stands in `priors.toml`.
"""

from datetime import timedelta

import dagster as dg
import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Floats, Ints
from city311_assets.partitions import AFTER_MONTHS, BY_CHUNK, DAYS, Slice, note_days
from city311_assets.risk.histories import matching_kinds
from city311_assets.risk.methods.costs import (
    MAJOR_FROM_HOURS,
    MODERATE_FROM_HOURS,
    calls_per_cluster,
    cost_grid,
    priced,
    severity_shares,
)
from city311_assets.risk.methods.priors import Priors, read_priors
from city311_assets.risk.targets.target import Target
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import COSTS, SCORES
from city311_assets.warehouse.tables.silver import REQUESTS

SEED = 311
# Severities are told from a year of calls, so long ago that each was watched for as long as the
# mildest major one is open: a later closing changes nothing that was known.
SEVERITY_DAYS = 365
SEVERITY_LAG_DAYS = int(MAJOR_FROM_HOURS // 24) + 1
# Adding up four parts rounds.
ROUNDING = 1e-9

NEWEST_SCORES = f"""
    select day, cell, p_event_7d, expected_events_7d, model_version from {SCORES}
    where {SCORES.where} and is_newest order by day, cell
"""
KINDS = f"""
    select distinct kind from {REQUESTS}
    where feed = $feed and day >= $start and day < $end and kind is not null
"""
DURATIONS = f"""
    select day,
        count(*) filter (hours_to_close < $moderate_from) as minor,
        count(*) filter (hours_to_close >= $moderate_from and hours_to_close < $major_from)
            as moderate,
        count(*) filter (hours_to_close >= $major_from or hours_to_close is null) as major
    from {REQUESTS}
    where feed = $feed and day >= $start and day < $end and list_contains($kinds, kind)
        and cell is not null and not is_administrative and (hours_to_close is not null
            or (hours_to_close_reason = 'open'
                and observed_until >= opened_at_utc + to_hours($major_from::integer)))
    group by day order by day
"""
PARTS_DO_NOT_ADD_UP = f"""
    select day, cell::varchar as kind from {COSTS} where {COSTS.where} and not (
        abs(water_usd + energy_usd + repair_usd + response_usd - expected_cost_usd_7d)
            <= $rounding * greatest(expected_cost_usd_7d, 1)
        and least(water_usd, energy_usd, repair_usd, response_usd) >= 0)
"""
OUT_OF_ORDER = f"""
    select day, cell::varchar as kind from {COSTS}
    where {COSTS.where} and not (0 <= p50_cost and p50_cost <= p90_cost and isfinite(p90_cost))
"""
NOT_PRICED = f"""
    select day, cell::varchar as kind from (
        select day, cell, model_version from {SCORES} where {SCORES.where} and is_newest
    ) as s
    full join (select day, cell, model_version from {COSTS} where {COSTS.where}) as c
        using (day, cell, model_version)
    where s.day is null or c.day is null
"""


def severities(warehouse: Warehouse, target: Target, part: Slice) -> Ints:
    """Return how many calls were minor, moderate and major before each day of a slice, (days, 3).

    Of the `SEVERITY_DAYS` days that end `SEVERITY_LAG_DAYS` before the day; each call by how long
    it took to be closed, or had been open by then.
    """
    first = part.start - timedelta(days=SEVERITY_DAYS - 1 + SEVERITY_LAG_DAYS)
    window: dict[str, object] = {
        "feed": target.feed.name,
        "start": first,
        "end": part.end - timedelta(days=SEVERITY_LAG_DAYS),
        "moderate_from": MODERATE_FROM_HOURS,
        "major_from": MAJOR_FROM_HOURS,
    }
    kinds = sorted(matching_kinds(target, warehouse.read(KINDS, window, [REQUESTS])["kind"]))
    days = (part.end - part.start).days
    counts = np.zeros((SEVERITY_DAYS + days, 3), np.int64)
    if kinds:
        found = warehouse.read(DURATIONS, window | {"kinds": kinds})
        # The first row stays 0: sums of the days before none.
        at = 1 + (found["day"] - first).dt.total_days().to_numpy()
        counts[at] = found.select("minor", "moderate", "major").to_numpy()
    before = np.cumsum(counts, axis=0)
    return before[SEVERITY_DAYS:] - before[:days]


def cost_rows(target: Target, scores: pl.DataFrame, shares: Floats, priors: Priors) -> pl.DataFrame:
    """Return costs in the table's columns.

    Parameters
    ----------
    scores
        The newest of each cell and day: `day, cell, p_event_7d, expected_events_7d,
        model_version`.
    shares
        (days, 3) shares of the severities on each of the days in `scores`, in order.
    priors
        Where the prices are from.
    """
    by_day = scores.sort("day", "cell").partition_by("day", maintain_order=True)
    if len(by_day) != len(shares):
        raise ValueError(f"{len(shares)} days of shares for {len(by_day)} days of scores")
    rows = [_of_day(scores.clear(), shares=np.array([1.0, 0.0, 0.0]), priors=priors)]
    rows += [
        _of_day(of_day, shares=own, priors=priors)
        for of_day, own in zip(by_day, shares, strict=True)
    ]
    return (
        pl.concat(rows)
        .with_columns(
            pl.lit(target.name).alias("target"),
            pl.lit(priors.version).alias("priors_version"),
            pl.lit(SEED, pl.Int64).alias("seed"),
        )
        .select(COSTS.names)
    )


def _of_day(scores: pl.DataFrame, shares: Floats, priors: Priors) -> pl.DataFrame:
    """Return the costs of one day's scores."""
    expected = scores["expected_events_7d"].to_numpy()
    together = calls_per_cluster(scores["p_event_7d"].to_numpy(), expected)
    found = priced(cost_grid(priors, shares, SEED, together), expected)
    return scores.select("day", "cell", "model_version").with_columns(
        pl.Series("expected_cost_usd_7d", found.expected),
        pl.Series("p50_cost", found.p50),
        pl.Series("p90_cost", found.p90),
        pl.Series("water_usd", found.water),
        pl.Series("energy_usd", found.energy),
        pl.Series("repair_usd", found.repair),
        pl.Series("response_usd", found.response),
    )


def shares_of_days(
    warehouse: Warehouse, target: Target, part: Slice, days: pl.Series, priors: Priors
) -> Floats:
    """Return the shares of the severities on some days of a slice, (days, 3)."""
    if not len(days):
        return np.zeros((0, 3))
    at = (days - part.start).dt.total_days().to_numpy()
    return severity_shares(severities(warehouse, target, part)[at], priors)


def write(
    warehouse: Warehouse, target: Target, part: Slice, priors: Priors
) -> tuple[pl.DataFrame, Floats]:
    """Price a slice of scores; return the rows written and the severities' shares by day."""
    scores = warehouse.read(NEWEST_SCORES, part, [SCORES])
    if not target.is_priced:
        scores = scores.clear()
    days = scores["day"].unique().sort()
    shares = shares_of_days(warehouse, target, part, days, priors)
    rows = cost_rows(target, scores, shares, priors)
    warehouse.replace(COSTS, rows, part)
    return rows, shares


def claims(target: Target) -> list[Property]:
    """Return what must hold of a target's costs."""
    whole = Property(
        "every_score_is_priced",
        "Every cell and day has a cost, by the model version of its newest score, and no others.",
        NOT_PRICED,
    )
    return [
        Property(
            "parts_add_up",
            "Water, energy, repair and response are not negative and add up to the expected cost.",
            PARTS_DO_NOT_ADD_UP,
        ),
        Property(
            "quantiles_are_in_order",
            "The median is not negative, and not above the 90 % quantile.",
            OUT_OF_ORDER,
        ),
        *([whole] if target.is_priced else []),
    ]


def costs(target: Target) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one target's costs, and what must hold of them."""
    key = COSTS.key(target.name)
    not_priced = "" if target.is_priced else " No prior is about these calls, so there are none."

    @dg.asset(
        key=key,
        deps=[SCORES.key(target.name)],
        partitions_def=DAYS,
        tags={AFTER_MONTHS: ""},
        backfill_policy=BY_CHUNK,
        metadata=COSTS.metadata | {"is_priced": target.is_priced},
        kinds={"duckdb", "numpy"},
        description=f"{target.title}: expected cost of the 7 days after a day in each cell, its "
        f"median and 90 % quantile, and its parts, by priors of which some are assumptions."
        f"{not_priced}",
    )
    def costs(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Costs of one target's cells on city-local days."""
        part = Slice.of(context, target.name, "target")
        priors = read_priors(settings().risk_priors)
        rows, shares = write(warehouse, target, part, priors)
        figures = rows.group_by("day").agg(
            pl.len().alias("rows"), pl.col("expected_cost_usd_7d").sum().alias("expected_cost_usd")
        )
        note_days(context, key, figures, part)
        minor, moderate, major = shares.mean(axis=0).tolist() if len(shares) else (None,) * 3
        return dg.MaterializeResult(
            metadata={
                "is_priced": target.is_priced,
                "priors_version": priors.version,
                "priors_from": str(settings().risk_priors or "the package"),
                "assumptions": sum(prior.kind == "assumption" for prior in priors.entries),
                "range_severity_shares": dg.MetadataValue.json(
                    {"minor": minor, "moderate": moderate, "major": major}
                ),
            }
        )

    params = {"rounding": ROUNDING}
    return [costs, slice_checks(claims(target), COSTS, target.name, [SCORES], params)]
