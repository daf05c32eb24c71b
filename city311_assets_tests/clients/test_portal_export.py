"""A downloaded file: read as the portal would answer, or refused with the reason."""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city311_assets.clients.portal_export import (
    ExportRefusedError,
    PortalExport,
    comparable,
    spelled,
)
from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.feeds.chicago_crimes import CHICAGO_CRIMES
from city311_assets.feeds.feed import SYSTEM_COLUMNS, Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.feeds.sf_311 import SF_311

DAY = date(2026, 1, 2)
EVER = (date(1900, 1, 1), date(2100, 1, 1))
PORTAL = "CaseID,Opened,Closed,Category,Status Notes"
LINE = "1,01/02/2026 09:00:00 AM,,Graffiti,ok"
Write = Callable[..., PortalExport]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file and return the export of it; San Francisco's unless said otherwise."""

    def written(
        content: str | bytes, feed: Feed = SF_311, name: str = "export.csv"
    ) -> PortalExport:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return PortalExport(path, feed)

    return written


def everything(export: PortalExport) -> pl.DataFrame:
    return export.records(*EVER).rows


def refusal(export: PortalExport) -> str:
    """Return why a file is refused; the path is in every message."""
    with pytest.raises(ExportRefusedError) as refused:
        everything(export)
    assert str(export.path) in str(refused.value)
    return str(refused.value)


# Headers


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("CaseID,Opened,Closed,Category,Status Notes", id="portal"),
        pytest.param(
            "service_request_id,requested_datetime,closed_date,service_name,status_notes",
            id="API names",
        ),
        pytest.param("unique_key,created_date,closed_date,category,status_notes", id="BigQuery"),
        pytest.param("CASEID,OPENED,CLOSED,CATEGORY,STATUS NOTES", id="upper case"),
        pytest.param("case_id,opened,closed,category,status_notes", id="underscores"),
        pytest.param(" Case ID , Opened,Closed ,Category,Status-Notes", id="spaces"),
        pytest.param('"CaseID","Opened","Closed","Category","Status Notes"', id="quoted"),
    ],
)
def test_a_header_may_be_spelled_as_any_copy_of_the_dataset_does(write, header):
    rows = everything(write(f"{header}\n{LINE}\n"))
    row = rows.select(SF_311.fields["kind"], "status_notes", "service_request_id").row(0)
    assert row == ("Graffiti", "ok", "1")
    assert rows.columns == [*SYSTEM_COLUMNS, *SF_311.column_names, "extra"]


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_every_spelling_means_one_column(feed):
    known = spelled(feed)
    for column in feed.columns:
        for spelling in (column.name, column.name.replace("_", " ").title(), *column.aliases):
            assert known[comparable(spelling)] == column.name


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_a_file_with_every_column_of_a_feed_lacks_none(write, feed):
    header = ",".join(column.name.replace("_", " ").title() for column in feed.columns)
    export = write(f"{header}\n{','.join(['2026-01-02'] * len(feed.columns))}\n", feed)
    assert (export.absent, export.undeclared) == ((), ())
    assert everything(export).select(feed.column_names).row(0) == ("2026-01-02",) * len(
        feed.columns
    )


@pytest.mark.parametrize("header", [PORTAL, PORTAL.replace("CaseID", '"CaseID"')])
def test_a_byte_order_mark_does_not_hide_the_first_column(write, header):
    rows = everything(write(b"\xef\xbb\xbf" + f"{header}\n{LINE}\n".encode()))
    assert rows["service_request_id"].to_list() == ["1"]


def test_a_byte_order_mark_is_no_part_of_the_first_columns_name(write):
    export = write(b"\xef\xbb\xbf" + f'"Crew, size",{PORTAL}\n3,{LINE}\n'.encode())
    assert export.undeclared == ("Crew, size",)
    assert json.loads(everything(export)["extra"][0]) == {"Crew, size": "3"}


def test_a_byte_order_mark_before_a_value_stays(write):
    rows = everything(write(f"{PORTAL}\n1,2026-01-02,,\ufeffGraffiti,ok\n"))
    assert rows["service_name"].to_list() == ["\ufeffGraffiti"]


