"""`city311`: what Dagster's own command line lacks."""

import os
import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from city311_assets.settings import settings

if TYPE_CHECKING:
    import dagster as dg

    from city311_assets.cli.runs import Step
    from city311_assets.warehouse.snapshot import Checks

FAILED, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Bring a city's open 311 and crime feeds into DuckDB.\n\n"
    "Dagster's own commands (`dagster dev`, `dg launch`, `dg list defs`) work on the same graph; "
    "this one adds date ranges through the whole graph, imports of downloaded files, a check-up "
    "and publication. Settings are environment variables CITY311_*, or lines of a .env file: "
    "see .env.example.",
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

First = Annotated[
    datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First city-local day.")
]
Last = Annotated[
    datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last city-local day, included.")
]


def _fail(message: object, code: int = USAGE) -> typer.Exit:
    err.print(f"[red]error:[/red] {escape(str(message))}")
    return typer.Exit(code)


@app.command()
def materialize(
    first: First,
    last: Last,
    select: Annotated[
        str,
        typer.Option(
            help="Assets, in Dagster's selection syntax: 'group:silver', 'key:\"bronze/FEED\"+'."
        ),
    ] = "*",
    processes: Annotated[
        int, typer.Option(min=1, help="Cities made side by side, each in a process of its own.")
    ] = 1,
) -> None:
    """Materialize a range of days through the whole graph, or a part of it.

    Assets without slices come first, then the days in chunks of a month at most, each chunk from
    bronze on, then monthly slices. A failed chunk is reported and the rest goes on; run the same
    command again to mend it, every slice is replaced whole. Ends by publishing the snapshot.

    Exit code: 0 all is well; 1 a run or a check failed; 2 the command makes no sense.

    Example: city311 materialize --from 2026-09-01 --to 2026-09-30
    """
    from city311_assets.cli.runs import RangeRefusedError, plan, refuse_uncovered
    from city311_assets.definitions import defs
    from city311_assets.partitions import Slice

    begin, end = first.date(), last.date()
    try:
        refuse_uncovered(begin, end)
        part = Slice("all", begin, date.fromordinal(end.toordinal() + 1))
        steps = plan(select, defs, list(part.days))
    except RangeRefusedError as error:
        raise _fail(error) from error
    _run_and_report(steps, defs, list(part.days), processes)


@app.command(name="import")
def import_file(
    file: Annotated[
        Path, typer.Argument(help="CSV as downloaded from the portal, gzipped or not.")
    ],
    feed: Annotated[
        str, typer.Option(help="The feed it belongs to; an unknown one is told which there are.")
    ],
    observed_at: Annotated[
        datetime | None,
        typer.Option(help="When it was downloaded, UTC; default: the newest change it holds."),
    ] = None,
) -> None:
    """Import a file downloaded from a portal by hand, through bronze to silver.

    The file may be a selection: its records are added, newer versions replace older ones, and
    nothing else is touched. The whole file is checked first; if anything is wrong with it nothing
    is written. Headers may be the portal's (`CaseID`) or the API's (`service_request_id`).

    Exit code: 0 imported; 1 a run or a check failed; 2 the file or the feed is refused.

    Example: city311 import 311_Cases.csv.gz --feed NAME
    """
    from dagster import AssetSelection

    from city311_assets.bronze.sources import (
        SAMPLE,
        DownloadedFile,
        MixedOriginsError,
        origin_held,
    )
    from city311_assets.cli.runs import RangeRefusedError, plan, refuse_uncovered
    from city311_assets.clients.portal_export import ExportRefusedError, PortalExport
    from city311_assets.definitions import build, warehouse
    from city311_assets.feeds.registry import feed_named
    from city311_assets.warehouse.tables.bronze import RECORDS, WITHDRAWN_RECORDS
    from city311_assets.warehouse.tables.silver import RECORDS as SILVER_RECORDS
    from city311_assets.warehouse.tables.silver import REJECTED_RECORDS

    try:
        declared = feed_named(feed)
        export = PortalExport(file, declared, observed_at)
        days = list(export.days)
        refuse_uncovered(days[0], days[-1])
        if origin_held(warehouse()) == SAMPLE:
            raise MixedOriginsError(
                f"{settings().warehouse_path} holds sample records; import real ones into another "
                "folder: CITY311_SOURCE=live CITY311_DATA_DIR=… city311 import …"
            )
    except (ExportRefusedError, RangeRefusedError, ValueError) as error:
        raise _fail(error) from error
    source = DownloadedFile(
        origin=file.name,
        path=str(file.absolute()),
        feed=feed,
        observed_until=observed_at.isoformat() if observed_at else None,
    )
    out.print(
        f"{file.name}: {export.rows.height:,} records of {declared.title}, opened on "
        f"{len(days):,} days from {days[0]} to {days[-1]}, known up to {export.observed:%Y-%m-%d}"
    )
    if export.absent:
        out.print(f"  not in the file, left null: {', '.join(export.absent)}")
    if export.undeclared:
        out.print(f"  not declared, kept in `extra`: {', '.join(export.undeclared)}")
    defs = build(source, warehouse())
    tables = [RECORDS[feed], WITHDRAWN_RECORDS, SILVER_RECORDS[declared.table], REJECTED_RECORDS]
    selection = AssetSelection.assets(*(table.key(feed) for table in tables))
    _run_and_report(plan(selection, defs, days), defs, days)


