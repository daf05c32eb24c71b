"""How photos are fetched: from named hosts and public addresses only, and every link gets a status.

What belongs here: which address may be asked, what its answer means, and what is remembered of it.
What does not: what the bytes show (`photo_files`), or which links there are.

A link is a stranger's text. It is followed only to hosts of the feed's list; a host's name is
resolved once, every address it has must be public, and the connection goes to the address that was
looked at. Each redirection is judged like a link. Proxies of the environment are not used: behind
one, nobody knows which address is asked.
"""

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

import httpcore
import httpx

from city311_assets.clients.addresses import (
    PublicNetwork,
    Resolver,
    addresses_of,
    literal,
    refuse_private,
    resolved,
)
from city311_assets.clients.http import FIRST_WAIT_SECONDS, Patience, retry_after_seconds
from city311_assets.clients.photo_files import (
    OK,
    TELLING_BYTES,
    NoPhotoError,
    examined,
    recognized,
    stored,
    swept,
)
from city311_assets.clients.photo_links import Photo
from city311_assets.clients.progress import Progress

logger = logging.getLogger(__name__)

MOST_BYTES = 10_000_000
MOST_REDIRECTS = 5
PORTS = (80, 443)
MOVED = frozenset({301, 302, 303, 307, 308})
GONE = frozenset({404, 410})
BUSY = frozenset({408, 425, 429})
# What may pass: asked again by the next run.
PASSING = frozenset({"timed_out", "unavailable"})
# A host that failed this many links in a row is left alone for the rest of a call.
HOPELESS_AFTER = 20
HEADERS = [
    (b"User-Agent", b"city311_assets"),
    (b"Accept", b"image/*"),
    # The limit is on what is read; a packed body would be something else.
    (b"Accept-Encoding", b"identity"),
]

# A photo is small and there are many: less patience than with a portal.
PATIENCE = Patience(
    attempts=3, timeout_seconds=20.0, longest_wait_seconds=30.0, longest_answer_seconds=60.0
)


class _TryAgainError(Exception):
    """A passing fault: the status if it does not pass, and how long the host asks to wait."""

    def __init__(self, status: str, said: str, wait_seconds: float | None = None) -> None:
        super().__init__(said)
        self.status, self.said, self.wait_seconds = status, said, wait_seconds


class _NotConnectedError(_TryAgainError):
    """Nobody was spoken to."""


@dataclass
class _Host:
    """One host's turns: so many at once, so many a second, and whether it still answers."""

    at_once: threading.BoundedSemaphore
    seconds_apart: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    next_at: float = 0.0
    failed_in_a_row: int = 0

    @contextmanager
    def turn(self, sleep: Callable[[float], None]) -> Iterator[None]:
        """Wait for a turn."""
        with self.at_once:
            with self.lock:
                now = time.monotonic()
                starts_at = max(now, self.next_at)
                self.next_at = starts_at + self.seconds_apart
            if starts_at > now:
                sleep(starts_at - now)
            yield

    def rest(self, seconds: float) -> None:
        """Ask nothing of the host for so long: it said so."""
        with self.lock:
            self.next_at = max(self.next_at, time.monotonic() + seconds)

    def note(self, status: str) -> bool:
        """Count failures in a row; return whether this one made the host hopeless."""
        with self.lock:
            self.failed_in_a_row = self.failed_in_a_row + 1 if status in PASSING else 0
            return self.failed_in_a_row == HOPELESS_AFTER

    def refuse_if_hopeless(self) -> None:
        """Raise if nothing more is asked of it."""
        if self.failed_in_a_row >= HOPELESS_AFTER:
            said = f"not asked: {HOPELESS_AFTER} links of the host failed in a row"
            raise NoPhotoError("unavailable", said)


