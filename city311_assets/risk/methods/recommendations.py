"""What to do where: actions that pay, on clusters of adjacent cells, and the set that fits a day.

What belongs here: what an action saves and costs, which cells it is worth doing in, and which of
these are chosen. What does not: how many calls are expected, and what they cost.
"""

import hashlib
import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import shapely
from numpy.typing import ArrayLike

from city311_assets.gold.methods.arrays import Bools, Cells, Floats, Ints
from city311_assets.risk.methods.costs import parts_of_a_call, severity_shares
from city311_assets.risk.methods.priors import End, Priors, Values

if TYPE_CHECKING:
    from scipy import sparse

PRESSURE_STEP, LEAK_SURVEY = "pressure_step", "leak_survey"
STEPS_PSI = (3.0, 5.0, 8.0)
# No street is to fall below it, whatever a step saves.
FLOOR_PSI = 20.0
# The hours of the window in which little is drawn, 01:00 to 05:00.
NIGHT_HOURS, HOURS = 4.0, 24.0
NIGHT_WINDOW = "01:00-05:00"
# What one crew works in a day: no cluster takes more.
CREW_DAY_HOURS = 8.0
DRAWS = 8_000
# A tenth of a metre.
COORDINATE_DIGITS = 6
ID_DIGITS = 12


@dataclass(frozen=True)
class Action:
    """Something that can be done in a cluster of cells, for 7 days.

    Attributes
    ----------
    name, step_psi
        `pressure_step` and by how much, or `leak_survey` and 0.
    saving_usd, saving_low, saving_high
        Saved of each expected call: on average, and with every prior at the end that saves least,
        or most.
    cost_usd, cost_usd_per_cell
        What it costs whatever the size of the cluster, and for each cell.
    hours, hours_per_cell
        Crew hours, likewise.
    """

    name: str
    step_psi: float
    saving_usd: float
    saving_low: float
    saving_high: float
    cost_usd: float
    cost_usd_per_cell: float
    hours: float
    hours_per_cell: float

    @property
    def most_cells(self) -> int:
        """How many cells a crew can do in a day; a cell alone is always one of them."""
        left = CREW_DAY_HOURS - self.hours
        return max(1, int(left / self.hours_per_cell)) if self.hours_per_cell > 0 else 1_000_000

    def net(self, calls: ArrayLike, cells: ArrayLike) -> Floats:
        """Return what it saves less what it costs, with so many calls expected on so many cells."""
        saving = self.saving_usd * np.asarray(calls, np.float64)
        return saving - self.cost_usd - self.cost_usd_per_cell * np.asarray(cells, np.float64)


@dataclass(frozen=True, eq=False)
class Recommendation:
    """An action on a cluster; `members` are the places of its cells, rising."""

    members: Ints
    action: Action
    calls: float
    net_usd: float
    is_chosen: bool = False

    @property
    def cost_usd(self) -> float:
        """What the action costs here."""
        return self.action.cost_usd + self.action.cost_usd_per_cell * len(self.members)

    @property
    def hours(self) -> float:
        """The crew hours it takes here."""
        return self.action.hours + self.action.hours_per_cell * len(self.members)


def actions(priors: Priors, shares: Floats, seed: int) -> tuple[Action, ...]:
    """Return what can be done, with what it saves of a call and costs on average over the priors.

    Parameters
    ----------
    priors
        Where the numbers are from.
    shares
        (3,) shares of the severities of calls.
    seed
        Of the draws.

    Notes
    -----
    A step of dP lowers what goes with the n-th power of the pressure P by 1 - ((P - dP) / P)^n:
    breaks, with their own exponent, and in the hours of the night what leaks. A survey finds a
    share of the breaks to come: their water is not lost, and a planned repair costs less. Neither
    lowers the number of calls that somebody must look after. Steps that would take the central
    pressure below `FLOOR_PSI` are not offered; none is drawn to go below it.
    """
    return _actions(priors, tuple(np.asarray(shares, np.float64).tolist()), seed)


# Shares are rounded: years of days need a few dozen.
@lru_cache(maxsize=128)
def _actions(priors: Priors, of_severities: tuple[float, ...], seed: int) -> tuple[Action, ...]:
    shares = np.array(of_severities)
    values = priors.draws(np.random.default_rng(seed), DRAWS)
    low, central, high = (priors.at(end) for end in ("low", "central", "high"))
    steps = [step for step in STEPS_PSI if float(central["pressure"]) - step >= FLOOR_PSI]
    found = []
    for step in (*steps, 0.0):
        saving = _step_saving if step else _survey_saving
        mean = float(np.mean(saving(values, shares, step)))
        hours, hours_per_cell = (
            ("pressure_setup_hours", "pressure_hours") if step else (None, "survey_hours")
        )
        fixed = float(np.mean(values[hours])) if hours else 0.0
        crew = float(np.mean(values["crew_hour"]))
        each = float(np.mean(values[hours_per_cell]))
        found.append(
            Action(
                name=PRESSURE_STEP if step else LEAK_SURVEY,
                step_psi=step,
                saving_usd=mean,
                # Where the floor holds a step back, a low pressure is no longer the end that saves
                # most.
                saving_low=min(mean, float(saving(low, shares, step))),
                saving_high=max(mean, float(saving(high, shares, step))),
                cost_usd=fixed * crew
                + (float(np.mean(values["pressure_test_cost"])) if step else 0),
                cost_usd_per_cell=each * crew + step**2 * float(np.mean(values["service_loss"])),
                hours=fixed,
                hours_per_cell=each,
            )
        )
    return tuple(found)


