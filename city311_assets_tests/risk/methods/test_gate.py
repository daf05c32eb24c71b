"""The gate: a model serves when it beats every baseline on both figures, and only then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.risk.methods.candidates import BASELINES, LEARNERS
from city311_assets.risk.methods.gate import Standing, promoted, reasons


def standing(brier: float, precision: float) -> Standing:
    return Standing(brier, precision, 1_000, 3)


def city(**others: Standing) -> dict[str, Standing]:
    return {
        "climatology": standing(0.090, 0.30),
        "recent_rate": standing(0.085, 0.35),
        "long_run_rate": standing(0.080, 0.40),
        "logistic": standing(0.079, 0.41),
        "gradient_boosting": standing(0.078, 0.42),
    } | others


def test_the_best_of_the_models_serves_where_it_beats_all_baselines():
    kind, why = promoted(city())
    assert kind == "gradient_boosting"
    assert "0.0780" in why
    assert "0.4200" in why
    assert "3 origins" in why


def test_a_model_of_worse_precision_does_not_serve_and_the_reason_names_what_it_lost_to():
    worse = standing(0.078, 0.36)
    kind, why = promoted(city(gradient_boosting=worse, logistic=worse))
    assert kind == "long_run_rate"
    assert "precision at 1 % 0.3600 is not above 0.4000 of long_run_rate" in why
    assert "Brier" not in why
    assert "recent_rate" not in why


def test_a_model_of_worse_brier_does_not_serve():
    kind, why = promoted(
        city(gradient_boosting=standing(0.0801, 0.9), logistic=standing(0.0802, 0.9))
    )
    assert kind == "long_run_rate"
    assert "Brier 0.0801 is not below 0.0800 of long_run_rate" in why


@pytest.mark.parametrize("of", BASELINES)
def test_every_baseline_is_to_be_beaten_on_either_figure(of: str):
    assert promoted(city(**{of: standing(0.078, 0.1)}))[0] in BASELINES
    assert promoted(city(**{of: standing(0.2, 0.42)}))[0] in BASELINES


def test_equal_is_not_better():
    same = standing(0.08, 0.4)
    kind, _ = promoted(dict.fromkeys((*BASELINES, *LEARNERS), same))
    assert kind == BASELINES[0]


def test_a_model_that_beats_all_serves_though_another_has_a_lower_brier_score():
    standings = city(gradient_boosting=standing(0.07, 0.1))
    kind, why = promoted(standings)
    assert kind == "logistic"
    assert "logistic beats every baseline" in why
    assert reasons(standings)["gradient_boosting"].startswith(
        "gradient_boosting: precision at 1 % 0.1000 is not above 0.3000 of climatology"
    )


def test_a_figure_that_is_no_number_beats_nothing():
    nan = float("nan")
    assert promoted(city(gradient_boosting=standing(0.01, nan)))[0] == "logistic"
    alone = {kind: one for kind, one in city().items() if kind != "logistic"}
    assert promoted(alone | {"gradient_boosting": standing(nan, 0.9)})[0] in BASELINES


def test_without_models_the_best_baseline_serves():
    only = {kind: one for kind, one in city().items() if kind in BASELINES}
    kind, why = promoted(only)
    assert kind == "long_run_rate"
    assert "too few events" in why


def test_every_candidate_is_told_why():
    told = reasons(city())
    assert told["gradient_boosting"] == promoted(city())[1]
    assert told["climatology"] == "a baseline; gradient_boosting serves"
    assert told["logistic"] == "gradient_boosting has a lower Brier score (0.0780)"
    told = reasons(city(gradient_boosting=standing(0.078, 0.36)))
    assert told["gradient_boosting"].startswith("gradient_boosting: precision at 1 %")


def test_a_missing_baseline_is_refused():
    with pytest.raises(ValueError, match=r"baselines \['climatology'\] have no figures"):
        promoted({kind: one for kind, one in city().items() if kind != "climatology"})


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(1, 10**6)), min_size=1, max_size=6
    )
)
def test_a_pooled_figure_is_that_of_all_cell_days(figures: list[tuple[float, float, int]]):
    found = Standing.pooled(figures)
    total = sum(n for *_, n in figures)
    assert (found.cell_days, found.origins) == (total, len(figures))
    assert found.brier == pytest.approx(sum(brier * n for brier, _, n in figures) / total)
    least, most = min(p for _, p, _ in figures), max(p for _, p, _ in figures)
    assert least - 1e-9 <= found.precision_top_1pct <= most + 1e-9


def test_no_cell_day_is_no_standing():
    with pytest.raises(ValueError, match="no standing"):
        Standing.pooled([])
