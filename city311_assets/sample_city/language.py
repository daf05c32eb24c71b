"""A stand-in for language models: vectors of texts, and names of groups of captions.

What belongs here: what is made of words. What does not: the service around it (`models`), and how
pictures are put into words (`vision`).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from city311_assets.sample_city.truth import NOTHING_PHRASE, photo_phrases
from city311_assets.sample_city.vision import (
    ADJECTIVES,
    LIGHTS,
    SCENES,
    VAGUE_PHRASE,
    WHERES,
    content_words,
)

Vectors = NDArray[np.float32]

WORDS_KEPT = 8_192
# How much a word counts: one of a topic's phrase by how few topics have it, one that only sets the
# scene little, any other as much as this.
PHRASE_WEIGHT, SCENERY_WEIGHT, OTHER_WEIGHT = 3.0, 0.3, 1.0
# The length of what is added to each text's own vector, of length 1.
NOISE = 0.2
NAME_WORDS, DESCRIBED_WORDS = 3, 6
# A word that neighbouring groups have as well says this much less.
SHARED_WORD = 0.25


@cache
def _weights() -> dict[str, float]:
    phrases = [*photo_phrases("sf_311").values(), NOTHING_PHRASE, VAGUE_PHRASE]
    held = Counter(word for phrase in phrases for word in set(content_words(phrase)))
    scenery = {
        word
        for texts in (ADJECTIVES, LIGHTS, SCENES, WHERES)
        for text in texts
        for word in content_words(text)
    }
    rarity = {word: np.log(len(phrases) / number) for word, number in held.items()}
    most = max(rarity.values())
    told = {word: PHRASE_WEIGHT * float(much / most) for word, much in rarity.items()}
    return dict.fromkeys(scenery, SCENERY_WEIGHT) | told


def _seed(*parts: str) -> list[int]:
    return list(blake2b("\0".join(parts).encode(), digest_size=16).digest())


@lru_cache(maxsize=WORDS_KEPT)
def _word_vector(word: str, dimensions: int, model: str) -> Vectors:
    rng = np.random.default_rng(_seed(model, word))
    weight = _weights().get(word, OTHER_WEIGHT)
    return weight * rng.standard_normal(dimensions, dtype=np.float32) / np.float32(dimensions**0.5)


def vectors(texts: Sequence[str], model: str, width: int, dimensions: int) -> Vectors:
    """Return a unit vector a text: texts with the same rare words lie close together.

    `width` is what the model makes; fewer `dimensions` are its first ones, at unit length again.
    The same text has the same vector, whatever comes with it.
    """
    made = np.zeros((len(texts), width), dtype=np.float32)
    for row, text in enumerate(texts):
        for word, number in Counter(content_words(text)).items():
            made[row] += np.float32(number**0.5) * _word_vector(word, width, model)
        noise = np.random.default_rng(_seed(model, "text", text))
        own = noise.standard_normal(width, dtype=np.float32) / np.float32(width**0.5)
        made[row] = made[row] / (np.linalg.norm(made[row]) or 1.0) + NOISE * own
    made = made[:, :dimensions]
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def _words_of(texts: object) -> Counter[str]:
    """Return in how many of the texts each word stands; what sets the scene counts for little."""
    held: Counter[str] = Counter()
    for text in texts if isinstance(texts, list) else []:
        held.update(set(content_words(str(text))))
    return held


def _ranked(cluster: Mapping[str, Any]) -> list[str]:
    """Return the words of a group, those that tell it from its neighbours first."""
    captions = _words_of(cluster.get("captions")) or _words_of(cluster.get("keywords"))
    elsewhere, weights = _words_of(cluster.get("contrast")), _weights()
    says = {
        word: number * weights.get(word, OTHER_WEIGHT) * (SHARED_WORD if word in elsewhere else 1.0)
        for word, number in captions.items()
    }
    return sorted(says, key=lambda word: (-says[word], word))


def cluster_names(clusters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return name and description of each group, from its captions' most frequent own words.

    `captions`, `keywords` and `contrast` are lists of texts; `cluster_id` is given back. A name
    that another group has is made longer.
    """
    named: list[dict[str, Any]] = []
    taken: set[str] = set()
    for number, cluster in enumerate(clusters, start=1):
        ranked = _ranked(cluster)
        about = ", ".join(ranked[:DESCRIBED_WORDS])
        tries = [" ".join(ranked[:most]) for most in range(NAME_WORDS, len(ranked) + 1)]
        tries = tries or [" ".join(ranked) or "unnamed"]
        name = next((text for text in tries if text not in taken), f"{tries[-1]} {number}")
        taken.add(name)
        named.append(
            {
                "cluster_id": cluster.get("cluster_id"),
                "name": name.capitalize(),
                "description": f"Cases that show {about}." if about else "Cases without words.",
            }
        )
    return named


def tokens(text: str) -> int:
    """Return about how many tokens a text has: a word or a mark is one, a long word several."""
    return sum(1 + (len(piece) - 1) // 6 for piece in re.findall(r"\w+|[^\w\s]", text))
