"""The columns of risk: what is known of cells, what happened next, forecasts, costs, work lists."""

from dataclasses import replace

from city311_assets.warehouse.tables.bronze import DAY
from city311_assets.warehouse.tables.gold import IS_PROVISIONAL, MONTH
from city311_assets.warehouse.tables.silver import AREAS, CELL, LATITUDE, LONGITUDE, WEATHER_DAYS
from city311_assets.warehouse.tables.table import Column, Table

TARGET = Column("target", "VARCHAR", "What is forecast: the name of a target.", nullable=False)
WEATHER_OF = {column.name: column for column in WEATHER_DAYS.columns}
RISK_CELL = replace(CELL, nullable=False)
KIND = Column(
    "model_kind",
    "VARCHAR",
    "`climatology`, `recent_rate` or `long_run_rate` (the baselines), `logistic` or "
    "`gradient_boosting`.",
    nullable=False,
)
VERSION = Column(
    "model_version",
    "VARCHAR",
    "The fitted model; `unfitted` where there was none and the long-run rate stands in.",
    nullable=False,
)
TESTED_FROM = Column(
    "tested_from",
    "DATE",
    "First day of the block of its figures: the origin, nothing that happened since was seen.",
    nullable=False,
)
TESTED_UNTIL = Column("tested_until", "DATE", "Last day of that block.", nullable=False)
PARAMETERS = Column(
    "parameters",
    "VARCHAR",
    "What it was asked for, a JSON object; of a model also what was fitted.",
    nullable=False,
)
EXPECTED_EVENTS = Column(
    "expected_events_7d", "DOUBLE", "Calls expected in the 7 days after the day.", nullable=False
)
SEED = Column("seed", "BIGINT", "Start of what is drawn at random.", nullable=False)

CELL_DAYS = Table(
    layer="risk",
    name="cell_days",
    one_row_per="cell of the study area and city-local day",
    columns=(
        TARGET,
        DAY,
        RISK_CELL,
        Column(
            "calls_7d", "INTEGER", "Calls in this and the 6 days before; null if one is not held."
        ),
        Column(
            "calls_14d", "INTEGER", "Calls in this and the 13 days before; null if one is not held."
        ),
        Column(
            "calls_30d", "INTEGER", "Calls in this and the 29 days before; null if one is not held."
        ),
        Column(
            "calls_90d", "INTEGER", "Calls in this and the 89 days before; null if one is not held."
        ),
        Column(
            "calls_365d",
            "INTEGER",
            "Calls in this and the 364 days before; null if one is not held.",
        ),
        Column(
            "decay_7d",
            "DOUBLE",
            "Calls so far, each worth half after every 7 days; days not held count as empty.",
            False,
        ),
        Column(
            "decay_30d",
            "DOUBLE",
            "Calls so far, each worth half after every 30 days; days not held count as empty.",
            False,
        ),
        Column(
            "days_since_last",
            "INTEGER",
            "Days since the newest call, 0 on its day; null without one in 1,095 days.",
        ),
        Column(
            "ring1_calls_30d",
            "INTEGER",
            "Calls in the cells that touch this one, in 30 days; null if a day is not held.",
        ),
        Column(
            "ring2_calls_30d",
            "INTEGER",
            "Calls in the cells two steps away, in 30 days; null if a day is not held.",
        ),
        Column(
            "ring1_calls_365d",
            "INTEGER",
            "Calls in the cells that touch this one, in 365 days; null if a day is not held.",
        ),
        Column(
            "parent_rate",
            "DOUBLE",
            "Calls a day and cell in the cell's ancestor two resolutions up, over the days held, "
            "at most 1,095, shrunk towards the city's mean by empirical Bayes.",
            nullable=False,
        ),
        Column(
            "long_run_rate",
            "DOUBLE",
            "Calls a day in the cell over the days held, at most 1,095, shrunk towards the rate of "
            "its ancestor by empirical Bayes.",
            nullable=False,
        ),
        Column(
            "same_weeks_last_year",
            "INTEGER",
            "Calls in the 21 days around the 7 that lie 364 days before those forecast; null if "
            "one is not held.",
        ),
        Column(
            "all_calls_30d",
            "INTEGER",
            "Requests of every kind in 30 days: how much people call here; null if a day is not "
            "held.",
        ),
        Column(
            "all_calls_365d",
            "INTEGER",
            "Requests of every kind in 365 days; null if a day is not held.",
        ),
        Column("weekday", "UTINYINT", "Local weekday, Monday is 1.", nullable=False),
        Column("season_sin", "DOUBLE", "Sine of the time of year, of the days forecast.", False),
        Column("season_cos", "DOUBLE", "Cosine of the time of year, of the days forecast.", False),
        Column(
            "weather_day",
            "DATE",
            "The newest day whose weather was known on this one: the weather here is its; null if "
            "none of the last 14 was.",
        ),
        WEATHER_OF["temperature_min_c"],
        WEATHER_OF["temperature_max_c"],
        WEATHER_OF["temperature_drop_c"],
        WEATHER_OF["is_freeze"],
        WEATHER_OF["is_freeze_thaw"],
        Column(
            "freeze_thaw_days_7d",
            "INTEGER",
            "Days of this and the 6 before with frost and thaw; null if a day is unknown.",
        ),
        WEATHER_OF["freezing_degree_days_14d"],
        WEATHER_OF["is_heavy_rain"],
        WEATHER_OF["rain_3d_mm"],
        WEATHER_OF["rain_7d_mm"],
        Column(
            "history_days", "INTEGER", "Unbroken days held up to this one, at most 1,095.", False
        ),
        IS_PROVISIONAL,
    ),
    unique=("target", "day", "cell"),
    scope="target",
)

