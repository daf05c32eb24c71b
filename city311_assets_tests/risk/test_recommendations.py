"""Risk recommendations: a slice from stored scores and costs, names over days, and its checks."""

import datetime as dt
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pytest
import shapely

from city311_assets.risk.costs import costs
from city311_assets.risk.costs import write as price_again
from city311_assets.risk.methods.priors import read_priors
from city311_assets.risk.recommendations import ROUNDING, claims, recommendations, write
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.targets.sanitation import SANITATION
from city311_assets.risk.targets.target import Target
from city311_assets.settings import settings
from city311_assets.warehouse.errors import SliceRefusedError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import COSTS, RECOMMENDATIONS, SCORES
from city311_assets_tests.portals import failure, materialize, verdicts
from city311_assets_tests.risk.scored import DAYS, MODEL, cells, part, scores, store, uneven

# Enough for a hot town, and fewer crew hours than everything that pays would take.
CALLS = uneven(mean=1.2)
PRIORS = read_priors()
CREW_HOURS = 80.0


def make(warehouse: Warehouse, target: Target = LEAKS) -> dg.ExecuteInProcessResult:
    return materialize(recommendations(target), warehouse, None, DAYS[0], DAYS[-1])


def price(warehouse: Warehouse, target: Target = LEAKS) -> None:
    result = materialize(costs(target), warehouse, None, DAYS[0], DAYS[-1])
    assert result.success, failure(result)


def stored(warehouse: Warehouse, target: Target = LEAKS) -> pl.DataFrame:
    query = f"from {RECOMMENDATIONS} where {RECOMMENDATIONS.where} order by day, rank"
    return warehouse.read(query, part(target=target), [RECOMMENDATIONS])


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recommendations") / "warehouse.duckdb"
    warehouse = Warehouse(database=str(path))
    store(warehouse, calls=CALLS)
    price(warehouse)
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
    params = part().params | {"rounding": ROUNDING, "crew_hours": CREW_HOURS}
    found = {claim.name: warehouse.read(claim.offenders, params) for claim in claims()}
    assert all({*offenders["day"]} <= {*DAYS} for offenders in found.values())
    return {name for name, offenders in found.items() if offenders.height}


def rewrite(warehouse: Warehouse, days: Sequence[dt.date] = DAYS) -> None:
    write(warehouse, LEAKS, part(days), PRIORS, CREW_HOURS)


def test_each_day_has_clusters_that_pay_and_say_why(made: Warehouse):
    rows = stored(made)
    assert set(rows["day"]) == {*DAYS}
    for row in rows.iter_rows(named=True):
        at = np.searchsorted(cells(), np.array(row["cells"], np.uint64))
        calls = CALLS[DAYS.index(row["day"]), at].sum()
        assert row["expected_events_7d"] == pytest.approx(calls)
        net = row["expected_saving_usd"] - row["action_cost_usd"]
        assert row["net_benefit_usd"] == pytest.approx(net)
        assert f"{calls:.1f} calls are expected in 7 days" in row["why"]
        assert "4 calls here in 30 days." in row["why"]
        assert row["cells"] == sorted(row["cells"])
        assert row["model_version"] == MODEL


def test_outlines_are_those_of_the_cells_and_hold_their_point(made: Warehouse):
    for row in stored(made).iter_rows(named=True):
        area = shapely.from_geojson(row["geometry"])
        assert area.is_valid
        assert area.contains(shapely.Point(row["longitude"], row["latitude"]))
        km2 = sum(h3.cell_area(cell) for cell in row["cells"])
        assert json.loads(row["parameters"])["area_km2"] == pytest.approx(km2, abs=0.006)
        for cell in row["cells"]:
            latitude, longitude = h3.cell_to_latlng(cell)
            assert area.contains(shapely.Point(longitude, latitude))


def test_notes_name_the_ward_and_its_share_of_calls_and_cells(made: Warehouse):
    rows = stored(made)
    wards = rows["equity_note"].str.extract(r"ward (\w+),")
    assert set(wards) <= {"1", "2"}
    assert rows["equity_note"].str.contains(r"% of the city's calls of a year on \d").all()
    east = rows.filter(pl.col("equity_note").str.starts_with("In ward 2"))
    assert (east["longitude"] > -87.652).all()


def test_a_cluster_keeps_its_name_from_day_to_day(made: Warehouse):
    rows = stored(made)
    by_day = {day: set(own["recommendation_id"]) for (day,), own in rows.group_by("day")}
    assert all(len(own) for own in by_day.values())
    shared = by_day[DAYS[0]] & by_day[DAYS[1]] & by_day[DAYS[2]]
    assert len(shared) > len(by_day[DAYS[0]]) / 2


