"""The plan of faults: what it takes, when a fault happens, and what each does to an answer."""

import datetime as dt
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import polars as pl
import pytest

from city311_assets.feeds.registry import FEEDS
from city311_assets.sample_city.datasets import FrameDataset
from city311_assets.sample_city.faults import KINDS, Asked, Plan, PlanError
from city311_assets.sample_city.server import SampleCity, serving

SF, CHICAGO = FEEDS["sf_311"], FEEDS["chicago_311"]
ROWS = f"/portals/{SF.city.portal}/resource/{SF.dataset}.json"
VIEW = f"/portals/{SF.city.portal}/api/views/{SF.dataset}.json"
CHICAGO_ROWS = f"/portals/{CHICAGO.city.portal}/resource/{CHICAGO.dataset}.json"
WEATHER = "/weather/v1/archive?latitude=41.9&longitude=-87.6&timezone=America/Chicago&daily="
TWO_DAYS = f"{WEATHER}snowfall_sum&start_date=2026-03-01&end_date=2026-03-02"
NOW = dt.datetime(2026, 3, 20, 18, tzinfo=dt.UTC)
IDS = [f"row-{number}" for number in range(9)]
PAGE = {"$select": ":id", "$order": ":id", "$limit": "4"}
COUNT = {"$select": "count(*) as n"}


@pytest.fixture(scope="module")
def city() -> Iterator[httpx.Client]:
    """A city with nine rows at one portal and one at another."""
    nine = pl.DataFrame({":id": IDS, "service_request_id": [i[-1] for i in IDS], "source": "Web"})
    datasets = {
        (SF.city.portal, SF.dataset): FrameDataset(nine, feed=SF),
        (CHICAGO.city.portal, CHICAGO.dataset): FrameDataset(nine.select(":id"), feed=CHICAGO),
    }
    sample = SampleCity(now=NOW, datasets=datasets, faults=[{"kind": "late", "seconds": 0.01}])
    with serving(sample) as served, httpx.Client(base_url=served.url, timeout=20) as client:
        assert client.get("/faults").json()[0]["fault"] == {"kind": "late", "seconds": 0.01}
        yield client


@pytest.fixture(autouse=True)
def peace(city: httpx.Client) -> Iterator[None]:
    """No fault is left for the next test."""
    put(city)
    yield
    put(city)


def put(city: httpx.Client, *faults: dict[str, object]) -> None:
    """Let this plan be in force."""
    city.put("/faults", json=faults).raise_for_status()


def ids(city: httpx.Client, **more: str) -> list[str]:
    """Return the row ids of one page."""
    params = PAGE | {f"${name}": text for name, text in more.items()}
    return [row[":id"] for row in city.get(ROWS, params=params).json()]


def happened(city: httpx.Client) -> list[tuple[int, int]]:
    """Return of each fault how many requests it was about, and to how many it happened."""
    return [(told["requests"], told["happened"]) for told in city.get("/faults").json()]


# What a plan takes


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        ({"kind": "silent"}, "a plan is a list of faults, not dict"),
        ("silent", "a plan is a list of faults, not str"),
        (["silent"], "fault 1: 'silent' is no object"),
        ([{"kind": "silent"}, {"kind": "hangup"}], r"fault 2: unknown kind 'hangup'; .*hangs_up"),
        ([{"portal": "x"}], r"fault 1: unknown kind None; there are status, "),
        (
            [{"kind": "late", "secs": 1}],
            r"fault 1 \(late\): unknown key secs; it takes kind.*secon",
        ),
        ([{"kind": "late"}], r"\(late\): seconds: Field required"),
        ([{"kind": "late", "seconds": -1}], "seconds: Input should be greater than 0"),
        (
            [{"kind": "status", "status": 200}],
            "status: Input should be greater than or equal to 202",
        ),
        ([{"kind": "status", "status": "503"}], "status: Input should be a valid integer"),
        ([{"kind": "silent", "service": "post"}], "service: Input should be 'resource', 'views'"),
        ([{"kind": "silent", "query": "rows"}], "query: Input should be 'pages', 'counts'"),
        ([{"kind": "silent", "share": 2}], "share: Input should be less than or equal to 1"),
        ([{"kind": "silent", "times": 0}], "times: Input should be greater than or equal to 1"),
        (
            [{"kind": "count_off", "by": 1, "query": "pages"}],
            "never happens to query pages, only to c",
        ),
        (
            [{"kind": "weather_nulls", "days": 1, "service": "views"}],
            "service views, only to weather",
        ),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_by_name(plan, complaint, city):
    with pytest.raises(PlanError, match=complaint):
        Plan(plan)
    put(city, {"kind": "late", "seconds": 0.01})
    refused = city.put("/faults", json=plan)
    assert refused.status_code == 400
    assert city.get("/faults").json()[0]["fault"]["kind"] == "late"


