"""Records in time: over the days held, weekdays and hours as rates a day."""

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest

from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.serving.console.hotspots.selection import Selection
from city311_assets.serving.console.hotspots.series import calendar, day_series, weekday_hours
from city311_assets_tests.gold.town import every_day, silver
from city311_assets_tests.serving.console.hotspots.files import written

FEED = "chicago_crimes"
MARCH = Selection(FEED, dt.date(2026, 3, 1), dt.date(2026, 3, 31))
EVENING = 20


def of_march(town):
    return town.incidents.filter(pl.col("day") >= MARCH.first)


def test_days_and_categories_add_up_to_the_records(snapshot, town):
    found = day_series(snapshot, MARCH)
    expected = of_march(town).group_by("day", "category").len()
    ours = found.frame.filter(pl.col("records") > 0).select(
        pl.col("start").alias("day"), "category", pl.col("records").alias("len").cast(pl.UInt32)
    )
    assert ours.sort("day", "category").rows() == expected.sort("day", "category").rows()
    assert found.step == "day"
    assert found.frame["start"].n_unique() == 31
    assert found.frame["is_told"].all()


@pytest.mark.parametrize("first", [MARCH.first, dt.date(2025, 1, 1)])
def test_chosen_weekdays_hold_their_own_records_and_no_others(first, snapshot, town):
    chosen = replace(MARCH, first=first, weekdays=(2, 6))
    found = day_series(snapshot, chosen).frame
    own = town.incidents.filter(pl.col("day") >= first, pl.col("weekday").is_in([2, 6]))
    assert found["records"].sum() == own.height
    assert set(found["start"].dt.weekday()) == ({2, 6} if first == MARCH.first else {1})


def test_a_long_period_is_shown_by_week_and_holds_the_same_records(snapshot, town):
    both = replace(MARCH, first=dt.date(2025, 1, 1))
    found = day_series(snapshot, both)
    assert found.step == "week"
    assert found.frame["records"].sum() == town.incidents.height
    assert set(found.frame["start"].dt.weekday()) == {1}
    assert found.frame["days"].max() == 7
    # Most of the year between is not held, and is not shown as nothing.
    assert found.frame["start"].n_unique() == 14 + 14
    assert "275 of 455 days are not held." in found.notes
    per_day = found.frame.with_columns(pl.col("records") / pl.col("days") - pl.col("per_day"))
    assert per_day["records"].abs().max() == 0


def test_a_place_and_filters_hold_in_every_series(snapshot, town):
    chosen = replace(
        MARCH,
        parent=int(town.risen_cell, 16),
        resolution=9,
        categories=("noise",),
        weekdays=(6,),
    )
    total = day_series(snapshot, chosen).frame["records"].sum()
    assert total == calendar(snapshot, chosen)["selected"].sum() > 0
    assert set(day_series(snapshot, chosen).frame["category"]) == {"noise"}
    days = calendar(snapshot, chosen).drop_nulls("selected")
    assert set(days["weekday"]) == {6}


def test_weekdays_are_means_of_the_days_held_not_totals(snapshot, town):
    found = weekday_hours(snapshot, MARCH)
    counts = dict(of_march(town).group_by("weekday").len().rows())
    for weekday, records, days, per_day, is_chosen in found.weekdays.rows():
        # March 2026 begins on a Sunday: five Sundays, Mondays and Tuesdays, four of the others.
        assert days == (5 if weekday in {7, 1, 2} else 4)
        assert records == counts[weekday]
        assert per_day == records / days
        assert is_chosen
    assert found.days == 31


def test_the_planted_evening_stands_out_on_saturdays_alone(snapshot):
    grid = weekday_hours(snapshot, MARCH).grid
    busiest = grid.sort("per_day", descending=True).row(0, named=True)
    assert (busiest["weekday"], busiest["hour"]) == (6, EVENING)
    others = grid.filter(pl.col("hour") == EVENING, pl.col("weekday") != 6)["per_day"]
    assert busiest["per_day"] > 3 * max(others.to_list())


