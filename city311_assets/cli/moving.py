"""What a person sees while a warehouse is moved: a line a table, and what to do afterwards."""

import time

from rich.console import Console
from rich.markup import escape

from city311_assets.settings import Settings
from city311_assets.warehouse.moving import Moved, MoveRefusedError, move
from city311_assets.warehouse.opening import named, warehouse_of
from city311_assets.warehouse.tables.registry import TABLES


def move_and_tell(
    settings: Settings, address: str | None, out: Console, *, begin_again: bool
) -> None:
    """Move the warehouse of the settings to an address; None stands for the native file.

    Raises
    ------
    MoveRefusedError
        Both are the same, or there is nothing to move, or no empty place to move to.
    MoveFailedError
        What arrived is not what was sent.
    """
    if address == settings.warehouse:
        raise MoveRefusedError("that is the warehouse of the settings already")
    source, target = warehouse_of(settings), named(address, settings)
    started = time.monotonic()
    done = 0

    def tell(moved: Moved) -> None:
        nonlocal done
        done += 1
        out.print(f"{done}/{len(TABLES)} {moved.table}: {moved.rows:,} rows, the same")

    moved = move(source, target, tell, begin_again=begin_again)
    rows = sum(table.rows for table in moved)
    out.print(f"{rows:,} rows of {len(moved)} tables in {time.monotonic() - started:.0f} s")
    if address is None:
        out.print("now take CITY311_WAREHOUSE out of the settings; the lake is left as it is")
    else:
        setting = escape(f"CITY311_WAREHOUSE='{address}'")
        out.print(f"now set {setting}; the file is left as it is")
