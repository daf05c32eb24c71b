"""Models: the candidates fitted for a month, and which of them its days are scored by.

The fits are those of the newest origin of `risk.evaluations`; the gate looks at all of its origins.
"""

import json
from dataclasses import asdict
from datetime import date

import dagster as dg
import polars as pl

from city311_assets.partitions import BY_YEAR, MONTHS, Slice, month_after
from city311_assets.risk.evaluations import (
    MOST_TRAINING_ROWS,
    SEED,
    TRAINING_STEP_DAYS,
    Trial,
    figures_of,
    splits_of,
    trial_of,
)
from city311_assets.risk.methods.candidates import parameters
from city311_assets.risk.methods.gate import Standing, promoted, reasons
from city311_assets.risk.methods.splits import SHORT_HISTORY
from city311_assets.risk.model_files import library_version, write_model
from city311_assets.risk.targets.target import Target
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.months import empty, replace_months, schema_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import CELL_DAYS, EVALUATIONS, MODELS, OUTCOMES

# Mean probability by base rate, of the served model on its test block.
FARTHEST_IN_THE_LARGE = 1.5
# Where none came, so many expected are too many.
MOST_EXPECTED_OF_NONE = 10.0

TOLD = f"""
    select tested_from, model_kind, brier, precision_top_1pct, cell_days from {EVALUATIONS}
    where {EVALUATIONS.where} order by tested_from desc, model_kind
"""
STORED_FILES = f"""
    select model_version, artefact_hash from {MODELS}
    where target = $target and library_version = $library
"""

NOT_ONE_PROMOTED = f"""
    select month, count(*) filter (is_promoted) as rows from {MODELS} where {MODELS.where}
    group by month having count(*) filter (is_promoted) <> 1
"""
WITHOUT_GAP = f"""
    select month, model_kind as kind from {MODELS}
    where {MODELS.where} and not coalesce(
        calibrated_from - training_until > $horizon and tested_from - calibrated_until > $horizon
        and trained_from <= training_until and calibrated_from <= calibrated_until
        and tested_from <= tested_until, false)
"""
KNEW_THE_MONTH = f"""
    select month, model_kind as kind from {MODELS}
    where {MODELS.where} and not (
        trained_until + $horizon < month and tested_until <= trained_until)
"""
FAR_IN_THE_LARGE = f"""
    select month, model_kind as kind from {MODELS}
    where {MODELS.where} and is_promoted and (
        (events > 0 and abs(ln(mean_p / base_rate)) > ln($farthest))
        or (events = 0 and mean_p * cell_days > $of_none))
"""


def standings(told: pl.DataFrame) -> dict[str, Standing]:
    """Return each kind's standing over the origins at which all kinds of the newest were tested.

    `told` has the columns of `TOLD`, the newest origin first.
    """
    by_origin = told.partition_by("tested_from", maintain_order=True)
    kinds = set(by_origin[0]["model_kind"])
    whole = pl.concat([part for part in by_origin if kinds <= {*part["model_kind"]}])
    figures = ("brier", "precision_top_1pct", "cell_days")
    return {
        kind: Standing.pooled(whole.filter(pl.col("model_kind") == kind).select(figures).rows())
        for kind in sorted(kinds)
    }


def model_rows(
    trial: Trial, found: dict[str, Standing], files: dict[str, tuple[str, str]]
) -> pl.DataFrame:
    """Return a row for each candidate; `files` are path and SHA-256 by kind."""
    winner, _ = promoted(found)
    why, figures, split = reasons(found), figures_of(trial), trial.split
    rows = []
    for kind, fitted in trial.candidates.items():
        path, sha256 = files[kind]
        asked = {
            "every_nth_day": TRAINING_STEP_DAYS,
            "most_rows": MOST_TRAINING_ROWS,
            **parameters(fitted),
        }
        rows.append(
            {
                "model_kind": kind,
                "model_version": fitted.version,
                "trained_from": split.training.first,
                "trained_until": split.test.last,
                "training_until": split.training.last,
                "calibrated_from": split.calibration.first,
                "calibrated_until": split.calibration.last,
                "tested_from": split.test.first,
                "tested_until": split.test.last,
                "training_rows": trial.training_rows,
                "calibration": fitted.calibrator.kind,
                "parameters": json.dumps(asked, sort_keys=True),
                **asdict(figures[kind]),
                "is_promoted": kind == winner,
                "reason": why[kind],
                "artefact_path": path,
                "artefact_hash": sha256,
                "library_version": library_version(),
                "seed": SEED,
            }
        )
    return pl.DataFrame(rows, schema=schema_of(MODELS))