def test_hours_are_of_records_with_a_certain_time_and_the_others_are_told(snapshot, town):
    found = weekday_hours(snapshot, MARCH)
    certain = of_march(town).filter("is_time_certain")
    assert found.hours["records"].sum() == found.grid["records"].sum() == certain.height
    assert found.time_uncertain == of_march(town).height - certain.height > 0
    told = f"leave out {found.time_uncertain:,} of {of_march(town).height:,} records"
    assert told in found.notes[0]


def test_weekday_and_hour_filter_each_other_at_once(snapshot, town):
    chosen = replace(MARCH, weekdays=(6, 7), hours=(EVENING, 21))
    found = weekday_hours(snapshot, chosen)
    certain = of_march(town).filter("is_time_certain")
    by_weekday = certain.filter(pl.col("hour").is_in([EVENING, 21])).group_by("weekday").len()
    by_hour = certain.filter(pl.col("weekday").is_in([6, 7])).group_by("hour").len()
    assert dict(found.weekdays.select("weekday", "records").rows()) == dict(by_weekday.rows())
    ours = found.hours.filter(pl.col("records") > 0).select("hour", "records")
    assert dict(ours.rows()) == dict(by_hour.rows())
    assert found.hours["days"].unique().to_list() == [4 + 5]
    assert found.weekdays.filter("is_chosen")["weekday"].to_list() == [6, 7]
    assert found.hours.filter("is_chosen")["hour"].to_list() == [EVENING, 21]
    # The grid stays whole, so that another hour can be chosen from it.
    assert found.grid["records"].sum() == certain.height


def test_the_newest_days_that_the_portal_withholds_are_flagged_and_in_no_mean(tmp_path):
    days = every_day(dt.date(2026, 5, 4), dt.date(2026, 5, 31))
    rows = silver(days[:-3], 10, CHICAGO_CRIMES, seed=2, observed_until=dt.datetime(2026, 6, 1, 12))
    reader = written(tmp_path, rows, days, CHICAGO_CRIMES)
    with reader.current() as opened:
        asked = Selection(FEED, days[0], days[-1], resolution=7)
        told = calendar(opened, asked).filter("is_told")["day"].to_list()
        assert told == days[:-8]
        series = day_series(opened, asked)
        assert set(series.frame.filter(~pl.col("is_told"))["start"]) == set(days[-8:])
        assert "the portal withholds the newest 8 days" in series.notes[-1]
        weekdays = weekday_hours(opened, asked).weekdays
        assert weekdays["per_day"].unique().to_list() == [10.0]
        assert weekdays["days"].sum() == 20
    reader.close()


def test_a_day_that_is_not_held_is_unknown_and_a_held_one_without_records_is_none(tmp_path):
    days = every_day(dt.date(2026, 5, 4), dt.date(2026, 5, 10))
    rows = silver([days[0], days[2]], 10, CHICAGO_CRIMES, seed=2)
    reader = written(tmp_path, rows, [days[0], days[1], days[2], days[6]], CHICAGO_CRIMES)
    with reader.current() as opened:
        found = calendar(opened, Selection(FEED, days[0], days[-1], resolution=7))
        assert found["selected"].to_list() == [10, 0, 10, None, None, None, 0]
        by_weekday = weekday_hours(opened, Selection(FEED, days[0], days[-1])).weekdays
        assert by_weekday["per_day"].to_list() == [10.0, 0.0, 10.0, None, None, None, 0.0]
    reader.close()


@pytest.mark.parametrize("made", [day_series, weekday_hours])
def test_an_empty_choice_has_no_records_at_any_time(snapshot, made):
    found = made(snapshot, replace(MARCH, is_empty_filter=True))
    frame = found.frame if made is day_series else found.grid
    assert frame["records"].sum() == 0
