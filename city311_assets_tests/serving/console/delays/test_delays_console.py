"""The delays page without a browser: what is chosen, answered, drawn, hidden and rated."""

import csv
import datetime as dt
import io
import json
from pathlib import Path

import pytest

from city311_assets.serving.console.delays import pairs, parts
from city311_assets.serving.console.delays.answers import (
    once_published,
    reservations,
    summary,
    verdict,
)
from city311_assets.serving.console.delays.effects import (
    Effects,
    effects_of,
    months_by_feed,
    pairs_of,
)
from city311_assets.serving.console.delays.figures import (
    LONGER,
    SHORTER,
    UNSURE,
    forest,
    love,
    side_by_side,
)
from city311_assets.serving.console.delays.page import PAGE
from city311_assets.serving.console.delays.ratings import (
    COLUMNS,
    answer_of,
    as_csv,
    kept,
    of_month,
    with_rating,
)
from city311_assets.serving.console.delays.ratings import said as said_of
from city311_assets.serving.console.delays.selection import CONTROLS, Selection, selection_of
from city311_assets.serving.console.url_state import values_of
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets.warehouse.tables.atlas import CAPTIONS
from city311_assets.warehouse.tables.causal import ATT, MATCHED_PAIRS
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.serving.atlases import FEED, MONTH
from city311_assets_tests.serving.console.atlas.test_atlas_console import found_in, said, texts
from city311_assets_tests.serving.console.atlas.two_months import (
    FEBRUARY,
    HOSTILE,
    HOSTILE_CASE,
    build,
    rows,
    without_effects,
)
from city311_assets_tests.serving.effects import TOO_FEW, UNMATCHED

NOON = dt.datetime(2026, 4, 3, 12)
SLOWER = (
    "Yes: Quarter 0's cases took 9.5 h longer than like cases elsewhere (95 % interval 7.5 to "
    "11.5 h; q = 0.002; 35 of 40 cases matched)."
)
UNSAID = (
    "It cannot be said: fewer than 30 of its cases could be matched. Its matched cases took just "
    "as long as like cases elsewhere, but without an interval that is no evidence (35 of 40 cases "
    "matched)."
)
PAIR = {"feed": FEED, "month": "2026-03", "record_id": "c0000", "control_id": "c0001"}


def looked(snapshot: Snapshot, search: str = "") -> tuple[Effects, Selection, tuple[str, ...]]:
    found = selection_of(values_of(search, CONTROLS), snapshot)
    assert found is not None
    chosen, effects, problems = found
    return effects, chosen, problems


def quarter(effects: Effects, record: str) -> str:
    case = effects.case(record)
    assert case is not None
    return case["neighborhood"]


# What is chosen.


def test_without_an_address_the_surest_neighborhood_and_the_headline_are_shown(snapshot: Snapshot):
    effects, chosen, problems = looked(snapshot)
    assert (chosen.month, chosen.neighborhood, problems) == (MONTH, "Quarter 0", ())
    assert chosen.estimator == "bias_corrected"
    assert (effects.headline_estimator, effects.headline_k) == ("bias_corrected", 3)
    assert months_by_feed(snapshot) == {FEED: (FEBRUARY, MONTH)}


def test_what_makes_no_sense_in_an_address_is_named_and_the_default_taken(snapshot: Snapshot):
    _, chosen, problems = looked(
        snapshot, "?feed=atlantis&month=1999-01&neighborhood=Nowhere&estimator=guess&blind=no"
    )
    assert (chosen.neighborhood, chosen.estimator, chosen.is_blind) == (
        "Quarter 0",
        "bias_corrected",
        False,
    )
    assert [problem.split(":")[0] for problem in problems] == [
        "feed atlantis",
        "month 1999-01",
        "neighborhood Nowhere",
        "estimator guess",
        "blind no",
    ]


def test_a_link_leads_back_to_the_view_it_was_made_of(snapshot: Snapshot):
    search = f"?feed={FEED}&month=2026-02&neighborhood=Quarter+1&estimator=naive&case=c0001"
    _, chosen, _ = looked(snapshot, f"{search}&blind=blind")
    assert chosen.link() == f"/delays{search}&blind=blind"


# What is answered.


@pytest.mark.parametrize(
    ("neighborhood", "beginning"),
    [
        ("Quarter 0", SLOWER),
        ("Quarter 1", "No, the other way round: Quarter 1's cases took 6.2 h less than like"),
        ("Quarter 2", "Not shown: Quarter 2's cases took 1.5 h longer than like cases"),
        (TOO_FEW, UNSAID),
        (UNMATCHED, "It cannot be said: no case is alike enough (0 of 40 cases matched)."),
        ("Nowhere", "It cannot be said: no case of Nowhere was compared this month."),
    ],
)
def test_whether_a_neighborhood_is_slower_is_said_in_plain_words(
    snapshot: Snapshot, neighborhood: str, beginning: str
):
    effects, _, _ = looked(snapshot)
    assert verdict(effects, neighborhood).startswith(beginning)


