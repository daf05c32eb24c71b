"""What a cluster is called: the words that set it apart, its most central cases, a name of its own.

What belongs here: class-based TF-IDF, centrality, and making names differ. What does not: asking a
model for names.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, count, pairwise

import numpy as np
from numpy.typing import ArrayLike

from city311_assets.gold.methods.arrays import Floats, Ints

OUTLIER = -1
LONGEST_NAME = 60
PHRASES_IN_NAME = 2
# A pair of words says more than either: it goes first unless a word scores so many times as much.
PAIR_PREFERENCE = 1.25
# Letters, and what is written within a word; numbers are of houses and cases.
WORD = re.compile(r"[^\W\d_](?:[\w'\u2019-]*[^\W_])+")

# The first ending that a word has is put into the singular.
ENDINGS = {
    "'s": "",
    "\u2019s": "",
    "ies": "y",
    "xes": "x",
    "shes": "sh",
    "ches": "ch",
    "sses": "ss",
    "ss": "ss",
    "s": "",
}
SHORTEST_SINGULAR = 3
# Around a name a model may have put quotes, a bullet or markup.
AROUND = " .,;:\"'`*_#-\u2018\u2019\u201c\u201d"
# Of what cannot be seen these part words, the others are taken out.
PARTING = {"Cc", "Zl", "Zp"}
UNSEEN = {"Cf", "Cs", "Co", "Cn"}


def keywords(texts: Sequence[str], labels: ArrayLike, *, top: int = 10) -> dict[int, list[str]]:
    """Return the words and pairs of words that set each cluster apart, by c-TF-IDF.

    The weight of a term in a cluster is its share of the cluster's terms times log(1 + A / f), f
    being how often it occurs in all clusters and A how many terms a cluster has on average:
    https://arxiv.org/abs/2203.05794. Stop words are out before pairs are formed, outliers (label
    -1) before anything is counted. Going down the weights, a term is passed over if one of its
    words, or that word's singular or plural, has been had.

    Parameters
    ----------
    texts
        One of each case.
    labels
        Shape (n,): the cluster of each.
    top
        Terms of a cluster at most.

    Returns
    -------
    dict[int, list[str]]
        By cluster, heaviest first, equals by the alphabet; of a cluster without a word none.
    """
    clusters = np.asarray(labels, np.int64)
    _refuse_other_length("texts", len(texts), clusters)
    counts: dict[int, Counter[str]] = {label: Counter() for label in np.unique(clusters).tolist()}
    repeated = Counter(zip(clusters.tolist(), texts, strict=True))
    for (label, text), times in repeated.items():
        for term in _terms(text):
            counts[label][term] += times
    counts.pop(OUTLIER, None)
    everywhere: Counter[str] = Counter()
    for own in counts.values():
        everywhere.update(own)
    average = everywhere.total() / max(len(counts), 1)
    return {
        label: _without_repetition(_weights(own, everywhere, average), top)
        for label, own in counts.items()
    }


def exemplars(
    graph_indices: ArrayLike,
    similarities: ArrayLike,
    labels: ArrayLike,
    record_ids: Sequence[str],
    *,
    count: int = 6,
) -> dict[int, list[str]]:
    """Return the most central cases of each cluster: most similar, in sum, to its other cases.

    The sum goes over the edges of the neighbour graph that stay in the cluster, whichever end
    found the other.

    Parameters
    ----------
    graph_indices
        Shape (n, k): the neighbours of each case by position; itself and -1 do not count.
    similarities
        Shape (n, k): how similar each is.
    labels
        Shape (n,): the cluster of each case; outliers (-1) have no exemplars.
    record_ids
        The case at each position.
    count
        Cases of a cluster at most.

    Returns
    -------
    dict[int, list[str]]
        By cluster, most central first, equals by record id.
    """
    clusters = np.asarray(labels, np.int64)
    _refuse_other_length("record ids", len(record_ids), clusters)
    _refuse_other_length("rows of neighbours", len(np.asarray(graph_indices)), clusters)
    central = _centrality(np.asarray(graph_indices), np.asarray(similarities), clusters)
    ranked = sorted(
        np.flatnonzero(clusters != OUTLIER).tolist(), key=lambda i: (-central[i], record_ids[i])
    )
    found: dict[int, list[str]] = {label: [] for label in np.unique(clusters[ranked]).tolist()}
    for index in ranked:
        of_cluster = found[int(clusters[index])]
        if len(of_cluster) < count:
            of_cluster.append(record_ids[index])
    return found


def named(keywords: Mapping[int, Sequence[str]], *, taken: Collection[str] = ()) -> dict[int, str]:
    """Return a readable name of each cluster from its keywords, no two alike.

    The name is the first two keywords: `Sofa mattress, sidewalk`. `taken` are names in use.
    """
    proposed = {cluster: ", ".join(words[:PHRASES_IN_NAME]) for cluster, words in keywords.items()}
    return unique_names(proposed, keywords, taken=taken)


def unique_names(
    proposed: Mapping[int, str],
    keywords: Mapping[int, Sequence[str]],
    *,
    taken: Collection[str] = (),
) -> dict[int, str]:
    """Return proposed names made fit to be shown, no two alike whatever their case.

    Characters that control or hide text are taken out, a name is at most 60 characters long and
    begins with a capital; an empty one is made of keywords. The cluster with the lowest id has the
    first claim; to another's name the keywords are added that no cluster with that name has, and
    if that does not help its id. `taken` are names in use.
    """
    held: dict[str, list[int]] = {_compared(name): [] for name in taken}
    found = {}
    for cluster in sorted(proposed):
        own = list(keywords.get(cluster, ()))
        base = _shown(proposed[cluster]) or _shown(", ".join(own[:PHRASES_IN_NAME])) or "Cluster"
        rivals = held.get(_compared(base), [])
        theirs = {word for rival in rivals for word in keywords.get(rival, ())}
        name = next(
            name
            for name in _candidates(base, [word for word in own if word not in theirs], cluster)
            if _compared(name) not in held
        )
        # Who asks for the same name next must differ from all who asked before.
        held.setdefault(_compared(base), []).append(cluster)
        held.setdefault(_compared(name), []).append(cluster)
        found[cluster] = name
    return found


def _terms(text: str) -> Iterator[str]:
    """Return the words of a text that are no stop words, and each with the next."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = [word for word in WORD.findall(text.lower()) if word not in ENGLISH_STOP_WORDS]
    return chain(words, (f"{one} {next_}" for one, next_ in pairwise(words)))


