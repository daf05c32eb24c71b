"""Rates of cells: pooled over the ring, shrunk once, and the same whatever the order."""

import datetime as dt

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pytest

from city311_assets.gold.methods.cell_rates import cell_rates, rates_of_resolutions
from city311_assets.gold.methods.counts import ALL, cell_counts, with_all, with_outcome
from city311_assets.gold.methods.grid import Grid, around, with_parents
from city311_assets.gold.methods.rates import beta_priors, wilson
from city311_assets_tests.gold.town import every_day, silver

DAYS = every_day(dt.date(2026, 3, 1), dt.date(2026, 3, 3))


@pytest.fixture(scope="module")
def counts() -> pl.DataFrame:
    return cell_counts(with_outcome(silver(DAYS, per_day=150), "closed_within_7_days"))


def at(counts: pl.DataFrame, resolution: int) -> pl.DataFrame:
    return counts.filter(pl.col("resolution") == resolution).drop("resolution")


def grid_of(counts: pl.DataFrame) -> Grid:
    return Grid.of(around(counts["cell"].unique().to_numpy(), 2))


@pytest.mark.parametrize("resolution", [8, 9])
def test_pooled_counts_are_those_of_a_loop_over_the_ring(counts: pl.DataFrame, resolution: int):
    own = at(counts, resolution)
    found = cell_rates(own, grid_of(own), "day")
    held = {
        (day, cell, category): numbers
        for day, cell, category, *numbers in with_all(own, "day", "cell").iter_rows()
    }
    for row in found.sample(80, seed=1).iter_rows(named=True):
        ring = [
            held.get((row["day"], cell, row["category"]), [0, 0, 0])
            for cell in h3.grid_disk(row["cell"], 1)
        ]
        assert [row["pooled_records"], row["pooled_n"], row["pooled_k"]] == np.sum(
            ring, axis=0
        ).tolist()


def test_pooling_differs_from_not_pooling(counts: pl.DataFrame):
    found = cell_rates(at(counts, 9), grid_of(at(counts, 9)), "day")
    assert (found["pooled_n"] > found["eligible"]).sum() > found.height / 2
    assert ((found["rate_pooled"] - found["rate_eb"]).abs() > 1e-6).any()


def test_every_cell_with_a_record_in_or_beside_it_has_a_row_and_no_other(counts: pl.DataFrame):
    own = at(counts, 9).filter(pl.col("category") == "noise", pl.col("day") == DAYS[0])
    found = cell_rates(own, grid_of(own), "day").filter(pl.col("category") == "noise")
    assert set(found["cell"]) == set(around(own["cell"].to_numpy()).tolist())
    empty = found.filter(pl.col("eligible") == 0)
    assert empty.height > 0
    assert empty["rate"].null_count() == empty.height
    assert set(empty.select("rate_low", "rate_high").unique().rows()) == {(0.0, 1.0)}
    assert ((empty["rate_eb"] - empty["prior_mean"]).abs() < 1e-12).all()


def test_a_rate_is_shrunk_once_by_the_prior_of_its_slice_and_category(counts: pl.DataFrame):
    # Cells that differ: with no such the prior decides alone and shrinking twice would not show.
    own = at(counts, 9)
    is_good = pl.col("cell").hash(3) % 2 == 0
    good, bad = pl.col("eligible") * 3 // 4, pl.col("eligible") // 5
    own = own.with_columns(pl.when(is_good).then(good).otherwise(bad).alias("successes"))
    found = cell_rates(own, grid_of(own), "day").filter(pl.col("prior_strength").is_not_null())
    assert found.height > 100
    k, n, m, strength = (
        found[name].to_numpy() for name in ("successes", "eligible", "prior_mean", "prior_strength")
    )
    once = (k + strength * m) / (n + strength)
    twice = (once * n + strength * m) / (n + strength)
    assert np.allclose(found["rate_eb"].to_numpy(), once)
    assert np.abs(once - twice).max() > 0.01
    pooled = (found["pooled_k"].to_numpy() + strength * m) / (
        found["pooled_n"].to_numpy() + strength
    )
    assert np.allclose(found["rate_pooled"].to_numpy(), pooled)
    for (day, category), rows in found.group_by("day", "category"):
        of_group = with_all(own, "day", "cell").filter(
            pl.col("day") == day, pl.col("category") == category
        )
        group = np.zeros(of_group.height, np.int64)
        prior = beta_priors(of_group["successes"], of_group["eligible"], group, 1)
        assert rows["prior_strength"].to_list() == pytest.approx([prior.strength[0]] * rows.height)
        assert rows["prior_mean"].to_list() == pytest.approx([prior.mean[0]] * rows.height)


def test_the_old_prior_is_worth_five_records(counts: pl.DataFrame):
    found = cell_rates(at(counts, 8), grid_of(at(counts, 8)), "day")
    expected = (5 * found["prior_mean"] + found["successes"]) / (5 + found["eligible"])
    assert np.allclose(found["rate_smoothed"].to_numpy(), expected.to_numpy())


def test_intervals_and_confidence_are_of_the_slice(counts: pl.DataFrame):
    found = cell_rates(at(counts, 7), grid_of(at(counts, 7)), "day")
    low, high = wilson(found["successes"], found["eligible"])
    assert np.allclose(found["rate_low"].to_numpy(), low)
    assert np.allclose(found["rate_high"].to_numpy(), high)
    assert (found["is_low_confidence"].to_numpy() == (high - low > 0.3)).all()
    assert set(found["is_low_confidence"]) == {True, False}


def test_rates_do_not_depend_on_the_order_of_counts(counts: pl.DataFrame):
    own = at(counts, 9)
    shuffled = own.sample(fraction=1.0, shuffle=True, seed=3)
    assert cell_rates(shuffled, grid_of(own), "day").equals(cell_rates(own, grid_of(own), "day"))


def test_a_cell_outside_the_study_area_is_refused(counts: pl.DataFrame):
    own = at(counts, 9)
    grid = Grid.of(own["cell"].unique().sort().to_numpy()[1:])
    with pytest.raises(ValueError, match=r"outside the study area: \[\d+\]; materialize"):
        cell_rates(own, grid, "day")


def test_nothing_counted_has_no_rates(counts: pl.DataFrame):
    grid = grid_of(at(counts, 9))
    found = cell_rates(at(counts, 9).clear(), grid, "day")
    assert found.is_empty()
    assert found.columns == cell_rates(at(counts, 9), grid, "day").columns


def test_every_resolution_is_made_of_its_own_counts(counts: pl.DataFrame):
    finest = counts.filter(pl.col("resolution") == 10)["cell"].to_numpy()
    areas = with_parents(np.unique(finest))
    found = rates_of_resolutions(counts, areas, "day")
    assert found["resolution"].unique().sort().to_list() == [6, 7, 8, 9, 10]
    totals = found.filter(pl.col("category") == ALL).group_by("resolution")
    assert totals.agg(pl.col("records").sum())["records"].n_unique() == 1
