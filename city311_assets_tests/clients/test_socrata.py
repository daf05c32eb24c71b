"""Whole windows of a Socrata portal: paged, counted, parsed; complete, or an error."""

import gzip
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city311_assets.clients.errors import (
    IncompleteWindowError,
    MalformedAnswerError,
    MissingColumnsError,
    RequestRefusedError,
    SourceError,
)
from city311_assets.clients.http import Patience
from city311_assets.clients.socrata import Answer, Socrata, SocrataBoundaries, parse_pages
from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.feeds.feed import SYSTEM_COLUMNS
from city311_assets.feeds.sf_311 import SF_311
from city311_assets_tests.clients.answers import Asked, Reply, Server, answering, in_turn, saying

FEED = CHICAGO_CRIMES
DAY = date(2026, 1, 2)
NEXT = date(2026, 1, 3)
WINDOW = re.compile(r"(\w+) >= '([^']+)' and \1 < '([^']+)'")
AFTER_KEY = re.compile(r" and :id > '([^']*)'$")
MOST_REQUESTS = 60
COUNT_AND_CHANGE = "count(*) as rows, max(:updated_at) as changed_at"

Row = dict[str, Any]


def crime(number: int, opened: str = "2026-01-02T09:00:00.000", **more: object) -> Row:
    """Return a row as the portal holds it; rows are held in the order of their numbers."""
    return {
        ":id": f"row-{number:04}",
        ":created_at": "2026-01-03T00:00:00.000Z",
        ":updated_at": "2026-01-04T00:00:00.000Z",
        "id": str(number),
        "date": opened,
        "primary_type": "THEFT",
        **more,
    }


def crimes(count: int) -> list[Row]:
    """Return rows that were all opened in the same second."""
    return [crime(number) for number in range(count)]


@dataclass
class Portal:
    """A dataset that is asked as the client asks, and that can be made to misbehave.

    `order` decides the order of the rows from what was asked; `before` runs before each answer of
    rows with the number of the answer; `false_counts` are told in place of the first true ones.
    """

    rows: list[Row]
    columns: Sequence[str] = tuple(FEED.column_names)
    ignores_key: bool = False
    ignores_offset: bool = False
    order: Callable[[list[Row]], list[Row]] = lambda rows: sorted(rows, key=lambda row: row[":id"])
    before: Callable[[int], None] = lambda _: None
    false_counts: list[int] = field(default_factory=list)
    pages: int = 0

    def __call__(self, asked: Asked) -> Reply:
        if asked.path == f"/api/views/{FEED.dataset}.json":
            return saying({"id": FEED.dataset, "columns": [{"fieldName": c} for c in self.columns]})
        assert asked.path == f"/resource/{FEED.dataset}.json"
        params = dict(asked.params)
        select, where = params.pop("$select"), params.pop("$where")
        if select.startswith("count(*) as rows"):
            assert not params
            rows = self.meeting(where)
            told = {"rows": str(self.false_counts.pop(0) if self.false_counts else len(rows))}
            newest = max((row[":updated_at"] for row in rows), default=None)
            if newest and select == COUNT_AND_CHANGE:
                told["changed_at"] = newest
            return saying([told])
        if select.startswith("date_trunc_ymd("):
            assert params == {"$group": "day", "$order": "day", "$limit": "50000"}
            return saying(self.by_day(where))
        assert (select, params.pop("$order")) == (":*,*", ":id")
        return self.page(where, int(params.pop("$limit")), int(params.pop("$offset", 0)), params)

    def page(self, where: str, limit: int, offset: int, unknown: dict[str, str]) -> Reply:
        assert not unknown
        self.pages += 1
        if self.pages > MOST_REQUESTS:
            return saying({"message": "asked for ever"}, 400)
        self.before(self.pages)
        rows = self.order(self.meeting(where))
        start = 0 if self.ignores_offset else offset
        return saying(
            [{k: v for k, v in row.items() if v is not None} for row in rows[start:][:limit]]
        )

    def meeting(self, where: str) -> list[Row]:
        """Return the rows that meet a condition: a window of days, and perhaps a key."""
        key = AFTER_KEY.search(where)
        window = WINDOW.fullmatch(where[: key.start()].strip("()") if key else where.strip("()"))
        assert window, where
        column, start, end = window.groups()
        rows = [row for row in self.rows if row.get(column) and start <= row[column] < end]
        if key and not self.ignores_key:
            rows = [row for row in rows if row[":id"] > key[1]]
        return rows

    def by_day(self, where: str) -> list[dict[str, str]]:
        days = sorted(row[FEED.opened][:10] for row in self.meeting(where))
        return [
            {"day": f"{day}T00:00:00.000", "rows": str(days.count(day))}
            for day in sorted(set(days))
        ]