def _weights(own: Counter[str], everywhere: Counter[str], average: float) -> dict[str, float]:
    """Return c-TF-IDF of a cluster's terms."""
    total = own.total()
    return {
        term: float(times / total * np.log1p(average / everywhere[term]))
        for term, times in own.items()
    }


def _without_repetition(weights: Mapping[str, float], top: int) -> list[str]:
    """Return the heaviest terms, no word in two of them nor twice in one."""
    preferred = {
        term: weight * (PAIR_PREFERENCE if " " in term else 1.0) for term, weight in weights.items()
    }
    had: set[str] = set()
    chosen: list[str] = []
    for term in sorted(preferred, key=lambda term: (-preferred[term], term)):
        if len(chosen) == top:
            break
        stems = [_singular(word) for word in term.split()]
        if had.isdisjoint(stems) and len(set(stems)) == len(stems):
            had.update(stems)
            chosen.append(term)
    return chosen


def _singular(word: str) -> str:
    """Return what a word and its plural have in common."""
    for ending, instead in ENDINGS.items():
        if word.endswith(ending) and len(word) - len(ending) + len(instead) >= SHORTEST_SINGULAR:
            return word.removesuffix(ending) + instead
    return word


def _centrality(neighbors: Ints, similarities: Floats, clusters: Ints) -> Floats:
    """Return the sum of each case's similarities within its cluster, each edge once."""
    from scipy import sparse

    cases, k = neighbors.shape
    rows, columns = np.repeat(np.arange(cases), k), neighbors.ravel()
    is_own = (columns >= 0) & (columns != rows)
    is_own[is_own] = clusters[rows[is_own]] == clusters[columns[is_own]]
    edges = (rows[is_own], columns[is_own])
    weights = similarities.ravel()[is_own].astype(np.float64)
    graph = sparse.csr_array((weights, edges), shape=(cases, cases))
    # Sums of the same numbers in another order differ in the last digits.
    return np.asarray(graph.maximum(graph.T).sum(axis=1)).ravel().round(9)


def _candidates(base: str, contrast: Sequence[str], cluster: int) -> Iterator[str]:
    """Return what a cluster may be called, best first, without end."""
    yield base
    said = base.casefold()
    fresh = [word for word in contrast if word.casefold() not in said]
    for words in range(1, len(fresh) + 1):
        yield _joined(base, f", {', '.join(fresh[:words])}")
    yield _joined(base, f" ({cluster})")
    yield from (_joined(base, f" ({cluster}, {number})") for number in count(2))


def _joined(base: str, addition: str) -> str:
    """Return both, the first shortened to what room the second leaves."""
    return _short(base, max(LONGEST_NAME - len(addition), 0)) + addition[:LONGEST_NAME]


def _shown(name: str) -> str:
    """Return a name without what cannot be seen, in one line, capitalised, short enough."""
    seen = "".join(
        " " if unicodedata.category(sign) in PARTING else sign
        for sign in unicodedata.normalize("NFC", name)
        if unicodedata.category(sign) not in UNSEEN
    )
    line = " ".join(seen.split()).strip(AROUND)
    return _short(line[:1].upper() + line[1:], LONGEST_NAME)


def _short(name: str, longest: int) -> str:
    """Return a name cut at the end of a word, or within the first if that is too long."""
    if len(name) <= longest:
        return name
    cut = name[: longest + 1]
    whole = cut.rsplit(" ", 1)[0] if " " in cut else cut[:longest]
    return whole.rstrip(" ,;:-")


def _compared(name: str) -> str:
    """Return what two names that look alike have in common."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _refuse_other_length(what: str, given: int, clusters: Ints) -> None:
    if given != len(clusters):
        raise ValueError(f"{given} {what} for {len(clusters)} labels; give one each")
