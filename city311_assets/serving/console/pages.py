"""The pages of the console, in the order of the navigation."""

from city311_assets.serving.console.page import Page

PAGES: tuple[Page, ...] = ()