@contextmanager
def asking(
    portal: Callable[[Asked], Reply], page_size: int = 50_000, token: str | None = None
) -> Iterator[tuple[Socrata, Server]]:
    """Serve a portal and open a client of it."""
    patience = Patience(attempts=2, timeout_seconds=20, sleep=lambda _: None)
    with (
        answering(portal) as server,
        Socrata(
            FEED, server.url, app_token=token, page_size=page_size, patience=patience
        ) as socrata,
    ):
        yield socrata, server


def records(portal: Callable[[Asked], Reply], page_size: int = 50_000) -> tuple[Answer, Server]:
    """Return what came for the day, and what was asked for it."""
    with asking(portal, page_size) as (socrata, server):
        return socrata.records(DAY, NEXT), server


def numbers(answer: Answer) -> list[int]:
    return [int(number) for number in answer.rows["id"]]


def offsets(server: Server) -> list[str]:
    """Return the offsets asked for: none as long as paging by key was enough."""
    return [params["$offset"] for params in server.params if "$offset" in params]


# Paging


@pytest.mark.parametrize("page_size", [1, 2, 7, 50_000])
@pytest.mark.parametrize("count", [1, 2, 6, 7, 8, 14])
def test_every_row_comes_once_and_in_order(page_size, count):
    answer, server = records(Portal(crimes(count)), page_size)
    assert numbers(answer) == list(range(count))
    assert offsets(server) == []
    assert answer.is_complete


def test_a_full_last_page_is_followed_by_an_empty_one():
    portal = Portal(crimes(4))
    answer, _ = records(portal, page_size=2)
    assert (numbers(answer), portal.pages) == ([0, 1, 2, 3], 3)


def test_a_short_page_is_the_last():
    portal = Portal(crimes(3))
    records(portal, page_size=2)
    assert portal.pages == 2


def test_each_page_is_asked_for_by_the_key_of_the_last_row():
    _, server = records(Portal(crimes(3)), page_size=2)
    window = "(date >= '2026-01-02T00:00:00' and date < '2026-01-03T00:00:00')"
    asked_for = [params["$where"] for params in server.params if "$limit" in params]
    assert asked_for == [window, f"{window} and :id > 'row-0001'"]


def test_only_records_of_the_window_come():
    edges = [
        crime(0, "2026-01-01T23:59:59.999"),
        crime(1, "2026-01-02T00:00:00.000"),
        crime(2, "2026-01-02T23:59:59.999"),
        crime(3, "2026-01-03T00:00:00.000"),
    ]
    answer, _ = records(Portal(edges))
    assert numbers(answer) == [1, 2]


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(0, 23),
    page_size=st.integers(1, 9),
    seed=st.integers(0, 1_000),
)
def test_any_number_of_rows_in_pages_of_any_size_comes_once(count, page_size, seed):
    rows = crimes(count)
    random.Random(seed).shuffle(rows)
    answer, server = records(Portal(rows), page_size)
    assert numbers(answer) == list(range(count))
    assert offsets(server) == []


def test_zero_rows_and_a_count_of_zero_is_a_complete_answer():
    answer, _ = records(Portal([]))
    assert answer.rows.is_empty()
    assert answer.is_complete
    assert answer.rows.columns == [*SYSTEM_COLUMNS, *FEED.column_names, "extra"]
    assert set(answer.rows.dtypes) == {pl.String}


def test_how_far_a_long_window_is_stands_in_the_log(caplog):
    caplog.set_level("INFO", logger="city311_assets")
    records(Portal(crimes(5)), page_size=2)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("city311")]
    assert [message.split(",")[0] for message in told] == [
        "chicago_crimes: 2 of 5 rows",
        "chicago_crimes: 4 of 5 rows",
    ]


