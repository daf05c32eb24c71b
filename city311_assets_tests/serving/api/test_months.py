"""Effects and clusters: a feed's month as JSON."""

from city311_assets.warehouse.tables.atlas import CLUSTER_EVENTS
from city311_assets.warehouse.tables.causal import SENSITIVITY
from city311_assets_tests.serving.api.places import ATLAS_FEED, HOSTILE


def month(api, name):
    answer = api.get(f"/api/{name}")
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["feed"], said["month"]) == (ATLAS_FEED, "2026-03")
    assert (said["model_version"], said["as_of"][-1]) == ("local-1", "Z")
    return said


def test_effects_begin_with_those_to_quote_and_say_what_they_are_not(api):
    said = month(api, "effects")
    assert [one["is_headline"] for one in said["effects"]] == [True, False]
    assert said["effects"][0]["att_hours"] == 7.25
    assert said["effects"][0]["low"] is None
    assert "not a treatment" in said["note"]
    assert len(said["sensitivity"]) == 1
    assert said["placebo"] == []


def test_an_instant_says_its_zone(api):
    (design,) = month(api, "effects")["design"]
    assert design["maturity_at_utc"] == "2026-03-06T03:00:00Z"


def test_clusters_come_by_size_with_what_became_of_them(api):
    said = month(api, "clusters")
    assert [one["size"] for one in said["clusters"]] == [20, 10]
    assert {one["name"] for one in said["clusters"]} == {HOSTILE}
    assert [one["event"] for one in said["events"]] == ["birth"]


def test_the_month_may_be_named(api):
    assert api.get("/api/effects?month=2026-03&feed=sf_311").status_code == 200


def test_a_part_that_an_older_file_lacks_is_null(own_place):
    own_place.drop(SENSITIVITY, CLUSTER_EVENTS)
    assert month(own_place.client, "effects")["sensitivity"] is None
    assert month(own_place.client, "clusters")["events"] is None
