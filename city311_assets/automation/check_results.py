"""Check results: the newest verdicts of the graph's checks, for the published file.

What belongs here: reading them from Dagster's event log, and what they come to. What does not: what
one failed run found (`outcomes`), and whether somebody is told (`problems`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import sqlalchemy
import sqlalchemy.exc
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Executions
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._serdes import deserialize_value
from dagster_shared.check import CheckError
from dagster_shared.serdes.errors import DeserializationError

from city311_assets.automation.day_ranges import coalesced
from city311_assets.automation.outcomes import said_by, words
from city311_assets.warehouse.snapshot import Checks
from city311_assets.warehouse.tables.meta import CHECK_RESULTS

# Reading these takes half a second. What was last checked before them is asked too seldom to be
# known.
NEWEST = 50_000
PASSED, FAILED = "SUCCEEDED", "FAILED"
# Most values that one statement may name.
NAMED_AT_ONCE = 500
READING_FAILS = (
    sqlalchemy.exc.SQLAlchemyError,
    DeserializationError,
    dg.DagsterError,
    CheckError,
    OSError,
)
SCHEMA = {
    "asset": pl.String,
    "check_name": pl.String,
    "range_number": pl.Int32,
    "is_passed": pl.Boolean,
    "failure_severity": pl.String,
    "first_failing_day": pl.Date,
    "last_failing_day": pl.Date,
    "slices": pl.Int64,
    "checked_at": pl.Datetime("us"),
    "description": pl.String,
    "found": pl.String,
}

# An asset's key as Dagster stores it, and the check's name.
Name = tuple[str, str]
Described = Mapping[dg.AssetCheckKey, str | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check said last of a partition; `partition` is None of a whole table or a range."""

    id: int
    partition: str | None
    is_passed: bool
    run_id: str


@dataclass(slots=True)
class OneCheck:
    """The newest verdicts of one check; those on single partitions outdo those on whole ranges."""

    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def counted(self) -> list[Verdict]:
        """The verdicts that count."""
        return [one for one in self.verdicts if one.partition is not None] or self.verdicts

    @property
    def failed(self) -> list[Verdict]:
        """Those that count and do not pass."""
        return [one for one in self.counted if not one.is_passed]

    @property
    def passed(self) -> list[Verdict]:
        """Those that count and pass."""
        return [one for one in self.counted if one.is_passed]


def described(graph: BaseAssetGraph) -> dict[dg.AssetCheckKey, str | None]:
    """Return the checks that a graph declares, and what each says must hold."""
    return {key: graph.get(key).description for key in graph.asset_check_keys}


def results_of_instance(home: Path, declared: Described) -> Checks:
    """Return what `check_results` finds in the instance of a DAGSTER_HOME."""
    if not (home / "dagster.yaml").exists():
        return Checks(None, f"no run has been made in {home}, so no check has given a verdict")
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            return check_results(instance, declared)
    except READING_FAILS as error:
        return _unread(error)


def check_results(instance: dg.DagsterInstance, declared: Described | None = None) -> Checks:
    """Return what the checks say by the newest `NEWEST` verdicts, or why that cannot be read.

    Parameters
    ----------
    declared
        The checks that there are, with descriptions; others in the log are of the past. None takes
        all.
    """
    try:
        return Checks(_rows(instance, declared), problem=None)
    except READING_FAILS as error:
        return _unread(error)


def _unread(error: Exception) -> Checks:
    said = words(f"{type(error).__name__}: {error}")
    return Checks(None, f"check results could not be read from Dagster's event log: {said}")


