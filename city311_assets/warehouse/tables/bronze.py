"""The columns of bronze: records as the portals publish them, as text, and what surrounds them."""

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.warehouse.tables.table import Column, Table

FEED = Column("feed", "VARCHAR", "Name of the feed.", nullable=False)
CITY = Column("city", "VARCHAR", "Name of the city.", nullable=False)
DAY = Column(
    "day",
    "DATE",
    "City-local day: the record was opened, the weather was, the forecast follows.",
    nullable=False,
)
ROW_ID = Column(
    "row_id", "VARCHAR", "The portal's row (`:id`), or the file's record and line.", nullable=False
)
FETCHED_FROM = Column(
    "fetched_from",
    "VARCHAR",
    "`portal`, `sample` or the name of an imported file.",
    nullable=False,
    is_provenance=True,
)
ROW = Column("row", "VARCHAR", "All that was published of it, JSON.", nullable=False)
WEATHER_VALUES = (
    Column("temperature_min_c", "DOUBLE", "Lowest air temperature, °C; null if not known."),
    Column("temperature_max_c", "DOUBLE", "Highest air temperature, °C; null if not known."),
    Column(
        "precipitation_mm", "DOUBLE", "Rain and melted snow, mm; null if not known, never 0 then."
    ),
    Column("snowfall_cm", "DOUBLE", "Snowfall, cm; null if not known, never 0 then."),
)
RECORD_ID_DOC = "The portal's own number of the record, trimmed; a row without one is set aside."
RECORD_ID = Column("record_id", "VARCHAR", RECORD_ID_DOC, nullable=False)
RECORD_ID_IF_ANY = Column("record_id", "VARCHAR", RECORD_ID_DOC)
FETCHED_AT = Column(
    "fetched_at",
    "TIMESTAMP",
    "When it was fetched, UTC; null if it never was.",
    False,
    is_provenance=True,
)
OBSERVED_UNTIL = Column(
    "observed_until",
    "TIMESTAMP",
    "When the portal was asked, or the newest change a file knows of, UTC; "
    "a closing after it counts as open.",
    False,
    is_provenance=True,
)


def records(feed: Feed) -> Table:
    """Return one feed's bronze table: its source columns as text, beside where they are from."""
    return Table(
        layer="bronze",
        name=feed.name,
        one_row_per=f"row of {feed.city.portal}/{feed.dataset} ({feed.title})",
        columns=(
            FEED,
            DAY,
            ROW_ID,
            RECORD_ID_IF_ANY,
            Column(
                "row_created_at",
                "VARCHAR",
                "The portal's `:created_at`, UTC text; null from files.",
            ),
            Column(
                "row_updated_at",
                "VARCHAR",
                "The portal's `:updated_at`, UTC text; null from files.",
            ),
            *(
                Column(column.name, "VARCHAR", f"{column.doc} As published, text.")
                for column in feed.columns
            ),
            Column(
                "extra",
                "VARCHAR",
                "JSON object of published columns that the feed does not declare; null if none.",
            ),
            FETCHED_FROM,
            OBSERVED_UNTIL,
            FETCHED_AT,
        ),
        unique=("feed", "day", "row_id"),
    )


RECORDS: dict[str, Table] = {name: records(feed) for name, feed in FEEDS.items()}

WITHDRAWN_RECORDS = Table(
    layer="bronze",
    name="withdrawn_records",
    one_row_per="record that a slice held and the portal no longer returns for that day",
    columns=(
        FEED,
        DAY,
        RECORD_ID,
        Column(
            "last_seen_at",
            "TIMESTAMP",
            "When the portal last returned it for this day, UTC.",
            False,
            is_provenance=True,
        ),
        Column(
            "gone_at",
            "TIMESTAMP",
            "When the portal first did not, UTC.",
            False,
            is_provenance=True,
        ),
        Column(
            "moved_to_day",
            "DATE",
            "Day under which the portal returns the record now; null if under none known here.",
        ),
        ROW,
    ),
    unique=("feed", "day", "record_id"),
)

WEATHER = Table(
    layer="bronze",
    name="weather",
    one_row_per="city-local day, as the Open-Meteo archive answered",
    columns=(
        CITY,
        DAY,
        *WEATHER_VALUES,
        FETCHED_FROM,
        FETCHED_AT,
    ),
    unique=("city", "day"),
    scope="city",
)

WEATHER_FORECASTS = Table(
    layer="bronze",
    name="weather_forecasts",
    one_row_per="issued forecast and the day it is for",
    columns=(
        CITY,
        DAY,
        Column("forecast_day", "DATE", "City-local day the forecast is for.", nullable=False),
        *WEATHER_VALUES,
        Column("issued_at", "TIMESTAMP", "When the forecast was asked for, UTC.", nullable=False),
        FETCHED_FROM,
        FETCHED_AT,
    ),
    unique=("city", "day", "forecast_day"),
    scope="city",
)

BOUNDARIES = Table(
    layer="bronze",
    name="boundaries",
    one_row_per="published area of a city",
    columns=(
        CITY,
        Column("areas", "VARCHAR", "What the areas are: neighborhood, district, ward.", False),
        Column("area", "VARCHAR", "Name of the area.", nullable=False),
        Column("code", "VARCHAR", "The area's number; null where the portal gives none."),
        Column("part", "INTEGER", "Counts features of the same name from 0.", nullable=False),
        Column(
            "geometry", "VARCHAR", "GeoJSON geometry, longitude before latitude.", nullable=False
        ),
        Column("dataset", "VARCHAR", "The portal's dataset.", nullable=False),
        FETCHED_FROM,
        FETCHED_AT,
    ),
    unique=("city", "areas", "area", "part"),
    scope="city",
    period=None,
)
