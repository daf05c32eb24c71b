"""A model service: anything that answers as OpenAI's chat completions and embeddings do.

What belongs here: how it is asked, tried again, counted and paid for. What does not: what it is
asked (`atlas.prompts`), and where its calls are written down (`atlas.ledger`).
"""

import json
import logging
import random
import re
import ssl
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

import numpy as np
from pydantic import BaseModel, Field, SecretStr, ValidationError

from city311_assets.clients.errors import (
    MalformedAnswerError,
    RequestRefusedError,
    SourceError,
    SourceUnavailableError,
)
from city311_assets.clients.http import (
    FIRST_WAIT_SECONDS,
    MOST_ANSWER_BYTES,
    PACKED,
    SAID_SHOWN,
    Patience,
    retry_after_seconds,
    unpacked,
)
from city311_assets.clients.prices import OPENAI_HOST, PRICES_OF, Price, is_openai, price_of

if TYPE_CHECKING:
    import openai
    from openai._legacy_response import LegacyAPIResponse

logger = logging.getLogger(__name__)

Read = TypeVar("Read")

# The services' limits. No text has more tokens than bytes, so counting bytes keeps to them for any
# tokenizer; texts of cases are far shorter.
TEXTS_A_REQUEST = 2_048
TOKENS_A_TEXT = 8_192
TOKENS_A_REQUEST = 300_000
# For estimates: of plain English, and of a photo at low detail.
BYTES_A_TOKEN = 4
TOKENS_AN_IMAGE = 850
MAX_TOKENS = 600
# Models that would reason, and bill it, unless told not to; and those whose limit has a new name.
REASONS = re.compile(r"gpt-[56]")
LIMITS_COMPLETION = re.compile(r"gpt-[4-9]|o\d")
# A service that has not answered so many calls in a row, each with all its tries, is given up.
GIVEN_UP_AFTER = 5
TOO_MANY_REQUESTS = 429
PASSING = {408, 409, TOO_MANY_REQUESTS}
# What no other question would be answered differently to.
CLOSED = {401, 403}
OUT_OF_MONEY = "insufficient_quota"
SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
SPAN_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
CUT_SHOWN = 5
# Sums of small dollars are not exact.
ROUNDING_USD = 1e-12


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at one call, in the columns of `atlas.model_calls`."""

    call_id: str
    called_at: datetime
    purpose: str
    model: str
    items: int
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    tokens_reasoning: int
    usd: float
    priced_on: date
    seconds: float
    attempt: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: a value of the schema asked for, or the error that there is none.

    `error` is `refused`, `truncated`, `invalid_json`, `wrong_schema`, `empty`, `unavailable`,
    `rejected` or `budget`; `raw` is what the model said.
    """

    value: BaseModel | None
    raw: str
    error: str | None


class BudgetExceededError(Exception):
    """A call was not made: what it may cost would pass the budget."""


class Budget:
    """What may be spent; shared by threads.

    A call reserves what it may cost and settles for what it did. One that does not fit waits for
    those under way, and is refused when it would not fit beside what has really been spent.
    """

    def __init__(self, usd: float) -> None:
        self.usd = usd
        self._spent = self._reserved = 0.0
        self._changed = threading.Condition()

    @property
    def spent(self) -> float:
        """US dollars spent so far."""
        return self._spent

    @property
    def left(self) -> float:
        """US dollars that may still be spent."""
        return max(self.usd - self._spent, 0.0)

    def allows(self, estimate_usd: float) -> bool:
        """Whether a call would fit beside what has been spent."""
        return self._spent + estimate_usd <= self.usd + ROUNDING_USD

    def reserve(self, estimate_usd: float) -> None:
        """Set a call's cost aside.

        Raises
        ------
        BudgetExceededError
        """
        with self._changed:
            while self._spent + self._reserved + estimate_usd > self.usd + ROUNDING_USD:
                if not self.allows(estimate_usd):
                    raise BudgetExceededError(
                        f"a call of up to ${estimate_usd:.6f} was not made: ${self._spent:.6f} of "
                        f"${self.usd:g} is spent; raise CITY311_MODEL_BUDGET_USD to go on"
                    )
                self._changed.wait()
            self._reserved += estimate_usd

    def settle(self, estimate_usd: float, usd: float) -> None:
        """Give a reservation back for what the call did cost."""
        with self._changed:
            self._reserved = max(self._reserved - estimate_usd, 0.0)
            self._spent += usd
            self._changed.notify_all()


