"""Risk recommendations: on which adjacent cells an action pays, and which fit into a day's work."""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import dagster as dg
import h3.api.basic_int as h3
import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Cells, Floats
from city311_assets.partitions import AFTER_MONTHS, BY_CHUNK, DAYS, Slice, note_days
from city311_assets.risk.costs import SEED, shares_of_days
from city311_assets.risk.methods.priors import Priors, read_priors
from city311_assets.risk.targets.target import Target
from city311_assets.risk.ward_coverage import KNOWN, UNKNOWN, ward_shares, wards
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import (
    CELL_DAYS,
    COSTS,
    RECOMMENDATIONS,
    SCORES,
)

if TYPE_CHECKING:
    from scipy import sparse

    from city311_assets.risk.methods.recommendations import Recommendation

ROUNDING = 1e-6
SCHEMA = {
    "target": pl.String,
    "day": pl.Date,
    "recommendation_id": pl.String,
    "rank": pl.Int32,
    "is_chosen": pl.Boolean,
    "action": pl.String,
    "parameters": pl.String,
    "cells": pl.List(pl.UInt64),
    "expected_saving_usd": pl.Float64,
    "saving_low": pl.Float64,
    "saving_high": pl.Float64,
    "action_cost_usd": pl.Float64,
    "net_benefit_usd": pl.Float64,
    "crew_hours": pl.Float64,
    "expected_events_7d": pl.Float64,
    "why": pl.String,
    "equity_note": pl.String,
    "geometry": pl.String,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
    "model_version": pl.String,
    "priors_version": pl.String,
}

PRICED = f"""
    select day, cell, s.expected_events_7d, c.expected_cost_usd_7d, model_version,
        s.drivers[1].words as words
    from (select * from {SCORES} where {SCORES.where} and is_newest) as s
    join (select * from {COSTS} where {COSTS.where}) as c using (day, cell, model_version)
    order by day, cell
"""
NOT_PRICED = f"""
    select distinct day from {SCORES} anti join (
        select distinct day, model_version from {COSTS} where {COSTS.where}
    ) using (day, model_version)
    where {SCORES.where} and is_newest order by day
"""
OF_THE_DAY = f"""
    select recommendation_id, cells from {RECOMMENDATIONS}
    where target = $target and day = $day order by rank
"""
DOES_NOT_PAY = f"""
    select day, recommendation_id as kind from {RECOMMENDATIONS} where {RECOMMENDATIONS.where}
        and not (net_benefit_usd > 0
            and abs(expected_saving_usd - action_cost_usd - net_benefit_usd) <= $rounding
            and saving_low <= expected_saving_usd and expected_saving_usd <= saving_high)
"""
TOO_MANY_HOURS = f"""
    select day from {RECOMMENDATIONS} where {RECOMMENDATIONS.where} and is_chosen
    group by day having sum(crew_hours) > $crew_hours + $rounding
"""
TWICE = f"""
    select day, cell::varchar as kind from (
        select day, unnest(cells) as cell from {RECOMMENDATIONS} where {RECOMMENDATIONS.where}
    ) group by all having count(*) > 1
"""
RANKED_WRONGLY = f"""
    select day, recommendation_id as kind from {RECOMMENDATIONS} where {RECOMMENDATIONS.where}
    qualify rank <> row_number() over (partition by day order by rank)
        or net_benefit_usd > lag(net_benefit_usd) over (partition by day order by rank)
"""


@dataclass(frozen=True, eq=False)
class Known:
    """What recommendations of a slice stand on.

    `priced` has `day, cell, expected_events_7d, expected_cost_usd_7d, model_version, words` (of
    the first driver); `shares` (days, 3) the severities' on its days; `ward_of` `cell, ward`;
    `wards` what `ward_shares` returns; `previous` the names and cells of the day `before` it.
    """

    priced: pl.DataFrame
    shares: Floats
    ward_of: pl.DataFrame
    wards: pl.DataFrame
    before: date
    previous: list[tuple[str, Cells]]

    @classmethod
    def of(cls, warehouse: Warehouse, target: Target, part: Slice, priors: Priors) -> "Known":
        """Read what a slice stands on."""
        priced = warehouse.read(PRICED, part, [SCORES, COSTS])
        shares = shares_of_days(warehouse, target, part, priced["day"].unique().sort(), priors)
        ward_of = wards(warehouse, target, part)
        known = warehouse.read(KNOWN, part, [SCORES, CELL_DAYS])
        of_wards = ward_shares(known.with_columns(pl.lit(0).alias("chosen")), ward_of)
        before = part.start - timedelta(days=1)
        stored = warehouse.read(
            OF_THE_DAY, {"target": target.name, "day": before}, [RECOMMENDATIONS]
        )
        previous = [(name, np.array(cells, np.uint64)) for name, cells in stored.iter_rows()]
        return cls(priced, shares, ward_of, of_wards, before, previous)