@app.command()
def snapshot() -> None:
    """Publish the warehouse to the file that notebooks, the console and shells open.

    Does nothing where the published file already holds the newest write, and what the checks say.
    """
    from city311_assets.definitions import warehouse
    from city311_assets.serving.publication import publish_all

    done = publish_all(warehouse(), settings(), checks=_checks())
    state = "published" if done.is_new else "already published"
    out.print(f"{settings().snapshot_path}: version {done.data_version} {state}")


@app.command()
def move(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="`ducklake:sqlite:FILE`, `ducklake:postgres:CONNECTION`, or `native`: the file in "
            "the data folder.",
        ),
    ],
    begin_again: Annotated[
        bool, typer.Option("--begin-again", help="Empty what a move that was stopped left.")
    ] = False,
) -> None:
    """Copy the warehouse of the settings into an empty one, and prove each table row for row.

    To a lake or back; its data files go where CITY311_DATA_PATH says. The source is left as it is:
    set CITY311_WAREHOUSE afterwards, and remove it when you are content. Stop what writes it first.

    Exit code: 0 all rows are there; 1 what arrived is not what was sent; 2 the move is refused.

    Example: city311 move --to 'ducklake:postgres:host=db dbname=city311'
    """
    from city311_assets.cli.moving import move_and_tell
    from city311_assets.warehouse.errors import WarehouseBusyError
    from city311_assets.warehouse.extensions import ExtensionMissingError
    from city311_assets.warehouse.lake import CatalogueUnreachableError
    from city311_assets.warehouse.moving import MoveFailedError, MoveRefusedError

    try:
        move_and_tell(settings(), None if to == "native" else to, out, begin_again=begin_again)
    except (MoveRefusedError, ValueError, ExtensionMissingError) as error:
        raise _fail(error) from error
    except (MoveFailedError, WarehouseBusyError, CatalogueUnreachableError) as error:
        raise _fail(error, FAILED) from error


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on; default: the setting.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65_535, help="Port; 0: any; default: the setting."),
    ] = None,
) -> None:
    """Serve the console and the API over the published file, until it is stopped.

    A newer published file is shown as soon as it is there. Exit code: 2 the port is taken.
    """
    import socket

    import uvicorn

    from city311_assets.serving.app import application
    from city311_assets.serving.guard import is_loopback, own_names

    known = settings()
    where = (host or known.console_host, known.console_port if port is None else port)
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    try:
        listening = socket.create_server(where, family=family)
    except OSError as error:
        raise _fail(
            f"cannot listen on {where[0]}:{where[1]} ({error.strerror or error}); choose another "
            "with --port or CITY311_CONSOLE_PORT"
        ) from error
    if not known.snapshot_path.exists():
        err.print(f"nothing is published at {known.snapshot_path} yet; `make demo` does that")
    # Where it listens in truth: a name may stand for any address.
    known = known.model_copy(update={"console_host": listening.getsockname()[0]})
    if not is_loopback(known.console_host):
        any_name = ", under any name: CITY311_CONSOLE_NAMES lists those it has"
        err.print(
            f"{where[0]} is not this machine's own address: it knows no users, and answers "
            f"everybody who can reach it{'' if own_names(known) else any_name}"
        )
    shown_host = f"[{where[0]}]" if ":" in where[0] else where[0]
    out.print(f"console: http://{shown_host}:{listening.getsockname()[1]}  (API: /docs)")
    server = uvicorn.Server(
        uvicorn.Config(application(known), log_level="warning", access_log=False)
    )
    server.run(sockets=[listening])


