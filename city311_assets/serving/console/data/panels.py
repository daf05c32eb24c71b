"""The panels of the Data page: what is held, what fails, what was set aside, what it cost.

What belongs here: words and tables around rows. What does not: which rows (`queries`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from dash import html
from dash.development.base_component import Component

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import CITIES, FEEDS
from city311_assets.serving.console.data import queries
from city311_assets.serving.console.tables import UNKNOWN, Cell, Head, asset_link, table
from city311_assets.serving.snapshots import Snapshot
from city311_assets.settings import settings
from city311_assets.warehouse.tables.atlas import MODEL_CALLS
from city311_assets.warehouse.tables.bronze import (
    BOUNDARIES,
    RECORDS,
    WEATHER,
    WITHDRAWN_RECORDS,
)
from city311_assets.warehouse.tables.silver import RECORDS as SILVER_RECORDS
from city311_assets.warehouse.tables.silver import REJECTED_RECORDS

Row = Mapping[str, object]
WEATHER_LICENCE = "CC BY 4.0, weather data by Open-Meteo.com"
OLDER = "This file was published by an older version, which did not keep what the checks say."


def _count(row: Row, name: str) -> int | None:
    value = row.get(name)
    return value if isinstance(value, int) else None


def _text(row: Row, name: str) -> str | None:
    value = row.get(name)
    return None if value is None else str(value)


def _minute(value: object) -> str | None:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else None


def _feed_title(name: object) -> str:
    feed = FEEDS.get(str(name))
    return feed.title if feed else str(name)


def publication(snapshot: Snapshot) -> Component:
    """Say which version this is, of when, and what was being written meanwhile."""
    flying = list(snapshot.slices_in_flight)
    shown = ", ".join(flying[:10]) + (f" and {len(flying) - 10} more" if len(flying) > 10 else "")
    return html.Div(
        [
            _card(
                "data version",
                snapshot.data_version or UNKNOWN,
                "changes with every write",
                "small",
            ),
            _card("published", f"{snapshot.published_at:%Y-%m-%d %H:%M}", "UTC", "date"),
            _card(
                "slices being made then",
                f"{len(flying):,}",
                shown or "none: all that was asked for is in it",
            ),
            _card(
                "catalog", html.A("Dagster UI", href=settings().dagster_url), "runs, assets, logs"
            ),
        ],
        className="cards",
        id="data-publication",
    )


def _card(label: str, figure: str | Component, note: str, size: str = "") -> html.Div:
    return html.Div(
        [
            html.Div(label, className="label"),
            html.Div(figure, className=f"figure {size}"),
            html.Div(note, className="note"),
        ],
        className="card",
    )


def checks(snapshot: Snapshot) -> Component:
    """Say which checks do not pass, where, and what they found."""
    counts = queries.checks(snapshot)
    problem = queries.publication(snapshot).get("checks_problem")
    if counts is None:
        return _panel("Checks", html.P(OLDER, className="empty"), "data-checks")
    if problem:
        said = f"It is not known whether the checks pass: {problem}."
        return _panel("Checks", html.P(said, className="warn"), "data-checks")
    if not counts["checks"]:
        said = "No check has given a verdict yet."
        return _panel("Checks", html.P(said, className="empty"), "data-checks")
    rows = queries.failing_checks(snapshot)
    more = int(str(counts["rows"])) - len(rows)
    cards = html.Div(
        [
            _card("checks that fail", f"{counts['failing']:,}", f"of {counts['checks']:,}"),
            _card("that warn", f"{counts['warning']:,}", "they stop nothing"),
            _card("that pass", f"{counts['passing']:,}", "on all of their days"),
            _card("newest verdict", _minute(counts["checked_at"]) or UNKNOWN, "UTC", "date"),
        ],
        className="cards",
    )
    body: list[Component] = [cards]
    if rows:
        heads = (
            Head("weight"),
            Head("asset"),
            Head("check"),
            Head("does not pass on"),
            Head("what must hold"),
            Head("what was found"),
        )
        body.append(table(heads, [_failing(row) for row in rows], "Checks that do not pass"))
    else:
        body.append(
            html.P("Every check passes on every day it was asked about.", className="quiet")
        )
    if more > 0:
        body.append(
            html.P(f"{more:,} more ranges of days are in meta.check_results.", className="quiet")
        )
    return _panel("Checks", body, "data-checks")


def _failing(row: Row) -> list[Cell]:
    is_error = row["failure_severity"] == "ERROR"
    asset = str(row["asset"])
    return [
        html.Span(
            "fails" if is_error else "warns", className="badge fails" if is_error else "badge"
        ),
        asset_link(asset, asset),
        _text(row, "check_name"),
        _days(row["first_failing_day"], row["last_failing_day"], _count(row, "slices") or 0),
        _text(row, "description"),
        _text(row, "found"),
    ]


def _days(first: object, last: object, slices: int) -> str:
    if first is None:
        return "the whole table"
    return str(first) if slices <= 1 else f"{first} to {last} ({slices:,})"


def feeds(snapshot: Snapshot) -> Component:
    """Return the table of feeds: how far each reaches, what it holds, and what it lacks."""
    heads = (
        Head("feed"),
        Head("records", True, "Usable records in silver"),
        Head("days held", True, "Days that bronze holds, empty ones too"),
        Head("oldest"),
        Head("newest", False, "Newest day that the portal was asked for"),
        Head("asked for it, UTC"),
        Head("days missing", True, "Days between the oldest and the newest that were never made"),
        Head("set aside", True, "Rows that could not be used"),
        Head("withdrawn", True, "Records that the portal no longer returns under their day"),
        Head("records are"),
    )
    rows = [_feed(name, row) for name, row in queries.feed_rows(snapshot).items()]
    return _panel("Feeds", table(heads, rows, "Feeds"), "data-feeds")


def _feed(name: str, row: Row) -> list[Cell]:
    feed = FEEDS.get(name)
    if feed is None:
        return [name, _count(row, "records"), *[None] * 8]
    bronze = RECORDS[name].key(name)
    held = _count(row, "days_held")
    if not held:
        return [feed.title, *[None] * 8, "nothing was made yet"]
    silver = SILVER_RECORDS[feed.table].key(name)
    withdrawn = _count(row, "withdrawn") or 0
    missing = _count(row, "missing_days") or 0
    return [
        feed.title,
        asset_link(_count(row, "records") or 0, silver),
        asset_link(held, bronze),
        _text(row, "oldest_day"),
        asset_link(_text(row, "newest_day"), bronze),
        _minute(row.get("newest_asked_at")),
        asset_link(missing, bronze) if missing else "none",
        asset_link(_count(row, "set_aside") or 0, REJECTED_RECORDS.key(name)),
        asset_link(withdrawn, WITHDRAWN_RECORDS.key(name)),
        {True: "sample", False: "real", None: UNKNOWN}[_flag(row, "is_sample")],
    ]


def _flag(row: Row, name: str) -> bool | None:
    value = row.get(name)
    return value if isinstance(value, bool) else None


def days(feed: Feed, rows: Sequence[Row], start: date) -> list[Component]:
    """Return the table of a month's days."""
    bronze = RECORDS[feed.name].key(feed.name)
    silver = SILVER_RECORDS[feed.table].key(feed.name)
    rejected = REJECTED_RECORDS.key(feed.name)
    if not rows:
        return [html.P(f"No day of {start:%B %Y} is held of {feed.title}.", className="empty")]
    heads = (
        Head("day"),
        Head("rows", True, "Rows of bronze: as the portal gave them"),
        Head("records", True, "Usable records in silver"),
        Head("with a point", True),
        Head("set aside", True),
        Head("last change seen", False, "The newest change of a record, on the portal's own clock"),
        Head("asked for, UTC"),
        Head("", False),
    )
    body = [
        [
            _text(row, "day"),
            asset_link(_count(row, "rows"), bronze),
            asset_link(_count(row, "records") or 0, silver),
            _count(row, "with_point") or 0,
            asset_link(_count(row, "set_aside") or 0, rejected),
            _text(row, "changed") and str(row["changed"])[:16].replace("T", " "),
            _minute(row["asked_at"]) or "read from a file",
            "is asked for again" if row["marked_stale_at"] else "",
        ]
        for row in rows
    ]
    said = (
        []
        if feed.changed
        else [html.P("This portal says of no record when it changed.", className="quiet")]
    )
    return [table(heads, body, f"Days of {feed.title}"), *said]


