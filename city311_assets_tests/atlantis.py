"""A process whose list of feeds has one more: tells, as JSON, what that one value brings about."""

import datetime as dt
import json
import sys
from pathlib import Path

from city311_assets.feeds import registry
from city311_assets.feeds.feed import BoundarySet, BoundingBox, City, Feed, SourceColumn

ATLANTIS = City(
    name="atlantis",
    title="Atlantis",
    portal="data.atlantis.example",
    timezone="Atlantic/Azores",
    latitude=38.5,
    longitude=-28.0,
    box=BoundingBox(south=38.0, west=-29.0, north=39.0, east=-27.0),
    boundaries=(BoundarySet("neighborhood", "ring-ring", name_property="ring"),),
)
ATLANTIS_311 = Feed(
    name="atlantis_311",
    title="Atlantis 311",
    city=ATLANTIS,
    kind="request",
    dataset="deep-blue",
    record_id="number",
    opened="heard",
    closed="settled",
    changed=None,
    columns=(
        SourceColumn("number", "Number of the plea."),
        SourceColumn("heard", "When it was heard."),
        SourceColumn("settled", "When it was settled."),
        SourceColumn("plea", "Kind of plea."),
        SourceColumn("north", "Latitude in degrees."),
        SourceColumn("east", "Longitude in degrees."),
    ),
    fields={"kind": "plea", "latitude": "north", "longitude": "east"},
    required=("number", "heard", "settled", "plea"),
    taxonomy="sf_311_v1",
    outcome="closed_within_7_days",
    missing={"*": frozenset({"", "unknown to poseidon"})},
)
DAY = dt.date(2026, 3, 29)
PLEAS: list[dict[str, str | None]] = [
    # The Azores put the clock forward at midnight: half past it is read as an hour later.
    {"number": "1", "heard": "2026-03-28T23:30:00.000", "plea": "Flooding"},
    {
        "number": "2",
        "heard": "2026-03-29T00:30:00.000",
        "settled": "2026-03-29T03:30:00.000",
        "plea": "Flooding",
        "north": "38.5",
        "east": "-28.0",
    },
    {
        "number": "3",
        "heard": "2026-03-29T09:00:00.000",
        "plea": "Kraken",
        "north": "0",
        "east": "0",
    },
    {"number": "4", "heard": "2026-03-29T10:00:00.000", "plea": "Unknown to Poseidon"},
]


def main(folder: Path) -> dict[str, object]:
    """Register the feed, declare the code location over it, and bring its day to silver."""
    registry.FEEDS[ATLANTIS_311.name] = ATLANTIS_311
    registry.CITIES[ATLANTIS.name] = ATLANTIS

    import dagster as dg

    from city311_assets.cli.doctor import examine
    from city311_assets.definitions import build
    from city311_assets.partitions import range_tags
    from city311_assets.settings import settings
    from city311_assets.warehouse.resource import Warehouse
    from city311_assets.warehouse.tables.registry import TABLES
    from city311_assets_tests.portals import portals, verdicts

    warehouse = Warehouse(database=str(folder / "warehouse.duckdb"))
    with portals() as portal:
        portal.publish(ATLANTIS_311, *PLEAS)
        defs = build(portal.sources, warehouse)
        graph = defs.resolve_asset_graph()
        with dg.DagsterInstance.ephemeral() as instance:
            done = defs.resolve_job_def("records_atlantis_311").execute_in_process(
                instance=instance, tags=range_tags(DAY, DAY)
            )
    repository = defs.get_repository_def()
    return {
        "keys": sorted(key.to_user_string() for key in graph.get_all_asset_keys()),
        "schedules": sorted(one.name for one in repository.schedule_defs),
        "tables": [str(table) for table in TABLES],
        "checks": verdicts(done),
        "rows": warehouse.read(
            "select record_id, opened_at_utc::varchar, hours_to_close, hours_to_close_reason, "
            "category, point_reason from silver.requests order by 1"
        ).rows(),
        "set_aside": warehouse.read("select record_id, reason from silver.rejected_records").rows(),
        "doctor": {one.subject: (one.is_good, one.seen) for one in examine(settings(), DAY, DAY)},
    }


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1])), sys.stdout)
