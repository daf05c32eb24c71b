"""The columns of gold: counts, rates, hot spots, forecasts and anomalies of cells."""

from dataclasses import replace

from city311_assets.warehouse.tables.bronze import DAY, FEED
from city311_assets.warehouse.tables.silver import AREAS, CATEGORY, LATITUDE, LONGITUDE
from city311_assets.warehouse.tables.silver import CELL as RECORD_CELL
from city311_assets.warehouse.tables.table import Column, Table

MONTH = Column("month", "DATE", "First city-local day of the month of the slice.", nullable=False)
IS_PROVISIONAL = Column(
    "is_provisional",
    "BOOLEAN",
    "Whether the portal had not told all of the slice yet: days it withholds, or to come.",
    nullable=False,
)
RESOLUTION = Column(
    "resolution", "UTINYINT", "H3 resolution of the cell; 0 stands for the whole city.", False
)
CELL = replace(RECORD_CELL, nullable=False)
RECORDS = Column("records", "BIGINT", "Records with a usable point.", nullable=False)
ELIGIBLE = Column(
    "eligible",
    "BIGINT",
    "Of these, those whose outcome is known: incidents that say whether there was an arrest; "
    "requests that ask for work, opened 7 days or more before they were last observed, with a "
    "readable closing.",
    nullable=False,
)
SUCCESSES = Column(
    "successes",
    "BIGINT",
    "Of the eligible, those with an arrest, or closed within 7 days (168 hours).",
    nullable=False,
)
COUNTS = (RECORDS, ELIGIBLE, SUCCESSES)

MEDIAN_HOURS_TO_CLOSE = Column(
    "median_hours_to_close",
    "DOUBLE",
    "Hours after which half of them are closed, by Kaplan-Meier, open ones censored at their age "
    "when last observed; null where half were not closed by then.",
)

CELLS = Table(
    layer="gold",
    name="cells",
    one_row_per="cell of a feed's study area, of resolutions 6 to 10",
    columns=(
        FEED,
        RESOLUTION,
        CELL,
        Column("parent", "UBIGINT", "The cell's parent, one resolution coarser.", nullable=False),
        replace(LATITUDE, nullable=False),
        replace(LONGITUDE, nullable=False),
        Column(
            "boundary",
            "VARCHAR",
            "The cell's outline, GeoJSON polygon, counter-clockwise.",
            nullable=False,
        ),
        Column(
            "neighbors",
            "UBIGINT[]",
            "The cells of the study area that touch it, in order.",
            nullable=False,
        ),
        Column(
            "label",
            "VARCHAR",
            "What people call it: at resolutions 9 and 10 the street or block that most of its "
            "records name, else the district, community area or neighbourhood most of them name, "
            "else the neighbourhood at its centre; null where nothing is known.",
        ),
        Column(
            "label_from",
            "VARCHAR",
            "Where the label is from: `street`, `district`, `community_area`, `neighborhood` or "
            "`boundary`; null without a label.",
        ),
        Column(
            "is_inside",
            "BOOLEAN",
            "Whether a published boundary touches it: other cells hold records or are beside some; "
            "null while no boundary is known.",
        ),
        Column(
            "records_seen", "BIGINT", "Records of all time with a usable point.", nullable=False
        ),
    ),
    unique=("feed", "resolution", "cell"),
    period=None,
)

CELL_DAYS = Table(
    layer="gold",
    name="cell_days",
    one_row_per="day, cell of resolutions 6 to 10 and category with a record",
    columns=(FEED, DAY, RESOLUTION, CELL, CATEGORY, *COUNTS),
    unique=("feed", "day", "resolution", "cell", "category"),
)

