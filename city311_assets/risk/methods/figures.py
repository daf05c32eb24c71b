"""How good forecast probabilities were: against what happened, by bins, by groups, by decisions.

What belongs here: figures of probabilities beside events, of whatever model. What does not: which
model is served, and what it was fitted on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from city311_assets.gold.methods.arrays import Cells, Floats, Ints

BINS = 10
DRAWS = 500
# Days a week apart share none of the days they forecast: whole weeks are drawn, not single days.
BLOCK_DAYS = 7
# From hardly ever worth a look to as likely as not; a threshold t says that a look in vain costs
# t / (1 - t) of what one that finds something saves.
THRESHOLDS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
# A certain forecast that is wrong has an infinite loss; it is taken for this much less certain.
LEAST_P = float(np.finfo(np.float64).eps)
NEWTON_STEPS = 50
# A slope beyond this is one that grows for ever: events and others lie wholly apart.
STEEPEST = 1e3
MOST_CULPRITS = 5

Rows = list[dict[str, float]]
WardRows = list[dict[str, str | float | None]]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one set of forecasts, named and meant as the columns of `risk.models`."""

    cell_days: int
    events: int
    base_rate: float
    mean_p: float
    brier: float
    brier_skill: float
    log_loss: float
    pr_auc: float | None
    ece: float
    ece_low: float
    ece_high: float
    calibration_slope: float | None
    precision_top_1pct: float
    recall_top_1pct: float | None
    precision_top_5pct: float
    recall_top_5pct: float | None


def figures(
    p: ArrayLike,
    is_event: ArrayLike,
    day_index: ArrayLike,
    cell: ArrayLike,
    climatology_p: ArrayLike,
    *,
    seed: int,
) -> Figures:
    """Return how good probabilities were; what each figure is, is said in the class's table.

    The interval of the calibration error is drawn from whole weeks (`BLOCK_DAYS` days in a row,
    the last day followed by the first), since days share what they forecast; what the draws differ
    by is widened by sqrt(d / (d - 7)) of d days, for few blocks differ too little. A resampled
    calibration error has the noise of the original and its own, so its own quantiles lie too high.
    The lower end therefore is the figure less the 97.5 % quantile of what noise alone makes of no
    error at all, and 0 where it may be nothing else; the upper end is the 97.5 % quantile of the
    resampled figure, on the safe side. Where the truth was known such intervals held it in 92 to
    100 of 100 cities, the null among them. Of one day nothing is known: 0 to 1.

    Parameters
    ----------
    p, climatology_p
        Shape (n,): the probability of an event of each cell-day, by forecast and by climatology.
    is_event
        Shape (n,): whether there was one.
    day_index
        Shape (n,): its day, as any number that rises by 1 a day.
    cell
        Shape (n,): its cell. Among equal probabilities of a day the lower cell comes first.
    seed
        Of the draws of days.

    Raises
    ------
    ValueError
        If there is nothing to judge, lengths differ, or a probability is none.
    """
    forecast, happened = _judged(p, is_event)
    climate, _ = _judged(climatology_p, is_event)
    days, cells = np.asarray(day_index, np.int64), np.asarray(cell, np.uint64)
    _refuse_lengths(forecast, day_index=days, cell=cells)
    events = int(happened.sum())
    position = days - days.min()
    error, low, high = _calibration_error(forecast, happened, position, seed)
    brier, of_climate = (float(np.mean((q - happened) ** 2)) for q in (forecast, climate))
    rank, size = _daily_ranks(forecast, position, cells)
    narrow, wide = (_top(happened, rank, size, share) for share in (0.01, 0.05))
    return Figures(
        cell_days=len(forecast),
        events=events,
        base_rate=float(happened.mean()),
        mean_p=float(forecast.mean()),
        brier=brier,
        # Where climatology made no error there is no scale to measure by.
        brier_skill=1 - brier / of_climate if of_climate > 0 else 0.0,
        log_loss=log_loss(forecast, happened),
        pr_auc=average_precision(forecast, happened),
        ece=error,
        ece_low=low,
        ece_high=high,
        calibration_slope=calibration_slope(forecast, happened),
        precision_top_1pct=narrow[0],
        recall_top_1pct=narrow[1],
        precision_top_5pct=wide[0],
        recall_top_5pct=wide[1],
    )


def log_loss(p: ArrayLike, is_event: ArrayLike) -> float:
    """Return the mean negative log likelihood, nats; 0 and 1 are taken as very nearly so."""
    forecast, happened = _judged(p, is_event)
    certain = np.clip(forecast, LEAST_P, 1 - LEAST_P)
    return float(-np.mean(np.where(happened > 0, np.log(certain), np.log1p(-certain))))


