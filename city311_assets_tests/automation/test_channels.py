"""Channels: what each posts to a real address, what it does with hostile text, what it hides."""

import datetime as dt
import logging
from collections.abc import Callable
from itertools import pairwise

import pytest
from pydantic import SecretStr

from city311_assets.automation import channels as module
from city311_assets.automation.channels import (
    TEXT_SHOWN,
    Channel,
    Digest,
    Slack,
    SlackWebhook,
    Teams,
    Webhook,
    channels_of,
    deliver,
    legacy_teams_text,
    redacted,
    slack_text,
    teams_text,
)
from city311_assets.automation.messages import Notice
from city311_assets.settings import Settings
from city311_assets_tests.clients.answers import Reply, answering, saying

SECRET = "xoxb-1234567890-abcdefgh"  # noqa: S105 - made up
PATH = f"/hooks/T0001/{SECRET}?sig=s3cr3tsignature"
SINCE = dt.datetime(2026, 3, 8, 10, 31, tzinfo=dt.UTC)
DAYS = tuple(dt.date(2026, 3, on) for on in (1, 2, 5))
HOSTILE = "<!channel> @here <@U1> [free](http://evil.example) *b* <script>x</script> & `c`"


def digest(*lines: str, notices: int = 1) -> Digest:
    one = Notice("sf_311", "runs", "opened", SINCE, DAYS, lines or ("NEW runs fail", "Since then"))
    return Digest("city311: 1 problem", (one,) * notices, "sample")


def slack(url: str) -> Channel:
    return Slack(SecretStr(SECRET), "#nights", f"{url}/api")


def slack_webhook(url: str) -> Channel:
    return SlackWebhook(SecretStr(url + PATH))


def teams(url: str) -> Channel:
    return Teams(SecretStr(url + PATH))


def webhook(url: str) -> Channel:
    return Webhook(SecretStr(url + PATH))


EVERY = pytest.mark.parametrize("made", [slack, slack_webhook, teams, webhook])
BY_ADDRESS = pytest.mark.parametrize("made", [slack_webhook, teams, webhook])


def send(channel: Channel, said: Digest | None = None) -> str | None:
    return deliver({channel.name: said or digest()}, [channel])[channel.name]


def test_slack_is_posted_to_by_its_api():
    with answering(lambda _: saying({"ok": True})) as server:
        assert send(slack(server.url)) is None
        (asked,) = server.asked
    assert asked.path == "/api/chat.postMessage"
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert asked.json["channel"] == "#nights"
    assert asked.json["text"] == "city311: 1 problem\n\nNEW runs fail\nSince then"


def test_slack_is_posted_to_by_an_incoming_webhook():
    with answering(lambda _: Reply(b"ok")) as server:
        assert send(slack_webhook(server.url)) is None
        (asked,) = server.asked
    assert asked.path == f"/hooks/T0001/{SECRET}"
    assert asked.json["text"].startswith("city311: 1 problem")
    assert (asked.json["mrkdwn"], asked.json["link_names"]) == (False, False)


def test_teams_is_posted_a_card_with_a_block_for_each_paragraph():
    with answering(lambda _: Reply(b"", 202)) as server:
        assert send(teams(server.url)) is None
        (asked,) = server.asked
    (card,) = asked.json["attachments"]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    blocks = [block["text"] for block in card["content"]["body"]]
    assert blocks == ["city311: 1 problem", "NEW runs fail\n\nSince then"]


def test_a_webhook_is_posted_every_notice_whole():
    with answering(lambda _: saying({})) as server:
        assert send(webhook(server.url)) is None
        (asked,) = server.asked
    assert asked.params == {"sig": "s3cr3tsignature"}
    assert asked.json == {
        "headline": "city311: 1 problem",
        "problems": [
            {
                "subject": "sf_311",
                "kind": "runs",
                "state": "opened",
                "since": "2026-03-08T10:31:00+00:00",
                "days": [["2026-03-01", "2026-03-02"], ["2026-03-05", "2026-03-05"]],
                "message": "NEW runs fail\nSince then",
                "origin": "sample",
            }
        ],
    }


@EVERY
@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
def test_any_answer_but_success_is_a_failure(made: Callable[[str], Channel], status: int):
    with answering(lambda _: saying({"ok": False, "error": "no"}, status)) as server:
        assert send(made(server.url))
        assert len(server.asked) == 1


def test_a_webhook_that_moved_is_not_followed():
    elsewhere = Reply(b"", 302, {"Location": "/elsewhere"})
    with answering(lambda _: elsewhere) as server:
        assert send(webhook(server.url)) == "RefusedError: status 302:"
        assert len(server.asked) == 1


def test_slack_that_says_no_with_status_200_is_a_failure():
    with answering(lambda _: saying({"ok": False, "error": "channel_not_found"})) as server:
        assert "channel_not_found" in str(send(slack(server.url)))


