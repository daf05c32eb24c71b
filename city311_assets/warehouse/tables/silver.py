"""The columns of silver: one row per record, typed, placed and timed."""

from city311_assets.warehouse.tables.bronze import (
    CITY,
    DAY,
    FEED,
    OBSERVED_UNTIL,
    RECORD_ID,
    RECORD_ID_IF_ANY,
    ROW,
    ROW_ID,
    WEATHER_VALUES,
)
from city311_assets.warehouse.tables.table import Column, Table

CATEGORY = Column(
    "category",
    "VARCHAR",
    "Category of the feed's taxonomy; `unmapped` if it has none. Where rows of gold do not add up, "
    "`all` stands for every category together.",
    nullable=False,
)
AREAS = (
    Column(
        "neighborhood",
        "VARCHAR",
        "The reported neighbourhood, else the one it lies in; of a cell, that of most records.",
    ),
    Column(
        "district",
        "VARCHAR",
        "Supervisor or police district as the feed defines it; of a cell, that of most records.",
    ),
    Column(
        "police_district",
        "VARCHAR",
        "Police district; null where unknown; of a cell, that of most records.",
    ),
    Column(
        "ward",
        "VARCHAR",
        "Ward; null where unknown or the city has none; of a cell, that of most records.",
    ),
    Column(
        "community_area",
        "VARCHAR",
        "Number of the community area; null where unknown; of a cell, that of most records.",
    ),
)
CELL = Column(
    "cell",
    "UBIGINT",
    "H3 cell; of a record at resolution 10, null without a usable point. In forecasts and "
    "anomalies 0 stands for the whole city.",
)
LATITUDE = Column("latitude", "DOUBLE", "Degrees north; null without a usable point.")
LONGITUDE = Column("longitude", "DOUBLE", "Degrees east; null without a usable point.")

COMMON = (
    FEED,
    DAY,
    RECORD_ID,
    Column("opened_at", "TIMESTAMP", "When it was opened, local wall time as published.", False),
    Column(
        "opened_at_utc",
        "TIMESTAMP",
        "The instant it was opened, UTC; the repeated hour in autumn is read as its first pass, a "
        "time skipped in spring as an hour later.",
        nullable=False,
    ),
    CATEGORY,
    Column("taxonomy", "VARCHAR", "Taxonomy and version the category comes from.", nullable=False),
    Column("kind", "VARCHAR", "What was reported, as published."),
    Column("subkind", "VARCHAR", "Finer kind as published; null where there is none."),
    Column("description", "VARCHAR", "Finest detail as published; null where there is none."),
    Column("address", "VARCHAR", "Address as published; null where there is none."),
    Column("street", "VARCHAR", "The address without its house number and city."),
    AREAS[0],
    Column("neighborhood_reported", "VARCHAR", "Neighbourhood the record itself names."),
    Column(
        "neighborhood_located",
        "VARCHAR",
        "Neighbourhood whose published boundary holds the point; null without a point or boundary.",
    ),
    *AREAS[1:],
    LATITUDE,
    LONGITUDE,
    CELL,
    Column("has_point", "BOOLEAN", "Whether the point can be used.", nullable=False),
    Column(
        "point_reason",
        "VARCHAR",
        "Why it cannot: `absent`, `unreadable`, `zero`, `out_of_range`, `outside_city`; "
        "null if it can.",
    ),
    Column("hour", "UTINYINT", "Local hour of opening, 0 to 23.", nullable=False),
    Column("weekday", "UTINYINT", "Local weekday, Monday is 1.", nullable=False),
    Column(
        "is_time_certain",
        "BOOLEAN",
        "False at midnight or noon exact to the second, which are mostly defaults.",
        nullable=False,
    ),
    Column("source_channel", "VARCHAR", "How it came in, as published; null where unknown."),
    Column("record_url", "VARCHAR", "The portal's own answer for the record.", nullable=False),
    Column("origin", "VARCHAR", "`portal`, `sample` or `file`.", False, is_provenance=True),
    OBSERVED_UNTIL,
)

