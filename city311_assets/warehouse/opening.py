"""Which warehouse the settings name: the native file, or a DuckLake."""

from city311_assets.settings import Settings
from city311_assets.warehouse.lake import LakeWarehouse
from city311_assets.warehouse.resource import Warehouse


def warehouse_of(settings: Settings) -> Warehouse:
    """Return the warehouse that the settings name; nothing is opened yet.

    Raises
    ------
    ValueError
        `CITY311_WAREHOUSE` is no address of a lake.
    """
    return named(settings.warehouse, settings)


def named(address: str | None, settings: Settings) -> Warehouse:
    """Return the warehouse of an address, with all else as the settings have it.

    Raises
    ------
    ValueError
        It is no address of a lake.
    """
    if address is None:
        return Warehouse(
            database=str(settings.warehouse_path),
            lock_timeout_seconds=settings.lock_timeout_seconds,
        )
    lake = LakeWarehouse(
        database=address,
        data_path=settings.data_path or str((settings.data_dir / "lake").absolute()),
        may_fetch=settings.duckdb_extensions == "fetch",
    )
    # Its address is read now: a misspelled one is no reason for a run to fail later.
    _ = lake.catalogue
    return lake