def test_an_interval_that_holds_zero_shows_nothing(snapshot: Snapshot):
    effects, _, _ = looked(snapshot, "?month=2026-02")
    words = verdict(effects, "Quarter 0")
    assert words.startswith("Not shown: ")
    assert words.endswith("The interval holds zero: it could be slower, faster, or neither.")


def test_an_interval_without_zero_shows_nothing_where_q_is_not_small(tmp_path: Path):
    given = rows()
    for row in given[ATT]:
        if row["neighborhood"] in {"Quarter 0", "Quarter 1"} and row["is_headline"]:
            row["q"] = 0.07
    reader = Snapshots(build(tmp_path, given))
    with reader.current() as current:
        effects, _, _ = looked(current)
        words = [verdict(effects, name) for name in ("Quarter 0", "Quarter 1")]
        plot, _ = forest(effects, looked(current)[1])
    reader.close()
    for one in words:
        assert one.startswith("Not shown: ")
        assert "neighbourhoods were tested, and among so many that can be chance" in one
    assert plot
    assert LONGER not in plot["data"][-1]["marker"]["color"]


def test_the_days_told_are_those_held_not_those_looked_back_on(tmp_path: Path):
    given = rows()
    held = given[REQUESTS]
    reader = Snapshots(build(tmp_path, given))
    with reader.current() as current:
        effects, _, _ = looked(current)
        first = min(row["day"] for row in held if row["feed"] == FEED)
        assert effects.design["window_first_day"] < first
        assert said(parts.facts(effects)).startswith(f"Cases opened {first} to 2026-03-31")
    reader.close()


def test_what_would_explain_it_away_is_said(snapshot: Snapshot):
    effects, _, _ = looked(snapshot)
    words = " ".join(reservations(effects, "Quarter 0"))
    for told in (
        "Fewer than 100 matched cases",
        "(AIPW) agrees",
        "from +7.5 to +11.5 h, always with the same sign",
        "1.62-fold (Rosenbaum's Γ, on 35 pairs)",
        "1.40 (E-value; 1.00 for the interval's nearer end)",
        "opened at (0.23)",
        "15 % of the placebos of minute of opening",
    ):
        assert told in words
    assert "made up neighbourhoods" not in words
    words = " ".join(reservations(effects, "Quarter 1"))
    assert "(AIPW) is further away than their joint error" in words
    assert "no Γ" in words
    naive = once_published(effects, "Quarter 0")
    assert naive
    assert "as once published" in naive
    assert once_published(effects, UNMATCHED) is None


def test_the_summary_names_those_that_differ(snapshot: Snapshot):
    words = summary(looked(snapshot)[0])
    assert "2 of " in words
    assert "Quarter 0 +9.5 h, Quarter 1 \N{MINUS SIGN}6.2 h" in words
    assert "at most 720 h" in words


# What is drawn.


def test_the_forest_plot_has_every_neighborhood_with_an_interval_its_n_and_q(snapshot: Snapshot):
    effects, chosen, _ = looked(snapshot)
    plot, drawn = forest(effects, chosen)
    assert plot
    (trace,) = plot["data"]
    by_name = dict(zip(trace["customdata"], trace["x"], strict=True))
    with_one = {*effects.neighborhoods} - {TOO_FEW, UNMATCHED}
    assert ({*by_name}, drawn) == (with_one, len(with_one))
    assert by_name["Quarter 0"] == 9.5
    place = trace["customdata"].index("Quarter 0")
    assert trace["error_x"]["array"][place] == pytest.approx(1.96)
    assert trace["marker"]["color"][place] == LONGER
    assert trace["marker"]["color"][trace["customdata"].index("Quarter 1")] == SHORTER
    assert trace["marker"]["color"][trace["customdata"].index("Quarter 2")] == UNSURE
    notes = [one["text"] for one in plot["layout"]["annotations"] if one.get("yref") == "y"]
    assert notes.count("35") == len(with_one)
    assert notes.count("0.002") == 2
    shown = json.dumps([plot["layout"], trace["hovertext"]])
    assert "&lt;img" in shown
    assert "<img" not in shown


def test_another_estimator_is_drawn_over_the_headline_in_grey(snapshot: Snapshot):
    effects, chosen, _ = looked(snapshot, "?estimator=naive")
    plot, _ = forest(effects, chosen)
    assert plot
    assert [trace["name"] for trace in plot["data"]] == ["headline", "naive"]


