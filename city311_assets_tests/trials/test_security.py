"""Attempts on a whole installation: are secrets found where they do not belong?"""

import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import httpx
import pytest

from city311_assets.feeds.sf_311 import SF_311
from city311_assets.serving.console.pages import PAGES
from city311_assets_tests.clients.answers import Asked, Reply, Server, answering, saying
from city311_assets_tests.commands import Installation
from city311_assets_tests.portals import Portals
from city311_assets_tests.serving.conftest import serve
from city311_assets_tests.serving.console.renderer import Renderer
from city311_assets_tests.trials import daemon
from city311_assets_tests.trials.daemon import Dev, dev

pytestmark = pytest.mark.trial

# No part of a word, nor of each other.
SECRETS = {
    "CITY311_SOCRATA_APP_TOKEN": "zqapptokenzq1",
    "CITY311_MODEL_KEY": "sk-zqmodelkeyzq2",
    "CITY311_ALERTS_SLACK_TOKEN": "xoxb-zqslacktokenzq3",
    "CITY311_ALERTS_SLACK_WEBHOOK_URL": "zqslackhookzq4",
    "CITY311_ALERTS_TEAMS_URL": "zqteamshookzq5",
    "CITY311_ALERTS_WEBHOOK_URL": "zqwebhookzq6",
    "PGPASSWORD": "zqpgpasswordzq7",
}
# What each secret is known by, wherever it would be found.
MARKS = {name: value.removeprefix("sk-").removeprefix("xoxb-") for name, value in SECRETS.items()}
ASSETS = (
    ("bronze", "sf_311"),
    ("bronze", "withdrawn_records", "sf_311"),
    ("silver", "requests", "sf_311"),
    ("silver", "rejected_records", "sf_311"),
    ("atlas", "captions", "sf_311"),
    ("bronze", "weather", "san_francisco"),
)
PATIENCE_SECONDS = 900
INSTANCE = """
    query All {
        instance { info runLauncher { name } }
        repositoriesOrError { ... on RepositoryConnection { nodes {
            name
            allTopLevelResourceDetails {
                name description
                configFields { name description defaultValueAsJson }
                configuredValues { key value }
            }
        } } }
        runsOrError(limit: 500) { ... on Runs { results {
            runConfigYaml tags { key value }
            eventConnection { events { __typename
                ... on MessageEvent { message }
                ... on ErrorEvent { error { message stack causes { message stack } } }
            } }
        } } }
    }
"""


def repeated(asked: Asked) -> bytes:
    """Return all that a service was told, as a service in trouble may say it back."""
    return f"{asked.path} {dict(asked.headers)} {dict(asked.params)}".encode()


def model(asked: Asked) -> Reply:
    """A model service that lists its models, and refuses the rest while quoting the key."""
    if asked.path.endswith("/models"):
        return saying({"data": [{"id": "gpt-6-luna"}]})
    return Reply(repeated(asked), 401)


def test_no_secret_is_found_in_anything_that_is_kept_said_or_served(
    tmp_path: Path, portal: Portals, monkeypatch: pytest.MonkeyPatch, trial
):
    """A live installation with a token, a key, webhooks and a password: `dagster dev` with every
    sensor, a backfill of which a part fails, alerts that are refused, services that quote what they
    were told; then a search of the log, Dagster's databases (unpacked), every table of the
    warehouse and of the published file, all other files, the answers of Dagster's GraphQL, of the
    commands, of every page, callback and route of the console."""
    # What is looked for does not depend on how busy the machine is.
    monkeypatch.setattr(daemon, "STARTED_WITHIN_SECONDS", PATIENCE_SECONDS)
    day = datetime.now(UTC).date() - timedelta(days=3)
    start = day.replace(day=1) if day.day > 1 else (day - timedelta(days=1)).replace(day=1)
    case: dict[str, str | None] = {
        "requested_datetime": f"{day}T09:00:00.000",
        "service_name": "Graffiti",
        "lat": "37.77",
        "long": "-122.42",
        ":updated_at": f"{day}T10:00:00.000Z",
    }
    portal.publish(SF_311, *(case | {"service_request_id": str(number)} for number in range(20)))

    def passed_on(asked: Asked) -> Reply:
        found = httpx.get(f"{portal.url}{asked.path}", params=dict(asked.params), timeout=60)
        return Reply(found.content, found.status_code)

    with (
        answering(passed_on) as portals,
        answering(lambda asked: Reply(repeated(asked), 503)) as weather,
        answering(model) as models,
        answering(lambda asked: Reply(repeated(asked), 500)) as hooks,
    ):
        hooked = {name: f"{hooks.url}/{SECRETS[name]}" for name in SECRETS if name.endswith("_URL")}
        settings = {
            **SECRETS,
            **hooked,
            "CITY311_ALERTS": "send",
            "CITY311_ALERTS_SLACK_URL": f"{hooks.url}/api/",
            "CITY311_ALERTS_SLACK_CHANNEL": "alerts",
            "CITY311_SOURCE": "live",
            "CITY311_START_DATE": str(start),
            "CITY311_PORTAL_URL": f"{portals.url}/portals/{{portal}}",
            "CITY311_WEATHER_ARCHIVE_URL": weather.url,
            "CITY311_WEATHER_FORECAST_URL": weather.url,
            "CITY311_HTTP_ATTEMPTS": "1",
            "CITY311_MODEL_URL": f"{models.url}/v1",
            "CITY311_CAPTION_METHOD": "openai",
        }
        city = Installation.small(tmp_path, **settings)
        haystack: dict[str, bytes] = {}
        with dev(city) as running:
            backfill = running.backfill(ASSETS, [str(day)])
            wait_until_told(running, backfill, hooks)
            statuses = running.statuses()
            answer = httpx.post(f"{running.url}/graphql", json={"query": INSTANCE}, timeout=300)
            assert "errors" not in answer.json(), answer.json()["errors"]
            haystack["Dagster's GraphQL"] = answer.content
        lake = "ducklake:postgres:host=127.0.0.1 port=1 dbname=x connect_timeout=1"
        for command, more in (
            (("snapshot",), {}),
            (("doctor",), {}),
            (("doctor",), {"CITY311_WAREHOUSE": lake}),
            (("doctor",), {"CITY311_WAREHOUSE": f"{lake} password={SECRETS['PGPASSWORD']}"}),
        ):
            done = city.run(*command, **more)
            haystack[f"city311 {' '.join([*command, *more])}"] = (
                f"{done.stdout}{done.stderr}".encode()
            )
        haystack["the console"] = b"\n".join(served(Path(city.settings["CITY311_DATA_DIR"]), city))
        used = {
            "CITY311_SOCRATA_APP_TOKEN": said_to(portals),
            "CITY311_MODEL_KEY": said_to(models),
            "CITY311_ALERTS_SLACK_TOKEN": said_to(hooks),
            "CITY311_ALERTS_SLACK_WEBHOOK_URL": said_to(hooks),
            "CITY311_ALERTS_TEAMS_URL": said_to(hooks),
            "CITY311_ALERTS_WEBHOOK_URL": said_to(hooks),
        }
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file():
            haystack[str(path.relative_to(tmp_path))] = b"\n".join(contents(path))
    # Else nothing would be shown: each was in use, and some runs failed and some did not.
    assert [name for name, told in used.items() if MARKS[name].encode() not in told] == []
    assert {"SUCCESS", "FAILURE"} <= set(statuses)
    assert any(b"service_request_id" in text for text in haystack.values())
    found = sorted(
        (name, place)
        for place, text in haystack.items()
        for name, mark in MARKS.items()
        if mark.encode() in text
    )
    trial.found(
        secrets=", ".join(SECRETS),
        places_searched=len(haystack),
        megabytes_searched=round(sum(map(len, haystack.values())) / 1e6, 1),
        runs=dict(statuses),
        alerts_that_were_refused=len(hooks.asked),
        secrets_found=len(found),
    )
    assert found == []


