"""One dataset of a Socrata portal (SODA 2.1): whole windows of rows, and counts.

Without `$order` the service promises no order and pages repeat and lose rows, so windows are paged
by key (`:id > last`) and compared with the portal's own count. Rows that go and come between two
pages can leave the count as it was, so the newest change is asked for before and after. A window
is complete, or it is an error; it is never half.
"""

import json
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl

from city311_assets.clients.errors import (
    IncompleteWindowError,
    MalformedAnswerError,
    MissingColumnsError,
)
from city311_assets.clients.http import Asker, Patience, parsed
from city311_assets.feeds.feed import (
    COMPUTED_REGION,
    ROW_ID,
    ROW_UPDATED_AT,
    SYSTEM_COLUMNS,
    Feed,
)

logger = logging.getLogger(__name__)

# A quote inside a JSON string is escaped, so these bytes are always the key itself.
ROW_ID_VALUE = re.compile(rb'":id"\s*:\s*"([^"]*)"')
# No dataset has a quintillion rows.
LONGEST_NUMBER = 18


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a window: its bytes, how many rows they hold, and the last row's `:id`."""

    body: bytes
    rows: int
    last_id: str | None


@dataclass(frozen=True, slots=True)
class _State:
    """What the portal says of a window: how many rows it has, and when the last of them changed."""

    rows: int
    changed_at: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """All rows of a window, every value as text, and the instant (UTC) they were asked for.

    `rows` has the columns `:id, :created_at, :updated_at`, the declared ones, and `extra`, a JSON
    object of the undeclared ones (null where a row has none). `undeclared` names those columns.
    `is_complete` is false for a source that knows only some of a day's records, `absent` names
    declared columns that it does not have at all.
    """

    rows: pl.DataFrame
    observed_until: datetime
    undeclared: tuple[str, ...]
    is_complete: bool = True
    absent: tuple[str, ...] = ()


