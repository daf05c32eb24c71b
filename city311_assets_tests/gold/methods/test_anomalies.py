"""Anomalies: planted surges and drops, quiet cities, and what must not change an answer."""

import datetime as dt
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy import stats

from city311_assets.gold.methods.anomalies import (
    LEAST_RECORDS,
    LOOK_BACK_DAYS,
    anomalies,
    anomalies_of_days,
    evidence,
)
from city311_assets.gold.methods.arrays import Cells, Floats, Ints
from city311_assets.silver.cells import cells_of, parents_of

START = dt.date(2026, 1, 1)
DAY = START + dt.timedelta(days=LOOK_BACK_DAYS)
ONE = dt.timedelta(days=1)
# Monday's share of an average day to Sunday's.
WEEKDAYS = np.array([1.15, 1.1, 1.0, 1.0, 1.15, 0.9, 0.7])
COUNTS = {"day": pl.Date, "cell": pl.UInt64, "category": pl.String, "records": pl.Int64}


def numbers(cells: int) -> Cells:
    return np.arange(1, cells + 1, dtype=np.uint64) * np.uint64(7)


def drawn(
    seed: int,
    *,
    days: int = LOOK_BACK_DAYS + 1,
    cells: int = 20,
    categories: int = 3,
    level: float = 2.0,
    ratio: float = 1.0,
    busy_days: float = 0.0,
) -> Ints:
    """Return records of a quiet city, days by cells by categories.

    `ratio` is the variance of a cell's days by Poisson's; `busy_days` the squared coefficient of
    variation of a factor that a day has in common.
    """
    rng = np.random.default_rng(seed)
    place, kind = rng.lognormal(0, 1, cells), rng.lognormal(0, 0.7, categories)
    mean: Floats = level * (place / place.mean())[:, None] * (kind / kind.mean())
    weekday = np.array([(START + day * ONE).weekday() for day in range(days)])
    mean = mean * WEEKDAYS[weekday][:, None, None]
    if busy_days:
        mean = mean * rng.gamma(1 / busy_days, busy_days, (days, 1, categories))
    if ratio > 1:
        mean = rng.gamma(mean / (ratio - 1), ratio - 1)
    return rng.poisson(mean)


def counts(records: Ints) -> pl.DataFrame:
    """Return an array as the frame it stands for; what is 0 has no row."""
    day, cell, category = np.nonzero(records)
    rows = zip(
        [START + number * ONE for number in day.tolist()],
        numbers(records.shape[1])[cell].tolist(),
        [f"kind {number}" for number in category.tolist()],
        records[day, cell, category].tolist(),
        strict=True,
    )
    return pl.DataFrame(list(rows), schema=COUNTS, orient="row")


def rows_of(records: Ints, day: dt.date = DAY, known_from: dt.date = START) -> pl.DataFrame:
    return anomalies(counts(records), numbers(records.shape[1]), day, known_from)


def found(rows: pl.DataFrame) -> list[tuple[int | None, str, str]]:
    """Return where an anomaly was found, in which category and direction."""
    return rows.filter("is_anomaly").select("cell", "category", "direction").rows()


def of_the_city(rows: pl.DataFrame, category: str = "all") -> dict[str, object]:
    return rows.filter(pl.col("cell").is_null(), pl.col("category") == category).row(0, named=True)


# What is planted is found.


def test_a_surge_in_one_cell_and_category_is_found_there_and_nowhere_else():
    records = drawn(1, cells=40, level=4.0)
    records[-1, 4, 1] += 25
    rows = rows_of(records)
    assert set(found(rows)) == {(35, "kind 1", "more"), (35, "all", "more")}
    (row,) = rows.filter(pl.col("cell") == 35, pl.col("category") == "kind 1").rows(named=True)
    assert row["records"] == records[-1, 4, 1] > row["high_95"] > row["expected"] > row["low_95"]
    assert row["p"] <= row["q"] < 0.001


@pytest.mark.parametrize(("factor", "direction"), [(2.0, "more"), (0.4, "fewer")])
def test_a_day_that_is_unusual_all_over_the_city_is_found_in_the_city(
    factor: float, direction: str
):
    records = drawn(2, busy_days=0.01, level=5.0)
    records[-1] = np.round(records[-1] * factor)
    rows = rows_of(records)
    for category in ("kind 0", "kind 1", "kind 2", "all"):
        assert (None, category, direction) in found(rows)


