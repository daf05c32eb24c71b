"""Conditions: when a table that is made of other tables is made again, without a schedule.

Any day, not only the newest: 311 lives in old days. A day waits until the blocking checks of what
it is made of have passed on that day. What has no days is left out: a boundary drawn anew would ask
for every day there is, which an operator may do and nothing does by surprise. A month follows its
days once a day at most: nights change many of them.
"""

import dagster as dg

from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.partitions import CARRIES_ON, MONTHS
from city311_assets.warehouse.tables.bronze import BOUNDARIES
from city311_assets.warehouse.tables.gold import CELLS

# What costs money or long compute runs on schedules of its own, and never by surprise.
ON_ITS_OWN = {"atlas", "causal", "risk"}
WITHOUT_DAYS = dg.AssetSelection.assets(
    *(BOUNDARIES.key(city) for city in CITIES), *(CELLS.key(feed) for feed in FEEDS)
)
# UTC: the nights of the feeds, from half past three local time, are over by then.
MORNING = "0 13 * * *"

# A run that makes silver after its bronze says so. Dagster knows of the last day of a range only
# that the same run goes on with it, and would have the others made twice.
CAME_IN_ALONE = (
    dg.AutomationCondition.newly_updated()
    & ~dg.AutomationCondition.executed_with_root_target()
    & ~dg.AutomationCondition.all_new_updates_have_run_tags(tag_keys={CARRIES_ON})
).with_label("came in alone")
NEWS = (
    dg.AutomationCondition.any_deps_match(
        CAME_IN_ALONE | dg.AutomationCondition.will_be_requested()
    )
    .ignore(WITHOUT_DAYS)
    .with_label("news")
)

ANY_DAY = (
    NEWS.since_last_handled()
    & ~dg.AutomationCondition.any_deps_missing().ignore(WITHOUT_DAYS)
    & ~dg.AutomationCondition.any_deps_in_progress().ignore(WITHOUT_DAYS)
    & ~dg.AutomationCondition.in_progress()
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("any day, of sound slices")

# Nothing but this makes months: whoever brought the days in, the month wants them.
ANY_MONTH = (
    dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.newly_updated() | dg.AutomationCondition.will_be_requested()
    )
    .ignore(WITHOUT_DAYS)
    .since_last_handled()
    .with_label("news of its days")
    & dg.AutomationCondition.cron_tick_passed(MORNING).since_last_handled().with_label("a new day")
    & ~dg.AutomationCondition.any_deps_in_progress().ignore(WITHOUT_DAYS)
    & ~dg.AutomationCondition.in_progress()
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("any month, once a day, of sound days")

AUTOMATION = dg.AutomationConditionSensorDefinition(
    "any_day",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Carries new and changed days to the tables that are made of them, and to months.",
)


def with_automation(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return a spec that follows what it is made of; roots and what chose for itself stay."""
    if spec.automation_condition or spec.key.path[0] in ON_ITS_OWN:
        return spec
    if not spec.deps or spec.partitions_def is None:
        return spec
    of_months = spec.partitions_def == MONTHS
    return spec.replace_attributes(automation_condition=ANY_MONTH if of_months else ANY_DAY)
