"""Local embedding models: fitted here on what captions say, kept for ever, asked for by version.

A version never changes: what hangs from it would silently mean something else. The first one is
fitted by the first embeddings that need it; a later one is asked for by hand (`refit`), and then
the days of a window are embedded anew before its map can be drawn.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from city311_assets.atlas.slices import TEXTS
from city311_assets.feeds.feed import Feed
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.atlas import CAPTIONS, TEXT_MODELS

if TYPE_CHECKING:
    from city311_assets.atlas.methods.text_vectors import TextModel

FOLDER = "text_models"
ALL_TEXTS = TEXTS.replace(CAPTIONS.where, "feed = $feed")
NEWEST = f"from {TEXT_MODELS} where feed = $feed order by fitted_at desc, version limit 1"
BY_VERSION = f"from {TEXT_MODELS} where feed = $feed and version = $version"
UNLIKELY = f"""
    select version from {TEXT_MODELS} where feed = $feed and (
        version <> 'local-' || left(artefact_hash, 12)
        or explained_variance not between 0 and 1.000001 or dimensions > vocabulary)
"""


class Refit(dg.Config):
    """Whether a new version is fitted although there is one."""

    refit: bool = False


def newest_version(warehouse: Warehouse, feed: Feed) -> str | None:
    """Return the version that new cases are embedded with; None before the first."""
    held = warehouse.read(NEWEST, {"feed": feed.name}, [TEXT_MODELS])
    return held["version"].item() if held.height else None


def model_of(warehouse: Warehouse, feed: Feed, version: str) -> "TextModel":
    """Return a fitted model from its file.

    Raises
    ------
    ValueError
        No such version was fitted, or its file is not the one that was written.
    """
    from city311_assets.atlas.methods.text_vectors import loaded

    held = warehouse.read(BY_VERSION, {"feed": feed.name, "version": version}, [TEXT_MODELS])
    if held.is_empty():
        raise ValueError(
            f"no text model {version} of {feed.name}; materialize atlas/text_models/{feed.name}"
        )
    row = held.row(0, named=True)
    return loaded(settings().data_dir / row["artefact_path"], row["artefact_hash"])


def fit_newest(warehouse: Warehouse, feed: Feed) -> str | None:
    """Fit a model on every caption held, and return its version; None while there is none."""
    from city311_assets.atlas.methods.text_vectors import fitted, saved

    texts = warehouse.read(ALL_TEXTS, {"feed": feed.name}, [CAPTIONS])
    if texts.is_empty():
        return None
    model = fitted(texts["text"].to_list())
    path = saved(model, settings().data_dir / FOLDER)
    _note(warehouse, feed, model, path, texts["day"])
    return model.version


def _note(
    warehouse: Warehouse, feed: Feed, model: "TextModel", path: Path, days: pl.Series
) -> None:
    """Write the row of a model beside those of the versions before it."""
    row = pl.DataFrame(
        {
            "feed": [feed.name],
            "version": [model.version],
            "fitted_at": [datetime.now(UTC).replace(tzinfo=None)],
            "fitted_from_day": [days.min()],
            "fitted_until_day": [days.max()],
            "texts": [model.texts],
            "vocabulary": [len(model.vocabulary)],
            "dimensions": [model.components.shape[0]],
            "explained_variance": [float(model.explained_variance)],
            "artefact_hash": [path.stem],
            "artefact_path": [str(Path(FOLDER, path.name))],
        },
        schema_overrides={"vocabulary": pl.Int32, "dimensions": pl.Int32},
    )

    def keep(session: Session) -> None:
        session.prepare(TEXT_MODELS)
        before = session.read(
            f"from {TEXT_MODELS} where feed = $feed and version <> $version",
            {"feed": feed.name, "version": model.version},
        )
        session.replace(TEXT_MODELS, pl.concat([before, row.select(before.columns)]), feed.name)

    warehouse.write(keep)


def text_models(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's local embedding models, and what must hold of them."""

    @dg.asset(
        key=TEXT_MODELS.key(feed.name),
        metadata=TEXT_MODELS.metadata | {"looks_back": "all captions held"},
        kinds={"duckdb", "scikitlearn"},
        description=f"Local embedding models of {feed.title}: word TF-IDF and truncated SVD, each "
        "fitted once and kept. A run makes the first if there are captions; configured with "
        "`refit`, a new version.",
    )
    def text_models(config: Refit, warehouse: Warehouse) -> dg.MaterializeResult:
        """Fitted models of one feed."""
        version = newest_version(warehouse, feed)
        is_new = version is None or config.refit
        if is_new:
            version = fit_newest(warehouse, feed)
        return dg.MaterializeResult(
            metadata={"version": version or "none: no captions yet", "is_new": is_new}
        )

    @dg.asset_check(asset=text_models, blocking=True)
    def named_by_its_file(warehouse: Warehouse) -> dg.AssetCheckResult:
        """Every version bears the name of its file, and says what it was fitted on."""
        with warehouse.connect() as conn:
            session = Session(conn)
            session.prepare(TEXT_MODELS)
            offenders = session.read(UNLIKELY, {"feed": feed.name})
        return dg.AssetCheckResult(
            passed=offenders.is_empty(), metadata={"versions": offenders["version"].to_list()}
        )

    return [text_models, named_by_its_file]