def test_a_plan_that_is_no_json_is_refused(city):
    assert city.put("/faults", content=b"[{").status_code == 400


def test_a_city_is_not_made_with_a_plan_that_makes_no_sense():
    with pytest.raises(PlanError, match="unknown kind 'sulk'"):
        SampleCity(faults=[{"kind": "sulk"}])


def test_a_fault_is_told_as_it_was_declared(city):
    declared = {"kind": "status", "portal": SF.city.portal, "status": 503, "times": 2}
    put(city, declared)
    assert city.get("/faults").json() == [{"fault": declared, "requests": 0, "happened": 0}]


# When a fault happens


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (ROWS, Asked("pages", SF.city.portal, SF.dataset)),
        (f"{ROWS}?$select=count(*) as n", Asked("counts", SF.city.portal, SF.dataset)),
        (f"{ROWS}?$select=x,count(*)&$group=x", Asked("counts_by_day", SF.city.portal, SF.dataset)),
        (VIEW, Asked("columns", SF.city.portal, SF.dataset)),
        (ROWS.replace("json", "geojson"), Asked("boundaries", SF.city.portal, SF.dataset)),
        ("/weather/v1/archive", Asked("archive")),
        ("/weather/v1/forecast", Asked("forecast")),
        ("/photos/photos.example/a/1.jpg", Asked("photo", "photos.example")),
        ("/models/v1/models", Asked("model_list")),
        ("/models/v1/chat/completions", Asked("chat")),
        ("/models/v1/embeddings", Asked("embeddings")),
        ("/models/usage", None),
        ("/faults", None),
        ("/health", None),
    ],
)
def test_a_request_is_known_by_its_place_and_what_it_selects(path, asked):
    url = httpx.URL(f"http://127.0.0.1{path}")
    found = Asked.of(url.path, url.query.decode())
    assert (found and (found.query, found.portal, found.dataset)) == (
        asked and (asked.query, asked.portal, asked.dataset)
    )


@pytest.mark.parametrize(
    ("about", "met"),
    [
        ({}, [True, True, True, True, True]),
        ({"portal": SF.city.portal}, [True, True, True, False, False]),
        ({"dataset": CHICAGO.dataset}, [False, False, False, True, False]),
        ({"service": "resource"}, [True, True, False, True, False]),
        ({"service": "weather"}, [False, False, False, False, True]),
        ({"query": "counts"}, [False, True, False, False, False]),
        ({"query": "pages", "portal": CHICAGO.city.portal}, [False, False, False, True, False]),
    ],
)
def test_a_fault_happens_to_the_requests_it_is_about(about, met, city):
    put(city, {"kind": "status", "status": 503, **about})
    asked = [(ROWS, PAGE), (ROWS, COUNT), (VIEW, None), (CHICAGO_ROWS, PAGE), (TWO_DAYS, None)]
    answers = [city.get(path, params=params).status_code for path, params in asked]
    assert answers == [503 if is_met else 200 for is_met in met]
    assert city.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("when", "met"),
    [
        ({}, "111111"),
        ({"skip": 2}, "001111"),
        ({"times": 2}, "110000"),
        ({"skip": 1, "times": 3}, "011100"),
    ],
)
def test_a_fault_happens_as_often_as_it_says_and_is_counted(when, met, city):
    put(city, {"kind": "status", "status": 503, **when})
    answers = "".join("01"[city.get(ROWS, params=PAGE).status_code == 503] for _ in met)
    assert answers == met
    assert happened(city) == [(6, met.count("1"))]


def test_a_share_of_requests_is_drawn_by_the_seed():
    def drawn(seed: int, share: float) -> list[bool]:
        plan = Plan([{"kind": "silent", "share": share, "seed": seed}])
        return [bool(plan.happening(Asked("pages"))) for _ in range(400)]

    assert drawn(1, 0.25) == drawn(1, 0.25)
    assert drawn(1, 0.25) != drawn(2, 0.25)
    assert 70 < sum(drawn(1, 0.25)) < 130
    assert all(drawn(1, 1))


def test_a_fault_that_answers_in_the_services_place_hides_the_request_from_those_after_it(city):
    put(city, {"kind": "status", "status": 503, "times": 1}, {"kind": "empty_page"})
    assert city.get(ROWS, params=PAGE).status_code == 503
    assert happened(city) == [(1, 1), (0, 0)]
    assert ids(city) == []


