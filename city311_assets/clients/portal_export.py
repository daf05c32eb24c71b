"""A file downloaded by hand from a portal: CSV, plain or gzipped, read as the portal would answer.

The same question (`records` of a range of days) has the same answer as `Socrata` gives, so a file
goes through bronze and silver as fetched pages do. A file knows only some of a day's records, and
nothing later than its newest change. The whole file is checked before anything is returned.
"""

import csv
import gzip
import hashlib
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

import duckdb
import polars as pl

from city311_assets.clients.socrata import Answer, packed
from city311_assets.feeds.clocks import to_utc, wall_time
from city311_assets.feeds.feed import ROW_CREATED_AT, ROW_ID, ROW_UPDATED_AT, Feed
from city311_assets.feeds.registry import FEEDS

GZIP_MAGIC = b"\x1f\x8b"
LONGEST_LINE_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
# Records pack ten to one; a small file that unpacks beyond this was made to fill the memory.
MOST_TIMES_UNPACKED = 100
ALWAYS_UNPACKED_BYTES = 256 * CHUNK_BYTES
LINES_SHOWN = 5
# A download of the right feed has a few points elsewhere, not most of them.
MOST_POINTS_OUTSIDE = 0.5


class ExportRefusedError(ValueError):
    """A file that cannot be imported, with the reason and the next step."""


def comparable(header: str) -> str:
    """Return a header without case, spaces, punctuation and byte-order mark."""
    return re.sub(r"[^0-9a-z]", "", header.casefold())


def spelled(feed: Feed) -> dict[str, str]:
    """Return the source column for each comparable spelling a file may use."""
    spellings = {
        comparable(spelling): column.name for column in feed.columns for spelling in column.aliases
    }
    return spellings | {comparable(column.name): column.name for column in feed.columns}


