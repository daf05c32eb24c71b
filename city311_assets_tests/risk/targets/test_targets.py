"""Targets: how kinds are compared, what a declaration refuses, and what the sample city plants."""

import datetime as dt

import pytest

from city311_assets.bronze.sources import Sources
from city311_assets.cli import discover_types
from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.risk.targets.leaks import LEAKS
from city311_assets.risk.targets.registry import TARGETS, target_named
from city311_assets.risk.targets.target import Target, normalized
from city311_assets.sample_city.truth import leak_kinds
from city311_assets.settings import settings

JUNE = (dt.date(2026, 6, 1), dt.date(2026, 6, 8))


@pytest.mark.parametrize(
    "drifted",
    [
        "Snow \N{EN DASH} Uncleared Sidewalk Complaint",
        "SNOW  - uncleared sidewalk complaint ",
        "snow uncleared sidewalk complaint",
    ],
)
def test_a_kind_is_the_same_however_it_is_spelled(drifted: str):
    assert normalized(drifted) == normalized("Snow - Uncleared Sidewalk Complaint")


def test_another_word_is_another_kind():
    assert normalized("Water in Basement Complaint") != normalized("Water On Street Complaint")


def test_leaks_are_the_kinds_that_the_sample_city_plants():
    assert LEAKS.normalized_kinds == {normalized(kind) for kind in leak_kinds()}


def test_targets_are_known_by_their_names():
    assert {target.name: target for target in TARGETS.values()} == TARGETS
    assert target_named("leaks") is LEAKS
    with pytest.raises(
        ValueError, match="no target is called 'leeks'; there are leaks, sanitation"
    ):
        target_named("leeks")


def test_a_target_of_crimes_is_refused():
    with pytest.raises(ValueError, match="chicago_crimes, which has no requests"):
        Target(name="theft", title="Thefts", feed=CHICAGO_CRIMES, kinds=("THEFT",))


def test_a_kind_named_twice_is_refused():
    with pytest.raises(ValueError, match="names a kind twice"):
        Target(name="twice", title="", feed=CHICAGO_311, kinds=("Check for Leak", "check-for leak"))


def test_every_kind_of_the_portal_is_listed_and_those_of_targets_are_marked():
    seen = discover_types.kinds_seen(Sources.of(settings()), CHICAGO_311, *JUNE)
    by_kind = {one.kind: one for one in seen}
    assert by_kind["Water On Street Complaint"].targets == ("leaks",)
    assert by_kind["Water Lead Test Kit Request"].likely_for == ("leaks",)
    assert by_kind["Graffiti Removal Request"].targets == ()
    assert by_kind["Graffiti Removal Request"].likely_for == ()
    counts = [one.rows for one in seen]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == _counted()


def _counted() -> int:
    with Sources.of(settings()).portal_of(CHICAGO_311) as portal:
        return sum(portal.counts_by_day(*JUNE).values())


def test_a_kind_that_a_target_names_and_the_portal_has_not_comes_last(
    monkeypatch: pytest.MonkeyPatch,
):
    strange = Target(name="strange", title="", feed=CHICAGO_311, kinds=("Leaking Tap",))
    monkeypatch.setitem(TARGETS, "strange", strange)
    last = discover_types.kinds_seen(Sources.of(settings()), CHICAGO_311, *JUNE)[-1]
    assert (last.kind, last.rows, last.newest, last.targets) == (
        "Leaking Tap",
        0,
        None,
        ("strange",),
    )
