"""Thumbnails of cases' photos: small, without metadata, from the photo folder and nowhere else."""

from pathlib import Path

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.api.days import require
from city311_assets.serving.api.endpoints import Endpoint
from city311_assets.serving.api.parameters import Asked, choice, text
from city311_assets.serving.api.problems import ProblemError
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.atlas import PHOTOS

FIRST = f"""
    select thumbnail_path from {PHOTOS}
    where feed = $feed and record_id = $record_id and status = 'ok' and thumbnail_path is not null
    order by day, url limit 1
"""
JPEG = b"\xff\xd8\xff"
LARGEST_BYTES = 1_000_000
AN_HOUR = "max-age=3600"


def thumbnails(photos: Path) -> Endpoint:
    """Return the route of the thumbnails below a folder."""

    def make(snapshot: Snapshot, asked: Asked) -> bytes:
        require(snapshot, PHOTOS)
        record = {"feed": asked["feed"], "record_id": asked["record_id"]}
        for row in snapshot.rows(FIRST, record):
            if (found := _inside(photos, str(row["thumbnail_path"]))) is not None:
                return found
        raise ProblemError(
            404,
            f"{asked['feed']} has no thumbnail of {asked['record_id']}",
            parameter="record_id",
            given=asked["record_id"],
        )

    return Endpoint(
        path="/api/thumbnails/{feed}/{record_id}.jpg",
        name="thumbnail",
        summary="The thumbnail of a case's first photo",
        doc="404 where the case has no photo that could be had.",
        parameters=(
            choice("feed", "Feed of records.", FEEDS, place="path"),
            text(
                "record_id",
                "The portal's number of the case.",
                "a number of a case",
                r"[A-Za-z0-9_.:-]{1,100}",
                place="path",
            ),
        ),
        schema=None,
        make=make,
        media_type="image/jpeg",
        cache_control=AN_HOUR,
        is_kept=False,
    )


def _inside(folder: Path, name: str) -> bytes | None:
    """Return a thumbnail's bytes; None where it is outside the folder, missing or no JPEG."""
    if "\0" in name:
        return None
    root = folder.resolve()
    path = (root / name).resolve()
    if not (path.is_relative_to(root) and path.is_file()):
        return None
    if path.stat().st_size > LARGEST_BYTES:
        return None
    content = path.read_bytes()
    return content if content.startswith(JPEG) else None
