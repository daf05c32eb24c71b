"""Counts: what is eligible, what succeeds, and cells that add up at every resolution."""

import datetime as dt

import h3.api.basic_int as h3
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.gold.methods.counts import (
    ALL,
    COUNTED,
    RESOLUTIONS,
    cell_counts,
    rolled_up,
    with_all,
    with_outcome,
)
from city311_assets_tests.gold.town import every_day, silver

OPENED = dt.datetime(2026, 3, 1, 12)
WEEK = dt.timedelta(days=7)


def request(
    hours: float | None = None,
    reason: str | None = None,
    age: dt.timedelta = 2 * WEEK,
    *,
    is_administrative: bool = False,
) -> tuple[bool, bool]:
    """Return whether one request is eligible, and whether it is a success."""
    frame = pl.DataFrame(
        {
            "opened_at_utc": [OPENED],
            "observed_until": [OPENED + age],
            "hours_to_close": [hours],
            "hours_to_close_reason": [reason],
            "is_administrative": [is_administrative],
        },
        schema_overrides={"hours_to_close": pl.Float64, "hours_to_close_reason": pl.String},
    )
    found = with_outcome(frame, "closed_within_7_days")
    return found["is_eligible"].item(), found["is_success"].item()


@pytest.mark.parametrize(
    ("hours", "success"), [(0.5, True), (168.0, True), (168.01, False), (2000.0, False)]
)
def test_a_request_succeeds_if_it_is_closed_within_168_hours(hours: float, success: bool):
    assert request(hours) == (True, success)


@pytest.mark.parametrize("reason", ["open", "closed_after_observed"])
def test_an_old_request_that_is_still_open_is_a_failure(reason: str):
    assert request(None, reason) == (True, False)


def test_a_young_request_is_not_eligible_even_if_it_is_closed():
    just_under = WEEK - dt.timedelta(seconds=1)
    assert request(3.0, age=just_under) == (False, False)
    assert request(None, "open", age=just_under) == (False, False)
    assert request(3.0, age=WEEK) == (True, True)


def test_one_closed_on_its_day_without_a_time_is_in_time():
    assert request(None, "closed_same_day_untimed") == (True, True)


@pytest.mark.parametrize("reason", ["closed_before_opened", "closed_unreadable"])
def test_a_closing_that_cannot_be_read_is_no_outcome(reason: str):
    assert request(None, reason) == (False, False)


def test_an_administrative_request_is_not_eligible():
    assert request(3.0, is_administrative=True) == (False, False)


def test_an_arrest_is_known_where_it_is_said_or_denied():
    frame = pl.DataFrame({"is_arrest": [True, False, None]})
    found = with_outcome(frame, "arrest")
    assert found["is_eligible"].to_list() == [True, True, False]
    assert found["is_success"].to_list() == [True, False, False]


def town_counts(seed: int = 7) -> tuple[pl.DataFrame, pl.DataFrame]:
    days = every_day(dt.date(2026, 3, 1), dt.date(2026, 3, 5))
    records = with_outcome(silver(days, seed=seed), "closed_within_7_days")
    return records, cell_counts(records)


def test_every_resolution_and_category_adds_up_to_the_records_with_a_point():
    records, counts = town_counts()
    placed = records.drop_nulls("cell")
    expected = placed.group_by("day", "category").agg(
        pl.len().cast(pl.Int64).alias("records"),
        pl.col("is_eligible").sum().cast(pl.Int64).alias("eligible"),
        pl.col("is_success").sum().cast(pl.Int64).alias("successes"),
    )
    for resolution in RESOLUTIONS:
        of_one = counts.filter(pl.col("resolution") == resolution)
        totals = of_one.group_by("day", "category").agg(pl.col(COUNTED).sum())
        assert totals.sort(pl.all()).equals(expected.sort(pl.all()))


def test_a_coarser_cell_counts_what_its_children_do():
    _, counts = town_counts()
    fine = counts.filter(pl.col("resolution") == 9)
    parent = pl.Series([h3.cell_to_parent(c, 8) for c in fine["cell"]], dtype=pl.UInt64)
    summed = fine.with_columns(parent.alias("cell"), resolution=pl.lit(8, pl.UInt8))
    summed = summed.group_by("day", "resolution", "cell", "category").agg(pl.col(COUNTED).sum())
    coarse = counts.filter(pl.col("resolution") == 8)
    assert summed.sort("day", "cell", "category").equals(coarse.sort("day", "cell", "category"))


@given(st.randoms(use_true_random=False))
def test_counts_do_not_depend_on_the_order_of_records(random):
    records, counts = town_counts()
    order = [*range(records.height)]
    random.shuffle(order)
    assert cell_counts(records[order]).equals(counts)


def test_dropping_one_record_is_seen_at_every_resolution():
    records, counts = town_counts()
    placed = records.drop_nulls("cell")
    less = cell_counts(placed.slice(1))
    for resolution in RESOLUTIONS:
        of_one = pl.col("resolution") == resolution
        held, kept = (int(one.filter(of_one)["records"].sum()) for one in (counts, less))
        assert held - kept == 1


def test_all_is_the_sum_over_the_categories():
    _, counts = town_counts()
    found = with_all(counts, "day", "resolution", "cell")
    summed = found.group_by("day", "resolution", "cell").agg(
        pl.col("records").filter(pl.col("category") == ALL).sum().alias("all"),
        pl.col("records").filter(pl.col("category") != ALL).sum().alias("parts"),
    )
    assert (summed["all"] == summed["parts"]).all()
    assert found.height > counts.height


def test_nothing_counts_as_nothing():
    records, _ = town_counts()
    assert cell_counts(records.clear()).is_empty()
    assert rolled_up(cell_counts(records.clear()).drop("resolution"), "day").is_empty()
