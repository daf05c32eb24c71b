"""Forecasts: planted intensities, the null city, one joint law, and nothing of the future."""

import datetime as dt
from functools import cache

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy import sparse, stats

from city311_assets.gold.methods import forecasting, negative_binomial
from city311_assets.gold.methods.arrays import Cells, Floats, Ints
from city311_assets.gold.methods.forecast_scores import randomized_pit
from city311_assets.gold.methods.forecasting import (
    BASELINES,
    NO_HISTORY,
    NOT_BEATEN,
    SCHEMA,
    SHORT_HISTORY,
    History,
    Issue,
    city_means,
    forecasts,
    issue,
    joint_draws,
    look_back_days,
    whole_records,
)

FIRST = dt.date(2024, 1, 1)
ONE = dt.timedelta(days=1)
CENTRE = h3.latlng_to_cell(41.85, -87.7, 8)


def disk_of(rings: int) -> Cells:
    return np.array(sorted(h3.grid_disk(CENTRE, rings)), np.uint64)


def neighbours(cells: Cells) -> sparse.csr_array:
    place = {int(cell): number for number, cell in enumerate(cells)}
    pairs = [
        (place[int(cell)], place[other])
        for cell in cells
        for other in h3.grid_disk(int(cell), 1)
        if other in place
    ]
    rows, columns = zip(*pairs, strict=True)
    return sparse.csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(cells),) * 2)


def frame(counts: Ints, cells: Cells) -> pl.DataFrame:
    """Return counts, categories by days by cells, as a sparse frame."""
    category, day, cell = np.nonzero(counts)
    days = pl.Series("day", [FIRST + int(number) * ONE for number in day], pl.Date)
    names = pl.Series("category", [f"c{number:02}" for number in category], pl.String)
    return pl.DataFrame(
        [days, pl.Series("cell", cells[cell]), names, pl.Series("records", counts[counts > 0])]
    )


def history(counts: Ints, cells: Cells, **options: object) -> History:
    days = [FIRST + number * ONE for number in range(counts.shape[1])]
    names = [f"c{number:02}" for number in range(len(counts))]
    return History.of(frame(counts, cells), cells, days, categories=names, **options)  # pyright: ignore[reportArgumentType]


def at(known: int, lag: int = 0) -> dt.date:
    """Return the origin at which so many days are known."""
    return FIRST + (known - 1 + lag) * ONE


def issued(past: History, origin: dt.date, lag: int = 0) -> Issue:
    found = issue(past, origin, lag)
    assert found is not None
    return found


def served(found: Issue) -> tuple[Floats, Floats]:
    """Return means and variances of the cells, categories by cells."""
    names = np.arange(len(found.cells.served))
    level = found.cells
    return level.means[level.served, names], level.variances()[level.served, names]


@cache
def uneven() -> History:
    """Three categories of uneven cells over 700 days, one of them with very few records."""
    rng, cells = np.random.default_rng(3), disk_of(4)
    shares = rng.gamma(0.5, 1, len(cells))
    daily = np.outer([30.0, 6.0, 0.3], shares / shares.sum())
    counts = rng.poisson(np.repeat(daily[:, None], 700, axis=1))
    return history(counts, cells, disk=neighbours(cells))


def test_planted_intensities_are_recovered_better_than_by_the_plain_count():
    rng, cells = np.random.default_rng(1), disk_of(5)
    weekly = rng.gamma(0.6, 5, len(cells))
    counts = rng.poisson(np.broadcast_to(weekly / 7, (1, 500, len(cells))))
    found = forecasts(history(counts, cells), at(493), 0).filter(category="all")
    city, rows = found.filter(pl.col("cell").is_null()), found.drop_nulls("cell")
    truth = weekly[np.searchsorted(cells, rows["cell"].to_numpy())]
    error = np.abs(rows["mean"].to_numpy() - truth).mean()
    assert city["mean"].item() == pytest.approx(weekly.sum(), rel=0.04)
    assert error < 0.45 * np.abs(rows["trailing"].to_numpy() - truth).mean()
    assert np.corrcoef(rows["mean"].to_numpy(), truth)[0, 1] > 0.99


