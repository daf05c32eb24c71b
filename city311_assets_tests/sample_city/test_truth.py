"""The planted truth is in the records, and simple counts and means find it."""

import datetime as dt
import json
from typing import Any

import h3
import numpy as np
import polars as pl
import pytest

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.sample_city.cities.registry import SIMULATED, simulated_feed
from city311_assets.sample_city.geography import METERS_PER_DEGREE, shortening, tiling
from city311_assets.sample_city.leaks import RESOLUTION, leak_cells
from city311_assets.sample_city.records import day_outcomes, day_records
from city311_assets.sample_city.simulation import HotSpot
from city311_assets.sample_city.truth import leak_kinds, truth
from city311_assets_tests.sample_city.conftest import SEED, days, many

SF, CHICAGO, NEW_YORK = (FEEDS[name] for name in ("sf_311", "chicago_311", "nyc_311"))

EXTRA_HOURS = {name: city.extra_hours for name, city in SIMULATED.items()}
HOT_SPOTS = [(feed, spot) for feed in FEEDS.values() for spot in simulated_feed(feed).hot_spots]


def published() -> dict[str, Any]:
    """The truth as a client reads it."""
    return json.loads(json.dumps(truth(SEED)))


def test_the_truth_is_json_and_the_same_for_a_seed():
    assert json.loads(json.dumps(truth(1))) == truth(1)
    assert truth(1) != truth(2)


@pytest.mark.parametrize("city", EXTRA_HOURS)
def test_most_neighbourhoods_are_null_and_the_others_are_named_as_they_are(city):
    names = set(tiling(city, "neighborhood").names)
    assert set(EXTRA_HOURS[city]) < names
    assert len(published()["null_neighborhoods"][city]) == len(names) - len(EXTRA_HOURS[city])


@pytest.mark.parametrize("feed", [SF, CHICAGO, NEW_YORK], ids=lambda feed: feed.name)
def test_means_recover_the_extra_hours_of_every_neighbourhood(feed):
    outcomes = pl.concat(
        day_outcomes(feed, day, seed=SEED, records_per_day=12_000)
        for day in days(dt.date(2026, 1, 5), 14)
    ).filter(pl.col("hours_to_close") > 0)
    by_area = (
        outcomes.with_columns(
            usual=pl.col("hours_elsewhere").mean().over("kind", "topic"),
        )
        .with_columns(late=pl.col("hours_to_close") - pl.col("usual"))
        .group_by("neighborhood")
        .agg(pl.col("late").mean(), error=pl.col("late").std() / pl.len().sqrt())
    )
    planted = EXTRA_HOURS[feed.city.name]
    for name, late, error in by_area.iter_rows():
        assert late == pytest.approx(planted.get(name, 0.0), abs=4.5 * error)


def test_what_a_record_says_agrees_with_its_outcome():
    day = dt.date(2026, 1, 7)
    records = day_records(SF, day, seed=SEED, records_per_day=1_000)
    outcomes = day_outcomes(SF, day, seed=SEED, records_per_day=1_000)
    times = pl.col("requested_datetime", "closed_date").str.to_datetime()
    both = records.select(
        "neighborhoods_sffind_boundaries",
        times,
        record_id="service_request_id",
    ).join(outcomes, on="record_id", how="inner")
    elapsed = (pl.col("closed_date") - pl.col("requested_datetime")).dt.total_seconds() / 3600
    said = both.filter(elapsed > 0, pl.col("neighborhoods_sffind_boundaries").is_not_null())
    assert said.height > 900
    wrong = said.filter((elapsed - pl.col("hours_to_close")).abs() > 1.01)
    assert wrong.height / said.height < 0.005
    assert (said["neighborhoods_sffind_boundaries"] == said["neighborhood"]).all()


def test_outcomes_elsewhere_differ_by_exactly_the_planted_hours():
    outcomes = day_outcomes(SF, dt.date(2026, 1, 7), seed=SEED, records_per_day=500)
    extra = outcomes["hours_to_close"] - outcomes["hours_elsewhere"]
    planted = [EXTRA_HOURS["san_francisco"].get(name, 0.0) for name in outcomes["neighborhood"]]
    closed = outcomes["hours_to_close"].is_not_null()
    assert extra.filter(closed).to_list() == pytest.approx(
        pl.Series(planted).filter(closed).to_list()
    )


