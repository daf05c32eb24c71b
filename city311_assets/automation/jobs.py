"""Jobs: what a schedule or a sensor materializes together, and how it asks for it."""

from collections.abc import Mapping
from datetime import date

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from city311_assets.feeds.feed import City, Feed
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.partitions import CARRIES_ON, range_tags
from city311_assets.risk.targets.registry import TARGETS
from city311_assets.risk.targets.target import Target
from city311_assets.warehouse.tables.atlas import (
    CAPTIONS,
    CLUSTER_EVENTS,
    CLUSTER_NAMES,
    CLUSTERS,
    DUPLICATES,
    EMBEDDINGS,
    NEIGHBORS,
    PHOTOS,
    PROJECTIONS,
)
from city311_assets.warehouse.tables.bronze import (
    BOUNDARIES,
    RECORDS,
    WEATHER,
    WEATHER_FORECASTS,
    WITHDRAWN_RECORDS,
)
from city311_assets.warehouse.tables.causal import (
    ATT,
    BALANCE,
    DESIGN,
    MATCHED_PAIRS,
    PLACEBO,
    SENSITIVITY,
)
from city311_assets.warehouse.tables.gold import (
    ANOMALIES,
    CELL_DAY_RATES,
    CELL_DAYS,
    CELLS,
    FORECAST_SCORES,
    FORECASTS,
)
from city311_assets.warehouse.tables.risk import (
    CELL_DAYS as RISK_CELL_DAYS,
)
from city311_assets.warehouse.tables.risk import (
    COSTS,
    EVALUATIONS,
    MODELS,
    OUTCOMES,
    RECOMMENDATIONS,
    SCORES,
    WARD_COVERAGE,
)
from city311_assets.warehouse.tables.silver import RECORDS as SILVER_RECORDS
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS, WEATHER_DAYS

# What `define_asset_job` returns; Dagster has no public name for it.
Job = UnresolvedAssetJobDefinition
# What a feed's days go on to; months follow by themselves.
DAILY_GOLD = (CELL_DAYS, CELL_DAY_RATES, FORECASTS, FORECAST_SCORES, ANOMALIES)
# What is asked of photo hosts and models, and what a month's map is made of.
DAILY_ATLAS = (PHOTOS, CAPTIONS, EMBEDDINGS, DUPLICATES)
MONTHLY_ATLAS = (NEIGHBORS, CLUSTERS, CLUSTER_NAMES, CLUSTER_EVENTS, PROJECTIONS)
# A month's effects are those of the cases that its map shows.
MONTHLY_CAUSAL = (MATCHED_PAIRS, BALANCE, ATT, SENSITIVITY, PLACEBO, DESIGN)

# What a night says of risk, and what becomes known of the days before.
DAILY_RISK = (RISK_CELL_DAYS, SCORES, COSTS, RECOMMENDATIONS, WARD_COVERAGE)
MONTHLY_RISK = (MODELS, EVALUATIONS)


def records_keys(feed: Feed) -> list[dg.AssetKey]:
    """Return what one feed's job writes."""
    tables = [RECORDS[feed.name], WITHDRAWN_RECORDS, SILVER_RECORDS[feed.table], REJECTED_RECORDS]
    return [table.key(feed.name) for table in (*tables, *DAILY_GOLD)]


def weather_keys(city: City) -> list[dg.AssetKey]:
    """Return what one city's weather job writes."""
    return [table.key(city.name) for table in (WEATHER, WEATHER_FORECASTS, WEATHER_DAYS)]


def records_job(feed: Feed) -> Job:
    """Return the job that brings one feed's records from the portal to daily gold."""
    return dg.define_asset_job(
        f"records_{feed.name}",
        dg.AssetSelection.assets(*records_keys(feed)),
        description=f"{feed.title}, from the portal to what gold tells of days.",
    )


def weather_job(city: City) -> Job:
    """Return the job that brings one city's weather to silver."""
    return dg.define_asset_job(
        f"weather_{city.name}",
        dg.AssetSelection.assets(*weather_keys(city)),
        description=f"Weather of {city.title}, archive and forecast, to silver.",
    )