def test_a_window_of_one_page_is_not_talked_about_and_counted_once(caplog):
    caplog.set_level("INFO", logger="city311_assets")
    _, server = records(Portal(crimes(5)))
    assert [record for record in caplog.records if record.name.startswith("city311")] == []
    assert [p.get("$select") for p in server.params] == [None, COUNT_AND_CHANGE, ":*,*"]


def test_the_answer_says_when_it_was_asked_for():
    before = datetime.now(UTC).replace(tzinfo=None)
    asked_at: list[datetime] = []
    portal = Portal(
        crimes(1), before=lambda _: asked_at.append(datetime.now(UTC).replace(tzinfo=None))
    )
    answer, _ = records(portal)
    assert before <= answer.observed_until <= asked_at[0]


def test_the_app_token_goes_with_every_request():
    with asking(Portal(crimes(3)), page_size=2, token="t-1") as (socrata, server):  # noqa: S106
        socrata.records(DAY, NEXT)
    assert {asked.headers.get("x-app-token") for asked in server.asked} == {"t-1"}


# Reconciliation


def test_a_count_that_differs_once_is_settled_by_paging_with_offsets():
    answer, server = records(Portal(crimes(5), false_counts=[6]))
    assert numbers(answer) == [0, 1, 2, 3, 4]
    assert offsets(server) == ["0"]


def test_a_count_that_differs_twice_is_an_error_with_both_numbers():
    with pytest.raises(IncompleteWindowError, match=r"5 rows .*counts 9.*nothing was written"):
        records(Portal(crimes(5), false_counts=[8, 9]))


@pytest.mark.parametrize("told", [1, 4])
def test_a_count_below_the_rows_is_an_error_too(told):
    with pytest.raises(IncompleteWindowError, match=rf"5 rows .*counts {told}"):
        records(Portal(crimes(5), false_counts=[told, told]))


def test_zero_rows_where_the_count_says_otherwise_is_an_error():
    with pytest.raises(IncompleteWindowError, match=r"0 rows .*2026-01-02.*counts 812"):
        records(Portal([], false_counts=[812, 812]))


def test_a_row_that_appears_behind_the_key_is_caught_by_the_count():
    portal = Portal(crimes(5)[1:])

    def appear(page: int) -> None:
        if page == 2:
            portal.rows.append(crime(0))

    portal.before = appear
    answer, server = records(portal, page_size=2)
    assert numbers(answer) == [0, 1, 2, 3, 4]
    assert offsets(server) != []


def test_a_row_that_appears_before_its_page_comes_with_it_and_is_read_again_in_peace():
    portal = Portal(crimes(4))

    def appear(page: int) -> None:
        if page == 2:
            portal.rows.append(crime(9))

    portal.before = appear
    answer, server = records(portal, page_size=2)
    assert numbers(answer) == [0, 1, 2, 3, 9]
    assert offsets(server) == ["0", "2", "4"]


def test_a_row_withdrawn_after_its_page_is_caught_by_the_count():
    portal = Portal(crimes(5))

    def withdraw(page: int) -> None:
        if page == 2:
            del portal.rows[0]

    portal.before = withdraw
    answer, server = records(portal, page_size=2)
    assert numbers(answer) == [1, 2, 3, 4]
    assert offsets(server) != []


def changed(row: Row, **more: object) -> Row:
    """Return a row as it is after a change."""
    return row | {":updated_at": "2026-01-05T00:00:00.000Z", **more}


def test_a_row_that_went_and_one_that_came_behind_the_key_are_caught_by_the_newest_change():
    portal = Portal(crimes(6)[1:])

    def swap(page: int) -> None:
        if page == 2:
            portal.rows[0] = changed(crime(0))

    portal.before = swap
    answer, server = records(portal, page_size=2)
    assert numbers(answer) == [0, 2, 3, 4, 5]
    assert offsets(server) != []