def times_the_rate_around(frame: pl.DataFrame, feed: Feed, spot: HotSpot) -> float:
    """Records per area within a spot over those of the rest of its neighbourhood."""
    points = frame.filter(pl.col(feed.fields["kind"]).is_in(spot.kinds)).select(
        pl.col(feed.fields["latitude"], feed.fields["longitude"]).cast(pl.Float64)
    )
    latitude, longitude = points.drop_nulls().to_numpy().T
    along = (latitude - spot.latitude) * METERS_PER_DEGREE
    across = (longitude - spot.longitude) * METERS_PER_DEGREE * shortening(feed.city.name)
    inside = np.hypot(along, across) < spot.radius_m
    tiles = tiling(feed.city.name, "neighborhood")
    (home,) = tiles.nearest(np.array([spot.longitude]), np.array([spot.latitude]))
    around = (tiles.nearest(longitude, latitude) == home) & ~inside
    disc = np.pi * (spot.radius_m / 1000) ** 2
    return (inside.sum() / disc) / (around.sum() / (tiles.square_km[home] - disc))


@pytest.mark.parametrize(("feed", "spot"), HOT_SPOTS, ids=lambda one: one.name)
def test_counts_recover_a_hot_spot_while_it_is_one(feed, spot):
    on = {"new": dt.date(2026, 9, 7), "fading": dt.date(2025, 8, 4)}.get(
        spot.trend, dt.date(2026, 2, 2)
    )
    frame = many(feed, on, 7, records_per_day=20_000)
    assert spot.multiplier_on(on) == spot.multiplier
    assert times_the_rate_around(frame, feed, spot) == pytest.approx(spot.multiplier, rel=0.5)


@pytest.mark.parametrize("trend", ["new", "fading"])
def test_a_new_spot_begins_and_a_fading_one_ends(trend):
    for spot in (spot for _, spot in HOT_SPOTS if spot.trend == trend):
        early, late = dt.date(2025, 1, 1), dt.date(2026, 11, 1)
        calm, hot = (early, late) if trend == "new" else (late, early)
        assert spot.multiplier_on(calm) == 1.0
        assert spot.multiplier_on(hot) == spot.multiplier
    middle = dt.date(2026, 3, 1)
    fading = [spot for _, spot in HOT_SPOTS if spot.trend == "fading"]
    assert all(1 < spot.multiplier_on(middle) < spot.multiplier for spot in fading)


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_every_feed_has_a_persistent_a_new_and_a_fading_hot_spot(feed):
    assert {spot.trend for spot in simulated_feed(feed).hot_spots} == {
        "persistent",
        "new",
        "fading",
    }


def test_leak_calls_follow_the_intensity_of_their_cell():
    cells = leak_cells(SEED)
    first, count = dt.date(2026, 4, 6), 14
    frame = many(CHICAGO, first, count, records_per_day=12_000)
    calls = frame.filter(
        pl.col("sr_type").is_in(leak_kinds()),
        pl.col("latitude").is_not_null(),
        pl.col("parent_sr_number").is_null(),
    ).select(pl.col("latitude", "longitude").cast(pl.Float64))
    counts = dict.fromkeys(cells.cells, 0)
    for latitude, longitude in calls.iter_rows():
        counts[h3.latlng_to_cell(latitude, longitude, RESOLUTION)] += 1
    expected = np.sum([cells.rates(day) for day in days(first, count)], axis=0)
    assert np.corrcoef(list(counts.values()), expected)[0, 1] > 0.9
    top = np.argsort(expected)[-600:]
    assert sum(np.array(list(counts.values()))[top]) / calls.height == pytest.approx(
        expected[top].sum() / expected.sum(), abs=0.03
    )


def test_weather_moves_the_leaks():
    cells = leak_cells(SEED)
    rates = {day: cells.rates(day).mean() for day in days(dt.date(2026, 1, 1), 365)}
    calm, stressed = min(rates, key=lambda day: rates[day]), max(rates, key=lambda day: rates[day])
    assert rates[calm] == pytest.approx(1.0)
    assert rates[stressed] > 2.5

    def calls(day: dt.date) -> int:
        frame = day_records(CHICAGO, day, seed=SEED, records_per_day=4_000)
        return frame.filter(pl.col("sr_type").is_in(leak_kinds())).height

    assert calls(stressed) > 2 * calls(calm)


def test_every_visual_topic_has_photos_and_a_sentence():
    outcomes = pl.concat(
        day_outcomes(SF, day, seed=SEED, records_per_day=4_000)
        for day in days(dt.date(2026, 1, 5), 3)
    )
    topics = published()["topics"]["sf_311"]
    assert set(outcomes["topic"].drop_nulls()) == set(topics)
    assert len(topics) >= 15
    assert all(topics.values())
