"""SODA: what the clients send is answered as brute force would; everything else is refused."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import httpx
import polars as pl
import pytest

from city311_assets.feeds.registry import FEEDS
from city311_assets.sample_city.datasets import FrameDataset
from city311_assets.sample_city.records import as_of, day_records
from city311_assets.sample_city.server import SampleCity, running, serving
from city311_assets_tests.sample_city.conftest import NOW, SEED, START, days

SF = FEEDS["sf_311"]
WEEK = "requested_datetime >= '2026-03-02T00:00:00' and requested_datetime < '2026-03-09T00:00:00'"
UTC_NEVER = "2026-03-05T00:00:00.000Z"


def resource(feed) -> str:
    return f"/portals/{feed.city.portal}/resource/{feed.dataset}.json"


def ask(city: httpx.Client, feed=SF, **clauses: object) -> list[dict]:
    answer = city.get(resource(feed), params={f"${name}": str(v) for name, v in clauses.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="session")
def known() -> pl.DataFrame:
    """All that the SF portal knows, by brute force."""
    frames = [
        day_records(SF, day, seed=SEED, records_per_day=60)
        for day in days(START, (NOW.date() - START).days + 1)
    ]
    return as_of(pl.concat(frames), SF, NOW)


def week(frame: pl.DataFrame) -> pl.DataFrame:
    opened = pl.col("requested_datetime")
    return frame.filter(opened >= "2026-03-02", opened < "2026-03-09")


def test_rows_are_what_the_records_say_without_their_nulls(city, known):
    rows = ask(city, select=":*,*", where=WEEK, order=":id", limit=50_000)
    expected = week(known).sort(":id")
    assert [row[":id"] for row in rows] == expected[":id"].to_list()
    for row, record in zip(rows, expected.iter_rows(named=True), strict=True):
        assert set(row) == {name for name, value in record.items() if value is not None}
        assert row["lat"] == record["lat"]
        assert row.get("status_notes") == record["status_notes"]


def test_objects_and_booleans_are_not_texts(city):
    (row,) = ask(city, where="media_url is not null", limit=1)
    assert set(row["point"]) == {"latitude", "longitude", "human_address"}
    assert set(row["media_url"]) == {"url"}
    (row,) = ask(city, FEEDS["chicago_311"], where="duplicate = true", limit=1)
    assert row["duplicate"] is True
    assert row["parent_sr_number"].startswith("SR26-")


CLAUSES = {
    "service_name = 'Graffiti'": pl.col("service_name") == "Graffiti",
    "service_name != 'Graffiti'": pl.col("service_name") != "Graffiti",
    "service_name in ('Graffiti', 'Encampments')": pl.col("service_name").is_in(
        ["Graffiti", "Encampments"]
    ),
    "closed_date is null": pl.col("closed_date").is_null(),
    "closed_date is not null and street is null": pl.col("closed_date").is_not_null()
    & pl.col("street").is_null(),
    "supervisor_district >= 9": pl.col("supervisor_district").cast(pl.Float64) >= 9,
    "supervisor_district = '10'": pl.col("supervisor_district") == "10",
    "lat < 37.74 and lat != 0": pl.col("lat").cast(pl.Float64).is_between(1, 37.74, closed="none"),
    f":updated_at > '{UTC_NEVER}'": pl.col(":updated_at") > UTC_NEVER,
    "requested_datetime > '2026-03-05T12:00:00.000'": pl.col("requested_datetime")
    > "2026-03-05T12:00:00.000",
    "'2026-03-05T12:00:00' < requested_datetime": pl.col("requested_datetime")
    > "2026-03-05T12:00:00.000",
    "date_trunc_ymd(requested_datetime) = '2026-03-04'": pl.col(
        "requested_datetime"
    ).str.starts_with("2026-03-04"),
    "date_trunc_ymd(requested_datetime) in ('2026-03-04T00:00:00', '2026-03-06T00:00:00')": pl.col(
        "requested_datetime"
    ).str.contains("^2026-03-0[46]"),
    "closed_date < requested_datetime": pl.col("closed_date") < pl.col("requested_datetime"),
    "(source = 'Phone' or source = 'Web') and street = 'MISSION ST'": pl.col("source").is_in(
        ["Phone", "Web"]
    )
    & (pl.col("street") == "MISSION ST"),
    "source = 'Phone' or source = 'Web' and street = 'MISSION ST'": (pl.col("source") == "Phone")
    | ((pl.col("source") == "Web") & (pl.col("street") == "MISSION ST")),
    "street = 'O''FARRELL ST'": pl.col("street") == "O'FARRELL ST",
    "`street` = 'MISSION ST'": pl.col("street") == "MISSION ST",
}


@pytest.mark.parametrize(("clause", "meaning"), CLAUSES.items(), ids=CLAUSES)
def test_a_where_clause_keeps_what_brute_force_keeps(city, known, clause, meaning):
    rows = ask(city, select=":id", where=f"({clause}) and {WEEK}", limit=50_000)
    assert {row[":id"] for row in rows} == set(week(known).filter(meaning)[":id"])


def test_an_interval_of_days_may_be_said_in_an_or(city, known):
    where = (
        "requested_datetime < '2026-02-02T00:00:00' or requested_datetime >= '2026-03-19T00:00:00'"
    )
    opened = pl.col("requested_datetime")
    expected = known.filter((opened < "2026-02-02") | (opened >= "2026-03-19"))
    assert ask(city, select="count(*) as n", where=where) == [{"n": str(expected.height)}]


def test_counts_and_newest_changes_by_day_are_those_of_the_records(city, known):
    rows = ask(
        city,
        select="date_trunc_ymd(requested_datetime) as day, count(*) as n, max(:updated_at) as last",
        group="day",
        order="day desc",
        limit=50_000,
    )
    expected = (
        known.group_by(day=pl.col("requested_datetime").str.head(10) + "T00:00:00.000")
        .agg(n=pl.len().cast(pl.String), last=pl.col(":updated_at").max())
        .sort("day", descending=True)
    )
    assert rows == expected.to_dicts()


def test_changes_since_a_watermark_cover_all_days(city, known):
    mark = "2026-03-19T12:00:00.000Z"
    rows = ask(
        city,
        select="date_trunc_ymd(requested_datetime) as day, count(*) as n",
        where=f":updated_at > '{mark}'",
        group="date_trunc_ymd(requested_datetime)",
        limit=50_000,
    )
    changed = known.filter(pl.col(":updated_at") > mark)
    assert sum(int(row["n"]) for row in rows) == changed.height
    assert len(rows) > 5


def test_groups_by_a_column_have_their_counts(city, known):
    rows = ask(city, select="service_name, count(*)", group="service_name", order="count desc")
    expected = dict(known["service_name"].value_counts().rows())
    assert {row["service_name"]: int(row["count"]) for row in rows} == expected
    counts = [int(row["count"]) for row in rows]
    assert counts == sorted(counts, reverse=True)


def test_the_newest_change_of_a_portal_is_one_row(city, known):
    (row,) = ask(city, select="max(:updated_at), min(requested_datetime) as first")
    assert row == {
        "max_updated_at": known[":updated_at"].max(),
        "first": known["requested_datetime"].min(),
    }


@pytest.mark.parametrize("page", [7, 100, 1_000])
def test_paging_by_id_yields_every_row_once(city, known, page):
    last, seen = "", []
    while True:
        where = f"({WEEK}) and :id > '{last}'"
        rows = ask(city, select=":*,*", where=where, order=":id", limit=page)
        seen += [row[":id"] for row in rows]
        if len(rows) < page:
            break
        last = seen[-1]
    assert seen == sorted(week(known)[":id"])


def test_offsets_page_through_the_same_rows(city, known):
    pages = [
        ask(city, select=":id", where=WEEK, order=":id", limit=100, offset=offset)
        for offset in range(0, 700, 100)
    ]
    assert [row[":id"] for rows in pages for row in rows] == sorted(week(known)[":id"])


def test_without_an_order_there_is_none(city):
    rows = ask(city, select=":id,requested_datetime", where=WEEK, limit=200)
    again = ask(city, select=":id,requested_datetime", where=WEEK, limit=200)
    assert rows == again
    assert [row[":id"] for row in rows] != sorted(row[":id"] for row in rows)
    opened = [row["requested_datetime"] for row in rows]
    assert opened != sorted(opened)


def test_a_page_has_a_thousand_rows_unless_told(city, known):
    assert known.height > 1_000
    assert len(ask(city)) == 1_000


def test_system_columns_come_only_when_asked_for(city):
    (plain,) = ask(city, limit=1)
    assert not any(name.startswith(":") for name in plain)
    (both,) = ask(city, select=":*,*", where="street is not null", limit=1)
    assert {":id", ":created_at", ":updated_at", ":@computed_region_26cr_cadq"} < set(both)


def test_days_before_the_start_and_after_today_are_empty(city):
    before = "requested_datetime < '2026-02-01T00:00:00'"
    assert ask(city, select=":*,*", where=before) == []
    after = "requested_datetime >= '2026-03-21T00:00:00'"
    assert ask(city, select="count(*)", where=after) == [{"count": "0"}]
    assert ask(city, select="count(*)", where=f"{before} and {after}") == [{"count": "0"}]


REFUSED = {
    "like": ({"$where": "street like 'M%'"}, "query.soql.malformed", "'like'"),
    "between": ({"$where": "lat between 1 and 2"}, "query.soql.malformed", "'between'"),
    "not": ({"$where": "not (lat = 1)"}, "query.soql.malformed", "'not'"),
    "a function": ({"$where": "starts_with(street, 'M')"}, "query.soql.no-such-function", "starts"),
    "a sum": ({"$select": "sum(lat)"}, "query.soql.no-such-function", "sum"),
    "an unknown column": ({"$where": "nope = 1"}, "query.soql.no-such-column", "nope"),
    "an unknown selection": ({"$select": "nope"}, "query.soql.no-such-column", "nope"),
    "an unknown order": ({"$order": "nope"}, "query.soql.no-such-column", "nope"),
    "an unknown system column": ({"$order": ":nope"}, "query.soql.no-such-column", ":nope"),
    "a cut clause": ({"$where": "street ="}, "query.soql.malformed", "the end"),
    "an open bracket": ({"$where": "(street = 'A'"}, "query.soql.malformed", "the end"),
    "an open text": ({"$where": "street = 'A"}, "query.soql.malformed", "'A"),
    "two statements": ({"$where": "street = 'A'; drop"}, "query.soql.malformed", ";"),
    "arithmetic": ({"$where": "lat + 1 = 2"}, "query.soql.malformed", "+"),
    "an odd alias": ({"$select": "street as 'x'"}, "query.soql.malformed", "after as"),
    "a search": ({"$q": "sofa"}, "query.soql.malformed", "$q"),
    "a whole query": ({"$query": "select *"}, "query.soql.malformed", "$query"),
    "a plain filter": ({"street": "MISSION ST"}, "query.soql.malformed", "street"),
    "a page too large": ({"$limit": "50001"}, "query.soql.malformed", "50000"),
    "a limit of words": ({"$limit": "many"}, "query.soql.malformed", "many"),
    "a time that is none": (
        {"$where": "requested_datetime > 'soon'"},
        "query.soql.type-mismatch",
        "soon",
    ),
    "a text for a number": ({"$where": "lat > 'north'"}, "query.soql.type-mismatch", "north"),
    "a number for a text": ({"$where": "street = 5"}, "query.soql.type-mismatch", "5"),
    "a column outside the groups": (
        {"$select": "street, count(*)", "$group": "source"},
        "query.soql.column-not-in-group-bys",
        "street",
    ),
    "an aggregate in where": ({"$where": "count(*) > 1"}, "query.soql.malformed", "aggregate"),
}


@pytest.mark.parametrize(("params", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_understood_is_refused_with_its_words(city, params, code, words):
    answer = city.get(resource(SF), params=params)
    body = answer.json()
    assert answer.status_code == 400
    assert (body["error"], body["code"]) == (True, code)
    assert words in body["message"]
    if code == "query.soql.malformed":
        assert "knows only the clauses the clients send" in body["message"]


def test_an_unknown_dataset_is_missing(city):
    answer = city.get("/portals/data.sfgov.org/resource/aaaa-bbbb.json")
    assert answer.status_code == 404
    assert answer.json()["code"] == "dataset.missing"
    assert answer.json()["message"] == "Not found"
    assert city.get("/portals/data.sfgov.org/resource/aaaa-bbbb.geojson").status_code == 404
    assert city.get("/portals/data.sfgov.org/api/views/aaaa-bbbb.json").status_code == 404


def test_every_answer_has_a_request_id(city):
    headers = [city.get(resource(SF), params={"$limit": "1"}).headers for _ in range(2)]
    ids = {header["X-Socrata-RequestId"] for header in headers}
    assert len(ids) == 2
    assert "X-Socrata-RequestId" in city.get("/portals/x/resource/y.json").headers


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_the_view_names_every_declared_column(city, feed):
    view = city.get(f"/portals/{feed.city.portal}/api/views/{feed.dataset}.json").json()
    columns = {column["fieldName"]: column["dataTypeName"] for column in view["columns"]}
    assert set(feed.column_names) <= set(columns)
    assert columns[feed.opened] == "calendar_date"
    assert [column["position"] for column in view["columns"]] == [*range(1, len(columns) + 1)]


@pytest.mark.parametrize(
    ("portal", "dataset"),
    [(feed.city.portal, area.dataset) for feed in FEEDS.values() for area in feed.city.boundaries],
)
def test_boundaries_are_served_as_geojson(city, portal, dataset):
    answer = city.get(f"/portals/{portal}/resource/{dataset}.geojson")
    assert answer.json()["type"] == "FeatureCollection"
    view = city.get(f"/portals/{portal}/api/views/{dataset}.json").json()
    assert "the_geom" in {column["fieldName"] for column in view["columns"]}


def test_truth_and_health_are_served(city):
    assert city.get("/truth.json").json()["seed"] == SEED
    assert city.get("/health").json() == {"status": "ok", "now": NOW.isoformat(), "seed": SEED}


def test_questions_at_once_get_the_answers_of_questions_in_turn(city):
    wheres = [f"date_trunc_ymd(requested_datetime) = '{day}'" for day in days(START, 16)]

    def answer(where: str) -> list[dict]:
        return ask(city, select=":*,*", where=where, order=":id", limit=50_000)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, wheres)) == [answer(where) for where in wheres]


def test_time_passing_brings_records_and_closings():
    moment = [dt.datetime(2026, 3, 2, 18, tzinfo=dt.UTC)]
    sample = SampleCity(records_per_day=50, now=lambda: moment[0], start=dt.date(2026, 3, 1))
    with serving(sample) as served, httpx.Client(base_url=served.url) as city:
        first = {row[":id"]: row for row in ask(city, select=":*,*", limit=50_000)}
        moment[0] += dt.timedelta(days=2)
        later = {row[":id"]: row for row in ask(city, select=":*,*", limit=50_000)}
    assert set(first) < set(later)
    closed = [i for i in first if "closed_date" not in first[i] and "closed_date" in later[i]]
    assert len(closed) > 10
    assert all(later[i][":updated_at"] > first[i][":updated_at"] for i in closed)


def test_a_frame_is_served_as_it_is_and_may_change_between_requests():
    frame = pl.DataFrame(
        {
            "service_request_id": ["1", "2"],
            "requested_datetime": ["2021-07-02T11:52:00.000", "2021-07-03T00:00:00.000"],
            "media_url": ["http://a.example/1", '{"url": "http://a.example/2"}'],
        }
    )
    dataset = FrameDataset(frame, SF)
    key = (SF.city.portal, SF.dataset)
    with (
        serving(SampleCity(datasets={key: dataset})) as served,
        httpx.Client(base_url=served.url) as city,
    ):
        rows = ask(city, select=":*,*", order=":id")
        assert [row["service_request_id"] for row in rows] == ["1", "2"]
        assert rows[0]["media_url"] == "http://a.example/1"
        assert rows[1]["media_url"] == {"url": "http://a.example/2"}
        assert ":updated_at" in rows[0]
        day = "requested_datetime < '2021-07-03T00:00:00'"
        assert ask(city, select="count(*)", where=day) == [{"count": "1"}]
        dataset.frame = frame.head(0)
        assert ask(city, select=":*,*") == []


def test_a_frame_without_a_feed_has_the_columns_it_has():
    dataset = FrameDataset(pl.DataFrame({"when": ["2020-01-01"], "what": ["x"]}), opened="when")
    served_at = ("data.example.org", "aaaa-bbbb")
    with (
        serving(SampleCity(datasets={served_at: dataset})) as served,
        httpx.Client(base_url=served.url) as city,
    ):
        rows = city.get("/portals/data.example.org/resource/aaaa-bbbb.json").json()
    assert rows == [{"when": "2020-01-01", "what": "x"}]


def test_several_cities_serve_side_by_side_and_stop():
    with serving(SampleCity(seed=1)) as one, serving(SampleCity(seed=2)) as two:
        seeds = [httpx.get(f"{served.url}/health").json()["seed"] for served in (one, two)]
    assert seeds == [1, 2]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{one.url}/health")


def test_a_running_city_is_started_once_for_the_same_values():
    first, again = running(records_per_day=7, now=NOW), running(records_per_day=7, now=NOW)
    other = running(records_per_day=8, now=NOW)
    assert first.url == again.url != other.url
    assert httpx.get(f"{other.url}/health").status_code == 200
