"""What readers get after a write: the published file, and the pages drawn from it.

What belongs here: the order and the conditions. What does not: how either is made.
"""

from collections.abc import Sequence

from city311_assets.serving.atlas_pages import publish_atlas
from city311_assets.settings import Settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import Checks, Publication, publish


def publish_all(
    warehouse: Warehouse,
    settings: Settings,
    in_flight: Sequence[str] = (),
    checks: Checks | None = None,
) -> Publication:
    """Publish the warehouse, and the pages of the maps that changed; nothing new costs nothing."""
    done = publish(warehouse, settings.snapshot_path, list(in_flight), checks=checks)
    if done.is_new or not (settings.published_path / "atlas").exists():
        publish_atlas(settings.snapshot_path, settings.photos_path, settings.published_path)
    return done