class Photos:
    """Fetches photos from allowed hosts into a folder. Use it as a context manager.

    With a `gateway` (the sample city) a link `https://host/path` is asked there, as
    `<gateway>/photos/host/path`; what is judged is the link. Names are then resolved only by a
    `resolve` that is given, for there is no network. `network` makes the connections.
    """

    def __init__(
        self,
        hosts: Collection[str],
        folder: Path,
        *,
        gateway: str | None = None,
        at_once: int = 4,
        per_second: float = 8.0,
        patience: Patience | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        resolve: Resolver | None = None,
        network: httpcore.NetworkBackend | None = None,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        self.hosts = frozenset(host.lower() for host in hosts)
        self.folder = folder
        self.gateway = httpx.URL(gateway) if gateway else None
        self.at_once = at_once
        self.patience = patience or PATIENCE
        self.clock = clock
        self.resolve = resolve or (None if gateway else addresses_of)
        self.network = PublicNetwork(
            None if gateway else self.resolve, network or httpcore.SyncBackend()
        )
        self.pool = httpcore.ConnectionPool(
            # Reading the certificates takes longer than the sample city's photo.
            ssl_context=certificates or (None if gateway else httpx.create_ssl_context()),
            max_connections=None,
            max_keepalive_connections=at_once * max(1, len(self.hosts)),
            keepalive_expiry=5.0,
            network_backend=self.network,
        )
        self._hosts = {
            host: _Host(threading.BoundedSemaphore(at_once), 1.0 / per_second)
            for host in self.hosts
        }
        # Those that do not speak TLS.
        self._plain: set[str] = set()

    def __enter__(self) -> "Photos":
        self.folder.mkdir(parents=True, exist_ok=True)
        if removed := swept(self.folder):
            logger.info("removed %s files that a killed run left half written", removed)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.pool.close()

    def fetched(
        self, urls: Sequence[str], keep: Callable[[Photo], None] | None = None
    ) -> Iterator[Photo]:
        """Ask each distinct link once and return what it came to, in the order of the answers.

        What one link comes to is never an error. A disk that is full is. `keep` is called with each
        photo as soon as its files are written, by the thread that fetched it, before the next link.
        """
        distinct = list(dict.fromkeys(urls))
        progress = Progress("photo links", len(distinct))
        pools: dict[str, ThreadPoolExecutor] = {}
        answers: SimpleQueue[Any] = SimpleQueue()
        for host in self._hosts.values():
            host.failed_in_a_row = 0
        try:
            for url in distinct:
                host = _host(url)
                # A slow host keeps only its own links waiting; strangers are never asked.
                name = host if host in self.hosts else ""
                if name not in pools:
                    pools[name] = ThreadPoolExecutor(self.at_once, f"photos-{name}")
                pools[name].submit(self._kept, url, keep).add_done_callback(answers.put)
            for _ in distinct:
                photo = answers.get().result()
                progress.note(photo.status)
                yield photo
        finally:
            for pool in pools.values():
                pool.shutdown(cancel_futures=True)

    def _kept(self, url: str, keep: Callable[[Photo], None] | None) -> Photo:
        photo = self._photo(url)
        if keep:
            keep(photo)
        return photo

    def _photo(self, url: str) -> Photo:
        """Return what one link came to."""
        asked_at = None
        host = self._hosts.get(_host(url) or "")
        try:
            link = _link(url)
            self._judge(link)
            if host:
                host.refuse_if_hopeless()
            asked_at = self.clock().astimezone(UTC).replace(tzinfo=None)
            body = self._patiently(link)
            picture = examined(body)
        except NoPhotoError as found:
            logger.debug("%s: %s", _shown(url), found)
            if host and asked_at and host.note(found.status):
                logger.warning(
                    "%s failed %s links in a row and is left alone", _host(url), HOPELESS_AFTER
                )
            return Photo(
                url,
                status=found.status,
                said=found.said,
                mime=found.mime,
                width=found.width,
                height=found.height,
                fetched_at=asked_at,
            )
        if host:
            host.note(OK)
        kept = stored(self.folder, body, picture)
        return Photo(
            url,
            kept.photo_id,
            OK,
            None,
            picture.kind.mime,
            picture.width,
            picture.height,
            len(body),
            picture.phash,
            kept.path,
            kept.thumbnail_path,
            asked_at,
        )

    def _judge(self, url: httpx.URL) -> None:
        """Raise if an address must not be asked, as far as it can be told without a connection."""
        if url.scheme not in {"http", "https"}:
            raise NoPhotoError("host_not_allowed", f"no web address, {url.scheme or 'no scheme'}")
        if address := literal(url.host):
            refuse_private(url.host, [address])
        if url.host not in self.hosts:
            raise NoPhotoError("host_not_allowed", url.host)
        if url.port not in {None, *PORTS}:
            raise NoPhotoError("host_not_allowed", f"{url.host}, port {url.port}")

    def _patiently(self, link: httpx.URL) -> bytes:
        """Return the bytes behind a link, asking again while that may help."""
        attempt = 1
        while True:
            try:
                return self._followed(link)
            except _TryAgainError as fault:
                if attempt >= self.patience.attempts:
                    tries = f"{fault.said}, in {attempt} tries"
                    raise NoPhotoError(fault.status, tries) from fault
                backoff = FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
                backoff *= 1 + random.random() / 2  # noqa: S311 - jitter, not a secret
                wait = max(backoff, fault.wait_seconds or 0.0)
                self.patience.sleep(min(wait, self.patience.longest_wait_seconds))
                attempt += 1

    def _followed(self, link: httpx.URL) -> bytes:
        """Return the bytes behind a link, judging every address on the way."""
        answer = self._preferring_https(link)
        for _ in range(MOST_REDIRECTS):
            if isinstance(answer, bytes):
                return answer
            self._judge(answer)
            answer = self._exchange(answer)
        if isinstance(answer, bytes):
            return answer
        raise NoPhotoError("too_many_redirects", f"more than {MOST_REDIRECTS}")

    def _preferring_https(self, link: httpx.URL) -> bytes | httpx.URL:
        """Ask a link, by TLS where its host speaks it."""
        is_plain = link.scheme == "http" and link.port is None and not self.gateway
        if is_plain and link.host not in self._plain:
            try:
                return self._exchange(link.copy_with(scheme="https"))
            except _NotConnectedError as fault:
                logger.debug("%s: by http, for https failed: %s", link.host, fault)
                self._plain.add(link.host)
        return self._exchange(link)

    def _exchange(self, url: httpx.URL) -> bytes | httpx.URL:
        """Ask once; return the bytes, or where the answer points to."""
        target = url
        if self.gateway:
            path = f"/photos/{url.host}".encode() + url.raw_path
            target = self.gateway.copy_with(raw_path=path)
        host, patience = self._hosts[url.host], self.patience
        with host.turn(patience.sleep):
            self.network.allow(patience.longest_answer_seconds)
            seconds = dict.fromkeys(("connect", "read", "write"), patience.timeout_seconds)
            try:
                if self.gateway and self.resolve:
                    refuse_private(url.host, resolved(url.host, self.resolve))
                with self.pool.stream(
                    "GET",
                    httpcore.URL(
                        scheme=target.raw_scheme,
                        host=target.raw_host,
                        port=target.port,
                        target=target.raw_path,
                    ),
                    headers=HEADERS,
                    extensions={"timeout": seconds},
                ) as answer:
                    return _read(url, answer)
            except _TryAgainError as fault:
                host.rest(min(fault.wait_seconds or 0.0, patience.longest_wait_seconds))
                raise
            except httpcore.ConnectTimeout as error:
                raise _NotConnectedError("timed_out", "no connection in time") from error
            # Not tried again before the next run: a link that drips takes all its time each time.
            except httpcore.TimeoutException as error:
                raise NoPhotoError("timed_out", str(error) or "no answer in time") from error
            except httpcore.ConnectError as error:
                raise _NotConnectedError("unavailable", f"no connection: {error}") from error
            except (httpcore.NetworkError, httpcore.ProtocolError) as error:
                said = f"{type(error).__name__}: {error}"
                raise _TryAgainError("unavailable", said) from error


def _read(url: httpx.URL, answer: httpcore.Response) -> bytes | httpx.URL:
    """Return the bytes of an answer, not more than are wanted, or where it points to."""
    headers = [(name.decode("latin-1"), text.decode("latin-1")) for name, text in answer.headers]
    said = {name.lower(): text for name, text in headers}
    if answer.status in MOVED and "location" in said:
        return _moved(url, said["location"])
    if not 200 <= answer.status < 300:
        _refuse_by_status(answer.status, said.get("retry-after", ""))
    content_type = said.get("content-type", "")
    length = said.get("content-length", "")
    if length.isdecimal() and float(length) > MOST_BYTES:
        raise NoPhotoError("too_large", f"{length} bytes")
    body = bytearray()
    for piece in answer.iter_stream():
        is_new = len(body) < TELLING_BYTES
        body += piece
        if is_new and len(body) >= TELLING_BYTES:
            recognized(bytes(body[:TELLING_BYTES]), content_type)
        if len(body) > MOST_BYTES:
            raise NoPhotoError("too_large", f"more than {MOST_BYTES} bytes")
    recognized(bytes(body[:TELLING_BYTES]), content_type)
    return bytes(body)


def _refuse_by_status(status: int, retry_after: str) -> NoReturn:
    """Raise what a status other than success means; a refusal of any other kind is one, too."""
    said = f"status {status}"
    if status in BUSY or status >= 500:
        raise _TryAgainError("unavailable", said, retry_after_seconds(retry_after))
    if status in GONE:
        raise NoPhotoError("not_found", said)
    raise NoPhotoError("forbidden" if status >= 400 else "not_an_image", said)


def _moved(url: httpx.URL, location: str) -> httpx.URL:
    """Return where a redirection leads."""
    try:
        return _bare(url.join(location.encode("latin-1").decode("utf-8", "replace")))
    except (httpx.InvalidURL, ValueError) as error:
        raise NoPhotoError("host_not_allowed", f"redirected to no address: {error}") from error


def _link(url: str) -> httpx.URL:
    """Return a published value as an address.

    Raises
    ------
    NoPhotoError
        `no_link`: it is none.
    """
    try:
        link = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise NoPhotoError("no_link", str(error)) from error
    if link.scheme not in {"http", "https"} or not link.host:
        raise NoPhotoError("no_link", "no http or https address")
    return _bare(link)


def _bare(url: httpx.URL) -> httpx.URL:
    """Return an address without names, passwords and places in a page: they are not sent."""
    return url.copy_with(userinfo=b"", fragment=None)


def _host(url: str) -> str | None:
    try:
        return _link(url).host
    except NoPhotoError:
        return None


def _shown(url: str) -> str:
    """Return a link without its query, for a log."""
    return url.partition("?")[0].partition("#")[0]
