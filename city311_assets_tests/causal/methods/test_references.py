"""Matching on LaLonde's and IHDP's records: against R's package Matching and published figures."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from city311_assets.causal.methods.att import att
from city311_assets.causal.methods.estimators import (
    bias_corrected_effect,
    conditional_variance,
    homoskedastic_variance,
    matched_effect,
    regression_residuals,
)
from city311_assets.causal.methods.matching import Matches, match_by_distance, nearest_by_distance

pytestmark = pytest.mark.real

NSW = ["age", "educ", "black", "hisp", "married", "nodegr", "re74", "re75", "u74", "u75"]
MATCHIT = ["age", "educ", "black", "hispan", "married", "nodegree", "re74", "re75"]
CPS = ["age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75"]
COUNTS = ["n_treated", "n_control", "n_treated_dropped", "n_pairs", "n_distinct_controls_used"]
PAGE = Path(__file__).parents[3] / "docs" / "matching_references.md"
COMMAND = (
    "pytest city311_assets_tests/causal/methods/test_references.py "
    "--references-page=docs/matching_references.md"
)
ERRORS = ["se_ai_homoskedastic", "se_ai_heteroskedastic_J4"]


@dataclass(frozen=True)
class Study:
    """Covariates (n, q), who was treated, and the outcome."""

    x: np.ndarray
    treated: np.ndarray
    outcome: np.ndarray


@dataclass(frozen=True)
class Reference:
    """A row of the reference, and what is computed here from the same records."""

    name: str
    k: int
    is_adjusted: bool
    caliper: float | None
    expected: dict[str, float]
    ours: dict[str, float | None]


@cache
def study(folder: Path, name: str) -> Study:
    """Read the records of a reference's row."""
    if name.startswith("ihdp"):
        table = pl.read_csv(folder / f"{name}.csv.gz", has_header=False).to_numpy()
        return Study(table[:, 5:], table[:, 0] == 1, table[:, 1])
    if name.startswith("lalonde_nsw"):
        return drawn(pl.read_csv(folder / "lalonde_nsw_dw_445.csv", infer_schema_length=None), NSW)
    if name.startswith("lalonde_matchit"):
        rows = pl.read_csv(folder / "lalonde_matchit_614.csv", infer_schema_length=None)
        is_black, is_hispanic = pl.col("race") == "black", pl.col("race") == "hispan"
        return drawn(rows.with_columns(black=is_black, hispan=is_hispanic), MATCHIT)
    experiment = stata(folder / "nsw_mixtape.dta")
    both = pl.concat(
        [experiment.filter(pl.col("treat") == 1), stata(folder / "cps_mixtape.dta.gz")]
    )
    return drawn(both, CPS)


def stata(path: Path) -> pl.DataFrame:
    """Read the columns of a file of Stata's as numbers."""
    columns = [*CPS, "treat", "re78"]
    rows = pd.DataFrame(pd.read_stata(path, columns=columns))
    return pl.DataFrame({name: rows[name].to_numpy(float) for name in columns})


def drawn(rows: pl.DataFrame, covariates: list[str]) -> Study:
    x = rows.select(pl.col(covariates).cast(pl.Float64)).to_numpy()
    return Study(x, (rows["treat"] == 1).to_numpy(), rows["re78"].to_numpy())


@cache
def control_variance(folder: Path, name: str, k: int, caliper: float | None) -> np.ndarray:
    """The variance of the controls that are used, from their 4 nearest controls."""
    given = study(folder, name)
    is_used = np.zeros(len(given.outcome), bool)
    is_used[matches(folder, name, k, caliper).control] = True
    units, near = nearest_by_distance(given.x, ~given.treated, 4, of=is_used)
    variance = np.full(len(given.outcome), np.nan)
    variance[units] = conditional_variance(given.outcome, near, units)
    return variance


@cache
def matches(folder: Path, name: str, k: int, caliper: float | None) -> Matches:
    given = study(folder, name)
    return match_by_distance(given.x, given.treated, k, caliper=caliper)


