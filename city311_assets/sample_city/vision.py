"""A stand-in for a vision model: says what a drawn photo shows, by its pixels alone, with noise.

What belongs here: how a topic is told from the pixels, and how it is put into words and into the
fields of a JSON schema. What does not: the service around it (`models`).
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from city311_assets.sample_city.scenes import LOOKS, scene
from city311_assets.sample_city.truth import NOTHING_PHRASE, photo_phrases

Floats = NDArray[np.float64]
Schema = Mapping[str, Any]
FORMATS = ("JPEG", "PNG", "GIF", "WEBP")

# References are drawn small, so many of each topic, and looked at as grids of these cells.
REFERENCE_SIZE, REFERENCES = (128, 96), 24
GRID, BLOCKS = (32, 24), (4, 3)
TONES, TONE_REACH = 12, 1.2
# What is added to the spread within topics: features are many, references few.
RIDGE = 0.02
# The part of answers that are wrong, and the part that say next to nothing.
WRONG_SHARE, VAGUE_SHARE = 0.01, 0.01
VAGUE_PHRASE = "something that is hard to make out"

FRAMES = (
    "{Phrase} {where}.",
    "The photo shows {phrase} {where}.",
    "A {adjective} picture of {phrase}.",
    "{Phrase}, seen {light}.",
    "{Light}, {phrase} {where}.",
    "In this {adjective} photo there is {phrase}.",
)
ADJECTIVES = ("clear", "slightly blurred", "close", "tilted", "dim", "sharp", "wide")
WHERES = ("near a corner", "beside a house", "in front of a shop", "next to a lane", "by a gate")
LIGHTS = ("in daylight", "under a cloudy sky", "in the evening", "at dusk", "in bright sun")
SCENES = ("residential block", "commercial street", "side street", "busy avenue", "quiet alley")
# What can be read in photos of these topics, sometimes.
WRITTEN = {
    "graffiti_wall": ("KERZ", "NOVA 7"),
    "graffiti_pole": ("TOY", "KERZ"),
    "graffiti_box": ("U.S. MAIL", "NOVA 7"),
    "postings": ("ROOM FOR RENT CALL 415-555-0134", "MOVING SALE write to sale@example.com"),
    "abandoned_car": ("7ABC123", "5KLM482"),
    "blocked_driveway": ("8XYZ019", "NO PARKING"),
    "defaced_sign": ("STOP",),
    "robot_taxi": ("TAXI 42",),
}
WRITTEN_SHARE = 0.4
STOP_WORDS = frozenset(
    [
        *("a", "an", "the", "this", "that", "it", "there", "is", "are", "be", "or", "and", "as"),
        *("at", "beside", "by", "for", "from", "in", "near", "next", "of", "on", "out", "over"),
        *("to", "under", "with", "front", "photo", "picture", "seen", "show", "shows"),
        *("hard", "make"),
    ]
)


class NotAnImageError(ValueError):
    """What was sent cannot be read as an image."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen: a topic, or nothing in particular; `is_vague` if it could not be told."""

    topic: str | None
    phrase: str
    is_vague: bool


def _opened(body: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(body), formats=FORMATS)
        image.draft("RGB", GRID)
        return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise NotAnImageError(f"no image can be read from {len(body)} bytes: {error}") from error