def set_aside(snapshot: Snapshot) -> Component:
    """Return what was set aside, why, and a few records to look at."""
    heads = (
        Head("feed"),
        Head("why"),
        Head("rows", True),
        Head("first day"),
        Head("last day"),
        Head("for example"),
    )
    rows = queries.set_aside(snapshot)
    if not rows:
        said = html.P("Nothing was set aside: every row could be used.", className="empty")
        return _panel("Set aside", said, "data-set-aside")
    body = [
        [
            _feed_title(row["feed"]),
            str(row["reason"]).replace("_", " "),
            asset_link(_count(row, "records"), REJECTED_RECORDS.key(str(row["feed"]))),
            _text(row, "first_day"),
            _text(row, "last_day"),
            _examples(row),
        ]
        for row in rows
    ]
    what = html.P(
        "Rows that could not be used are kept, each with its reason, in silver.rejected_records.",
        className="quiet",
    )
    return _panel("Set aside", [what, table(heads, body, "Rows set aside")], "data-set-aside")


def _examples(row: Row) -> Cell:
    ids = row["ids"]
    return ", ".join(str(one) for one in ids) if isinstance(ids, list) and ids else "no number"


def model_calls(snapshot: Snapshot) -> Component:
    """Return what models were asked and what it cost."""
    calls, errors = queries.model_calls(snapshot)
    if not calls:
        said = "No model service was asked: captions, vectors and names were made here."
        return _panel("Models", html.P(said, className="empty"), "data-models")
    heads = (
        Head("month"),
        Head("feed"),
        Head("purpose"),
        Head("model"),
        Head("calls", True, "Attempts, failed ones too"),
        Head("failed", True),
        Head("photos or texts", True),
        Head("tokens in", True),
        Head("tokens out", True),
        Head("dollars", True, "By the price table"),
    )
    body = [
        [
            f"{row['month']:%Y-%m}",
            _feed_title(row["feed"]),
            str(row["purpose"]).replace("_", " "),
            _text(row, "model"),
            asset_link(_count(row, "calls"), _asked_by(row)),
            _count(row, "failed"),
            _count(row, "items"),
            _count(row, "tokens_in"),
            _count(row, "tokens_out"),
            _dollars(row),
        ]
        for row in calls
    ]
    total = sum(float(str(row["usd"])) for row in calls if row["usd"] is not None)
    prices = max(str(row["priced_on"]) for row in calls)
    said = html.P(
        f"{sum(_count(row, 'calls') or 0 for row in calls):,} calls for ${total:,.2f} by the price "
        f"table of {prices}, which is not the bill. Every attempt is a row of {MODEL_CALLS}.",
        className="quiet",
    )
    parts: list[Component] = [said, table(heads, body, "Calls of models")]
    if errors:
        lines = [html.Li(f"{row['calls']:,} calls: {row['error']}") for row in errors]
        parts += [html.H3("Why calls failed"), html.Ul(lines, className="hits")]
    return _panel("Models", parts, "data-models")


