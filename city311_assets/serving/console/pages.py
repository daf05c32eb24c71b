"""The pages of the console, in the order of the navigation."""

from city311_assets.serving.console.atlas.page import PAGE as ATLAS
from city311_assets.serving.console.data.page import PAGE as DATA
from city311_assets.serving.console.delays.page import PAGE as DELAYS
from city311_assets.serving.console.hotspots.page import PAGE as HOTSPOTS
from city311_assets.serving.console.page import Page
from city311_assets.serving.console.risk.page import PAGE as RISK

PAGES: tuple[Page, ...] = (HOTSPOTS, ATLAS, DELAYS, RISK, DATA)
