"""A model service: what every kind of answer leads to, what it costs, and what is never told."""

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, SecretStr

from city311_assets.bronze.sources import Sources
from city311_assets.clients.errors import (
    MalformedAnswerError,
    RequestRefusedError,
    SourceUnavailableError,
)
from city311_assets.clients.http import Patience
from city311_assets.clients.models import (
    GIVEN_UP_AFTER,
    Answer,
    Budget,
    BudgetExceededError,
    Call,
    Models,
    asked_wait,
    span_seconds,
)
from city311_assets.clients.prices import PRICES, PRICES_OF, UnpricedModelError, price_of
from city311_assets_tests.clients.answers import (
    Asked,
    Reply,
    Script,
    Server,
    answering,
    in_turn,
    saying,
)

KEY = "sk-test-5b1f"
MODEL = "gpt-6-luna"
EMBEDS = "text-embedding-3-small"
ATTEMPTS = 3
JITTER = 1.5


class Colour(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    depth: int


BLUE = '{"name": "blue", "depth": 3}'
USAGE = {
    "prompt_tokens": 1_000,
    "completion_tokens": 200,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 50},
}
# 600 fresh, 400 cached, 200 answered.
USD = (600 * 0.10 + 400 * 0.025 + 200 * 0.50) / 1e6


