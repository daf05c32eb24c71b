"""How forecasts fared: scores of counts against their laws, and of maps against what came.

What belongs here: metrics, and the scoreboard of one origin whose seven days are over. What does
not: the forecasts, and the score that chooses among methods (`forecasting`).

Two questions are kept apart. A law is judged by its CRPS, by how much its intervals hold, and by
the probability integral transform (PIT); a map is judged by how much of what came lies in the share
of the area that it names first (hit rate, PAI and PEI).
"""

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from city311_assets.gold.methods import negative_binomial
from city311_assets.gold.methods.arrays import Bools, Floats, Ints
from city311_assets.gold.methods.forecasting import (
    BLOCK,
    LARGEST_COUNTED_VARIANCE,
    WEEK,
    History,
    counted_up,
    issue,
    small_laws,
    whole_records,
)

# Shares of the area, as the policing literature reports them.
SHARES = (0.01, 0.02, 0.05, 0.10, 0.20)
# What the mean absolute difference of successive weeks is taken over.
SCALE_WEEKS = 26
# A term of a sum of squared probabilities that is left out, with all after it.
NEGLIGIBLE = 1e-16
# Steps of the integral over ln(tan(t / 2)); its error is below 1e-7 of its value.
NODES = np.arange(-22.0, 22.0, 0.25)
# Where the distance of a PIT from uniform is looked for.
PIT_BINS = 20

SCHEMA = pl.Schema(
    {
        "category": pl.String,
        "level": pl.String,
        "method": pl.String,
        "is_served": pl.Boolean,
        "origin": pl.Date,
        "cells": pl.Int64,
        "observed": pl.Int64,
        "predicted": pl.Float64,
        "mae": pl.Float64,
        "mase": pl.Float64,
        "crps": pl.Float64,
        "coverage_80": pl.Float64,
        "coverage_95": pl.Float64,
        "pit": pl.Float64,
        "pit_distance": pl.Float64,
        **{
            f"{name}_{round(100 * share)}": pl.Float64
            for share in SHARES
            for name in ("hit_rate", "pai", "pei")
        },
    }
)


def crps(count: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Floats:
    """Return the continuous ranked probability score of counts, elementwise; lower is better.

    It is E|X - x| - E|X - X'| / 2, in records: the absolute error where the law is one number.
    https://doi.org/10.1198/016214506000001437; for counts https://doi.org/10.1111/j.1541-0420.2009.01191.x

    Parameters
    ----------
    count
        What came.
    mean, variance
        Of the negative binomial, as of `negative_binomial`; shapes that broadcast.
    """
    x, mu, var = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (count, mean, variance)))
    shape = x.shape
    x, mu, var = x.ravel(), mu.ravel(), np.maximum(var, mu).ravel()
    found = np.full(x.shape, np.nan)
    for places in small_laws(var):
        found[places] = _summed(x[places], mu[places], var[places])
    large = np.flatnonzero(var > LARGEST_COUNTED_VARIANCE)
    for start in range(0, len(large), BLOCK):
        places = large[start : start + BLOCK]
        found[places] = _integrated(x[places], mu[places], var[places])
    return found.reshape(shape)


def _summed(x: Floats, mu: Floats, var: Floats) -> Floats:
    """Return the score as Σ (P(X ≤ k) - [x ≤ k])² over k."""
    total = np.zeros(x.shape)
    for k, (_, at_most) in enumerate(counted_up(mu, var)):
        left = (at_most - (x <= k)) ** 2
        total += left
        if k >= x.max() and (left <= NEGLIGIBLE).all():
            break
    return total


def _integrated(x: Floats, mu: Floats, var: Floats) -> Floats:
    """Return the score in closed form but for E|X - X'| / 2, which comes of the law's φ.

    That is ∫ (1 - |φ(t)|²) / (1 - cos t) dt / 2π over 0 ≤ t ≤ π; tan(t / 2) = exp(y) makes it an
    integral over all y on which the trapezoidal rule is exact to many digits.
    """
    excess = (var - mu) / mu
    is_wider = excess > negative_binomial.LEAST_EXCESS
    size = (mu / np.where(is_wider, excess, 1.0))[:, None]
    squared = np.exp(2 * NODES)
    inner = 4 * var[:, None] * squared / (1 + squared)
    exponent = np.where(is_wider[:, None], -size * np.log1p(inner / size), -inner)
    step = NODES[1] - NODES[0]
    spread = (-np.expm1(exponent) * np.exp(-NODES)).sum(axis=1) * step / (2 * np.pi)
    # E[X; X ≤ x] of a law of size r is its mean times P(Y ≤ x - 1), Y of size r + 1.
    other = mu + excess
    below = negative_binomial.cumulative(x - 1, other, other * (1 + excess))
    at_most = negative_binomial.cumulative(x, mu, var)
    return x * (2 * at_most - 1) + mu * (1 - 2 * below) - spread


