"""Evaluations: how good each candidate was at blocks of days it knew nothing of, baselines too.

Each origin has fits of its own, on what was known then. What belongs here: the rows that candidates
are fitted and tested on, and their figures by origin. What does not: which candidate may serve.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import dagster as dg
import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Bools, Floats
from city311_assets.partitions import BY_YEAR, MONTHS, Slice
from city311_assets.risk.methods.candidates import (
    Fitted,
    Rows,
    SeasonCounts,
    fit_candidates,
    middle_of,
)
from city311_assets.risk.methods.feature_names import FEATURES
from city311_assets.risk.methods.features import model_matrix
from city311_assets.risk.methods.figures import (
    Figures,
    by_group,
    decision_curve,
    figures,
    reliability,
)
from city311_assets.risk.methods.splits import SHORT_HISTORY, Block, Split, last_known, splits
from city311_assets.risk.targets.target import Target
from city311_assets.risk.ward_coverage import wards
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.months import empty, replace_months, schema_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import CELL_DAYS, EVALUATIONS, OUTCOMES

SEED = 311
# Days in a row are nearly the same rows: every fifth is trained on, and of these so many drawn at
# most, all of one weight. Whether there was an event decides nothing, so rates stay what they are.
TRAINING_STEP_DAYS = 5
MOST_TRAINING_ROWS = 200_000

LABELLED_DAYS = f"""
    select distinct day from {OUTCOMES} where target = $target and day <= $last order by day
"""
# Apart, since rows are drawn between the two: by numpy, whose draws stay what they are.
LABELS = f"""
    select day, cell, calls_after_7d as calls from {OUTCOMES}
    where target = $target and day between $first and $last and ($last - day) % $step = 0
    order by day, cell
"""
KNOWN = f"""
    select day, cell, {", ".join(f"{name}::float as {name}" for name in FEATURES)}
    from {CELL_DAYS}
    where target = $target and day between $first and $last and ($last - day) % $step = 0
"""
SEASONS = f"""
    select cell, month(day + $middle) - 1 as month, count(*) as days,
        count(*) filter (is_event) as events
    from {OUTCOMES} where target = $target and day between $first and $last
    group by all order by cell, month
"""

# Of a history of less than a year the newest call tells.
HAD_CALL = pl.coalesce(
    pl.col("calls_365d") > 0, pl.col("days_since_last") < 365, pl.lit(False)
).alias("had_call")

KNEW_THE_MONTH = f"""
    select month, model_kind as kind from {EVALUATIONS}
    where {EVALUATIONS.where} and tested_until + $horizon >= month
"""
BASELINES_MISSING = f"""
    select month, tested_from::varchar as kind from {EVALUATIONS} where {EVALUATIONS.where}
    group by month, tested_from
    having count(*) filter (model_kind in ('climatology', 'recent_rate', 'long_run_rate')) <> 3
"""
OTHER_CELL_DAYS = f"""
    select month, tested_from::varchar as kind from {EVALUATIONS} where {EVALUATIONS.where}
    group by month, tested_from having count(distinct cell_days) <> 1 or count(distinct events) <> 1
"""


@dataclass(frozen=True, eq=False)
class Trial:
    """The candidates of one origin, and the block they are tested on.

    Attributes
    ----------
    split
        The blocks of days.
    candidates
        By kind.
    training_rows
        How many cell-days they were fitted on.
    test
        The rows of the test block.
    forecasts
        What each candidate says of them, (n,), by kind.
    had_call
        (n,) whether there was a call in the year before, of the test's rows.
    """

    split: Split
    candidates: Mapping[str, Fitted]
    training_rows: int
    test: Rows
    forecasts: Mapping[str, Floats]
    had_call: Bools


def splits_of(warehouse: Warehouse, target: Target, month: date) -> tuple[Split, ...]:
    """Return the blocks of a month's origins, by the days that have outcomes."""
    last = last_known(month, target.horizon_days)
    days = warehouse.read(LABELLED_DAYS, {"target": target.name, "last": last}, [OUTCOMES])
    return splits(month, days["day"].to_list(), target.horizon_days)


def trial_of(warehouse: Warehouse, target: Target, month: date, split: Split) -> Trial:
    """Fit and calibrate a month's candidates at one origin."""
    training = _rows_of(
        _labelled(warehouse, target, split.training, TRAINING_STEP_DAYS, MOST_TRAINING_ROWS)
    )
    calibration = _rows_of(_labelled(warehouse, target, split.calibration))
    candidates = fit_candidates(
        training,
        _season_counts(warehouse, target, split.training),
        calibration,
        name=f"{target.name}-{month:%Y-%m}",
        horizon_days=target.horizon_days,
        seed=SEED,
    )
    tested = _labelled(warehouse, target, split.test)
    test = _rows_of(tested)
    return Trial(
        split,
        candidates,
        training.size,
        test,
        {kind: one.p(test.x, test.cells, test.days) for kind, one in candidates.items()},
        tested.select(HAD_CALL)["had_call"].to_numpy(),
    )


def figures_of(trial: Trial) -> dict[str, Figures]:
    """Return each candidate's figures on the test block."""
    test = trial.test
    return {
        kind: figures(
            p,
            test.is_event,
            test.days.astype(np.int64),
            test.cells,
            trial.forecasts["climatology"],
            seed=SEED,
        )
        for kind, p in trial.forecasts.items()
    }