def average_precision(p: ArrayLike, is_event: ArrayLike) -> float | None:
    """Return the precision at each probability that occurs, by what it adds to recall.

    Equal probabilities are one step, so the order of rows decides nothing. None without an event.
    """
    forecast, happened = _judged(p, is_event)
    total = happened.sum()
    if not total:
        return None
    order = np.argsort(-forecast, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(forecast[order])), len(order) - 1)
    found = happened[order].cumsum()[ends]
    return float(np.sum(np.diff(found, prepend=0.0) / total * (found / (ends + 1))))


def calibration_slope(p: ArrayLike, is_event: ArrayLike) -> float | None:
    """Return the slope of a logistic regression of events on the logit of the probability.

    By Newton's method. None where there is no such slope: without an event, with nothing else, of
    one probability throughout, or where probabilities set events and others wholly apart.
    """
    forecast, happened = _judged(p, is_event)
    certain = np.clip(forecast, LEAST_P, 1 - LEAST_P)
    logit = np.log(certain) - np.log1p(-certain)
    if happened.min() == happened.max() or np.ptp(logit) == 0:
        return None
    x = np.stack([np.ones_like(logit), logit], axis=1)
    fit = np.array([0.0, 1.0])
    best = _deviance(x, fit, happened)
    for _ in range(NEWTON_STEPS):
        q = 1 / (1 + np.exp(-np.clip(x @ fit, -700, 700)))
        curvature = (x * (q * (1 - q))[:, None]).T @ x
        if np.linalg.cond(curvature) > 1 / LEAST_P:
            return None
        step = np.asarray(np.linalg.solve(curvature, x.T @ (happened - q)), np.float64)
        while (now := _deviance(x, fit + step, happened)) > best + LEAST_P * abs(best):
            step *= 0.5
        fit, best = fit + step, now
        if abs(fit[1]) > STEEPEST:
            return None
        if np.abs(step).max() < 1e-9:
            return float(fit[1])
    return None


def reliability(p: ArrayLike, is_event: ArrayLike) -> Rows:
    """Return `mean_p, event_rate, cell_days` of bins of as many cell-days, by rising probability.

    Equal probabilities that two bins share are shared with the same event rate, so that the order
    of rows decides nothing.
    """
    forecast, happened = _judged(p, is_event)
    share = _shares(forecast)
    size = share.sum(axis=0)
    columns = (forecast @ share / size, happened @ share / size, np.rint(size).astype(np.int64))
    return [
        {"mean_p": mean, "event_rate": rate, "cell_days": rows}
        for mean, rate, rows in zip(*(column.tolist() for column in columns), strict=True)
    ]


def by_group(p: ArrayLike, is_event: ArrayLike, ward: pl.Series | Sequence[str | None]) -> WardRows:
    """Return `ward, mean_p, event_rate, cell_days` by ward; cells without one come last."""
    forecast, happened = _judged(p, is_event)
    groups = pl.Series("ward", ward, pl.String)
    if len(groups) != len(forecast):
        raise ValueError(f"{len(groups)} wards for {len(forecast)} probabilities")
    found = (
        pl.DataFrame({"ward": groups, "p": forecast, "event": happened})
        .group_by("ward")
        .agg(
            pl.col("p").mean().alias("mean_p"),
            pl.col("event").mean().alias("event_rate"),
            pl.len().cast(pl.Int64).alias("cell_days"),
        )
    )
    return found.sort("ward", nulls_last=True).to_dicts()


