"""Calibration: from a model's log odds to probabilities that come true as often as they say.

What belongs here: the curves, which of them is used, and how far it can be trusted. What does not:
the models whose log odds they bend, and the figures that judge the result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from city311_assets.gold.methods.arrays import Bools, Floats, Ints

# With fewer events a step function follows chance.
FEWEST_FOR_ISOTONIC = 1_000
# Half of the bins hold as many rows each, the others as many expected events: fine where it counts.
MOST_BINS = 200
RESAMPLES = 200
DAYS_PER_BLOCK = 7
GAP_DAYS = 7
INTERVAL = (0.025, 0.975)
MOST_STEPS = 100
CONVERGED = 1e-9
# Log odds beyond are as certain as a double can say.
EXTREME = 30.0
LARGEST_FACTOR = 1e4

Days = NDArray[np.datetime64]


def expit(log_odds: ArrayLike) -> Floats:
    """Return the probability of log odds."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(log_odds, np.float64)))


def logit(p: ArrayLike) -> Floats:
    """Return the log odds of a probability, those of 0 and 1 cut off at 30."""
    probability = np.asarray(p, np.float64)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(probability) - np.log1p(-probability), -EXTREME, EXTREME)


@dataclass(frozen=True, eq=False)
class Calibrator:
    """A rising curve from log odds to probabilities, and its uncertainty.

    Attributes
    ----------
    kind
        `sigmoid`, `isotonic` or `beta`; `none` where only the rate was multiplied by a factor.
    parameters
        Sigmoid: slope, intercept. Beta: a, b, c. Isotonic: (2, k) log odds before and after.
        None: the factor on the expected events.
    grid
        (k,) calibrated log odds, rising, at which the interval is known.
    below, above
        (k,) how far the ends of the 95 % interval lie from them, in log odds: ≤ 0 and ≥ 0.
    """

    kind: str
    parameters: Floats
    grid: Floats
    below: Floats
    above: Floats

    def p(self, log_odds: ArrayLike) -> Floats:
        """Return calibrated probabilities of uncalibrated log odds, (n,)."""
        bent = CURVES[self.kind](self.parameters, np.asarray(log_odds, np.float64))
        return expit(np.clip(bent, -EXTREME, EXTREME))

    def interval(self, p: ArrayLike) -> tuple[Floats, Floats]:
        """Return the ends of the 95 % interval of calibrated probabilities, (n,).

        It tells how the curve varies with the weeks it was fitted on, not how the model does.
        """
        own = logit(p)
        ends = [expit(own + np.interp(own, self.grid, side)) for side in (self.below, self.above)]
        exact = np.asarray(p, np.float64)
        return np.minimum(ends[0], exact), np.maximum(ends[1], exact)


@dataclass(frozen=True, eq=False)
class Bins:
    """A block of days, binned by log odds.

    Attributes
    ----------
    centre
        (k,) mean log odds of each bin, rising.
    events, rows
        (d, k) cell-days with an event, and all, of each day and bin.
    """

    centre: Floats
    events: Floats
    rows: Floats

    @property
    def whole(self) -> tuple[Floats, Floats]:
        """Events and rows of each bin, over all days."""
        return self.events.sum(axis=0), self.rows.sum(axis=0)


