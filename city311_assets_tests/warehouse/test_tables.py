"""The registry of columns: every one has a sentence, and a name that says what it is."""

from collections import defaultdict

import dagster as dg
import pytest

from city311_assets.feeds.registry import FEEDS
from city311_assets.partitions import Slice
from city311_assets.warehouse.tables.bronze import RECORDS, WEATHER
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS, REQUESTS, WEATHER_DAYS
from city311_assets.warehouse.tables.table import Column, Table
from city311_assets_tests.silver.raw import TYPES
from city311_assets_tests.warehouse.things import DAY, NEXT, THINGS

every_table = pytest.mark.parametrize("table", TABLES, ids=str)
PROVENANCE = {
    "fetched_at",
    "fetched_from",
    "observed_until",
    "origin",
    "last_seen_at",
    "gone_at",
} | {
    "asked_at",
    "checked_at",
    "marked_stale_at",
    "called_at",
    "answered_at",
    "fitted_at",
    "seconds",
    "run_id",
    "as_of",
}


# Numbers without a unit, and counts that are no whole numbers.
DIMENSIONLESS = {"z", "p", "q", "moran_i", "mase", "pai", "pei", "prior_strength", "expected"} | {
    "ring_expected",
    "mean",
    "predicted",
    "trailing",
    "seasonal_naive",
    "mae",
    "crps",
    "pit",
    "pit_distance",
    "sampling_weight",
    "membership",
    "share",
    "growth",
    "confidence",
    "text_similarity",
    "explained_variance",
    "median_severity",
    "similarity",
    "mean_similarity",
    "weight",
    "effective_controls",
    "share_on_support",
    "share_significant",
    "share_low",
    "share_high",
    "caliper_share",
    "rosenbaum_gamma",
    "e_value",
    "e_value_of_interval",
    "p_randomization",
    "brier",
    "brier_skill",
    "log_loss",
    "pr_auc",
    "ece",
    "ece_low",
    "ece_high",
    "calibration_slope",
    "base_rate",
    "mean_p",
}
# In the unit of the covariate, or of the outcome, that the row is of.
OWN_UNIT = {"mean_treated", "mean_controls", "mean_matched", "mean_att"}
# Of `att_hours`, as its sentence says.
HOURS = {"se", "low", "high"}
# Where the unit is all there is to say.
UNITS = {"usd", "seconds"}
# Calls, or dollars, as their sentences say.
OF_RISK = {"decay_7d", "decay_30d", "parent_rate", "long_run_rate", "expected_events_7d"} | {
    "p50_cost",
    "p90_cost",
    "saving_low",
    "saving_high",
}
# First and last days of the blocks of days that a model is made of.
OF_BLOCKS = {
    f"{verb}_{end}" for verb in ("trained", "calibrated", "tested") for end in ("from", "until")
} | {"training_until"}
DIMENSIONLESS_STEMS = (
    "share_of",
    "precision_top",
    "recall_top",
    "season_",
    "p_event",
    "rate",
    "hit_rate",
    "coverage",
    "dominant_share",
    "prior_mean",
    "smd",
    "variance_ratio",
)


def own_columns(table: Table) -> list[Column]:
    """Return the columns we named: not those a portal did."""
    feed = FEEDS.get(table.name)
    portals = feed.column_names if feed else []
    return [column for column in table.columns if column.name not in portals]


def test_tables_have_names_of_their_own():
    assert len({str(table) for table in TABLES}) == len(TABLES)
    assert {table.layer for table in TABLES} == {
        "bronze",
        "silver",
        "gold",
        "atlas",
        "causal",
        "risk",
        "meta",
    }
    assert set(RECORDS) == set(FEEDS)


@every_table
def test_every_column_has_a_sentence(table: Table):
    assert not [c.name for c in table.columns if not c.doc.endswith(".") or len(c.doc) < 5]
    assert not [c.name for c in table.columns if c.doc[0].islower()]
    assert table.one_row_per == table.one_row_per.strip(" .")


@every_table
def test_columns_are_named_once_and_have_a_known_type(table: Table):
    assert len(set(table.names)) == len(table.names)
    assert {column.type for column in table.columns} <= set(TYPES)


