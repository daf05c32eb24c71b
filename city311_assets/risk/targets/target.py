"""What a target is: the calls of one feed whose coming is forecast, declared as one value.

What belongs here: the vocabulary of the declarations. What does not: how a forecast is made.
"""

from dataclasses import dataclass
from functools import cached_property

from city311_assets.feeds.feed import Feed


def normalized(kind: str) -> str:
    """Return a kind of request as kinds are compared: without case, dashes and double spaces."""
    return " ".join("".join(c if c.isalnum() else " " for c in kind.casefold()).split())


@dataclass(frozen=True, kw_only=True)
class Target:
    """Calls of some kinds in one feed.

    `kinds` are compared by `normalized`. A *call* is a request of one of them with a usable point;
    an *event* is at least one call in a cell in the `horizon_days` after a day. `resolution` is
    that of its cells. `likely_words` are words by which `city311 discover-types` marks kinds that
    may belong to it. `is_priced` says whether the priors of costs are about it.
    """

    name: str
    title: str
    feed: Feed
    kinds: tuple[str, ...]
    horizon_days: int = 7
    resolution: int = 9
    likely_words: tuple[str, ...] = ()
    is_priced: bool = False

    def __post_init__(self) -> None:
        if self.feed.kind != "request":
            raise ValueError(
                f"the target {self.name} is of {self.feed.name}, which has no requests"
            )
        if len(self.normalized_kinds) < len(self.kinds):
            raise ValueError(f"the target {self.name} names a kind twice: {sorted(self.kinds)}")

    @cached_property
    def normalized_kinds(self) -> frozenset[str]:
        """The kinds as they are compared."""
        return frozenset(map(normalized, self.kinds))
