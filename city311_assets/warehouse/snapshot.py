"""The published copy: what notebooks, the console and anybody's `duckdb` shell open.

The warehouse file is copied under its lock, finished outside (views, comments, working tables
dropped) and renamed into place: a reader sees the old file or the new one, never half, and an open
reader keeps the old one for as long as it likes.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import duckdb
import polars as pl

from city311_assets.warehouse.resource import CONNECTION, Session, Warehouse
from city311_assets.warehouse.tables.meta import CHECK_RESULTS
from city311_assets.warehouse.tables.registry import TABLES
from city311_assets.warehouse.tables.table import Table

UNFINISHED = ".publishing-"
LEFT_BEHIND_AFTER_SECONDS = 3_600
HELD = "select 1 from duckdb_tables() where schema_name = ? and table_name = ?"
PUBLICATIONS = (
    "create or replace table meta.publications as select $version::varchar as data_version, "
    "$published_at::timestamp as published_at, $in_flight::varchar[] as slices_in_flight, "
    "$checks_version::varchar as checks_version, $checks_problem::varchar as checks_problem, "
    "$form_version::varchar as form_version"
)
NOT_READ = "check results were not read when this was published"


@dataclass(frozen=True)
class Checks:
    """Verdicts of the graph's checks, to be published; or why they could not be read.

    Attributes
    ----------
    rows
        In the columns of `meta.check_results`; None if they could not be read.
    problem
        Why not; None if they could.
    """

    rows: pl.DataFrame | None = None
    problem: str | None = NOT_READ

    @cached_property
    def version(self) -> str | None:
        """Changes with what they say, not with when it was said; None if they were not read."""
        if self.rows is None:
            return None
        said = self.rows.select(CHECK_RESULTS.content).sort(CHECK_RESULTS.unique)
        return hashlib.sha256(said.write_json().encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication: the versions, when it was made, and whether there was anything new.

    `checks_version` is that of the check results; None where there are none. `form_version` is that
    of the tables, views and macros as they are declared; None in a file of an older program.
    """

    data_version: str | None
    published_at: datetime | None
    is_new: bool
    checks_version: str | None = None
    form_version: str | None = None


def published(path: Path) -> Publication | None:
    """Return what a published file says of itself; None where there is none to read."""
    if not path.exists():
        return None
    try:
        with duckdb.connect(str(path), read_only=True, config=CONNECTION) as conn:
            # An older file says less.
            said = conn.sql("from meta.publications").pl().to_dicts()
    except (duckdb.IOException, duckdb.CatalogException, duckdb.ConnectionException):
        return None
    if not said:
        return None
    of, at, checks, form = (
        said[0].get(name)
        for name in ("data_version", "published_at", "checks_version", "form_version")
    )
    return Publication(of, at, is_new=False, checks_version=checks, form_version=form)


def form_version(tables: Iterable[Table]) -> str:
    """Return what changes when a published file would have other tables, views or macros."""
    declared = [
        (str(table), table.one_row_per, *(astuple(column) for column in table.columns))
        for table in tables
        if table.is_published
    ]
    return hashlib.sha256(f"{declared}{sql('views')}{sql('macros')}".encode()).hexdigest()[:12]


def publish(
    warehouse: Warehouse,
    path: Path,
    slices_in_flight: Sequence[str] = (),
    tables: Iterable[Table] = TABLES,
    checks: Checks | None = None,
) -> Publication:
    """Publish the warehouse to `path`, unless the published file is of the same version and form.

    `slices_in_flight` names what was being written meanwhile, for `meta.publications`. `checks` are
    what the checks of the graph say: if that changed, it is something new; where it could not be
    read, the file says so.
    """
    told, tables = checks or Checks(), tuple(tables)
    old, form = published(path), form_version(tables)
    if (
        old
        and (old.data_version, old.form_version) == (warehouse.data_version, form)
        and told.version in {None, old.checks_version}
    ):
        return old
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=path.parent) as folder:
        copy = Path(folder) / path.name
        _sweep(path.parent)
        version = warehouse.copy_to(copy, tables)
        now = datetime.now(UTC).replace(tzinfo=None)
        said = {
            "version": version,
            "published_at": now,
            "in_flight": list(slices_in_flight),
            "checks_version": told.version,
            "checks_problem": told.problem,
            "form_version": form,
        }
        _finish(copy, tables, said, told.rows)
        # What somebody wrote into the old file must not be replayed into the new one.
        Path(f"{path}.wal").unlink(missing_ok=True)
        copy.replace(path)
        _sync(path.parent)
    return Publication(version, now, is_new=True, checks_version=told.version, form_version=form)


