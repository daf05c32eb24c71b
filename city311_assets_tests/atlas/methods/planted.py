"""Cases of planted topics, as unit vectors."""

import numpy as np

from city311_assets.atlas.methods.graph import Vectors
from city311_assets.gold.methods.arrays import Ints


def unit(rows: np.ndarray) -> Vectors:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def topics(
    sizes: list[int], *, dimensions: int = 32, spread: float = 0.5, seed: int = 1
) -> tuple[Vectors, Ints]:
    """Return cases around a random centre for each topic, shuffled, and their topics.

    `spread` is the length of what is not the topic's by that of what is.
    """
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(len(sizes), dimensions)))
    topic = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    noise = rng.normal(size=(len(topic), dimensions)) / np.sqrt(dimensions)
    return unit(centres[topic] + spread * noise), topic
