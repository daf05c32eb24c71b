"""A layer of the API in PostGIS, by the lines of docs/administration.md."""

import shutil
from pathlib import Path

import pytest

from benchmarks.growth import store_boundaries
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.warehouse.tables.risk import SCORES
from city311_assets_tests.services import ROLE, postgres
from city311_assets_tests.serving.api import busy_city
from city311_assets_tests.serving.api.load import served
from city311_assets_tests.test_administration import told, typed

pytestmark = pytest.mark.trial

CELLS = 440
EXTENSION = "select count(*) from pg_available_extensions where name = 'postgis'"
SCORED = f"select count(distinct cell) from {SCORES}"
OUTLINES = """
    select count(*) || ' ' || bool_and(st_isvalid(wkb_geometry) and st_srid(wkb_geometry) = 4326)
    from {}
"""


def test_the_layers_lie_in_postgis_as_they_are_served(tmp_path: Path, monkeypatch, trial):
    """The page's lines are typed as they stand, but for the port: `ogr2ogr` reads the API into a
    PostgreSQL with PostGIS, and every cell and area of the published file is there, valid."""
    if shutil.which("ogr2ogr") is None:
        pytest.skip("ogr2ogr is not installed: apt-get install gdal-bin")
    city = busy_city.build(tmp_path, CELLS)
    store_boundaries(city.warehouse, SF_311.city)
    city.publish()
    with postgres() as server, served(tmp_path) as api:
        server.database("gis")
        if server.ask("gis", EXTENSION) == "0":
            pytest.skip("PostGIS is not installed: apt-get install postgresql-15-postgis-3")
        server.ask("gis", "create extension postgis")
        for name, value in {"PGHOST": "127.0.0.1", "PGPORT": server.port, "PGUSER": ROLE}.items():
            monkeypatch.setenv(name, str(value))
        lines = told("Instead of PostGIS").replace("http://127.0.0.1:8311", api.address)
        done = typed(lines, tmp_path)
        assert done.returncode == 0, done.stderr
        found = {name: server.ask("gis", OUTLINES.format(name)) for name in ("leak_risk", "areas")}
    trial.found(cells=found["leak_risk"], areas=found["areas"])
    cells = city.warehouse.read(SCORED, tables=[SCORES]).item()
    assert found["leak_risk"] == f"{cells} true"
    areas, are_valid = found["areas"].split()
    assert (int(areas) > 10, are_valid) == (True, "true")