def test_the_null_city_is_covered_as_often_as_claimed_and_its_pit_is_uniform():
    rng, cells = np.random.default_rng(2), disk_of(3)
    counts = rng.poisson(12 / 7, (20, 380, len(cells)))
    past = history(counts, cells)
    found = {"city": [], "cells": []}
    for known in range(300, 373, 8):
        rows = forecasts(past, at(known), 0).filter(pl.col("category") != "all")
        came = past.outcome(known, 0)[1:]
        city, inside = rows.filter(pl.col("cell").is_null()), rows.drop_nulls("cell")
        found["city"].append(city.with_columns(came=pl.Series(came.sum(axis=1))))
        found["cells"].append(inside.with_columns(came=pl.Series(came.ravel())))
    for level, tolerance in (("city", 0.06), ("cells", 0.025)):
        rows = pl.concat(found[level])
        for share in (80, 95):
            is_inside = pl.col("came").is_between(pl.col(f"low_{share}"), pl.col(f"high_{share}"))
            assert rows.select(is_inside.mean()).item() == pytest.approx(share / 100, abs=tolerance)
    means, variances = served(issued(past, at(365)))
    drawn = randomized_pit(past.outcome(365, 0)[1:], means[1:], variances[1:], rng)
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 0.01
    assert (found["cells"][0]["mean"] >= 10).mean() > 0.99


@pytest.mark.parametrize("lag", [0, 7])
@pytest.mark.parametrize("known", [28, 45, 120, 600])
def test_cells_add_up_to_the_city(known: int, lag: int):
    rows = forecasts(uneven(), at(known, lag), lag)
    city = rows.filter(pl.col("cell").is_null()).select("category", "mean")
    sums = rows.drop_nulls("cell").group_by("category").agg(cells=pl.col("mean").sum())
    both = city.join(sums, on="category", how="left")
    assert both["category"].to_list() == ["all", "c00", "c01", "c02"]
    np.testing.assert_allclose(both["cells"], both["mean"], rtol=1e-12)
    assert (rows["low_95"] <= rows["low_80"]).all()
    assert (rows["low_80"] <= rows["median"]).all()
    assert (rows["median"] <= rows["high_80"]).all()
    assert (rows["high_80"] <= rows["high_95"]).all()


@pytest.mark.parametrize("lag", [0, 3, 7])
def test_what_is_not_known_yet_changes_nothing(lag: int):
    cells, rng = disk_of(2), np.random.default_rng(5)
    counts = rng.poisson(0.6, (2, 260, len(cells)))
    known = 250 - lag
    other = counts.copy()
    other[:, known:] = rng.poisson(3.0, other[:, known:].shape)
    origin = at(known, lag)
    found = forecasts(history(counts, cells), origin, lag)
    assert_frame_equal(found, forecasts(history(other, cells), origin, lag))
    other[:, known - 1] += 1
    assert not found.equals(forecasts(history(other, cells), origin, lag))


@pytest.mark.parametrize("lag", [0, 7])
def test_days_before_the_look_back_change_nothing(lag: int):
    past = uneven()
    origin = at(680, lag)
    first = origin - (look_back_days(lag) - 1) * ONE
    held = (first - FIRST).days
    counts = np.diff(past.sums, axis=1)[1:, held:]
    days = [first + number * ONE for number in range(counts.shape[1])]
    recent = frame(counts, past.cells).with_columns(pl.col("day") + held * ONE)
    short = History.of(recent, past.cells, days, disk=past.disk)
    assert_frame_equal(forecasts(past, origin, lag), forecasts(short, origin, lag))


def test_the_order_of_rows_changes_nothing():
    past = uneven()
    counts = frame(np.diff(past.sums, axis=1)[1:], past.cells)
    days = [FIRST + number * ONE for number in range(700)]
    shuffled = counts.sample(fraction=1, shuffle=True, seed=1)
    found = History.of(shuffled, past.cells, days, disk=past.disk)
    assert_frame_equal(forecasts(past, at(690), 0), forecasts(found, at(690), 0))


def test_an_origin_is_the_same_alone_and_after_others():
    past = uneven()
    alone = History(past.cells, past.categories, past.first, past.sums, past.disk)
    for known in range(600, 640):
        forecasts(past, at(known), 0)
    assert_frame_equal(forecasts(past, at(640), 0), forecasts(alone, at(640), 0))


