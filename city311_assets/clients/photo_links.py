"""What a photo link came to, and the memory of it beside the photos.

What belongs here: the record of one link and the file that keeps them. What does not: how a link is
asked (`photos`), or what the bytes show (`photo_files`).
"""

import json
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from city311_assets.clients.photo_files import OK


@dataclass(frozen=True, slots=True)
class Photo:
    """What one link came to, in the words of `atlas.photos`; the paths are below the folder.

    `fetched_at` is null if the link alone said enough, or its host had stopped answering.
    """

    url: str
    photo_id: str | None = None
    status: str = OK
    said: str | None = None
    mime: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    phash: str | None = None
    path: str | None = None
    thumbnail_path: str | None = None
    fetched_at: datetime | None = None


class Links:
    """What links came to when they were last asked, in a file beside the photos.

    It is written link by link, so a run that is killed asks none of them again; any thread may
    write. Use it as a context manager.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()
        # Two runs may write to it; each statement is a transaction.
        self.conn = sqlite3.connect(
            path, timeout=60.0, isolation_level=None, check_same_thread=False
        )
        self.conn.execute("pragma journal_mode = wal")
        self.conn.execute("pragma synchronous = normal")
        self.conn.execute("create table if not exists links (url text primary key, photo text)")

    def __enter__(self) -> "Links":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.conn.close()

    def known(self, urls: Iterable[str]) -> dict[str, Photo]:
        """Return what is remembered of these links."""
        wanted = json.dumps(list(dict.fromkeys(urls)))
        query = "select photo from links where url in (select value from json_each(?))"
        with self.lock, closing(self.conn.execute(query, (wanted,))) as found:
            photos = [_recalled(text) for (text,) in found]
        return {photo.url: photo for photo in photos}

    def keep(self, photo: Photo) -> None:
        """Remember a link that was asked; what was not asked costs nothing to decide again."""
        if photo.fetched_at is None:
            return
        told = json.dumps(asdict(photo) | {"fetched_at": photo.fetched_at.isoformat()})
        with self.lock:
            self.conn.execute("insert or replace into links values (?, ?)", (photo.url, told))


def _recalled(text: str) -> Photo:
    told = json.loads(text)
    return Photo(**told | {"fetched_at": datetime.fromisoformat(told["fetched_at"])})
