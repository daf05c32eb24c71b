"""How a city's clock is read: local wall time as text, and the instant it stands for.

Portals publish *floating* timestamps, local wall time without a zone. Files exported from elsewhere
label the same local times `UTC`; the label is wrong and is dropped. Socrata's own columns
(`:updated_at`) are true UTC and are read by `utc_instant`.
"""

import polars as pl

# The spellings seen: the API, the portal's downloads, dates alone. Tried in this order.
WALL_TIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%m/%d/%Y %I:%M:%S %p",
    "%Y-%m-%d %H:%M:%S%.f",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
)
DATE_FORMATS = ("%Y-%m-%d", "%m/%d/%Y")
FALSE_ZONE = r"(?i)\s*(?:UTC|Z|\+00(?::?00)?)$"
# "26" is no year: nobody knows which century it means.
WITH_WHOLE_YEAR = r"^\d{4}-|/\d{4}(?:\D|$)"


def wall_time(text: pl.Expr) -> pl.Expr:
    """Read local wall time, microseconds, from text; null where it is no time.

    A date alone is its midnight. A zone label of UTC is dropped, not applied.
    """
    return text.map_batches(_wall_times, return_dtype=pl.Datetime("us"))


def _wall_times(text: pl.Series) -> pl.Series:
    """Read texts, each format only where those before it gave nothing: mostly one does all."""
    stripped = text.str.strip_chars().str.replace(FALSE_ZONE, "")
    bare = pl.select(pl.when(stripped.str.contains(WITH_WHOLE_YEAR)).then(stripped)).to_series()
    found = bare.clear(len(bare)).cast(pl.Datetime("us"))
    for fmt in (*WALL_TIME_FORMATS, *DATE_FORMATS):
        unread = (bare.is_not_null() & found.is_null()).arg_true()
        if unread.is_empty():
            break
        texts = bare.gather(unread)
        if fmt in DATE_FORMATS:
            read = texts.str.to_date(fmt, strict=False).cast(pl.Datetime("us"))
        else:
            read = texts.str.to_datetime(fmt, strict=False, time_unit="us")
        found = found.scatter(unread, read)
    return found


def utc_instant(text: pl.Expr) -> pl.Expr:
    """Read a true UTC timestamp of Socrata's own columns; null where it is none."""
    bare = text.str.strip_chars().str.replace(FALSE_ZONE, "")
    return bare.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us")


def to_utc(local: pl.Expr, timezone: str) -> pl.Expr:
    """Turn local wall time into the UTC instant (both without a zone, microseconds).

    The repeated hour in autumn resolves to its first pass; a time that never happened in spring
    moves forward by the hour that was skipped.
    """

    def localized(wall: pl.Expr) -> pl.Expr:
        return wall.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")

    zoned = pl.coalesce(localized(local), localized(local + pl.duration(hours=1)))
    return zoned.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
