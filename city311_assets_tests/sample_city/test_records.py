"""Records: the same every time, with the rhythm and the faults of the real feeds."""

import datetime as dt
import json
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from city311_assets.feeds.feed import SYSTEM_COLUMNS
from city311_assets.feeds.registry import FEEDS
from city311_assets.feeds.taxonomy import UNMAPPED, taxonomy
from city311_assets.sample_city.cities.registry import simulated_feed
from city311_assets.sample_city.records import as_of, day_events, day_records
from city311_assets.sample_city.texts import day_of_case
from city311_assets_tests.sample_city.conftest import SEED, days, many

SF, CHICAGO, CRIMES, NEW_YORK = (
    FEEDS[name] for name in ("sf_311", "chicago_311", "chicago_crimes", "nyc_311")
)
DAY = dt.date(2026, 1, 2)
# New York's homeless services close requests without saying when.
NOT_CLOSED = {"nyc_311": {"Open", "In Progress", "Assigned", "Pending", "Closed"}}
ALL = pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)


def one_day(feed, day=DAY, *, seed=SEED, records_per_day=300):
    return day_records(feed, day, seed=seed, records_per_day=records_per_day)


@ALL
def test_a_day_is_the_same_alone_twice_and_in_any_order(feed):
    forward = [one_day(feed, day) for day in days(DAY, 4)]
    backward = [one_day(feed, day) for day in reversed(days(DAY, 4))]
    for first, second in zip(forward, reversed(backward), strict=True):
        assert first.write_json() == second.write_json()


@ALL
def test_another_seed_or_size_or_day_is_another_day(feed):
    ids = [
        one_day(feed)[":id"],
        one_day(feed, seed=1)[":id"],
        one_day(feed, records_per_day=301)[":id"],
        one_day(feed, DAY + dt.timedelta(1))[":id"],
    ]
    assert len({tuple(column.head(3)) for column in ids}) >= 3


@ALL
def test_every_declared_column_is_there_and_is_text(feed):
    frame = one_day(feed)
    assert set(frame.columns) >= {*SYSTEM_COLUMNS, *feed.column_names}
    assert set(frame.dtypes) == {pl.String}


@ALL
def test_events_are_the_records_without_their_other_columns(feed):
    whole = one_day(feed, records_per_day=3_000)
    events = day_events(feed, DAY, seed=SEED, records_per_day=3_000)
    assert_frame_equal(whole.select(events.columns), events)


@ALL
def test_row_ids_are_unique(feed, fortnights):
    frame = fortnights[feed.name]
    assert frame[":id"].n_unique() == frame.height
    assert frame[":id"].str.contains(r"^row(-[2-9a-z]{4}){3}$").all()


@ALL
def test_a_number_says_on_which_day_it_was_given(feed):
    for day in days(dt.date(2026, 12, 30), 4):
        numbers = one_day(feed, day, records_per_day=50)[feed.record_id]
        assert {day_of_case(simulated_feed(feed), number, 50) for number in numbers} == {day}


def test_few_records_have_an_older_version_under_another_id(fortnights):
    frame = fortnights["sf_311"]
    twice = frame.filter(pl.col("service_request_id").is_duplicated())
    assert 0 < twice.height / frame.height < 0.005
    first = twice.sort("service_request_id", ":updated_at").unique(
        "service_request_id", keep="first", maintain_order=True
    )
    assert first["status_description"].unique().to_list() == ["Open"]
    assert first["closed_date"].is_null().all()


@ALL
def test_days_have_about_as_many_records_as_asked_for(feed):
    counts = [
        day_events(feed, day, seed=SEED, records_per_day=200).height
        for day in days(dt.date(2025, 1, 1), 365)
    ]
    assert sum(counts) / 365 == pytest.approx(200, rel=0.12)


def test_weekends_are_quieter_and_nights_too(fortnights):
    opened = fortnights["chicago_311"]["created_date"].str.to_datetime()
    weekend = (opened.dt.weekday() >= 6).mean()
    night = (opened.dt.hour() < 6).mean()
    assert isinstance(weekend, float)
    assert isinstance(night, float)
    assert weekend < 2 / 7 * 0.85
    assert night < 0.08


