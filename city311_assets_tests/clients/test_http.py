"""How a source is asked: what every kind of answer leads to, over real connections."""

import gzip
import json
import logging
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city311_assets.clients.errors import (
    MalformedAnswerError,
    RequestRefusedError,
    SourceError,
    SourceUnavailableError,
)
from city311_assets.clients.http import FIRST_WAIT_SECONDS, Asker, Patience
from city311_assets_tests.clients.answers import Reply, Script, Server, answering, in_turn, saying

ROWS = [{"a": "1"}]
GOOD = saying(ROWS)
QUERY = {"$where": "address = '12 Hidden St'", "$limit": 7}
PAGE = "<html><body>We will be back <b>soon</b></body></html>"
HTML = Reply(PAGE.encode(), headers={"Content-Type": "text/html"})
CUT = Reply(b'[{"a": "1"}', promised_bytes=1_000)
HANGS_UP = Reply(hangs_up=True)
ATTEMPTS = 3
TOKEN = "tok-8f2c"  # noqa: S105 - nobody's
JITTER = 1.5
TOO_LONG = 60.0


def ask(
    url: str,
    waits: list[float] | None = None,
    *,
    token: str | None = None,
    attempts: int = ATTEMPTS,
    timeout_seconds: float = TOO_LONG,
    longest_wait_seconds: float = 120.0,
    longest_answer_seconds: float = TOO_LONG,
) -> Any:
    """Ask once for JSON with a recorder in place of sleep."""
    slept: list[float] = [] if waits is None else waits
    settled = Patience(
        attempts, timeout_seconds, longest_wait_seconds, slept.append, longest_answer_seconds
    )
    headers = {"X-App-Token": token} if token else {}
    with Asker(url, headers=headers, patience=settled) as asker:
        return asker.json("/resource/x.json", QUERY)


def outcome(script: Script, **patience: Any) -> tuple[Any, Server, list[float]]:
    """Return the answer or the error, the server and the waits."""
    waits: list[float] = []
    with answering(script) as server:
        try:
            return ask(server.url, waits, **patience), server, waits
        except SourceError as error:
            return error, server, waits


def test_a_good_answer_is_returned_and_asked_for_once():
    answer, server, waits = outcome(in_turn(GOOD))
    assert (answer, waits) == (ROWS, [])
    (asked,) = server.asked
    assert asked.path == "/resource/x.json"
    assert asked.params == {"$where": "address = '12 Hidden St'", "$limit": "7"}
    assert asked.headers["user-agent"] == "city311_assets"


def test_an_app_token_is_sent_as_its_header():
    with answering(in_turn(GOOD)) as server:
        ask(server.url, token=TOKEN)
    assert server.asked[0].headers["x-app-token"] == TOKEN


def test_no_app_token_means_no_header():
    _, server, _ = outcome(in_turn(GOOD))
    assert "x-app-token" not in server.asked[0].headers


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(saying({"message": "still processing"}, 202), id="202"),
        pytest.param(saying({"message": "too many"}, 429), id="429"),
        pytest.param(saying({"message": "Internal error"}, 500), id="500"),
        pytest.param(Reply(b"Bad Gateway", 502), id="502"),
        pytest.param(Reply(b"", 503), id="503 without a body"),
        pytest.param(CUT, id="body that ends early"),
        pytest.param(Reply(b'[{"a": "1"},', is_unsized=True), id="body without length, cut"),
        pytest.param(HANGS_UP, id="closed without an answer"),
        pytest.param(HTML, id="HTML with status 200"),
        pytest.param(Reply(b""), id="empty body"),
        pytest.param(Reply(b" \n"), id="blank body"),
        pytest.param(Reply(b"null"), id="null"),
        pytest.param(Reply(b'"fine"'), id="a word"),
        pytest.param(
            Reply(b'[{"a": "1"},', headers={"Content-Type": "application/json"}), id="half a list"
        ),
    ],
)
def test_a_fault_that_passes_is_asked_again_and_leaves_no_trace(fault):
    answer, server, waits = outcome(in_turn(fault, fault, GOOD))
    assert answer == ROWS
    assert (len(server.asked), len(waits)) == (3, 2)
    assert server.params[0] == server.params[1] == server.params[2]


