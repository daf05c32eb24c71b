"""Who is answered: requests under the server's own names, of sizes that its pages ask in.

What belongs here: what is refused before anybody looks at what is asked. What does not: what is
wrong with a question.

A browser that shows a stranger's page lets that page read whatever is answered under the page's own
name, and the stranger says which address the name has: this machine's, too. Such a request says the
stranger's name in `Host`. Where the server listens to this machine alone, only this machine's own
names are answered, and those that the settings add.
"""

import ipaddress
import re

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from city311_assets.serving.api.app import is_of_the_api
from city311_assets.serving.api.problems import ProblemError
from city311_assets.settings import Settings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+?)\.?)(?::[0-9]*)?")
# A page asks with what was clicked and what is kept in the browser: kilobytes.
MOST_BODY_BYTES = 4_000_000
LONGEST_QUERY = 16_000


def own_names(settings: Settings) -> frozenset[str] | None:
    """Return the names under which the server may be asked; None where any will do."""
    named = {name.strip().lower() for name in (settings.console_names or "").split(",")} - {""}
    host = settings.console_host.lower()
    if named or is_loopback(host):
        return LOOPBACK | {host} | named
    return None


def is_loopback(host: str) -> bool:
    """Whether what listens there hears this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def name_in(host: str) -> str:
    """Return the name that a `Host` header says, without the port: `[::1]:80` says `::1`."""
    found = HOST.fullmatch(host.strip().lower())
    return (found[1] or found[2]) if found else ""


class Guard:
    """Refuses requests under other names, and those too large; nobody speaks over web sockets."""

    def __init__(self, app: ASGIApp, names: frozenset[str] | None) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why it is not."""
        if scope["type"] == "websocket":
            # The pages do not use them, and a stranger's page may open one.
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and (problem := self._problem(scope)):
            await _answer(scope, problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> ProblemError | None:
        """Return what is wrong with a request, before it is read."""
        headers = {name.lower(): text.decode("latin-1") for name, text in scope["headers"]}
        if self._names is not None and name_in(headers.get(b"host", "")) not in self._names:
            return ProblemError(
                421,
                "this server does not answer under the name in the request's Host header; "
                "CITY311_CONSOLE_NAMES lists the names it has besides localhost",
            )
        if len(scope["query_string"]) > LONGEST_QUERY:
            return ProblemError(414, f"a query has at most {LONGEST_QUERY:,} characters")
        if b"transfer-encoding" in headers:
            return ProblemError(411, "say the length of what you send, in Content-Length")
        length = headers.get(b"content-length", "0")
        if not length.isdecimal() or float(length) > MOST_BODY_BYTES:
            return ProblemError(413, f"a request has at most {MOST_BODY_BYTES:,} bytes")
        return None


def _answer(scope: Scope, problem: ProblemError) -> Response:
    """Return a refusal as who asked expects it: a problem in JSON, or a line of text."""
    if is_of_the_api(scope["path"]):
        return problem.response()
    return PlainTextResponse(problem.detail, problem.status)
