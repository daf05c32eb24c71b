"""Every table of gold: twice is once, empty is empty, a check sees what it is for."""

import datetime as dt
from collections.abc import Callable, Sequence

import dagster as dg
import polars as pl
import pytest

from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.gold.anomalies import anomalies
from city311_assets.gold.cell_day_rates import cell_day_rates
from city311_assets.gold.cell_days import cell_days
from city311_assets.gold.cell_months import cell_months
from city311_assets.gold.cell_profiles import cell_profiles
from city311_assets.gold.cells import cells
from city311_assets.gold.forecast_scores import forecast_scores
from city311_assets.gold.forecasts import forecasts
from city311_assets.gold.hotspots import hotspots
from city311_assets.gold.slices import Held
from city311_assets.partitions import Slice
from city311_assets.sample_city.records import as_of, day_records
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables import gold
from city311_assets.warehouse.tables.silver import INCIDENTS, REQUESTS
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.gold.town import OBSERVED, every_day, silver, store
from city311_assets_tests.portals import failure, materialize, verdict, verdicts

FIRST, LAST = dt.date(2026, 3, 1), dt.date(2026, 5, 31)
DAYS = every_day(FIRST, LAST)
MAY = Slice("sf_311", dt.date(2026, 5, 1), dt.date(2026, 6, 1))
WHOLE = Slice("sf_311", FIRST, LAST + dt.timedelta(days=1))
TABLES: dict[str, tuple[Table, Callable]] = {
    "cell_day_rates": (gold.CELL_DAY_RATES, cell_day_rates),
    "forecasts": (gold.FORECASTS, forecasts),
    "forecast_scores": (gold.FORECAST_SCORES, forecast_scores),
    "anomalies": (gold.ANOMALIES, anomalies),
    "cell_months": (gold.CELL_MONTHS, cell_months),
    "cell_profiles": (gold.CELL_PROFILES, cell_profiles),
    "hotspots": (gold.HOTSPOTS, hotspots),
}
every_table = pytest.mark.parametrize("name", TABLES)
# The last two days are what most of these tests make of the daily tables.
LATE = LAST - dt.timedelta(days=1)


def make(
    warehouse: Warehouse, name: str, feed: Feed = SF_311, first: dt.date | None = None
) -> dg.ExecuteInProcessResult:
    """Materialize May of a monthly table, or its last days of a daily one."""
    table, declare = TABLES[name]
    if table.period == "month":
        return materialize(declare(feed), warehouse, first=dt.date(2026, 5, 1))
    return materialize(declare(feed), warehouse, first=first or LATE, last=LAST)


def fill(warehouse: Warehouse, feed: Feed = SF_311, per_day: int = 60) -> None:
    """Bring three months of a town to `gold.cells` and `gold.cell_days`."""
    store(warehouse, silver(DAYS, per_day, feed), DAYS, feed)
    for declared in (cells(feed), cell_days(feed)):
        days = (None, None) if declared[0].partitions_def is None else (FIRST, LAST)
        result = materialize(declared, warehouse, None, *days)
        assert result.success
        assert all(verdicts(result).values())


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A town, every table of gold made; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("gold")
    warehouse = Warehouse(database=str(folder / "warehouse.duckdb"))
    fill(warehouse)
    for name in TABLES:
        result = make(warehouse, name)
        assert result.success, failure(result)
        assert {n for n, passed in verdicts(result).items() if not passed} <= {
            "records_dense_enough"
        }
    return warehouse


@pytest.fixture
def town(filled_once: Warehouse, tmp_path) -> Warehouse:
    """A copy of the town that the test may change."""
    path = tmp_path / "copy.duckdb"
    path.write_bytes(filled_once.path.read_bytes())
    return Warehouse(database=str(path))


@every_table
def test_twice_is_once(town: Warehouse, name: str):
    table, _ = TABLES[name]
    before = town.content_hash(table, WHOLE)
    assert before[0] > 0
    assert make(town, name).success
    assert town.content_hash(table, WHOLE) == before


@pytest.mark.parametrize("name", [n for n, (table, _) in TABLES.items() if table.period == "day"])
def test_a_day_by_itself_is_what_it_is_in_a_range(town: Warehouse, name: str):
    table, declare = TABLES[name]
    of_day = WHOLE.day(LAST)
    before = town.content_hash(table, of_day)
    assert materialize(declare(SF_311), town, first=LAST).success
    assert town.content_hash(table, of_day) == before