def test_those_without_an_interval_are_listed_with_their_reason(snapshot: Snapshot):
    effects, chosen, _ = looked(snapshot)
    listed = [texts(row) for row in found_in(parts.undrawn(effects, chosen), "Tr")][1:]
    assert [(row[0], row[1]) for row in listed] == [
        (TOO_FEW, "too few"),
        (UNMATCHED, "no case is alike enough"),
    ]
    assert "which is not a difference of zero" in said(parts.undrawn(effects, chosen))


def test_the_love_plot_has_both_differences_and_the_limits(snapshot: Snapshot):
    effects, _, _ = looked(snapshot)
    plot = love(effects, "Quarter 0")
    assert plot
    _, before, after = plot["data"]
    assert "has a photo" not in plot["layout"]["yaxis"]["ticktext"]
    assert len(before["x"]) == len(after["x"]) == 5
    assert sorted(after["marker"]["color"]).count(LONGER) == 1
    assert [shape["x0"] for shape in plot["layout"]["shapes"]] == [-0.1, 0.1]
    assert love(effects, UNMATCHED) is None
    assert "Not defined after matching: has a photo." in parts.balance_words(
        effects, looked(snapshot)[1]
    )


def test_all_estimators_stand_side_by_side_with_the_naive_one_as_once_published(
    snapshot: Snapshot,
):
    effects, chosen, _ = looked(snapshot)
    listed = [texts(row) for row in found_in(parts.estimators(effects, chosen), "Tr")][1:]
    assert len(listed) == 10
    assert listed[0][:2] == ["bias-corrected matching", " (headline)"]
    assert any("as once published" in said(row) for row in listed)
    plot = side_by_side(effects, "Quarter 0")
    assert plot
    assert len(plot["data"][0]["x"]) == 10
    assert side_by_side(effects, UNMATCHED) is None


def test_caveats_sensitivity_placebos_and_the_design_record_are_on_the_page(snapshot: Snapshot):
    effects, chosen, _ = looked(snapshot)
    assert "An adjusted disparity" in said(parts.caveats(effects))
    assert "1.62" in said(parts.sensitivity(effects, chosen))
    placebos = said(parts.placebos(effects))
    assert "more than 5 %, intervals are too short" in placebos
    assert "5 % is within it" in placebos
    record = said(parts.record(effects))
    assert "10000" in record
    assert "local-abc123" in record


# Pairs.


def test_pairs_of_a_case_are_those_of_the_file_with_what_they_took(snapshot: Snapshot):
    effects, chosen, _ = looked(snapshot, "?case=c0000")
    record, found = pairs.shown(snapshot, effects, chosen)
    assert (record, [row["control_id"] for row in found]) == ("c0000", ["c0001", "c0002", "c0003"])
    card = pairs.cards(effects, chosen, record, found)
    words = said(card)
    for told in ("Case: c0000", "Control 1: c0001", "0.900", "closed after 11 h", "Quarter 1"):
        assert told in words
    assert [one.src[-9:] for one in found_in(card, "Img")] == ["c0000.jpg", "c0003.jpg"]


def test_blindly_nothing_of_neighborhood_hours_and_likeness_is_sent(snapshot: Snapshot):
    effects, chosen, _ = looked(snapshot, "?case=c0000&blind=blind&neighborhood=Quarter+0")
    record, found = pairs.shown(snapshot, effects, chosen)
    card = pairs.cards(effects, chosen, record, found)
    sent = json.dumps(card.to_plotly_json(), default=lambda one: one.to_plotly_json())
    for hidden in ("Quarter", "0.90", "0.85", "closed after", "weight", "data.example.gov"):
        assert hidden not in sent
    assert [said(one) for one in found_in(card, "H3")] == [
        "Case",
        "Control A",
        "Control B",
        "Control C",
    ]
    assert "hidden" in said(card)


def test_blindly_a_name_in_a_text_is_masked(tmp_path: Path):
    given = rows()
    given[CAPTIONS][0]["caption"] = "Trash in quarter 0, near Quarter 01."
    reader = Snapshots(build(tmp_path, given))
    with reader.current() as current:
        effects, chosen, _ = looked(current, "?case=c0000&blind=blind")
        card = pairs.cards(effects, chosen, *pairs.shown(current, effects, chosen))
    reader.close()
    assert "Trash in ▒▒▒, near Quarter 01." in said(card)


def test_cases_are_gone_through_in_an_order_and_around_the_end(snapshot: Snapshot):
    effects, chosen, _ = looked(snapshot)
    cases = pairs.order(effects, chosen)
    assert {quarter(effects, one) for one in cases} == {"Quarter 0"}
    assert pairs.step(effects, chosen, cases[0], 1) == cases[1]
    assert pairs.step(effects, chosen, cases[0], -1) == cases[-1]
    assert pairs.step(effects, chosen, "c0001", 1) == cases[0]
    blind = pairs.order(effects, looked(snapshot, "?blind=blind")[1])
    assert len(blind) > len(cases)
    assert blind[0] != cases[0]
    assert not any(quarter(effects, one) == UNMATCHED for one in blind)


