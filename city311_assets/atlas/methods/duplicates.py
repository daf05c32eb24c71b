"""Which cases are probably one event, and what says so.

What belongs here: candidate pairs, how far apart they are in space, time, photo and text, and what
of that is evidence. What does not: which cases and photos there are.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from city311_assets.gold.methods.arrays import Floats

MOST_METRES = 150.0
MOST_HOURS = 168.0
# A parent is the portal's word, not a guess: it may be far away, and so long ago.
MOST_PARENT_DAYS = 60
# City-local days before a case's own in which 168 hours fit, also in the night of a clock change.
WINDOW_DAYS = 8
# Of 64 bits; two photos that have nothing in common differ in 32 of them, give or take 4.
MOST_PHASH_BITS = 8
FEWEST_WORDS = 8
# Share of the words of either text that are in both.
LEAST_SIMILARITY = 0.6
# A text that more cases of the window have is a template, a photo a stock picture: no evidence.
MOST_WITH_TEXT = 3
MOST_WITH_PHOTO = 10

EARTH_RADIUS_M = 6_371_008.8
# A hair larger than needed, so that no rounding parts what is just near enough.
CELL_DEGREES = np.degrees(MOST_METRES / EARTH_RADIUS_M) * (1 + 1e-9)
# Positions of a pair's later and earlier case.
BOTH = ["case", "other"]
WORD = re.compile(r"[^\W_]+")
DIGIT = re.compile(r"\d")
CULPRITS_SHOWN = 5

CASES = {
    "record_id": pl.String,
    "day": pl.Date,
    "opened_at_utc": pl.Datetime("us"),
    "latitude": pl.Float64,
    "longitude": pl.Float64,
    "text": pl.String,
    "parent_record_id": pl.String,
    "photo_ids": pl.List(pl.String),
    "phashes": pl.List(pl.String),
}
PAIRS = {
    "day": pl.Date,
    "record_id": pl.String,
    "other_id": pl.String,
    "other_day": pl.Date,
    "reasons": pl.List(pl.String),
    "distance_m": pl.Float64,
    "hours_apart": pl.Float64,
    "phash_distance": pl.Int32,
    "text_similarity": pl.Float64,
}


def duplicate_pairs(cases: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    """Return the pairs of cases that are probably one event, the later of them of these days.

    The later case is the one opened later, of two opened at once the one with the larger record
    id. A pair has at least one of these reasons, and is within 150 m and 168 hours:

    - `parent`: either names the other as what it repeats. Distance does not matter, and it may be
      60 days ago.
    - `same_photo`: a photo with the same bytes. For this alone a case without a point counts as
      near: nothing else is likely to share a photo to the byte.
    - `near_photo`: not the same, but perceptual hashes that differ in at most 8 of 64 bits.
    - `near_text`: of the words of either text 60 % are in both, and either has at least 8 words.

    A text that more than 3 cases have, whatever numbers are in it, and a photo (by bytes, or by
    hash) that more than 10 have, is no evidence. Photos and texts are counted and compared over the
    later case's day and the 8 days before it, so that a day is the same by itself and in a range;
    of a parent before that neither is known.

    Parameters
    ----------
    cases
        In the columns of `CASES`: all of the days from `first` less `WINDOW_DAYS` to `last`, and
        of the 60 days before `first` those that are parents or have one. Degrees; a point counts
        where both are known. No city may lie across the antimeridian.
    first, last
        Days of which pairs are wanted, both included.

    Returns
    -------
    pl.DataFrame
        In the columns of `PAIRS`, by day, record and other record; the reasons strongest first.

    Raises
    ------
    ValueError
        If a case is given twice, or a perceptual hash is not 16 hex digits.
    """
    given = cases.select(pl.col(name).cast(dtype) for name, dtype in CASES.items())
    _refuse_twice(given)
    # Positions stand for cases, and are in the order of their openings: earlier is smaller.
    ordered = given.sort("opened_at_utc", "record_id").with_row_index("case")
    words = [frozenset(WORD.findall((text or "").casefold())) for text in ordered["text"]]
    templates = [
        DIGIT.sub("#", " ".join(WORD.findall(t or "")).casefold()) for t in ordered["text"]
    ]
    known = ordered.with_columns(pl.Series("template", templates, dtype=pl.String)).with_columns(
        pl.Series("is_long", [len(found) >= FEWEST_WORDS for found in words], dtype=pl.Boolean)
    )
    photos, hashes, parents = _photos(known), _hashes(known), _parents(known)
    found = [pl.DataFrame(schema=PAIRS)]
    day = first
    while day <= last:
        within = pl.col("day").is_between(day - timedelta(days=WINDOW_DAYS), day)
        window = _Window.of(day, known.filter(within), photos, hashes, words)
        found.append(_told(known, window, *_candidates(window, parents)))
        day += timedelta(days=1)
    return pl.concat(found).sort("day", "record_id", "other_id")


def distances_m(
    latitude: Floats, longitude: Floats, other_latitude: Floats, other_longitude: Floats
) -> Floats:
    """Return great-circle distances in metres, elementwise, on a sphere of the mean radius."""
    north, other_north = np.radians(latitude), np.radians(other_latitude)
    east = np.radians(np.asarray(other_longitude) - longitude)
    chord = (
        np.sin((other_north - north) / 2) ** 2
        + np.cos(north) * np.cos(other_north) * np.sin(east / 2) ** 2
    )
    return 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(chord, 1.0)))


@dataclass(frozen=True, slots=True)
class _Window:
    """A day and the days before it: its cases and what of theirs may be evidence.

    `photos` and `hashes` are those that few cases have, `free` the cases whose text is long enough
    and that of few, `words` those of every case, by position.
    """

    of_day: pl.DataFrame
    cases: pl.DataFrame
    photos: pl.DataFrame
    hashes: pl.DataFrame
    free: pl.DataFrame
    words: Sequence[frozenset[str]]

    @classmethod
    def of(
        cls,
        day: date,
        cases: pl.DataFrame,
        photos: pl.DataFrame,
        hashes: pl.DataFrame,
        words: Sequence[frozenset[str]],
    ) -> "_Window":
        here, is_of_few = cases.select("case"), pl.len().over("template") <= MOST_WITH_TEXT
        return cls(
            of_day=cases.filter(pl.col("day") == day),
            cases=cases,
            photos=_of_few(photos.join(here, on="case"), "photo_id"),
            hashes=_of_few(hashes.join(here, on="case"), "phash"),
            free=cases.filter(is_of_few & pl.col("is_long")).select("case"),
            words=words,
        )


def _candidates(
    window: _Window, parents: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the pairs that may have a reason, those of a parent, and those of the same photo."""
    telling = pl.concat([window.hashes.select("case"), window.free]).unique()
    near = _near(window.of_day.join(telling, on="case"), window.cases.join(telling, on="case"))
    alike = [
        _bits(near, window).filter(pl.col("phash_distance") <= MOST_PHASH_BITS),
        _similar(near, window).filter(pl.col("text_similarity") >= LEAST_SIMILARITY),
    ]
    named = parents.join(window.of_day, on="case", how="semi")
    same_photo = _of_same_photo(window)
    pairs = pl.concat([named, same_photo, *(found.select(BOTH) for found in alike)])
    return pairs.unique(), named, same_photo


