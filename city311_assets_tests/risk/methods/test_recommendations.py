"""Recommendations: what actions save, which clusters they pay in, which fit, and their names."""

import datetime as dt
import json
from dataclasses import replace
from itertools import product
from typing import Any

import h3.api.basic_int as h3
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse import csgraph

from city311_assets.gold.methods.grid import Grid
from city311_assets.risk.methods.costs import parts_of_a_call
from city311_assets.risk.methods.priors import Prior, Priors, read_priors
from city311_assets.risk.methods.recommendations import (
    CREW_DAY_HOURS,
    FLOOR_PSI,
    Action,
    actions,
    at_the_ends,
    greedy,
    kept_ids,
    knapsack,
    outlines,
    parameters,
    recommendations,
)

PRIORS = read_priors()
SHARES = np.array([0.6, 0.3, 0.1])
SEED, DAY = 311, dt.date(2026, 3, 1)
CENTRE = h3.latlng_to_cell(41.85, -87.68, 9)
CITY = Grid.of(np.array(h3.grid_disk(CENTRE, 12), np.uint64))
OFFERED = actions(PRIORS, SHARES, SEED)


def certain(**values: float) -> Priors:
    """Priors without a range, some with another value."""

    def sure(prior: Prior) -> Prior:
        value = values.get(prior.name, prior.central)
        return replace(prior, low=value, central=value, high=value)

    return Priors(tuple(sure(prior) for prior in PRIORS.entries))


def places(*cells: int) -> np.ndarray:
    return CITY.index_of(np.array(cells, np.uint64))


def busy(seed: int = 1, mean: float = 0.5, grid: Grid = CITY) -> np.ndarray:
    return np.random.default_rng(seed).gamma(0.6, mean / 0.6, len(grid.cells))


def action_like(**changes: Any) -> Action:
    plain = Action("pressure_step", 5.0, 100.0, 50.0, 200.0, 60.0, 20.0, 2.0, 0.5)
    return replace(plain, **changes)


def test_a_step_saves_what_the_powers_of_pressure_say():
    sure = certain()
    parts = parts_of_a_call(sure.at("central"), SHARES)
    by_step = {action.step_psi: action for action in actions(sure, SHARES, SEED)}
    assert [*by_step] == [3.0, 5.0, 8.0, 0.0]
    for step in (3.0, 5.0, 8.0):
        left = (50 - step) / 50
        lost = float(parts["water"] + parts["energy"])
        expected = float(parts["repair"]) * (1 - left**1.4) + lost * (1 - left) * 4 / 24
        assert by_step[step].saving_usd == pytest.approx(expected)
        assert by_step[step].cost_usd == pytest.approx(2 * 150 + 100)
        assert by_step[step].cost_usd_per_cell == pytest.approx(0.05 * 150 + 0.6 * step**2)
        assert by_step[step].hours == pytest.approx(2)


def test_a_survey_saves_the_water_of_what_it_finds_and_the_haste():
    sure = certain()
    parts = parts_of_a_call(sure.at("central"), SHARES)
    (survey,) = (one for one in actions(sure, SHARES, SEED) if one.name == "leak_survey")
    found = 0.5 * float(parts["repair"]) + float(parts["water"] + parts["energy"])
    assert survey.saving_usd == pytest.approx(0.35 * found)
    assert (survey.cost_usd, survey.hours) == (0, 0)
    assert survey.cost_usd_per_cell == pytest.approx(1.5 * 150)


def test_no_step_takes_the_pressure_below_the_floor():
    low = certain(pressure=26.0)
    assert {one.step_psi for one in actions(low, SHARES, SEED)} == {3.0, 5.0, 0.0}
    # Where draws of the pressure are lower than the central one a step stops at the floor.
    drawn = Priors(
        tuple(
            replace(p, low=FLOOR_PSI, central=28.0, high=28.5) if p.name == "pressure" else p
            for p in PRIORS.entries
        )
    )
    by_step = {one.step_psi: one for one in actions(drawn, SHARES, SEED)}
    # At the floor itself nothing can be lowered, so nothing is saved.
    assert by_step[8.0].saving_high == by_step[8.0].saving_usd > 0


def test_savings_lie_in_their_interval_and_rise_with_the_step():
    for action in OFFERED:
        assert 0 < action.saving_low < action.saving_usd < action.saving_high
    steps = [one.saving_usd for one in OFFERED if one.step_psi]
    assert steps == sorted(steps)


