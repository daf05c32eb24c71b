"""The list of feeds. Adding a city is adding one module beside this one, and its name here."""

from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.feeds.feed import City, Feed
from city311_assets.feeds.nyc_311 import NYC_311
from city311_assets.feeds.sf_311 import SF_311

FEEDS: dict[str, Feed] = {
    feed.name: feed for feed in (SF_311, CHICAGO_311, CHICAGO_CRIMES, NYC_311)
}
CITIES: dict[str, City] = {feed.city.name: feed.city for feed in FEEDS.values()}


def feed_named(name: str) -> Feed:
    """Return a feed by its name, or say which there are.

    Raises
    ------
    ValueError
        No feed has that name.
    """
    if name not in FEEDS:
        raise ValueError(f"no feed is called {name!r}; there are {', '.join(sorted(FEEDS))}")
    return FEEDS[name]
