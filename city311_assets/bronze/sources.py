"""Where a run's records come from: the portals, the sample city, or one downloaded file.

What belongs here: turning settings into clients. What does not: anything the clients themselves do.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime
from math import inf
from pathlib import Path
from typing import Protocol

import dagster as dg
import polars as pl
from pydantic import Field

from city311_assets.clients.http import Patience
from city311_assets.clients.models import Budget, Call, Models
from city311_assets.clients.open_meteo import OpenMeteo
from city311_assets.clients.photos import PATIENCE, Photos
from city311_assets.clients.portal_export import PortalExport
from city311_assets.clients.prices import OPENAI_URL
from city311_assets.clients.socrata import Answer, Socrata, SocrataBoundaries
from city311_assets.feeds.feed import City, Feed
from city311_assets.feeds.registry import feed_named
from city311_assets.partitions import Slice
from city311_assets.settings import Settings, settings
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.meta import ORIGIN, ORIGIN_DDL
from city311_assets.warehouse.tables.table import Table

SAMPLE = "sample"
PORTAL = "portal"


class RecordSource(Protocol):
    """Answers for one feed: which records were opened on a range of days, and how many."""

    def records(self, start: date, end: date) -> Answer:
        """Return the records opened from `start` up to, not including, `end`."""
        ...

    def counts_by_day(self, start: date, end: date) -> Mapping[date, int]:
        """Return how many there are, by day."""
        ...


class Sources(dg.ConfigurableResource):
    """The portals and the weather service; with origin `sample` and no addresses, the sample city.

    The sample city is started on a loopback port by the first run of a process that needs it.
    """

    origin: str = Field(description="`portal` or `sample`; stored with every row.")
    portal_url: str | None = Field(default=None, description="{portal} stands for the host name.")
    weather_archive_url: str | None = None
    weather_forecast_url: str | None = None
    page_size: int = 50_000
    attempts: int = 6
    timeout_seconds: float = 60.0
    longest_wait_seconds: float = 120.0
    longest_answer_seconds: float = 600.0
    raw_pages_dir: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Sources":
        """Return the sources that the settings name."""
        is_live = settings.source == "live"
        return cls(
            origin=PORTAL if is_live else SAMPLE,
            portal_url=settings.portal_url if is_live else None,
            weather_archive_url=settings.weather_archive_url if is_live else None,
            weather_forecast_url=settings.weather_forecast_url if is_live else None,
            page_size=settings.socrata_page_size,
            attempts=settings.http_attempts,
            timeout_seconds=settings.http_timeout_seconds,
            longest_wait_seconds=settings.http_longest_wait_seconds,
            longest_answer_seconds=settings.http_longest_answer_seconds,
            raw_pages_dir=str(settings.raw_pages_dir) if settings.raw_pages_dir else None,
        )

    @property
    def is_partial(self) -> bool:
        """Whether the source knows only some of a day's records."""
        return False

    @property
    def patience(self) -> Patience:
        """How often these sources are asked again."""
        return Patience(
            attempts=self.attempts,
            timeout_seconds=self.timeout_seconds,
            longest_wait_seconds=self.longest_wait_seconds,
            longest_answer_seconds=self.longest_answer_seconds,
        )

    def records_of(self, feed: Feed) -> AbstractContextManager[RecordSource]:
        """Return what answers for one feed's records."""
        return self.portal_of(feed)

    def portal_of(self, feed: Feed, attempts: int | None = None) -> Socrata:
        """Return the client of one feed's portal; `attempts` in place of the configured number."""
        return Socrata(
            feed,
            self._portal(feed.city),
            app_token=self._token,
            page_size=self.page_size,
            patience=replace(self.patience, attempts=attempts or self.attempts),
            keep_in=Path(self.raw_pages_dir) if self.raw_pages_dir else None,
            clock=self.now,
        )

    def boundaries_of(self, city: City) -> SocrataBoundaries:
        """Return what answers for one city's boundaries."""
        return SocrataBoundaries(self._portal(city), app_token=self._token, patience=self.patience)

    def weather(self) -> OpenMeteo:
        """Return what answers for the weather."""
        sample = f"{_sample_city()}/weather" if self.origin == SAMPLE else None
        archive = self.weather_archive_url or sample
        forecast = self.weather_forecast_url or sample
        if archive is None or forecast is None:
            raise ValueError("a live source needs weather_archive_url and weather_forecast_url")
        return OpenMeteo(archive, forecast, patience=self.patience)

    def photos_of(self, feed: Feed) -> Photos:
        """Return what fetches one feed's photos, with less patience than a portal is shown."""
        said, is_sample = settings(), self.origin == SAMPLE
        return Photos(
            feed.photo_hosts,
            said.photos_path,
            gateway=_sample_city() if is_sample else None,
            at_once=said.photo_requests_at_once,
            # The sample city is nobody's host to spare.
            per_second=inf if is_sample else said.photo_requests_per_second,
            patience=Patience(
                attempts=min(self.attempts, PATIENCE.attempts),
                timeout_seconds=min(self.timeout_seconds, PATIENCE.timeout_seconds),
                longest_wait_seconds=min(self.longest_wait_seconds, PATIENCE.longest_wait_seconds),
                longest_answer_seconds=min(
                    self.longest_answer_seconds, PATIENCE.longest_answer_seconds
                ),
            ),
            clock=self.now,
        )

    def models(self, budget: Budget, record: Callable[[Call], None]) -> Models:
        """Return what answers as a model service; every attempt is given to `record`.

        Its key is read when it is used: a resource's fields stay with runs.
        """
        said = settings()
        url, key = said.model_url, said.model_key
        if url is None and self.origin == SAMPLE:
            # The sample city's own asks for none, and is given none.
            url, key = f"{_sample_city()}/models/v1", None
        return Models(
            url or OPENAI_URL,
            key,
            patience=self.patience,
            at_once=said.model_requests_at_once,
            budget=budget,
            record=record,
        )

    def now(self) -> datetime:
        """Return the sources' instant, UTC: the sample city's clock may stand still."""
        stands_at = settings().sample_now if self.origin == SAMPLE else None
        return stands_at or datetime.now(UTC)

    @property
    def _token(self) -> str | None:
        """The portals' app token, read when it is used: a resource's fields stay with runs."""
        token = settings().socrata_app_token
        return token.get_secret_value() if token and self.origin == PORTAL else None

    def _portal(self, city: City) -> str:
        template = self.portal_url
        if template is None:
            if self.origin != SAMPLE:
                raise ValueError("a live source needs a portal_url, such as https://{portal}")
            template = f"{_sample_city()}/portals/{{portal}}"
        return template.replace("{portal}", city.portal)


