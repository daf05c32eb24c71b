"""Identity of clusters: planted changes, nothing where nothing changed, and the best matching."""

import datetime as dt
from itertools import permutations

import numpy as np
import polars as pl
import pytest

from city311_assets.atlas.methods.identity import LEAST_JACCARD, Identified, _matches, identified

NOVEMBER, DECEMBER = dt.date(2026, 11, 1), dt.date(2026, 12, 1)


def clustered(sizes: dict[int | None, int], column: str = "label") -> pl.DataFrame:
    """Cases numbered on, so many in each cluster, in this order."""
    clusters = [cluster for cluster, size in sizes.items() for _ in range(size)]
    names = [f"case-{number:05}" for number in range(len(clusters))]
    types = {"record_id": pl.String, column: pl.Int64}
    return pl.DataFrame({"record_id": names, column: clusters}, schema=types)


def before(sizes: dict[int | None, int]) -> pl.DataFrame:
    """The month before, of clusters numbered from 1."""
    numbered = {None if n is None else 202610000 + n: size for n, size in sizes.items()}
    return clustered(numbered, "cluster_id")


def events(found: Identified) -> dict[tuple[str, int], tuple[list[int], int, int]]:
    return {(event, own): (others, *rest) for event, own, others, *rest in found.events.rows()}


def test_the_first_month_numbers_clusters_by_size_and_has_no_events():
    found = identified(clustered({7: 30, 0: 50, -1: 90, None: 5, 3: 40}), None, NOVEMBER)
    assert found.ids == {0: 202611001, 3: 202611002, 7: 202611003}
    assert found.events.is_empty()
    assert found.kept_share is None


def test_of_two_as_large_the_one_with_the_first_case_is_numbered_first():
    assert identified(clustered({9: 4, 2: 4}), None, NOVEMBER).ids == {9: 202611001, 2: 202611002}


def test_when_nothing_changed_every_id_is_kept_and_nothing_is_told():
    rng = np.random.default_rng(1)
    topic = rng.integers(0, 12, 9_000)
    month = rng.integers(0, 19, topic.size)
    cases = pl.DataFrame({"record_id": [f"r{n}" for n in range(topic.size)], "topic": topic})
    was = cases.filter(month < 18).select("record_id", cluster_id=pl.col("topic") + 202610001)
    now = cases.filter(month > 0).with_columns(label=11 - pl.col("topic"))
    found = identified(now, was, NOVEMBER)
    assert found.ids == {11 - n: 202610001 + n for n in range(12)}
    assert found.events.is_empty()
    assert found.kept_share == 1


def test_with_one_case_in_fifty_elsewhere_the_ids_are_kept_of_95_in_100():
    rng = np.random.default_rng(2)
    topic = rng.integers(0, 12, 9_000)
    moved = np.where(rng.random(topic.size) < 0.02, rng.integers(-1, 12, topic.size), topic)
    names = [f"r{n}" for n in range(topic.size)]
    was = pl.DataFrame({"record_id": names, "cluster_id": topic + 202610001})
    found = identified(pl.DataFrame({"record_id": names, "label": moved}), was, NOVEMBER)
    assert found.ids == {n: 202610001 + n for n in range(12)}
    assert found.events.is_empty()
    assert found.kept_share is not None
    assert 0.95 <= found.kept_share < 1


def test_labels_drawn_anew_are_other_clusters():
    rng = np.random.default_rng(3)
    names = [f"r{n}" for n in range(3_000)]
    was = pl.DataFrame({"record_id": names, "cluster_id": rng.integers(1, 7, 3_000)})
    now = pl.DataFrame({"record_id": names, "label": rng.integers(0, 6, 3_000)})
    found = identified(now, was, NOVEMBER)
    assert sorted(found.ids.values()) == [202611001 + n for n in range(6)]
    assert found.events["event"].value_counts().sort("event").rows() == [("birth", 6), ("death", 6)]
    assert found.kept_share == 0