def test_where_little_is_expected_nothing_is_recommended():
    assert recommendations(np.zeros(len(CITY.cells)), CITY.disk, OFFERED, 80) == []
    assert recommendations(np.full(len(CITY.cells), 0.05), CITY.disk, OFFERED, 80) == []
    assert recommendations(np.zeros(0), Grid.of(CITY.cells[:0]).disk, OFFERED, 80) == []
    assert recommendations(busy(), CITY.disk, (), 80) == []


def test_the_action_is_the_one_that_nets_most():
    chosen = {}
    for name, calls in (("mild", 0.6), ("hot", 3.0)):
        (biggest, *_) = recommendations(np.full(len(CITY.cells), calls), CITY.disk, OFFERED, 1e6)
        chosen[name] = (biggest.action.name, biggest.action.step_psi)
    alone = np.zeros(len(CITY.cells))
    alone[places(CENTRE)] = 6.0
    (single,) = recommendations(alone, CITY.disk, OFFERED, 80)
    assert chosen == {"mild": ("pressure_step", 5.0), "hot": ("pressure_step", 8.0)}
    assert (single.action.name, single.members.tolist()) == ("leak_survey", [*places(CENTRE)])


@pytest.mark.parametrize(("seed", "mean"), [(1, 0.3), (2, 0.6), (3, 1.5)])
def test_clusters_are_connected_pay_and_take_a_crew_no_more_than_a_day(seed: int, mean: float):
    found = recommendations(busy(seed, mean), CITY.disk, OFFERED, 40)
    assert found
    members = np.concatenate([one.members for one in found])
    assert len(np.unique(members)) == len(members)
    calls = busy(seed, mean)
    for one in found:
        within = sparse.csr_array(CITY.disk[one.members][:, one.members])
        assert csgraph.connected_components(within, directed=False)[0] == 1
        assert (np.diff(one.members) > 0).all()
        assert one.hours <= CREW_DAY_HOURS + 1e-9
        assert one.calls == pytest.approx(calls[one.members].sum())
        nets = {
            action: action.saving_usd * one.calls
            - action.cost_usd
            - action.cost_usd_per_cell * len(one.members)
            for action in OFFERED
            if len(one.members) <= action.most_cells
        }
        assert one.net_usd == pytest.approx(max(nets.values()))
        assert nets[one.action] == pytest.approx(one.net_usd)
        assert one.net_usd == pytest.approx(one.action.saving_usd * one.calls - one.cost_usd)
        assert one.net_usd > 0
    nets = [one.net_usd for one in found]
    assert nets == sorted(nets, reverse=True)
    assert sum(one.hours for one in found if one.is_chosen) <= 40


def test_a_cluster_of_the_whole_city_is_cut_from_the_cell_that_nets_most():
    calls = np.full(len(CITY.cells), 2.0)
    calls[places(CENTRE)] = 9.0
    step = action_like(hours_per_cell=0.3)
    found = recommendations(calls, CITY.disk, [step], 1e6)
    assert step.most_cells == 20
    assert len(CITY.cells) > 400
    assert max(len(one.members) for one in found) == 20
    assert places(CENTRE)[0] in found[0].members
    assert sum(len(one.members) for one in found) > 0.9 * len(CITY.cells)


def test_a_cut_piece_takes_the_neighbours_that_net_most():
    line = h3.grid_path_cells(CENTRE, h3.grid_ring(CENTRE, 6)[0])
    calls = np.zeros(len(CITY.cells))
    calls[places(*line)] = [1.0, 9.0, 3.0, 4.0, 8.0, 7.0, 3.0]
    step = action_like(hours=0.0, hours_per_cell=8 / 3.0, cost_usd=0.0)
    found = recommendations(calls, CITY.disk, [step], 1e6)
    pieces = [{*one.members.tolist()} for one in found]
    expected = [line[4:], line[1:4], line[:1]]
    assert pieces == [{*places(*cells).tolist()} for cells in expected]


def test_two_kinds_of_action_are_two_clusters_though_they_touch():
    near = [CENTRE, *h3.grid_ring(CENTRE, 1)]
    calls = np.zeros(len(CITY.cells))
    calls[places(*near)] = [30.0, *([2.0] * 6)]
    cheap = action_like(saving_usd=40.0, cost_usd=0.0, cost_usd_per_cell=10.0)
    dear = action_like(name="leak_survey", step_psi=0.0, cost_usd=0.0, cost_usd_per_cell=300.0)
    found = recommendations(calls, CITY.disk, [cheap, dear], 1e6)
    assert [(one.action.name, len(one.members)) for one in found] == [
        ("leak_survey", 1),
        ("pressure_step", 6),
    ]


