"""Conditions: when a table that is made of other tables is made again, without a schedule.

Any day, not only the newest: 311 lives in old days. A day waits until the blocking checks of what
it is made of have passed on that day. What has no days is left out: a boundary drawn anew would ask
for every day there is, which an operator may do and nothing does by surprise.
"""

import dagster as dg

from city311_assets.feeds.registry import CITIES
from city311_assets.warehouse.tables.bronze import BOUNDARIES

WITHOUT_DAYS = dg.AssetSelection.assets(*(BOUNDARIES.key(city) for city in CITIES))

ANY_DAY = (
    dg.AutomationCondition.eager()
    .without(dg.AutomationCondition.in_latest_time_window())
    .ignore(WITHOUT_DAYS)
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("any day, of sound slices")

AUTOMATION = dg.AutomationConditionSensorDefinition(
    "any_day",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Carries new and changed days to the tables that are made of them.",
)


def with_automation(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return a spec that follows what it is made of; roots and what chose for itself stay."""
    if spec.automation_condition or not spec.deps or spec.partitions_def is None:
        return spec
    return spec.replace_attributes(automation_condition=ANY_DAY)
