"""Serves the sample city as a process of its own: `python -m city311_assets.sample_city`."""

import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from city311_assets.sample_city.faults import PlanError
from city311_assets.sample_city.server import (
    DEFAULT_RECORDS_PER_DAY,
    DEFAULT_SEED,
    DEFAULT_START,
    SampleCity,
    Serving,
)

USAGE = 2

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


def _fail(message: object) -> typer.Exit:
    typer.secho(f"error: {message}", fg="red", err=True)
    return typer.Exit(USAGE)


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


@app.command()
def serve(
    *,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the records.")] = DEFAULT_SEED,
    records_per_day: Annotated[
        int, typer.Option(min=1, help="About how many records a day each feed has.")
    ] = DEFAULT_RECORDS_PER_DAY,
    start: Annotated[
        datetime,
        typer.Option(formats=["%Y-%m-%d"], help="The first day that has records."),
    ] = str(DEFAULT_START),  # pyright: ignore[reportArgumentType] - read as if it were typed
    now: Annotated[
        datetime | None,
        typer.Option(parser=_instant, help="Where the clock stands, UTC; default: the real one."),
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A plan of faults: JSON, a list."),
    ] = None,
) -> None:
    """Serve the sample city on 127.0.0.1 until interrupted; prints its address when it is ready.

    Its portals are under /portals/, its weather under /weather, its photos under /photos/, its
    models under /models/v1. What goes wrong is told and changed at /faults, the clock at /clock.

    Exit code: 0 stopped; 2 the port is taken or the plan makes no sense.

    Example: python -m city311_assets.sample_city --port 8311 --faults plan.json
    """
    stopped = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        plan = json.loads(faults.read_text("utf-8")) if faults else []
        city = SampleCity(seed, records_per_day, now, start.date(), faults=plan)
    except (PlanError, json.JSONDecodeError) as error:
        raise _fail(f"{faults}: {error}") from error
    try:
        served = Serving.started(city, port)
    except OSError as error:
        raise _fail(f"port {port}: {error}") from error
    typer.echo(served.url)
    stopped.wait()
    served.stop()


if __name__ == "__main__":
    app()
