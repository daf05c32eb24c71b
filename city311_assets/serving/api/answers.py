"""How an answer leaves: its tag, whether it is still what the client has, compressed, kept.

What belongs here: everything between a request and a body, the same for every route. What does not:
what is in a body. A tag is made from the data's version and the question, so that it is known
before any query runs.
"""

import gzip
import hashlib
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec

import duckdb
from starlette.requests import Request
from starlette.responses import Response

from city311_assets.serving.api.endpoints import Endpoint
from city311_assets.serving.api.parameters import asked_by
from city311_assets.serving.api.problems import ProblemError
from city311_assets.serving.snapshots import NoSnapshotError, Snapshot, Snapshots

MOST_KEPT_BYTES = 64_000_000
# Below this a compressed body is hardly smaller than its headers.
FEWEST_COMPRESSED_BYTES = 500
GZIP_LEVEL = 6
BROTLI_QUALITY = 5
QUALITY = re.compile(r"\s*;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*$")
TAG = re.compile(r'(?:W/)?("[^"]*")')
# A photo is compressed already.
INCOMPRESSIBLE = "image/"

log = logging.getLogger(__name__)


class Bodies:
    """Bodies of the newest data, made once each, those asked for last kept up to a size."""

    def __init__(self, most_bytes: int = MOST_KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._making: dict[tuple[str, str], Future[bytes]] = {}

    @property
    def kept_bytes(self) -> int:
        """How much is kept."""
        with self._lock:
            return sum(map(len, self._kept.values()))

    def get(self, version: str, name: str, make: Callable[[], bytes]) -> bytes:
        """Return the body of a name, made by the first who asks; others who ask meanwhile wait."""
        key = (version, name)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            making = self._making.get(key)
            if is_first := making is None:
                making = self._making[key] = Future()
        if not is_first:
            return making.result()
        try:
            body = make()
        except BaseException as error:
            making.set_exception(error)
            raise
        else:
            with self._lock:
                self._keep(key, body)
            making.set_result(body)
            return body
        finally:
            with self._lock:
                del self._making[key]

    def _keep(self, key: tuple[str, str], body: bytes) -> None:
        for old in [old for old in self._kept if old[0] != key[0]]:
            del self._kept[old]
        self._kept[key] = body
        total = sum(map(len, self._kept.values()))
        while total > self._most_bytes:
            _, dropped = self._kept.popitem(last=False)
            total -= len(dropped)


class Answers:
    """Answers the requests of all routes from the newest published file."""

    def __init__(self, snapshots: Snapshots, bodies: Bodies | None = None) -> None:
        self._snapshots = snapshots
        self._bodies = bodies or Bodies()

    def answer(self, endpoint: Endpoint, request: Request) -> Response:
        """Return the answer to a request; blocks, and belongs into a thread."""
        try:
            return self._answer(endpoint, request)
        except ProblemError as problem:
            return problem.response()
        except NoSnapshotError as error:
            return no_snapshot(error).response()
        except (duckdb.BinderException, duckdb.CatalogException):
            # Which column is missing is of use to who reads the log, not to who asks.
            log.exception("the published file does not have what %s needs", endpoint.path)
            return ProblemError(
                503,
                "the published file was made by another version of this software; publish again "
                "with `city311 snapshot`",
            ).response()

    def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        asked = asked_by(request, endpoint.parameters)
        encoding = "identity"
        if not endpoint.media_type.startswith(INCOMPRESSIBLE):
            encoding = accepted_encoding(request.headers.get("accept-encoding", ""))
        with self._snapshots.current() as snapshot:
            version = version_of(snapshot)
            name = hashlib.sha256(
                f"{code_version()} {version} {asked.identity()}".encode()
            ).hexdigest()[:32]
            tag = f'"{name}"' if encoding == "identity" else f'"{name}-{encoding}"'
            headers = {
                "ETag": tag,
                "Cache-Control": endpoint.cache_control,
                "Vary": "Accept-Encoding",
            }
            known = request.headers.get("if-none-match", "")
            if tag in TAG.findall(known):
                return Response(status_code=304, headers=headers)

            def body_as(encoding: str) -> bytes:
                if encoding == "identity":
                    return endpoint.make(snapshot, asked)
                return compressed(body_as("identity"), encoding)

            if endpoint.is_kept:
                body = self._bodies.get(version, f"{name}-{encoding}", lambda: body_as(encoding))
            else:
                body = body_as(encoding)
        if known.strip() == "*":
            return Response(status_code=304, headers=headers)
        if encoding != "identity":
            headers["Content-Encoding"] = encoding
        if asked["download"]:
            headers["Content-Disposition"] = (
                f'attachment; filename="{endpoint.name}.{endpoint.file_ending}"'
            )
        if request.method == "HEAD":
            return Response(
                b"",
                headers=headers | {"Content-Length": str(len(body))},
                media_type=endpoint.media_type,
            )
        return Response(body, headers=headers, media_type=endpoint.media_type)


def no_snapshot(error: NoSnapshotError) -> ProblemError:
    """Return the refusal where nothing is published; where files lie is not said to strangers."""
    log.warning("%s", error)
    return ProblemError(
        503,
        "there is no published file that can be read; `make demo` makes one, and so does "
        "`city311 snapshot`",
        {"Retry-After": "60"},
    )


def version_of(snapshot: Snapshot) -> str:
    """Return what differs between any two published files."""
    return f"{snapshot.data_version} {snapshot.published_at.isoformat()}"


@cache
def code_version() -> str:
    """Return what changes with the code that makes answers: old answers must not outlive it."""
    sources = files("city311_assets.serving.api").iterdir()
    texts = sorted(one.read_text("utf-8") for one in sources if one.name.endswith(".py"))
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:16]


@cache
def encodings() -> tuple[str, ...]:
    """Return the encodings there are, the smallest first; brotli is not always installed."""
    return ("br", "gzip") if find_spec("brotli") else ("gzip",)


def accepted_encoding(header: str) -> str:
    """Return the encoding that an Accept-Encoding header likes best, `identity` if none of ours."""
    weights: dict[str, float] = {}
    for part in header.lower().split(","):
        quality = QUALITY.search(part)
        name = part[: quality.start()] if quality else part
        weights[name.strip()] = float(quality[1]) if quality else 1.0
    weight = {one: weights.get(one, weights.get("*", 0.0)) for one in encodings()}
    best = max(encodings(), key=lambda one: weight[one])
    return best if weight[best] > 0 else "identity"


def compressed(body: bytes, encoding: str) -> bytes:
    """Return a body in an encoding; the same bytes for the same body."""
    if encoding == "br":
        return import_module("brotli").compress(body, quality=BROTLI_QUALITY)
    return gzip.compress(body, GZIP_LEVEL, mtime=0)
