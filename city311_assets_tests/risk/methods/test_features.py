"""Features of cells and days: against plain loops, and what may and may not move them."""

import datetime as dt
import math
from collections.abc import Sequence

import h3.api.basic_int as h3
import numpy as np
import polars as pl
import pytest

from city311_assets.partitions import Slice
from city311_assets.risk.methods.feature_names import FEATURES, GROUPS
from city311_assets.risk.methods.features import (
    WEATHER,
    Counts,
    Past,
    Surroundings,
    features,
    model_matrix,
    shrunken_counts,
    shrunken_rates,
    weather_known,
)
from city311_assets.silver.weather_days import weather_day_rows

FIRST = dt.date(2022, 11, 3)
DAYS = 1_300
CENTRE = h3.latlng_to_cell(41.88, -87.63, 9)
FAR_AWAY = h3.latlng_to_cell(41.70, -87.63, 9)
CELLS = np.unique(np.array([*h3.grid_disk(CENTRE, 2), FAR_AWAY], np.uint64))
NEAR = Surroundings.of(CELLS, 9)
FROM_CALLS = [
    name
    for name in FEATURES
    if name not in {"weekday", "season_sin", "season_cos"} and name not in WEATHER
]


def counted(dense: np.ndarray) -> Counts:
    day, cell = np.nonzero(dense)
    return Counts((dense.shape[0], dense.shape[1]), day, cell, dense[day, cell])


def drawn(seed: int = 3, days: int = DAYS) -> tuple[np.ndarray, np.ndarray]:
    """Calls, and requests of every kind, of which they are some."""
    rng = np.random.default_rng(seed)
    calls = rng.poisson(rng.gamma(0.4, 0.05, CELLS.size), (days, CELLS.size))
    return calls, calls + rng.poisson(0.3, calls.shape)


def past(
    calls: np.ndarray,
    all_calls: np.ndarray,
    is_held: np.ndarray | None = None,
    is_inside: np.ndarray | None = None,
    first: dt.date = FIRST,
) -> Past:
    return Past(
        NEAR,
        first,
        counted(calls),
        counted(all_calls),
        np.ones(len(calls), bool) if is_held is None else is_held,
        np.ones(CELLS.size, bool) if is_inside is None else is_inside,
    )


def known(known_past: Past, day: int) -> pl.DataFrame:
    (rows,) = features(known_past, day, day + 1)
    return rows


def ring(cell: int, steps: int) -> list[int]:
    near = set(h3.grid_disk(cell, steps)) - set(h3.grid_disk(cell, steps - 1))
    return [place for place, other in enumerate(CELLS.tolist()) if other in near]


def gamma_mean(counts: Sequence[float], exposures: Sequence[float]) -> list[float]:
    """Empirical Bayes of rates, group by group."""
    total, exposure = sum(counts), sum(exposures)
    mean = total / exposure
    squares = sum(e * (c / e - mean) ** 2 for c, e in zip(counts, exposures, strict=True))
    room = exposure - sum(e * e for e in exposures) / exposure
    variance = (squares - (len(counts) - 1) * mean) / room if room else 0.0
    if variance <= 0:
        return [mean] * len(counts)
    shape, scale = mean * mean / variance, mean / variance
    return [(c + shape) / (e + scale) for c, e in zip(counts, exposures, strict=True)]


