"""What became of the records: each of them in one state, rates and medians as gold's."""

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest

from city311_assets.feeds.sf_311 import SF_311
from city311_assets.gold.methods.counts import with_outcome
from city311_assets.gold.methods.rates import wilson
from city311_assets.serving.console.hotspots.columns import STATES, columns_of
from city311_assets.serving.console.hotspots.outcomes import (
    outcome_mix,
    streets,
    time_to_close,
)
from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets_tests.gold.town import silver
from city311_assets_tests.serving.console.hotspots.files import written
from city311_assets_tests.serving.towns import FORMULA

FEED = "chicago_crimes"
MARCH = Selection(FEED, dt.date(2026, 3, 1), dt.date(2026, 3, 31))
JANUARY = Selection("sf_311", dt.date(2026, 1, 1), dt.date(2026, 1, 31))
DAY = dt.date(2026, 5, 1)
SEEN = dt.datetime(2026, 5, 20)

# A request's hours, reason, whether it asks for no work, when it was last seen, and its state.
REQUESTS = [
    (5.0, None, False, SEEN, "closed within 7 days"),
    (168.0, None, False, SEEN, "closed within 7 days"),
    (168.1, None, False, SEEN, "closed later"),
    (None, "closed_same_day_untimed", False, SEEN, "closed within 7 days"),
    (None, "open", False, SEEN, "still open"),
    (None, "closed_after_observed", False, SEEN, "still open"),
    (None, "closed_unreadable", False, SEEN, "closing cannot be read"),
    (None, "closed_before_opened", False, SEEN, "closing cannot be read"),
    (5.0, None, False, dt.datetime(2026, 5, 3), "too young to tell"),
    (None, "open", False, dt.datetime(2026, 5, 3), "too young to tell"),
    (5.0, None, True, SEEN, "asks for no work"),
    (None, "open", True, dt.datetime(2026, 5, 3), "asks for no work"),
]


def test_every_request_is_in_the_state_it_is_in_and_gold_agrees(tmp_path):
    hours, reasons, administrative, seen, states = (
        pl.Series(list(one)) for one in zip(*REQUESTS, strict=True)
    )
    rows = silver([DAY], len(REQUESTS), SF_311, seed=1).with_columns(
        hours_to_close=hours,
        hours_to_close_reason=reasons,
        is_administrative=administrative,
        observed_until=seen,
        hour=pl.int_range(len(REQUESTS), dtype=pl.UInt8),
        opened_at=dt.datetime(2026, 5, 1, 9),
        opened_at_utc=dt.datetime(2026, 5, 1, 9),
    )
    reader = written(tmp_path, rows, [DAY], SF_311)
    with reader.current() as opened:
        chosen = Selection("sf_311", DAY, DAY)
        found = outcome_mix(opened, chosen)
        columns = columns_of(opened, "sf_311")
    reader.close()
    expected = states.value_counts(name="n")
    ours = found.frame.filter(pl.col("records") > 0).select("outcome", "records")
    assert dict(ours.rows()) == dict(expected.rows())
    assert found.frame["outcome"].to_list() == list(STATES["closed_within_7_days"])
    gold = with_outcome(rows, "closed_within_7_days")
    assert (found.eligible, found.successes) == (
        gold["is_eligible"].sum(),
        gold["is_success"].sum(),
    )
    assert found.rate == found.successes / found.eligible == 0.5
    assert (found.low, found.high) == tuple(map(float, wilson(3, 6)))
    assert found.note == "The rate leaves out 6 of 12 records whose outcome cannot be told."
    in_order = columns.state[columns.hour.argsort()].tolist()
    assert [columns.states[one] for one in in_order] == states.to_list()


def test_arrests_and_what_was_not_said_add_up(snapshot, town):
    of = town.incidents.filter(pl.col("day") >= MARCH.first)
    found = outcome_mix(snapshot, MARCH)
    counted = dict(found.frame.select("outcome", "records").rows())
    assert counted == {
        "arrest": of["is_arrest"].sum(),
        "no arrest": (~of["is_arrest"]).sum(),
        "not said": of["is_arrest"].null_count(),
    }
    assert found.frame["share"].sum() == pytest.approx(1)
    assert found.rate == pytest.approx(of["is_arrest"].mean())


@pytest.mark.parametrize("resolution", [6, 7, 8])
def test_the_median_time_to_close_of_a_cell_is_that_of_gold(requests_file, resolution):
    gold = requests_file.frame(
        "select cell, category, timed, median_hours_to_close as median from gold.cell_months "
        "where resolution = $resolution and timed > 0",
        {"resolution": resolution},
    )
    assert gold["median"].drop_nulls().len() > 0
    for cell, category, timed, median in gold.rows():
        chosen = replace(
            JANUARY,
            parent=cell,
            resolution=resolution + 1,
            categories=() if category == "all" else (category,),
        )
        found = time_to_close(requests_file, chosen)
        assert found is not None
        assert (found.cases, found.median_hours) == (timed, median)


def test_incidents_have_no_time_to_close_and_no_requests_have_no_median(snapshot, requests_file):
    assert time_to_close(snapshot, MARCH) is None
    none = time_to_close(requests_file, replace(JANUARY, is_empty_filter=True))
    assert none is not None
    assert (none.cases, none.median_hours) == (0, None)


def test_streets_are_ranked_by_what_is_selected_and_the_rest_is_told(snapshot, town):
    chosen = replace(MARCH, categories=("noise",), parent=int(town.risen_cell, 16), resolution=9)
    found = streets(snapshot, chosen, most=3)
    inside = town.incidents.filter(
        pl.col("day") >= MARCH.first, pl.col("cell").is_in(_children(snapshot, chosen).implode())
    )
    expected = (
        inside.group_by("street")
        .agg(
            (pl.col("category") == "noise").sum().alias("selected"),
            pl.len().alias("records"),
            ((pl.col("category") == "noise") & pl.col("is_arrest").is_not_null()).sum().alias("e"),
            ((pl.col("category") == "noise") & pl.col("is_arrest")).sum().alias("k"),
        )
        .sort("selected", "street", descending=[True, False])
    )
    columns = ["street", "selected", "records", "eligible", "successes"]
    assert found.frame.select(columns).rows() == expected.head(3).rows()
    total = expected["selected"].sum()
    assert found.frame["share"].sum() == pytest.approx(found.frame["selected"].sum() / total)
    rest = total - found.frame["selected"].sum()
    assert found.note.startswith(f"{expected.height - 3} more streets with {rest} records")
    assert FORMULA in streets(snapshot, MARCH).frame["street"].to_list()


def test_a_record_without_a_street_is_counted_and_on_none(tmp_path):
    rows = silver([DAY], 20, SF_311, seed=1)
    without = [None if place < 4 else name for place, name in enumerate(rows["street"])]
    reader = written(tmp_path, rows.with_columns(street=pl.Series(without)), [DAY], SF_311)
    with reader.current() as opened:
        found = streets(opened, Selection("sf_311", DAY, DAY))
    reader.close()
    assert (found.unnamed, found.frame["selected"].sum()) == (4, 16)
    assert found.note == "4 records name no street."


def _children(snapshot, selection):
    columns = columns_of(snapshot, selection.feed)
    low, high = columns.below(selection.parent, 10)
    return pl.Series(columns.areas[10][low:high])
