"""How the sample city misbehaves on request: a plan of faults, each declared in JSON.

What belongs here: what a fault is about, when it happens, and what it makes of a request or an
answer. What does not: how an answer travels (`faulty_line`), and what became of the rows
(`revisions`).
"""

import json
import random
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

Service = Literal["resource", "views", "geojson", "weather", "photos", "models"]
Query = Literal[
    "pages",
    "counts",
    "counts_by_day",
    "columns",
    "boundaries",
    "archive",
    "forecast",
    "photo",
    "model_list",
    "chat",
    "embeddings",
]
SERVICES: dict[str, str] = {
    "pages": "resource",
    "counts": "resource",
    "counts_by_day": "resource",
    "columns": "views",
    "boundaries": "geojson",
    "archive": "weather",
    "forecast": "weather",
    "photo": "photos",
    "model_list": "models",
    "chat": "models",
    "embeddings": "models",
}
QUERIES = frozenset(SERVICES)
PAGES, COUNTS = frozenset({"pages"}), frozenset({"counts", "counts_by_day"})
WEATHER = frozenset({"archive", "forecast"})
PHOTOS, CHAT, EMBEDDINGS = frozenset({"photo"}), frozenset({"chat"}), frozenset({"embeddings"})

AT_PORTAL = re.compile(
    r"/portals/(?P<portal>[^/]+)/(?:resource/(?P<rows>[\w-]+)\.json|resource/(?P<areas>[\w-]+)"
    r"\.geojson|api/views/(?P<view>[\w-]+)\.json)"
)
AT_WEATHER = re.compile(r"/weather/v1/(?P<query>archive|forecast)")
AT_PHOTOS = re.compile(r"/photos/(?P<host>[^/]+)/.+")
AT_MODELS = {"models": "model_list", "chat/completions": "chat", "embeddings": "embeddings"}
AGGREGATE = re.compile(r"\b(?:count|max|min)\s*\(", re.IGNORECASE)
COUNTED_AS = re.compile(r"\bcount\s*\(\s*\*\s*\)\s+as\s+(\w+)", re.IGNORECASE)
AFTER_KEY = re.compile(r":id\s*>\s*'(?:[^']|'')*'")
BYTE_ORDER_MARK = "\ufeff"
JSON_TYPE = "application/json;charset=utf-8"
PAGE = "<!DOCTYPE html><html><body><h1>We will be back soon</h1></body></html>"
MOST_ROWS = 50_000
JPEG_START, PNG_START = bytes.fromhex("ffd8ffe000104a46494600"), b"\x89PNG\r\n\x1a\n"