def _features(image: Image.Image) -> Floats:
    """Return which hues a picture has and roughly where, whatever its size and exposure."""
    pixels = np.asarray(image.resize(GRID, Image.Resampling.BOX), dtype=np.float64) + 8.0
    light = pixels.mean(axis=2, keepdims=True)
    red, _, blue = np.moveaxis(np.log(pixels / light), 2, 0)
    edges = np.linspace(-TONE_REACH, TONE_REACH, TONES + 1)
    reach = TONE_REACH * (1 - 1e-9)
    hues, _, _ = np.histogram2d(
        np.clip(red, -reach, reach).ravel(),
        np.clip(blue, -reach, reach).ravel(),
        bins=(edges, edges),
    )
    across, down = BLOCKS
    exposed = pixels / light.mean()
    blocks = exposed.reshape(down, GRID[1] // down, across, GRID[0] // across, 3).mean(axis=(1, 3))
    return np.concatenate([np.sqrt(hues.ravel() / hues.sum()), 0.25 * blocks.ravel()])


@dataclass(frozen=True)
class _Eye:
    """Linear discriminants of the topics, learnt from pictures of its own."""

    topics: tuple[str | None, ...]
    weights: Floats
    offsets: Floats

    def topic(self, image: Image.Image) -> str | None:
        """Return the topic that a picture is most likely of."""
        return self.topics[int(np.argmax(_features(image) @ self.weights + self.offsets))]


@cache
def _eye() -> _Eye:
    topics = tuple(LOOKS)
    seen = np.array(
        [
            [
                _features(scene(topic, np.random.default_rng([number, place]), REFERENCE_SIZE))
                for number in range(REFERENCES)
            ]
            for place, topic in enumerate(topics)
        ]
    )
    means = seen.mean(axis=1)
    within = (seen - means[:, None]).reshape(-1, seen.shape[2])
    spread = within.T @ within / len(within)
    spread += RIDGE * np.trace(spread) / len(spread) * np.eye(len(spread))
    weights = np.linalg.solve(spread, means.T)
    return _Eye(topics, weights, -0.5 * np.einsum("tf,ft->t", means, weights))


def topic_of(body: bytes) -> str | None:
    """Return the topic of a picture, None for a street with nothing in particular.

    Raises
    ------
    NotAnImageError
        It is no picture.
    """
    return _eye().topic(_opened(body))


@cache
def _phrases() -> dict[str | None, str]:
    return {None: NOTHING_PHRASE, **photo_phrases("sf_311")}


def _without_article(phrase: str) -> str:
    return re.sub(r"^(?:an?|the) ", "", phrase)


def content_words(text: str) -> list[str]:
    """Return the words of a text that carry meaning, small, in their order."""
    return [w for w in re.findall(r"[^\W\d_]+", text.lower()) if w not in STOP_WORDS and len(w) > 1]


def _seen(body: bytes, rng: np.random.Generator) -> Sight:
    topic, phrases = topic_of(body), _phrases()
    draw = rng.random()
    if draw < VAGUE_SHARE:
        return Sight(None, VAGUE_PHRASE, is_vague=True)
    if draw < VAGUE_SHARE + WRONG_SHARE:
        others = [other for other in phrases if other != topic]
        topic = others[int(rng.integers(len(others)))]
    return Sight(topic, phrases[topic], is_vague=False)


def described(body: bytes) -> dict[str, object]:
    """Return what a model says about a picture, by the names of the usual fields.

    The same bytes are described in the same words; two pictures of one topic hardly ever are.

    Raises
    ------
    NotAnImageError
        It is no picture.
    """
    digest = blake2b(body, digest_size=16).digest()
    rng = np.random.default_rng(list(digest))
    sight = _seen(body, rng)

    def one(texts: Sequence[str]) -> str:
        return texts[int(rng.integers(len(texts)))]

    light = one(LIGHTS)
    caption = one(FRAMES).format(
        phrase=sight.phrase,
        Phrase=sight.phrase[0].upper() + sight.phrase[1:],
        where=one(WHERES),
        adjective=one(ADJECTIVES),
        light=light,
        Light=light[0].upper() + light[1:],
    )
    written = WRITTEN.get(sight.topic or "")
    is_relevant = sight.topic is not None
    usual = 1 + (sum(map(ord, sight.topic)) % 4 if sight.topic else 0)
    return {
        "scene": f"{one(SCENES)} {light}",
        "issues": [_without_article(sight.phrase)] if is_relevant else [],
        "objects": content_words(sight.phrase),
        "severity": int(np.clip(usual + rng.integers(-1, 2), 1, 5)) if is_relevant else 1,
        "is_relevant": is_relevant,
        "visible_text": one(written) if written and rng.random() < WRITTEN_SHARE else None,
        "caption": caption,
        "confidence": round(float(rng.uniform(0.2, 0.5 if sight.is_vague else 0.98)), 2),
    }


def filled(schema: Schema, known: Mapping[str, object]) -> object:
    """Return a value of a JSON schema: properties by their name where known, others by type."""
    return _filled(schema, known, schema.get("$defs", {}))


def _plain(schema: Schema, defs: Schema) -> Schema:
    """Return what a schema refers to; of several the first."""
    while True:
        several = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if "$ref" in schema:
            schema = defs[schema["$ref"].rsplit("/", 1)[-1]]
        elif several:
            schema = several[0]
        else:
            return schema


def _filled(schema: Schema, known: Mapping[str, object], defs: Schema) -> object:
    schema = _plain(schema, defs)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kinds = schema.get("type", "string")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    least = schema.get("minimum", 0)
    if kind == "object":
        return {
            name: _shaped(part, known[name], defs)
            if name in known and _takes(part, known[name], defs)
            else _filled(part, known, defs)
            for name, part in schema.get("properties", {}).items()
        }
    if kind == "array":
        return [_filled(schema["items"], known, defs) for _ in range(schema.get("minItems", 0))]
    return {"string": "", "boolean": False, "null": None, "integer": int(least)}.get(kind, least)


def _shaped(schema: Schema, value: object, defs: Schema) -> object:
    """Return a known value; of a list of objects each with the properties that are asked for."""
    items = _plain(schema, defs).get("items")
    if isinstance(value, list) and items:
        return [_filled(items, one, defs) if isinstance(one, dict) else one for one in value]
    return value


def _takes(schema: Schema, value: object, defs: Schema) -> bool:
    """Whether a value is of a schema's type."""
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return any(_takes(option, value, defs) for option in options)
    schema = _plain(schema, defs)
    if "enum" in schema:
        return value in schema["enum"]
    kinds = schema.get("type", "string")
    found = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "null": value is None,
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }
    return any(found[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))
