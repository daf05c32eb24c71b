"""How far long work has come, how fast it goes and how long it will take, in the log."""

import logging
import time
from collections import Counter

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_WORDS = 10.0


class Progress:
    """Says now and then how far it is, how fast, and how long it will take."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.began_at = self.spoke_at = time.monotonic()
        self.by_status: Counter[str] = Counter()

    def note(self, status: str) -> None:
        """Count one, by what came of it."""
        self.by_status[status] += 1
        now = time.monotonic()
        done = self.by_status.total()
        if done < self.total and now - self.spoke_at < SECONDS_BETWEEN_WORDS:
            return
        self.spoke_at = now
        rate = done / max(now - self.began_at, 1e-3)
        logger.info(
            "%s of %s %s, %.1f a second, %.0f s left; %s",
            done,
            self.total,
            self.what,
            rate,
            (self.total - done) / rate,
            ", ".join(f"{count} {status}" for status, count in self.by_status.most_common()),
        )
