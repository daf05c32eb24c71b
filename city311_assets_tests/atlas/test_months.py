"""The atlas of a month: graph, clusters, names, events and maps of a town with planted topics."""

import datetime as dt
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from city311_assets.atlas.cluster_events import cluster_events
from city311_assets.atlas.cluster_names import Material, Name, cluster_names, figures, names_of
from city311_assets.atlas.clusters import clusters
from city311_assets.atlas.embeddings import embeddings
from city311_assets.atlas.neighbors import neighbors
from city311_assets.atlas.projections import projections
from city311_assets.atlas.prompts import ClusterName
from city311_assets.atlas.windows import stored_graph
from city311_assets.bronze.sources import Sources
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables import atlas
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.atlas.town import WORDS, captions, store, truth
from city311_assets_tests.gold.town import every_day
from city311_assets_tests.portals import failure, materialize, verdict, verdicts

FIRST, LAST = dt.date(2026, 3, 1), dt.date(2026, 5, 31)
MARCH, APRIL, MAY = (dt.date(2026, month, 1) for month in (3, 4, 5))
DAYS = every_day(FIRST, LAST)[::3]
SOURCES = Sources(origin="sample")
TABLES: dict[str, tuple[Table, Callable]] = {
    "neighbors": (atlas.NEIGHBORS, neighbors),
    "clusters": (atlas.CLUSTERS, clusters),
    "cluster_names": (atlas.CLUSTER_NAMES, cluster_names),
    "cluster_events": (atlas.CLUSTER_EVENTS, cluster_events),
    "projections": (atlas.PROJECTIONS, projections),
}
every_table = pytest.mark.parametrize("name", TABLES)
OF_MAY = Slice(SF_311.name, MAY, dt.date(2026, 6, 1))
WHOLE = Slice(SF_311.name, FIRST, dt.date(2026, 6, 1))


def make(
    warehouse: Warehouse, name: str, first: dt.date = MAY, last: dt.date | None = None
) -> dg.ExecuteInProcessResult:
    return materialize(TABLES[name][1](SF_311), warehouse, SOURCES, first, last)


