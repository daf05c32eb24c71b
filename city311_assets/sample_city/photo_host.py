"""What a link to a photo answers: the photo, a page about one, or nothing any more.

What belongs here: hosts and addresses. What does not: what the photos show (`photos`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from city311_assets.feeds.registry import FEEDS
from city311_assets.sample_city.cities.registry import simulated_feed
from city311_assets.sample_city.cities.san_francisco_columns import MEDIA_LINKS
from city311_assets.sample_city.photos import PHOTO_LINKS, photo
from city311_assets.sample_city.texts import day_of_case

VIEWER_HOST = urlsplit(MEDIA_LINKS[2][0]).hostname
HTML = "text/html; charset=utf-8"
GONE = (
    "<!DOCTYPE html><html><body><h1>404</h1><p>This report is not here any more.</p></body></html>"
)
VIEWER = (
    "<!DOCTYPE html><html><head><title>Attachment</title></head><body>"
    '<div id="viewer">Loading the attachment&hellip;</div></body></html>'
)


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at an address."""

    status: int
    media_type: str
    body: bytes


NOT_FOUND = Found(404, HTML, GONE.encode())


@dataclass(frozen=True, slots=True)
class PhotoHost:
    """The hosts that the feeds' links name. Cases opened after the clock have no photo yet."""

    seed: int
    records_per_day: int
    start: date
    clock: Callable[[], datetime]

    def at(self, host: str, path: str) -> Found:
        """Return what a host has at a path."""
        if host == VIEWER_HOST:
            return Found(200, HTML, VIEWER.encode())
        for feed, (start, end) in PHOTO_LINKS.items():
            link = urlsplit(start)
            named = re.fullmatch(f"{re.escape(link.path)}(\\d+){re.escape(end)}", f"/{path}")
            if link.hostname == host and named:
                return self._photo(feed, named[1])
        return NOT_FOUND

    def _photo(self, feed_name: str, record_id: str) -> Found:
        feed = FEEDS[feed_name]
        try:
            day = day_of_case(simulated_feed(feed), record_id, self.records_per_day)
        except OverflowError:
            return NOT_FOUND
        today = self.clock().astimezone(ZoneInfo(feed.city.timezone)).date()
        if not self.start <= day <= today:
            return NOT_FOUND
        body = photo(feed, record_id, day, seed=self.seed, records_per_day=self.records_per_day)
        return Found(200, "image/jpeg", body) if body else NOT_FOUND