def test_declared_columns_that_a_file_lacks_are_null_and_named(write):
    export = write(f"{PORTAL}\n{LINE}\n")
    assert "media_url" in export.absent
    assert set(export.absent) == set(SF_311.column_names) - {
        "service_request_id",
        "requested_datetime",
        "closed_date",
        "service_name",
        "status_notes",
    }
    assert everything(export)["media_url"].to_list() == [None]


def test_an_undeclared_column_is_reported_and_kept_in_extra(write):
    export = write(f"{PORTAL},Crew Size,Owner's\n{LINE},3,\n2,2026-01-02,,Graffiti,b,,\n")
    answer = export.records(*EVER)
    assert answer.undeclared == ("Crew Size", "Owner's")
    kept = [json.loads(text) if text else None for text in answer.rows["extra"]]
    assert kept[1] is None
    assert kept[0] is not None
    assert kept[0]["Crew Size"] == "3"


def test_extra_leaves_out_what_a_row_does_not_have(write):
    rows = everything(write(f"{PORTAL},Crew Size,Note\n{LINE},3,\n"))
    assert json.loads(rows["extra"][0]) == {"Crew Size": "3"}


def test_a_file_without_undeclared_columns_has_no_extra(write):
    assert everything(write(f"{PORTAL}\n{LINE}\n"))["extra"].to_list() == [None]


def test_a_column_named_twice_is_refused_by_name(write):
    assert "['Closed'] more than once" in refusal(write(f"{PORTAL},Closed\n{LINE},\n"))


def test_a_column_under_two_spellings_is_refused_with_both(write):
    message = refusal(write(f"{PORTAL},closed_date\n{LINE},\n"))
    assert "closed_date twice, as ['Closed', 'closed_date']" in message


@pytest.mark.parametrize("header", [f"{PORTAL},closed", f"{PORTAL},Crew,crew"])
def test_columns_that_differ_in_case_only_are_refused_by_name(write, header):
    line = LINE + "," * (header.count(",") - PORTAL.count(","))
    message = refusal(write(f"{header}\n{line}\n"))
    assert "struct" not in message
    assert header.rsplit(",", 1)[1] in message


def test_a_column_without_a_name_is_refused_as_such(write):
    message = refusal(write(f"{PORTAL},\n{LINE},\n"))
    assert "STRUCT_PACK" not in message


@pytest.mark.parametrize("column", SF_311.required)
def test_a_required_column_that_is_missing_is_named(write, column):
    others = [name for name in SF_311.required if name != column]
    message = refusal(write(f"{','.join(others)},status_notes\n1,2,3,4\n"))
    assert f"lacks {column} of sf_311" in message
    assert "status_notes" in message


@pytest.mark.parametrize(
    ("header", "feed", "looks"),
    [
        ("ID,Case Number,Date,Primary Type", SF_311, "it looks like chicago_crimes"),
        (PORTAL, CHICAGO_CRIMES, "it looks like sf_311"),
        (PORTAL, CHICAGO_311, "it looks like sf_311"),
        ("SR_NUMBER,CREATED_DATE,CLOSED_DATE,SR_TYPE", SF_311, "it looks like chicago_311"),
    ],
)
def test_the_feed_a_file_is_of_is_named_when_it_is_another(write, header, feed, looks):
    line = ",".join(["2026-01-02"] * (header.count(",") + 1))
    message = refusal(write(f"{header}\n{line}\n", feed))
    assert f"of {feed.name}; {looks}." in message


def test_a_file_of_no_feed_is_not_said_to_look_like_one(write):
    assert "looks like" not in refusal(write("a,b\n1,2\n"))


# What is no file of records


@pytest.mark.parametrize(
    "content",
    [b"", b"\xef\xbb\xbf", b"\n\n", b" \r\n", gzip.compress(b"")],
    ids=["no byte", "a byte-order mark", "line ends", "blank", "gzip of nothing"],
)
def test_an_empty_file_is_refused_as_empty(write, content):
    assert "is empty" in refusal(write(content))


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_header_alone_is_refused_as_such(write, end):
    assert "has a header and no records" in refusal(write(PORTAL + end))


