"""Risk costs: a slice from stored scores, the severities behind it, and what its checks catch."""

import datetime as dt
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from city311_assets.partitions import Slice
from city311_assets.risk.costs import (
    ROUNDING,
    SEVERITY_LAG_DAYS,
    claims,
    cost_rows,
    costs,
    severities,
    write,
)
from city311_assets.risk.methods.priors import read_priors
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.targets.sanitation import SANITATION
from city311_assets.risk.targets.target import Target
from city311_assets.settings import settings
from city311_assets.warehouse.errors import SliceRefusedError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import COSTS, SCORES
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.portals import failure, materialize, verdicts
from city311_assets_tests.risk.scored import DAYS, MODEL, cells, part, scores, store, town, uneven
from city311_assets_tests.silver.raw import filled

PRIORS = read_priors()
SHARES = np.array([0.6, 0.3, 0.1])
DAY = DAYS[-1]


def make(warehouse: Warehouse, target: Target = LEAKS) -> dg.ExecuteInProcessResult:
    return materialize(costs(target), warehouse, None, DAYS[0], DAYS[-1])


def stored(warehouse: Warehouse, target: Target = LEAKS) -> pl.DataFrame:
    return warehouse.read(
        f"from {COSTS} where {COSTS.where} order by all", part(target=target), [COSTS]
    )


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("costs") / "warehouse.duckdb"
    warehouse = Warehouse(database=str(path))
    store(warehouse)
    result = make(warehouse)
    assert result.success, failure(result)
    assert all(verdicts(result).values())
    return path


@pytest.fixture
def made(made_once: Path, tmp_path: Path) -> Warehouse:
    path = tmp_path / "warehouse.duckdb"
    shutil.copy(made_once, path)
    return Warehouse(database=str(path))


def failing(warehouse: Warehouse) -> set[str]:
    """The claims of which a slice has offenders, each on a day of the slice."""
    found = {
        claim.name: warehouse.read(claim.offenders, part().params | {"rounding": ROUNDING})
        for claim in claims(LEAKS)
    }
    assert all({*offenders["day"]} <= {*DAYS} for offenders in found.values())
    return {name for name, offenders in found.items() if offenders.height}


def of_calls(*days_and_hours: tuple[dt.date, float | None], **changes: object) -> pl.DataFrame:
    """Silver requests of a target's kind, each given by its day and its hours to close."""
    rows = []
    for place, (day, hours) in enumerate(days_and_hours):
        opened = dt.datetime.combine(day, dt.time(12))
        row = {
            "feed": LEAKS.feed.name,
            "day": day,
            "record_id": f"r{place}",
            "opened_at": opened,
            "opened_at_utc": opened,
            "category": "water",
            "taxonomy": LEAKS.feed.taxonomy,
            "kind": "CHECK  FOR LEAK",
            "latitude": 41.88,
            "longitude": -87.65,
            "cell": 622236721245421567,
            "has_point": True,
            "hour": 12,
            "weekday": 1,
            "is_time_certain": True,
            "record_url": "https://town.example",
            "origin": "portal",
            "observed_until": dt.datetime(2026, 6, 1),
            "is_administrative": False,
            "hours_to_close": hours,
            "hours_to_close_reason": None if hours is not None else "open",
        }
        rows.append(row | changes)
    return filled(REQUESTS, *rows)


def put(warehouse: Warehouse, requests: pl.DataFrame) -> None:
    feed = Slice(LEAKS.feed.name, dt.date(2024, 1, 1), dt.date(2027, 1, 1))
    warehouse.replace(REQUESTS, requests, feed)


def counted(warehouse: Warehouse, *days: dt.date) -> list[list[int]]:
    return severities(warehouse, LEAKS, part(days or [DAY])).tolist()


def test_costs_of_a_day_are_priced_from_its_scores():
    calls = uneven()
    rows = cost_rows(LEAKS, scores(DAYS, calls), np.tile(SHARES, (3, 1)), PRIORS)
    assert rows.columns == COSTS.names
    of_day = rows.filter(pl.col("day") == DAYS[1]).sort("cell")
    a_call = of_day["expected_cost_usd_7d"].to_numpy() / calls[1]
    np.testing.assert_allclose(a_call, a_call[0])
    assert (rows["p90_cost"] >= rows["p50_cost"]).all()
    assert rows["priors_version"].unique().to_list() == [PRIORS.version]