def test_requests_at_the_same_time_are_counted_once_each():
    plan = Plan([{"kind": "silent", "times": 50}])
    with ThreadPoolExecutor(8) as pool:
        met = list(pool.map(lambda _: bool(plan.happening(Asked("pages"))), range(200)))
    assert sum(met) == 50


def test_an_outage_of_one_portal_begins_and_ends_while_the_city_runs(city):
    put(city, {"kind": "status", "status": 503, "portal": SF.city.portal})
    assert [city.get(path).status_code for path in (ROWS, CHICAGO_ROWS)] == [503, 200]
    put(city)
    assert [city.get(path).status_code for path in (ROWS, CHICAGO_ROWS)] == [200, 200]


def test_an_error_of_the_services_own_goes_through(city):
    put(city, {"kind": "row_repeated"})
    refused = city.get(ROWS, params={"$select": "nothing"})
    assert (refused.status_code, refused.json()["error"]) == (400, True)


# What a fault does


def test_a_status_speaks_as_the_service_does(city):
    put(city, {"kind": "status", "status": 429, "message": "slow down", "retry_after": "7"})
    portal, weather = city.get(ROWS), city.get(TWO_DAYS)
    assert (portal.status_code, portal.headers["Retry-After"]) == (429, "7")
    assert portal.json() == {"error": True, "message": "slow down"}
    assert weather.json() == {"error": True, "reason": "slow down"}


def test_a_redirection_says_where_to(city):
    put(city, {"kind": "redirect", "location": "http://10.0.0.7/", "status": 307})
    answer = city.get(ROWS, follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (307, "http://10.0.0.7/")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "hangs_up"}, httpx.RemoteProtocolError),
        ({"kind": "cut_body"}, httpx.RemoteProtocolError),
        ({"kind": "silent"}, httpx.ReadTimeout),
        ({"kind": "late", "seconds": 5}, httpx.ReadTimeout),
    ],
)
def test_a_connection_breaks_as_it_was_told(fault, error, city):
    put(city, fault)
    with pytest.raises(error):
        city.get(ROWS, timeout=0.2)
    assert happened(city) == [(1, 1)]


def test_a_body_that_drips_does_not_end(city):
    put(city, {"kind": "drip", "pause_seconds": 0.001})
    with city.stream("GET", ROWS, params=PAGE) as answer:
        came = b"".join(byte for byte, _ in zip(answer.iter_raw(), range(300), strict=False))
    assert came[:1] == b"["
    assert json.loads(came)[0] == {":id": IDS[0]}
    assert came.endswith(b"   ")


def test_an_answer_that_is_late_is_the_right_one(city):
    put(city, {"kind": "late", "seconds": 0.15})
    started = time.monotonic()
    assert ids(city) == IDS[:4]
    assert time.monotonic() - started >= 0.15


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "web_page"}, "<!DOCTYPE html>"),
        ({"kind": "truncated_json", "kept_share": 0.25}, '[{":id":"row-'),
        ({"kind": "byte_order_mark"}, '\ufeff[{":id":"row-0"}'),
        ({"kind": "byte_order_mark", "column": ":id"}, '[{":id": "\ufeffrow-0"}'),
        ({"kind": "other_json", "body": {"rows": [1]}}, '{"rows": [1]}'),
        ({"kind": "empty_page"}, "[]"),
    ],
)
def test_a_body_is_what_it_was_told_to_be(fault, said, city):
    put(city, fault)
    answer = city.get(ROWS, params=PAGE)
    assert answer.status_code == 200
    assert answer.content.decode().startswith(said)


def test_what_breaks_a_body_comes_after_what_reads_it(city):
    put(city, {"kind": "truncated_json"}, {"kind": "row_repeated"})
    answer = city.get(ROWS, params=PAGE)
    assert answer.content.startswith(b'[{":id": "row-0"}, {":id": "row-0"}')


def test_an_order_that_is_ignored_is_steady_or_is_not(city):
    put(city, {"kind": "order_ignored"})
    first, again = ids(city, limit="9"), ids(city, limit="9")
    assert first == again != IDS
    assert sorted(first) == IDS
    put(city, {"kind": "order_ignored", "is_steady": False})
    first, again = ids(city, limit="9"), ids(city, limit="9")
    assert sorted(first) == sorted(again) == IDS
    assert first != again
    assert len(ids(city, offset="7")) == 2