class PlanError(ValueError):
    """A plan of faults that makes no sense; the message names the culprit and what is allowed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a client: a question to one of the services."""

    query: str
    portal: str | None = None
    dataset: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def service(self) -> str:
        """The service that the question is for."""
        return SERVICES[self.query]

    @classmethod
    def of(cls, path: str, query_string: str) -> "Asked | None":
        """Return what a request asks; None for what is none of the services."""
        params = dict(parse_qsl(query_string, keep_blank_values=True))
        if weather := AT_WEATHER.fullmatch(path):
            return cls(weather["query"], params=params)
        if photo := AT_PHOTOS.fullmatch(path):
            return cls("photo", photo["host"], params=params)
        if question := AT_MODELS.get(path.removeprefix("/models/v1/")):
            return cls(question, params=params)
        if not (place := AT_PORTAL.fullmatch(path)):
            return None
        query = "boundaries" if place["areas"] else "columns"
        if place["rows"]:
            query = "counts" if AGGREGATE.search(params.get("$select", "")) else "pages"
            query = "counts_by_day" if params.get("$group") else query
        dataset = place["rows"] or place["areas"] or place["view"]
        return cls(query, place["portal"], dataset, params)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back, and how badly.

    `missing_bytes` are announced and never sent. `is_silent` sends nothing at all, `hangs_up`
    closes the connection without a word. `delay_seconds` pass before the first byte; with
    `pause_seconds` the body comes a byte at a time, so far apart, and never ends.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": JSON_TYPE})
    body: bytes = b""
    missing_bytes: int = 0
    is_silent: bool = False
    hangs_up: bool = False
    delay_seconds: float = 0.0
    pause_seconds: float | None = None

    def saying(self, value: object) -> "Answer":
        """Return the answer with another JSON body."""
        return replace(self, body=json.dumps(value, ensure_ascii=False).encode())


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request with the answer so far; `turn` is how often the fault happened before."""

    asked: Asked
    answer: Answer
    turn: int = 0


class Fault(BaseModel):
    """One thing that goes wrong, for the requests it is about.

    It is about every request its kind can happen to, or those of one `portal`, `dataset`, `service`
    or `query`. Of these the first `skip` are left alone; then it happens `times` times, or for
    ever; or, with `share`, to this part of them, which ones is drawn from `seed`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    happens_to: ClassVar[frozenset[str]] = QUERIES
    # Whether the service itself is not asked; whether what is left is no JSON.
    is_instead: ClassVar[bool] = False
    breaks_json: ClassVar[bool] = False

    portal: str | None = None
    dataset: str | None = None
    service: Service | None = None
    query: Query | None = None
    skip: int = Field(default=0, ge=0)
    times: int | None = Field(default=None, ge=1)
    share: float | None = Field(default=None, gt=0, le=1)
    seed: int = 0

    def is_about(self, asked: Asked) -> bool:
        """Whether a request is one of those it may happen to."""
        wanted = (self.portal, self.dataset, self.service, self.query)
        given = (asked.portal, asked.dataset, asked.service, asked.query)
        return asked.query in self.happens_to and all(
            want in {None, have} for want, have in zip(wanted, given, strict=True)
        )

    def happens(self, number: int, so_far: int) -> bool:
        """Whether it happens to the request of this number (from 0) that it is about."""
        if number < self.skip or (self.times is not None and so_far >= self.times):
            return False
        draw = random.Random(f"{self.seed} {number}")  # noqa: S311 - reproducible, not a secret
        return self.share is None or draw.random() < self.share

    def asks(self, params: Mapping[str, str]) -> Mapping[str, str]:
        """Return what the service is asked in place of what the client asked."""
        return params

    def answers(self, to: Exchange) -> Answer:
        """Return what the client gets."""
        return to.answer


class Instead(Fault):
    """A fault that the service itself never hears of."""

    is_instead: ClassVar[bool] = True


class Status(Instead):
    """Another status than 200, with an error body in the service's own manner."""

    status: int = Field(ge=202, le=599)
    message: str = "The sample city was told to say this"
    retry_after: str | None = None

    def answers(self, to: Exchange) -> Answer:
        """Return the status and an error body."""
        more = {"Retry-After": self.retry_after} if self.retry_after is not None else {}
        if to.asked.service == "models" and self.retry_after is not None:
            more |= {"x-ratelimit-remaining-requests": "0"}
            more |= {"x-ratelimit-reset-requests": f"{self.retry_after}s"}
        said = replace(to.answer, status=self.status, headers={**to.answer.headers, **more})
        if to.asked.service == "models":
            kind = "requests" if self.status == 429 else "server_error"
            code = "rate_limit_exceeded" if self.status == 429 else None
            told = {"message": self.message, "type": kind, "param": None, "code": code}
            return said.saying({"error": told})
        key = "reason" if to.asked.service == "weather" else "message"
        return said.saying({"error": True, key: self.message})


class Redirect(Instead):
    """The client is sent to another address."""

    location: str
    status: int = Field(default=302, ge=300, le=399)

    def answers(self, to: Exchange) -> Answer:
        """Return a redirection."""
        return replace(
            to.answer, status=self.status, headers={**to.answer.headers, "Location": self.location}
        )


class WebPage(Instead):
    """A web page with status 200 in place of data; it may claim to be of another type."""

    content_type: str = "text/html"

    def answers(self, to: Exchange) -> Answer:
        """Return the page."""
        return replace(to.answer, headers={"Content-Type": self.content_type}, body=PAGE.encode())


class OtherJson(Instead):
    """JSON with status 200 that is not what was asked for."""

    body: JsonValue

    def answers(self, to: Exchange) -> Answer:
        """Return the other body."""
        return to.answer.saying(self.body)


class Silent(Instead):
    """Nothing comes, and the connection stays open."""

    def answers(self, to: Exchange) -> Answer:
        """Return nothing."""
        return replace(to.answer, is_silent=True)


class HangsUp(Instead):
    """The connection is closed without a word."""

    def answers(self, to: Exchange) -> Answer:
        """Return a closed connection."""
        return replace(to.answer, hangs_up=True)


