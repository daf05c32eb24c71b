"""Parameters: each is declared once, for the description of the API and for reading a request.

What belongs here: what a parameter may be, whatever it is asked for. What does not: whether there
is data for it.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import h3.api.basic_int as h3
from starlette.requests import Request

from city311_assets.feeds.registry import FEEDS
from city311_assets.gold.methods.counts import RESOLUTIONS
from city311_assets.risk.targets.registry import TARGETS
from city311_assets.serving.api.problems import ProblemError, malformed

MOST_FEATURES = 10_000
MOST_DAYS = 1_095
# Degrees by degrees: the box of a city is less than one.
MOST_SQUARE_DEGREES = 4.0
LONGEST_TEXT = 200

# Whatever a parameter's `read` makes.
Value = Any

DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
WHOLE = re.compile(r"[0-9]{1,9}")
DEGREES = re.compile(r"-?[0-9]{1,3}(\.[0-9]{1,15})?")
HEX = re.compile(r"8[0-9a-f]{14}")
BOX = re.compile(",".join([DEGREES.pattern] * 4))


@dataclass(frozen=True, slots=True)
class Box:
    """Degrees, WGS 84; `west` is less than `east`, `south` less than `north`."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a route.

    Attributes
    ----------
    name, doc
        Its name, and a sentence.
    schema
        Its JSON schema.
    accepted
        What is said when it is refused: a sentence, or all there are.
    read
        Makes the value from the text; raises ValueError if it cannot.
    default
        The value where it is not given.
    place
        Where it stands.
    status
        What a value that it cannot have is answered with.
    """

    name: str
    doc: str
    schema: Mapping[str, Any]
    accepted: str | Sequence[str]
    read: Callable[[str], Value]
    default: Value = None
    place: Literal["query", "path"] = "query"
    status: int = 422

    @property
    def words(self) -> str:
        """What the parameter may be, in words."""
        return self.accepted if isinstance(self.accepted, str) else ", ".join(self.accepted)

    @property
    def described(self) -> dict[str, Any]:
        """The parameter as the description of the API has it."""
        schema = dict(self.schema)
        if self.default is not None:
            schema["default"] = self.default
        return {
            "name": self.name,
            "in": self.place,
            "description": self.doc,
            "required": self.place == "path",
            "schema": schema,
            "x-accepted": self.words,
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for: the values of a route's parameters, and what was given as text."""

    path: str
    values: Mapping[str, Value]
    given: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Value:
        return self.values.get(name)

    def identity(self, *without: str) -> str:
        """Return the same text for all requests that ask for the same."""
        kept = {name: value for name, value in self.values.items() if name not in without}
        return f"{self.path} {sorted(kept.items(), key=lambda pair: pair[0])!r}"


def asked_by(request: Request, parameters: Sequence[Parameter]) -> Asked:
    """Read a request's parameters.

    Raises
    ------
    ProblemError
        422: one is malformed, repeated, or not known here. 404: a path that no value is.
    """
    by_name = {one.name: one for one in parameters if one.place == "query"}
    given: dict[str, str] = {}
    for name, text in request.query_params.multi_items():
        if name not in by_name:
            raise ProblemError(
                422,
                f"this address has no parameter {name[:LONGEST_TEXT]!r}; it has "
                f"{', '.join(by_name) or 'none'}",
                parameter=name[:LONGEST_TEXT],
                accepted=list(by_name),
            )
        if name in given:
            raise ProblemError(422, f"{name} is given twice; give it once", parameter=name)
        given[name] = text
    values: dict[str, Any] = {}
    for one in parameters:
        text = given.get(one.name) if one.place == "query" else request.path_params[one.name]
        if text is None:
            values[one.name] = one.default
            continue
        try:
            values[one.name] = one.read(text)
        except ValueError as error:
            raise malformed(one.name, text, one.accepted, one.status) from error
    return Asked(request.scope["path"], values, given)


def day(
    name: str = "date", doc: str = "City-local day; default: the newest with data."
) -> Parameter:
    """Return a parameter that is a day."""
    schema = {"type": "string", "format": "date"}
    return Parameter(name, doc, schema, "a day, YYYY-MM-DD", read_day)


def month(doc: str = "Month; default: the newest with data.") -> Parameter:
    """Return a parameter that is a month; its value is the month's first day."""
    schema = {"type": "string", "pattern": f"^{MONTH.pattern}$"}
    return Parameter("month", doc, schema, "a month, YYYY-MM", _month)


