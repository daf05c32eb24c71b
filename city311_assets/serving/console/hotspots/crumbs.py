"""The way from the city down to the cell drilled into."""

from dataclasses import dataclass

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.console.hotspots.facts import label_of, place_of
from city311_assets.serving.console.hotspots.outlook import ancestor
from city311_assets.serving.console.hotspots.selection import (
    COARSEST,
    DEFAULT_RESOLUTION,
    Selection,
    resolution_of,
    search_for,
)
from city311_assets.serving.snapshots import Snapshot


@dataclass(frozen=True, slots=True)
class Crumb:
    """One step of the way: what it is called, and the address of its view."""

    label: str
    search: str
    resolution: int | None


def crumbs(
    snapshot: Snapshot, selection: Selection, measure: str | None = None
) -> tuple[Crumb, ...]:
    """Return the city, and each cell around the one drilled into down to it."""
    city = FEEDS[selection.feed].city.title
    found = [
        Crumb(
            city,
            search_for(
                selection,
                measure,
                parent=None,
                resolution=min(selection.resolution, DEFAULT_RESOLUTION),
            ),
            None,
        )
    ]
    if selection.parent is not None:
        own = place_of(snapshot, selection.feed, resolution_of(selection.parent), selection.parent)
        for resolution in range(COARSEST, resolution_of(selection.parent) + 1):
            cell = ancestor(selection.parent, resolution)
            search = search_for(selection, measure, parent=cell, resolution=resolution + 1)
            label = label_of(snapshot, selection.feed, resolution, cell)
            # A larger cell is named after most of it: what one goes into may lie beside that.
            if place_of(snapshot, selection.feed, resolution, cell) != own:
                label = f"{label} and around"
            found.append(Crumb(label, search, resolution))
    return tuple(found)
