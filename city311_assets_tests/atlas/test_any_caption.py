"""Whatever a model answers is a caption or the reason that there is none, and stands in a table."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from city311_assets.atlas.captions import (
    NO_CAPTION_NOR_REASON,
    PERSONAL,
    PERSONAL_IN_TEXT,
    Told,
    kept_told,
    photo_rows,
)
from city311_assets.atlas.ledger import Ledger
from city311_assets.atlas.prompts import Description
from city311_assets.clients.errors import SourceError
from city311_assets.clients.http import Patience
from city311_assets.clients.models import Answer, Budget, Call, Models
from city311_assets.partitions import Slice
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import CAPTIONS, MODEL_CALLS
from city311_assets_tests.anything import DEEP, TEXTS, json_bodies, json_values, some, spoilt
from city311_assets_tests.clients.answers import Reply, answering

MODEL, FEED = "gpt-6-luna", "sf_311"
DAY = date(2026, 1, 2)
PART = Slice(FEED, DAY, date(2026, 1, 3))
BUDGET_USD = 1_000.0
NAMES = tuple(Description.model_fields)
USAGE = ("prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens")
PERSONAL_TEXTS = ("call 415-555-0123", "a@b.org", "(415) 555 0123 a.b+c@d-e.co", "7ABC123")
WORDS = TEXTS | st.sampled_from(PERSONAL_TEXTS)
DESCRIPTIONS = st.fixed_dictionaries(
    {
        "scene": WORDS,
        "issues": st.lists(WORDS, max_size=3),
        "objects": st.lists(WORDS, max_size=3),
        "severity": st.integers(0, 6),
        "is_relevant": st.booleans(),
        "visible_text": st.none() | WORDS,
        "caption": WORDS,
        "confidence": st.sampled_from([0, 0.5, 1.0, 1.5, -0.0]),
    }
)


class Service:
    """A model service that says what it is told to, its client, and what was noted."""

    def __init__(self, url: str) -> None:
        self.reply = Reply()
        self.calls: list[Call] = []
        self.budget = Budget(BUDGET_USD)
        patience = Patience(attempts=1, timeout_seconds=20)
        self.models = Models(
            url, "key", patience=patience, budget=self.budget, record=self.calls.append
        )

    def asked(self, body: bytes) -> Answer | None:
        """Return what a body means; None where it is an error of the service."""
        self.reply = Reply(body)
        # A service that says nonsense again and again is given up, which is not what is tried.
        self.models._silent_calls = 0
        try:
            return self.models.structured("x", "y", Description, model=MODEL, purpose="captions")
        except SourceError:
            return None


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One service for all examples."""
    held: list[Service] = []
    with answering(lambda _: held[0].reply) as server:
        held.append(Service(server.url))
        with held[0].models:
            yield held[0]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """One warehouse for all examples."""
    return Warehouse(database=str(tmp_path_factory.mktemp("any") / "warehouse.duckdb"))


def completion(content: Any, usage: Any = None, finish: Any = "stop", refusal: Any = None) -> bytes:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choices = [{"index": 0, "finish_reason": finish, "message": message}]
    return json.dumps({"choices": choices, "usage": usage}).encode()


@st.composite
def said_by_models(draw: st.DrawFn) -> bytes:
    """Draw what a service says: an answer in the form asked for, nearly, or anything."""
    content = draw(spoilt(json_bodies(DESCRIPTIONS | json_values(*NAMES)))).decode(errors="replace")
    usage = draw(st.none() | json_values(*USAGE))
    finish = draw(st.sampled_from(["stop", "stop", "length", "content_filter", None, 7]))
    refusal = draw(st.sampled_from([None, None, None, "no", 3]))
    return draw(spoilt(st.just(completion(content, usage, finish, refusal))))


@some(40)
@given(said_by_models())
@example(completion("[" * DEEP))
@example(completion('{"caption": "\\ud800"}'))
@example(completion("{}", {"prompt_tokens": 10**30}))
@example(completion("{}", {"prompt_tokens": -(10**9)}))
@example(completion("{}", {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 10**9}}))
@example(b"[" * DEEP + b"]" * DEEP)
def test_whatever_a_service_says_is_an_answer_or_an_error_and_gives_no_money_back(
    service: Service, body: bytes
):
    before = service.budget.spent
    answer = service.asked(body)
    assert service.budget.spent >= before
    assert all(0 <= count < 2**63 for count in tokens(service.calls[-1]))
    if answer is not None:
        assert (answer.value is None) == (answer.error is not None)


def tokens(call: Call) -> list[int]:
    return [call.tokens_in, call.tokens_cached, call.tokens_out, call.tokens_reasoning]


def test_the_books_hold_whatever_was_counted(service: Service, warehouse: Warehouse):
    """The largest number of tokens that a service may say it counted."""
    service.asked(completion("{}", {"prompt_tokens": 10**12, "completion_tokens": 10**12}))
    with Ledger(warehouse, FEED, "run") as ledger:
        ledger.record(service.calls[-1])
    held = warehouse.read(f"select tokens_in, tokens_out from {MODEL_CALLS}")
    assert held.row(0) == (10**12, 10**12)


@some(8)
@given(st.lists(DESCRIPTIONS, min_size=1, max_size=4))
def test_whatever_is_described_stands_in_the_table_without_what_is_personal(
    service: Service, warehouse: Warehouse, described: list[dict[str, Any]]
):
    told: dict[str, Told] = {}
    for number, one in enumerate(described):
        answer = service.asked(completion(json.dumps(one)))
        if answer and isinstance(answer.value, Description) and answer.value.caption.strip():
            told[f"photo-{number}"] = kept_told(answer.value.model_dump_json())
        else:
            told[f"photo-{number}"] = Told(None, (answer and answer.error) or "empty")
    shown = pl.DataFrame(
        {"record_id": list(told), "photo_id": list(told)},
    ).with_columns(day=pl.lit(DAY))
    rows = photo_rows(shown, told, FEED, MODEL)
    warehouse.replace(CAPTIONS, rows, PART)
    held = warehouse.read(f"from {CAPTIONS} order by record_id", PART)
    assert (
        held.select("caption", "issues", "visible_text").rows()
        == rows.sort("record_id").select("caption", "issues", "visible_text").rows()
    )
    assert warehouse.read(NO_CAPTION_NOR_REASON, PART).is_empty()
    personal = PART.params | {"personal": PERSONAL}
    with warehouse.connect() as conn:
        assert conn.execute(PERSONAL_IN_TEXT, personal).fetchall() == []
