"""Runs as Celery tasks, of which somebody notices that their worker is gone.

What belongs here: whether the process of a run still works at it. What does not: how a run is
queued and executed; that is `dagster_celery`'s (extra `deploy`), which only `deploy/dagster.yaml`
asks for.
"""

import time

from dagster import DagsterInstance, DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from typing_extensions import override

ANSWERED_WITHIN_SECONDS = 5.0
# A worker on a busy machine, or behind a broker that restarts, may be silent for a while.
GONE_AFTER_SECONDS = 60.0


class WatchedCeleryRunLauncher(CeleryRunLauncher):
    """Starts runs as Celery tasks, and asks the workers whether they still have them.

    The stock launcher believes what the result backend holds: a task whose machine died stays
    `STARTED` there, and one that could not reach Dagster's storage counts as `SUCCESS` whatever
    became of the run. Either run would be waited for until the longest run time is over. Here it
    is failed within minutes, so that Dagster's retries begin it again.
    """

    _silent_since: dict[str, float]

    def register_instance(self, instance: DagsterInstance) -> None:
        """Begin with no worker missed."""
        super().register_instance(instance)
        self._silent_since = {}

    @override
    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Say of a run that has begun whether it is worked at; who asks looks at the run again."""
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task is None:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, "the run has no Celery task")
        if self._is_worked_at(task):
            self._silent_since.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        # Asked after the workers: a task that ended meanwhile says so here.
        state = self.celery.AsyncResult(task).state
        if state in {"SUCCESS", "FAILURE", "REVOKED"}:
            return self._failed(run, f"its Celery task is over ({state}), the run is not")
        silent = time.monotonic() - self._silent_since.setdefault(run.run_id, time.monotonic())
        if silent < GONE_AFTER_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return self._failed(run, f"no Celery worker has had its task for {silent:.0f} s")

    def _is_worked_at(self, task: str) -> bool:
        """Whether a worker that answers has the task."""
        told = self.celery.AsyncResult(task).info
        worker = told.get("hostname") if isinstance(told, dict) else None
        asked = self.celery.control.inspect(
            destination=[worker] if worker else None,
            timeout=ANSWERED_WITHIN_SECONDS,
            limit=1 if worker else None,
        )
        return any(task in found for found in (asked.query_task(task) or {}).values())

    def _failed(self, run: DagsterRun, reason: str) -> CheckRunHealthResult:
        self._silent_since.pop(run.run_id, None)
        return CheckRunHealthResult(WorkerStatus.FAILED, reason)

    @override
    def get_run_worker_debug_info(
        self, run: DagsterRun, include_container_logs: bool | None = True
    ) -> str | None:
        """Return nothing: the stock method asks for what a result does not have."""
        return None
