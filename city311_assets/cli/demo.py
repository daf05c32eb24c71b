"""What the demo says when it is done: what was made, what it shows, and where to look."""

from datetime import UTC, date, datetime, timedelta

import duckdb
from rich.console import Console
from rich.table import Table as Grid

from city311_assets.bronze.weather_forecasts import newest_complete_day
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.partitions import sliced_days
from city311_assets.settings import Settings
from city311_assets.warehouse.resource import CONNECTION
from city311_assets.warehouse.tables.registry import TABLES

# Of young days only the quick requests have closed: days old enough, and the share still open.
SLOWEST = """
    select neighborhood, median(hours_to_close) as hours,
        avg((hours_to_close_reason is not distinct from 'open')::int) as share_open
    from requests
    where feed = $feed and neighborhood is not null
        and opened_at_utc < observed_until - interval 21 day
    group by neighborhood having count(*) >= 100 order by hours desc, neighborhood limit 3
"""
HOTTEST = """
    select feed, label, ring_records, ring_expected, baseline_days from hot_spots
    where resolution = 8 and category = 'all' and class like 'hot%'
        and month = (select max(month) from hot_spots)
    order by z desc, feed, cell limit 3
"""
MOST_ADMINISTRATIVE = """
    select feed, avg(is_administrative::int) as share from silver.requests
    group by feed order by share desc limit 1
"""

# The newest day each target was scored on, its likeliest cell, and what a day's crews may do.
AT_RISK = """
    with newest as (
        from risk.scores where is_newest qualify day = max(day) over (partition by target)
    )
    select target, any_value(day) as day, max(p_event_7d) as highest,
        arg_max(drivers[1].words, p_event_7d) as why,
        (select count(*) from risk.recommendations as r
            where r.target = n.target and r.day = any_value(n.day)) as actions
    from newest as n group by target order by target
"""


def demo_range() -> tuple[date, date]:
    """Return two calendar months, ending with the newest day that is over in every city."""
    now = datetime.now(UTC)
    over = (newest_complete_day(now, city.timezone) for city in CITIES.values())
    newest = min(sliced_days()[-1], *over)
    month_before = newest.replace(day=1) - timedelta(days=1)
    return month_before.replace(day=1), newest


def tell(settings: Settings, out: Console) -> None:
    """Say what the published file holds and what a newcomer may do next."""
    shown = next(feed for feed in FEEDS.values() if feed.kind == "request")
    with duckdb.connect(str(settings.snapshot_path), read_only=True, config=CONNECTION) as conn:
        grid = Grid(box=None, pad_edge=False)
        for title, side in (("table", "left"), ("rows", "right"), ("a row is", "left")):
            grid.add_column(title, justify="right" if side == "right" else "left")
        for table in (table for table in TABLES if table.is_published):
            (rows,) = conn.execute(f"select count(*) from {table}").fetchall()[0]
            grid.add_row(str(table), f"{rows:,}", table.one_row_per)
        aside = conn.execute("select feed, reason, records from set_aside order by all").fetchall()
        slow = conn.execute(SLOWEST, {"feed": shown.name}).fetchall()
        hot = conn.execute(HOTTEST).fetchall()
        administrative = conn.execute(MOST_ADMINISTRATIVE).fetchall()
        at_risk = conn.execute(AT_RISK).fetchall()
    out.print()
    out.print(grid)
    out.print()
    out.print("[bold]This is SAMPLE data[/bold], made by the embedded city; no network was used.")
    if slow:
        said = ", ".join(f"{name} {hours:.0f} h ({share:.0%} open)" for name, hours, share in slow)
        out.print(f"Slowest in {shown.city.title}, requests three weeks old or more: {said}.")
    if hot:
        said = "; ".join(
            f"{label or 'a cell without a name'} ({feed}): {records} records in its ring, "
            f"{expected:.0f} expected from {days} days before"
            for feed, label, records, expected, days in hot
        )
        out.print(f"Hot this month: {said}.")
    for feed, share in administrative:
        out.print(
            f"{share:.0%} of {FEEDS[feed].title} ask for no work; the view `requests` leaves "
            "them out."
        )
    for target, day, highest, why, actions in at_risk:
        todo = (
            f"{actions} actions on the work list"
            if actions
            else "no action pays at this volume of calls, so the work list is empty"
        )
        out.print(
            f"Likeliest to be called in within 7 days of {day} ({target}): {highest:.0%} in one "
            f"cell ({why or 'no model'}); {todo}."
        )
    if aside:
        said = ", ".join(f"{records} {reason} in {feed}" for feed, reason, records in aside)
        out.print(f"Set aside, kept whole with the reason: {said}.")
    page = settings.published_path / "atlas" / "index.html"
    out.print(
        f"""
Look at it:
  make console                  hot spots, atlas, delays, risk, data: http://127.0.0.1:8311
  make dev                      the asset graph, its checks and partitions: http://127.0.0.1:3000
  {page}   what photos and complaints are about, and who waits longer, in any browser
  notebooks/first_look.ipynb    the published file in a notebook
  .venv/bin/python -c "import duckdb; city = duckdb.connect('{settings.snapshot_path}', \
read_only=True); print(city.sql('from records_per_day order by all desc limit 9'))"

Go on:
  export CITY311_SOURCE=live CITY311_DATA_DIR=live-data     real records, in their own folder
  .venv/bin/city311 materialize --from … --to …              from the portals
  .venv/bin/city311 import FILE --feed {next(iter(FEEDS))}              from a file you downloaded
  .venv/bin/city311 doctor                                   what may be wrong
  docs/where_things_are.md, docs/data_dictionary.md""",
    )
