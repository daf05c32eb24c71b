"""Files of fitted models: written by skops, read only as they were written.

A file is data: of the types it may hold none runs code when it is read. What belongs here: how a
model reaches its file and comes back, and which one serves a day. What does not: fitting.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any

from city311_assets.partitions import Slice
from city311_assets.risk.methods.calibration import Calibrator
from city311_assets.risk.methods.candidates import (
    ClimatologyModel,
    Fitted,
    LogisticModel,
    Model,
    RateModel,
    TreeModel,
)
from city311_assets.risk.targets.target import Target
from city311_assets.settings import settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.risk import MODELS

# Beyond what skops trusts of itself: scikit-learn's trees of histograms. Nothing else is read.
TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
MODEL_TYPES: Mapping[str, type[Model]] = {
    model.__name__: model for model in (LogisticModel, TreeModel, RateModel, ClimatologyModel)
}
PROMOTED = f"""
    select month, trained_until, artefact_path, artefact_hash, library_version from {MODELS}
    where target = $target and is_promoted and trained_until < $last::date - $horizon
    order by month
"""


@dataclass(frozen=True, slots=True)
class Served:
    """Days in a row that one model serves; None where there is none yet."""

    first: date
    last: date
    model: Fitted | None


def library_version() -> str:
    """Return the version of scikit-learn that reads and writes here."""
    import sklearn

    return sklearn.__version__


def write_model(fitted: Fitted, target: Target, stored_hash: str | None = None) -> tuple[str, str]:
    """Write a model; return its path below the data folder, and the SHA-256 of its file.

    Two files of one model differ in their bytes: one that is there, with the hash that is stored of
    that version, stays as it is, so that a model made again keeps its hash.
    """
    from skops import io

    path = settings().risk_models_path / target.name / f"{fitted.version}.skops"
    told = path.relative_to(settings().data_dir).as_posix()
    if stored_hash is not None and path.exists() and _sha256(path.read_bytes()) == stored_hash:
        return told, stored_hash
    content = io.dumps(_stated(fitted))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
    return told, _sha256(content)


def read_model(target: str, month: date, path: str, sha256: str, library: str) -> Fitted:
    """Return the model of a file, by what its row of `risk.models` says of it.

    Raises
    ------
    ValueError
        The file is missing, is not the one written, or was written by another scikit-learn.
    """
    file = settings().data_dir / path
    again = f"materialize risk/models/{target} of {month:%Y-%m} again"
    if library != library_version():
        raise ValueError(
            f"{file} was written by scikit-learn {library}, and {library_version()} is installed: "
            f"its trees may mean another thing; {again}"
        )
    if not file.exists():
        raise ValueError(f"{file} is missing; {again}")
    content = file.read_bytes()
    if (found := _sha256(content)) != sha256:
        raise ValueError(f"{file} has the SHA-256 {found}, not {sha256} as written; {again}")
    return _restored(content)


def newest_model(warehouse: Warehouse, target: Target, day: date) -> Fitted | None:
    """Return the model that serves a day, or None: promoted, and ignorant of the day's future."""
    (served,) = models_of_days(warehouse, target, day, day)
    return served.model


def models_of_days(
    warehouse: Warehouse, target: Target, first: date, last: date
) -> tuple[Served, ...]:
    """Return which models serve the days from `first` to `last`, both included, in order.

    Of the promoted ones the newest month's whose blocks, labels included, were over before the day.
    """
    params = {"target": target.name, "last": last, "horizon": target.horizon_days}
    rows = warehouse.read(PROMOTED, params, [MODELS]).to_dicts()
    horizon = timedelta(days=target.horizon_days)
    found: list[tuple[date, date, int | None]] = []
    for day in Slice(target.name, first, last + timedelta(days=1), "target").days:
        fit = [place for place, row in enumerate(rows) if row["trained_until"] + horizon < day]
        chosen = fit[-1] if fit else None
        if found and found[-1][2] == chosen:
            found[-1] = (found[-1][0], day, chosen)
        else:
            found.append((day, day, chosen))
    return tuple(
        Served(since, until, None if chosen is None else _read_row(target, rows[chosen]))
        for since, until, chosen in found
    )


def _read_row(target: Target, row: Mapping[str, Any]) -> Fitted:
    return read_model(
        target.name,
        row["month"],
        row["artefact_path"],
        row["artefact_hash"],
        row["library_version"],
    )


def _stated(fitted: Fitted) -> dict[str, object]:
    """Return a fitted model as plain values, arrays and scikit-learn's own object."""
    return {
        "kind": fitted.kind,
        "version": fitted.version,
        "features": list(fitted.features),
        "events_per_unit": fitted.events_per_unit,
        "calibrator": _fields(fitted.calibrator),
        "model_type": type(fitted.model).__name__,
        "model": _fields(fitted.model),
    }


def _restored(content: bytes) -> Fitted:
    """Return the model that the bytes of a file state."""
    from skops import io

    stated = io.loads(content, trusted=TRUSTED)
    return Fitted(
        stated["kind"],
        stated["version"],
        tuple(stated["features"]),
        MODEL_TYPES[stated["model_type"]](**stated["model"]),
        Calibrator(**stated["calibrator"]),
        stated["events_per_unit"],
    )


def _fields(part: Calibrator | Model) -> dict[str, object]:
    return {field.name: getattr(part, field.name) for field in fields(part)}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
