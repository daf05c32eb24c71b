"""Captions: what a case shows, by its own text or by a model that is shown its photos.

A model is asked only where the settings name it as the method; a key alone asks nothing. What was
answered is kept by photo, model, prompt, form and detail, so that nothing is asked twice.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import Literal

import dagster as dg
import polars as pl

from city311_assets.atlas.ledger import KeptAnswer, Ledger, figures
from city311_assets.atlas.methods.case_texts import CASE_TEXT, case_texts
from city311_assets.atlas.methods.redaction import redacted
from city311_assets.atlas.prompts import CAPTIONS as PROMPT
from city311_assets.atlas.prompts import CAPTIONS_SYSTEM, Description, answer_key, as_data
from city311_assets.bronze.sources import Sources
from city311_assets.clients.errors import SourceError
from city311_assets.clients.models import Budget, Models
from city311_assets.clients.progress import Progress
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.settings import settings
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CAPTIONS, PHOTOS
from city311_assets.warehouse.tables.silver import REQUESTS

logger = logging.getLogger(__name__)

DETAIL: Literal["low"] = "low"
LONGEST_SIDE_PIXELS = 768
RETIRING_DAYS = 60
NOT_RETIRING = "not within 60 days, as far as the service says"
PURPOSE = "captions"
REFUSAL = "refusal"
REFUSED, BUDGET, EMPTY, UNAVAILABLE = "refused", "budget", "empty", "unavailable"

CASES = f"""
    select day, record_id, kind, subkind, description
    from {REQUESTS} where {REQUESTS.where} order by day, record_id
"""
SHOWN = f"""
    select day, record_id, photo_id, min(path) as path
    from {PHOTOS} where {PHOTOS.where} and status = 'ok'
    group by all order by day, record_id, photo_id
"""
# Looser than what is redacted: ten digits without a mark between them may number a case.
PERSONAL = (
    r"[\w.+-]+@[\w-]+\.\w{2,}|(?:^|[^\w.-])\(?[2-9]\d{2}\)?[ ./-]{1,3}[2-9]\d{2}[ .-]\d{4}(?:\D|$)"
)
NO_CAPTION_NOR_REASON = f"""
    select day, record_id from {CAPTIONS} where {CAPTIONS.where} and (
        (caption is null) <> (error is not null) or trim(caption) = ''
        or (error is null and is_retried)
        or (caption_method = 'case_text') <> (caption_model is null)
        or (described = 'case') <> (photo_id is null))
"""
PERSONAL_IN_TEXT = f"""
    select day, record_id from {CAPTIONS} where {CAPTIONS.where} and (
        regexp_matches(coalesce(caption, ''), $personal)
        or regexp_matches(coalesce(visible_text, ''), $personal))
"""

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "feed": pl.String,
    "day": pl.Date,
    "record_id": pl.String,
    "described": pl.String,
    "photo_id": pl.String,
    "scene": pl.String,
    "issues": pl.List(pl.String),
    "objects": pl.List(pl.String),
    "severity": pl.UInt8,
    "is_relevant": pl.Boolean,
    "visible_text": pl.String,
    "caption": pl.String,
    "caption_method": pl.String,
    "caption_model": pl.String,
    "prompt_version": pl.String,
    "confidence": pl.Float64,
    "error": pl.String,
    "is_retried": pl.Boolean,
}


Figures = dict[str, str | int | float | dict[str, int]]


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one photo: a description, or the error that there is none."""

    description: Description | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """One photo to be described, with the text of one case that it belongs to."""

    photo_id: str
    path: Path
    case_text: str | None

    @property
    def message(self) -> str:
        """What is said beside the photo; the text is JSON, so that nothing in it can end it."""
        return as_data(case_text=self.case_text)


def case_rows(cases: pl.DataFrame, feed: str) -> pl.DataFrame:
    """Return captions that are the cases' own texts, in the table's columns."""
    return _completed(
        case_texts(cases).select(
            "day",
            "record_id",
            pl.col("text").alias("caption"),
            described=pl.lit("case"),
            caption_method=pl.lit("case_text"),
            prompt_version=pl.lit(CASE_TEXT),
            is_retried=pl.lit(False),
        ),
        feed,
    )


def photo_rows(
    shown: pl.DataFrame, told: Mapping[str, Told], feed: str, model: str
) -> pl.DataFrame:
    """Return one caption for each case and photo, in the table's columns, redacted.

    `shown` has `day, record_id, photo_id`; `told` says what came of every photo.
    """
    by_photo = pl.DataFrame(
        [{"photo_id": photo_id, **_fields(one)} for photo_id, one in told.items()],
        schema={
            name: SCHEMA[name]
            for name in ("photo_id", *Description.model_fields, "error", "is_retried")
        },
    )
    return _completed(
        shown.select("day", "record_id", "photo_id")
        .join(by_photo, on="photo_id", how="inner", validate="m:1", maintain_order="left")
        .with_columns(
            described=pl.col("photo_id"),
            caption_method=pl.lit("openai"),
            caption_model=pl.lit(model),
            prompt_version=pl.lit(PROMPT),
        ),
        feed,
    )


