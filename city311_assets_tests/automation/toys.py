"""A small graph that fails where a test wants it to, on the keys of real feeds."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg

from city311_assets.automation.outcomes import finished_runs, read_outcome
from city311_assets.automation.problems import State
from city311_assets.partitions import Slice, range_tags
from city311_assets.warehouse.checks import note_verdicts

DAYS = dg.DailyPartitionsDefinition(start_date="2026-03-01")
DAY = dt.date(2026, 3, 1)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CHUNK = dg.BackfillPolicy.single_run()


def day(number: int) -> dt.date:
    return DAY.replace(day=number)


@dataclass
class Toys:
    """Bronze and silver of two feeds, a table without days, and a job without assets.

    `broken` names assets whose next runs raise, with what they say; `bad` the days on which the
    check of a feed's silver fails; `dead` checks that raise; `blocking` whether it holds back.
    """

    instance: dg.DagsterInstance
    broken: dict[str, str] = field(default_factory=dict)
    bad: dict[str, set[dt.date]] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    example: str = "example"

    def __post_init__(self) -> None:
        parts = [part for feed in ("sf_311", "chicago_311") for part in self._feed(feed)]
        areas = dg.asset(key=["bronze", "boundaries", "chicago"])(self._body)
        self.defs = dg.Definitions(
            assets=[*(p for p in parts if not isinstance(p, dg.AssetChecksDefinition)), areas],
            asset_checks=[p for p in parts if isinstance(p, dg.AssetChecksDefinition)],
            jobs=[self._job()],
            executor=dg.in_process_executor,
        )

    def _body(self, context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        if said := self.broken.get(context.asset_key.to_user_string()):
            raise ConnectionError(said)
        return dg.MaterializeResult()

    def _feed(self, feed: str) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
        silver = ["silver", "requests", feed]

        def table(key: list[str], *deps: list[str]) -> dg.AssetsDefinition:
            declare = dg.asset(key=key, deps=deps, partitions_def=DAYS, backfill_policy=CHUNK)
            return declare(self._body)

        @dg.asset_check(asset=silver, blocking=True, partitions_def=DAYS)
        def sound(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
            if feed in self.dead:
                raise ConnectionError("the check has no portal")
            window = context.partition_time_window
            first, end = window.start.date(), window.end.date()
            bad = {one for one in self.bad.get(feed, set()) if first <= one < end}
            (spec,) = context.check_specs
            note_verdicts(context, spec, bad, Slice(feed, first, end), severity=self.severity)
            return dg.AssetCheckResult(
                passed=not bad,
                severity=self.severity,
                metadata={"offenders": len(bad), "examples": [self.example]},
            )

        return [table(["bronze", feed]), table(silver, ["bronze", feed]), sound]

    def _job(self) -> dg.JobDefinition:
        @dg.op
        def publish() -> None:
            if said := self.broken.get("job"):
                raise OSError(said)

        @dg.job
        def publish_snapshot() -> None:
            publish()

        return publish_snapshot

    def run(
        self, *keys: str, first: int | None = None, last: int | None = None, **tags: str
    ) -> str:
        """Run assets over days of March, and return the run's number."""
        about = {}
        if first:
            about = range_tags(day(first), day(last or first))
            if last is None:
                about = {"dagster/partition": day(first).isoformat()}
        job = self.defs.resolve_implicit_global_asset_job_def()
        done = job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
            tags=about | tags,
            run_config=QUIET,
            raise_on_error=False,
        )
        return done.run_id

    def run_job(self) -> str:
        job = self.defs.resolve_job_def("publish_snapshot")
        return job.execute_in_process(
            instance=self.instance, run_config=QUIET, raise_on_error=False
        ).run_id


@contextmanager
def toys() -> Iterator[Toys]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Toys(instance)


def learned(some: Toys) -> State:
    """Return what all of the instance's runs teach."""
    state = State.anew(dt.datetime.now(dt.UTC))
    for record in finished_runs(some.instance, state.reads_after):
        state.learn(read_outcome(some.instance, record))
    return state
