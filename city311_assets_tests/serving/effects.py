"""Rows of the causal tables, made up to lie beside those of `atlases`: seven neighbourhoods.

Quarter 0 takes longer, Quarter 1 less long, Quarter 5 has too few cases, and 6 has no match at all.
"""

import datetime as dt
from itertools import chain, islice
from typing import Any

import numpy as np

from city311_assets.warehouse.tables.causal import (
    ATT,
    BALANCE,
    DESIGN,
    MATCHED_PAIRS,
    PLACEBO,
    SENSITIVITY,
)
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.serving.atlases import FEED, MONTH, Rows

OF_MONTH = {"feed": FEED, "month": MONTH}
MODEL = {"embedding_model": "local-abc123"}
LIMIT = 720.0
ESTIMATORS = (
    *(("bias_corrected", k) for k in (1, 3, 5)),
    *(("matched", k) for k in (1, 3, 5)),
    ("aipw", 0),
    ("all_cases", 3),
    ("naive", 3),
    ("naive_restricted", 3),
)
COVARIATES = ("propensity", "opened_at", "hour", "has_photo", "component_1", "component_2")
EFFECTS = {"Quarter 0": 9.5, "Quarter 1": -6.25, "Quarter 2": 1.5, "Quarter 3": 0.4}
TOO_FEW, UNMATCHED = "Quarter 5", "Quarter 6"


def effects_rows(atlas: Rows, seed: int = 311) -> Rows:
    """Return the rows of the causal tables of a month, beside those of its atlas."""
    rng = np.random.default_rng(seed)
    requests = atlas[REQUESTS]
    names = sorted({row["neighborhood"] for row in requests})
    return {
        MATCHED_PAIRS: _pairs(requests),
        ATT: [_att(name, *how, rng) for name in names for how in ESTIMATORS],
        BALANCE: [
            _balance(name, one, rng) for name in names if name != UNMATCHED for one in COVARIATES
        ],
        SENSITIVITY: [_sensitivity(name) for name in names],
        PLACEBO: [
            OF_MONTH
            | {"placebo": placebo, "effects": 200, "significant": significant}
            | {"share_significant": significant / 200, "share_low": low, "share_high": high}
            | {"mean_att": 0.02}
            for placebo, significant, low, high in (
                ("made_up_neighborhoods", 11, 0.031, 0.096),
                ("minute_of_opening", 30, 0.107, 0.206),
            )
        ],
        DESIGN: [_design(len(requests), len(names))],
    }


def _hours(request: dict[str, Any]) -> float:
    return min(request["hours_to_close"] or LIMIT, LIMIT)


def _pairs(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Match each case with the three after it that lie elsewhere; one of Quarter 6 with none."""
    rows = []
    for number, case in enumerate(requests):
        others = chain(islice(requests, number + 1, None), requests)
        elsewhere = (one for one in others if one["neighborhood"] != case["neighborhood"])
        is_alike = case["neighborhood"] != UNMATCHED
        rows.extend(
            OF_MONTH
            | MODEL
            | {
                "record_id": case["record_id"],
                "day": case["day"],
                "neighborhood": case["neighborhood"],
                "control_id": control["record_id"],
                "control_day": control["day"],
                "control_neighborhood": control["neighborhood"],
                "match_rank": rank,
                "similarity": 0.95 - 0.05 * rank if is_alike else 0.31,
                "is_within_caliper": is_alike,
                "weight": 1 / 3 if is_alike else None,
                "stratum": "street, app, 2026-H1",
                "restricted_hours": _hours(case),
                "control_restricted_hours": _hours(control),
            }
            for rank, control in enumerate(islice(elsewhere, 3), start=1)
        )
    return rows


def _att(name: str, estimator: str, k: int, rng: np.random.Generator) -> dict[str, Any]:
    is_headline = (estimator, k) == ("bias_corrected", 3)
    is_matched, is_enough = name != UNMATCHED, name not in {TOO_FEW, UNMATCHED}
    effect = EFFECTS.get(name, 0.0) + (0.0 if is_headline else float(rng.normal(0, 0.5)))
    p = 0.001 if abs(effect) > 4 else 0.4
    given: dict[str, Any] = {
        "att_hours": effect if is_matched else None,
        "se": 1.0 if is_enough else None,
        "low": effect - 1.96 if is_enough else None,
        "high": effect + 1.96 if is_enough else None,
        "p": p if is_enough else None,
        "p_randomization": p if is_enough and is_headline else None,
        "q": 2 * p if is_enough and not estimator.startswith("naive") else None,
        "reason": None if is_enough else "too few" if is_matched else "no case is alike enough",
    }
    return (
        OF_MONTH
        | MODEL
        | given
        | {
            "neighborhood": name,
            "estimator": estimator,
            "k": k,
            "is_headline": is_headline,
            "n_treated": 40,
            "n_matched": 35 if is_matched else 0,
            "n_controls_used": 80 if is_matched else 0,
            "effective_controls": 61.5 if is_matched else None,
            "share_on_support": 0.875 if is_matched else 0.0,
            "mean_similarity": 0.81 if is_matched else None,
            "mean_restricted_hours": 52.0,
            "is_contradicted": name == "Quarter 1" if is_headline and is_enough else None,
            "is_provisional": False,
        }
    )


def _balance(name: str, covariate: str, rng: np.random.Generator) -> dict[str, Any]:
    after = 0.23 if (name, covariate) == ("Quarter 0", "opened_at") else 0.04
    return OF_MONTH | {
        "neighborhood": name,
        "covariate": covariate,
        "mean_treated": 1.0,
        "mean_controls": 1.4,
        "mean_matched": 1.1,
        "smd_before": None if covariate == "has_photo" else float(rng.normal(0, 0.4)),
        "smd_after": None if covariate == "has_photo" else -after,
        "variance_ratio_before": 1.3,
        "variance_ratio_after": 2.6 if covariate == "hour" else 1.05,
    }


def _sensitivity(name: str) -> dict[str, Any]:
    effect = EFFECTS.get(name)
    return OF_MONTH | {
        "neighborhood": name,
        "rosenbaum_gamma": 1.62 if name == "Quarter 0" else None,
        "gamma_pairs": 35,
        "e_value": effect and 1.4,
        "e_value_of_interval": effect and 1.0,
        "lowest_att_hours": effect and effect - 2,
        "highest_att_hours": effect and effect + 2,
        "choices": 9 if effect else 0,
        "is_sign_stable": abs(effect) > 2 if effect else None,
    }


def _design(cases: int, neighborhoods: int) -> dict[str, Any]:
    return (
        OF_MONTH
        | MODEL
        | dict.fromkeys(("without_vector", "without_time", "not_sampled"), 0)
        | {
            "window_first_day": dt.date(2024, 10, 1),
            "window_last_day": dt.date(2026, 3, 31),
            "maturity_at_utc": dt.datetime(2026, 3, 2, 8),
            "cases": cases + 12,
            "administrative": 5,
            "duplicates": 3,
            "without_neighborhood": 2,
            "immature": 2,
            "compared": cases,
            "neighborhoods": neighborhoods,
            "strata_of": ["category", "source channel", "half-year"],
            "strata": 4,
            "distance": "Cosine of unit vectors",
            "caliper_share": 0.1,
            "k": 3,
            "limit_hours": LIMIT,
            "randomizations": 10_000,
            "seed": 311,
            "is_provisional": False,
        }
    )
