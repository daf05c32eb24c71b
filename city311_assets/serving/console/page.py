"""What a page of the console is: an address, a layout, and the callbacks behind it."""

from collections.abc import Callable
from dataclasses import dataclass

import dash
from dash.development.base_component import Component

from city311_assets.serving.snapshots import Snapshot, Snapshots


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes
    ----------
    name
        Short and lower-case; the beginning of the ids of all its components.
    title
        What the navigation calls it.
    layout
        Makes the page from the published file and its address's query (`?feed=…` or empty), with
        every control already as the address says.
    register
        Adds its callbacks to the application.
    warm
        Reads what every view of the page needs, so that the first one after a publication need not.
    """

    name: str
    title: str
    layout: Callable[[Snapshot, str], Component]
    register: Callable[[dash.Dash, Snapshots], None]
    warm: Callable[[Snapshot], None] | None = None

    @property
    def path(self) -> str:
        """The page's address on this server."""
        return f"/{self.name}"
