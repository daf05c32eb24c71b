"""The sample city's model service: answers as the OpenAI API does, from stand-ins.

What belongs here: requests, answers, errors, limits and counts. What does not: what is seen in a
picture (`vision`) and made of words (`language`), and what goes wrong (`faults`).
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from hashlib import blake2b
from threading import Lock
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl

from city311_assets.sample_city.language import cluster_names, tokens, vectors
from city311_assets.sample_city.vision import NotAnImageError, described, filled

Body = Mapping[str, Any]

MOST_INPUTS, MOST_TOKENS, MOST_TOKENS_IN_ALL = 2_048, 8_192, 300_000
# A prompt of at least so many tokens is kept, and its beginning found again, in steps of so many.
CACHED_FROM, CACHED_STEP = 1_024, 128
REASONING_TOKENS = {"none": 0, "minimal": 0, "low": 64, "medium": 192, "high": 640, "xhigh": 1_280}
DEFAULT_EFFORT = "medium"
# What a picture costs: a sum, and with details as much again for each tile of this many bytes.
IMAGE_TOKENS, TILE_TOKENS, TILE_BYTES = 85, 170, 16_384
CREATED = 1_780_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """A model on offer. `width` is the length of its vectors, None if it makes none.

    It is shut down on a day, or always so many days from the clock's today: there is then one to
    be warned of at any time.
    """

    name: str
    width: int | None = None
    reasons: bool = False
    shutdown: date | None = None
    shutdown_in: timedelta | None = None

    def shutdown_date(self, today: date) -> date | None:
        """Return the day from which it does not answer, None if it is not known."""
        return today + self.shutdown_in if self.shutdown_in else self.shutdown


MODELS = {
    model.name: model
    for model in (
        Model("gpt-6-luna", reasons=True),
        Model("gpt-4o-mini", shutdown=date(2027, 1, 14)),
        Model("gpt-4.1-nano", shutdown_in=timedelta(30)),
        Model("text-embedding-3-small", width=1_536),
        Model("text-embedding-3-large", width=3_072),
    )
}


class ModelError(ValueError):
    """A request that is refused, as the service words it."""

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        told = {"message": str(self), "type": "invalid_request_error"}
        return {"error": told | {"param": self.param, "code": self.code}}


@dataclass
class Usage:
    """What one model was asked, and how much of it is paid for."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Prompt:
    """The messages of a request: their texts in order, the last user text, and the pictures."""

    texts: tuple[str, ...]
    asked: str
    images: tuple[bytes, ...]
    tokens: int


