"""Priors: what stands in the package, what replaces it, and what is drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from city311_assets.risk.methods.priors import FALLING, Prior, Priors, read_priors

PRIORS = read_priors()
NAMES = [prior.name for prior in PRIORS.entries]
REPAIR = """
[repair_cost]
unit = "USD per break"
low = 8_000
central = 9_000.0
high = 12_000.0
source = "Ours, of last year."
year = 2025
kind = "source"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "priors.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_prior_has_a_unit_a_source_a_year_and_a_range(name: str):
    prior = PRIORS[name]
    assert prior.unit
    assert len(prior.source) > 20
    assert 1900 < prior.year < 2100
    assert 0 <= prior.low < prior.central < prior.high


@pytest.mark.parametrize("name", NAMES)
def test_an_assumption_is_called_one_in_its_source_and_what_is_none_names_its_source(name: str):
    prior = PRIORS[name]
    assert prior.source.startswith("Assumption") == (prior.kind == "assumption")


def test_a_repair_costs_what_the_survey_of_main_breaks_says():
    assert PRIORS["repair_cost"].central == pytest.approx(2.6e9 / 260_000)


def test_a_file_replaces_what_it_names_and_nothing_else(tmp_path: Path):
    ours = read_priors(written(tmp_path, REPAIR))
    assert ours["repair_cost"].high == 12_000
    others = [prior for prior in ours.entries if prior.name != "repair_cost"]
    assert others == [prior for prior in PRIORS.entries if prior.name != "repair_cost"]
    assert ours.version != PRIORS.version


def test_a_file_that_changed_is_read_anew(tmp_path: Path):
    first = read_priors(written(tmp_path, REPAIR))
    second = read_priors(written(tmp_path, REPAIR.replace("9_000.0", "9_500.0")))
    assert (first["repair_cost"].central, second["repair_cost"].central) == (9_000, 9_500)


def test_the_version_is_of_what_is_said_not_of_how_it_is_written(tmp_path: Path):
    plain = read_priors(written(tmp_path, REPAIR))
    other = read_priors(written(tmp_path, "# ours\n" + REPAIR.replace("9_000.0", "9e3")))
    assert plain.version == other.version
    assert len(plain.version) == 12


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[repair_cost]", "[repair_costs]", r"no priors are called \['repair_costs'\]"),
        ("[repair_cost]", "# no table", "stand outside a table"),
        ("low = 8_000", "low = 9_500", "9500, 9000, 12000 are not in order"),
        ("high = 12_000.0", "high = 8_500", "8000, 9000, 8500 are not in order"),
        ("low = 8_000", "low = -1", "not in order"),
        ("high = 12_000.0", "high = inf", "not in order"),
        ("low = 8_000", "low = nan", "not in order"),
        ('unit = "USD per break"\n', "", r"prior repair_cost has no unit; add it to \[repair_cost"),
        ("Ours, of last year.", "", "has no source"),
        ("USD per break", "EUR per break", "give it in 'USD per break'"),
        ("year = 2025", 'year = "2025"', "year is '2025', not a whole number"),
        ("central = 9_000.0", "central = true", "central is True, not a number"),
        ('kind = "source"', 'kind = "guess"', "give one of source, assumption"),
        ("year = 2025", "year = 2025\nmode = 3", r"unknown fields \['mode'\]"),
        ("year = 2025", "year =", "is no TOML"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused_by_name(
    tmp_path: Path, old: str, new: str, complaint: str
):
    assert old in REPAIR
    path = written(tmp_path, REPAIR.replace(old, new))
    with pytest.raises(ValueError, match=complaint) as refused:
        read_priors(path)
    assert str(path) in str(refused.value)


def test_a_share_above_all_and_an_efficiency_of_0_are_refused(tmp_path: Path):
    told = {"kind": "assumption", "source": "Assumption.", "year": 2026}
    for name, unit, low, complaint in [
        ("break_given_call", "share of calls", 0.2, "more than all"),
        ("pump_efficiency", "share of power", 0.0, "divided by"),
    ]:
        high = 1.2 if "break" in name else 0.9
        lines = told | {"unit": unit, "low": low, "central": 0.5, "high": high}
        text = "\n".join(f"{field} = {value!r}" for field, value in lines.items())
        with pytest.raises(ValueError, match=complaint):
            read_priors(written(tmp_path, f"[{name}]\n{text}\n"))


def test_a_file_that_is_not_there_is_named_with_the_setting(tmp_path: Path):
    with pytest.raises(ValueError, match=r"absent.toml is no file; set CITY311_RISK_PRIORS"):
        read_priors(tmp_path / "absent.toml")


def test_draws_are_triangular_and_those_of_wide_priors_on_the_scale_of_logarithms():
    u = np.linspace(0.01, 0.99, 99)
    narrow, wide = PRIORS["head"], PRIORS["volume_major"]
    assert (narrow.is_log, wide.is_log) == (False, True)
    for prior, scale in ((narrow, lambda x: x), (wide, np.log)):
        low, mode, high = (scale(v) for v in (prior.low, prior.central, prior.high))
        reference = stats.triang((mode - low) / (high - low), low, high - low).ppf(u)
        np.testing.assert_allclose(scale(prior.quantile(u)), reference, rtol=1e-9)


def test_draws_stay_within_the_range_and_a_certain_prior_is_always_the_same():
    values = PRIORS.draws(np.random.default_rng(1), 20_000)
    for prior in PRIORS.entries:
        drawn = values[prior.name]
        assert prior.low <= drawn.min() <= drawn.max() <= prior.high
        assert drawn.std() > 0
    sure = PRIORS.fixed("head", "low").draws(np.random.default_rng(1), 5)["head"]
    np.testing.assert_array_equal(sure, PRIORS["head"].low)


def test_a_prior_whose_mode_is_an_end_is_drawn_too():
    for mode in (1.0, 2.0):
        prior = Prior("x", "m", 1.0, mode, 2.0, "Assumption.", 2026, "assumption")
        drawn = prior.quantile(np.linspace(0, 1, 5))
        assert (drawn.min(), drawn.max()) == (1.0, 2.0)
        assert (np.diff(drawn) > 0).all()


def test_changing_one_prior_changes_no_others_draws():
    raised = Priors(
        tuple(replace(p, high=p.high * 2) if p.name == "head" else p for p in PRIORS.entries)
    )
    before, after = (p.draws(np.random.default_rng(7), 100) for p in (PRIORS, raised))
    moved = {name for name in NAMES if not np.array_equal(before[name], after[name])}
    assert moved == {"head"}


def test_draws_are_independent_of_each_other():
    values = PRIORS.draws(np.random.default_rng(2), 5_000)
    together = np.asarray(np.corrcoef(np.stack([*values.values()])))
    apart = together[~np.eye(len(NAMES), dtype=bool)]
    assert np.abs(apart).max() < 0.07


def test_the_low_end_is_that_of_low_costs():
    low, high = PRIORS.at("low"), PRIORS.at("high")
    turned = {name for name in NAMES if low[name] > high[name]}
    assert turned == FALLING
    assert PRIORS.at("central") == {prior.name: prior.central for prior in PRIORS.entries}