OUTCOMES = Table(
    layer="risk",
    name="outcomes",
    one_row_per="cell of the study area and day whose next 7 days are over",
    columns=(
        TARGET,
        DAY,
        RISK_CELL,
        Column("calls_after_7d", "INTEGER", "Calls in the 7 days after the day.", nullable=False),
        Column(
            "first_calls_after_7d",
            "INTEGER",
            "The same without those that the city marked as repeats of another.",
            nullable=False,
        ),
        Column(
            "is_event",
            "BOOLEAN",
            "Whether there was a call in those days. A call is no leak: neighbourhoods differ in "
            "how soon they report one.",
            nullable=False,
        ),
    ),
    unique=("target", "day", "cell"),
    scope="target",
)

FIGURES = (
    Column("cell_days", "BIGINT", "Cell-days the figures are of.", nullable=False),
    Column("events", "BIGINT", "Cell-days with an event among them.", nullable=False),
    Column("base_rate", "DOUBLE", "Share of them with an event.", nullable=False),
    Column("mean_p", "DOUBLE", "Mean forecast probability of them.", nullable=False),
    Column("brier", "DOUBLE", "Brier score: mean squared error of the probability.", False),
    Column(
        "brier_skill",
        "DOUBLE",
        "1 less the Brier score over that of climatology on the same cell-days.",
        nullable=False,
    ),
    Column("log_loss", "DOUBLE", "Mean negative log likelihood, nats.", nullable=False),
    Column("pr_auc", "DOUBLE", "Average precision; null without an event."),
    Column(
        "ece",
        "DOUBLE",
        "Expected calibration error over ten bins of as many cell-days each.",
        nullable=False,
    ),
    Column("ece_low", "DOUBLE", "Lower end of its 95 % interval, by resampling days.", False),
    Column("ece_high", "DOUBLE", "Upper end of its 95 % interval, by resampling days.", False),
    Column(
        "calibration_slope",
        "DOUBLE",
        "Slope of events on the logit of the probability, 1 where it is neither too bold nor too "
        "timid; null without an event.",
    ),
    Column(
        "precision_top_1pct",
        "DOUBLE",
        "Share with an event among each day's 1 % of cells of the highest probability.",
        nullable=False,
    ),
    Column(
        "recall_top_1pct",
        "DOUBLE",
        "Share of the events that lie in them; null without an event.",
    ),
    Column(
        "precision_top_5pct",
        "DOUBLE",
        "Share with an event among each day's 5 % of cells of the highest probability.",
        nullable=False,
    ),
    Column("recall_top_5pct", "DOUBLE", "Share of the events in those 5 %; null without an event."),
)

