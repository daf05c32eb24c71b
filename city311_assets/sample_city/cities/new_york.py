"""New York as it is simulated: its climate, its planted truth, and how its feed comes in."""

from datetime import date

from city311_assets.sample_city.cities.new_york_columns import request_columns
from city311_assets.sample_city.simulation import Climate, HotSpot, SimulatedCity, SimulatedFeed

REQUESTS = SimulatedFeed(
    columns=request_columns,
    types={
        "due_date": "calendar_date",
        "x_coordinate_state_plane": "number",
        "y_coordinate_state_plane": "number",
        "location": "point",
    },
    computed_columns=(":@computed_region_efsh_h5xi", ":@computed_region_f5dn_yrer"),
    duplicate_share=0.04,
    unknown_kind="Curbside Charger Pilot",
    hot_spots=(
        HotSpot("Broadway & 181st", 40.8500, -73.9350, 350, 14, ("Noise - Residential",)),
        HotSpot(
            "Roosevelt & 90th",
            40.7480,
            -73.8760,
            350,
            14,
            ("Illegal Parking", "Vendor Enforcement"),
        ),
        HotSpot(
            "Fordham & Concourse",
            40.8620,
            -73.8990,
            350,
            16,
            ("HEAT/HOT WATER", "UNSANITARY CONDITION"),
            starts=date(2026, 8, 15),
        ),
        HotSpot(
            "Wyckoff & Myrtle",
            40.6990,
            -73.9130,
            350,
            16,
            ("Blocked Driveway", "Abandoned Vehicle"),
            fades=date(2025, 10, 1),
            ends=date(2026, 8, 1),
        ),
    ),
    weekdays=(1.03, 1.02, 1.01, 1.00, 1.01, 0.98, 0.95),
    hours=(
        *(1.0, 0.7, 0.45, 0.3, 0.25, 0.3, 0.5, 0.85, 1.15, 1.3, 1.35, 1.3),
        *(1.25, 1.2, 1.15, 1.1, 1.1, 1.1, 1.1, 1.15, 1.2, 1.3, 1.35, 1.25),
    ),
)

NEW_YORK = SimulatedCity(
    name="new_york",
    climate=Climate(0.5, 25.0, 4.4, 8.0, 0.34, 0.33, 9.5, 25),
    elevation_m=10.0,
    extra_hours={
        "Mott Haven-Port Morris": 60.0,
        "Highbridge": 48.0,
        "University Heights (South)-Morris Heights": 54.0,
        "Brownsville": 60.0,
        "East New York-New Lots": 54.0,
        "Bushwick (East)": 36.0,
        "Flatbush": 30.0,
        "Washington Heights (North)": 36.0,
        "Corona": 42.0,
        "South Jamaica": 48.0,
        "Far Rockaway-Bayswater": 66.0,
        "Mariner's Harbor-Arlington-Graniteville": 24.0,
    },
    feeds={"nyc_311": REQUESTS},
)
