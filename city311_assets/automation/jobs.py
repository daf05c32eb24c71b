"""Jobs: what a schedule materializes together."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from city311_assets.feeds.feed import City, Feed
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.warehouse.tables.bronze import (
    BOUNDARIES,
    RECORDS,
    WEATHER,
    WEATHER_FORECASTS,
    WITHDRAWN_RECORDS,
)
from city311_assets.warehouse.tables.silver import RECORDS as SILVER_RECORDS
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS, WEATHER_DAYS

# What `define_asset_job` returns; Dagster has no public name for it.
Job = UnresolvedAssetJobDefinition


def records_job(feed: Feed) -> Job:
    """Return the job that brings one feed's records from the portal to silver."""
    tables = [RECORDS[feed.name], WITHDRAWN_RECORDS, SILVER_RECORDS[feed.table], REJECTED_RECORDS]
    return dg.define_asset_job(
        f"records_{feed.name}",
        dg.AssetSelection.assets(*(table.key(feed.name) for table in tables)),
        description=f"{feed.title}, from the portal to silver.",
    )


def weather_job(city: City) -> Job:
    """Return the job that brings one city's weather to silver."""
    tables = [WEATHER, WEATHER_FORECASTS, WEATHER_DAYS]
    return dg.define_asset_job(
        f"weather_{city.name}",
        dg.AssetSelection.assets(*(table.key(city.name) for table in tables)),
        description=f"Weather of {city.title}, archive and forecast, to silver.",
    )


RECORDS_JOBS = {feed.name: records_job(feed) for feed in FEEDS.values()}
WEATHER_JOBS = {city.name: weather_job(city) for city in CITIES.values()}
BOUNDARIES_JOB = dg.define_asset_job(
    "boundaries",
    dg.AssetSelection.assets(*(BOUNDARIES.key(city) for city in CITIES)),
    description="Areas that the portals publish, of every city.",
)
JOBS = [*RECORDS_JOBS.values(), *WEATHER_JOBS.values(), BOUNDARIES_JOB]