@every_table
def test_what_became_empty_is_emptied(town: Warehouse, name: str):
    table, _ = TABLES[name]
    with town.transaction() as session:
        for emptied in (REQUESTS, gold.CELL_DAYS):
            session.run(f"delete from {emptied}")
    assert make(town, name).success
    rows = town.read(f"from {table} where {table.where}", MAY)
    if name == "forecasts":
        # What cannot be forecast is said, not left out; a day without a record forecasts none.
        assert set(rows["mean"].unique()) <= {0.0, None}
    elif name == "anomalies":
        assert not rows["is_anomaly"].any()
    elif name == "forecast_scores":
        assert set(rows["observed"].unique()) <= {0}
    else:
        assert rows.is_empty()


@every_table
def test_a_failed_write_keeps_the_old_slice(town: Warehouse, name: str):
    table, _ = TABLES[name]
    before = town.content_hash(table, WHOLE)
    with pytest.raises(Exception, match="nope"):
        town.replace(table, pl.DataFrame({"nope": [1]}), MAY)
    assert town.content_hash(table, WHOLE) == before


@every_table
def test_it_is_made_without_gold_cells_too(town: Warehouse, name: str):
    with town.transaction() as session:
        session.run("delete from gold.cells")
    assert make(town, name).success


@every_table
def test_an_incidents_feed_goes_the_same_way(warehouse: Warehouse, name: str):
    fill(warehouse, CHICAGO_CRIMES, per_day=25)
    result = make(warehouse, name, CHICAGO_CRIMES)
    assert result.success
    assert {n for n, ok in verdicts(result).items() if not ok} <= {"records_dense_enough"}


ONE_MORE = f"update {gold.CELL_DAYS} set records = records + 1 where day = '2026-05-31'"
LESS = "delete from gold.{} where resolution = 8 and records > 0 and category <> 'all'"
ONE_CATEGORY = "update gold.cell_days set category = 'noise' where month(day) = 5"
CITY = "update gold.forecasts set {} where resolution = 0"
SERVED = "update gold.forecast_scores set is_served = {}"
TAMPERED: list[tuple[str, str, str]] = [
    ("cell_days", "adds_up_to_silver", ONE_MORE),
    ("cell_days", "counts_are_nested", "update gold.cell_days set successes = eligible + 1"),
    ("cell_days", "cells_covered", f"update {REQUESTS} set cell = null where hour > 5"),
    ("cell_day_rates", "same_counts_as_cell_days", ONE_MORE),
    ("cell_day_rates", "same_counts_as_cell_days", LESS.format("cell_day_rates")),
    ("cell_months", "adds_up_to_the_days", ONE_MORE),
    ("cell_months", "all_is_the_sum", LESS.format("cell_months")),
    ("cell_months", "rates_inside_bounds", "update gold.cell_months set rate_eb = 1.2"),
    ("cell_months", "rates_inside_bounds", "update gold.cell_months set pooled_n = 0"),
    ("cell_months", "no_day_missing", "delete from meta.slices where day = '2026-05-12'"),
    ("cell_months", "category_shares_steady", ONE_CATEGORY),
    ("cell_months", "records_dense_enough", "update gold.cell_months set is_low_confidence = true"),
    ("cell_profiles", "same_records_as_cell_days", ONE_MORE),
    ("cell_profiles", "profiles_add_up", "update gold.cell_profiles set days_held = 3"),
    ("hotspots", "tested_or_a_reason", "update gold.hotspots set class = 'hot_99'"),
    ("hotspots", "tested_or_a_reason", "update gold.hotspots set reason = null"),
    ("hotspots", "same_records_as_cell_days", ONE_MORE),
    ("forecasts", "cells_add_up_to_the_city", CITY.format("mean = mean + 1")),
    ("forecasts", "intervals_are_nested", "update gold.forecasts set low_80 = high_80 + 1"),
    ("forecasts", "intervals_are_nested", CITY.format("known_until_day = day + 1")),
    ("forecast_scores", "one_method_served", SERVED.format("true")),
    ("forecast_scores", "one_method_served", SERVED.format("false")),
    ("anomalies", "tested_or_a_reason", "update gold.anomalies set q = null, reason = null"),
    ("anomalies", "tested_or_a_reason", "update gold.anomalies set is_anomaly = not is_anomaly"),
]


