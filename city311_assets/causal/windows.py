"""What the catalog says of a table of effects before any run."""

from city311_assets.settings import settings
from city311_assets.warehouse.tables.table import Table


def metadata(table: Table) -> dict[str, object]:
    """Return a table's metadata with how far a month looks back."""
    return {**table.metadata, "look_back_months": settings().atlas_window_months - 1}
