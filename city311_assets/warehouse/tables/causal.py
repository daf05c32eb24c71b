"""The columns of causal: matched cases, what they say of neighbourhoods, how far to trust it."""

from dataclasses import replace

from city311_assets.warehouse.tables.atlas import EMBEDDING_MODEL
from city311_assets.warehouse.tables.bronze import DAY, FEED, RECORD_ID
from city311_assets.warehouse.tables.gold import IS_PROVISIONAL, MONTH
from city311_assets.warehouse.tables.silver import AREAS
from city311_assets.warehouse.tables.table import Column, Table

NEIGHBORHOOD = replace(AREAS[0], nullable=False)

MATCHED_PAIRS = Table(
    layer="causal",
    name="matched_pairs",
    one_row_per="case and a case elsewhere that it is compared with",
    columns=(
        FEED,
        MONTH,
        RECORD_ID,
        DAY,
        NEIGHBORHOOD,
        Column("control_id", "VARCHAR", "The case elsewhere.", nullable=False),
        Column("control_day", "DATE", "City-local day on which that was opened.", False),
        Column("control_neighborhood", "VARCHAR", "Neighbourhood of that case.", nullable=False),
        Column("match_rank", "INTEGER", "1 is the most alike.", nullable=False),
        Column("similarity", "DOUBLE", "Cosine similarity of the two, at most 1.", nullable=False),
        Column(
            "is_within_caliper",
            "BOOLEAN",
            "Whether the two are alike enough to be compared.",
            nullable=False,
        ),
        Column(
            "weight",
            "DOUBLE",
            "Its share among the controls that the effects use; null if they do not use it.",
        ),
        Column(
            "stratum",
            "VARCHAR",
            "What the two have in common: category, source channel, half-year.",
            nullable=False,
        ),
        Column(
            "restricted_hours", "DOUBLE", "Hours the case took, those of the limit at most.", False
        ),
        Column(
            "control_restricted_hours",
            "DOUBLE",
            "Hours the case elsewhere took, those of the limit at most.",
            nullable=False,
        ),
        EMBEDDING_MODEL,
    ),
    unique=("feed", "month", "record_id", "control_id"),
    period="month",
)

ATT = Table(
    layer="causal",
    name="att",
    one_row_per="neighbourhood, estimator and number of controls of a month's window",
    columns=(
        FEED,
        MONTH,
        NEIGHBORHOOD,
        Column(
            "estimator",
            "VARCHAR",
            "`bias_corrected` (the headline), `matched`, `aipw`, `all_cases` (open ones through "
            "pseudo-observations), `naive` (closed cases only, as once published) or "
            "`naive_restricted`.",
            nullable=False,
        ),
        Column("k", "INTEGER", "Controls of each case; 0 where none are matched.", False),
        Column("is_headline", "BOOLEAN", "Whether this row is the one to quote.", nullable=False),
        Column(
            "att_hours",
            "DOUBLE",
            "How many hours more its cases took than like cases elsewhere; null with a reason.",
        ),
        Column("se", "DOUBLE", "Standard error of that, hours; null with a reason."),
        Column("low", "DOUBLE", "Lower end of its 95 % interval, hours; null with a reason."),
        Column("high", "DOUBLE", "Upper end of its 95 % interval, hours; null with a reason."),
        Column("p", "DOUBLE", "Two-sided probability of as much by chance; null if not tested."),
        Column(
            "p_randomization",
            "DOUBLE",
            "The same by flipping signs of units at random; null where it is not computed.",
        ),
        Column(
            "q",
            "DOUBLE",
            "Benjamini-Hochberg's, over all that was tested together; null if not tested.",
        ),
        Column("n_treated", "BIGINT", "Its cases that were to be compared.", nullable=False),
        Column("n_matched", "BIGINT", "Those with a like case elsewhere.", nullable=False),
        Column("n_controls_used", "BIGINT", "Cases elsewhere used at least once.", nullable=False),
        Column(
            "effective_controls",
            "DOUBLE",
            "As many equally used ones would weigh as much; null where none are matched.",
        ),
        Column(
            "share_on_support", "DOUBLE", "The share of n_treated that is matched.", nullable=False
        ),
        Column(
            "mean_similarity", "DOUBLE", "Mean cosine of the pairs; null where none are matched."
        ),
        Column(
            "mean_restricted_hours",
            "DOUBLE",
            "Mean hours its cases took, those of the limit at most; null if not known of all.",
        ),
        Column(
            "is_contradicted",
            "BOOLEAN",
            "Whether the cross-check `aipw` is further away than their joint error; null without.",
        ),
        Column("reason", "VARCHAR", "Why there is no number or no interval; null if there is."),
        EMBEDDING_MODEL,
        IS_PROVISIONAL,
    ),
    unique=("feed", "month", "neighborhood", "estimator", "k"),
    period="month",
)