def test_a_cell_where_nothing_comes_any_more_is_found():
    records = drawn(3)
    records[:, 6, 0] = np.random.default_rng(3).poisson(20, len(records))
    records[-1, 6, 0] = 0
    assert (49, "kind 0", "fewer") in found(rows_of(records))


def test_what_has_gone_on_for_some_days_is_found_on_each_of_them():
    records = drawn(4, days=LOOK_BACK_DAYS + 4)
    quiet = anomalies_of_days(counts(records), numbers(20), DAY, DAY + 3 * ONE, START)
    records[-4:, 4, 1] += 12
    surge = anomalies_of_days(counts(records), numbers(20), DAY, DAY + 3 * ONE, START)
    for number in range(4):
        day = surge.filter(pl.col("day") == DAY + number * ONE)
        assert (35, "kind 1", "more") in found(day)
        before = quiet.filter(pl.col("day") == DAY + number * ONE)
        assert of_the_city(day)["expected"] == of_the_city(before)["expected"]


@pytest.mark.parametrize("factor", [0, 6])
def test_an_outage_or_a_storm_some_weeks_ago_hides_nothing_and_makes_nothing_up(factor: int):
    records = drawn(17, level=4.0)
    usual = of_the_city(rows_of(records))["expected"]
    records[-24:-20] *= factor
    rows = rows_of(records)
    assert of_the_city(rows)["expected"] == pytest.approx(usual, rel=0.03)
    assert found(rows) == []
    records[-1, 4, 1] += 30
    assert (35, "kind 1", "more") in found(rows_of(records))


def test_records_in_a_cell_where_none_ever_came_are_found():
    records = drawn(6)
    records[:, 9] = 0
    records[-1, 9, 2] = 9
    rows = rows_of(records)
    assert set(found(rows)) == {(70, "kind 2", "more"), (70, "all", "more")}
    expected = rows.filter(pl.col("cell") == 70)["expected"]
    assert expected.is_between(0.3 / 56, 0.7 / 56).all()


def test_a_busy_weekday_is_no_anomaly_and_a_busy_sunday_is():
    days = LOOK_BACK_DAYS + 28
    weekday = np.array([(START + day * ONE).weekday() for day in range(days)])
    rng = np.random.default_rng(7)
    records = rng.poisson(np.where(weekday == 6, 2.0, 6.0)[:, None, None] * np.ones((1, 20, 2)))
    last = DAY + 27 * ONE
    rows = anomalies_of_days(counts(records), numbers(20), DAY, last, START)
    assert found(rows) == []
    expected = rows.filter(pl.col("cell").is_null(), pl.col("category") == "all").select(
        "expected", is_sunday=pl.col("day").dt.weekday() == 7
    )
    by_day = dict(expected.group_by("is_sunday").agg(pl.col("expected").mean()).rows())
    assert by_day[True] == pytest.approx(80, rel=0.06)
    assert by_day[False] == pytest.approx(240, rel=0.03)
    sunday = max(day for day in range(days) if weekday[day] == 6)
    records[sunday] = rng.poisson(6.0, (20, 2))
    rows = rows_of(records, START + sunday * ONE)
    assert (None, "all", "more") in found(rows)


# Quiet cities.


QUIET = {
    "poisson": partial(drawn, cells=30),
    "sparse": partial(drawn, cells=30, level=0.2),
    "cells scatter twice as much": partial(drawn, cells=30, ratio=2.0),
    "whole days are busy or not": partial(drawn, cells=30, busy_days=0.02),
    "dense": partial(drawn, cells=30, level=8.0, ratio=1.5),
}


@pytest.mark.parametrize("city", QUIET.values(), ids=QUIET.keys())
def test_of_quiet_days_at_most_about_one_in_twenty_has_an_anomaly(city: Callable[..., Ints]):
    last = DAY + 27 * ONE
    cities = [city(seed, days=LOOK_BACK_DAYS + 28) for seed in range(6)]
    rows = pl.concat(
        anomalies_of_days(counts(records), numbers(30), DAY, last, START).with_columns(seed=seed)
        for seed, records in enumerate(cities)
    )
    days = rows.group_by("seed", "day").agg(pl.col("is_anomaly").any(), pl.col("tests").first())
    assert days.height == 6 * 28
    assert days["is_anomaly"].sum() <= stats.binom.ppf(0.99, days.height, 0.05)
    small = rows.filter(pl.col("p") < 0.01).height / days["tests"].sum()
    assert 0.001 < small < 0.012
    of_cities = rows.filter(pl.col("cell").is_null())["p"].to_numpy()
    assert 0.02 < np.mean(of_cities < 0.05) < 0.09