def by_loops(
    calls: np.ndarray, all_calls: np.ndarray, is_held: np.ndarray, is_inside: np.ndarray, day: int
) -> list[dict[str, object]]:
    """The rows of one day, cell by cell and day by day."""

    def total(of: np.ndarray, cell: int, first: int, last: int) -> int | None:
        if first < 0 or not all(is_held[d] for d in range(first, last + 1)):
            return None
        return int(sum(of[d, cell] for d in range(first, last + 1)))

    def around(cells: list[int], length: int) -> int | None:
        each = [total(calls, cell, day - length + 1, day) for cell in cells]
        if total(calls, 0, day - length + 1, day) is None:
            return None
        return sum(one for one in each if one is not None)

    newest = range(max(day - 1_094, 0), day + 1)
    year = range(max(day - 364, 0), day + 1)
    rows = [c for c in range(CELLS.size) if is_inside[c] or any(all_calls[d, c] for d in year)]
    if not is_held[day]:
        return []
    held = sum(bool(is_held[d]) for d in newest)
    own = {c: float(sum(calls[d, c] for d in newest)) for c in rows}
    parent = {c: h3.cell_to_parent(int(CELLS[c]), 7) for c in rows}
    names = sorted({*parent.values()})
    members = {name: [c for c in rows if parent[c] == name] for name in names}
    shrunk = gamma_mean(
        [sum(own[c] for c in members[name]) for name in names],
        [float(len(members[name]) * held) for name in names],
    )
    rate = dict(zip(names, shrunk, strict=True))
    expected = {c: rate[parent[c]] * held for c in rows}
    excess = sum((own[c] - expected[c]) ** 2 - expected[c] for c in rows)
    squares = sum(e * e for e in expected.values())
    spread = max(excess / squares, 0.0) if squares else 0.0
    unbroken = 0
    while unbroken < 1_095 and day - unbroken >= 0 and is_held[day - unbroken]:
        unbroken += 1
    date = FIRST + dt.timedelta(days=day)
    middle = 2 * math.pi * (date + dt.timedelta(days=4)).timetuple().tm_yday / 365.25
    found = []
    for c in rows:
        last = [d for d in newest if calls[d, c]]
        theta = (1 + spread * own[c]) / (1 + spread * expected[c])
        row: dict[str, object] = {
            "day": date,
            "cell": int(CELLS[c]),
            "ring1_calls_30d": around(ring(int(CELLS[c]), 1), 30),
            "ring2_calls_30d": around(ring(int(CELLS[c]), 2), 30),
            "ring1_calls_365d": around(ring(int(CELLS[c]), 1), 365),
            "same_weeks_last_year": total(calls, c, day - 370, day - 350),
            "days_since_last": day - last[-1] if last else None,
            "parent_rate": rate[parent[c]],
            "long_run_rate": expected[c] * theta / held,
            "weekday": date.isoweekday(),
            "season_sin": math.sin(middle),
            "season_cos": math.cos(middle),
            "history_days": unbroken,
        }
        for length in (7, 14, 30, 90, 365):
            row[f"calls_{length}d"] = total(calls, c, day - length + 1, day)
        for length in (30, 365):
            row[f"all_calls_{length}d"] = total(all_calls, c, day - length + 1, day)
        for half in (7, 30):
            row[f"decay_{half}d"] = sum(
                calls[d, c] * 0.5 ** ((day - d) / half) for d in range(day + 1)
            )
        found.append(row)
    return found


@pytest.mark.parametrize("day", [0, 6, 364, 371, 750, 751, 760, 1_125, 1_299])
def test_every_column_is_what_plain_loops_find(day: int):
    calls, all_calls = drawn()
    is_held = np.ones(DAYS, bool)
    is_held[[380, 745, 751]] = False
    calls[~is_held], all_calls[~is_held] = 0, 0
    is_inside = np.ones(CELLS.size, bool)
    is_inside[[2, 7]] = False
    calls[:, [2, 7]], all_calls[:, [2, 7]] = 0, 0
    calls[[100, 700], 2] = all_calls[[100, 700], 2] = 1
    rows = known(past(calls, all_calls, is_held, is_inside), day)
    expected = by_loops(calls, all_calls, is_held, is_inside, day)
    assert rows.height == len(expected)
    for row, of_loops in zip(rows.to_dicts(), expected, strict=True):
        assert row.keys() == of_loops.keys()
        assert row == {
            name: pytest.approx(value, rel=1e-8, abs=1e-9) if isinstance(value, float) else value
            for name, value in of_loops.items()
        }