@dataclass
class ModelService:
    """The service, and what it has counted since it began or was reset. Safe in several threads."""

    clock: Callable[[], datetime]
    _usage: dict[str, Usage] = field(default_factory=dict)
    _prefixes: set[bytes] = field(default_factory=set, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def answer(self, method: str, question: str, body: bytes) -> tuple[int, str]:
        """Return status and JSON of a request to a path below `/v1/`."""
        try:
            return 200, self._said(method, question, body)
        except ModelError as error:
            return error.status, json.dumps(error.body)

    def _said(self, method: str, question: str, body: bytes) -> str:
        match method, question.split("/"):
            case "GET", ["models"]:
                return json.dumps(self.listed())
            case "GET", ["models", name]:
                return json.dumps(self.one(name))
            case "POST", ["chat", "completions"]:
                return json.dumps(self.chat(_read(body)))
            case "POST", ["embeddings"]:
                return self.embeddings(_read(body))
        raise ModelError(f"Unknown request URL: {method} /v1/{question}.", status=404)

    def listed(self) -> dict[str, Any]:
        """Return the models that answer today."""
        today = self.clock().date()
        return {
            "object": "list",
            "data": [_told(m, today) for m in MODELS.values() if _is_up(m, today)],
        }

    def one(self, name: str) -> dict[str, Any]:
        """Return one model."""
        return _told(self._model(name), self.clock().date())

    def usage(self) -> dict[str, Any]:
        """Return the counts by model."""
        with self._lock:
            return {name: asdict(used) for name, used in self._usage.items()}

    def reset(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self._usage.clear()
            self._prefixes.clear()

    def chat(self, asked: Body) -> dict[str, Any]:
        """Return a chat completion.

        Raises
        ------
        ModelError
            The request is refused.
        """
        model = self._model(asked.get("model"))
        if model.width:
            raise ModelError("This is not a chat model", "model", status=404)
        if asked.get("stream"):
            raise ModelError("Streaming is not supported here", "stream", "unsupported_value")
        prompt = _prompt(asked.get("messages"))
        content = _content(asked.get("response_format") or {"type": "text"}, prompt)
        effort = asked.get("reasoning_effort") or DEFAULT_EFFORT
        if effort not in REASONING_TOKENS:
            choices = ", ".join(REASONING_TOKENS)
            raise ModelError(
                f"Invalid value: {effort!r}. Supported values are: {choices}.",
                "reasoning_effort",
                "unsupported_value",
            )
        reasoned = REASONING_TOKENS[effort] if model.reasons else 0
        content, reasoned, finish = _within(asked, content, reasoned)
        answered = tokens(content) + reasoned
        cached = self._cached(model.name, prompt)
        self._count(model.name, Usage(1, prompt.tokens, cached, answered, reasoned))
        message = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
        return {
            "id": f"chatcmpl-{uuid4().hex}",
            "object": "chat.completion",
            "created": int(self.clock().timestamp()),
            "model": model.name,
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
            ],
            "usage": {
                "prompt_tokens": prompt.tokens,
                "completion_tokens": answered,
                "total_tokens": prompt.tokens + answered,
                "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": reasoned, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": None,
        }

    def embeddings(self, asked: Body) -> str:
        """Return the vectors of texts, as JSON.

        Raises
        ------
        ModelError
            The request is refused.
        """
        model = self._model(asked.get("model"))
        if model.width is None:
            raise ModelError("You are not allowed to generate embeddings from this model", "model")
        texts, used = _inputs(asked.get("input"))
        dimensions = asked.get("dimensions") or model.width
        if not isinstance(dimensions, int) or not 1 <= dimensions <= model.width:
            raise ModelError(
                f"Invalid value for 'dimensions' = {dimensions}. Must be between 1 and "
                f"{model.width}.",
                "dimensions",
            )
        coded = asked.get("encoding_format") or "float"
        if coded not in {"float", "base64"}:
            raise ModelError("encoding_format must be float or base64", "encoding_format")
        made = vectors(texts, model.name, model.width, dimensions)
        self._count(model.name, Usage(1, used))
        rows = pl.DataFrame(
            {
                "object": ["embedding"] * len(texts),
                "index": np.arange(len(texts)),
                "embedding": made
                if coded == "float"
                else [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in made],
            }
        )
        about = {"object": "list", "model": model.name}
        about |= {"usage": {"prompt_tokens": used, "total_tokens": used}}
        return f'{{"data": {rows.write_json()}, {json.dumps(about)[1:]}'

    def _model(self, name: object) -> Model:
        model = MODELS.get(str(name))
        if model is None or not _is_up(model, self.clock().date()):
            what = "does not exist" if model is None else "has been shut down"
            raise ModelError(f"The model `{name}` {what}", "model", "model_not_found", 404)
        return model

    def _cached(self, model: str, prompt: _Prompt) -> int:
        """Return how many tokens of the prompt's beginning an earlier one had too."""
        before, kept, beginning = 0, 0, blake2b(model.encode())
        with self._lock:
            for text in prompt.texts:
                before += tokens(text)
                beginning.update(b"\0" + text.encode())
                if before < CACHED_FROM:
                    continue
                if beginning.digest() in self._prefixes:
                    kept = before
                self._prefixes.add(beginning.digest())
        return kept // CACHED_STEP * CACHED_STEP

    def _count(self, model: str, used: Usage) -> None:
        with self._lock:
            so_far = self._usage.setdefault(model, Usage())
            for name, number in asdict(used).items():
                setattr(so_far, name, getattr(so_far, name) + number)


def _read(body: bytes) -> Body:
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise ModelError(f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(asked, dict):
        raise ModelError(f"We expected a JSON object, but got {type(asked).__name__}.")
    return asked


def _is_up(model: Model, today: date) -> bool:
    ends = model.shutdown_date(today)
    return ends is None or today < ends


def _told(model: Model, today: date) -> dict[str, Any]:
    ends = model.shutdown_date(today)
    return {
        "id": model.name,
        "object": "model",
        "created": CREATED,
        "owned_by": "sample",
        "shutdown_date": ends.isoformat() if ends else None,
    }


def _prompt(messages: object) -> _Prompt:
    """Return what the messages say and show."""
    if not isinstance(messages, list) or not messages:
        raise ModelError("Missing required parameter: 'messages'.", "messages", "missing_required")
    texts: list[str] = []
    images: list[bytes] = []
    asked, used = "", 3
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        for part in _parts(message, place):
            if part.get("type") == "text":
                texts.append(str(part.get("text")))
                used += tokens(texts[-1])
                asked = texts[-1] if message.get("role") == "user" else asked
            elif part.get("type") == "image_url":
                told = part.get("image_url") or {}
                images.append(_image(str(told.get("url")), place))
                tiles = 0 if told.get("detail") == "low" else -(-len(images[-1]) // TILE_BYTES)
                used += IMAGE_TOKENS + TILE_TOKENS * tiles
            else:
                raise ModelError(f"Invalid value: {part.get('type')!r}.", place, "invalid_value")
    return _Prompt(tuple(texts), asked, tuple(images), used)


def _parts(message: object, place: str) -> list[Body]:
    """Return the parts of a message; a text alone is one."""
    content = message.get("content") or "" if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        return content
    raise ModelError(f"Invalid type for '{place}': expected a message with content.", place)


def _image(url: str, place: str) -> bytes:
    if not url.startswith("data:image/"):
        raise ModelError(f"Failed to download image from {url[:80]}.", place, "invalid_image_url")
    try:
        return base64.b64decode(url.partition(";base64,")[2], validate=True)
    except binascii.Error as error:
        raise ModelError("Invalid base64 image_url.", place, "invalid_base64") from error


def _content(form: Body, prompt: _Prompt) -> str:
    """Return what the model says, in the form that was asked for."""
    match form:
        case {
            "type": "json_schema",
            "json_schema": {"schema": dict(schema), "name": str()} as told,
        }:
            if told.get("strict"):
                _refuse_loose(schema, ())
        case {"type": "json_object"}:
            schema = {}
        case {"type": "text"}:
            schema = None
        case _:
            raise ModelError("Invalid response_format.", "response_format", "invalid_value")
    if not prompt.images:
        return _named(schema, prompt.asked)
    try:
        said = described(prompt.images[0])
    except NotAnImageError as error:
        raise ModelError(
            "You uploaded an unsupported image. Please make sure your image has one of the "
            "following formats: ['png', 'jpeg', 'gif', 'webp'].",
            code="invalid_image_format",
        ) from error
    if schema is None:
        return str(said["caption"])
    return json.dumps(filled(schema, said) if schema else said)


def _named(schema: Body | None, asked: str) -> str:
    """Return names of the groups that a text tells of; of a text without any an answer in words."""
    groups = cluster_names(_groups(asked))
    first = groups[0] if groups else {}
    if schema is None:
        return first.get("name", "I can only describe pictures and name groups of captions.")
    return json.dumps(filled(schema, {**first, "clusters": groups}))


def _groups(asked: str) -> list[Body]:
    """Return the groups of captions in the JSON that a text holds."""
    for start in re.finditer(r"[{\[]", asked):
        try:
            told, _ = json.JSONDecoder().raw_decode(asked, start.start())
        except json.JSONDecodeError:
            continue
        found = told.get("clusters", [told]) if isinstance(told, dict) else told
        groups: list[Body] = [one for one in found if isinstance(one, dict) and "captions" in one]
        if groups:
            return groups
    return []


def _refuse_loose(schema: object, place: tuple[str, ...]) -> None:
    """Refuse a schema that no strict answer can have: objects are closed, fields required."""
    if isinstance(schema, list):
        for number, part in enumerate(schema):
            _refuse_loose(part, (*place, str(number)))
    if not isinstance(schema, dict):
        return
    fields = schema.get("properties")
    if isinstance(fields, dict) and schema.get("type") == "object":
        is_closed = schema.get("additionalProperties") is False
        if not is_closed or set(schema.get("required", [])) != set(fields):
            lacks = (
                "'required' must name every property"
                if is_closed
                else ("'additionalProperties' is required to be supplied and to be false")
            )
            raise ModelError(
                f"Invalid schema for response_format: In context=({', '.join(place)}), {lacks}.",
                "response_format",
                "invalid_json_schema",
            )
    for name, part in schema.items():
        _refuse_loose(part, (*place, name))


def _within(asked: Body, content: str, reasoned: int) -> tuple[str, int, str]:
    """Return the answer, its reasoning and why it ended, within the tokens that were allowed."""
    most = asked.get("max_completion_tokens") or asked.get("max_tokens") or math.inf
    if reasoned >= most:
        return "", int(most), "length"
    if tokens(content) + reasoned <= most:
        return content, reasoned, "stop"
    while tokens(content) + reasoned > most:
        content = content[: int(len(content) * 0.9)]
    return content, reasoned, "length"


def _inputs(told: object) -> tuple[list[str], int]:
    """Return the texts to embed and how many tokens they have."""
    texts = [told] if isinstance(told, str) else told
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise ModelError("'input' must be a text or a list of texts; tokens are not taken", "input")
    if len(texts) > MOST_INPUTS:
        raise ModelError(
            f"Invalid 'input': array too long. Expected an array with maximum length {MOST_INPUTS},"
            f" but got an array with length {len(texts)} instead.",
            "input",
            "array_above_max_length",
        )
    if not all(texts):
        raise ModelError(
            f"'$.input[{texts.index('')}]' is invalid: input cannot be an empty string.", "input"
        )
    each = [tokens(text) for text in texts]
    if max(each) > MOST_TOKENS:
        raise ModelError(
            f"This model's maximum context length is {MOST_TOKENS} tokens, however you requested "
            f"{max(each)} tokens in input {each.index(max(each))}. Please reduce your prompt.",
            "input",
        )
    if sum(each) > MOST_TOKENS_IN_ALL:
        raise ModelError(
            f"Requested {sum(each)} tokens, max {MOST_TOKENS_IN_ALL} tokens per request",
            "input",
            "max_tokens_per_request",
        )
    return texts, sum(each)
