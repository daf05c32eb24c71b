"""Redaction: what points to a person goes, what only looks like it stays."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city311_assets.atlas.captions import PERSONAL
from city311_assets.atlas.methods.redaction import E_MAIL, PHONE, PLATE, redacted

PHONES = [
    "415-555-2671",
    "(415) 555-2671",
    "(415)555-2671",
    "415.555.2671",
    "415 555 2671",
    "4155552671",
    "+1 415 555 2671",
    "1-415-555-2671",
    "14155552671",
    "415/555-2671",
    "(415)-555-2671",
    "415\u2013555\u20132671",
    "415-555-2671 x12",
    "415-555-2671 ext. 3",
    "+44 20 7946 0958",
    "+33 1 42 68 53 00",
]
E_MAILS = [
    "jane.doe@example.com",
    "jane+311@mail.example.co.uk",
    "JANE_DOE@EXAMPLE.ORG",
    "jane @ example.com",
    "jane (at) example.com",
    "jane[at]example[dot]com",
    "jane at example dot com",
    "žofie@příklad.cz",
]
PLATES = [
    ("{}", "7ABC123"),
    ("{}", "7abc123"),
    ("{}", "7ABC 123"),
    ("{}", "7ABC-123"),
    ("#{}", "8XYZ999"),
    ("license plate {}", "ABC 1234"),
    ("License plate: {}", "ABC1234"),
    ("licence plate number {}", "AB12 3CD"),
    ("plate # is {}", "1191880"),
    ("Plate {}", "6ABC123"),
    ("plates {} and a dent", "WRE 409"),
    ("lic. {}", "HDR117"),
    ("LIC # {}", "FBC6264"),
    ("LP: {}", "XY-1234"),
    ("License plate is {}", "GOGREEN"),
    ("license plate ({})", "5TPL221"),
    ("tag: {}", "GZG137"),
]
LISTS = [
    ("white - Ford - Van - {}", "5433"),
    ("Black - Toyota - Sienna - {}", "ZBIBFR"),
    ("Silver - Honda - Accord - {}", "7QRS441"),
    ("Red - Toyota  - Tundra V6 - {}", "32768E2"),
    ("White - GMC -  - {}", "4W86437"),
    ("Gold - Ford - van - {}", "879-ZXM"),
    ("Gray - Jeep - wrangler - {}", "093 XBL"),
    ("Blue - Honda - {}", "7?PZ4?2"),
    ("yellow - Ford - Mustang - {}", "WRE 409"),
    ("White - Truck - {}", "AE 95085"),
    ("dark - Kia -  - {}", "djah903"),
]
KEPT = [
    "white toyota - N/A",
    "Abandoned Vehicle. White - Ford - Explorer - NONE",
    "Abandoned Vehicle. tan - Aktiv Hymer -  - ???????",
    "Abandoned Vehicle. white  - isuzu - 26' bob tail - no plat",
    "Abandoned Vehicle - DeliveryTruck",
    "Case 101002345678 repeats 101002345679",
    "case number 4155552671",
    "SR# 7276865",
    "SR21-00012345",
    "Complaint No. 201784711 has been filed",
    "request #2125550188",
    "1200-1298 Market St",
    "500-1000 block of Valencia St",
    "3721 24th St between 200 and 400 5th Ave",
    "60 ft zone requested from 03/24/2015 to 03/26/2015",
    "opened 2026-01-02T09:00:00.000 and closed 2026-02-11",
    "37.7749295, -122.4194155",
    "1866961.7766",
    "since 2019, again in 2021",
    "license plate on 5th Street is missing",
    "the license plate was covered",
    "license plate: NONE",
    "plate missing 2 days",
    "metal plate on 16th St is loose",
    "steel plates at 123 Main St rattle",
    "a plate of 3 cars",
    "BMW 325 and Mercedes GLA 250 parked",
    "Ford E150 and F250, Lexus ES350 car",
    "Outofsewervent4inch",
    "24TH ST AND 3RD AVE 200 feet from the parking lot",
    "light pole 12345 is out",
    "the 14R bus, route 49, zip 94103",
    "look at the corner, meet at 5 pm",
    "@sf311 thank you",
    "5 the 100 yards, 2 and 300",
    "",
    "   ",
]


@pytest.mark.parametrize("phone", PHONES)
@pytest.mark.parametrize("around", ["{}", "call {} now", "Tel:{}.", "(owner {})", "a\n{}\nb"])
def test_a_phone_number_goes_wherever_it_stands(phone: str, around: str):
    assert redacted(around.format(phone)) == around.format(PHONE)


@pytest.mark.parametrize("address", E_MAILS)
def test_an_e_mail_address_goes_also_in_words(address: str):
    assert redacted(f"write to {address}, please") == f"write to {E_MAIL}, please"


@pytest.mark.parametrize(("around", "plate"), PLATES)
def test_a_plate_goes_by_its_shape_or_by_what_it_is_said_to_be(around: str, plate: str):
    assert redacted(around.format(plate)) == around.format(PLATE)
    assert redacted(f"Grey van, {around.format(plate)}.") == f"Grey van, {around.format(PLATE)}."


@pytest.mark.parametrize(("around", "plate"), LISTS)
def test_the_last_of_colour_make_and_model_is_a_plate(around: str, plate: str):
    text = f"Abandoned Vehicle. {around}"
    assert redacted(text.format(plate)) == text.format(PLATE)


def test_seven_digits_are_a_phone_number_only_where_they_are_said_to_be():
    assert redacted("call 555-0123 after 5") == f"call {PHONE} after 5"
    assert redacted("500-0123 is a range") == "500-0123 is a range"


def test_letters_and_digits_are_a_plate_only_beside_a_vehicle():
    assert redacted("parked car FBC6264") == f"parked car {PLATE}"
    assert redacted("asset FBC6264") == "asset FBC6264"


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_like_it_stays(text: str):
    assert redacted(text) == text


def test_several_in_one_text_all_go():
    text = "7ABC123 and 8DEF456: call 415-555-2671 or (628) 555-0199, or a@b.com, c@d.org"
    assert redacted(text) == f"{PLATE} and {PLATE}: call {PHONE} or {PHONE}, or {E_MAIL}, {E_MAIL}"


PIECES = st.sampled_from(
    ["415", "555", "2671", "-", ".", " ", "(", ")", "+1", "@", "a", "b.com", "call ", "case ", "#",
     "7ABC123", "plate ", "ABC", "1234", " - ", "car", "\n", "x", "/", "é", "0", "1"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=14).map("".join))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_what_the_check_looks_for_is_never_left(text: str):
    assert not re.search(PERSONAL, redacted(text), re.ASCII)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_redacting_again_changes_nothing(text: str):
    once = redacted(text)
    assert redacted(once) == once


def test_a_long_text_is_redacted_in_time_that_grows_with_its_length():
    # Backtracking over these would take minutes.
    for text in ("a." * 20_000 + "@", "1 " * 20_000, "- " * 20_000, "plate " * 8_000, "4" * 40_000):
        assert redacted(f"car {text}") == f"car {text}"