def test_a_day_is_the_same_to_the_last_bit_alone_and_in_a_range_and_in_any_chunks():
    calls, all_calls = drawn(days=1_300)
    together = pl.concat(features(past(calls, all_calls), 1_095, 1_300))
    for chunk in (1, 50):
        assert pl.concat(features(past(calls, all_calls), 1_095, 1_300, chunk)).equals(together)
    for day in (1_100, 1_206, 1_299):
        cut = slice(day - 1_095, day + 1)
        first = FIRST + dt.timedelta(days=day - 1_095)
        alone = known(past(calls[cut], all_calls[cut], first=first), 1_095)
        assert alone.equals(together.filter(pl.col("day") == FIRST + dt.timedelta(days=day)))


@pytest.fixture(scope="module")
def two_futures() -> tuple[pl.DataFrame, pl.DataFrame]:
    """One day, known in two towns that differ from the next day on."""
    calls, all_calls = drawn()
    day = 1_200
    quiet = past(calls, all_calls)
    rng = np.random.default_rng(5)
    calls[day + 1 :] += rng.poisson(3, calls[day + 1 :].shape)
    all_calls[day + 1 :] += calls[day + 1 :]
    is_held = np.arange(DAYS) <= day
    return known(quiet, day), known(past(calls, all_calls, is_held), day)


@pytest.mark.parametrize("name", FROM_CALLS)
def test_no_feature_of_a_day_moves_with_what_happens_later(name: str, two_futures):
    before, after = two_futures
    assert before[name].equals(after[name])


@pytest.mark.parametrize("name", FROM_CALLS)
def test_every_feature_of_a_day_moves_with_what_happened_before(name: str):
    calls, all_calls = drawn()
    day = 1_200
    before = known(past(calls, all_calls), day)
    for back in (0, 20, 300, 360):
        calls[day - back] += 1
        all_calls[day - back] += 2
    after = known(past(calls, all_calls), day)
    assert not before[name].equals(after[name])


@pytest.mark.parametrize(
    ("name", "reach"),
    [
        *((f"calls_{days}d", days) for days in (7, 14, 30, 90, 365)),
        ("ring1_calls_30d", 30),
        ("ring2_calls_30d", 30),
        ("ring1_calls_365d", 365),
        ("all_calls_30d", 30),
        ("all_calls_365d", 365),
        ("days_since_last", 1_095),
        ("long_run_rate", 1_095),
        ("parent_rate", 1_095),
    ],
)
def test_a_window_ends_where_it_says(name: str, reach: int):
    zeros = np.zeros((1_300, CELLS.size), np.int64)
    nothing = known(past(zeros, zeros), 1_200)[name]
    for back, is_seen in ((reach - 1, True), (reach, False)):
        calls = zeros.copy()
        calls[1_200 - back] = 1
        seen = known(past(calls, calls), 1_200)[name]
        assert seen.equals(nothing) != is_seen


def test_the_same_weeks_of_last_year_are_three_around_those_a_year_before_the_forecast():
    zeros = np.zeros((500, CELLS.size), np.int64)
    day = 450
    forecast = [FIRST + dt.timedelta(days=day + n) for n in range(1, 8)]
    for back in range(340, 380):
        calls = zeros.copy()
        calls[day - back] = 1
        then = FIRST + dt.timedelta(days=day - back)
        shifted = then + dt.timedelta(days=364)
        is_near = forecast[0] - dt.timedelta(days=7) <= shifted <= forecast[-1] + dt.timedelta(7)
        found = known(past(calls, calls), day)["same_weeks_last_year"]
        assert (found == int(is_near)).all()


