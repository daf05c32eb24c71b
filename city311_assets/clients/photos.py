"""How photos are fetched: from named hosts and public addresses only, and every link gets a status.

What belongs here: which address may be asked, what its answer means, and what is remembered of it.
What does not: what the bytes show (`photo_files`), or which links there are.

A link is a stranger's text. It is followed only to hosts of the feed's list; a host's name is
resolved once, every address it has must be public, and the connection goes to the address that was
looked at. Each redirection is judged like a link. Proxies of the environment are not used: behind
one, nobody knows which address is asked.
"""

import ipaddress
import json
import logging
import random
import socket
import sqlite3
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

import httpcore
import httpx

from city311_assets.clients.http import FIRST_WAIT_SECONDS, Patience
from city311_assets.clients.photo_files import (
    OK,
    TELLING_BYTES,
    NoPhotoError,
    examined,
    recognized,
    stored,
    swept,
)

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
SECONDS_BETWEEN_WORDS = 10.0
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

Resolver = Callable[[str], Sequence[str]]

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
NEVER_ASKED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocols' own, and a cloud's
        "192.88.99.0/24",  # relays of 6to4, given up
        "168.63.129.16/32",  # a cloud's own services, on a public address
        "2001::/23",  # Teredo and other protocols' own
        "3fff::/20",  # documentation
    )
)


@dataclass(frozen=True, slots=True)
class Photo:
    """What one link came to, in the words of `atlas.photos`; the paths are below the folder.

    `fetched_at` is null if the link alone said enough, or its host had stopped answering.
    """

    url: str
    photo_id: str | None = None
    status: str = OK
    said: str | None = None
    mime: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    phash: str | None = None
    path: str | None = None
    thumbnail_path: str | None = None
    fetched_at: datetime | None = None


class _TryAgainError(Exception):
    """A passing fault: the status if it does not pass, and how long the host asks to wait."""

    def __init__(self, status: str, said: str, wait_seconds: float | None = None) -> None:
        super().__init__(said)
        self.status, self.said, self.wait_seconds = status, said, wait_seconds


class _NotConnectedError(_TryAgainError):
    """Nobody was spoken to."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, whatever it is wrapped in."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(found in network for network in NEVER_ASKED if network.version == found.version):
        return False
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour
        if found in NAT64:
            wrapped = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        if wrapped:
            return is_public(str(wrapped))
        if found not in GLOBAL_UNICAST:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved)


def addresses_of(host: str) -> list[str]:
    """Return the addresses of a host's name, as this machine resolves it."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _literal(host: str) -> str | None:
    """Return the address that a host is written as, if it is one: `127.1` is one too."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _refuse_private(host: str, addresses: Iterable[str]) -> None:
    """Raise if any of a host's addresses is not public: which of them is asked is its choice."""
    for address in addresses:
        if not is_public(address):
            raise NoPhotoError("private_address", f"{host} is at {address}")


class _TimedStream(httpcore.NetworkStream):
    """A connection whose answers have an end, however slowly they come."""

    def __init__(self, stream: httpcore.NetworkStream, seconds_left: Callable[[], float]) -> None:
        self.stream, self.seconds_left = stream, seconds_left

    def _within(self, timeout: float | None) -> float:
        left = self.seconds_left()
        if left <= 0:
            raise httpcore.ReadTimeout("the answer was still coming")
        return left if timeout is None else min(left, timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, self._within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, self._within(timeout))

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self.stream.start_tls(ssl_context, server_hostname, self._within(timeout))
        return _TimedStream(secured, self.seconds_left)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the base class's
        return self.stream.get_extra_info(info)


class _Network(httpcore.NetworkBackend):
    """Connects to the addresses that were judged, and to no others; each thread has its deadline.

    Names are resolved here and nowhere else, so that between the look and the connection no name
    can come to mean another address.
    """

    def __init__(self, resolve: Resolver | None, below: httpcore.NetworkBackend) -> None:
        self.resolve, self.below = resolve, below
        self.own = threading.local()

    def allow(self, seconds: float) -> None:
        """Let what this thread does from now on take so long."""
        self.own.ends_at = time.monotonic() + seconds

    def seconds_left(self) -> float:
        """Return how long this thread still has."""
        return self.own.ends_at - time.monotonic()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = [host]
        if self.resolve:
            addresses = resolved(host, self.resolve)
            _refuse_private(host, addresses)
        fault: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            try:
                stream = self.below.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                fault = error
            else:
                return _TimedStream(stream, self.seconds_left)
        raise fault or httpcore.ConnectError(f"{host} has no address")


def resolved(host: str, resolve: Resolver) -> list[str]:
    """Return a host's addresses; a name that has none is one that cannot be connected to."""
    try:
        return [*resolve(host)]
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error


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
        self.network = _Network(
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
        progress = _Progress(len(distinct))
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
                progress.note(photo)
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
        if literal := _literal(url.host):
            _refuse_private(url.host, [literal])
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
                    _refuse_private(url.host, resolved(url.host, self.resolve))
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
        raise _TryAgainError("unavailable", said, _seconds(retry_after))
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


def _seconds(retry_after: str) -> float | None:
    """Return the seconds that a `Retry-After` asks for, given as seconds or as a date."""
    text = retry_after.strip()
    if text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError, LookupError, OverflowError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


class _Progress:
    """Says now and then how far it is, how fast, and how long it will take."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.began_at = self.spoke_at = time.monotonic()
        self.by_status: Counter[str] = Counter()

    def note(self, photo: Photo) -> None:
        """Count one."""
        self.by_status[photo.status] += 1
        now = time.monotonic()
        done = self.by_status.total()
        if done < self.total and now - self.spoke_at < SECONDS_BETWEEN_WORDS:
            return
        self.spoke_at = now
        rate = done / max(now - self.began_at, 1e-3)
        logger.info(
            "%s of %s photo links, %.1f a second, %.0f s left; %s",
            done,
            self.total,
            rate,
            (self.total - done) / rate,
            ", ".join(f"{count} {status}" for status, count in self.by_status.most_common()),
        )


class Links:
    """What links came to when they were last asked, in a file beside the photos.

    It is written link by link, so a run that is killed asks none of them again; any thread may
    write. Use it as a context manager.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()
        # Two runs may write to it; each statement is a transaction.
        self.conn = sqlite3.connect(
            path, timeout=60.0, isolation_level=None, check_same_thread=False
        )
        self.conn.execute("pragma journal_mode = wal")
        self.conn.execute("pragma synchronous = normal")
        self.conn.execute("create table if not exists links (url text primary key, photo text)")

    def __enter__(self) -> "Links":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.conn.close()

    def known(self, urls: Iterable[str]) -> dict[str, Photo]:
        """Return what is remembered of these links."""
        wanted = json.dumps(list(dict.fromkeys(urls)))
        query = "select photo from links where url in (select value from json_each(?))"
        with self.lock, closing(self.conn.execute(query, (wanted,))) as found:
            photos = [_recalled(text) for (text,) in found]
        return {photo.url: photo for photo in photos}

    def keep(self, photo: Photo) -> None:
        """Remember a link that was asked; what was not asked costs nothing to decide again."""
        if photo.fetched_at is None:
            return
        told = json.dumps(asdict(photo) | {"fetched_at": photo.fetched_at.isoformat()})
        with self.lock:
            self.conn.execute("insert or replace into links values (?, ?)", (photo.url, told))


def _recalled(text: str) -> Photo:
    told = json.loads(text)
    return Photo(**told | {"fetched_at": datetime.fromisoformat(told["fetched_at"])})
