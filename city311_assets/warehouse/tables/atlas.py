"""The columns of the atlas: photos, what they show, and the map of what cases are about."""

from dataclasses import replace

from city311_assets.warehouse.tables.bronze import DAY, FEED, RECORD_ID
from city311_assets.warehouse.tables.gold import IS_PROVISIONAL, MEDIAN_HOURS_TO_CLOSE, MONTH
from city311_assets.warehouse.tables.table import Column, Table

PHOTO_ID = Column("photo_id", "VARCHAR", "SHA-256 of the photo's bytes; null if none were had.")
CLUSTER_ID = Column(
    "cluster_id",
    "BIGINT",
    "Cluster, by the year and month it was born in and a number; kept from month to month. Of a "
    "case null where it is an outlier.",
)
OWN_CLUSTER = replace(CLUSTER_ID, nullable=False)
EMBEDDING_MODEL = Column(
    "embedding_model",
    "VARCHAR",
    "Model and version of the vectors; one for all cases of a month.",
    nullable=False,
)
SAMPLING_WEIGHT = Column(
    "sampling_weight",
    "DOUBLE",
    "How many cases of the same month this one stands for: 1 unless the window was sampled.",
    nullable=False,
)

PHOTOS = Table(
    layer="atlas",
    name="photos",
    one_row_per="photo link of a case",
    columns=(
        FEED,
        DAY,
        RECORD_ID,
        Column("url", "VARCHAR", "The link, as published.", nullable=False),
        PHOTO_ID,
        Column(
            "status",
            "VARCHAR",
            "`ok`, `no_link`, `not_found`, `forbidden`, `html_page`, `not_an_image`, `too_large`, "
            "`too_small`, `undecodable`, `host_not_allowed`, `private_address`, "
            "`too_many_redirects`, `timed_out` or `unavailable`.",
            nullable=False,
        ),
        Column("said", "VARCHAR", "What was found instead of a photo; null if nothing was said."),
        Column("mime", "VARCHAR", "Type by the first bytes; null if it is no image."),
        Column("width", "INTEGER", "Pixels across, upright; null if it is no image."),
        Column("height", "INTEGER", "Pixels down, upright; null if it is no image."),
        Column("bytes", "BIGINT", "Size of the original, bytes; null if none was had."),
        Column("phash", "VARCHAR", "Perceptual hash, 16 hex digits; null if it is no image."),
        Column("path", "VARCHAR", "File of the original below the photo folder; null if none."),
        Column("thumbnail_path", "VARCHAR", "File of the thumbnail, without metadata; or null."),
        Column(
            "fetched_at",
            "TIMESTAMP",
            "When it was fetched, UTC; null if it never was.",
            is_provenance=True,
        ),
    ),
    unique=("feed", "day", "record_id", "url"),
)

CAPTIONS = Table(
    layer="atlas",
    name="captions",
    one_row_per="description of one photo, or of a case without one",
    columns=(
        FEED,
        DAY,
        RECORD_ID,
        Column(
            "described",
            "VARCHAR",
            "What is described: the photo, by its id, or `case` for what the case itself says.",
            nullable=False,
        ),
        PHOTO_ID,
        Column("scene", "VARCHAR", "Where it was taken, in a few words; null without a model."),
        Column("issues", "VARCHAR[]", "Problems that are seen, most serious first; may be empty."),
        Column("objects", "VARCHAR[]", "Things that are seen; may be empty."),
        Column(
            "severity", "UTINYINT", "1 (slight) to 5 (dangerous), as the model judges; or null."
        ),
        Column("is_relevant", "BOOLEAN", "Whether it shows what a city would mend; or null."),
        Column(
            "visible_text",
            "VARCHAR",
            "Writing in the photo, redacted; not in the published file; null if there is none.",
            is_published=False,
        ),
        Column(
            "caption",
            "VARCHAR",
            "One or two sentences, redacted; null where the description failed.",
        ),
        Column("caption_method", "VARCHAR", "`openai` or `case_text`.", nullable=False),
        Column("caption_model", "VARCHAR", "Model asked; null for `case_text`."),
        Column("prompt_version", "VARCHAR", "Prompt and schema, or the rule of the text.", False),
        Column("confidence", "DOUBLE", "0 to 1, as the model judges itself; null without one."),
        Column(
            "error",
            "VARCHAR",
            "Why there is no description: `refused`, `truncated`, `invalid_json`, `wrong_schema`, "
            "`empty`, `unavailable`, `rejected` or `budget`; null if there is one.",
        ),
        Column("is_retried", "BOOLEAN", "Whether the next run asks again.", nullable=False),
    ),
    unique=("feed", "day", "record_id", "described"),
)