# What a service says it counted is money here: none is given back, and the books can hold it.
_Tokens = Annotated[int, Field(ge=0, le=10**12)]


class _PromptDetails(BaseModel):
    cached_tokens: _Tokens | None = None


class _CompletionDetails(BaseModel):
    reasoning_tokens: _Tokens | None = None


class _Usage(BaseModel):
    prompt_tokens: _Tokens = 0
    completion_tokens: _Tokens = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    @property
    def cached(self) -> int:
        said = (self.prompt_tokens_details or _PromptDetails()).cached_tokens or 0
        return min(said, self.prompt_tokens)

    @property
    def reasoning(self) -> int:
        return (self.completion_tokens_details or _CompletionDetails()).reasoning_tokens or 0


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Vector(BaseModel):
    index: int
    embedding: list[float]


class _Embeddings(BaseModel):
    data: list[_Vector]
    usage: _Usage | None = None


class _Model(BaseModel):
    id: str
    shutdown_date: str | None = None


class _Listing(BaseModel):
    data: list[_Model]


@dataclass(frozen=True, slots=True)
class _Question(Generic[Read]):
    """One call: how it is sent, how its body is read (`ValueError` if it cannot be), its price.

    `read` returns what was read, the usage, and the error that the answer itself is.
    """

    purpose: str
    model: str
    items: int
    tokens_in: int
    max_tokens: int
    price: Price
    send: "Callable[[], LegacyAPIResponse[Any]]"
    read: Callable[[bytes], tuple[Read, _Usage | None, str | None]]


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why an attempt brought no answer: what is raised, whether it may pass, and when."""

    error: SourceError
    passes: bool
    wait_seconds: float | None = None
    # It may have been answered, and charged, all the same.
    is_silence: bool = False
    is_closed: bool = False


class Models:
    """Asks one model service. Close it, or use it as a context manager; threads may share it.

    Every attempt is given to `record`, from the thread that made it.
    """

    def __init__(
        self,
        base_url: str,
        key: SecretStr | str | None,
        *,
        patience: Patience,
        at_once: int = 4,
        budget: Budget,
        record: Callable[[Call], None],
    ) -> None:
        import openai  # noqa: PLC0415 - a second to load, and most runs ask no model

        self._key = key.get_secret_value() if isinstance(key, SecretStr) else key
        if is_openai(base_url) and not self._key:
            raise ValueError(
                f"{OPENAI_HOST} answers nobody without a key; set CITY311_MODEL_KEY, or "
                "CITY311_MODEL_URL to a service that needs none"
            )
        self.base_url = base_url.rstrip("/")
        # As it may be told to anybody.
        self.place = urlsplit(self.base_url)._replace(query="").geturl().rpartition("@")[2]
        self.patience, self.at_once = patience, at_once
        self.budget, self.record = budget, record
        self._slots = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        # How many times more tokens were counted than estimated, at most; by model.
        self._scale: dict[str, float] = {}
        self._silent_calls = 0
        self._is_closed = False
        # They would log every address.
        for name in ("httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=self.place,
            max_retries=0,
            timeout=patience.timeout_seconds,
            http_client=_http_client(patience),
        )

    def __enter__(self) -> "Models":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def estimated_usd(
        self,
        messages_text: str,
        system: str,
        schema: type[BaseModel],
        *,
        model: str,
        images: int = 0,
        max_tokens: int = MAX_TOKENS,
    ) -> float:
        """Return what a call may cost, US dollars: its text, its photos and the longest answer."""
        tokens = _tokens(messages_text, system, json.dumps(schema.model_json_schema()))
        price = price_of(model, self.base_url)
        return self._estimate(model, price, tokens + images * TOKENS_AN_IMAGE, max_tokens)

    def structured(
        self,
        messages_text: str,
        system: str,
        schema: type[BaseModel],
        *,
        model: str,
        purpose: str,
        images: Sequence[bytes] = (),
        detail: Literal["low", "high", "auto"] = "low",
        max_tokens: int = MAX_TOKENS,
    ) -> Answer:
        """Return a model's answer in a schema; `images` are JPEG files."""
        price = price_of(model, self.base_url)
        if error := self._gives_up:
            return Answer(None, "", error)
        format_ = schema.model_json_schema()
        content: Any = messages_text
        if images:
            content = [{"type": "text", "text": messages_text}]
            for image in images:
                url = f"data:image/jpeg;base64,{b64encode(image).decode()}"
                content.append({"type": "image_url", "image_url": {"url": url, "detail": detail}})
        limit = "max_completion_tokens" if LIMITS_COMPLETION.match(model) else "max_tokens"
        asked: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": content},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": schema.__name__, "schema": format_, "strict": True},
            },
            limit: max_tokens,
        }
        if REASONS.match(model):
            asked["reasoning_effort"] = "none"
        create = self._client.chat.completions.with_raw_response.create
        question = _Question(
            purpose,
            model,
            max(len(images), 1),
            _tokens(messages_text, system, json.dumps(format_)) + len(images) * TOKENS_AN_IMAGE,
            max_tokens,
            price,
            lambda: create(**asked),
            lambda body: _read_completion(body, schema),
        )
        try:
            return self._asked(question)
        except BudgetExceededError:
            return Answer(None, "", "budget")
        except RequestRefusedError:
            return Answer(None, "", "rejected")
        except SourceError:
            return Answer(None, "", "unavailable")

    def embedded(
        self, texts: Sequence[str], *, model: str, dimensions: int | None = None
    ) -> np.ndarray:
        """Return one unit vector a text, (n, d) float32, in the order of the texts.

        A text longer than the service takes is cut, which is logged.

        Raises
        ------
        ValueError
            A text is empty.
        BudgetExceededError
            The next request would pass the budget; those before it were made and paid for.
        RequestRefusedError, SourceUnavailableError, MalformedAnswerError
        """
        if empty := [index for index, text in enumerate(texts) if not text.strip()]:
            raise ValueError(
                f"texts {empty[:CUT_SHOWN]} of {len(texts)} are empty; services embed no empty "
                "text: leave such cases out"
            )
        if not texts:
            return np.zeros((0, dimensions or 0), dtype=np.float32)
        price = price_of(model, self.base_url)
        kept = _within_limits(texts)
        options: dict[str, Any] = {} if dimensions is None else {"dimensions": dimensions}
        create = self._client.embeddings.with_raw_response.create

        def of(part: list[str]) -> np.ndarray:
            question = _Question(
                "embeddings",
                model,
                len(part),
                _tokens(*part),
                0,
                price,
                lambda: create(model=model, input=part, encoding_format="float", **options),
                lambda body: _read_vectors(body, len(part)),
            )
            return self._asked(question)

        with ThreadPoolExecutor(self.at_once) as pool:
            found = list(pool.map(of, _requests(kept)))
        lengths = sorted({part.shape[1] for part in found})
        if len(lengths) > 1 or (dimensions is not None and lengths != [dimensions]):
            wanted = f", not {dimensions}" if dimensions is not None else ""
            raise MalformedAnswerError(
                f"{model} gave vectors of {lengths} dimensions{wanted}", url=self.place
            )
        return np.vstack(found)

    def listed(self) -> dict[str, date | None]:
        """Return the models that the service has, each with the day it is shut down, if known.

        Raises
        ------
        RequestRefusedError, SourceUnavailableError, MalformedAnswerError
        """
        for attempt in range(1, self.patience.attempts + 1):
            fault, found = self._tried(
                self._client.models.with_raw_response.list, _read_listing, "models"
            )
            if fault is None:
                return found
            self._wait_or_raise(fault, attempt)
        raise AssertionError("the last attempt raises")

    def _estimate(self, model: str, price: Price, tokens_in: int, max_tokens: int) -> float:
        """Return a call's cost, corrected by the most that a service has counted over it."""
        return price.usd(tokens_in * self._scale.get(model, 1.0), 0, max_tokens)

    @property
    def _gives_up(self) -> str | None:
        """The error of calls that are not made any more; null while they are."""
        if self._is_closed:
            return "rejected"
        return "unavailable" if self._silent_calls >= GIVEN_UP_AFTER else None

    def _asked(self, question: _Question[Read]) -> Read:
        """Ask until there is an answer, patience or budget is at its end, or it is refused."""
        for attempt in range(1, self.patience.attempts + 1):
            with self._slots:
                fault, found = self._counted(question, attempt)
            if fault is None:
                self._silent_calls = 0
                return found
            self._is_closed |= fault.is_closed
            if attempt == self.patience.attempts or not fault.passes:
                with self._lock:
                    self._silent_calls = self._silent_calls + 1 if fault.passes else 0
            self._wait_or_raise(fault, attempt)
        raise AssertionError("the last attempt raises")

    def _counted(self, question: _Question[Read], attempt: int) -> tuple[_Fault | None, Any]:
        """Make one attempt inside the budget, and write it down."""
        estimate = self._estimate(
            question.model, question.price, question.tokens_in, question.max_tokens
        )
        self.budget.reserve(estimate)
        usage, error, usd = _Usage(), None, 0.0
        called_at, started = datetime.now(UTC).replace(tzinfo=None), time.monotonic()
        fault = None
        try:
            fault, found = self._tried(question.send, question.read, question.purpose)
            if fault is None:
                found, counted, error = found
                usage = counted or usage
                usd = question.price.usd(usage.prompt_tokens, usage.cached, usage.completion_tokens)
            else:
                error = fault.error.problem
        finally:
            # The service may have done, and charged, what it was too slow to tell.
            self.budget.settle(estimate, estimate if fault and fault.is_silence else usd)
        with self._lock:
            scale = usage.prompt_tokens / max(question.tokens_in, 1)
            self._scale[question.model] = max(self._scale.get(question.model, 1.0), scale)
        self.record(
            Call(
                call_id=uuid.uuid4().hex,
                called_at=called_at,
                purpose=question.purpose,
                model=question.model,
                items=question.items,
                tokens_in=usage.prompt_tokens,
                tokens_cached=usage.cached,
                tokens_out=usage.completion_tokens,
                tokens_reasoning=usage.reasoning,
                usd=usd,
                priced_on=PRICES_OF,
                seconds=time.monotonic() - started,
                attempt=attempt,
                error=error,
            )
        )
        return fault, found

    def _tried(
        self,
        send: "Callable[[], LegacyAPIResponse[Any]]",
        read: Callable[[bytes], Any],
        what: str,
    ) -> tuple[_Fault | None, Any]:
        """Send once; return the fault, or what was read."""
        import openai  # noqa: PLC0415 - as above

        try:
            answer = send()
        except openai.APIStatusError as error:
            return self._status_fault(error), None
        except openai.APIConnectionError as error:
            # A broken connection and a time-out alike.
            silence = f"no answer ({type(error.__cause__ or error).__name__})"
            problem = SourceUnavailableError(silence, url=self.place)
            return _Fault(problem, passes=True, is_silence=True), None
        try:
            return None, read(answer.content)
        except ValueError as error:
            unread = MalformedAnswerError(
                "status 200 with another body than a service of models gives",
                url=self.place,
                said=self._safe(_reason(error)),
            )
            logger.debug("unread answer about %s: %s", what, unread)
            return _Fault(unread, passes=True), None

    def _status_fault(self, error: "openai.APIStatusError") -> _Fault:
        """Return what a status other than 200 means."""
        status = error.status_code
        body = error.body if isinstance(error.body, dict) else {}
        said = self._safe(str(body.get("message") or error.response.text))
        named = {
            "url": self.place,
            "said": said,
            "request_id": error.response.headers.get("x-request-id"),
        }
        is_broke = OUT_OF_MONEY in {body.get("code"), body.get("type")}
        if (status in PASSING or status >= 500) and not is_broke:
            problem = SourceUnavailableError(f"status {status}", **named)
            return _Fault(problem, passes=True, wait_seconds=asked_wait(error.response.headers))
        refused = RequestRefusedError(f"status {status}", **named)
        return _Fault(refused, passes=False, is_closed=is_broke or status in CLOSED)

    def _wait_or_raise(self, fault: _Fault, attempt: int) -> None:
        """Wait before the next attempt, or raise what the last one brought."""
        if not fault.passes or attempt == self.patience.attempts:
            logger.warning("a model was not asked with success: %s", fault.error)
            raise fault.error
        backoff = FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
        backoff *= 1 + random.random() / 2  # noqa: S311 - jitter, not a secret
        wait = max(backoff, fault.wait_seconds or 0.0)
        wait = min(wait, self.patience.longest_wait_seconds)
        logger.warning("asking again in %.1f s, try %s: %s", wait, attempt + 1, fault.error)
        self.patience.sleep(wait)

    def _safe(self, said: str) -> str:
        """Return the beginning of what a service said, on one line, without the key."""
        text = " ".join(said.split())
        return (text.replace(self._key, "***") if self._key else text)[:SAID_SHOWN]


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a service asks to wait: its `Retry-After`, else when its limits reset.

    Of the limits those count that are used up, or all if it does not say which are.
    """
    if text := headers.get("retry-after-ms", ""):
        return _number(text, 0.001)
    if text := headers.get("retry-after", ""):
        seconds = _number(text)
        return retry_after_seconds(text) if seconds is None else seconds
    resets: dict[str, float] = {}
    used_up: set[str] = set()
    for limit in ("requests", "tokens"):
        reset = span_seconds(headers.get(f"x-ratelimit-reset-{limit}", ""))
        if reset is not None:
            resets[limit] = reset
            if headers.get(f"x-ratelimit-remaining-{limit}") == "0":
                used_up.add(limit)
    return max((resets[limit] for limit in used_up or resets), default=None)


def span_seconds(text: str) -> float | None:
    """Return the seconds of a span such as `6m0s`, `1.5s` or `20ms`; None if it is none."""
    parts = SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return _number(text)
    return sum(float(number) * SPAN_SECONDS[unit] for number, unit in parts)


def _number(text: str, unit: float = 1.0) -> float | None:
    try:
        number = float(text) * unit
    except ValueError:
        return None
    return number if 0.0 <= number < float("inf") else None


def _tokens(*texts: str) -> int:
    """Return about how many tokens texts have."""
    return sum(len(text.encode()) // BYTES_A_TOKEN + 1 for text in texts)


def _within_limits(texts: Sequence[str]) -> list[str]:
    """Return the texts, those too long for the service cut."""
    kept, cut = [], []
    for index, text in enumerate(texts):
        data = text.encode()
        if len(data) > TOKENS_A_TEXT:
            cut.append(index)
            data = data[:TOKENS_A_TEXT]
        kept.append(data.decode(errors="ignore"))
    if cut:
        logger.warning(
            "%d of %d texts were cut to %d bytes to be embedded, the first of them %s",
            len(cut),
            len(texts),
            TOKENS_A_TEXT,
            cut[:CUT_SHOWN],
        )
    return kept


def _requests(texts: Sequence[str]) -> Iterator[list[str]]:
    """Split texts into requests that the service takes."""
    part: list[str] = []
    size = 0
    for text in texts:
        length = len(text.encode())
        if part and (len(part) == TEXTS_A_REQUEST or size + length > TOKENS_A_REQUEST):
            yield part
            part, size = [], 0
        part.append(text)
        size += length
    yield part


def _read_completion(
    body: bytes, schema: type[BaseModel]
) -> tuple[Answer, _Usage | None, str | None]:
    """Read an answer of chat completions; what the model did wrong is an answer too."""
    completion = _Completion.model_validate_json(body)
    if not completion.choices:
        return Answer(None, "", "empty"), completion.usage, "empty"
    choice = completion.choices[0]
    raw = choice.message.content or ""
    value, error = None, None
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raw, error = choice.message.refusal or raw, "refused"
    elif choice.finish_reason == "length":
        error = "truncated"
    elif not raw.strip():
        error = "empty"
    else:
        try:
            value = schema.model_validate_json(raw)
        except ValidationError as wrong:
            kinds = {one["type"] for one in wrong.errors(include_url=False)}
            error = "invalid_json" if "json_invalid" in kinds else "wrong_schema"
    return Answer(value, raw, error), completion.usage, error


def _read_vectors(body: bytes, wanted: int) -> tuple[np.ndarray, _Usage | None, str | None]:
    """Read an answer of embeddings into unit rows."""
    answer = _Embeddings.model_validate_json(body)
    ordered = sorted(answer.data, key=lambda one: one.index)
    if [one.index for one in ordered] != list(range(wanted)):
        raise ValueError(f"{len(ordered)} vectors came for {wanted} texts")
    # Rows of unequal length raise ValueError.
    vectors = np.array([one.embedding for one in ordered], dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise ValueError("a vector has no direction")
    return (vectors / norms).astype(np.float32), answer.usage, None


def _read_listing(body: bytes) -> dict[str, date | None]:
    """Read the list of models; a shutdown may be told with its time."""
    return {
        model.id: date.fromisoformat(model.shutdown_date[:10]) if model.shutdown_date else None
        for model in _Listing.model_validate_json(body).data
    }


def _reason(error: ValueError) -> str:
    """Return why a body could not be read, without the body."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}"
    return str(error)