@dataclass(frozen=True)
class PortalExport:
    """One file of one feed's records.

    Parameters
    ----------
    path
        The file; gzipped or not is read from its first bytes, not its name.
    feed
        The feed whose portal it was downloaded from.
    observed_until
        When it was downloaded, UTC; by default the newest change the file knows of.
    """

    path: Path
    feed: Feed
    observed_until: datetime | None = None

    def records(self, start: date, end: date) -> Answer:
        """Return the file's records opened from `start` up to, not including, `end`."""
        rows = self.rows.filter(pl.col("_day").is_between(start, end, closed="left"))
        rows = rows.drop("_day")
        return Answer(rows, self.observed, self.undeclared, is_complete=False, absent=self.absent)

    def counts_by_day(self, start: date, end: date) -> dict[date, int]:
        """Return how many records the file holds for each local day that has any."""
        return {day: count for day, count in self.days.items() if start <= day < end}

    @cached_property
    def days(self) -> dict[date, int]:
        """Every local day the file has records of, in order, with their number."""
        return dict(self.rows["_day"].value_counts().sort("_day").iter_rows())

    @cached_property
    def undeclared(self) -> tuple[str, ...]:
        """Headers that the feed does not declare; their values are kept in `extra`."""
        known = spelled(self.feed)
        return tuple(name for name in self.table.columns if comparable(name) not in known)

    @cached_property
    def absent(self) -> tuple[str, ...]:
        """Declared columns that the file does not have."""
        known = spelled(self.feed)
        found = {known.get(comparable(name)) for name in self.table.columns}
        return tuple(name for name in self.feed.column_names if name not in found)

    @cached_property
    def observed(self) -> datetime:
        """The instant up to which the file knows the records, UTC."""
        now = datetime.now(UTC).replace(tzinfo=None)
        if self.observed_until:
            if self.observed_until > now:
                raise ExportRefusedError(
                    f"{self.path} cannot have been downloaded at {self.observed_until}: that is "
                    "after now"
                )
            return self.observed_until
        named = [self.feed.opened, self.feed.closed, self.feed.changed]
        newest = [
            self.rows.select(to_utc(wall_time(pl.col(name)), self.feed.city.timezone).alias("at"))
            .filter(pl.col("at") <= now)["at"]
            .max()
            for name in named
            if name
        ]
        return max((at for at in newest if isinstance(at, datetime)), default=now)

    @cached_property
    def table(self) -> pl.DataFrame:
        """The file as it is, every value text.

        Raises
        ------
        ExportRefusedError
            The file is missing, empty, not text, or has a line that does not fit its header.
        """
        if not self.path.is_file():
            raise ExportRefusedError(f"{self.path} is not a file")
        with self.path.open("rb") as file:
            is_gzip = file.read(2) == GZIP_MAGIC
        try:
            with gzip.open(self.path) if is_gzip else self.path.open("rb") as file:
                is_empty = not file.read(64).strip(b"\xef\xbb\xbf \r\n\t")
                if is_gzip:
                    self._unpack(cast("BinaryIO", file))
        except (OSError, EOFError, zlib.error) as error:
            raise ExportRefusedError(
                f"{self.path} cannot be unpacked whole ({error}); download it again"
            ) from error
        if is_empty:
            raise ExportRefusedError(
                f"{self.path} is empty; download it again and look at it before importing"
            )
        return self._read("gzip" if is_gzip else "none")

    def _unpack(self, file: BinaryIO) -> None:
        """Go through a packed file to its end: only there a broken or damaged one shows itself.

        Raises
        ------
        ExportRefusedError
            It unpacks to more than records can.
        """
        most = max(MOST_TIMES_UNPACKED * self.path.stat().st_size, ALWAYS_UNPACKED_BYTES)
        size = 0
        while piece := file.read(CHUNK_BYTES):
            size += len(piece)
            if size > most:
                raise ExportRefusedError(
                    f"{self.path} unpacks to more than {MOST_TIMES_UNPACKED} times its size, which "
                    "no records do; look at what it is, or unpack it yourself and import that"
                )

    def _read(self, compression: str) -> pl.DataFrame:
        headers = self._headers(compression)
        # Stated columns and dialect: a guess from the first lines would hide a broken one.
        columns = ", ".join("'" + name.replace("'", "''") + "': 'VARCHAR'" for name in headers)
        try:
            with duckdb.connect() as conn:
                return conn.sql(
                    "from read_csv($path, auto_detect = false, header = true, delim = ',', "
                    "quote = '\"', escape = '\"', null_padding = false, ignore_errors = false, "
                    f"strict_mode = true, compression = '{compression}', "
                    f"max_line_size = {LONGEST_LINE_BYTES}, columns = {{{columns}}})",
                    params={"path": str(self.path)},
                ).pl()
        except duckdb.Error as error:
            said = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ExportRefusedError(
                f"{self.path} is not a whole CSV file: {' '.join(said[:3])} "
                "Nothing was written; mend or remove the line, or download the file again."
            ) from error

    def _headers(self, compression: str) -> list[str]:
        """Return the first record of the file.

        Raises
        ------
        ExportRefusedError
            The file is not UTF-8 text, or names a column twice.
        """
        reading = gzip.open if compression == "gzip" else open
        try:
            with reading(self.path, "rt", encoding="utf-8-sig", newline="") as file:
                headers = next(csv.reader(file))
        except (UnicodeDecodeError, csv.Error, StopIteration) as error:
            raise ExportRefusedError(
                f"{self.path} is not a CSV file in UTF-8 ({error}); download it again as CSV"
            ) from error
        if not headers or "\0" in "".join(headers):
            raise ExportRefusedError(
                f"{self.path} does not begin with a line of column names; download it again as CSV"
            )
        folded = [name.casefold() for name in headers]
        if twice := sorted({name for name in headers if folded.count(name.casefold()) > 1}):
            raise ExportRefusedError(f"{self.path} names the columns {twice} more than once")
        if unnamed := [place for place, name in enumerate(headers, 1) if not name.strip()]:
            raise ExportRefusedError(
                f"{self.path} has no name for column {', '.join(map(str, unnamed))} of its header"
            )
        return headers

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The records in the columns of `Answer.rows`, and `_day`, the local day of opening.

        Raises
        ------
        ExportRefusedError
            Columns are missing, the file is of another feed or city, or a record has no readable
            time of opening.
        """
        feed, table = self.feed, self.table
        known = spelled(feed)
        names: dict[str, str] = {}
        for header in table.columns:
            column = known.get(comparable(header))
            if column in names.values():
                twice = [h for h in table.columns if known.get(comparable(h)) == column]
                raise ExportRefusedError(f"{self.path} has {column} twice, as {twice}")
            if column:
                names[header] = column
        if gone := sorted(set(feed.required) - set(names.values())):
            raise ExportRefusedError(self._wrong_feed(gone))
        if table.is_empty():
            raise ExportRefusedError(f"{self.path} has a header and no records")
        rows = table.rename(names).with_columns(
            pl.lit(None, pl.String).alias(name) for name in self.absent
        )
        rows = rows.with_columns(_day=wall_time(pl.col(feed.opened)).dt.date())
        self._refuse_unreadable(rows)
        self._refuse_another_city(rows)
        identity = pl.col(feed.record_id).str.strip_chars().fill_null("")
        return rows.select(
            # Stable over imports: the record's number, and which of its lines this is.
            (identity + "#" + pl.int_range(pl.len()).over(identity).cast(pl.String).str.zfill(6))
            .str.replace("^#", f"{self._fingerprint}#")
            .alias(ROW_ID),
            pl.lit(None, pl.String).alias(ROW_CREATED_AT),
            pl.lit(None, pl.String).alias(ROW_UPDATED_AT),
            *feed.column_names,
            self._extra().alias("extra"),
            "_day",
        )

    @cached_property
    def _fingerprint(self) -> str:
        """Names the file where a line has no record number of its own."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:12]

    def _extra(self) -> pl.Series:
        """Return what the feed does not declare, as of `Answer.rows`."""
        with duckdb.connect() as conn:
            conn.register("rows_of_file", self.table)
            return conn.sql(f"select {packed(self.undeclared)} as extra from rows_of_file").pl()[
                "extra"
            ]

    def _wrong_feed(self, gone: list[str]) -> str:
        headers = {comparable(name) for name in self.table.columns}
        fits = [
            feed.name
            for feed in FEEDS.values()
            if all(
                any(s in headers for s, c in spelled(feed).items() if c == name)
                for name in feed.required
            )
        ]
        hint = f"; it looks like {' or '.join(fits)}" if fits else ""
        return (
            f"{self.path} lacks {', '.join(gone)} of {self.feed.name}{hint}. Its header is "
            f"{', '.join(self.table.columns)}. Nothing was written."
        )

    def _refuse_unreadable(self, rows: pl.DataFrame) -> None:
        """Raise where a record's time of opening is no time: it belongs to no day."""
        # Whatever the file's own columns are called.
        opened = rows.select(self.feed.opened, "_day").with_row_index("_record", offset=1)
        bad = opened.filter(pl.col("_day").is_null())
        if bad.is_empty():
            return
        shown = ", ".join(
            f"record {record}: {value!r}"
            for record, value in bad.select("_record", self.feed.opened).head(LINES_SHOWN).rows()
        )
        raise ExportRefusedError(
            f"{self.path}: {bad.height} of {rows.height} records have no readable "
            f"{self.feed.opened} ({shown}). Nothing was written."
        )

    def _refuse_another_city(self, rows: pl.DataFrame) -> None:
        """Raise where most points lie outside the city: the file is of another one."""
        box = self.feed.city.box
        points = rows.select(
            latitude=pl.col(self.feed.fields["latitude"]).cast(pl.Float64, strict=False),
            longitude=pl.col(self.feed.fields["longitude"]).cast(pl.Float64, strict=False),
        ).filter((pl.col("latitude") != 0) & (pl.col("longitude") != 0))
        inside = points.filter(
            pl.col("latitude").is_between(box.south, box.north)
            & pl.col("longitude").is_between(box.west, box.east)
        ).height
        if points.height and 1 - inside / points.height > MOST_POINTS_OUTSIDE:
            raise ExportRefusedError(
                f"{self.path}: {points.height - inside} of {points.height} points lie outside "
                f"{self.feed.city.title}; is it a file of {self.feed.name}? Nothing was written."
            )