def test_a_row_that_changed_behind_the_key_is_fetched_as_it_is_now():
    portal = Portal(crimes(5))

    def update(page: int) -> None:
        if page == 2:
            portal.rows[0] = changed(portal.rows[0], primary_type="ARSON")

    portal.before = update
    answer, server = records(portal, page_size=2)
    assert answer.rows["primary_type"].to_list() == ["ARSON", *["THEFT"] * 4]
    assert offsets(server) != []


def test_a_change_outside_the_window_is_no_reason_to_ask_again():
    portal = Portal([*crimes(5), crime(9, "2026-01-09T09:00:00.000")])

    def update(page: int) -> None:
        if page == 2:
            portal.rows[5] = changed(portal.rows[5])

    portal.before = update
    answer, server = records(portal, page_size=2)
    assert numbers(answer) == [0, 1, 2, 3, 4]
    assert offsets(server) == []


ANEW = ["row-0009", "row-0008", "row-0000", "row-0007", "row-0001", "row-0006"]


def test_a_dataset_loaded_anew_between_two_pages_is_fetched_again_though_the_count_is_right():
    portal = Portal(crimes(6))

    def reload(page: int) -> None:
        if page == 2:
            portal.rows = [
                changed(row, **{":id": new}) for row, new in zip(portal.rows, ANEW, strict=True)
            ]

    portal.before = reload
    answer, server = records(portal, page_size=2)
    assert sorted(numbers(answer)) == [0, 1, 2, 3, 4, 5]
    assert offsets(server) == ["0", "2", "4", "6"]


def test_a_dataset_loaded_anew_in_both_tries_is_an_error_though_the_count_is_right():
    portal = Portal(crimes(6))
    loads = {2: ANEW, 6: [f"row-100{number}" for number in range(6)]}

    def reload(page: int) -> None:
        for row, new in zip(portal.rows, loads.get(page, ()), strict=page in loads):
            row |= {":id": new, ":updated_at": f"2026-02-0{page}T00:00:00.000Z"}

    portal.before = reload
    with pytest.raises(
        IncompleteWindowError, match=r"6 rows came .* while the dataset was changed"
    ):
        records(portal, page_size=2)


def test_a_dataset_that_never_rests_is_held_as_counted_at_the_second_try():
    portal = Portal(crimes(5))

    def update(page: int) -> None:
        if page > 1:
            stamp = f"2026-01-05T00:00:{page:02}.000Z"
            portal.rows[0] = crime(0, **{":updated_at": stamp})

    portal.before = update
    answer, _ = records(portal, page_size=2)
    assert numbers(answer) == [0, 1, 2, 3, 4]


def test_why_a_window_is_fetched_again_stands_in_the_log(caplog):
    records(Portal(crimes(5), false_counts=[6]))
    (told,) = [r.getMessage() for r in caplog.records if r.name.startswith("city311")]
    assert told == (
        "chicago_crimes, 2026-01-02 up to 2026-01-03: fetched again, by offset: 5 rows "
        "(5 different) came for 2026-01-02 up to 2026-01-03, but the portal counts 6"
    )


def test_a_server_with_an_order_of_its_own_is_caught_and_read_by_offset():
    def backwards(rows: list[Row]) -> list[Row]:
        return sorted(rows, key=lambda row: row[":id"], reverse=True)

    answer, server = records(Portal(crimes(5), order=backwards), page_size=2)
    assert sorted(numbers(answer)) == [0, 1, 2, 3, 4]
    assert offsets(server) == ["0", "2", "4"]


def test_a_server_without_any_order_is_an_error():
    dice = random.Random(4)
    shuffled = Portal(crimes(9), order=lambda rows: dice.sample(rows, len(rows)))
    with pytest.raises(IncompleteWindowError, match="counts 9"):
        records(shuffled, page_size=2)


def test_a_server_that_repeats_a_row_is_an_error_though_the_number_of_rows_is_right():
    def seam(rows: list[Row]) -> list[Row]:
        rows = sorted(rows, key=lambda row: row[":id"])
        return [rows[0], rows[0], *rows[2:]] if len(rows) > 1 else rows

    with pytest.raises(IncompleteWindowError, match=r"5 rows \(4 different\).*counts 5"):
        records(Portal(crimes(5), order=seam))


