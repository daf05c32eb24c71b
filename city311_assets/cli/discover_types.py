"""Which kinds of request a feed has, with counts, and which of them may belong to a target.

What belongs here: asking the portal and marking. What does not: what a target is (`risk/targets`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from city311_assets.bronze.sources import Sources
from city311_assets.feeds.feed import Feed
from city311_assets.risk.targets.registry import TARGETS
from city311_assets.risk.targets.target import normalized


@dataclass(frozen=True, slots=True)
class KindSeen:
    """A kind as the portal spells it: how often, when last, and what it has to do with targets."""

    kind: str
    rows: int
    newest: date | None
    targets: tuple[str, ...]
    likely_for: tuple[str, ...]


def kinds_seen(sources: Sources, feed: Feed, start: date, end: date) -> list[KindSeen]:
    """Return the kinds of the requests opened from `start` up to, not including, `end`.

    Kinds that targets name and the portal no longer has come last, with no rows.
    """
    targets = [target for target in TARGETS.values() if target.feed == feed]
    with sources.portal_of(feed) as portal:
        counted = portal.counts_by_value(feed.fields["kind"], start, end)
    found = []
    for kind, rows, newest in counted.drop_nulls("value").rows():
        plain = normalized(kind)
        own = tuple(target.name for target in targets if plain in target.normalized_kinds)
        likely = tuple(
            target.name
            for target in targets
            if target.name not in own and any(word in plain for word in target.likely_words)
        )
        found.append(KindSeen(kind, rows, newest.date(), own, likely))
    return [*found, *_gone({normalized(one.kind) for one in found}, feed)]


def _gone(seen: set[str], feed: Feed) -> Iterator[KindSeen]:
    for target in TARGETS.values():
        if target.feed == feed:
            for kind in target.kinds:
                if normalized(kind) not in seen:
                    yield KindSeen(kind, 0, None, (target.name,), ())
