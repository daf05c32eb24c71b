"""The doubly robust effect: known truths, its two safeguards, null cases, edges and refusals."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from city311_assets.causal.methods.aipw import aipw_effect

EXPERIMENT = 1_794.342  # US dollars: LaLonde's experiment, Dehejia and Wahba 1999


def case(
    n: int, seed: int, *, effect: float = 30.0, rare: float = 1.8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, treated and features: what makes treated also makes the outcome longer."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4))
    treated = rng.random(n) < 1 / (1 + np.exp(rare - x[:, 0] - 0.5 * (x[:, 1] ** 2 - 1)))
    mean = 100 + 30 * x[:, 0] + 15 * (x[:, 1] ** 2 - 1) + 10 * x[:, 2] + effect * treated
    return mean + 20 * rng.standard_normal(n), treated, x


@pytest.mark.real
@pytest.mark.parametrize("part", [1, 2, 3, 4, 5])
def test_ihdp_s_true_effect_is_found(part: int, real_data: Path):
    table = pl.read_csv(real_data / "causal" / f"ihdp_npci_{part}.csv.gz", has_header=False)
    values = table.to_numpy().astype(float)
    treated, outcome, features = values[:, 0] == 1, values[:, 1], values[:, 5:]
    assert (values[treated, 4] - values[treated, 3]).mean() == pytest.approx(4, abs=1e-6)
    found = aipw_effect(outcome, treated, ~treated, features)
    assert found.se is not None
    assert found.estimate == pytest.approx(4, abs=2.5 * found.se)
    assert found.estimate == pytest.approx(4, abs=0.35)


@pytest.mark.real
def test_lalonde_s_experiment_is_near_where_the_crude_difference_is_far(real_data: Path):
    people = pl.read_csv(
        real_data / "causal" / "lalonde_matchit_614.csv", infer_schema_length=None
    ).with_columns(
        black=(pl.col("race") == "black").cast(pl.Float64),
        hispan=(pl.col("race") == "hispan").cast(pl.Float64),
    )
    names = ["age", "educ", "black", "hispan", "married", "nodegree", "re74", "re75"]
    outcome, treated = people["re78"].to_numpy().astype(float), people["treat"].to_numpy() == 1
    found = aipw_effect(outcome, treated, ~treated, people.select(names).to_numpy())
    crude = outcome[treated].mean() - outcome[~treated].mean()
    assert crude < 0
    assert found.estimate is not None
    assert abs(found.estimate - EXPERIMENT) < abs(crude - EXPERIMENT) / 2
    assert found.low is not None
    assert found.high is not None
    assert found.low < EXPERIMENT < found.high


def test_a_planted_effect_is_found_and_the_crude_difference_is_not_it():
    outcome, treated, x = case(4_000, 1)
    found = aipw_effect(outcome, treated, ~treated, x)
    assert found.se is not None
    assert found.estimate == pytest.approx(30, abs=3 * found.se)
    assert found.se < 2
    assert outcome[treated].mean() - outcome[~treated].mean() > 45
    assert (found.n_treated, found.n_matched) == (treated.sum(), treated.sum())
    assert found.n_controls_used == (~treated).sum()
    assert 100 < found.effective_controls < found.n_controls_used
    assert (found.reason, found.mean_similarity, found.p_randomization) == (None, None, None)


def test_intervals_hold_the_truth_as_often_as_they_say_and_null_ones_fire_as_rarely():
    held, fired = [], []
    for seed in range(40):
        outcome, treated, x = case(600, seed, effect=0.0)
        found = aipw_effect(outcome, treated, ~treated, x)
        assert found.low is not None
        assert found.high is not None
        assert found.p is not None
        held.append(found.low <= 0 <= found.high)
        fired.append(found.p < 0.05)
    assert np.mean(held) >= 0.875  # 95 % of 40 would be less once in 30 times
    np.testing.assert_array_equal(held, ~np.array(fired))


def test_a_model_of_the_outcome_that_is_wrong_is_mended_by_the_weights():
    # No term is a product of three, and without weights the estimate is off by 3.5; who is treated
    # is a sum of the same features.
    rng = np.random.default_rng(2)
    x = rng.standard_normal((20_000, 3))
    treated = rng.random(20_000) < 1 / (1 + np.exp(1.5 - x.sum(axis=1)))
    outcome = 10 * x.prod(axis=1) + rng.standard_normal(20_000)
    found = aipw_effect(outcome, treated, ~treated, x)
    assert found.se is not None
    assert found.se < 0.7
    assert found.estimate == pytest.approx(0, abs=2 * found.se)


def test_weights_that_are_wrong_are_mended_by_the_model_of_the_outcome():
    rng = np.random.default_rng(12)
    x = rng.standard_normal(20_000)
    treated = rng.random(20_000) < np.where(np.sin(4 * x) > 0, 0.3, 0.05)
    outcome = 10 * x + rng.standard_normal(20_000)
    found = aipw_effect(outcome, treated, ~treated, x[:, None])
    assert found.estimate == pytest.approx(0, abs=0.1)


def test_what_the_features_leave_out_stays_in_the_estimate():
    rng = np.random.default_rng(2)
    side = rng.integers(0, 2, 8_000).astype(float)
    treated = rng.random(8_000) < np.where(side == 1, 0.5, 0.1)
    outcome, noise = 10 * side + rng.standard_normal(8_000), rng.standard_normal(8_000)
    seen = aipw_effect(outcome, treated, ~treated, np.column_stack([side, noise]))
    unseen = aipw_effect(outcome, treated, ~treated, noise[:, None])
    assert seen.estimate == pytest.approx(0, abs=0.1)
    assert unseen.estimate is not None
    assert unseen.estimate > 3


def test_a_few_drawn_controls_stand_for_all_of_them():
    outcome, treated, x = case(12_000, 3, rare=4.0)
    everyone = aipw_effect(outcome, treated, ~treated, x)
    some = aipw_effect(outcome, treated, ~treated, x, most_controls=2_000)
    assert some.n_controls_used == 2_000
    assert some.se is not None
    assert everyone.se is not None
    assert some.estimate == pytest.approx(30, abs=3 * some.se)
    assert some.estimate == pytest.approx(everyone.estimate, abs=2 * some.se)
    assert some.se > everyone.se
    enough = aipw_effect(outcome, treated, ~treated, x, most_controls=20_000)
    assert enough == everyone


def test_the_effect_has_the_unit_of_the_outcome_and_none_of_the_features():
    outcome, treated, x = case(800, 4)
    found = aipw_effect(outcome, treated, ~treated, x)
    days = aipw_effect(outcome / 24 + 7, treated, ~treated, x * [1e3, 1.0, 1e-3, 1.0] + 5)
    for name in ("estimate", "se", "low", "high"):
        assert getattr(days, name) == pytest.approx(getattr(found, name) / 24, rel=1e-6)
    assert days.p == pytest.approx(found.p, rel=1e-3)


def test_units_that_are_neither_are_not_read():
    outcome, treated, x = case(800, 5)
    neither = np.zeros(100, bool)
    found = aipw_effect(outcome, treated, ~treated, x)
    beside = aipw_effect(
        np.append(outcome, np.full(100, np.nan)),
        np.append(treated, neither),
        np.append(~treated, neither),
        np.vstack([x, np.full((100, 4), np.nan)]),
    )
    assert beside == found


def test_treated_units_that_no_control_resembles_are_counted_off_the_support():
    rng = np.random.default_rng(6)
    treated = np.arange(1_000) < 300
    x = rng.standard_normal((1_000, 1))
    x[:100] += 50
    found = aipw_effect(rng.standard_normal(1_000), treated, ~treated, x)
    assert found.share_on_support == pytest.approx(2 / 3, abs=0.02)
    assert found.n_matched == 300
    alike = rng.random(1_000) < 0.3
    found = aipw_effect(rng.standard_normal(1_000), alike, ~alike, x)
    assert found.share_on_support == 1.0


def test_below_fifty_treated_quantiles_are_wider_and_below_thirty_there_are_none():
    outcome, _, x = case(400, 8)
    ratio = {}
    for count in (30, 60):
        treated = np.arange(400) < count
        found = aipw_effect(outcome, treated, ~treated, x)
        assert found.high is not None
        assert found.low is not None
        assert found.se is not None
        ratio[count] = (found.high - found.low) / 2 / found.se
    assert ratio[60] == pytest.approx(1.95996, abs=1e-4)
    assert ratio[30] == pytest.approx(2.04523, abs=1e-4)
    few = aipw_effect(outcome, np.arange(400) < 29, np.arange(400) >= 29, x)
    assert few.estimate is not None
    assert (few.se, few.low, few.high, few.p, few.reason) == (None, None, None, None, "too few")


def test_with_features_that_say_nothing_it_is_the_difference_of_means():
    outcome, treated, x = case(600, 11)
    found = aipw_effect(outcome, treated, ~treated, np.ones_like(x))
    crude = outcome[treated].mean() - outcome[~treated].mean()
    error = np.sqrt(
        outcome[treated].var() / treated.sum() + outcome[~treated].var() / (~treated).sum()
    )
    assert found.estimate == pytest.approx(crude, rel=0.01)
    assert found.se == pytest.approx(error, rel=0.02)


def test_where_there_is_no_number_the_reason_is_said():
    outcome, treated, x = case(400, 9)
    nobody = np.zeros(400, bool)
    assert aipw_effect(outcome, treated, nobody, x).reason == "no control in the stratum"
    assert aipw_effect(np.ones(400), treated, ~treated, x).reason == "constant outcome"
    three = aipw_effect(outcome, np.arange(400) < 3, np.arange(400) >= 3, x)
    assert (three.estimate, three.reason, three.n_treated) == (None, "too few", 3)


def test_what_cannot_be_estimated_is_refused():
    outcome, treated, x = case(50, 10)
    with pytest.raises(ValueError, match=r"1 units are missing or infinite, first in rows \[7\]"):
        aipw_effect(np.where(np.arange(50) == 7, np.nan, outcome), treated, ~treated, x)
    with pytest.raises(ValueError, match="50 units are treated and control"):
        aipw_effect(outcome, np.ones(50, bool), np.ones(50, bool), x)
    with pytest.raises(ValueError, match="no unit is treated"):
        aipw_effect(outcome, np.zeros(50, bool), np.ones(50, bool), x)
    with pytest.raises(ValueError, match="1 folds"):
        aipw_effect(outcome, treated, ~treated, x, folds=1)
    with pytest.raises(ValueError, match="pass one row a unit"):
        aipw_effect(outcome[:49], treated, ~treated, x)