def recommendations(
    calls: Floats, adjacency: "sparse.csr_array", offered: Sequence[Action], crew_hours: float
) -> list[Recommendation]:
    """Return the clusters in which an action pays, the highest net benefit first.

    A cell belongs to a cluster if its best action pays there, with a share of what the action costs
    as a whole as small as it can get. Adjacent cells of one kind of action are a cluster. Where it
    takes a crew more than a day it is cut: from the cell that nets most the piece grows by the
    adjacent one that does, until the day is full; the rest is cut likewise. Each piece gets the
    action, of those a crew can do there in a day, that nets most, and is left out if none pays.

    Parameters
    ----------
    calls
        (n,) calls expected in each cell in 7 days.
    adjacency
        n x n: not 0 where cells touch.
    offered
        The actions.
    crew_hours
        What the chosen ones may take together.
    """
    if not offered or not len(calls):
        return []
    # With as many cells as a crew can do, a cell's share of the fixed cost is the smallest.
    gains = np.stack(
        [
            action.saving_usd * calls
            - action.cost_usd_per_cell
            - action.cost_usd / action.most_cells
            for action in offered
        ]
    )
    best = gains.argmax(axis=0)
    gain = gains[best, np.arange(len(calls))]
    kinds = np.array([action.name for action in offered])[best]
    pieces: list[Ints] = []
    for kind in sorted({action.name for action in offered}):
        (inside,) = np.nonzero((gain > 0) & (kinds == kind))
        most = max(action.most_cells for action in offered if action.name == kind)
        pieces += _pieces(inside, gain, adjacency, most)
    found = _paying(pieces, calls, offered)
    found.sort(key=lambda one: (-one.net_usd, one.members[0]))
    is_chosen = knapsack(
        np.array([one.net_usd for one in found]),
        np.array([one.hours for one in found]),
        crew_hours,
    )
    return [
        Recommendation(one.members, one.action, one.calls, one.net_usd, bool(chosen))
        for one, chosen in zip(found, is_chosen, strict=True)
    ]