def test_a_server_that_ignores_the_key_is_read_by_offset():
    portal = Portal(crimes(5), ignores_key=True)
    answer, server = records(portal, page_size=2)
    assert numbers(answer) == [0, 1, 2, 3, 4]
    assert offsets(server) == ["0", "2", "4"]
    assert portal.pages == 5


def test_a_server_that_ignores_key_and_offset_is_an_error_soon():
    portal = Portal(crimes(5), ignores_key=True, ignores_offset=True)
    with pytest.raises(IncompleteWindowError):
        records(portal, page_size=2)
    assert portal.pages == 4


def test_a_server_that_goes_round_in_circles_is_not_asked_for_ever():
    portal = Portal(crimes(5), ignores_key=True, ignores_offset=True)

    def turned(rows: list[Row]) -> list[Row]:
        first = 2 * portal.pages % len(rows)
        return rows[first:] + rows[:first]

    portal.order = turned
    with pytest.raises(IncompleteWindowError):
        records(portal, page_size=2)


# Columns


def test_the_columns_come_from_the_description_and_not_from_a_page():
    portal = Portal([crime(0, unlisted="x")])
    answer, server = records(portal)
    assert server.asked[0].path == f"/api/views/{FEED.dataset}.json"
    assert answer.undeclared == ()
    assert answer.rows["extra"].to_list() == [None]


@pytest.mark.parametrize("column", FEED.required)
def test_a_required_column_that_is_gone_is_named(column):
    left = [name for name in FEED.column_names if name != column]
    portal = Portal(crimes(1), columns=left)
    with pytest.raises(MissingColumnsError, match=rf"lost the column {column};.*feeds/chicago_cr"):
        records(portal)
    assert portal.pages == 0


def test_all_required_columns_that_are_gone_are_named():
    with pytest.raises(MissingColumnsError, match="lost the column date, primary_type; it now has"):
        records(Portal([], columns=["id", "block"]))


def test_a_column_that_is_not_required_may_go():
    left = [name for name in FEED.column_names if name != "beat"]
    answer, _ = records(Portal(crimes(1), columns=left))
    assert answer.rows["beat"].to_list() == [None]


def test_an_undeclared_column_is_reported_and_kept_in_extra():
    portal = Portal(
        [crime(0, zoning="R1", note="é"), crime(1, zoning=None), crime(2, zoning="")],
        columns=[*FEED.column_names, "zoning", "note"],
    )
    answer, _ = records(portal)
    assert answer.undeclared == ("zoning", "note")
    assert [json.loads(text) if text else None for text in answer.rows["extra"]] == [
        {"zoning": "R1", "note": "é"},
        None,
        {"zoning": ""},
    ]


def test_an_undeclared_column_may_have_any_name():
    names = ["owner's", 'the "zone"', "sp ace", "extra", "select"]
    portal = Portal([crime(0, **dict.fromkeys(names, "v"))], columns=[*FEED.column_names, *names])
    answer, _ = records(portal)
    assert json.loads(answer.rows["extra"][0]) == dict.fromkeys(names, "v")


def test_computed_regions_are_neither_reported_nor_kept():
    region = ":@computed_region_43wa_7qmu"
    portal = Portal([crime(0, **{region: "12"})], columns=[*FEED.column_names, region, ":version"])
    answer, _ = records(portal)
    assert answer.undeclared == ()
    assert answer.rows["extra"].to_list() == [None]
    assert region not in answer.rows.columns


def test_an_absent_key_is_null_and_an_empty_text_is_not():
    answer, _ = records(Portal([crime(0, block=None, beat=""), crime(1, block="001XX W LAKE")]))
    assert answer.rows.select("block", "beat").rows() == [(None, ""), ("001XX W LAKE", None)]


def test_nested_values_are_kept_as_json_text():
    location = {"latitude": "41.8", "human_address": '{"city": "Chicago"}'}
    answer, _ = records(Portal([crime(0, location=location, arrest=True, ward=[1, 2])]))
    (row,) = answer.rows.to_dicts()
    assert json.loads(row["location"]) == location
    assert (row["arrest"], row["ward"]) == ("true", "[1,2]")


def test_the_portals_own_columns_come_with_the_row():
    answer, _ = records(Portal(crimes(1)))
    assert answer.rows.select(SYSTEM_COLUMNS).row(0) == (
        "row-0000",
        "2026-01-03T00:00:00.000Z",
        "2026-01-04T00:00:00.000Z",
    )


