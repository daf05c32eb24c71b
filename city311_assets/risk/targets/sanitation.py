"""Sanitation: violations of Chicago's sanitation code that people report."""

from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.risk.targets.target import Target

SANITATION = Target(
    name="sanitation",
    title="Calls about sanitation code violations in Chicago",
    feed=CHICAGO_311,
    kinds=("Sanitation Code Violation",),
    likely_words=("sanitation", "garbage", "dumping", "rodent"),
)