MODELS = Table(
    layer="risk",
    name="models",
    one_row_per="candidate fitted for a month",
    columns=(
        TARGET,
        MONTH,
        KIND,
        VERSION,
        Column("trained_from", "DATE", "First day of the training block.", nullable=False),
        Column(
            "trained_until",
            "DATE",
            "Last day of all blocks: the model saw what happened in the 7 days after it.",
            nullable=False,
        ),
        Column(
            "training_until", "DATE", "Last day of the training block, a gap of 7 days follows."
        ),
        Column(
            "calibrated_from", "DATE", "First day of the block it was calibrated on; null if none."
        ),
        Column("calibrated_until", "DATE", "Last day of that block, a gap of 7 days follows."),
        TESTED_FROM,
        TESTED_UNTIL,
        Column("training_rows", "BIGINT", "Cell-days it was fitted on.", nullable=False),
        Column(
            "calibration",
            "VARCHAR",
            "`sigmoid`, `isotonic`, `beta`, or `none` of a baseline.",
            nullable=False,
        ),
        PARAMETERS,
        *FIGURES,
        Column("is_promoted", "BOOLEAN", "Whether days may be scored by it.", nullable=False),
        Column("reason", "VARCHAR", "Why it was promoted, or was not.", nullable=False),
        Column("artefact_path", "VARCHAR", "The file below the data folder.", nullable=False),
        Column("artefact_hash", "VARCHAR", "SHA-256 of the file.", nullable=False),
        Column(
            "library_version",
            "VARCHAR",
            "Version of scikit-learn that wrote it; another one does not read it.",
            nullable=False,
        ),
        SEED,
    ),
    unique=("target", "month", "model_kind"),
    scope="target",
    period="month",
)

EVALUATIONS = Table(
    layer="risk",
    name="evaluations",
    one_row_per="candidate and origin from which it forecast a block of days",
    columns=(
        TARGET,
        MONTH,
        TESTED_FROM,
        KIND,
        TESTED_UNTIL,
        *FIGURES,
        Column(
            "reliability",
            "STRUCT(mean_p DOUBLE, event_rate DOUBLE, cell_days BIGINT)[]",
            "Ten bins of as many cell-days each, by rising probability.",
            nullable=False,
        ),
        Column(
            "by_ward",
            "STRUCT(ward VARCHAR, mean_p DOUBLE, event_rate DOUBLE, cell_days BIGINT)[]",
            "The same by ward: whether the forecast is right on average there.",
            nullable=False,
        ),
        Column(
            "decision_curve",
            "STRUCT(threshold DOUBLE, net_benefit DOUBLE, last_year DOUBLE, everywhere DOUBLE)[]",
            "Net benefit per cell-day of acting above a probability, beside acting where there was "
            "a call in the last 365 days, and everywhere.",
            nullable=False,
        ),
        SEED,
    ),
    unique=("target", "month", "tested_from", "model_kind"),
    scope="target",
    period="month",
)

SCORES = Table(
    layer="risk",
    name="scores",
    one_row_per="cell, day and model version that scored it",
    columns=(
        TARGET,
        DAY,
        RISK_CELL,
        Column(
            "p_event_7d",
            "DOUBLE",
            "Calibrated probability of at least one call in the 7 days after the day.",
            nullable=False,
        ),
        Column("low", "DOUBLE", "Lower end of the 95 % interval of the calibrated value.", False),
        Column("high", "DOUBLE", "Upper end of the 95 % interval of the calibrated value.", False),
        EXPECTED_EVENTS,
        Column(
            "risk_band",
            "VARCHAR",
            "`high`, `medium` or `low`, by the limits of the settings.",
            nullable=False,
        ),
        Column(
            "decile",
            "INTEGER",
            "10 for the tenth of the city's cells of the highest probability, down to 1.",
            nullable=False,
        ),
        Column(
            "drivers",
            "STRUCT(driver VARCHAR, effect DOUBLE, words VARCHAR)[]",
            "The three groups of features that moved it most from the city's average, with the "
            "change of its log odds before calibration.",
            nullable=False,
        ),
        VERSION,
        KIND,
        Column("reason", "VARCHAR", "Why no fitted model served; null if one did."),
        Column("is_newest", "BOOLEAN", "Whether no later version scored the day.", nullable=False),
        Column("as_of", "TIMESTAMP", "When it was scored, UTC.", False, is_provenance=True),
    ),
    unique=("target", "day", "cell", "model_version"),
    scope="target",
)