def recommendation_rows(
    target: Target, known: Known, priors: Priors, crew_hours: float
) -> pl.DataFrame:
    """Return recommendations in the table's columns, day after day: a name lives on."""
    from city311_assets.risk.methods.recommendations import kept_ids

    rows = [pl.DataFrame(schema=SCHEMA)]
    previous, latest = known.previous, known.before
    by_day = known.priced.partition_by("day", maintain_order=True)
    for of_day, shares in zip(by_day, known.shares, strict=True):
        day: date = of_day["day"][0]
        if day != latest + timedelta(days=1):
            previous = []
        wards = known.wards.filter(pl.col("day") == day)
        listed = _listed(of_day, shares, priors, crew_hours)
        found = _described(of_day, listed, known.ward_of, wards)
        clusters = [cells.to_numpy() for cells in found["cells"]]
        ids = kept_ids(clusters, previous, target.name, day)
        named = found.with_columns(
            pl.lit(target.name).alias("target"),
            pl.Series("recommendation_id", ids, pl.String),
            pl.lit(priors.version).alias("priors_version"),
        )
        rows.append(named.select(RECOMMENDATIONS.names))
        previous, latest = list(zip(ids, clusters, strict=True)), day
    return pl.concat(rows)


@lru_cache(maxsize=4)
def _adjacency(cells: bytes) -> "sparse.csr_array":
    """Return which of some cells touch, as a sparse matrix."""
    from city311_assets.gold.methods.grid import Grid

    return Grid.of(np.frombuffer(cells, np.uint64)).disk


@lru_cache(maxsize=4)
def _areas_km2(cells: bytes) -> Floats:
    """Return the area of each cell, square kilometres."""
    return np.array([h3.cell_area(cell) for cell in np.frombuffer(cells, np.uint64).tolist()])


def _listed(
    priced: pl.DataFrame, shares: Floats, priors: Priors, crew_hours: float
) -> "list[Recommendation]":
    """Return what is recommended on one day."""
    from city311_assets.risk.methods.recommendations import actions, recommendations

    adjacency = _adjacency(priced["cell"].to_numpy().tobytes())
    calls = priced["expected_events_7d"].to_numpy()
    return recommendations(calls, adjacency, actions(priors, shares, SEED), crew_hours)


def _described(
    priced: pl.DataFrame,
    listed: "list[Recommendation]",
    ward_of: pl.DataFrame,
    wards: pl.DataFrame,
) -> pl.DataFrame:
    """Return one day's recommendations in the table's columns, but for those of the whole slice."""
    from city311_assets.risk.methods.recommendations import outlines, parameters

    cells, areas_km2 = priced["cell"].to_numpy(), _areas_km2(priced["cell"].to_numpy().tobytes())
    calls, costs = (priced[name].to_numpy() for name in _SUMMED)
    words = priced["words"].to_list()
    mean = float(calls.mean())
    rows = []
    for rank, one in enumerate(listed, start=1):
        own, busiest = one.members, one.members[calls[one.members].argmax()]
        rows.append(
            {
                "rank": rank,
                "is_chosen": one.is_chosen,
                "action": one.action.name,
                "parameters": parameters(one, float(areas_km2[own].sum())),
                "cells": cells[own].tolist(),
                "expected_saving_usd": one.action.saving_usd * one.calls,
                "saving_low": one.action.saving_low * one.calls,
                "saving_high": one.action.saving_high * one.calls,
                "action_cost_usd": one.cost_usd,
                "net_benefit_usd": one.net_usd,
                "crew_hours": one.hours,
                "expected_events_7d": one.calls,
                "why": _why(calls[own], costs[own], words[busiest], mean),
            }
        )
    found = pl.DataFrame(rows, schema={name: SCHEMA[name] for name in _COMPUTED})
    return found.with_columns(
        pl.lit(priced["day"][0], pl.Date).alias("day"),
        pl.lit(priced["model_version"][0]).alias("model_version"),
        _equity_notes(found["cells"], ward_of, wards),
        *outlines([cells[one.members] for one in listed]).get_columns(),
    )


_COMPUTED = (
    *("rank", "is_chosen", "action", "parameters", "cells", "expected_saving_usd", "saving_low"),
    *("saving_high", "action_cost_usd", "net_benefit_usd", "crew_hours", "expected_events_7d"),
    "why",
)


def _why(calls: Floats, costs: Floats, words: str | None, city_mean: float) -> str:
    """Return why here: what is expected, beside the city's mean, and what moved it most."""
    where = "In this cell" if len(calls) == 1 else f"In these {len(calls)} adjacent cells"
    said = (
        f"{where} {calls.sum():.1f} calls are expected in 7 days, "
        f"{calls.mean() / city_mean:.1f} times the city's mean a cell, "
        f"at an expected cost of ${costs.sum():,.0f}"
    )
    place = "" if len(calls) == 1 else "in the cell with most of them: "
    return f"{said}; {place}{words}." if words else f"{said}."