def _sweep(folder: Path) -> None:
    """Remove what killed publications left behind."""
    for left in folder.glob(f"{UNFINISHED}*"):
        if time.time() - left.stat().st_mtime > LEFT_BEHIND_AFTER_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _finish(
    copy: Path,
    tables: Sequence[Table],
    said: Mapping[str, object],
    check_results: pl.DataFrame | None,
) -> None:
    """Make a copy what readers expect: every published table, views, macros and comments."""
    _leave_out(copy, tables)
    with duckdb.connect(str(copy), config=CONNECTION) as conn:
        # Each of a thousand statements on its own would be written to disk: five seconds.
        conn.begin()
        for table in tables:
            if table.is_published:
                _comment(conn, table)
        conn.execute(sql("macros"))
        for comment, statement in views():
            conn.execute(statement)
            name = statement.split(" view ", 1)[1].split(maxsplit=1)[0]
            conn.execute(f"comment on view {name} is {_literal(comment)}")
        conn.execute("create schema if not exists meta")
        conn.execute(PUBLICATIONS, dict(said))
        if check_results is not None:
            conn.execute(f"delete from {CHECK_RESULTS}")
            conn.register("check_results", check_results)
            conn.execute(f"insert into {CHECK_RESULTS} by name from check_results")
            conn.unregister("check_results")
        conn.commit()
        conn.execute("checkpoint")
    with copy.open("rb") as file:
        os.fsync(file.fileno())


def _leave_out(copy: Path, tables: Sequence[Table]) -> None:
    """Bring tables up to date, and take out what is not published, down to its bytes."""
    with duckdb.connect(str(copy), config=CONNECTION) as conn:
        session = Session(conn)
        secret = False
        conn.begin()
        for table in tables:
            if not table.is_published:
                secret |= bool(conn.execute(HELD, (table.layer, table.name)).fetchall())
                conn.execute(f"drop table if exists {table}")
                continue
            session.prepare(table)
            for column in table.columns:
                if not column.is_published:
                    secret |= bool(conn.execute(f"select 1 from {table} limit 1").fetchall())
                    conn.execute(f'alter table {table} drop column "{column.name}"')
        conn.commit()
    if not secret:
        return
    # What is dropped stays in the file's free blocks until it is written anew.
    lean = copy.with_suffix(".lean")
    with duckdb.connect(config=CONNECTION) as conn:
        for name, path in (("whole", copy), ("lean", lean)):
            conn.execute("attach '{}' as {}".format(str(path).replace("'", "''"), name))
        conn.execute("copy from database whole to lean")
        conn.execute("detach whole")
        conn.execute("detach lean")
    lean.replace(copy)


def sql(name: str) -> str:
    """Return the text of a `.sql` file beside this module."""
    return files("city311_assets.warehouse").joinpath(f"{name}.sql").read_text("utf-8")


def views() -> Iterator[tuple[str, str]]:
    """Return each view's comment and statement."""
    return _blocks("views")


def macros() -> Iterator[tuple[str, str]]:
    """Return each macro's comment and statement."""
    return _blocks("macros")


def _blocks(name: str) -> Iterator[tuple[str, str]]:
    """Return comments and statements of a `.sql` file: blocks with an empty line between."""
    for block in sql(name).split("\n\n"):
        lines = block.strip().splitlines()
        comment = " ".join(line.removeprefix("-- ") for line in lines if line.startswith("--"))
        statement = "\n".join(line for line in lines if not line.startswith("--"))
        if statement:
            yield comment, statement


def _comment(conn: duckdb.DuckDBPyConnection, table: Table) -> None:
    conn.execute(f"comment on table {table} is {_literal(f'One row per {table.one_row_per}.')}")
    for column in table.columns:
        if not column.is_published:
            continue
        conn.execute(f'comment on column {table}."{column.name}" is {_literal(column.doc)}')


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _sync(folder: Path) -> None:
    """Make a rename outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