@pytest.mark.parametrize(("name", "check", "tampering"), TAMPERED)
def test_a_check_sees_what_it_is_for(town: Warehouse, name: str, check: str, tampering: str):
    table, declare = (TABLES | {"cell_days": (gold.CELL_DAYS, cell_days)})[name]
    with town.transaction() as session:
        session.run(tampering)
    declared: Sequence = declare(SF_311)
    key = dg.AssetCheckKey(table.key("sf_311"), check)
    days = (dt.date(2026, 5, 1), None) if table.period == "month" else (LATE, LAST)
    result = materialize(declared, town, None, *days, dg.AssetSelection.checks(key))
    said = verdict(result)
    assert not said.passed
    assert said.metadata["offenders"].value != 0


def test_dropping_one_record_fails_the_count_and_holds_back_what_follows(town: Warehouse):
    with town.transaction() as session:
        session.run(
            f"delete from {REQUESTS} where record_id = (select min(record_id) from {REQUESTS} "
            "where day = '2026-05-31' and cell is not null)"
        )
    key = dg.AssetCheckKey(gold.CELL_DAYS.key("sf_311"), "adds_up_to_silver")
    selection = dg.AssetSelection.checks(key)
    result = materialize(cell_days(SF_311), town, None, LATE, LAST, selection)
    assert verdict(result).metadata["days"].value == ["2026-05-31"]
    assert verdict(result).metadata["offenders"].value == 5


def test_a_day_is_provisional_until_the_portal_could_tell_all_of_it(town: Warehouse):
    held = Held.of(town, SF_311, WHOLE)
    # Asked at midnight UTC of the first of June, which is five in the afternoon in San Francisco.
    assert dt.datetime(2026, 6, 1) == OBSERVED
    assert held.is_provisional(LAST)
    assert not held.is_provisional(LATE)
    assert held.is_provisional_until(MAY.end)
    assert not held.is_provisional_until(MAY.start)
    months = town.read(
        "select distinct is_provisional from gold.hotspots where month = '2026-05-01'"
    )
    assert months["is_provisional"].to_list() == [True]


def test_a_feed_that_withholds_days_is_provisional_for_longer(warehouse: Warehouse):
    fill(warehouse, CHICAGO_CRIMES, per_day=5)
    part = Slice(CHICAGO_CRIMES.name, FIRST, WHOLE.end)
    held = Held.of(warehouse, CHICAGO_CRIMES, part)
    assert held.is_provisional(dt.date(2026, 5, 23))
    assert not held.is_provisional(dt.date(2026, 5, 22))


def test_days_are_unbroken_back_to_the_last_gap(town: Warehouse):
    held = Held.of(town, SF_311, WHOLE)
    assert held.consecutive_from(LAST) == FIRST
    with town.transaction() as session:
        session.run(f"delete from {REQUESTS} where day = '2026-05-20'")
        session.run("delete from meta.slices where day = '2026-05-20'")
    broken = Held.of(town, SF_311, WHOLE)
    assert broken.consecutive_from(LAST) == dt.date(2026, 5, 21)
    assert broken.consecutive_from(dt.date(2026, 5, 20)) is None
    assert broken.consecutive_from(dt.date(2026, 5, 19)) == FIRST


def test_a_forecast_uses_no_day_after_it(town: Warehouse):
    first = LATE - dt.timedelta(days=3)
    part = WHOLE.day(first)
    assert materialize(forecasts(SF_311), town, first=first).success
    before = town.content_hash(gold.FORECASTS, part)
    with town.transaction() as session:
        session.run(f"update {gold.CELL_DAYS} set records = 9 * records where day > '{first}'")
    assert materialize(forecasts(SF_311), town, first=first).success
    assert town.content_hash(gold.FORECASTS, part) == before
    with town.transaction() as session:
        session.run(f"update {gold.CELL_DAYS} set records = 9 * records where day = '{first}'")
    assert materialize(forecasts(SF_311), town, first=first).success
    assert town.content_hash(gold.FORECASTS, part) != before


