"""Counting bytes as they pass, for people who wait. What the numbers mean is the business of others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

WINDOW_S = 5
"""Rates are over so many seconds."""
_SHORTEST_S = 0.5
"""A rate over less than that would only jump."""


class Flow:
    """Bytes that pass a place: how many in all, and how fast over the last seconds. For any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds = [(-1, 0)] * (WINDOW_S + 1)
        self._began = 0.0
        self._last = float("-inf")
        self.total = 0

    def add(self, count: int) -> None:
        """So many more have passed; fewer than none when some came back."""
        now = self._clock()
        second = int(now)
        with self._lock:
            if now - self._last > WINDOW_S:
                self._began = now
            self._last = now
            self.total += count
            at = second % len(self._seconds)
            of, before = self._seconds[at]
            self._seconds[at] = (second, before + count if of == second else count)

    def rate(self) -> float:
        """Bytes per second, of late."""
        now = self._clock()
        first = int(now) - WINDOW_S
        with self._lock:
            passed = sum(count for second, count in self._seconds if second >= first)
            span = now - max(self._began, first)
        return max(0, passed) / max(span, _SHORTEST_S)
