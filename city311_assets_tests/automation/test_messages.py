"""Messages: what a person reads: where, what, since when on the city's clock, and what is next."""

import datetime as dt

import dagster as dg
import pytest

from city311_assets.automation.messages import Notice, headline, local, notice
from city311_assets.automation.problems import Kind, News, Problem
from city311_assets.automation.unusual_days import Figures, Unusual
from city311_assets.cli.runs import plan
from city311_assets.definitions import defs

# Ten in the morning in San Francisco, on the day after the clocks went forward.
NOW = dt.datetime(2026, 3, 9, 17, tzinfo=dt.UTC)
SF = "bronze/sf_311"
DAYS = [dt.date(2026, 3, on) for on in (6, 7, 8)]


def problem(kind: Kind = "runs", subject: str = "sf_311", *days: dt.date, **other: str) -> Problem:
    return Problem(
        kind=kind,
        subject=subject,
        since=dt.datetime(2026, 3, 8, 10, 31, tzinfo=dt.UTC),
        last=NOW,
        failing={SF: frozenset(days)},
        said=other.get("said", "SourceUnavailableError: status 503"),
        run_id="1a2b3c4d-5e6f",
        times=2,
    )


def text(kind: Kind, one: Problem, state: News = "opened", key: str = "") -> str:
    return "\n".join(notice(key or f"{kind} {one.subject}", one, state, NOW).lines)


def test_a_failed_run_says_where_what_since_when_and_what_is_next():
    assert text("runs", problem("runs", "sf_311", *DAYS)).splitlines() == [
        "NEW San Francisco 311 cases (sf_311): runs fail",
        "Since 2026-03-08 03:31 PDT; 2 failed runs; days 2026-03-06 to 2026-03-08 (3 days).",
        "Last error: SourceUnavailableError: status 503",
        (
            "By itself: the night of 2026-03-10 03:30 PDT asks again for 2026-03-06 to 2026-03-08; "
            "changed_days_sf_311 tries failed days a few times, later each time."
        ),
        (
            "To do: `city311 doctor` says whether data.sfgov.org answers; run 1a2b3c4d in the UI "
            "has all of it. If it lasts, `city311 materialize --from 2026-03-06 --to 2026-03-08 "
            "--select 'key:\"*/sf_311\"'`."
        ),
    ]


def test_days_that_the_clock_does_not_reach_are_named():
    days = [dt.date(2026, 1, 1), dt.date(2026, 2, 8), dt.date(2026, 2, 9), DAYS[-1]]
    said = text("runs", problem("runs", "sf_311", *days))
    assert (
        "asks again for 2026-03-08; the weekly run, Sunday morning, asks again for 2026-02-09"
        in said
    )
    assert "nothing asks for 2026-01-01, 2026-02-08 by the clock" in said
    assert "--from 2026-03-08 --to 2026-03-08" in said
    assert "then the earlier days" in said


def test_a_failed_check_names_the_table_and_what_it_found():
    key = "check silver/requests/sf_311: opened_on_its_day"
    said = text("check", problem("check", "sf_311", DAYS[0], said="offenders: 3"), key=key)
    assert "silver/requests/sf_311: opened_on_its_day does not hold" in said
    assert "2 failed evaluations; days 2026-03-06." in said
    assert "It found: offenders: 3" in said
    assert "see the check beside silver/requests/sf_311 in the UI (run 1a2b3c4d" in said


def test_a_late_feed_says_how_far_it_reaches_and_which_schedule_to_look_at():
    one = problem("late", "chicago_311", *DAYS, said="the newest day is 2026-03-05, 3 days behind")
    said = text("late", one)
    assert "NEW Chicago 311 service requests (chicago_311): days do not come in" in said
    assert "Since 2026-03-08 05:31 CDT; missing 2026-03-06 to 2026-03-08 (3 days)." in said
    assert "Seen: the newest day is 2026-03-05, 3 days behind" in said
    assert "the schedule records_chicago_311_nightly on?" in said


LOOP = 608661376772079615
FIGURES = (
    Figures(dt.date(2026, 3, 7), 69, 18.368, 9, 30, "more"),
    Figures(dt.date(2026, 3, 6), 56, 18.866, 9, 31, "more"),
)


def anomaly(
    category: str = "theft", cell: int | None = LOOP, label: str | None = "District 001, Loop"
) -> Problem:
    """Return an anomaly of two days of crimes in Chicago."""
    streets, ids = ("S COLUMBUS DR", "E MONROE ST"), ("11", "12")
    days = tuple(one.day for one in FIGURES)
    one = problem("anomaly", "chicago_crimes", said="")
    one.failing, one.run_id = {"chicago_crimes": frozenset(days)}, None
    one.unusual = Unusual(
        "chicago_crimes", category, cell, label, days, FIGURES, streets, ids, is_over=False
    )
    return one


def test_an_anomaly_says_what_where_how_many_instead_of_how_many_and_what_to_open():
    assert text("anomaly", anomaly()).splitlines() == [
        (
            "NEW Chicago crimes (chicago_crimes): more records of theft than expected in "
            f"District 001, Loop (cell {LOOP})"
        ),
        "Found 2026-03-08 05:31 CDT; days 2026-03-06 to 2026-03-07 (2 days).",
        (
            "Counted: 69 on 2026-03-07, more than the 18.4 (95 %: 9 to 30) expected; "
            "56 on 2026-03-06, more than the 18.9 (95 %: 9 to 31) expected."
        ),
        "Evidence of 2026-03-07: streets S COLUMBUS DR, E MONROE ST; records 11, 12.",
        (
            "By itself: nothing makes it go away; it is over when 3 tested days since are as "
            "expected, or its days are made again and are."
        ),
        (
            "To do: look at the records, in the published file: `from silver.incidents where "
            "feed = 'chicago_crimes' and day = '2026-03-07' and category = 'theft' and "
            f"cell_parent(cell, 7) = {LOOP}`."
        ),
    ]


