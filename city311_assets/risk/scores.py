"""Scores: how likely a call is in each cell in the next days, why, and who says so.

What was said of a past day stays: another model's scores stand beside it, when they are asked for.
What belongs here: which days are scored by which model, and what is kept. What does not: the
models, and what their features mean.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import numpy as np
import polars as pl

from city311_assets.partitions import AFTER_MONTHS, BY_CHUNK, DAYS, Slice, note_days
from city311_assets.risk.histories import chunks
from city311_assets.risk.methods.candidates import UNFITTED, Fitted, unfitted
from city311_assets.risk.methods.drivers import contributions, top_drivers
from city311_assets.risk.methods.feature_names import FEATURES
from city311_assets.risk.methods.features import model_matrix
from city311_assets.risk.methods.splits import BLOCK_DAYS, SHORT_HISTORY, SHORTEST_TRAINING_DAYS
from city311_assets.risk.model_files import Served, models_of_days
from city311_assets.risk.targets.target import Target
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import CELL_DAYS, MODELS, OUTCOMES, SCORES

DRIVERS = 3
NO_MODEL = "no model yet"
# Mean probability by the base rate of a year, either way.
FARTHEST_FROM_BASE_RATE = 2.0
# Where none came in a year, so many expected in a day's forecasts are too many.
MOST_EXPECTED_OF_NONE = 10.0
# A model is of its month; a month, and the days until the next one is there, later it is old.
OLDEST_MODEL_DAYS = 70

KNOWN = f"""
    select day, cell, history_days, {", ".join(FEATURES)} from {CELL_DAYS}
    where {CELL_DAYS.where} and not is_provisional order by day, cell
"""
UNSCORED = f"""
    select day from {CELL_DAYS} anti join (
        select day, cell from {SCORES} where {SCORES.where} and model_version = $version
    ) using (day, cell)
    where {CELL_DAYS.where} and not is_provisional group by day order by day
"""
STORED = f"from {SCORES} where {SCORES.where} order by day, cell, model_version"
NEWEST_VERSIONS = f"""
    select distinct day, model_version from {SCORES} where {SCORES.where} and is_newest
"""
TOLD = f"""
    select day, count(*) as rows, avg(p_event_7d) as mean_p, any_value(model_version) as version
    from {SCORES} where {SCORES.where} and is_newest group by day order by day
"""

# An unknown number is above all others, and so no probability either.
IMPOSSIBLE = f"""
    select day, cell::varchar as kind from {SCORES} where {SCORES.where} and not (
        0 <= low and low <= p_event_7d and p_event_7d <= high and high <= 1
        and expected_events_7d >= 0 and isfinite(expected_events_7d))
"""
NOT_ONE_VERSION = f"""
    select day, count(distinct model_version) filter (is_newest) as rows from {SCORES}
    where {SCORES.where} group by day
    having count(distinct model_version) filter (is_newest) <> 1
"""
NOT_WHOLE = f"""
    select day, count(*) as rows from {CELL_DAYS} anti join (
        select day, cell from {SCORES} where {SCORES.where} and is_newest
    ) using (day, cell)
    where {CELL_DAYS.where} and not is_provisional group by day order by day
"""
KNEW_THE_DAY = f"""
    select distinct day, model_version as kind
    from {SCORES} join (
        select model_version, max(trained_until) as known_until from {MODELS}
        where target = $target group by model_version
    ) using (model_version)
    where {SCORES.where} and known_until + $horizon >= day
"""
TOO_OLD = f"""
    select distinct day, model_version as kind
    from {SCORES} join (
        select model_version, max(trained_until) as known_until from {MODELS}
        where target = $target group by model_version
    ) using (model_version)
    where {SCORES.where} and is_newest and known_until < day - $oldest
"""
# Of too few calls cells cannot be told apart: then no model serves, and the reason says so.
ALL_ALIKE = f"""
    select day, count(*) as rows from {SCORES}
    where {SCORES.where} and is_newest and reason is null
    group by day having count(*) > 1 and min(p_event_7d) = max(p_event_7d)
"""
# Of each day the outcomes that were known on it, of a year.
FAR_FROM_BASE_RATE = f"""
    with said as (
        select day, count(*) as cells, avg(p_event_7d) as mean_p from {SCORES}
        where {SCORES.where} and is_newest group by day
    ), came as (
        select day as outcome_day, count(*) as cells, count(*) filter (is_event) as events
        from {OUTCOMES}
        where target = $target and day >= $start::date - $year - $horizon and day < $end
        group by day
    ), rates as (
        select said.day, mean_p, any_value(said.cells) as cells,
            sum(came.events) as events, sum(came.events) / sum(came.cells) as base_rate
        from said join came
            on outcome_day < said.day - $horizon and outcome_day >= said.day - $horizon - $year
        group by said.day, mean_p
    )
    select day, format('{{:.4f}} against {{:.4f}}', mean_p, base_rate) as kind from rates
    where (events > 0 and not coalesce(abs(ln(mean_p / base_rate)) <= ln($farthest), false))
        or (events = 0 and mean_p * cells > $of_none)
    order by day