MODEL_CALLS = Table(
    layer="atlas",
    name="model_calls",
    one_row_per="attempt at one call of a model service",
    columns=(
        FEED,
        Column("call_id", "VARCHAR", "A random name of the attempt.", nullable=False),
        Column("called_at", "TIMESTAMP", "When it was sent, UTC.", False, is_provenance=True),
        Column("purpose", "VARCHAR", "`captions`, `embeddings` or `cluster_names`.", False),
        Column("model", "VARCHAR", "Model asked.", nullable=False),
        Column("items", "INTEGER", "Photos or texts in the call.", nullable=False),
        Column(
            "tokens_in", "BIGINT", "Tokens sent, as the service counts; 0 if it said none.", False
        ),
        Column("tokens_cached", "BIGINT", "Of these, those it had cached.", nullable=False),
        Column("tokens_out", "BIGINT", "Tokens answered, reasoning included.", nullable=False),
        Column("tokens_reasoning", "BIGINT", "Of these, those spent on reasoning.", nullable=False),
        Column("usd", "DOUBLE", "Cost by the price table, US dollars; null if it has no price."),
        Column("priced_on", "DATE", "Date of the price table.", nullable=False),
        Column("seconds", "DOUBLE", "Time until the answer, seconds.", False, is_provenance=True),
        Column("attempt", "INTEGER", "1 for the first try of a call.", nullable=False),
        Column("error", "VARCHAR", "Why it failed; null if it did not."),
        Column("run_id", "VARCHAR", "Dagster's run.", is_provenance=True),
    ),
    unique=("feed", "call_id"),
    period=None,
)

MODEL_ANSWERS = Table(
    layer="atlas",
    name="model_answers",
    one_row_per="description that a model gave of one photo",
    columns=(
        FEED,
        Column(
            "answer_key",
            "VARCHAR",
            "SHA-256 of photo, model, prompt version, schema and detail: asked once.",
            nullable=False,
        ),
        PHOTO_ID,
        Column("model", "VARCHAR", "Model asked.", nullable=False),
        Column(
            "prompt_version",
            "VARCHAR",
            "Prompt and schema, or the rule of the text.",
            nullable=False,
        ),
        Column("answer", "VARCHAR", "What was answered, JSON, before redaction.", nullable=False),
        Column("answered_at", "TIMESTAMP", "When, UTC.", False, is_provenance=True),
    ),
    unique=("feed", "answer_key"),
    period=None,
    is_published=False,
)

TEXT_MODELS = Table(
    layer="atlas",
    name="text_models",
    one_row_per="fitted local embedding model; never changed",
    columns=(
        FEED,
        Column("version", "VARCHAR", "`local-` and the beginning of the artefact's hash.", False),
        Column("fitted_at", "TIMESTAMP", "When, UTC.", False, is_provenance=True),
        Column("fitted_from_day", "DATE", "First day of the captions it was fitted on.", False),
        Column("fitted_until_day", "DATE", "Last day of the captions it was fitted on.", False),
        Column("texts", "BIGINT", "Texts it was fitted on.", nullable=False),
        Column("vocabulary", "INTEGER", "Words and pairs of words it knows.", nullable=False),
        Column("dimensions", "INTEGER", "Length of the vector.", nullable=False),
        Column(
            "explained_variance", "DOUBLE", "Share of the texts' variance in its dimensions.", False
        ),
        Column("artefact_hash", "VARCHAR", "SHA-256 of the file.", nullable=False),
        Column("artefact_path", "VARCHAR", "The file below the data folder.", nullable=False),
    ),
    unique=("feed", "version"),
    period=None,
)

EMBEDDINGS = Table(
    layer="atlas",
    name="embeddings",
    one_row_per="vector of one case and model version",
    columns=(
        FEED,
        DAY,
        RECORD_ID,
        Column("embedding", "FLOAT[]", "The vector, of length 1.", nullable=False),
        Column("embedding_method", "VARCHAR", "`openai` or `local`.", nullable=False),
        EMBEDDING_MODEL,
        Column("dimensions", "INTEGER", "Length of the vector.", nullable=False),
        Column("caption_method", "VARCHAR", "`openai` or `case_text`.", nullable=False),
        Column("text_hash", "VARCHAR", "SHA-256 of the text embedded.", nullable=False),
    ),
    unique=("feed", "day", "record_id", "embedding_model"),
    is_published=False,
)

NEIGHBORS = Table(
    layer="atlas",
    name="neighbors",
    one_row_per="case of a month's window",
    columns=(
        FEED,
        MONTH,
        RECORD_ID,
        DAY,
        Column("neighbor_ids", "VARCHAR[]", "Nearest cases by cosine, nearest first.", False),
        Column("similarities", "FLOAT[]", "Cosine similarity of each, at most 1.", nullable=False),
        SAMPLING_WEIGHT,
        EMBEDDING_MODEL,
    ),
    unique=("feed", "month", "record_id"),
    period="month",
    is_published=False,
)