def completion(
    content: str | None = BLUE,
    finish: str = "stop",
    refusal: str | None = None,
    usage: dict[str, Any] | None = USAGE,
) -> Reply:
    """An answer of chat completions."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choices = [{"index": 0, "finish_reason": finish, "message": message}]
    return saying({"id": "c", "object": "chat.completion", "choices": choices, "usage": usage})


def refused(status: int, message: str = "no", code: str | None = None, **headers: str) -> Reply:
    """An error body as OpenAI writes it."""
    return saying({"error": {"message": message, "code": code}}, status, **headers)


class Asking:
    """One service with a script, a client of it, and what was noted."""

    def __init__(
        self,
        server: Server,
        budget: float = 1.0,
        attempts: int = ATTEMPTS,
        at_once: int = 1,
        timeout_seconds: float = 30.0,
        longest_answer_seconds: float = 30.0,
    ) -> None:
        self.server = server
        self.calls: list[Call] = []
        self.waits: list[float] = []
        self.budget = Budget(budget)
        patience = Patience(
            attempts, timeout_seconds, 120.0, self.waits.append, longest_answer_seconds
        )
        self.models = Models(
            f"{server.url}/v1/",
            SecretStr(KEY),
            patience=patience,
            at_once=at_once,
            budget=self.budget,
            record=self.calls.append,
        )

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_: object) -> None:
        self.models.close()

    def colour(self, text: str = "sky", **options: Any) -> Answer:
        model = options.pop("model", MODEL)
        asked = {"purpose": "captions", **options}
        return self.models.structured(text, "Name it.", Colour, model=model, **asked)

    @property
    def errors(self) -> list[str | None]:
        return [call.error for call in self.calls]


def once(script: Script | Reply, **options: Any) -> tuple[Answer, Asking]:
    """Ask one question."""
    with (
        answering((lambda _: script) if isinstance(script, Reply) else script) as server,
        Asking(server, **options) as asking,
    ):
        return asking.colour(), asking


class TestAnAnswer:
    def test_is_a_value_of_the_schema_and_one_row_of_real_usage(self):
        answer, asking = once(completion())
        assert answer == Answer(Colour(name="blue", depth=3), BLUE, None)
        (call,) = asking.calls
        assert (call.tokens_in, call.tokens_cached) == (1_000, 400)
        assert (call.tokens_out, call.tokens_reasoning) == (200, 50)
        assert call.usd == pytest.approx(USD)
        assert asking.budget.spent == pytest.approx(USD)
        assert (call.purpose, call.model, call.items) == ("captions", MODEL, 1)
        assert (call.priced_on, call.attempt, call.error) == (PRICES_OF, 1, None)
        assert datetime.now(UTC).replace(tzinfo=None) - call.called_at < timedelta(minutes=1)

    def test_is_asked_for_as_any_compatible_service_understands(self):
        with answering(lambda _: completion()) as server, Asking(server) as asking:
            asking.colour(images=[b"\xff\xd8one", b"\xff\xd8two"])
            asking.colour(model="llava:7b")
        with_photos, plain = (asked.json for asked in server.asked)
        assert {asked.path for asked in server.asked} == {"/v1/chat/completions"}
        assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
        system, user = with_photos["messages"]
        assert system == {"role": "system", "content": "Name it."}
        text, *images = user["content"]
        assert text == {"type": "text", "text": "sky"}
        for part, body in zip(images, (b"\xff\xd8one", b"\xff\xd8two"), strict=True):
            head, data = part["image_url"]["url"].split(",")
            assert (head, base64.b64decode(data)) == ("data:image/jpeg;base64", body)
            assert part["image_url"]["detail"] == "low"
        schema = with_photos["response_format"]["json_schema"]
        assert (schema["name"], schema["strict"]) == ("Colour", True)
        assert schema["schema"]["additionalProperties"] is False
        assert schema["schema"]["required"] == ["name", "depth"]
        # A model that would reason is told not to: it is paid for.
        assert with_photos["reasoning_effort"] == "none"
        assert with_photos["max_completion_tokens"] == 600
        assert "reasoning_effort" not in plain
        assert plain["max_tokens"] == 600
        assert plain["messages"][1]["content"] == "sky"

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            (completion(None, refusal="I cannot help"), "refused"),
            (completion(BLUE, finish="content_filter"), "refused"),
            (completion('{"name": "bl', finish="length"), "truncated"),
            (completion(BLUE, finish="length"), "truncated"),
            (completion('{"name": "bl'), "invalid_json"),
            (completion("blue, I think"), "invalid_json"),
            (completion('{"name": "blue"}'), "wrong_schema"),
            (completion('{"name": "blue", "depth": "3"}'), "wrong_schema"),
            (completion('{"name": "blue", "depth": 3, "why": ""}'), "wrong_schema"),
            (completion("[]"), "wrong_schema"),
            (completion(""), "empty"),
            (completion(" \n"), "empty"),
            (completion(None), "empty"),
            (saying({"choices": [], "usage": USAGE}), "empty"),
        ],
    )
    def test_that_is_of_no_use_is_an_error_that_was_paid_for(self, reply: Reply, error: str):
        answer, asking = once(reply)
        assert (answer.value, answer.error) == (None, error)
        assert asking.errors == [error]
        assert asking.budget.spent == pytest.approx(USD)

    def test_without_usage_costs_what_the_service_says_nothing(self):
        answer, asking = once(completion(usage=None))
        assert answer.error is None
        assert (asking.calls[0].tokens_in, asking.calls[0].usd) == (0, 0.0)


class TestAFault:
    @pytest.mark.parametrize(
        "fault",
        [
            refused(429),
            refused(500),
            refused(503),
            refused(408),
            Reply(hangs_up=True),
            Reply(b"<html>We will be back</html>", headers={"Content-Type": "text/html"}),
            Reply(b'{"choices": [', headers={"Content-Type": "application/json"}),
            saying({"object": "something else"}),
        ],
    )
    def test_that_passes_is_waited_out_and_each_attempt_is_a_row(self, fault: Reply):
        answer, asking = once(in_turn(fault, fault, completion()))
        assert answer.error is None
        assert [call.attempt for call in asking.calls] == [1, 2, 3]
        assert asking.errors[2] is None
        assert all(asking.errors[:2])
        assert len({call.call_id for call in asking.calls}) == 3
        first, second = asking.waits
        assert 1.0 <= first <= JITTER
        assert 2.0 <= second <= 2 * JITTER

    @pytest.mark.parametrize("fault", [refused(429), refused(500), Reply(hangs_up=True)])
    def test_that_stays_is_unavailable_once_patience_is_at_its_end(self, fault: Reply):
        answer, asking = once(fault)
        assert answer == Answer(None, "", "unavailable")
        assert len(asking.server.asked) == len(asking.calls) == ATTEMPTS
        assert len(asking.waits) == ATTEMPTS - 1

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
    def test_of_ours_is_rejected_and_not_repeated(self, status: int):
        answer, asking = once(refused(status))
        assert answer.error == "rejected"
        assert asking.errors == [f"status {status}"]
        assert asking.budget.spent == 0.0

    def test_of_an_empty_account_is_not_waited_out(self):
        with (
            answering(lambda _: refused(429, code="insufficient_quota")) as server,
            Asking(server) as asking,
        ):
            assert [asking.colour().error for _ in range(3)] == ["rejected"] * 3
        assert len(server.asked) == 1

    def test_of_the_key_is_met_once_not_once_a_photo(self):
        with answering(lambda _: refused(401)) as server, Asking(server) as asking:
            assert [asking.colour().error for _ in range(3)] == ["rejected"] * 3
        assert len(server.asked) == 1

    def test_that_never_ends_is_given_up(self):
        with answering(lambda _: refused(500)) as server, Asking(server) as asking:
            errors = {asking.colour().error for _ in range(GIVEN_UP_AFTER + 4)}
        assert errors == {"unavailable"}
        assert len(server.asked) == GIVEN_UP_AFTER * ATTEMPTS

    def test_now_and_then_is_not_given_up(self):
        bad, good = [refused(500)] * ATTEMPTS, [completion()]
        with (
            answering(in_turn(*(bad + good) * (GIVEN_UP_AFTER + 1))) as server,
            Asking(server) as asking,
        ):
            errors = [asking.colour().error for _ in range(2 * GIVEN_UP_AFTER)]
        assert errors == ["unavailable", None] * GIVEN_UP_AFTER

    def test_of_silence_counts_against_the_budget_as_if_it_had_been_charged(self):
        answer, asking = once(Reply(delay_seconds=5), attempts=1, timeout_seconds=0.1)
        assert (answer.error, asking.calls[0].usd) == ("unavailable", 0.0)
        assert 0.0 < asking.budget.spent < 0.001

    def test_of_an_answer_that_drips_ends(self):
        slow = completion()
        slow = Reply(slow.body, headers=slow.headers, drip_seconds=0.02)
        started = time.monotonic()
        answer, _ = once(slow, attempts=1, longest_answer_seconds=0.2)
        assert answer.error == "unavailable"
        assert time.monotonic() - started < 3

    def test_of_a_redirection_is_not_followed_with_what_was_to_be_shown(self):
        with answering(lambda _: completion()) as elsewhere:
            to = {"Location": f"{elsewhere.url}/v1/chat/completions"}
            answer, _ = once(Reply(status=307, headers=to))
        assert answer.error == "rejected"
        assert elsewhere.asked == []


class TestAWait:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"Retry-After": "7"}, 7.0),
            ({"Retry-After-Ms": "7500"}, 7.5),
            ({"x-ratelimit-reset-requests": "8s"}, 8.0),
            ({"x-ratelimit-reset-requests": "1m30s", "x-ratelimit-reset-tokens": "9s"}, 90.0),
            (
                {
                    "x-ratelimit-reset-requests": "1m30s",
                    "x-ratelimit-remaining-requests": "12",
                    "x-ratelimit-reset-tokens": "9s",
                    "x-ratelimit-remaining-tokens": "0",
                },
                9.0,
            ),
            ({"Retry-After": "11", "x-ratelimit-reset-requests": "1h"}, 11.0),
            ({"x-ratelimit-reset-requests": "2h"}, 120.0),
        ],
    )
    def test_is_as_long_as_the_service_asks_up_to_the_longest(
        self, headers: dict[str, str], seconds: float
    ):
        _, asking = once(in_turn(refused(429, **headers), completion()))
        assert asking.waits == [seconds]

    def test_may_be_asked_for_as_a_date(self):
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
        assert 55 < (asked_wait({"retry-after": at}) or 0) <= 60

    @pytest.mark.parametrize("text", ["", "soon", "1x", "s", "-5", "nan", "inf", "1m x"])
    def test_that_cannot_be_read_is_none(self, text: str):
        assert span_seconds(text) is None
        assert asked_wait({"retry-after": text, "x-ratelimit-reset-tokens": text}) is None

    @given(st.integers(0, 48), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
    @hypothesis_settings(max_examples=50, deadline=None)
    def test_is_the_sum_of_its_parts(self, hours: int, minutes: int, seconds: int, ms: int):
        text = f"{hours}h{minutes}m{seconds}s{ms}ms"
        expected = hours * 3_600 + minutes * 60 + seconds + ms / 1_000
        assert span_seconds(text) == pytest.approx(expected)


class TestABudget:
    def test_ends_before_the_call_that_would_pass_it(self):
        with answering(lambda _: completion()) as server, Asking(server, budget=10 * USD) as asking:
            errors = [asking.colour().error for _ in range(30)]
        done = errors.index("budget")
        assert len(server.asked) == len(asking.calls) == done
        assert set(errors[done:]) == {"budget"}
        assert asking.budget.spent == pytest.approx(done * USD)
        assert asking.budget.spent <= 10 * USD
        # It is not given up early: the longest answer to one more call would not have fitted.
        assert asking.budget.left < 1_000 * 0.10e-6 + 600 * 0.50e-6

    def test_of_nothing_asks_nothing(self):
        answer, asking = once(completion(), budget=0.0)
        assert answer.error == "budget"
        assert asking.server.asked == []

    def test_holds_for_each_attempt(self):
        answer, asking = once(Reply(hangs_up=True), budget=0.0004, attempts=6)
        assert answer.error == "budget"
        assert len(asking.server.asked) == 1

    def test_holds_for_threads_together(self):
        with (
            answering(lambda _: completion()) as server,
            Asking(server, budget=12 * USD, at_once=8) as asking,
        ):
            threads = [threading.Thread(target=asking.colour) for _ in range(40)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert asking.budget.spent == pytest.approx(len(server.asked) * USD)
        # As many as one thread would have made: who is under way is waited for.
        assert len(server.asked) in {9, 10}

    def test_learns_from_what_the_service_counts(self):
        usage = USAGE | {"prompt_tokens": 100_000, "prompt_tokens_details": None}
        with (
            answering(lambda _: completion(usage=usage)) as server,
            Asking(server, budget=0.025) as asking,
        ):
            errors = [asking.colour().error for _ in range(5)]
        # A cent each, which no estimate from ten words could know.
        assert errors == [None, None, "budget", "budget", "budget"]
        assert asking.budget.spent <= 0.025

    def test_is_not_asked_by_a_service_of_ones_own(self):
        with answering(lambda _: completion()) as server, Asking(server, budget=0.0) as asking:
            assert asking.colour(model="llava:7b").error is None
        assert asking.calls[0].usd == 0.0

    def test_says_how_to_go_on(self):
        budget = Budget(0.5)
        budget.reserve(0.4)
        budget.settle(0.4, 0.3)
        with pytest.raises(BudgetExceededError, match="CITY311_MODEL_BUDGET_USD"):
            budget.reserve(0.21)
        budget.reserve(0.2)


class TestAPrice:
    def test_is_of_the_model_whatever_its_snapshot(self):
        luna = price_of("gpt-6-luna-2026-09-01", "http://127.0.0.1/v1")
        assert luna == PRICES["gpt-6-luna"]
        assert luna.usd(1_000_000, 0, 1_000_000) == pytest.approx(0.60)
        assert luna.usd(1_000_000, 1_000_000, 0) == pytest.approx(0.025)

    @pytest.mark.parametrize("host", ["api.openai.com", "eu.api.openai.com", "API.OpenAI.com:443"])
    def test_that_nobody_knows_is_refused_where_it_would_be_paid(self, host: str):
        with pytest.raises(UnpricedModelError, match=r"prices\.py"):
            price_of("gpt-9", f"https://{host}/v1")

    @pytest.mark.parametrize("host", ["localhost:11434", "api.openai.com.example", "gpu.example"])
    def test_that_nobody_knows_is_nothing_where_it_is_self_hosted(self, host: str):
        assert price_of("gpt-9", f"http://{host}/v1").usd(1e9, 0, 1e9) == 0.0


def vectors(asked: Asked, dimensions: int = 4) -> Reply:
    """Vectors that tell which text they are of, in another order than asked."""
    texts = asked.json["input"]
    rest = [0.0] * (dimensions - 2)
    data = [
        {"index": n, "embedding": [float(len(text)), 2.0, *rest]} for n, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": sum(map(len, texts)), "total_tokens": 0}
    return saying({"object": "list", "data": data[::-1], "model": EMBEDS, "usage": usage})


def embed(texts: Sequence[str], script: Script = vectors, **options: Any) -> tuple[Any, Asking]:
    with answering(script) as server, Asking(server, at_once=2) as asking:
        return asking.models.embedded(texts, model=EMBEDS, **options), asking


class TestVectors:
    def test_are_unit_rows_in_the_order_of_the_texts(self):
        texts = ["a", "bb", "cccc"]
        found, asking = embed(texts)
        assert (found.dtype, found.shape) == (np.float32, (3, 4))
        assert np.allclose(np.linalg.norm(found, axis=1), 1)
        assert np.allclose(found[:, 0] / found[:, 1], [0.5, 1.0, 2.0])
        (call,) = asking.calls
        assert (call.purpose, call.items, call.tokens_in) == ("embeddings", 3, 7)
        assert call.usd == pytest.approx(7 * 0.02e-6)
        assert asking.server.asked[0].json["encoding_format"] == "float"
        assert "dimensions" not in asking.server.asked[0].json

    def test_are_asked_for_within_the_limits_of_a_request(self):
        many = [f"text {n}" for n in range(4_500)]
        found, asking = embed(many)
        assert sorted(len(asked.json["input"]) for asked in asking.server.asked) == [
            404,
            2_048,
            2_048,
        ]
        assert found.shape == (4_500, 4)
        assert np.allclose(found[:, 0] / found[:, 1], [len(text) / 2 for text in many])
        _, asking = embed(["é" * 4_000] * 100)
        sizes = [sum(len(t.encode()) for t in asked.json["input"]) for asked in asking.server.asked]
        assert sum(sizes) == 800_000
        assert max(sizes) <= 300_000

    def test_of_a_text_too_long_are_of_its_beginning_and_it_is_said(self, caplog):
        with caplog.at_level(logging.WARNING):
            _, asking = embed(["short", "é" * 9_000])
        assert asking.server.asked[0].json["input"] == ["short", "é" * 4_096]
        assert "1 of 2 texts were cut" in caplog.text
        assert "[1]" in caplog.text

    def test_of_no_text_are_none(self):
        found, asking = embed([], dimensions=4)
        assert found.shape == (0, 4)
        assert asking.calls == []

    def test_of_an_empty_text_are_refused_with_its_place(self):
        with pytest.raises(ValueError, match=r"texts \[1, 3\] of 4"):
            embed(["a", "", "b", " \n"])

    def test_may_be_asked_for_shorter(self):
        found, asking = embed(["a"], lambda asked: vectors(asked, 3), dimensions=3)
        assert found.shape == (1, 3)
        assert asking.server.asked[0].json["dimensions"] == 3
        with pytest.raises(MalformedAnswerError, match="not 3"):
            embed(["a"], vectors, dimensions=3)

    @pytest.mark.parametrize(
        "data",
        [
            [],
            [{"index": 0, "embedding": [1.0]}],
            [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
            [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}],
            [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [0.0]}],
            [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": []}],
            [{"index": 0, "embedding": "AACAPw=="}, {"index": 1, "embedding": [1.0]}],
        ],
    )
    def test_that_are_not_one_direction_a_text_are_refused(self, data: list[Any]):
        with pytest.raises(MalformedAnswerError):
            embed(["a", "b"], lambda _: saying({"data": data}))

    def test_end_with_what_went_wrong(self):
        with pytest.raises(RequestRefusedError, match="status 400; the server said: too long"):
            embed(["a"], lambda _: refused(400, "too long"))
        with pytest.raises(SourceUnavailableError, match="status 503"):
            embed(["a"], lambda _: refused(503))

    def test_stop_before_the_budget_is_passed(self):
        with (
            answering(vectors) as server,
            Asking(server, budget=0.0) as asking,
            pytest.raises(BudgetExceededError),
        ):
            asking.models.embedded(["a"], model=EMBEDS)
        assert server.asked == []


class TestTheListOfModels:
    def test_says_when_each_is_shut_down(self):
        data = [
            {"id": "gpt-6-luna", "object": "model", "shutdown_date": None},
            {"id": "gpt-4o-mini", "shutdown_date": "2027-01-14"},
            {"id": "old", "shutdown_date": "2026-01-14T00:00:00Z"},
            {"id": "llava:7b"},
        ]
        with (
            answering(in_turn(refused(500), saying({"data": data}))) as server,
            Asking(server) as asking,
        ):
            assert asking.models.listed() == {
                "gpt-6-luna": None,
                "gpt-4o-mini": date(2027, 1, 14),
                "old": date(2026, 1, 14),
                "llava:7b": None,
            }
        assert asking.calls == []
        assert {asked.path for asked in server.asked} == {"/v1/models"}

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            (refused(404), RequestRefusedError),
            (refused(500), SourceUnavailableError),
            (saying({"data": [{"id": "a", "shutdown_date": "soon"}]}), MalformedAnswerError),
            (saying({"object": "list"}), MalformedAnswerError),
        ],
    )
    def test_is_not_guessed(self, reply: Reply, error: type[Exception]):
        with answering(lambda _: reply) as server, Asking(server) as asking, pytest.raises(error):
            asking.models.listed()


@pytest.mark.usefixtures("fresh_settings")
class TestTheKey:
    @pytest.mark.parametrize(
        "ask",
        [
            lambda asking: asking.colour(),
            lambda asking: asking.models.embedded(["a"], model=EMBEDS),
            lambda asking: asking.models.listed(),
        ],
    )
    def test_is_in_no_log_no_error_and_no_row_even_where_the_service_repeats_it(
        self, ask: Callable[[Asking], Any], caplog
    ):
        replies = [refused(429, f"{KEY} is too fast"), refused(401, f"Incorrect key: {KEY}")]
        told: list[object] = []
        with (
            caplog.at_level(logging.DEBUG),
            answering(in_turn(*replies)) as server,
            Asking(server) as asking,
        ):
            try:
                told.append(ask(asking))
            except RequestRefusedError as error:
                told += [error, error.__cause__, error.said]
        assert len(server.asked) == 2
        assert all(asked.headers["authorization"].endswith(KEY) for asked in server.asked)
        said = f"{caplog.text}{told}{asking.calls}{asking.models!r}{vars(asking.budget)}"
        assert KEY not in said
        assert "***" in said

    def test_is_missed_by_name_where_it_is_needed(self):
        with pytest.raises(ValueError, match="CITY311_MODEL_KEY"):
            Models(
                "https://api.openai.com/v1",
                None,
                patience=Patience(),
                budget=Budget(1.0),
                record=lambda _: None,
            )

    def test_is_in_no_configuration_but_reaches_the_service_named(self, monkeypatch):
        monkeypatch.setenv("CITY311_MODEL_KEY", KEY)
        sources = Sources(origin="sample", attempts=1)
        assert KEY not in f"{sources!r}{sources.model_dump()}"
        with answering(lambda _: completion()) as server:
            monkeypatch.setenv("CITY311_MODEL_URL", f"{server.url}/v1")
            with sources.models(Budget(1.0), lambda _: None) as models:
                models.structured("sky", "", Colour, model=MODEL, purpose="captions")
        assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"

    def test_is_not_given_to_the_sample_city(self, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        with Sources(origin="sample").models(Budget(1.0), lambda _: None) as models:
            assert models.place.startswith("http://127.0.0.1:")
            assert models.place.endswith("/models/v1")
            assert KEY not in json.dumps(str(vars(models)))

    def test_is_asked_for_where_records_are_real(self, monkeypatch):
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(ValueError, match="CITY311_MODEL_KEY"):
            Sources(origin="portal").models(Budget(1.0), lambda _: None)