def test_an_anomaly_of_the_whole_city_and_of_all_categories_names_neither():
    one = anomaly("all", None, None)
    one.said = "5 more are unusual and not told of one by one"
    said = text("anomaly", one)
    assert ": more records than expected in the whole city\n" in said
    assert "`from silver.incidents where feed = 'chicago_crimes' and day = '2026-03-07'`" in said
    assert "Beside it: 5 more are unusual and not told of one by one" in said
    assert f"in cell {LOOP}\n" in text("anomaly", anomaly(label=None))


def test_the_end_of_an_anomaly_says_why_it_is_over():
    one = anomaly()
    one.over_at, one.said = NOW, "3 days since are as expected"
    assert text("anomaly", one, "over").splitlines() == [
        (
            "OVER Chicago crimes (chicago_crimes): records of theft in District 001, Loop "
            f"(cell {LOOP}), unusual no more"
        ),
        (
            "From 2026-03-08 05:31 CDT to 2026-03-09 12:00 CDT; "
            "days 2026-03-06 to 2026-03-07 (2 days)."
        ),
        "Seen: 3 days since are as expected",
    ]


def test_braces_and_quotes_in_a_name_are_text():
    said = text("anomaly", anomaly("{what} o'clock", label="{place} {0}"))
    assert "more records of {what} o'clock than expected in {place} {0} (cell" in said
    assert "category = '{what} o''clock'" in said


def test_the_end_says_how_long_it_lasted_and_asks_for_nothing():
    one = problem()
    one.over_at = dt.datetime(2026, 3, 9, 10, 40, tzinfo=dt.UTC)
    said = text("runs", one, "over")
    assert said.startswith("OVER San Francisco 311 cases (sf_311): runs fail no more\n")
    assert "From 2026-03-08 03:31 PDT to 2026-03-09 03:40 PDT; 2 failed runs." in said
    assert "To do" not in said


def test_what_is_given_up_says_so():
    one = problem("runs", "sf_311", *DAYS)
    one.over_at, one.is_given_up = NOW, True
    said = text("runs", one, "over")
    assert "no longer watched: runs fail" in said
    assert "Nothing about it has run for a month" in said


def test_what_has_no_days_and_what_is_no_city_is_told_without_days():
    areas = text("runs", problem("runs", "chicago"), "continues")
    assert areas.startswith("STILL Chicago, weather and boundaries: runs fail")
    assert "the monthly run asks again" in areas
    job = text("runs", problem("runs", "publish_snapshot"))
    assert job.startswith("NEW job publish_snapshot: runs fail\nSince 2026-03-08 10:31 UTC;")
    assert "materialize" not in areas + job


@pytest.mark.parametrize(
    ("instant", "shown"),
    [
        ("2026-03-08T09:59", "2026-03-08 01:59 PST"),
        ("2026-03-08T10:00", "2026-03-08 03:00 PDT"),
        ("2026-11-01T08:30", "2026-11-01 01:30 PDT"),
        ("2026-11-01T09:30", "2026-11-01 01:30 PST"),
    ],
)
def test_a_skipped_and_a_repeated_hour_are_told_apart(instant: str, shown: str):
    assert local(dt.datetime.fromisoformat(f"{instant}+00:00"), "sf_311") == shown


@pytest.mark.parametrize(
    ("now", "night"),
    [
        ("2026-03-08T11:29", "2026-03-08 03:30 PDT"),  # a minute after three, an hour early
        ("2026-03-08T10:29", "2026-03-08 03:30 PDT"),
        ("2026-03-08T10:31", "2026-03-09 03:30 PDT"),
        ("2026-11-01T09:30", "2026-11-01 03:30 PST"),
        ("2026-10-31T12:00", "2026-11-01 03:30 PST"),
    ],
)
def test_the_next_night_is_at_half_past_three_whatever_the_clocks_do(now: str, night: str):
    one = problem("runs", "sf_311", dt.date(2026, 3, 7), dt.date(2026, 10, 30))
    at = dt.datetime.fromisoformat(f"{now}+00:00")
    if now == "2026-03-08T11:29":
        night = "2026-03-09 03:30 PDT"
    assert f"the night of {night} asks" in "\n".join(notice("runs", one, "opened", at).lines)


def test_the_command_that_is_offered_selects_the_feeds_own_tables():
    steps = plan('key:"*/sf_311"', defs, DAYS)
    keys = {key for step in steps for key in step.keys}
    assert {key.path[-1] for key in keys} == {"sf_311"}
    assert dg.AssetKey(["silver", "requests", "sf_311"]) in keys


def of(state: News, kind: Kind = "runs") -> Notice:
    return Notice("sf_311", kind, state, NOW, (), ("x",))


def test_the_first_line_counts_and_says_when_nothing_is_real():
    assert headline([of("opened")], is_sample=False) == "city311: 1 problem"
    mixed = headline([of("opened"), of("continues"), of("over")], is_sample=False)
    assert mixed == "city311: 2 problems, 1 over"
    unusual = [of("opened", "anomaly"), of("over", "anomaly")]
    assert headline(unusual, is_sample=False) == "city311: 1 anomaly, 1 over"
    both = headline([of("opened"), *2 * unusual], is_sample=False)
    assert both == "city311: 1 problem, 2 anomalies, 2 over"
    assert headline([of("over")], is_sample=True).startswith("SAMPLE DATA, nothing of this is")
