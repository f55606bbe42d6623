"""Watching by looking: for shared file systems, and where the system's watches are used up.

There is nothing to listen to, so every drain answers "look at everything". The stat pass itself is the sync
engine's: it has the stamps to compare with and knows which of them cannot be trusted yet, and a second set of
stamps here would double the memory and miss what only the engine can see. What is decided here is how
often: seldom enough that looking takes a tenth of the time.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pollinator.daemon.watch.base import Changes

MIN_INTERVAL_S = 2.0
"""Never look more often than this, unasked."""

COST_FACTOR = 10
"""Rest this many times as long as looking took."""


class Pace:
    """When to look again, from how long looking took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._looked_at: float | None = None
        self._due_at = clock()

    def looked(self) -> None:
        """The caller is told to look, now."""
        self._looked_at = self._clock()

    def rest(self) -> float:
        """Seconds until it is time; asked when the caller is done with looking."""
        now = self._clock()
        if self._looked_at is not None:
            self._due_at = now + max(MIN_INTERVAL_S, COST_FACTOR * (now - self._looked_at))
            self._looked_at = None
        return max(0.0, self._due_at - now)


class PollWatch:
    """Answers every drain with the whole tree."""

    kind = "poll"

    def __init__(
        self, root: Path, degraded: str = "", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.degraded = degraded
        self._root = os.fsencode(root)
        self._pace = Pace(clock)
        self._device: int | None = None
        self._closed = threading.Event()

    def start(self) -> None:
        """Remember which file system the root is on: another one means that it was unmounted."""
        with contextlib.suppress(OSError):
            self._device = os.stat(self._root).st_dev

    def drain(self) -> Changes:
        """All of it, or that the root is gone."""
        self._pace.looked()
        if not self._root_is_there():
            return Changes(root_gone=True)
        return Changes(subtrees=frozenset((b"",)))

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is time to look again."""
        rest = self._pace.rest()
        self._closed.wait(min(rest, timeout_s))
        return rest <= timeout_s

    def refresh(self) -> None:
        """Nothing to do: every drain announces everything."""

    def close(self) -> None:
        """Wake up whoever waits."""
        self._closed.set()

    def _root_is_there(self) -> bool:
        try:
            found = os.stat(self._root)
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and self._device in (None, found.st_dev)