@pytest.mark.parametrize("text", ['":id":"zzz"', '":id" : "zzz"', '{":id":"zzz"}', '\\":id":"z"'])
def test_a_value_that_looks_like_a_key_does_not_disturb_paging(text):
    rows = [crime(number, block=text) for number in range(5)]
    answer, server = records(Portal(rows), page_size=2)
    assert numbers(answer) == [0, 1, 2, 3, 4]
    assert answer.rows["block"].to_list() == [text] * 5
    assert offsets(server) == []


# Answers that are not rows


def with_pages_as(reply: Reply) -> Callable[[Asked], Reply]:
    """Return a portal whose description and counts are sound and whose pages are not."""
    sound = Portal(crimes(1))
    return lambda asked: reply if asked.params.get("$select") == ":*,*" else sound(asked)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"error": true, "message": "Internal error"}', id="an error with 200"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b'[{":id": "row-0000", "ward": [1]', id="cut after a bracket"),
        pytest.param(b'[{":id": "row-0000"}, [1]]', id="a list among the rows"),
        pytest.param(b'[{":id": "row-0000", "block": "\xff"}]', id="not UTF-8"),
        pytest.param(b"[1, 2]", id="numbers"),
    ],
)
def test_a_page_that_is_not_a_list_of_rows_is_malformed(body):
    with pytest.raises(MalformedAnswerError, match=r"not a JSON array of objects.*the server said"):
        records(with_pages_as(Reply(body)))


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"error": true, "message": "no"}', b"[{}]"])
def test_a_count_that_is_no_count_is_malformed(body):
    with asking(in_turn(Reply(body))) as (socrata, _), pytest.raises(SourceError):
        socrata.count("1 = 1")


@pytest.mark.parametrize("body", [b'{"error": true, "message": "no"}', b"[{}]", b'[{"day": null}]'])
def test_counts_by_day_that_are_none_are_malformed(body):
    with asking(in_turn(Reply(body))) as (socrata, _), pytest.raises(SourceError):
        socrata.counts_by_day(DAY, NEXT)


@pytest.mark.parametrize("body", [b"[]", b'{"columns": [{}]}', b'{"columns": null}'])
def test_a_description_without_columns_is_malformed(body):
    with asking(in_turn(Reply(body))) as (socrata, _), pytest.raises(SourceError):
        socrata.columns()


# Counts


def test_the_count_is_what_the_portal_says():
    with asking(Portal(crimes(3))) as (socrata, _):
        assert socrata.count(socrata.window(DAY, NEXT)) == 3
        assert socrata.count(socrata.window(NEXT, date(2026, 1, 4))) == 0


def test_counts_by_day_are_of_local_days_and_leave_out_empty_ones():
    rows = [
        crime(0, "2026-01-01T23:59:59.000"),
        crime(1, "2026-01-02T00:00:00.000"),
        crime(2, "2026-01-02T23:59:59.000"),
        crime(3, "2026-01-04T12:00:00.000"),
        crime(4, "2026-01-05T00:00:00.000"),
    ]
    with asking(Portal(rows)) as (socrata, _):
        counts = socrata.counts_by_day(DAY, date(2026, 1, 5))
    assert counts == {DAY: 2, date(2026, 1, 4): 1}


def test_counts_by_value_are_asked_of_a_window_and_say_the_newest():
    body = (
        b'[{"primary_type": "THEFT", "rows": "2", "newest": "2026-01-02T23:59:59.000"},'
        b' {"rows": "1", "newest": "2026-01-02T00:00:00.000"}]'
    )
    with asking(in_turn(Reply(body))) as (socrata, server):
        counted = socrata.counts_by_value("primary_type", DAY, NEXT)
    assert counted.rows() == [
        ("THEFT", 2, datetime(2026, 1, 2, 23, 59, 59)),
        (None, 1, datetime(2026, 1, 2)),
    ]
    (params,) = server.params
    assert params["$group"] == "primary_type"
    assert params["$where"] == socrata.window(DAY, NEXT)