def embed(warehouse: Warehouse) -> None:
    for start in (MARCH, APRIL, MAY):
        last = (start.replace(day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)
        result = materialize(embeddings(SF_311), warehouse, SOURCES, start, last)
        assert result.success, failure(result)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A town and its maps of three months, made month by month; tests take a copy."""
    folder = tmp_path_factory.mktemp("atlas")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CITY311_DATA_DIR", str(folder))
        settings.cache_clear()
        warehouse = Warehouse(database=str(folder / "warehouse.duckdb"))
        store(warehouse, captions(DAYS), DAYS)
        embed(warehouse)
        for month in (MARCH, APRIL, MAY):
            for name in TABLES:
                result = make(warehouse, name, month)
                assert result.success, failure(result)
                assert all(verdicts(result).values())
    settings.cache_clear()
    return folder


@pytest.fixture
def town(
    made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_settings: None
) -> Warehouse:
    """A copy of the town, to be changed."""
    monkeypatch.setenv("CITY311_DATA_DIR", str(tmp_path / "data"))
    shutil.copytree(made_once, tmp_path / "data")
    return Warehouse(database=str(tmp_path / "data" / "warehouse.duckdb"))


def rows_of(warehouse: Warehouse, name: str, part: Slice = OF_MAY) -> pl.DataFrame:
    table, _ = TABLES[name]
    return warehouse.read(f"from {table} where {table.where} order by all", part)


def agreement(found: pl.DataFrame, planted: pl.DataFrame) -> float:
    """Adjusted Rand index of clusters and topics; outliers are one cluster of their own."""
    from sklearn.metrics import adjusted_rand_score

    both = found.join(planted, on="record_id")
    return float(adjusted_rand_score(both["topic"], both["cluster_id"].fill_null(-1)))


def test_planted_topics_are_found_and_named_after_their_words(town: Warehouse):
    found = rows_of(town, "clusters")
    assert agreement(found, truth(captions(DAYS))) > 0.95
    names = rows_of(town, "cluster_names")
    assert names.height == len(WORDS)
    own = {word for words in WORDS.values() for word in words.split()}
    for row in names.to_dicts():
        assert set(row["keywords"][0].split()) <= own
        assert row["name"].lower().split(",")[0].split()[0] in own
    assert names["name"].str.to_lowercase().n_unique() == names.height
    assert names["share"].sum() <= 1 + 1e-9
    assert set(names["name_method"]) == {"c_tf_idf"}


def test_ids_and_names_are_kept_from_month_to_month(town: Warehouse):
    by_month = [rows_of(town, "clusters", WHOLE.month(m)) for m in (MARCH, APRIL, MAY)]
    assert [rows.height for rows in by_month] == sorted(rows.height for rows in by_month)
    for before, after in pairwise(by_month):
        both = before.join(after, on="record_id", suffix="_after")
        both = both.select("cluster_id", "cluster_id_after").drop_nulls()
        same = (both["cluster_id"] == both["cluster_id_after"]).mean()
        assert isinstance(same, float)
        assert same >= 0.95
    names = [
        dict(rows_of(town, "cluster_names", WHOLE.month(m)).select("cluster_id", "name").rows())
        for m in (MARCH, MAY)
    ]
    shared = names[0].keys() & names[1].keys()
    assert shared
    assert all(names[0][one] == names[1][one] for one in shared)
    assert rows_of(town, "cluster_events", WHOLE).is_empty()


@every_table
def test_twice_is_once(town: Warehouse, name: str):
    table, _ = TABLES[name]
    before = town.content_hash(table, OF_MAY)
    assert make(town, name).success
    assert town.content_hash(table, OF_MAY) == before


@every_table
def test_a_month_that_became_empty_is_emptied(town: Warehouse, name: str):
    with town.transaction() as session:
        for table in (atlas.CAPTIONS, atlas.EMBEDDINGS):
            session.run(f"delete from {table}")
        if name != "neighbors":
            session.run(f"delete from {atlas.NEIGHBORS}")
        if name in {"cluster_names", "cluster_events"}:
            session.run(f"delete from {atlas.CLUSTERS}")
    result = make(town, name)
    assert result.success, failure(result)
    assert rows_of(town, name).is_empty()


@every_table
def test_a_failed_write_keeps_the_old_month(town: Warehouse, name: str):
    table, _ = TABLES[name]
    before = town.content_hash(table, OF_MAY)
    with pytest.raises(Exception, match="nope"):
        town.replace(table, pl.DataFrame({"nope": [1]}), OF_MAY)
    assert town.content_hash(table, OF_MAY) == before


TAMPERINGS = {
    ("neighbors", "nearest_first"): (
        "update {} set neighbor_ids = list_prepend(record_id, neighbor_ids[2:])"
    ),
    ("neighbors", "one_model_a_month"): (
        "update {} set embedding_model = 'x' where record_id = (select min(record_id) from {})"
    ),
    ("clusters", "in_a_cluster_or_an_outlier"): "update {} set is_outlier = not is_outlier",
    ("clusters", "cases_of_the_graph"): "update {} set record_id = record_id || 'x'",
    ("cluster_names", "no_two_alike"): "update {} set name = 'Sofas'",
    ("cluster_names", "every_cluster_counted"): "update {} set size = size + 1",
    ("cluster_events", "the_living_are_of_the_month"): (
        "insert into {} values ('sf_311', '2026-05-01', 'birth', 7, [], 0, 1)"
    ),
    ("cluster_events", "the_dead_are_gone"): (
        "insert into {} select 'sf_311', month, 'death', cluster_id, [], 0, 1 "
        "from atlas.cluster_names where month = '2026-05-01' limit 1"
    ),
    ("projections", "on_the_map"): "update {} set x = 'nan'",
    ("projections", "every_case_of_the_graph"): (
        "delete from {} where record_id = (select min(record_id) from {})"
    ),
}


@pytest.mark.parametrize(("name", "check"), TAMPERINGS)
def test_a_check_sees_what_it_is_for(town: Warehouse, name: str, check: str):
    table, declare = TABLES[name]
    with town.transaction() as session:
        session.run(TAMPERINGS[name, check].replace("{}", str(table)))
    key = dg.AssetCheckKey(table.key("sf_311"), check)
    result = materialize(declare(SF_311), town, SOURCES, MAY, None, dg.AssetSelection.checks(key))
    assert not verdict(result).passed


def test_a_topic_that_appears_is_born_and_one_that_leaves_the_window_dies(
    town: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CITY311_ATLAS_WINDOW_MONTHS", "2")
    settings.cache_clear()
    first, *stay = [*WORDS][:4]
    for month, topics in ((3, [first, *stay]), (4, stay), (5, [*stay, "leaks"])):
        days = [day for day in DAYS if day.month == month]
        rows = captions(days, topics=topics, per_day=24, seed=month)
        store(town, rows, days)
    embed(town)
    for month in (APRIL, MAY):
        for name in TABLES:
            result = make(town, name, month)
            assert result.success, failure(result)
    events = rows_of(town, "cluster_events")
    assert sorted(events["event"]) == ["birth", "death"]
    gone, came = (
        rows_of(town, "cluster_names", WHOLE.month(month))
        .filter(pl.col("cluster_id").is_in(events.filter(pl.col("event") == event)["cluster_id"]))[
            "keywords"
        ]
        .item()
        for event, month in (("death", APRIL), ("birth", MAY))
    )
    assert gone[0].split()[0] in WORDS[first]
    assert came[0].split()[0] in WORDS["leaks"]


def test_vectors_of_two_models_are_refused_with_both_names_and_the_way_out(town: Warehouse):
    with town.transaction() as session:
        session.run(
            f"update {atlas.EMBEDDINGS} set embedding_model = 'another-model' "
            "where day >= '2026-05-01'"
        )
    result = make(town, "neighbors")
    said = failure(result)
    assert "another-model" in said
    assert "local-" in said
    assert "atlas/embeddings/sf_311 from 2026-05-" in said
    assert not result.success


def test_only_the_newest_graphs_are_kept_and_an_older_month_says_so(town: Warehouse):
    result = make(town, "neighbors", dt.date(2026, 6, 1))
    assert result.success, failure(result)
    months = town.read(f"select distinct month from {atlas.NEIGHBORS} order by month")["month"]
    assert months.to_list() == [APRIL, MAY, dt.date(2026, 6, 1)]
    result = make(town, "clusters", MARCH)
    assert "materialize atlas/neighbors/sf_311" in failure(result).lower()
    assert rows_of(town, "clusters", WHOLE.month(MARCH)).height > 0


def test_a_window_of_more_cases_than_allowed_is_sampled_and_says_how(
    town: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CITY311_ATLAS_MAX_CASES", "200")
    settings.cache_clear()
    assert make(town, "neighbors").success
    rows = rows_of(town, "neighbors")
    assert rows.height == 200
    assert rows["sampling_weight"].sum() == pytest.approx(captions(DAYS).height)


def test_the_stored_graph_is_the_one_that_was_computed(town: Warehouse):
    from city311_assets.atlas.methods.graph import nearest_neighbors
    from city311_assets.atlas.windows import window

    own = window(town, SF_311, OF_MAY, MAY, 311)
    graph = nearest_neighbors(own.vectors, 50, seed=311)
    cases, stored = stored_graph(town, SF_311, OF_MAY, MAY)
    assert cases["record_id"].to_list() == own.cases["record_id"].to_list()
    assert np.array_equal(stored.indices, graph.indices)
    assert np.allclose(stored.similarities, graph.similarities)


def test_figures_of_clusters():
    day = dt.date(2026, 5, 3)
    cases = pl.DataFrame(
        {
            "record_id": list("abcdef"),
            "day": [day, day, day.replace(month=4), day.replace(month=4), day, day],
            "cluster_id": [1, 1, 1, 2, 2, None],
            "sampling_weight": [1.0, 1.0, 2.0, 2.0, 1.0, 1.0],
            "severity": [1, 3, None, 2, None, 5],
            "hours": [10.0, 500.0, 30.0, 40.0, None, 1.0],
            "is_closed": [True, False, True, False, None, True],
        }
    )
    found = {row["cluster_id"]: row for row in figures(cases, MAY).to_dicts()}
    assert (found[1]["size"], found[2]["size"]) == (3, 2)
    assert found[1]["share"] == pytest.approx(4 / 8)
    # Half of May's four cases, of April's two of four by weight.
    assert found[1]["growth"] == pytest.approx((2 / 4) / (2 / 4) - 1)
    assert found[2]["growth"] == pytest.approx((1 / 4) / (2 / 4) - 1)
    assert (found[1]["median_severity"], found[1]["median_hours_to_close"]) == (2.0, 30.0)
    # None of its cases was closed while it was watched.
    assert found[2]["median_hours_to_close"] is None
    assert figures(cases.filter(pl.col("day") >= MAY), MAY)["growth"].null_count() == 2


def test_a_model_names_new_clusters_only_and_what_it_leaves_out_has_its_own_words():
    words = {1: ["sofa"], 2: ["paint"], 3: ["pipe"]}
    material = Material(words, {one: [str(one)] for one in words}, {"1": "s", "2": "p", "3": "w"})
    asked: list[dict[str, object]] = []

    def ask(clusters: list[dict[str, object]]) -> list[ClusterName]:
        asked.extend(clusters)
        hostile = "<b>Ignore this</b>\x00"
        return [
            ClusterName(cluster_id=2, name=hostile, description="Walls."),
            ClusterName(cluster_id=9, name="Nobody asked", description=""),
        ]

    kept = {1: Name("Old sofas", "c_tf_idf", None)}
    found = names_of(material, kept, ask)
    assert [one["cluster_id"] for one in asked] == [2, 3]
    assert set(found) == {2, 3}
    assert (found[2].method, found[2].said) == ("openai", "Walls.")
    assert "\x00" not in found[2].name
    assert (found[3].method, found[3].name) == ("c_tf_idf", "Pipe")
