"""Hot spots of a month: planted ones are found, chance is not, and each rule holds."""

import datetime as dt
from collections.abc import Mapping

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pytest
from esda.getisord import G_Local
from hypothesis import given
from hypothesis import strategies as st
from libpysal.weights import WSP
from polars.testing import assert_frame_equal
from scipy import sparse, stats

from city311_assets.gold.methods import negative_binomial
from city311_assets.gold.methods.gi_star import ring_skewness, skewed_two_sided
from city311_assets.gold.methods.grid import Grid
from city311_assets.gold.methods.hot_spots import (
    CLASS_LEVELS,
    SCHEMA,
    UNREMARKABLE_SKEWNESS,
    UNREMARKABLE_SPREAD,
    UNREMARKABLE_Z,
    Scatter,
    hot_spots,
    scatter,
)
from city311_assets.gold.methods.local_moran import local_moran

MONTH = dt.date(2026, 9, 1)
MONTHS = [
    dt.date(2024 + index // 12, index % 12 + 1, 1)
    for index in range(9, 33)  # October 2024 to September 2026
]
CENTRE = h3.latlng_to_cell(41.88, -87.63, 8)
CITY = Grid.of(np.array(h3.grid_disk(CENTRE, 8), np.uint64))
PLACE = h3.grid_ring(CENTRE, 4)[0]
HOT, FOUND = ["hot_95", "hot_99"], ["hot_95", "hot_99", "cold_95", "cold_99"]
COVERED = pl.DataFrame({"month": MONTHS, "days": [30] * len(MONTHS)})


def ring_of(cell: int, grid: Grid = CITY) -> np.ndarray:
    return np.isin(grid.cells, np.array(h3.grid_disk(cell, 1), np.uint64))


def frame(values: Mapping[str, np.ndarray], grid: Grid = CITY) -> pl.DataFrame:
    """Return counts by category, each an array (cells, months) that ends with the asked month."""
    parts = []
    for category, x in values.items():
        cell, month = np.nonzero(x)
        parts.append(
            pl.DataFrame(
                {
                    "month": pl.Series(MONTHS[-x.shape[1] :]).gather(month),
                    "cell": grid.cells[cell],
                    "category": pl.Series([category] * len(cell), dtype=pl.String),
                    "records": x[cell, month].astype(np.int64),
                }
            )
        )
    return pl.concat(parts)


def with_all(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return values | {"all": np.sum(list(values.values()), axis=0)}


def drawn(mean: float | np.ndarray, seed: int, months: int = 24) -> np.ndarray:
    """Return Poisson counts of a city of no change; uneven if the mean is an array by cell."""
    means = np.broadcast_to(mean, CITY.cells.size)[:, None]
    return np.random.default_rng(seed).poisson(np.repeat(means, months, axis=1))


def uneven(seed: int) -> np.ndarray:
    return 10 * np.random.default_rng(seed).lognormal(0, 1, CITY.cells.size)


def of(rows: pl.DataFrame, null_model: str, cell: int | None = None) -> pl.DataFrame:
    chosen = rows.filter(pl.col("null_model") == null_model)
    return chosen if cell is None else chosen.filter(pl.col("cell") == cell)


def became(values: np.ndarray, null_model: str, cell: int = PLACE) -> str | None:
    rows = hot_spots(frame({"all": values}), COVERED, CITY, MONTH)
    return of(rows, null_model, cell)["emerging"].item()


@pytest.mark.parametrize("null_model", ["baseline", "uniform"])
def test_a_planted_ring_is_found_and_nothing_far_from_it(null_model: str):
    values = drawn(6.0, 1)
    values[ring_of(PLACE), -1] += np.random.default_rng(2).poisson(12.0, 7)
    rows = hot_spots(frame({"all": values}), COVERED, CITY, MONTH)
    (row,) = of(rows, null_model, PLACE).to_dicts()
    assert row["class"] == "hot_99"
    assert row["emerging"] == "new"
    hot = of(rows, null_model).filter(pl.col("class").is_in(FOUND))["cell"].to_list()
    assert PLACE in hot
    assert set(hot) <= set(h3.grid_disk(PLACE, 2))


def test_a_ring_that_became_empty_is_cold():
    values = drawn(6.0, 3)
    values[ring_of(PLACE), -1] = 0
    rows = hot_spots(frame({"all": values}), COVERED, CITY, MONTH)
    assert of(rows, "baseline", PLACE)["class"].item() == "cold_99"
    assert of(rows, "uniform", PLACE)["class"].item() == "cold_99"


def test_a_city_of_no_change_has_no_hot_spots():
    values = {str(seed): drawn(uneven(seed), 10 + seed) for seed in range(12)}
    rows = of(hot_spots(frame(values), COVERED, CITY, MONTH), "baseline")
    found = rows.filter(pl.col("class").is_in(FOUND))
    assert rows["p"].null_count() < rows.height / 2
    assert found["category"].n_unique() <= 1


def test_what_was_always_busy_is_hot_for_the_uniform_null_only():
    mean = np.full(CITY.cells.size, 5.0)
    mean[ring_of(PLACE)] = 40
    rows = hot_spots(frame({"all": drawn(mean, 4)}), COVERED, CITY, MONTH)
    assert of(rows, "uniform", PLACE)["class"].item() == "hot_99"
    assert of(rows, "baseline", PLACE)["class"].item() == "none"


def test_a_month_with_twice_as_many_records_everywhere_is_no_hot_spot():
    values = drawn(uneven(5), 5)
    values[:, -1] += drawn(uneven(5), 50, months=1)[:, 0]
    rows = of(hot_spots(frame({"all": values}), COVERED, CITY, MONTH), "baseline")
    assert not rows["class"].is_in(FOUND).any()


def test_rows_do_not_hang_on_the_order_of_counts():
    counts = frame(with_all({"theft": drawn(uneven(6), 6), "noise": drawn(2.0, 7)}))
    rows = hot_spots(counts, COVERED, CITY, MONTH)
    shuffled = hot_spots(counts.sample(fraction=1, shuffle=True, seed=8), COVERED, CITY, MONTH)
    assert_frame_equal(shuffled, rows, check_exact=True)


def test_a_category_does_not_hang_on_the_others():
    values = {"noise": drawn(2.0, 7), "trees": drawn(uneven(8), 8)}
    rows = hot_spots(frame(values), COVERED, CITY, MONTH)
    alone = hot_spots(frame({"noise": values["noise"]}), COVERED, CITY, MONTH)
    assert_frame_equal(alone, rows.filter(pl.col("category") == "noise"), check_exact=True)


def test_the_uniform_null_is_gi_star_as_esda_has_it():
    values = drawn(uneven(9), 9)
    rows = of(hot_spots(frame({"all": values}), COVERED, CITY, MONTH), "uniform")
    weights = WSP(sparse.csr_matrix(CITY.disk)).to_W(silence_warnings=True)
    now = values[:, -1].astype(float)
    reference = G_Local(now, weights, transform="B", permutations=0, star=True)
    np.testing.assert_allclose(rows["z"], reference.Zs)
    p = skewed_two_sided(reference.Zs, ring_skewness(now, CITY.disk))
    np.testing.assert_allclose(rows["p"], p)
    moran = local_moran(now, CITY.disk)
    np.testing.assert_allclose(rows["moran_i"], moran.i)
    assert rows["moran_quadrant"].to_list() == moran.quadrant.tolist()


def test_the_baseline_null_is_a_predictive_negative_binomial():
    # The same every month, so that nothing scatters more than Poisson's counts do.
    values = np.tile(uneven(10).astype(int)[:, None], 24)
    now = values[:, -1].copy()
    now[ring_of(PLACE)] += 4
    values[:, -1] = now
    rows = hot_spots(frame({"all": values}), COVERED, CITY, MONTH)
    (row,) = of(rows, "baseline", PLACE).to_dicts()
    ring = ring_of(PLACE)
    ratio = now.sum() / values[:, 11:23].sum()
    expected = ratio * (values[ring, 11:23].sum() + 0.5)
    variance = expected * (1 + ratio)
    assert row["ring_records"] == now[ring].sum()
    assert row["ring_expected"] == pytest.approx(expected)
    assert row["expected"] == pytest.approx(ratio * values[CITY.cells == PLACE, 11:23].sum())
    assert row["z"] == pytest.approx((now[ring].sum() - expected) / variance**0.5)
    assert row["p"] == pytest.approx(
        negative_binomial.two_sided(now[ring].sum(), expected, variance)
    )
    assert row["baseline_days"] == 360


def test_all_is_expected_category_by_category():
    # Snow is half of the records this month and was a tenth, and it lies in the north alone.
    north = CITY.cells > np.median(CITY.cells)
    snow, theft = drawn(np.where(north, 4.0, 0.0), 27), drawn(10.0, 28)
    snow[:, -1] = drawn(np.where(north, 20.0, 0.0), 29, months=1)[:, 0]
    rows = hot_spots(frame(with_all({"snow": snow, "theft": theft})), COVERED, CITY, MONTH)
    every = of(rows, "baseline").filter(pl.col("category") == "all")
    assert not every["class"].is_in(FOUND).any()
    assert every["expected"].sum() == pytest.approx(every["records"].sum())
    # The same records without their categories are a hot north.
    alone = of(hot_spots(frame({"all": snow + theft}), COVERED, CITY, MONTH), "baseline")
    assert alone["class"].is_in(HOT).sum() > 50
    rings = [CITY.sums(x) for x in (snow, theft)]
    ratios = [x[:, -1].sum() / x[:, 11:23].sum() for x in (snow, theft)]
    ratio = (snow + theft)[:, -1].sum() / (snow + theft)[:, 11:23].sum()
    parts = [share * ring[:, 11:23].sum(axis=1) for share, ring in zip(ratios, rings, strict=True)]
    np.testing.assert_allclose(every["ring_expected"], sum(parts) + ratio / 2)


def test_all_without_categories_is_one_of_them():
    x = drawn(uneven(30), 30)
    rows = hot_spots(frame({"all": x}), COVERED, CITY, MONTH).drop("category")
    named = hot_spots(frame({"theft": x}), COVERED, CITY, MONTH).drop("category")
    assert_frame_equal(rows, named)


def test_an_all_that_holds_fewer_than_its_categories_is_refused():
    counts = frame({"all": drawn(3.0, 31), "theft": drawn(3.0, 32)})
    with pytest.raises(ValueError, match=r"'all' holds fewer records.*2024-10-01"):
        hot_spots(counts, COVERED, CITY, MONTH)


def test_the_expected_records_of_all_cells_add_up_to_the_citys():
    values = drawn(uneven(11), 11)
    rows = hot_spots(frame({"all": values}), COVERED, CITY, MONTH)
    for null_model in ("baseline", "uniform"):
        chosen = of(rows, null_model)
        assert chosen["records"].sum() == values[:, -1].sum()
        assert chosen["expected"].sum() == pytest.approx(values[:, -1].sum())


def test_q_is_benjamini_and_hochbergs_within_null_and_category_and_side():
    values = {"theft": drawn(uneven(12), 12), "noise": drawn(uneven(13) / 9, 13)}
    values["theft"][ring_of(PLACE), -1] *= 2
    rows = hot_spots(frame(with_all(values)), COVERED, CITY, MONTH)
    families = rows.filter(pl.col("p").is_not_null()).partition_by("null_model", "category")
    assert len(families) == 6
    for family in families:
        for is_on_side in ((family["z"] > 0).to_numpy(), (family["z"] <= 0).to_numpy()):
            p = np.where(is_on_side, family["p"], 1.0)
            expected = stats.false_discovery_control(p)
            np.testing.assert_allclose(family["q"].to_numpy()[is_on_side], expected[is_on_side])
            assert family.filter(pl.Series(is_on_side)).sort("p")["q"].is_sorted()
        assert (family["q"] >= family["p"]).all()


def test_true_cold_rings_do_not_pay_for_false_hot_ones():
    # A thin quarter that lost half of its few records; the city hardly has fewer for it.
    cold = np.isin(CITY.cells, np.array(h3.grid_disk(h3.grid_ring(CENTRE, 6)[0], 3), np.uint64))
    values = {}
    for seed in range(40):
        x = drawn(np.where(cold, 10.0, 5 * uneven(seed)), 40 + seed)
        x[cold, -1] = x[cold, -1] // 2
        values[str(seed)] = x
    rows = of(hot_spots(frame(values), COVERED, CITY, MONTH), "baseline")
    assert rows.filter(pl.col("class") == "cold_99")["category"].n_unique() == 40
    assert rows.filter(pl.col("class").is_in(HOT))["category"].n_unique() <= 3


def test_cells_that_are_not_tested_cost_the_others_nothing():
    values = drawn(uneven(14), 14)
    values[ring_of(PLACE), -1] *= 2
    village = h3.latlng_to_cell(41.5, -88.5, 8)
    near, far = (
        Grid.of(np.array([*CITY.cells, *h3.grid_disk(village, steps)], np.uint64))
        for steps in (0, 5)
    )
    lone = pl.DataFrame(
        [(MONTH, village, "all", 1)], schema=frame({"all": values}).schema, orient="row"
    )
    counts = pl.concat([frame({"all": values}), lone])
    narrow = of(hot_spots(counts, COVERED, near, MONTH), "baseline")
    wide = of(hot_spots(counts, COVERED, far, MONTH), "baseline")
    assert (wide["reason"] == "sparse").sum() == (narrow["reason"] == "sparse").sum() + 6
    inner = wide.filter(pl.col("cell").is_in(narrow["cell"].to_list()))
    moran = ["moran_i", "moran_p", "moran_quadrant"]
    assert_frame_equal(inner.drop(moran), narrow.drop(moran))


@pytest.mark.parametrize("null_model", ["baseline", "uniform"])
def test_a_ring_of_fewer_than_five_expected_is_not_tested(null_model: str):
    values = np.zeros((CITY.cells.size, 24), int)
    # Every third month a record in each cell, 7 a ring; then one month of 4 a ring and of a crowd.
    values[:, ::3] = 1
    values[:, -1] = np.arange(CITY.cells.size) % 7 < 4
    values[CITY.cells == CENTRE, -1] = 60
    rows = of(hot_spots(frame({"all": values}), COVERED, CITY, MONTH), null_model)
    is_sparse = rows["ring_expected"] < 5
    assert is_sparse.sum() > 0
    assert rows.filter(is_sparse)["reason"].unique().to_list() == ["sparse"]
    assert rows.filter(is_sparse)["class"].unique().to_list() == ["none"]
    assert rows.filter(is_sparse).select("p", "q").null_count().row(0) == (is_sparse.sum(),) * 2
    tested = rows.filter(~is_sparse)
    assert (tested["p"].null_count(), tested["reason"].null_count()) == (0, tested.height)


@pytest.mark.parametrize(("days", "is_short"), [(27, True), (28, False)])
def test_a_baseline_of_fewer_than_28_days_is_too_short(days: int, is_short: bool):
    counts = frame({"all": drawn(uneven(15), 15, months=2)})
    covered = pl.DataFrame({"month": MONTHS[-2:], "days": [days, 30]})
    rows = hot_spots(counts, covered, CITY, MONTH)
    baseline, uniform = of(rows, "baseline"), of(rows, "uniform")
    assert baseline["baseline_days"].unique().to_list() == [days]
    assert (baseline["reason"] == "short history").fill_null(False).all() == is_short
    assert (baseline["z"].null_count() == baseline.height) == is_short
    assert uniform["reason"].null_count() == uniform.height
    assert uniform["baseline_days"].null_count() == uniform.height
    if is_short:
        assert baseline["class"].unique().to_list() == ["none"]
        nulls = baseline.select("ring_expected", "p", "q", "moran_i", "emerging").null_count()
        assert nulls.row(0) == (baseline.height,) * 5


def test_morans_i_of_the_baseline_is_of_the_standardized_excess():
    rows = hot_spots(frame({"all": drawn(uneven(33), 33)}), COVERED, CITY, MONTH)
    chosen = of(rows, "baseline").sort("cell")
    excess = (chosen["records"] - chosen["expected"]) / (chosen["expected"] + 1).sqrt()
    moran = local_moran(excess, CITY.disk)
    np.testing.assert_allclose(chosen["moran_i"], moran.i)
    np.testing.assert_allclose(chosen["moran_p"], moran.p)


def test_a_baseline_of_one_month_takes_its_scatter_from_the_tested_one():
    rng = np.random.default_rng(34)
    mean = np.repeat(5 * uneven(34)[:, None], 2, axis=1)
    values = {str(k): rng.negative_binomial(mean / 2, 1 / 3) for k in range(12)}
    rows = of(hot_spots(frame(values), COVERED.tail(2), CITY, MONTH), "baseline")
    assert rows["p"].null_count() < rows.height / 2
    assert rows.filter(pl.col("class").is_in(FOUND))["category"].n_unique() <= 1


def test_a_category_that_is_new_to_the_city_has_a_short_history():
    values = {"theft": drawn(uneven(16), 16), "drones": drawn(3.0, 17)}
    values["drones"][:, :-1] = 0
    rows = hot_spots(frame(with_all(values)), COVERED, CITY, MONTH)
    drones = of(rows, "baseline").filter(pl.col("category") == "drones")
    assert drones["reason"].unique().to_list() == ["short history"]
    assert drones["baseline_days"].unique().to_list() == [360]
    every = of(rows, "baseline").filter(pl.col("category") == "all")
    assert every["reason"].null_count() == every.height
    assert not every["class"].is_in(FOUND).any()
    assert every["expected"].sum() == pytest.approx(every["records"].sum())


@pytest.mark.parametrize(("months", "baseline", "uniform"), [(11, 0, 0), (12, 0, 1), (13, 1, 1)])
def test_an_emerging_class_takes_twelve_tested_months(months: int, baseline: int, uniform: int):
    counts = frame({"all": drawn(8.0, 18, months=months)})
    rows = hot_spots(counts, COVERED.tail(months), CITY, MONTH)
    for null_model, is_there in (("baseline", baseline), ("uniform", uniform)):
        for column in ("emerging", "trend_z", "trend_p"):
            known = of(rows, null_model)[column].is_not_null()
            assert known.all() if is_there else not known.any()


def test_a_place_has_become_what_its_last_twelve_months_say():
    ring, base = ring_of(PLACE), drawn(8.0, 19)
    persistent, historical, consecutive, rising = (base.copy() for _ in range(4))
    persistent[ring, 12:] += 30
    historical[ring, 12:-1] += 30
    consecutive[ring, -4:] += 30
    rising[ring, 12:] += 20 + 6 * np.arange(12)
    assert became(persistent, "uniform") == "persistent"
    assert became(historical, "uniform") == "historical"
    assert became(consecutive, "uniform") == "consecutive"
    assert became(rising, "uniform") == "intensifying"
    assert became(consecutive, "baseline") == "consecutive"
    assert became(base, "baseline") == "none"
    back_again = base.copy()
    back_again[ring, 15:17] = 0
    back_again[ring, -1] += 30
    back_again[ring, 13] += 30
    assert became(back_again, "uniform") == "oscillating"


def test_alike_cells_and_a_ring_that_is_the_whole_city_show_no_contrast():
    whole = Grid.of(np.array(h3.grid_disk(CENTRE, 1), np.uint64))
    uneven_seven = np.repeat(np.arange(7, 14)[:, None], 24, axis=1)
    for grid, x in ((CITY, np.full((CITY.cells.size, 24), 6)), (whole, uneven_seven)):
        rows = of(hot_spots(frame({"all": x}, grid), COVERED, grid, MONTH), "uniform")
        assert "no contrast" in rows["reason"].to_list()
        open_ = rows.filter(pl.col("reason") == "no contrast")
        assert open_.select("z", "p", "q").null_count().row(0) == (open_.height,) * 3
        assert (rows["q"].is_null() == rows["reason"].is_not_null()).all()


def test_no_records_give_no_rows():
    counts = frame({"all": drawn(0.0, 20)})
    rows = hot_spots(counts, COVERED, CITY, MONTH)
    assert (rows.height, rows.schema) == (0, pl.Schema(SCHEMA))


def test_a_month_without_records_has_rows_only_where_some_were_expected():
    values = drawn(3.0, 21)
    values[:, -1] = 0
    rows = hot_spots(frame({"all": values}), COVERED, CITY, MONTH)
    assert rows.is_empty()


def test_what_is_not_of_the_grid_or_the_months_is_refused():
    counts = frame({"all": drawn(3.0, 22, months=2)})
    smaller = Grid.of(np.array(h3.grid_disk(CENTRE, 2), np.uint64))
    with pytest.raises(ValueError, match="cells that are not in the grid"):
        hot_spots(counts, COVERED, smaller, MONTH)
    with pytest.raises(ValueError, match=r"months that are not of the 24 up to 2026-08-01.*09-01"):
        hot_spots(counts, COVERED, CITY, MONTHS[-2])
    with pytest.raises(ValueError, match=r"without a covered day.*2026-08-01"):
        hot_spots(counts, COVERED.tail(1), CITY, MONTH)


PLAIN = st.floats(-UNREMARKABLE_Z, UNREMARKABLE_Z)


@given(st.floats(5, 2_000), st.floats(0, 1), PLAIN)
def test_a_month_passed_over_as_plain_could_not_have_been_hot_or_cold(
    mean: float, spread: float, z: float
):
    widest = (UNREMARKABLE_SPREAD * mean) ** 2
    variance = mean + spread * max(widest - mean, 0)
    # The whole number next to it on the side of the mean: no further off than z.
    nearer = np.ceil if z < 0 else np.floor
    count = nearer(mean + z * variance**0.5)
    assert negative_binomial.two_sided(count, mean, variance) > max(CLASS_LEVELS.values())


@given(PLAIN, st.floats(-UNREMARKABLE_SKEWNESS, UNREMARKABLE_SKEWNESS))
def test_nor_could_one_against_a_uniform_city(z: float, skewness: float):
    assert skewed_two_sided(z, skewness) > max(CLASS_LEVELS.values())


def months_of(variance: float, unevenness: float, seed: int) -> np.ndarray:
    """Return rings that do not overlap: counts of a given scatter, 12 months."""
    rng = np.random.default_rng(seed)
    mean = np.repeat(rng.lognormal(4, 1.2, 1_500)[:, None], 12, axis=1)
    if unevenness:
        mean *= rng.gamma(1 / unevenness, unevenness, mean.shape)
    if variance > 1:
        return rng.negative_binomial(mean / (variance - 1), 1 / variance).astype(float)
    return rng.poisson(mean).astype(float)


def scatter_of(rings: np.ndarray) -> Scatter:
    return scatter(rings[None], rings.sum(axis=0)[None])


@pytest.mark.parametrize(
    ("factor", "unevenness"), [(1.0, 0.0), (2.5, 0.0), (1.0, 0.02), (1.8, 0.02)]
)
def test_the_scatter_of_counts_is_recovered(factor: float, unevenness: float):
    rings = months_of(factor, unevenness, 23)
    found = scatter_of(rings)
    assert found.factor == pytest.approx(factor, rel=0.08)
    assert found.unevenness == pytest.approx(unevenness, abs=0.003)


def test_a_few_hot_spots_of_last_year_hardly_widen_the_scatter():
    rings = months_of(1.0, 0.0, 24)
    rings[:15, 6] *= 5
    found = scatter_of(rings)
    assert found.factor < 1.05
    assert found.unevenness < 0.001


def test_scatter_is_poissons_where_nothing_can_be_compared():
    one_month = np.full((40, 1), 90.0)
    thin = np.ones((40, 12))
    for rings in (one_month, thin):
        found = scatter_of(rings)
        assert (found.factor, found.unevenness) == (1.0, 0.0)


def test_a_city_that_always_scatters_has_no_hot_spots_for_it():
    rng, found = np.random.default_rng(25), 0
    mean = np.repeat(5 * uneven(26)[:, None], 13, axis=1)
    values = {str(k): rng.poisson(mean * rng.gamma(25, 1 / 25, mean.shape)) for k in range(12)}
    rows = of(hot_spots(frame(values), COVERED, CITY, MONTH), "baseline")
    found = rows.filter(pl.col("class").is_in(FOUND))
    assert found["category"].n_unique() <= 1