def knapsack(net: Floats, hours: Floats, budget: float) -> Bools:
    """Return the set of the highest net benefit that takes no more hours than there are.

    Exact, by branch and bound (HiGHS); never worse than `greedy`.

    Parameters
    ----------
    net, hours
        (k,) both above 0.
    budget
        Hours that there are.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    taken = greedy(net, hours, budget)
    (fitting,) = np.nonzero(hours <= budget)
    if taken[fitting].all():
        return taken
    is_sure, is_open = _settled(net, hours, budget, float(net[taken].sum()))
    (left,) = np.nonzero(is_open)
    if not len(left):
        return taken
    solved = milp(
        -net[left],
        integrality=np.ones(len(left)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(hours[left][None, :], ub=budget - hours[is_sure].sum()),
        options={"mip_rel_gap": 0.0},
    )
    if solved.x is None:
        return taken
    optimal = is_sure.copy()
    optimal[left] = solved.x > 0.5
    # The solver's tolerance is no hour that anybody has.
    is_better = hours[optimal].sum() <= budget and net[optimal].sum() > net[taken].sum()
    return optimal if is_better else taken


def greedy(net: Floats, hours: Floats, budget: float) -> Bools:
    """Return what is taken by falling net benefit an hour, as far as it fits."""
    taken = np.zeros(len(net), np.bool_)
    left = budget
    for one in np.argsort(-net / hours, kind="stable").tolist():
        if hours[one] <= left:
            taken[one] = True
            left -= float(hours[one])
    return taken


def kept_ids(
    clusters: Sequence[Cells],
    previous: Sequence[tuple[str, Cells]],
    target: str,
    day: date,
) -> list[str]:
    """Return the name of each cluster: that of the day before's it mostly is, else a new one.

    A cluster is one of the day before if they share more than half of the smaller one's cells;
    the pairs that share most come first, and each name is given once.

    Parameters
    ----------
    clusters
        The cells of each cluster of the day, none of them twice.
    previous
        Name and cells of each of the day before.
    target, day
        What a new name is made of, with the cluster's first cell.
    """
    owner = {cell: at for at, (_, cells) in enumerate(previous) for cell in cells.tolist()}
    shared: dict[tuple[int, int], int] = {}
    for at, cells in enumerate(clusters):
        for cell in cells.tolist():
            if (old := owner.get(cell)) is not None:
                shared[at, old] = shared.get((at, old), 0) + 1
    ids: dict[int, str] = {}
    given: set[int] = set()
    for (at, old), count in sorted(shared.items(), key=lambda pair: (-pair[1], pair[0])):
        smaller = min(len(clusters[at]), len(previous[old][1]))
        if at not in ids and old not in given and 2 * count > smaller:
            ids[at] = previous[old][0]
            given.add(old)
    return [
        ids.get(at) or _new_id(target, day, int(cells.min())) for at, cells in enumerate(clusters)
    ]


def outlines(clusters: Sequence[Cells]) -> pl.DataFrame:
    """Return the dissolved outline of each cluster of adjacent cells, and a point in it.

    Columns `geometry` (GeoJSON, the outer ring counter-clockwise and holes clockwise, RFC 7946),
    `latitude` and `longitude`, degrees.
    """
    drawn = np.array([_polygon(cells.tolist()) for cells in clusters], dtype=object)
    # The library's outer rings are counter-clockwise, but nothing it says promises that.
    areas = shapely.orient_polygons(drawn, exterior_cw=False)
    points = shapely.point_on_surface(areas)
    return pl.DataFrame(
        {
            "geometry": shapely.to_geojson(areas),
            "latitude": shapely.get_y(points),
            "longitude": shapely.get_x(points),
        },
        schema={"geometry": pl.String, "latitude": pl.Float64, "longitude": pl.Float64},
    )


def parameters(recommendation: Recommendation, area_km2: float) -> str:
    """Return what an action is to be done with, JSON."""
    said: dict[str, object] = {"cells": len(recommendation.members), "area_km2": round(area_km2, 2)}
    if recommendation.action.step_psi:
        said |= {
            "step_psi": recommendation.action.step_psi,
            "floor_psi": FLOOR_PSI,
            "window": NIGHT_WINDOW,
            "nights": 7,
        }
    return json.dumps(said)


def at_the_ends(
    priors: Priors,
    severities: ArrayLike,
    calls: Floats,
    adjacency: "sparse.csr_array",
    *,
    crew_hours: float,
    seed: int,
) -> pl.DataFrame:
    """Return what becomes of a day's work list with each prior at its low and its high end.

    Parameters
    ----------
    priors, seed
        As of `actions`.
    severities
        (3,) calls of each severity that were counted: their shares depend on the priors' too.
    calls, adjacency, crew_hours
        As of `recommendations`.

    Returns
    -------
    pl.DataFrame
        A row a prior and end: `prior, end, value, kind`, the `recommended` clusters, the chosen
        ones' `net_benefit_usd`, and `shared_cells`: the share of the cells chosen with the priors
        as they are, or then, that are chosen both times; null if none is either time.
    """

    def planned(known: Priors) -> tuple[int, float, set[int]]:
        shares = severity_shares(severities, known)
        listed = recommendations(calls, adjacency, actions(known, shares, seed), crew_hours)
        chosen = [one for one in listed if one.is_chosen]
        cells = {at for one in chosen for at in one.members.tolist()}
        return len(listed), sum(one.net_usd for one in chosen), cells

    _, _, usual = planned(priors)
    rows = []
    ends: tuple[End, End] = ("low", "high")
    for prior in priors.entries:
        for end in ends:
            recommended, net, cells = planned(priors.fixed(prior.name, end))
            either = usual | cells
            rows.append(
                {
                    "prior": prior.name,
                    "end": end,
                    "value": getattr(prior, end),
                    "kind": prior.kind,
                    "recommended": recommended,
                    "net_benefit_usd": float(net),
                    "shared_cells": len(usual & cells) / len(either) if either else None,
                }
            )
    return pl.DataFrame(rows, schema_overrides={"shared_cells": pl.Float64})


def _settled(net: Floats, hours: Floats, budget: float, reached: float) -> tuple[Bools, Bools]:
    """Return what every set better than one that nets `reached` takes, and what is open.

    Where items may be cut, the best set takes them by falling net benefit an hour, the last one in
    part, whose worth an hour is the price of time. Taking an item that the cut set leaves costs at
    least what its hours are worth less what it nets, leaving one the reverse (Dembo & Hammer 1980):
    if then not even the cut set nets more than was reached, the item is settled.
    """
    is_fitting = hours <= budget
    order = np.argsort(-net / hours, kind="stable")
    order = order[is_fitting[order]]
    used = np.cumsum(hours[order])
    last = order[min(int(np.searchsorted(used, budget, side="right")), len(order) - 1)]
    price = float(net[last] / hours[last])
    worth = net - price * hours
    bound = price * budget + np.maximum(worth[is_fitting], 0.0).sum()
    # What rounding adds must not settle anything.
    is_settled = bound - np.abs(worth) < reached * (1 - 1e-9)
    is_sure = is_fitting & is_settled & (worth > 0)
    return is_sure, is_fitting & ~is_settled


def _step_saving(values: Values, shares: Floats, step: float) -> Floats | float:
    """Return what a pressure step saves of a call, US dollars."""
    pressure = np.asarray(values["pressure"])
    # Never below the floor.
    left = 1 - np.minimum(step, np.maximum(pressure - FLOOR_PSI, 0.0)) / pressure
    cost = parts_of_a_call(values, shares)
    fewer_breaks = 1 - left ** values["break_exponent"]
    less_flow = NIGHT_HOURS / HOURS * (1 - left ** values["leak_exponent"])
    return cost["repair"] * fewer_breaks + (cost["water"] + cost["energy"]) * less_flow


def _survey_saving(values: Values, shares: Floats, _: float) -> Floats | float:
    """Return what a leak survey saves of a call, US dollars."""
    cost = parts_of_a_call(values, shares)
    of_a_find = cost["repair"] * values["early_repair_saving"] + cost["water"] + cost["energy"]
    return values["survey_found"] * of_a_find


def _paying(
    pieces: Sequence[Ints], calls: Floats, offered: Sequence[Action]
) -> list[Recommendation]:
    """Return the pieces in which an action pays, each with the one that nets most."""
    if not pieces:
        return []
    sizes = np.array([len(members) for members in pieces])
    of_piece = np.repeat(np.arange(len(pieces)), sizes)
    expected = np.bincount(of_piece, calls[np.concatenate(pieces)])
    nets = np.stack(
        [
            np.where(sizes <= action.most_cells, action.net(expected, sizes), -np.inf)
            for action in offered
        ]
    )
    best, net = nets.argmax(axis=0), nets.max(axis=0)
    return [
        Recommendation(pieces[at], offered[best[at]], float(expected[at]), float(net[at]))
        for at in np.flatnonzero(net > 0).tolist()
    ]


def _pieces(inside: Ints, gain: Floats, adjacency: "sparse.csr_array", most: int) -> list[Ints]:
    """Return the connected clusters of the cells `inside`, cut where they are larger than most."""
    from scipy import sparse
    from scipy.sparse import csgraph

    if not len(inside):
        return []
    near = sparse.csr_array(adjacency[inside][:, inside])
    count, label = csgraph.connected_components(near, directed=False)
    order = np.argsort(label, kind="stable")
    clusters = np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1])
    pieces = []
    for cluster in clusters:
        if len(cluster) <= most:
            pieces.append(inside[cluster])
        else:
            pieces += [inside[piece] for piece in _cut(cluster, gain[inside], near, most)]
    return pieces


def _cut(cluster: Ints, gain: Floats, near: "sparse.csr_array", most: int) -> list[Ints]:
    """Return connected pieces of a cluster, each grown from the cell that gains most."""
    starts = [*map(int, near.indptr)]
    worth = gain.tolist()
    neighbours: list[int] = near.indices.tolist()
    left = set(cluster.tolist())
    pieces = []
    for first in sorted(left, key=lambda at: (-worth[at], at)):
        if first not in left:
            continue
        left.remove(first)
        piece, edge = [first], []
        latest = first
        while len(piece) < most:
            for at in neighbours[starts[latest] : starts[latest + 1]]:
                if at in left:
                    heapq.heappush(edge, (-worth[at], at))
            # A cell is on the edge once for each neighbour in the piece.
            while edge and edge[0][1] not in left:
                heapq.heappop(edge)
            if not edge:
                break
            latest = heapq.heappop(edge)[1]
            left.remove(latest)
            piece.append(latest)
        pieces.append(np.sort(np.array(piece, np.int64)))
    return pieces


def _polygon(cells: list[int]) -> shapely.Polygon:
    """Return the dissolved outline of adjacent cells, longitude before latitude."""
    areas = h3.cells_to_h3shape(cells, tight=False)
    if len(areas) != 1:
        raise ValueError(
            f"{len(cells)} cells from {min(cells, default=0)} on are {len(areas)} areas, not one; "
            "give adjacent cells"
        )
    ring, *holes = (
        np.array(corners)[:, ::-1].round(COORDINATE_DIGITS)
        for corners in (areas[0].outer, *areas[0].holes)
    )
    return shapely.Polygon(ring, holes)


def _new_id(target: str, day: date, cell: int) -> str:
    return hashlib.sha256(f"{target} {day} {cell:x}".encode()).hexdigest()[:ID_DIGITS]