def test_a_split_is_told_with_where_its_cases_went_and_the_larger_part_keeps_the_id():
    found = identified(clustered({5: 60, 6: 40, 8: 50}), before({1: 100, 2: 50}), NOVEMBER)
    assert found.ids == {5: 202610001, 6: 202611001, 8: 202610002}
    assert events(found) == {
        ("split", 202610001): ([202610001, 202611001], 100, 60),
        ("birth", 202611001): ([202610001], 40, 40),
    }


def test_a_merge_is_told_with_where_its_cases_came_from():
    found = identified(clustered({0: 100, 8: 50}), before({1: 60, 2: 40, 3: 50}), NOVEMBER)
    assert found.ids == {0: 202610001, 8: 202610003}
    assert events(found) == {
        ("merge", 202610001): ([202610001, 202610002], 100, 100),
        ("death", 202610002): ([202610001], 40, 40),
    }


def test_a_fifth_of_the_cases_makes_a_split_and_less_does_not():
    split = identified(clustered({0: 80, 1: 20}), before({1: 100}), NOVEMBER)
    assert ("split", 202610001) in events(split)
    whole = identified(clustered({0: 81, 1: 19}), before({1: 100}), NOVEMBER)
    assert [*events(whole)] == [("birth", 202611001)]
    merged = identified(clustered({0: 100}), before({1: 81, 2: 19}), NOVEMBER)
    assert events(merged) == {("death", 202610002): ([202610001], 19, 19)}


def test_what_splits_forwards_merges_backwards():
    rng = np.random.default_rng(4)
    fine = rng.integers(0, 9, 2_000)
    names = [f"r{n}" for n in range(fine.size)]
    whole, parts = fine // 3, fine

    def told(was: np.ndarray, now: np.ndarray, event: str) -> set[int]:
        labels = pl.DataFrame({"record_id": names, "label": now})
        held = pl.DataFrame({"record_id": names, "cluster_id": was + 1})
        found = identified(labels, held, NOVEMBER).events.filter(pl.col("event") == event)
        return {*found["shared_cases"]}

    assert told(whole, parts, "split") == told(parts, whole, "merge")
    assert len(told(whole, parts, "split")) == 3
    assert told(whole, parts, "merge") == told(parts, whole, "split") == set()


def test_a_cluster_of_new_cases_is_born_and_one_whose_cases_left_the_window_dies():
    was = before({1: 40, 2: 30})
    now = clustered({0: 40, -1: 30, 4: 25}).filter(pl.col("label") != -1)
    found = identified(now, was, NOVEMBER)
    assert events(found) == {
        ("birth", 202611001): ([], 0, 25),
        ("death", 202610002): ([], 0, 30),
    }


def test_cases_that_became_outliers_keep_nothing_alive():
    found = identified(clustered({-1: 30, 0: 30}), before({1: 30, None: 30}), NOVEMBER)
    assert events(found) == {
        ("birth", 202611001): ([], 0, 30),
        ("death", 202610001): ([], 0, 30),
    }


def test_cases_that_are_in_one_of_the_two_months_only_do_not_count_against_a_match():
    was = before({1: 10}).vstack(
        pl.DataFrame({"record_id": [f"old{n}" for n in range(90)], "cluster_id": [202610001] * 90})
    )
    now = clustered({4: 10}).vstack(
        pl.DataFrame({"record_id": [f"new{n}" for n in range(90)], "label": [4] * 90})
    )
    found = identified(now, was, NOVEMBER)
    assert found.ids == {4: 202610001}
    assert found.events.is_empty()


