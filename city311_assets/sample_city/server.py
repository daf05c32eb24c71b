"""The sample city on a loopback port: portals, weather, photos, models and the published truth.

Two addresses are for tests and trials only: `/faults`, the plan of what goes wrong, and `/clock`.
"""

import atexit
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING
from uuid import uuid4

from city311_assets.sample_city.faults import Asked, Plan, Revision
from city311_assets.settings import Settings

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from city311_assets.sample_city.datasets import Dataset
    from city311_assets.sample_city.models import ModelService
    from city311_assets.sample_city.photo_host import PhotoHost
    from city311_assets.sample_city.revisions import RevisedDataset
    from city311_assets.sample_city.soda import Soda

DEFAULT_START = Settings.model_fields["start_date"].default
DEFAULT_SEED = Settings.model_fields["sample_seed"].default
DEFAULT_RECORDS_PER_DAY = Settings.model_fields["sample_records_per_day"].default

Now = Callable[[], datetime] | datetime | None


@dataclass
class SampleCity:
    """What is served: which seed, how many records, at what time, since when.

    `now` is the city's clock: an instant, a function that tells it, or None for the real one.
    `datasets` are served instead of the generated ones, by portal and dataset id. `faults` is the
    plan of what goes wrong, as of `sample_city/faults.py`; nothing does if there are none.
    """

    seed: int = DEFAULT_SEED
    records_per_day: int = DEFAULT_RECORDS_PER_DAY
    now: Now = None
    start: date = DEFAULT_START
    datasets: "Mapping[tuple[str, str], Dataset]" = field(default_factory=dict)
    faults: Sequence[Mapping[str, object]] = ()

    def __post_init__(self) -> None:
        self.closing = Event()
        self._revising = Lock()
        self.plan_faults(self.faults)

    def plan_faults(self, faults: object) -> None:
        """Let this plan be in force from now on; rows that the one before changed are as they were.

        Raises
        ------
        PlanError
            It makes no sense; the one before stays in force.
        """
        plan = Plan(faults)
        with self._revising:
            self.plan = plan
            self._revised: dict[tuple[str, str], RevisedDataset] = {}

    def clock(self) -> datetime:
        """Return the city's instant, UTC."""
        now = self.now
        moment = now() if callable(now) else now
        moment = moment or datetime.now(UTC)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    @cached_property
    def app(self) -> "Starlette":
        """The ASGI application."""
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.routing import Route

        from city311_assets.sample_city.faulty_line import FaultyLine
        from city311_assets.sample_city.tables import NotSimulatedError

        line = Middleware(
            FaultyLine,
            plan=lambda: self.plan,
            revise=self._revise,
            is_closing=self.closing.is_set,
        )
        return Starlette(
            middleware=[line],
            routes=[
                Route("/health", self._health),
                Route("/faults", self._faults, methods=["GET", "PUT"]),
                Route("/clock", self._clock, methods=["GET", "PUT"]),
                Route("/truth.json", self._truth),
                Route("/weather/v1/{service}", self._weather),
                Route("/portals/{portal}/resource/{dataset}.json", self._resource),
                Route("/portals/{portal}/resource/{dataset}.geojson", self._boundaries),
                Route("/portals/{portal}/api/views/{dataset}.json", self._view),
                Route("/photos/{host}/{path:path}", self._photo),
                Route("/models/usage", self._usage, methods=["GET", "DELETE"]),
                Route("/models/v1/{question:path}", self._model, methods=["GET", "POST"]),
            ],
            exception_handlers={NotSimulatedError: _not_simulated},
        )

    @cached_property
    def _datasets(self) -> "dict[tuple[str, str], Dataset]":
        from city311_assets.feeds.registry import FEEDS
        from city311_assets.sample_city.datasets import GeneratedDataset

        generated: dict[tuple[str, str], Dataset] = {
            (feed.city.portal, feed.dataset): GeneratedDataset(
                feed, self.seed, self.records_per_day, self.start, self.clock
            )
            for feed in FEEDS.values()
        }
        return generated | dict(self.datasets)

    @cached_property
    def _soda(self) -> "Soda":
        from city311_assets.sample_city.soda import Soda

        return Soda()

    @cached_property
    def _photo_host(self) -> "PhotoHost":
        from city311_assets.sample_city.photo_host import PhotoHost

        return PhotoHost(self.seed, self.records_per_day, self.start, self.clock)

    @cached_property
    def _model_service(self) -> "ModelService":
        from city311_assets.sample_city.models import ModelService

        return ModelService(self.clock)

    def _dataset(self, request: "Request") -> "Dataset":
        from city311_assets.sample_city.soql_clauses import SodaError

        key = request.path_params["portal"], request.path_params["dataset"]
        if found := self._revised.get(key) or self._datasets.get(key):
            return found
        raise SodaError(404, "dataset.missing", "Not found", id=key[1])

    def _revise(self, revision: Revision, asked: Asked) -> None:
        """Change the dataset that a page was asked of, for all requests from now on."""
        from city311_assets.sample_city.revisions import RevisedDataset

        key = asked.portal or "", asked.dataset or ""
        with self._revising:
            dataset = self._revised.get(key) or self._datasets.get(key)
            if dataset is None:
                return
            if not isinstance(dataset, RevisedDataset):
                dataset = self._revised[key] = RevisedDataset(dataset)
            dataset.revise(revision, asked.params, self._soda, self.clock())

    async def _faults(self, request: "Request") -> "Response":
        """Tell what goes wrong and how often it has; take another plan."""
        if request.method == "PUT":
            try:
                self.plan_faults(json.loads(await request.body()))
            except ValueError as error:
                return _json({"error": True, "message": str(error)}, 400)
        return _json(self.plan.told())

    async def _clock(self, request: "Request") -> "Response":
        """Tell the time; take another, null for the real one."""
        if request.method == "PUT":
            try:
                self.now = _instant(json.loads(await request.body()))
            except ValueError as error:
                return _json({"error": True, "message": str(error)}, 400)
        return _json({"now": self.clock().isoformat()})

    def _health(self, _: "Request") -> "Response":
        return _json({"status": "ok", "now": self.clock().isoformat(), "seed": self.seed})

    def _truth(self, _: "Request") -> "Response":
        from city311_assets.sample_city.truth import truth

        return _json(truth(self.seed))

    def _resource(self, request: "Request") -> "Response":
        from city311_assets.sample_city.soql import query
        from city311_assets.sample_city.soql_clauses import SodaError

        try:
            dataset = self._dataset(request)
            asked = query(dict(request.query_params), dataset.types, dataset.opened)
            return _text(self._soda.answer(dataset, asked), 200)
        except SodaError as error:
            return _json(error.body, error.status)

    def _view(self, request: "Request") -> "Response":
        from city311_assets.sample_city.soda import boundary_view, view
        from city311_assets.sample_city.soql_clauses import SodaError

        portal, dataset_id = request.path_params["portal"], request.path_params["dataset"]
        if boundary := boundary_view(portal, dataset_id):
            return _json(boundary)
        try:
            return _json(view(dataset_id, self._dataset(request)))
        except SodaError:
            message = f"Cannot find view with id {dataset_id}"
            return _json({"code": "not_found", "error": True, "message": message}, 404)

    def _boundaries(self, request: "Request") -> "Response":
        from city311_assets.sample_city.geography import boundaries

        found = boundaries(request.path_params["portal"], request.path_params["dataset"])
        if found is None:
            missing = {"code": "dataset.missing", "error": True, "message": "Not found"}
            return _json(missing, 404)
        return _json(found, media_type="application/vnd.geo+json")

    def _weather(self, request: "Request") -> "Response":
        from city311_assets.sample_city.open_meteo import (
            WeatherError,
            archive,
            forecasts,
        )

        service = {"archive": archive, "forecast": forecasts}.get(request.path_params["service"])
        if service is None:
            return _json({"error": True, "reason": "Not Found"}, 404)
        try:
            return _json(service(request.query_params, self.seed, self.clock()))
        except WeatherError as error:
            return _json({"error": True, "reason": str(error)}, 400)

    def _photo(self, request: "Request") -> "Response":
        from starlette.responses import Response

        found = self._photo_host.at(request.path_params["host"], request.path_params["path"])
        return Response(found.body, found.status, media_type=found.media_type)

    async def _usage(self, request: "Request") -> "Response":
        """Tell what the models were asked; with DELETE count anew."""
        if request.method == "DELETE":
            self._model_service.reset()
        return _json(self._model_service.usage())

    async def _model(self, request: "Request") -> "Response":
        from starlette.concurrency import run_in_threadpool

        body = await request.body()
        question = request.path_params["question"]
        status, said = await run_in_threadpool(
            self._model_service.answer, request.method, question, body
        )
        return _text(said, status)