def test_a_directory_is_refused(tmp_path):
    assert "is not a file" in refusal(PortalExport(tmp_path, SF_311))


def test_a_path_to_nothing_is_refused(tmp_path):
    assert "is not a file" in refusal(PortalExport(tmp_path / "nothing.csv", SF_311))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_a_file_in_another_encoding_is_refused(write, encoding):
    content = f"{PORTAL}\n1,2026-01-02,,Café,ok\n".encode(encoding)
    assert "UTF-8" in refusal(write(content))


def test_another_encoding_far_down_is_refused_with_its_line(write):
    many = f"{PORTAL}\n" + f"{LINE}\n" * 3_000
    message = refusal(write(many.encode() + "2,2026-01-02,,Café,x\n".encode("latin-1")))
    assert "Line: 3002" in message
    assert "utf-8" in message


def test_a_web_page_is_refused(write):
    refusal(write("<!DOCTYPE html>\n<html><body>Sign in, please</body></html>\n"))


# Lines


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("9,2026-01-02", id="too few"),
        pytest.param("9,2026-01-02,,Graffiti,x,y", id="too many"),
        pytest.param('9,2026-01-02,,Graffiti,"x', id="a quote that never ends"),
        pytest.param('9,2026-01-02,,Graffiti,"x" y', id="text after a quote"),
    ],
)
@pytest.mark.parametrize(("before", "after"), [(0, 3), (4_000, 0)])
def test_a_broken_line_is_refused_with_its_number(write, line, before, after):
    content = "\n".join([PORTAL, *[LINE] * before, line, *[LINE] * after])
    message = refusal(write(content + "\n"))
    assert f"Line: {before + 2} " in message
    assert "9,2026-01-02" in message
    assert "Nothing was written" in message


def test_a_line_cut_in_the_middle_of_the_file_is_refused(write):
    assert "Line: 3 " in refusal(write(f"{PORTAL}\n{LINE}\n2,2026-01-0"))


def test_a_last_line_without_an_end_is_read(write):
    assert everything(write(f"{PORTAL}\n{LINE}\n{LINE}")).height == 2


def test_blank_lines_are_no_records(write):
    assert everything(write(f"{PORTAL}\n{LINE}\n\n{LINE}\n\n")).height == 2


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", 'say ""no""', "a,b", "two  spaces ", "éü雪"])
def test_line_ends_quotes_and_commas_inside_quotes_are_kept(write, text):
    content = f'{PORTAL}\n1,2026-01-02,,Graffiti,"{text}"\n2,2026-01-02,,Graffiti,ok\n'
    assert everything(write(content))["status_notes"].to_list() == [text.replace('""', '"'), "ok"]


def test_a_quote_inside_plain_text_is_kept(write):
    rows = everything(write(f'{PORTAL}\n1,2026-01-02,,Graffiti,a 5" pipe\n'))
    assert rows["status_notes"].to_list() == ['a 5" pipe']


@pytest.mark.parametrize(
    ("last", "end"),
    [("ok", ""), ("ok", "\r\n"), ("", "\r\n"), ('"a\r\nb"', "\r\n"), ('"a\nb"', "\r\n\r\n")],
)
def test_line_ends_of_windows_are_read_as_any_others(write, last, end):
    line = f"1,2026-01-02,,Graffiti,{last}"
    rows = everything(write(f"{PORTAL}\r\n{line}\r\n{line}{end}"))
    assert rows["status_notes"].to_list() == [last.strip('"') or None] * 2


@pytest.mark.parametrize("line", ["9,2026-01-02", "9,2026-01-02,,Graffiti,x,y"])
def test_a_broken_line_of_a_file_from_windows_is_refused_with_its_number(write, line):
    message = refusal(write(f"{PORTAL}\r\n{LINE}\r\n{line}\r\n{LINE}\r\n"))
    assert "Line: 3 " in message