@app.command()
def doctor(
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="Range to estimate.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Range to estimate.")
    ] = None,
) -> None:
    """Look at settings, versions, portals, disk, locks and the published file.

    Exit code: 0 all is well; 1 something needs attention.
    """
    from city311_assets.cli.doctor import examine

    is_good = True
    for finding in examine(
        settings(), first.date() if first else None, last.date() if last else None
    ):
        is_good &= finding.is_good
        mark = "[green]ok  [/green]" if finding.is_good else "[red]look[/red]"
        out.print(f"{mark} {escape(finding.subject)}: {escape(finding.seen)}")
    raise typer.Exit(0 if is_good else FAILED)


@app.command(name="discover-types")
def discover_types(
    feed: Annotated[str, typer.Option("--feed", help="Feed whose kinds are listed.")],
    days: Annotated[
        int, typer.Option("--days", min=1, help="Of requests opened in so many days.")
    ] = 365,
) -> None:
    """List a feed's kinds of request with counts, and mark those that belong to targets of risk.

    A kind is marked with the targets that name it, or with a question mark where its words say that
    it may belong to one; a kind that a target names and the portal has not comes last, with 0.
    Exit code: 0 all is well; 1 a target names a kind that has not appeared.
    """
    from rich.table import Table as Grid

    from city311_assets.bronze.sources import Sources
    from city311_assets.cli.discover_types import kinds_seen
    from city311_assets.clients.errors import SourceError
    from city311_assets.feeds.registry import feed_named

    try:
        declared = feed_named(feed)
    except ValueError as error:
        raise _fail(error) from error
    sources = Sources.of(settings())
    end = sources.now().date()
    try:
        found = kinds_seen(sources, declared, end - timedelta(days=days), end)
    except SourceError as error:
        raise _fail(error, FAILED) from error
    grid = Grid(box=None, pad_edge=False)
    for title in ("requests", "newest", "target", "kind"):
        grid.add_column(title, justify="right" if title == "requests" else "left")
    for one in found:
        marks = [*one.targets, *(f"{name}?" for name in one.likely_for)]
        newest = one.newest.isoformat() if one.newest else "never"
        grid.add_row(f"{one.rows:,}", newest, ", ".join(marks), escape(one.kind))
    out.print(grid)
    if gone := [one.kind for one in found if not one.rows]:
        err.print(
            f"not seen in {days} days: {escape(', '.join(gone))}; mend risk/targets if the portal "
            "spells them otherwise now"
        )
        raise typer.Exit(FAILED)