def wait_until_told(running: Dev, backfill: str, hooks: Server) -> None:
    """Wait until a backfill's runs are over and every channel of alerts was tried."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    wanted = 4
    while time.monotonic() < deadline:
        is_over = running.status_of(backfill) in {"COMPLETED_FAILED", "COMPLETED_SUCCESS", "FAILED"}
        if is_over and running.is_idle() and len({one.path for one in hooks.asked}) >= wanted:
            return
        time.sleep(1)
    raise AssertionError(
        f"{running.status_of(backfill)}, {running.statuses()}, {[one.path for one in hooks.asked]}"
    )


def said_to(server: Server) -> bytes:
    """Return all that a service was told."""
    return b"\n".join(repeated(one) + one.body for one in server.asked)


def served(data_dir: Path, city: Installation) -> Iterator[bytes]:
    """Yield what console and API answer, over a folder, with the secrets in the settings."""
    process, where = serve(data_dir, city.environment)
    try:
        with httpx.Client(base_url=where, timeout=60) as client:
            for path in client.get("/openapi.json").json()["paths"]:
                yield client.get(
                    path.replace("{feed}", "sf_311").replace("{resolution}", "9")
                ).content
            for path in ("/", "/docs", "/openapi.json", "/_dash-layout", "/_dash-dependencies"):
                answer = client.get(path, follow_redirects=True)
                yield f"{answer.headers}".encode() + answer.content
            renderer = Renderer(client)
            for page in PAGES:
                yield str(renderer.opened(page.path, "?feed=sf_311").props).encode()
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=20)
    yield said.encode()


def contents(path: Path) -> Iterator[bytes]:
    """Yield what a file holds: as it is, and what is packed in it unpacked."""
    yield path.read_bytes()
    if path.suffix == ".duckdb":
        yield from _cells(path)
    elif path.suffix in {".db", ""} and path.read_bytes()[:6] == b"SQLite":
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
            conn.text_factory = bytes
            tables = conn.execute("select name from sqlite_master where type = 'table'").fetchall()
            for (name,) in tables:
                for row in conn.execute(f'select * from "{name.decode()}"'):
                    yield from map(_unpacked, row)


def _unpacked(value: object) -> bytes:
    """Return a cell of a database as bytes; Dagster packs what it remembers of a code location."""
    if not isinstance(value, bytes):
        return str(value).encode()
    with suppress(zlib.error):
        return zlib.decompress(value)
    return value


def _cells(path: Path) -> Iterator[bytes]:
    """Yield every row of every table of a DuckDB file: what it stores it compresses."""
    with duckdb.connect(str(path), read_only=True) as conn:
        conn.execute("set enable_progress_bar = false")
        tables = (
            conn.sql("select schema_name as layer, table_name as name from duckdb_tables()")
            .pl()
            .to_dicts()
        )
        for table in tables:
            for row in conn.execute(f'from "{table["layer"]}"."{table["name"]}"').fetchall():
                yield str(row).encode()