def decision_curve(
    p: ArrayLike,
    is_event: ArrayLike,
    had_call_last_year: ArrayLike,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Rows:
    """Return `threshold, net_benefit, last_year, everywhere` of acting on a forecast.

    The net benefit of acting somewhere is the share of cell-days with an event where one acted,
    less the share without one times the odds of the threshold: what a look in vain costs, in events
    found (Vickers and Elkin 2006, https://doi.org/10.1177/0272989X06295361). Acting nowhere has 0.
    The forecast acts from the threshold on, `last_year` wherever there was a call in the year
    before, `everywhere` on each cell-day.

    Raises
    ------
    ValueError
        If a threshold is not between 0 and 1, or lengths differ.
    """
    forecast, happened = _judged(p, is_event)
    had = np.asarray(had_call_last_year, np.float64)
    _refuse_lengths(forecast, had_call_last_year=had)
    limits = np.asarray(thresholds, np.float64)
    if wrong := limits[~((limits > 0) & (limits < 1))].tolist():
        raise ValueError(f"thresholds {wrong} have no odds; they lie between 0 and 1")
    order = np.argsort(forecast, kind="stable")
    found = np.append(happened[order][::-1].cumsum()[::-1], 0.0)
    first = np.searchsorted(forecast[order], limits, side="left")
    odds, n = limits / (1 - limits), len(forecast)

    def net(hits: Floats | float, looks: Ints | float) -> list[float]:
        return ((hits - (looks - hits) * odds) / n).tolist()

    benefits = zip(
        limits.tolist(),
        net(found[first], n - first),
        net(float(had @ happened), float(had.sum())),
        net(float(happened.sum()), float(n)),
        strict=True,
    )
    names = ("threshold", "net_benefit", "last_year", "everywhere")
    return [dict(zip(names, values, strict=True)) for values in benefits]


def _calibration_error(
    p: Floats, happened: Floats, position: Ints, seed: int
) -> tuple[float, float, float]:
    """Return the expected calibration error and the ends of its interval."""
    share = _shares(p)
    bins, days, n = share.shape[1], int(position.max()) + 1, len(p)
    place = position[:, None] * bins + np.arange(bins)
    excess = share * (p - happened)[:, None] / n
    gaps = np.bincount(place.ravel(), excess.ravel(), days * bins).reshape(days, bins)
    gap = gaps.sum(axis=0)
    error = float(np.abs(gap).sum())
    if days == 1:
        return error, 0.0, 1.0
    length = min(BLOCK_DAYS, days // 2)
    noise = (_drawn_days(days, length, seed) - 1) @ gaps * np.sqrt(days / (days - length))
    by_chance, again = (
        float(np.quantile(np.abs(values).sum(axis=1), 0.975)) for values in (noise, gap + noise)
    )
    return error, max(0.0, error - by_chance), min(1.0, max(error, again))


def _drawn_days(days: int, length: int, seed: int) -> Floats:
    """Return how often each day is drawn in circular blocks of days, shape (draws, days)."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, days, (DRAWS, -(-days // length)))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(DRAWS, -1)[:, :days] % days
    draw = np.arange(DRAWS)[:, None] * days
    times = np.bincount((draw + drawn).ravel(), minlength=DRAWS * days)
    return times.reshape(DRAWS, days).astype(np.float64)


def _shares(p: Floats) -> Floats:
    """Return which share of each row lies in each bin, shape (n, bins), by rising probability.

    Bins end at whole rows. Rows of equal probability have equal shares.
    """
    n = len(p)
    edges = np.rint(np.linspace(0, n, min(BINS, n) + 1))
    _, group, size = np.unique(p, return_inverse=True, return_counts=True)
    ends = size.cumsum()
    inside = np.minimum(ends[:, None], edges[1:]) - np.maximum((ends - size)[:, None], edges[:-1])
    return (np.maximum(inside, 0.0) / size[:, None])[group]


def _daily_ranks(p: Floats, position: Ints, cell: Cells) -> tuple[Ints, Ints]:
    """Return each row's rank among its day's by falling probability, from 0, and its day's size."""
    order = np.lexsort((cell, -p, position))
    size = np.bincount(position)
    rank = np.empty(len(p), np.int64)
    rank[order] = np.arange(len(p)) - (size.cumsum() - size)[position[order]]
    return rank, size[position]


def _top(happened: Floats, rank: Ints, size: Ints, share: float) -> tuple[float, float | None]:
    """Return precision and recall of the first ranks of every day, at least one of each."""
    is_top = rank < np.ceil(share * size)
    hits, events = float(happened[is_top].sum()), float(happened.sum())
    return hits / float(is_top.sum()), hits / events if events else None


def _deviance(x: Floats, fit: Floats, happened: Floats) -> float:
    logit = x @ fit
    return float(np.sum(np.logaddexp(0.0, logit) - happened * logit))


def _judged(p: ArrayLike, is_event: ArrayLike) -> tuple[Floats, Floats]:
    """Return probabilities and events (0 or 1) as numbers; refuse what cannot be judged."""
    forecast, happened = np.asarray(p, np.float64), np.asarray(is_event, np.float64)
    if not forecast.size:
        raise ValueError("there is no forecast to judge")
    _refuse_lengths(forecast, is_event=happened)
    # Turned round, so that an unknown number is refused too.
    if len(wrong := forecast[~((forecast >= 0) & (forecast <= 1))]):
        raise ValueError(
            f"{len(wrong)} of {len(forecast)} forecasts are no probabilities: "
            f"{wrong[:MOST_CULPRITS].tolist()}"
        )
    return forecast, happened


def _refuse_lengths(p: Floats, **others: Floats | Ints | Cells) -> None:
    for name, values in others.items():
        if values.shape != p.shape:
            raise ValueError(f"{name} has shape {values.shape}, the probabilities {p.shape}")