def test_a_gap_makes_windows_over_it_null_and_no_others():
    calls, all_calls = drawn()
    is_held = np.ones(DAYS, bool)
    is_held[1_180] = False
    rows = known(past(calls, all_calls, is_held), 1_200)
    nulls = {name for name in rows.columns if rows[name].null_count()}
    assert nulls - {"days_since_last"} == {
        *("calls_30d", "calls_90d", "calls_365d", "all_calls_30d", "all_calls_365d"),
        *("ring1_calls_30d", "ring2_calls_30d", "ring1_calls_365d"),
    }
    assert rows["history_days"].unique().to_list() == [20]


def test_a_day_that_is_not_held_has_no_rows():
    calls, all_calls = drawn(days=400)
    is_held = np.arange(400) != 390
    assert known(past(calls, all_calls, is_held), 390).is_empty()


def test_a_cell_beyond_the_area_is_there_from_its_first_request_and_for_a_year():
    calls = np.zeros((1_000, CELLS.size), np.int64)
    calls[:, 1] = 1
    all_calls = calls.copy()
    all_calls[500, 4] = 1
    is_inside = np.arange(CELLS.size) != 4
    town = past(calls, all_calls, is_inside=is_inside)
    there = {day: CELLS[4] in known(town, day)["cell"].to_list() for day in (499, 500, 864, 865)}
    assert there == {499: False, 500: True, 864: True, 865: False}
    # That it will come is not known before: its ancestor has as many cells as without it.
    never = past(calls, calls, is_inside=is_inside)
    assert known(town, 499).equals(known(never, 499))


def test_a_town_without_cells_or_calls_has_no_rates():
    nothing = np.zeros((40, CELLS.size), np.int64)
    rows = known(past(nothing, nothing), 39)
    assert rows["parent_rate"].unique().to_list() == [0.0]
    assert rows["long_run_rate"].unique().to_list() == [0.0]
    assert rows["days_since_last"].null_count() == rows.height == CELLS.size
    nowhere = np.zeros((40, 0), np.int64)
    empty = Past(
        Surroundings.of(np.array([], np.uint64), 9),
        FIRST,
        counted(nowhere),
        counted(nowhere),
        np.ones(40, bool),
        np.ones(0, bool),
    )
    assert known(empty, 39).is_empty()
    assert known(empty, 39).schema == rows.schema


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 41), (5, 4)])
def test_days_that_are_not_of_the_past_are_refused(start: int, stop: int):
    nothing = np.zeros((40, CELLS.size), np.int64)
    with pytest.raises(ValueError, match="are wanted of a past of 40 days"):
        next(features(past(nothing, nothing), start, stop))


def test_shrunken_rates_are_nearer_the_planted_ones_than_the_plain():
    rng = np.random.default_rng(11)
    planted = rng.gamma(2.0, 0.02, (5, 800))
    exposure = rng.uniform(20, 200, (5, 800))
    counts = rng.poisson(planted * exposure)
    error = np.mean((shrunken_rates(counts, exposure) - planted) ** 2)
    assert error < 0.75 * np.mean((counts / exposure - planted) ** 2)
    # The best there is, with the distribution known.
    best = (counts + 2.0) / (exposure + 1 / 0.02)
    assert error < 1.02 * np.mean((best - planted) ** 2)


def test_shrunken_counts_are_nearer_the_planted_ones_than_the_plain():
    rng = np.random.default_rng(12)
    expected = rng.uniform(0.5, 6.0, (5, 800))
    planted = expected * rng.gamma(1.5, 1 / 1.5, expected.shape)
    counts = rng.poisson(planted)
    error = np.mean((shrunken_counts(counts, expected) - planted) ** 2)
    best = expected * (counts + 1.5) / (expected + 1.5)
    assert error < 0.8 * np.mean((counts - planted) ** 2)
    assert error < 1.02 * np.mean((best - planted) ** 2)