def test_a_file_with_two_kinds_of_line_ends_is_refused_as_broken(write):
    message = refusal(write(f"{PORTAL}\r\n{LINE}\n{LINE}\r\n"))
    assert "not a whole CSV file" in message


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"))] * 2),
        min_size=1,
        max_size=6,
    )
)
def test_any_texts_come_through_unchanged(notes):
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([*PORTAL.split(","), "Crew"])
    for number, (note, crew) in enumerate(notes):
        writer.writerow([number, "2026-01-02", "", "Graffiti", note, crew])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "export.csv"
        path.write_text(table.getvalue(), encoding="utf-8", newline="")
        rows = everything(PortalExport(path, SF_311))
    assert rows["status_notes"].to_list() == [note or None for note, _ in notes]
    crews = [json.loads(text)["Crew"] if text else None for text in rows["extra"]]
    assert crews == [crew or None for _, crew in notes]


# Compression

MANY = f"{PORTAL}\n" + "".join(
    f"{number},2026-01-02,,Graffiti,{random.Random(number).random()}\n" for number in range(3_000)
)


@pytest.mark.parametrize("name", ["export.csv", "export.csv.gz", "export.bin"])
def test_gzip_is_known_from_the_first_bytes_and_not_from_the_name(write, name):
    plain = everything(write(MANY, name="plain.csv"))
    assert everything(write(gzip.compress(MANY.encode()), name=name)).equals(plain)


def test_a_plain_file_may_be_named_as_a_compressed_one(write):
    assert everything(write(f"{PORTAL}\n{LINE}\n", name="export.csv.gz")).height == 1


def test_gzip_in_several_members_is_read_whole(write):
    half = MANY.index("\n", len(MANY) // 2) + 1
    parts = [gzip.compress(part.encode()) for part in (MANY[:half], MANY[half:])]
    assert everything(write(b"".join(parts))).height == 3_000


def test_bytes_that_only_begin_as_gzip_are_refused(write):
    assert "cannot be unpacked" in refusal(write(b"\x1f\x8b" + b"junk" * 30))


def test_a_compressed_file_that_broke_off_at_a_line_end_is_refused(write):
    whole = MANY.encode()
    begun = whole[: whole.index(b"\n", len(whole) // 2) + 1]
    broken = gzip.compress(begun)[:-8]  # without the checksum and the length that end a gzip file
    assert "unpacked" in refusal(write(broken))


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9999])
def test_a_compressed_file_that_broke_off_is_refused_as_such(write, kept):
    whole = gzip.compress(MANY.encode())
    assert "unpacked" in refusal(write(whole[: int(len(whole) * kept)]))


def test_a_compressed_file_with_a_wrong_checksum_is_refused(write):
    damaged = bytearray(gzip.compress(MANY.encode()))
    damaged[-6] ^= 0xFF
    assert "unpacked" in refusal(write(bytes(damaged)))


@pytest.mark.parametrize("where", [0.001, 0.5, 0.9])
def test_a_damaged_compressed_file_is_refused(write, where):
    damaged = bytearray(gzip.compress(MANY.encode()))
    place = max(20, int(len(damaged) * where))
    damaged[place : place + 40] = bytes(byte ^ 0xFF for byte in damaged[place : place + 40])
    assert "unpacked" in refusal(write(bytes(damaged)))


# Times and places


@pytest.mark.parametrize(
    "opened",
    [
        "2026-01-02T09:00:00.000",
        "2026-01-02T09:00:00",
        "01/02/2026 09:00:00 AM",
        "2026-01-02 09:00:00 UTC",
        "2026-01-02 09:00:00+00:00",
        "01/02/2026 09:00",
        "2026-01-02",
        "01/02/2026",
    ],
)
def test_an_opening_time_may_be_spelled_as_any_copy_does(write, opened):
    export = write(f"{PORTAL}\n1,{opened},,Graffiti,ok\n")
    assert export.days == {DAY: 1}
    assert everything(export)["requested_datetime"].to_list() == [opened]


def test_an_opening_time_labelled_utc_is_local_and_stays_on_its_day(write):
    export = write(f"{PORTAL}\n1,2026-01-02 23:30:00 UTC,,Graffiti,ok\n")
    assert export.days == {DAY: 1}


@pytest.mark.parametrize("opened", ["soon", "", "2026-13-45", "32/01/2026", "NULL"])
def test_an_opening_time_that_is_none_is_refused_with_its_record(write, opened):
    message = refusal(write(f"{PORTAL}\n{LINE}\n2,{opened},,Graffiti,x\n{LINE}\n"))
    assert "1 of 3 records have no readable requested_datetime (record 2: " in message
    assert (repr(opened) if opened else "None") in message


def test_only_the_first_unreadable_records_are_shown(write):
    lines = "".join(f"{number},never,,Graffiti,x\n" for number in range(9))
    message = refusal(write(f"{PORTAL}\n{lines}"))
    assert "9 of 9 records" in message
    assert message.count("record ") == 5


POINTS = "CaseID,Opened,Closed,Category,Latitude,Longitude"


def at(*points: tuple[object, object]) -> str:
    """Return a file with one record at each point."""
    lines = [
        f"{number},2026-01-02,,Graffiti,{latitude},{longitude}"
        for number, (latitude, longitude) in enumerate(points)
    ]
    return "\n".join([POINTS, *lines]) + "\n"


HERE, CHICAGO, NOWHERE, BLANK = (37.77, -122.42), (41.85, -87.65), (0, 0), ("", "")


def test_points_of_another_city_are_refused(write):
    message = refusal(write(at(CHICAGO, CHICAGO, HERE)))
    assert "2 of 3 points lie outside San Francisco" in message
    assert "sf_311" in message


def test_points_with_latitude_and_longitude_swapped_are_refused(write):
    refusal(write(at((-122.42, 37.77))))


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([HERE, CHICAGO], id="half elsewhere"),
        pytest.param([HERE, NOWHERE, NOWHERE, NOWHERE], id="most at zero"),
        pytest.param([NOWHERE, NOWHERE], id="all at zero"),
        pytest.param([BLANK, BLANK], id="no point at all"),
        pytest.param([("n/a", "n/a")], id="texts"),
    ],
)
def test_points_that_prove_no_other_city_are_read(write, points):
    assert everything(write(at(*points))).height == len(points)


