"""The call for notebooks: columns of any kind, a planted effect, and what it refuses."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from city311_assets.causal.methods.att import att
from city311_assets.causal.methods.estimators import matched_effect
from city311_assets.causal.methods.matching import match_in_strata

N = 240


def complaints(effect: float = 10.0, seed: int = 1, n: int = N) -> dict[str, np.ndarray]:
    """Texts that drive both where a complaint lies and how long it takes, and a planted delay."""
    rng = np.random.default_rng(seed)
    text = rng.normal([2, 0, 0, 0], size=(n, 4))
    treated = rng.random(n) < 1 / (1 + np.exp(1.2 - text[:, 1]))
    hours = 50 + 8 * text[:, 1] + rng.normal(scale=3, size=n) + effect * treated
    return {"hours": hours, "here": treated, "text": text, "kind": rng.integers(3, size=n)}


def effect_of(given: dict[str, np.ndarray], **options):
    return att(given["hours"], given["here"], given["text"], **options)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("estimator", ["bias_corrected", "matched", "naive", "aipw"])
def test_a_planted_delay_is_found_whatever_the_way(metric, estimator):
    effect = effect_of(complaints(), metric=metric, estimator=estimator, draws=200)
    assert effect.estimator == estimator
    assert effect.estimate == pytest.approx(10, abs=3.5 if estimator != "bias_corrected" else 1.5)
    assert effect.p is not None
    assert effect.p < 0.001
    assert (effect.p_randomization is None) == (estimator in {"naive", "aipw"})


def test_where_nothing_was_planted_nothing_is_found():
    p = [effect_of(complaints(0.0, seed), metric="euclidean", draws=0).p for seed in range(2, 22)]
    assert sum(value is not None and value < 0.05 for value in p) <= 3


def test_lists_arrays_and_columns_of_polars_and_pandas_are_read_alike():
    given = complaints()
    expected = effect_of(given, strata=given["kind"], draws=100)
    names = ["a", "b", "c", "d"]
    wide = pl.DataFrame(given["text"], schema=names)
    vectors = pl.Series(given["text"].tolist(), dtype=pl.List(pl.Float64))
    kinds = [f"kind {kind}" for kind in given["kind"]]
    readings = [
        (
            given["hours"].tolist(),
            given["here"].astype(int).tolist(),
            given["text"].tolist(),
            kinds,
        ),
        (pl.Series(given["hours"]), pl.Series(given["here"]), wide, pl.Series(kinds)),
        (pl.Series(given["hours"]), pl.Series(given["here"]), vectors, pl.Series(kinds)),
        (
            pl.Series(given["hours"]),
            pl.Series(given["here"]),
            vectors.cast(pl.Array(pl.Float64, 4)),
            pl.Series(kinds, dtype=pl.Categorical),
        ),
        (
            pd.Series(given["hours"]),
            pd.Series(given["here"]),
            pd.DataFrame(given["text"], columns=names),
            pd.Series(kinds),
        ),
    ]
    for hours, here, text, strata in readings:
        assert att(hours, here, text, strata=strata, draws=100) == expected


def test_the_length_of_an_embedding_does_not_matter_to_the_cosine():
    given = complaints()
    # Powers of two, which change no digit.
    longer = given["text"] * 2.0 ** np.random.default_rng(1).integers(-3, 4, N)[:, None]
    assert att(given["hours"], given["here"], longer, draws=50) == effect_of(given, draws=50)


def test_pairs_share_their_stratum_and_a_stratum_without_controls_is_off_support():
    given = complaints()
    kind = np.where(given["here"] & (given["kind"] == 0), 9, given["kind"])
    for metric in ("cosine", "euclidean"):
        effect = effect_of(given, metric=metric, strata=kind, draws=0)
        alone = (kind == 9).sum()
        assert effect.n_treated - effect.n_matched == alone > 0
        assert effect.share_on_support == pytest.approx(1 - alone / given["here"].sum())


def test_a_caliper_drops_pairs_and_says_so_where_none_is_left():
    given = complaints()
    near = effect_of(given, caliper=0.99, draws=0)
    assert 0 < near.n_matched < near.n_treated
    whole = effect_of(given, draws=0)
    assert near.mean_similarity is not None
    assert whole.mean_similarity is not None
    assert near.mean_similarity > max(0.99, whole.mean_similarity)
    for metric, caliper in (("cosine", 1.1), ("euclidean", 1e-9)):
        nothing = effect_of(given, metric=metric, caliper=caliper)
        assert (nothing.estimate, nothing.reason) == (None, "outside the caliper")


def test_as_many_controls_as_asked_for_are_used():
    given = complaints()
    vectors = given["text"] / np.linalg.norm(given["text"], axis=1, keepdims=True)
    here = given["here"]
    found = match_in_strata(
        vectors.astype(np.float32), np.zeros(N, int), here.astype(int), 5, of=here
    )
    effect = effect_of(given, k=5, draws=0)
    assert effect.n_controls_used == np.unique(found.control).size
    assert effect.n_controls_used > effect_of(given, k=1, draws=0).n_controls_used


def test_what_imperfect_matches_are_corrected_for_can_be_said():
    given = complaints()
    rough = np.random.default_rng(3).normal(size=(N, 3)) + 1
    told = att(
        given["hours"], given["here"], rough, adjustment=given["text"], metric="cosine", draws=0
    )
    untold = att(given["hours"], given["here"], rough, estimator="matched", draws=0)
    assert told.estimate == pytest.approx(10, abs=2)
    assert untold.estimate is not None
    assert abs(untold.estimate - 10) > 4


def test_the_error_counts_reuse_by_the_nearest_controls_of_the_stratum():
    given = complaints()
    vectors = given["text"] / np.linalg.norm(given["text"], axis=1, keepdims=True)
    vectors, here, kind = vectors.astype(np.float32), given["here"], given["kind"]
    found = match_in_strata(vectors, kind, here.astype(int), 3, of=here)
    variance = np.full(N, np.nan)
    for control in np.unique(found.control):
        (others,) = np.nonzero(~here & (kind == kind[control]) & (np.arange(N) != control))
        near = others[np.argsort(-(vectors[others] @ vectors[control]))[:4]]
        variance[control] = given["hours"][[control, *near]].var(ddof=1)
    expected = matched_effect(given["hours"], found, variance)
    effect = effect_of(given, strata=kind, estimator="matched", draws=0)
    assert effect.se == pytest.approx(expected.se)


def test_controls_of_strata_without_treated_units_have_no_part_in_any_estimate():
    given = complaints()
    given["here"] &= given["kind"] > 0
    given["hours"][given["kind"] == 0] += 1e6
    for estimator in ("bias_corrected", "aipw"):
        effect = effect_of(given, strata=given["kind"], estimator=estimator, draws=0)
        assert effect.estimate == pytest.approx(10, abs=3.5)
        assert effect.n_controls_used <= (~given["here"] & (given["kind"] > 0)).sum()


def test_only_the_naive_estimate_takes_an_outcome_that_is_not_known():
    given = complaints()
    given["hours"][:20] = np.nan
    assert effect_of(given, estimator="naive").estimate is not None
    with pytest.raises(ValueError, match=r"outcome is missing or infinite in 20 of 240"):
        effect_of(given)


ONES = [1.0] * 4
SOME = [True, False, True, False]
TEXT = np.eye(4)


@pytest.mark.parametrize(
    ("columns", "options", "complaint"),
    [
        ((ONES[:3], SOME, TEXT), {}, r"outcome has the shape \(3,\); give one of 4 units"),
        ((TEXT, SOME, TEXT), {}, r"outcome has the shape \(4, 4\); give one number"),
        ((["a"] * 4, SOME, TEXT), {}, "outcome holds something other than numbers"),
        ((ONES, SOME, TEXT[:2]), {}, r"features has the shape \(2, 4\)"),
        ((ONES, SOME, TEXT[:, :0]), {}, r"features has the shape \(4, 0\)"),
        ((ONES, SOME, [[1.0], [2.0], [np.nan], [3.0]]), {}, r"features is missing.*1 of 4.*\[2\]"),
        ((ONES, SOME, TEXT * [[1], [1], [0], [1]]), {}, r"no direction.*rows \[2\]"),
        ((ONES, SOME, pl.Series([[1], [1, 2], [1], [1]])), {}, r"rows of \[1, 2\] values"),
        ((ONES, [1, 0, 2, None], TEXT), {}, r"neither true nor false in 2 of 4.*\[2, 3\]"),
        ((ONES, [TEXT], TEXT), {}, r"treated has the shape \(1, 4, 4\)"),
        ((ONES, [False] * 4, TEXT), {}, "none of 4 units is treated"),
        ((ONES, [True] * 4, TEXT), {}, "none of 4 units is a control"),
        ((ONES, SOME, TEXT), {"strata": ["a", "b", None, "b"]}, r"strata is missing.*\[2\]"),
        ((ONES, SOME, TEXT), {"strata": ["a"]}, r"strata has the shape \(1,\)"),
        ((ONES, SOME, TEXT), {"adjustment": [1.0]}, r"adjustment has the shape \(1,\)"),
        ((ONES, SOME, TEXT), {"metric": "manhattan"}, "'manhattan' is unknown; choose one of"),
        ((ONES, SOME, TEXT), {"estimator": "ols"}, "'ols' is unknown; choose one of"),
        ((ONES, SOME, TEXT), {"k": 0}, "0 matches of each unit"),
    ],
)
def test_columns_that_cannot_be_compared_are_refused(columns, options, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        att(*columns, **options)