@pytest.mark.parametrize("body", [b'{"error": true}', b"[{}]", b'[{"rows": "1", "newest": "x"}]'])
def test_counts_by_value_that_are_none_are_malformed(body):
    with asking(in_turn(Reply(body))) as (socrata, _), pytest.raises(SourceError):
        socrata.counts_by_value("primary_type", DAY, NEXT)


# Pages as they are


@contextmanager
def files(*bodies: bytes) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.json" for number in range(len(bodies))]
        for path, body in zip(paths, bodies, strict=True):
            path.write_bytes(body)
        yield [str(path) for path in paths]


TEXTS = st.none() | st.text() | st.sampled_from(["null", "NaN", "1e5", "{}", "[1]", "\0", '":id"'])
TABLES = st.lists(st.fixed_dictionaries(dict.fromkeys([":id", "a", "b c", "x", "y'"], TEXTS)))


@settings(max_examples=60, deadline=None)
@given(pages=st.lists(TABLES, min_size=1, max_size=3), is_ascii=st.booleans(), leaves=st.booleans())
def test_any_texts_and_nulls_come_through_unchanged(pages, is_ascii, leaves):
    bodies = [
        json.dumps(
            [{k: v for k, v in row.items() if v is not None or not leaves} for row in page],
            ensure_ascii=is_ascii,
        ).encode()
        for page in pages
    ]
    with files(*bodies) as paths:
        parsed = parse_pages(paths, ["a", "b c"], ["x", "y'"])
    rows = [row for page in pages for row in page]
    assert parsed.select(":id", "a", "b c").to_dicts() == [
        {name: row[name] for name in (":id", "a", "b c")} for row in rows
    ]
    assert [json.loads(text) if text else {} for text in parsed["extra"]] == [
        {name: row[name] for name in ("x", "y'") if row[name] is not None} for row in rows
    ]


def same(held: str | None, published: object) -> bool:
    """Whether a text holds a published value; nested ones may be spaced otherwise."""
    if published is None or isinstance(published, str):
        return held == published
    return held is not None and json.loads(held) == published


def read_as(
    rows: list[Row], declared: Sequence[str], *bodies: bytes
) -> tuple[pl.DataFrame, list[str]]:
    """Return pages as parsed, and the keys in them that are not declared."""
    unknown = sorted({key for row in rows for key in row} - {*declared, *SYSTEM_COLUMNS})
    with files(*bodies) as paths:
        return parse_pages(paths, declared, unknown), unknown


def lost(rows: list[Row], parsed: pl.DataFrame) -> list[tuple[int, str]]:
    """Return where a value did not arrive, in its column or in `extra`."""
    held = parsed.to_dicts()
    extras = [json.loads(row["extra"]) if row["extra"] else {} for row in held]
    declared = set(parsed.columns) - {"extra"}
    return [
        (number, key)
        for number, row in enumerate(rows)
        for key in declared | set(row)
        if not same(held[number][key] if key in declared else extras[number].get(key), row.get(key))
    ]


@pytest.mark.real
def test_two_real_pages_come_whole(real_data: Path):
    bodies = [(real_data / "socrata_api" / f"bike_counts_page_{n}.json").read_bytes() for n in "12"]
    rows = [row for body in bodies for row in json.loads(body)]
    parsed, unknown = read_as(rows, ["id", "date", "counts", "status"], *bodies)
    assert (parsed.height, unknown, lost(rows, parsed)) == (1_001, [], [])
    assert parsed["date"][-1] == "2016-10-02T01:45:00.000"


@pytest.mark.real
def test_a_real_page_keeps_locations_and_the_byte_order_mark(real_data: Path):
    body = gzip.decompress((real_data / "socrata_api" / "koop_crimes-page.json.gz").read_bytes())
    rows = json.loads(body)
    parsed, unknown = read_as(rows, ["cad_cdw_id", "incident_location", "latitude"], body)
    assert (parsed.height, lost(rows, parsed)) == (1_000, [])
    assert "event_clearance_code" in unknown
    assert json.loads(parsed["incident_location"][0])["latitude"] == "47.658324899"


