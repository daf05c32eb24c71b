"""Answers that refuse: JSON problems (RFC 9457) that name the culprit and the next step.

What belongs here: what a refusal says. What does not: when to refuse; the modules of each question
decide that.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
# What was given is said back to its sender, but not at any length.
LONGEST_GIVEN = 200
TITLES = {
    404: "Not found",
    405: "Method not allowed",
    410: "Gone",
    411: "Length required",
    413: "Content too large",
    414: "URI too long",
    421: "Misdirected request",
    422: "Malformed",
    500: "Internal error",
    503: "Unavailable",
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "parameter": {"type": "string", "description": "The parameter that is to blame."},
        "given": {"type": "string"},
        "accepted": {
            "description": "What the parameter may be.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        },
        "nearest": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The nearest dates or months that have data.",
        },
    },
}


class ProblemError(Exception):
    """A request that is answered with a problem instead of data.

    Attributes
    ----------
    status
        The HTTP status.
    detail
        A sentence: what is wrong, and what to do.
    members
        What the problem says besides: `parameter`, `given`, `accepted`, `nearest`.
    headers
        Headers of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: str | Sequence[str],
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def response(self) -> Response:
        """Return the answer."""
        said = {
            "type": "about:blank",
            "title": TITLES[self.status],
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        return Response(
            json.dumps(said),
            self.status,
            {"Cache-Control": "no-store", **self.headers},
            MEDIA_TYPE,
        )


def malformed(
    name: str, given: str, accepted: str | Sequence[str], status: int = 422
) -> ProblemError:
    """Return the refusal of a parameter's value."""
    words = accepted if isinstance(accepted, str) else f"one of {', '.join(accepted)}"
    short = shown(given)
    return ProblemError(
        status,
        f"{name} is {short!r}; it must be {words}",
        parameter=name,
        given=short,
        accepted=accepted,
    )


def shown(given: str) -> str:
    """Return what was given, cut where it is long."""
    return given if len(given) <= LONGEST_GIVEN else f"{given[:LONGEST_GIVEN]}…"
