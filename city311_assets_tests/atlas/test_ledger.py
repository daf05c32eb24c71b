"""The ledger: what was spent and answered is written down, whatever becomes of the run."""

import datetime as dt
import threading
import time
import uuid
from dataclasses import replace

import pytest

from city311_assets.atlas.ledger import KeptAnswer, Ledger, figures
from city311_assets.clients.models import Call
from city311_assets.clients.prices import PRICES_OF
from city311_assets.warehouse.errors import WarehouseBusyError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import MODEL_ANSWERS, MODEL_CALLS

FEED = "sf_311"
ROWS = f"select count(*) as n, coalesce(sum(usd), 0) as usd from {MODEL_CALLS}"


def call(usd: float = 0.25, error: str | None = None) -> Call:
    return Call(
        call_id=uuid.uuid4().hex,
        called_at=dt.datetime(2026, 1, 2, 3, 4),
        purpose="captions",
        model="gpt-6-luna",
        items=1,
        tokens_in=100,
        tokens_cached=40,
        tokens_out=20,
        tokens_reasoning=5,
        usd=usd,
        priced_on=PRICES_OF,
        seconds=0.5,
        attempt=1,
        error=error,
    )


def answer(key: str, said: str = "{}") -> KeptAnswer:
    return KeptAnswer.now(key, "photo", "gpt-6-luna", "captions-1", said)


def written(warehouse: Warehouse) -> tuple[int, float]:
    ((rows, usd),) = warehouse.read(ROWS, tables=[MODEL_CALLS]).rows()
    return rows, usd


def test_every_attempt_is_a_row_in_the_table_s_columns(warehouse: Warehouse):
    one = call(error="status 500")
    with Ledger(warehouse, FEED, "run-1") as ledger:
        ledger.record(one)
    (row,) = warehouse.read(f"from {MODEL_CALLS}").to_dicts()
    assert list(row) == MODEL_CALLS.names
    assert (row.pop("feed"), row.pop("run_id")) == (FEED, "run-1")
    assert Call(**row) == one


def test_what_was_spent_stands_before_the_run_is_over(warehouse: Warehouse):
    with Ledger(warehouse, FEED, "run-1", seconds_between_writes=0.02) as ledger:
        ledger.record(call())
        ledger.keep(answer("k"))
        deadline = time.monotonic() + 10
        while written(warehouse) != (1, 0.25) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert written(warehouse) == (1, 0.25)
        assert Ledger(warehouse, FEED, "run-2").answers(["k"]) == {"k": "{}"}


def test_what_was_spent_stands_when_the_run_dies(warehouse: Warehouse):
    def dies(ledger: Ledger) -> None:
        with ledger:
            ledger.record(call())
            ledger.keep(answer("k"))
            raise KeyboardInterrupt

    ledger = Ledger(warehouse, FEED, "run-1")
    with pytest.raises(KeyboardInterrupt):
        dies(ledger)
    assert written(warehouse) == (1, 0.25)
    assert ledger.answers(["k"]) == {"k": "{}"}


def test_nothing_is_written_twice(warehouse: Warehouse):
    with Ledger(warehouse, FEED, "run-1") as ledger:
        for _ in range(3):
            ledger.record(call())
            ledger.write()
            ledger.write()
    assert written(warehouse) == (3, 0.75)


def test_threads_lose_nothing(warehouse: Warehouse):
    with Ledger(warehouse, FEED, "run-1", seconds_between_writes=0.01) as ledger:
        threads = [
            threading.Thread(target=lambda: [ledger.record(call()) for _ in range(25)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert written(warehouse) == (200, 50.0)


def test_the_first_answer_to_a_question_stays(warehouse: Warehouse):
    with Ledger(warehouse, FEED, "run-1") as ledger:
        ledger.keep(answer("k", '{"a": 1}'))
        ledger.keep(answer("k", '{"a": 2}'))
    with Ledger(warehouse, FEED, "run-2") as ledger:
        ledger.keep(answer("k", '{"a": 3}'))
        ledger.keep(answer("l"))
    assert warehouse.read(f"from {MODEL_ANSWERS}").height == 2
    assert ledger.answers(["k", "l", "m"]) == {"k": '{"a": 1}', "l": "{}"}
    assert ledger.answers([]) == {}


def test_an_answer_is_its_feed_s_own(warehouse: Warehouse):
    with Ledger(warehouse, FEED, "run-1") as ledger:
        ledger.keep(answer("k"))
    assert Ledger(warehouse, "chicago_311", "run-1").answers(["k"]) == {}


def test_a_budget_is_the_run_s_not_the_step_s(warehouse: Warehouse):
    with Ledger(warehouse, FEED, "run-1") as ledger:
        ledger.record(call(0.3))
        assert ledger.budget(1.0).usd == pytest.approx(0.7)
        ledger.record(call(0.9))
    assert Ledger(warehouse, "chicago_311", "run-1").budget(1.0).usd == 0.0
    assert Ledger(warehouse, FEED, "run-2").budget(1.0).usd == 1.0


def test_a_warehouse_that_is_busy_for_a_while_delays_the_books_only(warehouse: Warehouse):
    impatient = Warehouse(database=warehouse.database, lock_timeout_seconds=0.01)
    with Ledger(impatient, FEED, "run-1", 0.01) as ledger, warehouse.connect():
        ledger.record(call())
        time.sleep(0.2)
    assert written(warehouse) == (1, 0.25)


def test_a_warehouse_that_stays_busy_is_an_error_not_a_loss_in_silence(warehouse: Warehouse):
    impatient = Warehouse(database=warehouse.database, lock_timeout_seconds=0.01)
    ledger = Ledger(impatient, FEED, "run-1")
    ledger.record(call())
    with warehouse.connect(), pytest.raises(WarehouseBusyError), ledger:
        pass


def test_figures_are_sums_of_what_the_service_said():
    calls = [call(0.1), call(0.2), replace(call(0.0), error="status 500", tokens_in=0)]
    assert figures(calls) == {
        "calls": 3,
        "failed_calls": 1,
        "usd": pytest.approx(0.3),
        "tokens_in": 200,
        "tokens_cached": 120,
        "tokens_out": 60,
    }
