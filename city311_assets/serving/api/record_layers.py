"""Layers of records: hot spots of a month, and days that were unusual."""

from datetime import date

from city311_assets.feeds.registry import FEEDS
from city311_assets.gold.methods.counts import ALL
from city311_assets.serving.api.days import (
    as_month,
    chosen,
    feed_with_data,
    kept_column,
    month_of,
    require,
)
from city311_assets.serving.api.geojson import on_map
from city311_assets.serving.api.layers import Found, layer, of_day, source
from city311_assets.serving.api.parameters import FEED, Asked, choice, day, text
from city311_assets.serving.api.problems import ProblemError, shown
from city311_assets.serving.snapshots import Snapshot
from city311_assets.warehouse.tables.gold import ANOMALIES, HOTSPOTS
from city311_assets.warehouse.tables.table import Table

HOTSPOT_RESOLUTIONS, ANOMALY_RESOLUTION = (7, 8, 9), 7
HOT = f"""
    select cell, category, records, expected, ring_records, ring_expected, z, p, q, class, reason,
        emerging, trend_z, trend_p, moran_i, moran_p, moran_quadrant, baseline_days, is_provisional
    from {HOTSPOTS}
    where feed = $feed and month = $month and resolution = $resolution and category = $category
        and null_model = 'baseline'
    order by cell
"""
UNUSUAL = f"""
    select cell, category, records, expected, low_95, high_95, p, q, direction, tests,
        baseline_days, unusual_streets, record_ids, is_provisional
    from {ANOMALIES}
    where feed = $feed and day = $day and resolution = {ANOMALY_RESOLUTION}
        and category = $category and is_anomaly
    order by cell
"""
TESTED = f"""
    select max(tests) as tests, any_value(reason) as reason from {ANOMALIES}
    where feed = $feed and day = $day and category = $category
"""
CATEGORIES = "select distinct category from {table} where feed = $feed order by all"
CATEGORY = text(
    "category",
    "Category of the feed's taxonomy, or `all`.",
    "the name of a category, at most 100 characters",
    r"[^\x00-\x1f\x7f]{1,100}",
    default=ALL,
)
RESOLUTION = choice("resolution", "H3 resolution of the cells.", HOTSPOT_RESOLUTIONS, default=8)
NOTE = (
    "Records are what people reported. Cells are compared with the share of the city's records "
    "that they and their neighbours had in the year before; class is by q, the false discovery "
    "rate."
)
UNUSUAL_NOTE = (
    "Records are what people reported. Cells are those of q at most 0.05 among all tests of the "
    "day; a provisional day is one that the portal has not told in full."
)
NUMBER, TEXT, WHOLE = {"type": ["number", "null"]}, {"type": "string"}, {"type": "integer"}


def hotspots(snapshot: Snapshot, asked: Asked) -> Found:
    """Return a month's cells against their trailing year, hot or not."""
    require(snapshot, HOTSPOTS)
    feed = FEEDS[feed_with_data(snapshot, HOTSPOTS, asked["feed"])]
    wanted = asked["date"]
    month = chosen(
        snapshot, HOTSPOTS, feed.name, wanted and month_of(wanted), name="date", shown=as_month
    )
    resolution: int = asked["resolution"]
    rows = snapshot.frame(
        HOT,
        {
            "feed": feed.name,
            "month": month,
            "resolution": resolution,
            "category": _category(snapshot, HOTSPOTS, feed.name, asked),
        },
    )
    about = {
        **source(feed),
        "date": as_month(month),
        "resolution": resolution,
        "category": asked["category"],
        "model_version": None,
        "note": NOTE,
    }
    return Found(on_map(snapshot, rows, feed.name, resolution, asked["bbox"]), about)


def anomalies(snapshot: Snapshot, asked: Asked) -> Found:
    """Return a day's cells with more or fewer records than expected; there may be none."""
    require(snapshot, ANOMALIES)
    feed = FEEDS[feed_with_data(snapshot, ANOMALIES, asked["feed"])]
    on: date = chosen(snapshot, ANOMALIES, feed.name, asked["date"], name="date")
    category = _category(snapshot, ANOMALIES, feed.name, asked)
    question = {"feed": feed.name, "day": on, "category": category}
    rows = snapshot.frame(UNUSUAL, question)
    (tested,) = snapshot.rows(TESTED, question)
    about = {
        **source(feed),
        "date": of_day(on),
        "tests": tested["tests"],
        "not_tested_because": tested["reason"],
        "resolution": ANOMALY_RESOLUTION,
        "category": asked["category"],
        "model_version": None,
        "note": UNUSUAL_NOTE,
    }
    return Found(on_map(snapshot, rows, feed.name, ANOMALY_RESOLUTION, asked["bbox"]), about)


def _category(snapshot: Snapshot, table: Table, feed: str, asked: Asked) -> str:
    query = CATEGORIES.format(table=table)
    held = kept_column(snapshot, ("categories", str(table), feed), query, {"feed": feed})
    if asked["category"] not in held:
        raise ProblemError(
            404,
            f"{feed} has no category {shown(asked['category'])!r}; it has {', '.join(held)}",
            parameter="category",
            given=shown(asked["category"]),
            accepted=held,
        )
    return asked["category"]


LAYERS = (
    layer(
        name="hotspots",
        summary="A month's hot and cold spots",
        doc="Every tested cell and those too sparse to test, of the month that holds `date`, "
        "against the trailing year. `class` says which are hot or cold.",
        parameters=(
            FEED,
            day(doc="A day of the month; default: the newest with data."),
            RESOLUTION,
            CATEGORY,
        ),
        properties={"cell": TEXT, "records": WHOLE, "z": NUMBER, "q": NUMBER, "class": TEXT},
        find=hotspots,
    ),
    layer(
        name="anomalies",
        summary="Cells with more or fewer records on a day than expected",
        doc="Cells of resolution 7. A day that had none gives an empty collection, which says "
        "how many tests there were, or why there was none; a day not held gives 404.",
        parameters=(
            FEED,
            day(),
            choice(
                "resolution",
                "H3 resolution of the cells.",
                (ANOMALY_RESOLUTION,),
                default=ANOMALY_RESOLUTION,
            ),
            CATEGORY,
        ),
        properties={"cell": TEXT, "records": WHOLE, "expected": NUMBER, "direction": TEXT},
        find=anomalies,
    ),
)