class EmptyPage(Instead):
    """A page without rows."""

    happens_to: ClassVar[frozenset[str]] = PAGES

    def answers(self, to: Exchange) -> Answer:
        """Return no rows."""
        return to.answer.saying([])


class Late(Fault):
    """The right answer, after a while."""

    seconds: float = Field(gt=0)

    def answers(self, to: Exchange) -> Answer:
        """Return the answer with its delay."""
        return replace(to.answer, delay_seconds=self.seconds)


class Drip(Fault):
    """The body trickles, a byte at a time, and never ends."""

    pause_seconds: float = Field(default=0.05, gt=0)

    def answers(self, to: Exchange) -> Answer:
        """Return the answer with its pauses."""
        return replace(to.answer, pause_seconds=self.pause_seconds)


class CutBody(Fault):
    """The connection is closed before the announced length has come."""

    breaks_json: ClassVar[bool] = True
    kept_share: float = Field(default=0.5, ge=0, lt=1)

    def answers(self, to: Exchange) -> Answer:
        """Return the beginning, and how much is missing."""
        kept = to.answer.body[: int(len(to.answer.body) * self.kept_share)]
        return replace(to.answer, body=kept, missing_bytes=len(to.answer.body) - len(kept))


class TruncatedJson(Fault):
    """The beginning of the body, announced as if it were the whole."""

    breaks_json: ClassVar[bool] = True
    kept_share: float = Field(default=0.5, ge=0, lt=1)

    def answers(self, to: Exchange) -> Answer:
        """Return the beginning."""
        return replace(to.answer, body=to.answer.body[: int(len(to.answer.body) * self.kept_share)])


class ByteOrderMark(Fault):
    """A byte-order mark before the body; with `column`, before that value of the first row."""

    happens_to: ClassVar[frozenset[str]] = QUERIES - PHOTOS
    breaks_json: ClassVar[bool] = True
    column: str | None = None

    def answers(self, to: Exchange) -> Answer:
        """Return the body with its mark."""
        if self.column is None:
            return replace(to.answer, body=BYTE_ORDER_MARK.encode() + to.answer.body)
        rows = json.loads(to.answer.body)
        if to.asked.query == "pages" and rows and self.column in rows[0]:
            rows[0][self.column] = f"{BYTE_ORDER_MARK}{rows[0][self.column]}"
        return to.answer.saying(rows)


class OrderIgnored(Fault):
    """Pages come in an order that is not the one asked for.

    A steady order is the same for every request; otherwise each request finds its own.
    """

    happens_to: ClassVar[frozenset[str]] = PAGES
    is_steady: bool = True

    def asks(self, params: Mapping[str, str]) -> Mapping[str, str]:
        """Ask without `$order`; where the order changes, for all rows."""
        asked = {name: text for name, text in params.items() if name != "$order"}
        if not self.is_steady:
            asked |= {"$limit": str(MOST_ROWS), "$offset": "0"}
        return asked

    def answers(self, to: Exchange) -> Answer:
        """Return the page; where the order changes, of the rows as they lie this time."""
        if self.is_steady:
            return to.answer
        rows = json.loads(to.answer.body)
        random.Random(f"{self.seed} {to.turn}").shuffle(rows)  # noqa: S311 - reproducible
        first = int(to.asked.params.get("$offset", 0))
        return to.answer.saying(rows[first : first + int(to.asked.params.get("$limit", 1_000))])


class KeyIgnored(Fault):
    """Pages come as if no `:id` had been named to go on after."""

    happens_to: ClassVar[frozenset[str]] = PAGES

    def asks(self, params: Mapping[str, str]) -> Mapping[str, str]:
        """Ask without the key."""
        return without_key(params)


class OffsetIgnored(Fault):
    """Pages come as if no `$offset` had been named."""

    happens_to: ClassVar[frozenset[str]] = PAGES

    def asks(self, params: Mapping[str, str]) -> Mapping[str, str]:
        """Ask without the offset."""
        return {name: text for name, text in params.items() if name != "$offset"}


class PageCapped(Fault):
    """Pages hold at most so many rows, whatever was asked for."""

    happens_to: ClassVar[frozenset[str]] = PAGES
    rows: int = Field(ge=1)

    def asks(self, params: Mapping[str, str]) -> Mapping[str, str]:
        """Ask for no more rows than the cap."""
        return {**params, "$limit": str(min(int(params.get("$limit", 1_000)), self.rows))}


