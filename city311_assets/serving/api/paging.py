"""Cursors: where a page begins, bound to the data and the question it was made for.

What belongs here: what is in a cursor, and which one is refused. What does not: the order of rows;
it must be total and the same for the same data.
"""

import base64
import binascii
import hashlib
import re

from city311_assets.serving.api.parameters import CURSOR, Asked
from city311_assets.serving.api.problems import ProblemError, malformed

DIGEST_LENGTH = 12
SHAPE = re.compile(r"([0-9]{1,9})\.([0-9a-f]{12})\.([0-9a-f]{12})")
# What may differ between the pages of one question.
FREE = ("cursor", "limit", "download")


def cursor_at(place: int, version: str, asked: Asked) -> str:
    """Return the cursor of the page that begins at a place, counted from 0."""
    text = f"{place}.{_digest(version)}.{_digest(asked.identity(*FREE))}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(version: str, asked: Asked, matched: int) -> int:
    """Return where the page asked for begins, of so many rows.

    Raises
    ------
    ProblemError
        422: it is no cursor, or that of another question. 410: that of other data.
    """
    cursor = asked["cursor"]
    if cursor is None:
        return 0
    place, of_version, of_question = _parts(cursor)
    if of_version != _digest(version):
        raise ProblemError(
            410,
            "the data has changed since this cursor was made; begin again without a cursor",
            parameter=CURSOR.name,
            given=cursor,
        )
    if of_question != _digest(asked.identity(*FREE)):
        raise ProblemError(
            422,
            "this cursor belongs to another question; keep the other parameters as they were, or "
            "begin again without a cursor",
            parameter=CURSOR.name,
            given=cursor,
        )
    if not 0 < place < matched:
        raise malformed(CURSOR.name, cursor, CURSOR.accepted)
    return place


def _parts(cursor: str) -> tuple[int, str, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode(
            "ascii"
        )
    except (binascii.Error, UnicodeDecodeError) as error:
        raise malformed(CURSOR.name, cursor, CURSOR.accepted) from error
    if not (found := SHAPE.fullmatch(text)):
        raise malformed(CURSOR.name, cursor, CURSOR.accepted)
    return int(found[1]), found[2], found[3]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
