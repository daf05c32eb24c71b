"""Bronze records: the rules on frames, then slices in a real file, fed by a portal on loopback."""

import datetime as dt
import json
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from city311_assets.bronze.records import (
    bronze_rows,
    changes_by_day,
    joined,
    not_older,
    records,
    write,
)
from city311_assets.bronze.sources import DownloadedFile, Sources
from city311_assets.clients.portal_export import ExportRefusedError
from city311_assets.clients.socrata import Answer
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS, WITHDRAWN_RECORDS
from city311_assets_tests.portals import Portals, failure, materialize, published, verdicts

DAY = dt.date(2026, 1, 2)
NEXT = DAY + dt.timedelta(days=1)
BRONZE = RECORDS["sf_311"]
PART = Slice("sf_311", DAY, NEXT)
BOTH = Slice("sf_311", DAY, NEXT + dt.timedelta(days=1))
STORED = f"select record_id, day, status_notes from {BRONZE} where {BRONZE.where} order by 1, 2"
GONE = f"from {WITHDRAWN_RECORDS} where {WITHDRAWN_RECORDS.where} order by day, record_id"


def case(number: str, day: dt.date = DAY, **values: str | None) -> dict[str, str | None]:
    """Return one case as the portal publishes it."""
    opened = {"service_request_id": number, "requested_datetime": f"{day}T09:00:00.000"}
    return opened | {"service_name": "Graffiti", "lat": "37.77", "long": "-122.42"} | values


def run(
    warehouse: Warehouse,
    sources: Sources,
    first: dt.date = DAY,
    last: dt.date | None = None,
    selection: dg.AssetSelection | None = None,
) -> dg.ExecuteInProcessResult:
    return materialize(records(SF_311), warehouse, sources, first, last, selection)


def by_partition(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, dict]:
    """Return the metadata of each day's materialization."""
    return {
        str(event.materialization.partition): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.all_events
        if event.is_step_materialization and event.asset_key == key
    }


def numbers(warehouse: Warehouse, part: Slice = PART) -> list[str]:
    return warehouse.read(STORED, part)["record_id"].to_list()


