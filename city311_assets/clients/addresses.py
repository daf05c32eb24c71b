"""Which addresses may be asked: public ones only, and the connection goes to the one looked at.

What belongs here: what is public, how a name is resolved, and the connections. What does not: which
hosts are asked, or what they answer.
"""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from city311_assets.clients.photo_files import NoPhotoError

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


def literal(host: str) -> str | None:
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


def refuse_private(host: str, addresses: Iterable[str]) -> None:
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


class PublicNetwork(httpcore.NetworkBackend):
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
        """Connect to the first of a host's addresses that answers, all of which are public."""
        addresses = [host]
        if self.resolve:
            addresses = resolved(host, self.resolve)
            refuse_private(host, addresses)
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
