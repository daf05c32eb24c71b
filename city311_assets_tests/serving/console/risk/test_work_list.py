"""The work list: the set that fits, its sums, the crew's file, and why it may be empty."""

import csv
import datetime as dt
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from city311_assets.risk.costs import SEED
from city311_assets.risk.methods.priors import read_priors
from city311_assets.risk.methods.recommendations import actions
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.serving.console.risk import queries
from city311_assets.serving.console.risk.work_list import (
    COLUMNS,
    FORMULA,
    as_csv,
    chosen,
    ends,
    severities,
    unpaid,
)
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets_tests.serving.towns import RISK_DAYS

DAY = RISK_DAYS[-1]
PRIORS = read_priors()


@pytest.fixture(scope="module")
def snapshot(snapshots: Snapshots) -> Iterator[Snapshot]:
    with snapshots.current() as opened:
        yield opened


def row(rank: int, net: float, hours: float, **said: Any) -> dict[str, Any]:
    """A recommendation that nets and takes so much."""
    return {
        "rank": rank,
        "recommendation_id": f"r{rank}",
        "action": "leak_survey",
        "parameters": "{}",
        "cells": [rank],
        "hexes": [f"{rank:015x}"],
        "expected_saving_usd": net + 100,
        "saving_low": net + 50,
        "saving_high": net + 300,
        "action_cost_usd": 100.0,
        "net_benefit_usd": net,
        "crew_hours": hours,
        "expected_events_7d": 2.0,
        "latitude": 41.9,
        "longitude": -87.7,
        "why": "many calls",
        "equity_note": "In ward 1.",
        "model_version": "m",
        "priors_version": "p",
    } | said


def test_the_set_that_nets_most_is_chosen_and_not_the_first_that_fit():
    rows = [row(1, 60.0, 10.0), row(2, 50.0, 6.0), row(3, 45.0, 4.0)]
    listed = chosen(rows, 10.0)
    assert [one["rank"] for one in listed.rows] == [2, 3]
    assert (listed.offered, listed.totals["net_benefit_usd"]) == (3, 95.0)
    assert listed.totals["crew_hours"] == 10.0
    assert (listed.totals["saving_low"], listed.totals["saving_high"]) == (195.0, 695.0)


@pytest.mark.parametrize("hours", [0.0, 3.9])
def test_hours_in_which_nothing_fits_choose_nothing(hours: float):
    listed = chosen([row(1, 60.0, 10.0), row(2, 45.0, 4.0)], hours)
    assert listed.rows == ()
    assert set(listed.totals.values()) == {0.0}


def test_no_recommendations_are_an_empty_list():
    assert chosen([], 80.0).totals["net_benefit_usd"] == 0


def test_at_the_settings_hours_the_list_is_the_one_that_was_stored(snapshot: Snapshot):
    rows = queries.recommendations(snapshot, LEAKS, DAY)
    stored = {one["recommendation_id"] for one in rows if one["is_chosen"]}
    assert stored
    listed = chosen(rows, 80.0)
    assert {one["recommendation_id"] for one in listed.rows} == stored


def test_more_hours_net_more_and_never_exceed_what_there_is(snapshot: Snapshot):
    rows = queries.recommendations(snapshot, LEAKS, DAY)
    lists = [chosen(rows, hours) for hours in (1.0, 3.0, 4.5, 8.0)]
    nets = [one.totals["net_benefit_usd"] for one in lists]
    assert nets == sorted(nets)
    assert nets[0] < nets[1]
    assert all(one.totals["crew_hours"] <= one.hours for one in lists)


def test_the_crews_file_has_the_list_and_no_formulas():
    listed = chosen(
        [row(1, 9.0, 1.0, why="=HYPERLINK(1)", equity_note="@ward"), row(2, 8.0, 1.0)], 9
    )
    first, second = csv.DictReader(io.StringIO(as_csv(listed)))
    assert list(first) == [*COLUMNS]
    assert (first["why"], first["equity_note"]) == ("'=HYPERLINK(1)", "'@ward")
    assert (second["why"], second["rank"], second["cells"]) == ("many calls", "2", f"{2:015x}")
    # Longitudes are negative, and numbers all the same.
    assert float(first["longitude"]) == -87.7


@pytest.mark.parametrize("begin", FORMULA)
def test_every_beginning_of_a_formula_is_defused(begin: str):
    listed = chosen([row(1, 9.0, 1.0, why=f"{begin}x")], 9)
    (only,) = csv.DictReader(io.StringIO(as_csv(listed), newline=""))
    assert only["why"] == f"'{begin}x"


def test_severities_are_counted_from_calls_long_enough_ago(snapshot: Snapshot):
    counted = severities(snapshot, LEAKS, DAY)
    calls = snapshot.frame(
        "select count(*) as n from silver.requests where feed = 'chicago_311' "
        "and day > $first and day <= $last and list_contains($kinds, kind) and cell is not null",
        {
            "kinds": queries.kinds(snapshot, LEAKS),
            "first": DAY - dt.timedelta(days=373),
            "last": DAY - dt.timedelta(days=8),
        },
    )["n"].item()
    assert 0 < counted.sum() <= calls


def test_where_nothing_pays_the_nearest_action_is_named_with_both_figures(snapshot: Snapshot):
    why = unpaid(snapshot, LEAKS, DAY, PRIORS)
    most = queries.scores(snapshot, LEAKS, DAY)["expected_events_7d"].max()
    assert why.calls == most
    shares = np.array([0.6, 0.3, 0.1])
    assert min(one.cost_usd_per_cell for one in actions(PRIORS, shares, SEED)) <= why.cost_usd
    assert why.saving_usd > 0


def test_the_ends_of_every_prior_are_told_for_a_day(snapshot: Snapshot):
    found = ends(snapshot, LEAKS, DAY, PRIORS, 80.0)
    assert found.height == 2 * len(PRIORS.entries)
    by_end = dict(
        found.filter(pl.col("prior") == "break_given_call").select("end", "net_benefit_usd").rows()
    )
    assert by_end["low"] < by_end["high"]
