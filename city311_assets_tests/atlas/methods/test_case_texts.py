"""The text of a case: what was filed, and nothing that came later."""

import datetime as dt

import polars as pl
import pytest

from city311_assets.atlas.methods.case_texts import case_texts
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.silver.raw import filled

DAY = dt.date(2026, 1, 2)


def cases(*rows: tuple[str | None, str | None, str | None], **others: str) -> pl.DataFrame:
    """Requests of kind, subkind and description, numbered from 0."""
    return filled(
        REQUESTS,
        *(
            {"day": DAY, "record_id": str(n), "kind": k, "subkind": s, "description": d, **others}
            for n, (k, s, d) in enumerate(rows)
        ),
    )


def texts(*rows: tuple[str | None, str | None, str | None]) -> list[str]:
    return case_texts(cases(*rows))["text"].to_list()


def test_the_parts_stand_from_coarse_to_fine():
    row = ("Graffiti", "Graffiti on pole", "Not_Offensive")
    assert texts(row) == ["Graffiti. Graffiti on pole. Not Offensive"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (("Noise", "noise", "Loud"), "Noise. Loud"),
        (("Noise", "Bar", "NOISE"), "Noise. Bar"),
        (("Noise", "Bar", "bar"), "Noise. Bar"),
        (("Noise", None, "Loud"), "Noise. Loud"),
        ((None, None, "Loud  \n music"), "Loud music"),
        (("Noise", "  ", "__"), "Noise"),
    ],
)
def test_a_part_that_says_nothing_new_is_left_out(row: tuple, text: str):
    assert texts(row) == [text]


def test_a_case_without_words_has_no_row():
    found = case_texts(cases(("Noise", None, None), (None, None, None), (None, " ", "")))
    assert found.rows() == [(DAY, "0", "Noise")]
    assert case_texts(cases()).schema == found.schema


def test_what_was_written_at_closing_or_says_where_it_was_is_no_part_of_it():
    plain = cases(("Noise", "Bar", "Loud"), ("Tree", None, None))
    later = cases(
        ("Noise", "Bar", "Loud"),
        ("Tree", None, None),
        status_notes="Case resolved: crew sent",
        status="Closed",
        address="12 Hidden St",
        street="Hidden St",
        agency="Crew",
        neighborhood="Hidden Valley",
        media_url="https://photos.example/1.jpg",
    ).with_columns(closed_at=pl.lit(dt.datetime(2026, 1, 5)), hours_to_close=pl.lit(3.0))
    assert case_texts(later).equals(case_texts(plain))


def test_what_points_to_a_person_is_redacted():
    assert texts(
        ("Abandoned Vehicle", None, "white - Ford - Van - 7ABC123"),
        ("Noise", None, "call 415-555-2671 or a@b.com"),
    ) == [
        "Abandoned Vehicle. white - Ford - Van - [plate]",
        "Noise. call [phone] or [e-mail]",
    ]


def test_the_order_of_cases_changes_no_text():
    rows = cases(*[("Noise", f"Bar {n % 3}", f"{n} times") for n in range(20)])
    turned = case_texts(rows.reverse())
    assert turned["record_id"].to_list() == rows["record_id"].reverse().to_list()
    assert turned.reverse().equals(case_texts(rows))
