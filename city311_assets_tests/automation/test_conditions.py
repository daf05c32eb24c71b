"""Conditions: a day that came in or changed is carried on, also an old one, and only when sound."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
import pytest

from city311_assets.automation.conditions import ANY_DAY
from city311_assets.automation.jobs import WRITTEN_BY, asking_for
from city311_assets.bronze.boundaries import boundaries
from city311_assets.bronze.records import records
from city311_assets.definitions import defs as code_location
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import BY_CHUNK, CARRIES_ON, DAYS, range_tags
from city311_assets.silver.requests import requests
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.bronze import RECORDS, WITHDRAWN_RECORDS
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS, REQUESTS
from city311_assets_tests.portals import Portals

FIRST, LAST = dt.date(2026, 3, 1), dt.date(2026, 3, 3)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
SILVER = REQUESTS.key("sf_311")
# Written in one transaction, so run together.
IN_BRONZE = (RECORDS["sf_311"].key("sf_311"), WITHDRAWN_RECORDS.key("sf_311"))
IN_SILVER = (SILVER, REJECTED_RECORDS.key("sf_311"))
AFTER = dg.AssetKey(["gold", "after"])
GRAPH = code_location.resolve_asset_graph()


@dataclass
class Graph:
    """Some of the graph, what hangs from it, and its automation, tick by tick."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    cursor: object = field(default=None)

    def run(
        self,
        *keys: dg.AssetKey,
        first: dt.date = FIRST,
        last: dt.date | None = None,
        carries_on: bool = False,
    ) -> bool:
        tags = range_tags(first, last or first)
        if (last or first) == first:
            tags = {"dagster/partition": first.isoformat()}
        if carries_on:
            tags[CARRIES_ON] = "true"
        job = self.defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=keys,
            tags=tags,
            run_config=QUIET,
            raise_on_error=False,
        ).success

    def asks_for(self, key: dg.AssetKey) -> list[str]:
        tick = dg.evaluate_automation_conditions(
            self.defs,
            self.instance,
            cursor=self.cursor,  # pyright: ignore[reportArgumentType]
        )
        self.cursor = tick.cursor
        return sorted(str(day) for day in tick.get_requested_partitions(key))


SOUND = Property("sound", "No request says otherwise.", f"from {REQUESTS} where status = 'bad'")


