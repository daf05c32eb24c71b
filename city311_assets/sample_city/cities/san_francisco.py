"""San Francisco as it is simulated: its climate, its planted truth, and how its feed comes in."""

from datetime import date

from city311_assets.sample_city.cities.san_francisco_columns import case_columns
from city311_assets.sample_city.simulation import Climate, HotSpot, SimulatedCity, SimulatedFeed

CASES = SimulatedFeed(
    columns=case_columns,
    types={
        "supervisor_district": "number",
        "bos_2012": "number",
        "data_as_of": "calendar_date",
        "data_loaded_at": "calendar_date",
        "point": "location",
        "point_geom": "point",
    },
    computed_columns=(":@computed_region_26cr_cadq", ":@computed_region_6qbp_sg9q"),
    touched=("data_as_of", "data_loaded_at"),
    unknown_kind="Curb Management Pilot",
    hot_spots=(
        HotSpot("Mission & 16th", 37.7650, -122.4197, 220, 8, ("Street and Sidewalk Cleaning",)),
        HotSpot("Turk & Leavenworth", 37.7828, -122.4140, 200, 6, ("Encampments",)),
        HotSpot("Haight", 37.7695, -122.4480, 250, 18, ("Graffiti",), starts=date(2026, 9, 1)),
        HotSpot(
            "Bayshore",
            37.7390,
            -122.4040,
            300,
            16,
            ("Abandoned Vehicle", "Street and Sidewalk Cleaning"),
            fades=date(2025, 10, 1),
            ends=date(2026, 8, 1),
        ),
    ),
    weekdays=(1.10, 1.08, 1.06, 1.04, 1.02, 0.86, 0.84),
    hours=(
        *(0.25, 0.15, 0.1, 0.1, 0.2, 0.5, 1.1, 2.0, 2.4, 2.3, 2.1, 1.9),
        *(1.7, 1.6, 1.5, 1.4, 1.3, 1.15, 0.95, 0.8, 0.7, 0.6, 0.45, 0.35),
    ),
)

SAN_FRANCISCO = SimulatedCity(
    name="san_francisco",
    climate=Climate(11.0, 17.5, 2.2, 7.0, 0.36, 0.02, 9.0, 10),
    elevation_m=38.0,
    extra_hours={
        "Bayview": 48.0,
        "Mission": 30.0,
        "Tenderloin": 36.0,
        "Hunters Point": 60.0,
        "Excelsior": 42.0,
        "Outer Sunset": 24.0,
        "Visitacion Valley": 54.0,
        "Oceanview": 30.0,
        "Western Addition": 18.0,
    },
    feeds={"sf_311": CASES},
)