BALANCE = Table(
    layer="causal",
    name="balance",
    one_row_per="neighbourhood and covariate of a month's window",
    columns=(
        FEED,
        MONTH,
        NEIGHBORHOOD,
        Column(
            "covariate", "VARCHAR", "What is compared; `propensity` is that of the text.", False
        ),
        Column("mean_treated", "DOUBLE", "Its mean over the matched cases; null if none are."),
        Column("mean_controls", "DOUBLE", "Over all cases elsewhere in their strata; or null."),
        Column("mean_matched", "DOUBLE", "Over the controls used, weighted; null if none are."),
        Column(
            "smd_before",
            "DOUBLE",
            "Standardized mean difference to the cases elsewhere, in standard deviations of its "
            "own cases; null where these do not vary.",
        ),
        Column("smd_after", "DOUBLE", "The same to the controls used; null where undefined."),
        Column("variance_ratio_before", "DOUBLE", "Variance over theirs; null where undefined."),
        Column(
            "variance_ratio_after", "DOUBLE", "Variance over that of the controls used; or null."
        ),
    ),
    unique=("feed", "month", "neighborhood", "covariate"),
    period="month",
)

SENSITIVITY = Table(
    layer="causal",
    name="sensitivity",
    one_row_per="neighbourhood of a month's window",
    columns=(
        FEED,
        MONTH,
        NEIGHBORHOOD,
        Column(
            "rosenbaum_gamma",
            "DOUBLE",
            "Odds of hidden bias at which the difference could be chance (5 %); 1 is none; null "
            "where it could be without any, or nothing is matched.",
        ),
        Column("gamma_pairs", "BIGINT", "Pairs without replacement that it is computed on.", False),
        Column(
            "e_value",
            "DOUBLE",
            "Strength, a risk ratio, of a hidden cause that would explain the estimate; or null.",
        ),
        Column(
            "e_value_of_interval",
            "DOUBLE",
            "The same for the end of the interval nearest to none; 1 where it holds none; or null.",
        ),
        Column("lowest_att_hours", "DOUBLE", "Over the choices of controls and caliper; or null."),
        Column("highest_att_hours", "DOUBLE", "Over the choices of controls and caliper; or null."),
        Column("choices", "INTEGER", "Choices that gave an estimate.", nullable=False),
        Column("is_sign_stable", "BOOLEAN", "Whether all have the same sign; null without any."),
    ),
    unique=("feed", "month", "neighborhood"),
    period="month",
)

PLACEBO = Table(
    layer="causal",
    name="placebo",
    one_row_per="test of what cannot have an effect, of a month's window",
    columns=(
        FEED,
        MONTH,
        Column(
            "placebo",
            "VARCHAR",
            "`made_up_neighborhoods`, drawn from the controls with a real one's mix of complaints, "
            "or `minute_of_opening`, an outcome that no neighbourhood affects.",
            nullable=False,
        ),
        Column("effects", "BIGINT", "Effects estimated.", nullable=False),
        Column("significant", "BIGINT", "Of these, those with p below 0.05.", nullable=False),
        Column("share_significant", "DOUBLE", "Near 0.05 if all is well; null without tests."),
        Column("share_low", "DOUBLE", "Lower end of its 95 % Wilson interval; null without tests."),
        Column("share_high", "DOUBLE", "Upper end of that interval; null without tests."),
        Column("mean_att", "DOUBLE", "Mean effect, in the outcome's own unit; null without tests."),
    ),
    unique=("feed", "month", "placebo"),
    period="month",
)

DESIGN = Table(
    layer="causal",
    name="design",
    one_row_per="month: all that is needed to repeat its effects",
    columns=(
        FEED,
        MONTH,
        Column("window_first_day", "DATE", "First day of the window.", nullable=False),
        Column("window_last_day", "DATE", "Last day of the window.", nullable=False),
        Column(
            "maturity_at_utc",
            "TIMESTAMP",
            "Cases opened before this instant are mature, UTC: their restricted hours are known; "
            "null if the window holds none.",
        ),
        Column("cases", "BIGINT", "Requests of the window.", nullable=False),
        Column("administrative", "BIGINT", "Left out: ask for no work.", nullable=False),
        Column("duplicates", "BIGINT", "Left out: the city marked them a repeat.", nullable=False),
        Column("without_neighborhood", "BIGINT", "Left out: lie in no known one.", nullable=False),
        Column("without_vector", "BIGINT", "Left out: no text was embedded.", nullable=False),
        Column("without_time", "BIGINT", "Left out: closed before they were opened.", False),
        Column("not_sampled", "BIGINT", "Left out: the window was sampled.", nullable=False),
        Column("immature", "BIGINT", "Left out of the headline: opened too late.", nullable=False),
        Column("compared", "BIGINT", "Mature cases that are compared.", nullable=False),
        Column("neighborhoods", "BIGINT", "Neighbourhoods with one of these.", nullable=False),
        Column("strata_of", "VARCHAR[]", "What two compared cases have in common.", nullable=False),
        Column("strata", "BIGINT", "Different values of it.", nullable=False),
        Column("distance", "VARCHAR", "How alike two cases are.", nullable=False),
        Column("caliper_share", "DOUBLE", "Quantile of a stratum's similarities to reach.", False),
        Column("k", "INTEGER", "Controls of each case; 0 where none are matched.", False),
        Column("limit_hours", "DOUBLE", "Most hours that count.", nullable=False),
        Column("randomizations", "INTEGER", "Draws of signs.", nullable=False),
        Column("seed", "BIGINT", "Start of what is drawn at random.", nullable=False),
        EMBEDDING_MODEL,
        IS_PROVISIONAL,
    ),
    unique=("feed", "month"),
    period="month",
)
