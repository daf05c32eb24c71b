"""Changed days: the rule on frames, then the sensor against a portal on loopback."""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import dagster as dg
import httpx
import polars as pl
import pytest

from city311_assets.automation.changed_days import (
    ATTEMPT,
    MOST_ATTEMPTS,
    MOST_RUNS,
    Cursor,
    Decision,
    Seen,
    Wish,
    changed_days,
    decide,
    remembered,
)
from city311_assets.automation.jobs import RECORDS_JOBS
from city311_assets.bronze.records import records
from city311_assets.bronze.sources import Sources
from city311_assets.definitions import build
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import CARRIES_ON, Slice, range_tags
from city311_assets.silver.requests import requests
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.portals import Portals, materialize, ranges_of
from city311_assets_tests.portals import at as at_instant

FIRST = dt.date(2026, 1, 1)
AT = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
BOOKS = {
    "day": pl.Date,
    "rows": pl.Int64,
    "asked_at": pl.Datetime("us"),
    "marked_stale_at": pl.Datetime("us"),
}
CHANGES = {"day": pl.Date, "rows": pl.Int64, "newest": pl.String}
COUNTS = {"day": pl.Date, "rows": pl.Int64}
DAYS = [FIRST + dt.timedelta(days=number) for number in range(200)]


def day(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


def at(hours: float = 0) -> dt.datetime:
    """Return an instant so many hours after noon of 2026-06-01, UTC without a zone."""
    return (AT + hours * HOUR).replace(tzinfo=None)


def frame(schema: dict, rows: Sequence[tuple]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema, orient="row")


def seen(hours: float = 0, **values: object) -> Seen:
    """Return a tick that sees 200 days held, asked for an hour before noon, and nothing else."""
    books = [(one, 5, at(-1), None) for one in DAYS]
    plain = Seen(
        now=at(hours),
        at=AT + hours * HOUR,
        today=dt.date(2026, 7, 20),
        books=frame(BOOKS, books),
        told=frame(CHANGES, []),
        held=frame(CHANGES, []),
    )
    return replace(plain, **values)


def told(*changes: tuple[int, int, str]) -> pl.DataFrame:
    """Return changes given as (day, rows, hour of the newest)."""
    return frame(CHANGES, [(day(d), n, f"2026-06-01T{hour}:00:00.000Z") for d, n, hour in changes])


def asks(decision: Decision) -> list[tuple[int, int]]:
    return [((a - FIRST).days, (b - FIRST).days) for a, b in decision.ranges]


# The rule.


def test_nothing_changed_asks_for_nothing():
    decision = decide(Cursor(), seen(), DAYS)
    assert (asks(decision), list(decision.reasons)) == ([], [])


def test_a_day_whose_changed_rows_are_not_held_is_asked_for():
    same = told((3, 1, "10"))
    decision = decide(Cursor(), seen(told=told((3, 1, "10"), (9, 2, "11")), held=same), DAYS)
    assert asks(decision) == [(9, 9)]
    assert decision.cursor.watermark == "2026-06-01T05:00:00.000Z"


def test_a_day_that_has_fewer_changed_rows_than_are_held_is_asked_for():
    decision = decide(Cursor(), seen(held=told((3, 1, "10"))), DAYS)
    assert asks(decision) == [(3, 3)]


def test_a_day_that_was_never_made_is_not_news():
    books = frame(BOOKS, [(day(1), 5, at(-1), None), (day(2), 5, None, None)])
    news = told((1, 1, "10"), (2, 1, "10"), (3, 1, "10"))
    assert asks(decide(Cursor(), seen(books=books, told=news), DAYS)) == [(1, 1)]


def test_days_that_were_asked_for_are_not_asked_for_again_until_they_answer():
    news = told((3, 1, "10"))
    first = decide(Cursor(), seen(told=news), DAYS)
    second = decide(first.cursor, seen(0.5, told=news), DAYS)
    much_later = decide(first.cursor, seen(25, told=news), DAYS)
    assert [asks(one) for one in (first, second, much_later)] == [[(3, 3)], [], [(3, 3)]]


def test_an_answer_settles_a_day():
    news = told((3, 1, "10"))
    first = decide(Cursor(), seen(told=news), DAYS)
    books = frame(BOOKS, [(day(3), 5, at(0.2), None)])
    second = decide(first.cursor, seen(0.5, told=news, held=news, books=books), DAYS)
    assert (asks(second), dict(second.cursor.pending_days)) == ([], {})


def test_an_answer_that_was_asked_for_before_settles_nothing():
    first = decide(Cursor(), seen(told=told((3, 1, "10"))), DAYS)
    books = frame(BOOKS, [(day(3), 5, at(-0.2), None)])
    second = decide(first.cursor, seen(0.5, books=books), DAYS)
    assert day(3) in second.cursor.pending_days


def test_an_answer_stamped_by_a_fast_clock_settles_nothing():
    by_fast_clock = frame(BOOKS, [(one, 5, at(7), None) for one in DAYS])
    news = told((9, 2, "12"))
    first = decide(Cursor(), seen(0, books=by_fast_clock, told=news), DAYS)
    assert asks(first) == [(9, 9)]
    again = decide(first.cursor, seen(1, books=by_fast_clock, told=news), DAYS)
    assert (set(again.cursor.pending_days), dict(again.cursor.accepted)) == ({day(9)}, {})


def test_a_portal_that_contradicts_itself_is_believed_once():
    news = told((3, 2, "10"))
    first = decide(Cursor(), seen(told=news), DAYS)
    books = frame(BOOKS, [(day(3), 5, at(0.2), None)])
    held = told((3, 1, "10"))
    second = decide(first.cursor, seen(0.5, told=news, held=held, books=books), DAYS)
    third = decide(second.cursor, seen(1, told=news, held=held, books=books), DAYS)
    more = told((3, 3, "11"))
    fourth = decide(third.cursor, seen(1.5, told=more, held=held, books=books), DAYS)
    assert [asks(one) for one in (second, third, fourth)] == [[], [], [(3, 3)]]


def test_what_the_cap_leaves_over_stays_and_comes_next():
    many = told(*((number, 1, "10") for number in range(0, 200, 9)))
    first = decide(Cursor(), seen(told=many), DAYS)
    assert len(first.ranges) == MOST_RUNS
    assert first.ranges[0][0] > first.ranges[-1][0]
    assert f"{23 - MOST_RUNS} days wait" in first.reasons
    second = decide(first.cursor, seen(0.5), DAYS)
    third = decide(second.cursor, seen(1), DAYS)
    asked = [one for decision in (first, second, third) for one in asks(decision)]
    assert sorted(asked) == [(number, number) for number in range(0, 200, 9)]


def test_days_that_are_not_over_or_have_no_slice_wait():
    news = told((10, 1, "10"), (11, 1, "10"), (12, 1, "10"))
    first = decide(Cursor(), seen(told=news, today=day(11)), DAYS[:11])
    assert asks(first) == [(10, 10)]
    tomorrow = decide(first.cursor, seen(23, today=day(12)), DAYS[:12])
    assert asks(tomorrow) == [(11, 11)]


def test_days_under_way_wait():
    news = told((10, 1, "10"), (40, 1, "10"))
    first = decide(Cursor(), seen(told=news, under_way={day(10)}), DAYS)
    second = decide(first.cursor, seen(0.5), DAYS)
    assert (asks(first), asks(second)) == ([(40, 40)], [(10, 10)])


def test_other_counts_are_asked_for_also_where_nothing_is_left():
    counts = frame(COUNTS, [(one, 5) for one in DAYS[2:]] + [(day(9), 6)])
    counts = counts.unique("day", keep="last")
    decision = decide(Cursor(), seen(counts=counts), DAYS)
    assert asks(decision) == [(0, 9)]
    assert decision.cursor.compared_on == dt.date(2026, 7, 20)
    assert "the portal counts another number of rows" in decision.reasons[0]


def test_a_marked_day_is_asked_for():
    books = frame(BOOKS, [(day(1), 5, at(-1), at(-0.5)), (day(2), 5, at(-1), None)])
    assert asks(decide(Cursor(), seen(books=books), DAYS)) == [(1, 1)]


def test_recent_nights_that_were_missed_are_made_up_for():
    held = [day(number) for number in range(150, 200) if number not in {170, 185, 186}]
    books = frame(BOOKS, [(one, 5, at(-1), None) for one in held])
    counts = frame(COUNTS, [(one, 5) for one in held])
    nightly = seen(books=books, counts=counts, today=day(200))
    assert asks(decide(Cursor(), nightly, DAYS)) == [(185, 186), (170, 170)]
    assert asks(decide(Cursor(), replace(nightly, counts=None), DAYS)) == []
    assert asks(decide(Cursor(), replace(nightly, today=day(210)), DAYS)) == [(185, 186)]


def test_a_reload_is_not_asked_for_nor_looked_at_again_but_what_follows_is():
    everything = told(*((number, 5, "10") for number in range(200)))
    first = decide(Cursor(), seen(told=everything, is_reload=True), DAYS)
    assert (asks(first), first.cursor.watermark) == ([], "2026-06-01T10:00:00.000Z")
    second = decide(first.cursor, seen(0.5, told=told((3, 1, "11"))), DAYS)
    assert (asks(second), second.cursor.watermark) == ([(3, 3)], "2026-06-01T10:00:00.000Z")


def test_failed_days_are_asked_for_again_each_time_later():
    first = decide(Cursor(), seen(failed={day(3): 0}), DAYS)
    waits = [asks(decide(first.cursor, seen(hours), DAYS)) for hours in (0.4, 0.5)]
    assert (asks(first), waits) == ([], [[], [(3, 3)]])
    again = decide(first.cursor, seen(1, failed={day(3): 1}), DAYS)
    waits = [asks(decide(again.cursor, seen(hours), DAYS)) for hours in (1.9, 2.0)]
    assert waits == [[], [(3, 3)]]
    assert again.cursor.pending_days[day(3)].attempts == 2


def test_a_day_that_keeps_failing_is_left_to_people():
    cursor, asked = Cursor(), 0
    for hours in range(0, 400, 20):
        failed = {day(3): asked} if asked in {0, hours // 20} else {}
        decision = decide(cursor, seen(hours, failed=failed), DAYS)
        cursor = decision.cursor
        later = decide(cursor, seen(hours + 17), DAYS)
        asked += len(later.ranges)
        cursor = later.cursor if later.ranges else cursor
    assert asked == MOST_ATTEMPTS


def test_a_failure_does_not_begin_the_count_anew():
    tired = Cursor(pending_days={day(3): Wish(at(-1), attempts=MOST_ATTEMPTS)})
    decision = decide(tired, seen(failed={day(3): 0}), DAYS)
    assert (asks(decision), dict(decision.cursor.pending_days)) == ([], {})
    assert "left to people: 2026-01-04" in decision.reasons[1]


def test_what_failed_together_is_asked_for_in_shorter_ranges_until_a_day_fails_alone():
    lengths = []
    for attempts in range(1, MOST_ATTEMPTS + 1):
        wishes = {day(number): Wish(at(-1), attempts=attempts) for number in range(31)}
        decision = decide(Cursor(pending_days=wishes), seen(), DAYS)
        lengths.append(max((last - first).days + 1 for first, last in decision.ranges))
    assert lengths == [15, 7, 3, 1, 1]


def test_what_was_noticed_first_is_asked_for_first():
    old = {day(number): Wish(at(-9)) for number in (0, 50)}
    new = {day(number): Wish(at(-1)) for number in range(60, 200, 9)}
    books = frame(BOOKS, [(one, 5, at(-10), None) for one in DAYS])
    decision = decide(Cursor(pending_days=old | new), seen(books=books), DAYS)
    assert asks(decision)[:3] == [(50, 50), (0, 0), (195, 195)]


def test_a_wish_that_another_run_has_met_is_dropped():
    news = told((3, 1, "10"))
    first = decide(Cursor(), seen(told=news, under_way={day(3)}), DAYS)
    met = decide(first.cursor, seen(0.5, told=news, held=news), DAYS)
    assert (asks(met), dict(met.cursor.pending_days)) == ([], {})
    absent = decide(first.cursor, seen(0.5), DAYS)
    assert asks(absent) == [(3, 3)]


def test_a_reload_seen_in_two_halves_asks_for_no_more_than_the_first():
    half = told(*((number, 5, "10") for number in range(0, 200, 9)))
    first = decide(Cursor(), seen(told=half), DAYS)
    everything = told(*((number, 5, "11") for number in range(200)))
    second = decide(first.cursor, seen(0.5, told=everything, is_reload=True), DAYS)
    assert asks(second) == []
    assert len(second.cursor.pending_days) == MOST_RUNS


def test_the_cursor_says_what_it_was_told():
    news = told((3, 1, "10"))
    cursor = decide(Cursor(), seen(told=news, failed={day(9): 1}), DAYS).cursor
    cursor = replace(cursor, compared_on=day(5), accepted={day(4): "2 x"}, reloaded_at="x")
    assert Cursor.read(str(cursor)) == cursor
    assert {"watermark", "pending_days"} < set(json.loads(str(cursor)))
    assert Cursor.read(str(Cursor(pending_days={day(1): Wish(at())}))).pending_days


@pytest.mark.parametrize("text", ["{", "[]", "null", '"x"', "{}", '{"watermark": 1}'])
def test_a_cursor_of_another_form_is_begun_anew_with_a_warning(text: str):
    cursor, warning = remembered(text, AT)
    assert (cursor.pending_days, cursor.failures_until) == ({}, AT - 24 * HOUR)
    assert cursor.ticks > 1_000_000
    assert "begun anew" in (warning or "")
    assert remembered(str(Cursor(ticks=3)), AT) == (Cursor(ticks=3), None)
    assert remembered(None, AT) == remembered("", AT) == (cursor, None)


# The sensor.

SENSOR = changed_days(SF_311)
TABLE = RECORDS["sf_311"]
DAY = dt.date(2026, 5, 2)


def case(number: str, on: dt.date = DAY, hour: int = 1, **values: str) -> dict[str, str | None]:
    """Return a case as the portal publishes it, changed so many hours into 2026-06-14."""
    return {
        "service_request_id": number,
        "requested_datetime": f"{on}T09:00:00.000",
        "service_name": "Graffiti",
        ":updated_at": f"2026-06-14T{hour:02}:00:00.000Z",
        **values,
    }


@dataclass
class Nights:
    """One feed's sensor, tick by tick, and the runs it asks for."""

    warehouse: Warehouse
    portal: Portals
    instance: dg.DagsterInstance
    cursor: str | None = None
    now: dt.datetime = dt.datetime(2026, 6, 14, 8, tzinfo=dt.UTC)
    said: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def sources(self) -> Sources:
        """The portal's, at a later instant each time."""
        self.now += dt.timedelta(minutes=1)
        return at_instant(self.portal.sources, self.now)

    def tick(self) -> list[tuple[str, str]]:
        """Evaluate the sensor; return the days it asks for."""
        sources = self.sources
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={"warehouse": self.warehouse, "sources": sources},
        ) as context:
            done = SENSOR.evaluate_tick(context)
        self.cursor, self.said = done.cursor, done.skip_message or ""
        self.asked = [(str(first), str(last)) for first, last in ranges_of(done.run_requests)]
        return self.asked

    def run(self, *ranges: tuple[str, str]) -> None:
        """Make days, the asked ones unless others are given."""
        for first, last in ranges or self.asked:
            days = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
            assert materialize(records(SF_311), self.warehouse, self.sources, *days).success

    def contents(self) -> dict[dt.date, list[str]]:
        held = self.warehouse.read(
            f"select day, list(record_id order by record_id) as ids from {TABLE} group by day"
        )
        return dict(held.iter_rows())


@pytest.fixture
def nights(warehouse: Warehouse, portal: Portals) -> Iterator[Nights]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Nights(warehouse, portal, instance)


def test_an_empty_warehouse_asks_for_nothing(nights: Nights):
    nights.portal.publish(SF_311, case("1"))
    assert nights.tick() == []
    assert nights.said == "no day of sf_311 was made yet"


def test_a_case_closed_forty_days_later_asks_for_exactly_its_day(nights: Nights):
    other = DAY + dt.timedelta(days=20)
    nights.portal.publish(SF_311, case("1"), case("2"), case("3", other))
    nights.run(("2026-05-01", "2026-05-31"))
    assert nights.tick() == []
    closed = case("2", hour=9, closed_date="2026-06-11T10:00:00.000")
    nights.portal.publish(SF_311, case("1"), closed, case("3", other))
    assert nights.tick() == [("2026-05-02", "2026-05-02")]
    nights.run()
    stored = f"select closed_date from {TABLE} where record_id = '2'"
    assert nights.warehouse.read(stored).item() == "2026-06-11T10:00:00.000"
    assert nights.contents() == {DAY: ["1", "2"], other: ["3"]}
    assert nights.tick() == []


def test_a_late_closing_reaches_silver_and_leaves_every_other_slice_as_it_was(nights: Nights):
    range_ = dt.date(2026, 5, 1), dt.date(2026, 5, 31)
    cases = [case(str(n), dt.date(2026, 5, 1 + n % 31)) for n in range(62)]
    nights.portal.publish(SF_311, *cases)
    nights.run(("2026-05-01", "2026-05-31"))
    assert materialize(requests(SF_311), nights.warehouse, None, *range_).success
    nights.tick()
    may = Slice("sf_311", range_[0], dt.date(2026, 6, 1))
    slices = [may.day(one) for one in may.days]
    before = [nights.warehouse.content_hash(t, s) for t in (TABLE, REQUESTS) for s in slices]
    closed = {**cases[40], ":updated_at": "2026-06-14T09:00:00.000Z"}
    closed["closed_date"] = "2026-06-19T09:00:00.000"
    nights.portal.publish(SF_311, *cases[:40], closed, *cases[41:])
    nights.now = dt.datetime(2026, 6, 20, 8, tzinfo=dt.UTC)
    assert nights.tick() == [("2026-05-10", "2026-05-10")]
    nights.run()
    assert materialize(requests(SF_311), nights.warehouse, None, dt.date(2026, 5, 10)).success
    after = [nights.warehouse.content_hash(t, s) for t in (TABLE, REQUESTS) for s in slices]
    assert [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [9, 31 + 9]
    assert [rows for rows, _ in before] == [rows for rows, _ in after]
    late = f"select hours_to_close from {REQUESTS} where record_id = '40'"
    assert nights.warehouse.read(late).item() == 40 * 24


def test_a_withdrawn_record_is_found_by_the_count(nights: Nights):
    nights.portal.publish(SF_311, case("1"), case("2"))
    nights.run(("2026-05-01", "2026-05-31"), ("2026-06-01", "2026-06-13"))
    nights.tick()
    nights.portal.publish(SF_311, case("1"))
    assert nights.tick() == []
    nights.now += dt.timedelta(hours=2)
    assert nights.tick() == []
    # Four o'clock in San Francisco.
    nights.now += dt.timedelta(hours=1)
    assert nights.tick() == [("2026-05-02", "2026-05-02")]
    nights.run()
    assert nights.contents() == {DAY: ["1"]}


def test_missed_nights_are_made_up_for(nights: Nights):
    nights.run(("2026-05-01", "2026-05-31"), ("2026-06-08", "2026-06-13"))
    nights.now += dt.timedelta(hours=3)
    assert nights.tick() == [("2026-06-01", "2026-06-07")]


def test_a_record_that_moves_asks_for_both_its_days(nights: Nights):
    later = DAY + dt.timedelta(days=20)
    nights.portal.publish(SF_311, case("1"), case("2"))
    nights.run(("2026-05-01", "2026-05-31"))
    nights.tick()
    nights.portal.publish(SF_311, case("1"), case("2", later, hour=9))
    assert nights.tick() == [("2026-05-22", "2026-05-22")]
    nights.run()
    assert nights.tick() == [("2026-05-02", "2026-05-02")]
    nights.run()
    assert nights.contents() == {DAY: ["1"], later: ["2"]}
    assert nights.tick() == []
    nights.portal.publish(SF_311, case("1"), case("2", hour=10))
    for _ in range(2):
        nights.tick()
        nights.run()
    assert nights.contents() == {DAY: ["1", "2"]}
    assert nights.warehouse.read("select record_id, day from bronze.withdrawn_records").rows() == [
        ("2", later)
    ]
    assert nights.tick() == []


def test_a_reload_says_so_and_asks_for_nothing(nights: Nights):
    days = [dt.date(2026, 2, 1) + dt.timedelta(days=number) for number in range(100)]
    cases = [case(str(number), on) for number, on in enumerate(days)]
    nights.portal.publish(SF_311, *cases)
    nights.run(("2026-02-01", "2026-05-11"))
    assert nights.tick() == []
    reloaded = [case(str(number), on, hour=9) for number, on in enumerate(days)]
    nights.portal.publish(SF_311, *reloaded)
    assert nights.tick() == []
    assert "has loaded sf_311 anew: 100 rows of 100 days" in nights.said
    assert "city311 materialize --from 2026-02-01 --to 2026-05-11" in nights.said
    assert nights.tick() == []
    assert "anew" not in nights.said
    nights.portal.publish(SF_311, *reloaded[1:], case("0", days[0], hour=10))
    assert nights.tick() == [("2026-02-01", "2026-02-01")]


def test_many_changes_that_are_not_nearly_all_are_no_reload(nights: Nights):
    days = [dt.date(2026, 2, 1) + dt.timedelta(days=number) for number in range(100)]
    nights.portal.publish(SF_311, *(case(str(number), on) for number, on in enumerate(days)))
    nights.run(("2026-02-01", "2026-05-11"))
    nights.tick()
    mixed = [case(str(n), on, hour=9 if n < 79 else 1) for n, on in enumerate(days)]
    nights.portal.publish(SF_311, *mixed)
    assert nights.tick() == [
        ("2026-04-04", "2026-04-20"),
        ("2026-03-04", "2026-04-03"),
        ("2026-02-01", "2026-03-03"),
    ]


def test_rows_without_an_opening_time_are_said_to_be_in_no_day(nights: Nights):
    nights.portal.publish(SF_311, case("1"))
    nights.run(("2026-05-01", "2026-05-31"), ("2026-06-01", "2026-06-13"))
    lost = {**case("2"), "requested_datetime": None}
    nights.portal.publish(SF_311, case("1"), lost)
    nights.now += dt.timedelta(hours=3)
    nights.tick()
    assert nights.said == "1 rows at the portal have no requested_datetime and belong to no day"


def finished_run(
    instance: dg.DagsterInstance,
    tags: dict[str, str],
    how: dg.DagsterEventType = dg.DagsterEventType.RUN_FAILURE,
) -> None:
    run = instance.create_run_for_job(RECORDS_JOBS["sf_311"].resolve(
        asset_graph=build(Sources(origin="portal"), Warehouse(database="x")).resolve_asset_graph(),
    ), tags=tags)  # fmt: skip
    if how == dg.DagsterEventType.RUN_FAILURE:
        instance.report_run_failed(run, "gone")
    else:
        instance.report_dagster_event(dg.DagsterEvent(how.value, run.job_name), run.run_id)


@pytest.mark.parametrize(("attempts", "is_noticed"), [("0", True), (str(MOST_ATTEMPTS), False)])
def test_days_of_a_failed_run_wait_to_be_asked_for_again(
    nights: Nights, attempts: str, is_noticed: bool
):
    """Unless they have failed often enough."""
    nights.portal.publish(SF_311, case("1"))
    nights.run(("2026-05-01", "2026-05-31"))
    nights.tick()
    tags = range_tags(DAY, DAY + dt.timedelta(days=1)) | {ATTEMPT: attempts}
    finished_run(nights.instance, tags)
    assert nights.tick() == []
    pending = Cursor.read(nights.cursor or "").pending_days
    assert list(pending) == ([DAY, DAY + dt.timedelta(days=1)] if is_noticed else [])
    assert nights.tick() == []


@pytest.mark.parametrize("carries_on", [True, False])
def test_a_cancelled_run_is_made_up_for_if_it_was_to_carry_its_days_on(
    nights: Nights, carries_on: bool
):
    """A backfill that somebody cancelled is not taken up again behind their back."""
    nights.portal.publish(SF_311, case("1"))
    nights.run(("2026-05-01", "2026-05-31"))
    nights.tick()
    tags = range_tags(DAY, DAY) | ({CARRIES_ON: "true"} if carries_on else {})
    finished_run(nights.instance, tags, how=dg.DagsterEventType.RUN_CANCELED)
    nights.tick()
    assert list(Cursor.read(nights.cursor or "").pending_days) == ([DAY] if carries_on else [])


def test_a_day_that_a_later_run_made_is_not_asked_for_again(nights: Nights):
    nights.run(("2026-05-01", "2026-05-31"))
    nights.tick()
    second = DAY + dt.timedelta(days=1)
    finished_run(nights.instance, range_tags(DAY, second))
    finished_run(nights.instance, range_tags(second, second), dg.DagsterEventType.RUN_SUCCESS)
    nights.tick()
    assert list(Cursor.read(nights.cursor or "").pending_days) == [DAY]


def test_a_portal_that_refuses_to_count_all_history_still_tells_what_changed(nights: Nights):
    nights.portal.publish(SF_311, case("1"))
    nights.run(("2026-05-01", "2026-05-31"))
    nights.portal.publish(SF_311, case("1", hour=9))
    nights.now += dt.timedelta(hours=3)
    # The changes are the first of the two questions.
    refusal = {"kind": "status", "status": 400, "query": "counts_by_day", "skip": 1}
    faults = f"{nights.portal.url}/faults"
    httpx.put(faults, json=[refusal]).raise_for_status()
    try:
        assert nights.tick() == [("2026-05-02", "2026-05-02")]
        assert Cursor.read(nights.cursor or "").compared_on is None
    finally:
        httpx.put(faults, json=[]).raise_for_status()
    nights.tick()
    assert Cursor.read(nights.cursor or "").compared_on == dt.date(2026, 6, 14)


def test_an_outage_fails_the_tick_and_forgets_nothing(nights: Nights):
    nights.portal.publish(SF_311, case("1"))
    nights.run(("2026-05-01", "2026-05-31"))
    nights.tick()
    nights.portal.publish(SF_311, case("1", hour=9))
    before, there = nights.cursor, nights.portal
    nights.portal = Portals("http://127.0.0.1:9", there.datasets)
    with pytest.raises(Exception, match="no answer"):
        nights.tick()
    assert nights.cursor == before
    nights.portal = there
    assert nights.tick() == [("2026-05-02", "2026-05-02")]