def test_longer_calls_cost_more_water_and_no_more_repair():
    calls = uneven(DAYS[:1])
    short, long = (
        cost_rows(LEAKS, scores(DAYS[:1], calls), np.array([shares]), PRIORS)
        for shares in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    )
    assert (long["water_usd"] > short["water_usd"]).all()
    assert long["repair_usd"].equals(short["repair_usd"])


def test_a_slice_holds_every_cell_of_every_day_once(made: Warehouse):
    rows = stored(made)
    assert rows.height == len(DAYS) * cells().size
    assert rows["model_version"].unique().to_list() == [MODEL]
    assert rows["seed"].unique().to_list() == [311]


def test_making_costs_twice_leaves_one_copy_that_is_the_same(made: Warehouse):
    before = stored(made)
    write(made, LEAKS, part(), PRIORS)
    assert stored(made).equals(before)


def test_days_made_together_are_those_made_alone(made: Warehouse):
    before = stored(made)
    for day in DAYS:
        write(made, LEAKS, part([day]), PRIORS)
    assert stored(made).equals(before)


def test_days_without_scores_are_emptied(made: Warehouse):
    made.replace(SCORES, scores(DAYS, uneven()).clear(), part())
    write(made, LEAKS, part(), PRIORS)
    assert stored(made).is_empty()
    assert failing(made) == set()


def test_scores_that_were_superseded_are_not_priced(made: Warehouse):
    older = scores(DAYS, 9 * uneven(), version="older").with_columns(
        pl.lit(False).alias("is_newest")
    )
    made.replace(SCORES, pl.concat([older, scores(DAYS, uneven())]), part())
    before = stored(made)
    write(made, LEAKS, part(), PRIORS)
    assert stored(made).equals(before)


def test_a_target_without_priors_has_no_costs_and_says_so(warehouse: Warehouse):
    store(warehouse, target=SANITATION)
    result = make(warehouse, SANITATION)
    assert result.success, failure(result)
    assert all(verdicts(result).values())
    assert stored(warehouse, SANITATION).is_empty()
    said = [e.materialization.metadata for e in result.get_asset_materialization_events()]
    assert all(told["is_priced"].value is False for told in said)


def test_rows_of_another_slice_are_refused_and_the_old_ones_survive(made: Warehouse):
    before = stored(made)
    strange = before.with_columns(pl.lit(dt.date(2020, 1, 1)).alias("day"))
    with pytest.raises(SliceRefusedError, match="rows of another slice"):
        made.replace(COSTS, strange, part())
    assert stored(made).equals(before)


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ("water_usd = water_usd + 1", "parts_add_up"),
        ("water_usd = water_usd - 1e6, repair_usd = repair_usd + 1e6", "parts_add_up"),
        ("p50_cost = p90_cost + 1", "quantiles_are_in_order"),
        ("p50_cost = -1", "quantiles_are_in_order"),
        ("model_version = 'older'", "every_score_is_priced"),
    ],
)
def test_a_cost_that_cannot_be_fails_its_check_alone(made: Warehouse, wrong: str, check: str):
    with made.transaction() as session:
        session.run(
            f"update {COSTS} set {wrong} where day = $day and cell = $cell",
            {"day": DAY, "cell": int(cells()[3])},
        )
    assert failing(made) == {check}


def test_a_score_without_a_cost_fails_and_so_does_a_cost_without_a_score(made: Warehouse):
    for table in (COSTS, SCORES):
        with made.transaction() as session:
            session.run(f"delete from {table} where cell = $cell", {"cell": int(cells()[0])})
        assert failing(made) == (set() if table is SCORES else {"every_score_is_priced"})
    with made.transaction() as session:
        session.run(f"delete from {SCORES} where cell = $cell", {"cell": int(cells()[1])})
    assert failing(made) == {"every_score_is_priced"}