@contextmanager
def graph(warehouse: Warehouse, portal: Portals) -> Iterator[Graph]:
    @dg.asset(
        key=AFTER,
        deps=[SILVER],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        automation_condition=ANY_DAY,
    )
    def after() -> None: ...

    def follow(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(automation_condition=ANY_DAY) if spec.deps else spec

    declared = [*boundaries(SF_311.city), *records(SF_311), *requests(SF_311)]
    checks = [one for one in declared if isinstance(one, dg.AssetChecksDefinition)]
    assets = [one for one in declared if not isinstance(one, dg.AssetChecksDefinition)]
    with dg.DagsterInstance.ephemeral() as instance:
        yield Graph(
            dg.Definitions(
                assets=[*dg.map_asset_specs(follow, assets), after],
                asset_checks=[*checks, slice_checks([SOUND], REQUESTS, "sf_311")],
                resources={"sources": portal.sources, "warehouse": warehouse},
            ),
            instance,
        )


def case(number: str, day: dt.date, **values: str) -> dict[str, str | None]:
    opened = {"service_request_id": number, "requested_datetime": f"{day}T09:00:00.000"}
    return {**opened, "service_name": "Graffiti", **values}


def test_a_day_that_came_in_alone_is_carried_to_silver(warehouse: Warehouse, portal: Portals):
    with graph(warehouse, portal) as some:
        assert some.asks_for(SILVER) == []
        assert some.run(*IN_BRONZE, first=FIRST)
        assert some.asks_for(SILVER) == ["2026-03-01"]
        assert some.asks_for(SILVER) == []


def test_a_range_of_old_days_is_carried_day_by_day(warehouse: Warehouse, portal: Portals):
    with graph(warehouse, portal) as some:
        some.asks_for(SILVER)
        assert some.run(*IN_BRONZE, first=FIRST, last=LAST)
        assert some.asks_for(SILVER) == ["2026-03-01", "2026-03-02", "2026-03-03"]


def test_a_run_that_makes_both_asks_for_nothing_more(warehouse: Warehouse, portal: Portals):
    with graph(warehouse, portal) as some:
        some.asks_for(SILVER)
        assert some.run(*IN_BRONZE, *IN_SILVER, first=FIRST, last=LAST)
        assert some.asks_for(SILVER) == []


@pytest.mark.parametrize("job", sorted(WRITTEN_BY))
def test_what_schedules_and_sensors_ask_for_names_all_that_it_makes(job: str):
    """Without the names `any_day` would make silver once more after each of these runs."""
    request = asking_for(job, FIRST, LAST, "a key", {"tag": "value"})
    resolved = code_location.resolve_job_def(job).asset_layer.executable_asset_keys
    assert {*(request.asset_selection or [])} == {*resolved}
    assert request.tags == {**range_tags(FIRST, LAST), CARRIES_ON: "true", "tag": "value"}


def test_a_run_that_goes_on_to_silver_is_left_to_it_half_way(warehouse: Warehouse, portal: Portals):
    with graph(warehouse, portal) as some:
        # Dagster compares with the tick before, which must have seen some event.
        assert some.run(*IN_BRONZE, *IN_SILVER, first=LAST)
        some.asks_for(SILVER)
        assert some.run(*IN_BRONZE, first=FIRST, last=LAST, carries_on=True)
        assert some.asks_for(SILVER) == []
        assert some.run(*IN_BRONZE, first=FIRST, last=FIRST)
        assert some.asks_for(SILVER) == ["2026-03-01"]


def test_a_day_that_changed_is_carried_again(warehouse: Warehouse, portal: Portals):
    with graph(warehouse, portal) as some:
        some.asks_for(SILVER)
        assert some.run(*IN_BRONZE, *IN_SILVER, first=FIRST, last=LAST)
        some.asks_for(SILVER)
        assert some.run(*IN_BRONZE, first=LAST)
        assert some.asks_for(SILVER) == ["2026-03-03"]


def test_a_day_that_is_not_sound_waits_and_the_others_go_on(warehouse: Warehouse, portal: Portals):
    second = FIRST + dt.timedelta(days=1)
    portal.publish(SF_311, case("1", FIRST), case("2", second, status_description="bad"))
    with graph(warehouse, portal) as some:
        some.asks_for(AFTER)
        assert not some.run(*IN_BRONZE, *IN_SILVER, first=FIRST, last=LAST)
        assert some.asks_for(AFTER) == ["2026-03-01", "2026-03-03"]
        portal.publish(SF_311, case("1", FIRST), case("2", second))
        assert some.run(*IN_BRONZE, *IN_SILVER, first=FIRST, last=LAST)
        assert "2026-03-02" in some.asks_for(AFTER)


def test_a_sound_day_that_turns_bad_waits(warehouse: Warehouse, portal: Portals):
    portal.publish(SF_311, case("1", FIRST))
    with graph(warehouse, portal) as some:
        some.asks_for(AFTER)
        assert some.run(*IN_BRONZE, *IN_SILVER, first=FIRST, last=LAST)
        assert len(some.asks_for(AFTER)) == 3
        portal.publish(SF_311, case("1", FIRST, status_description="bad"))
        assert not some.run(*IN_BRONZE, *IN_SILVER, first=FIRST, last=LAST)
        assert "2026-03-01" not in some.asks_for(AFTER)


def test_new_boundaries_ask_for_no_day(warehouse: Warehouse, portal: Portals):
    with graph(warehouse, portal) as some:
        assert some.run(*IN_BRONZE, *IN_SILVER, first=FIRST, last=LAST)
        some.asks_for(SILVER)
        job = some.defs.resolve_implicit_global_asset_job_def()
        key = dg.AssetKey(["bronze", "boundaries", "san_francisco"])
        done = job.execute_in_process(
            instance=some.instance, asset_selection=[key], run_config=QUIET
        )
        assert done.success
        assert some.asks_for(SILVER) == []


@pytest.mark.parametrize("key", sorted(GRAPH.get_all_asset_keys()), ids=str)
def test_every_sliced_table_made_of_others_follows_them_but_for_what_is_on_its_own(
    key: dg.AssetKey,
):
    """What asks photo hosts and models, or computes for long, runs on its own schedules."""
    node = GRAPH.get(key)
    follows = bool(node.parent_keys) and node.partitions_def is not None
    follows &= key.path[0] not in {"atlas", "causal", "risk"}
    assert (node.automation_condition is not None) == follows


def test_the_automation_is_on_without_anyone():
    (sensor,) = [
        one
        for one in code_location.sensors or []
        if isinstance(one, dg.AutomationConditionSensorDefinition)
    ]
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
