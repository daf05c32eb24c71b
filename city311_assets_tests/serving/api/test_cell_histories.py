"""What happened in one cell, and what was forecast of it."""

import pytest

from city311_assets.warehouse.tables.meta import SLICES
from city311_assets_tests.serving.api.places import DAYS, FEED, HOSTILE, cells, chance


def history(api, cell, **asked):
    answer = api.get(f"/api/cell/{cell:x}/history", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_the_days_end_at_the_newest_that_is_held(api):
    said = history(api, cells(9)[0], days=3)
    assert (said["first_day"], said["last_day"]) == ("2026-03-03", str(DAYS[-1]))
    assert [one["day"] for one in said["days"]] == ["2026-03-03", "2026-03-04", "2026-03-05"]


def test_half_a_year_is_shown_unless_told(api):
    assert len(history(api, cells(9)[0])["days"]) == 180


def test_a_day_without_a_record_has_none_and_a_day_that_is_not_held_is_unknown(api):
    not_held, with_some, empty = history(api, cells(9)[0], days=3)["days"]
    assert (not_held["is_held"], not_held["records"], not_held["categories"]) == (False, None, None)
    assert (with_some["records"], with_some["categories"]) == (5, {"noise": 2, "water": 3})
    assert (with_some["eligible"], with_some["successes"]) == (5, 2)
    assert (empty["is_held"], empty["records"], empty["categories"]) == (True, 0, {})


def test_a_day_that_the_portal_had_not_told_in_full_is_provisional(own_place):
    own_place.publish(
        f"update {SLICES} set asked_at = '2026-03-05 18:00' where day = '2026-03-05'",
        f"update {SLICES} set asked_at = null where day = '2026-03-04'",
    )
    said = history(own_place.client, cells(9)[0], days=5)["days"]
    assert [one["is_provisional"] for one in said] == [False, None, None, None, True]


def test_forecasts_and_outcomes_stand_beside_the_records(api):
    *_, day = history(api, cells(9)[5], days=3)["days"]
    assert day["p_event_7d"] == pytest.approx(chance(5))
    assert (day["calls_after_7d"], day["is_event"]) == (2, True)
    assert day["expected_cost_usd_7d"] == pytest.approx(1234.5678 * chance(5))


def test_a_cell_of_another_resolution_has_records_and_no_forecast(api):
    said = history(api, cells(8)[0], days=3)
    assert all("p_event_7d" not in day for day in said["days"])
    assert said["resolution"] == 8


def test_the_cell_the_feed_and_the_target_are_named(api):
    said = history(api, cells(9)[0], days=1)
    assert said["label"] == HOSTILE
    assert (said["feed"], said["target"]) == (FEED, "leaks")
    assert "A call is not a leak" in said["note"]
    assert history(api, cells(9)[0], target="sanitation", days=1)["target"] == "sanitation"


def test_a_target_of_another_feed_is_refused(api):
    answer = api.get(f"/api/cell/{cells(9)[0]:x}/history?feed=sf_311&target=leaks")
    assert (answer.status_code, answer.json()["parameter"]) == (422, "target")
