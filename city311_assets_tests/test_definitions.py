"""The graph as a whole: it loads, it is documented and checked, and it targets what it should."""

import subprocess
import sys

import dagster as dg
import pytest

from city311_assets.definitions import defs
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.partitions import DAYS, MONTHS
from city311_assets.risk.targets.registry import TARGETS
from city311_assets.warehouse.tables.registry import TABLES

GRAPH = defs.resolve_asset_graph()
REQUEST_FEEDS = [name for name, feed in FEEDS.items() if feed.kind == "request"]
KEYS = sorted(GRAPH.get_all_asset_keys())
# Written in the same transaction as the records beside them, whose checks count them too.
# The ledger of model calls is written as they are made, whatever becomes of the run.
LEDGER = {"atlas.model_calls", "atlas.model_answers"}
CHECKED_BESIDE = {"withdrawn_records", "rejected_records"}


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.to_user_string())
class TestEveryAsset:
    def test_is_described_grouped_and_owned(self, key: dg.AssetKey):
        node = GRAPH.get(key)
        assert len(node.description or "") > 40
        assert node.group_name == key.path[0]
        assert node.owners

    def test_writes_the_table_its_key_names_and_documents_each_column(self, key: dg.AssetKey):
        metadata = GRAPH.get(key).metadata
        table = metadata["dagster/table_name"].value
        assert table.split(".") == key.path[:2]
        columns = metadata["dagster/column_schema"].schema.columns
        assert columns
        assert all(column.description.rstrip().endswith((".", "no.")) for column in columns)

    def test_is_on_days_or_months_in_chunks_or_has_no_slices(self, key: dg.AssetKey):
        node = GRAPH.get(key)
        if node.partitions_def is not None:
            assert node.partitions_def in {DAYS, MONTHS}
            chunk = 31 if node.partitions_def == DAYS else 12
            assert node.backfill_policy == dg.BackfillPolicy.multi_run(chunk)

    def test_is_no_root_by_months(self, key: dg.AssetKey):
        """A backfill of days over the whole graph begins at its roots."""
        node = GRAPH.get(key)
        assert node.parent_keys or node.partitions_def != MONTHS

    def test_is_checked(self, key: dg.AssetKey):
        checks = [check for check in GRAPH.asset_check_keys if check.asset_key == key]
        assert checks or key.path[1] in CHECKED_BESIDE


def test_every_table_is_written_by_some_asset():
    written = {GRAPH.get(key).metadata["dagster/table_name"].value for key in KEYS}
    assert written == {str(table) for table in TABLES if table.layer != "meta"} - LEDGER


def test_one_feeds_assets_need_no_other_feeds():
    for feed, other in ((a, b) for a in FEEDS for b in FEEDS if a != b):
        for key in (key for key in KEYS if key.path[-1] == feed):
            upstream = {parent.path[-1] for parent in GRAPH.get_ancestor_asset_keys(key)}
            assert other not in upstream


def backfilled(first: str, last: str) -> dict[str, int]:
    """Return how many slices of each asset a backfill of the whole graph from its roots targets."""
    days = set(DAYS.get_partition_keys_in_range(dg.PartitionKeyRange(first, last)))
    reached: dict[str, set[str]] = {}
    for key in [k for level in GRAPH.toposorted_asset_keys_by_level for k in level]:
        node = GRAPH.get(key)
        if not node.partitions_def:
            reached[key.to_user_string()] = {"whole"}
        elif not node.parent_keys:
            reached[key.to_user_string()] = days
        else:
            parents = [p for p in node.parent_keys if GRAPH.get(p).partitions_def]
            mapped: set[str] = set()
            for parent in parents:
                mapping = GRAPH.get_partition_mapping(key, parent)
                wanted = DAYS.subset_with_partition_keys(reached[parent.to_user_string()])
                found = mapping.get_downstream_partitions_for_partitions(
                    wanted, DAYS, node.partitions_def
                )
                mapped |= set(found.get_partition_keys())
            reached[key.to_user_string()] = mapped
    return {name: len(slices) for name, slices in reached.items()}


@pytest.mark.parametrize(
    ("last", "days", "months"), [("2026-01-25", 1, 1), ("2026-01-31", 7, 1), ("2026-02-01", 8, 2)]
)
def test_a_backfill_of_the_graph_targets_its_own_slices_and_nothing_more(
    last: str, days: int, months: int
):
    targets = backfilled("2026-01-25", last)
    by_day, by_month = (
        {key.to_user_string() for key in KEYS if GRAPH.get(key).partitions_def == definition}
        for definition in (DAYS, MONTHS)
    )
    # What followed a day is told by the seven days after it: a call is the outcome of those before.
    expected = dict.fromkeys(by_day, days)
    expected |= {f"risk/outcomes/{name}": days + 6 for name in TARGETS}
    assert {name: targets[name] for name in by_day} == expected
    assert {name: targets[name] for name in by_month} == dict.fromkeys(by_month, months)
    assert sorted(set(targets) - by_day - by_month) == [
        *(f"atlas/text_models/{feed}" for feed in sorted(REQUEST_FEEDS)),
        *(f"bronze/boundaries/{city}" for city in sorted(CITIES)),
        *(f"gold/cells/{feed}" for feed in sorted(FEEDS)),
    ]


def test_the_code_location_loads_without_the_heavy_libraries():
    script = (
        "import sys, city311_assets.definitions; "
        "print([m for m in ('sklearn', 'umap', 'statsmodels', 'plotly', 'openai', 'uvicorn', "
        "'pandas', 'scipy', 'PIL', 'igraph', 'leidenalg', 'alembic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