@pytest.mark.parametrize("status", [202, 429, 500, 502, 503, 504])
def test_a_fault_that_stays_names_status_tries_and_the_words_of_the_server(status):
    answer, server, waits = outcome(in_turn(saying({"message": "come back later"}, status)))
    assert isinstance(answer, SourceUnavailableError)
    assert (len(server.asked), len(waits)) == (ATTEMPTS, ATTEMPTS - 1)
    for part in (f"status {status}", f"{ATTEMPTS} tries", "come back later", server.url):
        assert part in str(answer)


def test_the_number_of_tries_is_the_callers():
    answer, server, _ = outcome(in_turn(Reply(b"", 500)), attempts=1)
    assert len(server.asked) == 1
    assert "1 tries" in str(answer)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            400,
            {"code": "query.soql.no-such-column", "error": True, "message": "No such column: x"},
            "No such column: x",
        ),
        (
            403,
            {"message": "You must be logged in to access this resource", "error": True},
            "You must be logged in to access this resource",
        ),
        (
            404,
            {"code": "dataset.missing", "error": True, "message": "Not found"},
            "Not found",
        ),
        (
            400,
            {"error": True, "reason": "Parameter 'start_date' is out of allowed range"},
            "Parameter 'start_date' is out of allowed range",
        ),
        (401, {"error": True}, '{"error": true}'),
        (410, ["gone"], '["gone"]'),
    ],
)
def test_a_refusal_is_quoted_and_not_asked_twice(status, body, said):
    answer, server, waits = outcome(in_turn(saying(body, status), GOOD))
    assert isinstance(answer, RequestRefusedError)
    assert (answer.said, len(server.asked), waits) == (said, 1, [])
    assert f"status {status}" in str(answer)
    assert said in str(answer)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_refused_and_not_followed(status):
    answer, server, _ = outcome(in_turn(Reply(b"", status, {"Location": "/elsewhere"}), GOOD))
    assert isinstance(answer, RequestRefusedError)
    assert len(server.asked) == 1
    assert f"status {status} to {server.url}/elsewhere, which is not followed" in str(answer)


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("http://169.254.169.254/latest/meta-data/", "http://169.254.169.254/latest/meta-data/"),
        ("http://10.0.0.7:8080/admin", "http://10.0.0.7:8080/admin"),
        ("https://u:p@example.org/x?q=1#there", "https://example.org/x"),
        ("file:///etc/passwd", "file:/etc/passwd"),
        (f"/{'x' * 1_000}", "xxx"),
    ],
)
def test_the_target_of_a_redirection_is_named_without_its_query(location, named):
    answer, server, _ = outcome(in_turn(Reply(b"", 302, {"Location": location}), GOOD))
    assert isinstance(answer, RequestRefusedError)
    assert f"{named}, which is not followed" in str(answer)
    assert len(str(answer)) < 500
    assert len(server.asked) == 1


def test_a_redirection_to_nowhere_is_refused():
    answer, server, _ = outcome(in_turn(Reply(b"", 302), GOOD))
    assert isinstance(answer, RequestRefusedError)
    assert len(server.asked) == 1


def test_a_long_error_page_is_quoted_in_part_on_one_line():
    answer, _, _ = outcome(in_turn(Reply(b"<p>\n\n  no  \n" * 1_000, 404)))
    assert answer.said.startswith("<p> no <p> no")
    assert len(answer.said) == 300


REAL_REFUSALS = {
    "koop_missing-count.json": (404, "Not found"),
    "koop_missing-first.json": (404, "No service found for this URL."),
    "koop_missing-views.json": (404, "Cannot find view with id missing"),
    "sodapy_403_response_json.txt": (403, "You must be logged in to access this resource"),
}


@pytest.mark.real
@pytest.mark.parametrize("name", REAL_REFUSALS)
def test_a_real_refusal_is_quoted(real_data: Path, name: str):
    status, said = REAL_REFUSALS[name]
    body = (real_data / "socrata_api" / name).read_bytes()
    answer, server, _ = outcome(in_turn(Reply(body, status)))
    assert isinstance(answer, RequestRefusedError)
    assert (answer.said, len(server.asked)) == (said, 1)