class Socrata:
    """Reads one feed's dataset. Use it as a context manager."""

    def __init__(
        self,
        feed: Feed,
        base_url: str,
        *,
        app_token: str | None = None,
        page_size: int = 50_000,
        patience: Patience | None = None,
        keep_in: Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.feed, self.page_size, self.clock = feed, page_size, clock
        headers = {"X-App-Token": app_token} if app_token else {}
        self.asker = Asker(base_url, headers=headers, patience=patience, keep_in=keep_in)
        self.resource = f"/resource/{feed.dataset}.json"

    def __enter__(self) -> "Socrata":
        return self

    def __exit__(self, *_: object) -> None:
        self.asker.close()

    def columns(self) -> list[str]:
        """Return the dataset's columns from its description, never from a page of rows.

        Raises
        ------
        MissingColumnsError
            A required column of the feed is gone.
        """
        path = f"/api/views/{self.feed.dataset}.json"
        view = self.asker.json(path)
        try:
            names = [str(column["fieldName"]) for column in view["columns"]]
        except (KeyError, TypeError) as error:
            raise self._malformed("no description of columns", view, path) from error
        if gone := sorted(set(self.feed.required) - set(names)):
            raise MissingColumnsError(
                f"the dataset has lost the column {', '.join(gone)}; it now has "
                f"{', '.join(sorted(names))}; mend feeds/{self.feed.name}.py",
                url=f"{self.asker.base_url}{path}",
            )
        return names

    def window(self, start: date, end: date) -> str:
        """Return the condition for records opened from `start` up to, not including, `end`."""
        opened = self.feed.opened
        return f"{opened} >= '{start}T00:00:00' and {opened} < '{end}T00:00:00'"

    def count(self, where: str) -> int:
        """Return how many rows the portal says meet a condition."""
        rows = self.asker.json(self.resource, {"$select": "count(*) as rows", "$where": where})
        try:
            return _whole(rows[0]["rows"])
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise self._malformed("no count of rows", rows) from error

    def _state(self, where: str) -> _State:
        """Return how many rows meet a condition, and when the last of them changed."""
        select = f"count(*) as rows, max({ROW_UPDATED_AT}) as changed_at"
        rows = self.asker.json(self.resource, {"$select": select, "$where": where})
        try:
            return _State(_whole(rows[0]["rows"]), rows[0].get("changed_at"))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise self._malformed("no count of rows", rows) from error

    def counts_by_day(self, start: date, end: date) -> dict[date, int]:
        """Return how many records the portal holds for each local day that has any."""
        answer = self.asker.json(
            self.resource,
            {
                "$select": f"date_trunc_ymd({self.feed.opened}) as day, count(*) as rows",
                "$where": self.window(start, end),
                "$group": "day",
                "$order": "day",
                "$limit": 50_000,
            },
        )
        try:
            return {date.fromisoformat(row["day"][:10]): _whole(row["rows"]) for row in answer}
        except (KeyError, TypeError, ValueError) as error:
            raise self._malformed("no counts by day", answer) from error

    def changes_by_day(self, after: str, start: date) -> pl.DataFrame:
        """Return which local days from `start` on have rows that changed after an instant.

        `after` and `newest` are `:updated_at` as the portal writes it, UTC text. Columns `day`,
        `rows` (how many changed) and `newest` (the last of their changes).
        """
        opened = self.feed.opened
        answer = self.asker.json(
            self.resource,
            {
                "$select": f"date_trunc_ymd({opened}) as day, count(*) as rows, "
                f"max({ROW_UPDATED_AT}) as newest",
                "$where": f"{ROW_UPDATED_AT} > '{after}' and {opened} >= '{start}T00:00:00'",
                "$group": "day",
                "$order": "day",
                "$limit": 50_000,
            },
        )
        try:
            days = [
                (date.fromisoformat(row["day"][:10]), _whole(row["rows"]), str(row["newest"]))
                for row in answer
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise self._malformed("no changes by day", answer) from error
        schema = {"day": pl.Date, "rows": pl.Int64, "newest": pl.String}
        return pl.DataFrame(days, schema=schema, orient="row")

    def counts_by_value(self, column: str, start: date, end: date) -> pl.DataFrame:
        """Return how many records opened in a window have each value of a column, most first.

        Columns `value` (null where the portal has none), `rows`, and `newest`, the last opening.
        """
        opened = self.feed.opened
        answer = self.asker.json(
            self.resource,
            {
                "$select": f"{column}, count(*) as rows, max({opened}) as newest",
                "$where": self.window(start, end),
                "$group": column,
                "$order": f"rows desc, {column}",
                "$limit": 50_000,
            },
        )
        try:
            counted = [
                (_text(row.get(column)), _whole(row["rows"]), _wall_time(row["newest"]))
                for row in answer
            ]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._malformed(f"no counts by {column}", answer) from error
        schema = {"value": pl.String, "rows": pl.Int64, "newest": pl.Datetime("us")}
        return pl.DataFrame(counted, schema=schema, orient="row")

    def records(self, start: date, end: date) -> Answer:
        """Return every record opened from `start` up to, not including, `end`.

        Raises
        ------
        IncompleteWindowError
            Paged twice, by key and by offset, the rows still differ from the portal's count, or
            the dataset was loaded anew both times.
        MissingColumnsError, RequestRefusedError, SourceUnavailableError, MalformedAnswerError
        """
        observed_until = self.clock().astimezone(UTC).replace(tzinfo=None)
        names = self.columns()
        where = self.window(start, end)
        declared = self.feed.column_names
        undeclared = tuple(
            name
            for name in names
            if name not in declared and not name.startswith((COMPUTED_REGION, ":"))
        )
        problem = ""
        for pages in (self._pages_by_key, self._pages_by_offset):
            is_last_try = pages == self._pages_by_offset
            before = self._state(where)
            try:
                with _files(p.body for p in self._watched(pages(where), before.rows)) as files:
                    rows = self._parse(files, undeclared)
            except MalformedAnswerError as error:
                if is_last_try:
                    raise
                self._log_second_try(start, end, str(error))
                continue
            # One page is of one moment.
            after = before if len(files) == 1 else self._state(where)
            problem = self._problem(f"{start} up to {end}", rows, (before, after), is_last_try)
            if not problem:
                return Answer(rows, observed_until, undeclared)
            if not is_last_try:
                self._log_second_try(start, end, problem)
        raise IncompleteWindowError(
            f"{problem}; nothing was written; try again when the dataset is not being reloaded",
            url=f"{self.asker.base_url}{self.resource}",
        )

    def _problem(
        self, window: str, rows: pl.DataFrame, states: tuple[_State, _State], is_last_try: bool
    ) -> str:
        """Return why rows cannot stand for a window, in words; nothing if they can."""
        before, after = states
        different = rows.select(pl.col(ROW_ID).n_unique()).item()
        if not different == rows.height == after.rows:
            return (
                f"{rows.height} rows ({different} different) came for {window}, but the portal "
                f"counts {after.rows}"
            )
        # Of a dataset that never rests each row is right at its moment, unless a row was loaded
        # anew and came both ways.
        numbers = rows[self.feed.record_id].drop_nulls()
        is_settled = is_last_try and numbers.n_unique() == numbers.len()
        if before == after or is_settled:
            return ""
        return f"{rows.height} rows came for {window} while the dataset was changed"

    def _log_second_try(self, start: date, end: date, reason: str) -> None:
        logger.warning(
            "%s, %s up to %s: fetched again, by offset: %s", self.feed.name, start, end, reason
        )

    def _watched(self, pages: Iterator[Page], total: int) -> Iterator[Page]:
        """Pass pages on; of a long window log how far it is, its rate and the time left."""
        started, rows = time.monotonic(), 0
        for page in pages:
            yield page
            rows += page.rows
            if page.rows < self.page_size:
                return
            if rows >= total + self.page_size:
                # A server that ignores key and order would answer for ever.
                return
            rate = rows / max(time.monotonic() - started, 1e-9)
            logger.info(
                "%s: %s of %s rows, %.0f rows/s, about %.0f s left",
                self.feed.name,
                rows,
                total,
                rate,
                max(total - rows, 0) / rate,
            )

    def _pages_by_key(self, where: str) -> Iterator[Page]:
        last: str | None = None
        while True:
            after = f" and {ROW_ID} > '{_quoted(last)}'" if last is not None else ""
            page = self._page(f"({where}){after}", {})
            yield page
            # A server that ignores the key would answer the same page for ever.
            if page.rows < self.page_size or page.last_id == last:
                return
            last = page.last_id

    def _pages_by_offset(self, where: str) -> Iterator[Page]:
        offset, last = 0, None
        while True:
            page = self._page(where, {"$offset": offset})
            yield page
            if page.rows < self.page_size or page.last_id == last:
                return
            offset, last = offset + page.rows, page.last_id

    def _page(self, where: str, more: dict[str, int]) -> Page:
        params = {"$select": ":*,*", "$where": where, "$order": ROW_ID, "$limit": self.page_size}
        body = self.asker.body(self.resource, params | more)
        ids = ROW_ID_VALUE.findall(body)
        try:
            last_id = parsed(b'"' + ids[-1] + b'"') if ids else None
        except ValueError as error:
            raise self._malformed(
                "the last row's :id is no text", ids[-1].decode("latin-1")
            ) from error
        return Page(body, len(ids), last_id)

    def _malformed(self, problem: str, said: object, path: str = "") -> MalformedAnswerError:
        return MalformedAnswerError(
            problem,
            url=f"{self.asker.base_url}{path or self.resource}",
            said=json.dumps(said)[:200],
        )

    def _parse(self, files: list[str], undeclared: tuple[str, ...]) -> pl.DataFrame:
        """Read pages with every value as text; what the feed does not declare goes into `extra`."""
        try:
            return parse_pages(files, self.feed.column_names, undeclared)
        except duckdb.Error as error:
            raise MalformedAnswerError(
                "a page is not a JSON array of objects",
                url=f"{self.asker.base_url}{self.resource}",
                said=str(error).splitlines()[0],
            ) from error


def _whole(value: object) -> int:
    """Return a number of rows, which the portal writes as text; `ValueError` if it is none."""
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER):
        raise ValueError(f"{text[:LONGEST_NUMBER]} is no number of rows")
    return int(text)


def _text(value: object) -> str | None:
    """Return a value as bronze has it: text, JSON where it is more than that."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _wall_time(text: str) -> datetime:
    """Return a floating time stamp; `ValueError` or `TypeError` if it is none."""
    return datetime.fromisoformat(text).replace(tzinfo=None)


def parse_pages(
    files: list[str], declared: Iterable[str], undeclared: Iterable[str] = ()
) -> pl.DataFrame:
    """Return the rows of JSON pages, every value as text, nested values as JSON text.

    DuckDB's reader with stated columns takes the same time for every page and never guesses types.
    """
    names = [*SYSTEM_COLUMNS, *declared]
    columns = dict.fromkeys([*names, *undeclared], "VARCHAR")
    with duckdb.connect(config={"threads": 1}) as conn:
        # Into a table first: streamed straight into a frame the same pages cost half as much again.
        conn.execute(
            f"create temp table pages as select {', '.join(map(_identifier, names))}, "
            f"{packed(undeclared)} as extra from read_json($files, columns = {_struct(columns)}, "
            "format = 'array', maximum_object_size = 67108864)",
            {"files": files},
        )
        return conn.sql("from pages").pl()


def packed(names: Iterable[str]) -> str:
    """Return the SQL of a JSON object of columns, without nulls; null where nothing is left."""
    pairs = ", ".join(f"'{_quoted(name)}', {_identifier(name)}" for name in names)
    # A patch with an empty object leaves out keys whose value is null.
    merged = f"nullif(json_merge_patch('{{}}', json_object({pairs}))::varchar, '{{}}')"
    return merged if pairs else "null::varchar"


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _struct(columns: dict[str, str]) -> str:
    """Return a struct literal: DuckDB takes the columns of a reader as a constant only."""
    return "{" + ", ".join(f"'{_quoted(n)}': '{t}'" for n, t in columns.items()) + "}"


@contextmanager
def _files(bodies: Iterable[bytes]) -> Iterator[list[str]]:
    """Write pages to files for as long as they are read."""
    with tempfile.TemporaryDirectory(prefix="city311-pages-") as folder:
        files = []
        for number, body in enumerate(bodies):
            path = Path(folder) / f"{number:06}.json"
            path.write_bytes(body)
            files.append(str(path))
        yield files


class SocrataBoundaries:
    """Reads a portal's boundary datasets as GeoJSON. Use it as a context manager."""

    def __init__(
        self, base_url: str, *, app_token: str | None = None, patience: Patience | None = None
    ) -> None:
        headers = {"X-App-Token": app_token} if app_token else {}
        self.asker = Asker(base_url, headers=headers, patience=patience)

    def __enter__(self) -> "SocrataBoundaries":
        return self

    def __exit__(self, *_: object) -> None:
        self.asker.close()

    def features(self, dataset: str) -> list[dict[str, object]]:
        """Return the features of a dataset.

        Raises
        ------
        MalformedAnswerError
            The answer is not a GeoJSON feature collection, or has no feature.
        """
        path = f"/resource/{dataset}.geojson"
        answer = self.asker.json(path, {"$limit": 5_000})
        features = answer.get("features") if isinstance(answer, dict) else None
        if not (isinstance(features, list) and features and all(map(_is_feature, features))):
            raise MalformedAnswerError(
                "the answer is not a GeoJSON feature collection with features",
                url=f"{self.asker.base_url}{path}",
                said=json.dumps(answer)[:200],
            )
        return features


def _is_feature(value: object) -> bool:
    """Whether a value is a feature, as far as it is read: properties and a geometry, or null."""
    return isinstance(value, dict) and all(
        isinstance(value.get(name) or {}, dict) for name in ("properties", "geometry")
    )
