"""Candidates for a forecast: three baselines and two models that learn, each fitted and calibrated.

What belongs here: the models, how each is fitted, and what a fitted one answers. What does not:
which days are trained on, which candidate is served, and where its file lies.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from city311_assets.gold.methods.arrays import Bools, Cells, Floats, Ints
from city311_assets.gold.methods.rates import beta_priors, shrunk
from city311_assets.risk.methods.calibration import (
    Calibrator,
    Days,
    calibrated,
    calibrated_in_the_large,
    logistic_coefficients,
    logit,
    uncalibrated,
)
from city311_assets.risk.methods.feature_names import FEATURES, INCREASING

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

BASELINES = ("climatology", "recent_rate", "long_run_rate")
LEARNERS = ("logistic", "gradient_boosting")
KINDS = (*BASELINES, *LEARNERS)
# What is learned from fewer events is chance.
FEWEST_EVENTS = 50
# Of a cell without any call ever, in a city without any: expected calls of the horizon.
LEAST_RATE = 1e-6
HALF_LIFE_DAYS = 30
# Counts act by their ratio. A rate is taken as the count it comes to over the longest history.
LOGGED = {
    **{name: 1.0 for name in FEATURES if "calls_" in name or name.startswith("decay_")},
    "days_since_last": 1.0,
    "same_weeks_last_year": 1.0,
    "parent_rate": 1_095.0,
    "long_run_rate": 1_095.0,
}
# A coefficient of a standardised column is 0 ± 1 before anything is known.
RIDGE = 1.0
BOOSTING: dict[str, Any] = {
    "max_iter": 100,
    "learning_rate": 0.06,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 200,
    "l2_regularization": 1.0,
    "early_stopping": False,
}
HASH_DIGITS = 8
UNFITTED = "unfitted"

Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LogisticModel:
    """A logistic regression on standardised columns, counts by their logarithm.

    Attributes
    ----------
    fill
        (q,) what stands in for an unknown value: the mean of the training rows.
    centre, scale
        (q,) mean and standard deviation of the training rows, after logarithms.
    coefficients, intercept
        (q,) change of the log odds by a standard deviation, and the log odds of a mean row.
    is_logged, unit
        (q,) which columns are taken as log(1 + unit * value).
    """

    fill: Floats
    centre: Floats
    scale: Floats
    coefficients: Floats
    intercept: float
    is_logged: Bools
    unit: Floats

    def standardised(self, x: Matrix) -> Floats:
        """Return the columns as they are multiplied by the coefficients, (n, q)."""
        return (_logged(x, self.fill, self.is_logged, self.unit) - self.centre) / self.scale

    def logit(self, x: Matrix) -> Floats:
        """Return the uncalibrated log odds of an event, (n,)."""
        return self.standardised(x) @ self.coefficients + self.intercept


@dataclass(frozen=True, eq=False)
class TreeModel:
    """Gradient boosted trees on histograms; unknown values go their own way at each split."""

    classifier: "HistGradientBoostingClassifier"

    def logit(self, x: Matrix) -> Floats:
        """Return the uncalibrated log odds of an event, (n,)."""
        return np.asarray(self.classifier.decision_function(x), np.float64)


@dataclass(frozen=True, eq=False)
class RateModel:
    """The chance of an event when calls come at the rate that one column tells.

    The calls expected are `intercept` + `slope` * the column `column` of the features.
    """

    column: int
    intercept: float
    slope: float

    def logit(self, x: Matrix) -> Floats:
        """Return the uncalibrated log odds of an event, (n,)."""
        calls = self.intercept + self.slope * x[:, self.column].astype(np.float64)
        # Of p = 1 - exp(-calls).
        return np.log(np.expm1(np.clip(calls, LEAST_RATE, 30.0)))


@dataclass(frozen=True, eq=False)
class ClimatologyModel:
    """How often there was an event in a cell at that time of year.

    It reads no feature: it needs the rows' cells and days.

    Attributes
    ----------
    cells
        (n,) sorted.
    log_odds
        (n + 1, 12) of each cell and month of the year; the last row is of any other cell.
    middle
        Days from the day of a forecast to the middle of the days forecast, whose month counts.
    """

    cells: Cells
    log_odds: Floats
    middle: int

    def logit(self, cells: Cells, days: Days) -> Floats:
        """Return the uncalibrated log odds of an event, (n,)."""
        month = months_of_year(days, self.middle)
        place = np.searchsorted(self.cells, cells)
        is_known = np.isin(cells, self.cells)
        return self.log_odds[np.where(is_known, place, self.cells.size), month]


Model: TypeAlias = LogisticModel | TreeModel | RateModel | ClimatologyModel


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted and calibrated candidate.

    `x` is (n, q) in the columns `features`, NaN where unknown. `cells` and `days` (an array, or one
    day) are read by the climatology only, and may be left out for any other kind.

    Attributes
    ----------
    kind
        One of `KINDS`.
    version
        Target, month, kind, and the beginning of the SHA-256 of all that was fitted.
    features
        The columns of `x`.
    model, calibrator
        What makes log odds of features, and probabilities of log odds.
    events_per_unit
        Calls expected by -log(1 - p): above 1 where calls come in clusters.
    """

    kind: str
    version: str
    features: tuple[str, ...]
    model: Model
    calibrator: Calibrator
    events_per_unit: float

    def logit(
        self, x: Matrix, cells: Cells | None = None, days: Days | date | None = None
    ) -> Floats:
        """Return the uncalibrated log odds of an event, (n,).

        Raises
        ------
        ValueError
            `x` has other columns, or the climatology is not told the cells and days.
        """
        if x.ndim != 2 or x.shape[1] != len(self.features):
            raise ValueError(f"{self.version} reads {len(self.features)} columns, not {x.shape}")
        if not isinstance(self.model, ClimatologyModel):
            return self.model.logit(x)
        if cells is None or days is None:
            raise ValueError(f"{self.version} is a climatology: give the rows' cells and days")
        return self.model.logit(cells, np.asarray(days, "datetime64[D]"))

    def p(self, x: Matrix, cells: Cells | None = None, days: Days | date | None = None) -> Floats:
        """Return the calibrated probability of an event, (n,)."""
        return self.calibrator.p(self.logit(x, cells, days))

    def interval(self, p: ArrayLike) -> tuple[Floats, Floats]:
        """Return the ends of the 95 % interval of calibrated probabilities, (n,)."""
        return self.calibrator.interval(p)

    def expected_events(self, p: ArrayLike) -> Floats:
        """Return the calls expected where an event has a calibrated probability, (n,)."""
        return -self.events_per_unit * np.log1p(-np.minimum(np.asarray(p, np.float64), 1 - 1e-12))