@pytest.mark.real
def test_a_real_internal_error_is_asked_again_and_quoted(real_data: Path):
    body = (real_data / "socrata_api" / "koop_schools-first.json").read_bytes()
    answer, server, _ = outcome(in_turn(Reply(body, 500)))
    assert isinstance(answer, SourceUnavailableError)
    assert (answer.said, len(server.asked)) == ("Internal error", ATTEMPTS)


@pytest.mark.parametrize("status", [429, 503, 202])
def test_a_retry_after_in_seconds_is_honoured(status):
    _, _, waits = outcome(in_turn(saying({}, status, Retry_After="17"), GOOD))
    assert waits == [17.0]


def test_a_retry_after_as_a_date_is_honoured():
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    _, _, waits = outcome(in_turn(saying({}, 429, Retry_After=until), GOOD))
    assert waits == [pytest.approx(40, abs=5)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Wed, 21 Oct 2015 07:28:00 GMT", id="a date gone by"),
        pytest.param("soon", id="a word"),
        pytest.param("-5", id="negative"),
        pytest.param("1.5", id="a fraction"),
        pytest.param("", id="blank"),
        pytest.param("0", id="zero"),
    ],
)
def test_a_retry_after_that_says_nothing_leaves_the_usual_wait(text):
    _, _, waits = outcome(in_turn(saying({}, 429, Retry_After=text), GOOD))
    (wait,) = waits
    assert FIRST_WAIT_SECONDS <= wait <= FIRST_WAIT_SECONDS * JITTER


def test_a_429_without_retry_after_is_waited_for_as_usual():
    _, _, waits = outcome(in_turn(saying({}, 429), GOOD))
    (wait,) = waits
    assert FIRST_WAIT_SECONDS <= wait <= FIRST_WAIT_SECONDS * JITTER


