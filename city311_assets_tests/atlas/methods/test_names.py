"""Names of clusters: c-TF-IDF against its formula, central cases, and no two names alike."""

import unicodedata
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from city311_assets.atlas.methods import names
from city311_assets.atlas.methods.names import exemplars, keywords, named, unique_names

SOFA = ["a sofa mattress on the sidewalk", "sofa mattress left at the curb", "sofa mattress, sofas"]
TAG = ["graffiti tag on a wall", "graffiti on the wall of a garage", "tags and graffiti"]
TEXTS = SOFA + TAG
LABELS = [4, 4, 4, 9, 9, 9]


def drawn(seed: int = 1, texts: int = 300) -> tuple[list[str], np.ndarray]:
    """Texts of five topics, words of a topic more likely in its own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, texts)
    words = np.array([f"{a}{b}ra" for a in "bdfgklmnpr" for b in ("o", "i", "u", "e")])
    likely = np.ones((5, words.size))
    for topic in range(5):
        likely[topic, topic * 8 : topic * 8 + 8] = 12
    likely /= likely.sum(axis=1, keepdims=True)
    return [" ".join(rng.choice(words, 7, p=likely[label])) for label in labels], labels


def test_a_cluster_is_described_by_what_sets_it_apart():
    found = keywords(TEXTS, LABELS)
    assert found[4][0] == "sofa mattress"
    assert {"sidewalk", "curb"} & {*" ".join(found[4]).split()}
    assert "graffiti" in found[9][0]
    assert not {"the", "on", "and"} & {*" ".join(chain(*found.values())).split()}


def test_the_weights_are_those_of_the_formula():
    texts, labels = drawn()
    analyse = CountVectorizer(ngram_range=(1, 2), stop_words="english")
    counts = sparse.csr_array(analyse.fit_transform(texts)).toarray()
    of_class = np.stack([counts[labels == label].sum(axis=0) for label in range(5)])
    share = of_class / of_class.sum(axis=1, keepdims=True)
    expected = share * np.log(1 + of_class.sum(axis=1).mean() / of_class.sum(axis=0))
    terms = analyse.get_feature_names_out()
    counters = [names.Counter(chain(*(names._terms(t) for t in own))) for own in (
        [text for text, label in zip(texts, labels, strict=True) if label == n] for n in range(5)
    )]  # fmt: skip
    everywhere = sum(counters, names.Counter())
    for n, own in enumerate(counters):
        weights = names._weights(own, everywhere, everywhere.total() / 5)
        assert {*weights} == {*terms[of_class[n] > 0]}
        np.testing.assert_allclose([weights.get(term, 0) for term in terms], expected[n])


def test_planted_topics_are_found_in_their_words():
    texts, labels = drawn()
    words = [f"{a}{b}ra" for a in "bdfgklmnpr" for b in ("o", "i", "u", "e")]
    for topic, found in keywords(texts, labels, top=5).items():
        own = {*words[topic * 8 : topic * 8 + 8]}
        said = " ".join(found).split()
        assert np.mean([word in own for word in said]) >= 0.9


def test_no_word_is_in_two_keywords_nor_its_plural():
    texts, labels = drawn(2)
    plural = [text.replace("ra ", "ras ", 2) for text in texts]
    for found in keywords([*TEXTS, *plural], [*LABELS, *(labels + 20)]).values():
        words = [word.removesuffix("s") for word in " ".join(found).split()]
        assert len({*words}) == len(words)
        assert len(found) <= 10


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("box", "boxes"),
        ("city", "cities"),
        ("mattress", "mattresses"),
        ("bench", "benches"),
        ("brush", "brushes"),
        ("car", "car's"),
        ("tree", "trees"),
    ],
)
def test_a_word_and_its_plural_are_one(one: str, many: str):
    assert names._singular(one) == names._singular(many)
    assert keywords([f"{one} {many}"], [0])[0] in ([one], [many])


def test_neither_the_order_of_texts_nor_the_numbers_of_labels_matter():
    texts, labels = drawn(3)
    order = np.random.default_rng(1).permutation(len(texts))
    moved = keywords([texts[i] for i in order], 10 - labels[order])
    assert moved == {10 - label: words for label, words in keywords(texts, labels).items()}


def test_a_text_that_is_repeated_counts_as_often_as_it_is():
    assert keywords(["curb", "curb", *["sofa"] * 5], [0] * 7) == {0: ["sofa", "curb"]}


def test_outliers_are_not_counted_and_have_no_keywords():
    noise = ["sofa"] * 50
    assert keywords([*TEXTS, *noise], [*LABELS, *[-1] * 50]) == keywords(TEXTS, LABELS)
    assert keywords(noise, [-1] * 50) == {}
    assert keywords([], []) == {}


def test_a_cluster_without_a_word_has_no_keywords_and_still_a_name():
    found = keywords(["", "12 34", "the and", *SOFA], [1, 1, 1, 2, 2, 2])
    assert found[1] == []
    assert named(found)[1] == "Cluster"
    assert named({1: [], 2: []}) == {1: "Cluster", 2: "Cluster (2)"}


def test_exemplars_are_the_most_central_cases():
    rng = np.random.default_rng(5)
    centres = np.eye(3)[:, :, None] * 4
    labels = np.repeat([0, 1, 2], 60)
    points = centres[labels, :, 0] + rng.normal(0, 1, (180, 3)) * rng.uniform(0.1, 1.5, (180, 1))
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    cosine = unit @ unit.T
    indices = np.argsort(-cosine, axis=1)[:, :180]
    similarities = np.take_along_axis(cosine, indices, axis=1).astype(np.float32)
    ids = [f"r{n:03}" for n in range(180)]
    found = exemplars(indices, similarities, labels, ids)
    for label, chosen in found.items():
        own = np.flatnonzero(labels == label)
        within = cosine[np.ix_(own, own)].sum(axis=1) - 1
        assert chosen == [ids[i] for i in own[np.argsort(-within)][:6]]


def test_an_edge_counts_for_both_ends_once_and_only_within_the_cluster():
    indices = [[0, 1, 3], [1, 0, 2], [2, 1, -1], [3, 0, -1], [4, 0, 1]]
    similarities = [[1, 0.5, 0.9], [1, 0.5, 0.4], [1, 0.4, 0.0], [1, 0.9, 0.0], [1, 0.1, 0.1]]
    central = names._centrality(
        np.array(indices), np.array(similarities), np.array([0, 0, 0, 1, 0])
    )
    np.testing.assert_allclose(central, [0.6, 1.0, 0.4, 0.0, 0.2])


def test_equals_are_taken_by_record_id_and_outliers_not_at_all():
    indices = np.array([[1], [0], [3], [2], [0]])
    similarities = np.ones((5, 1))
    labels = np.array([0, 0, -1, -1, 0])
    found = exemplars(indices, similarities, labels, ["b", "a", "c", "d", "e"], count=2)
    assert found == {0: ["b", "a"]}
    alike = exemplars(indices[:2], similarities[:2], labels[:2], ["b", "a"], count=1)
    assert alike == {0: ["a"]}


def test_a_name_is_the_first_two_keywords():
    assert named({7: ["sofa mattress", "sidewalk", "curb"]}) == {7: "Sofa mattress, sidewalk"}


def test_names_that_would_be_alike_differ_by_a_word_the_other_does_not_have():
    found = named({1: ["sofa", "curb", "wet"], 2: ["sofa", "curb", "wet", "green"]})
    assert found == {1: "Sofa, curb", 2: "Sofa, curb, green"}


def test_a_third_cluster_of_the_same_name_differs_from_both():
    words = {1: ["sofa", "curb"], 2: ["sofa", "curb", "green"], 3: ["sofa", "curb", "green", "old"]}
    assert named(words)[3] == "Sofa, curb, old"


def test_a_name_in_use_is_not_given_again_whatever_its_case():
    words = {3: ["sofa", "curb", "green"]}
    assert named(words, taken=["SOFA, Curb"]) == {3: "Sofa, curb, green"}
    assert named({3: ["sofa", "curb"]}, taken=["sofa, curb"]) == {3: "Sofa, curb (3)"}


def test_what_a_model_proposes_is_made_fit_to_be_shown():
    proposed = {
        1: '  "Dumped\x00 furniture\n on\tsidewalks" ',
        2: "\u202eDumped\u200b furniture on sidewalks**",
        3: "graffiti " * 20,
        4: "x" * 90,
        5: "\x07\u200b ",
    }
    found = unique_names(proposed, {2: ["sofa"], 5: ["tree", "branch"]})
    assert found == {
        1: "Dumped furniture on sidewalks",
        2: "Dumped furniture on sidewalks, sofa",
        3: "Graffiti graffiti graffiti graffiti graffiti graffiti",
        4: "X" + "x" * 59,
        5: "Tree, branch",
    }


@given(
    st.dictionaries(st.integers(1, 999_999_999), st.text(max_size=80), max_size=12),
    st.lists(st.text("abC ", max_size=3), max_size=4),
    st.booleans(),
)
def test_names_are_unique_short_and_free_of_control_characters(
    proposed: dict[int, str], taken: list[str], is_same: bool
):
    if is_same:
        proposed = dict.fromkeys(proposed, "Ab")
    found = unique_names(proposed, {own: ["a", "b"] for own in list(proposed)[::2]}, taken=taken)
    assert {*found} == {*proposed}
    plain = [unicodedata.normalize("NFKC", name).casefold().strip() for name in found.values()]
    assert len({*plain}) == len(plain)
    assert {*plain}.isdisjoint(t.casefold().strip() for t in taken)
    for name in found.values():
        assert 0 < len(name) <= 60
        assert name == name.strip()
        assert not {unicodedata.category(sign) for sign in name} & {"Cc", "Cf", "Cs"}


def test_names_do_not_depend_on_the_order_in_which_clusters_come():
    words = {n: ["sofa", "curb", f"word{n}"] for n in range(1, 6)}
    assert named(words) == named(dict(reversed(words.items())))


def test_what_is_not_of_one_length_is_refused():
    with pytest.raises(ValueError, match=r"1 texts for 2 labels"):
        keywords(["a"], [1, 2])
    with pytest.raises(ValueError, match=r"3 record ids for 2 labels"):
        exemplars([[1], [0]], [[1], [1]], [0, 0], ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"1 rows of neighbours for 2 labels"):
        exemplars([[1]], [[1]], [0, 0], ["a", "b"])
