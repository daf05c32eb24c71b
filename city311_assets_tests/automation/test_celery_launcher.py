"""Whether a run's Celery task still has a worker, told from a real Redis."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import cast

import dagster as dg
import pytest
from celery import signals
from celery.contrib.testing.worker import start_worker
from dagster._core.launcher import WorkerStatus
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from city311_assets.automation import celery_launcher as module
from city311_assets.automation.celery_launcher import WatchedCeleryRunLauncher
from city311_assets_tests.services import redis

TASK = "4a3e2f00-0000-4000-8000-000000000311"
RUN = dg.DagsterRun(job_name="job", tags={DAGSTER_CELERY_TASK_ID_TAG: TASK})


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedCeleryRunLauncher]:
    """A launcher whose broker has no worker."""
    monkeypatch.setattr(module, "ANSWERED_WITHIN_SECONDS", 0.2)
    with redis() as server, dg.DagsterInstance.ephemeral() as instance:
        made = WatchedCeleryRunLauncher(
            default_queue="dagster", broker=f"{server.url}/0", backend=f"{server.url}/1"
        )
        made.register_instance(instance)
        yield made
        made.celery.close()


@pytest.fixture
def logging_as_it_is(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging that a worker within this process leaves alone: it would be so for every test."""

    def nothing(**_: object) -> None:
        """Stand for a set-up of logging, in place of Celery's."""

    for name in ("LEVEL", "FILE", "FORMAT"):
        monkeypatch.setenv(f"_MP_FORK_LOG{name}_", "")
    signals.setup_logging.connect(nothing)
    yield
    signals.setup_logging.disconnect(nothing)


def begun(launcher: WatchedCeleryRunLauncher, state: str = "STARTED") -> None:
    launcher.celery.backend.store_result(TASK, {"hostname": "worker@gone", "pid": 7}, state)


def test_a_task_whose_worker_is_gone_fails_its_run_after_a_while(launcher, monkeypatch):
    begun(launcher)
    assert launcher.check_run_worker_health(RUN).status == WorkerStatus.RUNNING
    monkeypatch.setattr(module, "GONE_AFTER_SECONDS", 0.0)
    found = launcher.check_run_worker_health(RUN)
    assert (found.status, "no Celery worker" in str(found.msg)) == (WorkerStatus.FAILED, True)


def test_a_task_that_is_over_while_its_run_is_not_fails_the_run_at_once(launcher):
    begun(launcher, "SUCCESS")
    found = launcher.check_run_worker_health(RUN)
    assert (found.status, "is over (SUCCESS)" in str(found.msg)) == (WorkerStatus.FAILED, True)


def test_a_task_that_a_worker_has_is_running_however_long_it_takes(
    launcher, monkeypatch, logging_as_it_is
):
    monkeypatch.setattr(module, "GONE_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(module, "ANSWERED_WITHIN_SECONDS", 5.0)
    seen: list[WorkerStatus] = []

    @launcher.celery.task(name="look", bind=True)
    def look(self) -> None:
        run = dg.DagsterRun(job_name="job", tags={DAGSTER_CELERY_TASK_ID_TAG: self.request.id})
        # At the first look nobody has been missed for any time yet.
        seen.extend(launcher.check_run_worker_health(run).status for _ in range(2))

    working = cast(
        "AbstractContextManager[object]",
        start_worker(launcher.celery, perform_ping_check=False, pool="threads", concurrency=1),
    )
    with working:
        sent = launcher.celery.send_task("look", queue="dagster", routing_key="dagster.look")
        sent.get(timeout=60)
    assert seen == [WorkerStatus.RUNNING] * 2


def test_a_run_without_a_task_is_unknown(launcher: WatchedCeleryRunLauncher):
    found = launcher.check_run_worker_health(dg.DagsterRun(job_name="job"))
    assert found.status == WorkerStatus.UNKNOWN