# Questions


def test_the_days_of_a_file_are_local_days_in_order(write):
    export = write(f"{PORTAL}\n1,2026-01-03,,G,\n2,2026-01-01 23:59:59,,G,\n3,2026-01-03,,G,\n")
    assert list(export.days.items()) == [(date(2026, 1, 1), 1), (date(2026, 1, 3), 2)]


SHIFTS = st.integers(-3, 12)


@settings(max_examples=20, deadline=None)
@given(
    opened=st.lists(st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 9)), min_size=1),
    start=SHIFTS,
    end=SHIFTS,
)
def test_records_and_counts_agree_for_any_range(opened, start, end):
    lines = [f"{n},{at.isoformat(timespec='microseconds')},,G,x" for n, at in enumerate(opened)]
    window = (DAY + timedelta(days=start), DAY + timedelta(days=end))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "export.csv"
        path.write_text("\n".join([PORTAL, *lines]) + "\n")
        export = PortalExport(path, SF_311)
        rows, counts = export.records(*window).rows, export.counts_by_day(*window)
    expected = [n for n, at in enumerate(opened) if window[0] <= at.date() < window[1]]
    assert [int(number) for number in rows["service_request_id"]] == expected
    assert sum(counts.values()) == len(expected)
    assert set(counts) == {opened[n].date() for n in expected}


def test_a_file_never_claims_to_know_a_whole_day(write):
    assert not write(f"{PORTAL}\n{LINE}\n").records(DAY, DAY).is_complete


def test_values_are_text_as_published(write):
    rows = everything(
        write("ID,Date,Primary Type,District\n007,2026-01-02,THEFT,002\n", CHICAGO_CRIMES)
    )
    assert rows.select("id", "district").row(0) == ("007", "002")
    assert set(rows.dtypes) == {pl.String}


def test_an_empty_cell_is_null_and_a_word_is_not(write):
    rows = everything(write(f'{PORTAL}\n1,2026-01-02,"",Graffiti,NULL\n'))
    assert rows.select("closed_date", "status_notes").row(0) == (None, "NULL")


# Row ids


def ids(export: PortalExport) -> list[str]:
    return everything(export)[":id"].to_list()


