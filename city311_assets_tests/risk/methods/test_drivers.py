"""Drivers: effects add up to the model's log odds, planted causes are named, words are plain."""

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from city311_assets.risk.methods import drivers
from city311_assets.risk.methods.calibration import uncalibrated
from city311_assets.risk.methods.candidates import (
    ClimatologyModel,
    Fitted,
    LogisticModel,
    Model,
    RateModel,
    TreeModel,
)
from city311_assets.risk.methods.drivers import contributions, groups_of, top_drivers
from city311_assets.risk.methods.feature_names import FEATURES, GROUPS

Q = len(FEATURES)
NAMES = tuple(GROUPS)
DAY = date(2026, 2, 3)


def fitted(model: Model, kind: str = "some") -> Fitted:
    return Fitted(kind, "v", FEATURES, model, uncalibrated(), 1.0)


def cells_of_a_day(n: int = 400, seed: int = 1, unknown: float = 0.1) -> np.ndarray:
    """Counts of cells, some unknown; season and weather are those of the day, for all alike."""
    rng = np.random.default_rng(seed)
    x = rng.poisson(3, (n, Q)).astype(np.float32)
    x[rng.random(x.shape) < unknown] = np.nan
    for group in ("season", "cold and thaw", "rain"):
        for name in GROUPS[group]:
            x[:, FEATURES.index(name)] = x[0, FEATURES.index(name)]
    return x


def events_of(x: np.ndarray, *causes: str, seed: int = 2) -> np.ndarray:
    """Events that nothing but some columns causes."""
    known = np.nan_to_num(x[:, [FEATURES.index(name) for name in causes]], nan=1.0)
    odds = (known - 3).sum(axis=1)
    return np.random.default_rng(seed).random(len(x)) < 1 / (1 + np.exp(-odds))


def logistic_model(seed: int = 3) -> LogisticModel:
    rng = np.random.default_rng(seed)
    logged = np.arange(Q) % 2 == 0
    return LogisticModel(
        fill=rng.random(Q),
        centre=rng.random(Q),
        scale=rng.random(Q) + 0.5,
        coefficients=rng.normal(size=Q),
        intercept=-2.0,
        is_logged=logged,
        unit=np.ones(Q),
    )


def tree_model(*causes: str, **asked: int) -> TreeModel:
    rng = np.random.default_rng(4)
    x = rng.poisson(3, (6_000, Q)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    given: dict[str, Any] = {"max_iter": 30, "max_leaf_nodes": 15, "early_stopping": False} | asked
    classifier = HistGradientBoostingClassifier(learning_rate=0.06, random_state=1, **given)
    return TreeModel(classifier.fit(x, events_of(x, *causes)))


TREES = tree_model("calls_7d", "rain_7d_mm", "all_calls_30d")
CELLS = np.arange(400, dtype=np.uint64)
CLIMATE = ClimatologyModel(CELLS[:300], np.random.default_rng(5).normal(size=(301, 12)), middle=4)
MODELS: dict[str, Model] = {
    "logistic": logistic_model(),
    "trees": TREES,
    "rate": RateModel(FEATURES.index("decay_30d"), 0.01, 0.02),
    "climatology": CLIMATE,
}


@pytest.mark.parametrize("name", MODELS)
def test_effects_add_up_to_the_log_odds_less_the_citys_mean(name: str):
    x = cells_of_a_day()
    x[:, FEATURES.index("decay_30d")] = np.nan_to_num(x[:, FEATURES.index("decay_30d")])
    model = fitted(MODELS[name])
    found = contributions(model, x, CELLS, DAY)
    logit = model.logit(x, CELLS, DAY)
    np.testing.assert_allclose(found.logit, logit, atol=1e-9)
    np.testing.assert_allclose(found.effects.sum(axis=1), logit - logit.mean(), atol=1e-9)
    assert found.groups == NAMES


def test_effects_of_trees_add_up_at_thresholds_and_where_all_is_unknown_or_alike():
    nodes = [tree.nodes for (tree,) in TREES.classifier._predictors]
    splits = np.concatenate([node[node["is_leaf"] == 0] for node in nodes])
    on = np.zeros((len(splits), Q), np.float32)
    on[np.arange(len(splits)), splits["feature_idx"]] = splits["num_threshold"]
    for x in (on, np.full((5, Q), np.nan, np.float32), np.ones((5, Q), np.float32)):
        found = contributions(fitted(TREES), x)
        np.testing.assert_allclose(found.logit, fitted(TREES).logit(x), atol=1e-9)


def walked(model: TreeModel, row: np.ndarray) -> np.ndarray:
    """Walk every tree by hand; a node is worth the mean of its leaves by training rows."""
    credited = np.zeros(len(NAMES))
    place = groups_of(FEATURES)
    for (tree,) in model.classifier._predictors:
        nodes = tree.nodes

        def worth(at: int, nodes: np.ndarray = nodes) -> float:
            node = nodes[at]
            if node["is_leaf"]:
                return float(node["value"])
            left, right = int(node["left"]), int(node["right"])
            weights = [float(nodes[left]["count"]), float(nodes[right]["count"])]
            return float(np.average([worth(left), worth(right)], weights=weights))

        at = 0
        while not nodes[at]["is_leaf"]:
            node = nodes[at]
            value = row[node["feature_idx"]]
            is_left = (
                node["missing_go_to_left"] if np.isnan(value) else value <= node["num_threshold"]
            )
            below = int(node["left"] if is_left else node["right"])
            credited[place[node["feature_idx"]]] += worth(below) - worth(at)
            at = below
    return credited


def test_effects_of_trees_are_those_of_a_walk_by_hand():
    x = cells_of_a_day(12)
    by_hand = np.stack([walked(TREES, row) for row in x])
    found = contributions(fitted(TREES), x)
    np.testing.assert_allclose(found.effects, by_hand - by_hand.mean(axis=0), atol=1e-9)


def test_effects_of_a_logistic_model_are_coefficients_times_standardised_values():
    x, model = cells_of_a_day(50), logistic_model()
    z = model.standardised(x)
    for place, names in enumerate(GROUPS.values()):
        own = [FEATURES.index(name) for name in names]
        expected = ((z - z.mean(axis=0)) * model.coefficients)[:, own].sum(axis=1)
        found = contributions(fitted(model), x).effects[:, place]
        np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("cause", "group"),
    [("calls_30d", "recent calls here"), ("all_calls_365d", "how much people call here")],
)
def test_the_planted_cause_is_the_first_driver_of_trees(cause: str, group: str):
    found = contributions(fitted(tree_model(cause)), cells_of_a_day())
    strongest = np.abs(found.effects).argmax(axis=1)
    assert np.mean(strongest == NAMES.index(group)) > 0.95