@ALL
def test_every_kind_but_the_planted_one_is_in_the_taxonomy(feed, fortnights):
    known = taxonomy(feed.taxonomy)
    kinds = fortnights[feed.name][feed.fields["kind"]]
    unknown = kinds.filter(pl.Series([known.category(kind) == UNMAPPED for kind in kinds]))
    assert unknown.unique().to_list() == [simulated_feed(feed).unknown_kind]
    assert len(unknown) / len(kinds) < 0.002


def share(frame: pl.DataFrame, condition: pl.Expr) -> float:
    return frame.select(condition.fill_null(value=False).mean()).item()


NONE = "Not associated with a specific address"
FAULTS = {
    "cases without a place": ("sf_311", pl.col("lat") == "0.0", 0.02, 0.006),
    "cases without an address": ("sf_311", pl.col("address") == NONE, 0.02, 0.006),
    "cases closed before opened": (
        "sf_311",
        pl.col("closed_date") < pl.col("requested_datetime"),
        0.005,
        0.002,
    ),
    "districts of -1": ("sf_311", pl.col("supervisor_district") == "-1", 0.003, 0.0015),
    "photo links": ("sf_311", pl.col("media_url").is_not_null(), 0.25, 0.03),
    "cases open for good": ("sf_311", pl.col("closed_date").is_null(), 0.015, 0.004),
    "blank notes": ("sf_311", pl.col("status_notes").is_null(), 0.30, 0.03),
    "notes beyond ASCII": (
        "sf_311",
        pl.col("status_notes").str.contains(r"[^\x00-\x7f]"),
        0.0015,
        0.001,
    ),
    "notes of several lines": ("sf_311", pl.col("status_notes").str.contains("\n"), 0.05, 0.02),
    "information calls": (
        "chicago_311",
        pl.col("sr_type") == "311 INFORMATION ONLY CALL",
        0.33,
        0.06,
    ),
    "requests closed at once": (
        "chicago_311",
        pl.col("closed_date") == pl.col("created_date"),
        0.37,
        0.06,
    ),
    "duplicates": ("chicago_311", pl.col("duplicate") == "true", 0.05, 0.012),
    "unknown duplicates": ("chicago_311", pl.col("duplicate").is_null(), 0.003, 0.0015),
    "ZIP 0": ("chicago_311", pl.col("zip_code") == "0", 0.01, 0.003),
    "crimes without a point": ("chicago_crimes", pl.col("latitude").is_null(), 0.005, 0.003),
    "crimes at midnight": (
        "chicago_crimes",
        pl.col("date").str.ends_with("00:00:00.000"),
        0.045,
        0.012,
    ),
    "crimes at noon": ("chicago_crimes", pl.col("date").str.ends_with("12:00:00.000"), 0.025, 0.01),
    "unknown arrests": ("chicago_crimes", pl.col("arrest").is_null(), 0.003, 0.0015),
    "requests without a place": ("nyc_311", pl.col("latitude").is_null(), 0.012, 0.004),
    "boroughs and boards unspecified": (
        "nyc_311",
        (pl.col("borough") == "Unspecified") & (pl.col("community_board") == "0 Unspecified"),
        0.012,
        0.004,
    ),
    "crossings without an address": (
        "nyc_311",
        pl.col("incident_address").is_null() & pl.col("latitude").is_not_null(),
        0.16,
        0.02,
    ),
    "requests closed before opened": (
        "nyc_311",
        pl.col("closed_date") < pl.col("created_date"),
        0.0025,
        0.001,
    ),
    "requests closed on an unknown day": (
        "nyc_311",
        (pl.col("status") == "Closed") & pl.col("closed_date").is_null(),
        0.002,
        0.001,
    ),
}


@pytest.mark.parametrize(("feed", "fault", "rate", "tolerance"), FAULTS.values(), ids=FAULTS)
def test_faults_are_as_frequent_as_in_the_real_feeds(feed, fault, rate, tolerance, fortnights):
    assert share(fortnights[feed], fault) == pytest.approx(rate, abs=tolerance)


def test_a_case_without_a_place_says_neither_district_nor_neighbourhood(fortnights):
    nowhere = fortnights["sf_311"].filter(pl.col("lat") == "0.0")
    columns = ["supervisor_district", "neighborhoods_sffind_boundaries", "police_district"]
    assert nowhere.select(pl.all_horizontal(pl.col(columns).is_null()).all()).item()


def test_cases_closed_too_early_close_at_midnight(fortnights):
    early = fortnights["sf_311"].filter(pl.col("closed_date") < pl.col("requested_datetime"))
    assert early["closed_date"].str.ends_with("T00:00:00.000").all()


