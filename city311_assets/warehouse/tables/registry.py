"""Every table of the warehouse, in the order of the layers, and what it knows of itself."""

from city311_assets.warehouse.tables import atlas, bronze, gold, meta, silver
from city311_assets.warehouse.tables.table import Table

TABLES: tuple[Table, ...] = (
    *bronze.RECORDS.values(),
    bronze.WITHDRAWN_RECORDS,
    bronze.WEATHER,
    bronze.WEATHER_FORECASTS,
    bronze.BOUNDARIES,
    silver.REQUESTS,
    silver.INCIDENTS,
    silver.REJECTED_RECORDS,
    silver.WEATHER_DAYS,
    gold.CELLS,
    gold.CELL_DAYS,
    gold.CELL_DAY_RATES,
    gold.CELL_MONTHS,
    gold.CELL_PROFILES,
    gold.HOTSPOTS,
    gold.FORECASTS,
    gold.FORECAST_SCORES,
    gold.ANOMALIES,
    atlas.PHOTOS,
    atlas.CAPTIONS,
    atlas.MODEL_CALLS,
    atlas.MODEL_ANSWERS,
    atlas.TEXT_MODELS,
    atlas.EMBEDDINGS,
    atlas.NEIGHBORS,
    atlas.CLUSTERS,
    atlas.CLUSTER_NAMES,
    atlas.CLUSTER_EVENTS,
    atlas.PROJECTIONS,
    atlas.DUPLICATES,
    meta.SLICES,
)
