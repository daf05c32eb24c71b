"""Chicago as it is simulated: its climate, its planted truth, and how its two feeds come in."""

from datetime import date

from city311_assets.sample_city.cities.chicago_columns import (
    crime_columns,
    crime_instants,
    request_columns,
)
from city311_assets.sample_city.kinds import AT_AIRPORT, AT_CALL_CENTRE
from city311_assets.sample_city.simulation import Climate, HotSpot, SimulatedCity, SimulatedFeed

PLACES = {
    "x_coordinate": "number",
    "y_coordinate": "number",
    "ward": "number",
    "community_area": "number",
    "location": "location",
}

REQUESTS = SimulatedFeed(
    columns=request_columns,
    types=PLACES
    | {
        "precinct": "number",
        "created_hour": "number",
        "created_day_of_week": "number",
        "created_month": "number",
        "legacy_record": "checkbox",
    },
    duplicate_share=0.08,
    year_prefix="SR",
    unknown_kind="Smart Meter Opt-In Pilot",
    hot_spots=(
        HotSpot("Fullerton & Kedzie", 41.9250, -87.7070, 350, 22, ("Graffiti Removal Request",)),
        HotSpot(
            "63rd & Halsted",
            41.7797,
            -87.6440,
            350,
            25,
            ("Fly Dumping Complaint", "Vacant/Abandoned Building Complaint"),
        ),
        HotSpot(
            "Albany Park alleys",
            41.9660,
            -87.7180,
            350,
            24,
            ("Rodent Baiting/Rat Complaint",),
            starts=date(2026, 8, 15),
        ),
        HotSpot(
            "Garfield Ridge",
            41.7960,
            -87.7650,
            350,
            24,
            ("Abandoned Vehicle Complaint",),
            fades=date(2025, 10, 1),
            ends=date(2026, 8, 1),
        ),
    ),
    weekdays=(1.18, 1.14, 1.10, 1.08, 1.04, 0.76, 0.70),
    hours=(
        *(0.2, 0.12, 0.1, 0.1, 0.15, 0.35, 0.9, 1.7, 2.2, 2.4, 2.3, 2.1),
        *(1.9, 1.8, 1.7, 1.5, 1.3, 1.1, 0.9, 0.75, 0.6, 0.5, 0.4, 0.3),
    ),
)

CRIMES = SimulatedFeed(
    columns=crime_columns,
    instants=crime_instants,
    types=PLACES | {"id": "number", "year": "number"},
    unknown_kind="DRONE ORDINANCE VIOLATION",
    hot_spots=(
        HotSpot("State & Lake", 41.8858, -87.6279, 250, 7, ("THEFT", "ROBBERY")),
        HotSpot("Garfield & Pulaski", 41.8800, -87.7255, 350, 22, ("NARCOTICS", "BATTERY")),
        HotSpot(
            "Wicker Park",
            41.9088,
            -87.6775,
            350,
            16,
            ("MOTOR VEHICLE THEFT", "THEFT"),
            starts=date(2026, 8, 1),
        ),
        HotSpot(
            "Chatham",
            41.7430,
            -87.6150,
            350,
            18,
            ("BATTERY", "ASSAULT"),
            fades=date(2025, 9, 1),
            ends=date(2026, 7, 1),
        ),
    ),
    weekdays=(0.99, 0.97, 0.97, 0.98, 1.04, 1.04, 1.01),
    hours=(
        *(1.2, 0.85, 0.75, 0.6, 0.5, 0.5, 0.55, 0.7, 0.85, 0.95, 1.0, 1.05),
        *(1.2, 1.1, 1.15, 1.25, 1.25, 1.3, 1.3, 1.25, 1.2, 1.15, 1.1, 1.0),
    ),
)

CHICAGO = SimulatedCity(
    name="chicago",
    climate=Climate(-3.0, 24.0, 5.0, 8.5, 0.32, 0.32, 8.5, 25),
    elevation_m=192.0,
    extra_hours={
        "ENGLEWOOD": 72.0,
        "WEST ENGLEWOOD": 60.0,
        "AUSTIN": 54.0,
        "NORTH LAWNDALE": 60.0,
        "ROSELAND": 48.0,
        "SOUTH SHORE": 36.0,
        "NEW CITY": 42.0,
        "BELMONT CRAGIN": 24.0,
        "HUMBOLDT PARK": 30.0,
        "AUBURN GRESHAM": 48.0,
    },
    feeds={"chicago_311": REQUESTS, "chicago_crimes": CRIMES},
    fixed_places={
        AT_CALL_CENTRE: (-87.67984621876099, 41.871831277993564),
        AT_AIRPORT: (-87.89450, 41.97450),
    },
    has_leaks=True,
)
