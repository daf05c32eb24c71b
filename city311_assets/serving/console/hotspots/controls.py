"""The controls of the hotspots page that its address carries.

What belongs here: which there are and how they are named. What does not: what their values mean,
which is `selection`.
"""

from city311_assets.serving.console.url_state import Control

PAGE = "hotspots"

CONTROLS: tuple[Control, ...] = (
    Control("hotspots-feed", "feed"),
    Control("hotspots-period", "from", prop="start_date"),
    Control("hotspots-period", "to", prop="end_date"),
    Control("hotspots-category", "category", "list", []),
    # "yes": an explicit choice of no category, which matches nothing.
    Control("hotspots-none", "none", prop="data"),
    Control("hotspots-resolution", "resolution", "number"),
    # The cell (H3, hex) whose children are shown.
    Control("hotspots-cell", "cell", prop="data"),
    Control("hotspots-measure", "measure", default="selected"),
    Control("hotspots-weekday", "weekday", "list", [], prop="data"),
    Control("hotspots-hour", "hour", "list", [], prop="data"),
    Control("hotspots-compare", "compare-from", prop="start_date"),
    Control("hotspots-compare", "compare-to", prop="end_date"),
)