def test_means_of_the_baselines_are_plain_counts():
    rows = forecasts(uneven(), at(600), 0).drop_nulls("cell").filter(category="c00")
    places = np.searchsorted(uneven().cells, rows["cell"].to_numpy())
    sums = uneven().sums[1][:, places]
    np.testing.assert_allclose(rows["trailing"], (sums[600] - sums[572]) * 7 / 28)
    np.testing.assert_allclose(rows["seasonal_naive"], sums[600] - sums[593])


def test_rows_are_those_where_something_is_expected():
    cells = disk_of(2)
    counts = np.zeros((2, 200, len(cells)), np.int64)
    counts[0, ::2, 3] = 1
    rows = forecasts(history(counts, cells), at(190), 0)
    assert rows.filter(pl.col("cell").is_null())["mean"].to_list() == [3.5, 3.5, 0.0]
    assert rows.filter(pl.col("cell").is_null())["high_95"].to_list()[-1] == 0
    assert set(rows.drop_nulls("cell")["cell"]) == {int(cells[3])}
    assert rows.drop_nulls("cell").height == 2
    assert rows.schema == SCHEMA


@pytest.mark.parametrize("known", [1, 27])
def test_without_28_known_days_the_city_has_rows_with_a_reason(known: int):
    rows = forecasts(uneven(), at(known), 0)
    assert rows["category"].to_list() == ["all", "c00", "c01", "c02"]
    assert set(rows["reason"]) == {NO_HISTORY}
    assert rows.drop("category", "reason").null_count().sum_horizontal().item() == 4 * 10


@pytest.mark.parametrize(("known", "is_short"), [(28, True), (41, True), (42, False)])
def test_fewer_than_two_known_outcomes_serve_the_plain_count(known: int, is_short: bool):
    rows = forecasts(uneven(), at(known), 0)
    assert ((rows["reason"] == SHORT_HISTORY).fill_null(value=False).all()) == is_short
    if is_short:
        assert set(rows["method"]) == {"trailing"}
        np.testing.assert_allclose(rows["mean"], rows["trailing"])


@given(st.floats(0.01, 1e4), st.integers(2, 8), st.integers(0, 7), st.floats(0, 100))
def test_a_gain_at_one_origin_alone_is_a_tie_however_it_rounds(
    gain: float, origins: int, place: int, level: float
):
    """It is its own standard error: a method must have gained at two origins or more."""
    scores = np.full((origins, 3, 1), level)
    scores[:, 0] += gain
    scores[:, 1] = scores[:, 0]
    scores[:, 2] = scores[:, 0]
    scores[place % origins, 1:] = level
    served, reasons = forecasting._served(scores, scores[:, :0])
    assert (served.tolist(), reasons) == ([0], (forecasting.NOT_BEATEN,))
    scores[:, 1], scores[:, 2] = scores[:, 0], level
    served, reasons = forecasting._served(scores, scores[:, :0])
    assert served.tolist() == [2]


def test_a_candidate_is_served_only_where_it_beat_both_baselines():
    for known in range(200, 320, 6):
        found = issued(uneven(), at(known))
        for level, bars in ((found.city, 2), (found.cells, 4)):
            for k, reason in enumerate(level.reasons):
                score = level.scores[level.served[k], k]
                if reason is None:
                    assert level.served[k] >= bars
                    assert score < level.scores[:bars, k].min()
                else:
                    assert reason == NOT_BEATEN
                    assert level.methods[level.served[k]].removesuffix("_scaled") in BASELINES
                    assert score <= level.scores[bars - 2, k]


def test_a_moved_city_is_forecast_by_what_is_recent_and_a_steady_one_by_what_lasts():
    rng, cells = np.random.default_rng(8), disk_of(4)
    shares = rng.gamma(0.5, 1, (2, len(cells)))
    daily = 60 * shares / shares.sum(axis=1, keepdims=True)
    # The second category changes its places little by little, the first never.
    drift = np.linspace(0, 1, 400)[:, None]
    moving = np.roll(daily[1], 7) * drift + daily[1] * (1 - drift)
    counts = np.stack([rng.poisson(np.tile(daily[0], (400, 1))), rng.poisson(moving)])
    found = issued(history(counts, cells), at(390))
    methods = [found.cells.methods[place] for place in found.cells.served]
    assert methods[1] in {"decayed_364", "borrowed"}
    assert methods[2] in {"decayed_28", "decayed_91"}


