"""What every fault of a source leads to: real runs against a city that misbehaves.

A run either stores exactly what the source holds, or fails and leaves the slice as it was.
`make faults` writes docs/faults.md from what the runs did; otherwise each is compared with it.
"""

import datetime as dt
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import httpx
import pytest

from city311_assets.bronze.boundaries import boundaries
from city311_assets.bronze.records import records
from city311_assets.bronze.sources import Sources
from city311_assets.bronze.weather import weather
from city311_assets.feeds.chicago_311 import CHICAGO
from city311_assets.feeds.sf_311 import SAN_FRANCISCO, SF_311
from city311_assets.partitions import Slice, range_tags
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import (
    BOUNDARIES,
    RECORDS,
    WEATHER,
    WITHDRAWN_RECORDS,
)
from city311_assets.warehouse.tables.table import Table
from city311_assets_tests.portals import NOW, Declared, Portals, failure, portals

PAGE = Path(__file__).parents[1] / "docs" / "faults.md"
BRONZE = RECORDS["sf_311"]
DAY = dt.date(2026, 1, 2)
FIRST, LAST = dt.date(2026, 6, 9), dt.date(2026, 6, 10)
PAGE_SIZE, TRIES = 4, 3

Plan = list[dict[str, object]]


def case(number: int, note: str) -> dict[str, str | None]:
    """Return one case: all are opened, and were changed, in the same second."""
    return {
        ":updated_at": "2026-01-03T00:00:00.000Z",
        "service_request_id": str(number),
        "requested_datetime": f"{DAY}T09:00:00.000",
        "service_name": "Graffiti",
        "agency_responsible": "Public Works",
        "status_notes": note,
    }


HELD = [case(number, "held") for number in range(9)]
PUBLISHED = [case(number, "now") for number in range(1, 10)]


def noted(changes: dict[str, str | None] | None = None) -> list[tuple[object, ...]]:
    """Return the rows published, as (record, note), with some changed or added, or (None) gone."""
    notes: dict[str, str | None] = {str(number): "now" for number in range(1, 10)}
    return sorted((r, n) for r, n in (notes | (changes or {})).items() if n is not None)


@dataclass(frozen=True)
class Source:
    """What is fetched from one kind of source, held before and published now."""

    title: str
    about: str
    declared: Declared
    tables: tuple[Table, ...]
    part: Slice | str
    stored: str
    published: Sequence[tuple[object, ...]]
    first: dt.date | None = None
    last: dt.date | None = None


