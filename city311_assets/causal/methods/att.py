"""The average effect on the treated of columns anyone has: for a notebook, in one call.

What belongs here: reading columns of any kind, refusing what cannot be compared, and the choice of
matching and estimator. What does not: the numbers themselves.
"""

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from city311_assets.causal.methods.estimators import (
    DRAWS,
    SEED,
    Effect,
    bias_corrected_effect,
    conditional_variance,
    matched_effect,
    naive_effect,
)
from city311_assets.causal.methods.matching import (
    Matches,
    Vectors,
    match_by_distance,
    match_in_strata,
    nearest_by_distance,
    similar_in_strata,
)
from city311_assets.gold.methods.arrays import Bools, Floats, Ints

Metric = Literal["cosine", "euclidean"]
Estimator = Literal["bias_corrected", "matched", "naive", "aipw"]

METRICS = ("cosine", "euclidean")
ESTIMATORS = ("bias_corrected", "matched", "naive", "aipw")
# The variance of a control is that of itself and so many of its nearest controls.
NEAREST_FOR_VARIANCE = 4
COMPONENTS = 10
NAMED_ROWS = 10


def att(
    outcome: Iterable[object],
    treated: Iterable[object],
    features: Iterable[object],
    *,
    k: int = 3,
    metric: Metric = "cosine",
    strata: Iterable[object] | None = None,
    caliper: float | None = None,
    estimator: Estimator = "bias_corrected",
    adjustment: Iterable[object] | None = None,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Effect:
    """Return how much more the treated have than similar controls: the effect on the treated.

    Columns may be lists, arrays, or those of polars or pandas; a row is a unit in all of them.

    Parameters
    ----------
    outcome
        (n,) numbers; `naive` alone takes NaN, where it is not known.
    treated
        (n,) true or 1 where a unit is treated; all others may be controls.
    features
        (n, d) what makes units similar: embeddings for the cosine, covariates for `euclidean`.
    k
        Controls of each treated unit; all that are tied with the last are taken.
    metric
        The cosine of the features as they are, or the distance of z-scored ones.
    strata
        (n,) labels that a pair must share.
    caliper
        The least cosine of a pair, or the most standard deviations that it may differ by in any
        feature. Treated units without a control are counted, and have no part in the effect.
    estimator
        `bias_corrected` is the one to report.
    adjustment
        (n, q) what imperfect matches are corrected for; if left out the features, or their first 10
        principal components where the metric is the cosine.
    draws
        Sign flips of `p_randomization`; 0 leaves it out.
    seed
        Of all draws.

    Raises
    ------
    ValueError
        If columns do not fit each other, hold missing numbers, or have no treated or no controls.
    """
    if metric not in METRICS:
        raise ValueError(f"the metric {metric!r} is unknown; choose one of {METRICS}")
    if estimator not in ESTIMATORS:
        raise ValueError(f"the estimator {estimator!r} is unknown; choose one of {ESTIMATORS}")
    is_treated = _is_treated(treated)
    n = len(is_treated)
    y = _outcome(outcome, n, may_miss=estimator == "naive")
    x = _table("features", features, n)
    stratum = np.zeros(n, np.int64) if strata is None else _codes(strata, n)
    # What is fitted on controls is not fitted on those of strata that no treated unit is in.
    is_control = ~is_treated & np.isin(stratum, stratum[is_treated])
    vectors = _directions(x) if metric == "cosine" else None
    adjusted = None if adjustment is None else _table("adjustment", adjustment, n)
    if adjusted is None and estimator in {"bias_corrected", "aipw"}:
        adjusted = x if vectors is None else _components(vectors)
    if estimator == "aipw" and adjusted is not None:
        from city311_assets.causal.methods.aipw import aipw_effect

        return aipw_effect(y, is_treated, is_control, adjusted, seed=seed)
    matches = _matches(x, vectors, is_treated, stratum, k=k, caliper=caliper)
    unmatched = "no control in the stratum" if caliper is None else "outside the caliper"
    if estimator == "naive":
        return naive_effect(y, matches, seed, reason_if_unmatched=unmatched)
    variance = _variance(y, x, vectors, matches, stratum=stratum, is_control=is_control)
    if estimator == "matched" or adjusted is None:
        return matched_effect(
            y, matches, variance, draws=draws, seed=seed, reason_if_unmatched=unmatched
        )
    return bias_corrected_effect(
        y,
        matches,
        variance,
        adjusted,
        is_control,
        draws=draws,
        seed=seed,
        reason_if_unmatched=unmatched,
    )


def _column(name: str, values: Iterable[object]) -> NDArray[np.generic]:
    """Return a column, or a column of rows, as an array."""
    column = np.asarray(values)
    # Embeddings often come as a column of lists, which is no table yet.
    if column.dtype == object and column.ndim == 1 and len(column) and np.ndim(column[0]) == 1:
        widths = sorted({np.size(row) for row in column})
        if len(widths) > 1:
            raise ValueError(f"{name} has rows of {widths[:NAMED_ROWS]} values; give all as many")
        column = np.stack(list(column))
    return column


def _numbers(name: str, values: Iterable[object], n: int) -> Floats:
    column = _column(name, values)
    if column.shape[:1] != (n,):
        raise ValueError(f"{name} has the shape {column.shape}; give one of {n} units each")
    try:
        return column.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} holds something other than numbers: {error}") from error


