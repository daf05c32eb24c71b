"""What estimators and covariates of causal tables are called on the page.

What belongs here: names for people. What does not: what an estimator does (`ESTIMATORS` of the
published page).
"""

import re

ESTIMATORS = {
    "bias_corrected": "bias-corrected matching",
    "matched": "plain matching",
    "aipw": "doubly robust (AIPW)",
    "all_cases": "all cases, open ones too",
    "naive": "pairs as once published",
    "naive_restricted": "pairs as once published, hours limited",
}
COVARIATES = {
    "has_photo": "has a photo",
    "is_weekend": "opened on a weekend",
    "opening_day": "day it was opened",
    "opening_hour": "hour it was opened",
    "propensity": "propensity score",
    "severity": "severity by its text",
}
COMPONENT = re.compile(r"text_(\d+)")


def estimator_name(estimator: str) -> str:
    """Return what an estimator is called."""
    return ESTIMATORS.get(estimator) or _spelled(estimator)


def covariate_name(covariate: str) -> str:
    """Return what a covariate is called; `text_3` is the third component of its text's vector."""
    if found := COMPONENT.fullmatch(covariate):
        return f"text, component {found[1]}"
    return COVARIATES.get(covariate) or _spelled(covariate)


def _spelled(name: str) -> str:
    return name.replace("_", " ").replace("neighborhood", "neighbourhood")
