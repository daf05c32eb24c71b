"""What model services charge, as of one date.

What belongs here: prices as published, US dollars per million tokens. What does not: discounts,
batches, and what a run may spend.
"""

import re
from dataclasses import dataclass
from datetime import date
from urllib.parse import urlsplit

PRICES_OF = date(2026, 11, 1)
TOKENS = 1_000_000
OPENAI_HOST = "api.openai.com"
OPENAI_URL = f"https://{OPENAI_HOST}/v1"
# A snapshot of a model costs what the model does.
SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens: sent, sent and cached by the service, answered."""

    sent: float
    cached: float
    answered: float

    def usd(self, sent: float, cached: float, answered: float) -> float:
        """Return the cost of tokens; `cached` are some of those sent."""
        fresh = sent - cached
        return (fresh * self.sent + cached * self.cached + answered * self.answered) / TOKENS


PRICES = {
    "gpt-6-luna": Price(0.10, 0.025, 0.50),
    "text-embedding-3-small": Price(0.02, 0.02, 0.0),
    "text-embedding-3-large": Price(0.13, 0.13, 0.0),
}
NOTHING = Price(0.0, 0.0, 0.0)


class UnpricedModelError(ValueError):
    """A model that would be paid for, at a price nobody knows here."""


def is_openai(base_url: str) -> bool:
    """Whether an address is OpenAI's own, or one of its regions'."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    return host == OPENAI_HOST or host.endswith(f".{OPENAI_HOST}")


def price_of(model: str, base_url: str) -> Price:
    """Return what a model costs; one without a price costs nothing where it is self-hosted.

    Raises
    ------
    UnpricedModelError
        It is OpenAI that would be paid.
    """
    if price := PRICES.get(SNAPSHOT.sub("", model)):
        return price
    if is_openai(base_url):
        raise UnpricedModelError(
            f"{model} at {OPENAI_HOST} has no price as of {PRICES_OF}, so no budget can hold; name "
            f"one of {sorted(PRICES)}, or add its price to city311_assets/clients/prices.py"
        )
    return NOTHING