def evaluation_rows(trial: Trial, ward_of: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each candidate of one origin; `ward_of` has `cell, ward`."""
    test = trial.test
    ward = pl.DataFrame({"cell": test.cells}).join(
        ward_of, on="cell", how="left", maintain_order="left"
    )["ward"]
    told = figures_of(trial)
    rows = [
        {
            "tested_from": trial.split.origin,
            "model_kind": kind,
            "tested_until": trial.split.test.last,
            **asdict(told[kind]),
            "reliability": reliability(p, test.is_event),
            "by_ward": by_group(p, test.is_event, ward),
            "decision_curve": decision_curve(p, test.is_event, trial.had_call),
            "seed": SEED,
        }
        for kind, p in trial.forecasts.items()
    ]
    return pl.DataFrame(rows, schema=schema_of(EVALUATIONS))


def month_rows(
    warehouse: Warehouse, target: Target, month: date
) -> tuple[pl.DataFrame, dict[str, object]]:
    """Return a month's evaluations of all origins, and what to say of them."""
    origins = splits_of(warehouse, target, month)
    if not origins:
        return empty(EVALUATIONS), {"reason": SHORT_HISTORY}
    since, until = origins[-1].test.first, origins[0].test.last
    tested = Slice(target.name, since, until + timedelta(days=1), "target")
    ward_of = wards(warehouse, target, tested)
    found = [
        evaluation_rows(trial_of(warehouse, target, month, split), ward_of) for split in origins
    ]
    rows = pl.concat(found)
    skill = rows.group_by("model_kind").agg(
        (pl.col("brier_skill") * pl.col("cell_days")).sum() / pl.col("cell_days").sum()
    )
    return rows, {"origins": len(found), "brier_skill": dict(skill.sort("model_kind").rows())}


def _labelled(
    warehouse: Warehouse, target: Target, block: Block, step: int = 1, most: int | None = None
) -> pl.DataFrame:
    """Read labelled cell-days of every `step`-th day of a block, by day and cell.

    Of more than `most` so many are drawn, each as likely as any other.
    """
    params = _of_block(target, block) | {"step": step}
    labels = warehouse.read(LABELS, params, [OUTCOMES])
    if most is not None and labels.height > most:
        rng = np.random.default_rng(SEED)
        labels = labels[np.sort(rng.choice(labels.height, most, replace=False))]
    known = warehouse.read(KNOWN, params, [CELL_DAYS])
    return labels.join(known, on=["day", "cell"], how="inner", maintain_order="left")


def _of_block(target: Target, block: Block) -> dict[str, object]:
    return {"target": target.name, "first": block.first, "last": block.last}


def _rows_of(frame: pl.DataFrame) -> Rows:
    return Rows(
        model_matrix(frame),
        frame["cell"].to_numpy(),
        frame["day"].to_numpy().astype("datetime64[D]"),
        frame["calls"].to_numpy().astype(np.int64),
    )


def _season_counts(warehouse: Warehouse, target: Target, block: Block) -> SeasonCounts:
    """Count all labelled days of a block by cell and month of the year."""
    params = _of_block(target, block) | {"middle": middle_of(target.horizon_days)}
    counts = warehouse.read(SEASONS, params, [OUTCOMES])
    cells, place = np.unique(counts["cell"].to_numpy(), return_inverse=True)
    slot = place * 12 + counts["month"].to_numpy()
    events, days = (
        np.bincount(slot, counts[name].to_numpy(), cells.size * 12).reshape(-1, 12)
        for name in ("events", "days")
    )
    return SeasonCounts(cells, events.astype(np.float64), days.astype(np.float64))


def limits(target: Target) -> dict[str, object]:
    """Return the parameters of the claims."""
    return {"horizon": target.horizon_days}


def claims() -> list[Property]:
    """Return what must hold of a month's evaluations."""
    return [
        Property(
            "blocks_end_before_the_month",
            "No block, the days it forecasts included, reaches into the month.",
            KNEW_THE_MONTH,
        ),
        Property(
            "baselines_at_every_origin",
            "Every origin has the figures of the three baselines.",
            BASELINES_MISSING,
        ),
        Property(
            "candidates_have_the_same_rows",
            "The candidates of an origin are tested on the same cell-days.",
            OTHER_CELL_DAYS,
        ),
    ]


def evaluations(target: Target) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one target's evaluations, and what must hold of them."""

    @dg.asset(
        key=EVALUATIONS.key(target.name),
        deps=[CELL_DAYS.key(target.name), OUTCOMES.key(target.name)],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=EVALUATIONS.metadata,
        kinds={"duckdb", "scikitlearn"},
        description=f"{target.title}: how good every candidate and baseline was at the last three "
        "blocks of 28 days before a month, each time fitted on what was known when it began.",
    )
    def evaluations(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Figures of one target's candidates at the last origins of months."""
        return replace_months(
            context,
            warehouse,
            EVALUATIONS,
            target.name,
            lambda _, month: month_rows(warehouse, target, month),
        )

    return [evaluations, slice_checks(claims(), EVALUATIONS, target.name, params=limits(target))]