@every_table
def test_names_say_what_the_columns_are(table: Table):
    for column in own_columns(table):
        name = column.name
        is_flag = name.startswith(("is_", "has_"))
        assert (column.type == "BOOLEAN") == is_flag, name
        if column.type == "TIMESTAMP":
            assert name.endswith(("_at", "_at_utc")) or name in {"observed_until", "as_of"}, name
        if column.type == "DATE":
            assert name in {"day", "month"} | OF_BLOCKS or name.endswith(("_on", "_day")), name
        stem = name.rstrip("0123456789").rstrip("_")
        if stem in DIMENSIONLESS or name.startswith(DIMENSIONLESS_STEMS):
            continue
        if name.endswith(("_z", "_p")) or name in {"latitude", "longitude"}:
            continue
        if column.type == "DOUBLE":
            assert (
                name.endswith(
                    (
                        "_c",
                        "_mm",
                        "_cm",
                        "_m",
                        "_to_close",
                        "_apart",
                        "_14d",
                        "_hours",
                        "_usd",
                        "_usd_7d",
                    )
                )
                or name in UNITS | OWN_UNIT | HOURS | OF_RISK
            ), name


@every_table
def test_the_first_columns_are_the_slice_and_are_never_null(table: Table):
    period = [table.period] if table.period else []
    assert table.names[: 1 + len(period)] == [table.scope, *period]
    assert {table.scope, *period} <= set(table.required)


@every_table
def test_the_key_of_a_row_is_made_of_columns_that_are_never_null(table: Table):
    assert set(table.unique) <= set(table.required)
    assert table.scope in table.unique
    assert table.period is None or table.period in table.unique


@every_table
def test_provenance_is_marked_and_nothing_else_is(table: Table):
    marked = {column.name for column in own_columns(table) if column.is_provenance}
    assert marked == PROVENANCE & {column.name for column in own_columns(table)}
    assert table.content == [c.name for c in table.columns if c.name not in marked]


def test_the_same_name_has_the_same_sentence_everywhere():
    sentences = defaultdict(set)
    for table in TABLES:
        for column in own_columns(table):
            sentences[column.name].add(column.doc)
    # What these may be, or what they are of, is their table's own.
    assert {name for name, told in sentences.items() if len(told) > 1} == {
        "reason",
        "status",
        "error",
        "description",
        "cells",
        "low",
        "high",
    }


def test_source_columns_are_text_and_may_be_null():
    for name, feed in FEEDS.items():
        columns = {column.name: column for column in RECORDS[name].columns}
        assert {columns[column].type for column in feed.column_names} == {"VARCHAR"}
        assert all(columns[column].nullable for column in feed.column_names)


def test_an_asset_key_is_its_table_and_its_feed_named_once():
    assert REQUESTS.key("sf_311") == dg.AssetKey(["silver", "requests", "sf_311"])
    assert RECORDS["sf_311"].key("sf_311") == dg.AssetKey(["bronze", "sf_311"])
    assert WEATHER_DAYS.key("chicago") == dg.AssetKey(["silver", "weather_days", "chicago"])


def test_a_slice_is_picked_by_scope_and_days_or_by_scope_alone():
    part = Slice("pots", DAY, NEXT)
    assert THINGS.where == "feed = $feed and day >= $start and day < $end"
    assert THINGS.params(part) == {"feed": "pots", "start": DAY, "end": NEXT}
    timeless = Table("gold", "cells", "cell", THINGS.columns, ("record_id",), period=None)
    assert timeless.where == "feed = $feed"
    assert timeless.params(part) == timeless.params("pots") == {"feed": "pots"}
    assert WEATHER.where.startswith("city = $city and day")


@every_table
def test_the_catalog_shows_every_column_before_any_run(table: Table):
    schema = table.metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    shown = [(c.name, c.type, c.description, c.constraints.nullable) for c in schema.columns]
    assert shown == [(c.name, c.type, c.doc, c.nullable) for c in table.columns]
    assert table.metadata["dagster/table_name"].value == str(table)


def test_a_reason_names_every_case_in_its_sentence():
    (reason,) = [c for c in REJECTED_RECORDS.columns if c.name == "reason"]
    for name in ("no_record_id", "older_version", "opened_unreadable", "no_kind"):
        assert f"`{name}`" in reason.doc
    (hours,) = [c for c in REQUESTS.columns if c.name == "hours_to_close_reason"]
    for name in (
        "open",
        "closed_before_opened",
        "closed_after_observed",
        "closed_same_day_untimed",
        "closed_unreadable",
    ):
        assert f"`{name}`" in hours.doc
