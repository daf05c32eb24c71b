"""Photos of cases: every link that a case has, and what it came to.

A status is data: no link fails a run. What a link came to is remembered beside the photos as soon
as it is known, so a run that is killed asks nothing twice, and a photo once had stays when its link
dies. What belongs here: which links are asked, and when again. What does not: how (`clients`).
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl

from city311_assets.bronze.sources import Sources
from city311_assets.clients.photo_files import OK
from city311_assets.clients.photo_links import Links, Photo
from city311_assets.clients.photos import PASSING
from city311_assets.feeds.feed import Feed
from city311_assets.partitions import BY_CHUNK, DAYS, Slice, note_days
from city311_assets.warehouse.checks import Property, slice_checks
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import PHOTOS
from city311_assets.warehouse.tables.silver import REQUESTS

# A link that led to no photo is asked again after so long: pages come back, and lists change.
ASKED_AGAIN_AFTER = timedelta(days=7)

# What describing one photo takes, about, and the price it is reckoned at: an estimate before, by
# which nothing is decided. What was spent is read from the service's own figures.
TOKENS_IN, TOKENS_OUT = 900, 150
USD_A_TOKEN_IN, USD_A_TOKEN_OUT = 0.10e-6, 0.50e-6
USD_A_PHOTO = TOKENS_IN * USD_A_TOKEN_IN + TOKENS_OUT * USD_A_TOKEN_OUT

SCHEMA: dict[str, pl.DataType] = {
    "url": pl.String(),
    "photo_id": pl.String(),
    "status": pl.String(),
    "said": pl.String(),
    "mime": pl.String(),
    "width": pl.Int32(),
    "height": pl.Int32(),
    "bytes": pl.Int64(),
    "phash": pl.String(),
    "path": pl.String(),
    "thumbnail_path": pl.String(),
    "fetched_at": pl.Datetime("us"),
}

LINKED = f"""
    select day, record_id, media_url as url
    from {REQUESTS} where {REQUESTS.where} and media_url is not null order by all
"""
# The table refuses a second row of a link.
NO_STATUS_OR_NO_LINK = f"""
    select day, record_id from ({LINKED}) as linked
    full join (select day, record_id, url from {PHOTOS} where {PHOTOS.where}) as told
        using (day, record_id, url)
    where told.url is null or linked.url is null
"""
NEITHER_PHOTO_NOR_NOT = f"""
    select day, record_id, status as kind from {PHOTOS} where {PHOTOS.where} and (
        (status = 'ok') <> (
            photo_id is not null and path is not null and thumbnail_path is not null
            and mime is not null and bytes is not null
            and coalesce(width, 0) >= 32 and coalesce(height, 0) >= 32
            and regexp_full_match(coalesce(phash, ''), '[0-9a-f]{{16}}'))
        or (status <> 'ok' and coalesce(photo_id, path, thumbnail_path, phash) is not null))
"""


def is_settled(photo: Photo, now: datetime) -> bool:
    """Whether a link need not be asked again: a photo never, other answers for a while.

    `now` is UTC, without a zone.
    """
    if photo.status == OK:
        return True
    if photo.status in PASSING or photo.fetched_at is None:
        return False
    return now - photo.fetched_at < ASKED_AGAIN_AFTER


def has_files(photo: Photo, folder: Path) -> bool:
    """Whether the files that a photo names are there."""
    return all((folder / path).exists() for path in (photo.path, photo.thumbnail_path) if path)


def photo_rows(links: pl.DataFrame, photos: Mapping[str, Photo], feed: str) -> pl.DataFrame:
    """Return the links of cases with what each came to, in the table's columns."""
    told = pl.DataFrame([asdict(photo) for photo in photos.values()], schema=SCHEMA)
    return (
        links.join(told, on="url", how="left", validate="m:1", maintain_order="left")
        .with_columns(pl.lit(feed).alias("feed"))
        .select(PHOTOS.names)
    )


def photos(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Declare one feed's photos, and what must hold of them."""
    key = PHOTOS.key(feed.name)

    @dg.asset(
        key=key,
        deps=[REQUESTS.key(feed.name)],
        partitions_def=DAYS,
        backfill_policy=BY_CHUNK,
        metadata=PHOTOS.metadata,
        kinds={"duckdb", "polars"},
        description=f"Photo links of {feed.title}, by city-local day of the case: what each came "
        "to, and the photo's type, size, perceptual hash and files.",
    )
    def photos(
        context: dg.AssetExecutionContext, warehouse: Warehouse, sources: Sources
    ) -> dg.MaterializeResult:
        """Photos of one feed's cases."""
        part = Slice.of(context, feed.name)
        cases = warehouse.read(LINKED, part, [REQUESTS])
        urls = cases["url"].unique(maintain_order=True).to_list()
        now = sources.now().astimezone(UTC).replace(tzinfo=None)
        with (
            sources.photos_of(feed) as client,
            Links(client.folder / "links" / f"{feed.name}.sqlite") as links,
        ):
            known = {
                url: photo
                for url, photo in links.known(urls).items()
                if is_settled(photo, now) and has_files(photo, client.folder)
            }
            wanted = [url for url in urls if url not in known]
            new = {photo.url: photo for photo in client.fetched(wanted, links.keep)}
        rows = photo_rows(cases, known | new, feed.name)
        warehouse.replace(PHOTOS, rows, part)
        is_ok = pl.col("status") == OK
        figures = rows.group_by("day").agg(pl.len().alias("rows"), is_ok.sum().alias("ok"))
        note_days(context, key, figures, part)
        downloaded = [photo.bytes or 0 for photo in new.values() if photo.status == OK]
        described = rows.filter(is_ok)["photo_id"].n_unique()
        return dg.MaterializeResult(
            metadata={
                "range_statuses": dict(rows["status"].value_counts().sort("status").iter_rows()),
                "asked": sum(photo.fetched_at is not None for photo in new.values()),
                "downloaded": len(downloaded),
                "downloaded_bytes": sum(downloaded),
                "captions_estimate_photos": described,
                "captions_estimate_usd": round(described * USD_A_PHOTO, 6),
            }
        )

    claims = [
        Property(
            "one_status_a_link",
            "Every link of every case has one row, and every row is a link of a case.",
            NO_STATUS_OR_NO_LINK,
        ),
        Property(
            "ok_has_a_photo",
            "A link that is ok has a photo, its files, its size and its hash; any other has none.",
            NEITHER_PHOTO_NOR_NOT,
        ),
    ]
    return [photos, slice_checks(claims, PHOTOS, feed.name, [REQUESTS])]
