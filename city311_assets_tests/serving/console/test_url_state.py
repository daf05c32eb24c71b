"""The state of a page in its address: written and read again, it is the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.serving.console.url_state import Control, search_of, values_of

CONTROLS = (
    Control("p-feed", "feed", default="sf_311"),
    Control("p-from", "from"),
    Control("p-category", "category", "list", []),
    Control("p-resolution", "resolution", "number", 8),
)
TEXT = st.text(min_size=1).filter(lambda text: text.isprintable())
VALUES = st.fixed_dictionaries(
    {
        "feed": TEXT,
        "from": st.none() | TEXT,
        "category": st.lists(TEXT),
        "resolution": st.integers(6, 10) | st.floats(-5, 5, allow_nan=False),
    }
)


@given(VALUES)
def test_a_view_that_is_written_into_an_address_is_read_from_it(values: dict[str, Any]):
    assert values_of(search_of(values, CONTROLS), CONTROLS) == values


def test_defaults_are_left_out_and_come_back():
    values = {"feed": "sf_311", "from": None, "category": [], "resolution": 8}
    assert search_of({**values}, CONTROLS) == ""
    assert values_of("", CONTROLS) == values
    assert values_of(None, CONTROLS) == values


def test_an_explicitly_empty_list_differs_from_none_given():
    control = Control("p-c", "c", "list", None)
    assert search_of({"c": []}, [control]) == "?c="
    assert values_of("?c=", [control]) == {"c": []}
    assert values_of("", [control]) == {"c": None}


def test_a_number_that_is_none_comes_back_as_it_was_written():
    assert values_of("?resolution=many", CONTROLS)["resolution"] == "many"


@pytest.mark.parametrize("search", ["?unknown=1", "?&&&", "?=", "?feed=a&feed=b"])
def test_what_nobody_knows_is_passed_over_and_the_last_of_one_counts(search: str):
    assert values_of(search, CONTROLS)["feed"] == ("b" if "feed=b" in search else "sf_311")
