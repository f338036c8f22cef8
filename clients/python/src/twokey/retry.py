"""Trying again, later and later."""
from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable
from typing import TypeVar

from twokey.errors import DeadlinePassed, Unavailable

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Retry:
    """Exponential back-off with full jitter: before the n-th repetition a random part of min(limit, first * 2**n)
    seconds. `attempts` counts the first one; 1 means never again."""

    attempts: int = 5
    first: float = 0.1
    limit: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random

    def call(self, once: Callable[[float | None], T], timeout: float | None,
             may_repeat: Callable[[], bool] = lambda: True) -> T:
        """The value of once(seconds left), asked again while it raises Unavailable, there is time, and `may_repeat`."""
        end = None if timeout is None else time.monotonic() + timeout
        for attempt in range(1, self.attempts + 1):
            try:
                return once(None if end is None else max(end - time.monotonic(), 0.0))
            except DeadlinePassed:
                raise
            except Unavailable:
                pause = self.random() * min(self.limit, self.first * 2 ** (attempt - 1))
                late = end is not None and time.monotonic() + pause >= end
                if attempt == self.attempts or late or not may_repeat():
                    raise
                self.sleep(pause)
        raise ValueError("Retry.attempts must be at least 1")