def test_what_all_cells_share_moves_none_of_them_in_a_logistic_model():
    found = contributions(fitted(logistic_model()), cells_of_a_day())
    shared = [NAMES.index(name) for name in ("season", "cold and thaw", "rain")]
    np.testing.assert_allclose(found.effects[:, shared], 0, atol=1e-12)


def test_a_rate_moves_by_its_own_column_only():
    for column, group in (
        ("decay_30d", "recent calls here"),
        ("long_run_rate", "calls here over the years"),
    ):
        x = cells_of_a_day(unknown=0.0)
        model = fitted(RateModel(FEATURES.index(column), 0.01, 0.02))
        moved = np.abs(contributions(model, x).effects).sum(axis=0) > 0
        assert [name for name, is_moved in zip(NAMES, moved, strict=True) if is_moved] == [group]


def test_the_order_of_rows_decides_no_effect():
    x = cells_of_a_day()
    order = np.random.default_rng(6).permutation(len(x))
    for model in (TREES, logistic_model()):
        one, other = (contributions(fitted(model), rows).effects for rows in (x, x[order]))
        np.testing.assert_allclose(one[order], other, atol=1e-12)


def test_trees_too_large_and_columns_of_no_group_are_refused():
    big = tree_model("calls_7d", max_iter=1, max_leaf_nodes=80, min_samples_leaf=1)
    with pytest.raises(ValueError, match=r"a tree of \d+ leaves has no drivers"):
        contributions(fitted(big), cells_of_a_day())
    strange = replace(fitted(logistic_model()), features=("tea", *FEATURES[1:]))
    with pytest.raises(ValueError, match=r"features \['tea'\] belong to no group"):
        contributions(strange, cells_of_a_day())


def test_trees_of_64_leaves_and_of_none_have_effects():
    big = tree_model("calls_7d", max_iter=2, max_leaf_nodes=64, min_samples_leaf=1)
    stump = tree_model("calls_7d", max_iter=2, min_samples_leaf=5_000)
    for model in (big, stump):
        x = cells_of_a_day()
        np.testing.assert_allclose(
            contributions(fitted(model), x).logit, fitted(model).logit(x), atol=1e-9
        )


