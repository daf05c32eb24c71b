"""What surrounds the answers: health, the description of the API, headers."""

import re

import duckdb
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from starlette.responses import HTMLResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from city311_assets.serving.api import documents
from city311_assets.serving.api.app import SecurityHeaders, routes_of
from city311_assets.serving.snapshots import Snapshot
from city311_assets_tests.serving.api.places import FEED


def test_health_says_how_old_the_data_is(api, place):
    answer = api.get("/health")
    said = answer.json()
    assert (answer.status_code, said["status"]) == (200, "ok")
    assert said["data_version"] == place.warehouse.data_version
    assert 0 <= said["age_seconds"] < 3_600
    assert answer.headers["cache-control"] == "no-store"


def test_health_follows_a_publication(own_place):
    before = own_place.client.get("/health").json()["data_version"]
    own_place.change()
    assert own_place.client.get("/health").json()["data_version"] != before


def test_a_file_that_is_open_and_does_not_answer_is_no_health(own_place, monkeypatch):
    def fail(*_):
        raise duckdb.IOException("a block cannot be read")

    monkeypatch.setattr(Snapshot, "frame", fail)
    answer = own_place.client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, 503)
    assert "block" not in answer.text


def test_every_route_is_described_with_its_parameters(api, place):
    document = api.get("/openapi.json").json()
    for endpoint in routes_of(place.settings):
        operation = document["paths"][endpoint.path]["get"]
        assert [one["name"] for one in operation["parameters"]] == [
            one.name for one in endpoint.parameters
        ]
    assert "/health" in document["paths"]


@pytest.mark.parametrize(
    "address",
    [
        *("/api/layers/risk", "/api/layers/cost", "/api/layers/recommendations"),
        *(f"/api/layers/hotspots?feed={FEED}", f"/api/layers/anomalies?feed={FEED}"),
        *("/api/effects", "/api/clusters", "/health", f"/api/geo/{FEED}/9.json"),
        f"/api/geo/{FEED}/boundaries.json",
    ],
)
def test_answers_are_as_they_are_described(api, address):
    path = (
        address.split("?")[0]
        .replace(f"/{FEED}/", "/{feed}/")
        .replace("9.json", "{resolution}.json")
    )
    responses = api.get("/openapi.json").json()["paths"][path]["get"]["responses"]
    answer = api.get(address)
    schema = responses["200"]["content"][answer.headers["content-type"]]["schema"]
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(answer.json())


def test_the_page_of_the_api_needs_no_script_and_no_other_server(api):
    answer = api.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" not in answer.text
    assert not re.search(r'(?:src|href)="(?!/|#)', answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in api.get("/openapi.json").json()["paths"]:
        assert path in answer.text


def test_the_page_escapes_what_it_shows():
    operation = {
        "operationId": "x",
        "summary": "<b>",
        "description": "&",
        "parameters": [
            {"name": "<s>", "in": "query", "description": "`<em>`"}
            | {"schema": {"default": "<q>"}, "x-accepted": "<tt>"}
        ],
        "responses": {"200": {"content": {"<i>": {}}}},
    }
    page = documents.page({"info": {"description": "<u>"}, "paths": {'/"<a>': {"get": operation}}})
    for raw in ("<b>.", "<i>", "<u>", '"<a>', "<s>", "<em>", "<q>", "<tt>"):
        assert raw not in page
    assert "<code>&lt;em&gt;</code>" in page


def test_every_answer_keeps_a_browser_from_misreading_it(api):
    for path in ("/api/layers/risk", "/api/nothing", "/api/layers/risk?x=1", "/docs", "/health"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors" in headers["content-security-policy"]


def test_a_page_keeps_its_own_policy_and_is_otherwise_left_alone():
    server = FastAPI(docs_url=None, redoc_url=None)
    server.add_middleware(SecurityHeaders)

    @server.get("/page")
    def page() -> HTMLResponse:
        return HTMLResponse("<p>", headers={"Content-Security-Policy": "default-src 'self'"})

    answer = TestClient(server).get("/page")
    assert answer.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert answer.text == "<p>"


def test_websockets_pass_the_headers_by():
    server = FastAPI(docs_url=None, redoc_url=None)
    server.add_middleware(SecurityHeaders)

    @server.websocket("/talk")
    async def talk(websocket: WebSocket):
        await websocket.accept()
        await websocket.send_text("heard")
        await websocket.close()

    with TestClient(server).websocket_connect("/talk") as talking:
        assert talking.receive_text() == "heard"