@pytest.mark.parametrize("text", ["86400", "9" * 400, "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_retry_after_is_capped(text):
    script = in_turn(saying({}, 429, Retry_After=text), GOOD)
    _, _, waits = outcome(script, longest_wait_seconds=90)
    assert waits == [90.0]


def test_a_short_retry_after_never_shortens_the_wait():
    script = in_turn(*[saying({}, 429, Retry_After="1")] * 4, GOOD)
    _, _, waits = outcome(script, attempts=5)
    assert waits[3] >= 8


def test_waits_double_with_jitter_of_up_to_half():
    _, _, waits = outcome(in_turn(Reply(b"", 500)), attempts=7, longest_wait_seconds=1_000)
    assert len(waits) == 6
    for number, wait in enumerate(waits):
        assert 2**number <= wait <= 2**number * JITTER
    assert any(wait != 2**number for number, wait in enumerate(waits))


def test_waits_are_bounded():
    _, _, waits = outcome(in_turn(Reply(b"", 500)), attempts=12, longest_wait_seconds=20)
    assert max(waits) == 20
    assert waits[5:] == [20.0] * 6


def test_an_answer_that_takes_too_long_is_a_source_that_is_unavailable():
    started = time.monotonic()
    answer, server, waits = outcome(
        in_turn(Reply(b"[]", delay_seconds=TOO_LONG)), timeout_seconds=0.05
    )
    assert isinstance(answer, SourceUnavailableError)
    assert "ReadTimeout" in str(answer)
    assert (len(server.asked), len(waits)) == (ATTEMPTS, ATTEMPTS - 1)
    assert time.monotonic() - started < TOO_LONG / 10


def test_a_late_answer_is_taken_at_the_next_try():
    script = in_turn(Reply(b"[]", delay_seconds=TOO_LONG), GOOD)
    answer, server, _ = outcome(script, timeout_seconds=0.2)
    assert (answer, len(server.asked)) == (ROWS, 2)


def test_a_body_that_stalls_is_a_time_out():
    script = in_turn(Reply(b"[1]", drip_seconds=TOO_LONG), GOOD)
    answer, server, _ = outcome(script, timeout_seconds=0.2)
    assert (answer, len(server.asked)) == (ROWS, 2)


def test_a_body_that_drips_is_waited_for():
    answer, server, _ = outcome(in_turn(Reply(b'["slow"]', drip_seconds=0.01)))
    assert (answer, len(server.asked)) == (["slow"], 1)


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Encoding": "gzip"}], ids=["as it is", "compressed"]
)
def test_a_body_that_drips_for_ever_ends_and_says_so(headers):
    whole = json.dumps(["slow"] * 20_000).encode()
    body = gzip.compress(whole) if headers else whole
    started = time.monotonic()
    answer, server, waits = outcome(
        in_turn(Reply(body, headers=headers, drip_seconds=0.01)), longest_answer_seconds=0.15
    )
    assert isinstance(answer, SourceUnavailableError)
    assert "no whole answer within 0.15 s in 3 tries: it was still coming" in str(answer)
    assert (len(server.asked), len(waits)) == (ATTEMPTS, ATTEMPTS - 1)
    assert time.monotonic() - started < 3


def test_after_a_body_that_drips_the_next_try_is_taken():
    script = in_turn(Reply(b"[" + b" " * 1_000 + b"]", drip_seconds=0.01), GOOD)
    answer, server, _ = outcome(script, longest_answer_seconds=0.15)
    assert (answer, len(server.asked)) == (ROWS, 2)


def test_a_refused_connection_is_a_source_that_is_unavailable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        waits: list[float] = []
        with pytest.raises(SourceUnavailableError, match=r"ConnectError.* in 3 tries"):
            ask(f"http://127.0.0.1:{taken.getsockname()[1]}", waits)
    assert len(waits) == ATTEMPTS - 1


def test_a_connection_that_is_closed_without_an_answer_is_named():
    answer, server, _ = outcome(in_turn(HANGS_UP))
    assert isinstance(answer, SourceUnavailableError)
    assert "RemoteProtocolError" in str(answer)
    assert len(server.asked) == ATTEMPTS


def test_a_body_that_always_ends_early_is_never_returned():
    answer, server, _ = outcome(in_turn(CUT))
    assert isinstance(answer, SourceUnavailableError)
    assert len(server.asked) == ATTEMPTS


def test_half_a_list_is_never_returned_though_nothing_announced_its_length():
    answer, _, _ = outcome(in_turn(Reply(b'[{"a": "1"},', is_unsized=True)))
    assert isinstance(answer, MalformedAnswerError)


def test_a_web_page_with_status_200_is_quoted_with_its_content_type():
    answer, server, _ = outcome(in_turn(HTML))
    assert isinstance(answer, MalformedAnswerError)
    assert len(server.asked) == ATTEMPTS
    for part in ("text/html", f"{ATTEMPTS} tries", "We will be back"):
        assert part in str(answer)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"columns": [{"fieldName": "a"}', id="cut after a brace"),
        pytest.param(b'[{"a": [1, 2]', id="cut after a bracket"),
        pytest.param(b'[{"a": 1}, oops, {"b": 2}]', id="nonsense inside"),
        pytest.param(b'[{"a": "\xff"}]', id="not UTF-8"),
    ],
)
def test_broken_json_between_whole_brackets_is_a_malformed_answer(body):
    answer, server, _ = outcome(in_turn(Reply(body, is_unsized=True)))
    assert isinstance(answer, MalformedAnswerError)
    assert len(server.asked) == ATTEMPTS


def test_a_compressed_body_that_is_damaged_is_asked_again():
    damaged = bytearray(gzip.compress(json.dumps(ROWS * 100).encode()))
    damaged[12:20] = b"\xff" * 8
    fault = Reply(bytes(damaged), headers={"Content-Encoding": "gzip"})
    answer, _, _ = outcome(in_turn(fault, GOOD))
    assert answer == ROWS


def test_a_compressed_answer_is_unpacked():
    whole = Reply(gzip.compress(json.dumps(ROWS).encode()), headers={"Content-Encoding": "gzip"})
    answer, server, _ = outcome(in_turn(whole))
    assert answer == ROWS
    assert "gzip" in server.asked[0].headers["accept-encoding"]


def test_a_byte_order_mark_before_the_answer_is_dropped():
    answer, _, _ = outcome(in_turn(Reply(b'\xef\xbb\xbf[{"a": "1"}]')))
    assert answer == ROWS