# What p is.


def test_p_is_that_of_the_negative_binomial_of_level_and_its_uncertainty():
    records = np.full((LOOK_BACK_DAYS + 1, 1, 1), 4)
    records[-1] = 9
    row = of_the_city(rows_of(records))
    known = 1 / (4 * 56) + 1 / (4 * 22 + 30)
    variance = 4 + 16 * known
    shape = 16 / (variance - 4), 4 / variance
    p = 2 * (stats.nbinom.sf(9, *shape) + stats.nbinom.pmf(9, *shape) / 2)
    assert row["expected"] == pytest.approx(4)
    assert row["p"] == pytest.approx(p)
    assert (row["low_95"], row["high_95"], row["baseline_days"]) == (1, 8, 56)


def test_a_quiet_cell_is_tested_for_more_than_what_had_it_tested():
    records = np.zeros((LOOK_BACK_DAYS + 1, 3, 1), np.int64)
    records[:, 0] = 3
    ps = []
    for came in (LEAST_RECORDS - 1, LEAST_RECORDS, LEAST_RECORDS + 1, LEAST_RECORDS + 4):
        records[-1, 2] = came
        rows = rows_of(records)
        # The city and the first cell, by kind and in all; the third cell once it has so many.
        assert of_the_city(rows)["tests"] == (4 if came < LEAST_RECORDS else 6)
        kept = rows.filter(pl.col("cell") == 21, pl.col("category") == "all")
        ps.append(kept["p"].to_list())
    assert ps[:2] == [[], []]
    assert 0 < ps[3][0] < 1e-4
    assert ps[2] == [] or ps[2][0] > 1e-3


def test_the_scatter_of_a_place_widens_what_is_expected_of_it():
    calm, wild = drawn(8, cells=30, level=4.0), drawn(8, cells=30, level=4.0, ratio=4.0)
    widths = []
    for records in (calm, wild):
        records[-1] = 100
        row = rows_of(records).filter(pl.col("cell") == 7, pl.col("category") == "kind 0")
        widths.append((row["high_95"] - row["low_95"]).item())
        assert row["expected"].item() == pytest.approx(records[-63:-7, 0, 0].mean(), rel=0.3)
    assert widths[1] > 1.5 * widths[0]


def test_a_cell_that_scatters_more_than_the_others_is_expected_to():
    records = np.random.default_rng(18).poisson(5.0, (LOOK_BACK_DAYS + 1, 30, 1))
    # As many records, but in batches of five.
    records[:, 2] = 5 * np.random.default_rng(18).poisson(1.0, (LOOK_BACK_DAYS + 1, 1))
    records[-1] = 60
    rows = rows_of(records).filter(pl.col("category") == "kind 0")
    widths = dict(rows.select("cell", pl.col("high_95") - pl.col("low_95")).rows())
    assert widths[21] > 1.3 * max(width for cell, width in widths.items() if cell not in (None, 21))


def test_records_of_no_cell_or_of_one_outside_count_for_the_city():
    records = drawn(9)
    known, cells = counts(records), numbers(20)
    stray = pl.DataFrame(
        [(DAY, None, "kind 0", 2), (DAY, 3, "kind 0", 5), (DAY, 2**63, "kind 0", 7)],
        schema=COUNTS,
        orient="row",
    )
    before = anomalies(known, cells, DAY, START)
    after = anomalies(pl.concat([known, stray]), cells, DAY, START)
    for category in ("kind 0", "all"):
        came = of_the_city(after, category)["records"]
        assert came == of_the_city(before, category)["records"] + 14  # pyright: ignore[reportOperatorIssue]
    assert after["tests"][0] == before["tests"][0]


def test_the_city_has_a_row_of_every_category_of_its_days_and_of_the_sum():
    records = drawn(10)
    records[-1] += 5
    rows = rows_of(records)
    assert rows.filter(pl.col("cell").is_null())["category"].to_list() == [
        "kind 0",
        "kind 1",
        "kind 2",
        "all",
    ]
    cells = rows.filter(pl.col("cell").is_not_null())
    assert 0 < cells.height < rows["tests"][0] - 4
    assert cells.filter((pl.col("p") >= 0.01) & ~pl.col("is_anomaly")).is_empty()