def _asked_by(row: Row) -> str:
    purpose = str(row["purpose"])
    return f"atlas/{purpose}/{row['feed']}"


def _dollars(row: Row) -> str:
    unpriced = _count(row, "without_price") or 0
    usd = row["usd"]
    said = UNKNOWN if usd is None else f"{float(str(usd)):,.4f}"
    return f"{said} and {unpriced:,} calls without a price" if unpriced else said


def sources(snapshot: Snapshot) -> Component:
    """Return whose data these are, under which terms, and whether they are real."""
    held = queries.feed_rows(snapshot)
    heads = (Head("source"), Head("dataset"), Head("terms"), Head("rows are"))
    body: list[list[Cell]] = []
    for name, feed in FEEDS.items():
        kind = {True: "sample: made up here", False: "real", None: "none held"}
        body.append(
            [
                f"{feed.title}, {feed.city.portal}",
                asset_link(feed.dataset, RECORDS[name].key(name)),
                feed.licence or UNKNOWN,
                kind[_flag(held.get(name, {}), "is_sample")],
            ]
        )
    for row in queries.weather(snapshot):
        city = str(row["city"])
        issued = f"; newest forecast {_minute(row['issued_at'])} UTC" if row["issued_at"] else ""
        body.append(
            [
                f"Weather of {_city(city)}: {row['days']:,} days, {_span(row)}{issued}",
                asset_link(str(WEATHER), WEATHER.key(city)),
                WEATHER_LICENCE,
                "sample: made up here" if row["fetched_from"] == "sample" else "real",
            ]
        )
    for row in queries.areas(snapshot):
        city = str(row["city"])
        body.append(
            [
                f"Boundaries of {_city(city)}: {row['areas_count']:,} areas ({row['areas']})",
                asset_link(_text(row, "dataset"), BOUNDARIES.key(city)),
                "terms of the city's portal",
                f"as of {_minute(row['fetched_at'])} UTC",
            ]
        )
    return _panel("Sources and terms", table(heads, body, "Sources"), "data-sources")


def _span(row: Row) -> str:
    return f"{row['oldest']} to {row['newest']}"


def _city(name: str) -> str:
    return CITIES[name].title if name in CITIES else name


def _panel(title: str, body: Component | Sequence[Component], name: str) -> html.Section:
    parts = body if isinstance(body, Sequence) else [body]
    return html.Section([html.H2(title), *parts], className="panel", id=name)
