"""Anything that others may send: texts nobody expects, JSON of any shape, bytes nearly right.

What belongs here: what is drawn, and how much of it. What does not: what must hold of it.
"""

import json
import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

# A trial draws many times more.
TIMES = int(os.environ.get("CITY311_TEST_TIMES_EXAMPLES", "1"))
DEEP = 60_000
SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)

ODD_TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "1e400",
    "nan",
    "Infinity",
    "9" * 400,
    "1_000",
    "\u0663",
    "true",
    "null",
    "\0",
    "a\0b",
    "\ufeff",
    "\u2028",
    "\u202e",
    "\U0001f600",
    "\ud7ff",
    "é" * 3_000,
    "</script><img src=x onerror=alert(1)>",
    "'; drop table silver.requests; --",
    '":id"',
    "=cmd|' /C calc'!A0",
    "..\\..\\etc",
    "../../../etc/passwd",
    "%00",
    "$day",
    "{}",
    "[1]",
    "0001-01-01",
    "9999-12-31",
    "2026-02-30",
    "2026-W01-1",
    "2026-03-08T02:30:00",
    "2026-01-02T09:00:00.000",
)
TEXTS = st.sampled_from(ODD_TEXTS) | st.text(max_size=40)
NUMBERS = (
    st.integers()
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from([10**30, -(10**30), 2**63, 1e308, -0.0])
)


def some(examples: int, *, shrinks: bool = True) -> settings:
    """Return settings for so many examples, the same each time.

    Where one costs much, what fails is shown as it was drawn and not made smaller.
    """
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrinks else [])]
    return settings(
        max_examples=examples * TIMES,
        phases=phases,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[*SLOW],
    )


def json_values(*names: str) -> st.SearchStrategy[Any]:
    """Draw JSON of any shape; its objects have some of the names that are looked for."""
    keys = st.sampled_from(names) | TEXTS if names else TEXTS
    leaves = st.none() | st.booleans() | NUMBERS | TEXTS
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=12,
    )


@st.composite
def spoilt(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Draw bytes that are whole, cut, damaged, doubled, nested too deeply, or something else."""
    body = draw(whole)
    kind = draw(st.integers(0, 7))
    if kind == 0 and body:
        return body[: draw(st.integers(0, len(body) - 1))]
    if kind == 1 and body:
        at = draw(st.integers(0, len(body) - 1))
        return body[:at] + draw(st.binary(max_size=3)) + body[at + 1 :]
    if kind == 2:
        return body + body
    if kind == 3:
        return b"[" * DEEP + body + b"]" * DEEP
    if kind == 4:
        return draw(st.binary(max_size=60) | TEXTS.map(str.encode))
    return body


@st.composite
def json_bodies(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """Draw JSON as bytes: Python's own spelling of numbers that are none, halves of characters."""
    text = json.dumps(draw(values), ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0:
        text = text.replace('"', '"\\ud800', 1)
    return text.encode()