COSTS = Table(
    layer="risk",
    name="costs",
    one_row_per="cell and day",
    columns=(
        TARGET,
        DAY,
        RISK_CELL,
        Column(
            "expected_cost_usd_7d",
            "DOUBLE",
            "Expected cost of the 7 days after the day, US dollars, by the priors.",
            nullable=False,
        ),
        Column("p50_cost", "DOUBLE", "Median of that cost, US dollars.", nullable=False),
        Column("p90_cost", "DOUBLE", "Its 90 % quantile, US dollars.", nullable=False),
        Column("water_usd", "DOUBLE", "Of the expected cost: water lost.", nullable=False),
        Column("energy_usd", "DOUBLE", "Of the expected cost: pumping that water.", nullable=False),
        Column("repair_usd", "DOUBLE", "Of the expected cost: mending breaks.", nullable=False),
        Column("response_usd", "DOUBLE", "Of the expected cost: crews that look.", nullable=False),
        VERSION,
        Column(
            "priors_version",
            "VARCHAR",
            "The priors in use: the beginning of their SHA-256.",
            nullable=False,
        ),
        SEED,
    ),
    unique=("target", "day", "cell"),
    scope="target",
)

RECOMMENDATIONS = Table(
    layer="risk",
    name="recommendations",
    one_row_per="cluster of adjacent cells for which an action pays",
    columns=(
        TARGET,
        DAY,
        Column(
            "recommendation_id",
            "VARCHAR",
            "The cluster; the same as the day before where most of its cells are.",
            nullable=False,
        ),
        Column("rank", "INTEGER", "1 has the highest net benefit.", nullable=False),
        Column(
            "is_chosen",
            "BOOLEAN",
            "Whether it is one of the set that fits into the crew hours of a day and nets most.",
            nullable=False,
        ),
        Column("action", "VARCHAR", "`pressure_step` or `leak_survey`.", nullable=False),
        PARAMETERS,
        Column("cells", "UBIGINT[]", "The cells of the cluster, sorted.", nullable=False),
        Column("expected_saving_usd", "DOUBLE", "Expected saving of 7 days, US dollars.", False),
        Column(
            "saving_low",
            "DOUBLE",
            "Saving with all priors at the end that makes it low.",
            nullable=False,
        ),
        Column(
            "saving_high",
            "DOUBLE",
            "Saving with all priors at the end that makes it high.",
            nullable=False,
        ),
        Column("action_cost_usd", "DOUBLE", "Cost of the action, US dollars.", nullable=False),
        Column("net_benefit_usd", "DOUBLE", "Saving less cost, US dollars.", nullable=False),
        Column("crew_hours", "DOUBLE", "Crew hours it takes.", nullable=False),
        EXPECTED_EVENTS,
        Column("why", "VARCHAR", "Why here, in a sentence.", nullable=False),
        Column(
            "equity_note",
            "VARCHAR",
            "Which ward it lies in, and how that ward's share of calls compares with its share of "
            "cells.",
            nullable=False,
        ),
        Column(
            "geometry", "VARCHAR", "GeoJSON geometry, longitude before latitude.", nullable=False
        ),
        LATITUDE,
        LONGITUDE,
        VERSION,
        Column(
            "priors_version", "VARCHAR", "The priors in use: the beginning of their SHA-256.", False
        ),
    ),
    unique=("target", "day", "recommendation_id"),
    scope="target",
)

WARD_COVERAGE = Table(
    layer="risk",
    name="ward_coverage",
    one_row_per="ward and day",
    columns=(
        TARGET,
        DAY,
        replace(AREAS[3], nullable=False),
        Column("cells", "BIGINT", "Cells of the study area in the ward.", nullable=False),
        Column("share_of_cells", "DOUBLE", "Its share of the city's cells.", nullable=False),
        Column("share_of_calls", "DOUBLE", "Its share of the city's calls of 365 days.", False),
        Column(
            "share_of_all_calls",
            "DOUBLE",
            "Its share of requests of every kind in 365 days: who calls at all.",
            nullable=False,
        ),
        Column("share_of_expected", "DOUBLE", "Its share of the calls expected.", nullable=False),
        Column(
            "share_of_chosen", "DOUBLE", "Its share of the cells in chosen recommendations.", False
        ),
    ),
    unique=("target", "day", "ward"),
    scope="target",
)
