"""Real public records from the file or the portal to silver: nothing lost, nothing invented.

Each figure was counted from the extract itself; `../shared/data/real/README.md` names its source.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from city311_assets.bronze.records import write as write_bronze
from city311_assets.bronze.sources import DownloadedFile, Sources
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.gold.cell_days import claims as cell_day_claims
from city311_assets.gold.cell_days import write as write_counts
from city311_assets.partitions import Slice
from city311_assets.silver.assets import common_checks, write
from city311_assets.silver.incidents import incident_rows
from city311_assets.silver.requests import NEITHER_HOURS_NOR_REASON, request_rows
from city311_assets.warehouse.checks import Property
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS as BRONZE
from city311_assets.warehouse.tables.silver import RECORDS as SILVER
from city311_assets_tests.portals import Portals, published

pytestmark = pytest.mark.real

ROWS = {"request": request_rows, "incident": incident_rows}
EVERY_DAY = (date(2000, 1, 1), date(2026, 1, 1))


@dataclass(frozen=True)
class Expected:
    """What one extract holds."""

    file: str
    feed: str
    rows: int
    records: int
    distinct_ids: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    without_point: Mapping[str, int] = field(default_factory=dict)
    closed_before_opened: int = 0
    open: int = 0
    administrative: int = 0
    unmapped: int = 0


IMPORTED = [
    Expected(
        "sf311/sf311_bigquery_10k_2008_2019.csv.gz",
        "sf_311",
        rows=10_000,
        records=10_000,
        distinct_ids=10_000,
        without_point={"zero": 2},
        closed_before_opened=48,
        open=363,
    ),
    Expected(
        "sf311/sf311_bigquery_sewer_2008_2013.csv.gz",
        "sf_311",
        rows=5_347,
        records=5_347,
        distinct_ids=5_347,
        without_point={"zero": 2_191},
        open=33,
    ),
    Expected(
        "sf311/sf311_portal_cleaning_northbeach_2018_2019.csv.gz",
        "sf_311",
        rows=4_209,
        records=4_209,
        distinct_ids=4_209,
        closed_before_opened=4,
    ),
    Expected(
        "chicago311/chi311_v6vf_2021-01-01.csv.gz",
        "chicago_311",
        rows=2_953,
        records=2_953,
        distinct_ids=2_953,
        without_point={"absent": 1},
        open=9,
        administrative=2_107,
    ),
    Expected(
        "chicago311/chi311_sanitation_code_2000_2013.csv.gz",
        "chicago_311",
        rows=55_343,
        records=55_167,
        distinct_ids=55_167,
        rejected={"older_version": 176},
        without_point={"absent": 24},
        open=78,
    ),
    Expected(
        "crimes/chicago_crimes_2025-02.csv.gz",
        "chicago_crimes",
        rows=15_448,
        records=15_448,
        distinct_ids=15_448,
        without_point={"absent": 10},
    ),
]
REPLAYED = [
    Expected(
        "sf311/sf311_soda_api_records_2021.jsonl.gz",
        "sf_311",
        rows=1_200,
        records=1_200,
        distinct_ids=1_200,
        without_point={"zero": 20},
        open=490,
    ),
    Expected(
        "chicago311/chi311_v6vf_api_road_2025-12-03.json",
        "chicago_311",
        rows=673,
        records=673,
        distinct_ids=673,
        open=357,
    ),
    Expected(
        "crimes/chicago_crimes_2018-01_2018-08.parquet",
        "chicago_crimes",
        rows=156_385,
        records=156_385,
        distinct_ids=156_385,
    ),
]


def bring(warehouse: Warehouse, feed: Feed, sources: Sources) -> tuple[Slice, pl.DataFrame]:
    """Bring every record of a source through bronze to silver; return silver's rows."""
    part = Slice(feed.name, *EVERY_DAY)
    with sources.records_of(feed) as source:
        answer = source.records(part.start, part.end)
    with warehouse.transaction() as session:
        write_bronze(session, feed, answer, sources.origin, part)
    return part, write(warehouse, feed, SILVER[feed.table], ROWS[feed.kind], part)[0]


def compare(warehouse: Warehouse, part: Slice, rows: pl.DataFrame, expected: Expected) -> None:
    """Assert that silver holds what the extract held, and that every check would pass."""
    feed = FEEDS[expected.feed]
    bronze = BRONZE[feed.name]
    assert warehouse.content_hash(bronze, part)[0] == expected.rows
    aside = warehouse.read("select reason, count(*) from silver.rejected_records group by all")
    assert dict(aside.rows()) == dict(expected.rejected)
    assert rows.height == expected.records == expected.rows - sum(expected.rejected.values())
    assert rows["record_id"].n_unique() == expected.distinct_ids
    reasons = rows.filter(~pl.col("has_point"))["point_reason"].value_counts()
    assert dict(reasons.rows()) == dict(expected.without_point)
    assert rows.filter(pl.col("has_point"))["cell"].null_count() == 0
    assert (rows["category"] == "unmapped").sum() == expected.unmapped
    if feed.kind == "request":
        why = dict(rows["hours_to_close_reason"].value_counts().rows())
        assert why.get("closed_before_opened", 0) == expected.closed_before_opened
        assert why.get("open", 0) == expected.open
        assert rows["is_administrative"].sum() == expected.administrative
        assert (rows["hours_to_close"].drop_nulls() >= 0).all()
    checks = common_checks(feed, SILVER[feed.table])
    if feed.kind == "request":
        checks.append(Property("a_duration_or_a_reason", "", NEITHER_HOURS_NOR_REASON))
    box = feed.city.box
    corners = {"south": box.south, "west": box.west, "north": box.north, "east": box.east}
    for check in checks:
        params = part.params | corners | {"unmapped": "unmapped"}
        assert warehouse.read(check.offenders, params).is_empty(), check.name
    count(warehouse, part, rows, feed)