def test_rates_that_differ_by_chance_alone_are_drawn_to_their_mean():
    rng = np.random.default_rng(13)
    exposure = np.full((1, 3_000), 100.0)
    counts = rng.poisson(0.05 * exposure)
    rates = shrunken_rates(counts, exposure)
    assert rates.std() < 0.15 * (counts / exposure).std()
    assert np.average(rates[0], weights=exposure[0]) == pytest.approx(counts.sum() / 3e5)
    expected = np.full((1, 3_000), 5.0)
    assert shrunken_counts(counts, expected).std() < 0.15 * counts.std()


def test_a_rate_does_not_hang_on_the_unit_of_exposure_or_the_order_of_groups():
    rng = np.random.default_rng(14)
    exposure = rng.uniform(1, 5, (3, 40))
    counts = rng.poisson(exposure * rng.gamma(1, 1, exposure.shape))
    rates = shrunken_rates(counts, exposure)
    np.testing.assert_allclose(shrunken_rates(counts, 24 * exposure), rates / 24)
    order = rng.permutation(40)
    np.testing.assert_allclose(
        shrunken_rates(counts[:, order], exposure[:, order]), rates[:, order]
    )


def weather(days: int = 40, lag: int = 5) -> pl.DataFrame:
    """Archive weather of some days, each another one."""
    low = [float((n * 7) % 11 - 5) for n in range(days)]
    return pl.DataFrame(
        {
            "day": [FIRST + dt.timedelta(days=n) for n in range(days)],
            "source": "archive",
            "known_on": [FIRST + dt.timedelta(days=n + lag) for n in range(days)],
            "temperature_min_c": low,
            "temperature_max_c": [t + 4 for t in low],
            "temperature_drop_c": [float(n) for n in range(days)],
            "is_freeze": [t < 0 for t in low],
            "is_freeze_thaw": [-4 < t < 0 for t in low],
            "freezing_degree_days_14d": [float(n) + 0.5 for n in range(days)],
            "is_heavy_rain": [n % 3 == 0 for n in range(days)],
            "rain_3d_mm": [3.0 + n for n in range(days)],
            "rain_7d_mm": [7.0 + n for n in range(days)],
        }
    )


def on(days: Sequence[int]) -> pl.Series:
    return pl.Series("day", [FIRST + dt.timedelta(days=n) for n in days], pl.Date)


def test_weather_is_the_newest_that_was_known():
    archive = weather()
    rows = weather_known(archive, on([39, 25]))
    assert rows["day"].to_list() == on([39, 25]).to_list()
    assert rows["weather_day"].to_list() == on([34, 20]).to_list()
    thawed = archive["is_freeze_thaw"].cast(int)
    assert rows["freeze_thaw_days_7d"].to_list() == [thawed[28:35].sum(), thawed[14:21].sum()]
    for name in WEATHER.keys() - {"freeze_thaw_days_7d"}:
        assert rows[name].to_list() == [archive[name][34], archive[name][20]]


def test_what_the_weather_became_later_moves_nothing():
    before = weather_known(weather(), on(range(10, 30)))
    is_later = pl.col("day") > FIRST + dt.timedelta(days=24)
    later = weather().with_columns(
        pl.when(is_later).then(-20.0).otherwise("temperature_min_c").alias("temperature_min_c"),
        pl.when(is_later).then(True).otherwise("is_freeze_thaw").alias("is_freeze_thaw"),
    )
    assert weather_known(later, on(range(10, 30))).equals(before)


def test_weather_that_came_late_is_not_used_before_it_came():
    late = pl.col("day") == FIRST + dt.timedelta(days=20)
    came = FIRST + dt.timedelta(days=29)
    archive = weather().with_columns(
        pl.when(late).then(pl.lit(came)).otherwise("known_on").alias("known_on")
    )
    rows = weather_known(archive, on([25, 26, 29, 30]))
    assert rows["weather_day"].to_list() == on([19, 21, 24, 25]).to_list()
    # Sums over the day that was late are not known either.
    assert rows["temperature_drop_c"].is_null().to_list() == [False, True, False, False]
    assert rows["rain_3d_mm"].is_null().to_list() == [False, True, False, False]
    assert rows["temperature_min_c"].null_count() == 0


