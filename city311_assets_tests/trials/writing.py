"""A process to be killed: brings in the same days and publishes them, over and over.

`python -m city311_assets_tests.trials.writing DATABASE PORTALS PUBLISHED`
"""

import sys
from datetime import date
from pathlib import Path

from city311_assets.bronze.records import records
from city311_assets.bronze.sources import Sources
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.silver.requests import requests
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets_tests.portals import failure, materialize

FIRST, LAST = date(2026, 3, 1), date(2026, 3, 10)


def make(warehouse: Warehouse, sources: Sources) -> None:
    """Bring the days from the portal to silver, each table in a run of its own."""
    for declared in (records(SF_311), requests(SF_311)):
        result = materialize(declared, warehouse, sources, FIRST, LAST)
        if not result.success:
            raise RuntimeError(failure(result))


def main(database: str, portals: str, published: str) -> None:
    """Say when the work begins, and go on until killed."""
    warehouse = Warehouse(database=database)
    sources = Sources(origin="portal", portal_url=f"{portals}/portals/{{portal}}", attempts=1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        make(warehouse, sources)
        publish(warehouse, Path(published))


if __name__ == "__main__":
    main(*sys.argv[1:])