@app.command()
def demo() -> None:
    """Bring two months of the sample city through the whole graph, and say what there is.

    Needs no network and no keys. Exit code: 0 all is well; 1 a run failed; 2 the source is live.
    """
    from city311_assets.cli.demo import demo_range, tell
    from city311_assets.cli.runs import plan
    from city311_assets.definitions import defs
    from city311_assets.partitions import Slice

    if settings().source != "sample":
        raise _fail("the demo shows the sample city, and CITY311_SOURCE is not sample")
    first, last = demo_range()
    out.print(f"The sample city, {first} to {last}:")
    part = Slice("all", first, date.fromordinal(last.toordinal() + 1))
    days = list(part.days)
    _run_and_report(plan("*", defs, days), defs, days, os.cpu_count() or 1)
    tell(settings(), out)


def _run_and_report(
    steps: "Sequence[Step]", defs: "dg.Definitions", days: "Sequence[date]", processes: int = 1
) -> None:
    """Execute, publish, and say what was made."""
    import dagster as dg

    from city311_assets.cli.lanes import execute_side_by_side, lanes
    from city311_assets.cli.progress import Shown
    from city311_assets.cli.runs import CHANGES, end_abandoned_runs, execute
    from city311_assets.definitions import warehouse
    from city311_assets.serving.publication import publish_all

    home = settings().dagster_home_path
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text(
            files("city311_assets.cli").joinpath("dagster.yaml").read_text()
        )
    _tell_dagster_its_home(home)
    total = sum(step.days for step in steps)
    parts = lanes([*dict.fromkeys(key for step in steps for key in step.keys)])
    is_shared = min(processes, len(parts)) > 1
    names = [*parts] if is_shared else [""]
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        Shown(out, dict.fromkeys(names, total or len(steps)), is_of_days=total > 0) as shown,
    ):
        if ended := end_abandoned_runs(instance):
            out.print(f"{ended} run(s) of a process that is gone were marked as failed")
        try:
            if is_shared:
                outcome = execute_side_by_side(parts, days, processes, shown.tell)
            else:
                outcome = execute(steps, defs, instance, partial(shown.tell, ""))
        except KeyboardInterrupt as error:
            err.print("stopped; every slice is the old one or the new one; run the command again")
            raise typer.Exit(INTERRUPTED) from error
    done = publish_all(warehouse(), settings(), checks=_checks())
    out.print(
        f"{outcome.materializations:,} slices in {outcome.runs} runs, {outcome.seconds:.0f} s; "
        + ("published to " if done.is_new else "nothing new for ")
        + str(settings().snapshot_path)
    )
    for name, counted in outcome.changes.items():
        figures = ", ".join(f"{counted[change]:,} {change}" for change in CHANGES)
        out.print(f"  {name}: {figures}")
    for title, said in (
        ("checks that warn", outcome.warnings),
        ("checks that fail", outcome.failed_checks),
    ):
        if said:
            err.print(f"{title}:")
        for name, lines in said.items():
            more = f" (and in {len(lines) - 1} more runs)" if len(lines) > 1 else ""
            err.print(f"  {escape(name)}{more}\n    {escape(lines[0])}")
    if outcome.failures:
        err.print("runs that failed:")
    for line in outcome.failures:
        err.print(f"  {escape(line)}")
    if not outcome.is_good:
        raise typer.Exit(FAILED)


def _tell_dagster_its_home(home: Path) -> None:
    os.environ["DAGSTER_HOME"] = str(home)  # the settings in that folder refer to it


def _checks() -> "Checks":
    """Return what the graph's checks say, to be published; say why where that cannot be read."""
    from city311_assets.automation.check_results import described, results_of_instance
    from city311_assets.definitions import defs

    home = settings().dagster_home_path
    _tell_dagster_its_home(home)
    checks = results_of_instance(home, described(defs.resolve_asset_graph()))
    if checks.problem:
        err.print(escape(checks.problem))
    return checks


def main() -> None:
    """Run the command line; settings that make no sense are named before anything starts."""
    try:
        settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"])
            said = problem["msg"].removeprefix("Value error, ")
            err.print(f"[red]error:[/red] setting {escape(name)}: {escape(said)}")
        sys.exit(USAGE)
    try:
        app()
    except OSError as error:
        err.print(f"[red]error:[/red] {escape(str(error))}")
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
