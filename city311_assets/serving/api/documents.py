"""The API's description of itself: OpenAPI, and a page that shows it without a script.

What belongs here: how the declared routes become a document and a page. What does not: what a route
says; the modules of each question declare that.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from city311_assets.serving.api import health
from city311_assets.serving.api.endpoints import JSON, Endpoint
from city311_assets.serving.api.problems import MEDIA_TYPE, SCHEMA

TITLE = "city311"
VERSION = "1"
ABOUT = (
    "What is published of a city's requests, hot spots, map of cases, waiting times and risk. All "
    "answers come from one published file, whose version and time they name; an ETag changes with "
    "it. Every refusal is a JSON problem that names the parameter, what was given and what is "
    "accepted. A call is not a leak, and a record is what somebody reported."
)
REFUSALS = {
    404: "There is no such thing, or no data for it; the nearest that have some are named",
    410: "The cursor was made for other data; begin again",
    422: "A parameter is malformed, repeated or unknown",
    500: "Something is wrong with the server; its log says what",
    503: "No published file can be read",
}
CODE = re.compile("`([^`]+)`")
# What a page of ours may load: its own style.
STYLE = """
:root { color-scheme: light dark; --line: #8886; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1, h2 { line-height: 1.25; }
h2 { font-size: 1.05rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
section { border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; margin: 1rem 0; }
code { font-family: ui-monospace, monospace; } h2 b { margin-right: .5rem; }
div.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; } td:nth-child(2) { min-width: 7rem; width: 40%; }
nav { columns: 19rem; padding: .5rem 0; font-size: .9rem; }
nav a { display: block; overflow-wrap: anywhere; }
p { margin: .25rem 0 .5rem; }
"""
POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def openapi(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of the routes and of `/health`."""
    paths = {one.path: {"get": _operation(one)} for one in endpoints}
    paths[health.PATH] = {
        "get": {
            "operationId": "health",
            "summary": health.SUMMARY,
            "description": "Never kept by anybody.",
            "responses": _responses(JSON, health.SCHEMA, (500, 503)),
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": ABOUT},
        "paths": paths,
        "components": {"schemas": {"Problem": SCHEMA}},
    }


def page(document: Mapping[str, Any]) -> str:
    """Return an OpenAPI document as a page that needs no script and no other server."""
    operations = [(path, methods["get"]) for path, methods in document["paths"].items()]
    links = "".join(
        f'<a href="#{html.escape(one["operationId"])}">{html.escape(path)}</a>'
        for path, one in operations
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{TITLE}: API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>{TITLE}: the API</h1>"
        f"<p>{html.escape(document['info']['description'])}</p>"
        '<p><a href="/openapi.json">The same as an OpenAPI document</a> · '
        f'<a href="/">The console</a></p><nav aria-label="Routes">{links}</nav>'
        f"<main>{''.join(_section(path, one) for path, one in operations)}</main></body></html>\n"
    )


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    has_cursor = any(one.name == "cursor" for one in endpoint.parameters)
    refusals = (404, 410, 422, 500, 503) if has_cursor else (404, 422, 500, 503)
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.doc,
        "parameters": [one.described for one in endpoint.parameters],
        "responses": {
            **_responses(endpoint.media_type, endpoint.schema, refusals),
            "304": {"description": "What If-None-Match names is still the answer"},
        },
    }


def _responses(
    media_type: str, schema: Mapping[str, Any] | None, refusals: Sequence[int]
) -> dict[str, Any]:
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "200": {
            "description": "The answer",
            "content": {media_type: {"schema": schema} if schema else {}},
        },
        **{
            str(status): {"description": REFUSALS[status], "content": problem}
            for status in refusals
        },
    }


def _section(path: str, one: Mapping[str, Any]) -> str:
    shown = html.escape(path)
    address = shown if "{" in path else f'<a href="{shown}">{shown}</a>'
    (media_type,) = one["responses"]["200"]["content"]
    rows = "".join(map(_row, one.get("parameters", ())))
    table = (
        '<div class="wide"><table><thead><tr><th scope="col">Parameter</th><th scope="col">May be'
        f'</th><th scope="col">Meaning</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
    return (
        f'<section id="{html.escape(one["operationId"])}"><h2><b>GET</b><code>{address}</code></h2>'
        f"<p><strong>{html.escape(one['summary'])}.</strong> {_words(one['description'])}</p>"
        f"<p>Answers <code>{html.escape(media_type)}</code>.</p>{table if rows else ''}</section>"
    )


def _words(text: str) -> str:
    """Return a text as HTML: names between backquotes are set as code."""
    return CODE.sub(r"<code>\1</code>", html.escape(text))


def _row(parameter: Mapping[str, Any]) -> str:
    schema = parameter["schema"]
    default = f"; default {json.dumps(schema['default'])}" if "default" in schema else ""
    place = " (in the path)" if parameter["in"] == "path" else ""
    return (
        f"<tr><td><code>{html.escape(parameter['name'])}</code>{place}</td>"
        f"<td>{html.escape(parameter['x-accepted'] + default)}</td>"
        f"<td>{_words(parameter['description'])}</td></tr>"
    )
