"""Vectors of texts without a model service: TF-IDF, reduced by a singular value decomposition.

What belongs here: fitting, applying, saving and reading a model. What does not: which texts it is
fitted on, or when.
"""

import hashlib
import io
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from city311_assets.gold.methods.arrays import Bools

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

DIMENSIONS = 128
SEED = 311
POWER_ITERATIONS = 7
# What is in fewer texts is a misprint, unless there are few texts, or no term is in so many.
FEW_TEXTS, FEWEST_WITH_TERM = 200, 3
MOST_TERMS = 30_000
# Below this share of the largest, a singular value is rounding, and its direction is chance.
LEAST_SINGULAR = 1e-6
# Below this length nothing of a text (of length 1) is left in the model's dimensions.
LEAST_LENGTH = 1e-5
# The form of the file and of the analysis of texts; another is not read.
FORMAT = 1
NEWLINE = "\n"

Vectors = NDArray[np.float32]


class TextVectors(NamedTuple):
    """Unit rows, and which texts have one: the row of a text without a known word is zero."""

    rows: Vectors
    is_known: Bools


@dataclass(frozen=True)
class TextModel:
    """A fitted model: its terms, their weights (v,), and the directions (d, v) that are kept.

    `explained_variance` is the share of the texts' variance in these, `texts` how many it was
    fitted on. What it is called follows from what is in it.
    """

    vocabulary: tuple[str, ...]
    idf: NDArray[np.float64]
    components: Vectors
    explained_variance: float
    texts: int

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return len(self.components)

    @cached_property
    def artefact(self) -> bytes:
        """The file: an .npz archive without pickled objects, the same bytes for the same model."""
        file = io.BytesIO()
        np.savez(
            file,
            format=np.int64(FORMAT),
            vocabulary=np.frombuffer(NEWLINE.join(self.vocabulary).encode(), np.uint8),
            idf=self.idf,
            components=self.components,
            explained_variance=np.float64(self.explained_variance),
            texts=np.int64(self.texts),
        )
        return file.getvalue()

    @cached_property
    def artefact_hash(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.artefact).hexdigest()

    @property
    def version(self) -> str:
        """What its vectors are marked with."""
        return f"local-{self.artefact_hash[:12]}"


def fitted(texts: Sequence[str], *, dimensions: int = DIMENSIONS, seed: int = SEED) -> TextModel:
    """Return a model of these texts; the same, to the bit, in whatever order they come.

    Words and pairs of words without stop words, weighted by (1 + log of how often) x idf, then the
    first directions of a randomized SVD with a fixed seed (https://arxiv.org/abs/0909.4061), each
    turned so that its largest entry is positive. On another machine the last digits, and so the
    version, may differ.

    Parameters
    ----------
    texts
        What is to be told apart.
    dimensions
        Length of the vectors; less where texts or terms are too few to span so many.
    seed
        Start of the random projection.

    Raises
    ------
    ValueError
        If no text has a word.
    """
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    ordered = sorted(texts)
    vectorizer = _vectorizer()
    words = vectorizer.build_analyzer()
    in_texts = Counter(chain.from_iterable({*words(text)} for text in ordered))
    fewest = FEWEST_WITH_TERM if len(ordered) >= FEW_TEXTS else 1
    if not in_texts:
        raise ValueError(
            f"none of {len(ordered)} texts has a word to fit a model on; make captions of more days"
        )
    terms = [term for term, held in in_texts.items() if held >= fewest] or [*in_texts]
    terms = sorted(terms, key=lambda term: (-in_texts[term], term))[:MOST_TERMS]
    vectorizer = _vectorizer(sorted(terms))
    weights = vectorizer.fit_transform(ordered)
    # Threads share out a product, and with their number the order of its sums changes.
    with threadpool_limits(1):
        left, singular, right = randomized_svd(
            weights,
            n_components=min(dimensions, *weights.shape),
            n_iter=POWER_ITERATIONS,  # pyright: ignore[reportArgumentType] - "auto" or a number
            random_state=seed,
        )
    is_kept = singular > LEAST_SINGULAR * singular.max()
    directions = right[is_kept]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    variance = weights.power(2).sum() / len(ordered) - np.square(weights.mean(axis=0)).sum()
    explained = (left[:, is_kept] * singular[is_kept]).var(axis=0).sum()
    # Of texts that are all alike nothing is left out.
    share = min(explained / variance, 1.0) if variance > LEAST_SINGULAR else 1.0
    return TextModel(
        vocabulary=tuple(vectorizer.get_feature_names_out().tolist()),
        idf=np.asarray(vectorizer.idf_, np.float64),
        components=np.ascontiguousarray(directions * signs[:, None], np.float32),
        explained_variance=float(share),
        texts=len(ordered),
    )


def vectors(model: TextModel, texts: Sequence[str]) -> TextVectors:
    """Return the vectors (n, d) of texts, of length 1; a text's does not depend on the others.

    A text of which the model knows no word has no direction: its row is zero, and marked, so that
    it can be left out. Placing it anywhere would make neighbours of cases that share nothing.
    """
    from scipy import sparse

    different = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    if not different:
        return TextVectors(np.zeros((0, model.dimensions), np.float32), np.zeros(0, np.bool_))
    vectorizer = _vectorizer(model.vocabulary)
    vectorizer.idf_ = model.idf
    weights = sparse.csr_array(vectorizer.transform(different), dtype=np.float32)
    projected = np.asarray(weights @ model.components.T, np.float64)
    length = np.linalg.norm(projected, axis=1)
    is_known = length > LEAST_LENGTH
    rows = np.where(is_known, 1.0 / np.where(is_known, length, 1.0), 0.0)[:, None] * projected
    of_text = np.fromiter((different[text] for text in texts), np.int64, len(texts))
    return TextVectors(rows.astype(np.float32)[of_text], is_known[of_text])


def saved(model: TextModel, folder: Path) -> Path:
    """Return the model's file, named by its hash; written once, and whole or not at all."""
    path = folder / f"{model.artefact_hash}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{uuid.uuid4().hex}.unfinished"
        try:
            unfinished.write_bytes(model.artefact)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def loaded(path: Path, expected_hash: str) -> TextModel:
    """Return the model in a file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not what was written, or is of another form.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"the text model {expected_hash} is not at {path}; restore the file, or materialize "
            "atlas/text_models for a new version"
        )
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != expected_hash:
        raise ValueError(
            f"the text model at {path} has the hash {found}, not {expected_hash}: it was changed; "
            "restore the file, or materialize atlas/text_models for a new version"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        if (form := int(stored["format"])) != FORMAT:
            raise ValueError(
                f"the text model at {path} is of form {form}, this release reads {FORMAT}; "
                "materialize atlas/text_models for a new version"
            )
        return TextModel(
            vocabulary=tuple(stored["vocabulary"].tobytes().decode().split(NEWLINE)),
            idf=stored["idf"],
            components=stored["components"],
            explained_variance=float(stored["explained_variance"]),
            texts=int(stored["texts"]),
        )


def _vectorizer(vocabulary: Sequence[str] | None = None) -> "TfidfVectorizer":
    """Return the analysis of texts, with the terms it knows."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, 2),
        stop_words="english",
        sublinear_tf=True,
        vocabulary=vocabulary,
        dtype=np.float64,
    )