def _outcome(values: Iterable[object], n: int, *, may_miss: bool) -> Floats:
    y = _numbers("outcome", values, n)
    if y.ndim != 1:
        raise ValueError(f"outcome has the shape {y.shape}; give one number of each of {n} units")
    if not may_miss:
        _refuse_missing("outcome", y)
    return y


def _table(name: str, values: Iterable[object], n: int) -> Floats:
    table = _numbers(name, values, n)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"{name} has the shape {table.shape}; give a row of numbers for each unit")
    _refuse_missing(name, table)
    return table


def _is_treated(values: Iterable[object]) -> Bools:
    column = _column("treated", values)
    if column.ndim != 1:
        raise ValueError(f"treated has the shape {column.shape}; give one value of each unit")
    listed = column.tolist()
    (strange,) = np.nonzero(np.array([value not in {0, 1} for value in listed], np.bool_))
    if len(strange):
        raise ValueError(
            f"treated is neither true nor false in {len(strange)} of {len(listed)} rows, the first "
            f"are {strange[:NAMED_ROWS].tolist()}; leave these units out"
        )
    is_treated = np.array([bool(value) for value in listed], np.bool_)
    for is_there, whom in ((is_treated.any(), "treated"), (not is_treated.all(), "a control")):
        if not is_there:
            raise ValueError(f"none of {len(listed)} units is {whom}; there is nothing to compare")
    return is_treated


def _codes(values: Iterable[object], n: int) -> Ints:
    """Return a number for each label of a stratum."""
    column = _column("strata", values)
    if column.shape != (n,):
        raise ValueError(
            f"strata has the shape {column.shape}; give one label of each of {n} units"
        )
    labels = column.tolist()
    is_missing = [
        label is None or (isinstance(label, float) and math.isnan(label)) for label in labels
    ]
    _refuse_missing("strata", np.where(is_missing, np.nan, 0.0))
    code = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return np.array([code[label] for label in labels], np.int64)


def _directions(x: Floats) -> Vectors:
    """Return rows of length 1."""
    length = np.linalg.norm(x, axis=1)
    (zero,) = np.nonzero(length == 0)
    if len(zero):
        raise ValueError(
            f"features of {len(zero)} of {len(x)} units are zero and have no direction, the first "
            f"are rows {zero[:NAMED_ROWS].tolist()}; leave these units out"
        )
    return (x / length[:, None]).astype(np.float32)


def _components(vectors: Vectors) -> Floats:
    from city311_assets.causal.methods.balance import principal_components

    return principal_components(vectors, COMPONENTS)


def _refuse_missing(name: str, values: Floats) -> None:
    is_missing = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if is_missing.any():
        raise ValueError(
            f"{name} is missing or infinite in {is_missing.sum()} of {len(values)} rows, the first "
            f"are {np.flatnonzero(is_missing)[:NAMED_ROWS].tolist()}; leave these units out"
        )


def _matches(
    x: Floats,
    vectors: Vectors | None,
    is_treated: Bools,
    stratum: Ints,
    *,
    k: int,
    caliper: float | None,
) -> Matches:
    if vectors is None:
        return match_by_distance(x, is_treated, k, strata=stratum, caliper=caliper)
    groups = is_treated.astype(np.int64)
    found = match_in_strata(vectors, stratum, groups, k, of=is_treated)
    return found if caliper is None else found.above(np.full(len(x), float(caliper)))


def _variance(
    y: Floats,
    x: Floats,
    vectors: Vectors | None,
    matches: Matches,
    *,
    stratum: Ints,
    is_control: Bools,
) -> Floats:
    """Return the variance of each control that is used, (n,), NaN elsewhere."""
    variance = np.full(len(y), np.nan)
    is_used = np.zeros(len(y), np.bool_)
    is_used[matches.control] = True
    if not is_used.any():
        return variance
    if vectors is None:
        units, near = nearest_by_distance(
            x, is_control, NEAREST_FOR_VARIANCE, strata=stratum, of=is_used
        )
    else:
        (controls,) = np.nonzero(is_control)
        (asked,) = np.nonzero(is_used[controls])
        indices, _ = similar_in_strata(
            vectors[controls], stratum[controls], NEAREST_FOR_VARIANCE, of=is_used[controls]
        )
        units, found = controls[asked], indices[asked]
        near = np.where(found >= 0, controls[found], -1)
    variance[units] = conditional_variance(y, near, units)
    return variance