def test_a_day_holds_what_the_portal_returns_for_it(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1"), case("2", status_notes="naïve\nnote"), case("3", NEXT))
    result = run(warehouse, portal.sources)
    assert result.success
    assert warehouse.read(STORED, PART).rows() == [("1", DAY, None), ("2", DAY, "naïve\nnote")]
    assert verdicts(result) == {"counts_equal_the_portal": True, "ids_on_one_day_only": True}


def test_materializing_twice_changes_nothing(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1"), case("2"))
    run(warehouse, portal.sources)
    before = warehouse.content_hash(BRONZE, PART)
    again = run(warehouse, portal.sources)
    assert warehouse.content_hash(BRONZE, PART) == before
    (figures,) = by_partition(again, BRONZE.key("sf_311")).values()
    assert (figures["added"], figures["changed"], figures["unchanged"], figures["gone"]) == (
        0,
        0,
        2,
        0,
    )


def test_a_day_that_became_empty_is_emptied_and_its_records_kept_aside(
    warehouse: Warehouse, portal: Portals
):
    portal.publish(SF_311, case("1"))
    run(warehouse, portal.sources)
    portal.publish(SF_311)
    assert run(warehouse, portal.sources).success
    assert numbers(warehouse) == []
    (gone,) = warehouse.read(GONE, PART).to_dicts()
    assert (gone["record_id"], gone["moved_to_day"]) == ("1", None)
    assert json.loads(gone["row"])["service_name"] == "Graffiti"
    assert gone["last_seen_at"] < gone["gone_at"]


def test_a_withdrawn_record_that_returns_is_withdrawn_no_more(
    warehouse: Warehouse, portal: Portals
):
    for rows in ([case("1"), case("2")], [case("1")], [case("1"), case("2")]):
        portal.publish(SF_311, *rows)
        run(warehouse, portal.sources)
    assert numbers(warehouse) == ["1", "2"]
    assert warehouse.read(GONE, PART).is_empty()


def test_a_withdrawn_record_stays_withdrawn(warehouse: Warehouse, portal: Portals):
    for rows in ([case("1"), case("2")], [case("1")], [case("1")]):
        portal.publish(SF_311, *rows)
        run(warehouse, portal.sources)
    (gone,) = warehouse.read(GONE, PART).to_dicts()
    assert gone["record_id"] == "2"


@pytest.mark.parametrize(
    "order", [(DAY, NEXT), (NEXT, DAY)], ids=["old day first", "new day first"]
)
def test_a_record_moved_to_another_day_says_where_it_went(
    warehouse: Warehouse, portal: Portals, order: tuple[dt.date, dt.date]
):
    portal.publish(SF_311, case("1"), case("2"))
    run(warehouse, portal.sources, DAY, NEXT)
    portal.publish(SF_311, case("1"), case("2", NEXT))
    for day in order:
        run(warehouse, portal.sources, day)
    assert [row[:2] for row in warehouse.read(STORED, BOTH).rows()] == [("1", DAY), ("2", NEXT)]
    (gone,) = warehouse.read(GONE, BOTH).to_dicts()
    assert (gone["record_id"], gone["day"], gone["moved_to_day"]) == ("2", DAY, NEXT)


def test_a_record_moved_within_one_range_run_says_where_it_went(
    warehouse: Warehouse, portal: Portals
):
    portal.publish(SF_311, case("2"))
    run(warehouse, portal.sources, DAY, NEXT)
    portal.publish(SF_311, case("2", NEXT))
    run(warehouse, portal.sources, DAY, NEXT)
    (gone,) = warehouse.read(GONE, BOTH).to_dicts()
    assert (gone["day"], gone["moved_to_day"]) == (DAY, NEXT)


def test_a_record_under_two_days_fails_its_check(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("2"))
    run(warehouse, portal.sources)
    portal.publish(SF_311, case("2", NEXT))
    result = run(warehouse, portal.sources, NEXT)
    assert verdicts(result)["ids_on_one_day_only"] is False


def test_a_range_gives_what_its_days_give_one_by_one(
    warehouse: Warehouse, portal: Portals, tmp_path: Path
):
    days = [DAY + dt.timedelta(days=offset) for offset in range(5)]
    portal.publish(SF_311, *(case(f"{d.day}-{n}", d) for d in days for n in range(d.day)))
    whole = Slice("sf_311", days[0], days[-1] + dt.timedelta(days=1))
    run(warehouse, portal.sources, days[0], days[-1])
    single = Warehouse(database=str(tmp_path / "single.duckdb"))
    for day in reversed(days):
        run(single, portal.sources, day)
    assert single.content_hash(BRONZE, whole) == warehouse.content_hash(BRONZE, whole)


def test_a_range_run_says_each_days_own_figures(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1"), case("2"), case("3", NEXT))
    last = NEXT + dt.timedelta(days=1)
    run(warehouse, portal.sources, DAY, last)
    portal.publish(SF_311, case("1"), case("2", status_notes="done"), case("3", NEXT))
    said = by_partition(run(warehouse, portal.sources, DAY, last), BRONZE.key("sf_311"))
    assert {day: figures["dagster/partition_row_count"] for day, figures in said.items()} == {
        "2026-01-02": 2,
        "2026-01-03": 1,
        "2026-01-04": 0,
    }
    assert (said["2026-01-02"]["changed"], said["2026-01-03"]["changed"]) == (1, 0)


def test_a_late_change_touches_its_own_day_only(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1"), case("3", NEXT))
    run(warehouse, portal.sources, DAY, NEXT)
    other = Slice("sf_311", NEXT, NEXT + dt.timedelta(days=1))
    before = warehouse.content_hash(BRONZE, PART), warehouse.content_hash(BRONZE, other)
    portal.publish(SF_311, case("1", closed_date="2026-02-11T10:00:00.000"), case("3", NEXT))
    run(warehouse, portal.sources)
    after = warehouse.content_hash(BRONZE, PART), warehouse.content_hash(BRONZE, other)
    assert after[0] != before[0]
    assert (after[0][0], after[1]) == (before[0][0], before[1])


def test_a_portal_that_refuses_leaves_the_old_slice(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1"))
    run(warehouse, portal.sources)
    before = warehouse.content_hash(BRONZE, PART)
    result = run(warehouse, portal.sources_with(path="nowhere"))
    assert not result.success
    assert "status 404" in failure(result)
    assert warehouse.content_hash(BRONZE, PART) == before


def test_more_rows_at_the_portal_than_here_fail_the_count(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1"))
    run(warehouse, portal.sources)
    portal.publish(SF_311, case("1"), case("2"))
    checks = dg.AssetSelection.checks(
        dg.AssetCheckKey(BRONZE.key("sf_311"), "counts_equal_the_portal")
    )
    (check,) = run(warehouse, portal.sources, selection=checks).get_asset_check_evaluations()
    assert not check.passed
    assert check.metadata["days"].value == ["2026-01-02: held 1, told 2"]


def test_an_undeclared_column_is_kept_and_reported(warehouse: Warehouse, portal: Portals):
    dataset = portal.datasets["sf_311"]
    portal.publish(SF_311, case("1"))
    names = [name for name in dataset.frame.columns if not name.startswith(":")]
    dataset.columns = dict.fromkeys([*names, "mood"], "text") | {
        "requested_datetime": "calendar_date"
    }
    dataset.frame = dataset.frame.with_columns(mood=pl.lit("grim"))
    result = run(warehouse, portal.sources)
    (extra,) = warehouse.read(f"select extra from {BRONZE}")["extra"]
    assert json.loads(extra) == {"mood": "grim"}
    (figures,) = by_partition(result, BRONZE.key("sf_311")).values()
    assert figures["undeclared_columns"] == ["mood"]


def test_sample_rows_and_real_rows_do_not_mix(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1"), case("3", NEXT))
    run(warehouse, portal.sources)
    result = run(warehouse, portal.sources_with(origin="sample"), NEXT)
    assert not result.success
    assert "CITY311_DATA_DIR" in failure(result)
    assert numbers(warehouse, BOTH) == ["1"]


def at(hour: int) -> dt.datetime:
    return dt.datetime(2026, 1, 3, hour)


def now() -> str:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None).isoformat()


def exported(
    folder: Path, name: str, *lines: str, observed_until: str | None = None
) -> DownloadedFile:
    """Write a downloaded file, and return it as a source."""
    header = "CaseID,Opened,Closed,Updated,Category,Latitude,Longitude,Status Notes"
    (folder / name).write_text("\n".join([header, *lines, ""]))
    return DownloadedFile(
        origin=name, path=str(folder / name), feed="sf_311", observed_until=observed_until
    )


def test_a_file_adds_and_replaces_and_withdraws_nothing(
    warehouse: Warehouse, portal: Portals, tmp_path: Path
):
    portal.publish(SF_311, case("1"), case("2"))
    run(warehouse, portal.sources)
    file = exported(
        tmp_path,
        "cases.csv",
        "2,01/02/2026 09:00:00 AM,,01/04/2026 09:00:00 AM,Graffiti,37.77,-122.42,from the file",
        "4,01/02/2026 10:00:00 AM,,01/04/2026 09:00:00 AM,Graffiti,37.77,-122.42,new",
        observed_until=now(),
    )
    result = run(warehouse, file)
    assert result.success
    assert [row[::2] for row in warehouse.read(STORED, PART).rows()] == [
        ("1", None),
        ("2", "from the file"),
        ("4", "new"),
    ]
    assert warehouse.read(GONE, PART).is_empty()


def test_a_file_older_than_what_is_held_replaces_nothing(
    warehouse: Warehouse, portal: Portals, tmp_path: Path
):
    portal.publish(SF_311, case("2", status_notes="from the portal"))
    run(warehouse, portal.sources)
    line = "2,01/02/2026 09:00:00 AM,,01/02/2026 09:30:00 AM,Graffiti,37.77,-122.42,old"
    run(warehouse, exported(tmp_path, "old.csv", line))
    assert warehouse.read(STORED, PART)["status_notes"].to_list() == ["from the portal"]


def test_importing_a_file_twice_is_importing_it_once(warehouse: Warehouse, tmp_path: Path):
    line = "2,01/02/2026 09:00:00 AM,,01/02/2026 09:30:00 AM,Graffiti,37.77,-122.42,x"
    for _ in range(2):
        run(warehouse, exported(tmp_path, "cases.csv", line, line))
    assert warehouse.content_hash(BRONZE, PART)[0] == 2


def rows_of(*records: tuple[str, int, str]) -> pl.DataFrame:
    """Return bronze rows as (record, hour observed, note)."""
    blank = dict.fromkeys(BRONZE.names, None)
    return pl.DataFrame(
        [
            blank
            | {
                "feed": "sf_311",
                "day": DAY,
                "row_id": f"{record}-{hour}",
                "record_id": record,
                "observed_until": dt.datetime(2026, 1, 3, hour),
                "status_notes": note,
            }
            for record, hour, note in records
        ],
        schema={
            name: {"day": pl.Date, "observed_until": pl.Datetime("us")}.get(name, pl.String)
            for name in BRONZE.names
        },
    )


NONE_ELSEWHERE = pl.DataFrame(
    schema={"record_id": pl.String, "day": pl.Date, "observed_until": pl.Datetime("us")}
)
NONE_WITHDRAWN = pl.DataFrame(
    schema={"day": pl.Date, "record_id": pl.String, "gone_at": pl.Datetime("us")}
)


def withdrawn(record: str, hour: int) -> pl.DataFrame:
    return pl.DataFrame({"day": [DAY], "record_id": [record], "gone_at": [at(hour)]})


def test_of_a_record_the_row_observed_later_stays():
    held = rows_of(("a", 5, "held"), ("b", 5, "held"))
    new = rows_of(("a", 4, "older"), ("b", 6, "newer"), ("c", 1, "new"))
    rows = joined(held, new, NONE_WITHDRAWN, NONE_ELSEWHERE)
    notes = dict(rows.select("record_id", "status_notes").rows())
    assert notes == {"a": "held", "b": "newer", "c": "new"}


def test_what_was_withdrawn_or_moved_since_a_file_was_made_stays_so():
    gone = NONE_WITHDRAWN.vstack(withdrawn("a", 5))
    moved = pl.DataFrame({"record_id": ["b"], "day": [NEXT], "observed_until": [at(5)]})
    older = joined(rows_of(), rows_of(("a", 2, "x"), ("b", 2, "x")), gone, moved)
    assert older.is_empty()
    newer = joined(rows_of(), rows_of(("a", 6, "x"), ("b", 6, "x")), gone, moved)
    assert newer["record_id"].to_list() == ["a", "b"]


def test_columns_a_file_does_not_have_keep_what_is_held():
    held = rows_of(("a", 1, "rich"), ("b", 1, "rich"))
    narrow = rows_of(("a", 2, "gone"), ("c", 2, "new")).with_columns(
        status_notes=pl.lit(None, pl.String)
    )
    rows = joined(held, narrow, NONE_WITHDRAWN, NONE_ELSEWHERE, ("status_notes",))
    assert dict(rows.select("record_id", "status_notes").rows()) == {
        "a": "rich",
        "b": "rich",
        "c": None,
    }


def asked(*hours: int) -> pl.DataFrame:
    """Return the books of the day, asked for at these hours."""
    types = {"day": pl.Date, "asked_at": pl.Datetime("us")}
    return pl.DataFrame([(DAY, at(hour)) for hour in hours], schema=types, orient="row")


def test_of_two_complete_answers_the_one_asked_for_last_stands_whichever_writes_last():
    held = rows_of(("a", 9, "x"), ("b", 9, "x"))
    assert not_older(held, asked(), rows_of(("a", 3, "y")), at(3), at(9)).equals(held)
    assert not_older(held, asked(), rows_of(), at(3), at(9)).equals(held)
    newer = not_older(held, asked(9), rows_of(("a", 10, "y")), at(10), at(11))
    assert newer["record_id"].to_list() == ["a"]
    assert not_older(held, asked(9), rows_of(), at(10), at(11)).is_empty()


def test_a_day_that_was_found_empty_later_stays_empty():
    older = rows_of(("a", 3, "y"))
    assert not_older(rows_of(), asked(9), older, at(3), at(9)).is_empty()
    assert not_older(rows_of(), asked(2), older, at(3), at(9)).equals(older)


def test_what_a_fast_clock_wrote_gives_way_once_the_clock_is_right(warehouse: Warehouse):
    fast, right, later = answered(16, "a"), answered(9, "a", "b"), answered(11, "b")
    for answer, now, wanted in [
        (fast, 16, ["a"]),
        (right, 9, ["a", "b"]),
        (later, 11, ["b"]),
        (right, 12, ["b"]),
    ]:
        with warehouse.transaction() as session:
            write(session, SF_311, answer, "portal", PART, now=at(now).replace(tzinfo=dt.UTC))
        assert numbers(warehouse) == wanted


def answered(hour: int, *records: str, is_complete: bool = True) -> Answer:
    """Return an answer about records of the day, observed at an hour."""
    rows = published(SF_311, [case(record) for record in records]).with_columns(
        pl.lit(None, pl.String).alias(":created_at"), pl.lit(None, pl.String).alias("extra")
    )
    return Answer(rows, at(hour), (), is_complete)


def test_what_was_observed_earlier_changes_nothing_when_it_is_written_later(warehouse: Warehouse):
    def wrote(answer: Answer) -> list[str]:
        with warehouse.transaction() as session:
            write(session, SF_311, answer, "portal", PART)
        return numbers(warehouse)

    assert wrote(answered(1, "a", "b", "c")) == ["a", "b", "c"]
    assert wrote(answered(9, "a", "b")) == ["a", "b"]
    assert wrote(answered(3, "a")) == ["a", "b"]
    assert wrote(answered(3, "c", is_complete=False)) == ["a", "b"]
    assert warehouse.read(GONE, PART)["record_id"].to_list() == ["c"]


def test_a_row_without_a_day_is_named():
    answer = Answer(
        published(SF_311, [case("1"), case("2") | {"requested_datetime": "soon"}]).with_columns(
            pl.lit(None, pl.String).alias(":created_at"), pl.lit(None, pl.String).alias("extra")
        ),
        at(1),
        (),
    )
    with pytest.raises(ValueError, match=r"row-2.*soon"):
        bronze_rows(SF_311, answer, "portal", at(1))


def test_a_records_number_is_its_own_whatever_surrounds_it(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1"), case("2"))
    run(warehouse, portal.sources)
    marked = [
        {**case(number), "service_request_id": text, ":id": f"row-{number}"}
        for number, text in (("1", "\ufeff 1"), ("2", " 2\ufeff"))
    ]
    portal.publish(SF_311, *marked)
    again = run(warehouse, portal.sources)
    assert numbers(warehouse) == ["1", "2"]
    changes = by_partition(again, BRONZE.key("sf_311"))[str(DAY)]
    assert (changes["added"], changes["gone"]) == (0, 0)


def test_a_file_cannot_have_been_downloaded_in_the_future(tmp_path: Path):
    line = "2,01/02/2026 09:00:00 AM,,01/02/2026 09:30:00 AM,Graffiti,37.77,-122.42,x"
    source = exported(tmp_path, "cases.csv", line, observed_until="2199-01-01T00:00:00")
    with pytest.raises(ExportRefusedError, match="after now"):
        source.export.records(DAY, NEXT)


def test_changes_count_records_not_the_time_they_were_fetched():
    held = rows_of(("a", 1, "x"), ("b", 1, "x"), ("c", 1, "x"))
    rows = rows_of(("a", 2, "x"), ("b", 2, "y"), ("d", 2, "x"))
    (day,) = changes_by_day(held, rows, BRONZE).to_dicts()
    assert day == {"day": DAY, "added": 1, "changed": 1, "unchanged": 1, "gone": 1, "rows": 3}


def test_changes_do_not_depend_on_the_order_of_rows():
    held = rows_of(("a", 1, "x"), ("a", 2, "y"), ("b", 1, "x"))
    changes = changes_by_day(held, held.reverse(), BRONZE).to_dicts()
    assert [(c["changed"], c["unchanged"]) for c in changes] == [(0, 2)]
