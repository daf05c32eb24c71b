"""Channels: where alerts go: Slack, Microsoft Teams, any webhook.

A channel that fails says so by raising; who delivers takes that as an answer, so that no channel
holds up another. What a portal said travels as data: nothing in it is markup, a mention or a link.
Addresses and tokens are secrets, and stand in no error, log or cursor.

What belongs here: how a message travels. What does not: what it says (`messages`).
"""

import html
import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, unquote

import httpx
from pydantic import SecretStr

from city311_assets.automation.day_ranges import coalesced
from city311_assets.automation.messages import Notice
from city311_assets.settings import Settings

# A sensor's tick has a minute; all channels are asked at once.
TIMEOUT_SECONDS = 10.0
GIVEN_UP_AFTER_SECONDS = 25.0
# Slack cuts at 4,000 characters and Teams at 28 kB; a person stops reading long before.
TEXT_SHOWN = 3_500
SAID_SHOWN = 200
SHORTEST_SECRET = 6
SIGNS = re.compile(r"[/?&=#@]")
MARKDOWN = re.compile(r"([\\`*_\[\]~#<>|])")
# They would log whole addresses.
TALKATIVE = ("httpx", "httpcore", "urllib3", "slack_sdk")


@dataclass(frozen=True, slots=True)
class Digest:
    """One message: everything there is to say at one time."""

    headline: str
    notices: tuple[Notice, ...]
    origin: str

    @property
    def paragraphs(self) -> list[str]:
        """The message in plain text; what would make it too long is counted."""
        shown, left = [self.headline], TEXT_SHOWN - len(self.headline)
        for index, notice in enumerate(self.notices):
            text = "\n".join(notice.lines)
            left -= len(text)
            if left < 0:
                more = self.notices[index:]
                subjects = ", ".join(sorted({one.subject for one in more}))
                shown.append(f"… and {len(more)} more, about {subjects}")
                break
            shown.append(text)
        return shown

    @property
    def text(self) -> str:
        """The message in plain text."""
        return "\n\n".join(self.paragraphs)


class Channel(Protocol):
    """Somewhere messages go. `send` raises if one did not arrive."""

    @property
    def name(self) -> str:
        """What it is called in logs, and in the cursor."""
        ...

    @property
    def secrets(self) -> Sequence[SecretStr]:
        """What must not be shown."""
        ...

    def send(self, digest: Digest) -> None:
        """Deliver a message."""
        ...


class RefusedError(Exception):
    """A channel answered, and not with success."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"status {status}: {said}")


@dataclass(frozen=True, slots=True)
class Slack:
    """A channel of a Slack workspace, by a bot's token."""

    token: SecretStr
    channel: str
    url: str
    name: str = "slack"

    @property
    def secrets(self) -> Sequence[SecretStr]:
        """The token."""
        return [self.token]

    def send(self, digest: Digest) -> None:
        """Post with `chat.postMessage`."""
        from dagster_slack import SlackResource  # noqa: PLC0415 - only where it is used

        client = SlackResource(token=self.token.get_secret_value()).get_client()
        client.base_url = f"{self.url.rstrip('/')}/"
        client.timeout = int(TIMEOUT_SECONDS)
        # The next tick tries again.
        client.retry_handlers = []
        client.api_call(
            "chat.postMessage", json={"channel": self.channel, **_slack_message(digest)}
        )


@dataclass(frozen=True, slots=True)
class SlackWebhook:
    """A channel of a Slack workspace, by an incoming webhook."""

    url: SecretStr
    name: str = "slack-webhook"

    @property
    def secrets(self) -> Sequence[SecretStr]:
        """The address."""
        return [self.url]

    def send(self, digest: Digest) -> None:
        """Post to the webhook."""
        _post(self.url, _slack_message(digest))


