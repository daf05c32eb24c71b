"""Leaks: what Chicago is told of water where it should not be, or of water that is missing."""

from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.risk.targets.target import Target

LEAKS = Target(
    name="leaks",
    title="Calls about water and sewers in Chicago",
    feed=CHICAGO_311,
    kinds=(
        "Water On Street Complaint",
        "Water in Basement Complaint",
        "Open Fire Hydrant Complaint",
        "Sewer Cave-In Inspection Request",
        "Water Quality Concern",
        "No Water Complaint",
        "Low Water Pressure Complaint",
        "Sewer Cleaning Inspection Request",
        "Alley Sewer Inspection Request",
        "Check for Leak",
    ),
    likely_words=("water", "leak", "sewer", "hydrant", "basement", "flood"),
    is_priced=True,
)