def test_other_priors_change_costs_and_their_version(
    made: Warehouse, tmp_path: Path, fresh_settings: None, monkeypatch: pytest.MonkeyPatch
):
    before = stored(made)
    path = tmp_path / "ours.toml"
    path.write_text(
        '[repair_cost]\nunit = "USD per break"\nlow = 1.0\ncentral = 1.0\nhigh = 1.0\n'
        'source = "Ours."\nyear = 2026\nkind = "source"\n'
    )
    monkeypatch.setenv("CITY311_RISK_PRIORS", str(path))
    settings.cache_clear()
    assert make(made).success
    after = stored(made)
    assert set(after["priors_version"]) == {read_priors(path).version} != {PRIORS.version}
    assert (after["repair_usd"] < before["repair_usd"]).all()
    assert after["water_usd"].equals(before["water_usd"])


def test_priors_that_cannot_be_fail_the_run_and_keep_the_slice(
    made: Warehouse, tmp_path: Path, fresh_settings: None, monkeypatch: pytest.MonkeyPatch
):
    before = stored(made)
    path = tmp_path / "ours.toml"
    path.write_text("[repair_costs]\nlow = 1\n")
    monkeypatch.setenv("CITY311_RISK_PRIORS", str(path))
    settings.cache_clear()
    assert "no priors are called ['repair_costs']" in failure(make(made))
    assert stored(made).equals(before)


def test_calls_are_told_apart_by_how_long_they_took(warehouse: Warehouse):
    day = DAY - dt.timedelta(days=30)
    hours = [0.0, 23.9, 24.0, 167.9, 168.0, 900.0, None]
    put(warehouse, of_calls(*((day, own) for own in hours)))
    assert counted(warehouse) == [[2, 2, 3]]


def test_severities_are_of_the_year_that_ends_before_the_lag(warehouse: Warehouse):
    ends = [SEVERITY_LAG_DAYS - 1, SEVERITY_LAG_DAYS, SEVERITY_LAG_DAYS + 364]
    ends.append(SEVERITY_LAG_DAYS + 365)
    put(warehouse, of_calls(*((DAY - dt.timedelta(days=ago), 1.0) for ago in ends)))
    assert SEVERITY_LAG_DAYS == 8
    assert counted(warehouse) == [[2, 0, 0]]
    # The day before does not know the second yet, and still knows the last.
    assert counted(warehouse, DAY - dt.timedelta(days=1), DAY) == [[2, 0, 0], [2, 0, 0]]
    assert counted(warehouse, DAY + dt.timedelta(days=1)) == [[2, 0, 0]]
    assert counted(warehouse, DAY + dt.timedelta(days=2)) == [[2, 0, 0]]


def test_what_happens_after_a_day_changes_nothing_that_was_known(warehouse: Warehouse):
    days = [DAY - dt.timedelta(days=ago) for ago in (40, 8, 7, 1)]
    put(warehouse, of_calls(*((day, None) for day in days)))
    before = counted(warehouse)
    # All are closed after the day; those of its last week are not counted however it ends.
    after = [(day, (DAY - day).days * 24 + 30.0) for day in days]
    put(warehouse, of_calls(*after))
    assert counted(warehouse) == before == [[0, 0, 2]]


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "Pothole in Street Complaint"},
        {"cell": None},
        {"is_administrative": True},
        {"hours_to_close": None, "hours_to_close_reason": "closed_unreadable"},
        {
            "hours_to_close": None,
            "hours_to_close_reason": "open",
            "observed_until": dt.datetime(2026, 2, 10),
        },
    ],
    ids=["other kind", "no point", "no work", "unreadable", "not watched long enough"],
)
def test_calls_that_do_not_tell_are_left_out(warehouse: Warehouse, changes: dict[str, object]):
    day = dt.date(2026, 2, 9)
    put(warehouse, of_calls((day, 5.0), (day, 90.0), **changes))
    assert counted(warehouse) == [[0, 0, 0]]


def test_without_any_call_there_are_no_severities(warehouse: Warehouse):
    assert counted(warehouse, *DAYS) == [[0, 0, 0]] * 3


def test_the_towns_severities_are_those_planted(made: Warehouse):
    found = np.array(counted(made)[0])
    last = DAY - dt.timedelta(days=SEVERITY_LAG_DAYS)
    watched = pl.col("day").is_between(last - dt.timedelta(days=364), last)
    is_call = pl.col("kind") != "Pothole in Street Complaint"
    assert found.sum() == town().requests.filter(watched & is_call).height
    assert found.min() > 0
