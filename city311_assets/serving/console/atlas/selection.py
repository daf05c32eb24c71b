"""What is chosen on the atlas page, as its address says it.

What belongs here: the controls that the address carries, what their values mean, and links to other
views. What does not: what is shown of it.
"""

from dataclasses import dataclass
from datetime import date

from city311_assets.serving.console.atlas.controls import month_in
from city311_assets.serving.console.atlas.months import RESOLUTIONS, months_by_feed
from city311_assets.serving.console.url_state import Control, Value, search_of
from city311_assets.serving.snapshots import Snapshot

PATH = "/atlas"
VIEWS = {"2d": "2-D", "3d": "3-D"}
FLAT, FINE = "2d", RESOLUTIONS[0]
FIRST_PAGE = 1
CONTROLS = (
    Control("atlas-feed", "feed", prop="data"),
    Control("atlas-month", "month", prop="data"),
    Control("atlas-view", "view", default=FLAT),
    Control("atlas-cluster", "cluster", "number", prop="data"),
    Control("atlas-record", "record", prop="data"),
    Control("atlas-search", "search", default=""),
    Control("atlas-points", "points", prop="data"),
    Control("atlas-photos", "photos", "number", FIRST_PAGE, prop="data"),
    Control("atlas-cells", "cells", "number", default=FINE),
)
NAMES = tuple(control.name for control in CONTROLS)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is looked at.

    Attributes
    ----------
    feed, month
        Whose map of which month (its first day).
    months
        The months of the feed that have a map, in order.
    view
        `2d` or `3d`.
    cluster, record
        The cluster and the case that are chosen, whether the month has them or not.
    search
        Words that are looked for.
    is_all
        Whether all points are drawn, not a sample.
    photos
        The page of the chosen cluster's photos, from 1.
    resolution
        That of the cells on the map of the city.
    """

    feed: str
    month: date
    months: tuple[date, ...]
    view: str = FLAT
    cluster: int | None = None
    record: str | None = None
    search: str = ""
    is_all: bool = False
    photos: int = FIRST_PAGE
    resolution: int = FINE

    def link(self, **changed: Value) -> str:
        """Return the address of this view with some values changed; None leaves one out.

        Another cluster has other photos: their page begins anew, unless it is given.
        """
        page = self.photos if changed.get("cluster", self.cluster) == self.cluster else None
        values: dict[str, Value] = {
            "feed": self.feed,
            "month": f"{self.month:%Y-%m}" if self.month != self.months[-1] else None,
            "view": self.view,
            "cluster": self.cluster,
            "record": self.record,
            "search": self.search,
            "points": "all" if self.is_all else None,
            "photos": page,
            "cells": self.resolution,
        }
        return PATH + search_of(values | changed, CONTROLS)


def selection_of(
    values: dict[str, Value], snapshot: Snapshot
) -> tuple[Selection | None, tuple[str, ...]]:
    """Return what an address's values choose, and a sentence for each that makes no sense.

    None where the published file has no map.
    """
    by_feed = months_by_feed(snapshot)
    if not by_feed:
        return None, ()
    problems = []
    feed = str(values.get("feed") or next(iter(by_feed)))
    if feed not in by_feed:
        problems.append(f"feed {feed}: it has no map; there are {', '.join(by_feed)}.")
        feed = next(iter(by_feed))
    month, problem = month_in(values.get("month"), by_feed[feed])
    problems += problem
    view = values.get("view") or FLAT
    if view not in VIEWS:
        problems.append(f"view {view}: there are {', '.join(VIEWS)}.")
        view = FLAT
    cluster = values.get("cluster")
    if cluster is not None and not isinstance(cluster, int):
        problems.append(f"cluster {cluster}: a cluster is a whole number.")
        cluster = None
    resolution = values.get("cells") or FINE
    if resolution not in RESOLUTIONS:
        problems.append(f"cells {resolution}: there are {', '.join(map(str, RESOLUTIONS))}.")
        resolution = FINE
    points = values.get("points")
    if points not in {None, "all"}:
        problems.append(f"points {points}: it can only be all.")
    photos = FIRST_PAGE if values.get("photos") is None else values["photos"]
    if not isinstance(photos, int) or photos < FIRST_PAGE:
        problems.append(f"photos {photos}: a page is a whole number from {FIRST_PAGE}.")
        photos = FIRST_PAGE
    record = values.get("record")
    selection = Selection(
        feed=feed,
        month=month,
        months=by_feed[feed],
        view=str(view),
        cluster=cluster,
        record=None if record is None else str(record),
        search=str(values.get("search") or "").strip(),
        is_all=points == "all",
        photos=photos,
        resolution=int(str(resolution)),
    )
    return selection, tuple(problems)
