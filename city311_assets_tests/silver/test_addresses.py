"""Streets: the address without its house number and city."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.silver.addresses import streets


def street(address: str | None) -> str | None:
    frame = pl.DataFrame({"address": [address]}, schema={"address": pl.String})
    return frame.select(streets(pl.col("address"))).item()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("2111 W Lexington ST", "W Lexington ST"),
        ("0000X W RANDOLPH ST", "W RANDOLPH ST"),
        ("034XX W RANDOLPH ST", "W RANDOLPH ST"),
        ("034xx W RANDOLPH ST", "W RANDOLPH ST"),
        ("12-14 OAK ST", "OAK ST"),
        ("12/14 OAK ST", "OAK ST"),
        ("100A MAIN ST", "MAIN ST"),
        ("100 5TH AVE", "5TH AVE"),
        ("5TH AVE", "5TH AVE"),
        ("19TH AVE, SAN FRANCISCO, CA 94116", "19TH AVE"),
        ("1234 MARKET ST, SAN FRANCISCO, CA, 94103", "MARKET ST"),
        ("Intersection of ANDERSON ST and ANDOVER ST", "ANDERSON ST"),
        ("INTERSECTION OF 5TH ST AND MARKET ST, SAN FRANCISCO, CA 94103", "5TH ST"),
        ("Intersection of Oak St & Fell St", "Oak St"),
        ("Intersection of GRAND VIEW AVE and ROMAIN ST", "GRAND VIEW AVE"),
        ("  800   N   STATE  ST ", "N STATE ST"),
        ("MARKET ST", "MARKET ST"),
        ("123 MAIN ST APT 4", "MAIN ST"),
        ("123 MAIN ST, Apt J, SAN FRANCISCO, CA, 94124", "MAIN ST"),
        ("123 1/2 MAIN ST", "MAIN ST"),
        ("", None),
        ("   ", None),
        (", CHICAGO", None),
        (None, None),
    ],
)
def test_a_street_is_its_address_without_number_and_city(address: str | None, expected: str | None):
    assert street(address) == expected


NAMES = st.sampled_from(["OAK ST", "W 35TH ST", "5TH AVE", "N STATE ST", "Avenue of the Palms"])
NUMBERS = st.one_of(
    st.integers(0, 99_999).map(str),
    st.integers(0, 999).map(lambda n: f"{n:03}XX"),
    st.tuples(st.integers(1, 999), st.integers(1, 999)).map(lambda n: f"{n[0]}-{n[1]}"),
    st.just("0000X"),
)
CITIES = st.sampled_from(["", ", SAN FRANCISCO, CA 94103", ", CHICAGO"])


@given(number=NUMBERS, name=NAMES, city=CITIES)
def test_any_number_and_any_city_come_off(number: str, name: str, city: str):
    assert street(f"{number} {name}{city}") == name


@given(number=NUMBERS, name=NAMES, other=NAMES, city=CITIES)
def test_the_street_of_a_street_is_itself(number: str, name: str, other: str, city: str):
    for address in (f"{number} {name}{city}", f"Intersection of {name} and {other}{city}", name):
        once = street(address)
        assert once == name
        assert street(once) == once