@pytest.mark.parametrize("is_smooth", [True, False])
def test_smoothing_is_served_in_a_smooth_city_and_not_in_a_patchy_one(is_smooth: bool):
    rng, cells = np.random.default_rng(9), disk_of(9)
    rings = np.array([h3.grid_distance(CENTRE, int(cell)) for cell in cells])
    smooth = np.exp(-3 * (rings / 9) ** 2)
    density = smooth if is_smooth else rng.permutation(smooth**4)
    daily = 15 * density / density.sum()
    past = history(rng.poisson(np.tile(daily, (1, 400, 1))), cells, disk=neighbours(cells))
    found = issued(past, at(390))
    assert (found.cells.methods[found.cells.served[1]] == "pooled") == is_smooth


def test_last_year_sees_the_season_turn():
    cells = disk_of(0)
    season = 200 + 150 * np.sin(2 * np.pi * np.arange(800) / 364)
    counts = np.random.default_rng(4).poisson(season[None, :, None])
    past = history(counts, cells)
    errors = []
    for known in range(420, 790, 10):
        means = city_means(past, known, 0)[[0, -1], 1]
        errors.append(np.abs(means - season[known : known + 7].sum()))
    plain, last_year = np.mean(errors, axis=0)
    assert last_year < 0.7 * plain
    assert np.isnan(city_means(past, 391, 0)[-1]).all()
    assert not np.isnan(city_means(past, 392, 0)[-1]).any()


@pytest.mark.parametrize(
    ("total", "linear", "quadratic"),
    [(4, 0, 0), (4, 2.5, 0), (4, 4, 0), (12, 1, 1), (60, 0.5, 0.02), (60, 3, 0)],
)
def test_the_joint_law_adds_up_and_has_the_stored_margins(total, linear, quadratic):
    shares = np.random.default_rng(7).gamma(2, 1, 9)
    means = total * shares / shares.sum()
    variances = means * (1 + linear) + means**2 * (quadratic - linear / total)
    drawn = joint_draws(means, linear, quadratic, 60_000, seed=1)
    whole = drawn.sum(axis=1)
    city = total, total + quadratic * total**2
    np.testing.assert_allclose([whole.mean(), whole.var()], city, rtol=0.03)
    np.testing.assert_allclose(drawn.mean(axis=0), means, rtol=0.04)
    np.testing.assert_allclose(drawn.var(axis=0), variances, rtol=0.06)
    for law, counts in ((city, whole[:, None]), ((means, variances), drawn)):
        for share in (0.1, 0.5, 0.9):
            stored = negative_binomial.quantile(share, *law)
            assert ((counts < stored).mean(axis=0) <= share + 0.05).all()
            assert ((counts <= stored).mean(axis=0) >= share - 0.05).all()


def test_laws_of_cells_and_city_are_margins_of_one():
    rng, cells = np.random.default_rng(10), disk_of(3)
    # Levels and shares of both categories waver from week to week.
    weekly = rng.gamma(2, 1, (2, 70, len(cells))) * rng.gamma(30, 1 / 30, (2, 70, 1))
    found = issued(history(rng.poisson(np.repeat(weekly, 7, axis=1) / 2), cells), at(480))
    city, inside, names = found.city, found.cells, np.arange(3)
    total = city.means[city.served, names]
    level = city.quadratic[city.served, names]
    linear = inside.linear[inside.served, names]
    assert (linear > 0.3).all()
    assert (level > 0.005).all()
    means, variances = served(found)
    expected = means * (1 + linear[:, None])
    expected += means**2 * (level - linear / total)[:, None]
    np.testing.assert_allclose(variances, expected)


def test_shares_that_no_one_can_know_have_a_law_all_the_same():
    rng, cells = np.random.default_rng(11), disk_of(2)
    counts = np.zeros((1, 70, 7, len(cells)), np.int64)
    counts[0, np.arange(70), 2, rng.integers(len(cells), size=70)] = 10
    found = issued(history(counts.reshape(1, 490, -1), cells), at(483))
    recent = found.cells.methods.index("decayed_28")
    means, linear = found.cells.means[recent, 1], found.cells.linear[recent, 1]
    assert found.city.methods[found.city.served[1]] == "trailing"
    # The bound: a variance as of all records in one cell.
    assert linear == pytest.approx(means.sum() * (1 + found.city.quadratic[0, 1]))
    drawn = joint_draws(means, linear, found.city.quadratic[0, 1], 4000, seed=1)
    assert (drawn.max(axis=1) == drawn.sum(axis=1)).all()
    np.testing.assert_allclose(drawn.mean(axis=0), means, atol=0.25)