def test_row_ids_are_the_same_in_every_import(write):
    content = f"{PORTAL}\n1,2026-01-02,,G,a\n2,2026-01-02,,G,b\n,2026-01-02,,G,c\n"
    assert ids(write(content, name="one.csv")) == ids(write(content, name="two.csv"))


def test_a_record_keeps_its_row_id_in_a_later_longer_file(write):
    earlier = ids(write(f"{PORTAL}\n1,2026-01-02,,G,a\n2,2026-01-02,,G,b\n", name="a.csv"))
    later = ids(
        write(f"{PORTAL}\n9,2026-01-03,,G,\n2,2026-01-02,,G,\n1,2026-01-02,,G,\n", name="b.csv")
    )
    assert earlier == later[:0:-1]


def test_repeated_record_numbers_are_kept_and_told_apart(write):
    rows = everything(write(f"{PORTAL}\n" + "1,2026-01-02,,G,a\n" * 2 + " 1 ,2026-01-02,,G,b\n"))
    assert rows[":id"].to_list() == ["1#000000", "1#000001", "1#000002"]
    assert rows["status_notes"].to_list() == ["a", "a", "b"]


def test_a_row_id_does_not_depend_on_the_days_asked_for(write):
    export = write(f"{PORTAL}\n1,2026-01-01,,G,a\n1,2026-01-02,,G,b\n")
    assert export.records(DAY, date(2026, 1, 3)).rows[":id"].to_list() == ["1#000001"]


def test_lines_without_a_number_are_told_apart_and_not_mixed_with_another_files(write):
    unnumbered = ",2026-01-02,,G,a\n"
    one = ids(write(f"{PORTAL}\n{unnumbered * 2}", name="one.csv"))
    two = ids(write(f"{PORTAL}\n{unnumbered * 3}", name="two.csv"))
    assert len({*one, *two}) == 5


def test_an_empty_record_number_and_a_blank_one_are_told_apart(write):
    found = ids(write(f"{PORTAL}\n,2026-01-02,,G,a\n  ,2026-01-02,,G,b\n"))
    assert len(set(found)) == 2


RECORD_IDS = st.text("1#0 ", max_size=4).filter(lambda text: not text or text.strip())


@settings(max_examples=20, deadline=None)
@given(st.lists(RECORD_IDS, min_size=1, max_size=12))
def test_row_ids_are_unique_whatever_the_record_numbers(record_ids):
    lines = [f'"{record_id}",2026-01-02,,G,x' for record_id in record_ids]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "export.csv"
        path.write_text("\n".join([PORTAL, *lines]) + "\n")
        found = ids(PortalExport(path, SF_311))
    assert len(set(found)) == len(found) == len(record_ids)


# What a file knows

STAMPED = "CaseID,Opened,Closed,Updated,Category"


@pytest.mark.parametrize(
    ("line", "newest"),
    [
        ("1,2026-01-02 09:00:00,,,G", datetime(2026, 1, 2, 17, tzinfo=UTC)),
        ("1,2026-01-02 09:00:00,2026-01-02 10:00:00,,G", datetime(2026, 1, 2, 18, tzinfo=UTC)),
        (
            "1,2026-01-02 09:00:00,2026-01-02 10:00:00,2026-01-02 11:00:00,G",
            datetime(2026, 1, 2, 19, tzinfo=UTC),
        ),
        ("1,2026-07-02 09:00:00,,,G", datetime(2026, 7, 2, 16, tzinfo=UTC)),
    ],
    ids=["opened", "closed", "changed", "in summer"],
)
def test_a_file_knows_the_records_up_to_its_newest_change(write, line, newest):
    long_ago = "8,2020-01-01 09:00:00,2020-01-01 10:00:00,2020-01-01 11:00:00,G"
    export = write(f"{STAMPED}\n{line}\n{long_ago}\n")
    if newest > datetime.now(UTC):
        pytest.skip("the newest change of this case is still to come")
    assert export.records(DAY, DAY).observed_until == newest.replace(tzinfo=None)


