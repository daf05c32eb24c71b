"""The simulated cities. A feed that is not among them fails when it is asked for, and it alone."""

from functools import cache

from city311_assets.feeds.feed import Feed
from city311_assets.sample_city.cities.chicago import CHICAGO
from city311_assets.sample_city.cities.new_york import NEW_YORK
from city311_assets.sample_city.cities.san_francisco import SAN_FRANCISCO
from city311_assets.sample_city.kinds import AFFINITY, AT_LEAKS, varieties
from city311_assets.sample_city.simulation import SimulatedCity, SimulatedFeed
from city311_assets.sample_city.tables import NotSimulatedError, has_table, rows

SIMULATED: dict[str, SimulatedCity] = {
    city.name: city for city in (SAN_FRANCISCO, CHICAGO, NEW_YORK)
}


def simulated_city(name: str) -> SimulatedCity:
    """Return a simulated city by its name.

    Raises
    ------
    NotSimulatedError
        There is no such.
    """
    if name not in SIMULATED:
        raise NotSimulatedError(f"the sample city lacks {_city_lacks(name)}")
    return SIMULATED[name]


def declared_feed(feed: Feed) -> SimulatedFeed | None:
    """Return how a feed is simulated; None if nobody has declared it."""
    city = SIMULATED.get(feed.city.name)
    return city.feeds.get(feed.name) if city else None


def simulated_feed(feed: Feed) -> SimulatedFeed:
    """Return how a feed is simulated.

    Raises
    ------
    NotSimulatedError
        Something is lacking; all of it is named, with the place where it is to be added.
    """
    declared, lacks = declared_feed(feed), lacking(feed)
    if declared is None or lacks:
        raise NotSimulatedError(
            f"the sample city cannot serve {feed.name}: it lacks {'; '.join(lacks)}. "
            "See docs/adding_a_city.md; CITY311_SOURCE=live needs none of it"
        )
    return declared


def lacking(feed: Feed) -> tuple[str, ...]:
    """Return what the sample city still needs to serve a feed, each with where to add it."""
    areas = {"neighborhood", *(boundary.areas for boundary in feed.city.boundaries)}
    return _lacking(feed.name, feed.city.name, tuple(sorted(areas)))


@cache
def _lacking(feed: str, city: str, areas: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    declared = SIMULATED.get(city)
    if declared is None:
        found.append(_city_lacks(city))
    elif feed not in declared.feeds:
        found.append(f"{feed} in cities/{city}.py")
    places = f"places/{city}_areas.csv"
    tables = (f"kinds/{feed}.csv", f"places/{city}_outline.csv", f"places/{city}_streets.txt")
    found += [name for name in (*tables, places) if not has_table(name)]
    if has_table(places):
        held = {row["areas"] for row in rows(places)}
        found += [f"{sort} rows in {places}" for sort in areas if sort not in held]
    if has_table(tables[0]) and declared:
        known = {*AFFINITY, *declared.fixed_places, *([AT_LEAKS] if declared.has_leaks else [])}
        used = {part.profile for part in varieties(feed)}
        found += [f"the profile {profile} of {tables[0]}" for profile in sorted(used - known)]
    return tuple(found)


def _city_lacks(name: str) -> str:
    return f"cities/{name}.py, listed in cities/registry.py"
