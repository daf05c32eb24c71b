"""The code location: gathers everything, and sets group, owners and automation once."""

import warnings

import dagster as dg

from city311_assets.atlas.captions import captions
from city311_assets.atlas.cluster_events import cluster_events
from city311_assets.atlas.cluster_names import cluster_names
from city311_assets.atlas.clusters import clusters
from city311_assets.atlas.duplicates import duplicates
from city311_assets.atlas.embeddings import embeddings
from city311_assets.atlas.neighbors import neighbors
from city311_assets.atlas.photos import photos
from city311_assets.atlas.projections import projections
from city311_assets.atlas.text_models import text_models
from city311_assets.automation.alerts import alerts
from city311_assets.automation.changed_days import CHANGED_DAYS
from city311_assets.automation.conditions import AUTOMATION, with_automation
from city311_assets.automation.jobs import JOBS
from city311_assets.automation.maintenance import MAINTENANCE_JOB
from city311_assets.automation.maintenance import WEEKLY as WEEKLY_MAINTENANCE
from city311_assets.automation.publication import PUBLISH_JOB, publication
from city311_assets.automation.schedules import SCHEDULES
from city311_assets.bronze.boundaries import boundaries
from city311_assets.bronze.records import records
from city311_assets.bronze.sources import Sources
from city311_assets.bronze.weather import weather
from city311_assets.bronze.weather_forecasts import weather_forecasts
from city311_assets.causal.att import att
from city311_assets.causal.balance import balance
from city311_assets.causal.design import design
from city311_assets.causal.matched_pairs import matched_pairs
from city311_assets.causal.placebo import placebo
from city311_assets.causal.sensitivity import sensitivity
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.gold.anomalies import anomalies
from city311_assets.gold.cell_day_rates import cell_day_rates
from city311_assets.gold.cell_days import cell_days
from city311_assets.gold.cell_months import cell_months
from city311_assets.gold.cell_profiles import cell_profiles
from city311_assets.gold.cells import cells
from city311_assets.gold.forecast_scores import forecast_scores
from city311_assets.gold.forecasts import forecasts
from city311_assets.gold.hotspots import hotspots
from city311_assets.risk.cell_days import cell_days as risk_cell_days
from city311_assets.risk.costs import costs
from city311_assets.risk.evaluations import evaluations
from city311_assets.risk.models import models
from city311_assets.risk.outcomes import outcomes
from city311_assets.risk.recommendations import recommendations
from city311_assets.risk.scores import scores
from city311_assets.risk.targets.registry import TARGETS
from city311_assets.risk.ward_coverage import ward_coverage
from city311_assets.settings import settings
from city311_assets.silver.incidents import incidents
from city311_assets.silver.requests import requests
from city311_assets.silver.weather_days import weather_days
from city311_assets.warehouse.opening import warehouse_of
from city311_assets.warehouse.resource import Warehouse

# Partitioned checks and backfill policies are marked as not final; what they do is pinned by tests.
warnings.simplefilter("ignore", dg.PreviewWarning)
warnings.simplefilter("ignore", dg.BetaWarning)

OWNERS = ["team:civic-data"]
SILVER = {"request": requests, "incident": incidents}
GOLD = (
    cells,
    cell_days,
    cell_day_rates,
    cell_months,
    cell_profiles,
    hotspots,
    forecasts,
    forecast_scores,
    anomalies,
)
# Of what people complain about; a crime has no complaint to describe.
ATLAS = (
    photos,
    captions,
    text_models,
    embeddings,
    neighbors,
    clusters,
    cluster_names,
    cluster_events,
    projections,
    duplicates,
)
CAUSAL = (matched_pairs, balance, att, sensitivity, placebo, design)
RISK = (
    risk_cell_days,
    outcomes,
    evaluations,
    models,
    scores,
    costs,
    recommendations,
    ward_coverage,
)
OF_KIND = {"request": (*GOLD, *ATLAS, *CAUSAL), "incident": GOLD}


def _declared() -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Return every asset and check of every feed, city and target."""
    of_cities = [
        one
        for city in CITIES.values()
        for declare in (boundaries, weather, weather_forecasts, weather_days)
        for one in declare(city)
    ]
    of_feeds = [
        one
        for feed in FEEDS.values()
        for declare in (records, SILVER[feed.kind], *OF_KIND[feed.kind])
        for one in declare(feed)
    ]
    of_targets = [one for target in TARGETS.values() for declare in RISK for one in declare(target)]
    return [*of_cities, *of_feeds, *of_targets]


def _with_policy(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return a spec with the platform's group, owners and automation; its own choices stay."""
    own = spec.replace_attributes(group_name=spec.key.path[0], owners=list(spec.owners) or OWNERS)
    return with_automation(own)


def build(sources: Sources, warehouse: Warehouse) -> dg.Definitions:
    """Return the code location over given sources and warehouse."""
    declared = _declared()
    checks = [one for one in declared if isinstance(one, dg.AssetChecksDefinition)]
    assets = [one for one in declared if not isinstance(one, dg.AssetChecksDefinition)]
    return dg.Definitions(
        assets=dg.map_asset_specs(_with_policy, assets),
        asset_checks=checks,
        jobs=[*JOBS, PUBLISH_JOB, MAINTENANCE_JOB],
        schedules=[*SCHEDULES, WEEKLY_MAINTENANCE],
        sensors=[AUTOMATION, *CHANGED_DAYS, publication, alerts],
        resources={"sources": sources, "warehouse": warehouse},
        executor=dg.in_process_executor,
    )


def warehouse() -> Warehouse:
    """Return the warehouse that the settings name."""
    return warehouse_of(settings())


defs = build(Sources.of(settings()), warehouse())
