"""What calls cost: water lost, energy to pump it, repair of breaks, and crews that look.

A Monte-Carlo over calls, breaks, severities and priors, made once for a grid of expected calls and
read off for every cell. What belongs here: the cost of calls that are expected. What does not:
where they are expected, and what can be done about them.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from city311_assets.gold.methods.arrays import Floats
from city311_assets.risk.methods.priors import Priors, Values

SEVERITIES = ("minor", "moderate", "major")
# A call closed within a day is taken for a minor one, within a week for a moderate one: what runs
# longer loses more. Nobody measures the water, so this is an assumption.
MODERATE_FROM_HOURS = 24.0
MAJOR_FROM_HOURS = 168.0
# The priors' shares weigh as much as so many calls of the target's own.
SHARES_PRIOR_CALLS = 50.0
SHARE_DIGITS = 2
RATIO_DIGITS = 1

WATER_KG_PER_M3 = 1_000.0
GRAVITY_M_PER_S2 = 9.80665
JOULES_PER_KWH = 3.6e6

DRAWS = 8_000
POINTS = 60
MOST_CLUSTERS, MOST_CALLS = 40, 96
# Where the grid ends; costs of more calls are taken to grow in proportion.
MOST_EXPECTED_CLUSTERS = 16.0
QUANTILES = {"p50": 0.5, "p90": 0.9}


@dataclass(frozen=True, eq=False)
class CostGrid:
    """Costs of 7 days for any number of expected calls, US dollars.

    Attributes
    ----------
    water, energy, repair, response
        Mean cost of a call, US dollars.
    calls_per_cluster
        Calls that come together on average, at least 1.
    at
        Of each quantile: expected clusters, rising from where it leaves 0.
    cost
        Of each quantile: its cost there, US dollars.
    """

    water: float
    energy: float
    repair: float
    response: float
    calls_per_cluster: float
    at: dict[str, Floats]
    cost: dict[str, Floats]


@dataclass(frozen=True, eq=False)
class Priced:
    """Costs of 7 days, US dollars, each (n,): the mean, two quantiles, and the mean's parts."""

    expected: Floats
    p50: Floats
    p90: Floats
    water: Floats
    energy: Floats
    repair: Floats
    response: Floats


def severity_shares(calls: ArrayLike, priors: Priors) -> Floats:
    """Return the shares of minor, moderate and major calls, (..., 3), adding up to 1.

    The mean of a Dirichlet posterior: the calls counted, beside `SHARES_PRIOR_CALLS` at the priors.
    Rounded to whole percents, so that days that differ by chance share a grid.

    Parameters
    ----------
    calls
        (..., 3) calls of each severity.
    """
    counted = np.asarray(calls, np.float64)
    if counted.shape[-1:] != (len(SEVERITIES),) or (counted < 0).any():
        raise ValueError(f"calls of shape {counted.shape} are no counts of {SEVERITIES}")
    central = priors.at("central")
    prior = np.array([central[f"share_{severity}"] for severity in SEVERITIES])
    if not prior.sum() > 0:
        raise ValueError(f"the priors' shares of {SEVERITIES} are all 0; give one that is not")
    weighed = counted + SHARES_PRIOR_CALLS * prior / prior.sum()
    below = np.cumsum(weighed, axis=-1) / weighed.sum(axis=-1, keepdims=True)
    return np.diff(below.round(SHARE_DIGITS), axis=-1, prepend=0.0).round(SHARE_DIGITS)


def calls_per_cluster(p: Floats, expected_calls: Floats) -> float:
    """Return how many calls come together: expected calls by expected clusters, at least 1.

    Clusters that come independently are -ln(1 - p) where one or more come with probability p.
    Rounded, so that models that differ little share a grid.
    """
    clusters = float(-np.log1p(-np.minimum(p, 1 - 1e-12)).sum())
    if clusters <= 0:
        return 1.0
    return max(1.0, round(float(expected_calls.sum()) / clusters, RATIO_DIGITS))


def parts_of_a_call(values: Values, shares: Floats) -> dict[str, float | Floats]:
    """Return what a call costs on average, US dollars: water, energy, repair and response.

    Energy is that of lifting water that is lost: density times gravity times head by efficiency.

    Parameters
    ----------
    values
        A number, or (n,) draws, of each prior.
    shares
        (3,) shares of the severities.
    """
    volume = sum(
        share * values[f"volume_{severity}"]
        for share, severity in zip(shares.tolist(), SEVERITIES, strict=True)
    )
    return {
        "water": volume * values["water_price"],
        "energy": volume * _energy_usd_per_m3(values),
        "repair": values["break_given_call"] * values["repair_cost"],
        "response": values["response_hours"] * values["crew_hour"],
    }


def cost_grid(priors: Priors, shares: Floats, seed: int, calls_together: float = 1.0) -> CostGrid:
    """Return the costs of 7 days over a grid of expected calls.

    Clusters of calls come by a Poisson process, of 1 call and a Poisson number of others: with
    expected clusters -ln(1 - p) the chance of a call is p, and calls average what is expected. Of
    each call a severity and whether it is a break are drawn, for each draw of the priors. Means are
    exact over the draws and go with the calls; quantiles are drawn given a call, and at the chance
    of none they are 0. The same draws serve every point: quantiles rise with the calls.

    Parameters
    ----------
    priors
        Where the numbers are from.
    shares
        (3,) shares of the severities, adding up to 1.
    seed
        Of every draw.
    calls_together
        Calls of a cluster on average, at least 1.
    """
    if not np.isclose(np.sum(shares), 1.0) or calls_together < 1:
        raise ValueError(f"shares {shares} do not add up to 1, or {calls_together} is less than 1")
    return _grid(priors, tuple(np.asarray(shares, np.float64).tolist()), seed, calls_together)


