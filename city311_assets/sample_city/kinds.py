"""What is reported in the sample city: kinds, their finer kinds, and how often each comes in.

The tables stand in `kinds/*.csv`. A *variety* is one finer kind of one kind: the unit that is
drawn, with its own rate, closing time, places and, where photos are taken of it, visual topic.
"""

from dataclasses import dataclass
from functools import cache

from city311_assets.sample_city.tables import has_table, rows

# Kinds drawn at places of their own instead of over the areas of the city.
AT_LEAKS = "leaks"
AT_CALL_CENTRE = "callcentre"
AT_AIRPORT = "airport"

# How much more often a kind of one profile comes from an area of one character.
CHARACTERS = ("core", "mixed", "residential", "industrial")
AFFINITY = {
    "everywhere": (1.0, 1.0, 1.0, 1.0),
    "core": (4.0, 1.6, 0.5, 0.7),
    "mixed": (1.2, 2.2, 0.8, 0.7),
    "residential": (0.4, 0.9, 1.8, 0.6),
    "industrial": (0.6, 0.9, 0.7, 3.0),
}


@dataclass(frozen=True, slots=True)
class Variety:
    """One finer kind of one kind.

    `share` is its part of a feed's records in an average day, `hours` the mean hours to close where
    no neighbourhood adds any, `photo_share` the part of its cases with a photo link, `flag_share`
    the part of its incidents with an arrest.
    """

    kind: str
    subkind: str
    details: str
    share: float
    hours: float
    profile: str
    season: str
    code: str
    group: str
    owner: str
    photo_share: float
    flag_share: float
    topic: str | None
    phrase: str | None


@cache
def varieties(feed: str) -> tuple[Variety, ...]:
    """Return the varieties of one feed; their shares add up to 1.

    Raises
    ------
    NotSimulatedError
        The feed has no table of kinds.
    """
    kinds = rows(f"kinds/{feed}.csv")
    whole = {"share": "100", "subkind": "", "details": ""}
    finer: dict[str, list[dict[str, str]]] = {row["kind"]: [] for row in kinds}
    if has_table(f"kinds/{feed}_subkinds.csv"):
        for row in rows(f"kinds/{feed}_subkinds.csv"):
            finer[row["kind"]].append(row)
    total = sum(float(row["share"]) for row in kinds)
    return tuple(
        Variety(
            kind=kind["kind"],
            subkind=part["subkind"],
            details=part["details"],
            share=float(kind["share"]) / total * float(part["share"]) / 100,
            hours=float(kind["hours"] or 0) * float(part.get("hours_factor") or 1),
            profile=part.get("profile") or kind["profile"],
            season=kind["season"],
            code=part.get("code") or kind["code"],
            group=part.get("group") or "",
            owner=kind["owner"],
            photo_share=float(kind["photo_share"] or 0),
            flag_share=float(kind["flag_share"] or 0),
            topic=part.get("topic") or None,
            phrase=part.get("phrase") or None,
        )
        for kind in kinds
        for part in finer[kind["kind"]] or [whole]
    )