def test_key_offset_and_limit_are_ignored(city):
    put(city, {"kind": "key_ignored"})
    assert ids(city, where="(source = 'Web') and :id > 'row-4'") == IDS[:4]
    assert ids(city, where=":id > 'row-''4'", offset="2") == IDS[2:6]
    put(city, {"kind": "offset_ignored"})
    assert ids(city, offset="4") == IDS[:4]
    put(city, {"kind": "page_capped", "rows": 3})
    assert ids(city) == IDS[:3]
    assert ids(city, limit="2") == IDS[:2]


def test_a_row_comes_twice(city):
    put(city, {"kind": "row_repeated"})
    assert ids(city) == [IDS[0], *IDS[:4]]
    put(city, {"kind": "row_repeated", "is_in_place": True})
    assert ids(city) == [IDS[0], IDS[0], *IDS[2:4]]


def test_counts_are_off_and_other_figures_are_not(city):
    put(city, {"kind": "count_off", "by": -2})
    assert city.get(ROWS, params=COUNT).json() == [{"n": "7"}]
    select = {"$select": "source, count(*) as n, max(:id) as last", "$group": "source"}
    assert city.get(ROWS, params=select).json() == [{"source": "Web", "n": "7", "last": "row-8"}]


def test_a_column_vanishes_from_view_and_rows_and_another_appears(city):
    put(
        city,
        {"kind": "column_vanished", "column": "source"},
        {"kind": "column_appeared", "column": "mood", "value": None},
    )
    names = [column["fieldName"] for column in city.get(VIEW).json()["columns"]]
    assert ("source" in names, "mood" in names) == (False, True)
    assert city.get(ROWS, params={"$limit": "1"}).json()[0].keys() >= {"mood"}
    assert "source" not in city.get(ROWS).json()[0]


def test_the_weather_loses_days_values_and_units(city):
    put(city, {"kind": "weather_nulls", "days": 1})
    assert city.get(TWO_DAYS).json()["daily"]["snowfall_sum"][1:] == [None]
    put(city, {"kind": "weather_days_missing", "days": 1})
    assert city.get(TWO_DAYS).json()["daily"]["time"] == ["2026-03-01"]
    put(city, {"kind": "weather_unit", "variable": "snowfall_sum", "unit": "inch"})
    assert city.get(TWO_DAYS).json()["daily_units"]["snowfall_sum"] == "inch"


def test_rows_are_deleted_added_and_updated_between_two_pages_and_stay_so(city):
    put(
        city,
        {"kind": "row_deleted", "position": 3, "skip": 1, "times": 1},
        {"kind": "row_added", "position": 0, "values": {"source": "App"}, "skip": 1, "times": 1},
        {"kind": "row_updated", "position": -1, "values": {"source": "Fax"}, "skip": 1, "times": 1},
    )
    assert ids(city) == IDS[:4]
    assert ids(city, where=":id > 'row-3'", limit="9") == IDS[4:]
    now = ["row-0", "row-0~", "row-1", "row-2", *IDS[4:]]
    assert ids(city, limit="20") == now
    assert city.get(ROWS, params=COUNT).json() == [{"n": "9"}]
    rows = city.get(ROWS, params={"$select": ":*,*", "$order": ":id"}).json()
    assert [row["source"] for row in rows] == ["Web", "App", *["Web"] * 6, "Fax"]
    stamps = [row[":updated_at"] for row in rows if row["source"] != "Web"]
    assert stamps == ["2026-03-20T18:00:01.000Z", "2026-03-20T18:00:02.000Z"]
    put(city)
    assert ids(city, limit="20") == IDS


def test_a_row_where_there_is_none_changes_nothing(city):
    put(city, {"kind": "row_deleted", "position": 9}, {"kind": "row_deleted", "position": -10})
    assert ids(city, limit="20") == IDS


def test_a_dataset_loaded_anew_has_the_same_rows_under_other_ids(city):
    put(city, {"kind": "dataset_reloaded", "times": 1})
    rows = city.get(ROWS, params={"$select": ":*,*"}).json()
    assert sorted(row["service_request_id"] for row in rows) == [i[-1] for i in IDS]
    assert not {row[":id"] for row in rows} & set(IDS)
    assert ids(city, limit="20") == sorted(row[":id"] for row in rows)


