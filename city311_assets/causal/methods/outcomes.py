"""Hours to close, restricted at a horizon: of cases whose time is known, and of censored ones.

What belongs here: what a case's outcome is, and what stands in for it while the case is open. What
does not: which cases are studied, or what their outcomes are compared with.
"""

import numpy as np

from city311_assets.gold.methods.arrays import Bools, Floats, Ints

TAU_HOURS = 720.0
# A survival curve that ends above 0 before the horizon is held at its last value. Where what was
# held is more than this share of the horizon the restricted mean would be a guess.
MOST_HELD = 0.01
MOST_CULPRITS = 5


def restricted(hours: Floats, open_hours: Floats, tau: float = TAU_HOURS) -> Floats:
    """Return min(T, tau) of every case, NaN where it cannot be known yet.

    A case that is still open tells its restricted time only once it has been open for tau.

    Parameters
    ----------
    hours
        Shape (n,), hours from opening to closing, NaN while a case is open.
    open_hours
        Shape (n,), hours for which an open case was observed; of closed ones it is not read.
    tau
        The horizon, in hours.

    Raises
    ------
    ValueError
        If a case closed before it opened, or was observed for less than no time.
    """
    _refuse_horizon(tau)
    closed, observed = _alike(hours=hours, open_hours=open_hours)
    is_open = np.isnan(closed)
    _refuse_negative(closed, "hours to close")
    _refuse_negative(np.where(is_open, observed, 0.0), "hours of an open case")
    known = np.where(is_open & (observed >= tau), tau, closed)
    return np.minimum(known, tau)


def is_mature(opened_hours_before_end: Floats, tau: float = TAU_HOURS) -> Bools:
    """Return which cases were opened at least tau before the end: their restricted time is known.

    To keep the other cases that happened to close would keep the fast ones only.
    """
    _refuse_horizon(tau)
    return np.asarray(opened_hours_before_end, np.float64) >= tau


def pseudo_observations(
    time: Floats, is_closed: Bools, groups: Ints, tau: float = TAU_HOURS
) -> Floats:
    """Return what each case adds to the restricted mean of its group, in hours.

    The jackknife's pseudo-value of the area under the Kaplan-Meier curve up to tau,
    n A - (n - 1) A without the case (https://doi.org/10.1093/biomet/90.1.15): of a group without a
    censored case min(T, tau) itself. It stands for the unknown outcome only where censoring does
    not hang on the outcome within the group; that is why groups are not pooled.

    Parameters
    ----------
    time
        Shape (n,), hours from opening to closing or, of an open case, to the end of observation.
    is_closed
        Shape (n,), whether the time is that of closing.
    groups
        Shape (n,), the group whose curve a case is part of.
    tau
        The horizon, in hours.

    Returns
    -------
    Floats
        Shape (n,), hours, which may be below 0 or above tau; NaN in groups whose curve ends too
        high and too early to be held up to the horizon (`MOST_HELD`).

    Raises
    ------
    ValueError
        If a time is missing or negative.
    """
    _refuse_horizon(tau)
    (observed,) = _alike(time=time)
    ended, group = np.asarray(is_closed, np.bool_), np.asarray(groups, np.int64)
    if not observed.shape == ended.shape == group.shape:
        raise ValueError(
            f"{observed.shape} times, {ended.shape} closings and {group.shape} groups; "
            "pass one of each a case"
        )
    if unknown := int(np.isnan(observed).sum()):
        raise ValueError(f"{unknown} times are missing; pass the hours observed of open cases")
    _refuse_negative(observed, "times")
    order = np.argsort(group, kind="stable")
    _, starts = np.unique(group[order], return_index=True)
    values = np.empty(len(observed))
    for rows in np.split(order, starts[1:]) if len(order) else []:
        values[rows] = _pseudo_of_one(observed[rows], ended[rows], tau)
    return values


def _pseudo_of_one(time: Floats, is_closed: Bools, tau: float) -> Floats:
    """Return the pseudo-values of one group.

    Without case i the curve is another one up to its time (everyone else's risk sets are one
    smaller, whoever i is), and the old one, rescaled, after it: two curves serve all cases.
    """
    size = len(time)
    is_before = time < tau
    steps, at = np.unique(time[is_before], return_inverse=True)
    if not len(steps):
        return np.full(size, tau)
    closings = np.bincount(at, is_closed[is_before], len(steps))
    at_risk = size - np.searchsorted(np.sort(time), steps, side="left").astype(np.float64)
    width = np.diff(steps, append=tau)
    curve = np.cumprod(1 - closings / at_risk)
    is_followed = bool((~is_before).any())
    if not is_followed and curve[-1] * width[-1] > MOST_HELD * tau:
        return np.full(size, np.nan)
    after = np.cumsum((curve * width)[::-1])[::-1]
    area = steps[0] + after[0]

    # At the last step nobody may be left; what comes out there is not read.
    one_fewer = np.cumprod(1 - closings / np.maximum(at_risk - 1, 1.0))
    before = steps[0] + np.concatenate([[0.0], np.cumsum(one_fewer * width)])
    up_to = np.concatenate([[1.0], one_fewer])
    # Where the curve has come down to 0 nobody is left to continue it: it is held.
    rest = np.divide(after, curve, out=width.copy(), where=curve > 0)

    others = at_risk[at] - 1
    closed_then = closings[at] - is_closed[is_before]
    step = 1 - np.divide(closed_then, others, out=np.zeros(len(at)), where=others > 0)
    without = np.full(size, before[-1])
    without[is_before] = before[at] + up_to[at] * step * rest[at]
    return size * area - (size - 1) * without


def _alike(**arrays: Floats) -> list[Floats]:
    """Return the arrays as numbers; refuse those of another length than the first."""
    values = [np.asarray(array, np.float64) for array in arrays.values()]
    if len({array.shape for array in values}) > 1:
        shapes = ", ".join(f"{name} {np.shape(array)}" for name, array in arrays.items())
        raise ValueError(f"shapes differ: {shapes}; pass one of each a case")
    return values


def _refuse_horizon(tau: float) -> None:
    if not 0 < tau < np.inf:
        raise ValueError(f"a horizon of {tau} hours; it must be above 0 and finite")


def _refuse_negative(values: Floats, what: str) -> None:
    (rows,) = np.nonzero(values < 0)
    if len(rows):
        raise ValueError(
            f"{len(rows)} {what} are negative, first in rows {rows[:MOST_CULPRITS].tolist()}; "
            "leave those cases out and count them"
        )