"""


class Rescore(dg.Config):
    """Whether days that have scores are scored again, by the model that serves them now."""

    rescore: bool = False


@dataclass(frozen=True, slots=True)
class Bands:
    """The probabilities from which a risk is called medium, and high."""

    medium_from: float
    high_from: float

    def __post_init__(self) -> None:
        if not self.medium_from < self.high_from:
            raise ValueError(
                f"a risk is medium from {self.medium_from} and high from {self.high_from}; set "
                "CITY311_RISK_MEDIUM_FROM below CITY311_RISK_HIGH_FROM"
            )

    @classmethod
    def of_settings(cls) -> "Bands":
        """Read them from the settings."""
        return cls(settings().risk_medium_from, settings().risk_high_from)

    def of(self, p: pl.Expr) -> pl.Expr:
        """Return the name of a probability's band."""
        return (
            pl.when(p >= self.high_from)
            .then(pl.lit("high"))
            .when(p >= self.medium_from)
            .then(pl.lit("medium"))
            .otherwise(pl.lit("low"))
        )


def longest_short_history(horizon_days: int) -> int:
    """Return how many days held are still too few for a model of the month they end in."""
    return SHORTEST_TRAINING_DAYS + 2 * BLOCK_DAYS + 3 * horizon_days


def score_rows(
    known: pl.DataFrame, served: Fitted | None, target: Target, bands: Bands, as_of: datetime
) -> pl.DataFrame:
    """Return the scores of some days by one model, in the table's columns.

    Without a model the long-run rate stands in, and a reason says so. Cells of equal probability
    have the same decile. `known` has the columns of `KNOWN`, in the order of days.
    """
    fitted = served or unfitted(target.horizon_days)
    x, cells = model_matrix(known), known["cell"].to_numpy()
    days = known["day"].rle().struct.unnest()
    ends = days["len"].cum_sum().to_list()
    starts = [0, *ends[:-1]]
    found = [
        contributions(fitted, x[start:end], cells[start:end], day)
        for start, end, day in zip(starts, ends, days["value"].to_list(), strict=True)
    ]
    p = fitted.calibrator.p(np.concatenate([day.logit for day in found]))
    low, high = fitted.interval(p)
    effects = np.concatenate([day.effects for day in found])
    rank = pl.col("p_event_7d").rank("average").over("day")
    reason = (
        pl.when(
            pl.col("history_days").max().over("day") <= longest_short_history(target.horizon_days)
        )
        .then(pl.lit(SHORT_HISTORY))
        .otherwise(pl.lit(NO_MODEL))
    )
    return (
        known.select(
            "day",
            "cell",
            "history_days",
            pl.lit(target.name).alias("target"),
            pl.Series("p_event_7d", p),
            pl.Series("low", low),
            pl.Series("high", high),
            pl.Series("expected_events_7d", fitted.expected_events(p)),
            top_drivers(found[0].groups, effects, known, DRIVERS).alias("drivers"),
        )
        .with_columns(
            bands.of(pl.col("p_event_7d")).alias("risk_band"),
            (rank * 10 / pl.len().over("day")).ceil().cast(pl.Int32).alias("decile"),
            pl.lit(fitted.version).alias("model_version"),
            pl.lit(fitted.kind).alias("model_kind"),
            pl.lit(None, pl.String).alias("reason") if served else reason.alias("reason"),
            pl.lit(value=True).alias("is_newest"),
            pl.lit(as_of, pl.Datetime("us")).alias("as_of"),
        )
        .select(SCORES.names)
    )


def with_newest(rows: pl.DataFrame) -> pl.DataFrame:
    """Mark of each day the version that scored it last; what merely stands in never is the last.

    A version scored a day when it did so first: cells that it adds later do not make it newer.
    """
    newest = (
        rows.group_by("day", "model_version")
        .agg(pl.col("as_of").min())
        .sort("day", pl.col("model_version") != UNFITTED, "as_of", "model_version")
        .group_by("day", maintain_order=True)
        .last()
        .select("day", pl.col("model_version").alias("newest"))
    )
    marked = rows.drop("is_newest").join(newest, on="day", how="left", maintain_order="left")
    is_newest = (pl.col("model_version") == pl.col("newest")).alias("is_newest")
    return marked.with_columns(is_newest).select(SCORES.names)


def days_to_score(
    warehouse: Warehouse, served: Served, part: Slice, *, rescore: bool
) -> list[date]:
    """Return the days of a slice on which a model has cells to score.

    They are those that nobody scored, or only the stand-in; those that this version scored, but not
    all cells of; and, where rescoring is asked for, those of another version. The stand-in never
    follows a model.
    """
    version = served.model.version if served.model else UNFITTED
    unscored = warehouse.read(UNSCORED, part.params | {"version": version}, [CELL_DAYS, SCORES])[
        "day"
    ].to_list()
    newest = dict(warehouse.read(NEWEST_VERSIONS, part, [SCORES]).rows())
    follows = {UNFITTED, version, None}
    return [
        day for day in unscored if newest.get(day) in follows or (rescore and version != UNFITTED)
    ]