def count(warehouse: Warehouse, part: Slice, rows: pl.DataFrame, feed: Feed) -> None:
    """Assert that gold counts every record with a point at every resolution, and misses one."""
    _, counts = write_counts(warehouse, feed, part)
    adds_up, nested, _ = cell_day_claims(feed)
    placed = rows.drop_nulls("cell")
    by_category = dict(placed["category"].value_counts().rows())
    for resolution in range(6, 11):
        of_one = counts.filter(pl.col("resolution") == resolution).group_by("category")
        assert dict(of_one.agg(pl.col("records").sum()).rows()) == by_category
    for claim in (adds_up, nested):
        assert warehouse.read(claim.offenders, part).is_empty()
    dropped = placed.sort("record_id").head(1)
    with warehouse.transaction() as session:
        session.run(
            f"delete from {SILVER[feed.table]} where record_id = $id and day = $day",
            {"id": dropped["record_id"].item(), "day": dropped["day"].item()},
        )
    missed = warehouse.read(adds_up.offenders, part)
    assert missed["rows"].to_list() == [6, 7, 8, 9, 10]
    assert missed["day"].unique().to_list() == dropped["day"].to_list()


@pytest.mark.parametrize("expected", IMPORTED, ids=lambda expected: Path(expected.file).stem)
def test_an_extract_is_imported_whole(expected: Expected, warehouse: Warehouse, real_data: Path):
    path = real_data / expected.file
    source = DownloadedFile(origin=path.name, path=str(path), feed=expected.feed)
    part, rows = bring(warehouse, FEEDS[expected.feed], source)
    compare(warehouse, part, rows, expected)
    assert set(rows["origin"]) == {"file"}


def records_in(path: Path) -> Iterator[dict[str, object]]:
    """Return the records of an extract of API answers or of the 2018 crimes."""
    if path.suffix == ".parquet":
        # It lacks the record's number and labels local time UTC; the row's place stands in.
        crimes = pl.read_parquet(path).with_row_index("id")
        names = {
            "Date": "date",
            "Block": "block",
            "LocationDescription": "location_description",
            "PrimaryType": "primary_type",
            "Description": "description",
            "Arrest": "arrest",
            "Domestic": "domestic",
            "Latitude": "latitude",
            "Longitude": "longitude",
        }
        local = pl.col("Date").dt.strftime("%Y-%m-%dT%H:%M:%S.000")
        texts = crimes.with_columns(local).rename(names).drop("Ward").cast(pl.String)
        yield from texts.iter_rows(named=True)
    elif path.name.endswith(".jsonl.gz"):
        with gzip.open(path, "rt") as lines:
            said = (json.loads(line) for line in lines)
            yield from (line["record"] for line in said if line["type"] == "RECORD")
    else:
        yield from json.loads(path.read_text())


def as_text(value: object) -> str | None:
    """Return a value as the text of a column; nested values and flags as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("expected", REPLAYED, ids=lambda expected: Path(expected.file).stem)
def test_real_answers_replayed_by_a_portal_come_through_whole(
    expected: Expected, warehouse: Warehouse, portal: Portals, real_data: Path
):
    feed = FEEDS[expected.feed]
    records = [
        {name: as_text(value) for name, value in record.items()}
        for record in records_in(real_data / expected.file)
    ]
    portal.datasets[feed.name].frame = published(feed, records)
    sources = portal.sources
    part, rows = bring(warehouse, feed, Sources(**{**sources.model_dump(), "page_size": 50_000}))
    compare(warehouse, part, rows, expected)


def test_local_times_labelled_utc_are_read_as_local(warehouse: Warehouse, real_data: Path):
    path = real_data / "sf311" / "sf311_bigquery_10k_2008_2019.csv.gz"
    source = DownloadedFile(origin=path.name, path=str(path), feed="sf_311")
    _, rows = bring(warehouse, FEEDS["sf_311"], source)
    # Case 11466346 is `2019-09-25 18:19:00 UTC` in the file: twenty past six in the evening there.
    (case,) = rows.filter(pl.col("record_id") == "11466346").to_dicts()
    assert case["opened_at"] == datetime(2019, 9, 25, 18, 19)
    assert case["opened_at_utc"] - case["opened_at"] == timedelta(hours=7)