def test_a_cluster_gets_no_action_that_takes_a_crew_more_than_a_day():
    calls = np.zeros(len(CITY.cells))
    calls[places(*h3.grid_disk(CENTRE, 1))] = 2.0
    step = action_like(saving_usd=40.0, cost_usd_per_cell=10.0)
    # Would net more here, and takes 28 hours.
    survey = action_like(
        name="leak_survey", saving_usd=120.0, cost_usd=600.0, hours=0.0, hours_per_cell=4.0
    )
    (found,) = recommendations(calls, CITY.disk, [step, survey], 1e6)
    assert survey.net(14.0, 7) > step.net(14.0, 7)
    assert found.action == step


def test_what_is_recommended_does_not_hang_on_the_order_of_cells():
    calls = busy(4, 0.7)
    order = np.random.default_rng(5).permutation(len(calls))
    moved = sparse.csr_array(CITY.disk[order][:, order])
    usual = recommendations(calls, CITY.disk, OFFERED, 40)
    mixed = recommendations(calls[order], moved, OFFERED, 40)
    assert {(*one.members.tolist(), one.is_chosen) for one in usual} == {
        (*np.sort(order[one.members]).tolist(), one.is_chosen) for one in mixed
    }


ITEMS = st.lists(st.tuples(st.floats(0.01, 500), st.floats(0.1, 9)), min_size=1, max_size=11)


@settings(deadline=None, max_examples=60)
@given(ITEMS, st.floats(0.05, 40))
def test_the_chosen_set_is_the_best_of_all_sets_and_never_worse_than_greedy(
    items: list[tuple[float, float]], budget: float
):
    net, hours = np.array(items).T
    taken = knapsack(net, hours, budget)
    by_hand = greedy(net, hours, budget)
    assert hours[taken].sum() <= budget + 1e-9
    assert hours[by_hand].sum() <= budget + 1e-9
    assert net[taken].sum() >= net[by_hand].sum() - 1e-9
    sets = np.array([*product((0, 1), repeat=len(net))])
    best = (sets @ net)[sets @ hours <= budget].max()
    assert net[taken].sum() == pytest.approx(best, rel=1e-6)


def test_a_set_that_greed_misses_is_found():
    net, hours = np.array([10.0, 9.0, 9.0]), np.array([6.0, 5.5, 5.5])
    assert greedy(net, hours, 11).tolist() == [True, False, False]
    assert knapsack(net, hours, 11).tolist() == [False, True, True]


def test_many_clusters_are_chosen_from_in_little_time():
    rng = np.random.default_rng(6)
    hours = rng.uniform(2, 8, 300)
    net = hours * rng.gamma(2, 100, 300)
    taken = knapsack(net, hours, 80)
    assert hours[taken].sum() <= 80
    assert net[taken].sum() > net[greedy(net, hours, 80)].sum()


def test_a_day_without_hours_or_clusters_chooses_none():
    assert not knapsack(np.array([5.0]), np.array([9.0]), 8.0).any()
    assert knapsack(np.zeros(0), np.zeros(0), 8.0).tolist() == []


def ring(*cells: int) -> np.ndarray:
    return np.array(sorted(cells), np.uint64)


LEFT, RIGHT = ring(*h3.grid_disk(CENTRE, 1)), ring(*h3.grid_disk(h3.grid_ring(CENTRE, 5)[0], 1))


def test_a_cluster_that_grows_or_shrinks_keeps_its_name():
    (left, right) = kept_ids([LEFT, RIGHT], [], "leaks", DAY)
    tomorrow = DAY + dt.timedelta(days=1)
    before = [(left, LEFT), (right, RIGHT)]
    grown = ring(*h3.grid_disk(CENTRE, 2))
    assert kept_ids([RIGHT[:4], grown], before, "leaks", tomorrow) == [right, left]


def test_a_cluster_that_shares_half_or_less_has_a_new_name():
    before = [("old", LEFT[:4])]
    half = ring(*LEFT[:2].tolist(), *RIGHT[:2].tolist())
    (name,) = kept_ids([half], before, "leaks", DAY)
    assert name != "old"
    (kept,) = kept_ids([ring(*half.tolist(), int(LEFT[2]))], before, "leaks", DAY)
    assert kept == "old"