def write(
    warehouse: Warehouse, target: Target, part: Slice, *, rescore: bool = False
) -> dict[date, int]:
    """Score what is to be scored of a slice; return how many rows each day gained.

    Rows that are stored stay as they are, but for which of them are the newest. A long slice is
    written some days at a time, each time all or nothing, so that memory does not grow with it.
    """
    gained: dict[date, int] = {}
    for own in chunks(part):
        gained |= _write(warehouse, target, own, rescore=rescore)
    return gained


def _write(warehouse: Warehouse, target: Target, part: Slice, *, rescore: bool) -> dict[date, int]:
    as_of, bands = datetime.now(UTC).replace(tzinfo=None), Bands.of_settings()
    found = []
    last = part.end - timedelta(days=1)
    for served in models_of_days(warehouse, target, part.start, last):
        span = Slice(target.name, served.first, served.last + timedelta(days=1), "target")
        days = days_to_score(warehouse, served, span, rescore=rescore)
        if days:
            known = warehouse.read(KNOWN, span, [CELL_DAYS]).filter(pl.col("day").is_in(days))
            found.append(score_rows(known, served.model, target, bands, as_of))
    if not found:
        return {}
    stored = warehouse.read(STORED, part, [SCORES])
    new = pl.concat(found)
    if stored.height:
        new = new.join(stored, on=["day", "cell", "model_version"], how="anti")
        rows = with_newest(pl.concat([stored, new], how="vertical_relaxed"))
    else:
        rows = new
    warehouse.replace(SCORES, rows, part)
    return dict(new.group_by("day").len().rows())


def claims() -> list[Property]:
    """Return what must hold of a target's scores."""
    return [
        Property(
            "probabilities_possible",
            "Probabilities lie between 0 and 1 and within their intervals; calls expected are a "
            "number.",
            IMPOSSIBLE,
        ),
        Property(
            "one_newest_version", "Of each day the newest scores are of one model.", NOT_ONE_VERSION
        ),
        Property(
            "whole_study_area",
            "Every cell whose features are known, of a day that is over, has a score of the day's "
            "newest version.",
            NOT_WHOLE,
            is_blocking=False,
        ),
        Property(
            "model_is_recent",
            "The model that served was tested on the 70 days before: one is fitted each month.",
            TOO_OLD,
            is_blocking=False,
        ),
        Property(
            "model_knew_nothing",
            "No model saw what happened on the day it scores, or after.",
            KNEW_THE_DAY,
        ),
        Property(
            "scores_differ",
            "Where a model serves, not all cells of a day have the same probability.",
            ALL_ALIKE,
            is_blocking=False,
        ),
        Property(
            "near_the_base_rate",
            "The mean probability is within a factor of 2 of how often there was a call in a "
            "cell's seven days, over the 365 days before of which that was known.",
            FAR_FROM_BASE_RATE,
            is_blocking=False,
        ),
    ]


def limits(target: Target) -> dict[str, object]:
    """Return what the claims' queries name beside their slice."""
    return {
        "horizon": target.horizon_days,
        "year": 365,
        "farthest": FARTHEST_FROM_BASE_RATE,
        "of_none": MOST_EXPECTED_OF_NONE,
        "oldest": OLDEST_MODEL_DAYS,
    }


def scores(target: Target) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one target's scores, and what must hold of them."""
    key = SCORES.key(target.name)

    @dg.asset(
        key=key,
        deps=[
            CELL_DAYS.key(target.name),
            # Lineage: which model serves is asked of the warehouse, and a month's models do not
            # make the scores of its days stale.
            dg.AssetDep(
                MODELS.key(target.name),
                partition_mapping=dg.SpecificPartitionsPartitionMapping([]),
            ),
        ],
        partitions_def=DAYS,
        tags={AFTER_MONTHS: ""},
        backfill_policy=BY_CHUNK,
        metadata=SCORES.metadata,
        kinds={"duckdb", "polars"},
        description=f"{target.title}: how likely a call is in each cell of the study area in the 7 "
        "days after a city-local day, with its interval, its reasons and the model that says so. "
        "A call is no leak: neighbourhoods differ in how soon they report one.",
    )
    def scores(
        context: dg.AssetExecutionContext, config: Rescore, warehouse: Warehouse
    ) -> dg.MaterializeResult:
        """Scores of one target's cells on city-local days."""
        part = Slice.of(context, target.name, "target")
        added = write(warehouse, target, part, rescore=config.rescore)
        told = warehouse.read(TOLD, part, [SCORES])
        gained = pl.Series("added", [added.get(day, 0) for day in told["day"]], pl.Int64)
        note_days(context, key, told.with_columns(gained), part)
        versions = told["version"].value_counts().sort("version").rows()
        return dg.MaterializeResult(
            metadata={
                "range_added": sum(added.values()),
                "range_days_by_version": dg.MetadataValue.json(dict(versions)),
            }
        )

    also = [CELL_DAYS, MODELS, OUTCOMES]
    return [scores, slice_checks(claims(), SCORES, target.name, also, limits(target))]