def test_days_made_alone_have_the_names_of_those_made_together(made: Warehouse):
    before = stored(made)
    for day in DAYS:
        rewrite(made, [day])
    assert stored(made).equals(before)


def test_after_a_day_without_recommendations_names_are_new(made: Warehouse):
    before = stored(made)
    made.replace(RECOMMENDATIONS, before.clear(), part(DAYS[:2]))
    rewrite(made, DAYS[2:])
    day = pl.col("day") == DAYS[2]
    after = stored(made).filter(day)
    assert after["cells"].equals(before.filter(day)["cells"])
    assert not set(after["recommendation_id"]) & set(before["recommendation_id"])


def test_a_name_does_not_live_on_over_a_day_that_was_not_scored(made: Warehouse):
    with made.transaction() as session:
        session.run(f"delete from {COSTS} where day = $day", {"day": DAYS[1]})
        session.run(f"delete from {SCORES} where day = $day", {"day": DAYS[1]})
    rewrite(made)
    by_day = {day: set(own["recommendation_id"]) for (day,), own in stored(made).group_by("day")}
    assert [*sorted(by_day)] == [DAYS[0], DAYS[2]]
    assert not by_day[DAYS[0]] & by_day[DAYS[2]]


def test_making_recommendations_twice_leaves_one_copy_that_is_the_same(made: Warehouse):
    before = stored(made)
    rewrite(made)
    assert stored(made).equals(before)


def test_a_quiet_day_has_none_and_empties_what_was_there(made: Warehouse):
    calls = CALLS.copy()
    calls[1] = 0.01
    made.replace(SCORES, scores(DAYS, calls), part())
    price_again(made, LEAKS, part(), PRIORS)
    rewrite(made)
    assert set(stored(made)["day"]) == {DAYS[0], DAYS[2]}
    assert failing(made) == set()


def test_scores_without_costs_are_refused_and_the_list_stays(made: Warehouse):
    before = stored(made)
    with made.transaction() as session:
        session.run(f"delete from {COSTS}")
    with pytest.raises(ValueError, match="materialize risk/costs/leaks of them first"):
        rewrite(made)
    assert stored(made).equals(before)


def test_a_target_without_prices_has_none(warehouse: Warehouse):
    store(warehouse, calls=CALLS, target=SANITATION)
    price(warehouse, SANITATION)
    result = make(warehouse, SANITATION)
    assert result.success, failure(result)
    assert all(verdicts(result).values())
    assert stored(warehouse, SANITATION).is_empty()


def test_fewer_crew_hours_choose_less_of_the_same_list(
    made: Warehouse, fresh_settings: None, monkeypatch: pytest.MonkeyPatch
):
    before = stored(made)
    in_all = before.group_by("day").agg(pl.col("crew_hours").sum())
    assert (in_all["crew_hours"] > 5).all()
    monkeypatch.setenv("CITY311_RISK_CREW_HOURS", "5")
    settings.cache_clear()
    result = make(made)
    assert result.success, failure(result)
    assert all(verdicts(result).values())
    after = stored(made)
    assert after.drop("is_chosen").equals(before.drop("is_chosen"))
    chosen = after.filter("is_chosen").group_by("day").agg(pl.col("crew_hours").sum())
    assert chosen["crew_hours"].is_between(1, 5).all()
    assert chosen.height == len(DAYS)
    assert after["is_chosen"].sum() < before["is_chosen"].sum() == before.height


def test_rows_of_another_slice_are_refused_and_the_old_ones_survive(made: Warehouse):
    before = stored(made)
    with pytest.raises(SliceRefusedError, match="a repeated key"):
        made.replace(RECOMMENDATIONS, pl.concat([before, before]), part())
    assert stored(made).equals(before)


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ("net_benefit_usd = net_benefit_usd + 0.5", "every_one_pays"),
        ("saving_low = saving_high", "every_one_pays"),
        ("crew_hours = 500", "chosen_fit_the_day"),
        ("rank = rank + 100", "ranked_by_net_benefit"),
        ("cells = list_append(cells, cells[1])", "no_cell_twice"),
    ],
)
def test_what_cannot_be_recommended_fails_its_check_alone(made: Warehouse, wrong: str, check: str):
    with made.transaction() as session:
        session.run(
            f"update {RECOMMENDATIONS} set {wrong} where day = $day and rank = 1",
            {"day": DAYS[1]},
        )
    assert failing(made) == {check}


def test_a_worse_one_ranked_before_a_better_fails(made: Warehouse):
    with made.transaction() as session:
        session.run(
            f"update {RECOMMENDATIONS} set rank = case rank when 1 then 2 else 1 end "
            "where day = $day and rank <= 2",
            {"day": DAYS[1]},
        )
    assert failing(made) == {"ranked_by_net_benefit"}