def atlas_job(feed: Feed) -> Job:
    """Return the job that fetches one feed's photos, describes and embeds its cases."""
    return dg.define_asset_job(
        f"atlas_{feed.name}",
        dg.AssetSelection.assets(*(table.key(feed.name) for table in DAILY_ATLAS)),
        description=f"Photos, captions, vectors and duplicates of {feed.title}.",
    )


def atlas_months_job(feed: Feed) -> Job:
    """Return the job that draws one feed's map of a month, and estimates its effects."""
    return dg.define_asset_job(
        f"atlas_months_{feed.name}",
        dg.AssetSelection.assets(
            *(table.key(feed.name) for table in (*MONTHLY_ATLAS, *MONTHLY_CAUSAL))
        ),
        description=f"Clusters, their names, the maps and the effects of months of {feed.title}.",
    )


def risk_job(target: Target) -> Job:
    """Return the job that scores one target's days, and keeps what came of days before."""
    return dg.define_asset_job(
        f"risk_{target.name}",
        dg.AssetSelection.assets(*(t.key(target.name) for t in (*DAILY_RISK, OUTCOMES))),
        description=f"Features, outcomes, scores, costs and work lists: {target.title}.",
    )


def risk_months_job(target: Target) -> Job:
    """Return the job that fits one target's models of a month, and evaluates them."""
    return dg.define_asset_job(
        f"risk_months_{target.name}",
        dg.AssetSelection.assets(*(table.key(target.name) for table in MONTHLY_RISK)),
        description=f"Models of months and how they did: {target.title}.",
    )


RECORDS_JOBS = {feed.name: records_job(feed) for feed in FEEDS.values()}
WEATHER_JOBS = {city.name: weather_job(city) for city in CITIES.values()}
ATLAS_JOBS = {f.name: atlas_job(f) for f in FEEDS.values() if f.kind == "request"}
ATLAS_MONTHS_JOBS = {name: atlas_months_job(FEEDS[name]) for name in ATLAS_JOBS}
RISK_JOBS = {target.name: risk_job(target) for target in TARGETS.values()}
RISK_MONTHS_JOBS = {target.name: risk_months_job(target) for target in TARGETS.values()}
BOUNDARIES_JOB = dg.define_asset_job(
    "boundaries",
    dg.AssetSelection.assets(*(BOUNDARIES.key(city) for city in CITIES)),
    description="Areas that the portals publish, of every city.",
)
CELLS_JOB = dg.define_asset_job(
    "cells",
    dg.AssetSelection.assets(*(CELLS.key(feed) for feed in FEEDS)),
    description="Study areas of every feed, with the labels that records give their cells.",
)
JOBS = [
    *RECORDS_JOBS.values(),
    *WEATHER_JOBS.values(),
    *ATLAS_JOBS.values(),
    *ATLAS_MONTHS_JOBS.values(),
    *RISK_JOBS.values(),
    *RISK_MONTHS_JOBS.values(),
    BOUNDARIES_JOB,
    CELLS_JOB,
]
WRITTEN_BY = {
    **{f"records_{feed.name}": records_keys(feed) for feed in FEEDS.values()},
    **{f"weather_{city.name}": weather_keys(city) for city in CITIES.values()},
    **{f"atlas_{name}": [table.key(name) for table in DAILY_ATLAS] for name in ATLAS_JOBS},
}


def asking_for(
    job: str, first: date, last: date, run_key: str, tags: Mapping[str, str] | None = None
) -> dg.RunRequest:
    """Return the request of one run of a job over a range of days, both ends included.

    It names the job's assets and says that it carries its days on: else `any_day` would not see
    that silver is made by the same run as its bronze, and make it again.
    """
    return dg.RunRequest(
        run_key=run_key,
        asset_selection=WRITTEN_BY[job],
        tags=range_tags(first, last) | {CARRIES_ON: "true"} | dict(tags or {}),
    )