@dataclass(frozen=True, eq=False)
class Rows:
    """Cell-days and what happened after them.

    Attributes
    ----------
    x
        (n, q) in the columns `FEATURES`, NaN where unknown.
    cells, days
        (n,) which they are.
    calls
        (n,) calls in the days forecast.
    """

    x: Matrix
    cells: Cells
    days: Days
    calls: Ints

    @property
    def is_event(self) -> Bools:
        """Whether there was a call, (n,)."""
        return self.calls > 0

    @property
    def size(self) -> int:
        """How many cell-days they are."""
        return self.calls.size


@dataclass(frozen=True, eq=False)
class SeasonCounts:
    """Cell-days of the training block by cell and time of year.

    Attributes
    ----------
    cells
        (n,) sorted.
    events, days
        (n, 12) days of each month of the year with an event after them, and all.
    """

    cells: Cells
    events: Floats
    days: Floats


def months_of_year(days: ArrayLike, middle: int) -> Ints:
    """Return the month of the middle of the days forecast, January is 0; shape of `days`."""
    forecast = np.asarray(days, "datetime64[D]") + np.timedelta64(middle, "D")
    return forecast.astype("datetime64[M]").astype(np.int64) % 12


def middle_of(horizon_days: int) -> int:
    """Return how many days after a day the middle of the days forecast is."""
    return (horizon_days + 1) // 2


def climatology(counts: SeasonCounts, horizon_days: int) -> ClimatologyModel:
    """Return how often an event followed, by cell and month, shrunk by empirical Bayes.

    Labels of successive days overlap, so that `horizon_days` of them count as one. A cell is drawn
    towards the city by a beta prior; a cell's month towards the cell's rate times the city's season
    by one whose strength is what the cell-months differ by beyond chance:
    1 / (strength + 1) = Σ[(k - nm)² - nm(1 - m)] / Σ n(n - 1)m(1 - m), with k of n events where m
    was expected.
    """
    k, n = counts.events / horizon_days, counts.days / horizon_days
    total = max(float(n.sum()), 1.0)
    city = (float(k.sum()) + LEAST_RATE) / (total + LEAST_RATE)
    cells = len(counts.cells)
    prior = beta_priors(k.sum(axis=1), n.sum(axis=1), np.zeros(cells, np.int64), 1)
    strength = prior.strength[0] if np.isfinite(prior.mean[0]) else np.inf
    rate = shrunk(k.sum(axis=1), n.sum(axis=1), city, strength)
    # The season of a month that was not seen is no season; that of one seen little is little.
    expected = (rate[:, None] * n).sum(axis=0)
    season = (k.sum(axis=0) + 1.0) / (expected + 1.0)
    mean = np.clip(rate[:, None] * season, LEAST_RATE, 1 - LEAST_RATE)
    chance = mean * (1 - mean)
    excess = ((k - n * mean) ** 2 - n * chance)[n > 1].sum()
    room = (n * (n - 1) * chance)[n > 1].sum()
    share = excess / room if room > 0 and excess > 0 else 0.0
    drawn = shrunk(k, n, mean, max(1 / share - 1, 0.0) if share else np.inf)
    elsewhere = np.clip(city * season, LEAST_RATE, 1 - LEAST_RATE)
    p = np.clip(np.vstack([drawn, elsewhere]), LEAST_RATE, 1 - LEAST_RATE)
    return ClimatologyModel(counts.cells, logit(p), middle_of(horizon_days))


