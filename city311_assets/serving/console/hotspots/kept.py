"""What was worked out a moment ago: the panels of a page ask the same questions at once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Made = TypeVar("Made")

# A page's questions of some selections, a dozen each; an entry is an array as long as cells or days
# at most.
MOST_KEPT = 64


class Kept:
    """The newest answers by question. What is kept is read by many and changed by none."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def of(self, question: Hashable, make: Callable[[], Made]) -> Made:
        """Return the answer to a question: the one that is kept, else what `make` returns.

        Of threads that ask the same at once one makes it, and the others wait.
        """
        with self._lock:
            making = self._making.setdefault(question, threading.Lock())
        with making:
            with self._lock:
                if question in self._answers:
                    self._answers.move_to_end(question)
                    return self._answers[question]
            try:
                answer = make()
                with self._lock:
                    self._answers[question] = answer
            finally:
                with self._lock:
                    self._making.pop(question, None)
            with self._lock:
                while len(self._answers) > self._most:
                    self._answers.popitem(last=False)
            return answer
