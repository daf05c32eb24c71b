"""Problems: when one begins, grows and ends, who is to be told, and what a cursor keeps of it."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.automation.freshness import Freshness
from city311_assets.automation.outcomes import Cell, Outcome
from city311_assets.automation.problems import MOST_ANOMALIES, MOST_RANGES, Problem, State
from city311_assets.automation.unusual_days import Figures, Unusual, Watched
from city311_assets_tests.automation.toys import day, learned, toys

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
SF, SILVER, CHECK = "bronze/sf_311", "silver/requests/sf_311", "silver/requests/sf_311: sound"
CHANNELS = {"slack", "webhook"}


def at(hours: float) -> dt.datetime:
    return NOON + dt.timedelta(hours=hours)


def cells(unit: str, *numbers: int) -> frozenset[Cell]:
    return frozenset((unit, day(number)) for number in numbers)


def failing(hours: float, *numbers: int, unit: str = SF, said: str = "away") -> Outcome:
    """Return the outcome of a run that made none of its days of March."""
    subject = unit.rsplit("/", 1)[-1]
    left = {subject: cells(unit, *numbers)}
    return Outcome(f"run-{hours}", "job", at(hours), not_made=left, errors={subject: said})


def making(hours: float, *numbers: int, unit: str = SF) -> Outcome:
    return Outcome(f"run-{hours}", "job", at(hours), made=cells(unit, *numbers))


def state(*outcomes: Outcome) -> State:
    held = State.anew(NOON)
    for one in outcomes:
        held.learn(one)
    return held


def lasting(held: State) -> dict[str, list[int]]:
    """Return the days of each problem that is not over."""
    return {
        key: sorted(day.day for day in problem.days)
        for key, problem in held.problems.items()
        if not problem.over_at
    }


# When a problem begins, grows and ends.


def test_many_failed_runs_of_a_feed_are_one_problem_since_the_first():
    held = state(failing(0, 1, 2), failing(1, 2, 3, said="still away"))
    (problem,) = held.problems.values()
    assert lasting(held) == {"runs sf_311": [1, 2, 3]}
    assert (problem.since, problem.last, problem.times) == (NOON, at(1), 2)
    assert (problem.said, problem.run_id) == ("still away", "run-1")


def test_a_feed_that_is_out_is_no_problem_of_another():
    other = "bronze/chicago_311"
    held = state(failing(0, 1), failing(0, 1, unit=other), making(1, 1, unit=other))
    assert lasting(held) == {"runs sf_311": [1]}


def test_it_is_over_when_every_day_has_been_made_since():
    held = state(failing(0, 1, 2), making(1, 1))
    assert lasting(held) == {"runs sf_311": [2]}
    held.learn(making(2, 2))
    assert held.problems["runs sf_311"].over_at == at(2)


def test_days_count_by_asset():
    held = state(failing(0, 1), failing(0, 1, unit=SILVER), making(1, 1, unit=SILVER))
    assert lasting(held) == {"runs sf_311": [1]}


def test_a_success_about_other_days_or_assets_mends_nothing():
    held = state(failing(0, 1), making(1, 2), making(1, 1, unit="bronze/withdrawn_records/sf_311"))
    assert lasting(held) == {"runs sf_311": [1]}


def test_of_each_day_the_newest_run_counts():
    assert lasting(state(failing(0, 1), making(1, 1), failing(2, 1))) == {"runs sf_311": [1]}
    assert lasting(state(making(0, 1), failing(1, 1), making(2, 1))) == {}


def test_what_begins_again_after_it_was_over_begins_anew():
    held = state(failing(0, 1), making(1, 1), failing(5, 1))
    problem = held.problems["runs sf_311"]
    assert (problem.since, problem.times, problem.over_at) == (at(5), 1, None)


def test_a_run_that_mends_one_table_and_breaks_another_ends_nothing():
    held = state(failing(0, 1))
    left = {"sf_311": cells(SILVER, 1)}
    both = Outcome("r", "job", at(1), cells(SF, 1), not_made=left, errors={"sf_311": "no"})
    held.learn(both)
    problem = held.problems["runs sf_311"]
    assert (problem.since, problem.times, problem.over_at) == (NOON, 2, None)


def test_what_has_no_days_is_over_when_it_is_made():
    unit = "bronze/boundaries/chicago"
    left = {"chicago": frozenset({(unit, None)})}
    held = state(Outcome("r", "job", NOON, not_made=left, errors={"chicago": "no"}))
    assert lasting(held) == {"runs chicago": []}
    held.learn(Outcome("s", "job", at(1), made=frozenset({(unit, None)})))
    assert lasting(held) == {}


def test_a_check_is_over_for_a_day_when_it_passes_on_that_day():
    bad = dict.fromkeys(cells(CHECK, 2, 3), "offenders: 1")
    held = state(Outcome("r", "job", NOON, passed=cells(CHECK, 1), failed=bad))
    assert lasting(held) == {f"check {CHECK}": [2, 3]}
    assert held.problems[f"check {CHECK}"].subject == "sf_311"
    held.learn(Outcome("s", "job", at(1), passed=cells(CHECK, 1, 2)))
    assert lasting(held) == {f"check {CHECK}": [3]}
    held.learn(Outcome("t", "job", at(2), made=cells(SILVER, 3)))
    assert lasting(held) == {f"check {CHECK}": [3]}
    held.learn(Outcome("u", "job", at(3), passed=cells(CHECK, 3)))
    assert lasting(held) == {}


def test_real_runs_of_two_feeds_end_as_the_rule_says():
    with toys() as some:
        some.broken["bronze/sf_311"] = "away"
        some.bad["chicago_311"] = {day(3)}
        for feed in ("sf_311", "chicago_311"):
            some.run(f"bronze/{feed}", f"silver/requests/{feed}", first=1, last=3)
        check = "check silver/requests/chicago_311: sound"
        assert lasting(learned(some)) == {"runs sf_311": [1, 2, 3], check: [3]}
        some.broken.clear()
        some.run("bronze/sf_311", "silver/requests/sf_311", first=2, last=3)
        some.bad.clear()
        some.run("silver/requests/chicago_311", first=3)
        assert lasting(learned(some)) == {"runs sf_311": [1]}


def late(feed: str, newest: int, *missing: int) -> Freshness:
    return Freshness(feed, day(newest), 5, at(-30), tuple(day(on) for on in missing))


def test_a_late_feed_is_a_problem_until_it_has_caught_up():
    held = State.anew(NOON)
    held.learn_freshness([late("sf_311", 1, 2, 3), Freshness("chicago_311", day(3))], NOON)
    assert lasting(held) == {"late sf_311": [2, 3]}
    assert held.problems["late sf_311"].since == at(-30)
    held.learn_freshness([late("sf_311", 1, 2, 3, 4)], at(24))
    assert lasting(held) == {"late sf_311": [2, 3, 4]}
    held.learn_freshness([Freshness("sf_311", day(4))], at(25))
    assert held.problems["late sf_311"].over_at == at(25)


def test_a_feed_that_is_no_more_is_late_no_more():
    held = State.anew(NOON)
    held.learn_freshness([late("sf_311", 1, 2)], NOON)
    held.learn_freshness([], at(1))
    assert lasting(held) == {}


def unusual(*numbers: int, cell: int | None = 7, is_over: bool = False) -> Unusual:
    """Return what was unusual on days of March, the newest first."""
    days = tuple(day(number) for number in numbers)
    figures = Figures(days[0], 69, 18.4, 9, 30, "more")
    return Unusual("sf_311", "leak", cell, None, days, (figures,), (), (), is_over)


def watching(held: State, hours: float, *found: Unusual, days: tuple[int, ...] = ()) -> State:
    watched = days or tuple(range(9, 0, -1))
    held.learn_unusual([Watched("sf_311", tuple(day(on) for on in watched), found)], at(hours))
    return held


def test_an_anomaly_is_a_problem_by_feed_category_and_place():
    held = watching(State.anew(NOON), 0, unusual(8), unusual(9, 8, cell=None))
    assert lasting(held) == {"anomaly sf_311 leak 7": [8], "anomaly sf_311 leak city": [8, 9]}
    problem = held.problems["anomaly sf_311 leak 7"]
    assert (problem.subject, problem.since, problem.unusual) == ("sf_311", NOON, unusual(8))


def test_an_anomaly_that_goes_on_is_the_same_with_more_days():
    held = watching(State.anew(NOON), 0, unusual(8))
    watching(held, 24, unusual(9, 8))
    (problem,) = held.problems.values()
    assert lasting(held) == {"anomaly sf_311 leak 7": [8, 9]}
    assert (problem.since, problem.last, problem.unusual) == (NOON, at(24), unusual(9, 8))


@pytest.mark.parametrize(
    ("found", "days", "why"),
    [
        ([unusual(5, is_over=True)], (8, 7, 6, 5), "3 days since are as expected"),
        ([], (8, 7, 6, 5), "counted again, its days are as expected"),
        ([], (29, 28), "its days are no longer among those that are watched"),
    ],
)
def test_an_anomaly_is_over_when_days_are_as_expected_or_it_is_none_any_more(
    found: list[Unusual], days: tuple[int, ...], why: str
):
    held = watching(State.anew(NOON), 0, unusual(5))
    watching(held, 24, *found, days=days)
    (problem,) = held.problems.values()
    assert (problem.over_at, problem.said) == (at(24), why)


def test_an_anomaly_that_is_over_when_it_is_first_seen_is_no_problem():
    assert watching(State.anew(NOON), 0, unusual(5, is_over=True)).problems == {}


def test_an_anomaly_of_a_feed_that_is_no_more_is_over():
    held = watching(State.anew(NOON), 0, unusual(5))
    held.learn_unusual([], at(1))
    assert lasting(held) == {}


def test_runs_and_checks_end_no_anomaly():
    held = watching(State.anew(NOON), 0, unusual(5))
    held.learn(Outcome("r", "job", at(1), cells("sf_311", 5), passed=cells("sf_311", 5)))
    assert lasting(held) == {"anomaly sf_311 leak 7": [5]}


def test_of_very_many_anomalies_the_first_are_kept_and_the_rest_is_counted():
    many = [unusual(9, cell=cell) for cell in range(1, MOST_ANOMALIES + 6)]
    held = watching(State.anew(NOON), 0, *many)
    assert [problem.unusual for problem in held.problems.values()] == many[:MOST_ANOMALIES]
    said = [problem.said for problem in held.problems.values()]
    assert said[:-1] == [""] * (MOST_ANOMALIES - 1)
    assert said[-1] == "5 more are unusual and not told of one by one"
    assert len(held.model_dump_json()) < 1_000 * MOST_ANOMALIES


def test_an_anomaly_that_is_known_gives_its_place_to_none_that_is_larger():
    many = [unusual(9, cell=cell) for cell in range(1, MOST_ANOMALIES + 1)]
    held = watching(State.anew(NOON), 0, *many)
    larger = unusual(9, cell=99)
    watching(held, 1, larger, *many)
    assert [problem.unusual for problem in held.problems.values()] == many
    watching(held, 2, larger, *many[1:])
    assert "anomaly sf_311 leak 99" in lasting(held)
    assert "anomaly sf_311 leak 1" not in lasting(held)


def test_what_nobody_tries_again_for_a_month_is_given_up():
    held = state(failing(0, 1))
    held.give_up(at(24 * 30))
    assert not held.problems["runs sf_311"].over_at
    held.give_up(at(24 * 30 + 1))
    problem = held.problems["runs sf_311"]
    assert (problem.over_at, problem.is_given_up) == (at(24 * 30 + 1), True)


# Who is to be told.


def news(held: State, hours: float, channel: str = "slack") -> str | None:
    (problem,) = held.problems.values()
    return problem.news_for(channel, at(hours))


def tell(held: State, hours: float, channel: str = "slack") -> None:
    (problem,) = held.problems.values()
    problem.note_told(channel, at(hours))


def test_a_problem_is_told_once():
    held = state(failing(0, 1))
    assert news(held, 0) == "opened"
    tell(held, 0)
    assert news(held, 0.1) is None
    held.learn(failing(0.2, 1))
    assert news(held, 23.9) is None


def test_a_reminder_comes_every_day_while_it_lasts():
    held = state(failing(0, 1))
    tell(held, 0)
    assert (news(held, 23.9), news(held, 24)) == (None, "continues")
    tell(held, 24)
    assert (news(held, 47.9), news(held, 48)) == (None, "continues")


def test_an_anomaly_is_told_once_and_again_only_for_new_days():
    held = watching(State.anew(NOON), 0, unusual(8))
    assert news(held, 0) == "opened"
    tell(held, 0)
    watching(held, 48, unusual(8))
    assert news(held, 48) is None
    watching(held, 49, unusual(9, 8))
    assert news(held, 49) == "continues"
    tell(held, 49)
    watching(held, 60, unusual(9, 8, is_over=True))
    assert news(held, 60) == "over"


def test_new_days_are_news_after_an_hour_and_fewer_days_are_none():
    held = state(failing(0, 1, 2))
    tell(held, 0)
    held.learn(failing(0.5, 3))
    assert (news(held, 0.9), news(held, 1)) == (None, "continues")
    tell(held, 1)
    held.learn(making(1.5, 1))
    assert news(held, 10) is None


def test_the_end_is_told_once_to_those_who_know():
    held = state(failing(0, 1))
    tell(held, 0)
    held.learn(making(1, 1))
    assert (news(held, 1), news(held, 1, "webhook")) == ("over", None)
    tell(held, 1)
    assert news(held, 2) is None
    held.forget(CHANNELS)
    assert held.problems == {}


def test_what_ended_before_anybody_could_be_told_is_told_where_it_was_tried():
    held = state(failing(0, 1))
    held.problems["runs sf_311"].owed.add("webhook")
    held.learn(making(1, 1))
    held.forget(CHANNELS)
    assert (news(held, 1, "webhook"), news(held, 1)) == ("over", None)
    tell(held, 1, "webhook")
    held.forget(CHANNELS)
    assert held.problems == {}


def test_each_channel_is_told_for_itself():
    held = state(failing(0, 1))
    tell(held, 0)
    assert (news(held, 1), news(held, 1, "webhook")) == (None, "opened")


def test_a_channel_that_is_no_more_holds_nothing_up():
    held = state(failing(0, 1))
    held.problems["runs sf_311"].owed.add("slack-webhook")
    tell(held, 0, "teams")
    held.learn(making(1, 1))
    held.forget(CHANNELS)
    assert held.problems == {}


def test_a_channel_that_was_not_told_of_the_end_hears_that_it_goes_on():
    held = state(failing(0, 1))
    tell(held, 0)
    held.learn(making(1, 1))
    held.learn(failing(2, 2))
    assert news(held, 2) == "continues"
    assert news(held, 2, "webhook") == "opened"


# What a cursor keeps.


def test_a_cursor_is_read_as_it_was_written():
    held = state(failing(0, 1, 2, 5), making(1, 5))
    tell(held, 0)
    held.note_seen("run-0", NOON)
    text = held.model_dump_json()
    assert State.model_validate_json(text) == held
    assert '[["2026-03-01","2026-03-02"]]' in text


def test_an_anomaly_is_read_as_it_was_written():
    held = watching(State.anew(NOON), 0, unusual(9, 8, cell=2**63 + 1))
    assert State.model_validate_json(held.model_dump_json()) == held


def test_a_cursor_from_before_there_were_anomalies_is_read():
    text = HALF % '[["2026-01-01", "2026-01-02"]]'
    (problem,) = State.model_validate_json(text).problems.values()
    assert (problem.kind, len(problem.days), problem.unusual) == ("runs", 2, None)


@given(st.frozensets(st.dates(dt.date(2026, 1, 1), dt.date(2026, 2, 1)), max_size=MOST_RANGES))
def test_days_survive_the_cursor(days: frozenset[dt.date]):
    problem = Problem(kind="runs", subject="sf_311", since=NOON, last=NOON, failing={SF: days})
    assert Problem.model_validate_json(problem.model_dump_json()).failing == {SF: days}


def test_of_very_many_scattered_days_the_newest_stay():
    first = dt.date(2020, 1, 1)
    days = frozenset(first + dt.timedelta(days=2 * on) for on in range(1_000))
    problem = Problem(kind="runs", subject="sf_311", since=NOON, last=NOON, failing={SF: days})
    text = problem.model_dump_json()
    assert len(text) < 2_000
    assert Problem.model_validate_json(text).days == frozenset(sorted(days)[-MOST_RANGES:])


def test_the_memory_of_runs_reaches_back_as_far_as_runs_are_read_again():
    held = State.anew(NOON)
    for minute in range(60):
        held.note_seen(f"run-{minute}", NOON + dt.timedelta(minutes=minute))
    assert held.seen_until == NOON + dt.timedelta(minutes=59)
    assert sorted(held.seen) == ["run-58", "run-59"]


GARBAGE: list[Any] = [
    "",
    "null",
    "{",
    "[]",
    "{}",
    '{"watermark": "2026-01-01", "pending_days": []}',
    '{"version": 0, "seen_until": "2026-01-01T00:00:00Z"}',
    '{"version": 1, "seen_until": "2026-01-01T00:00:00"}',
    '{"version": 1, "seen_until": "2026-01-01T00:00:00Z", "problems": {"runs x": {}}}',
]
HALF = (
    '{"version": 1, "seen_until": "2026-01-01T00:00:00Z", "problems": {"runs x": {"kind": "runs", '
    '"subject": "x", "since": "2026-01-01T00:00:00Z", "last": "2026-01-01T00:00:00Z", '
    '"failing": {"a": %s}}}}'
)


@pytest.mark.parametrize(
    "text", [*GARBAGE, HALF % "[[1, 2]]", HALF % '["x"]', HALF % '[["a", "b"]]', HALF % "7"]
)
def test_a_cursor_of_another_form_is_refused_and_nothing_else_happens(text: str):
    with pytest.raises(ValueError, match="State"):
        State.model_validate_json(text)
