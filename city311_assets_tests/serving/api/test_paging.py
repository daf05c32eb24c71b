"""Pages of a layer: together everything once, and cursors that hold for one question and data."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.serving.api.paging import cursor_at, place_of
from city311_assets.serving.api.parameters import Asked
from city311_assets.serving.api.problems import ProblemError
from city311_assets_tests.serving.api.places import DAYS, FEED


def pages(api, address):
    while address:
        said = api.get(address).json()
        yield said
        address = {link["rel"]: link["href"] for link in said["links"]}.get("next")


@pytest.mark.parametrize(
    "address",
    [
        *("risk?limit=7", "cost?limit=69", "recommendations?limit=1"),
        f"hotspots?limit=5&feed={FEED}",
        f"risk?limit=10&date={DAYS[1]}&bbox=-87.66,41.87,-87.64,41.89",
    ],
)
def test_pages_together_are_everything_once_in_the_same_order(api, address):
    name = address.split("?")[0]
    rest = "&".join(part for part in address.split("?")[1].split("&") if "limit" not in part)
    whole = [one["id"] for one in api.get(f"/api/layers/{name}?{rest}").json()["features"]]
    found = [*pages(api, f"/api/layers/{address}")]
    assert [one["id"] for page in found for one in page["features"]] == whole
    assert len(found) > 1
    assert {page["numberMatched"] for page in found} == {len(whole)}
    assert [page["numberReturned"] for page in found] == [len(page["features"]) for page in found]


def test_pages_may_change_their_size_on_the_way(api):
    first = api.get("/api/layers/risk?limit=3").json()
    on = {link["rel"]: link["href"] for link in first["links"]}["next"]
    rest = api.get(on.replace("limit=3", "limit=10000")).json()
    assert first["numberReturned"] + rest["numberReturned"] == first["numberMatched"]
    assert [link["rel"] for link in rest["links"]] == ["self", "first"]


def test_the_last_page_has_no_next(api):
    *_, last = pages(api, "/api/layers/risk?limit=35")
    assert "next" not in {link["rel"] for link in last["links"]}


def next_cursor(api, address):
    links = {link["rel"]: link["href"] for link in api.get(address).json()["links"]}
    return links["next"].split("cursor=")[1]


def test_a_cursor_of_another_question_is_refused(api):
    cursor = next_cursor(api, "/api/layers/risk?limit=3")
    for other in (f"risk?date={DAYS[0]}", "risk?bbox=-88,41,-87,42", "cost?"):
        answer = api.get(f"/api/layers/{other}&cursor={cursor}")
        assert answer.status_code == 422
        assert answer.json()["parameter"] == "cursor"


def test_a_cursor_of_data_that_has_changed_says_to_begin_again(own_place):
    cursor = next_cursor(own_place.client, "/api/layers/risk?limit=3")
    own_place.change()
    answer = own_place.client.get(f"/api/layers/risk?limit=3&cursor={cursor}")
    assert answer.status_code == 410
    assert "begin again" in answer.json()["detail"]


@pytest.mark.parametrize("at", ["0", "70", "99999999", "-1", "1e3", chr(0x663)])
def test_a_forged_place_is_refused(api, at):
    text = base64.urlsafe_b64decode(next_cursor(api, "/api/layers/risk?limit=3") + "==").decode()
    forged = base64.urlsafe_b64encode(f"{at}.{text.split('.', 1)[1]}".encode()).decode()
    answer = api.get(f"/api/layers/risk?cursor={forged.rstrip('=')}")
    assert answer.status_code == 422


@given(st.integers(1, 9_999), st.text(max_size=40), st.text(max_size=40))
def test_a_cursor_leads_to_its_place_for_its_data_and_question_only(place, version, other):
    asked = Asked("/api/layers/risk", {"date": None, "limit": 5})
    on = Asked(asked.path, dict(asked.values) | {"cursor": cursor_at(place, version, asked)})
    assert place_of(version, on, 10_000) == place
    if other != version:
        with pytest.raises(ProblemError) as refused:
            place_of(other, on, 10_000)
        assert refused.value.status == 410


@given(st.from_regex("[A-Za-z0-9_-]{16,200}", fullmatch=True))
def test_whatever_is_no_cursor_is_refused(text):
    with pytest.raises(ProblemError):
        place_of("v", Asked("/", {"cursor": text}), 10_000)