def _fields(told: Told) -> dict[str, object]:
    """Return a photo's own columns; a refusal stands until the prompt is another."""
    if (found := told.description) is None:
        return {"error": told.error, "is_retried": told.error != REFUSED}
    return found.model_dump() | {
        "scene": redacted(found.scene),
        "issues": [redacted(one) for one in found.issues],
        "objects": [redacted(one) for one in found.objects],
        "visible_text": redacted(found.visible_text) if found.visible_text else None,
        "caption": redacted(found.caption),
        "is_retried": False,
    }


def _completed(rows: pl.DataFrame, feed: str) -> pl.DataFrame:
    """Return rows with every column of the table, null unless given."""
    given = rows.with_columns(feed=pl.lit(feed))
    missing = [name for name in SCHEMA if name not in given.columns]
    return given.with_columns(pl.lit(None).alias(name) for name in missing).select(
        pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()
    )


def photos_to_describe(shown: pl.DataFrame, cases: pl.DataFrame, folder: Path) -> list[Shown]:
    """Return each photo once, with the text of the first case that it belongs to."""
    texts = case_texts(cases)
    first = (
        shown.sort("day", "record_id")
        .unique("photo_id", keep="first", maintain_order=True)
        .join(texts, on=["day", "record_id"], how="left", maintain_order="left")
    )
    return [
        Shown(photo_id, folder / path, text)
        for photo_id, path, text in first.select("photo_id", "path", "text").iter_rows()
    ]


def kept_told(kept: str) -> Told:
    """Return what an answer that was kept says; a refusal is one."""
    if json.loads(kept).keys() == {REFUSAL}:
        return Told(None, REFUSED)
    return Told(Description.model_validate_json(kept))


def described(models: Models, ledger: Ledger, photo: Shown, model: str) -> Told:
    """Ask a model about one photo, unless the budget does not allow it; keep what it answers."""
    from city311_assets.clients.photo_files import NoPhotoError, upright

    if not models.budget.allows(photo_usd(models, photo, model)):
        return Told(None, BUDGET)
    try:
        image = upright(photo.path, LONGEST_SIDE_PIXELS)
    except (OSError, NoPhotoError) as error:
        logger.warning(
            "photo %s cannot be shown (%s); materialize atlas/photos of its day again",
            photo.path,
            error,
        )
        return Told(None, UNAVAILABLE)
    answer = models.structured(
        photo.message,
        CAPTIONS_SYSTEM,
        Description,
        model=model,
        purpose=PURPOSE,
        images=[image],
        detail=DETAIL,
    )
    key = answer_key(photo.photo_id, model, DETAIL)
    if answer.error == REFUSED:
        refusal = as_data(**{REFUSAL: answer.raw})
        ledger.keep(KeptAnswer.now(key, photo.photo_id, model, PROMPT, refusal))
    if not isinstance(answer.value, Description):
        return Told(None, answer.error)
    if not answer.value.caption.strip():
        return Told(None, EMPTY)
    said = answer.value.model_dump_json()
    ledger.keep(KeptAnswer.now(key, photo.photo_id, model, PROMPT, said))
    return Told(answer.value)


def photo_usd(models: Models, photo: Shown, model: str) -> float:
    """Return what the description of a photo may cost, US dollars."""
    return models.estimated_usd(photo.message, CAPTIONS_SYSTEM, Description, model=model, images=1)


def all_described(
    models: Models, ledger: Ledger, photos: list[Shown], model: str
) -> dict[str, Told]:
    """Ask about photos, several at once; return what came of each.

    The first failure that is no photo's own ends the asking, once those under way are done.
    """
    told: dict[str, Told] = {}
    progress = Progress("photos", len(photos))
    with ThreadPoolExecutor(models.at_once) as pool:
        left = iter(photos)
        running: dict[Future[Told], str] = {}
        try:
            while True:
                for photo in left:
                    running[pool.submit(described, models, ledger, photo, model)] = photo.photo_id
                    if len(running) == 2 * models.at_once:
                        break
                if not running:
                    return told
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    told[running.pop(one)] = answer = one.result()
                    progress.note(answer.error or "described")
        finally:
            for one in running:
                one.cancel()


def retirement(models: Models, model: str, today: date) -> str | None:
    """Return why a model will soon not answer, or does not now; null if nothing is known of it."""
    try:
        listed = models.listed()
    except SourceError as error:
        return f"the service does not say which models it has: {error}"
    if model not in listed:
        return f"the service does not list {model}; set CITY311_CAPTION_MODEL to one that it lists"
    last = listed[model]
    if last is None or last - today > timedelta(days=RETIRING_DAYS):
        return None
    return f"{model} is shut down on {last}; set CITY311_CAPTION_MODEL to its successor before"


def configured_retirement(sources: Sources) -> str | None:
    """Return why the configured model will soon not answer; nothing is spent."""
    today = sources.now().astimezone(UTC).date()
    try:
        with sources.models(Budget(0.0), lambda _: None) as models:
            return retirement(models, settings().caption_model, today)
    except ValueError as error:
        # No key: said where it is looked for, without failing days that ask nothing.
        return str(error)