class DownloadedFile(Sources):
    """One feed's records from a file that was downloaded from its portal by hand."""

    origin: str = Field(description="The file's name; stored with every row.")
    path: str
    feed: str
    observed_until: str | None = None

    @property
    def is_partial(self) -> bool:
        """A file may hold a selection."""
        return True

    def records_of(self, feed: Feed) -> AbstractContextManager[RecordSource]:
        """Return the file, which answers as a portal does."""
        if feed.name != self.feed:
            raise ValueError(f"{self.path} is a file of {self.feed}, not of {feed.name}")
        return nullcontext(self.export)

    @property
    def export(self) -> PortalExport:
        """The file."""
        until = datetime.fromisoformat(self.observed_until) if self.observed_until else None
        return PortalExport(Path(self.path), feed_named(self.feed), until)


class MixedOriginsError(ValueError):
    """Sample rows and real rows would stand in one warehouse."""


def refuse_mixed_origins(session: Session, origin: str) -> None:
    """Raise where a warehouse of sample records is about to get real ones, or the other way round.

    The first write says which it is.

    Raises
    ------
    MixedOriginsError
    """
    is_sample = origin == SAMPLE
    session.run("create schema if not exists meta")
    session.run(ORIGIN_DDL)
    held = session.read(f"from {ORIGIN}")["is_sample"].to_list()
    if not held:
        session.run(f"insert into {ORIGIN} values ($is_sample)", {"is_sample": is_sample})
    elif set(held) != {is_sample}:
        kinds = ("sample", "real") if is_sample else ("real", "sample")
        raise MixedOriginsError(
            f"this warehouse holds {kinds[1]} records and this run brings {kinds[0]} ones; it has "
            "one or the other. Set CITY311_SOURCE to what it holds, or point CITY311_DATA_DIR at "
            "another folder"
        )


def replace_of_origin(
    warehouse: Warehouse, table: Table, rows: pl.DataFrame, part: Slice | str, origin: str
) -> None:
    """Swap one slice of a table for rows that are sample or real, as the warehouse holds them.

    Raises
    ------
    MixedOriginsError
    """

    def swap(session: Session) -> None:
        session.prepare(table)
        refuse_mixed_origins(session, origin)
        session.replace(table, rows, part)

    warehouse.write(swap)


def origin_held(warehouse: Warehouse) -> str | None:
    """Return `sample` or `portal` for what a warehouse holds; None for nothing yet."""
    if not warehouse.is_there:
        return None
    known = "select 1 from duckdb_tables() where schema_name = 'meta' and table_name = 'origin'"
    if warehouse.read(known).is_empty():
        return None
    held = warehouse.read(f"from {ORIGIN}")["is_sample"].to_list()
    return {True: SAMPLE, False: PORTAL}[held[0]] if held else None


def _sample_city() -> str:
    from city311_assets.sample_city.server import running  # noqa: PLC0415 - only where it is used

    said = settings()
    return running(
        said.sample_seed, said.sample_records_per_day, said.sample_now, said.start_date
    ).url


def day_counts(counts: Mapping[date, int]) -> pl.DataFrame:
    """Return counts by day as a frame of `day` and `rows`."""
    return pl.DataFrame(
        {"day": list(counts), "rows": list(counts.values())},
        schema={"day": pl.Date, "rows": pl.Int64},
    )