def _told(
    known: pl.DataFrame,
    window: _Window,
    pairs: pl.DataFrame,
    named: pl.DataFrame,
    same_photo: pl.DataFrame,
) -> pl.DataFrame:
    """Return what there is to say of candidate pairs, without those that have no reason."""
    for name, frame in {"parent": named, "same_photo": same_photo}.items():
        pairs = pairs.join(frame.with_columns(pl.lit(value=True).alias(name)), on=BOTH, how="left")
    described = (
        _measured(known, pairs)
        .join(_bits(pairs, window), on=BOTH, how="left")
        .join(_similar(pairs, window), on=BOTH, how="left")
    )
    is_soon = pl.col("hours_apart") <= MOST_HOURS
    is_near = is_soon & (pl.col("distance_m") <= MOST_METRES).fill_null(value=False)
    is_same = pl.col("same_photo").fill_null(value=False) & (
        is_near | (is_soon & pl.col("distance_m").is_null())
    )
    holds = {
        "parent": pl.col("parent").fill_null(value=False)
        & (pl.col("hours_apart") <= MOST_PARENT_DAYS * 24),
        "same_photo": is_same,
        "near_photo": is_near & ~is_same & (pl.col("phash_distance") <= MOST_PHASH_BITS),
        "near_text": is_near & (pl.col("text_similarity") >= LEAST_SIMILARITY),
    }
    reasons = pl.concat_list(
        pl.when(condition).then(pl.lit(reason)) for reason, condition in holds.items()
    )
    return (
        described.with_columns(reasons=reasons.list.drop_nulls())
        .filter(pl.col("reasons").list.len() > 0)
        .select(pl.col(name).cast(dtype) for name, dtype in PAIRS.items())
    )