@cache
def _certificates() -> ssl.SSLContext:
    """Return the trusted certificates, read once."""
    import httpx2  # noqa: PLC0415 - comes with openai

    return httpx2.create_ssl_context()


def _http_client(patience: Patience) -> "openai.DefaultHttpxClient":
    """Return the connections: no redirection is followed, no answer is without end."""
    import httpx2  # noqa: PLC0415 - as above
    import openai  # noqa: PLC0415 - as above

    class BoundedBody(httpx2.SyncByteStream):
        """A body as it comes, unpacked, until its time is over or it is too large."""

        def __init__(self, body: httpx2.SyncByteStream, packing: str) -> None:
            self.body, self.packing = body, packing
            self.ends_at = time.monotonic() + patience.longest_answer_seconds

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from unpacked(self.in_time(), self.packing, MOST_ANSWER_BYTES)
            except ValueError as error:
                raise httpx2.DecodingError(str(error)) from error

        def in_time(self) -> Iterator[bytes]:
            for piece in self.body:
                if time.monotonic() > self.ends_at:
                    raise httpx2.ReadTimeout("the answer was still coming")
                yield piece

        def close(self) -> None:
            self.body.close()

    def bounded(response: httpx2.Response) -> None:
        if isinstance(response.stream, httpx2.SyncByteStream):
            packing = response.headers.pop("Content-Encoding", "")
            response.stream = BoundedBody(response.stream, packing)

    return openai.DefaultHttpxClient(
        timeout=patience.timeout_seconds,
        verify=_certificates(),
        follow_redirects=False,
        headers={"Accept-Encoding": PACKED},
        event_hooks={"response": [bounded]},
    )
