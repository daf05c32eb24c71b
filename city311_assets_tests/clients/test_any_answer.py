"""Whatever a portal, the weather service or a file says is an answer or an error of ours."""

import gzip
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from city311_assets.bronze.boundaries import area_rows
from city311_assets.bronze.records import bronze_rows
from city311_assets.clients.errors import SourceError
from city311_assets.clients.http import Patience
from city311_assets.clients.open_meteo import OpenMeteo
from city311_assets.clients.portal_export import ExportRefusedError, PortalExport
from city311_assets.clients.socrata import Answer, Socrata, SocrataBoundaries
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS
from city311_assets_tests.anything import (
    DEEP,
    ODD_TEXTS,
    TEXTS,
    json_bodies,
    json_values,
    some,
    spoilt,
)
from city311_assets_tests.clients.answers import Asked, Reply, answering, saying

FEED, CITY = SF_311, SF_311.city
AREAS = CITY.boundaries[0]
DAY, NEXT = date(2026, 1, 2), date(2026, 1, 3)
EVER = (date(1, 1, 1), date(9999, 12, 31))
ONCE = Patience(attempts=1, timeout_seconds=20)
DEEPLY = b"[" * DEEP + b"]" * DEEP

Question = Callable[["Said"], object]


class Said:
    """A service that says what it is told to, and the clients of it."""

    def __init__(self, url: str) -> None:
        self.reply = Reply()
        self.rows: bytes | None = None
        self.socrata = Socrata(FEED, url, patience=ONCE, page_size=2)
        self.areas = SocrataBoundaries(url, patience=ONCE)
        self.weather = OpenMeteo(url, url, patience=ONCE)

    def script(self, asked: Asked) -> Reply:
        """Say the reply; of a whole window only the rows are what is told, the rest is in order."""
        if self.rows is None:
            return self.reply
        if asked.path.startswith("/api/views"):
            return saying({"columns": [{"fieldName": name} for name in FEED.column_names]})
        if asked.params["$select"].startswith("count(*)"):
            return saying([{"rows": "1", "changed_at": "x"}])
        return Reply(self.rows)


@pytest.fixture(scope="module")
def said() -> Iterator[Said]:
    """One service for all examples."""
    held: list[Said] = []

    def script(asked: Asked) -> Reply:
        return held[0].script(asked)

    with answering(script) as server:
        one = Said(server.url)
        held.append(one)
        with one.socrata, one.areas, one.weather:
            yield one


def areas_of(said: Said) -> pl.DataFrame:
    """Ask for boundaries, and make rows of them as bronze does."""
    return area_rows(said.areas.features("abcd-1234"), AREAS)


QUESTIONS: dict[str, tuple[Question, tuple[str, ...]]] = {
    "columns": (lambda one: one.socrata.columns(), ("columns", "fieldName")),
    "count": (lambda one: one.socrata.count("x"), ("rows",)),
    "counts by day": (lambda one: one.socrata.counts_by_day(*EVER), ("day", "rows")),
    "changes": (
        lambda one: one.socrata.changes_by_day("x", DAY),
        ("day", "rows", "newest"),
    ),
    "counts by value": (
        lambda one: one.socrata.counts_by_value("kind", *EVER),
        ("kind", "rows", "newest"),
    ),
    "boundaries": (
        areas_of,
        ("features", "properties", "geometry", "type", "Polygon", AREAS.name_property),
    ),
    "weather": (
        lambda one: one.weather.archive(CITY, DAY, NEXT),
        ("daily", "daily_units", "time", "temperature_2m_min"),
    ),
}
ONES = {
    "columns": {"columns": [{"fieldName": name} for name in FEED.column_names]},
    "count": [{"rows": "3"}],
    "counts by day": [{"day": "2026-01-02T00:00:00.000", "rows": "3"}],
    "changes": [{"day": "2026-01-02T00:00:00.000", "rows": "3", "newest": "x"}],
    "counts by value": [{"kind": "a", "rows": "3", "newest": "2026-01-02T09:00:00.000"}],
    "boundaries": {"features": [{"properties": {AREAS.name_property: "a"}, "geometry": None}]},
    "weather": {
        "daily_units": {"temperature_2m_min": "°C"},
        "daily": {"time": ["2026-01-02"], "temperature_2m_min": [1]},
    },
}


