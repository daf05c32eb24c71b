"""What comes small and grows without end: packed answers, packed files, answers that never stop."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from city311_assets.clients import models as models_module
from city311_assets.clients import portal_export
from city311_assets.clients.errors import MalformedAnswerError, SourceUnavailableError
from city311_assets.clients.http import Asker, BodyTooLargeError, Patience, unpacked
from city311_assets.clients.models import Budget, Models
from city311_assets.clients.portal_export import ExportRefusedError, PortalExport
from city311_assets.feeds.sf_311 import SF_311
from city311_assets_tests.anything import some
from city311_assets_tests.clients.answers import Reply, answering

MEGABYTE = 1_000_000
MOST = 2 * MEGABYTE
PATIENCE = Patience(attempts=3, timeout_seconds=30, sleep=lambda _: None)
PACKED = {"Content-Encoding": "gzip"}


def bomb(megabytes: int) -> bytes:
    """Return an array of so many megabytes of nothing, packed a thousand to one."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(b"[")]
    parts += [packer.compress(b" " * MEGABYTE) for _ in range(megabytes)]
    return b"".join([*parts, packer.compress(b"]"), packer.flush()])


@contextmanager
def within(megabytes: float) -> Iterator[None]:
    """Fail if more memory than that was held at once."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * MEGABYTE


def test_a_packed_answer_is_unpacked_up_to_a_size_and_not_asked_for_again():
    body = bomb(200)
    assert len(body) < MEGABYTE
    with (
        answering(lambda _: Reply(body, headers=PACKED)) as server,
        Asker(server.url, patience=PATIENCE, most_bytes=MOST) as asker,
        within(20),
        pytest.raises(MalformedAnswerError, match=r"2,000,000 bytes.*CITY311_SOCRATA_PAGE_SIZE"),
    ):
        asker.json("/resource/x.json")
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_that_is_too_large_is_no_answer_packed_or_not(status: int):
    body = json.dumps(["x" * MOST]).encode()
    for reply in (Reply(body, status), Reply(gzip.compress(body), status, PACKED)):
        with (
            answering(lambda _, reply=reply: reply) as server,
            Asker(server.url, patience=PATIENCE, most_bytes=MOST) as asker,
            pytest.raises(MalformedAnswerError, match="2,000,000 bytes"),
        ):
            asker.json("/resource/x.json")


def test_an_answer_of_just_the_size_is_taken():
    body = json.dumps(["x" * (MOST - 4)]).encode()
    assert len(body) == MOST
    with (
        answering(lambda _: Reply(gzip.compress(body), headers=PACKED)) as server,
        Asker(server.url, patience=PATIENCE, most_bytes=MOST) as asker,
    ):
        assert len(asker.json("/x")[0]) == MOST - 4


@pytest.mark.parametrize("packing", ["br", "zstd", "deflate", "gzip, gzip", "x"])
def test_what_was_not_asked_for_is_not_unpacked(packing: str):
    reply = Reply(gzip.compress(b"[]"), headers={"Content-Encoding": packing})
    with (
        answering(lambda _: reply) as server,
        Asker(server.url, patience=PATIENCE) as asker,
        pytest.raises(SourceUnavailableError, match="packed as"),
    ):
        asker.json("/x")
    assert server.asked[0].headers["accept-encoding"] == "gzip"


def test_a_packed_answer_that_breaks_off_is_asked_for_again():
    whole = gzip.compress(json.dumps([{"a": str(n)} for n in range(1_000)]).encode())
    replies = [Reply(whole[:-8], headers=PACKED), Reply(whole, headers=PACKED)]
    with (
        answering(lambda _: replies.pop(0)) as server,
        Asker(server.url, patience=PATIENCE) as asker,
    ):
        assert len(asker.json("/x")) == 1_000


@some(60)
@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(0, 1_000), st.booleans())
def test_what_is_unpacked_is_what_was_packed_or_too_large(
    parts: list[bytes], most: int, is_packed: bool
):
    body = b"".join(parts)
    sent = [gzip.compress(body)] if is_packed else parts
    pieces = [piece[at : at + 7] for piece in sent for at in range(0, len(piece), 7)]
    try:
        found = b"".join(unpacked(pieces, "gzip" if is_packed else "", most))
    except BodyTooLargeError:
        assert len(body) > most
        return
    assert found == body
    assert len(body) <= most


class Word(BaseModel):
    """What a model is asked for."""

    word: str


def test_a_models_answer_is_unpacked_up_to_a_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models_module, "MOST_ANSWER_BYTES", MOST)
    body = bomb(60)
    calls = []
    with (
        answering(lambda _: Reply(body, headers=PACKED)) as server,
        Models(
            server.url, "k", patience=PATIENCE, budget=Budget(1.0), record=calls.append
        ) as models,
        within(40),
    ):
        answer = models.structured("x", "y", Word, model="gpt-6-luna", purpose="captions")
    assert (answer.value, answer.error) == (None, "unavailable")
    assert {call.error for call in calls} == {"no answer (DecodingError)"}


def test_a_models_packed_answer_is_unpacked():
    choice = {"message": {"content": '{"word": "blue"}'}, "finish_reason": "stop"}
    body = gzip.compress(json.dumps({"choices": [choice]}).encode())
    with (
        answering(lambda _: Reply(body, headers=PACKED)) as server,
        Models(
            server.url, "k", patience=PATIENCE, budget=Budget(1.0), record=lambda _: None
        ) as models,
    ):
        answer = models.structured("x", "y", Word, model="gpt-6-luna", purpose="captions")
    assert answer.value == Word(word="blue")


def test_a_packed_file_that_unpacks_beyond_all_records_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(portal_export, "ALWAYS_UNPACKED_BYTES", 4 * MEGABYTE)
    path = tmp_path / "export.csv.gz"
    path.write_bytes(bomb(60))
    with within(20), pytest.raises(ExportRefusedError, match="more than 100 times its size"):
        _ = PortalExport(path, SF_311).days


def test_a_small_file_may_be_packed_as_well_as_it_can(tmp_path: Path):
    """Records that are all alike pack a thousand to one, too."""
    header = ",".join(SF_311.required)
    line = "1,2026-01-02T09:00:00,,Graffiti"
    path = tmp_path / "export.csv.gz"
    path.write_bytes(gzip.compress("\n".join([header, *[line] * 20_000]).encode()))
    assert PortalExport(path, SF_311).rows.height == 20_000