def recent_rate(training: Rows, horizon_days: int) -> RateModel:
    """Return the rate by the decaying count of calls, drawn to the city's mean.

    A count that decays with weights w of past days is W = Σw days' worth; at a rate of m a day it
    has the mean mW and, by chance alone, the variance mΣw². What is more is what cells differ by,
    and that share of a cell's distance from the mean is kept.
    """
    column = FEATURES.index("decay_30d")
    decayed = training.x[:, column].astype(np.float64)
    keep = 0.5 ** (1 / HALF_LIFE_DAYS)
    worth, squares = 1 / (1 - keep), 1 / (1 - keep**2)
    mean, variance = float(decayed.mean()), float(decayed.var())
    by_chance = mean / worth * squares
    share = max(1 - by_chance / variance, 0.0) if variance > 0 else 0.0
    per_unit = horizon_days / worth
    return RateModel(column, (1 - share) * mean * per_unit, share * per_unit)


def long_run_rate(horizon_days: int) -> RateModel:
    """Return the rate by the shrunk mean of the whole history."""
    return RateModel(FEATURES.index("long_run_rate"), 0.0, float(horizon_days))


def logistic(training: Rows) -> LogisticModel:
    """Return a ridge logistic regression; an unknown value is the mean of the known ones."""
    x = training.x
    is_logged = np.array([name in LOGGED for name in FEATURES])
    unit = np.array([LOGGED.get(name, 1.0) for name in FEATURES])
    is_known = ~np.isnan(x)
    known = np.maximum(is_known.sum(axis=0), 1)
    fill = np.where(is_known, x, 0.0).sum(axis=0, dtype=np.float64) / known
    columns = _logged(x, fill, is_logged, unit)
    centre, spread = columns.mean(axis=0), columns.std(axis=0)
    # Rounding is no spread.
    scale = np.where(spread > 1e-9 * np.maximum(np.abs(centre), 1.0), spread, 1.0)
    columns -= centre
    columns /= scale
    design = np.concatenate([columns, np.ones((len(x), 1))], axis=1)
    prior = np.zeros(len(FEATURES) + 1)
    prior[-1] = logit(training.is_event.mean())
    precision = np.append(np.full(len(FEATURES), RIDGE), 0.0)
    found = logistic_coefficients(
        design, training.is_event.astype(np.float64), np.ones(len(x)), prior, precision
    )
    return LogisticModel(fill, centre, scale, found[:-1], float(found[-1]), is_logged, unit)