REQUESTS = Table(
    layer="silver",
    name="requests",
    one_row_per="311 request",
    columns=(
        *COMMON,
        Column("closed_at", "TIMESTAMP", "When it was closed, local wall time; null while open."),
        Column("closed_at_utc", "TIMESTAMP", "The instant it was closed, UTC; null while open."),
        Column("status", "VARCHAR", "Status as published."),
        Column("status_notes", "VARCHAR", "Notes of the agency, mostly written at closing."),
        Column(
            "hours_to_close",
            "DOUBLE",
            "Hours between the two instants; null for the reason beside it.",
        ),
        Column(
            "hours_to_close_reason",
            "VARCHAR",
            "Why there are no hours: `open`, `closed_before_opened`, `closed_after_observed`, "
            "`closed_same_day_untimed` (dates without times), "
            "`closed_unreadable`; null if there are.",
        ),
        Column(
            "is_administrative",
            "BOOLEAN",
            "Closed in the second it was opened, or of a kind that asks for no work; response "
            "times leave it out.",
            nullable=False,
        ),
        Column("is_duplicate", "BOOLEAN", "Whether the city marked it a repeat; null if unsaid."),
        Column("parent_record_id", "VARCHAR", "The request it repeats; null if none is named."),
        Column("agency", "VARCHAR", "Agency or queue responsible, as published."),
        Column("media_url", "VARCHAR", "Link to a photo or a page about one; null if none."),
    ),
    unique=("feed", "day", "record_id"),
)

INCIDENTS = Table(
    layer="silver",
    name="incidents",
    one_row_per="reported crime",
    columns=(
        *COMMON,
        Column("is_arrest", "BOOLEAN", "Whether someone was arrested; null if unsaid."),
        Column("is_domestic", "BOOLEAN", "Whether it was domestic; null if unsaid."),
        Column("iucr", "VARCHAR", "Illinois Uniform Crime Reporting code; null if unsaid."),
        Column("fbi_code", "VARCHAR", "Code of the FBI's classification; null if unsaid."),
        Column("fbi_category", "VARCHAR", "What the FBI code stands for; `unmapped` if unknown."),
        Column("beat", "VARCHAR", "Police beat; null where unknown."),
        Column("block", "VARCHAR", "Address masked to its block; null where unknown."),
    ),
    unique=("feed", "day", "record_id"),
)

REJECTED_RECORDS = Table(
    layer="silver",
    name="rejected_records",
    one_row_per="bronze row that did not become a silver record",
    columns=(
        FEED,
        DAY,
        ROW_ID,
        RECORD_ID_IF_ANY,
        Column(
            "reason",
            "VARCHAR",
            "`no_record_id`, `older_version`, `opened_unreadable` or `no_kind`.",
            nullable=False,
        ),
        ROW,
    ),
    unique=("feed", "day", "row_id"),
)

WEATHER_DAYS = Table(
    layer="silver",
    name="weather_days",
    one_row_per="city-local day",
    columns=(
        CITY,
        DAY,
        Column(
            "source",
            "VARCHAR",
            "`archive`, or `forecast` where the archive does not know the day; null if neither.",
        ),
        Column(
            "known_on",
            "DATE",
            "Local day from which the values may be used: the day plus the archive's lag, or the "
            "day the forecast was issued; null without values.",
        ),
        *WEATHER_VALUES,
        Column("is_freeze", "BOOLEAN", "Lowest temperature below 0 °C; null if unknown."),
        Column("is_freeze_thaw", "BOOLEAN", "Below 0 °C and above it on one day; null if unknown."),
        Column(
            "temperature_drop_c",
            "DOUBLE",
            "How much lower the lowest temperature is than the day before, °C, negative when "
            "warmer; null if either day is unknown.",
        ),
        Column("is_heavy_rain", "BOOLEAN", "At least 25 mm of precipitation; null if unknown."),
        Column(
            "rain_3d_mm",
            "DOUBLE",
            "Precipitation of this and the 2 days before, mm; null if a day is unknown.",
        ),
        Column(
            "rain_7d_mm",
            "DOUBLE",
            "Precipitation of this and the 6 days before, mm; null if a day is unknown.",
        ),
        Column(
            "freezing_degree_days_14d",
            "DOUBLE",
            "Sum over this and the 13 days before of the degrees the mean of the lowest and "
            "highest temperature lies below 0 °C; null if a day is unknown.",
        ),
    ),
    unique=("city", "day"),
    scope="city",
)

RECORDS = {table.name: table for table in (REQUESTS, INCIDENTS)}