def computed(folder: Path, row: dict[str, object]) -> Reference:
    name, k = str(row["dataset"]).split(" ")[0], int(str(row["k"]))
    is_adjusted = row["bias_adjusted"] == "TRUE"
    caliper = None if row["caliper_sd"] == "NA" else float(str(row["caliper_sd"]))
    given, found = study(folder, name), matches(folder, name, k, caliper)
    y, is_control = given.outcome, ~given.treated
    variance = control_variance(folder, name, k, caliper)
    if is_adjusted:
        residual = regression_residuals(y, found, given.x, is_control, ridge=0, fit_on="matched")
    else:
        residual = y

    def effect(of_controls: np.ndarray):
        if not is_adjusted:
            return matched_effect(y, found, of_controls)
        return bias_corrected_effect(
            y, found, of_controls, given.x, is_control, ridge=0, fit_on="matched"
        )

    alike = effect(np.full(len(y), homoskedastic_variance(residual, found)))
    each = effect(variance)
    ours = {
        "estimate": each.estimate,
        "se_ai_homoskedastic": alike.se,
        "se_ai_heteroskedastic_J4": each.se,
        "n_treated": each.n_treated,
        "n_control": int(is_control.sum()),
        "n_treated_dropped": each.n_treated - each.n_matched,
        "n_pairs": len(found.treated),
        "n_distinct_controls_used": each.n_controls_used,
    }
    expected = {column: float(str(row[column])) for column in ours}
    return Reference(name, k, is_adjusted, caliper, expected, ours)


def reference_page(folder: Path, rows: list[Reference]) -> str:
    """Every row of the reference beside what is computed here, as a page of the docs."""
    head = (
        "records",
        "k",
        "adjusted",
        "caliper",
        *("estimate: R", "ours"),
        *("se, alike: R", "ours"),
        *("se, J = 4: R", "ours"),
    )

    def digits(value: float | None) -> str:
        return "" if value is None else f"{value:.5g}"

    lines = [
        (
            row.name,
            str(row.k),
            "yes" if row.is_adjusted else "",
            digits(row.caliper),
            digits(row.expected["estimate"]),
            digits(row.ours["estimate"]),
            *(digits(side[name]) for name in ERRORS for side in (row.expected, row.ours)),
        )
        for row in rows
    ]
    means = {name: study(folder, name) for name in ("lalonde_nsw_dw_445", "nsw_mixtape")}
    quoted = [
        (
            f"{name}, difference in means",
            digits(published(folder, name, "in means")),
            digits(
                float(
                    np.subtract(*(given.outcome[w].mean() for w in (given.treated, ~given.treated)))
                )
            ),
        )
        for name, given in means.items()
    ]
    for number in range(1, 6):
        given = study(folder, f"ihdp_npci_{number}")
        effect = att(given.outcome, given.treated, given.x, k=5, metric="euclidean")
        quoted.append(
            (
                f"ihdp_npci_{number}, effect on the treated, bias-corrected of 5 controls",
                "4",
                f"{effect.estimate:.2f} ({effect.low:.2f} to {effect.high:.2f})",
            )
        )
    return "\n".join(
        [
            "# Matching: references",
            "",
            f"Written by `{COMMAND}`; do not edit.",
            "",
            "R is version 4.10-8 of its package Matching. *Alike* are errors of one variance for",
            "all, *J = 4* those by the four nearest of the same side. The errors of the row with a",
            "caliper differ: R divides by the units it dropped too.",
            "",
            *table(head, lines),
            "",
            *table(("published", "value", "ours"), quoted),
            "",
        ]
    )


def table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (head, ("---",) * len(head), *lines)]


def published(folder: Path, records: str, quantity: str) -> float:
    """The published value of a quantity, by the beginning of the one and a part of the other."""
    (value,) = pl.read_csv(folder / "published_results.csv").filter(
        pl.col("dataset").str.starts_with(records), pl.col("quantity").str.contains(quantity)
    )["value"]
    return value


def references(folder: Path) -> list[Reference]:
    table = pl.read_csv(folder / "reference_matching_estimates.csv", infer_schema=False)
    return [computed(folder, row) for row in table.iter_rows(named=True)]


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "causal"


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[Reference]:
    return references(folder)


