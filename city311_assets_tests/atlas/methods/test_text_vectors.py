"""Local text vectors: the same to the bit, near where texts are, and refused where changed."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from city311_assets.atlas.methods import text_vectors
from city311_assets.atlas.methods.text_vectors import TextModel, fitted, loaded, saved, vectors

TOPICS = (
    "mattress sofa chair couch furniture dumped sidewalk curb",
    "graffiti tag paint wall garage mural letters spray",
    "pothole asphalt crack lane tire hole bump street",
)


def drawn(texts: int = 300, seed: int = 1) -> tuple[list[str], np.ndarray]:
    """Sentences of three topics, a third of their words drawn from all of them."""
    rng = np.random.default_rng(seed)
    own, every = [topic.split() for topic in TOPICS], " ".join(TOPICS).split()
    labels = rng.integers(0, 3, texts)
    lines = [
        " ".join([*rng.choice(own[label], 6), *rng.choice(every, 3), f"number{rng.integers(40)}"])
        for label in labels
    ]
    return lines, labels


@pytest.fixture(scope="module")
def model() -> TextModel:
    return fitted(drawn()[0], dimensions=16)


def test_the_same_texts_in_any_order_and_on_any_threads_are_the_same_model(model: TextModel):
    texts, _ = drawn()
    assert fitted(texts[::-1], dimensions=16).artefact == model.artefact
    with threadpool_limits(2):
        assert fitted(texts, dimensions=16).artefact == model.artefact
    assert fitted(texts[1:], dimensions=16).version != model.version
    assert fitted(texts, dimensions=16, seed=5).version != model.version


def test_the_version_names_the_artefact(model: TextModel):
    assert model.version == f"local-{model.artefact_hash[:12]}"
    assert re.fullmatch(r"[0-9a-f]{64}", model.artefact_hash)


def test_rows_have_length_one_and_the_models_dimensions(model: TextModel):
    rows, is_known = vectors(model, drawn(seed=2)[0])
    assert rows.dtype == np.float32
    assert rows.shape == (300, 16) == (300, model.dimensions)
    assert is_known.all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_texts_of_one_topic_are_nearest_to_each_other(model: TextModel):
    texts, labels = drawn(seed=3)
    rows = vectors(model, texts).rows
    cosine = rows @ rows.T
    np.fill_diagonal(cosine, -1)
    assert (labels[cosine.argmax(axis=1)] == labels).mean() > 0.95


def test_cosines_are_those_of_scikit_learns_exact_decomposition():
    texts, _ = drawn()
    model = fitted(texts, dimensions=3)
    words = TfidfVectorizer(ngram_range=(1, 2), stop_words="english", sublinear_tf=True, min_df=3)
    exact = TruncatedSVD(3, algorithm="arpack", random_state=1)
    reference = np.asarray(normalize(exact.fit_transform(words.fit_transform(texts))))
    rows = vectors(model, texts).rows
    assert model.vocabulary == tuple(words.get_feature_names_out())
    np.testing.assert_allclose(rows @ rows.T, reference @ reference.T, atol=0.001)
    assert model.explained_variance == pytest.approx(
        exact.explained_variance_ratio_.sum(), rel=0.001
    )


def test_directions_are_turned_to_their_largest_entry(model: TextModel):
    largest = np.abs(model.components).argmax(axis=1)
    assert (model.components[np.arange(16), largest] > 0).all()
    np.testing.assert_allclose(model.components @ model.components.T, np.eye(16), atol=1e-5)


def test_a_text_has_the_same_vector_whatever_else_is_asked(model: TextModel):
    texts, _ = drawn(seed=4)
    together = vectors(model, texts).rows
    for index in (0, 7, 299):
        assert (vectors(model, [texts[index]]).rows[0] == together[index]).all()
    doubled = vectors(model, [*texts, *texts]).rows
    assert (doubled[:300] == together).all()
    assert (doubled[300:] == together).all()


def test_case_and_punctuation_do_not_matter(model: TextModel):
    one, other = vectors(model, ["Sofa, on the CURB!", "sofa curb"]).rows
    assert (one == other).all()


def test_a_text_without_a_known_word_is_marked_and_its_row_is_zero(model: TextModel):
    found = vectors(model, ["zebra", "sofa", "", "the"])
    assert found.is_known.tolist() == [False, True, False, False]
    assert (found.rows[~found.is_known] == 0).all()
    assert vectors(model, []).rows.shape == (0, 16)


def test_few_texts_have_few_dimensions():
    assert fitted(["sofa"]).dimensions == 1
    assert fitted(["sofa", "sofa", "sofa"]).dimensions == 1
    two = fitted(["sofa", "wall"])
    assert two.dimensions == 2
    one, other = vectors(two, ["sofa", "wall"]).rows
    assert one @ other == pytest.approx(0, abs=1e-6)
    assert fitted(drawn()[0][:20]).dimensions <= 20
    assert fitted([f"{a} {b}" for a in ("aa", "bb") for b in ("cc", "dd")] * 60).dimensions < 10


def test_rare_terms_are_left_out_unless_all_are_rare():
    common = ["sofa curb"] * 300
    assert "misprint" not in fitted([*common, "misprint", "misprint"]).vocabulary
    assert "misprint" in fitted([*common, *["misprint"] * 3]).vocabulary
    apart = fitted([f"word{n}" for n in range(300)], dimensions=5)
    assert len(apart.vocabulary) == 300


def test_no_more_terms_are_kept_than_a_file_should_hold(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_vectors, "MOST_TERMS", 5)
    found = fitted(drawn()[0])
    assert len(found.vocabulary) == 5
    assert list(found.vocabulary) == sorted(found.vocabulary)


@pytest.mark.parametrize("texts", [[], ["", "the and of"]], ids=["none", "no words"])
def test_texts_without_a_word_are_refused(texts: list[str]):
    with pytest.raises(ValueError, match=rf"none of {len(texts)} texts has a word"):
        fitted(texts)


def test_what_was_saved_is_what_is_read(model: TextModel, tmp_path: Path):
    path = saved(model, tmp_path / "models")
    assert path.name == f"{model.artefact_hash}.npz"
    again = loaded(path, model.artefact_hash)
    assert again.version == model.version
    assert again.artefact == model.artefact
    texts, _ = drawn(seed=6)
    assert (vectors(again, texts).rows == vectors(model, texts).rows).all()


def test_terms_of_any_alphabet_are_kept(tmp_path: Path):
    model = fitted(["matelas défoncé", "колесо 街道垃圾", "ẞ straße"])
    path = saved(model, tmp_path)
    assert loaded(path, model.artefact_hash).vocabulary == model.vocabulary


def test_saving_again_writes_nothing_and_leaves_nothing_behind(model: TextModel, tmp_path: Path):
    path = saved(model, tmp_path)
    written = path.stat().st_mtime_ns
    assert saved(model, tmp_path) == path
    assert path.stat().st_mtime_ns == written
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_changed_file_is_refused_with_both_hashes(model: TextModel, tmp_path: Path):
    path = saved(model, tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"has the hash [0-9a-f]{{64}}, not {model.artefact_hash}"
    ):
        loaded(path, model.artefact_hash)


def test_a_missing_file_is_named(model: TextModel, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"is not at .*gone\.npz.*atlas/text_models"):
        loaded(tmp_path / "gone.npz", model.artefact_hash)


def test_a_file_of_another_form_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_vectors, "FORMAT", 2)
    newer = fitted(["sofa", "wall"])
    path = saved(newer, tmp_path)
    monkeypatch.setattr(text_vectors, "FORMAT", 1)
    with pytest.raises(ValueError, match="is of form 2, this release reads 1"):
        loaded(path, newer.artefact_hash)