RATES = (
    *COUNTS,
    Column("rate", "DOUBLE", "Successes over eligible; null with none eligible."),
    Column(
        "rate_low",
        "DOUBLE",
        "Lower end of the rate's Wilson interval at 95 %; 0 with none eligible.",
        nullable=False,
    ),
    Column("rate_high", "DOUBLE", "Its upper end; 1 with none eligible.", nullable=False),
    Column(
        "rate_eb",
        "DOUBLE",
        "The rate shrunk once towards the mean of the feed's cells, by beta-binomial empirical "
        "Bayes over the slice's cells of the resolution and category; null where none of them has "
        "an eligible record.",
    ),
    Column(
        "prior_mean",
        "DOUBLE",
        "Mean of the prior: the rate of all cells together; null likewise.",
    ),
    Column(
        "prior_strength",
        "DOUBLE",
        "How many eligible records the prior is worth (alpha + beta); null where cells differ no "
        "more than chance, and the prior then decides alone.",
    ),
    Column(
        "rate_smoothed",
        "DOUBLE",
        "The rate shrunk by a prior worth 5 records, whatever the cells say; kept to compare with "
        "earlier systems; null likewise.",
    ),
    Column("pooled_records", "BIGINT", "Records of the cell and its neighbours together.", False),
    Column("pooled_n", "BIGINT", "Eligible records of the cell and its neighbours.", False),
    Column("pooled_k", "BIGINT", "Successes of the cell and its neighbours.", False),
    Column(
        "rate_pooled",
        "DOUBLE",
        "The rate of the cell and its neighbours, shrunk once by the same prior; null likewise.",
    ),
    Column(
        "is_low_confidence",
        "BOOLEAN",
        "Whether the Wilson interval of the slice is wider than 0.3.",
        nullable=False,
    ),
)

CELL_DAY_RATES = Table(
    layer="gold",
    name="cell_day_rates",
    one_row_per="day, cell of resolutions 6 to 8 and category (or `all`) with a record in it or "
    "beside it",
    columns=(FEED, DAY, RESOLUTION, CELL, CATEGORY, *RATES),
    unique=("feed", "day", "resolution", "cell", "category"),
)

CELL_MONTHS = Table(
    layer="gold",
    name="cell_months",
    one_row_per="month, cell of resolutions 6 to 10 and category (or `all`) with a record in it or "
    "beside it",
    columns=(
        FEED,
        MONTH,
        RESOLUTION,
        CELL,
        CATEGORY,
        *RATES,
        Column(
            "timed",
            "BIGINT",
            "Requests that ask for work whose time to close, or age while open, is known: what the "
            "medians are of; null for incidents.",
        ),
        MEDIAN_HOURS_TO_CLOSE,
        Column(
            "p90_hours_to_close",
            "DOUBLE",
            "Hours after which nine in ten are closed, likewise.",
        ),
        IS_PROVISIONAL,
    ),
    unique=("feed", "month", "resolution", "cell", "category"),
    period="month",
)

STREET_SHARES = "STRUCT(street VARCHAR, fraction DOUBLE)[]"

CELL_PROFILES = Table(
    layer="gold",
    name="cell_profiles",
    one_row_per="month and cell of resolutions 6 to 10 with a record",
    columns=(
        FEED,
        MONTH,
        RESOLUTION,
        CELL,
        RECORDS,
        Column(
            "dominant_category",
            "VARCHAR",
            "The category with the most records, the first by name among equals.",
            nullable=False,
        ),
        Column("dominant_share", "DOUBLE", "Its share of the records.", nullable=False),
        Column(
            "streets",
            STREET_SHARES,
            "Up to three streets that most records name, with the fraction of the records that "
            "name one.",
            nullable=False,
        ),
        *AREAS,
        Column(
            "weekday_per_day",
            "DOUBLE[]",
            "Records a day on each weekday, Monday first, over the month's days held; null of a "
            "weekday that has none.",
            nullable=False,
        ),
        Column(
            "hour_per_day",
            "DOUBLE[]",
            "Records a day in each local hour, midnight first, of those whose time is certain.",
            nullable=False,
        ),
        Column(
            "time_uncertain",
            "BIGINT",
            "Records that the hours leave out: midnight or noon exact to the second.",
            nullable=False,
        ),
        Column("days_held", "BIGINT", "Days of the month that the profile is of.", nullable=False),
        IS_PROVISIONAL,
    ),
    unique=("feed", "month", "resolution", "cell"),
    period="month",
)

BASELINE_DAYS = Column(
    "baseline_days", "BIGINT", "Days held that the expectation comes from; null under `uniform`."
)