class RowRepeated(Fault):
    """The first row of a page comes twice, in addition or in place of the second."""

    happens_to: ClassVar[frozenset[str]] = PAGES
    is_in_place: bool = False

    def answers(self, to: Exchange) -> Answer:
        """Return the page with its repeated row."""
        rows = json.loads(to.answer.body)
        return to.answer.saying([*rows[:1], *rows[:1], *rows[2 if self.is_in_place else 1 :]])


class CountOff(Fault):
    """Counts are told wrong, by so many rows."""

    happens_to: ClassVar[frozenset[str]] = COUNTS
    by: int

    def answers(self, to: Exchange) -> Answer:
        """Return the false counts."""
        rows = json.loads(to.answer.body)
        for name in COUNTED_AS.findall(to.asked.params.get("$select", "")):
            for row in rows:
                row[name] = str(int(row[name]) + self.by)
        return to.answer.saying(rows)


class ColumnVanished(Fault):
    """A column stands neither in the view nor in the rows."""

    happens_to: ClassVar[frozenset[str]] = PAGES | {"columns"}
    column: str

    def answers(self, to: Exchange) -> Answer:
        """Return the answer without the column."""
        said = json.loads(to.answer.body)
        if to.asked.query == "columns":
            left = [c for c in said["columns"] if c["fieldName"] != self.column]
            return to.answer.saying({**said, "columns": left})
        return to.answer.saying(
            [{n: v for n, v in row.items() if n != self.column} for row in said]
        )


class ColumnAppeared(Fault):
    """One more column stands in the view, and its value in every row."""

    happens_to: ClassVar[frozenset[str]] = PAGES | {"columns"}
    column: str
    value: JsonValue = "new"

    def answers(self, to: Exchange) -> Answer:
        """Return the answer with the column."""
        said = json.loads(to.answer.body)
        if to.asked.query == "columns":
            new = {"name": self.column, "dataTypeName": "text", "fieldName": self.column}
            return to.answer.saying({**said, "columns": [*said["columns"], new]})
        return to.answer.saying([{**row, self.column: self.value} for row in said])


class WeatherNulls(Fault):
    """The last days of the weather have no values."""

    happens_to: ClassVar[frozenset[str]] = WEATHER
    days: int = Field(ge=1)

    def answers(self, to: Exchange) -> Answer:
        """Return the answer with nulls at its tail."""
        said = json.loads(to.answer.body)
        for name, values in said.get("daily", {}).items():
            if name != "time":
                values[-self.days :] = [None] * min(self.days, len(values))
        return to.answer.saying(said)


class WeatherDaysMissing(Fault):
    """The last days of the weather do not come at all."""

    happens_to: ClassVar[frozenset[str]] = WEATHER
    days: int = Field(ge=1)

    def answers(self, to: Exchange) -> Answer:
        """Return the answer without its tail."""
        said = json.loads(to.answer.body)
        daily = {name: values[: -self.days] for name, values in said.get("daily", {}).items()}
        return to.answer.saying({**said, "daily": daily})


class WeatherUnit(Fault):
    """A variable of the weather comes in another unit."""

    happens_to: ClassVar[frozenset[str]] = WEATHER
    variable: str
    unit: str

    def answers(self, to: Exchange) -> Answer:
        """Return the answer with the other unit."""
        said = json.loads(to.answer.body)
        units = {**said.get("daily_units", {}), self.variable: self.unit}
        return to.answer.saying({**said, "daily_units": units})


class HugePhoto(Instead):
    """A photo that begins as a JPEG does and goes on for so many megabytes."""

    happens_to: ClassVar[frozenset[str]] = PHOTOS
    megabytes: int = Field(default=30, ge=1, le=200)

    def answers(self, to: Exchange) -> Answer:
        """Return the long body."""
        body = JPEG_START.ljust(self.megabytes * 1_000_000, b"\0")
        return replace(to.answer, headers={"Content-Type": "image/jpeg"}, body=body)


class PixelBomb(Instead):
    """A small PNG that says it is so many pixels wide and high."""

    happens_to: ClassVar[frozenset[str]] = PHOTOS
    width: int = Field(default=40_000, ge=1, le=2**31 - 1)
    height: int = Field(default=40_000, ge=1, le=2**31 - 1)

    def answers(self, to: Exchange) -> Answer:
        """Return the bomb."""
        body = _png(self.width, self.height)
        return replace(to.answer, headers={"Content-Type": "image/png"}, body=body)


