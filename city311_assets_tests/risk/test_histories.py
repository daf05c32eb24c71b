"""What a slice of risk stands on: which requests are calls, where, and on which days held."""

import datetime as dt
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from city311_assets.partitions import DAYS_PER_RUN, Slice
from city311_assets.risk.histories import chunks, history, matching_kinds
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.targets.sanitation import SANITATION
from city311_assets.silver.cells import cells_of
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.gold import CELLS
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.risk.town import OTHER_KIND, Town, planted, store

FIRST = dt.date(2025, 1, 1)
LATE = dt.date(2025, 3, 1)
PART = Slice(LEAKS.name, LATE, LATE + dt.timedelta(days=5), "target")


@pytest.fixture(scope="module")
def town() -> Town:
    return planted(FIRST, 64)


@pytest.fixture
def stored(warehouse: Warehouse, town: Town) -> Warehouse:
    store(warehouse, town)
    return warehouse


def change(warehouse: Warehouse, town: Town, rule: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Store the town's requests again, changed."""
    warehouse.replace(REQUESTS, rule(town.requests), town.part)


def test_calls_are_those_planted_in_whatever_spelling(stored: Warehouse, town: Town):
    read = history(stored, LEAKS, PART, look_back=59)
    assert (read.first, read.days[-1]) == (FIRST, dt.date(2025, 3, 5))
    np.testing.assert_array_equal(read.cells, town.cells)
    np.testing.assert_array_equal(read.calls.dense(), town.calls)
    kinds = town.requests["kind"].unique()
    assert set(matching_kinds(LEAKS, kinds)) == {*kinds.to_list()} - {OTHER_KIND}


def test_first_calls_are_those_not_marked_as_repeats(stored: Warehouse, town: Town):
    change(stored, town, lambda rows: rows.with_columns(is_duplicate=pl.lit(None, pl.Boolean)))
    read = history(stored, LEAKS, PART, look_back=59)
    np.testing.assert_array_equal(read.first_calls.dense(), town.calls)
    change(stored, town, lambda rows: rows.with_columns(is_duplicate=pl.lit(value=True)))
    read = history(stored, LEAKS, PART, look_back=59)
    assert read.first_calls.dense().sum() == 0
    np.testing.assert_array_equal(read.calls.dense(), town.calls)


def test_requests_of_every_kind_are_counted_and_those_without_a_point_are_not(
    stored: Warehouse, town: Town
):
    change(
        stored,
        town,
        lambda rows: rows.with_columns(
            pl.when(pl.col("day") == LATE).then(None).otherwise("cell").alias("cell")
        ),
    )
    read = history(stored, LEAKS, PART, look_back=59)
    by_day = town.requests.group_by("day").len().sort("day")["len"].to_numpy().copy()
    by_day[read.place(LATE)] = 0
    np.testing.assert_array_equal(read.all_calls.dense().sum(axis=1), by_day)
    assert read.calls.dense()[read.place(LATE)].sum() == 0
    assert read.is_held[read.place(LATE)]


def test_another_target_counts_its_own_kinds(stored: Warehouse, town: Town):
    part = Slice(SANITATION.name, PART.start, PART.end, "target")
    assert history(stored, SANITATION, part, look_back=59).calls.count.size == 0
    kind = "SANITATION-code   violation"
    change(stored, town, lambda rows: rows.with_columns(kind=pl.lit(kind)))
    read = history(stored, SANITATION, part, look_back=59)
    assert read.calls.dense().sum() == town.requests.height


def test_the_window_is_the_slice_and_what_lies_around_it(stored: Warehouse, town: Town):
    read = history(stored, LEAKS, PART, look_back=3, look_ahead=2)
    assert read.days == [dt.date(2025, 2, 26) + dt.timedelta(days=n) for n in range(10)]
    np.testing.assert_array_equal(read.calls.dense()[:-2], town.calls[56:64])
    assert read.is_held.tolist() == [True] * 8 + [False] * 2
    assert read.is_provisional.tolist() == [False] * 8 + [True] * 2


def test_requests_of_every_kind_are_read_for_no_more_than_a_year(warehouse: Warehouse):
    town = planted(dt.date(2023, 6, 1), 640, others_per_day=3)
    store(warehouse, town)
    part = Slice(LEAKS.name, dt.date(2025, 2, 28), dt.date(2025, 3, 2), "target")
    read = history(warehouse, LEAKS, part)
    by_day = read.all_calls.dense().sum(axis=1)
    (days,) = np.nonzero(by_day)
    assert read.days[days[0]] >= dt.date(2024, 2, 28)
    assert by_day[read.place(dt.date(2024, 3, 1)) :].sum() == sum(
        town.requests["day"] >= dt.date(2024, 3, 1)
    )
    np.testing.assert_array_equal(read.calls.dense()[-640:], town.calls)


def test_a_day_is_held_when_the_portal_was_asked_or_a_file_brought_records(
    stored: Warehouse, town: Town
):
    asked, empty, lost = LATE, LATE + dt.timedelta(days=1), LATE + dt.timedelta(days=2)
    change(stored, town, lambda rows: rows.filter(~pl.col("day").is_in([empty, lost])))
    with stored.transaction() as session:
        session.run(f"delete from {SLICES} where day in ($a, $b)", {"a": asked, "b": lost})
    read = history(stored, LEAKS, PART, look_back=0)
    assert read.is_held.tolist() == [True, True, False, True, True]
    assert read.is_provisional.tolist() == [False, False, True, False, False]


def test_a_day_that_was_not_over_when_it_was_asked_for_is_provisional(stored: Warehouse):
    with stored.transaction() as session:
        for day, hour in ((1, 5), (2, 6)):
            # In winter the clocks of the city are six hours behind.
            asked = {"day": dt.date(2025, 3, day), "at": dt.datetime(2025, 3, day + 1, hour)}
            session.run(f"update {SLICES} set asked_at = $at where day = $day", asked)
            session.run(f"update {REQUESTS} set observed_until = $at where day = $day", asked)
    read = history(stored, LEAKS, PART, look_back=0)
    assert read.is_provisional.tolist() == [True, False, False, False, False]


def test_a_cell_with_a_request_outside_the_study_area_is_added(stored: Warehouse, town: Town):
    far = cells_of(pl.Series([41.70]), pl.Series([-87.63]))[0]
    is_one = pl.col("record_id") == town.requests.filter(pl.col("day") == LATE)["record_id"][0]
    change(
        stored,
        town,
        lambda rows: rows.with_columns(
            pl.when(is_one).then(pl.lit(far, pl.UInt64)).otherwise("cell").alias("cell")
        ),
    )
    read = history(stored, LEAKS, PART, look_back=59)
    assert read.cells.size == town.cells.size + 1
    assert read.cells[~read.is_inside].size == 1
    assert (np.diff(read.cells.astype(np.int64)) > 0).all()
    assert read.all_calls.dense().sum() == town.requests.height


def test_cells_that_only_records_put_into_the_area_are_not_inside(stored: Warehouse, town: Town):
    with stored.transaction() as session:
        cell = {"cell": int(town.cells[3])}
        session.run(f"update {CELLS} set is_inside = false where cell = $cell", cell)
    read = history(stored, LEAKS, PART, look_back=0)
    assert read.cells[~read.is_inside].tolist() == [town.cells[3]]


def test_while_the_area_is_unknown_it_is_the_cells_seen_and_those_around(
    stored: Warehouse, town: Town
):
    with stored.transaction() as session:
        session.run(f"delete from {CELLS}")
    read = history(stored, LEAKS, PART, look_back=59)
    seen = town.cells[np.nonzero(town.calls.sum(axis=0))]
    assert set(seen.tolist()) < set(read.cells.tolist())
    # Whether a cell counts hangs on what was reported there before, not on what comes.
    assert not read.is_inside.any()


def test_an_empty_warehouse_is_an_empty_history(warehouse: Warehouse):
    read = history(warehouse, LEAKS, PART, look_back=2)
    assert (read.cells.size, read.is_held.sum(), read.calls.shape) == (0, 0, (7, 0))


def test_the_order_of_rows_in_the_warehouse_changes_nothing(stored: Warehouse, town: Town):
    before = history(stored, LEAKS, PART, look_back=59)
    change(stored, town, lambda rows: rows.sample(fraction=1.0, shuffle=True, seed=4))
    after = history(stored, LEAKS, PART, look_back=59)
    for name in ("calls", "first_calls", "all_calls"):
        one, other = getattr(before, name), getattr(after, name)
        np.testing.assert_array_equal(one.dense(), other.dense())
        assert (np.diff(other.day) >= 0).all()


def test_a_long_slice_is_cut_into_runs_of_days_without_gap():
    parts = [*chunks(Slice("leaks", FIRST, FIRST + dt.timedelta(days=70), "target"))]
    assert [(one.end - one.start).days for one in parts] == [DAYS_PER_RUN, DAYS_PER_RUN, 8]
    assert [one.end for one in parts[:-1]] == [one.start for one in parts[1:]]
    assert {one.scope for one in parts} == {"target"}