def test_forecasts_are_no_weather_and_nor_is_what_is_older_than_two_weeks():
    recent = pl.col("day") > FIRST + dt.timedelta(days=10)
    forecast = weather().with_columns(
        pl.when(recent).then(pl.lit("forecast")).otherwise("source").alias("source"),
        pl.when(recent).then("day").otherwise("known_on").alias("known_on"),
    )
    rows = weather_known(forecast, on([23, 24, 25]))
    assert rows["weather_day"].to_list() == [*on([10, 10]).to_list(), None]
    assert rows.row(2)[1:] == (None,) * (rows.width - 1)


def test_a_missing_day_of_weather_makes_sums_over_it_null():
    without = weather().filter(pl.col("day") != FIRST + dt.timedelta(days=20))
    rows = weather_known(without, on([26, 31, 33]))
    assert rows["freeze_thaw_days_7d"].is_null().to_list() == [True, True, False]


def test_no_weather_at_all_is_null_in_the_same_columns():
    rows = weather_known(weather().clear(), on([3]))
    assert rows.schema == weather_known(weather(), on([3])).schema
    assert rows["weather_day"].to_list() == [None]


def test_the_model_reads_the_features_in_order_and_nan_for_null():
    calls, all_calls = drawn(days=60)
    rows = known(past(calls, all_calls), 59)
    of_day = weather_known(weather(), on([59]))
    frame = rows.join(of_day, on="day", how="left")
    matrix = model_matrix(frame.select(sorted(frame.columns)))
    assert (matrix.shape, matrix.dtype) == ((CELLS.size, len(FEATURES)), np.float32)
    by_name = dict(zip(FEATURES, matrix.T, strict=True))
    np.testing.assert_array_equal(by_name["calls_30d"], rows["calls_30d"].to_numpy())
    assert np.isnan(by_name["calls_365d"]).all()
    assert np.isnan(by_name["is_freeze"]).all()
    thawed = frame.with_columns(is_freeze=pl.lit(True), is_heavy_rain=pl.lit(False))
    by_name = dict(zip(FEATURES, model_matrix(thawed).T, strict=True))
    assert (by_name["is_freeze"] == 1).all()
    assert (by_name["is_heavy_rain"] == 0).all()


def test_every_feature_has_its_group_and_is_made_here():
    calls, all_calls = drawn(days=10)
    made = {*known(past(calls, all_calls), 9).columns, *WEATHER}
    assert {name for group in GROUPS.values() for name in group} <= made


def test_a_sum_of_weather_that_holds_a_forecast_is_not_known():
    days = [dt.date(2026, 6, 1) + dt.timedelta(days=n) for n in range(40)]
    gap, seen = days[30], days[36]
    observed = pl.DataFrame(
        {
            "day": days,
            "temperature_min_c": 10.0,
            "temperature_max_c": 20.0,
            "precipitation_mm": 1.0,
            "snowfall_cm": 0.0,
        }
    )
    issued = observed.with_columns(issued_on=pl.col("day") - pl.duration(days=1))
    part = Slice("chicago", days[0], days[-1] + dt.timedelta(days=1), "city")
    whole = weather_day_rows(observed, issued.clear(), part, 5)
    lacking = weather_day_rows(
        observed.filter(pl.col("day") != gap), issued.filter(pl.col("day") == gap), part, 5
    )
    asked = pl.Series([seen], dtype=pl.Date)
    (known,), (unknown,) = (
        weather_known(weather, asked)
        .select("weather_day", "rain_3d_mm", "temperature_min_c")
        .rows()
        for weather in (whole, lacking)
    )
    assert known == (days[31], 3.0, 10.0)
    assert unknown == (days[31], None, 10.0)