def _instant(told: object) -> datetime | None:
    """Return the instant of `{"now": "2026-06-15T12:00:00Z"}`; None for null."""
    match told:
        case {"now": None, **rest} if not rest:
            return None
        case {"now": str(text), **rest} if not rest:
            return datetime.fromisoformat(text)
    raise ValueError(f'{told!r} is no clock; say {{"now": "2026-06-15T12:00:00Z"}}, or null')


def _not_simulated(_: "Request", error: Exception) -> "Response":
    said = str(error)
    return _json({"code": "not_simulated", "error": True, "message": said, "reason": said}, 404)


def _text(body: str, status: int, media_type: str = "application/json") -> "Response":
    from starlette.responses import Response

    headers = {"X-Socrata-RequestId": uuid4().hex}
    return Response(body, status, headers, f"{media_type};charset=utf-8")


def _json(content: object, status: int = 200, media_type: str = "application/json") -> "Response":
    return _text(json.dumps(content, ensure_ascii=False), status, media_type)


@dataclass(frozen=True)
class Serving:
    """A sample city that answers on `url`."""

    city: SampleCity
    url: str
    _server: "uvicorn.Server"
    _thread: Thread

    @classmethod
    def started(cls, city: SampleCity, port: int = 0) -> "Serving":
        """Listen on a loopback port, a free one unless it is named, and serve in the background."""
        import uvicorn

        from city311_assets.sample_city.faulty_line import OpenConnection

        listening = socket.create_server(("127.0.0.1", port), backlog=128)
        city.closing.clear()
        config = uvicorn.Config(
            city.app,
            http=OpenConnection,
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
        )
        server = uvicorn.Server(config)
        thread = Thread(
            target=server.run, kwargs={"sockets": [listening]}, name="sample-city", daemon=True
        )
        thread.start()
        return cls(city, f"http://127.0.0.1:{listening.getsockname()[1]}", server, thread)

    def stop(self) -> None:
        """Stop answering and wait until the port is closed."""
        self.city.closing.set()
        self._server.should_exit = True
        self._thread.join(timeout=10)


@contextmanager
def serving(city: SampleCity) -> Iterator[Serving]:
    """Serve a sample city for as long as the block lasts."""
    served = Serving.started(city)
    try:
        yield served
    finally:
        served.stop()


_RUNNING: dict[tuple[object, ...], Serving] = {}
_STARTING = Lock()


def running(
    seed: int = DEFAULT_SEED,
    records_per_day: int = DEFAULT_RECORDS_PER_DAY,
    now: datetime | None = None,
    start: date = DEFAULT_START,
) -> Serving:
    """Return this process's sample city of these values, started when first asked for.

    It stops when the process ends.
    """
    key = (seed, records_per_day, now, start)
    with _STARTING:
        if key not in _RUNNING:
            served = Serving.started(SampleCity(seed, records_per_day, now, start))
            atexit.register(served.stop)
            _RUNNING[key] = served
        return _RUNNING[key]
