"""Estimators: figures worked out by hand, planted effects, coverage where controls are reused."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from city311_assets.causal.methods import estimators
from city311_assets.causal.methods.estimators import (
    Effect,
    FitOn,
    bias_corrected_effect,
    conditional_variance,
    contributions,
    homoskedastic_variance,
    matched_effect,
    naive_effect,
    regression_residuals,
    sign_flip_p,
)
from city311_assets.causal.methods.matching import Matches, match_in_strata, similar_in_strata

DRAWS = 300
FITS: tuple[FitOn, FitOn] = ("all", "matched")


def pairs(treated: list[int], control: list[int], weight: list[float], asked: int = 0) -> Matches:
    """Pairs given by hand, sorted by treated unit."""
    own = np.array(treated, int)
    rank = np.array([treated[:at].count(unit) + 1 for at, unit in enumerate(treated)], int)
    return Matches(
        own,
        np.array(control, int),
        rank,
        1 - rank / 10,
        np.array(weight, float),
        np.arange(asked) if asked else np.unique(own),
    )


def one_to_one(n: int, controls: int | None = None) -> Matches:
    """n treated units, each with one of the controls that stand after them."""
    among = n if controls is None else controls
    return pairs(list(range(n)), [n + unit % among for unit in range(n)], [1.0] * n)


def number(value: float | None) -> float:
    assert value is not None
    return value


def numbers(effect: Effect) -> tuple[float, float, float, float, float]:
    """Estimate, standard error, interval and p of an effect that has them."""
    assert effect.reason is None
    ends = number(effect.low), number(effect.high)
    return number(effect.estimate), number(effect.se), *ends, number(effect.p)


@dataclass(frozen=True)
class City:
    """Units of one city: what they are matched and adjusted on, and their outcome in hours."""

    vectors: np.ndarray
    x: np.ndarray
    treated: np.ndarray
    outcome: np.ndarray

    def matches(self, k: int = 3) -> Matches:
        one = np.zeros(len(self.outcome), int)
        return match_in_strata(self.vectors, one, self.treated.astype(int), k, of=self.treated)

    def variance(self) -> np.ndarray:
        (controls,) = np.nonzero(~self.treated)
        one = np.zeros(len(controls), int)
        near, _ = similar_in_strata(self.vectors[controls], one, 4)
        variance = np.full(len(self.outcome), np.nan)
        variance[controls] = conditional_variance(self.outcome, controls[near], controls)
        return variance


def city(seed: int, effect: float = 0.0, n: int = 330, treated: int = 50) -> City:
    """Where treated units lie there are few controls, and what is complained of takes longer."""
    rng = np.random.default_rng([seed, 311])
    angle = np.sort(rng.beta(2, 4, n)) * 1.4
    is_treated = np.zeros(n, bool)
    chance = angle**2
    is_treated[rng.choice(n, treated, replace=False, p=chance / chance.sum())] = True
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    hours = 40 * np.exp(angle) + rng.gamma(2.0, 15.0, n) + effect * is_treated
    return City(vectors, np.stack([angle, angle**2], axis=1), is_treated, hours)


def corrected(given: City, **options) -> Effect:
    return bias_corrected_effect(
        given.outcome,
        given.matches(),
        given.variance(),
        given.x,
        ~given.treated,
        **options,
    )


def test_the_estimate_is_the_mean_over_treated_units_not_over_pairs():
    outcome = np.array([10.0, 20, 4, 6, 8])
    found = pairs([0, 0, 1], [2, 3, 4], [0.5, 0.5, 1])
    effect = matched_effect(outcome, found, np.zeros(5))
    assert effect.estimate == pytest.approx((10 - 5 + 20 - 8) / 2)
    assert naive_effect(outcome, found).estimate == pytest.approx((6 + 4 + 12) / 3)


def test_the_variance_counts_how_often_a_control_is_used():
    n = 60
    rng = np.random.default_rng(1)
    outcome = rng.normal(size=n + 2)
    variance = np.array([*[np.nan] * n, 4.0, 9.0])
    found = one_to_one(n, 2)
    estimate, se, low, high, p = numbers(matched_effect(outcome, found, variance))
    difference = outcome[:n] - outcome[n + np.arange(n) % 2]
    expected = ((difference - difference.mean()) ** 2).sum() + (30**2 - 30) * (4 + 9)
    assert se == pytest.approx(np.sqrt(expected) / n)
    assert (low, high) == pytest.approx(stats.norm.interval(0.95, estimate, se))
    assert p == pytest.approx(2 * stats.norm.sf(abs(estimate) / se))


def test_controls_used_once_need_no_variance():
    outcome = np.random.default_rng(2).normal(size=80)
    _, se, *_ = numbers(matched_effect(outcome, one_to_one(40), np.full(80, np.nan)))
    assert se == pytest.approx((outcome[:40] - outcome[40:]).std() / np.sqrt(40))


def test_below_fifty_matched_units_the_quantiles_are_students():
    outcome = np.random.default_rng(3).normal(size=98)
    estimate, se, low, high, p = numbers(matched_effect(outcome, one_to_one(49), np.ones(98)))
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 48, estimate, se))
    assert p == pytest.approx(2 * stats.t.sf(abs(estimate) / se, 48))


def test_p_is_below_five_percent_just_where_the_interval_leaves_out_nothing():
    for seed in range(25):
        for size in (40, 60):
            outcome = np.random.default_rng(seed).normal(size=2 * size)
            outcome[:size] += 0.4
            effect = matched_effect(outcome, one_to_one(size), np.ones(2 * size))
            _, _, low, high, p = numbers(effect)
            assert (p < 0.05) == (low > 0 or high < 0)


def test_fewer_than_thirty_matched_units_have_an_estimate_and_no_error():
    outcome = np.random.default_rng(4).normal(size=60)
    for size, reason in ((29, "too few"), (30, None)):
        found = one_to_one(size)
        for effect in (
            matched_effect(outcome, found, np.ones(60), draws=50),
            bias_corrected_effect(
                outcome, found, np.ones(60), outcome[:, None], np.arange(60) >= size, draws=50
            ),
            naive_effect(outcome, found, draws=50),
        ):
            assert effect.reason == reason
            assert effect.estimate is not None
            for value in (effect.se, effect.low, effect.high, effect.p):
                assert (value is None) == (reason is not None)
        assert (effect.p_randomization is None) == (effect.estimator == "naive" or size == 29)


def test_without_a_pair_there_is_no_estimate_and_the_caller_s_reason():
    nobody = pairs([], [], [], asked=4)
    y = np.ones(9)
    for effect in (
        matched_effect(y, nobody, y, reason_if_unmatched="outside the caliper"),
        bias_corrected_effect(
            y, nobody, y, y[:, None], y > 0, reason_if_unmatched="outside the caliper"
        ),
        naive_effect(y, nobody, reason_if_unmatched="outside the caliper"),
    ):
        assert (effect.estimate, effect.reason) == (None, "outside the caliper")
        assert (effect.n_treated, effect.n_matched, effect.share_on_support) == (4, 0, 0.0)
        assert (effect.effective_controls, effect.mean_similarity) == (0.0, None)
    assert matched_effect(y, nobody, y).reason == "no control in the stratum"


def test_an_outcome_that_is_the_same_everywhere_has_no_effect_to_show():
    y, found = np.full(120, 0.1), one_to_one(60)
    for effect in (
        matched_effect(y, found, y),
        bias_corrected_effect(y, found, y, y[:, None], np.arange(120) >= 60),
        naive_effect(y, found),
    ):
        assert (effect.estimate, effect.p, effect.reason) == (None, None, "constant outcome")
        assert effect.n_matched == 60


def test_differences_without_any_spread_have_no_error():
    y = np.repeat([3.0, 1.0], 40)
    for effect in (matched_effect(y, one_to_one(40), y), naive_effect(y, one_to_one(40))):
        assert (effect.estimate, effect.se) == (2.0, None)
        assert effect.reason == "no spread to tell the error by"
    reused = matched_effect(
        np.random.default_rng(5).normal(size=41), one_to_one(40, 1), np.full(41, np.nan)
    )
    assert (reused.se, reused.reason) == (None, "no spread to tell the error by")


def test_counts_tell_units_matched_controls_used_and_how_evenly():
    found = pairs([0, 0, 1, 2], [5, 6, 5, 5], [0.5, 0.5, 1, 1], asked=4)
    effect = matched_effect(np.arange(8.0), found, np.ones(8))
    assert (effect.n_treated, effect.n_matched, effect.n_controls_used) == (4, 3, 2)
    assert effect.effective_controls == pytest.approx(3**2 / (2.5**2 + 0.5**2))
    assert effect.share_on_support == 0.75
    assert effect.mean_similarity == pytest.approx((0.85 + 0.9 + 0.9) / 3)


def test_a_unit_s_variance_is_that_of_itself_and_its_nearest():
    y = np.array([1.0, 2, 4, 9, 9])
    near = np.array([[1, 2], [0, -1], [-1, -1]])
    variance = conditional_variance(y, near, np.array([0, 1, 3]))
    first, second = y[:3].var(ddof=1), y[:2].var(ddof=1)
    np.testing.assert_allclose(variance, [first, second, (first + second) / 2])
    assert np.isnan(conditional_variance(y, np.full((2, 3), -1), np.array([0, 1]))).all()
    with pytest.raises(ValueError, match="3 rows of nearest units for 2"):
        conditional_variance(y, near, np.array([0, 1]))


def test_the_variance_recovers_the_noise_it_was_made_with():
    rng = np.random.default_rng(6)
    n = 4_000
    noise = np.where(np.arange(n) < n // 2, 1.0, 5.0)
    y = rng.normal(scale=noise)
    near = (np.arange(n)[:, None] + np.arange(1, 5)) % n
    variance = conditional_variance(y, near, np.arange(n))
    assert variance[: n // 2].mean() == pytest.approx(1, rel=0.1)
    assert variance[n // 2 :].mean() == pytest.approx(25, rel=0.1)


def test_one_variance_for_all_is_half_that_of_the_differences():
    y = np.random.default_rng(7).normal(scale=3, size=6_000)
    assert homoskedastic_variance(y, one_to_one(3_000)) == pytest.approx(9, rel=0.05)
    assert np.isnan(homoskedastic_variance(y, pairs([], [], [])))


def test_a_line_is_taken_out_whole_without_a_ridge():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(200, 2)) * [1000, 0.01]
    y = 5 + x @ [0.2, 70] + 3 * (np.arange(200) < 50)
    found = one_to_one(50)
    is_control = np.arange(200) >= 50
    for fit_on in FITS:
        residual = regression_residuals(y, found, x, is_control, ridge=0, fit_on=fit_on)
        np.testing.assert_allclose(residual[is_control], 0, atol=1e-9)
        np.testing.assert_allclose(residual[~is_control], 3, atol=1e-9)


def test_a_regression_is_that_of_the_normal_equations_with_the_ridge():
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(90, 3)), rng.normal(size=90)
    found = one_to_one(30, 20)
    is_control = np.arange(90) >= 30
    used, _ = found.control_weights(90)
    for fit_on, weight in zip(FITS, (is_control.astype(float), used), strict=True):
        share = weight / weight.sum()
        z = x - share @ x
        z /= np.sqrt(share @ z**2)
        squares = z.T @ (weight[:, None] * z) + 7 * np.eye(3)
        slopes = np.linalg.solve(squares, z.T @ (weight * (y - share @ y)))
        residual = regression_residuals(y, found, x, is_control, ridge=7, fit_on=fit_on)
        np.testing.assert_allclose(residual, y - share @ y - z @ slopes)


@pytest.mark.parametrize(
    ("treated", "columns", "fit_on"), [(120, 2, "matched"), (120, 7, "all"), (60, 2, "all")]
)
def test_the_fit_is_on_matched_controls_where_there_are_enough_of_them(
    treated: int, columns: int, fit_on: FitOn
):
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(400, columns)), rng.normal(size=400)
    found, is_control = one_to_one(treated), np.arange(400) >= treated
    left_out = regression_residuals(y, found, x, is_control)
    said = {fit: regression_residuals(y, found, x, is_control, fit_on=fit) for fit in FITS}
    np.testing.assert_array_equal(left_out, said.pop(fit_on))
    assert not any(np.allclose(left_out, other) for other in said.values())


def test_the_correction_does_not_hang_on_units_or_a_column_said_twice():
    given = city(1, 8.0)
    plain = numbers(corrected(given))
    x = given.x * [24, 0.001] + 3
    moved = City(given.vectors, x, given.treated, given.outcome)
    assert numbers(corrected(moved)) == pytest.approx(plain)
    twice = City(given.vectors, np.hstack([given.x, given.x]), given.treated, given.outcome)
    assert numbers(corrected(twice, ridge=0)) == pytest.approx(numbers(corrected(given, ridge=0)))
    days = City(given.vectors, given.x, given.treated, given.outcome / 24)
    in_days = numbers(corrected(days))
    assert [24 * value for value in in_days[:4]] == pytest.approx(plain[:4])
    assert in_days[4] == pytest.approx(plain[4])


def test_a_column_that_only_treated_units_vary_in_is_left_out():
    given = city(2)
    odd = np.hstack([given.x, given.treated[:, None] * 1.0])
    with_it = City(given.vectors, odd, given.treated, given.outcome)
    assert numbers(corrected(with_it)) == pytest.approx(numbers(corrected(given)))


def test_a_planted_effect_is_found_and_a_bias_of_poor_matches_taken_out():
    far = np.array([corrected(city(seed, 12.0)).estimate for seed in range(40)], float)
    plain = []
    for seed in range(40):
        given = city(seed, 12.0)
        effect = matched_effect(given.outcome, given.matches(), given.variance())
        plain.append(number(effect.estimate))
    assert far.mean() == pytest.approx(12, abs=2.5)
    assert abs(far.mean() - 12) < abs(np.mean(plain) - 12)


def test_units_used_as_controls_must_be_controls_and_known():
    y = np.arange(80.0)
    found = one_to_one(40)
    with pytest.raises(ValueError, match=r"40 units were matched as controls.*\[40, 41"):
        regression_residuals(y, found, y[:, None], np.arange(80) < 0)
    with pytest.raises(ValueError, match=r"adjustment has the shape \(80,\)"):
        regression_residuals(y, found, y, np.arange(80) >= 40)
    x = np.where(y == 50, np.nan, y)
    with pytest.raises(ValueError, match=r"1 units is missing.*\[50\]"):
        regression_residuals(y, found, x[:, None], np.arange(80) >= 40)
    with pytest.raises(ValueError, match=r"outcome of 1 matched units is missing.*\[50\]"):
        matched_effect(x, found, y)


def test_contributions_sum_to_the_estimate_and_only_units_with_a_part_have_one():
    given = city(3, 5.0)
    found = given.matches()
    share = contributions(given.outcome, found)
    effect = matched_effect(given.outcome, found, given.variance())
    assert share.sum() == pytest.approx(effect.estimate)
    assert (share != 0).sum() == effect.n_matched + effect.n_controls_used
    np.testing.assert_allclose(contributions(given.outcome + 500, found), share, atol=1e-9)
    assert not contributions(np.ones(4), pairs([], [], [])).any()


def test_flips_of_few_units_are_those_of_all_signs():
    share = np.array([1.0, -2, 0.5, 3, -1.5, 2.5, 0.7, -0.2])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1)
    sums = np.abs(share @ signs)
    observed = np.array([0.0, 4.0, abs(share.sum()), np.abs(share).sum()])
    exact = [(sums >= value - 1e-9).mean() for value in observed]
    columns = np.tile(share[:, None], (1, 4))
    p = sign_flip_p(columns, observed, draws=60_000, seed=1)
    np.testing.assert_allclose(p, exact, atol=0.006)
    assert p[0] == 1


def test_flips_of_many_estimates_at_once_are_those_of_each_and_of_small_blocks(
    monkeypatch: pytest.MonkeyPatch,
):
    columns = np.random.default_rng(10).normal(size=(40, 3)) * [1e-60, 1, 1e60]
    observed = columns.sum(axis=0)
    together = sign_flip_p(columns, observed, draws=4_000, seed=2)
    for column in range(3):
        alone = sign_flip_p(columns[:, column], observed[column], draws=4_000, seed=2)
        assert alone.shape == ()
        assert alone == pytest.approx(together[column], abs=1e-3)
    monkeypatch.setattr(estimators, "BLOCK", 400)
    split = sign_flip_p(columns, observed, draws=4_000, seed=3)
    np.testing.assert_allclose(split, together, atol=0.04)


def test_p_is_never_less_than_one_draw_more_than_there_were():
    assert sign_flip_p(np.ones(50), 50.0, draws=99) == pytest.approx(0.01)


def test_an_estimate_that_is_none_has_no_p_and_no_draws_are_refused():
    p = sign_flip_p(np.ones((5, 2)), np.array([np.nan, 5.0]), draws=100)
    np.testing.assert_array_equal(np.isnan(p), [True, False])
    with pytest.raises(ValueError, match="0 draws of signs"):
        sign_flip_p(np.ones(3), 1.0, draws=0)


def test_the_same_seed_gives_the_same_p_and_interval():
    given = city(4, 6.0)
    one, again = (corrected(given, draws=300, seed=5) for _ in range(2))
    assert one == again
    assert one.p_randomization != corrected(given, draws=300, seed=6).p_randomization
    assert naive_effect(given.outcome, given.matches(), 5) == naive_effect(
        given.outcome, given.matches(), 5
    )


def test_the_naive_mean_is_of_pairs_that_are_both_closed():
    outcome = np.array([10.0, np.nan, 3, 4, np.nan, 6])
    found = pairs([0, 0, 1, 2], [3, 4, 5, 5], [0.5, 0.5, 1, 1])
    effect = naive_effect(outcome, found)
    assert effect.estimate == pytest.approx(((10 - 4) + (3 - 6)) / 2)
    assert (effect.n_treated, effect.n_matched, effect.n_controls_used) == (3, 2, 2)
    assert effect.effective_controls == 2
    nothing = naive_effect(np.full(6, np.nan), found)
    assert (nothing.estimate, nothing.reason) == (None, "no closed pair")


def test_the_naive_interval_is_that_of_resampled_pairs():
    outcome = np.random.default_rng(11).exponential(10, 400)
    effect = naive_effect(outcome, one_to_one(200), draws=20_000)
    estimate, se, low, high, p = numbers(effect)
    difference = outcome[:200] - outcome[200:]
    assert se == pytest.approx(difference.std() / np.sqrt(200), rel=0.03)
    assert (low, high) == pytest.approx(stats.norm.interval(0.95, estimate, se), abs=0.1)
    assert p == pytest.approx(2 * stats.norm.sf(abs(estimate) / se), abs=0.03)
    assert p == pytest.approx(numbers(naive_effect(-outcome, one_to_one(200), draws=20_000))[4])


def test_where_controls_are_reused_the_interval_covers_and_the_naive_one_does_not():
    covers, naive_covers, p, flipped, effective = [], [], [], [], []
    for seed in range(DRAWS):
        given = city(seed)
        found, variance = given.matches(), given.variance()
        effect = bias_corrected_effect(
            given.outcome, found, variance, given.x, ~given.treated, draws=400, seed=seed
        )
        _, _, low, high, value = numbers(effect)
        covers.append(low <= 0 <= high)
        p.append(value)
        flipped.append(effect.p_randomization)
        effective.append(effect.effective_controls)
        _, _, low, high, _ = numbers(naive_effect(given.outcome, found, seed, draws=200))
        naive_covers.append(low <= 0 <= high)
    error = np.sqrt(0.95 * 0.05 / DRAWS)
    assert np.mean(covers) == pytest.approx(0.95, abs=2.5 * error)
    assert np.mean(naive_covers) < 0.85
    assert np.mean(np.array(flipped) < 0.05) == pytest.approx(0.05, abs=2.5 * error)
    assert np.mean(np.array(p) < 0.05) == pytest.approx(1 - np.mean(covers))
    # The 150 pairs are worth far fewer controls: that is what is tested here.
    assert np.mean(effective) < 75
