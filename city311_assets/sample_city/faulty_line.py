"""The line between the sample city and its clients: carries answers, badly where it should."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from city311_assets.sample_city.faults import Answer, Asked, Exchange, Fault, Plan, Revision

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONNECTION = "connection"
BLANK = b" "
# How soon a held line notices that the city closes.
LOOK_SECONDS = 0.1


class FaultyLine:
    """Asks the services and lets the faults of a plan happen to what they say (ASGI middleware).

    `plan` gives the plan in force, `revise` changes a dataset, `is_closing` tells when lines that
    are held open have to be let go.
    """

    def __init__(
        self,
        app: "ASGIApp",
        plan: Callable[[], Plan],
        revise: Callable[[Revision, Asked], None],
        is_closing: Callable[[], bool],
    ) -> None:
        self.app, self.plan, self.revise, self.is_closing = app, plan, revise, is_closing

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        query_string = scope.get("query_string", b"").decode()
        asked = Asked.of(scope["path"], query_string) if scope["type"] == "http" else None
        happening = self.plan().happening(asked) if asked else []
        if asked is None or not happening:
            await self.app(scope, receive, send)
            return
        for fault, _ in happening:
            if isinstance(fault, Revision):
                await run_in_threadpool(self.revise, fault, asked)
        answer = Answer()
        if not any(fault.is_instead for fault, _ in happening):
            answer = await self._answer(scope, receive, asked, [fault for fault, _ in happening])
        if answer.status == 200:
            for fault, turn in happening:
                answer = fault.answers(Exchange(asked, answer, turn))
        await self._carry(answer, scope, receive, send)

    async def _answer(
        self, scope: "Scope", receive: "Receive", asked: Asked, faults: list[Fault]
    ) -> Answer:
        """Return what the service says to the request, as the faults put it."""
        params = asked.params
        for fault in faults:
            params = fault.asks(params)
        answer = Answer()

        async def listen(message: "Message") -> None:
            nonlocal answer
            if message["type"] == "http.response.start":
                headers = {
                    name.decode(): text.decode()
                    for name, text in message["headers"]
                    if name != b"content-length"
                }
                answer = replace(answer, status=message["status"], headers=headers)
            else:
                answer = replace(answer, body=answer.body + message.get("body", b""))

        await self.app({**scope, "query_string": urlencode(params).encode()}, receive, listen)
        return answer

    async def _carry(
        self, answer: Answer, scope: "Scope", receive: "Receive", send: "Send"
    ) -> None:
        """Send an answer as badly as it says."""
        client_gone = asyncio.ensure_future(_gone(receive))
        try:
            if answer.is_silent:
                await self._hold(client_gone)
            elif answer.delay_seconds:
                await self._hold(client_gone, answer.delay_seconds)
            if client_gone.done():
                return
            if answer.is_silent or answer.hangs_up:
                await _hang_up(scope, client_gone)
                return
            await self._send(answer, send, client_gone)
            if answer.missing_bytes or answer.pause_seconds:
                await _hang_up(scope, client_gone)
        finally:
            client_gone.cancel()

    async def _send(
        self, answer: Answer, send: "Send", client_gone: "asyncio.Future[None]"
    ) -> None:
        headers = [(name.encode(), text.encode()) for name, text in answer.headers.items()]
        if answer.pause_seconds is None:
            length = len(answer.body) + answer.missing_bytes
            headers.append((b"content-length", str(length).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if answer.pause_seconds is None:
            is_cut = answer.missing_bytes > 0
            await send({"type": "http.response.body", "body": answer.body, "more_body": is_cut})
            return
        place = 0
        while not client_gone.done() and not self.is_closing():
            byte = answer.body[place : place + 1] or BLANK
            await send({"type": "http.response.body", "body": byte, "more_body": True})
            await asyncio.wait({client_gone}, timeout=answer.pause_seconds)
            place += 1

    async def _hold(
        self, client_gone: "asyncio.Future[None]", seconds: float | None = None
    ) -> None:
        """Wait until the client is gone, the city closes, or the seconds are over."""
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        while not client_gone.done() and not self.is_closing():
            left = LOOK_SECONDS if until is None else min(LOOK_SECONDS, until - loop.time())
            if left <= 0:
                return
            await asyncio.wait({client_gone}, timeout=left)


async def _gone(receive: "Receive") -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hang_up(scope: "Scope", client_gone: "asyncio.Future[None]") -> None:
    """Close the connection, and wait until it is closed."""
    transport = cast("asyncio.Transport", scope["state"][CONNECTION])
    transport.close()
    await asyncio.wait({client_gone}, timeout=1)


class OpenConnection(AutoHTTPProtocol):
    """A connection that a fault can get hold of: it stands in the request's state."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection for the requests that come over it."""
        self.app_state = {**self.app_state, CONNECTION: transport}
        super().connection_made(transport)