def month_rows(
    warehouse: Warehouse, target: Target, month: date
) -> tuple[pl.DataFrame, dict[str, object]]:
    """Fit a month's candidates, write their files; return their rows, and what to say of them.

    Raises
    ------
    ValueError
        The month was not evaluated, or its evaluation is of other days.
    """
    origins = splits_of(warehouse, target, month)
    if not origins:
        return empty(MODELS), {"reason": SHORT_HISTORY}
    told = warehouse.read(TOLD, _month_of(target, month), [EVALUATIONS])
    newest = told["tested_from"].max()
    if newest != origins[0].origin:
        raise ValueError(
            f"the newest evaluation of {target.name} for {month:%Y-%m} is of {newest}, not of "
            f"{origins[0].origin}; materialize risk/evaluations/{target.name} of that month first"
        )
    trial = trial_of(warehouse, target, month, origins[0])
    library = {"target": target.name, "library": library_version()}
    stored = dict(warehouse.read(STORED_FILES, library, [MODELS]).rows())
    files = {
        kind: write_model(fitted, target, stored.get(fitted.version))
        for kind, fitted in trial.candidates.items()
    }
    rows = model_rows(trial, standings(told), files)
    served = rows.row(by_predicate=pl.col("is_promoted"), named=True)
    named = ("model_version", "reason", "brier", "brier_skill", "precision_top_1pct")
    return rows, {name: served[name] for name in named}


def _month_of(target: Target, month: date) -> Slice:
    return Slice(target.name, month, month_after(month), "target")


def limits(target: Target) -> dict[str, object]:
    """Return the parameters of the claims."""
    return {
        "horizon": target.horizon_days,
        "farthest": FARTHEST_IN_THE_LARGE,
        "of_none": MOST_EXPECTED_OF_NONE,
    }


def claims() -> list[Property]:
    """Return what must hold of a month's models."""
    return [
        Property("one_promoted", "One candidate of a month serves.", NOT_ONE_PROMOTED),
        Property(
            "gaps_between_blocks",
            "Between training, calibration and test lie as many days as a label has.",
            WITHOUT_GAP,
        ),
        Property(
            "blocks_end_before_the_month",
            "No block, the days it forecasts included, reaches into the month.",
            KNEW_THE_MONTH,
        ),
        Property(
            "right_on_average",
            "On its test block the served model's mean probability is within a factor of 1.5 of "
            "the share with an event.",
            FAR_IN_THE_LARGE,
            is_blocking=False,
        ),
    ]


def models(target: Target) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one target's models, and what must hold of them."""

    @dg.asset(
        key=MODELS.key(target.name),
        deps=[
            CELL_DAYS.key(target.name),
            OUTCOMES.key(target.name),
            EVALUATIONS.key(target.name),
        ],
        partitions_def=MONTHS,
        backfill_policy=BY_YEAR,
        metadata=MODELS.metadata,
        kinds={"duckdb", "scikitlearn"},
        description=f"{target.title}: the candidates that were fitted before a month began, their "
        "figures on the 28 days before it, and which of them its days are scored by.",
    )
    def models(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        """Candidates of one target for months."""
        return replace_months(
            context,
            warehouse,
            MODELS,
            target.name,
            lambda _, month: month_rows(warehouse, target, month),
        )

    return [models, slice_checks(claims(), MODELS, target.name, params=limits(target))]
