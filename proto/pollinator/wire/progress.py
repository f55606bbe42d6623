"""From a thread that moves bytes to a loop whose clients want to know how far it is.

A transfer may report every chunk; whoever listens hears a few times a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pollinator.v1.run_pb2 import Progress, ProgressKind

TELL_S = 0.25


class Teller:
    """Passes the bytes done of one transfer on. Made on the loop, called on any one thread."""

    def __init__(self, tell: Callable[[Progress], None], kind: ProgressKind.ValueType) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._kind = kind
        self._told_at = time.monotonic()
        self._before = 0
        self._total = 0

    def begin(self, total: int) -> None:
        """Nothing is done yet of so many bytes."""
        self._before, self._total = 0, total

    def __call__(self, done: int) -> None:
        """So many bytes of this part are done."""
        now = time.monotonic()
        if now - self._told_at < TELL_S:
            return
        self._told_at = now
        progress = Progress(bytes_done=self._before + done, bytes_total=self._total, kind=self._kind)
        self._loop.call_soon_threadsafe(self._tell, progress)

    def finished(self, done: int) -> None:
        """A part of so many bytes is done; what comes is counted on top of it."""
        self._before += done