def area(**geometry: object) -> bytes:
    """Return boundaries of one area with an outline."""
    one = {"properties": {AREAS.name_property: "a"}, "geometry": geometry}
    return json.dumps({"features": [one]}).encode()


@st.composite
def near(draw: st.DrawFn, whole: Any, names: tuple[str, ...]) -> Any:
    """Draw a right answer of which one value is another, or any value with its names in it."""
    if draw(st.integers(0, 2)) == 0:
        return draw(json_values(*names))
    if isinstance(whole, dict) and whole:
        name = draw(st.sampled_from(sorted(whole)))
        return whole | {name: draw(near(whole[name], names))}
    if isinstance(whole, list) and whole:
        return [draw(near(whole[0], names)), *whole[1:]]
    return draw(json_values(*names))


@pytest.mark.parametrize("question", QUESTIONS)
def test_any_answer_is_understood_or_an_error_that_says_so(said: Said, question: str):
    ask, names = QUESTIONS[question]

    @some(12)
    @given(spoilt(json_bodies(near(ONES[question], names))), st.sampled_from([200, 200, 200, 400]))
    @example(DEEPLY, 200)
    @example(DEEPLY, 400)
    @example(b'[{"rows": Infinity, "day": "2026-01-02", "newest": "x"}]', 200)
    @example(b'[{"rows": 1e400, "day": "2026-01-02", "newest": "2026-01-02"}]', 200)
    @example(b'[{"rows": 99999999999999999999, "day": "2026-01-02", "newest": "2026-01-02"}]', 200)
    @example(b'[{"kind": {"a": 1}, "rows": "1", "newest": "2026-01-02"}]', 200)
    @example(b'[{"kind": "\\ud800", "rows": "1", "newest": "2026-01-02"}]', 200)
    @example(b'{"features": [1]}', 200)
    @example(b'{"features": [{"properties": [1], "geometry": "x"}]}', 200)
    @example(area(type=["Polygon"]), 200)
    @example(area(type="Polygon", coordinates=[[[1]]]), 200)
    @example(area(type="Polygon"), 200)
    def holds(body: bytes, status: int) -> None:
        said.reply, said.rows = Reply(body, status), None
        with suppress(SourceError):
            ask(said)

    holds()


def test_a_right_answer_to_each_question_is_understood(said: Said):
    """Else nothing would be shown by answers that are nearly right."""
    for question, (ask, _) in QUESTIONS.items():
        said.reply, said.rows = saying(ONES[question]), None
        if question == "weather":
            with pytest.raises(SourceError, match="temperature_2m_max"):
                ask(said)
        else:
            ask(said)


@st.composite
def pages(draw: st.DrawFn) -> Any:
    """Draw rows as a portal has them, with values of any kind."""
    columns = st.sampled_from([*FEED.column_names, ":updated_at"])
    rows = draw(st.lists(st.dictionaries(columns, json_values(":id"), max_size=4), max_size=2))
    opened = {FEED.opened: draw(TEXTS | st.just("2026-01-02T09:00:00.000"))}
    return [{":id": draw(TEXTS)} | opened | row for row in rows]


@some(15)
@given(spoilt(json_bodies(pages())))
@example(b'[{":id": "\xff"}]')
@example(b'[{":id": "\\ud800"}]')
@example(b'[{":id": "a\\"b"}]')
@example(DEEPLY)
def test_any_page_is_rows_or_an_error_that_says_so(said: Said, body: bytes):
    said.rows = body
    try:
        answer = said.socrata.records(DAY, NEXT)
    except SourceError:
        return
    assert answer.rows.height == 1