def test_neither_the_order_of_rows_nor_the_numbers_of_labels_matter():
    rng = np.random.default_rng(5)
    names = [f"r{n}" for n in range(600)]
    was = pl.DataFrame({"record_id": names, "cluster_id": rng.integers(1, 9, 600)})
    labels = np.where(rng.random(600) < 0.6, was["cluster_id"].to_numpy(), rng.integers(0, 14, 600))
    now = pl.DataFrame({"record_id": names, "label": labels})
    found = identified(now, was, NOVEMBER)
    renumbered = rng.permutation(14)
    moved = now.with_columns(label=pl.Series(renumbered[labels])).sample(600, shuffle=True, seed=1)
    again = identified(moved, was.sample(600, shuffle=True, seed=2), NOVEMBER)
    assert again.ids == {int(renumbered[label]): own for label, own in found.ids.items()}
    assert again.events.equals(found.events)
    assert again.kept_share == found.kept_share


@pytest.mark.parametrize("seed", range(20))
def test_the_matching_is_the_best_of_all(seed: int):
    rng = np.random.default_rng(seed)
    shared = np.zeros((6, 6), np.int64)
    shared[:5, :5] = (
        rng.integers(0, 3, (5, 5)) + np.diag(rng.integers(0, 12, 5))[rng.permutation(5)]
    )
    common = shared[:5, :5]
    either = common.sum(1)[:, None] + common.sum(0)[None] - common
    jaccard = common / np.maximum(either, 1)
    jaccard[jaccard < LEAST_JACCARD] = 0
    best = max(sum(jaccard[p[c], c] for c in range(5)) for p in permutations(range(5)))
    found = _matches(shared)
    assert sum(jaccard[row, column] for column, row in found.items()) == pytest.approx(best)
    assert all(jaccard[row, column] >= LEAST_JACCARD for column, row in found.items())


def test_a_month_after_a_split_goes_on_with_both_ids():
    november = clustered({5: 60, 6: 40})
    ids = identified(november, before({1: 100}), NOVEMBER).ids
    held = november.select("record_id", cluster_id=pl.col("label").replace_strict(ids))
    again = identified(clustered({0: 60, 1: 40}), held, DECEMBER)
    assert again.ids == {0: 202610001, 1: 202611001}
    assert again.events.is_empty()


def test_a_cluster_just_too_unlike_is_another():
    same = identified(clustered({0: 30, -1: 70}), before({1: 100}), NOVEMBER)
    assert same.ids == {0: 202610001}
    other = identified(clustered({0: 29, -1: 71}), before({1: 100}), NOVEMBER)
    assert other.ids == {0: 202611001}
    assert events(other) == {
        ("birth", 202611001): ([202610001], 29, 29),
        ("death", 202610001): ([202611001], 29, 100),
    }


def test_a_month_of_outliers_alone_ends_every_cluster():
    found = identified(clustered({-1: 40}), before({1: 40}), NOVEMBER)
    assert found.ids == {}
    assert events(found) == {("death", 202610001): ([], 0, 40)}
    assert identified(clustered({}), before({}), NOVEMBER).events.is_empty()


def test_ids_of_this_month_or_later_are_refused_as_those_of_the_month_before():
    held = pl.DataFrame({"record_id": ["a"], "cluster_id": [202611004]})
    with pytest.raises(ValueError, match=r"202611004.*born in 2026-11 or later"):
        identified(clustered({0: 1}), held, NOVEMBER)
    assert identified(clustered({0: 1}), held, DECEMBER).ids == {0: 202612001}


def test_a_case_in_two_clusters_is_refused():
    twice = pl.DataFrame({"record_id": ["a", "a"], "label": [1, 2]})
    with pytest.raises(ValueError, match=r"1 cases of the month are named twice: \['a'\]"):
        identified(twice, None, NOVEMBER)


def test_more_clusters_than_numbers_are_refused():
    most = identified(clustered(dict.fromkeys(range(999), 1)), None, NOVEMBER)
    assert max(most.ids.values()) == 202611999
    with pytest.raises(ValueError, match=r"1000 clusters were born in 2026-11"):
        identified(clustered(dict.fromkeys(range(1_000), 1)), None, NOVEMBER)