# Shares and calls of a cluster are rounded: years of days need a few dozen.
@lru_cache(maxsize=128)
def _grid(priors: Priors, shares: tuple[float, ...], seed: int, calls_together: float) -> CostGrid:
    of_severities = np.array(shares)
    prior_rng, call_rng = np.random.default_rng(seed).spawn(2)
    values = priors.draws(prior_rng, DRAWS)
    parts = parts_of_a_call(values, of_severities)
    of_first_calls = _cost_of_first_calls(values, of_severities, call_rng)
    others = call_rng.poisson(calls_together - 1, (DRAWS, MOST_CLUSTERS))
    calls = np.minimum(np.cumsum(1 + others, axis=1), MOST_CALLS)
    # As even as can be: one number in each of so many parts of the unit interval.
    even = (call_rng.permutation(DRAWS) + call_rng.random(DRAWS)) / DRAWS
    at, cost = {}, {}
    for name, level in QUANTILES.items():
        # Below this many clusters none comes so often that the quantile is 0.
        first = -np.log(level)
        at[name] = first + (MOST_EXPECTED_CLUSTERS - first) * np.linspace(0, 1, POINTS) ** 2
        given_a_call = 1 - (1 - level) / -np.expm1(-at[name])
        drawn = _positive_poisson(at[name], even)
        costs = np.sort(of_first_calls[np.arange(DRAWS), _taken(calls, drawn) - 1], axis=1)
        place = np.maximum(given_a_call, 0) * (DRAWS - 1)
        low = place.astype(np.int64)
        high = np.minimum(low + 1, DRAWS - 1)
        row = np.arange(POINTS)
        cost[name] = costs[row, low] + (place - low) * (costs[row, high] - costs[row, low])
    return CostGrid(
        **{name: float(np.mean(part)) for name, part in parts.items()},
        calls_per_cluster=calls_together,
        at=at,
        cost=cost,
    )


def priced(grid: CostGrid, expected_calls: ArrayLike) -> Priced:
    """Return what the calls of 7 days cost in each of n cells, US dollars.

    Parameters
    ----------
    grid
        Of the priors in use.
    expected_calls
        (n,) calls expected in those days.
    """
    calls = np.asarray(expected_calls, np.float64)
    if not (np.isfinite(calls) & (calls >= 0)).all():
        raise ValueError(f"{np.sum(~(calls >= 0))} expected calls are negative or unknown")
    clusters = calls / grid.calls_per_cluster
    beyond = np.maximum(clusters / MOST_EXPECTED_CLUSTERS, 1.0)
    quantiles = {
        name: beyond * np.interp(clusters, grid.at[name], grid.cost[name], left=0.0)
        for name in QUANTILES
    }
    parts = {
        name: calls * getattr(grid, name) for name in ("water", "energy", "repair", "response")
    }
    return Priced(
        expected=parts["water"] + parts["energy"] + parts["repair"] + parts["response"],
        **quantiles,
        **parts,
    )


def _energy_usd_per_m3(values: Values) -> float | Floats:
    """Return what pumping a cubic metre costs: the work of lifting it, by efficiency and price."""
    joules = WATER_KG_PER_M3 * GRAVITY_M_PER_S2 * values["head"] / values["pump_efficiency"]
    return joules / JOULES_PER_KWH * values["electricity_price"]


def _cost_of_first_calls(
    values: dict[str, Floats], shares: Floats, rng: np.random.Generator
) -> Floats:
    """Return the cost of the first 1, 2, ... calls of each draw, (DRAWS, MOST_CALLS)."""
    shape = (DRAWS, MOST_CALLS)
    severity = np.searchsorted(np.cumsum(shares)[:-1], rng.random(shape), side="right")
    volumes = np.stack([values[f"volume_{name}"] for name in SEVERITIES], axis=1)
    volume = np.take_along_axis(volumes, severity, axis=1)
    is_break = rng.random(shape) < values["break_given_call"][:, None]
    per_m3 = values["water_price"] + _energy_usd_per_m3(values)
    response = values["response_hours"] * values["crew_hour"]
    cost = response[:, None] + volume * per_m3[:, None] + is_break * values["repair_cost"][:, None]
    return np.cumsum(cost, axis=1)


def _positive_poisson(mean: Floats, uniform: Floats) -> np.ndarray:
    """Return Poisson numbers given that they are not 0, (means, draws), at most `MOST_CLUSTERS`."""
    k = np.arange(1, MOST_CLUSTERS + 1)
    log_chance = k * np.log(mean)[:, None] - mean[:, None] - np.cumsum(np.log(k))
    below = np.cumsum(np.exp(log_chance), axis=1) / -np.expm1(-mean)[:, None]
    drawn = [np.searchsorted(row, uniform) + 1 for row in below]
    return np.minimum(np.stack(drawn), MOST_CLUSTERS)


def _taken(calls: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return the calls of each draw's first so many clusters, (means, draws)."""
    return calls[np.arange(len(calls)), clusters - 1]
