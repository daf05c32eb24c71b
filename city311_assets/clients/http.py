"""How a source is asked: one GET, tried again for named reasons, answered in JSON or not at all.

What belongs here: everything about an exchange that is the same for every source. What does not:
what the questions are (`socrata`, `open_meteo`).
"""

import json
import logging
import random
import re
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from city311_assets.clients.errors import (
    MalformedAnswerError,
    RequestRefusedError,
    SourceUnavailableError,
)

logger = logging.getLogger(__name__)

ACCEPTED = 202
TOO_MANY_REQUESTS = 429
FIRST_WAIT_SECONDS = 1.0
SAID_SHOWN = 300
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REQUEST_ID = "X-Socrata-RequestId"
# 50,000 rows of five times the longest that any portal has; more is no page.
MOST_ANSWER_BYTES = 512 * 1024 * 1024
# Of what there is, what can be unpacked up to a size.
PACKED = "gzip"
# Half a character, which no text can hold.
HALF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a source is asked again, and how long is waited.

    The pause doubles from a second, with jitter of up to half of it, and is never shorter than a
    `Retry-After` the server sent, nor longer than `longest_wait_seconds`. `timeout_seconds` is the
    longest silence, `longest_answer_seconds` the longest an answer may take in all: one that drips
    is never silent.
    """

    attempts: int = 6
    timeout_seconds: float = 60.0
    longest_wait_seconds: float = 120.0
    sleep: Callable[[float], None] = time.sleep
    longest_answer_seconds: float = 600.0


class _TryAgainError(Exception):
    """A passing fault: what is raised if it does not pass, and how long the server asks to wait."""

    def __init__(
        self,
        final: SourceUnavailableError | MalformedAnswerError,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(str(final))
        self.final, self.wait_seconds = final, wait_seconds


class _OverdueError(httpx.ReadTimeout):
    """An answer was still coming when its time was over."""


class BodyTooLargeError(ValueError):
    """A body goes on after it should have ended, packed or not."""


class _BoundedBody(httpx.SyncByteStream):
    """A body as it comes, unpacked, until its time is over or it is too large."""

    def __init__(
        self, body: httpx.SyncByteStream, ends_at: float, packing: str, most_bytes: int
    ) -> None:
        self.body, self.ends_at = body, ends_at
        self.packing, self.most_bytes = packing, most_bytes

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from unpacked(self._in_time(), self.packing, self.most_bytes)
        except BodyTooLargeError:
            raise
        except ValueError as error:
            raise httpx.DecodingError(str(error)) from error

    def _in_time(self) -> Iterator[bytes]:
        for piece in self.body:
            if time.monotonic() > self.ends_at:
                raise _OverdueError("the answer was still coming")
            yield piece

    def close(self) -> None:
        self.body.close()


def unpacked(pieces: Iterable[bytes], packing: str, most_bytes: int) -> Iterator[bytes]:
    """Pass a body on, unpacked, up to a size: a few packed bytes may become gigabytes.

    Raises
    ------
    BodyTooLargeError
    ValueError
        It is packed in a way that was not asked for, damaged, or breaks off.
    """
    packing = packing.strip().lower()
    if packing not in {"", "identity", PACKED}:
        raise ValueError(f"the body is packed as {packing[:SAID_SHOWN]}, not as {PACKED}")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16) if packing == PACKED else None
    left, is_begun = most_bytes, False
    for piece in pieces:
        is_begun |= bool(piece)
        try:
            found = unpacker.decompress(piece, left + 1) if unpacker else piece
        except zlib.error as error:
            raise ValueError(f"the body cannot be unpacked: {error}") from error
        left -= len(found)
        if left < 0:
            raise BodyTooLargeError(f"the body has more than {most_bytes:,} bytes")
        yield found
    if unpacker and is_begun and not unpacker.eof:
        raise ValueError("the packed body breaks off")


def parsed(text: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON it is
    """Return what a JSON text says.

    Raises
    ------
    ValueError
        It is none, is nested deeper than can be read, or holds what no text can be: numbers that
        are none, halves of characters.
    """
    text = text if isinstance(text, str) else text.decode()
    try:
        found = json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if HALF_A_CHARACTER.search(text):
        # Two halves are a character; one alone cannot be written.
        json.dumps(found, ensure_ascii=False).encode()
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


@cache
def _certificates() -> ssl.SSLContext:
    """Return the trusted certificates, read once: a check opens many clients."""
    return httpx.create_ssl_context()


class Asker:
    """Asks one service for JSON. Close it, or use it as a context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        keep_in: Path | None = None,
        most_bytes: int = MOST_ANSWER_BYTES,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.patience = patience or Patience()
        self.keep_in = keep_in
        self.most_bytes = most_bytes
        # It would log every address with its whole query.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.client = httpx.Client(
            headers={"User-Agent": "city311_assets", "Accept-Encoding": PACKED, **(headers or {})},
            timeout=self.patience.timeout_seconds,
            verify=_certificates(),
        )

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def json(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:  # noqa: ANN401 - whatever JSON the service answers
        """Return the parsed answer.

        Raises
        ------
        RequestRefusedError, SourceUnavailableError, MalformedAnswerError
        """
        return parsed(self.body(path, params, parsed))

    def body(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        read: Callable[[bytes], object] = bytes,
    ) -> bytes:
        """Return the bytes of a JSON answer: an array or object from its first bracket to its last.

        An answer that `read` does not take (it raises `ValueError`) is asked for again.

        Raises
        ------
        RequestRefusedError, SourceUnavailableError, MalformedAnswerError
        """
        retrying = Retrying(
            stop=stop_after_attempt(self.patience.attempts),
            retry=retry_if_exception_type(_TryAgainError),
            wait=self._wait,
            sleep=self.patience.sleep,
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            body = retrying(self._ask_once, f"{self.base_url}{path}", dict(params or {}), read)
        except _TryAgainError as fault:
            raise fault.final from fault
        if self.keep_in:
            _keep(self.keep_in, path, body)
        return body

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds until the next try."""
        backoff = FIRST_WAIT_SECONDS * 2 ** (state.attempt_number - 1)
        backoff *= 1 + random.random() / 2  # noqa: S311 - jitter, not a secret
        fault = state.outcome.exception() if state.outcome else None
        asked = fault.wait_seconds if isinstance(fault, _TryAgainError) else None
        return min(max(backoff, asked or 0.0), self.patience.longest_wait_seconds)

    def _answer(self, url: str, params: Mapping[str, str | int]) -> httpx.Response:
        """Return a whole answer, or raise once its time is over or it is too large."""
        ends_at = time.monotonic() + self.patience.longest_answer_seconds
        request = self.client.build_request("GET", url, params=params)
        answer = self.client.send(request, stream=True, follow_redirects=False)
        try:
            if isinstance(answer.stream, httpx.SyncByteStream):
                packing = answer.headers.pop("Content-Encoding", "")
                answer.stream = _BoundedBody(answer.stream, ends_at, packing, self.most_bytes)
            answer.read()
        finally:
            answer.close()
        return answer

    def _ask_once(
        self, url: str, params: Mapping[str, str | int], read: Callable[[bytes], object]
    ) -> bytes:
        try:
            answer = self._answer(url, params)
        except _OverdueError as error:
            raise _TryAgainError(
                SourceUnavailableError(
                    f"no whole answer within {self.patience.longest_answer_seconds:g} s in "
                    f"{self.patience.attempts} tries: it was still coming",
                    url=url,
                )
            ) from error
        except BodyTooLargeError as error:
            raise MalformedAnswerError(
                f"{error}; where it is a page of records, a lower CITY311_SOCRATA_PAGE_SIZE makes "
                "it smaller",
                url=url,
            ) from error
        except httpx.RequestError as error:
            raise _TryAgainError(
                SourceUnavailableError(
                    f"no answer ({type(error).__name__}) in {self.patience.attempts} tries",
                    url=url,
                    said=str(error),
                )
            ) from error
        request_id = answer.headers.get(REQUEST_ID)
        logger.debug("%s answered %s, request id %s", url, answer.status_code, request_id)
        if answer.status_code in {ACCEPTED, TOO_MANY_REQUESTS} or answer.is_server_error:
            raise _TryAgainError(
                SourceUnavailableError(
                    f"status {answer.status_code} in {self.patience.attempts} tries",
                    url=url,
                    said=_words(answer),
                    request_id=request_id,
                ),
                retry_after_seconds(answer.headers.get("Retry-After", "")),
            )
        if not answer.is_success:
            away = f" to {_target(answer)}, which is not followed" if answer.is_redirect else ""
            raise RequestRefusedError(
                f"status {answer.status_code}{away}",
                url=url,
                said=_words(answer),
                request_id=request_id,
            )
        body = answer.content.removeprefix(BYTE_ORDER_MARK).strip()
        if not _is_read(body, read):
            raise _TryAgainError(
                MalformedAnswerError(
                    f"status 200 without whole JSON in {self.patience.attempts} tries "
                    f"(content type {answer.headers.get('Content-Type', 'none')})",
                    url=url,
                    said=_words(answer),
                    request_id=request_id,
                )
            )
        return body


def _is_read(body: bytes, read: Callable[[bytes], object]) -> bool:
    """Whether a body is an array or object, as far as `read` can tell."""
    if body[:1] + body[-1:] not in (b"[]", b"{}"):
        return False
    try:
        read(body)
    except ValueError:
        return False
    return True


def _words(answer: httpx.Response) -> str:
    """Return the message of an error body, or the beginning of what it says, on one line."""
    text = " ".join(answer.text.split())
    try:
        said = parsed(answer.text)
    except ValueError:
        return text[:SAID_SHOWN]
    if isinstance(said, dict):
        for key in ("message", "reason"):
            if said.get(key):
                return str(said[key])[:SAID_SHOWN]
    return text[:SAID_SHOWN]


def _target(answer: httpx.Response) -> str:
    """Return where a redirection leads, without the query, which may repeat the request's own."""
    target = answer.url.join(answer.headers.get("Location", ""))
    return str(target.copy_with(query=None, fragment=None, userinfo=b""))[:SAID_SHOWN]


def retry_after_seconds(text: str) -> float | None:
    """Return the seconds that a `Retry-After` asks for, given as seconds or as a date, or None."""
    text = text.strip()
    if text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError, LookupError, OverflowError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max((at - datetime.now(UTC)).total_seconds(), 0.0)


def _log_retry(state: RetryCallState) -> None:
    fault = state.outcome.exception() if state.outcome else None
    wait = state.next_action.sleep if state.next_action else 0.0
    logger.warning("asking again in %.1f s, try %s: %s", wait, state.attempt_number + 1, fault)


def _keep(folder: Path, path: str, body: bytes) -> None:
    """Write a raw answer beside the others, zstd, named by place and time."""
    import pyarrow as pa  # noqa: PLC0415 - only where raw pages are kept

    folder.mkdir(parents=True, exist_ok=True)
    name = f"{path.strip('/').replace('/', '_')}-{time.time_ns()}.json.zst"
    (folder / name).write_bytes(pa.compress(body, codec="zstd", asbytes=True))