def test_a_file_never_knows_the_future(write):
    export = write(
        f"{STAMPED}\n1,2020-01-02 09:00:00,2999-01-01,,G\n2,2020-01-03 09:00:00,,2998-01-01,G\n"
    )
    assert export.observed == datetime(2020, 1, 3, 17, tzinfo=UTC).replace(tzinfo=None)


def test_a_file_of_the_future_alone_knows_up_to_now(write):
    before = datetime.now(UTC).replace(tzinfo=None)
    export = write(f"{STAMPED}\n1,2999-01-02 09:00:00,,,G\n")
    assert before <= export.observed <= datetime.now(UTC).replace(tzinfo=None)


@pytest.mark.parametrize("year", [2019, 2021])
def test_a_stated_download_time_wins(write, year):
    stated = datetime(year, 5, 6, 7, tzinfo=UTC).replace(tzinfo=None)
    export = write(f"{STAMPED}\n1,2020-01-02 09:00:00,,,G\n")
    answer = replace(export, observed_until=stated).records(*EVER)
    assert answer.observed_until == stated


def test_a_feed_without_closing_times_has_an_observed_time_too(write):
    export = write("ID,Date,Primary Type\n1,01/02/2020 09:00:00 AM,THEFT\n", CHICAGO_CRIMES)
    assert export.observed == datetime(2020, 1, 2, 15, tzinfo=UTC).replace(tzinfo=None)


# Real files

REAL: Sequence[tuple[str, Feed, int, int, str, str]] = [
    # file, feed, rows, different records, first day, last day
    (
        "sf311/sf311_bigquery_10k_2008_2019.csv.gz",
        SF_311,
        10_000,
        10_000,
        "2008-07-01",
        "2019-11-11",
    ),
    (
        "sf311/sf311_bigquery_sewer_2008_2013.csv.gz",
        SF_311,
        5_347,
        5_347,
        "2008-07-01",
        "2013-12-31",
    ),
    (
        "sf311/sf311_portal_cleaning_northbeach_2018_2019.csv.gz",
        SF_311,
        4_209,
        4_209,
        "2018-07-01",
        "2019-06-29",
    ),
    (
        "chicago311/chi311_v6vf_2021-01-01.csv.gz",
        CHICAGO_311,
        2_953,
        2_953,
        "2021-01-01",
        "2021-01-01",
    ),
    (
        "chicago311/chi311_sanitation_code_2000_2013.csv.gz",
        CHICAGO_311,
        55_343,
        55_167,
        "2000-01-03",
        "2013-12-31",
    ),
    (
        "crimes/chicago_crimes_2025-02.csv.gz",
        CHICAGO_CRIMES,
        15_448,
        15_448,
        "2025-02-01",
        "2025-02-28",
    ),
]


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "feed", "height", "different", "first", "last"),
    REAL,
    ids=[row[0] for row in REAL],
)
def test_a_real_file_is_read_to_its_last_row(
    real_data: Path, name, feed, height, different, first, last
):
    export = PortalExport(real_data / name, feed)
    rows = everything(export)
    assert rows.height == height == sum(export.days.values())
    assert rows[":id"].n_unique() == height
    assert rows[feed.record_id].n_unique() == different
    assert [str(min(export.days)), str(max(export.days))] == [first, last]
    assert export.observed < datetime.now(UTC).replace(tzinfo=None)


@pytest.mark.real
@pytest.mark.parametrize(("name", "feed"), [row[:2] for row in REAL], ids=[row[0] for row in REAL])
def test_a_real_file_comes_as_another_reader_reads_it(real_data: Path, name: str, feed: Feed):
    export = PortalExport(real_data / name, feed)
    with gzip.open(real_data / name, "rt", encoding="utf-8", newline="") as file:
        expected = [[value or None for value in line] for line in csv.reader(file)][1:]
    assert export.table.height == len(expected)
    assert [list(row) for row in export.table.iter_rows()] == expected


@pytest.mark.real
def test_a_real_file_of_another_feed_is_refused_with_the_right_name(real_data: Path):
    export = PortalExport(real_data / "crimes/chicago_crimes_2025-02.csv.gz", SF_311)
    assert "it looks like chicago_crimes." in refusal(export)