def binned(log_odds: Floats, is_event: Bools, day: Days) -> Bins:
    """Sort cell-days into at most 200 bins of log odds, day by day.

    Raises
    ------
    ValueError
        There is no row, or log odds are unknown.
    """
    if not log_odds.size or not np.isfinite(log_odds).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(log_odds))} of {log_odds.size} log odds are unknown; "
            "a curve is fitted on some, all known"
        )
    order = np.argsort(log_odds, kind="stable")
    rising = log_odds[order]
    edges = []
    for weight in (np.ones(rising.size), expit(rising)):
        passed = np.cumsum(weight) / weight.sum()
        wanted = np.arange(1, MOST_BINS // 2) / (MOST_BINS // 2)
        edges.append(rising[np.minimum(np.searchsorted(passed, wanted), rising.size - 1)])
    bin_of = np.searchsorted(np.unique(np.concatenate(edges)), log_odds, side="left")
    _, bin_of = np.unique(bin_of, return_inverse=True)
    days, day_of = np.unique(day, return_inverse=True)
    bins = int(bin_of.max()) + 1
    slot, shape = day_of * bins + bin_of, (days.size, bins)
    size = days.size * bins
    # Subtracting the least before and adding it after keeps the mean of equal values exact.
    least = rising[0]
    centre = np.bincount(bin_of, log_odds - least, bins) / np.bincount(bin_of, minlength=bins)
    return Bins(
        centre + least,
        np.bincount(slot, is_event, size).reshape(shape).astype(np.float64),
        np.bincount(slot, minlength=size).reshape(shape).astype(np.float64),
    )


def calibrated(log_odds: Floats, is_event: Bools, day: Days, seed: int) -> Calibrator:
    """Choose a curve, fit it on a block of days, and say how far it varies.

    Each kind is fitted on the earlier half of the days; the one of the least log loss on the later
    half, seven days after, is fitted anew on all of them. Isotonic takes part from 1,000 events in
    the earlier half on. The interval is that of 200 refits of the chosen kind on blocks of seven
    days in a row, drawn with replacement (Künsch 1989, https://doi.org/10.1214/aos/1176347265): a
    block of four weeks holds few of them, so it is rough.

    Parameters
    ----------
    log_odds, is_event, day
        (n,) of the cell-days of the block.
    seed
        Of the resamples.
    """
    return _with_interval(
        chosen_kind(log_odds, is_event, day), binned(log_odds, is_event, day), seed
    )


def calibrated_in_the_large(log_odds: Floats, is_event: Bools, day: Days, seed: int) -> Calibrator:
    """Multiply the rate behind each probability so that as many events are forecast as came."""
    return _with_interval("none", binned(log_odds, is_event, day), seed)


def uncalibrated() -> Calibrator:
    """Return the curve that changes nothing, and of whose error nothing is known."""
    return Calibrator("none", np.ones(1), np.zeros(1), np.zeros(1), np.zeros(1))


def chosen_kind(log_odds: Floats, is_event: Bools, day: Days) -> str:
    """Return the kind of the least log loss on the later half of a block; arguments as above."""
    days, day_of = np.unique(day, return_inverse=True)
    until = max((days.size - GAP_DAYS) // 2, 0)
    is_early, is_late = day_of < until, day_of >= until + GAP_DAYS
    kinds = ["sigmoid", "beta"]
    if is_event[is_early].sum() >= FEWEST_FOR_ISOTONIC:
        kinds.append("isotonic")
    if not (is_event[is_early].any() and is_event[is_late].any()):
        return "sigmoid"
    bins = binned(log_odds[is_early], is_event[is_early], day[is_early])
    losses = {}
    for kind in kinds:
        bent = CURVES[kind](FITS[kind](bins.centre, *bins.whole), log_odds[is_late])
        losses[kind] = float(np.mean(np.logaddexp(0.0, bent) - bent * is_event[is_late]))
    return min(losses, key=losses.__getitem__)


def logistic_coefficients(
    design: Floats, events: Floats, rows: Floats, prior: Floats, precision: Floats
) -> Floats:
    """Return the most likely coefficients of a logistic regression with a normal prior.

    Newton's method, halving a step that does not help. The likelihood is that of `events` of `rows`
    in each row of the design.

    Parameters
    ----------
    design
        (n, q), a column of ones included.
    events, rows
        (n,) counts, fractions allowed.
    prior, precision
        (q,) mean and inverse variance of the prior; 0 leaves a coefficient free.
    """

    def objective(beta: Floats) -> float:
        log_odds = design @ beta
        gained = log_odds @ events - np.logaddexp(0.0, log_odds) @ rows
        return float(gained - precision @ (beta - prior) ** 2 / 2)

    found = prior.copy()
    reached = objective(found)
    for _ in range(MOST_STEPS):
        p = expit(design @ found)
        slope = design.T @ (events - rows * p) - precision * (found - prior)
        bend = (design * (rows * p * (1 - p))[:, None]).T @ design + np.diag(precision)
        step = np.linalg.solve(bend, slope)
        before = reached
        while (reached := objective(found + step)) < before and np.abs(step).max() > CONVERGED:
            step = step / 2
        if reached - before <= CONVERGED * max(abs(before), 1.0):
            break
        found = found + step
    return found


def _platt_events(events: Floats, rows: Floats) -> Floats:
    """Return the events to fit by: Platt's targets keep a block without any from certainty."""
    total, others = events.sum(), (rows - events).sum()
    return events * (total + 1) / (total + 2) + (rows - events) / (others + 2)


def _fit_sigmoid(centre: Floats, events: Floats, rows: Floats) -> Floats:
    """Return slope and intercept (Platt 1999); the slope is 1 ± 1 before it is known.

    Its prior weighs as much as one observation and keeps a block without events from flattening the
    ranking. A slope below 0 would turn the ranking round: 0 then.
    """
    prior, precision = np.array([1.0, 0.0]), np.array([1.0, 0.0])
    targets = _platt_events(events, rows)
    design = np.stack([centre, np.ones_like(centre)], axis=1)
    found = logistic_coefficients(design, targets, rows, prior, precision)
    if found[0] < 0:
        level = logit(targets.sum() / rows.sum())
        return np.array([0.0, float(level)])
    return found


def _fit_beta(centre: Floats, events: Floats, rows: Floats) -> Floats:
    """Return a, b and c of beta calibration, a and b at least 0 and 1 ± 1 before they are known.

    Kull, Silva Filho and Flach 2017, https://proceedings.mlr.press/v54/kull17a.html
    """
    targets = _platt_events(events, rows)
    design = np.stack([*_beta_terms(centre), np.ones_like(centre)], axis=1)
    prior, precision = np.array([1.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0])
    is_free = np.ones(3, np.bool_)
    found = np.zeros(3)
    while is_free.any():
        found = np.zeros(3)
        found[is_free] = logistic_coefficients(
            design[:, is_free], targets, rows, prior[is_free], precision[is_free]
        )
        is_wrong = np.array([*(found[:2] < 0), False])
        if not is_wrong.any():
            break
        is_free &= ~is_wrong
    return found


def _fit_isotonic(centre: Floats, events: Floats, rows: Floats) -> Floats:
    """Return (2, k) log odds before and after, at the centres of the steps of isotonic regression.

    Lines between the centres of the steps (Oron and Flournoy 2017,
    https://doi.org/10.1080/19466315.2017.1286256) keep the ranking, which steps lose.
    """
    from scipy.optimize import isotonic_regression

    is_seen = rows > 0
    centre, events, rows = centre[is_seen], events[is_seen], rows[is_seen]
    blocks = isotonic_regression(events / rows, weights=rows).blocks
    within, came, middle = (
        np.add.reduceat(values, blocks[:-1]) for values in (rows, events, centre * rows)
    )
    # Half an event stands in for none, and for all.
    p = np.clip(came / within, 0.5 / (within + 1), (within + 0.5) / (within + 1))
    return np.stack([middle / within, np.maximum.accumulate(logit(p))])


def _fit_factor(centre: Floats, events: Floats, rows: Floats) -> Floats:
    """Return the factor on the expected events by which mean probability and base rate agree.

    By Newton's method from below: the mean is concave in the factor, so no step goes too far.
    """
    wanted = (events.sum() + 0.5) / (rows.sum() + 1)
    expected, share = np.logaddexp(0.0, centre), rows / rows.sum()
    # Too small: 1 - exp(-x) ≤ x.
    factor = wanted / float(expected @ share)
    for _ in range(MOST_STEPS):
        others = np.exp(-factor * expected)
        missing = wanted - float((1 - others) @ share)
        step = missing / float((others * expected) @ share)
        factor = min(factor + step, LARGEST_FACTOR)
        if abs(step) <= CONVERGED * factor or factor == LARGEST_FACTOR:
            break
    return np.array([max(factor, 1 / LARGEST_FACTOR)])


def _beta_terms(log_odds: Floats) -> tuple[Floats, Floats]:
    """Return ln q and -ln(1 - q) of the probability q of log odds."""
    return -np.logaddexp(0.0, -log_odds), np.logaddexp(0.0, log_odds)


def _sigmoid(parameters: Floats, log_odds: Floats) -> Floats:
    return parameters[0] * log_odds + parameters[1]


def _beta(parameters: Floats, log_odds: Floats) -> Floats:
    first, second = _beta_terms(log_odds)
    return parameters[0] * first + parameters[1] * second + parameters[2]


def _isotonic(parameters: Floats, log_odds: Floats) -> Floats:
    """Beyond the outermost steps the curve goes on as steep as log odds themselves."""
    before, after = parameters
    beyond = log_odds - np.clip(log_odds, before[0], before[-1])
    return np.interp(log_odds, before, after) + beyond


def _factor(parameters: Floats, log_odds: Floats) -> Floats:
    """Of p = 1 - exp(-factor * rate); near 0 and 1 without the loss of digits of 1 - p."""
    events = parameters[0] * np.logaddexp(0.0, log_odds)
    return np.where(events > EXTREME, events, np.log(np.expm1(np.minimum(events, EXTREME))))


CURVES: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "sigmoid": _sigmoid,
    "beta": _beta,
    "isotonic": _isotonic,
    "none": _factor,
}
FITS: Mapping[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "sigmoid": _fit_sigmoid,
    "beta": _fit_beta,
    "isotonic": _fit_isotonic,
    "none": _fit_factor,
}


def _with_interval(kind: str, bins: Bins, seed: int) -> Calibrator:
    """Fit one kind on a block, and on resamples of its days."""
    parameters = FITS[kind](bins.centre, *bins.whole)
    own = CURVES[kind](parameters, bins.centre)
    times = _times_drawn(len(bins.rows), np.random.default_rng(seed))
    refits = np.stack(
        [
            CURVES[kind](FITS[kind](bins.centre, events, rows), bins.centre)
            for events, rows in zip(times @ bins.events, times @ bins.rows, strict=True)
        ]
    )
    days = len(bins.rows)
    # Few blocks differ too little.
    widened = np.sqrt(days / max(days - DAYS_PER_BLOCK, 1))
    below, above = np.quantile(refits - own, INTERVAL, axis=0) * widened
    return Calibrator(kind, parameters, own, np.minimum(below, 0.0), np.maximum(above, 0.0))


def _times_drawn(days: int, rng: np.random.Generator) -> Floats:
    """Return (200, d): how often each day is in each resample of blocks of days in a row."""
    starts = rng.integers(days, size=(RESAMPLES, -(-days // DAYS_PER_BLOCK), 1))
    drawn = ((starts + np.arange(DAYS_PER_BLOCK)) % days).reshape(RESAMPLES, -1)[:, :days]
    slot: Ints = drawn + days * np.arange(RESAMPLES)[:, None]
    times = np.bincount(slot.ravel(), minlength=RESAMPLES * days)
    return times.reshape(RESAMPLES, days).astype(np.float64)