def test_of_two_halves_the_larger_keeps_the_name_and_it_is_given_once():
    halves = [LEFT[:3], LEFT[3:]]
    small, large = kept_ids(halves, [("old", LEFT)], "leaks", DAY)
    assert large == "old" != small
    assert kept_ids(halves[::-1], [("old", LEFT)], "leaks", DAY) == [large, small]


def test_a_merged_cluster_has_the_name_of_the_part_it_shares_most_with():
    before = [("small", LEFT[:3]), ("large", LEFT[3:])]
    assert kept_ids([LEFT], before, "leaks", DAY) == ["large"]


def test_new_names_differ_by_target_day_and_place_and_are_the_same_again():
    names = [
        *kept_ids([LEFT, RIGHT], [], "leaks", DAY),
        *kept_ids([LEFT], [], "leaks", DAY + dt.timedelta(days=1)),
        *kept_ids([LEFT], [], "potholes", DAY),
    ]
    assert len({*names}) == 4
    assert kept_ids([LEFT, RIGHT], [], "leaks", DAY) == names[:2]
    assert kept_ids([], [("old", LEFT)], "leaks", DAY) == []


def test_outlines_are_valid_hold_their_cells_and_turn_by_the_right_hand_rule():
    hollow = ring(*h3.grid_ring(CENTRE, 1))
    found = outlines([LEFT, RIGHT[:1], hollow])
    for cells, row in zip([LEFT, RIGHT[:1], hollow], found.iter_rows(named=True), strict=True):
        area = shapely.from_geojson(row["geometry"])
        assert area.geom_type == "Polygon"
        assert area.is_valid
        assert area.exterior.is_ccw
        assert not any(hole.is_ccw for hole in area.interiors)
        assert area.contains(shapely.Point(row["longitude"], row["latitude"]))
        of_cells = [shapely.Polygon([p[::-1] for p in h3.cell_to_boundary(c)]) for c in cells]
        assert area.area == pytest.approx(sum(one.area for one in of_cells), rel=1e-3)
        assert -88 < row["longitude"] < -87
    assert [len(json.loads(g)["coordinates"]) for g in found["geometry"]] == [1, 1, 2]


def test_no_clusters_have_no_outlines_and_cells_apart_have_none():
    assert outlines([]).height == 0
    with pytest.raises(ValueError, match="are 2 areas, not one; give adjacent cells"):
        outlines([ring(int(LEFT[0]), int(RIGHT[0]))])


def test_parameters_say_what_is_to_be_done():
    step, *_ = recommendations(np.full(len(CITY.cells), 2.0), CITY.disk, OFFERED, 80)
    said = json.loads(parameters(step, 1.234))
    assert said["step_psi"] == 8.0
    assert (said["cells"], said["area_km2"]) == (len(step.members), 1.23)
    assert said["window"] == "01:00-05:00"
    alone = np.zeros(len(CITY.cells))
    alone[places(CENTRE)] = 6.0
    (survey,) = recommendations(alone, CITY.disk, OFFERED, 80)
    assert json.loads(parameters(survey, 0.1)) == {"cells": 1, "area_km2": 0.1}


def test_the_ends_of_a_prior_tell_how_far_the_work_list_hangs_on_it():
    calls = busy(7, 0.8)
    found = at_the_ends(PRIORS, 1000 * SHARES, calls, CITY.disk, crew_hours=40, seed=SEED)
    assert found.height == 2 * len(PRIORS.entries)
    by_end = {(row["prior"], row["end"]): row for row in found.to_dicts()}
    low, high = (by_end["break_given_call", end] for end in ("low", "high"))
    assert low["net_benefit_usd"] < high["net_benefit_usd"]
    assert low["recommended"] < high["recommended"]
    assert by_end["response_hours", "high"]["shared_cells"] == 1
    assert found["shared_cells"].drop_nulls().is_between(0, 1).all()
    assert {row["kind"] for row in found.to_dicts()} == {"source", "assumption"}


def test_the_ends_of_the_severities_shares_count_where_few_calls_were_counted():
    def net(severities: np.ndarray) -> dict[str, float]:
        found = at_the_ends(PRIORS, severities, busy(7, 0.8), CITY.disk, crew_hours=40, seed=SEED)
        of_major = found.filter(prior="share_major")
        return dict(of_major.select("end", "net_benefit_usd").rows())

    few, many = net(np.zeros(3)), net(1_000_000 * SHARES)
    assert few["low"] < few["high"]
    assert many["low"] == many["high"]