@pytest.mark.real
def test_a_real_first_row_keeps_its_byte_order_mark(real_data: Path):
    body = (real_data / "socrata_api" / "koop_crimes-first.json").read_bytes()
    parsed, _ = read_as(json.loads(body), ["cad_cdw_id"], body)
    assert parsed["cad_cdw_id"].to_list() == ["\ufeff15736"]


@pytest.mark.real
def test_real_san_francisco_records_come_whole(real_data: Path):
    path = real_data / "sf311" / "sf311_soda_api_records_2021.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    rows = [line["record"] for line in lines if line["type"] == "RECORD"]
    parsed, unknown = read_as(rows, SF_311.column_names, json.dumps(rows).encode())
    assert (parsed.height, unknown, lost(rows, parsed)) == (1_200, [], [])
    open_cases = sum("closed_date" not in row for row in rows)
    assert 0 < open_cases == parsed["closed_date"].null_count()
    assert any(isinstance(row.get("point"), dict) for row in rows)


@pytest.mark.real
def test_real_chicago_requests_come_whole(real_data: Path):
    body = (real_data / "chicago311" / "chi311_v6vf_api_road_2025-12-03.json").read_bytes()
    rows = json.loads(body)
    parsed, unknown = read_as(rows, CHICAGO_311.column_names, body)
    assert (parsed.height, unknown, lost(rows, parsed)) == (673, [], [])
    assert set(parsed["duplicate"].drop_nulls()) <= {"true", "false"}


@pytest.mark.real
def test_keys_a_feed_does_not_declare_are_kept_in_extra(real_data: Path):
    body = (real_data / "chicago311" / "chi311_v6vf_api_road_2025-12-03.json").read_bytes()
    rows = json.loads(body)
    parsed, unknown = read_as(rows, CHICAGO_311.column_names[:8], body)
    assert "location" in unknown
    kept = json.loads(parsed["extra"][0])
    assert json.loads(kept["location"]) == rows[0]["location"]
    assert kept["ward"] == rows[0]["ward"]


@pytest.mark.real
def test_a_real_description_gives_the_columns(real_data: Path):
    view = (real_data / "socrata_api" / "koop_crimes-views.json").read_bytes()
    with (
        asking(in_turn(Reply(view))) as (socrata, _),
        pytest.raises(MissingColumnsError, match=r"lost the column date, id, primary_type; .*cad"),
    ):
        socrata.columns()


# Boundaries


def features(reply: Reply) -> tuple[list[dict[str, object]], Server]:
    patience = Patience(attempts=1)
    with (
        answering(in_turn(reply)) as server,
        SocrataBoundaries(server.url, app_token="t-1", patience=patience) as portal,  # noqa: S106
    ):
        return portal.features("igwz-8jzy"), server


AREA = {
    "type": "Feature",
    "properties": {"community": "LOOP"},
    "geometry": {"type": "Point", "coordinates": [-87.6, 41.9]},
}


def test_boundaries_are_the_features_of_the_dataset():
    found, server = features(saying({"type": "FeatureCollection", "features": [AREA, AREA]}))
    assert found == [AREA, AREA]
    (asked,) = server.asked
    assert (asked.path, asked.headers["x-app-token"]) == ("/resource/igwz-8jzy.geojson", "t-1")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([{"the_geom": "x"}], id="rows"),
        pytest.param({"error": True, "message": "no"}, id="an error with 200"),
        pytest.param({"type": "FeatureCollection", "features": []}, id="no feature"),
        pytest.param({"type": "FeatureCollection", "features": None}, id="null"),
        pytest.param({}, id="nothing"),
    ],
)
def test_an_answer_without_features_is_malformed(value):
    with pytest.raises(MalformedAnswerError, match=r"igwz-8jzy\.geojson: .*not a GeoJSON feature"):
        features(saying(value))


def test_boundaries_that_are_refused_say_why():
    with pytest.raises(RequestRefusedError, match="Cannot find view"):
        features(saying({"message": "Cannot find view with id igwz-8jzy"}, 404))


@pytest.mark.real
def test_a_real_collection_is_understood(real_data: Path):
    found, _ = features(
        Reply((real_data / "socrata_api" / "koop_schools-geojson.json").read_bytes())
    )
    assert len(found) == 80
    assert {feature["type"] for feature in found} == {"Feature"}
