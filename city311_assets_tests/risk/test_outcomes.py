"""Risk outcomes: what happened in the days after, made when they are over and never before."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from city311_assets.partitions import Slice
from city311_assets.risk.outcomes import claims, outcomes, write
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.warehouse.errors import SliceRefusedError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.meta import SLICES
from city311_assets.warehouse.tables.risk import OUTCOMES
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.portals import failure, materialize, verdicts
from city311_assets_tests.risk.town import Town, planted, store

FIRST, SIZE = dt.date(2024, 10, 1), 60
LAST = FIRST + dt.timedelta(days=SIZE - 1)
NEWEST = LAST - dt.timedelta(days=7)
ROWS = f"from {OUTCOMES} where {OUTCOMES.where} order by day, cell"


def of(first: dt.date, last: dt.date | None = None) -> Slice:
    return Slice(LEAKS.name, first, (last or first) + dt.timedelta(days=1), "target")


WHOLE = of(FIRST, LAST)


@pytest.fixture(scope="module")
def town() -> Town:
    return planted(FIRST, SIZE)


@pytest.fixture(scope="module")
def stored_once(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    warehouse = Warehouse(database=str(tmp_path_factory.mktemp("risk") / "warehouse.duckdb"))
    store(warehouse, town)
    return warehouse


@pytest.fixture
def stored(stored_once: Warehouse, tmp_path: Path) -> Warehouse:
    """A copy of the town that a test may change."""
    path = tmp_path / "copy.duckdb"
    path.write_bytes(stored_once.path.read_bytes())
    return Warehouse(database=str(path))


def run(warehouse: Warehouse, statement: str, **params: object) -> None:
    with warehouse.transaction() as session:
        session.run(statement, params)


def days_with_rows(warehouse: Warehouse) -> list[dt.date]:
    return warehouse.read(ROWS, WHOLE)["day"].unique().sort().to_list()


def test_an_outcome_is_what_the_seven_days_after_brought(stored: Warehouse, town: Town):
    write(stored, LEAKS, WHOLE)
    rows = stored.read(ROWS, WHOLE)
    expected = np.stack([town.calls[n + 1 : n + 8].sum(axis=0) for n in range(SIZE - 7)])
    assert rows["calls_after_7d"].to_list() == expected.ravel().tolist()
    assert rows["is_event"].to_list() == (expected.ravel() > 0).tolist()
    assert rows["cell"].to_list() == town.cells.tolist() * (SIZE - 7)
    days = [FIRST + dt.timedelta(days=n) for n in range(SIZE - 7)]
    assert rows["day"].to_list() == [day for day in days for _ in town.cells]


def test_first_calls_leave_out_what_the_city_marked_as_repeats(stored: Warehouse, town: Town):
    write(stored, LEAKS, of(FIRST))
    after = town.requests.filter(
        pl.col("day").is_between(FIRST + dt.timedelta(days=1), FIRST + dt.timedelta(days=7)),
        pl.col("record_id").str.starts_with("call"),
    )
    rows = stored.read(ROWS, WHOLE)
    assert rows["calls_after_7d"].sum() == after.height
    assert rows["first_calls_after_7d"].sum() == (~after["is_duplicate"]).sum()
    assert 0 < rows["first_calls_after_7d"].sum() < after.height


def test_a_run_passes_its_checks_and_says_which_days_are_unfinished(stored: Warehouse):
    result = materialize([*outcomes(LEAKS)], stored, None, NEWEST - dt.timedelta(days=1), LAST)
    assert result.success, failure(result)
    assert all(verdicts(result).values())
    assert days_with_rows(stored) == [NEWEST - dt.timedelta(days=1), NEWEST]
    (of_range,) = (
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if "range_days_unfinished" in event.materialization.metadata
        and event.materialization.partition == LAST.isoformat()
    )
    assert of_range["range_days_unfinished"].value == 7


def test_twice_is_once_and_a_day_by_itself_is_what_it_is_in_a_range(stored: Warehouse):
    write(stored, LEAKS, WHOLE)
    before, of_day = (stored.content_hash(OUTCOMES, part) for part in (WHOLE, of(NEWEST)))
    write(stored, LEAKS, WHOLE)
    write(stored, LEAKS, of(NEWEST))
    assert stored.content_hash(OUTCOMES, WHOLE) == before
    assert stored.content_hash(OUTCOMES, of(NEWEST)) == of_day
    assert of_day[0] > 0


def test_a_day_is_made_on_the_eighth_day_and_not_before(stored: Warehouse):
    for newest, made in ((LAST, [NEWEST]), (LAST - dt.timedelta(days=1), [])):
        run(stored, f"delete from {REQUESTS} where day > $last", last=newest)
        run(stored, f"delete from {SLICES} where day > $last", last=newest)
        write(stored, LEAKS, of(NEWEST))
        assert days_with_rows(stored) == made


def test_a_day_not_held_leaves_the_seven_before_it_without_outcome(stored: Warehouse):
    lost = FIRST + dt.timedelta(days=20)
    run(stored, f"delete from {REQUESTS} where day = $day", day=lost)
    run(stored, f"delete from {SLICES} where day = $day", day=lost)
    write(stored, LEAKS, WHOLE)
    missing = {FIRST + dt.timedelta(days=n) for n in range(SIZE - 7)} - {*days_with_rows(stored)}
    assert missing == {lost - dt.timedelta(days=n) for n in range(1, 8)}


def test_a_day_told_in_part_leaves_the_seven_before_it_without_outcome(stored: Warehouse):
    # Nine in the evening there: the day was not over.
    asked = dt.datetime.combine(LAST, dt.time(3)) + dt.timedelta(days=1)
    run(stored, f"update {SLICES} set asked_at = $at where day = $day", at=asked, day=LAST)
    run(stored, f"update {REQUESTS} set observed_until = $at where day = $day", at=asked, day=LAST)
    write(stored, LEAKS, WHOLE)
    assert days_with_rows(stored)[-1] == NEWEST - dt.timedelta(days=1)


def test_what_became_unfinished_is_emptied(stored: Warehouse):
    write(stored, LEAKS, of(NEWEST))
    run(stored, f"delete from {REQUESTS} where day = $day", day=LAST)
    run(stored, f"delete from {SLICES} where day = $day", day=LAST)
    assert write(stored, LEAKS, of(NEWEST)).is_empty()
    assert days_with_rows(stored) == []


def test_a_failed_write_keeps_the_old_slice(stored: Warehouse):
    write(stored, LEAKS, of(NEWEST))
    before = stored.content_hash(OUTCOMES, WHOLE)
    with pytest.raises(SliceRefusedError, match="rows of another slice"):
        stored.replace(OUTCOMES, stored.read(ROWS, WHOLE), of(LAST))
    assert stored.content_hash(OUTCOMES, WHOLE) == before


def offenders(warehouse: Warehouse, name: str) -> pl.DataFrame:
    (claim,) = (claim for claim in claims(LEAKS) if claim.name == name)
    params = {
        **of(NEWEST).params,
        "feed": LEAKS.feed.name,
        "timezone": LEAKS.feed.city.timezone,
        "lag": LEAKS.feed.reporting_lag_days,
        "horizon": LEAKS.horizon_days,
    }
    return warehouse.read(claim.offenders, params, [OUTCOMES, REQUESTS, SLICES])


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("finished", (f"delete from {SLICES}", f"delete from {REQUESTS}")),
        (
            "finished",
            (
                f"update {SLICES} set asked_at = day + interval 12 hour",
                f"update {REQUESTS} set observed_until = day + interval 12 hour",
            ),
        ),
        ("events_are_calls", (f"update {OUTCOMES} set is_event = not is_event",)),
        ("events_are_calls", (f"update {OUTCOMES} set first_calls_after_7d = 1 + calls_after_7d",)),
    ],
)
def test_a_check_names_the_day_that_does_not_hold(
    name: str, spoil: tuple[str, ...], stored: Warehouse
):
    write(stored, LEAKS, of(NEWEST))
    assert offenders(stored, name).is_empty()
    with stored.transaction() as session:
        for statement in spoil:
            session.run(statement)
    assert offenders(stored, name)["day"].unique().to_list() == [NEWEST]


@pytest.mark.parametrize(("minutes", "is_told"), [(0, True), (-1, False)])
def test_the_check_and_the_rule_mean_the_same_end_of_a_day(
    minutes: int, is_told: bool, stored: Warehouse
):
    write(stored, LEAKS, of(NEWEST))
    # Midnight in winter is six in the morning, UTC.
    asked = dt.datetime.combine(LAST, dt.time(6)) + dt.timedelta(days=1, minutes=minutes)
    run(stored, f"update {SLICES} set asked_at = $at where day = $day", at=asked, day=LAST)
    run(stored, f"update {REQUESTS} set observed_until = $at where day = $day", at=asked, day=LAST)
    assert offenders(stored, "finished").is_empty() == is_told
    assert write(stored, LEAKS, of(NEWEST)).is_empty() != is_told