class ChatFault(Fault):
    """What a model says is not what was asked for; the call is counted, and paid for."""

    happens_to: ClassVar[frozenset[str]] = CHAT

    def says(self, content: str) -> Mapping[str, Any]:
        """Return what is different about the message."""
        return {"content": content}

    def ends(self) -> str:
        """Return why the answer ended."""
        return "stop"

    def answers(self, to: Exchange) -> Answer:
        """Return the completion with the other message."""
        said = json.loads(to.answer.body)
        choice = said["choices"][0]
        message = {**choice["message"], **self.says(choice["message"]["content"] or "")}
        other = {**choice, "message": message, "finish_reason": self.ends()}
        return to.answer.saying({**said, "choices": [other]})


class Refusal(ChatFault):
    """The model refuses."""

    refusal: str = "I'm sorry, but I can't help with that."

    def says(self, content: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return the refusal and no content."""
        return {"content": None, "refusal": self.refusal}


class ContentFiltered(ChatFault):
    """The answer is withheld by a filter."""

    def says(self, content: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return no content."""
        return {"content": ""}

    def ends(self) -> str:
        """Return the filter's reason."""
        return "content_filter"


class AnswerCut(ChatFault):
    """The answer stops in the middle because it may not be longer."""

    kept_share: float = Field(default=0.5, ge=0, lt=1)

    def says(self, content: str) -> Mapping[str, Any]:
        """Return the beginning."""
        return {"content": content[: int(len(content) * self.kept_share)]}

    def ends(self) -> str:
        """Return that it was too long."""
        return "length"


class AnswerNoJson(ChatFault):
    """The model chats where JSON was asked for."""

    text: str = "Sure! Here is the JSON you asked for:"

    def says(self, content: str) -> Mapping[str, Any]:
        """Return talk around the JSON."""
        return {"content": f"{self.text}\n```json\n{content}\n```"}


class AnswerFieldMissing(ChatFault):
    """The JSON lacks a field: the one that is named, else its first."""

    field: str | None = None

    def says(self, content: str) -> Mapping[str, Any]:
        """Return the JSON without the field."""
        told = json.loads(content)
        gone = self.field or next(iter(told))
        return {"content": json.dumps({name: told[name] for name in told if name != gone})}


class AnswerEmpty(ChatFault):
    """The model says nothing, and ends as if it had."""

    def says(self, content: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return empty content."""
        return {"content": ""}


class EmbeddingsReordered(Fault):
    """Vectors come last first; only their `index` tells whose they are."""

    happens_to: ClassVar[frozenset[str]] = EMBEDDINGS

    def answers(self, to: Exchange) -> Answer:
        """Return the vectors in the other order."""
        said = json.loads(to.answer.body)
        return to.answer.saying({**said, "data": said["data"][::-1]})


class EmbeddingMissing(Fault):
    """One vector fewer comes than texts were sent."""

    happens_to: ClassVar[frozenset[str]] = EMBEDDINGS

    def answers(self, to: Exchange) -> Answer:
        """Return all vectors but the last."""
        said = json.loads(to.answer.body)
        return to.answer.saying({**said, "data": said["data"][:-1]})


class Revision(Fault):
    """The dataset changes before a page is answered, and stays changed as long as the plan stands.

    `position` is the row's place in the window that the page is of, in the order of `:id`; it may
    count from the end. A place where there is no row changes nothing.
    """

    happens_to: ClassVar[frozenset[str]] = PAGES


class RowDeleted(Revision):
    """A row is deleted between two pages."""

    position: int


class RowAdded(Revision):
    """A row is added between two pages, right after the one at `position`.

    It is a copy of that row with an `:id` of its own and with other `values`.
    """

    position: int
    values: dict[str, str | None]


class RowUpdated(Revision):
    """A row gets other `values` between two pages."""

    position: int
    values: dict[str, str | None]


class DatasetReloaded(Revision):
    """The publisher loads the dataset anew between two pages: every row gets another `:id`."""


KINDS: dict[str, type[Fault]] = {
    "status": Status,
    "redirect": Redirect,
    "web_page": WebPage,
    "other_json": OtherJson,
    "silent": Silent,
    "hangs_up": HangsUp,
    "empty_page": EmptyPage,
    "late": Late,
    "drip": Drip,
    "cut_body": CutBody,
    "truncated_json": TruncatedJson,
    "byte_order_mark": ByteOrderMark,
    "order_ignored": OrderIgnored,
    "key_ignored": KeyIgnored,
    "offset_ignored": OffsetIgnored,
    "page_capped": PageCapped,
    "row_repeated": RowRepeated,
    "count_off": CountOff,
    "column_vanished": ColumnVanished,
    "column_appeared": ColumnAppeared,
    "weather_nulls": WeatherNulls,
    "weather_days_missing": WeatherDaysMissing,
    "weather_unit": WeatherUnit,
    "huge_photo": HugePhoto,
    "pixel_bomb": PixelBomb,
    "refusal": Refusal,
    "content_filtered": ContentFiltered,
    "answer_cut": AnswerCut,
    "answer_no_json": AnswerNoJson,
    "answer_field_missing": AnswerFieldMissing,
    "answer_empty": AnswerEmpty,
    "embeddings_reordered": EmbeddingsReordered,
    "embedding_missing": EmbeddingMissing,
    "row_deleted": RowDeleted,
    "row_added": RowAdded,
    "row_updated": RowUpdated,
    "dataset_reloaded": DatasetReloaded,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def _png(width: int, height: int) -> bytes:
    """Return a PNG whose header is whole and whose pixels are not there."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return PNG_START + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def without_key(params: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a page without the `:id` to go on after."""
    where = AFTER_KEY.sub(":id is not null", params.get("$where", ""))
    return {**params, "$where": where} if where else dict(params)


def fault(told: object, number: int = 1) -> Fault:
    """Return a fault from its JSON.

    Raises
    ------
    PlanError
        It has an unknown kind or key, or a value that makes no sense.
    """
    if not isinstance(told, Mapping):
        raise PlanError(f"fault {number}: {told!r} is no object such as {{'kind': 'hangs_up'}}")
    kind = KINDS.get(str(told.get("kind")))
    if kind is None:
        raise PlanError(
            f"fault {number}: unknown kind {told.get('kind')!r}; there are {', '.join(KINDS)}"
        )
    place = f"fault {number} ({told['kind']})"
    known = ["kind", *kind.model_fields]
    if unknown := sorted(str(key) for key in set(told) - set(known)):
        raise PlanError(f"{place}: unknown key {', '.join(unknown)}; it takes {', '.join(known)}")
    try:
        made = kind.model_validate({key: value for key, value in told.items() if key != "kind"})
    except ValidationError as error:
        problems = (
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        )
        raise PlanError(f"{place}: {'; '.join(problems)}") from None
    for asked in ("query", "service"):
        wanted = getattr(made, asked)
        possible = {q if asked == "query" else SERVICES[q] for q in kind.happens_to}
        if wanted and wanted not in possible:
            raise PlanError(
                f"{place}: it never happens to {asked} {wanted}, only to "
                f"{', '.join(sorted(possible))}"
            )
    return made


class Plan:
    """Faults in their order, and how often each has happened. Safe to ask from several threads."""

    def __init__(self, told: object = ()) -> None:
        if isinstance(told, str | Mapping) or not isinstance(told, Sequence):
            raise PlanError(f"a plan is a list of faults, not {type(told).__name__}")
        self.faults = tuple(fault(one, number) for number, one in enumerate(told, start=1))
        self._about = [0] * len(self.faults)
        self._happened = [0] * len(self.faults)
        self._lock = Lock()

    def happening(self, asked: Asked) -> list[tuple[Fault, int]]:
        """Return the faults that happen to a request, each with how often it happened before.

        One that answers in the service's place ends the list: those after it in the plan never see
        the request. Of the others those that break the body come last.
        """
        found: list[tuple[Fault, int]] = []
        with self._lock:
            for place, one in enumerate(self.faults):
                if not one.is_about(asked):
                    continue
                number, turn = self._about[place], self._happened[place]
                self._about[place] += 1
                if one.happens(number, turn):
                    self._happened[place] += 1
                    found.append((one, turn))
                    if one.is_instead:
                        break
        return sorted(found, key=lambda happening: happening[0].breaks_json)

    def told(self) -> list[dict[str, Any]]:
        """Return each fault as it was declared, and how many requests it was about and met."""
        with self._lock:
            return [
                {
                    "fault": {"kind": NAMES[type(one)], **one.model_dump(exclude_unset=True)},
                    "requests": about,
                    "happened": happened,
                }
                for one, about, happened in zip(
                    self.faults, self._about, self._happened, strict=True
                )
            ]