def _rows(instance: dg.DagsterInstance, declared: Described | None) -> pl.DataFrame:
    """Return the rows of `meta.check_results`."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise OSError(f"{type(storage).__name__} is no SQL storage; use one of Dagster's own")
    keys = None if declared is None else {(key.asset_key.to_string(), key.name) for key in declared}
    with storage.index_connection() as conn:
        checks = _newest(conn)
        if keys is not None:
            checks = {name: one for name, one in checks.items() if name in keys}
        wanted = [max(one.counted, key=lambda v: v.id).id for one in checks.values()]
        wanted += [verdict.id for one in checks.values() for verdict in one.failed]
        told = _evaluations(conn, wanted)
        ranges = _of_ranges(conn, {v.run_id for one in checks.values() for v in one.failed})
    rows = [
        row
        for name, one in sorted(checks.items())
        for row in _of_check(name, one, told, ranges, declared or {})
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").select(CHECK_RESULTS.names)


def _newest(conn: sqlalchemy.Connection) -> dict[Name, OneCheck]:
    """Return the newest verdict of each check and partition."""
    table = Executions.c
    last = conn.execute(sqlalchemy.select(sqlalchemy.func.max(table.id))).scalar() or 0
    newest = (
        sqlalchemy.select(sqlalchemy.func.max(table.id).label("id"))
        .where(table.id > last - NEWEST, table.execution_status.in_([PASSED, FAILED]))
        .group_by(table.asset_key, table.check_name, table.partition)
        .subquery()
    )
    found = conn.execute(
        sqlalchemy.select(
            table.id,
            table.asset_key,
            table.check_name,
            table.partition,
            table.execution_status,
            table.run_id,
        ).join(newest, table.id == newest.c.id)
    )
    checks: dict[Name, OneCheck] = {}
    for number, asset, name, partition, status, run_id in found:
        verdict = Verdict(number, partition, status == PASSED, run_id)
        checks.setdefault((asset, name), OneCheck()).verdicts.append(verdict)
    return checks


def _evaluations(
    conn: sqlalchemy.Connection, numbers: Sequence[int]
) -> dict[int, tuple[AssetCheckEvaluation, datetime]]:
    """Return the verdicts of some numbers as they were given, and when, UTC."""
    table = Executions.c
    found: dict[int, tuple[AssetCheckEvaluation, datetime]] = {}
    every = sorted(set(numbers))
    for at in range(0, len(every), NAMED_AT_ONCE):
        some = every[at : at + NAMED_AT_ONCE]
        rows = conn.execute(
            sqlalchemy.select(table.id, table.evaluation_event).where(table.id.in_(some))
        )
        for number, text in rows:
            if given := _evaluation(text):
                found[number] = given
    return found


def _of_ranges(
    conn: sqlalchemy.Connection, runs: Iterable[str]
) -> dict[tuple[str, str, str], AssetCheckEvaluation]:
    """Return what runs said of whole ranges that did not pass: only that has the words.

    By the asset's key, the check's name and the run.
    """
    table = Executions.c
    found: dict[tuple[str, str, str], AssetCheckEvaluation] = {}
    every = sorted(runs)
    for at in range(0, len(every), NAMED_AT_ONCE):
        some = every[at : at + NAMED_AT_ONCE]
        rows = conn.execute(
            sqlalchemy.select(
                table.asset_key, table.check_name, table.run_id, table.evaluation_event
            ).where(
                table.run_id.in_(some),
                table.partition.is_(None),
                table.execution_status == FAILED,
            )
        )
        for asset, name, run_id, text in rows:
            if given := _evaluation(text):
                found[asset, name, run_id] = given[0]
    return found


def _evaluation(text: str | None) -> tuple[AssetCheckEvaluation, datetime] | None:
    """Return a stored verdict, and when it was given; None if it is no verdict."""
    entry = deserialize_value(text, EventLogEntry) if text else None
    event = entry.dagster_event if entry else None
    if entry is None or event is None or not event.event_type_value.endswith("_EVALUATION"):
        return None
    at = datetime.fromtimestamp(entry.timestamp, UTC).replace(tzinfo=None)
    return event.asset_check_evaluation_data, at


def _of_check(
    name: Name,
    one: OneCheck,
    told: Mapping[int, tuple[AssetCheckEvaluation, datetime]],
    ranges: Mapping[tuple[str, str, str], AssetCheckEvaluation],
    declared: Described,
) -> Iterable[dict[str, object]]:
    """Return the rows of one check: its failing ranges by days, then what passes."""
    asset = dg.AssetKey.from_db_string(name[0])
    if asset is None:
        return
    newest = max((told[v.id][1] for v in one.counted if v.id in told), default=None)
    said = declared.get(dg.AssetCheckKey(asset, name[1]))
    row: dict[str, object] = {
        "asset": asset.to_user_string(),
        "check_name": name[1],
        "checked_at": newest,
        "description": words(said) if said else None,
    }
    number = 0
    for verdicts, first, last in _ranges(one.failed):
        latest = max(verdicts, key=lambda verdict: verdict.id)
        given = told[latest.id][0] if latest.id in told else None
        whole = ranges.get((*name, latest.run_id))
        found = (given and said_by(given)) or (whole and said_by(whole)) or None
        yield row | {
            "range_number": number,
            "is_passed": False,
            "failure_severity": given.severity.value
            if given
            else dg.AssetCheckSeverity.ERROR.value,
            "first_failing_day": first,
            "last_failing_day": last,
            "slices": sum(verdict.partition is not None for verdict in verdicts),
            "found": found,
        }
        number += 1
    if one.passed:
        yield row | {
            "range_number": number,
            "is_passed": True,
            "slices": sum(verdict.partition is not None for verdict in one.passed),
        }


def _ranges(failed: Sequence[Verdict]) -> Iterable[tuple[list[Verdict], date | None, date | None]]:
    """Return failing verdicts by unbroken ranges of days; what has no day is a range of its own."""
    by_day: dict[date, Verdict] = {}
    for verdict in failed:
        try:
            by_day[date.fromisoformat(verdict.partition or "")] = verdict
        except ValueError:
            yield [verdict], None, None
    for first, last in coalesced(by_day, longest_gap=0, longest=len(by_day) + 31):
        yield [one for day, one in by_day.items() if first <= day <= last], first, last