def facts(**known: object) -> pl.DataFrame:
    """A row of `risk.cell_days` of which nothing is known but these."""
    row: dict[str, object] = dict.fromkeys(FEATURES) | {"day": DAY, "long_run_rate": 0.0}
    kinds = {"long_run_rate": pl.Float64, "day": pl.Date} | {
        name: pl.Float64 for name in FEATURES if name.startswith(("rain", "freezing", "temp"))
    }
    return pl.DataFrame([row | known], schema={n: kinds.get(n, pl.Int32) for n in row})


@pytest.mark.parametrize(
    ("group", "known", "fact"),
    [
        (
            "recent calls here",
            {"calls_30d": 4, "days_since_last": 1},
            "4 calls here in 30 days, the newest 1 day ago",
        ),
        (
            "recent calls here",
            {"calls_30d": 1, "days_since_last": 0},
            "1 call here in 30 days, the newest today",
        ),
        ("recent calls here", {"calls_30d": 0}, "no calls here in 30 days"),
        ("recent calls here", {"days_since_last": 12}, "the newest call here 12 days ago"),
        ("recent calls here", {}, "not all days before are known"),
        ("calls here over the years", {"long_run_rate": 0.0104}, "about 3.8 calls here a year"),
        ("calls next door", {"ring1_calls_30d": 2}, "2 calls next door in 30 days"),
        ("calls next door", {}, "not all days before are known"),
        (
            "how much people call here",
            {"all_calls_365d": 120, "all_calls_30d": 9},
            "120 requests of every kind here in 365 days",
        ),
        (
            "how much people call here",
            {"all_calls_30d": 1},
            "1 request of every kind here in 30 days",
        ),
        ("season", {}, "the time of year, February, and the weekday, Tuesday"),
        ("season", {"day": date(2026, 2, 27)}, "the time of year, March, and the weekday, Friday"),
        ("cold and thaw", {"freeze_thaw_days_7d": 3}, "frost and thaw on 3 of 7 days"),
        (
            "cold and thaw",
            {"freeze_thaw_days_7d": 0, "freezing_degree_days_14d": 40.6},
            "41 degree days of frost in 14 days",
        ),
        (
            "cold and thaw",
            {"freezing_degree_days_14d": 0.0, "temperature_min_c": -0.4},
            "0 °C at the lowest",
        ),
        ("cold and thaw", {}, "the weather of the days before was not known"),
        ("rain", {"rain_7d_mm": 30.2, "rain_3d_mm": 1.0}, "30 mm of rain in 7 days"),
        ("rain", {"rain_3d_mm": 0.0}, "0 mm of rain in 3 days"),
        ("rain", {}, "the weather of the days before was not known"),
    ],
)
def test_a_driver_is_said_in_the_rows_own_numbers(group: str, known: dict, fact: str):
    for effect, verb in ((0.5, "raises"), (-0.5, "lowers")):
        (row,) = top_drivers([group], np.array([[effect]]), facts(**known), 3).to_list()
        assert row == [{"driver": group, "effect": effect, "words": f"{verb} the risk: {fact}"}]


def test_the_largest_effects_come_first_and_what_moved_nothing_is_no_driver():
    values = np.array(
        [
            [0.1, -0.4, 0.3, 0.2, 0.0, 0.0, 0.0],
            [0.0, 1e-12, 0.0, 0.0, 0.0, 0.0, -2.0],
            [0.0] * 7,
            [0.5, -0.5, 0.5, 0.5, 0.0, 0.0, 0.0],
        ]
    )
    frame = pl.concat([facts(calls_30d=n, rain_7d_mm=float(n)) for n in range(4)])
    found = top_drivers(NAMES, values, frame, 3)
    assert found.dtype == pl.List(drivers.DRIVER)
    assert [[d["driver"] for d in row] for row in found] == [
        [NAMES[1], NAMES[2], NAMES[3]],
        ["rain"],
        [],
        list(NAMES[:3]),
    ]
    assert found[1][0]["words"] == "lowers the risk: 1 mm of rain in 7 days"
    assert found[3][0]["words"] == "raises the risk: 3 calls here in 30 days"


def test_a_day_without_cells_has_no_drivers():
    assert top_drivers(NAMES, np.zeros((0, 7)), facts().clear(), 3).to_list() == []


def test_rows_of_another_number_are_refused():
    with pytest.raises(ValueError, match="1 rows of features for 2 rows of effects"):
        top_drivers(NAMES, np.zeros((2, 7)), facts(), 3)


def test_every_group_has_its_words():
    assert set(drivers.FACTS) == set(GROUPS)