def mase(count: ArrayLike, forecast: ArrayLike, scale: ArrayLike) -> float:
    """Return the absolute errors over the scales, both summed first; NaN where these are all 0.

    Of one series it is the mean absolute scaled error (https://doi.org/10.1016/j.ijforecast.2006.03.001).
    Of many it is not the mean of theirs: most cells of a fine grid have no scale of their own.
    """
    total = float(np.sum(scale))
    return float(np.abs(np.subtract(count, forecast)).sum()) / total if total > 0 else np.nan


def coverage(count: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Return the share of counts inside their intervals, ends included; NaN of none."""
    x = np.asarray(count)
    return float(((x >= low) & (x <= high)).mean()) if x.size else np.nan


def randomized_pit(
    count: ArrayLike, mean: ArrayLike, variance: ArrayLike, rng: np.random.Generator
) -> Floats:
    """Return a number between P(X < count) and P(X ≤ count), each drawn evenly.

    It is uniform where the law is right, however few records there are
    (https://doi.org/10.1111/j.1541-0420.2009.01191.x).
    """
    k = np.asarray(count, np.float64)
    below = negative_binomial.cumulative(k - 1, mean, variance)
    at_most = negative_binomial.cumulative(k, mean, variance)
    return below + rng.random(below.shape) * (at_most - below)


def pit_distance(count: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> float:
    """Return how far the PIT is from uniform: the largest gap of the two, at twentieths.

    Not drawn but averaged over all draws of `randomized_pit`; NaN of no count.
    """
    k = np.asarray(count, np.float64).ravel()
    if not k.size:
        return np.nan
    mu, var = (np.broadcast_to(np.asarray(a, np.float64), k.shape) for a in (mean, variance))
    below, at_most = np.zeros(k.shape), next(counted_up(mu, var))[1]
    some = np.flatnonzero(k > 0)
    below[some] = negative_binomial.cumulative(k[some] - 1, mu[some], var[some])
    at_most[some] = negative_binomial.cumulative(k[some], mu[some], var[some])
    width = np.maximum(at_most - below, 1e-300)
    grid = np.linspace(0, 1, PIT_BINS + 1)
    # Of each count the share of draws up to a twentieth; summed by twentieths, not kept.
    reached = [np.clip((end - below) / width, 0.0, 1.0).mean() for end in grid]
    return float(np.abs(np.array(reached) - grid).max())


def _taken(cells: int, shares: tuple[float, ...]) -> Ints:
    return np.array([max(1, round(share * cells)) for share in shares])


def _hits(predicted: Floats, observed: Floats, sizes: Ints) -> Floats:
    # Stable: of cells that are forecast alike, the one that comes first in the study area.
    order = np.argsort(-np.asarray(predicted, np.float64), kind="stable")
    return np.cumsum(np.asarray(observed, np.float64)[order])[sizes - 1]


def hit_rate(predicted: Floats, observed: Floats, shares: tuple[float, ...] = SHARES) -> Floats:
    """Return what part of the records came in the cells that were predicted to have most.

    Parameters
    ----------
    predicted, observed
        Of each cell of the study area, in its order: ties go to the cell that comes first.
    shares
        Of the area; the nearest number of cells is taken, at least one.

    Returns
    -------
    Floats
        One a share; NaN where nothing came.
    """
    total = float(np.sum(observed))
    hits = _hits(predicted, observed, _taken(len(observed), shares))
    return hits / total if total > 0 else np.full(len(shares), np.nan)


def pai(predicted: Floats, observed: Floats, shares: tuple[float, ...] = SHARES) -> Floats:
    """Return the prediction accuracy index: the hit rate over the share of the cells taken.

    1 is what a blind choice finds (https://doi.org/10.1057/palgrave.sj.8350066). Parameters as of
    `hit_rate`.
    """
    area = _taken(len(observed), shares) / len(observed)
    return hit_rate(predicted, observed, shares) / area


def pei(predicted: Floats, observed: Floats, shares: tuple[float, ...] = SHARES) -> Floats:
    """Return the prediction efficiency index: the hits over the most that as many cells hold.

    At most 1 (https://doi.org/10.1057/palgrave.sj.8350066, set against the best there could have
    been). Parameters as of `hit_rate`.
    """
    sizes = _taken(len(observed), shares)
    best = _hits(observed, observed, sizes)
    hits = _hits(predicted, observed, sizes)
    return np.divide(hits, best, out=np.full(len(shares), np.nan), where=best > 0)


def _scores(
    x: Floats, scale: Floats, means: Floats, variances: Floats, *, is_city: bool
) -> dict[str, Floats]:
    """Return the scores of laws, each methods by K; NaN where a method says nothing.

    Parameters
    ----------
    x, scale
        K by cells: what came, and how much successive weeks differ.
    means, variances
        Methods by K by cells.
    """
    is_said: Bools = ~np.isnan(means[:, :, 0])
    mean, variance = (np.where(is_said[:, :, None], a, 0.0) for a in (means, variances))
    x = np.broadcast_to(x, mean.shape)
    whole = whole_records(mean.ravel(), variance.ravel()).reshape(5, *mean.shape)
    median, low_80, high_80, low_95, high_95 = whole
    is_asked = (mean > 0) | (x > 0)
    found = {
        "observed": x.sum(axis=2),
        "predicted": mean.sum(axis=2),
        "mae": np.abs(x - median).mean(axis=2),
        "crps": crps(x, mean, variance).mean(axis=2),
    }
    singly: dict[str, list[float]] = {
        name: [] for name in ("mase", "coverage_80", "coverage_95", "pit", "pit_distance")
    }
    for row in np.ndindex(*is_said.shape):
        k, asked = row[1], is_asked[row]
        law = x[row][asked], mean[row][asked], variance[row][asked]
        singly["mase"].append(mase(x[row], median[row], scale[k]))
        for name, low, high in (("80", low_80, high_80), ("95", low_95, high_95)):
            singly[f"coverage_{name}"].append(coverage(law[0], low[row][asked], high[row][asked]))
        singly["pit"].append(
            float(negative_binomial.mid_tails(*law)[0].sum()) if is_city else np.nan
        )
        singly["pit_distance"].append(np.nan if is_city else pit_distance(*law))
    found |= {name: np.reshape(values, is_said.shape) for name, values in singly.items()}
    return {n: v if n == "observed" else np.where(is_said, v, np.nan) for n, v in found.items()}


def _map_scores(predicted: Floats, observed: Floats) -> dict[str, float]:
    found = {"hit_rate": hit_rate, "pai": pai, "pei": pei}
    return {
        f"{name}_{round(100 * share)}": float(value)
        for name, score in found.items()
        for share, value in zip(SHARES, score(predicted, observed), strict=True)
    }


def scoreboard(
    history: History, origin: date, lag: int, *, has_every_method: bool = True
) -> pl.DataFrame:
    """Return how the methods of one origin fared in the seven days after it.

    A row a category, level (`city` or `cells`) and method; one of each is `is_served`. In cells
    `trailing` and `seasonal_naive` are plain counts, `…_scaled` their shares of the city's served
    total. Each method's law rests on its own past errors. `predicted` adds up the means; `mae` and
    `mase` judge the median, which is what an absolute error asks for. `mae` and `crps` are means
    over all cells, coverage and `pit_distance` over those where a record was expected or came. A
    city's `pit` is its mid-p.

    Parameters
    ----------
    history
        With the seven days after the origin; they must be final.
    origin, lag
        As of `forecasting.issue`.
    has_every_method
        Whether to score all candidates; else the one served and the two baselines, which takes a
        fifth of the time.

    Returns
    -------
    pl.DataFrame
        `SCHEMA`; no row where fewer than 28 days were known. Null where a score says nothing: a
        method without a forecast, a scale of 0, no record, an area citywide.

    Raises
    ------
    ValueError
        As of `History.known_days`; also where the seven days are not held.
    """
    known = history.known_days(origin, lag)
    if (last := origin + timedelta(days=WEEK)) > history.last:
        raise ValueError(f"days up to {last} must be held, not only up to {history.last}")
    found = issue(history, origin, lag)
    if found is None:
        return SCHEMA.to_frame()
    came = history.outcome(known, lag).astype(np.float64)
    totals = history.totals(known, min(SCALE_WEEKS, known // WEEK)).astype(np.float64)
    rows: list[dict[str, object]] = []
    for level, name in ((found.city, "city"), (found.cells, "cells")):
        is_city = name == "city"
        x = came.sum(axis=1, keepdims=True) if is_city else came
        weeks = totals.sum(axis=2, keepdims=True) if is_city else totals
        scale = np.abs(np.diff(weeks, axis=1)).mean(axis=1)
        shape = (len(level.methods), *x.shape)
        # Methods by categories: which are scored.
        scored = np.repeat(np.arange(len(level.methods))[:, None], len(x), axis=1)
        if not has_every_method:
            scored = np.stack([np.zeros_like(level.served), np.ones_like(level.served)])
            scored = np.vstack([scored, level.served])
        categories = np.arange(len(x))
        means = level.means.reshape(shape)[scored, categories]
        variances = level.variances().reshape(shape)[scored, categories]
        scores = _scores(x, scale, means, variances, is_city=is_city)
        for k, category in enumerate(history.categories):
            for place, method in enumerate(scored[:, k]):
                if method in scored[:place, k]:
                    continue
                row: dict[str, object] = {
                    "category": category,
                    "level": name,
                    "method": level.methods[method],
                    "is_served": bool(level.served[k] == method),
                    "origin": origin,
                    "cells": x.shape[1],
                }
                row |= {score: values[place, k] for score, values in scores.items()}
                row |= {} if is_city else _map_scores(means[place, k], x[k])
                rows.append(row)
    frame = pl.DataFrame(rows, schema=SCHEMA)
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))