@pytest.mark.parametrize("planted", [0.0, 0.01, 0.04])
def test_a_level_that_wavers_from_week_to_week_widens_the_city_by_as_much(planted: float):
    rng, cells, weeks = np.random.default_rng(6), disk_of(1), 60
    found = []
    for _ in range(12):
        level = rng.gamma(1 / planted, planted, weeks) if planted else np.ones(weeks)
        daily = 60 * np.repeat(level, 7)[None, :, None] * np.ones((1, 1, len(cells)))
        past = history(rng.poisson(daily), cells)
        found.append(issued(past, at(weeks * 7 - 7)).city.quadratic[0, 1])
    # The mean of four weeks wavers too: a quarter of the weeks' variance is the forecast's own.
    assert np.mean(found) == pytest.approx(1.25 * planted, rel=0.35, abs=0.003)


LAWS = st.lists(
    st.tuples(
        st.floats(0, 60).map(lambda mean: round(mean, 3)),
        st.sampled_from([0.0, 1e-12, 0.01, 0.3, 2.0]),
    ),
    min_size=1,
    max_size=30,
)


@given(LAWS)
@settings(max_examples=60, deadline=None)
def test_counting_up_finds_the_same_ends_as_the_negative_binomial(laws: list[tuple[float, float]]):
    mean, excess = np.array(laws).T
    variance = mean * (1 + excess) + mean**2 * excess / 9
    expected = [
        negative_binomial.quantile(0.5, mean, variance),
        *negative_binomial.ends(mean, variance, 0.80),
        *negative_binomial.ends(mean, variance, 0.95),
    ]
    np.testing.assert_array_equal(whole_records(mean, variance), expected)


GOOD = pl.DataFrame(
    {
        "day": [FIRST],
        "cell": pl.Series([CENTRE], dtype=pl.UInt64),
        "category": ["a"],
        "records": [1],
    }
)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"cell": pl.lit(1, pl.UInt64)}, {}, r"cells \[1\] not of the study area"),
        ({"day": pl.lit(FIRST + 9 * ONE)}, {}, r"counts of .*2024, 1, 10.*, not of 2024-01-01"),
        ({"day": pl.lit(FIRST - ONE)}, {}, "not of 2024-01-01 to 2024-01-03"),
        ({"records": pl.lit(-1)}, {}, "below 0"),
        ({"category": pl.lit("all")}, {}, "'all' is made here"),
        ({}, {"categories": ["b"]}, r"categories \['a'\] that were not announced"),
        ({}, {"days": [FIRST, FIRST + 2 * ONE]}, "without a gap"),
        ({}, {"days": []}, "at least one"),
        ({}, {"cells": disk_of(1)[::-1]}, "sorted"),
        ({}, {"cells": np.repeat(disk_of(0), 2)}, "each once"),
        ({}, {"disk": neighbours(disk_of(2))}, "not of the 7 cells"),
    ],
)
def test_bad_counts_are_refused(change, options, message):
    given_ = {"cells": disk_of(1), "days": [FIRST, FIRST + ONE, FIRST + 2 * ONE]} | options
    with pytest.raises(ValueError, match=message):
        History.of(GOOD.with_columns(**change), **given_)


@pytest.mark.parametrize(
    ("origin", "lag"),
    [(FIRST - ONE, 0), (FIRST, 1), (FIRST + 700 * ONE, 0), (at(600), -1)],
)
def test_an_origin_outside_of_the_days_is_refused(origin: dt.date, lag: int):
    with pytest.raises(ValueError, match=r"is outside of the days 2024-01-01 to 2025-11-30"):
        forecasts(uneven(), origin, lag)


def test_a_law_of_unknown_variance_is_refused():
    with pytest.raises(ValueError, match="unknown"):
        whole_records(np.array([1.0]), np.array([np.nan]))


def test_a_size_that_rounds_to_less_than_nothing_leaves_a_law():
    """Where one cell holds all of a category its errors are measured in nothing."""
    sizes = np.array([[[-1e-18, 2.0], [3.0, 1.0]]])
    assert np.isfinite(forecasting._excess(np.ones_like(sizes), sizes, 0.33)).all()