@dataclass(frozen=True, slots=True)
class Teams:
    """A channel of Microsoft Teams, by the webhook of a workflow or an older connector."""

    url: SecretStr
    name: str = "teams"

    @property
    def secrets(self) -> Sequence[SecretStr]:
        """The address."""
        return [self.url]

    def send(self, digest: Digest) -> None:
        """Post a card, a paragraph a block."""
        from dagster_msteams import Card, MSTeamsResource  # noqa: PLC0415 - as above
        from dagster_msteams.adaptive_card import AdaptiveCard  # noqa: PLC0415 - as above

        url = self.url.get_secret_value()
        client = MSTeamsResource(hook_url=url, timeout=TIMEOUT_SECONDS).get_client()
        card: AdaptiveCard | Card = AdaptiveCard()
        paragraphs = [teams_text(paragraph) for paragraph in digest.paragraphs]
        if client.is_legacy_webhook():
            card, paragraphs = Card(), [legacy_teams_text(digest.text)]
        for paragraph in paragraphs:
            card.add_attachment(paragraph)
        client.post_message(card.payload)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Any address that takes JSON."""

    url: SecretStr
    name: str = "webhook"

    @property
    def secrets(self) -> Sequence[SecretStr]:
        """The address."""
        return [self.url]

    def send(self, digest: Digest) -> None:
        """Post every notice, whole."""
        problems = [
            {
                "subject": notice.subject,
                "kind": notice.kind,
                "state": notice.state,
                "since": notice.since.isoformat(),
                "days": [
                    [str(first), str(last)]
                    for first, last in coalesced(notice.days, 0, len(notice.days) + 1)
                ],
                "message": "\n".join(notice.lines),
                "origin": digest.origin,
            }
            for notice in digest.notices
        ]
        _post(self.url, {"headline": digest.headline, "problems": problems})


def channels_of(settings: Settings) -> list[Channel]:
    """Return the channels that the settings name."""
    found: list[Channel] = []
    if settings.alerts_slack_token and settings.alerts_slack_channel:
        token, channel = settings.alerts_slack_token, settings.alerts_slack_channel
        found.append(Slack(token, channel, settings.alerts_slack_url))
    if settings.alerts_slack_webhook_url:
        found.append(SlackWebhook(settings.alerts_slack_webhook_url))
    if settings.alerts_teams_url:
        found.append(Teams(settings.alerts_teams_url))
    if settings.alerts_webhook_url:
        found.append(Webhook(settings.alerts_webhook_url))
    return found


def _slack_message(digest: Digest) -> dict[str, object]:
    return {
        "text": slack_text(digest.text),
        "mrkdwn": False,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def slack_text(text: str) -> str:
    """Return a text in which Slack finds no mention, link or mark-up of its own."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    # A mention that is written out is none with nothing, invisibly, after its sign.
    return text.replace("@", "@\u200b")


def teams_text(text: str) -> str:
    """Return a text in which an adaptive card finds no Markdown; lines stay lines."""
    return MARKDOWN.sub(r"\\\1", text).replace("\n", "\n\n")


def legacy_teams_text(text: str) -> str:
    """Return a text in which a connector's card finds no HTML; lines stay lines."""
    return html.escape(text).replace("\n", "<br>")


def _post(url: SecretStr, body: Mapping[str, object]) -> None:
    """Post JSON; any answer but success is an error."""
    answer = httpx.post(url.get_secret_value(), json=body, timeout=TIMEOUT_SECONDS)
    if not answer.is_success:
        raise RefusedError(answer.status_code, answer.text)


def deliver(digests: Mapping[str, Digest], channels: Sequence[Channel]) -> dict[str, str | None]:
    """Send each channel its message, all at once; return by channel why it did not arrive.

    A channel that says nothing for too long counts as one that failed.
    """
    told: dict[str, str | None] = {}

    def attempt(channel: Channel) -> None:
        try:
            channel.send(digests[channel.name])
        except Exception as error:  # noqa: BLE001 - whatever goes wrong stays with its channel
            told[channel.name] = redacted(f"{type(error).__name__}: {error}", channel.secrets)
        else:
            told[channel.name] = None

    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    threads = {
        channel.name: threading.Thread(target=attempt, args=(channel,), daemon=True)
        for channel in channels
        if channel.name in digests
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + GIVEN_UP_AFTER_SECONDS
    for thread in threads.values():
        thread.join(max(deadline - time.monotonic(), 0.0))
    return {name: told.get(name, "no answer in time") for name in threads}


def redacted(text: str, secrets: Sequence[SecretStr]) -> str:
    """Return a text on one line, without the secrets or any part of an address."""
    hidden: set[str] = set()
    for secret in secrets:
        # An address that is none must be hidden too: it is cut at its signs, not understood.
        value = secret.get_secret_value()
        behind_the_host = value.partition("://")[2].partition("/")[2]
        for part in (value, behind_the_host, *SIGNS.split(value)):
            hidden |= {part, quote(part), unquote(part)}
    line = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    for part in sorted(hidden, key=len, reverse=True):
        if len(part) >= SHORTEST_SECRET:
            line = line.replace(part, "…")
    return line if len(line) <= SAID_SHOWN else f"{line[:SAID_SHOWN]}…"