def test_information_calls_are_at_the_call_centre(fortnights):
    calls = fortnights["chicago_311"].filter(pl.col("sr_type") == "311 INFORMATION ONLY CALL")
    assert calls["street_address"].unique().to_list() == ["2111 W LEXINGTON ST"]


def test_duplicates_name_a_request_of_their_kind_opened_before(fortnights):
    frame = fortnights["chicago_311"]
    parents = frame.select(
        parent_sr_number="sr_number", code="sr_short_code", before="created_date"
    )
    pairs = frame.filter(pl.col("parent_sr_number").is_not_null()).join(
        parents.unique("parent_sr_number"), on="parent_sr_number", how="left"
    )
    assert (pairs["code"] == pairs["sr_short_code"]).all()
    assert (pairs["before"] <= pairs["created_date"]).all()


def test_one_kind_is_spelled_with_two_dashes():
    kinds = many(CHICAGO, dt.date(2026, 1, 1), 10)["sr_type"].unique().to_list()
    assert {"Snow \u2013 Uncleared Sidewalk Complaint", "Snow - Uncleared Sidewalk Complaint"} <= {
        *kinds
    }


def test_new_yorks_housing_kinds_come_in_capitals_and_without(fortnights):
    kinds = set(fortnights["nyc_311"]["complaint_type"])
    assert {"HEAT/HOT WATER", "Heat/Hot Water", "PLUMBING", "Plumbing"} <= kinds


def test_a_record_of_new_york_names_areas_of_one_borough(fortnights):
    frame = fortnights["nyc_311"].filter(pl.col("borough") != "Unspecified")
    assert set(frame["borough"]) == {"MANHATTAN", "BRONX", "BROOKLYN", "QUEENS", "STATEN ISLAND"}
    assert frame["community_board"].str.contains(r"^\d\d [A-Z ]+$").all()
    same = frame["community_board"].str.slice(3) == frame["borough"]
    # Areas are told apart by the nearest centre: at a border the district's may lie elsewhere.
    assert same.mean() > 0.97
    first = frame["bbl"].str.head(1).drop_nulls()
    assert set(first) == set("12345")


def test_districts_of_crimes_keep_their_zeros(fortnights):
    crimes = fortnights["chicago_crimes"]
    assert crimes["district"].str.len_chars().unique().to_list() == [3]
    assert crimes["beat"].str.len_chars().unique().to_list() == [4]


def test_photo_links_point_to_the_hosts_of_the_audit(fortnights):
    links = fortnights["sf_311"]["media_url"].drop_nulls()
    urls = [json.loads(link)["url"] for link in links]
    shares = {
        host: sum(host in url for url in urls) / len(urls)
        for host in ("mobile311.sfgov.org", "cloudinary.com", "verintcloudservices.com")
    }
    expected = {
        "mobile311.sfgov.org": 0.695,
        "cloudinary.com": 0.241,
        "verintcloudservices.com": 0.062,
    }
    assert shares == pytest.approx(expected, abs=0.02)


@ALL
def test_points_lie_in_the_box_of_the_city(feed, fortnights):
    box = feed.city.box
    names = feed.fields["latitude"], feed.fields["longitude"]
    points = fortnights[feed.name].select(pl.col(names).cast(pl.Float64)).drop_nulls()
    placed = points.filter(pl.col(names[0]) != 0)
    assert placed.select(
        pl.col(names[0]).is_between(box.south, box.north).all()
        & pl.col(names[1]).is_between(box.west, box.east).all()
    ).item()


@pytest.mark.parametrize(("feed", "column"), [(SF, "point"), (CHICAGO, "location")])
def test_nested_values_are_json(feed, column, fortnights):
    point = json.loads(fortnights[feed.name][column].drop_nulls()[0])
    assert set(point) == {"latitude", "longitude", "human_address"}
    assert set(json.loads(point["human_address"])) == {"address", "city", "state", "zip"}


def test_new_yorks_points_are_geojson(fortnights):
    row = fortnights["nyc_311"].filter(pl.col("location").is_not_null()).row(0, named=True)
    point = json.loads(row["location"])
    assert point["type"] == "Point"
    assert [str(degrees) for degrees in point["coordinates"]] == [row["longitude"], row["latitude"]]