CLUSTERS = Table(
    layer="atlas",
    name="clusters",
    one_row_per="case of a month's window",
    columns=(
        FEED,
        MONTH,
        RECORD_ID,
        DAY,
        CLUSTER_ID,
        Column(
            "subcluster_id",
            "INTEGER",
            "Part of a large cluster, 1 for the largest; of this month only; null if it has none.",
        ),
        Column("membership", "DOUBLE", "Share of its neighbours that are in its cluster.", False),
        Column("is_outlier", "BOOLEAN", "Whether it is in no cluster of the least size.", False),
        SAMPLING_WEIGHT,
        EMBEDDING_MODEL,
        IS_PROVISIONAL,
    ),
    unique=("feed", "month", "record_id"),
    period="month",
)

CLUSTER_NAMES = Table(
    layer="atlas",
    name="cluster_names",
    one_row_per="cluster of a month",
    columns=(
        FEED,
        MONTH,
        OWN_CLUSTER,
        Column("name", "VARCHAR", "Its name; no other cluster of the month has it.", False),
        Column("description", "VARCHAR", "A sentence about it.", nullable=False),
        Column("keywords", "VARCHAR[]", "Terms that set it apart, by c-TF-IDF.", nullable=False),
        Column(
            "size", "BIGINT", "Cases in it; of a death those of the month before.", nullable=False
        ),
        Column("share", "DOUBLE", "Of all cases of the window, by sampling weight.", False),
        Column(
            "growth",
            "DOUBLE",
            "Its share of the newest month's cases over that of the months before, less 1; null "
            "where the window has no month before.",
        ),
        Column("median_severity", "DOUBLE", "Median of its captions' severity; null if unknown."),
        MEDIAN_HOURS_TO_CLOSE,
        Column("exemplar_ids", "VARCHAR[]", "Its most central cases, most central first.", False),
        Column("name_method", "VARCHAR", "`openai` or `c_tf_idf`.", nullable=False),
        Column("name_model", "VARCHAR", "Model asked for the name; null without one."),
        EMBEDDING_MODEL,
    ),
    unique=("feed", "month", "cluster_id"),
    period="month",
)

CLUSTER_EVENTS = Table(
    layer="atlas",
    name="cluster_events",
    one_row_per="change of a cluster against the month before",
    columns=(
        FEED,
        MONTH,
        Column("event", "VARCHAR", "`birth`, `death`, `split` or `merge`.", nullable=False),
        OWN_CLUSTER,
        Column(
            "other_ids",
            "BIGINT[]",
            "Clusters it came from (birth out of others, merge) or went to (split, death).",
            nullable=False,
        ),
        Column("shared_cases", "BIGINT", "Cases it has in common with those.", nullable=False),
        Column("size", "BIGINT", "Cases in it; of a death those of the month before.", False),
    ),
    unique=("feed", "month", "event", "cluster_id"),
    period="month",
)

PROJECTIONS = Table(
    layer="atlas",
    name="projections",
    one_row_per="case of a month's window",
    columns=(
        FEED,
        MONTH,
        RECORD_ID,
        DAY,
        *(
            Column(
                name, "FLOAT", f"Position on the {kind} map, aligned with the month before.", False
            )
            for name, kind in (
                ("x", "flat"),
                ("y", "flat"),
                *((n, "solid") for n in ("x3", "y3", "z3")),
            )
        ),
        Column("nearest_ids", "VARCHAR[]", "Its 5 nearest cases, nearest first.", nullable=False),
        EMBEDDING_MODEL,
    ),
    unique=("feed", "month", "record_id"),
    period="month",
)

DUPLICATES = Table(
    layer="atlas",
    name="duplicates",
    one_row_per="pair of cases that are probably one event; the day is the later one's",
    columns=(
        FEED,
        DAY,
        RECORD_ID,
        Column("other_id", "VARCHAR", "The earlier case.", nullable=False),
        Column("other_day", "DATE", "City-local day on which that was opened.", nullable=False),
        Column(
            "reasons",
            "VARCHAR[]",
            "`parent` (says the portal), `same_photo`, `near_photo`, `near_text`; strongest first.",
            nullable=False,
        ),
        Column("distance_m", "DOUBLE", "Between the two, metres; null without two points."),
        Column("hours_apart", "DOUBLE", "Between the two openings, hours.", nullable=False),
        Column("phash_distance", "INTEGER", "Bits in which the photos differ; null without two."),
        Column("text_similarity", "DOUBLE", "Of the free text, 0 to 1; null if too short."),
    ),
    unique=("feed", "day", "record_id", "other_id"),
)