def gradient_boosting(training: Rows, seed: int) -> TreeModel:
    """Return boosted trees in which more calls lately never lower the risk."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    classifier = HistGradientBoostingClassifier(
        **BOOSTING,
        monotonic_cst=[int(name in INCREASING) for name in FEATURES],
        random_state=seed,
    )
    # A column of nothing but unknown values has no bins; a constant is never split on.
    is_unknown = np.isnan(training.x).all(axis=0)
    x = np.where(is_unknown, np.float32(0), training.x) if is_unknown.any() else training.x
    return TreeModel(classifier.fit(x, training.is_event))


def fit_candidates(
    training: Rows,
    counts: SeasonCounts,
    calibration: Rows,
    *,
    name: str,
    horizon_days: int,
    seed: int,
) -> dict[str, Fitted]:
    """Fit every candidate on training rows and calibrate it on a later block.

    Baselines are only calibrated in the large. From fewer than 50 events nothing is learned: the
    baselines are all there is then.

    Parameters
    ----------
    training, counts
        Drawn rows of the training block, and all its days by cell and month.
    calibration
        All rows of the calibration block.
    name
        What versions begin with: target and month.
    horizon_days
        Length of the days forecast.
    seed
        Of the trees' bins and of the resamples of intervals.

    Raises
    ------
    ValueError
        There is no row to train on, or none to calibrate on.
    """
    if not (training.size and calibration.size):
        raise ValueError(
            f"{name} has {training.size} rows to train on and {calibration.size} to calibrate on"
        )
    models: dict[str, Model] = {
        "climatology": climatology(counts, horizon_days),
        "recent_rate": recent_rate(training, horizon_days),
        "long_run_rate": long_run_rate(horizon_days),
    }
    if training.is_event.sum() >= FEWEST_EVENTS:
        models["logistic"] = logistic(training)
        models["gradient_boosting"] = gradient_boosting(training, seed)
    return {
        kind: _calibrated(kind, model, calibration, name, seed) for kind, model in models.items()
    }


def _calibrated(kind: str, model: Model, block: Rows, name: str, seed: int) -> Fitted:
    """Calibrate a model on a block, count its calls per unit, and name it by all of that."""
    raw = Fitted(kind, name, FEATURES, model, uncalibrated(), 1.0)
    log_odds = raw.logit(block.x, block.cells, block.days)
    curve = calibrated_in_the_large if kind in BASELINES else calibrated
    calibrator = curve(log_odds, block.is_event, block.days, seed)
    units = float(-np.log1p(-np.minimum(calibrator.p(log_odds), 1 - 1e-12)).sum())
    # Without a call nothing is known of clusters, and a call is one.
    per_unit = float(block.calls.sum()) / units if block.calls.any() else 1.0
    unnamed = Fitted(kind, name, FEATURES, model, calibrator, per_unit)
    return Fitted(
        kind, f"{name}-{kind}-{state_hash(unnamed)}", FEATURES, model, calibrator, per_unit
    )


def unfitted(horizon_days: int) -> Fitted:
    """Return what scores days before there is a model: the long-run rate, as it is.

    Nothing is known of its error: both ends of its interval are the probability itself.
    """
    return Fitted(
        "long_run_rate", UNFITTED, FEATURES, long_run_rate(horizon_days), uncalibrated(), 1.0
    )


def parameters(fitted: Fitted) -> dict[str, object]:
    """Return what a candidate was asked for and what was fitted, as JSON can hold it."""
    told: dict[str, object] = {
        "calibration": {
            "kind": fitted.calibrator.kind,
            "parameters": fitted.calibrator.parameters.tolist(),
        },
        "events_per_unit": fitted.events_per_unit,
    }
    match fitted.model:
        case LogisticModel() as model:
            told |= {
                "ridge": RIDGE,
                "intercept": model.intercept,
                "coefficients": dict(
                    zip(fitted.features, model.coefficients.tolist(), strict=True)
                ),
            }
        case TreeModel():
            told |= {**BOOSTING, "increasing": list(INCREASING)}
        case RateModel() as model:
            told |= {
                "column": fitted.features[model.column],
                "intercept": model.intercept,
                "slope": model.slope,
            }
        case ClimatologyModel() as model:
            told |= {"cells": model.cells.size, "middle": model.middle}
    return told


def state_hash(fitted: Fitted) -> str:
    """Return the beginning of the SHA-256 of all that decides what a candidate answers."""
    digest = hashlib.sha256(json.dumps([fitted.kind, *fitted.features]).encode())
    digest.update(np.float64(fitted.events_per_unit).tobytes())
    for part in (fitted.calibrator, fitted.model):
        for value in _arrays(part):
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:HASH_DIGITS]


def _arrays(part: Calibrator | Model) -> Iterator[NDArray]:
    """Yield the arrays of a part, in the order of its fields; trees by the fields of their nodes.

    The records of nodes have gaps between their fields, which hold anything.
    """
    if isinstance(part, TreeModel):
        classifier = part.classifier
        yield np.asarray(classifier._baseline_prediction)  # noqa: SLF001 - told nowhere else
        for (tree,) in classifier._predictors:  # noqa: SLF001 - told nowhere else
            for name in tree.nodes.dtype.names:
                yield tree.nodes[name]
        return
    values: Mapping[str, object] = {f.name: getattr(part, f.name) for f in fields(part)}
    for value in values.values():
        yield (
            np.frombuffer(value.encode(), np.uint8) if isinstance(value, str) else np.asarray(value)
        )


def _logged(x: Matrix, fill: Floats, is_logged: Bools, unit: Floats) -> Floats:
    """Return the columns, unknown values filled in, and counts by their logarithm."""
    columns = np.where(np.isnan(x), fill, x)
    columns[:, is_logged] = np.log1p(columns[:, is_logged] * unit[is_logged])
    return columns