_SUMMED = ("expected_events_7d", "expected_cost_usd_7d")


def _equity_notes(cells: pl.Series, ward_of: pl.DataFrame, wards: pl.DataFrame) -> pl.Series:
    """Return in which ward each cluster lies, and how much that ward calls for its size."""
    members = pl.DataFrame({"at": np.arange(len(cells)), "cell": cells}).explode("cell")
    main = (
        members.join(ward_of, on="cell", how="left")
        .group_by("at", pl.col("ward").fill_null(UNKNOWN))
        .len()
        .sort("at", "len", "ward", descending=[False, True, False])
        .group_by("at", maintain_order=True)
        .agg(pl.col("ward").first(), (pl.col("len").len() > 1).alias("is_mixed"))
        .join(wards, on="ward", how="left", maintain_order="left")
    )
    notes = [
        f"{'Mostly in' if row['is_mixed'] else 'In'} ward {row['ward']}, which has "
        f"{row['share_of_calls']:.1%} of the city's calls of a year on "
        f"{row['share_of_cells']:.1%} of its cells, and {row['share_of_all_calls']:.1%} of "
        "requests of every kind."
        for row in main.iter_rows(named=True)
    ]
    return pl.Series("equity_note", notes, pl.String)


def write(
    warehouse: Warehouse, target: Target, part: Slice, priors: Priors, crew_hours: float
) -> pl.DataFrame:
    """Make a slice of recommendations; return the rows written.

    Raises
    ------
    ValueError
        Days have newer scores than costs: an empty list would say that nothing pays.
    """
    unpriced = warehouse.read(NOT_PRICED, part, [SCORES, COSTS])["day"].to_list()
    if target.is_priced and unpriced:
        raise ValueError(
            f"{len(unpriced)} days of {target.name} have scores without costs of their version, "
            f"the first is {unpriced[0]}; materialize risk/costs/{target.name} of them first"
        )
    known = Known.of(warehouse, target, part, priors)
    rows = recommendation_rows(target, known, priors, crew_hours)
    warehouse.replace(RECOMMENDATIONS, rows, part)
    return rows


def claims() -> list[Property]:
    """Return what must hold of recommendations."""
    return [
        Property(
            "every_one_pays",
            "The net benefit is the saving less the cost and above 0; the saving lies in its "
            "interval.",
            DOES_NOT_PAY,
        ),
        Property(
            "chosen_fit_the_day",
            "Those chosen take no more crew hours than the settings give a day.",
            TOO_MANY_HOURS,
        ),
        Property("no_cell_twice", "No cell is in two recommendations of a day.", TWICE),
        Property(
            "ranked_by_net_benefit",
            "Ranks count from 1, and the net benefit falls with them.",
            RANKED_WRONGLY,
        ),
    ]


def recommendations(target: Target) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one target's recommendations, and what must hold of them."""
    key = RECOMMENDATIONS.key(target.name)

    @dg.asset(
        key=key,
        deps=[SCORES.key(target.name), COSTS.key(target.name)],
        partitions_def=DAYS,
        tags={AFTER_MONTHS: ""},
        backfill_policy=BY_CHUNK,
        metadata=RECOMMENDATIONS.metadata | {"is_priced": target.is_priced},
        kinds={"duckdb", "scipy"},
        description=f"{target.title}: clusters of adjacent cells where an action saves more than "
        "it costs, by priors of which some are assumptions, and the set that nets most within a "
        "day's crew hours.",
    )
    def recommendations(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Recommendations for one target's cells on city-local days."""
        part = Slice.of(context, target.name, "target")
        priors = read_priors(settings().risk_priors)
        rows = write(warehouse, target, part, priors, settings().risk_crew_hours)
        chosen = pl.col("is_chosen")
        figures = rows.group_by("day").agg(
            pl.len().alias("rows"),
            chosen.sum().alias("chosen"),
            pl.col("crew_hours").filter(chosen).sum(),
            pl.col("net_benefit_usd").filter(chosen).sum(),
        )
        note_days(context, key, figures, part)
        return dg.MaterializeResult(
            metadata={
                "is_priced": target.is_priced,
                "priors_version": priors.version,
                "crew_hours_a_day": settings().risk_crew_hours,
                "range_chosen": int(rows["is_chosen"].sum()),
            }
        )

    params = {"rounding": ROUNDING, "crew_hours": settings().risk_crew_hours}
    return [
        recommendations,
        slice_checks(claims(), RECOMMENDATIONS, target.name, params=params),
    ]