def whole(name: str, doc: str, default: int, least: int, most: int) -> Parameter:
    """Return a parameter that is a whole number."""
    schema = {"type": "integer", "minimum": least, "maximum": most}

    def read(text: str) -> int:
        if not WHOLE.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return Parameter(name, doc, schema, f"a whole number from {least} to {most}", read, default)


def choice(
    name: str,
    doc: str,
    values: Iterable[Any],
    *,
    default: Value = None,
    place: Literal["query", "path"] = "query",
) -> Parameter:
    """Return a parameter that is one of some values, as they are written."""
    by_text = {str(value): value for value in values}
    kind = "integer" if all(isinstance(value, int) for value in by_text.values()) else "string"
    schema = {"type": kind, "enum": list(by_text.values())}

    def read(text: str) -> Value:
        if text not in by_text:
            raise ValueError(text)
        return by_text[text]

    # An address with another name in it is no address of ours.
    status = 404 if place == "path" else 422
    return Parameter(name, doc, schema, list(by_text), read, default, place, status)


def cell(name: str, doc: str, place: Literal["query", "path"] = "query") -> Parameter:
    """Return a parameter that is an H3 cell of a resolution we have; its value is a number."""
    schema = {"type": "string", "pattern": f"^{HEX.pattern}$"}
    accepted = f"an H3 cell of resolutions {min(RESOLUTIONS)} to {max(RESOLUTIONS)}, 15 hex digits"
    return Parameter(name, doc, schema, accepted, _cell, None, place)


def text(
    name: str,
    doc: str,
    accepted: str,
    pattern: str,
    *,
    default: str | None = None,
    place: Literal["query", "path"] = "query",
) -> Parameter:
    """Return a parameter that is a text of a pattern."""
    shape = re.compile(pattern)

    def read(given: str) -> str:
        if not shape.fullmatch(given):
            raise ValueError(given)
        return given

    schema = {"type": "string", "pattern": f"^{pattern}$"}
    return Parameter(name, doc, schema, accepted, read, default, place)


def read_day(given: str) -> date:
    """Read YYYY-MM-DD and nothing else; ValueError if it is none."""
    if not DAY.fullmatch(given):
        raise ValueError(given)
    return date.fromisoformat(given)


def _month(given: str) -> date:
    if not MONTH.fullmatch(given):
        raise ValueError(given)
    return date.fromisoformat(f"{given}-01")


def _cell(given: str) -> int:
    found = int(given, 16) if HEX.fullmatch(given) else 0
    if not h3.is_valid_cell(found) or h3.get_resolution(found) not in RESOLUTIONS:
        raise ValueError(given)
    return found


def _box(given: str) -> Box:
    if not BOX.fullmatch(given):
        raise ValueError(given)
    west, south, east, north = map(float, given.split(","))
    is_on_earth = max(abs(west), abs(east)) <= 180 and max(abs(south), abs(north)) <= 90
    if not (is_on_earth and west < east and south < north):
        raise ValueError(given)
    area = (east - west) * (north - south)
    if math.isclose(area, 0.0, abs_tol=1e-12) or area > MOST_SQUARE_DEGREES:
        raise ValueError(given)
    return Box(west, south, east, north)


BBOX = Parameter(
    "bbox",
    "Only what touches the box west,south,east,north: degrees, WGS 84.",
    {"type": "string", "pattern": f"^{BOX.pattern}$"},
    "west,south,east,north in degrees, west < east (no box crosses the antimeridian), south < "
    f"north, at most {MOST_SQUARE_DEGREES:g} square degrees",
    _box,
)
LIMIT = whole("limit", "Most features of one answer.", MOST_FEATURES, 1, MOST_FEATURES)
CURSOR = text(
    "cursor",
    "Where an answer goes on: take it from the link `next`.",
    "the cursor of a link `next`",
    "[A-Za-z0-9_-]{16,200}",
)
DOWNLOAD = Parameter(
    "download",
    "Whether a browser is to save the answer as a file.",
    {"type": "boolean"},
    ("true", "false"),
    lambda given: (
        {"true": True, "false": False}[given] if given in {"true", "false"} else _no(given)
    ),
    default=False,
)
FEED = choice("feed", "Feed of records; default: the first with data.", FEEDS)
TARGET = choice(
    "target",
    "Calls that are forecast.",
    TARGETS,
    default=next(iter(TARGETS)),
)


def _no(given: str) -> bool:
    raise ValueError(given)