def test_what_changes_after_a_dataset_was_loaded_anew_says_when():
    plan = [{"kind": "dataset_reloaded", "times": 1}]
    sample = SampleCity(records_per_day=60, now=NOW, start=NOW.date(), faults=plan)
    page = {"$select": ":id, :created_at, :updated_at"}
    with serving(sample) as served, httpx.Client(base_url=served.url) as client:
        loaded = client.get(ROWS, params=page).json()
        sample.now = NOW + dt.timedelta(hours=5)
        later = client.get(ROWS, params=page).json()
    (stamp,) = {row[":updated_at"] for row in loaded}
    assert {row[":created_at"] for row in loaded} == {stamp}
    assert {row[":id"] for row in loaded} < {row[":id"] for row in later}
    assert min(row[":updated_at"] for row in later) == stamp
    changed = {row[":id"] for row in later if row[":updated_at"] > stamp}
    assert changed & {row[":id"] for row in loaded}
    assert changed - {row[":id"] for row in loaded}


def test_generated_records_change_too():
    where = "requested_datetime >= '2026-03-02T00:00:00' and requested_datetime < '2026-03-03'"
    page = {"$select": ":id", "$where": where, "$order": ":id"}
    plan = [{"kind": "row_deleted", "position": 0, "skip": 1, "times": 1}]
    sample = SampleCity(records_per_day=8, now=NOW, start=dt.date(2026, 3, 1), faults=plan)
    with serving(sample) as served, httpx.Client(base_url=served.url) as client:
        before, after = (client.get(ROWS, params=page).json() for _ in range(2))
    assert after == before[1:]


def test_every_kind_says_what_it_does():
    assert all(kind.__doc__ for kind in KINDS.values())


# The clock, and a process of its own


def test_the_clock_is_put_forward_and_back_to_the_real_one(city):
    assert city.get("/clock").json() == {"now": "2026-03-20T18:00:00+00:00"}
    city.put("/clock", json={"now": "2026-06-15T12:00:00Z"}).raise_for_status()
    assert city.get("/health").json()["now"] == "2026-06-15T12:00:00+00:00"
    city.put("/clock", json={"now": None}).raise_for_status()
    told = dt.datetime.fromisoformat(city.get("/clock").json()["now"])
    assert abs(told - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    city.put("/clock", json={"now": str(NOW)}).raise_for_status()


@pytest.mark.parametrize("told", ["noon", {"now": 12}, {"now": "noon"}, {"then": None}, None])
def test_a_clock_that_makes_no_sense_is_refused(told, city):
    assert city.put("/clock", json=told).status_code == 400
    assert city.get("/clock").json() == {"now": "2026-03-20T18:00:00+00:00"}


def test_records_that_a_later_clock_knows_are_there_once_it_is_put_forward():
    sample = SampleCity(records_per_day=8, now=NOW, start=dt.date(2026, 3, 1))
    with serving(sample) as served, httpx.Client(base_url=served.url) as client:
        before = int(client.get(ROWS, params=COUNT).json()[0]["n"])
        client.put("/clock", json={"now": "2026-03-24T18:00:00Z"}).raise_for_status()
        assert int(client.get(ROWS, params=COUNT).json()[0]["n"]) > before


def test_a_city_stops_though_somebody_waits_for_an_answer():
    with ThreadPoolExecutor(1) as pool:
        with serving(SampleCity(now=NOW, faults=[{"kind": "silent"}])) as served:
            waiting = pool.submit(httpx.get, f"{served.url}{ROWS}", timeout=20)
            time.sleep(0.3)
            started = time.monotonic()
        assert time.monotonic() - started < 5
        assert isinstance(waiting.exception(), httpx.RemoteProtocolError)


CITY = [sys.executable, "-m", "city311_assets.sample_city"]


def test_a_city_is_a_process_of_its_own_until_it_is_told_to_end(tmp_path: Path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps([{"kind": "status", "status": 503, "service": "views"}]))
    options = ["--seed", "5", "--records-per-day", "3", "--start", "2026-03-01"]
    more = ["--now", "2026-03-20T18:00", "--faults", str(plan)]
    with subprocess.Popen([*CITY, *options, *more], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        with httpx.Client(base_url=url, timeout=30) as client:
            health = client.get("/health").json()
            assert (health["seed"], health["now"]) == (5, "2026-03-20T18:00:00+00:00")
            assert client.get(VIEW).status_code == 503
            taken = subprocess.run(
                [*CITY, "--port", url.rsplit(":", 1)[1]],
                capture_output=True,
                text=True,
                check=False,
            )
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert (taken.returncode, taken.stdout) == (2, "")
    assert "Address already in use" in taken.stderr


def test_a_city_is_not_served_with_a_plan_that_makes_no_sense(tmp_path: Path):
    plan = tmp_path / "plan.json"
    plan.write_text('[{"kind": "sulk"}]')
    done = subprocess.run(
        [*CITY, "--faults", str(plan)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "fault 1: unknown kind 'sulk'; there are status," in done.stderr