@ALL
def test_no_record_is_opened_in_the_hour_that_spring_skips(feed):
    day = one_day(feed, dt.date(2026, 3, 8), records_per_day=20_000)
    hours = day[feed.opened].str.slice(11, 2)
    assert "02" not in set(hours)
    assert {"01", "03"} <= set(hours)
    assert day[feed.opened].str.starts_with("2026-03-08").all()


@ALL
def test_the_hour_that_autumn_repeats_has_twice_the_records(feed):
    def opened_at_one(day: dt.date) -> int:
        frame = day_events(feed, day, seed=SEED, records_per_day=40_000)
        return frame.filter(pl.col(feed.opened).str.slice(11, 2) == "01").height

    usual = [opened_at_one(day) for day in (dt.date(2026, 10, 18), dt.date(2026, 10, 25))]
    assert opened_at_one(dt.date(2026, 11, 1)) == pytest.approx(sum(usual), rel=0.3)


@pytest.mark.parametrize("feed", [SF, NEW_YORK], ids=lambda feed: feed.name)
def test_closing_hours_over_the_autumn_night_count_instants(feed):
    zone = ZoneInfo(feed.city.timezone)
    frame = one_day(feed, dt.date(2026, 10, 31), records_per_day=2_000)
    dated = pl.col("closed_date").str.ends_with("T00:00:00.000")
    closed = frame.filter(pl.col("closed_date") > pl.col(feed.opened), ~dated)
    for row in closed.head(50).iter_rows(named=True):
        local = dt.datetime.fromisoformat(row["closed_date"]).replace(tzinfo=zone)
        changed = dt.datetime.fromisoformat(row[":updated_at"])
        assert dt.timedelta(0) < changed - local < dt.timedelta(hours=1.5)


@ALL
def test_the_portal_knows_nothing_that_has_not_happened(feed):
    whole = one_day(feed, records_per_day=2_000)
    now = dt.datetime(2026, 1, 11, 1, tzinfo=dt.UTC)
    known = as_of(whole, feed, now)
    assert known.height > 0
    assert (known[":created_at"] <= "2026-01-11T01").all()
    assert (known[":updated_at"] <= "2026-01-11T01").all()
    if feed.closed:
        local = now.astimezone(ZoneInfo(feed.city.timezone)).strftime("%Y-%m-%dT%H:%M:%S.000")
        assert (known[feed.closed].drop_nulls() <= local).all()
        status = known.filter(pl.col(feed.closed).is_null())[feed.fields["status"]]
        assert set(status) <= NOT_CLOSED.get(feed.name, {"Open"})


def test_a_case_that_is_still_open_has_no_notes_and_is_as_it_was_made():
    known = as_of(one_day(SF), SF, dt.datetime(2026, 1, 3, 8, tzinfo=dt.UTC))
    still = known.filter(pl.col("closed_date").is_null())
    assert still.height > 20
    assert still["status_notes"].is_null().all()
    assert (still[":updated_at"] == still[":created_at"]).all()
    assert (still["updated_datetime"] == still["requested_datetime"]).all()


def test_a_record_appears_after_it_was_opened_and_then_stays():
    whole = one_day(SF)
    instants = [dt.datetime(2026, 1, 2, hour, tzinfo=dt.UTC) for hour in (8, 14, 20)]
    known = [set(as_of(whole, SF, instant)[":id"]) for instant in instants]
    assert known[0] < known[1] < known[2] < set(whole[":id"])


def test_crimes_of_the_last_seven_days_are_withheld():
    now = dt.datetime(2026, 1, 20, 23, tzinfo=dt.UTC)
    seen = [day for day in days(DAY, 18) if as_of(one_day(CRIMES, day), CRIMES, now).height]
    assert max(seen) == dt.date(2026, 1, 12)


def test_a_crime_that_changes_says_so_when_it_does():
    whole = one_day(CRIMES, records_per_day=3_000)
    changed = whole.filter(pl.col(":updated_at") > pl.col(":created_at"))
    assert 0.01 < changed.height / whole.height < 0.06
    new = as_of(changed, CRIMES, dt.datetime(2026, 1, 11, tzinfo=dt.UTC))
    assert new["updated_on"].unique().to_list() == ["2026-01-10T16:00:00.000"]
    assert (changed["updated_on"] > "2026-01-20").all()


@ALL
def test_in_the_end_as_of_changes_nothing(feed):
    whole = one_day(feed)
    assert_frame_equal(as_of(whole, feed, dt.datetime(2040, 1, 1, tzinfo=dt.UTC)), whole)
