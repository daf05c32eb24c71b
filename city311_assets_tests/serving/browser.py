"""A Chromium that is clicked: its DevTools protocol over two pipes, without a library or a port."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST_WAIT_SECONDS = 30.0


class Browser:
    """One page of a running browser, and what went wrong in it."""

    def __init__(self, asks: int, answers: int) -> None:
        self._asks, self._answers = asks, answers
        self._last, self._session = 0, None
        self._held = b""
        self.errors: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self._call(f"{domain}.enable")

    def open(self, address: str) -> None:
        """Open a page and wait until it says that it is drawn."""
        self._call("Page.navigate", url=address)
        self.wait_for("document.documentElement?.dataset.ready > ''")

    def value(self, expression: str) -> Any:
        """Return what an expression of the page comes to."""
        done = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return done["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression of the page is true."""
        end = time.monotonic() + LONGEST_WAIT_SECONDS
        while self.value(expression) is not True:
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} did not become true; errors: {self.errors}")
            time.sleep(0.1)

    def click(self, x: float, y: float) -> None:
        """Move to a place, press, hold and let go of the left button."""
        self._mouse("mouseMoved", x, y)
        time.sleep(0.3)
        self._mouse("mousePressed", x, y, button="left", clickCount=1)
        time.sleep(0.1)
        self._mouse("mouseReleased", x, y, button="left", clickCount=1)

    def click_on(self, selector: str) -> None:
        """Click in the middle of an element."""
        place = f"(box => [box.x + box.width / 2, box.y + box.height / 2])({_box(selector)})"
        self.click(*self.value(place))

    def _mouse(self, kind: str, x: float, y: float, **more: object) -> None:
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def _call(self, method: str, **params: object) -> dict[str, Any]:
        self._last += 1
        asked: dict[str, object] = {"id": self._last, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._asks, json.dumps(asked).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._last:
                if "error" in said:
                    raise RuntimeError(f"{method} was refused: {said['error']}")
                return said["result"]
            self._note(said)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            more = os.read(self._answers, 1 << 16)
            if not more:
                raise EOFError("the browser has gone")
            self._held += more
        said, self._held = self._held.split(b"\0", 1)
        return json.loads(said)

    def _note(self, said: dict[str, Any]) -> None:
        params = said.get("params", {})
        if said.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"].get("exception", params)))
        if said.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])


def _box(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"


@contextmanager
def browser(program: str, flags: tuple[str, ...], profile: Path) -> Iterator[Browser]:
    """Start a browser, and end it."""
    their_asks, asks = os.pipe()
    answers, their_answers = os.pipe()
    # The protocol's pipes are file descriptors 3 and 4.
    started = 'exec "$@" 3<&"$ASKS" 4>&"$ANSWERS"'
    command = [program, *flags, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    with subprocess.Popen(
        ["bash", "-c", started, "bash", *command],
        env={**os.environ, "ASKS": str(their_asks), "ANSWERS": str(their_answers)},
        pass_fds=(their_asks, their_answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(their_asks)
        os.close(their_answers)
        try:
            yield Browser(asks, answers)
        finally:
            os.close(asks)
            os.close(answers)
            process.terminate()