def photo_captions(
    warehouse: Warehouse, sources: Sources, part: Slice, run_id: str
) -> tuple[pl.DataFrame, Figures]:
    """Return a slice's captions of photos, asking for those not known, and what a log should say.

    Attempts and answers are written down as they come; the captions are not.
    """
    said = settings()
    model = said.caption_model
    shown = warehouse.read(SHOWN, part, [PHOTOS])
    photos = photos_to_describe(shown, warehouse.read(CASES, part, [REQUESTS]), said.photos_path)
    with Ledger(warehouse, part.name, run_id) as ledger:
        keys = {answer_key(photo.photo_id, model, DETAIL): photo.photo_id for photo in photos}
        known = {keys[key]: kept_told(kept) for key, kept in ledger.answers(keys).items()}
        missing = [photo for photo in photos if photo.photo_id not in known]
        asked: dict[str, Told] = {}
        left_usd, warning = 0.0, None
        if missing:
            budget = ledger.budget(said.model_budget_usd)
            with sources.models(budget, ledger.record) as models:
                logger.info(
                    "%d photos, %d known; asking %s about %d for at most $%.4f of $%.4f",
                    len(photos),
                    len(known),
                    model,
                    len(missing),
                    sum(photo_usd(models, photo, model) for photo in missing),
                    budget.left,
                )
                asked = all_described(models, ledger, missing, model)
                left = [photo for photo in missing if asked[photo.photo_id].error == BUDGET]
                left_usd = sum(photo_usd(models, photo, model) for photo in left)
                warning = retirement(models, model, sources.now().astimezone(UTC).date())
    told = known | asked
    failed = Counter(one.error for one in asked.values() if one.error)
    return photo_rows(shown, told, part.name, model), {
        "caption_method": "openai",
        "caption_model": model,
        "range_described": sum(one.error is None for one in told.values()),
        "cached": len(known),
        "asked": len(asked) - failed[BUDGET],
        "failed": dict(sorted(failed.items())),
        **figures(ledger.calls),
        "left_over": failed[BUDGET],
        "left_over_usd_at_most": round(left_usd, 6),
        "retirement": warning or NOT_RETIRING,
    }


def text_captions(warehouse: Warehouse, part: Slice) -> tuple[pl.DataFrame, Figures]:
    """Return a slice's captions that are the cases' own texts, and what a log should say."""
    rows = case_rows(warehouse.read(CASES, part, [REQUESTS]), part.name)
    return rows, {"caption_method": "case_text", "range_described": rows.height, "usd": 0.0}


def made(
    warehouse: Warehouse, sources: Sources, part: Slice, run_id: str
) -> tuple[pl.DataFrame, Figures]:
    """Return a slice's captions by the method that the settings name, and what a log should say."""
    if settings().caption_method == "openai":
        return photo_captions(warehouse, sources, part, run_id)
    return text_captions(warehouse, part)


def captions(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's captions, and what must hold of them."""
    key = CAPTIONS.key(feed.name)

    @dg.asset(
        key=key,
        deps=[PHOTOS.key(feed.name), REQUESTS.key(feed.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=CAPTIONS.metadata,
        kinds={"duckdb", "polars"},
        description=f"What the cases of {feed.title} show, by city-local day: their own text, or a "
        "model's description of each photo, with the method, the model and the prompt; or why "
        "there is none.",
    )
    def captions(
        context: dg.AssetExecutionContext, warehouse: Warehouse, sources: Sources
    ) -> dg.MaterializeResult:
        """Captions of one feed's cases."""
        part = Slice.of(context, feed.name)
        rows, found = made(warehouse, sources, part, context.run.run_id)
        warehouse.replace(CAPTIONS, rows, part)
        counted = rows.group_by("day").agg(
            pl.len().alias("rows"), pl.col("error").is_not_null().sum().alias("without_caption")
        )
        note_days(context, key, counted, part)
        if found.get("retirement", NOT_RETIRING) != NOT_RETIRING:
            context.log.warning(found["retirement"])
        return dg.MaterializeResult(metadata=found)

    @dg.asset_check(asset=key)
    def model_not_retiring(sources: Sources) -> dg.AssetCheckResult:
        """The model that is shown photos, if any is, will answer for another 60 days."""
        said = settings()
        if said.caption_method != "openai":
            return dg.AssetCheckResult(passed=True, metadata={"method": said.caption_method})
        warning = configured_retirement(sources)
        return dg.AssetCheckResult(
            passed=warning is None,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"model": said.caption_model, "seen": warning or NOT_RETIRING},
        )

    claims = [
        Property(
            "a_caption_or_a_reason",
            "A row has a caption or the error that there is none, and says what it describes.",
            NO_CAPTION_NOR_REASON,
        ),
        Property(
            "nothing_personal",
            "No caption and no writing in a photo holds an e-mail address or a phone number.",
            PERSONAL_IN_TEXT,
        ),
    ]
    checks = slice_checks(claims, CAPTIONS, feed.name, params={"personal": PERSONAL})
    return [captions, model_not_retiring, checks]