HOTSPOTS = Table(
    layer="gold",
    name="hotspots",
    one_row_per="month, cell of resolutions 7 to 9, category (or `all`) and null model whose ring "
    "holds a record or is expected to hold 5",
    columns=(
        FEED,
        MONTH,
        RESOLUTION,
        CELL,
        CATEGORY,
        Column(
            "null_model",
            "VARCHAR",
            "What is not hot: `baseline`, the share of the city's records that the ring had in its "
            "trailing year; `uniform`, every cell alike.",
            nullable=False,
        ),
        RECORDS,
        Column("expected", "DOUBLE", "Records expected of the cell; null without a baseline."),
        Column("ring_records", "BIGINT", "Records of the cell and its neighbours.", False),
        Column(
            "ring_expected",
            "DOUBLE",
            "Records expected of the cell and its neighbours; null without a baseline.",
        ),
        Column(
            "z",
            "DOUBLE",
            "Of the cell and its neighbours: under `uniform` Getis-Ord Gi*, under `baseline` what "
            "they have above their expectation in its standard errors; null where it cannot be "
            "had.",
        ),
        Column("p", "DOUBLE", "Two-sided probability of as much by chance; null if not tested."),
        Column(
            "q",
            "DOUBLE",
            "Benjamini-Hochberg's, over all that was tested together; null if not tested.",
        ),
        Column(
            "class",
            "VARCHAR",
            "`hot_99`, `hot_95`, `hot_90`, `cold_99`, `cold_95`, `cold_90` by q, or `none`.",
            nullable=False,
        ),
        Column(
            "reason",
            "VARCHAR",
            "Why it was not tested: `sparse` (the ring is expected to hold fewer than 5 records), "
            "`short history` (fewer than 28 days, or no records, before the month), `no contrast` "
            "(the ring is the whole city, or all cells are equal); null if it was.",
        ),
        Column("moran_i", "DOUBLE", "Local Moran's I; null where it cannot be had."),
        Column(
            "moran_p", "DOUBLE", "Its two-sided probability, analytic; null where there is none."
        ),
        Column(
            "moran_quadrant",
            "VARCHAR",
            "`HH`, `LL`, `HL` or `LH`: the cell high or low, then its neighbours; null likewise.",
        ),
        Column(
            "emerging",
            "VARCHAR",
            "What the trailing 12 months are: `new`, `consecutive`, `intensifying`, `persistent`, "
            "`diminishing`, `sporadic`, `oscillating`, `historical` or `none`; null with fewer.",
        ),
        Column("trend_z", "DOUBLE", "Mann-Kendall's z of Gi* over the trailing 12 months."),
        Column("trend_p", "DOUBLE", "Its two-sided probability."),
        BASELINE_DAYS,
        IS_PROVISIONAL,
    ),
    unique=("feed", "month", "resolution", "cell", "category", "null_model"),
    period="month",
)

INTERVALS = (
    Column("low_80", "BIGINT", "Lower end of the interval at 80 %; null without one."),
    Column("high_80", "BIGINT", "Upper end of the interval at 80 %; null without one."),
    Column("low_95", "BIGINT", "Lower end of the interval at 95 %; null without one."),
    Column("high_95", "BIGINT", "Upper end of the interval at 95 %; null without one."),
)

METHOD = Column(
    "method",
    "VARCHAR",
    "Method of the forecast. Served is the one that did best on the gating origins, if it beat the "
    "baselines there, else the better baseline; null where nothing could be forecast.",
)

FORECASTS = Table(
    layer="gold",
    name="forecasts",
    one_row_per="day of issue, category (or `all`), and cell of resolutions 7 and 8 or city: the "
    "records of the seven days after it",
    columns=(
        FEED,
        DAY,
        RESOLUTION,
        CELL,
        CATEGORY,
        Column("first_day", "DATE", "First of the seven days.", nullable=False),
        Column("last_day", "DATE", "Last of the seven days.", nullable=False),
        Column(
            "known_until_day",
            "DATE",
            "Last day whose records the forecast uses: the day of issue less what the portal "
            "withholds.",
            nullable=False,
        ),
        METHOD,
        Column(
            "reason",
            "VARCHAR",
            "`short history` where no model could be compared, or nothing could be forecast; null "
            "otherwise.",
        ),
        Column("mean", "DOUBLE", "Expected records; those of cells add up to the city's."),
        Column("median", "BIGINT", "Median of the records; null without a forecast."),
        *INTERVALS,
        Column("trailing", "DOUBLE", "What the baseline says: the last 28 known days, a quarter."),
        Column("seasonal_naive", "DOUBLE", "What the other baseline says: the last 7 known days."),
    ),
    unique=("feed", "day", "resolution", "cell", "category"),
)

