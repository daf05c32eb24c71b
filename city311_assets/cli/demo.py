"""What the demo says when it is done: what was made, what it shows, and where to look."""

from datetime import date, timedelta

import duckdb
from rich.console import Console
from rich.table import Table as Grid

from city311_assets.feeds.registry import FEEDS
from city311_assets.partitions import DAYS
from city311_assets.settings import Settings
from city311_assets.warehouse.resource import CONNECTION
from city311_assets.warehouse.tables.registry import TABLES

SLOWEST = """
    select neighborhood, count(hours_to_close) as requests, median(hours_to_close) as hours
    from requests where feed = 'sf_311' and neighborhood is not null
    group by neighborhood having requests >= 100 order by hours desc, neighborhood limit 3
"""


def demo_range() -> tuple[date, date]:
    """Return two calendar months, ending with the newest day that has a slice."""
    newest = date.fromisoformat(DAYS.get_partition_keys()[-1])
    month_before = newest.replace(day=1) - timedelta(days=1)
    return month_before.replace(day=1), newest


def tell(settings: Settings, out: Console) -> None:
    """Say what the published file holds and what a newcomer may do next."""
    with duckdb.connect(str(settings.snapshot_path), read_only=True, config=CONNECTION) as conn:
        grid = Grid(box=None, pad_edge=False)
        for title, side in (("table", "left"), ("rows", "right"), ("a row is", "left")):
            grid.add_column(title, justify="right" if side == "right" else "left")
        for table in TABLES:
            (rows,) = conn.execute(f"select count(*) from {table}").fetchall()[0]
            grid.add_row(str(table), f"{rows:,}", table.one_row_per)
        aside = conn.execute("select feed, reason, records from set_aside order by all").fetchall()
        slow = conn.execute(SLOWEST).fetchall()
        administrative = conn.execute(
            "select avg(is_administrative::int) from silver.requests where feed = 'chicago_311'"
        ).fetchall()[0][0]
    out.print()
    out.print(grid)
    out.print()
    out.print("[bold]This is SAMPLE data[/bold], made by the embedded city; no network was used.")
    if slow:
        said = ", ".join(f"{name} ({hours:.0f} h)" for name, _, hours in slow)
        out.print(f"Slowest San Francisco neighbourhoods by plain median: {said}.")
    out.print(
        f"{administrative:.0%} of Chicago's 311 records ask for no work; "
        "the view `requests` leaves them out."
    )
    if aside:
        said = ", ".join(f"{records} {reason} in {feed}" for feed, reason, records in aside)
        out.print(f"Set aside, kept whole with the reason: {said}.")
    out.print(
        f"""
Look at it:
  make dev                      the asset graph, its checks and partitions: http://127.0.0.1:3000
  notebooks/first_look.ipynb    the published file in a notebook
  python -c "import duckdb; print(duckdb.connect('{settings.snapshot_path}', read_only=True)\
.sql('from records_per_day order by all desc limit 9'))"

Go on:
  .venv/bin/city311 import FILE --feed {next(iter(FEEDS))}   a file you downloaded from a portal
  CITY311_SOURCE=live CITY311_DATA_DIR=data/live .venv/bin/city311 materialize --from … --to …
  .venv/bin/city311 doctor              what may be wrong
  docs/where_things_are.md, docs/data_dictionary.md""",
    )
