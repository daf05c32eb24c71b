"""Health: whether the published file can be read now, and how old it is."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import duckdb
from starlette.responses import Response

from city311_assets.serving.api.answers import no_snapshot
from city311_assets.serving.api.endpoints import JSON
from city311_assets.serving.api.problems import ProblemError
from city311_assets.serving.snapshots import NoSnapshotError, Snapshots

PATH = "/health"
READABLE = "select published_at from meta.publications"
SUMMARY = "Whether the published file can be read, and how old it is"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["status", "data_version", "published_at", "age_seconds"],
    "properties": {
        "status": {"const": "ok"},
        "data_version": {"type": ["string", "null"]},
        "published_at": {"type": "string", "format": "date-time"},
        "age_seconds": {"type": "integer"},
        "slices_in_flight": {"type": "array", "items": {"type": "string"}},
    },
}

log = logging.getLogger(__name__)


def health(snapshots: Snapshots) -> Response:
    """Return 200 if a query of the published file answers, else 503."""
    try:
        with snapshots.current() as snapshot:
            snapshot.frame(READABLE)
            age = datetime.now(UTC).replace(tzinfo=None) - snapshot.published_at
            said = {
                "status": "ok",
                "data_version": snapshot.data_version,
                "published_at": f"{snapshot.published_at:%Y-%m-%dT%H:%M:%SZ}",
                "age_seconds": int(age.total_seconds()),
                "slices_in_flight": list(snapshot.slices_in_flight),
            }
    except NoSnapshotError as error:
        return no_snapshot(error).response()
    except duckdb.Error:
        log.exception("the published file is open and does not answer")
        return ProblemError(503, "the published file does not answer; publish it again").response()
    return Response(json.dumps(said), 200, {"Cache-Control": "no-store"}, JSON)
