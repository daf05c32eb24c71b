"""A loopback HTTP server that gives scripted answers, bad ones too, and remembers what was asked.

What belongs here: how an answer travels. What does not: what a portal would say.
"""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SHUTDOWN_POLL_SECONDS = 0.005
IDLE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came; header names are in lower case."""

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        """What was posted."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    `promised_bytes` are announced in `Content-Length` and never sent; `is_unsized` leaves the
    length out and closes the connection after the body; `hangs_up` closes it without a word.
    `delay_seconds` pass before the first byte, `drip_seconds` before each byte of the body.
    """

    body: bytes = b"[]"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    promised_bytes: int = 0
    is_unsized: bool = False
    hangs_up: bool = False
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0


Script = Callable[[Asked], Reply]


@dataclass(slots=True)
class Server:
    """Where the server is, and what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def params(self) -> list[Mapping[str, str]]:
        """The parameters of every request, in order."""
        return [request.params for request in self.asked]


def saying(value: object, status: int = 200, **headers: str) -> Reply:
    """Return a JSON answer; an underscore in a header's name stands for a hyphen."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    body = json.dumps(value, ensure_ascii=False).encode()
    return Reply(body, status, {"Content-Type": "application/json;charset=utf-8", **named})


def in_turn(*replies: Reply) -> Script:
    """Return a script that gives each answer once, and the last one from then on."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def answering(script: Script) -> Iterator[Server]:
    """Serve until the block ends; a script that raised raises here."""
    state = Server()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE_SECONDS
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            asked = Asked(
                split.path,
                dict(parse_qsl(split.query, keep_blank_values=True)),
                {name.lower(): text for name, text in self.headers.items()},
                self.rfile.read(int(self.headers.get("Content-Length", 0))),
            )
            with lock:
                state.asked.append(asked)
                try:
                    reply = script(asked)
                except Exception as fault:  # noqa: BLE001 - raised again in the test's own thread
                    state.faults.append(fault)
                    reply = Reply(b'{"message": "the script raised"}', 400)
            self._give(reply)

        do_POST = do_GET  # noqa: N815 - the base class's

        def _give(self, reply: Reply) -> None:
            state.closing.wait(reply.delay_seconds)
            self.close_connection = reply.hangs_up or reply.is_unsized or bool(reply.promised_bytes)
            if reply.hangs_up:
                return
            self.send_response(reply.status)
            for name, text in reply.headers.items():
                self.send_header(name, text)
            if not reply.is_unsized:
                self.send_header("Content-Length", str(len(reply.body) + reply.promised_bytes))
            try:
                self.end_headers()
                if not reply.drip_seconds:
                    self.wfile.write(reply.body)
                    return
                for byte in reply.body:
                    state.closing.wait(reply.drip_seconds)
                    self.wfile.write(bytes([byte]))
            except OSError:  # the client lost patience
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's
            pass

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that hung up

    with Listener(("127.0.0.1", 0), Handler) as listener:
        state.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, args=(SHUTDOWN_POLL_SECONDS,))
        thread.start()
        try:
            yield state
        finally:
            state.closing.set()
            listener.shutdown()
            thread.join()
    if state.faults:
        raise state.faults[0]