def test_withheld_days_are_not_used(warehouse: Warehouse):
    fill(warehouse, CHICAGO_CRIMES, per_day=20)
    part = Slice(CHICAGO_CRIMES.name, LAST, WHOLE.end)
    assert materialize(forecasts(CHICAGO_CRIMES), warehouse, first=LAST).success
    known = warehouse.read(
        "select distinct known_until_day, first_day, last_day from gold.forecasts"
    )
    assert known.rows() == [(dt.date(2026, 5, 23), dt.date(2026, 6, 1), dt.date(2026, 6, 7))]
    before = warehouse.content_hash(gold.FORECASTS, part)
    with warehouse.transaction() as session:
        session.run(f"update {gold.CELL_DAYS} set records = 5 * records where day > '2026-05-23'")
    assert materialize(forecasts(CHICAGO_CRIMES), warehouse, first=LAST).success
    assert warehouse.content_hash(gold.FORECASTS, part) == before


def test_scores_are_of_the_week_that_has_just_become_known(town: Warehouse):
    days = town.read(f"select distinct day - origin_day as days from {gold.FORECAST_SCORES}")
    assert days["days"].to_list() == [7]
    observed = town.read(
        f"select observed from {gold.FORECAST_SCORES} where day = '2026-05-31' "
        "and resolution = 0 and category = 'all' and is_served"
    )["observed"].item()
    held = town.read(
        f"select count(*) as records from {REQUESTS} where cell is not null "
        "and day between '2026-05-25' and '2026-05-31'"
    )["records"].item()
    assert observed == held


def test_a_surge_is_an_anomaly_with_the_records_that_explain_it(town: Warehouse):
    surge = silver([LAST], per_day=160, seed=99).with_columns(
        pl.lit("SURGE STREET").alias("street"),
        ("surge-" + pl.col("record_id")).alias("record_id"),
        pl.lit("noise").alias("category"),
    )
    rows = pl.concat([town.read(f"from {REQUESTS}"), surge])
    town.replace(REQUESTS, rows, WHOLE)
    assert materialize(cell_days(SF_311), town, first=LAST).success
    assert materialize(anomalies(SF_311), town, first=LAST).success
    found = town.read(
        f"from {gold.ANOMALIES} where day = '2026-05-31' and category = 'noise' and resolution = 0"
    ).to_dicts()[0]
    assert found["is_anomaly"]
    assert found["direction"] == "more"
    assert found["unusual_streets"][0] == "SURGE STREET"
    assert len(found["record_ids"]) == 5
    on_them = town.read(
        f"select count(*) as n from {REQUESTS} where list_contains($ids, record_id) "
        "and list_contains($streets, street) and category = 'noise' and day = '2026-05-31'",
        {"ids": found["record_ids"], "streets": found["unusual_streets"]},
    )
    assert on_them["n"].item() == 5
    assert found["is_provisional"]


def test_cell_days_of_two_feeds_do_not_mix(town: Warehouse):
    fill(town, CHICAGO_CRIMES, per_day=5)
    feeds = town.read(f"select feed, sum(records)::bigint as n from {gold.CELL_DAYS} where "
                      "resolution = 10 group by feed order by feed")  # fmt: skip
    placed = {
        "chicago_crimes": town.read(f"select count(cell) as n from {INCIDENTS}")["n"].item(),
        "sf_311": town.read(f"select count(cell) as n from {REQUESTS}")["n"].item(),
    }
    assert dict(feeds.rows()) == placed


def test_days_that_the_sample_portal_withholds_are_provisional(warehouse: Warehouse):
    """The newest day that its crimes are told of is the newest that is not provisional."""
    now = dt.datetime(2026, 6, 1, 18)
    days = every_day(dt.date(2026, 5, 10), dt.date(2026, 5, 31))
    store(warehouse, silver(days, 1, CHICAGO_CRIMES, observed_until=now), days, CHICAGO_CRIMES)
    part = Slice(CHICAGO_CRIMES.name, days[0], days[-1] + dt.timedelta(days=1))
    held = Held.of(warehouse, CHICAGO_CRIMES, part)
    instant = now.replace(tzinfo=dt.UTC)
    told = [
        day
        for day in days
        if as_of(
            day_records(CHICAGO_CRIMES, day, seed=311, records_per_day=50), CHICAGO_CRIMES, instant
        ).height
    ]
    assert told
    assert not any(held.is_provisional(day) for day in told[:-1])
    assert all(held.is_provisional(day) for day in days if day > told[-1])