@some(15)
@given(
    st.lists(
        st.fixed_dictionaries(dict.fromkeys(FEED.column_names[:6], st.none() | TEXTS)), max_size=4
    )
)
@example([dict.fromkeys(FEED.column_names[:6], text) for text in ODD_TEXTS])
def test_any_text_of_a_page_stands_in_bronze_as_it_was_published(
    warehouse_of_examples: Warehouse, values: list[dict[str, str | None]]
):
    opened = {FEED.opened: "2026-01-02T09:00:00.000"}
    rows = [{":id": f"row-{n}"} | one | opened for n, one in enumerate(values)]
    frame = pl.DataFrame(
        [{name: row.get(name) for name in NAMES} for row in rows],
        schema=dict.fromkeys(NAMES, pl.String),
    )
    stamp = datetime(2026, 1, 3)
    given_rows = bronze_rows(FEED, Answer(frame, stamp, ()), "portal", stamp)
    part = Slice(FEED.name, DAY, NEXT)
    table = RECORDS[FEED.name]
    warehouse_of_examples.replace(table, given_rows, part)
    held = warehouse_of_examples.read(f"from {table} where {table.where} order by row_id", part)
    names = [*FEED.column_names[:6]]
    assert held.select(names).rows() == given_rows.sort("row_id").select(names).rows()
    by_id = {row[":id"]: row for row in rows}
    for row in held.to_dicts():
        told = by_id[row["row_id"]]
        assert [row[name] for name in names] == [told.get(name) for name in names]


NAMES = (":id", ":created_at", ":updated_at", *FEED.column_names, "extra")


@pytest.fixture(scope="module")
def warehouse_of_examples(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """One warehouse for all examples, each of which replaces the slice."""
    return Warehouse(database=str(tmp_path_factory.mktemp("any") / "warehouse.duckdb"))


# Files


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    """A file that is written anew for each example."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "export.csv"


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    """Draw a file of records with columns and values of any name and kind."""
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    separator = draw(st.sampled_from([",", ",", ",", ";", "\t"]))
    quoted = st.sampled_from(["{}", '"{}"', '"{}'])
    more = draw(
        st.lists(st.sampled_from(["_record", "_day", "extra", ":id", "lat"]) | TEXTS, max_size=2)
    )
    header = [*FEED.required, *more]
    usual = st.sampled_from(["1", "2026-01-02T09:00:00", "01/02/2026 09:00:00 AM", "Graffiti"])
    lines = draw(
        st.lists(st.lists(usual | TEXTS, min_size=len(header), max_size=len(header)), max_size=3)
    )
    written = [
        separator.join(draw(quoted).format(text) for text in line) for line in [header, *lines]
    ]
    return end.join([*written, ""]).encode()


@some(40)
@given(spoilt(csv_files()), st.booleans())
@example(f"{','.join(FEED.required)},_record\n1,never,,Graffiti,x\n".encode(), False)
@example(f"{','.join(FEED.required)},a\0b\n1,2026-01-02T09:00:00,,Graffiti,x\n".encode(), False)
@example(b"\n1,2\n", False)
@example(b"", True)
def test_any_file_is_records_or_refused_with_its_name(path: Path, body: bytes, is_packed: bool):
    path.write_bytes(gzip.compress(body) if is_packed else body)
    export = PortalExport(path, FEED)
    try:
        answer = export.records(*EVER)
        assert answer.rows.height == sum(export.counts_by_day(*EVER).values())
        assert export.observed
    except ExportRefusedError as error:
        refused = str(error)
    else:
        extras = [json.loads(text) for text in answer.rows["extra"] if text]
        assert all(set(extra) <= set(export.undeclared) for extra in extras)
        return
    assert str(path) in refused
