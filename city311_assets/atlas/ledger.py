"""The ledger: what was asked of models, what it cost, and what was answered.

Both are appended in small transactions of their own, so that a run that dies has still told what
it spent, and nothing is asked twice.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType

import polars as pl

from city311_assets.clients.models import Budget, Call
from city311_assets.warehouse.errors import WarehouseBusyError
from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets.warehouse.tables.atlas import MODEL_ANSWERS, MODEL_CALLS

# A killed run loses the books of so many seconds at most.
SECONDS_BETWEEN_WRITES = 10.0

CALLS = {
    "feed": pl.String,
    "call_id": pl.String,
    "called_at": pl.Datetime("us"),
    "purpose": pl.String,
    "model": pl.String,
    "items": pl.Int32,
    "tokens_in": pl.Int64,
    "tokens_cached": pl.Int64,
    "tokens_out": pl.Int64,
    "tokens_reasoning": pl.Int64,
    "usd": pl.Float64,
    "priced_on": pl.Date,
    "seconds": pl.Float64,
    "attempt": pl.Int32,
    "error": pl.String,
    "run_id": pl.String,
}
ANSWERS = {
    "feed": pl.String,
    "answer_key": pl.String,
    "photo_id": pl.String,
    "model": pl.String,
    "prompt_version": pl.String,
    "answer": pl.String,
    "answered_at": pl.Datetime("us"),
}
KEEP_CALLS = f"insert into {MODEL_CALLS} by name from calls"
# Two runs may have asked for the same: the first answer stays.
KEEP_ANSWERS = f"""
    insert into {MODEL_ANSWERS} by name from answers anti join {MODEL_ANSWERS} as held
        on held.feed = answers.feed and held.answer_key = answers.answer_key
"""
KNOWN = f"""
    select answer_key, answer from {MODEL_ANSWERS}
    where feed = $feed and answer_key in (select answer_key from wanted)
"""
SPENT = f"select coalesce(sum(usd), 0.0) as usd from {MODEL_CALLS} where run_id = $run_id"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """One answer of a model, in the columns of `atlas.model_answers`."""

    answer_key: str
    photo_id: str | None
    model: str
    prompt_version: str
    answer: str
    answered_at: datetime

    @classmethod
    def now(
        cls, answer_key: str, photo_id: str | None, model: str, prompt_version: str, answer: str
    ) -> "KeptAnswer":
        """Return an answer that has just come."""
        at = datetime.now(UTC).replace(tzinfo=None)
        return cls(answer_key, photo_id, model, prompt_version, answer, at)


class Ledger:
    """The books of one feed in one run; a context manager, shared by threads.

    Inside the block what was noted is written every few seconds, and at its end, however it ends.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        feed: str,
        run_id: str,
        seconds_between_writes: float = SECONDS_BETWEEN_WRITES,
    ) -> None:
        self.warehouse, self.feed, self.run_id = warehouse, feed, run_id
        self.calls: list[Call] = []
        self._answers: list[KeptAnswer] = []
        self._written = [0, 0]
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._pause = seconds_between_writes
        self._is_over = threading.Event()
        self._writer = threading.Thread(target=self._write_along, name="ledger", daemon=True)

    def __enter__(self) -> "Ledger":
        self._writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._writer.join()
        self.write()

    def record(self, call: Call) -> None:
        """Note one attempt."""
        with self._lock:
            self.calls.append(call)

    def keep(self, answer: KeptAnswer) -> None:
        """Note one answer, so that it is not asked for again."""
        with self._lock:
            self._answers.append(answer)

    def write(self) -> None:
        """Write what is noted and not yet written."""
        with self._writing:
            with self._lock:
                calls, answers = len(self.calls), len(self._answers)
                new_calls = self.calls[self._written[0] : calls]
                new_answers = self._answers[self._written[1] : answers]
            if not new_calls and not new_answers:
                return

            def keep(session: Session) -> None:
                session.prepare(MODEL_CALLS, MODEL_ANSWERS)
                if new_calls:
                    own = {"feed": self.feed, "run_id": self.run_id}
                    rows = [own | asdict(call) for call in new_calls]
                    session.run(KEEP_CALLS, calls=pl.DataFrame(rows, schema=CALLS))
                if new_answers:
                    rows = [{"feed": self.feed} | asdict(answer) for answer in new_answers]
                    frame = pl.DataFrame(rows, schema=ANSWERS)
                    frame = frame.unique("answer_key", keep="first", maintain_order=True)
                    session.run(KEEP_ANSWERS, answers=frame)

            self.warehouse.write(keep)
            self._written = [calls, answers]

    def answers(self, keys: Collection[str]) -> dict[str, str]:
        """Return what is already known, by key."""
        wanted = pl.DataFrame({"answer_key": sorted(keys)}, schema={"answer_key": pl.String})
        with self.warehouse.connect() as conn:
            session = Session(conn)
            session.prepare(MODEL_ANSWERS)
            known = session.read(KNOWN, {"feed": self.feed}, wanted=wanted)
        return dict(known.iter_rows())

    def budget(self, usd: float) -> Budget:
        """Return what is left of a run's budget after all that the run has spent so far."""
        self.write()
        spent = self.warehouse.read(SPENT, {"run_id": self.run_id}, [MODEL_CALLS])["usd"].item()
        return Budget(max(usd - spent, 0.0))

    def _write_along(self) -> None:
        while not self._is_over.wait(self._pause):
            try:
                self.write()
            except WarehouseBusyError:
                # Tried again at the next turn; at the end of the block it is an error.
                continue


def figures(calls: Sequence[Call]) -> dict[str, int | float]:
    """Return what a run's log should say of its calls."""
    return {
        "calls": len(calls),
        "failed_calls": sum(call.error is not None for call in calls),
        "usd": sum(call.usd for call in calls),
        "tokens_in": sum(call.tokens_in for call in calls),
        "tokens_cached": sum(call.tokens_cached for call in calls),
        "tokens_out": sum(call.tokens_out for call in calls),
    }