def test_all_thirty_rows_are_computed(rows: list[Reference]):
    assert len(rows) == 30
    assert sum(row.is_adjusted for row in rows) == 14
    assert [row.caliper for row in rows if row.caliper] == [0.25]


def test_every_count_of_pairs_controls_and_dropped_units_is_the_reference_s(rows: list[Reference]):
    for row in rows:
        for column in COUNTS:
            assert row.ours[column] == row.expected[column], (row.name, row.k, column)


def test_every_estimate_is_the_reference_s_to_a_millionth(rows: list[Reference]):
    for row in rows:
        expected = pytest.approx(row.expected["estimate"], rel=1e-6)
        assert row.ours["estimate"] == expected, (row.name, row.k, row.is_adjusted)


def test_both_standard_errors_are_the_reference_s_to_a_hundred_thousandth(rows: list[Reference]):
    # With a caliper the reference divides by the treated units it dropped, too.
    for row in (row for row in rows if row.caliper is None):
        for column in ERRORS:
            expected = pytest.approx(row.expected[column], rel=1e-5)
            assert row.ours[column] == expected, (row.name, row.k, row.is_adjusted, column)


def test_with_a_caliper_the_units_kept_are_the_only_ones_divided_by(rows: list[Reference]):
    (row,) = (row for row in rows if row.caliper is not None)
    kept, ours = row.expected["n_treated"] - row.expected["n_treated_dropped"], row.ours
    assert kept == 55
    assert ours["se_ai_homoskedastic"] is not None
    # The reference divides by all 185.
    divided = ours["se_ai_homoskedastic"] * kept / row.expected["n_treated"]
    assert divided == pytest.approx(row.expected["se_ai_homoskedastic"], rel=1e-3)


def test_the_page_of_references_is_what_is_computed(
    folder: Path, rows: list[Reference], request: pytest.FixtureRequest
):
    page = reference_page(folder, rows)
    if path := request.config.getoption("--references-page"):
        Path(path).write_text(page, encoding="utf-8")
    assert page == PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["lalonde_nsw_dw_445", "nsw_mixtape"])
def test_differences_in_means_are_the_published_ones(folder: Path, name: str):
    given = study(folder, name)
    means = [given.outcome[whom].mean() for whom in (given.treated, ~given.treated)]
    assert means[0] - means[1] == pytest.approx(published(folder, name, "in means"), rel=1e-6)


def test_units_matched_on_nothing_differ_as_the_means_do(folder: Path):
    given = study(folder, "lalonde_nsw_dw_445")
    # Of units that are alike in all they are matched on each is compared with every control.
    found = match_by_distance(np.ones((445, 1)), given.treated, 1)
    effect = matched_effect(given.outcome, found, np.zeros(445))
    expected = published(folder, "lalonde_nsw_dw_445", "difference in means")
    assert effect.estimate == pytest.approx(expected, rel=1e-6)
    assert effect.n_controls_used == pytest.approx(effect.effective_controls) == 260


def test_the_average_over_all_units_by_age_alone_is_the_published_one(folder: Path):
    given = study(folder, "lalonde_nsw_dw_445")
    age, y = given.x[:, :1], given.outcome / 1000
    total = 0.0
    for sign, whom in ((1, given.treated), (-1, ~given.treated)):
        effect = matched_effect(y, match_by_distance(age, whom, 1), np.ones(len(y)))
        assert effect.estimate is not None
        total += sign * effect.estimate * effect.n_matched
    expected = published(folder, "lalonde_nsw_dw_445", "ATE")
    assert total / 445 == pytest.approx(expected, rel=1e-9)


def test_the_planted_effect_of_ihdp_lies_in_each_interval(folder: Path):
    for number in range(1, 6):
        given = study(folder, f"ihdp_npci_{number}")
        effect = att(given.outcome, given.treated, given.x, k=5, metric="euclidean")
        assert effect.low is not None
        assert effect.high is not None
        assert effect.low < 4 < effect.high
        assert effect.share_on_support == 1
