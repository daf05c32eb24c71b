"""Portals for tests: the sample city's SODA service over rows that a test publishes and changes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl

from city311_assets.bronze.sources import Sources
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.partitions import range_tags
from city311_assets.sample_city.datasets import FrameDataset
from city311_assets.sample_city.server import SampleCity, serving
from city311_assets.warehouse.resource import Warehouse

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
Declared = Sequence[dg.AssetsDefinition | dg.AssetChecksDefinition]


def published(feed: Feed, rows: Sequence[dict[str, str | None]]) -> pl.DataFrame:
    """Return rows in all of a feed's columns, as text, null unless given."""
    names = [":id", ":updated_at", *feed.column_names]
    extra = sorted({name for row in rows for name in row} - set(names))
    filled = [{":id": f"row-{row[feed.record_id]}", **row} for row in rows]
    return pl.DataFrame(filled, schema=dict.fromkeys([*names, *extra], pl.String))


class SourcesAt(Sources):
    """Sources whose clock a test sets."""

    instant: str

    def now(self) -> datetime:
        """Return the instant that was set."""
        return datetime.fromisoformat(self.instant)


def at(sources: Sources, instant: datetime) -> SourcesAt:
    """Return the same sources at an instant."""
    fields: dict[str, Any] = {**sources.model_dump(), "instant": instant.isoformat()}
    return SourcesAt(**fields)


def ranges_of(requests: Sequence[dg.RunRequest] | None) -> list[tuple[date, date]]:
    """Return the days that run requests are about, both ends included."""
    first, last = (f"dagster/asset_partition_range_{end}" for end in ("start", "end"))
    return [
        (date.fromisoformat(one.tags[first]), date.fromisoformat(one.tags[last]))
        for one in requests or []
    ]


@dataclass
class Portals:
    """Every feed's dataset on one loopback server, each empty until a test publishes rows."""

    url: str
    datasets: dict[str, FrameDataset]

    def publish(self, feed: Feed, *rows: dict[str, str | None]) -> None:
        """Replace what a feed's portal holds."""
        self.datasets[feed.name].frame = published(feed, rows)

    def empty(self) -> None:
        """Take back everything that was published."""
        for name, dataset in self.datasets.items():
            dataset.frame, dataset.columns = published(FEEDS[name], []), {}

    @property
    def sources(self) -> Sources:
        """Sources that ask these portals, without patience."""
        return self.sources_with()

    def sources_with(self, origin: str = "portal", path: str = "portals") -> Sources:
        """Return sources of another origin, or that look for the portals under another path."""
        return Sources(
            origin=origin,
            portal_url=f"{self.url}/{path}/{{portal}}",
            weather_archive_url=f"{self.url}/weather",
            weather_forecast_url=f"{self.url}/weather",
            page_size=1_000,
            attempts=1,
        )


@contextmanager
def portals() -> Iterator[Portals]:
    """Serve empty portals of every feed, with the generated weather and boundaries."""
    datasets = {feed.name: FrameDataset(published(feed, []), feed=feed) for feed in FEEDS.values()}
    by_place = {(FEEDS[name].city.portal, FEEDS[name].dataset): d for name, d in datasets.items()}
    with serving(SampleCity(now=NOW, datasets=by_place)) as served:
        yield Portals(served.url, datasets)


def materialize(
    declared: Declared,
    warehouse: Warehouse,
    sources: Sources | None = None,
    first: date | None = None,
    last: date | None = None,
    selection: dg.AssetSelection | None = None,
) -> dg.ExecuteInProcessResult:
    """Run assets and checks over a range of days (or without one), errors returned, not raised."""
    resources: dict[str, object] = {"warehouse": warehouse}
    if sources:
        resources["sources"] = sources
    return dg.materialize(
        [*declared],
        selection=selection,
        resources=resources,
        tags=range_tags(first, last or first) if first else None,
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Return whether each check that ran has passed; of a range, over all its days."""
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def verdict(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    """Return what the only check that ran says; of a range, of all its days."""
    *of_days, last = result.get_asset_check_evaluations()
    assert {check.check_name for check in of_days} <= {last.check_name}
    return last


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Return the message of the first failed step, below what Dagster wraps it in."""
    (event, *_) = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    error = error.cause if error and error.cause else error
    return error.message if error else ""