# What changes no answer.


def test_days_are_the_same_alone_and_together():
    records = drawn(11, days=LOOK_BACK_DAYS + 6, ratio=3.0, level=0.5)
    # A category that comes up on the last day only.
    records[:-1, :, 2] = 0
    records[-1, 0, 2] = 1
    known, cells = counts(records), numbers(20)
    last = DAY + 5 * ONE
    together = anomalies_of_days(known, cells, DAY, last, START)
    for number in range(6):
        day = DAY + number * ONE
        alone = anomalies(known, cells, day, START)
        assert_frame_equal(together.filter(pl.col("day") == day).drop("day"), alone)


def test_neither_the_order_of_rows_nor_the_names_of_cells_matter():
    records = drawn(12, ratio=3.0)
    rows, cells = counts(records), numbers(20)
    usual = anomalies(rows, cells, DAY, START)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=1)
    assert_frame_equal(anomalies(shuffled, cells, DAY, START), usual)
    backwards = rows_of(records[:, ::-1]).with_columns(cell=147 - pl.col("cell"))
    assert_frame_equal(backwards, usual, check_row_order=False)


def test_rows_of_one_key_add_up_and_other_days_are_not_used():
    rows, cells = counts(drawn(13)), numbers(20)
    usual = anomalies(rows, cells, DAY, START)
    halves = [
        rows.with_columns(pl.col("records") // 2),
        rows.with_columns(pl.col("records") - pl.col("records") // 2),
    ]
    late = rows.head(5).with_columns(pl.lit(DAY + ONE).alias("day"))
    assert_frame_equal(anomalies(pl.concat([*halves, late]), cells, DAY, START), usual)


# What cannot be told.


@pytest.mark.parametrize(
    ("known", "days", "reason"),
    [(34, 28, None), (33, 27, "short history"), (6, 0, "short history"), (0, 0, "short history")],
)
def test_of_a_short_history_nothing_is_expected(known: int, days: int, reason: str | None):
    since = DAY - known * ONE
    rows = counts(drawn(14)).filter(pl.col("day") >= since)
    found_ = anomalies(rows, numbers(20), DAY, since)
    city = found_.filter(pl.col("cell").is_null())
    assert city["baseline_days"].unique().to_list() == [days]
    assert city["reason"].unique().to_list() == [reason]
    if reason:
        assert city.height == found_.height == 4
        assert (city["records"] > 0).all()
        for name in ("expected", "low_95", "high_95", "p", "q", "direction"):
            assert city[name].null_count() == 4
        assert not city["is_anomaly"].any()


def test_days_that_were_never_made_are_in_no_baseline_and_have_no_result():
    records = drawn(15, days=LOOK_BACK_DAYS + 3)
    gaps = [DAY - 12 * ONE, DAY - 40 * ONE, DAY - 41 * ONE, DAY + ONE]
    for gap in gaps:
        records[(gap - START).days] = 0
    rows = anomalies_of_days(
        counts(records), numbers(20), DAY, DAY + 2 * ONE, START, missing_days=gaps
    )
    assert rows["day"].unique().sort().to_list() == [DAY, DAY + 2 * ONE]
    assert rows["baseline_days"].unique().to_list() == [53]
    assert found(rows) == []
    full = anomalies(counts(drawn(15)), numbers(20), DAY, START)
    first = of_the_city(rows.filter(pl.col("day") == DAY))
    assert first["expected"] == pytest.approx(of_the_city(full)["expected"], rel=0.02)


def test_nothing_that_ever_came_is_nothing_that_is_missing():
    empty = pl.DataFrame(schema=COUNTS)
    (row,) = anomalies(empty, numbers(3), DAY, START).rows(named=True)
    assert (row["category"], row["records"], row["is_anomaly"]) == ("all", 0, False)
    assert row["p"] > 0.9
    assert anomalies(empty, numbers(0), DAY, START).height == 1


@pytest.mark.parametrize(
    ("change", "cells", "said"),
    [
        ({"records": -1}, [7, 14], "unknown or negative counts"),
        ({"records": None}, [7, 14], "unknown or negative counts"),
        ({"category": None}, [7, 14], "unknown or negative counts"),
        ({"category": "all"}, [7, 14], "counts of the category all"),
        ({"day": START - ONE}, [7, 14], "counts before 2026-01-01"),
        ({}, [14, 7], "not sorted"),
        ({}, [7, 7], "not sorted"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, object], cells: list[int], said: str):
    row = {"day": DAY, "cell": 7, "category": "kind 0", "records": 1} | change
    with pytest.raises(ValueError, match=re.escape(said)):
        anomalies(pl.DataFrame([row], schema=COUNTS), np.array(cells, np.uint64), DAY, START)


def test_days_that_are_no_range_are_refused():
    with pytest.raises(ValueError, match="no range"):
        anomalies_of_days(counts(drawn(16)), numbers(20), DAY, DAY - ONE, START)


# Evidence.

NOON = dt.datetime(2026, 7, 1, 12)
USUAL = {"street": pl.String, "per_day": pl.Float64}
RECORDS = {"record_id": pl.String, "street": pl.String, "opened_at": pl.Datetime("us")}


def on(*streets: str | None) -> pl.DataFrame:
    """Return a record a street, each a minute older than the one before."""
    rows = [
        (f"r{place}", street, NOON - dt.timedelta(minutes=place))
        for place, street in enumerate(streets)
    ]
    return pl.DataFrame(rows, schema=RECORDS, orient="row")


def usually(**per_day: float) -> pl.DataFrame:
    return pl.DataFrame([*per_day.items()], schema=USUAL, orient="row")


def test_the_streets_furthest_above_their_usual_number_come_first_and_the_newest_records_on_them():
    records = on("a", "b", "c", "b", "d", "c", "c", None, "e", "c", "b")
    ids, streets = evidence(records, usually(c=3.5, a=0.4, e=2.0, d=0.1))
    assert streets == ["b", "d", "a"]
    assert ids == ["r0", "r1", "r3", "r4", "r10"]


def test_without_a_street_above_its_usual_number_the_newest_records_are_shown():
    assert evidence(on(None, "a", None), usually(a=5.0)) == (["r0", "r1", "r2"], [])
    assert evidence(on(), usually()) == ([], [])


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 2)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_evidence_does_not_depend_on_the_order_of_rows(rows, random):
    given_ = [(f"r{at}", street, NOON.replace(hour=hour)) for at, (street, hour) in enumerate(rows)]
    mixed = random.sample(given_, len(given_))
    usual = usually(a=1.0, b=0.5)
    one, other = (
        evidence(pl.DataFrame(order, schema=RECORDS, orient="row"), usual)
        for order in (given_, mixed)
    )
    assert one == other
    ids, streets = one
    assert len(ids) <= 5
    assert len(streets) <= 3


# Two cells of the real crimes, on days when far more was reported there than in other weeks.
CROWDED_IN_AUGUST, CROWDED_IN_MARCH = 608661376772079615, 608661376637861887


@pytest.mark.real
def test_crowded_days_are_found_in_real_crimes_and_most_days_are_quiet(
    real_data: Path,
):
    crimes = pl.read_parquet(real_data / "crimes" / "chicago_crimes_2018-01_2018-08.parquet")
    known = (
        crimes.with_columns(
            # Its local times are labelled UTC.
            day=pl.col("Date").dt.date(),
            cell=cells_of(crimes["Latitude"], crimes["Longitude"]),
            category=pl.col("PrimaryType").cast(pl.String),
        )
        .group_by("day", parents_of(pl.col("cell"), 7), "category")
        .len("records")
    )
    cells = known["cell"].unique().sort().to_numpy()
    since = dt.date(2018, 1, 1)
    march = anomalies_of_days(known, cells, dt.date(2018, 3, 10), dt.date(2018, 3, 24), since)
    summer = anomalies_of_days(known, cells, dt.date(2018, 7, 16), dt.date(2018, 8, 5), since)
    unusual = pl.concat([march, summer]).filter("is_anomaly")
    where = set(unusual.select("day", "cell", "category").rows())
    assert (dt.date(2018, 3, 17), CROWDED_IN_MARCH, "BATTERY") in where
    for day in (3, 4):
        assert (dt.date(2018, 8, day), CROWDED_IN_AUGUST, "THEFT") in where
    assert unusual["day"].n_unique() <= 9