def test_a_neighborhood_without_pairs_says_so(snapshot: Snapshot):
    effects, chosen, _ = looked(snapshot, f"?neighborhood={UNMATCHED}")
    record, found = pairs.shown(snapshot, effects, chosen)
    assert record is None
    words = said(pairs.cards(effects, chosen, record, found))
    assert words == f"No case of {UNMATCHED} has a like case elsewhere that may be shown."


def test_a_case_that_the_city_withdrew_is_in_no_pair(tmp_path: Path):
    given = rows()
    given[REQUESTS] = [row for row in given[REQUESTS] if row["record_id"] != "c0002"]
    reader = Snapshots(build(tmp_path, given))
    with reader.current() as current:
        effects = effects_of(current, FEED, MONTH)
        found = [row["control_id"] for row in pairs_of(current, effects, "c0000")]
        withdrawn = "c0002" in effects.cases["record_id"]
    reader.close()
    assert (found, withdrawn) == (["c0001", "c0003"], False)


def test_hostile_text_is_text(snapshot: Snapshot):
    effects, chosen, _ = looked(snapshot, f"?case={HOSTILE_CASE}")
    card = pairs.cards(effects, chosen, *pairs.shown(snapshot, effects, chosen))
    assert HOSTILE in texts(card)
    assert not [*found_in(card, "Markdown")]


# Ratings.


def test_a_pair_rated_twice_has_its_last_rating():
    once = with_rating([], PAIR, "no", True, NOON)
    twice = with_rating(once, PAIR, "match", False, NOON)
    other = with_rating(twice, PAIR | {"control_id": "c0002"}, "partly", True, NOON)
    assert (answer_of(once, PAIR), answer_of(twice, PAIR), len(twice)) == ("no", "match", 1)
    assert answer_of(other, PAIR | {"control_id": "c0009"}) is None
    assert said_of(other) == (
        "2 pairs of this month rated: match 1, partly 1, no match 0; kept in this browser."
    )
    assert of_month(other, FEED, "2026-02") == []


def test_what_a_browser_holds_is_taken_only_as_far_as_it_is_ratings():
    (good,) = with_rating([], PAIR, "match", True, NOON)
    wrong = [None, 3, {"rating": "match"}, good | {"rating": "great"}, good | {"record_id": 7}]
    assert kept([*wrong, good]) == [good]
    assert kept("x") == kept(None) == []


def test_the_file_of_ratings_says_what_was_rated_and_what_was_hidden(snapshot: Snapshot):
    held = with_rating([], PAIR, "match", True, NOON)
    held = with_rating(held, PAIR | {"control_id": "=c9"}, "no", False, NOON)
    text = as_csv(snapshot, held, FEED, "2026-03")
    first, second = csv.DictReader(io.StringIO(text))
    assert tuple(first) == COLUMNS
    assert first == {
        "feed": FEED,
        "month": "2026-03",
        "record_id": "c0000",
        "control_id": "c0001",
        "neighborhood": "Quarter 0",
        "control_neighborhood": "Quarter 1",
        "stratum": "street, app, 2026-H1",
        "match_rank": "1",
        "similarity": first["similarity"],
        "is_within_caliper": "True",
        "rating": "match",
        "was_blind": "True",
        "rated_at": "2026-04-03T12:00:00Z",
    }
    assert float(first["similarity"]) == pytest.approx(0.9)
    assert (second["control_id"], second["neighborhood"]) == ("'=c9", "")


# Files without.


def test_an_older_file_has_no_effects_and_says_so(older: Snapshot):
    assert "There are no effects" in said(PAGE.layout(older, ""))


def test_a_file_with_empty_tables_has_no_effects_and_says_so(tmp_path: Path):
    reader = Snapshots(build(tmp_path, without_effects(rows())))
    with reader.current() as current:
        assert "There are no effects" in said(PAGE.layout(current, "?month=2026-03"))
    reader.close()


def test_effects_without_pairs_still_have_their_numbers(tmp_path: Path):
    reader = Snapshots(build(tmp_path, rows() | {MATCHED_PAIRS: []}))
    with reader.current() as current:
        effects, chosen, _ = looked(current)
        assert verdict(effects, "Quarter 0").startswith("Yes")
        words = said(pairs.cards(effects, chosen, *pairs.shown(current, effects, chosen)))
    reader.close()
    assert words == "No case of this month has a like case elsewhere that may be shown."