def test_a_byte_order_mark_inside_a_value_stays():
    answer, _, _ = outcome(in_turn(Reply('[{"id": "\ufeff15736"}]'.encode())))
    assert answer == [{"id": "\ufeff15736"}]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(saying({"message": "no"}, 403, X_Socrata_RequestId="req-8f2"), id="refused"),
        pytest.param(saying({"message": "no"}, 503, X_Socrata_RequestId="req-8f2"), id="down"),
        pytest.param(
            Reply(b"<html>", headers={"X-Socrata-RequestId": "req-8f2"}), id="not the data"
        ),
    ],
)
def test_the_portals_number_of_the_exchange_is_in_the_message(reply):
    answer, _, _ = outcome(in_turn(reply))
    assert answer.request_id == "req-8f2"
    assert "request id req-8f2" in str(answer)


def test_the_portals_number_of_every_exchange_is_logged(caplog):
    caplog.set_level(logging.DEBUG, logger="city311_assets")
    outcome(in_turn(saying(ROWS, X_Socrata_RequestId="req-8f2")))
    assert "req-8f2" in caplog.text


def test_a_wait_is_logged_with_its_reason(caplog):
    outcome(in_turn(saying({"message": "too many"}, 429, Retry_After="17"), GOOD))
    (record,) = [r for r in caplog.records if r.name.startswith("city311_assets")]
    assert record.levelname == "WARNING"
    for part in ("17.0 s", "try 2", "status 429", "too many"):
        assert part in record.getMessage()


SECRETIVE = [
    pytest.param(GOOD, id="fine"),
    pytest.param(saying({"message": "no"}, 400), id="refused"),
    pytest.param(
        Reply(b"", 302, {"Location": "/login?$where=address = '12 Hidden St'"}), id="sent elsewhere"
    ),
    pytest.param(saying({"message": "no"}, 500), id="down"),
    pytest.param(HTML, id="a web page"),
    pytest.param(CUT, id="ends early"),
    pytest.param(HANGS_UP, id="hangs up"),
    pytest.param(Reply(delay_seconds=TOO_LONG), id="too late"),
]


def told(reply: Reply, timeout_seconds: float = 0.1) -> str:
    """Return the message of the error that an answer leads to, if any."""
    with answering(in_turn(reply)) as server:
        try:
            ask(server.url, token=TOKEN, timeout_seconds=timeout_seconds)
        except SourceError as error:
            return f"{error} {error!r} {error.url}"
    return ""


@pytest.mark.parametrize("reply", SECRETIVE)
def test_no_message_and_no_log_of_ours_tells_the_query_or_the_token(reply, caplog):
    caplog.set_level(logging.DEBUG, logger="city311_assets")
    message = told(reply)
    logged = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("city311"))
    assert logged
    for text in (message, logged):
        for secret in (TOKEN, "Hidden", "$where", "%24where", "?"):
            assert secret not in text


def test_no_log_of_any_library_tells_the_query(caplog):
    caplog.set_level(logging.INFO)
    told(GOOD)
    assert "Hidden" not in caplog.text


def test_no_log_of_any_library_tells_the_token(caplog):
    caplog.set_level(logging.DEBUG)
    told(GOOD)
    assert TOKEN not in caplog.text


def test_an_answer_is_kept_as_it_came(tmp_path):
    with answering(in_turn(GOOD)) as server, Asker(server.url, keep_in=tmp_path / "raw") as asker:
        asker.json("/resource/x.json")
        asker.json("/resource/x.json")
    kept = sorted((tmp_path / "raw").iterdir())
    assert len(kept) == 2
    for path in kept:
        assert path.name.startswith("resource_x.json-")
        with pa.input_stream(path, compression="detect") as file:
            assert file.read() == GOOD.body


def test_a_refusal_is_not_kept(tmp_path):
    with (
        answering(in_turn(saying({}, 404))) as server,
        Asker(server.url, keep_in=tmp_path / "raw") as asker,
        pytest.raises(RequestRefusedError),
    ):
        asker.json("/x.json")
    assert not (tmp_path / "raw").exists()


@settings(max_examples=25, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ).filter(lambda value: isinstance(value, (list, dict)))
)
def test_any_json_list_or_object_comes_back_equal(value):
    served_value = saying(value)
    with answering(in_turn(served_value)) as server:
        assert ask(server.url) == value


def test_a_slash_at_the_end_of_the_address_changes_nothing():
    with answering(in_turn(GOOD)) as server:
        ask(f"{server.url}/")
    assert server.asked[0].path == "/resource/x.json"
