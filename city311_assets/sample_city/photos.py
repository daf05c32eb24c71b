"""Which photo each case has: its visual topic, its twins, its faults, and its bytes.

What belongs here: what is planted in the photos, published for tests. What does not: how a topic
is drawn (`scenes`), and what a link answers (`photo_host`). A day's photos depend on (seed, feed,
date, records a day) only, as its records do.
"""

import io
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np
import polars as pl
from PIL import ExifTags, Image, ImageEnhance

from city311_assets.feeds.feed import Feed
from city311_assets.feeds.registry import FEEDS
from city311_assets.sample_city.cities.san_francisco_columns import MEDIA_LINKS
from city311_assets.sample_city.draws import draws
from city311_assets.sample_city.geography import METERS_PER_DEGREE, shortening
from city311_assets.sample_city.scenes import scene
from city311_assets.sample_city.simulation import Bools, Draws, Floats
from city311_assets.sample_city.texts import record_ids
from city311_assets.sample_city.truth import (
    NOTHING_PHRASE,
    PHOTO_BIRTHS,
    PHOTO_DEATHS,
    photo_phrases,
)

# How a link to a photo begins and ends around the record's id, by feed.
PHOTO_LINKS = {"sf_311": MEDIA_LINKS[1]}
PHOTO_SIZE = (640, 480)
QUALITY, COPY_QUALITY = 80, 68
# Photos cut off in the middle, photos of one pixel, and photos that say where they were taken.
TRUNCATED_SHARE, TINY_SHARE, GPS_SHARE = 0.01, 0.01, 0.1
# A case whose link says so may have the photo of an earlier case of its day and topic: sent again
# as it was, or cropped and brightened. Two close by are often one thing, seen twice.
TWIN_WITHIN_M = 150.0
TWIN_SHARE_NEAR, TWIN_SHARE_FAR = 0.9, 0.06
CROPPED_SHARE, BRIGHTENED = 0.012, 1.08
SAME, NEAR = "same_bytes", "near_copy"
TRUNCATED, TINY = "truncated", "tiny"
# Photos are drawn apart from the records: neither moves the other.
STREAM = crc32(b"photos")
DAYS_KEPT = 64


def _topics(drawn: Draws, uniform: Floats) -> list[str | None]:
    """Return what each case's photo shows, once topics have begun and ended."""
    feed, day = drawn.feed.name, drawn.day
    topics = [drawn.parts[index].topic for index in drawn.variety]
    ended = {death.topic for death in PHOTO_DEATHS if death.feed == feed and day >= death.ends}
    for birth in PHOTO_BIRTHS:
        if birth.feed == feed and day >= birth.starts:
            topics = [
                birth.topic if draw < birth.shares.get(topic or "", 0.0) else topic
                for topic, draw in zip(topics, uniform.tolist(), strict=True)
            ]
    return [None if topic in ended else topic for topic in topics]


def _linked(drawn: Draws) -> Bools:
    """Return which cases' records have a link to a photo."""
    if drawn.feed.name not in PHOTO_LINKS:
        return np.zeros(drawn.size, dtype=np.bool_)
    links = drawn.simulated.columns(drawn)[drawn.feed.fields["media_url"]]
    start, _ = PHOTO_LINKS[drawn.feed.name]
    return links.str.contains(start, literal=True).fill_null(value=False).to_numpy()


@dataclass(frozen=True)
class _Twins:
    """Of each case the index of the one whose photo it has, -1 for none, and how far off it is."""

    of: list[int]
    distance_m: list[float | None]


def _twins(drawn: Draws, topics: list[str | None], may: Bools, uniform: Floats) -> _Twins:
    """Give some cases the photo of the nearest earlier one of their topic."""
    east = drawn.longitude * METERS_PER_DEGREE * shortening(drawn.feed.city.name)
    north = drawn.latitude * METERS_PER_DEGREE
    of = [-1] * drawn.size
    distances: list[float | None] = [None] * drawn.size
    originals: dict[str, list[int]] = {}
    for case in np.flatnonzero(may).tolist():
        topic = topics[case]
        if topic is None:
            continue
        earlier = originals.setdefault(topic, [])
        if earlier:
            away = np.hypot(east[earlier] - east[case], north[earlier] - north[case])
            nearest = int(np.argmin(away))
            share = TWIN_SHARE_NEAR if away[nearest] <= TWIN_WITHIN_M else TWIN_SHARE_FAR
            if uniform[case] < share:
                of[case], distances[case] = earlier[nearest], float(away[nearest])
                continue
        earlier.append(case)
    return _Twins(of, distances)


@lru_cache(maxsize=DAYS_KEPT)
def _planted(name: str, day: date, seed: int, records_per_day: int) -> pl.DataFrame:
    """Return what is planted in the photos of one day, a row a case, in the order of opening."""
    feed = FEEDS[name]
    drawn = draws(feed, day, seed=seed, records_per_day=records_per_day)
    rng = np.random.default_rng([seed, STREAM, crc32(name.encode()), day.toordinal()])
    born, flawed, located, twin, way = rng.random((5, drawn.size))
    topics = _topics(drawn, born)
    ids = record_ids(drawn)
    linked = _linked(drawn)
    is_flawed = flawed < TRUNCATED_SHARE + TINY_SHARE
    twins = _twins(drawn, topics, linked & ~is_flawed, twin)
    phrases = photo_phrases(name)
    return pl.DataFrame(
        {
            "record_id": ids,
            "opened": drawn.opened,
            "longitude": drawn.longitude,
            "latitude": drawn.latitude,
            "topic": pl.Series(topics, dtype=pl.String),
            "phrase": [phrases[topic] if topic else NOTHING_PHRASE for topic in topics],
            "is_linked": linked,
            "flaw": pl.select(
                pl.when(pl.lit(pl.Series(flawed)) < TRUNCATED_SHARE)
                .then(pl.lit(TRUNCATED))
                .when(pl.lit(pl.Series(is_flawed)))
                .then(pl.lit(TINY))
            ).to_series(),
            "has_gps": (located < GPS_SHARE) & ~is_flawed,
            "twin_of": [ids[at] if at >= 0 else None for at in twins.of],
            "likeness": [
                (SAME if draw < 0.5 else NEAR) if at >= 0 else None
                for at, draw in zip(twins.of, way.tolist(), strict=True)
            ],
            "distance_m": twins.distance_m,
        },
        schema_overrides={
            "flaw": pl.String,
            "twin_of": pl.String,
            "likeness": pl.String,
            "distance_m": pl.Float64,
        },
    )