RECORDS_OF_A_DAY = Source(
    title="Records of a day",
    about="Nine records are published, all opened and changed in the same second, in pages of "
    "four. Nine are held from an earlier run, each of them otherwise; what is not returned any "
    "more is kept in `bronze.withdrawn_records`.",
    declared=records(SF_311),
    tables=(BRONZE, WITHDRAWN_RECORDS),
    part=Slice("sf_311", DAY, DAY + dt.timedelta(days=1)),
    stored=f"select record_id, status_notes from {BRONZE} order by all",
    published=noted(),
    first=DAY,
)
WEATHER_OF_TWO_DAYS = Source(
    title="Weather of two days",
    about="The archive knows both days; held are the two rows of a time when it knew neither.",
    declared=weather(CHICAGO),
    tables=(WEATHER,),
    part=Slice("chicago", FIRST, LAST + dt.timedelta(days=1), "city"),
    stored=f"select day::varchar, temperature_min_c is not null from {WEATHER} order by all",
    published=[(str(FIRST), True), (str(LAST), True)],
    first=FIRST,
    last=LAST,
)
AREAS = Source(
    title="Boundaries",
    about="The areas of one city, in two datasets; the same are held.",
    declared=boundaries(SAN_FRANCISCO),
    tables=(BOUNDARIES,),
    part="san_francisco",
    stored=f"select areas, count(*) > 5 from {BOUNDARIES} group by areas order by all",
    published=[("district", True), ("neighborhood", True)],
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and what is to come of it.

    `way` is how a complete answer is come by; a run that fails `says` something instead. `rows` are
    those to be stored, where not those published.
    """

    does: str
    plan: Plan
    way: str = ""
    says: str = ""
    rows: Sequence[tuple[object, ...]] | None = None
    patience: dict[str, float] = field(default_factory=dict)
    source: Source = RECORDS_OF_A_DAY


AT_ONCE, AGAIN = "complete at once", "asked again, complete"
BY_OFFSET = "fetched again by offset, complete"
UNTIL_PAGE_2: dict[str, object] = {"skip": 1, "times": 1}


def one(kind: str, **said: object) -> Plan:
    """Return a plan of one fault."""
    return [{"kind": kind, **said}]


def passing(does: str, says: str, kind: str, patience: str = "") -> list[Fault]:
    """Return a fault that happens to one page, and one that happens to everything for ever.

    Where it takes `patience`, there is enough of it for good answers on a busy machine.
    """
    enough, little = ({patience: 0.4}, {patience: 0.1}) if patience else ({}, {})
    return [
        Fault(f"{does}, once", one(kind, query="pages", times=1), way=AGAIN, patience=enough),
        Fault(f"{does}, for ever", one(kind), says=says, patience=little),
    ]


FAULTS = [
    Fault("Nothing is wrong; the rows tie in every time, also where a page ends", [], way=AT_ONCE),
    Fault(
        "429 with `Retry-After`, twice",
        one("status", status=429, retry_after="3600", times=2),
        way=AGAIN,
    ),
    Fault(
        "429 for ever", one("status", status=429, retry_after="3600"), says="status 429 in 3 tries"
    ),
    Fault(
        "202 still processing, twice", one("status", status=202, query="pages", times=2), way=AGAIN
    ),
    Fault(
        "202 still processing, for ever", one("status", status=202), says="status 202 in 3 tries"
    ),
    Fault(
        "500, then 502 on the same page",
        [*one("status", status=500, times=1), *one("status", status=502, times=1)],
        way=AGAIN,
    ),
    Fault("503 for one request in three", one("status", status=503, share=0.33, seed=6), way=AGAIN),
    Fault(
        "503 for ever, from the second page on",
        one("status", status=503, skip=1, query="pages"),
        says="status 503 in 3 tries",
    ),
    *(
        Fault(
            f"{status} with a message", one("status", status=status), says=f"status {status}; the s"
        )
        for status in (400, 403, 404)
    ),
    Fault(
        "404 on the second page",
        one("status", status=404, query="pages", skip=1),
        says="status 404",
    ),
    Fault(
        "A redirection to a private address",
        one("redirect", location="http://169.254.169.254/latest/meta-data/?role=x"),
        says="status 302 to http://169.254.169.254/latest/meta-data/, which is not followed",
    ),
    Fault(
        "A redirection to a login page, with status 307",
        one("redirect", location="/login", status=307, query="counts"),
        says="status 307 to .*/login, which is not followed",
    ),
    *passing(
        "No answer at all", r"no answer \(ReadTimeout\) in 3 tries", "silent", "timeout_seconds"
    ),
    Fault("An answer that is late", one("late", seconds=0.1, query="pages", times=1), way=AT_ONCE),
    *passing(
        "A body that drips and never ends",
        "no whole answer within 0.1 s in 3 tries",
        "drip",
        "longest_answer_seconds",
    ),
    *passing("The connection is closed without a word", "RemoteProtocolError", "hangs_up"),
    *passing("The connection is closed within the body", "RemoteProtocolError", "cut_body"),
    *passing("Half of the JSON, announced as the whole", "without whole JSON", "truncated_json"),
    *passing(
        "A web page with status 200", r"without whole JSON.*text/html.*be back soon", "web_page"
    ),
    Fault("A byte-order mark before the body", one("byte_order_mark"), way=AT_ONCE),
    Fault(
        "A byte-order mark inside a value",
        one("byte_order_mark", column="status_notes", query="pages", times=1),
        way=AT_ONCE,
        rows=noted({"1": "\ufeffnow"}),
    ),
    Fault(
        "An empty first page where the count says otherwise, once",
        one("empty_page", times=1),
        way=BY_OFFSET,
    ),
    Fault(
        "An empty last page where the count says otherwise, once",
        one("empty_page", skip=2, times=1),
        way=BY_OFFSET,
    ),
    Fault(
        "Empty pages where the count says otherwise, for ever",
        one("empty_page"),
        says="0 rows .*counts 9",
    ),
    Fault(
        "Empty pages, and a count of zero: the day has become empty",
        [*one("empty_page"), *one("count_off", by=-9)],
        way=AT_ONCE,
        rows=[],
    ),
    Fault("`$order` is ignored", one("order_ignored"), way=BY_OFFSET),
    Fault(
        "`$order` is ignored, and each page finds another order",
        one("order_ignored", is_steady=False, seed=3),
        says=r"rows \(\d different\) came .* the portal counts 9",
    ),
    Fault("The key to go on after is ignored", one("key_ignored"), way=BY_OFFSET),
    Fault(
        "Key and `$offset` are ignored",
        [*one("key_ignored"), *one("offset_ignored")],
        says="the portal counts 9",
    ),
    Fault("Pages are cut to three rows", one("page_capped", rows=3), says="3 rows .*counts 9"),
    Fault("A row comes twice on a page, once", one("row_repeated", times=1), way=BY_OFFSET),
    Fault(
        "A row comes twice in place of the next, once",
        one("row_repeated", is_in_place=True, times=1),
        way=BY_OFFSET,
    ),
    Fault(
        "A row comes twice in place of the next, for ever",
        one("row_repeated", is_in_place=True),
        says=r"rows \(7 different\) came .* the portal counts 9",
    ),
    *(
        Fault(
            f"{where} is deleted between two pages",
            one("row_deleted", position=position, **UNTIL_PAGE_2),
            way=BY_OFFSET,
            rows=noted({str(position + 1): None}),
        )
        for position, where in (
            (0, "A row of the page before"),
            (3, "The last row of the page before"),
            (4, "The first row of the page to come"),
        )
    ),
    *(
        Fault(
            f"A row is added between two pages, {where}",
            one("row_added", position=position, values={"service_request_id": "A"}, **UNTIL_PAGE_2),
            way=BY_OFFSET,
            rows=noted({"A": "now"}),
        )
        for position, where in ((0, "on the page before"), (3, "at the edge"), (8, "at the end"))
    ),
    *(
        Fault(
            f"{where} is updated between two pages",
            one("row_updated", position=position, values={"status_notes": "done"}, **UNTIL_PAGE_2),
            way=BY_OFFSET,
            rows=noted({str(position + 1): "done"}),
        )
        for position, where in (
            (0, "A row of the page before"),
            (3, "The last row of the page before"),
            (4, "The first row of the page to come"),
        )
    ),
    Fault(
        "A row moves to another day between two pages",
        one(
            "row_updated",
            position=0,
            values={"requested_datetime": "2026-01-05T09:00:00.000"},
            **UNTIL_PAGE_2,
        ),
        way=BY_OFFSET,
        rows=noted({"1": None}),
    ),
    Fault(
        "A row is deleted and another added on the page before; the count stays",
        [
            *one("row_deleted", position=0, **UNTIL_PAGE_2),
            *one("row_added", position=0, values={"service_request_id": "A"}, **UNTIL_PAGE_2),
        ],
        way=BY_OFFSET,
        rows=noted({"1": None, "A": "now"}),
    ),
    Fault(
        "A row is updated before every page",
        one("row_updated", position=0, values={"status_notes": "done"}, skip=1),
        way=BY_OFFSET,
        rows=noted({"1": "done"}),
    ),
    Fault(
        "The dataset is loaded anew between two pages",
        one("dataset_reloaded", **UNTIL_PAGE_2),
        way=BY_OFFSET,
    ),
    Fault(
        "The dataset is loaded anew before every page",
        one("dataset_reloaded"),
        says="came .* while the dataset was changed|came .* the portal counts 9",
    ),
    Fault(
        "The count is two too high, once", one("count_off", by=2, times=1, skip=1), way=BY_OFFSET
    ),
    Fault(
        "The count is two too high, for ever",
        one("count_off", by=2),
        says=r"9 rows \(9 different\) came .* the portal counts 11",
    ),
    Fault(
        "The count is two too low, for ever",
        one("count_off", by=-2),
        says=r"9 rows \(9 different\) came .* the portal counts 7",
    ),
    Fault(
        "The count is none, for ever",
        one("count_off", by=-9),
        says="rows .*came .* the portal counts 0",
    ),
    Fault(
        "The count is no number",
        one("other_json", body=[{"rows": "many"}], query="counts"),
        says="no count of rows",
    ),
    Fault(
        "A page is an object, not an array",
        one("other_json", body={"data": []}, query="pages"),
        says="a page is not a JSON array of objects",
    ),
    Fault(
        "A page is an array of numbers",
        one("other_json", body=[1, 2], query="pages"),
        says="a page is not a JSON array of objects",
    ),
    Fault(
        "A required column vanishes",
        one("column_vanished", column="service_name"),
        says="lost the column service_name; it now has .*mend feeds/sf_311.py",
    ),
    Fault(
        "A column that is not required vanishes",
        one("column_vanished", column="agency_responsible"),
        way=AT_ONCE,
    ),
    Fault(
        "An undeclared column appears",
        one("column_appeared", column="mood", value="grim"),
        way=AT_ONCE,
    ),
    Fault(
        "The view names no columns",
        one("other_json", body={"id": "vw6y-z8j6"}, query="columns"),
        says="no description of columns",
    ),
    *(
        Fault(
            fault.does,
            fault.plan,
            fault.way,
            fault.says,
            fault.rows,
            fault.patience,
            WEATHER_OF_TWO_DAYS,
        )
        for fault in (
            Fault("Nothing is wrong", [], way=AT_ONCE),
            Fault("503, twice", one("status", status=503, times=2), way=AGAIN),
            Fault(
                "400 with a reason",
                one("status", status=400, message="Parameter 'start_date' is out of allowed range"),
                says="status 400; the server said: Parameter 'start_date' is out of allowed range",
            ),
            Fault(
                "429 for ever",
                one("status", status=429, message="Minutely API request limit exceeded"),
                says="status 429 in 3 tries.*Minutely",
            ),
            Fault(
                "The last day is null",
                one("weather_nulls", days=1),
                way=AT_ONCE,
                rows=[(str(FIRST), True), (str(LAST), False)],
            ),
            Fault(
                "The last day does not come",
                one("weather_days_missing", days=1),
                says="1 days came for the 2 from 2026-06-09; missing: 2026-06-10",
            ),
            Fault(
                "No day comes",
                one("weather_days_missing", days=2),
                says="no temperature_2m_min for every day",
            ),
            Fault(
                "Degrees Fahrenheit",
                one("weather_unit", variable="temperature_2m_min", unit="°F"),
                says="temperature_2m_min came in '°F', not in '°C'",
            ),
            Fault(
                "JSON without daily values",
                one("other_json", body={"hourly": {}}),
                says="no daily values",
            ),
            Fault("A web page with status 200, once", one("web_page", times=1), way=AGAIN),
            Fault(
                "A body that drips and never ends",
                one("drip"),
                says="no whole answer within 0.1 s",
                patience={"longest_answer_seconds": 0.1},
            ),
            Fault(
                "A redirection",
                one("redirect", location="http://10.0.0.7/"),
                says="status 302 to http://10.0.0.7/, which",
            ),
        )
    ),
    *(
        Fault(fault.does, fault.plan, fault.way, fault.says, fault.rows, fault.patience, AREAS)
        for fault in (
            Fault("502, once", one("status", status=502, times=1), way=AGAIN),
            Fault(
                "404 on the second dataset", one("status", status=404, skip=1), says="status 404"
            ),
            Fault(
                "No features",
                one("other_json", body={"type": "FeatureCollection", "features": []}),
                says="not a GeoJSON feature collection with features",
            ),
            Fault(
                "A web page with status 200, for ever", one("web_page"), says="without whole JSON"
            ),
        )
    ),
]


@pytest.fixture(scope="module")
def city() -> Iterator[Portals]:
    """A city of its own, to be misbehaved by."""
    with portals() as served:
        yield served


@pytest.fixture(scope="module")
def line(city: Portals) -> Iterator[httpx.Client]:
    """What changes the city's plan of faults and its clock."""
    with httpx.Client(base_url=city.url, timeout=30) as client:
        yield client


def sources(
    city: Portals, timeout_seconds: float = 5.0, longest_answer_seconds: float = 60.0
) -> Sources:
    """Return sources that ask the city in small pages and hardly wait."""
    asked = city.sources
    return Sources(
        origin=asked.origin,
        portal_url=asked.portal_url,
        weather_archive_url=asked.weather_archive_url,
        weather_forecast_url=asked.weather_forecast_url,
        page_size=PAGE_SIZE,
        attempts=TRIES,
        longest_wait_seconds=0.001,
        timeout_seconds=timeout_seconds,
        longest_answer_seconds=longest_answer_seconds,
    )


def fetch(
    source: Source, warehouse: Warehouse, found: Sources, instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    """Run the assets of a source, without their checks."""
    return dg.materialize(
        [one for one in source.declared if not isinstance(one, dg.AssetChecksDefinition)],
        resources={"warehouse": warehouse, "sources": found},
        tags=range_tags(source.first, source.last or source.first) if source.first else None,
        instance=instance,
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def contents(source: Source, warehouse: Warehouse) -> list[tuple[int, int]]:
    """Return the content of a source's slices."""
    return [warehouse.content_hash(table, source.part) for table in source.tables]


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """One instance for all runs: making one takes longer than a run."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture(scope="module")
def held(
    city: Portals,
    line: httpx.Client,
    instance: dg.DagsterInstance,
    tmp_path_factory: pytest.TempPathFactory,
) -> Warehouse:
    """A warehouse that holds what the sources said some days ago."""
    warehouse = Warehouse(database=str(tmp_path_factory.mktemp("held") / "warehouse.duckdb"))
    city.publish(SF_311, *HELD)
    line.put("/clock", json={"now": str(NOW - dt.timedelta(days=3))})
    for source in (RECORDS_OF_A_DAY, WEATHER_OF_TWO_DAYS, AREAS):
        assert fetch(source, warehouse, sources(city), instance).success
    line.put("/clock", json={"now": str(NOW)})
    return warehouse


def outcome(result: dg.ExecuteInProcessResult, logged: Sequence[str], city: Portals) -> str:
    """Return how a run ended, in the words of the page."""
    asked_again = sum("asking again" in message for message in logged)
    by_offset = sum("by offset" in message for message in logged)
    if result.success:
        ways = [AGAIN] * bool(asked_again) + [BY_OFFSET] * bool(by_offset)
        return " and ".join(ways) or AT_ONCE
    said = failure(result).split(": ", 1)[1].strip()
    for feed_city in (SAN_FRANCISCO, CHICAGO):
        said = said.replace(f"{city.url}/portals/{feed_city.portal}", f"https://{feed_city.portal}")
    said = said.replace(f"{city.url}/weather", "https://archive-api.open-meteo.com")
    said = said.replace(city.url, "https://…")
    for volatile, steady in (
        (r"request id \w+", "request id …"),
        (r"received \d+ bytes, expected \d+", "received … bytes, expected …"),
        (r'"/\S+/(\d+\.json)"', r"\1"),
        (r"it now has .*;", "it now has …;"),
    ):
        said = re.sub(volatile, steady, said)
    when = "after every try" if asked_again or by_offset else "at once"
    return f"failed {when}: {said}"


def row_of(fault: Fault, ended: str, rows: int, is_same: bool) -> str:
    """Return a fault's row of the page."""
    stored = "the held slice, unchanged" if is_same else f"{rows}, as the source has them"
    cells = (fault.does, ended, stored)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


FOUND: dict[int, str] = {}


@pytest.mark.parametrize(
    "number", range(len(FAULTS)), ids=[f"{f.source.title}: {f.does}" for f in FAULTS]
)
def test_a_run_stores_exactly_what_there_is_or_leaves_what_there_was(
    number: int,
    city: Portals,
    line: httpx.Client,
    held: Warehouse,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
):
    fault, warehouse = FAULTS[number], Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    shutil.copy(held.path, warehouse.path)
    source = fault.source
    city.publish(SF_311, *PUBLISHED)
    line.put("/faults", json=fault.plan).raise_for_status()
    caplog.set_level(logging.INFO, logger="city311_assets")
    result = fetch(source, warehouse, sources(city, **fault.patience), instance)
    happened = [told["happened"] for told in line.get("/faults").json()]
    line.put("/faults", json=[]).raise_for_status()
    assert all(happened)
    logged = [r.getMessage() for r in caplog.records if r.name.startswith("city311_assets")]
    ended = outcome(result, logged, city)
    stored = warehouse.read(source.stored).rows()
    if fault.says:
        assert re.search(fault.says, ended), ended
        assert contents(source, warehouse) == contents(source, held)
    else:
        assert ended == fault.way
        assert stored == list(source.published if fault.rows is None else fault.rows)
    FOUND[number] = row_of(fault, ended, len(stored), is_same=bool(fault.says))
    if not request.config.getoption("--faults-page"):
        assert FOUND[number] in PAGE.read_text().splitlines(), "run `make faults`"


def page() -> str:
    """Return the page of all that was found."""
    lines = [
        "# Faults",
        "",
        "What a source may do, and what becomes of it: a run either stores exactly the rows there",
        "are, or fails and leaves the slice as it was. Every row is a real run against the sample",
        f"city, asked {TRIES} times at most. `make faults` runs them and writes this page.",
    ]
    for source in (RECORDS_OF_A_DAY, WEATHER_OF_TWO_DAYS, AREAS):
        found = [FOUND[number] for number, fault in enumerate(FAULTS) if fault.source is source]
        lines += ["", f"## {source.title}", "", source.about, ""]
        lines += ["| the source | the run | rows stored |", "| --- | --- | --- |", *found]
    return "\n".join(lines) + "\n"


def test_the_page_tells_these_faults_and_no_others(request: pytest.FixtureRequest):
    path = request.config.getoption("--faults-page")
    if path:
        assert len(FOUND) == len(FAULTS), "the page is written by one process that runs them all"
        Path(path).write_text(page(), "utf-8")
    told = re.findall(r"^\| (.+?) \|", PAGE.read_text(), re.MULTILINE)
    titles = [title for title in told if title not in {"the source", "---"}]
    assert titles == [fault.does for fault in FAULTS]