def _measured(known: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return pairs with both cases' names and days, and the metres and hours between them."""
    columns = ["case", "record_id", "day", "opened_at_utc", "latitude", "longitude"]
    own = known.select(columns)
    other = own.rename({name: f"other_{name}" for name in columns[1:]} | {"case": "other"})
    joined = pairs.join(own, on="case").join(other, on="other")
    places = ("latitude", "longitude", "other_latitude", "other_longitude")
    metres = distances_m(*(joined[name].to_numpy() for name in places))
    elapsed = pl.col("opened_at_utc") - pl.col("other_opened_at_utc")
    return joined.with_columns(
        pl.Series("distance_m", metres).fill_nan(None),
        hours_apart=elapsed.dt.total_microseconds() / 3.6e9,
        other_id="other_record_id",
    )


def _near(later: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs within reach, by a grid of which a case's cell and the eight around count.

    Cells are 150 m high, and at least as wide where the city is farthest from the equator.
    """
    has_point = pl.col("latitude").is_not_null() & pl.col("longitude").is_not_null()
    columns = ["case", "latitude", "longitude", "opened_at_utc"]
    later, earlier = (frame.filter(has_point).select(columns) for frame in (later, earlier))
    if later.is_empty() or earlier.is_empty():
        return _no_pairs()
    # A case of the later frame is in the earlier one too.
    farthest = np.abs(earlier["latitude"].to_numpy()).max() + CELL_DEGREES
    width = CELL_DEGREES / max(float(np.cos(np.radians(farthest))), 1e-6)
    row = (pl.col("latitude") / CELL_DEGREES).floor().cast(pl.Int64)
    column = (pl.col("longitude") / width).floor().cast(pl.Int64)
    steps = pl.DataFrame({"down": [-1, 0, 1]})
    around = later.with_columns(row=row, column=column).join(steps, how="cross")
    around = around.join(steps.rename({"down": "across"}), how="cross").with_columns(
        pl.col("row") + pl.col("down"), pl.col("column") + pl.col("across")
    )
    elapsed = pl.col("opened_at_utc") - pl.col("opened_at_utc_other")
    pairs = (
        around.join(
            earlier.with_columns(row=row, column=column, other="case"),
            on=["row", "column"],
            suffix="_other",
        )
        .filter(pl.col("other") < pl.col("case"))
        .filter(elapsed.dt.total_microseconds() <= MOST_HOURS * 3.6e9)
    )
    places = ("latitude", "longitude", "latitude_other", "longitude_other")
    metres = distances_m(*(pairs[name].to_numpy() for name in places))
    return pairs.filter(pl.Series(metres <= MOST_METRES, dtype=pl.Boolean)).select(BOTH)


def _of_same_photo(window: _Window) -> pl.DataFrame:
    """Return the pairs of cases that have a photo in common."""
    return (
        window.photos.join(window.of_day, on="case", how="semi")
        .join(window.photos.rename({"case": "other"}), on="photo_id")
        .filter(pl.col("other") < pl.col("case"))
        .select(BOTH)
        .unique()
    )


def _bits(pairs: pl.DataFrame, window: _Window) -> pl.DataFrame:
    """Return the pairs that have photos, with the bits in which the most alike of them differ."""
    return (
        pairs.select(BOTH)
        .join(window.hashes, on="case")
        .join(window.hashes.rename({"case": "other"}), on="other", suffix="_other")
        .group_by(BOTH)
        .agg(
            (pl.col("phash") ^ pl.col("phash_other"))
            .bitwise_count_ones()
            .min()
            .cast(pl.Int32)
            .alias("phash_distance")
        )
    )


def _similar(pairs: pl.DataFrame, window: _Window) -> pl.DataFrame:
    """Return the pairs that both have free text, with the Jaccard index of their words."""
    free, words = window.free, window.words
    both = (
        pairs.select(BOTH)
        .join(free, on="case", how="semi")
        .join(free.rename({"case": "other"}), on="other", how="semi")
    )
    index = [
        len(words[case] & words[other]) / len(words[case] | words[other])
        for case, other in both.iter_rows()
    ]
    return both.with_columns(pl.Series("text_similarity", index, dtype=pl.Float64))


def _of_few(held: pl.DataFrame, by: str) -> pl.DataFrame:
    """Return what cases hold without what too many hold."""
    return held.filter(pl.col("case").n_unique().over(by) <= MOST_WITH_PHOTO)


def _photos(known: pl.DataFrame) -> pl.DataFrame:
    """Return each photo of each case once."""
    return (
        known.select("case", photo_id="photo_ids")
        .explode("photo_id", empty_as_null=True)
        .drop_nulls()
        .unique()
    )


def _hashes(known: pl.DataFrame) -> pl.DataFrame:
    """Return each perceptual hash of each case once, as a number."""
    texts = known.select("case", phash="phashes").explode("phash", empty_as_null=True).drop_nulls()
    is_hash = pl.col("phash").str.contains("^[0-9a-fA-F]{16}$")
    if strange := sorted(texts.filter(~is_hash)["phash"].unique()):
        raise ValueError(
            f"{strange[:CULPRITS_SHOWN]} are no perceptual hashes of 16 hex digits; make "
            "atlas/photos of these days again"
        )
    return texts.with_columns(pl.col("phash").str.to_integer(base=16, dtype=pl.UInt64)).unique()


def _parents(known: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs of a case and the parent it names, the later one first."""
    position = known.select("record_id", "case")
    return (
        known.select(child="case", record_id="parent_record_id")
        .join(position, on="record_id")
        .filter(pl.col("child") != pl.col("case"))
        .select(case=pl.max_horizontal("child", "case"), other=pl.min_horizontal("child", "case"))
        .unique()
    )


def _no_pairs() -> pl.DataFrame:
    return pl.DataFrame(schema={"case": pl.UInt32, "other": pl.UInt32})


def _refuse_twice(cases: pl.DataFrame) -> None:
    times = Counter(cases["record_id"])
    if twice := sorted(name for name, held in times.items() if held > 1):
        raise ValueError(
            f"{len(twice)} cases are given twice: {twice[:CULPRITS_SHOWN]}; a case has one row"
        )