AREA_PERCENTS = (1, 2, 5, 10, 20)


def _of_area(percent: int) -> tuple[Column, ...]:
    share = f"the {percent} % of the cells with the highest forecasts"
    return (
        Column(
            f"hit_rate_{percent}",
            "DOUBLE",
            f"Share of what came that fell into {share}; null for the city, or if nothing came.",
        ),
        Column(f"pai_{percent}", "DOUBLE", f"That share over the share of the area, of {share}."),
        Column(
            f"pei_{percent}", "DOUBLE", f"That share over the largest that so many, {share}, hold."
        ),
    )


FORECAST_SCORES = Table(
    layer="gold",
    name="forecast_scores",
    one_row_per="day on which the outcome was known, category (or `all`), resolution (or city) and "
    "method",
    columns=(
        FEED,
        DAY,
        RESOLUTION,
        CATEGORY,
        replace(METHOD, nullable=False),
        Column("origin_day", "DATE", "Day of issue of the forecast.", nullable=False),
        Column(
            "is_served",
            "BOOLEAN",
            "Whether this method was served on the day of issue.",
            nullable=False,
        ),
        Column("cells", "BIGINT", "Cells that were forecast.", nullable=False),
        Column("observed", "BIGINT", "Records that came.", nullable=False),
        Column("predicted", "DOUBLE", "Records that were expected; null without a forecast."),
        Column("mae", "DOUBLE", "Mean absolute error of a cell's median, records."),
        Column(
            "mase",
            "DOUBLE",
            "The error over that of the week before, in the weeks the forecast knew; null where "
            "that is 0.",
        ),
        Column("crps", "DOUBLE", "Mean continuous ranked probability score of a cell, records."),
        Column("coverage_80", "DOUBLE", "Share of cells inside their interval at 80 %."),
        Column("coverage_95", "DOUBLE", "Share of cells inside their interval at 95 %."),
        Column(
            "pit",
            "DOUBLE",
            "Probability integral transform, the middle of its jump; null for cells.",
        ),
        Column(
            "pit_distance",
            "DOUBLE",
            "Largest distance of the cells' randomized probability integral transforms from "
            "uniform ones; null for the city.",
        ),
        *(column for percent in AREA_PERCENTS for column in _of_area(percent)),
    ),
    unique=("feed", "day", "resolution", "category", "method"),
)

ANOMALIES = Table(
    layer="gold",
    name="anomalies",
    one_row_per="day, category (or `all`) and city, or cell of resolution 7 that is unusual "
    "(p below 0.01)",
    columns=(
        FEED,
        DAY,
        RESOLUTION,
        CELL,
        CATEGORY,
        RECORDS,
        Column("expected", "DOUBLE", "Records expected of the cell; null without a baseline."),
        INTERVALS[2],
        INTERVALS[3],
        Column("p", "DOUBLE", "Two-sided probability of as much by chance; null if not tested."),
        Column(
            "q",
            "DOUBLE",
            "Benjamini-Hochberg's, over all that was tested together; null if not tested.",
        ),
        Column("direction", "VARCHAR", "`more` or `fewer` than expected; null if not tested."),
        Column("is_anomaly", "BOOLEAN", "Whether q is at most 0.05.", nullable=False),
        IS_PROVISIONAL,
        Column(
            "reason",
            "VARCHAR",
            "`short history` where fewer than 28 days lie before the tested week; null otherwise.",
        ),
        Column("tests", "BIGINT", "How many tests the day had.", nullable=False),
        BASELINE_DAYS,
        Column(
            "unusual_streets",
            "VARCHAR[]",
            "Up to three streets with the most records over their usual number.",
            nullable=False,
        ),
        Column(
            "record_ids",
            "VARCHAR[]",
            "Up to five records that explain it: the newest of those streets.",
            nullable=False,
        ),
    ),
    unique=("feed", "day", "resolution", "cell", "category"),
)
