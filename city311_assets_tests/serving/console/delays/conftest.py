"""The same two months as the atlas page's tests."""

from city311_assets_tests.serving.console.atlas.conftest import (
    older,
    served,
    snapshot,
    two_months_folder,
)

__all__ = ["older", "served", "snapshot", "two_months_folder"]