@lru_cache(maxsize=DAYS_KEPT)
def _cases(name: str, day: date, seed: int, records_per_day: int) -> dict[str, dict[str, Any]]:
    """Return the same by record id."""
    rows = _planted(name, day, seed, records_per_day).iter_rows(named=True)
    return {row["record_id"]: row for row in rows}


def photo_topics(feed: Feed, day: date, *, seed: int, records_per_day: int) -> pl.DataFrame:
    """Return what each case's photo of one day shows: `record_id`, `topic`, `phrase`, `is_linked`.

    The topic is null where nothing in particular is to be seen. Only of cases that are linked does
    the portal tell the photo's address.
    """
    planted = _planted(feed.name, day, seed, records_per_day)
    return planted.select("record_id", "topic", "phrase", "is_linked")


def photo_twins(feed: Feed, day: date, *, seed: int, records_per_day: int) -> pl.DataFrame:
    """Return the cases of one day that have another's photo.

    A row is a case `record_id`, linked as the earlier `twin_of` is: `likeness` says whether the
    photo is the `same_bytes` or a `near_copy`, `distance_m` how far apart the two were seen.
    """
    planted = _planted(feed.name, day, seed, records_per_day).filter(
        pl.col("twin_of").is_not_null()
    )
    return planted.select("record_id", "twin_of", "topic", "likeness", "distance_m")


def photo_faults(feed: Feed, day: date, *, seed: int, records_per_day: int) -> pl.DataFrame:
    """Return of each case of one day what is odd about its photo: `record_id`, `flaw`, `has_gps`.

    The flaw is `truncated`, `tiny` or null; with GPS the file says where it was taken. What a twin
    has is its original's.
    """
    planted = _planted(feed.name, day, seed, records_per_day)
    originals = planted.select(pl.col("record_id").alias("twin_of"), own="has_gps")
    whose = planted.join(originals, on="twin_of", how="left", maintain_order="left")
    is_same = pl.col("likeness") == SAME
    return whose.select(
        "record_id",
        "flaw",
        has_gps=pl.when(is_same)
        .then("own")
        .otherwise(pl.col("has_gps") & pl.col("likeness").is_null()),
    )


def _degrees(angle: float) -> tuple[float, float, float]:
    minutes = abs(angle) % 1 * 60
    return float(int(abs(angle))), float(int(minutes)), round(minutes % 1 * 60, 4)


def _place(latitude: float, longitude: float) -> Image.Exif:
    """Return the metadata of a photo that says where it was taken."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Sample"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef] = "N" if latitude >= 0 else "S"
    gps[ExifTags.GPS.GPSLatitude] = _degrees(latitude)
    gps[ExifTags.GPS.GPSLongitudeRef] = "E" if longitude >= 0 else "W"
    gps[ExifTags.GPS.GPSLongitude] = _degrees(longitude)
    return exif


def _jpeg(image: Image.Image, quality: int, exif: Image.Exif | None = None) -> bytes:
    body = io.BytesIO()
    image.save(body, "JPEG", quality=quality, **({"exif": exif} if exif else {}))
    return body.getvalue()


def _copied(image: Image.Image) -> Image.Image:
    """Return a photo as another app sends it on: its rim cut off, a little brighter."""
    wide, high = image.size
    left, top = int(wide * CROPPED_SHARE), int(high * CROPPED_SHARE)
    inner = image.crop((left, top, wide - left, high - top)).resize(image.size)
    return ImageEnhance.Brightness(inner).enhance(BRIGHTENED)


def photo(
    feed: Feed, record_id: str, day: date, *, seed: int, records_per_day: int
) -> bytes | None:
    """Return the JPEG of a case of one day, the same bytes each time; None if there is no case."""
    found = _cases(feed.name, day, seed, records_per_day).get(record_id)
    if found is None:
        return None
    if found["twin_of"] and found["likeness"] == SAME:
        return photo(feed, found["twin_of"], day, seed=seed, records_per_day=records_per_day)
    if found["flaw"] == TINY:
        return _jpeg(Image.new("RGB", (1, 1)), QUALITY)
    whose = found["twin_of"] or record_id
    rng = np.random.default_rng([seed, STREAM, crc32(whose.encode())])
    image = scene(found["topic"], rng).resize(PHOTO_SIZE, Image.Resampling.NEAREST)
    if found["twin_of"]:
        return _jpeg(_copied(image), COPY_QUALITY)
    exif = _place(found["latitude"], found["longitude"]) if found["has_gps"] else None
    body = _jpeg(image, QUALITY, exif)
    return body[: len(body) // 2] if found["flaw"] == TRUNCATED else body