@EVERY
def test_a_channel_that_hangs_up_is_a_failure(made: Callable[[str], Channel]):
    with answering(lambda _: Reply(hangs_up=True)) as server:
        assert send(made(server.url))
        assert len(server.asked) == 1


def leaks(text: str) -> list[str]:
    """Return the parts of the secrets that stand in a text, however small a part."""
    parts = [SECRET[at : at + 8] for at in range(len(SECRET) - 7)] + ["s3cr3tsig"]
    return [part for part in parts if part in text]


@BY_ADDRESS
@pytest.mark.parametrize("echo", [PATH, PATH.replace("/", "\\/"), SECRET, "see " + PATH * 20])
def test_no_failure_shows_the_secret_of_an_address(made: Callable[[str], Channel], echo: str):
    with answering(lambda _: Reply(echo.encode(), 500)) as server:
        failure = str(send(made(server.url)))
    assert failure
    assert leaks(failure) == []


@BY_ADDRESS
@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:9", "nonsense://", "", "http://[", "http://a b"]
)
def test_an_address_that_leads_nowhere_is_not_shown(made: Callable[[str], Channel], place: str):
    failure = str(send(made(place)))
    assert failure
    assert leaks(failure) == []


def test_a_token_that_is_refused_or_echoed_is_not_shown():
    with answering(lambda _: saying({"ok": False, "error": f"bad {SECRET}"})) as server:
        assert leaks(str(send(slack(server.url)))) == []
    assert leaks(str(send(slack("http://127.0.0.1:9")))) == []


@EVERY
def test_nothing_is_logged_that_shows_a_secret(
    made: Callable[[str], Channel], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    with answering(lambda _: saying({"ok": True})) as server:
        send(made(server.url))
        send(made("http://127.0.0.1:9"))
    assert leaks(caplog.text) == []
    assert leaks(repr(made("http://127.0.0.1:9"))) == []


def test_a_channel_that_is_out_holds_up_no_other():
    with (
        answering(lambda _: Reply(b"no", 500)) as out,
        answering(lambda _: saying({"ok": True})) as well,
    ):
        all_of_them = [slack_webhook(out.url), teams(well.url), webhook(well.url)]
        told = deliver({channel.name: digest() for channel in all_of_them}, all_of_them)
    assert told.keys() == {"slack-webhook", "teams", "webhook"}
    assert [name for name, failure in told.items() if failure] == ["slack-webhook"]


def test_a_channel_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "GIVEN_UP_AFTER_SECONDS", 0.2)
    with answering(lambda _: Reply(b"{}", delay_seconds=5)) as server:
        assert send(webhook(server.url)) == "no answer in time"


def test_a_channel_without_news_is_left_alone():
    with answering(lambda _: saying({"ok": True})) as server:
        assert deliver({}, [webhook(server.url)]) == {}
        assert server.asked == []


# Somebody else's text.


def test_slack_finds_no_mention_and_no_link_in_a_text():
    text = slack_text(HOSTILE)
    assert "<" not in text
    assert ">" not in text
    assert "@here" not in text
    assert "&lt;!channel&gt;" in text
    assert text.endswith("&amp; `c`")


def test_teams_finds_no_markdown_in_a_text():
    text = teams_text(HOSTILE)
    for before, sign in pairwise(f" {text}"):
        assert sign not in "`*_[]~#<>|" or before == "\\"
    assert teams_text("a\\[b](c)") == "a\\\\\\[b\\](c)"


def test_an_older_card_of_teams_finds_no_html_in_a_text():
    assert legacy_teams_text("<b>&\nx") == "&lt;b&gt;&amp;<br>x"


def test_a_hostile_text_reaches_a_webhook_as_it_is():
    with answering(lambda _: saying({})) as server:
        send(webhook(server.url), digest(HOSTILE))
        assert server.asked[0].json["problems"][0]["message"] == HOSTILE


def test_a_message_without_end_is_cut_and_what_is_left_out_is_counted():
    said = digest("x" * 1_000, notices=9)
    assert len(said.text) < TEXT_SHOWN + 200
    assert said.paragraphs[-1] == "… and 6 more, about sf_311"


def test_short_parts_of_an_address_hide_nothing():
    secrets = [SecretStr("https://a.example/v1/abcdefghij")]
    assert redacted("v1 of abcdefghij", secrets) == "v1 of …"


# Which there are.


def test_the_settings_name_the_channels():
    word = SecretStr("http://127.0.0.1/x")
    said = Settings(
        alerts_slack_token=word,
        alerts_slack_channel="#nights",
        alerts_slack_webhook_url=word,
        alerts_teams_url=word,
        alerts_webhook_url=word,
    )
    names = [channel.name for channel in channels_of(said)]
    assert names == ["slack", "slack-webhook", "teams", "webhook"]
    assert channels_of(Settings()) == []
    assert channels_of(Settings(alerts_slack_token=word)) == []
